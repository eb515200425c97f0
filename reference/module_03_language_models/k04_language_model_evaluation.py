"""Language model evaluation: the reference."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

Model = Callable[[Any], float]


def cross_entropy(log_probs: Sequence[np.ndarray]) -> float:
    tokens = sum(len(document) for document in log_probs)
    if tokens == 0:
        raise ValueError("expected at least one token, got none")
    # Summed over all documents first: every token counts the same, in a short document or a long one.
    return -sum(float(document.sum()) for document in log_probs) / tokens


def perplexity(log_probs: Sequence[np.ndarray]) -> float:
    with np.errstate(over="ignore"):  # math.exp would raise
        return float(np.exp(cross_entropy(log_probs)))


def bits_per_byte(log_probs: Sequence[np.ndarray], texts: Sequence[str]) -> float:
    if len(log_probs) != len(texts):
        raise ValueError(f"expected a text for each document, got {len(log_probs)} documents and {len(texts)} texts")
    # Bytes, not characters: every tokeniser agrees on their number.
    size = sum(len(text.encode("utf-8")) for text in texts)
    if size == 0:
        raise ValueError("expected at least one byte of text, got none")
    return -sum(float(document.sum()) for document in log_probs) / math.log(2) / size


def group_split(groups: Sequence[Hashable], share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, got {share}")
    sizes = Counter(groups)
    if len(sizes) < 2:
        raise ValueError(f"expected at least 2 groups, got {len(sizes)}")
    names, drawn, size = list(sizes), set(), 0
    # All but the last: somebody must be left to train on.
    for place in rng.permutation(len(names))[:-1]:
        if size >= share * len(groups):
            break
        drawn.add(names[place])
        size += sizes[names[place]]
    held_out = np.array([group in drawn for group in groups])
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def overlap(document: Sequence[str], training: Sequence[Sequence[str]], n: int) -> float:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")

    def ngrams(tokens: Sequence[str]) -> list[tuple[str, ...]]:
        return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]

    seen = {gram for tokens in training for gram in ngrams(tokens)}
    own = ngrams(document)
    return sum(gram in seen for gram in own) / len(own) if own else 0.0


def select_and_test(
    fit: Callable[[Any, Any], Model], settings: Sequence[Any], train: Any, validation: Any, test: Any
) -> tuple[Any, float, float]:
    best: tuple[Any, float, Model] | None = None
    for setting in settings:
        model = fit(setting, train)
        loss = model(validation)
        # NaN is neither smaller nor larger than anything, so it must not come first.
        if not math.isnan(loss) and (best is None or loss < best[1]):
            best = setting, loss, model
    if best is None:
        raise ValueError("expected at least one setting with a loss, got none")
    setting, loss, model = best
    # Only now, and only once: whatever is chosen by its test loss has a test loss that flatters.
    return setting, loss, model(test)


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    if len(first) != len(second):
        raise ValueError(f"both must label the same items, got {len(first)} and {len(second)} labels")
    if len(first) == 0:
        raise ValueError("expected at least one item, got none")
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    one, two = Counter(first), Counter(second)
    # A label that only one of them uses can't agree by chance.
    by_chance = sum(one[label] * two[label] for label in one) / n**2
    return (observed - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def fleiss_kappa(table: np.ndarray) -> float:
    raters = table.sum(axis=1)
    fewest, n = raters.min(), raters.max()
    if fewest != n:
        raise ValueError(f"every item needs as many ratings, got {fewest} and {n}")
    if n < 2:
        raise ValueError(f"expected at least 2 ratings an item, got {n}")
    # Of the n (n - 1) ordered pairs of raters, those who agree.
    observed = float((table * (table - 1.0)).sum(axis=1).mean() / (n * (n - 1)))
    by_chance = float(((table.sum(axis=0) / table.sum()) ** 2).sum())
    return (observed - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    # A path of wins from everybody to everybody; the identity lets shorter ones than of m steps count, too.
    beats = (wins > 0) | np.eye(len(wins), dtype=bool)
    if not np.linalg.matrix_power(beats, len(wins)).all():
        raise ValueError("there are players who never beat any of the others: no finite strengths are best")
    games, won = wins + wins.T, wins.sum(axis=1)
    strengths = np.ones(len(wins))
    # Zermelo's iteration: each step raises the likelihood, and none needs a rate.
    while True:
        before = strengths
        strengths = won / (games / (before[:, None] + before)).sum(axis=1)
        # Only their ratios count: keep the mean of the logarithms at 0.
        strengths = strengths / np.exp(np.log(strengths).mean())
        if np.abs(np.log(strengths / before)).max() < 1e-12:
            return np.log(strengths)


def elo_ratings(
    games: Sequence[tuple[int, int, float]], players: int, k: float = 32.0, start: float = 1500.0
) -> np.ndarray:
    ratings = np.full(players, float(start))
    for one, other, score in games:
        if not 0 <= score <= 1:
            raise ValueError(f"a score must be from 0 to 1, got {score}")
        if one == other:
            raise ValueError(f"player {one} can't play against itself")
        expected = 1 / (1 + 10 ** ((ratings[other] - ratings[one]) / 400))
        # Computed once, from the ratings before the game: what one gains the other loses.
        gain = k * (score - expected)
        ratings[one] += gain
        ratings[other] -= gain
    return ratings


def to_elo(strengths: np.ndarray, center: float = 1500.0) -> np.ndarray:
    return center + strengths * 400 / math.log(10)
