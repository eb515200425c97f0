"""Fairness: the reference."""

from __future__ import annotations

import math

import numpy as np


def group_rates(labels: np.ndarray, decisions: np.ndarray, groups: np.ndarray) -> dict[str, dict[str, float]]:
    rates = {}
    for g in np.unique(groups):
        y, chosen = labels[groups == g] == 1, decisions[groups == g] == 1
        rates[g] = {
            "n": len(y),
            "base": _share(y),
            "selection": _share(chosen),
            "tpr": _share(chosen[y]),
            "fpr": _share(chosen[~y]),
            "ppv": _share(y[chosen]),
        }
    return rates


def accuracy_by_group(labels: np.ndarray, decisions: np.ndarray, groups: np.ndarray) -> tuple[float, float, float]:
    right = labels == decisions
    by_group = [_share(right[groups == g]) for g in np.unique(groups)]
    # Micro counts people, macro counts groups: a small group has a voice only in the second.
    return _share(right), float(np.mean(by_group)), min(by_group)


def demographic_parity(decisions: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    selection = [_share(decisions[groups == g] == 1) for g in np.unique(groups)]
    low, high = min(selection), max(selection)
    return high - low, low / high if high > 0 else 1.0


def equalized_odds_difference(labels: np.ndarray, decisions: np.ndarray, groups: np.ndarray) -> float:
    rates = group_rates(labels, decisions, groups)
    for g, found in rates.items():
        if found["base"] in (0, 1):
            raise ValueError(f"group {g} has only labels {found['base']:.0f}: its tpr or fpr doesn't exist")
    gaps = []
    for name in ("tpr", "fpr"):
        values = [found[name] for found in rates.values()]
        gaps.append(max(values) - min(values))
    return max(gaps)


def calibration_by_group(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, bins: int = 10
) -> dict[str, float]:
    place = np.minimum((scores * bins).astype(int), bins - 1)  # a score of 1 would be alone in one bin more
    errors = {}
    for g in np.unique(groups):
        mine = groups == g
        gap = scores[mine] - labels[mine]
        # n_b times the distance of two means is the distance of two sums.
        errors[g] = float(np.abs(np.bincount(place[mine], weights=gap)).sum() / mine.sum())
    return errors


def reweigh(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    weights = np.empty(len(labels))
    for g in np.unique(groups):
        for y in (0, 1):
            same = (groups == g) & (labels == y)
            if same.any():
                weights[same] = (groups == g).sum() * (labels == y).sum() / (len(labels) * same.sum())
    return weights


def group_thresholds(
    scores: np.ndarray, groups: np.ndarray, rate: float, labels: np.ndarray | None = None
) -> dict[str, float]:
    thresholds = {}
    for g in np.unique(groups):
        mine = groups == g if labels is None else (groups == g) & (labels == 1)
        if not mine.any():
            raise ValueError(f"group {g} has nobody with label 1")
        falling = np.sort(scores[mine])[::-1]
        # The k-th largest score selects at least k people; more, if others have the same.
        k = max(1, math.ceil((rate - 1e-9) * len(falling)))
        thresholds[g] = float(falling[k - 1])
    return thresholds


def implied_fpr(base: float, ppv: float, tpr: float) -> float:
    fpr = base / (1 - base) * (1 - ppv) / ppv * tpr
    if fpr > 1:
        raise ValueError(f"no model has base {base}, ppv {ppv} and tpr {tpr}: its fpr would be {fpr}")
    return fpr


def odds_flips(fpr: float, tpr: float, target_fpr: float, target_tpr: float) -> tuple[float, float]:
    if tpr == fpr:
        raise ValueError(f"tpr and fpr are both {fpr}: the model knows nothing, and flips only move along the diagonal")
    # The difference of both equations has p₁ - p₀ alone.
    slope = (target_tpr - target_fpr) / (tpr - fpr)
    p0 = target_fpr - slope * fpr
    p1 = p0 + slope
    if min(p0, p1) < -1e-9 or max(p0, p1) > 1 + 1e-9:
        raise ValueError(f"the target is out of reach: it needs the chances {p0} and {p1}")
    return p0, p1


def flip(
    decisions: np.ndarray, groups: np.ndarray, chances: dict[str, tuple[float, float]], rng: np.random.Generator
) -> np.ndarray:
    selected = np.array([chances[g][int(d)] for g, d in zip(groups, decisions, strict=True)])
    return (rng.random(len(decisions)) < selected).astype(np.int64)


def _share(yes: np.ndarray) -> float:
    return float(yes.mean()) if len(yes) else math.nan
