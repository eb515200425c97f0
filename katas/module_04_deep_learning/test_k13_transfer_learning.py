"""Judges k13_transfer_learning by loops written out, scipy's smallest losses, and few labels of MNIST."""

import copy
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_04_deep_learning.k13_transfer_learning import (
    extract_features,
    fine_tune,
    freeze,
    linear_probe,
    parameter_groups,
    replace_head,
    thaw,
    training_mode,
)

pytestmark = [from_scratch("sklearn", "torchvision", "transformers", "timm"), pure()]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small matrices are quicker on one thread than on several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def stage(inputs: int, outputs: int, dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.Tanh(), nn.Dropout(dropout))


def a_model(dropout: float = 0.0) -> nn.Sequential:
    """Three stages and a head, in float64."""
    return nn.Sequential(stage(3, 5, dropout), stage(5, 4, dropout), stage(4, 6, dropout), nn.Linear(6, 4)).double()


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def with_gradients(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    return module


def trained(module: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in module.parameters()]


class TestReplaceHead:
    @pytest.mark.parametrize("classes", [1, 7])
    def test_a_new_last_layer(self, classes):
        model = a_model()
        copied = replace_head(model, classes)
        assert_equal(isinstance(copied, nn.Sequential), True)
        assert_equal((type(copied[-1]).__name__, len(copied)), ("Linear", 4))
        shapes = {name: tuple(p.shape) for name, p in copied[-1].named_parameters()}
        assert_equal(shapes, {"weight": (classes, 6), "bias": (classes,)})

    def test_all_else_is_copied(self):
        model = a_model()
        model[0](torch.randn(5, 3, dtype=torch.float64))  # so that batch norm has seen something
        before = state(model)
        copied = replace_head(model, 4)
        rest = {name: value for name, value in before.items() if not name.startswith("3.")}
        assert_close({name: value for name, value in state(copied).items() if name in rest}, rest)
        assert_close(state(model), before)
        with torch.no_grad():
            for tensor in [*copied.parameters(), *copied.buffers()]:
                tensor.zero_()
        assert_close(state(model), before)

    def test_starts_as_torchs_layers_do(self):
        head = replace_head(nn.Sequential(nn.Linear(400, 3)), 50)[-1]
        # torch draws both uniformly up to 1/√inputs = 0.05.
        assert_close(head.weight.abs().max().item(), 0.05, rtol=0.01, atol=0)  # the largest of 20,000 numbers
        assert_close(head.weight.std().item(), 0.05 / 3**0.5, rtol=0.05, atol=0)  # ten standard errors
        assert_close(head.bias.abs().max().item(), 0.05, rtol=0.3, atol=0)  # of 50 numbers

    @pytest.mark.parametrize("bias", [True, False])
    def test_can_be_trained_though_the_old_one_is_frozen(self, bias):
        model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2, bias=bias)).requires_grad_(False)
        assert_equal(trained(replace_head(model, 3)), [False, False, True, True])

    def test_keeps_the_dtype(self):
        assert_equal({str(p.dtype) for p in replace_head(a_model(), 3).parameters()}, {"torch.float64"})

    @pytest.mark.parametrize("last", [nn.ReLU(), nn.Conv2d(3, 2, 1)])
    def test_refuses_another_last_layer(self, last):
        with raises(ValueError, type(last).__name__):
            replace_head(nn.Sequential(nn.Linear(3, 3), last), 4)


class TestFreeze:
    def test_no_parameter_requires_a_gradient_or_has_one(self):
        model = with_gradients(a_model())
        freeze(model)
        assert_equal(trained(model), [False] * len(list(model.parameters())))
        assert_equal([p.grad is None for p in model.parameters()], [True] * len(list(model.parameters())))

    def test_others_stay_as_they_are(self):
        model = with_gradients(a_model())
        freeze(model[1])
        assert_equal([trained(part) for part in model], [[True] * 4, [False] * 4, [True] * 4, [True] * 2])
        assert_equal([p.grad is None for p in model.parameters()], [False] * 4 + [True] * 4 + [False] * 6)

    def test_a_single_layer(self):
        layer = with_gradients(nn.Linear(3, 2))
        freeze(layer)
        assert_equal([(p.requires_grad, p.grad is None) for p in layer.parameters()], [(False, True)] * 2)

    def test_values_stay(self):
        model = a_model()
        before, parameters = state(model), list(model.parameters())
        freeze(model)
        assert_close(state(model), before)
        assert_equal([a is b for a, b in zip(model.parameters(), parameters, strict=True)], [True] * len(parameters))

    def test_an_optimizer_leaves_it_alone(self):
        model = with_gradients(a_model())
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.3)
        optimizer.step()
        freeze(model)
        before = state(model)
        optimizer.step()
        assert_close(state(model), before, rtol=0, atol=0)


class TestTrainingMode:
    def modes(self, model):
        return {name: module.training for name, module in model.named_modules()}

    @pytest.mark.parametrize("before", [True, False])
    def test_what_is_frozen_is_in_evaluation_mode(self, before):
        model = a_model().train(before)
        model[0].requires_grad_(False)
        model[2].requires_grad_(False)
        training_mode(model)
        expected = {name: not name.startswith(("0", "2")) for name in self.modes(model)}
        assert_equal(self.modes(model), expected)

    def test_a_single_layer_may_be_frozen(self):
        model = a_model().eval()
        model[1][1].requires_grad_(False)  # batch norm alone
        training_mode(model)
        assert_equal(self.modes(model), {name: name != "1.1" for name in self.modes(model)})

    def test_one_trained_parameter_is_enough(self):
        model = a_model().eval()
        model.requires_grad_(False)
        model[1][0].bias.requires_grad_(True)
        training_mode(model)
        on = {name for name, training in self.modes(model).items() if training}
        assert_equal(on, {"", "1", "1.0", "1.2", "1.3"})

    def test_modules_without_parameters_are_not_frozen_by_themselves(self):
        model = nn.Sequential(nn.Dropout(), nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.ReLU())).eval()
        model[1].requires_grad_(False)
        model.append(nn.Linear(2, 2))
        training_mode(model)
        assert_equal(
            self.modes(model), {"": True, "0": True, "1": False, "2": True, "2.0": True, "2.1": True, "3": True}
        )

    @pytest.mark.parametrize("frozen", [True, False])
    def test_all_or_nothing(self, frozen):
        model = a_model().requires_grad_(not frozen)
        training_mode(model)
        assert_equal(set(self.modes(model).values()), {not frozen})
        assert_equal(set(trained(model)), {not frozen})


class Recorder(nn.Module):
    """Hands its input on, and notes what comes by, in which mode, and with which gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        self.calls.append((self.training, torch.is_grad_enabled()))
        return x


class TestExtractFeatures:
    @pytest.mark.parametrize(("n", "size"), [(7, 3), (6, 3), (1, 4), (5, 1), (4, 100)])
    def test_all_rows_in_parts(self, n, size):
        body, recorder = stage(3, 5, dropout=0.5).double(), Recorder()
        x = torch.randn(n, 3, dtype=torch.float64)
        found = extract_features(nn.Sequential(recorder, body), x, size)
        assert_close(found, body.eval()(x).detach())
        sizes = [len(part) for part in recorder.seen]
        assert_equal((max(sizes) <= size, sum(sizes)), (True, n))

    def test_at_most_256_rows_unless_told_otherwise(self):
        recorder = Recorder()
        extract_features(nn.Sequential(recorder), torch.randn(600, 2))
        assert_equal(max(len(part) for part in recorder.seen) <= 256, True)

    def test_features_of_any_shape(self):
        conv, x = nn.Conv2d(1, 2, 2).double(), torch.randn(5, 1, 3, 4, dtype=torch.float64)
        assert_close(extract_features(conv, x, 2), conv(x).detach())

    def test_in_evaluation_mode_and_without_gradient(self):
        recorder = Recorder()
        body = nn.Sequential(recorder, stage(3, 5, dropout=0.5)).double()
        before = state(body)
        found = extract_features(body, torch.randn(5, 3, dtype=torch.float64), 2)
        assert_equal(set(recorder.calls), {(False, False)})
        assert_equal((found.requires_grad, torch.is_grad_enabled()), (False, True))
        assert_close(state(body), before)

    @pytest.mark.parametrize("training", [True, False])
    def test_leaves_each_module_in_its_own_mode(self, training):
        body = stage(3, 5).double().train(training)
        body[1].train(not training)
        extract_features(body, torch.randn(5, 3, dtype=torch.float64), 2)
        assert_equal(
            [body.training, *(m.training for m in body)], [training, training, not training, training, training]
        )


def loss_of(layer, features, labels, penalty) -> float:
    """The lesson's loss, in float64."""
    weight, bias = (p.detach().double() for p in (layer.weight, layer.bias))
    nats = F.cross_entropy(features.double() @ weight.T + bias, labels)
    return (nats + penalty / 2 * weight.square().sum()).item()


def smallest_loss(features, labels, classes, penalty) -> float:
    """The smallest possible loss, by scipy."""
    from scipy.optimize import minimize

    x, d = features.double(), features.shape[1]

    def loss(flat):
        both = torch.tensor(flat, requires_grad=True)
        weight, bias = both[:-classes].reshape(classes, d), both[-classes:]
        value = F.cross_entropy(x @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
        return value.item(), torch.autograd.grad(value, both)[0].numpy()

    start = torch.zeros(classes * (d + 1), dtype=torch.float64).numpy()
    tight = {"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-8}
    return float(minimize(loss, start, jac=True, method="L-BFGS-B", options=tight).fun)


class TestLinearProbe:
    def test_the_example_worked_by_hand(self):
        probe = linear_probe(torch.zeros(4, 2), torch.tensor([0, 1, 0, 0]), 2, 0.1)
        assert_close(probe.bias.detach().softmax(0), torch.tensor([0.75, 0.25]), atol=0.03, rtol=0)  # 0.001 nats above
        assert_close(loss_of(probe, torch.zeros(4, 2), torch.tensor([0, 1, 0, 0]), 0.1), 0.5623, atol=1.1e-3, rtol=0)

    @pytest.mark.parametrize("penalty", [2.0, 0.3, 0.01])
    @pytest.mark.parametrize(("n", "d", "classes"), [(60, 4, 3), (12, 20, 5), (40, 3, 2)])
    def test_the_smallest_loss(self, n, d, classes, penalty):
        # Classes of unequal sizes, and a mean that isn't 0, so that biases matter.
        labels = (torch.rand(n).square() * classes).long()
        labels[:classes] = torch.arange(classes)
        features = torch.randn(n, d, dtype=torch.float64) + torch.randn(classes, d, dtype=torch.float64)[labels] + 1
        probe = linear_probe(features, labels, classes, penalty)
        assert_equal(tuple(probe.weight.shape), (classes, d))
        excess = loss_of(probe, features, labels, penalty) - smallest_loss(features, labels, classes, penalty)
        if not -1e-4 < excess < 1.1e-3:
            fail(f"The loss is {excess:.4f} above the smallest; at most 0.001 is allowed.", evidence=round(excess, 2))

    def test_features_of_unequal_sizes(self):
        # A narrow valley: some tens of steps aren't enough here.
        sizes = torch.tensor([8.0, 3, 1, 0.3, 0.1, 5], dtype=torch.float64)
        labels = torch.arange(48) % 4
        features = (torch.randn(48, 6, dtype=torch.float64) + torch.randn(4, 6, dtype=torch.float64)[labels]) * sizes
        probe = linear_probe(features, labels, 4, 0.003)
        excess = loss_of(probe, features, labels, 0.003) - smallest_loss(features, labels, 4, 0.003)
        if not -1e-4 < excess < 1.1e-3:
            fail(f"The loss is {excess:.4f} above the smallest; at most 0.001 is allowed.", evidence=round(excess, 2))

    @pytest.mark.deadline(60)  # a thousand small steps are right, too
    @pytest.mark.parametrize("draw", [1, 8, 12, 13])
    def test_features_far_from_0(self, draw):
        # Full steps without a line search run away here, from most starts.
        generator = torch.Generator().manual_seed(draw)
        labels = torch.arange(40) % 2
        features = torch.randn(40, 2, generator=generator) + torch.randn(2, 2, generator=generator)[labels]
        features = 15 + 3 * features.double()
        probe = linear_probe(features, labels, 2, 2.0)
        excess = loss_of(probe, features, labels, 2.0) - smallest_loss(features, labels, 2, 2.0)
        if not -1e-4 < excess < 1.1e-3:
            fail(f"The loss is {excess:.4f} above the smallest; at most 0.001 is allowed.", evidence=round(excess, 2))

    def test_a_class_without_a_label(self):
        labels = torch.tensor([0, 3, 1, 0, 3, 1, 1, 0])
        features = torch.randn(8, 3, dtype=torch.float64)
        probe = linear_probe(features, labels, 5, 0.2)
        assert_equal(tuple(probe.weight.shape), (5, 3))
        # Its bias goes to -∞.
        excess = loss_of(probe, features, labels, 0.2) - smallest_loss(features, labels, 5, 0.2)
        if not -1e-4 < excess < 1.1e-3:
            fail(f"The loss is {excess:.4f} above the smallest; at most 0.001 is allowed.", evidence=round(excess, 2))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_is_a_linear_layer_of_the_features_dtype(self, dtype):
        features, labels = torch.randn(20, 3, dtype=dtype), torch.randint(0, 3, (20,))
        probe = linear_probe(features, labels, 3, 0.1)
        assert_equal((type(probe).__name__, {str(p.dtype) for p in probe.parameters()}), ("Linear", {str(dtype)}))
        excess = loss_of(probe, features, labels, 0.1) - smallest_loss(features, labels, 3, 0.1)
        assert_equal(excess < 1.1e-3, True)

    def test_gives_the_same_answer_again(self):
        features, labels = torch.randn(30, 3, dtype=torch.float64), torch.randint(0, 3, (30,))
        first, second = (linear_probe(features, labels, 3, 0.5) for _ in range(2))
        # A loss 0.001 above the smallest, of curvature 0.5 or more, leaves a weight this much room.
        assert_close(first.weight.detach(), second.weight.detach(), atol=0.13, rtol=0)


class TestParameterGroups:
    def test_the_example_worked_by_hand(self):
        stages = list(a_model())[:3]
        groups = parameter_groups(stages, 0.1, 0.5)
        sizes = [sum(p.numel() for p in stage.parameters()) for stage in stages]
        found = [(group["lr"], sum(p.numel() for p in group["params"])) for group in groups]
        assert_close(found, list(zip([0.025, 0.05, 0.1], sizes, strict=True)))

    @pytest.mark.parametrize(("lr", "decay"), [(0.3, 0.4), (2.0, 1.0), (0.01, 0.1)])
    def test_each_stage_at_its_rate(self, lr, decay):
        model = nn.Sequential(*a_model())
        groups = parameter_groups(list(model), lr, decay)
        assert_close([group["lr"] for group in groups], [lr * decay**3, lr * decay**2, lr * decay, lr])
        known = {id(p): name for name, p in model.named_parameters()}
        found = [sorted(known.get(id(p), "?") for p in group["params"]) for group in groups]
        assert_equal(
            found, [sorted(f"{i}.{name}" for name, _ in part.named_parameters()) for i, part in enumerate(model)]
        )

    def test_frozen_parameters_are_there(self):
        stages = list(a_model().requires_grad_(False))
        assert_equal([len(group["params"]) for group in parameter_groups(stages, 0.1, 0.5)], [4, 4, 4, 2])
        assert_equal({p.requires_grad for part in stages for p in part.parameters()}, {False})

    def test_a_stage_without_parameters_counts(self):
        stages = [nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.Flatten()]
        groups = parameter_groups(stages, 1.0, 0.5)
        assert_close([group["lr"] for group in groups], [0.125, 0.5])

    def test_a_shared_parameter_is_in_the_last_of_its_stages(self):
        first, middle, last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3, bias=False)
        last.weight = first.weight
        groups = parameter_groups([first, middle, last], 1.0, 0.5)
        found = [[tuple(p.shape) for p in group["params"]] for group in groups]
        assert_equal(found, [[(3,)], [(3, 3), (3,)], [(3, 3)]])
        assert_close([group["lr"] for group in groups], [0.25, 0.5, 1.0])
        assert_equal(groups[2]["params"][0] is first.weight, True)

    def test_a_stage_that_has_nothing_of_its_own(self):
        block, last = nn.Linear(3, 3), nn.Linear(3, 2)
        groups = parameter_groups([block, block, last], 1.0, 0.5)
        assert_close([group["lr"] for group in groups], [0.5, 1.0])

    def test_an_optimizer_takes_them(self):
        model = with_gradients(a_model())
        before = [p.detach().clone() for p in model.parameters()]
        torch.optim.SGD(parameter_groups(list(model), 0.8, 0.5)).step()
        moved = [(b - p.detach()).mean().item() for b, p in zip(before, model.parameters(), strict=True)]
        assert_close(moved, [0.1] * 4 + [0.2] * 4 + [0.4] * 4 + [0.8] * 2)


class TestThaw:
    @pytest.mark.parametrize(
        ("every", "counts"), [(1, [1, 2, 3, 4, 4, 4]), (2, [1, 1, 2, 2, 3, 3, 4, 4, 4]), (3, [1, 1, 1, 2]), (0, [4, 4])]
    )
    def test_from_the_end(self, every, counts):
        stages = list(a_model())
        for epoch, count in enumerate(counts):
            assert_equal(int(thaw(stages, epoch, every)), count)
            flags = [set(trained(part)) for part in stages]
            assert_equal(flags, [{False}] * (4 - count) + [{True}] * count)

    def test_the_example_worked_by_hand(self):
        stages = list(a_model())[:3]
        assert_equal([int(thaw(stages, epoch, 2)) for epoch in range(8)], [1, 1, 2, 2, 3, 3, 3, 3])

    def test_one_more_each_epoch_unless_told_otherwise(self):
        assert_equal(int(thaw(list(a_model()), 2)), 3)

    @pytest.mark.parametrize("every", [0, 1])
    def test_each_call_counts_its_own_stages(self, every):
        for count in (3, 2, 4):
            stages = [nn.Linear(2, 2) for _ in range(count)]
            assert_equal(int(thaw(stages, 5, every)), count)
            assert_equal([set(trained(part)) for part in stages], [{True}] * count)

    def test_back_to_the_beginning(self):
        stages = list(a_model())
        thaw(stages, 5)
        thaw(stages, 0)
        assert_equal([set(trained(part)) for part in stages], [{False}, {False}, {False}, {True}])

    def test_what_was_frozen_before_is_trained(self):
        stages = list(a_model().requires_grad_(False))
        thaw(stages, 1)
        assert_equal([set(trained(part)) for part in stages], [{False}, {False}, {True}, {True}])

    def test_frozen_gradients_are_dropped(self):
        model = with_gradients(a_model())
        thaw(list(model), 1)
        assert_equal([p.grad is None for part in list(model)[:2] for p in part.parameters()], [True] * 8)

    def test_a_parameter_shared_with_a_trained_stage_is_trained(self):
        first, last = nn.Linear(3, 3), nn.Linear(3, 3)
        last.weight = first.weight
        thaw([first, nn.ReLU(), last], 0)
        assert_equal((first.weight.requires_grad, first.bias.requires_grad), (True, False))
        thaw([last, nn.Linear(3, 3), first], 0)
        assert_equal((first.weight.requires_grad, last.bias.requires_grad), (True, False))


def tuned(model, n=11, seed=3, **changes):
    """fine_tune() behind a Recorder: the losses, and for each batch the rows that were in it."""
    torch.manual_seed(6)
    x, y = torch.randn(n, 3, dtype=torch.float64), torch.randint(0, 4, (n,))
    recorder = Recorder()
    whole = nn.Sequential(recorder, *model)
    arguments = dict(epochs=3, batch_size=4, lr=0.05, decay=0.5, every=1, seed=seed) | changes
    losses = fine_tune(whole, x, y, **arguments)
    place = {value: i for i, value in enumerate(x[:, 0].tolist())}
    batches = [[place[value] for value in part[:, 0].tolist()] for part in recorder.seen]
    return losses, batches, x, y


def by_hand(model, x, y, batches, per_epoch, lr, decay, every):
    """The same run written out, with these rows in each batch."""
    stages = list(model)
    groups = [
        {"params": list(part.parameters()), "lr": lr * decay ** (len(stages) - 1 - i)} for i, part in enumerate(stages)
    ]
    optimizer = torch.optim.AdamW(groups)
    losses = []
    for epoch in range(len(batches) // per_epoch):
        count = len(stages) if every == 0 else 1 + epoch // every
        for i, part in enumerate(stages):
            part.requires_grad_(i >= len(stages) - count).train(i >= len(stages) - count)
        nats = []
        for rows in batches[epoch * per_epoch : (epoch + 1) * per_epoch]:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[rows]), y[rows], reduction="none")
            loss.mean().backward()
            optimizer.step()
            nats += loss.tolist()
        losses.append(sum(nats) / len(nats))
    return losses


class TestFineTune:
    @pytest.mark.parametrize(
        "changes",
        [
            {"every": 0},
            {"every": 0, "decay": 1.0, "lr": 0.1},
            {"epochs": 4},
            {"epochs": 5, "every": 2, "decay": 0.3},
            {"epochs": 2, "batch_size": 11},
        ],
    )
    def test_matches_the_loop_written_out(self, changes):
        model = a_model()
        twin = copy.deepcopy(model)
        losses, batches, x, y = tuned(model, **changes)
        arguments = dict(lr=0.05, decay=0.5, every=1) | {
            k: v for k, v in changes.items() if k in ("lr", "decay", "every")
        }
        per_epoch = -(-11 // changes.get("batch_size", 4))
        assert_close(losses, by_hand(twin, x, y, batches, per_epoch, **arguments))
        assert_close(state(model), state(twin))

    def test_each_call_averages_over_its_own_rows(self):
        for n in (11, 6):
            model = a_model()
            twin = copy.deepcopy(model)
            losses, batches, x, y = tuned(model, n, epochs=2)
            assert_close(losses, by_hand(twin, x, y, batches, -(-n // 4), lr=0.05, decay=0.5, every=1))

    def test_every_row_once_an_epoch_in_a_new_order(self):
        _, batches, _, _ = tuned(a_model(), n=26, epochs=3, batch_size=8)
        assert_equal([len(batch) for batch in batches], [8, 8, 8, 2] * 3)
        epochs = [[row for batch in batches[i : i + 4] for row in batch] for i in (0, 4, 8)]
        assert_equal([Counter(epoch) for epoch in epochs], [Counter(range(26))] * 3)
        if epochs[0] == epochs[1] or epochs[0] == list(range(26)):
            fail("The rows come in the same order in each epoch, or as they stand.", evidence=("order",))

    def test_rates_and_unfreezing_unless_told_otherwise(self):
        model = a_model()
        twin = copy.deepcopy(model)
        torch.manual_seed(6)
        x, y = torch.randn(9, 3, dtype=torch.float64), torch.randint(0, 4, (9,))
        found = fine_tune(model, x, y, 3, 5, 0.05)
        assert_close(fine_tune(twin, x, y, epochs=3, batch_size=5, lr=0.05, decay=1.0, every=1, seed=0), found)
        assert_close(state(twin), state(model))

    @pytest.mark.parametrize(("epochs", "every", "frozen"), [(2, 2, 3), (3, 1, 1), (1, 1, 3)])
    def test_what_is_frozen_stays_to_the_last_bit(self, epochs, every, frozen):
        model = a_model(dropout=0.3)
        before = [state(part) for part in model]
        tuned(model, epochs=epochs, every=every)
        for part, old in list(zip(model, before, strict=True))[:frozen]:
            assert_close(state(part), old, rtol=0, atol=0)
        moved = [bool((state(part)[key] != old[key]).any()) for part, old in zip(model, before, strict=True) for key in old if key.endswith("weight")]  # fmt: skip
        weights = [key for old in before[:frozen] for key in old if key.endswith("weight")]
        assert_equal(moved, [False] * len(weights) + [True] * (len(moved) - len(weights)))

    def test_gradients_and_frozen_flags_from_before_do_not_count(self):
        model = a_model()
        twin = copy.deepcopy(model)
        with_gradients(model).requires_grad_(False)
        expected = tuned(twin)[0]
        assert_close(tuned(model)[0], expected)
        assert_close(state(model), state(twin))

    def test_the_seed_decides(self):
        model = a_model()
        runs = [tuned(copy.deepcopy(model), n=26, seed=seed)[1] for seed in (3, 3, 4)]
        assert_equal(runs[0], runs[1])
        if runs[0] == runs[2]:
            fail("Seeds 3 and 4 draw the same batches.", evidence=("seed",))

    def test_torchs_own_generator_is_left_alone(self):
        model, x, y = a_model(), torch.randn(9, 3, dtype=torch.float64), torch.randint(0, 4, (9,))
        before = torch.get_rng_state()
        fine_tune(model, x, y, 2, 3, 0.05)
        assert_close(torch.get_rng_state(), before)

    def test_ends_in_evaluation_mode(self):
        model = a_model(dropout=0.3)
        tuned(model)
        assert_equal({module.training for part in model for module in part.modules()}, {False})

    def test_gives_plain_numbers(self):
        assert_equal([type(loss).__name__ for loss in tuned(a_model())[0]], ["float"] * 3)


def small_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU()),
        nn.Sequential(nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Linear(24 * 16, 64), nn.ReLU()),
        nn.Linear(64, 10),
    )


def to_eight(image: torch.Tensor) -> torch.Tensor:
    """MNIST's 28 × 28 as scikit-learn's digits are: the digit's own box, in 8 × 8."""
    down, across = (image.amax(axis).gt(0.2).nonzero().flatten().tolist() for axis in (1, 0))
    box = image[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    beside = max(0, int(box.shape[0] * 0.75) - box.shape[1])
    return F.adaptive_avg_pool2d(F.pad(box, (beside // 2, beside - beside // 2))[None, None], (8, 8))[0]


@pytest.fixture(scope="module")
def task(mnist, one_thread):
    """1200 images of MNIST in 8 × 8, and their digits: 20 of each to choose from, then 1000 to be asked."""
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))[:120]
    chosen = (order[:, None] + 500 * torch.arange(10)).flatten()  # they stand in order, 500 of each
    x = torch.stack([to_eight(torch.tensor(mnist[0][i]).float().reshape(28, 28) / 255) for i in chosen.tolist()])
    y = torch.tensor(mnist[1])[chosen]
    return x[:200], y[:200], x[200:], y[200:]


@pytest.fixture(scope="module")
def pretrained(digits, one_thread):
    """A small network that was trained on scikit-learn's digits, by torch alone."""
    x, y = torch.tensor(digits[0]).float().reshape(-1, 1, 8, 8) / 16, torch.tensor(digits[1])
    generator = torch.Generator().manual_seed(2)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    model = small_cnn()
    torch.set_rng_state(state)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(4):
        for rows in torch.randperm(len(x), generator=generator).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model


def three_of_each(task, seed):
    x, y, *test = task
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))[:3]
    rows = (order[:, None] * 10 + torch.arange(10)).flatten()
    return x[rows], y[rows], *test


def accuracy(logits, y) -> float:
    return (logits.argmax(1) == y).double().mean().item()


@pytest.mark.deadline(60)  # some seconds on a quiet machine, and right solutions in plain loops
@pytest.mark.learning
class TestLearning:
    @pytest.mark.parametrize("seed", [1, 2, 4])
    def test_a_probe_beats_one_of_pixels(self, task, pretrained, seed):
        """From three labels of each digit, features of another data set are worth more than pixels."""
        x, y, test_x, test_y = three_of_each(task, seed)
        body = copy.deepcopy(pretrained)[:3]
        probe = linear_probe(extract_features(body, x), y, 10, 0.05)
        found = accuracy(probe(extract_features(body, test_x)), test_y)
        baseline = accuracy(linear_probe(x.flatten(1), y, 10, 0.05)(test_x.flatten(1)), test_y)
        if found < baseline + 0.02:
            fail(
                f"The probe of features reads {found:.1%}; 2 % more than the {baseline:.1%} of a probe of pixels was "
                "expected.",
                evidence=("probe", round(found, 2)),
            )

    @pytest.mark.parametrize("seed", [1, 2, 4])
    def test_fine_tuning_beats_training_from_scratch(self, task, pretrained, seed):
        """From three labels of each digit, a network that has seen others reads more than a new one."""
        x, y, test_x, test_y = three_of_each(task, seed)
        # The new one learns in torch's own way, at a rate that suits it.
        torch.manual_seed(seed)
        fresh = small_cnn()
        optimizer = torch.optim.AdamW(fresh.parameters(), lr=3e-3)
        for _ in range(20):
            for rows in torch.randperm(len(x)).split(10):
                optimizer.zero_grad()
                F.cross_entropy(fresh(x[rows]), y[rows]).backward()
                optimizer.step()
        tuned = copy.deepcopy(pretrained)
        fine_tune(tuned, x, y, epochs=20, batch_size=10, lr=1e-3, every=0, seed=seed)
        with torch.no_grad():
            found, baseline = (accuracy(model.eval()(test_x), test_y) for model in (tuned, fresh))
        if found < baseline + 0.02:
            fail(
                f"The tuned network reads {found:.1%}; 2 % more than the {baseline:.1%} of a new one was expected.",
                evidence=("tuned", round(found, 2)),
            )


class TestOnTheGpu:
    def test_replace_head(self, gpu):
        copied = replace_head(gpu(a_model()), 7)
        assert_equal({p.device.type for p in copied.parameters()}, {gpu.device.type})

    def test_extract_features(self, gpu):
        body, x = stage(3, 5).double().eval(), torch.randn(7, 3, dtype=torch.float64)
        found = extract_features(gpu(body), gpu(x), 3)
        assert_equal(found.device.type, gpu.device.type)
        assert_close(found.cpu(), body(x).detach())

    @pytest.mark.deadline(60)  # a thousand small steps are right, too, and slow on a pretended device
    def test_linear_probe(self, gpu):
        features, labels = torch.randn(30, 3, dtype=torch.float64), torch.randint(0, 3, (30,))
        probe = linear_probe(gpu(features), gpu(labels), 3, 0.3)
        assert_equal({p.device.type for p in probe.parameters()}, {gpu.device.type})
        excess = loss_of(copy.deepcopy(probe).cpu(), features, labels, 0.3) - smallest_loss(features, labels, 3, 0.3)
        assert_equal(excess < 1.1e-3, True)

    def test_fine_tune(self, gpu):
        model, x, y = a_model(), torch.randn(9, 3, dtype=torch.float64), torch.randint(0, 4, (9,))
        moved = gpu(model)
        found = fine_tune(moved, gpu(x), gpu(y), 3, 5, 0.05, 0.5, 1, 2)
        assert_close(
            found, fine_tune(model, x, y, 3, 5, 0.05, 0.5, 1, 2), rtol=1e-6, atol=1e-9
        )  # another order of sums
        assert_equal({p.device.type for p in moved.parameters()}, {gpu.device.type})
