"""Sparse and mobile: the reference."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def topk_attention(q: Tensor, k: Tensor, v: Tensor, count: int, mask: Tensor | None = None) -> Tensor:
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    best, places = scores.topk(min(count, k.shape[-2]), -1)
    # The softmax is over the kept scores alone; all others get a weight of exactly 0.
    weights = torch.zeros_like(scores).scatter(-1, places, best.softmax(-1))
    return weights @ v


def blocks_to_read(q: Tensor, k: Tensor, size: int, count: int) -> Tensor:
    n = q.shape[-2]
    if k.shape[-2] != n:
        raise ValueError(f"as many queries as keys are needed, got {n} and {k.shape[-2]}")
    blocks = torch.arange(math.ceil(n / size), device=q.device)
    own = torch.arange(n, device=q.device)[:, None] // size
    means = torch.stack([part.mean(-2) for part in k.split(size, -2)], -2)
    scores = (q @ means.mT).masked_fill(blocks >= own, -torch.inf)
    best, places = scores.topk(min(count, len(blocks)), -1)
    # Where fewer than `count` blocks are earlier, topk has to take some of minus infinity.
    chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, places, best > -torch.inf)
    return chosen | (blocks == own)


def linformer_attention(q: Tensor, k: Tensor, v: Tensor, e: Tensor, f: Tensor) -> Tensor:
    weights = (q @ (e @ k).mT / math.sqrt(q.shape[-1])).softmax(-1)
    return weights @ (f @ v)


def spectrum_share(matrix: Tensor, rank: int) -> Tensor:
    squares = torch.linalg.svdvals(matrix).square()
    return squares[..., :rank].sum(-1) / squares.sum(-1)


def inverted_residual(
    x: Tensor, expand: nn.Conv2d, depthwise: nn.Conv2d, project: nn.Conv2d, splits: int = 1
) -> Tensor:
    hidden = len(expand.weight)
    if hidden % splits:
        raise ValueError(f"{hidden} channels can't be cut into {splits} equal parts")
    total = 0
    # Each hidden channel is widened and filtered by itself, and `project` only adds them up: so any share will do.
    for part in torch.arange(hidden, device=x.device).chunk(splits):
        wide = F.relu6(F.conv2d(x, expand.weight[part], expand.bias[part]))
        filtered = F.conv2d(
            wide, depthwise.weight[part], depthwise.bias[part], depthwise.stride, depthwise.padding, groups=len(part)
        )
        total = total + F.conv2d(F.relu6(filtered), project.weight[:, part])
    total = total + project.bias[:, None, None]
    return total + x if total.shape == x.shape else total


def inverted_residual_cost(
    height: int, width: int, channels: int, out: int, kernel: int, stride: int, expansion: int
) -> dict[str, int]:
    hidden = expansion * channels
    before, after = height * width, math.ceil(height / stride) * math.ceil(width / stride)
    widening, widest = (channels * hidden, before) if expansion > 1 else (0, after)
    return {
        "multiply_adds": before * widening + after * (kernel**2 * hidden + hidden * out),
        "weights": widening + kernel**2 * hidden + hidden * out,
        "largest": max(widest * hidden, after * out),
    }


def make_divisible(channels: float, divisor: int = 8) -> int:
    rounded = int(channels / divisor + 0.5) * divisor
    # Few channels are rounded to 0, which is below 0.9 of any number: so they get one divisor here.
    return rounded + divisor if rounded < 0.9 * channels else rounded


def roofline(layers: list[tuple[float, float]], peak: float, bandwidth: float, overhead: float = 0.0) -> float:
    return sum((overhead + max(work / peak, moved / bandwidth) for work, moved in layers), 0.0)


def fit_latency(features: Tensor, seconds: Tensor) -> Tensor:
    # Each row divided by its time: then 1 is what is fitted, and all errors are relative.
    scaled = features / seconds[:, None]
    return torch.linalg.lstsq(scaled, torch.ones_like(seconds)[:, None]).solution[:, 0]


def pareto_front(latency: Tensor, accuracy: Tensor) -> Tensor:
    no_worse = (latency <= latency[:, None]) & (accuracy >= accuracy[:, None])
    better = (latency < latency[:, None]) | (accuracy > accuracy[:, None])
    return ~(no_worse & better).any(1)
