"""Classification metrics: the reference."""

from collections.abc import Sequence

import numpy as np


def confusion_matrix(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    labels: Sequence | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    if len(y_true) != len(y_pred):
        raise ValueError(f"y_true and y_pred must have one entry a row, got {len(y_true)} and {len(y_pred)}")
    if labels is None:
        labels = np.unique(np.concatenate([y_true, y_pred]))
    place = {label: i for i, label in enumerate(np.asarray(labels).tolist())}
    unknown = [label for label in [*y_true.tolist(), *y_pred.tolist()] if label not in place]
    if unknown:
        raise ValueError(f"{unknown[0]!r} isn't one of the labels {list(place)}")
    matrix = np.zeros((len(place), len(place)))
    rows = np.array([place[label] for label in y_true.tolist()], dtype=int)
    columns = np.array([place[label] for label in y_pred.tolist()], dtype=int)
    # matrix[rows, columns] += 1 would add 1 once to a cell that stands there several times.
    np.add.at(matrix, (rows, columns), 1.0 if weights is None else weights)
    return matrix


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part/whole, and 0 where both are 0: nothing was there to be found."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)


def precision_recall_f1(matrix: np.ndarray, average: str | None = "macro") -> tuple:
    if average not in (None, "macro", "micro", "weighted"):
        raise ValueError(f"average must be None, 'macro', 'micro' or 'weighted', got {average!r}")
    right, predicted, actual = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    if average == "micro":
        right, predicted, actual = right.sum(), predicted.sum(), actual.sum()
    # 2PR/(P + R) with both written as fractions; it has no 0/0 where P and R are both 0.
    each = _ratio(right, predicted), _ratio(right, actual), _ratio(2 * right, predicted + actual)
    if average is None:
        return each
    if average == "micro":
        return tuple(float(score) for score in each)
    if average == "macro":
        return tuple(float(score.mean()) for score in each)
    share = _ratio(actual, actual.sum())
    return tuple(float(share @ score) for score in each)


def _above(y: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> tuple:
    """Each distinct score, falling, and the weight of positives and of negatives at or above it."""
    positive = np.asarray(y, dtype=bool)
    weights = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(scores)[::-1]
    positive, scores, weights = positive[order], scores[order], weights[order]
    # Rows with equal scores pass the threshold together, so only the last of each run is a point.
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(np.where(positive, weights, 0.0))[last]
    false_alarms = np.cumsum(np.where(positive, 0.0, weights))[last]
    return scores[last].astype(float), hits, false_alarms


def roc_curve(
    y: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not np.any(y):
        raise ValueError("there is no positive row, so the true positive rate is 0/0")
    if np.all(y):
        raise ValueError("there is no negative row, so the false positive rate is 0/0")
    thresholds, hits, false_alarms = _above(y, scores, weights)
    fpr = np.append(0.0, false_alarms / false_alarms[-1])
    tpr = np.append(0.0, hits / hits[-1])
    return fpr, tpr, np.append(np.inf, thresholds)


def roc_auc(y: np.ndarray, scores: np.ndarray) -> float:
    fpr, tpr, _ = roc_curve(y, scores)
    # A run of ties is a slope: its trapezoid counts each tied pair half.
    return float((np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2).sum())


def precision_recall_curve(y: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not np.any(y):
        raise ValueError("there is no positive row, so recall is 0/0")
    thresholds, hits, false_alarms = _above(y, scores)
    return hits / (hits + false_alarms), hits / hits[-1], thresholds


def average_precision(y: np.ndarray, scores: np.ndarray) -> float:
    precision, recall, _ = precision_recall_curve(y, scores)
    # Steps, not trapezoids: precision between two thresholds isn't a straight line.
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def log_loss(y: np.ndarray, proba: np.ndarray, weights: np.ndarray | None = None) -> float:
    off = np.flatnonzero(np.abs(proba.sum(axis=1) - 1) > 1e-6)
    if off.size > 0:
        raise ValueError(f"the probabilities of row {off[0]} sum to {proba[off[0]].sum()}; expected 1")
    own = np.asarray(proba, dtype=float)[np.arange(len(y)), y]
    return float(np.average(-np.log(np.maximum(own, 1e-15)), weights=weights))


def expected_calibration_error(y: np.ndarray, proba: np.ndarray, bins: int = 10) -> float:
    confidence = proba.max(axis=1)
    correct = proba.argmax(axis=1) == y
    # Edges are divided: ⌈confidence · bins⌉ may round up, 0.56 · 25 to just above 14.  An edge falls
    # into the bin below it, as searchsorted takes the first place.
    which = np.searchsorted(np.arange(1, bins) / bins, confidence)
    gaps = np.bincount(which, weights=correct) - np.bincount(which, weights=confidence)
    # |accuracy - mean confidence| times the bin's share of rows: the bin's size cancels.
    return float(np.abs(gaps).sum() / len(y))
