"""t-SNE, Isomap and trustworthiness

**Before you start.**  You need gradients, eigenvectors, PCA and the entropy (katas svd_and_pca and
information of module 01).  t-SNE is new to you?  See it at work first: Wattenberg, Viégas and
Johnson 2016, "How to Use t-SNE Effectively", distill.pub/2016/misread-tsne.

**The idea.**  You want to see data of many dimensions on a page.  PCA keeps large distances.  But
data often lie on a curved sheet, a manifold, where only small distances mean something.

- *t-SNE* turns distances into probabilities of being neighbours, and moves points on the page until
  the page's probabilities are like the data's.
- *Isomap* measures distances along the sheet, over steps from neighbour to neighbour, and lays out
  points with these distances.

**The formulas** of t-SNE, for data x and points y on the page:

    data          p_j|i = exp(-β_i d_ij²) / ∑_k≠i exp(-β_i d_ik²)      d_ij = ‖xᵢ - xⱼ‖
    perplexity    exp(H_i),   H_i = -∑ⱼ p_j|i ln p_j|i
    symmetric     p_ij = (p_j|i + p_i|j) / (2n)                        p_ii = 0
    page          q_ij = w_ij / ∑_k≠l w_kl       w_ij = 1 / (1 + ‖yᵢ - yⱼ‖²)
    loss          ∑_i≠j p_ij ln(p_ij / q_ij)
    gradient      4 ∑ⱼ (p_ij - q_ij) w_ij (yᵢ - yⱼ)                    by yᵢ
    descent       v ← m v - η gradient        y ← y + v                v starts at 0

- β_i is point i's own precision.  You look for the one that gives every row the same perplexity:
  roughly its number of neighbours.
- *Early exaggeration*: the first steps descend on 4 p instead of p, so that clusters form early.

Of Isomap, with the geodesic distances g, and of trust in a page:

    scaling   B = -½ (g² - row means - column means + mean)     y = eigenvectors · √eigenvalues
    trust     1 - 2/(n k (2n - 3k - 1)) ∑ᵢ ∑ⱼ max(0, r(i, j) - k)

B is the matrix of dot products of centred points.  j runs over the k nearest neighbours of i on the
page.  r(i, j) is j's rank among i's neighbours in the data: the nearest has 1.

    data on a curve                        Isomap's page

      0──1──2──╮      0 and 6 are near
               3      in the data, but      0──1──2──3──4──5──6
      6──5──4──╯      six steps apart

**Why a heavy tail on the page?**  A page has less room than 64 dimensions.  Points at a medium
distance must go farther apart there.  1/(1 + d²) lets them, where a Gaussian would punish it.

**What must you not read from t-SNE?**  Sizes of clusters and distances between them: each row has
its own β, and the loss hardly cares for far pairs.

**Worked by hand**:

    d² = [1 2], β = ln 2:   weights ½ and ¼, p = [2/3 1/3], perplexity exp(0.6365) = 1.890
    y = 0, 1, 3 on a line, all p_ij = 1/6:   w = 0.5, 0.1, 0.2 for the pairs 01, 02, 12
        q = 5/16, 1/16, 2/16;   loss = ⅓ (ln 8/15 + ln 8/3 + ln 4/3) = 0.2133
        gradient by y₀ = 4 (-7/48 · 0.5 · (-1) + 5/48 · 0.1 · (-3)) = 1/6
    x = 0, 1, 3, 7 and page 0, 5, 1, 7, k = 1:   nearest on the page are 2, 3, 0, 1
        with ranks 2, 3, 2, 2 in the data;   trust = 1 - 2/(4·1·4) · (1 + 2 + 1 + 1) = 0.375

**Shapes**: x (n, d), integers or floats; y (n, q).  Answers are float64.  No function changes its
arguments.

**Steps.**  A good place to pause is after tsne.

    neighbor_probabilities   5 min   exp underflows
    search_precision        15 min   find a bracket, then halve it
    joint_probabilities      8 min   the point itself is left out
    tsne_loss                8 min   0 ln 0
    tsne_gradient           10 min   four arrays of (n, n)
    tsne                     8 min   momentum, and p exaggerated at first
    neighbor_graph           8 min   an edge goes both ways
    geodesics                8 min   shortest ways between all pairs
    classical_scaling       10 min   centre twice, then eigenvectors
    isomap                   2 min   three calls
    trustworthiness         12 min   ranks are an inverse permutation

Sources: van der Maaten and Hinton 2008, "Visualizing Data using t-SNE"; Tenenbaum, de Silva and
Langford 2000, "A Global Geometric Framework for Nonlinear Dimensionality Reduction"; Venna and
Kaski 2001, "Neighborhood Preservation in Nonlinear Projection Methods".

From scratch: sklearn may not be used.  scipy.sparse.csgraph may, but it takes an edge of length 0
in an array for none.
"""

import numpy as np


def neighbor_probabilities(d2: np.ndarray, precision: float) -> np.ndarray:
    """The p_j|i of one point i from its squared distances `d2` (m,) to all others: (m,), sum 1.

    Never NaN, however large the distances are: `precision` times `d2` may be 1e6 everywhere.
    """
    raise NotImplementedError


def search_precision(d2: np.ndarray, perplexity: float) -> float:
    """The β > 0 that gives the row of squared distances `d2` (m,) this `perplexity`, within 1e-5.

    - It works for distances on any scale: `d2` of 1e-10 or 1e10, or all within 1 of 1e4.
    - More is not possible than perplexity m (β = 0), and not less than the number of points that
      share the smallest distance (β = ∞).

    Raises ValueError, naming the perplexity and both bounds, unless it lies between them; the
    bounds themselves are out.
    """
    raise NotImplementedError


def joint_probabilities(x: np.ndarray, perplexity: float) -> np.ndarray:
    """The symmetric p_ij of the rows of `x` (n, d), each row with this `perplexity`: (n, n), sum 1.

    The diagonal is 0.  Raises what `search_precision` raises; its m is n - 1.
    """
    raise NotImplementedError


def tsne_loss(p: np.ndarray, y: np.ndarray) -> float:
    """The loss of the page `y` (n, q) for the joint probabilities `p` (n, n).

    Pairs with p_ij = 0 add nothing.  All others count with their own p and q, however small.  `p`
    need not sum to 1.
    """
    raise NotImplementedError


def tsne_gradient(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The lesson's gradient of t-SNE's loss by each point of the page `y` (n, q): (n, q).

    `p` need not sum to 1: exaggerated, it is put into the same formula.
    """
    raise NotImplementedError


def tsne(
    p: np.ndarray,
    start: np.ndarray,
    rate: float,
    steps: int,
    momentum: float = 0.8,
    exaggeration: float = 4.0,
    exaggerated: int = 50,
) -> np.ndarray:
    """The page (n, q) after `steps` ≥ 0 steps of the lesson's descent from `start` (n, q).

    - `rate` is η, `momentum` m.
    - The first `exaggerated` steps take the gradient for `exaggeration` times `p`.
    """
    raise NotImplementedError


def neighbor_graph(x: np.ndarray, k: int) -> np.ndarray:
    """The lengths of the edges between neighbours among the rows of `x` (n, d): symmetric (n, n).

    - i and j have an edge if j is among the k nearest of i, or i among those of j.  Its length is
      their distance.
    - Without an edge the entry is inf.  The diagonal is 0.
    - A point isn't its own neighbour, but a copy of it is one, at distance 0.
    - At a tie the lower row number is nearer.

    Raises ValueError, naming k and n, unless 1 ≤ k < n.
    """
    raise NotImplementedError


def geodesics(graph: np.ndarray) -> np.ndarray:
    """The length of the shortest way between each two points of a `neighbor_graph` (n, n): (n, n).

    Edges of length 0 are edges.  Raises ValueError, naming "connected", if some pair has no way.
    """
    raise NotImplementedError


def classical_scaling(distances: np.ndarray, dimensions: int) -> np.ndarray:
    """Points (n, dimensions) whose distances come near to `distances` (n, n): the lesson's y.

    - `distances` may be integers, uint8 too.
    - Columns go from the largest eigenvalue down, and are centred.
    - A column's sign is free in the lesson's formula.  Here, its entry of largest absolute value
      is positive.  If two of them are as large, with opposite signs, either sign is right.
    - A negative eigenvalue counts as 0: its column is 0.
    - 1 ≤ dimensions ≤ n.
    """
    raise NotImplementedError


def isomap(x: np.ndarray, k: int, dimensions: int) -> np.ndarray:
    """Isomap of the rows of `x` (n, d) with k neighbours: (n, dimensions).  Raises as above."""
    raise NotImplementedError


def trustworthiness(x: np.ndarray, y: np.ndarray, k: int) -> float:
    """How far the k nearest neighbours on the page `y` (n, q) are near in the data `x` (n, d), too.

    1 is full trust.  A point isn't its own neighbour.  At a tie of distances, in both spaces, the
    lower row number is nearer.  Raises ValueError, naming k and n, unless 1 ≤ k < n/2.
    """
    raise NotImplementedError
