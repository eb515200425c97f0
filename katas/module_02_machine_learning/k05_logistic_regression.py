"""Logistic regression

**Before you start.**  You need gradients, Hessians and logarithms; ridge regression helps.  You
import no other kata.  The model is new to you?  Read Hastie, Tibshirani and Friedman (below),
section 4.4, free at hastie.su.domains/ElemStatLearn.

**The idea.**  You want the probability of a class, not only a guess.  Logistic regression computes
a score, or logit, z = x·w + b, and bends it into a probability between 0 and 1.  Its loss is
convex, so there is one best fit, and Newton's method finds it in some ten steps.  It is the
baseline of classification, and the last layer of most neural networks.

**The formulas**, for a row x (d,) with label y (0 or 1) and weight s, weights w (d,), intercept b:

    sigmoid         p = σ(z) = 1/(1 + e⁻ᶻ)
    cross-entropy   ℓ(z, y) = -y log p - (1 - y) log(1 - p) = max(z, 0) - z y + log(1 + e^-|z|)
    objective       F(w, b) = ∑ s ℓ + ½ λ ∑ wⱼ²         a sum over rows, λ > 0; b isn't penalised
    gradient        ∂F/∂w = ∑ s (p - y) x + λ w,   ∂F/∂b = ∑ s (p - y)
    Hessian         H = ∑ s p (1 - p) [x 1][x 1]ᵀ + λ on the diagonal of w
    Newton          [w b] ← [w b] - H⁻¹ gradient
    softmax         P(c | x) = e^z_c / ∑ₖ e^z_k          z_c = x·w_c + b_c, one for each class
    balanced        s = n/(k n_c)         n rows, k classes, n_c rows of this class

- *Newton's step* solves a least-squares problem whose row weights s p (1 - p) change with each
  step.  Hence its other name, iteratively reweighted least squares (IRLS).
- *Step halving.*  Far from the solution a whole step may be too long.  Halve it until F doesn't
  rise.
- *Softmax regression* has the objective F with ℓ = -log P(y | x), and all w_c in the penalty.
- *One-vs-rest* fits one model for each class against all others.  Its probabilities are the k
  sigmoids, divided by their sum.

The sigmoid, and what a row with label 1 costs:

    1 ┤               .-----          loss ┤ ╲
      │            ╱                       │   ╲
    ½ ┤          ╱                   log 2 ┤     ╲
      │        ╱                           │       ╲ .
    0 ┼─-----'────────────▶ z            0 ┼────────────-----▶ z
            -4   0    4                            0    4

**Why from logits?**  σ(40) rounds to 1, and log(1 - p) is then -∞.  The second form of ℓ never
computes p, and never takes e to a large power.  For the same reason write p (1 - p) as σ(z) σ(-z).

**Why a penalty?**  If a plane separates the classes, twice as large weights always cost less.
Without a penalty there is no best fit, and Newton runs off to infinity.

**Worked by hand**:

    z = 2       p = 0.8808;  y = 1 costs log(1 + e⁻²) = 0.1269, y = 0 costs 2 + 0.1269
    x = [-1 1], y = [0 1], λ = 1, from 0:   p = ½ twice;  ∂F/∂w = -½ - ½ = -1, ∂F/∂b = 0
                H = [2·¼ + 1, 0; 0, ½], so the step is [-2/3 0], and w becomes 2/3
    logits [2 0]   log-softmax [-0.1269 -2.1269]
    y = [a a a b]  balanced 4/(2·3) = 2/3 for each a, 4/(2·1) = 2 for b

**Shapes**: x (n, d), y (n,), weights (d,), or (k, d) for k classes.  The three models take labels
of any values that numpy sorts.  Answers are float64, and integers are fine as input.  No function
changes its arguments.

**Steps.**

    sigmoid               4 min   e to a large power
    binary_cross_entropy  5 min   the second form
    gradient              5 min   which terms get the penalty?
    newton_step          10 min   one matrix with a column of ones
    balanced_weights      4 min   a weight for each row
    LogisticRegression   18 min   when to stop, when to halve
    log_softmax           4 min   take the largest away first
    SoftmaxRegression    22 min   the hard one: k (d + 1) unknowns, one too many
    OneVsRest             8 min   k sigmoids that may all be 0

Sources: Hastie, Tibshirani and Friedman 2009, "The Elements of Statistical Learning", section 4.4;
Boyd and Vandenberghe 2004, "Convex Optimization", section 9.5; King and Zeng 2001, "Logistic
Regression in Rare Events Data".

From scratch: scipy and sklearn may not be used.
"""

from __future__ import annotations

import numpy as np


def sigmoid(z: np.ndarray) -> np.ndarray:
    """σ of each entry of `z`, an array of any shape: float64.

    Nothing overflows for z from -1e308 to 1e308, and σ(-50) is exact to many digits.
    """
    raise NotImplementedError


def binary_cross_entropy(
    z: np.ndarray,
    y: np.ndarray,
    row_weights: np.ndarray | None = None,
) -> float:
    """The mean of ℓ(z, y) over the rows, weighted by `row_weights` (n,): ∑ s ℓ / ∑ s.

    - `z` (n,) are logits, `y` (n,) labels 0 or 1; None weighs all rows alike.
    - Nothing overflows for z from -1e300 to 1e300.  Tiny losses are exact: a z of 50 with label 1
      costs e⁻⁵⁰, not 0.

    Raises ValueError, naming both shapes, if those of z and y differ.
    """
    raise NotImplementedError


def gradient(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    intercept: float,
    penalty: float = 0.0,
    row_weights: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """∂F/∂w (d,) and ∂F/∂b for labels 0 or 1.  None weighs each row 1."""
    raise NotImplementedError


def newton_step(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    intercept: float,
    penalty: float,
    row_weights: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """H⁻¹ times the gradient, its part for w (d,) and that for b; to be taken away from them.

    `penalty` is above 0.  The curvature of a row counts even where its p rounds to 1; its p - y may
    round to 0.
    """
    raise NotImplementedError


def balanced_weights(y: np.ndarray) -> np.ndarray:
    """The lesson's s of each row (n,): all classes of `y` then weigh the same.  Any labels."""
    raise NotImplementedError


class LogisticRegression:
    """Two classes, by Newton's method.

    After fit, attribute `classes` holds the two classes, sorted, `weights` (d,) and `intercept`
    their w and b; the second class is label 1.  A second fit forgets the first.
    """

    def __init__(self, penalty: float = 1.0, balanced: bool = False) -> None:
        """`penalty` is λ; with `balanced`, rows weigh as balanced_weights says, else 1 each.

        Raises ValueError, naming it, if the penalty isn't above 0.
        """
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray) -> LogisticRegression:
        """Find the lowest F, whatever the features' scales, and return the object itself.

        - F is at most 1e-7 above its lowest value.
        - Classes that a plane separates are no problem, and small penalties (1e-6) aren't, either.

        Raises ValueError, naming their number, unless there are exactly 2 classes.
        """
        raise NotImplementedError

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """The probabilities of both classes, in the order of `classes`: (n, 2)."""
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The more probable class of each row, either at exactly ½: (n,), a value of `classes`."""
        raise NotImplementedError


def log_softmax(z: np.ndarray) -> np.ndarray:
    """log P of each class, from logits `z` (n, k): each row's exponentials sum to 1.

    Nothing overflows and nothing is -inf or NaN for logits from -1e300 to 1e300.
    """
    raise NotImplementedError


class SoftmaxRegression:
    """k ≥ 2 classes at once.

    After fit, attribute `classes` holds the classes, sorted, `weights` (k, d) and `intercepts` (k,)
    their w and b.  A second fit forgets the first.
    """

    def __init__(self, penalty: float = 1.0) -> None:
        """Raises ValueError, naming it, if the penalty isn't above 0."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray) -> SoftmaxRegression:
        """Find the lowest F, and return the object itself.

        - F is at most 1e-7 above its lowest value.
        - The intercepts sum to 0: only their differences count, so any sum would do.

        Raises ValueError, naming their number, if there are fewer than 2 classes.
        """
        raise NotImplementedError

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """The probability of each class, in the order of `classes`: (n, k)."""
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The most probable class of each row: (n,), a value of `classes`."""
        raise NotImplementedError


class OneVsRest:
    """k ≥ 2 classes, one LogisticRegression for each.

    After fit, attribute `classes` holds the classes, sorted.  A second fit forgets the first.
    """

    def __init__(self, penalty: float = 1.0, balanced: bool = False) -> None:
        """Both are handed to each model: `balanced` weighs a class against all others together."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray) -> OneVsRest:
        """Fit each class against the others, and return the object itself.

        Raises ValueError, naming their number, if there are fewer than 2 classes.
        """
        raise NotImplementedError

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """The models' probabilities over their sum: (n, k); never NaN, however far out a row is."""
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The class of each row whose model has the largest logit: (n,), a value of `classes`."""
        raise NotImplementedError
