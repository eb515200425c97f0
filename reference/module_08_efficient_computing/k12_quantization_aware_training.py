"""Quantization-aware training: the reference."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _replace(surrogate: Tensor, value: Tensor) -> Tensor:
    """`value`, but differentiated as if it were `surrogate`; the difference is exactly 0."""
    return value.detach() + (surrogate - surrogate.detach())


def fake_quantize(x: Tensor, scale: float, zero_point: int, low: int, high: int) -> Tensor:
    if not low <= zero_point <= high:
        raise ValueError(f"zero_point must lie in {low} … {high}, got {zero_point}")
    codes = torch.round(x / scale) + zero_point
    inside = (low <= codes) & (codes <= high)  # the rounded codes: half a step beyond an end is inside
    value = (codes.clamp(low, high) - zero_point) * scale
    return _replace(x.where(inside, x.detach()), value)


def lsq(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    # The value of step with a gradient of g times as much: g must not reach the forward pass.
    step = _replace(step / math.sqrt(x.numel() * high), step)
    u = x / step
    # clamp would let the gradient pass at exactly low and high.
    u = u.where((low < u) & (u < high), u.detach().clamp(low, high))
    # The product rule gives round(u) from this step and -u from the one inside u.
    return _replace(u, torch.round(u)) * step


def binarize(w: Tensor) -> Tensor:
    others = tuple(range(1, w.ndim))
    scale = w.abs().mean(others, keepdim=True)
    sign = torch.ones_like(w).where(w >= 0, -1)  # torch.sign has a third value at 0
    return scale * _replace(w.where(w.abs() <= 1, w.detach()), sign)


class QATLinear(nn.Module):
    def __init__(self, linear: nn.Linear, bits: int) -> None:
        super().__init__()
        if not 2 <= bits <= 8:
            raise ValueError(f"bits must be from 2 to 8, got {bits}")
        self.low, self.high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        self.weight = nn.Parameter(linear.weight.clone())
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.clone())
        self.step = nn.Parameter(2 * self.weight.abs().mean() / math.sqrt(self.high))

    def codes(self) -> Tensor:
        with torch.no_grad():
            return torch.round(self.weight / self.step).clamp(self.low, self.high).to(torch.int8)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, lsq(self.weight, self.step, self.low, self.high), self.bias)
