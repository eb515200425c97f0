"""Regularization

**Before you start.**  You need gradient descent, Adam (Kingma and Ba 2015, algorithm 1 is enough)
and torch.nn.Module; no other kata.

**The idea.**  A network with more weights than examples can learn its training set by heart, and
then it is bad on new data.  Regularization makes that harder.  You know five ways after this kata:
noise inside the network, softer targets, a limit on the weights, weights that shrink, and stopping
in time.

**The formulas.**

*Dropout* sets each entry x_i to 0 with probability p, while training.  In evaluation it does
nothing:

    y_i = 0              with probability p
    y_i = x_i / (1 - p)  otherwise

    training     x ──▶ × mask ──▶ / (1 - p) ──▶ y        a new mask at each call
    evaluation   x ────────────────────────────▶ y

*Label smoothing* moves the share ε of a target to all C classes alike: the right class gets
1 - ε + ε/C, each other one ε/C.

*Max-norm* limits the weights w of each unit, a row of the weight matrix.  After each step, a row
longer than c is shortened to length c:

    w ← w · min(1, c / ‖w‖)

*Adam*, for one weight w with gradient g, at its step t = 1, 2, …; η is `lr`, λ₂ is `l2`, λ is
`weight_decay`:

    g ← g + λ₂·w                             L2: a penalty λ₂/2 · w² in the loss
    m ← β₁·m + (1 - β₁)·g                    v ← β₂·v + (1 - β₂)·g²
    m̂ = m / (1 - β₁ᵗ)                        v̂ = v / (1 - β₂ᵗ)
    w ← w - η·λ·w - η · m̂ / (√v̂ + eps)       weight decay: η·λ·w, with w from before the step

*Early stopping*: an evaluation improves if loss < best - min_delta, and its loss is then the new
best.  Stop after `patience` evaluations in a row without improvement.

**Why divide by 1 - p?**  Then the mean of y is x, and evaluation has nothing to correct.  Dropout
that divides while training is called *inverted*; the first paper scaled the weights afterwards.

**Aren't L2 and weight decay the same?**  Under plain gradient descent they are: both take η·λ·w
away.  Adam divides every gradient by √v̂, also that of the penalty.  So weights with large
gradients hardly shrink.  Decay stays out of m and v, and shrinks all weights by the same factor.
Adam with weight decay is called AdamW.

**Why aren't biases and norms decayed?**  They are few, and hardly help a network to learn its data
by heart.  So only parameters with two axes or more are decayed.

**Worked by hand**

    dropout, p = 0.2:   a kept 4 becomes 4 / 0.8 = 5
    smoothing, C = 4, ε = 0.2, class 1:   [0.05 0.85 0.05 0.05]
    max-norm, c = 2.5:  [3 4] has length 5 and becomes [1.5 2];  [0 2] stays
    Adam's first step, w = 2, g = 1, η = 0.1, eps = 0:
        no penalty          m̂ = 1, v̂ = 1      w = 2 - 0.1 · 1/1 = 1.9
        l2 = 0.5            m̂ = 2, v̂ = 4      w = 2 - 0.1 · 2/2 = 1.9     as without a penalty
        weight_decay = 0.5  m̂ = 1, v̂ = 1      w = 2 - 0.1 · 0.5 · 2 - 0.1 = 1.8
    patience 2, losses 5 3 4 3:  stops at the fourth; best 3 at evaluation 1, counted from 0

**Shapes** are in each docstring.  What comes out is on the device of what goes in, and so is all
that an optimizer keeps.  Only max_norm_ and Adam.step change something in place: no other function
changes its arguments.

**Steps.**

    dropout         8 min   p = 1 must not divide by 0
    Dropout         4 min   which mode is it in?
    smooth_labels   4 min   the right class gets its ε/C, too
    max_norm_       8 min   in place, under no_grad
    decay_groups    8 min   each parameter once
    Adam           20 min   λ₂ goes into g, λ doesn't; t for each parameter
    EarlyStopping   8 min   compare with the best, not with the last

Sources: Srivastava et al. 2014, "Dropout" (max-norm, too); Szegedy et al. 2016 (label smoothing);
Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization"; Prechelt 1998, "Early Stopping
– But When?".

From scratch: torch.optim, torch.nn.Dropout, torch.nn.functional.dropout, torch.dropout,
torch.native_dropout, torch.renorm, torch.Tensor.renorm and torch.Tensor.renorm_ may not be used.
"""

from collections.abc import Iterable
from typing import Any

from torch import Generator, Tensor, nn


def dropout(x: Tensor, p: float = 0.5, training: bool = True, generator: Generator | None = None) -> Tensor:
    """Inverted dropout of floating point x of any shape; same shape, dtype and device.

    - Every entry is dropped or kept by itself, anew at every call.
    - p = 1 drops everything: zeros, with a gradient of 0.
    - Without `training`, x comes back unchanged, itself or a copy, and nothing is drawn.
    - All randomness comes from `generator`, on x's device, if there is one, and from torch's own if not.
    - The gradient goes through the same mask.  x itself isn't changed.

    Raises ValueError, naming p, if it isn't from 0 to 1, in either mode.
    """
    raise NotImplementedError


class Dropout(nn.Module):
    """Dropout as a layer: it drops in training mode only.  It has no parameters."""

    def __init__(self, p: float = 0.5) -> None:
        """Raises ValueError, naming p, if it isn't from 0 to 1."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x with dropout in training mode, and as it is after .eval()."""
        raise NotImplementedError


def smooth_labels(targets: Tensor, classes: int, epsilon: float) -> Tensor:
    """Targets for a cross-entropy with probabilities: float32 (..., classes), from int64 targets (...).

    `classes` is C, and `epsilon` is ε; 0 ≤ ε ≤ 1.
    """
    raise NotImplementedError


def max_norm_(weight: Tensor, limit: float) -> None:
    """Shorten rows longer than `limit` to that length, in place.

    weight  (out, ...), its numbers of moderate size; usually a parameter that requires gradients.
            A row is weight[i], all its axes together: of a weight (out,) it is one number.

    - Rows that aren't longer stay as they are, to the last bit; a row of zeros, too.
    - Autograd records nothing: the parameter stays a leaf, and its .grad stays as it was.
    - Raises ValueError, naming the limit, if it isn't above 0.
    """
    raise NotImplementedError


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of parameters, as torch's optimizers take them:

        [{"params": [those with two axes or more], "weight_decay": weight_decay},
         {"params": [all others],                  "weight_decay": 0.0}]

    - In the order of model.parameters(), a shared one once.
    - Frozen parameters (requires_grad False) are left out.
    - Both groups are always there, even when empty.
    """
    raise NotImplementedError


class Adam:
    """Adam with an L2 penalty, decoupled weight decay, or both.

    The attribute `lr` is η.  A schedule may change it between steps.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        l2: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        """`parameters` may be a generator, such as model.parameters().  m and v are 0 at the start."""
        raise NotImplementedError

    def step(self) -> None:
        """Change each parameter in place by its gradient.

        - A parameter whose .grad is None stays as it is: no decay, and this step doesn't count for it.
          Each parameter has a t of its own.
        - The gradients stay as they are.
        - Autograd records nothing: the parameters stay leaves.
        """
        raise NotImplementedError


class EarlyStopping:
    """When to stop, by the losses of one evaluation after another.

    `best` is the loss of the last evaluation that improved, and `best_epoch` the number of its evaluation,
    counted from 0.  Before any improvement they are inf and -1.
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        """Raises ValueError, naming the patience, if it isn't 1 or more."""
        raise NotImplementedError

    def update(self, loss: float) -> bool:
        """Take the next evaluation's loss.  Returns True if training should stop.

        - A NaN never improves.
        - You may go on after a True: it is True again until a loss improves.
        """
        raise NotImplementedError
