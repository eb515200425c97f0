"""Curricula and several losses: the reference."""

from collections.abc import Iterable

import torch
from torch import Generator, Tensor, nn


def difficulty_order(scores: Tensor, kind: str = "easy") -> Tensor:
    if kind not in ("easy", "hard"):
        raise ValueError(f"kind must be easy or hard, got {kind!r}")
    # Stable, so that ties keep their order both ways; reversing the easy order would turn them round.
    return scores.argsort(descending=kind == "hard", stable=True)


def competence(t: int, total: int, start: float = 0.01, power: float = 2.0) -> float:
    begin = start**power
    return min(1.0, (begin + (1 - begin) * t / total) ** (1 / power))


def curriculum_batch(order: Tensor, share: float, size: int, generator: Generator | None = None) -> Tensor:
    allowed = max(1, int(share * len(order)))
    picks = torch.randperm(allowed, generator=generator)[:size]
    return order[picks.to(order.device)]


def image_size(t: int, total: int, stages: int, first: int, last: int, multiple: int = 32) -> int:
    stage = min(t * stages // total, stages - 1)
    if stage == stages - 1:
        return last
    # In integers: i / (stages - 1) would be rounded before it is multiplied.
    size = first + (last - first) * stage // (stages - 1)
    return size // multiple * multiple


class UncertaintyWeighting(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        # The logarithm may have any sign, and its variance is positive by itself.
        self.log_variance = nn.Parameter(torch.zeros(n))

    def forward(self, losses: Tensor) -> Tensor:
        if len(losses) != len(self.log_variance):
            raise ValueError(f"got {len(losses)} losses, expected {len(self.log_variance)}")
        return (torch.exp(-self.log_variance) * losses + self.log_variance).sum() / 2


def pcgrad(gradients: Tensor, generator: Generator | None = None) -> Tensor:
    total = torch.zeros_like(gradients[0])
    for i, g in enumerate(gradients):
        for j in torch.randperm(len(gradients), generator=generator).tolist():
            # The others as they were at first; g as it is by now.
            other = gradients[j]
            dot = g @ other
            if j != i and dot < 0:
                g = g - dot / (other @ other) * other
        total = total + g
    return total


def backward_with_surgery(
    losses: list[Tensor], parameters: Iterable[Tensor], generator: Generator | None = None
) -> None:
    parameters = list(parameters)
    rows = []
    for loss in losses:
        # The losses share a graph, and a task's own head isn't in the graphs of the others.
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(w) if g is None else g for w, g in zip(parameters, found, strict=True)]
        rows.append(torch.cat([g.flatten() for g in parts]))
    combined = pcgrad(torch.stack(rows), generator)
    for w, g in zip(parameters, combined.split([w.numel() for w in parameters]), strict=True):
        w.grad = g.reshape(w.shape)
