"""Judges k08_eigenvalues against numpy.linalg.eigh, matrix powers and a linear system."""

import numpy as np
import pytest
from numpy.linalg import LinAlgError

from dojo.testing import assert_close, from_scratch, pure, raises
from katas.module_01_linear_algebra.k08_eigenvalues import (
    deflate,
    inverse_iteration,
    pagerank,
    power_iteration,
    qr_algorithm,
    wilkinson_shift,
)

pytestmark = [
    from_scratch(
        "numpy.linalg.eig",
        "numpy.linalg.eigh",
        "numpy.linalg.eigvals",
        "numpy.linalg.eigvalsh",
        "numpy.linalg.svd",
        "numpy.linalg.svdvals",
        "scipy",
    ),
    pure(),
]

A = np.array([[2, 1], [1, 2]])


def with_spectrum(rng: np.random.Generator, values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric matrix with these eigenvalues, and its eigenvectors as columns."""
    q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return (q * values) @ q.T, q


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def facing(vectors: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """`vectors`, each column negated where it points away from the expected one."""
    return vectors * np.where((vectors * expected).sum(0) < 0, -1, 1)


class TestPowerIteration:
    @pytest.mark.parametrize(("steps", "value", "vector"), [(0, 2, [1, 0]), (1, 14 / 5, [2, 1]), (2, 122 / 41, [5, 4])])
    def test_the_example_worked_by_hand(self, steps, value, vector):
        assert_close(power_iteration(A, np.array([1, 0]), steps), (value, unit(np.array(vector))))

    @pytest.mark.parametrize("n", [1, 3, 6])
    @pytest.mark.parametrize("steps", [0, 1, 4])
    def test_takes_exactly_as_many_steps(self, rng, n, steps):
        a, start = rng.standard_normal((n, n)), rng.standard_normal(n)
        v = unit(np.linalg.matrix_power(a, steps) @ start)
        assert_close(power_iteration(a, start, steps), (v @ a @ v, v))

    @pytest.mark.parametrize("top", [5.0, -5.0])
    def test_finds_the_largest_magnitude(self, rng, top):
        a, q = with_spectrum(rng, [1.0, top, 3.0, -2.0])
        value, vector = power_iteration(a, q.sum(1), 60)
        assert_close(value, top)
        assert_close(vector, q[:, 1])

    @pytest.mark.parametrize("scale", [1e100, 1e-100])
    def test_large_and_small_numbers_stay_in_range(self, scale):
        value, vector = power_iteration(scale * A, np.array([1.0, 0.0]), 40)
        assert_close(value / scale, 3.0)
        assert_close(vector, np.sqrt([0.5, 0.5]))


class TestInverseIteration:
    def test_the_example_worked_by_hand(self):
        assert_close(inverse_iteration(A, 0, np.array([1, 0]), 1), (6 / 5, unit(np.array([2, -1]))))

    @pytest.mark.parametrize("n", [1, 3, 6])
    @pytest.mark.parametrize("steps", [0, 1, 3])
    @pytest.mark.parametrize("shift", [0.5, -4.0])
    def test_takes_exactly_as_many_steps(self, rng, n, steps, shift):
        # Diagonally dominant around a shift of -4 and of 0.5, so that rounding stays small.
        a, start = rng.uniform(-0.3, 0.3, (n, n)) + np.diag(2.0 + np.arange(n)), rng.standard_normal(n)
        v = unit(np.linalg.matrix_power(np.linalg.inv(a - shift * np.eye(n)), steps) @ start)
        assert_close(inverse_iteration(a, shift, start, steps), (v @ a @ v, v))

    @pytest.mark.parametrize(("shift", "nearest"), [(2.2, 1), (-1.0, 3), (0.1, 0), (20.0, 2)])
    def test_finds_the_eigenvalue_nearest_to_the_shift(self, rng, shift, nearest):
        values = [1.0, 3.0, 9.0, -2.0]
        a, q = with_spectrum(rng, values)
        value, vector = inverse_iteration(a, shift, q.sum(1), 90)
        assert_close(value, values[nearest])
        assert_close(facing(vector[:, None], q[:, [nearest]])[:, 0], q[:, nearest])

    @pytest.mark.parametrize("away", [1e-9, 1e9])
    def test_stays_in_range_after_many_steps(self, away):
        value, vector = inverse_iteration(np.diag([1.0, 5.0]), 1.0 - away, np.array([3.0, 0.0]), 60)
        assert_close(value, 1.0)
        assert_close(vector, np.array([1.0, 0.0]))

    def test_rejects_a_shift_that_is_an_eigenvalue(self):
        with raises(LinAlgError):
            inverse_iteration(np.diag([1.0, 2.0, 4.0]), 2.0, np.ones(3), 1)

    def test_a_nearly_singular_matrix_is_solved(self):
        value, vector = inverse_iteration(np.diag([1.0, 2.0, 4.0]), 2.0 + 2.0**-42, np.ones(3), 2)
        assert_close((value, vector), (2.0, np.array([0.0, 1.0, 0.0])))

    def test_without_a_step_nothing_is_solved(self):
        value, vector = inverse_iteration(np.diag([1.0, 2.0, 4.0]), 2.0, np.array([0.0, 0.0, 3.0]), 0)
        assert_close((value, vector), (4.0, np.array([0.0, 0.0, 1.0])))


class TestDeflate:
    def test_the_example_worked_by_hand(self):
        expected = np.array([[0.5, -0.5], [-0.5, 0.5]])
        assert_close(deflate(A, 3.0, np.array([1.0, 1.0]) / np.sqrt(2)), expected)

    @pytest.mark.parametrize("which", [0, 1, 2])
    @pytest.mark.parametrize("length", [1.0, -0.3, 4.0])
    def test_only_the_given_eigenvalue_becomes_zero(self, rng, which, length):
        values = [7.0, -3.0, 2.0, 0.5]
        a, q = with_spectrum(rng, values)
        left = np.where(np.arange(4) == which, 0.0, values)
        assert_close(deflate(a, values[which], length * q[:, which]), (q * left) @ q.T)


class TestWilkinsonShift:
    @pytest.mark.parametrize(
        ("a", "shift"),
        [
            ([[2, 1], [1, 2]], 1),
            ([[0, 1], [1, 0]], -1),
            ([[5, 2], [2, 2]], 1),
            ([[2, 2], [2, 5]], 6),
            ([[7, 0, 3], [0, 0, 4], [3, 4, 0]], -5),
        ],
    )
    def test_small_cases_by_hand(self, a, shift):
        assert_close(wilkinson_shift(np.array(a)), shift)

    @pytest.mark.parametrize("n", [2, 3, 6])
    def test_is_the_eigenvalue_of_two_rows_that_is_nearer_to_the_last_entry(self, rng, n):
        a = rng.standard_normal((n, n))
        a = a + a.T
        rest, c = np.linalg.norm(a[-1, :-1]), a[-1, -1]
        values = np.linalg.eigvalsh([[a[-2, -2], rest], [rest, c]])
        assert_close(wilkinson_shift(a), values[np.abs(values - c).argmin()])


class TestQrAlgorithm:
    def test_two_by_two_by_hand(self):
        values, vectors = qr_algorithm(A)
        assert_close(values, np.array([1.0, 3.0]))
        expected = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
        assert_close(facing(vectors, expected), expected)

    @pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
    def test_values_match_numpy(self, rng, n):
        a = rng.standard_normal((n, n))
        a = a + a.T
        values, vectors = qr_algorithm(a)
        assert_close(values, np.linalg.eigvalsh(a))
        assert_close(vectors.T @ vectors, np.eye(n))
        assert_close(a @ vectors, vectors * values)

    def test_vectors_match_up_to_sign(self, rng):
        a, q = with_spectrum(rng, [-6.0, -1.0, 0.0, 2.5, 4.0])
        values, vectors = qr_algorithm(a)
        assert_close(values, np.array([-6.0, -1.0, 0.0, 2.5, 4.0]))
        assert_close(facing(vectors, q), q)

    def test_digits_beyond_the_first_seven(self, rng):
        a, _ = with_spectrum(rng, [-6.0, -1.0, 0.0, 2.5, 4.0])
        # The lesson promises 1e-12·‖a‖, and ‖a‖ is 7.8.
        assert_close(qr_algorithm(a)[0], np.linalg.eigvalsh(a), atol=1e-11, rtol=0)

    @pytest.mark.parametrize("scale", [1e-100, 1e-14, 1e9, 1e100])
    def test_the_scale_does_not_matter(self, rng, scale):
        a, _ = with_spectrum(rng, [-6.0, -1.0, 2.5, 4.0])
        values, vectors = qr_algorithm(scale * a)
        assert_close(values / scale, np.array([-6.0, -1.0, 2.5, 4.0]))
        assert_close(a @ vectors, vectors * (values / scale))

    def test_one_matrix_after_another(self, rng):
        a, b = np.diag([3.0, 1.0]), with_spectrum(rng, [1.0, 2.0, 4.0])[0]
        assert_close([qr_algorithm(x)[0] for x in (a, b, a)], [np.array([1.0, 3.0]), np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0])])

    def test_eigenvalues_of_opposite_sign(self):
        values, vectors = qr_algorithm(np.array([[0, 1], [1, 0]]))
        assert_close(values, np.array([-1.0, 1.0]))
        expected = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
        assert_close(facing(vectors, expected), expected)

    @pytest.mark.parametrize("values", [[2.0, 2.0, 2.0, 5.0], [-1.0, -1.0, 3.0, 3.0], [0.0, 0.0, 1.0]])
    def test_repeated_eigenvalues(self, rng, values):
        a, _ = with_spectrum(rng, values)
        actual, vectors = qr_algorithm(a)
        assert_close(actual, np.array(values))
        assert_close(vectors.T @ vectors, np.eye(len(values)))
        assert_close(a @ vectors, vectors * actual)

    def test_a_diagonal_matrix_is_sorted(self):
        values, vectors = qr_algorithm(np.diag([3, -1, 2]))
        assert_close(values, np.array([-1.0, 2.0, 3.0]))
        expected = np.eye(3)[:, [1, 2, 0]]
        assert_close(facing(vectors, expected), expected)

    def test_blocks_that_know_nothing_of_each_other(self):
        a = np.array([[4, 0, 0, 0], [0, 2, 1, 0], [0, 1, 2, 0], [0, 0, 0, -1]])[:, [0, 3, 1, 2]][[0, 3, 1, 2]]
        values, vectors = qr_algorithm(a)
        assert_close(values, np.array([-1.0, 1.0, 3.0, 4.0]))
        assert_close(a @ vectors, vectors * values)

    @pytest.mark.parametrize(
        "a", [[[1, 0, 1], [0, 2, 0], [1, 0, 3]], [[2, 1, 0, 1], [1, 3, 1, 0], [0, 1, 5, 0], [1, 0, 0, 4]]]
    )
    def test_a_zero_beside_the_last_entry_is_not_the_whole_row(self, a):
        values, vectors = qr_algorithm(np.array(a))
        assert_close(values, np.linalg.eigvalsh(a))
        assert_close(a @ vectors, vectors * values)

    def test_zeros(self):
        values, vectors = qr_algorithm(np.zeros((3, 3)))
        assert_close(values, np.zeros(3))
        assert_close(vectors.T @ vectors, np.eye(3))


class TestPagerank:
    LINKS = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0]])

    @pytest.mark.parametrize(("steps", "ranks"), [(0, [4, 4, 4]), (1, [4, 3, 5])])
    def test_the_example_worked_by_hand(self, steps, ranks):
        assert_close(pagerank(self.LINKS, steps, 0.5), np.array(ranks) / 12)

    def test_the_example_in_the_long_run(self):
        assert_close(pagerank(self.LINKS, 60, 0.5), np.array([14, 10, 15]) / 39)

    @pytest.mark.parametrize("n", [1, 2, 5, 8])
    @pytest.mark.parametrize("steps", [1, 3])
    @pytest.mark.parametrize("damping", [0.0, 0.3, 1.0])
    def test_takes_exactly_as_many_steps(self, rng, n, steps, damping):
        # Pages of many links, of links to themselves, and (row 0) of none.
        links = rng.integers(0, 4, (n, n))
        links[0] = 0
        follow = np.array([row / row.sum() if row.any() else np.full(n, 1 / n) for row in links])
        surf = damping * follow + (1 - damping) / n
        expected = np.full(n, 1 / n) @ np.linalg.matrix_power(surf, steps)
        assert_close(pagerank(links, steps, damping), expected)

    @pytest.mark.parametrize("damping", [0.5, 0.9])
    def test_solves_the_equation_of_the_ranks(self, rng, damping):
        follow = rng.dirichlet(np.ones(6), 6)
        rank = np.linalg.solve(np.eye(6) - damping * follow.T, np.full(6, (1 - damping) / 6))
        assert_close(pagerank(20 * follow, 300, damping), rank)

    def test_fractions_of_links_may_add_up_to_less_than_1(self):
        assert_close(pagerank(self.LINKS / 8, 1, 0.5), np.array([4, 3, 5]) / 12)

    def test_the_default_damping_is_085(self):
        assert_close(pagerank(self.LINKS, 1), 0.05 + 0.85 * np.array([2, 1, 3]) / 6)

    def test_a_page_without_links_shares_its_rank_among_all(self):
        # r₀ = ¼ + ½·½r₁ and r₁ = ¼ + ½(r₀ + ½r₁).
        assert_close(pagerank(np.array([[0, 1], [0, 0]]), 60, 0.5), np.array([0.4, 0.6]))

    def test_each_of_several_links_counts(self):
        # From page 0 one link in four leads to itself, three to page 1.
        assert_close(pagerank(np.array([[1, 3], [1, 0]]), 1, 1.0), np.array([0.125 + 0.5, 0.375]))

    def test_without_any_link_all_are_equal(self):
        assert_close(pagerank(np.zeros((4, 4)), 3), np.full(4, 0.25))
