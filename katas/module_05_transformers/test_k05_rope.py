"""Judges k05_rope against complex numbers, transformers' Llama rotary, and what RoPE is for."""

import math

import pytest
import torch

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_05_transformers.k05_rope import apply_rope, apply_rope_interleaved, frequencies, to_half_split

pytestmark = [from_scratch("transformers"), pure()]

LEADS = [(), (3,), (2, 3)]
AWAY = torch.tensor([7, 0, 3, 300, 12])
"""Positions that aren't 0 … n - 1, nor in order."""


def turned(x: torch.Tensor, positions: torch.Tensor, omega: torch.Tensor, interleaved: bool) -> torch.Tensor:
    """RoPE by complex numbers: u + iv times e^(iα)."""
    d = x.shape[-1]
    u, v = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., : d // 2], x[..., d // 2 :])
    z = torch.complex(u, v) * torch.polar(torch.ones(len(positions), d // 2, dtype=torch.float64), torch.outer(positions.double(), omega))
    if interleaved:
        return torch.view_as_real(z).flatten(-2)
    return torch.cat([z.real, z.imag], -1)


def omegas(d: int, theta: float) -> torch.Tensor:
    return torch.tensor([theta ** (-2 * i / d) for i in range(d // 2)], dtype=torch.float64)


class TestFrequencies:
    @pytest.mark.parametrize(("d", "theta"), [(4, 10000.0), (6, 500_000.0), (10, 100.0), (2, 7.0)])
    def test_from_1_downwards(self, d, theta):
        assert_close(frequencies(d, theta), omegas(d, theta))

    def test_theta_10000_unless_told_otherwise(self):
        assert_close(frequencies(8), omegas(8, 10000.0))

    @pytest.mark.parametrize("factor", [2.0, 8.0])
    @pytest.mark.parametrize(("d", "theta"), [(8, 10000.0), (6, 500.0)])
    def test_linear_scaling_slows_all_down(self, d, theta, factor):
        assert_close(frequencies(d, theta, "linear", factor), omegas(d, theta) / factor)

    @pytest.mark.parametrize("factor", [2.0, 8.0])
    @pytest.mark.parametrize(("d", "theta"), [(8, 10000.0), (6, 500.0)])
    def test_ntk_scaling_raises_theta(self, d, theta, factor):
        found = frequencies(d, theta, "ntk", factor)
        assert_close(found, omegas(d, theta * factor ** (d / (d - 2))))
        assert_close(found[0], torch.tensor(1.0, dtype=torch.float64))
        assert_close(found[-1] * factor, omegas(d, theta)[-1])

    def test_the_factor_counts_only_with_a_scaling(self):
        assert_close(frequencies(8, 100.0, None, 4.0), omegas(8, 100.0))

    @pytest.mark.parametrize("scaling", ["linear", "ntk"])
    def test_a_factor_of_1_unless_told_otherwise(self, scaling):
        assert_close(frequencies(8, 100.0, scaling), omegas(8, 100.0))

    @pytest.mark.parametrize("d", [7, 1])
    def test_an_odd_width_is_named(self, d):
        with raises(ValueError, d):
            frequencies(d)

    @pytest.mark.parametrize("scaling", ["yarn", "Linear", ""])
    def test_another_scaling_is_named(self, scaling):
        with raises(ValueError, scaling):
            frequencies(8, 10000.0, scaling, 2.0)


class TestApplyRope:
    def test_the_example_worked_by_hand(self):
        out = apply_rope(torch.tensor([[1.0, 0, 0, 1]]), torch.tensor([2]))
        assert_close(out, torch.tensor([[-0.4161, -0.0200, 0.9093, 0.9998]]), atol=1e-4, rtol=0)  # 4 digits

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("d", "theta"), [(4, 10000.0), (10, 50.0)])
    def test_matches_complex_numbers(self, lead, d, theta):
        x = torch.randn(*lead, 5, d, dtype=torch.float64)
        assert_close(apply_rope(x, AWAY, theta), turned(x, AWAY, omegas(d, theta), False))

    def test_theta_10000_unless_told_otherwise(self):
        x = torch.randn(5, 6, dtype=torch.float64)
        assert_close(apply_rope(x, AWAY), turned(x, AWAY, omegas(6, 10000.0), False))

    @pytest.mark.parametrize(("d", "theta"), [(8, 10000.0), (16, 100_000.0)])
    def test_matches_llamas(self, d, theta):
        from transformers import LlamaConfig
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

        parameters = {"rope_type": "default", "rope_theta": theta}
        rotary = LlamaRotaryEmbedding(LlamaConfig(hidden_size=3 * d, num_attention_heads=3, head_dim=d, rope_parameters=parameters))
        q, k = torch.randn(2, 3, 5, d), torch.randn(2, 1, 5, d)
        cos, sin = rotary(q, AWAY[None])
        expected = apply_rotary_pos_emb(q, k, cos, sin)
        # Their angles are in float32: at position 300 that is 2e-5.
        assert_close((apply_rope(q, AWAY, theta), apply_rope(k, AWAY, theta)), expected, atol=2e-4, rtol=0)

    @pytest.mark.parametrize("scaling", ["linear", "ntk"])
    @pytest.mark.parametrize("factor", [2.0, 5.0])
    def test_scaled(self, scaling, factor):
        x = torch.randn(2, 5, 8, dtype=torch.float64)
        omega = omegas(8, 300.0) / factor if scaling == "linear" else omegas(8, 300.0 * factor ** (8 / 6))
        assert_close(apply_rope(x, AWAY, 300.0, scaling, factor), turned(x, AWAY, omega, False))

    @pytest.mark.parametrize("scaling", ["linear", "ntk"])
    def test_a_factor_of_1_unless_told_otherwise(self, scaling):
        x = torch.randn(5, 8, dtype=torch.float64)
        assert_close(apply_rope(x, AWAY, 100.0, scaling), turned(x, AWAY, omegas(8, 100.0), False))

    def test_scores_depend_on_the_distance_alone(self):
        q, k = torch.randn(2, 1, 12, dtype=torch.float64)

        def score(a, b):
            return (apply_rope(q, torch.tensor([a])) * apply_rope(k, torch.tensor([b]))).sum()

        assert_close(score(5, 2), score(1005, 1002))
        assert_close(score(0, 9), score(70, 79))

    def test_position_0_changes_nothing_and_lengths_stay(self):
        x = torch.randn(3, 4, 6, dtype=torch.float64)
        assert_close(apply_rope(x, torch.zeros(4, dtype=torch.long)), x)
        assert_close(apply_rope(x, torch.tensor([9, 1, 5, 70])).norm(dim=-1), x.norm(dim=-1))

    def test_far_positions_keep_their_angles(self):
        x = torch.tensor([[1.0, 0.0]])
        far = 123_457
        # Against float64: the angle itself in float32 would be off by up to 0.004.
        assert_close(apply_rope(x, torch.tensor([far])), torch.tensor([[math.cos(far), math.sin(far)]]))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
    def test_keeps_the_dtype(self, dtype):
        x = torch.randn(2, 5, 8).to(dtype)
        expected = turned(x.double(), AWAY, omegas(8, 10000.0), False).to(dtype)
        # A product and a sum in the type itself: a few of its last bits.
        bits = 8 * torch.finfo(dtype).eps
        assert_close(apply_rope(x, AWAY), expected, atol=bits, rtol=bits)

    @pytest.mark.parametrize("function", [apply_rope, apply_rope_interleaved])
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_positions_that_a_narrow_type_does_not_hold(self, dtype, function):
        x, positions = torch.tensor([[1.0, 0.0]] * 2, dtype=dtype), torch.tensor([4097, 10_003])
        expected = torch.stack([positions.double().cos(), positions.double().sin()], -1).to(dtype)
        # One product in the type itself.
        assert_close(function(x, positions), expected, atol=0, rtol=4 * torch.finfo(dtype).eps)

    @pytest.mark.parametrize("interleaved", [False, True])
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_angles_that_a_narrow_type_does_not_hold(self, dtype, interleaved):
        # Position 253 fits into both types; the angle of pair 1, 25.3, doesn't.
        cos, sin = math.cos(25.3), math.sin(25.3)
        x, expected = ([0, 0, 1, 0], [0, 0, cos, sin]) if interleaved else ([0, 1, 0, 0], [0, cos, 0, sin])
        rotate = apply_rope_interleaved if interleaved else apply_rope
        out = rotate(torch.tensor([x], dtype=dtype), torch.tensor([253]), 100.0)
        # One product in the type itself.
        assert_close(out, torch.tensor([expected], dtype=dtype), atol=0, rtol=4 * torch.finfo(dtype).eps)

    @pytest.mark.parametrize("interleaved", [False, True])
    def test_float64_keeps_its_digits(self, interleaved):
        x, rotate = torch.randn(5, 8, dtype=torch.float64), apply_rope_interleaved if interleaved else apply_rope
        # Tighter than usual: sines and cosines that went through float32 have 7 digits.
        assert_close(rotate(x, AWAY), turned(x, AWAY, omegas(8, 10000.0), interleaved), rtol=1e-11, atol=1e-11)

    @pytest.mark.parametrize("dtype", [torch.int16, torch.int32])
    def test_takes_positions_of_another_integer_dtype(self, dtype):
        x = torch.randn(5, 8, dtype=torch.float64)
        assert_close(apply_rope(x, AWAY.to(dtype)), turned(x, AWAY, omegas(8, 10000.0), False))

    def test_a_call_owes_nothing_to_the_one_before(self):
        x = torch.randn(5, 8, dtype=torch.float64)
        for theta, positions in ((100.0, AWAY), (7.0, AWAY), (7.0, AWAY + 9)):
            assert_close(apply_rope(x, positions, theta), turned(x, positions, omegas(8, theta), False))

    def test_gradients(self):
        x = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda y: apply_rope(y, AWAY, 50.0), x)

    @pytest.mark.gpu
    def test_on_a_gpu(self):
        x = torch.randn(2, 5, 8)
        assert_close(apply_rope(x.cuda(), AWAY.cuda()).cpu(), apply_rope(x, AWAY))

    def test_other_than_n_positions_are_refused(self):
        with raises(ValueError, 5, 1):
            apply_rope(torch.zeros(2, 5, 4), torch.tensor([3]))
        with raises(ValueError, 4, 5):
            apply_rope(torch.zeros(4, 4), AWAY)


class TestApplyRopeInterleaved:
    def test_the_example_worked_by_hand(self):
        out = apply_rope_interleaved(torch.tensor([[1.0, 0, 0, 1]]), torch.tensor([2]))
        assert_close(out, torch.tensor([[-0.4161, 0.9093, -0.0200, 0.9998]]), atol=1e-4, rtol=0)  # 4 digits

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("d", "theta"), [(4, 10000.0), (10, 50.0)])
    def test_matches_complex_numbers(self, lead, d, theta):
        x = torch.randn(*lead, 5, d, dtype=torch.float64)
        assert_close(apply_rope_interleaved(x, AWAY, theta), turned(x, AWAY, omegas(d, theta), True))

    def test_theta_10000_unless_told_otherwise(self):
        x = torch.randn(5, 6, dtype=torch.float64)
        assert_close(apply_rope_interleaved(x, AWAY), turned(x, AWAY, omegas(6, 10000.0), True))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
    def test_keeps_the_dtype(self, dtype):
        x = torch.randn(2, 5, 8).to(dtype)
        expected = turned(x.double(), AWAY, omegas(8, 10000.0), True).to(dtype)
        # A product and a sum in the type itself: a few of its last bits.
        bits = 8 * torch.finfo(dtype).eps
        assert_close(apply_rope_interleaved(x, AWAY), expected, atol=bits, rtol=bits)

    def test_far_positions_in_float32(self):
        x, far = torch.tensor([[1.0, 0.0]]), 123_457
        assert_close(apply_rope_interleaved(x, torch.tensor([far])), torch.tensor([[math.cos(far), math.sin(far)]]))

    def test_gradients(self):
        x = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda y: apply_rope_interleaved(y, AWAY, 50.0), x)

    def test_other_than_n_positions_are_refused(self):
        with raises(ValueError, 3, 5):
            apply_rope_interleaved(torch.zeros(2, 3, 4), AWAY)


class TestToHalfSplit:
    @pytest.mark.parametrize(("d", "order"), [(2, [0, 1]), (4, [0, 2, 1, 3]), (8, [0, 2, 4, 6, 1, 3, 5, 7])])
    def test_first_of_each_pair_then_second(self, d, order):
        assert_close(to_half_split(d), torch.tensor(order))

    @pytest.mark.parametrize("d", [6, 16])
    def test_it_leads_from_one_layout_to_the_other(self, d):
        x, p = torch.randn(2, 5, d, dtype=torch.float64), to_half_split(d)
        assert_close(apply_rope(x[..., p], AWAY), turned(x, AWAY, omegas(d, 10000.0), True)[..., p])
        assert_equal(sorted(p.tolist()), list(range(d)))


class TestOnTheGpu:
    @pytest.mark.parametrize("function", [apply_rope, apply_rope_interleaved])
    def test_rotations(self, gpu, function):
        gpu.check(function, torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True), AWAY)
