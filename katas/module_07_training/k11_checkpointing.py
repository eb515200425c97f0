"""Checkpointing

**Before you start.**  You need state_dict, an optimizer, a schedule, and files opened as bytes; no
other kata.  The PyTorch tutorial "Saving and Loading Models" is enough.

**The idea.**  Long runs die: a node fails, a disk fills up, the queue ends.  A checkpoint lets a
run go on as if nothing had happened.  Three things go wrong in practice.  Something is missing
from the state, and the resumed run is another run.  The run dies while it writes, and the only
checkpoint is half a file.  Or the disk fills up with checkpoints that nobody needs.

**The formulas.**  A run's next step is a function of its whole state:

    weights and buffers, the optimizer's moments, the schedule's count,
    the place in the data, and every random generator

Bring all of it back, and the resumed run equals the unbroken one to the last bit.

*The place in the data* is more than a number.  Here are two epochs of 5 rows, in batches of 2:

    batches    3 0 │ 4 1 │ 2 ║ 1 4 │ 0 2 │ 3 ║ …
                   ▲
                   a state taken here: 4 1 comes next, then 2, and then this
                   very second epoch, whose order may not be drawn yet

*Keep the k best*: after each save those checkpoints stay that have the k lowest losses, and the
one just saved, which a resumed run needs.

*An atomic write* never shows half a file:

    write   ckpt.part  ██████░░    a crash here leaves the old ckpt
    fsync   ckpt.part  ████████    the bytes are on the disk
    replace ckpt.part ─▶ ckpt      the name changes hands at once
    fsync   the folder             so does the name on the disk

**Why fsync before the name changes?**  The system may write the name to disk before the bytes.
After a power cut the good name would stand for an empty file.

**Why a checksum as well?**  Disks and copies fail, too.  A file that was cut or changed must not
pass for a checkpoint: then the one before it is used.

**Why not seed the generators again?**  A seed begins their numbers anew: step 1000 would get the
dropout masks of step 0.  A generator's state says how far it has come.

**Worked by hand**

    "new" over "old":    after       write   fsync   replace   fsync
                         ckpt        old     old     new       new
                         ckpt.part   new     new     –         –
    5 rows in batches of 2:    batches of 2, 2, 1 rows, then the next epoch
    losses 3 1 2 at steps 10 20 30, k = 1:   10;   20;   20 (best) and 30 (just saved)

**Shapes**: tensors of any shape.  No function changes its arguments, except restore, which changes
what it is meant to.

**Steps.**  A good place to pause is before capture.

    atomic_write       10 min   flush, fsync, replace, fsync
    rng_state           5 min   three generators, and CUDA's
    set_rng_state       5 min
    Shuffler           10 min   where in which order?
    capture             5 min   a copy: training goes on
    restore             5 min   a copy again
    Checkpoints        25 min   all it knows must stand on the disk

Sources: Pillai et al. 2014, "All File Systems Are Not Created Equal" (atomic writes); PyTorch's
note "Reproducibility" (random generators).

From scratch: safetensors may not be used; torch.save, torch.load and hashlib may.
"""

from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whose folder exists, by the four steps drawn.

    - Whoever reads `path` meanwhile finds the old file or the whole new one; if there was no old
      one, none or the whole new one.
    - When the name changes (os.replace or os.rename), all bytes have gone through os.fsync.  Flush
      Python's own buffer before it.  Afterwards os.fsync is called on the folder (os.open it to read).
    - If anything raises before the name has changed, KeyboardInterrupt too, that error comes out, the old file is as it was,
      and no other file is left in the folder.
    - Nothing stays open.
    """
    raise NotImplementedError


def rng_state() -> dict[str, Any]:
    """The state of the global generators of `random`, numpy (np.random.get_state) and torch, on the CPU and
    on every CUDA device where there are any.

    - It consists of dicts, lists, tuples, texts, numbers, None and tensors alone, so that torch.load reads it
      with weights_only=True.  numpy's array isn't one of these.
    - Nothing is drawn, and later draws don't change it.
    """
    raise NotImplementedError


def set_rng_state(state: dict[str, Any]) -> None:
    """Bring all generators back to what rng_state returned: whatever is drawn next is what was drawn then.

    That includes the second number of a pair of Gaussian ones, which random and numpy keep.
    CUDA's are set only where `state` has some and there are devices.
    """
    raise NotImplementedError


class Shuffler:
    """Row numbers in batches without end: epoch after epoch, each in a new random order."""

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        """`n` ≥ 1 rows.  All randomness comes from a generator of its own, seeded by `seed`; torch's
        global one isn't touched."""
        raise NotImplementedError

    def next_batch(self) -> list[int]:
        """The next batch.  An epoch holds each row once; its last batch may be smaller, but not empty."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """The place between two batches, also at an epoch's end.

        Later batches don't change it.  It consists of what torch.load reads with weights_only=True.
        """
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken: the same batches follow, in later epochs, too.

        `state` is from a Shuffler of the same n and batch_size; its seed counts, not this one's.
        Raises ValueError, naming both, if its n is another: the data have changed.
        """
        raise NotImplementedError


def capture(model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler, shuffler: Shuffler) -> dict[str, Any]:
    """The whole state between two steps: of the four, and of every generator.

    - Later training doesn't change it.
    - torch.save writes it, and torch.load reads it with weights_only=True.
    """
    raise NotImplementedError


def restore(
    state: dict[str, Any], model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler, shuffler: Shuffler
) -> None:
    """Bring the four, made anew in the same way, and every generator to `state`: training goes on bit for bit.

    - The parameters stay the same objects, on their device.
    - Later training doesn't change `state`: it can be restored again.
    """
    raise NotImplementedError


class Checkpoints:
    """Checkpoints in a folder: the `keep` best ones and the one saved last.

    - What is best is known from the folder alone: a new object on the same folder, made after a crash, goes on
      as the old one would.
    - Lower losses are better; NaN is the worst.  Of equal losses the later step is better.
    - File names and their content are yours.  Files that aren't yours are ignored and stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        """Makes the folder if there is none.  Raises ValueError, naming the number, if `keep` is below 1."""
        raise NotImplementedError

    def save(self, step: int, loss: float, state: dict[str, Any]) -> Path:
        """Write a checkpoint of step ≥ 0 by atomic_write, and then delete those that needn't stay.

        - Returns the path of the one file that holds the state, in the folder.
        - A step that was saved before is replaced, its loss as well.
        - If anything raises before the new checkpoint is in place, the old ones are all still there.
        """
        raise NotImplementedError

    def steps(self) -> list[int]:
        """The steps of all checkpoints that are there, ascending.  Damaged ones count or don't, as you like."""
        raise NotImplementedError

    def load_latest(self) -> tuple[int, dict[str, Any]] | None:
        """(step, state) of the highest step whose file is good; None if none is.

        - A file that was cut, or of which a byte was changed, isn't good.  A checksum (hashlib) tells.
        - Tensors are loaded to the CPU, whatever device they were on.  Loading changes no file.
        """
        raise NotImplementedError

    def load_best(self) -> tuple[int, dict[str, Any]] | None:
        """(step, state) of the best one whose file is good; None if none is."""
        raise NotImplementedError
