"""Service monitoring: the reference."""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any

Sample = tuple[str, dict[str, str], float]
Reading = tuple[float, float]


def _series(names: Sequence[str], labels: dict[str, Any]) -> tuple[str, ...]:
    """The labels' values as texts, in the order of the declared names: the key of a series."""
    if set(labels) != set(names):
        raise ValueError(f"expected the labels {', '.join(names) or 'none'}, got {', '.join(labels) or 'none'}")
    return tuple(str(labels[name]) for name in names)


class Counter:
    kind = "counter"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name, self.help, self.labels = name, help, tuple(labels)
        # A zero from the start: the first error is then seen as a step from 0 to 1.
        self.values: dict[tuple[str, ...], float] = {} if self.labels else {(): 0.0}

    def inc(self, amount: float = 1.0, **labels: Any) -> None:
        if amount < 0:
            raise ValueError(f"a counter only goes up, got {amount}")
        key = _series(self.labels, labels)
        self.values[key] = self.values.get(key, 0.0) + amount

    def samples(self) -> list[Sample]:
        return [(self.name, dict(zip(self.labels, key, strict=True)), value) for key, value in self.values.items()]


class Histogram:
    kind = "histogram"

    def __init__(self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        if not bounds or any(a >= b for a, b in pairwise(bounds)):
            raise ValueError(f"expected bounds that get larger, got {list(bounds)}")
        self.name, self.help, self.labels = name, help, tuple(labels)
        self.bounds = (*bounds, math.inf)
        self.counts: dict[tuple[str, ...], list[int]] = {}
        self.sums: dict[tuple[str, ...], float] = {}
        if not self.labels:
            self._begin(())

    def _begin(self, key: tuple[str, ...]) -> None:
        self.counts[key] = [0] * len(self.bounds)
        self.sums[key] = 0.0

    def observe(self, value: float, **labels: Any) -> None:
        key = _series(self.labels, labels)
        if key not in self.counts:
            self._begin(key)
        # Only the first bucket that takes it: the page adds the smaller ones up.
        first = next(i for i, bound in enumerate(self.bounds) if value <= bound)
        self.counts[key][first] += 1
        self.sums[key] += value

    def samples(self) -> list[Sample]:
        found: list[Sample] = []
        for key, counts in self.counts.items():
            labels = dict(zip(self.labels, key, strict=True))
            for bound, below in zip(self.bounds, accumulate(counts), strict=True):
                found.append((f"{self.name}_bucket", {**labels, "le": _number(bound)}, float(below)))
            found.append((f"{self.name}_sum", labels, self.sums[key]))
            found.append((f"{self.name}_count", dict(labels), float(sum(counts))))
        return found


def _number(value: float) -> str:
    # repr is the shortest text that reads back as the same float.
    return "+Inf" if value == math.inf else repr(float(value))


def _escaped(text: str) -> str:
    # Backslashes first, or those that the line feeds bring would be doubled.
    return text.replace("\\", r"\\").replace("\n", r"\n")


def exposition(metrics: Iterable[Any]) -> str:
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {_escaped(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for name, labels, value in metric.samples():
            quoted = []
            for label, text in labels.items():
                inside = _escaped(text).replace('"', r"\"")
                quoted.append(f'{label}="{inside}"')
            braces = "{" + ",".join(quoted) + "}" if quoted else ""
            lines.append(f"{name}{braces} {_number(value)}")
    return "".join(line + "\n" for line in lines)


class Sketch:
    def __init__(self, accuracy: float = 0.01) -> None:
        if not 0 < accuracy < 1:
            raise ValueError(f"the accuracy must be above 0 and below 1, got {accuracy}")
        self.accuracy = accuracy
        self.gamma = (1 + accuracy) / (1 - accuracy)
        self.log_gamma = math.log(self.gamma)
        self.zeros = 0
        self.counts: dict[int, int] = {}
        self.count = 0

    def add(self, value: float) -> None:
        if value < 0:
            raise ValueError(f"expected 0 or more, got {value}")
        self.count += 1
        if value == 0:
            self.zeros += 1
            return
        index = math.ceil(math.log(value) / self.log_gamma)
        self.counts[index] = self.counts.get(index, 0) + 1

    def buckets(self) -> dict[int, int]:
        return dict(self.counts)

    def quantile(self, q: float) -> float:
        if not 0 <= q <= 1:
            raise ValueError(f"q must be from 0 to 1, got {q}")
        if not self.count:
            return math.nan
        rank = math.floor(q * (self.count - 1))
        passed = self.zeros
        if rank < passed:
            return 0.0
        for index in sorted(self.counts):
            passed += self.counts[index]
            if rank < passed:
                break
        return 2 * self.gamma**index / (self.gamma + 1)

    def merge(self, other: "Sketch") -> None:
        if self.accuracy != other.accuracy:
            raise ValueError(f"accuracies {self.accuracy} and {other.accuracy} have other buckets")
        # buckets() is a copy: `other` may be this sketch itself.
        for index, number in other.buckets().items():
            self.counts[index] = self.counts.get(index, 0) + number
        self.zeros += other.zeros
        self.count += other.count


def increase(readings: Sequence[Reading], at: float, window: float) -> float:
    values = [value for time, value in readings if at - window <= time <= at]
    grown = 0.0
    for before, value in pairwise(values):
        grown += value - before if value >= before else value
    return grown


def burn_rate(
    errors: Sequence[Reading], requests: Sequence[Reading], objective: float, at: float, window: float
) -> float:
    came = increase(requests, at, window)
    if not came:
        return 0.0
    return increase(errors, at, window) / came / (1 - objective)


def burning(
    errors: Sequence[Reading],
    requests: Sequence[Reading],
    objective: float,
    at: float,
    long: float,
    short: float,
    factor: float,
) -> bool:
    return all(burn_rate(errors, requests, objective, at, window) > factor for window in (long, short))


class Alert:
    def __init__(self, hold: float = 0.0, keep: float = 0.0) -> None:
        self.hold, self.keep = hold, keep
        self.firing = False
        self.since: float | None = None
        """Since when the condition has been otherwise than the alert: active, or quiet while it fires."""

    def update(self, at: float, active: bool) -> str:
        if active == self.firing:
            self.since = None
            return "firing" if self.firing else "inactive"
        if self.since is None:
            self.since = at
        if at - self.since >= (self.keep if self.firing else self.hold):
            self.firing = not self.firing
            self.since = None
            return "firing" if self.firing else "inactive"
        return "firing" if self.firing else "pending"
