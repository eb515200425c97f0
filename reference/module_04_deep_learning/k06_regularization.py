"""Regularization: the reference."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Generator, Tensor, nn


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"p must be from 0 to 1, got {p}")


def dropout(x: Tensor, p: float = 0.5, training: bool = True, generator: Generator | None = None) -> Tensor:
    _check_probability(p)
    if not training:
        return x
    if p == 1:  # nothing is kept: the scale 1 / (1 - p) would be infinite
        return x * 0
    # rand is below 1 and may be 0, so that p = 0 keeps everything.
    keep = torch.rand(x.shape, device=x.device, generator=generator) >= p
    return x * keep / (1 - p)


class Dropout(nn.Module):
    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        _check_probability(p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)


def smooth_labels(targets: Tensor, classes: int, epsilon: float) -> Tensor:
    smooth = torch.full((*targets.shape, classes), epsilon / classes, device=targets.device)
    return smooth.scatter(-1, targets[..., None], 1 - epsilon + epsilon / classes)


@torch.no_grad()
def max_norm_(weight: Tensor, limit: float) -> None:
    if not limit > 0:
        raise ValueError(f"limit must be above 0, got {limit}")
    norms = torch.linalg.vector_norm(weight.flatten(1) if weight.dim() > 1 else weight[:, None], dim=1)
    norms = norms.reshape(-1, *[1] * (weight.dim() - 1))
    # Only where a row is too long: w · c / c could differ from w in the last bit, and 0 / 0 is NaN.
    weight.copy_(torch.where(norms > limit, weight * (limit / norms), weight))


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    # parameters() yields a shared one once.
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.dim() >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.dim() < 2], "weight_decay": 0.0},
    ]


class Adam:
    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        l2: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = list(parameters)
        self.lr, self.betas, self.eps = lr, betas, eps
        self.l2, self.weight_decay = l2, weight_decay
        self.steps = [0] * len(self.parameters)
        self.moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        beta1, beta2 = self.betas
        for i, w in enumerate(self.parameters):
            if w.grad is None:
                continue
            # A new tensor: += would change the caller's .grad.
            g = w.grad + self.l2 * w
            self.steps[i] += 1
            m, v = self.moments[i]
            m.mul_(beta1).add_((1 - beta1) * g)
            v.mul_(beta2).add_((1 - beta2) * g * g)
            # m and v start at 0 and are too small at first; dividing by 1 - βᵗ corrects that.
            m_hat = m / (1 - beta1 ** self.steps[i])
            v_hat = v / (1 - beta2 ** self.steps[i])
            # Decay never meets m and v: it takes the same share of every weight.
            w.mul_(1 - self.lr * self.weight_decay)
            w.sub_(self.lr * m_hat / (v_hat.sqrt() + self.eps))


class EarlyStopping:
    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise ValueError(f"patience must be 1 or more, got {patience}")
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_epoch = math.inf, -1
        self.epoch = -1

    def update(self, loss: float) -> bool:
        self.epoch += 1
        # Written so that a NaN, for which every comparison is False, is no improvement.
        if loss < self.best - self.min_delta:
            self.best, self.best_epoch = loss, self.epoch
        return self.epoch - self.best_epoch >= self.patience
