"""GloVe and analogies: the reference."""

import math
from collections.abc import Collection, Sequence

import numpy as np

Parameters = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def cooccurrences(
    sentences: Sequence[Sequence[int]], size: int, window: int, weighting: str = "harmonic"
) -> np.ndarray:
    if weighting not in ("harmonic", "flat"):
        raise ValueError(f"weighting must be 'harmonic' or 'flat', got {weighting!r}")
    if window < 1:
        raise ValueError(f"window must be 1 or more, got {window}")
    counts = np.zeros((size, size))
    for sentence in sentences:
        for i, word in enumerate(sentence):
            # Looking to the left alone sees each pair of places once.
            for distance in range(1, min(window, i) + 1):
                other = sentence[i - distance]
                weight = 1 / distance if weighting == "harmonic" else 1.0
                counts[word, other] += weight
                counts[other, word] += weight
    return counts


def ppmi(counts: np.ndarray, power: float = 1.0, shift: float = 1.0) -> np.ndarray:
    counts = np.asarray(counts, dtype=np.float64)
    words, contexts = counts.sum(axis=1, keepdims=True), counts.sum(axis=0) ** power
    # p(w, c)/p(w) is X_wc by its row's sum: T cancels.
    expected = words * (contexts / contexts.sum())
    seen = counts > 0
    pmi = np.zeros(counts.shape)
    # Only here is there a logarithm, and a divisor above 0.
    pmi[seen] = np.log(counts[seen] / expected[seen]) - math.log(shift)
    return np.maximum(pmi, 0)


def svd_vectors(matrix: np.ndarray, dim: int, power: float = 0.5) -> np.ndarray:
    if not 1 <= dim <= min(matrix.shape):
        raise ValueError(f"dim must be from 1 to {min(matrix.shape)}, got {dim}")
    matrix = np.asarray(matrix, dtype=np.float64)
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    vectors = u[:, :dim] * s[:dim] ** power
    # An SVD is the same with -u and -v: fix the sign, so that every machine gives the same vectors.
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    return np.where(largest < 0, -vectors, vectors)


def glove_weight(counts: np.ndarray, x_max: float = 100.0, alpha: float = 0.75) -> np.ndarray:
    counts = np.asarray(counts, dtype=np.float64)
    return np.minimum(counts / x_max, 1.0) ** alpha


def glove_loss(parameters: Parameters, counts: np.ndarray, x_max: float = 100.0, alpha: float = 0.75) -> float:
    return float((glove_weight(counts, x_max, alpha) * _errors(parameters, counts) ** 2).sum())


def glove_gradients(
    parameters: Parameters, counts: np.ndarray, x_max: float = 100.0, alpha: float = 0.75
) -> Parameters:
    words, contexts, _, _ = parameters
    # The loss by each score w·c + b + d; all four gradients follow from it.
    upstream = 2 * glove_weight(counts, x_max, alpha) * _errors(parameters, counts)
    return upstream @ contexts, upstream.T @ words, upstream.sum(axis=1), upstream.sum(axis=0)


def train_glove(
    counts: np.ndarray,
    dim: int,
    epochs: int,
    rate: float,
    rng: np.random.Generator,
    x_max: float = 100.0,
    alpha: float = 0.75,
) -> Parameters:
    n, m = counts.shape
    half = 0.5 / dim
    parameters = tuple(rng.uniform(-half, half, shape) for shape in ((n, dim), (m, dim), (n,), (m,)))
    # 1, not 0: the first step isn't longer than rate · gradient.
    squares = [np.ones(p.shape) for p in parameters]
    for _ in range(epochs):
        gradients = glove_gradients(parameters, counts, x_max, alpha)
        for p, square, g in zip(parameters, squares, gradients, strict=True):
            square += g**2
            p -= rate * g / np.sqrt(square)
    return parameters


def nearest_words(
    vectors: np.ndarray, query: np.ndarray, k: int, exclude: Collection[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    left = len(vectors) - len(set(exclude))
    if not 1 <= k <= left:
        raise ValueError(f"k must be from 1 to {left}, the words that aren't excluded; got {k}")
    cosines = _unit(vectors) @ _unit(query)
    ranked = np.where(np.isin(np.arange(len(vectors)), list(exclude)), -np.inf, cosines)
    # Stable: of equal cosines the smaller number stays first.
    rows = np.argsort(-ranked, kind="stable")[:k]
    return rows, cosines[rows]


def analogy(vectors: np.ndarray, a: int, b: int, c: int, method: str = "add") -> int:
    unit = _unit(vectors)
    to_a, to_b, to_c = (unit @ unit[word] for word in (a, b, c))
    if method == "add":
        scores = to_b - to_a + to_c
    elif method == "mul":
        # From 0 to 1: negative factors would turn the order round.
        to_a, to_b, to_c = ((cosines + 1) / 2 for cosines in (to_a, to_b, to_c))
        scores = to_b * to_c / (to_a + 0.001)
    else:
        raise ValueError(f"method must be 'add' or 'mul', got {method!r}")
    # b and c themselves are nearly always the best.
    scores[[a, b, c]] = -np.inf
    return int(scores.argmax())


def average_ranks(x: np.ndarray) -> np.ndarray:
    _, group, sizes = np.unique(x, return_inverse=True, return_counts=True)
    # A group of equal values ends at place `last`, and begins at last - size + 1.
    last = np.cumsum(sizes)
    return (last - (sizes - 1) / 2)[group]


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same length, got {len(x)} and {len(y)}")
    u, v = (ranks - ranks.mean() for ranks in (average_ranks(x), average_ranks(y)))
    norm = math.sqrt((u @ u) * (v @ v))
    return float(u @ v) / norm if norm > 0 else math.nan


def evaluate_similarity(
    words: Sequence[str], vectors: np.ndarray, pairs: Sequence[tuple[str, str]], scores: Sequence[float]
) -> tuple[float, int]:
    row = {word: i for i, word in enumerate(words)}
    known = [i for i, (first, second) in enumerate(pairs) if first in row and second in row]
    unit = _unit(vectors)
    cosines = [unit[row[pairs[i][0]]] @ unit[row[pairs[i][1]]] for i in known]
    return spearman(np.array(cosines), np.array([scores[i] for i in known])), len(known)


def _errors(parameters: Parameters, counts: np.ndarray) -> np.ndarray:
    words, contexts, word_bias, context_bias = parameters
    counts = np.asarray(counts, dtype=np.float64)
    # ln 1 in place of ln 0: such a pair has weight 0.
    logs = np.log(np.where(counts > 0, counts, 1))
    return words @ contexts.T + word_bias[:, None] + context_bias - logs


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
