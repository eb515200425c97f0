"""Checkpointing: the reference."""

import copy
import hashlib
import io
import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def atomic_write(path: Path, data: bytes) -> None:
    path = Path(path)
    part = path.with_name(path.name + ".part")  # in the same folder: a rename across disks would be a copy
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()  # from Python's buffer to the system's, and from there to the disk
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def rng_state() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, [int(key) for key in keys], *rest),  # torch.load refuses numpy's arrays
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


class Shuffler:
    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n, self.batch_size = n, batch_size
        self.generator = torch.Generator().manual_seed(seed)
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        # From the generator's state before the draw, this order and all later ones can be drawn again.
        self.before = self.generator.get_state()
        self.order = torch.randperm(self.n, generator=self.generator).tolist()
        self.position = 0

    def next_batch(self) -> list[int]:
        if self.position >= self.n:
            self._begin_epoch()
        batch = self.order[self.position : self.position + self.batch_size]
        self.position += len(batch)
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"n": self.n, "before": self.before, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["n"] != self.n:
            raise ValueError(f"the state is that of {state['n']} rows, there are {self.n} now")
        self.generator.set_state(state["before"])
        self._begin_epoch()
        self.position = state["position"]


def capture(model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler, shuffler: Shuffler) -> dict[str, Any]:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "shuffler": shuffler.state_dict(),
        "rng": rng_state(),
    }
    return copy.deepcopy(state)  # a state_dict holds the very tensors that the next step changes


def restore(
    state: dict[str, Any], model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler, shuffler: Shuffler
) -> None:
    state = copy.deepcopy(state)  # an optimizer keeps the tensors that it loads
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    shuffler.load_state_dict(state["shuffler"])
    set_rng_state(state["rng"])  # last, in case anything above draws


class Checkpoints:
    def __init__(self, folder: Path, keep: int) -> None:
        if keep < 1:
            raise ValueError(f"keep must be 1 or more, got {keep}")
        self.folder, self.keep = Path(folder), keep
        self.folder.mkdir(parents=True, exist_ok=True)

    def _found(self) -> Iterator[tuple[int, float, Path]]:
        # Step and loss stand in the name, so that a listing says all, and no second file can disagree.
        for path in self.folder.glob("step_*_loss_*.ckpt"):
            _, step, _, loss = path.stem.split("_")
            yield int(step), float(loss), path

    def _ranked(self) -> list[tuple[int, float, Path]]:
        """The best first."""
        return sorted(self._found(), key=lambda one: (math.isnan(one[1]), one[1], -one[0]))

    def save(self, step: int, loss: float, state: dict[str, Any]) -> Path:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        path = self.folder / f"step_{step}_loss_{float(loss)!r}.ckpt"
        atomic_write(path, hashlib.sha256(data).digest() + data)
        # Only now: until here a crash leaves all that there was.
        for other_step, _, other in list(self._found()):
            if other_step == step and other != path:
                other.unlink()
        for other_step, _, other in self._ranked()[self.keep :]:
            if other_step != step:
                other.unlink()
        return path

    def steps(self) -> list[int]:
        return sorted(step for step, _, _ in self._found())

    def _first_good(self, found: list[tuple[int, float, Path]]) -> tuple[int, dict[str, Any]] | None:
        for step, _, path in found:
            content = path.read_bytes()
            digest, data = content[:32], content[32:]
            if hashlib.sha256(data).digest() == digest:
                return step, torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return None

    def load_latest(self) -> tuple[int, dict[str, Any]] | None:
        return self._first_good(sorted(self._found(), key=lambda one: one[0], reverse=True))

    def load_best(self) -> tuple[int, dict[str, Any]] | None:
        return self._first_good(self._ranked())
