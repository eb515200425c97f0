"""Random forests

**Before you start.**  You need decision trees.  Import yours (the reference's until yours is
green):

    from .k09_decision_tree import DecisionTreeClassifier, Node

Forests are new to you?  Read Hastie et al., "The Elements of Statistical Learning", sections 15.1
to 15.3, free at hastie.su.domains/ElemStatLearn.

**The idea.**  A deep tree fits anything, noise included: other rows would have given another tree.
A forest grows many trees and averages them, so that their errors cancel.  That only helps if the
trees differ.  Two draws make them differ:

- *Bagging*: each tree sees a bootstrap, n rows drawn with replacement.
- *Feature subsets*: each node looks at a few drawn columns only.

A row that is not in a tree's bootstrap is *out of bag* (OOB) for this tree.  Ask only such trees
about it, and you have a test of the forest without setting rows aside.

    rows      0 1 2 3 4 5
              ├── tree A    3 0 5 0 2 5    out of bag: 1 4
              ├── tree B    2 4 1 5 4 2    out of bag: 0 3
              └── tree C    0 3 3 5 0 2    out of bag: 1 4
    row 1 is judged by A and C, row 0 by B, row 2 by none

**The formulas**, for n rows, B trees of variance σ² each, any two with correlation ρ:

    never drawn      (1 - 1/n)ⁿ → 1/e = 0.368
    variance         ρ σ² + (1 - ρ) σ²/B
    gain of j        ∑ₜ n_t I_t - n_left I_left - n_right I_right      t: nodes that split on j
    permutation      score(y, f(x)) - score(y, f(x with column j shuffled))

I is a node's impurity and f the model.  In each tree, the columns' gains are divided by their sum;
these shares are averaged over the trees.  This is the *impurity importance*.

**Why feature subsets?**  With ever more trees the second part of the variance goes to 0, but ρσ²
stays.  If one column is strong, all trees begin with it, and ρ is large.  Hide it now and then, and
ρ falls.

**Why two importances?**  The impurity importance costs nothing, but it is measured on the training
rows.  There, a noisy column with many distinct values gains something at every split.  On held-out
rows, shuffling it changes nothing.

**Worked by hand**:

    σ² = 4, ρ = ¼, B = 3:  1 + 3/3 = 2;  never below 1
    4 rows of impurity 3/8, split on column 1 into 2 pure rows and 2 of impurity ½;
    these are split on column 0 into pure rows.
    gains: column 1: 4·3/8 - 2·½ = ½,  column 0: 2·½ = 1.  importances [⅔ ⅓]
    three trees give a row [1 0], [½ ½], [0.9 0.1]:  the forest gives [0.8 0.2]

**Shapes**: x (n, d), y (n,).  Labels may be any that numpy sorts.  All that is random comes from
`rng`: two calls with generators in the same state give the same answer.  No function changes its
arguments, but for drawing from `rng`.

**Steps.**

    bootstrap                5 min   one draw, and who is missing
    forest_variance          3 min   one line
    RandomForestClassifier  25 min   a bootstrap may lack a rare class
    impurity_importance     12 min   a walk over each tree, normalised twice
    permutation_importance  10 min   shuffle a copy

Sources: Breiman 2001, "Random Forests"; Hastie et al. 2009, section 15.2 (the variance); Strobl et
al. 2007, "Bias in random forest variable importance measures".

From scratch: sklearn and scipy may not be used.
"""

from collections.abc import Callable, Sequence

import numpy as np

from .k09_decision_tree import Node


def bootstrap(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(rows, out): n row numbers drawn from 0…n-1 with replacement, and those never drawn.

    `rows` come in any order.  Both hold integers; `out` is ascending and may be empty.  n ≥ 1.
    """
    raise NotImplementedError


def forest_variance(variance: float, correlation: float, trees: int) -> float:
    """The variance of the mean of so many trees, each of `variance`, any two with `correlation`."""
    raise NotImplementedError


class RandomForestClassifier:
    """Trees on bootstraps, with drawn columns in each node.  After `fit`, these are its attributes:

    - `classes`: the labels, sorted (K,).
    - `members`: a list of the fitted trees, each with the `classes` that it saw, its `root` Node
      and `predict_proba`, as in decision_tree.
    - `rows`: a list of each member's bootstrap (n,), in the same order.
    - `oob_proba`: (n, K), for each training row the mean of its shares from the members whose
      bootstrap lacks it; NaN in all K places if there are none.
    - `oob_score`: of the rows that have an OOB mean, the share whose label is right: that with the
      largest mean, of equal ones the first in `classes`.  NaN if no row has one.

    A second `fit` forgets the first.
    """

    def __init__(
        self,
        trees: int = 100,
        max_features: int | None = None,
        max_depth: int | None = None,
        min_leaf: int = 1,
        criterion: str = "gini",
    ) -> None:
        """`trees` is the number of members; the others are handed to each tree.

        - `max_features` None means √d rounded down.
        - Raises ValueError, naming the number, if `trees` is below 1.
        """
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> None:
        """Grow each member on a bootstrap of its own of `x` (n, d) and labels `y` (n,).

        A bootstrap may lack a class.  Raises ValueError, naming both numbers, if `max_features` is
        more than d.
        """
        raise NotImplementedError

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """The mean of the members' shares, float64 (n, K), in the order of the forest's `classes`.

        A class that a member has not seen has share 0 there.
        """
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The label with the largest mean share (n,); of equal ones the first in `classes`."""
        raise NotImplementedError


def impurity_importance(roots: Sequence[Node], d: int) -> np.ndarray:
    """The impurity importance of each of `d` columns over the trees at `roots`: float64 (d,).

    - Each tree's gains are divided by their sum.  A tree whose gains sum to 0, such as a single
      leaf, contributes zeros.
    - The answer sums to 1 over the columns, or is all zeros if no tree gained anything.
    """
    raise NotImplementedError


def permutation_importance(
    predict: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], float],
    repeats: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """What each shuffle of a column costs: float64 (d, repeats), for `x` (n, d) and `y` (n,).

    - score(y, predict(x)) is a number; higher is better.  A positive entry is a loss.
    - Each entry has a shuffle of its own, of that column alone, the other columns as in `x`.
    - `predict` is called once on `x`, and once for each of the d · repeats shuffles.
    """
    raise NotImplementedError
