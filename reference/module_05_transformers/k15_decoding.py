"""Decoding: the reference."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor


def top_k(logits: Tensor, k: int) -> Tensor:
    k = min(k, logits.shape[-1])
    least = logits.topk(k).values[..., -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    ranked, order = logits.sort(descending=True)
    probs = ranked.softmax(-1)
    # The token that carries the mass past p stays, so only the mass of the more likely ones counts.
    before = probs.cumsum(-1) - probs
    drop = (before >= p).gather(-1, order.argsort(-1))  # back from ranks to tokens
    return logits.masked_fill(drop, -torch.inf)


def min_p(logits: Tensor, p: float) -> Tensor:
    probs = logits.softmax(-1)
    return logits.masked_fill(probs < p * probs.amax(-1, keepdim=True), -torch.inf)


def penalize_repetition(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    # Dividing a negative logit would make its token more likely.
    seen = logits.gather(-1, ids)
    return logits.scatter(-1, ids, torch.where(seen > 0, seen / penalty, seen * penalty))


def sample(logits: Tensor, temperature: float = 1.0, generator: Generator | None = None) -> Tensor:
    if temperature < 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    if temperature == 0:
        return logits.argmax(-1)
    # The largest is taken off first: a quotient that overflows is then -inf, whose probability is 0.
    probs = ((logits - logits.amax(-1, keepdim=True)) / temperature).softmax(-1)
    rows = probs.reshape(-1, logits.shape[-1])
    return torch.multinomial(rows, 1, generator=generator).reshape(logits.shape[:-1])


@torch.no_grad()
def generate(
    model: Callable[[Tensor], Tensor],
    ids: list[int],
    new_tokens: int,
    choose: Callable[[Tensor, Tensor], Tensor] | None = None,
    stop: list[list[int]] | None = None,
) -> list[int]:
    new: list[int] = []
    for _ in range(new_tokens):
        row = torch.tensor([ids + new])
        logits = model(row)[:, -1]
        token = logits.argmax(1) if choose is None else choose(logits, row)
        new.append(token.item())
        ends = [len(s) for s in stop or [] if new[-len(s) :] == s]
        if ends:
            return new[: -max(ends)]
    return new


@torch.no_grad()
def beam_search(
    model: Callable[[Tensor], Tensor],
    ids: list[int],
    new_tokens: int,
    beams: int,
    eos: int,
    length_penalty: float = 1.0,
) -> tuple[list[int], float]:
    live, totals = torch.tensor([ids]), torch.zeros(1)
    finished: list[tuple[list[int], float]] = []

    def set_aside(which: Tensor) -> None:
        for row, total in zip(live[which].tolist(), totals[which].tolist(), strict=True):
            new = row[len(ids) :]
            finished.append((new, total / len(new) ** length_penalty))

    for _ in range(new_tokens):
        # Every extension of every live beam, (live, V), as one flat list.
        extended = totals[:, None] + model(live)[:, -1].log_softmax(1)
        totals, best = extended.flatten().topk(min(beams, extended.numel()))
        beam, token = best // extended.shape[1], best % extended.shape[1]
        live = torch.cat([live[beam], token[:, None]], dim=1)
        done = token == eos
        set_aside(done)
        live, totals = live[~done], totals[~done]
        if len(live) == 0:
            break
    set_aside(torch.ones(len(live), dtype=torch.bool))
    return max(finished, key=lambda text: text[1])
