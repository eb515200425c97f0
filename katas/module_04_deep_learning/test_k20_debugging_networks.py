"""Judges k20_debugging_networks against closed forms, autograd and scikit-learn, and by bugs planted in nets."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_04_deep_learning.k20_debugging_networks import (
    already_normalized,
    confusion_matrix,
    dead_units,
    gradient_check,
    label_shift,
    leakage_probe,
    overfit_batch,
    read_curves,
    saturation,
    untrained_parameters,
)

pytestmark = [from_scratch("torch.autograd.gradcheck", "torch.func", "torch.autograd.functional", "sklearn"), pure()]


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices are quicker on one thread than on several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def net(hidden: nn.Module | None = None, d: int = 5, classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d, 8), hidden or nn.ReLU(), nn.Linear(8, classes)).double()


def a_batch(n: int = 6, d: int = 5, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return randn(n, d), torch.randint(0, classes, (n,))


def state_of(model: nn.Module) -> dict:
    """All that must stay: values, gradients, what is trained, modes, hooks."""
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "gradients": {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        "trained": {name: p.requires_grad for name, p in model.named_parameters()},
        "modes": {name: m.training for name, m in model.named_modules()},
        "hooks": {name: len(m._forward_hooks) for name, m in model.named_modules()},
    }


def assert_stays(model: nn.Module, before: dict) -> None:
    now = state_of(model)
    assert_close(now["values"], before["values"], rtol=0, atol=0)
    for name, gradient in before["gradients"].items():
        if (gradient is None) != (now["gradients"][name] is None):
            fail(
                f"The model's parameter {name} has a gradient after the call, or lost the one that it had.",
                evidence=("gradient", name),
            )
        if gradient is not None:
            assert_close(now["gradients"][name], gradient, rtol=0, atol=0)
    for what in ("trained", "modes", "hooks"):
        assert_equal(now[what], before[what])


class TestOverfitBatch:
    @pytest.mark.parametrize(("steps", "lr"), [(0, 0.1), (1, 0.1), (7, 0.003), (12, 0.05)])
    def test_matches_adam_by_hand(self, steps, lr):
        model, (x, y) = net(nn.Tanh()), a_batch()
        twin = copy.deepcopy(model)
        optimizer, expected = torch.optim.Adam(twin.parameters(), lr=lr), []
        for _ in range(steps + 1):
            loss = F.cross_entropy(twin(x), y)
            expected.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert_close(overfit_batch(model, F.cross_entropy, x, y, steps, lr), expected)

    def test_200_steps_of_001_unless_told_otherwise(self):
        model, (x, y) = net(nn.Tanh()), a_batch()
        found = overfit_batch(model, F.cross_entropy, x, y)
        assert_equal(len(found), 201)
        assert_close(found, overfit_batch(model, F.cross_entropy, x, y, 200, 0.01))

    def test_gives_plain_numbers(self):
        found = overfit_batch(net(), F.cross_entropy, *a_batch(), steps=2)
        assert_equal([type(loss).__name__ for loss in found], ["float"] * 3)

    @pytest.mark.parametrize("training", [True, False])
    def test_the_model_stays_as_it_was(self, training):
        model, (x, y) = (
            nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double(),
            a_batch(),
        )
        F.cross_entropy(model(x), y).backward()
        model.train(training)
        before = state_of(model)
        overfit_batch(model, F.cross_entropy, x, y, steps=5)
        assert_stays(model, before)

    @pytest.mark.parametrize("training", [True, False])
    def test_runs_in_the_models_mode(self, training):
        class Watched(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Linear(5, 3)

            def forward(self, x):
                modes.append(self.training)
                return self.inner(x)

        modes: list[bool] = []
        overfit_batch(Watched().double().train(training), F.cross_entropy, *a_batch(), steps=2)
        assert_equal(set(modes), {training})

    def test_a_frozen_layer_stays_frozen(self):
        model, (x, y) = net(nn.Tanh()), a_batch()
        model[0].requires_grad_(False)
        head = nn.Linear(8, 3).double()
        head.load_state_dict(model[2].state_dict())
        expected = overfit_batch(head, F.cross_entropy, torch.tanh(model[0](x)).detach(), y, 20, 0.1)
        assert_close(overfit_batch(model, F.cross_entropy, x, y, 20, 0.1), expected)

    def test_earlier_gradients_dont_count(self):
        model, (x, y) = net(nn.Tanh()), a_batch()
        expected = overfit_batch(model, F.cross_entropy, x, y, 5, 0.1)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        assert_close(overfit_batch(model, F.cross_entropy, x, y, 5, 0.1), expected)

    def test_any_loss(self):
        model, x, y = net(nn.Tanh(), classes=2), randn(6, 5), randn(6, 2)
        found = overfit_batch(model, F.mse_loss, x, y, 400, 0.03)
        assert_close(found[0], F.mse_loss(model(x), y).item())
        if found[-1] > 0.02 * found[0]:
            fail(
                f"The loss fell from {found[0]:.3f} to {found[-1]:.3f}; six examples can be learned by heart.",
                evidence=("left", round(found[-1] / found[0], 1)),
            )


class TestGradientCheck:
    def test_the_example_worked_by_hand(self):
        x = torch.tensor(3.0, dtype=torch.float64)
        found = gradient_check(lambda x: x**2, [x], [x])
        assert_close(found, [0.333], atol=1e-3, rtol=0)  # 3 digits

    @pytest.mark.parametrize("step", [0.5, 0.1])
    def test_differences_are_central_and_the_step_counts(self, step):
        # Of x³ the central difference is 3x² + h², to the last digit.
        x = torch.tensor([1.0, -2.0], dtype=torch.float64)
        n, g = 3 * x**2 + step**2, 3 * x**2
        expected = ((n - g).norm() / (n.norm() + g.norm())).item()
        assert_close(gradient_check(lambda x: (x**3).sum(), [x], [g], step), [expected])

    def test_a_step_of_1e_5_unless_told_otherwise(self):
        x = torch.tensor([40.0], dtype=torch.float64)
        g = torch.zeros(1, dtype=torch.float64)

        def asked(x):
            points.append(x.item())
            return x.sum()

        points: list[float] = []
        gradient_check(asked, [x], [g])
        assert_close([max(points) - 40, min(points) - 40], [1e-5, -1e-5], rtol=1e-6, atol=0)  # 40 takes digits away

    def test_right_gradients_pass_and_wrong_ones_are_told(self):
        values = [randn(3, 4), randn(4), torch.randn((), dtype=torch.float64)]

        def f(a, b, c):
            return (torch.tanh(a @ b) * c).sum() + c**3

        inputs = [v.clone().requires_grad_() for v in values]
        right = list(torch.autograd.grad(f(*inputs), inputs))
        errors = gradient_check(f, values, right)
        assert_equal((len(errors), [type(e).__name__ for e in errors]), (3, ["float"] * 3))
        # Right to about 1e-10: h² and rounding.
        assert_close(errors, [0.0] * 3, rtol=0, atol=1e-8)
        wrong = [-right[0], 2 * right[1], right[2]]
        assert_close(gradient_check(f, values, wrong), [1.0, 1 / 3, 0.0], rtol=0, atol=1e-8)

    def test_each_gradient_by_itself(self):
        values = [torch.full((2,), 1e6, dtype=torch.float64), torch.ones(2, dtype=torch.float64)]
        found = gradient_check(
            lambda a, b: 1000 * a.sum() + (b**2).sum(),
            values,
            [torch.full((2,), 1000.0, dtype=torch.float64), -2 * values[1]],
        )
        # a is known to 1e-10 of its size, and moves by 1e-5.
        assert_close(found, [0.0, 1.0], rtol=0, atol=1e-3)

    def test_gradients_of_zero(self):
        values = [randn(2), randn(2), randn(2)]
        zeros = torch.zeros(2, dtype=torch.float64)
        found = gradient_check(lambda a, b, c: 0 * a.sum() + b.sum(), values, [zeros, zeros, zeros + 3])
        assert_close(found, [0.0, 1.0, 1.0])

    def test_small_gradients_count_in_full(self):
        x = randn(3)
        found = gradient_check(lambda a: 1e-3 * (a**2).sum(), [x], [4e-3 * x])
        assert_close(found, [1 / 3], rtol=0, atol=1e-8)

    def test_a_transposed_view(self):
        a = randn(4, 3).T
        weights = randn(3, 4)
        found = gradient_check(lambda a: (weights * a**2).sum(), [a], [2 * weights * a])
        assert_close(found, [0.0], rtol=0, atol=1e-8)

    def test_the_values_stay_even_if_they_require_gradients(self):
        value = randn(2, 3).requires_grad_()
        before = value.detach().clone()
        g = torch.cos(before)
        assert_close(gradient_check(lambda x: torch.sin(x).sum(), [value], [g]), [0.0], rtol=0, atol=1e-8)
        assert_close(value.detach(), before, rtol=0, atol=0)
        assert_equal((value.grad is None, value.requires_grad), (True, True))


class Parts(nn.Module):
    """Layers that can be left out, detached or killed."""

    def __init__(self, bug: str) -> None:
        super().__init__()
        self.bug = bug
        self.first = nn.Linear(5, 8)
        self.unused = nn.Linear(2, 2) if bug == "unused" else None
        self.second = nn.Linear(8, 8)
        self.last = nn.Linear(8, 3)
        if bug == "dead":
            with torch.no_grad():
                self.second.bias.fill_(-100.0)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        if self.bug == "detached":
            x = x.detach()
        x = torch.relu(self.second(x))
        if self.bug == "no gradients":
            with torch.no_grad():
                return self.last(x)
        return self.last(x)


class TestUntrainedParameters:
    EXPECTED = {
        "none": {},
        "detached": {"first.weight": "unreached", "first.bias": "unreached"},
        "unused": {"unused.weight": "unreached", "unused.bias": "unreached"},
        "dead": dict.fromkeys(("first.weight", "first.bias", "second.weight", "second.bias", "last.weight"), "zero"),
        "no gradients": {
            f"{layer}.{kind}": "unreached" for layer in ("first", "second", "last") for kind in ("weight", "bias")
        },
    }

    @pytest.mark.parametrize("bug", EXPECTED)
    def test_finds_what_isnt_trained(self, bug):
        found = untrained_parameters(Parts(bug).double(), F.cross_entropy, *a_batch())
        assert_equal(found, self.EXPECTED[bug])

    def test_frozen_parameters(self):
        model = Parts("none").double()
        model.second.weight.requires_grad_(False)
        assert_equal(untrained_parameters(model, F.cross_entropy, *a_batch()), {"second.weight": "frozen"})
        model.first.requires_grad_(False)
        expected = {"first.weight": "frozen", "first.bias": "frozen", "second.weight": "frozen"}
        assert_equal(untrained_parameters(model, F.cross_entropy, *a_batch()), expected)

    def test_a_model_that_is_frozen_throughout(self):
        model = net().requires_grad_(False)
        found = untrained_parameters(model, F.cross_entropy, *a_batch())
        assert_equal(found, {name: "frozen" for name, _ in model.named_parameters()})

    def test_in_the_models_order(self):
        model = Parts("detached").double()
        model.last.bias.requires_grad_(False)
        model.second.weight.requires_grad_(False)
        found = untrained_parameters(model, F.cross_entropy, *a_batch())
        assert_equal(list(found), ["first.weight", "first.bias", "second.weight", "last.bias"])

    def test_a_gradient_that_is_zero_in_part_is_none(self):
        model = nn.Embedding(6, 4).double()
        found = untrained_parameters(model, lambda out, y: (out * y).sum(), torch.tensor([2, 5]), randn(2, 4))
        assert_equal(found, {})

    def test_entries_that_cancel_are_no_zero(self):
        model = nn.Linear(2, 1, bias=False).double()
        found = untrained_parameters(
            model, lambda out, y: (out * y).sum(), torch.tensor([[1.0, -1.0]], dtype=torch.float64), torch.ones(1, 1)
        )
        assert_equal(found, {})

    @pytest.mark.parametrize("given", [True, False])
    def test_the_model_stays_as_it_was(self, given):
        model, (x, y) = net(), a_batch()
        if given:
            F.cross_entropy(model(x), y).backward()
        before = state_of(model)
        untrained_parameters(model, F.cross_entropy, x, y)
        assert_stays(model, before)


class Named(nn.Module):
    """Two ReLUs, a tanh and a sigmoid, with chosen inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.ReLU(), nn.ModuleDict({"inner": nn.ReLU(), "never": nn.ReLU()})
        self.t, self.s = nn.Tanh(), nn.Sigmoid()

    def forward(self, x):
        return self.t(self.a(x)) + self.s(self.b["inner"](x[:, :1]))


def with_norm() -> nn.Module:
    """Batch norm in training mode, dropout that is off, both kinds of activation."""
    model = nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4), nn.Tanh()
    ).double()
    model[3].eval()
    return model


class TestDeadUnits:
    def test_the_example_worked_by_hand(self):
        found = dead_units(nn.Sequential(nn.ReLU()), torch.tensor([[-1.0, 1.0, 0.0], [-2.0, -1.0, 2.0]]))
        assert_close(found, {"0": 1 / 3})

    def test_each_relu_by_its_name(self):
        x = torch.tensor([[-1.0, 1.0, -1.0, 3.0], [-2.0, -1.0, -4.0, 2.0]])
        assert_close(dead_units(Named(), x), {"a": 0.5, "b.inner": 1.0})

    def test_a_unit_is_dead_only_if_it_is_0_for_the_whole_batch(self):
        x = -torch.eye(4).roll(1, 0) + 2 * torch.eye(4)
        assert_close(dead_units(nn.Sequential(nn.ReLU()), x), {"0": 0.0})
        assert_close(dead_units(nn.Sequential(nn.ReLU()), x[:3]), {"0": 0.25})
        assert_close(dead_units(nn.Sequential(nn.ReLU()), x[:1]), {"0": 0.75})

    def test_of_an_image_a_channel_is_a_unit(self):
        x = -torch.ones(2, 5, 3, 4)
        x[1, 2, 0, 3] = x[0, 4, 2, 1] = x[1, 4, 0, 0] = 1.0
        assert_close(dead_units(nn.Sequential(nn.ReLU()), x), {"0": 0.6})

    @pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
    def test_units_with_a_bias_that_kills_them(self, share):
        layer = nn.Linear(5, 8).double()
        with torch.no_grad():
            layer.bias.fill_(3.0)
            layer.weight.mul_(0.1)
            layer.bias[: int(8 * share)] = -100.0
        assert_close(dead_units(nn.Sequential(layer, nn.ReLU()), randn(20, 5)), {"1": share})

    def test_a_model_without_relu(self):
        assert_equal(dead_units(nn.Sequential(nn.Linear(5, 3), nn.Tanh()), torch.randn(2, 5)), {})

    @pytest.mark.parametrize("training", [True, False])
    def test_the_model_stays_as_it_was(self, training):
        model = with_norm()
        if not training:
            model.eval()
        before = state_of(model)
        found = dead_units(model, randn(6, 5))
        assert_equal(list(found), ["2"])
        assert_stays(model, before)

    def test_in_evaluation_mode_and_once_without_gradients(self):
        seen = []
        model = with_norm()
        handle = model[1].register_forward_hook(lambda m, i, o: seen.append((m.training, torch.is_grad_enabled())))
        dead_units(model, randn(6, 5))
        assert_equal(seen, [(False, False)])
        handle.remove()
        assert_equal(torch.is_grad_enabled(), True)


class TestSaturation:
    def test_the_example_worked_by_hand(self):
        x = torch.atanh(torch.tensor([[0.5, 0.999]], dtype=torch.float64))
        assert_close(saturation(nn.Sequential(nn.Tanh()), x), {"0": 0.5})

    @pytest.mark.parametrize("share", [0.01, 0.2, 0.7])
    @pytest.mark.parametrize(("kind", "largest"), [(nn.Tanh, 1.0), (nn.Sigmoid, 0.25)])
    def test_matches_the_slopes_of_autograd(self, kind, largest, share):
        x = (3 * randn(4, 5, 6)).requires_grad_()
        (slope,) = torch.autograd.grad(kind()(x).sum(), x)
        expected = (slope < share * largest).double().mean().item()
        assert_close(saturation(nn.Sequential(kind()), x.detach(), share), {"0": expected})

    def test_a_share_of_001_unless_told_otherwise(self):
        x = 4 * randn(50, 40)
        model = nn.Sequential(nn.Sigmoid())
        assert_close(saturation(model, x), saturation(model, x, 0.01))
        assert saturation(model, x) != saturation(model, x, 0.05)

    def test_each_module_by_its_name(self):
        x = torch.tensor([[100.0, 0.0, 0.0, -100.0], [-1.0, 0.0, 100.0, 0.0]])
        assert_close(saturation(Named(), x), {"t": 0.25, "s": 0.5})

    def test_both_ends_are_saturated(self):
        x = torch.tensor([-50.0, -8.0, 0.0, 8.0, 50.0, 1.0])
        for kind in (nn.Tanh, nn.Sigmoid):
            assert_close(saturation(nn.Sequential(kind()), x), {"0": 4 / 6})

    def test_a_slope_of_exactly_the_share_is_not_below_it(self):
        x = torch.tensor([0.0, 2.0, 0.0, 0.0], dtype=torch.float64)
        for kind in (nn.Tanh, nn.Sigmoid):
            assert_close(saturation(nn.Sequential(kind()), x, 1.0), {"0": 0.25})

    @pytest.mark.parametrize("training", [True, False])
    def test_the_model_stays_as_it_was(self, training):
        model = with_norm()
        if not training:
            model.eval()
        before = state_of(model)
        assert_equal(list(saturation(model, randn(6, 5))), ["5"])
        assert_stays(model, before)


class TestAlreadyNormalized:
    @pytest.mark.parametrize("shape", [(4, 3), (7,), (2, 3, 5)])
    def test_probabilities_are_and_logits_arent(self, shape):
        logits = torch.randn(*shape) + 0.3
        found = [already_normalized(x) for x in (logits.softmax(-1), logits, logits.log_softmax(-1), logits.sigmoid())]
        assert_equal(found, [True, False, False, False])

    def test_it_is_a_plain_bool(self):
        assert_equal(
            [type(already_normalized(x)).__name__ for x in (torch.eye(3), torch.randn(2, 3))], ["bool", "bool"]
        )

    def test_one_row_that_isnt_is_enough(self):
        assert_equal(already_normalized(torch.tensor([[0.5, 0.5], [0.6, 0.6]])), False)
        assert_equal(already_normalized(torch.tensor([[0.4, 0.4], [0.6, 0.6]])), False)
        assert_equal(already_normalized(torch.tensor([[0.5, 0.5], [1.5, -0.5]])), False)
        assert_equal(already_normalized(torch.tensor([[0.5, 0.5], [1.0, 0.0]])), True)

    @pytest.mark.parametrize(
        ("off", "expected"),
        [(1e-6, True), (-2e-5, True), (9e-5, True), (1.5e-4, False), (-1.5e-4, False), (1e-3, False), (-1e-3, False)],
    )
    def test_sums_are_1_to_4_digits(self, off, expected):
        assert_equal(already_normalized(torch.tensor([[0.3, 0.7 + off], [0.5, 0.5]], dtype=torch.float64)), expected)

    def test_columns_that_sum_to_1_say_nothing(self):
        assert_equal(already_normalized(torch.randn(4, 3).softmax(0)), False)


class TestLeakageProbe:
    def test_the_example_worked_by_hand(self):
        found = leakage_probe(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor([0, 0, 1, 1]))
        assert_close(found, torch.tensor([0.8]))

    @pytest.mark.deadline(60)  # it imports scikit-learn, which takes a busy machine a while
    @pytest.mark.parametrize(("n", "d", "classes"), [(30, 4, 3), (50, 2, 7), (9, 5, 2)])
    def test_matches_scikit_learns_f(self, n, d, classes):
        from sklearn.feature_selection import f_classif

        y = torch.arange(n) % classes
        x = randn(n, d) + 0.5 * torch.arange(d) * y[:, None]
        f = torch.tensor(f_classif(x.numpy(), y.numpy())[0])
        expected = f * (classes - 1) / (f * (classes - 1) + n - classes)
        assert_close(leakage_probe(x, y), expected)

    def test_from_nothing_to_all(self):
        y = torch.tensor([3, 3, -7, 3, -7, 40])
        x = torch.stack(
            [
                (y * 2.0),
                torch.tensor([0.0, 1, 0, 0, 1, 0]) - torch.tensor([0, 0, 1 / 6, 0, 1 / 6, -1 / 3]),
                torch.full((6,), 0.1),
            ],
            1,
        ).double()
        assert_close(leakage_probe(x, y), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_keeps_the_dtype_and_its_digits(self, dtype):
        y = torch.arange(60) % 3
        x = (torch.randn(60, 4) + y[:, None]).to(dtype)
        expected = leakage_probe(x.double(), y).to(dtype)
        # A mean of 4096 takes 12 of float32's 24 binary digits.
        assert_close(leakage_probe(x + 4096, y), expected, rtol=0, atol=2e-3 if dtype == torch.float32 else 1e-8)
        assert_close(leakage_probe(x, y), expected)

    def test_a_constant_feature_and_one_row(self):
        assert_close(leakage_probe(torch.full((7, 2), 0.1), torch.arange(7) % 2), torch.zeros(2))
        assert_close(leakage_probe(torch.tensor([[3.0, 4.0]]), torch.tensor([1])), torch.zeros(2))


class TestConfusionMatrix:
    def test_rows_are_targets(self):
        found = confusion_matrix(torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([0, 1, 1, 0, 0, 2]), 3)
        assert_close(found, torch.tensor([[1, 1, 0], [0, 1, 0], [2, 0, 1]]))

    @pytest.mark.deadline(60)  # as above
    @pytest.mark.parametrize(("n", "classes"), [(50, 4), (1, 2), (30, 11)])
    def test_matches_scikit_learn(self, n, classes):
        import sklearn.metrics

        y, p = torch.randint(0, classes, (n,)), torch.randint(0, classes, (n,))
        expected = sklearn.metrics.confusion_matrix(y.numpy(), p.numpy(), labels=range(classes))
        assert_close(confusion_matrix(y, p, classes), torch.tensor(expected))

    def test_of_nothing(self):
        nothing = torch.zeros(0, dtype=torch.int64)
        assert_close(confusion_matrix(nothing, nothing, 3), torch.zeros(3, 3, dtype=torch.int64))

    @pytest.mark.parametrize(
        ("targets", "predictions", "wrong"),
        [([0, 4], [1, 1], 4), ([0, 1], [1, 5], 5), ([-1, 1], [1, 1], -1), ([0, 1], [1, -2], -2)],
    )
    def test_a_class_that_isnt_there_is_refused(self, targets, predictions, wrong):
        with raises(ValueError, wrong, 4):
            confusion_matrix(torch.tensor(targets), torch.tensor(predictions), 4)
        assert_equal(int(confusion_matrix(torch.tensor([0, 3]), torch.tensor([3, 0]), 4).sum()), 2)


class TestLabelShift:
    def test_the_example_worked_by_hand(self):
        assert_equal(label_shift(torch.tensor([[0, 2], [3, 0]])), 1)

    @pytest.mark.parametrize(("classes", "shift"), [(5, 0), (5, 1), (5, 4), (3, 2), (10, 7), (1, 0)])
    def test_finds_it_among_errors(self, classes, shift):
        y = torch.arange(40 * classes) % classes
        p = (y + shift) % classes
        p[::5] = torch.randint(0, classes, (len(p[::5]),))
        counts = torch.zeros(classes, classes, dtype=torch.int64)
        counts.index_put_((y, p), torch.ones_like(y), accumulate=True)
        found = label_shift(counts)
        assert_equal(found, shift)
        assert_equal(type(found).__name__, "int")

    def test_the_smallest_of_several(self):
        assert_equal(label_shift(torch.ones(4, 4, dtype=torch.int64)), 0)
        assert_equal(label_shift(torch.tensor([[0, 1, 1], [1, 0, 1], [1, 1, 0]])), 1)

    def test_the_last_class_is_followed_by_the_first(self):
        assert_equal(label_shift(torch.tensor([[1, 1, 0], [0, 1, 1], [9, 0, 1]])), 1)
        assert_equal(label_shift(torch.tensor([[2, 0, 1], [7, 2, 0], [0, 8, 2]])), 2)

    def test_one_class_that_is_missed_is_no_shift(self):
        # Almost all of class 0 is taken for 2, and it is large; the others are right.
        assert_equal(label_shift(torch.tensor([[1, 0, 9], [0, 6, 0], [0, 0, 6]])), 0)


class TestReadCurves:
    CASES = {
        "diverged, NaN": ([2.0, 1.0, math.nan], [2.0, 1.5, 1.2], "diverged"),
        "diverged, in the middle": ([2.0, math.inf, 0.5], [2.0, 1.5, 1.2], "diverged"),
        "diverged, validation": ([2.0, 1.0, 0.5], [2.0, math.nan, 1.2], "diverged"),
        "diverged, up": ([2.0, 1.0, 2.1], [2.0, 1.0, 2.0], "diverged"),
        "stuck, level": ([2.0, 1.0, 2.0], [2.0, 1.0, 1.9], "stuck"),
        "stuck, hardly moved": ([2.0, 1.9, 1.85], [2.0, 1.9, 1.7], "stuck"),
        "stuck comes before overfits": ([2.0, 1.9, 1.9], [2.0, 1.0, 1.9], "stuck"),
        "learning, if only to 0.89": ([2.0, 1.9, 1.78], [2.0, 1.9, 1.8], "improving"),
        "learning, at exactly 0.9": ([10.0, 9.0], [10.0, 9.0], "improving"),
        "overfits": ([2.0, 1.0, 0.5, 0.2], [2.0, 1.0, 1.1, 1.2], "overfits"),
        "overfits, though below the first": ([2.0, 1.0, 0.2], [5.0, 1.0, 2.0], "overfits"),
        "not yet overfitting": ([2.0, 1.0, 0.5, 0.4, 0.3], [2.0, 1.0, 1.0, 1.05, 1.09], "flat"),
        "not yet overfitting, at exactly 1.1": ([10.0, 5.0, 4.0], [5.0, 5.0, 5.5], "flat"),
        "improving": ([2.0, 1.5, 1.2, 1.0, 0.9], [2.0, 1.6, 1.4, 1.3, 1.2], "improving"),
        "improving by a little": ([2.0, 0.9, 0.8, 0.7, 0.6], [2.0, 1.000, 0.996, 0.993, 0.989], "improving"),
        "flat": ([2.0, 0.9, 0.8, 0.7, 0.6], [2.0, 1.000, 0.998, 0.996, 0.992], "flat"),
        "flat, at exactly 0.99": ([10.0, 5.0], [100.0, 99.0], "flat"),
        "flat, though it dipped": ([2.0, 0.9, 0.8, 0.7, 0.6], [2.0, 1.0, 0.95, 0.97, 1.0], "flat"),
        "two epochs": ([2.0, 1.0], [2.0, 1.0], "improving"),
        "two flat epochs": ([2.0, 1.0], [1.0, 1.0], "flat"),
        "one epoch": ([2.0], [2.0], "stuck"),
        "one epoch that is infinite": ([2.0], [math.inf], "diverged"),
    }

    @pytest.mark.parametrize("case", CASES)
    def test_the_first_rule_that_fits(self, case):
        train, validation, expected = self.CASES[case]
        assert_equal(read_curves(train, validation), expected)

    @pytest.mark.parametrize(
        ("patience", "expected"),
        [(1, "flat"), (2, "flat"), (3, "improving"), (4, "flat"), (5, "improving"), (50, "improving")],
    )
    def test_patience(self, patience, expected):
        train = [4.0, 2.0, 1.5, 1.2, 1.0, 0.9]
        validation = [1.5, 1.0, 1.2, 1.0, 1.0, 1.0]
        assert_equal(read_curves(train, validation, patience), expected)

    @pytest.mark.parametrize(("a", "b"), [(3, 2), (1, 4), (0, 0), (0, 2)])
    def test_curves_that_dont_fit_together_are_refused(self, a, b):
        with raises(ValueError, a, b):
            read_curves([1.0] * a, [1.0] * b)


class Digits:
    """A small net on scikit-learn's digits, with a bug planted in it."""

    def __init__(self, digits, bug: str = "") -> None:
        torch.manual_seed(7)
        x, y = torch.tensor(digits[0], dtype=torch.float32) / 16, torch.tensor(digits[1])
        order = torch.randperm(len(x))
        self.x, self.y = x[order], y[order]
        if bug == "leak":
            self.x = torch.cat([self.x, (self.y + 0.01 * torch.randn(len(y)))[:, None]], 1)
        self.model = nn.Sequential(
            nn.Linear(self.x.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )
        if bug == "frozen":
            self.model[2].requires_grad_(False)
        if bug == "dead":
            with torch.no_grad():
                self.model[2].bias.fill_(-50.0)
        if bug == "softmax":
            self.model.append(nn.Softmax(-1))
        self.labels = (self.y + 1) % 10 if bug == "shift" else self.y

    def overfits(self) -> float:
        return overfit_batch(self.model, F.cross_entropy, self.x[:16], self.labels[:16], 150)[-1]

    def trained(self) -> nn.Module:
        optimizer = torch.optim.Adam(self.model.parameters(), 0.01)
        for start in range(0, 1280, 64):
            loss = F.cross_entropy(self.model(self.x[start : start + 64]), self.labels[start : start + 64])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return self.model

    def findings(self) -> set[str]:
        """What the tools find."""
        found = set()
        if self.overfits() > 0.1:
            found.add("doesn't overfit")
        found |= set(untrained_parameters(self.model, F.cross_entropy, self.x[:64], self.labels[:64]).values())
        if max(dead_units(self.model, self.x[:200]).values()) > 0.9:
            found.add("dead units")
        if already_normalized(self.model(self.x[:64])):
            found.add("softmax")
        if leakage_probe(self.x, self.y).max() > 0.9:
            found.add("leak")
        predictions = self.trained()(self.x[1280:]).argmax(-1)
        if label_shift(confusion_matrix(self.y[1280:], predictions, 10)):
            found.add("shift")
        return found


class TestPlantedBugs:
    EXPECTED = {
        "": set(),
        "frozen": {"frozen"},
        "dead": {"doesn't overfit", "zero", "dead units"},
        "softmax": {"doesn't overfit", "softmax"},
        "leak": {"leak"},
        "shift": {"shift"},
    }

    @pytest.mark.parametrize("bug", EXPECTED)
    def test_each_is_found_and_a_healthy_net_passes(self, digits, bug):
        found = Digits(digits, bug).findings()
        expected = self.EXPECTED[bug]
        if bug == "dead":  # every class is as likely then, and which one wins says nothing
            found.discard("shift")
        assert_equal(sorted(found), sorted(expected))

    def test_softmax_twice_keeps_the_loss_above_its_bound(self, digits):
        assert Digits(digits, "softmax").overfits() > math.log(1 + 9 / math.e) - 1e-4


class TestOnTheGpu:
    def test_overfit_batch(self, gpu):
        model, (x, y) = net(nn.Tanh()), a_batch()
        found = overfit_batch(gpu(model), F.cross_entropy, gpu(x), gpu(y), 3, 0.1)
        assert_close(found, overfit_batch(model, F.cross_entropy, x, y, 3, 0.1))

    def test_gradient_check(self, gpu):
        x, weights = randn(2, 3), randn(2, 3)
        found = gradient_check(
            lambda x, w: (x**2 * w).sum(), [gpu(x), gpu(weights)], [gpu(2 * x * weights), gpu(-(x**2))]
        )
        assert_close(found, [0.0, 1.0], rtol=0, atol=1e-8)

    def test_untrained_parameters(self, gpu):
        found = untrained_parameters(gpu(Parts("detached").double()), F.cross_entropy, *gpu(a_batch()))
        assert_equal(found, TestUntrainedParameters.EXPECTED["detached"])

    def test_reports(self, gpu):
        model, x = with_norm(), randn(6, 5)
        moved = gpu(model)
        assert_close(dead_units(moved, gpu(x)), dead_units(model, x))
        assert_close(saturation(moved, gpu(x), 0.7), saturation(model, x, 0.7))
        assert_equal(already_normalized(gpu(x.softmax(-1))), True)

    def test_tensors(self, gpu):
        y, p = torch.arange(12) % 4, torch.arange(12) % 3
        gpu.check(leakage_probe, randn(12, 3), y)
        gpu.check(confusion_matrix, y, p, 4)
        assert_equal(label_shift(gpu(torch.tensor([[0, 2], [3, 0]]))), 1)
