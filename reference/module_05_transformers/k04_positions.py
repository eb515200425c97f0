"""Positions: the reference."""

import math

import torch
from torch import Tensor, nn


def sinusoidal(positions: Tensor, d: int, base: float = 10000.0) -> Tensor:
    if d % 2:
        raise ValueError(f"sines and cosines come in pairs: d must be even, got {d}")
    omega = base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    # In float64: float32 numbers near 100,000 lie 0.008 apart.
    angles = torch.outer(positions, omega.to(positions.device))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class LearnedPositions(nn.Module):
    def __init__(self, max_length: int, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(max_length, d) * 0.02)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        # Checked here: a slice past the end is silently shorter, and a slice of one row would broadcast.
        end = start + x.shape[-2]
        if end > len(self.weight):
            raise ValueError(f"{end} positions are needed, only {len(self.weight)} were trained")
        return x + self.weight[start:end]


def relative_buckets(
    query_positions: Tensor,
    key_positions: Tensor,
    buckets: int = 32,
    max_distance: int = 128,
    bidirectional: bool = True,
) -> Tensor:
    # As int64: a difference of uint8 wraps around.
    gap = key_positions.long() - query_positions.long()[:, None]
    if bidirectional:
        side = buckets // 2
        first = (gap > 0) * side
        distance = gap.abs()
    else:
        side = buckets
        first = 0
        distance = (-gap).clamp(min=0)
    exact = side // 2
    # Near distances are clamped before the logarithm: log(0) has no integer part.
    ratio = torch.log(distance.clamp(min=exact) / exact) / math.log(max_distance / exact)
    far = (exact + (ratio * (side - exact)).long()).clamp(max=side - 1)
    return first + distance.where(distance < exact, far)


def alibi_slopes(heads: int) -> Tensor:
    power = 2 ** int(math.log2(heads))
    slopes = 2.0 ** (-8 * torch.arange(1, power + 1, dtype=torch.float64) / power)
    if power == heads:
        return slopes
    between = alibi_slopes(2 * power)[::2]
    return torch.cat([slopes, between[: heads - power]])


def alibi_bias(heads: int, query_positions: Tensor, key_positions: Tensor) -> Tensor:
    distance = (query_positions.long()[:, None] - key_positions.long()).abs()
    slopes = alibi_slopes(heads).to(distance.device)
    return -slopes[:, None, None] * distance
