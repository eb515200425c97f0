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
    kernels = [
        matmul_cost(n, m, d, bytes_per_element),  # q kᵀ
        softmax_cost(n, m, bytes_per_element),
        matmul_cost(n, d, m, bytes_per_element),  # weights · v
    ]
    flops = sum(cost[0] for cost in kernels)
    # Each kernel of the three hands its result to the next through memory; one kernel needn't.
    moved = bytes_per_element * 2 * (n + m) * d if fused else sum(cost[1] for cost in kernels)
    return heads * flops, heads * moved


def decode_cost(
    context: int, heads: int, kv_heads: int, head_dim: int, batch: int = 1, bytes_per_element: int = 2
) -> Cost:
    if heads % kv_heads:
        raise ValueError(f"heads must be a multiple of kv_heads, got {heads} and {kv_heads}")
    # The query heads of a group stand as the rows of one matrix: they read its keys and values once.
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
