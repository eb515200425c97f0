"""Nearest neighbors

**Before you start.**  You need broadcasting, and heaps or sorted lists.  Nearest neighbours are new
to you?  Read Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", sections
2.3.2 and 2.5, free at hastie.su.domains/ElemStatLearn.

**The idea.**  Rows that look alike usually have the same answer.  So keep all rows, and to predict
a new one, look at the k nearest: their majority is its class, their mean its number.  There is
nothing to train.  The price is paid at each query: the distance to every row.  Two indexes spare
most of that.

- A *KD-tree* halves the rows by one feature, then each half by another, and so on.  A query goes
  down to its own leaf, then visits other parts only if they may hold something nearer.
- *Locality-sensitive hashing* (LSH) cuts space by random planes through the origin.  The sides on
  which a row lies are its bits; rows with equal bits are candidates.  Some neighbours are missed.

          │         ●                 query ✕, the best so far is r away
       ●  │    ●                      │◀ gap ▶✕
          │                           │
     ─────┤ ✕──r──●                   gap > r: nothing beyond the plane can
       ●  │                           be nearer, so don't go there
     ●    │  ●      ●                 gap ≤ r: visit the other side, too
          │
          first plane

**The formulas**, for neighbours at distances dᵢ with answers yᵢ, an angle θ between two rows:

    distance   d(a, b) = √ ∑ⱼ (aⱼ - bⱼ)²
    weights    uniform: wᵢ = 1/k        distance: wᵢ = (1/dᵢ) / ∑ⱼ (1/dⱼ)
    class      the one with the largest sum of weights        number: ∑ᵢ wᵢ yᵢ
    LSH        P(a bit agrees) = p = 1 - θ/π
               P(candidate) = 1 - (1 - p^bits)^tables
    contrast   (d_max - d_min)/d_min

**Why p = 1 - θ/π?**  A random plane parts two rows if it cuts through the angle between them.
Its direction is uniform over half a turn, and θ of that does it.  More bits a table make
candidates fewer; more tables give each neighbour another chance.

**Why do they fail in many dimensions?**  The *curse of dimensionality*: distances to random rows
become all alike.  In 2 dimensions the farthest of 200 rows is some 20 times as far away as the
nearest, in 500 it is 15% farther.  Then gap ≤ r almost everywhere, and the tree visits everything.

**Worked by hand**, with one feature, rows 0, 1, 3, 7:

    from 2 the distances are 2, 1, 1, 5; the 3 nearest are rows 1, 2, 0: row 1 before row 2
    answers 10, 20, 60, 0:  uniform (20 + 60 + 10)/3 = 30
        by distance, weights [1 1 ½]/2.5:  (20 + 60 + 5)/2.5 = 34
    classes a b b a, from ¼, k = 3:  uniform b; by distance a: 4 against 4/3 + 4/11
    contrast from 2: (5 - 1)/1 = 4
    [1 0] and [1 1]: θ is 45°, p = ¾; 2 bits and 3 tables: 1 - (1 - 9/16)³ = 0.916

**Shapes**: x (n, d), y (n,), new rows (m, d), a point (d,).  Features may be integers, bytes too;
distances are float64.  No function changes its arguments.

**Steps.**  A good place to pause is after knn_regress.

    squared_distances      8 min   no loop over rows, and no cancellation
    nearest                8 min   ties
    neighbor_weights       8 min   a distance of 0
    knn_classify           8 min   classes are no numbers
    knn_regress            4 min   one line
    KDTree                22 min   when may a half be skipped?
    hyperplane_bits        3 min   one line
    collision_probability  6 min   a cosine above 1
    HyperplaneLSH         12 min   a dict a table
    relative_contrast      4 min   the curse, measured

Sources: Cover and Hart 1967, "Nearest Neighbor Pattern Classification"; Friedman, Bentley and
Finkel 1977, "An Algorithm for Finding Best Matches in Logarithmic Expected Time"; Charikar 2002,
"Similarity Estimation Techniques from Rounding Algorithms"; Beyer et al. 1999, "When Is 'Nearest
Neighbor' Meaningful?"

From scratch: sklearn and scipy may not be used.
"""

from collections.abc import Callable

import numpy as np

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The squared distance of each row of `a` (n, d) to each of `b` (m, d): float64 (n, m).

    - Exactly 0 between equal rows.  Right also for near rows far from the origin: 1e8 and 1e8 + 1.
    - No Python loop over rows; one over features is fine.
    """
    raise NotImplementedError


def nearest(x: np.ndarray, new: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(distances, rows), each (m, k): the k rows of `x` nearest to each new row, nearest first.

    - Distances aren't squared.
    - Of equal distances the smaller row number comes first.
    - No Python loop over rows.

    Raises ValueError, naming k and n, unless 1 ≤ k ≤ n.
    """
    raise NotImplementedError


def neighbor_weights(distances: np.ndarray, kind: str = "uniform") -> np.ndarray:
    """The lesson's weights, (m, k), "uniform" or by "distance"; each row sums to 1.

    - By "distance", where a row has zeros, these share the weight, and all others have 0.
    - Only a distance of exactly 0 is one.  For 1e-310, too, weights are finite: scale first.

    Raises ValueError, naming the kind, if it is another.
    """
    raise NotImplementedError


def knn_classify(x: np.ndarray, y: np.ndarray, new: np.ndarray, k: int, kind: str = "uniform") -> np.ndarray:
    """The class of each new row by its k nearest: (m,), of the values in `y`.

    Classes are numbers or strings.  Of equal votes the class that is first in sorted order wins.
    `kind` is neighbor_weights', the neighbours and the error are those of nearest.
    """
    raise NotImplementedError


def knn_regress(x: np.ndarray, y: np.ndarray, new: np.ndarray, k: int, kind: str = "uniform") -> np.ndarray:
    """The weighted mean of the k nearest rows' numbers `y`, float64 (m,); else as knn_classify."""
    raise NotImplementedError


def euclidean(rows: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Given to you: the distance of each of `rows` (j, d) to `point` (d,), (j,)."""
    return np.sqrt(((rows - point) ** 2).sum(axis=1))


class KDTree:
    """An index that finds the k nearest rows without measuring all distances."""

    def __init__(self, x: np.ndarray, leaf_size: int = 8, distance: Distance = euclidean) -> None:
        """Build the tree of the rows `x` (n, d), n ≥ 1.

        leaf_size   the most rows that a leaf holds, ≥ 1
        distance    measures euclidean distances: distance(rows (j, d), point (d,)) gives (j,).
                    All distances from a query to rows are measured by it.

        - The depth grows with log n, however the rows lie: sorted, or powers of 2.
        - Any number of rows may be equal.
        - `x` may change afterwards without an effect on the tree.
        """
        raise NotImplementedError

    def query(self, point: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(distances, rows), each (k,): the k rows nearest to `point` (d,), nearest first.

        - Exact: the distances are those of brute force.  Of rows equally far away any will do.
        - Of 2,000 uniform rows with 1 or 2 features and leaf_size 8, a query from among them
          measures at most 90 for k = 1 and 140 for k = 5, on average; one from far outside at
          most half of the rows.

        Raises ValueError, naming k and n, unless 1 ≤ k ≤ n.
        """
        raise NotImplementedError


def hyperplane_bits(x: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Boolean (n, b): whether x·plane ≥ 0, for rows `x` (n, d) and normals `planes` (b, d)."""
    raise NotImplementedError


def collision_probability(a: np.ndarray, b: np.ndarray) -> float:
    """The lesson's p for two vectors (d,), neither of them 0.

    Within 1e-7 also for parallel and opposite vectors, and never NaN.
    """
    raise NotImplementedError


class HyperplaneLSH:
    """An index of several tables, each with its own random planes.

    After `fit`, `planes` (tables, bits, d) holds the normals.
    """

    def __init__(self, bits: int, tables: int, rng: np.random.Generator) -> None:
        """`bits` planes in each of `tables` tables, all drawn by `rng`: independent Gaussians."""
        raise NotImplementedError

    def fit(self, x: np.ndarray) -> None:
        """Index the rows `x` (n, d).  A second `fit` forgets the first, and may have another d."""
        raise NotImplementedError

    def candidates(self, point: np.ndarray) -> np.ndarray:
        """The numbers of the rows that agree with `point` (d,) in all bits of some table.

        Integers (c,), rising, each once; c may be 0.
        """
        raise NotImplementedError


def relative_contrast(x: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The lesson's contrast of each new row's distances to all rows of `x`: (m,).

    It is inf where the smallest distance is 0, also if all are.
    """
    raise NotImplementedError
