"""Run monitoring: the reference."""

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn


def update_statistics(model: nn.Module, before: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    def norm(tensor: Tensor) -> float:
        # In float16 the norm overflows above 65504, and in bfloat16 it has three digits.
        return tensor.detach().float().norm().item()

    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        weight, update = norm(before[name]), norm(parameter.detach().float() - before[name].float())
        ratio = update / weight if weight else math.inf if update else 0.0
        found[name] = {"gradient": norm(parameter.grad), "weight": weight, "update": update, "ratio": ratio}
    return found


class SpikeDetector:
    def __init__(self, window: int, threshold: float, warmup: int) -> None:
        if not 1 <= warmup <= window:
            raise ValueError(f"warmup must be from 1 to the window of {window}, got {warmup}")
        self.threshold, self.warmup = threshold, warmup
        self.losses: deque[float] = deque(maxlen=window)

    def update(self, loss: float) -> bool:
        if not math.isfinite(loss):
            return True
        if len(self.losses) >= self.warmup:
            median = statistics.median(self.losses)
            deviation = 1.4826 * statistics.median(abs(one - median) for one in self.losses)
            if loss > median + self.threshold * deviation:
                return True  # not remembered: a few of them would make the next one look usual
        self.losses.append(loss)
        return False


def train_with_rollback(
    step: Callable[[Any], float],
    batches: Iterable[Any],
    save: Callable[[], Any],
    load: Callable[[Any], None],
    detector: SpikeDetector,
    every: int,
    limit: int,
) -> tuple[list[tuple[int, float]], list[int]]:
    losses: list[tuple[int, float]] = []
    spikes: list[int] = []
    # With each state, how many of the losses count at it.  Of three the oldest falls out.
    states: deque[tuple[Any, int]] = deque(maxlen=2)
    since = every  # so that the first batch finds a state
    for number, batch in enumerate(batches):
        if since == every:
            states.append((save(), len(losses)))
            since = 0
        loss = step(batch)
        if not detector.update(loss):
            losses.append((number, loss))
            since += 1
            continue
        spikes.append(number)
        if len(spikes) > limit:
            raise RuntimeError(f"spike number {len(spikes)}, the limit is {limit} rollbacks")
        # The older one: the newer may have the damage that shows only now.
        state, count = states[0]
        load(state)
        while len(states) > 1:
            states.pop()
        del losses[count:]
        since = 0
    return losses, spikes


def throughput(tokens: Sequence[int], seconds: Sequence[float], skip: int = 0) -> float:
    if skip >= len(tokens):
        raise ValueError(f"{len(tokens)} steps, of which skip leaves out {skip}: none is left")
    # Not the mean of the rates, in which a short step counts as much as a long one.
    return sum(tokens[skip:]) / sum(seconds[skip:])


def mfu(
    tokens_per_second: float, parameters: int, layers: int, heads: int, head_size: int, context: int, peak: float
) -> float:
    # 6 N: a product and a sum for each weight, forward once and backward twice.  The rest is attention.
    flops_per_token = 6 * parameters + 12 * layers * heads * head_size * context
    return tokens_per_second * flops_per_token / peak
