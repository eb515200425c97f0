"""A two-tower model: the reference."""

from collections.abc import Iterable

import numpy as np


def embed(features: np.ndarray, w: np.ndarray) -> np.ndarray:
    z = features @ w
    lengths = np.linalg.norm(z, axis=1, keepdims=True)
    # A row of zeros has no direction: divided by 1 it stays zeros.
    return z / np.where(lengths > 0, lengths, 1.0)


def embed_gradient(features: np.ndarray, w: np.ndarray, upstream: np.ndarray) -> np.ndarray:
    z = features @ w
    lengths = np.linalg.norm(z, axis=1, keepdims=True)
    safe = np.where(lengths > 0, lengths, 1.0)
    e = z / safe
    # Only what is at right angles to e turns it; what lies along e changes the length, which is divided away.
    across = upstream - (upstream * e).sum(axis=1, keepdims=True) * e
    return features.T @ np.where(lengths > 0, across / safe, 0.0)


class FrequencyEstimator:
    def __init__(self, n_items: int, rate: float, start: float) -> None:
        self.rate = rate
        self.gap = np.full(n_items, float(start))
        self.last = np.zeros(n_items, dtype=np.int64)

    def update(self, step: int, items: np.ndarray) -> None:
        # A set: the second time in one batch would be a gap of 0.
        there = np.unique(items)
        self.gap[there] = (1 - self.rate) * self.gap[there] + self.rate * (step - self.last[there])
        self.last[there] = step

    def log_q(self, items: np.ndarray) -> np.ndarray:
        # An item that comes every B steps comes with probability 1/B.
        return -np.log(self.gap[items])


def in_batch_logits(
    users: np.ndarray, items: np.ndarray, temperature: float, log_q: np.ndarray, item_ids: np.ndarray
) -> np.ndarray:
    logits = users @ items.T / temperature - log_q
    # The same item elsewhere in the batch is no negative.
    same = (item_ids[:, None] == item_ids) & ~np.eye(len(item_ids), dtype=bool)
    return np.where(same, -np.inf, logits)


def in_batch_loss(logits: np.ndarray) -> tuple[float, np.ndarray]:
    b = len(logits)
    # The diagonal is finite, so no row is all -inf.
    shifted = logits - logits.max(axis=1, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(axis=1, keepdims=True)
    loss = (np.log(total[:, 0]) - np.diag(shifted)).mean()
    return float(loss), (weights / total - np.eye(b)) / b


def loss_and_gradients(
    w_user: np.ndarray,
    w_item: np.ndarray,
    user_features: np.ndarray,
    item_features: np.ndarray,
    temperature: float,
    log_q: np.ndarray,
    item_ids: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    users, items = embed(user_features, w_user), embed(item_features, w_item)
    loss, upstream = in_batch_loss(in_batch_logits(users, items, temperature, log_q, item_ids))
    # Both towers meet in users @ items.T: each gets the other's embeddings.
    by_user = embed_gradient(user_features, w_user, upstream @ items / temperature)
    by_item = embed_gradient(item_features, w_item, upstream.T @ users / temperature)
    return loss, by_user, by_item


def train(
    w_user: np.ndarray,
    w_item: np.ndarray,
    user_features: np.ndarray,
    item_features: np.ndarray,
    batches: Iterable[np.ndarray],
    temperature: float,
    log_q: np.ndarray,
    rate: float,
) -> tuple[np.ndarray, np.ndarray]:
    for batch in batches:
        u, i = batch.T
        _, by_user, by_item = loss_and_gradients(
            w_user, w_item, user_features[u], item_features[i], temperature, log_q[i], i
        )
        # New arrays, not -=: the caller keeps the start.
        w_user, w_item = w_user - rate * by_user, w_item - rate * by_item
    return w_user, w_item


def retrieve(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    n = len(items)
    if not 1 <= k <= n:
        raise ValueError(f"k must be from 1 to the {n} items, not {k}")
    return np.argsort(-(users @ items.T), axis=1, kind="stable")[:, :k]
