"""Losses: the reference."""

import torch
from torch import Tensor


def reduce(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def _same_shape(one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape:
        raise ValueError(f"shapes must be equal, got {tuple(one.shape)} and {tuple(other.shape)}")


def _check_classes(targets: Tensor, classes: int) -> None:
    # A negative index would silently count from the end.
    bad = (targets < 0) | (targets >= classes)
    if bad.any():
        raise ValueError(f"target {targets[bad][0].item()} isn't one of the classes 0 to {classes - 1}")


def mse_loss(predictions: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    _same_shape(predictions, targets)
    return reduce((predictions - targets).square(), reduction)


def huber_loss(predictions: Tensor, targets: Tensor, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    _same_shape(predictions, targets)
    size = (predictions - targets).abs()
    # One formula for both cases: with size ≤ δ it is size²/2.  Nothing is squared that is larger than δ.
    inner = size.clamp(max=delta)
    return reduce(inner * (size - inner / 2), reduction)


def log_softmax(logits: Tensor, dim: int = -1) -> Tensor:
    # Any constant may be taken off.  With the largest, e^x is at most 1, and the sum at least 1.
    shifted = logits - logits.amax(dim, keepdim=True)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    classes = logits.shape[1]
    if weight is None:
        weight = logits.new_ones(classes)
    keep = targets != ignore_index
    _check_classes(targets[keep], classes)
    # Any class will do where the target is ignored: a weight of 0 takes it out again.
    safe = targets.where(keep, 0)
    of_example = weight[safe] * keep

    log_p = log_softmax(logits.movedim(1, -1))
    losses = -(1 - label_smoothing) * of_example * log_p.gather(-1, safe[..., None])[..., 0]
    # Not with ε = 0: 0 · -inf, of a class that is ruled out, would be NaN.
    if label_smoothing > 0:
        losses = losses - label_smoothing / classes * keep * (log_p @ weight)
    # 0 · inf isn't 0, so what is ignored is replaced, not multiplied.
    losses = losses.where(keep, 0)
    if reduction == "mean":
        return losses.sum() / of_example.sum()
    return reduce(losses, reduction)


def hinge_loss(logits: Tensor, targets: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    classes = logits.shape[1]
    _check_classes(targets, classes)
    right = targets[:, None]
    short = (margin - logits.gather(1, right) + logits).clamp(min=0)
    # The right class fell short of itself by the margin: it isn't one of the others.
    return reduce(short.scatter(1, right, 0).sum(1) / classes, reduction)


def _minus_log_sigmoid(x: Tensor) -> Tensor:
    # log(1 + e^-x).  logaddexp is stable at both ends, and smooth at 0, where max and abs have kinks.
    return torch.logaddexp(torch.zeros_like(x), -x)


def bce_with_logits(
    logits: Tensor, targets: Tensor, pos_weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    _same_shape(logits, targets)
    positive = targets if pos_weight is None else pos_weight * targets
    losses = positive * _minus_log_sigmoid(logits) + (1 - targets) * _minus_log_sigmoid(-logits)
    return reduce(losses, reduction)


def focal_loss(
    logits: Tensor, targets: Tensor, gamma: float = 2.0, alpha: float | None = 0.25, reduction: str = "mean"
) -> Tensor:
    _same_shape(logits, targets)
    # The logit of the right answer: p_t = σ(signed), and 1 - p_t = σ(-signed).
    signed = (2 * targets - 1) * logits
    # (1 - p_t)^γ through its logarithm: the slope of 0^γ is infinite for γ < 1.
    focus = (-gamma * _minus_log_sigmoid(-signed)).exp()
    losses = focus * _minus_log_sigmoid(signed)
    if alpha is not None:
        losses = losses * (alpha * targets + (1 - alpha) * (1 - targets))
    return reduce(losses, reduction)


def kl_divergence(p: Tensor, log_q: Tensor, reduction: str = "mean") -> Tensor:
    there = p > 0
    # Both factors are made harmless where p is 0, before they meet: 0 · (-inf) is NaN, and so is its gradient.
    log_ratio = p.where(there, 1).log() - log_q.where(there, 0)
    return reduce((p * log_ratio).sum(-1), reduction)


def triplet_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    # vector_norm takes 0 for its slope at 0; the root of a sum of squares has an infinite one there.
    to_positive = torch.linalg.vector_norm(anchor - positive, dim=-1)
    to_negative = torch.linalg.vector_norm(anchor - negative, dim=-1)
    return reduce((to_positive - to_negative + margin).clamp(min=0), reduction)
