"""Deduplication: the reference."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np


def exact_duplicates(texts: Sequence[str]) -> list[int]:
    seen: set[bytes] = set()
    drop = []
    for i, text in enumerate(texts):
        # 32 bytes a text stay in memory, not the text.
        digest = hashlib.sha256(" ".join(text.lower().split()).encode()).digest()
        if digest in seen:
            drop.append(i)
        seen.add(digest)
    return drop


def shingles(text: str, n: int) -> set[str]:
    words = text.lower().split()
    if not words:
        return set()
    return {" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


def jaccard(a: set[str], b: set[str]) -> float:
    if not a and not b:
        return 1.0
    return len(a & b) / len(a | b)


def minhash(items: set[str], hashes: int, seed: int) -> np.ndarray:
    if not items:
        raise ValueError("an empty set has no smallest member: got no items")
    # SHAKE gives as many bytes as one asks for: 8 for each function, all of them independent.
    # Python's own hash of a string is salted: another process would get another signature.
    streams = [hashlib.shake_128(f"{seed} {item}".encode()).digest(8 * hashes) for item in items]
    return np.stack([np.frombuffer(stream, dtype=np.uint64) for stream in streams]).min(axis=0)


def candidate_pairs(signatures: np.ndarray, bands: int) -> set[tuple[int, int]]:
    k = signatures.shape[1]
    if k % bands:
        raise ValueError(f"{k} rows can't be cut into {bands} equal bands")
    pairs = set()
    for band in np.split(signatures, bands, axis=1):
        buckets = defaultdict(list)
        for i, row in enumerate(band):
            buckets[row.tobytes()].append(i)
        for members in buckets.values():
            pairs.update(combinations(members, 2))
    return pairs


def match_probability(similarity: float, bands: int, rows: int) -> float:
    return 1 - (1 - similarity**rows) ** bands


def clusters(n: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]  # halve the path for those who come later
            i = parent[i]
        return i

    for i, j in pairs:
        parent[root(i)] = root(j)  # the roots: to hang up i itself would tear it from its group
    groups = defaultdict(list)
    for i in range(n):
        groups[root(i)].append(i)
    return list(groups.values())


def deduplicate(
    texts: Sequence[str],
    threshold: float,
    n: int = 3,
    hashes: int = 128,
    bands: int = 32,
    seed: int = 0,
) -> list[int]:
    sets = [shingles(text, n) for text in texts]
    full = [i for i, items in enumerate(sets) if items]
    if not full:
        return list(range(len(texts)))
    signatures = np.stack([minhash(sets[i], hashes, seed) for i in full])
    candidates = ((full[i], full[j]) for i, j in candidate_pairs(signatures, bands))
    copies = [(i, j) for i, j in candidates if jaccard(sets[i], sets[j]) >= threshold]
    return [group[0] for group in clusters(len(texts), copies)]
