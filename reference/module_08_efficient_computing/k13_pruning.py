"""Pruning: the reference."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def magnitude_mask(w: Tensor, amount: float) -> Tensor:
    return global_masks([w], amount)[0]  # one layer is a list of one


def global_masks(weights: list[Tensor], amount: float) -> list[Tensor]:
    if not 0 <= amount <= 1:
        raise ValueError(f"amount must be from 0 to 1, got {amount}")
    magnitudes = torch.cat([w.abs().flatten() for w in weights])
    # Positions, not a threshold: among equals a threshold takes all or none.
    order = magnitudes.argsort()
    keep = torch.ones_like(magnitudes, dtype=torch.bool)
    keep[order[: round(amount * len(order))]] = False
    parts = keep.split([w.numel() for w in weights])
    return [part.view(w.shape) for part, w in zip(parts, weights, strict=True)]


def structured_mask(w: Tensor, amount: float, dim: int, p: float = 2.0) -> Tensor:
    # Which axes are flattened together, and in which order, changes no norm.
    norms = w.transpose(0, dim).flatten(1).norm(p, dim=1)
    shape = [1] * w.ndim
    shape[dim] = -1
    keep = magnitude_mask(norms, amount).view(shape)
    return torch.ones_like(w, dtype=torch.bool) & keep


def two_of_four_mask(w: Tensor) -> Tensor:
    if w.shape[-1] % 4:
        raise ValueError(f"the last axis must be a multiple of 4, got {w.shape[-1]}")
    groups = w.abs().unflatten(-1, (-1, 4))
    keep = torch.zeros_like(groups, dtype=torch.bool)
    return keep.scatter(-1, groups.topk(2).indices, True).flatten(-2)


def sparsity(step: int, start: int, end: int, initial: float, final: float) -> float:
    left = 1 - (min(max(step, start), end) - start) / (end - start)
    return final + (initial - final) * left**3


def train_masked(
    model: nn.Module,
    masks: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    steps: int,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum, weight_decay=weight_decay)
    _zero_pruned(model, masks)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        # A weight of 0 still has a gradient, and momentum from the steps before.
        _zero_pruned(model, masks)


def lottery_ticket(
    model: nn.Module,
    fit: Callable[[nn.Module, dict[str, Tensor]], None],
    amount: float,
    rounds: int,
) -> dict[str, Tensor]:
    initial = copy.deepcopy(model.state_dict())  # state_dict alone would follow the training
    weights = {name: w for name, w in model.named_parameters() if w.ndim >= 2}
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    fit(model, masks)
    for r in range(1, rounds + 1):
        # What was pruned before is 0 now, the smallest of all, and is pruned again.
        pruned = 1 - (1 - amount) ** (r / rounds)
        masks = dict(zip(weights, global_masks([*weights.values()], pruned), strict=True))
        model.load_state_dict(initial)
        _zero_pruned(model, masks)
        fit(model, masks)
    return masks


@torch.no_grad()
def _zero_pruned(model: nn.Module, masks: dict[str, Tensor]) -> None:
    for name, mask in masks.items():
        model.get_parameter(name).mul_(mask)
