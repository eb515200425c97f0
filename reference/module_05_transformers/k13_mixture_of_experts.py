"""A mixture of experts: the reference."""

import math

import torch
from torch import Tensor, nn

from katas.module_05_transformers.k07_feed_forward import GatedFeedForward


def _check(k: int, n_experts: int) -> None:
    if not 1 <= k <= n_experts:
        raise ValueError(f"k must be from 1 to the number of experts, got {k} and {n_experts}")


def route(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    _check(k, logits.shape[1])
    top, experts = logits.topk(k)
    # What is left out of the softmax cancels when the k are scaled to sum to 1.
    return experts, top.softmax(1)


def balance_loss(logits: Tensor, experts: Tensor) -> Tensor:
    n_experts = logits.shape[1]
    counts = torch.bincount(experts.flatten(), minlength=n_experts)
    # The counts have no gradient: the means of the probabilities carry it.
    mean_p = logits.softmax(1).mean(0)
    return n_experts * (counts / len(experts) * mean_p).sum()


def kept_choices(experts: Tensor, capacity: int) -> Tensor:
    # In the order of handing out: all first choices, then all second ones.
    chosen = nn.functional.one_hot(experts.T.flatten())
    place = (chosen.cumsum(0) * chosen).sum(1)  # from 1, among the choices of the same expert
    return (place <= capacity).reshape(experts.T.shape).T


class MixtureOfExperts(nn.Module):
    def __init__(
        self,
        d_model: int,
        d_ff: int,
        n_experts: int,
        k: int,
        capacity_factor: float | None = None,
    ) -> None:
        super().__init__()
        _check(k, n_experts)
        self.k = k
        self.capacity_factor = capacity_factor
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.experts = nn.ModuleList(GatedFeedForward(d_model, d_ff) for _ in range(n_experts))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = x.flatten(0, -2)
        logits = self.router(rows)
        experts, weights = route(logits, self.k)
        kept = torch.ones_like(experts, dtype=torch.bool)
        if self.capacity_factor is not None:
            capacity = math.ceil(self.capacity_factor * self.k * len(rows) / len(self.experts))
            kept = kept_choices(experts, capacity)
        self.dropped = int((~kept).sum())
        # A loop over experts, not tokens: each runs once, on all of its rows, and on no other.
        out = torch.zeros_like(rows)
        for e, expert in enumerate(self.experts):
            token, choice = torch.where((experts == e) & kept)
            if len(token):
                out = out.index_add(0, token, weights[token, choice, None] * expert(rows[token]))
        return out.reshape(x.shape), logits
