"""Memory networks: the reference."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def key_value_read(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = (keys @ query[..., None]).squeeze(-1)
    if mask is not None:
        empty = ~mask.any(-1)
        if empty.any():
            raise ValueError(f"no memory is there in row {empty.long().argmax().item()}")
        scores = scores.masked_fill(~mask, -torch.inf)
    return (scores.softmax(-1)[..., None, :] @ values).squeeze(-2)


class KeyValueMemory(nn.Module):
    def __init__(self, width: int, hops: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(hops))

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        for hop in self.maps:
            query = hop(query + key_value_read(query, keys, values, mask))
        return query


def content_weights(memory: Tensor, key: Tensor, strength: Tensor, eps: float = 1e-6) -> Tensor:
    # torch's norm has the gradient 0 at 0, where the root of a sum of squares has none.
    lengths = memory.norm(dim=-1) * key.norm(dim=-1, keepdim=True)
    cosines = (memory @ key[..., None]).squeeze(-1) / (lengths + eps)
    return (strength[..., None] * cosines).softmax(-1)


def shift(weights: Tensor, kernel: Tensor) -> Tensor:
    width = kernel.shape[-1]
    if width % 2 == 0:
        raise ValueError(f"the kernel needs a middle, got {width} numbers")
    return sum(part[..., None] * weights.roll(j - width // 2, -1) for j, part in enumerate(kernel.unbind(-1)))


def sharpen(weights: Tensor, gamma: Tensor) -> Tensor:
    # Divided by the largest weight first: 0.01 ** 1000 is 0, and all of them would be.
    powers = (weights / weights.amax(-1, keepdim=True)) ** gamma[..., None]
    return powers / powers.sum(-1, keepdim=True)


def read_memory(memory: Tensor, weights: Tensor) -> Tensor:
    return (weights[..., None, :] @ memory).squeeze(-2)


def write_memory(memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    where = weights[..., None]
    return memory * (1 - where * erase[..., None, :]) + where * add[..., None, :]


class Head(nn.Module):
    def __init__(self, hidden: int, width: int, reach: int = 1) -> None:
        super().__init__()
        self.key = nn.Linear(hidden, width)
        self.strength = nn.Linear(hidden, 1)
        self.gate = nn.Linear(hidden, 1)
        self.kernel = nn.Linear(hidden, 2 * reach + 1)
        self.gamma = nn.Linear(hidden, 1)

    def forward(self, h: Tensor, memory: Tensor, previous: Tensor) -> Tensor:
        found = content_weights(memory, self.key(h), F.softplus(self.strength(h)).squeeze(-1))
        gate = self.gate(h).sigmoid()
        weights = gate * found + (1 - gate) * previous
        weights = shift(weights, self.kernel(h).softmax(-1))
        return sharpen(weights, 1 + F.softplus(self.gamma(h)).squeeze(-1))


class NTM(nn.Module):
    def __init__(self, inputs: int, outputs: int, hidden: int, slots: int, width: int) -> None:
        super().__init__()
        self.slots, self.width = slots, width
        self.controller = nn.Linear(inputs + width, hidden)
        self.write_head = Head(hidden, width)
        self.erase = nn.Linear(hidden, width)
        self.add = nn.Linear(hidden, width)
        self.read_head = Head(hidden, width)
        self.output = nn.Linear(hidden + width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        memory = x.new_zeros(len(x), self.slots, self.width)
        read = x.new_zeros(len(x), self.width)
        writing = x.new_zeros(len(x), self.slots)
        writing[:, -1] = 1
        reading = writing
        found = []
        for now in x.unbind(1):
            h = self.controller(torch.cat([now, read], -1)).tanh()
            writing = self.write_head(h, memory, writing)
            memory = write_memory(memory, writing, self.erase(h).sigmoid(), self.add(h))
            reading = self.read_head(h, memory, reading)
            read = read_memory(memory, reading)
            found.append(self.output(torch.cat([h, read], -1)))
        return torch.stack(found, 1)
