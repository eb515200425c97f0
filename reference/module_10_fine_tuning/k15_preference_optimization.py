"""Preference optimization: the reference."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pair_batch(
    prompts: list[list[int]], chosen: list[list[int]], rejected: list[list[int]], pad: int
) -> tuple[Tensor, Tensor]:
    if not len(prompts) == len(chosen) == len(rejected):
        raise ValueError(f"{len(prompts)} prompts, but {len(chosen)} chosen and {len(rejected)} rejected completions")
    if not prompts:
        raise ValueError("there are no pairs")
    for i, parts in enumerate(zip(prompts, chosen, rejected, strict=True)):
        if not all(parts):
            raise ValueError(f"pair {i} has an empty prompt or completion")
    rows = [(prompt, answer) for answers in (chosen, rejected) for prompt, answer in zip(prompts, answers, strict=True)]
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    tokens = torch.full((len(rows), length), pad, dtype=torch.long)
    # By place, not by value: the pad token is often a real one, too.
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for i, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        tokens[i, :end] = torch.tensor([*prompt, *answer])
        mask[i, len(prompt) : end] = True
    return tokens, mask


def completion_log_probs(logits: Tensor, tokens: Tensor, mask: Tensor, average: bool = False) -> Tensor:
    # The logits at t are about the token at t + 1.
    scored = mask[:, 1:]
    targets = tokens[:, 1:].masked_fill(~scored, 0)  # -100 can't be gathered
    each = logits[:, :-1].log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    total = each.masked_fill(~scored, 0).sum(-1)
    return total / scored.sum(-1).clamp(min=1) if average else total


def frozen_reference(policy: nn.Module) -> nn.Module:
    # A copy, or it would move along; in eval mode, or its dropout would be noise in every loss.
    return copy.deepcopy(policy).eval().requires_grad_(False)


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    smoothing: float = 0.0,
) -> Tensor:
    _above_0("beta", beta)
    if not 0 <= smoothing < 0.5:
        raise ValueError(f"smoothing must be from 0 to below 0.5, got {smoothing}")
    h = (policy_chosen - reference_chosen.detach()) - (policy_rejected - reference_rejected.detach())
    # logsigmoid, as log(sigmoid(x)) is -inf for x below -750 or so.
    return -(1 - smoothing) * F.logsigmoid(beta * h) - smoothing * F.logsigmoid(-beta * h)


def ipo_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, tau: float
) -> Tensor:
    _above_0("tau", tau)
    h = (policy_chosen - reference_chosen.detach()) - (policy_rejected - reference_rejected.detach())
    return (h - 1 / (2 * tau)) ** 2


def kto_baseline(policy: Tensor, reference: Tensor) -> Tensor:
    # The estimate may come out below 0, which a KL never is.
    return (policy - reference).detach().mean().clamp(min=0)


def kto_loss(
    policy: Tensor,
    reference: Tensor,
    desirable: Tensor,
    baseline: Tensor,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    _above_0("beta", beta)
    above = beta * (policy - reference.detach() - baseline.detach())
    # 1 - σ(x) = σ(-x), which keeps its digits for large x.
    good = desirable_weight * torch.sigmoid(-above)
    bad = undesirable_weight * torch.sigmoid(above)
    return torch.where(desirable, good, bad)


def _log_odds(log_p: Tensor) -> Tensor:
    # log(1 - p) by expm1: 1 - exp(log_p) loses all digits as p nears 1.
    return log_p - torch.log(-torch.expm1(log_p))


def orpo_loss(chosen: Tensor, rejected: Tensor, weight: float) -> Tensor:
    return -chosen - weight * F.logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def simpo_loss(chosen: Tensor, rejected: Tensor, beta: float, gamma: float) -> Tensor:
    _above_0("beta", beta)
    return -F.logsigmoid(beta * (chosen - rejected) - gamma)


def preference_metrics(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, beta: float
) -> dict[str, float]:
    _above_0("beta", beta)
    chosen = beta * (policy_chosen - reference_chosen)
    rejected = beta * (policy_rejected - reference_rejected)
    return {
        "chosen": chosen.mean().item(),
        "rejected": rejected.mean().item(),
        "margin": (chosen - rejected).mean().item(),
        "accuracy": (chosen > rejected).double().mean().item(),
    }


def _above_0(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0, got {value}")
