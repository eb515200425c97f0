"""Bigrams: the reference."""

import numpy as np

BOUNDARY = "."


def vocabulary(words: list[str]) -> list[str]:
    for word in words:
        if BOUNDARY in word:
            raise ValueError(f"a word must not contain the boundary {BOUNDARY!r}, got {word!r}")
    return [BOUNDARY, *sorted(set("".join(words)))]


def bigram_pairs(words: list[str], vocab: list[str]) -> tuple[np.ndarray, np.ndarray]:
    place = {character: i for i, character in enumerate(vocab)}
    first: list[int] = []
    second: list[int] = []
    for word in words:
        for character in word:
            if character not in place:
                raise ValueError(f"the character {character!r} isn't in the vocabulary")
        # Word by word, so that no pair reaches into the next one.
        places = [0, *(place[character] for character in word), 0]
        first += places[:-1]
        second += places[1:]
    # Of an empty list numpy would make floats.
    return np.array(first, dtype=np.int64), np.array(second, dtype=np.int64)


def count_matrix(first: np.ndarray, second: np.ndarray, size: int) -> np.ndarray:
    counts = np.zeros((size, size), dtype=np.int64)
    # counts[first, second] += 1 would count a repeated pair once.
    np.add.at(counts, (first, second), 1)
    return counts


def probabilities(counts: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
    if smoothing < 0:
        raise ValueError(f"smoothing must be at least 0, got {smoothing}")
    smoothed = counts + float(smoothing)
    # A row of zeros says nothing about what follows, so all of its characters count alike.
    smoothed[smoothed.sum(axis=1) == 0] = 1
    return smoothed / smoothed.sum(axis=1, keepdims=True)


def mean_nll(table: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    if len(first) == 0:
        raise ValueError("expected at least one pair, got none")
    with np.errstate(divide="ignore"):  # ln 0 is -∞, as it should be
        return float(-np.log(table[first, second]).mean())


def sample_words(
    table: np.ndarray, vocab: list[str], count: int, rng: np.random.Generator, limit: int = 30
) -> list[str]:
    words = []
    for _ in range(count):
        word, place = "", 0
        while len(word) < limit:
            place = rng.choice(len(vocab), p=table[place])
            if place == 0:
                break
            word += vocab[place]
        words.append(word)
    return words


def loss_and_gradient(
    logits: np.ndarray, first: np.ndarray, second: np.ndarray, decay: float = 0.0
) -> tuple[float, np.ndarray]:
    if len(first) == 0:
        raise ValueError("expected at least one pair, got none")
    # A constant taken from a row changes nothing in its softmax; with the largest taken, exp can't overflow.
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    # The loss depends on the pairs through their counts alone, so one table is enough for all of them.
    counts = count_matrix(first, second, len(logits))
    n = len(first)
    loss = -(log_p[first, second]).mean() + decay * (logits**2).sum()
    gradient = (counts.sum(axis=1, keepdims=True) * np.exp(log_p) - counts) / n + 2 * decay * logits
    return float(loss), gradient


def train(first: np.ndarray, second: np.ndarray, size: int, steps: int, rate: float, decay: float = 0.0) -> np.ndarray:
    logits = np.zeros((size, size))
    for _ in range(steps):
        _, gradient = loss_and_gradient(logits, first, second, decay)
        logits = logits - rate * gradient
    return logits
