"""Tuning at scale: the reference."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def lr_range_test(
    step: Callable[[float], float], low: float, high: float, steps: int, smoothing: float = 0.9, factor: float = 4.0
) -> tuple[list[float], list[float]]:
    if not 0 < low < high:
        raise ValueError(f"rates must rise from above 0, got low {low} and high {high}")
    rates, losses, mean = [], [], 0.0
    for i in range(steps):
        rate = low * (high / low) ** (i / (steps - 1))
        loss = step(rate)
        mean = smoothing * mean + (1 - smoothing) * loss
        # The mean starts at 0: without this division the first losses would look tiny, and the best.
        smooth = mean / (1 - smoothing ** (i + 1))
        if not math.isfinite(loss) or (losses and smooth > factor * min(losses)):
            break
        rates.append(rate)
        losses.append(smooth)
    return rates, losses


def suggest_rate(rates: Sequence[float], losses: Sequence[float]) -> float:
    if len(rates) < 3:
        raise ValueError(f"a slope on both sides needs 3 rates or more, got {len(rates)}")
    # The rates are equally far apart on the log scale, so differences order like slopes.
    slopes = [after - before for before, after in zip(losses, losses[2:], strict=False)]
    steepest = min(slopes)
    if steepest >= 0:
        raise ValueError("the loss falls nowhere")
    return rates[1 + slopes.index(steepest)]


class Asha:
    def __init__(self, sample: Callable[[], Any], eta: int, budget: int, rungs: int) -> None:
        if eta < 2:
            raise ValueError(f"eta must be 2 or more, got {eta}")
        if rungs < 1:
            raise ValueError(f"there must be 1 rung or more, got {rungs}")
        self.sample, self.eta, self.budget = sample, eta, budget
        self.configs: list[Any] = []
        self.running: dict[int, int] = {}  # number -> rung
        self.results: list[dict[int, float]] = [{} for _ in range(rungs)]
        self.promoted: list[set[int]] = [set() for _ in range(rungs)]

    def _ranked(self, rung: int) -> list[int]:
        results = self.results[rung]
        return sorted(results, key=lambda number: (math.isnan(results[number]), results[number], number))

    def next_job(self) -> tuple[int, Any, int]:
        # From the top: what is nearest to the end comes first.
        for rung in reversed(range(len(self.results) - 1)):
            ranked = self._ranked(rung)
            for number in ranked[: len(ranked) // self.eta]:
                if number not in self.promoted[rung] and not math.isnan(self.results[rung][number]):
                    # Marked as it is handed out, so that no second worker gets it.
                    self.promoted[rung].add(number)
                    return self._job(number, rung + 1)
        self.configs.append(self.sample())
        return self._job(len(self.configs) - 1, 0)

    def _job(self, number: int, rung: int) -> tuple[int, Any, int]:
        self.running[number] = rung
        return number, self.configs[number], self.budget * self.eta**rung

    def report(self, number: int, loss: float) -> None:
        if number not in self.running:
            raise ValueError(f"configuration {number} isn't running")
        self.results[self.running.pop(number)][number] = loss

    def best(self) -> tuple[int, float] | None:
        for rung in reversed(range(len(self.results))):
            if self.results[rung]:
                number = self._ranked(rung)[0]
                return number, self.results[rung][number]
        return None


def exploit_and_explore(
    losses: Sequence[float],
    configs: Sequence[dict[str, float]],
    share: float,
    factors: Sequence[float],
    rng: np.random.Generator,
) -> tuple[list[int], list[dict[str, float]]]:
    if not 0 < share <= 0.5:
        raise ValueError(f"share must be above 0 and at most 0.5, got {share}")
    n = len(losses)
    count = max(1, int(share * n))
    ranked = sorted(range(n), key=lambda i: (math.isnan(losses[i]), losses[i], i))
    sources, new = list(range(n)), [dict(config) for config in configs]
    for loser in ranked[n - count :]:
        sources[loser] = ranked[int(rng.integers(count))]
        new[loser] = {
            name: value * factors[int(rng.integers(len(factors)))] for name, value in configs[sources[loser]].items()
        }
    return sources, new


def pareto_ranks(points: Tensor) -> Tensor:
    no_worse = (points[:, None] <= points[None, :]).all(2)
    better = (points[:, None] < points[None, :]).any(2)
    dominates = no_worse & better  # [i, j]: i dominates j
    ranks = torch.full((len(points),), -1, device=points.device)
    rank = 0
    while (left := ranks < 0).any():
        front = left & ~dominates[left].any(0)
        ranks[front] = rank
        rank += 1
    return ranks


class MupMLP(nn.Module):
    def __init__(self, inputs: int, width: int, outputs: int, base_width: int) -> None:
        super().__init__()
        self.scale = base_width / width
        self.input = nn.Linear(inputs, width)
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, outputs)
        # The output's weights don't shrink with the width: forward does that, for them and for their updates.
        for layer, fan in ((self.input, inputs), (self.hidden, width), (self.output, base_width)):
            nn.init.normal_(layer.weight, std=fan**-0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(x).relu()
        x = self.hidden(x).relu()
        return self.output(x * self.scale)

    def groups(self, lr: float) -> list[dict[str, Any]]:
        # Adam moves every weight by about lr.  A hidden unit adds up `width` of them.
        rest = [p for name, p in self.named_parameters() if name != "hidden.weight"]
        return [{"params": [self.hidden.weight], "lr": lr * self.scale}, {"params": rest, "lr": lr}]


def coordinate_check(
    make: Callable[[int], Any], widths: Sequence[int], lr: float, x: Tensor, y: Tensor, steps: int
) -> list[float]:
    changes = []
    for width in widths:
        model = make(width)
        optimizer = torch.optim.Adam(model.groups(lr))
        with torch.no_grad():
            before = model(x)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            changes.append((model(x) - before).square().mean().sqrt().item())
    return changes
