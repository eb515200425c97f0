"""Anomalies and imbalance

**Before you start.**  You need binary trees, logarithms and Bayes' rule.  Isolation forests are new
to you?  Read Liu, Ting and Zhou 2008 (below), sections 1 to 3: it is eight pages.

**The idea.**  Fraud, faults and tumours are rare.  Sometimes nobody has marked them: then look
for rows that are *easy to isolate*.  Sometimes they are marked, but a model that never says
"fraud" is right 99% of the time: then tell the model, or whoever uses it, what a miss costs.

- An *isolation forest* cuts the rows at random places until each is alone.  A row far from the
  others is alone after few cuts:

      │   2nd cut                                     ● all
      │   ┆   ●  ●                     1st cut      ╱   ╲
      │   ┆ ●  ● ●                      at ┆       ╱     ✕   depth 1: odd
      │   ┆  ●  ●        ┆              random    ●
      │   ┆              ┆      ✕                ╱ ╲
      └───┴──────────────┴─────────▶            ●   …        depth 5: usual
          2nd            1st

- *SMOTE* makes more rows of the rare class: it picks a row, one of its k nearest of that class,
  and a random point on the line between them.
- *Weights* make a rare row count more in the loss.
- *Moving the threshold* changes no model.  It says at which probability to act.

**The formulas**, for ψ rows a tree, a leaf at depth e that holds s rows, costs of a false alarm
and of a miss, and shares π of positives:

    path length   h(x) = e + c(s)
    average path  c(n) = 2 H(n - 1) - 2 (n - 1)/n    for n > 2,   c(2) = 1,   c(1) = c(0) = 0
                  H(m) = ln m + 0.5772156649…        Euler's constant
    score         2^(-mean of h over the trees / c(ψ))      near 1: odd, below ½: usual
    SMOTE         x + u (x′ - x)      u uniform from 0 to 1
    weights       n/(classes · rows of the row's own class)
    threshold     act where p ≥ false alarm/(false alarm + miss)
    new prior     p′ = p π/π₀ / ( p π/π₀ + (1 - p)(1 - π)/(1 - π₀) )      trained at π₀, used at π

**Why c(s)?**  A tree isn't grown to the end: what lies deep is no anomaly.  A leaf with s rows
stands for a subtree, and c(s) is how deep rows lie in a random one on average.

**Why a new prior?**  Whoever balances the classes to ½ and ½ trains a model that believes half of
all rows are fraud.  Its probabilities are too high until you put the true share back.

**Worked by hand**:

    c(3) = 2 (ln 2 + .5772) - 4/3 = 1.2074        c(4) = 2 (ln 3 + .5772) - 6/4 = 1.8517
    one cut at 5, 3 rows left of it and 1 right:  h(9) = 1,  h(1) = 1 + c(3) = 2.2074
    classes a a b a:  weights 4/(2·3) = ⅔ for a, 4/(2·1) = 2 for b
    a false alarm costs 1, a miss 9: act from p = 0.1 on
    scores .9 .6 .4 .2, truth + - + -, costs 1 and 3:  from .9 on 3, from .6 on 4, from .4 on 1
        with costs 1 and ¼: from .9 on ¼
    p = .9 at π₀ = ½, used at π = .1:  .18/(.18 + .18) = ½

**Shapes**: x (n, d), y (n,), new rows (m, d).  Numbers may be of any type, int8 and float32 too;
answers are float64.  A *tree* is a dict, either a leaf or an inner node:

    {"size": s}      {"feature": j, "threshold": t, "left": tree, "right": tree}

Rows with x[j] < t go left, all others right.  No function changes its arguments.

**Steps.**  A good place to pause is after IsolationForest.

    average_path           5 min   two special cases
    grow_tree             12 min   when is a node a leaf?
    path_lengths           8 min   recursion over both halves
    IsolationForest       12 min   without replacement, and up to a depth
    smote                 12 min   a row is no neighbour of its own
    balanced_weights       4 min   one line
    cost_threshold         3 min   one line
    best_threshold        10 min   ties, and a threshold above all scores
    corrected_probability  5 min   both classes change

Sources: Liu, Ting and Zhou 2008, "Isolation Forest"; Chawla et al. 2002, "SMOTE: Synthetic Minority
Over-sampling Technique"; Elkan 2001, "The Foundations of Cost-Sensitive Learning"; Saerens, Latinne
and Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities".

From scratch: sklearn and scipy may not be used.
"""

from typing import Any

import numpy as np

Tree = dict[str, Any]


def average_path(n: int) -> float:
    """The lesson's c(n), n ≥ 0."""
    raise NotImplementedError


def grow_tree(x: np.ndarray, limit: int, rng: np.random.Generator) -> Tree:
    """A random tree of the rows `x` (n, d), n ≥ 1, with at most `limit` ≥ 0 cuts on any way down.

    - A node is a leaf if the limit is reached, or it holds one row, or all its rows are equal;
      and only then.
    - Else `rng` draws a feature, each that varies in the node as likely, and a threshold, uniform
      from that feature's smallest value in the node to its largest, also where these are integers.
    - The sizes of the leaves, the feature and the threshold are Python numbers or numpy's.
    """
    raise NotImplementedError


def path_lengths(tree: Tree, x: np.ndarray) -> np.ndarray:
    """h of each row of `x` (m, d) in the tree: (m,); m may be 0."""
    raise NotImplementedError


class IsolationForest:
    """Scores rows by how easily random trees isolate them.

    After `fit`, `trees` is the list of the trees.
    """

    def __init__(self, trees: int, sample: int, rng: np.random.Generator) -> None:
        """trees: how many; sample: ψ ≥ 2, the rows that each is grown from; all is drawn by `rng`."""
        raise NotImplementedError

    def fit(self, x: np.ndarray) -> None:
        """Grow the trees.

        - Each has ψ rows of `x` (n, d), drawn without replacement, anew for each tree; ψ is n if
          there are fewer.
        - The limit is log₂ ψ, rounded up.
        - A second `fit` forgets the first.

        Raises ValueError, naming n, if n < 2.
        """
        raise NotImplementedError

    def score(self, new: np.ndarray) -> np.ndarray:
        """The lesson's score of each new row: (m,), higher for what is odd."""
        raise NotImplementedError


def smote(x: np.ndarray, count: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """`count` ≥ 0 new rows, float64 (count, d), from the rows `x` (n, d) of the rare class.

    For each, `rng` draws a row of `x`, one of the k rows nearest to it (euclidean), and u, each as
    likely as any other.  A row isn't its own neighbour, but another one that is equal to it is.
    The nearest are right far from the origin, too: there |x|² - 2 x·x′ + |x′|² loses all digits.

    Raises ValueError, naming k and n, unless 1 ≤ k ≤ n - 1.
    """
    raise NotImplementedError


def balanced_weights(y: np.ndarray) -> np.ndarray:
    """The lesson's weight of each row: (n,).  Classes are numbers or strings, one or more."""
    raise NotImplementedError


def cost_threshold(false_alarm: float, miss: float) -> float:
    """The probability from which on to act, if probabilities are calibrated; both costs are > 0."""
    raise NotImplementedError


def best_threshold(y: np.ndarray, scores: np.ndarray, false_alarm: float, miss: float) -> tuple[float, float]:
    """(threshold, total cost): the cheapest on these rows, where score ≥ threshold is positive.

    - `y` (n,) is of 0 and 1 or of False and True; one of them may be missing.
    - Thresholds are the scores that occur, and inf, which calls no row positive.
    - Of equally cheap ones the highest.
    """
    raise NotImplementedError


def corrected_probability(p: np.ndarray, trained_share: float, true_share: float) -> np.ndarray:
    """The lesson's p′ (n,) of a model that was trained on `trained_share` of positives.

    `true_share` is their share where the model is used; both are between 0 and 1.  A p of 0 or 1
    stays.
    """
    raise NotImplementedError
