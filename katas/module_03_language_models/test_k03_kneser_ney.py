"""Judges k03_kneser_ney against formulas token by token, worked examples, conserved mass, and Hamlet."""

import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_03_language_models.k03_kneser_ney import (
    KatzBackoff,
    KneserNey,
    absolute_discount,
    continuation_counts,
    good_turing_discounts,
    modified_discounts,
)

pytestmark = [from_scratch("nltk", "sklearn", "scipy"), pure()]

PAPER = [
    sentence.split() for sentence in ("JOHN READ MOBY DICK", "MARY READ A DIFFERENT BOOK", "SHE READ A BOOK BY CHER")
]
WORDS = {word for sentence in PAPER for word in sentence} | {"</s>", "<unk>"}
HAND = {1: 10, 2: 4, 3: 2, 4: 1}
VOCAB = {"a", "b", "c", "x", "</s>", "<unk>"}
CONTEXTS = [
    (),
    ("a",),
    ("e",),
    ("a", "b"),
    ("z", "a"),
    ("<s>",),
    ("<s>", "a"),
    ("e", "e", "e"),
    ("b", "a", "c", "a", "b"),
    ("x", "x", "b"),
]


def half(frequencies):
    return (0.5,)


def rising(frequencies):
    return (0.25, 0.75, 1.5)


def by_numbers(frequencies):
    """Amounts that differ from order to order."""
    return (1 / (1 + frequencies.get(1, 0)), sum(frequencies.values()) % 7 / 7)


def above_two_free(frequencies):
    return (0.6, 1.1, 0.0)


DISCOUNTS = [half, rising, by_numbers, above_two_free]


def taken(amounts, r):
    return amounts[-1] if r > len(amounts) else amounts[r - 1] if r else 0.0


def some_sentences(rng, count, words="abcde"):
    """Sentences of 0 to 6 words, the first words more often than the last."""
    p = 1 / np.arange(1, len(words) + 1)
    found = [rng.choice(list(words), rng.integers(0, 7), p=p / p.sum()).tolist() for _ in range(count)]
    return [*found, ["a", "b"]]  # never nothing at all


def grams(sentences, n, vocab):
    """The n-gram that ends at each token."""
    found = []
    for sentence in sentences:
        tokens = [word if word in vocab else "<unk>" for word in sentence] + ["</s>"]
        line = ["<s>"] * (n - 1) + tokens
        found += [tuple(line[i : i + n]) for i in range(len(tokens))]
    return found


def full(context, n, vocab):
    known = ["<s>"] * (n - 1) + [t if t in vocab or t == "<s>" else "<unk>" for t in context]
    return tuple(known[len(known) - n + 1 :])


def numbers(counts):
    return dict(Counter(counts.values()))


def katz(sentences, n, vocab, discount):
    """The formula word by word: a whole distribution for each context."""
    counts = {m: Counter(grams(sentences, m, vocab)) for m in range(1, n + 1)}
    amounts = {m: discount(numbers(counts[m])) for m in range(2, n + 1)}

    def after(h):
        if not h:
            total = sum(counts[1].values()) + len(vocab)
            return {w: (counts[1][(w,)] + 1) / total for w in vocab}
        lower, m = after(h[1:]), len(h) + 1
        seen = {w: counts[m][*h, w] for w in vocab if counts[m][*h, w]}
        total = sum(seen.values())
        if not seen:
            return lower
        if len(seen) == len(vocab):
            return {w: c / total for w, c in seen.items()}
        kept = {w: c - taken(amounts[m], c) for w, c in seen.items()}
        if all(taken(amounts[m], c) == 0 for c in seen.values()):
            kept, total = dict(seen), total + 1
        rest = 1 - sum(kept.values()) / total
        unseen = sum(p for w, p in lower.items() if w not in seen)
        return {w: kept[w] / total if w in seen else rest * lower[w] / unseen for w in vocab}

    return after


def kneser_ney(sentences, n, vocab, discount):
    top = grams(sentences, n, vocab)
    kinds = set(top)
    counts = {n: Counter(top)}
    for m in range(n - 1, 0, -1):
        longer = {gram[n - m - 1 :] for gram in kinds}
        counts[m] = Counter(gram[1:] for gram in longer)
    amounts = {m: discount(numbers(counts[m])) for m in counts}

    def after(h):
        m = len(h) + 1
        lower = after(h[1:]) if h else {w: 1 / len(vocab) for w in vocab}
        found = {w: counts[m][*h, w] for w in vocab}
        total = sum(found.values())
        if total == 0:
            return lower
        gamma = sum(taken(amounts[m], c) for c in found.values()) / total
        return {w: (c - taken(amounts[m], c)) / total + gamma * lower[w] for w, c in found.items()}

    return after


def matches(model, oracle, n, vocab, contexts=CONTEXTS):
    for context in contexts:
        expected = oracle(full(context, n, vocab))
        order = sorted(vocab)
        got = np.array([model.prob(w, list(context)) for w in order])
        assert_close(got, np.array([expected[w] for w in order]))


def is_a_distribution(model, vocab, contexts=CONTEXTS):
    for context in contexts:
        found = [model.prob(word, context) for word in sorted(vocab)]
        if not (abs(sum(found) - 1) < 1e-9 and min(found) >= 0):
            total = sum(found)
            fail(f"after {context!r} the probabilities sum to {total:.6f}, expected 1", evidence=round(total, 9))


def asked_by(kind, n):
    """The different N_r for which a model asks, sorted."""
    asked = set()

    def note(frequencies):
        asked.add(tuple(sorted((r, count) for r, count in frequencies.items() if count)))
        return (0.5,)

    model = kind(PAPER, n, WORDS, note)
    for context in ([], ["READ"], ["SHE", "READ"], ["CHER"]):
        model.prob("A", context)
    return [list(one) for one in sorted(asked)]


class TestGoodTuringDiscounts:
    def test_the_example_worked_by_hand(self):
        assert_close(good_turing_discounts(HAND, 2), (0.5, 1.25, 0.0))

    @pytest.mark.parametrize("limit", [2, 3, 5])
    def test_matches_katzs_formula(self, limit):
        # Counts that fall as Zipf's law has them, a little disturbed.
        n = {7: 5, 1: 1000, 3: 130, 2: 310, 4: 71, 5: 44, 6: 31}
        share = (limit + 1) * n[limit + 1] / n[1]
        expected = []
        for r in range(1, limit + 1):
            ratio = ((r + 1) * n[r + 1] / n[r] / r - share) / (1 - share)
            expected.append(r * (1 - ratio))
        assert_close(good_turing_discounts(n, limit), (*expected, 0.0))

    @pytest.mark.parametrize("limit", [2, 3, 4])
    def test_what_is_taken_is_the_mass_of_what_was_seen_once(self, limit):
        n = {r: round(5000 / (r * (r + 1))) for r in range(1, 9)}
        amounts = good_turing_discounts(n, limit)
        assert_close(sum(amount * n[r] for r, amount in enumerate(amounts, 1)), float(n[1]))

    def test_nothing_above_the_limit_was_seen(self):
        assert_close(good_turing_discounts({1: 8, 2: 3}, 2), (0.25, 2.0, 0.0))

    def test_a_discount_may_be_0(self):
        assert_close(good_turing_discounts({1: 100, 2: 50, 3: 20, 4: 5}, 3), (0.0, 1.0, 2.5, 0.0))

    def test_the_limit_is_5_unless_told(self):
        n = {r: round(5000 / (r * (r + 1))) for r in range(1, 9)}
        assert_equal(len(good_turing_discounts(n)), 6)
        assert_close(good_turing_discounts(n), good_turing_discounts(n, 5))

    @pytest.mark.parametrize("r", [1, 2, 4])
    def test_rejects_a_gap(self, r):
        n = {1: 1000, 2: 310, 3: 130, 4: 71, 5: 44, 6: 31}
        del n[r]
        with raises(ValueError, r):
            good_turing_discounts(n, 4)

    def test_rejects_the_first_of_two_gaps(self):
        with raises(ValueError, 2):
            good_turing_discounts({1: 1000, 4: 71, 5: 44}, 4)

    @pytest.mark.parametrize(("n", "limit", "r"), [({1: 10, 3: 5, 4: 4}, 3, 2), ({1: 10, 2: 6, 5: 7}, 4, 3)])
    def test_a_gap_comes_before_a_share_of_1_and_more(self, n, limit, r):
        with raises(ValueError, r):
            good_turing_discounts(n, limit)

    @pytest.mark.parametrize(("n", "limit"), [({1: 10, 2: 6, 3: 5, 4: 3}, 3), ({1: 12, 2: 3, 3: 4}, 2)])
    def test_rejects_a_share_of_1_and_more(self, n, limit):
        with raises(ValueError, limit):
            good_turing_discounts(n, limit)

    @pytest.mark.parametrize(
        ("n", "limit", "r"),
        [
            ({1: 100, 2: 60, 3: 5}, 2, 1),  # 1* is above 1
            ({1: 100, 2: 20, 3: 16, 4: 2}, 3, 2),  # 2* is above 2
            ({1: 100, 2: 40, 3: 9, 4: 0, 5: 4}, 4, 4),  # a gap, which comes first
            ({1: 100, 2: 30, 3: 1, 4: 8}, 3, 2),  # 2* is far below 2, as kept counts are many
        ],
    )
    def test_rejects_a_discount_outside_0_to_r(self, n, limit, r):
        with raises(ValueError, r):
            good_turing_discounts(n, limit)


class TestAbsoluteDiscount:
    def test_the_example_worked_by_hand(self):
        assert_close(absolute_discount(HAND), (10 / 18,))

    @pytest.mark.parametrize(
        ("n", "expected"), [({1: 3}, 1.0), ({1: 4, 2: 4}, 1 / 3), ({2: 5, 1: 7, 9: 4}, 7 / 17), ({2: 4, 5: 1}, 0.0)]
    )
    def test_what_is_missing_counts_0(self, n, expected):
        assert_close(absolute_discount(n), (expected,))

    @pytest.mark.parametrize("n", [{}, {3: 4, 5: 1}])
    def test_rejects_counts_without_1_and_2(self, n):
        with raises(ValueError):
            absolute_discount(n)


class TestModifiedDiscounts:
    def test_the_example_worked_by_hand(self):
        y = 10 / 18
        assert_close(modified_discounts(HAND), (1 - 2 * y * 4 / 10, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2))

    @pytest.mark.parametrize("n", [{3: 21, 1: 160, 4: 9, 2: 40, 6: 5}, {4: 17, 3: 30, 2: 70, 1: 200}])
    def test_matches_the_formula(self, n):
        y = n[1] / (n[1] + 2 * n[2])
        assert_close(modified_discounts(n), tuple(r - (r + 1) * y * n[r + 1] / n[r] for r in (1, 2, 3)))

    def test_a_discount_may_be_0(self):
        assert_close(modified_discounts({1: 6, 2: 3, 3: 4, 4: 2}), (0.5, 0.0, 2.0))

    def test_nothing_seen_four_times(self):
        assert_close(modified_discounts({1: 6, 2: 3, 3: 1, 5: 2})[2], 3.0)

    @pytest.mark.parametrize("r", [1, 2, 3])
    def test_rejects_a_gap(self, r):
        n = {1: 100, 2: 40, 3: 20, 4: 9}
        del n[r]
        with raises(ValueError, r):
            modified_discounts(n)

    def test_rejects_the_first_of_two_gaps(self):
        with raises(ValueError, 2):
            modified_discounts({1: 100, 4: 9})

    @pytest.mark.parametrize(
        ("n", "r"),
        [
            ({1: 100, 2: 10, 3: 9, 4: 1}, 2),
            ({1: 100, 2: 20, 3: 5, 4: 6}, 3),
            ({1: 100, 2: 10, 3: 11, 4: 13}, 2),  # D₃ is below 0, too
        ],
    )
    def test_rejects_a_discount_below_0(self, n, r):
        with raises(ValueError, r):
            modified_discounts(n)


class TestKatzBackoff:
    def test_the_example_worked_by_hand(self):
        model = KatzBackoff(PAPER, 2, WORDS, half)
        got = [model.prob(w, ["READ"]) for w in ("A", "MOBY", "JOHN")]
        assert_close(got, [0.5, 1 / 6, 31 / 78 * 2 / 31])

    def test_of_1_grams(self):
        model = KatzBackoff(PAPER, 1, WORDS, half)
        got = [model.prob(w, ["READ"]) for w in ("READ", "</s>", "<unk>", "never")]
        assert_close(got, [4 / 31, 4 / 31, 1 / 31, 1 / 31])

    def test_where_every_word_was_seen_nothing_is_taken(self):
        vocab = {"a", "</s>", "<unk>"}
        # After a came each of the three words.
        sentences = [["a", "a", "zz"], ["a"], ["a", "a"]]
        model = KatzBackoff(sentences, 2, vocab, half)
        assert_close([model.prob(w, ["a"]) for w in ("a", "</s>", "<unk>")], [2 / 5, 2 / 5, 1 / 5])
        is_a_distribution(model, vocab)

    @pytest.mark.parametrize("times", [3, 7])
    def test_a_context_that_frees_nothing_counts_as_seen_once_more(self, times):
        vocab = {"a", "b", "c", "</s>", "<unk>"}
        sentences = [["a", "b"]] * times
        model = KatzBackoff(sentences, 2, vocab, above_two_free)
        # Words: a, b and </s>, `times` of each, and five kinds.
        rest = 1 - (times + 1) / (3 * times + 5)
        expected = [times / (times + 1), 1 / (3 * times + 5) / rest / (times + 1)]
        assert_close([model.prob("b", ["a"]), model.prob("c", ["a"])], expected)
        is_a_distribution(model, vocab)

    @pytest.mark.parametrize("discount", DISCOUNTS)
    @pytest.mark.parametrize("n", [2, 3])
    def test_matches_the_formula_word_by_word(self, rng, n, discount):
        sentences = some_sentences(rng, 25)
        matches(KatzBackoff(sentences, n, VOCAB, discount), katz(sentences, n, VOCAB, discount), n, VOCAB)

    def test_backs_off_three_times(self, rng):
        sentences = some_sentences(rng, 30)
        matches(KatzBackoff(sentences, 4, VOCAB, rising), katz(sentences, 4, VOCAB, rising), 4, VOCAB)

    @pytest.mark.parametrize("n", [1, 2, 3, 4])
    def test_sums_to_1_after_every_context(self, rng, n):
        is_a_distribution(KatzBackoff(some_sentences(rng, 15), n, VOCAB, rising), VOCAB)

    def test_a_longer_context_may_rest_on_one_that_frees_nothing(self):
        vocab = {"a", "b", "c", "d", "</s>", "<unk>"}
        # b always comes after a, often; but only once after d a.
        sentences = [["c", "a", "b"]] * 5 + [["d", "a", "b"]]
        model = KatzBackoff(sentences, 3, vocab, above_two_free)
        oracle = katz(sentences, 3, vocab, above_two_free)
        matches(model, oracle, 3, vocab, [("d", "a"), ("c", "a"), ("b", "a"), ()])
        is_a_distribution(model, vocab, [("d", "a"), ("c", "a"), ("b", "a"), ()])

    def test_the_context_stays_as_it_is(self):
        context = ["NEVER", "SHE", "READ"]
        KatzBackoff(PAPER, 3, WORDS, half).prob("NEVER", context)
        assert_equal(context, ["NEVER", "SHE", "READ"])

    def test_start_never_follows(self):
        model = KatzBackoff(PAPER, 3, WORDS, half)
        assert_equal([model.prob("<s>", []), model.prob("<s>", ["READ", "A"])], [0.0, 0.0])

    def test_unknown_words_are_alike(self, rng):
        model = KatzBackoff(some_sentences(rng, 25), 2, {"a", "b", "</s>", "<unk>"}, half)
        known = model.prob("<unk>", ["<unk>"])
        assert_close([model.prob("d", ["<unk>"]), model.prob("never", ["c"]), model.prob("c", ["qq"])], [known] * 3)

    @pytest.mark.parametrize(("n", "expected"), [(2, [[(1, 16), (2, 1)]]), (3, [[(1, 16), (2, 1)], [(1, 18)]])])
    def test_each_order_has_its_own_amounts(self, n, expected):
        assert_equal(asked_by(KatzBackoff, n), expected)


class TestContinuationCounts:
    def test_of_the_paper(self):
        bigrams = Counter(grams(PAPER, 2, WORDS))
        got = continuation_counts(bigrams)
        some = {word: got[word,] for word in ("READ", "A", "BOOK", "</s>", "JOHN")}
        assert_equal(some, {"READ": 3, "A": 1, "BOOK": 2, "</s>": 3, "JOHN": 1})
        assert_equal((len(got), sum(got.values())), (12, 17))

    def test_of_trigrams(self):
        counts = {
            ("<s>", "<s>", "a"): 4,
            ("<s>", "a", "b"): 2,
            ("c", "a", "b"): 9,
            ("b", "a", "b"): 1,
            ("a", "b", "c"): 3,
        }
        assert_equal(continuation_counts(counts), {("<s>", "a"): 1, ("a", "b"): 3, ("b", "c"): 1})

    def test_nothing(self):
        assert_equal(continuation_counts({}), {})


class TestKneserNey:
    def test_the_example_worked_by_hand(self):
        model = KneserNey(PAPER, 2, WORDS, half)
        floor = 6 / 17 / 13
        assert_close(model.prob("A", ["READ"]), 1.5 / 3 + (0.5 / 17 + floor) / 3)
        # After a context that was never seen the 1-grams decide.
        assert_close([model.prob(w, ["BOSTON"]) for w in ("A", "BOOK")], [0.5 / 17 + floor, 1.5 / 17 + floor])

    def test_of_1_grams(self):
        model = KneserNey(PAPER, 1, WORDS, half)
        # Order 1 is the highest, so it counts how often: 18 tokens of 12 kinds.
        assert_close([model.prob(w, []) for w in ("READ", "<unk>")], [2.5 / 18 + 6 / 18 / 13, 6 / 18 / 13])

    @pytest.mark.parametrize("discount", DISCOUNTS)
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_matches_the_formula_word_by_word(self, rng, n, discount):
        sentences = some_sentences(rng, 25)
        matches(KneserNey(sentences, n, VOCAB, discount), kneser_ney(sentences, n, VOCAB, discount), n, VOCAB)

    def test_four_orders(self, rng):
        sentences = some_sentences(rng, 30)
        matches(KneserNey(sentences, 4, VOCAB, rising), kneser_ney(sentences, 4, VOCAB, rising), 4, VOCAB)

    @pytest.mark.parametrize("n", [1, 2, 4])
    def test_sums_to_1_after_every_context(self, rng, n):
        is_a_distribution(KneserNey(some_sentences(rng, 15), n, VOCAB, rising), VOCAB)

    def test_gives_each_word_as_often_as_the_text_has_it(self, rng):
        sentences = some_sentences(rng, 60)
        vocab = {*"abcde", "</s>", "<unk>"}
        bigrams = Counter(grams(sentences, 2, vocab))

        def discount(frequencies):
            # Nothing is taken from order 1, so that it is N₁₊(• w)/N₁₊(• •), as in the paper.
            return (0.7,) if frequencies == numbers(bigrams) else (0.0,)

        model = KneserNey(sentences, 2, vocab, discount)
        before = Counter(h for h, _ in bigrams.elements())
        order = sorted(vocab)
        got = [sum(c * model.prob(w, [h]) for h, c in before.items()) for w in order]
        assert_close(got, [float(sum(c for (_, v), c in bigrams.items() if v == w)) for w in order])

    def test_the_context_stays_as_it_is(self):
        context = ["NEVER", "SHE", "READ"]
        KneserNey(PAPER, 3, WORDS, half).prob("NEVER", context)
        assert_equal(context, ["NEVER", "SHE", "READ"])

    def test_start_never_follows(self):
        model = KneserNey(PAPER, 3, WORDS, half)
        assert_equal([model.prob("<s>", []), model.prob("<s>", ["READ", "A"])], [0.0, 0.0])

    def test_unknown_words_are_alike(self, rng):
        model = KneserNey(some_sentences(rng, 25), 2, {"a", "b", "</s>", "<unk>"}, half)
        known = model.prob("<unk>", ["<unk>"])
        assert_close([model.prob("d", ["<unk>"]), model.prob("never", ["c"]), model.prob("c", ["qq"])], [known] * 3)

    def test_each_order_has_its_own_amounts(self):
        assert_equal(asked_by(KneserNey, 3), [[(1, 9), (2, 1), (3, 2)], [(1, 16), (2, 1)], [(1, 18)]])

    def test_on_hamlet_each_better_method_is_better(self, hamlet):
        tokens = re.findall(r"[a-z']+|[.,;:?!]", hamlet.lower())[:10_000]
        sentences, start = [], 0
        for i, token in enumerate(tokens):
            if token in ".?!":
                sentences.append(tokens[start : i + 1])
                start = i + 1
        train = [s for i, s in enumerate(sentences) if i % 10 < 8]
        counts = Counter(word for s in train for word in s)
        vocab = {word for word, count in counts.items() if count > 1} | {"</s>", "<unk>"}
        # Few tokens: a model that sums anew at every question is right, too.
        test = {n: grams(sentences[9::30], n, vocab) for n in (2, 3)}

        def perplexity(prob, n):
            return math.exp(sum(-math.log(prob(gram[-1], gram[:-1])) for gram in test[n]) / len(test[n]))

        bigrams = Counter(grams(train, 2, vocab))
        before = Counter(h for h, _ in bigrams.elements())
        found = {
            "bigrams, add 0.01": perplexity(
                lambda w, h: (bigrams[h[0], w] + 0.01) / (before[h[0]] + 0.01 * len(vocab)), 2
            ),
            "bigrams, Katz": perplexity(KatzBackoff(train, 2, vocab, good_turing_discounts).prob, 2),
            "bigrams, Kneser–Ney": perplexity(KneserNey(train, 2, vocab, absolute_discount).prob, 2),
            "trigrams, Kneser–Ney": perplexity(KneserNey(train, 3, vocab, absolute_discount).prob, 3),
            "trigrams, modified Kneser–Ney": perplexity(KneserNey(train, 3, vocab, modified_discounts).prob, 3),
        }
        # 73.0, 50.6, 47.4, 43.3, 42.6.
        figures = list(found.values())
        if not all(better < 0.995 * worse for worse, better in itertools.pairwise(figures)):
            lines = "\n".join(f"{name:30} {figure:6.1f}" for name, figure in found.items())
            fail(
                f"the perplexities on Hamlet don't fall from method to method:\n{lines}", evidence=np.round(figures, 3)
            )
