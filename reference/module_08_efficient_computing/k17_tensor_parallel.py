"""Tensor parallelism: the reference."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def _sum(x: Tensor) -> Tensor:
    """The sum of all ranks' x, in new memory: an all-reduce works in place, and on contiguous memory only."""
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


class _Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _sum(grad)


class _Reduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _sum(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


def copy_to_ranks(x: Tensor) -> Tensor:
    """f: x forward, the sum of all ranks' gradients backward."""
    return _Copy.apply(x)


def reduce_from_ranks(x: Tensor) -> Tensor:
    """g: the sum of all ranks' x forward, the gradient as it comes backward."""
    return _Reduce.apply(x)


def _part(x: Tensor, dim: int) -> nn.Parameter:
    """This rank's part of a dense parameter; cloned, as a view would keep the whole of it alive."""
    n = dist.get_world_size()
    if x.shape[dim] % n:
        raise ValueError(f"the width must be a multiple of the {n} ranks, but it is {x.shape[dim]}")
    return nn.Parameter(x.chunk(n, dim)[dist.get_rank()].clone())


class ColumnParallelLinear(nn.Module):
    """A Linear of which each rank computes 1/n of the outputs."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = _part(linear.weight, 0)
        self.bias = None if linear.bias is None else _part(linear.bias, 0)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(copy_to_ranks(x), self.weight, self.bias)


class RowParallelLinear(nn.Module):
    """A Linear to which each rank brings 1/n of the inputs."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = _part(linear.weight, 1)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        out = reduce_from_ranks(F.linear(x, self.weight))
        return out if self.bias is None else out + self.bias  # after the sum, so that it counts once


class ParallelMLP(nn.Module):
    """down(GELU(up(x))) with the hidden units split."""

    def __init__(self, up: nn.Linear, down: nn.Linear) -> None:
        super().__init__()
        self.up = ColumnParallelLinear(up)
        self.down = RowParallelLinear(down)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class ParallelAttention(nn.Module):
    """Multi-head self-attention with the heads split."""

    def __init__(
        self, q: nn.Linear, k: nn.Linear, v: nn.Linear, out: nn.Linear, heads: int, causal: bool = False
    ) -> None:
        super().__init__()
        n = dist.get_world_size()
        if heads % n:
            raise ValueError(f"the heads must be a multiple of the {n} ranks, but there are {heads}")
        self.q, self.k, self.v = ColumnParallelLinear(q), ColumnParallelLinear(k), ColumnParallelLinear(v)
        self.out = RowParallelLinear(out)
        self.heads = heads // n
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        x = copy_to_ranks(x)  # once for the three: each by itself would all-reduce its own gradient of x
        q, k, v = (self._split(F.linear(x, part.weight, part.bias)) for part in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(-3, -2).flatten(-2))

    def _split(self, x: Tensor) -> Tensor:
        """(..., t, heads · d_head) as (..., heads, t, d_head)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        peak = logits.amax(-1)
        dist.all_reduce(peak, dist.ReduceOp.MAX)
        shifted = logits - peak[..., None]
        exp = shifted.exp()
        total = _sum(exp.sum(-1))
        # Of a token's target one rank has the logit; the others add 0.
        width = logits.shape[-1]
        place = targets - dist.get_rank() * width
        mine = ((place >= 0) & (place < width)).to(logits.dtype)
        place = place.clamp(0, width - 1)[..., None]
        score = _sum(shifted.gather(-1, place)[..., 0] * mine)
        slope = exp / total[..., None]
        slope.scatter_add_(-1, place, -mine[..., None])
        ctx.save_for_backward(slope / targets.numel())
        return (total.log() - score).mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad, None


def vocab_parallel_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy, from this rank's part of the logits."""
    return _CrossEntropy.apply(logits, targets)
