"""Model selection: the reference."""

from collections.abc import Callable, Sequence

import numpy as np

Fit = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]
Score = Callable[[np.ndarray, np.ndarray], float]
Split = tuple[np.ndarray, np.ndarray]


def _splits(fold: np.ndarray, k: int) -> list[Split]:
    """A (train, test) pair for each fold, from the number of each row's fold."""
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(k)]


def stratified_k_fold(y: np.ndarray, k: int, rng: np.random.Generator) -> list[Split]:
    if not 2 <= k <= len(y):
        raise ValueError(f"k must be from 2 to the number of rows, {len(y)}; got {k}")
    dealt = np.concatenate([rng.permutation(np.flatnonzero(y == c)) for c in np.unique(y)])
    fold = np.empty(len(y), dtype=int)
    # Dealt like cards, one class after the other: going on where the last class ended keeps the
    # folds of one size.  Starting each class at fold 0 would give the first folds all that is over.
    fold[dealt] = np.arange(len(y)) % k
    return _splits(fold, k)


def group_k_fold(groups: np.ndarray, k: int) -> list[Split]:
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if not 2 <= k <= len(names):
        raise ValueError(f"k must be from 2 to the number of groups, {len(names)}; got {k}")
    load = np.zeros(k, dtype=int)
    fold_of_group = np.empty(len(names), dtype=int)
    # The largest first: small ones can still level what they leave uneven.
    for g in np.argsort(-sizes, kind="stable"):
        fold_of_group[g] = load.argmin()
        load[fold_of_group[g]] += sizes[g]
    return _splits(fold_of_group[group], k)


def time_series_split(n: int, k: int, gap: int = 0, max_train: int | None = None) -> list[Split]:
    size = n // (k + 1)
    first = n - k * size
    if size == 0 or first - gap <= 0:
        raise ValueError(f"{n} rows are too few for {k} splits with a gap of {gap}")
    splits = []
    for start in range(first, n, size):
        end = start - gap
        begin = 0 if max_train is None else max(0, end - max_train)
        splits.append((np.arange(begin, end), np.arange(start, start + size)))
    return splits


def cross_validate(fit: Fit, score: Score, x: np.ndarray, y: np.ndarray, splits: Sequence[Split]) -> np.ndarray:
    scores = []
    for train, test in splits:
        predict = fit(x[train], y[train])
        scores.append(score(y[test], predict(x[test])))
    return np.array(scores, dtype=float)


def nested_cross_validate(
    candidates: Sequence[Fit],
    score: Score,
    x: np.ndarray,
    y: np.ndarray,
    outer: Sequence[Split],
    inner: Callable[[np.ndarray, np.ndarray], Sequence[Split]],
) -> tuple[np.ndarray, np.ndarray]:
    scores, chosen = [], []
    for train, test in outer:
        x_train, y_train = x[train], y[train]
        # All that is chosen is chosen on the outer training rows; the test rows are seen once.
        splits = inner(x_train, y_train)
        means = [cross_validate(fit, score, x_train, y_train, splits).mean() for fit in candidates]
        best = int(np.argmax(means))
        predict = candidates[best](x_train, y_train)
        scores.append(score(y[test], predict(x[test])))
        chosen.append(best)
    return np.array(scores, dtype=float), np.array(chosen, dtype=int)


def one_standard_error(scores: np.ndarray) -> int:
    means = scores.mean(axis=1)
    best = means.argmax()
    error = scores[best].std(ddof=1) / np.sqrt(scores.shape[1])
    # argmax of truth values is the first True.
    return int((means >= means[best] - error).argmax())


def learning_curve(
    fit: Fit,
    score: Score,
    x: np.ndarray,
    y: np.ndarray,
    sizes: Sequence[int],
    splits: Sequence[Split],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    fewest = min(len(train) for train, _ in splits)
    if max(sizes) > fewest:
        raise ValueError(f"a size of {max(sizes)} is asked for, but a split has only {fewest} training rows")
    on_train = np.empty((len(sizes), len(splits)))
    on_test = np.empty_like(on_train)
    for j, (train, test) in enumerate(splits):
        # One order a split: a larger training set contains the smaller, so the curve is less ragged.
        shuffled = rng.permutation(train)
        for i, size in enumerate(sizes):
            rows = shuffled[:size]
            predict = fit(x[rows], y[rows])
            on_train[i, j] = score(y[rows], predict(x[rows]))
            on_test[i, j] = score(y[test], predict(x[test]))
    return on_train, on_test


def bias_variance(
    fit: Fit,
    draw: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]],
    x: np.ndarray,
    truth: np.ndarray,
    rounds: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    guesses = np.array([fit(*draw(rng))(x) for _ in range(rounds)])
    bias = guesses.mean(axis=0) - truth
    # Divided by the rounds, not by one less: so the two add up to the mean squared error exactly.
    return float((bias**2).mean()), float(guesses.var(axis=0).mean())
