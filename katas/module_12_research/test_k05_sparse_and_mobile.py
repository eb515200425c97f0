"""Judges k05_sparse_and_mobile: sparse attention query by query and in its dense limit, blocks by counting, times by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.largest_tensor import Largest
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, gradcheck, leaves, normal, seeded
from katas.module_12_research.k05_sparse_and_mobile import (
    blocks_to_read,
    fit_latency,
    inverted_residual,
    inverted_residual_cost,
    linformer_attention,
    make_divisible,
    pareto_front,
    roofline,
    spectrum_share,
    topk_attention,
)

pytestmark = [
    from_scratch(
        "transformers", "torchvision", "scipy", "sklearn", "torch.nn.functional.scaled_dot_product_attention",
    ),
    pure(),
]  # fmt: skip


def some(lead: tuple[int, ...] = (2,), n: int = 5, m: int = 7) -> list[torch.Tensor]:
    return [normal(*lead, n, 3), normal(*lead, m, 3, seed=1), normal(*lead, m, 4, seed=2)]


def each(function, lead: tuple[int, ...], *args: torch.Tensor) -> torch.Tensor:
    flat = [x.reshape(-1, *x.shape[len(lead) :]) for x in args]
    found = torch.stack([function(*parts) for parts in zip(*flat, strict=True)])
    return found.reshape(*lead, *found.shape[1:])


LEADS = [(), (2,), (2, 3)]


def topk_by_hand(count: int):
    def one(q, k, v, mask=None):
        rows = []
        for i in range(len(q)):
            seen = [j for j in range(len(k)) if mask is None or mask[i, j]]
            scores = {j: (q[i] @ k[j]).item() / math.sqrt(q.shape[1]) for j in seen}
            kept = sorted(seen, key=lambda j: -scores[j])[:count]
            total = sum(math.exp(scores[j]) for j in kept)
            rows.append(sum(math.exp(scores[j]) / total * v[j] for j in kept))
        return torch.stack(rows)

    return one


class TestTopkAttention:
    def test_the_example_worked_by_hand(self):
        found = topk_attention(f64([1]), f64([0], [math.log(2)], [5]), f64([9], [3], [6]), 2)
        one = 1 / (1 + math.exp(5 - math.log(2)))
        assert_close(found, f64([3 * one + 6 * (1 - one)]))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("count", [1, 3, 7])
    def test_query_by_query(self, count, lead):
        args = some(lead)
        assert_close(topk_attention(*args, count), each(topk_by_hand(count), lead, *args))

    @pytest.mark.parametrize("count", [1, 3, 6])
    def test_hidden_keys_get_no_weight(self, count):
        args, mask = some((2,), 6, 6), torch.ones(6, 6, dtype=torch.bool).tril()
        mask[4, :3] = False
        assert_close(topk_attention(*args, count, mask), each(topk_by_hand(count), (2,), *args, mask.expand(2, 6, 6)))

    @pytest.mark.parametrize("count", [7, 8, 100])
    def test_the_dense_limit(self, count):
        args = some()
        assert_close(topk_attention(*args, count), F.scaled_dot_product_attention(*args))

    def test_what_is_dropped_gets_no_gradient(self):
        q, k, v = leaves(*some((), 1, 7))
        topk_attention(q, k, v, 2).sum().backward()
        kept = set((q @ k.T)[0].topk(2).indices.tolist())
        assert_equal({j for j in range(7) if v.grad[j].any()}, kept)
        assert_equal({j for j in range(7) if k.grad[j].any()}, kept)

    @pytest.mark.parametrize("count", [0, -3])
    def test_refuses_to_keep_none(self, count):
        with raises(ValueError, count):
            topk_attention(*some(), count)

    def test_gradients_and_gpu(self, gpu):
        x, mask = leaves(*some((2,), 4, 4)), torch.ones(4, 4, dtype=torch.bool).tril()
        assert gradcheck(lambda *x: topk_attention(*x, 2, mask), x)
        gpu.check(topk_attention, *x, 2, mask)
        gpu.check(topk_attention, *x, 2)


def blocks_by_hand(size: int, count: int):
    def one(q, k):
        n = len(q)
        found = torch.zeros(n, math.ceil(n / size), dtype=torch.bool)
        means = [k[c * size : (c + 1) * size].mean(0) for c in range(found.shape[1])]
        for i in range(n):
            own = i // size
            best = sorted(range(own), key=lambda c: -(q[i] @ means[c]).item())[:count]
            found[i, [own, *best]] = True
        return found

    return one


class TestBlocksToRead:
    @pytest.mark.parametrize(("query", "expected"), [(1.0, [True, False, True]), (-1.0, [False, True, True])])
    def test_the_example_worked_by_hand(self, query, expected):
        q, k = torch.full((6, 1), query, dtype=F64), f64([1], [3], [-1], [-1], [0], [0])
        assert_equal(blocks_to_read(q, k, 2, 1)[4], torch.tensor(expected))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("n", "size", "count"), [(8, 2, 1), (8, 2, 2), (9, 2, 2), (11, 3, 1), (7, 1, 3), (5, 8, 2), (6, 2, 9), (6, 2, 0)])
    def test_query_by_query(self, n, size, count, lead):
        q, k = normal(*lead, n, 3), normal(*lead, n, 3, seed=1)
        assert_equal(blocks_to_read(q, k, size, count), each(blocks_by_hand(size, count), lead, q, k))

    @pytest.mark.parametrize(("n", "m"), [(4, 6), (5, 3)])
    def test_refuses_other_lengths(self, n, m):
        with raises(ValueError, n, m):
            blocks_to_read(normal(n, 3), normal(m, 3), 2, 1)

    def test_with_all_blocks_it_is_causal_attention(self):
        q, k, _ = some((2,), 7, 7)
        blocks = blocks_to_read(q, k, 2, 100)
        mask = blocks.repeat_interleave(2, -1)[..., :7] & torch.ones(7, 7, dtype=torch.bool).tril()
        assert_equal(mask, torch.ones(7, 7, dtype=torch.bool).tril().expand(2, 7, 7))

    def test_on_the_gpu(self, gpu):
        gpu.check(blocks_to_read, normal(2, 7, 3), normal(2, 7, 3, seed=1), 2, 2)


class TestLinformerAttention:
    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("r", [1, 4])
    def test_query_by_query(self, r, lead):
        e, f = normal(r, 7, seed=5), normal(r, 7, seed=6)

        def one(q, k, v):
            keys = [sum(e[i, j] * k[j] for j in range(7)) for i in range(r)]
            values = [sum(f[i, j] * v[j] for j in range(7)) for i in range(r)]
            rows = []
            for query in q:
                powers = [math.exp((query @ key).item() / math.sqrt(3)) for key in keys]
                rows.append(sum(p / sum(powers) * value for p, value in zip(powers, values, strict=True)))
            return torch.stack(rows)

        args = some(lead)
        assert_close(linformer_attention(*args, e, f), each(one, lead, *args))

    def test_the_dense_limit(self):
        args, eye = some(), torch.eye(7, dtype=F64)
        assert_close(linformer_attention(*args, eye, eye), F.scaled_dot_product_attention(*args))

    def test_makes_no_scores(self):
        args = some((), 200, 150)
        with Largest() as seen:
            linformer_attention(*args, normal(5, 150), normal(5, 150, seed=1))
        if seen.entries >= 200 * 150:
            fail(f"A tensor of {seen.entries} entries is made for 200 queries and 150 keys.", evidence=seen.entries)

    def test_gradients_and_gpu(self, gpu):
        x = leaves(*some(), normal(2, 7, seed=5), normal(2, 7, seed=6))
        assert gradcheck(linformer_attention, x)
        gpu.check(linformer_attention, *x)


def with_spectrum(*values: float, n: int = 6, m: int = 4, seed: int = 0) -> torch.Tensor:
    left, right = (torch.linalg.qr(normal(size, size, seed=seed + i))[0] for i, size in enumerate((n, m)))
    return left[:, : len(values)] @ torch.diag(f64(*values)) @ right[:, : len(values)].T


class TestSpectrumShare:
    def test_the_example_worked_by_hand(self):
        assert_close(spectrum_share(f64([3, 0, 0], [0, 0, 4]), 1), torch.tensor(0.64, dtype=F64))

    @pytest.mark.parametrize("rank", [0, 1, 2, 3, 9])
    def test_of_a_spectrum_that_is_known(self, rank):
        values = [5.0, 2.0, 1.0]
        expected = sum(v * v for v in values[:rank]) / 30
        assert_close(spectrum_share(with_spectrum(*values), rank), torch.tensor(expected, dtype=F64))

    def test_several_matrices(self):
        both = torch.stack([with_spectrum(3, 1), with_spectrum(1, 1, 2, seed=4)])
        assert_close(spectrum_share(both, 1), f64(0.9, 4 / 6))
        assert_equal(tuple(spectrum_share(both[None], 2).shape), (1, 2))

    def test_what_linformer_makes_has_low_rank(self):
        """Of the matrix that it stands for, r singular values are all there is."""
        q, k, _ = some((), 20, 30)
        e, f = normal(3, 30, seed=5), normal(3, 30, seed=6)
        matrix = linformer_attention(q, k, torch.eye(30, dtype=F64), e, f)
        assert_close(spectrum_share(matrix, 3), torch.tensor(1.0, dtype=F64))

    def test_on_the_gpu(self, gpu):
        gpu.check(spectrum_share, normal(2, 5, 3), 2)


def a_block(c: int, h: int, d: int, kernel: int = 3, stride: int = 1) -> list[nn.Conv2d]:
    layers = nn.ModuleList(
        [nn.Conv2d(c, h, 1), nn.Conv2d(h, h, kernel, stride, kernel // 2, groups=h), nn.Conv2d(h, d, 1)]
    )
    return list(named_weights(layers, 0.7))


def block_by_layers(x: torch.Tensor, expand: nn.Conv2d, depthwise: nn.Conv2d, project: nn.Conv2d) -> torch.Tensor:
    y = project(depthwise(expand(x).clamp(0, 6)).clamp(0, 6))
    return y + x if project.out_channels == x.shape[1] and depthwise.stride == (1, 1) else y


class TestInvertedResidual:
    @pytest.mark.parametrize("splits", [1, 2, 3, 6])
    @pytest.mark.parametrize(("c", "d", "kernel", "stride"), [(3, 3, 3, 1), (3, 3, 3, 2), (3, 4, 3, 1), (2, 2, 5, 1), (2, 2, 5, 2)])
    def test_what_the_layers_give(self, c, d, kernel, stride, splits):
        layers, x = a_block(c, 6, d, kernel, stride), 3 * normal(2, c, 7, 8)
        with torch.no_grad():
            assert_close(inverted_residual(x, *layers, splits), block_by_layers(x, *layers))

    def test_whole_unless_told(self):
        layers, x = a_block(3, 6, 4), normal(2, 3, 5, 6)
        with torch.no_grad():
            assert_close(inverted_residual(x, *layers), block_by_layers(x, *layers))

    @pytest.mark.parametrize("splits", [3, 12])
    def test_never_makes_the_wide_tensor(self, splits):
        layers, x = a_block(4, 24, 4), normal(1, 4, 20, 20)
        with torch.no_grad(), Largest() as seen:
            inverted_residual(x, *layers, splits)
        allowed = max(24 // splits, 4) * 400
        if seen.entries > allowed:
            fail(f"With {splits} splits a tensor of {seen.entries} entries is made; {allowed} are enough.", evidence=seen.entries)

    @pytest.mark.parametrize("splits", [4, 5])
    def test_refuses_unequal_parts(self, splits):
        with raises(ValueError, 6, splits):
            inverted_residual(normal(1, 3, 5, 5), *a_block(3, 6, 3), splits)

    @pytest.mark.parametrize("splits", [1, 2])
    def test_gradients(self, splits):
        layers, x = a_block(3, 6, 3), normal(2, 3, 5, 6).requires_grad_()
        leaf = [x, *(p for layer in layers for p in layer.parameters())]
        upstream = normal(2, 3, 5, 6, seed=9)
        expected = torch.autograd.grad(block_by_layers(x, *layers), leaf, upstream)
        assert_close(torch.autograd.grad(inverted_residual(x, *layers, splits), leaf, upstream), expected)

    def test_on_the_gpu(self, gpu):
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.ModuleList(a_block(3, 6, 3))

            def forward(self, x):
                return inverted_residual(x, *self.layers, 2)

        gpu.check(Block(), normal(2, 3, 5, 6).requires_grad_(), what="inverted_residual")


class TestInvertedResidualCost:
    def test_the_example_worked_by_hand(self):
        assert_equal(inverted_residual_cost(8, 8, 4, 6, 3, 2, 2), {"multiply_adds": 3968, "weights": 152, "largest": 512})

    @pytest.mark.parametrize("expansion", [1, 2, 6])
    @pytest.mark.parametrize(
        ("height", "width", "channels", "out", "kernel", "stride"),
        [(8, 6, 4, 6, 3, 1), (9, 7, 4, 6, 3, 2), (5, 5, 2, 60, 5, 2), (4, 4, 3, 3, 5, 1)],
    )
    def test_counted_on_the_layers(self, height, width, channels, out, kernel, stride, expansion):
        layers = a_block(channels, expansion * channels, out, kernel, stride)
        layers = layers if expansion > 1 else layers[1:]
        x, work, largest = torch.zeros(1, channels, height, width, dtype=F64), 0, 0
        for layer in layers:
            x = layer(x)
            work += x[0, 0].numel() * layer.weight.numel()
            largest = max(largest, x.numel())
        expected = {"multiply_adds": work, "weights": sum(layer.weight.numel() for layer in layers), "largest": largest}
        assert_equal(inverted_residual_cost(height, width, channels, out, kernel, stride, expansion), expected)


class TestMakeDivisible:
    @pytest.mark.parametrize(("channels", "expected"), [(33, 32), (36, 40), (3, 8), (11, 16)])
    def test_the_example_worked_by_hand(self, channels, expected):
        assert_equal(make_divisible(channels), expected)

    @pytest.mark.parametrize("divisor", [4, 8, 10])
    @pytest.mark.parametrize("channels", [0.5, 2, 5, 10, 12, 13, 14.9, 15, 17.7, 20, 24, 25, 36, 44, 60, 96.5, 100, 140, 333])
    def test_the_rule(self, channels, divisor):
        multiples = range(divisor, 1000, divisor)
        # Of two that are equally near the larger one.
        best = min(multiples, key=lambda x: (abs(x - channels), -x))
        assert_equal(make_divisible(channels, divisor), best + divisor if best < 0.9 * channels else best)


class TestRoofline:
    def test_the_example_worked_by_hand(self):
        assert_close(roofline([(100, 10), (10, 40)], 50, 10, 1), 8.0)

    @pytest.mark.parametrize("overhead", [0.0, 0.25])
    def test_layer_by_layer(self, overhead):
        layers = [(1e6, 4e3), (2e3, 8e5), (0, 0), (3e5, 3e5)]
        expected = sum(overhead + max(work / 1e5, moved / 2e4) for work, moved in layers)
        assert_close(roofline(layers, 1e5, 2e4, overhead), expected)

    def test_without_overhead_unless_told(self):
        assert_close(roofline([(100, 10)], 50, 10), 2.0)

    def test_no_layers(self):
        found = roofline([], 50, 10, 1)
        assert_equal((type(found), found), (float, 0.0))


def measured(n: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.cat([torch.ones(n, 1, dtype=F64), normal(n, 2).exp()], 1) * (2 * normal(n, 1, seed=3)).exp()
    return features, features @ f64(0.4, 2, 0.1)


class TestFitLatency:
    def test_finds_what_was_planted(self):
        assert_close(fit_latency(*measured()), f64(0.4, 2, 0.1))

    @pytest.mark.parametrize("seed", range(2))
    def test_no_other_one_has_a_smaller_relative_error(self, seed):
        features, seconds = measured()
        seconds = seconds * (1 + 0.2 * normal(12, seed=seed + 5).tanh())
        found = fit_latency(features, seconds)
        error = (features @ found - seconds) / seconds
        # At the minimum every derivative is 0.
        assert_close((features / seconds[:, None]).T @ error, torch.zeros(3, dtype=F64))

    def test_of_two_measurements_of_one_size(self):
        """x minimises (x/1 - 1)² + (x/3 - 1)²: x = (1 + 1/3) / (1 + 1/9) = 1.2, and not 2."""
        assert_close(fit_latency(f64([1], [1]), f64(1, 3)), f64(1.2))

    def test_on_the_gpu(self, gpu):
        gpu.check(fit_latency, *measured())


class TestParetoFront:
    def test_the_example_worked_by_hand(self):
        assert_equal(pareto_front(f64(1, 2, 2, 3), f64(5, 7, 6, 7)), torch.tensor([True, True, False, False]))

    @pytest.mark.parametrize("seed", range(4))
    def test_one_by_one(self, seed):
        latency = torch.randint(1, 9, (30,), generator=seeded(seed)).double()
        accuracy = torch.randint(1, 9, (30,), generator=seeded(seed + 9)).double()
        one = list(zip(latency.tolist(), accuracy.tolist(), strict=True))
        expected = [not any(t <= s and b >= a and (t, b) != (s, a) for t, b in one) for s, a in one]
        assert_equal(pareto_front(latency, accuracy), torch.tensor(expected))

    def test_equal_ones_dont_beat_each_other(self):
        assert_equal(pareto_front(f64(2, 2, 2), f64(5, 5, 5)), torch.tensor([True] * 3))
        assert_equal(pareto_front(f64(2), f64(5)), torch.tensor([True]))

    def test_on_the_gpu(self, gpu):
        gpu.check(pareto_front, f64(1, 2, 2, 3), f64(5, 7, 6, 7))
