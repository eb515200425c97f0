"""Judges k04_positions against closed forms, transformers' T5 buckets and Bloom's slopes."""

import math

import pytest
import torch

from dojo.testing import assert_close, from_scratch, pure, raises
from katas.module_05_transformers.k04_positions import (
    LearnedPositions,
    alibi_bias,
    alibi_slopes,
    relative_buckets,
    sinusoidal,
)

pytestmark = [from_scratch("transformers"), pure()]

AWAY = torch.tensor([7, 0, 3, 5000, 12])
"""Positions that aren't 0 … n - 1, nor in order."""


def double(values: list | float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


class TestSinusoidal:
    def test_the_example_worked_by_hand(self):
        assert_close(sinusoidal(torch.tensor([1]), 4), double([[0.8415, 0.5403, 0.0100, 1.0000]]), atol=1e-4, rtol=0)

    @pytest.mark.parametrize(("d", "base"), [(6, 10000.0), (2, 50.0), (16, 50.0)])
    def test_sine_and_cosine_alternate(self, d, base):
        wave = [math.sin, math.cos]
        expected = [[wave[c % 2](p * base ** (-(c - c % 2) / d)) for c in range(d)] for p in AWAY.tolist()]
        assert_close(sinusoidal(AWAY, d, base), double(expected))

    def test_a_base_of_10000_unless_told_otherwise(self):
        expected = [math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)]
        assert_close(sinusoidal(torch.tensor([3]), 4), double([expected]))

    def test_far_positions_keep_their_digits(self):
        far = [123_457, 999_999]
        expected = [[math.sin(p), math.cos(p), math.sin(p / 10), math.cos(p / 10)] for p in far]
        assert_close(sinusoidal(torch.tensor(far), 4, 100.0), double(expected))

    def test_takes_positions_of_another_integer_dtype(self):
        positions = torch.tensor([7, 0, 300], dtype=torch.int32)
        expected = [[math.sin(p), math.cos(p)] for p in positions.tolist()]
        assert_close(sinusoidal(positions, 2), double(expected))

    def test_dot_products_depend_on_the_distance_alone(self):
        p = torch.tensor([2, 40, 1, 13])
        near, far = sinusoidal(p, 12), sinusoidal(p + 777, 12)
        assert_close(far @ far.T, near @ near.T)

    @pytest.mark.parametrize("d", [5, 1])
    def test_rejects_an_odd_width(self, d):
        with raises(ValueError, d):
            sinusoidal(AWAY, d)


class TestLearnedPositions:
    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_adds_the_first_vectors(self, lead):
        module = LearnedPositions(9, 4).double()
        with torch.no_grad():
            module.weight.normal_()
        x = torch.randn(*lead, 5, 4, dtype=torch.float64)
        before = x.clone()
        assert_close(module(x), before + module.weight[:5])
        assert_close(x, before)

    @pytest.mark.parametrize(("start", "n"), [(2, 3), (5, 4), (8, 1)])
    def test_starts_where_it_is_told(self, start, n):
        module = LearnedPositions(9, 6).double()
        with torch.no_grad():
            module.weight.normal_()
        x = torch.randn(2, n, 6, dtype=torch.float64)
        expected = x + torch.stack([module.weight[p] for p in range(start, start + n)])
        assert_close(module(x, start), expected)
        # A second call begins where it is told, too, and not where the first ended.
        assert_close(module(x, start), expected)
        assert_close(module(x), x + module.weight[:n])

    def test_its_one_parameter_is_trained(self):
        module = LearnedPositions(7, 3).double()
        assert [name for name, _ in module.named_parameters()] == ["weight"]
        assert_close(torch.tensor(module.weight.shape), torch.tensor([7, 3]))
        x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
        upstream = torch.randn(2, 4, 3, dtype=torch.float64)
        module(x, start=1).backward(upstream)
        expected = torch.zeros(7, 3, dtype=torch.float64)
        expected[1:5] = upstream.sum(0)
        assert_close(module.weight.grad, expected)
        assert_close(x.grad, upstream)

    def test_starts_out_small(self):
        weight = LearnedPositions(400, 60).weight.detach().double()
        # 24,000 draws: the standard deviation is known to 0.5 %, the mean to 0.00013; both bounds are over 7 sigma.
        assert_close(weight.std(), double(0.02), rtol=0.04, atol=0)
        assert_close(weight.mean(), double(0.0), rtol=0, atol=0.001)

    @pytest.mark.parametrize(("start", "n"), [(0, 13), (8, 5), (12, 1), (30, 2)])
    def test_rejects_what_was_never_trained(self, start, n):
        module = LearnedPositions(12, 4)
        with raises(ValueError, start + n, 12):
            module(torch.zeros(n, 4), start)

    def test_the_last_position_is_allowed(self):
        module = LearnedPositions(12, 4)
        assert_close(module(torch.zeros(12, 4)), module.weight)
        assert_close(module(torch.zeros(1, 4), 11), module.weight[11:])
        longer = LearnedPositions(20, 4)
        assert_close(longer(torch.zeros(20, 4)), longer.weight)


def judged(gap: torch.Tensor, side: int, max_distance: int) -> torch.Tensor:
    """`gap` without the distances where rounding decides."""
    exact = side // 2
    distance = gap.abs().double()
    share = torch.log(distance.clamp(min=exact) / exact) / math.log(max_distance / exact) * (side - exact)
    sure = (share - share.round()).abs() > 1e-3
    return gap[sure | (distance <= exact) | (distance >= max_distance)]


def t5(gap: torch.Tensor, buckets: int, max_distance: int, bidirectional: bool) -> torch.Tensor:
    from transformers.models.t5.modeling_t5 import T5Attention

    return T5Attention._relative_position_bucket(gap, bidirectional, buckets, max_distance)


SIZES = [(32, 128), (16, 50), (22, 300), (4, 9)]


class TestRelativeBuckets:
    def test_the_example_worked_by_hand(self):
        query, keys = torch.tensor([50]), torch.tensor([47, 53, 30, 50])
        assert_close(relative_buckets(query, keys), torch.tensor([[3, 19, 10, 0]]))

    @pytest.mark.parametrize(("buckets", "max_distance"), SIZES)
    def test_matches_t5_in_both_directions(self, buckets, max_distance):
        gap = judged(torch.arange(-400, 401), buckets // 2, max_distance)
        query = torch.tensor([1000])
        assert_close(relative_buckets(query, query + gap, buckets, max_distance), t5(gap[None], buckets, max_distance, True))

    @pytest.mark.parametrize(("buckets", "max_distance"), SIZES)
    def test_matches_t5_in_a_decoder(self, buckets, max_distance):
        gap = judged(torch.arange(-400, 401), buckets, max_distance)
        found = relative_buckets(torch.tensor([1000]), 1000 + gap, buckets, max_distance, bidirectional=False)
        assert_close(found, t5(gap[None], buckets, max_distance, False))

    def test_32_buckets_to_a_distance_of_128_unless_told_otherwise(self):
        query = torch.tensor([1000])
        gap = judged(torch.arange(-200, 201), 16, 128)
        assert_close(relative_buckets(query, query + gap), t5(gap[None], 32, 128, True))
        gap = judged(torch.arange(-200, 201), 32, 128)
        assert_close(relative_buckets(query, query + gap, bidirectional=False), t5(gap[None], 32, 128, False))

    def test_queries_are_rows_and_keys_are_columns(self):
        queries, keys = torch.tensor([9, 2, 30]), torch.tensor([3, 8, 41, 10])
        gap = torch.tensor([[-6, -1, 32, 1], [1, 6, 39, 8], [-27, -22, 11, -20]])
        assert_close(relative_buckets(queries, keys), t5(gap, 32, 128, True))
        assert_close(relative_buckets(queries, keys, bidirectional=False), t5(gap, 32, 128, False))

    @pytest.mark.parametrize("bidirectional", [True, False])
    @pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
    def test_takes_positions_of_another_integer_dtype(self, dtype, bidirectional):
        query, keys = torch.tensor([50], dtype=dtype), torch.tensor([47, 53, 30, 50], dtype=dtype)
        expected = [[3, 19, 10, 0]] if bidirectional else [[3, 0, 17, 0]]
        assert_close(relative_buckets(query, keys, bidirectional=bidirectional), torch.tensor(expected))


def slopes(heads: int) -> list[float]:
    """Closed form: of the lower power of 2, then what twice as many heads have between."""
    power = 1 << (heads.bit_length() - 1)
    between = [2 ** (-4 * h / power) for h in range(1, 2 * power, 2)]
    return [2 ** (-8 * h / power) for h in range(1, power + 1)] + between[: heads - power]


class TestAlibiSlopes:
    def test_the_example_worked_by_hand(self):
        assert_close(alibi_slopes(3), double([1 / 16, 1 / 256, 1 / 4]))

    @pytest.mark.parametrize("heads", [1, 2, 4, 8, 16, 32])
    def test_powers_of_2_are_a_geometric_series(self, heads):
        assert_close(alibi_slopes(heads), double([2 ** (-8 * h / heads) for h in range(1, heads + 1)]))

    @pytest.mark.parametrize("heads", [1, 3, 5, 6, 7, 8, 12, 20, 31])
    def test_matches_bloom(self, heads):
        from transformers.models.bloom.modeling_bloom import _get_alibi_slopes

        # Bloom takes powers of a rounded float32: good to 1e-5.
        assert_close(alibi_slopes(heads), _get_alibi_slopes(heads, torch.device("cpu")).double(), rtol=1e-5, atol=0)


class TestAlibiBias:
    @pytest.mark.parametrize("heads", [1, 4, 12])
    def test_each_head_pays_for_distance(self, heads):
        queries, keys = torch.tensor([9, 2, 30]), torch.tensor([3, 8, 41, 10])
        distance = double([[6, 1, 32, 1], [1, 6, 39, 8], [27, 22, 11, 20]])
        expected = torch.stack([-slope * distance for slope in slopes(heads)])
        assert_close(alibi_bias(heads, queries, keys), expected)

    @pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
    def test_takes_positions_of_another_integer_dtype(self, dtype):
        queries, keys = torch.tensor([5], dtype=dtype), torch.tensor([5, 1, 9], dtype=dtype)
        assert_close(alibi_bias(2, queries, keys), double([[[0, -4 / 16, -4 / 16]], [[0, -4 / 256, -4 / 256]]]))

    def test_uses_the_slopes(self):
        found = alibi_bias(3, torch.tensor([5]), torch.tensor([5, 1]))
        assert_close(found, double([[[0, -4 / 16]], [[0, -4 / 256]], [[0, -4 / 4]]]))

    def test_under_a_causal_mask_it_weighs_as_blooms_does(self):
        from transformers.models.bloom.modeling_bloom import build_alibi_tensor

        bloom = build_alibi_tensor(torch.ones(1, 7), 4, torch.float64)  # slope · key: the same but for a constant a row
        scores = torch.randn(4, 7, 7, dtype=torch.float64)
        hidden = torch.ones(7, 7).triu(1).bool()
        p = torch.arange(7)
        found = (scores + alibi_bias(4, p, p)).masked_fill(hidden, -math.inf).softmax(-1)
        assert_close(found, (scores + bloom).masked_fill(hidden, -math.inf).softmax(-1))


class TestOnTheGpu:
    def test_sinusoidal(self, gpu):
        gpu.check(sinusoidal, AWAY, 6)

    def test_learned_positions(self, gpu):
        gpu.check(LearnedPositions(9, 4).double(), torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True), start=5)

    @pytest.mark.parametrize("bidirectional", [True, False])
    def test_relative_buckets(self, gpu, bidirectional):
        gpu.check(relative_buckets, AWAY, torch.arange(300), 16, 64, bidirectional)

    def test_alibi_bias(self, gpu):
        gpu.check(alibi_bias, 6, AWAY, torch.arange(4))
