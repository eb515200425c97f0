"""Judges k13_mixture_of_experts against transformers' Mixtral block, the dense limit, and a loop over tokens."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_05_transformers.k13_mixture_of_experts import (
    MixtureOfExperts,
    balance_loss,
    kept_choices,
    route,
)

pytestmark = [
    from_scratch("transformers"),
    pure(),
    pytest.mark.deadline(60),  # the first test imports transformers, which takes a busy machine a while
]

HAND = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]).log()


def randomized(module: nn.Module) -> nn.Module:
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def expert_by_hand(expert, x):
    gate, up, down = expert.gate_proj.weight, expert.up_proj.weight, expert.down_proj.weight
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


def by_hand(layer, x, k, capacity=None):
    """Token by token and choice by choice, first choices first."""
    rows = x.reshape(-1, x.shape[-1])
    p = (rows @ layer.router.weight.T).softmax(-1)
    order = p.argsort(-1, descending=True)[:, :k]
    out = [torch.zeros_like(row) for row in rows]
    room = {e: capacity if capacity is not None else len(rows) * k for e in range(p.shape[-1])}
    dropped = 0
    for choice in range(k):
        for t, row in enumerate(rows):
            e = int(order[t, choice])
            if room[e] == 0:
                dropped += 1
                continue
            room[e] -= 1
            out[t] = out[t] + p[t, e] / p[t, order[t]].sum() * expert_by_hand(layer.experts[e], row)
    return torch.stack(out).reshape(x.shape), dropped


class TestRoute:
    def test_the_example_worked_by_hand(self):
        experts, weights = route(HAND, 1)
        assert_close(experts, torch.tensor([[0], [0], [1]]))
        assert_close(weights, torch.ones(3, 1))
        assert_close(route(HAND, 2)[1], torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.7, 0.3]]))

    @pytest.mark.parametrize(("n_experts", "k"), [(5, 1), (5, 3), (4, 4)])
    def test_the_likeliest_first_scaled_to_sum_to_1(self, n_experts, k):
        logits = torch.randn(9, n_experts, dtype=torch.float64) * 2
        experts, weights = route(logits, k)
        p, order = logits.softmax(-1).sort(-1, descending=True)
        assert_close(experts, order[:, :k])
        assert_close(weights, p[:, :k] / p[:, :k].sum(-1, keepdim=True))

    def test_logits_that_overflow(self):
        _, weights = route(torch.tensor([[1000.0, 999.0, -1000.0]]), 2)
        assert_close(weights, torch.tensor([[1.0, 0.0]]).softmax(-1))

    def test_gradients(self):
        logits = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda y: route(y, 3)[1], logits)

    @pytest.mark.parametrize(("n_experts", "k"), [(2, 0), (2, 3), (4, 0), (4, 7)])
    def test_a_number_of_choices_out_of_range_is_refused(self, n_experts, k):
        with raises(ValueError, k, n_experts):
            route(torch.zeros(9, n_experts), k)


class TestBalanceLoss:
    def test_the_example_worked_by_hand(self):
        loss = balance_loss(HAND, torch.tensor([[0], [0], [1]]))
        assert_close(loss, torch.tensor(1.0444), atol=1e-4, rtol=0)  # 4 digits

    @pytest.mark.parametrize(("tokens", "n_experts", "k"), [(7, 5, 1), (11, 3, 2)])
    def test_matches_mixtrals(self, tokens, n_experts, k):
        from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

        logits = torch.randn(tokens, n_experts) * 2  # theirs is in float32 in any case
        experts = logits.topk(k).indices
        assert_close(balance_loss(logits, experts), load_balancing_loss_func((logits,), n_experts, k))

    @pytest.mark.parametrize("k", [1, 2])
    def test_even_is_k_and_uneven_more(self, k):
        even = torch.arange(12).reshape(-1, k) % 6
        assert_close(balance_loss(torch.zeros(len(even), 6), even), torch.tensor(float(k)))
        one_sided = torch.zeros(5, 6)
        one_sided[:, 3] = 100.0
        assert_close(balance_loss(one_sided, torch.full((5, 1), 3)), torch.tensor(6.0))

    def test_gradients(self):
        logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
        experts = torch.randint(0, 4, (6, 2))
        assert torch.autograd.gradcheck(lambda y: balance_loss(y, experts), logits)


class TestKeptChoices:
    def test_first_choices_before_second_ones_and_earlier_tokens_before_later(self):
        experts = torch.tensor([[0, 1], [1, 0], [0, 2], [0, 1]])
        assert_close(kept_choices(experts, 2), torch.tensor([[1, 1], [1, 0], [1, 1], [0, 0]]).bool())
        assert_close(kept_choices(experts, 1), torch.tensor([[1, 0], [1, 0], [0, 1], [0, 0]]).bool())
        assert_close(kept_choices(experts, 0), torch.zeros(4, 2).bool())

    @pytest.mark.parametrize(("k", "capacity"), [(1, 3), (3, 4), (3, 2)])
    def test_matches_handing_out_one_by_one(self, k, capacity):
        experts = torch.stack([torch.randperm(5)[:k] for _ in range(13)])
        expected = torch.zeros(13, k, dtype=torch.bool)
        room = [capacity] * 5
        for choice in range(k):
            for token in range(13):
                e = int(experts[token, choice])
                expected[token, choice] = room[e] > 0
                room[e] -= 1
        assert_close(kept_choices(experts, capacity), expected)

    def test_room_for_all(self):
        assert_close(kept_choices(torch.randint(0, 4, (6, 2)), 12), torch.ones(6, 2).bool())


class TestMixtureOfExperts:
    @pytest.mark.parametrize("lead", [(7,), (2, 3), (2, 2, 3)])
    @pytest.mark.parametrize(("n_experts", "k"), [(5, 2), (3, 1), (4, 3)])
    def test_matches_a_loop_over_tokens(self, lead, n_experts, k):
        layer = randomized(MixtureOfExperts(6, 10, n_experts, k))
        x = torch.randn(*lead, 6, dtype=torch.float64)
        out, logits = layer(x)
        assert_close(out, by_hand(layer, x, k)[0])
        assert_close(logits, x.reshape(-1, 6) @ layer.router.weight.T)
        assert_equal(layer.dropped, 0)

    def test_with_all_experts_it_is_a_weighted_sum(self):
        layer = randomized(MixtureOfExperts(5, 8, 4, 4))
        x = torch.randn(9, 5, dtype=torch.float64)
        p = (x @ layer.router.weight.T).softmax(-1)
        dense = sum(p[:, e, None] * expert_by_hand(layer.experts[e], x) for e in range(4))
        assert_close(layer(x)[0], dense)

    def test_matches_mixtrals_block(self):
        from transformers import MixtralConfig
        from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

        config = MixtralConfig(hidden_size=8, intermediate_size=12, num_local_experts=5, num_experts_per_tok=2, num_attention_heads=2, num_key_value_heads=2)
        config._experts_implementation = "eager"
        theirs = MixtralSparseMoeBlock(config)
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.normal_(std=0.5)
        layer = MixtureOfExperts(8, 12, 5, 2)
        with torch.no_grad():
            layer.router.weight.copy_(theirs.gate.weight)
            for e, expert in enumerate(layer.experts):
                gate, up = theirs.experts.gate_up_proj[e].chunk(2)
                expert.gate_proj.weight.copy_(gate)
                expert.up_proj.weight.copy_(up)
                expert.down_proj.weight.copy_(theirs.experts.down_proj[e])
        x = torch.randn(2, 7, 8)
        assert_close(layer(x)[0], theirs(x))

    @pytest.mark.parametrize(("factor", "k", "tokens", "n_experts"), [(1.0, 2, 11, 4), (0.5, 1, 10, 3), (0.8, 3, 7, 5), (1.25, 1, 9, 2), (0.3, 3, 9, 4), (1.0, 1, 8, 4), (0.5, 2, 8, 4)])
    def test_what_finds_no_room_is_dropped(self, factor, k, tokens, n_experts):
        layer = randomized(MixtureOfExperts(6, 10, n_experts, k, factor))
        x = torch.randn(tokens, 6, dtype=torch.float64)
        expected, dropped = by_hand(layer, x, k, math.ceil(factor * k * tokens / n_experts))
        assert_close(layer(x)[0], expected)
        assert_equal(layer.dropped, dropped)

    def test_dropped_counts_the_last_call_alone(self):
        layer = randomized(MixtureOfExperts(6, 10, 3, 2, 0.5))
        x = torch.randn(12, 6, dtype=torch.float64)
        expected, dropped = by_hand(layer, x, 2, 4)
        for _ in range(2):
            assert_close(layer(x)[0], expected)
            assert_equal(layer.dropped, dropped)
        # Of one token both choices find room.
        assert_close(layer(x[:1])[0], by_hand(layer, x[:1], 2, 1)[0])
        assert_equal(layer.dropped, 0)

    def test_each_expert_is_called_once_with_its_rows(self):
        layer = randomized(MixtureOfExperts(6, 10, 8, 2))
        calls = {}
        for e, expert in enumerate(layer.experts):
            expert.register_forward_pre_hook(lambda _, inputs, e=e: calls.setdefault(e, []).append(len(inputs[0])))
        x = torch.randn(40, 6, dtype=torch.float64)
        layer(x)
        chosen = (x @ layer.router.weight.T).topk(2).indices.flatten().bincount(minlength=8)
        expected = {e: [n] for e, n in enumerate(chosen.tolist()) if n}
        if calls != expected:
            fail(f"The experts were called with {dict(sorted(calls.items()))} rows; expected {expected}.", evidence=("calls", sum(map(len, calls.values())), sum(map(sum, calls.values()))))

    def test_an_expert_nobody_chose_is_not_called(self):
        layer = randomized(MixtureOfExperts(3, 5, 3, 1))
        with torch.no_grad():
            layer.router.weight.copy_(torch.tensor([[9.0, 0, 0], [1, 0, 0], [0, 0, 0]]))
        called = []
        for e, expert in enumerate(layer.experts):
            expert.register_forward_pre_hook(lambda _, inputs, e=e: called.append(e))
        layer(torch.rand(4, 3, dtype=torch.float64) + 0.5)
        assert_equal(called, [0])

    def test_gradients_reach_x_the_router_and_the_experts(self):
        layer = randomized(MixtureOfExperts(4, 6, 3, 2))
        x = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
        inputs = [x, *layer.parameters()]
        out, expected = layer(x)[0], by_hand(layer, x, 2)[0]
        upstream = torch.randn_like(out)
        found = torch.autograd.grad(out, inputs, upstream, materialize_grads=True)  # 0 of what has no part in it
        assert_close(found, torch.autograd.grad(expected, inputs, upstream))

    @pytest.mark.parametrize("k", [1, 2])
    def test_gradients_reach_the_router_through_the_logits(self, k):
        layer = randomized(MixtureOfExperts(4, 6, 3, k))
        x = torch.randn(8, 4, dtype=torch.float64)
        logits = layer(x)[1]
        assert_equal(bool(torch.autograd.grad(logits.sum(), layer.router.weight)[0].any()), True)

    def test_the_shapes_of_its_parameters(self):
        shapes = {n: tuple(p.shape) for n, p in MixtureOfExperts(6, 10, 2, 1).named_parameters()}
        expected = {"router.weight": (2, 6)}
        for e in range(2):
            expected |= {f"experts.{e}.gate_proj.weight": (10, 6), f"experts.{e}.up_proj.weight": (10, 6), f"experts.{e}.down_proj.weight": (6, 10)}
        assert_equal(shapes, expected)

    @pytest.mark.parametrize("k", [0, 4])
    def test_a_number_of_choices_out_of_range_is_refused(self, k):
        with raises(ValueError, k, 3):
            MixtureOfExperts(4, 6, 3, k)


class TestOnTheGpu:
    def test_route_and_balance_loss(self, gpu):
        logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
        gpu.check(route, logits, 2)
        gpu.check(balance_loss, logits, logits.topk(2).indices)

    def test_kept_choices(self, gpu):
        gpu.check(kept_choices, torch.randn(7, 4).topk(2).indices, 3)

    @pytest.mark.parametrize("capacity_factor", [None, 0.7])
    def test_mixture_of_experts(self, gpu, capacity_factor):
        layer = randomized(MixtureOfExperts(6, 5, 4, 2, capacity_factor))
        gpu.check(layer, torch.randn(2, 4, 6, dtype=torch.float64, requires_grad=True))
