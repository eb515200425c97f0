"""Schedules for the learning rate: the reference."""

import math
from collections.abc import Callable
from typing import Any

Factor = Callable[[int], float]


def step_decay(t: int, milestones: list[int], gamma: float) -> float:
    passed = sum(milestone <= t for milestone in milestones)
    return gamma**passed


def _half_cosine(u: float) -> float:
    """From 1 at u = 0 to 0 at u = 1."""
    return (1 + math.cos(math.pi * u)) / 2


def cosine(t: int, steps: int, low: float = 0.0) -> float:
    # Without min the cosine would rise again after the end.
    return low + (1 - low) * _half_cosine(min(t, steps) / steps)


def warm_restarts(t: int, first: int, mult: int = 1, low: float = 0.0) -> float:
    # In integers: a logarithm would round a restart to the wrong side.
    length = first
    while t >= length:
        t -= length
        length *= mult
    return low + (1 - low) * _half_cosine(t / length)


def cyclic(t: int, up: int, down: int, low: float, shrink: float = 1.0) -> float:
    cycle, at = divmod(t, up + down)
    height = at / up if at <= up else (up + down - at) / down
    return low + (1 - low) * height * shrink**cycle


def one_cycle(t: int, total: int, warm: float = 0.3, div: float = 25.0, final_div: float = 1e4) -> float:
    if t >= total:
        raise ValueError(f"the cycle has {total} steps, 0 to {total - 1}; there is no step {t}")
    # The peak may lie between two steps, and the last step is total - 1.
    peak, start = warm * total - 1, 1 / div
    if t <= peak:
        return 1 + (start - 1) * _half_cosine(t / peak)
    end = start / final_div
    return end + (1 - end) * _half_cosine((t - peak) / (total - 1 - peak))


def wsd(t: int, warm: int, stable: int, decay: int, low: float = 0.0, shape: str = "sqrt") -> float:
    shapes = {"linear": lambda u: 1 - u, "sqrt": lambda u: 1 - math.sqrt(u)}
    if shape not in shapes:
        raise ValueError(f"shape must be one of {', '.join(shapes)}, got {shape!r}")
    if t < warm:
        return t / warm
    if t < warm + stable:
        return 1.0
    if t < warm + stable + decay:
        return low + (1 - low) * shapes[shape]((t - warm - stable) / decay)
    return low


def warmup(factor: Factor, steps: int, start: float = 0.0) -> Factor:
    def warmed(t: int) -> float:
        if t < steps:
            return (start + (1 - start) * t / steps) * factor(0)
        # The wrapped schedule begins when the warm-up is over; none of its steps is lost.
        return factor(t - steps)

    return warmed


class Scheduler:
    def __init__(self, optimizer: Any, factor: Factor | list[Factor]) -> None:
        groups = optimizer.param_groups
        self.factors = [factor] * len(groups) if callable(factor) else list(factor)
        if len(self.factors) != len(groups):
            raise ValueError(f"got {len(self.factors)} functions for {len(groups)} groups")
        self.optimizer = optimizer
        self.base = [group["lr"] for group in groups]
        self.t = 0
        self._set_rates()

    def _set_rates(self) -> None:
        # Always from the base: multiplying the last rate would drift, and stay at 0 for good once it is 0.
        # The groups are looked up anew, since the optimizer's load_state_dict replaces them.
        for group, base, factor in zip(self.optimizer.param_groups, self.base, self.factors, strict=True):
            group["lr"] = base * factor(self.t)

    def step(self) -> None:
        self.t += 1
        self._set_rates()

    def state_dict(self) -> dict[str, Any]:
        return {"t": self.t, "base": list(self.base)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if len(state["base"]) != len(self.base):
            raise ValueError(f"the state is of {len(state['base'])} groups, the optimizer has {len(self.base)}")
        # The base as well: an optimizer that was resumed has the rate of the middle, not that of the start.
        self.t, self.base = state["t"], list(state["base"])
        self._set_rates()
