"""Judges k14_run_monitoring against norms in float64, the rules written out, planted spikes, and published numbers."""

import copy
import math
import statistics
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_07_training.k14_run_monitoring import (
    SpikeDetector,
    mfu,
    throughput,
    train_with_rollback,
    update_statistics,
)

pytestmark = [from_scratch("scipy"), pure()]


class Several(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4, dtype=dtype)
        self.head = nn.Linear(4, 6, dtype=dtype)
        self.head.weight = self.embedding.weight
        self.unused = nn.Parameter(torch.ones(3, dtype=dtype))
        self.frozen = nn.Parameter(torch.ones(3, dtype=dtype), requires_grad=False)

    def move(self) -> dict[str, torch.Tensor]:
        """Random gradients and a random step; returns the weights from before."""
        before = {name: p.detach().clone() for name, p in self.named_parameters()}
        for p in (self.embedding.weight, self.head.bias):
            p.grad = torch.randn_like(p)
            with torch.no_grad():
                p += 0.1 * torch.randn_like(p)
        return before


class TestUpdateStatistics:
    def test_of_numbers_worked_by_hand(self):
        model = nn.Linear(2, 1)
        before = {"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.tensor([10.0])}
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[3.0, 4.5]]))
            model.bias.copy_(torch.tensor([9.0]))
        model.weight.grad = torch.tensor([[-6.0, 8.0]])
        model.bias.grad = torch.tensor([-2.0])
        expected = {
            "weight": {"gradient": 10.0, "weight": 5.0, "update": 0.5, "ratio": 0.1},
            "bias": {"gradient": 2.0, "weight": 10.0, "update": 1.0, "ratio": 0.1},
        }
        found = update_statistics(model, before)
        assert_equal(sorted(found), ["bias", "weight"])
        for name in ("weight", "bias"):
            assert_close(dict(sorted(found[name].items())), dict(sorted(expected[name].items())))

    def test_names_and_norms(self):
        model = Several()
        before = model.move()
        found = update_statistics(model, before)
        assert_equal(sorted(found), ["embedding.weight", "head.bias"])
        for name in found:
            p, w = model.get_parameter(name), before[name]
            norms = [t.detach().square().sum().sqrt().item() for t in (p.grad, w, p - w)]
            # float32 is enough.
            assert_close([found[name][key] for key in ("gradient", "weight", "update")], norms, rtol=1e-5, atol=0)
            assert_close(found[name]["ratio"], norms[2] / norms[1], rtol=1e-5, atol=0)
            assert_equal(
                [isinstance(value, float) for value in found[name].values()], [True] * len(found[name].values())
            )

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_short_dtypes(self, dtype):
        model = nn.Linear(300, 200, bias=False, dtype=dtype)
        before = {"weight": torch.full((200, 300), 512.0, dtype=dtype)}
        with torch.no_grad():
            model.weight.copy_(before["weight"] * 1.25)
        model.weight.grad = torch.full((200, 300), 1000.0, dtype=dtype)
        expected = [x * math.sqrt(60_000) for x in (1000.0, 512.0, 128.0)]
        found = update_statistics(model, before)["weight"]
        # 60,000 float32 numbers added up; bfloat16 itself is off by up to 4e-3.
        assert_close([found[key] for key in ("gradient", "weight", "update")], expected, rtol=1e-4, atol=0)
        assert_close(found["ratio"], 0.25, rtol=1e-4, atol=0)

    @pytest.mark.parametrize(
        ("dtype", "old", "new"), [(torch.float16, 40_000, -40_000), (torch.bfloat16, 1.0, -0.01171875)]
    )
    def test_a_difference_that_a_short_dtype_cant_hold(self, dtype, old, new):
        model = nn.Linear(5, 4, bias=False, dtype=dtype)
        nn.init.constant_(model.weight, new)
        model.weight.grad = torch.ones_like(model.weight)
        before = {"weight": torch.full((4, 5), old, dtype=dtype)}
        found = update_statistics(model, before)["weight"]
        assert_close(found["update"], abs(new - old) * math.sqrt(20), rtol=1e-4, atol=0)

    def test_weights_of_0(self):
        model = nn.Linear(2, 1)
        nn.init.zeros_(model.bias)
        nn.init.constant_(model.weight, 0.5)
        before = {"weight": torch.zeros(1, 2), "bias": torch.zeros(1)}
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        found = update_statistics(model, before)
        assert_close((found["weight"]["ratio"], found["bias"]["ratio"]), (math.inf, 0.0))

    def test_nothing_changes(self):
        model = Several()
        before = model.move()
        kept = copy.deepcopy((before, [p.grad for p in model.parameters()]))
        update_statistics(model, before)
        assert_close(
            (before, [p.grad for p in model.parameters() if p.grad is not None]),
            (kept[0], [g for g in kept[1] if g is not None]),
            rtol=0,
            atol=0,
        )


def flags(detector: SpikeDetector, losses: list[float]) -> list[int]:
    """Where the spikes are."""
    return [i for i, loss in enumerate(losses) if detector.update(loss)]


class TestSpikeDetector:
    LOSSES = (2.0, 2.1, 1.9, 2.2, 1.8)

    @pytest.mark.parametrize(("loss", "spike"), [(2.74, False), (2.742, True), (100.0, True), (0.1, False)])
    def test_the_example_worked_by_hand(self, loss, spike):
        detector = SpikeDetector(5, 5.0, 5)
        assert_equal(flags(detector, [*self.LOSSES, loss]), [5] if spike else [])

    @pytest.mark.parametrize(("window", "threshold", "warmup"), [(5, 2.0, 2), (8, 4.0, 8), (6, 1.0, 3), (1, 3.0, 1)])
    def test_equals_the_rule_written_out(self, rng, window, threshold, warmup):
        losses = [float(x) for x in np.exp(rng.standard_normal(150))]
        kept: list[float] = []
        expected = []
        for i, loss in enumerate(losses):
            last = kept[-window:]
            if len(last) >= warmup:
                middle = statistics.median(last)
                mad = statistics.median([abs(x - middle) for x in last])
                if loss > middle + threshold * 1.4826 * mad:
                    expected.append(i)
                    continue
            kept.append(loss)
        assert_equal(flags(SpikeDetector(window, threshold, warmup), losses), expected)

    @pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
    def test_what_isnt_finite_is_always_a_spike_and_never_remembered(self, wrong):
        detector = SpikeDetector(4, 3.0, 3)
        losses = [wrong, 1.0, wrong, wrong, 2.0, 100.0, wrong, 2.0, 50.0, 300.0]
        # Remembered are 1, 2, 100 when the second 2 comes; then 1, 2, 100, 2 with median 2 and MAD 0.5.
        assert_equal(flags(detector, losses), [0, 2, 3, 6, 8, 9])

    def test_a_spike_isnt_remembered(self):
        detector = SpikeDetector(5, 5.0, 5)
        assert_equal(flags(detector, [*self.LOSSES, *[50.0] * 8, 2.0, 50.0]), [*range(5, 13), 14])

    def test_the_window_moves(self):
        falling = [10.0 - 0.05 * i for i in range(100)]
        detector = SpikeDetector(10, 5.0, 5)
        assert_equal(flags(detector, [*falling, 8.0]), [100])

    def test_equal_losses(self):
        detector = SpikeDetector(4, 9.0, 2)
        assert_equal(flags(detector, [1.0, 1.0, 1.0, 1.0, 1.0001, 0.5, 1.0]), [4])

    def test_two_of_them_dont_meet(self):
        one, other = SpikeDetector(5, 5.0, 5), SpikeDetector(5, 5.0, 5)
        flags(one, list(self.LOSSES))
        assert_equal((other.update(50.0), one.update(50.0)), (False, True))

    @pytest.mark.parametrize(("window", "warmup"), [(3, 4), (3, 0), (5, -1)])
    def test_other_warmups_are_refused(self, window, warmup):
        with raises(ValueError, window, warmup):
            SpikeDetector(window, 3.0, warmup)
        assert_equal([SpikeDetector(3, 3.0, ok).update(1.0) for ok in (1, 3)], [False, False])


class Above:
    """A detector for which every loss above a bound is a spike; it notes what it was told."""

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.told: list[float] = []

    def update(self, loss: float) -> bool:
        self.told.append(loss)
        return loss > self.bound


class Journey:
    """A model whose state is the list of batches it was trained on; batches named in `spikes` have a high loss."""

    def __init__(self, spikes: set[int]) -> None:
        self.spikes = spikes
        self.state: list[int] = []
        self.saved: list[list[int]] = []
        self.loaded: list[list[int]] = []
        self.taken = 0
        self.ahead = 0

    def step(self, batch: int) -> float:
        self.ahead = max(self.ahead, self.taken - batch - 1)
        self.state.append(batch)
        return 1e6 if batch in self.spikes else 1.0 + 0.01 * (batch % 3)

    def save(self) -> list[int]:
        self.saved.append(list(self.state))
        return list(self.state)

    def load(self, state: list[int]) -> None:
        self.loaded.append(list(state))
        self.state = list(state)

    def batches(self, count: int) -> Iterator[int]:
        for i in range(count):
            self.taken += 1
            yield i

    def run(self, count: int, every: int, limit: int = 99):
        return train_with_rollback(
            self.step, self.batches(count), self.save, self.load, Above(1000.0), every=every, limit=limit
        )


class TestTrainWithRollback:
    def test_as_drawn(self):
        journey = Journey({5})
        losses, spikes = journey.run(10, every=2)
        assert_equal(spikes, [5])
        assert_equal(journey.loaded, [[0, 1]])
        assert_equal([number for number, _ in losses], [0, 1, 6, 7, 8, 9])
        assert_equal(journey.state, [0, 1, 6, 7, 8, 9])
        # After the last batch a state may be saved or not.
        assert_equal(journey.saved[:4], [[], [0, 1], [0, 1, 2, 3], [0, 1, 6, 7]])

    @pytest.mark.parametrize("every", [1, 2, 3, 5, 100])
    @pytest.mark.parametrize(
        "spikes", [set(), {3}, {9}, {4, 5}, {8, 9, 10, 11}, {5, 12, 13, 19}, {6, 8, 10}, {29}, {3, 7, 11, 15, 19, 23}]
    )
    def test_equals_the_rule_written_out(self, spikes, every):
        journey = Journey(spikes)
        losses, found = journey.run(30, every)
        state: list[int] = []
        states, since, loads, saves = [[]], 0, [], [[]]
        for batch in range(30):
            if since == every:
                states, since = [*states, list(state)][-2:], 0
                saves.append(list(state))
            if batch in spikes:
                loads.append(list(states[0]))
                state, states, since = list(states[0]), states[:1], 0
            else:
                state.append(batch)
                since += 1
        assert_equal(found, sorted(spikes))
        assert_equal(journey.loaded, loads)
        assert_equal(journey.state, state)
        assert_equal(losses, [(batch, 1.0 + 0.01 * (batch % 3)) for batch in state])
        assert_equal(journey.saved[: len(saves)], saves)

    def test_a_batch_is_taken_once_when_it_is_needed(self):
        journey = Journey({4, 9})
        journey.run(15, 3)
        assert_equal((journey.taken, journey.ahead), (15, 0))

    @pytest.mark.parametrize("limit", [0, 1, 3])
    def test_too_many_spikes(self, limit):
        # This one first: NotImplementedError, which a stub raises, is a RuntimeError, too.
        journey = Journey({4, 7, 10, 13, 16})
        assert_equal(len(journey.run(20, 2, 5)[1]), 5)
        journey = Journey({4, 7, 10, 13, 16})
        with raises(RuntimeError, limit):
            journey.run(20, 2, limit)
        assert_equal((len(journey.loaded), journey.taken), (limit, 5 + 3 * limit))

    def test_the_detector_is_told_each_loss_once(self):
        detector, journey = Above(5.0), Journey(set())
        train_with_rollback([3.0, 7.0, 4.0, 9.0, 1.0].__getitem__, range(5), journey.save, journey.load, detector, 1, 2)
        assert_equal(detector.told, [3.0, 7.0, 4.0, 9.0, 1.0])

    def test_no_batches(self):
        losses, spikes = Journey(set()).run(0, 3)
        assert_equal((losses, spikes), ([], []))

    def test_a_loss_that_isnt_finite(self):
        state = {"w": 0}
        losses, spikes = train_with_rollback(
            lambda batch: state.update(w=state["w"] + 1) or batch,
            [1.0, math.nan, 1.0, math.inf, 1.0],
            lambda: dict(state),
            state.update,
            SpikeDetector(4, 3.0, 4),
            every=10,
            limit=2,
        )
        assert_equal((losses, spikes, state["w"]), ([(4, 1.0)], [1, 3], 1))

    @pytest.mark.deadline(60)  # a busy machine takes a while to load what torch.optim needs at its first step
    def test_a_poisoned_batch_leaves_no_trace_in_a_network(self):
        """With a batch that blows the weights up, the network ends where it would without all that was skipped."""
        x = torch.randn(40, 16, 5)
        y = (x @ torch.randn(5, 1) + 0.1 * torch.randn(40, 16, 1)).tanh()
        x[20] *= 1e4
        start = nn.Linear(5, 1)

        def make():
            net = copy.deepcopy(start)
            optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

            def step(i: int) -> float:
                loss = (net(x[i]) - y[i]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                return loss.item()

            def save():
                return copy.deepcopy((net.state_dict(), optimizer.state_dict()))

            def load(state) -> None:
                state = copy.deepcopy(state)
                net.load_state_dict(state[0])
                optimizer.load_state_dict(state[1])

            return net, step, save, load

        net, step, save, load = make()
        losses, spikes = train_with_rollback(step, range(40), save, load, SpikeDetector(10, 50.0, 5), 4, 20)
        assert_equal(20 in spikes, True)
        other, step, *_ = make()
        assert_equal([(i, step(i)) for i, _ in losses], losses)
        assert_close(list(net.parameters()), list(other.parameters()), rtol=0, atol=0)


class TestThroughput:
    def test_all_tokens_by_all_seconds(self):
        assert_close(throughput([100, 900], [1.0, 1.0]), 500.0)
        assert_close(throughput([100, 100, 400], [1.0, 4.0, 1.0]), 100.0)
        assert_close(throughput([7001, 12_000], [2.0, 1.0]), 19_001 / 3)

    @pytest.mark.parametrize(("skip", "expected"), [(0, 10.0), (1, 100.0), (2, 200.0)])
    def test_the_first_steps_are_left_out(self, skip, expected):
        assert_close(throughput([100, 100, 200], [37.0, 2.0, 1.0], skip), expected)

    @pytest.mark.parametrize("skip", [2, 3])
    def test_no_step_is_left(self, skip):
        with raises(ValueError, skip):
            throughput([100, 100], [1.0, 1.0], skip)


class TestMfu:
    def test_palm_as_published(self):
        found = mfu(238_300, 540_350_000_000, 118, 48, 256, 2048, 6144 * 275e12)
        assert_close(found, 0.462, atol=5e-4, rtol=0)  # published with three digits

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((10.0, 7, 1, 1, 1, 0, 840.0), 0.5),
            ((2.0, 0, 2, 3, 5, 7, 2520.0), 2.0),
            ((1.0, 10, 2, 3, 4, 5, 3000.0), 0.5),
            ((17.0, 10, 2, 3, 4, 5, 9000.0), 17 / 6),
        ],
    )
    def test_by_hand(self, arguments, expected):
        assert_close(mfu(*arguments), expected)


class TestOnTheGpu:
    def test_update_statistics(self, gpu):
        model = Several()
        before = model.move()
        there = gpu(model)
        for name, p in model.named_parameters():
            there.get_parameter(name).grad = None if p.grad is None else gpu(p.grad)
        found, expected = update_statistics(there, gpu(before)), update_statistics(model, before)
        assert_close(found["head.bias"], expected["head.bias"])
        assert_close(found["embedding.weight"], expected["embedding.weight"])
