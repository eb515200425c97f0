"""Model selection

**Before you start.**  You need means, variances and standard errors.  Cross-validation is new to
you?  Read Hastie, Tibshirani and Friedman (below), sections 7.2, 7.3 and 7.10, free at
hastie.su.domains/ElemStatLearn.

**The idea.**  You want to know how a model does on rows that it hasn't seen.  Rows it was trained
on can't tell: it may know them by heart.  So hold some out, train on the others, score the ones
held out.  *Cross-validation* does that k times, so that each row is held out once.  Which rows
may stand on both sides decides whether the answer is honest:

    rows      0  1  2  3  4  5  6  7  8  9
    groups    a  a  b  b  b  c  c  c  d  d     a patient stays on one side
              ▓▓▓▓░░░░░░░░░░▓▓▓▓▓▓▓▓▓▓▓░░░░    ▓ train  ░ test
    time      ▓▓▓▓▓▓▓▓▓ ·  ░░░░                the test lies in the future,
              ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓ ·  ░░░░          · is a gap that nobody uses
              ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓ ·  ░░░░

- *Stratified*: each fold has the same mix of classes.
- *Nested*: you also choose among models.  An inner cross-validation on the training rows
  chooses, and the outer test rows judge the choice.

**The formulas.**  For k scores sᵢ, rows y with noise of variance σ², a prediction f̂ that depends
on the training set, and E, the mean over training sets:

    standard error      SE = √( ∑ᵢ (sᵢ - s̄)²/(k - 1) ) / √k
    one standard error  the first model, simplest first, with mean ≥ best mean - SE of the best
    bias², variance     (E f̂ - f)²,   E (f̂ - E f̂)²
    expected error      E (y - f̂)² = σ² + bias² + variance

A simple model is biased; a flexible one varies with its training set.  A *learning curve*, the
scores against the number of training rows, shows which of the two you suffer from: more rows
lower the variance, not the bias.

**Why nested?**  The best of 50 models on the same folds wins partly by luck.  On pure noise with
42 rows the winner scores 67% instead of 50%.  The luck doesn't carry over to rows that had no
part in the choice.

**Why one standard error?**  Scores are noisy.  A simpler model that is as good within the noise
will usually do as well on new rows.

**Worked by hand**:

    stratified, k = 2, classes a b a a b a: each fold tests two a and one b
    groups of 5, 4, 3, 2 rows, k = 2: 5 | 4, then 3 to the lighter: 5 | 7, then 2: 7 | 7
    time, n = 10, k = 3, gap 1: 2 test rows each; tests 4-5, 6-7, 8-9, training 0-2, 0-4, 0-6
    scores [.80 .82 .84], [.85 .83 .87], [.90 .82 .86]: means .82, .85, .86
        SE of the best: .04/√3 = .023, so from .837 on: model 1
    predictions 0, 1, 2 of a truth 2: bias² = (1 - 2)² = 1, variance 2/3, mean error 5/3

**Shapes**: x (n, d), y (n,).  A *split* is a pair (train, test) of integer arrays: the numbers of
rows.  Models and scores are functions:

    predict = fit(x, y)      guess = predict(x)      score(y, guess), higher is better

No function changes its arguments.

**Steps.**  A good place to pause is after cross_validate.

    stratified_k_fold      10 min   classes even, and folds even
    group_k_fold           12 min   the largest group first
    time_series_split      10 min   where do the tests begin?
    cross_validate          5 min   one line a split
    nested_cross_validate  15 min   positions in the training rows
    one_standard_error      5 min   whose standard error?
    learning_curve         12 min   one order a split
    bias_variance           8 min   over training sets first, then over points

Sources: Hastie, Tibshirani and Friedman 2009, "The Elements of Statistical Learning", chapter 7;
Cawley and Talbot 2010, "On Over-fitting in Model Selection and Subsequent Selection Bias in
Performance Evaluation".

From scratch: sklearn and scipy may not be used.
"""

from collections.abc import Callable, Sequence

import numpy as np

Fit = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]
Score = Callable[[np.ndarray, np.ndarray], float]
Split = tuple[np.ndarray, np.ndarray]


def stratified_k_fold(y: np.ndarray, k: int, rng: np.random.Generator) -> list[Split]:
    """k splits whose test parts hold each row of `y` (n,) once, with even shares of each class.

    - Of each class, any two test parts hold numbers of rows that differ by 1 at most.
    - The sizes of the test parts differ by 1 at most, too.
    - Within its class it is `rng` that decides where a row goes, not its place in `y`.
    - The training part is all other rows.  Both parts are in rising order.
    - Classes are numbers or strings.  A class may have fewer than k rows.

    Raises ValueError, naming k and n, unless 2 ≤ k ≤ n.
    """
    raise NotImplementedError


def group_k_fold(groups: np.ndarray, k: int) -> list[Split]:
    """k splits whose test parts hold each row once, and no group both in train and in test.

    - `groups` (n,) names each row's group: a number or a string.
    - The groups are dealt out from the largest to the smallest, each to the test part with the
      fewest rows so far.  Which of equal groups or parts comes first is up to you.
    - The training part is all other rows.  Both parts are in rising order.

    Raises ValueError, naming k and the number of groups, unless 2 ≤ k ≤ number of groups.
    """
    raise NotImplementedError


def time_series_split(n: int, k: int, gap: int = 0, max_train: int | None = None) -> list[Split]:
    """k splits of n rows in the order of time, the earliest test first.

    - Each test part has n // (k + 1) rows.  They follow one another, and the last ends at n.
    - The training part is all rows before the test, but for the `gap` rows just before it, and
      of these the last `max_train` ≥ 1, if given.

    Raises ValueError, naming n, k and the gap, if a test or a training part would be empty.
    """
    raise NotImplementedError


def cross_validate(fit: Fit, score: Score, x: np.ndarray, y: np.ndarray, splits: Sequence[Split]) -> np.ndarray:
    """The score on each split's test rows after a fit to its training rows: float64 (splits,).

    `fit` is called once a split, in their order, with the rows in the split's order.
    """
    raise NotImplementedError


def nested_cross_validate(
    candidates: Sequence[Fit],
    score: Score,
    x: np.ndarray,
    y: np.ndarray,
    outer: Sequence[Split],
    inner: Callable[[np.ndarray, np.ndarray], Sequence[Split]],
) -> tuple[np.ndarray, np.ndarray]:
    """(scores, chosen), each (outer,): the test score of each outer split, and who was chosen.

    For each outer split:
    - inner(x_train, y_train) is called once, with the outer training rows in the split's order.
      Its splits count positions among these rows, from 0.
    - The candidate with the highest mean inner score is chosen; of equal ones the first.
    - It is fitted again, to all outer training rows, and scored on the outer test rows.

    `chosen` holds integers, places in `candidates`.
    """
    raise NotImplementedError


def one_standard_error(scores: np.ndarray) -> int:
    """The place of the first model whose mean is at least the best mean less its standard error.

    `scores` (models, k), the simplest model first, k ≥ 2; they may be integers.  The standard
    error is that of the best model's k scores; of equally good models the first is the best.
    """
    raise NotImplementedError


def learning_curve(
    fit: Fit,
    score: Score,
    x: np.ndarray,
    y: np.ndarray,
    sizes: Sequence[int],
    splits: Sequence[Split],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """(on_train, on_test), each float64 (sizes, splits): scores by number of training rows.

    - For each split its training rows are permuted once by `rng`; size m takes the first m.
      So a larger size holds the rows of a smaller one.
    - `on_train` is the score on the m rows that were fitted, `on_test` on all test rows.
    - `sizes` are in any order; `fit` is called once for each size and split.

    Raises ValueError, naming the largest size and the training rows of the smallest split, if
    that split has too few.
    """
    raise NotImplementedError


def bias_variance(
    fit: Fit,
    draw: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]],
    x: np.ndarray,
    truth: np.ndarray,
    rounds: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """(bias², variance) of a model's predictions at the points `x` (n, d), by simulation.

    - Each of `rounds` ≥ 1 rounds calls draw(rng) for a new training set (x, y), fits, and
      predicts at `x` once.
    - E is the mean over the rounds, of the squares, too: divide by `rounds`, not by one less.
    - Both are means over the points.  `truth` (n,) is f at these, without noise.
    """
    raise NotImplementedError
