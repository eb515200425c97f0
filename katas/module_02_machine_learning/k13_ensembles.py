"""Ensembles

**Before you start.**  You need decision trees as an idea, the binomial distribution, and
cross-validation's folds.  No other kata is imported.  A picture first?  Read Zhou, "Ensemble
Methods", chapter 1, or scikit-learn's user guide, section "Ensembles".

**The idea.**  Several mediocre models can be one good model, if they err on different rows.  There
are three ways to combine them:

- *Voting* and *bagging*: side by side, each model has a vote.
- *Boosting*: one after the other, each looks at what the ones before got wrong.
- *Stacking*: a last model learns whom to trust, from their predictions.

A model here is a function.  `fit(x, y)` returns another function, `predict`, which maps rows to
answers.  So anything can be a member.

**The formulas**, for m members, K labels, weights w of the rows:

    majority     ∑_{k > m/2} C(m, k) pᵏ (1 - p)ᵐ⁻ᵏ      + half of the term k = m/2
    correlated   ρ p + (1 - ρ) · majority
    SAMME        ε = ∑ w over the wrong rows / ∑ w
                 α = η [log((1 - ε)/ε) + log(K - 1)]
                 w ← w e^α on the wrong rows, then w ← w / ∑ w
    AdaBoost     the label c with the largest ∑ α over the members that say c

p is the error of one member, ρ the correlation of any two members' errors.  The formula with ρ is
for the simplest such group: with probability ρ all say the same, else each decides alone.  η is the
learning rate.  *SAMME* is AdaBoost for K labels.

Stacking with three folds: each model predicts rows that it has not seen.

            fold 0   fold 1   fold 2              meta
    fit 1    ?        ■        ■    ──▶  rows of fold 0   p₁ p₂  ──┐
             ■        ?        ■    ──▶  rows of fold 1   p₁ p₂  ──┼──▶ final
             ■        ■        ?    ──▶  rows of fold 2   p₁ p₂  ──┘
    fit 2   the same

**Why out of fold?**  A model that knows its training rows by heart predicts them perfectly.  The
last model would trust it blindly.  On rows that no member has seen, it sees how good each one is.

**Why log(K - 1)?**  Guessing among K labels errs with 1 - 1/K.  There, α is 0: a member only has to
be better than that, not better than ½.

**Worked by hand**:

    3 members, p = 0.3:  3·0.09·0.7 + 0.027 = 0.216;   with ρ = ½:  ½·0.3 + ½·0.216 = 0.258
    AdaBoost, labels a a b a, a member says a:  ε = ¼,  α = log 3,  w = 1/6 1/6 1/2 1/6

**Shapes**: x (n, d), y (n,).  Labels may be any that numpy sorts.  No function changes its
arguments, but for drawing from `rng`.

**Steps.**

    majority_error   8 min   a tie is decided by a coin
    hard_vote        8 min   count by label, then argmax
    soft_vote        3 min   a weighted mean
    bag              5 min   rows drawn with replacement
    fit_stump       15 min   cumulative sums of the labels' weights
    AdaBoost        15 min   two ways to end early
    out_of_fold      7 min   a fold's rows never meet the model that judges them
    Stacking        12 min   fit on out-of-fold answers, predict with refitted members

Sources: Zhu et al. 2009, "Multi-class AdaBoost"; Breiman 1996, "Bagging Predictors"; Wolpert 1992,
"Stacked Generalization".

From scratch: sklearn and scipy may not be used.
"""

from collections.abc import Callable, Sequence

import numpy as np

Predict = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray], Predict]
WeightedFit = Callable[[np.ndarray, np.ndarray, np.ndarray], Predict]


def majority_error(members: int, error: float, correlation: float = 0.0) -> float:
    """The error of a majority vote of `members` ≥ 1 members on two labels, as in the lesson.

    With an even number, a fair coin decides a tie.  0 ≤ correlation ≤ 1.
    """
    raise NotImplementedError


def hard_vote(votes: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The label with most votes for each row: (n,), for `votes` (m, n), one row of labels a member.

    - `weights` (m,) ≥ 0, not all 0: how many votes a member has, integers or not; None: one each.
    - Of labels with equally many votes, the first in sorted order.
    """
    raise NotImplementedError


def soft_vote(probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The weighted mean over the members: float64 (n, K), for `probabilities` (m, n, K).

    `weights` (m,) ≥ 0 with a positive sum; they need not sum to 1.  None: equal ones.
    """
    raise NotImplementedError


def bag(
    fit: Fit,
    x: np.ndarray,
    y: np.ndarray,
    members: int,
    rng: np.random.Generator,
) -> list[Predict]:
    """`members` models in a list, each fitted to its own n rows drawn with replacement from `rng`.

    A row keeps its label.  Generators in the same state give the same rows.
    """
    raise NotImplementedError


def fit_stump(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Predict:
    """A `predict` with one question: is column j ≤ t?  One label for yes, one for no.

    - Of all columns, thresholds and pairs of labels it has the lowest weighted error on `x` (n, d),
      `y` (n,), `weights` (n,) ≥ 0: the sum of the weights of the wrong rows.  Any of several best
      ones is right.  A single label for all rows is allowed, too.
    - `predict` maps (m, d) to m labels of y's kind.
    """
    raise NotImplementedError


class AdaBoost:
    """SAMME on members that can be fitted to weighted rows.  After `fit`, its attributes are:

    - `classes`: the labels, sorted (K,).
    - `members`: a list of the members' `predict` functions, in order.
    - `alphas`: a list of their α.

    A second `fit` forgets the first.
    """

    def __init__(self, fit: WeightedFit, rounds: int = 50, rate: float = 1.0) -> None:
        """`fit(x, y, weights)` gives a member's `predict`; `rate` is η, `rounds` ≥ 1."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Fit member after member.  The weights that a member gets sum to 1; at first all are 1/n.

        - A member without an error is kept with α = 1.0, whatever η is, and is the last one.
        - A member with ε ≥ 1 - 1/K isn't kept, and ends the rounds.  If it is the first one,
          raises ValueError, saying "chance".
        - Raises ValueError, naming how many there are, if y has fewer than 2 labels.
        """
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Each row's label (n,); of labels with equal sums of α the first in `classes`."""
        raise NotImplementedError


def out_of_fold(fit: Fit, x: np.ndarray, y: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Each row's answer by a model that was fitted to the rows of all other folds: float64.

    - `folds` (n,) holds each row's fold, any numbers; one model for each distinct number.
    - The shape is (n,) or (n, K), as the answers of `predict` have it.  These are numbers.
    """
    raise NotImplementedError


class Stacking:
    """A final model on the answers of others.  After `fit`, its attributes are:

    - `meta`: float64 (n, columns), what the final model was fitted to: the members' out-of-fold
      answers, member by member, K columns each or one; then, with `passthrough`, x itself.
    - `members`: a list of the `predict` functions, each fitted to all rows.
    """

    def __init__(self, fits: Sequence[Fit], final: Fit, passthrough: bool = False) -> None:
        """`fits` give the members, whose answers are numbers; `final` is fitted to these and y."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray, folds: np.ndarray) -> None:
        """Fit the final model to `meta` and `y` (n,), and each member to all rows.

        Raises ValueError, naming how many there are, if `folds` (n,) has fewer than 2 distinct
        ones.
        """
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The final model's answers to what the members say of `x` (m, d)."""
        raise NotImplementedError
