"""Fault tolerance: what training on many machines needs to come to its end.

A machine fails every few years; a thousand of them fail every day.  A run over weeks survives
only if it can be taken up again where it was, and taking it up must change nothing: the losses
after a crash are, to the last digit, those of a run that never crashed.

What has to be kept.  The parameters alone don't do: momentum and step counts of the optimizer,
the step number, and each rank's random state (it decides the next dropout mask) all belong to
the state.  With all ranks alike but for their random states, rank 0 writes for everyone.

How it is written.  A process can be killed in the middle of writing.  So the new checkpoint is
written beside the old one, under another name, in the same folder, and then renamed over it:
os.replace is atomic, so that whoever reads finds the old one or the new one, whole.  (Before that it
should be forced to the disk by fsync, though only a machine that loses its power would show it.)
No rank may go on before the file is there: if one did, and rank 0 died, some would be ahead of the
state that all come back to.

When a worker dies, torchrun ends the others, starts all of them again, and each loads the checkpoint:
    torchrun --nproc-per-node=2 --max-restarts=3 katas/module_08_efficient_computing/train_gpt.py

Stragglers.  In synchronous training all wait for the slowest.  Who takes more than, say, 1.5 times
the median time of a step has a problem: a hot processor, a bad cable.  The median, as a mean
would be pulled up by the straggler itself.

What more ranks bring.  If a share s of the work can't be divided, n ranks make it faster by

    strong scaling, the same work (Amdahl)           1 / (s + (1 − s)/n)
    weak scaling, n times the work (Gustafson)       s + (1 − s) n

Data-parallel steps add a ring all-reduce of B bytes, 2 (n − 1)(α + B/(n β)) seconds with latency α
and bandwidth β: that share of a step in which a rank computes is its efficiency.

Worked by hand: s = 0.1 and n = 4 give 1/(0.1 + 0.225) = 3.08 and 0.1 + 3.6 = 3.7.  A step of
0.4 s on each of 4 ranks with gradients of 1 GB over 10 GB/s (α = 0) adds 2 · 3 · 1/40 = 0.15 s:
efficiency 0.4 / 0.55 = 0.727.  Step times of 1.0, 1.1, 1.2 and 2.0 s have the median 1.15: rank 3
is above 1.5 · 1.15 = 1.725.

Backends.  NCCL moves tensors between GPUs, gloo those of CPUs; MPI where a cluster brings it.  One
group can have both: torch.distributed.init_process_group("cpu:gloo,cuda:nccl").

All functions on `path` are called on every rank of the default group, on a file system that they share.
No function changes its arguments. (`train` trains what `parts` holds.)

Source: Amdahl 1967, "Validity of the single processor approach"; Gustafson 1988, "Reevaluating
Amdahl's law"; PyTorch's documentation of torchrun (elastic launch) and of torch.distributed.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` of rank 0 to `path`, so that at every moment there is the old file or the new one, whole.

    path   its folder exists; nothing is written outside of that folder, which may be a disk of its own
    state  tensors, numbers and text, and dicts, lists and tuples of them; those of other ranks
           aren't looked at

    Returns, on each rank, only when the file is there.
    """
    raise NotImplementedError


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote to `path`, tensors on the CPU; None where there is no such file.

    Raises ValueError, naming the path, where the file, whatever is in it, can't be read as a checkpoint.
    """
    raise NotImplementedError


def train(parts: Mapping[str, Any], step: Callable[[int], float], steps: int, path: Path, every: int) -> list[float]:
    """Do step(0), step(1), … step(steps − 1), or what a checkpoint in `path` leaves to do of it.

    parts   what the training changes, by name: objects with state_dict() and load_state_dict(), such as
            the model and the optimizer, alike on all ranks
    step    does a step and returns its loss
    steps   in all; a checkpoint in `path` has no more
    every   a checkpoint is saved after every so many steps (counted from the beginning of the training,
            not of this call), and after the last

    The checkpoint holds the parts, the losses so far, and every rank's random state of torch on the CPU:
    with it, a run that was killed goes on as if nothing had happened.  Where nothing is left to do,
    no step is done, but the parts and the random state become the checkpoint's all the same.
    Returns this rank's losses of the steps from the last checkpoint on, behind rank 0's of those before
    it: `steps` in all.
    """
    raise NotImplementedError


def stragglers(seconds: float, factor: float = 1.5) -> list[int]:
    """The ranks, in ascending order, that need more than `factor` times the median of all ranks' seconds.

    seconds  this rank's; each rank gives its own, and all get the same answer

    The median of an even number is the mean of the two in the middle.
    """
    raise NotImplementedError


def amdahl(n: int, serial: float) -> float:
    """How many times faster n ranks do the same work, of which the share `serial` can't be divided."""
    raise NotImplementedError


def gustafson(n: int, serial: float) -> float:
    """How many times the work n ranks do in the time of one, of whose time the share `serial` can't be divided."""
    raise NotImplementedError


def efficiency(n: int, compute: float, size: float, latency: float, bandwidth: float) -> float:
    """The share of a data-parallel step in which a rank computes: compute / (compute + ring all-reduce).

    compute    seconds that each rank computes in a step
    size       bytes of the gradients
    latency    seconds a message, bandwidth bytes a second
    """
    raise NotImplementedError


def choose_backend(devices: Iterable[str], available: Iterable[str]) -> str:
    """What to give to init_process_group for tensors on `devices`.

    devices    "cpu", "cuda" or both, in any order
    available  of "gloo", "nccl" and "mpi", those that are there

    For the CPU gloo, else mpi; for CUDA nccl, else gloo, else mpi.  One name for one device, or where both
    devices have the same; else "cpu:…,cuda:…".
    Raises ValueError, naming what is available, where a device has none.
    """
    raise NotImplementedError
