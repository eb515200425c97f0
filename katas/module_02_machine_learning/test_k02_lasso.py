"""Judges k02_lasso against scikit-learn, the conditions of the optimum (KKT), and brute force one weight at a time."""

import warnings

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_02_machine_learning.k02_lasso import (
    duality_gap,
    elastic_net,
    largest_penalty,
    objective,
    path,
    soft_threshold,
    sweep,
)

pytestmark = [from_scratch("scipy", "sklearn"), pure()]

X, Y = np.array([[1], [2], [3]]), np.array([3, 5, 7])
CENTRED, TARGET = np.array([[-1], [0], [1]]), np.array([-2, 0, 2])

PENALTIES = [(0.3, 1.0), (0.1, 1.0), (0.4, 0.5), (0.2, 0.1)]


def correlated(rng, n=12, d=4):
    """Features that share a part, with means and scales of their own; only some matter."""
    x = (rng.normal(size=(n, 1)) + rng.normal(size=(n, d))) * (1 + np.arange(d) / 2) + 3 * np.arange(d)
    return x, x @ np.where(np.arange(d) % 2 == 0, 1.5, 0.0) + 7 + rng.normal(size=n)


def centred(x, y):
    return x - x.mean(axis=0), y - y.mean()


def standardised(data):
    x, y = data
    return (x - x.mean(axis=0)) / x.std(axis=0), y


def oracle(x, y, penalty, l1_ratio=1.0):
    """scikit-learn's weights and intercept, to about 1e-10."""
    from sklearn.linear_model import ElasticNet

    model = ElasticNet(alpha=penalty, l1_ratio=l1_ratio, tol=1e-15, max_iter=100_000).fit(x, y)
    return model.coef_, float(model.intercept_)


class TestSoftThreshold:
    @pytest.mark.parametrize("threshold", [0.0, 0.5, 2.0])
    def test_three_cases(self, threshold):
        z = np.array([[-3.0, -2.0, -0.5, 0.0], [0.25, 0.5, 2.5, 7.0]])
        expected = [
            [v - threshold if v > threshold else v + threshold if v < -threshold else 0.0 for v in row] for row in z
        ]
        assert_close(soft_threshold(z, threshold), np.array(expected))

    @pytest.mark.parametrize("threshold", [0.3, 1.2])
    def test_is_the_best_trade_of_a_square_and_an_absolute_value(self, rng, threshold):
        z = rng.normal(0, 2, 9)
        grid = np.linspace(-8, 8, 160_001)
        best = [grid[np.argmin((grid - v) ** 2 / 2 + threshold * np.abs(grid))] for v in z]
        assert_close(soft_threshold(z, threshold), np.array(best), rtol=0, atol=1e-4)  # the grid's step

    def test_of_a_number_and_of_nothing(self):
        assert_close(soft_threshold(np.float64(-3.0), 1.0), np.float64(-2.0))
        assert_close(soft_threshold(np.zeros((0, 3)), 1.0), np.zeros((0, 3)))

    def test_of_small_integers(self):
        assert_close(soft_threshold(np.array([-128, 100, 3], np.int8), 100), np.array([-28.0, 0.0, 0.0]))
        assert_close(soft_threshold(np.array([3, 200], np.uint8), 5), np.array([0.0, 195.0]))

    @pytest.mark.parametrize("threshold", [-0.5, -2])
    def test_rejects_a_negative_threshold(self, threshold):
        with raises(ValueError, threshold):
            soft_threshold(np.ones(3), threshold)


class TestObjective:
    def test_the_examples_worked_by_hand(self):
        assert_close(objective(CENTRED, TARGET, np.zeros(1), 0.0, 1 / 3), 4 / 3)
        assert_close(objective(CENTRED, TARGET, np.array([1.5]), 0.0, 1 / 3), 7 / 12)
        assert_close(objective(X, Y, np.array([1.5]), 2.0, 1 / 3), 7 / 12)

    @pytest.mark.parametrize(("penalty", "l1_ratio"), [*PENALTIES, (0.3, 0.0)])
    @pytest.mark.parametrize(("n", "d"), [(12, 4), (5, 7)])
    def test_adds_up_number_by_number(self, rng, n, d, penalty, l1_ratio):
        (x, y), w, b = correlated(rng, n, d), rng.normal(size=d), 2.5
        total = 0.0
        for i in range(n):
            total += float(y[i] - sum(x[i, j] * w[j] for j in range(d)) - b) ** 2 / (2 * n)
        for j in range(d):
            total += penalty * (l1_ratio * abs(float(w[j])) + (1 - l1_ratio) / 2 * float(w[j]) ** 2)
        assert_close(objective(x, y, w, b, penalty, l1_ratio), total)

    def test_is_the_lasso_unless_told_otherwise(self, rng):
        (x, y), w = correlated(rng), rng.normal(size=4)
        assert_close(objective(x, y, w, 1.0, 0.7), float(((y - x @ w - 1) ** 2).mean() / 2 + 0.7 * np.abs(w).sum()))

    def test_of_bytes(self):
        got = objective(np.array([[200], [100]], np.uint8), np.array([1, 250], np.uint8), np.array([2]), 3, 0.5)
        assert_close(got, (402.0**2 + 47.0**2) / 4 + 1)
        x, weights = np.array([[200], [100]], np.uint8), np.array([20], np.uint8)
        got = objective(x, np.array([1, 250], np.uint8), weights, 3, 0.5, 0.5)
        assert_close(got, (4002.0**2 + 1753.0**2) / 4 + 5 + 50)


def one_by_one(x, y, weights, penalty, l1_ratio):
    """The same round by trying, for each weight, the three points where its parabola with a kink can be lowest."""
    n, w = len(y), np.array(weights, dtype=float)
    for j in range(len(w)):
        rest = [float(y[i]) - sum(float(x[i, k]) * w[k] for k in range(len(w)) if k != j) for i in range(n)]

        def cost(v, rest=rest, j=j):
            square = sum((rest[i] - float(x[i, j]) * v) ** 2 for i in range(n)) / (2 * n)
            return square + penalty * l1_ratio * abs(v) + penalty * (1 - l1_ratio) / 2 * v * v

        slope = sum(float(x[i, j]) * rest[i] for i in range(n)) / n
        bend = sum(float(x[i, j]) ** 2 for i in range(n)) / n + penalty * (1 - l1_ratio)
        w[j] = min([0.0, (slope - penalty * l1_ratio) / bend, (slope + penalty * l1_ratio) / bend], key=cost)
    return w


class TestSweep:
    @pytest.mark.parametrize(("penalty", "l1_ratio", "weight"), [(1 / 3, 1.0, 1.5), (2 / 3, 0.5, 1.0), (1.5, 1.0, 0.0)])
    def test_the_examples_worked_by_hand(self, penalty, l1_ratio, weight):
        assert_close(sweep(CENTRED, TARGET, np.array([5.0]), penalty, l1_ratio), np.array([weight]))

    @pytest.mark.parametrize(("penalty", "l1_ratio"), [*PENALTIES, (3.0, 1.0), (0.5, 0.0)])
    @pytest.mark.parametrize(("n", "d"), [(12, 4), (5, 7)])
    def test_sets_each_weight_to_its_best(self, rng, n, d, penalty, l1_ratio):
        (x, y), start = centred(*correlated(rng, n, d)), rng.normal(size=d)
        assert_close(sweep(x, y, start, penalty, l1_ratio), one_by_one(x, y, start, penalty, l1_ratio))

    def test_takes_x_and_y_as_they_are(self, rng):
        (x, y), start = correlated(rng), rng.normal(size=4)
        assert_close(sweep(x, y, start, 0.4), one_by_one(x, y, start, 0.4, 1.0))

    @pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
    def test_a_column_of_zeros_gets_no_weight(self, rng, l1_ratio):
        x, y = centred(*correlated(rng))
        x[:, 1] = 0.0
        got = sweep(x, y, np.array([1.0, 2.0, 3.0, 4.0]), 0.2, l1_ratio)
        others = sweep(x[:, [0, 2, 3]], y, np.array([1.0, 3.0, 4.0]), 0.2, l1_ratio)
        assert_close(got, np.array([others[0], 0.0, *others[1:]]))

    @pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
    def test_a_tiny_column_counts(self, rng, l1_ratio):
        (x, y), start = centred(*correlated(rng)), rng.normal(size=4)
        x[:, 1] *= 1e-9
        assert_close(sweep(x, y, start, 1e-14, l1_ratio), one_by_one(x, y, start, 1e-14, l1_ratio))

    def test_several_rounds_from_integers(self, rng):
        x, y = np.array([[200, 3], [100, 250], [7, 90]], np.uint8), np.array([250, 3, 200], np.uint8)
        w, expected = np.array([1, 0]), np.array([1.0, 0.0])
        for _ in range(3):
            w, expected = sweep(x, y, w, 2, 0.5), one_by_one(x, y, expected, 2, 0.5)
        assert_close(w, expected)


def gap_by_the_dual(x, y, w, penalty, l1_ratio):
    """P(w) less the dual's value: the squared weights are written as d more rows of a plain lasso."""
    n, d = x.shape
    rows = np.vstack([x, np.sqrt(n * penalty * (1 - l1_ratio)) * np.eye(d)])
    targets = np.concatenate([y, np.zeros(d)])
    theta = targets - rows @ w
    correlation = np.abs(rows.T @ theta).max()
    theta = theta * min(1.0, n * penalty * l1_ratio / correlation)
    primal = ((targets - rows @ w) ** 2).sum() / 2 + n * penalty * l1_ratio * np.abs(w).sum()
    dual = (targets**2).sum() / 2 - ((targets - theta) ** 2).sum() / 2
    return float(primal - dual) / n


class TestDualityGap:
    def test_the_examples_worked_by_hand(self):
        assert_close(duality_gap(CENTRED, TARGET, np.zeros(1), 1 / 3), 0.75)
        assert_close(duality_gap(CENTRED, TARGET, np.array([1.5]), 1 / 3), 0.0)

    @pytest.mark.parametrize(("penalty", "l1_ratio"), [*PENALTIES, (20.0, 1.0), (60.0, 0.5)])
    @pytest.mark.parametrize(("n", "d"), [(12, 4), (5, 7)])
    def test_is_the_primal_less_the_dual(self, rng, n, d, penalty, l1_ratio):
        (x, y), w = centred(*correlated(rng, n, d)), rng.normal(size=d)
        assert_close(duality_gap(x, y, w, penalty, l1_ratio), gap_by_the_dual(x, y, w, penalty, l1_ratio))

    @pytest.mark.parametrize(("penalty", "l1_ratio"), [(0.3, 1.0), (0.3, 0.4)])
    def test_matches_scikit_learn_on_the_diabetes_patients(self, diabetes, penalty, l1_ratio):
        from sklearn.linear_model import ElasticNet

        x, y = centred(*standardised(diabetes))
        model = ElasticNet(alpha=penalty, l1_ratio=l1_ratio, tol=1e-14, max_iter=1, fit_intercept=False)
        with warnings.catch_warnings(action="ignore"):  # one sweep isn't enough, as it says
            model.fit(x, y)
        assert_close(duality_gap(x, y, model.coef_, penalty, l1_ratio), float(model.dual_gap_))

    @pytest.mark.parametrize(("penalty", "l1_ratio"), PENALTIES)
    def test_bounds_the_distance_from_the_best(self, rng, penalty, l1_ratio):
        x, y = centred(*correlated(rng))
        best, _ = oracle(x, y, penalty, l1_ratio)

        def value(w):
            r = y - x @ w
            return r @ r / 24 + penalty * (l1_ratio * np.abs(w).sum() + (1 - l1_ratio) / 2 * (w @ w))

        for scale in (0.0, 0.01, 1.0):
            w = best + scale * rng.normal(size=4)
            assert duality_gap(x, y, w, penalty, l1_ratio) >= value(w) - value(best) - 1e-9
        assert_close(duality_gap(x, y, best, penalty, l1_ratio), 0.0)

    def test_of_residuals_that_no_column_sees(self):
        x, y = np.array([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]]), np.array([1.0, 1.0, -2.0])
        assert_close(duality_gap(x, y, np.zeros(2), 0.5), 0.0)
        assert_close(duality_gap(x, np.zeros(3), np.zeros(2), 0.5), 0.0)

    def test_of_bytes(self):
        x, y = np.array([[200, 3], [100, 250], [7, 90]], np.uint8), np.array([250, 3, 200], np.uint8)
        w = np.array([1, 2])
        assert_close(duality_gap(x, y, w, 3), gap_by_the_dual(x.astype(float), y.astype(float), w, 3, 1.0))
        w = np.array([10, 20], np.uint8)
        floats = [a.astype(float) for a in (x, y, w)]
        assert_close(duality_gap(x, y, w, 3, 0.5), gap_by_the_dual(*floats, 3, 0.5))

    @pytest.mark.parametrize("penalty", [0.25, 1.0, 2.0])
    def test_where_the_maximum_is_one(self, penalty):
        x, y = np.array([[1.0], [-1.0]]), np.array([1.0, -1.0])
        assert_close(duality_gap(x, y, np.zeros(1), penalty), gap_by_the_dual(x, y, np.zeros(1), penalty, 1.0))


class TestElasticNet:
    @pytest.mark.parametrize(("penalty", "l1_ratio", "weight"), [(1 / 3, 1.0, 1.5), (2 / 3, 0.5, 1.0)])
    def test_the_examples_worked_by_hand(self, penalty, l1_ratio, weight):
        weights, intercept, sweeps = elastic_net(X, Y, penalty, l1_ratio)
        assert_close((weights, intercept), (np.array([weight]), 5 - 2 * weight))
        assert_equal(sweeps, 1)

    @pytest.mark.parametrize(("penalty", "l1_ratio"), PENALTIES)
    @pytest.mark.parametrize(("n", "d"), [(20, 4), (12, 5)])
    def test_matches_scikit_learn(self, rng, n, d, penalty, l1_ratio):
        x, y = correlated(rng, n, d)
        weights, intercept, _ = elastic_net(x, y, penalty, l1_ratio, tol=1e-13)
        # The gap bounds the objective; near its lowest point the weights may still be off by the root of that.
        assert_close((weights, intercept), oracle(x, y, penalty, l1_ratio), rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize(("penalty", "l1_ratio", "tol"), [(2.0, 1.0, 1e-3), (2.0, 0.5, 1e-4)])
    def test_of_more_columns_than_rows(self, rng, penalty, l1_ratio, tol):
        x, y = correlated(rng, 8, 12)
        weights, intercept, _ = elastic_net(x, y, penalty, l1_ratio, tol=tol, max_sweeps=5000)

        def value(w, b):
            return ((y - x @ w - b) ** 2).mean() / 2 + penalty * (
                l1_ratio * np.abs(w) + (1 - l1_ratio) / 2 * w**2
            ).sum()

        best = value(*oracle(x, y, penalty, l1_ratio))
        assert_close(value(weights, intercept), best, rtol=0, atol=1.01 * tol * y.var() / 2)  # what tol promises

    @pytest.mark.parametrize(("penalty", "l1_ratio"), [(1.0, 1.0), (10.0, 1.0), (3.0, 0.3)])
    def test_on_the_diabetes_patients(self, diabetes, penalty, l1_ratio):
        x, y = standardised(diabetes)
        weights, intercept, _ = elastic_net(x, y, penalty, l1_ratio, tol=1e-13)
        expected = oracle(x, y, penalty, l1_ratio)
        assert_close((weights, intercept), expected, rtol=1e-4, atol=1e-4)  # as above
        assert_equal((weights == 0).tolist(), (expected[0] == 0).tolist())

    @pytest.mark.parametrize(("penalty", "l1_ratio"), PENALTIES)
    def test_fulfils_the_conditions_of_the_optimum(self, rng, penalty, l1_ratio):
        x, y = correlated(rng, 30, 6)
        weights, intercept, _ = elastic_net(x, y, penalty, l1_ratio, tol=1e-13)
        residuals = y - x @ weights - intercept
        slopes = (x - x.mean(axis=0)).T @ residuals / 30 - penalty * (1 - l1_ratio) * weights
        assert_close(residuals.mean(), 0.0)
        used = weights != 0
        assert_close(slopes[used], penalty * l1_ratio * np.sign(weights[used]), rtol=0, atol=1e-4)  # as above
        assert (np.abs(slopes) <= penalty * l1_ratio + 1e-4).all()

    @pytest.mark.parametrize("tol", [1e-2, 1e-5])
    def test_ends_at_the_first_small_gap(self, rng, tol):
        x, y = correlated(rng, 20, 5)
        c, t = centred(x, y)
        weights, sweeps, w, expected = *elastic_net(x, y, 0.05, 1.0, None, tol)[::2], np.zeros(5), 0
        while gap_by_the_dual(c, t, w, 0.05, 1.0) > tol * (t @ t) / 40:
            w, expected = one_by_one(c, t, w, 0.05, 1.0), expected + 1
        assert_equal(sweeps, expected)
        assert_close(weights, w)

    def test_the_default_tol(self, rng):
        x, y = correlated(rng, 20, 5)
        assert_equal(elastic_net(x, y, 0.05)[2], elastic_net(x, y, 0.05, tol=1e-8)[2])
        assert (
            elastic_net(x, y, 0.05, tol=1e-9)[2] >= elastic_net(x, y, 0.05)[2] >= elastic_net(x, y, 0.05, tol=1e-7)[2]
        )
        weights = elastic_net(x, y, 0.05)[0]
        c, t = centred(x, y)
        assert gap_by_the_dual(c, t, weights, 0.05, 1.0) <= 1e-8 * (t @ t) / 40

    @pytest.mark.parametrize("most", [0, 1, 3])
    def test_ends_after_max_sweeps(self, rng, most):
        x, y = correlated(rng, 20, 5)
        weights, _, sweeps = elastic_net(x, y, 0.01, tol=1e-15, max_sweeps=most)
        expected = np.zeros(5)
        for _ in range(most):
            expected = one_by_one(*centred(x, y), expected, 0.01, 1.0)
        assert_equal(sweeps, most)
        assert_close(weights, expected)

    def test_a_good_start_takes_no_sweep(self, rng):
        x, y = correlated(rng, 20, 5)
        weights, intercept, sweeps = elastic_net(x, y, 0.05, 0.7)
        assert sweeps > 3
        assert_close(elastic_net(x, y, 0.05, 0.7, weights), (weights, intercept, 0))

    def test_sweeps_from_the_start_that_is_given(self, rng):
        (x, y), start = correlated(rng, 20, 5), np.array([3, -2, 1, 0, 4])
        expected = one_by_one(*centred(x, y), start, 0.05, 1.0)
        assert_close(elastic_net(x, y, 0.05, start=start, tol=1e-15, max_sweeps=1)[0], expected)

    def test_the_units_of_the_targets_do_not_matter(self, rng):
        x, y = correlated(rng)
        weights, intercept, sweeps = elastic_net(x, y, 0.1)
        small, small_intercept, small_sweeps = elastic_net(x, y / 1024, 0.1 / 1024)
        assert_close((small * 1024, small_intercept * 1024), (weights, intercept))
        assert_equal(small_sweeps, sweeps)

    def test_the_default_max_sweeps(self, rng):
        # Two columns that are almost one: the weights creep along the valley between them.
        x = rng.normal(size=(20, 1)) + np.array([[0.0, 1e-4]]) * rng.normal(size=(20, 1))
        y = x @ np.array([1.0, -1.0]) * 1e4 + rng.normal(size=20)
        assert_equal(elastic_net(x, y, 1e-9, tol=1e-15)[2], 1000)

    @pytest.mark.parametrize("y", [[0, 1, 1, 0, 1], [2.5, 3.0, 2.75, 3.5, 3.25]])
    def test_targets_that_span_one(self, rng, y):
        x = rng.normal(size=(5, 2))
        weights, intercept, _ = elastic_net(x, np.array(y), 0.01, tol=1e-13)
        expected = oracle(x, np.array(y, dtype=float), 0.01, 1.0)
        assert_close((weights, intercept), expected, rtol=1e-3, atol=1e-4)  # as above

    def test_a_start_of_integers_gives_floats(self, rng):
        x, y = correlated(rng, 20, 5)
        assert_close(elastic_net(x, y, 0.05, start=np.array([3, -2, 1, 0, 4]), max_sweeps=0)[0], np.array([3.0, -2, 1, 0, 4]))

    def test_calls_of_different_sizes_in_a_row(self, rng):
        for n in (6, 300):
            x, y = correlated(rng, n, 5)
            weights, _, sweeps = elastic_net(x, y, 0.05)
            c, t = centred(x, y)
            small = 1e-8 * (t @ t) / (2 * n)
            assert gap_by_the_dual(c, t, weights, 0.05, 1.0) <= small
            before = elastic_net(x, y, 0.05, max_sweeps=sweeps - 1)[0]
            assert gap_by_the_dual(c, t, before, 0.05, 1.0) > small

    def test_of_constant_columns_and_targets(self, rng):
        x, y = correlated(rng)
        x[:, 1] = 0.1
        weights, intercept, _ = elastic_net(x, y, 0.1)
        others, same, _ = elastic_net(x[:, [0, 2, 3]], y, 0.1)
        assert_close((weights, intercept), (np.array([others[0], 0.0, *others[1:]]), same))
        assert_close(elastic_net(x, np.full(12, 4.0), 0.1), (np.zeros(4), 4.0, 0))

    def test_of_bytes(self):
        x, y = np.array([[200, 3], [100, 250], [7, 90]], np.uint8), np.array([250, 3, 200], np.uint8)
        assert_close(elastic_net(x, y, 2, 0.5), elastic_net(x.astype(float), y.astype(float), 2.0, 0.5))

    @pytest.mark.parametrize("penalty", [0, -0.25])
    def test_rejects_penalties_that_are_not_above_zero(self, penalty):
        with raises(ValueError, penalty):
            elastic_net(X, Y, penalty)

    @pytest.mark.parametrize("l1_ratio", [0, -0.5, 1.25])
    def test_rejects_ratios_that_are_no_share(self, l1_ratio):
        with raises(ValueError, l1_ratio):
            elastic_net(X, Y, 0.7, l1_ratio)


class TestLargestPenalty:
    def test_the_example_worked_by_hand(self):
        assert_close(largest_penalty(X, Y), 4 / 3)
        assert_close(largest_penalty(X, Y, 0.5), 8 / 3)
        assert_close(largest_penalty(X, -Y), 4 / 3)

    @pytest.mark.parametrize("l1_ratio", [1.0, 0.3])
    @pytest.mark.parametrize(("n", "d"), [(12, 4), (5, 7)])
    def test_just_below_it_a_weight_appears(self, rng, n, d, l1_ratio):
        x, y = correlated(rng, n, d)
        largest = largest_penalty(x, y, l1_ratio)
        assert (oracle(x, y, 1.001 * largest, l1_ratio)[0] == 0).all()
        assert_equal(int((oracle(x, y, 0.999 * largest, l1_ratio)[0] != 0).sum()), 1)

    @pytest.mark.parametrize("value", [4, 0.1, 0.7])
    @pytest.mark.parametrize("n", [3, 7, 13])
    def test_of_constant_targets(self, rng, n, value):
        # Three times 0.1 less their mean isn't 0, but 1e-17.
        assert_equal(float(largest_penalty(rng.normal(size=(n, 4)), np.full(n, value))), 0.0)

    def test_of_bytes(self):
        x, y = np.array([[200, 3], [100, 250], [6, 89]], np.uint8), np.array([250, 2, 201], np.uint8)
        c, t = centred(x.astype(float), y.astype(float))
        assert_close(largest_penalty(x, y), float(np.abs(c.T @ t).max() / 3))


class TestPath:
    @pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
    @pytest.mark.parametrize(("count", "ratio"), [(5, 0.1), (12, 0.01)])
    def test_penalties_fall_by_the_same_factor(self, rng, l1_ratio, count, ratio):
        x, y = correlated(rng)
        c, t = centred(x, y)
        largest = np.abs(c.T @ t).max() / (12 * l1_ratio)
        assert_close(path(x, y, l1_ratio, count, ratio)[0], largest * ratio ** (np.arange(count) / (count - 1)))

    def test_the_defaults(self, rng):
        x, y = correlated(rng)
        penalties, weights, intercepts, sweeps = path(x, y)
        assert_equal([penalties.shape, weights.shape, intercepts.shape, sweeps.shape], [(20,), (20, 4), (20,), (20,)])
        assert_close(penalties[[0, -1]], largest_penalty(x, y) * np.array([1.0, 1e-3]))

    def test_the_default_tol(self, rng):
        for _ in range(3):
            x, y = correlated(rng, 20, 5)
            assert_equal(path(x, y)[3].tolist(), path(x, y, tol=1e-8)[3].tolist())

    @pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
    def test_each_row_is_scikit_learns_fit(self, rng, l1_ratio):
        x, y = correlated(rng, 20, 5)
        penalties, weights, intercepts, _ = path(x, y, l1_ratio, 6, 0.01, tol=1e-13)
        fits = [oracle(x, y, float(penalty), l1_ratio) for penalty in penalties]
        # The gap bounds the objective; near its lowest point the weights may still be off by the root of that.
        assert_close(weights, np.stack([w for w, _ in fits]), rtol=1e-3, atol=1e-4)
        assert_close(intercepts, np.array([b for _, b in fits]), rtol=1e-3, atol=1e-4)

    def test_begins_with_no_weight_at_all(self, diabetes):
        x, y = standardised(diabetes)
        _, weights, intercepts, _ = path(x, y, count=8, ratio=0.05)
        assert_close((weights[0], intercepts[0]), (np.zeros(10), float(y.mean())))
        used = (weights != 0).sum(axis=1)
        assert used[1] > 0 and used[1] < used[-1]
        # What the lasso is known for: of ten measurements, bmi (2) and ltg (8) come in first.
        assert_equal(np.flatnonzero(weights[1]).tolist(), [2, 8])

    @pytest.mark.parametrize("tol", [1e-3, 1e-8])
    def test_hands_the_weights_on(self, rng, tol):
        x, y = correlated(rng, 30, 6)
        penalties, weights, _, sweeps = path(x, y, 0.9, 8, 0.02, tol)
        for i in range(1, 8):
            again, _, count = elastic_net(x, y, float(penalties[i]), 0.9, weights[i - 1], tol)
            assert abs(count - sweeps[i]) <= 1
            if count == sweeps[i]:
                assert_close(weights[i], again)

    def test_warm_starts_take_fewer_sweeps(self, diabetes):
        x, y = standardised(diabetes)
        penalties, _, _, sweeps = path(x, y, count=20, ratio=0.02, tol=1e-4)
        cold = [elastic_net(x, y, float(penalty), tol=1e-4)[2] for penalty in penalties]
        if sweeps.sum() > 0.75 * sum(cold):
            fail(f"the path took {sweeps.sum()} sweeps, and fits from zeros {sum(cold)}", evidence=sweeps.tolist())

    @pytest.mark.parametrize("value", [4.0, 0.0, 0.1])
    def test_rejects_targets_that_are_constant(self, value):
        with raises(ValueError, "constant"):
            path(X, np.full(3, value))
