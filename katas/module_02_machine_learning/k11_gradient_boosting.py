"""Gradient boosting

**Before you start.**  You need decision trees and the logistic loss.  Import your trees (the
reference's until yours is green):

    from .k09_decision_tree import Node, grow, leaf_rows

Boosting is new to you?  Read "Introduction to Boosted Trees" in XGBoost's documentation,
xgboost.readthedocs.io.

**The idea.**  On tables, boosted trees still win most contests.  A forest grows deep trees side by
side and averages them.  Boosting grows small trees one after the other and adds them up: each new
tree corrects what the sum so far gets wrong.  "Wrong" means the gradient of the loss.  So boosting
is gradient descent, and each tree is a step.

**The formulas**, for targets y, the sum so far F, and a learning rate η:

    model         F = base + η (f₁ + f₂ + …)
    squared       loss ½ (y - F)²              g = F - y         h = 1
    logistic      loss log(1 + e^F) - y F      g = σ(F) - y      h = σ(F) (1 - σ(F))
    leaf weight   w = -G / (H + λ)
    gain          ½ [G_L²/(H_L + λ) + G_R²/(H_R + λ) - (G_L + G_R)²/(H_L + H_R + λ)] - γ

g and h are the first and second derivative of a row's loss by its F.  G and H are their sums over
the rows of a leaf, or of the left and right side of a split.  λ shrinks weights, γ is the price of
a leaf.  σ(F) = 1/(1 + e⁻ᶠ) is the probability of label 1.  The base is the constant F with the
lowest loss: the mean of y, or the log-odds log(ones/zeros).

    y ──▶ base ──▶ g, h ──▶ f₁ ──▶ F grows by η f₁ ──▶ g, h ──▶ f₂ ──▶ …
                            a tree: split by -g, weights -G/(H + λ)

**Why -G/(H + λ)?**  Near F the loss of a leaf's rows is about G w + ½ (H + λ) w²: a parabola.  This
w is its lowest point, a Newton step, and takes ½ G²/(H + λ) off the loss.  The gain compares this
for two leaves and for one.  Your trees split by -g alone, as in Friedman's paper.  XGBoost's split
by the gain.

**Why a small η?**  Each tree also fits noise.  Many short steps average it out.  The price is more
trees, and at some point they fit nothing but noise: watch the loss of rows set aside, and stop.

**Worked by hand**:

    x = 1 2 3 4, y = 1 1 3 7, squared:  base 3, -g = -2 -2 0 4, loss 24/8 = 3
    a tree of depth 1 splits at 3.5, weights -4/3 and 4
    η = ½:  F = 7/3 7/3 7/3 5, loss 8/8 = 1
    y = 0 0 1 1, logistic:  base 0, g = ½ ½ -½ -½, h = ¼ each
    split in the middle, λ = ½:  w = -1/(½ + ½) = -1 and 1;  gain = ½ [1 + 1 - 0] - γ

**Shapes**: x (n, d); y, F, g, h (n,).  F is called `raw` here.  For "logistic", y holds 0 and 1.
Integers are fine.  No function changes its arguments.

**Steps.**

    mean_loss           5 min   stable for F = ±1000
    gradients           7 min   a sigmoid that doesn't overflow
    base_score          5 min   both labels must be there
    leaf_weight         3 min   one line
    split_gain          5 min   the formula
    boosting_tree       8 min   grow, then other values in the leaves
    GradientBoosting   25 min   carry F along; cut back to the best round

Sources: Friedman 2001, "Greedy Function Approximation: A Gradient Boosting Machine"; Chen and
Guestrin 2016, "XGBoost: A Scalable Tree Boosting System", section 2.

From scratch: sklearn, scipy, xgboost and lightgbm may not be used.
"""

import numpy as np

from .k09_decision_tree import Node


def mean_loss(loss: str, y: np.ndarray, raw: np.ndarray) -> float:
    """The mean of the lesson's loss over the rows; `loss` is "squared" or "logistic".

    Exact for `raw` of ±1000, too.  Raises ValueError, naming the loss, if it is another.
    """
    raise NotImplementedError


def gradients(loss: str, y: np.ndarray, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(g, h) of each row: float64 (n,) each.

    No overflow and no NaN for `raw` of ±1000.  h keeps its digits up to ±700: there it is about
    e^-|raw|, not 0.  Raises ValueError, naming the loss, if it is another.
    """
    raise NotImplementedError


def base_score(loss: str, y: np.ndarray) -> float:
    """The constant F with the lowest loss on `y`.

    Raises ValueError, naming the loss, if it is another.  For "logistic" it raises ValueError
    naming the labels if there are others than 0 and 1, and one saying "both" if only one occurs.
    """
    raise NotImplementedError


def leaf_weight(g: float, h: float, lam: float) -> float:
    """The weight of a leaf whose rows have these sums; 0.0 where h + lam is 0."""
    raise NotImplementedError


def split_gain(
    g_left: float,
    h_left: float,
    g_right: float,
    h_right: float,
    lam: float,
    gamma: float,
) -> float:
    """What a split takes off the loss, less `gamma`; it may be negative.

    A side, or the whole, where H + λ is 0 counts 0 in place of its G²/(H + λ).
    """
    raise NotImplementedError


def boosting_tree(
    x: np.ndarray,
    g: np.ndarray,
    h: np.ndarray,
    max_depth: int | None = 3,
    min_leaf: int = 1,
    lam: float = 0.0,
) -> Node:
    """The root of a tree for `x` (n, d): grown as in decision_tree, with "squared", on -g.

    Then each leaf's `value` is the leaf weight of its rows' sums of g and h, a float.
    """
    raise NotImplementedError


class GradientBoosting:
    """A sum of small trees.  After `fit`, these are its attributes:

    - `base`: the base score.
    - `members`: a list of the trees' roots, in order.  Their leaves hold weights without η.
    - `train_losses`: the mean loss on the training rows with 0, 1, 2, … trees: a list.
    - `valid_losses`: the same on the rows set aside; empty without such.

    A second `fit` forgets the first.
    """

    def __init__(
        self,
        loss: str = "squared",
        trees: int = 100,
        rate: float = 0.1,
        max_depth: int | None = 3,
        min_leaf: int = 1,
        lam: float = 0.0,
        patience: int | None = None,
    ) -> None:
        """`trees` ≥ 0 is the largest number of trees, `rate` η; the next three are boosting_tree's.

        Raises ValueError, naming the loss, if it is neither "squared" nor "logistic".
        """
        raise NotImplementedError

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        valid: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Grow tree after tree on `x` (n, d) and `y` (n,); `valid` is (x, y) of rows set aside.

        - With `patience` p ≥ 1: stop after the first round that ends p rounds after the best one,
          that with the lowest validation loss, the first of equal ones.  The start, without trees,
          counts as round 0.
        - At the end of a fit with `patience`, `members` is cut back to the best round's trees.  The
          losses stay as they are, those after the best round too.
        - Without `patience` all trees are grown and kept.

        Raises ValueError, saying "valid", if there is `patience` but no `valid`.
        """
        raise NotImplementedError

    def raw(self, x: np.ndarray, trees: int | None = None) -> np.ndarray:
        """F of each row of `x`, float64 (n,), with the first `trees` members; None: all."""
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """F for "squared", the probability of label 1 for "logistic": float64 (n,)."""
        raise NotImplementedError
