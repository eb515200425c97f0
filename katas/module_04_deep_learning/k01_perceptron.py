"""The perceptron, and what one layer can't do

**Before you start.**  You need dot products, lengths of vectors, and autograd for the last step; no
other kata.  Pictures: chapter 1 of Nielsen, "Neural Networks and Deep Learning" (free online).

**The idea.**  You want a rule that tells two classes apart, and you only have examples.  The
perceptron draws a line, and moves it each time an example lands on the wrong side.  If some line
separates the classes, it finds one, and the number of its mistakes has a bound.  If no line does,
it never settles.  That is why networks have hidden layers.

**The formulas.**  An example is a row x with the class y, +1 or -1.  The last entry of x is 1, so
that the last weight is the bias.

    score        s = w · x                        class +1 if s > 0, else -1
    mistake      y·s ≤ 0                          a score of 0 is one, too
    the rule     w ← w + y·x                      after a mistake; nothing otherwise
    margin       γ = min y·(w · x) / ‖w‖          distance of the nearest example, with a sign
    bound        mistakes ≤ (R/γ)²                R = max ‖x‖; γ of any w that separates

The entry of the bias counts in ‖w‖ and ‖x‖ like any other.

The *averaged perceptron* makes the same steps, but returns a mean: note w after every example,
mistake or not, and average.  A w that stays right for long counts for more than one that the next
example changes.

        x₂    AND                      x₂    XOR: no line has all ○ on one side
      1 ┤ ○    ╲   ●                 1 ┤ ●        ○      and all ● on the other
        │        ╲                     │
        │          ╲                   │
      0 ┤ ○        ○ ╲               0 ┤ ○        ●
        └─┴────────┴─── x₁             └─┴────────┴─── x₁
          0        1                     0        1

A *hidden layer* solves XOR.  Both units look at x₁ + x₂; relu(z) is max(0, z), so the second one
is 0 up to x₁ + x₂ = 1:

    h₁ = relu(x₁ + x₂)      h₂ = relu(x₁ + x₂ - 1)      s = h₁ - 2·h₂ - ½

You set these weights by hand.  `fit` finds weights by gradient descent, with the learning rate η
and the logistic loss, the mean over all examples:

    L = mean log(1 + e^(-y·s))                    W ← W - η · ∂L/∂W  for every weight W

**Why is the number of mistakes bounded?**  Let w* of length 1 separate with margin γ.  Each mistake
adds y·x to w, so w · w* grows by at least γ.  And ‖w‖² becomes ‖w‖² + 2·y·(w · x) + ‖x‖².  The
middle term is at most 0, because it was a mistake.  So ‖w‖² grows by at most R².  After k mistakes

    k·γ ≤ w · w* ≤ ‖w‖ ≤ √k · R         so k ≤ (R/γ)²

**Why has the rule no learning rate?**  w starts at 0, so a rate would multiply every w by the same
number.  Scores then have the same signs, so the classes and the mistakes are the same.

**Worked by hand**, from w = (0 0), without a column of ones:

    A = (2 1), +1     s = 0, a mistake    w = (2 1)
    B = (1 -1), -1    s = 1, a mistake    w = (1 2)
    C = (-1 1), +1    s = 1, right        w = (1 2)       the second epoch has no mistake

    mistakes per epoch: 2, 0        average over both: ((2 1) + 5 · (1 2)) / 6 = (1.167 1.833)
    (1 2): margin 1/√5 = 0.447, bound 5 / 0.2 = 25        (0 1): margin 1, bound 5

    XOR, s for (0 0), (0 1), (1 0), (1 1):   -½  ½  ½  -½

**Shapes**: x (n, d), float32 or float64, with n ≥ 1; y (n,), int64; w (d,), x's dtype.  Answers
are on the device of x.  Only `with_bias` adds the column of ones; all others take x as it is.  No
function but `fit` changes its arguments.

**Steps.**

    with_bias            2 min   a column of ones behind x
    predict              3 min   which class has a score of 0?
    perceptron          12 min   row by row: w changes between two rows
    averaged_perceptron  8 min   it counts right answers, too
    margin               5 min   a distance, with a sign
    mistake_bound        5 min   the longest x, and the margin of w
    MLP                  5 min   its scores are (n,), not (n, 1)
    xor_by_hand          8 min   turn the three formulas into weights
    fit                 10 min   old gradients add up; e^(-y·s) overflows

Sources: Rosenblatt 1958; Novikoff 1962 (the bound); Freund and Schapire 1999, "Large Margin
Classification Using the Perceptron Algorithm" (averaging); Minsky and Papert 1969 (XOR); Goodfellow
et al. 2016, section 6.1 (its solution).

From scratch: sklearn may not be used.
"""

from torch import Tensor, nn


def with_bias(x: Tensor) -> Tensor:
    """x (n, d) with a column of ones behind it: (n, d + 1), of x's dtype."""
    raise NotImplementedError


def predict(x: Tensor, w: Tensor) -> Tensor:
    """The class of each row: int64 (n,), +1 where its score is above 0, else -1."""
    raise NotImplementedError


def perceptron(x: Tensor, y: Tensor, epochs: int) -> tuple[Tensor, list[int]]:
    """Train by the rule: w starts at 0, and an epoch goes through the rows in their order.

    Returns the last w and the number of mistakes in each epoch, as plain ints.

    - Training ends after the first epoch without a mistake, whose 0 is the last number, and after `epochs` ≥ 1
      epochs at the latest.
    - Raises ValueError, naming a label that is neither +1 nor -1.
    """
    raise NotImplementedError


def averaged_perceptron(x: Tensor, y: Tensor, epochs: int) -> Tensor:
    """The mean of w over all examples of all epochs, each time after the rule was applied.

    - w itself changes as in `perceptron`, and is what decides about mistakes; the mean is only returned.
    - All `epochs` ≥ 1 epochs are counted, also those after an epoch without a mistake.
    - Raises ValueError, naming a label that is neither +1 nor -1.
    """
    raise NotImplementedError


def margin(x: Tensor, y: Tensor, w: Tensor) -> float:
    """γ of w: negative if w puts an example on the wrong side, 0 if one lies on the line.

    Raises ValueError if w is 0 in all entries: it has no line.
    """
    raise NotImplementedError


def mistake_bound(x: Tensor, y: Tensor, w: Tensor) -> float:
    """(R/γ)² with γ of w.

    Raises ValueError, naming the margin γ, if w doesn't separate: γ ≤ 0.  w isn't 0 in all entries.
    """
    raise NotImplementedError


class MLP(nn.Module):
    """One hidden layer: `first`, an nn.Linear(d, hidden); relu; `second`, an nn.Linear(hidden, 1)."""

    def __init__(self, d: int, hidden: int) -> None:
        """Both layers start as torch starts them."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The scores (n,) of x (n, d): one number a row, not a column."""
        raise NotImplementedError


def xor_by_hand() -> MLP:
    """An MLP(2, 2) whose weights are set so that its scores on 0 and 1 are those above.

    Any weights that give these four scores will do.  Its parameters can still be trained: leaves that require
    gradients.
    """
    raise NotImplementedError


def fit(model: nn.Module, x: Tensor, y: Tensor, steps: int, lr: float) -> list[float]:
    """Train `model`, which maps x to scores (n,), by `steps` steps of gradient descent on all rows at once.

    Returns the loss before each step, as plain floats.

    - Every step uses only the gradient of its own loss.  What stood in .grad before doesn't count.
    - Parameters are changed in place.  Those that don't require gradients stay; all others are used by the
      model, and there is at least one.  What stands in .grad afterwards is free.
    - Losses and gradients are finite for scores of ±10,000.
    """
    raise NotImplementedError
