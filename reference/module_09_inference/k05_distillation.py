"""Knowledge distillation: the reference."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Model = Callable[[Tensor], Tensor]


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) along the last axis."""
    # Where p is 0 the difference is -∞, and 0 · -∞ would be NaN.
    return torch.where(log_p == -torch.inf, 0.0, log_p.exp() * (log_p - log_q)).sum(dim=-1)


def _mean(values: Tensor) -> Tensor:
    """The mean, and 0 of nothing."""
    return values.sum() / max(values.numel(), 1)


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    if student.shape != teacher.shape:
        raise ValueError(f"the student's logits are {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}")
    if temperature <= 0:
        raise ValueError(f"the temperature must be above 0, got {temperature}")
    log_p = (teacher.detach() / temperature).log_softmax(dim=-1)
    log_q = (student / temperature).log_softmax(dim=-1)
    # The gradient shrinks as 1/T²; T² makes up for that, so that T doesn't change the weight of this loss.
    return temperature**2 * _kl(log_p, log_q).mean()


def combined_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float = 2.0, alpha: float = 0.5
) -> Tensor:
    soft = distillation_loss(student, teacher, temperature)
    labelled = labels >= 0
    if not labelled.any():  # the mean of no rows would be NaN
        return alpha * soft
    # The labels are right or wrong: no temperature here.
    return alpha * soft + (1 - alpha) * cross_entropy(student[labelled], labels[labelled])


def match_layers(student: int, teacher: int) -> list[tuple[int, int]]:
    if not 1 <= student <= teacher:
        raise ValueError(f"can't match {student} layers of a student to {teacher} of a teacher")
    return [(i, (i + 1) * teacher // student - 1) for i in range(student)]


class HiddenStateLoss(nn.Module):
    def __init__(self, student_width: int, teacher_width: int, pairs: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.pairs = list(pairs)
        self.projections = nn.ModuleList(nn.Linear(student_width, teacher_width, bias=False) for _ in self.pairs)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        losses = []
        for (i, j), project in zip(self.pairs, self.projections, strict=True):
            mine, theirs = student[i], teacher[j].detach()
            if mask is not None:  # selected before anything is computed: 0 · NaN would be NaN in the gradient
                mine, theirs = mine[mask], theirs[mask]
            losses.append(_mean((project(mine) - theirs).square()))
        return torch.stack(losses).mean()


def generalized_js(student: Tensor, teacher: Tensor, beta: float = 0.5, mask: Tensor | None = None) -> Tensor:
    if not 0 <= beta <= 1:
        raise ValueError(f"beta must be from 0 to 1, got {beta}")
    if mask is not None:
        student, teacher = student[mask], teacher[mask]
    log_p, log_q = teacher.detach().log_softmax(dim=-1), student.log_softmax(dim=-1)
    if beta == 0:
        apart = _kl(log_p, log_q)
    elif beta == 1:
        apart = _kl(log_q, log_p)
    else:
        weights = torch.tensor([beta, 1 - beta], dtype=log_q.dtype, device=log_q.device).log()
        log_m = torch.logaddexp(log_p + weights[0], log_q + weights[1])
        apart = beta * _kl(log_p, log_m) + (1 - beta) * _kl(log_q, log_m)
    return _mean(apart)


@torch.no_grad()
def sample(model: Model, prompts: Tensor, new_tokens: int, generator: torch.Generator | None = None) -> Tensor:
    ids = prompts
    for _ in range(new_tokens):
        chances = model(ids)[:, -1].softmax(dim=-1)
        ids = torch.cat([ids, torch.multinomial(chances, 1, generator=generator)], dim=1)
    return ids


def on_policy_loss(
    student: Model,
    teacher: Model,
    prompts: Tensor,
    new_tokens: int,
    beta: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    ids = sample(student, prompts, new_tokens, generator)
    with torch.no_grad():
        theirs = teacher(ids)
    # The logits at position i are for token i + 1: those of the new tokens begin one place before them.
    new = slice(prompts.shape[1] - 1, -1)
    return generalized_js(student(ids)[:, new], theirs[:, new], beta)


def distill(
    student: nn.Module,
    x: Tensor,
    labels: Tensor,
    teacher: Tensor | None = None,
    steps: int = 150,
    lr: float = 0.01,
    temperature: float = 4.0,
    alpha: float = 0.9,
) -> list[float]:
    optimizer = torch.optim.Adam(student.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        logits = student(x)
        if teacher is None:
            loss = cross_entropy(logits, labels)
        else:
            loss = combined_loss(logits, teacher, labels, temperature, alpha)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
