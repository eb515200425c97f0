"""Judges k15_training_diagnostics against numpy, scipy, closed forms, and faults planted in networks."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_07_training.k15_training_diagnostics import (
    ActivationRecorder,
    diagnose,
    gradient_flow,
    has_converged,
    loss_slice,
    memorizes,
    random_direction,
    spectrum,
    trend,
)

pytestmark = [from_scratch("scipy"), pure()]


class Tied(nn.Module):
    """A parameter of the model itself, shared weights, an unused layer, and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.embedding = nn.Embedding(6, 4)
        self.block = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        self.head = nn.Linear(4, 6)
        self.head.weight = self.embedding.weight
        self.only = nn.Linear(4, 6, bias=False)
        self.only.weight = self.embedding.weight
        self.unused = nn.Linear(2, 2)
        self.block[2].weight.requires_grad_(False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.scale * self.block(self.embedding(ids)))


class TestGradientFlow:
    def test_the_example_worked_by_hand(self):
        layer = nn.Linear(2, 1)
        layer.weight.grad, layer.bias.grad = torch.tensor([[3.0, 4.0]]), torch.tensor([0.0])
        assert_close(gradient_flow(layer), {"": math.sqrt(25 / 3)}, rtol=1e-6)  # float32

    def test_names_order_and_what_counts(self):
        model = Tied()
        F.cross_entropy(model(torch.tensor([1, 2, 5])), torch.tensor([0, 3, 4])).backward()

        def rms(*parameters):
            return torch.cat([p.grad.flatten() for p in parameters]).square().mean().sqrt().item()

        expected = {
            "": rms(model.scale),
            "embedding": rms(model.embedding.weight),
            "block.0": rms(model.block[0].weight, model.block[0].bias),
            "block.2": rms(model.block[2].bias),
            "head": rms(model.head.bias),
        }
        found = gradient_flow(model)
        assert_equal(list(found), list(expected))
        assert_close(found, expected, rtol=1e-5)  # float32
        assert_equal([isinstance(value, float) for value in found.values()], [True] * len(found.values()))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_dtypes(self, dtype):
        layer = nn.Linear(300, 20, bias=False, dtype=dtype)
        layer.weight.grad = torch.full((20, 300), 1024.0, dtype=dtype)
        layer.weight.grad[:, ::2] = 0
        assert_close(gradient_flow(layer)[""], 1024 / math.sqrt(2), rtol=1e-5)  # float32
        layer.weight.grad = torch.full((20, 300), 3e-6, dtype=dtype)
        assert_close(gradient_flow(layer)[""], layer.weight.grad[0, 0].item(), rtol=1e-5, atol=0)  # float32

    def test_no_gradients(self):
        assert_equal(gradient_flow(nn.Sequential(nn.Linear(2, 2), nn.ReLU())), {})

    def test_what_isnt_finite_is_seen(self):
        layer = nn.Linear(2, 1, bias=False)
        for value in (math.inf, math.nan):
            layer.weight.grad = torch.tensor([[1.0, value]])
            assert_close(gradient_flow(layer)[""], value)


class Given(nn.Module):
    """Answers with what it was given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def by_hand(outputs: list[torch.Tensor], axis: int = -1) -> dict[str, float]:
    """mean, std, zeros and dead of outputs of different sizes."""
    flat = torch.cat([y.detach().double().flatten() for y in outputs])
    units = torch.cat([y.detach().movedim(axis, -1).reshape(-1, y.shape[axis]) for y in outputs])
    return {
        "mean": flat.mean().item(),
        "std": flat.std(correction=0).item(),
        "zeros": (flat == 0).double().mean().item(),
        "dead": (units == 0).all(0).double().mean().item(),
    }


class TestActivationRecorder:
    def test_the_example_worked_by_hand(self):
        model = nn.ReLU()
        with ActivationRecorder(model, (nn.ReLU,)) as recorder:
            model(torch.tensor([[-1.0, 1.0, -3.0], [0.0, -2.0, 2.0]]))
        found = recorder.statistics()[""]
        expected = {"dead": 1 / 3, "mean": 0.5, "saturated": 0.0, "std": math.sqrt(7 / 12), "zeros": 4 / 6}
        assert_close(dict(sorted(found.items())), expected)
        assert_equal([isinstance(value, float) for value in found.values()], [True] * len(found.values()))

    @pytest.mark.parametrize("shape", [(3,), (4, 3)])
    def test_passes_of_different_sizes(self, shape):
        model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU())
        with torch.no_grad():
            model[0].bias[:2] = -100.0
            model[2].bias[1] = 50.0
        outputs = {"1": [], "3": []}
        with ActivationRecorder(model, (nn.ReLU,)) as recorder:
            for i, size in enumerate((2, 7, 1)):
                x = torch.randn(size, *shape[:-1], 5) * (i + 1)
                hidden = model[:2](x)
                outputs["1"].append(hidden)
                outputs["3"].append(model[2:](hidden))
        found = recorder.statistics()
        assert_equal(sorted(found), ["1", "3"])
        for name in found:
            expected = by_hand(outputs[name])
            assert_close({key: found[name][key] for key in expected}, expected, rtol=1e-5)  # float32

    def test_the_units_of_an_image_are_its_channels(self):
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())
        with torch.no_grad():
            model[0].bias[1] = -100.0
        with ActivationRecorder(model, (nn.ReLU,)) as recorder:
            outputs = [model(torch.randn(n, 2, 6, 7)) for n in (4, 2)]
        expected = by_hand(outputs, axis=1)
        found = recorder.statistics()["1"]
        assert_close({key: found[key] for key in expected}, expected, rtol=1e-5)  # float32
        assert_close(found["dead"], 1 / 3)

    def test_a_unit_that_fires_once_isnt_dead(self):
        model = nn.ReLU()
        for last in (0.0, 1.0):
            with ActivationRecorder(model, (nn.ReLU,)) as recorder:
                model(torch.tensor([[1.0, last, 0.0]]))
                model(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]))
            assert_close(recorder.statistics()[""]["dead"], 0.0 if last else 1 / 3)

    @pytest.mark.parametrize("shape", [(2, 3, 2), (2, 4, 3, 2), (2, 2, 3, 4)])
    def test_a_unit_that_fires_at_one_place_isnt_dead(self, shape):
        y = torch.zeros(shape)
        y[(1, 1, 2, 1) if y.dim() == 4 else (1, 2, 0)] = 1.0
        model = Given()
        with ActivationRecorder(model, (Given,)) as recorder:
            model(y)
        units = shape[1] if y.dim() == 4 else shape[-1]
        assert_close(recorder.statistics()[""]["dead"], 1 - 1 / units)

    def test_a_negative_output_is_alive(self):
        model = nn.Sequential(nn.LeakyReLU(0.1))
        with ActivationRecorder(model, (nn.LeakyReLU,)) as recorder:
            model(torch.tensor([[-1.0, 0.0], [-2.0, 0.0]]))
        assert_close([recorder.statistics()["0"][key] for key in ("dead", "zeros")], [0.5, 0.5])

    @pytest.mark.parametrize(
        ("module", "outputs", "expected"),
        [
            (nn.Tanh(), [-0.9901, 0.9901, 0.9899, -0.98, 0.0], 0.4),
            (nn.Sigmoid(), [0.9951, 0.0049, 0.001, 0.9949, 0.0051], 0.6),
            (nn.Sigmoid(), [0.5, 0.25, 0.01, 0.9, 0.75], 0.0),
            (nn.Hardtanh(), [1.0, 1.0, -1.0, 0.0], 0.0),
            (nn.ReLU(), [5.0, 1.0, 0.5, 0.0], 0.0),
        ],
        ids=["tanh", "sigmoid", "inner", "hardtanh", "relu"],
    )
    def test_saturated(self, module, outputs, expected):
        y = torch.tensor(outputs, dtype=torch.float64)[:, None]
        x = {nn.Tanh: torch.atanh, nn.Sigmoid: torch.logit}.get(type(module), lambda y: y)(y)
        with ActivationRecorder(module, (type(module),)) as recorder:
            module(x)
            module(x[:0])
        assert_close(recorder.statistics()[""]["saturated"], expected)

    @pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 1.1, 3.3])
    def test_entries_that_are_all_equal(self, value):
        module = nn.Identity()
        with ActivationRecorder(module, (nn.Identity,)) as recorder:
            for n in (3, 7, 11):
                module(torch.full((n, 5), value, dtype=torch.float64))
        found = recorder.statistics()[""]
        # Rounding leaves something of the variance, or takes it below 0.
        assert_close((found["mean"], found["std"]), (value, 0.0), atol=1e-6, rtol=1e-6)

    def test_only_the_block_counts(self):
        model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        recorder = ActivationRecorder(model, (nn.ReLU,))
        model(torch.randn(4, 3))
        assert_equal(recorder.statistics(), {})
        with recorder as inside:
            assert_equal(inside is recorder, True)
            model(torch.randn(4, 3))
            before = recorder.statistics()
        model(10 * torch.randn(4, 3))
        assert_equal(recorder.statistics(), before)

    def test_an_exception_goes_on_and_ends_it(self):
        model = nn.Sequential(nn.ReLU())
        recorder = ActivationRecorder(model, (nn.ReLU,))
        with raises(KeyError, "mine"), recorder:
            model(torch.ones(1, 2))
            raise KeyError("mine")
        before = recorder.statistics()
        model(10 * torch.ones(1, 2))
        assert_equal(recorder.statistics(), before)

    def test_the_kinds_and_those_that_run(self):
        model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Sequential(nn.Tanh(), nn.ReLU()), "c": nn.ReLU6()})
        with ActivationRecorder(model, (nn.Tanh, nn.ReLU, nn.Linear)) as recorder:
            model["b"](model["a"](torch.randn(3, 2)))
        assert_equal(sorted(recorder.statistics()), ["a", "b.0", "b.1"])
        with ActivationRecorder(model, (nn.Tanh, nn.ReLU6)) as recorder:
            model["b"](torch.randn(3, 2))
        assert_equal(sorted(recorder.statistics()), ["b.0"])

    def test_a_module_that_runs_twice(self):
        relu = nn.ReLU()
        model = nn.Sequential(relu, nn.Linear(2, 2), relu)
        with ActivationRecorder(model, (nn.ReLU,)) as recorder:
            first = relu(torch.randn(3, 2))
            second = relu(model[1](first))
        found = recorder.statistics()
        assert_equal(list(found), ["0"])
        assert_close(found["0"]["mean"], torch.cat([first, second]).mean().item(), rtol=1e-5)  # float32

    def test_the_model_answers_as_before(self):
        model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)), torch.randn(5, 3)
        expected = model(x)
        wanted = torch.autograd.grad(expected.square().sum(), list(model.parameters()))
        with ActivationRecorder(model, (nn.Linear, nn.ReLU)) as recorder:
            y = model(x)
        found = torch.autograd.grad(y.square().sum(), list(model.parameters()))
        assert_close((y, found), (expected, wanted), rtol=0, atol=0)
        hidden = model[0](x)
        assert_close(recorder.statistics()["0"]["mean"], hidden.mean().item(), rtol=1e-5)  # before ReLU's change

    def test_two_recorders(self):
        model = nn.ReLU()
        with ActivationRecorder(model, (nn.ReLU,)) as one:
            model(torch.ones(1, 2))
            with ActivationRecorder(model, (nn.ReLU,)) as other:
                model(3 * torch.ones(1, 2))
        assert_close([r.statistics()[""]["mean"] for r in (one, other)], [2.0, 3.0])

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_short_dtypes(self, dtype):
        model = Given()
        y = torch.full((100, 200), 256.0, dtype=dtype)
        y[::2] = 260.0
        with ActivationRecorder(model, (Given,)) as recorder:
            model(y)
        # float32 may be used for the sums.
        assert_close(recorder.statistics()[""]["mean"], 258.0, rtol=1e-4)
        assert_close(recorder.statistics()[""]["std"], 2.0, atol=0.2, rtol=0)


def stats(**values: float) -> dict[str, float]:
    return {"mean": 0.1, "std": 1.0, "zeros": 0.0, "dead": 0.0, "saturated": 0.0, **values}


class TestDiagnose:
    def test_the_share(self):
        activations = {
            "a": stats(dead=0.5),
            "b": stats(dead=0.49, saturated=0.49),
            "c": stats(saturated=0.5),
            "d": stats(dead=0.9, saturated=0.6),
            "e": stats(zeros=1.0),
        }
        assert_equal(diagnose(activations, {}), {"a": ["dead"], "c": ["saturated"], "d": ["dead", "saturated"]})
        assert_equal(diagnose(activations, {}, share=0.8), {"d": ["dead"]})
        assert_equal(diagnose(activations, {}, share=0.45)["b"], ["dead", "saturated"])

    def test_gradients_against_their_median(self):
        gradients = {"a": 1.0, "b": 2.0, "c": 0.0019, "d": 2001.0, "e": 2.0, "f": 0.0021, "g": 1999.0}
        assert_equal(diagnose({}, gradients), {"c": ["vanishing"], "d": ["exploding"]})
        assert_equal(diagnose({}, gradients, low=1e-4, high=1e4), {})
        wide = {name: ["vanishing"] for name in "cf"} | {name: ["exploding"] for name in "dg"}
        assert_equal(diagnose({}, gradients, low=0.1, high=10.0), wide)

    def test_the_bounds_themselves(self):
        gradients = {"a": 4.0, "b": 4.0, "c": 1.0, "d": 16.0, "e": 4.0}
        assert_equal(diagnose({}, gradients, low=0.25, high=4.0), {"c": ["vanishing"]})

    def test_of_an_even_number_the_mean_of_the_middle_two(self):
        gradients = {"a": 1.0, "b": 2.0, "c": 6.0, "d": 10.0}  # median 4
        assert_equal(diagnose({}, gradients, low=0.3, high=2.0), {"a": ["vanishing"], "d": ["exploding"]})

    def test_zeros_and_infinities_dont_shift_the_median(self):
        gradients = {"a": 0.0, "b": 0.0, "c": 0.0, "d": 1.0, "e": 1.5, "f": math.inf, "g": math.nan}
        expected = {**{name: ["vanishing"] for name in "abc"}, "f": ["exploding"], "g": ["exploding"]}
        assert_equal(diagnose({}, gradients), expected)

    def test_many_infinities(self):
        expected = {name: ["exploding"] for name in "bcd"}
        assert_equal(diagnose({}, {"a": 1.0, "b": math.inf, "c": math.inf, "d": math.inf}), expected)

    def test_none_is_sound(self):
        assert_equal(diagnose({}, {"a": 0.0, "b": 0.0}), {"a": ["vanishing"], "b": ["vanishing"]})
        assert_equal(diagnose({}, {"a": 0.0, "b": math.inf}), {"a": ["vanishing"], "b": ["exploding"]})
        assert_equal(diagnose({}, {}), {})

    def test_a_name_in_both(self):
        activations = {"a": stats(dead=1.0), "b": stats(saturated=1.0)}
        gradients = {"b": math.nan, "a": 0.0, "c": 1.0}
        assert_equal(diagnose(activations, gradients), {"a": ["dead", "vanishing"], "b": ["exploding", "saturated"]})

    def look(self, model: nn.Module, x: torch.Tensor) -> dict[str, list[str]]:
        with ActivationRecorder(model, (nn.ReLU, nn.Tanh, nn.Sigmoid)) as recorder:
            model(x).square().mean().backward()
        return diagnose(recorder.statistics(), gradient_flow(model))

    def net(self, act: type) -> nn.Sequential:
        layers = [part for _ in range(4) for part in (nn.Linear(30, 30), act())]
        for layer in layers[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if act is nn.ReLU else "linear")
        return nn.Sequential(*layers, nn.Linear(30, 1))

    @pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
    def test_a_healthy_network(self, act):
        assert_equal(self.look(self.net(act), torch.randn(100, 30)), {})

    def test_planted_dead_units(self):
        model = self.net(nn.ReLU)
        with torch.no_grad():
            model[4].bias[:20] = -100.0
        assert_equal(self.look(model, torch.randn(100, 30)), {"5": ["dead"]})

    def test_a_planted_saturated_layer(self):
        model = self.net(nn.Tanh)
        with torch.no_grad():
            model[6].weight.mul_(100.0)
        assert_equal(self.look(model, torch.randn(100, 30)).get("7"), ["saturated"])

    def test_a_planted_exploding_layer(self):
        model = self.net(nn.ReLU)
        with torch.no_grad():  # what enters the last layer is large, and so is its gradient
            for layer, factor in ((model[6], 1e5), (model[8], 1e-5)):
                layer.weight.mul_(factor)
                layer.bias.zero_()
        assert_equal(self.look(model, torch.randn(100, 30)).get("8"), ["exploding"])

    def test_planted_vanishing_gradients(self):
        model = self.net(nn.ReLU)
        with torch.no_grad():
            model[2].weight.mul_(1e-6)
            model[2].bias.fill_(0.5)
        found = self.look(model, torch.randn(100, 30))
        # What comes after it gets the same input for all samples: units may well be silent for all of them.
        assert_equal([name for name, words in found.items() if "vanishing" in words], ["0"])


class TestSpectrum:
    def test_the_example_worked_by_hand(self):
        found = spectrum(torch.diag(torch.tensor([3.0, 4.0])))
        expected = {"condition": 4 / 3, "effective_rank": 1.98, "norm": 4.0, "stable_rank": 1.5625}
        assert_close(dict(sorted(found.items())), expected, atol=5e-4, rtol=0)  # given to three digits
        assert_equal([isinstance(value, float) for value in found.values()], [True] * len(found.values()))

    @pytest.mark.parametrize("shape", [(5, 7), (7, 5), (4, 3, 2, 2), (1, 6), (6, 1)])
    def test_matches_numpy(self, shape):
        weight = torch.randn(shape, dtype=torch.float64)
        s = np.linalg.svd(weight.reshape(shape[0], -1).numpy(), compute_uv=False)
        p = s / s.sum()
        found = spectrum(weight)
        expected = (s[0], (s**2).sum() / s[0] ** 2, math.exp(-(p * np.log(p)).sum()), s[0] / s[-1])
        assert_close(
            [found[key] for key in ("norm", "stable_rank", "effective_rank", "condition")], list(map(float, expected))
        )

    @pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
    @pytest.mark.parametrize(("small", "counts"), [(1.5e-12, True), (1e-13, False), (0.0, False)])
    def test_what_counts_as_0(self, small, counts, scale):
        q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
        found = spectrum(scale * torch.diag(torch.tensor([2.0, 1.0, 2 * small], dtype=torch.float64)))
        assert_close(found["condition"], 1 / small if counts else math.inf, rtol=1e-6)
        rank_one = spectrum(scale * torch.outer(q[0], q[1]))
        assert_close((rank_one["stable_rank"], rank_one["effective_rank"]), (1.0, 1.0))
        assert_close(rank_one["condition"], math.inf)

    def test_orthogonal_rows_have_full_rank(self):
        q, _ = torch.linalg.qr(torch.randn(6, 4, dtype=torch.float64))
        found = spectrum(3 * q.T)
        assert_close(
            [found[key] for key in ("norm", "stable_rank", "effective_rank", "condition")], [3.0, 4.0, 4.0, 1.0]
        )

    def test_zeros(self):
        expected = {"condition": math.inf, "effective_rank": 0.0, "norm": 0.0, "stable_rank": 0.0}
        assert_close(dict(sorted(spectrum(torch.zeros(3, 2)).items())), expected)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_computed_in_float64(self, dtype):
        weight = torch.randn(6, 5).to(dtype).requires_grad_()
        assert_close(spectrum(weight), spectrum(weight.detach().double()))


class TestRandomDirection:
    def test_a_seed_gives_the_same_slice_everywhere(self):
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
        found = random_direction(model, torch.Generator().manual_seed(3))
        generator = torch.Generator().manual_seed(3)
        for name, shape in [("0.weight", (4, 3)), ("1.weight", (2, 4))]:
            d = torch.randn(shape, dtype=torch.float64, generator=generator)
            w = model.get_parameter(name).detach()
            assert_close(found[name], d * (w.norm(dim=1) / d.norm(dim=1))[:, None])

    def model(self) -> nn.Module:
        model = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(20, 7)).double()
        with torch.no_grad():
            model[0].weight[3] = 0
            model[3].weight.mul_(torch.arange(1.0, 8)[:, None])
        return model

    def test_each_row_has_the_length_of_the_weights(self):
        model = self.model()
        direction = random_direction(model)
        assert_equal(sorted(direction), sorted(name for name, _ in model.named_parameters()))
        for name, w in model.named_parameters():
            d = direction[name]
            assert_equal((tuple(d.shape), d.dtype == w.dtype, d.requires_grad), (tuple(w.shape), True, False))
            if w.dim() < 2:
                assert_close(d, torch.zeros_like(w.detach()))
            else:
                assert_close(d.flatten(1).norm(dim=1), w.detach().flatten(1).norm(dim=1))

    def test_a_filter_is_scaled_as_a_whole(self):
        layer = nn.Conv2d(2, 3, 4, bias=False).double()
        with torch.no_grad():
            layer.weight[:, 0] = 0
        d = random_direction(layer)["weight"]
        assert_close(d.flatten(1).norm(dim=1), layer.weight.detach().flatten(1).norm(dim=1))
        assert_equal(bool((d != 0).all()), True)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        layer = nn.Linear(50, 4, dtype=dtype)
        found = random_direction(layer)
        assert_equal([d.dtype == dtype for d in found.values()], [True, True])
        # bfloat16 has three digits.
        assert_close(found["weight"].double().norm(dim=1), layer.weight.detach().double().norm(dim=1), rtol=0.02)

    def test_it_points_anywhere(self):
        layer = nn.Linear(3, 2000, bias=False).double()
        d = F.normalize(random_direction(layer)["weight"], dim=1)
        # Of 2000 points on the unit sphere: each coordinate has mean 0 and mean square 1/3; six deviations.
        assert_close(d.mean(0), torch.zeros(3, dtype=torch.float64), atol=6 * math.sqrt(1 / 3 / 2000), rtol=0)
        assert_close(d.square().mean(0), torch.full((3,), 1 / 3, dtype=torch.float64), atol=0.045, rtol=0)
        assert_close((d[:, 0] * d[:, 1]).mean().item(), 0.0, atol=0.04, rtol=0)
        # Uniform on the sphere, each coordinate is uniform, with a mean fourth power of 1/5.
        assert_close(d.pow(4).mean(0), torch.full((3,), 0.2, dtype=torch.float64), atol=0.04, rtol=0)

    def test_a_new_one_each_time(self):
        model = self.model()
        one, other = random_direction(model), random_direction(model)
        assert_equal(bool((one["3.weight"] == other["3.weight"]).any()), False)

    def test_a_generator_decides_alone(self):
        model, before = self.model(), torch.get_rng_state()
        one, same, other = (random_direction(model, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
        assert_close(one, same, rtol=0, atol=0)
        assert_equal(bool((one["0.weight"][0] != other["0.weight"][0]).any()), True)
        assert_equal(bool((torch.get_rng_state() == before).all()), True)

    def test_torchs_own_generator_decides_without_one(self):
        model = self.model()
        torch.manual_seed(5)
        one = random_direction(model)
        torch.manual_seed(5)
        assert_close(random_direction(model), one, rtol=0, atol=0)


def bits(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.detach().clone() for name, t in (*model.named_parameters(), *model.named_buffers())}


class TestLossSlice:
    STEPS = (-1.0, 0.0, 0.3, 2.0, 0.1, 0.0)

    def test_a_quadratic(self):
        model = nn.Linear(3, 1, bias=False).double()
        d = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
        w = model.weight.detach().clone()
        found = loss_slice(model, lambda: model.weight.square().sum(), {"weight": d}, self.STEPS)
        assert_close(found, [(w + a * d).square().sum().item() for a in self.STEPS])
        assert_equal([isinstance(value, float) for value in found], [True] * len(found))

    @pytest.mark.parametrize("training", [True, False])
    def test_a_network(self, training):
        model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)).double().train(training)
        x, y = torch.randn(8, 3, dtype=torch.float64), torch.randint(2, (8,))
        direction = random_direction(model)
        expected = []
        for a in self.STEPS:
            other = copy.deepcopy(model)
            with torch.no_grad():
                for name, p in other.named_parameters():
                    p += a * direction[name]
            expected.append(F.cross_entropy(other(x), y).item())
        assert_close(loss_slice(model, lambda: F.cross_entropy(model(x), y), direction, self.STEPS), expected)

    def test_everything_comes_back_to_the_bit(self):
        model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
        x = torch.randn(8, 3)
        model(x).sum().backward()
        before, objects = bits(model), list(model.parameters())
        gradients = [p.grad.clone() for p in model.parameters()]
        direction = {name: 1e3 * torch.randn_like(p) for name, p in model.named_parameters()}
        loss_slice(model, lambda: model(x).square().mean(), direction, self.STEPS)
        assert_close(bits(model), before, rtol=0, atol=0)
        assert_close([p.grad for p in model.parameters()], gradients, rtol=0, atol=0)
        assert_equal([a is b and a.requires_grad for a, b in zip(objects, model.parameters(), strict=True)], [True] * 6)

    def test_the_weights_come_back_after_the_last_step(self):
        model = nn.Linear(2, 1, bias=False)
        before = model.weight.detach().clone()
        loss_slice(model, lambda: model.weight.sum(), {"weight": torch.ones(1, 2)}, [0.5, 2.0])
        assert_close(model.weight.detach(), before, rtol=0, atol=0)

    def test_every_loss_finds_the_buffers_of_before(self):
        model = nn.BatchNorm1d(2).double()
        x, seen = 5 + torch.randn(8, 2, dtype=torch.float64), []

        def loss():
            seen.append((model.running_mean.clone(), model.num_batches_tracked.item()))
            return model(x).sum()

        zero = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        loss_slice(model, loss, zero, [0.0, 1.0, 2.0])
        assert_close([mean for mean, _ in seen], [torch.zeros(2, dtype=torch.float64)] * 3)
        assert_equal([count for _, count in seen], [0, 0, 0])

    def test_an_error_goes_on_and_nothing_is_left_behind(self):
        model, calls = nn.BatchNorm1d(2), []
        before = bits(model)

        def loss():
            calls.append(model(torch.randn(4, 2)))
            if len(calls) == 2:
                raise KeyError("mine")
            return torch.tensor(1.0)

        with raises(KeyError, "mine"):
            loss_slice(model, loss, {name: torch.ones(2) for name, _ in model.named_parameters()}, [1.0, 2.0, 3.0])
        assert_close(bits(model), before, rtol=0, atol=0)
        assert_equal((len(calls), calls[0].requires_grad), (2, False))

    def test_its_mode_stays(self):
        model, modes = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2)), []
        model[0].eval()

        def loss():
            modes.append([m.training for m in model.modules()])
            return torch.tensor(0.0)

        loss_slice(model, loss, random_direction(model), [0.5])
        assert_equal((modes, [m.training for m in model.modules()]), ([[True, False, True]], [True, False, True]))

    def test_no_steps(self):
        model = nn.Linear(2, 2)
        assert_equal(loss_slice(model, lambda: torch.tensor(0.0), random_direction(model), []), [])


class TestTrend:
    def test_the_example_worked_by_hand(self):
        assert_close(trend([3.0, 1.0, 2.0]), (-0.5, math.sqrt(0.75)))

    @pytest.mark.parametrize("n", [3, 4, 10, 101])
    def test_matches_scipy(self, rng, n):
        from scipy.stats import linregress

        losses = (5 + rng.standard_normal(n) - 0.3 * np.arange(n)).tolist()
        expected = linregress(np.arange(n), losses)
        found = trend(losses)
        assert_close(found, (float(expected.slope), float(expected.stderr)))
        assert_equal([isinstance(value, float) for value in found], [True] * len(found))

    def test_a_straight_line(self):
        assert_close(trend([10.0, 9.5, 9.0, 8.5]), (-0.5, 0.0))
        assert_close(trend((2.0, 2.0, 2.0)), (0.0, 0.0))

    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_too_few(self, n):
        with raises(ValueError, n):
            trend([1.5] * n)


class TestHasConverged:
    @pytest.mark.parametrize(
        ("losses", "expected"),
        [
            ([3.0, 1.0, 2.0], True),
            ([10.0, 9.5, 9.0, 8.5], False),
            ([2.0, 2.0, 2.0], True),
            ([1.0, 2.0, 3.0], True),
        ],
    )
    def test_by_hand(self, losses, expected):
        found = has_converged(losses, len(losses))
        assert_equal(found, expected)

    @pytest.mark.parametrize(("z", "expected"), [(0.5, False), (0.57, False), (0.58, True), (3.0, True)])
    def test_z(self, z, expected):
        assert_equal(has_converged([3.0, 1.0, 2.0], 3, z), expected)  # slope / error is -0.577

    def test_2_by_default(self):
        # The slope is -2.9 times its error, and -1.94 times.
        assert_equal(
            [has_converged(losses, 5) for losses in ([5.0, 3.0, 4.5, 2.0, 1.5], [5.0, 2.0, 4.5, 2.0, 1.5])],
            [False, True],
        )

    def test_only_the_last_ones(self):
        falling = [10.0 - i for i in range(10)]
        assert_equal(has_converged([*falling, 1.0, 1.1, 0.9, 1.0, 1.1], 5), True)
        assert_equal(has_converged([1.0, 1.1, 0.9, 1.0, 1.1, *falling], 5), False)
        assert_equal(has_converged([math.nan, 50.0, 2.0, 2.0, 2.0], 3), True)

    def test_too_few(self):
        assert_equal([has_converged([2.0] * n, 5) for n in (0, 2, 4, 5)], [False, False, False, True])

    @pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("place", [0, 2, 4])
    def test_what_isnt_finite(self, wrong, place):
        losses = [2.0, 2.1, 1.9, 2.0, 2.1]
        losses[place] = wrong
        assert_equal(has_converged(losses, 5), False)


class Halted(nn.Module):
    """Stops the gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach()


class TestMemorizes:
    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(12, 8), torch.arange(12) % 3

    def test_a_sound_network_does(self):
        model = nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 3))
        found = memorizes(model, F.cross_entropy, *self.batch(), lr=0.03)
        assert_equal(found, True)

    @pytest.mark.parametrize("fault", ["dead", "halted", "one output", "nan"])
    def test_a_sick_one_doesnt(self, fault):
        middle = Halted() if fault == "halted" else nn.ReLU()
        model = nn.Sequential(nn.Linear(8, 5), middle, nn.Linear(5, 3))
        with torch.no_grad():
            if fault == "dead":
                model[0].bias.fill_(-1e4)
            if fault == "nan":
                model[0].bias[0] = math.nan
        x, y = self.batch()
        if fault == "one output":
            x = x * 0
        assert_equal(memorizes(model, F.cross_entropy, x, y, share=0.02), False)

    @pytest.mark.parametrize(("steps", "lr", "share"), [(3, 0.05, 0.5), (10, 0.3, 0.9), (1, 0.1, 0.7), (6, 0.01, 0.1)])
    def test_equals_adam_written_out(self, steps, lr, share):
        model, y = nn.Linear(1, 1, bias=False).double(), torch.zeros(1, 1, dtype=torch.float64)
        x = torch.ones(1, 1, dtype=torch.float64)
        for start in (0.06, 0.1, 0.2, 0.5, 1.0, 3.0):
            nn.init.constant_(model.weight, start)
            w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
            optimizer = torch.optim.Adam([w], lr=lr)
            for _ in range(steps):
                optimizer.zero_grad()
                w.square().backward()
                optimizer.step()
            expected = w.item() ** 2 <= share * start**2
            assert_equal(memorizes(model, lambda p, q: (p - q).square().mean(), x, y, steps, lr, share), expected)

    def test_a_hundred_steps_by_default(self, monkeypatch):
        taken, step = [], torch.optim.Adam.step

        def counted(self, *args, **kwargs):
            taken.append(self.param_groups[0]["lr"])
            return step(self, *args, **kwargs)

        monkeypatch.setattr(torch.optim.Adam, "step", counted)
        memorizes(nn.Linear(8, 3), F.cross_entropy, *self.batch())
        assert_equal((len(taken), set(taken)), (100, {0.01}))

    def test_exactly_that_share_is_enough(self):
        model = nn.Linear(1, 1, bias=False)
        nn.init.constant_(model.weight, 0.05)
        x, y = torch.ones(1, 1), torch.zeros(1, 1)
        # After a step of 0.1 the weight is below 0, and the loss exactly 0.
        assert_equal(memorizes(model, lambda p, q: (p - q).relu().sum(), x, y, 1, 0.1, 0.0), True)

    def test_its_defaults(self):
        model = nn.Linear(1, 1, bias=False).double()
        x, y = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)

        def share_left(start: float) -> float:
            w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
            optimizer = torch.optim.Adam([w], lr=0.01)
            for _ in range(100):
                optimizer.zero_grad()
                w.square().backward()
                optimizer.step()
            return w.item() ** 2 / start**2

        for start in (0.9, 1.2, 1.3, 1.35, 1.4, 1.5, 2.0):
            nn.init.constant_(model.weight, start)
            found = memorizes(model, lambda p, q: (p - q).square().mean(), x, y)
            assert_equal(found, share_left(start) <= 0.1)

    def test_the_model_isnt_changed(self):
        model = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, 3))
        model[2].eval()
        x, y = self.batch()
        F.cross_entropy(model(x), y).backward()
        before, gradients = bits(model), [p.grad.clone() for p in model.parameters()]
        modes = [m.training for m in model.modules()]
        memorizes(model, F.cross_entropy, x, y, steps=5)
        assert_close(bits(model), before, rtol=0, atol=0)
        assert_close([p.grad for p in model.parameters()], gradients, rtol=0, atol=0)
        assert_equal([m.training for m in model.modules()], modes)

    def test_what_is_frozen_stays_frozen(self):
        model = nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 3))
        model[0].requires_grad_(False)
        model[2].weight.requires_grad_(False)
        assert_equal(memorizes(model, F.cross_entropy, *self.batch(), lr=0.03), False)

    def test_the_copy_trains_in_the_models_modes(self):
        modes = []

        class Spy(nn.Linear):
            def forward(self, x):
                modes.append(self.training)
                return super().forward(x)

        memorizes(nn.Sequential(Spy(8, 3)).eval(), F.cross_entropy, *self.batch(), steps=2)
        memorizes(nn.Sequential(Spy(8, 3)).train(), F.cross_entropy, *self.batch(), steps=2)
        half = len(modes) // 2
        assert_equal((set(modes[:half]), set(modes[half:])), ({False}, {True}))


class TestOnTheGpu:
    def net(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 2), nn.Tanh())

    def test_gradient_flow(self, gpu):
        model = self.net()
        there = gpu(model)
        for p, far in zip(model.parameters(), there.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            far.grad = gpu(p.grad)
        assert_close(gradient_flow(there), gradient_flow(model))

    def test_the_recorder(self, gpu):
        model, batches = self.net(), [torch.randn(5, 4), torch.randn(3, 4)]
        answers = []
        for one, put in ((model, lambda x: x), (gpu(model), gpu)):
            with ActivationRecorder(one, (nn.ReLU, nn.Tanh)) as recorder:
                for x in batches:
                    one(put(x))
            answers.append(recorder.statistics())
        assert_close(answers[1], answers[0])

    def test_spectrum(self, gpu):
        weight = torch.randn(4, 3)
        assert_close(spectrum(gpu(weight)), spectrum(weight))

    def test_random_direction(self, gpu):
        model = self.net()
        there = gpu(model)
        one, same = (random_direction(there, gpu.generator(3)) for _ in range(2))
        assert_equal({d.device.type for d in one.values()}, {gpu.device.type})
        assert_close([d.cpu() for d in one.values()], [d.cpu() for d in same.values()])

    def test_loss_slice(self, gpu):
        model, x = self.net(), torch.randn(5, 4)
        direction = random_direction(model)
        there, far = gpu(model), gpu(x)
        expected = loss_slice(model, lambda: model(x).square().mean(), direction, [0.0, 0.5])
        assert_close(loss_slice(there, lambda: there(far).square().mean(), gpu(direction), [0.0, 0.5]), expected)

    def test_memorizes(self, gpu):
        model = nn.Linear(2, 1)
        x, y = torch.randn(2, 2), torch.zeros(2, 1)
        assert_equal(memorizes(gpu(model), F.mse_loss, gpu(x), gpu(y), 3, 0.01, 10.0), True)
