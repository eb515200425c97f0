"""Pruning and lottery tickets

Most weights of a trained network hardly matter.  Set the smallest to 0, train a
little more, and at 90 % zeros the accuracy is often nearly what it was.  A mask
says what stays: a boolean tensor of the weights' shape, True where a weight is
kept.  `amount` is the fraction that goes; of n things it takes

    round(amount · n)       Python's round, of the float64 product: 2.5 gives 2

What is removed decides what is gained:

    unstructured   the smallest |w| anywhere.  Least harm to the accuracy; memory
                   shrinks, but dense hardware still multiplies the zeros.
    global         the same, with all layers ranked together: layers with many
                   small weights lose more of them than the others.
    structured     whole rows, columns or channels, the smallest by their norm

                       ‖v‖_p = (Σ |vᵢ|^p)^(1/p)        ‖v‖_∞ = max |vᵢ|

                   What remains is a smaller dense matrix: any hardware gains.
    2:4            in every 4 neighbours 2 are zero.  A sparse tensor core skips
                   them: half the weights, up to twice the speed.

When?  All at once is a shock.  The gradual schedule prunes fast while there is
much to spare and slowly at the end, from sparsity s_i at step t₀ to s_f at t₁:

    s(t) = s_f + (s_i − s_f) · (1 − (t − t₀) / (t₁ − t₀))³

A pruned weight must stay 0.  Its gradient isn't 0, and momentum moves it even
without one: so hold the mask after every step of the optimizer.

Lottery tickets.  Train, prune, put what is left back to its *initial* values,
and train again with the mask held.  The sparse network learns nearly as well as
the dense one; with its zeros shuffled it learns much worse.  So it isn't the
number of weights that counts, but which: the dense network held a winning ticket
from the start.  It is found in rounds, a part of the weights in each.  To end at
sparsity s after R rounds, each keeps the same fraction of what is left, so that
after round r the fraction pruned in all is

    1 − (1 − s)^(r/R)

Worked by hand:

    w = [ 0.9  -0.1   0.4  -0.7 ]     magnitude, amount 0.5:   1 0 1 1
        [ 0.3   0.8  -0.2   0.05]                              0 1 0 0

    two of four:   1 0 0 1     structured, dim 1, amount 0.5:  1 1 0 0
                   1 1 0 0     column norms .95 .81 .45 .70    1 1 0 0

    s(t) from 0 to 0.8 over steps 100 … 300, at 200: 0.8 − 0.8 · 0.5³ = 0.7
    a ticket of 87.5 % in 3 rounds prunes 50 %, 75 % and 87.5 % in all

Shapes: weights of any shape; every mask is bool and has the shape of its weights.
Where magnitudes or norms are equal, any choice among the equals is right, but
their number is not free.

No function changes its arguments, but `train_masked` and `lottery_ticket` change
the model.

Source: Zhu and Gupta 2017, "To prune, or not to prune", section 3; Mishra et al.
2021, "Accelerating Sparse Deep Neural Networks", section 2; Frankle and Carbin
2019, "The Lottery Ticket Hypothesis", sections 1 and 2.

From scratch: torch.nn.utils.prune may not be used; torch.optim may.
"""

from collections.abc import Callable

from torch import Tensor, nn


def magnitude_mask(w: Tensor, amount: float) -> Tensor:
    """The mask of `w` without the round(amount · n) smallest of its n magnitudes.

    Raises ValueError, naming `amount`, if it isn't from 0 to 1.  Both ends are
    allowed: 0 keeps everything, 1 nothing.
    """
    raise NotImplementedError


def global_masks(weights: list[Tensor], amount: float) -> list[Tensor]:
    """A mask for each of `weights`, with all of them ranked together.

    round(amount · n) entries go, the smallest in magnitude of the n that all the
    tensors have in all.  At least one tensor; each has a shape of its own.

    Raises ValueError, naming `amount`, if it isn't from 0 to 1.
    """
    raise NotImplementedError


def structured_mask(w: Tensor, amount: float, dim: int, p: float = 2.0) -> Tensor:
    """The mask of `w` without whole slices along `dim`, those of the smallest p-norm.

    A slice holds all entries of one index of `dim`: for a matrix, dim 0 prunes
    rows and dim 1 columns.  round(amount · w.shape[dim]) slices go.  `w` has two
    dimensions or more; `dim` may be negative; `p` is 1 or more, or float("inf").

    Raises ValueError, naming `amount`, if it isn't from 0 to 1.
    """
    raise NotImplementedError


def two_of_four_mask(w: Tensor) -> Tensor:
    """The mask that keeps the 2 largest magnitudes in every group of 4.

    A group is 4 neighbours along the last axis: entries 0 … 3, 4 … 7, and so on.
    Exactly 2 of each are kept, also among equals.  `w` is (..., k).

    Raises ValueError, naming k and 4, if k is no multiple of 4.
    """
    raise NotImplementedError


def sparsity(step: int, start: int, end: int, initial: float, final: float) -> float:
    """The gradual schedule's sparsity at `step`, a float.

    `initial` up to step `start`, `final` from step `end` on, the cubic above
    between them.  start < end.
    """
    raise NotImplementedError


def train_masked(
    model: nn.Module,
    masks: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    steps: int,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> None:
    """Train `model` in place, with the masks held.

    `masks` maps names of parameters, as model.named_parameters() gives them, to
    their masks; a parameter without a mask trains freely, and no mask outlives the
    call.  All parameters are finite.  Pruned entries are exactly 0 in every forward
    pass, the first too, and at the end, whatever they were before.  The kept ones take the steps they would take if the pruned ones
    didn't exist.

    `steps` steps of torch.optim.SGD with `lr`, `momentum` and `weight_decay`, each
    on the mean cross-entropy of the logits model(x) (n, classes) against the
    labels y (n,), all n at once.  Gradients that the model holds from before don't
    count, and momentum starts from nothing.
    """
    raise NotImplementedError


def lottery_ticket(
    model: nn.Module,
    fit: Callable[[nn.Module, dict[str, Tensor]], None],
    amount: float,
    rounds: int,
) -> dict[str, Tensor]:
    """Find the ticket of sparsity `amount` (0 < amount < 1) in `rounds` ≥ 1 rounds; returns its masks.

    Prunable are the parameters with two dimensions or more (weights, not biases or
    norms).  Masks are dicts from each of their names to its mask.

    fit(model, masks) trains this very `model` in place and leaves pruned entries
    at 0.  It is called rounds + 1 times: first on the model as it is given, with
    masks that keep everything; then once a round.  Round r = 1 … rounds

    - prunes the trained weights, all layers ranked together, by the fraction
      1 − (1 − amount)^(r/rounds) of all prunable entries (those pruned before are
      0 and so among them);
    - rewinds the model to its state before the first fit, all that its state_dict
      holds, and sets the pruned entries to 0;
    - calls fit(model, masks) with the new masks.

    The model stays as the last fit leaves it; the masks returned are the last.
    """
    raise NotImplementedError
