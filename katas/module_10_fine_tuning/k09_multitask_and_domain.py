"""Several tasks, and a new domain

**Before you start.**  You need cross-entropy, torch modules and a training loop; no other kata.
Several losses in *one* step, their weights and conflicts, are in curriculum_and_multitask.

**The idea.**  You have one network and more than one thing to teach it.  Three questions come up.
How should tasks share the network?  They get a common *trunk*, and each has a small *head*.  How
often is each task trained?  Drawn in proportion to their data, small tasks starve.  Drawn all
alike, they are repeated until the network knows them by heart.  A *temperature* lies between.
And what if the second thing comes later?  Then the network learns it and *forgets* the first.  The
second thing may be a task.  It may also be a *domain*, which is a kind of text: you go on with
pretraining, on medical papers, say.  You measure how much is forgotten.  The simplest cure is
*replay*: mix a little of the old data into the new.

**The formulas.**

    sampling      pᵢ ∝ min(nᵢ, limit)^(1/T)            T = 1: by size,  T = ∞: all alike
    passes        examples · pᵢ / nᵢ                   how often each example of task i is seen
    accuracies    R[i, j]: of task j, after training on task i       tasks come 0, 1, …, N - 1
    average       mean over j of R[N-1, j]
    backward      mean over j < N-1 of R[N-1, j] - R[j, j]           below 0: forgotten
    forward       mean over j ≥ 1 of R[j-1, j] - untrained[j]        above 0: earlier tasks helped
    forgetting    of j < N-1:  max over i < N-1 of R[i, j], minus R[N-1, j]
    replay        after t batches, share · batch_size · t of their rows were old, rounded
    optimum       loss(p) = -Σ p · log(share · p_old + (1 - share) · p_new)

**A drawing**

    x ──▶ trunk ──┬──▶ head 0 ──▶ 5 logits     R          task 0  1     2
                  ├──▶ head 1 ──▶ 2 logits     after 0  ┌ 0.90  0.50  0.30 ┐
                  └──▶ head 2 ──▶ 9 logits     after 1  │ 0.93  0.95  0.40 │
    a batch of task 1 moves the trunk          after 2  └ 0.60  0.85  0.92 ┘
    and head 1, no other head                  down a column: forgetting

    a batch with replay   ┌─ new ─┐┌─ new ─┐┌─ new ─┐┌─ OLD ─┐
    each row is a window, cut from a long text

**Why isn't a gradient of 0 enough?**  A batch of task 1 gives head 0 no gradient.  Suppose that you
set its .grad to 0.  An optimizer with momentum or weight decay moves it all the same.  It skips
only what has no .grad at all: None.

**Why round the total?**  With share 0.1 and 8 rows in a batch, 0.8 of a row should be old.
Rounded down, there is no replay, and nobody notices.  So round the running total: 0.8, 1.6, 2.4.
What one batch lacks, a later one brings.

**How much replay?**  Think of a model that knows only how often each token comes.  Trained on the
mixture for long enough, it *is* the mixture.  So both losses have a closed form.  Look at it below:
20 % of old data costs the new domain 0.02, and saves the old one 0.20.  The first few per cent of
replay buy the most.

**Worked by hand**

    sampling     n = 900, 100:  T = 1: 0.9, 0.1;  T = 2: 30 : 10, so 0.75, 0.25;  T = ∞: 0.5, 0.5
                 T = 1, limit 400:  0.8, 0.2
    passes       1000 examples at T = 2:  750/900 = 0.833 and 250/100 = 2.5
    report       R above:  average (0.60 + 0.85 + 0.92) / 3 = 0.79
                 backward (-0.30 - 0.10) / 2 = -0.2;  forgetting 0.33, 0.10, mean 0.215
                 untrained 0.3, 0.3, 0.25:  forward (0.20 + 0.15) / 2 = 0.175
    replay       share 0.1, 8 a batch:  totals 0.8 1.6 2.4 3.2 4.0 → 1 2 2 3 4, so 1 1 0 1 1
    optimum      old [0.8 0.2], new [0.3 0.7]:  share 0.2 mixes to [0.4 0.6]
                 old -0.8 log 0.4 - 0.2 log 0.6 = 0.8352,  new 0.6325
                 share 0: old 1.0345, new 0.6109

**Shapes**: probabilities are float64.  Ids and classes are int64, a text is (tokens,).  A language
model maps ids (n, L) to logits (n, L, V).  No function changes its arguments, but for the weights
that you train.

**Steps.**

    task_probabilities     8 min   large sizes, no examples, T = ∞
    expected_passes        2 min   one formula
    TaskBatches           13 min   a pass may end within a batch
    MultiHead              8 min   a head that comes later
    multitask_step         6 min   what moves without a gradient?
    forgetting_report     10 min   diagonals, and one task alone
                                   (a good place for a pause)
    replay_counts          6 min   round the total
    mixed_batches         10 min   windows from two texts
    text_loss              8 min   each token once
    continued_pretraining  8 min   two losses for each batch
    mixture_optimum        5 min   0 · log 0

In the tests your network forgets one task on digits while it learns another.  A small task gains
by a temperature.  A model that knows Hamlet letter by letter is trained further on first names,
with and without replay.

Sources: Caruana 1997, "Multitask Learning"; Raffel et al. 2020, "Exploring the Limits of Transfer
Learning" (T5; temperature and limit); Lopez-Paz and Ranzato 2017, "Gradient Episodic Memory"
(average, backward, forward); Chaudhry et al. 2018, "Riemannian Walk for Incremental Learning"
(forgetting); Gururangan et al. 2020, "Don't Stop Pretraining"; Ibrahim et al. 2024, "Simple and
Scalable Strategies to Continually Pre-train Large Language Models" (replay).

From scratch: avalanche may not be used.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn


def task_probabilities(sizes: list[int], temperature: float = 1.0, limit: int | None = None) -> Tensor:
    """How often each task is drawn: float64 (tasks,), with sum 1, from the numbers of their examples.

    - pᵢ ∝ min(nᵢ, limit)^(1/T).  None is no limit.
    - T may be math.inf: then all tasks are alike.
    - A task without examples is never drawn: its probability is 0, whatever T is.
    - Sizes may be large, such as 10¹², and T small, such as 0.01.

    Raises ValueError
    - naming temperature and its value, unless it is above 0,
    - naming limit and its value, if it is below 1,
    - naming the size, if one is below 0,
    - with the word "sizes", if there are none, or all are 0.
    """
    raise NotImplementedError


def expected_passes(sizes: list[int], probabilities: Tensor, examples: int) -> Tensor:
    """How often each example of a task is seen, on average, in `examples` examples: float64 (tasks,).

    All sizes are at least 1.
    """
    raise NotImplementedError


class TaskBatches:
    """Draws a task, and then the next of its examples.

    - Each batch is of one task.  Tasks are drawn independently, with the probabilities given.
    - A task goes through its examples in passes: each pass takes every example once, in a new random order.
    - A pass goes on in the task's next batch, whatever was drawn in between.  A batch that needs more than is left
      takes the rest, and begins the next pass.  So a batch may hold the end of one pass, whole ones, and the
      beginning of another.
    """

    def __init__(self, sizes: list[int], probabilities: Tensor, batch_size: int, generator: Generator) -> None:
        """Prepare batches of `batch_size` ≥ 1 examples; all randomness comes from `generator`, on the CPU.

        What happens to `sizes` and `probabilities` later has no influence.  A size may be 0 if its probability is 0.

        Raises ValueError, naming both numbers, if there are not as many sizes as probabilities.
        """
        raise NotImplementedError

    def next_batch(self) -> tuple[int, Tensor]:
        """The next batch: its task, and the numbers of its examples, int64 (batch_size,).

        A batch is the caller's, who may change it.
        """
        raise NotImplementedError


class MultiHead(nn.Module):
    """A trunk that all tasks share, and a linear head for each.

    trunk  the module that it was given, itself
    heads  an nn.ModuleList of one nn.Linear for each task, with bias.  How they are drawn is yours to choose
    """

    def __init__(self, trunk: nn.Module, width: int, outputs: list[int]) -> None:
        """trunk(x) gives (n, width); `outputs` has one number of logits or more, one for each task."""
        raise NotImplementedError

    def forward(self, x: Tensor, task: int) -> Tensor:
        """The logits (n, outputs of this task) of x, by the trunk and the task's head alone.

        Raises ValueError, naming the task and the number of heads, unless 0 ≤ task < that number.
        """
        raise NotImplementedError

    def add_head(self, outputs: int) -> int:
        """Add a head for a new task, and return its number.

        It has the dtype and the device of head 0, and is in the model's mode.  The other heads stay as they are.
        """
        raise NotImplementedError


def multitask_step(model: MultiHead, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, task: int) -> float:
    """One step of the optimizer on the mean cross-entropy of one task's batch; returns that loss, from before it.

    - The other heads stay exactly as they are, whatever the optimizer remembers of them or decays.
    - Gradients from before don't count, neither the trunk's nor a head's.
    - The model's mode stays.
    """
    raise NotImplementedError


def forgetting_report(accuracy: Tensor, untrained: Tensor | None = None) -> dict[str, Any]:
    """Five entries about N ≥ 1 tasks that were learned one after the other.

    accuracy   R (N, N), in float64
    untrained  (N,) in float64: the accuracies of the network before the first task

    - "average", "backward", "forward", "mean_forgetting": Python floats, as in the formulas.
      "mean_forgetting" is the mean of the forgetting of all tasks but the last.
    - "forgetting": a list of N - 1 floats.  One below 0 says that the task got better to the end.
    - A mean of nothing is NaN, and so is "forward" without `untrained`.

    Raises ValueError, naming both lengths, if R isn't square, or `untrained` has not N entries.
    """
    raise NotImplementedError


def replay_counts(share: float, batch_size: int, steps: int) -> list[int]:
    """How many of each batch's windows are old: `steps` ints.

    The first t counts add up to the whole number nearest to share · batch_size · t, for each t.  Of two that are
    equally near, either will do.

    Raises ValueError, naming share and its value, unless 0 ≤ share ≤ 1.
    """
    raise NotImplementedError


def mixed_batches(
    old: Tensor, new: Tensor, share: float, batch_size: int, length: int, steps: int, generator: Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `steps` batches of windows from two texts: (ids, is_old).

    ids     int64 (batch_size, length + 1): each row stands so in one of the texts
    is_old  bool (batch_size,): whether the row is from `old`

    - The numbers of old rows are those of `replay_counts`.  In which order the rows stand is open.
    - Each place where a window fits is equally likely, the first and the last included.  Rows are independent.
    - All randomness comes from `generator`.  It and both texts are on one device, and so are the batches.

    Raises ValueError, naming length + 1 and the text's number of tokens, if a text is shorter than that.  Whether it
    is raised at the call or with the first batch is open.
    """
    raise NotImplementedError


def text_loss(model: Callable[[Tensor], Tensor], ids: Tensor, length: int) -> float:
    """The mean of -log p over all tokens of a text but the first.

    - The text is cut into windows: the inputs are `length` ≥ 1 tokens, the next `length` come after them, and so on.
      The last window may be shorter.  What stood before a window isn't seen.
    - The targets are the tokens one place to the right of the inputs.  So each token but the first is predicted once.
    - Each token counts alike.
    - No graph is built, and the model's mode stays.  How many windows go into a call is open.

    Raises ValueError, naming the number of tokens, if there are fewer than 2.
    """
    raise NotImplementedError


def continued_pretraining(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], optimizer: torch.optim.Optimizer
) -> list[tuple[float, float]]:
    """Train on batches (ids, is_old): one step each, in training mode, on the mean loss of all rows.

    - A row's loss is the mean over its tokens but the first.
    - Returns, for each batch, the mean loss of its old rows and that of its new ones, from before the step, as floats.
      Without such a row it is NaN.
    - Gradients from before don't count.
    - The model ends in evaluation mode, also if there is no batch.
    """
    raise NotImplementedError


def mixture_optimum(old: Tensor, new: Tensor, share: float) -> tuple[float, float]:
    """The losses (on old data, on new data) of the best model that knows no context, trained on the mixture.

    old, new  how often each token comes, (V,) in float64, each with sum 1
    share     that of the old data, from 0 to 1

    A token that never comes costs nothing, whatever the mixture says of it.  A token that comes, and that the mixture
    never has, makes the loss math.inf.
    """
    raise NotImplementedError
