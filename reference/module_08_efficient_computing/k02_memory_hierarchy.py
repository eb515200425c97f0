"""The memory hierarchy: the reference."""

import numpy as np


def cache_misses(addresses: np.ndarray, line_bytes: int, sets: int, ways: int) -> np.ndarray:
    cache: list[list[np.int64]] = [[] for _ in range(sets)]  # each set's lines, least recently used first
    missed = []
    for line in addresses // line_bytes:
        held = cache[line % sets]
        missed.append(line not in held)
        # Hit or miss, the line goes to the end, as the most recently used.
        if line in held:
            held.remove(line)
        elif len(held) == ways:
            held.pop(0)
        held.append(line)
    return np.array(missed)


def traversal(
    n: int, m: int, order: str, tile: tuple[int, int] = (8, 8), item_bytes: int = 8
) -> np.ndarray:
    # The number of each item, where it stands; slices cut tiles off at the edges.
    items = np.arange(n * m).reshape(n, m)
    if order == "row":
        visits = items.ravel()
    elif order == "column":
        visits = items.T.ravel()
    elif order == "blocked":
        height, width = tile
        corners = [(i, j) for i in range(0, n, height) for j in range(0, m, width)]
        visits = np.concatenate([items[i : i + height, j : j + width].ravel() for i, j in corners])
    else:
        raise ValueError(f"order must be 'row', 'column' or 'blocked', got {order!r}")
    return visits * item_bytes


def transpose_trace(
    n: int, m: int, order: str, tile: tuple[int, int] = (8, 8), item_bytes: int = 8
) -> np.ndarray:
    reads = traversal(n, m, order, tile, item_bytes)
    i, j = np.divmod(reads // item_bytes, m)
    writes = (n * m + j * n + i) * item_bytes  # B stands behind A's n·m items, and its rows are n long
    return np.stack([reads, writes], axis=1).ravel()


def coalesced_transactions(
    addresses: np.ndarray, access_bytes: int = 4, segment_bytes: int = 32
) -> int:
    # An access is no longer than a segment, so its first and last byte tell which it touches.
    first, last = addresses // segment_bytes, (addresses + access_bytes - 1) // segment_bytes
    return len(np.union1d(first, last))


def bank_conflicts(words: np.ndarray, banks: int = 32) -> int:
    # Distinct words first: one word is broadcast to all threads that read it.
    return int(np.bincount(np.unique(words) % banks).max())
