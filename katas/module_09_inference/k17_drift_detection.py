"""Drift detection: do today's data look like those of the training?

**Before you start.**  You need numpy, quantiles and what a p-value is; no other kata.  If tests of
hypotheses are new: Wasserman 2004, "All of Statistics", chapter 10.

**The idea.**  A model learns from last year's data and works on today's.  Users change, a camera is
replaced, a field in a form gets another unit.  The model doesn't complain; it is only wrong more
often.  The true answers come weeks later.  But you can compare the *inputs* at once.  Here you
write four ways to ask whether two samples come from the same distribution.  What to do
when the right answers themselves change is in the kata concept_drift.

- *PSI*, the population stability index, compares shares in bins.  It is a number, not a test.
- *Kolmogorov–Smirnov* (KS) compares the two distribution functions, for one feature.
- *MMD*, the maximum mean discrepancy, compares whole rows, by how alike they are.
- *A classifier test* trains a model to tell the two samples apart.  If it can, they differ.

A service has hundreds of features.  Test each at 5%, and there are false alarms every day.  So
you also write two corrections: Holm's and Benjamini and Hochberg's (BH).

**The formulas**, for n rows x and m rows y:

    PSI     ∑ (q_b - p_b) ln(q_b / p_b)      shares of bin b in the reference (p), and now (q)
            share = (count + 1/2) / (number of values + bins/2)

    KS      D = max |F(t) - G(t)|            F(t): the share of x that is ≤ t; G: that of y
            λ = D √(n m / (n + m))
            p = 2 ∑ (-1)^(k-1) exp(-2 k² λ²),  k = 1, 2, 3, …;  and 1 if λ < 0.2

    kernel  k(a, b) = exp(-‖a - b‖² / (2 σ²))
    MMD²    mean of k(x_i, x_j), i ≠ j,  +  mean of k(y_i, y_j), i ≠ j,  -  2 · mean of k(x_i, y_j)

    AUC     share of the pairs in which y's score is above x's; an equal pair counts 1/2
            z = (AUC - 1/2) / √((n + m + 1) / (12 n m))          p = erfc(z / √2) / 2

    Holm    the i-th smallest p, from i = 1:  p ≤ α / (N - i + 1)       N is the number of tests
    BH                                        p ≤ α i / N

For the AUC, n and m are the numbers of rows that were kept back for judging.

**A drawing.**  Two distribution functions on the left; the kernel of the pooled rows on the right:

    1 ┤          ╭────╴ F             x     y
      │     ╭────╯   ╭──            ┌─────┬─────┐
      │  ╭──╯  ↕ D ╭─╯             x│ x x │ x y │   + mean of x x, no diagonal
      │  │      ╭──╯                ├─────┼─────┤   + mean of y y, no diagonal
      │╭─╯   ╭──╯ G                y│ y x │ y y │   - 2 · mean of x y
    0 ┼┴─────┴──────────╴ t         └─────┴─────┘

And the two corrections, the p-values sorted.  Holm goes up until the first ✗.  BH looks for the
last ✓:

    p       0.01     0.02     0.03     0.04          α = 0.05
    Holm    0.0125 ✓ 0.0167 ✗ 0.025    0.05          rejects 1
    BH      0.0125 ✓ 0.025  ✓ 0.0375 ✓ 0.05   ✓      rejects 4

**Why shuffle?**  Nobody knows how large an MMD² is by chance.  But if x and y come from the same
distribution, their labels mean nothing.  Shuffle the labels many times, and see how often MMD² is
as large as the true one.  The true labels are one such shuffle as well.  So count them: then p is
never 0.

**Why leave out the diagonal?**  k(a, a) is always 1.  With it the mean is too large, and even two
samples of one distribution seem to differ.  Without it MMD² is right on average, and it may be
below 0.

**Why keep half of the rows back?**  A classifier may learn its rows by heart.  On them it tells
even equal samples apart.  On rows that it hasn't seen it can only use what is truly different.

**Why two corrections?**  At α = 0.05 Holm promises: on 95 of 100 days there is no false alarm at
all.  BH promises less: of its alarms at most 5% are false on average, if the tests are
independent.  So BH finds more.

**Worked by hand**

    PSI: reference 1 … 8 in 4 bins; the inner edges are its quantiles 2.75, 4.5, 6.25
        reference counts 2 2 2 2, shares 2.5/10 each
        now 7 7 8 8 1 8 7 8: counts 1 0 0 7, shares 0.15 0.05 0.05 0.75
        PSI = 0.0511 + 0.3219 + 0.3219 + 0.5493 = 1.2442
    KS: x = 1 2 3 4, y = 3 4 5 6: D = 0.5 at t = 2, λ = 0.7071, p = 0.6994
    MMD²: x = 0 and 1, y = 1 and 2, and σ such that k = 2^(-d²) at a distance d:
        1/2 + 1/2 - 2 · (1/2 + 1/16 + 1 + 1/2) / 4 = -0.03125
    AUC: scores 1, 3 of x and 2, 4, 5 of y: 5 of 6 pairs, z = 1.1547, p = 0.1241

**Shapes**: psi and ks_test take arrays (n,) and (m,); the others take rows (n, d) and (m, d).  All
numbers are finite floats.  The answers are floats, if nothing else is said.  No function changes
its arguments, but for `rng`, which is drawn from.

**Steps.**  A good place to pause is before gaussian_kernel.

    psi                 10 min   equal edges; empty bins
    ks_test             12 min   ties, and a sum that doesn't converge at 0
    gaussian_kernel      8 min   far from the origin
    mmd_squared          8 min   three blocks
    mmd_test            10 min   one kernel for all shuffles
    classifier_test     15 min   who sees which rows?
    holm                 7 min   where does it stop?
    benjamini_hochberg   6 min   and this one?

Sources: Siddiqi 2006, "Credit Risk Scorecards" (PSI); Massey 1951, "The Kolmogorov–Smirnov Test for
Goodness of Fit"; Gretton et al. 2012, "A Kernel Two-Sample Test"; Lopez-Paz and Oquab 2017,
"Revisiting Classifier Two-Sample Tests"; Holm 1979, "A Simple Sequentially Rejective Multiple Test
Procedure"; Benjamini and Hochberg 1995, "Controlling the False Discovery Rate"; Rabanser,
Günnemann and Lipton 2019, "Failing Loudly" (which of them finds what).

From scratch: scipy, sklearn and statsmodels may not be used.
"""

from collections.abc import Callable, Sequence

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray], Score]


def psi(reference: np.ndarray, current: np.ndarray, bins: int = 10) -> float:
    """The population stability index, by the formula.

    - The inner edges are the quantiles 1/bins, 2/bins, … of the reference, as np.quantile gives them.
    - Equal edges are one edge: then there are fewer bins, and `bins` in the formula is their true number.
    - A value is in the bin with the number of edges that are ≤ it.  So the outer bins have no end, and a value on
      an edge belongs to the bin above.

    bins is at least 2.  Raises ValueError, saying "empty", if one of the two has no values.
    """
    raise NotImplementedError


def ks_test(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """D and p of the two-sample Kolmogorov–Smirnov test, by the formulas.  Both samples have values, in any order.

    - Values may be equal, within a sample and across: F(t) and G(t) count all that are ≤ t.
    - p is from 0 to 1.  It is right to 1e-9: 100 terms of the sum are more than enough.
    """
    raise NotImplementedError


def gaussian_kernel(z: np.ndarray, sigma: float | None = None) -> np.ndarray:
    """The kernel of all pairs of rows of z (n, d), as an array (n, n).

    sigma   None: the median of the distances of all pairs of two different rows, that is i < j.
            If this is 0, sigma is 1.

    The rows may lie far from the origin, such as at 1e6: their differences count.
    """
    raise NotImplementedError


def mmd_squared(kernel: np.ndarray, n: int) -> float:
    """MMD² from the kernel of the pooled rows: the first n are x, the others y.  Both have at least 2."""
    raise NotImplementedError


def mmd_test(
    x: np.ndarray, y: np.ndarray, rounds: int, rng: np.random.Generator, sigma: float | None = None
) -> tuple[float, float]:
    """MMD² of x and y, and its p-value by shuffling the labels.

    - The kernel is that of x's rows, with y's after them.  `sigma` is as in gaussian_kernel, from all of them.
    - p = (1 + the number of shuffles whose MMD² is at least the true one) / (1 + rounds), with `rounds` shuffles.
      Count a shuffle if it is at least the true one - 1e-12, since sums are rounded.
    - A shuffle puts the pooled rows into random order, drawn from `rng`.  The first n are then x.

    Raises ValueError, naming both numbers of rows, if x or y has fewer than 2.
    """
    raise NotImplementedError


def classifier_test(x: np.ndarray, y: np.ndarray, fit: Fit, rng: np.random.Generator) -> tuple[float, float]:
    """The AUC of a classifier that tells y from x, on rows that it hasn't seen, and the p-value.

    fit   `score = fit(rows, labels)` trains on rows (k, d) and labels (k,), which are 0 for x and 1 for y.
          Then score(rows) gives the array (k,) of their scores: the higher, the more like y.

    - Of x a random half is trained on, ⌊n/2⌋ rows, and of y ⌊m/2⌋; drawn from `rng`.  All other rows are judged.
    - `fit` is called once, and each row that is judged is scored once.  The order of the rows is open.
    - A p-value near 0 says that x and y differ.  An AUC below 1/2 is no sign of that: its p is above 1/2.

    Raises ValueError, naming both numbers of rows, if x or y has fewer than 2.
    """
    raise NotImplementedError


def holm(p_values: Sequence[float] | np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """Which tests are significant by Holm's rule: an array (N,) of truth values, in the order of the p-values.

    Go from the smallest p-value up.  The first that is above its threshold ends it: this one and all that
    come after aren't significant.  Equal p-values may come in any order.  With no p-values the array is empty.
    """
    raise NotImplementedError


def benjamini_hochberg(p_values: Sequence[float] | np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """Which tests are significant by the rule of Benjamini and Hochberg: as in `holm`, an array (N,) of truth values.

    Find the largest i whose p-value is at most its threshold.  It is significant, and all smaller p-values are,
    whatever their own thresholds are.
    """
    raise NotImplementedError
