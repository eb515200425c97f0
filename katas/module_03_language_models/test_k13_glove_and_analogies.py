"""Judges k13_glove_and_analogies against sums pair by pair, finite differences, planted words, and scipy."""

import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_03_language_models.k13_glove_and_analogies import (
    analogy,
    average_ranks,
    cooccurrences,
    evaluate_similarity,
    glove_gradients,
    glove_loss,
    glove_weight,
    nearest_words,
    ppmi,
    spearman,
    svd_vectors,
    train_glove,
)

# Drawing random numbers changes the generator, as it should.
pytestmark = [from_scratch("scipy", "sklearn", "torch", "pandas", "gensim"), pure("train_glove")]

# Counts and vectors may be of these, and all is computed in float64.
NARROW = ["float32", "int8"]

HAND_COUNTS = np.array([[0, 1.5, 1.5], [1.5, 0, 1], [1.5, 1, 0]])


def brute_cooccurrences(sentences, size, window, weighting):
    counts = np.zeros((size, size))
    for sentence in sentences:
        for i, w in enumerate(sentence):
            for j, c in enumerate(sentence):
                if 1 <= abs(i - j) <= window:
                    counts[w, c] += 1 / abs(i - j) if weighting == "harmonic" else 1
    return counts


class TestCooccurrences:
    def test_the_example_worked_by_hand(self):
        assert_close(cooccurrences([[0, 1, 2, 0]], 3, 2), HAND_COUNTS)

    @pytest.mark.parametrize("weighting", ["harmonic", "flat"])
    @pytest.mark.parametrize("window", [1, 3, 20])
    def test_matches_every_pair_of_places(self, rng, window, weighting):
        sentences = [rng.integers(0, 6, n).tolist() for n in (9, 1, 0, 5, 14, 2)]
        got = cooccurrences(sentences, 8, window, weighting)
        assert_close(got, brute_cooccurrences(sentences, 8, window, weighting))

    def test_harmonic_by_default(self):
        assert_close(cooccurrences([[0, 1, 1, 1, 2]], 3, 4)[0], np.array([0, 1 + 1 / 2 + 1 / 3, 1 / 4]))

    def test_the_same_word_at_two_places_counts_in_both_directions(self):
        assert_close(cooccurrences([[1, 0, 1]], 2, 2), np.array([[0.0, 2], [2, 1]]))

    def test_windows_end_with_the_sentence(self):
        assert_close(cooccurrences([[0, 1], [2, 0]], 3, 5), np.array([[0.0, 1, 1], [1, 0, 0], [1, 0, 0]]))

    @pytest.mark.parametrize("sentences", [[], [[]], [[2], [0]]])
    def test_without_neighbours_all_is_zero(self, sentences):
        assert_close(cooccurrences(sentences, 3, 2), np.zeros((3, 3)))

    @pytest.mark.parametrize("weighting", ["linear", "Flat"])
    def test_rejects_another_weighting(self, weighting):
        with raises(ValueError, weighting):
            cooccurrences([[0, 1]], 2, 1, weighting)

    @pytest.mark.parametrize("window", [0, -2])
    def test_rejects_a_window_without_neighbours(self, window):
        with raises(ValueError, window):
            cooccurrences([[0, 1]], 2, window)


def brute_ppmi(counts, power, shift):
    smoothed = [float(counts[:, c].sum()) ** power for c in range(counts.shape[1])]
    expected = np.zeros(counts.shape)
    for w, c in zip(*np.nonzero(counts), strict=True):
        p_word = counts[w].sum() / counts.sum()
        pmi = math.log(counts[w, c] / counts.sum() / (p_word * smoothed[c] / sum(smoothed)))
        expected[w, c] = max(0.0, pmi - math.log(shift))
    return expected


class TestPpmi:
    def test_the_example_worked_by_hand(self):
        ab, bc = math.log(1.6), math.log(1.28)
        assert_close(ppmi(HAND_COUNTS), np.array([[0, ab, ab], [ab, 0, bc], [ab, bc, 0]]))
        assert_close(ppmi(HAND_COUNTS, shift=1.5)[1], np.array([ab - math.log(1.5), 0, 0]))

    @pytest.mark.parametrize("shape", [(5, 5), (4, 7)])
    @pytest.mark.parametrize("power", [1.0, 0.75, 0.3])
    @pytest.mark.parametrize("shift", [1.0, 1.4, 0.5])
    def test_matches_the_formula_cell_by_cell(self, rng, shape, power, shift):
        counts = rng.poisson(2.0, shape).astype(float) * rng.uniform(0.5, 3, shape)
        counts[0, 0] = 2.5
        assert_close(ppmi(counts, power, shift), brute_ppmi(counts, power, shift))

    def test_of_integers(self):
        assert_close(ppmi(np.array([[0, 2], [2, 0]])), np.array([[0, math.log(2)], [math.log(2), 0]]))

    @pytest.mark.parametrize("dtype", NARROW)
    def test_of_narrow_numbers(self, rng, dtype):
        counts = rng.integers(0, 121, (4, 6)).astype(dtype)
        assert_close(ppmi(counts, 0.75, 0.5), brute_ppmi(counts.astype(float), 0.75, 0.5))

    def test_float32_is_computed_in_float64(self, rng):
        counts = rng.gamma(1.0, 300.0, (20, 30)).astype(np.float32)
        assert_close(ppmi(counts, 0.75, 0.5), brute_ppmi(counts.astype(float), 0.75, 0.5), rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("shift", [1.0, 0.25])
    @pytest.mark.parametrize("power", [1.0, 0.75])
    def test_what_was_never_seen_is_zero(self, power, shift):
        counts = np.array([[0.0, 3, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0]])
        got = ppmi(counts, power, shift)
        assert_equal((got > 0).tolist(), (counts > 0).tolist())
        assert_equal(got[counts == 0].tolist(), [0.0] * 10)

    def test_independent_words_have_none(self, rng):
        assert_close(ppmi(np.outer(rng.uniform(1, 9, 4), rng.uniform(1, 9, 6))), np.zeros((4, 6)))


def brute_vectors(matrix, dim, power):
    # The eigenvectors of M Mᵀ, with the largest eigenvalue first.
    eigenvalues, u = np.linalg.eigh(matrix @ matrix.T)
    expected = u[:, ::-1][:, :dim] * np.sqrt(eigenvalues[::-1][:dim]) ** power
    for column in expected.T:
        if max(column) < -min(column):
            column *= -1
    return expected


class TestSvdVectors:
    @pytest.mark.parametrize("shape", [(6, 6), (5, 9), (8, 4)])
    @pytest.mark.parametrize("dim", [1, 3, 4])
    @pytest.mark.parametrize("power", [0.5, 1.0, 0.0])
    def test_the_first_columns_with_the_largest_number_positive(self, rng, shape, dim, power):
        matrix = rng.normal(size=shape)
        assert_close(svd_vectors(matrix, dim, power), brute_vectors(matrix, dim, power))

    @pytest.mark.parametrize("dtype", NARROW)
    def test_of_narrow_numbers(self, rng, dtype):
        matrix = rng.integers(-100, 101, (5, 7)).astype(dtype)
        assert_close(svd_vectors(matrix, 3), brute_vectors(matrix.astype(float), 3, 0.5))

    def test_the_root_by_default(self):
        assert_close(svd_vectors(np.diag([4.0, 9, 25]), 2), np.array([[0.0, 0], [0, 3], [5, 0]]))

    @pytest.mark.parametrize(("shape", "dim"), [((4, 6), 0), ((4, 6), 5), ((6, 4), 5), ((3, 3), -1)])
    def test_rejects_a_dim_that_does_not_fit(self, shape, dim):
        with raises(ValueError, dim):
            svd_vectors(np.ones(shape), dim)

    def test_finds_planted_synonyms(self, rng):
        # Words 2 w and 2 w + 1 are used alike: each place in a sentence of a topic takes one of the two.
        sentences = []
        for _ in range(500):
            topic = rng.choice(5, 3, replace=False) + 5 * rng.integers(2)
            sentences.append((2 * rng.choice(topic, 6) + rng.integers(0, 2, 6)).tolist())
        # Neighbours within a topic are all alike in their first order: what differs is with whom they meet.
        favourite = [[2 * w + rng.integers(2), 20 + w] for w in range(10) for _ in range(200)]
        vectors = svd_vectors(ppmi(cooccurrences(sentences + favourite, 30, 5)), 12)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = unit[:20] @ unit[:20].T - 2 * np.eye(20)
        assert_equal(cosines.argmax(axis=1).tolist(), [word ^ 1 for word in range(20)])


class TestGloveWeight:
    @pytest.mark.parametrize(("x_max", "alpha"), [(100.0, 0.75), (10.0, 0.5), (7.0, 1.0)])
    def test_grows_to_one(self, x_max, alpha):
        counts = [[0.0, 0.5, 1, 6.99], [10, 50, 100, 1000]]
        expected = [[(x / x_max) ** alpha if x < x_max else 1.0 for x in row] for row in counts]
        assert_close(glove_weight(np.array(counts), x_max, alpha), np.array(expected))

    @pytest.mark.parametrize("dtype", NARROW)
    def test_of_narrow_numbers(self, dtype):
        got = glove_weight(np.array([0, 1, 7, 100, 120], dtype=dtype), 100.0, 0.75)
        assert_close(got, np.array([0, 0.01**0.75, 0.07**0.75, 1, 1]))

    def test_the_papers_numbers_by_default(self):
        assert_close(glove_weight(np.array([10, 100, 160])), np.array([0.1**0.75, 1, 1]))


def model(rng, v, m, k):
    return tuple(rng.normal(size=shape) for shape in ((v, k), (m, k), (v,), (m,)))


def some_counts(rng, v, m):
    """From 0 to some 200, on both sides of x_max."""
    return rng.exponential(60, (v, m)) * (rng.random((v, m)) < 0.7)


def brute_loss(parameters, counts, x_max, alpha):
    words, contexts, b, d = parameters
    total = 0.0
    for i, j in zip(*np.nonzero(counts), strict=True):
        f = (counts[i, j] / x_max) ** alpha if counts[i, j] < x_max else 1.0
        score = sum(x * y for x, y in zip(words[i].tolist(), contexts[j].tolist(), strict=True)) + b[i] + d[j]
        total += f * (score - math.log(counts[i, j])) ** 2
    return float(total)


HAND_MODEL = (np.array([[1.0, 0]]), np.array([[2.0, 1]]), np.array([0.5]), np.array([-0.5]))


class TestGloveLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(glove_loss(HAND_MODEL, np.array([[1.0]]), x_max=1.0), 4.0)
        assert_close(glove_loss(HAND_MODEL, np.array([[1]])), 4 * 0.01**0.75)

    @pytest.mark.parametrize(("v", "m", "k"), [(5, 5, 3), (4, 7, 2), (6, 3, 1)])
    @pytest.mark.parametrize(("x_max", "alpha"), [(100.0, 0.75), (20.0, 0.5)])
    def test_matches_the_sum_pair_by_pair(self, rng, v, m, k, x_max, alpha):
        parameters, counts = model(rng, v, m, k), some_counts(rng, v, m)
        assert_close(glove_loss(parameters, counts, x_max, alpha), brute_loss(parameters, counts, x_max, alpha))

    def test_the_papers_numbers_by_default(self, rng):
        parameters, counts = model(rng, 5, 4, 3), some_counts(rng, 5, 4)
        assert_close(glove_loss(parameters, counts), brute_loss(parameters, counts, 100, 0.75))

    @pytest.mark.parametrize("dtype", NARROW)
    def test_of_narrow_numbers(self, rng, dtype):
        parameters, counts = model(rng, 4, 6, 2), rng.integers(0, 121, (4, 6))
        assert_close(glove_loss(parameters, counts.astype(dtype)), brute_loss(parameters, counts, 100, 0.75))

    def test_without_counts_there_is_none(self, rng):
        assert_close(glove_loss(model(rng, 2, 3, 4), np.zeros((2, 3))), 0.0)


class TestGloveGradients:
    def test_the_example_worked_by_hand(self):
        got = glove_gradients(HAND_MODEL, np.array([[1.0]]), x_max=1.0)
        assert_close(got, (np.array([[8.0, 4]]), np.array([[4.0, 0]]), np.array([4.0]), np.array([4.0])))

    @pytest.mark.parametrize(("v", "m", "k"), [(4, 4, 3), (3, 5, 2), (5, 2, 1)])
    @pytest.mark.parametrize(("x_max", "alpha"), [(100.0, 0.75), (20.0, 0.5)])
    def test_match_finite_differences(self, rng, v, m, k, x_max, alpha):
        parameters, counts = model(rng, v, m, k), some_counts(rng, v, m)
        expected = tuple(np.zeros(p.shape) for p in parameters)
        for p, g in zip(parameters, expected, strict=True):
            for place in np.ndindex(p.shape):
                there, losses = p[place], []
                for step in (1e-4, -1e-4):
                    p[place] = there + step
                    losses.append(brute_loss(parameters, counts, x_max, alpha))
                p[place] = there
                g[place] = (losses[0] - losses[1]) / 2e-4
        # The loss is quadratic in each number, so that only rounding is left: 1e-16 · 1000/1e-4.
        assert_close(glove_gradients(parameters, counts, x_max, alpha), expected, atol=1e-6, rtol=1e-6)

    def test_the_papers_numbers_by_default(self, rng):
        parameters, counts = model(rng, 5, 4, 3), some_counts(rng, 5, 4)
        assert_close(glove_gradients(parameters, counts), glove_gradients(parameters, counts, 100, 0.75))

    @pytest.mark.parametrize("dtype", NARROW)
    def test_of_narrow_numbers(self, rng, dtype):
        parameters, counts = model(rng, 4, 6, 2), rng.integers(0, 121, (4, 6))
        assert_close(glove_gradients(parameters, counts.astype(dtype)), by_hand(parameters, counts, 100, 0.75))

    def test_what_was_never_seen_has_none(self, rng):
        counts = some_counts(rng, 4, 3)
        counts[1], counts[:, 2] = 0, 0
        words, contexts, b, d = glove_gradients(model(rng, 4, 3, 2), counts)
        zeros = np.zeros(2)
        assert_close((words[1], contexts[2], b[1], d[2]), (zeros, zeros, 0.0, 0.0))


def by_hand(parameters, counts, x_max, alpha):
    """The four gradients pair by pair."""
    words, contexts, b, d = parameters
    found = tuple(np.zeros(p.shape) for p in parameters)
    for i, j in zip(*np.nonzero(counts), strict=True):
        f = min(counts[i, j] / x_max, 1.0) ** alpha
        error = 2 * f * (words[i] @ contexts[j] + b[i] + d[j] - math.log(counts[i, j]))
        found[0][i] += error * contexts[j]
        found[1][j] += error * words[i]
        found[2][i] += error
        found[3][j] += error
    return found


class TestTrainGlove:
    @pytest.mark.parametrize(("v", "m", "dim"), [(120, 120, 2), (100, 150, 5)])
    def test_begins_with_small_uniform_numbers(self, rng, v, m, dim):
        got = train_glove(np.ones((v, m)), dim, 0, 0.1, rng)
        assert_equal(tuple(p.shape for p in got), ((v, dim), (m, dim), (v,), (m,)))
        # Of 100 or more such numbers the least is below -0.3/dim, the largest above 0.3/dim, but for 1 in 10⁹ tries.
        ends = [float(end) * dim for p in got for end in (p.min(), p.max())]
        if not all(-0.5 <= low < -0.3 and 0.3 < high <= 0.5 for low, high in zip(ends[::2], ends[1::2], strict=True)):
            fail(
                f"at first the four parameters reach from {ends[::2]} to {ends[1::2]}, over dim; expected -0.5 to 0.5",
                evidence=ends,
            )

    @pytest.mark.parametrize("rate", [0.05, 0.4])
    @pytest.mark.parametrize(("x_max", "alpha"), [(100.0, 0.75), (20.0, 0.5)])
    def test_each_epoch_is_a_step_of_adagrad(self, rng, rate, x_max, alpha):
        counts, seed = some_counts(rng, 5, 4), int(rng.integers(1000))
        expected = train_glove(counts, 3, 0, rate, np.random.default_rng(seed), x_max, alpha)
        squares = [np.ones(p.shape) for p in expected]
        for epochs in (1, 2, 3):
            gradients = by_hand(expected, counts, x_max, alpha)
            squares = [s + g**2 for s, g in zip(squares, gradients, strict=True)]
            steps = zip(expected, squares, gradients, strict=True)
            expected = tuple(p - rate * g / np.sqrt(s) for p, s, g in steps)
            got = train_glove(counts, 3, epochs, rate, np.random.default_rng(seed), x_max, alpha)
            assert_close(got, expected)

    def test_the_papers_numbers_by_default(self, rng):
        counts = some_counts(rng, 5, 4)
        got, expected = (
            train_glove(counts, 2, 2, 0.1, np.random.default_rng(5), *more) for more in ((), (100.0, 0.75))
        )
        assert_close(got, expected)

    def test_draws_by_the_generator_that_it_is_given(self, rng):
        counts = some_counts(rng, 3, 3)
        first, second = train_glove(counts, 2, 0, 0.1, rng), train_glove(counts, 2, 0, 0.1, rng)
        assert not np.allclose(first[0], second[0])
        assert not np.allclose(first[0], first[1])

    def test_learns_what_biases_alone_cannot(self, rng):
        # Counts that follow the model, with eight dimensions; words 2 and 7 are used alike.
        v = 30
        words, contexts = rng.normal(size=(v, 8)), rng.normal(size=(v, 8))
        words[7], contexts[7] = words[2], contexts[2]
        counts = np.exp(words @ contexts.T + rng.normal(size=(v, 1)) + rng.normal(size=v) + 3)
        counts *= rng.random((v, v)) < 0.9
        learned = train_glove(counts, 9, 400, 0.3, rng, x_max=10.0)
        # The best that biases do: weighted least squares.
        i, j = np.nonzero(counts)
        root = np.sqrt(np.minimum(counts[i, j] / 10, 1) ** 0.75)
        table = np.zeros((len(i), 2 * v))
        table[np.arange(len(i)), i] = table[np.arange(len(i)), v + j] = root
        _, (baseline,), *_ = np.linalg.lstsq(table[:, 1:], root * np.log(counts[i, j]))
        assert brute_loss(learned, counts, 10, 0.75) < 0.1 * baseline
        vectors = learned[0] + learned[1]
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = unit @ unit[2]
        cosines[2] = -1
        assert_equal(int(cosines.argmax()), 7)


class TestNearestWords:
    def test_the_largest_cosine_first(self):
        vectors = np.array([[3, 0], [1, 1], [0, 2], [-5, 0], [9, 1]])
        rows, cosines = nearest_words(vectors, np.array([0, 3]), 4)
        assert_equal(np.asarray(rows).tolist(), [2, 1, 4, 0])
        assert_close(cosines, np.array([1, 0.5**0.5, 1 / 82**0.5, 0]))

    @pytest.mark.parametrize("k", [1, 5, 9])
    @pytest.mark.parametrize("exclude", [(), [3], {0, 8}])
    def test_matches_every_cosine(self, rng, k, exclude):
        vectors, query = rng.normal(size=(11, 4)), rng.normal(size=4)
        pairs = [(-float(v @ query / (np.linalg.norm(v) * np.linalg.norm(query))), i) for i, v in enumerate(vectors)]
        expected = sorted(pair for pair in pairs if pair[1] not in exclude)[:k]
        rows, cosines = nearest_words(vectors, query, k, exclude)
        assert_equal(np.asarray(rows).tolist(), [i for _, i in expected])
        assert_close(cosines, np.array([-c for c, _ in expected]))

    def test_of_equal_cosines_the_smaller_number_comes_first(self):
        vectors = np.array([[0, 1], [1, 0], [0, 1], [1, 0], [0, 1], [1, 0]])
        rows, cosines = nearest_words(vectors, np.array([1, 0]), 6)
        assert_equal(np.asarray(rows).tolist(), [1, 3, 5, 0, 2, 4])
        assert_close(cosines, np.array([1.0, 1, 1, 0, 0, 0]))

    def test_of_many_equal_cosines(self):
        rows, _ = nearest_words(np.tile(np.eye(2), (100, 1)), np.array([1.0, 0]), 150)
        assert_equal(np.asarray(rows).tolist(), [*range(0, 200, 2), *range(1, 100, 2)])

    @pytest.mark.parametrize("dtype", NARROW)
    def test_of_narrow_numbers(self, rng, dtype):
        vectors = (30 * rng.normal(size=(6, 50))).clip(-120, 120).astype(dtype)
        exact = vectors.astype(float)
        expected = exact @ exact[2] / np.linalg.norm(exact, axis=1) / np.linalg.norm(exact[2])
        rows, cosines = nearest_words(vectors, vectors[2], 6)
        assert_close(cosines, expected[np.asarray(rows)])

    def test_a_vector_of_zeros_has_cosine_zero(self):
        rows, cosines = nearest_words(np.array([[-1.0, 0], [0, 0], [2, 0]]), np.array([3.0, 0]), 3)
        assert_equal(np.asarray(rows).tolist(), [2, 1, 0])
        assert_close(cosines, np.array([1.0, 0, -1]))
        _, cosines = nearest_words(np.array([[1.0, 2], [3, 0]]), np.zeros(2), 2)
        assert_close(cosines, np.zeros(2))

    @pytest.mark.parametrize(("k", "exclude"), [(0, ()), (6, ()), (4, [1, 3]), (5, [2, 2])])
    def test_rejects_a_k_that_does_not_fit(self, k, exclude):
        with raises(ValueError, k):
            nearest_words(np.ones((5, 2)), np.ones(2), k, exclude)

    def test_all_that_are_left(self):
        rows, _ = nearest_words(np.array([[1.0, 0], [1, 1], [0, 1], [1, 2]]), np.array([1.0, 0]), 3, [0, 0])
        assert_equal(np.asarray(rows).tolist(), [1, 3, 2])

    def test_on_real_vectors(self, word_vectors):
        words, vectors = (some[:1000] for some in word_vectors)
        rows, _ = nearest_words(vectors, vectors[words.index("good")], 5, [words.index("good")])
        assert_equal("great" in [words[i] for i in rows], True)


ROYALS = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 0]])


def brute_analogy(vectors, a, b, c, method):
    def cosine(u, v):
        return float(u @ v / (np.linalg.norm(u) * np.linalg.norm(v) or 1))

    best = []
    for x, vector in enumerate(vectors):
        to_a, to_b, to_c = (cosine(vector, vectors[word]) for word in (a, b, c))
        add, mul = to_b - to_a + to_c, (to_b + 1) / 2 * (to_c + 1) / 2 / ((to_a + 1) / 2 + 0.001)
        if x not in (a, b, c):
            best.append((add if method == "add" else mul, -x))
    return -max(best)[1]


class TestAnalogy:
    @pytest.mark.parametrize("method", ["add", "mul"])
    def test_the_queen(self, method):
        assert_equal(analogy(ROYALS, 0, 1, 2, method), 3)

    @pytest.mark.parametrize("method", ["add", "mul"])
    def test_matches_every_score(self, rng, method):
        for _ in range(30):
            vectors = rng.normal(size=(9, 3)) * rng.uniform(0.2, 5, (9, 1))
            a, b, c = (int(word) for word in rng.choice(9, 3, replace=False))
            assert_equal(analogy(vectors, a, b, c, method), brute_analogy(vectors, a, b, c, method))

    @pytest.mark.parametrize("method", ["add", "mul"])
    def test_with_vectors_of_zeros(self, rng, method):
        for _ in range(20):
            vectors = rng.normal(size=(7, 3))
            vectors[rng.choice(7, 2, replace=False)] = 0
            a, b, c = (int(word) for word in rng.choice(7, 3, replace=False))
            assert_equal(analogy(vectors, a, b, c, method), brute_analogy(vectors, a, b, c, method))

    @pytest.mark.parametrize("dtype", NARROW)
    def test_of_narrow_numbers(self, rng, dtype):
        for _ in range(10):
            vectors = rng.integers(-120, 121, (9, 5)).astype(dtype)
            assert_equal(analogy(vectors, 4, 1, 2), brute_analogy(vectors.astype(float), 4, 1, 2, "add"))

    def test_add_by_default(self, rng):
        for _ in range(30):
            vectors = rng.normal(size=(9, 3))
            assert_equal(analogy(vectors, 4, 1, 2), brute_analogy(vectors, 4, 1, 2, "add"))

    @pytest.mark.parametrize("method", ["add", "mul"])
    def test_never_one_of_the_three(self, method):
        # b and c are nearly the same, and the rest is far away.
        vectors = np.array([[1, 0.1], [1, 0], [1, 0.05], [-1, 0.4], [-1, -0.4]])
        assert_equal(analogy(vectors, 0, 1, 2, method), brute_analogy(vectors, 0, 1, 2, method))

    @pytest.mark.parametrize(("cosine", "expected"), [(0.9626, 4), (0.9471, 3)])
    def test_a_word_opposite_to_a_is_divided_by_a_thousandth(self, cosine, expected):
        # Word 3 has s(x, a) 0, and 0.35 or 0.7 in all; word 4 has 0.25/0.501.
        sine = math.sqrt(1 - cosine**2)
        vectors = np.array([[1, 0, 0, 0], [cosine, sine, 0, 0], [cosine, 0, sine, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
        assert_equal(analogy(vectors, 0, 1, 2, "mul"), expected)

    @pytest.mark.parametrize("method", ["add", "mul"])
    def test_two_of_the_three_may_be_the_same_word(self, method):
        assert_equal(analogy(ROYALS, 2, 0, 2, method), brute_analogy(ROYALS, 2, 0, 2, method))

    @pytest.mark.parametrize("method", ["add", "mul"])
    def test_of_equally_good_words_the_smaller_number(self, method):
        # Along the axes, so that equal cosines are equal to the last digit.
        vectors = np.array([[2, 0, 0], [0, 0, 3], [0, 0, 1], [0, 5, 0], [0, 4, 0], [0, 0, 2], [7, 0, 0]])
        assert_equal(analogy(vectors, 0, 3, 4, method), 1)

    @pytest.mark.parametrize("method", ["multiply", "Add"])
    def test_rejects_another_method(self, method):
        with raises(ValueError, method):
            analogy(ROYALS, 0, 1, 2, method)

    def test_on_real_vectors(self, word_vectors):
        all_words, vectors = word_vectors
        questions = """good better bad worse, boy girl brother sister, day days year years, is was are were,
            good best large largest, write writing read reading"""
        asked = set(questions.replace(",", " ").split())
        # The words of the questions and the 300 most frequent: a loop over pairs is slow.
        kept = [i for i, word in enumerate(all_words) if i < 300 or word in asked]
        number = {all_words[i]: row for row, i in enumerate(kept)}
        right = 0
        for question in questions.split(","):
            a, b, c, answer = (number[word] for word in question.split())
            right += analogy(vectors[kept], a, b, c) == answer
        assert right >= 5


class TestAverageRanks:
    @pytest.mark.parametrize(
        ("x", "expected"),
        [
            ([10, 20, 20, 5], [2, 3.5, 3.5, 1]),
            ([3, 3, 3], [2, 2, 2]),
            ([0.5, -1, 7, -1, 7, 7], [3, 1.5, 5, 1.5, 5, 5]),
            ([4], [1]),
            ([], []),
        ],
    )
    def test_equal_numbers_share_their_mean_rank(self, x, expected):
        assert_close(average_ranks(np.array(x)), np.array(expected, dtype=float))

    @pytest.mark.parametrize("distinct", [3, 1000])
    def test_matches_scipy(self, rng, distinct):
        from scipy.stats import rankdata

        x = rng.integers(-distinct, distinct, 40) / 7
        assert_close(average_ranks(x), rankdata(x))

    def test_of_many(self, rng):
        x = rng.permutation(3001)
        assert_close(average_ranks(x), x + 1.0)


class TestSpearman:
    def test_the_example_worked_by_hand(self):
        assert_close(spearman(np.array([10, 20, 20, 5]), np.array([1, 2, 3, 4])), -1.5 / math.sqrt(22.5))

    @pytest.mark.parametrize("distinct", [3, 1000])
    @pytest.mark.parametrize("n", [5, 60])
    def test_matches_scipy(self, rng, distinct, n):
        from scipy.stats import spearmanr

        x = np.concatenate([[0, 1], rng.integers(0, distinct, n - 2)])
        y = np.concatenate([[3.5, 1], rng.integers(0, distinct, n - 2) + x[2:]])
        assert_close(spearman(x, y), float(spearmanr(x, y).statistic))

    def test_of_two(self):
        assert_close(spearman(np.array([1, 2]), np.array([5, 3])), -1.0)

    @pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, -1.0)])
    def test_only_the_order_counts(self, rng, sign, expected):
        x = rng.permutation(9)
        assert_close(spearman(x, sign * np.exp(x)), expected)

    @pytest.mark.parametrize(("x", "y"), [([2, 2, 2], [1, 2, 3]), ([1, 2, 3], [0.5, 0.5, 0.5]), ([1, 1], [2, 2])])
    def test_is_nan_where_all_are_equal(self, x, y):
        assert_close(spearman(np.array(x), np.array(y)), math.nan)

    @pytest.mark.parametrize(("n", "m"), [(3, 4), (5, 2), (1, 6)])
    def test_rejects_two_lengths(self, n, m):
        with raises(ValueError, n, m):
            spearman(np.arange(n), np.arange(m))


class TestEvaluateSimilarity:
    @pytest.mark.parametrize("zeroed", [[], [2]])
    def test_matches_scipy_on_the_pairs_that_are_known(self, rng, zeroed):
        from scipy.stats import spearmanr

        words = ["wine", "beer", "cup", "tea", "car", "bus"]
        vectors = rng.normal(size=(6, 3)) * rng.uniform(0.2, 5, (6, 1))
        vectors[zeroed] = 0
        pairs = [("tea", "cup"), ("car", "lorry"), ("bus", "car"), ("beer", "wine"), ("Tea", "bus"), ("wine", "car")]
        scores = rng.permutation([1.0, 9, 4, 4, 2, 7])
        number = {word: i for i, word in enumerate(words)}
        cosines, human = [], []
        for (first, second), score in zip(pairs, scores.tolist(), strict=True):
            if first in number and second in number:
                u, v = vectors[number[first]], vectors[number[second]]
                cosines.append(float(u @ v / (np.linalg.norm(u) * np.linalg.norm(v) or 1)))
                human.append(score)
        got, used = evaluate_similarity(words, vectors, pairs, scores)
        assert_close((got, used), (float(spearmanr(cosines, human).statistic), 4))

    def test_on_simlex(self, word_vectors, similarities):
        words, vectors = word_vectors
        pairs, scores = similarities
        got, used = evaluate_similarity(words, vectors, pairs, scores)
        number = {word: i for i, word in enumerate(words)}
        assert_equal(used, sum(first in number and second in number for first, second in pairs))
        assert 0.5 < got < 0.65
