"""Broadcasting: the reference."""

import numpy as np
from numpy.lib.stride_tricks import as_strided


def one_hot(labels: np.ndarray, k: int) -> np.ndarray:
    wrong = labels[(labels < 0) | (labels >= k)]
    if wrong.size > 0:
        raise ValueError(f"labels must be from 0 to k - 1, got {wrong[0]} with k = {k}")
    return (labels[:, None] == np.arange(k)).astype(np.float64)


def pairwise_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must have rows of one width, got {x.shape[1]} and {y.shape[1]}")
    # In float64 from here on: the squares of int8 overflow, and uint8 has no differences below 0.
    x, y = x.astype(np.float64), y.astype(np.float64)
    squares = (x**2).sum(axis=1)[:, None] - 2 * x @ y.T + (y**2).sum(axis=1)
    # For equal rows rounding may leave less than 0, which has no root.
    return np.sqrt(np.maximum(squares, 0))


def sliding_windows(x: np.ndarray, width: int) -> np.ndarray:
    # x may be a view: its stride isn't always the size of one number.
    (stride,) = x.strides
    return as_strided(x, (len(x) - width + 1, width), (stride, stride))


def moving_average(x: np.ndarray, width: int) -> np.ndarray:
    # The 0.0 in front starts the first window.  float32 would be added up in float32.
    sums = np.concatenate([[0.0], np.cumsum(x, dtype=np.float64)])
    return (sums[width:] - sums[:-width]) / width


def normalize_columns(x: np.ndarray) -> np.ndarray:
    lengths = np.sqrt((x.astype(np.float64) ** 2).sum(axis=0))
    # A column of zeros divided by ∞ is zeros, without a case of its own.
    return x / np.where(lengths > 0, lengths, np.inf)


def sample_rows(x: np.ndarray, k: int, seed: int) -> np.ndarray:
    if k > len(x):
        raise ValueError(f"can't draw k = {k} different rows from n = {len(x)}")
    # A generator of its own: np.random.seed would change what the rest of the program draws.
    return x[np.random.default_rng(seed).permutation(len(x))[:k]]
