"""Judges k12_grouped_query_attention against torch's kernel with enable_gqa, and transformers' Llama attention."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_05_transformers.k12_grouped_query_attention import (
    GroupedQueryAttention,
    cache_bytes_per_token,
    group_queries,
    pool_heads,
    repeat_kv,
)

pytestmark = [
    from_scratch(
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.nn.functional.multi_head_attention_forward",
        "torch.nn.MultiheadAttention",
        "transformers",
    ),
    pure(),
]

LEADS = [(), (3,), (2, 3)]
HEADS = [(4, 4), (6, 2), (6, 3), (5, 1)]
AWAY = torch.tensor([7, 2, 3, 30, 12])


def randomized(module: nn.Module) -> nn.Module:
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module


def oracle(layer, x, heads, kv_heads, mask=None, positions=None, theta=None):
    """By torch's own kernel, and RoPE by complex numbers."""

    def split(y, n):
        return y.reshape(*y.shape[:-1], n, -1).transpose(-3, -2)

    q = split(x @ layer.q_proj.weight.T, heads)
    k, v = split(x @ layer.k_proj.weight.T, kv_heads), split(x @ layer.v_proj.weight.T, kv_heads)
    if theta is not None:
        d = q.shape[-1]
        omega = theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
        turn = torch.polar(torch.ones(1, dtype=torch.float64), torch.outer(positions.double(), omega))
        q, k = (torch.view_as_real(torch.complex(*y.chunk(2, -1)) * turn).movedim(-1, -2).flatten(-2) for y in (q, k))
    mask = None if mask is None else mask.unsqueeze(-3)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    return out.transpose(-3, -2).flatten(-2) @ layer.o_proj.weight.T


class TestGroupQueries:
    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
    def test_neighbours_stand_together(self, lead, heads, kv_heads):
        q = torch.randn(*lead, heads, 5, 7)
        group = heads // kv_heads
        grouped = group_queries(q, kv_heads)
        expected = torch.stack([q[..., g * group : (g + 1) * group, :, :] for g in range(kv_heads)], dim=-4)
        assert_close(grouped, expected)

    @pytest.mark.parametrize(("heads", "kv_heads"), [(6, 4), (8, 3), (2, 5)])
    def test_heads_that_cannot_be_shared_are_refused(self, heads, kv_heads):
        with raises(ValueError, heads, kv_heads):
            group_queries(torch.zeros(heads, 7, 9), kv_heads)

    def test_gradients_flow(self):
        q = torch.randn(6, 3, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda y: group_queries(y, 2), q)


class TestRepeatKv:
    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("times", [1, 3])
    def test_each_head_is_there_several_times(self, lead, times):
        x = torch.randn(*lead, 2, 5, 7)
        assert_close(repeat_kv(x, times), torch.stack([x] * times, dim=-3))

    @pytest.mark.parametrize("times", [1, 3])
    def test_of_a_part_of_a_tensor(self, times):
        x = torch.randn(5, 9, 4).transpose(0, 1)[2:6, :, 1:]
        assert_close(repeat_kv(x, times), torch.stack([x] * times, dim=-3))

    def test_it_takes_no_memory(self):
        x = torch.randn(2, 5, 7)
        repeated = repeat_kv(x, 4)
        same = repeated.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
        if not same:
            fail(
                "repeat_kv() copies: its result has memory of its own, where a view shares that of x.",
                evidence=("copy",),
            )

    def test_gradients_of_all_copies_add_up(self):
        x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda y: repeat_kv(y, 3), x)


class TestGroupedQueryAttention:
    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
    def test_matches_torch(self, lead, heads, kv_heads):
        layer = randomized(GroupedQueryAttention(4 * heads, heads, kv_heads))
        x = torch.randn(*lead, 5, 4 * heads, dtype=torch.float64)
        assert_close(layer(x), oracle(layer, x, heads, kv_heads))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("own", [False, True])
    def test_matches_torch_under_a_mask(self, lead, own):
        layer = randomized(GroupedQueryAttention(18, 6, 2))
        x = torch.randn(*lead, 5, 18, dtype=torch.float64)
        mask = torch.rand(*(lead if own else ()), 5, 5) > 0.5
        mask[..., 0] = True
        assert_close(layer(x, mask), oracle(layer, x, 6, 2, mask))

    @pytest.mark.parametrize("theta", [10000.0, 30.0])
    @pytest.mark.parametrize("head_dim", [4, 10])
    def test_queries_and_keys_are_turned_by_rope(self, theta, head_dim):
        layer = randomized(GroupedQueryAttention(9, 4, 2, head_dim, theta))
        x = torch.randn(2, 5, 9, dtype=torch.float64)
        assert_close(layer(x, positions=AWAY), oracle(layer, x, 4, 2, positions=AWAY, theta=theta))
        # RoPE sees distances alone, so that only a difference of positions shows.
        assert_close(layer(x), oracle(layer, x, 4, 2, positions=torch.arange(5), theta=theta))

    def test_rows_stand_at_0_to_n_in_each_call(self):
        layer = randomized(GroupedQueryAttention(8, 4, 2, theta=40.0))
        layer(torch.randn(2, 5, 8, dtype=torch.float64), torch.ones(5, 5).tril().bool(), AWAY)
        for n in (3, 6):
            x = torch.randn(2, n, 8, dtype=torch.float64)
            assert_close(layer(x), oracle(layer, x, 4, 2, positions=torch.arange(n), theta=40.0))

    def test_a_hidden_key_has_no_influence_however_low_the_other_scores_are(self):
        layer = GroupedQueryAttention(2, 1, 1).double()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(torch.eye(2))
        x = torch.tensor([[1e6, 0], [-1e6, 0], [0, 5]], dtype=torch.float64)
        mask = torch.tensor([[False, True, False], [True, True, True], [False, False, False]])
        out = layer(x, mask).detach()
        assert_close(out[0], x[1])
        assert_close(out[2], torch.zeros(2, dtype=torch.float64))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
    def test_keeps_the_dtype(self, dtype):
        layer = GroupedQueryAttention(8, 4, 2, theta=40.0).to(dtype)
        assert_equal(str(layer(torch.randn(2, 5, 8).to(dtype)).dtype), str(dtype))

    @pytest.mark.gpu
    def test_on_a_gpu(self):
        layer = GroupedQueryAttention(8, 4, 2, theta=40.0)
        x, mask = torch.randn(2, 5, 8), torch.ones(5, 5).tril().bool()
        expected = layer(x, mask)
        assert_close(layer.cuda()(x.cuda(), mask.cuda()).cpu(), expected)

    def test_without_theta_positions_do_not_count(self):
        layer = randomized(GroupedQueryAttention(8, 4, 2))
        x = torch.randn(5, 8, dtype=torch.float64)
        assert_close(layer(x, positions=AWAY), layer(x))

    @pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(6, 2, None), (4, 1, 5)])
    def test_the_shapes_of_its_parameters(self, heads, kv_heads, head_dim):
        shapes = {n: tuple(p.shape) for n, p in GroupedQueryAttention(12, heads, kv_heads, head_dim).named_parameters()}
        d = head_dim or 12 // heads
        expected = {
            "q_proj.weight": (heads * d, 12),
            "k_proj.weight": (kv_heads * d, 12),
            "v_proj.weight": (kv_heads * d, 12),
            "o_proj.weight": (12, heads * d),
        }
        assert_equal(shapes, expected)

    def test_matches_llamas(self):
        from transformers import LlamaConfig
        from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

        config = LlamaConfig(
            hidden_size=24,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=8,
            rope_parameters={"rope_type": "default", "rope_theta": 500.0},
            attn_implementation="eager",
        )
        theirs = randomized(LlamaAttention(config, layer_idx=0)).eval()
        layer = GroupedQueryAttention(24, 6, 2, 8, theta=500.0).double()
        layer.load_state_dict(theirs.state_dict())
        x = torch.randn(2, 5, 24, dtype=torch.float64)
        causal = torch.ones(5, 5, dtype=torch.bool).tril()
        hidden = torch.zeros(5, 5, dtype=torch.float64).masked_fill(~causal, float("-inf"))[None, None]
        expected, _ = theirs(x, LlamaRotaryEmbedding(config)(x, AWAY[None]), hidden)
        # Their angles are in float32.
        assert_close(layer(x, causal, AWAY), expected, atol=1e-4, rtol=0)

    def test_gradients_reach_x_and_every_parameter(self):
        layer = randomized(GroupedQueryAttention(12, 6, 3, theta=100.0))
        x = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
        inputs = [x, *layer.parameters()]
        out, expected = layer(x, positions=AWAY), oracle(layer, x, 6, 3, positions=AWAY, theta=100.0)
        upstream = torch.randn_like(out)
        found = torch.autograd.grad(out, inputs, upstream, materialize_grads=True)  # 0 of what has no part in it
        assert_close(found, torch.autograd.grad(expected, inputs, upstream))

    @pytest.mark.parametrize(
        ("d_model", "heads", "kv_heads", "named"),
        [(12, 6, 4, (6, 4)), (10, 5, 2, (5, 2)), (14, 4, 2, (4, 14)), (9, 6, 3, (6, 9))],
    )
    def test_numbers_that_do_not_fit_are_refused(self, d_model, heads, kv_heads, named):
        with raises(ValueError, *named):
            GroupedQueryAttention(d_model, heads, kv_heads)

    def test_a_head_dim_of_its_own_needs_no_divisor(self):
        assert_equal(GroupedQueryAttention(14, 4, 2, head_dim=6)(torch.zeros(3, 14)).shape == (3, 14), True)


class TestCacheBytesPerToken:
    @pytest.mark.parametrize(
        ("arguments", "size"),
        [((80, 8, 128), 327_680), ((80, 64, 128, 2), 2_621_440), ((30, 3, 64, 4), 46_080), ((1, 1, 5, 1), 10)],
    )
    def test_keys_and_values_of_every_layer(self, arguments, size):
        assert_equal(cache_bytes_per_token(*arguments), size)


class TestPoolHeads:
    @pytest.mark.parametrize(("heads", "kv_heads"), [(6, 2), (6, 3), (4, 1), (3, 3)])
    def test_the_mean_of_each_group(self, heads, kv_heads):
        weight = torch.randn(heads * 5, 7, dtype=torch.float64)
        group = heads // kv_heads
        each = [weight[h * 5 : (h + 1) * 5] for h in range(heads)]
        expected = torch.cat([sum(each[g * group : (g + 1) * group]) / group for g in range(kv_heads)])
        assert_close(pool_heads(weight, heads, kv_heads), expected)

    def test_equal_heads_lose_nothing(self):
        full = randomized(GroupedQueryAttention(12, 6, 6))
        grouped = GroupedQueryAttention(12, 6, 2).double()
        with torch.no_grad():
            for name in ("k_proj", "v_proj"):
                shared = torch.randn(2, 1, 2, 12, dtype=torch.float64).expand(2, 3, 2, 12)
                getattr(full, name).weight.copy_(shared.reshape(12, 12))
                getattr(grouped, name).weight.copy_(pool_heads(getattr(full, name).weight, 6, 2))
        for name in ("q_proj", "o_proj"):
            getattr(grouped, name).load_state_dict(getattr(full, name).state_dict())
        x = torch.randn(4, 12, dtype=torch.float64)
        assert_close(grouped(x), full(x))


class TestOnTheGpu:
    @pytest.mark.parametrize("theta", [None, 100.0])
    def test_grouped_query_attention(self, gpu, theta):
        layer = randomized(GroupedQueryAttention(12, 6, 2, theta=theta))
        x = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
        gpu.check(layer, x, torch.ones(5, 5).tril() > 0)
        gpu.check(layer, x, None, AWAY if theta else None)

    def test_its_parts(self, gpu):
        gpu.check(group_queries, torch.randn(2, 6, 3, 4, requires_grad=True), 2)
        gpu.check(repeat_kv, torch.randn(2, 2, 3, 4, requires_grad=True), 3)
        gpu.check(pool_heads, torch.randn(12, 5), 6, 2)
