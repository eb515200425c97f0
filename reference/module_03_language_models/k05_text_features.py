"""Text features: the reference."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

# Greedy, so it takes the whole run: no \b is needed.
WORD = re.compile(r"\w\w+")


def tokenize(text: str) -> list[str]:
    return WORD.findall(text.lower())


def ngrams(tokens: Sequence[str], low: int, high: int) -> list[str]:
    if not 1 <= low <= high:
        raise ValueError(f"low and high must satisfy 1 ≤ low ≤ high, got {low} and {high}")
    return [" ".join(tokens[i : i + n]) for n in range(low, high + 1) for i in range(len(tokens) - n + 1)]


def analyze(text: str, ngram_range: tuple[int, int] = (1, 1), stop_words: Collection[str] = ()) -> list[str]:
    return ngrams([word for word in tokenize(text) if word not in stop_words], *ngram_range)


class BagOfNgrams:
    def __init__(
        self,
        ngram_range: tuple[int, int] = (1, 1),
        stop_words: Collection[str] = (),
        min_df: int | float = 1,
        max_df: int | float = 1.0,
        max_features: int | None = None,
        binary: bool = False,
    ) -> None:
        self.ngram_range, self.stop_words = ngram_range, stop_words
        self.min_df, self.max_df, self.max_features, self.binary = min_df, max_df, max_features, binary

    def fit(self, texts: Sequence[str]) -> None:
        document_frequency: Counter[str] = Counter()
        total: Counter[str] = Counter()
        for text in texts:
            counts = self._count(text)
            document_frequency.update(counts.keys())
            total.update(counts)
        # The type tells a number of texts from a share: 1 is one text, 1.0 all of them.
        low, high = (df if isinstance(df, int) else df * len(texts) for df in (self.min_df, self.max_df))
        terms = sorted(term for term, df in document_frequency.items() if low <= df <= high)
        # sorted is stable: of equal totals the first term in sorted order stays in front.  [:None] keeps all.
        terms = sorted(sorted(terms, key=lambda term: -total[term])[: self.max_features])
        if not terms:
            raise ValueError(f"no term is left between min_df={self.min_df} and max_df={self.max_df}")
        self.vocabulary = {term: column for column, term in enumerate(terms)}

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        table = np.zeros((len(texts), len(self.vocabulary)), dtype=np.int64)
        for row, text in zip(table, texts, strict=True):
            for term, count in self._count(text).items():
                if term in self.vocabulary:
                    row[self.vocabulary[term]] = count
        return table

    def _count(self, text: str) -> Counter[str]:
        terms = analyze(text, self.ngram_range, self.stop_words)
        return Counter(set(terms) if self.binary else terms)


class TfIdf:
    def __init__(self, smooth: bool = True, sublinear: bool = False, norm: str | None = "l2") -> None:
        if norm not in ("l2", "l1", None):
            raise ValueError(f"norm must be 'l2', 'l1' or None, got {norm!r}")
        self.smooth, self.sublinear, self.norm = smooth, sublinear, norm

    def fit(self, counts: np.ndarray) -> None:
        # Smooth: as if one more text held every term once, so nothing is divided by 0.
        more = 1 if self.smooth else 0
        document_frequency = (counts > 0).sum(axis=0)
        self.idf = np.log((len(counts) + more) / (document_frequency + more)) + 1

    def transform(self, counts: np.ndarray) -> np.ndarray:
        tf = np.asarray(counts, dtype=np.float64)  # the logarithm of an int8 is a float16
        if self.sublinear:
            # -1 in place of ln 0, so that 0 stays 0.
            tf = 1 + np.log(tf, out=np.full(tf.shape, -1.0), where=tf > 0)
        weights = tf * self.idf
        if self.norm is None:
            return weights
        length = np.linalg.norm(weights, ord=1 if self.norm == "l1" else 2, axis=1, keepdims=True)
        length[length == 0] = 1  # an empty text stays a row of zeros
        return weights / length


def murmurhash3(text: str) -> int:
    data, h = text.encode(), 0
    for start in range(0, len(data), 4):
        block = data[start : start + 4]
        k = int.from_bytes(block, "little") * 0xCC9E2D51 & 0xFFFFFFFF
        h ^= (k << 15 | k >> 17) * 0x1B873593 & 0xFFFFFFFF
        if len(block) == 4:
            h = (h << 13 | h >> 19) * 5 + 0xE6546B64 & 0xFFFFFFFF
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    h ^= h >> 16
    return h - (h >> 31 << 32)


def hash_features(
    texts: Sequence[str],
    columns: int,
    ngram_range: tuple[int, int] = (1, 1),
    stop_words: Collection[str] = (),
    signs: bool = True,
) -> np.ndarray:
    if columns < 1:
        raise ValueError(f"columns must be 1 or more, got {columns}")
    table = np.zeros((len(texts), columns))
    for row, text in zip(table, texts, strict=True):
        for term in analyze(text, ngram_range, stop_words):
            h = murmurhash3(term)
            row[abs(h) % columns] += -1 if signs and h < 0 else 1
    return table


class NaiveBayes:
    def __init__(self, alpha: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f"alpha must be above 0, got {alpha}")
        self.alpha = alpha

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        if x.min() < 0:
            raise ValueError(f"x must hold no negative number, but its smallest is {x.min()}")
        self.classes, sizes = np.unique(y, return_counts=True)
        self.log_prior = np.log(sizes / len(y))
        smoothed = np.stack([x[y == c].sum(axis=0, dtype=np.float64) for c in self.classes]) + self.alpha
        self.log_likelihood = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))

    def predict_log_proba(self, x: np.ndarray) -> np.ndarray:
        joint = self._joint(x)
        # ln ∑ exp, shifted by the largest: a long text's probabilities are far below the smallest float.
        shifted = joint - joint.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes[self._joint(x).argmax(axis=1)]

    def _joint(self, x: np.ndarray) -> np.ndarray:
        return self.log_prior + x @ self.log_likelihood.T
