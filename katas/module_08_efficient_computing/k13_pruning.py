"""Pruning and lottery tickets

**Before you start.**  You need boolean masks, norms, and a training loop with torch.optim.SGD.
No other kata.  Are tickets new to you?  Read sections 1 and 2 of Frankle and Carbin 2019.

**The idea.**  You want a smaller network, and most weights of a trained one hardly matter.  Set 90
% to 0, train a little more, and the accuracy is often nearly what it was.  A *mask* is a boolean
tensor of the weights' shape, True where a weight is kept.  Which weights go decides what you gain:

      unstructured          structured            2:4
      ■ – ■ ■  – ■ – –      ■ ■ – ■  – ■ – –      ■ – – ■ │ ■ ■ – –
      – ■ – –  ■ ■ – ■      ■ ■ – ■  – ■ – –      – ■ ■ – │ – ■ – ■
      ■ – – ■  – – ■ –      ■ ■ – ■  – ■ – –      ■ – ■ – │ ■ – – ■

    unstructured   the smallest |w| anywhere.  Least harm to the accuracy; dense hardware still
                   multiplies the zeros.
    global         the same, with all layers ranked together.
    structured     whole rows, columns or channels, the smallest by their norm.  A smaller dense
                   matrix is left: any hardware gains.
    2:4            in every 4 neighbours 2 are zero.  A sparse tensor core skips them: up to
                   twice the speed.

**The formula.**  `amount` is the fraction that goes.  Of n things it takes

    round(amount · n)       Python's round, of the float64 product: 2.5 gives 2

    ‖v‖_p = (Σ |vᵢ|^p)^(1/p)        ‖v‖_∞ = max |vᵢ|        the norm of a slice v

The gradual schedule prunes fast at first and slowly at the end, from sparsity s_i at step t₀ to s_f
at t₁:

    s(t) = s_f + (s_i − s_f) · (1 − (t − t₀) / (t₁ − t₀))³

*Lottery tickets.*  Train, prune, put what is left back to its *initial* values, and train again
with the mask held.  A ticket of sparsity s is found in R rounds.  Each round keeps the same
fraction of what is left, so after round r the fraction pruned in total is

    1 − (1 − s)^(r/R)

    start     all initial weights     ▶ fit ▶ rank trained weights ▶ mask 1
    round 1   initial weights, mask 1 ▶ fit ▶ rank trained weights ▶ mask 2
    round 2   initial weights, mask 2 ▶ fit ▶ rank trained weights ▶ mask 3
    round 3   initial weights, mask 3 ▶ fit                 the ticket: mask 3

**Why hold the mask after every step?**  A pruned weight's gradient isn't 0, and momentum moves it
even without one.

**Why go back to the initial values?**  They matter.  With the same mask and new random values, the
network learns more slowly and ends at a lower accuracy.

**Worked by hand:**

    w = [ 0.9  −0.1   0.4  −0.7 ]     magnitude, amount 0.5:   1 0 1 1
        [ 0.3   0.8  −0.2   0.05]                              0 1 0 0

    two of four:   1 0 0 1     structured, dim 1, amount 0.5:  1 1 0 0
                   1 1 0 0     column norms .95 .81 .45 .70    1 1 0 0

    s(t) from 0 to 0.8 over steps 100 … 300, at 200: 0.8 − 0.8 · 0.5³ = 0.7
    a ticket of 87.5 % in 3 rounds prunes 50 %, 75 % and 87.5 % in total

**Shapes**: weights of any shape; every mask is bool, with the shape and device of its weights.
Among equal magnitudes or norms any choice is right, but the count must be exact.  Training goes on
where the model is.  No function changes its arguments, but `train_masked` and `lottery_ticket`
change the model.

**Steps.**

    magnitude_mask     10 min   positions, not a threshold
    global_masks       10 min   one ranking; magnitude_mask is a list of one
    structured_mask    10 min   one norm for each index of dim
    two_of_four_mask    5 min   exactly two, also among equals
    sparsity            5 min   flat outside of its steps
    train_masked       10 min   before the first forward pass, too
    lottery_ticket     20 min   copy the initial state, really

Sources: Zhu and Gupta 2017, "To prune, or not to prune", section 3; Mishra et al.
2021, "Accelerating Sparse Deep Neural Networks", section 2; Frankle and Carbin
2019, "The Lottery Ticket Hypothesis", sections 1 and 2.

From scratch: torch.nn.utils.prune may not be used; torch.optim may.
"""

from collections.abc import Callable

from torch import Tensor, nn


def magnitude_mask(w: Tensor, amount: float) -> Tensor:
    """The mask of `w` without the round(amount · n) smallest of its n magnitudes.

    Raises ValueError, naming the amount given, if it isn't from 0 to 1.  Both ends are allowed: 0
    keeps everything, 1 nothing.
    """
    raise NotImplementedError


def global_masks(weights: list[Tensor], amount: float) -> list[Tensor]:
    """A mask for each of `weights`, with all of them ranked together.

    weights  one tensor or more, each of a shape of its own

    round(amount · n) entries go, the smallest in magnitude of the n that the tensors have in total.

    Raises ValueError, naming the amount given, if it isn't from 0 to 1.
    """
    raise NotImplementedError


def structured_mask(w: Tensor, amount: float, dim: int, p: float = 2.0) -> Tensor:
    """The mask of `w` without whole slices along `dim`, those of the smallest p-norm.

    w    two dimensions or more
    dim  may be negative; a slice holds all entries of one index of it: for a matrix, dim 0 prunes
         rows and dim 1 columns
    p    1 or more, or float("inf")

    round(amount · w.shape[dim]) slices go.

    Raises ValueError, naming the amount given, if it isn't from 0 to 1.
    """
    raise NotImplementedError


def two_of_four_mask(w: Tensor) -> Tensor:
    """The mask that keeps the 2 largest magnitudes in every group of 4.

    w  (..., k), of one dimension or more

    A group is 4 neighbours along the last axis: entries 0 … 3, 4 … 7, and so on.  Exactly 2 of each
    are kept, also among equals.

    Raises ValueError, naming k and 4, if k is no multiple of 4.
    """
    raise NotImplementedError


def sparsity(step: int, start: int, end: int, initial: float, final: float) -> float:
    """The gradual schedule's sparsity at `step`, a float.

    - It is `initial` up to step `start`, `final` from step `end` on, and the cubic above between.
    - start < end; `initial` may be the larger one.
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

    masks  from names of parameters, as model.named_parameters() gives them, to their masks, in any
           order; a parameter without a mask trains freely
    x      the inputs
    y      the labels (n,) of the logits model(x) (n, classes)

    Take `steps` steps of torch.optim.SGD with `lr`, `momentum` and `weight_decay`, each on the mean
    cross-entropy of all n at once.

    - Pruned entries are exactly 0 in every forward pass, the first too, and at the end, whatever
      they were before (all parameters are finite).
    - The kept ones take the steps that they would take if the pruned ones didn't exist.
    - Gradients that the model holds from before don't count, and momentum starts from nothing.
    - No mask outlives the call: a later one, or the model itself, knows nothing of it.
    """
    raise NotImplementedError


def lottery_ticket(
    model: nn.Module,
    fit: Callable[[nn.Module, dict[str, Tensor]], None],
    amount: float,
    rounds: int,
) -> dict[str, Tensor]:
    """Find the ticket of sparsity `amount` in `rounds` rounds; returns its masks.

    fit     fit(model, masks) trains this very `model` in place and leaves pruned entries at 0
    amount  more than 0 and less than 1
    rounds  1 or more

    Parameters with two dimensions or more are prunable (weights, not biases or norms).  Masks are
    dicts from the name of each to its mask.

    fit is called rounds + 1 times.  The first call gets the model as it is given, with masks that
    keep everything.  Then comes one call per round.  Round r = 1 … rounds

    - prunes the trained weights, all layers ranked together, by the fraction
      1 − (1 − amount)^(r/rounds) of all prunable entries (those pruned before are 0 and so among
      them; no kept weight is trained to exactly 0);
    - rewinds the model to its state before the first fit, all that its state_dict holds, and sets
      the pruned entries to 0;
    - calls fit(model, masks) with the new masks.

    The model stays as the last fit leaves it; the masks returned are the last.
    """
    raise NotImplementedError
