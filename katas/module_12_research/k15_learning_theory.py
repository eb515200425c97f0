"""Learning theory: when training error tells the truth, and when more parameters help

**Before you start.**  You need probability, logarithms, the SVD and gradient descent; no other
kata. More: Mohri, Rostamizadeh and Talwalkar 2018, "Foundations of Machine Learning" (free on the
web), chapters 2 and 3.

**The idea.**  Your model is right on 97% of the training data.  What does that say about new
data? If you tried one model, Hoeffding's inequality answers.  If you picked the best of a
million, it may be luck.  *Generalisation bounds* say how much luck there can be.

- *Hoeffding*'s bound counts the hypotheses.  A hypothesis is one candidate model, and its *true
  error* is its error on new data.  Each one is a further chance to be lucky.
- There are infinitely many half-planes.  But on n points they give only finitely many labellings,
  called *dichotomies*.  How many is the *growth function*.  A class *shatters* points if it gives
  all 2ⁿ.
  The largest number that it can shatter is its *VC dimension*.
- *Rademacher complexity* asks how well the class fits pure noise on your data.

Then theory meets practice.  A linear model with as many parameters as data, fitted without
regularisation, is terrible.  With many more it gets good again: *double descent*.  And a very
wide network behaves like a fixed kernel, the *neural tangent kernel*, whose training you can
write down.

**The formulas.**  n data, M hypotheses, VC dimension d.  Each bound fails with a chance of at
most δ.

    Hoeffding   |training error - true error| ≤ √( ln(2M/δ) / (2n) )             of all M at once
    Sauer       growth(n) ≤ Φ = Σ_{i = 0 … min(d, n)} binom(n, i)
    VC          true error - training error ≤ √( 2 ln Φ / n ) + √( ln(1/δ) / (2n) )
    Rademacher  mean over sign vectors s of  max over hypotheses h of  (1/n) Σ_i s_i h(x_i)
    least norm  w with the smallest ‖X w - y‖, and among these with the smallest ‖w‖
    descent     p ≤ n - 2       (rest + σ²) (1 + p/(n - p - 1))
                n - 1 … n + 1   ∞
                p ≥ n + 2       used (1 - n/p) + (rest + σ²) (1 + n/(p - n - 1))
    network     f(x) = 1/√m Σ_{j = 1 … m} a_j max(0, w_j · x)        only the w_j are trained
    NTK         K(x, z) = x · z (π - θ) / (2π)                       θ: the angle between x and z
    GD          f ← f - lr K (f - y)                                 loss ½ Σ (f - y)²

In *descent*, y = β · x + noise, all entries of x are standard normal, and the noise has the
variance σ².  Least norm is fitted to n data, with the first p features alone.  `used` is the sum
of β² over these p, `rest` that over the others.  The result is the expected squared error on new
data.

**A drawing** of double descent:

    risk │          │                     n parameters fit n data exactly, in
         │         ╷│╷                    one way, and that way is wild.
         │        ╱ │ ╲
         │     .-'  │  '-.                With more there are many ways.  The
         │____-     │     '--.______      one of least norm is the calmest.
         └──────────┼─────────────────▶ p
           classical n  interpolating

**Why does counting dichotomies help?**  The training error depends only on the labels that a
hypothesis gives to your points.  Two with the same dichotomy are one.  n points on a line have 2ⁿ
labellings, but intervals give only n(n + 1)/2 + 1 of them.

**Why min(d, n)?**  For n ≤ d there are n points on which the class can do everything.  Beyond,
its growth is at most a polynomial.  Then ln Φ / n goes to 0, and learning is possible.

**Why is a wide network a kernel?**  Each weight has to move only a little, about 1/√m.  So the
gradients stay as they were at the start, and training is linear in them.

**Worked by hand**

    Hoeffding    n = 100, M = 1, δ = 0.05:  √(ln 40 / 200) = 0.1358
                 a gap of 0.05 with M = 1000:  n = 2120
    VC           n = 1000, d = 3, δ = 0.05:  Φ = 166,667,501, gap 0.1946 + 0.0387 = 0.2333
    dichotomies  3 points on a line, intervals: 7 of 8; "left and right, not the middle" is missing
                 4 corners of a square, half-planes: 14 of 16; the two diagonals are missing
    VC dim       intervals 2, half-planes 3, rectangles 4
    Rademacher   h = (1, 1) and (-1, -1), all four sign vectors:  (1 + 0 + 0 + 1)/4 = 0.5
    least norm   x = (1, 1), y = 2:  w = (1, 1)
    descent      n = 10, β: 20 ones, σ = 1.  p = 0: 21,  5: 36,  10: ∞,  15: 26,  20: 12.11
    NTK          (1, 0) and (1, 1): θ = π/4, K = 0.375.  (1, 0) with itself: 0.5
    network      m = 1, a = 1, w = 1, x = 2, y = 0, lr = 0.1:  f = 2, then w = 0.6, f = 1.2
    GD           K = 2, y = 1, f = 0, lr = 0.25:  0.5, then 0.75

**Shapes**: points (n, d), all different; dichotomies are a set of tuples of n truth values; x (n,
d), y (n,), w (m, d), a (m,).  Numbers are float64.  No function changes its arguments.

**Steps.**  A good place to pause is after vc_dimension.

    hoeffding_gap           3 min   all M at once
    vc_gap                  6 min   a sum of large whole numbers
    samples_needed          8 min   double, then halve
    box_dichotomies         8 min   intervals and rectangles
    halfplane_dichotomies  14 min   all directions, but finitely many
    vc_dimension            8 min   subsets
    empirical_rademacher    4 min   the best hypothesis for each noise
    minimum_norm            6 min   singular values that are 0
    descent_risk            8 min   three regimes
    ntk                     6 min   an arccos that can go wrong
    train_wide_net         10 min   the gradient by hand
    kernel_training         4 min   the same, linear

Sources: Hoeffding 1963; Vapnik and Chervonenkis 1971; Mohri et al. 2018, chapter 3 (the VC
bound); Belkin, Hsu and Xu 2020, "Two Models of Double Descent for Weak Features" (the risk);
Jacot, Gabriel and Hongler 2018, "Neural Tangent Kernel"; Du et al. 2019, "Gradient Descent
Provably Optimizes Over-parameterized Neural Networks" (this kernel).

From scratch: numpy.linalg.pinv, numpy.linalg.lstsq, scipy.linalg and sklearn may not be used.
numpy.linalg.svd and scipy.optimize may.
"""

from collections.abc import Callable

import numpy as np


def hoeffding_gap(n: int, hypotheses: int, delta: float) -> float:
    """The right side of Hoeffding's bound."""
    raise NotImplementedError


def vc_gap(n: int, dimension: int, delta: float) -> float:
    """The right side of the VC bound.  n is at least 1 and may be smaller than the dimension, and as large as 1e9."""
    raise NotImplementedError


def samples_needed(gap_of: Callable[[int], float], gap: float) -> int:
    """The smallest n ≥ 1 with gap_of(n) ≤ gap; gap_of never rises with n, and gets there.

    `gap_of` is called at most 200 times, also for an n of 1e9.  It is never called with less than 1.
    """
    raise NotImplementedError


def box_dichotomies(points: np.ndarray) -> set[tuple[bool, ...]]:
    """All that boxes parallel to the axes give on points (n, d): True for points inside.  n is from 1 to 8, d 1 or 2.

    - In one dimension boxes are intervals, in two they are rectangles.
    - A box contains its border.  It may be empty.
    """
    raise NotImplementedError


def halfplane_dichotomies(points: np.ndarray) -> set[tuple[bool, ...]]:
    """All that half-planes w · x > b give on points (n, 2), n from 1 to 8: both sides of every line that meets no point.

    - All True and all False are among them.
    - Three or more points may lie on one line.  Such points have whole coordinates.
    """
    raise NotImplementedError


def vc_dimension(dichotomies: Callable[[np.ndarray], set[tuple[bool, ...]]], points: np.ndarray) -> int:
    """The size of the largest subset of `points` (n, d) that is shattered; 0 if no single point is.

    `dichotomies` takes some of the points, (k, d) with k ≥ 1.  If no subset of some size is shattered, no larger one
    is.
    """
    raise NotImplementedError


def empirical_rademacher(outputs: np.ndarray, signs: np.ndarray) -> float:
    """The lesson's mean over the sign vectors `signs` (s, n); outputs (M, n) are h(x_i) of M hypotheses."""
    raise NotImplementedError


def minimum_norm(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The least-norm w (p,) for x (n, p) and y (n,).

    Singular values of at most 1e-10 times the largest one count as 0.  x may be all zeros: then w is, too.
    """
    raise NotImplementedError


def descent_risk(n: int, p: int, beta: np.ndarray, noise: float) -> float:
    """The lesson's *descent*; math.inf from n - 1 to n + 1.

    n       at least 2
    p       from 0 to the length of `beta`
    noise   σ, above 0: the deviation, not the variance
    """
    raise NotImplementedError


def ntk(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The kernel matrix (n, k) of x (n, d) and z (k, d).

    A row of zeros gives 0.  There is no NaN and no warning, where rounding makes a cosine 1.0000000000000002 neither.
    """
    raise NotImplementedError


def train_wide_net(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, a: np.ndarray, lr: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """(f (n,), w (m, d)) after `steps` steps of gradient descent on the lesson's loss, a sum over all data.

    The slope of max(0, u) at u = 0 is 0.  f is that of the weights returned; steps may be 0.
    """
    raise NotImplementedError


def kernel_training(kernel: np.ndarray, y: np.ndarray, start: np.ndarray, lr: float, steps: int) -> np.ndarray:
    """f (n,) after `steps` steps of the lesson's GD, from f = `start` (n,)."""
    raise NotImplementedError
