"""Collectives on send and receive: the reference."""

import torch
import torch.distributed as dist
from torch import Tensor


def broadcast(x: Tensor, root: int = 0) -> Tensor:
    """The rank `root`'s x on every rank, by a binomial tree."""
    n, rank = dist.get_world_size(), dist.get_rank()
    place = (rank - root) % n  # the tree is drawn with its root at 0
    out = x.clone(memory_format=torch.contiguous_format)
    distance = 1
    while distance < n:
        if place < distance and place + distance < n:
            dist.send(out, (rank + distance) % n)
        elif distance <= place < 2 * distance:
            dist.recv(out, (rank - distance) % n)
        distance *= 2
    return out


def tree_reduce(x: Tensor, root: int = 0) -> Tensor | None:
    """The sum over all ranks on `root`, by a binomial tree."""
    n, rank = dist.get_world_size(), dist.get_rank()
    place = (rank - root) % n
    total = x.clone(memory_format=torch.contiguous_format)
    distance = 1
    while distance < n:
        if place % (2 * distance) == distance:
            dist.send(total, (rank - distance) % n)
            return None  # this branch of the tree has been handed on
        if place + distance < n:
            other = torch.empty_like(total)
            dist.recv(other, (rank + distance) % n)
            total += other
        distance *= 2
    return total


def _pass_on(part: Tensor) -> Tensor:
    """Send `part` to the right neighbour and return what the left one sends."""
    n, rank = dist.get_world_size(), dist.get_rank()
    got = torch.empty_like(part)
    sending = dist.isend(part, (rank + 1) % n)  # started, not waited for: all ranks send at once
    dist.recv(got, (rank - 1) % n)
    sending.wait()
    return got


def reduce_scatter(x: Tensor) -> Tensor:
    """Part r of the sum on rank r, by n − 1 steps around the ring."""
    n, rank = dist.get_world_size(), dist.get_rank()
    if x.shape[0] % n:
        raise ValueError(f"the first axis must be a multiple of the {n} ranks, but its length is {x.shape[0]}")
    parts = x.contiguous().chunk(n)
    # Part r visits the ranks r + 1, r + 2, … and comes home to r complete.
    part = parts[rank - 1]  # an index below 0 counts from the end: the ring closes by itself
    for step in range(2, n + 1):
        part = _pass_on(part) + parts[rank - step]
    return part


def all_gather(x: Tensor) -> Tensor:
    """All ranks' parts in their order, by n − 1 steps around the ring."""
    # What arrives in step s was rank − s's: it goes to that place, not to the end.
    n, rank = dist.get_world_size(), dist.get_rank()
    parts = [x.clone(memory_format=torch.contiguous_format)] * n
    for step in range(1, n):
        parts[rank - step] = _pass_on(parts[rank - step + 1])
    return torch.cat(parts)


def all_reduce(x: Tensor) -> Tensor:
    """The sum on every rank: a reduce-scatter of equal parts, then an all-gather."""
    n = dist.get_world_size()
    flat = x.reshape(-1)
    padded = torch.cat([flat, flat.new_zeros(-flat.numel() % n)])
    return all_gather(reduce_scatter(padded))[: flat.numel()].reshape(x.shape)


def ring_seconds(size: float, n: int, latency: float, bandwidth: float) -> float:
    """Seconds of a ring all-reduce: 2(n − 1) messages of a part each."""
    return 2 * (n - 1) * (latency + size / (n * bandwidth))


def tree_seconds(size: float, n: int, latency: float, bandwidth: float) -> float:
    """Seconds of a tree reduce and a broadcast: 2⌈log₂ n⌉ messages of the whole."""
    rounds = (n - 1).bit_length()  # ⌈log₂ n⌉ in whole numbers
    return 2 * rounds * (latency + size / bandwidth)
