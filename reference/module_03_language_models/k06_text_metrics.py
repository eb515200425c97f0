"""Text metrics: the reference."""

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np


def ngram_counts(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu_statistics(hypothesis: Sequence[str], references: Sequence[Sequence[str]], max_n: int = 4) -> np.ndarray:
    # Pairs are compared by difference first, then by length: of equally close ones the shorter.
    _, closest = min((abs(len(reference) - len(hypothesis)), len(reference)) for reference in references)
    matches, totals = [], []
    for n in range(1, max_n + 1):
        counts = ngram_counts(hypothesis, n)
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= ngram_counts(reference, n)  # the larger of two counts
        matches.append((counts & most).total())  # the smaller
        totals.append(counts.total())
    return np.array([len(hypothesis), closest, *matches, *totals])


def bleu(statistics: np.ndarray) -> float:
    length, closest, *counts = statistics.sum(axis=0)
    matches, totals = counts[: len(counts) // 2], counts[len(counts) // 2 :]
    if 0 in matches:  # the logarithm would be -∞; totals are at least as large as matches
        return 0.0
    penalty = min(0.0, 1 - closest / length)
    return math.exp(penalty + sum(math.log(m / t) for m, t in zip(matches, totals, strict=True)) / len(matches))


def bootstrap_interval(
    statistics: np.ndarray, score: Callable[[np.ndarray], float], samples: np.ndarray
) -> tuple[float, float, float]:
    scores = np.sort([score(statistics[rows]) for rows in samples])
    cut = len(scores) // 40  # 2.5% at each end
    return float(scores.mean()), float(scores[cut]), float(scores[len(scores) - 1 - cut])


def chrf(hypotheses: Sequence[str], references: Sequence[str], max_n: int = 6, beta: float = 2.0) -> float:
    _check_numbers(references, hypotheses)
    sums = np.zeros((max_n, 3))  # of each n: matches, n-grams of hypotheses, of references
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        h, r = "".join(hypothesis.split()), "".join(reference.split())
        for n in range(1, min(max_n, len(r)) + 1):  # beyond that the reference has no n-gram
            in_h, in_r = ngram_counts(h, n), ngram_counts(r, n)
            sums[n - 1] += (in_h & in_r).total(), in_h.total(), in_r.total()
    if not sums[:, 0].any():
        return 0.0
    matches, of_h, of_r = sums[sums[:, 1:].all(axis=1)].T
    p, r = float((matches / of_h).mean()), float((matches / of_r).mean())
    return (1 + beta**2) * p * r / (beta**2 * p + r)


def rouge_n(hypothesis: Sequence[str], reference: Sequence[str], n: int) -> tuple[float, float, float]:
    in_h, in_r = ngram_counts(hypothesis, n), ngram_counts(reference, n)
    return _precision_recall_f1((in_h & in_r).total(), in_h.total(), in_r.total())


def lcs_length(a: Sequence[str], b: Sequence[str]) -> int:
    # A row of the table needs only the one above it.
    above = [0] * (len(b) + 1)
    for token in a:
        row = [0]
        for j, other in enumerate(b):
            # On the diagonal both tokens are used up, so a token that repeats can't match the same one twice.
            row.append(above[j] + 1 if token == other else max(above[j + 1], row[j]))
        above = row
    return above[-1]


def rouge_l(hypothesis: Sequence[str], reference: Sequence[str]) -> tuple[float, float, float]:
    return _precision_recall_f1(lcs_length(hypothesis, reference), len(hypothesis), len(reference))


def normalize_answer(text: str) -> str:
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    return float(normalize_answer(prediction) in map(normalize_answer, answers))


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    ours = normalize_answer(prediction).split()
    best = 0.0
    for answer in answers:
        theirs = normalize_answer(answer).split()
        # Two empty answers agree, though there is no word that matches.
        best = max(best, rouge_n(ours, theirs, 1)[2] if ours or theirs else 1.0)
    return best


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    above = list(range(len(hypothesis) + 1))  # from nothing: insert all
    for i, token in enumerate(reference, 1):
        row = [i]  # to nothing: delete all
        for j, other in enumerate(hypothesis):
            # Keep or replace, delete, insert.
            row.append(min(above[j] + (token != other), above[j + 1] + 1, row[j] + 1))
        above = row
    return above[-1]


def error_rate(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> float:
    _check_numbers(references, hypotheses)
    tokens = sum(map(len, references))
    if tokens == 0:
        raise ValueError(f"all {len(references)} references are empty; expected a token at least")
    return sum(map(edit_distance, references, hypotheses)) / tokens


def _check_numbers(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> None:
    if len(references) != len(hypotheses):
        raise ValueError(f"expected as many hypotheses as references ({len(references)}), got {len(hypotheses)}")


def _precision_recall_f1(matches: int, in_hypothesis: int, in_reference: int) -> tuple[float, float, float]:
    if matches == 0:
        return 0.0, 0.0, 0.0
    p, r = matches / in_hypothesis, matches / in_reference
    return p, r, 2 * p * r / (p + r)
