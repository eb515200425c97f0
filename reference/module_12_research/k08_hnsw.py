"""HNSW: the reference."""

import heapq
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

Layer = dict[int, list[int]]


@dataclass
class Index:
    width: int
    m: int = 8
    ef_construction: int = 40
    vectors: np.ndarray | None = None
    layers: list[Layer] = field(default_factory=list)
    entry: int | None = None
    deleted: set[int] = field(default_factory=set)
    computed: int = 0

    def __post_init__(self) -> None:
        if self.vectors is None:
            self.vectors = np.empty((0, self.width))

    def distances(self, vector: np.ndarray, ids: Sequence[int]) -> np.ndarray:
        self.computed += len(ids)
        return ((self.vectors[ids] - vector) ** 2).sum(axis=1)


def draw_level(m: int, rng: np.random.Generator) -> int:
    # 1 - U, as U may be 0.
    return int(-math.log(1 - rng.random()) / math.log(m))


def search_layer(
    entries: Sequence[int],
    ef: int,
    layer: Mapping[int, Sequence[int]],
    distances: Callable[[list[int]], np.ndarray],
    deleted: Collection[int] = (),
) -> list[tuple[float, int]]:
    candidates: list[tuple[float, int]] = []  # a heap, the nearest first
    found: list[tuple[float, int]] = []  # a heap of negated distances: the farthest first
    fresh, seen = list(entries), set(entries)
    while True:
        for distance, node in zip(distances(fresh).tolist(), fresh, strict=True) if fresh else ():
            if len(found) < ef or distance < -found[0][0]:
                heapq.heappush(candidates, (distance, node))
                if node not in deleted:
                    heapq.heappush(found, (-distance, node))
                    if len(found) > ef:
                        heapq.heappop(found)
        if not candidates:
            break
        distance, node = heapq.heappop(candidates)
        # Whatever is left is farther than all that is kept, and so most likely are its neighbours.
        if len(found) == ef and distance > -found[0][0]:
            break
        fresh = [other for other in layer[node] if other not in seen]
        seen.update(fresh)
    return sorted((-distance, node) for distance, node in found)


def descend(
    entry: int, layers: Sequence[Mapping[int, Sequence[int]]], distances: Callable[[list[int]], np.ndarray]
) -> int:
    for layer in layers:
        ((_, entry),) = search_layer([entry], 1, layer, distances)
    return entry


def select_neighbours(
    candidates: Sequence[tuple[float, int]], m: int, between: Callable[[int, list[int]], np.ndarray]
) -> list[int]:
    kept: list[int] = []
    for distance, node in sorted(candidates):
        if len(kept) == m:
            break
        # One that lies behind a kept one can be reached through it.  That leaves room for other directions.
        if not kept or between(node, kept).min() >= distance:
            kept.append(node)
    return kept


def insert(index: Index, vector: np.ndarray, level: int) -> int:
    if len(vector) != index.width:
        raise ValueError(f"expected a vector of width {index.width}, got {len(vector)}")
    new, top = len(index.vectors), len(index.layers) - 1
    index.vectors = np.vstack([index.vectors, vector])
    vector = index.vectors[new]
    index.layers += [{} for _ in range(top, level)]

    def distances(ids: list[int]) -> np.ndarray:
        return index.distances(vector, ids)

    def between(node: int, ids: list[int]) -> np.ndarray:
        return index.distances(index.vectors[node], ids)

    entries = [] if index.entry is None else [descend(index.entry, index.layers[top:level:-1], distances)]
    for depth in range(level, -1, -1):
        layer, limit = index.layers[depth], index.m if depth else 2 * index.m
        if depth <= top:
            found = search_layer(entries, index.ef_construction, layer, distances)
            entries = [node for _, node in found]
            layer[new] = select_neighbours(found, index.m, between)
        else:
            layer[new] = []
        for node in layer[new]:
            layer[node].append(new)
            if len(layer[node]) > limit:
                near = zip(between(node, layer[node]).tolist(), layer[node], strict=True)
                layer[node] = select_neighbours(list(near), limit, between)
    if level > top:
        index.entry = new
    return new


def search(index: Index, query: np.ndarray, k: int, ef: int = 40) -> list[tuple[float, int]]:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if index.entry is None:
        return []

    def distances(ids: list[int]) -> np.ndarray:
        return index.distances(query, ids)

    entry = descend(index.entry, index.layers[:0:-1], distances)
    return search_layer([entry], max(ef, k), index.layers[0], distances, index.deleted)[:k]


def delete(index: Index, node: int) -> None:
    if not 0 <= node < len(index.vectors) or node in index.deleted:
        raise KeyError(f"there is no vector {node}")
    index.deleted.add(node)


def unreachable(layer: Mapping[int, Sequence[int]], entry: int) -> set[int]:
    reached, open_ones = {entry}, [entry]
    while open_ones:
        fresh = set(layer[open_ones.pop()]) - reached
        reached |= fresh
        open_ones += fresh
    return set(layer) - reached


def save(index: Index, path: Path) -> None:
    graph = {
        "width": index.width,
        "m": index.m,
        "ef_construction": index.ef_construction,
        # JSON knows no numbers as keys.
        "layers": [list(layer.items()) for layer in index.layers],
        "entry": index.entry,
        "deleted": sorted(index.deleted),
    }
    with path.open("wb") as file:  # given a name, numpy would append .npz
        np.savez(file, vectors=index.vectors, graph=np.frombuffer(json.dumps(graph).encode(), dtype=np.uint8))


def load(path: Path) -> Index:
    with np.load(path) as stored:
        vectors, graph = stored["vectors"], json.loads(stored["graph"].tobytes())
    graph["layers"] = [dict(layer) for layer in graph["layers"]]
    return Index(**graph | {"deleted": set(graph["deleted"])}, vectors=vectors)
