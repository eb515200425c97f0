"""Judges k01_linear_regression against scikit-learn, closed forms, finite differences, and statsmodels if installed."""

from itertools import product

import numpy as np
import pytest

from dojo.testing import assert_close, from_scratch, pure, raises
from katas.module_02_machine_learning.k01_linear_regression import (
    gradient_descent,
    least_squares,
    mean_absolute_error,
    polynomial_features,
    r_squared,
    ridge,
    root_mean_squared_error,
    standard_errors,
)

pytestmark = [
    from_scratch("numpy.linalg.lstsq", "numpy.linalg.pinv", "numpy.polyfit", "scipy", "sklearn", "statsmodels"),
    pure(),
]

X, Y = np.array([[0], [1], [2]]), np.array([1, 2, 6])


def noisy(rng, n=12, d=3):
    """Features with means and scales of their own, and targets that no line fits."""
    x = rng.normal(size=(n, d)) * (1 + np.arange(d)) + 3 * np.arange(1, d + 1)
    return x, x @ rng.normal(size=d) + 5 + rng.normal(size=n)


SHAPES = [((4, 2), (4, 1)), ((4, 2), (5,)), ((4,), (4,)), ((4, 3), (3,))]


class TestLeastSquares:
    def test_the_example_worked_by_hand(self):
        assert_close(least_squares(X, Y), (np.array([2.5]), 0.5))

    @pytest.mark.parametrize(("n", "d"), [(12, 3), (5, 4), (30, 1)])
    def test_matches_scikit_learn(self, rng, n, d):
        from sklearn.linear_model import LinearRegression

        x, y = noisy(rng, n, d)
        model = LinearRegression().fit(x, y)
        assert_close(
            least_squares(x, y), (model.coef_, float(model.intercept_)), rtol=1e-6, atol=1e-6
        )  # AᵀA squares the condition

    def test_residuals_are_orthogonal_to_every_column_and_sum_to_zero(self, rng):
        x, y = noisy(rng, 20, 4)
        weights, intercept = least_squares(x, y)
        residuals = y - x @ weights - intercept
        assert_close(np.array([*(residuals @ x), residuals.sum()]), np.zeros(5), rtol=0, atol=1e-6)

    def test_on_the_diabetes_patients(self, diabetes):
        from sklearn.linear_model import LinearRegression

        x, y = diabetes
        model = LinearRegression().fit(x, y)
        # The columns differ in scale, and ldl is nearly tc less hdl.
        assert_close(least_squares(x, y), (model.coef_, float(model.intercept_)), rtol=1e-5, atol=1e-5)

    def test_of_bytes_and_of_a_single_row(self):
        x, y = np.array([[200, 3], [100, 250], [7, 90], [0, 201]], np.uint8), np.array([250, 3, 200, 128], np.uint8)
        assert_close(least_squares(x, y), least_squares(x.astype(float), y.astype(float)))
        weights, intercept = least_squares(x, y)
        residuals = y - x @ weights - intercept
        assert_close(np.array([*(residuals @ x), residuals.sum()]), np.zeros(3), rtol=0, atol=1e-6)

    @pytest.mark.parametrize(
        "x",
        [
            [[1.0, 2.0], [2.0, 4.0], [5.0, 10.0], [3.0, 6.0]],
            [[1.0, 7.0], [2.0, 7.0], [5.0, 7.0], [3.0, 7.0]],
            [[1.0, 0.0], [2.0, 0.0], [5.0, 0.0], [3.0, 0.0]],
            [[0.1, 0.9], [0.3, 0.7], [0.6, 0.4], [0.2, 0.8]],
            [[1.0, 2.0], [2.0, 7.0]],
        ],
        ids=["twice", "constant", "zero", "sum-to-one", "too-few-rows"],
    )
    def test_dependent_columns_are_an_error(self, x):
        with raises(ValueError, "rank"):
            least_squares(np.array(x), np.arange(1.0, len(x) + 1))

    @pytest.mark.parametrize("scale", [1e-3, 1e3])
    def test_small_and_large_units_are_not_dependent(self, rng, scale):
        x, y = noisy(rng)
        x = x - x.mean(axis=0)
        theta = np.linalg.lstsq(np.column_stack([np.ones(12), x]), y, rcond=None)[0]
        weights, intercept = least_squares(x * scale, y)
        assert_close((weights * scale, intercept), (theta[1:], float(theta[0])), rtol=1e-6, atol=1e-6)

    def test_as_many_rows_as_parameters_are_enough(self):
        weights, intercept = least_squares(np.array([[1.0], [3.0]]), np.array([2.0, 10.0]))
        assert_close((weights, intercept), (np.array([4.0]), -2.0))

    @pytest.mark.parametrize(("x", "y"), SHAPES)
    def test_rejects_shapes_that_do_not_fit(self, x, y):
        with raises(ValueError, *x, *y):
            least_squares(np.arange(np.prod(x)).reshape(x) ** 2.0, np.ones(y))

    def test_calls_of_different_shapes_in_a_row(self, rng):
        for n, d in [(12, 3), (7, 2)]:
            least_squares(*noisy(rng, n, d))
        # Each argument is looked at anew, also where only one of them has another shape than before.
        for x, y in [*SHAPES, ((12, 3), (12, 1)), ((12,), (12,)), ((9, 3), (12,))]:
            with raises(ValueError, *x, *y):
                least_squares(np.ones(x), np.ones(y))


class TestGradientDescent:
    def test_the_example_worked_by_hand(self):
        weights, intercept, losses = gradient_descent(X, Y, 0.5, 1)
        assert_close((weights, intercept), (np.array([7 / 3]), 1.5))
        assert_close(losses[0], 41 / 6)

    @pytest.mark.parametrize(("n", "d"), [(9, 2), (4, 5)])
    @pytest.mark.parametrize(("rate", "steps"), [(0.02, 0), (0.02, 1), (0.05, 6)])
    def test_follows_the_powers_of_a_matrix(self, rng, n, d, rate, steps):
        x, y = rng.normal(size=(n, d)) + 1, rng.normal(size=n)
        a = np.column_stack([np.ones(n), x])
        step = np.eye(d + 1) - rate * a.T @ a / n
        thetas = [
            sum((np.linalg.matrix_power(step, j) @ (rate * a.T @ y / n) for j in range(k)), np.zeros(d + 1))
            for k in range(steps + 1)
        ]
        weights, intercept, losses = gradient_descent(x, y, rate, steps)
        assert_close((weights, intercept), (thetas[-1][1:], float(thetas[-1][0])))
        assert_close(losses, np.array([((y - a @ theta) ** 2).mean() / 2 for theta in thetas]))

    def test_the_first_step_is_the_gradient_of_the_loss(self, rng):
        x, y = noisy(rng)
        weights, intercept, _ = gradient_descent(x, y, 0.01, 1)

        def loss(theta):
            return float(((y - x @ theta[1:] - theta[0]) ** 2).mean() / 2)

        slopes = np.array([(loss(e) - loss(-e)) / 2e-3 for e in 1e-3 * np.eye(4)])
        assert_close((weights, intercept), (-0.01 * slopes[1:], float(-0.01 * slopes[0])), rtol=1e-6, atol=1e-7)

    def test_reaches_the_least_squares_fit_on_scaled_patients(self, diabetes):
        x, y = diabetes
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        a = np.column_stack([np.ones(len(x)), x])
        best = np.linalg.lstsq(a, y, rcond=None)[0]
        _, intercept, losses = gradient_descent(x, y, 0.2, 400)
        assert (np.diff(losses) <= 1e-9).all()
        # After 400 steps only the direction in which tc, ldl and hdl nearly cancel is still on its way.
        assert_close(losses[-1], ((y - a @ best) ** 2).mean() / 2, rtol=0.02, atol=0)
        assert_close(intercept, float(best[0]), rtol=1e-6, atol=0)

    def test_of_bytes(self):
        x, y = np.array([[200], [100], [7]], np.uint8), np.array([1, 250, 200], np.uint8)
        assert_close(gradient_descent(x, y, 1e-5, 3), gradient_descent(x.astype(float), y.astype(float), 1e-5, 3))
        assert_close(gradient_descent(x, y, 1e-5, 1)[1], 1e-5 * 451 / 3)

    @pytest.mark.parametrize(("x", "y"), SHAPES)
    def test_rejects_shapes_that_do_not_fit(self, x, y):
        with raises(ValueError, *x, *y):
            gradient_descent(np.ones(x), np.ones(y), 0.1, 2)


class TestRidge:
    def test_the_example_worked_by_hand(self):
        assert_close(ridge(X, Y, 3.0), (np.array([1.0]), 2.0))

    @pytest.mark.parametrize(("n", "d"), [(12, 3), (4, 7)])
    @pytest.mark.parametrize("penalty", [0.5, 20.0])
    def test_matches_scikit_learn(self, rng, n, d, penalty):
        from sklearn.linear_model import Ridge

        x, y = noisy(rng, n, d)
        model = Ridge(alpha=penalty, solver="svd").fit(x, y)
        assert_close(ridge(x, y, penalty), (model.coef_, float(model.intercept_)), rtol=1e-6, atol=1e-6)

    def test_on_the_diabetes_patients(self, diabetes):
        from sklearn.linear_model import Ridge

        x, y = diabetes
        model = Ridge(alpha=1000.0, solver="svd").fit(x, y)
        assert_close(ridge(x, y, 1000.0), (model.coef_, float(model.intercept_)), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("scales", [[1.0, 30.0, 1e5], [1e5, 1.0, 30.0]])
    def test_columns_of_different_scales_keep_their_weights(self, rng, scales):
        from sklearn.linear_model import Ridge

        x, y = rng.normal(size=(12, 3)) * scales, rng.normal(size=12)
        model = Ridge(alpha=0.7, solver="svd").fit(x, y)
        # XᵀX holds 1 beside 1e10: who takes its eigenvalues has six digits left of the small one.
        assert_close(ridge(x, y, 0.7), (model.coef_, float(model.intercept_)), rtol=1e-4, atol=1e-4)

    def test_of_float32(self, rng):
        x, y = (1000 + rng.normal(size=(9, 2))).astype(np.float32), (7000 + rng.normal(size=9)).astype(np.float32)
        assert_close(ridge(x, y, 0.5), ridge(x.astype(float), y.astype(float), 0.5), rtol=1e-8, atol=1e-8)

    def test_without_a_penalty_it_is_least_squares(self, rng):
        x, y = noisy(rng)
        theta = np.linalg.lstsq(np.column_stack([np.ones(12), x]), y, rcond=None)[0]
        assert_close(ridge(x, y, 0), (theta[1:], float(theta[0])), rtol=1e-6, atol=1e-6)

    def test_a_shift_of_the_targets_goes_into_the_intercept(self, rng):
        x, y = noisy(rng)
        weights, intercept = ridge(x, y, 7.0)
        assert_close(ridge(x, y + 100, 7.0), (weights, intercept + 100))

    def test_a_column_twice_shares_its_weight_and_a_constant_one_has_none(self):
        x = np.array([[0.0, 5.0, 0.0], [1.0, 5.0, 1.0], [2.0, 5.0, 2.0]])
        # w = w₁ + w₃ minimises (2 w² - 10 w) + 3 w²/2.
        assert_close(ridge(x, Y, 3.0), (np.array([5 / 7, 0.0, 5 / 7]), 3 - 10 / 7))

    def test_a_large_penalty_leaves_the_mean(self, rng):
        x, y = noisy(rng)
        weights, intercept = ridge(x, y, 1e12)
        assert_close((weights, intercept), (np.zeros(3), float(y.mean())), rtol=1e-6, atol=1e-6)

    def test_of_bytes_and_of_a_single_row(self):
        x, y = np.array([[200, 9], [100, 255], [7, 30]], np.uint8), np.array([1, 250, 200], np.uint8)
        assert_close(ridge(x, y, 2), ridge(x.astype(float), y.astype(float), 2.0))
        assert_close(ridge(np.array([[3, 4]]), np.array([7]), 2), (np.zeros(2), 7.0))

    @pytest.mark.parametrize("penalty", [-0.5, -3.0])
    def test_rejects_a_negative_penalty(self, penalty):
        with raises(ValueError, penalty):
            ridge(X, Y, penalty)

    @pytest.mark.parametrize(("x", "y"), SHAPES)
    def test_rejects_shapes_that_do_not_fit(self, x, y):
        with raises(ValueError, *x, *y):
            ridge(np.ones(x), np.ones(y), 1.0)


class TestPolynomialFeatures:
    def test_two_columns_to_degree_two(self):
        got = polynomial_features(np.array([[2, 3], [5, -1]]), 2)
        assert_close(got, np.array([[2.0, 3, 4, 6, 9], [5, -1, 25, -5, 1]]))

    @pytest.mark.parametrize(("d", "degree"), [(1, 5), (2, 3), (3, 3), (4, 2), (3, 1)])
    def test_matches_scikit_learn(self, rng, d, degree):
        from sklearn.preprocessing import PolynomialFeatures

        x = rng.normal(size=(5, d))
        assert_close(polynomial_features(x, degree), PolynomialFeatures(degree, include_bias=False).fit_transform(x))

    def test_has_each_product_once(self):
        # Powers of primes: every product is another number.
        got = polynomial_features(np.array([[2.0, 3.0, 5.0]]), 4)[0]
        powers = [p for p in product(range(5), repeat=3) if 1 <= sum(p) <= 4]
        assert_close(np.sort(got), np.sort([2.0**a * 3.0**b * 5.0**c for a, b, c in powers]))

    def test_bytes_do_not_overflow(self):
        assert_close(polynomial_features(np.array([[200, 3]], np.uint8), 2), np.array([[200.0, 3, 40_000, 600, 9]]))

    def test_a_parabola_needs_degree_two(self, rng):
        x = rng.uniform(-2, 2, (40, 1))
        y = 1 - 2 * x[:, 0] + 3 * x[:, 0] ** 2
        assert_close(least_squares(polynomial_features(x, 2), y), (np.array([-2.0, 3.0]), 1.0), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("degree", [0, -2])
    def test_rejects_degrees_below_one(self, degree):
        with raises(ValueError, degree):
            polynomial_features(np.ones((4, 2)), degree)


ERRORS = [r_squared, mean_absolute_error, root_mean_squared_error]


class TestRSquared:
    def test_the_example_worked_by_hand(self):
        assert_close(r_squared(Y, np.array([0.5, 3.0, 5.5])), 1 - 1.5 / 14)

    @pytest.mark.parametrize("noise", [0.5, 4.0])
    def test_matches_scikit_learn(self, rng, noise):
        from sklearn.metrics import r2_score

        y = rng.normal(3, 1, 15)
        predicted = y + noise * rng.normal(size=15)
        assert_close(r_squared(y, predicted), float(r2_score(y, predicted)))

    @pytest.mark.parametrize("value", [0.1, 4.0])
    @pytest.mark.parametrize(("off", "expected"), [(0.0, 1.0), (0.5, 0.0)])
    def test_of_targets_that_are_all_the_same(self, value, off, expected):
        predicted = np.array([value, value + off, value])
        assert_close(r_squared(np.full(3, value), predicted), expected)

    def test_targets_that_vary_a_little_are_not_all_the_same(self):
        assert_close(r_squared(np.array([0.0, 2e-9]), np.array([1e-9, 1e-9])), 0.0)
        assert_close(r_squared(np.array([0.0, 2e-9]), np.array([0.0, 1e-9])), 0.5)

    def test_calls_of_different_shapes_in_a_row(self):
        for n in (3, 5):
            assert_close(r_squared(np.arange(n), np.arange(n)), 1.0)
        with raises(ValueError, 3, 5):
            r_squared(np.arange(3), np.arange(5))
        with raises(ValueError, 5, 3):
            r_squared(np.arange(5), np.arange(3))
        # These two would be broadcast.
        with raises(ValueError, 3, 1):
            r_squared(np.arange(3), np.ones((3, 1)))
        with raises(ValueError, 1, 3):
            r_squared(np.arange(1), np.arange(3))

    def test_of_the_mean_is_zero_and_may_be_negative(self):
        assert_close(r_squared(np.array([1, 2, 6]), np.array([3, 3, 3])), 0.0)
        assert_close(r_squared(np.array([1, 2, 6], np.uint8), np.array([6, 2, 1], np.uint8)), 1 - 50 / 14)

    @pytest.mark.parametrize(("y", "predicted"), [((4,), (4, 1)), ((3,), (5,)), ((5,), (1,))])
    def test_rejects_other_shapes(self, y, predicted):
        with raises(ValueError, *y, *predicted):
            r_squared(np.arange(float(np.prod(y))).reshape(y), np.ones(predicted))


class TestMeanAbsoluteError:
    def test_the_example_worked_by_hand(self):
        assert_close(mean_absolute_error(Y, np.array([0.5, 3.0, 5.5])), 2 / 3)

    @pytest.mark.parametrize("n", [1, 8, 15])
    def test_matches_scikit_learn(self, rng, n):
        from sklearn.metrics import mean_absolute_error as oracle

        y, predicted = rng.normal(size=n), rng.normal(2, 3, n)
        assert_close(mean_absolute_error(y, predicted), float(oracle(y, predicted)))

    def test_of_bytes(self):
        assert_close(mean_absolute_error(np.array([3, 200], np.uint8), np.array([5, 100], np.uint8)), 51.0)

    @pytest.mark.parametrize(("y", "predicted"), [((4,), (4, 1)), ((3,), (5,)), ((5,), (1,))])
    def test_rejects_other_shapes(self, y, predicted):
        with raises(ValueError, *y, *predicted):
            mean_absolute_error(np.zeros(y), np.ones(predicted))


class TestRootMeanSquaredError:
    def test_the_example_worked_by_hand(self):
        assert_close(root_mean_squared_error(Y, np.array([0.5, 3.0, 5.5])), np.sqrt(0.5))

    @pytest.mark.parametrize("n", [1, 8, 15])
    def test_matches_scikit_learn(self, rng, n):
        from sklearn.metrics import root_mean_squared_error as oracle

        y, predicted = rng.normal(size=n), rng.normal(2, 3, n)
        assert_close(root_mean_squared_error(y, predicted), float(oracle(y, predicted)))

    def test_of_bytes(self):
        got = root_mean_squared_error(np.array([3, 200], np.uint8), np.array([7, 100], np.uint8))
        assert_close(got, np.sqrt(5008.0))

    @pytest.mark.parametrize(("y", "predicted"), [((4,), (4, 1)), ((3,), (5,)), ((5,), (1,))])
    def test_rejects_other_shapes(self, y, predicted):
        with raises(ValueError, *y, *predicted):
            root_mean_squared_error(np.zeros(y), np.ones(predicted))


class TestStandardErrors:
    def test_the_example_worked_by_hand(self):
        assert_close(standard_errors(X, Y), np.sqrt([1.5 * 5 / 6, 0.75]))

    @pytest.mark.parametrize(("n", "d"), [(12, 3), (7, 1), (6, 4)])
    def test_matches_the_closed_form_through_the_pseudoinverse(self, rng, n, d):
        x, y = noisy(rng, n, d)
        a = np.column_stack([np.ones(n), x])
        inverse = np.linalg.pinv(a)
        variance = ((y - a @ (inverse @ y)) ** 2).sum() / (n - d - 1)
        expected = np.sqrt(variance * (inverse**2).sum(axis=1))
        assert_close(standard_errors(x, y), expected, rtol=1e-6, atol=1e-6)  # AᵀA squares the condition

    def test_matches_statsmodels_on_the_diabetes_patients(self, diabetes):
        sm = pytest.importorskip(
            "statsmodels.api", reason="needs statsmodels: pip install -c constraints.txt -e '.[classics]'"
        )
        x, y = diabetes
        assert_close(standard_errors(x, y), sm.OLS(y, sm.add_constant(x)).fit().bse, rtol=1e-5, atol=1e-6)

    def test_says_how_far_the_weights_scatter(self, rng):
        x = rng.normal(size=(25, 2)) * [1.0, 3.0] + 2
        fits, squares = [], []
        for _ in range(300):
            y = x @ [2.0, -1.0] + 4 + rng.normal(0, 1.5, 25)
            squares.append(standard_errors(x, y) ** 2)
            fits.append(np.linalg.lstsq(np.column_stack([np.ones(25), x]), y, rcond=None)[0])
        # The variance of 300 fits has a standard error of √(2/300), 8% of it: this is five of them, and a little.
        assert_close(np.mean(squares, axis=0), np.var(fits, axis=0, ddof=1), rtol=0.45, atol=0)

    def test_of_bytes(self):
        x, y = np.array([[200], [100], [7], [90]], np.uint8), np.array([1, 250, 200, 77], np.uint8)
        assert_close(standard_errors(x, y), standard_errors(x.astype(float), y.astype(float)))

    @pytest.mark.parametrize(("n", "d"), [(4, 3), (2, 1)])
    def test_a_fit_through_every_point_tells_nothing(self, rng, n, d):
        x, y = noisy(rng, n, d)
        with raises(ValueError, n, d + 1):
            standard_errors(x, y)

    def test_dependent_columns_are_an_error(self):
        with raises(ValueError, "rank"):
            standard_errors(np.array([[1.0, 2], [2, 4], [5, 10], [3, 6]]), np.array([1.0, 3, 2, 5]))

    @pytest.mark.parametrize(("x", "y"), SHAPES)
    def test_rejects_shapes_that_do_not_fit(self, x, y):
        with raises(ValueError, *x, *y):
            standard_errors(np.arange(np.prod(x)).reshape(x) ** 2.0, np.ones(y))
