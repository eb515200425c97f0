"""UMAP

**Before you start.**  You need nearest neighbours, bisection, gradients, and least squares with a
Jacobian.  The kata manifolds (t-SNE) comes before this one.  UMAP is new to you?  Read Coenen and
Pearce, "Understanding UMAP", pair-code.github.io/understanding-umap.

**The idea.**  You want a page that shows data of many dimensions, and you have more points than
t-SNE can bear.  Its probabilities sum to 1 over all pairs, so every pair feels every other.  UMAP
gives each pair a weight of its own: how probable is an edge between these two points?  It builds a
fuzzy graph of neighbours in the data, and moves points on the page until their edges are as
probable there.

**The formulas**, for point i with distances d to its k nearest neighbours:

    scale      ρ = the smallest d above 0      σ: ∑ exp(-max(0, d - ρ)/σ) = log₂ k
    member     m_ij = exp(-max(0, d_ij - ρᵢ)/σᵢ)      0 if j isn't a neighbour
    graph      v_ij = m_ij + m_ji - m_ij m_ji
    page       w_ij = 1 / (1 + a s^b)      s = ‖yᵢ - yⱼ‖²
    curve      a, b: w nearest to  1 for d < min_dist,  exp(-(d - min_dist)/spread) from there on
    loss       ∑_i<j  v ln(v/w) + (1 - v) ln((1 - v)/(1 - w))
    gradient   ∑ⱼ 2 (v a b s^(b-1) - (1 - v) b / s) / (1 + a s^b) · (yᵢ - yⱼ)      by yᵢ
    descent    y ← y - η (1 - t/T) clip(gradient, -4, 4)      for steps t from 0 to T - 1

- ρ makes the nearest neighbour a member for certain, however far away it is.
- v is the probability that at least one of two independent edges exists, i to j or j to i.
- The first term of the loss pulls neighbours together, the second pushes all others apart.

    data               fuzzy graph            page
    • •                •━━━•                   •━•
     •   ─────▶         ╲ ╱ ╲       ─────▶      ╲│
        •                •───•                   •─•
    distances          weights v, 0 to 1      weights w near v

**Why a ρ and σ for each point?**  Where points are sparse, the same distance means less.  With its
own scale, every point has members that sum to log₂ k.

**Why does umap-learn draw samples?**  All pairs cost n² a step.  It draws edges in proportion to v,
and a few random points to push away.  Here you take the exact gradient, for some hundred points.

**Worked by hand**:

    d = 1, 2, 2, 2 (k = 4):   ρ = 1, 1 + 3 e^(-1/σ) = log₂ 4 = 2, σ = 1/ln 3 = 0.910
                              members 1, 1/3, 1/3, 1/3
    m = 1/3 one way and 1/2 the other:   v = 1/3 + 1/2 - 1/6 = 2/3
    min_dist 0.1, spread 1:   a = 1.577, b = 0.895
    y = 0 and 1, a = b = 1:   w = 1/2.  For v = 1 the loss is ln 2 and the gradient by y₀ is -1:
                              descending, y₀ moves to y₁.  For v = 0 it is ln 2 and +1.

**Shapes**: x (n, d), integers or floats; v (n, n) symmetric, from 0 to 1, diagonal 0; y (n, q).
Answers are float64.  No function changes its arguments.

**Steps.**

    local_scale    15 min   a bracket, bisection, and where there is no answer
    memberships     4 min   σ may be 0
    fuzzy_graph    12 min   neighbours, rows, union
    fit_curve      20 min   least squares with two unknowns
    umap_loss      12 min   0 ln 0, and 1 - w for close points
    umap_gradient  15 min   points that coincide
    layout          5 min   a rate that falls

Sources: McInnes, Healy and Melville 2018, "UMAP: Uniform Manifold Approximation and Projection for
Dimension Reduction"; the code of umap-learn for the floor of σ, the curve and the clipping.

From scratch: scipy, sklearn and umap may not be used.
"""

import numpy as np


def local_scale(distances: np.ndarray) -> tuple[float, float]:
    """ρ and σ of a point from the `distances` (k,) to its k nearest neighbours, in any order.

    - The sum of the members differs from log₂ k by at most 1e-5, but
    - σ is never below its floor, 0.001 times the mean of `distances`.  The floor is also the answer
      where log₂ k or more neighbours are at ρ or nearer, so that no σ > 0 gives a sum that small.
    - If all distances are 0, ρ and σ are 0.
    - Distances may be on any scale: 1e-6 or 1e6.

    Raises ValueError, naming k, if k < 3.
    """
    raise NotImplementedError


def memberships(distances: np.ndarray, rho: float, sigma: float) -> np.ndarray:
    """m of each of the `distances` (k,): (k,).

    It is 1 up to `rho`, even if `sigma` is 0; no distance is above `rho` then.
    """
    raise NotImplementedError


def fuzzy_graph(x: np.ndarray, k: int) -> np.ndarray:
    """The weights v of the edges among the rows of `x` (n, d), with k neighbours each: (n, n).

    - A point isn't its own neighbour, but a copy of it is one.  The diagonal is 0.
    - At a tie of distances the lower row number is nearer.

    Raises ValueError, naming k and n, unless 3 ≤ k < n.
    """
    raise NotImplementedError


def fit_curve(min_dist: float, spread: float = 1.0) -> tuple[float, float]:
    """a and b of the page's curve: the least sum of squared differences from the lesson's target.

    - Differences are taken at 300 distances d, evenly spaced from 0 to 3 · `spread`, both included.
    - a and b are above 0, and within 0.01% of the best.

    Raises ValueError, naming both, unless 0 ≤ min_dist ≤ spread.
    """
    raise NotImplementedError


def umap_loss(v: np.ndarray, y: np.ndarray, a: float, b: float) -> float:
    """The loss of the page `y` (n, q) for the graph `v` (n, n), each pair counted once.

    - 0 ln 0 is 0: pairs with v = 0 or v = 1 have one term.
    - Close points keep their digits: at d = 1e-6, 1 - w isn't computed as 1 minus w.
    - Points that coincide make it inf, but nothing if their v is 1.
    """
    raise NotImplementedError


def umap_gradient(v: np.ndarray, y: np.ndarray, a: float, b: float) -> np.ndarray:
    """The gradient of the loss by each point of the page `y` (n, q): (n, q).

    Points that coincide don't move each other: their pair adds 0, never NaN.
    """
    raise NotImplementedError


def layout(v: np.ndarray, start: np.ndarray, a: float, b: float, rate: float, steps: int) -> np.ndarray:
    """The page (n, q) after the lesson's descent from `start` (n, q): `rate` is η, `steps` T ≥ 0.

    Each entry of the gradient is clipped by itself.
    """
    raise NotImplementedError
