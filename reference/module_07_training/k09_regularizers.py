"""Regularizers for images, sequences and deep networks: the reference."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"p must be from 0 to 1, got {p}")


def _drop(x: Tensor, shape: tuple[int, ...], p: float, generator: Generator | None = None) -> Tensor:
    """x without what a mask of `shape` drops; its axes of size 1 share one decision."""
    if p == 1:  # nothing is kept: the scale 1 / (1 - p) would be infinite
        return x * 0
    keep = torch.rand(shape, device=x.device, generator=generator) >= p
    return x * keep / (1 - p)


def spatial_dropout(x: Tensor, p: float = 0.5, training: bool = True, generator: Generator | None = None) -> Tensor:
    _check_probability(p)
    if not training:
        return x
    return _drop(x, (*x.shape[:2], *[1] * (x.dim() - 2)), p, generator)


def variational_dropout(x: Tensor, p: float = 0.5, training: bool = True, generator: Generator | None = None) -> Tensor:
    _check_probability(p)
    if not training:
        return x
    batch, _, width = x.shape
    return _drop(x, (batch, 1, width), p, generator)


def drop_connect(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    p: float = 0.5,
    training: bool = True,
    generator: Generator | None = None,
) -> Tensor:
    _check_probability(p)
    if training:
        weight = _drop(weight, tuple(weight.shape), p, generator)
    return F.linear(x, weight, bias)


class StochasticDepth(nn.Module):
    def __init__(self, block: nn.Module, p: float) -> None:
        super().__init__()
        _check_probability(p)
        self.block, self.p = block, p

    def forward(self, x: Tensor) -> Tensor:
        change = self.block(x)
        if self.training:
            # One decision a sample, and only about the change: the path of x stays.
            change = _drop(change, (len(x), *[1] * (x.dim() - 1)), self.p)
        return x + change


def depth_rates(n: int, last: float) -> list[float]:
    _check_probability(last)
    return [last * (i + 1) / n for i in range(n)]


def mixup(x: Tensor, y: Tensor, lam: float, order: Tensor) -> tuple[Tensor, Tensor]:
    return lam * x + (1 - lam) * x[order], lam * y + (1 - lam) * y[order]


def cutmix_box(height: int, width: int, lam: float, row: int, column: int) -> tuple[int, int, int, int]:
    # Both sides shrink by √(1 - lam), so that the area is a share of 1 - lam.
    share = math.sqrt(1 - lam)
    up, left = int(height * share / 2), int(width * share / 2)
    return max(row - up, 0), min(row + up, height), max(column - left, 0), min(column + left, width)


def cutmix(x: Tensor, y: Tensor, box: tuple[int, int, int, int], order: Tensor) -> tuple[Tensor, Tensor]:
    top, bottom, left, right = box
    mixed = x.clone()
    mixed[..., top:bottom, left:right] = x[order][..., top:bottom, left:right]
    # The box may have been cut off at the border: its true area counts.
    share = (bottom - top) * (right - left) / (x.shape[-2] * x.shape[-1])
    return mixed, (1 - share) * y + share * y[order]


def mix_batch(x: Tensor, y: Tensor, kind: str = "mixup", alpha: float = 1.0) -> tuple[Tensor, Tensor]:
    if kind not in ("mixup", "cutmix"):
        raise ValueError(f"kind must be mixup or cutmix, got {kind!r}")
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0, got {alpha}")
    lam = torch.distributions.Beta(alpha, alpha).sample().item()
    order = torch.randperm(len(x), device=x.device)
    if kind == "mixup":
        return mixup(x, y, lam, order)
    height, width = x.shape[-2:]
    row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
    return cutmix(x, y, cutmix_box(height, width, lam, row, column), order)
