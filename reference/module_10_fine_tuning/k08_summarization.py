"""Summarization: the reference."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from katas.module_03_language_models.k06_text_metrics import rouge_n

NOISE = 1e-9  # what is nearer than this differs by rounding alone


def lead(lengths: Sequence[int], budget: int) -> list[int]:
    _check_budget(budget)
    total = 0
    for i, length in enumerate(lengths):
        total += length
        if total > budget:
            return list(range(i))
    return list(range(len(lengths)))


def extract(scores: Sequence[float] | np.ndarray, lengths: Sequence[int], budget: int) -> list[int]:
    _check_budget(budget)
    if len(scores) != len(lengths):
        raise ValueError(f"expected a score for each sentence, got {len(scores)} scores and {len(lengths)} lengths")
    chosen = []
    for i in sorted(range(len(lengths)), key=lambda i: -scores[i]):  # sorted is stable: of equal ones the earlier
        if lengths[i] <= budget:
            chosen.append(i)
            budget -= lengths[i]
    return sorted(chosen)


def random_extract(lengths: Sequence[int], budget: int, rng: np.random.Generator) -> list[int]:
    return extract(rng.permutation(len(lengths)), lengths, budget)


def textrank_weights(sentences: Sequence[Sequence[str]]) -> np.ndarray:
    n = len(sentences)
    weights = np.zeros((n, n))
    words = [set(sentence) for sentence in sentences]
    for i in range(n):
        for j in range(i):
            common = len(words[i] & words[j])
            # Two sentences of one word each would divide by log 1 + log 1 = 0.
            if common and len(sentences[i]) + len(sentences[j]) > 2:
                weights[i, j] = weights[j, i] = common / math.log(len(sentences[i]) * len(sentences[j]))
    return weights


def lexrank_weights(sentences: Sequence[Sequence[str]], threshold: float | None = None) -> np.ndarray:
    if threshold is not None and not 0 <= threshold < 1:
        raise ValueError(f"threshold must be from 0 to below 1, got {threshold}")
    n = len(sentences)
    in_sentences = Counter(word for sentence in sentences for word in set(sentence))
    column = {word: k for k, word in enumerate(in_sentences)}
    vectors = np.zeros((n, len(column)))
    for i, sentence in enumerate(sentences):
        for word, count in Counter(sentence).items():
            # log(n/n) = 0: a word of all sentences says nothing about any.
            vectors[i, column[word]] = count * math.log(n / in_sentences[word])
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= norms + (norms == 0)
    cosines = vectors @ vectors.T
    return cosines if threshold is None else (cosines > threshold).astype(float)


def pagerank(weights: np.ndarray, damping: float = 0.85) -> np.ndarray:
    if not 0 <= damping < 1:
        raise ValueError(f"damping must be from 0 to below 1, got {damping}")
    weights = np.asarray(weights, dtype=np.float64)
    n = len(weights)
    if weights.shape != (n, n):
        raise ValueError(f"weights must be square, got {weights.shape}")
    if (weights < 0).any():
        raise ValueError("weights must not be negative")
    totals = weights.sum(axis=1, keepdims=True)
    # Who has no link goes anywhere.
    steps = np.divide(weights, totals, out=np.full((n, n), 1 / max(n, 1)), where=totals > 0)
    # score = (1 - damping)/n + damping · stepsᵀ score is a linear system, of full rank as damping is below 1.
    return np.linalg.solve(np.eye(n) - damping * steps.T, np.full(n, (1 - damping) / max(n, 1)))


def mmr(
    relevance: np.ndarray, similarity: np.ndarray, lengths: Sequence[int], budget: int, trade: float = 0.7
) -> list[int]:
    _check_budget(budget)
    if not 0 <= trade <= 1:
        raise ValueError(f"trade must be from 0 to 1, got {trade}")
    chosen: list[int] = []
    nearest = np.zeros(len(lengths))  # the largest similarity to what is chosen
    left = list(range(len(lengths)))
    while left := [i for i in left if lengths[i] <= budget]:
        best = max(left, key=lambda i: trade * relevance[i] - (1 - trade) * nearest[i])  # the first of equal ones
        nearest = np.maximum(nearest, similarity[best]) if chosen else np.array(similarity[best], dtype=float)
        chosen.append(best)
        left.remove(best)
        budget -= lengths[best]
    return sorted(chosen)


def oracle_extract(sentences: Sequence[Sequence[str]], reference: Sequence[str], budget: int, n: int = 1) -> list[int]:
    _check_budget(budget)
    chosen: list[int] = []
    score = 0.0
    while True:
        left = budget - sum(len(sentences[i]) for i in chosen)
        scores = {}
        for i, sentence in enumerate(sentences):
            if i not in chosen and len(sentence) <= left:
                summary = [word for j in sorted([*chosen, i]) for word in sentences[j]]
                scores[i] = rouge_n(summary, reference, n)[2]
        best = max(scores.values(), default=0.0)
        if best < score + NOISE:
            return sorted(chosen)
        chosen.append(min(i for i, new in scores.items() if new > best - NOISE))
        score = best


def chunks(sentences: Sequence[str], window: int) -> list[str]:
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    made: list[list[str]] = [[]]
    for sentence in sentences:
        words = sentence.split()
        for start in range(0, len(words), window):
            piece = words[start : start + window]
            if len(made[-1]) + len(piece) > window:
                made.append([])
            made[-1] += piece
    return [" ".join(chunk) for chunk in made if chunk]


def map_reduce(sentences: Sequence[str], model: Callable[[str, int], str], window: int, budget: int) -> str:
    if not 1 <= budget <= window // 2:
        raise ValueError(f"budget must be from 1 to half of the window, got {budget} with a window of {window}")
    parts = chunks(sentences, window)
    while parts:
        # Answers are half a window at most, so two of them fit into the next chunk: their number halves.
        answers = [" ".join(model(part, budget).split()[:budget]) for part in parts]
        if len(parts) == 1:
            return answers[0]
        parts = chunks(answers, window)
    return ""


def _check_budget(budget: int) -> None:
    if budget < 0:
        raise ValueError(f"budget must be 0 or more, got {budget}")
