"""Activation checkpointing and load balancing: the reference."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class _Checkpoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], anchor: Tensor, *args: Any) -> Any:
        ctx.function, ctx.rng = function, torch.get_rng_state()
        # Tensors go through save_for_backward, which notices changes in place; the rest is kept as it is.
        ctx.rest = [None if isinstance(a, Tensor) else a for a in args]
        ctx.is_tensor = [isinstance(a, Tensor) for a in args]
        ctx.save_for_backward(*(a for a in args if isinstance(a, Tensor)))
        return function(*args)  # a Function's forward runs without a graph

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # Detached: the graph of the recomputation must end here.
        saved = iter([x.detach().requires_grad_(x.requires_grad) for x in ctx.saved_tensors])
        args = [next(saved) if tensor else a for tensor, a in zip(ctx.is_tensor, ctx.rest, strict=True)]
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.set_rng_state(ctx.rng)
            out = ctx.function(*args)
        out = (out,) if isinstance(out, Tensor) else out
        pairs = [(y, g) for y, g in zip(out, grads, strict=True) if y.requires_grad]
        if pairs:
            torch.autograd.backward(*zip(*pairs, strict=True))
        return None, None, *(a.grad if isinstance(a, Tensor) else None for a in args)


def checkpoint(function: Callable[..., Any], *args: Any) -> Tensor | tuple[Tensor, ...]:
    # The parameters inside `function` are no arguments: without the anchor, autograd would see nothing
    # to differentiate where no argument requires a gradient, and would never call backward.
    return _Checkpoint.apply(function, torch.empty(0, requires_grad=True), *args)


def _run(layers: Sequence[Callable[[Tensor], Tensor]], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def checkpoint_sequential(layers: Sequence[Callable[[Tensor], Tensor]], x: Tensor, segments: int) -> Tensor:
    n = len(layers)
    if not 1 <= segments <= n:
        raise ValueError(f"segments must lie between 1 and the number of layers, {n}, got {segments}")
    for i in range(segments):
        x = checkpoint(_run, layers[n * i // segments : n * (i + 1) // segments], x)
    return x


def best_segments(n: int) -> int:
    # With s = ⌊√n⌋, s + ⌈n/s⌉ is 2s, 2s + 1 or 2s + 2 as n ≤ s², ≤ s² + s or more: each is ⌈2√n⌉.
    return math.isqrt(n)


def choose_recompute(sizes: Sequence[int], seconds: Sequence[float], budget: int) -> list[int]:
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}  # bytes kept: least extra time, layers
    for layer, size in enumerate(sizes):
        grown = {kept: (time + seconds[layer], [*chosen, layer]) for kept, (time, chosen) in best.items()}
        for kept, choice in best.items():
            if kept + size <= budget and choice < grown.get(kept + size, (math.inf,)):
                grown[kept + size] = choice
        best = grown
    return min(best.values())[1]


def partition(costs: Sequence[float], workers: int) -> list[list[int]]:
    parts: list[list[int]] = [[] for _ in range(workers)]
    loads = [0.0] * workers
    for job in sorted(range(len(costs)), key=lambda j: -costs[j]):
        worker = loads.index(min(loads))
        parts[worker].append(job)
        loads[worker] += costs[job]
    return parts


def imbalance(loads: Sequence[float]) -> float:
    return max(loads) * len(loads) / sum(loads)
