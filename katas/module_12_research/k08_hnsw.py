"""HNSW: find neighbours by walking through a graph

**Before you start.**  You need heaps (heapq), logarithms, and breadth-first search.  You import
no other kata; vector_search has the other family of indexes.  New to graphs as an index?  Read
Malkov and Yashunin's paper (below), sections 3 and 4.

**The idea.**  You want the nearest of a million vectors, and you don't want to measure a million
distances.  So you connect each vector with some near ones, and *walk*: from where you are, go to
the neighbour that is nearest to the question.  After some dozens of steps you are there.

Two things can go wrong.  A walk in small steps is long.  So there are *layers*, as in a skip
list: few nodes at the top with long edges, all nodes at the bottom.  You walk down layer by
layer.  And a walk can end in a place that is near but not nearest.  So at the bottom you don't
keep one place but the `ef` best ones, and go on from all of them.

This is HNSW: *hierarchical navigable small world*.  Most vector databases have it inside.

**The formulas.**  U is uniform in (0, 1], d the squared distance, q the question.

    level       floor( -ln U / ln m )                 P(level ≥ l) = m⁻ˡ
    ef search   expand the nearest open candidate; stop if ef are found and it is farther than all
    heuristic   from near to far, keep c if  d(c, q) ≤ d(c, k) for every k kept so far,  up to m
    limits      m edges for a new node; a list may grow to 2m in layer 0, to m higher up
    share       distances computed for a question / number of vectors

**A drawing**

    layer 2        ●───────────────────────▶●             few nodes
                                            │
    layer 1        ●────────●───────●───────▼──▶●       more
                                                │
    layer 0        ●─●──●─●─●──●─●──●─●──●──●─●─▼─●─●    all: keep ef
                                              ✕ question

    the heuristic, m is 2:      -3          q    1  2
                             ────●──────────┼────●──●────
                                kept           kept passed over

**Why not simply the m nearest?**  In a dense group all of them may lie on one side, and then no
edge leaves the group.  The heuristic passes over a candidate that can be reached through a kept
one.  So the edges go in different directions.

**Why is a deleted vector kept?**  Walks lead through it.  Take it out, and what lies behind may
be cut off.  So it only gets a mark, a *tombstone*: walk through it, but don't return it.

**Why count distances, not seconds?**  Time depends on the language and the machine.  The count is
what the method saves, and it grows much more slowly than the number of vectors.

**Worked by hand**

    level       m = 8:  U = 0.5: 0.33, level 0.   U = 0.01: 2.21, level 2
    ef search   places 3 -4 5 1 on a line, edges 0: 1 2,  1: 0 3,  2: 0,  3: 1
                question 0, entry 0
                ef = 1: node 0 has d = 9, its neighbours 16 and 25: stop.  Found (9, 0)
                ef = 2: keep 0 and 1; from 1 comes 3 with d = 1.  Found (1, 3) (9, 0)
    heuristic   the drawing: candidates (1, 0) (4, 1) (9, 2), m = 2
                keep 0; pass over 1, which is nearer to 0 than to q; keep 2
    insert      places 0 4 3 6 in this order, m = 1, all of level 0
                after three nodes the edges are  0: 1,  1: 0 2,  2: 1
                node 3, at place 6, chooses 1.  The list of 1 becomes 0 2 3, one more than 2m
                from place 4 the distances are 16 1 4:  keep 2, then 3, as 4 ≤ 9.  0 goes
                0: 1,  1: 2 3,  2: 1,  3: 1

**Shapes**: vectors are float64 (width,).  A node's id is its row in `vectors`.  A layer is a
dict: id to the list of ids that its edges lead to.  All distances are squared.  Functions don't
change their arguments; only insert, search and delete change the index that they are given.

**Steps.**  A good place to pause is after select_neighbours.

    draw_level          4 min   one logarithm by another
    search_layer       18 min   two heaps, and when to stop
    descend             6 min   ef of 1, layer by layer
    select_neighbours   9 min   edges in different directions
    insert             22 min   edges there and back
    search              7 min   down, then wide
    delete              3 min   a tombstone
    unreachable         5 min   breadth-first search
    save                7 min   no pickle
    load                6 min   keys are ints again

Source: Malkov and Yashunin 2016, "Efficient and robust approximate nearest neighbor search using
Hierarchical Navigable Small World graphs".

From scratch: hnswlib, faiss, scipy, sklearn, networkx, pickle and marshal may not be used.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

Layer = dict[int, list[int]]


@dataclass
class Index:
    """Given to you.  Measure all distances by its method, which counts them."""

    width: int
    m: int = 8  # 2 or more, but 1 in the lesson's example
    ef_construction: int = 40
    vectors: np.ndarray | None = None  # (n, width)
    layers: list[Layer] = field(default_factory=list)  # layers[0] holds all nodes
    entry: int | None = None  # a node of the highest layer; None if there is no node
    deleted: set[int] = field(default_factory=set)
    computed: int = 0  # how many distances were measured so far

    def __post_init__(self) -> None:
        """Given to you."""
        if self.vectors is None:
            self.vectors = np.empty((0, self.width))

    def distances(self, vector: np.ndarray, ids: Sequence[int]) -> np.ndarray:
        """Given to you: the squared distances (len(ids),) from `vector` to the nodes; there is one at least."""
        self.computed += len(ids)
        return ((self.vectors[ids] - vector) ** 2).sum(axis=1)


def draw_level(m: int, rng: np.random.Generator) -> int:
    """The level of a new node, a Python int, for m ≥ 2."""
    raise NotImplementedError


def search_layer(
    entries: Sequence[int],
    ef: int,
    layer: Mapping[int, Sequence[int]],
    distances: Callable[[list[int]], np.ndarray],
    deleted: Collection[int] = (),
) -> list[tuple[float, int]]:
    """Up to `ef` pairs (distance, id), nearest first, from different entries, one at least.

    distances(ids)   the distances from the question to nodes, one at least

    1. The entries are the first candidates.
    2. Take the nearest candidate that isn't expanded.  Stop if there is none, or if `ef` nodes are kept and it is
       farther than all of them.
    3. Expand it: measure its neighbours that weren't measured before.  They are candidates.  Go to 2.

    - Of all that was measured and isn't in `deleted`, the ef nearest are kept.
    - Deleted nodes are measured and expanded as others.
    - Measure no node twice, and none but the entries and the neighbours of what is expanded.
    """
    raise NotImplementedError


def descend(
    entry: int, layers: Sequence[Mapping[int, Sequence[int]]], distances: Callable[[list[int]], np.ndarray]
) -> int:
    """The node where a greedy walk ends, with the layers in the order of the walk: the highest first.

    In each layer go to the neighbour that is nearest to the question, as long as it is nearer than the node itself.
    Without layers it is the entry.
    """
    raise NotImplementedError


def select_neighbours(
    candidates: Sequence[tuple[float, int]], m: int, between: Callable[[int, list[int]], np.ndarray]
) -> list[int]:
    """The ids that the heuristic keeps, at most m ≥ 1, nearest first.

    candidates            pairs (distance to the question, id), in any order; there may be none
    between(id, ids)      the distances from a node to others, one at least

    - Of equal distances the smaller id comes first.
    - One that is just as near to a kept one as to the question is kept.
    - It is applied to fewer than m candidates as well.
    """
    raise NotImplementedError


def insert(index: Index, vector: np.ndarray, level: int) -> int:
    """Put a vector into the index, in layers 0 to `level`; returns its id, the number of vectors before it.

    1. Descend from the index's entry through the layers above `level`.
    2. From the highest layer that both have down to 0: search_layer with ef_construction, then select_neighbours with
       m among what was found.  The edges lead from the new node to these, and back from each of them: append the new
       id to their lists.
    3. A list that is longer than its limit now is chosen anew, by select_neighbours with the limit, from the point of
       view of its own node.
    4. All that was found in a layer are the entries for the next one.

    - In layers that are new, the node has no edges.  If there are any, it is the new entry.
    - Deleted nodes are searched and connected like others: a way may lead through them.
    - Measure everything by index.distances.  The vector is copied.

    Raises ValueError, naming both widths, if the vector hasn't the index's.
    """
    raise NotImplementedError


def search(index: Index, query: np.ndarray, k: int, ef: int = 40) -> list[tuple[float, int]]:
    """Up to k pairs (distance, id), nearest first, without deleted nodes; [] if the index is empty.

    Descend through all layers above 0, then search layer 0 with ef, or with k if that is larger.

    Raises ValueError, naming k, if it is below 1.
    """
    raise NotImplementedError


def delete(index: Index, node: int) -> None:
    """Mark a node as deleted.  Raises KeyError, naming it, if there is no such id or it is deleted already."""
    raise NotImplementedError


def unreachable(layer: Mapping[int, Sequence[int]], entry: int) -> set[int]:
    """The nodes of a layer to which no way leads from `entry`, which is in the layer.  Cutting lists can cause that."""
    raise NotImplementedError


def save(index: Index, path: Path) -> None:
    """Write the index into one file, of exactly this name, whatever its ending.

    Use no pickle: loading one can run what a stranger wrote.
    """
    raise NotImplementedError


def load(path: Path) -> Index:
    """The index that was saved: equal in all fields and their types, to the last bit; only `computed` is 0.

    An index that goes on after loading answers and grows as the one that was saved.
    """
    raise NotImplementedError
