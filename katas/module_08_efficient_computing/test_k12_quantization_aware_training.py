"""Judges k12_quantization_aware_training against torch's fake quantization, the papers' formulas and
finite differences of the surrogates; on digits, against rounding after training."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k12_quantization_aware_training import (
    QATLinear,
    binarize,
    fake_quantize,
    lsq,
)

pytestmark = [
    from_scratch(
        "torch.fake_quantize_per_tensor_affine",
        "torch.fake_quantize_per_channel_affine",
        "torch._fake_quantize_learnable_per_tensor_affine",
        "torch.ao",
        "torch.quantization",
    ),
    pure(),
]

SHAPES = [(), (7,), (3, 5), (2, 3, 5)]


def t64(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gradients(out, upstream, *inputs):
    """The gradients of `inputs` under `upstream`; a sentence where `out` is cut off from them."""
    if not out.requires_grad:
        fail("no gradient flows through the result: it is detached from its inputs")
    found = torch.autograd.grad(out, inputs, upstream, allow_unused=True)
    for i, gradient in enumerate(found):
        if gradient is None:
            fail(f"no gradient reaches differentiable input {i}", evidence=i)
    return found


def off_ties(shape, size, low, high, reach=3):
    """Float64 numbers whose quotients by `size` are at least 0.05 from every half and every integer."""
    part = torch.rand(shape, dtype=torch.float64) * 0.4 + 0.05
    part = part * (torch.randint(0, 2, shape) * 2 - 1)
    return (torch.randint(low - reach, high + reach + 1, shape) + part) * size


def slope(function, x, h=1e-6):
    """Central differences of an elementwise function."""
    return (function(x + h) - function(x - h)) / (2 * h)


class TestFakeQuantize:
    def test_the_example_worked_by_hand(self):
        x = t64(-0.8, -0.7, 0.3, 1.2, 1.3).requires_grad_()
        out = fake_quantize(x, 0.5, 1, 0, 3)
        assert_close(out, t64(-0.5, -0.5, 0.5, 1.0, 1.0))
        (grad,) = gradients(out, torch.ones_like(x), x)
        assert_close(grad, t64(0, 1, 1, 1, 0))

    # Powers of two, so that torch's product with 1 / scale rounds as a division does.
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize(
        ("scale", "zero_point", "low", "high"), [(0.25, 0, -8, 7), (0.125, 5, 0, 15), (2.0, -3, -4, 3)]
    )
    def test_value_and_gradient_match_torch(self, shape, scale, zero_point, low, high):
        x = (torch.randn(shape) * (high - low) / 2 * scale).requires_grad_()
        upstream = torch.randn(shape)
        out = fake_quantize(x, scale, zero_point, low, high)
        expected = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, low, high)
        assert_close(out, expected)
        assert_close(gradients(out, upstream, x)[0], gradients(expected, upstream, x)[0])

    @pytest.mark.parametrize(("zero_point", "low", "high"), [(0, -4, 3), (2, 0, 6), (3, 0, 7), (-1, -4, 3)])
    def test_every_code_half_and_border_matches_torch(self, zero_point, low, high):
        x = (torch.arange(-40, 41) / 8).requires_grad_()
        out = fake_quantize(x, 0.5, zero_point, low, high)
        expected = torch.fake_quantize_per_tensor_affine(x, 0.5, zero_point, low, high)
        assert_close(out, expected)
        upstream = torch.randn(81)
        assert_close(gradients(out, upstream, x)[0], gradients(expected, upstream, x)[0])

    @pytest.mark.parametrize(("scale", "zero_point", "low", "high"), [(0.3, 1, -3, 2), (0.07, 4, 0, 9)])
    def test_float64_keeps_its_precision(self, scale, zero_point, low, high):
        x = off_ties((4, 9), scale, low - zero_point, high - zero_point)
        grid = scale * torch.arange(low - zero_point, high - zero_point + 1, dtype=torch.float64)
        nearest = grid[(x.flatten()[:, None] - grid).abs().argmin(1)].reshape(x.shape)
        assert_close(fake_quantize(x, scale, zero_point, low, high), nearest)

    @pytest.mark.parametrize("side", [-1e-9, 1e-9])
    def test_float64_tells_what_is_just_beside_a_half(self, side):
        codes = torch.arange(-3, 2, dtype=torch.float64)
        out = fake_quantize((codes + 0.5 + side) * 0.5, 0.5, 1, -2, 3)
        assert_close(out, (codes + (side > 0)) * 0.5)

    def test_the_gradient_is_the_slope_of_the_surrogate(self):
        # x, clipped half a step beyond the first and the last code: what rounds into the range is inside.
        x = off_ties((5, 6), 0.3, -3, 2).requires_grad_()
        (grad,) = gradients(fake_quantize(x, 0.3, 1, -2, 3), torch.ones_like(x), x)
        surrogate = slope(lambda v: v.clamp(-3.5 * 0.3, 2.5 * 0.3), x.detach())
        assert_close(grad, surrogate, atol=1e-6)  # finite differences are good to about 1e-9

    @pytest.mark.parametrize(("zero_point", "low", "high"), [(-3, -2, 5), (6, -2, 5), (9, 1, 8)])
    def test_rejects_a_zero_point_without_a_code(self, zero_point, low, high):
        with raises(ValueError, zero_point, low, high):
            fake_quantize(torch.zeros(3), 0.5, zero_point, low, high)

    @pytest.mark.parametrize("zero_point", [-2, 5])
    def test_the_zero_point_may_be_the_first_or_the_last_code(self, zero_point):
        x = torch.tensor([0.0, 0.5, -0.5])
        expected = torch.tensor([0.0, 0.5, 0.0] if zero_point == -2 else [0.0, 0.0, -0.5])
        assert_close(fake_quantize(x, 0.5, zero_point, -2, 5), expected)


def paper_lsq(x, step, low, high, upstream):
    """Value and both gradients of LSQ, a number at a time, by equations 1 to 3 of the paper."""
    s = step.item()
    value, to_x, to_step = np.zeros(x.numel()), np.zeros(x.numel()), 0.0
    for i, (v, g) in enumerate(zip(x.flatten().tolist(), upstream.flatten().tolist(), strict=True)):
        u = v / s
        if u <= low:
            value[i], slope = low * s, low
        elif u >= high:
            value[i], slope = high * s, high
        else:
            code = np.rint(u)
            value[i], slope, to_x[i] = code * s, code - u, g
        to_step += g * slope
    to_step /= (x.numel() * high) ** 0.5
    as_x = [torch.tensor(a, dtype=x.dtype).reshape(x.shape) for a in (value, to_x)]
    return *as_x, torch.tensor(to_step, dtype=step.dtype)


class TestLSQ:
    def test_the_example_worked_by_hand(self):
        x, step = t64(-1.2, -0.3, 0.2, 0.9).requires_grad_(), torch.tensor(0.5).double().requires_grad_()
        out = lsq(x, step, -2, 1)
        assert_close(out, t64(-1.0, -0.5, 0.0, 0.5))
        to_x, to_step = gradients(out, torch.ones_like(x), x, step)
        assert_close(to_x, t64(0, 1, 1, 0))
        assert_close(to_step, torch.tensor(-0.9).double())

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize(("size", "low", "high"), [(0.3, -2, 1), (0.07, -4, 3), (1.7, -1, 6)])
    def test_value_and_gradients_match_the_paper(self, shape, size, low, high):
        x = off_ties(shape, size, low, high).requires_grad_()
        step = torch.tensor(size, dtype=torch.float64, requires_grad=True)
        upstream = torch.randn(shape, dtype=torch.float64)
        value, to_x, to_step = paper_lsq(x, step, low, high, upstream)
        out = lsq(x, step, low, high)
        assert_close(out, value)
        assert_close(gradients(out, upstream, x, step), (to_x, to_step))

    @pytest.mark.parametrize("at", [eighth / 8 for eighth in range(-20, 21)])
    def test_halves_go_to_even_and_the_borders_are_clipped(self, at):
        step = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
        x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        value, to_x, to_step = paper_lsq(x, step, -4, 3, t64(1.0))
        out = lsq(x, step, -4, 3)
        assert_close(out, value)
        assert_close(gradients(out, torch.ones_like(x), x, step), (to_x, to_step))

    def test_the_gradients_are_the_slopes_of_the_surrogate(self):
        x = off_ties((4, 7), 0.3, -4, 3)
        step, upstream = torch.tensor(0.3).double(), torch.randn(4, 7, dtype=torch.float64)
        # Rounding becomes "add what it adds here": a constant.
        added = (x / step).clamp(-4, 3).round() - (x / step).clamp(-4, 3)
        to_x = upstream * slope(lambda v: step * ((v / step).clamp(-4, 3) + added), x)
        to_step = (upstream * slope(lambda s: s * ((x / s).clamp(-4, 3) + added), step)).sum()
        to_step = to_step / (28 * 3) ** 0.5
        x.requires_grad_()
        step.requires_grad_()
        found = gradients(lsq(x, step, -4, 3), upstream, x, step)
        assert_close(found, (to_x, to_step), atol=1e-6)  # finite differences are good to about 1e-9

    def test_a_small_step(self):
        x = off_ties((3, 4), 1e-5, -2, 1).requires_grad_()
        step = torch.tensor(1e-5).double().requires_grad_()
        upstream = torch.randn(3, 4, dtype=torch.float64)
        value, to_x, to_step = paper_lsq(x, step, -2, 1, upstream)
        out = lsq(x, step, -2, 1)
        assert_close(out, value, atol=1e-15)
        assert_close(gradients(out, upstream, x, step), (to_x, to_step))

    def test_numbers_that_are_not_neighbours_in_memory(self):
        x, step = off_ties((3, 4), 0.2, -2, 1).T, torch.tensor(0.2).double()
        assert_close(lsq(x, step, -2, 1), paper_lsq(x, step, -2, 1, torch.ones(4, 3))[0])

    def test_a_fixed_input_still_trains_its_step(self):
        x, step = off_ties((6, 2), 0.2, -2, 1), torch.tensor(0.2).double().requires_grad_()
        upstream = torch.randn(6, 2, dtype=torch.float64)
        expected = paper_lsq(x, step, -2, 1, upstream)[2]
        assert_close(gradients(lsq(x, step, -2, 1), upstream, step)[0], expected)

    def test_keeps_float32(self):
        x = off_ties((3, 4), 0.25, -2, 1).float().requires_grad_()
        step = torch.tensor(0.25, requires_grad=True)
        upstream = torch.randn(3, 4)
        value, *expected = paper_lsq(x, step, -2, 1, upstream)
        out = lsq(x, step, -2, 1)
        assert_close(out, value)
        assert_close(gradients(out, upstream, x, step), tuple(expected))


class TestBinarize:
    def test_the_example_worked_by_hand(self):
        w = t64([0.5, -1.5, 0.0, 0.4]).requires_grad_()
        out = binarize(w)
        assert_close(out, t64([0.6, -0.6, 0.6, 0.6]))
        assert_close(gradients(out, torch.ones_like(w), w)[0], t64([1.1, -0.5, 0.6, 1.1]))

    @pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 4), (4, 1), (4, 3, 2), (2, 3, 5, 2)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_value_and_gradient_match_the_formula(self, shape, dtype):
        w = (torch.randn(shape) * 1.3).to(dtype).requires_grad_()
        upstream = torch.randn(shape).to(dtype)
        value, to_w = [], []
        rows, ups = (a.detach().double().flatten(1).numpy() for a in (w, upstream))
        for row, g in zip(rows, ups, strict=True):
            scale, sign = np.abs(row).sum() / len(row), np.where(row < 0, -1.0, 1.0)
            value.append(scale * sign)
            to_w.append(scale * g * (np.abs(row) <= 1) + np.sign(row) / len(row) * (g * sign).sum())
        value, to_w = (torch.tensor(np.array(a)).reshape(shape).to(dtype) for a in (value, to_w))
        out = binarize(w)
        assert_close(out, value)
        assert_close(gradients(out, upstream, w)[0], to_w)

    def test_weights_that_are_not_neighbours_in_memory(self):
        w = torch.randn(2, 3, 4, dtype=torch.float64)
        assert_close(binarize(w.permute(0, 2, 1)), binarize(w).permute(0, 2, 1))

    def test_weights_that_need_no_gradient(self):
        w = torch.tensor([[0.5, -1.5], [0.25, 0.75]])
        assert_close(binarize(w), torch.tensor([[1.0, -1.0], [0.5, 0.5]]))
        assert_close(w, torch.tensor([[0.5, -1.5], [0.25, 0.75]]))

    def test_zeros_become_plus_and_the_ends_of_the_range_are_inside(self):
        w = t64([1.0, -1.0, 0.0, -0.0, 2.0], [1.25, -1.25, 0.5, -0.5, 0.0]).requires_grad_()
        out = binarize(w)
        assert_close(out, t64([0.8, -0.8, 0.8, 0.8, 0.8], [0.7, -0.7, 0.7, -0.7, 0.7]))
        upstream = t64([1.0, 2, 3, 4, 5], [2.0, 1, 4, 3, 5])
        # Σ G sign is 11 and 7.
        straight = t64([0.8, 1.6, 2.4, 3.2, 0], [0, 0, 2.8, 2.1, 3.5])
        through_scale = t64([2.2, -2.2, 0, 0, 2.2], [1.4, -1.4, 1.4, -1.4, 0])
        assert_close(gradients(out, upstream, w)[0], straight + through_scale)

    def test_the_gradient_is_the_slope_of_the_surrogate(self):
        w = (torch.rand(3, 4, dtype=torch.float64) + 0.05) * (torch.randint(0, 2, (3, 4)) * 2 - 1)
        w[:, 0] *= 2.0
        w = w.where((w.abs() - 1).abs() > 1e-3, torch.tensor(0.5).double())
        upstream = torch.randn(3, 4, dtype=torch.float64)
        added = w.sign() - w.clamp(-1, 1)

        def loss(v):
            return (upstream * v.abs().mean(1, keepdim=True) * (v.clamp(-1, 1) + added)).sum()

        expected = torch.zeros_like(w)
        for i in np.ndindex(3, 4):
            h = torch.zeros_like(w)
            h[i] = 1e-6
            expected[i] = (loss(w + h) - loss(w - h)) / 2e-6
        w.requires_grad_()
        assert_close(gradients(binarize(w), upstream, w)[0], expected, atol=1e-6)  # differences: about 1e-9


def linear(inputs, outputs, bias=True):
    layer = nn.Linear(inputs, outputs, bias).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


class TestQATLinear:
    @pytest.mark.parametrize("bits", [2, 3, 4, 8])
    def test_starts_from_the_float_layer(self, bits):
        layer = linear(5, 3)
        made = QATLinear(layer, bits)
        assert_close((made.weight.detach(), made.bias.detach()), (layer.weight.detach(), layer.bias.detach()))
        step = 2 * layer.weight.detach().abs().mean() / (2 ** (bits - 1) - 1) ** 0.5
        assert_close(made.step.detach(), step)
        assert_equal(sorted(name for name, _ in made.named_parameters()), ["bias", "step", "weight"])

    def test_the_float_layer_is_copied(self):
        layer = linear(5, 3)
        before = [p.detach().clone() for p in layer.parameters()]
        made = QATLinear(layer, 2)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(1.0)
        assert_close([p.detach() for p in layer.parameters()], before)
        assert_equal([p.requires_grad for p in layer.parameters()], [True, True])

    @pytest.mark.parametrize("bits", [2, 3, 8])
    def test_the_codes_are_small_integers_of_the_current_weight_and_step(self, bits):
        made = QATLinear(linear(7, 4), bits)
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        for size in (0.3, 0.002):  # one layer, whose step and weight change
            with torch.no_grad():
                made.step.fill_(size)
                made.weight.copy_(off_ties((4, 7), size, low, high))
                made.weight[0, :2] = t64(low - 2.2, high + 2.2) * size
            expected = np.clip(np.rint(made.weight.detach().numpy() / size), low, high)
            assert_close(made.codes(), torch.tensor(expected).to(torch.int8))

    @pytest.mark.parametrize("bits", [2, 4])
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_forward_and_gradients_are_those_of_lsq_in_a_linear_layer(self, lead, bias, bits):
        made = QATLinear(linear(5, 3, bias), bits)
        if not bias and made.bias is not None:
            fail("the float layer has no bias, so bias must be None")
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        with torch.no_grad():
            made.step.fill_(0.3)
            made.weight.copy_(off_ties((3, 5), 0.3, low, high))
        x = torch.randn(*lead, 5, dtype=torch.float64, requires_grad=True)
        upstream = torch.randn(*lead, 3, dtype=torch.float64)
        out = made(x)
        rows, ups = x.detach().reshape(-1, 5), upstream.reshape(-1, 3)
        used, to_weight, to_step = paper_lsq(made.weight, made.step, low, high, ups.mT @ rows)
        assert_close(out, F.linear(x, used, made.bias))
        expected = [upstream @ used, to_weight, to_step] + ([ups.sum(0)] if bias else [])
        parameters = [made.weight, made.step] + ([made.bias] if bias else [])
        assert_close(gradients(out, upstream, x, *parameters), tuple(expected))

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("with_gradient", [True, False])
    def test_every_pass_uses_the_current_weights_quantized(self, training, with_gradient):
        made, x = QATLinear(linear(5, 3), 3).train(training), torch.randn(2, 5, dtype=torch.float64)
        for _ in range(2):  # the second time with other weights
            with torch.set_grad_enabled(with_gradient):
                out = made(x)
            size = made.step.item()
            used = size * (made.weight.detach() / size).clamp(-4, 3).round()
            assert_close(out.detach(), F.linear(x, used, made.bias.detach()))
            if with_gradient:
                gradients(out, torch.ones_like(out), made.weight, made.step, made.bias)
            with torch.no_grad():
                made.weight.mul_(-1.5)
            codes = (made.weight.detach() / size).clamp(-4, 3).round().to(torch.int8)
            assert_close(made.codes(), codes)  # of now, not of the last pass

    def test_keeps_float32(self):
        made = QATLinear(nn.Linear(4, 3), 3)
        assert_equal([p.dtype for p in (made.weight, made.bias, made.step)], [torch.float32] * 3)
        x = torch.randn(2, 4)
        stored = made.step.detach() * made.codes()
        assert_close(made(x).detach(), F.linear(x, stored, made.bias.detach()))

    @pytest.mark.parametrize("bits", [1, 9, 16])
    def test_rejects_widths_without_codes(self, bits):
        with raises(ValueError, bits, 2, 8):
            QATLinear(nn.Linear(4, 3), bits)


def train(model, x, y, epochs, rate):
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(256):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()


def network(layers):
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])


def accuracy(model, x, y):
    with torch.no_grad():
        return (model(x).argmax(-1) == y).double().mean().item()


def rounded(layer, low, high):
    """The layer after post-training quantization, with the step of least squared error of 60."""
    w = layer.weight.detach()
    steps = w.abs().max() * torch.linspace(0.05, 1.2, 60)
    copies = [(w / s).round().clamp(low, high) * s for s in steps]
    copy = nn.Linear(layer.in_features, layer.out_features)
    with torch.no_grad():
        copy.weight.copy_(min(copies, key=lambda q: (q - w).square().sum().item()))
        copy.bias.copy_(layer.bias)
    return copy


@pytest.fixture
def one_thread():
    """Layers this small only get slower from a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class TestDigits:
    def test_two_bits_trained_beat_two_bits_rounded(self, digits, one_thread):
        # Rounding errors add up through five layers.  The mean of three networks, as one may be lucky.
        x, y = torch.tensor(digits[0] / 16, dtype=torch.float32), torch.tensor(digits[1])
        sizes, post, aware = [64, 24, 24, 24, 24, 10], [], []
        for _ in range(3):
            order = torch.randperm(len(x))
            learn, judge = order[:1300], order[1300:]
            layers = [nn.Linear(n, m) for n, m in pairwise(sizes)]
            train(network(layers), x[learn], y[learn], 25, 0.01)
            after = network([rounded(layer, -2, 1) for layer in layers])
            trained = network([QATLinear(layer, 2) for layer in layers])
            train(trained, x[learn], y[learn], 12, 0.01)
            post.append(accuracy(after, x[judge], y[judge]))
            aware.append(accuracy(trained, x[judge], y[judge]))
        a, b = sum(aware) / 3, sum(post) / 3
        if a < b + 0.02:
            fail(f"2-bit weights trained by QATLinear get {a:.3f} of the digits right, rounded ones {b:.3f}")


def parameters_of(layer: nn.Linear, bits: int) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in QATLinear(layer, bits).named_parameters()}


class TestOnTheGpu:
    def test_fake_quantize(self, gpu):
        gpu.check(fake_quantize, off_ties((3, 5), 0.5, -2, 4).requires_grad_(), 0.5, 1, 0, 3)

    def test_lsq(self, gpu):
        gpu.check(lsq, off_ties((3, 5), 0.5, -2, 1).requires_grad_(), t64(0.5)[0].requires_grad_(), -2, 1)

    def test_binarize(self, gpu):
        w = 2 * torch.randn(3, 2, 5, dtype=torch.float64)
        w[0, 1, 2] = 0
        gpu.check(binarize, w.requires_grad_())

    @pytest.mark.parametrize("bias", [True, False])
    def test_qat_linear(self, gpu, bias):
        layer = nn.Linear(5, 3, bias).double()
        gpu.check(parameters_of, layer, 3, what="QATLinear's parameters")
        quantized = QATLinear(layer, 3)
        gpu.check(quantized, torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True))
        gpu.check(quantized.codes)
