"""Lasso and elastic net

**Before you start.**  You need least squares with an intercept, ridge regression and the idea of a
convex function.  The kata before this one has both fits; you import nothing.  The lasso is new to
you?  Read Hastie, Tibshirani and Wainwright (below), sections 2.1 to 2.4, free at
hastie.su.domains/StatLearnSparsity.

**The idea.**  With many features you want a model that uses few.  The lasso adds the sum of the
|wⱼ| to the squared errors.  That sets many weights to exactly 0: it fits and selects at once.  The
elastic net adds squared weights too, so features that are alike share their weight.  There is no
closed form.  But with all weights but one fixed there is, so go round the weights one by one.

**The formulas**, for features X (n, d), targets y (n,), weights w (d,), an intercept b, a penalty
α > 0 and a share ρ of the lasso (`l1_ratio`), 0 < ρ ≤ 1:

    objective       P(w) = ∑ rᵢ²/(2n) + α ρ ∑ |wⱼ| + ½ α (1 - ρ) ∑ wⱼ²      r = y - X w - b
    threshold       S(z, t) = z - t if z > t,  z + t if z < -t,  else 0
    one weight      wⱼ ← S(zⱼ, α ρ) / (aⱼ + α (1 - ρ))
                    zⱼ = xⱼ·(r + xⱼ wⱼ)/n,   aⱼ = xⱼ·xⱼ/n,   xⱼ is column j
    duality gap     G = (1 + c²)/2 · (r·r/n + α (1 - ρ) ∑ wⱼ²) + α ρ ∑ |wⱼ| - c r·y/n
                    c = min(1, α ρ / maxⱼ |xⱼ·r/n - α (1 - ρ) wⱼ|)
    all zero        from the penalty maxⱼ |xⱼ·y| / (n ρ) on

- ρ = 1 is the lasso.  Near ρ = 0 it is almost ridge regression.
- The last three formulas are for centred columns and targets.  Then b = 0; afterwards b = ȳ - x̄·w.
- *The path* fits a falling row of penalties.  Each fit starts from the weights of the one before,
  which are already close.

The threshold pulls everything towards 0 by t, and leaves a flat piece:

        S(z, t)          ╱
            │           ╱
            │          ╱
    ────────┼────━━━━━━─────▶ z
               ╱ -t   t
              ╱
             ╱

**Why exactly zero?**  The slope of ½ w² vanishes at 0, so ridge shrinks a small weight ever less.
The slope of |w| stays 1.  A feature whose correlation with the residuals is below α ρ can't pay
for that, and its weight is 0.

**Why the duality gap?**  You don't know the lowest value of P, so how near are you?  Every point of
the dual problem is a lower bound on it.  The residuals times c are such a point, so P(w) is at most
G above the best.  G is 0 at the solution alone: stop when it is small.

**Worked by hand**, x = [1 2 3], y = [3 5 7], so centred [-1 0 1] and [-2 0 2]:

    z = 4/3, a = 2/3, so α = 4/3 is the smallest penalty with w = 0
    α = 1/3, ρ = 1      w = (4/3 - 1/3)/(2/3) = 3/2,  b = 5 - 2·3/2 = 2
    α = 2/3, ρ = ½      w = (4/3 - 1/3)/(2/3 + 1/3) = 1
    at w = 0, α = 1/3   P = 4/3, c = (1/3)/(4/3) = ¼, G = (17/16)/2·8/3 - ¼·8/3 = 3/4
    at the solution     P = (½ + 3)/6 = 7/12: indeed 3/4 less

**Shapes**: x (n, d), y (n,), weights (d,), floats otherwise.  Answers are float64.  Integers of any
width are fine as input.  No function changes its arguments.

**Steps.**

    soft_threshold   5 min   three cases, no loop
    objective        5 min   which terms have an n?
    sweep           15 min   keep the residuals up to date
    duality_gap     10 min   follow the formula; c where the maximum is 0
    elastic_net     15 min   centre, sweep until the gap is small
    largest_penalty  5 min   centre here, too
    path            10 min   hand the weights on

Sources: Tibshirani 1996, "Regression Shrinkage and Selection via the Lasso"; Friedman, Hastie and
Tibshirani 2010, "Regularization Paths for Generalized Linear Models via Coordinate Descent";
Hastie, Tibshirani and Wainwright 2015, "Statistical Learning with Sparsity", chapters 2 and 5.

From scratch: scipy and sklearn may not be used.
"""

import numpy as np


def soft_threshold(z: np.ndarray, threshold: float) -> np.ndarray:
    """S(z, threshold) of each entry of `z`, an array of any shape: float64, the same shape.

    Raises ValueError, naming it, if the threshold is negative.
    """
    raise NotImplementedError


def objective(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    intercept: float,
    penalty: float,
    l1_ratio: float = 1.0,
) -> float:
    """The lesson's P for these weights and this intercept.  x and y are taken as they are."""
    raise NotImplementedError


def sweep(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    penalty: float,
    l1_ratio: float = 1.0,
) -> np.ndarray:
    """The weights after one round of coordinate descent from `weights`: a new array (d,).

    - x and y are taken as they are, and there is no intercept.
    - Weights 0, 1, …, d - 1 are set in this order, each to its best value given all others as they
      are by then.
    - A column of zeros gets weight 0.
    """
    raise NotImplementedError


def duality_gap(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    penalty: float,
    l1_ratio: float = 1.0,
) -> float:
    """The lesson's G.  x and y are taken as they are, and there is no intercept.

    Where the maximum in c is 0, c is 1.
    """
    raise NotImplementedError


def elastic_net(
    x: np.ndarray,
    y: np.ndarray,
    penalty: float,
    l1_ratio: float = 1.0,
    start: np.ndarray | None = None,
    tol: float = 1e-8,
    max_sweeps: int = 1000,
) -> tuple[np.ndarray, float, int]:
    """The weights (d,), the intercept, and how many sweeps were made.

    - The intercept is fitted, and isn't penalised.
    - It sweeps from `start` (d,), or from zeros where that is None.
    - It looks at the gap before each sweep, and ends once this is at most tol · ∑(yᵢ - ȳ)²/(2n).
      So a start that is good enough takes 0 sweeps.  After `max_sweeps` it ends in any case.
    - Columns may be constant (their weight is then 0, from a start of None), or more than the rows.

    Raises ValueError, naming the value, if the penalty isn't above 0, or the ratio isn't in (0, 1].
    """
    raise NotImplementedError


def largest_penalty(x: np.ndarray, y: np.ndarray, l1_ratio: float = 1.0) -> float:
    """The smallest penalty for which all weights of `elastic_net` are 0: the path begins there.

    Where all targets are equal it is exactly 0, even if rounding leaves something of y - ȳ.
    """
    raise NotImplementedError


def path(
    x: np.ndarray,
    y: np.ndarray,
    l1_ratio: float = 1.0,
    count: int = 20,
    ratio: float = 1e-3,
    tol: float = 1e-8,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Penalties (count,), weights (count, d), intercepts (count,) and sweeps (count,) of the path.

    - The penalties fall from the largest to `ratio` times that, each by the same factor; count ≥ 2.
    - Row i is `elastic_net` for penalty i, with this `tol`.
    - The first fit starts from zeros, and each other one from the weights before it: that takes
      fewer sweeps.

    Raises ValueError, saying "constant", if the largest penalty is 0, as for a constant y.
    """
    raise NotImplementedError
