"""Judges k08_autograd_tensor against torch's gradients, numpy's forward pass, and finite differences."""

import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_03_language_models.k08_autograd_tensor import (
    Function,
    Softplus,
    Tensor,
    add,
    backward,
    exp,
    gradcheck,
    index,
    log,
    matmul,
    max_over,
    multiply,
    power,
    relu,
    reshape,
    sum_over,
    tanh,
    transpose,
    unbroadcast,
)

pytestmark = [from_scratch("torch", "jax", "autograd", "sympy", "scipy"), pure()]


def check(rng, run, oracle, *arrays):
    """Compare run's data, parents and vjp on Tensors of `arrays` with oracle's on torch's tensors."""
    import torch

    tensors = [Tensor(a) for a in arrays]
    out = run(*tensors)
    leaves = [torch.tensor(np.asarray(a, dtype=np.float64), requires_grad=True) for a in arrays]
    wanted = oracle(*leaves)
    assert_close(out.data, wanted.detach().numpy())
    assert_equal([p is t for p, t in zip(out.parents, tensors, strict=False)], [True] * len(tensors))
    assert_equal(len(out.parents), len(tensors))
    upstream = rng.normal(size=out.data.shape)
    expected = [g.numpy() for g in torch.autograd.grad(wanted, leaves, torch.tensor(upstream))]
    given = upstream.copy()
    for _ in range(2):  # a second time, as nothing may be used up
        assert_close([np.array(g) for g in out.vjp(given)], expected)
    assert_close(given, upstream)
    assert_close([t.data for t in tensors], [np.asarray(a, dtype=np.float64) for a in arrays])


SHAPES = [
    ((2, 3), (2, 3)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 3), (2, 1)),
    ((4, 1, 3), (2, 1)),
    ((), (2, 3)),
    ((2, 3), ()),
    ((), ()),
    ((1, 1), (4, 2, 3)),
    ((5, 1), (1, 4)),
    ((1,), (1, 1)),
]


class TestUnbroadcast:
    def test_the_example_worked_by_hand(self):
        assert_close(unbroadcast(np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]), (3,)), np.array([0.5, 0.7, 0.9]))

    @pytest.mark.parametrize(
        ("shape", "full"),
        [
            ((2, 3), (2, 3)),
            ((3,), (2, 3)),
            ((2, 1), (2, 3)),
            ((1, 3), (2, 3)),
            ((), (2, 3)),
            ((), ()),
            ((1,), (4,)),
            ((1, 1), (2, 3)),
            ((2, 1), (4, 2, 3)),
            ((4, 1, 3), (4, 2, 3)),
            ((3, 1, 2, 1), (5, 3, 4, 2, 6)),
            ((1,), (1, 1)),
        ],
    )
    def test_is_the_transpose_of_broadcasting(self, rng, shape, full):
        # For all a and G, the sum of G · broadcast(a) is that of unbroadcast(G) · a; and it is linear.
        grad = rng.normal(size=full)
        expected = np.zeros(shape)
        for place in np.ndindex(shape):
            one = np.zeros(shape)
            one[place] = 1.0
            expected[place] = (grad * np.broadcast_to(one, full)).sum()
        assert_close(unbroadcast(grad, shape), expected)

    @pytest.mark.parametrize(("shape", "full"), [((0,), (2, 0)), ((1,), (0,)), ((2, 1), (2, 0))])
    def test_of_axes_without_entries(self, shape, full):
        assert_close(unbroadcast(np.zeros(full), shape), np.zeros(shape))


class TestAdd:
    @pytest.mark.parametrize(("one", "other"), SHAPES)
    def test_matches_torch(self, rng, one, other):
        check(rng, add, lambda a, b: a + b, rng.normal(size=one), rng.normal(size=other))

    def test_operators_keep_the_order_of_the_parents(self):
        a, b = Tensor([1.0]), Tensor([2.0])
        for out in (a + b, a * b):
            assert_equal([p is t for p, t in zip(out.parents, (a, b), strict=True)], [True, True])

    def test_of_a_tensor_and_itself(self, rng):
        a = Tensor(rng.normal(size=(2, 3)))
        assert_close(list(add(a, a).vjp(np.ones((2, 3)))), [np.ones((2, 3))] * 2)


class TestMultiply:
    def test_the_example_worked_by_hand(self):
        out = multiply(Tensor([[1, 2], [3, 4]]), Tensor([10, 20]))
        grads = out.vjp(np.array([[1.0, 0.0], [2.0, 5.0]]))
        assert_close(list(grads), [np.array([[10.0, 0.0], [20.0, 100.0]]), np.array([7.0, 20.0])])

    @pytest.mark.parametrize(("one", "other"), SHAPES)
    def test_matches_torch(self, rng, one, other):
        check(rng, multiply, lambda a, b: a * b, rng.normal(size=one), rng.normal(size=other))


class TestPower:
    @pytest.mark.parametrize("exponent", [0.5, 2, 3.0, -1, -1.5])
    @pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
    def test_matches_torch(self, rng, exponent, shape):
        check(rng, lambda a: power(a, exponent), lambda a: a**exponent, rng.uniform(0.5, 2, shape))

    @pytest.mark.parametrize("exponent", [0, 1, 2, 3])
    def test_whole_powers_of_any_number(self, rng, exponent):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check(
                rng,
                lambda a: power(a, exponent),
                lambda a: a**exponent,
                np.array([[-1.5, 0.0], [2.0, -0.0], [1.0, -3.0]]),
            )

    def test_the_power_zero_of_several_shapes(self, rng):
        for shape in ((3,), (), (2, 4)):
            check(rng, lambda a: power(a, 0), lambda a: a**0, rng.normal(size=shape))


class TestLog:
    @pytest.mark.parametrize("shape", [(), (2, 3)])
    def test_matches_torch(self, rng, shape):
        check(rng, log, lambda a: a.log(), rng.uniform(0.1, 5, shape))


class TestTanh:
    @pytest.mark.parametrize("shape", [(), (2, 3)])
    def test_matches_torch(self, rng, shape):
        check(rng, tanh, lambda a: a.tanh(), rng.normal(size=shape))

    def test_of_large_numbers(self, rng):
        check(rng, tanh, lambda a: a.tanh(), np.array([-1000.0, 1000.0]))


class TestRelu:
    def test_matches_torch(self, rng):
        check(rng, relu, lambda a: a.relu(), rng.normal(size=(3, 4)))

    def test_at_its_corner(self, rng):
        check(rng, relu, lambda a: a.relu(), np.array([0.0, -0.5, 0.5]))


class TestMatmul:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ((2, 3), (3, 4)),
            ((1, 3), (3, 1)),
            ((5, 2, 3), (5, 3, 4)),
            ((5, 2, 3), (3, 4)),
            ((2, 3), (5, 3, 4)),
            ((5, 1, 2, 3), (6, 3, 4)),
            ((1, 2, 3), (5, 3, 4)),
            ((7, 5, 2, 3), (7, 1, 3, 4)),
        ],
    )
    def test_of_matrices_matches_torch(self, rng, one, other):
        check(rng, matmul, lambda a, b: a @ b, rng.normal(size=one), rng.normal(size=other))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ((3,), (3,)),
            ((3,), (3, 4)),
            ((2, 3), (3,)),
            ((3,), (5, 3, 4)),
            ((5, 2, 3), (3,)),
            ((3,), (6, 5, 3, 4)),
            ((6, 5, 2, 3), (3,)),
            ((1,), (1, 4)),
        ],
    )
    def test_of_vectors_matches_torch(self, rng, one, other):
        check(rng, matmul, lambda a, b: a @ b, rng.normal(size=one), rng.normal(size=other))

    def test_of_a_matrix_and_itself(self, rng):
        a, upstream = Tensor(rng.normal(size=(3, 3))), rng.normal(size=(3, 3))
        assert_close(list(matmul(a, a).vjp(upstream)), [upstream @ a.data.T, a.data.T @ upstream])


AXES = [
    (None, False),
    (None, True),
    (0, False),
    (1, False),
    (-1, True),
    (-2, False),
    ((0, 2), False),
    ((2, -3), True),
    ((-1, 0), False),
    ((1, 0), False),
    ((-2, -1), False),
]


def oracle_axes(a, axis):
    return tuple(range(a.ndim)) if axis is None else axis


class TestSumOver:
    @pytest.mark.parametrize(("axis", "keepdims"), AXES)
    def test_matches_torch(self, rng, axis, keepdims):
        check(
            rng,
            lambda a: sum_over(a, axis, keepdims),
            lambda a: a.sum(oracle_axes(a, axis), keepdim=keepdims),
            rng.normal(size=(2, 3, 4)),
        )

    @pytest.mark.parametrize("shape", [(), (1,), (3, 1)])
    def test_over_everything_unless_told_otherwise(self, rng, shape):
        check(rng, sum_over, lambda a: a.sum(), rng.normal(size=shape))

    def test_of_a_square_array(self, rng):
        check(rng, lambda a: sum_over(a, axis=1), lambda a: a.sum(1), rng.normal(size=(3, 3)))


class TestMaxOver:
    def test_the_example_worked_by_hand(self):
        out = max_over(Tensor([3, 8, 8]))
        assert_close(out.data, 8.0)
        assert_close(out.vjp(np.array(6.0))[0], np.array([0.0, 3.0, 3.0]))

    @pytest.mark.parametrize(("axis", "keepdims"), AXES)
    def test_matches_torch(self, rng, axis, keepdims):
        check(
            rng,
            lambda a: max_over(a, axis, keepdims),
            lambda a: a.amax(oracle_axes(a, axis), keepdim=keepdims),
            rng.normal(size=(2, 3, 4)),
        )

    @pytest.mark.parametrize(("axis", "keepdims"), AXES)
    def test_equals_share_the_gradient(self, rng, axis, keepdims):
        check(
            rng,
            lambda a: max_over(a, axis, keepdims),
            lambda a: a.amax(oracle_axes(a, axis), keepdim=keepdims),
            rng.integers(0, 3, (2, 3, 4)),
        )

    @pytest.mark.parametrize("shape", [(), (3,), (3, 1)])
    def test_over_everything_unless_told_otherwise(self, rng, shape):
        check(rng, max_over, lambda a: a.amax(), rng.normal(size=shape))

    def test_of_a_square_array(self, rng):
        check(rng, lambda a: max_over(a, axis=1), lambda a: a.amax(1), rng.normal(size=(3, 3)))


class TestReshape:
    @pytest.mark.parametrize("shape", [(3, 2), (6,), 6, -1, (1, -1, 3), (2, 3)])
    def test_matches_torch(self, rng, shape):
        flat = (shape,) if isinstance(shape, int) else shape
        check(rng, lambda a: reshape(a, shape), lambda a: a.reshape(flat), rng.normal(size=(2, 3)))

    def test_to_no_axes(self, rng):
        check(rng, lambda a: reshape(a, ()), lambda a: a.reshape(()), rng.normal(size=(1, 1)))


class TestTranspose:
    @pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4)])
    def test_turns_all_axes_round_unless_told_otherwise(self, rng, shape):
        check(rng, transpose, lambda a: a.permute(tuple(range(a.ndim)[::-1])), rng.normal(size=shape))

    # (1, 2, 0) isn't its own inverse.
    @pytest.mark.parametrize("axes", [(1, 2, 0), (2, 0, 1), (0, 2, 1), (0, 1, 2), (-1, 0, 1), (1, -1, -3)])
    def test_matches_torch(self, rng, axes):
        check(rng, lambda a: transpose(a, axes), lambda a: a.permute(axes), rng.normal(size=(2, 3, 4)))

    @pytest.mark.parametrize("axes", [(1, 2, 0), (2, 0, 1), (-1, 0, 1)])
    def test_of_a_cube(self, rng, axes):
        check(rng, lambda a: transpose(a, axes), lambda a: a.permute(axes), rng.normal(size=(3, 3, 3)))

    def test_of_four_axes(self, rng):
        check(rng, lambda a: transpose(a, (2, 0, 3, 1)), lambda a: a.permute(2, 0, 3, 1), rng.normal(size=(2, 3, 4, 5)))


KEYS = {
    "a number": 1,
    "a negative number": -2,
    "a slice": slice(1, None),
    "a step": slice(None, None, 2),
    "backwards": slice(None, None, -1),
    "a slice of a later axis": (slice(None), slice(0, 2)),
    "an ellipsis": (..., 1),
    "a new axis": (None, slice(None), 2),
    "nothing": slice(0, 0),
    "everything": ...,
    "one entry": (1, 2),
    "a list": [0, 2, 1],
    "repeats": [0, 2, 0, 0],
    "repeats that are negative": np.array([0, -3, 2, -1]),
    "a table of repeats": np.array([[1, 1], [0, 1], [2, 2]]),
    "pairs with repeats": (np.array([0, 1, 0, 2, 0]), np.array([3, 2, 3, 0, 3])),
    "rows against columns": (np.array([[0], [2], [0]]), np.array([1, 1])),
    "repeats of a later axis": (slice(None), [3, 0, 3]),
    "a mask of rows": np.array([True, False, True]),
    "a mask of entries": np.arange(12).reshape(3, 4) % 5 < 2,
}


def check_index(rng, shape, key):
    """Compare index with the places that numpy takes: torch has no negative steps."""
    tensor = Tensor(rng.normal(size=shape))
    before = tensor.data.copy()
    out = index(tensor, key)
    places = np.arange(before.size).reshape(shape)[key]
    assert_close(out.data, np.array(before[key]))
    assert_equal((len(out.parents), out.parents[0] is tensor), (1, True))
    upstream = rng.normal(size=np.shape(places))
    expected = np.zeros(before.size)
    for place, g in zip(np.ravel(places).tolist(), upstream.ravel().tolist(), strict=True):
        expected[place] += g
    for _ in range(2):  # a second time, as nothing may be used up
        assert_close(np.array(out.vjp(upstream)[0]), expected.reshape(shape))
    assert_close(tensor.data, before)


class TestIndex:
    def test_the_example_worked_by_hand(self):
        out = index(Tensor([5, 6, 7]), [0, 2, 0])
        assert_close(out.data, np.array([5.0, 7.0, 5.0]))
        assert_close(out.vjp(np.array([1.0, 2.0, 4.0]))[0], np.array([5.0, 0.0, 2.0]))

    @pytest.mark.parametrize("name", KEYS)
    def test_counts_how_often_each_place_is_taken(self, rng, name):
        check_index(rng, (3, 4), KEYS[name])

    @pytest.mark.parametrize(
        ("shape", "key"),
        [((4,), [1, 1, 0]), ((), ...), ((2, 4, 3), (1, ..., [2, 2])), ((2, 4, 3), (slice(None), None, [3, 3, 0]))],
        ids=["a vector", "no axes", "apart", "a new axis between"],
    )
    def test_of_more_and_fewer_axes(self, rng, shape, key):
        check_index(rng, shape, key)


# The operators of Tensor call the functions: numbers and arrays may stand on either side.
SIDE = np.array([[2.0, -1.0, 0.5]])
OPERATORS = {
    "a + b": lambda a, b, c: a + b,
    "a - b": lambda a, b, c: a - b,
    "a * b": lambda a, b, c: a * b,
    "a / b": lambda a, b, c: a / b,
    "a @ b.T": lambda a, b, c: a @ (transpose(b) if isinstance(b, Tensor) else b.T),
    "-a": lambda a, b, c: -a,
    "a ** 3": lambda a, b, c: a**3,
    "a + 2": lambda a, b, c: a + 2,
    "2 + a": lambda a, b, c: 2 + a,
    "2 - a": lambda a, b, c: 2 - a,
    "a - 2": lambda a, b, c: a - 2,
    "2 * a": lambda a, b, c: 2 * a,
    "2 / a": lambda a, b, c: 2 / a,
    "a / 2": lambda a, b, c: a / 2,
    "c + a": lambda a, b, c: c + a,
    "c - a": lambda a, b, c: c - a,
    "c * a": lambda a, b, c: c * a,
    "c / a": lambda a, b, c: c / a,
    "a / c": lambda a, b, c: a / c,
    "c @ b.T": lambda a, b, c: c @ (transpose(b) if isinstance(b, Tensor) else b.T),
    "a @ c.T": lambda a, b, c: a @ c.T,
    "a[[1, 0, 1]]": lambda a, b, c: a[[1, 0, 1]],
}


# Steps of random programs; f has the functions that aren't operators, of torch or of the kata.
PROGRAM = {
    "a + b": lambda a, b, f: a + b,
    "a * b": lambda a, b, f: a * b,
    "a - b": lambda a, b, f: a - b,
    "a / (b * b + 1)": lambda a, b, f: a / (b * b + 1),
    "3 - a": lambda a, b, f: 3 - a,
    "a ** 2": lambda a, b, f: a**2,
    "exp(tanh(a))": lambda a, b, f: f.exp(f.tanh(a)),
    "log(a * a + 1)": lambda a, b, f: f.log(a * a + 1),
    "relu(a)": lambda a, b, f: f.relu(a),
    "a @ b": lambda a, b, f: a @ b,
    "sum_over(a, 0)": lambda a, b, f: f.total(a, 0, False),
    "sum_over(a, -1, keepdims=True)": lambda a, b, f: f.total(a, -1, True),
    "max_over(a, 0)": lambda a, b, f: f.largest(a, 0, False),
    "max_over(a, -1, keepdims=True)": lambda a, b, f: f.largest(a, -1, True),
    "transpose(a)": lambda a, b, f: f.turned(a),
    "reshape(a, -1)": lambda a, b, f: f.flat(a),
    "a[[0, -1, 0]]": lambda a, b, f: a[[0, -1, 0]],
    "a[..., None]": lambda a, b, f: a[..., None],
    "a[0]": lambda a, b, f: a[0],
}


class TestBackward:
    def test_the_example_worked_by_hand(self):
        x, b = Tensor([[1, 2], [3, 4]]), Tensor([10, 20])
        y = x * b
        backward(y, [[1, 0], [2, 5]])
        wanted = [np.array([[1.0, 0.0], [2.0, 5.0]]), np.array([[10.0, 0.0], [20.0, 100.0]]), np.array([7.0, 20.0])]
        assert_close([y.grad, x.grad, b.grad], wanted)

    @pytest.mark.parametrize("name", OPERATORS)
    def test_operators(self, rng, name):
        import torch

        a, b = rng.uniform(0.5, 2, (2, 3)) * [[1], [-1]], rng.uniform(0.5, 2, (2, 3))
        tensors = [Tensor(a), Tensor(b)]
        out = OPERATORS[name](*tensors, SIDE)
        leaves = [torch.tensor(x, requires_grad=True) for x in (a, b)]
        wanted = OPERATORS[name](*leaves, torch.tensor(SIDE))
        upstream = rng.normal(size=tuple(wanted.shape))
        expected = torch.autograd.grad(wanted, leaves, torch.tensor(upstream), allow_unused=True)
        backward(out, upstream)
        assert_close(out.data, wanted.detach().numpy())
        zeros = np.zeros((2, 3))
        assert_close([t.grad for t in tensors], [zeros if g is None else g.numpy() for g in expected])

    @pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
    def test_of_one_entry_the_gradient_is_1(self, shape):
        x = Tensor(np.full(shape, 3.0))
        f = x * x
        backward(f)
        assert_close([f.grad, x.grad], [np.ones(shape), np.full(shape, 6.0)])

    @pytest.mark.parametrize("shape", [(2,), (2, 3), (0,)])
    def test_of_more_or_less_it_must_be_given(self, shape):
        x = Tensor(np.ones(shape))
        with raises(ValueError, shape):
            backward(x * 2)

    @pytest.mark.parametrize("wrong", [(), (3,), (3, 2), (1, 3), (7, 5)])
    def test_it_must_have_the_shape_of_the_root(self, wrong):
        x = Tensor(np.ones((2, 3)))
        with raises(ValueError, (2, 3), wrong):
            backward(x * 2, np.ones(wrong))

    def test_a_node_that_is_used_several_times(self, rng):
        import torch

        a = rng.normal(size=(3, 3))

        def run(x, flat, total):
            y = x * x + x
            return total(y @ x * flat(y) + y)

        x, leaf = Tensor(a), torch.tensor(a, requires_grad=True)
        backward(run(x, transpose, sum_over))
        run(leaf, lambda t: t.T, torch.sum).backward()
        assert_close(x.grad, leaf.grad.numpy())

    def test_a_second_call_adds_the_same_again(self, rng):
        a, b, upstream = rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=(2, 3))
        x, y = Tensor(a), Tensor(b)
        s = x + y
        p = s * x
        f = p * p
        backward(f, upstream)
        once = [t.grad.copy() for t in (f, p, s, x, y)]
        assert_close(once[:3], [upstream, 2 * p.data * upstream, 2 * p.data * upstream * a])
        backward(f, upstream)
        assert_close([t.grad for t in (y, x, s, p, f)], [2 * g for g in once[::-1]])
        backward(s, upstream)
        assert_close([t.grad for t in (f, s)], [2 * once[0], 2 * once[2] + upstream])
        assert_close(y.grad, 2 * once[4] + upstream.sum(axis=0))

    def test_one_array_that_reaches_two_parents_is_not_added_to(self):
        # x + y hands G to both; what else reaches x must not reach y.
        x, y = Tensor([1, 2]), Tensor([3, 4])
        f = (x + y) + x * 5 + x
        backward(f, [1, 10])
        assert_close([x.grad, y.grad], [np.array([7.0, 70.0]), np.array([1.0, 10.0])])

    def test_each_gradient_is_an_array_of_its_own(self):
        x, y = Tensor([1, 2]), Tensor([3, 4])
        given = np.array([1.0, 10.0])
        s = x + y
        f = sum_over(reshape(s, (2, 1)), 1)
        backward(f, given)
        for tensor in (x, y, s, f):
            tensor.grad += 100.0
        assert_close([x.grad, y.grad, s.grad, f.grad], [np.array([101.0, 110.0])] * 4)
        assert_close(given, np.array([1.0, 10.0]))

    def test_nodes_outside_of_the_graph_keep_their_gradients(self):
        x, other = Tensor([1, 2]), Tensor([3, 4])
        s = x * 2
        later = s * other
        backward(s, [1, 1])
        assert_close([x.grad, other.grad, later.grad], [np.full(2, 2.0), np.zeros(2), np.zeros(2)])

    def test_a_chain_of_5000_tensors(self):
        x = Tensor([0.5, 2.0])
        y = x
        for _ in range(5000):
            y = -y
        backward(y, [1.0, 3.0])
        assert_close(x.grad, np.array([1.0, 3.0]))

    def test_the_time_grows_with_the_edges_not_with_the_paths(self):
        def ladder(n):
            x = Tensor(3.0)
            for _ in range(n):
                x = x + x
            return x

        few, many = (python_steps(backward, ladder(n)) for n in (6, 12))
        if many > 6 * few:
            fail(f"twice as many Tensors take {many / few:.0f} times as many steps", evidence="paths")

    def test_any_program_matches_torch(self, rng):
        import torch
        from hypothesis import HealthCheck, Phase, assume, given, seed, settings
        from hypothesis import strategies as st

        shapes = [(), (3,), (2, 3), (3, 1), (2, 3, 3), (1,)]
        step = st.tuples(st.sampled_from(list(PROGRAM)), st.integers(0, 7), st.integers(0, 7))
        mine = SimpleNamespace(
            exp=exp, log=log, tanh=tanh, relu=relu, total=sum_over, largest=max_over, turned=transpose, flat=lambda a: reshape(a, -1)
        )  # fmt: skip
        theirs = SimpleNamespace(
            exp=torch.exp,
            log=torch.log,
            tanh=torch.tanh,
            relu=torch.relu,
            total=lambda a, axis, keep: a.sum(axis, keepdim=keep),
            largest=lambda a, axis, keep: a.amax(axis, keepdim=keep),
            turned=lambda a: a.permute(tuple(range(a.ndim)[::-1])),
            flat=lambda a: a.reshape(-1),
        )

        def check_program(leaves, program, number):
            numbers = np.random.default_rng(number)
            arrays = [numbers.normal(size=shape) for shape in leaves]
            wanted = [torch.tensor(a, requires_grad=True) for a in arrays]
            nodes = [Tensor(a) for a in arrays]
            text = [f"{name} {shape}" for name, shape in zip("xyz", leaves, strict=False)]
            names = list("xyz"[: len(leaves)])
            for what, i, j in program:
                i, j = i % len(wanted), j % len(wanted)
                corner = wanted[i].detach().numpy()
                if corner.ndim == 0 and "_over" in what:
                    continue  # it has no axis
                if (
                    what.startswith(("relu", "max"))
                    and np.unique(np.diff(np.sort(corner, axis=None))).min(initial=1) < 1e-9
                ):
                    continue  # rounding would decide
                try:
                    out = PROGRAM[what](wanted[i], wanted[j], theirs)
                except (RuntimeError, IndexError):
                    continue  # shapes that don't fit
                if out.numel() > 200:
                    continue
                assume(bool(torch.isfinite(out).all() and (out.abs() < 1e4).all()))
                wanted.append(out)
                names.append(f"v{len(wanted) - len(leaves)}")
                text.append(f"{names[-1]} = {what}  of a = {names[i]}, b = {names[j]}")
                nodes.append(PROGRAM[what](nodes[i], nodes[j], mine))
            upstream = numbers.normal(size=tuple(wanted[-1].shape))
            # The last step may be a leaf itself, if no other fitted.
            grads = torch.autograd.grad(wanted[-1], wanted, torch.tensor(upstream), allow_unused=True)
            expected = [
                np.zeros(tuple(w.shape)) if g is None else g.numpy() for w, g in zip(wanted, grads, strict=True)
            ]
            backward(nodes[-1], upstream)
            story = "; ".join(text)
            for name, node, want, grad in zip(names, nodes, wanted, expected, strict=True):
                value = want.detach().numpy()
                if node.data.shape != value.shape or not np.allclose(node.data, value, rtol=1e-8, atol=1e-8):
                    fail(f"{story}: the data of {name} are wrong", evidence=("data", story, node.data))
                if node.grad.shape != grad.shape or not np.allclose(node.grad, grad, rtol=1e-6, atol=1e-6):
                    what = f"the gradient of {names[-1]} with respect to {name} is wrong"
                    fail(f"{story}: {what}", evidence=("grad", story, node.grad))

        assert_close((Tensor(2.0) * 3.0).data, 6.0)
        # From short programs to long ones, so that the one that is shown is as short as it can be.
        for longest in (1, 2, 8):
            drawn = given(
                st.lists(st.sampled_from(shapes), min_size=1, max_size=3),
                st.lists(step, min_size=1, max_size=longest),
                st.integers(0, 1000),
            )(check_program)
            seed(int(rng.integers(2**32)))(
                settings(
                    max_examples=25,
                    phases=[Phase.generate],
                    deadline=None,
                    database=None,
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                )(drawn)
            )()

    def test_a_network_learns_xor(self, rng):
        x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
        shapes = {(2, 8): 1.0, (8,): 1.0, (8, 1): 0.25, (1,): 0.0}
        weights = [Tensor(size * rng.normal(size=shape)) for shape, size in shapes.items()]
        losses = []
        for _ in range(300):
            hidden = tanh(x @ weights[0] + weights[1])
            loss = sum_over((hidden @ weights[2] + weights[3] - y) ** 2) / 4
            for weight in weights:
                weight.grad = np.zeros(weight.data.shape)
            backward(loss)
            for weight in weights:
                weight.data = weight.data - 0.1 * weight.grad
            losses.append(float(loss.data))
        # Every linear function has loss 1/4 at least.
        if not losses[-1] < 0.1:
            fail(f"after 300 steps the loss on xor is {losses[-1]:.3f}; expected less than 0.1", evidence=losses[-1])


def of_class(name):
    """Functions that are right or wrong on purpose, made of the class that is judged when a test asks."""

    class Right(Function):
        def forward(self, x, scale=3.0):
            self.scale = scale
            return scale * x

        def backward(self, grad):
            return self.scale * grad

    class Twice(Right):
        def backward(self, grad):
            return 2 * self.scale * grad

    class WrongSign(Right):
        def backward(self, grad):
            return -self.scale * grad

    class OneEntry(Right):
        def backward(self, grad):
            out = self.scale * grad
            out[(-1,) * out.ndim] *= 1.5
            return out

    class LastTwice(Right):
        def backward(self, grad):
            out = self.scale * grad
            out[-1] *= 2
            return out

    class Nan(Right):
        def backward(self, grad):
            out = self.scale * grad
            out[(0,) * out.ndim] = np.nan
            return out

    class Rolled(Function):
        def forward(self, x):
            return np.roll(x, 1, axis=0)

        def backward(self, grad):
            return np.roll(grad, 1, axis=0)  # it must go back: -1

    class Softmax(Function):
        def forward(self, x):
            e = np.exp(x - x.max(axis=-1, keepdims=True))
            self.p = e / e.sum(axis=-1, keepdims=True)
            return self.p

        def backward(self, grad):
            return 2 * self.p * (grad - (grad * self.p).sum(axis=-1, keepdims=True))

    class SecondInput(Function):
        def forward(self, x, y):
            self.x, self.y = x, y
            return x * y

        def backward(self, grad):
            return grad * self.y, grad * self.x * 1.5

    return locals()[name]


class TestGradcheck:
    @pytest.mark.parametrize(
        ("name", "shapes"),
        [
            ("a * b + a", [(2, 3), (3,)]),
            ("a @ b", [(2, 3), (3, 4)]),
            ("max over an axis", [(3, 4)]),
            ("index", [(3, 4)]),
            ("of no axes", [()]),
            ("unused", [(2,), (3,)]),
            ("the same twice", [(3, 3)]),
        ],
    )
    def test_right_gradients_have_a_small_error(self, rng, name, shapes):
        f = {
            "a * b + a": lambda a, b: tanh(a * b + a),
            "a @ b": lambda a, b: a @ b,
            "max over an axis": lambda a: max_over(a, 1),
            "index": lambda a: a[[0, 2, 0]] ** 2,
            "of no axes": lambda a: a**3,
            "unused": lambda a, b: a * 2,
            "the same twice": lambda a: a @ a,
        }[name]
        error = gradcheck(f, [rng.normal(size=shape) for shape in shapes], rng)
        assert_close(error, 0.0, atol=1e-6, rtol=0)  # differences: h² and 1e-16/h

    @pytest.mark.parametrize("name", ["Twice", "WrongSign", "OneEntry", "Rolled", "Softmax"])
    def test_wrong_gradients_have_a_large_one(self, rng, name):
        cls = of_class(name)
        assert_close(gradcheck(of_class("Right").apply, [rng.normal(size=(4, 3))], rng), 0.0, atol=1e-6, rtol=0)
        error = gradcheck(cls.apply, [rng.normal(size=(4, 3))], rng)
        if not error > 1e-3:
            fail(f"a wrong gradient ({name}) passes with an error of {error:.2g}", evidence=(name, "passes"))

    def test_the_second_input_is_checked_too(self, rng):
        error = gradcheck(of_class("SecondInput").apply, [rng.normal(size=(2, 3)), rng.normal(size=(2, 3))], rng)
        if not error > 1e-3:
            fail(f"a wrong gradient of the second input passes with an error of {error:.2g}", evidence="second")

    def test_nan_is_not_right(self, rng):
        error = gradcheck(of_class("Nan").apply, [rng.normal(size=(4, 3))], rng)
        if math.isfinite(error):
            fail(f"a gradient that is NaN passes with an error of {error:.2g}", evidence="nan")

    def test_large_gradients_are_compared_by_their_size(self, rng):
        # Off by 1e-3 or so, of 1e8.
        assert_close(gradcheck(lambda a: a * 1e8, [rng.normal(size=4)], rng), 0.0, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("shape", [(1,), (2, 3)])
    @pytest.mark.parametrize("scale", [0.2, 1.0, 20.0])
    @pytest.mark.parametrize("factor", [2.0, 0.5, -1.0])
    def test_the_error_is_that_of_the_formula(self, rng, shape, scale, factor):
        weights = []

        class Spy(Function):
            def forward(self, x):
                return scale * x

            def backward(self, grad):
                weights.append(grad.copy())
                return factor * scale * grad

        error = gradcheck(Spy.apply, [rng.normal(size=shape)], rng)
        numeric = scale * weights[0]
        analytic = factor * numeric
        wanted = np.abs(analytic - numeric) / np.maximum(1, np.maximum(np.abs(analytic), np.abs(numeric)))
        assert_close(error, float(wanted.max()), atol=1e-6, rtol=0)  # a difference quotient

    def test_one_wrong_entry_among_many_counts_whole(self, rng):
        # With weights from a Gaussian, none of 6 is below 1e-6 in size.
        wrong = of_class("LastTwice")
        error = gradcheck(lambda a: wrong.apply(a, scale=1e6), [rng.normal(size=6)], rng)
        assert_close(error, 0.5, atol=1e-4, rtol=0)  # a difference quotient

    def test_small_gradients_are_compared_with_1(self, rng):
        assert_close(gradcheck(lambda a: a * 1e-9 + 5, [rng.normal(size=4)], rng), 0.0, atol=1e-9, rtol=0)

    def test_integers_are_taken_as_float64(self, rng):
        assert_close(gradcheck(lambda a: a * a, [np.array([1, 2, 3])], rng), 0.0, atol=1e-6, rtol=0)

    def test_inputs_that_cannot_be_written_to(self, rng):
        x = rng.normal(size=(2, 3))
        x.setflags(write=False)
        assert_close(gradcheck(lambda a: a * a, [x], rng), 0.0, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("h", [None, 0.5, 0.25])
    def test_each_entry_moves_by_h_to_both_sides(self, rng, h):
        x, y, places = np.array([1.0, -2.0]), np.array([[4.0]]), []

        def f(a, b):
            places.append((*(a.data - x).tolist(), (b.data - y).item()))
            return sum_over(a) * b

        gradcheck(f, [x, y], rng) if h is None else gradcheck(f, [x, y], rng, h)
        h = 1e-5 if h is None else h
        moves = sorted({tuple(round(float(m) / h, 3) + 0.0 for m in move) for move in places if any(move)})
        wanted = [tuple(s * float(i == j) + 0.0 for j in range(3)) for i in range(3) for s in (1, -1)]
        assert_equal(moves, sorted(wanted))

    def test_the_step_shows_in_the_error(self, rng):
        # f = x³ of one entry: the difference is 3x² + h², times the weight.
        def error(h):
            return gradcheck(lambda a: sum_over(a) ** 3, [np.array([0.0])], np.random.default_rng(5), h)

        assert_close(error(0.5) / error(0.3), 25 / 9)

    def test_every_call_gets_new_tensors(self, rng):
        seen = []

        def f(a):
            seen.append(a)
            return a * 2

        gradcheck(f, [np.array([1.0, 2.0])], rng)
        assert_equal(len({id(a) for a in seen}), len(seen))
        if len(seen) < 3:
            fail(f"f is called {len(seen)} times", evidence=len(seen))

    def test_without_entries(self, rng):
        assert_close(gradcheck(lambda a: a * 2, [np.zeros((0, 3))], rng), 0.0)

    def test_equal_generators_give_equal_answers(self, rng):
        x = rng.normal(size=3)
        one, two = (gradcheck(lambda a: tanh(a), [x], np.random.default_rng(7)) for _ in range(2))
        assert_equal(one, two)


class TestFunction:
    def test_forward_and_backward_of_one_tensor(self, rng):
        right, a, upstream = of_class("Right"), rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
        x = Tensor(a)
        y = right.apply(x)
        assert_equal((isinstance(y, Tensor), len(y.parents), y.parents[0] is x), (True, 1, True))
        assert_close(y.data, 3 * a)
        backward(y, upstream)
        assert_close(x.grad, 3 * upstream)

    @pytest.mark.parametrize("scale", [2.0, -5.0])
    def test_options_go_to_forward(self, rng, scale):
        x = Tensor(rng.normal(size=4))
        y = of_class("Right").apply(x, scale=scale)
        assert_close(y.data, scale * x.data)
        backward(y, np.ones(4))
        assert_close(x.grad, np.full(4, scale))

    def test_of_two_tensors_in_the_middle_of_a_graph(self, rng):
        class Affine(Function):
            def forward(self, x, w):
                assert_equal([isinstance(part, np.ndarray) for part in (x, w)], [True, True])
                self.x, self.w = x, w
                return x @ w

            def backward(self, grad):
                return grad @ self.w.T, self.x.T @ grad

        a, b = rng.normal(size=(2, 3)), rng.normal(size=(3, 4))

        def run(product, x, w):
            return sum_over(tanh(product(x * 2, w)) ** 2)

        mine, wanted = [Tensor(a), Tensor(b)], [Tensor(a), Tensor(b)]
        backward(run(Affine.apply, *mine))
        backward(run(matmul, *wanted))
        assert_close([t.grad for t in mine], [t.grad for t in wanted])

    def test_two_calls_do_not_mix_what_they_keep(self, rng):
        class Square(Function):
            def forward(self, x):
                self.x = x
                return x * x

            def backward(self, grad):
                return 2 * self.x * grad

        a = rng.uniform(0.5, 2, 3)
        x = Tensor(a)
        once = Square.apply(x)
        twice = Square.apply(once)
        backward(once + twice, np.ones(3))
        assert_close(x.grad, 2 * a + 4 * a**3)

    def test_the_gradient_is_what_backward_says(self):
        class StraightThrough(Function):
            def forward(self, x):
                return np.round(x)

            def backward(self, grad):
                kinds.append(str(grad.dtype))
                return grad

        kinds = []
        x = Tensor([0.2, 1.7])
        y = StraightThrough.apply(x)
        backward(y, [1, 10])
        backward(y * 3, [1.0, 10.0])
        assert_close([y.data, x.grad], [np.array([0.0, 2.0]), np.array([4.0, 40.0])])
        assert_equal(kinds, ["float64", "float64"])

    @pytest.mark.parametrize(("given", "tensors"), [(1, 2), (3, 2), (2, 1), (0, 1)])
    def test_a_gradient_for_each_tensor(self, given, tensors):
        class Sum(Function):
            def forward(self, *arrays):
                return sum(arrays)

            def backward(self, grad):
                return (grad,) * given

        xs = [Tensor([1.0, 2.0]) for _ in range(tensors)]
        y = Sum.apply(*xs)
        assert_close(y.data, tensors * np.array([1.0, 2.0]))
        with raises(ValueError, given, tensors):
            backward(y, [1.0, 1.0])

    def test_a_bare_array_is_the_gradient_of_one_tensor_only(self):
        class Sum(Function):
            def forward(self, x, y):
                return x + y

            def backward(self, grad):
                return grad

        # Two numbers for two Tensors, but one array.
        y = Sum.apply(Tensor([1.0, 2.0]), Tensor([3.0, 4.0]))
        with raises(ValueError, 1, 2):
            backward(y, [1.0, 1.0])

    @pytest.mark.parametrize("shape", [(4, 3), (7, 5), (3,), ()])
    def test_in_the_shape_of_its_tensor(self, shape):
        class Broken(Function):
            def forward(self, x, b):
                return x + b

            def backward(self, grad):
                return grad, np.ones(shape)

        y = Broken.apply(Tensor(np.ones((4, 3))), Tensor(np.ones((1, 3))))
        assert_close(y.data, np.full((4, 3), 2.0))
        with raises(ValueError, shape, (1, 3)):
            backward(y, np.ones((4, 3)))


class TestSoftplus:
    @pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
    def test_matches_torch(self, rng, shape):
        import torch

        check(rng, lambda x: Softplus.apply(x), torch.nn.functional.softplus, 3 * rng.normal(size=shape))

    def test_of_any_size_without_a_warning(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            x = Tensor([-1000.0, -40.0, 0.0, 40.0, 1000.0])
            y = Softplus.apply(x)
            backward(y, np.full(5, 2.0))
        tiny = math.exp(-40)
        # Relative, as log(1 + tiny) would be 0.
        assert_close(y.data, np.array([0.0, tiny, math.log(2), 40.0, 1000.0]), rtol=1e-9, atol=0)
        assert_close(x.grad, 2 * np.array([0.0, tiny, 0.5, 1.0, 1.0]), rtol=1e-9, atol=0)

    def test_its_gradient_passes_gradcheck(self, rng):
        error = gradcheck(
            lambda a, b: Softplus.apply(a) * Softplus.apply(b), [rng.normal(size=(2, 3)), rng.normal(size=3)], rng
        )
        assert_close(error, 0.0, atol=1e-6, rtol=0)
