"""Judges k02_ngrams against scanning token by token, published examples, planted worlds, and Hamlet."""

import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_03_language_models.k02_ngrams import (
    AddK,
    Interpolated,
    count_ngrams,
    counts_of_counts,
    fit_weights,
    good_turing,
    ngrams,
    padded,
    replace_rare,
    vocabulary,
)

pytestmark = [from_scratch("nltk", "sklearn", "scipy"), pure()]

PAPER = [
    sentence.split() for sentence in ("JOHN READ MOBY DICK", "MARY READ A DIFFERENT BOOK", "SHE READ A BOOK BY CHER")
]
WORDS = {word for sentence in PAPER for word in sentence} | {"</s>", "<unk>"}
FISH = {10: 1, 3: 1, 2: 1, 1: 3}


def some_sentences(rng, count, words="abcde"):
    """Sentences of 0 to 6 words, the first words more often than the last."""
    p = 1 / np.arange(1, len(words) + 1)
    return [rng.choice(list(words), rng.integers(0, 7), p=p / p.sum()).tolist() for _ in range(count)]


def scan(sentences, n, vocab):
    """(context, word) of every token, with the context of n - 1 tokens."""
    found = []
    for sentence in sentences:
        tokens = [word if word in vocab else "<unk>" for word in sentence] + ["</s>"]
        line = ["<s>"] * (n - 1) + tokens
        found += [(tuple(line[i : i + n - 1]), token) for i, token in enumerate(tokens)]
    return found


def share(sentences, m, vocab, context, word):
    """c(h w)/c(h) for the last m - 1 tokens of a context, None where it wasn't seen."""
    h = tuple(context[len(context) - m + 1 :])
    after = [w for c, w in scan(sentences, m, vocab) if c == h]
    return after.count(word) / len(after) if after else None


def mixed(sentences, n, vocab, weights, context, word):
    p = 1 / len(vocab)
    for m, weight in enumerate(weights[:n], 1):
        part = share(sentences, m, vocab, context, word)
        p = p if part is None else weight * part + (1 - weight) * p
    return p


def is_a_distribution(model, vocab, contexts):
    """Every context's probabilities are from 0 to 1, and sum to 1."""
    for context in contexts:
        total = [model.prob(word, context) for word in sorted(vocab)]
        if not (abs(sum(total) - 1) < 1e-9 and min(total) >= 0):
            fail(
                f"after {context!r} the probabilities sum to {sum(total):.6f}, expected 1",
                evidence=round(sum(total), 9),
            )


class TestPadded:
    @pytest.mark.parametrize(
        ("n", "expected"), [(1, "a b </s>"), (2, "<s> a b </s>"), (3, "<s> <s> a b </s>"), (5, "<s> " * 4 + "a b </s>")]
    )
    def test_starts_and_one_end(self, n, expected):
        assert_equal(padded(["a", "b"], n), expected.split())

    def test_an_empty_sentence(self):
        assert_equal(padded([], 3), ["<s>", "<s>", "</s>"])

    @pytest.mark.parametrize("n", [0, -2])
    def test_rejects_an_n_below_1(self, n):
        with raises(ValueError, n):
            padded(["a"], n)


class TestNgrams:
    def test_bigrams(self):
        expected = [("<s>", "she"), ("she", "read"), ("read", "</s>")]
        assert_equal(ngrams(["she", "read"], 2), expected)

    def test_trigrams_longer_than_the_sentence(self):
        assert_equal(ngrams(["she"], 3), [("<s>", "<s>", "she"), ("<s>", "she", "</s>")])

    def test_unigrams_have_no_start(self):
        assert_equal(ngrams(["she", "she"], 1), [("she",), ("she",), ("</s>",)])

    @pytest.mark.parametrize("n", [1, 2, 4])
    def test_an_empty_sentence_has_one(self, n):
        assert_equal(ngrams([], n), [("<s>",) * (n - 1) + ("</s>",)])

    def test_rejects_an_n_below_1(self):
        with raises(ValueError, 0):
            ngrams(["a"], 0)


class TestCountNgrams:
    def test_of_the_paper(self):
        counts = count_ngrams(PAPER, 2)
        some = {gram: counts[gram] for gram in [("READ", "A"), ("<s>", "JOHN"), ("A", "BOOK"), ("BOOK", "</s>")]}
        assert_equal(some, {("READ", "A"): 2, ("<s>", "JOHN"): 1, ("A", "BOOK"): 1, ("BOOK", "</s>"): 1})
        assert_equal(sum(counts.values()), 18)

    @pytest.mark.parametrize("n", [1, 2, 3, 5])
    def test_matches_scanning_the_tokens(self, rng, n):
        sentences = some_sentences(rng, 30)
        expected = Counter((*h, w) for h, w in scan(sentences, n, set("abcde")))
        assert_equal(count_ngrams(sentences, n), dict(expected))

    def test_no_ngram_reaches_into_the_next_sentence(self):
        assert_equal(
            count_ngrams([["a"], ["b"]], 2), {("<s>", "a"): 1, ("a", "</s>"): 1, ("<s>", "b"): 1, ("b", "</s>"): 1}
        )

    def test_no_sentences(self):
        assert_equal(count_ngrams([], 2), {})


class TestVocabulary:
    @pytest.mark.parametrize(("least", "expected"), [(1, "abcd"), (2, "abc"), (3, "ab"), (5, "a"), (6, "")])
    def test_words_that_occur_often_enough(self, least, expected):
        sentences = [list("abac"), list("baa"), [], list("cabd")]
        assert_equal(vocabulary(sentences, least), {*expected, "</s>", "<unk>"})

    def test_once_is_enough_unless_told(self):
        assert_equal(vocabulary([["x"], ["y", "x"]]), {"x", "y", "</s>", "<unk>"})

    def test_no_sentences(self):
        assert_equal(vocabulary([]), {"</s>", "<unk>"})

    def test_capitals_stay(self):
        assert_equal(vocabulary([["The", "the", "The"]], 2), {"The", "</s>", "<unk>"})


class TestReplaceRare:
    def test_words_outside_the_vocabulary(self):
        got = replace_rare([list("abz"), [], list("ya")], {"a", "b", "</s>", "<unk>"})
        assert_equal(got, [["a", "b", "<unk>"], [], ["<unk>", "a"]])

    def test_the_lists_are_new(self):
        sentences = [["a"]]
        replace_rare(sentences, {"a", "</s>", "<unk>"})[0].append("b")
        assert_equal(sentences, [["a"]])


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
]


def full(context, n, vocab):
    """A context of n - 1 tokens, as the stub says it."""
    known = [t if t in vocab or t == "<s>" else "<unk>" for t in context]
    known = ["<s>"] * (n - 1) + known
    return tuple(known[len(known) - n + 1 :])


def of_a_sentence(model, text):
    """The probability of a sentence under a bigram model."""
    words = text.split()
    return math.prod(model.prob(w, [h]) for h, w in zip(["<s>", *words], [*words, "</s>"], strict=True))


class TestAddK:
    def test_the_example_worked_by_hand(self):
        model = AddK(PAPER, 2, WORDS, 1)
        rest = 3 / 16 * 2 / 15 * 2 / 15
        assert_close(of_a_sentence(model, "JOHN READ A BOOK"), 2 / 16 * 2 / 14 * rest, atol=0)
        assert_close(of_a_sentence(model, "CHER READ A BOOK"), 1 / 16 * 1 / 14 * rest, atol=0)

    def test_a_tiny_k_leaves_the_papers_0_06(self):
        assert_close(of_a_sentence(AddK(PAPER, 2, WORDS, 1e-12), "JOHN READ A BOOK"), 1 / 18)

    @pytest.mark.parametrize("k", [0.05, 1, 2.5])
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_matches_scanning_the_tokens(self, rng, n, k):
        sentences, vocab = some_sentences(rng, 25), {"a", "b", "c", "x", "</s>", "<unk>"}
        model, tokens = AddK(sentences, n, vocab, k), scan(sentences, n, vocab)
        for context in CONTEXTS:
            after = [w for h, w in tokens if h == full(context, n, vocab)]
            expected = [(after.count(w) + k) / (len(after) + k * 6) for w in sorted(vocab)]
            assert_close(np.array([model.prob(w, list(context)) for w in sorted(vocab)]), np.array(expected))

    @pytest.mark.parametrize("n", [1, 2, 4])
    def test_sums_to_1_after_every_context(self, rng, n):
        vocab = {"a", "b", "c", "x", "</s>", "<unk>"}
        is_a_distribution(AddK(some_sentences(rng, 12), n, vocab, 0.3), vocab, CONTEXTS)

    def test_unknown_words_are_alike(self, rng):
        model = AddK(some_sentences(rng, 25), 2, {"a", "b", "</s>", "<unk>"}, 0.5)
        known = model.prob("<unk>", ["<unk>"])
        assert_close([model.prob("d", ["<unk>"]), model.prob("never", ["c"]), model.prob("c", ["qq"])], [known] * 3)

    def test_the_context_stays_as_it_is(self):
        context = ["NEVER", "SHE", "READ"]
        AddK(PAPER, 3, WORDS, 0.5).prob("NEVER", context)
        assert_equal(context, ["NEVER", "SHE", "READ"])

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_start_never_follows(self, n):
        model = AddK(PAPER, n, WORDS, 1)
        assert_equal([model.prob("<s>", []), model.prob("<s>", ["READ"])], [0.0, 0.0])

    def test_no_sentences_are_uniform(self):
        assert_close(AddK([], 2, {"a", "</s>", "<unk>"}, 0.1).prob("a", ["b"]), 1 / 3)

    @pytest.mark.parametrize("k", [0, -0.5])
    def test_rejects_a_k_that_is_not_positive(self, k):
        with raises(ValueError, k):
            AddK(PAPER, 2, WORDS, k)


class TestCountsOfCounts:
    def test_how_many_were_seen_r_times(self):
        counts = {("a",): 3, ("b",): 1, ("c",): 3, ("d",): 1, ("e",): 1, ("f",): 7}
        assert_equal(counts_of_counts(counts), {1: 3, 3: 2, 7: 1})

    def test_nothing(self):
        assert_equal(counts_of_counts({}), {})


class TestGoodTuring:
    def test_the_example_worked_by_hand(self):
        assert_close(good_turing(FISH), (3 / 18, {10: 10.0, 3: 3.0, 2: 3.0, 1: 2 / 3}))

    @pytest.mark.parametrize("size", [4, 7])
    def test_matches_the_formula(self, rng, size):
        n = {int(r): int(rng.integers(1, 50)) for r in rng.permutation(np.arange(1, size + 1))}
        expected = {r: (r + 1) * n[r + 1] / n[r] if r < size else float(r) for r in n}
        assert_close(good_turing(n), (n[1] / sum(r * k for r, k in n.items()), expected))

    @pytest.mark.parametrize("gap", [{2: 4, 3: 8, 5: 1}, {5: 1, 2: 4, 3: 8}])
    def test_nothing_seen_once_and_a_gap(self, gap):
        p0, adjusted = good_turing(gap)
        assert_close((p0, adjusted[2], adjusted[3], adjusted[5]), (0.0, 6.0, 3.0, 5.0))

    def test_estimates_how_much_is_unseen(self, rng):
        # Words of Zipf's law: 3,000 kinds, of which 4,000 draws find less than half.
        p = 1 / np.arange(1, 3001)
        p /= p.sum()
        drawn = rng.choice(3000, 4000, p=p)
        seen, times = np.unique(drawn, return_counts=True)
        unseen = 1 - float(p[seen].sum())
        p0, _ = good_turing(dict(Counter(times.tolist())))
        # Both are near 0.18; their difference has deviation √(N₁ + 2N₂)/4000 = 0.009.
        assert_close(p0, unseen, atol=0.055, rtol=0)

    def test_rejects_no_counts(self):
        with raises(ValueError):
            good_turing({})


class TestInterpolated:
    def test_the_example_worked_by_hand(self):
        model = Interpolated(PAPER, 2, WORDS, [0.5, 0.5])
        assert_close(model.prob("READ", ["JOHN"]), 0.5 + 0.5 * (0.5 * 3 / 18 + 0.5 / 13))

    @pytest.mark.parametrize("weights", [[0.7], [0.9, 0.3], [0.8, 0.25, 0.6], [0.5, 0.2, 0.9, 0.35]])
    def test_matches_scanning_the_tokens(self, rng, weights):
        sentences, vocab, n = some_sentences(rng, 25), {"a", "b", "c", "x", "</s>", "<unk>"}, len(weights)
        model = Interpolated(sentences, n, vocab, weights)
        for context in CONTEXTS:
            expected = [mixed(sentences, n, vocab, weights, full(context, n, vocab), w) for w in sorted(vocab)]
            assert_close(np.array([model.prob(w, list(context)) for w in sorted(vocab)]), np.array(expected))

    @pytest.mark.parametrize("weights", [[0.7], [0.9, 1], [0.8, 0, 0.6]])
    def test_sums_to_1_after_every_context(self, rng, weights):
        vocab = {"a", "b", "c", "x", "</s>", "<unk>"}
        model = Interpolated(some_sentences(rng, 12), len(weights), vocab, weights)
        is_a_distribution(model, vocab, CONTEXTS)

    def test_after_an_unseen_context_the_shorter_one_counts_in_full(self):
        sentences, vocab = [list("ab"), list("ac")], {"a", "b", "c", "</s>", "<unk>"}
        one, two = Interpolated(sentences, 1, vocab, [0.6]), Interpolated(sentences, 2, vocab, [0.6, 0.9])
        assert_close([two.prob(w, ["zzz"]) for w in "abc"], [one.prob(w, []) for w in "abc"])

    def test_no_sentences_are_uniform(self):
        assert_close(Interpolated([], 2, {"a", "</s>", "<unk>"}, [0.9, 0.9]).prob("a", ["b"]), 1 / 3)

    def test_the_context_stays_as_it_is(self):
        context = ["NEVER", "SHE", "READ"]
        Interpolated(PAPER, 3, WORDS, [0.5] * 3).prob("NEVER", context)
        assert_equal(context, ["NEVER", "SHE", "READ"])

    def test_start_never_follows(self):
        assert_equal(Interpolated(PAPER, 3, WORDS, [0.4, 0.5, 0.6]).prob("<s>", ["READ", "A"]), 0.0)

    @pytest.mark.parametrize(("n", "weights"), [(2, [0.5]), (3, [0.1, 0.2, 0.3, 0.4])])
    def test_rejects_another_number_of_weights(self, n, weights):
        with raises(ValueError, n, len(weights)):
            Interpolated(PAPER, n, WORDS, weights)

    @pytest.mark.parametrize("weight", [-0.25, 1.5])
    def test_rejects_a_weight_outside_0_to_1(self, weight):
        with raises(ValueError, weight):
            Interpolated(PAPER, 2, WORDS, [0.5, weight])


def em_step(sentences, n, vocab, held_out, weights):
    """One step of EM, with the chance to stop at each order, given that one has arrived there."""
    stops, arrives = [0.0] * n, [0.0] * n
    for context, word in scan(held_out, n, vocab):
        here = 1.0
        for m in range(n, 0, -1):
            part = share(sentences, m, vocab, context, word)
            if part is None:
                continue
            stop = weights[m - 1] * part / mixed(sentences, m, vocab, weights, context, word)
            stops[m - 1] += here * stop
            arrives[m - 1] += here
            here *= 1 - stop
    return [s / a if a else w for s, a, w in zip(stops, arrives, weights, strict=True)]


class TestFitWeights:
    @pytest.mark.parametrize(("n", "steps"), [(1, 1), (2, 1), (3, 1), (2, 3), (3, 4)])
    def test_matches_steps_token_by_token(self, rng, n, steps):
        sentences, held_out = some_sentences(rng, 12), some_sentences(rng, 6, "badfe")
        vocab, weights = {"a", "b", "c", "d", "x", "</s>", "<unk>"}, [0.5] * n
        for _ in range(steps):
            weights = em_step(sentences, n, vocab, held_out, weights)
        assert_close(fit_weights(sentences, n, vocab, held_out, steps), weights)

    def test_no_step_and_nothing_held_out_leave_one_half(self):
        assert_close(fit_weights(PAPER, 3, WORDS, PAPER, 0), [0.5] * 3)
        assert_close(fit_weights(PAPER, 2, WORDS, [], 7), [0.5] * 2)

    def test_a_weight_without_tokens_stays(self):
        # Nobody in the held-out text comes to a context of two words that was seen.
        sentences, vocab = [["a", "b"]], {"a", "b", "c", "</s>", "<unk>"}
        held_out = [["c"]]
        expected = [0.5, 0.5, 0.5]
        for _ in range(2):
            expected = em_step(sentences, 3, vocab, held_out, expected)
        assert_close(fit_weights(sentences, 3, vocab, held_out, 2), expected)
        assert_close(fit_weights([], 2, vocab, held_out, 3), [0.5, 0.5])

    def test_20_steps_unless_told(self, rng):
        sentences, held_out = some_sentences(rng, 10), some_sentences(rng, 5)
        vocab = {*"abcde", "</s>", "<unk>"}
        twenty = fit_weights(sentences, 2, vocab, held_out, 20)
        assert_close(fit_weights(sentences, 2, vocab, held_out), twenty)

    def test_ends_where_no_other_weights_are_better(self, rng):
        sentences, vocab = some_sentences(rng, 40), {*"abcde", "</s>", "<unk>"}
        # f and g were never seen: no weight comes so near to 1 that rounding decides.
        held_out = some_sentences(rng, 20, "abcfg")
        parts = [
            (share(sentences, 1, vocab, c, w) or 0.0, share(sentences, 2, vocab, c, w))
            for c, w in scan(held_out, 2, vocab)
        ]

        def loss(one, two):
            total = 0.0
            for first, second in parts:
                p = one * first + (1 - one) / 7
                total -= math.log(p if second is None else two * second + (1 - two) * p)
            return total / len(parts)

        found = loss(*fit_weights(sentences, 2, vocab, held_out, 60))
        best = min(loss(i / 20, j / 20) for i in range(20) for j in range(20))
        # After 60 steps EM is still above the best by up to 0.0015.
        if not found < best + 5e-3:
            fail(f"the held-out loss is {found:.4f}; weights on a grid have {best:.4f}", evidence=round(found, 4))

    def test_the_text_that_was_counted_says_nothing_about_new_text(self, rng):
        sentences, new, vocab = some_sentences(rng, 30), some_sentences(rng, 30), {*"abcde", "</s>", "<unk>"}
        counted, other = (fit_weights(sentences, 3, vocab, text, 10)[-1] for text in (sentences, new))
        # About 0.95 and 0.15; their difference has deviation 0.07.
        if not counted > other + 0.3:
            found = (round(counted, 4), round(other, 4))
            fail(
                f"on the counted text EM trusts its longest context with {found[0]}, on new text with {found[1]}; "
                "the counted one must trust it far more",
                evidence=found,
            )

    def test_on_hamlet_each_better_method_is_better(self, hamlet):
        tokens = re.findall(r"[a-z']+|[.,;:?!]", hamlet.lower())[:10_000]
        sentences, start = [], 0
        for i, token in enumerate(tokens):
            if token in ".?!":
                sentences.append(tokens[start : i + 1])
                start = i + 1
        train = [s for i, s in enumerate(sentences) if i % 10 < 8]
        held_out, test = sentences[8::10], sentences[9::10]
        vocab = vocabulary(train, 2)

        def perplexity(model, n):
            nll = [-math.log(model.prob(g[-1], g[:-1])) for s in test for g in ngrams(s, n)]
            return math.exp(sum(nll) / len(nll))

        found = {
            "bigrams, add 1": perplexity(AddK(train, 2, vocab, 1), 2),
            "unigrams, add 1": perplexity(AddK(train, 1, vocab, 1), 1),
            "bigrams, add 0.01": perplexity(AddK(train, 2, vocab, 0.01), 2),
            "bigrams, interpolated": perplexity(
                Interpolated(train, 2, vocab, fit_weights(train, 2, vocab, held_out, 4)), 2
            ),
            "trigrams, interpolated": perplexity(
                Interpolated(train, 3, vocab, fit_weights(train, 3, vocab, held_out, 4)), 3
            ),
        }
        # 151, 103, 90, 62, 58.
        figures = list(found.values())
        if not all(better < 0.98 * worse for worse, better in itertools.pairwise(figures)):
            lines = "\n".join(f"{name:24} {figure:6.1f}" for name, figure in found.items())
            fail(
                f"the perplexities on Hamlet don't fall from method to method:\n{lines}", evidence=np.round(figures, 3)
            )
