"""Concept drift: the reference."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any


class PageHinkley:
    def __init__(self, delta: float, threshold: float, warmup: int = 30) -> None:
        self.delta, self.threshold, self.warmup = delta, threshold, warmup
        self._begin()

    def _begin(self) -> None:
        self.n, self.mean, self.sum, self.lowest = 0, 0.0, 0.0, 0.0

    def update(self, value: float) -> bool:
        self.n += 1
        self.mean += (value - self.mean) / self.n
        # In quiet times the sum falls by delta a step, and its lowest point goes along.
        self.sum += value - self.mean - self.delta
        self.lowest = min(self.lowest, self.sum)
        alarm = self.n >= self.warmup and self.sum - self.lowest > self.threshold
        if alarm:
            self._begin()  # what comes next is a new time, with a new mean
        return alarm


class DDM:
    def __init__(self, warmup: int = 30, warning: float = 2.0, drift: float = 3.0) -> None:
        self.warmup, self.warning, self.drift = warmup, warning, drift
        self.recent = 0
        self._begin()

    def _begin(self) -> None:
        self.n, self.errors = 0, 0
        self.best = (math.inf, 0.0)
        self.over = False

    def update(self, error: bool) -> str:
        if self.over:
            self._begin()
            self.recent = 0
        self.n += 1
        self.errors += bool(error)
        if self.n < self.warmup:
            return "stable"
        rate = self.errors / self.n
        deviation = math.sqrt(rate * (1 - rate) / self.n)
        # The best time so far is the measure: the detector may begin while the model is still settling.
        if rate + deviation <= sum(self.best):
            self.best = (rate, deviation)
        lowest, its_deviation = self.best
        if rate + deviation > lowest + self.drift * its_deviation:
            self.over = True
            self.recent += 1
            return "drift"
        if rate + deviation > lowest + self.warning * its_deviation:
            self.recent += 1
            return "warning"
        self.recent = 0
        return "stable"


def first_alarm(detector: Any, stream: Iterable[Any]) -> int | None:
    for place, value in enumerate(stream):
        # "warning" and "stable" are texts, which Python takes for true.
        if detector.update(value) in (True, "drift"):
            return place
    return None


def judge(
    make: Callable[[], Any], streams: Sequence[Iterable[Any]], changes: Sequence[int | None]
) -> tuple[float, float, float]:
    if len(streams) != len(changes) or not streams:
        raise ValueError(f"expected as many changes as streams, got {len(changes)} for {len(streams)}")
    false, delays = 0, []
    for stream, change in zip(streams, changes, strict=True):
        place = first_alarm(make(), stream)
        if place is None:
            continue
        if change is None or place < change:
            false += 1
        else:
            delays.append(place - change)
    planted = sum(change is not None for change in changes)
    found = len(delays) / planted if planted else math.nan
    return false / len(streams), found, sum(delays) / len(delays) if delays else math.nan


def calibrate(
    make: Callable[[float], Any], thresholds: Iterable[float], streams: Sequence[Sequence[Any]], rate: float
) -> float:
    for threshold in sorted(thresholds):
        alarms = sum(first_alarm(make(threshold), stream) is not None for stream in streams)
        if alarms <= rate * len(streams):
            return threshold
    raise ValueError(f"no threshold keeps the false alarms at {rate} or below")
