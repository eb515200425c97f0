"""Judges k07_initialization by moments, by torch's fans, and by what is left of a signal after fifty layers."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_07_training.k07_initialization import (
    fans,
    he_,
    lsuv_,
    orthogonal_,
    tie_,
    transfer_,
    xavier_,
)

pytestmark = [
    from_scratch("torch.nn.init", "torch.nn.utils.parametrizations"),
    pure("xavier_", "he_", "orthogonal_", "lsuv_", "transfer_", "tie_"),
]

SHAPES = [(300, 200), (100, 400), (40, 30, 5, 3), (30, 60, 7)]


def empty(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """A weight whose old numbers would spoil everything that uses them."""
    return torch.full(shape, math.nan, dtype=dtype)


def expected_fans(shape: tuple[int, ...]) -> tuple[int, int]:
    from torch.nn.init import _calculate_fan_in_and_fan_out

    return _calculate_fan_in_and_fan_out(torch.empty(shape))


def assert_drawn(weight: torch.Tensor, std: float, distribution: str) -> None:
    """`weight` is drawn from the distribution with mean 0 and `std`; six standard deviations of each estimate."""
    weight, n = weight.detach().double(), weight.numel()
    assert_close(weight.std().item(), std, rtol=6 * math.sqrt(0.5 / n), atol=0)
    assert_close(weight.mean().item(), 0.0, rtol=0, atol=6 * std / math.sqrt(n))
    largest = weight.abs().max().item() / std
    # Of a uniform draw none is above √3 = 1.73 standard deviations, of a normal one some are above 3.3.
    kind = "uniform" if largest < 1.7321 + 1e-4 else "normal" if largest > 3.3 else "neither"
    if kind != distribution:
        fail(f"the numbers reach {largest:.2f} standard deviations: that isn't {distribution}", evidence=kind)
    for axis in (0, 1):  # were numbers drawn once and repeated, the means would scatter more
        others = [i for i in range(weight.dim()) if i != axis]
        means = weight.mean(others)
        scatter = means.std().item() / (std / math.sqrt(n / len(means)))
        if not 0.2 < scatter < 3:
            fail(f"the numbers along axis {axis} aren't independent of each other", evidence=("dependent", axis))


class TestFans:
    def test_the_example_worked_by_hand(self):
        assert_equal(fans(torch.empty(6, 4, 3, 2)), (24, 36))

    @pytest.mark.parametrize("shape", [(5, 3), (2, 7, 4), (3, 5, 1, 1), (8, 2, 3, 4, 5), (1, 1)])
    def test_matches_torch(self, shape):
        assert_equal(tuple(fans(torch.empty(shape))), expected_fans(shape))

    @pytest.mark.parametrize("shape", [(), (7,)])
    def test_refuses_fewer_than_two_axes(self, shape):
        with raises(ValueError, len(shape)):
            fans(torch.empty(shape))


class TestXavier:
    def test_the_example_worked_by_hand(self):
        weight = empty(6, 4, 3, 2)
        largest = 0.0
        for _ in range(40):
            xavier_(weight, 2.0)
            largest = max(largest, weight.abs().max().item())
        # Of 5,760 draws the largest is nearly the bound.
        assert_close(largest, 2 * math.sqrt(6 / 60), rtol=0, atol=0.005)

    @pytest.mark.parametrize("distribution", ["normal", "uniform"])
    @pytest.mark.parametrize("gain", [1.0, 5 / 3])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_has_xaviers_variance(self, shape, gain, distribution):
        weight = empty(*shape)
        xavier_(weight, gain, distribution)
        assert_drawn(weight, gain * math.sqrt(2 / sum(expected_fans(shape))), distribution)

    def test_uniform_with_a_gain_of_1_by_default(self):
        weight = empty(300, 200)
        xavier_(weight)
        assert_drawn(weight, math.sqrt(2 / 500), "uniform")

    @pytest.mark.parametrize("distribution", ["gauss", "Normal"])
    def test_refuses_other_distributions(self, distribution):
        with raises(ValueError, distribution):
            xavier_(torch.zeros(3, 4), 1.0, distribution)

    def test_refuses_a_vector(self):
        with raises(ValueError, 1):
            xavier_(torch.zeros(5))

    def test_fifty_layers_of_tanh_keep_the_signal_and_the_gradient(self):
        x = (torch.randn(50, 100, dtype=torch.float64) * 0.1).requires_grad_()
        h = x
        for _ in range(50):
            weight = empty(100, 100)
            xavier_(weight, 1.1, "normal")  # a little over 1: tanh shrinks large numbers
            h = torch.tanh(h @ weight.T)
        upstream = torch.randn_like(h)
        h.backward(upstream)
        for share in (h.detach().std() / x.detach().std(), x.grad.std() / upstream.std()):
            if not 0.05 < share.item() < 50:
                fail(
                    f"after fifty layers {share.item():.2g} of the signal is left", evidence=round(share.log10().item())
                )


class TestHe:
    def test_the_example_worked_by_hand(self):
        weight = empty(6, 4, 3, 2)
        square = 0.0
        for _ in range(200):
            he_(weight)
            square += weight.square().mean().item() / 200
        # Six standard deviations of a variance from 28,800 draws.
        assert_close(square, 2 / 24, rtol=6 * math.sqrt(2 / 28_800), atol=0)

    @pytest.mark.parametrize("distribution", ["normal", "uniform"])
    @pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
    @pytest.mark.parametrize("slope", [0.0, 0.5, 2.0])
    @pytest.mark.parametrize("shape", [(300, 200), (40, 30, 5, 3)])
    def test_has_hes_variance(self, shape, slope, mode, distribution):
        weight = empty(*shape)
        he_(weight, slope, mode, distribution)
        fan = expected_fans(shape)[mode == "fan_out"]
        assert_drawn(weight, math.sqrt(2 / (1 + slope**2) / fan), distribution)

    def test_normal_by_fan_in_for_relu_by_default(self):
        weight = empty(100, 400)
        he_(weight)
        assert_drawn(weight, math.sqrt(2 / 400), "normal")

    @pytest.mark.parametrize("options", [{"mode": "fan"}, {"mode": "fan_avg"}, {"distribution": "cauchy"}])
    def test_refuses_other_words(self, options):
        with raises(ValueError, *options.values()):
            he_(torch.zeros(3, 4), **options)

    def test_refuses_a_vector(self):
        with raises(ValueError, 1):
            he_(torch.zeros(5))

    @pytest.mark.parametrize("slope", [0.0, 0.3])
    def test_fifty_layers_of_relu_keep_the_signal(self, slope):
        x = torch.randn(100, 200, dtype=torch.float64)
        h = x
        for _ in range(50):
            weight = empty(200, 200)
            he_(weight, slope)
            h = F.leaky_relu(h, slope) @ weight.T
        share = (h.square().mean() / x.square().mean()).sqrt().item()
        if not 0.05 < share < 20:
            fail(f"after fifty layers {share:.2g} of the signal is left", evidence=round(math.log10(share)))


class TestAllDraws:
    DRAWS = [xavier_, he_, orthogonal_]

    @pytest.mark.parametrize("draw", DRAWS, ids=lambda f: f.__name__)
    def test_a_parameter_stays_one(self, draw):
        layer = nn.Linear(4, 3)
        layer(torch.randn(2, 4)).sum().backward()
        weight, gradient, before = layer.weight, layer.weight.grad.clone(), layer.weight.detach().clone()
        draw(layer.weight)
        assert_equal((layer.weight is weight, weight.is_leaf, weight.requires_grad), (True, True, True))
        assert_close(weight.grad, gradient)
        assert_equal(bool((weight == before).any()), False)

    @pytest.mark.parametrize("draw", DRAWS, ids=lambda f: f.__name__)
    def test_what_doesnt_train_stays_so(self, draw):
        weight = empty(4, 3)
        draw(weight)
        assert_equal((weight.requires_grad, bool(weight.isfinite().all())), (False, True))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    @pytest.mark.parametrize("draw", DRAWS, ids=lambda f: f.__name__)
    def test_any_dtype(self, draw, dtype):
        weight = empty(60, 50, dtype=dtype)
        draw(weight)
        assert_equal((str(weight.dtype), bool(weight.isfinite().all())), (str(dtype), True))
        assert_equal(bool(weight.double().std() > 0.05), True)

    @pytest.mark.parametrize("draw", DRAWS, ids=lambda f: f.__name__)
    def test_a_weight_needs_not_be_contiguous(self, draw):
        storage = empty(5, 4, 6)
        weight = storage.permute(2, 0, 1)
        draw(weight)
        assert_equal(bool(storage.isfinite().all()), True)

    @pytest.mark.parametrize("draw", DRAWS, ids=lambda f: f.__name__)
    def test_a_generator_decides_alone(self, draw):
        before = torch.get_rng_state()
        one, same, other = empty(6, 5), empty(6, 5), empty(6, 5)
        for weight, seed in ((one, 3), (same, 3), (other, 4)):
            draw(weight, generator=torch.Generator().manual_seed(seed))
        assert_close(one, same)
        assert_equal(bool((one != other).any()), True)
        assert_equal(bool((torch.get_rng_state() == before).all()), True)

    @pytest.mark.parametrize("draw", DRAWS, ids=lambda f: f.__name__)
    def test_torchs_own_decides_without_one(self, draw):
        one, same, next_one = empty(6, 5), empty(6, 5), empty(6, 5)
        torch.manual_seed(11)
        draw(one)
        draw(next_one)
        torch.manual_seed(11)
        draw(same)
        assert_close(one, same)
        assert_equal(bool((one != next_one).any()), True)


class TestOrthogonal:
    @pytest.mark.parametrize("gain", [1.0, 2.5])
    @pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (4, 2, 3, 3), (30, 2, 3), (1, 6), (6, 1)])
    def test_rows_or_columns_are_orthonormal(self, shape, gain):
        weight = empty(*shape)
        orthogonal_(weight, gain)
        w = weight.flatten(1)
        product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        assert_close(product, gain**2 * torch.eye(min(w.shape), dtype=torch.float64))

    def test_a_gain_of_1_by_default(self):
        weight = empty(4, 7)
        orthogonal_(weight)
        assert_close(weight @ weight.T, torch.eye(4, dtype=torch.float64))

    @pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2), (2, 2)])
    def test_all_are_equally_likely(self, shape):
        n = 1500
        drawn = torch.stack([empty(*shape) for _ in range(n)])
        for weight in drawn:
            orthogonal_(weight)
        # Each entry has the mean 0 and the variance 1/max(shape), and those of two places are uncorrelated.
        std = max(shape) ** -0.5
        flat = drawn.flatten(1)
        limit = 6 * std / math.sqrt(n)
        assert_close(flat.mean(0), torch.zeros(flat.shape[1], dtype=torch.float64), rtol=0, atol=limit)
        products = flat.T @ flat / n
        expected = torch.eye(flat.shape[1], dtype=torch.float64) * std**2
        # A product of two entries varies by less than 1 / √n.
        assert_close(products, expected, rtol=0, atol=6 * std / math.sqrt(n))

    def test_no_direction_is_preferred(self):
        n, near = 3000, math.cos(math.pi / 8)
        drawn = torch.stack([empty(2, 2) for _ in range(n)])
        for weight in drawn:
            orthogonal_(weight)
        # Half of all directions lie within 22.5 degrees of an axis.  Of uniform numbers it would be 41 %.
        share = (drawn[:, :, 0].abs().amax(1) > near).double().mean().item()
        assert_close(share, 0.5, rtol=0, atol=6 * 0.5 / math.sqrt(n))

    def test_of_a_weight_that_is_not_contiguous(self):
        weight = torch.zeros(3, 2, 4, dtype=torch.float64).transpose(0, 2)
        orthogonal_(weight)
        w = weight.flatten(1)
        assert_close(w @ w.T, torch.eye(4, dtype=torch.float64))

    def test_rotations_and_reflections(self):
        drawn = [empty(4, 4) for _ in range(400)]
        for weight in drawn:
            orthogonal_(weight)
        share = sum(torch.linalg.det(weight).item() > 0 for weight in drawn) / 400
        assert_close(share, 0.5, rtol=0, atol=0.15)  # six standard deviations of a share of 400

    def test_refuses_a_vector(self):
        with raises(ValueError, 1):
            orthogonal_(torch.zeros(5))

    def test_fifty_layers_keep_lengths_exactly(self):
        h = torch.randn(7, 30, dtype=torch.float64)
        lengths = h.norm(dim=1)
        for _ in range(50):
            weight = empty(30, 30)
            orthogonal_(weight)
            h = h @ weight.T
        assert_close(h.norm(dim=1), lengths)


def outputs(model: nn.Module, layers: list[nn.Module], x: torch.Tensor) -> list[torch.Tensor]:
    """What each layer gives on x, in evaluation mode."""
    found: list[torch.Tensor] = []
    hooks = [layer.register_forward_hook(lambda m, i, o: found.append(o.detach().clone())) for layer in layers]
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    for module, mode in modes:
        module.training = mode
    return found


def variances(model: nn.Module, layers: list[nn.Module], x: torch.Tensor) -> torch.Tensor:
    return torch.stack([o.var(correction=0) for o in outputs(model, layers, x)])


def linears(model: nn.Module) -> list[nn.Module]:
    return [m for m in model if isinstance(m, nn.Linear | nn.Conv2d)]


def tower(*widths: int, between=nn.Tanh, bias: bool = True) -> nn.Sequential:
    parts: list[nn.Module] = []
    for a, b in pairwise(widths):
        parts += [nn.Linear(a, b, bias=bias), between()]
    return nn.Sequential(*parts[:-1]).double()


class Backwards(nn.Module):
    """It calls its layers in another order than it has them."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = nn.Linear(9, 5).double(), nn.Linear(6, 9).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(x)))


class TestLsuv:
    @pytest.mark.parametrize("between", [nn.Tanh, nn.ReLU, nn.Sigmoid])
    @pytest.mark.parametrize("bias", [True, False])
    def test_every_output_has_the_variance_1(self, bias, between):
        model, x = tower(12, 20, 20, 7, 15, 20, between=between, bias=bias), 3 * torch.randn(200, 12).double() + 2
        lsuv_(model, linears(model), x)
        assert_close(variances(model, linears(model), x), torch.ones(5, dtype=torch.float64))

    def test_before_a_nonlinearity_in_place(self):
        model, x = tower(12, 20, 20, 7, between=lambda: nn.ReLU(inplace=True)), torch.randn(200, 12).double() + 2
        lsuv_(model, linears(model), x)
        assert_close(variances(model, linears(model), x), torch.ones(3, dtype=torch.float64))

    def test_of_a_convolutional_network(self):
        model = nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
        ).double()
        x = torch.randn(30, 2, 8, 8, dtype=torch.float64) + 1
        lsuv_(model, linears(model), x)
        assert_close(variances(model, linears(model), x), torch.ones(3, dtype=torch.float64))

    def test_a_digit_goes_through_thirty_layers(self, digits):
        images = torch.tensor(digits[0][:300])
        model = tower(64, *[40] * 30, between=nn.ReLU)
        lsuv_(model, linears(model), images)
        assert_close(variances(model, linears(model), images), torch.ones(30, dtype=torch.float64))

    def test_the_weights_are_orthogonal_and_the_biases_0(self):
        model, x = tower(6, 9, 4), torch.randn(50, 6).double()
        lsuv_(model, linears(model), x)
        for layer in linears(model):
            w = layer.weight.detach()
            product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
            assert_close(product / product[0, 0], torch.eye(min(w.shape), dtype=torch.float64))
            assert_close(layer.bias.detach(), torch.zeros_like(layer.bias))

    def test_a_single_layer_in_one_formula(self):
        layer = nn.Linear(5, 3).double()
        x = torch.randn(40, 5, dtype=torch.float64) + 4
        lsuv_(layer, [layer], x)
        unit = layer.weight.detach() / layer.weight.detach().norm(dim=1, keepdim=True)
        assert_close(layer.weight.detach(), unit / (x @ unit.T).std(correction=0))

    def test_in_the_order_of_the_calls(self):
        model, x = Backwards(), torch.randn(50, 6).double()
        layers = [model.first, model.last]
        lsuv_(model, layers, x)
        assert_close(variances(model, layers, x), torch.ones(2, dtype=torch.float64))

    def test_other_layers_stay_as_they_are(self):
        model, x = tower(6, 9, 8, 4), torch.randn(50, 6).double()
        first, other, last = linears(model)
        before = [p.detach().clone() for p in other.parameters()]
        lsuv_(model, [first, last], x)
        assert_close([p.detach() for p in other.parameters()], before, rtol=0, atol=0)
        assert_close(variances(model, [first, last], x), torch.ones(2, dtype=torch.float64))

    def test_dropout_and_batch_norm_are_in_evaluation_mode(self):
        model = nn.Sequential(
            nn.Linear(6, 20), nn.BatchNorm1d(20), nn.Dropout(0.5), nn.Linear(20, 8), nn.Dropout(0.5), nn.Linear(8, 5)
        ).double()
        x = torch.randn(50, 6, dtype=torch.float64) * 2
        statistics = {name: b.clone() for name, b in model.named_buffers()}
        lsuv_(model, linears(model), x)
        assert_close(variances(model, linears(model), x), torch.ones(3, dtype=torch.float64))
        assert_close(dict(model.named_buffers()), statistics, rtol=0, atol=0)

    @pytest.mark.parametrize("training", [True, False])
    def test_every_module_keeps_its_mode(self, training):
        model = tower(6, 9, 8, 4).train(training)
        model[1].train(not training)
        before = [m.training for m in model.modules()]
        lsuv_(model, linears(model), torch.randn(20, 6).double())
        assert_equal([m.training for m in model.modules()], before)

    def test_a_dead_layer_leaves_its_weight_orthogonal(self):
        model = nn.Sequential(nn.Linear(6, 5), nn.Threshold(math.inf, 0.0), nn.Linear(5, 4)).double()
        x = torch.randn(20, 6, dtype=torch.float64)
        lsuv_(model, linears(model), x)
        w = model[2].weight.detach()
        assert_close(w @ w.T, torch.eye(4, dtype=torch.float64))
        assert_close(variances(model, [model[0]], x), torch.ones(1, dtype=torch.float64))

    def test_parameters_and_hooks_stay(self):
        model, x, calls = tower(6, 9, 4), torch.randn(20, 6).double(), []
        model[0].register_forward_hook(lambda m, i, o: calls.append(1))
        model[0].weight.grad = torch.ones_like(model[0].weight)
        before = [id(p) for p in model.parameters()]
        lsuv_(model, linears(model), x)
        assert_equal([id(p) for p in model.parameters()], before)
        assert_equal([(p.is_leaf, p.requires_grad) for p in model.parameters()], [(True, True)] * 4)
        assert_close(model[0].weight.grad, torch.ones_like(model[0].weight))
        assert_equal([len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()], [0, 1, 0, 0])
        calls.clear()
        model(x)
        assert_equal(len(calls), 1)

    def test_a_generator_decides_alone(self):
        before, found = torch.get_rng_state(), []
        x = torch.ones(8, 6).cumsum(0).double().sin()
        models = [tower(6, 9, 4) for _ in range(3)]
        before = torch.get_rng_state()
        for model, seed in zip(models, (5, 5, 6), strict=True):
            lsuv_(model, linears(model), x, torch.Generator().manual_seed(seed))
            found.append(model[0].weight.detach())
        assert_close(found[0], found[1])
        assert_equal(bool((found[0] != found[2]).any()), True)
        assert_equal(bool((torch.get_rng_state() == before).all()), True)


class TestTransfer:
    def model(self, classes: int = 3) -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, classes))

    def test_what_fits_is_copied(self):
        old, new = self.model(7), self.model(3)
        with torch.no_grad():
            for buffer in old.buffers():
                buffer.add_(3)
        before = {name: t.clone() for name, t in new.state_dict().items()}
        kept = transfer_(new, old.state_dict())
        assert_equal(kept, ["2.weight", "2.bias"])
        expected = {name: before[name] if name in kept else t for name, t in old.state_dict().items()}
        assert_close(new.state_dict(), expected, rtol=0, atol=0)

    def test_nothing_is_left_where_all_fits(self):
        old, new = self.model(), self.model()
        assert_equal(transfer_(new, old.state_dict()), [])
        assert_close(new.state_dict(), old.state_dict(), rtol=0, atol=0)

    def test_other_names_are_ignored(self):
        new = self.model()
        before = {name: t.clone() for name, t in new.state_dict().items()}
        state = {"weight": torch.ones(5, 4), "0.0.weight": torch.ones(5, 4), "module.0.bias": torch.ones(5)}
        assert_equal(transfer_(new, state), list(before))
        assert_close(new.state_dict(), before, rtol=0, atol=0)

    @pytest.mark.parametrize("shape", [(), (1,), (4,), (5, 1), (1, 4), (1, 5, 4), (4, 5), (20,), (6, 4)])
    def test_a_shape_that_only_broadcasts_doesnt_fit(self, shape):
        new = self.model()
        before = new[0].weight.detach().clone()
        kept = transfer_(new, {"0.weight": torch.ones(shape), "0.bias": torch.full((5,), 9.0)})
        assert_equal(kept[0], "0.weight")
        assert_close(new[0].weight.detach(), before, rtol=0, atol=0)
        assert_close(new[0].bias.detach(), torch.full((5,), 9.0))

    def test_numbers_are_copied_and_keep_the_models_dtype(self):
        new = self.model()
        parameters = [id(p) for p in new.parameters()]
        state = {"0.weight": torch.randn(5, 4, dtype=torch.float64), "0.bias": torch.randn(5)}
        before = {name: t.clone() for name, t in state.items()}
        transfer_(new, state)
        assert_close(new[0].weight.detach(), before["0.weight"].float())
        state["0.bias"].zero_()
        assert_close(new[0].bias.detach(), before["0.bias"])
        with torch.no_grad():
            new[0].weight.zero_()
        assert_close(state["0.weight"], before["0.weight"])
        assert_equal([id(p) for p in new.parameters()], parameters)

    def test_frozen_stays_frozen(self):
        old, new = self.model(), self.model()
        new[0].requires_grad_(False)
        transfer_(new, {name: nn.Parameter(t) for name, t in old.state_dict().items() if t.is_floating_point()})
        assert_equal([(p.requires_grad, p.is_leaf) for p in new.parameters()][:3], [(False, True)] * 2 + [(True, True)])


class TestTie:
    @pytest.mark.parametrize("d", [16, 100])
    def test_one_weight_with_two_owners(self, d):
        embedding, head = nn.Embedding(900, d), nn.Linear(d, 900)
        weight, theirs = embedding.weight, head.weight
        tie_(embedding, head)
        assert_equal(embedding.weight is theirs, False)
        assert_equal((head.weight is weight, embedding.weight is weight), (True, True))
        assert_equal((weight.is_leaf, weight.requires_grad), (True, True))
        assert_drawn(weight, d**-0.5, "normal")
        assert_close(head.bias.detach(), torch.zeros(900))

    def test_gradients_come_from_both(self):
        embedding, head = nn.Embedding(7, 4), nn.Linear(4, 7)
        tie_(embedding, head)
        ids, upstream = torch.tensor([2, 5, 2]), torch.randn(3, 7)
        h = embedding(ids)
        head(h).backward(upstream)
        w = embedding.weight.detach()
        expected = upstream.T @ w[ids]
        expected.index_add_(0, ids, upstream @ w)
        assert_close(embedding.weight.grad, expected)

    def test_it_counts_once(self):
        model = nn.ModuleDict({"embedding": nn.Embedding(7, 4), "head": nn.Linear(4, 7, bias=False)})
        tie_(model["embedding"], model["head"])
        assert_equal([tuple(p.shape) for p in model.parameters()], [(7, 4)])

    @pytest.mark.parametrize("row", [0, 3, 6])
    def test_the_padding_stays_0(self, row):
        embedding = nn.Embedding(7, 4, padding_idx=row)
        tie_(embedding, nn.Linear(4, 7))
        assert_equal(int((embedding.weight == 0).sum()), 4)
        assert_equal([bool((r == 0).all()) for r in embedding.weight.detach()], [i == row for i in range(7)])

    @pytest.mark.parametrize(("d", "v"), [(4, 8), (5, 7), (7, 4)])
    def test_refuses_other_shapes(self, d, v):
        embedding, head = nn.Embedding(7, 4), nn.Linear(d, v)
        before = embedding.weight.detach().clone(), head.weight.detach().clone(), head.bias.detach().clone()
        with raises(ValueError, (7, 4), (v, d)):
            tie_(embedding, head)
        after = embedding.weight.detach(), head.weight.detach(), head.bias.detach()
        assert_close(after, before, rtol=0, atol=0)

    def test_a_generator_decides_alone(self):
        found = []
        embedding, head = nn.Embedding(7, 4), nn.Linear(4, 7)
        before = torch.get_rng_state()
        for seed in (5, 5, 6):
            tie_(embedding, head, torch.Generator().manual_seed(seed))
            found.append(embedding.weight.detach().clone())
        assert_close(found[0], found[1])
        assert_equal(bool((found[0] != found[2]).any()), True)
        assert_equal(bool((torch.get_rng_state() == before).all()), True)


class TestOnTheGpu:
    def test_fans(self, gpu):
        assert_equal(tuple(fans(gpu(torch.zeros(3, 2, 5)))), (10, 15))

    @pytest.mark.parametrize("draw", [xavier_, he_, orthogonal_], ids=lambda f: f.__name__)
    def test_draws(self, gpu, draw):
        one, same = gpu(torch.zeros(6, 5)), gpu(torch.zeros(6, 5))
        for weight in (one, same):
            draw(weight, generator=gpu.generator(3))
        assert_equal(one.device.type, gpu.device.type)
        assert_close(one.cpu(), same.cpu())
        assert_equal(bool((one.cpu() != 0).all()), True)

    def test_lsuv(self, gpu):
        model, x = gpu(tower(6, 9, 4)), gpu(torch.randn(40, 6).double())
        lsuv_(model, linears(model), x, gpu.generator(4))
        assert_equal({p.device.type for p in model.parameters()}, {gpu.device.type})
        found = [o.cpu().var(correction=0) for o in outputs(model, linears(model), x)]
        assert_close(torch.stack(found), torch.ones(2, dtype=torch.float64))

    def test_transfer(self, gpu):
        model, state = gpu(nn.Linear(3, 2)), {"weight": torch.randn(2, 3), "bias": torch.randn(3)}
        assert_equal(transfer_(model, state), ["bias"])
        assert_equal(model.weight.device.type, gpu.device.type)
        assert_close(model.weight.detach().cpu(), state["weight"])

    def test_tie(self, gpu):
        embedding, head = gpu(nn.Embedding(7, 4, padding_idx=1)), gpu(nn.Linear(4, 7))
        tie_(embedding, head, gpu.generator(3))
        assert_equal((head.weight is embedding.weight, head.weight.device.type), (True, gpu.device.type))
