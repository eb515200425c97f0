"""Judges k07_least_squares against numpy and closed forms, in float64 and in float32."""

import numpy as np
import pytest
from numpy.linalg import LinAlgError

from dojo.testing import assert_close, fail, from_scratch, pure, raises
from katas.module_01_linear_algebra.k07_least_squares import (
    condition_number,
    lstsq,
    normal_equations,
    qr,
    reflector,
)

pytestmark = [
    from_scratch(
        "numpy.linalg.qr",
        "numpy.linalg.lstsq",
        "numpy.linalg.pinv",
        "numpy.linalg.cond",
        "numpy.polyfit",
        "scipy",
    ),
    pure(),
]

A = np.array([[3, 0], [4, 5], [0, 4]])
B = np.array([19, 2, 23])
SHAPES = [(1, 1), (3, 3), (5, 2), (7, 4), (6, 1), (6, 6)]
# The lesson's e where eᵀe vanishes beside 1.
E = [(np.float64, 1e-9), (np.float32, 1e-4)]


def nearly_dependent(e: float, dtype: type) -> np.ndarray:
    """The lesson's example of two nearly equal columns."""
    return np.array([[1, 1], [e, 0], [0, e]], dtype=dtype)


def powers(m: int, n: int) -> np.ndarray:
    """The columns 1, t, t², … on m points of [0, 1]: the more columns, the worse the condition."""
    return np.linspace(0, 1, m)[:, None] ** np.arange(n)


class TestReflector:
    def test_the_example_worked_by_hand(self):
        assert_close(reflector(np.array([3, 4, 0])), np.array([2, 1, 0]) / np.sqrt(5))

    @pytest.mark.parametrize("n", [1, 2, 3, 6])
    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_takes_x_to_the_first_axis_away_from_x(self, rng, n, sign):
        x = rng.standard_normal(n)
        x[0] = sign * (0.1 + abs(x[0]))
        v = reflector(x)
        target = -sign * np.linalg.norm(x) * np.eye(n)[0]
        assert_close(v, (x - target) / np.linalg.norm(x - target))
        assert_close(x - 2 * v * (v @ x), target)

    def test_a_first_entry_of_zero_counts_as_positive(self):
        assert_close(reflector(np.array([0.0, 3.0, -4.0])), np.array([5.0, 3.0, -4.0]) / np.sqrt(50))

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("n", [1, 3])
    def test_zeros_give_zeros(self, n, dtype):
        assert_close(reflector(np.zeros(n, dtype)), np.zeros(n, dtype))

    @pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e150])
    def test_a_short_vector_is_not_zero(self, scale):
        assert_close(reflector(scale * np.array([3.0, 4.0, 0.0])), np.array([2, 1, 0]) / np.sqrt(5))

    @pytest.mark.parametrize("x", [[2.0, 0.0, 0.0], [-7.0, 1e-9, 0.0], [1.0, 1e-20, -1e-20]])
    def test_nothing_cancels_for_an_x_along_the_axis(self, x):
        x = np.array(x)
        assert_close(reflector(x), np.sign(x[0]) * np.eye(3)[0])

    @pytest.mark.parametrize("scale", [1e-15, 1, 1e15])
    def test_float32_stays_float32(self, scale):
        v = reflector(scale * np.array([3, 4], dtype=np.float32))
        assert_close(v, (np.array([2, 1]) / np.sqrt(5)).astype(np.float32))


class TestQr:
    def test_the_example_worked_by_hand(self):
        q, r = qr(A)
        assert_close(r, np.array([[5.0, 4.0], [0.0, 5.0]]))
        assert_close(q, np.array([[0.6, -0.48], [0.8, 0.36], [0.0, 0.8]]))

    @pytest.mark.parametrize("shape", SHAPES)
    def test_matches_numpy_but_for_signs(self, rng, shape):
        a = rng.standard_normal(shape)
        expected_q, expected_r = np.linalg.qr(a)
        signs = np.sign(np.diag(expected_r))
        q, r = qr(a)
        assert_close(r, expected_r * signs[:, None])
        assert_close(q, expected_q * signs)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_r_is_exactly_triangular(self, rng, shape):
        _, r = qr(rng.standard_normal(shape))
        assert_close(r, np.triu(r), atol=0, rtol=0)  # the lesson says exactly

    @pytest.mark.parametrize("shape", [(4, 4), (8, 3)])
    def test_float32_stays_float32(self, rng, shape):
        a = rng.standard_normal(shape).astype(np.float32)
        q, r = qr(a)
        assert_close(q @ r, a)
        assert_close(q.T @ q, np.eye(shape[1], dtype=np.float32))

    def test_q_stays_orthonormal_for_nearly_dependent_columns(self):
        a = powers(15, 12)
        q, r = qr(a)
        assert_close(q.T @ q, np.eye(12))
        assert_close(q @ r, a)

    @pytest.mark.parametrize("column", [0, 1, 2])
    def test_a_column_of_zeros(self, rng, column):
        a = rng.standard_normal((5, 3))
        a[:, column] = 0
        q, r = qr(a)
        assert_close(q @ r, a)
        assert_close(q.T @ q, np.eye(3))
        assert_close(r, np.triu(r))

    @pytest.mark.parametrize("scale", [1e-140, 1e140])
    def test_the_scale_does_not_matter(self, scale):
        q, r = qr(scale * A)
        assert_close(r / scale, np.array([[5.0, 4.0], [0.0, 5.0]]))
        assert_close(q, np.array([[0.6, -0.48], [0.8, 0.36], [0.0, 0.8]]))

    def test_all_zeros(self):
        q, r = qr(np.zeros((4, 2)))
        assert_close(r, np.zeros((2, 2)))
        assert_close(q.T @ q, np.eye(2))

    def test_a_repeated_column(self, rng):
        a = rng.standard_normal((5, 3))[:, [0, 1, 0]]
        q, r = qr(a)
        assert_close(q @ r, a)
        assert_close(q.T @ q, np.eye(3))

    @pytest.mark.parametrize("shape", [(2, 3), (4, 7)])
    def test_rejects_fewer_rows_than_columns(self, shape):
        with raises(ValueError, shape):
            qr(np.ones(shape))


class TestLstsq:
    def test_the_example_worked_by_hand(self):
        assert_close(lstsq(A, B), np.array([1.0, 2.0]))

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("tail", [(), (1,), (3,)])
    def test_matches_numpy(self, rng, shape, tail):
        a, b = rng.standard_normal(shape), rng.standard_normal((shape[0], *tail))
        # The smallest singular value of a random square matrix may be 1e-3: errors grow by its square.
        assert_close(lstsq(a, b), np.linalg.lstsq(a, b)[0], atol=1e-6, rtol=1e-6)

    def test_fits_a_line_by_its_closed_form(self, rng):
        t, y = rng.uniform(-3, 9, 20), rng.standard_normal(20)
        slope = np.cov(t, y)[0, 1] / np.var(t, ddof=1)
        expected = np.array([y.mean() - slope * t.mean(), slope])
        assert_close(lstsq(np.stack([np.ones(20), t], 1), y), expected)

    @pytest.mark.parametrize(("dtype", "e", "atol"), [(*E[0], 1e-5), (*E[1], 2e-2)])
    def test_keeps_the_digits_that_the_normal_equations_lose(self, dtype, e, atol):
        a = nearly_dependent(e, dtype)
        b = np.array([3, e, 2 * e], dtype=dtype)
        # κ is 1.4/e, so that κ·ε is 8e-4 in float32 and 3e-7 in float64: some ten times that is fine.
        assert_close(lstsq(a, b), np.array([1, 2], dtype=dtype), atol=atol, rtol=0)

    def test_fits_a_polynomial_of_high_degree(self):
        x = np.cos(np.arange(10))
        # κ is 4e6 and the residual is 0: QR is right to 1e-9, the normal equations only to 1e-4.
        assert_close(lstsq(powers(20, 10), powers(20, 10) @ x), x, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("shape", [(2, 3), (4, 7)])
    def test_rejects_fewer_rows_than_columns(self, shape):
        with raises(ValueError, shape):
            lstsq(np.ones(shape), np.ones(shape[0]))


class TestNormalEquations:
    def test_the_example_worked_by_hand(self):
        assert_close(normal_equations(A, B), np.array([1.0, 2.0]))

    @pytest.mark.parametrize("shape", [(1, 1), (5, 2), (9, 4), (6, 1)])
    @pytest.mark.parametrize("tail", [(), (1,), (3,)])
    def test_matches_numpy(self, rng, shape, tail):
        a, b = rng.uniform(1, 2, shape) + np.eye(*shape), rng.standard_normal((shape[0], *tail))
        assert_close(normal_equations(a, b), np.linalg.lstsq(a, b)[0])

    def test_float32_stays_float32(self):
        x = normal_equations(A.astype(np.float32), B.astype(np.float32))
        # κ² is 12: a few units in the last of float32's digits.
        assert_close(x, np.array([1, 2], dtype=np.float32), atol=1e-4, rtol=0)

    def test_of_a_square_system(self):
        assert_close(normal_equations(np.array([[2.0, 1.0], [0.0, 1.0]]), np.array([5.0, 1.0])), np.array([2.0, 1.0]))

    def test_small_integers_do_not_overflow(self):
        a, b = np.array([[60, 0], [80, 100], [0, 80]], np.int8), np.array([60, 90, 8], np.int8)
        assert_close(normal_equations(a, b), np.array([1.0, 0.1]))

    @pytest.mark.parametrize(("dtype", "e"), E)
    def test_find_nearly_dependent_columns_singular(self, dtype, e):
        with raises(LinAlgError):
            normal_equations(nearly_dependent(e, dtype), np.ones(3, dtype=dtype))


class TestConditionNumber:
    @pytest.mark.parametrize(
        ("a", "kappa"),
        [([[0, 5], [2, 0]], 2.5), ([[3, 0], [0, 1], [0, 0]], 3.0), ([[0.0, 4.0, 3.0]], 1.0), ([[-7.0]], 1.0)],
    )
    def test_small_cases_by_hand(self, a, kappa):
        assert_close(condition_number(np.array(a)), kappa)

    @pytest.mark.parametrize("shape", [(4, 4), (6, 3), (2, 5), (1, 4)])
    def test_matches_numpy(self, rng, shape):
        a = rng.standard_normal(shape)
        assert_close(condition_number(a), np.linalg.cond(a))

    def test_a_large_one_is_right_to_some_digits(self, rng):
        left, right = (np.linalg.qr(rng.standard_normal((n, 3)))[0] for n in (7, 3))
        a = left * np.array([1e5, 3e1, 1e-5]) @ right.T
        # σ_min carries an error of ε·σ_max = 2e-11; through aᵀa it would have no right digit.
        assert_close(condition_number(a), 1e10, rtol=1e-3)

    @pytest.mark.parametrize("a", [[[3.0, 0.0], [4.0, 0.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], [[0.0]]])
    def test_a_smallest_of_zero_gives_infinity(self, a):
        with np.errstate(all="raise"):
            assert_close(condition_number(np.array(a)), np.inf)

    @pytest.mark.parametrize("scale", [1e-100, 1e100])
    def test_the_scale_does_not_matter(self, scale):
        assert_close(condition_number(scale * np.array([[0.0, 5.0], [2.0, 0.0]])), 2.5)

    @pytest.mark.parametrize("a", [[[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]], [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]])
    @pytest.mark.parametrize(("dtype", "least"), [(np.float64, 1e14), (np.float32, 1e6)])
    def test_dependent_columns_or_rows(self, a, dtype, least):
        with np.errstate(all="raise"):
            kappa = condition_number(np.array(a, dtype))
        if not kappa > least:
            fail(f"the condition number of dependent vectors is beyond {least:.0e}, not {kappa:.4g}", evidence=kappa)
