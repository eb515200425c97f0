"""K-means

**Before you start.**  You need means, squared distances and broadcasting.  Clustering is new to
you?  Read Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", section 14.3.6,
free at hastie.su.domains/ElemStatLearn.

**The idea.**  You have many points, no labels, and you expect groups.  K-means describes the points
by k centres.  Each point belongs to its nearest centre, and each centre is the mean of its points.
Neither can be found without the other, so you take turns (Lloyd's algorithm).

**The formulas**, for points x, centres c, and the label a(i) of point i:

    inertia       J = ∑ᵢ ‖xᵢ - c_a(i)‖²
    assign        a(i) = the j with the smallest ‖xᵢ - cⱼ‖²
    update        cⱼ = the mean of its points
    k-means++     P(next centre is xᵢ) = D(xᵢ)² / ∑ D²
    mini-batch    nⱼ ← nⱼ + m        cⱼ ← cⱼ + (∑ batch points of j - m cⱼ) / nⱼ
    silhouette    sᵢ = (b - a) / max(a, b)

- D(x) is the distance to the nearest centre drawn so far.
- m is the number of points in the batch whose nearest centre is j, nⱼ that of all batches so far.
- a is the mean distance from xᵢ to the other points of its cluster.  b is the mean distance to the
  points of another cluster, the one where this is smallest.

Lloyd's turns on a line of points, from two centres (×) on the left:

    start      × ×               labels  0 1 1 1
               ●─●───────●───●
    step 1     ×        ×        labels  0 0 1 1
               ●─●───────●───●
    step 2      ×          ×     labels  0 0 1 1, as before: the end
               ●─●───────●───●

**Why does it end?**  Neither turn can raise J: the mean is the point with the smallest sum of
squared distances.  And there are finitely many labellings.  But the end may be a poor local
minimum.  So you start well (k-means++) and more than once.

**Which k?**  The lowest possible J falls as k grows.  The elbow is where it stops falling fast: the
k at which the curve lies deepest below the straight line from its first point to its last.

**Worked by hand**, for x = 0, 1, 5, 7 on a line:

    centres 0, 1      labels 0 1 1 1    J = 0 + 0 + 16 + 36 = 52
    centres 0, 13/3   labels 0 0 1 1    J = 0 + 1 + 4/9 + 64/9 = 77/9
    centres 0.5, 6    labels 0 0 1 1    J = 2.5: nothing changed, end
    k-means++ after 0:   D² = 0, 1, 25, 49    P = 0, 1/75, 25/75, 49/75
    silhouette of x = 1:   a = 1, b = (4 + 6)/2 = 5, s = 0.8
    centre 0 with n = 1, batch 2, 4:   n = 3, c = 0 + (6 - 2·0)/3 = 2
    J for k = 1, 2, 3, 4 is 32.75, 2.5, 0.5, 0:   the elbow is at 2

**Shapes**: x (n, d), centres (k, d), labels (n,) of integers from 0 to k - 1.  x may hold integers,
uint8 too.  Answers are float64 but for labels and counts.  squared_distances and update_centers may
loop over clusters, but not over the rows of x: k-means is only useful if it is fast.  No function
changes its arguments.

**Steps.**

    squared_distances    5 min   uint8 can't be negative
    kmeans_plus_plus    10 min   one draw a centre, with probabilities
    assign               3 min   ties
    update_centers       5 min   a centre without points
    lloyd               10 min   when does it end?
    kmeans               5 min   the best of several
    mini_batch_step      8 min   counts that remember
    mini_batch_kmeans    5 min   different rows in a batch
    silhouette          12 min   the point itself doesn't count
    elbow                5 min   a line and a gap

Sources: Lloyd 1982, "Least squares quantization in PCM"; Arthur and Vassilvitskii 2007, "k-means++:
The Advantages of Careful Seeding"; Sculley 2010, "Web-Scale K-Means Clustering"; Rousseeuw 1987,
"Silhouettes".

From scratch: scipy and sklearn may not be used.
"""

import numpy as np


def squared_distances(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """‖xᵢ - cⱼ‖² for each row of `x` (n, d) and of `centers` (k, d): float64 (n, k).

    - Never negative, and 0 for equal rows.
    - Keeps its digits far from 0: of [1e8 + 1] and [1e8 + 3] it is 4.
    """
    raise NotImplementedError


def kmeans_plus_plus(x: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k rows of `x` (n, d) as first centres, (k, d), in the order in which they were drawn.

    - The first is any row, each as probable.  Each next one is a single draw with the lesson's
      probabilities.  So no point is drawn twice.
    - All randomness comes from `rng`.

    Raises ValueError, naming k, if k < 1; and, naming k and the number of different rows, if `x`
    has fewer different rows than k.
    """
    raise NotImplementedError


def assign(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """The number of the nearest centre for each row of `x`: (n,).  At a tie, the lowest number."""
    raise NotImplementedError


def update_centers(x: np.ndarray, labels: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """The mean of each cluster's rows: (k, d).  One without rows keeps its row of `centers`.

    Sums are float64, of float32 rows too.
    """
    raise NotImplementedError


def lloyd(x: np.ndarray, centers: np.ndarray, max_steps: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lloyd's algorithm from `centers` (k, d).  A step is an update, then an assignment.

    It assigns once, then ends after the first step that leaves all labels as they were, or after
    `max_steps` ≥ 0 steps.  Returns

    - the last centres (k, d),
    - the labels (n,), assigned by these centres,
    - the inertia of each assignment, with the centres that made it: (number of steps + 1,).
    """
    raise NotImplementedError


def kmeans(x: np.ndarray, k: int, rng: np.random.Generator, restarts: int = 10) -> tuple[np.ndarray, np.ndarray, float]:
    """Centres (k, d), labels (n,) and inertia of the best of `restarts` ≥ 1 runs.

    Each run is `lloyd`, with its own `max_steps`, from a new draw of `kmeans_plus_plus`.  Raises what
    that raises.
    """
    raise NotImplementedError


def mini_batch_step(centers: np.ndarray, counts: np.ndarray, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The centres (k, d) and counts (k,) after a `batch` of points (b, d), as in the lesson.

    - `counts` (k,) is each centre's n before the batch; integers, and so is the answer.
    - All points of the batch are assigned before any centre moves.
    - A centre that no point of the batch is assigned to stays, even with a count of 0.
    """
    raise NotImplementedError


def mini_batch_kmeans(
    x: np.ndarray, centers: np.ndarray, batch: int, steps: int, rng: np.random.Generator
) -> np.ndarray:
    """The centres (k, d) after `steps` ≥ 0 calls of `mini_batch_step`, from counts of 0.

    Each takes `batch` different rows of `x`, each set of rows as probable; all rows if `batch` ≥ n.
    """
    raise NotImplementedError


def silhouette(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The silhouette of each row of `x` (n, d): (n,), from -1 to 1.

    - `labels` (n,) may be any integers or strings.
    - It is 0 for a point alone in its cluster, and where a and b are both 0.

    Raises ValueError, naming "2", if there are fewer than two clusters.
    """
    raise NotImplementedError


def elbow(ks: np.ndarray, inertias: np.ndarray) -> int:
    """The k of `ks` (m,), ascending, whose inertia lies deepest below the line of the lesson.

    - The line leads from (ks[0], inertias[0]) to (ks[-1], inertias[-1]).
    - `ks` need not start at 1 nor be evenly spaced.  At a tie, the smallest k.
    - If no inertia lies below the line, it is ks[0].

    Raises ValueError, naming the given m, if m < 3.
    """
    raise NotImplementedError
