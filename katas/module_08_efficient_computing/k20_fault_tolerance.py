"""Fault tolerance: what training on many machines needs to come to its end

**Before you start.**  You need state_dict and load_state_dict, torch's random state, and barrier
and all-gather (collectives).  For `efficiency` you may use your ring (the reference's is used
until yours is green):

    from .k14_collectives import ring_seconds

**The idea.**  A machine fails every few years; of a thousand, one fails every day.  So a run over
weeks must go on after a crash, as if nothing had happened: its losses are, to the last digit, those
of a run that never crashed.  Here a checkpoint comes after every 3 steps:

    steps      0   1   2  │  3   4   5  │  6   7 ✗ killed
    file              run.pt          run.pt
    again                                  6   7   8  │  the same losses
                                                    run.pt

*What do you keep?*  The parameters, the optimizer's state, the step number, and each rank's random
state: it decides the next dropout mask.  All else is alike on all ranks, so rank 0 writes for
everyone.

*How do you write it?*  A process can be killed while it writes.  So write a new file in the same
folder, then rename it over the old one:

    rank 0    write run.pt.part ▶ fsync ▶ os.replace it to run.pt ─┬▶ go on
    rank 1    wait ────────────────────────────────────────────────┘
    a reader  sees the old run.pt, whole ──────────────────────────▶ the new one

*When a worker dies*, torchrun ends the others and starts all again.  Each loads the checkpoint:

    torchrun --nproc-per-node=2 --max-restarts=3 katas/module_08_efficient_computing/train_gpt.py

*Stragglers.*  All wait for the slowest.  A rank above, say, 1.5 times the median step time has a
problem.

*Backends.*  NCCL moves tensors between GPUs, gloo between CPUs; some clusters have MPI for both.

**The formula.**  If a share s of the work can't be divided, n ranks make it faster by

    strong scaling, the same work (Amdahl)           1 / (s + (1 − s)/n)
    weak scaling, n times the work (Gustafson)       s + (1 − s) n

A data-parallel step adds a ring all-reduce of B bytes, with latency α and bandwidth β.  Efficiency
is the share of a step in which a rank computes:

    ring = 2 (n − 1)(α + B/(n β))        efficiency = compute / (compute + ring)

**Why os.replace?**  It is atomic: a reader finds the old file or the new one, never a half and
never none.  fsync forces the bytes to the disk first.

**Why must the others wait?**  If one goes on and rank 0 dies before the rename, it is ahead of the
state that all come back to.

**Why the median?**  The straggler itself would pull a mean up.

**Worked by hand:**

    s = 0.1, n = 4          1/(0.1 + 0.225) = 3.08        0.1 + 3.6 = 3.7
    0.4 s of computing on each of 4 ranks, gradients of 1 GB over 10 GB/s, α = 0:
                            2 · 3 · 1/40 = 0.15 s more, efficiency 0.4/0.55 = 0.727
    step times 1.0, 1.1, 1.2 and 2.0 s: the median is 1.15, and rank 3 is above 1.5 · 1.15 = 1.725

**Shapes**: none; states hold tensors of any shape.  Call functions with a `path` on every rank of
the default group, on a file system that they share.  No function changes its arguments.  (`train`
trains what `parts` holds.)

**Steps.**

    save_checkpoint   10 min   what if the process dies between two lines of yours?
    load_checkpoint    5 min   torch.load has an error for every kind of rubbish
    train             20 min   what else decides the next loss?
    stragglers         5 min   all-gather one number
    amdahl             3 min
    gustafson          3 min
    efficiency         3 min   a message is 1/n of the gradients
    choose_backend    10 min   one name where one is enough

Sources: Amdahl 1967, "Validity of the single processor approach"; Gustafson 1988, "Reevaluating
Amdahl's law"; PyTorch's documentation of torchrun (elastic launch) and of torch.distributed.

From scratch: torch.save, torch.load and torch.distributed's collectives may be used.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` of rank 0 to `path`.

    path   its folder exists, and may be on a disk of its own
    state  tensors, numbers and text, and dicts, lists and tuples of them; those of other ranks
           aren't looked at

    - At every moment there is the old file or the new one at `path`, whole.
    - Nothing is written outside of the folder.
    - A killed process's leftovers disturb nobody.
    - It returns, on each rank, only when the file is there.
    """
    raise NotImplementedError


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote to `path`, tensors on the CPU; None where there is no such file.

    Raises ValueError, naming the path, where the file, whatever is in it, can't be read as a
    checkpoint: half of one, an empty file, other notes.
    """
    raise NotImplementedError


def train(
    parts: Mapping[str, Any], step: Callable[[int], float], steps: int, path: Path, every: int
) -> list[float]:
    """Do step(0) … step(steps − 1), or what remains of them after the checkpoint in `path`.

    parts   what the training changes, by name and in any order: objects with state_dict() and
            load_state_dict(), such as the model and the optimizer, alike on all ranks
    step    does a step and returns its loss
    steps   how many in total; a checkpoint in `path` has no more
    every   a checkpoint is saved after every so many steps (counted from the beginning of the
            training, not of this call), and after the last
    returns the losses of all `steps`: rank 0's up to the last checkpoint, then this rank's

    - The checkpoint holds the parts, the losses so far, and every rank's random state of torch on
      the CPU.  With it, a run that was killed goes on as if nothing had happened.
    - Where nothing is left to do, no step is done, but the parts and the random state become the
      checkpoint's all the same.
    """
    raise NotImplementedError


def stragglers(seconds: float, factor: float = 1.5) -> list[int]:
    """The ranks, in ascending order, that need more than `factor` times the median.

    seconds  this rank's; each rank gives its own, and all get the same answer

    The median of an even number is the mean of the two in the middle.
    """
    raise NotImplementedError


def amdahl(n: int, serial: float) -> float:
    """How many times faster n ranks do the same work.

    serial  the share of the work that can't be divided
    """
    raise NotImplementedError


def gustafson(n: int, serial: float) -> float:
    """How many times as much work n ranks do in the time of one.

    serial  the share of that time which can't be divided
    """
    raise NotImplementedError


def efficiency(n: int, compute: float, size: float, latency: float, bandwidth: float) -> float:
    """The share of a data-parallel step in which a rank computes.

    compute    seconds that each rank computes in a step
    size       bytes of the gradients
    latency    seconds that each message takes however short it is
    bandwidth  bytes per second
    """
    raise NotImplementedError


def choose_backend(devices: Iterable[str], available: Iterable[str]) -> str:
    """What to give to init_process_group for tensors on `devices`.

    devices    "cpu", "cuda" or both, in any order
    available  of "gloo", "nccl" and "mpi", those that are there

    - For the CPU gloo, else mpi.
    - For CUDA nccl, else gloo, else mpi.
    - One name for one device, or where both devices have the same; else both, as in
      "cpu:gloo,cuda:nccl".

    Raises ValueError, naming what is available, where a device has none.
    """
    raise NotImplementedError
