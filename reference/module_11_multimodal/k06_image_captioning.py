"""Image captioning: the reference."""

import math
from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from katas.module_05_transformers.k08_encoder import Encoder
from katas.module_05_transformers.k09_encoder_decoder import DecoderBlock

Words = Sequence[str] | Sequence[int]


def caption_batch(captions: Sequence[Sequence[int]], start: int, end: int, pad: int) -> tuple[Tensor, Tensor]:
    longest = max(len(caption) for caption in captions)
    inputs = [[start, *caption] + [pad] * (longest - len(caption)) for caption in captions]
    targets = [[*caption, end] + [pad] * (longest - len(caption)) for caption in captions]
    return torch.tensor(inputs), torch.tensor(targets)


def caption_loss(logits: Tensor, targets: Tensor, pad: int) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=pad)


class ImageEncoder(nn.Module):
    def __init__(self, channels: int, size: int, patch: int, d: int, heads: int, layers: int, d_ff: int) -> None:
        super().__init__()
        if size % patch:
            raise ValueError(f"patch must divide size, got patch = {patch} and size = {size}")
        # A convolution whose stride is its width sees each patch once.
        self.patches = nn.Conv2d(channels, d, patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, d))
        self.encoder = Encoder(layers, d, heads, d_ff, pre_norm=True, activation="gelu")

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).mT
        return self.encoder(tokens + self.positions)


class Captioner(nn.Module):
    def __init__(
        self, encoder: nn.Module, words: int, longest: int, d: int, heads: int, layers: int, d_ff: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.embedding = nn.Embedding(words, d)
        self.positions = nn.Parameter(0.02 * torch.randn(longest, d))
        self.blocks = nn.ModuleList(DecoderBlock(d, heads, d_ff, pre_norm=True) for _ in range(layers))
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, words)

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder(images)

    def decode(self, inputs: Tensor, memory: Tensor) -> Tensor:
        n, longest = inputs.shape[1], len(self.positions)
        if n > longest:
            raise ValueError(f"there are positions for {longest} tokens, got {n}")
        x = self.embedding(inputs) + self.positions[:n]
        for block in self.blocks:
            x = block(x, memory)
        return self.head(self.norm(x))

    def forward(self, images: Tensor, inputs: Tensor) -> Tensor:
        return self.decode(inputs, self.encode(images))


@torch.no_grad()
def greedy_captions(model: Captioner, images: Tensor, start: int, end: int, limit: int) -> list[list[int]]:
    memory = model.encode(images)  # once: the images don't change while the captions grow
    rows = torch.full((len(images), 1), start, device=images.device)
    ended = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    for _ in range(limit):
        word = model.decode(rows, memory)[:, -1].argmax(1)
        rows = torch.cat([rows, word[:, None]], 1)
        ended |= word == end
        if ended.all():
            break
    captions = [row[1:] for row in rows.tolist()]
    return [row[: row.index(end)] if end in row else row for row in captions]


@torch.no_grad()
def beam_captions(
    model: Captioner, image: Tensor, start: int, end: int, beams: int, limit: int, length_penalty: float = 1.0
) -> list[tuple[list[int], float]]:
    if beams < 1:
        raise ValueError(f"beams must be at least 1, got {beams}")
    memory = model.encode(image[None])
    live = torch.tensor([[start]], device=image.device)
    totals = torch.zeros(1, device=image.device)
    found: list[tuple[list[int], float]] = []
    for step in range(1, limit + 1):
        logits = model.decode(live, memory.expand(len(live), -1, -1))[:, -1]
        # Every extension of every live caption, as one flat list.
        extended = (totals[:, None] + logits.log_softmax(1)).flatten()
        totals, best = extended.topk(min(beams, len(extended)))
        word = best % logits.shape[1]
        live = torch.cat([live[best // logits.shape[1]], word[:, None]], 1)
        done = (word == end) if step < limit else torch.ones_like(word, dtype=torch.bool)
        for row, total in zip(live[done].tolist(), totals[done].tolist(), strict=True):
            found.append(([w for w in row[1:] if w != end], total / step**length_penalty))
        live, totals = live[~done], totals[~done]
        if len(live) == 0:
            break
    return sorted(found, key=lambda pair: -pair[1])[:beams]


def ngrams(words: Words, n: int) -> Counter:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def document_frequency(references: Sequence[Sequence[Words]], n: int) -> Counter:
    # An n-gram counts once an image, however many of its captions have it.
    return Counter(gram for captions in references for gram in set().union(*(ngrams(c, n) for c in captions)))


def cider(candidates: Sequence[Words], references: Sequence[Sequence[Words]], longest: int = 4) -> list[float]:
    _refuse(candidates, references)
    scores = [0.0] * len(candidates)
    for n in range(1, longest + 1):
        frequency = document_frequency(references, n)
        for i, (candidate, captions) in enumerate(zip(candidates, references, strict=True)):
            one = _tf_idf(candidate, n, frequency, len(references))
            near = [_cosine(one, _tf_idf(c, n, frequency, len(references)), one) for c in captions]
            scores[i] += sum(near) / len(near) / longest
    return scores


def cider_d(
    candidates: Sequence[Words], references: Sequence[Sequence[Words]], longest: int = 4, sigma: float = 6.0
) -> list[float]:
    _refuse(candidates, references)
    scores = [0.0] * len(candidates)
    for n in range(1, longest + 1):
        frequency = document_frequency(references, n)
        for i, (candidate, captions) in enumerate(zip(candidates, references, strict=True)):
            one = _tf_idf(candidate, n, frequency, len(references))
            total = 0.0
            for caption in captions:
                other = _tf_idf(caption, n, frequency, len(references))
                # Saying a word again and again must not pay: no weight above the reference's counts.
                clipped = {gram: min(weight, other.get(gram, 0.0)) for gram, weight in one.items()}
                away = len(candidate) - len(caption)
                total += math.exp(-(away**2) / (2 * sigma**2)) * _cosine(one, other, clipped)
            scores[i] += 10 * total / len(captions) / longest
    return scores


def _tf_idf(words: Words, n: int, frequency: Counter, images: int) -> dict:
    return {gram: count * math.log(images / max(1, frequency[gram])) for gram, count in ngrams(words, n).items()}


def _cosine(one: dict, other: dict, product: dict) -> float:
    """product · other over the lengths of one and other; 0 if either is empty or all zeros."""
    lengths = math.hypot(*one.values()) * math.hypot(*other.values())
    return sum(weight * other.get(gram, 0.0) for gram, weight in product.items()) / lengths if lengths else 0.0


def _refuse(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
    if len(candidates) != len(references):
        raise ValueError(f"there are {len(candidates)} candidates for {len(references)} images")
    for i, captions in enumerate(references):
        if not captions:
            raise ValueError(f"image {i} has no reference")
