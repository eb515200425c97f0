"""Judges k20_attribution by closed forms, by torch's Jacobians, by plain loops, and by deleting what a map calls important."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, seeded
from katas.module_12_research.k20_attribution import (
    attention_rollout,
    completeness_gap,
    curve_area,
    deletion_curve,
    grad_cam,
    gradients,
    integrated_gradients,
    saliency,
    smooth_grad,
    until_complete,
)

pytestmark = [from_scratch("captum", "shap", "torch.func"), pure()]


def product(x: torch.Tensor) -> torch.Tensor:
    """Scores of two classes: x₁ x₂, and its negative times 3."""
    score = x[:, 0] * x[:, 1]
    return torch.stack([score, -3 * score], 1)


def saturated(x: torch.Tensor) -> torch.Tensor:
    score = 1 - F.relu(1 - x[:, 0])
    return torch.stack([score, 0 * score], 1)


def a_net(width: int = 4, classes: int = 3) -> nn.Module:
    return named_weights(nn.Sequential(nn.Flatten(), nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, classes)))


def jacobian(model, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The gradient, sample by sample, by torch.autograd.functional."""
    rows = []
    for one, c in zip(x, target.tolist(), strict=True):
        rows.append(torch.autograd.functional.jacobian(lambda v, c=c: model(v[None])[0, c], one))
    return torch.stack(rows)


ZERO = torch.tensor([0])


class TestGradients:
    def test_the_example_worked_by_hand(self):
        assert_close(gradients(product, f64([2, 3]), ZERO), f64([3, 2]))
        assert_close(gradients(product, f64([2, 3]), torch.tensor([1])), f64([-9, -6]))
        assert_close(gradients(saturated, f64([2.0]), ZERO), f64([0]))

    @pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 2, 2)])
    def test_matches_torchs_jacobian(self, shape):
        x, target = normal(3, *shape), torch.tensor([2, 0, 1])
        assert_close(gradients(a_net(), x, target), jacobian(a_net(), x, target))

    def test_parameters_keep_their_gradients(self):
        model = a_net()
        for p in model.parameters():
            p.grad = torch.full_like(p, 7.0)
        gradients(model, normal(2, 4), torch.tensor([0, 1]))
        assert_equal({float(v) for p in model.parameters() for v in p.grad.flatten()}, {7.0})

    def test_inside_no_grad(self):
        x, target = normal(2, 4), torch.tensor([1, 2])
        with torch.no_grad():
            found = gradients(a_net(), x, target)
        assert_close(found, jacobian(a_net(), x, target))

    def test_carries_no_graph_and_leaves_x_alone(self):
        x = normal(2, 4).requires_grad_()
        found = gradients(a_net(), x * 2, torch.tensor([1, 2]))
        again = gradients(a_net(), x, torch.tensor([1, 2]))
        assert_equal((found.requires_grad, again.requires_grad, x.grad), (False, False, None))
        plain = normal(2, 4)
        gradients(a_net(), plain, torch.tensor([1, 2]))
        assert_equal(plain.requires_grad, False)

    def test_of_frozen_weights(self):
        model = a_net().requires_grad_(False)
        x, target = normal(2, 4), torch.tensor([1, 2])
        assert_close(gradients(model, x, target), jacobian(a_net(), x, target))

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda x, w, target: gradients(lambda v: (v @ w).tanh(), x, target), normal(2, 4), normal(4, 3), torch.tensor([1, 2]))


class TestSaliency:
    @pytest.mark.parametrize("shape", [(3, 2, 5), (1, 4, 2), (2, 1, 1)])
    def test_the_largest_absolute_gradient_over_channels(self, shape):
        x, model, target = normal(4, *shape), a_net(math.prod(shape)), torch.tensor([2, 0, 1, 0])
        slopes = jacobian(model, x, target)
        expected = torch.tensor(
            [[[max(abs(v) for v in slopes[b, :, i, j].tolist()) for j in range(shape[2])] for i in range(shape[1])] for b in range(4)], dtype=F64
        )
        assert_close(saliency(model, x, target), expected)

    def test_a_negative_gradient_is_large(self):
        found = saliency(lambda x: product(x.flatten(1)), f64([[[2.0]], [[3.0]]]), torch.tensor([1]))
        assert_close(found, f64([[9.0]]))

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda x, w, target: saliency(lambda v: (v.flatten(1) @ w).tanh(), x, target), normal(2, 3, 2, 2), normal(12, 3), torch.tensor([1, 2]))


def waves(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x.sin().sum(1), 2 * x.cos().sum(1)], 1)


class TestSmoothGrad:
    @pytest.mark.parametrize("noise", [0.5, 1.0])
    @pytest.mark.parametrize("target", [0, 1])
    def test_the_gradient_of_the_blurred_function(self, noise, target):
        """The mean of cos(x + noise ε) is cos(x) exp(-noise²/2); 2500 points, five deviations of 0.7."""
        x = f64([0.3, -1.2, 2.0], [4.0, 0.0, 1.0])
        found = smooth_grad(waves, x, torch.tensor([target] * 2), noise, 2500, seeded(1))
        exact = (x.cos() if target == 0 else -2 * x.sin()) * math.exp(-noise * noise / 2)
        assert_close(found, exact, rtol=0, atol=0.07 * (1 + target))

    def test_without_noise(self):
        x, target = normal(2, 4), torch.tensor([1, 2])
        assert_close(smooth_grad(a_net(), x, target, 0.0, 3, seeded(1)), jacobian(a_net(), x, target))

    def test_of_one_sample_each_number_has_noise_of_its_own(self):
        """The gradient of x² / 2 is x: what comes out minus x is the noise."""
        square = lambda x: (x * x / 2).sum((1, 2))[:, None]  # noqa: E731
        x = torch.zeros(40, 5, 10, dtype=F64)
        found = smooth_grad(square, x, torch.zeros(40, dtype=torch.int64), 2.0, 1, seeded(2))
        # 2000 numbers: five deviations of the mean and of the spread
        assert_close(found.mean(), torch.tensor(0.0, dtype=F64), rtol=0, atol=0.23)
        assert_close(found.std(), torch.tensor(2.0, dtype=F64), rtol=0, atol=0.16)
        assert_equal(len(set(found.flatten().tolist())), 2000)

    def test_new_noise_for_each_sample(self):
        """The mean of 400 has a deviation of 2 / 20."""
        square = lambda x: (x * x / 2).sum(1)[:, None]  # noqa: E731
        found = smooth_grad(square, torch.zeros(3, 200, dtype=F64), torch.zeros(3, dtype=torch.int64), 2.0, 400, seeded(3))
        assert_close(found.std(), torch.tensor(0.1, dtype=F64), rtol=0, atol=0.017)  # 600 numbers, six deviations

    def test_the_generator_decides(self):
        x, target = normal(2, 4), torch.tensor([1, 2])
        torch.manual_seed(1)
        first = smooth_grad(a_net(), x, target, 1.0, 2, seeded(4))
        torch.manual_seed(2)
        assert_close(smooth_grad(a_net(), x, target, 1.0, 2, seeded(4)), first)
        assert_equal(bool((smooth_grad(a_net(), x, target, 1.0, 2, seeded(5)) != first).any()), True)

    def test_float32_stays(self):
        x = normal(2, 4).float()
        found = smooth_grad(a_net().float(), x, torch.tensor([1, 2]), 0.5, 2, seeded(4))
        assert_equal((found.dtype, found.requires_grad), (torch.float32, False))

    def test_on_the_gpu(self, gpu):
        w, x, target = gpu(normal(4, 3)), gpu(normal(2, 4)), gpu(torch.tensor([1, 2]))
        found = smooth_grad(lambda v: (v @ w).tanh(), x, target, 0.5, 2, gpu.generator(1))
        assert_equal(found.device.type, gpu.device.type)


class TestIntegratedGradients:
    @pytest.mark.parametrize("steps", [1, 2, 7, 32])
    def test_the_example_worked_by_hand(self, steps):
        assert_close(integrated_gradients(product, f64([2, 3]), ZERO, steps=steps), f64([3, 3]))

    def test_saturation_worked_by_hand(self):
        assert_close(integrated_gradients(saturated, f64([2.0]), ZERO, steps=4), f64([1]))
        assert_close(integrated_gradients(saturated, f64([2.5]), ZERO, steps=4), f64([1.25]))  # 0.31, 0.94, and two above 1

    @pytest.mark.parametrize("steps", [1, 3, 8])
    @pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 2, 2)])
    def test_the_formula(self, shape, steps):
        x, base, target = normal(3, *shape), normal(3, *shape, seed=1), torch.tensor([2, 0, 1])
        points = [base + (k - 0.5) / steps * (x - base) for k in range(1, steps + 1)]
        mean = sum(jacobian(a_net(), point, target) for point in points) / steps
        assert_close(integrated_gradients(a_net(), x, target, base, steps), (x - base) * mean)

    def test_zeros_and_32_steps_unless_told(self):
        x, target = normal(3, 4), torch.tensor([2, 0, 1])
        points = [(k - 0.5) / 32 * x for k in range(1, 33)]
        expected = x * sum(jacobian(a_net(), point, target) for point in points) / 32
        assert_close(integrated_gradients(a_net(), x, target), expected)

    @pytest.mark.parametrize("shape", [(), (1,), (4,), (1, 4)])
    def test_a_baseline_broadcasts(self, shape):
        x, base, target = normal(3, 4), normal(*shape, seed=1), torch.tensor([2, 0, 1])
        found = integrated_gradients(a_net(), x, target, base, 5)
        assert_close(found, integrated_gradients(a_net(), x, target, base.expand(3, 4).clone(), 5))
        assert_equal(bool((found != integrated_gradients(a_net(), x, target, None, 5)).all()), True)

    def test_it_comes_to_the_whole_score(self):
        x, base, target = normal(3, 4), normal(3, 4, seed=1), torch.tensor([2, 0, 1])
        found = integrated_gradients(a_net(), x, target, base, 300)
        scores = a_net()(x) - a_net()(base)
        assert_close(found.sum(1), scores[range(3), target].detach(), rtol=0, atol=1e-4)  # 300 middle points

    def test_inside_no_grad_and_without_a_graph(self):
        x, target = normal(2, 4).requires_grad_(), torch.tensor([1, 2])
        base = normal(2, 4, seed=1).requires_grad_()
        found = integrated_gradients(a_net(), x, target, base, 3)
        with torch.no_grad():
            again = integrated_gradients(a_net(), x, target, base, 3)
        assert_close(again, found)
        assert_equal((found.requires_grad, x.grad, base.grad), (False, None, None))

    @pytest.mark.parametrize("steps", [0, -2])
    def test_refuses_no_steps(self, steps):
        with raises(ValueError, steps):
            integrated_gradients(product, f64([2, 3]), ZERO, steps=steps)

    def test_on_the_gpu(self, gpu):
        gpu.check(
            lambda x, w, b, target: integrated_gradients(lambda v: (v @ w).tanh(), x, target, b, 3),
            normal(2, 4), normal(4, 3), normal(4), torch.tensor([1, 2]),
        )  # fmt: skip
        gpu.check(lambda x, w, target: integrated_gradients(lambda v: (v @ w).tanh(), x, target), normal(2, 4), normal(4, 3), torch.tensor([1, 2]))


class TestCompletenessGap:
    def test_by_hand(self):
        """The gradient times the input is 12, the score 6."""
        assert_close(completeness_gap(product, f64([2, 3]), ZERO, f64([6, 6])), f64(6))
        assert_close(completeness_gap(product, f64([2, 3]), ZERO, f64([3, 3]), f64([1.0, 1.0])), f64(1))

    @pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 2, 2)])
    @pytest.mark.parametrize("with_base", [True, False])
    def test_sample_by_sample(self, shape, with_base):
        x, a, target = normal(3, *shape), normal(3, *shape, seed=2), torch.tensor([2, 0, 1])
        base = normal(*shape, seed=1) if with_base else None
        start = torch.zeros(shape, dtype=F64) if base is None else base
        model = a_net()
        expected = [a[i].sum() - model(x[i : i + 1])[0, c] + model(start[None])[0, c] for i, c in enumerate(target.tolist())]
        found = completeness_gap(model, x, target, a, base)
        assert_close(found, torch.stack(expected).detach())
        assert_equal(found.requires_grad, False)

    def test_on_the_gpu(self, gpu):
        gpu.check(
            lambda x, w, a, target: completeness_gap(lambda v: (v @ w).tanh(), x, target, a),
            normal(2, 4), normal(4, 3), normal(2, 4, seed=3), torch.tensor([1, 2]),
        )  # fmt: skip


class TestUntilComplete:
    def test_eight_if_they_are_enough(self):
        found, steps = until_complete(product, f64([2, 3]), ZERO)
        assert_close(found, f64([3, 3]))
        assert_equal(steps, 8)

    @pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 3e-5])
    def test_the_first_that_is_enough(self, tolerance):
        x, base, target = 3 * normal(3, 4), normal(4, seed=1), torch.tensor([2, 0, 1])
        model = a_net()
        gained = (model(x) - model(base[None]))[range(3), target].detach()
        for expected in (8, 16, 32, 64, 128, 256, 512, 1024):
            one = integrated_gradients(model, x, target, base, expected)
            if (one.sum(1) - gained).abs().max() <= tolerance:
                break
        found, steps = until_complete(model, x, target, base, tolerance)
        assert_equal(steps, expected)
        assert_close(found, one)

    def test_the_worst_sample_decides(self):
        """The first sample is complete at once; the second isn't, below its baseline."""
        model = lambda x: torch.stack([x[:, 0] ** 3, x[:, 0]], 1)  # noqa: E731
        x = f64([0.1], [-3.0])
        _, steps = until_complete(model, x, torch.tensor([1, 0]), tolerance=0.01)
        assert_equal(steps, 32)  # 27 / (4 m²) is 0.026 at 16, and 0.0066 at 32

    @pytest.mark.parametrize("most", [4, 7, 15, 16, 31])
    def test_refuses_what_doesnt_come_in_time(self, most):
        model = lambda x: torch.stack([x[:, 0] ** 3, x[:, 0]], 1)  # noqa: E731
        with raises(ValueError, most):
            until_complete(model, f64([3.0]), ZERO, tolerance=0.01, most=most)

    def test_most_itself_is_allowed(self):
        model = lambda x: torch.stack([x[:, 0] ** 3, x[:, 0]], 1)  # noqa: E731
        assert_equal(until_complete(model, f64([3.0]), ZERO, tolerance=0.01, most=32)[1], 32)

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda x, target: until_complete(product, x, target)[0], f64([2, 3], [1, 5]), torch.tensor([0, 1]))


class Conv(nn.Module):
    """Two convolutions, the mean over all places, and a linear map."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 3, 2)
        self.second = nn.Conv2d(3, 4, 2, stride=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.second(self.first(x).tanh()).tanh().pow(2).mean((2, 3)))


class Broken(nn.Module):
    def forward(self, x):
        raise KeyError("broken")


class Given(nn.Module):
    """Its layer hands on the image; the score is a given weight for each number of it."""

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.layer = nn.Identity()
        self.weight = weight

    def forward(self, x):
        return (self.layer(x)[:, None] * self.weight).flatten(2).sum(2)


class TestGradCam:
    def test_the_example_worked_by_hand(self):
        image = f64([[[1, 2], [3, 4]], [[4, 0], [0, 0]]])
        weight = f64([[[0.5, 0.5], [0.5, 0.5]], [[-2, 0], [-3, 1]]])
        model = Given(weight)
        assert_close(grad_cam(model, model.layer, image, ZERO), f64([[0, 1], [1.5, 2]]))

    @pytest.mark.parametrize("name", ["first", "second"])
    def test_the_formula(self, name):
        model, x, target = named_weights(Conv()), normal(3, 2, 6, 5), torch.tensor([2, 0, 1])
        inside = {}
        hook = getattr(model, name).register_forward_hook(lambda m, i, o: inside.update(a=o))
        scores = model(x)
        hook.remove()
        slopes = torch.autograd.grad(scores[range(3), target].sum(), inside["a"])[0]
        a = inside["a"].detach()
        expected = torch.zeros(3, *a.shape[2:], dtype=F64)
        for b in range(3):
            for c in range(a.shape[1]):
                expected[b] += slopes[b, c].sum() / slopes[b, c].numel() * a[b, c]
        expected[expected < 0] = 0
        found = grad_cam(model, getattr(model, name), x, target)
        assert_close(found, expected)
        assert_equal((found.requires_grad, bool((expected == 0).any()), bool((expected > 0).any())), (False, True, True))

    def test_inside_no_grad_with_frozen_weights(self):
        model, x, target = named_weights(Conv()), normal(2, 2, 5, 5), torch.tensor([2, 0])
        expected = grad_cam(model, model.second, x, target)
        model.requires_grad_(False)
        with torch.no_grad():
            assert_close(grad_cam(model, model.second, x, target), expected)
            assert_close(grad_cam(model, model.first, x, target), grad_cam_of("first", x, target))

    def test_parameters_keep_their_gradients(self):
        model = named_weights(Conv())
        grad_cam(model, model.second, normal(2, 2, 5, 5), torch.tensor([2, 0]))
        assert_equal([p.grad for p in model.parameters()], [None] * 6)

    def test_no_hook_is_left(self):
        model = named_weights(Conv())
        model.second.register_forward_hook(lambda m, i, o: None)
        grad_cam(model, model.second, normal(2, 2, 5, 5), torch.tensor([2, 0]))
        assert_equal((len(model.second._forward_hooks), len(model.second._backward_hooks)), (1, 0))

    def test_no_hook_is_left_after_an_error(self):
        model = named_weights(Conv())
        model.head = Broken()
        with raises(KeyError, "broken"):
            grad_cam(model, model.second, normal(2, 2, 5, 5), torch.tensor([2, 0]))
        assert_equal(len(model.second._forward_hooks), 0)

    def test_on_the_gpu(self, gpu):
        model = gpu(named_weights(Conv()))
        found = grad_cam(model, model.second, gpu(normal(2, 2, 5, 5)), gpu(torch.tensor([2, 0])))
        assert_equal(found.device.type, gpu.device.type)


def grad_cam_of(name: str, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    model = named_weights(Conv())
    return grad_cam(model, getattr(model, name), x, target)


def attention(*shape: int, seed: int = 0) -> torch.Tensor:
    return (2 * normal(*shape, seed=seed)).softmax(-1)


class TestAttentionRollout:
    def test_the_example_worked_by_hand(self):
        layers = [f64([[[0.5, 0.5], [0, 1]]]), f64([[[0, 1], [0.2, 0.8]]])]
        assert_close(attention_rollout(layers), f64([[0.375, 0.625], [0.075, 0.925]]))

    @pytest.mark.parametrize("residual", [0.0, 0.5, 0.8])
    @pytest.mark.parametrize("layers", [1, 2, 4])
    def test_all_paths(self, layers, residual):
        """The share of position j in i: the sum over all paths through the layers, one by one."""
        given, n = [attention(2, 3, 4, 4, seed=layer) for layer in range(layers)], 4
        mixed = [residual * torch.eye(n, dtype=F64) + (1 - residual) * sum(a[:, h] for h in range(3)) / 3 for a in given]
        expected = torch.zeros(2, n, n, dtype=F64)
        for i, j in itertools.product(range(n), repeat=2):
            for inner in itertools.product(range(n), repeat=layers - 1):
                path = [j, *inner, i]  # from the input up
                for b in range(2):
                    expected[b, i, j] += math.prod(float(mixed[layer][b, path[layer + 1], path[layer]]) for layer in range(layers))
        assert_close(attention_rollout(given, residual), expected)

    def test_a_half_unless_told(self):
        given = [attention(1, 2, 3, 3, seed=layer) for layer in range(3)]
        assert_close(attention_rollout(given), attention_rollout(given, 0.5))

    def test_rows_sum_to_1(self):
        found = attention_rollout([attention(2, 3, 5, 5, seed=layer) for layer in range(6)])
        assert_close(found.sum(-1), torch.ones(2, 5, dtype=F64))

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda a, b: attention_rollout([a, b]), attention(2, 3, 4, 4), attention(2, 3, 4, 4, seed=1))


class TestDeletionCurve:
    @pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 2, 2)])
    @pytest.mark.parametrize("with_base", [True, False])
    def test_one_by_one(self, shape, with_base):
        net, x, a, target = a_net(), normal(3, *shape), normal(3, *shape, seed=2), torch.tensor([2, 0, 1])
        model = lambda v: net(v.transpose(1, -1))  # noqa: E731 - it knows the axes
        base = normal(*shape, seed=1) if with_base else None
        start = torch.zeros(4, dtype=F64) if base is None else base.flatten()
        expected = torch.zeros(3, 5, dtype=F64)
        for b in range(3):
            row, order = x[b].flatten().clone(), sorted(range(4), key=lambda i, b=b: -a[b].flatten()[i].item())
            for k in range(5):
                for i in order[:k]:
                    row[i] = start[i]
                expected[b, k] = model(row.view(1, *shape)).detach().softmax(1)[0, target[b]]
        assert_close(deletion_curve(model, x, target, a, base), expected)

    def test_of_equal_ones_the_first_goes_first(self):
        """The inputs are 1, 2, 4, …: what is left of their sum tells which are gone."""
        x = 2.0 ** torch.arange(40, dtype=F64)[None] / 2**36
        model = lambda v: torch.stack([v.sum(1), 0 * v[:, 0]], 1)  # noqa: E731
        found = deletion_curve(model, x, ZERO, torch.zeros(1, 40, dtype=F64))
        left = torch.stack([x[0, k:].sum() for k in range(41)])
        assert_close(found[0], torch.sigmoid(left))

    def test_signs_count(self):
        model = lambda v: torch.stack([v.sum(1), 0 * v[:, 0]], 1)  # noqa: E731
        found = deletion_curve(model, f64([1, 2, 4]), ZERO, f64([-9, 1, 0]))
        assert_close(found, torch.sigmoid(f64([7, 5, 1, 0])))

    def test_without_a_graph(self):
        x = normal(2, 4).requires_grad_()
        found = deletion_curve(a_net(), x, torch.tensor([0, 1]), normal(2, 4, seed=1))
        assert_equal((found.requires_grad, x.grad), (False, None))

    def test_on_the_gpu(self, gpu):
        gpu.check(
            lambda x, w, a, target: deletion_curve(lambda v: (v @ w).tanh(), x, target, a),
            normal(2, 4), normal(4, 3), normal(2, 4, seed=3), torch.tensor([1, 2]),
        )  # fmt: skip


class TestCurveArea:
    def test_the_example_worked_by_hand(self):
        assert_close(curve_area(f64([1, 0.5, 0])), f64(0.5))

    @pytest.mark.parametrize("n", [1, 2, 6])
    def test_trapezoids_one_by_one(self, n):
        curve = normal(3, n + 1)
        expected = [sum((row[i] + row[i + 1]) / 2 for i in range(n)) / n for row in curve.tolist()]
        assert_close(curve_area(curve), torch.tensor(expected, dtype=F64))

    def test_on_the_gpu(self, gpu):
        gpu.check(curve_area, normal(2, 5))

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    @pytest.mark.parametrize("seed", range(3))
    def test_deleting_what_matters_hurts_most(self, digits, seed):
        """A net that reads digits: the most important pixels by integrated gradients, in random order, and turned round."""
        images, labels = digits
        x, y = torch.tensor(images[:700] / 16, dtype=torch.float32), torch.tensor(labels[:700])
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(80):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        held, target = torch.tensor(images[1000:1100] / 16, dtype=torch.float32), torch.tensor(labels[1000:1100])
        found = integrated_gradients(model, held, target)
        maps = [found, torch.rand(held.shape, generator=seeded(seed)), -found]
        best, random, worst = (float(curve_area(deletion_curve(model, held, target, one)).mean()) for one in maps)
        if best > random - 0.1 or random > worst - 0.1:
            fail(f"The areas are {best:.2f} by importance, {random:.2f} at random, {worst:.2f} turned round.", evidence=(round(best, 1), round(worst, 1)))
