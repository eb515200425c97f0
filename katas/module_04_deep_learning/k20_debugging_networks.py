"""Debugging networks

**Before you start.**  You need backward passes, Adam and forward hooks (PyTorch's documentation of
`register_forward_hook`); no other kata.  Read first: Karpathy 2019, "A Recipe for Training Neural
Networks".

**The idea.**  A network with a bug rarely crashes.  It trains, only worse, and you can't see why.
So ask it questions whose answers you know.  Can it learn eight examples by heart?  Does every
weight get a gradient?  Is its output what the loss expects?  Each tool here asks one such question.

**The formulas.**  *Gradient check*: is a backward pass right?  g is its gradient, which you judge.
n is the numeric one: move entry i of x by h both ways (e_i is 1 there and 0 elsewhere).

    n_i = (f(x + h e_i) - f(x - h e_i)) / 2h          error = ‖n - g‖ / (‖n‖ + ‖g‖)

*Leakage*: does a feature give the target away?  η² is the share of its spread that lies between the
classes, from 0 to 1.  x̄ is the feature's mean, x̄_k its mean in class k, n_k the number of rows of
class k:

    η² = Σ_k n_k (x̄_k - x̄)² / Σ_i (x_i - x̄)²          0 for a feature that is constant

*Saturation*: is an activation so flat that no gradient passes?  An output y is saturated if the
slope there is below `share` times the largest slope:

    sigmoid  slope y (1 - y), at most ¼        tanh  slope 1 - y², at most 1

*Confusion and label shift*: row i, column j of a confusion matrix counts the targets i that were
predicted as j.  If labels are off by s, the large counts stand s columns right of the diagonal.

*What to ask, and what the answer says*:

    symptom                     question               planted bug
    ─────────────────────────   ────────────────────   ──────────────────────
    the loss stays up           overfit_batch          anything on the way
                                untrained_parameters   a frozen layer
                                dead_units,            units that pass on
                                saturation             no gradient
                                already_normalized     softmax twice
    it learns, and is wrong     confusion_matrix,      labels off by one
                                label_shift
    it is too good to be true   leakage_probe          the target as a feature
    your own backward pass      gradient_check         a wrong sign or factor

**Why overfit one batch?**  Nearly any network can learn eight different examples by heart.  If
yours can't, it has a bug, and more data or time won't help.  You know within seconds.

**Why is a second softmax so hard to see?**  The network still trains.  But the outputs of the first
softmax lie between 0 and 1, so with C classes the loss can't fall below log(1 + (C - 1) / e): 1.461
for ten classes.

**Worked by hand**:

    f(x) = x² at 3, judged gradient 3:   n = 6, error = 3 / 9 = 0.333
    feature [1 2 3 4], classes [0 0 1 1]:   x̄ 2.5, means 1.5 and 3.5, η² = 4 / 5 = 0.8
    ReLU outputs [0 1 0] and [0 0 2] for two examples:   the first unit is dead, share 1/3
    tanh outputs [0.5 0.999], share 0.01:   slopes 0.75 and 0.002, half are saturated
    confusion [0 2; 3 0]:   every prediction is target + 1, modulo 2: shift 1

**Shapes** are in each docstring.  Answers that are tensors are on the device of what went in.  No
function changes its arguments.  If one of them is a model, its parameters, gradients (.grad),
buffers and hooks stay as they were, and so does the mode of each of its modules.

**Steps.**  A good place to pause is before leakage_probe.

    overfit_batch          10 min   train a copy; the model must stay as it is
    gradient_check         10 min   one entry at a time, without writing into x
    untrained_parameters   10 min   three ways to get no gradient
    dead_units             15 min   a hook on each ReLU; put everything back
    saturation              5 min   the same hooks
    already_normalized      5 min   two properties of probabilities
    leakage_probe          10 min   subtract the mean first
    confusion_matrix        5 min   count pairs
    label_shift             5 min   diagonals that wrap around
    read_curves            10 min   the first rule that fits

Sources: Karpathy 2019, as above; Glorot and Bengio 2010, "Understanding the difficulty of training
deep feedforward neural networks" (saturation); Kaufman et al. 2012, "Leakage in Data Mining".

From scratch: torch.autograd.gradcheck, torch.func, torch.autograd.functional and sklearn may not
be used.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
"""From a model's outputs and the targets to a scalar."""


def overfit_batch(
    model: nn.Module, loss_function: Loss, inputs: Tensor, targets: Tensor, steps: int = 200, lr: float = 0.01
) -> list[float]:
    """Train a copy of the model with Adam on this one batch; steps + 1 losses, as floats.

    - Loss 0 is the one before training, loss i the one after i steps.  steps may be 0.
    - torch.optim.Adam with `lr` and its other defaults.  Gradients don't add up over steps.
    - The copy runs in the mode of the model.  Its frozen parameters (requires_grad False) stay
      frozen; at least one isn't.
    """
    raise NotImplementedError


def gradient_check(
    function: Callable[..., Tensor], values: Sequence[Tensor], gradients: Sequence[Tensor], step: float = 1e-5
) -> list[float]:
    """The error of each judged gradient, as a float.

    - function(*values) is a scalar tensor.  `values` are float64 tensors of any shapes.  They may be without
      axes, transposed, or require gradients.  Each has its judged gradient in `gradients`, in the same order.
    - `step` is h.
    - The error is 0.0 where both gradients are 0, and 1.0 where just one of them is.
    """
    raise NotImplementedError


def untrained_parameters(model: nn.Module, loss_function: Loss, inputs: Tensor, targets: Tensor) -> dict[str, str]:
    """The parameters that this batch doesn't train, each with the reason, in the model's order.

    "frozen"       it has requires_grad False
    "unreached"    the loss doesn't depend on it (it isn't used, or detached, or runs under no_grad)
    "zero"         each entry of its gradient is exactly 0

    Names are those of named_parameters().  For a healthy model the dictionary is empty.
    The model runs in the mode it is in; it has no batch norm or dropout.
    """
    raise NotImplementedError


def dead_units(model: nn.Module, inputs: Tensor) -> dict[str, float]:
    """For each nn.ReLU in the model, by its name in named_modules(): the share of its units that are dead.

    - A unit is an entry of axis 1 of the output: a feature of (b, m), a channel of (b, c, h, w).  It is
      dead if it is 0 for the whole batch, at every position.
    - The model runs once, in evaluation mode.  No gradient is kept.
    - A ReLU that isn't run isn't reported.  You may assume that none is run twice.
    """
    raise NotImplementedError


def saturation(model: nn.Module, inputs: Tensor, share: float = 0.01) -> dict[str, float]:
    """For each nn.Sigmoid and nn.Tanh in the model, by its name: the share of its outputs that are saturated.

    All entries of the output count, of any shape.  All else is as in dead_units.
    """
    raise NotImplementedError


def already_normalized(outputs: Tensor) -> bool:
    """Whether outputs (..., c), c ≥ 2, are probabilities already, which cross-entropy would take for logits.

    True if no entry is negative and each row's sum differs from 1 by less than 1e-4.
    """
    raise NotImplementedError


def leakage_probe(features: Tensor, targets: Tensor) -> Tensor:
    """η² of each feature, (d,), from features (n, d), float32 or float64, and classes (n,) int64.

    - Classes are any integers; n ≥ 1.
    - A large mean costs no digits.  With Σx² - n x̄² it would.
    - The result has the dtype of the features.
    """
    raise NotImplementedError


def confusion_matrix(targets: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """How often each class is taken for which, int64 (classes, classes): rows are targets, columns predictions.

    targets and predictions are (n,) int64; n may be 0.

    Raises ValueError, naming the value and `classes`, if one in either is below 0 or not below `classes`.
    """
    raise NotImplementedError


def label_shift(confusion: Tensor) -> int:
    """The s from 0 to c - 1 for which most predictions are (target + s) mod c, from a confusion matrix (c, c).

    0 for a healthy model.  The smallest s, if several fit equally well.
    """
    raise NotImplementedError


def read_curves(train: Sequence[float], validation: Sequence[float], patience: int = 3) -> str:
    """What two learning curves say: a loss for each epoch, positive or not finite.  The first rule that fits:

    "diverged"     a loss of either is NaN or infinite, or the last train loss is above the first
    "stuck"        the last train loss is above 0.9 times the first
    "overfits"     the last validation loss is above 1.1 times the lowest one
    "improving"    the last validation loss is below 0.99 times the one `patience` ≥ 1 epochs before it,
                   or the first one, if there aren't so many
    "flat"         otherwise

    A single epoch is "stuck", or "diverged" if it isn't finite.

    Raises ValueError, naming both lengths, if they differ, or if there is no epoch.
    """
    raise NotImplementedError
