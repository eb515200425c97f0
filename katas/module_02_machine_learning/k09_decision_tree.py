"""Decision trees

**Before you start.**  You need variance, entropy in bits, and sorting with numpy.  Trees are new to
you?  Read James et al., "An Introduction to Statistical Learning", section 8.1, free at
statlearning.com.

**The idea.**  A tree decides as people do, by one simple question after the other, and you can read
its reasons.  Each question is a *split*: a column and a threshold.  Rows with a value ≤ the
threshold go left, the others right.  CART tries every split and takes the one that leaves the
purest halves.  Then it does the same in each half.  A leaf answers with its rows' shares of the
classes, or with their mean.

**The formulas**, for n rows with targets y, of which a share p_c is in class c:

    Gini           1 - ∑ p_c²
    entropy        -∑ p_c log₂ p_c
    squared        ∑ (y - ȳ)² / n
    gain           I(y) - n_left/n · I(y_left) - n_right/n · I(y_right)
    ID3's gain     I(y) - ∑ₖ nₖ/n · I(yₖ)      k runs over a column's categories; I is the entropy
    gain ratio     gain / entropy of the column itself
    cost           R(T) + α |T|      R(T) = ∑ n_leaf/n · I(leaf), |T| the number of leaves
    weakest link   α(t) = (n_t/n · I(t) - R(T_t)) / (|T_t| - 1)      T_t the branch below node t

I is one of the first three: the *impurity*.  *Pruning* cuts a branch where its leaves cost more
than they gain.  As α grows, the branch with the smallest α(t) goes first.

A tree of iris, as `draw` shows it:

    petal length ≤ 2.45
    ├── setosa (50)
    └── petal width ≤ 1.75
        ├── versicolor (54)
        └── virginica (46)

**Why split where nothing is gained?**  With XOR, no first split gains anything, but the second one
solves it.  So a node is split as long as its targets differ, even at a gain of 0.

**Why a gain ratio?**  A column of distinct names splits the rows into perfect groups of one.  Its
gain is the largest there is, and it predicts nothing.  Its own entropy is large, too: you divide
by it.

**Worked by hand**: a column 1 2 4 7, classes A A B A:

    Gini 1 - 9/16 - 1/16 = 3/8
    at 1.5:  3/8 - ¾·(1 - 4/9 - 1/9) = 1/24      at 3:  3/8 - ½·½ = 1/8      at 5.5:  1/24
    the tree: x ≤ 3 is A; then x ≤ 5.5 is B, else A.
    α(second split) = (½·½ - 0)/1 = 1/4,  α(root) = (3/8 - 0)/2 = 3/16: all goes at 3/16
    ID3, colours r r g b: gain = entropy of A A B A = 0.811;  ratio = 0.811/1.5

**Shapes**: x (n, d) numbers, y (n,).  Integers and float32 are fine.  No function changes its
arguments, but for drawing from a generator.

**Steps.**  A good place to pause is after leaf_rows.

    impurity                  5 min   0·log 0 doesn't come up if you count what occurs
    best_split               25 min   sort, then cumulative sums: no loop over thresholds
    grow                     15 min   recursion; a fresh draw of columns in each node
    leaf_rows                 7 min   rows walk down together
    DecisionTreeClassifier   10 min   labels to numbers and back
    DecisionTreeRegressor     5 min   the same without labels
    id3_split                10 min   a group for each category
    prune                    10 min   from the bottom up
    pruning_path              8 min   the weakest link, again and again
    draw                      8 min   each branch knows what stands before its lines

Sources: Breiman et al. 1984, "Classification and Regression Trees", chapters 2 and 3; Quinlan 1986,
"Induction of Decision Trees".

From scratch: sklearn and scipy may not be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(eq=False)
class Node:
    """A node of a tree, and all below it.  This class is given.

    - `value`: of the node's rows, the shares of the classes (K,) or, for numbers, their mean.
    - `rows`: how many rows of the training data came here; `impurity`: that of their targets.
    - A row goes `left` if its value in column `feature` is ≤ `threshold`, else `right`.
    - In a leaf, these four are None.
    """

    value: np.ndarray | float
    rows: int
    impurity: float
    feature: int | None = None
    threshold: float | None = None
    left: Node | None = None
    right: Node | None = None


def impurity(y: np.ndarray, criterion: str) -> float:
    """The impurity of targets `y` (n,), n ≥ 1.

    `criterion` is "gini" or "entropy", in bits (y holds labels: numbers or strings), or "squared",
    the variance (y holds numbers; far from 0, as 10⁶ ± 1, it loses no digits).
    Raises ValueError, naming the criterion, if it is another.
    """
    raise NotImplementedError


def best_split(
    x: np.ndarray,
    y: np.ndarray,
    criterion: str,
    min_leaf: int = 1,
    features: np.ndarray | None = None,
) -> tuple[int, float, float] | None:
    """(column, threshold, gain) of a split of `x` (n, d) with the largest gain; y as in `impurity`.

    - A threshold lies halfway between two neighbouring distinct values a < b of its column:
      (a + b)/2, or a itself where rounding makes (a + b)/2 equal to b.
    - Each side gets at least `min_leaf` ≥ 1 rows.
    - Only the columns whose numbers stand in `features` are looked at; None: all.
    - Where several splits are best, any of them is right.  A gain of 0 is fine.
    - Targets far from 0, as 10⁶ ± 1, lose no digits of the gain.
    - None if all of `y` is equal, or if no split is allowed.
    - A loop over columns is fine.  A Python loop over rows or thresholds is too slow: the number
      of lines that run must not grow with n.

    Raises ValueError, naming the criterion, if there is no such criterion, whatever y is.
    """
    raise NotImplementedError


def grow(
    x: np.ndarray,
    y: np.ndarray,
    criterion: str,
    max_depth: int | None = None,
    min_leaf: int = 1,
    max_features: int | None = None,
    rng: np.random.Generator | None = None,
) -> Node:
    """The root of a tree, grown by `best_split` until that gives None or depth `max_depth`.

    - `y` holds numbers for "squared".  Else it holds classes as integers from 0, and a node's
      `value` has K = max(y) + 1 shares, those of absent classes being 0.
    - The root has depth 0, so max_depth 0 gives a single leaf.  None: no limit.
    - With `max_features`, each node draws that many different columns from `rng`, anew.  It looks
      at no others, and is a leaf if these give no split.  Without, `rng` isn't used.  (At
      max_depth you may draw or not.)  The same data and a generator in the same state give the
      same tree.
    - Recursion is fine: no test's tree is deeper than 100.

    Raises ValueError, naming both lengths, if x and y differ in length; and one saying "empty" if
    there are no rows.
    """
    raise NotImplementedError


def leaf_rows(root: Node, x: np.ndarray) -> list[tuple[Node, np.ndarray]]:
    """Each leaf, from left to right, with the row numbers of `x` (n, d) that end in it, ascending.

    A leaf that no row reaches comes with an empty array.  n may be 0.  Compare float32 values in
    float64: rounded to float32, a threshold may equal a value.  Move all rows of a node at once:
    the number of lines of Python that run must not grow with n.
    """
    raise NotImplementedError


class DecisionTreeClassifier:
    """A tree for labels, which may be any that numpy sorts: numbers or strings.

    After `fit`, attribute `classes` holds the labels, sorted (K,), and `root` is the root Node.
    A second `fit` forgets the first.
    """

    def __init__(
        self,
        criterion: str = "gini",
        max_depth: int | None = None,
        min_leaf: int = 1,
        max_features: int | None = None,
    ) -> None:
        """The arguments are those of `grow`."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator | None = None) -> None:
        """Grow the tree on `x` (n, d) and labels `y` (n,); `rng` as in `grow`."""
        raise NotImplementedError

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Each row's shares of the classes: float64 (n, K), in the order of `classes`."""
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Each row's most frequent label (n,); of equally frequent ones the first in `classes`."""
        raise NotImplementedError


class DecisionTreeRegressor:
    """A tree for numbers, with the criterion "squared".

    After `fit`, attribute `root` is the root Node.  A second `fit` forgets the first.
    """

    def __init__(
        self,
        max_depth: int | None = None,
        min_leaf: int = 1,
        max_features: int | None = None,
    ) -> None:
        """The arguments are those of `grow`."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator | None = None) -> None:
        """Grow the tree on `x` (n, d) and numbers `y` (n,); `rng` as in `grow`."""
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The mean of each row's leaf: float64 (n,)."""
        raise NotImplementedError


def id3_split(
    x: np.ndarray,
    y: np.ndarray,
    ratio: bool = False,
) -> tuple[int, float, dict[object, np.ndarray]]:
    """(column, score, groups) of the best split of categories `x` (n, d) into all groups at once.

    - `x` and the labels `y` (n,) hold numbers or strings; n ≥ 1, d ≥ 1.
    - The score is the information gain in bits or, with `ratio`, the gain ratio.  A constant
      column's ratio is 0.
    - Of columns whose scores are equal (within 1e-12) the first wins.
    - `groups` maps each category of the column to its row numbers, ascending.
    """
    raise NotImplementedError


def prune(root: Node, alpha: float) -> Node:
    """The subtree with the lowest cost R(T) + alpha·|T|, of equal ones the smallest; alpha ≥ 0.

    A node whose branch goes becomes a leaf with its own value, rows and impurity.  n is
    `root.rows`.  The tree that was handed in stays as it is; leaves may be shared with it.
    """
    raise NotImplementedError


def pruning_path(root: Node) -> list[tuple[float, int]]:
    """(α, number of leaves) of each tree on the way to the root alone, α strictly ascending.

    It begins with (0.0, the leaves of `root`).  Each further α is the smallest at which `prune`
    gives a smaller tree than before.  A single leaf gives [(0.0, 1)].  You may assume that every
    α(t) is above 0.  Beware of rounding: at the α of a branch, that branch must go.
    """
    raise NotImplementedError


def draw(root: Node, names: Sequence[str], classes: Sequence[object] | None = None) -> str:
    """The tree as text, exactly as in the lesson: lines joined by a newline, none at the end.

    - An inner node: "NAME ≤ THRESHOLD", the column's name from `names`, the threshold as :.4g.
    - A leaf: "LABEL (ROWS)".  The label is the class with the largest share, the first of equal
      ones; without `classes`, it is the mean as :.4g.
    - Before a left child stands "├── ", before the lines below it "│   "; before a right child
      "└── " and four spaces.  The root has nothing before it.
    """
    raise NotImplementedError
