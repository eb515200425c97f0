"""Statistics

**Before you start.**  You need means, variances, and what a density is; no other kata.
Is maximum likelihood or a p-value new to you?  Read Wasserman 2004, "All of Statistics",
chapters 8 to 10.

**The idea.**  You measured 30 things.  What is the mean of all their kind, and how far off may you
be?

- *Welford's method* takes one number at a time and keeps mean and variance up to date.
- *Maximum likelihood* picks the parameters under which the data are most probable.
- *A t-test* asks: if the true mean were μ₀, how often would a sample mean be as far off as yours?
  That share is the p-value.  Welch's test compares two samples.
- *A permutation test* shuffles the values over two groups.  How often is the difference of means as
  large as yours?
- *The bootstrap* draws new samples from yours.  How much does a statistic vary over them?

**The formulas**, for a sample x of n numbers with mean x̄:

    a new x      δ = x - m      m ← m + δ/n    M ← M + δ (x - m)     the second m is the new one
    merging      δ = m_b - m_a  n = n_a + n_b  m = m_a + δ n_b/n     M = M_a + M_b + δ² n_a n_b/n
    variance     M/(n - ddof)   M: the sum of squared distances from the mean m

    Gaussian     μ = x̄, σ² = ∑(x - x̄)²/n     standard errors √(σ²/n) and σ² √(2/n)
    Bernoulli    p = x̄                       standard error √(p (1 - p)/n)
    Poisson      λ = x̄                       standard error √(λ/n)

    t-test       t = (x̄ - μ₀)/√(s²/n)        ν = n - 1, the degrees of freedom
    Welch        t = (x̄ - ȳ)/√(a + b)        ν = (a + b)²/(a²/(n - 1) + b²/(m - 1))

s² has ddof = 1.  In Welch's test y has m numbers, a = s_x²/n and b = s_y²/m.

*The p-value* is the area under both tails of Student's density, beyond |t|:

                        .-'''-.
                     .-'       '-.
                  .-'             '-.
        ░░░░░..--'                   '--..░░░░░
    ──────────┼───────────┼────────────┼──────────▶
            -|t|          0           |t|
        └──┬──┘                        └──┬──┘
           └────────────  p  ─────────────┘

With t = √ν tan θ the density becomes c (cos θ)^(ν-1):

    p = 1 - 2c ∫ (cos θ)^(ν-1) dθ,  from 0 to atan(|t|/√ν)     c = Γ((ν + 1)/2) / (√π Γ(ν/2))

Integrate numerically: 100 points of Gauss–Legendre (`np.polynomial.legendre.leggauss`) or 2000
steps of Simpson's rule are enough.  Γ overflows for ν > 342; use its logarithm, `math.lgamma`.

The permutation test and the bootstrap draw at random, from `rng`:

    permutation   │ x x x │ y y │      your samples: the difference x̄ - ȳ
                  │ y x y │ x x │      shuffled, cut alike: another one
    bootstrap     │ x₁ x₂ x₃ x₄ x₅ │   your sample
                  │ x₃ x₁ x₁ x₅ x₂ │   each drawn from all five

**Why not ∑x² - (∑x)²/n?**  With a mean of 1e8 both terms are near 1e16 n.  float64's 16 digits
leave nothing of their difference.

**Why n - 1?**  The mean is fitted to the sample, so squared distances from it are too small on
average.  n - 1 corrects this; maximum likelihood doesn't.

**Worked by hand**:

    2, 4, 9          m = 2, 3, 5    M = 0, 0 + 2·1 = 2, 2 + 6·4 = 26    s² = 26/2 = 13
    t against 1      (5 - 1)/√(13/3) = 1.9215 with ν = 2
    its p            for ν = 2, c = ½ and p = 1 - t/√(t² + 2) = 0.1946
    counts 0 2 1 1   λ = 1, its error √(1/4) = 0.5

**Shapes**: samples are arrays (n,), of floats, integers or booleans.  A mean of 1e8 costs no
digits of a variance, anywhere.  No function changes its arguments.

**Steps.**  A good place to pause is after fit_poisson.

    Welford             15 min   one factor with the old mean, one with the new
    covariance           5 min   a single matrix product
    fit_gaussian         5 min   by n, not by n - 1
    fit_bernoulli        3 min   the mean again
    fit_poisson          3 min   and again
    t_p_value           15 min   the hard one: an integral, to seven digits
    t_test               5 min   the error of the mean, not of the numbers
    welch_test           5 min   ν needn't be whole
    permutation_test    10 min   two-sided; ties count
    bootstrap_interval  10 min   draw with replacement

Sources: Welford 1962; Chan, Golub and LeVeque 1983 (merging); Student 1908; Welch 1947;
Phipson and Smyth 2010, "Permutation P-values Should Never Be Zero"; Efron 1979, "Bootstrap
Methods"; Casella and Berger 2002, "Statistical Inference", chapters 7 and 10.

From scratch: scipy, statistics, numpy.var, numpy.std, numpy.cov and numpy.corrcoef may not be
used, nor the methods .var and .std.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class Welford:
    """Mean and variance of numbers that come one at a time.

    Attributes: `count`, how many have come; `mean`, 0.0 before the first.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
        raise NotImplementedError

    def update(self, x: float) -> None:
        """Take in one number."""
        raise NotImplementedError

    def variance(self, ddof: int = 1) -> float:
        """M / (count - ddof).  Raises ValueError, naming count and ddof, unless count > ddof."""
        raise NotImplementedError

    def merge(self, other: Welford) -> Welford:
        """A new Welford that has seen the numbers of both.

        - Neither of the two changes, also when the new one is updated.
        - Either may be empty; `other` may be this one itself.
        """
        raise NotImplementedError


def covariance(x: np.ndarray, ddof: int = 1) -> np.ndarray:
    """The covariances of the columns of `x` (n, d): ∑ (xᵢ - x̄)(xᵢ - x̄)ᵀ / (n - ddof), (d, d)."""
    raise NotImplementedError


def fit_gaussian(x: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Maximum likelihood for `x` (n,): ((μ, σ²), (error of μ, error of σ²))."""
    raise NotImplementedError


def fit_bernoulli(x: np.ndarray) -> tuple[float, float]:
    """(p, its standard error) for `x` (n,) of zeros and ones."""
    raise NotImplementedError


def fit_poisson(x: np.ndarray) -> tuple[float, float]:
    """(λ, its standard error) for the counts `x` (n,)."""
    raise NotImplementedError


def t_p_value(t: float, df: float) -> float:
    """P(|T| > |t|) for Student's distribution with `df` degrees of freedom: the lesson's p.

    - Right to 1e-7 for |t| ≤ 100 and 1 ≤ df ≤ 1e6, whole or not.
    - t may be negative: both tails count, so its sign doesn't.
    """
    raise NotImplementedError


def t_test(x: np.ndarray, mean: float = 0.0) -> tuple[float, float]:
    """(t, two-sided p) for the hypothesis that `x` (n,) is from a distribution with this mean.

    `x` holds at least two different numbers.
    """
    raise NotImplementedError


def welch_test(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """(t, ν, two-sided p) for the hypothesis that `x` (n,) and `y` (m,) have one mean.

    `x` and `y` hold at least two different numbers each.
    """
    raise NotImplementedError


def permutation_test(
    x: np.ndarray, y: np.ndarray, shuffles: int, rng: np.random.Generator
) -> float:
    """The p-value of |x̄ - ȳ| under `shuffles` random divisions of all values into n and m.

    (1 + how many shuffles count) / (1 + shuffles)

    - A shuffle counts if its |difference of means| is at least |x̄ - ȳ| - 1e-9, so that rounding
      doesn't decide a tie.
    - The 1 above and below is the division that you saw, so the answer is never 0.
    - All that is random comes from `rng`: equal generators give equal answers, and numpy's
      global generator stays as it is.
    """
    raise NotImplementedError


def bootstrap_interval(
    x: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> tuple[float, float]:
    """The percentile interval: the (1 - level)/2 and (1 + level)/2 quantiles of the statistic.

    - `statistic` takes an array (n,) of values drawn from `x` (n,) with replacement.  It may
      change that array.
    - It is called `resamples` times.
    - Any usual definition of a quantile will do.
    - All that is random comes from `rng`, as above.
    """
    raise NotImplementedError
