"""Constitutional feedback: the reference."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Critic = Callable[[str, str, str], str]
Reviser = Callable[[str, str, list[str]], str]
Judge = Callable[[str, str, str, str], tuple[float, float]]
Pair = tuple[str, str, str]


class Revision(NamedTuple):
    answer: str
    versions: list[str]
    complaints: list[int]
    stopped: str


class Preference(NamedTuple):
    probability: float
    consistent: bool


class Rule(NamedTuple):
    name: str
    holds: Callable[[str, str], bool]
    weight: float
    hard: bool = False


def read_verdict(critique: str) -> bool | None:
    verdict = None
    for line in critique.splitlines():
        line = line.strip().lower()
        if line.startswith("verdict:"):
            said = line.removeprefix("verdict:").strip().removesuffix(".")
            # The last line decides, also if it is unclear: a critic may quote the form that it was told.
            verdict = {"fine": True, "revise": False}.get(said)
    return verdict


def critique_and_revise(
    critic: Critic, reviser: Reviser, prompt: str, answer: str, principles: Sequence[str], rounds: int
) -> Revision:
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    versions, counts = [answer], []
    while True:
        current = versions[-1]
        critiques = [critic(prompt, current, principle) for principle in principles]
        # Only a clear "fine" is none: whoever rambles hasn't said that all is well.
        complaints = [critique for critique in critiques if read_verdict(critique) is not True]
        counts.append(len(complaints))
        if not complaints:
            stopped = "satisfied"
            break
        if len(counts) == rounds:
            stopped = "rounds"
            break
        new = reviser(prompt, current, complaints)
        if new in versions:  # from here on it would go round in a circle
            stopped = "repeated"
            break
        versions.append(new)
    # index finds the earliest: an answer is changed only if somebody is happier with it.
    return Revision(versions[counts.index(min(counts))], versions, counts, stopped)


def compare(judge: Judge, prompt: str, first: str, second: str, principle: str) -> Preference:
    x, y = _both_orders(judge, prompt, first, second, principle)
    return Preference(_sigmoid((x + y) / 2), (x > 0) == (y > 0) and (x < 0) == (y < 0))


def position_bias(judge: Judge, pairs: Sequence[Pair], principle: str) -> tuple[float, float]:
    if not pairs:
        raise ValueError("there must be at least one pair")
    bias, parted = 0.0, 0
    for pair in pairs:
        x, y = _both_orders(judge, *pair, principle)
        bias += (x - y) / 2
        parted += (x > 0) != (y > 0) or (x < 0) != (y < 0)
    return bias / len(pairs), parted / len(pairs)


def ai_labels(
    judge: Judge, pairs: Sequence[Pair], principles: Sequence[str], low: float = 0.0, high: float = 1.0
) -> Array:
    if not 0 <= low <= high <= 1:
        raise ValueError(f"the bounds must be 0 ≤ low ≤ high ≤ 1, got low {low} and high {high}")
    if not principles:
        raise ValueError("there must be at least one principle")
    labels = [
        sum(compare(judge, *pair, principle).probability for principle in principles) / len(principles)
        for pair in pairs
    ]
    return np.clip(labels, low, high)


def rule_reward(prompt: str, answer: str, rules: Sequence[Rule]) -> float:
    soft = [rule for rule in rules if not rule.hard]
    if not all(rule.holds(prompt, answer) for rule in rules if rule.hard):
        return -1.0 - sum(abs(rule.weight) for rule in soft)
    return float(sum(rule.weight for rule in soft if rule.holds(prompt, answer)))


def fit_preference(first: Array, second: Array, labels: Array, l2: float) -> Array:
    if not l2 > 0:
        raise ValueError(f"l2 must be above 0, got {l2}")
    x = first - second
    w = np.zeros(x.shape[1])

    def objective(w: Array) -> float:
        # -log σ(s) = log(1 + exp(-s)), and -log σ(-s) is that plus s.
        s = x @ w
        return float(np.logaddexp(0, -s).sum() + ((1 - labels) * s).sum() + l2 / 2 * (w @ w))

    for _ in range(200):
        p = _sigmoids(x @ w)
        gradient = x.T @ (p - labels) + l2 * w
        hessian = x.T @ (x * (p * (1 - p))[:, None]) + l2 * np.eye(len(w))
        step = np.linalg.solve(hessian, gradient)
        if np.linalg.norm(step) < 1e-10:
            break
        # A full Newton step may go too far where the sigmoid is flat.
        size, before = 1.0, objective(w)
        while size > 1e-8 and objective(w - size * step) > before:
            size /= 2
        w = w - size * step
    return w


def preference_accuracy(labels: Array, truth: Array) -> float:
    known = truth != 0
    if not known.any():
        raise ValueError("there must be at least one pair with a truth")
    # 1 where both say the same, 0 where they don't, 0.5 where the label is undecided.
    right = (np.sign(labels[known] - 0.5) * truth[known] + 1) / 2
    return float(right.mean())


def _both_orders(judge: Judge, prompt: str, first: str, second: str, principle: str) -> tuple[float, float]:
    """The log-odds that the first answer is better: when it stands in the first place, and in the second."""
    a, b = judge(prompt, first, second, principle)
    other, own = judge(prompt, second, first, principle)
    return a - b, own - other


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else (e := math.exp(x)) / (1 + e)


def _sigmoids(x: Array) -> Array:
    e = np.exp(-np.abs(x))  # never overflows
    return np.where(x > 0, 1, e) / (1 + e)
