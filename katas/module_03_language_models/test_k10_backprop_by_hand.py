"""Judges k10_backprop_by_hand against torch's autograd in float64, to ten digits."""

import inspect
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_03_language_models.k10_backprop_by_hand import (
    batch_norm,
    batch_norm_backward,
    cross_entropy,
    cross_entropy_backward,
    embedding_backward,
    linear_backward,
    loss_and_gradients,
    tanh_backward,
)

pytestmark = [
    from_scratch("torch", "tensorflow", "jax", "autograd", "tinygrad", "micrograd", "sympy", "scipy"),
    pure(),
]

DIGITS = dict(rtol=1e-10, atol=1e-12)  # tighter than usual: finite differences have 8 digits or so
LEADS = [(4,), (2, 3), (5, 1, 2)]

LINEAR_X = np.array([[1.0, 2.0]])
LINEAR_W = np.array([[3.0, 0.0], [1.0, -1.0]])
LINEAR_G = np.array([[3.0, 1.0]])
NORM_X = np.array([[0.0], [0.0], [3.0], [3.0]])
NORM_G = np.array([[4.0], [0.0], [0.0], [0.0]])


def by_autograd(function, inputs, upstream):
    """What torch gives for the gradients of function(*inputs), each as an array."""
    import torch

    tensors = [torch.tensor(one, requires_grad=True) for one in inputs]
    grads = torch.autograd.grad(function(*tensors), tensors, torch.tensor(upstream))
    return tuple(grad.numpy() for grad in grads)


def torch_batch_norm(x, gamma, beta, eps):
    import torch.nn.functional as F

    flat = F.batch_norm(x.reshape(-1, x.shape[-1]), None, None, gamma, beta, training=True, eps=eps)
    return flat.reshape(x.shape)


def torch_cross_entropy(logits, targets):
    import torch
    import torch.nn.functional as F

    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), torch.tensor(targets.reshape(-1).astype(np.int64)))


def does_not_loop(function, small, large):
    if python_steps(function, *large) > python_steps(function, *small) + 40:
        fail("the lines of Python that run grow with the arrays; use whole-array operations", evidence="loop")


class TestLinearBackward:
    def test_the_example_worked_by_hand(self):
        got = linear_backward(LINEAR_G, LINEAR_X, LINEAR_W)
        assert_close(got, (np.array([[9.0, 2.0]]), np.array([[3.0, 1.0], [6.0, 2.0]]), np.array([3.0, 1.0])), **DIGITS)

    @pytest.mark.parametrize("lead", [*LEADS, ()])
    @pytest.mark.parametrize(("d_in", "d_out"), [(3, 7), (6, 2), (5, 5), (1, 4)])
    def test_matches_autograd(self, rng, lead, d_in, d_out):
        x, weight, bias = rng.normal(size=(*lead, d_in)), rng.normal(size=(d_in, d_out)), rng.normal(size=d_out)
        grad = rng.normal(size=(*lead, d_out))
        expected = by_autograd(lambda x, w, b: x @ w + b, (x, weight, bias), grad)
        assert_close(linear_backward(grad, x, weight), expected, **DIGITS)

    def test_does_not_loop(self, rng):
        def arguments(n):
            return rng.normal(size=(n, 2 * n)), rng.normal(size=(n, n)), rng.normal(size=(n, 2 * n))

        does_not_loop(linear_backward, arguments(3), arguments(60))


class TestTanhBackward:
    def test_where_tanh_is_a_half(self):
        assert_close(tanh_backward(np.array([4.0, 8.0]), np.array([0.5, -0.5])), np.array([3.0, 6.0]), **DIGITS)

    @pytest.mark.parametrize("shape", [(6,), (2, 5), (3, 1, 4), ()])
    def test_matches_autograd(self, rng, shape):
        import torch

        x, grad = rng.normal(size=shape) * 2, rng.normal(size=shape)
        (expected,) = by_autograd(torch.tanh, (x,), grad)
        assert_close(tanh_backward(grad, np.tanh(x)), expected, **DIGITS)

    def test_nothing_comes_through_where_it_is_saturated(self):
        assert_close(tanh_backward(np.array([5.0, -7.0]), np.array([1.0, -1.0])), np.zeros(2), **DIGITS)

    def test_does_not_loop(self, rng):
        def arguments(n):
            return rng.normal(size=(n, 2 * n)), rng.uniform(-1, 1, size=(n, 2 * n))

        does_not_loop(tanh_backward, arguments(3), arguments(60))


class TestEmbeddingBackward:
    def test_the_example_worked_by_hand(self):
        got = embedding_backward(np.array([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]), np.array([2, 0, 2]), 3)
        assert_close(got, np.array([[0.0, 1.0], [0.0, 0.0], [6.0, 5.0]]), **DIGITS)

    @pytest.mark.parametrize("lead", [(9,), (4, 3), (2, 3, 2), ()])
    @pytest.mark.parametrize(("rows", "d"), [(4, 3), (30, 1)])
    def test_matches_autograd(self, rng, lead, rows, d):
        import torch

        ids, grad = rng.integers(0, rows, lead), rng.normal(size=(*lead, d))
        (expected,) = by_autograd(lambda e: e[torch.tensor(ids)], (rng.normal(size=(rows, d)),), grad)
        assert_close(embedding_backward(grad, np.asarray(ids), rows), expected, **DIGITS)

    def test_one_id_alone(self, rng):
        grad = rng.normal(size=(50, 3))
        expected = np.zeros((5, 3))
        expected[4] = grad.sum(axis=0)
        assert_close(embedding_backward(grad, np.full(50, 4), 5), expected, **DIGITS)

    @pytest.mark.parametrize("kind", [np.uint8, np.int32])
    def test_ids_of_another_dtype(self, rng, kind):
        grad = rng.normal(size=(3, 2))
        got = embedding_backward(grad, np.array([200, 1, 200], dtype=kind), 201)
        assert_close(got[[200, 1]], np.array([grad[0] + grad[2], grad[1]]), **DIGITS)
        assert_equal(got.shape, (201, 2))

    def test_no_ids(self):
        assert_close(embedding_backward(np.zeros((0, 3)), np.zeros(0, dtype=int), 4), np.zeros((4, 3)), **DIGITS)

    @pytest.mark.parametrize(("ids", "wrong"), [([0, 6, 1], 6), ([[2, 0], [-1, 5]], -1), ([5, 17], 17)])
    def test_rejects_an_id_outside(self, ids, wrong):
        ids = np.array(ids)
        with raises(ValueError, wrong, 6):
            embedding_backward(np.ones((*ids.shape, 2)), ids, 6)

    def test_does_not_loop(self, rng):
        def arguments(n):
            return rng.normal(size=(n, n)), rng.integers(0, n, n), n

        does_not_loop(embedding_backward, arguments(3), arguments(90))


class TestCrossEntropy:
    def test_the_example_worked_by_hand(self):
        assert_close(cross_entropy(np.array([[0.0, math.log(3)]]), np.array([0])), math.log(4), **DIGITS)

    @pytest.mark.parametrize("lead", [*LEADS, ()])
    @pytest.mark.parametrize("k", [2, 7])
    def test_matches_torch(self, rng, lead, k):
        import torch

        logits, targets = rng.normal(size=(*lead, k)) * 3, np.asarray(rng.integers(0, k, lead))
        expected = float(torch_cross_entropy(torch.tensor(logits), targets))
        assert_close(cross_entropy(logits, targets), expected, **DIGITS)

    def test_rows_far_apart(self):
        logits = np.array([[1e4, 1e4 - 1, -1e4], [-1e4, -1e4, -1e4 - 2]])
        expected = (math.log(1 + math.exp(-1)) + math.log(2 + math.exp(-2))) / 2
        assert_close(cross_entropy(logits, np.array([0, 1])), expected, **DIGITS)

    def test_large_logits_do_not_overflow(self):
        logits = np.array([[1e4, 1e4 - 1, -1e4], [-1e4, -1e4, -1e4 - 2], [0.0, 1e4, 0.0]])
        expected = (math.log(1 + math.exp(-1)) + math.log(2 + math.exp(-2)) + 1e4) / 3
        assert_close(cross_entropy(logits, np.array([0, 1, 2])), expected, **DIGITS)

    def test_a_class_that_is_impossible(self):
        logits = np.array([[1.0, -np.inf, 1.0, 1.0], [-np.inf, 0.0, -np.inf, -np.inf]])
        assert_close(cross_entropy(logits, np.array([2, 1])), math.log(3) / 2, **DIGITS)

    def test_nothing_is_added_inside_of_the_logarithm(self):
        # The target's probability is e⁻²⁰, and 1e-10 beside it would change the loss in its third digit.
        assert_close(cross_entropy(np.array([[0.0, 20.0]]), np.array([0])), 20 + math.log1p(math.exp(-20)), **DIGITS)

    def test_targets_of_another_dtype(self):
        logits = np.zeros((2, 200))
        assert_close(cross_entropy(logits, np.array([150, 7], dtype=np.uint8)), math.log(200), **DIGITS)

    @pytest.mark.parametrize(
        ("logits", "targets"), [((4, 3), (3,)), ((2, 3, 5), (2, 1)), ((2, 3), (2, 1)), ((1, 4), (5,))]
    )
    def test_rejects_two_shapes(self, logits, targets):
        with raises(ValueError, logits, targets):
            cross_entropy(np.zeros(logits), np.zeros(targets, dtype=int))

    @pytest.mark.parametrize("wrong", [-1, 5, -100, 9])
    def test_rejects_a_target_outside(self, wrong):
        with raises(ValueError, wrong, 5):
            cross_entropy(np.zeros((3, 5)), np.array([4, wrong, 0]))

    def test_does_not_loop(self, rng):
        def arguments(n):
            return rng.normal(size=(n, 2 * n)), rng.integers(0, 2 * n, n)

        does_not_loop(cross_entropy, arguments(3), arguments(60))


class TestCrossEntropyBackward:
    def test_the_example_worked_by_hand(self):
        got = cross_entropy_backward(np.array([[0.0, math.log(3)]]), np.array([0]))
        assert_close(got, np.array([[-0.75, 0.75]]), **DIGITS)

    @pytest.mark.parametrize("lead", [*LEADS, ()])
    @pytest.mark.parametrize("k", [2, 7])
    def test_matches_autograd(self, rng, lead, k):
        logits, targets = rng.normal(size=(*lead, k)) * 3, np.asarray(rng.integers(0, k, lead))
        (expected,) = by_autograd(lambda z: torch_cross_entropy(z, targets), (logits,), np.array(1.0))
        assert_close(cross_entropy_backward(logits, targets), expected, **DIGITS)

    def test_of_a_transposed_array(self, rng):
        logits, targets = rng.normal(size=(5, 4)), rng.integers(0, 5, 4)
        (expected,) = by_autograd(lambda z: torch_cross_entropy(z, targets), (logits.T.copy(),), np.array(1.0))
        assert_close(cross_entropy_backward(logits.T, targets), expected, **DIGITS)

    @pytest.mark.parametrize("axes", [(1, 0, 2), (0, 2, 1), (2, 1, 0)])
    def test_of_logits_that_are_a_view(self, rng, axes):
        logits = (rng.normal(size=(3, 4, 5)) * 3).transpose(axes)
        targets = rng.integers(0, logits.shape[-1], logits.shape[:-1])
        row_by_row = np.ascontiguousarray(logits)
        (expected,) = by_autograd(lambda z: torch_cross_entropy(z, targets), (row_by_row,), np.array(1.0))
        assert_close(cross_entropy_backward(logits, targets), expected, **DIGITS)

    def test_large_logits_do_not_overflow(self):
        logits = np.array([[1e4, 1e4, -1e4], [-1e4, -1e4, -1e4], [0.0, 1e4, 0.0]])
        expected = np.array([[-0.5, 0.5, 0], [1 / 3, -2 / 3, 1 / 3], [0, 1, -1]]) / 3
        assert_close(cross_entropy_backward(logits, np.array([0, 1, 2])), expected, **DIGITS)

    def test_a_class_that_is_impossible(self):
        logits = np.array([[1.0, -np.inf, 1.0], [-np.inf, 0.0, -np.inf]])
        expected = np.array([[0.5, 0, -0.5], [0, 0, 0]]) / 2
        assert_close(cross_entropy_backward(logits, np.array([2, 1])), expected, **DIGITS)

    def test_targets_of_another_dtype(self):
        expected = np.full((2, 200), 1 / 400)
        expected[0, 150] -= 0.5
        expected[1, 7] -= 0.5
        got = cross_entropy_backward(np.zeros((2, 200)), np.array([150, 7], dtype=np.uint8))
        assert_close(got, expected, **DIGITS)

    @pytest.mark.parametrize(
        ("logits", "targets"), [((4, 3), (3,)), ((2, 3, 5), (2, 1)), ((2, 3), (2, 1)), ((1, 4), (5,))]
    )
    def test_rejects_two_shapes(self, logits, targets):
        with raises(ValueError, logits, targets):
            cross_entropy_backward(np.zeros(logits), np.zeros(targets, dtype=int))

    @pytest.mark.parametrize("wrong", [-1, 5, -100, 9])
    def test_rejects_a_target_outside(self, wrong):
        with raises(ValueError, wrong, 5):
            cross_entropy_backward(np.zeros((3, 5)), np.array([4, wrong, 0]))

    def test_does_not_loop(self, rng):
        def arguments(n):
            return rng.normal(size=(n, 2 * n)), rng.integers(0, 2 * n, n)

        does_not_loop(cross_entropy_backward, arguments(3), arguments(60))


class TestBatchNorm:
    def test_the_example_worked_by_hand(self):
        got = batch_norm(NORM_X, np.array([3.0]), np.array([1.0]), 0.0)
        assert_close(got, np.array([[-2.0], [-2.0], [4.0], [4.0]]), **DIGITS)

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("d", "eps"), [(3, 0.5), (6, 2.0), (1, 1e-3)])
    def test_matches_torch(self, rng, lead, d, eps):
        import torch

        x, gamma, beta = rng.normal(size=(*lead, d)) * 2 + 1, rng.normal(size=d), rng.normal(size=d)
        expected = torch_batch_norm(torch.tensor(x), torch.tensor(gamma), torch.tensor(beta), eps).numpy()
        assert_close(batch_norm(x, gamma, beta, eps), expected, **DIGITS)

    def test_its_default_eps(self, rng):
        x = rng.normal(size=(5, 2)) * 1e-3
        expected = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
        assert_close(batch_norm(x, np.ones(2), np.zeros(2)), expected, **DIGITS)

    def test_a_constant_feature_gives_beta(self):
        got = batch_norm(np.full((3, 2), 7.0), np.array([2.0, 3.0]), np.array([5.0, -1.0]))
        assert_close(got, np.array([[5.0, -1.0]] * 3), **DIGITS)

    def test_a_large_mean_costs_no_digits(self, rng):
        x = rng.normal(size=(8, 3))
        far = x + 1e5
        x = far - 1e5  # exactly what is left of x beside 1e5
        expected = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 0.1)
        # The mean of numbers near 1e5 is right to 1e-11; E[x²] - E[x]² would be wrong by 1e-6.
        assert_close(batch_norm(far, np.ones(3), np.zeros(3), 0.1), expected, rtol=1e-9, atol=1e-9)

    def test_does_not_loop(self, rng):
        def arguments(n):
            return rng.normal(size=(n, 2 * n)), np.ones(2 * n), np.ones(2 * n)

        does_not_loop(batch_norm, arguments(3), arguments(60))


class TestBatchNormBackward:
    def test_the_example_worked_by_hand(self):
        got = batch_norm_backward(NORM_G, NORM_X, np.array([3.0]), 0.0)
        expected = (np.array([[4.0], [-4.0], [0.0], [0.0]]), np.array([-4.0]), np.array([4.0]))
        assert_close(got, expected, **DIGITS)

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("d", "eps"), [(3, 0.5), (6, 2.0), (1, 1e-3)])
    def test_matches_autograd(self, rng, lead, d, eps):
        x, gamma, beta = rng.normal(size=(*lead, d)) * 2 + 1, rng.normal(size=d), rng.normal(size=d)
        grad = rng.normal(size=(*lead, d)) + 0.5
        expected = by_autograd(lambda x, g, b: torch_batch_norm(x, g, b, eps), (x, gamma, beta), grad)
        assert_close(batch_norm_backward(grad, x, gamma, eps), expected, **DIGITS)

    def test_its_default_eps(self, rng):
        x, gamma, grad = rng.normal(size=(5, 2)) * 1e-3, rng.normal(size=2), rng.normal(size=(5, 2))
        expected = by_autograd(lambda x, g, b: torch_batch_norm(x, g, b, 1e-5), (x, gamma, np.zeros(2)), grad)
        # 1/√ε multiplies the gradients, so ten digits of them are meant relative to 316.
        assert_close(batch_norm_backward(grad, x, gamma), expected, rtol=1e-10, atol=1e-8)

    def test_a_constant_feature(self, rng):
        grad = rng.normal(size=(4, 2))
        got = batch_norm_backward(grad, np.full((4, 2), 7.0), np.array([2.0, 3.0]), 0.25)
        expected = np.array([2.0, 3.0]) / 0.5 * (grad - grad.mean(axis=0))
        assert_close(got, (expected, np.zeros(2), grad.sum(axis=0)), **DIGITS)

    def test_nothing_shifts_or_stretches_a_feature(self, rng):
        x, grad = rng.normal(size=(7, 3)) * 4, rng.normal(size=(7, 3))
        dx, _, _ = batch_norm_backward(grad, x, np.array([1.5, -2.0, 0.5]), 0.0)
        assert_close(dx.sum(axis=0), np.zeros(3), **DIGITS)
        assert_close((dx * (x - x.mean(axis=0))).sum(axis=0), np.zeros(3), **DIGITS)

    def test_does_not_loop(self, rng):
        def arguments(n):
            return rng.normal(size=(n, 2 * n)), rng.normal(size=(n, 2 * n)), np.ones(2 * n)

        does_not_loop(batch_norm_backward, arguments(3), arguments(60))


def a_network(rng, v, c, d, h, k):
    """Parameters of the lesson's network; no two sizes need be alike."""
    shapes = {
        "output_bias": (k,),
        "beta": (h,),
        "embedding": (v, d),
        "output_weight": (h, k),
        "hidden_weight": (c * d, h),
        "gamma": (h,),
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def network_by_autograd(parameters, ids, targets, eps):
    import torch

    p = {name: torch.tensor(value, requires_grad=True) for name, value in parameters.items()}
    flat = p["embedding"][torch.tensor(ids)].flatten(1)
    active = torch.tanh(torch_batch_norm(flat @ p["hidden_weight"], p["gamma"], p["beta"], eps))
    loss = torch_cross_entropy(active @ p["output_weight"] + p["output_bias"], targets)
    loss.backward()
    return loss.item(), {name: tensor.grad.numpy() for name, tensor in p.items()}


class TestLossAndGradients:
    @pytest.mark.parametrize(
        ("n", "v", "c", "d", "h", "k", "eps"),
        [(9, 11, 3, 2, 5, 7, 0.5), (4, 6, 1, 5, 3, 2, 1.5), (20, 5, 2, 3, 3, 5, 1e-2)],
    )
    def test_matches_autograd(self, rng, n, v, c, d, h, k, eps):
        parameters = a_network(rng, v, c, d, h, k)
        ids, targets = rng.integers(0, v, (n, c)), rng.integers(0, k, n)
        loss, gradients = network_by_autograd(parameters, ids, targets, eps)
        got, ours = loss_and_gradients(parameters, ids, targets, eps)
        assert_close(got, loss, **DIGITS)
        assert_equal(sorted(ours), sorted(gradients))
        assert_close([ours[name] for name in sorted(ours)], [gradients[name] for name in sorted(ours)], **DIGITS)

    def test_its_default_eps(self, rng):
        parameters = a_network(rng, 6, 2, 3, 4, 5)
        parameters["hidden_weight"] *= 1e-3
        ids, targets = rng.integers(0, 6, (8, 2)), rng.integers(0, 5, 8)
        loss, gradients = network_by_autograd(parameters, ids, targets, 1e-5)
        got, ours = loss_and_gradients(parameters, ids, targets)
        assert_close(got, loss, **DIGITS)
        # 1/√ε multiplies some gradients, so ten digits of them are meant relative to 316.
        assert_close(
            [ours[name] for name in sorted(ours)], [gradients[name] for name in sorted(ours)], rtol=1e-10, atol=1e-8
        )

    def test_a_step_against_the_gradient_lowers_the_loss(self, rng):
        parameters = a_network(rng, 6, 2, 3, 4, 5)
        ids, targets = rng.integers(0, 6, (30, 2)), rng.integers(0, 5, 30)
        before, gradients = loss_and_gradients(parameters, ids, targets, 0.1)
        moved = {name: value - 1e-4 * gradients[name] for name, value in parameters.items()}
        after, _ = loss_and_gradients(moved, ids, targets, 0.1)
        slope = sum((gradient**2).sum() for gradient in gradients.values())
        # The loss falls by the step times the squared length of the gradient, to first order.
        assert_close((before - after) / 1e-4, slope, rtol=0.02, atol=1e-6)

    def test_does_not_loop(self, rng):
        def arguments(n):
            return a_network(rng, n, 2, n, n, n), rng.integers(0, n, (n, 2)), rng.integers(0, n, n)

        does_not_loop(loss_and_gradients, arguments(3), arguments(80))

    def test_is_no_autograd_engine_of_another_kata(self, rng):
        loss_and_gradients(a_network(rng, 4, 2, 3, 3, 4), rng.integers(0, 4, (5, 2)), rng.integers(0, 4, 5))
        for used in list(inspect.unwrap(loss_and_gradients).__globals__.values()):
            home = used.__name__ if inspect.ismodule(used) else str(getattr(used, "__module__", ""))
            if home.endswith(("k07_autograd_scalar", "k08_autograd_tensor")):
                fail(f"{home} differentiates for you; write each gradient in closed form", evidence=home)
