"""Probability

**Before you start.**  You need logarithms, densities, means and variances; no other kata.
Are distributions new to you?  Read Ross 2014 (below), chapters 4 and 5.

**The idea.**  A language model's next word, a noisy measurement, a dropout mask: all are draws from
a distribution.  Compute how likely an outcome is.  Make draws from uniform numbers.  Estimate from
draws, and say how far off you may be.

**The formulas**, for outcomes k or x, with n! = 1·2·…·n:

    Bernoulli   one coin                  P(1) = p, P(0) = 1 - p
    binomial    heads among n coins       P(k) = n! / (k! (n-k)!) · pᵏ (1-p)ⁿ⁻ᵏ
    Poisson     rare events, λ expected   P(k) = λᵏ e⁻λ / k!
    Gaussian    sums of many effects      p(x) = exp(-(x-μ)²/2σ²) / √(2πσ²)

A computer draws u uniform on [0, 1).  Everything else is made of that:

    exponential       x = -log(1 - u)/r              as F(x) = 1 - e⁻ʳˣ
    Box–Muller        √(-2 log u₁) cos 2πu₂   and   √(-2 log u₁) sin 2πu₂
    Monte Carlo       E f ≈ the mean of f(xᵢ)        standard error s/√n, s² by n - 1
    central limit     z = √n (x̄ - μ)/σ               nearly a standard Gaussian for large n

    inverse CDF: go across from u, then down      rejection: keep what lands below f

    1 ┤              .-'─────────                 M ┌─────────────────────┐
      │           .-'                               │  ×      .-'-.    ×  │
    u ┤╌╌╌╌╌╌╌╌╌.●  F, the chance to be             │   ×   .' ●   '.   × │
      │       .' ┊  at most x                       │     .'  ●   ●  '.   │
    0 ┼─────'────┴────────────▶                     └───.'───●─────●───'.─┘
                 x                                  a                     b

- *Inverse CDF.*  The x with F(x) = u has the distribution F.  In a table of probabilities, walk on
  until their running sum exceeds u.
- *Box–Muller.*  A point with Gaussian coordinates has an exponential squared radius and a uniform
  angle.  u₁ gives the radius, u₂ the angle.
- *Rejection.*  The density f on [a, b] is nowhere above M.  Throw points at the box [a, b] × [0, M]
  and keep the x of those below f.

**Why logarithms?**  500! has 1135 digits, far beyond floating point.  Use
log k! = log 1 + … + log k, and take exp at the end, if at all.

**Why a standard error?**  An estimate without one says nothing.  It falls with √n: one digit more
takes a hundred times the draws.

**Worked by hand**:

    2 heads of 3 coins with p = ½: 3 · ½² · ½ = 0.375
    λ = 2: P(3) = 8 e⁻²/6 = 0.1804      log: 3 log 2 - 2 - log 6 = -1.7123
    Gaussian, μ = 1, σ = 2, at 3: exp(-½)/√(8π) = 0.1210
    table [0.2 0.5 0.3]: running sums 0.2 0.7 1, so u = 0.65 gives 1, and u = 0.7 gives 2
    u₁ = e⁻², u₂ = ⅛: radius 2, angle 45°: √2 and √2
    f(x) = x on 1, 2, 6: mean 3, s² = (4 + 1 + 9)/2 = 7, error √(7/3) = 1.5275

**Shapes**: "(…)" stands for any shape; work element by element.  Whole numbers may have any
integer dtype.  No function changes its arguments.

**Steps.**  A good place to pause is after gaussian_pdf.

    bernoulli_pmf              3 min   0 for anything but 0 and 1
    binomial_logpmf           15 min   log k! of a whole array, without a loop over it
    poisson_logpmf             5 min   the same table of log k!
    gaussian_logpdf            5 min   the constant, too
    gaussian_pdf               3 min   from the line before
    exponential_from_uniform   3 min   1 - u, not u
    discrete_from_uniform     10 min   ties, zeros, and rounding at the end
    box_muller                 5 min   the cosine's first
    rejection_sample          15 min   count all throws
    monte_carlo                5 min   the error of the mean
    standardized_means         3 min   n is the length of a row

Sources: Ross 2014, "A First Course in Probability"; Box and Muller 1958; von
Neumann 1951 (rejection); Robert and Casella 2004, "Monte Carlo Statistical
Methods", chapter 3.

From scratch: scipy, math.lgamma, math.gamma, math.factorial and math.comb may not be used.
Of numpy.random use uniform numbers alone: you write the other distributions here.
"""

from collections.abc import Callable

import numpy as np


def bernoulli_pmf(k: np.ndarray, p: float) -> np.ndarray:
    """P(k) of each entry of `k` (…), whole numbers: (…); 0 for anything but 0 and 1."""
    raise NotImplementedError


def binomial_logpmf(k: np.ndarray, n: int, p: float) -> np.ndarray:
    """log P(k) of each entry of `k` (…), whole numbers: (…); -∞ outside of 0 … n.

    0 < p < 1; n ≥ 0, also in the thousands.
    """
    raise NotImplementedError


def poisson_logpmf(k: np.ndarray, rate: float) -> np.ndarray:
    """log P(k) of each entry of `k` (…), whole numbers, for λ = `rate` > 0: (…); -∞ below 0.

    k may be in the thousands.
    """
    raise NotImplementedError


def gaussian_logpdf(x: np.ndarray, mean: float = 0.0, sd: float = 1.0) -> np.ndarray:
    """log p(x) of each entry of `x` (…), for σ = `sd`: (…).

    Finite however far x is out, up to 1e150 σ: where p(x) underflows to 0, its logarithm doesn't.
    σ may be from 1e-100 to 1e100.
    """
    raise NotImplementedError


def gaussian_pdf(x: np.ndarray, mean: float = 0.0, sd: float = 1.0) -> np.ndarray:
    """p(x) of each entry of `x` (…): (…)."""
    raise NotImplementedError


def exponential_from_uniform(u: np.ndarray, rate: float) -> np.ndarray:
    """The inverse CDF of the exponential with rate r at `u` (…), 0 ≤ u < 1: (…)."""
    raise NotImplementedError


def discrete_from_uniform(u: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The index, from 0, that `u` (…) draws, for probabilities `p` (k,): ints (…).

    0 ≤ u < 1.

    - The first index whose running sum exceeds u: one that equals u doesn't.
    - Never an index of probability 0, and never k, even where rounding leaves the sum of `p` at
      or below u: then it is the last index with a probability.
    """
    raise NotImplementedError


def box_muller(u1: np.ndarray, u2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lesson's two Gaussian numbers of each pair of `u1`, `u2` (…): (…) and (…).

    0 < u1 ≤ 1.  The cosine's comes first.
    """
    raise NotImplementedError


def rejection_sample(
    density: Callable[[np.ndarray], np.ndarray],
    low: float,
    high: float,
    bound: float,
    n: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    """`n` draws from `density` on [low, high], (n,), and the share of all throws that was kept.

    - `density` takes an array of points and needn't be normalised; n ≥ 1.
    - The share is all that landed below over all throws, those beyond the n returned included.
    - All that is random comes from `rng`: equal generators give equal draws, and numpy's global
      generator stays as it is.

    Raises ValueError, naming the density's value and the bound, if that value is above `bound` at
    a point thrown.
    """
    raise NotImplementedError


def monte_carlo(f: Callable[[np.ndarray], np.ndarray], draws: np.ndarray) -> tuple[float, float]:
    """(estimate of the expectation of f, its standard error) from `draws` (n,), n ≥ 2.

    f takes all draws at once.  It may give truth values: then this estimates a probability.
    """
    raise NotImplementedError


def standardized_means(draws: np.ndarray, mean: float, sd: float) -> np.ndarray:
    """√n (x̄ - μ)/σ of each row of `draws` (m, n): (m,).

    `mean` and `sd` are those of the distribution that the draws came from.
    """
    raise NotImplementedError
