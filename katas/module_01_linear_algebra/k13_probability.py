"""Probability

A distribution says how likely each outcome is.  Four of them are behind most
models:

    Bernoulli   one coin                  P(1) = p, P(0) = 1 - p
    binomial    heads among n coins       P(k) = n! / (k! (n-k)!) · pᵏ (1-p)ⁿ⁻ᵏ
    Poisson     rare events, λ expected   P(k) = λᵏ e⁻λ / k!
    Gaussian    sums of many small ones   p(x) = exp(-(x-μ)²/2σ²) / √(2πσ²)

Products of many such numbers leave the range of floating point soon: 500! has
1135 digits.  So work with logarithms, log k! = log 1 + … + log k, and take exp
at the end, if at all.

A computer draws numbers u that are uniform on [0, 1).  Everything else is made
of them.

Inverse CDF: if F is the chance to be at most x, the x with F(x) = u has just the
distribution F.  For the exponential, F(x) = 1 - e⁻ʳˣ, so x = -log(1 - u)/r.  For a
table of probabilities, walk along it until their running sum exceeds u.

Box and Muller: a point of the plane with Gaussian coordinates has a squared
radius that is exponential, and an angle that is uniform.  So of u₁, u₂

    √(-2 log u₁) cos 2πu₂   and   √(-2 log u₁) sin 2πu₂

are two independent Gaussian numbers.

Rejection: to draw from a density f on [a, b] that is nowhere above M, throw
points at the box [a, b] × [0, M], and keep the x of those that land below f.
The share of throws that is kept is the area below f over that of the box.

Monte Carlo: the mean of f(x) over n draws estimates its expectation.  Its
standard error s/√n, s² by n - 1, says how far off it may be: a hundred times
the draws give one digit more.

The central limit theorem: whatever the draws' distribution, if it has a mean μ
and a deviation σ, then √n (x̄ - μ)/σ comes nearer to the standard Gaussian as n
grows.

Worked by hand:

    2 heads of 3 coins with p = ½: 3 · ½² · ½ = 0.375
    λ = 2: P(3) = 8 e⁻²/6 = 0.1804      log: 3 log 2 - 2 - log 6 = -1.7123
    Gaussian, μ = 1, σ = 2, at 3: exp(-½)/√(8π) = 0.1210
    table [0.2 0.5 0.3]: running sums 0.2 0.7 1, so u = 0.65 gives 1, and u = 0.7 gives 2
    u₁ = e⁻², u₂ = ⅛: radius 2, angle 45°: √2 and √2
    f(x) = x on 1, 2, 6: mean 3, s² = (4 + 1 + 9)/2 = 7, error √(7/3) = 1.5275

All functions take arrays of any shape where "(…)" is said, and work element by
element.  No function changes its arguments.

Sources: Ross 2014, "A First Course in Probability"; Box and Muller 1958; von
Neumann 1951 (rejection); Robert and Casella 2004, "Monte Carlo Statistical
Methods", chapter 3.

From scratch: scipy, math.lgamma, math.gamma, math.factorial, math.comb and
numpy.random's own distributions are what you write here; the tests forbid the
first five.
"""

from collections.abc import Callable

import numpy as np


def bernoulli_pmf(k: np.ndarray, p: float) -> np.ndarray:
    """P(k) of each entry of `k` (…), whole numbers: (…); 0 for anything but 0 and 1."""
    raise NotImplementedError


def binomial_logpmf(k: np.ndarray, n: int, p: float) -> np.ndarray:
    """log P(k) of each entry of `k` (…), whole numbers, for 0 < p < 1: (…); -∞ outside of 0 … n."""
    raise NotImplementedError


def poisson_logpmf(k: np.ndarray, rate: float) -> np.ndarray:
    """log P(k) of each entry of `k` (…), whole numbers, for λ = `rate` > 0: (…); -∞ below 0."""
    raise NotImplementedError


def gaussian_logpdf(x: np.ndarray, mean: float = 0.0, sd: float = 1.0) -> np.ndarray:
    """log p(x) of each entry of `x` (…), for σ = `sd`: (…); finite however far x is out."""
    raise NotImplementedError


def gaussian_pdf(x: np.ndarray, mean: float = 0.0, sd: float = 1.0) -> np.ndarray:
    """p(x) of each entry of `x` (…): (…)."""
    raise NotImplementedError


def exponential_from_uniform(u: np.ndarray, rate: float) -> np.ndarray:
    """The inverse CDF of the exponential with rate r at `u` (…), 0 ≤ u < 1: (…)."""
    raise NotImplementedError


def discrete_from_uniform(u: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The index, from 0, whose turn it is at `u` (…), 0 ≤ u < 1, for probabilities `p` (k,): ints (…).

    The first index whose running sum exceeds u.  Never an index of probability 0,
    and never k, even where rounding leaves the sum of `p` below u.
    """
    raise NotImplementedError


def box_muller(u1: np.ndarray, u2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lesson's two Gaussian numbers of each pair of uniform ones, 0 < u1 ≤ 1: the cosine's first."""
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

    `density` takes an array of points and needn't be normalised.  All that is
    random comes from `rng`: equal generators give equal draws.
    Raises ValueError, naming the value and the bound, if it comes out above `bound` at a point thrown.
    """
    raise NotImplementedError


def monte_carlo(f: Callable[[np.ndarray], np.ndarray], draws: np.ndarray) -> tuple[float, float]:
    """(estimate of the expectation of f, its standard error) from `draws` (n,), n ≥ 2; f takes them all at once."""
    raise NotImplementedError


def standardized_means(draws: np.ndarray, mean: float, sd: float) -> np.ndarray:
    """√n (x̄ - μ)/σ of each row of `draws` (m, n), whose distribution has this mean and deviation: (m,)."""
    raise NotImplementedError
