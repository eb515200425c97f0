"""Comparing models: is the new one better, or was it luck?

**Before you start.**  You need means, variances, p-values and the binomial distribution; no other
kata.  If the bootstrap is new: Wasserman 2004, "All of Statistics", chapters 8 and 10.

**The idea.**  Your model is right on 81.3% of a test set, the old one on 80.9%.  Is it better?
Two kinds of luck are in these numbers.  Other *test examples* would have given other percentages.
Other *seeds* would have given other models.  Here you write what protects you from both.

- *McNemar's test* looks only at the examples on which two models differ.
- *The paired bootstrap* draws new test sets from yours.  It works for any score per example.
- *Seeds*: train several times, report the mean with an interval, never the best run.
- *Holm's correction* is for many comparisons at once.  If nothing differs, about
  one in twenty is "significant" by luck.
- *Power* says before the experiment whether the test set is large enough to see anything.
- *Leaderboards* crown the best of many.  The best was also the luckiest.

**The formulas.**  Models a and b answer the same n examples.  x is the number of examples on
which only a is right, y that on which only b is right, and m = x + y.

    McNemar       p = min(1, 2 P(K ≤ min(x, y)))       K is binomial: m throws of a fair coin
    bootstrap     draw n examples with replacement, take mean(a) - mean(b) on them; repeat.
                  The interval goes from the (1 - level)/2 to the (1 + level)/2 quantile
    one system    x̄ ± t √(s²/n)                        n seeds, ν = n - 1
    two systems   x̄ - ȳ ± t √(u + v)                   ν = (u + v)² / (u²/(n₁ - 1) + v²/(n₂ - 1))
                  u = s_x²/n₁,  v = s_y²/n₂            scores x of n₁ seeds, scores y of n₂ seeds
    Holm          sort:  p₁ ≤ p₂ ≤ … ≤ p_h;   adjusted_i = max over j ≤ i of min(1, (h - j + 1) p_j)
    power         Σ_m P(m of n examples differ) · P(McNemar's p ≤ α, given m)
    sample size   n = (z_{1-α/2} √ψ + z_power √(ψ - δ²))² / δ²,  rounded up
                  ψ = p_a + p_b,  δ = p_a - p_b
    best of k     expected best accuracy = (1/n) Σ_{i = 0 … n-1} (1 - F(i)^k)

s² has n - 1 below.  t is the (1 + level)/2 quantile of Student's distribution with ν degrees of
freedom.  z_q is the q quantile of the normal distribution.  p_a is the chance that only a is
right on an example, p_b that only b is.  F is the distribution function of the number of right
answers: binomial, n examples, and the accuracy that all k models share.

**A drawing**

                    b right    b wrong
                 ┌──────────┬──────────┐    x + y examples tell the two apart.
       a right   │    70    │   x: 6   │    If both are equally good, each of
                 ├──────────┼──────────┤    them is a throw of a fair coin:
       a wrong   │   y: 1   │    23    │    7 throws, 6 heads
                 └──────────┴──────────┘

**Why paired?**  Some examples are hard for every model.  That noise is in both scores, and it
goes away in the difference.  Two separate intervals may overlap while the difference is clear.

**Why is Holm enough?**  The smallest of h p-values is compared with α/h.  If it is at most that,
the next one is compared with α/(h - 1).  So it goes on until one fails; then all others fail too.
The chance of any false claim stays at most α, as with Bonferroni's α/h, and you lose less.

**Why does the winner disappoint?**  The mean of 20 noisy scores is honest.  Their maximum is too
high: it picks the luckiest.  On a new test set the luck is gone.

**Worked by hand**

    McNemar       the drawing: p = 2 (1 + 7)/2⁷ = 0.125.  No claim, though 6 is far from 1
    bootstrap     differences 0 0 3: the mean is 1.  Of 27 draws, 8 give 0, 12 give 1, 6 give 2,
                  1 gives 3: at the level 0.8 the interval goes from 0 to 2
    seeds         70 72 74: mean 72, s = 2, t = 4.3027 with ν = 2:  72 ± 4.968
    two systems   70 72 74 and 67 68 69:  u = 4/3, v = 1/3, ν = 2.9412, t = 3.2188:  4 ± 4.1554
    Holm          0.01 0.04 0.03  →  0.03 0.06 0.06
    power         n = 6, p_a = 0.5, p_b = 0.1: only 6 to 0 is significant.  0.5⁶ + 0.1⁶ = 0.015626
    sample size   p_a = 0.08, p_b = 0.04, power 0.8:  587 examples
    best of k     two coins, n = 1: 0.75.  20 models of 80%, n = 1000: 0.8233

**Shapes**: scores of one model on n examples are an array (n,), of floats, integers or booleans;
of k models (k, n).  n is at least 1.  Answers are Python or numpy floats where nothing else is
said.  No function changes its arguments, but for `rng`, which is drawn from.

**Steps.**  A good place to pause is after holm.

    mcnemar            8 min   few coins: exact
    paired_bootstrap  10 min   the same examples for both
    seed_interval      6 min   Student's t, not 1.96
    seed_difference    8 min   two variances; what if both are 0?
    holm              10 min   back into the order that came
    different          8 min   all pairs are one family
    mcnemar_power     12 min   two binomials, one inside the other
    examples_needed    6 min   round up
    expected_best      6 min   a sum, no simulation
    first_places       8 min   ties share

Sources: McNemar 1947; Efron and Tibshirani 1993, "An Introduction to the Bootstrap"; Welch 1947;
Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure"; Connor 1987 (sample size);
Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation" (paired
bootstrap).

From scratch: scipy.stats.bootstrap, scipy.stats.binomtest, scipy.stats.ttest_ind,
scipy.stats.ttest_1samp, scipy.stats.ttest_rel, scipy.stats.false_discovery_control and
statsmodels may not be used.  The distributions of scipy.stats (binom, t, norm) may.
"""

import numpy as np


def mcnemar(a: np.ndarray, b: np.ndarray) -> tuple[int, int, float]:
    """(x, y, p) of two models; a and b (n,) say on which examples each is right: True or 1, False or 0.

    - p is 1 if they differ on no example.
    - Raises ValueError, naming both lengths, if they differ.
    """
    raise NotImplementedError


def paired_bootstrap(
    a: np.ndarray, b: np.ndarray, resamples: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float, float]:
    """(mean(a) - mean(b), low, high): the difference of the scores a and b (n,), and its percentile interval.

    - A resample has n examples, each drawn from all n with replacement; both models get the same ones.
    - Any usual definition of a quantile will do.
    - All that is random comes from `rng`, and numpy's global generator stays as it is.
    - Raises ValueError, naming both lengths, if they differ.
    """
    raise NotImplementedError


def seed_interval(scores: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of one system's `scores` (n,), one for each seed.

    Raises ValueError, naming n, if n is below 2.
    """
    raise NotImplementedError


def seed_difference(x: np.ndarray, y: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """(x̄ - ȳ, low, high) of two systems' scores x (n₁,) and y (n₂,), one for each seed; seeds aren't paired.

    - If both variances are 0, low and high are the difference itself.
    - Raises ValueError, naming n₁ and n₂, if either is below 2.
    """
    raise NotImplementedError


def holm(p_values: np.ndarray) -> np.ndarray:
    """The adjusted p-values (h,) of `p_values` (h,), in the order that came.  h = 0 gives an empty array."""
    raise NotImplementedError


def different(right: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """Which of k models differ: booleans (k, k), symmetric, the diagonal False.

    right   (k, n), True where a model is right

    Each pair has its McNemar p.  All k(k - 1)/2 of them are one family for Holm.  A pair differs if its adjusted p
    is at most alpha + 1e-9, so that rounding doesn't decide.
    """
    raise NotImplementedError


def mcnemar_power(only_a: float, only_b: float, n: int, alpha: float = 0.05) -> float:
    """The exact chance that McNemar's p is at most alpha + 1e-9 on n independent examples; n is at least 1.

    only_a, only_b   the chances p_a and p_b; their sum is above 0 and at most 1

    Both kinds of result count, whichever model they are for.
    """
    raise NotImplementedError


def examples_needed(only_a: float, only_b: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """The lesson's sample size for the chances p_a and p_b.

    Raises ValueError, naming the chance, if p_a = p_b: no test set shows a difference that isn't there.
    """
    raise NotImplementedError


def expected_best(accuracy: float, n: int, models: int) -> float:
    """The expected accuracy of the best of k = `models` independent models, each right with the chance `accuracy`
    on each of n examples.
    """
    raise NotImplementedError


def first_places(scores: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of k models comes first, as shares (k,) that sum to 1; scores (k, n), higher is better.

    - Resamples are as in paired_bootstrap: all models get the same examples.  The highest mean is first.
    - Models within 1e-9 of the highest mean share the place: two get a half each.
    - All that is random comes from `rng`.
    """
    raise NotImplementedError
