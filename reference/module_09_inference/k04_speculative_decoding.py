"""Speculative decoding: the reference."""

from collections.abc import Callable

import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]


def distribution(logits: Tensor, temperature: float) -> Tensor:
    if temperature < 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    largest, at = logits.max(dim=-1, keepdim=True)
    if temperature == 0:
        return torch.zeros_like(logits).scatter(-1, at, 1.0)
    # The largest is taken off first: a quotient that overflows is then -inf, whose probability is 0.
    return ((logits - largest) / temperature).softmax(dim=-1)


def acceptance(p: Tensor, q: Tensor) -> Tensor:
    # x is drawn with q(x) and kept with min(1, p(x) / q(x)): together min(q(x), p(x)).
    return torch.minimum(p, q).sum(dim=-1)


def residual(p: Tensor, q: Tensor) -> Tensor:
    left = (p - q).clamp(min=0)
    total = left.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, left / total, p)


def expected_tokens(alpha: float, k: int) -> float:
    # The sum that the formula stands for: it has no 0 / 0 at alpha = 1.
    return float(sum(alpha**i for i in range(k + 1)))


def best_draft_length(alpha: float, cost: float, most: int) -> int:
    return max(range(most + 1), key=lambda k: expected_tokens(alpha, k) / (k * cost + 1))


@torch.no_grad()
def propose(model: Model, ids: Tensor, k: int, temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    text, rows = ids, []
    for _ in range(k):
        rows.append(distribution(model(text[None])[0, -1], temperature))
        text = torch.cat([text, torch.multinomial(rows[-1], 1, generator=generator)])
    return text[len(ids) :], torch.stack(rows)


def verify(p: Tensor, q: Tensor, drafts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    chosen = drafts[..., None]
    wanted, given = p[:, :-1].gather(-1, chosen)[..., 0], q.gather(-1, chosen)[..., 0]
    u = torch.rand(drafts.shape, generator=generator, dtype=p.dtype, device=p.device)
    # u < wanted / given, without a quotient.  cumprod turns all behind the first rejection into 0.
    accepted = (u * given < wanted).long().cumprod(dim=1).sum(dim=1)
    # Behind the last place the draft has nothing: q is 0 there, and the residual is p itself.
    q = torch.cat([q, torch.zeros_like(p[:, :1])], dim=1)
    rows = torch.arange(len(p), device=p.device)
    left = residual(p[rows, accepted], q[rows, accepted])
    return accepted, torch.multinomial(left, 1, generator=generator)[:, 0]


@torch.no_grad()
def speculate(
    target: Model,
    draft: Model,
    ids: Tensor,
    new_tokens: int,
    k: int,
    temperature: float,
    generator: torch.Generator,
    stop: int | None = None,
) -> Tensor:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    end = len(ids) + new_tokens
    while len(ids) < end:
        count = min(k, end - len(ids) - 1)
        drafts, q = ids[:0], None
        if count:
            drafts, q = propose(draft, ids, count, temperature, generator)
        p = distribution(target(torch.cat([ids, drafts])[None])[0, len(ids) - 1 :], temperature)
        q = p[:0] if q is None else q
        accepted, following = verify(p[None], q[None], drafts[None], generator)
        new = torch.cat([drafts[: int(accepted)], following])
        stops = (new == stop).nonzero() if stop is not None else []
        if len(stops):
            return torch.cat([ids, new[: int(stops[0]) + 1]])
        ids = torch.cat([ids, new])
    return ids
