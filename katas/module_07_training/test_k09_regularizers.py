"""Judges k09_regularizers by expectations, by masks read off the answers, and by the mass of labels."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_07_training.k09_regularizers import (
    StochasticDepth,
    cutmix,
    cutmix_box,
    depth_rates,
    drop_connect,
    mix_batch,
    mixup,
    spatial_dropout,
    variational_dropout,
)

KINDS = ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"]
LAYERS = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]

pytestmark = [
    from_scratch(
        *(f"torch.nn.functional.{kind}" for kind in KINDS),
        *(f"torch.nn.{kind}" for kind in LAYERS),
        "torch.dropout",
        "torch.native_dropout",
        "torch.feature_dropout",
        "torch.alpha_dropout",
        "torch.feature_alpha_dropout",
        "torchvision",
        "timm",
    ),
    pure(),
]


def positive(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Numbers from 0.5 to 1.5, so that a zero in an answer is one that was dropped."""
    return (torch.rand(shape, dtype=torch.float64) + 0.5).to(dtype)


def assert_shares(kept: torch.Tensor, p: float) -> None:
    """`kept`, one decision an entry: kept with probability 1 - p, each by itself."""
    assert_close(kept.double().mean().item(), 1 - p, atol=6 * math.sqrt(p * (1 - p) / kept.numel()), rtol=0)
    for axis in range(kept.dim()):
        others = [i for i in range(kept.dim()) if i != axis]
        shares, n = kept.double().mean(others), kept.numel() / kept.shape[axis]
        worst = (shares - (1 - p)).abs().max().item()
        if worst > 7 * math.sqrt(p * (1 - p) / n):
            fail(
                f"what lies along axis {axis} is dropped together, but should be by itself", evidence=("together", axis)
            )


def assert_one_decision(y: torch.Tensor, x: torch.Tensor, p: float, axes: tuple[int, ...]) -> torch.Tensor:
    """y is x with what differs only along `axes` kept or dropped together.  Returns the decisions."""
    kept = y != 0
    together = kept.double().mean(axes) if axes else kept.double()
    if not bool(((together == 0) | (together == 1)).all()):
        fail(f"entries that differ only along the axes {axes} aren't dropped together", evidence=("apart", axes))
    assert_close(y, torch.where(kept, x / (1 - p), 0.0))
    return together == 1


def assert_promises(function, x: torch.Tensor) -> None:
    """What all dropouts promise: evaluation, generators, p = 0 and 1, gradients, errors."""
    for p in (0.0, 0.4, 1.0):
        assert_close(function(x, p, training=False), x, rtol=0, atol=0)
    assert_close(function(x, 0.0), x)
    for p in (-0.1, 1.5):
        for training in (True, False):
            with raises(ValueError, p):
                function(x, p, training)
    leaf = x.clone().requires_grad_()
    nothing = function(leaf, 1.0)
    assert_close(nothing.detach() + 0.0, torch.zeros_like(x))
    if not nothing.requires_grad:
        fail("with p = 1 the answer has no gradient; expected one of 0, as with any p", evidence="no gradient")
    assert_close(torch.autograd.grad(nothing.sum(), leaf)[0], torch.zeros_like(x))
    y, upstream = function(leaf, 0.25), torch.randn_like(x)
    assert_close(torch.autograd.grad(y, leaf, upstream)[0], upstream * (y.detach() != 0) / 0.75)
    before = torch.get_rng_state()
    one, same, other = (function(x, 0.5, True, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert_equal(bool((torch.get_rng_state() == before).all()), True)
    assert_close(one, same)
    assert_equal(bool((one != other).any()), True)
    torch.manual_seed(7)
    one, other = function(x, 0.5), function(x, 0.5)
    torch.manual_seed(7)
    assert_close(function(x, 0.5), one)
    assert_equal(bool((one != other).any()), True)
    for dtype in (torch.float32, torch.bfloat16):
        assert_equal(str(function(x.to(dtype), 0.5).dtype), str(dtype))


class TestSpatialDropout:
    def test_the_example_worked_by_hand(self):
        x = torch.tensor([4.0, 8.0], dtype=torch.float64).expand(30, 2, 2)
        found = {tuple(channel) for channel in spatial_dropout(x, 0.2).flatten(0, 1).mul(1e6).round().tolist()}
        assert_equal(sorted(found | {(0.0, 0.0)}), [(0.0, 0.0), (5e6, 10e6)])

    @pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
    @pytest.mark.parametrize("space", [(), (3,), (3, 2), (2, 3, 2)])
    def test_whole_channels(self, space, p):
        x = positive(60, 50, *space)
        kept = assert_one_decision(spatial_dropout(x, p), x, p, tuple(range(2, x.dim())))
        assert_shares(kept, p)

    def test_half_by_default(self):
        x = positive(60, 50, 2, 2)
        assert_shares(assert_one_decision(spatial_dropout(x), x, 0.5, (2, 3)), 0.5)

    def test_what_every_dropout_promises(self):
        assert_promises(spatial_dropout, positive(6, 30, 2, 3))

    def test_images_need_not_be_contiguous(self):
        x = positive(20, 3, 2, 30).permute(0, 3, 1, 2)
        assert_one_decision(spatial_dropout(x, 0.4), x, 0.4, (2, 3))


class TestVariationalDropout:
    @pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
    @pytest.mark.parametrize("steps", [1, 7])
    def test_the_same_features_at_all_steps(self, steps, p):
        x = positive(60, steps, 50)
        kept = assert_one_decision(variational_dropout(x, p), x, p, (1,))
        assert_shares(kept, p)

    def test_half_by_default(self):
        x = positive(60, 3, 50)
        assert_shares(assert_one_decision(variational_dropout(x), x, 0.5, (1,)), 0.5)

    def test_what_every_dropout_promises(self):
        assert_promises(variational_dropout, positive(6, 4, 30))


class TestDropConnect:
    def masked(self, weight: torch.Tensor, p: float, **options) -> torch.Tensor:
        """The weights as they were used: what the identity gives."""
        return drop_connect(torch.eye(weight.shape[1], dtype=weight.dtype), weight, p=p, **options).T

    @pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
    def test_weights_one_by_one(self, p):
        weight = positive(60, 70)
        kept = assert_one_decision(self.masked(weight, p), weight, p, ())
        assert_shares(kept, p)

    def test_half_by_default(self):
        weight = positive(60, 70)
        used = drop_connect(torch.eye(70, dtype=torch.float64), weight).T
        assert_shares(assert_one_decision(used, weight, 0.5, ()), 0.5)

    @pytest.mark.parametrize("p", [0.3, 0.6])
    def test_the_bias_is_never_dropped_or_scaled(self, p):
        weight, bias = positive(9, 4), torch.randn(9, dtype=torch.float64)
        x = torch.zeros(5, 4, dtype=torch.float64)
        assert_close(drop_connect(x, weight, bias, p), bias.expand(5, 9))
        assert_close(drop_connect(positive(5, 4), weight, bias, 1.0), bias.expand(5, 9))
        assert_close(drop_connect(positive(5, 4), weight, None, 1.0), torch.zeros(5, 9, dtype=torch.float64))

    def test_one_mask_for_all_samples(self):
        weight, row = positive(9, 20), positive(20)
        y = drop_connect(row.expand(6, 3, 20), weight, p=0.5)
        assert_close(y, y[0, 0].expand(6, 3, 9))

    def test_inputs_arent_dropped(self):
        # Were an input dropped, a whole column of weights would be.
        used = self.masked(positive(40, 30), 0.5)
        assert_equal(bool(((used != 0).any(0) & (used != 0).any(1)[0]).all()), True)

    @pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
    @pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
    def test_a_linear_layer_in_evaluation(self, p, lead):
        x, weight = torch.randn(*lead, 4, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)
        bias = torch.randn(7, dtype=torch.float64)
        assert_close(drop_connect(x, weight, bias, p, training=False), F.linear(x, weight, bias))
        assert_close(drop_connect(x, weight, bias, 0.0), F.linear(x, weight, bias))
        assert_close(drop_connect(x, weight, None, p, False), F.linear(x, weight))

    def test_gradients_go_through_the_same_mask(self):
        weight = positive(5, 6).requires_grad_()
        bias = torch.randn(5, dtype=torch.float64, requires_grad=True)
        x = torch.eye(6, dtype=torch.float64).requires_grad_()
        y = drop_connect(x, weight, bias, 0.25)
        used = (y - bias).detach().T
        used = torch.where(used.abs() < 1e-9, 0.0, used)
        upstream = torch.randn(6, 5, dtype=torch.float64)
        found = torch.autograd.grad(y, (x, weight, bias), upstream)
        assert_close(found, (upstream @ used, upstream.T * (used != 0) / 0.75, upstream.sum(0)))

    def test_the_mean_is_that_of_the_whole_layer(self):
        x, weight = torch.randn(6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
        ys = torch.stack([drop_connect(x, weight, p=0.4) for _ in range(1500)])
        expected = F.linear(x, weight)
        wrong = (ys.mean(0) - expected).abs() / (ys.std(0) / math.sqrt(1500))
        if (wrong > 6).any():
            fail(
                "the mean of many calls isn't what the layer gives in evaluation", evidence=ys.mean(0).round(decimals=1)
            )

    def test_generators(self):
        weight = positive(9, 20)
        before = torch.get_rng_state()
        one, same, other = (self.masked(weight, 0.5, generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4))
        assert_equal(bool((torch.get_rng_state() == before).all()), True)
        assert_close(one, same)
        assert_equal(bool((one != other).any()), True)
        torch.manual_seed(7)
        one, other = self.masked(weight, 0.5), self.masked(weight, 0.5)
        torch.manual_seed(7)
        assert_close(self.masked(weight, 0.5), one)
        assert_equal(bool((one != other).any()), True)

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("p", [-0.1, 1.5])
    def test_other_probabilities_are_refused(self, p, training):
        with raises(ValueError, p):
            drop_connect(torch.ones(2, 3), torch.ones(4, 3), None, p, training)


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class TestStochasticDepth:
    @pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
    @pytest.mark.parametrize("shape", [(), (3,), (4, 2, 2)])
    def test_each_sample_by_itself(self, shape, p):
        x = positive(2000, *shape)
        change = StochasticDepth(Times(3.0), p)(x) - x
        change = torch.where(change.abs() < 1e-9, 0.0, change)
        kept = assert_one_decision(change, 3 * x, p, tuple(range(1, x.dim())))
        assert_shares(kept, p)

    def test_what_skips_the_block_is_x_itself(self):
        x = positive(50, 4)
        y = StochasticDepth(Times(3.0), 0.5)(x)
        skipped = (y - x).abs().amax(1) < 0.1
        assert_close(y[skipped], x[skipped], rtol=0, atol=0)
        assert_close(y[~skipped], x[~skipped] * 7)

    @pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
    def test_everybody_passes_it_in_evaluation(self, p):
        x, layer = torch.randn(9, 4, dtype=torch.float64), StochasticDepth(Times(3.0), p)
        assert_close(layer.eval()(x), 4 * x)
        assert_equal(bool(((layer.train()(x) - 4 * x).abs() < 1e-9).all()), p == 0)

    def test_p_of_0_and_1(self):
        x = torch.randn(9, 4, dtype=torch.float64)
        assert_close(StochasticDepth(Times(3.0), 0.0)(x), 4 * x)
        assert_close(StochasticDepth(Times(3.0), 1.0)(x), x)

    def test_gradients_of_the_block_and_of_x(self):
        x, layer = positive(40, 3).requires_grad_(), StochasticDepth(Times(2.0), 0.25)
        y, upstream = layer(x), torch.randn(40, 3, dtype=torch.float64)
        y.backward(upstream)
        kept = ((y - x).detach().abs() > 1e-9).double() / 0.75
        assert_close(x.grad, upstream * (1 + 2 * kept))
        assert_close(layer.block.factor.grad, (upstream * x.detach() * kept).sum())

    def test_it_is_a_module(self):
        layer = StochasticDepth(nn.Linear(3, 3), 0.4)
        assert_equal([name for name, _ in layer.named_parameters()], ["block.weight", "block.bias"])
        assert_close(layer.p, 0.4)

    def test_a_new_decision_at_every_call(self):
        x, layer = positive(200, 1), StochasticDepth(Times(1.0), 0.5)
        torch.manual_seed(4)
        one, other = layer(x), layer(x)
        torch.manual_seed(4)
        assert_close(layer(x), one)
        assert_equal(bool((one != other).any()), True)

    @pytest.mark.parametrize("p", [-0.2, 1.01])
    def test_other_probabilities_are_refused(self, p):
        with raises(ValueError, p):
            StochasticDepth(nn.Identity(), p)


class TestDepthRates:
    def test_the_example_worked_by_hand(self):
        assert_close(np.array(depth_rates(4, 0.2)), np.array([0.05, 0.1, 0.15, 0.2]))

    @pytest.mark.parametrize("last", [0.0, 0.5, 1.0])
    @pytest.mark.parametrize("n", [1, 3, 54])
    def test_a_line_from_0_before_the_first(self, n, last):
        assert_close(depth_rates(n, last), np.linspace(0, last, n + 1)[1:].tolist())

    @pytest.mark.parametrize("last", [-0.1, 1.2])
    def test_other_rates_are_refused(self, last):
        with raises(ValueError, last):
            depth_rates(3, last)


class TestMixup:
    def test_the_example_worked_by_hand(self):
        found = mixup(torch.tensor([[4.0], [8.0]]), torch.eye(2), 0.75, torch.tensor([1, 0]))
        assert_close(found, (torch.tensor([[5.0], [7.0]]), torch.tensor([[0.75, 0.25], [0.25, 0.75]])))

    @pytest.mark.parametrize("lam", [0.0, 0.3, 0.9, 1.0])
    @pytest.mark.parametrize("shape", [(), (4,), (3, 2, 5)])
    def test_sample_by_sample(self, shape, lam):
        x, y = torch.randn(5, *shape, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)
        order = torch.tensor([2, 0, 3, 1, 4])
        inputs = torch.stack([lam * x[i] + (1 - lam) * x[j] for i, j in enumerate(order)])
        targets = torch.stack([lam * y[i] + (1 - lam) * y[j] for i, j in enumerate(order)])
        assert_close(mixup(x, y, lam, order), (inputs, targets))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_each_keeps_its_dtype(self, dtype):
        x, y = mixup(torch.ones(2, 3, dtype=dtype), torch.eye(2), 0.25, torch.tensor([1, 0]))
        assert_close((x, y), (torch.ones(2, 3, dtype=dtype), torch.tensor([[0.25, 0.75], [0.75, 0.25]])))

    def test_gradients(self):
        x, y = torch.randn(4, 3).double().requires_grad_(), torch.rand(4, 2).double().requires_grad_()
        order = torch.tensor([1, 2, 3, 0])
        assert torch.autograd.gradcheck(lambda x, y: mixup(x, y, 0.3, order), (x, y))


class TestCutmixBox:
    def test_the_example_worked_by_hand(self):
        assert_equal(tuple(cutmix_box(8, 12, 0.75, 1, 6)), (0, 3, 3, 9))

    @pytest.mark.parametrize("lam", [0.0, 0.1, 0.37, 0.75, 0.93, 1.0])
    @pytest.mark.parametrize(("height", "width"), [(8, 12), (7, 5), (32, 31), (1, 1)])
    def test_as_the_paper_cuts_it(self, height, width, lam):
        high, wide = int(height * np.sqrt(1 - lam)), int(width * np.sqrt(1 - lam))
        centers = [(0, 0), (height - 1, width - 1), (height // 2, width // 3), (height // 3, width - 1)]
        found = [tuple(cutmix_box(height, width, lam, r, c)) for r, c in centers]
        expected = []
        for r, c in centers:
            rows = np.clip([r - high // 2, r + high // 2], 0, height)
            columns = np.clip([c - wide // 2, c + wide // 2], 0, width)
            expected.append((*rows.tolist(), *columns.tolist()))
        assert_equal(found, expected)

    def test_its_numbers_are_ints(self):
        assert_equal([type(v).__name__ for v in cutmix_box(8, 12, 0.3, 4, 4)], ["int"] * 4)


class TestCutmix:
    @pytest.mark.parametrize("box", [(0, 3, 3, 9), (2, 7, 0, 1), (0, 8, 0, 12), (4, 4, 3, 9), (1, 2, 5, 5)])
    def test_pixel_by_pixel(self, box):
        x, y = torch.randn(5, 3, 8, 12, dtype=torch.float64), torch.rand(5, 4, dtype=torch.float64)
        order = torch.tensor([2, 0, 3, 1, 4])
        top, bottom, left, right = box
        inside = torch.zeros(8, 12, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        share = inside.double().mean()
        expected = torch.where(inside, x[order], x), (1 - share) * y + share * y[order]
        assert_close(cutmix(x, y, box, order), expected)

    def test_the_example_worked_by_hand(self):
        x, y = torch.zeros(2, 1, 8, 12), torch.eye(2)
        x[1] = 1
        images, targets = cutmix(x, y, (0, 3, 3, 9), torch.tensor([1, 0]))
        assert_close(targets, torch.tensor([[0.8125, 0.1875], [0.1875, 0.8125]]))
        assert_close(images.mean((1, 2, 3)), targets[:, 1])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_each_keeps_its_dtype(self, dtype):
        x, y = cutmix(torch.ones(2, 1, 4, 4, dtype=dtype), torch.eye(2), (0, 2, 0, 2), torch.tensor([1, 0]))
        assert_close((x, y), (torch.ones(2, 1, 4, 4, dtype=dtype), torch.tensor([[0.75, 0.25], [0.25, 0.75]])))

    def test_gradients(self):
        x, y = torch.randn(3, 1, 3, 4).double().requires_grad_(), torch.rand(3, 2).double().requires_grad_()
        order = torch.tensor([1, 2, 0])
        assert torch.autograd.gradcheck(lambda x, y: cutmix(x, y, (0, 2, 1, 3), order), (x, y))

    def test_images_need_not_be_contiguous(self):
        x, y = torch.randn(3, 4, 5, 2).permute(0, 3, 1, 2), torch.eye(3)
        found, _ = cutmix(x, y, (1, 3, 0, 2), torch.tensor([1, 2, 0]))
        assert_close(found, cutmix(x.contiguous(), y, (1, 3, 0, 2), torch.tensor([1, 2, 0]))[0])


def partners(targets: torch.Tensor) -> tuple[list[int], float | None]:
    """The permutation and the own share, from mixed one-hot targets of b samples that are b classes."""
    order, own = [], None
    for i, row in enumerate(targets.tolist()):
        others = [j for j, v in enumerate(row) if v > 0 and j != i]
        order.append(others[0] if others else i)
        own = row[i] if others else own
    return order, own


class TestMixBatch:
    @pytest.mark.parametrize("kind", ["mixup", "cutmix"])
    @pytest.mark.parametrize("alpha", [0.4, 1.0, 5.0])
    def test_inputs_and_targets_agree(self, kind, alpha):
        x, y = torch.randn(7, 2, 9, 6, dtype=torch.float64), torch.eye(7, dtype=torch.float64)
        for _ in range(20):
            images, targets = mix_batch(x, y, kind, alpha)
            order, own = partners(targets)
            assert_equal(sorted(order), list(range(7)))
            assert_close(targets.sum(1), torch.ones(7, dtype=torch.float64))
            if own is None:
                continue
            others = x[torch.tensor(order)]
            if kind == "mixup":
                assert_close(images, own * x + (1 - own) * others)
                continue
            moved = [i for i, j in enumerate(order) if i != j]
            inside = (images != x)[moved].all(1)
            assert_close(images, torch.where(inside[0], others, x))
            rows, columns = inside[0].any(1).nonzero().flatten(), inside[0].any(0).nonzero().flatten()
            area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
            assert_close((int(area), 1 - own), (int(inside[0].sum()), int(area) / 54))

    @pytest.mark.parametrize("kind", ["mixup", "cutmix"])
    def test_gradients_flow_back(self, kind):
        x = torch.randn(5, 2, 4, 4, dtype=torch.float64, requires_grad=True)
        images, _ = mix_batch(x, torch.eye(5, dtype=torch.float64), kind)
        # Each pixel is spread over the batch with shares that add up to 1.
        assert_close(torch.autograd.grad(images.sum(), x)[0], torch.ones(5, 2, 4, 4, dtype=torch.float64))

    def test_mixup_with_an_alpha_of_1_by_default(self):
        x, y = torch.randn(6, 3, dtype=torch.float64), torch.eye(6, dtype=torch.float64)
        shares = []
        for _ in range(300):
            images, targets = mix_batch(x, y)
            order, own = partners(targets)
            if own is not None:
                shares.append(own)
                assert_close(images, own * x + (1 - own) * x[torch.tensor(order)])
        assert_close(float(np.var(shares)), 1 / 12, rtol=0, atol=6 * math.sqrt(1 / 180 / len(shares)))

    @pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
    def test_lambda_is_drawn_from_beta(self, alpha):
        x, y = torch.randn(6, 3, dtype=torch.float64), torch.eye(6, dtype=torch.float64)
        shares = [own for _ in range(400) if (own := partners(mix_batch(x, y, "mixup", alpha)[1])[1]) is not None]
        shares = torch.tensor(shares, dtype=torch.float64)
        # Beta(α, α) has the mean 1/2 and the variance 1 / (4 (2α + 1)).
        variance = 1 / (4 * (2 * alpha + 1))
        n = len(shares)
        assert_close(shares.mean().item(), 0.5, rtol=0, atol=6 * math.sqrt(variance / n))
        assert_close((shares - 0.5).square().mean().item(), variance, rtol=0, atol=6 * variance * math.sqrt(2 / n))

    @pytest.mark.parametrize("kind", ["mixup", "cutmix"])
    def test_all_permutations_are_equally_likely(self, kind):
        x, y = torch.randn(3, 1, 8, 8), torch.eye(3)
        counts: dict[tuple[int, ...], int] = {}
        n = 0
        for _ in range(500):
            order, own = partners(mix_batch(x, y, kind, 20.0)[1])
            if own is None or 0.2 < own < 0.95:
                counts[tuple(order)] = counts.get(tuple(order), 0) + 1
                n += 1
        shares = [
            counts.get(order, 0) / n for order in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
        ]
        # Six standard deviations of a share of 1/6.  An empty box looks like the first, but is rare here.
        assert_close(shares, [1 / 6] * 6, rtol=0, atol=6 * math.sqrt(5 / 36 / n))

    @pytest.mark.parametrize("alpha", [0.5, 2.0])
    def test_boxes_fall_as_the_paper_draws_them(self, alpha):
        rng, n = np.random.default_rng(3), 20_000
        side = np.sqrt(1 - rng.beta(alpha, alpha, n))
        rows = rng.integers(0, 9, n)[:, None] + (9 * side).astype(int)[:, None] // 2 * np.array([-1, 1])
        columns = rng.integers(0, 6, n)[:, None] + (6 * side).astype(int)[:, None] // 2 * np.array([-1, 1])
        rows, columns = np.clip(rows, 0, 9), np.clip(columns, 0, 6)
        inside = (np.arange(9) >= rows[:, :1]) & (np.arange(9) < rows[:, 1:])
        inside = inside[:, :, None] & ((np.arange(6) >= columns[:, :1]) & (np.arange(6) < columns[:, 1:]))[:, None]
        expected = torch.from_numpy(inside.mean(0))

        # In a batch of 30 a pixel differs somewhere exactly if the box covers it.
        x, y = torch.arange(30.0).reshape(30, 1, 1, 1).expand(30, 1, 9, 6), torch.eye(30)
        covered, runs = torch.zeros(9, 6, dtype=torch.float64), 900
        for _ in range(runs):
            covered += (mix_batch(x, y, "cutmix", alpha)[0] != x)[:, 0].any(0) / runs
        # Six standard deviations, pixel by pixel, and of the sample that it is compared with.
        off = (covered - expected).abs() / (expected * (1 - expected) * (1 / runs + 1 / n)).sqrt()
        if off.max() > 6:
            fail(
                f"the box covers a corner with probability {covered[0, 0]:.3f} and the middle with "
                f"{covered[4, 3]:.3f}; expected {expected[0, 0]:.3f} and {expected[4, 3]:.3f}",
                evidence=[round(v, 1) for v in (covered - expected)[[0, 4, 8], [0, 3, 5]].tolist()],
            )

    @pytest.mark.parametrize("kind", ["mixup", "cutmix"])
    def test_a_seed_repeats_it(self, kind):
        x, y = torch.randn(8, 1, 6, 6), torch.eye(8)
        torch.manual_seed(5)
        # λ is near ½ with so large an alpha, so that no box is empty.
        one, other = mix_batch(x, y, kind, 20.0), mix_batch(x, y, kind, 20.0)
        torch.manual_seed(5)
        assert_close(mix_batch(x, y, kind, 20.0), one)
        assert_equal(bool((one[1] != other[1]).any()), True)

    @pytest.mark.parametrize("kind", ["mixup", "cutmix"])
    def test_digits_keep_the_mass_of_their_labels(self, digits, kind):
        images = torch.tensor(digits[0][:64]).reshape(64, 1, 8, 8)
        labels = F.one_hot(torch.tensor(digits[1][:64]), 10).double()
        mixed, targets = mix_batch(images, labels, kind, 1.0)
        assert_close(targets.sum(0), labels.sum(0))
        # A permutation: what one image loses another gets.
        assert_close(mixed.sum((0, 1)), images.sum((0, 1)))

    @pytest.mark.parametrize("kind", ["mixup", "cutmix"])
    def test_a_batch_of_one(self, kind):
        x, y = torch.randn(1, 2, 4, 4), torch.tensor([[0.0, 1.0]])
        assert_close(mix_batch(x, y, kind, 2.0), (x, y))

    @pytest.mark.parametrize("kind", ["manifold", "Mixup"])
    def test_refuses_other_kinds(self, kind):
        with raises(ValueError, kind):
            mix_batch(torch.ones(2, 1, 3, 3), torch.eye(2), kind)

    @pytest.mark.parametrize("kind", ["mixup", "cutmix"])
    @pytest.mark.parametrize("alpha", [0.0, -1.5])
    def test_refuses_other_alphas(self, kind, alpha):
        with raises(ValueError, alpha):
            mix_batch(torch.ones(2, 1, 3, 3), torch.eye(2), kind, alpha)


class TestOnTheGpu:
    @pytest.mark.parametrize("p", [0.4, 1.0])
    def test_spatial_dropout(self, gpu, p):
        gpu.check(spatial_dropout, positive(4, 5, 3, 2).requires_grad_(), p, random=True)

    @pytest.mark.parametrize("p", [0.4, 1.0])
    def test_variational_dropout(self, gpu, p):
        gpu.check(variational_dropout, positive(4, 3, 5).requires_grad_(), p, random=True)

    def test_by_generators(self, gpu):
        x = gpu(positive(20, 3, 30))
        for function in (spatial_dropout, variational_dropout):
            one, same = (function(x, 0.5, True, gpu.generator(5)) for _ in range(2))
            assert_equal((one.device.type, bool((one == same).all())), (gpu.device.type, True))

    def test_drop_connect(self, gpu):
        x, weight, bias = (positive(*shape).requires_grad_() for shape in [(4, 3), (5, 3), (5,)])
        gpu.check(drop_connect, x, weight, bias, 0.4, random=True)

    def test_stochastic_depth(self, gpu):
        gpu.check(StochasticDepth(Times(2.0), 0.5), positive(20, 3).requires_grad_(), random=True)

    def test_mixup(self, gpu):
        gpu.check(mixup, torch.randn(3, 4).requires_grad_(), torch.eye(3), 0.3, torch.tensor([1, 2, 0]))

    def test_cutmix(self, gpu):
        x = torch.randn(3, 1, 4, 4).requires_grad_()
        gpu.check(cutmix, x, torch.eye(3), (0, 2, 1, 4), torch.tensor([1, 2, 0]))

    @pytest.mark.parametrize("kind", ["mixup", "cutmix"])
    def test_mix_batch(self, gpu, kind):
        gpu.check(mix_batch, torch.randn(4, 1, 6, 6).requires_grad_(), torch.eye(4), kind, 2.0, random=True)
