"""Judges k05_matrices against numpy, counted multiplications, and every way to bracket a chain."""

import inspect
import math
import re
import string
import tracemalloc

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_01_linear_algebra.k05_matrices import (
    chain_cost,
    chain_order,
    matmul_by_blocks,
    matmul_by_columns,
    matmul_by_outer_products,
    matmul_by_rows,
    multiply_blocks,
    trace_of_product,
    update_inverse,
)

pytestmark = [
    from_scratch(
        "@",
        "numpy.ndarray.dot",
        "numpy.matmul",
        "numpy.dot",
        "numpy.einsum",
        "numpy.tensordot",
        "numpy.inner",
        "numpy.vdot",
        "numpy.vecdot",
        "numpy.matvec",
        "numpy.vecmat",
        "numpy.trace",
        "numpy.linalg.matmul",
        "numpy.linalg.tensordot",
        "numpy.linalg.vecdot",
        "numpy.linalg.multi_dot",
        "numpy.linalg.trace",
        "numpy.linalg.inv",
        "numpy.linalg.solve",
        "numpy.linalg.pinv",
        "numpy.linalg.lstsq",
        "numpy.linalg.tensorinv",
        "numpy.linalg.tensorsolve",
        "scipy",
    ),
    pure(),
]

A, B = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])
AB = np.array([[19.0, 22.0], [43.0, 50.0]])
SHAPES = [(2, 3, 4), (5, 1, 2), (1, 6, 1), (4, 4, 3), (3, 7, 5)]
MISFITS = [((2, 3), (4, 3)), ((5, 3), (1, 2)), ((5, 1), (3, 2))]


def pair(n, k, m, rng):
    return rng.normal(size=(n, k)), rng.normal(size=(k, m))


class TestByRows:
    def test_the_example_worked_by_hand(self):
        assert_close(matmul_by_rows(A, B), AB)

    @pytest.mark.parametrize(("n", "k", "m"), SHAPES)
    def test_matches_numpy(self, n, k, m, rng):
        a, b = pair(n, k, m, rng)
        assert_close(matmul_by_rows(a, b), a @ b)

    @pytest.mark.parametrize(("a", "b"), MISFITS)
    def test_rejects_shapes_that_do_not_fit(self, a, b):
        with raises(ValueError, a, b):
            matmul_by_rows(np.zeros(a), np.zeros(b))


class TestByColumns:
    def test_the_example_worked_by_hand(self):
        assert_close(matmul_by_columns(A, B), AB)

    @pytest.mark.parametrize(("n", "k", "m"), SHAPES)
    def test_matches_numpy(self, n, k, m, rng):
        a, b = pair(n, k, m, rng)
        assert_close(matmul_by_columns(a, b), a @ b)

    @pytest.mark.parametrize(("a", "b"), MISFITS)
    def test_rejects_shapes_that_do_not_fit(self, a, b):
        with raises(ValueError, a, b):
            matmul_by_columns(np.zeros(a), np.zeros(b))


class TestByOuterProducts:
    def test_the_example_worked_by_hand(self):
        assert_close(matmul_by_outer_products(A, B), AB)

    @pytest.mark.parametrize(("n", "k", "m"), SHAPES)
    def test_matches_numpy(self, n, k, m, rng):
        a, b = pair(n, k, m, rng)
        assert_close(matmul_by_outer_products(a, b), a @ b)

    @pytest.mark.parametrize(("a", "b"), MISFITS)
    def test_rejects_shapes_that_do_not_fit(self, a, b):
        with raises(ValueError, a, b):
            matmul_by_outer_products(np.zeros(a), np.zeros(b))


class TestMultiplyBlocks:
    def test_the_example_worked_by_hand(self):
        assert_close(multiply_blocks(A, B), AB)

    @pytest.mark.parametrize(("n", "k", "m"), SHAPES)
    def test_matches_numpy(self, n, k, m, rng):
        a, b = pair(n, k, m, rng)
        assert_close(multiply_blocks(a, b), a @ b)


class TestByBlocks:
    def test_the_example_worked_by_hand(self):
        assert_close(matmul_by_blocks(A, B, 1), AB)

    @pytest.mark.parametrize("size", [1, 2, 3, 10])
    @pytest.mark.parametrize(("n", "k", "m"), SHAPES)
    def test_matches_numpy(self, n, k, m, size, rng):
        a, b = pair(n, k, m, rng)
        assert_close(matmul_by_blocks(a, b, size), a @ b)

    @pytest.mark.parametrize(("n", "k", "m", "size"), [(5, 7, 4, 2), (6, 3, 9, 3), (4, 4, 4, 8)])
    def test_one_product_of_blocks_for_each_triple(self, n, k, m, size, rng, monkeypatch):
        names = inspect.unwrap(matmul_by_blocks).__globals__
        multiply, shapes = names["multiply_blocks"], []

        def counting(a, b):
            shapes.append((*a.shape, *b.shape))
            return multiply(a, b)

        monkeypatch.setitem(names, "multiply_blocks", counting)
        a, b = pair(n, k, m, rng)
        a[:size, :size] = 0  # a block of zeros is multiplied like any other
        matmul_by_blocks(a, b, size)
        assert_equal(len(shapes), math.ceil(n / size) * math.ceil(k / size) * math.ceil(m / size))
        if max(max(shape) for shape in shapes) > size:
            fail("A block has more rows or columns than the size allows.", evidence="too large")

    @pytest.mark.parametrize(("a", "b"), MISFITS)
    def test_rejects_shapes_that_do_not_fit(self, a, b):
        with raises(ValueError, a, b):
            matmul_by_blocks(np.zeros(a), np.zeros(b), 2)


class TestTrace:
    def test_the_example_worked_by_hand(self):
        assert_close(trace_of_product(A, B), 69.0)

    @pytest.mark.parametrize(("n", "m"), [(3, 5), (4, 4), (6, 1), (1, 3)])
    def test_matches_numpy(self, n, m, rng):
        a, b = pair(n, m, n, rng)
        assert_close(trace_of_product(a, b), float(np.trace(a @ b)))

    def test_the_product_itself_is_never_made(self, rng):
        a, b = pair(1500, 2, 1500, rng)
        tracemalloc.start()
        try:
            got = trace_of_product(a, b)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert_close(got, float((a * b.T).sum()))
        # a and b take 24 kB each; the product would take 18 MB.
        if peak > 2e6:
            fail(f"trace_of_product takes {peak / 1e6:.0f} MB: it makes the product.", evidence="made")

    @pytest.mark.parametrize(
        ("a", "b"),
        [((2, 3), (2, 3)), ((2, 3), (3, 4)), ((5, 1), (2, 5)), ((1, 3), (1, 1)), ((1, 3), (3, 4)), ((5, 2), (2, 1))],
    )
    def test_rejects_shapes_that_do_not_fit(self, a, b):
        with raises(ValueError, a, b):
            trace_of_product(np.zeros(a), np.zeros(b))


class TestUpdateInverse:
    def test_the_example_worked_by_hand(self):
        got = update_inverse(np.eye(2) / 2, np.array([1.0, 0.0]), np.array([3.0, 1.0]))
        assert_close(got, np.array([[0.2, -0.1], [0.0, 0.5]]))

    @pytest.mark.parametrize("n", [1, 2, 3, 6])
    def test_matches_a_new_inverse(self, n, rng):
        a = rng.normal(size=(n, n)) + 3 * n * np.eye(n)
        u, v = rng.normal(size=n), rng.normal(size=n)
        assert_close(update_inverse(np.linalg.inv(a), u, v), np.linalg.inv(a + np.outer(u, v)))

    @pytest.mark.parametrize("u", [[0.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    def test_a_divisor_of_1_is_no_error(self, u):
        # Here vᵀA⁻¹u is 0 for each u but the last.
        inverse, v = np.array([[0.5, 0.0], [1.0, 0.25]]), np.array([-2.0, 1.0])
        column, row = inverse @ u, v @ inverse
        assert_close(update_inverse(inverse, np.array(u), v), inverse - np.outer(column, row) / (1 + v @ column))

    def test_no_inverse_is_an_error(self):
        # I - e₁e₁ᵀ has a row of zeros.
        with raises(np.linalg.LinAlgError):
            update_inverse(np.eye(3), np.array([1.0, 0.0, 0.0]), np.array([-1.0, 0.0, 0.0]))

    @pytest.mark.parametrize("gap", [1e-13, -1e-13, 1.5e-12, -1.5e-12, 1e-6])
    def test_where_the_error_begins(self, gap):
        u, v = np.array([2.0, 0.0]), np.array([0.0, 0.0])
        inverse = np.array([[(1 - gap) / 2, 0.0], [0.0, 1.0]])
        v[0] = -1.0  # the divisor is 1 - (1 - gap) = gap
        if abs(gap) < 1e-12:
            with raises(np.linalg.LinAlgError):
                update_inverse(inverse, u, v)
        else:
            divisor = 1 + v[0] * inverse[0, 0] * u[0]
            expected = inverse[0, 0] + inverse[0, 0] ** 2 * 2 / divisor
            assert_close(update_inverse(inverse, u, v)[0, 0] / expected, 1.0)


def every_cost(dims):
    """What each way to bracket the chain costs."""
    if len(dims) == 2:
        return [0]
    return [
        left + right + dims[0] * dims[s] * dims[-1]
        for s in range(1, len(dims) - 1)
        for left in every_cost(dims[: s + 1])
        for right in every_cost(dims[s:])
    ]


def cost_of(order, dims):
    """What the bracketed product costs, checked for its form."""
    assert_equal(order.replace("(", "").replace(")", ""), string.ascii_uppercase[: len(dims) - 1])
    cost, part = 0, re.compile(r"\((\d+)x(\d+) (\d+)x(\d+) \)")
    # Each matrix becomes its shape; then the brackets are worked off, one innermost pair after the other.
    text = re.sub("[A-Z]", lambda letter: "{}x{} ".format(*dims[ord(letter[0]) - 65 :][:2]), order)
    while found := part.search(text):
        n, k, _, m = map(int, found.groups())
        cost += n * k * m
        text = f"{text[: found.start()]}{n}x{m} {text[found.end() :]}"
    assert_equal(text, f"{dims[0]}x{dims[-1]} ")
    return cost


CHAINS = [
    [10, 100, 5, 50],
    [5, 50, 10, 100],
    [3, 4],
    [7, 2, 9],
    [30, 35, 15, 5, 10, 20, 25],
    [2, 9, 3, 8, 4, 7],
    [6, 1, 6, 1, 6],
]


class TestChainCost:
    def test_the_example_worked_by_hand(self):
        assert_equal(chain_cost([10, 100, 5, 50]), 7500)

    @pytest.mark.parametrize("dims", CHAINS)
    def test_no_way_is_cheaper(self, dims):
        assert_equal(chain_cost(dims), min(every_cost(dims)))

    @pytest.mark.parametrize("n", [4, 5, 6, 7])
    def test_no_way_is_cheaper_for_a_random_chain(self, n, rng):
        dims = [int(d) for d in rng.integers(1, 30, n)]
        assert_equal(chain_cost(dims), min(every_cost(dims)))

    def test_large_costs_are_exact(self):
        dims = [999_983, 1_000_003, 999_979, 1_000_033, 999_961]  # about 3e18: float64 has no odd numbers there
        assert_equal(chain_cost(dims), min(every_cost(dims)))

    def test_costs_beyond_64_bits_are_exact(self):
        dims = [9_999_991, 9_999_973, 9_999_943, 9_999_971, 9_999_937]  # about 3e21
        assert_equal(str(chain_cost(dims)), str(min(every_cost(dims))))

    def test_a_long_chain_is_no_trouble(self):
        # 1×9, 9×1, 1×9, …: the pairs first, 9 each, then thirteen numbers in a row.
        assert_equal(chain_cost([1, 9] * 13 + [1]), 13 * 9 + 12)

    @pytest.mark.parametrize("dims", [[], [4]])
    def test_rejects_too_few_dims(self, dims):
        with raises(ValueError, len(dims)):
            chain_cost(dims)


class TestChainOrder:
    def test_the_example_worked_by_hand(self):
        assert_equal(chain_order([10, 100, 5, 50]), "((AB)C)")

    @pytest.mark.parametrize("dims", CHAINS)
    def test_costs_as_little_as_the_cheapest_way(self, dims):
        assert_equal(cost_of(chain_order(dims), dims), min(every_cost(dims)))

    @pytest.mark.parametrize("n", [4, 5, 6, 7])
    def test_costs_as_little_for_a_random_chain(self, n, rng):
        dims = [int(d) for d in rng.integers(1, 30, n)]
        assert_equal(cost_of(chain_order(dims), dims), min(every_cost(dims)))

    def test_a_long_chain_is_no_trouble(self):
        dims = [1, 9] * 13 + [1]
        assert_equal(cost_of(chain_order(dims), dims), 13 * 9 + 12)

    @pytest.mark.parametrize("dims", [[], [4]])
    def test_rejects_too_few_dims(self, dims):
        with raises(ValueError, len(dims)):
            chain_order(dims)
