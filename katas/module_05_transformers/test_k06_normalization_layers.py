"""Judges k06_normalization_layers against torch's kernels, transformers' LlamaRMSNorm, and measured gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure
from katas.module_05_transformers.k06_normalization_layers import LayerNorm, Residual, RMSNorm, gradient_norms

pytestmark = [
    from_scratch(
        "torch.nn.LayerNorm",
        "torch.nn.RMSNorm",
        "torch.nn.functional.layer_norm",
        "torch.nn.functional.rms_norm",
        "torch.layer_norm",
        "torch.rms_norm",
        "torch.native_layer_norm",
    ),
    pure(),
]

HAND = torch.tensor([1.0, 2, 3, 6])


def randomized(module: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The module with random parameters, as a weight of 1 or a bias of 0 hides mistakes."""
    module = module.to(dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


class TestLayerNorm:
    def test_the_example_worked_by_hand(self):
        expected = torch.tensor([-1.069, -0.535, 0.0, 1.604])
        assert_close(LayerNorm(4, eps=0.0)(HAND), expected, atol=1e-3, rtol=0)  # 3 digits

    @pytest.mark.parametrize("lead", [(), (3,), (2, 5)])
    @pytest.mark.parametrize(("d", "eps"), [(6, 0.5), (17, 1e-5), (3, 2.0)])
    def test_matches_torch(self, lead, d, eps):
        norm = randomized(LayerNorm(d, eps))
        x = torch.randn(*lead, d, dtype=torch.float64) * 2 + 3
        assert_close(norm(x), F.layer_norm(x, (d,), norm.weight, norm.bias, eps))

    def test_its_default_eps(self):
        x = torch.randn(4, 5, dtype=torch.float64) * 1e-3
        assert_close(LayerNorm(5).double()(x), F.layer_norm(x, (5,), eps=1e-5))

    def test_starts_with_weight_1_and_bias_0(self):
        parameters = dict(LayerNorm(3).named_parameters())
        assert_equal(sorted(parameters), ["bias", "weight"])
        assert_close(parameters["weight"], torch.ones(3))
        assert_close(parameters["bias"], torch.zeros(3))

    def test_a_row_of_equal_numbers_gives_the_bias(self):
        norm = randomized(LayerNorm(4))
        assert_close(norm(torch.full((2, 4), 7.0, dtype=torch.float64)), norm.bias.detach().expand(2, 4))

    def test_a_large_mean_costs_no_digits(self):
        # E[x²] - E[x]² has hardly a correct digit here.
        x = torch.randn(3, 32) + 2000
        expected = F.layer_norm(x.double(), (32,)).float()
        # The mean of numbers near 2000 is right to 1e-4 in float32, and the rows have a spread of 1.
        assert_close(LayerNorm(32)(x), expected, atol=3e-3, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_keeps_the_dtype(self, dtype):
        x = torch.randn(3, 8).to(dtype)
        assert_equal(str(LayerNorm(8).to(dtype)(x).dtype), str(dtype))

    def test_gradients_reach_x_weight_and_bias(self):
        norm = randomized(LayerNorm(5, 0.3))
        x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
        upstream = torch.randn(2, 3, 5, dtype=torch.float64)
        expected = torch.autograd.grad(F.layer_norm(x, (5,), norm.weight, norm.bias, 0.3), [x, norm.weight, norm.bias], upstream)
        actual = torch.autograd.grad(norm(x), [x, norm.weight, norm.bias], upstream)
        assert_close(actual, expected)


class TestRMSNorm:
    def test_the_example_worked_by_hand(self):
        expected = torch.tensor([0.283, 0.566, 0.849, 1.697])
        assert_close(RMSNorm(4, eps=0.0)(HAND), expected, atol=1e-3, rtol=0)  # 3 digits

    @pytest.mark.parametrize("lead", [(), (3,), (2, 5)])
    @pytest.mark.parametrize(("d", "eps"), [(6, 0.5), (17, 1e-6), (3, 2.0)])
    def test_matches_torch(self, lead, d, eps):
        norm = randomized(RMSNorm(d, eps))
        x = torch.randn(*lead, d, dtype=torch.float64) * 2 + 3
        assert_close(norm(x), F.rms_norm(x, (d,), norm.weight, eps))

    def test_its_default_eps(self):
        x = torch.randn(4, 5, dtype=torch.float64) * 1e-3
        assert_close(RMSNorm(5).double()(x), F.rms_norm(x, (5,), eps=1e-6))

    def test_starts_with_weight_1_and_nothing_else(self):
        parameters = dict(RMSNorm(3).named_parameters())
        assert_equal(sorted(parameters), ["weight"])
        assert_close(parameters["weight"], torch.ones(3))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
    def test_matches_llamas_to_the_last_bit(self, dtype):
        from transformers.models.llama.modeling_llama import LlamaRMSNorm

        norm, theirs = randomized(RMSNorm(96, 1e-5), dtype), LlamaRMSNorm(96, 1e-5).to(dtype)
        theirs.load_state_dict(norm.state_dict())
        x = (torch.randn(40, 96) * 3).to(dtype)
        if dtype == torch.float32:
            assert_close(norm(x), theirs(x))
            return
        # Where float32's own last bits don't decide how a number is rounded, the results are the same.
        exact = F.rms_norm(x.double(), (96,), eps=1e-5)
        sure = (exact * (1 - 2e-6)).to(dtype) == (exact * (1 + 2e-6)).to(dtype)
        assert_close(norm(x).where(sure, 0), theirs(x).where(sure, 0), atol=0, rtol=0)

    def test_float16_squares_do_not_overflow(self):
        x = torch.tensor([[300.0, -400.0, 500.0, 0.0]], dtype=torch.float16)
        expected = F.rms_norm(x.double(), (4,), eps=1e-6).half()
        assert_close(RMSNorm(4).half()(x), expected)

    def test_a_wider_weight_makes_a_wider_result(self):
        x = torch.randn(3, 8).bfloat16()
        assert_equal(str(RMSNorm(8)(x).dtype), "torch.float32")

    def test_float64_keeps_its_digits(self):
        x = torch.randn(5, 8, dtype=torch.float64)
        # Tighter than usual: a detour through float32 leaves 7 digits.
        assert_close(RMSNorm(8).double()(x), F.rms_norm(x, (8,), eps=1e-6), rtol=1e-13, atol=1e-13)

    def test_a_row_of_zeros(self):
        assert_close(RMSNorm(4)(torch.zeros(2, 4)), torch.zeros(2, 4))

    def test_gradients_reach_x_and_weight(self):
        norm = randomized(RMSNorm(5, 0.3))
        x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
        upstream = torch.randn(2, 3, 5, dtype=torch.float64)
        expected = torch.autograd.grad(F.rms_norm(x, (5,), norm.weight, 0.3), [x, norm.weight], upstream)
        assert_close(torch.autograd.grad(norm(x), [x, norm.weight], upstream), expected)


class TestResidual:
    @pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
    @pytest.mark.parametrize("pre_norm", [True, False])
    def test_where_the_norm_stands(self, lead, pre_norm):
        sublayer = nn.Linear(6, 6).double()
        block = randomized(Residual(6, sublayer, pre_norm))
        x = torch.randn(*lead, 6, dtype=torch.float64) * 2 + 1

        def norm(y):
            return F.layer_norm(y, (6,), block.norm.weight, block.norm.bias)

        expected = x + sublayer(norm(x)) if pre_norm else norm(x + sublayer(x))
        assert_close(block(x), expected)

    def test_before_unless_told_otherwise(self):
        sublayer = nn.Linear(5, 5).double()
        x = torch.randn(3, 5, dtype=torch.float64) * 2 + 1
        assert_close(Residual(5, sublayer).double()(x), x + sublayer(F.layer_norm(x, (5,))))

    def test_both_parts_are_trained(self):
        block = randomized(Residual(4, nn.Linear(4, 4)))
        block(torch.randn(3, 4, dtype=torch.float64)).backward(torch.randn(3, 4, dtype=torch.float64))
        assert_equal(sorted(n for n, p in block.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0),
                     ["norm.bias", "norm.weight", "sublayer.bias", "sublayer.weight"])  # fmt: skip


class Unrelated(nn.Module):
    """A sublayer whose answer has variance 1 and nothing to do with its input."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.answer = torch.randn(*shape, dtype=torch.float64)

    def forward(self, x):
        return self.answer


class TestGradientNorms:
    def test_of_blocks_whose_gradients_are_known(self):
        # A block that multiplies by c multiplies the gradient by c on the way back.
        blocks = []
        for c in (2.0, 0.5, 3.0):
            blocks.append(nn.Linear(2, 2, bias=False))
            blocks[-1].weight.data = c * torch.eye(2)
        found = gradient_norms(blocks, torch.tensor([[5.0, 7.0]]), torch.tensor([[3.0, 4.0]]))
        assert_close(found, [15.0, 7.5, 15.0, 5.0])

    def test_a_block_may_stand_several_times(self):
        block = nn.Linear(2, 2, bias=False)
        block.weight.data = 3 * torch.eye(2)
        found = gradient_norms([block] * 3, torch.tensor([[5.0, 7.0]]), torch.tensor([[3.0, 4.0]]))
        assert_close(found, [135.0, 45.0, 15.0, 5.0])

    @pytest.mark.parametrize("depth", [0, 1, 4])
    def test_matches_autograd(self, depth):
        blocks = [nn.Sequential(nn.Linear(6, 6), nn.Tanh()).double() for _ in range(depth)]
        x, upstream = torch.randn(2, 3, 6, dtype=torch.float64), torch.randn(2, 3, 6, dtype=torch.float64)
        expected = []
        for i in range(depth):
            at = x
            for block in blocks[:i]:
                at = block(at)
            at = at.detach().requires_grad_()
            out = at
            for block in blocks[i:]:
                out = block(out)
            expected.append(torch.autograd.grad(out, at, upstream)[0].norm().item())
        assert_close(gradient_norms(blocks, x, upstream), [*expected, upstream.norm().item()])

    def test_it_leaves_no_gradient_behind(self):
        blocks = [nn.Linear(3, 3) for _ in range(2)]
        x = torch.randn(2, 3, requires_grad=True)
        found = gradient_norms(blocks, x, torch.ones(2, 3))
        assert_equal(len(found), 3)
        left = [p.grad is not None for block in blocks for p in block.parameters()]
        assert_equal((left, x.grad is not None), ([False] * 4, False))

    def test_it_leaves_earlier_gradients_as_they_were(self):
        block = nn.Linear(3, 3)
        x = torch.randn(2, 3, requires_grad=True)
        block(x).sum().backward()
        before = [t.grad.clone() for t in (x, block.weight, block.bias)]
        gradient_norms([block, block], x, torch.ones(2, 3))
        assert_close([t.grad for t in (x, block.weight, block.bias)], before)

    def test_it_gives_plain_numbers_and_leaves_x_alone(self):
        x = torch.randn(2, 3)
        found = gradient_norms([nn.Linear(3, 3)], x, torch.ones(2, 3))
        assert_equal([isinstance(norm, float) for norm in found], [True, True])
        assert_equal(x.requires_grad, False)

    def test_its_blocks_can_still_be_trained(self):
        block = nn.Linear(3, 3)
        block.bias.requires_grad_(False)
        gradient_norms([block], torch.randn(2, 3), torch.ones(2, 3))
        assert_equal((block.weight.requires_grad, block.bias.requires_grad), (True, False))

    def test_the_path_around_48_sublayers(self):
        x, upstream = torch.randn(2, 4, 256, dtype=torch.float64)
        pre, post = (
            gradient_norms([Residual(256, Unrelated(4, 256), pre_norm).double() for _ in range(48)], x, upstream)
            for pre_norm in (True, False)
        )
        assert_close(pre, [upstream.norm().item()] * 49)
        factor = (post[0] / post[-1]) ** (1 / 48)
        # Each row's own spread differs from √2 by some percent.
        assert_close(factor, 1 / math.sqrt(2), atol=0.05, rtol=0)

    def test_a_fresh_pre_norm_stack_of_48_blocks(self):
        blocks = [Residual(256, nn.Linear(256, 256, bias=False)).double() for _ in range(48)]
        for block in blocks:
            nn.init.normal_(block.sublayer.weight, std=1 / 16)  # keeps the variance of its input
        x, upstream = torch.randn(2, 4, 256, dtype=torch.float64)
        found = gradient_norms(blocks, x, upstream)
        # √49 = 7 on average; the product of 48 random matrices spreads by a quarter or so.
        if not 3.5 < found[0] / found[-1] < 14:
            fail(f"48 pre-norm blocks scale the gradient by {found[0] / found[-1]:.2f}; about 7 was expected.", evidence=("pre", round(found[0] / found[-1])))


class TestOnTheGpu:
    @pytest.mark.parametrize("make", [LayerNorm, RMSNorm])
    def test_norms(self, gpu, make):
        gpu.check(randomized(make(6)), torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True))

    @pytest.mark.parametrize("pre_norm", [True, False])
    def test_residual(self, gpu, pre_norm):
        block = randomized(Residual(6, nn.Linear(6, 6), pre_norm))
        gpu.check(block, torch.randn(2, 6, dtype=torch.float64, requires_grad=True))

    def test_gradient_norms(self, gpu):
        blocks = nn.ModuleList(randomized(nn.Linear(4, 4)) for _ in range(3))
        x, upstream = torch.randn(2, 2, 4, dtype=torch.float64)
        expected = gradient_norms(blocks, x, upstream)
        assert_close(gradient_norms(gpu(blocks), gpu(x), gpu(upstream)), expected)
