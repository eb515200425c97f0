"""Judges k02_multi_head_attention against torch's nn.MultiheadAttention with the same weights, in float64."""

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_05_transformers.k02_multi_head_attention import (
    MultiHeadAttention,
    merge_heads,
    split_heads,
)

pytestmark = [
    from_scratch("torch.nn.MultiheadAttention", "torch.nn.functional.multi_head_attention_forward"),
    pure(),
]

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
SIZES = [(12, 3), (8, 2), (10, 1), (6, 6)]


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def pair(d_model: int, heads: int, bias: bool = True):
    """The learner's module and torch's, in float64, with the same random weights, set without load_packed."""
    theirs = nn.MultiheadAttention(d_model, heads, bias=bias, batch_first=True, dtype=torch.float64)
    mine = MultiHeadAttention(d_model, heads, bias=bias).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
        for i, name in enumerate(PROJECTIONS[:3]):
            rows = slice(i * d_model, (i + 1) * d_model)
            getattr(mine, name).weight.copy_(theirs.in_proj_weight[rows])
            if bias:
                getattr(mine, name).bias.copy_(theirs.in_proj_bias[rows])
        mine.out_proj.weight.copy_(theirs.out_proj.weight)
        if bias:
            mine.out_proj.bias.copy_(theirs.out_proj.bias)
    return mine, theirs


def expected(theirs, x, context=None, mask=None):
    """Torch's output and each head's weights; torch masks where True, and takes (n, m) or (batch·heads, n, m)."""
    context = x if context is None else context
    if mask is not None:
        lead = (*x.shape[:-2], theirs.num_heads) if mask.ndim > 2 else ()
        mask = ~mask.expand(*lead, x.shape[-2], context.shape[-2]).flatten(0, -3) if lead else ~mask
    return theirs(x, context, context, attn_mask=mask, average_attn_weights=False)


class TestSplitHeads:
    def test_a_head_owns_a_block_of_columns(self):
        x = torch.tensor([[3.0, 1, 4, 1], [5, 9, 2, 6], [8, 7, 0, 3]])
        heads = torch.tensor([[[3.0, 1], [5, 9], [8, 7]], [[4, 1], [2, 6], [0, 3]]])
        assert_close(split_heads(x, 2), heads)

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    @pytest.mark.parametrize(("d", "heads"), SIZES)
    def test_matches_slices_with_any_leading_dimensions(self, lead, d, heads):
        x = randn(*lead, 5, d)
        size = d // heads
        slices = [x[..., i * size : (i + 1) * size] for i in range(heads)]
        assert_close(split_heads(x, heads), torch.stack(slices, -3))

    @pytest.mark.parametrize(("d", "heads"), [(10, 4), (3, 6)])
    def test_rejects_a_width_that_heads_do_not_divide(self, d, heads):
        with raises(ValueError, d, heads):
            split_heads(torch.zeros(2, 5, d), heads)

    def test_lets_gradients_through(self):
        assert torch.autograd.gradcheck(lambda x: split_heads(x, 2), randn(3, 4).requires_grad_())


class TestMergeHeads:
    def test_puts_the_heads_of_a_token_side_by_side(self):
        x = torch.tensor([[[3.0, 1], [5, 9], [8, 7]], [[4, 1], [2, 6], [0, 3]]])
        assert_close(merge_heads(x), torch.tensor([[3.0, 1, 4, 1], [5, 9, 2, 6], [8, 7, 0, 3]]))

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    @pytest.mark.parametrize("heads", [1, 3, 4])
    def test_matches_concatenation_with_any_leading_dimensions(self, lead, heads):
        x = randn(*lead, heads, 5, 2)
        assert_close(merge_heads(x), torch.cat(x.unbind(-3), -1))

    def test_lets_gradients_through(self):
        assert torch.autograd.gradcheck(merge_heads, randn(2, 3, 2).requires_grad_())


class TestMultiHeadAttention:
    def test_the_example_worked_by_hand(self):
        module = MultiHeadAttention(4, 2, bias=False)
        with torch.no_grad():
            for name in PROJECTIONS:
                getattr(module, name).weight.copy_(torch.eye(4))
        out, weights = module(torch.tensor([[1.0, 0, 2, 0], [0, 1, 0, 2]]))
        # atol: the lesson's numbers have three digits.
        assert_close(out[0].detach(), torch.tensor([0.670, 0.330, 1.888, 0.112]), atol=1e-3, rtol=0)
        assert_close(
            weights[:, 0].detach(), torch.tensor([[0.670, 0.330], [0.944, 0.056]]), atol=1e-3, rtol=0
        )

    def test_has_four_linear_layers_with_bias_by_default(self):
        module = MultiHeadAttention(6, 2)
        parameters = {name: tuple(value.shape) for name, value in module.named_parameters()}
        assert_equal(
            parameters,
            {f"{name}.weight": (6, 6) for name in PROJECTIONS} | {f"{name}.bias": (6,) for name in PROJECTIONS},
        )

    def test_has_no_bias_where_none_is_wanted(self):
        module = MultiHeadAttention(6, 2, bias=False)
        assert_equal(sorted(n for n, _ in module.named_parameters()), sorted(f"{n}.weight" for n in PROJECTIONS))
        assert_equal([getattr(module, name).bias for name in PROJECTIONS], [None] * 4)

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize(("d_model", "heads"), SIZES)
    def test_self_attention_matches_torch(self, d_model, heads, bias):
        mine, theirs = pair(d_model, heads, bias)
        x = randn(2, 5, d_model)
        assert_close(mine(x), expected(theirs, x))

    @pytest.mark.parametrize(("n", "m"), [(4, 7), (6, 3), (1, 5)])
    def test_cross_attention_matches_torch(self, n, m):
        mine, theirs = pair(12, 3)
        x, context = randn(2, n, 12), randn(2, m, 12)
        assert_close(mine(x, context), expected(theirs, x, context))

    @pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7), (2, 1, 1, 7), (2, 1, 5, 7), (2, 3, 5, 7)])
    def test_masks_match_torch_however_they_broadcast(self, shape):
        mine, theirs = pair(12, 3)
        x, context = randn(2, 5, 12), randn(2, 7, 12)
        mask = torch.rand(shape) > 0.5
        mask[..., 2] = True
        assert_close(mine(x, context, mask), expected(theirs, x, context, mask))

    def test_a_mask_serves_self_attention_too(self):
        mine, theirs = pair(8, 2)
        x, mask = randn(3, 6, 8), torch.ones(6, 6).tril().bool()
        assert_close(mine(x, mask=mask), expected(theirs, x, mask=mask))

    def test_needs_no_batch_dimension(self):
        mine, theirs = pair(8, 4)
        x, context, mask = randn(5, 8), randn(7, 8), torch.ones(5, 7).tril(2).bool()
        assert_close(mine(x), expected(theirs, x))
        assert_close(mine(x, context, mask), expected(theirs, x, context, mask))

    def test_takes_two_batch_dimensions(self):
        mine, theirs = pair(12, 3)
        x, context = randn(2, 4, 5, 12), randn(2, 4, 7, 12)
        mask = torch.rand(2, 4, 1, 5, 7) > 0.5
        mask[..., 3] = True
        out, weights = expected(theirs, x.flatten(0, 1), context.flatten(0, 1), mask.flatten(0, 1))
        shaped = out.unflatten(0, (2, 4)), weights.unflatten(0, (2, 4))
        assert_close(mine(x, context, mask), shaped)

    def test_a_query_that_sees_nothing_gets_no_weights_and_the_output_bias(self):
        mine, _ = pair(8, 2)
        mask = torch.ones(4, 6, dtype=torch.bool)
        mask[1] = False
        out, weights = mine(randn(3, 4, 8), randn(3, 6, 8), mask)
        assert_close(weights[..., 1, :].detach(), torch.zeros(3, 2, 6, dtype=torch.float64))
        assert_close(out[:, 1].detach(), mine.out_proj.bias.detach().expand(3, 8))

    @pytest.mark.parametrize("low", [-1e5, -1e10])
    def test_a_hidden_key_has_no_weight_however_low_the_other_scores_are(self, low):
        mine = MultiHeadAttention(4, 2, bias=False).double()
        with torch.no_grad():
            for name in PROJECTIONS:
                getattr(mine, name).weight.copy_(torch.eye(4))
        x = torch.tensor([[1.0, 0, 1, 0]], dtype=torch.float64)
        context = torch.tensor([[2 * low, 0, 2 * low, 3], [2 * low, 0, 2 * low, 5], [0, 0, 0, 70]], dtype=torch.float64)
        out, weights = mine(x, context, torch.tensor([True, True, False]))
        assert_close(weights.detach(), torch.tensor([[[0.5, 0.5, 0]]] * 2, dtype=torch.float64))
        assert_close(out.detach()[0, 3], torch.tensor(4.0, dtype=torch.float64))

    def test_a_second_call_owes_nothing_to_the_first(self):
        mine, theirs = pair(12, 3)
        x, context, mask = randn(2, 5, 12), randn(2, 7, 12), torch.ones(5, 7).tril().bool()
        mine(x, context, mask)
        y = randn(3, 4, 12)
        assert_close(mine(y), expected(theirs, y))
        assert_close(mine(x, context), expected(theirs, x, context))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        out, weights = MultiHeadAttention(8, 2).to(dtype)(torch.randn(2, 3, 8).to(dtype))
        assert_equal((out.dtype, weights.dtype), (dtype, dtype))

    @pytest.mark.parametrize(("d_model", "heads"), [(10, 4), (3, 6)])
    def test_rejects_a_width_that_heads_do_not_divide(self, d_model, heads):
        with raises(ValueError, d_model, heads):
            MultiHeadAttention(d_model, heads)

    def test_gradients_of_inputs_and_parameters_match_torch(self):
        mine, theirs = pair(12, 3)
        x, context = randn(2, 4, 12), randn(2, 6, 12)
        mask = torch.ones(4, 6).tril(2).bool()
        upstream = randn(2, 4, 12), randn(2, 3, 4, 6)
        grads = []
        for attend in (mine, lambda *a: expected(theirs, *a)):
            inputs = [t.clone().requires_grad_() for t in (x, context)]
            torch.autograd.backward(attend(*inputs, mask), upstream)
            grads.append([t.grad for t in inputs])
        assert_close(grads[0], grads[1])
        layers = [getattr(mine, name) for name in PROJECTIONS[:3]]
        assert_close(torch.cat([layer.weight.grad for layer in layers]), theirs.in_proj_weight.grad)
        assert_close(torch.cat([layer.bias.grad for layer in layers]), theirs.in_proj_bias.grad)
        assert_close(mine.out_proj.weight.grad, theirs.out_proj.weight.grad)
        assert_close(mine.out_proj.bias.grad, theirs.out_proj.bias.grad)

    def test_leaves_its_inputs_unchanged(self):
        mine, _ = pair(8, 2)
        inputs = randn(2, 4, 8), randn(2, 6, 8), torch.ones(4, 6).tril(1).bool()
        before = [t.clone() for t in inputs]
        mine(*inputs)
        assert_close(list(inputs), before)


class TestLoadPacked:
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize(("d_model", "heads"), [(12, 3), (8, 4)])
    def test_then_matches_torch(self, d_model, heads, bias):
        _, theirs = pair(d_model, heads, bias)
        mine = MultiHeadAttention(d_model, heads, bias=bias).double()
        mine.load_packed(theirs.state_dict())
        x, context = randn(2, 4, d_model), randn(2, 6, d_model)
        assert_close(mine(x, context), expected(theirs, x, context))

    def test_without_bias_reads_the_weights_only(self):
        _, theirs = pair(8, 2)
        mine = MultiHeadAttention(8, 2, bias=False).double()
        mine.load_packed({name: value for name, value in theirs.state_dict().items() if "weight" in name})
        assert_close(mine.out_proj.weight.detach(), theirs.out_proj.weight.detach())
        mine.load_packed(theirs.state_dict())
        assert_equal([getattr(mine, name).bias for name in PROJECTIONS], [None] * 4)

    def test_reads_the_state_by_name_and_not_by_order(self):
        _, theirs = pair(8, 2)
        mine = MultiHeadAttention(8, 2).double()
        mine.load_packed(dict(reversed(theirs.state_dict().items())))
        x = randn(2, 5, 8)
        assert_close(mine(x), expected(theirs, x))

    def test_loads_a_second_state_over_the_first(self):
        mine = MultiHeadAttention(8, 2).double()
        mine.load_packed(pair(8, 2)[1].state_dict())
        _, theirs = pair(8, 2)
        mine.load_packed(theirs.state_dict())
        x = randn(2, 5, 8)
        assert_close(mine(x), expected(theirs, x))

    def test_keeps_the_parameters_and_their_dtype(self):
        _, theirs = pair(8, 2)
        mine = MultiHeadAttention(8, 2)
        before = dict(mine.named_parameters())
        mine.load_packed(theirs.state_dict())
        after = dict(mine.named_parameters())
        assert_equal({name: after[name] is before[name] for name in before}, dict.fromkeys(before, True))
        assert_equal({p.dtype for p in after.values()}, {torch.float32})
        assert_equal({p.requires_grad for p in after.values()}, {True})
        assert_close(mine.v_proj.weight.detach(), theirs.in_proj_weight[16:].detach().float())

    def test_copies_and_neither_shares_nor_changes_the_state(self):
        _, theirs = pair(8, 2)
        mine = MultiHeadAttention(8, 2).double()
        state = {name: value.clone() for name, value in theirs.state_dict().items()}
        mine.load_packed(state)
        assert_close(state, dict(theirs.state_dict()))
        for value in state.values():
            value.zero_()
        x = randn(2, 5, 8)
        assert_close(mine(x), expected(theirs, x))

    @pytest.mark.parametrize("shape", [(36, 12), (12, 4), (8, 8), (24, 7), (24, 1)])
    def test_rejects_packed_weights_of_another_shape(self, shape):
        mine = MultiHeadAttention(8, 2)
        state = nn.MultiheadAttention(8, 2).state_dict() | {"in_proj_weight": torch.zeros(shape)}
        with raises(ValueError, shape, (24, 8)):
            mine.load_packed(state)


class TestOnTheGpu:
    def test_split_and_merge(self, gpu):
        gpu.check(split_heads, randn(2, 5, 6).requires_grad_(), 3)
        gpu.check(merge_heads, randn(2, 3, 5, 4).requires_grad_())

    def test_multi_head_attention(self, gpu):
        mine, _ = pair(12, 3)
        gpu.check(mine, randn(2, 5, 12).requires_grad_(), randn(2, 4, 12).requires_grad_(), torch.rand(5, 4) > 0.2)

    def test_weights_are_loaded_where_the_module_is(self, gpu):
        mine, theirs = pair(8, 2)
        moved = gpu(mine)
        moved.load_packed(theirs.state_dict())
        gpu.check(moved, randn(3, 8))
