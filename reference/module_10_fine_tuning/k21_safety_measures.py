"""Safety measures: the reference."""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Scorer = Callable[[str], float]

START = "0" * 64


class Rates(NamedTuple):
    precision: float
    recall: float
    false_positives: float


class Planted(NamedTuple):
    name: str
    prompt: str
    kind: str | None


def rates(scores: Array, harmful: Array, threshold: float) -> Rates:
    flagged, bad = scores >= threshold, harmful.astype(bool)
    hits = int((flagged & bad).sum())
    alarms = int((flagged & ~bad).sum())
    return Rates(_ratio(hits, hits + alarms), _ratio(hits, int(bad.sum())), _ratio(alarms, int((~bad).sum())))


def choose_threshold(scores: Array, harmful: Array, goal: str, target: float) -> float:
    if goal not in ("recall", "precision", "false_positives"):
        raise ValueError(f"goal must be 'recall', 'precision' or 'false_positives', got {goal!r}")
    # All of them: precision goes up and down, so that no search can leave any out.
    thresholds = [*np.unique(scores).tolist(), math.inf]
    values = [getattr(rates(scores, harmful, threshold), goal) for threshold in thresholds]
    if goal == "false_positives":
        kept = [t for t, value in zip(thresholds, values, strict=True) if value <= target + 1e-9]
    else:
        kept = [t for t, value in zip(thresholds, values, strict=True) if value >= target - 1e-9]
    if not kept:
        raise ValueError(f"no threshold keeps the goal {goal} of {target}")
    return max(kept) if goal == "recall" else min(kept)


def content_filter(text: str, scorers: Mapping[str, Scorer], thresholds: Mapping[str, float]) -> list[str]:
    for category in [*scorers, *thresholds]:
        if category not in scorers or category not in thresholds:
            raise ValueError(f"{category!r} must have both a scorer and a threshold")
    flagged = []
    for category, scorer in scorers.items():
        try:
            passes = bool(scorer(text) < thresholds[category])
        except Exception:
            passes = False
        # Asking for "below" and not for "above" makes NaN flag, too.
        if not passes:
            flagged.append(category)
    return flagged


def associations(words: Array, a: Array, b: Array) -> Array:
    return (_unit(words) @ _unit(a).T).mean(1) - (_unit(words) @ _unit(b).T).mean(1)


def effect_size(x: Array, y: Array) -> float:
    return float((x.mean() - y.mean()) / np.concatenate([x, y]).std(ddof=1))


def p_value(x: Array, y: Array, limit: int, rng: np.random.Generator) -> float:
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    values, least = np.concatenate([x, y]), x.sum() - 1e-9
    splits = math.comb(len(values), len(x))
    if splits <= limit:
        sums = np.array([sum(part) for part in itertools.combinations(values.tolist(), len(x))])
        return int((sums >= least).sum()) / splits
    # The real split is one of them, too: it is counted, so that the p-value is never 0.
    count = sum(rng.permutation(values)[: len(x)].sum() >= least for _ in range(limit))
    return (1 + int(count)) / (1 + limit)


def append_incident(path: Path, incident: dict[str, Any]) -> str:
    json.dumps(incident, allow_nan=False)  # JSON has no NaN and no infinity
    data = path.read_bytes() if path.exists() else b""
    previous = START
    for _, entry in _entries(data):
        if isinstance(entry, dict) and isinstance(entry.get("hash"), str):
            previous = entry["hash"]
    digest = _hash(previous, incident)
    line = json.dumps({"previous": previous, "incident": incident, "hash": digest})
    # Whatever a crash left of a line ends here, and can't spoil the next one.
    begin = "" if not data or data.endswith(b"\n") else "\n"
    with path.open("ab") as file:
        file.write(f"{begin}{line}\n".encode())
    return digest


def read_incidents(path: Path, head: str | None = None) -> list[dict[str, Any]]:
    incidents: list[dict[str, Any]] = []
    last = START
    for number, entry in _entries(path.read_bytes() if path.exists() else b""):
        if not (
            isinstance(entry, dict)
            and isinstance(entry.get("previous"), str)
            and isinstance(entry.get("incident"), dict)
            and isinstance(entry.get("hash"), str)
        ):
            raise ValueError(f"line {number} is JSON, but no entry of a log")
        if entry["previous"] != last:
            raise ValueError(f"line {number} doesn't follow the entry before it")
        if entry["hash"] != _hash(last, entry["incident"]):
            raise ValueError(f"line {number} was changed: its hash doesn't fit")
        last = entry["hash"]
        incidents.append(entry["incident"])
    # A log whose end was cut off is a right chain, only a shorter one.
    if head is not None and head != last:
        raise ValueError(f"the head of the log is {last}, and must be {head}")
    return incidents


def guarded_answer(
    model: Callable[[str], str],
    prompt: str,
    scorers: Mapping[str, Scorer],
    thresholds: Mapping[str, float],
    log: Callable[[dict[str, Any]], object],
    refusal: str,
) -> str:
    def refuse(kind: str, categories: list[str]) -> str:
        log({"kind": kind, "categories": categories, "prompt": prompt})
        return refusal

    if flagged := content_filter(prompt, scorers, thresholds):
        return refuse("prompt", flagged)
    try:
        answer = model(prompt)
    except Exception:
        return refuse("model", [])
    if not isinstance(answer, str) or not answer.strip():
        return refuse("model", [])
    if flagged := content_filter(answer, scorers, thresholds):
        return refuse("answer", flagged)
    return answer


def drill(
    guarded: Callable[[str], str],
    incidents: Callable[[], list[dict[str, Any]]],
    planted: Sequence[Planted],
    refusal: str,
) -> list[str]:
    missed = []
    for failure in planted:
        before = len(incidents())
        try:
            answer = guarded(failure.prompt)
        except Exception:
            missed.append(failure.name)
            continue
        added = [(one.get("kind"), one.get("prompt")) for one in incidents()[before:]]
        if failure.kind is None:
            right = answer != refusal and not added
        else:
            right = answer == refusal and added == [(failure.kind, failure.prompt)]
        if not right:
            missed.append(failure.name)
    return missed


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _hash(previous: str, incident: dict[str, Any]) -> str:
    return hashlib.sha256((previous + json.dumps(incident, sort_keys=True)).encode()).hexdigest()


def _entries(data: bytes) -> Iterator[tuple[int, Any]]:
    """The lines that are JSON, with their numbers.  All others are torn."""
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            yield number, json.loads(line.decode("utf-8"))
        except ValueError:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
            continue
