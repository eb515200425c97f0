"""Judges k06_classification_metrics against scikit-learn point by point, and against all pairs on ties."""

import math
import random

import numpy as np
import pytest

from dojo.testing import assert_close, from_scratch, pure, raises
from katas.module_02_machine_learning.k06_classification_metrics import (
    average_precision,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    precision_recall_curve,
    precision_recall_f1,
    roc_auc,
    roc_curve,
)

pytestmark = [from_scratch("sklearn", "scipy"), pure()]


def rows_with_ties(rng, n=60, levels=9):
    """Truth values and scores of few levels, both classes present."""
    y = rng.random(n) < 0.35
    y[:2] = True, False
    return y, rng.integers(-levels, levels, n) / 4 + y


def any_ranking(check):
    """Let hypothesis look for truth values and scores of few levels that `check` fails on."""
    import hypothesis
    from hypothesis import strategies as st

    rows = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=9)
    quiet = hypothesis.settings(
        max_examples=60, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )

    def both(pairs):
        y = np.array([truth for truth, _ in pairs])
        if y.any() and not y.all():
            check(y, np.array([float(score) for _, score in pairs]))

    hypothesis.seed(random.getrandbits(32))(quiet(hypothesis.given(rows)(both)))()


def all_pairs(y, scores):
    """The share of pairs in which the positive has the higher score, a tie counting half."""
    won = [(p > q) + (p == q) / 2 for p in scores[y] for q in scores[~y]]
    return float(sum(won) / len(won))


class TestConfusionMatrix:
    def test_the_example_worked_by_hand(self):
        got = confusion_matrix(np.array(list("aabbbc")), np.array(list("abbbaa")))
        assert_close(got, np.array([[1.0, 1, 0], [1, 2, 0], [1, 0, 0]]))

    @pytest.mark.parametrize("names", [np.array([7, -2, 40, 3]), np.array(["wolf", "ant", "bee", "zebra"])])
    def test_matches_scikit_learn(self, rng, names):
        from sklearn.metrics import confusion_matrix as oracle

        y_true, y_pred = names[rng.integers(0, 4, 80)], names[rng.integers(0, 4, 80)]
        assert_close(confusion_matrix(y_true, y_pred), oracle(y_true, y_pred).astype(float))

    @pytest.mark.parametrize("labels", [[9, 2, 5, 4], (4, 5, 9, 2)])
    def test_labels_fix_the_order_and_may_be_absent(self, rng, labels):
        from sklearn.metrics import confusion_matrix as oracle

        y_true, y_pred = rng.choice([2, 9, 4], 50), rng.choice([9, 2], 50)
        assert_close(confusion_matrix(y_true, y_pred, labels), oracle(y_true, y_pred, labels=labels).astype(float))

    def test_a_label_may_be_in_one_of_the_two_alone(self):
        got = confusion_matrix(np.array([4, 4, 4]), np.array([8, 8, 1]))
        assert_close(got, np.array([[0.0, 0, 0], [1, 0, 2], [0, 0, 0]]))

    def test_weights_are_added_up(self, rng):
        from sklearn.metrics import confusion_matrix as oracle

        y_true, y_pred, weights = rng.integers(3, 6, 40), rng.integers(3, 6, 40), rng.uniform(0.1, 4, 40)
        got = confusion_matrix(y_true, y_pred, weights=weights)
        assert_close(got, oracle(y_true, y_pred, sample_weight=weights))

    def test_no_rows(self):
        empty = np.array([], dtype=int)
        assert_close(confusion_matrix(empty, empty, [3, 1]), np.zeros((2, 2)))
        assert_close(confusion_matrix(empty, empty), np.zeros((0, 0)))

    @pytest.mark.parametrize(("y_true", "y_pred"), [([1, 6], [1, 1]), ([1, 2], [6, 2])])
    def test_rejects_a_label_that_is_not_listed(self, y_true, y_pred):
        with raises(ValueError, 6):
            confusion_matrix(np.array(y_true), np.array(y_pred), [1, 2])

    @pytest.mark.parametrize(("n", "m"), [(3, 4), (4, 3), (3, 1)])
    def test_rejects_columns_of_different_length(self, n, m):
        with raises(ValueError, n, m):
            confusion_matrix(np.ones(n, dtype=int), np.ones(m, dtype=int))


class TestPrecisionRecallF1:
    MATRIX = np.array([[1, 1, 0], [1, 2, 0], [1, 0, 0]])

    def test_the_example_class_by_class(self):
        got = precision_recall_f1(self.MATRIX, None)
        expected = (np.array([1 / 3, 2 / 3, 0]), np.array([1 / 2, 2 / 3, 0]), np.array([0.4, 2 / 3, 0]))
        assert_close(got, expected)

    @pytest.mark.parametrize(("average", "f1"), [("macro", 16 / 45), ("micro", 0.5), ("weighted", 7 / 15)])
    def test_the_example_averaged(self, average, f1):
        assert_close(precision_recall_f1(self.MATRIX, average)[2], f1)

    def test_the_default_is_macro(self):
        assert_close(precision_recall_f1(self.MATRIX), (1 / 3, 7 / 18, 16 / 45))

    @pytest.mark.parametrize("average", [None, "macro", "micro", "weighted"])
    @pytest.mark.parametrize("k", [2, 5])
    def test_matches_scikit_learn(self, rng, average, k):
        from sklearn.metrics import precision_recall_fscore_support

        y_true = rng.integers(0, k, 90) * rng.integers(0, 2, 90)
        y_pred = np.where(rng.random(90) < 0.6, y_true, rng.integers(0, k, 90))
        matrix = np.zeros((k, k))
        np.add.at(matrix, (y_true, y_pred), 1)
        oracle = precision_recall_fscore_support(y_true, y_pred, labels=range(k), average=average, zero_division=0)[:3]
        expected = tuple(map(np.asarray, oracle)) if average is None else tuple(map(float, oracle))
        assert_close(precision_recall_f1(matrix, average), expected)

    @pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
    def test_a_class_that_never_occurs_counts_as_zero(self, average):
        matrix = np.array([[3.0, 0, 1], [0, 0, 0], [1, 0, 2]])
        p, q, weighted = 3 / 4, 2 / 3, (4 * 3 / 4 + 3 * 2 / 3) / 7
        expected = {"macro": (p + q) / 3, "weighted": weighted, "micro": 5 / 7}[average]
        assert_close(precision_recall_f1(matrix, average), (expected, expected, expected))

    @pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
    def test_a_matrix_of_zeros_scores_zero(self, average):
        assert_close(precision_recall_f1(np.zeros((2, 2)), average), (0.0, 0.0, 0.0))

    def test_fractions_of_rows_count_as_fractions(self):
        matrix = np.array([[0.25, 0.125], [0.125, 0.5]])
        assert_close(precision_recall_f1(matrix, None), (np.array([2 / 3, 0.8]),) * 3)

    @pytest.mark.parametrize("average", ["binary", "mean"])
    def test_rejects_another_average(self, average):
        with raises(ValueError, average):
            precision_recall_f1(self.MATRIX, average)


HAND_Y, HAND_SCORES = np.array([1, 0, 1, 0]), np.array([0.9, 0.6, 0.6, 0.2])


class TestRocCurve:
    def test_the_example_worked_by_hand(self):
        got = roc_curve(HAND_Y, HAND_SCORES)
        expected = (np.array([0, 0, 0.5, 1]), np.array([0, 0.5, 1, 1]), np.array([np.inf, 0.9, 0.6, 0.2]))
        assert_close(got, expected)

    @pytest.mark.parametrize("n", [7, 60, 400])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_matches_scikit_learn_point_by_point(self, rng, n, weighted):
        from sklearn.metrics import roc_curve as oracle

        y, scores = rows_with_ties(rng, n)
        weights = rng.uniform(0.2, 3, n) if weighted else None
        expected = oracle(y, scores, sample_weight=weights, drop_intermediate=False)
        assert_close(roc_curve(y, scores, weights), expected)

    def test_truth_and_scores_of_integers(self):
        got = roc_curve(np.array([0, 1, 1]), np.array([30, 20, 40]))
        assert_close(got, (np.array([0.0, 0, 1, 1]), np.array([0, 0.5, 0.5, 1]), np.array([np.inf, 40, 30, 20])))

    def test_scores_without_a_sign(self):
        got = roc_curve(np.array([1, 0, 1]), np.array([0, 200, 7], dtype=np.uint8))
        assert_close(got, (np.array([0.0, 1, 1, 1]), np.array([0, 0, 0.5, 1]), np.array([np.inf, 200, 7, 0])))

    def test_scores_that_almost_tie_are_two_thresholds(self):
        got = roc_curve(np.array([True, False]), np.array([1.0, 1.0 + 1e-12]))
        assert_close(got[:2], (np.array([0.0, 1, 1]), np.array([0.0, 0, 1])))

    def test_all_scores_equal_is_the_diagonal(self):
        got = roc_curve(np.array([1, 0, 0, 1, 1]), np.full(5, -3.0))
        assert_close(got, (np.array([0.0, 1]), np.array([0.0, 1]), np.array([np.inf, -3])))

    @pytest.mark.parametrize(("y", "word"), [([0, 0, 0], "positive"), ([1, 1, 1], "negative")])
    def test_rejects_one_class_alone(self, y, word):
        with raises(ValueError, word):
            roc_curve(np.array(y), np.array([0.1, 0.5, 0.4]))


class TestRocAuc:
    def test_the_example_worked_by_hand(self):
        assert_close(roc_auc(HAND_Y, HAND_SCORES), 0.875)

    @pytest.mark.parametrize("n", [5, 60, 300])
    def test_matches_scikit_learn(self, rng, n):
        from sklearn.metrics import roc_auc_score

        y, scores = rows_with_ties(rng, n)
        assert_close(roc_auc(y, scores), float(roc_auc_score(y, scores)))

    def test_is_the_share_of_pairs_in_the_right_order(self):
        any_ranking(lambda y, scores: assert_close(roc_auc(y, scores), all_pairs(y, scores)))

    def test_only_the_order_of_scores_counts(self, rng):
        y, scores = rows_with_ties(rng)
        expected = all_pairs(y, scores)
        assert_close(roc_auc(y.astype(int), np.exp(3 * scores)), expected)
        assert_close(roc_auc(y, -scores), 1 - expected)

    @pytest.mark.parametrize(("y", "word"), [([0, 0], "positive"), ([1, 1], "negative")])
    def test_rejects_one_class_alone(self, y, word):
        with raises(ValueError, word):
            roc_auc(np.array(y), np.array([0.1, 0.5]))


class TestPrecisionRecallCurve:
    def test_the_example_worked_by_hand(self):
        got = precision_recall_curve(HAND_Y, HAND_SCORES)
        assert_close(got, (np.array([1, 2 / 3, 0.5]), np.array([0.5, 1, 1]), np.array([0.9, 0.6, 0.2])))

    @pytest.mark.parametrize("n", [7, 60, 400])
    def test_matches_scikit_learn_point_by_point(self, rng, n):
        from sklearn.metrics import precision_recall_curve as oracle

        y, scores = rows_with_ties(rng, n)
        # scikit-learn's thresholds rise, and it adds the point (1, 0).
        precision, recall, thresholds = oracle(y, scores)
        expected = (precision[:-1][::-1].copy(), recall[:-1][::-1].copy(), thresholds[::-1].copy())
        assert_close(precision_recall_curve(y, scores), expected)

    def test_a_false_alarm_on_top_has_precision_zero(self):
        got = precision_recall_curve(np.array([1, 0]), np.array([2, 5]))
        assert_close(got, (np.array([0, 0.5]), np.array([0.0, 1]), np.array([5.0, 2])))

    def test_scores_without_a_sign(self):
        got = precision_recall_curve(np.array([1, 0, 1]), np.array([0, 200, 7], dtype=np.uint8))
        assert_close(got, (np.array([0.0, 1 / 2, 2 / 3]), np.array([0.0, 0.5, 1]), np.array([200.0, 7, 0])))

    def test_without_negatives_precision_is_one(self):
        got = precision_recall_curve(np.array([1, 1, 1]), np.array([2.0, 5, 2]))
        assert_close(got, (np.array([1.0, 1]), np.array([1 / 3, 1]), np.array([5.0, 2])))

    def test_rejects_rows_without_a_positive(self):
        with raises(ValueError, "positive"):
            precision_recall_curve(np.zeros(3, dtype=bool), np.array([0.1, 0.5, 0.4]))


class TestAveragePrecision:
    def test_the_example_worked_by_hand(self):
        assert_close(average_precision(HAND_Y, HAND_SCORES), 5 / 6)

    @pytest.mark.parametrize("n", [5, 60, 300])
    def test_matches_scikit_learn(self, rng, n):
        from sklearn.metrics import average_precision_score

        y, scores = rows_with_ties(rng, n)
        assert_close(average_precision(y, scores), float(average_precision_score(y, scores)))

    def test_with_ties_matches_scikit_learn(self):
        from sklearn.metrics import average_precision_score

        any_ranking(
            lambda y, scores: assert_close(
                average_precision(y.astype(int), scores), float(average_precision_score(y, scores))
            )
        )

    def test_equal_scores_give_the_share_of_positives(self):
        assert_close(average_precision(np.array([1, 0, 0, 0, 1]), np.ones(5)), 0.4)

    def test_rejects_rows_without_a_positive(self):
        with raises(ValueError, "positive"):
            average_precision(np.array([0, 0]), np.array([0.1, 0.5]))


class TestLogLoss:
    def test_the_example_worked_by_hand(self):
        got = log_loss(np.array([0, 0]), np.array([[0.8, 0.2], [0.4, 0.6]]))
        assert_close(got, -(math.log(0.8) + math.log(0.4)) / 2)

    @pytest.mark.parametrize(("n", "k"), [(1, 2), (40, 3), (7, 5)])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_matches_scikit_learn(self, rng, n, k, weighted):
        from sklearn.metrics import log_loss as oracle

        y, proba = rng.integers(0, k, n), rng.dirichlet(np.ones(k), n)
        weights = rng.uniform(0.2, 3, n) if weighted else None
        expected = float(oracle(y, proba, labels=range(k), sample_weight=weights))
        assert_close(log_loss(y, proba, weights), expected)

    def test_a_certain_answer_that_is_right_costs_nothing(self):
        assert_close(log_loss(np.array([1, 0]), np.array([[0, 1], [1, 0]])), 0.0)

    @pytest.mark.parametrize(("p", "expected"), [(0.0, 1e-15), (1e-16, 1e-15), (1e-14, 1e-14)])
    def test_a_probability_below_1e_15_counts_as_1e_15(self, p, expected):
        assert_close(log_loss(np.array([0]), np.array([[p, 1 - p]])), -math.log(expected))

    @pytest.mark.parametrize(("row", "off"), [(0, 1e-3), (2, -1e-3), (2, 0.4), (2, 1.5e-6), (0, -1.5e-6)])
    def test_rejects_a_row_that_does_not_sum_to_one(self, row, off):
        proba = np.full((3, 4), 0.25)
        proba[row, 1] += off
        with raises(ValueError, row):
            log_loss(np.array([0, 3, 2]), proba)

    def test_the_first_such_row_is_named(self):
        proba = np.full((8, 4), 0.25)
        proba[[4, 6], 1] += 0.125
        with raises(ValueError, 4):
            log_loss(np.zeros(8, dtype=int), proba)

    @pytest.mark.parametrize("off", [4e-8, 8e-7, -8e-7])
    def test_rounding_is_no_error(self, off):
        p = (1 + off) / 2
        assert_close(log_loss(np.array([0, 1]), np.full((2, 2), p)), -math.log(p))


def calibration_loop(y, proba, bins):
    """Σ share of rows · |accuracy - mean confidence|, bin by bin."""
    total = 0.0
    for b in range(bins):
        inside = [i for i in range(len(y)) if b / bins < max(proba[i]) <= (b + 1) / bins]
        if inside:
            accuracy = np.mean([int(np.argmax(proba[i]) == y[i]) for i in inside])
            total += len(inside) / len(y) * abs(accuracy - np.mean([max(proba[i]) for i in inside]))
    return float(total)


def now_right_now_wrong(rng, n, k):
    """Rows right in one narrow range of confidence and wrong in the next: gaps of both signs, which other bins mix."""
    proba = rng.dirichlet(np.ones(k), n)
    right = (proba.max(axis=1) * 34).astype(int) % 2 == 0
    return np.where(right, proba.argmax(axis=1), proba.argmin(axis=1)), proba


class TestExpectedCalibrationError:
    @pytest.mark.parametrize(("bins", "expected"), [(2, 0.2), (10, 0.4), (1, 0.2)])
    def test_the_example_worked_by_hand(self, bins, expected):
        got = expected_calibration_error(np.array([0, 0]), np.array([[0.8, 0.2], [0.4, 0.6]]), bins)
        assert_close(got, expected)

    @pytest.mark.parametrize(("n", "k"), [(90, 3), (200, 2), (50, 6)])
    @pytest.mark.parametrize("bins", [4, 7, 15])
    def test_matches_a_loop_over_bins(self, rng, n, k, bins):
        y, proba = now_right_now_wrong(rng, n, k)
        assert_close(expected_calibration_error(y, proba, bins), calibration_loop(y, proba, bins))

    def test_ten_bins_by_default(self, rng):
        y, proba = now_right_now_wrong(rng, 70, 3)
        assert_close(expected_calibration_error(y, proba), calibration_loop(y, proba, 10))

    def test_an_edge_belongs_to_the_bin_below(self):
        # (½, ¾] holds the first two; 1 is in the last bin.
        proba = np.array([[0.75, 0.25], [0.3125, 0.6875], [0.1875, 0.8125], [1.0, 0.0]])
        y = np.array([0, 0, 1, 1])
        assert_close(expected_calibration_error(y, proba, 4), (abs(1 - 1.4375) + abs(1 - 1.8125)) / 4)

    def test_rounding_lifts_no_row_over_an_edge(self):
        # 0.56 is 14/25, but 0.56·25 is a little above 14.  0.59 is in the next bin.
        proba = np.array([[0.56, 0.44], [0.41, 0.59]])
        assert_close(expected_calibration_error(np.array([0, 0]), proba, 25), (0.44 + 0.59) / 2)

    def test_half_belongs_to_the_lower_half(self):
        proba = np.array([[0.25, 0.25, 0.5], [0.25, 0.625, 0.125]])
        assert_close(expected_calibration_error(np.array([2, 0]), proba, 2), (0.5 + 0.625) / 2)

    def test_of_equal_probabilities_the_first_class_is_predicted(self):
        proba = np.array([[0.25, 0.375, 0.375], [0.5, 0.5, 0.0]])
        assert_close(expected_calibration_error(np.array([1, 1]), proba, 8), (0.625 + 0.5) / 2)

    def test_a_calibrated_forecast_scores_near_zero(self, rng):
        p = rng.uniform(0.5, 1, 20_000)
        y = (rng.random(20_000) > p).astype(int)
        proba = np.stack([p, 1 - p], axis=1)
        # Five bins of some 4,000 rows: each gap has a deviation below 0.008.
        assert expected_calibration_error(y, proba) < 0.03
        assert expected_calibration_error(np.ones(20_000, dtype=int), proba) > 0.5
