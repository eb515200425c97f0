"""Judges k10_quantization against torch's quantizers, exact integers, and MiniLM with its own float weights."""

import numpy as np
import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k10_quantization import (
    DynamicQuantizedLinear,
    calibrate,
    choose_qparams,
    dequantize,
    int8_matmul,
    quantize,
)

pytestmark = [
    from_scratch(
        "torch.quantize_per_tensor",
        "torch.quantize_per_tensor_dynamic",
        "torch.quantize_per_channel",
        "torch.fake_quantize_per_tensor_affine",
        "torch.fake_quantize_per_channel_affine",
        "torch.ao",
        "torch.quantization",
        "torch.nn.quantized",
    ),
    pure(),
]


def f64(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def i32(value) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.int32)


def off_ties(shape, scale) -> torch.Tensor:
    """float32 values from far below to far above the codes' range, none near the middle of two steps."""
    steps = torch.randint(-300, 300, shape) + (torch.rand(shape) - 0.5) * 0.8
    return steps * scale


def codes(*shape) -> torch.Tensor:
    return torch.randint(-128, 128, shape, dtype=torch.int8)


class TestChooseQparams:
    def test_the_example_worked_by_hand(self):
        assert_close(choose_qparams(f64(-1)[0], f64(4.1)[0]), (f64(0.02)[0], i32(-78)))

    def test_a_range_of_one_value_is_widened_to_0(self):
        assert_close(choose_qparams(f64(5.1, -5.1), f64(5.1, -5.1)), (f64(0.02, 0.02), i32([-128, 127])))
        assert_close(choose_qparams(f64(2.54, -2.54), f64(2.54, -2.54), True), (f64(0.02, 0.02), i32([0, 0])))

    def test_symmetric_looks_at_the_larger_end(self):
        low, high = f64(-1, -2.54, -3), f64(1.27, 1, 3)
        assert_close(choose_qparams(low, high, True), (f64(0.01, 0.02, 3 / 127), i32([0, 0, 0])))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_affine_codes_span_the_range(self, dtype):
        low, high = -torch.rand(50, dtype=dtype) * 9 - 0.01, torch.rand(50, dtype=dtype) * 3 + 0.01
        scale, zero_point = choose_qparams(low, high)
        assert_close(scale, (high - low) / 255)
        # The ends lie within half a step of the first and the last code; float32 may stand on a tie.
        assert_close((-128 - zero_point) * scale, low, atol=0.5001 * float(scale.max()), rtol=0)
        expected = -128 - np.round(low.double().numpy() / scale.double().numpy())
        sure = np.abs(np.abs(low.double().numpy() / scale.double().numpy()) % 1 - 0.5) > 1e-4
        assert_close(zero_point[sure], torch.tensor(expected[sure], dtype=torch.int32))

    def test_as_torchs_observer_chooses(self):
        x = torch.randn(40, 7) * 3 + 1
        import torch.ao.quantization as ao

        observer = ao.MinMaxObserver(dtype=torch.qint8)
        observer(x)
        scale, zero_point = observer.calculate_qparams()
        found = choose_qparams(x.min(), x.max())
        assert_close(found, (scale[0], zero_point[0].int()))

    def test_a_range_without_zero_is_widened_to_it(self):
        low, high = f64(2, -5.1, -3, 0), f64(5.1, -2, 0, 3)
        assert_close(choose_qparams(low, high), (f64(0.02, 0.02, 3 / 255, 3 / 255), i32([-128, 127, 127, -128])))
        assert_close(choose_qparams(low, high, True)[0], f64(5.1, 5.1, 3, 3) / 127)

    def test_a_range_of_nothing_has_scale_1(self):
        zero = f64(0, 0)
        assert_close(choose_qparams(zero, zero), (f64(1, 1), i32([-128, -128])))
        assert_close(choose_qparams(zero, zero, True), (f64(1, 1), i32([0, 0])))

    def test_a_range_of_nothing_among_others_has_scale_1(self):
        low, high = f64(0, -1, 0), f64(0, 4.1, 0)
        assert_close(choose_qparams(low, high), (f64(1, 0.02, 1), i32([-128, -78, -128])))
        assert_close(choose_qparams(low, high, True), (f64(1, 4.1 / 127, 1), i32([0, 0, 0])))

    def test_narrow_and_wide_ranges(self):
        low, high = f64(-1e-30, -1e-9, -1e9), f64(4.1e-30, 4.1e-9, 4.1e9)
        assert_close(choose_qparams(low, high), (f64(2e-32, 2e-11, 2e7), i32([-78] * 3)), rtol=1e-12, atol=0)


class TestQuantize:
    def test_the_example_worked_by_hand(self):
        q = quantize(f64(-1, 0, 0.333, 4.1), f64(0.02)[0], i32(-78))
        assert_close(q, torch.tensor([-128, -78, -61, 127], dtype=torch.int8))

    @pytest.mark.parametrize(("scale", "zero_point"), [(0.1, 0), (0.37, -78), (2.5, 101)])
    @pytest.mark.parametrize("shape", [(), (300,), (3, 4, 50)])
    def test_matches_torch_per_tensor(self, scale, zero_point, shape):
        x = off_ties(shape, scale)
        found = quantize(x, torch.tensor(scale), i32(zero_point))
        near = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, -128, 127)
        assert_close(found, ((near / scale).round() + zero_point).to(torch.int8))

    @pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
    @pytest.mark.parametrize("shape", [(3, 4, 5), (4, 4, 4)])
    def test_matches_torch_per_channel(self, axis, shape):
        c = shape[axis]
        scale, zero_point = torch.rand(c) + 0.1, torch.randint(-128, 128, (c,), dtype=torch.int32)
        wide = [1, 1, 1]
        wide[axis] = c
        x = off_ties(shape, scale.reshape(wide))
        near = torch.fake_quantize_per_channel_affine(x, scale, zero_point, axis % 3, -128, 127)
        expected = (near / scale.reshape(wide)).round() + zero_point.reshape(wide)
        assert_close(quantize(x, scale, zero_point, axis), expected.to(torch.int8))

    @pytest.mark.parametrize("zero_point", [0, 3])
    def test_halves_go_to_the_even_neighbour_before_the_zero_point(self, zero_point):
        x = torch.tensor([-1.25, -0.75, -0.25, 0.25, 0.75, 1.25])
        expected = torch.tensor([-2, -2, 0, 0, 2, 2], dtype=torch.int8) + zero_point
        assert_close(quantize(x, torch.tensor(0.5), i32(zero_point)), expected)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_what_is_outside_is_clipped_not_wrapped(self, dtype):
        x = torch.tensor([-1e30, -3e9, -129, 128, 3e9, 1e30], dtype=dtype)
        expected = torch.tensor([-128] * 3 + [127] * 3, dtype=torch.int8)
        assert_close(quantize(x, torch.tensor(1.0, dtype=dtype), i32(0)), expected)

    def test_wrong_number_of_scales(self):
        with raises(ValueError, 3, 5):
            quantize(torch.zeros(4, 5), torch.ones(3), i32([0, 0, 0]), 1)
        with raises(ValueError, 1, 5):
            quantize(torch.zeros(4, 5), torch.ones(1), i32([0]), -1)


class TestDequantize:
    def test_the_example_worked_by_hand(self):
        q = torch.tensor([-128, -78, -61, 127], dtype=torch.int8)
        assert_close(dequantize(q, f64(0.02)[0], i32(-78)), f64(-1, 0, 0.34, 4.1))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("zero_point", [-128, 0, 127])
    def test_every_code(self, zero_point, dtype):
        q = torch.arange(-128, 128).to(torch.int8)
        expected = (torch.arange(-128, 128) - zero_point).to(dtype) * 0.3
        assert_close(dequantize(q, torch.tensor(0.3, dtype=dtype), i32(zero_point)), expected)

    @pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
    @pytest.mark.parametrize("shape", [(3, 4, 5), (4, 4, 4)])
    def test_there_and_back_matches_torch_per_channel(self, axis, shape):
        c = shape[axis]
        scale, zero_point = torch.rand(c) + 0.1, torch.randint(-128, 128, (c,), dtype=torch.int32)
        wide = [1, 1, 1]
        wide[axis] = c
        x = off_ties(shape, scale.reshape(wide))
        expected = torch.fake_quantize_per_channel_affine(x, scale, zero_point, axis % 3, -128, 127)
        assert_close(dequantize(quantize(x, scale, zero_point, axis), scale, zero_point, axis), expected)

    @pytest.mark.parametrize("symmetric", [False, True])
    @pytest.mark.parametrize("shift", [-9, 0, 1, 9])
    def test_zero_is_exact_and_nothing_moves_more_than_half_a_step(self, shift, symmetric):
        x = torch.cat([torch.randn(500, dtype=torch.float64) + shift, f64(0)])
        scale, zero_point = choose_qparams(x.min(), x.max(), symmetric)
        back = dequantize(quantize(x, scale, zero_point), scale, zero_point)
        assert_close(back[-1].item(), 0.0, atol=0)
        # The ends too: what rounding the zero point shifts is what clipping them costs, not more.
        assert_close(back, x, atol=float(scale) / 2 * 1.000001, rtol=0)
        assert_close(back.clone()[1:-1].sort().values, back[1:-1][x[1:-1].argsort()], atol=0, rtol=0)

    def test_wrong_number_of_scales(self):
        with raises(ValueError, 3, 4):
            dequantize(codes(4, 5), torch.ones(3), i32([0, 0, 0]), 0)
        with raises(ValueError, 1, 4):
            dequantize(codes(4, 5), torch.ones(1), i32([0]), 0)


def mean_squared_error(x, low, high, symmetric) -> float:
    """Of the round trip, from the formulae, in numpy."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(-low, high) / 127 if symmetric else (high - low) / 255
    z = 0 if symmetric else -128 - np.round(low / scale)
    q = np.clip(np.round(x / scale) + z, -128, 127)
    return float(np.mean((scale * (q - z) - x) ** 2))


def least_error(x, symmetric) -> tuple[torch.Tensor, torch.Tensor]:
    """The range that "mse" must find, by trying every factor."""
    low, high = x.min().item(), x.max().item()
    factors = [k / 100 for k in range(50, 101)]
    best = min(factors, key=lambda f: mean_squared_error(x.numpy(), low * f, high * f, symmetric))
    return f64(low * best)[0], f64(high * best)[0]


def calibrate_mse(x, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """calibrate(x, "mse"), but first a look at quantize: one that wraps around makes every factor below 1 look bad."""
    assert_close(quantize(f64(-200, 200), f64(1)[0], i32(0)), torch.tensor([-128, 127], dtype=torch.int8))
    return calibrate(x, "mse", **options)


class TestCalibrate:
    @pytest.mark.parametrize("shape", [(7,), (3, 4, 5)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_minmax_unless_told_otherwise(self, shape, dtype):
        x = torch.randn(shape, dtype=dtype).transpose(0, -1) + 0.5  # not contiguous
        assert_close(calibrate(x), (x.min(), x.max()))
        assert_close(calibrate(x, "minmax", 90, True), (x.min(), x.max()))

    @pytest.mark.parametrize("percentile", [99.9, 99, 75])
    def test_percentile_matches_numpy(self, percentile):
        x = torch.randn(30, 41, dtype=torch.float64).T ** 3 + 0.2
        expected = tuple(torch.tensor(np.percentile(x.numpy(), p)) for p in (100 - percentile, percentile))
        assert_close(calibrate(x, "percentile", percentile), expected)
        assert_close(calibrate(x, "percentile", percentile, True), expected)

    def test_percentile_99_9_unless_told_otherwise(self):
        x = torch.randn(2000, dtype=torch.float64) ** 3
        expected = tuple(torch.tensor(np.percentile(x.numpy(), p)) for p in (0.1, 99.9))
        assert_close(calibrate(x, "percentile"), expected)

    @pytest.mark.parametrize("symmetric", [False, True])
    @pytest.mark.parametrize("power", [1, 3])
    def test_mse_takes_the_best_factor(self, power, symmetric):
        x = torch.randn(50, 60, dtype=torch.float64).T ** power + 0.7
        assert_close(calibrate_mse(x, symmetric=symmetric), least_error(x, symmetric))

    @pytest.mark.parametrize("sign", [1, -1])
    @pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
    def test_a_range_without_zero_is_not_widened(self, method, sign):
        x = (torch.rand(40, 50, dtype=torch.float64) * 3 + 2) * sign
        if method == "mse":
            expected = least_error(x, False)
        else:
            tail = 0 if method == "minmax" else 1
            expected = tuple(torch.tensor(np.percentile(x.numpy(), p)) for p in (tail, 100 - tail))
        assert_close(calibrate(x, method, 99), expected)

    def test_mse_is_affine_unless_told_otherwise(self):
        x = torch.rand(3000, dtype=torch.float64) ** 6
        assert_close(calibrate_mse(x), calibrate(x, "mse", 90, False))

    @pytest.mark.parametrize(("factor", "symmetric"), [(0.5, True), (1.0, True), (1.0, False)])
    def test_mse_finds_the_first_and_the_last_factor(self, factor, symmetric):
        # All values but the greatest stand on the grid of that factor: with no other is the error as small.
        low = -factor if symmetric else -128 / 127
        x = torch.randint(-127, 128, (2000 if factor == 1 else 100_000,)).double() * factor / 127
        x[:2] = f64(low, 1)
        assert_close(calibrate_mse(x, symmetric=symmetric), (f64(low * factor)[0], f64(factor)[0]))

    def test_mse_tries_no_factor_below_a_half(self):
        x = torch.randint(-127, 128, (100_000,)).double() * 0.49 / 127
        x[0] = 1
        high = calibrate_mse(x, symmetric=True)[1].item()
        if not high > 0.499:
            fail(f"The factor taken is {high:.2f}, but the smallest to try is 0.50.", evidence=high)

    def test_clipping_an_outlier_saves_more_than_it_costs(self):
        x = torch.randn(100_000, dtype=torch.float64)
        x[0] = 20
        found = {}
        for method, range_of in (("minmax", calibrate), ("mse", calibrate_mse)):
            qparams = choose_qparams(*range_of(x, symmetric=True), True)
            found[method] = (dequantize(quantize(x, *qparams), *qparams) - x).square().mean().item()
        if not found["mse"] < 0.8 * found["minmax"]:
            fail(f"The mean squared errors are {found}: 'mse' should save a third.", evidence=tuple(found.values()))

    def test_mean_squared_errors_of_float32(self):
        x = torch.randn(500) * 1e-6
        low, high = calibrate_mse(x)
        factor = (low / x.min()).item()
        assert_close((low, high), (x.min() * factor, x.max() * factor), atol=0)
        error = mean_squared_error(x.numpy(), low.item(), high.item(), False)
        least = min(
            mean_squared_error(x.numpy(), x.min().item() * k / 100, x.max().item() * k / 100, False)
            for k in range(50, 101)
        )
        assert_close(error, least, rtol=1e-2, atol=0)  # single steps may round the other way in float32

    def test_percentiles_of_float32(self):
        x = torch.randn(30, 41)
        expected = tuple(torch.tensor(np.percentile(x.numpy(), p), dtype=torch.float32) for p in (2, 98))
        assert_close(calibrate(x, "percentile", 98), expected)

    def test_another_method(self):
        with raises(ValueError, "entropy"):
            calibrate(torch.zeros(3), "entropy")
        with raises(ValueError, "max"):
            calibrate(torch.zeros(3), "max")


class TestInt8Matmul:
    def test_the_example_worked_by_hand(self):
        a, b = torch.tensor([[127, -128]], dtype=torch.int8), torch.tensor([[100], [2]], dtype=torch.int8)
        assert_close(int8_matmul(a, b, -78), i32([[20400]]))

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    @pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (3, 40, 5), (6, 6, 6)])
    @pytest.mark.parametrize("zeros", [(), (-128, 127), (5, 0), (0, -77)], ids=str)
    def test_exact_integers(self, zeros, lead, m, k, n):
        a, b = codes(*lead, m, k), codes(k, n)
        za, zb = zeros or (0, 0)
        wide = (a.numpy().astype(np.int64) - za) @ (b.numpy().astype(np.int64) - zb)
        assert_close(int8_matmul(a, b, *zeros), torch.tensor(wide).int())

    @pytest.mark.parametrize("k", [4, 30])
    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_a_zero_point_for_each_row_and_column(self, lead, k):
        a, b = codes(*lead, 4, k), codes(k, 4)
        for shape in {(4, 1), (*lead, 4, 1)}:
            za = torch.randint(-128, 128, shape, dtype=torch.int32)
            zb = torch.randint(-128, 128, (4,), dtype=torch.int32)
            expected = (a.long() - za).numpy() @ (b.long() - zb).numpy()
            assert_close(int8_matmul(a, b, za, zb), torch.tensor(expected).int())

    def test_sums_that_float32_cannot_hold(self):
        # Python's own integers; odd sums above 2²⁴ lie between two float32.
        a, b = codes(2, 5000) | 64, codes(5000, 3) | 64
        a[0], b[:, 0] = 127, 127
        a[0, 0] = 126
        rows, columns = a.tolist(), b.T.tolist()
        expected = [[sum(x * y for x, y in zip(r, c, strict=True)) for c in columns] for r in rows]
        assert_close(int8_matmul(a, b), i32(expected))

    def test_the_largest_sum_that_fits(self):
        k = 33_025
        a, b = torch.full((1, k), -128, dtype=torch.int8), torch.full((k, 2), -128, dtype=torch.int8)
        b[:, 1] = 127
        assert_close(int8_matmul(a, b, 127, i32([127, -128])), i32([[65025 * k, -65025 * k]]))

    def test_inner_sizes_that_differ(self):
        with raises(ValueError, 4, 5):
            int8_matmul(codes(2, 4), codes(5, 3))
        with raises(ValueError, 1, 5):
            int8_matmul(codes(2, 1), codes(5, 3))


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """float64, with rows of very different size."""
    layer = nn.Linear(inputs, outputs, bias).double()
    with torch.no_grad():
        layer.weight.mul_(torch.logspace(-3, 2, outputs, dtype=torch.float64)[:, None])
    return layer


def held(thing) -> int:
    """The bytes of all tensors that a module holds, wherever it keeps them."""
    storages, todo = {}, [thing]
    while todo:
        item = todo.pop()
        if isinstance(item, torch.Tensor):
            storages[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
        elif isinstance(item, nn.Module):
            todo.extend(vars(item).values())
        elif isinstance(item, dict):
            todo.extend(item.values())
        elif isinstance(item, list | tuple):
            todo.extend(item)
    return sum(storages.values())


class TestDynamicQuantizedLinear:
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize(("inputs", "outputs"), [(8, 8), (20, 7)])
    def test_buffers(self, inputs, outputs, bias):
        layer = linear(inputs, outputs, bias)
        quantized = DynamicQuantizedLinear(layer)
        scale = layer.weight.detach().abs().amax(1) / 127
        weight = (layer.weight.detach() / scale[:, None]).round().to(torch.int8)
        expected = {"weight": weight, "scale": scale} | ({"bias": layer.bias.detach()} if bias else {})
        buffers = dict(quantized.named_buffers())
        assert_close({name: buffers.get(name) for name in expected}, expected)
        assert_equal(quantized.bias is None, not bias)
        assert_equal([n for n, _ in quantized.named_parameters()], [])
        assert_equal([n for n, b in buffers.items() if b.requires_grad], [])
        assert_equal(sorted(set(expected) - set(quantized.state_dict())), [])

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
    @pytest.mark.parametrize(("inputs", "outputs"), [(8, 8), (20, 7)])
    def test_forward_from_the_formulae(self, lead, inputs, outputs, bias):
        layer = linear(inputs, outputs, bias)
        x = torch.randn(*lead, inputs, dtype=torch.float64) * 10 ** torch.randn(*lead, 1) + 0.3
        rows, w = x.numpy().reshape(-1, inputs), layer.weight.detach().numpy()
        low, high = np.minimum(rows.min(1), 0)[:, None], np.maximum(rows.max(1), 0)[:, None]
        step = (high - low) / 255
        z = -128 - np.round(low / step)
        near = step * (np.clip(np.round(rows / step) + z, -128, 127) - z)
        scale = np.abs(w).max(1)[:, None] / 127
        expected = near @ (scale * np.round(w / scale)).T + (layer.bias.detach().numpy() if bias else 0)
        found = DynamicQuantizedLinear(layer)(x)
        assert_close(found, torch.tensor(expected.reshape(*lead, outputs)))

    def test_close_to_the_float_layer_in_every_channel_and_row(self):
        layer = linear(200, 30)
        nn.init.zeros_(layer.bias)
        x = torch.randn(40, 200, dtype=torch.float64) * torch.logspace(-4, 4, 40, dtype=torch.float64)[:, None]
        expected = layer(x).detach()
        error = DynamicQuantizedLinear(layer)(x).detach() - expected
        # Relative to the size of the row times that of the channel.
        size = x.norm(dim=1)[:, None] * layer.weight.detach().norm(dim=1)
        assert_close(error / size, torch.zeros_like(error), atol=0.01, rtol=0)

    def test_a_row_of_zeros_gives_the_bias(self):
        layer = linear(6, 4)
        x = torch.zeros(3, 6, dtype=torch.float64)
        x[1] = 1e4
        assert_close(DynamicQuantizedLinear(layer)(x)[0], layer.bias.detach())

    def test_a_channel_of_zeros_gives_the_bias(self):
        layer = linear(6, 4)
        nn.init.zeros_(layer.weight[1])
        quantized = DynamicQuantizedLinear(layer)
        assert_close((quantized.scale[1], quantized.weight[1]), (f64(1)[0], torch.zeros(6, dtype=torch.int8)))
        found = quantized(torch.randn(3, 6, dtype=torch.float64))
        assert_close(found[:, 1], layer.bias.detach()[1].expand(3))

    def test_products_that_cancel_sum_to_exactly_0(self):
        # Every product of codes is there twice, with either sign; rounded products or sums would leave a rest.
        k = 20_000
        v, u, order = torch.rand(k // 2), torch.rand(k // 2), torch.randperm(k)
        layer = nn.Linear(k, 1, bias=False)
        with torch.no_grad():
            layer.weight[0] = torch.cat([u, -u])[order]
        found = DynamicQuantizedLinear(layer)(torch.cat([v, v])[order])
        assert_close(found, torch.zeros(1), atol=0, rtol=0)

    def test_sums_that_float32_cannot_hold(self):
        layer = nn.Linear(5000, 3, bias=False).double()
        nn.init.uniform_(layer.weight, 0.5, 1)
        x = torch.rand(2, 5000, dtype=torch.float64) + 0.5
        w = layer.weight.detach()
        step, scale = x.amax(1, keepdim=True) / 255, w.amax(1, keepdim=True) / 127
        expected = ((x / step).round() @ (w / scale).round().T) * step * scale.T  # below 2⁵³
        assert_close(DynamicQuantizedLinear(layer)(x), expected, rtol=1e-12, atol=0)

    def test_each_call_is_quantized_by_its_own_rows(self):
        layer = linear(20, 5)
        quantized = DynamicQuantizedLinear(layer)
        for factor in (1.0, 1e3, 1e-3):
            x = factor * torch.randn(3, 20, dtype=torch.float64)
            assert_close(quantized(x), DynamicQuantizedLinear(layer)(x))
            error = (quantized(x) - layer(x).detach()) / (factor * layer.weight.detach().norm(dim=1))
            assert_close(error, torch.zeros_like(error), atol=0.1, rtol=0)  # eight bits

    def test_rows_that_do_not_follow_each_other_in_memory(self):
        quantized = DynamicQuantizedLinear(linear(6, 4))
        x = torch.randn(3, 2, 6, dtype=torch.float64).transpose(0, 1)
        assert_close(quantized(x), quantized(x.contiguous()))

    def test_float32_stays_float32(self):
        layer = nn.Linear(30, 5)
        x = torch.randn(4, 30)
        found = DynamicQuantizedLinear(layer)(x)
        assert_close(found, layer(x).detach(), atol=0.1, rtol=0)  # eight bits

    def test_the_linear_stays_as_it_is(self):
        layer = linear(6, 4)
        weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
        DynamicQuantizedLinear(layer)(torch.randn(2, 6, dtype=torch.float64))
        assert_close((layer.weight.detach(), layer.bias.detach()), (weight, bias))
        assert_equal(layer.weight.requires_grad and layer.bias.requires_grad, True)

    def test_the_input_stays_as_it_is(self):
        x = torch.randn(2, 6, dtype=torch.float64)
        before = x.clone()
        DynamicQuantizedLinear(linear(6, 4))(x)
        assert_close(x, before)

    def test_a_quarter_of_the_memory(self):
        layer = nn.Linear(300, 200)
        share = held(DynamicQuantizedLinear(layer)) / held(layer)
        if not 0.25 <= share <= 0.27:
            fail(f"The quantized layer holds {share:.3f} of the bytes of the float layer.", evidence=share)


PAIRS = [
    ("A man is playing a guitar.", "Someone plays an instrument."),
    ("The stock market fell today.", "Shares lost much of their value."),
    ("A cat sleeps in the sun.", "The kitten naps on a warm windowsill."),
    ("The train was late again.", "We waited an hour at the station."),
    ("She bakes bread every morning.", "He repairs old bicycles."),
    ("The river flooded the valley.", "Heavy rain caused high water."),
    ("The child laughed at the clown.", "A boy found the circus funny."),
    ("Our team won the final.", "The final was lost by our team."),
    ("How do I reset my password?", "I forgot my login details."),
    ("The soup needs more salt.", "Add some pepper to the sauce."),
    ("A dog runs along the beach.", "The parliament passed a law."),
    ("He bought a new car.", "He purchased a new vehicle."),
    ("The moon orbits the earth.", "The earth orbits the sun."),
    ("They painted the house blue.", "The walls of the home were coloured."),
    ("The doctor prescribed a medicine.", "The nurse took my temperature."),
    ("Turn the music down, please.", "Quantum states collapse when observed."),
    ("Children learn to read at school.", "Pupils are taught reading."),
    ("The mountain is covered in snow.", "Skiers love the winter."),
    ("The computer crashed twice.", "My laptop stopped working."),
    ("Tea or coffee?", "The museum closes at five."),
]


class TestMiniLM:
    """Real weights: all-MiniLM-L6-v2."""

    @pytest.mark.slow
    def test_the_ranking_is_kept_at_a_quarter_of_the_memory(self, minilm):
        from scipy.stats import spearmanr
        from transformers import AutoTokenizer, BertModel

        model = BertModel.from_pretrained(minilm).eval()
        sentences = [sentence for pair in PAIRS for sentence in pair]
        encoded = AutoTokenizer.from_pretrained(minilm)(sentences, padding=True, return_tensors="pt")

        @torch.no_grad()
        def cosines() -> torch.Tensor:
            mask = encoded["attention_mask"][..., None]
            means = (model(**encoded).last_hidden_state * mask).sum(1) / mask.sum(1)
            return torch.cosine_similarity(means[::2], means[1::2])

        linears = [(n, m) for n, m in model.encoder.named_modules() if isinstance(m, nn.Linear)]
        quantized = [DynamicQuantizedLinear(layer) for _, layer in linears]
        before = cosines()
        for (name, _), layer in zip(linears, quantized, strict=True):
            model.encoder.set_submodule(name, layer)
        after = cosines()
        rank = float(spearmanr(before.numpy(), after.numpy()).statistic)
        share = sum(map(held, quantized)) / sum(held(layer) for _, layer in linears)
        if not rank >= 0.98:
            fail(f"Spearman's correlation with the float model is {rank:.3f}, below 0.98.", evidence=rank)
        if not 0.25 <= share <= 0.27:
            fail(f"The layers hold {share:.3f} of the float layers' bytes.", evidence=share)


def buffers_of(layer: nn.Linear) -> dict[str, torch.Tensor]:
    return dict(DynamicQuantizedLinear(layer).named_buffers())


class TestOnTheGpu:
    @pytest.mark.parametrize("symmetric", [False, True])
    def test_choose_qparams(self, gpu, symmetric):
        gpu.check(choose_qparams, f64(-1, 0, 2), f64(4.1, 0, 3), symmetric)
        gpu.check(choose_qparams, f64(0)[0], f64(0)[0], symmetric)

    @pytest.mark.parametrize("axis", [None, 0, -1])
    def test_quantize_and_dequantize(self, gpu, axis):
        scale, zero_point = (f64(0.02)[0], i32(-78)) if axis is None else (f64(0.02, 0.5, 1), i32([-78, 0, 5]))
        gpu.check(quantize, off_ties((3, 3), 0.02).double(), scale, zero_point, axis)
        gpu.check(dequantize, codes(3, 3), scale, zero_point, axis)

    @pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
    def test_calibrate(self, gpu, method):
        gpu.check(calibrate, torch.randn(20, 5, dtype=torch.float64), method, 99.0)

    @pytest.mark.parametrize("bias", [True, False])
    def test_a_linear_there_is_quantized_there(self, gpu, bias):
        gpu.check(buffers_of, linear(6, 4, bias), what="DynamicQuantizedLinear's buffers")

    def test_to_moves_every_buffer(self, gpu):
        moved = gpu(DynamicQuantizedLinear(linear(6, 4)))
        assert_equal({buffer.device.type for buffer in moved.buffers()}, {gpu.device.type})
