"""A playground for the diagnosis: the reference."""

import numpy as np


def standardize(X: np.ndarray) -> np.ndarray:
    return (X - X.mean(axis=0)) / X.std(axis=0)


def covariance(X: np.ndarray) -> np.ndarray:
    centred = X - X.mean(axis=0)
    return centred.T @ centred / (len(X) - 1)


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    weights = np.exp(q @ k.T / np.sqrt(q.shape[1]))
    return weights / weights.sum(axis=1, keepdims=True) @ v


def scores(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    return q @ k.T / np.sqrt(q.shape[1])


def entropy(p: np.ndarray) -> float:
    positive = p[p > 0]
    return float(-(positive * np.log(positive)).sum())


def loss(p: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(p[np.arange(len(labels)), labels]).mean())


def ranks(x: np.ndarray) -> np.ndarray:
    return x.argsort().argsort()


def above(x: np.ndarray, limit: float) -> np.ndarray:
    return x > limit


def words(text: str) -> list[str]:
    if not text:
        raise ValueError(f"expected a text, got one of length {len(text)}")
    return text.lower().split()


def bounds(x: np.ndarray) -> tuple[float, float]:
    return float(x.min()), float(x.max())
