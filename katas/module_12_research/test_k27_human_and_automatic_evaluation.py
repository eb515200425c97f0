"""Judges k27_human_and_automatic_evaluation pair by pair, and with annotators, judges and leaks that were planted."""

import itertools
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.without_warnings import without_warnings
from katas.module_12_research.k27_human_and_automatic_evaluation import (
    combine_orders,
    dawid_skene,
    estimate_annotators,
    fit_judge,
    infer_labels,
    kappa,
    krippendorff_alpha,
    order_test,
    position_bias,
    rubric_scores,
    vote_shares,
)

pytestmark = [from_scratch("sklearn", "statsmodels"), pure()]

NAN = math.nan


def rubric_by_hand(ratings, weights, highest, required) -> list[float]:
    scores = []
    for item in ratings:
        total = weight = 0.0
        failed = False
        for c in range(len(weights)):
            given = [float(row[c]) for row in item if not math.isnan(row[c])]
            if given:
                share = sum(given) / len(given) / highest[c]
                total, weight = total + weights[c] * share, weight + weights[c]
                failed |= bool(required[c]) and share < 0.5
        scores.append(NAN if not weight else 0.0 if failed else total / weight)
    return scores


WEIGHTS, HIGHEST = np.array([2.0, 1.0, 1.0]), np.array([4.0, 2.0, 1.0])


class TestRubricScores:
    def test_the_example_worked_by_hand(self):
        ratings = np.array([[[4, 1, NAN], [2, 1, NAN]]])
        assert_close(rubric_scores(ratings, WEIGHTS, HIGHEST), np.array([2 / 3]))

    @pytest.mark.parametrize("gaps", [0.0, 0.3, 0.7])
    @pytest.mark.parametrize("required", [(False, False, False, False), (True, False, False, True)])
    def test_one_by_one(self, gaps, required, rng):
        highest = np.array([5, 2, 10, 4])
        ratings = rng.integers(0, highest + 1, (12, 3, 4)).astype(float)
        ratings[rng.random(ratings.shape) < gaps] = NAN
        weights = np.array([1, 0.5, 3, 2])
        found = rubric_scores(ratings, weights, highest, np.array(required))
        assert_close(found, np.array(rubric_by_hand(ratings, weights, highest, required)))

    def test_nothing_is_required_by_default(self, rng):
        ratings = rng.integers(0, 2, (6, 2, 3)).astype(float)
        found = rubric_scores(ratings, WEIGHTS, HIGHEST)
        assert_close(found, np.array(rubric_by_hand(ratings, WEIGHTS, HIGHEST, [False] * 3)))

    def test_half_is_enough(self):
        ratings = np.array([[[2, 1, 0]], [[1.9, 1, 1]], [[2, 0.9, 1]]])
        found = rubric_scores(ratings, WEIGHTS, HIGHEST, np.array([True, True, False]))
        assert_close(found, np.array([1.5 / 4, 0.0, 0.0]))

    def test_of_the_mean(self):
        ratings = np.array([[[0.0, 2, 1], [4, 2, 1]]])  # one rater is below half, the mean isn't
        assert_close(rubric_scores(ratings, WEIGHTS, HIGHEST, np.array([True, False, False])), np.array([0.75]))

    def test_nobody_rated(self):
        ratings = np.array([[[NAN, NAN, NAN]], [[NAN, 1, NAN]], [[NAN, NAN, 1]]])
        with without_warnings():
            found = rubric_scores(ratings, WEIGHTS, HIGHEST, np.array([True, False, False]))
        assert_close(found, np.array([NAN, 0.5, 1.0]))


class TestKappa:
    def test_the_example_worked_by_hand(self):
        a, b = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])
        assert_close([kappa(a, b, 3), kappa(a, b, 3, "linear")], [1 - 0.25 / 0.6875, 1 - 0.25 / 0.875])

    @pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
    @pytest.mark.parametrize("classes", [2, 4])
    def test_one_by_one(self, classes, weights, rng):
        a = rng.integers(0, classes, 30)
        b = np.where(rng.random(30) < 0.5, a, rng.integers(0, classes, 30) ** 2 % classes)
        w = {"none": lambda i, j: float(i != j), "linear": lambda i, j: abs(i - j), "quadratic": lambda i, j: (i - j) ** 2}
        observed = sum(w[weights](int(i), int(j)) for i, j in zip(a, b, strict=True)) / 30
        expected = sum(w[weights](int(i), int(j)) for i in a for j in b) / 900
        assert_close(kappa(a, b, classes, weights), 1 - observed / expected)

    def test_worse_than_chance(self):
        assert_close(kappa(np.array([0, 1, 0, 1]), np.array([1, 0, 1, 0]), 2), -1.0)

    def test_a_class_that_nobody_uses(self):
        a, b = np.array([0, 0, 3, 3]), np.array([0, 3, 3, 3])
        assert_close(kappa(a, b, 6, "linear"), kappa(a // 3, b // 3, 2))

    def test_always_the_same_class(self):
        assert_close(kappa(np.full(4, 1), np.full(4, 1), 3), 1.0)

    def test_one_rater_always_the_same(self):
        assert_close(kappa(np.full(4, 1), np.array([0, 1, 1, 2]), 3, "quadratic"), 0.0)

    @pytest.mark.parametrize("weights", ["cubic", "square"])
    def test_unknown_weights(self, weights):
        with raises(ValueError, weights):
            kappa(np.array([0, 1]), np.array([0, 1]), 2, weights)


def alpha_by_hand(labels) -> float:
    units = [[int(v) for v in row if v >= 0] for row in labels]
    units = [unit for unit in units if len(unit) > 1]
    values = [v for unit in units for v in unit]
    m = len(values)

    def unlike(numbers):
        return sum(x != y for i, x in enumerate(numbers) for j, y in enumerate(numbers) if i != j)

    observed = sum(unlike(unit) / (len(unit) - 1) for unit in units) / m
    expected = unlike(values) / (m * (m - 1))
    return 1 - observed / expected


class TestKrippendorffAlpha:
    def test_the_example_worked_by_hand(self):
        assert_close(krippendorff_alpha(np.array([[0, 0], [0, 1], [1, 1], [1, -1]])), 1 - (1 / 3) / 0.6)

    @pytest.mark.parametrize("missing", [0.0, 0.4, 0.6])
    def test_pair_by_pair(self, missing, rng):
        truth = rng.integers(0, 4, 25)
        labels = np.where(rng.random((25, 3)) < 0.6, truth[:, None], rng.integers(0, 4, (25, 3)))
        labels[rng.random((25, 3)) < missing] = -1
        labels[0] = [2, 1, -1]
        assert_close(krippendorff_alpha(labels), alpha_by_hand(labels))

    def test_a_lone_label_counts_for_nothing(self, rng):
        labels = rng.integers(0, 3, (8, 3))
        more = np.concatenate([labels, [[-1, 2, -1], [-1, -1, -1], [7, -1, -1]]])
        assert_close(krippendorff_alpha(more), alpha_by_hand(labels))

    def test_names_of_classes_dont_matter(self, rng):
        labels = rng.integers(0, 3, (9, 4))
        assert_close(krippendorff_alpha(np.array([4, 0, 9])[labels]), alpha_by_hand(labels))

    def test_always_the_same_class(self):
        assert_close(krippendorff_alpha(np.array([[2, 2], [2, 2], [-1, 0]])), 1.0)

    @pytest.mark.parametrize("labels", [[[0, -1], [-1, 1]], [[-1, -1], [-1, -1]]])
    def test_nothing_to_compare(self, labels):
        with raises(ValueError):
            krippendorff_alpha(np.array(labels))


def planted(rng, items: int, classes: int, skills, missing: float = 0.2):
    """Truth, and labels of annotators who are right as often as `skills` says and guess otherwise."""
    truth = rng.integers(0, classes, items)
    wrong = (truth[:, None] + rng.integers(1, classes, (items, len(skills)))) % classes
    labels = np.where(rng.random((items, len(skills))) < np.array(skills), truth[:, None], wrong)
    labels[rng.random(labels.shape) < missing] = -1
    return truth, labels


class TestVoteShares:
    def test_the_example_worked_by_hand(self):
        assert_close(vote_shares(np.array([[0, 1, 1]]), 2), np.array([[1 / 3, 2 / 3]]))

    @pytest.mark.parametrize("classes", [3, 5])
    def test_counted_one_by_one(self, classes, rng):
        _, labels = planted(rng, 14, 3, [0.7] * 4, 0.4)
        labels[0], labels[5] = 1, -1
        expected = [
            [row.count(k) / (4 - row.count(-1)) if row.count(-1) < 4 else 1 / classes for k in range(classes)]
            for row in labels.tolist()
        ]
        with without_warnings():
            found = vote_shares(labels, classes)
        assert_close(found, np.array(expected))


def m_step(labels, posteriors, s):
    items, annotators = labels.shape
    classes = posteriors.shape[1]
    confusion = np.full((annotators, classes, classes), float(s))
    for i in range(items):
        for j in range(annotators):
            if labels[i, j] >= 0:
                for k in range(classes):
                    confusion[j, k, labels[i, j]] += posteriors[i, k]
    return posteriors.sum(0) / items, confusion / confusion.sum(2)[:, :, None]


def e_step(labels, prior, confusion):
    rows = []
    for row in labels:
        chances = [
            prior[k] * math.prod(confusion[j, k, int(l)] for j, l in enumerate(row) if l >= 0) for k in range(len(prior))
        ]
        rows.append([c / sum(chances) for c in chances])
    return np.array(rows)


class TestEstimateAnnotators:
    def test_the_example_worked_by_hand(self):
        prior, confusion = estimate_annotators(np.array([[0], [1]]), np.array([[0.75, 0.25], [0.5, 0.5]]), 0.0)
        assert_close((prior, confusion), (np.array([0.625, 0.375]), np.array([[[0.6, 0.4], [1 / 3, 2 / 3]]])))

    @pytest.mark.parametrize("smoothing", [0.5, 2.0])
    def test_counted_one_by_one(self, smoothing, rng):
        _, labels = planted(rng, 15, 3, [0.8, 0.5], 0.3)
        labels[4] = -1  # counts in the prior, and nowhere else
        posteriors = rng.dirichlet(np.ones(3), 15)
        assert_close(estimate_annotators(labels, posteriors, smoothing), m_step(labels, posteriors, smoothing))

    def test_the_default_smoothing(self, rng):
        _, labels = planted(rng, 5, 3, [0.8, 0.5], 0.3)
        posteriors = rng.dirichlet(np.ones(3), 5)
        assert_close(estimate_annotators(labels, posteriors), m_step(labels, posteriors, 0.01))

    def test_an_annotator_without_labels(self):
        _, confusion = estimate_annotators(np.array([[0, -1], [1, -1]]), np.array([[0.9, 0.1], [0.3, 0.7]]))
        assert_close(confusion[1], np.full((2, 2), 0.5))


class TestInferLabels:
    def test_the_example_worked_by_hand(self):
        found = infer_labels(np.array([[0]]), np.array([0.5, 0.5]), np.array([[[0.8, 0.2], [0.3, 0.7]]]))
        assert_close(found, np.array([[8 / 11, 3 / 11]]))

    @pytest.mark.parametrize("missing", [0.0, 0.5])
    def test_one_by_one(self, missing, rng):
        _, labels = planted(rng, 12, 3, [0.8, 0.5, 0.4, 0.9], missing)
        prior, confusion = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3), (4, 3))
        assert_close(infer_labels(labels, prior, confusion), e_step(labels, prior, confusion))

    def test_without_labels_the_prior(self):
        prior = np.array([0.2, 0.5, 0.3])
        found = infer_labels(np.full((2, 2), -1), prior, np.full((2, 3, 3), 1 / 3))
        assert_close(found, np.stack([prior, prior]))

    def test_thousands_of_annotators(self):
        confusion = np.tile(np.array([[0.4, 0.3, 0.3], [0.3, 0.3, 0.4], [0.3, 0.4, 0.3]]), (3000, 1, 1))
        with without_warnings():
            found = infer_labels(np.array([[0, 1, 2] * 1000]), np.array([0.5, 0.2, 0.3]), confusion)
        assert_close(found, np.array([[0.5, 0.2, 0.3]]), rtol=1e-6)


class TestDawidSkene:
    @pytest.mark.parametrize("steps", [1, 2, 5])
    @pytest.mark.parametrize("smoothing", [0.3, 1.0])
    def test_step_by_step(self, steps, smoothing, rng):
        _, labels = planted(rng, 20, 3, [0.8, 0.5, 0.6], 0.3)
        labels[3] = -1
        posteriors = np.array([
            [row.count(k) / max(3 - row.count(-1), 1) if row.count(-1) < 3 else 1 / 3 for k in range(3)]
            for row in labels.tolist()
        ])  # fmt: skip
        for _ in range(steps):
            prior, confusion = m_step(labels, posteriors, smoothing)
            posteriors = e_step(labels, prior, confusion)
        assert_close(dawid_skene(labels, 3, steps, smoothing), (posteriors, prior, confusion))

    def test_the_default_smoothing(self, rng):
        _, labels = planted(rng, 10, 2, [0.8, 0.5, 0.6])
        assert_close(dawid_skene(labels, 2, 3), dawid_skene(labels, 2, 3, 0.01))

    @pytest.mark.parametrize(("classes", "skills"), [(3, [0.9, 0.85, 0.9] + [1 / 3] * 6), (2, [0.9, 0.9, 0.85] + [0.5] * 4 + [0.2])])
    def test_recovers_planted_annotators(self, classes, skills, rng):
        truth, labels = planted(rng, 400, classes, skills)
        posteriors, prior, confusion = dawid_skene(labels, classes, 30)
        votes = np.stack([(labels == k).sum(1) for k in range(classes)], 1)
        majority, found = float((votes.argmax(1) == truth).mean()), float((posteriors.argmax(1) == truth).mean())
        if not found > majority + 0.1:
            fail(f"{found:.3f} of the labels are right, and {majority:.3f} by majority", evidence=found > majority)
        # Each skill comes from about 320 labels: a standard error of 0.028.
        for j, skill in enumerate(skills):
            assert_close(float(np.diag(confusion[j]).mean()), skill, atol=0.18, rtol=0)
        assert_close(prior, np.full(classes, 1 / classes), atol=0.15, rtol=0)


AB, BA = np.array([1, 1, -1, 0]), np.array([-1, 1, 1, -1])


class TestCombineOrders:
    def test_the_example_worked_by_hand(self):
        assert_equal(combine_orders(AB, BA), np.array([1, 0, -1, 0]))

    def test_all_nine_cases(self):
        ab, ba = np.repeat([1, 0, -1], 3), np.tile([1, 0, -1], 3)
        assert_equal(combine_orders(ab, ba), np.array([0, 0, 1, 0, 0, 0, -1, 0, 0]))


class TestPositionBias:
    def test_the_example_worked_by_hand(self):
        assert_close(position_bias(AB, BA), (0.5, 4 / 7))

    def test_one_by_one(self, rng):
        ab, ba = rng.integers(-1, 2, 40), rng.integers(-1, 2, 40)
        same = sum((x, y) in ((1, -1), (-1, 1), (0, 0)) for x, y in zip(ab, ba, strict=True)) / 40
        verdicts = [*ab.tolist(), *ba.tolist()]
        assert_close(position_bias(ab, ba), (same, verdicts.count(1) / (80 - verdicts.count(0))))

    @pytest.mark.parametrize(("ab", "ba", "expected"), [([1, 1], [1, 1], (0.0, 1.0)), ([-1, -1], [-1, -1], (0.0, 0.0)), ([1, -1], [-1, 1], (1.0, 0.5))])
    def test_pure_cases(self, ab, ba, expected):
        assert_close(position_bias(np.array(ab), np.array(ba)), expected)

    def test_ties_alone(self):
        with without_warnings():
            found = position_bias(np.zeros(3, dtype=int), np.zeros(3, dtype=int))
        assert_close(found, (1.0, NAN))


def games(rng, models: int, count: int, bias: float, ties: bool = False):
    strengths = np.linspace(-1.5, 1.5, models)
    first = rng.integers(0, models, count)
    second = (first + rng.integers(1, models, count)) % models
    chance = 1 / (1 + np.exp(-(strengths[first] - strengths[second] + bias)))
    won = (rng.random(count) < chance).astype(float)
    if ties:
        won[rng.random(count) < 0.2] = 0.5
    return first, second, won


class TestFitJudge:
    def test_the_example_worked_by_hand(self):
        first, second = np.repeat([0, 1], 30), np.repeat([1, 0], 30)
        won = np.array([1.0] * 24 + [0.0] * 6 + [1.0] * 12 + [0.0] * 18)
        strengths, bias = fit_judge(first, second, won, 2, 1e-7)
        assert_close((bias, float(strengths[0] - strengths[1])), (0.4904, 0.8959), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("ridge", [0.05, 2.0])
    @pytest.mark.parametrize(("models", "ties"), [(2, True), (5, False)])
    def test_the_minimum(self, models, ties, ridge, rng):
        from scipy.optimize import minimize

        first, second, won = games(rng, models, 80, 0.7, ties)

        def objective(w):
            z = w[first] - w[second] + w[-1]
            return np.sum(np.logaddexp(0, z) - won * z) + ridge / 2 * w @ w

        def gradient(w):
            slope = 1 / (1 + np.exp(-(w[first] - w[second] + w[-1]))) - won
            g = ridge * w
            np.add.at(g, first, slope)
            np.add.at(g, second, -slope)
            g[-1] += slope.sum()
            return g

        w = minimize(objective, np.zeros(models + 1), jac=gradient, method="BFGS", options={"gtol": 1e-9}).x
        # The stub asks for 1e-5 in each number.
        strengths, bias = fit_judge(first, second, won, models, ridge)
        assert_close((strengths, bias), (w[:-1], float(w[-1])), atol=1.1e-5, rtol=0)

    def test_the_default_ridge(self, rng):
        data = games(rng, 3, 40, 0.3)
        assert_close(fit_judge(*data, 3), fit_judge(*data, 3, 0.01), atol=2e-5, rtol=0)

    def test_a_model_that_never_played(self, rng):
        first, second, won = games(rng, 3, 60, 0.0)
        strengths, _ = fit_judge(first, second, won, 5)
        assert_close(strengths[3:], np.zeros(2), atol=1e-5, rtol=0)

    @pytest.mark.parametrize("ridge", [1e-3, 0.1])
    def test_who_always_wins_stays_finite(self, ridge):
        # 0 beats 1 and both beat 2, in either place: without the ridge the strengths have no end.
        first, second = np.array([0, 0, 1, 0, 2, 1, 2]), np.array([1, 1, 0, 2, 0, 2, 1])
        won = (first < second).astype(float)
        strengths, bias = fit_judge(first, second, won, 3, ridge)
        slope = won - 1 / (1 + np.exp(-(strengths[first] - strengths[second] + bias)))
        pulls = [slope[first == k].sum() - slope[second == k].sum() for k in range(3)]
        # At the minimum each pull is that of the ridge.
        assert_close(np.array([*pulls, slope.sum()]), ridge * np.array([*strengths, bias]), atol=3e-5, rtol=0)

    def test_a_planted_bias_is_taken_out(self, rng):
        # Weak models are shown first far more often, so their share of wins flatters them.
        strengths = np.array([0.0, 0.6, 1.2])
        pairs = np.array([(0, 1)] * 9 + [(1, 2)] * 9 + [(0, 2)] * 9 + [(1, 0), (2, 1), (2, 0)])
        first, second = np.repeat(pairs, 60, axis=0).T
        won = (rng.random(len(first)) < 1 / (1 + np.exp(-(strengths[first] - strengths[second] + 1.5)))).astype(float)
        shares = [float(np.concatenate([won[first == k], 1 - won[second == k]]).mean()) for k in range(3)]
        found, bias = fit_judge(first, second, won, 3)
        assert_equal(shares[0] > shares[2], True)
        assert_close(bias, 1.5, atol=0.75, rtol=0)  # five standard errors
        assert_equal(bool(found[0] < found[1] < found[2]), True)


class TestOrderTest:
    def test_the_example_worked_by_hand(self, rng):
        items = list(range(30))
        assert_close(order_test(lambda order: float(order == items), items, 19, rng), 0.05)

    def test_ties_count(self, rng):
        assert_close(order_test(lambda order: 2.0, [3, 1, 2], 10, rng), 1.0)

    @pytest.mark.parametrize(("nearly", "expected"), [(1e-10, 1.0), (1e-8, 1 / 12)])
    def test_rounding_decides_no_tie(self, nearly, expected, rng):
        items = list(range(40))
        assert_close(order_test(lambda order: -0.0 if order == items else -nearly, items, 11, rng), expected)

    def test_the_lowest_is_no_proof(self, rng):
        items = list(range(30))
        assert_close(order_test(lambda order: -float(order == items), items, 24, rng), 1.0)

    def test_every_shuffle_has_all_items(self, rng):
        seen = []

        def score(order):
            seen.append(list(order))
            order.clear()  # it may
            return 0.0

        items = ["a", "b", "c", "c", "d", "e"]
        order_test(score, items, 40, rng)
        assert_equal((len(seen), items), (41, ["a", "b", "c", "c", "d", "e"]))
        assert_equal([order for order in seen if sorted(order) != items], [])
        assert_equal(len({tuple(order) for order in seen}) > 20, True)

    def test_a_model_that_read_the_set_is_found_and_another_isnt(self, rng):
        found, clean = [], []
        for _ in range(60):
            items = rng.integers(0, 1000, 12).tolist()
            read = set(itertools.pairwise(items)) if len(found) < 8 else set()
            noise = rng.normal(0, 1, 1009)

            def score(order, read=read, noise=noise):
                pairs = itertools.pairwise(order)
                return sum(2.0 * (pair in read) + noise[(31 * pair[0] + pair[1]) % 1009] for pair in pairs)

            (found if read else clean).append(order_test(score, items, 39, rng))
        assert_equal(max(found) < 0.15, True)
        share = float(np.mean(np.array(clean) <= 0.5))
        assert_close(share, 0.5, atol=0.36, rtol=0)  # five standard errors of 52 fair draws

    def test_all_draws_come_from_the_generator(self):
        items = list(range(12))
        before = np.random.get_state()[1].copy()

        def score(order):
            return sum(i * x for i, x in enumerate(order)) % 97 - float(order == items)

        found = {order_test(score, items, 30, np.random.default_rng(5)) for _ in range(3)}
        others = {order_test(score, items, 30, np.random.default_rng(seed)) for seed in range(12)}
        assert_equal((len(found), len(others) > 1), (1, True))
        assert_equal(bool((before == np.random.get_state()[1]).all()), True)
