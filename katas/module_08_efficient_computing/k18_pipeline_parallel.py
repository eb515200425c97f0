"""Pipeline parallelism: the layers of one model on many ranks

**Before you start.**  You need send, receive and isend (as in collectives; import nothing),
backward() with a given gradient, and dynamic programming for the first function.  Section 2.2 of
Narayanan et al. 2021 draws both schedules.

**The idea.**  A model may be too large for one rank.  Cut its layers into p stages and give each
rank one.  Activations travel down, their gradients back up:

      rank 0            rank 1            rank 2
    ┌──────────┐ ────▶ ┌──────────┐ ────▶ ┌───────────┐
    │layers 0–3│       │layers 4–7│       │layers 8–11│ ▶ loss
    └──────────┘ ◀──── └──────────┘ ◀──── └───────────┘

A rank holds 1/p of the parameters and sends one activation, however large its layers are.  But p
ranks that wait for each other are no faster than one.  So cut the batch, too, into m micro-batches:
each rank begins the next while its neighbour has the last.

A stage has two actions for each micro-batch i: its forward ("F", i) and its backward ("B", i).  A
*schedule* is the list of a stage's actions in their order:

    GPipe   all forwards, i = 0 … m − 1, then all backwards, i = m − 1 … 0
    1F1B    stage s: min(m, p − 1 − s) forwards to warm up, then one forward and one
            backward in turn while there are forwards left, then the other backwards;
            forwards and backwards each in the order i = 0 … m − 1

**The formula.**  A forward takes f and a backward b on every stage; sending takes no time.  Then
both schedules need

    makespan = (m + p − 1)(f + b)        each stage works m (f + b) of it
    bubble = idle / makespan = (p − 1) / (m + p − 1)

    in flight at once on stage s, at most:    GPipe m        1F1B min(m, p − s)

**Why is there a bubble?**  The pipe must fill and drain.  More micro-batches make it small.

**Why 1F1B, then?**  It saves memory.  From its forward to its backward a micro-batch is *in
flight*: its stage keeps what autograd saved.  With 1F1B that doesn't grow with m.

**Why isend?**  `dist.send` may wait until the other side receives.  In 1F1B a rank sends an
activation down while its neighbour sends a gradient up: both may wait for ever.  Start the sending
(`dist.isend`), keep its request, and wait for it later.  Until then don't change what is being
sent.  Messages must be contiguous.

**Worked by hand**, p = 2, m = 3, f = 1, b = 2 (a backward takes two places, a dot is idle):

    time    │ 0   1   2   3   4   5   6   7   8   9  10  11
    ────────┼───────────────────────────────────────────────
    1F1B    │
    stage 0 │ F0  F1  .   .   B0  B0  F2  B1  B1  .   B2  B2
    stage 1 │ .   F0  B0  B0  F1  B1  B1  F2  B2  B2  .   .
    GPipe   │
    stage 0 │ F0  F1  F2  .   .   .   B2  B2  B1  B1  B0  B0
    stage 1 │ .   F0  F1  F2  B2  B2  B1  B1  B0  B0  .   .

    makespan 12 = (3 + 1)(1 + 2), both stages are idle for 3, the bubble is 1/4
    in flight at most: 1F1B 2 on stage 0 and 1 on stage 1, GPipe 3 on both

Costs [1, 1, 1, 5, 2, 2] in three stages are best cut 1 1 1 | 5 | 2 2: all wait for the slowest
stage, which takes 5.

**Shapes**: an activation has any shape; all micro-batches have the same one.
No function changes its arguments, except that `run_pipeline` adds to the .grad of its stage's
parameters.

**Steps.**  A good place to pause is after in_flight.

    split_layers           15 min   the best last stage, if you knew the best cuts before it
    gpipe_schedule          5 min   backwards in reverse
    one_f_one_b_schedule   10 min   when can stage s do its first backward?
    simulate               15 min   who waits for whom, and who for ever
    in_flight               5 min   count up and down
    run_pipeline           40 min   isend, and wait at the right time

Sources: Huang et al. 2019, "GPipe: Efficient Training of Giant Neural Networks using Pipeline
Parallelism", section 2; Narayanan et al. 2019, "PipeDream", section 3.2; Narayanan et al. 2021,
"Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM", section 2.2.

From scratch: torch.distributed.send, recv, isend, irecv and batch_isend_irecv may be used;
torch.distributed.pipelining, torch.distributed.rpc and torch.distributed.nn may not.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

Action = tuple[str, int]  # ("F", i) or ("B", i)


def split_layers(costs: Sequence[float], stages: int) -> list[tuple[int, int]]:
    """Cut the layers into `stages` contiguous stages so that the slowest one is as fast as can be.

    costs    the cost of each layer, above 0, in any unit; a stage costs the sum of its layers
    returns  (start, stop) of each stage, in order: stage s has the layers start … stop − 1

    - Each stage has at least one layer.
    - Where several cuts are best, any of them is right.
    - It is quick (seconds at most) for 60 layers in 8 stages, too: there are 300 million cuts.

    Raises ValueError, naming the number of layers and `stages`, where there are fewer layers
    than stages, or `stages` is below 1.
    """
    raise NotImplementedError


def gpipe_schedule(stages: int, micro_batches: int) -> list[list[Action]]:
    """GPipe's schedule of each stage, as above, in a list of its own.

    Both arguments are at least 1.
    """
    raise NotImplementedError


def one_f_one_b_schedule(stages: int, micro_batches: int) -> list[list[Action]]:
    """1F1B's schedule of each stage, as above; both arguments are at least 1."""
    raise NotImplementedError


def simulate(
    schedules: Sequence[Sequence[Action]], forward: float = 1.0, backward: float = 2.0
) -> tuple[float, list[float]]:
    """The makespan of the schedules, and how long each stage is idle before the makespan ends.

    schedules  the schedule of each stage: any, not only those above, in which each stage has
               the forward and the backward of each of the same micro-batches once
    forward    the time of one forward, on every stage, above 0
    backward   the time of one backward, above 0

    - A stage does one action at a time, in its schedule's order, each as early as it can.
    - The forward of i on stage s needs that on stage s − 1 to be done.
    - The backward of i needs that on stage s + 1 to be done, and its own stage's forward.
    - Time begins at 0; messages take none.

    Raises ValueError where the schedules deadlock before all is done.  It names the first
    (lowest) stage that still has actions left, and the micro-batch of the action it waits to do.
    """
    raise NotImplementedError


def in_flight(schedule: Sequence[Action]) -> int:
    """The largest number of micro-batches that a stage with this schedule holds at once.

    schedule  any, with the forward and the backward of one micro-batch or more

    A micro-batch is held from its forward until its backward is done.
    """
    raise NotImplementedError


def run_pipeline(
    stage: nn.Module,
    schedule: Sequence[Action],
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    inputs: Sequence[Tensor] | None,
    targets: Sequence[Tensor] | None,
    arriving: Tensor | None,
) -> Tensor | None:
    """Forward and backward of m micro-batches; rank r of the default group is stage r.

    stage     this rank's layers: a module of one tensor in, one out, whose parameters all require
              gradients; the output may be a view that isn't contiguous
    schedule  this rank's actions, any that don't deadlock: neighbours have their forwards in the
              same order, and their backwards in the same order (which may be another), so that
              messages arrive in the order in which they are needed
    loss_fn   loss_fn(out, target) is a mean over the samples of a micro-batch
    inputs    on rank 0 the m micro-batches, floats or whole numbers (token ids); elsewhere None
    targets   on the last rank the m targets; elsewhere None
    arriving  a contiguous tensor of the shape, dtype and device of an activation that arrives
              here (messages don't carry those); its values mean nothing; on rank 0 None
    returns   on the last rank the mean of the m losses, detached; None on the others

    *Gradients.*

    - Those of the mean of the m losses are added to the .grad of the stage's parameters.  As all
      micro-batches have one size, they are those of the whole batch in one process.
    - The inputs of rank 0 need none, and get none.

    *Order and memory.*

    - Each action runs when its turn in the schedule comes: the stage is called once for each "F",
      and its backward runs at "B".
    - From "B" on nothing of the micro-batch is kept: not its graph, not the activation that
      arrived, not its output.  Its send is done by then: wait on the request, or it keeps the
      tensor alive.  Only gradients on their way may stay.

    *Messages.*

    - For each micro-batch a rank sends one message to the next rank, the activation, and one to the
      rank before, the gradient of the activation that came from there, which has its size.
    - Nothing else is sent, and all has been sent when the function returns.
    - One rank alone sends nothing.
    """
    raise NotImplementedError
