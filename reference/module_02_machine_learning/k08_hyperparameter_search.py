"""Hyperparameter search: the reference."""

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Fit = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]
Acquisition = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def grid(space: Mapping[str, Sequence]) -> list[dict[str, Any]]:
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def draw(space: Mapping[str, list | tuple], rng: np.random.Generator) -> dict[str, Any]:
    config = {}
    for name, range_ in space.items():
        if isinstance(range_, list):
            # By place: rng.choice(range_) would turn the values into numpy's, and None into an object.
            config[name] = range_[int(rng.integers(len(range_)))]
            continue
        kind, low, high = range_
        if kind == "uniform":
            config[name] = float(rng.uniform(low, high))
        elif kind == "log":
            if low <= 0:
                raise ValueError(f"{name}: a range on the log scale must lie above 0, got {low}")
            config[name] = math.exp(rng.uniform(math.log(low), math.log(high)))
        elif kind == "int":
            config[name] = int(rng.integers(low, high, endpoint=True))
        else:
            raise ValueError(f"{name}: expected 'uniform', 'log' or 'int', got {kind!r}")
    return config


def successive_halving(
    configs: Sequence[Any], evaluate: Callable[[Any, int], float], budget: int = 1, eta: int = 3
) -> tuple[int, float]:
    if eta < 2:
        raise ValueError(f"eta must be 2 or more, got {eta}")
    alive = np.arange(len(configs))
    while True:
        losses = np.array([evaluate(configs[i], budget) for i in alive], dtype=float)
        # Stable, so that the earlier of equals stays; NaN is sorted last.
        order = np.argsort(losses, kind="stable")
        if len(alive) == 1:
            return int(alive[0]), float(losses[0])
        alive = alive[np.sort(order[: max(1, len(alive) // eta)])]
        budget *= eta


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return ((a[:, None] - b[None, :]) ** 2).sum(axis=2)


def gp_posterior(
    x: np.ndarray, y: np.ndarray, new: np.ndarray, length: float, noise: float = 1e-6
) -> tuple[np.ndarray, np.ndarray]:
    covariance = np.exp(-_squared_distances(x, x) / (2 * length**2)) + noise * np.eye(len(x))
    across = np.exp(-_squared_distances(new, x) / (2 * length**2))
    # One solve for both: K⁻¹ y and K⁻¹ times each column of acrossᵀ.
    weights = np.linalg.solve(covariance, across.T)
    variance = 1 - (across.T * weights).sum(axis=0)
    # At a point that is known the variance is 0, or by rounding a little below.
    return weights.T @ y, np.sqrt(np.maximum(variance, 0))


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    gain = best - np.asarray(mean, dtype=float)
    certain = deviation == 0
    z = gain / np.where(certain, 1, deviation)
    below = np.array([math.erfc(-one / math.sqrt(2)) / 2 for one in z])
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return np.where(certain, np.maximum(gain, 0), gain * below + deviation * density)


def gp_scores(x: np.ndarray, y: np.ndarray, new: np.ndarray, length: float, noise: float = 1e-6) -> np.ndarray:
    # The process has mean 0 and variance 1, so the losses must have them, too.
    # Not y.std() == 0: rounding leaves [0.1, 0.1, 0.1] one of 1e-17.
    scaled = (y - y.mean()) / (y.std() if y.min() < y.max() else 1.0)
    mean, deviation = gp_posterior(x, scaled, new, length, noise)
    return expected_improvement(mean, deviation, scaled.min())


def _log_density(points: np.ndarray, new: np.ndarray, bandwidth: float) -> np.ndarray:
    """The logarithm of the mean of Gaussians around `points`, up to a constant."""
    exponents = -_squared_distances(new, points) / (2 * bandwidth**2)
    # Far from all points every exponential underflows; the largest is taken out first.
    peak = exponents.max(axis=1, keepdims=True)
    return peak[:, 0] + np.log(np.exp(exponents - peak).mean(axis=1))


def tpe_scores(x: np.ndarray, y: np.ndarray, new: np.ndarray, bandwidth: float, share: float = 0.25) -> np.ndarray:
    if len(y) < 2:
        raise ValueError(f"two losses or more are needed, one good and one bad; got {len(y)}")
    order = np.argsort(y, kind="stable")
    count = max(1, int(share * len(y)))
    good, bad = x[order[:count]], x[order[count:]]
    return _log_density(good, new, bandwidth) - _log_density(bad, new, bandwidth)


def bayesian_search(
    objective: Callable[[np.ndarray], float],
    candidates: np.ndarray,
    acquisition: Acquisition,
    start: int,
    steps: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    if not 1 <= start <= len(candidates) - steps:
        raise ValueError(f"{start} + {steps} evaluations of {len(candidates)} candidates; start with 1 or more")
    tried = list(rng.choice(len(candidates), start, replace=False))
    losses = [objective(candidates[i]) for i in tried]
    for _ in range(steps):
        left = np.setdiff1d(np.arange(len(candidates)), tried)
        scores = acquisition(candidates[tried], np.array(losses, dtype=float), candidates[left])
        tried.append(left[scores.argmax()])
        losses.append(objective(candidates[tried[-1]]))
    return np.array(tried), np.array(losses, dtype=float)


def automl(
    candidates: Mapping[str, Fit],
    score: Callable[[np.ndarray, np.ndarray], float],
    x: np.ndarray,
    y: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[str, Callable[[np.ndarray], np.ndarray], dict[str, float]]:
    begin = clock()
    means: dict[str, float] = {}
    for name, fit in candidates.items():
        if clock() - begin >= seconds:
            break
        # One model that can't deal with this table must not end the search.
        try:
            means[name] = float(np.mean([score(y[b], fit(x[a], y[a])(x[b])) for a, b in splits]))
        except Exception:
            continue
    if not means:
        raise ValueError(f"none of {list(candidates)} could be scored in {seconds} seconds")
    best = max(means, key=lambda name: means[name])
    return best, candidates[best](x, y), means
