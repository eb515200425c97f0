"""Alignment failures: the reference."""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Check(NamedTuple):
    name: str
    change: Callable[[str], str]
    expect: str


def best_of_n_kl(n: int) -> float:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return math.log(n) - (n - 1) / n


def best_of_n_policy(probabilities: Array, proxy: Array, n: int) -> Array:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    # Answers with the same proxy are one level: the pick is of this level if none drawn is above it.
    level = np.unique(proxy, return_inverse=True)[1]
    mass = np.bincount(level, weights=probabilities)
    at_most = np.cumsum(mass)
    picked = at_most**n - (at_most - mass) ** n
    # Within a level the first one drawn wins, so each has its share of the level's mass.
    share = probabilities / np.where(mass > 0, mass, 1.0)[level]
    return picked[level] * share


def goodhart_curve(probabilities: Array, proxy: Array, gold: Array, ns: Sequence[int]) -> tuple[Array, Array]:
    kls, golds = [], []
    for n in ns:
        picked = best_of_n_policy(probabilities, proxy, n)
        there = picked > 0
        q, p = picked[there], probabilities[there]
        kls.append((q * np.log(q / p)).sum())
        golds.append((picked * gold).sum())
    return np.array(kls), np.array(golds)


def goodhart_peak(probabilities: Array, proxy: Array, gold: Array, most: int) -> tuple[int, float]:
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    rewards = np.array([best_of_n_policy(probabilities, proxy, n) @ gold for n in range(1, most + 1)])
    best = int((rewards >= rewards.max() - 1e-9).argmax())  # the first True
    return best + 1, float(rewards[best])


def estimate_best_of_n(proxy: Array, gold: Array, n: int) -> float:
    size = len(proxy)
    if not 1 <= n <= size:
        raise ValueError(f"n must be from 1 to the number of samples, {size}; got {n}")
    # From the worst to the best: of equal ones the later is the worse.
    order = sorted(range(size), key=lambda k: (proxy[k], -k))
    total = 0.0
    # The share of choices won by the one with `worse` others below: C(worse, n-1) / C(N, n).
    share = Fraction(1, math.comb(size, n))
    for worse in range(n - 1, size):
        total += float(share) * float(gold[order[worse]])
        share *= Fraction(worse + 1, worse + 2 - n)
    return total


def over_optimisation(kl: Array, alpha: float, beta: float, form: str) -> Array:
    linear, bend = _columns(kl, form)
    return alpha * linear + beta * bend


def fit_over_optimisation(kl: Array, gold: Array, form: str) -> tuple[float, float]:
    columns = np.stack(_columns(kl, form), 1)
    if len(np.unique(kl[kl > 0])) < 2:
        raise ValueError("a fit needs two different values of kl above 0")
    # Both formulas are straight in α and β, so that least squares has a closed form.
    alpha, beta = np.linalg.lstsq(columns, gold, rcond=None)[0]
    return float(alpha), float(beta)


def optimum(alpha: float, beta: float, form: str) -> tuple[float, float]:
    _known(form)
    if not beta > 0:
        raise ValueError(f"beta must be above 0, or there is no top; got {beta}")
    if form == "bon":
        # The slope α - 2βd is 0 there.  Below 0 there is no d.
        d = max(alpha, 0.0) / (2 * beta)
        return d * d, d * (alpha - beta * d)
    # The slope α - β log d - β is 0 there, and so the reward is βd.
    d = math.exp(alpha / beta - 1)
    return d * d, beta * d


def hacking_starts(proxy: Array, gold: Array, drop: float) -> tuple[int, int] | None:
    best = 0
    for t in range(len(gold)):
        if gold[t] < gold[best] - drop and proxy[t] > proxy[best]:
            return best, t
        if gold[t] > gold[best]:
            best = t
    return None


def specification_failures(
    reward: Callable[[str], float], answers: Sequence[str], checks: Sequence[Check], tolerance: float
) -> dict[str, list[int]]:
    failures: dict[str, list[int]] = {}
    for check in checks:
        if check.expect not in ("same", "higher", "lower"):
            raise ValueError(f"a check must expect 'same', 'higher' or 'lower', got {check.expect!r}")
        if check.name in failures:
            raise ValueError(f"two checks are called {check.name!r}")
        failures[check.name] = []
    before = [reward(answer) for answer in answers]
    for check in checks:
        for place, answer in enumerate(answers):
            changed = check.change(answer)
            if changed != answer and not _holds(reward(changed), before[place], check.expect, tolerance):
                failures[check.name].append(place)
    return failures


def find_hack(
    reward: Callable[[str], float],
    gold: Callable[[str], float],
    answer: str,
    edits: Mapping[str, Callable[[str], str]],
    depth: int,
    gain: float,
) -> list[str] | None:
    base, truth = reward(answer), gold(answer)
    # Breadth first: all lists of one edit, then those of two.  Who comes to a text first has the first list.
    seen, frontier = {answer}, [(answer, [])]
    for _ in range(depth):
        reached: list[tuple[str, list[str]]] = []
        for text, made in frontier:
            for name, edit in edits.items():
                new = edit(text)
                if new in seen:
                    continue
                if reward(new) > base + gain and gold(new) <= truth:
                    return [*made, name]
                seen.add(new)
                reached.append((new, [*made, name]))
        frontier = reached
    return None


def _known(form: str) -> None:
    if form not in ("bon", "rl"):
        raise ValueError(f"form must be 'bon' or 'rl', got {form!r}")


def _columns(kl: Array, form: str) -> tuple[Array, Array]:
    """What α and β are multiplied by."""
    _known(form)
    d = np.sqrt(kl)
    if form == "bon":
        return d, -d * d
    # d · log d goes to 0 as d does.
    return d, -d * np.log(np.where(d > 0, d, 1.0))


def _holds(after: float, before: float, expect: str, tolerance: float) -> bool:
    if not (math.isfinite(after) and math.isfinite(before)):
        return False
    if expect == "same":
        return abs(after - before) <= tolerance
    rise = after - before if expect == "higher" else before - after
    return rise > tolerance
