"""Feature engineering

**Before you start.**  You need means, quantiles and numpy's broadcasting; no other kata.  New to
pipelines?  Read scikit-learn's user guide, "Common pitfalls", at scikit-learn.org.

**The idea.**  A model wants a table of numbers on comparable scales.  Real tables have gaps, words
and outliers.  Transformers mend that.  Each learns something from the data (a mean, a list of
categories), so each can *leak*: what it learns from test rows, or from a row's own target, makes
scores look better than they are.  The cure is a discipline of two verbs: `fit` learns from training
rows alone, and `transform` applies that to any row.

**The formulas**, for a column x, targets y with mean ȳ, a category c with n_c rows, a smoothing m:

    standard scaler    (x - mean)/s        s = √mean((x - mean)²), divided by n
    robust scaler      (x - median)/(q₃ - q₁)      the quartiles, so outliers don't count
    one-hot            a column for each category, 1 where x is it
    quantile bins      edges at the quantiles 1/k, 2/k, …, (k - 1)/k;
                       bin of x = the number of edges ≤ x
    interactions       xᵢ xⱼ for i < j
    target encoding    e(c) = (sum of y in c + m ȳ)/(n_c + m),  ȳ for a c never seen

- Quantiles are numpy.quantile's default ones, which interpolate.
- *Smoothing* pulls the mean of a rare category towards ȳ.  It counts like m more rows.
- *Out-of-fold*: split the training rows into folds.  Encode each fold by what the others say.

How a pipeline sees data, in training and afterwards:

    training rows ──▶ fit_transform ──▶ fit_transform ──▶ fit
                           │ learned         │ learned     │ learned
                           ▼                 ▼             ▼
    new rows ───────▶ transform ──────▶ transform ──────▶ predict

**Why out-of-fold?**  A category with one row has that row's target as its mean.  A model trained on
it learns to trust the encoding blindly, and fails on new rows.  Out of fold, a row's own target has
no part in its encoding.  New rows aren't in the training data, so `transform` may use all of it.

**Why one pipeline for each fold?**  Choose the best 5 of 1000 noise features on all rows, and
cross-validation will praise them: the choice has seen the test rows.  Whatever learns belongs
inside.

**Worked by hand**:

    x = [1 2 6]               mean 3, s = √(14/3): [-0.926 -0.463 1.389]
                              median 2, quartiles 1.5 and 4: [-0.4 0 1.6]
    [1 2 3 4 10] in 2 bins    one edge, 3: bins 0 0 1 1 1
    c = [A A B A], y = [1 0 0 1], m = 1     ȳ = ½, e(A) = 2.5/4, e(B) = 0.5/2
    the same in 2 folds       rows 0 and 2 from rows 1 and 3: ȳ = ½, A 1.5/3, B never seen
                              rows 1 and 3 from rows 0 and 2: ȳ = ½, A 1.5/2
                              so [½ ¾ ½ ¾]

**Shapes**: x (n, d) of numbers, or a column (n,), as each says.  Answers are float64 unless it says
otherwise, and integers are fine as input.  No function changes its arguments.  What holds for every
class here:

- `fit` returns the object itself, and a second fit forgets the first.
- `transform` learns nothing: each row's answer is the same alone or among others.

**Steps.**  A good place to pause is after interactions.

    StandardScaler   6 min   columns that are constant
    RobustScaler     5 min   the same with quartiles
    Imputer         10 min   NaN is not equal to itself
    OneHotEncoder   10 min   words that fit never saw
    QuantileBinner   8 min   edges that coincide
    interactions     5 min   two loops
    TargetEncoder   20 min   the hard one: fit_transform isn't fit, then transform
    Pipeline         8 min   which verb on which rows
    out_of_fold      7 min   a new pipeline each time

Sources: Micci-Barreca 2001, "A Preprocessing Scheme for High-Cardinality Categorical Attributes in
Classification and Prediction Problems"; Kaufman et al. 2012, "Leakage in Data Mining"; Hastie,
Tibshirani and Friedman 2009, "The Elements of Statistical Learning", section 7.10.2.

From scratch: sklearn, scipy and pandas may not be used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class StandardScaler:
    """Gives each column mean 0 and deviation 1."""

    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> StandardScaler:
        """Learn the mean and the deviation of each column of `x` (n, d); y isn't used.

        A column whose values are all equal has no deviation to divide by: 1 takes its place.
        """
        raise NotImplementedError

    def transform(self, x: np.ndarray) -> np.ndarray:
        """`x` (n, d), each column less its mean, over its deviation.

        Raises ValueError, naming both numbers, if x has another number of columns than fit saw.
        """
        raise NotImplementedError


class RobustScaler:
    """Gives each column median 0 and a distance of 1 between its quartiles."""

    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> RobustScaler:
        """Learn the median and the quartiles of each column of `x` (n, d); y isn't used.

        Where both quartiles are equal, 1 takes the place of their distance.
        """
        raise NotImplementedError

    def transform(self, x: np.ndarray) -> np.ndarray:
        """`x` (n, d), each column less its median, over the distance of its quartiles.

        Raises ValueError, naming both numbers, if x has another number of columns than fit saw.
        """
        raise NotImplementedError


class Imputer:
    """Fills gaps (NaN) with what is typical of the column."""

    def __init__(self, strategy: str = "median", indicator: bool = False) -> None:
        """`strategy` is "mean" or "median", of the values that are there.

        With `indicator`, transform tells where the gaps were, too.
        Raises ValueError, naming it, for another strategy.
        """
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> Imputer:
        """Learn the mean or median of each column of `x` (n, d); y isn't used.

        Raises ValueError, naming the column, from 0, if all of its values are missing.
        """
        raise NotImplementedError

    def transform(self, x: np.ndarray) -> np.ndarray:
        """`x` (n, d) with its gaps filled; with `indicator` (n, 2 d).

        - The second d columns are 1.0 where x has a gap, and 0.0 elsewhere: one for each column, even
          if fit saw no gap in it.
        - Values that are there, infinite ones too, stay as they are.

        Raises ValueError, naming both numbers, if x has another number of columns than fit saw.
        """
        raise NotImplementedError


class OneHotEncoder:
    """Turns a column of categories into a column of 0 and 1 for each.

    After fit, attribute `categories` holds the categories, sorted: an array (k,).
    """

    def __init__(self, unknown: str = "ignore") -> None:
        """`unknown` says what becomes of a category that fit never saw: "ignore" or "error".

        Raises ValueError, naming it, for anything else.
        """
        raise NotImplementedError

    def fit(self, column: Sequence[Any], y: np.ndarray | None = None) -> OneHotEncoder:
        """Learn the categories of `column` (n,), a list or an array of strings or of numbers."""
        raise NotImplementedError

    def transform(self, column: Sequence[Any]) -> np.ndarray:
        """(n, k): 1.0 in the column of each row's category, 0.0 elsewhere.

        A category that fit never saw gives a row of zeros; with "error" it is a ValueError that
        names the category.
        """
        raise NotImplementedError


class QuantileBinner:
    """Cuts a column into bins that hold about as many rows each.

    After fit, attribute `edges` holds the edges between bins, rising: an array.
    """

    def __init__(self, bins: int = 4) -> None:
        """Raises ValueError, naming it, if `bins` is below 2."""
        raise NotImplementedError

    def fit(self, column: np.ndarray, y: np.ndarray | None = None) -> QuantileBinner:
        """Learn the edges from `column` (n,): at the quantiles 1/bins, …, (bins - 1)/bins.

        Edges that are equal are kept once, so there may be fewer than bins - 1.
        """
        raise NotImplementedError

    def transform(self, column: np.ndarray) -> np.ndarray:
        """The bin of each value, from 0: integers (n,).

        A value on an edge belongs to the upper bin.  Values beyond all that fit saw belong to the
        first or the last bin.
        """
        raise NotImplementedError


def interactions(x: np.ndarray) -> np.ndarray:
    """`x` (n, d), and after it the products of two different columns: float64 (n, d + d(d - 1)/2).

    The products stand as 0·1, 0·2, …, 0·(d - 1), 1·2, …
    """
    raise NotImplementedError


class TargetEncoder:
    """Turns a column of categories into one of numbers: the mean target of each, smoothed."""

    def __init__(self, smoothing: float = 1.0, folds: int = 5) -> None:
        """`smoothing` is the lesson's m ≥ 0; `folds` is for fit_transform.

        Raises ValueError, naming it, if smoothing is negative or folds is below 2.
        """
        raise NotImplementedError

    def fit(self, column: Sequence[Any], y: np.ndarray) -> TargetEncoder:
        """Learn e(c) from `column` (n,), strings or numbers, and targets `y` (n,)."""
        raise NotImplementedError

    def transform(self, column: Sequence[Any]) -> np.ndarray:
        """e(c) of each row: (n, 1).  A category that fit never saw gets ȳ."""
        raise NotImplementedError

    def fit_transform(self, column: Sequence[Any], y: np.ndarray) -> np.ndarray:
        """Encode the training rows out of fold: (n, 1); n ≥ 2.

        - Row i belongs to fold i mod `folds`.
        - It is encoded by what the rows of all other folds say: their sums, counts and ȳ.
        - Afterwards, transform knows what it would after fit on all rows.
        """
        raise NotImplementedError


class Pipeline:
    """Transformers in a row, and a model at their end."""

    def __init__(self, steps: Sequence[Any], model: Any) -> None:
        """`steps` are transformers, perhaps none; `model` has fit(x, y) and predict(x)."""
        raise NotImplementedError

    def fit(self, x: Any, y: np.ndarray) -> Pipeline:
        """Fit each step on what the steps before it made of `x`, then the model on the last's.

        - A step that has `fit_transform(x, y)` gets that call, and no other.
        - Any other gets fit(x, y), then transform(x).
        - The model gets fit(x, y), once.
        """
        raise NotImplementedError

    def predict(self, x: Any) -> np.ndarray:
        """The model's predictions for new rows.  Of the steps, only `transform` is called."""
        raise NotImplementedError


def out_of_fold(
    make: Callable[[], Any],
    x: np.ndarray,
    y: np.ndarray,
    folds: np.ndarray,
) -> np.ndarray:
    """A prediction for each row, by a pipeline that hasn't seen it: float64 (n,).

    - `folds` (n,) names each row's fold, by any values; x is (n, d) or (n,).
    - For each fold, make() gives a new pipeline.  It is fitted on the rows of the other folds, and
      predicts those of this one.

    Raises ValueError, naming their number, if there are fewer than 2 folds.
    """
    raise NotImplementedError
