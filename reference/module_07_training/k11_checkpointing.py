"""Checkpointing: the reference."""

import copy
import hashlib
import io
import json
import math
import os
import random
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def to_safetensors(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    parts, end = [], 0
    for name, tensor in tensors.items():
        # numpy has no bfloat16, so every dtype goes over as bytes; reshape gives a tensor without axes one.
        part = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + len(part)],
        }
        parts.append(part)
        end += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def from_safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    if len(data) < 8:
        raise ValueError(f"a safetensors file has 8 bytes or more, this one has {len(data)}")
    (length,) = struct.unpack("<Q", data[:8])
    if len(data) < 8 + length:
        raise ValueError(f"the header should end at byte {8 + length}, the file ends at {len(data)}")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    body = data[8 + length :]
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if len(body) != end:
        raise ValueError(f"the tensors should take {end} bytes, the file has {len(body)}")
    tensors = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        # torch.tensor copies: what lies over `bytes` can't be written to.
        flat = torch.tensor(np.frombuffer(body[start:stop], np.uint8))
        tensors[name] = flat.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata


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


class WeightAverage:
    def __init__(self, model: nn.Module, decay: float | None = None) -> None:
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"decay must be from 0 to below 1, got {decay}")
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay, self.count = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.count += 1
        # The mean moves by 1/t of the way, and so counts the first weights fully: so does EMA begin.
        share = 1 / self.count if self.decay is None or self.count == 1 else 1 - self.decay
        # parameters(), not state_dict(): that names shared weights twice, and they would move twice.
        for average, new in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(new, share)
        for average, new in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        return {"model": copy.deepcopy(self.model.state_dict()), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])  # copies into the tensors that are there
        self.count = state["count"]


@torch.no_grad()
def update_batch_norm(model: nn.Module, loader: Iterable[Tensor]) -> None:
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean instead of an exponential one
    for batch in loader:
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training
