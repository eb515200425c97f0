"""Linear regression

**Before you start.**  You need matrix products, gradients and the variance of a sample.  Module
01's k07_least_squares and k12_gradient_descent prepare you, but you don't import them.  Regression
is new to you?  Read Hastie, Tibshirani and Friedman (below), sections 3.2 and 3.4, free at
hastie.su.domains/ElemStatLearn.

**The idea.**  You want to predict a number, and to know how far to trust what you found.  Linear
regression says that each feature adds its value times a weight.  It takes the weights with the
smallest squared errors.  It is the baseline that every other model has to beat.

**The formulas**, for features X (n, d), targets y (n,), weights w (d,), an intercept b:

    prediction      ŷ = X w + b             residuals  r = y - ŷ
    least squares   smallest ∑ rᵢ²          A = [1 X],  θ = [b w]:   AᵀA θ = Aᵀy
    descent         L = ½ mean(r²)          w ← w + η Xᵀr/n,   b ← b + η mean(r)
    ridge           smallest ∑ rᵢ² + λ ∑ wⱼ²      b isn't penalised
    R²              1 - ∑ rᵢ² / ∑ (yᵢ - ȳ)²       ȳ is the mean of y
    MAE, RMSE       mean |r|,  √mean(r²)
    std. errors     √diag(s² (AᵀA)⁻¹),      s² = ∑ rᵢ² / (n - d - 1)

- η is the learning rate, λ ≥ 0 the penalty, s² the estimated variance of the noise.
- *Polynomial features* are products of columns.  The model stays linear in the weights, but
  bends in x:

      degree 1    a      b
                  │╲    ╱│
      degree 2    a²  ab  b²       each column times itself
                  │╲  │╲  │╲       and every column after it
      degree 3    a³ a²b ab² b³    a³ first, b³ last

**Why is b not penalised?**  Add 100 to every target.  The weights should stay as they are, and b
should grow by 100.  Centre X and y by their means: b drops out of the problem, and ridge becomes
(XᵀX + λI) w = Xᵀy.  Afterwards b = ȳ - x̄·w, with x̄ the columns' means.

**Why n - d - 1?**  The fit uses up d + 1 numbers, so the residuals are too small on average.  This
divisor corrects it.  With n = d + 1 the line goes through every point and s² is unknown.

**Worked by hand**, x = [0 1 2], y = [1 2 6]:

    least squares   means 1 and 3; w = (1·2 + 1·3)/(1 + 1) = 5/2, b = 3 - 5/2 = 1/2
    residuals       [½ -1 ½], ∑ r² = 3/2, R² = 1 - 1.5/14 = 0.893, MAE = 2/3, RMSE = √½
    std. errors     s² = 1.5/(3 - 2) = 1.5; of w: √(1.5/2) = 0.866, of b: √(1.5·(1/3 + 1/2)) = 1.118
    ridge, λ = 3    w = 5/(2 + 3) = 1, b = 3 - 1 = 2
    descent, η = ½  from 0: w = ½·14/3 = 7/3, b = ½·3 = 3/2; the loss was 41/6

**Shapes**: x (n, d) with n ≥ 1 and d ≥ 1, y (n,), weights (d,).  Answers are float64, the intercept
is a float.  Integers of any width and float32 are fine as input: compute in float64.  No function
changes its arguments.

**Steps.**

    least_squares            15 min   solve, don't invert; a column too many
    gradient_descent         10 min   both updates from the same residuals
    ridge                    10 min   centre first
    polynomial_features      10 min   the order of the columns
    r_squared                 5 min   targets that are all the same
    mean_absolute_error       3 min   (n,) minus (n, 1) is (n, n)
    root_mean_squared_error   3 min   the same, squared
    standard_errors          10 min   the intercept comes first

Sources: Hastie, Tibshirani and Friedman 2009, "The Elements of Statistical Learning", chapter 3;
Hoerl and Kennard 1970, "Ridge Regression: Biased Estimation for Nonorthogonal Problems".

From scratch: numpy.linalg.lstsq, numpy.linalg.pinv, numpy.polyfit, scipy, sklearn and statsmodels
may not be used.
"""

import numpy as np


def least_squares(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """The weights (d,) and the intercept with the smallest sum of squared residuals.

    Raises ValueError

    - naming both shapes, if `x` isn't (n, d) or `y` isn't (n,) with the same n;
    - saying "rank", if the columns of [1 x] are linearly dependent, as numpy.linalg.matrix_rank
      sees it: a column twice, a constant column, or fewer rows than columns.
    """
    raise NotImplementedError


def gradient_descent(
    x: np.ndarray,
    y: np.ndarray,
    rate: float,
    steps: int,
) -> tuple[np.ndarray, float, np.ndarray]:
    """The weights, the intercept, and the losses after `steps` ≥ 0 steps from w = 0 and b = 0.

    - Each step uses all rows, and moves w and b by gradients at the same point.
    - The losses (steps + 1,) are L before the first step and after each; the last one is that of
      the answer.

    Raises ValueError, naming both shapes, if `x` isn't (n, d) or `y` isn't (n,) with the same n.
    """
    raise NotImplementedError


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """The weights (d,) and the intercept that minimise ∑ rᵢ² + penalty · ∑ wⱼ².

    - The sum isn't divided by n, and the intercept isn't penalised.
    - With penalty > 0 there is always one answer: columns may be constant, repeated, or more than
      the rows, and their scales may differ by 10⁵.
    - With penalty 0 the answer is that of least squares, where it has only one.

    Raises ValueError, naming the value, if the penalty is negative; and naming both shapes, if `x`
    isn't (n, d) or `y` isn't (n,) with the same n.
    """
    raise NotImplementedError


def polynomial_features(x: np.ndarray, degree: int) -> np.ndarray:
    """All products of 1 to `degree` columns of `x` (n, d), repeats allowed: float64 (n, features).

    - Products of fewer columns come first.  Those of as many columns stand in the order of the
      columns' numbers: of [a b] with degree 2, a, b, a², ab, b².
    - There is no column of ones: the fits have an intercept.

    Raises ValueError, naming the degree, if it is below 1.
    """
    raise NotImplementedError


def r_squared(y: np.ndarray, predicted: np.ndarray) -> float:
    """R² of the predictions (n,) for the targets `y` (n,): 1 is perfect, and it may be negative.

    If all targets are the same, it is 1.0 if each prediction is exactly right, and 0.0 otherwise.
    Raises ValueError, naming both shapes, if they differ.
    """
    raise NotImplementedError


def mean_absolute_error(y: np.ndarray, predicted: np.ndarray) -> float:
    """The mean of |y - predicted|; both (n,).

    Raises ValueError, naming both shapes, if they differ.
    """
    raise NotImplementedError


def root_mean_squared_error(y: np.ndarray, predicted: np.ndarray) -> float:
    """The root of the mean squared error, in the units of `y`; both (n,).

    Raises ValueError, naming both shapes, if they differ.
    """
    raise NotImplementedError


def standard_errors(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The standard errors of the least-squares fit: (d + 1,), the intercept's first.

    Raises ValueError

    - naming n and d + 1, if n ≤ d + 1: no residuals are left to judge by;
    - and all that least_squares raises.
    """
    raise NotImplementedError
