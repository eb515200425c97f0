"""Judges k08_gradient_control against torch's clipping, the big batch, and noise that is known."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_07_training.k08_gradient_control import (
    accumulate,
    clip_adaptive_,
    clip_norm_,
    clip_value_,
    global_norm,
    noise_scale,
)

pytestmark = [
    from_scratch(
        "torch.nn.utils.clip_grad_norm_",
        "torch.nn.utils.clip_grad_value_",
        "torch.nn.utils.get_total_norm",
        "torch.nn.utils.clip_grads_with_norm_",
        "torch.nn.utils.clip_grad",
    ),
    pure("clip_norm_", "clip_value_", "clip_adaptive_", "accumulate"),
]

SHAPES = [(3, 4), (5,), (), (2, 3, 2, 2)]
HALVES = [torch.float16, torch.bfloat16]


def parameter(gradient, weight=None, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    gradient = torch.as_tensor(gradient, dtype=dtype)
    w = torch.zeros_like(gradient) if weight is None else torch.as_tensor(weight, dtype=dtype).clone()
    w.requires_grad_()
    w.grad = gradient.clone()
    return w


def several(scale: float = 1.0, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Parameters of all kinds with gradients, one of them without."""
    made = [parameter(scale * torch.randn(shape), torch.randn(shape), dtype) for shape in SHAPES]
    made.insert(2, torch.randn(4, dtype=dtype, requires_grad=True))
    return made


def gradients(parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    return [w.grad.clone() for w in parameters if w.grad is not None]


def flat(parameters: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([g.flatten() for g in gradients(parameters)])


class TestGlobalNorm:
    def test_the_example_worked_by_hand(self):
        assert_close(global_norm([parameter([3.0]), parameter([0.0, 4.0])]), torch.tensor(5.0, dtype=torch.float64))

    @pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_matches_torch(self, dtype, order):
        parameters = several(3.0, dtype)
        assert_close(global_norm(parameters, order), torch.linalg.vector_norm(flat(parameters), order))

    def test_of_order_2_by_default(self):
        parameters = several()
        assert_close(global_norm(parameters), flat(parameters).norm())

    @pytest.mark.parametrize("dtype", HALVES)
    def test_halves_dont_overflow_or_round(self, dtype):
        parameters = [parameter(torch.full((50,), 300.0), dtype=dtype), parameter([7.0], dtype=dtype)]
        assert_close(global_norm(parameters), torch.tensor(math.sqrt(50 * 300**2 + 49)))
        assert_close(global_norm(parameters, 1.0), torch.tensor(15007.0))

    def test_0_without_gradients(self):
        for parameters in ([], [torch.ones(3, requires_grad=True)]):
            assert_close(float(global_norm(parameters)), 0.0)

    def test_a_generator_will_do(self):
        parameters = several()
        assert_close(global_norm(w for w in parameters), flat(parameters).norm())

    def test_only_looks(self):
        parameters = several()
        before = gradients(parameters)
        found = global_norm(parameters)
        assert_equal(found.requires_grad, False)
        assert_close(gradients(parameters), before, rtol=0, atol=0)


class TestClipNorm:
    def test_the_example_worked_by_hand(self):
        parameters = [parameter([3.0]), parameter([0.0, 4.0])]
        assert_close(float(clip_norm_(parameters, 5.0)), 5.0)
        assert_close(gradients(parameters), [torch.tensor([3.0]).double(), torch.tensor([0.0, 4.0]).double()])
        assert_close(float(clip_norm_(parameters, 2.5)), 5.0)
        assert_close(gradients(parameters), [torch.tensor([1.5]).double(), torch.tensor([0.0, 2.0]).double()])

    @pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
    @pytest.mark.parametrize("limit", [0.3, 1.7])
    def test_matches_torch(self, limit, order):
        mine = several(10.0)
        theirs = copy.deepcopy(mine)
        for w, v in zip(mine, theirs, strict=True):  # deepcopy leaves out .grad
            v.grad = None if w.grad is None else w.grad.clone()
        found = clip_norm_(mine, limit, order)
        assert_close(found, torch.nn.utils.clip_grad_norm_(theirs, limit, order))
        # torch adds 1e-6 to the norm before it divides.
        assert_close(gradients(mine), gradients(theirs), rtol=1e-5, atol=0)

    @pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
    @pytest.mark.parametrize("limit", [0.25, 3.0])
    def test_the_norm_is_the_limit_and_the_direction_stays(self, limit, order):
        parameters = several(10.0)
        before = flat(parameters)
        clip_norm_(parameters, limit, order)
        expected = before * limit / torch.linalg.vector_norm(before, order)
        assert_close(flat(parameters), expected)

    def test_of_order_2_by_default(self):
        parameters = several(10.0)
        clip_norm_(parameters, 0.5)
        assert_close(flat(parameters).norm(), torch.tensor(0.5, dtype=torch.float64))

    @pytest.mark.parametrize("factor", [1.001, 50.0])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_touches_nothing_up_to_the_limit(self, dtype, factor):
        parameters = several(0.7, dtype)
        before = gradients(parameters)
        limit = factor * global_norm(parameters).item()
        clip_norm_(parameters, limit)
        assert_close(gradients(parameters), before, rtol=0, atol=0)

    def test_a_norm_of_just_the_limit_is_left_alone(self):
        parameters = [parameter([3.0, 0.0]), parameter([-4.0])]
        clip_norm_(parameters, 5.0)
        assert_close(flat(parameters), torch.tensor([3.0, 0.0, -4.0], dtype=torch.float64), rtol=0, atol=0)

    def test_zeros_stay_zeros(self):
        parameters = [parameter([0.0, 0.0])]
        assert_close(float(clip_norm_(parameters, 1.0)), 0.0)
        assert_close(parameters[0].grad, torch.zeros(2, dtype=torch.float64))

    @pytest.mark.parametrize("dtype", HALVES)
    def test_halves(self, dtype):
        parameters = [parameter(torch.full((50,), 300.0), dtype=dtype)]
        assert_close(clip_norm_(parameters, 6.0), torch.tensor(300 * math.sqrt(50)))
        assert_close(parameters[0].grad, torch.full((50,), 6 / math.sqrt(50)).to(dtype))

    def test_a_generator_will_do(self):
        parameters = several(10.0)
        clip_norm_((w for w in parameters), 0.5)
        assert_close(flat(parameters).norm().item(), 0.5)

    def test_without_gradients(self):
        w = torch.ones(3, requires_grad=True)
        assert_close(float(clip_norm_([w], 0.5)), 0.0)
        assert_equal(w.grad, None)

    def test_in_place_and_the_parameters_stay(self):
        parameters = several(10.0)
        weights, held = [w.detach().clone() for w in parameters], [w.grad for w in parameters]
        clip_norm_(parameters, 0.5)
        assert_equal([w.grad is g for w, g in zip(parameters, held, strict=True)], [True] * 5)
        assert_close([w.detach() for w in parameters], weights, rtol=0, atol=0)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_a_norm_that_isnt_finite_is_refused(self, bad):
        parameters = [parameter([3.0, 9.0]), parameter([1.0, bad, 2.0])]
        before = gradients(parameters)
        with raises(ValueError, "nan" if math.isnan(bad) else "inf"):
            clip_norm_(parameters, 1.0)
        assert_close(gradients(parameters), before, rtol=0, atol=0)

    @pytest.mark.parametrize("limit", [0.0, -1.5])
    def test_other_limits_are_refused(self, limit):
        parameters = several()
        before = gradients(parameters)
        with raises(ValueError, limit):
            clip_norm_(parameters, limit)
        assert_close(gradients(parameters), before, rtol=0, atol=0)


class TestClipValue:
    def test_the_example_worked_by_hand(self):
        parameters = [parameter([3.0]), parameter([0.0, 4.0])]
        clip_value_(parameters, 2.0)
        assert_close(gradients(parameters), [torch.tensor([2.0]).double(), torch.tensor([0.0, 2.0]).double()])

    @pytest.mark.parametrize("limit", [0.4, 1.3])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_matches_torch(self, dtype, limit):
        parameters = several(1.0, dtype)
        expected = [g.clamp(-limit, limit) for g in gradients(parameters)]
        held = [w.grad for w in parameters]
        clip_value_((w for w in parameters), limit)
        assert_close(gradients(parameters), expected)
        assert_equal([w.grad is g for w, g in zip(parameters, held, strict=True)], [True] * 5)

    def test_infinite_numbers_are_clipped_and_nan_stays(self):
        parameters = [parameter([math.inf, -math.inf, math.nan, 0.5])]
        clip_value_(parameters, 2.0)
        assert_close(parameters[0].grad, torch.tensor([2.0, -2.0, math.nan, 0.5], dtype=torch.float64))

    @pytest.mark.parametrize("limit", [0.0, -1.5])
    def test_other_limits_are_refused(self, limit):
        parameters = several()
        before = gradients(parameters)
        with raises(ValueError, limit):
            clip_value_(parameters, limit)
        assert_close(gradients(parameters), before, rtol=0, atol=0)


def clipped_by_hand(weight: torch.Tensor, gradient: torch.Tensor, ratio: float, eps: float) -> torch.Tensor:
    units = [(weight, gradient)] if weight.dim() < 2 else list(zip(weight, gradient, strict=True))
    found = []
    for w, g in units:
        limit = ratio * max(w.square().sum().sqrt().item(), eps)
        norm = g.square().sum().sqrt().item()
        found.append(g * limit / norm if norm > limit else g)
    return found[0] if weight.dim() < 2 else torch.stack(found)


class TestClipAdaptive:
    def test_the_example_worked_by_hand(self):
        w = parameter([[0.0, 1.0], [0.0, 1.0]], [[3.0, 4.0], [0.0, 0.0]])
        given = [w]
        clip_adaptive_(given, 0.1, 2.0)
        assert_close(w.grad, torch.tensor([[0.0, 0.5], [0.0, 0.2]], dtype=torch.float64))
        assert_equal(len(given), 1)

    @pytest.mark.parametrize("eps", [1e-3, 1.5])
    @pytest.mark.parametrize("ratio", [0.1, 0.7, 2.0])
    def test_unit_by_unit(self, ratio, eps):
        parameters = several(1.5)
        expected = [clipped_by_hand(w.detach(), w.grad, ratio, eps) for w in parameters if w.grad is not None]
        weights, held = [w.detach().clone() for w in parameters], [w.grad for w in parameters]
        clip_adaptive_((w for w in parameters), ratio, eps)
        assert_close(gradients(parameters), expected)
        assert_close([w.detach() for w in parameters], weights, rtol=0, atol=0)
        assert_equal([w.grad is g for w, g in zip(parameters, held, strict=True)], [True] * 5)

    def test_its_defaults(self):
        w = parameter([[0.0, 1.0], [3.0, 4.0]], [[3.0, 4.0], [0.0, 0.0]])
        clip_adaptive_([w])
        assert_close(w.grad, torch.tensor([[0.0, 0.05], [6e-6, 8e-6]], dtype=torch.float64), rtol=1e-7, atol=1e-12)

    def test_shorter_units_stay_to_the_last_bit(self):
        g = torch.randn(20, 3) * 0.01
        g[4] = 0
        g[5] = torch.tensor([3.0, 0.0, 4.0])  # exactly at its limit
        weight = torch.full((20, 3), 5.0)
        weight[5] = torch.tensor([6.0, 0.0, 8.0])
        w = parameter(g, weight, torch.float32)
        clip_adaptive_([w], 0.5)
        assert_close(w.grad, g, rtol=0, atol=0)

    def test_a_unit_of_zeros_and_a_weight_of_zeros(self):
        w = parameter([[0.0, 0.0], [3.0, 4.0]])
        clip_adaptive_([w], 0.5, 0.1)
        assert_close(w.grad, torch.tensor([[0.0, 0.0], [0.03, 0.04]], dtype=torch.float64))

    @pytest.mark.parametrize("dtype", HALVES)
    def test_halves(self, dtype):
        w = parameter([[300.0] * 4, [1.0] * 4], [[200.0] * 4, [200.0] * 4], dtype=dtype)
        clip_adaptive_([w], 0.5)
        assert_close(w.grad, torch.tensor([[100.0] * 4, [1.0] * 4], dtype=dtype))

    @pytest.mark.parametrize("dtype", HALVES)
    def test_norms_that_a_half_cant_hold(self, dtype):
        w = parameter([[40_000.0] * 4], [[40_000.0] * 4], dtype=dtype)
        clip_adaptive_([w], 0.5)
        assert_close(w.grad, torch.tensor([[20_000.0] * 4]).to(dtype))

    def test_rows_need_not_lie_side_by_side(self):
        gradient, weight = torch.randn(4, 6, dtype=torch.float64).T, torch.randn(6, 4, dtype=torch.float64)
        w = weight.clone().requires_grad_()
        w.grad = gradient.clone(memory_format=torch.preserve_format)
        clip_adaptive_([w], 0.1)
        assert_close(w.grad, clipped_by_hand(weight, gradient, 0.1, 1e-3))

    @pytest.mark.parametrize("ratio", [0.0, -0.5])
    def test_other_ratios_are_refused(self, ratio):
        parameters = several()
        before = gradients(parameters)
        with raises(ValueError, ratio):
            clip_adaptive_(parameters, ratio)
        assert_close(gradients(parameters), before, rtol=0, atol=0)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)).double()


def cut(x: torch.Tensor, y: torch.Tensor, sizes: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


def of_the_big_batch(model: nn.Module, loss_fn, x: torch.Tensor, y: torch.Tensor) -> tuple[float, list[torch.Tensor]]:
    twin = copy.deepcopy(model)
    twin.zero_grad()
    loss = loss_fn(twin(x), y)
    loss.backward()
    return loss.item(), [w.grad for w in twin.parameters()]


def assert_accumulates(model: nn.Module, loss_fn, x: torch.Tensor, y: torch.Tensor, sizes: list[int], **options):
    expected = of_the_big_batch(model, loss_fn, x, y)
    found = accumulate(model, loss_fn, cut(x, y, sizes), **options)
    assert_close((found, [w.grad for w in model.parameters()]), expected)


class TestAccumulate:
    def test_the_example_worked_by_hand(self):
        model = nn.Linear(1, 1, bias=False).double()
        with torch.no_grad():
            model.weight.fill_(1.0)
        losses = torch.tensor([1.0, 1.0, 9.0, 6.0, 9.0, 2.0, 2.0], dtype=torch.float64)[:, None]
        targets = torch.tensor([2, 0, -100, 1, -100, 3, 1])
        loss_fn = lambda out, y: out[y != -100].mean()  # noqa: E731
        parts = cut(losses, targets, [3, 2, 2])
        found = accumulate(model, loss_fn, parts)
        assert_close(model.weight.grad, torch.tensor([[2.4]], dtype=torch.float64))
        assert_close(found, 2.4)
        assert_equal(len(parts), 3)

    @pytest.mark.parametrize("sizes", [[12], [4, 4, 4], [5, 5, 2], [1, 11], [1] * 12])
    def test_equals_the_big_batch(self, sizes):
        x, y = torch.randn(12, 5, dtype=torch.float64), torch.randint(0, 4, (12,))
        assert_accumulates(network(), F.cross_entropy, x, y, sizes)

    @pytest.mark.parametrize("sizes", [[3, 3, 3, 3], [5, 1, 6]])
    @pytest.mark.parametrize("ignore", [-100, 2])
    def test_targets_to_ignore_dont_count(self, ignore, sizes):
        x, y = torch.randn(12, 5, dtype=torch.float64), torch.randint(0, 2, (12,))
        y[torch.tensor([0, 1, 4, 8])] = ignore
        loss_fn = lambda out, y: F.cross_entropy(out, y, ignore_index=ignore)  # noqa: E731
        options = {} if ignore == -100 else {"ignore": ignore}
        assert_accumulates(network(), loss_fn, x, y, sizes, **options)

    def test_targets_of_two_axes(self):
        x, y = torch.randn(6, 7, 5, dtype=torch.float64), torch.randint(0, 4, (6, 7))
        y[0, 2:], y[3, 1:], y[5, 6:] = -100, -100, -100
        loss_fn = lambda out, y: F.cross_entropy(out.flatten(0, 1), y.flatten())  # noqa: E731
        assert_accumulates(network(), loss_fn, x, y, [1, 3, 2])

    def test_sequences_of_different_lengths(self):
        model, parts, losses, counts = network(), [], [], []
        loss_fn = lambda out, y: F.cross_entropy(out.flatten(0, 1), y.flatten())  # noqa: E731
        for n, t in ((2, 3), (1, 9), (4, 1)):
            parts.append((torch.randn(n, t, 5, dtype=torch.float64), torch.randint(0, 4, (n, t))))
            losses.append(loss_fn(model(parts[-1][0]), parts[-1][1]))
            counts.append(n * t)
        whole = sum(loss * n for loss, n in zip(losses, counts, strict=True)) / sum(counts)
        expected = torch.autograd.grad(whole, list(model.parameters()))
        found = accumulate(model, loss_fn, parts)
        assert_close((found, [w.grad for w in model.parameters()]), (whole.item(), list(expected)))

    def test_numbers_as_targets(self):
        x, y = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)
        assert_accumulates(network(), F.mse_loss, x, y, [4, 1, 2])

    @pytest.mark.parametrize("empty", [0, 1, 2])
    def test_a_part_in_which_nothing_counts(self, empty):
        x, y = torch.randn(9, 5, dtype=torch.float64), torch.randint(0, 4, (9,))
        y[3 * empty : 3 * empty + 3] = -100
        assert_accumulates(network(), F.cross_entropy, x, y, [3, 3, 3])

    def test_gradients_from_before_are_gone(self):
        model = network()
        for w in model.parameters():
            w.grad = torch.full_like(w, 7.0)
        x, y = torch.randn(6, 5, dtype=torch.float64), torch.randint(0, 4, (6,))
        assert_accumulates(model, F.cross_entropy, x, y, [4, 2])
        assert_accumulates(model, F.cross_entropy, x.flip(0) + 1, y, [1, 5])

    def test_one_graph_at_a_time(self):
        model, events = network(), []

        def watch(module, inputs, output):
            events.append("forward")
            output.register_hook(lambda g: events.append("backward"))

        model.register_forward_hook(watch)
        x, y = torch.randn(6, 5, dtype=torch.float64), torch.randint(0, 4, (6,))
        accumulate(model, F.cross_entropy, cut(x, y, [2, 2, 2]))
        assert_equal(events, ["forward", "backward"] * 3)

    def test_the_model_is_trained_by_nobody(self):
        for mode in (True, False):
            model = network().train(mode)
            before = [w.detach().clone() for w in model.parameters()]
            x, y = torch.randn(6, 5, dtype=torch.float64), torch.randint(0, 4, (6,))
            found = accumulate(model, F.cross_entropy, cut(x, y, [4, 2]))
            assert_equal((type(found).__name__, model.training), ("float", mode))
            assert_close([w.detach() for w in model.parameters()], before, rtol=0, atol=0)

    def test_frozen_parameters_get_none(self):
        model = network()
        model[0].requires_grad_(False)
        x, y = torch.randn(6, 5, dtype=torch.float64), torch.randint(0, 4, (6,))
        assert_accumulates(model, F.cross_entropy, x, y, [4, 2])

    def test_of_digits_in_five_parts(self, digits):
        x, y = torch.tensor(digits[0][:100]) / 16, torch.tensor(digits[1][:100])
        model = nn.Sequential(nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10)).double()
        assert_accumulates(model, F.cross_entropy, x, y, [32, 32, 3, 29, 4])


class TestNoiseScale:
    def test_the_example_worked_by_hand(self):
        assert_close(noise_scale(torch.tensor([[3.0, 1.0], [1.0, 1.0]]), 4), (4.0, 8.0, 2.0))

    @pytest.mark.parametrize("size", [1, 3, 16])
    @pytest.mark.parametrize(("n", "d"), [(2, 5), (9, 4), (50, 1)])
    def test_the_noise_is_the_variance_between_gradients(self, n, d, size):
        gradients = torch.randn(n, d, dtype=torch.float64) + 2
        # Each gradient's variance is Σ / size, and their mean is off by a further share 1/n of it.
        trace = size * gradients.var(0).sum()
        squared = gradients.mean(0).square().sum() - trace / (n * size)
        found = noise_scale(gradients, size)
        assert_close(found, (squared.item(), trace.item(), (trace / squared).item()))

    @pytest.mark.parametrize("scale", [1e-3, 0.4, 50.0])
    def test_their_quotient_doesnt_depend_on_the_scale(self, scale):
        gradients = torch.tensor([[3.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
        assert_close(noise_scale(scale * gradients, 4), (4.0 * scale**2, 8.0 * scale**2, 2.0))

    @pytest.mark.parametrize("size", [1, 8])
    def test_a_quadratic_with_known_noise(self, size):
        # Loss ½ wᵀ H w, and a sample's gradient is H w plus noise with the standard deviations sigma.
        h, w = torch.tensor([4.0, 1.0, 0.5]).double(), torch.tensor([1.0, -2.0, 3.0]).double()
        sigma = torch.tensor([1.0, 3.0, 0.5]).double()
        runs = []
        for _ in range(400):
            noise = torch.randn(10, size, 3, dtype=torch.float64).mean(1) * sigma
            runs.append(torch.tensor(noise_scale(h * w + noise, size)[:2], dtype=torch.float64))
        runs = torch.stack(runs)
        expected = torch.stack([(h * w).square().sum(), sigma.square().sum()])
        wrong = (runs.mean(0) - expected).abs() / (runs.std(0) / 20)
        if (wrong > 6).any():
            fail(
                f"over 400 runs |G|² and tr(Σ) are {runs.mean(0).tolist()} on average, expected {expected.tolist()}",
                evidence=[round(v, 1) for v in (runs.mean(0) / expected).tolist()],
            )

    def test_no_gradient_left_in_the_noise(self):
        squared, trace, scale = noise_scale(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), 2)
        assert_close((squared, trace, scale), (-1.0, 4.0, math.inf))
        # |G|² is exactly 0: small = 2, big = 1.
        assert_close(noise_scale(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), 1), (0.0, 2.0, math.inf))

    def test_without_noise(self):
        assert_close(noise_scale(torch.tensor([[3.0, 4.0]] * 3), 5), (25.0, 0.0, 0.0))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_other_dtypes_are_widened(self, dtype):
        gradients = (40 * torch.randn(6, 500)).to(dtype)
        assert_close(noise_scale(gradients, 4), noise_scale(gradients.double(), 4))
        assert_equal([type(v).__name__ for v in noise_scale(gradients, 4)], ["float"] * 3)

    @pytest.mark.parametrize("n", [0, 1])
    def test_refuses_fewer_than_two(self, n):
        noise_scale(torch.ones(2, 3), 4)
        with raises(ValueError, n):
            noise_scale(torch.ones(n, 3), 4)


class TestOnTheGpu:
    def moved(self, gpu, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
        found = [gpu(w.detach()).requires_grad_() for w in parameters]
        for w, v in zip(parameters, found, strict=True):
            v.grad = None if w.grad is None else gpu(w.grad)
        return found

    def test_global_norm(self, gpu):
        parameters = several()
        there = global_norm(self.moved(gpu, parameters))
        assert_equal(there.device.type, gpu.device.type)
        assert_close(there.cpu(), flat(parameters).norm())

    @pytest.mark.parametrize("clip", [clip_norm_, clip_value_, clip_adaptive_], ids=lambda f: f.__name__)
    def test_clipping(self, gpu, clip):
        parameters = several(3.0)
        there = self.moved(gpu, parameters)
        clip(parameters, 0.5)
        clip(there, 0.5)
        assert_equal({w.grad.device.type for w in there if w.grad is not None}, {gpu.device.type})
        assert_close([g.cpu() for g in gradients(there)], gradients(parameters))

    def test_accumulate(self, gpu):
        model = network()
        x, y = torch.randn(7, 5, dtype=torch.float64), torch.randint(0, 4, (7,))
        y[1] = -100
        loss, expected = of_the_big_batch(model, F.cross_entropy, x, y)
        there = gpu(model)
        found = accumulate(there, F.cross_entropy, gpu(cut(x, y, [4, 3])))
        assert_close((found, [w.grad.cpu() for w in there.parameters()]), (loss, expected))

    def test_noise_scale(self, gpu):
        gradients = torch.randn(5, 4, dtype=torch.float64) + 1
        assert_close(noise_scale(gpu(gradients), 3), noise_scale(gradients, 3))
