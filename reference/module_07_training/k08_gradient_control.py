"""Gradient control: the reference."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def _gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [w.grad for w in parameters if w.grad is not None]


def _check_limit(name: str, limit: float) -> None:
    if not limit > 0:
        raise ValueError(f"{name} must be above 0, got {limit}")


def _norm_of(gradients: list[Tensor], order: float) -> Tensor:
    if not gradients:
        return torch.zeros(())
    # In float32 at least: squares of float16 numbers overflow from 256 on.
    norms = [torch.linalg.vector_norm(g, order, dtype=torch.promote_types(g.dtype, torch.float32)) for g in gradients]
    # The norm of the norms is the norm of all numbers, for any order.
    return torch.linalg.vector_norm(torch.stack(norms), order)


@torch.no_grad()
def global_norm(parameters: Iterable[Tensor], order: float = 2.0) -> Tensor:
    return _norm_of(_gradients(parameters), order)


@torch.no_grad()
def clip_norm_(parameters: Iterable[Tensor], limit: float, order: float = 2.0) -> Tensor:
    _check_limit("limit", limit)
    # A list: `parameters` may be a generator, and two walks over it are needed.
    gradients = _gradients(parameters)
    norm = _norm_of(gradients, order)
    if not torch.isfinite(norm):
        raise ValueError(f"the norm of the gradients is {norm.item()}")
    if norm > limit:
        for g in gradients:
            g.mul_(limit / norm)
    return norm


@torch.no_grad()
def clip_value_(parameters: Iterable[Tensor], limit: float) -> None:
    _check_limit("limit", limit)
    for g in _gradients(parameters):
        g.clamp_(-limit, limit)


def _unit_norms(x: Tensor) -> Tensor:
    """The norm of each row, shaped so that it multiplies the rows; of a vector that of all its numbers."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if x.dim() < 2:
        return torch.linalg.vector_norm(x)
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.dim())), keepdim=True)


@torch.no_grad()
def clip_adaptive_(parameters: Iterable[Tensor], ratio: float = 0.01, eps: float = 1e-3) -> None:
    _check_limit("ratio", ratio)
    for w in parameters:
        if w.grad is None:
            continue
        # eps lets weights move that are 0 at the start.
        limits = ratio * _unit_norms(w).clamp(min=eps)
        norms = _unit_norms(w.grad)
        w.grad.copy_(torch.where(norms > limits, w.grad * (limits / norms), w.grad))


def accumulate(
    model: nn.Module,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    parts: list[tuple[Tensor, Tensor]],
    ignore: int = -100,
) -> float:
    for w in model.parameters():
        w.grad = None
    counts = [int((targets != ignore).sum()) for _, targets in parts]
    total = 0.0
    for (inputs, targets), count in zip(parts, counts, strict=True):
        if count == 0:  # its mean would be 0 / 0
            continue
        # Weighted by its own share: the mean of the means would count a small part's samples more.
        loss = loss_fn(model(inputs), targets) * (count / sum(counts))
        loss.backward()
        total += loss.item()
    return total


def noise_scale(gradients: Tensor, size: int) -> tuple[float, float, float]:
    n = len(gradients)
    if n < 2:
        raise ValueError(f"the noise shows only between two gradients or more, got {n}")
    gradients = gradients.double()
    small = gradients.square().sum(1).mean().item()
    big = gradients.mean(0).square().sum().item()
    # E|g|² = |G|² + tr(Σ) / batch, at two sizes of the batch: two equations for two unknowns.
    squared = (n * size * big - size * small) / (n * size - size)
    trace = (small - big) / (1 / size - 1 / (n * size))
    return squared, trace, trace / squared if squared > 0 else math.inf
