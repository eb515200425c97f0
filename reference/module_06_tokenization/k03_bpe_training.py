"""Learning byte-pair merges: the reference."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

Word = tuple[bytes, ...]
Pair = tuple[bytes, bytes]


def pair_counts(words: Mapping[Word, int]) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            counts[pair] += count
    return counts


def merge(word: Word, pair: Pair) -> Word:
    merged: list[bytes] = []
    i = 0
    while i < len(word):
        # The two tokens, not their joined bytes: these may come from other tokens.
        if word[i : i + 2] == pair:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


def vocabulary(merges: Sequence[Pair]) -> dict[bytes, int]:
    tokens = [*(bytes([byte]) for byte in range(256)), *(first + second for first, second in merges)]
    return {token: i for i, token in enumerate(tokens)}


def train_bpe(counts: Mapping[bytes, int], merges: int, min_count: int = 2) -> list[Pair]:
    words = {tuple(bytes([byte]) for byte in word): count for word, count in counts.items()}
    learned: list[Pair] = []
    while len(learned) < merges:
        pairs = pair_counts(words)
        ids = vocabulary(learned)
        # The largest count wins, but of the ids the smallest: max wants these negated.
        best = max(pairs, key=lambda pair: (pairs[pair], -ids[pair[0]], -ids[pair[1]]), default=None)
        if best is None or pairs[best] < min_count:
            break
        learned.append(best)
        words = {merge(word, best): count for word, count in words.items()}
    return learned
