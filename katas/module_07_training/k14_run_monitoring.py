"""Run monitoring: update ratios, spikes and rollback, utilization

**Before you start.**  You need a training loop with its state, norms and the median; no other kata.
If the loop is new: the PyTorch tutorial "Learn the Basics".

**The idea.**  A run of a week can go wrong in any hour, and nobody watches it all the time.  So it
watches itself.  It measures how far each layer moves, which often shows a wrong learning rate
before the loss does.  A loss that jumps takes the weights back to a good state, and the data that
made it jump are left out.  And it says how much of the machine it uses: half may stand idle.

**The formulas.**

*A ratio for each layer*, from weights w, gradients g, and the weights w' after a step.  About
1/1000 is a common rule of thumb; 1/10 is too fast, 1/100,000 too slow:

    ratio = ‖w' - w‖ / ‖w‖

*A spike* is a loss far above the last ones.  MAD is the median of |x - median|; 1.4826 makes it the
standard deviation if losses are Gaussian:

    loss > median + threshold · 1.4826 · MAD         or the loss isn't finite

*Rollback*, as large language models were trained (PaLM): go back to an older state, and skip the
data since.  Here the older of the last two saved states:

    batch  0   1   2   3   4   5   6   7   8   9
           ▲       ▲       ▲   ●    states before 0, 2, 4; spike at 5
                   ╰── back ───╯    to the state before 2
                                   6   7   8   9    2 to 5 are skipped
                                           ▲        the next state

*Throughput* is tokens per second: all tokens by all seconds.  The first steps compile and warm up,
so they are often left out.

*Model FLOPs utilization* (MFU), for N parameters, L layers, H heads of size Q, T positions, and the
machine's peak P in FLOPs a second:

    MFU = tokens per second · (6 N + 12 L H Q T) / P

**Why the median and not the mean?**  One loss of 1000 moves the mean and blows up the deviation,
and the next spike passes.  It hardly moves the median.

**Why not back to the newest state?**  The loss of a batch is measured before its step.  The
weights that give a spike were spoilt by earlier steps: the newest state may have them already.

**Why skip the data, are they bad?**  Not by themselves.  PaLM's authors trained on the same batches
from another state, and saw no spike.  It takes these data and these weights together: from an
older state, with other data, the run goes on.

**Why 6 N + 12 L H Q T?**  A weight costs a token two FLOPs, a product and a sum.  The backward pass
takes twice the forward pass, which makes 6.  In attention a token meets T positions twice, in
scores and in the sum of values: 2 · 2 H Q T a layer, and three times that with the backward pass.

**Worked by hand**

    weights [3, 4], after the step [3, 4.5], gradient [-6, 8]:
        norms of g, w, w' - w: 10, 5, 0.5; ratio 0.1, which is too fast
    losses 2.0 2.1 1.9 2.2 1.8: median 2, distances 0 0.1 0.1 0.2 0.2, MAD 0.1
        threshold 5: a spike is above 2 + 5 · 1.4826 · 0.1 = 2.7413
    tokens 100 100 400 in 1, 4, 1 seconds: 600 / 6 = 100 a second
        the mean of the rates 100, 25, 400 would be 175
    PaLM: N 540.35e9, L 118, H 48, Q 256, T 2048, 238,300 tokens/s on 6144 chips of 275e12:
        3.2777e12 · 238,300 / 1.6896e18 = 0.462

**Shapes**: parameters of any shape on any device.  No function changes its arguments; detector and
model are changed as it is said.

**Steps.**  A good place to pause is before train_with_rollback.

    update_statistics    10 min   float16 overflows
    SpikeDetector        15 min   what mustn't enter the window?
    train_with_rollback  25 min   two states
    throughput            4 min   not a mean of rates
    mfu                   4 min   training, not only the forward pass

Sources: CS231n's notes "Neural Networks 3" (the ratio); Chowdhery et al. 2022, "PaLM", section 5.1
(spikes) and appendix B (MFU).

From scratch: scipy may not be used, the MAD is yours to write.  statistics, numpy and torch may.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn


def update_statistics(model: nn.Module, before: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """For each parameter with a gradient, by name, the floats "gradient", "weight", "update" and "ratio".

    `before` has copies of the parameters from before the step, by name.

    - The three norms are ‖g‖, ‖w‖ and ‖w' - w‖ over all entries, w from `before`.  They are right in
      float32 also where the parameters are float16 or bfloat16, whose own norms overflow or are rough.
    - The ratio is update / weight; of a weight 0, inf if it moved and 0.0 if not.
    - Parameters whose .grad is None are left out.  A shared parameter counts once, under its first name.
    """
    raise NotImplementedError


class SpikeDetector:
    """Finds losses far above the last ones."""

    def __init__(self, window: int, threshold: float, warmup: int) -> None:
        """`window` losses are remembered; 1 ≤ warmup ≤ window.

        Raises ValueError, naming both numbers, for another warmup.
        """
        raise NotImplementedError

    def update(self, loss: float) -> bool:
        """Take the next loss; returns whether it is a spike.

        - A loss is judged by the last `window` losses that were no spikes, without itself.  The median of
          an even number is the mean of the middle two.
        - As long as fewer than `warmup` are remembered, only a loss that isn't finite is a spike.
        - A spike isn't remembered.  A loss far below is none.
        - If the MAD is 0, every loss above the median is a spike.
        """
        raise NotImplementedError


def train_with_rollback(
    step: Callable[[Any], float],
    batches: Iterable[Any],
    save: Callable[[], Any],
    load: Callable[[Any], None],
    detector: SpikeDetector,
    every: int,
    limit: int,
) -> tuple[list[tuple[int, float]], list[int]]:
    """Train on `batches`, one step(batch) each, which returns the loss; after a spike go back, as drawn.

    - save() returns the state, load(state) brings it back.  A state is saved before the first batch, and
      whenever `every` steps without spike have been made since the last save or rollback, before the
      next batch.  After the last batch none is needed: save or don't.
    - Each loss goes to detector.update.  At a spike, the older of the last two states is loaded; after a
      rollback it is the only one, until the next is saved.
    - The batches since that state aren't used again.  Training goes on with the batch after the spike's.
    - `batches` may be a generator: each batch is taken once, and only when it is needed.

    Returns (number of the batch, loss) of the steps that count in the end, not rolled back; and the numbers of
    the batches where it spiked.  Batches are numbered from 0 as they come.
    Raises RuntimeError, naming the limit, at spike number limit + 1, before any state is loaded.
    """
    raise NotImplementedError


def throughput(tokens: Sequence[int], seconds: Sequence[float], skip: int = 0) -> float:
    """Tokens per second over all steps but the first `skip`: all their tokens by all their seconds.

    `tokens` and `seconds` have one number for each step.  Raises ValueError, naming skip, if no step is left.
    """
    raise NotImplementedError


def mfu(
    tokens_per_second: float, parameters: int, layers: int, heads: int, head_size: int, context: int, peak: float
) -> float:
    """The model FLOPs utilization; `peak` is that of all chips together, in FLOPs (not TFLOPs) a second."""
    raise NotImplementedError
