"""Gradient boosting: the reference."""

import math

import numpy as np

from .k09_decision_tree import Node, grow, leaf_rows

LOSSES = ("squared", "logistic")


def _check(loss: str) -> None:
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")


def _sigmoid(raw: np.ndarray) -> np.ndarray:
    # exp(-|F|) never overflows; for F < 0 the same fraction is widened by e^F.
    small = np.exp(-np.abs(raw))
    return np.where(raw >= 0, 1.0, small) / (1 + small)


def mean_loss(loss: str, y: np.ndarray, raw: np.ndarray) -> float:
    _check(loss)
    if loss == "squared":
        return float(((raw - y) ** 2).mean() / 2)
    # log(1 + e^F) - y F, without computing e^F.
    return float((np.logaddexp(0.0, raw) - y * raw).mean())


def gradients(loss: str, y: np.ndarray, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _check(loss)
    y, raw = np.asarray(y, dtype=np.float64), np.asarray(raw, dtype=np.float64)
    if loss == "squared":
        return raw - y, np.ones_like(raw)
    p = _sigmoid(raw)
    # σ(F) σ(-F): 1 - p would be 0 for a large F.
    return p - y, p * _sigmoid(-raw)


def base_score(loss: str, y: np.ndarray) -> float:
    _check(loss)
    if loss == "squared":
        return float(np.mean(y))
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"labels must be 0 and 1, got {np.unique(y)}")
    ones = int(np.sum(y))
    if ones in (0, len(y)):
        raise ValueError(f"y needs both labels, but all are {ones // len(y)}")
    return math.log(ones / (len(y) - ones))


def leaf_weight(g: float, h: float, lam: float) -> float:
    return -g / (h + lam) if h + lam > 0 else 0.0


def split_gain(g_left: float, h_left: float, g_right: float, h_right: float, lam: float, gamma: float) -> float:
    def worth(g: float, h: float) -> float:
        # What the best weight takes off the loss: ½ G²/(H + λ).
        return g * g / (h + lam) / 2 if h + lam > 0 else 0.0

    return worth(g_left, h_left) + worth(g_right, h_right) - worth(g_left + g_right, h_left + h_right) - gamma


def boosting_tree(
    x: np.ndarray, g: np.ndarray, h: np.ndarray, max_depth: int | None = 3, min_leaf: int = 1, lam: float = 0.0
) -> Node:
    root = grow(x, -g, "squared", max_depth, min_leaf)
    for leaf, rows in leaf_rows(root, x):
        # The tree chose the regions; the Newton step replaces its means.
        leaf.value = leaf_weight(float(g[rows].sum()), float(h[rows].sum()), lam)
    return root


def _values(root: Node, x: np.ndarray) -> np.ndarray:
    values = np.zeros(len(x))
    for leaf, rows in leaf_rows(root, x):
        values[rows] = leaf.value
    return values


class GradientBoosting:
    def __init__(
        self,
        loss: str = "squared",
        trees: int = 100,
        rate: float = 0.1,
        max_depth: int | None = 3,
        min_leaf: int = 1,
        lam: float = 0.0,
        patience: int | None = None,
    ) -> None:
        _check(loss)
        self.loss, self.trees, self.rate, self.patience = loss, trees, rate, patience
        self.max_depth, self.min_leaf, self.lam = max_depth, min_leaf, lam

    def fit(self, x: np.ndarray, y: np.ndarray, valid: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        if self.patience is not None and valid is None:
            raise ValueError(f"patience is {self.patience}, but no valid data is given to stop by")
        self.base = base_score(self.loss, y)
        self.members: list[Node] = []
        # Each tree is asked once: F is carried along.
        raw = np.full(len(y), self.base)
        self.train_losses, self.valid_losses = [mean_loss(self.loss, y, raw)], []
        if valid is not None:
            valid_raw = np.full(len(valid[1]), self.base)
            self.valid_losses.append(mean_loss(self.loss, valid[1], valid_raw))
        for _ in range(self.trees):
            root = boosting_tree(x, *gradients(self.loss, y, raw), self.max_depth, self.min_leaf, self.lam)
            self.members.append(root)
            raw += self.rate * _values(root, x)
            self.train_losses.append(mean_loss(self.loss, y, raw))
            if valid is not None:
                valid_raw += self.rate * _values(root, valid[0])
                self.valid_losses.append(mean_loss(self.loss, valid[1], valid_raw))
                best = int(np.argmin(self.valid_losses))
                if self.patience is not None and len(self.members) - best >= self.patience:
                    break
        if self.patience is not None:
            # Those after the best round only fitted noise.
            del self.members[int(np.argmin(self.valid_losses)) :]

    def raw(self, x: np.ndarray, trees: int | None = None) -> np.ndarray:
        return self.base + self.rate * sum((_values(root, x) for root in self.members[:trees]), np.zeros(len(x)))

    def predict(self, x: np.ndarray) -> np.ndarray:
        raw = self.raw(x)
        return raw if self.loss == "squared" else _sigmoid(raw)
