"""DBSCAN and agglomerative clustering

**Before you start.**  You need distances between all pairs of rows, a queue or a stack, and
binomial coefficients.  Clustering is new to you?  Read Hastie, Tibshirani and Friedman, "The
Elements of Statistical Learning", section 14.3.12, free at hastie.su.domains/ElemStatLearn.

**The idea.**  K-means finds round groups, and you must say how many.  Real groups have any form,
and some points belong to none.

- *DBSCAN* asks where it is dense.  A cluster is what hangs together through dense places.  The rest
  is noise.
- *Agglomerative clustering* asks who is closest.  Start with each point alone, and merge the two
  closest clusters, again and again.  The merges form a tree.  Cut it where you like.

**The formulas.**  DBSCAN has a radius eps and a number of points:

    core        at least min_points points, itself included, are within eps
    cluster     core points within eps of each other, and on along such steps
    border      not core, but within eps of a core point: joins that one's cluster
    noise       neither: label -1

Clusters A and B, of |A| and |B| points, have a distance.  After A and B merge, the distance to each
other cluster C follows from the three old ones (Lance and Williams):

    single      min(d(A, C), d(B, C))        the closest two points
    complete    max(d(A, C), d(B, C))        the farthest two points
    average     (|A| d(A, C) + |B| d(B, C)) / (|A| + |B|)
    ward        √( ((|A| + |C|) d(A, C)² + (|B| + |C|) d(B, C)² - |C| d(A, B)²)
                   / (|A| + |B| + |C|) )

The adjusted Rand index says how far two labellings agree on pairs.  With n_ij the points that have
label i in the first and j in the second, row sums a_i, column sums b_j, and C(m) = m(m - 1)/2:

    index     I = ∑ C(n_ij)      A = ∑ C(a_i)      B = ∑ C(b_j)      expected E = A B / C(n)
    adjusted  (I - E) / ((A + B)/2 - E)

A dendrogram, drawn for the points 0, 1, 4, 9 and single linkage:

    5 ┤       ┌───────┴───────┐
      │       │               │
    3 ┤   ┌───┴─────┐         │     a cut at height 4: {0, 1, 4} and {9}
      │   │         │         │
    1 ┤ ┌─┴─┐       │         │
      └─0───1───────4─────────9

**Why does a border point not spread?**  It isn't dense there.  If it did, one stray point between
two clusters would join them.

**Why Ward?**  Its distance is √(2|A||B|/(|A| + |B|)) times that of the means.  Half its square is
what the merge adds to the sum of squared distances from the means: k-means' inertia.

**Worked by hand**:

    x = 0 1 2 6 7, eps = 1.5, min_points = 3:   only 1 is core; labels 0 0 0 -1 -1
    merges of x = 0 1 4 9, heights      single 1, 3, 5        complete 1, 4, 9
                                        average 1, 3.5, 22/3   ward 1, 4.041, 8.981
    labels 0 0 0 1 1 and 0 0 1 1 1:   n_ij = [2 1; 0 2], I = 2, A = B = 4, E = 16/10
                                      (2 - 1.6)/(4 - 1.6) = 1/6

**Shapes**: x (n, d), of integers or floats; labels (n,) of integers.  Distances are Euclidean, in
float64.  No function changes its arguments.

**Steps.**

    neighborhoods        5 min   all pairs, the point itself included
    dbscan              15 min   only core points spread; no recursion
    merged_distances    10 min   four formulas
    linkage             20 min   numbers of clusters, and what is gone
    cut_at_height       10 min   follow the merges up to a height
    cut_into             5 min   the first n - k merges
    adjusted_rand_index 10 min   a table of counts; what if there is nothing to adjust?

Sources: Ester et al. 1996, "A Density-Based Algorithm for Discovering Clusters"; Lance and Williams
1967, "A General Theory of Classificatory Sorting Strategies"; Ward 1963, "Hierarchical Grouping to
Optimize an Objective Function"; Hubert and Arabie 1985, "Comparing Partitions".

From scratch: scipy and sklearn may not be used.
"""

import numpy as np


def neighborhoods(x: np.ndarray, eps: float) -> np.ndarray:
    """Which rows of `x` (n, d) are within `eps` of which: bool (n, n).

    Within means a distance ≤ eps.  So each row is within eps of itself.  Distances keep their
    digits far from 0: from [1e8 + 1] to [1e8 + 3] it is 2.
    """
    raise NotImplementedError


def dbscan(x: np.ndarray, eps: float, min_points: int) -> np.ndarray:
    """The cluster of each row of `x` (n, d): (n,), -1 for noise.

    - Clusters are numbered from 0 in the order of their first core points in `x`.
    - A border point that could join several clusters joins the one with the lowest number.
    - Chains of thousands of points are fine.

    Raises ValueError, naming the given value, if eps < 0 or min_points < 1.
    """
    raise NotImplementedError


def merged_distances(
    to_a: np.ndarray,
    to_b: np.ndarray,
    between: float,
    size_a: int,
    size_b: int,
    sizes: np.ndarray,
    method: str,
) -> np.ndarray:
    """The distances (m,) of other clusters C from the union of A and B, by the lesson's formulas.

    - `to_a` and `to_b` (m,) are d(A, C) and d(B, C), `between` is d(A, B), `sizes` (m,) the |C|.
    - m may be 0.
    - Never NaN: where rounding leaves less than 0 under Ward's root, the distance is 0.
    - `method` is "single", "complete", "average" or "ward".

    Raises ValueError, naming the given method, if it is another.
    """
    raise NotImplementedError


def linkage(x: np.ndarray, method: str) -> np.ndarray:
    """The merges of the rows of `x` (n, d), n ≥ 1, in their order: float64 (n - 1, 4).

    - Row i of the answer is a, b, height, size: clusters a < b merge at distance `height` into one
      of `size` points.
    - Clusters 0 to n - 1 are the rows of `x`.  Merge i makes cluster n + i.
    - Between two single points, every method takes their distance.
    - At a tie, any of the closest pairs merges.

    Raises ValueError, naming the given method, if it is none of the four.
    """
    raise NotImplementedError


def cut_at_height(merges: np.ndarray, height: float) -> np.ndarray:
    """The labels (n,) after all of `merges` (n - 1, 4) with a height ≤ `height`.

    - `merges` is an answer of `linkage`: heights never fall from row to row.
    - Labels are numbered from 0 in the order of their first rows: row 0 has label 0.
    - Trees that are thousands of merges deep are fine.
    """
    raise NotImplementedError


def cut_into(merges: np.ndarray, k: int) -> np.ndarray:
    """The labels (n,) of the k clusters that are left before the last k - 1 of `merges` (n - 1, 4).

    Numbered as in `cut_at_height`.  Raises ValueError, naming k and n, unless 1 ≤ k ≤ n.
    """
    raise NotImplementedError


def adjusted_rand_index(first: np.ndarray, second: np.ndarray) -> float:
    """The adjusted Rand index of two labellings (n,): 1 if all pairs agree, about 0 by chance.

    - Labels may be any integers or strings; -1 is a label like others.
    - Where the lesson's quotient is 0/0, both put all points together, or each alone: it is 1.
    - A million points are fine: products of numbers of pairs may exceed 64 bits.

    Raises ValueError, naming both lengths, if they differ.
    """
    raise NotImplementedError
