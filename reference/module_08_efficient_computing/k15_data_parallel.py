"""Data parallelism: the reference."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@torch.no_grad()
def broadcast_parameters(module: nn.Module, root: int = 0) -> None:
    """The root's parameters and buffers on every rank."""
    # Not state_dict(): that lists tied weights twice, and leaves out buffers that aren't persistent.
    for tensor in [*module.parameters(), *module.buffers()]:
        dist.broadcast(tensor, root)


def make_buckets(parameters: Sequence[Tensor], limit: int) -> list[list[int]]:
    """Indices from the last to the first, `limit` bytes at most together."""
    buckets: list[list[int]] = []
    room = 0
    for index in reversed(range(len(parameters))):
        size = parameters[index].numel() * parameters[index].element_size()
        if not buckets or size > room:
            buckets.append([])
            room = limit
        buckets[-1].append(index)
        room -= size
    return buckets


def loss_factor(examples: int) -> float:
    """What makes the mean over the ranks the mean over all examples."""
    total = torch.tensor(examples)
    dist.all_reduce(total)
    if total == 0:
        raise ValueError(f"the loss needs an example on one rank at least, but all {dist.get_world_size()} have 0")
    return dist.get_world_size() * examples / total.item()


class DataParallel(nn.Module):
    """A model whose gradients are averaged over all ranks while the backward pass runs."""

    def __init__(self, module: nn.Module, bucket_bytes: int = 25 * 2**20) -> None:
        super().__init__()
        self.module = module
        broadcast_parameters(module)
        self._trained = [p for p in module.parameters() if p.requires_grad]
        self.buckets = make_buckets(self._trained, bucket_bytes)
        self._ready: set[int] = set()
        self._started: list[tuple[Tensor, dist.Work]] = []
        self._sends = True
        for index, parameter in enumerate(self._trained):
            parameter.register_post_accumulate_grad_hook(partial(self._arrived, index))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        before, self._sends = self._sends, False
        try:
            yield
        finally:
            self._sends = before  # not True: an outer block may still be open

    def _arrived(self, index: int, parameter: Tensor) -> None:
        if self._sends:
            self._ready.add(index)
            # In the order of the buckets, whichever is ready: the other ranks go by that order, too.
            while len(self._started) < len(self.buckets) and self._ready.issuperset(self._next_bucket()):
                self._start()

    def _next_bucket(self) -> list[int]:
        return self.buckets[len(self._started)]

    def _start(self) -> None:
        """Start the all-reduce of the next bucket."""
        flat = torch.cat([self._trained[index].grad.flatten() for index in self._next_bucket()])
        self._started.append((flat, dist.all_reduce(flat, async_op=True)))

    def synchronize(self) -> None:
        for parameter in self._trained:
            # A rank that used no such layer sends zeros, as the others wait for its part.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        while len(self._started) < len(self.buckets):
            self._start()
        for bucket, (flat, work) in zip(self.buckets, self._started, strict=True):
            work.wait()
            flat /= dist.get_world_size()
            parameters = [self._trained[index] for index in bucket]
            for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                parameter.grad.copy_(part.view_as(parameter))
        self._ready.clear()
        self._started.clear()
