"""Byte-pair merges, learned fast: the reference."""

import heapq
from collections import defaultdict
from collections.abc import Mapping

Pair = tuple[int, int]


def merge_word(word: list[int], pair: Pair, new: int) -> tuple[list[int], dict[Pair, int]]:
    first, second = pair
    merged: list[int] = []
    changes: defaultdict[Pair, int] = defaultdict(int)
    i = 0
    while i < len(word):
        if word[i] == first and word[i + 1 : i + 2] == [second]:
            # What stood on either side of the two has a new neighbour.
            changes[pair] -= 1
            if merged:
                changes[word[i - 1] if merged[-1] != new else second, first] -= 1
                changes[merged[-1], new] += 1
            merged.append(new)
            i += 2
        else:
            if merged and merged[-1] == new:
                changes[second, word[i]] -= 1
                changes[new, word[i]] += 1
            merged.append(word[i])
            i += 1
    return merged, {pair: change for pair, change in changes.items() if change}


class MergeQueue:
    def __init__(self) -> None:
        self._counts: defaultdict[Pair, int] = defaultdict(int)
        self._heap: list[tuple[int, Pair]] = []

    def add(self, pair: Pair, change: int) -> None:
        self._counts[pair] += change
        # The entry with the old count stays where it is; best() knows it by its count.
        heapq.heappush(self._heap, (-self._counts[pair], pair))

    def best(self) -> tuple[Pair, int] | None:
        while self._heap:
            count, pair = self._heap[0]
            if count and -count == self._counts[pair]:
                return pair, -count
            heapq.heappop(self._heap)
        return None


def train_bpe(counts: Mapping[bytes, int], merges: int, min_count: int = 2) -> list[tuple[bytes, bytes]]:
    words = [list(word) for word in counts]
    weights = list(counts.values())
    tokens = [bytes([byte]) for byte in range(256)]
    total: defaultdict[Pair, int] = defaultdict(int)
    where: defaultdict[Pair, set[int]] = defaultdict(set)  # the words that have, or once had, the pair
    for i, word in enumerate(words):
        for pair in zip(word, word[1:], strict=False):
            total[pair] += weights[i]
            where[pair].add(i)
    queue = MergeQueue()
    learned: list[tuple[bytes, bytes]] = []
    while True:
        for pair, change in total.items():
            queue.add(pair, change)
        top = queue.best()
        if len(learned) >= merges or top is None or top[1] < min_count:
            return learned
        best = top[0]
        learned.append((tokens[best[0]], tokens[best[1]]))
        new = len(tokens)
        tokens.append(tokens[best[0]] + tokens[best[1]])
        total = defaultdict(int)
        for i in where.pop(best):
            words[i], changes = merge_word(words[i], best, new)
            for pair, change in changes.items():
                total[pair] += change * weights[i]
                where[pair].add(i)
