"""Human and automatic evaluation: the reference."""

from collections.abc import Callable
from typing import Any

import numpy as np


def rubric_scores(
    ratings: np.ndarray, weights: np.ndarray, highest: np.ndarray, required: np.ndarray | None = None
) -> np.ndarray:
    given = ~np.isnan(ratings)
    counts = given.sum(1)
    rated = counts > 0
    shares = np.where(given, ratings, 0).sum(1) / np.maximum(counts, 1) / highest
    # What nobody rated drops out of both sums: the remaining weights share the whole.
    weight = (rated * weights).sum(1)
    scores = np.full(len(ratings), np.nan)
    np.divide((shares * rated * weights).sum(1), weight, out=scores, where=weight > 0)
    if required is not None:
        scores[(required & rated & (shares < 0.5)).any(1)] = 0
    return scores


def kappa(a: np.ndarray, b: np.ndarray, classes: int, weights: str = "none") -> float:
    i, j = np.indices((classes, classes))
    kinds = {"none": i != j, "linear": abs(i - j), "quadratic": (i - j) ** 2}
    if weights not in kinds:
        raise ValueError(f"weights must be none, linear or quadratic, got {weights}")
    observed = np.zeros((classes, classes))
    np.add.at(observed, (a, b), 1 / len(a))
    expected = np.outer(observed.sum(1), observed.sum(0))
    chance = (kinds[weights] * expected).sum()
    return float(1 - (kinds[weights] * observed).sum() / chance) if chance > 0 else 1.0


def krippendorff_alpha(labels: np.ndarray) -> float:
    # How often each item got each class; a lone label can't agree with anything.
    counts = np.stack([(labels == k).sum(1) for k in range(labels.max() + 1)] or [np.zeros(len(labels))], axis=1)
    counts = counts[counts.sum(1) > 1]
    if len(counts) == 0:
        raise ValueError("no item has two labels")
    of_item, of_class, m = counts.sum(1), counts.sum(0), counts.sum()
    # Of n labels, n² - Σ n_k² ordered pairs are unlike.
    observed = ((of_item**2 - (counts**2).sum(1)) / (of_item - 1)).sum() / m
    expected = (m**2 - (of_class**2).sum()) / (m * (m - 1))
    return float(1 - observed / expected) if expected > 0 else 1.0


def vote_shares(labels: np.ndarray, classes: int) -> np.ndarray:
    votes = _one_hot(labels, classes).sum(1)
    total = votes.sum(1, keepdims=True)
    return np.where(total > 0, votes / np.maximum(total, 1), 1 / classes)


def estimate_annotators(
    labels: np.ndarray, posteriors: np.ndarray, smoothing: float = 0.01
) -> tuple[np.ndarray, np.ndarray]:
    classes = posteriors.shape[1]
    # An expected count: each item counts for all classes, as much as each is probable.
    counts = np.einsum("ik,ijl->jkl", posteriors, _one_hot(labels, classes)) + smoothing
    return posteriors.mean(0), counts / counts.sum(2, keepdims=True)


def infer_labels(labels: np.ndarray, prior: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    log = np.log(prior) + np.einsum("ijl,jkl->ik", _one_hot(labels, len(prior)), np.log(confusion))
    # A thousand factors below 1 are 0 in floats. Only differences of logarithms matter.
    posteriors = np.exp(log - log.max(1, keepdims=True))
    return posteriors / posteriors.sum(1, keepdims=True)


def dawid_skene(
    labels: np.ndarray, classes: int, steps: int, smoothing: float = 0.01
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    posteriors = vote_shares(labels, classes)
    for _ in range(steps):
        prior, confusion = estimate_annotators(labels, posteriors, smoothing)
        posteriors = infer_labels(labels, prior, confusion)
    return posteriors, prior, confusion


def combine_orders(ab: np.ndarray, ba: np.ndarray) -> np.ndarray:
    # In ba a 1 is for B: the two agree where one is the other's opposite.
    return np.where(ab == -ba, ab, 0)


def position_bias(ab: np.ndarray, ba: np.ndarray) -> tuple[float, float]:
    verdicts = np.concatenate([ab, ba])
    chosen = verdicts[verdicts != 0]
    return float((ab == -ba).mean()), float((chosen == 1).mean()) if len(chosen) else float("nan")


def fit_judge(
    first: np.ndarray, second: np.ndarray, won: np.ndarray, models: int, ridge: float = 0.01
) -> tuple[np.ndarray, float]:
    # A logistic regression: 1 for the first one, -1 for the second one, and a last column of ones for γ.
    x = np.zeros((len(first), models + 1))
    rows = np.arange(len(first))
    x[rows, first] += 1
    x[rows, second] -= 1
    x[:, -1] = 1
    w = np.zeros(models + 1)
    for _ in range(100):
        p = 0.5 * (1 + np.tanh(x @ w / 2))  # σ, without an overflow
        gradient = x.T @ (p - won) + ridge * w
        hessian = (x.T * (p * (1 - p))) @ x + ridge * np.eye(models + 1)
        step = np.linalg.solve(hessian, gradient)
        # Newton's first steps may be far too long where one side wins every time.
        w -= step / max(1, np.abs(step).max())
    return w[:-1], float(w[-1])


def order_test(score: Callable[[list[Any]], float], items: list[Any], shuffles: int, rng: np.random.Generator) -> float:
    published = score(list(items))
    as_high = sum(score([items[i] for i in rng.permutation(len(items))]) >= published - 1e-9 for _ in range(shuffles))
    return (1 + as_high) / (1 + shuffles)


def _one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """(items, annotators, classes); a missing label is all zeros."""
    return (labels[:, :, None] == np.arange(classes)).astype(float)
