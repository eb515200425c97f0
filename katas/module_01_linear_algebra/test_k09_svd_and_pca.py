"""Judges k09_svd_and_pca against numpy's SVD, scikit-learn's PCA and Eckart and Young's error."""

import numpy as np
import pytest

from dojo.testing import assert_close, fail, from_scratch, pure
from katas.module_01_linear_algebra.k09_svd_and_pca import (
    compress,
    low_rank,
    pca,
    pseudo_inverse,
    rotation,
    svd,
    whiten,
)

pytestmark = [
    from_scratch(
        "numpy.linalg.svd",
        "numpy.linalg.svdvals",
        "numpy.linalg.eig",
        "numpy.linalg.eigh",
        "numpy.linalg.eigvals",
        "numpy.linalg.eigvalsh",
        "numpy.linalg.pinv",
        "scipy",
        "sklearn",
    ),
    pure(),
]

SHAPES = [(1, 1), (1, 4), (5, 1), (3, 3), (6, 4), (3, 7), (9, 8)]
POINTS = np.array([[4, 3], [0, -1], [3, 0], [1, 2]])
R2, R5, R10 = np.sqrt([2, 5, 10])


def with_singular_values(rng: np.random.Generator, m: int, n: int, s: list[float]) -> np.ndarray:
    """A random (m, n) matrix with these singular values."""
    u = np.linalg.qr(rng.standard_normal((m, len(s))))[0]
    v = np.linalg.qr(rng.standard_normal((n, len(s))))[0]
    return (u * s) @ v.T


def signs(rows: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """-1 for each of `rows` that points away from the expected one, else 1; both must be of one shape."""
    assert_close(np.abs(rows).shape, expected.shape)
    return np.where((rows * expected).sum(1) < 0, -1, 1)


def correlated(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Points far from 0, of clearly different variances along directions that aren't the axes."""
    sizes = 3.0 * 0.6 ** np.arange(min(n - 1, d))
    x = with_singular_values(rng, n, d, list(sizes))
    return x - x.mean(0) + rng.uniform(3, 8, d)


class TestRotation:
    @pytest.mark.parametrize(
        ("x", "y", "c", "s"),
        [
            ([3, 4], [0, 5], 1 / R2, 1 / R2),
            ([3, 4], [0, -5], 1 / R2, 1 / R2),
            ([1, 0, 1], [0, 2, 0], 1.0, 0.0),
            ([2, 0], [0, 2], 1.0, 0.0),
            ([0, 0], [1, 1], 1.0, 0.0),
            # α = 2, β = 5 and γ = ±2: ζ = ±3/4, t = ±1/2.
            ([1, 1, 0, 0, 0], [1, 1, 1, 1, 1], 2 / R5, 1 / R5),
            ([1, 1, 0, 0, 0], [-1, -1, 1, 1, 1], 2 / R5, -1 / R5),
        ],
    )
    def test_small_cases_by_hand(self, x, y, c, s):
        assert_close(rotation(np.array(x), np.array(y)), (c, s))

    @pytest.mark.parametrize("gamma", [1e-10, -1e-150, 1e-200, -1e-300])
    def test_hardly_a_turn_for_a_tiny_product(self, gamma):
        with np.errstate(all="ignore"):
            assert_close(rotation(np.array([1.0, 0.0]), np.array([gamma, 2.0])), (1.0, gamma / 3))

    @pytest.mark.parametrize("gamma", [1e-10, -1e-150, 1e-200, -1e-300])
    def test_half_a_right_angle_for_equal_lengths_however_small_the_product(self, gamma):
        assert_close(rotation(np.array([1.0, 0.0]), np.array([gamma, 1.0])), (1 / R2, 1 / R2))

    @pytest.mark.parametrize("m", [1, 2, 5])
    @pytest.mark.parametrize("scale", [0.1, 1.0, 7.0])
    def test_makes_columns_orthogonal_by_the_smaller_angle(self, rng, m, scale):
        x, y = rng.standard_normal(m), scale * rng.standard_normal(m)
        # The columns' products turn by twice the angle: tan 2φ = 2γ / (β - α), and |φ| ≤ 45°.
        phi = np.arctan(2 * (x @ y) / (y @ y - x @ x)) / 2
        c, s = rotation(x, y)
        assert_close((c * x - s * y) @ (s * x + c * y), 0.0)
        assert_close((c, s), (np.cos(phi), np.sin(phi)))


class TestSvd:
    def test_the_example_worked_by_hand(self):
        u, s, vt = svd(np.array([[3, 0], [4, 5]]))
        expected = np.array([[1, 1], [1, -1]]) / R2
        assert_close(s, np.sqrt([45, 5]))
        flip = signs(vt, expected)
        assert_close(vt * flip[:, None], expected)
        assert_close(u * flip, np.array([[1, 3], [3, -1]]) / R10)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_matches_numpy_up_to_signs(self, rng, shape):
        # Singular values that differ clearly, so that the vectors are unique up to sign.
        a = with_singular_values(rng, *shape, list(4.0 * 0.7 ** np.arange(min(shape))))
        u, s, vt = svd(a)
        expected_u, expected_s, expected_vt = np.linalg.svd(a, full_matrices=False)
        assert_close(s, expected_s)
        flip = signs(vt, expected_vt)
        assert_close(vt * flip[:, None], expected_vt)
        assert_close(u * flip, expected_u)

    @pytest.mark.parametrize("shape", [(5, 5), (8, 3), (4, 6)])
    def test_is_a_decomposition(self, rng, shape):
        a = rng.standard_normal(shape)
        u, s, vt = svd(a)
        assert_close(s, np.linalg.svd(a)[1])
        assert_close(u * s @ vt, a)
        assert_close(u.T @ u, np.eye(min(shape)))
        assert_close(vt @ vt.T, np.eye(min(shape)))

    def test_falling_order(self):
        u, s, vt = svd(np.array([[0, 0, 5], [-1, 0, 0], [0, 3, 0], [0, 0, 0]]))
        assert_close(s, np.array([5.0, 3.0, 1.0]))
        assert_close(np.abs(vt), np.eye(3)[[2, 1, 0]])
        assert_close(np.abs(u), np.eye(4)[:, [0, 2, 1]])

    @pytest.mark.parametrize("shape", [(6, 3), (3, 5)])
    def test_small_singular_values_are_right_too(self, rng, shape):
        a = with_singular_values(rng, *shape, [1.0, 1e-5, 1e-10])
        # As `a` is stored, 1e-10 carries an error of a few times 1e-16; through aᵀa no digit is right.
        assert_close(svd(a)[1], np.array([1.0, 1e-5, 1e-10]), atol=0, rtol=1e-4)

    def test_equal_singular_values(self, rng):
        a = with_singular_values(rng, 5, 3, [2.0, 2.0, 2.0])
        u, s, vt = svd(a)
        assert_close(s, np.full(3, 2.0))
        assert_close(u * s @ vt, a)
        assert_close(u.T @ u, np.eye(3))

    @pytest.mark.parametrize("shape", [(7, 4), (4, 7), (4, 4)])
    def test_a_matrix_of_lower_rank(self, rng, shape):
        a = with_singular_values(rng, *shape, [3.0, 1.0])
        u, s, vt = svd(a)
        assert_close(s, np.array([3.0, 1.0, 0.0, 0.0]))
        assert_close(u[:, :2].T @ u[:, :2], np.eye(2))
        assert_close(vt[:2] @ vt[:2].T, np.eye(2))
        assert_close(u * s @ vt, a)

    @pytest.mark.parametrize("a", [[[1, 1, 0], [1, 1, 0], [0, 0, 1]], [[1, 2, 3, 4], [2, 4, 6, 8], [0, 1, 0, 1]]])
    def test_dependent_columns_of_small_numbers(self, a):
        u, s, vt = svd(np.array(a))
        assert_close(s, np.linalg.svd(a)[1])
        assert_close(u * s @ vt, np.array(a, dtype=float))

    @pytest.mark.parametrize("scale", [1e-100, 1e100])
    def test_the_scale_does_not_matter(self, scale):
        u, s, vt = svd(scale * np.array([[3, 0], [4, 5]]))
        assert_close(s / scale, np.sqrt([45, 5]))
        assert_close(u * (s / scale) @ vt, np.array([[3.0, 0.0], [4.0, 5.0]]))

    @pytest.mark.parametrize("shape", [(3, 2), (2, 3)])
    def test_zeros(self, shape):
        u, s, vt = svd(np.zeros(shape))
        assert_close(s, np.zeros(2))
        assert_close(u * s @ vt, np.zeros(shape))


class TestLowRank:
    def test_the_example_worked_by_hand(self):
        assert_close(low_rank(np.array([[3, 0], [4, 5]]), 1), np.array([[1.5, 1.5], [4.5, 4.5]]))

    @pytest.mark.parametrize("shape", [(6, 4), (3, 5)])
    @pytest.mark.parametrize("k", [0, 1, 2, 3])
    def test_the_error_is_eckart_and_youngs(self, rng, shape, k):
        s = [4.0, 2.5, 1.0]
        a = with_singular_values(rng, *shape, s)
        u, sigma, vt = np.linalg.svd(a)
        approximation = low_rank(a, k)
        assert_close(approximation, u[:, :k] * sigma[:k] @ vt[:k])
        assert_close(((a - approximation) ** 2).sum(), sum(value**2 for value in s[k:]))


class TestPseudoInverse:
    def test_a_singular_matrix_by_hand(self):
        assert_close(pseudo_inverse(np.array([[1, 1], [1, 1]])), np.full((2, 2), 0.25))

    @pytest.mark.parametrize("shape", SHAPES)
    def test_matches_numpy(self, rng, shape):
        a = with_singular_values(rng, *shape, list(2.0 * 0.7 ** np.arange(min(shape))))
        assert_close(pseudo_inverse(a), np.linalg.pinv(a))

    @pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
    def test_a_matrix_of_lower_rank(self, rng, shape):
        a = with_singular_values(rng, *shape, [3.0, 0.5])
        assert_close(pseudo_inverse(a), np.linalg.pinv(a, rcond=1e-10))

    @pytest.mark.parametrize(("rcond", "kept"), [(0.04, 3), (0.06, 2), (0.24, 2), (0.26, 1)])
    def test_rcond_is_relative_to_the_largest(self, rcond, kept):
        s = np.array([20.0, 5.0, 1.0])
        expected = np.diag(np.where(np.arange(3) < kept, 1 / s, 0.0))
        assert_close(pseudo_inverse(np.diag(s), rcond), expected)

    @pytest.mark.parametrize(("small", "kept"), [(1.5e-12, True), (0.7e-12, False)])
    def test_by_default_only_what_rounding_leaves_counts_as_zero(self, small, kept):
        actual = pseudo_inverse(np.diag([4.0, 4 * small]))
        assert_close(actual * small, np.diag([small / 4, 0.25 if kept else 0.0]))

    @pytest.mark.parametrize("shape", [(2, 3), (4, 1)])
    def test_zeros_give_zeros(self, shape):
        assert_close(pseudo_inverse(np.zeros(shape)), np.zeros(shape[::-1]))


class TestPca:
    def test_the_example_worked_by_hand(self):
        scores, components, variances = pca(POINTS, 2)
        expected = np.array([[1, 1], [1, -1]]) / R2
        assert_close(variances, np.array([16 / 3, 4 / 3]))
        flip = signs(components, expected)
        assert_close(components * flip[:, None], expected)
        assert_close(scores * flip, R2 * np.array([[2, 0], [-2, 0], [0, 1], [0, -1]]))

    @pytest.mark.parametrize("shape", [(9, 4), (4, 6), (2, 3), (12, 1)])
    @pytest.mark.parametrize("k", [1, 2])
    def test_matches_scikit_learn_up_to_signs(self, rng, shape, k):
        from sklearn.decomposition import PCA

        x = correlated(rng, *shape)
        k = min(k, min(shape) if shape[0] > shape[1] else shape[0] - 1)
        oracle = PCA(n_components=k, svd_solver="full").fit(x)
        scores, components, variances = pca(x, k)
        assert_close(variances, oracle.explained_variance_)
        flip = signs(components, oracle.components_)
        assert_close(components * flip[:, None], oracle.components_)
        assert_close(scores * flip, oracle.transform(x))

    def test_handwritten_digits(self, digits):
        from sklearn.decomposition import PCA

        x = digits[0][:120, 8:40]
        oracle = PCA(n_components=3, svd_solver="full").fit(x)
        scores, components, variances = pca(x, 3)
        assert_close(variances, oracle.explained_variance_)
        flip = signs(components, oracle.components_)
        assert_close(scores * flip, oracle.transform(x))


class TestWhiten:
    def test_the_example_worked_by_hand(self):
        assert_close(whiten(POINTS), np.sqrt(3) / 2 * np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]]))

    @pytest.mark.parametrize("shape", [(10, 4), (7, 2), (4, 6), (9, 1)])
    @pytest.mark.parametrize("eps", [0.5, 3.0])
    def test_divides_by_the_root_of_variance_plus_eps(self, rng, shape, eps):
        from scipy.linalg import inv, sqrtm

        x = 3 * correlated(rng, *shape)
        covariance = np.atleast_2d(np.cov(x, rowvar=False))
        assert_close(whiten(x, eps), (x - x.mean(0)) @ inv(sqrtm(covariance + eps * np.eye(shape[1]))))

    @pytest.mark.parametrize("shape", [(8, 3), (6, 5)])
    def test_by_default_the_covariance_is_the_identity(self, rng, shape):
        white = whiten(correlated(rng, *shape))
        assert_close(white.mean(0), np.zeros(shape[1]))
        assert_close(np.cov(white, rowvar=False), np.eye(shape[1]))


class TestCompress:
    def test_a_small_image_of_two_colours(self):
        image = np.array([[[0.3, 0.0], [0.0, 0.5]], [[0.4, 0.0], [0.5, 0.25]]])
        # The lesson's matrix, tenfold, and one of rank 1, whose two columns are 0 and v.
        expected = np.array([[[0.15, 0.0], [0.15, 0.5]], [[0.45, 0.0], [0.45, 0.25]]])
        assert_close(compress(image, 1), (expected, 1 * (2 + 2 + 1) / 4))

    @pytest.mark.parametrize("shape", [(7, 5, 3), (4, 6, 1), (3, 9, 2)])
    @pytest.mark.parametrize("k", [1, 2])
    def test_what_leaves_the_range_is_clipped(self, rng, shape, k):
        image = (2 * rng.random(shape) - 0.5).clip(0, 1)
        expected = np.empty(shape)
        for c in range(shape[2]):
            u, s, vt = np.linalg.svd(image[:, :, c])
            expected[:, :, c] = (u[:, :k] * s[:k] @ vt[:k]).clip(0, 1)
        actual, share = compress(image, k)
        assert_close(actual, expected)
        assert_close(share, k * (shape[0] + shape[1] + 1) / (shape[0] * shape[1]))

    def test_a_photo(self, photo):
        small = photo[::14, ::16]
        actual, share = compress(small, 6)
        expected = np.empty(small.shape)
        for c in range(3):
            u, s, vt = np.linalg.svd(small[:, :, c])
            expected[:, :, c] = (u[:, :6] * s[:6] @ vt[:6]).clip(0, 1)
        assert_close(share, 6 * (31 + 40 + 1) / (31 * 40))
        assert_close(actual, expected)
        error = np.sqrt(((actual - small) ** 2).mean() / small.var())
        if error > 0.5:
            fail(f"with a third of its numbers the photo is off by {error:.2f} of its contrast", evidence=error)
