"""Hybrid retrieval: the reference."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np


def idf_weights(
    document_frequency: Mapping[str, int], n: int, kind: str = "lucene", epsilon: float = 0.25
) -> dict[str, float]:
    odds = {term: (n - df + 0.5) / (df + 0.5) for term, df in document_frequency.items()}
    if kind == "lucene":
        return {term: math.log1p(o) for term, o in odds.items()}  # 1 + odds is above 1: never negative
    if kind == "okapi":
        weights = {term: math.log(o) for term, o in odds.items()}
        floor = epsilon * sum(weights.values()) / len(weights)
        return {term: floor if weight < 0 else weight for term, weight in weights.items()}
    raise ValueError(f"kind must be lucene or okapi, got {kind!r}")


class BM25:
    def __init__(
        self, documents: Sequence[Sequence[str]], k1: float = 1.5, b: float = 0.75, kind: str = "lucene"
    ) -> None:
        if not 0 <= b <= 1:
            raise ValueError(f"b must be from 0 to 1, got {b}")
        self.k1 = k1
        lengths = np.array([len(document) for document in documents])
        self._norm = k1 * (1 - b + b * lengths / lengths.mean())
        # Postings: for each term only the documents that hold it.
        self._postings: dict[str, dict[int, int]] = {}
        for i, document in enumerate(documents):
            for term, count in Counter(document).items():
                self._postings.setdefault(term, {})[i] = count
        self.idf = idf_weights({term: len(ids) for term, ids in self._postings.items()}, len(documents), kind)

    def scores(self, query: Sequence[str]) -> np.ndarray:
        scores = np.zeros(len(self._norm))
        for term in query:
            for i, count in self._postings.get(term, {}).items():
                scores[i] += self.idf[term] * count * (self.k1 + 1) / (count + self._norm[i])
        return scores


def cosine_scores(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    vectors, query = vectors.astype(np.float64), query.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    return vectors @ query / np.where(lengths > 0, lengths, 1)


def top(scores: np.ndarray, k: int) -> list[int]:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")[:k].tolist()


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[int]], constant: float = 60, weights: Sequence[float] | None = None
) -> list[tuple[int, float]]:
    weights = _as_many(weights, rankings)
    fused: dict[int, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, item in enumerate(ranking, 1):
            fused[item] = fused.get(item, 0.0) + weight / (constant + rank)
    return sorted(fused.items(), key=lambda pair: (-pair[1], pair[0]))


def score_fusion(scores: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    total = np.zeros(len(scores[0]))
    for one, weight in zip(scores, _as_many(weights, scores), strict=True):
        one = np.asarray(one, dtype=np.float64)
        width = one.max() - one.min()
        if width > 0:
            total += weight * (one - one.min()) / width
    return total


def mmr(relevance: np.ndarray, similarity: np.ndarray, k: int, trade: float = 0.5) -> list[int]:
    if not 0 <= trade <= 1:
        raise ValueError(f"trade must be from 0 to 1, got {trade}")
    left, chosen = list(range(len(relevance))), []
    while left and len(chosen) < k:
        redundancy = similarity[np.ix_(left, chosen)].max(axis=1) if chosen else 0
        gains = trade * relevance[left] - (1 - trade) * redundancy
        chosen.append(left.pop(int(gains.argmax())))
    return chosen


def rerank(
    query: str,
    ids: Sequence[int],
    texts: Sequence[str],
    score: Callable[[list[tuple[str, str]]], Sequence[float]],
    k: int,
    batch_size: int = 16,
) -> list[int]:
    pairs = [(query, texts[i]) for i in ids]
    scores: list[float] = []
    for start in range(0, len(pairs), batch_size):
        scores += list(score(pairs[start : start + batch_size]))
    order = sorted(range(len(ids)), key=lambda place: -scores[place])
    return [ids[place] for place in order[:k]]


def expand_query(
    query: Sequence[str], feedback: Sequence[Sequence[str]], idf: Mapping[str, float], count: int = 3
) -> list[str]:
    weights: dict[str, float] = {}
    for document in feedback:
        for term in document:
            if term in idf and term not in query:
                weights[term] = weights.get(term, 0.0) + idf[term] / len(document)
    return list(query) + sorted(weights, key=lambda term: (-weights[term], term))[:count]


def hybrid_search(
    queries: Sequence[str], retrievers: Sequence[Callable[[str, int], Sequence[int]]], k: int, depth: int = 50
) -> list[int]:
    rankings = [retrieve(query, depth) for query in queries for retrieve in retrievers]
    return [item for item, _ in reciprocal_rank_fusion(rankings)[:k]]


def _as_many(weights: Sequence[float] | None, others: Sequence) -> Sequence[float]:
    weights = [1.0] * len(others) if weights is None else weights
    if len(weights) != len(others):
        raise ValueError(f"expected a weight for each of {len(others)}, got {len(weights)} weights")
    return weights
