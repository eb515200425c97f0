"""Histogram boosting

**Before you start.**  You need gradient boosting: the gradients g and h, leaf weights, the split
gain.  Import yours (the reference's until yours is green):

    from .k11_gradient_boosting import base_score, gradients

Want the authors' own words?  Read "Features" in LightGBM's documentation, lightgbm.readthedocs.io.

**The idea.**  An exact tree sorts every column in every node.  On a million rows that is too slow.
LightGBM, and XGBoost and scikit-learn after it, look at the values once.  Each column is cut into
at most 256 *bins*, and a value becomes its bin's number: one byte.  A node then adds up g, h and
the count of rows in each bin: a *histogram*.  A split is a place between two bins, so 255 places
are tried, however many rows there are.

**The formulas**, for sums G, H over rows, a penalty λ and a price γ of a leaf:

    bin           number of the column's edges that are < x, so x ≤ edge b  ⟺  bin ≤ b
    gain          ½ [G_L²/(H_L + λ) + G_R²/(H_R + λ) - G²/(H + λ)] - γ
    leaf weight   w = -G / (H + λ)
    siblings      histogram(parent) = histogram(left) + histogram(right)
    model         F = base + η (f₁ + f₂ + …)

G_L, H_L are the sums left of a split, G_R, H_R right of it, G = G_L + G_R, H = H_L + H_R.  fₖ is
tree k, η the learning rate.  LightGBM's code leaves out the ½, so its γ is twice this one.

    values   1    2 2      5       9
           ┌────┬──────┬───────┬───────┐
    bin    │ 0  │  1   │   2   │   3   │     edges 1.5, 3.5, 7
    G      │ 2  │  2   │  -1   │  -3   │
    H      │ 1  │  2   │   1   │   1   │
           └────┴──────┴───────┴───────┘
                       ▲ best split

**Why does subtraction help?**  A node's rows are those of its children.  Sum the histogram of the
smaller child; the other's is the parent's less that.  It costs bins, not rows.

**Why leaf by leaf?**  Growing level by level spends leaves where little is gained.  LightGBM always
splits the leaf that gains most, wherever it hangs, until there are `max_leaves`.  The trees get
lopsided and fit closer.  `min_leaf` keeps them from isolating single rows.

**Worked by hand**: the drawing, with g = 2 1 1 -1 -3, h = 1 and λ = 1, has G = 0, H = 5:

    after bin 0:  ½ [4/2 + 4/5] = 1.4      after bin 2:  ½ [9/5 + 9/2] = 3.15
    after bin 1:  ½ [16/4 + 16/3] = 14/3   weights -4/4 = -1 and 4/3

**Shapes**: x (n, d), g and h (n,), binned x (n, d) bytes, histograms (d, bins, 3).  Values are
finite.  No function changes its arguments.

**Steps.**  A good place to pause is after best_bin_split.

    bin_edges           7 min   few values or many
    bin_rows            5 min   which side does an edge belong to?
    histograms         10 min   bincount, no loop over rows
    best_bin_split     15 min   a cumulative sum, then the gain of all places at once
    grow_leafwise      25 min   keep each leaf's rows, histogram and best split
    tree_values         7 min   all rows of a node at once
    HistogramBoosting  10 min   bin once, then boost

Sources: Ke et al. 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree"; Chen and
Guestrin 2016, "XGBoost: A Scalable Tree Boosting System", section 2 (λ and γ).

From scratch: sklearn, scipy, xgboost and lightgbm may not be used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(eq=False)
class BinNode:
    """A node of a tree over bins.  This class is given.

    - `weight` is the leaf weight of its `rows` rows; inner nodes have one, too.
    - A row goes `left` if its bin in column `feature` is ≤ `bin`, else `right`.
    - In a leaf, these four are None.
    """

    weight: float
    rows: int
    feature: int | None = None
    bin: int | None = None
    left: BinNode | None = None
    right: BinNode | None = None


def bin_edges(column: np.ndarray, bins: int) -> np.ndarray:
    """The edges between the bins of `column` (n,), n ≥ 1: float64, strictly ascending.

    There are at most bins - 1.

    - With at most `bins` distinct values: halfway between each two neighbouring ones.  You may
      assume that there is room between them.
    - With more: numpy's quantiles (its default method) at 1/bins, 2/bins, … (bins - 1)/bins, each
      value once.

    Raises ValueError, naming it, unless 2 ≤ bins ≤ 256.
    """
    raise NotImplementedError


def bin_rows(x: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Each value's bin: uint8 (n, d); column j of `x` (n, d) has the edges `edges[j]`.

    Values beyond all that were seen go into the first and last bin.  Compare in float64: float32
    doesn't part 20000001 from 20000000.
    Raises ValueError, naming both numbers, if there aren't as many edges as columns.
    """
    raise NotImplementedError


def histograms(binned: np.ndarray, g: np.ndarray, h: np.ndarray, bins: int) -> np.ndarray:
    """For each column and bin the sums of g and of h and the number of rows: float64 (d, bins, 3).

    `binned` is uint8 (n, d), with n ≥ 0.  The number of lines of Python that run must not grow
    with n.
    """
    raise NotImplementedError


def best_bin_split(
    histogram: np.ndarray, lam: float = 0.0, gamma: float = 0.0, min_leaf: int = 1
) -> tuple[int, int, float] | None:
    """(feature, bin, gain) of a split with the largest gain; `histogram` (d, bins, 3) as above.

    - Bins up to and including `bin` go left.  Each side needs `min_leaf` ≥ 1 rows or more.
    - A side, or the whole, where H + λ is 0 counts 0 in place of its G²/(H + λ).
    - Of several best splits any is right.
    - None if no allowed split has a gain above 1e-9.
    - The number of lines of Python that run must not grow with the bins.
    """
    raise NotImplementedError


def grow_leafwise(
    binned: np.ndarray,
    g: np.ndarray,
    h: np.ndarray,
    bins: int,
    max_leaves: int = 31,
    min_leaf: int = 20,
    lam: float = 0.0,
    gamma: float = 0.0,
) -> BinNode:
    """The root of a tree, grown leaf by leaf.

    - As long as there are fewer than `max_leaves` ≥ 1 leaves, split the leaf whose best split has
      the largest gain.  End sooner if no leaf has a split.
    - A weight is -G/(H + λ), or 0.0 where H + λ is 0.
    - Call `histograms` once for the root, and once for each split, with the rows of the smaller
      child alone (either, of equal ones).  The last split's children may go without.
    """
    raise NotImplementedError


def tree_values(root: BinNode, binned: np.ndarray) -> np.ndarray:
    """The weight of each row's leaf: float64 (n,), for `binned` (n, d).

    The number of lines of Python that run must not grow with n.
    """
    raise NotImplementedError


class HistogramBoosting:
    """Boosted trees over bins.  After `fit`, these are its attributes:

    - `edges`: a list of each column's edges.
    - `base`: the base score.
    - `members`: a list of the trees' roots, in order; their weights are without η.

    A second `fit` forgets the first.
    """

    def __init__(
        self,
        loss: str = "squared",
        trees: int = 100,
        rate: float = 0.1,
        bins: int = 255,
        max_leaves: int = 31,
        min_leaf: int = 20,
        lam: float = 0.0,
        gamma: float = 0.0,
    ) -> None:
        """`loss` is "squared" or "logistic", `rate` is η, `trees` ≥ 0; the others are as above."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Bin `x` (n, d) once, then grow tree after tree for `y` (n,), as in gradient boosting."""
        raise NotImplementedError

    def raw(self, x: np.ndarray) -> np.ndarray:
        """F of each row of `x` (n, d): float64 (n,).  For "logistic" these are log-odds."""
        raise NotImplementedError
