"""Chunks for retrieval: the reference."""

import re
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

END = re.compile(r"""[.!?…]["')\]”’]*\Z""")


class Chunk(NamedTuple):
    text: str
    start: int
    end: int


def split_sentences(text: str, abbreviations: Collection[str] = ()) -> list[tuple[int, int]]:
    cuts, word_start = [], 0
    for gap in re.finditer(r"\s+", text):
        word, following = text[word_start : gap.start()], text[gap.end() : gap.end() + 1]
        word_start = gap.end()
        ends = END.search(word) and word not in abbreviations and not following.islower()
        # No word is before a gap that opens the text.
        if word and (ends or gap[0].count("\n") > 1):
            cuts.append(gap.end())
    return [(a, b) for a, b in pairwise([0, *cuts, len(text)]) if a < b]


def fixed_chunks(text: str, size: int, overlap: int = 0) -> list[Chunk]:
    if not 0 <= overlap < size:
        raise ValueError(f"overlap must be from 0 to size - 1, got size {size} and overlap {overlap}")
    if not text:
        return []
    # A chunk that starts in the last `overlap` characters would hold nothing new, unless it is the only one.
    starts = range(0, max(len(text) - overlap, 1), size - overlap)
    return [_chunk(text, start, min(start + size, len(text))) for start in starts]


def sentence_chunks(text: str, size: int, overlap: int = 0, abbreviations: Collection[str] = ()) -> list[Chunk]:
    spans, chunks, new = split_sentences(text, abbreviations), [], 0
    while new < len(spans):
        first = max(new - overlap, 0)
        # Fewer repeated ones, until the next sentence fits behind them.
        while first < new and spans[new][1] - spans[first][0] > size:
            first += 1
        start, new = spans[first][0], new + 1
        while new < len(spans) and spans[new][1] - start <= size:
            new += 1
        chunks.append(_chunk(text, start, spans[new - 1][1]))
    return chunks


def recursive_chunks(text: str, size: int, separators: Sequence[str] = ("\n\n", "\n", ". ", " ")) -> list[Chunk]:
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    ends = [0, *accumulate(len(piece) for piece in _pieces(text, size, separators))]
    return [_chunk(text, a, b) for a, b in pairwise(ends)]


def with_overlap(text: str, chunks: Sequence[Chunk], overlap: int) -> list[Chunk]:
    return (
        [chunks[0], *(_chunk(text, _word_start(text, c.start, overlap), c.end) for c in chunks[1:])] if chunks else []
    )


def rebuild(chunks: Sequence[Chunk]) -> str:
    text = ""
    for chunk in sorted(chunks, key=lambda chunk: chunk.start):
        if chunk.start > len(text):
            raise ValueError(f"no chunk covers place {len(text)}; the next one starts at {chunk.start}")
        known = text[chunk.start : chunk.start + len(chunk.text)]
        if not chunk.text.startswith(known):
            raise ValueError(f"the chunk that starts at {chunk.start} contradicts those before it")
        text += chunk.text[len(known) :]
    return text


def span_recall(chunks: Sequence[Chunk], spans: Sequence[tuple[int, int]]) -> float:
    return sum(any(c.start <= a and b <= c.end for c in chunks) for a, b in spans) / len(spans)


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    valid = mask.bool()[..., None]
    # masked_fill, not a product: 0 · NaN is NaN.
    total = states.masked_fill(~valid, 0).sum(1)
    return total / valid.sum(1).clamp(min=1)


def embed(
    texts: Sequence[str],
    encode: Callable[[str], list[int]],
    model: Callable[[Tensor, Tensor], Tensor],
    batch_size: int = 32,
    limit: int = 256,
) -> Tensor:
    tokens = [encode(text) for text in texts]
    for i, ids in enumerate(tokens):
        if len(ids) > limit:
            raise ValueError(f"text {i} has {len(ids)} tokens, the limit is {limit}")
    # Texts of like length stand together, so little is padded.
    order = sorted(range(len(texts)), key=lambda i: -len(tokens[i]))
    vectors = []
    for start in range(0, len(order), batch_size):
        rows = [tokens[i] for i in order[start : start + batch_size]]
        ids = torch.tensor([row + [0] * (len(rows[0]) - len(row)) for row in rows])
        mask = torch.arange(len(rows[0])) < torch.tensor([len(row) for row in rows])[:, None]
        vectors.append(F.normalize(mean_pool(model(ids, mask), mask), dim=-1))
    places = torch.tensor(order).argsort()
    return torch.cat(vectors)[places]


def semantic_chunks(
    text: str,
    embed: Callable[[list[str]], Tensor],
    percentile: float = 90.0,
    window: int = 0,
    abbreviations: Collection[str] = (),
) -> list[Chunk]:
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile must be from 0 to 100, got {percentile}")
    spans = split_sentences(text, abbreviations)
    if len(spans) < 2:
        return [_chunk(text, *span) for span in spans]
    around = [spans[max(i - window, 0) : i + window + 1] for i in range(len(spans))]
    vectors = embed([text[part[0][0] : part[-1][1]].strip() for part in around]).double()
    unit = F.normalize(vectors, dim=1)
    distances = 1 - (unit[1:] * unit[:-1]).sum(1)
    far = distances > torch.quantile(distances, percentile / 100)
    cuts = [0, *(start for (start, _), cut in zip(spans[1:], far.tolist(), strict=True) if cut), len(text)]
    return [_chunk(text, a, b) for a, b in pairwise(cuts)]


def _chunk(text: str, start: int, end: int) -> Chunk:
    return Chunk(text[start:end], start, end)


def _pieces(text: str, size: int, separators: Sequence[str]) -> list[str]:
    if len(text) <= size:
        return [text] if text else []
    for i, separator in enumerate(separators):
        if separator in text:
            cuts = [run.end() for run in re.finditer(f"(?:{re.escape(separator)})+", text)]
            joined = _joined([text[a:b] for a, b in pairwise([0, *cuts, len(text)])], size)
            return [small for piece in joined for small in _pieces(piece, size, separators[i + 1 :])]
    return [text[i : i + size] for i in range(0, len(text), size)]


def _joined(pieces: list[str], size: int) -> list[str]:
    """Neighbours in one piece, from left to right, as long as they fit."""
    joined = [pieces[0]]
    for piece in pieces[1:]:
        if len(joined[-1]) + len(piece) <= size:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def _word_start(text: str, start: int, overlap: int) -> int:
    """The first start of a word from start - overlap on, or start."""
    for place in range(max(start - overlap, 0), start):
        if not text[place].isspace() and (place == 0 or text[place - 1].isspace()):
            return place
    return start
