"""Judges k01_attention against torch's own kernels, in float64."""

import pytest
import torch
import torch.nn.functional as F

from dojo.testing import assert_close, from_scratch, pure, raises
from katas.module_05_transformers.k01_attention import attention, causal_mask, softmax

pytestmark = [
    from_scratch(
        "torch.softmax",
        "torch.nn.functional.softmax",
        "torch.Tensor.softmax",
        "torch.nn.Softmax",
        "torch.nn.functional.scaled_dot_product_attention",
    ),
    pure(),
]


def qkv(n: int, m: int, d_k: int = 16, d_v: int = 8, lead: tuple[int, ...] = (2, 3)):
    """Random float64 q, k and v with leading dimensions `lead`."""
    return (
        torch.randn(*lead, n, d_k, dtype=torch.float64),
        torch.randn(*lead, m, d_k, dtype=torch.float64),
        torch.randn(*lead, m, d_v, dtype=torch.float64),
    )


class TestSoftmax:
    @pytest.mark.parametrize("dim", [0, 1, -1])
    def test_matches_torch_along_any_axis(self, dim):
        x = torch.randn(4, 5, 6, dtype=torch.float64)
        assert_close(softmax(x, dim), torch.softmax(x, dim))

    def test_large_scores_do_not_overflow(self):
        x = torch.tensor([1e4, 1e4 - 1, -1e4])
        assert_close(softmax(x), torch.softmax(x.double(), -1).float())

    @pytest.mark.parametrize("dim", [0, -1])
    def test_slices_may_lie_far_apart(self, dim):
        x = torch.randn(3, 4, dtype=torch.float64) + torch.tensor([[0.0], [-2000.0], [2000.0]], dtype=torch.float64)
        x = x if dim == -1 else x.T
        assert_close(softmax(x, dim), torch.softmax(x, dim))

    def test_minus_infinity_gets_no_weight(self):
        x = torch.tensor([0.0, float("-inf"), 0.0])
        assert_close(softmax(x), torch.tensor([0.5, 0.0, 0.5]))

    def test_a_fully_masked_slice_is_zeros(self):
        x = torch.full((2, 3), float("-inf"))
        x[1] = 0.0
        assert_close(softmax(x), torch.tensor([[0.0] * 3, [1 / 3] * 3]))

    def test_a_fully_masked_slice_has_a_gradient_of_zero(self):
        x = torch.full((2, 3), float("-inf"), dtype=torch.float64)
        x[1] = torch.tensor([0.5, -1.0, 2.0])
        upstream = torch.randn(2, 3, dtype=torch.float64)
        x.requires_grad_()
        softmax(x).backward(upstream)
        weights = torch.softmax(x[1].detach(), -1)
        expected = weights * (upstream[1] - (weights * upstream[1]).sum())
        assert_close(x.grad, torch.stack([torch.zeros(3, dtype=torch.float64), expected]))

    @pytest.mark.parametrize("dim", [0, 1, -1])
    def test_its_gradient_along_any_axis(self, dim):
        x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda y: softmax(y, dim), x)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
    def test_keeps_the_dtype(self, dtype):
        x = torch.tensor([0.5, -1.0, 2.0], dtype=dtype)
        # A few roundings in the type itself.
        assert_close(softmax(x), torch.softmax(x.double(), -1).to(dtype), rtol=4 * torch.finfo(dtype).eps, atol=0)


class TestAttention:
    def test_the_example_worked_by_hand(self):
        q = torch.tensor([[1.0, 0, 1, 0]])
        k = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 1]])
        _, weights = attention(q, k, torch.eye(2))
        assert_close(weights, torch.tensor([[0.7311, 0.2689]]), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    @pytest.mark.parametrize("d_k", [4, 16])
    def test_matches_torch(self, lead, d_k):
        q, k, v = qkv(n=5, m=7, d_k=d_k, lead=lead)
        out, weights = attention(q, k, v)
        assert_close(out, F.scaled_dot_product_attention(q, k, v))
        assert_close(weights.sum(-1), torch.ones(*lead, 5, dtype=torch.float64))

    def test_matches_torch_under_a_mask(self):
        q, k, v = qkv(n=5, m=7)
        mask = torch.rand(5, 7) > 0.4
        mask[:, 0] = True
        out, _ = attention(q, k, v, mask)
        assert_close(out, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))

    @pytest.mark.parametrize("shape", [(2, 1, 1, 7), (3, 5, 7), (1, 7)])
    def test_a_mask_broadcasts_against_the_scores(self, shape):
        q, k, v = qkv(n=5, m=7)
        mask = torch.rand(shape) > 0.4
        mask[..., 2] = True
        out, _ = attention(q, k, v, mask)
        assert_close(out, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))

    def test_a_masked_key_has_no_influence(self):
        q, k, v = qkv(n=4, m=4)
        mask = torch.ones(4, 4).tril().bool()
        out, _ = attention(q, k, v, mask)
        k[..., 3, :] = 1e6
        v[..., 3, :] = 1e3
        again, _ = attention(q, k, v, mask)
        assert_close(again[..., :3, :], out[..., :3, :])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("low", [-1e5, -1e10, -1e20])
    def test_a_masked_key_has_no_influence_however_low_the_other_scores_are(self, dtype, low):
        q = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=dtype)
        k = torch.zeros(3, 4, dtype=dtype)
        k[:2, 0] = 2 * low
        v = torch.tensor([[3.0], [5.0], [70.0]], dtype=dtype)
        out, weights = attention(q, k, v, torch.tensor([[True, True, False]]))
        assert_close(weights, torch.tensor([[0.5, 0.5, 0.0]], dtype=dtype))
        assert_close(out, torch.tensor([[4.0]], dtype=dtype))

    def test_a_masked_key_has_no_influence_on_the_gradient(self):
        q, k, v = (x.requires_grad_() for x in qkv(n=3, m=5))
        mask = torch.ones(3, 5, dtype=torch.bool)
        mask[:, 3] = False
        out, _ = attention(q, k, v, mask)
        out.backward(torch.randn_like(out))
        zero = torch.zeros(2, 3, dtype=torch.float64)
        assert_close(k.grad[..., 3, :].abs().sum(-1), zero)
        assert_close(v.grad[..., 3, :].abs().sum(-1), zero)

    def test_a_query_that_may_look_at_nothing_gets_zeros(self):
        q, k, v = qkv(n=4, m=5)
        mask = torch.ones(4, 5, dtype=torch.bool)
        mask[2] = False
        out, weights = attention(q, k, v, mask)
        assert_close(weights[..., 2, :], torch.zeros(2, 3, 5, dtype=torch.float64))
        assert_close(out[..., 2, :], torch.zeros(2, 3, 8, dtype=torch.float64))

    def test_gradients_reach_q_k_and_v(self):
        inputs = [x.requires_grad_() for x in qkv(n=2, m=3, d_k=4, d_v=2)]
        assert torch.autograd.gradcheck(lambda *a: attention(*a)[0], inputs)

    @pytest.mark.parametrize(("q", "k"), [(4, 5), (9, 6)])
    def test_rejects_q_and_k_of_different_width(self, q, k):
        with raises(ValueError, q, k):
            attention(torch.zeros(3, 2, q), torch.zeros(3, 2, k), torch.zeros(3, 2, 7))


class TestCausalMask:
    @pytest.mark.parametrize("n", [1, 4, 6])
    def test_square(self, n):
        assert_close(causal_mask(n, n), torch.ones(n, n).tril().bool())

    def test_new_tokens_see_the_cache_and_themselves(self):
        expected = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]).bool()
        assert_close(causal_mask(2, 5), expected)


class TestOnTheGpu:
    def test_softmax(self, gpu):
        gpu.check(softmax, torch.randn(3, 4, dtype=torch.float64, requires_grad=True))

    def test_attention(self, gpu):
        mask = torch.rand(3, 5) > 0.4
        gpu.check(attention, *(x.requires_grad_() for x in qkv(3, 5, lead=(2,))), mask)
