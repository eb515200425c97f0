"""WordPiece: the reference."""

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise

from katas.module_06_tokenization.k01_normalization import bert_normalize, bert_words


def split_word(word: str, vocabulary: Mapping[str, int], longest: int = 100) -> list[str] | None:
    if len(word) > longest:
        return None
    pieces = []
    start = 0
    while start < len(word):
        prefix = "##" if start else ""
        fitting = (end for end in range(len(word), start, -1) if prefix + word[start:end] in vocabulary)
        end = next(fitting, None)
        if end is None:
            return None
        pieces.append(prefix + word[start:end])
        start = end
    return pieces


class WordPiece:
    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.vocabulary = vocabulary

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        normalized, spans = bert_normalize(text)
        # The words are the normalized text without its spaces, so their characters come in the same
        # order, and one counter walks along both.
        where = [span for c, span in zip(normalized, spans, strict=True) if c != " "]
        ids, offsets = [self.vocabulary["[CLS]"]], [(0, 0)]
        at = 0
        for word, span in bert_words(text):
            pieces = split_word(word, self.vocabulary)
            if pieces is None:
                ids.append(self.vocabulary["[UNK]"])
                offsets.append(span)
                at += len(word)
                continue
            for i, piece in enumerate(pieces):
                ids.append(self.vocabulary[piece])
                end = at + len(piece) - (2 if i else 0)  # without the ##
                offsets.append((where[at][0], where[end - 1][1]))
                at = end
        return [*ids, self.vocabulary["[SEP]"]], [*offsets, (0, 0)]


def train_wordpiece(words: Mapping[str, int], size: int) -> list[str]:
    split = {word: [word[0], *("##" + c for c in word[1:])] for word in words}
    vocabulary = sorted({piece for pieces in split.values() for piece in pieces})
    if size < len(vocabulary):
        raise ValueError(f"the words have {len(vocabulary)} single characters, more than the size of {size}")
    while len(vocabulary) < size:
        counts: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        for word, pieces in split.items():
            for piece in pieces:
                counts[piece] += words[word]
            for pair in pairwise(pieces):
                pairs[pair] += words[word]
        if not pairs:
            break
        # Exact scores: n / a / b in floats rounds twice, and so parts equal ones.
        best = min(pairs, key=lambda pair: (-Fraction(pairs[pair], counts[pair[0]] * counts[pair[1]]), pair))
        joined = best[0] + best[1].removeprefix("##")
        vocabulary.append(joined)
        split = {word: _join(pieces, best, joined) for word, pieces in split.items()}
    return vocabulary


def _join(pieces: list[str], pair: tuple[str, str], joined: str) -> list[str]:
    result: list[str] = []
    for piece in pieces:
        # What has just been joined is longer than the pair's first, so it can't match again.
        if result and (result[-1], piece) == pair:
            result[-1] = joined
        else:
            result.append(piece)
    return result
