"""First steps: the reference."""

import numpy as np


def mean(x: np.ndarray) -> float:
    # x.size counts all numbers; len(x) counts only the rows.
    return x.sum() / x.size


def clip(x: np.ndarray, low: float, high: float) -> np.ndarray:
    # maximum lifts what is too low.  Its name says what it takes, not which limit it sets.
    return np.minimum(np.maximum(x, low), high)


def column_shares(x: np.ndarray) -> np.ndarray:
    # Axis 0 runs down the rows: summing over it leaves one number a column.
    return x.sum(axis=0) / x.sum()
