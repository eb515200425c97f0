"""Roofline: what an operation costs, and which limit binds: the reference."""

import statistics
import time
from collections.abc import Callable

Cost = tuple[int, int]  # (FLOPs, bytes)


def matmul_cost(m: int, n: int, k: int, bytes_per_element: int = 2) -> Cost:
    return 2 * m * n * k, bytes_per_element * (m * k + k * n + m * n)


def softmax_cost(rows: int, columns: int, bytes_per_element: int = 2) -> Cost:
    elements = rows * columns
    return 5 * elements, bytes_per_element * 2 * elements


def attention_cost(
    heads: int, n: int, m: int, d: int, fused: bool = False, bytes_per_element: int = 2
) -> Cost:
    scores = n * m
    moved = 2 * (n + m) * d  # q and the output, k and v
    if not fused:
        moved += 4 * scores  # from the first matmul to the softmax, and on to the second
    # Per score: a sum of d terms for q kᵀ, d terms of sums for weights · v, and the softmax.
    return heads * scores * (2 * d + 2 * d + 5), heads * bytes_per_element * moved


def decode_cost(
    context: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    batch: int = 1,
    bytes_per_element: int = 2,
) -> Cost:
    if heads % kv_heads:
        raise ValueError(f"heads must be a multiple of kv_heads, got {heads} and {kv_heads}")
    # The query heads of a group are the rows of one matrix: they read its keys and values once.
    group = heads // kv_heads
    return attention_cost(batch * kv_heads, group, context, head_dim, True, bytes_per_element)


def intensity(cost: Cost) -> float:
    flops, moved = cost
    return flops / moved


def roofline_time(cost: Cost, peak_flops: float, bandwidth: float) -> tuple[float, str]:
    flops, moved = cost
    compute, memory = flops / peak_flops, moved / bandwidth
    return (compute, "compute") if compute >= memory else (memory, "memory")


def time_it(
    function: Callable[[], object],
    repeats: int = 10,
    warm_up: int = 3,
    synchronise: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")

    # Wait before both readings: for work from before, and for the call itself.
    def now() -> float:
        if synchronise is not None:
            synchronise()
        return clock()

    for _ in range(warm_up):
        function()
    times = []
    for _ in range(repeats):
        start = now()
        function()
        times.append(now() - start)
    return statistics.median(times)
