"""`dojo bench --gpu`: the Triton katas against torch, on a CUDA device.

Each pair is timed in turn by CUDA's own events, and what counts is the ratio of the medians.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dojo.checks.accelerator import has_cuda

RUNS = 30

TARGETS = {"matmul": 0.6, "flash attention": 1.0}
"""How many times torch's speed each shall reach at least: cuBLAS, and attention in three kernels."""


def run_gpu() -> int:
    """Print how fast matmul and flash attention are; 1 where a ratio misses its target, 0 also without a GPU."""
    if not has_cuda():
        print("no CUDA device here: there is nothing to measure")
        return 0
    import torch
    from rich import print as show

    from dojo.lab import kata

    torch.manual_seed(0)
    n = 4096
    a, b = torch.randn(2, n, n, device="cuda", dtype=torch.float16)
    matmul = kata("triton_matmul").matmul
    q, k, v = torch.randn(3, 64, 4096, 64, device="cuda", dtype=torch.float16)
    flash = kata("flash_attention_kernel").flash_attention_triton

    def unfused() -> Any:
        return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1) @ v

    pairs: list[tuple[str, str, Callable[[], Any], Callable[[], Any]]] = [
        ("matmul", f"{n} x {n}, float16", lambda: matmul(a, b, tile=(128, 128, 64)), lambda: a @ b),
        ("flash attention", "64 heads, 4096 positions of 64, float16", lambda: flash(q, k, v), unfused),
    ]
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    missed = 0
    for name, what, ours, theirs in pairs:
        seconds, reference = _medians(ours, theirs)
        ratio, target = reference / seconds, TARGETS[name]
        missed += ratio < target
        colour = "green" if ratio >= target else "red"
        show(f"{name} ({what}): {1e3 * seconds:.3f} ms, torch {1e3 * reference:.3f} ms: ", end="")
        show(f"[{colour}]{ratio:.2f} of its speed[/] (target {target:g})")
    return int(missed > 0)


def _medians(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
    """Median seconds of both, each call in turn, after some that aren't counted."""
    import statistics

    import torch

    event: Any = torch.cuda.Event
    times: list[list[float]] = [[], []]
    for run in range(RUNS + 5):
        for place, function in enumerate((ours, theirs)):
            start, end = event(enable_timing=True), event(enable_timing=True)
            start.record()
            function()
            end.record()
            torch.cuda.synchronize()
            if run >= 5:
                times[place].append(start.elapsed_time(end) / 1e3)
    return statistics.median(times[0]), statistics.median(times[1])
