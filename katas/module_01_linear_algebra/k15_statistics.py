"""Statistics

A sample is all we have of what it was drawn from.  Statistics says what it
tells, and how sure that is.

Mean and variance in one pass: the textbook's ∑x² - (∑x)²/n takes the difference
of two large numbers and loses every digit where the mean is large.  Welford
keeps the mean m and the sum of squares about it, M, and corrects both by each
new x:

    δ = x - m      m ← m + δ/n      M ← M + δ (x - m)       the second m is the new one

The variance is M/n, or M/(n - 1) for a sample: as the mean was fitted to the
data, they lie nearer to it than to the true one, and n - 1 makes up for that.
Two parts of the data, counted apart, merge:

    δ = m_b - m_a    n = n_a + n_b    m = m_a + δ n_b/n    M = M_a + M_b + δ² n_a n_b/n

Maximum likelihood takes the parameters under which the data are most probable.
Its standard errors come from the curvature of the log-likelihood:

    Gaussian    μ = x̄, σ² = ∑(x - x̄)²/n     errors √(σ²/n) and σ² √(2/n)
    Bernoulli   p = x̄                       error √(p (1 - p)/n)
    Poisson     λ = x̄                       error √(λ/n)

Is the mean μ₀?  The t statistic counts by how many standard errors it isn't:
t = (x̄ - μ₀)/√(s²/n), with s² by n - 1.  Were it so, t would follow Student's
distribution with ν = n - 1, and the p-value is the chance of a |t| as large:

    P(|T| > t) = 1 - 2c ∫ cosᵛ⁻¹ θ dθ from 0 to atan(t/√ν),   c = Γ((ν+1)/2) / (√π Γ(ν/2))

Of two samples with variances of their own (Welch), with a = s₁²/n₁, b = s₂²/n₂:

    t = (x̄ - ȳ)/√(a + b)      ν = (a + b)² / (a²/(n₁ - 1) + b²/(n₂ - 1))

Two ways need no formula for the distribution.  Permutation: if the groups don't
differ, shuffling all values over them changes nothing; how often is the shuffled
difference as large?  Bootstrap: draw n values from the sample with replacement,
compute the statistic, again and again; the middle 95% of what comes out is an
interval for the true one.

Worked by hand:

    2, 4, 9: m = 2, 3, 5   M = 0, 0 + 2·1 = 2, 2 + 6·4 = 26   s² = 26/2 = 13
    t against 1: (5 - 1)/√(13/3) = 1.9215, ν = 2, p = 0.1946
    counts 0 2 1 1: λ = 1, its error √(1/4) = 0.5

No function changes its arguments.

Sources: Welford 1962; Chan, Golub and LeVeque 1983 (merging); Student 1908;
Welch 1947; Efron 1979, "Bootstrap Methods"; Casella and Berger 2002,
"Statistical Inference", chapters 7 and 10.

From scratch: scipy, statistics, numpy.var, numpy.std, numpy.cov and
numpy.corrcoef may not be used, nor the methods .var and .std.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class Welford:
    """Mean and variance of numbers that come one at a time.

    Attributes: `count`, how many have come; `mean`, 0.0 before the first.
    """

    def __init__(self) -> None:
        """None has come yet."""
        raise NotImplementedError

    def update(self, x: float) -> None:
        """Take in one number."""
        raise NotImplementedError

    def variance(self, ddof: int = 1) -> float:
        """M / (count - ddof).  Raises ValueError, naming count and ddof, unless count > ddof."""
        raise NotImplementedError

    def merge(self, other: Welford) -> Welford:
        """A new Welford that has seen the numbers of both; neither changes.  Either may be empty."""
        raise NotImplementedError


def covariance(x: np.ndarray, ddof: int = 1) -> np.ndarray:
    """The covariances of the columns of `x` (n, d): ∑ (xᵢ - x̄)(xᵢ - x̄)ᵀ / (n - ddof), (d, d)."""
    raise NotImplementedError


def fit_gaussian(x: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Maximum likelihood for `x` (n,): ((μ, σ²), (error of μ, error of σ²)); see the lesson."""
    raise NotImplementedError


def fit_bernoulli(x: np.ndarray) -> tuple[float, float]:
    """(p, its standard error) for `x` (n,) of zeros and ones."""
    raise NotImplementedError


def fit_poisson(x: np.ndarray) -> tuple[float, float]:
    """(λ, its standard error) for the counts `x` (n,)."""
    raise NotImplementedError


def t_p_value(t: float, df: float) -> float:
    """P(|T| > |t|) for Student's distribution with `df` > 0 degrees of freedom, right to 1e-7 for df ≥ 1."""
    raise NotImplementedError


def t_test(x: np.ndarray, mean: float = 0.0) -> tuple[float, float]:
    """(t, two-sided p) for the hypothesis that `x` (n,) comes from a distribution with this mean."""
    raise NotImplementedError


def welch_test(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """(t, ν, two-sided p) for the hypothesis that `x` (n,) and `y` (m,) have one mean."""
    raise NotImplementedError


def permutation_test(x: np.ndarray, y: np.ndarray, shuffles: int, rng: np.random.Generator) -> float:
    """The p-value of |x̄ - ȳ| under `shuffles` random divisions of all values into n and m.

    (1 + how many differ by as much or more) / (1 + shuffles): the division that
    happened counts as one, so that the answer is never 0.  As much means up to 1e-9.
    All that is random comes from `rng`: equal generators give equal answers.
    """
    raise NotImplementedError


def bootstrap_interval(
    x: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> tuple[float, float]:
    """The percentile interval: the (1 - level)/2 and (1 + level)/2 quantiles of the statistic's values.

    `statistic` takes an array (n,) of values drawn from `x` (n,) with replacement;
    it is called `resamples` times.  All that is random comes from `rng`, as above.
    """
    raise NotImplementedError
