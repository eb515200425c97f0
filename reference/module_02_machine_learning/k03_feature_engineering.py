"""Feature engineering: the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np


def _check_columns(x: np.ndarray, columns: int) -> None:
    """A single column would silently broadcast against all."""
    if x.shape[1] != columns:
        raise ValueError(f"x has {x.shape[1]} columns, but fit saw {columns}")


class StandardScaler:
    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> StandardScaler:
        x = np.asarray(x, dtype=np.float64)
        self.means = x.mean(axis=0)
        # Not where the deviation is 0: that of equal numbers may be a rounding error, and dividing blows it up.
        self.scales = np.where(np.ptp(x, axis=0) == 0, 1.0, x.std(axis=0))
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        _check_columns(x, len(self.means))
        return (x - self.means) / self.scales


class RobustScaler:
    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> RobustScaler:
        low, self.medians, high = np.quantile(np.asarray(x, dtype=np.float64), [0.25, 0.5, 0.75], axis=0)
        self.distances = np.where(high == low, 1.0, high - low)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        _check_columns(x, len(self.medians))
        return (x - self.medians) / self.distances


class Imputer:
    def __init__(self, strategy: str = "median", indicator: bool = False) -> None:
        if strategy not in ("mean", "median"):
            raise ValueError(f"the strategy is {strategy!r}; expected 'mean' or 'median'")
        self.strategy, self.indicator = strategy, indicator

    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> Imputer:
        x = np.asarray(x, dtype=np.float64)
        empty = np.flatnonzero(np.isnan(x).all(axis=0))
        if empty.size > 0:
            raise ValueError(f"column {empty[0]} has no value at all")
        self.fills = np.nanmean(x, axis=0) if self.strategy == "mean" else np.nanmedian(x, axis=0)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        _check_columns(x, len(self.fills))
        gaps = np.isnan(x)
        filled = np.where(gaps, self.fills, x)
        return np.hstack([filled, gaps]) if self.indicator else filled


class OneHotEncoder:
    def __init__(self, unknown: str = "ignore") -> None:
        if unknown not in ("ignore", "error"):
            raise ValueError(f"unknown is {unknown!r}; expected 'ignore' or 'error'")
        self.unknown = unknown

    def fit(self, column: Sequence[Any], y: np.ndarray | None = None) -> OneHotEncoder:
        self.categories = np.unique(column)
        return self

    def transform(self, column: Sequence[Any]) -> np.ndarray:
        column = np.asarray(column)
        # A category that isn't there equals none of them: its row is all zeros by itself.
        hot = column[:, None] == self.categories
        strangers = np.flatnonzero(~hot.any(axis=1))
        if self.unknown == "error" and strangers.size > 0:
            raise ValueError(f"fit never saw the category {column[strangers[0]]!r}")
        return hot.astype(np.float64)


class QuantileBinner:
    def __init__(self, bins: int = 4) -> None:
        if bins < 2:
            raise ValueError(f"bins is {bins}; expected 2 or more")
        self.bins = bins

    def fit(self, column: np.ndarray, y: np.ndarray | None = None) -> QuantileBinner:
        places = np.arange(1, self.bins) / self.bins
        self.edges = np.unique(np.quantile(np.asarray(column, dtype=np.float64), places))
        return self

    def transform(self, column: np.ndarray) -> np.ndarray:
        # "right": the number of edges at or below a value, so that one on an edge goes up.
        return np.searchsorted(self.edges, column, side="right")


def interactions(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    products = [x[:, i] * x[:, j] for i, j in combinations(range(x.shape[1]), 2)]
    return np.column_stack([x, *products])


class TargetEncoder:
    def __init__(self, smoothing: float = 1.0, folds: int = 5) -> None:
        if smoothing < 0:
            raise ValueError(f"smoothing is {smoothing}; expected 0 or more")
        if folds < 2:
            raise ValueError(f"folds is {folds}; expected 2 or more")
        self.smoothing, self.folds = smoothing, folds

    def fit(self, column: Sequence[Any], y: np.ndarray) -> TargetEncoder:
        y = np.asarray(y, dtype=np.float64)
        self.mean = float(y.mean())
        categories, codes = np.unique(column, return_inverse=True)
        sums, counts = np.bincount(codes, weights=y), np.bincount(codes)
        means = (sums + self.smoothing * self.mean) / (counts + self.smoothing)
        self.encodings = dict(zip(categories, means, strict=True))
        return self

    def transform(self, column: Sequence[Any]) -> np.ndarray:
        return np.array([self.encodings.get(category, self.mean) for category in column])[:, None]

    def fit_transform(self, column: Sequence[Any], y: np.ndarray) -> np.ndarray:
        column = np.asarray(column)
        fold_of = np.arange(len(y)) % self.folds
        encoded = np.empty((len(y), 1))
        for fold in range(self.folds):
            own = fold_of == fold
            # Not a row's own target, nor its fold's: neither in the sums nor in the mean for strangers.
            encoded[own] = self.fit(column[~own], y[~own]).transform(column[own])
        # New rows have no target in here, so for them all rows may speak.
        self.fit(column, y)
        return encoded


class Pipeline:
    def __init__(self, steps: Sequence[Any], model: Any) -> None:
        self.steps, self.model = steps, model

    def fit(self, x: Any, y: np.ndarray) -> Pipeline:
        for step in self.steps:
            if hasattr(step, "fit_transform"):
                x = step.fit_transform(x, y)
            else:
                step.fit(x, y)
                x = step.transform(x)
        self.model.fit(x, y)
        return self

    def predict(self, x: Any) -> np.ndarray:
        for step in self.steps:
            x = step.transform(x)
        return self.model.predict(x)


def out_of_fold(
    make: Callable[[], Any],
    x: np.ndarray,
    y: np.ndarray,
    folds: np.ndarray,
) -> np.ndarray:
    names = np.unique(folds)
    if len(names) < 2:
        raise ValueError(f"there are {len(names)} folds; expected 2 or more")
    predictions = np.empty(len(y))
    for name in names:
        test = folds == name
        pipeline = make()
        pipeline.fit(x[~test], y[~test])
        predictions[test] = pipeline.predict(x[test])
    return predictions
