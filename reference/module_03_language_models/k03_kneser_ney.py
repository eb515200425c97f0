"""Katz back-off and Kneser–Ney: the reference."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from .k02_ngrams import count_ngrams, counts_of_counts, replace_rare

START, END, UNKNOWN = "<s>", "</s>", "<unk>"

Gram = tuple[str, ...]
Discount = Callable[[Mapping[int, int]], Sequence[float]]


def taken(amounts: Sequence[float], r: int) -> float:
    return amounts[min(r, len(amounts)) - 1] if r else 0.0


def good_turing_discounts(frequencies: Mapping[int, int], limit: int = 5) -> tuple[float, ...]:
    n = Counter(frequencies)  # 0 for what is missing
    for r in range(1, limit + 1):
        if n[r] == 0:
            raise ValueError(f"no count is {r}, so Good–Turing says nothing up to {limit}")
    # Counts above the limit keep what Turing's formula would take from them, so those below give less.
    kept = (limit + 1) * n[limit + 1] / n[1]
    if kept >= 1:
        raise ValueError(f"too many counts of {limit + 1} for a limit of {limit}")
    amounts = []
    for r in range(1, limit + 1):
        amount = (r - (r + 1) * n[r + 1] / n[r]) / (1 - kept)
        if not 0 <= amount <= r:
            raise ValueError(f"the discount of {r} is {amount}, expected it from 0 to {r}")
        amounts.append(amount)
    return (*amounts, 0.0)


def absolute_discount(frequencies: Mapping[int, int]) -> tuple[float, ...]:
    n1, n2 = frequencies.get(1, 0), frequencies.get(2, 0)
    if n1 + n2 == 0:
        raise ValueError("no count is 1 or 2, so the discount can't be estimated")
    return (n1 / (n1 + 2 * n2),)


def modified_discounts(frequencies: Mapping[int, int]) -> tuple[float, ...]:
    n = Counter(frequencies)
    for r in (1, 2, 3):
        if n[r] == 0:
            raise ValueError(f"no count is {r}, so the discounts can't be estimated")
    y = n[1] / (n[1] + 2 * n[2])
    amounts = tuple(r - (r + 1) * y * n[r + 1] / n[r] for r in (1, 2, 3))
    for r, amount in enumerate(amounts, 1):
        if amount < 0:
            raise ValueError(f"the discount of {r} is {amount}, expected it from 0 to {r}")
    return amounts


def _by_context(counts: Mapping[Gram, int]) -> dict[Gram, dict[str, int]]:
    table: dict[Gram, dict[str, int]] = {}
    for gram, count in counts.items():
        table.setdefault(gram[:-1], {})[gram[-1]] = count
    return table


class _Model(ABC):
    """What both models have in common: a table of followers for each order, and what each order takes."""

    def __init__(self, n: int, vocab: set[str], orders: list[dict[Gram, int]], discount: Discount) -> None:
        self.n, self.vocab = n, vocab
        self._after = [_by_context(counts) for counts in orders]
        self._amounts = [discount(counts_of_counts(counts)) for counts in orders]

    def prob(self, word: str, context: Sequence[str]) -> float:
        if word == START:
            return 0.0
        known = [token if token in self.vocab or token == START else UNKNOWN for token in context]
        # The last n - 1 tokens, filled up with START.
        h = tuple(([START] * (self.n - 1) + known)[len(known) :])
        return self._order(word if word in self.vocab else UNKNOWN, h)

    @abstractmethod
    def _order(self, word: str, h: Gram) -> float:
        """P(word | h) for an h of at most n - 1 tokens, all of them known."""


class KatzBackoff(_Model):
    def __init__(self, sentences: Sequence[Sequence[str]], n: int, vocab: set[str], discount: Discount) -> None:
        known = replace_rare(sentences, vocab)
        self._words = count_ngrams(known, 1)
        super().__init__(n, vocab, [count_ngrams(known, m) for m in range(2, n + 1)], discount)
        self._total = sum(self._words.values())
        self._cache: dict[Gram, tuple[dict[str, float], float]] = {}

    def _order(self, word: str, h: Gram) -> float:
        if not h:
            return (self._words.get((word,), 0) + 1) / (self._total + len(self.vocab))
        if h not in self._after[len(h) - 1]:
            return self._order(word, h[1:])
        seen, alpha = self._seen(h)
        return seen[word] if word in seen else alpha * self._order(word, h[1:])

    def _seen(self, h: Gram) -> tuple[dict[str, float], float]:
        """The probabilities of the words seen after h, and α(h); worked out once for each context."""
        if h not in self._cache:
            after, amounts = self._after[len(h) - 1][h], self._amounts[len(h) - 1]
            total = sum(after.values())
            freed = sum(taken(amounts, c) for c in after.values())
            if len(after) == len(self.vocab):
                # Nobody is left who could have what is taken.
                self._cache[h] = {w: c / total for w, c in after.items()}, 0.0
            else:
                if freed == 0:
                    # SRILM's way: as if one more word had been seen, so that the unseen ones share something.
                    total, freed = total + 1, 1
                    amounts = (0,)
                seen = {w: (c - taken(amounts, c)) / total for w, c in after.items()}
                unseen = 1 - sum(self._order(w, h[1:]) for w in after)
                self._cache[h] = seen, freed / total / unseen
        return self._cache[h]


def continuation_counts(counts: Mapping[tuple[str, ...], int]) -> dict[tuple[str, ...], int]:
    # Each key is one kind of n-gram: one distinct word before the rest, however often it occurred.
    return Counter(gram[1:] for gram in counts)


class KneserNey(_Model):
    def __init__(self, sentences: Sequence[Sequence[str]], n: int, vocab: set[str], discount: Discount) -> None:
        orders = [count_ngrams(replace_rare(sentences, vocab), n)]
        while len(orders) < n:
            orders.insert(0, continuation_counts(orders[0]))
        super().__init__(n, vocab, orders, discount)
        # c(h) and γ(h), summed once for each context and not at every question.
        self._sums = [
            {h: (sum(after.values()), sum(taken(amounts, c) for c in after.values())) for h, after in table.items()}
            for table, amounts in zip(self._after, self._amounts, strict=True)
        ]

    def _order(self, word: str, h: Gram) -> float:
        lower = self._order(word, h[1:]) if h else 1 / len(self.vocab)
        order = len(h)
        if h not in self._after[order]:
            return lower
        total, freed = self._sums[order][h]
        count = self._after[order][h].get(word, 0)
        return (count - taken(self._amounts[order], count)) / total + freed / total * lower
