"""Reward modelling: the reference."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bradley_terry_loss(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    # logsigmoid, as log(sigmoid(x)) is -inf for a very negative x.
    return -F.logsigmoid(chosen - rejected - margin)


def ranking_loss(rewards: Tensor, ranks: Tensor) -> Tensor:
    there = ranks >= 0
    # pairs[i, a, b]: completion a of prompt i is better than b.
    better = ranks.unsqueeze(2) < ranks.unsqueeze(1)
    pairs = better & there.unsqueeze(2)  # b's rank is higher: if a is there, so is b
    count = pairs.sum((1, 2))
    if not count.any():
        raise ValueError("no prompt has a pair of completions with different ranks")
    known = rewards.masked_fill(~there, 0)
    losses = -F.logsigmoid(known.unsqueeze(2) - known.unsqueeze(1))
    # Each prompt weighs the same: K completions give up to K(K-1)/2 pairs, which aren't independent.
    some = count > 0
    return (losses.masked_fill(~pairs, 0).sum((1, 2))[some] / count[some]).mean()


class RewardModel(nn.Module):
    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        # Only differences of rewards count, so a bias would never be learned.
        self.head = nn.Linear(width, 1, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        empty = ~mask.any(1)
        if empty.any():
            raise ValueError(f"row {empty.nonzero()[0].item()} has no real token")
        hidden = self.backbone(tokens)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        last = places.where(mask, -1).amax(1)
        rows = torch.arange(len(tokens), device=tokens.device)
        return self.head(hidden[rows, last]).squeeze(-1)


def fit_reward(chosen: Tensor, rejected: Tensor, l2: float) -> Tensor:
    if not l2 > 0:
        raise ValueError(f"l2 must be above 0, got {l2}")
    x = chosen - rejected
    w = torch.zeros_like(x[0])
    eye = torch.eye(len(w), dtype=x.dtype, device=x.device)

    def objective(w: Tensor) -> Tensor:
        return -F.logsigmoid(x @ w).sum() + l2 / 2 * (w @ w)

    for _ in range(100):
        p = torch.sigmoid(-(x @ w))  # how far each pair is from being sure
        gradient = l2 * w - x.T @ p
        if gradient.norm() < 1e-11 * (1 + len(x)):
            break
        hessian = x.T @ (x * (p * (1 - p)).unsqueeze(1)) + l2 * eye
        step = torch.linalg.solve(hessian, gradient)
        # A full Newton step may go too far where the sigmoid is flat.
        size, before = 1.0, objective(w)
        while size > 1e-8 and objective(w - size * step) > before:
            size /= 2
        w = w - size * step
    return w


def ranking_accuracy(chosen: Tensor, rejected: Tensor) -> float:
    return _right(chosen, rejected).mean().item()


def calibration_error(chosen: Tensor, rejected: Tensor, bins: int) -> float:
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    right = _right(chosen, rejected)
    confidence = torch.sigmoid((chosen - rejected).double().abs())
    place = ((confidence - 0.5) * 2 * bins).long().clamp(max=bins - 1)
    error = 0.0
    for k in range(bins):
        inside = place == k
        # Its share times its gap: |Σ confidence - Σ right| / n, which is 0 for an empty bin.
        error += abs((confidence[inside] - right[inside]).sum().item()) / len(right)
    return error


def fit_temperature(chosen: Tensor, rejected: Tensor) -> float:
    d = (chosen - rejected).double()
    if not d.mean() > 0:
        raise ValueError(f"the mean of chosen - rejected must be above 0, got {d.mean().item()}")
    if not (d < 0).any():
        raise ValueError("no pair is wrong: the temperature would go to 0")

    # The loss is convex in b = 1/T.  Its slope is below 0 at b = 0 and above 0 in the end.
    def slope(b: float) -> float:
        return -(d * torch.sigmoid(-b * d)).mean().item()

    low, high = 0.0, 1.0
    while slope(high) < 0:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high)


def length_report(
    chosen: Tensor, rejected: Tensor, chosen_lengths: Tensor, rejected_lengths: Tensor
) -> dict[str, float]:
    right = _right(chosen, rejected)
    rewards = (chosen - rejected).double()
    lengths = (chosen_lengths - rejected_lengths).double()
    return {
        "longer": right[lengths > 0].mean().item(),
        "shorter": right[lengths < 0].mean().item(),
        "correlation": _correlation(rewards, lengths),
    }


def remove_length(rewards: Tensor, lengths: Tensor) -> Tensor:
    centred = lengths.to(rewards.dtype) - lengths.to(rewards.dtype).mean()
    spread = (centred**2).sum()
    if not spread > 0:
        return rewards.clone()
    slope = (centred * (rewards - rewards.mean())).sum() / spread
    return rewards - slope * centred


def _right(chosen: Tensor, rejected: Tensor) -> Tensor:
    """1 where the chosen one has the higher reward, 0 where the rejected one has, 0.5 at a tie."""
    return (torch.sign(chosen - rejected) + 1) / 2


def _correlation(x: Tensor, y: Tensor) -> float:
    if (x == x[0]).all() or (y == y[0]).all():
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    return ((x @ y) / (x.norm() * y.norm())).item()
