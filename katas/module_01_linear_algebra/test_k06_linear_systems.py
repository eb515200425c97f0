"""Judges k06_linear_systems against numpy and scipy, and by its residuals on Hilbert's matrix."""

import numpy as np
import pytest
from numpy.linalg import LinAlgError

from dojo.testing import assert_close, fail, from_scratch, pure, raises
from katas.module_01_linear_algebra.k06_linear_systems import (
    back_substitution,
    cholesky,
    det,
    forward_substitution,
    inverse,
    lu,
    solve,
)

pytestmark = [
    from_scratch(
        "numpy.linalg.solve",
        "numpy.linalg.inv",
        "numpy.linalg.det",
        "numpy.linalg.slogdet",
        "numpy.linalg.cholesky",
        "numpy.linalg.pinv",
        "numpy.linalg.lstsq",
        "numpy.linalg.tensorsolve",
        "numpy.linalg.tensorinv",
        "scipy",
    ),
    pure(),
]

A = [[2, 1, 1], [4, 3, 3], [8, 7, 9]]
NOT_SQUARE = [(3, 4), (4, 3)]
SINGULAR = {
    "one by one": [[0.0]],
    "all zeros": [[0.0] * 3] * 3,
    "equal rows": [[1.0, 2, 3, 5], [4, 5, 7, 6], [1, 2, 3, 5], [2, 9, 1, 8]],
    "a column of zeros": [[1.0, 0, 3], [4, 0, 6], [7, 0, 9]],
    "first column of zeros": [[0.0, 2, 3], [0, 5, 6], [0, 7, 1]],
    "last column of zeros": [[1.0, 2, 0], [4, 5, 0], [7, 1, 0]],
}


def spd(rng: np.random.Generator, n: int) -> np.ndarray:
    """A random symmetric positive definite matrix."""
    root = rng.standard_normal((n, n + 3))
    return root @ root.T + 0.1 * np.eye(n)


def triangle(rng: np.random.Generator, n: int) -> np.ndarray:
    """A random lower triangular matrix that is well conditioned, with diagonal entries of both signs."""
    signs = np.where(np.arange(n) % 2, -1.0, 1.0)
    return np.tril(rng.uniform(-1, 1, (n, n)), -1) + np.diag(signs * rng.uniform(2, 5, n))


def hilbert(n: int) -> np.ndarray:
    i = np.arange(n)
    return 1.0 / (1 + i + i[:, None])


def check_factors(a: np.ndarray, order: np.ndarray, l: np.ndarray, u: np.ndarray) -> None:
    """Whether `order`, `l` and `u` are a factorisation of `a` with partial pivoting."""
    assert_close(np.sort(order), np.arange(len(a)))
    assert_close(l, np.tril(l, -1) + np.eye(len(a)))
    assert_close(u, np.triu(u))
    assert_close(l @ u, np.asarray(a, dtype=float)[order])
    if np.abs(l).max() > 1 + 1e-12:
        fail(f"l holds {np.abs(l).max():.4g}: with the largest pivot no multiplier exceeds 1", evidence=(l,))


class TestLu:
    def test_the_example_worked_by_hand(self):
        order, l, u = lu(np.array(A))
        assert_close(order, np.array([2, 0, 1]))
        assert_close(l, np.array([[1, 0, 0], [1 / 4, 1, 0], [1 / 2, 2 / 3, 1]]))
        assert_close(u, np.array([[8, 7, 9], [0, -3 / 4, -5 / 4], [0, 0, -2 / 3]]))

    @pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
    def test_matches_scipy(self, rng, n):
        import scipy.linalg

        a = rng.standard_normal((n, n))
        order, l, u = lu(a)
        p, expected_l, expected_u = scipy.linalg.lu(a)
        assert_close(order, p.argmax(0))
        assert_close(l, expected_l)
        assert_close(u, expected_u)

    def test_the_pivot_is_the_largest_in_absolute_value(self):
        order, l, u = lu(np.array([[1.0, 2.0], [-5.0, 5.0]]))
        assert_close(order, np.array([1, 0]))
        assert_close(l, np.array([[1.0, 0.0], [-0.2, 1.0]]))
        assert_close(u, np.array([[-5.0, 5.0], [0.0, 3.0]]))

    def test_equal_pivots_may_be_taken_in_any_order(self):
        a = np.array([[1.0, 2, 4], [-1, 3, 5], [1, 7, -2]])
        check_factors(a, *lu(a))

    @pytest.mark.parametrize("name", SINGULAR)
    def test_a_singular_matrix_has_factors_too(self, name):
        a = np.array(SINGULAR[name])
        order, l, u = lu(a)
        check_factors(a, order, l, u)
        assert_close(np.abs(np.diag(u)).min(), 0.0)

    @pytest.mark.parametrize("scale", [1e-100, 1e100])
    def test_the_scale_does_not_matter(self, scale):
        order, l, u = lu(scale * np.array(A))
        assert_close(order, np.array([2, 0, 1]))
        assert_close(l, np.array([[1, 0, 0], [1 / 4, 1, 0], [1 / 2, 2 / 3, 1]]))
        assert_close(u / scale, np.array([[8, 7, 9], [0, -3 / 4, -5 / 4], [0, 0, -2 / 3]]))

    @pytest.mark.parametrize("shape", NOT_SQUARE)
    def test_rejects_what_is_not_square(self, shape):
        with raises(ValueError, shape):
            lu(np.ones(shape))

    def test_float32_gives_float64(self, rng):
        import scipy.linalg

        a = spd(rng, 4).astype(np.float32)
        _, expected_l, expected_u = scipy.linalg.lu(a.astype(np.float64))
        _, l, u = lu(a)
        # What counts is the answer's type: the lesson doesn't say where float32 is widened.
        assert_close(l, expected_l, atol=1e-3, rtol=0)
        assert_close(u, expected_u, atol=1e-3 * float(np.abs(expected_u).max()), rtol=0)



class TestForwardSubstitution:
    def test_the_example_worked_by_hand(self):
        l = np.array([[1, 0, 0], [1 / 4, 1, 0], [1 / 2, 2 / 3, 1]])
        assert_close(forward_substitution(l, np.array([13, 3, 7])), np.array([13, -1 / 4, 2 / 3]))

    @pytest.mark.parametrize("n", [1, 2, 4, 7])
    @pytest.mark.parametrize("tail", [(), (1,), (3,)])
    def test_solves_for_any_diagonal(self, rng, n, tail):
        l, x = triangle(rng, n), rng.standard_normal((n, *tail))
        assert_close(forward_substitution(l, l @ x), x)

    def test_integers(self):
        assert_close(forward_substitution(np.array([[2, 0], [1, 4]]), np.array([1, 2])), np.array([1 / 2, 3 / 8]))

    def test_does_not_read_above_the_diagonal(self, rng):
        l, x = triangle(rng, 4), rng.standard_normal((4, 2))
        b = l @ x
        l[np.triu_indices(4, 1)] = np.nan
        assert_close(forward_substitution(l, b), x)

    def test_a_tiny_diagonal_is_not_zero(self):
        assert_close(forward_substitution(np.diag([1e-200, 1.0]), np.array([3e-200, 2.0])), np.array([3.0, 2.0]))

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_rejects_a_zero_on_the_diagonal(self, rng, place):
        l = triangle(rng, 3)
        l[place, place] = 0
        with raises(LinAlgError, "singular"):
            forward_substitution(l, np.ones(3))

    def test_float32_gives_float64(self, rng):
        a, b = (x.astype(np.float32) for x in (spd(rng, 4), rng.standard_normal(4)))
        expected = np.linalg.solve(np.tril(a).astype(np.float64), b)
        # What counts is the answer's type: the lesson doesn't say where float32 is widened.
        assert_close(forward_substitution(a, b), expected, atol=1e-3 * float(np.abs(expected).max()), rtol=0)



class TestBackSubstitution:
    def test_the_example_worked_by_hand(self):
        u = np.array([[8, 7, 9], [0, -3 / 4, -5 / 4], [0, 0, -2 / 3]])
        assert_close(back_substitution(u, np.array([13, -1 / 4, 2 / 3])), np.array([1.0, 2.0, -1.0]))

    @pytest.mark.parametrize("n", [1, 2, 4, 7])
    @pytest.mark.parametrize("tail", [(), (1,), (3,)])
    def test_solves_for_any_diagonal(self, rng, n, tail):
        u, x = triangle(rng, n).T, rng.standard_normal((n, *tail))
        assert_close(back_substitution(u, u @ x), x)

    def test_integers(self):
        assert_close(back_substitution(np.array([[4, 1], [0, 2]]), np.array([2, 1])), np.array([0.375, 0.5]))

    def test_does_not_read_below_the_diagonal(self, rng):
        u, x = triangle(rng, 4).T, rng.standard_normal((4, 2))
        b = u @ x
        u[np.tril_indices(4, -1)] = np.nan
        assert_close(back_substitution(u, b), x)

    def test_a_tiny_diagonal_is_not_zero(self):
        assert_close(back_substitution(np.diag([1e-200, 1.0]), np.array([3e-200, 2.0])), np.array([3.0, 2.0]))

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_rejects_a_zero_on_the_diagonal(self, rng, place):
        u = triangle(rng, 3).T
        u[place, place] = 0
        with raises(LinAlgError, "singular"):
            back_substitution(u, np.ones(3))

    def test_float32_gives_float64(self, rng):
        a, b = (x.astype(np.float32) for x in (spd(rng, 4), rng.standard_normal(4)))
        expected = np.linalg.solve(np.triu(a).astype(np.float64), b)
        # What counts is the answer's type: the lesson doesn't say where float32 is widened.
        assert_close(back_substitution(a, b), expected, atol=1e-3 * float(np.abs(expected).max()), rtol=0)



class TestSolve:
    def test_the_example_worked_by_hand(self):
        assert_close(solve(np.array(A), np.array([3, 7, 13])), np.array([1.0, 2.0, -1.0]))

    @pytest.mark.parametrize("n", [1, 2, 5, 9])
    @pytest.mark.parametrize("tail", [(), (1,), (4,)])
    def test_matches_numpy(self, rng, n, tail):
        a, b = rng.standard_normal((n, n)), rng.standard_normal((n, *tail))
        assert_close(solve(a, b), np.linalg.solve(a, b))

    def test_a_tiny_pivot_does_no_harm(self):
        a = np.array([[1e-20, 1.0], [1.0, 1.0]])
        assert_close(solve(a, np.array([1.0, 2.0])), np.array([1.0, 1.0]))

    def test_small_residual_on_hilberts_matrix(self, rng):
        a = hilbert(11)
        b = a @ rng.uniform(1, 2, 11)
        # The lesson's bound, 11·ε·‖A‖·‖x‖, is below 3e-14; the inverse times b misses it by far.
        assert_close(a @ solve(a, b), b, atol=1e-12, rtol=0)

    @pytest.mark.parametrize("name", SINGULAR)
    def test_rejects_a_singular_matrix(self, name):
        a = np.array(SINGULAR[name])
        with raises(LinAlgError, "singular"):
            solve(a, np.ones(len(a)))

    def test_nearly_singular_is_not_singular(self):
        a = np.array([[1.0, 1.0], [1.0, 1.0 + 2.0**-40]])
        assert_close(solve(a, np.array([2.0, 2.0 + 2.0**-40])), np.array([1.0, 1.0]))

    def test_a_tiny_pivot_is_not_zero(self):
        assert_close(solve(np.diag([1e-150, 1e-200]), np.array([2e-150, 3e-200])), np.array([2.0, 3.0]))
        assert_close(solve(1e-200 * np.array(A), 1e-200 * np.array([3, 7, 13])), np.array([1.0, 2.0, -1.0]))

    @pytest.mark.parametrize("shape", NOT_SQUARE)
    def test_rejects_what_is_not_square(self, shape):
        with raises(ValueError, shape):
            solve(np.ones(shape), np.ones(shape[0]))

    @pytest.mark.parametrize("shape", [(1, 5), (2, 5), (4, 5), (2, 3), (4,)])
    def test_rejects_a_right_hand_side_of_another_length(self, shape):
        with raises(ValueError, 3, shape[0]):
            solve(np.array(A), np.ones(shape))

    def test_float32_gives_float64(self, rng):
        a, b = (x.astype(np.float32) for x in (spd(rng, 4), rng.standard_normal(4)))
        expected = np.linalg.solve(a.astype(np.float64), b)
        # What counts is the answer's type: the lesson doesn't say where float32 is widened.
        assert_close(solve(a, b), expected, atol=1e-3 * float(np.abs(expected).max()), rtol=0)



class TestDet:
    def test_the_example_worked_by_hand(self):
        assert_close(det(np.array(A)), 4.0)

    @pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
    def test_matches_numpy(self, rng, n):
        a = rng.standard_normal((n, n))
        assert_close(det(a), np.linalg.det(a))

    @pytest.mark.parametrize(
        ("order", "sign"),
        [
            ([1, 0], -1),
            ([1, 2, 0], 1),
            ([0, 2, 1], -1),
            ([1, 0, 3, 2], 1),
            ([1, 2, 3, 0], -1),
            ([4, 3, 2, 1, 0], 1),
        ],
    )
    def test_the_sign_is_that_of_the_permutation(self, order, sign):
        assert_close(det(3.0 * np.eye(len(order))[order]), sign * 3.0 ** len(order))

    @pytest.mark.parametrize("scale", [1e-50, 1e50])
    def test_a_tiny_one_is_not_zero(self, scale):
        assert_close(det(scale * np.array(A)) / scale**3, 4.0)

    @pytest.mark.parametrize("name", SINGULAR)
    def test_is_zero_for_a_singular_matrix(self, name):
        assert_close(det(np.array(SINGULAR[name])), 0.0)

    @pytest.mark.parametrize("shape", NOT_SQUARE)
    def test_rejects_what_is_not_square(self, shape):
        with raises(ValueError, shape):
            det(np.ones(shape))


class TestInverse:
    def test_two_by_two_by_hand(self):
        assert_close(inverse(np.array([[4, 7], [2, 6]])), np.array([[0.6, -0.7], [-0.2, 0.4]]))

    @pytest.mark.parametrize("n", [1, 2, 5, 8])
    def test_matches_numpy(self, rng, n):
        a = rng.standard_normal((n, n))
        # Errors grow with the condition number, and so does the inverse: the tolerance is relative to it.
        expected = np.linalg.inv(a)
        assert_close(inverse(a), expected, atol=1e-9 * np.abs(expected).max(), rtol=1e-7)

    @pytest.mark.parametrize("name", SINGULAR)
    def test_rejects_a_singular_matrix(self, name):
        with raises(LinAlgError, "singular"):
            inverse(np.array(SINGULAR[name]))

    @pytest.mark.parametrize("shape", NOT_SQUARE)
    def test_rejects_what_is_not_square(self, shape):
        with raises(ValueError, shape):
            inverse(np.ones(shape))

    def test_float32_gives_float64(self, rng):
        a = spd(rng, 4).astype(np.float32)
        expected = np.linalg.inv(a.astype(np.float64))
        # What counts is the answer's type: the lesson doesn't say where float32 is widened.
        assert_close(inverse(a), expected, atol=1e-3 * float(np.abs(expected).max()), rtol=0)



class TestCholesky:
    def test_three_by_three_by_hand(self):
        a = np.array([[4, 12, -16], [12, 37, -43], [-16, -43, 98]])
        assert_close(cholesky(a), np.array([[2.0, 0, 0], [6, 1, 0], [-8, 5, 3]]))

    @pytest.mark.parametrize("n", [1, 2, 4, 7])
    def test_matches_numpy(self, rng, n):
        a = spd(rng, n)
        assert_close(cholesky(a), np.linalg.cholesky(a))

    def test_hilberts_matrix_is_positive_definite(self):
        l = cholesky(hilbert(9))
        assert_close(l, np.tril(l))
        # Backward stable: the product is right to rounding, however ill-conditioned the matrix.
        assert_close(l @ l.T, hilbert(9), atol=1e-14, rtol=0)

    def test_a_tiny_square_is_positive(self):
        assert_close(cholesky(np.diag([1e-20, 4.0, 1e-30])) / np.diag([1e-10, 1, 1e-15]).sum(1), np.diag([1.0, 2.0, 1.0]))

    @pytest.mark.parametrize("k", [1, 2, 3, 4])
    @pytest.mark.parametrize("square", [0.0, -1.0])
    def test_rejects_what_is_not_positive_definite_and_says_where(self, k, square):
        # Small whole numbers: nothing is rounded, so that 0 is met exactly.
        l = np.tril([[1.0, 9, 9, 9], [2, 1, 9, 9], [-1, 3, 2, 9], [1, -2, 1, 1]])
        squares = np.ones(4)
        squares[k - 1] = square
        with raises(LinAlgError, k):
            cholesky(l @ np.diag(squares) @ l.T)

    @pytest.mark.parametrize("shape", NOT_SQUARE)
    def test_rejects_what_is_not_square(self, shape):
        with raises(ValueError, shape):
            cholesky(np.ones(shape))

    def test_float32_gives_float64(self, rng):
        a = spd(rng, 4).astype(np.float32)
        expected = np.linalg.cholesky(a.astype(np.float64))
        # What counts is the answer's type: the lesson doesn't say where float32 is widened.
        assert_close(cholesky(a), expected, atol=1e-3 * float(np.abs(expected).max()), rtol=0)

