"""Judges k06_schedules against torch's own schedulers, step by step, and against closed forms."""

import copy
import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_07_training.k06_schedules import (
    Scheduler,
    cosine,
    cyclic,
    one_cycle,
    step_decay,
    warm_restarts,
    warmup,
    wsd,
)

pytestmark = [from_scratch("torch.optim.lr_scheduler", "transformers"), pure()]

BASE = 0.8


def factors(schedule, steps: int) -> torch.Tensor:
    return torch.tensor([float(schedule(t)) for t in range(steps)], dtype=torch.float64)


def torchs(make, steps: int, base: float = BASE) -> torch.Tensor:
    """The rates that a scheduler of torch sets, step by step, divided by the base."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = make(optimizer)
    found = []
    for t in range(steps):
        found.append(optimizer.param_groups[0]["lr"] / base)
        optimizer.step()
        if t < steps - 1:
            scheduler.step()
    return torch.tensor(found, dtype=torch.float64)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


class TestStepDecay:
    def test_the_example_worked_by_hand(self):
        assert_close(factors(lambda t: step_decay(t, [3, 5], 0.1), 6), numbers(1, 1, 1, 0.1, 0.1, 0.01))

    @pytest.mark.parametrize("gamma", [0.5, 0.3, 1.5])
    @pytest.mark.parametrize("milestones", [[4], [2, 3, 9], [7, 1, 4], [3, 3, 8], [0, 5], [100]])
    def test_matches_torch(self, milestones, gamma):
        from torch.optim.lr_scheduler import LambdaLR, MultiStepLR

        if 0 in milestones:  # torch's never looks at its step 0
            expected = torchs(lambda o: LambdaLR(o, lambda t: gamma ** (1 + (t >= 5))), 12)
        else:
            expected = torchs(lambda o: MultiStepLR(o, milestones, gamma), 12)
        assert_close(factors(lambda t: step_decay(t, milestones, gamma), 12), expected)

    def test_no_milestone(self):
        assert_close(step_decay(5, [], 0.1), 1.0)


class TestCosine:
    def test_the_example_worked_by_hand(self):
        assert_close([cosine(t, 4, 0.2) for t in (2, 4, 5)], [0.6, 0.2, 0.2])

    @pytest.mark.parametrize("low", [0.0, 0.1, 0.45])
    @pytest.mark.parametrize("steps", [1, 2, 7, 20])
    def test_matches_torch_up_to_its_end(self, steps, low):
        from torch.optim.lr_scheduler import CosineAnnealingLR

        expected = torchs(lambda o: CosineAnnealingLR(o, steps, eta_min=low * BASE), steps + 1)
        assert_close(factors(lambda t: cosine(t, steps, low), steps + 1), expected)

    @pytest.mark.parametrize("low", [0.0, 0.3])
    def test_stays_low_after_the_end(self, low):
        assert_close([cosine(t, 6, low) for t in (6, 7, 9, 12, 18, 1000)], [low] * 6)

    def test_ends_at_0_by_default(self):
        assert_close([cosine(0, 6), cosine(2, 6), cosine(6, 6)], [1.0, 0.75, 0.0])


class TestWarmRestarts:
    def test_the_example_worked_by_hand(self):
        half, a, b = 0.5, (1 + math.sqrt(0.5)) / 2, (1 - math.sqrt(0.5)) / 2
        assert_close(factors(lambda t: warm_restarts(t, 2, 2), 7), numbers(1, half, 1, a, half, b, 1))

    @pytest.mark.parametrize("low", [0.0, 0.25])
    @pytest.mark.parametrize(("first", "mult"), [(5, 1), (3, 2), (1, 1), (1, 2), (2, 3)])
    def test_matches_torch(self, first, mult, low):
        from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

        expected = torchs(lambda o: CosineAnnealingWarmRestarts(o, first, mult, eta_min=low * BASE), 40)
        assert_close(factors(lambda t: warm_restarts(t, first, mult, low), 40), expected)

    @pytest.mark.parametrize(("first", "mult"), [(3, 2), (1, 2), (5, 3), (7, 10), (1, 3)])
    def test_late_restarts_are_exact(self, first, mult):
        at, length = 0, first
        for _ in range(14):  # one by one: with a wrong length the late ones would take for ever
            at += length
            before = 0.1 + 0.9 * (1 + math.cos(math.pi * (length - 1) / length)) / 2
            assert_close([warm_restarts(t, first, mult, 0.1) for t in (at - 1, at)], [before, 1.0])
            length *= mult

    def test_all_alike_and_down_to_0_by_default(self):
        assert_close(factors(lambda t: warm_restarts(t, 2), 5), numbers(1, 0.5, 1, 0.5, 1))


class TestCyclic:
    def test_the_example_worked_by_hand(self):
        expected = numbers(0.2, 0.6, 1, 0.8, 0.6, 0.4, 0.2, 0.4, 0.6, 0.5)
        assert_close(factors(lambda t: cyclic(t, 2, 4, 0.2, 0.5), 10), expected)

    @pytest.mark.parametrize("low", [0.0, 0.3])
    @pytest.mark.parametrize(("up", "down"), [(3, 5), (4, 4), (5, 2), (1, 1), (1, 6)])
    def test_matches_torchs_triangles(self, up, down, low):
        from torch.optim.lr_scheduler import CyclicLR

        expected = torchs(lambda o: CyclicLR(o, low * BASE, BASE, up, down, cycle_momentum=False), 40)
        assert_close(factors(lambda t: cyclic(t, up, down, low), 40), expected)

    @pytest.mark.parametrize("shrink", [0.5, 0.8])
    @pytest.mark.parametrize(("up", "down"), [(3, 5), (2, 2)])
    def test_matches_torch_as_cycles_shrink(self, up, down, shrink):
        from torch.optim.lr_scheduler import CyclicLR

        expected = torchs(
            lambda o: CyclicLR(
                o, 0.25 * BASE, BASE, up, down, scale_fn=lambda c: shrink ** (c - 1), cycle_momentum=False
            ),
            40,
        )
        assert_close(factors(lambda t: cyclic(t, up, down, 0.25, shrink), 40), expected)


class TestOneCycle:
    def test_the_example_worked_by_hand(self):
        assert_close([one_cycle(t, 10, 0.5, 4.0, 5.0) for t in (0, 4, 9)], [0.25, 1.0, 0.05])

    @pytest.mark.parametrize(("div", "final_div"), [(25.0, 1e4), (4.0, 3.0), (2.0, 0.25)])
    @pytest.mark.parametrize(("total", "warm"), [(10, 0.5), (10, 0.3), (37, 0.3), (23, 0.25), (9, 0.8)])
    def test_matches_torch(self, total, warm, div, final_div):
        from torch.optim.lr_scheduler import OneCycleLR

        def make(optimizer):
            return OneCycleLR(
                optimizer,
                BASE,
                total_steps=total,
                pct_start=warm,
                div_factor=div,
                final_div_factor=final_div,
                cycle_momentum=False,
            )

        found = factors(lambda t: one_cycle(t, total, warm, div, final_div), total)
        assert_close(found, torchs(make, total))

    def test_the_defaults_are_torchs(self):
        from torch.optim.lr_scheduler import OneCycleLR

        expected = torchs(lambda o: OneCycleLR(o, BASE, total_steps=20, cycle_momentum=False), 20)
        assert_close(factors(lambda t: one_cycle(t, 20), 20), expected)
        assert_close(one_cycle(19, 20), 1 / 25 / 1e4, atol=1e-12, rtol=1e-7)

    @pytest.mark.parametrize(("t", "total"), [(10, 10), (23, 12)])
    def test_refuses_steps_beyond_the_end(self, t, total):
        one_cycle(total - 1, total)
        with raises(ValueError, t, total):
            one_cycle(t, total)


class TestWsd:
    def test_the_example_worked_by_hand(self):
        expected = numbers(0, 0.5, 1, 1, 1, 1, 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75), 0, 0)
        assert_close(factors(lambda t: wsd(t, 2, 3, 4), 11), expected)
        assert_close(factors(lambda t: wsd(t, 2, 3, 4, 0.0, "sqrt"), 11), expected)

    @pytest.mark.parametrize("low", [0.1, 0.4])
    @pytest.mark.parametrize(("warm", "stable", "decay"), [(4, 6, 5), (1, 1, 1), (7, 2, 9)])
    def test_the_linear_one_matches_torchs_parts(self, warm, stable, decay, low):
        from torch.optim.lr_scheduler import ConstantLR, LinearLR, SequentialLR

        def make(optimizer):
            tiny = 1e-12  # torch's warm-up can't begin at 0
            parts = [
                LinearLR(optimizer, tiny, 1.0, warm),
                ConstantLR(optimizer, 1.0, stable),
                LinearLR(optimizer, 1.0, low, decay),
            ]
            return SequentialLR(optimizer, parts, [warm, warm + stable])

        steps = warm + stable + decay + 4
        assert_close(factors(lambda t: wsd(t, warm, stable, decay, low, "linear"), steps), torchs(make, steps))

    @pytest.mark.parametrize("low", [0.0, 0.3])
    @pytest.mark.parametrize("decay", [1, 4, 11])
    def test_the_decay_along_the_root(self, decay, low):
        u = torch.arange(decay + 1, dtype=torch.float64) / decay
        found = numbers(*(wsd(5 + t, 2, 3, decay, low, "sqrt") for t in range(decay + 1)))
        assert_close(found, low + (1 - low) * (1 - u.sqrt()))

    @pytest.mark.parametrize("shape", ["linear", "sqrt"])
    def test_any_part_may_be_missing(self, shape):
        assert_close([wsd(t, 0, 2, 1, 0.5, shape) for t in range(4)], [1.0, 1.0, 1.0, 0.5])
        assert_close([wsd(t, 2, 0, 1, 0.5, shape) for t in range(5)], [0.0, 0.5, 1.0, 0.5, 0.5])
        assert_close([wsd(t, 2, 2, 0, 0.5, shape) for t in range(6)], [0.0, 0.5, 1.0, 1.0, 0.5, 0.5])
        assert_close([wsd(t, 0, 0, 0, 0.25, shape) for t in range(2)], [0.25, 0.25])

    @pytest.mark.parametrize("shape", ["cosine", "1-sqrt"])
    @pytest.mark.parametrize("t", [0, 3, 5, 50])
    def test_refuses_other_shapes(self, t, shape):
        with raises(ValueError, shape):
            wsd(t, 2, 2, 2, 0.0, shape)


class TestWarmup:
    def test_the_example_worked_by_hand(self):
        schedule = warmup(lambda t: step_decay(t, [2], 0.5), 4, 0.2)
        assert_close(factors(schedule, 8), numbers(0.2, 0.4, 0.6, 0.8, 1, 1, 0.5, 0.5))

    @pytest.mark.parametrize("start", [0.1, 0.6])
    @pytest.mark.parametrize("steps", [1, 3, 8])
    def test_matches_torchs_parts(self, steps, start):
        from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

        def make(optimizer):
            parts = [
                LinearLR(optimizer, start, 1.0, steps),
                CosineAnnealingLR(optimizer, 12, eta_min=0.2 * BASE),
            ]
            return SequentialLR(optimizer, parts, [steps])

        found = factors(warmup(lambda t: cosine(t, 12, 0.2), steps, start), steps + 13)
        assert_close(found, torchs(make, steps + 13))

    def test_from_0_by_default(self):
        assert_close(factors(warmup(lambda t: 1.0, 4), 6), numbers(0, 0.25, 0.5, 0.75, 1, 1))

    def test_it_climbs_to_where_the_schedule_begins(self):
        schedule = warmup(lambda t: 3.0 - t, 2, 0.5)
        assert_close(factors(schedule, 4), numbers(1.5, 2.25, 3, 2))

    def test_no_steps_change_nothing(self):
        assert_close(factors(warmup(lambda t: 0.5**t, 0, 0.3), 4), numbers(1, 0.5, 0.25, 0.125))

    def test_it_may_be_wrapped_again(self):
        schedule = warmup(warmup(lambda t: 0.5**t, 2, 0.5), 2, 0.0)
        assert_close(factors(schedule, 6), numbers(0, 0.25, 0.5, 0.75, 1, 0.5))

    def test_two_of_them_dont_meet(self):
        one, other = warmup(lambda t: 1.0, 2), warmup(lambda t: 2.0, 4)
        assert_close((one(1), other(1), one(3), other(5)), (0.5, 0.5, 1.0, 2.0))


def rates(optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def two_groups(first: float = 0.8, second: float = 0.05, kind=torch.optim.SGD, **options):
    a, b = nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.tensor([3.0]))
    return kind([{"params": [a], "lr": first}, {"params": [b], "lr": second}], **options)


class TestScheduler:
    def test_one_function_for_all_groups(self):
        optimizer = two_groups()
        scheduler = Scheduler(optimizer, lambda t: 0.5**t)
        found = [rates(optimizer)]
        for _ in range(3):
            scheduler.step()
            found.append(rates(optimizer))
        assert_close(found, [[0.8 * 0.5**t, 0.05 * 0.5**t] for t in range(4)])

    def test_a_function_for_each_group(self):
        optimizer = two_groups()
        scheduler = Scheduler(optimizer, [lambda t: 1 / (1 + t), lambda t: 3.0 + t])
        found = [rates(optimizer)]
        for _ in range(3):
            scheduler.step()
            found.append(rates(optimizer))
        assert_close(found, [[0.8 / (1 + t), 0.05 * (3 + t)] for t in range(4)])

    def test_the_first_rate_is_set_at_once(self):
        optimizer = two_groups()
        scheduler = Scheduler(optimizer, lambda t: 0.25 + t)
        assert_close(rates(optimizer), [0.2, 0.0125])
        assert_equal(scheduler.t, 0)

    @pytest.mark.parametrize("seed", [1, 2])
    def test_matches_torchs_lambda_lr(self, seed):
        from torch.optim.lr_scheduler import LambdaLR

        table = torch.rand(30, generator=torch.Generator().manual_seed(seed)).tolist()
        mine, theirs = two_groups(), two_groups()
        one, other = Scheduler(mine, lambda t: table[t]), LambdaLR(theirs, lambda t: table[t])
        for t in range(1, 30):
            mine.step()
            theirs.step()
            one.step()
            other.step()
            assert_close(rates(mine), rates(theirs))
            assert_equal(one.t, t)

    def test_a_rate_of_0_isnt_for_good(self):
        optimizer = two_groups()
        scheduler = Scheduler(optimizer, lambda t: t % 2 * 1.0)
        found = [rates(optimizer)]
        for _ in range(3):
            scheduler.step()
            found.append(rates(optimizer))
        assert_close(found, [[0.0, 0.0], [0.8, 0.05]] * 2)

    def test_a_rate_changed_by_hand_is_overwritten(self):
        optimizer = two_groups()
        scheduler = Scheduler(optimizer, lambda t: 1.0 + t)
        optimizer.param_groups[0]["lr"] = 77.0
        scheduler.step()
        assert_close(rates(optimizer), [1.6, 0.1])

    def test_any_object_with_groups_will_do(self):
        optimizer = SimpleNamespace(param_groups=[{"lr": 4.0, "name": "all"}])
        Scheduler(optimizer, lambda t: 0.5).step()
        assert_equal(optimizer.param_groups, [{"lr": 2.0, "name": "all"}])

    def test_only_the_rates_change(self):
        optimizer = two_groups(kind=torch.optim.AdamW, weight_decay=0.3)
        before = {key: value for key, value in optimizer.param_groups[1].items() if key not in ("params", "lr")}
        Scheduler(optimizer, lambda t: 0.5).step()
        after = {key: value for key, value in optimizer.param_groups[1].items() if key in before}
        assert_equal(after, before)

    @pytest.mark.parametrize("n", [1, 3])
    def test_refuses_another_number_of_functions(self, n):
        with raises(ValueError, n, 2):
            Scheduler(two_groups(), [lambda t: 1.0] * n)

    @pytest.mark.parametrize(("functions", "groups"), [(5, 8), (8, 5)])
    def test_and_says_how_many_there_are(self, functions, groups):
        many = SimpleNamespace(param_groups=[{"lr": 0.1} for _ in range(groups)])
        with raises(ValueError, functions, groups):
            Scheduler(many, [lambda t: 1.0] * functions)


class TestSchedulerResumes:
    """State out, through json, and into a new scheduler of a new optimizer."""

    def schedule(self, t: int) -> float:
        return 1 / (2 + t) + 0.1 * (t % 3)

    def whole(self, steps: int) -> list[list[float]]:
        factor = self.schedule
        return [[0.8 * factor(t), 0.05 * factor(t)] for t in range(steps)]

    @pytest.mark.parametrize("order", ["optimizer first", "scheduler first", "made after"])
    @pytest.mark.parametrize("at", [0, 1, 4, 9])
    def test_it_goes_on_as_if_nothing_had_happened(self, at, order):
        optimizer = two_groups(kind=torch.optim.AdamW)
        scheduler = Scheduler(optimizer, self.schedule)
        for _ in range(at):
            scheduler.step()
        saved = json.loads(json.dumps(scheduler.state_dict()))
        weights = copy.deepcopy(optimizer.state_dict())

        fresh = two_groups(kind=torch.optim.AdamW)
        if order == "made after":
            fresh.load_state_dict(weights)
        resumed = Scheduler(fresh, self.schedule)
        if order == "scheduler first":
            resumed.load_state_dict(saved)
        if order != "made after":
            fresh.load_state_dict(weights)
        if order != "scheduler first":
            resumed.load_state_dict(saved)
        found = [rates(fresh)]
        assert_equal(resumed.t, at)
        for _ in range(at, 11):
            resumed.step()
            found.append(rates(fresh))
        assert_close(found, self.whole(12)[at:])

    def test_the_bases_come_from_the_state(self):
        scheduler = Scheduler(two_groups(), self.schedule)
        scheduler.step()
        other = two_groups(7.0, 9.0)
        resumed = Scheduler(other, self.schedule)
        resumed.load_state_dict(scheduler.state_dict())
        assert_close(rates(other), self.whole(2)[1])

    def test_the_state_is_a_copy(self):
        scheduler = Scheduler(two_groups(), self.schedule)
        scheduler.step()
        state = scheduler.state_dict()
        before = copy.deepcopy(state)
        scheduler.step()
        assert_equal(state, before)
        fresh = two_groups()
        resumed = Scheduler(fresh, self.schedule)
        resumed.load_state_dict(state)
        resumed.step()
        resumed.step()
        assert_equal(state, before)
        assert_close(rates(fresh), self.whole(4)[3])

    def test_back_to_an_earlier_step(self):
        optimizer = two_groups()
        scheduler = Scheduler(optimizer, self.schedule)
        scheduler.step()
        state = scheduler.state_dict()
        for _ in range(5):
            scheduler.step()
        scheduler.load_state_dict(state)
        assert_close(rates(optimizer), self.whole(2)[1])
        scheduler.step()
        assert_close(rates(optimizer), self.whole(3)[2])

    @pytest.mark.parametrize("n", [1, 3])
    def test_refuses_the_state_of_another_number_of_groups(self, n):
        many = SimpleNamespace(param_groups=[{"lr": 0.1} for _ in range(n)])
        state = Scheduler(many, self.schedule).state_dict()
        scheduler = Scheduler(two_groups(), self.schedule)
        with raises(ValueError, n, 2):
            scheduler.load_state_dict(state)
        five = SimpleNamespace(param_groups=[{"lr": 0.1} for _ in range(5)])
        with raises(ValueError, n, 5):
            Scheduler(five, self.schedule).load_state_dict(state)
        with raises(ValueError, 2, 5):
            Scheduler(five, self.schedule).load_state_dict(scheduler.state_dict())


class TestOnTheGpu:
    def test_training_on_a_schedule(self, gpu):
        def train(weight: torch.Tensor) -> torch.Tensor:
            optimizer = torch.optim.SGD([weight], lr=0.4)
            scheduler = Scheduler(optimizer, warmup(lambda t: cosine(t, 6, 0.1), 2, 0.5))
            for _ in range(9):
                weight.grad = weight.detach() - 1
                optimizer.step()
                scheduler.step()
            return weight.detach()

        start = torch.tensor([3.0, -1.0], dtype=torch.float64)
        there = train(gpu(start).requires_grad_())
        assert_equal(there.device.type, gpu.device.type)
        assert_close(there.cpu(), train(start.clone().requires_grad_()))
