"""Judges k01_bigrams against counting pair by pair, finite differences, closed forms, and census names."""

import math
from collections import Counter

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_03_language_models.k01_bigrams import (
    bigram_pairs,
    count_matrix,
    loss_and_gradient,
    mean_nll,
    probabilities,
    sample_words,
    train,
    vocabulary,
)

pytestmark = [from_scratch("torch", "scipy", "sklearn"), pure()]

FIRST, SECOND = np.array([0, 1, 2, 0, 2]), np.array([1, 2, 0, 2, 0])
COUNTS = np.array([[0, 1, 1], [0, 0, 1], [2, 0, 0]])


def pairs_of(rng, n, size):
    """Pairs where some rows occur often and the last never does as a first."""
    return rng.integers(0, size - 1, n), rng.integers(0, size, n)


def plain_loss(logits, first, second, decay):
    total = 0.0
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        total -= logits[i][j] - math.log(sum(math.exp(v) for v in logits[i]))
    return total / len(first) + decay * float((np.asarray(logits) ** 2).sum())


class TestVocabulary:
    def test_the_example_worked_by_hand(self):
        assert_equal(vocabulary(["ab", "b"]), [".", "a", "b"])

    # "!" and "'" sort before ".".
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["zoë", "anna", "", "n'a!"], [".", "!", "'", "a", "n", "o", "z", "ë"]),
            (["Bab", "ca"], [".", "B", "a", "b", "c"]),
            (["x-y z"], [".", " ", "-", "x", "y", "z"]),
        ],
    )
    def test_the_boundary_comes_before_all_others(self, words, expected):
        assert_equal(vocabulary(words), expected)

    @pytest.mark.parametrize("words", [[], [""]])
    def test_without_characters_only_the_boundary(self, words):
        assert_equal(vocabulary(words), ["."])

    @pytest.mark.parametrize("word", ["st.john", ".x", "jr."])
    def test_rejects_a_word_with_the_boundary(self, word):
        with raises(ValueError, word):
            vocabulary(["ok", word, "fine"])


class TestBigramPairs:
    def test_the_example_worked_by_hand(self):
        assert_close(bigram_pairs(["ab", "b"], [".", "a", "b"]), (FIRST, SECOND))

    @pytest.mark.parametrize("n", [1, 7, 40])
    def test_joined_again_they_are_the_words(self, rng, n):
        vocab = [".", *rng.permutation(list("abcdxyz")).tolist()]
        words = ["".join(rng.choice(vocab[1:6], rng.integers(0, 6))) for _ in range(n)]
        first, second = bigram_pairs(words, vocab)
        assert_equal(len(first), sum(len(word) + 1 for word in words))
        assert_equal("".join(vocab[i] for i in first), "".join("." + word for word in words))
        assert_equal("".join(vocab[i] for i in second), "".join(word + "." for word in words))

    def test_an_empty_word_is_one_pair(self):
        expected = (np.array([0, 0, 1, 0]), np.array([0, 1, 0, 0]))
        assert_close(bigram_pairs(["", "q", ""], [".", "q"]), expected)

    def test_no_words_are_no_pairs_of_integers(self):
        first, second = bigram_pairs([], [".", "a"])
        assert_equal((first.shape, first.dtype.kind, second.shape, second.dtype.kind), ((0,), "i", (0,), "i"))

    @pytest.mark.parametrize("letter", ["z", "A"])
    def test_rejects_a_character_that_is_not_in_the_vocabulary(self, letter):
        with raises(ValueError, letter):
            bigram_pairs(["ab", "b" + letter + "b"], [".", "a", "b"])


class TestCountMatrix:
    def test_the_example_worked_by_hand(self):
        assert_close(count_matrix(FIRST, SECOND, 3), COUNTS)

    @pytest.mark.parametrize(("n", "size"), [(200, 4), (30, 7), (1, 2)])
    def test_matches_counting_one_by_one(self, rng, n, size):
        first, second = pairs_of(rng, n, size)
        seen = Counter(zip(first.tolist(), second.tolist(), strict=True))
        expected = np.array([[seen[i, j] for j in range(size)] for i in range(size)])
        assert_close(count_matrix(first, second, size), expected)

    def test_no_pairs_are_zeros(self):
        empty = np.array([], dtype=np.int64)
        assert_close(count_matrix(empty, empty, 2), np.zeros((2, 2), dtype=np.int64))


class TestProbabilities:
    def test_the_example_worked_by_hand(self):
        assert_close(probabilities(COUNTS), np.array([[0, 0.5, 0.5], [0, 0, 1], [1, 0, 0]]))

    def test_the_example_smoothed(self):
        expected = np.array([[0.2, 0.4, 0.4], [0.25, 0.25, 0.5], [0.6, 0.2, 0.2]])
        assert_close(probabilities(COUNTS, 1), expected)

    @pytest.mark.parametrize("k", [0.01, 0.5, 3])
    def test_adds_k_to_each_count(self, rng, k):
        counts = rng.integers(0, 30, (5, 5))
        expected = [[(c + k) / sum(row + k) for c in row] for row in counts]
        assert_close(probabilities(counts, k), np.array(expected))

    @pytest.mark.parametrize(("k", "size"), [(0, 3), (0.0, 5), (0.25, 4)])
    def test_a_row_without_counts_is_uniform(self, k, size):
        counts = np.zeros((size, size), dtype=np.int64)
        counts[0, 1] = 3
        got = probabilities(counts, k)
        assert_close(got[1:], np.full((size - 1, size), 1 / size))
        assert_close(got.sum(axis=1), np.ones(size))

    def test_not_smoothed_unless_told(self):
        assert_close(probabilities(np.array([[1, 0], [2, 2]])), np.array([[1.0, 0], [0.5, 0.5]]))

    @pytest.mark.parametrize("k", [-1, -0.001])
    def test_rejects_negative_smoothing(self, k):
        with raises(ValueError, k):
            probabilities(COUNTS, k)


class TestMeanNLL:
    def test_the_example_worked_by_hand(self):
        table = np.array([[0, 0.5, 0.5], [0, 0, 1], [1, 0, 0]])
        assert_close(mean_nll(table, FIRST, SECOND), 2 * math.log(2) / 5)

    @pytest.mark.parametrize(("n", "size"), [(50, 4), (3, 6)])
    def test_matches_the_sum_pair_by_pair(self, rng, n, size):
        table = rng.dirichlet(np.ones(size), size)
        first, second = pairs_of(rng, n, size)
        expected = sum(-math.log(table[i, j]) for i, j in zip(first, second, strict=True)) / n
        assert_close(mean_nll(table, first, second), expected)

    def test_a_tiny_probability_counts_in_full(self):
        table = np.array([[1e-200, 1.0], [0.5, 0.5]])
        assert_close(mean_nll(table, np.array([0, 1]), np.array([0, 1])), (200 * math.log(10) + math.log(2)) / 2)

    def test_what_is_impossible_costs_infinitely_much(self):
        table = np.array([[0.0, 1.0], [0.5, 0.5]])
        assert_close(mean_nll(table, np.array([1, 0, 0]), np.array([0, 1, 0])), math.inf)

    def test_rejects_no_pairs(self):
        empty = np.array([], dtype=np.int64)
        with raises(ValueError):
            mean_nll(np.full((2, 2), 0.5), empty, empty)


class TestSampleWords:
    def test_a_chain_that_leaves_no_choice(self):
        # . → b → c → a → .
        table = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]])
        got = sample_words(table, [".", "a", "b", "c"], 3, np.random.default_rng(0))
        assert_equal(got, ["bca", "bca", "bca"])

    @pytest.mark.parametrize("limit", [1, 5])
    def test_a_word_ends_at_the_limit(self, limit):
        table = np.array([[0.0, 1], [0, 1]])
        assert_equal(sample_words(table, [".", "o"], 2, np.random.default_rng(0), limit), ["o" * limit] * 2)

    def test_a_word_may_be_as_long_as_the_limit(self):
        table = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
        assert_equal(sample_words(table, [".", "o", "k"], 1, np.random.default_rng(0), 2), ["ok"])

    def test_the_limit_is_30_unless_told(self):
        table = np.array([[0.0, 1], [0, 1]])
        assert_equal(sample_words(table, [".", "o"], 1, np.random.default_rng(0)), ["o" * 30])

    def test_words_may_be_empty_and_there_may_be_none(self):
        table = np.array([[1.0, 0], [0, 1]])
        assert_equal(sample_words(table, [".", "o"], 2, np.random.default_rng(0)), ["", ""])
        assert_equal(sample_words(table, [".", "o"], 0, np.random.default_rng(0)), [])

    def test_every_word_starts_at_the_boundary(self):
        # . → a → b → a → … never ends by itself.
        table = np.array([[0.0, 1, 0], [0, 0, 1], [0, 1, 0]])
        assert_equal(sample_words(table, [".", "a", "b"], 2, np.random.default_rng(0), 3), ["aba", "aba"])

    def test_neighbours_occur_as_often_as_the_table_says(self, rng):
        # No row is the mirror of another, and no column sums to 1.
        table = np.array([[0.1, 0.6, 0.3], [0.5, 0.1, 0.4], [0.2, 0.7, 0.1]])
        words = sample_words(table, [".", "a", "b"], 3000, rng)
        counts = np.zeros((3, 3))
        for word in words:
            for one, two in zip("." + word, word + ".", strict=True):
                counts[".ab".index(one), ".ab".index(two)] += 1
        totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
        # Each share is within 5.5 standard deviations.
        off = np.abs(counts / totals - table) / np.sqrt(table * (1 - table) / totals)
        if off.max() > 5.5:
            shares = np.round(counts / totals, 1)
            fail(f"neighbours occur with shares\n{shares}\nexpected\n{table}", evidence=shares)

    def test_equal_generators_give_equal_words_and_one_goes_on(self, rng):
        table, vocab = rng.dirichlet(np.ones(4), 4), [".", "a", "b", "c"]
        once, again = (sample_words(table, vocab, 40, np.random.default_rng(3)) for _ in range(2))
        assert_equal(once, again)
        going = np.random.default_rng(3)
        first, second = sample_words(table, vocab, 40, going), sample_words(table, vocab, 40, going)
        if first == second:
            fail("two calls with one generator give the same words; let `rng` make the draws", evidence="reseeded")


class TestLossAndGradient:
    def test_the_example_worked_by_hand(self):
        loss, gradient = loss_and_gradient(np.zeros((3, 3)), FIRST, SECOND)
        assert_close(loss, math.log(3))
        # Row b: two of the five pairs start there, both with . after it.
        expected = np.array([[2, -1, -1], [1, 1, -2], [-4, 2, 2]]) / 15
        assert_close(gradient, expected)

    @pytest.mark.parametrize("decay", [0.0, 0.03, 0.5])
    @pytest.mark.parametrize(("n", "size"), [(40, 4), (5, 6)])
    def test_the_loss_matches_the_sum_pair_by_pair(self, rng, n, size, decay):
        logits = rng.normal(size=(size, size))
        first, second = pairs_of(rng, n, size)
        loss, _ = loss_and_gradient(logits, first, second, decay)
        assert_close(loss, plain_loss(logits, first, second, decay))

    @pytest.mark.parametrize("decay", [0.0, 0.2])
    def test_the_gradient_matches_finite_differences(self, rng, decay):
        logits, h = rng.normal(size=(4, 4)), 1e-5
        first, second = pairs_of(rng, 30, 4)
        _, gradient = loss_and_gradient(logits, first, second, decay)
        expected = np.zeros((4, 4))
        for place in np.ndindex(4, 4):
            step = np.zeros((4, 4))
            step[place] = h
            up, down = (plain_loss(logits + sign * step, first, second, decay) for sign in (1, -1))
            expected[place] = (up - down) / (2 * h)
        # Central differences with h = 1e-5 are right to some 1e-10.
        assert_close(gradient, expected, atol=1e-8, rtol=1e-6)

    def test_the_loss_of_log_probabilities_is_the_count_models(self, rng):
        first, second = pairs_of(rng, 60, 5)
        table = rng.dirichlet(np.ones(5), 5)
        # A constant added to a row of logits changes nothing.
        loss, _ = loss_and_gradient(np.log(table) + rng.normal(size=(5, 1)), first, second)
        expected = -sum(math.log(table[i, j]) for i, j in zip(first, second, strict=True)) / 60
        assert_close(loss, expected)

    @pytest.mark.parametrize("size", [2, 5])
    def test_a_row_without_pairs_has_only_the_decays_gradient(self, rng, size):
        logits = rng.normal(size=(size, size))
        first, second = pairs_of(rng, 9, size)
        _, gradient = loss_and_gradient(logits, first, second, 0.25)
        assert_close(gradient[-1], 0.5 * logits[-1])

    @pytest.mark.parametrize("large", [1e3, 1e4])
    def test_large_logits_do_not_overflow(self, large):
        logits = np.array([[large, 0.0, large], [-large, -3 * large, -large], [0.0, 0.0, 0.0]])
        loss, gradient = loss_and_gradient(logits, np.array([0, 0, 1, 1]), np.array([0, 2, 0, 0]))
        assert_close(loss, math.log(2))
        assert_close(gradient, np.array([[0.0, 0, 0], [-0.25, 0, 0.25], [0, 0, 0]]))

    @pytest.mark.parametrize("large", [1e3, 1e4])
    def test_the_logarithm_of_a_vanished_probability_is_exact(self, large):
        logits = np.array([[0.0, -large], [0.0, 0.0]])
        loss, gradient = loss_and_gradient(logits, np.array([0, 1]), np.array([1, 0]))
        assert_close(loss, (large + math.log(2)) / 2)
        assert_close(gradient, np.array([[0.5, -0.5], [-0.25, 0.25]]))

    def test_no_decay_unless_told(self):
        loss, _ = loss_and_gradient(np.array([[1.0, 1], [2, 2]]), np.array([0, 1]), np.array([0, 1]))
        assert_close(loss, math.log(2))

    def test_rejects_no_pairs(self):
        empty = np.array([], dtype=np.int64)
        with raises(ValueError):
            loss_and_gradient(np.zeros((2, 2)), empty, empty)


class TestTrain:
    def test_no_step_leaves_zeros(self):
        assert_close(train(FIRST, SECOND, 3, 0, 0.5), np.zeros((3, 3)))

    @pytest.mark.parametrize("rate", [0.5, 3])
    def test_the_first_step(self, rate):
        expected = -rate * np.array([[2, -1, -1], [1, 1, -2], [-4, 2, 2]]) / 15
        assert_close(train(FIRST, SECOND, 3, 1, rate), expected)

    @pytest.mark.parametrize(("steps", "rate", "decay"), [(2, 1.5, 0.0), (4, 0.5, 0.1), (3, 2, 0.04)])
    def test_some_steps_matched_one_by_one(self, rng, steps, rate, decay):
        first, second = pairs_of(rng, 25, 4)
        counts = np.zeros((4, 4))
        for i, j in zip(first, second, strict=True):
            counts[i, j] += 1
        logits = np.zeros((4, 4))
        for _ in range(steps):
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            gradient = (counts.sum(axis=1, keepdims=True) * p - counts) / 25 + 2 * decay * logits
            logits = logits - rate * gradient
        assert_close(train(first, second, 4, steps, rate, decay), logits)

    def test_ends_at_the_counts(self, rng):
        counts = rng.integers(3, 12, (3, 3))
        first, second = (part.repeat(counts.ravel()) for part in np.indices((3, 3)).reshape(2, -1))
        logits = train(first, second, 3, 600, 3.0)
        # Each step takes as much from a row as it gives, so from 0 on a row of logits sums to 0.
        log_p = np.log(counts / counts.sum(axis=1, keepdims=True))
        assert_close(logits, log_p - log_p.mean(axis=1, keepdims=True), atol=1e-6, rtol=0)

    def test_decay_ends_where_it_balances_the_loss(self):
        first, second = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
        w = train(first, second, 2, 800, 1.0, 0.1)
        p = np.exp(w) / np.exp(w).sum(axis=1, keepdims=True)
        counts = np.array([[2, 1], [0, 1]])
        # Where it stands still, the pull of the counts is the pull of the decay.
        assert_close((counts - counts.sum(axis=1, keepdims=True) * p) / 4, 0.2 * w, atol=1e-6, rtol=0)

    def test_reaches_the_count_models_loss_on_names(self, names):
        male = names[1][::4]  # few, so that a loop over the pairs is done in time, too
        vocab = [".", *sorted(set("".join(male)))]
        places = [[0, *map(vocab.index, name), 0] for name in male]
        first = np.array([i for name in places for i in name[:-1]])
        second = np.array([i for name in places for i in name[1:]])
        counts = np.zeros((len(vocab), len(vocab)))
        for i, j in zip(first, second, strict=True):
            counts[i, j] += 1
        best = -(counts[counts > 0] * np.log((counts / counts.sum(axis=1, keepdims=True))[counts > 0])).sum()
        best /= len(first)
        logits = train(first, second, len(vocab), 150, 100.0)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        loss = float(-log_p[first, second].mean())
        # 2.278 is the least that any table has; 150 steps come within 0.010 of it, uniform has 3.296.
        if not best - 1e-9 <= loss < best + 0.02:
            fail(f"150 steps end at a loss of {loss:.3f}; counting has {best:.3f}", evidence=round(loss, 6))

    def test_on_names_that_it_has_not_seen(self, names):
        female = names[0][::3]
        vocab = vocabulary(female)
        seen = bigram_pairs([name for i, name in enumerate(female) if i % 5], vocab)
        unseen = bigram_pairs(female[::5], vocab)
        counts = count_matrix(*seen, len(vocab))
        loss = mean_nll(probabilities(counts, 0.1), *unseen)
        letters = np.bincount(seen[1], minlength=27) / len(seen[1])
        alone = float(-np.log(letters[unseen[1]]).mean())
        # 2.31 against 2.78 by the letters' frequencies alone; not smoothed, an unseen pair costs ∞.
        if not loss < alone - 0.4:
            fail(f"the loss of unseen names is {loss:.2f}; letters alone have {alone:.2f}", evidence=round(loss, 6))
        assert_close(mean_nll(probabilities(counts), *unseen), math.inf)
        # Learning, held back by decay, comes close to it on the same names.
        logits = train(*seen, len(vocab), 60, 50.0, 1e-5)
        learned, _ = loss_and_gradient(logits, *unseen)
        assert_close(learned, loss, atol=0.1, rtol=0)
