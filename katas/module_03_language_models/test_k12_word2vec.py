"""Judges k12_word2vec against torch's autograd and SGD, chi-squared tests of what is drawn, and planted synonyms."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_03_language_models.k12_word2vec import (
    cbow_loss_and_gradients,
    cbow_windows,
    draw_negatives,
    keep_probabilities,
    negative_distribution,
    skipgram_loss_and_gradients,
    skipgram_pairs,
    subsample,
    train,
)

pytestmark = [from_scratch("gensim", "torch", "tensorflow", "jax", "autograd", "sklearn", "scipy"), pure()]


def drawn_as_expected(counts, shares, what):
    """Chi-squared: whether the counts fit the shares; what has no share must not be drawn."""
    from scipy.stats import chisquare

    counts, shares = np.asarray(counts), np.asarray(shares, dtype=float)
    told = [round(float(one), 2) for one in counts / counts.sum()]
    if (counts[shares == 0] > 0).any():
        fail(
            f"{what} has shares {told}; expected {shares.round(3).tolist()}, and nothing where that is 0", evidence=told
        )
    possible = shares > 0
    # One in 10⁹ right solutions fails.
    if chisquare(counts[possible], shares[possible] / shares.sum() * counts.sum()).pvalue < 1e-9:
        fail(f"{what} has shares {told}; expected {shares.round(3).tolist()}", evidence=told)


def does_not_loop(function, small, large):
    if python_steps(function, *large) > python_steps(function, *small) + 60:
        fail("the lines of Python that run grow with the pairs; use whole-array operations", evidence="loop")


class TestKeepProbabilities:
    def test_the_example_worked_by_hand(self):
        assert_close(keep_probabilities(np.array([81, 10, 9]), 0.09), np.array([1 / 3, math.sqrt(0.9), 1.0]))

    @pytest.mark.parametrize("threshold", [1e-3, 0.02, 0.5])
    def test_matches_the_formula_word_by_word(self, rng, threshold):
        counts = rng.integers(1, 500, 12)
        expected = [min(1.0, math.sqrt(threshold / (count / int(counts.sum())))) for count in counts.tolist()]
        assert_close(keep_probabilities(counts, threshold), np.array(expected))

    def test_a_word_that_never_occurs(self):
        assert_close(keep_probabilities(np.array([0, 4, 0, 12]), 0.03), np.array([1, math.sqrt(0.12), 1, 0.2]))


class TestSubsample:
    def test_all_or_nothing(self, rng):
        sentences = [[2, 0, 1], [1, 1], [], [0, 2, 2]]
        got = subsample(sentences, np.array([1.0, 0.0, 1.0]), rng)
        assert_equal([[int(word) for word in sentence] for sentence in got], [[2, 0], [], [], [0, 2, 2]])

    def test_frequencies(self, rng):
        keep = np.array([0.15, 0.9, 0.5])
        got = subsample([[0, 1, 2, 1]] * 3000, keep, rng)
        kept = Counter(int(word) for sentence in got for word in sentence)
        for word, tokens in enumerate((3000, 6000, 3000)):
            drawn_as_expected(
                [kept[word], tokens - kept[word]],
                [keep[word], 1 - keep[word]],
                f"what is kept and dropped of word {word}",
            )

    def test_tokens_are_dropped_one_by_one(self, rng):
        got = subsample([[0, 0, 0]] * 3000, np.array([0.6]), rng)
        lengths = Counter(len(sentence) for sentence in got)
        shares = [math.comb(3, n) * 0.6**n * 0.4 ** (3 - n) for n in range(4)]
        drawn_as_expected([lengths[n] for n in range(4)], shares, "the number of equal tokens that are kept of 3")


class TestSkipgramPairs:
    def test_the_example_worked_by_hand(self):
        assert_close(skipgram_pairs([[5, 3, 9]], 1), (np.array([5, 3, 3, 9]), np.array([3, 5, 9, 3])))

    @pytest.mark.parametrize("window", [1, 2, 3, 9])
    def test_matches_all_pairs_of_positions(self, rng, window):
        sentences = [rng.integers(0, 30, n).tolist() for n in (6, 1, 0, 4, 2)]
        centers, contexts = [], []
        for sentence in sentences:
            for i, j in itertools.product(range(len(sentence)), repeat=2):
                if i != j and abs(i - j) <= window:
                    centers.append(sentence[i])
                    contexts.append(sentence[j])
        assert_close(skipgram_pairs(sentences, window), (np.array(centers), np.array(contexts)))

    def test_a_word_may_neighbour_itself(self):
        assert_close(skipgram_pairs([[7, 7, 2]], 1), (np.array([7, 7, 7, 2]), np.array([7, 7, 2, 7])))

    @pytest.mark.parametrize("sentences", [[], [[4]], [[], [1], [2]]])
    def test_no_pairs(self, sentences):
        centers, contexts = skipgram_pairs(sentences, 2)
        assert_equal((centers.shape, contexts.shape), ((0,), (0,)))
        assert_equal([np.issubdtype(one.dtype, np.integer) for one in (centers, contexts)], [True, True])

    @pytest.mark.parametrize("window", [2, 5])
    def test_a_reach_is_drawn_for_each_center(self, rng, window):
        n = 2000
        centers, contexts = skipgram_pairs([list(range(n))], window, rng)
        found = {}
        for center, context in zip(centers.tolist(), contexts.tolist(), strict=True):
            found.setdefault(center, []).append(context)
        reaches = Counter()
        for center in range(window, n - window):
            around = found.get(center, [])
            reach = len(around) // 2
            if around != [center + step for step in range(-reach, reach + 1) if step]:
                fail(
                    f"with an rng, center {center} of 0, 1, 2 … has neighbours {around}; "
                    "expected all within one reach, on both sides",
                    evidence=[step - center for step in around],
                )
            reaches[reach] += 1
        assert_equal(min(reaches), 1)
        drawn_as_expected(
            [reaches[r] for r in range(1, window + 1)], [1 / window] * window, f"the reach, from 1 to {window},"
        )
        assert_equal(max(reaches), window)

    @pytest.mark.parametrize("wrong", [0, -2])
    def test_rejects_a_window_below_one(self, wrong):
        with raises(ValueError, wrong):
            skipgram_pairs([[1, 2]], wrong)


class TestNegativeDistribution:
    def test_the_example_worked_by_hand(self):
        assert_close(negative_distribution(np.array([16, 1, 0])), np.array([8 / 9, 1 / 9, 0]))

    @pytest.mark.parametrize("power", [0.75, 1.0, 0.5, 0.0])
    def test_matches_the_formula_word_by_word(self, rng, power):
        counts = rng.integers(1, 900, 15)
        weights = [count**power for count in counts.tolist()]
        assert_close(negative_distribution(counts, power), np.array(weights) / sum(weights))

    @pytest.mark.parametrize("power", [0.0, 0.3])
    def test_what_never_occurs_is_no_noise(self, power):
        expected = 3**power / (3**power + 7**power)
        assert_close(negative_distribution(np.array([3, 0, 7, 0]), power), np.array([expected, 0, 1 - expected, 0]))


class TestDrawNegatives:
    @pytest.mark.parametrize(("n", "k"), [(5, 3), (1, 7), (4, 1)])
    def test_shape_and_kind(self, rng, n, k):
        got = draw_negatives(np.full(6, 1 / 6), rng.integers(0, 6, n), k, rng)
        assert_equal((got.shape, np.issubdtype(got.dtype, np.integer)), ((n, k), True))

    def test_where_only_one_word_is_left(self, rng):
        got = draw_negatives(np.array([0.3, 0.0, 0.7]), np.array([0, 2, 0]), 4, rng)
        assert_close(got, np.array([[2] * 4, [0] * 4, [2] * 4]))

    def test_frequencies(self, rng):
        # No true word can be drawn anyway.
        probabilities = np.array([0.05, 0.0, 0.15, 0.5, 0.3])
        got = draw_negatives(probabilities, np.ones(2000, dtype=int), 3, rng)
        drawn_as_expected(np.bincount(got.ravel(), minlength=5), probabilities, "the noise")

    @pytest.mark.parametrize("positive", [3, 0])
    def test_frequencies_without_the_true_word(self, rng, positive):
        probabilities = np.array([0.1, 0.1, 0.2, 0.6])
        got = draw_negatives(probabilities, np.full(2000, positive), 3, rng)
        left = np.where(np.arange(4) == positive, 0, probabilities)
        drawn_as_expected(
            np.bincount(got.ravel(), minlength=4), left / left.sum(), f"the noise where {positive} is the true word"
        )

    def test_each_row_has_its_own_true_word(self, rng):
        positives = rng.integers(0, 5, 3000)
        got = draw_negatives(np.full(5, 0.2), positives, 2, rng)
        if hits := int((got == positives[:, None]).sum()):
            fail(f"{hits} of 6000 negatives are the true word of their row; draw those again", evidence=hits > 500)

    def test_the_true_word_of_another_row_is_noise(self, rng):
        positives = rng.permutation(np.repeat([0, 3], 1500))
        probabilities = np.array([0.3, 0.1, 0.0, 0.4, 0.2])
        got = draw_negatives(probabilities, positives, 2, rng)
        for positive in (0, 3):
            left = np.where(np.arange(5) == positive, 0, probabilities)
            counts = np.bincount(got[positives == positive].ravel(), minlength=5)
            drawn_as_expected(counts, left / left.sum(), f"the noise where {positive} is the true word")

    def test_draws_are_independent(self, rng):
        got = draw_negatives(np.array([0.5, 0.5, 0.0]), np.full(2000, 2), 2, rng)
        pairs = np.bincount(got[:, 0] * 2 + got[:, 1], minlength=4)
        drawn_as_expected(pairs, [0.25] * 4, "a row of two negatives (00, 01, 10, 11)")

    @pytest.mark.parametrize(("positives", "wrong"), [([2], 2), ([0, 1, 2, 2], 2)])
    def test_rejects_a_true_word_without_alternative(self, rng, positives, wrong):
        with raises(ValueError, wrong):
            draw_negatives(np.array([0.0, 0.0, 1.0, 0.0]), np.array(positives), 3, rng)

    def test_a_true_word_that_is_no_noise_leaves_the_rest(self, rng):
        got = draw_negatives(np.array([0.0, 0.0, 1.0]), np.array([0, 1]), 2, rng)
        assert_close(got, np.full((2, 2), 2))


def random_vectors(rng, v, d):
    return rng.normal(size=(v, d)), rng.normal(size=(v, d))


def torch_loss(hidden, outputs, true, negatives):
    import torch
    import torch.nn.functional as F

    positive = (hidden * outputs[torch.tensor(true)]).sum(-1)
    negative = (hidden[:, None] * outputs[torch.tensor(negatives)]).sum(-1)
    return -F.logsigmoid(positive).sum() - F.logsigmoid(-negative).sum()


def hidden_of(inputs, given):
    """What torch makes of centers (n,), or of contexts (n, m) with -1s."""
    import torch

    given = torch.tensor(given)
    if given.ndim == 1:
        return inputs[given]
    present = (given >= 0).to(inputs.dtype)[..., None]
    return (inputs[given.clamp(min=0)] * present).sum(1) / present.sum(1)


def by_autograd(inputs, outputs, given, true, negatives):
    import torch

    a, b = torch.tensor(inputs, requires_grad=True), torch.tensor(outputs, requires_grad=True)
    loss = torch_loss(hidden_of(a, given), b, true, negatives)
    loss.backward()
    return loss.item(), a.grad.numpy(), b.grad.numpy()


def slopes(loss, vectors, step=1e-6):
    """Central differences of a loss with respect to each number of an array."""
    found = np.zeros(vectors.shape)
    for place in np.ndindex(vectors.shape):
        moved = []
        for sign in (1, -1):
            other = vectors.copy()
            other[place] += sign * step
            moved.append(loss(other))
        found[place] = (moved[0] - moved[1]) / (2 * step)
    return found


def agree_with_slopes(function, inputs, outputs, examples):
    """Fail unless both gradients of `function` are those of central differences."""
    _, grad_inputs, grad_outputs = function(inputs, outputs, *examples)
    # Central differences have 8 digits or so.
    digits = dict(rtol=1e-6, atol=1e-6)
    assert_close(grad_inputs, slopes(lambda one: function(one, outputs, *examples)[0], inputs), **digits)
    assert_close(grad_outputs, slopes(lambda one: function(inputs, one, *examples)[0], outputs), **digits)


class TestSkipgramLossAndGradients:
    def test_the_example_worked_by_hand(self):
        inputs = np.array([[1.0, 2.0], [8.0, 9.0], [6.0, 7.0]])
        outputs = np.array([[5.0, 5.0], [0.0, 0.0], [2.0, -1.0]])
        loss, grad_inputs, grad_outputs = skipgram_loss_and_gradients(
            inputs, outputs, np.array([0]), np.array([1]), np.array([[2]])
        )
        assert_close(loss, 2 * math.log(2))
        assert_close(grad_inputs, np.array([[1.0, -0.5], [0, 0], [0, 0]]))
        assert_close(grad_outputs, np.array([[0.0, 0.0], [-0.5, -1], [0.5, 1]]))

    @pytest.mark.parametrize(("n", "v", "d", "k"), [(6, 30, 3, 4), (5, 10, 7, 1), (1, 9, 2, 5)])
    def test_matches_autograd(self, rng, n, v, d, k):
        inputs, outputs = random_vectors(rng, v, d)
        # No word comes twice here.
        words = rng.permutation(v)[: n + n * k]
        centers, contexts, negatives = rng.permutation(v)[:n], words[:n], words[n:].reshape(n, k)
        expected = by_autograd(inputs, outputs, centers, contexts, negatives)
        assert_close(skipgram_loss_and_gradients(inputs, outputs, centers, contexts, negatives), expected)

    @pytest.mark.parametrize(("n", "v", "k"), [(12, 4, 3), (30, 2, 2)])
    def test_words_that_come_several_times(self, rng, n, v, k):
        inputs, outputs = random_vectors(rng, v, 3)
        centers, contexts, negatives = rng.integers(0, v, n), rng.integers(0, v, n), rng.integers(0, v, (n, k))
        expected = by_autograd(inputs, outputs, centers, contexts, negatives)
        assert_close(skipgram_loss_and_gradients(inputs, outputs, centers, contexts, negatives), expected)

    def test_gradcheck(self, rng):
        inputs, outputs = random_vectors(rng, 5, 2)
        pairs = rng.integers(0, 5, 4), rng.integers(0, 5, 4), rng.integers(0, 5, (4, 3))
        agree_with_slopes(skipgram_loss_and_gradients, inputs, outputs, pairs)

    @pytest.mark.parametrize("size", [30.0, 1000.0])
    def test_large_scores(self, size):
        inputs, outputs = np.array([[1.0], [-1.0]]), np.array([[size], [-size]])
        # Both scores are -size and size, for the wrong ones: each costs `size`.
        got = skipgram_loss_and_gradients(inputs, outputs, np.array([0, 1]), np.array([1, 1]), np.array([[0], [0]]))
        loss = 2 * (size + math.log1p(math.exp(-size))) + 2 * math.log1p(math.exp(-size))
        a, b = 1 / (1 + math.exp(-size)), math.exp(-size) / (1 + math.exp(-size))
        assert_close(got, (loss, np.array([[2 * a * size], [-2 * b * size]]), np.array([[a - b], [b - a]])))

    def test_does_not_loop_over_pairs(self, rng):
        def arguments(n):
            return *random_vectors(rng, 9, 2), rng.integers(0, 9, n), rng.integers(0, 9, n), rng.integers(0, 9, (n, 3))

        does_not_loop(skipgram_loss_and_gradients, arguments(3), arguments(200))


class TestCbowWindows:
    def test_the_example_worked_by_hand(self):
        assert_close(cbow_windows([[5, 3, 9]], 1), (np.array([[3, -1], [5, 9], [3, -1]]), np.array([5, 3, 9])))

    @pytest.mark.parametrize("window", [1, 2, 4])
    def test_matches_all_pairs_of_positions(self, rng, window):
        sentences = [rng.integers(0, 30, n).tolist() for n in (6, 1, 0, 4, 2)]
        contexts, centers = [], []
        for sentence in sentences:
            for i, center in enumerate(sentence):
                around = [sentence[j] for j in range(len(sentence)) if j != i and abs(i - j) <= window]
                if around:
                    contexts.append(around + [-1] * (2 * window - len(around)))
                    centers.append(center)
        assert_close(cbow_windows(sentences, window), (np.array(contexts), np.array(centers)))

    @pytest.mark.parametrize("sentences", [[], [[4]], [[], [1], [2]]])
    def test_no_examples(self, sentences):
        contexts, centers = cbow_windows(sentences, 3)
        assert_equal((contexts.shape, centers.shape), ((0, 6), (0,)))
        assert_equal([np.issubdtype(one.dtype, np.integer) for one in (contexts, centers)], [True, True])

    @pytest.mark.parametrize("wrong", [0, -2])
    def test_rejects_a_window_below_one(self, wrong):
        with raises(ValueError, wrong):
            cbow_windows([[1, 2]], wrong)


class TestCbowLossAndGradients:
    def test_the_mean_of_two(self):
        # The mean of [1 0] and [1 4] is [1 2]: then as the lesson's example, and ½ of ∂h for each.
        inputs = np.array([[1.0, 0.0], [1.0, 4.0], [6.0, 7.0]])
        outputs = np.array([[5.0, 5.0], [0.0, 0.0], [2.0, -1.0]])
        got = cbow_loss_and_gradients(inputs, outputs, np.array([[0, 1, -1, -1]]), np.array([1]), np.array([[2]]))
        expected = (
            2 * math.log(2),
            np.array([[0.5, -0.25], [0.5, -0.25], [0, 0]]),
            np.array([[0.0, 0.0], [-0.5, -1], [0.5, 1]]),
        )
        assert_close(got, expected)

    @pytest.mark.parametrize(("n", "v", "d", "m", "k"), [(6, 30, 3, 4, 2), (3, 9, 5, 2, 6), (5, 12, 2, 1, 3)])
    def test_matches_autograd_with_whole_rows(self, rng, n, v, d, m, k):
        inputs, outputs = random_vectors(rng, v, d)
        given = rng.integers(0, v, (n, m)), rng.integers(0, v, n), rng.integers(0, v, (n, k))
        assert_close(cbow_loss_and_gradients(inputs, outputs, *given), by_autograd(inputs, outputs, *given))

    @pytest.mark.parametrize(("n", "v", "d", "m", "k"), [(8, 15, 3, 4, 2), (20, 4, 2, 6, 1)])
    def test_matches_autograd_with_rows_filled_up(self, rng, n, v, d, m, k):
        inputs, outputs = random_vectors(rng, v, d)
        contexts = np.where(rng.random((n, m)) < 0.5, rng.integers(0, v, (n, m)), -1)
        contexts[np.arange(n), rng.integers(0, m, n)] = rng.integers(0, v, n)  # each row has a word
        given = contexts, rng.integers(0, v, n), rng.integers(0, v, (n, k))
        assert_close(cbow_loss_and_gradients(inputs, outputs, *given), by_autograd(inputs, outputs, *given))

    def test_a_word_that_stands_twice_in_a_row(self, rng):
        inputs, outputs = random_vectors(rng, 5, 3)
        given = np.array([[2, 2, 4, -1], [2, -1, -1, -1]]), np.array([1, 0]), np.array([[3, 3], [2, 4]])
        assert_close(cbow_loss_and_gradients(inputs, outputs, *given), by_autograd(inputs, outputs, *given))

    def test_gradcheck(self, rng):
        inputs, outputs = random_vectors(rng, 5, 2)
        given = np.array([[0, 3, -1], [4, 4, 1], [2, -1, -1]]), np.array([1, 0, 3]), rng.integers(0, 5, (3, 2))
        agree_with_slopes(cbow_loss_and_gradients, inputs, outputs, given)

    def test_large_scores(self):
        inputs, outputs = np.array([[3.0], [1.0]]), np.array([[500.0], [-500.0]])
        got = cbow_loss_and_gradients(inputs, outputs, np.array([[0, 1]]), np.array([1]), np.array([[0]]))
        assert_close(got, (2000.0, np.array([[500.0], [500.0]]), np.array([[2.0], [-2.0]])))

    def test_does_not_loop_over_examples(self, rng):
        def arguments(n):
            return (
                *random_vectors(rng, 9, 2),
                rng.integers(-1, 9, (n, 4)).clip([0, -1, -1, -1]),
                rng.integers(0, 9, n),
                rng.integers(0, 9, (n, 3)),
            )

        does_not_loop(cbow_loss_and_gradients, arguments(3), arguments(200))


def full_batches(inputs, outputs, given, targets, negatives, rates):
    """What torch's SGD makes of whole batches, one with each learning rate."""
    import torch

    a, b = torch.tensor(inputs, requires_grad=True), torch.tensor(outputs, requires_grad=True)
    for rate in rates:
        grads = torch.autograd.grad(torch_loss(hidden_of(a, given), b, targets, negatives), [a, b])
        with torch.no_grad():
            a -= rate * grads[0]
            b -= rate * grads[1]
    return a.detach().numpy(), b.detach().numpy()


def steps_of_examples(rng, n, batch_size, epochs):
    """How far each example has moved its own center, in units of η₀ times its gradient (n,).

    train() doesn't tell which batch an example was in.  But each has a center of its own here, nothing else moves
    it, and with a tiny η₀ its gradient stays what it was: so it moves by ∑ (1 - t/T) over the batches t with it.
    """
    eta = 1e-7
    inputs, outputs = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
    centers, targets = np.arange(n), np.zeros(n, dtype=int)
    probabilities = np.eye(n)[1]  # word 1 is the only noise
    _, gradient, _ = by_autograd(inputs, outputs, centers, targets, np.ones((n, 1), dtype=int))
    moved, _ = train(inputs, outputs, centers, targets, probabilities, 1, epochs, batch_size, eta, rng)
    return ((inputs - moved) * gradient).sum(axis=1) / (gradient**2).sum(axis=1) / eta


def planted(rng, pairs=8):
    """Sentences in which words 2g and 2g + 1 are synonyms, for g < pairs; their neighbours are chosen by g.

    No sentence has both of two synonyms.
    """
    v, sentences = 4 * pairs, []
    neighbours = [2 * pairs + rng.permutation(2 * pairs)[:5] for _ in range(pairs)]
    for g in np.repeat(np.arange(pairs), 100):
        left, right = rng.choice(neighbours[g], 2)
        sentences.append([int(left), int(2 * g + rng.integers(2)), int(right)])
    rng.shuffle(sentences)
    return v, sentences


def found_synonyms(vectors, pairs=8):
    """For how many of the planted words the nearest vector, by the cosine, is the synonym's."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit[: 2 * pairs] @ unit.T
    np.fill_diagonal(cosines, -2)
    return int((cosines.argmax(axis=1) == np.arange(2 * pairs) ^ 1).sum())


class TestTrain:
    # Of two words, the negatives of one are always the other.
    @pytest.mark.parametrize(("epochs", "rates"), [(1, [0.4]), (2, [0.4, 0.2]), (4, [0.4, 0.3, 0.2, 0.1])])
    @pytest.mark.parametrize("k", [1, 3])
    def test_full_batches_of_skipgram(self, rng, epochs, rates, k):
        inputs, outputs = random_vectors(rng, 2, 3)
        centers, contexts = rng.integers(0, 2, 5), rng.integers(0, 2, 5)
        expected = full_batches(inputs, outputs, centers, contexts, np.repeat(1 - contexts[:, None], k, axis=1), rates)
        assert_close(train(inputs, outputs, centers, contexts, np.array([0.3, 0.7]), k, epochs, 5, 0.4, rng), expected)

    @pytest.mark.parametrize(("epochs", "rates"), [(1, [0.3]), (3, [0.3, 0.2, 0.1])])
    @pytest.mark.parametrize("m", [1, 4])
    def test_full_batches_of_cbow(self, rng, epochs, rates, m):
        inputs, outputs = random_vectors(rng, 2, 3)
        contexts, centers = rng.integers(0, 2, (6, m)), rng.integers(0, 2, 6)
        contexts[:3, 1:] = -1
        expected = full_batches(inputs, outputs, contexts, centers, np.repeat(1 - centers[:, None], 2, axis=1), rates)
        assert_close(
            train(inputs, outputs, contexts, centers, np.array([0.6, 0.4]), 2, epochs, 100, 0.3, rng), expected
        )

    @pytest.mark.parametrize(
        ("n", "batch_size", "sizes"), [(12, 4, [4, 4, 4]), (11, 4, [4, 4, 3]), (9, 1, [1] * 9), (10, 7, [7, 3])]
    )
    def test_each_example_is_in_one_batch(self, rng, n, batch_size, sizes):
        moved = steps_of_examples(rng, n, batch_size, 1)
        batches = (1 - moved) * len(sizes)
        if np.abs(batches - batches.round()).max() > 1e-3:
            fail(
                "an example isn't in one batch, with η = η₀ (1 - t/T): each is in one batch of an epoch",
                evidence=np.sort(moved.round(3)),
            )
        assert_equal([int((batches.round() == t).sum()) for t in range(len(sizes))], sizes)

    def test_a_new_random_order_in_each_epoch(self, rng):
        once = (1 - steps_of_examples(rng, 40, 4, 1)) * 10
        if np.array_equal(once.round(), np.arange(40) // 4):
            fail("the examples are taken in the order that is given; shuffle them in each epoch", evidence="in order")
        # t₁ + t₂ of each example: were both epochs alike, it would be 2 t₁ + 10, always even.
        both = ((2 - steps_of_examples(rng, 40, 4, 2)) * 20).round().astype(int)
        if (both % 2 == 0).all():
            fail("both epochs have the same batches; draw a new order in each epoch", evidence="same order")

    def test_new_negatives_in_each_batch(self, rng):
        # One pair, 400 times; words 1 and 2 are its noise, 3 to 1.
        inputs, outputs = np.array([[1.0], [0.0], [0.0], [0.0]]), np.zeros((4, 1))
        probabilities = np.array([0.0, 0.75, 0.25, 0.0])
        _, moved = train(inputs, outputs, np.array([0]), np.array([3]), probabilities, 1, 400, 1, 1e-7, rng)
        share = float(moved[2, 0] / (moved[1, 0] + moved[2, 0]))
        # 0.25 ± 0.025 on average, as late batches count for less.
        if not 0.1 < share < 0.4:
            fail(
                f"word 2 is {share:.2f} of the noise in 400 batches; expected about 0.25: draw for each batch, by `probabilities`",
                evidence=round(share, 1),
            )

    def test_the_rng_decides(self):
        rng = np.random.default_rng(3)
        vectors, pairs = random_vectors(rng, 6, 3), (rng.integers(0, 6, 20), rng.integers(0, 6, 20))
        one, same, other = (
            train(*vectors, *pairs, np.full(6, 1 / 6), 2, 1, 4, 0.1, np.random.default_rng(s))[0] for s in (1, 1, 2)
        )
        assert_close(same, one)
        if np.array_equal(other, one):
            fail("two generators give the same vectors; draw with `rng`", evidence="rng ignored")

    @pytest.mark.parametrize("trial", [1, 2, 3])
    @pytest.mark.parametrize("model", ["skip-gram", "cbow"])
    def test_planted_synonyms_are_found(self, rng, model, trial):
        v, sentences = planted(rng)
        if model == "skip-gram":
            given, targets = skipgram_pairs(sentences, 2)
        else:
            given, targets = cbow_windows(sentences, 2)
        noise = negative_distribution(np.bincount(np.concatenate(sentences), minlength=v))
        start = rng.uniform(-0.5 / 12, 0.5 / 12, size=(v, 12)), np.zeros((v, 12))
        vectors, _ = train(*start, given, targets, noise, 5, 10, 32, 0.1, rng)
        before, found = found_synonyms(start[0]), found_synonyms(vectors)
        print(f"{model}: of 16 planted words, {before} have their synonym nearest before training, {found} after")
        if found < 14:
            fail(
                f"only {found} of 16 planted words have their synonym nearest, {before} before training; expected 14",
                evidence=found,
            )
