"""Explanations

**Before you start.**  You need weighted least squares, and for two steps the nodes of decision
trees.  Import yours (the reference's until yours is green):

    from .k09_decision_tree import Node

New to this?  Read Molnar, "Interpretable Machine Learning", chapter "Shapley Values", free at
christophm.github.io/interpretable-ml-book.

**The idea.**  A bank's model says no.  Which of the applicant's features made it?  Treat the
features as players who earn the prediction together.  A *coalition* S is a set of features that the
model may see; v(S) is what it then predicts.  A feature's *Shapley value* φ is what its joining
changes, averaged over all orders of joining.  The φ add up to v(all) - v(∅): each is a share.

**The formulas**, for d features and coalitions S of size s:

    Shapley      φⱼ = ∑_{S without j} s! (d - s - 1)!/d! · [v(S + j) - v(S)]
    model        v(S) = mean of f over background rows, with the columns in S taken from x
    kernel       π(s) = (d - 1) / (C(d, s) s (d - s))
    KernelSHAP   the φ with the lowest ∑_S π(s) [v(S) - v(∅) - ∑_{j in S} φⱼ]²
                 that have ∑ φⱼ = v(all) - v(∅)
    tree         v(S): at a split on a column in S follow x; at others take both sides,
                 weighted by their shares of the rows
    dependence   PD(g) = mean over the rows of f(row with column j set to g)

f is the model, x the row to explain.  KernelSHAP turns Shapley values into a regression, and then a
sample of the coalitions is enough.

In a tree, each leaf is a game of its own.  To v(S) it adds its value times one factor for each
column on its path.  The factor is 1 or 0 if S has the column, and the share of rows else:

    x₀ ≤ ½ (4 rows)                 x = (1, 1), leaf 8:
    ├── 0 (2)                       column    in S    not in S
    └── x₁ ≤ ½ (2)                  x₀         1       2/4
        ├── 0 (1)                   x₁         1       1/2
        └── 8 (1)                   S = {x₀} gets 8 · 1 · ½ from it

**Why all orders?**  If either of two features is enough, the second to join adds nothing.  Only the
average over the orders is fair: equal features get equal φ, and one that never matters gets 0.

**Why not 2ᵈ coalitions in a tree?**  For one leaf, a column that isn't on its path changes nothing.
Of the others only the sum over all S of the same size counts.  These sums are the coefficients of
the product of (share + known · t) over the other columns: multiply polynomials.

**Worked by hand**:

    v(∅) = 0, v(0) = 4, v(1) = 6, v(both) = 14:  φ₀ = (4 + 8)/2 = 6,  φ₁ = (6 + 10)/2 = 8
    the tree:  v(∅) = 2, v(0) = v(1) = 4, v(both) = 8,  so φ = [3 3]
    d = 4:  π(1) = 3/(4·1·3) = ¼,  π(2) = 3/(6·2·2) = ⅛

**Shapes**: x (d,), background (n, d), masks (d,) of bool, True for those in S, φ (d,).  d ≥ 1.  No
function changes its arguments, but for drawing from `rng`.

**Steps.**  A good place to pause is after kernel_shap.

    shapley_values      10 min   each coalition is asked once
    coalition_value      6 min   a mixture of two rows
    kernel_weight        4 min   infinite at both ends
    kernel_shap         18 min   put the constraint in, then least squares
    tree_value           7 min   recursion
    tree_shap           22 min   a path's factors, a polynomial for each column
    partial_dependence   6 min   a copy with one column set
    group_importance     7 min   one order for the whole group

Sources: Shapley 1953, "A Value for n-Person Games"; Lundberg and Lee 2017, "A Unified Approach to
Interpreting Model Predictions"; Lundberg et al. 2020, "From Local Explanations to Global
Understanding with Explainable AI for Trees"; Friedman 2001 (partial dependence).

From scratch: sklearn, scipy and shap may not be used.
"""

from collections.abc import Callable, Sequence

import numpy as np

from .k09_decision_tree import Node

Value = Callable[[np.ndarray], float]
Predict = Callable[[np.ndarray], np.ndarray]


def shapley_values(value: Value, d: int) -> np.ndarray:
    """The exact φ, float64 (d,); `value` maps a mask, a bool array (d,), to a number.

    `value` is called at most once for each of the 2ᵈ coalitions.
    """
    raise NotImplementedError


def coalition_value(predict: Predict, x: np.ndarray, background: np.ndarray) -> Value:
    """The function v of the lesson for a model: mask (d,) → float.

    `predict` maps rows (n, d) to n numbers.  Columns whose mask is True come from `x` (d,), the
    others from each row of `background` (n, d); both may be integers or floats, and no value is cut
    off.  One call of v is one call of `predict`.  You may assume that nobody changes x or
    `background` later.
    """
    raise NotImplementedError


def kernel_weight(d: int, size: int) -> float:
    """π of a coalition of `size` of `d` players, 0 ≤ size ≤ d; math.inf for 0 and for d."""
    raise NotImplementedError


def kernel_shap(
    value: Value,
    d: int,
    samples: int | None = None,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """φ by KernelSHAP: float64 (d,); they sum to v(all) - v(∅), up to rounding.

    - Without `samples`: all coalitions, weighted by the kernel.  This gives the exact φ.
    - With `samples` ≥ 1: so many coalitions are drawn from `rng`, neither empty nor whole: first a
      size s with probability ∝ π(s) C(d, s), then a set of that size, all being equally likely.  Each
      one drawn counts once in the regression, as the kernel is in the draw already.
    - With fewer samples than the regression needs, any of its minima is right.
    - A single player gets v(all) - v(∅), with `samples` too.
    - `value`, as in `shapley_values`, is called for v(∅), v(all), and at most once for each
      coalition drawn.
    """
    raise NotImplementedError


def tree_value(root: Node, x: np.ndarray, mask: np.ndarray) -> float:
    """v(S) of the tree of numbers at `root`, as in the lesson; `x` (d,) float64, `mask` (d,) bool.

    A row goes left if its value is ≤ the threshold.  A side's share is its `rows` over its
    parent's.
    """
    raise NotImplementedError


def tree_shap(root: Node, x: np.ndarray, d: int) -> np.ndarray:
    """The exact φ of `tree_value`: float64 (d,), for float64 `x` (d,).

    - A column may come up more than once on a path.  One that never comes up has φ = 0.
    - The time must not grow like 2ᵈ: d may be 25, with all columns on one path.
    """
    raise NotImplementedError


def partial_dependence(
    predict: Predict, x: np.ndarray, column: int, grid: np.ndarray, individual: bool = False
) -> np.ndarray:
    """PD at each point of `grid` (g,): float64 (g,), over the rows of `x` (n, d).

    - With `individual`, the curve of each row (n, g) in place of their mean.
    - x may be integers, and the grid between them.
    - One call of `predict` for each point or one for all: as you like.
    """
    raise NotImplementedError


def group_importance(
    predict: Predict,
    x: np.ndarray,
    y: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], float],
    groups: Sequence[Sequence[int]],
    repeats: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Permutation importance of groups of columns: float64 (groups, repeats), for `x` (n, d).

    - An entry is score(y, predict(x)) less the score after a shuffle of the group's columns.
    - The columns of a group move together: all get the same new order of the rows.  The other
      columns stay.  Each entry has an order of its own, drawn from `rng`.
    - `predict` is called once on `x`, and once for each shuffle.
    """
    raise NotImplementedError
