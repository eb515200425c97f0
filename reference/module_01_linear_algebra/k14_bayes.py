"""Bayes: the reference."""

import math
import re
from collections.abc import Sequence

import numpy as np


def posterior(prior: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
    joint = prior[:, None] * likelihood
    evidence = joint.sum(axis=0)
    impossible = np.flatnonzero(evidence == 0)
    if impossible.size > 0:
        raise ValueError(f"the evidence of column {impossible[0]} is impossible under every hypothesis")
    return joint / evidence


def beta_update(a: float, b: float, heads: int, tails: int) -> tuple[float, float]:
    return a + heads, b + tails


def chance_of_heads(a: float, b: float) -> float:
    return a / (a + b)


def normal_update(mean: float, sd: float, x: np.ndarray, noise: float) -> tuple[float, float]:
    precision = 1 / sd**2 + len(x) / noise**2
    weighed = mean / sd**2 + x.sum() / noise**2
    return weighed / precision, 1 / math.sqrt(precision)


def count_words(texts: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
    places = {word: j for j, word in enumerate(vocabulary)}
    counts = np.zeros((len(texts), len(places)))
    for row, text in zip(counts, texts, strict=True):
        for word in re.findall("[a-z]+", text.lower()):
            if word in places:
                row[places[word]] += 1
    return counts


class _NaiveBayes:
    """What both have in common: everything after `log_joint`, which each has its own way to compute."""

    classes: np.ndarray

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        joint = self.log_joint(x)
        # Less the largest, the exponentials can't all underflow.
        weights = np.exp(joint - joint.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes[self.log_joint(x).argmax(axis=1)]


class GaussianNaiveBayes(_NaiveBayes):
    def __init__(self, smoothing: float = 1e-9) -> None:
        self.smoothing = smoothing

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        self.classes = np.unique(y)
        groups = [x[y == c] for c in self.classes]
        self.log_prior = np.log([len(group) / len(x) for group in groups])
        self.means = np.array([group.mean(axis=0) for group in groups])
        # A feature that is constant in a class would have variance 0, and no other value any chance.
        floor = self.smoothing * x.var(axis=0).max()
        self.variances = np.array([group.var(axis=0) for group in groups]) + floor

    def log_joint(self, x: np.ndarray) -> np.ndarray:
        # (n, 1, d) against (classes, d): rows, classes, features.
        squares = (x[:, None] - self.means) ** 2 / self.variances
        return self.log_prior - (squares + np.log(2 * np.pi * self.variances)).sum(axis=2) / 2


class MultinomialNaiveBayes(_NaiveBayes):
    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        self.classes = np.unique(y)
        groups = [x[y == c] for c in self.classes]
        self.log_prior = np.log([len(group) / len(x) for group in groups])
        counts = np.array([group.sum(axis=0) for group in groups]) + self.alpha
        self.log_theta = np.log(counts / counts.sum(axis=1, keepdims=True))

    def log_joint(self, x: np.ndarray) -> np.ndarray:
        # Each occurrence of a word contributes its log θ once: a product of matrices.
        return self.log_prior + x @ self.log_theta.T
