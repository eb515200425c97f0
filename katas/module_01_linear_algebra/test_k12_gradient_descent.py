"""Judges k12_gradient_descent against closed forms on quadratics, scipy.optimize and brute force."""

import numpy as np
import pytest
from numpy.linalg import LinAlgError

from dojo.testing import assert_close, fail, from_scratch, pure, raises
from katas.module_01_linear_algebra.k12_gradient_descent import (
    backtracking,
    constrained_quadratic,
    convexity_violation,
    gradient_descent,
    newton,
    project_ball,
    projected_gradient,
)

pytestmark = [from_scratch("scipy"), pure()]


def bowl(rng: np.random.Generator, values: list[float]) -> np.ndarray:
    """A random symmetric matrix with these eigenvalues."""
    q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return (q * values) @ q.T


def valley_gradient(x: np.ndarray) -> np.ndarray:
    """That of the lesson's ½(x² + 4y²)."""
    return np.array([1.0, 4.0]) * x


class TestGradientDescent:
    def test_the_example_worked_by_hand(self):
        path = gradient_descent(valley_gradient, np.array([4, 1]), 0.4, 2)
        assert_close(path, np.array([[4.0, 1.0], [2.4, -0.6], [1.44, 0.36]]))

    def test_the_example_with_momentum(self):
        path = gradient_descent(valley_gradient, np.array([4, 1]), 0.4, 2, 0.5)
        assert_close(path, np.array([[4.0, 1.0], [2.4, -0.6], [0.64, -0.44]]))

    @pytest.mark.parametrize("d", [1, 3, 5])
    @pytest.mark.parametrize(("rate", "steps"), [(0.1, 4), (0.35, 7), (0.35, 0)])
    def test_follows_the_powers_of_i_minus_rate_q(self, rng, d, rate, steps):
        q, low, start = bowl(rng, list(1.0 + np.arange(d))), rng.standard_normal(d), rng.standard_normal(d)
        factors = [np.linalg.matrix_power(np.eye(d) - rate * q, k) for k in range(steps + 1)]
        expected = np.array([low + factor @ (start - low) for factor in factors])
        assert_close(gradient_descent(lambda x: q @ (x - low), start, rate, steps), expected)

    @pytest.mark.parametrize("d", [1, 4])
    @pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
    def test_momentum_adds_a_share_of_the_last_step(self, rng, d, momentum):
        from scipy.special import expit

        start = 3 * rng.standard_normal(d)
        expected = [start, start - 0.5 * (expit(start) - 0.2)]
        for _ in range(8):
            before, x = expected[-2:]
            expected.append(x - 0.5 * (expit(x) - 0.2) + momentum * (x - before))
        path = gradient_descent(lambda x: expit(x) - 0.2, start, 0.5, 9, momentum=momentum)
        assert_close(path, np.array(expected))

    def test_a_path_of_integers_is_float64(self):
        assert_close(gradient_descent(lambda x: x, np.array([4, 1]), 0.4, 0), np.array([[4.0, 1.0]]))

    def test_the_best_rates_of_a_narrow_valley(self, rng):
        # κ = 100: 99/101 a step without momentum, and 9/11 with the best of both.
        q, start = bowl(rng, [1.0, 30.0, 100.0]), rng.standard_normal(3)
        plain = gradient_descent(lambda x: q @ x, start, 2 / 101, 200)
        heavy = gradient_descent(lambda x: q @ x, start, 4 / 11**2, 200, (9 / 11) ** 2)
        assert_close(plain[-1], np.linalg.matrix_power(np.eye(3) - q * 2 / 101, 200) @ start)
        # (9/11)²⁰⁰ is 4e-18; the double root of the recursion costs a factor of some 200 on top.
        assert_close(heavy[-1], np.zeros(3), atol=1e-12, rtol=0)


class TestBacktracking:
    def test_the_example_worked_by_hand(self):
        t = backtracking(lambda x: x @ x, np.array([1.0]), np.array([2.0]), np.array([-2.0]))
        assert_close(t, 0.5)

    @pytest.mark.parametrize("d", [1, 2, 5])
    @pytest.mark.parametrize("step", [1.0, 10.0])
    @pytest.mark.parametrize("shrink", [0.5, 0.8])
    @pytest.mark.parametrize("share", [1e-4, 0.3, 0.7])
    def test_takes_the_first_step_that_is_good_enough(self, rng, d, step, shrink, share):
        x, scale = rng.standard_normal(d), rng.uniform(1, 6, d)

        def f(z: np.ndarray) -> float:
            return float((scale * z**2).sum() + np.cos(z).sum())

        gradient = 2 * scale * x - np.sin(x)
        direction = -gradient * rng.uniform(0.5, 1.5, d)
        steps = [step * shrink**k for k in range(80)]
        good = [t for t in steps if f(x + t * direction) <= f(x) + share * t * (gradient @ direction)]
        assert_close(backtracking(f, x, gradient, direction, step, shrink, share), good[0])

    @pytest.mark.parametrize(("gain", "expected"), [(1.5, 0.5), (0.7, 0.25)])
    def test_the_defaults(self, gain, expected):
        # f falls at a slope of -1, but 1 and 1/2 away it gains only `gain` times 1e-4 of what that promises.
        def f(x: np.ndarray) -> float:
            return float({1.0: 0.0, 0.5: -gain * 0.5e-4}.get(x[0], -x[0]))

        slope = np.array([-1.0])
        assert_close(backtracking(f, np.zeros(1), slope, -slope), expected)

    def test_exactly_the_share_is_enough(self):
        # At t = 1/2, f is 0 and the bound 1 - ½·½·4 = 0.
        x, g = np.array([1.0]), np.array([2.0])
        assert_close(backtracking(lambda x: x @ x, x, g, -g, share=0.5), 0.5)

    def test_a_good_first_step_is_taken_whole(self):
        g = np.array([6.0, -8.0])
        assert_close(backtracking(lambda x: x @ x, g / 2, g, -g, step=0.3), 0.3)

    def test_a_tiny_slope_leads_down_all_the_same(self):
        g = np.array([1e-9])
        assert_close(backtracking(lambda x: float(1e-9 * x[0]), np.zeros(1), g, -g), 1.0)

    @pytest.mark.parametrize("outside", [np.nan, np.inf])
    def test_a_step_out_of_the_domain_is_too_long(self, outside):
        def f(x: np.ndarray) -> float:
            return float(x[0] - np.log(x[0])) if x[0] > 0 else float(outside)

        # From 3 the steps 2, 1 and ½ lead to -5, -1 and 1.
        assert_close(backtracking(f, np.array([3.0]), np.array([2 / 3]), np.array([-4.0]), 2.0), 0.5)

    @pytest.mark.parametrize("direction", [[2.0, 1.0], [4.0, -3.0]])
    def test_rejects_a_direction_that_does_not_lead_down(self, direction):
        x = np.array([3.0, 4.0])
        with raises(ValueError, "descent"):
            backtracking(lambda x: x @ x, x, 2 * x, np.array(direction))


class TestNewton:
    def test_the_example_worked_by_hand(self):
        path = newton(lambda x: x**3, lambda x: np.diag(3 * x**2), np.array([1]), max_steps=2)
        assert_close(path, np.array([[1.0], [2 / 3], [4 / 9]]))

    @pytest.mark.parametrize("d", [1, 2, 5])
    def test_one_step_to_the_bottom_of_a_bowl(self, rng, d):
        q, low, start = bowl(rng, list(1.0 + np.arange(d))), rng.standard_normal(d), rng.standard_normal(d)
        path = newton(lambda x: q @ (x - low), lambda x: q, start, tol=1e-8)
        assert_close(path, np.array([start, low]))

    def test_finds_the_minimum_that_scipy_finds(self, rng):
        from scipy.optimize import root

        a, b = rng.standard_normal((6, 3)) / 3, rng.standard_normal(6)

        def gradient(x: np.ndarray) -> np.ndarray:
            return a.T @ np.tanh(a @ x - b) + x

        def hessian(x: np.ndarray) -> np.ndarray:
            return (a.T / np.cosh(a @ x - b) ** 2) @ a + np.eye(3)

        path = newton(gradient, hessian, np.zeros(3))
        assert_close(path[1], -np.linalg.solve(hessian(np.zeros(3)), gradient(np.zeros(3))))
        assert_close(path[-1], root(gradient, np.zeros(3), tol=1e-12).x)

    @pytest.mark.parametrize(("tol", "steps"), [(1.0, 0), (0.99, 1), (1e-3, 6), (1e-10, 19)])
    def test_ends_at_the_first_small_gradient(self, tol, steps):
        # The gradient after k steps is (2/3)³ᵏ: 0.296, 0.0878, …, 2.3e-3, 6.8e-4, …, 3.1e-10, 0.9e-10.
        path = newton(lambda x: x**3, lambda x: np.diag(3 * x**2), np.array([1.0]), tol)
        assert_close(path, (2 / 3) ** np.arange(steps + 1)[:, None])

    def test_the_default_tol(self):
        # The gradient after 18 steps is ½·(2/3)⁵⁴ = 1.5e-10, one step later 0.5e-10.
        start = np.cbrt([0.5])
        path = newton(lambda x: x**3, lambda x: np.diag(3 * x**2), start)
        assert_close(path, start * (2 / 3) ** np.arange(20)[:, None])

    def test_the_length_of_the_gradient_counts_not_its_largest_entry(self):
        # From [3 4]/5 on each axis x⁴/4 shrinks by ⅔; the gradient's length is ‖[27 64]‖/125 = 0.556.
        path = newton(lambda x: x**3, lambda x: np.diag(3 * x**2), np.array([0.6, 0.8]), tol=0.53)
        assert_close(path, np.array([[0.6, 0.8], [0.4, 1.6 / 3]]))

    @pytest.mark.parametrize("max_steps", [0, 3, 70])
    def test_ends_after_max_steps(self, max_steps):
        path = newton(lambda x: x**3, lambda x: np.diag(3 * x**2), np.array([8.0]), 0.0, max_steps)
        assert_close(path, 8 * (2 / 3) ** np.arange(max_steps + 1)[:, None])

    def test_ends_after_50_steps_by_default(self):
        path = newton(lambda x: x**3, lambda x: np.diag(3 * x**2), np.array([8.0]), 0.0)
        assert_close(path, 8 * (2 / 3) ** np.arange(51)[:, None])

    def test_a_path_of_integers_is_float64(self):
        assert_close(newton(lambda x: 0 * x, lambda x: np.eye(2), np.array([3, 4])), np.array([[3.0, 4.0]]))

    def test_rejects_a_singular_hessian(self):
        with raises(LinAlgError):
            newton(lambda x: np.ones(2), lambda x: np.diag([1.0, 0.0]), np.zeros(2))


class TestProjectBall:
    @pytest.mark.parametrize(
        ("x", "radius", "nearest"),
        [
            ([3, 4], 2.5, [1.5, 2]),
            ([3, 4], 7.0, [3, 4]),
            ([3, 4], 5.0, [3, 4]),
            ([0, 0, 0], 1.0, [0, 0, 0]),
            ([-6], 2.0, [-2]),
            ([0.3, -0.4], 0.25, [0.15, -0.2]),
            ([3, 4], 0.0, [0, 0]),
            ([0, 0], 0.0, [0, 0]),
            ([3e-200, 4e-200], 2.5e-200, [0, 0]),
        ],
    )
    def test_small_cases_by_hand(self, x, radius, nearest):
        assert_close(project_ball(np.array(x), radius), np.array(nearest, dtype=float))

    @pytest.mark.parametrize("radius", [0.5, 3.0])
    def test_no_point_of_the_ball_is_nearer(self, rng, radius):
        x = 4 * rng.standard_normal(5) / rng.uniform(0.5, 2)
        x *= max(1.0, 1.1 * radius / np.linalg.norm(x))
        # At the nearest point the way to x stands at right angles to the sphere.
        assert_close(project_ball(x, radius), radius * x / np.linalg.norm(x))


class TestProjectedGradient:
    def test_in_a_box_by_hand(self):
        # ½(x² + 4y²) on x ≥ 1, -½ ≤ y ≤ ½: the start [4 1] is projected to [4 ½] first.
        path = projected_gradient(valley_gradient, lambda x: x.clip([1, -0.5], [9, 0.5]), np.array([4, 1]), 0.4, 4)
        assert_close(path, np.array([[4, 0.5], [2.4, -0.3], [1.44, 0.18], [1, -0.108], [1, 0.0648]]))

    @pytest.mark.parametrize("steps", [0, 1, 5])
    @pytest.mark.parametrize("rate", [0.05, 0.3])
    def test_every_row_is_a_projected_step_from_the_one_before(self, rng, steps, rate):
        q, c, start = bowl(rng, [1.0, 2.0, 5.0]), rng.standard_normal(3), 5 * rng.standard_normal(3)

        def project(x: np.ndarray) -> np.ndarray:
            return x.clip(-0.5, 0.7)

        path = projected_gradient(lambda x: q @ x + c, project, start, rate, steps)
        expected = [project(start)]
        for _ in range(steps):
            expected.append(project(expected[-1] - rate * (q @ expected[-1] + c)))
        assert_close(path, np.array(expected))

    def test_the_gradient_is_asked_for_at_projected_points_alone(self):
        def gradient(x: np.ndarray) -> np.ndarray:
            if np.abs(x).max() > 1:
                fail("The gradient was asked for outside of the allowed points.", evidence="outside")
            return 5 * x - 3

        path = projected_gradient(gradient, lambda x: x.clip(-1, 1), np.array([7.0, -2.0]), 0.9, 3)
        assert_close(path[0], np.array([1.0, -1.0]))

    def test_a_path_of_integers_is_float64(self):
        path = projected_gradient(lambda x: x, lambda x: x.clip(0, 3), np.array([4, 1]), 0.4, 0)
        assert_close(path, np.array([[3.0, 1.0]]))

    def test_the_lowest_point_of_a_ball(self, rng):
        from scipy.optimize import brentq

        q, c = bowl(rng, [1.0, 2.0, 4.0]), rng.standard_normal(3)
        c *= 6 / np.linalg.norm(c)  # the bowl's lowest point, at least 6/4 away from 0, is outside
        # There the gradient is -λx for some λ > 0: x = -(q + λI)⁻¹c, with the λ for which ‖x‖ = 1.
        lam = brentq(lambda t: np.linalg.norm(np.linalg.solve(q + t * np.eye(3), c)) - 1, 0, 10, xtol=1e-14)

        def project(x: np.ndarray) -> np.ndarray:
            return x / max(1.0, float(np.linalg.norm(x)))

        path = projected_gradient(lambda x: q @ x + c, project, np.zeros(3), 0.4, 200)
        assert_close(path[-1], -np.linalg.solve(q + lam * np.eye(3), c))


class TestConstrainedQuadratic:
    def test_the_example_worked_by_hand(self):
        x, multipliers = constrained_quadratic(np.diag([2, 4]), np.zeros(2), np.array([[1, 1]]), np.array([3]))
        assert_close(x, np.array([2.0, 1.0]))
        assert_close(multipliers, np.array([-4.0]))

    @pytest.mark.parametrize(("d", "m"), [(2, 1), (4, 2), (5, 3), (3, 3), (1, 1)])
    def test_matches_a_solution_without_constraints_in_the_null_space(self, rng, d, m):
        from scipy.linalg import null_space

        q = bowl(rng, list(1.0 + np.arange(d)))
        c, b = rng.standard_normal(d), rng.standard_normal(m)
        a = np.linalg.qr(rng.standard_normal((d, m)))[0].T * rng.uniform(1, 2, (m, 1))
        free = null_space(a)  # every allowed point is one of them plus a combination of these columns
        one = np.linalg.pinv(a) @ b
        x = one - free @ np.linalg.solve(free.T @ q @ free, free.T @ (q @ one + c))
        expected = (x, -np.linalg.pinv(a.T) @ (q @ x + c))
        assert_close(constrained_quadratic(q, c, a, b), expected)

    def test_a_multiplier_is_minus_what_its_constraint_costs(self, rng):
        q, c, a = bowl(rng, [1.0, 2.0, 3.0]), rng.standard_normal(3), np.array([[1.0, 2.0, -1.0]])

        def lowest(b: float) -> float:
            x, _ = constrained_quadratic(q, c, a, np.array([b]))
            return x @ q @ x / 2 + c @ x

        _, multipliers = constrained_quadratic(q, c, a, np.array([0.7]))
        # f is quadratic in b, so that the central difference is exact, but for rounding.
        assert_close(multipliers[0], (lowest(0.2) - lowest(1.2)) / 1.0)

    def test_rejects_a_row_of_zeros(self):
        a = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        with raises(LinAlgError):
            constrained_quadratic(np.eye(3), np.ones(3), a, np.array([1.0, 0.0]))


class TestConvexityViolation:
    @pytest.mark.parametrize(("sign", "worst"), [(1, -1.0), (-1, 9.0)])
    def test_parabolas_by_hand(self, sign, worst):
        # The midpoints of 0, 2 and 6 are 1, 3 and 4: x² lies 1, 9 and 4 below the lines there.
        points = np.array([[0], [2], [6]])
        assert_close(convexity_violation(lambda x: float(sign * (x @ x)), points), worst)

    @pytest.mark.parametrize(("n", "d"), [(2, 3), (5, 2), (8, 1)])
    def test_is_the_worst_of_all_pairs(self, rng, n, d):
        points = 3 * rng.standard_normal((n, d))

        def f(x: np.ndarray) -> float:
            return float(np.sin(x).sum() + 0.3 * x @ x)

        gaps = [f((points[i] + points[j]) / 2) - (f(points[i]) + f(points[j])) / 2 for i in range(n) for j in range(i)]
        assert_close(convexity_violation(f, points), max(gaps))

    def test_a_violation_by_the_last_pair_is_found(self):
        # |x| for x < 5 and a dent behind it.
        points = np.array([[-2.0], [-1.0], [3.0], [6.0], [8.0]])
        actual = convexity_violation(lambda x: float(abs(x[0]) + 4 * (x[0] == 7)), points)
        assert_close(actual, 4.0)

    def test_a_straight_line_is_just_convex(self, rng):
        slope, points = rng.standard_normal(3), rng.standard_normal((4, 3))
        assert_close(convexity_violation(lambda x: float(slope @ x) + 5, points), 0.0)
