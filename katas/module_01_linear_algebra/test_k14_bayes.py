"""Judges k14_bayes against the rule cell by cell and over fine grids, on penguins and on movie reviews."""

import math
import re
from collections import Counter
from statistics import NormalDist

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_01_linear_algebra.k14_bayes import (
    GaussianNaiveBayes,
    MultinomialNaiveBayes,
    beta_update,
    chance_of_heads,
    count_words,
    normal_update,
    posterior,
)

pytestmark = [from_scratch("scipy", "sklearn"), pure()]


class TestPosterior:
    def test_the_example_worked_by_hand(self):
        got = posterior(np.array([0.01, 0.99]), np.array([[0.9, 0.1], [0.05, 0.95]]))
        ill = np.array([0.009 / 0.0585, 0.001 / 0.9415])
        assert_close(got, np.stack([ill, 1 - ill]))

    @pytest.mark.parametrize(("hypotheses", "evidences"), [(2, 5), (6, 3), (4, 1)])
    def test_matches_the_rule_cell_by_cell(self, hypotheses, evidences, rng):
        prior = rng.dirichlet(np.ones(hypotheses))
        likelihood = rng.random((hypotheses, evidences))
        expected = np.zeros((hypotheses, evidences))
        for h in range(hypotheses):
            for e in range(evidences):
                total = sum(prior[i] * likelihood[i, e] for i in range(hypotheses))
                expected[h, e] = prior[h] * likelihood[h, e] / total
        assert_close(posterior(prior, likelihood), expected)

    @pytest.mark.parametrize("column", [0, 2])
    def test_impossible_evidence_is_an_error(self, column):
        likelihood = np.array([[0.5, 0.1, 0.4], [0.3, 0.3, 0.4]])
        likelihood[:, column] = 0.0
        with raises(ValueError, column):
            posterior(np.array([0.5, 0.5]), likelihood)

    def test_hardly_possible_is_not_impossible(self):
        got = posterior(np.array([0.5, 0.5]), np.array([[1e-200, 0.3], [3e-200, 0.3]]))
        assert_close(got, np.array([[0.25, 0.5], [0.75, 0.5]]))

    def test_impossible_under_what_the_prior_allows(self):
        with raises(ValueError, 1):
            posterior(np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.5, 0.5]]))


class TestBetaUpdate:
    def test_the_example_worked_by_hand(self):
        assert_close(beta_update(2, 2, 7, 3), (9.0, 5.0))

    @pytest.mark.parametrize(("a", "b", "heads", "tails"), [(0.3, 1.7, 2, 5), (4.0, 0.5, 0, 3), (1, 1, 0, 0)])
    def test_heads_into_a_and_tails_into_b(self, a, b, heads, tails):
        assert_close(beta_update(a, b, heads, tails), (float(a + heads), float(b + tails)))


class TestChanceOfHeads:
    def test_the_example_worked_by_hand(self):
        assert_close(chance_of_heads(9, 5), 9 / 14)

    @pytest.mark.parametrize(("a", "b", "heads", "tails"), [(1.0, 1.0, 2, 5), (0.5, 3.5, 4, 0)])
    def test_is_bayes_rule_over_a_fine_grid(self, a, b, heads, tails):
        grid = (np.arange(20_000) + 0.5) / 20_000
        weights = grid ** (a - 1) * (1 - grid) ** (b - 1) * grid**heads * (1 - grid) ** tails
        mean = float((grid * weights).sum() / weights.sum())
        assert_close(chance_of_heads(*beta_update(a, b, heads, tails)), mean, rtol=0, atol=1e-4)  # the grid


class TestNormal:
    def test_the_example_worked_by_hand(self):
        assert_close(normal_update(0.0, 2.0, np.array([3.0]), 1.0), (2.4, math.sqrt(0.8)))

    @pytest.mark.parametrize("n", [1, 2, 9])
    def test_is_bayes_rule_over_a_fine_grid(self, n, rng):
        x = rng.normal(2, 1.5, n)
        mean, sd = normal_update(-1.0, 2.5, x, 1.5)
        grid = np.linspace(-15, 15, 60_001)
        log_weights = -(((grid + 1) / 2.5) ** 2) / 2 - (((x[:, None] - grid) / 1.5) ** 2).sum(axis=0) / 2
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        expected = float(grid @ weights)
        assert_close((mean, sd), (expected, math.sqrt((grid - expected) ** 2 @ weights)))

    def test_of_integers(self):
        assert_close(normal_update(0, 2, np.array([3]), 1), (2.4, math.sqrt(0.8)))

    def test_nothing_measured_changes_nothing(self):
        assert_close(normal_update(3.5, 2.0, np.array([]), 7.0), (3.5, 2.0))


class TestCountWords:
    def test_words_of_the_vocabulary(self):
        got = count_words(["The cat, the CAT!", "It's 3D", "", "a cat-a-log"], ["cat", "the", "s", "d", "log", "dog"])
        expected = np.array([[2, 2, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0] * 6, [1, 0, 0, 0, 1, 0]], dtype=float)
        assert_close(got, expected)

    def test_words_in_other_alphabets_are_none(self):
        got = count_words(["naïve Ünder été", "日本 a1b"], ["na", "ve", "nder", "t", "a", "b"])
        assert_close(got, np.array([[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]], dtype=float))

    def test_no_text_at_all(self):
        assert_close(count_words([], ["a", "b"]), np.zeros((0, 2)))

    def test_more_texts_than_words(self):
        assert_close(count_words(["b", "a a b", "c"], ["b"]), np.array([[1.0], [1.0], [0.0]]))


def blobs(rng, n=30, d=4):
    """Three classes of different sizes, places and widths."""
    y = rng.permutation(np.repeat([5, 2, 9], [n // 6, n // 3, n // 2]))
    x = rng.normal(size=(n, d)) * (1 + y[:, None] / 3) + y[:, None] * np.arange(d)
    return x, y


def gaussian_oracle(x, y, new, smoothing=0.0):
    """log P(c) + ∑ⱼ log P(xⱼ | c), one number after the other."""
    table = []
    for row in new:
        line = []
        for c in sorted(set(y.tolist())):
            rows = x[y == c]
            total = math.log(len(rows) / len(x))
            for j in range(x.shape[1]):
                variance = rows[:, j].var() + smoothing * x.var(axis=0).max()
                total += math.log(NormalDist(rows[:, j].mean(), math.sqrt(variance)).pdf(row[j]))
            line.append(total)
        table.append(line)
    return np.array(table)


def multinomial_oracle(x, y, new, alpha):
    """log P(c) + ∑ⱼ xⱼ log θ_cj, one number after the other."""
    d = x.shape[1]
    table = np.zeros((len(new), len(set(y.tolist()))))
    for k, c in enumerate(sorted(set(y.tolist()))):
        rows = x[y == c]
        words = sum(float(row.sum()) for row in rows)
        for i, text in enumerate(new):
            table[i, k] = math.log(len(rows) / len(x))
            for j in range(d):
                theta = (sum(float(row[j]) for row in rows) + alpha) / (words + alpha * d)
                table[i, k] += float(text[j]) * math.log(theta)
    return table


def shares(log_joint):
    """Each row's exponentials over their sum."""
    weights = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def fitted(model, x, y):
    model.fit(x, y)
    return model


class TestGaussianNaiveBayes:
    @pytest.mark.parametrize(("n", "d"), [(30, 4), (60, 2)])
    def test_log_joint_matches_the_sum_feature_by_feature(self, n, d, rng):
        x, y = blobs(rng, n, d)
        new = rng.normal(5, 2, (7, d))
        assert_close(fitted(GaussianNaiveBayes(0.0), x, y).log_joint(new), gaussian_oracle(x, y, new))

    @pytest.mark.parametrize("smoothing", [1e-9, 0.1, 0.5])
    def test_posteriors_are_shares_of_the_joint(self, smoothing, rng):
        x, y = blobs(rng)
        new = rng.normal(5, 2, (8, 4))
        expected = shares(gaussian_oracle(x, y, new, smoothing))
        assert_close(fitted(GaussianNaiveBayes(smoothing), x, y).predict_proba(new), expected)

    def test_the_smoothing_unless_told_otherwise(self, rng):
        # A constant feature: its variance is the smoothing alone, which the log-density shows.
        x, y = blobs(rng)
        x[:, 1] = 4.0
        new = np.array([[1.0, 4.0, 2.0, 3.0]])
        got = fitted(GaussianNaiveBayes(), x, y).log_joint(new)
        assert_close(got, gaussian_oracle(x, y, new, 1e-9))

    def test_classes_may_be_texts_and_are_sorted(self, rng):
        x, y = blobs(rng)
        names = np.array([{5: "b", 2: "c", 9: "a"}[int(c)] for c in y])
        model = fitted(GaussianNaiveBayes(), x, names)
        assert_equal(model.classes.tolist(), ["a", "b", "c"])
        assert_equal(model.predict(x).tolist(), model.classes[model.log_joint(x).argmax(1)].tolist())
        assert set(model.predict(x)) <= {"a", "b", "c"}

    @pytest.mark.parametrize("far", [1e4, 1e150])
    def test_far_out_is_not_nan(self, far, rng):
        x, y = blobs(rng)
        rows = np.array([[far, -far, far, far], [0.0, 1.0, 2.0, 3.0]])
        got = fitted(GaussianNaiveBayes(), x, y).predict_proba(rows)
        assert_close(got.sum(axis=1), np.ones(2))

    def test_a_second_fit_forgets_the_first(self, rng):
        (x, y), (other, other_y) = blobs(rng), blobs(rng, 12, 2)
        other_y = other_y + 100
        model = fitted(fitted(GaussianNaiveBayes(0.1), x, y), other, other_y)
        fresh = fitted(GaussianNaiveBayes(0.1), other, other_y)
        assert_equal(model.classes.tolist(), [102, 105, 109])
        assert_close(model.log_joint(other), fresh.log_joint(other))

    def test_two_models_know_nothing_of_each_other(self, rng):
        x, y = blobs(rng)
        one, other = fitted(GaussianNaiveBayes(0.1), x, y), GaussianNaiveBayes(0.7)
        before = one.log_joint(x)
        other.fit(-x, y)
        assert_close(one.log_joint(x), before)

    def test_of_integers_and_of_a_single_class(self):
        x, y = np.array([[200, 1], [100, 3]], np.uint8), np.array([7, 7])
        before = x.copy()
        model = fitted(GaussianNaiveBayes(0.0), x, y)
        assert_close(model.predict_proba(x), np.ones((2, 1)))
        # In both features the two values lie one deviation from the mean; the deviations are 50 and 1.
        assert_close(model.log_joint(x), np.full((2, 1), -1 - math.log(2 * math.pi * 50)))
        assert_equal(model.predict(x).tolist(), [7, 7])
        assert_equal(x, before)

    def test_tells_penguins_apart(self, penguins):
        columns = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
        rows = [i for i in range(344) if all(penguins[c][i] is not None for c in columns)]
        x = np.array([[penguins[c][i] for c in columns] for i in rows])
        y = np.array([penguins["species"][i] for i in rows])
        train = np.arange(len(rows)) % 3 > 0
        right = fitted(GaussianNaiveBayes(), x[train], y[train]).predict(x[~train]) == y[~train]
        majority = max(Counter(y[~train].tolist()).values()) / (~train).sum()
        assert majority < 0.5
        assert right.mean() > 0.93


class TestMultinomialNaiveBayes:
    def test_the_example_worked_by_hand(self):
        model = fitted(MultinomialNaiveBayes(), np.array([[3.0, 1.0, 0.0], [0.0, 1.0, 1.0]]), np.array(["A", "B"]))
        a = (4 / 7) / (4 / 7 + 1 / 5)
        assert_close(model.predict_proba(np.array([[1.0, 0.0, 0.0]])), np.array([[a, 1 - a]]))

    @pytest.mark.parametrize("alpha", [1.0, 0.1, 2.5])
    @pytest.mark.parametrize(("n", "d"), [(20, 6), (7, 11)])
    def test_matches_the_sum_word_by_word(self, n, d, alpha, rng):
        x = rng.poisson(1.3, (n, d)).astype(float)
        y = rng.permutation(np.arange(n) % 5 // 2 * 3 + 4)  # classes 4, 7 and 10, shares of 0.4, 0.4 and 0.2
        new = rng.poisson(2.0, (5, d)).astype(float)
        expected = multinomial_oracle(x, y, new, alpha)
        model = fitted(MultinomialNaiveBayes(alpha), x, y)
        assert_close(model.log_joint(new), expected)
        assert_close(model.predict_proba(new), shares(expected))
        assert_equal(model.classes.tolist(), [4, 7, 10])
        assert_equal(model.predict(new).tolist(), [4 + 3 * int(k) for k in expected.argmax(axis=1)])

    def test_classes_may_be_texts_and_are_sorted(self):
        x, y = np.array([[3.0, 0.0], [0.0, 2.0], [1.0, 0.0]]), np.array(["good", "bad", "good"])
        model = fitted(MultinomialNaiveBayes(), x, y)
        assert_equal(model.classes.tolist(), ["bad", "good"])
        assert_equal(model.predict(np.array([[0.0, 4.0], [5.0, 0.0]])).tolist(), ["bad", "good"])

    def test_alpha_is_1_unless_told_otherwise(self, rng):
        x, y = rng.poisson(1.0, (8, 5)).astype(float), np.arange(8) % 2
        one = fitted(MultinomialNaiveBayes(1.0), x, y).log_joint(x)
        assert_close(fitted(MultinomialNaiveBayes(), x, y).log_joint(x), one)

    def test_a_second_fit_forgets_the_first(self, rng):
        x, y = rng.poisson(1.0, (8, 5)).astype(float), np.arange(8) % 2
        other, other_y = rng.poisson(2.0, (6, 3)).astype(float), np.arange(6) % 3 + 10
        model = fitted(fitted(MultinomialNaiveBayes(), x, y), 2 * x[::-1], y)
        assert_close(model.log_joint(x), fitted(MultinomialNaiveBayes(), 2 * x[::-1], y).log_joint(x))
        model.fit(other, other_y)
        assert_equal(model.classes.tolist(), [10, 11, 12])
        assert_close(model.log_joint(other), fitted(MultinomialNaiveBayes(), other, other_y).log_joint(other))

    def test_of_integers(self):
        x, y = np.array([[200, 100, 0], [0, 100, 100], [200, 0, 0]], np.uint8), np.array([0, 1, 0])
        before = x.copy()
        got = fitted(MultinomialNaiveBayes(), x, y).log_joint(np.array([[1, 0, 2]], np.uint8))
        theta = np.log([[401 / 503, 101 / 503, 1 / 503], [1 / 203, 101 / 203, 101 / 203]])
        assert_close(got, np.log([[2 / 3, 1 / 3]]) + theta[:, 0] + 2 * theta[:, 2])
        assert_equal(x, before)

    def test_long_texts_are_not_nan(self, rng):
        x, y = rng.poisson(3.0, (6, 4)).astype(float), np.array([0, 1] * 3)
        got = fitted(MultinomialNaiveBayes(), x, y).predict_proba(5000 * x)
        assert_close(got.sum(axis=1), np.ones(6))

    def test_tells_good_reviews_from_bad_ones(self, reviews):
        texts, labels = reviews
        texts, labels = texts[::4], labels[::4]
        train = np.arange(len(texts)) % 4 > 0
        seen = Counter()
        for text, chosen in zip(texts, train, strict=True):
            if chosen:
                seen.update(set(re.findall("[a-z]+", text.lower())))
        vocabulary = [word for word, count in seen.most_common(1500) if count > 2]
        counts = count_words(texts, vocabulary)
        model = fitted(MultinomialNaiveBayes(), counts[train], labels[train])
        right = (model.predict(counts[~train]) == labels[~train]).mean()
        majority = max(labels[~train].mean(), 1 - labels[~train].mean())
        assert right > majority + 0.05
