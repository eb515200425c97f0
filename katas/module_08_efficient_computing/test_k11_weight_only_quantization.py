"""Judges k11_weight_only_quantization against gguf, bit for bit, against the nearest points of a grid, found one
by one, and against the least-squares problem that each step of GPTQ solves."""

import warnings

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k11_weight_only_quantization import (
    awq,
    dequantize_groups,
    gptq,
    nf4_codebook,
    pack_q4_1,
    quantize_groups,
    quantize_nf4,
    unpack_q4_1,
)

pytestmark = [from_scratch("gguf", "bitsandbytes", "torch.ao"), pure()]

# As published in appendix E of the paper.
NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)
LEADS = [(), (2,), (2, 3)]


def nearest(w: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The index of the value of grid that is nearest to each of w."""
    return np.abs(w[..., None] - grid).argmin(-1).astype(np.uint8)


def rounded(w: np.ndarray, group: int, bits: int):
    """Codes, scales, minima and ŵ of w, group by group and by search."""
    lead, n = w.shape[:-1], w.shape[-1]
    codes, w_hat = np.empty(w.shape, np.uint8), np.empty_like(w)
    scales, minima = np.empty((*lead, n // group), w.dtype), np.empty((*lead, n // group), w.dtype)
    for g in np.ndindex(scales.shape):
        part = (*g[:-1], slice(g[-1] * group, (g[-1] + 1) * group))
        grid = np.linspace(w[part].min(), w[part].max(), 2**bits)
        codes[part] = nearest(w[part], grid)
        w_hat[part] = grid[codes[part]]
        minima[g], scales[g] = grid[0], grid[1] - grid[0]
    return codes, scales, minima, w_hat


def gptq_by_least_squares(w, hessian, group, bits, damp):
    """Each column rounded after the best answer of all columns behind it, solved afresh from the first weights."""
    n = w.shape[1]
    h = hessian + damp * np.trace(hessian) / n * np.eye(n)
    codes, scales, minima, w_hat = np.empty(w.shape, np.uint8), [], [], np.empty_like(w)
    for i in range(n):
        now = w[:, i:] + np.linalg.solve(h[i:, i:], h[i:, :i] @ (w - w_hat)[:, :i].T).T
        if i % group == 0:
            minima.append(now[:, :group].min(1))
            scales.append((now[:, :group].max(1) - minima[-1]) / (2**bits - 1))
        for r, (s, m) in enumerate(zip(scales[-1], minima[-1], strict=True)):
            grid = m + s * np.arange(2**bits)
            codes[r, i] = nearest(now[r, 0], grid)
            w_hat[r, i] = grid[codes[r, i]]
    return codes, np.stack(scales, 1), np.stack(minima, 1)


def correlated(rng, samples: int, n: int) -> np.ndarray:
    """Inputs (samples, n) in which few hidden numbers drive all channels."""
    return rng.normal(size=(samples, n // 4)) @ rng.normal(size=(n // 4, n)) + 0.3 * rng.normal(size=(samples, n))


def outliers(rng, samples: int, n: int) -> np.ndarray:
    """Inputs (samples, n) with three channels 30 times as large, and the others of different sizes."""
    sizes = np.concatenate([[30.0] * 3, np.linspace(0.5, 1.5, n - 3)])
    return rng.normal(size=(samples, n)) * rng.permutation(sizes)


def scaled(w: np.ndarray, x: np.ndarray, group: int, bits: int, grid: int) -> tuple[float, np.ndarray]:
    """The best α, and its ŵ, of all that AWQ's grid has."""
    tried = {}
    for k in range(grid + 1):
        s = np.maximum(np.abs(x).mean(0), 1e-4) ** (k / grid)
        w_hat = rounded(w * s, group, bits)[3] / s
        tried[output_error(w, w_hat, x)] = (k / grid, w_hat)
    return tried[min(tried)]


def output_error(w: np.ndarray, w_hat: np.ndarray, x: np.ndarray) -> float:
    return float(np.square(x @ (w - w_hat).T).sum())


def check_error(error: float, share: float, by_rounding: float) -> None:
    if not error < share * by_rounding:
        fail(f"The output's error is {error / by_rounding:.2f} of that of plain rounding: {share} is the most.")


class TestQuantizeGroups:
    def test_the_example_worked_by_hand(self):
        codes, scales, minima = quantize_groups(np.array([-1, -0.5, 0.2, 2]), 4, 2)
        assert_close(codes, np.array([0, 1, 1, 3], np.uint8))
        assert_close(scales, np.array([1.0]))
        assert_close(minima, np.array([-1.0]))
        assert_equal(str(codes.dtype), "uint8")

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("group", "bits"), [(6, 4), (20, 3), (60, 2), (5, 8)])
    def test_each_group_gets_the_nearest_codes_of_its_own_grid(self, lead, group, bits, rng):
        w = rng.normal(2.0, 3.0, (*lead, 60))
        assert_close(quantize_groups(w, group, bits=bits), rounded(w, group, bits)[:3])

    @pytest.mark.parametrize("group", [8, 24])
    def test_four_bits_are_the_default(self, group, rng):
        w = rng.uniform(-5, -1, (7, 48))
        assert_close(quantize_groups(w, group), rounded(w, group, 4)[:3])

    @pytest.mark.parametrize("bits", [1, 3, 8])
    def test_halves_go_up(self, bits):
        top = 2**bits - 1
        w = np.array([*(np.arange(top) + 0.5), 0, top]) / 4 - 7
        expected = np.array([*(np.arange(top) + 1), 0, top], np.uint8)
        assert_close(quantize_groups(w, len(w), bits)[0], expected)

    def test_a_constant_group_has_scale_zero_and_codes_zero(self):
        w = np.array([[3.0, 3, 3, 0, 1, 15], [0, 0, 0, -2, -2, -2]])
        expected = np.array([[0, 0, 0, 0, 1, 15], [0] * 6], np.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = quantize_groups(w, 3)
        assert_close(got, (expected, np.array([[0.0, 1], [0, 0]]), np.array([[3.0, 0], [0, -2]])))

    def test_halves_are_told_by_the_product_with_one_over_s_in_float64_too(self, rng):
        # Whole numbers of half steps; 1/s is rounded, so that some halves fall below.
        w = rng.integers(0, 31, (400, 32)).astype(float)
        w[:, 3], w[:, 20] = 0, 30
        w = w * np.arange(1, 401)[:, None] + 5
        s = np.ptp(w, 1)[:, None] / 15
        expected = np.trunc((w - 5) * (1 / s) + 0.5).astype(np.uint8)
        assert_close(quantize_groups(w, 32)[0], expected)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_small_weights_get_the_codes_of_large_ones(self, dtype, rng):
        w, small = rng.normal(size=(3, 32)).astype(dtype), dtype(2.0**-60)  # a power of 2 changes no digit
        codes, scales, minima = quantize_groups(w, 16)
        got = quantize_groups(w * small, 16)
        assert_close(got[0], codes)
        assert_close(got[1:], (scales * small, minima * small), atol=0)

    def test_float32_stays_float32(self, rng):
        w = rng.normal(size=(3, 16)).astype(np.float32)
        _, scales, minima = quantize_groups(w, 8)
        assert_close(minima, np.stack([w[:, :8].min(1), w[:, 8:].min(1)], 1))
        assert_close(scales, np.stack([np.ptp(w[:, :8], 1), np.ptp(w[:, 8:], 1)], 1) / np.float32(15))

    @pytest.mark.parametrize(("n", "group"), [(10, 4), (31, 32)])
    def test_part_of_a_group_is_refused(self, n, group):
        with raises(ValueError, n, group):
            quantize_groups(np.zeros((2, n)), group)


class TestDequantizeGroups:
    def test_the_example_worked_by_hand(self):
        got = dequantize_groups(np.array([0, 1, 1, 3], np.uint8), np.array([1.0]), np.array([-1.0]))
        assert_close(got, np.array([-1.0, 0, 0, 2]))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("group", [6, 30])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_each_group_has_its_own_scale_and_minimum(self, lead, group, dtype, rng):
        codes = rng.integers(0, 256, (*lead, 30), dtype=np.uint8)
        scales, minima = rng.normal(size=(2, *lead, 30 // group)).astype(dtype)
        got = dequantize_groups(codes, scales, minima)
        expected = np.repeat(scales, group, -1) * codes + np.repeat(minima, group, -1)
        assert_close(got, expected)

    @pytest.mark.parametrize("bits", [2, 4])
    def test_no_weight_moves_by_more_than_half_a_step(self, bits, rng):
        w = rng.normal(size=(5, 64))
        codes, scales, minima = quantize_groups(w, 16, bits)
        moved = np.abs(dequantize_groups(codes, scales, minima) - w).reshape(5, 4, 16).max(-1)
        if not (moved <= scales * (0.5 + 1e-9)).all():
            fail(f"A weight moves by {(moved / scales).max():.3f} steps of its group: half a step is the most.")


class TestPackQ4_1:
    def test_the_example_worked_by_hand(self):
        w = np.array([*range(16), *range(15, -1, -1)], np.float32)
        expected = np.frombuffer(bytes.fromhex("003C0000F0E1D2C3B4A5968778695A4B3C2D1E0F"), np.uint8)
        assert_close(pack_q4_1(w), expected)
        assert_equal(str(pack_q4_1(w).dtype), "uint8")

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("n", [32, 96])
    @pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
    def test_matches_gguf_bit_for_bit(self, size, lead, n, rng):
        from gguf.quants import GGMLQuantizationType, quantize

        w = (rng.normal(0.7, 1.0, (*lead, n)) * size).astype(np.float32)
        assert_close(pack_q4_1(w), quantize(w, GGMLQuantizationType.Q4_1))

    def test_matches_gguf_on_ties_and_constant_blocks(self, rng):
        # Multiples of half a step, where (w − m) · (1/s) and (w − m) / s differ in the last bit.
        from gguf.quants import GGMLQuantizationType, quantize

        w = rng.integers(0, 31, (400, 32))
        w[:, 3], w[:, 20] = 0, 30
        w = (w * np.arange(1, 401)[:, None] + 5).astype(np.float32)
        w[7] = 2.5
        assert_close(pack_q4_1(w), quantize(w, GGMLQuantizationType.Q4_1))

    def test_float64_is_cast_to_float32(self, rng):
        from gguf.quants import GGMLQuantizationType, quantize

        w = rng.normal(3000, 0.003, (2, 64))  # a float32 of that size has some three values a step
        assert_close(pack_q4_1(w), quantize(w, GGMLQuantizationType.Q4_1))

    def test_any_layout_in_memory(self, rng):
        w = rng.normal(size=(64, 3)).astype(np.float32)
        assert_close(pack_q4_1(w.T), pack_q4_1(np.ascontiguousarray(w.T)))

    @pytest.mark.parametrize("n", [16, 70])
    def test_part_of_a_block_is_refused(self, n):
        with raises(ValueError, n, 32):
            pack_q4_1(np.zeros((2, n), np.float32))

    @pytest.mark.slow
    def test_matches_gguf_on_smollm2(self):
        from gguf.quants import GGMLQuantizationType, dequantize, quantize

        for tensor in smollm2_tensors():
            w = dequantize(tensor.data, tensor.tensor_type)[:600]
            assert_close(pack_q4_1(w), quantize(w, GGMLQuantizationType.Q4_1))


class TestUnpackQ4_1:
    def test_the_example_worked_by_hand(self):
        packed = np.frombuffer(bytes.fromhex("003C0000F0E1D2C3B4A5968778695A4B3C2D1E0F"), np.uint8)
        assert_close(unpack_q4_1(packed), np.array([*range(16), *range(15, -1, -1)], np.float32))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("blocks", [1, 3])
    def test_matches_gguf_bit_for_bit(self, lead, blocks, rng):
        from gguf.quants import GGMLQuantizationType, dequantize

        packed = rng.integers(0, 256, (*lead, blocks, 20), dtype=np.uint8)
        packed[..., :4] = rng.normal(size=(*lead, blocks, 2)).astype("<f2").view(np.uint8)
        packed = packed.reshape(*lead, -1)
        expected = dequantize(packed, GGMLQuantizationType.Q4_1)
        assert_close(unpack_q4_1(packed), expected, rtol=0, atol=0)

    def test_any_layout_in_memory(self, rng):
        packed = pack_q4_1(rng.normal(size=(2, 3, 64)).astype(np.float32))
        assert_close(unpack_q4_1(packed.transpose(1, 0, 2)), unpack_q4_1(packed).transpose(1, 0, 2))

    @pytest.mark.parametrize("length", [10, 50])
    def test_part_of_a_block_is_refused(self, length):
        with raises(ValueError, length, 20):
            unpack_q4_1(np.zeros((2, length), np.uint8))

    @pytest.mark.slow
    def test_matches_gguf_on_smollm2(self):
        from gguf.quants import GGMLQuantizationType, dequantize

        for tensor in smollm2_tensors():
            if tensor.tensor_type == GGMLQuantizationType.Q4_1:
                expected = dequantize(tensor.data, GGMLQuantizationType.Q4_1)
                assert_close(unpack_q4_1(tensor.data), expected, rtol=0, atol=0)


class TestNF4Codebook:
    def test_is_the_published_one(self):
        assert_close(nf4_codebook(), NF4, atol=1e-6, rtol=0)  # the lesson's tolerance: those are float32


class TestQuantizeNF4:
    def test_the_example_worked_by_hand(self):
        codes, absmax = quantize_nf4(np.array([0.5, -2, 1, 0]), 4)
        assert_close(codes, np.array([10, 0, 12, 7], np.uint8))
        assert_close(absmax, np.array([2.0]))
        assert_equal(str(codes.dtype), "uint8")

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("block", [8, 40])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_each_block_gets_the_nearest_codes(self, lead, block, dtype, rng):
        w = rng.normal(0.3, 2.0, (*lead, 120)).astype(dtype)
        codes, absmax = quantize_nf4(w, block=block)
        expected = np.abs(w.reshape(*lead, -1, block)).max(-1)
        assert_close(absmax, expected)
        assert_close(codes, nearest(w / np.repeat(expected, block, -1), NF4))

    def test_64_weights_are_the_default(self, rng):
        w = rng.normal(size=(3, 128))
        assert_close(quantize_nf4(w), quantize_nf4(w, 64))
        assert_equal(quantize_nf4(w)[1].shape, (3, 2))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_small_weights_get_the_codes_of_large_ones(self, dtype, rng):
        w, small = rng.normal(size=(3, 128)).astype(dtype), dtype(2.0**-60)  # a power of 2 changes no digit
        codes, absmax = quantize_nf4(w)
        got = quantize_nf4(w * small)
        assert_close(got[0], codes)
        assert_close(got[1], absmax * small, atol=0)

    def test_a_block_of_zeros_stays_zero(self):
        codes, absmax = quantize_nf4(np.array([[0.0, 0, 0, -3]]), 2)
        assert_close(codes, np.array([[7, 7, 7, 0]], np.uint8))
        assert_close(absmax, np.array([[0.0, 3]]))

    @pytest.mark.parametrize(("n", "block"), [(10, 4), (100, 64)])
    def test_part_of_a_block_is_refused(self, n, block):
        with raises(ValueError, n, block):
            quantize_nf4(np.ones((2, n)), block)


class TestGPTQ:
    def test_the_example_worked_by_hand(self):
        hessian = np.array([[1.0, 0, 0, 0], [0, 2, 1, 0], [0, 1, 2, 0], [0, 0, 0, 1]])
        codes, scales, minima = gptq(np.array([[-1, 0.4, 0.35, 2]]), hessian, 4, 2, 0.0)
        assert_close(codes, np.array([[0, 1, 2, 3]], np.uint8))
        assert_close((scales, minima), (np.array([[1.0]]), np.array([[-1.0]])))
        assert_equal(str(codes.dtype), "uint8")

    @pytest.mark.parametrize(("rows", "n", "group", "bits"), [(5, 24, 8, 4), (3, 20, 20, 3), (8, 32, 4, 2)])
    @pytest.mark.parametrize("damp", [0.0, 0.1])
    def test_each_step_solves_its_least_squares_problem(self, rows, n, group, bits, damp, rng):
        w, x = rng.normal(0.5, 1.0, (rows, n)), correlated(rng, 3 * n, n)
        hessian = x.T @ x / 5000  # so small that damp itself, times no mean, is far too much, not nearly nothing
        got = gptq(w, hessian, group=group, bits=bits, damp=damp)
        assert_close(got, gptq_by_least_squares(w, hessian, group, bits, damp))

    @pytest.mark.parametrize("group", [8, 16])
    def test_four_bits_and_a_damping_of_one_percent_are_the_defaults(self, group, rng):
        # Fewer samples than channels: H is singular, and the damping tells.
        w, x = rng.normal(size=(6, 32)), correlated(rng, 20, 32)
        assert_close(gptq(w, x.T @ x, group), gptq_by_least_squares(w, x.T @ x, group, 4, 0.01))

    @pytest.mark.parametrize("bits", [2, 4])
    def test_is_plain_rounding_where_inputs_are_uncorrelated(self, bits, rng):
        w = rng.normal(size=(6, 40))
        hessian = np.diag(rng.uniform(0.1, 10, 40))
        assert_close(gptq(w, hessian, 8, bits), rounded(w, 8, bits)[:3])

    def test_halves_go_up(self):
        w = np.array([[0, 0.5, 1.5, 2.5, 3.5, 4.5, 14.5, 15]])
        assert_close(gptq(w, np.eye(8), 8)[0], np.array([[0, 1, 2, 3, 4, 5, 15, 15]], np.uint8))

    def test_a_constant_group_has_scale_zero_and_codes_zero(self, rng):
        w, x = rng.normal(size=(4, 16)), correlated(rng, 48, 16)
        w[1], w[2] = 0, 1.5  # rounded without an error, so that they stay constant
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = gptq(w, x.T @ x, 8)
        assert_close(got, gptq_by_least_squares(w, x.T @ x, 8, 4, 0.01))

    @pytest.mark.parametrize("bits", [3, 4])
    def test_halves_the_error_of_rounding_on_correlated_inputs(self, bits, rng):
        w, x = rng.normal(size=(32, 64)), correlated(rng, 300, 64)
        error = output_error(w, dequantize_groups(*gptq(w, x.T @ x, 32, bits)), x)
        check_error(error, 0.5, output_error(w, rounded(w, 32, bits)[3], x))

    @pytest.mark.parametrize(("n", "group"), [(10, 4), (6, 12)])
    def test_part_of_a_group_is_refused(self, n, group):
        with raises(ValueError, n, group):
            gptq(np.ones((2, n)), np.eye(n), group)

    @pytest.mark.slow
    def test_a_layer_of_smollm2_answers_better_than_rounded(self, smollm2, hamlet):
        w, x = smollm2_layer(smollm2, hamlet)
        by_rounding = output_error(w, rounded(w, 64, 3)[3], x)
        check_error(output_error(w, dequantize_groups(*gptq(w, x.T @ x, 64, 3)), x), 0.8, by_rounding)
        check_error(output_error(w, awq(w, x, 64, 3)[1], x), 0.95, by_rounding)


class TestAWQ:
    @pytest.mark.parametrize(
        ("rows", "n", "group", "bits", "grid"), [(5, 24, 8, 4, 7), (9, 30, 30, 3, 4), (4, 40, 10, 2, 1)]
    )
    def test_takes_the_best_of_the_grid(self, rows, n, group, bits, grid, rng):
        w, x = rng.normal(0.3, 1.0, (rows, n)), outliers(rng, 50, n)
        alpha, w_hat = awq(w, x, group=group, bits=bits, grid=grid)
        best, expected = scaled(w, x, group, bits, grid)
        assert_close(w_hat, expected)
        assert_close(alpha, best)

    @pytest.mark.parametrize("group", [8, 16])
    def test_four_bits_and_a_grid_of_twenty_are_the_defaults(self, group, rng):
        w, x = rng.normal(size=(6, 32)), outliers(rng, 40, 32)
        assert_close(awq(w, x, group), scaled(w, x, group, 4, 20))

    def test_both_ends_of_the_grid_are_tried(self, rng):
        x = outliers(rng, 400, 32) * np.geomspace(0.1, 10, 32)
        w = rng.choice([-1.0, 1.0], (6, 32)) * rng.uniform(0.9, 1.0, (6, 32)) / np.abs(x).mean(0)
        assert_close(awq(w, x, 32, 4, 2)[0], 1.0)  # w · mean |x| is all alike in size
        # Here an α beyond 1 would be better still.
        assert_close(awq(w / np.abs(x).mean(0), x, 32, 4, 2)[0], 1.0)
        w = rng.integers(0, 16, (6, 32)).astype(float)
        w[:, 4], w[:, 9] = 0, 15
        assert_close(awq(w, x, 32, 4, 2), (0.0, w))  # w is on a grid as it is

    def test_the_errors_are_squared(self, rng):
        # One sample drives channel 5 alone, and hard. Its errors are the largest, not the most.
        w, x = rng.uniform(-1, 1, (40, 32)), rng.normal(size=(60, 32))
        x[0], x[:, 5] = 0, 0
        x[0, 5] = 1000
        best, expected = scaled(w, x, 32, 4, 1)
        assert best == 1  # the sum of absolute errors is least at 0
        assert_close(awq(w, x, 32, 4, 1), (best, expected))

    @pytest.mark.parametrize("size", [0.0, 1e-6])
    def test_a_silent_channel_counts_as_one_of_a_ten_thousandth(self, size, rng):
        w, x = rng.normal(size=(4, 16)), outliers(rng, 30, 16)
        x[:, 5] *= size
        assert_close(awq(w, x, 8), scaled(w, x, 8, 4, 20))

    @pytest.mark.parametrize("bits", [3, 4])
    def test_halves_the_error_of_rounding_with_outlier_channels(self, bits, rng):
        w, x = rng.normal(size=(24, 64)), outliers(rng, 100, 64)
        error = output_error(w, awq(w, x, 32, bits)[1], x)
        check_error(error, 0.5, output_error(w, rounded(w, 32, bits)[3], x))

    @pytest.mark.parametrize(("n", "group"), [(10, 4), (6, 12)])
    def test_part_of_a_group_is_refused(self, n, group):
        with raises(ValueError, n, group):
            awq(np.ones((2, n)), np.ones((3, n)), group)


def smollm2_tensors():
    """Some of the file's tensors as they were published: attention, feed-forward, and embeddings of another type."""
    from fixtures.data import DataError
    from fixtures.models import smollm2_file

    try:
        file = smollm2_file()
    except DataError as error:
        pytest.skip(str(error))
    from gguf import GGUFReader

    wanted = ["blk.0.attn_k.weight", "blk.11.ffn_up.weight", "blk.29.ffn_down.weight", "token_embd.weight"]
    found = [tensor for tensor in GGUFReader(file).tensors if tensor.name in wanted]
    assert_equal(len(found), 4)
    return found


def smollm2_layer(folder, text: str) -> tuple[np.ndarray, np.ndarray]:
    """The key projection of block 1 and what it is given for the beginning of `text`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    layer, seen = model.model.layers[1].self_attn.k_proj, []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    with torch.no_grad():
        model(**AutoTokenizer.from_pretrained(folder)(text[:4000], return_tensors="pt"))
    return layer.weight.detach().double().numpy(), seen[0].double().numpy()
