"""Group-relative policy optimization: the reference."""

import torch
from torch import Generator, Tensor, nn


@torch.no_grad()
def sample_group(
    model: nn.Module, prompts: Tensor, group: int, length: int, end: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    tokens = prompts.repeat_interleave(group, 0)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    running = torch.ones(len(tokens), 1, dtype=torch.bool, device=tokens.device)
    for _ in range(length):
        p = model(tokens)[:, -1].softmax(-1)
        drawn = torch.multinomial(p, 1, generator=generator)
        tokens = torch.cat([tokens, drawn.masked_fill(~running, end)], 1)
        # The end token itself is the policy's choice, and so it is learned.
        mask = torch.cat([mask, running], 1)
        running = running & (drawn != end)
    return tokens, mask


def verify(tokens: Tensor, mask: Tensor, answers: list[list[int]], end: int) -> Tensor:
    if len(answers) != len(tokens):
        raise ValueError(f"{len(tokens)} completions, but {len(answers)} answers")
    given = (row[there].tolist() for row, there in zip(tokens, mask, strict=True))
    right = [own == [*answer, end] for own, answer in zip(given, answers, strict=True)]
    return torch.tensor(right, dtype=torch.float32, device=tokens.device)


def token_log_probs(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    # The logits at t are about the token at t + 1.
    scored = mask[:, 1:]
    targets = tokens[:, 1:].masked_fill(~scored, 0).unsqueeze(-1)
    each = logits[:, :-1].log_softmax(-1).gather(-1, targets).squeeze(-1).masked_fill(~scored, 0)
    return torch.cat([torch.zeros_like(logits[:, :1, 0]), each], 1)


def group_advantages(rewards: Tensor, eps: float = 1e-4, whiten: bool = True) -> Tensor:
    centred = rewards - rewards.mean(1, keepdim=True)
    if not whiten:
        return centred
    return centred / (rewards.std(1, correction=0, keepdim=True) + eps)


def leave_one_out(rewards: Tensor) -> Tensor:
    group = rewards.shape[1]
    if group < 2:
        raise ValueError(f"a group needs at least 2 completions, got {group}")
    others = (rewards.sum(1, keepdim=True) - rewards) / (group - 1)
    return rewards - others


def informative(rewards: Tensor) -> Tensor:
    return (rewards != rewards[:, :1]).any(1)


def kl_estimate(policy: Tensor, reference: Tensor, kind: str = "k3") -> Tensor:
    ratio = reference - policy  # log of reference over policy
    if kind == "k1":
        return -ratio
    if kind == "k2":
        return ratio**2 / 2
    if kind == "k3":
        return torch.exp(ratio) - 1 - ratio
    raise ValueError(f"kind must be 'k1', 'k2' or 'k3', got {kind!r}")


def clipped_loss(new: Tensor, old: Tensor, advantages: Tensor, low: float = 0.2, high: float = 0.28) -> Tensor:
    if not 0 < low < 1:
        raise ValueError(f"low must be between 0 and 1, got {low}")
    if not high > 0:
        raise ValueError(f"high must be above 0, got {high}")
    ratio = torch.exp(new - old.detach())
    gain = advantages.detach().unsqueeze(1)
    # The smaller one: clipping takes a reward away, it never hides a loss.
    return -torch.minimum(ratio * gain, ratio.clamp(1 - low, 1 + high) * gain)


def aggregate(values: Tensor, mask: Tensor, how: str = "sequence", longest: int | None = None) -> Tensor:
    totals = values.masked_fill(~mask, 0).sum(1)
    if how == "sequence":
        return (totals / mask.sum(1).clamp(min=1)).mean()
    if how == "token":
        return totals.sum() / mask.sum().clamp(min=1)
    if how == "constant":
        if longest is None:
            raise ValueError("'constant' needs longest")
        return totals.sum() / (len(values) * longest)
    raise ValueError(f"how must be 'sequence', 'token' or 'constant', got {how!r}")


def grpo_loss(
    new: Tensor,
    old: Tensor,
    reference: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
    low: float = 0.2,
    high: float = 0.28,
    beta: float = 0.04,
    how: str = "sequence",
    longest: int | None = None,
) -> Tensor:
    # exp of what stands in the padding may be inf, and inf · 0 is NaN in the gradient.
    new, old = new.masked_fill(~mask, 0), old.masked_fill(~mask, 0)
    losses = clipped_loss(new, old, advantages, low, high)
    if beta != 0:
        if reference is None:
            raise ValueError(f"beta is {beta}: a reference is needed")
        losses = losses + beta * kl_estimate(new, reference.detach().masked_fill(~mask, 0))
    return aggregate(losses, mask, how, longest)
