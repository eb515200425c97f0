"""Linear attention: the reference."""

import math

import torch
from torch import Tensor

State = tuple[Tensor, Tensor]


def elu_features(x: Tensor) -> Tensor:
    # exp sees nothing above 0: its infinity would put NaN into the gradient, though `where` drops it.
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


def positive_random_features(x: Tensor, projection: Tensor) -> Tensor:
    half = x.square().sum(-1, keepdim=True) / 2
    return (x @ projection.T - half).exp() / math.sqrt(len(projection))


def quadratic_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    scores = q @ k.mT
    if causal:
        if q.shape[-2] != k.shape[-2]:
            raise ValueError(f"causal attention needs as many queries as keys, got {q.shape[-2]} and {k.shape[-2]}")
        scores = scores.tril()
    return scores @ v / scores.sum(-1, keepdim=True)


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    # (q kᵀ) v is q (kᵀ v): the brackets decide between n · m and d · e numbers.
    return q @ (k.mT @ v) / (q @ k.sum(-2)[..., None])


def _zeros(q: Tensor, v: Tensor) -> State:
    return q.new_zeros(*q.shape[:-2], q.shape[-1], v.shape[-1]), q.new_zeros(*q.shape[:-2], q.shape[-1])


def recurrent_attention(q: Tensor, k: Tensor, v: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    memory, total = _zeros(q, v) if state is None else state
    found = []
    for query, key, value in zip(q.unbind(-2), k.unbind(-2), v.unbind(-2), strict=True):
        memory = memory + key[..., :, None] * value[..., None, :]
        total = total + key
        read = (query[..., None, :] @ memory).squeeze(-2)
        found.append(read / (query * total).sum(-1, keepdim=True))
    return torch.stack(found, -2), (memory, total)


def chunked_attention(q: Tensor, k: Tensor, v: Tensor, size: int, state: State | None = None) -> tuple[Tensor, State]:
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    memory, total = _zeros(q, v) if state is None else state
    found = []
    for query, key, value in zip(q.split(size, -2), k.split(size, -2), v.split(size, -2), strict=True):
        # What the chunk sees of itself is a small quadratic form; what lies before it is in the state.
        scores = (query @ key.mT).tril()
        weight = scores.sum(-1, keepdim=True) + query @ total[..., None]
        found.append((scores @ value + query @ memory) / weight)
        memory, total = memory + key.mT @ value, total + key.sum(-2)
    return torch.cat(found, -2), (memory, total)


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
    memory = _zeros(q, v)[0] if memory is None else memory
    found = []
    for query, key, value, rate in zip(q.unbind(-2), k.unbind(-2), v.unbind(-2), beta.unbind(-1), strict=True):
        old = (key[..., None, :] @ memory).squeeze(-2)
        memory = memory + key[..., :, None] * (rate[..., None] * (value - old))[..., None, :]
        found.append((query[..., None, :] @ memory).squeeze(-2))
    return torch.stack(found, -2), memory


def chunked_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, size: int, memory: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    memory = _zeros(q, v)[0] if memory is None else memory
    found = []
    parts = (q.split(size, -2), k.split(size, -2), v.split(size, -2), beta.split(size, -1))
    for query, key, value, rate in zip(*parts, strict=True):
        rate = rate[..., None]
        # (I + A) U = β (V - K S), where A is strictly lower triangular: a solver that takes the diagonal for 1.
        left, right = rate * (key @ key.mT), rate * (value - key @ memory)
        written = torch.linalg.solve_triangular(left, right, upper=False, unitriangular=True)
        found.append(query @ memory + (query @ key.mT).tril() @ written)
        memory = memory + key.mT @ written
    return torch.cat(found, -2), memory
