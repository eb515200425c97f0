"""Time series: the reference."""

from collections.abc import Sequence

import numpy as np


def lag_features(y: np.ndarray, lags: Sequence[int]) -> np.ndarray:
    y = np.asarray(y, dtype=np.float64)
    features = np.full((len(y), len(lags)), np.nan)
    for column, lag in enumerate(lags):
        if lag < 1:
            raise ValueError(f"the lag {lag} looks at the present or the future; expected 1 or more")
        # Not np.roll: it would carry the last values round to the first rows.
        features[lag:, column] = y[: max(len(y) - lag, 0)]
    return features


def rolling_features(y: np.ndarray, window: int) -> np.ndarray:
    if window < 1:
        raise ValueError(f"the window is {window}; expected 1 or more")
    y = np.asarray(y, dtype=np.float64)
    features = np.full((len(y), 2), np.nan)
    if len(y) > window:
        # Row t gets the window that ends at t - 1: the last one, which holds y[-1], is nobody's.
        windows = np.lib.stride_tricks.sliding_window_view(y, window)[:-1]
        features[window:] = np.column_stack([windows.mean(axis=1), windows.std(axis=1)])
    return features


def seasonal_naive(y: np.ndarray, period: int, steps: int) -> np.ndarray:
    if len(y) < period:
        raise ValueError(f"y has {len(y)} values, fewer than a period of {period}")
    season = np.asarray(y, dtype=np.float64)[len(y) - period :]
    return season[np.arange(steps) % period]


def mase(actual: np.ndarray, forecast: np.ndarray, train: np.ndarray, period: int = 1) -> float:
    if np.shape(actual) != np.shape(forecast):
        raise ValueError(f"actual has shape {np.shape(actual)}, the forecast {np.shape(forecast)}; expected the same")
    if len(train) <= period:
        raise ValueError(f"{len(train)} training values have no difference over a period of {period}")
    actual, forecast, train = (np.asarray(a, dtype=np.float64) for a in (actual, forecast, train))
    naive = np.abs(train[period:] - train[:-period]).mean()
    if naive == 0:
        raise ValueError("the naive forecast's error on the training values is zero: nothing to scale by")
    return float(np.abs(actual - forecast).mean() / naive)


def walk_forward(
    n: int,
    first: int,
    horizon: int,
    step: int | None = None,
    window: int | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    if first + horizon > n:
        raise ValueError(f"the first split needs {first + horizon} rows, but there are {n}")
    splits = []
    for end in range(first, n - horizon + 1, horizon if step is None else step):
        start = 0 if window is None else max(0, end - window)
        splits.append((np.arange(start, end), np.arange(end, end + horizon)))
    return splits


def _two_seasons(y: np.ndarray, period: int) -> np.ndarray:
    if len(y) < 2 * period:
        raise ValueError(f"y has {len(y)} values, fewer than two periods of {period}")
    return np.asarray(y, dtype=np.float64)


def decompose(y: np.ndarray, period: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y = _two_seasons(y, period)
    n, half = len(y), period // 2
    weights = np.ones(period) / period
    if period % 2 == 0:
        # An even window has no middle: half a step to the left and half to the right, averaged, has one.
        weights = np.convolve(weights, [0.5, 0.5])
    trend = np.full(n, np.nan)
    trend[half : n - half] = np.convolve(y, weights, mode="valid")
    detrended = y - trend
    places = np.array([np.nanmean(detrended[place::period]) for place in range(period)])
    seasonal = (places - places.mean())[np.arange(n) % period]
    return trend, seasonal, detrended - seasonal


def holt_winters(
    y: np.ndarray,
    period: int,
    alpha: float,
    beta: float,
    gamma: float,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; expected 0 to 1")
    y = _two_seasons(y, period)
    level = y[:period].mean()
    slope = (y[period : 2 * period].mean() - level) / period
    season = y[:period] - level
    fitted = np.empty(len(y))
    for t, value in enumerate(y):
        place, ahead = t % period, level + slope
        fitted[t] = ahead + season[place]
        before = level
        level = alpha * (value - season[place]) + (1 - alpha) * ahead
        slope = beta * (level - before) + (1 - beta) * slope
        # `ahead`, the level that was expected, not the new one, which has already followed this value.
        season[place] = gamma * (value - ahead) + (1 - gamma) * season[place]
    h = np.arange(1, steps + 1)
    return fitted, level + h * slope + season[(len(y) + h - 1) % period]


def fit_ar(y: np.ndarray, order: int) -> tuple[float, np.ndarray]:
    if len(y) < 2 * order + 1:
        raise ValueError(f"y has {len(y)} values; order {order} needs {2 * order + 1}")
    y = np.asarray(y, dtype=np.float64)
    # Window t of order + 1 values, turned round: the value itself, the one before it, …
    rows = np.lib.stride_tricks.sliding_window_view(y, order + 1)[:, ::-1]
    design = np.column_stack([np.ones(len(rows)), rows[:, 1:]])
    theta = np.linalg.lstsq(design, rows[:, 0], rcond=None)[0]
    return float(theta[0]), theta[1:]


def yule_walker(y: np.ndarray, order: int) -> tuple[np.ndarray, float]:
    n = len(y)
    if not 1 <= order < n:
        raise ValueError(f"the order is {order}; expected 1 to {n - 1}")
    if np.min(y) == np.max(y):
        raise ValueError("y is constant: it has no autocorrelation")
    y = np.asarray(y, dtype=np.float64)
    centred = y - y.mean()
    r = np.array([centred[: n - k] @ centred[k:] for k in range(order + 1)]) / n
    i = np.arange(order)
    coefs = np.linalg.solve(r[np.abs(i[:, None] - i)], r[1:])
    return coefs, float(r[0] - coefs @ r[1:])


def forecast_ar(y: np.ndarray, intercept: float, coefs: np.ndarray, steps: int) -> np.ndarray:
    p = len(coefs)
    if len(y) < p:
        raise ValueError(f"y has {len(y)} values, but the process looks back at {p}")
    values = np.asarray(y, dtype=np.float64).tolist()
    for _ in range(steps):
        values.append(intercept + sum(phi * values[-1 - i] for i, phi in enumerate(coefs)))
    return np.array(values[len(y) :], dtype=np.float64)
