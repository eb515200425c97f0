"""Judges k05_logistic_regression against scipy's functions, finite differences and scikit-learn's fits."""

import warnings

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_02_machine_learning.k05_logistic_regression import (
    LogisticRegression,
    OneVsRest,
    SoftmaxRegression,
    balanced_weights,
    binary_cross_entropy,
    gradient,
    log_softmax,
    newton_step,
    sigmoid,
)

pytestmark = [from_scratch("scipy", "sklearn"), pure()]


def two_classes(rng, n=14, d=3):
    """Features with scales of their own, labels that overlap, and a weight for each row."""
    x = rng.normal(size=(n, d)) * (1 + np.arange(d)) + 1
    y = (x[:, 0] + rng.normal(0, 2, n) > 1).astype(int)
    y[:2] = [0, 1]
    return x, y, rng.uniform(0.5, 3, n)


def several_classes(rng, k=3, n=30, d=2):
    y = rng.permutation(np.arange(n) % k)
    return rng.normal(size=(n, d)) * (1 + np.arange(d)) + y[:, None] * np.linspace(1, -0.5, d), y


def objective(x, y, w, b, penalty, s=1.0):
    """F for labels 0 and 1, from numpy's own log(e⁰ + eᶻ)."""
    z = x @ w + b
    return float((s * (np.logaddexp(0, z) - y * z)).sum() + penalty / 2 * (w @ w))


def softmax_objective(x, codes, w, b, penalty):
    z = x @ w.T + b
    return float((np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), codes]).sum() + penalty / 2 * (w**2).sum())


def oracle(x, y, penalty, **options):
    """scikit-learn's fit, driven to its end."""
    from sklearn.linear_model import LogisticRegression as Oracle

    model = Oracle(C=1 / penalty, solver="newton-cg", tol=1e-10, max_iter=5000, **options)
    with warnings.catch_warnings(action="ignore"):  # it may stop at the limit of float64, and says so
        return model.fit(x, y)


class TestSigmoid:
    def test_the_example_worked_by_hand(self):
        assert_close(sigmoid(np.array([2.0, 0.0])), np.array([0.8807970779778823, 0.5]))

    @pytest.mark.parametrize("shape", [(5,), (2, 3), ()])
    def test_matches_scipy(self, rng, shape):
        from scipy.special import expit

        z = np.asarray(rng.normal(0, 5, shape))
        assert_close(sigmoid(z), expit(z))

    @pytest.mark.parametrize("z", [-700.0, -50.0, -3.0, 3.0, 30.0])
    def test_keeps_the_digits_of_small_probabilities(self, z):
        from scipy.special import expit

        assert_close(sigmoid(np.array([z])), expit(np.array([z])), rtol=1e-12, atol=0)

    def test_nothing_overflows(self):
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            assert_close(sigmoid(np.array([-1e308, -1000.0, 1000.0, 1e308])), np.array([0.0, 0.0, 1.0, 1.0]))

    def test_of_integers(self):
        assert_close(sigmoid(np.array([0, -100, 100], np.int8)), np.array([0.5, 0.0, 1.0]))
        assert_close(sigmoid(np.array([0, 1], np.uint8)), np.array([0.5, 0.7310585786300049]))


class TestBinaryCrossEntropy:
    def test_the_example_worked_by_hand(self):
        small = np.log1p(np.exp(-2.0))
        assert_close(binary_cross_entropy(np.array([2.0]), np.array([1])), small)
        assert_close(binary_cross_entropy(np.array([2.0]), np.array([0])), 2 + small)
        assert_close(binary_cross_entropy(np.array([2.0, 2.0]), np.array([1, 0])), 1 + small)

    @pytest.mark.parametrize("n", [1, 7, 20])
    def test_matches_scikit_learn(self, rng, n):
        from scipy.special import expit
        from sklearn.metrics import log_loss

        z, y, s = rng.normal(0, 2, n), rng.integers(0, 2, n), rng.uniform(0.5, 3, n)
        assert_close(binary_cross_entropy(z, y), float(log_loss(y, expit(z), labels=[0, 1])))
        assert_close(binary_cross_entropy(z, y, s), float(log_loss(y, expit(z), labels=[0, 1], sample_weight=s)))

    @pytest.mark.parametrize(("z", "y"), [(50.0, 1), (-50.0, 0), (700.0, 1), (20.0, 1)])
    def test_keeps_the_digits_of_small_losses(self, z, y):
        assert_close(binary_cross_entropy(np.array([z]), np.array([y])), np.exp(-abs(z)), rtol=1e-7, atol=0)

    def test_nothing_overflows(self):
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            z = np.array([1e300, -1e300, 1000.0, -1000.0])
            assert_close(binary_cross_entropy(z, np.array([1, 0, 1, 0])), 0.0)
            assert_close(binary_cross_entropy(np.array([1000.0, -500.0]), np.array([0, 1])), 750.0)

    def test_of_bytes_and_truth_values(self):
        small = np.log1p(np.exp(-2.0))
        assert_close(binary_cross_entropy(np.array([2, 2], np.uint8), np.array([1, 0], np.uint8)), 1 + small)
        assert_close(binary_cross_entropy(np.array([-2.0, 2.0]), np.array([True, True])), 1 + small)

    @pytest.mark.parametrize(("z", "y"), [((4,), (4, 1)), ((4, 1), (4,)), ((3,), (5,))])
    def test_rejects_other_shapes(self, z, y):
        with raises(ValueError, *z, *y):
            binary_cross_entropy(np.ones(z), np.zeros(y))


class TestGradient:
    def test_the_example_worked_by_hand(self):
        assert_close(gradient(np.array([[-1], [1]]), np.array([0, 1]), np.zeros(1), 0.0), (np.array([-1.0]), 0.0))

    @pytest.mark.parametrize(("n", "d"), [(14, 3), (5, 6)])
    @pytest.mark.parametrize("penalty", [0.0, 0.7, 4.0])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_matches_finite_differences(self, rng, n, d, penalty, weighted):
        (x, y, s), w, b = two_classes(rng, n, d), rng.normal(size=d), 0.8
        weights = s if weighted else None

        def f(theta):
            return objective(x, y, theta[:-1], theta[-1], penalty, s if weighted else 1.0)

        theta, h = np.append(w, b), 1e-5
        slopes = np.array([(f(theta + h * e) - f(theta - h * e)) / (2 * h) for e in np.eye(d + 1)])
        got = gradient(x, y, w, b, penalty, weights)
        assert_close(got, (slopes[:-1], float(slopes[-1])), rtol=1e-6, atol=1e-6)  # the differences' own error

    def test_the_defaults(self, rng):
        (x, y, _), w = two_classes(rng), rng.normal(size=3)
        assert_close(gradient(x, y, w, 0.3), gradient(x, y, w, 0.3, 0.0, np.ones(14)))

    def test_of_bytes_and_large_logits(self):
        x, y = np.array([[200], [100]], np.uint8), np.array([0, 1], np.uint8)
        with np.errstate(over="raise", invalid="raise"):
            assert_close(gradient(x, y, np.array([20]), 0, 1), (np.array([220.0]), 1.0))
            assert_close(gradient(x, y, np.array([-20]), 0, 1), (np.array([-120.0]), -1.0))
            assert_close(gradient(x, y, np.array([20], np.uint8), 0, 1), (np.array([220.0]), 1.0))


class TestNewtonStep:
    def test_the_example_worked_by_hand(self):
        got = newton_step(np.array([[-1], [1]]), np.array([0, 1]), np.zeros(1), 0.0, 1.0)
        assert_close(got, (np.array([-2 / 3]), 0.0))

    @pytest.mark.parametrize(("n", "d"), [(14, 3), (5, 6)])
    @pytest.mark.parametrize("penalty", [0.7, 4.0])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_the_hessian_times_the_step_is_the_gradient(self, rng, n, d, penalty, weighted):
        from scipy.special import expit

        (x, y, s), w, b = two_classes(rng, n, d), rng.normal(size=d), 0.8
        s = s if weighted else np.ones(n)
        step, step_b = newton_step(x, y, w, b, penalty, s if weighted else None)
        hessian, p = np.diag([penalty] * d + [0.0]), expit(x @ w + b)
        slope = np.append(penalty * w, 0.0)
        for i in range(n):
            row = np.append(x[i], 1.0)
            hessian = hessian + s[i] * p[i] * (1 - p[i]) * np.outer(row, row)
            slope = slope + s[i] * (p[i] - y[i]) * row
        assert_close(hessian @ np.append(step, step_b), slope, rtol=1e-6, atol=1e-6)  # a solve, and its inverse

    def test_a_row_counts_where_its_probability_rounds_to_1(self):
        # Symmetric rows: the step of b is the sum of the p - y over that of the σ(z) σ(-z).
        # With both labels wrong that is 1/e⁻⁴⁰, though 1 - p would be 0.
        step, step_b = newton_step(np.array([[-1.0], [1.0]]), np.array([0, 0]), np.zeros(1), 40.0, 1.0)
        assert_close((step, step_b), (np.zeros(1), np.exp(40.0)), rtol=1e-6, atol=1e-6)

    def test_of_bytes(self):
        x, y = np.array([[200, 3], [100, 250], [7, 9]], np.uint8), np.array([0, 1, 1], np.uint8)
        w = np.array([0, 0])
        assert_close(newton_step(x, y, w, 0, 1), newton_step(x.astype(float), y.astype(float), w * 1.0, 0.0, 1.0))
        x, w = np.array([[3], [2], [1]], np.uint8), np.array([100], np.uint8)
        assert_close(newton_step(x, y, w, -250, 1), newton_step(x * 1.0, y * 1.0, w * 1.0, -250.0, 1.0))


class TestBalancedWeights:
    def test_the_example_worked_by_hand(self):
        assert_close(balanced_weights(np.array(["a", "a", "a", "b"])), np.array([2 / 3, 2 / 3, 2 / 3, 2.0]))

    @pytest.mark.parametrize(("labels", "n"), [([3, 8], 9), (["x", "y", "zz"], 20), ([0.5, -1.0, 7.0, 9.0], 31)])
    def test_matches_scikit_learn(self, rng, labels, n):
        from sklearn.utils.class_weight import compute_sample_weight

        y = np.array([*labels, *rng.choice(labels, n)])
        assert_close(balanced_weights(y), compute_sample_weight("balanced", y))

    def test_every_class_weighs_the_same(self):
        s = balanced_weights(np.array([4, 1, 1, 1, 9, 9]))
        assert_close(s, np.array([2.0, 2 / 3, 2 / 3, 2 / 3, 1.0, 1.0]))
        assert_close(balanced_weights(np.array([5, 5])), np.ones(2))


# Found by search: from zeros, whole steps of Newton's method run away on these.
HARD = [
    ([[5, 20], [20, 20], [1, 5], [1, 0], [2, 0], [0, 5], [2, 1]], [0, 1, 1, 1, 1, 0, 1], 1e-2),
    (
        [[5, 5, 2], [1, 5, 2], [0, 5, 5], [20, 0, 2], [20, 5, 5], [20, 1, 20], [20, 1, 0], [1, 20, 2]],
        [0, 1, 0, 0, 0, 0, 0, 0],
        1e-3,
    ),
]


class TestLogisticRegression:
    @pytest.mark.parametrize("penalty", [1.0, 0.3, 20.0])
    @pytest.mark.parametrize(("n", "d"), [(40, 3), (8, 12)])
    def test_matches_scikit_learn(self, rng, n, d, penalty):
        x, y, _ = two_classes(rng, n, d)
        model, expected = LogisticRegression(penalty).fit(x, y), oracle(x, y, penalty)
        # An objective within 1e-7 leaves the weights free by √(2e-7/λ), below 1e-3.
        assert_close(model.weights, expected.coef_[0], rtol=0, atol=1e-3)
        lowest = objective(x, y, expected.coef_[0], expected.intercept_[0], penalty)
        got = objective(x, y, model.weights, model.intercept, penalty)
        if not got <= lowest + 1.1e-7:
            fail(f"F is {got:.9g} after fit, but {lowest:.9g} is possible", evidence=got)

    @pytest.mark.parametrize("penalty", [1.0, 1e-2, 1e-6])
    @pytest.mark.parametrize("scaled", [False, True])
    def test_on_the_tumours(self, cancer, penalty, scaled):
        x, y = cancer
        x = (x - x.mean(axis=0)) / x.std(axis=0) if scaled else x
        model, expected = LogisticRegression(penalty).fit(x, y), oracle(x, y, penalty)
        lowest = objective(x, y, expected.coef_[0], expected.intercept_[0], penalty)
        got = objective(x, y, model.weights, model.intercept, penalty)
        if not got <= lowest + 1.1e-7:
            fail(f"F is {got:.9g} after fit, but {lowest:.9g} is possible", evidence=got)

    @pytest.mark.parametrize(("x", "y", "penalty"), HARD)
    def test_where_whole_steps_run_away(self, x, y, penalty):
        x, y = np.array(x), np.array(y)
        model, expected = LogisticRegression(penalty).fit(x, y), oracle(x, y, penalty)
        lowest = objective(x, y, expected.coef_[0], expected.intercept_[0], penalty)
        got = objective(x, y, model.weights, model.intercept, penalty)
        if not got <= lowest + 1.1e-7:
            fail(f"F is {got:.9g} after fit, but {lowest:.9g} is possible", evidence=got)

    @pytest.mark.parametrize("penalty", [1.0, 1e-3, 1e-6])
    def test_separable_classes_have_finite_weights(self, penalty):
        x, y = np.array([[-2], [-1], [3], [4]]), np.array([0, 0, 1, 1])
        model = LogisticRegression(penalty).fit(x, y)
        slope, slope_b = gradient(x, y, model.weights, model.intercept, penalty)
        # At the optimum both are 0; F within 1e-7 leaves them below √(2e-7 L), with L the largest curvature.
        assert_close((slope, slope_b), (np.zeros(1), 0.0), rtol=0, atol=2e-3)
        assert 0.2 < float(model.weights[0]) < 30

    def test_balanced_classes_weigh_the_same(self, rng):
        x, y, _ = two_classes(rng, 60)
        y[2:40] = 1
        model, expected = LogisticRegression(0.5, balanced=True).fit(x, y), oracle(x, y, 0.5, class_weight="balanced")
        assert_close(model.weights, expected.coef_[0], rtol=0, atol=1e-3)  # as above
        assert_close(model.intercept, float(expected.intercept_[0]), rtol=0, atol=2e-3)
        plain = LogisticRegression(0.5).fit(x, y)
        assert abs(plain.intercept - model.intercept) > 0.1

    def test_the_defaults(self, rng):
        x, y, _ = two_classes(rng)
        assert_close(LogisticRegression().fit(x, y).weights, LogisticRegression(1.0, False).fit(x, y).weights)

    @pytest.mark.parametrize("labels", [(3, 8), ("no", "yes"), (-1, 0)])
    def test_labels_are_any_two_values(self, rng, labels):
        x, y, _ = two_classes(rng, 40)
        named = np.array(labels)[y]
        model, expected = LogisticRegression().fit(x, named), oracle(x, named, 1.0)
        assert_equal(model.classes.tolist(), list(labels))
        new = rng.normal(size=(9, 3)) * 2
        assert_close(model.predict_proba(new), expected.predict_proba(new), rtol=0, atol=1e-3)  # as above
        clear = np.abs(expected.decision_function(new)) > 0.05
        assert_equal(model.predict(new)[clear].tolist(), expected.predict(new)[clear].tolist())

    def test_far_out_rows_have_probabilities(self, rng):
        x, y, _ = two_classes(rng)
        model = LogisticRegression().fit(x, y)
        with np.errstate(over="raise", invalid="raise"):
            got = model.predict_proba(1e6 * x)
        assert_close(got.sum(axis=1), np.ones(14))

    def test_keeps_the_digits_of_both_probabilities(self):
        from scipy.special import expit

        model = LogisticRegression().fit(np.array([[-1.0], [1.0]]), np.array([0, 1]))
        new = np.array([[-80.0], [80.0]])
        z = new @ model.weights + model.intercept
        assert_close(model.predict_proba(new), np.column_stack([expit(-z), expit(z)]), rtol=1e-9, atol=0)

    def test_fit_returns_the_model_and_forgets(self, rng):
        x, y, _ = two_classes(rng)
        model = LogisticRegression()
        model.fit(5 * x[:, :2], np.array(["a", "b"])[1 - y])
        assert model.fit(x, y) is model
        assert_close(model.weights, LogisticRegression().fit(x, y).weights)
        assert_equal(model.classes.tolist(), [0, 1])
        assert_equal(model.predict(x).tolist(), LogisticRegression().fit(x, y).predict(x).tolist())

    def test_of_bytes(self):
        x, y = np.array([[200], [100], [7], [90]], np.uint8), np.array([1, 0, 0, 1], np.uint8)
        assert_close(LogisticRegression().fit(x, y).weights, LogisticRegression().fit(x.astype(float), y).weights)

    @pytest.mark.parametrize("y", [[1, 1, 1], [0, 1, 2]])
    def test_rejects_other_numbers_of_classes(self, y):
        with raises(ValueError, len(set(y))):
            LogisticRegression().fit(np.array([[1.0], [2.0], [3.0]]), np.array(y))

    @pytest.mark.parametrize("penalty", [0, -0.5])
    def test_rejects_penalties_that_are_not_above_zero(self, penalty):
        with raises(ValueError, penalty):
            LogisticRegression(penalty)


class TestLogSoftmax:
    def test_of_bytes(self):
        assert_close(log_softmax(np.array([[1, 3, 0]], np.uint8)), log_softmax(np.array([[1.0, 3.0, 0.0]])))

    def test_the_example_worked_by_hand(self):
        small = np.log1p(np.exp(-2.0))
        assert_close(log_softmax(np.array([[2, 0], [0, 2]])), np.array([[-small, -2 - small], [-2 - small, -small]]))

    @pytest.mark.parametrize("shape", [(5, 3), (1, 7), (4, 1)])
    def test_matches_scipy(self, rng, shape):
        from scipy.special import log_softmax as oracle

        z = rng.normal(0, 5, shape)
        assert_close(log_softmax(z), oracle(z, axis=1))

    def test_nothing_overflows(self):
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            got = log_softmax(np.array([[1e300, 0.0], [1000.0, -1000.0], [-5000.0, -5001.0]]))
        small = np.log1p(np.exp(-1.0))
        assert_close(got, np.array([[0.0, -1e300], [0.0, -2000.0], [-small, -1 - small]]))


class TestSoftmaxRegression:
    @pytest.mark.parametrize("penalty", [1.0, 0.2, 15.0])
    @pytest.mark.parametrize(("k", "d"), [(3, 2), (4, 5), (2, 3)])
    def test_has_the_lowest_objective(self, rng, k, d, penalty):
        x, y = several_classes(rng, k, 40, d)
        model = SoftmaxRegression(penalty).fit(x, y)
        w, b = lowest_softmax(x, y, penalty, k)
        # An objective within 1e-7 leaves the weights free by √(2e-7/λ), at most 1e-3.
        assert_close(model.weights, w, rtol=0, atol=2e-3)
        assert_close(model.intercepts.sum(), 0.0)
        lowest, got = (
            softmax_objective(x, y, w, b, penalty),
            softmax_objective(x, y, model.weights, model.intercepts, penalty),
        )
        if not got <= lowest + 1.1e-7:
            fail(f"F is {got:.9g} after fit, but {lowest:.9g} is possible", evidence=got)

    @pytest.mark.parametrize(("x", "y", "penalty"), HARD)
    def test_where_whole_steps_run_away(self, x, y, penalty):
        # Two classes with weights -w/2 and w/2 are one logistic regression with half the penalty.
        x, y = np.array(x), np.array(y)
        model, expected = SoftmaxRegression(penalty).fit(x, y), oracle(x, y, penalty / 2)
        lowest = objective(x, y, expected.coef_[0], expected.intercept_[0], penalty / 2)
        got = softmax_objective(x, y, model.weights, model.intercepts, penalty)
        if not got <= lowest + 1.1e-7:
            fail(f"F is {got:.9g} after fit, but {lowest:.9g} is possible", evidence=got)

    @pytest.mark.parametrize("penalty", [1.0, 1e-2])
    @pytest.mark.parametrize("scaled", [False, True])
    def test_on_three_growers_wines(self, wine, penalty, scaled):
        x, y = wine
        x = (x - x.mean(axis=0)) / x.std(axis=0) if scaled else x
        model, expected = SoftmaxRegression(penalty).fit(x, y), oracle(x, y, penalty)
        lowest = softmax_objective(x, y, expected.coef_, expected.intercept_, penalty)
        got = softmax_objective(x, y, model.weights, model.intercepts, penalty)
        if not got <= lowest + 1.1e-7:
            fail(f"F is {got:.9g} after fit, but {lowest:.9g} is possible", evidence=got)

    def test_predicts_held_out_species(self, iris):
        x, y = iris
        train = np.arange(150) % 3 > 0
        names = np.array(["setosa", "versicolor", "virginica"])[y]
        model, expected = SoftmaxRegression().fit(x[train], names[train]), oracle(x[train], names[train], 1.0)
        assert_equal(model.classes.tolist(), ["setosa", "versicolor", "virginica"])
        assert_close(model.predict_proba(x[~train]), expected.predict_proba(x[~train]), rtol=0, atol=1e-3)  # as above
        right = (model.predict(x[~train]) == names[~train]).mean()
        assert right > 0.9

    def test_probabilities_are_those_of_its_weights(self, rng):
        from scipy.special import softmax

        x, y = several_classes(rng)
        model, new = SoftmaxRegression().fit(x, y), rng.normal(size=(7, x.shape[1]))
        rows = new.copy()
        assert_close(model.predict_proba(rows), softmax(new @ model.weights.T + model.intercepts, axis=1))
        assert_equal(rows.tolist(), new.tolist())

    def test_far_out_rows_have_probabilities(self, rng):
        x, y = several_classes(rng)
        model = SoftmaxRegression().fit(x, y)
        with np.errstate(over="raise", invalid="raise"):
            got = model.predict_proba(1e6 * x)
        assert_close(got.sum(axis=1), np.ones(30))

    def test_predicts_the_most_probable_class(self, rng):
        x, y = several_classes(rng, 4)
        labels = np.array([20, 30, 5, 7])[y]
        model = SoftmaxRegression(0.5).fit(x, labels)
        assert_equal(model.classes.tolist(), [5, 7, 20, 30])
        assert_equal(model.predict(x).tolist(), model.classes[model.predict_proba(x).argmax(axis=1)].tolist())

    def test_the_default_penalty(self, rng):
        x, y = several_classes(rng)
        assert_close(SoftmaxRegression().fit(x, y).weights, SoftmaxRegression(1.0).fit(x, y).weights)

    def test_fit_returns_the_model_and_forgets(self, rng):
        x, y = several_classes(rng)
        model = SoftmaxRegression()
        model.fit(5 * x[:, :1], np.array(["a", "b", "c"])[y])
        assert model.fit(x, y) is model
        assert_close(model.weights, SoftmaxRegression().fit(x, y).weights)
        assert_equal(model.classes.tolist(), [0, 1, 2])
        assert_equal(model.predict(x).tolist(), SoftmaxRegression().fit(x, y).predict(x).tolist())

    def test_of_bytes(self):
        x, y = np.array([[200], [100], [7], [90]], np.uint8), np.array([1, 0, 2, 1], np.uint8)
        assert_close(SoftmaxRegression().fit(x, y).weights, SoftmaxRegression().fit(x.astype(float), y).weights)

    def test_rejects_a_single_class(self):
        with raises(ValueError, 1):
            SoftmaxRegression().fit(np.array([[2.0], [3.0]]), np.array([7, 7]))

    @pytest.mark.parametrize("penalty", [0, -0.5])
    def test_rejects_penalties_that_are_not_above_zero(self, penalty):
        with raises(ValueError, penalty):
            SoftmaxRegression(penalty)


def lowest_softmax(x, y, penalty, k):
    """The best weights and intercepts by scipy's general minimiser."""
    from scipy.optimize import minimize

    d = x.shape[1]

    def f(theta):
        table = theta.reshape(k, d + 1)
        z = x @ table[:, :d].T + table[:, d]
        p = np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None]) - np.eye(k)[y]
        slope = np.column_stack([p.T @ x + penalty * table[:, :d], p.sum(axis=0)])
        return softmax_objective(x, y, table[:, :d], table[:, d], penalty), slope.ravel()

    found = minimize(f, np.zeros(k * (d + 1)), jac=True, method="BFGS", options={"gtol": 1e-7, "maxiter": 2000})
    table = found.x.reshape(k, d + 1)
    return table[:, :d], table[:, d]


class TestOneVsRest:
    @pytest.mark.parametrize("penalty", [1.0, 0.2])
    @pytest.mark.parametrize("balanced", [False, True])
    def test_matches_scikit_learn(self, rng, penalty, balanced):
        from sklearn.linear_model import LogisticRegression as Oracle
        from sklearn.multiclass import OneVsRestClassifier

        x, y = several_classes(rng, 4, 50)
        labels = np.array(["d", "b", "a", "c"])[y]
        binary = Oracle(
            C=1 / penalty, solver="newton-cg", tol=1e-10, max_iter=5000, class_weight="balanced" if balanced else None
        )
        expected = OneVsRestClassifier(binary).fit(x, labels)
        model, new = OneVsRest(penalty, balanced).fit(x, labels), rng.normal(size=(9, 2))
        assert_equal(model.classes.tolist(), ["a", "b", "c", "d"])
        # F within 1e-7 leaves each weight free by √(2e-7/λ), at most 1e-3.
        assert_close(model.predict_proba(new), expected.predict_proba(new), rtol=0, atol=3e-3)
        margins = np.sort(expected.decision_function(new), axis=1)
        clear = margins[:, -1] - margins[:, -2] > 0.05
        assert_equal(model.predict(new)[clear].tolist(), expected.predict(new)[clear].tolist())

    def test_two_classes_mirror_each_other(self, rng):
        x, y, _ = two_classes(rng, 40)
        got = OneVsRest().fit(x, y + 5).predict_proba(x)
        assert_close(got, LogisticRegression().fit(x, y).predict_proba(x), rtol=0, atol=3e-3)  # as above

    def test_far_out_rows_have_probabilities(self):
        from scipy.special import log_expit, softmax

        x = np.array([[0, 1, 2], [1, 5, 0], [3, 1, 1], [4, 2, 7], [2, 2, 6], [1, 0, 4], [6, 3, 1], [2, 4, 3.0]])
        y = np.array([0, 1, 0, 1, 2, 2, 1, 0])
        models = [LogisticRegression(0.1).fit(x, y == c) for c in range(3)]
        weights, intercepts = np.stack([m.weights for m in models]), np.array([m.intercept for m in models])
        # Rows of which the three models say no with logits like these: no sigmoid is left of the first two.
        z = np.array([[-900.0, -901.0, -905.0], [-2000.0, -1990.0, -5000.0], [-1.0, -2.0, 700.0], [0.5, 1.0, 2.0]])
        new = np.linalg.solve(weights, (z - intercepts).T).T
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            got = OneVsRest(0.1).fit(x, y).predict_proba(new)
        assert_close(got, softmax(log_expit(z), axis=1), rtol=1e-6, atol=1e-6)  # the rows were solved for
        # Their logits differ where no sigmoid does: of these all are 1, of those above all are 0.
        sure = np.linalg.solve(weights, (np.array([[800.0, 850.0, 900.0], [80.0, 95.0, 60.0]]) - intercepts).T).T
        got = OneVsRest(0.1).fit(x, y).predict(np.vstack([new, sure]))
        assert_equal(got.tolist(), [0, 1, 2, 2, 2, 1])

    def test_tells_species_apart(self, iris):
        x, y = iris
        train = np.arange(150) % 3 > 0
        right = OneVsRest().fit(x[train], y[train]).predict(x[~train]) == y[~train]
        assert right.mean() > 0.85

    def test_the_defaults(self, rng):
        x, y = several_classes(rng)
        assert_close(OneVsRest().fit(x, y).predict_proba(x), OneVsRest(1.0, False).fit(x, y).predict_proba(x))

    def test_fit_returns_the_model_and_forgets(self, rng):
        x, y = several_classes(rng)
        model = OneVsRest()
        model.fit(5 * x[:, :1], np.array(["a", "b", "c"])[y])
        assert model.fit(x, y) is model
        assert_close(model.predict_proba(x), OneVsRest().fit(x, y).predict_proba(x))
        assert_equal(model.classes.tolist(), [0, 1, 2])
        assert_equal(model.predict(x).tolist(), OneVsRest().fit(x, y).predict(x).tolist())

    def test_rejects_a_single_class(self):
        with raises(ValueError, 1):
            OneVsRest().fit(np.array([[2.0], [3.0]]), np.array([7, 7]))
