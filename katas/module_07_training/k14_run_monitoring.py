"""Run monitoring

**Before you start.**  You need JSON, bits and bytes in Python (struct), and a training loop; no
other kata.  New to binary formats?  Read the first half of "Encoding" at protobuf.dev.

**The idea.**  A run of a week can go wrong in any hour, and nobody watches it all the time.  So
it writes down what it does, in files that a crash can't spoil and that tools can draw.  It
watches itself: a loss that jumps takes the weights back to a good state, and the data that made
it jump are left out.  And it says how much of the machine it uses.

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

*Model FLOPs utilization* (MFU), for N parameters, L layers, H heads of size Q, T positions, and the
machine's peak P in FLOPs a second:

    MFU = tokens per second · (6 N + 12 L H Q T) / P

*TensorBoard's file* is a row of records.  Each holds an event:

    ┌───────────┬───────────────┬─────────────┬───────────────┐
    │ length    │ masked CRC    │ event       │ masked CRC    │
    │ 8 bytes   │ of the length │ in protobuf │ of the event  │
    └───────────┴───────────────┴─────────────┴───────────────┘
    mask(c) is  ((c >> 15) | (c << 17)) + 0xA282EAD8, cut to 32 bits

All numbers are little-endian, and a CRC takes 4 bytes.

In protobuf a field begins with a byte: 8 · number + kind.  Kind 0 is a varint, 1 eight bytes, 2 a
varint length and so many bytes, 5 four bytes.  A *varint* has 7 bits a byte, the lowest first;
the top bit says that more follow.  An event and what it contains:

    event    1 wall_time (kind 1, a double)     2 step (kind 0)
             3 file_version (kind 2, a text)    5 summary (kind 2)
    summary  1 value (kind 2), once for each scalar
    value    1 tag (kind 2, a text)             2 simple_value (kind 5, a float)

*CRC-32C* works bit by bit, lowest bit first: begin with all 32 bits set.  For each byte, xor it
into the lowest 8 bits; then 8 times shift right by one, and xor 0x82F63B78 if a 1 fell out.  In
the end invert all bits.

**Why the median and not the mean?**  One loss of 1000 moves the mean and blows up the deviation,
and the next spike passes.  It hardly moves the median.

**Why not back to the newest state?**  The loss of a batch is measured before its step.  The
weights that give a spike were spoilt by earlier steps: the newest state may have them already.

**Worked by hand**

    varint: 300 is 10 0101100 in bits: bytes 1010_1100 0000_0010, that is AC 02
    CRC-32C of "123456789": E3069283
    losses 2.0 2.1 1.9 2.2 1.8: median 2, MAD 0.1; threshold 5: a spike is above 2 + 0.7413
    PaLM: N 540.35e9, L 118, H 48, Q 256, T 2048, 238,300 tokens/s on 6144 chips of 275e12:
        3.2777e12 · 238,300 / 1.6896e18 = 0.462

**Shapes**: parameters of any shape on any device.  No function changes its arguments; detector and
model are changed as it is said.

**Steps.**  A good place to pause is before update_statistics.

    append_jsonl          6 min   JSON has no NaN
    read_jsonl           10 min   lines that were torn, runs that were resumed
    varint                4 min   7 bits at a time
    crc32c                8 min   the loop above
    scalar_event         12 min   from the inside out
    write_events          8 min   records, the version first
    update_statistics     8 min   float16 overflows
    SpikeDetector        12 min   what mustn't enter the window?
    train_with_rollback  18 min   two states
    throughput            4 min   not a mean of rates
    mfu                   4 min

Sources: the TFRecord format and event.proto (github.com/tensorflow); RFC 3720, appendix B.4
(CRC-32C); Chowdhery et al. 2022, "PaLM", section 5.1 (spikes) and appendix B (MFU).

From scratch: torch.utils.tensorboard, tensorboard and tensorboardX may not be used.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Add `row` to the file as a line of JSON that ends in a newline; it is on its way to disk when this returns.

    - Values: texts, ints, floats, bools, None, and tensors or numpy numbers with one entry, which are written
      as plain numbers.
    - NaN and the infinities, which JSON hasn't got, are written as the texts "NaN", "Infinity", "-Infinity".
    - If the file doesn't end in a newline, since a crash has torn its last line, a new line is begun first.
    """
    raise NotImplementedError


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of append_jsonl, each of which has an int "step".

    - Torn lines, which are no JSON, are left out, wherever they stand; also if a character was torn.
    - The three texts for NaN and the infinities come back as floats.
    - A run that was resumed writes steps again: a row of step s takes the place of all rows before it
      whose step is s or more.
    - A file that isn't there has no rows.
    """
    raise NotImplementedError


def varint(number: int) -> bytes:
    """`number`, 0 ≤ number < 2⁶⁴, as a varint."""
    raise NotImplementedError


def crc32c(data: bytes) -> int:
    """The CRC-32C of `data`, not masked."""
    raise NotImplementedError


def scalar_event(wall_time: float, step: int, scalars: dict[str, float]) -> bytes:
    """An event with one value for each scalar, in their order; tags are texts, 0 ≤ step < 2⁶³.

    - Fields come in any order.  Those that are 0 may be left out, except simple_value.
    - A number too large for float32 is written as the infinity of its sign.
    """
    raise NotImplementedError


def write_events(path: Path, rows: Iterable[tuple[float, int, dict[str, float]]]) -> None:
    """Write a new file of records: an event with the file_version "brain.Event:2", without a summary, and then
    scalar_event(*row) for each row."""
    raise NotImplementedError


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

        Raises ValueError, naming both, for another warmup.
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
