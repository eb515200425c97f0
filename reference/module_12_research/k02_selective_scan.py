"""Selective scan: the reference."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Elements = tuple[Tensor, ...]
Operation = Callable[[Elements, Elements], Elements]


def combine(first: Elements, second: Elements) -> Elements:
    (a1, b1), (a2, b2) = first, second
    # h → a2 (a1 h + b1) + b2
    return a2 * a1, a2 * b1 + b2


def sequential_scan(a: Tensor, b: Tensor, start: Tensor | None = None) -> Tensor:
    h = torch.zeros_like(b[:, 0]) if start is None else start
    states = []
    for decay, drive in zip(a.unbind(1), b.unbind(1), strict=True):
        h = decay * h + drive
        states.append(h)
    return torch.stack(states, 1)


def hillis_steele_scan(operation: Operation, elements: Elements) -> Elements:
    step = 1
    while step < elements[0].shape[1]:
        # Place t knows the last `step` samples up to t; those of place t - step come before them.
        joined = operation(tuple(x[:, :-step] for x in elements), tuple(x[:, step:] for x in elements))
        elements = tuple(torch.cat([x[:, :step], new], 1) for x, new in zip(elements, joined, strict=True))
        step *= 2
    return elements


def associative_scan(operation: Operation, elements: Elements) -> Elements:
    lengths = {x.shape[1] for x in elements}
    if len(lengths) > 1:
        raise ValueError(f"all elements need the same length, got {sorted(lengths)}")
    if lengths == {1}:
        return elements
    pairs = operation(tuple(x[:, :-1:2] for x in elements), tuple(x[:, 1::2] for x in elements))
    odd = associative_scan(operation, pairs)
    # Prefix 2i is prefix 2i - 1 and sample 2i.  With an even length the last odd prefix has no successor.
    after = tuple(x[:, 2::2] for x in elements)
    even = operation(tuple(x[:, : after[0].shape[1]] for x in odd), after)
    found = []
    for x, at_odd, at_even in zip(elements, odd, even, strict=True):
        whole = torch.empty_like(x)
        whole[:, 0], whole[:, 1::2], whole[:, 2::2] = x[:, 0], at_odd, at_even
        found.append(whole)
    return tuple(found)


def scan_backward(a: Tensor, states: Tensor, upstream: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # g_t = upstream_t + a_{t+1} g_{t+1}: a scan from the end, with each a one place further on.
    decay = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], 1)
    g = associative_scan(combine, (decay.flip(1), upstream.flip(1)))[1].flip(1)
    before = torch.cat([start[:, None], states[:, :-1]], 1)
    return g * before, g, a[:, 0] * g[:, 0]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, start: Tensor) -> Tensor:
        decay, states = associative_scan(combine, (a, b))
        # The first part of each prefix is the product of its a: what is left of the start.
        states = states + decay * start[:, None]
        ctx.save_for_backward(a, states, start)
        return states

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, states, start = ctx.saved_tensors
        return scan_backward(a, states, upstream, start)


def parallel_scan(a: Tensor, b: Tensor, start: Tensor | None = None) -> Tensor:
    return _Scan.apply(a, b, torch.zeros_like(b[:, 0]) if start is None else start)


def selective_discretize(u: Tensor, delta: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return (delta[..., None] * a).exp(), (delta * u)[..., None] * b[:, :, None]


def selective_scan(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    states = parallel_scan(*selective_discretize(u, delta, a, b), start)
    return torch.einsum("bldn,bln->bld", states, c) + d * u, states[:, -1]


class MambaBlock(nn.Module):
    def __init__(self, width: int, states: int = 16, kernel: int = 4, expand: int = 2) -> None:
        super().__init__()
        inner = expand * width
        self.states, self.rank = states, math.ceil(width / 16)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, kernel, groups=inner, padding=kernel - 1)
        self.x_proj = nn.Linear(inner, self.rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        with torch.no_grad():
            delta = torch.empty(inner).uniform_(math.log(0.001), math.log(0.1)).exp()
            # The inverse of softplus.
            self.dt_proj.bias.copy_(delta.expm1().log())

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.in_proj(x).chunk(2, -1)
        # Padding on both sides: the first L outputs are those that see no later sample.
        u = F.silu(self.conv1d(u.mT)[..., : x.shape[1]].mT)
        delta, b, c = self.x_proj(u).split([self.rank, self.states, self.states], -1)
        delta = F.softplus(self.dt_proj(delta))
        y, _ = selective_scan(u, delta, -self.A_log.exp(), b, c, self.D)
        return self.out_proj(y * F.silu(gate))
