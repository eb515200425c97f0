"""N-grams: the reference."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

START, END, UNKNOWN = "<s>", "</s>", "<unk>"


def padded(sentence: Sequence[str], n: int) -> list[str]:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return [START] * (n - 1) + [*sentence, END]


def ngrams(sentence: Sequence[str], n: int) -> list[tuple[str, ...]]:
    tokens = padded(sentence, n)
    return [tuple(tokens[i : i + n]) for i in range(len(sentence) + 1)]


def count_ngrams(sentences: Sequence[Sequence[str]], n: int) -> dict[tuple[str, ...], int]:
    # Sentence by sentence: no n-gram reaches from one into the next.
    return Counter(chain.from_iterable(ngrams(sentence, n) for sentence in sentences))


def vocabulary(sentences: Sequence[Sequence[str]], min_count: int = 1) -> set[str]:
    counts = Counter(chain.from_iterable(sentences))
    return {word for word, count in counts.items() if count >= min_count} | {END, UNKNOWN}


def replace_rare(sentences: Sequence[Sequence[str]], vocab: set[str]) -> list[list[str]]:
    return [[word if word in vocab else UNKNOWN for word in sentence] for sentence in sentences]


def _context_of(context: Sequence[str], n: int, vocab: set[str]) -> tuple[str, ...]:
    """The last n - 1 tokens, filled up with START, as the counts know them."""
    known = [token if token in vocab or token == START else UNKNOWN for token in context]
    # known[-0:] would be all of it.
    return tuple(([START] * (n - 1) + known)[len(known) :])


def _context_totals(counts: Mapping[tuple[str, ...], int]) -> dict[tuple[str, ...], int]:
    """How often each context was followed by anything: what the counts of its n-grams sum to.

    The counts of the (n - 1)-grams won't do: they have END as a last token, and no START alone.
    """
    totals: dict[tuple[str, ...], int] = Counter()
    for gram, count in counts.items():
        totals[gram[:-1]] += count
    return totals


class AddK:
    def __init__(self, sentences: Sequence[Sequence[str]], n: int, vocab: set[str], k: float) -> None:
        if k <= 0:
            raise ValueError(f"k must be above 0, got {k}")
        self.n, self.vocab, self.k = n, vocab, k
        self._counts = count_ngrams(replace_rare(sentences, vocab), n)
        self._totals = _context_totals(self._counts)

    def prob(self, word: str, context: Sequence[str]) -> float:
        if word == START:
            return 0.0
        h = _context_of(context, self.n, self.vocab)
        gram = (*h, word if word in self.vocab else UNKNOWN)
        # V is the size of the vocabulary, not the number of words seen: unseen ones get k, too.
        return (self._counts.get(gram, 0) + self.k) / (self._totals.get(h, 0) + self.k * len(self.vocab))


def counts_of_counts(counts: Mapping[tuple[str, ...], int]) -> dict[int, int]:
    return Counter(counts.values())


def good_turing(frequencies: Mapping[int, int]) -> tuple[float, dict[int, float]]:
    total = sum(r * n for r, n in frequencies.items())
    if total == 0:
        raise ValueError("expected at least one count, got none")
    adjusted = {}
    for r, n in frequencies.items():
        above = frequencies.get(r + 1)
        # Nothing was seen r + 1 times: Turing's formula would give 0, which says nothing about r.
        adjusted[r] = (r + 1) * above / n if above else float(r)
    return frequencies.get(1, 0) / total, adjusted


class Interpolated:
    def __init__(self, sentences: Sequence[Sequence[str]], n: int, vocab: set[str], weights: Sequence[float]) -> None:
        if len(weights) != n:
            raise ValueError(f"expected {n} weights, one an order, got {len(weights)}")
        for weight in weights:
            if not 0 <= weight <= 1:
                raise ValueError(f"a weight must be from 0 to 1, got {weight}")
        self.n, self.vocab, self.weights = n, vocab, weights
        known = replace_rare(sentences, vocab)
        self._counts = [count_ngrams(known, order) for order in range(1, n + 1)]
        self._totals = [_context_totals(counts) for counts in self._counts]

    def _levels(self, word: str, context: Sequence[str]) -> list[float | None]:
        """c(h w)/c(h) for the orders 1 to n; None where h was never seen."""
        h = _context_of(context, self.n, self.vocab)
        word = word if word in self.vocab else UNKNOWN
        levels: list[float | None] = []
        for order, (counts, totals) in enumerate(zip(self._counts, self._totals, strict=True), 1):
            shorter = h[len(h) - (order - 1) :]
            total = totals.get(shorter)
            levels.append(counts.get((*shorter, word), 0) / total if total else None)
        return levels

    def prob(self, word: str, context: Sequence[str]) -> float:
        if word == START:
            return 0.0
        p = 1 / len(self.vocab)
        for weight, level in zip(self.weights, self._levels(word, context), strict=True):
            if level is not None:
                p = weight * level + (1 - weight) * p
        return p


def fit_weights(
    sentences: Sequence[Sequence[str]],
    n: int,
    vocab: set[str],
    held_out: Sequence[Sequence[str]],
    steps: int = 20,
) -> list[float]:
    weights = [0.5] * n
    model = Interpolated(sentences, n, vocab, weights)
    # What was counted doesn't depend on the weights, so look it up once.
    tokens = [model._levels(gram[-1], gram[:-1]) for sentence in held_out for gram in ngrams(sentence, n)]
    for _ in range(steps):
        arrived, stopped = [0.0] * n, [0.0] * n
        for levels in tokens:
            # Multiplied out, the model is a sum: how likely it is to stop at each order and draw this token there.
            parts, rest = [0.0] * n, 1.0
            for m in reversed(range(n)):
                if (level := levels[m]) is not None:
                    parts[m] = rest * weights[m] * level
                    rest *= 1 - weights[m]
            below = rest / len(vocab)
            total = below + sum(parts)
            for m, part in enumerate(parts):
                # Whoever stops at this order or further down has arrived here.
                below += part
                if levels[m] is not None:
                    stopped[m] += part / total
                    arrived[m] += below / total
        weights = [s / a if a else w for s, a, w in zip(stopped, arrived, weights, strict=True)]
    return weights
