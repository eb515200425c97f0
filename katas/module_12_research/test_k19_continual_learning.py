"""Judges k19_continual_learning by closed forms, by slopes taken one at a time, and on digits that come in pairs."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import f64, normal, number, seeded
from katas.module_12_research.k19_continual_learning import (
    ProgressiveNetwork,
    ReservoirBuffer,
    diagonal_fisher,
    ewc_penalty,
    replay_loss,
    transfer_measures,
)

pytestmark = [from_scratch("avalanche", "torch.optim"), pure()]


def small_net() -> nn.Module:
    return named_weights(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)))


def fisher_by_hand(model: nn.Module, x: torch.Tensor, y: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Example by example and class by class, with backward."""
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for i in range(len(x)):
        for c in range(3):
            log_p = model(x[i : i + 1]).log_softmax(-1)[0, c]
            chance = log_p.exp().item() if y is None else float(y[i] == c)
            slopes = torch.autograd.grad(log_p, list(model.parameters()))
            for (name, _), slope in zip(model.named_parameters(), slopes, strict=True):
                total[name] += chance * slope**2 / len(x)
    return total


class TestDiagonalFisher:
    def test_the_example_worked_by_hand(self):
        model = nn.Linear(1, 2, bias=False).double()
        nn.init.zeros_(model.weight)
        assert_close(diagonal_fisher(model, f64([2])), {"weight": f64([1], [1])})
        assert_close(diagonal_fisher(model, f64([2]), torch.tensor([0])), {"weight": f64([1], [1])})
        assert_close(diagonal_fisher(model, f64([2], [4]), torch.tensor([0, 0])), {"weight": f64([2.5], [2.5])})

    def test_closed_form_of_a_linear_model(self):
        """F of W_cj is the mean of x_j² p_c (1 - p_c)."""
        model, x = named_weights(nn.Linear(4, 3)), 1.5 * normal(7, 4)
        p = model(x).softmax(-1).detach()
        spread = p * (1 - p)
        expected = {"weight": spread.T @ x.square() / 7, "bias": spread.mean(0)}
        assert_close(diagonal_fisher(model, x), expected)

    @pytest.mark.parametrize("labelled", [False, True], ids=["exact", "empirical"])
    def test_slope_by_slope(self, labelled):
        model, x = small_net(), 2 * normal(6, 4)
        y = torch.tensor([2, 0, 1, 1, 0, 2]) if labelled else None
        assert_close(diagonal_fisher(model, x, y), fisher_by_hand(model, x, y))

    def test_where_slopes_cancel(self):
        """Two examples that pull in opposite directions: the mean slope is 0, the mean square isn't."""
        model = nn.Linear(1, 2, bias=False).double()
        nn.init.zeros_(model.weight)
        assert_close(diagonal_fisher(model, f64([2], [2]), torch.tensor([0, 1])), {"weight": f64([1], [1])})

    def test_images(self):
        model = named_weights(nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 3)))
        x = normal(4, 1, 3, 3)
        assert_close(diagonal_fisher(model, x), fisher_by_hand(model, x, None))

    def test_the_model_is_left_alone(self):
        model, x = small_net(), normal(4, 4)
        model.train()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        found = diagonal_fisher(model, x)
        assert_equal({name: p.detach() for name, p in model.named_parameters()}, before)
        assert_equal([p.grad for p in model.parameters()], [None] * 4)
        assert_equal((model.training, [f.requires_grad for f in found.values()]), (True, [False] * 4))

    def test_keeps_float32(self):
        model, x = small_net().float(), normal(4, 4).float()
        assert_equal({f.dtype for f in diagonal_fisher(model, x).values()}, {torch.float32})

    def test_on_the_gpu(self, gpu):
        gpu.check(diagonal_fisher, small_net(), normal(4, 4))
        gpu.check(diagonal_fisher, small_net(), normal(4, 4), torch.tensor([2, 0, 1, 1]))


def tables(model: nn.Module, seed: int, square: bool = False) -> dict[str, torch.Tensor]:
    draw = {name: normal(*p.shape, seed=seed + i) for i, (name, p) in enumerate(model.named_parameters())}
    return {name: value**2 if square else value for name, value in draw.items()}


class TestEwcPenalty:
    def test_the_example_worked_by_hand(self):
        model = nn.Linear(2, 1, bias=False).double()
        with torch.no_grad():
            model.weight.copy_(f64([5, 3]))
        old = [({"weight": f64([3, 2])}, {"weight": f64([1, 4])})]
        assert_close(ewc_penalty(model, old, 3.0).detach(), number(12.0))

    @pytest.mark.parametrize("tasks", [1, 3])
    @pytest.mark.parametrize("strength", [0.7, 20.0])
    def test_weight_by_weight(self, strength, tasks):
        model = small_net()
        old = [(tables(model, 10 * t), tables(model, 10 * t + 5, square=True)) for t in range(tasks)]
        total = 0.0
        for anchor, fisher in old:
            for name, p in model.named_parameters():
                for w, a, f in zip(p.flatten().tolist(), anchor[name].flatten().tolist(), fisher[name].flatten().tolist(), strict=True):
                    total += f * (w - a) ** 2
        assert_close(ewc_penalty(model, old, strength).detach(), number(strength / 2 * total))

    def test_nothing_to_hold_on_to(self):
        assert_close(ewc_penalty(small_net(), [], 5.0).detach(), number(0.0))

    def test_gradients(self):
        """λ F (θ - θ*)."""
        model = small_net()
        anchor, fisher = tables(model, 1), tables(model, 7, square=True)
        slopes = torch.autograd.grad(ewc_penalty(model, [(anchor, fisher)], 3.0), list(model.parameters()))
        expected = tuple(3.0 * fisher[name] * (p - anchor[name]).detach() for name, p in model.named_parameters())
        assert_close(slopes, expected)

    def test_on_the_gpu(self, gpu):
        model = small_net()
        gpu.check(lambda m, a, f: ewc_penalty(m, [(a, f)], 3.0), model, tables(model, 1), tables(model, 7, square=True))


def stream(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Example k is (k, 10 k), its label k."""
    k = torch.arange(start, stop)
    return torch.stack([k, 10 * k], 1).double(), k


class TestReservoirBuffer:
    def test_room_for_all(self):
        buffer = ReservoirBuffer(5, seeded(0))
        assert_equal((len(buffer), buffer.seen, buffer.x, buffer.y), (0, 0, None, None))
        buffer.add(*stream(0, 2))
        buffer.add(*stream(2, 5))
        assert_equal((len(buffer), buffer.seen), (5, 5))
        order = buffer.y.argsort()
        assert_equal((buffer.x[order], buffer.y[order]), stream(0, 5))

    @pytest.mark.parametrize("batch", [1, 7, 40])
    def test_rows_stay_together(self, batch):
        buffer = ReservoirBuffer(6, seeded(1))
        for start in range(0, 40, batch):
            buffer.add(*stream(start, min(start + batch, 40)))
        assert_equal((len(buffer), buffer.seen, tuple(buffer.x.shape), tuple(buffer.y.shape)), (6, 40, (6, 2), (6,)))
        assert_equal(buffer.x, torch.stack([buffer.y, 10 * buffer.y], 1).double())
        assert_equal(len(set(buffer.y.tolist())), 6)

    def test_dtypes_stay(self):
        buffer = ReservoirBuffer(2, seeded(1))
        x, y = stream(0, 5)
        buffer.add(x.float(), y.int())
        assert_equal((buffer.x.dtype, buffer.y.dtype), (torch.float32, torch.int32))

    @pytest.mark.parametrize("batch", [1, 4])
    def test_every_example_is_kept_as_often(self, batch):
        """Three of twelve, 1200 times: each example 300 times, whenever it came."""
        generator, kept = seeded(3), Counter()
        for _ in range(1200):
            buffer = ReservoirBuffer(3, generator)
            for start in range(0, 12, batch):
                buffer.add(*stream(start, start + batch))
            kept.update(buffer.y.tolist())
        worst = max(range(12), key=lambda k: abs(kept[k] - 300))
        if abs(kept[worst] - 300) > 80:  # more than five deviations of 15
            fail(
                f"three of twelve examples are kept, so each should be in 1/4 of 1200 runs, 300; example {worst + 1} was in {kept[worst]}",
                evidence=(worst, round(kept[worst] / 100)),
            )

    def test_places_are_replaced_alike(self):
        """Of the first two, each is as often the one that goes."""
        generator, kept = seeded(5), Counter()
        for _ in range(900):
            buffer = ReservoirBuffer(2, generator)
            buffer.add(*stream(0, 3))
            kept[tuple(sorted(buffer.y.tolist()))] += 1
        if any(abs(kept[pair] - 300) > 75 for pair in [(0, 1), (0, 2), (1, 2)]):
            fail(f"each two of three examples should be kept in about 300 of 900 runs; it was {dict(kept)}", evidence=sorted(kept.items()))

    def test_copies_are_kept(self):
        buffer, (x, y) = ReservoirBuffer(2, seeded(0)), stream(0, 3)
        buffer.add(x, y)
        before = buffer.x.clone(), buffer.y.clone()
        x.add_(100)
        y.add_(100)
        assert_equal((buffer.x, buffer.y), before)

    def test_one_example_is_copied_as_well(self):
        buffer, (x, y) = ReservoirBuffer(2, seeded(0)), stream(3, 4)
        buffer.add(x, y)
        x.add_(100)
        assert_equal(buffer.x, stream(3, 4)[0])

    @pytest.mark.parametrize("count", [1, 3, 4, 9])
    def test_a_sample(self, count):
        buffer = ReservoirBuffer(4, seeded(2))
        buffer.add(*stream(0, 9))
        x, y = buffer.sample(count)
        assert_equal(len(y), min(count, 4))
        assert_equal(x, torch.stack([y, 10 * y], 1).double())
        if len(set(y.tolist())) < len(y) or not set(y.tolist()) <= set(buffer.y.tolist()):
            fail("a sample should hold different examples of those that are kept", evidence=count)

    def test_samples_are_equally_likely(self):
        buffer, found = ReservoirBuffer(4, seeded(2)), Counter()
        buffer.add(*stream(0, 4))
        for _ in range(1200):
            found[tuple(sorted(buffer.sample(2)[1].tolist()))] += 1
        if len(found) < 6 or any(abs(n - 200) > 65 for n in found.values()):
            fail("each two of four examples should be drawn about 200 times of 1200", evidence=0)

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        kept = []
        for _ in range(2):
            buffer = ReservoirBuffer(3, seeded(4))
            buffer.add(*stream(0, 30))
            kept.append((sorted(buffer.y.tolist()), buffer.sample(2)[1].tolist()))
        assert_equal(torch.get_rng_state(), before)
        assert_equal(kept[0], kept[1])

    @pytest.mark.parametrize("capacity", [0, -2])
    def test_refuses_no_room(self, capacity):
        with raises(ValueError, capacity):
            ReservoirBuffer(capacity, seeded(0))

    def test_nothing_to_draw_from(self):
        with raises(ValueError, "buffer"):
            ReservoirBuffer(3, seeded(0)).sample(1)

    def test_on_the_gpu(self, gpu):
        buffer = ReservoirBuffer(3, seeded(0))
        for start in (0, 4):
            x, y = stream(start, start + 4)
            buffer.add(gpu(x), gpu(y))
        assert_equal([t.device.type for t in (buffer.x, buffer.y, *buffer.sample(2))], [gpu.device.type] * 4)


def filled(count: int) -> ReservoirBuffer:
    """A memory of `count` equal examples, so that any sample is the same."""
    buffer = ReservoirBuffer(max(count, 1), seeded(0))
    if count:
        buffer.add(normal(1, 4, seed=9).repeat(count, 1), torch.full((count,), 2))
    return buffer


PAIRS = ((0, 1), (2, 3), (4, 5))


def learn_pairs(how: str, seed: int, digits) -> float:
    """How much accuracy on the first two of three tasks is lost: odd or even, for two digits each."""
    images, names = torch.tensor(digits[0]).float() / 16, torch.tensor(digits[1])
    torch.manual_seed(seed)
    generator = seeded(seed)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))
    old, memory, accuracy = [], ReservoirBuffer(60, generator), torch.zeros(3, 3)
    rows = []
    for pair in PAIRS:
        places = torch.isin(names, torch.tensor(pair)).nonzero()[:, 0]
        rows.append(places[torch.randperm(len(places), generator=seeded(seed))])
    for task, places in enumerate(rows):
        x, y = images[places[:200]], names[places[:200]] % 2
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(60):
            batch = torch.randperm(200, generator=generator)[:40]
            loss = F.cross_entropy(model(x[batch]), y[batch])
            if how == "ewc":
                loss = loss + ewc_penalty(model, old, 300.0)
            if how == "replay":
                loss = replay_loss(model, x[batch], y[batch], memory, 40)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if how == "ewc":
            anchor = {name: p.detach().clone() for name, p in model.named_parameters()}
            old.append((anchor, diagonal_fisher(model, x)))
        memory.add(x, y)
        for j, other in enumerate(rows):
            right = model(images[other[200:]]).argmax(1) == names[other[200:]] % 2
            accuracy[task, j] = right.double().mean()
    return (accuracy.diagonal() - accuracy[-1])[:-1].mean().item()


class TestReplayLoss:
    def test_the_batch_and_the_memory(self):
        model, x, y, memory = small_net(), normal(5, 4), torch.tensor([0, 1, 2, 1, 0]), filled(6)
        old = F.cross_entropy(model(memory.x), memory.y)
        for weight in (1.0, 0.3):
            expected = F.cross_entropy(model(x), y) + weight * old
            assert_close(replay_loss(model, x, y, memory, 3, weight).detach(), expected.detach())

    def test_the_weight_is_1_unless_told(self):
        model, x, y, memory = small_net(), normal(5, 4), torch.tensor([0, 1, 2, 1, 0]), filled(6)
        assert_close(replay_loss(model, x, y, memory, 3).detach(), replay_loss(model, x, y, memory, 3, 1.0).detach())

    def test_an_empty_memory(self):
        model, x, y = small_net(), normal(5, 4), torch.tensor([0, 1, 2, 1, 0])
        assert_close(replay_loss(model, x, y, filled(0), 3).detach(), F.cross_entropy(model(x), y).detach())

    def test_as_many_as_asked_for(self):
        memory, asked = filled(6), []
        draw = memory.sample
        memory.sample = lambda count: asked.append(count) or draw(count)
        replay_loss(small_net(), normal(5, 4), torch.tensor([0, 1, 2, 1, 0]), memory, 4)
        assert_equal(asked, [4])

    def test_nothing_is_added(self):
        memory = filled(2)
        replay_loss(small_net(), normal(5, 4), torch.tensor([0, 1, 2, 1, 0]), memory, 2)
        assert_equal((memory.seen, len(memory)), (2, 2))

    def test_gradients(self):
        model, x, y, memory = small_net(), normal(5, 4), torch.tensor([0, 1, 2, 1, 0]), filled(6)
        losses = replay_loss(model, x, y, memory, 3, 0.3), F.cross_entropy(model(x), y) + 0.3 * F.cross_entropy(model(memory.x), memory.y)
        slopes = [torch.autograd.grad(loss, list(model.parameters())) for loss in losses]
        assert_close(slopes[0], slopes[1])

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    @pytest.mark.parametrize("seed", range(3))
    def test_forgetting_falls(self, seed, digits):
        """Three pairs of digits, one after the other: plain training forgets, EWC and replay much less."""
        lost = {how: learn_pairs(how, seed, digits) for how in ("plain", "ewc", "replay")}
        if max(lost["ewc"], lost["replay"]) > 0.6 * lost["plain"]:
            fail(
                f"of the accuracy on old pairs plain training loses {lost['plain']:.0%}, EWC {lost['ewc']:.0%} and replay "
                f"{lost['replay']:.0%}; both should lose at most 0.6 of what plain training does",
                evidence=[how for how in ("ewc", "replay") if lost[how] > 0.6 * lost["plain"]],
            )

    def test_on_the_gpu(self, gpu):
        def loss(model, x, y):
            memory = ReservoirBuffer(4, seeded(0))
            memory.add(x, y)
            return replay_loss(model, x, y, memory, 4, 0.3)

        gpu.check(loss, small_net(), normal(4, 4), torch.tensor([0, 1, 2, 1]))


def a_network(*classes: int) -> nn.Module:
    network = ProgressiveNetwork(4, 3)
    for count in classes:
        network.add_task(count)
    return named_weights(network)


class TestProgressiveNetwork:
    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in a_network(2, 5).named_parameters()}
        expected = {"side.1.0.weight": (3, 3)}
        for t, classes in enumerate((2, 5)):
            for name, shape in [("first", (3, 4)), ("second", (3, 3)), ("head", (classes, 3))]:
                expected |= {f"{name}.{t}.weight": shape, f"{name}.{t}.bias": shape[:1]}
        assert_equal(shapes, expected)
        assert_equal([name for name, _ in ProgressiveNetwork(4, 3).named_parameters()], [])

    @pytest.mark.parametrize("task", [0, 1, 2])
    def test_layer_by_layer(self, task):
        network, x = a_network(2, 5, 3), 2 * normal(6, 4)
        p = dict(network.named_parameters())
        a = [(x @ p[f"first.{s}.weight"].T + p[f"first.{s}.bias"]).clamp(min=0) for s in range(task + 1)]
        b = a[task] @ p[f"second.{task}.weight"].T + p[f"second.{task}.bias"]
        for s in range(task):
            b = b + a[s] @ p[f"side.{task}.{s}.weight"].T
        expected = b.clamp(min=0) @ p[f"head.{task}.weight"].T + p[f"head.{task}.bias"]
        assert_close(network(x, task).detach(), expected.detach())

    def test_what_was_there_is_frozen(self):
        network = ProgressiveNetwork(4, 3)
        for classes in (2, 5, 3):
            network.add_task(classes)
        free = sorted(name for name, p in network.named_parameters() if p.requires_grad)
        expected = [f"{name}.2.{part}" for name in ("first", "second", "head") for part in ("weight", "bias")]
        assert_equal(free, sorted([*expected, "side.2.0.weight", "side.2.1.weight"]))

    def test_the_first_column_can_be_trained(self):
        network = ProgressiveNetwork(4, 3)
        network.add_task(2)
        assert_equal([p.requires_grad for p in network.parameters()], [True] * 6)

    def test_old_answers_stay(self):
        network = a_network(2)
        x = normal(6, 4)
        before = network(x, 0).detach()
        network.add_task(5)
        network.double()
        assert_close(network(x, 0).detach(), before)

    def test_slopes_go_through_the_frozen_column(self):
        """A new task's loss reaches the side weights and x, and no weight of the old column."""
        network, x = ProgressiveNetwork(4, 3), normal(6, 4).requires_grad_()
        network.add_task(2)
        network.add_task(5)
        named_weights(network)(x, 1).sum().backward()
        reached = sorted(name for name, p in network.named_parameters() if p.grad is not None)
        expected = [f"{name}.1.{part}" for name in ("first", "second", "head") for part in ("weight", "bias")]
        assert_equal(reached, sorted([*expected, "side.1.0.weight"]))
        assert_equal(bool((x.grad != 0).any()), True)

    @pytest.mark.parametrize("task", [0, 1])
    def test_gradients(self, task):
        network, x = a_network(2, 5), normal(3, 4).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: network(x, task), x)

    @pytest.mark.parametrize("task", [2, -1, 7])
    def test_refuses_a_task_that_isnt_there(self, task):
        with raises(ValueError, task, 2):
            a_network(2, 5)(normal(1, 4), task)

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda network, x: network(x, 2), a_network(2, 5, 3), normal(6, 4).requires_grad_())


TABLE, UNTRAINED = f64([0.9, 0.5, 0.4], [0.7, 0.8, 0.5], [0.6, 0.7, 0.9]), f64(0.5, 0.5, 0.5)


class TestTransferMeasures:
    def test_the_example_worked_by_hand(self):
        found = transfer_measures(TABLE, UNTRAINED)
        assert_close(tuple(found), (2.2 / 3, 0.2, -0.2, 0.0))
        assert_equal([type(value) for value in found], [float] * 4)

    @pytest.mark.parametrize("tasks", [2, 3, 5])
    def test_task_by_task(self, tasks):
        table, chance = normal(tasks, tasks).abs(), normal(tasks, seed=1).abs()
        r, n = table.tolist(), tasks - 1
        expected = {
            "average": sum(r[n]) / tasks,
            "forgetting": sum(max(r[i][j] for i in range(n)) - r[n][j] for j in range(n)) / n,
            "backward": sum(r[n][j] - r[j][j] for j in range(n)) / n,
            "forward": sum(r[j - 1][j] - chance[j].item() for j in range(1, tasks)) / n,
        }
        assert_close(transfer_measures(table, chance)._asdict(), expected)

    def test_forgetting_may_be_negative(self):
        """What later tasks taught about earlier ones counts against it."""
        found = transfer_measures(f64([0.5, 0.1], [0.8, 0.9]), f64(0.2, 0.3))
        assert_close(tuple(found), (0.85, -0.3, 0.3, -0.2))

    def test_the_best_so_far_need_not_be_the_first(self):
        found = transfer_measures(f64([0.5, 0, 0], [0.9, 0.6, 0], [0.4, 0.6, 1.0]), f64(0, 0, 0))
        assert_close(found.forgetting, 0.25)

    def test_single_precision(self):
        found = transfer_measures(TABLE.float(), UNTRAINED.float())
        assert_close(tuple(found), (2.2 / 3, 0.2, -0.2, 0.0), atol=1e-6)

    @pytest.mark.parametrize("shape", [(2, 3), (1, 1), (3,), (2, 2, 2)])
    def test_refuses_what_is_no_table_of_tasks(self, shape):
        with raises(ValueError, shape):
            transfer_measures(torch.zeros(shape), torch.zeros(shape[0]))

    def test_on_the_gpu(self, gpu):
        assert_close(tuple(transfer_measures(gpu(TABLE), gpu(UNTRAINED))), (2.2 / 3, 0.2, -0.2, 0.0))
