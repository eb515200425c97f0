"""Fault tolerance: the reference."""

import os
import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Rank 0's state, written beside the old file and then put in its place."""
    if dist.get_rank() == 0:
        part = path.with_name(path.name + ".part")  # in the same folder: a rename across disks would copy
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # the name mustn't reach the disk before what it stands for
        os.replace(part, path)
    dist.barrier()  # nobody gets ahead of what all would come back to


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """What was saved, or None."""
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu")
    except Exception as error:  # what torch.load raises depends on the bytes: KeyError, struct.error, …
        raise ValueError(f"{path} should be a checkpoint, but it can't be read: {error}") from error


def train(parts: Mapping[str, Any], step: Callable[[int], float], steps: int, path: Path, every: int) -> list[float]:
    """Train from the checkpoint on, if there is one."""
    losses: list[float] = []
    if state := load_checkpoint(path):
        losses = state["losses"]
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        torch.set_rng_state(state["random"][dist.get_rank()])
    for number in range(len(losses), steps):
        losses.append(step(number))
        if len(losses) % every == 0 or len(losses) == steps:
            # Ranks are alike but for what they draw next: rank 0 writes everybody's random state.
            mine = torch.get_rng_state()
            random = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
            dist.all_gather(random, mine)
            kept = {name: part.state_dict() for name, part in parts.items()}
            save_checkpoint(path, {"parts": kept, "losses": losses, "random": random})
    return losses


def stragglers(seconds: float, factor: float = 1.5) -> list[int]:
    """The ranks that need more than `factor` times the median."""
    mine = torch.tensor([seconds], dtype=torch.float64)
    every = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(every, mine)
    times = [one.item() for one in every]
    limit = factor * statistics.median(times)
    return [rank for rank, time in enumerate(times) if time > limit]


def amdahl(n: int, serial: float) -> float:
    """Strong scaling."""
    return 1 / (serial + (1 - serial) / n)


def gustafson(n: int, serial: float) -> float:
    """Weak scaling."""
    return serial + (1 - serial) * n


def efficiency(n: int, compute: float, size: float, latency: float, bandwidth: float) -> float:
    """The share of a step in which a rank computes."""
    return compute / (compute + 2 * (n - 1) * (latency + size / (n * bandwidth)))


def choose_backend(devices: Iterable[str], available: Iterable[str]) -> str:
    """The best backend for each device, in the words of init_process_group."""
    wishes = {"cpu": ("gloo", "mpi"), "cuda": ("nccl", "gloo", "mpi")}
    there = sorted(available)
    chosen = {}
    for device in sorted(devices):
        fitting = [backend for backend in wishes[device] if backend in there]
        if not fitting:
            raise ValueError(f"{device} needs one of {', '.join(wishes[device])}, but there is {there or 'none'}")
        chosen[device] = fitting[0]
    if len(set(chosen.values())) == 1:
        return next(iter(chosen.values()))
    return ",".join(f"{device}:{backend}" for device, backend in chosen.items())
