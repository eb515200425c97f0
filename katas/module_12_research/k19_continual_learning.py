"""Continual learning: a new task without losing the old ones

**Before you start.**  You need nn.Module, cross-entropy and torch.autograd.grad.  You import no
other kata.  If this is new: the first section of Kirkpatrick et al. 2017.

**The idea.**  You teach a network to tell 0 from 1.  Then you teach it to tell 2 from 3.  Ask it
about 0 and 1 again, and it guesses.  Gradient descent lowers the loss in front of it.  Nothing
keeps the weights that an old task needs.  That is *catastrophic forgetting*.

There are three kinds of remedy, and you build one of each:

- *Hold on to what matters.*  EWC asks which weights the old task relies on, and ties these to
  their old values.
- *Rehearse.*  Keep a few old examples, and mix them in.
- *Grow.*  A progressive network freezes what it has and adds a column for each new task.

**The formulas.**  θ are the weights, θ* those at the end of an old task, p(c | x) the softmax of
the model's logits, R_ij the accuracy on task j after training on tasks 0 … i.

    Fisher       F_i = mean over x of  Σ_c p(c|x) (∂ log p(c|x) / ∂θ_i)²          exact
                 F_i = mean over x of  (∂ log p(y|x) / ∂θ_i)²          empirical: y the labels
    EWC          λ/2 Σ_{old tasks} Σ_i F_i (θ_i - θ*_i)²
    reservoir    example k = 1, 2, …: kept while there is room.  Then kept with chance m / k; it
                 takes the place of one of the m, each equally likely
    replay       CE(new batch) + w · CE(old batch)               CE: mean cross-entropy
    column t     a_t = relu(first_t x)
                 b_t = relu(second_t a_t + Σ_{s < t} side_ts a_s)          logits = head_t b_t
    average      mean over j of R_{T-1, j}
    forgetting   mean over j < T-1 of  max_{i < T-1} R_ij - R_{T-1, j}
    backward     mean over j < T-1 of  R_{T-1, j} - R_jj
    forward      mean over j > 0 of    R_{j-1, j} - r_j             r_j: an untrained model

T is the number of tasks, and all indices count from 0.

**A drawing**

    column 0           column 1
    logits             logits
      ▲                  ▲
     b₀                 b₁             column 0 is frozen:
      ▲                ▲ ▲             it can't forget
     a₀ ───────────────┘ a₁
      ▲     side          ▲
      └──────── x ────────┘

**Why the Fisher?**  Move a weight a little, and ask how far the predictions move.  The Fisher
says it: near the optimum the KL divergence to the old predictions is 1/2 Σ F_i (θ_i - θ*_i)², if
you look at each weight by itself.  A weight with F near 0 is free.

**Why square each example's slope?**  At the end of training the slopes of the examples cancel:
their mean is near 0.  Square the mean, and no weight seems to matter.  You want the mean of the
squares.

**Why a reservoir?**  You don't know how much is to come.  With it every example seen so far is
kept with the same chance, m out of k, at any time.  Keep the newest, and you forget; keep the
first, and you never rehearse the later ones.

**Worked by hand**

    Fisher       one weight matrix (2, 1), no bias, zeros; x = 2.  p is 1/2, 1/2.
                 Slopes of log p(0): (1, -1), of log p(1): (-1, 1).  So F is 1 for both
                 empirical with y = 0: 1 for both as well.  With x = 2 and x = 4: (1 + 4) / 2
    EWC          F = 1, 4;  θ - θ* = 2, 1;  λ = 3:   3/2 (4 + 4) = 12
    reservoir    room for 2: the third example stays with chance 2/3, the fourth with 1/2
    measures     R = 0.9 0.5 0.4 | 0.7 0.8 0.5 | 0.6 0.7 0.9,  r = 0.5:
                 average 0.7333, forgetting (0.3 + 0.1) / 2 = 0.2,
                 backward (-0.3 - 0.1) / 2 = -0.2,  forward (0 + 0) / 2 = 0

**Shapes**: x (n, …) and labels y (n,); logits (n, classes).  Results have the dtype and the
device of what comes in.  No function changes its arguments.  A model's weights, their grad and
its mode stay as well, but for add_task.  Nothing draws from the global generator but new layers.

**Steps.**  A good place to pause is after ReservoirBuffer.

    diagonal_fisher      15 min   square first, then average
    ewc_penalty           8 min   a quadratic penalty on each weight
    ReservoirBuffer      16 min   fair at any time
    replay_loss           6 min   new and old
    ProgressiveNetwork   18 min   frozen columns that still help
    transfer_measures    10 min   a table, and four ways to read it

Sources: Kirkpatrick et al. 2017, "Overcoming Catastrophic Forgetting in Neural Networks"; Vitter
1985, "Random Sampling with a Reservoir"; Rusu et al. 2016, "Progressive Neural Networks";
Lopez-Paz and Ranzato 2017, "Gradient Episodic Memory"; Chaudhry et al. 2018, "Riemannian Walk for
Incremental Learning".

From scratch: avalanche and torch.optim may not be used.  torch.func may.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


def diagonal_fisher(model: nn.Module, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
    """F by name (as in model.named_parameters), a detached tensor of each parameter's shape.

    y   labels (n,) for the empirical Fisher; None: the exact one, over the model's own predictions

    x has at least one example.
    """
    raise NotImplementedError


def ewc_penalty(
    model: nn.Module, old_tasks: Sequence[tuple[dict[str, Tensor], dict[str, Tensor]]], strength: float
) -> Tensor:
    """EWC's penalty, without axes.

    old_tasks   for each old task its weights θ* and its F, by name.  None: the penalty is 0
    strength    λ
    """
    raise NotImplementedError


class ReservoirBuffer:
    """A memory of examples from a stream of unknown length.

    seen    how many examples have been added so far
    x, y    what is kept: (k, …) and (k,), in any order; None before the first example

    len(buffer) is k, how many are kept.
    """

    def __init__(self, capacity: int, generator: torch.Generator) -> None:
        """Room for `capacity` examples.  The generator is on the CPU.

        Raises ValueError, naming the capacity, if it is below 1.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add examples x (n, …) and y (n,), one after the other.  What is kept are copies."""
        raise NotImplementedError

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """x and y of `count` different kept examples, all equally likely; of all if fewer are kept.

        Raises ValueError, naming the buffer, if nothing is kept.
        """
        raise NotImplementedError


def replay_loss(
    model: nn.Module, x: Tensor, y: Tensor, memory: ReservoirBuffer, count: int, weight: float = 1.0
) -> Tensor:
    """Replay's loss, without axes: the batch, and `count` examples from the memory with the weight w.

    With an empty memory it is the batch's loss alone.  Nothing is added to the memory.
    """
    raise NotImplementedError


class ProgressiveNetwork(nn.Module):
    """One column for each task.  Here the columns help each other in the second layer; in the paper, in all.

    first    nn.ModuleList: first[t] is nn.Linear(features, hidden)
    second   nn.ModuleList: second[t] is nn.Linear(hidden, hidden)
    side     nn.ModuleList of nn.ModuleList: side[t][s] is nn.Linear(hidden, hidden, bias=False), for s < t
    head     nn.ModuleList: head[t] is nn.Linear(hidden, classes of task t)
    """

    def __init__(self, features: int, hidden: int) -> None:
        """No column yet."""
        raise NotImplementedError

    def add_task(self, classes: int) -> None:
        """Add a column, and freeze all that was there before: requires_grad is False.  The new one can be trained."""
        raise NotImplementedError

    def forward(self, x: Tensor, task: int) -> Tensor:
        """Logits (n, classes) of x (n, features) for that task, counted from 0.

        Raises ValueError, naming the task and the number of tasks, if there is no such task; -1 is none.
        """
        raise NotImplementedError


class Measures(NamedTuple):
    """How a sequence of tasks was learnt, by the lesson's formulas."""

    average: float
    forgetting: float
    backward: float
    forward: float


def transfer_measures(accuracy: Tensor, untrained: Tensor) -> Measures:
    """The measures of R (T, T) and r (T,), as Python's floats.

    Raises ValueError, naming the shape of R, if it isn't square or has fewer than two tasks.
    """
    raise NotImplementedError
