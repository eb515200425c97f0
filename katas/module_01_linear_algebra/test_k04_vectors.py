"""Judges k04_vectors against numpy, exact angles, and by orthonormality."""

import math

import numpy as np
import pytest

from dojo.testing import assert_close, fail, from_scratch, pure, raises
from katas.module_01_linear_algebra.k04_vectors import (
    angle,
    cosine_similarity,
    dot,
    gram_schmidt,
    norm,
    projection,
)

pytestmark = [
    from_scratch(
        "scipy",
        "numpy.linalg",
        "numpy.dot",
        "numpy.vdot",
        "numpy.inner",
        "numpy.vecdot",
        "numpy.matmul",
        "numpy.einsum",
        "numpy.tensordot",
        "numpy.ndarray.dot",
        "@",
    ),
    pure(),
]

X, Y = [3, 4], [4, 3]
LENGTHS = [(3, 5), (3, 1), (1, 4)]
SCALES = [(1e199, 1.0), (1e-200, 1.0), (1.0, 1e199), (1.0, 1e-200), (1e199, 1e-200), (1e199, 1e199), (1e-200, 1e-200)]


def signed_qr(a: np.ndarray) -> np.ndarray:
    """numpy's Q with the signs for which the diagonal of R is positive."""
    q, r = np.linalg.qr(a)
    return q * np.sign(np.diag(r))


class TestDot:
    def test_the_example_worked_by_hand(self):
        assert_close(dot(np.array(X), np.array(Y)), 24.0)

    @pytest.mark.parametrize("n", [1, 2, 5, 100])
    def test_matches_numpy(self, rng, n):
        x, y = rng.normal(size=n), rng.normal(1, 2, size=n)
        assert_close(dot(x, y), np.dot(x, y))

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
    def test_small_integers_do_not_overflow(self, dtype):
        x, y = np.array([100, 90, 2], dtype), np.array([100, 50, 7], dtype)
        assert_close(dot(x, y), 14514.0)

    def test_single_precision_is_computed_in_double(self):
        x = np.array([1e4, 1.0, -1e4], np.float32)
        y = np.array([1e4, 1e-3, 1e4], np.float32)
        assert_close(dot(x, y), float(np.float32(1e-3)))

    @pytest.mark.parametrize(("n", "m"), LENGTHS)
    def test_rejects_vectors_of_two_lengths(self, n, m):
        with raises(ValueError, n, m):
            dot(np.ones(n), np.ones(m))


class TestNorm:
    @pytest.mark.parametrize(("p", "length"), [(1, 7.0), (2, 5.0), (3, 4.4979), (math.inf, 4.0)])
    def test_the_example_worked_by_hand(self, p, length):
        assert_close(norm(np.array(X), p), length, atol=1e-4, rtol=0)  # 4.4979 is rounded to 4 digits

    def test_p_is_2_unless_given(self, rng):
        x = rng.normal(size=7)
        assert_close(norm(x), np.linalg.norm(x))

    @pytest.mark.parametrize("p", [1, 1.5, 2, 3, 7.25, 40, math.inf])
    @pytest.mark.parametrize("n", [1, 4, 50])
    def test_matches_numpy(self, rng, n, p):
        x = rng.normal(-0.5, 3, size=n)
        assert_close(norm(x, p), np.linalg.norm(x, p))

    @pytest.mark.parametrize(("p", "length"), [(1, 9.0), (2, 41**0.5), (3, 225 ** (1 / 3)), (math.inf, 6.0)])
    def test_the_largest_entry_may_be_negative(self, p, length):
        assert_close(norm(np.array([1.0, -6.0, 2.0]), p), length)

    @pytest.mark.parametrize("p", [1, 2, 3, math.inf])
    def test_zeros_have_length_zero(self, p):
        assert_close(norm(np.zeros(3), p), 0.0)

    @pytest.mark.parametrize("scale", [1e-200, 1e-170, 1e170, 1e199])
    @pytest.mark.parametrize(("p", "length"), [(1, 7.0), (2, 5.0), (3, 91 ** (1 / 3)), (math.inf, 4.0)])
    def test_neither_overflows_nor_underflows(self, p, length, scale):
        # Relative: the lengths are near 1e-200 or 1e200.
        assert_close(norm(scale * np.array(X), p), scale * length, rtol=1e-7, atol=0)

    def test_a_large_p_does_not_overflow(self):
        assert_close(norm(np.array([300.0, -200.0, 300.0]), 250), 300 * 2 ** (1 / 250))

    @pytest.mark.parametrize(("x", "p", "length"), [([-128, 0], 2, 128.0), ([100, -100, 50], 1, 250.0), ([-128, 5], math.inf, 128.0)])
    def test_small_integers(self, x, p, length):
        assert_close(norm(np.array(x, np.int8), p), length)

    def test_single_precision_is_computed_in_double(self):
        got = norm(np.array([1.0, 1e-4], np.float32))
        assert_close(got, math.hypot(1, 1e-4), rtol=1e-12, atol=0)  # far below single precision

    @pytest.mark.parametrize("p", [0.99, 0.5, 0, -2])
    def test_rejects_p_below_1(self, p):
        with raises(ValueError, p):
            norm(np.array([3.0, 4.0]), p)


class TestCosineSimilarity:
    def test_the_example_worked_by_hand(self):
        assert_close(cosine_similarity(np.array(X), np.array(Y)), 0.96)

    @pytest.mark.parametrize("n", [1, 2, 6, 30])
    def test_matches_numpy(self, rng, n):
        x, y = rng.normal(size=n), rng.normal(size=n) * 5
        expected = x @ y / (np.linalg.norm(x) * np.linalg.norm(y))
        assert_close(cosine_similarity(x, y), expected)

    def test_against_and_at_right_angles(self):
        x = np.array([1.0, 2.0, -2.0])
        assert_close(cosine_similarity(x, -4 * x), -1.0)
        assert_close(cosine_similarity(x, np.array([2.0, 0.0, 1.0])), 0.0)

    @pytest.mark.parametrize(("a", "b"), SCALES)
    def test_the_lengths_do_not_matter(self, a, b):
        assert_close(cosine_similarity(a * np.array(X), b * np.array(Y)), 0.96)

    @pytest.mark.parametrize("factor", [3.0, -3.0])
    def test_never_beyond_one(self, rng, factor):
        vectors = rng.normal(size=(300, 7))
        worst = max(abs(cosine_similarity(x, factor * x)) for x in vectors)
        if not worst <= 1:
            fail("The cosine of two parallel vectors is beyond ±1.", evidence=("beyond", factor > 0))
        assert_close(worst, 1.0)

    def test_small_integers(self):
        assert_close(cosine_similarity(np.array([90, 120], np.int8), np.array([4, 3], np.int8)), 0.96)

    def test_single_precision_is_computed_in_double(self):
        got = cosine_similarity(np.array([1, 2], np.float32), np.array([3, 1], np.float32))
        assert_close(got, 0.5**0.5, rtol=1e-12, atol=0)  # far below single precision

    @pytest.mark.parametrize(("n", "m"), LENGTHS)
    def test_rejects_vectors_of_two_lengths(self, n, m):
        with raises(ValueError, n, m):
            cosine_similarity(np.ones(n), np.ones(m))

    @pytest.mark.parametrize(("x", "y"), [([0, 0], Y), (X, [0, 0]), ([0, 0], [0, 0])])
    def test_rejects_zeros(self, x, y):
        with raises(ValueError, "zero"):
            cosine_similarity(np.array(x, float), np.array(y, float))


class TestAngle:
    def test_the_example_worked_by_hand(self):
        assert_close(angle(np.array(X), np.array(Y)), 0.2838, atol=1e-4, rtol=0)  # rounded to 4 digits

    @pytest.mark.parametrize("theta", [0.0, 0.3, math.pi / 2, 2.0, 3.0, math.pi])
    def test_known_angles(self, rng, theta):
        u, v = signed_qr(rng.normal(size=(5, 2))).T
        assert_close(angle(2 * u, 7 * (math.cos(theta) * u + math.sin(theta) * v)), theta)

    @pytest.mark.parametrize("n", [1, 2, 6, 30])
    def test_matches_arccos_where_that_is_exact(self, rng, n):
        x, y = rng.normal(size=n), rng.normal(size=n)
        cosine = x @ y / (np.linalg.norm(x) * np.linalg.norm(y))
        assert_close(angle(x, y), np.arccos(np.clip(cosine, -1, 1)))

    @pytest.mark.parametrize("theta", [1e-8, 3e-10, 1e-5])
    def test_keeps_its_digits_near_0(self, theta):
        x = np.array([2.0, 0.0, 0.0])
        y = np.array([5.0, 0.0, -5 * theta])
        assert_close(angle(x, y), math.atan(theta), atol=1e-13, rtol=0)  # the stub's bound

    @pytest.mark.parametrize("theta", [1e-8, 3e-10, 1e-5])
    def test_keeps_its_digits_near_pi(self, theta):
        x = np.array([2.0, 0.0, 0.0])
        y = np.array([-5.0, 5 * theta, 0.0])
        assert_close(math.pi - angle(x, y), math.atan(theta), atol=1e-13, rtol=0)  # the stub's bound

    @pytest.mark.parametrize(("a", "b"), SCALES)
    def test_the_lengths_do_not_matter(self, a, b):
        assert_close(angle(a * np.array(X), b * np.array(Y)), math.acos(0.96))

    def test_unsigned_integers(self):
        assert_close(angle(np.array([3, 0], np.uint8), np.array([0, 5], np.uint8)), math.pi / 2)

    def test_small_integers(self):
        assert_close(angle(np.array([90, 120], np.int8), np.array([100, 75], np.int8)), math.acos(0.96))

    def test_single_precision_is_computed_in_double(self):
        got = angle(np.array([4, 1], np.float32), np.array([3, -2], np.float32))
        expected = math.atan2(1, 4) + math.atan2(2, 3)
        assert_close(got, expected, rtol=1e-12, atol=0)  # far below single precision

    @pytest.mark.parametrize(("n", "m"), LENGTHS)
    def test_rejects_vectors_of_two_lengths(self, n, m):
        with raises(ValueError, n, m):
            angle(np.ones(n), np.ones(m))

    @pytest.mark.parametrize(("x", "y"), [([0, 0], Y), (X, [0, 0]), ([0, 0], [0, 0])])
    def test_rejects_zeros(self, x, y):
        with raises(ValueError, "zero"):
            angle(np.array(x, float), np.array(y, float))


class TestProjection:
    def test_the_example_worked_by_hand(self):
        assert_close(projection(np.array(X), np.array(Y)), np.array([3.84, 2.88]))

    @pytest.mark.parametrize("n", [1, 2, 5, 20])
    def test_matches_least_squares(self, rng, n):
        x, onto = rng.normal(size=n), 3 * rng.normal(size=n)
        factor = np.linalg.lstsq(onto[:, None], x, rcond=None)[0]
        assert_close(projection(x, onto), factor * onto)

    def test_what_is_left_stands_at_right_angles(self, rng):
        x, onto = rng.normal(size=6), rng.normal(size=6)
        assert_close(float(np.dot(x - projection(x, onto), onto)), 0.0)

    @pytest.mark.parametrize("scale", [1e-200, -0.5, 1e199])
    def test_the_length_of_onto_does_not_matter(self, scale):
        assert_close(projection(np.array(X), scale * np.array(Y)), np.array([3.84, 2.88]))

    def test_small_integers(self):
        got = projection(np.array([100, 120], np.int8), np.array([120, 90], np.int8))
        assert_close(got, np.array([121.6, 91.2]))

    def test_unsigned_integers(self):
        assert_close(projection(np.array([200, 0], np.uint8), np.array([1, 2], np.uint8)), np.array([40.0, 80.0]))

    def test_zeros_have_no_part_along_anything(self):
        assert_close(projection(np.zeros(3), np.array([1.0, 2.0, 5.0])), np.zeros(3))

    def test_single_precision_is_computed_in_double(self):
        got = projection(np.array([1, 2], np.float32), np.array([1, 3], np.float32))
        assert_close(got, np.array([0.7, 2.1]), rtol=1e-12, atol=0)  # far below single precision

    @pytest.mark.parametrize(("n", "m"), LENGTHS)
    def test_rejects_vectors_of_two_lengths(self, n, m):
        with raises(ValueError, n, m):
            projection(np.ones(n), np.ones(m))

    def test_rejects_onto_zeros(self):
        with raises(ValueError, "zero"):
            projection(np.array(X), np.zeros(2))


class TestGramSchmidt:
    def test_the_example_worked_by_hand(self):
        assert_close(gram_schmidt(np.array([[3, 5], [4, 5]])), np.array([[0.6, 0.8], [0.8, -0.6]]))

    @pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 3), (5, 2), (7, 4), (9, 1)])
    def test_matches_numpy(self, rng, n, k):
        a = 3 * rng.normal(size=(n, k))
        q = gram_schmidt(a)
        assert_close(q, signed_qr(a))
        assert_close(q.T @ q, np.eye(k))

    def test_single_precision_is_computed_in_double(self, rng):
        a = rng.normal(size=(4, 2)).astype(np.float32)
        assert_close(gram_schmidt(a), signed_qr(a.astype(np.float64)))

    def test_small_integers(self):
        assert_close(gram_schmidt(np.array([[60, 100], [80, 100]], np.int8)), np.array([[0.6, 0.8], [0.8, -0.6]]))

    @pytest.mark.parametrize("delta", [1e-8, 1e-7])
    def test_nearly_dependent_columns(self, delta):
        a = np.vstack([np.ones(3), delta * np.eye(3)])
        q = gram_schmidt(a)
        assert_close(q.T @ q, np.eye(3), atol=1e-6, rtol=0)  # the stub's bound; modified loses digits too

    def test_a_scale_of_any_size(self, rng):
        a = rng.normal(size=(5, 3))
        scales = np.array([1e-12, 1e8, 1e-150])
        assert_close(gram_schmidt(a * scales), signed_qr(a))

    @pytest.mark.parametrize(("tol", "dependent"), [(1e-3, True), (1e-5, False)])
    def test_tol_says_what_depends(self, tol, dependent):
        a = np.array([[20.0, 20.0], [0.0, 0.002], [0.0, 0.0]])
        if dependent:
            with raises(ValueError, 1):
                gram_schmidt(a, tol)
        else:
            assert_close(gram_schmidt(a, tol), np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))

    def test_tol_is_1e_10_unless_given(self):
        assert_close(gram_schmidt(np.array([[1.0, 1.0], [0.0, 1.5e-10]])), np.eye(2))
        with raises(ValueError, 1):
            gram_schmidt(np.array([[1.0, 1.0], [0.0, 0.7e-10]]))

    @pytest.mark.parametrize("j", [1, 2, 3])
    def test_rejects_a_column_that_depends_on_others(self, rng, j):
        a = 1e6 * rng.normal(size=(6, 4))
        a[:, j] = a[:, :j] @ rng.uniform(1, 2, j)
        with raises(ValueError, j):
            gram_schmidt(a)

    def test_what_is_left_is_measured_against_the_column_as_it_was(self):
        # Of the last column 1e-6 is left after the first step, and 1e-11 after the second.
        with raises(ValueError, 2):
            gram_schmidt(np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1e-6], [0.0, 0.0, 1e-11]]))

    @pytest.mark.parametrize("j", [0, 2])
    def test_rejects_a_column_of_zeros(self, rng, j):
        a = rng.normal(size=(5, 4))
        a[:, j] = 0
        with raises(ValueError, j):
            gram_schmidt(a)

    @pytest.mark.parametrize(("n", "k"), [(2, 3), (3, 6)])
    def test_rejects_more_columns_than_rows(self, rng, n, k):
        with raises(ValueError, n):
            gram_schmidt(rng.normal(size=(n, k)))
