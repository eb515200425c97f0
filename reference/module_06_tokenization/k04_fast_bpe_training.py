"""Byte-pair merges, learned fast: the reference."""

import heapq
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

Pair = tuple[int, int]


def merge_word(word: list[int], pair: Pair, new: int) -> tuple[list[int], dict[Pair, int]]:
    first, second = pair
    merged: list[int] = []
    changes: defaultdict[Pair, int] = defaultdict(int)
    i = 0
    while i < len(word):
        match = word[i] == first and word[i + 1 : i + 2] == [second]
        token = new if match else word[i]
        if match:
            changes[pair] -= 1
        # What went is read from the old word, what came from the new one.  Each neighbourhood is
        # looked at once, so the one between two merges side by side isn't counted for both.
        if i and (match or merged[-1] == new):
            changes[word[i - 1], word[i]] -= 1
            changes[merged[-1], token] += 1
        merged.append(token)
        i += 1 + match
    return merged, changes


class MergeQueue:
    def __init__(self) -> None:
        self._counts: defaultdict[Pair, int] = defaultdict(int)
        self._heap: list[tuple[int, Pair]] = []

    def add(self, pair: Pair, change: int) -> None:
        # The entry with the old count stays in the heap: best() knows it by its count and drops it.
        # A smallest-first heap of (-count, pair) has the largest count on top, then the smallest pair.
        self._counts[pair] += change
        heapq.heappush(self._heap, (-self._counts[pair], pair))

    def best(self) -> tuple[Pair, int] | None:
        while self._heap:
            count, pair = -self._heap[0][0], self._heap[0][1]
            if count == self._counts[pair] != 0:
                return pair, count
            heapq.heappop(self._heap)
        return None


def train_bpe(
    counts: Mapping[bytes, int], merges: int, min_count: int = 2
) -> list[tuple[bytes, bytes]]:
    tokens = [bytes([byte]) for byte in range(256)]
    words = [list(word) for word in counts]
    weights = list(counts.values())
    changes: defaultdict[Pair, int] = defaultdict(int)
    where: defaultdict[Pair, set[int]] = defaultdict(set)  # the words in which a pair stands, or once stood
    for i, word in enumerate(words):
        for pair in pairwise(word):
            changes[pair] += weights[i]
            where[pair].add(i)
    queue = MergeQueue()
    learned: list[tuple[bytes, bytes]] = []
    while len(learned) < merges:
        for pair, change in changes.items():
            queue.add(pair, change)
        top = queue.best()
        if top is None or top[1] < min_count:
            break
        best, _ = top
        learned.append((tokens[best[0]], tokens[best[1]]))
        tokens.append(tokens[best[0]] + tokens[best[1]])
        # Summed over the words first, so that each pair is pushed once a merge, not once a word.
        changes = defaultdict(int)
        for i in where.pop(best):
            words[i], in_word = merge_word(words[i], best, len(tokens) - 1)
            for pair, change in in_word.items():
                changes[pair] += weights[i] * change
                where[pair].add(i)
    return learned
