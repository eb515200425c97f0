"""Vector addition, softmax and row sums in Triton: the reference."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _add(x, y, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    total = tl.load(x + at, mask=inside) + tl.load(y + at, mask=inside)
    tl.store(out + at, total, mask=inside)


def add(x: Tensor, y: Tensor, block: int = 1024) -> Tensor:
    """x + y, one program for each `block` numbers."""
    if x.shape != y.shape:
        raise ValueError(f"x and y must have one shape, but they have {tuple(x.shape)} and {tuple(y.shape)}")
    out = x.new_empty(x.shape)  # contiguous, whatever x is
    n = out.numel()
    _add[(triton.cdiv(n, block),)](x.contiguous(), y.contiguous(), out, n, BLOCK=block)
    return out


@triton.jit
def _softmax(x, out, n, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    inside = column < n
    at = tl.program_id(0) * n + column
    values = tl.load(x + at, mask=inside, other=-float("inf"))  # exp gives 0: no part in max or sum
    powers = tl.exp(values - tl.max(values))  # tl.max gives a float32, whatever values are
    tl.store(out + at, powers / tl.sum(powers), mask=inside)


def softmax(x: Tensor) -> Tensor:
    """Softmax along the last axis: a row is one block."""
    out = torch.empty_like(x)
    n = x.shape[-1]
    _softmax[(x.numel() // n,)](x, out, n, BLOCK=triton.next_power_of_2(n))
    return out


@triton.jit
def _row_sum(x, out, row_stride, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    # In float32 whatever x is, and as a block: a sum of lanes in every step would be slower.
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, n, BLOCK):
        column = start + tl.arange(0, BLOCK)
        total += tl.load(x + row * row_stride + column, mask=column < n, other=0.0)
    tl.store(out + row, tl.sum(total))


def row_sum(x: Tensor, block: int = 256) -> Tensor:
    """The sums of the rows, in steps of `block` numbers."""
    out = x.new_empty(x.shape[0], dtype=torch.float32)
    _row_sum[(x.shape[0],)](x, out, x.stride(0), x.shape[1], BLOCK=block)
    return out
