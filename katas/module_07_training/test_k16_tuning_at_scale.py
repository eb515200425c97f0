"""Judges k16_tuning_at_scale against rules written out, brute force, and what training shows."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_07_training.k16_tuning_at_scale import (
    Asha,
    MupMLP,
    coordinate_check,
    exploit_and_explore,
    lr_range_test,
    pareto_ranks,
    suggest_rate,
)

pytestmark = [
    from_scratch("scipy", "sklearn"),
    pure(),
    pytest.mark.deadline(30),  # a busy machine takes a while to load what torch.optim needs at its first step
]


class Losses:
    """A step that gives out losses one by one, and notes the rates."""

    def __init__(self, losses: list[float]) -> None:
        self.losses = losses
        self.rates: list[float] = []

    def __call__(self, rate: float) -> float:
        self.rates.append(rate)
        return self.losses[len(self.rates) - 1]


class TestLrRangeTest:
    def test_the_example_worked_by_hand(self):
        step = Losses([4.0, 2.0, 2.0])
        rates, losses = lr_range_test(step, 0.01, 1.0, 3, smoothing=0.5)
        assert_close(rates, [0.01, 0.1, 1.0])
        assert_close(losses[:2], [4.0, 8 / 3])
        assert_close(step.rates, rates)

    @pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.98, None])
    @pytest.mark.parametrize(("low", "high", "steps"), [(1e-5, 10.0, 40), (0.3, 0.9, 2), (2.0, 50.0, 7)])
    def test_equals_the_formula(self, rng, low, high, steps, smoothing):
        given = rng.uniform(1, 3, steps).tolist()
        beta = 0.9 if smoothing is None else smoothing
        # The weighted mean written out: loss j has weight β^(i - j).
        expected = [
            sum(beta ** (i - j) * given[j] for j in range(i + 1)) / sum(beta ** (i - j) for j in range(i + 1))
            for i in range(steps)
        ]
        options = {} if smoothing is None else {"smoothing": smoothing}
        step = Losses(given)
        rates, losses = lr_range_test(step, low, high, steps, **options)
        assert_close(rates, np.geomspace(low, high, steps).tolist())
        assert_close(step.rates, rates)
        assert_close(losses, expected)
        assert_equal(len(step.rates), steps)

    @pytest.mark.parametrize(("factor", "count"), [(1.5, 4), (2.0, 5), (3.9, 6), (4.1, 8), (None, 7)])
    def test_ends_where_the_loss_has_grown(self, factor, count):
        step = Losses([3.0, 2.0, 1.0, 1.25, 1.75, 2.5, 4.0, 4.05, 9.0])
        options = {} if factor is None else {"factor": factor}
        rates, losses = lr_range_test(step, 0.1, 1.0, 9, smoothing=0.0, **options)
        assert_close(losses, step.losses[:count])
        assert_equal((len(rates), len(step.rates)), (count, count + 1))

    def test_at_the_bound_it_goes_on(self):
        step = Losses([1.0, 4.0, 4.0, 1.0])
        assert_equal(len(lr_range_test(step, 0.1, 1.0, 4, smoothing=0.0)[0]), 4)

    def test_the_smooth_loss_decides(self):
        # With β = 0.5 the fourth smooth loss is (1 + 2 + 4 + 8·last) / 15.
        for last, count in ((6.5, 5), (8.0, 3)):
            step = Losses([1.0, 1.0, 1.0, last, 1.0])
            assert_equal(len(lr_range_test(step, 0.1, 1.0, 5, smoothing=0.5)[0]), count)

    @pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("place", [0, 2])
    def test_ends_at_what_isnt_finite(self, wrong, place):
        step = Losses([2.0, 2.0, 2.0, 2.0])
        step.losses[place] = wrong
        rates, losses = lr_range_test(step, 0.1, 1.0, 4)
        assert_equal((len(rates), len(losses), len(step.rates)), (place, place, place + 1))

    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.5, 1.0), (0.5, 0.5), (0.5, 0.25)])
    def test_other_ranges_are_refused(self, low, high):
        step = Losses([1.0])
        with raises(ValueError, low, high):
            lr_range_test(step, low, high, 5)
        assert_equal(step.rates, [])

    def test_finds_where_a_network_diverges(self):
        """On a quadratic with largest curvature 2, plain gradient descent diverges above a rate of 1."""
        w = torch.tensor([3.0, 3.0], dtype=torch.float64)
        curvature = torch.tensor([2.0, 0.1], dtype=torch.float64)

        def step(rate: float) -> float:
            nonlocal w
            loss = (curvature * w * w).sum().item() / 2
            w = w - rate * curvature * w
            return loss

        rates, losses = lr_range_test(step, 1e-4, 100.0, 100)
        assert_equal(1.0 < rates[-1] < 10.0, True)
        assert_equal(0.01 < suggest_rate(rates, losses) < 1.0, True)


class TestSuggestRate:
    def test_the_steepest(self):
        rates = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0]
        assert_close(suggest_rate(rates, [5.0, 4.5, 4.0, 2.0, 1.9, 3.0]), 0.1)  # -1 -2.5 -2.1 1
        assert_close(suggest_rate(tuple(rates), (5.0, 4.0, 4.5, 4.4, 1.0, 9.0)), 1.0)  # -0.5 0.4 -3.5 4.6

    def test_the_ends_have_no_slope(self):
        rates = [0.001, 0.01, 0.1, 1.0]
        assert_close(suggest_rate(rates, [9.0, 5.0, 4.9, 0.1]), 0.1)
        assert_close(suggest_rate(rates, [9.0, 1.0, 4.9, 4.8]), 0.01)

    def test_not_the_lowest_loss(self):
        rates = np.geomspace(1e-4, 1, 9).tolist()
        assert_close(suggest_rate(rates, [3.0, 2.9, 2.0, 1.2, 1.0, 0.9, 0.85, 0.95, 2.0]), rates[2])

    def test_of_equal_slopes_the_lower_rate(self):
        assert_close(suggest_rate([1.0, 2.0, 4.0, 8.0, 16.0], [8.0, 6.0, 4.0, 2.0, 0.0]), 2.0)

    def test_three_rates(self):
        found = suggest_rate([1.0, 2.0, 4.0], [3.0, 5.0, 2.0])
        assert_close(found, 2.0)

    @pytest.mark.parametrize("losses", [[1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0], [1.0, 0.5, 1.0, 0.5]])
    def test_falls_nowhere(self, losses):
        with raises(ValueError):
            suggest_rate([1.0, 2.0, 4.0, 8.0], losses)

    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_too_few(self, n):
        with raises(ValueError, n):
            suggest_rate([1.0, 2.0][:n], [2.0, 1.0][:n])


class Slow:
    """ASHA by brute force: everything is looked up anew in a list of all that happened."""

    def __init__(self, eta: int, budget: int, rungs: int) -> None:
        self.eta, self.budget, self.rungs = eta, budget, rungs
        self.drawn = 0
        self.handed: list[tuple[int, int]] = []
        self.results: list[tuple[int, int, float]] = []

    def next_job(self) -> tuple[int, int]:
        for rung in range(self.rungs - 2, -1, -1):
            mine = [(n, loss) for n, r, loss in self.results if r == rung]
            better = {
                n: sum(
                    (not math.isnan(b) and (math.isnan(a) or b < a))
                    or (m < n and (a == b or (math.isnan(a) and math.isnan(b))))
                    for m, b in mine
                )
                for n, a in mine
            }
            may = [n for n, loss in mine if better[n] < len(mine) // self.eta and not math.isnan(loss)]
            may = [n for n in may if (n, rung + 1) not in self.handed]
            if may:
                job = (min(may, key=better.__getitem__), rung + 1)
                break
        else:
            job = (self.drawn, 0)
            self.drawn += 1
        self.handed.append(job)
        return job

    def report(self, number: int, rung: int, loss: float) -> None:
        self.results.append((number, rung, loss))


def counting():
    """Draws configurations 100, 101, …"""
    return itertools.count(100).__next__


class TestAsha:
    def test_the_example_worked_by_hand(self):
        asha = Asha(counting(), 2, 5, 3)
        assert_equal([asha.next_job() for _ in range(2)], [(0, 100, 5), (1, 101, 5)])
        asha.report(0, 5.0)
        asha.report(1, 3.0)
        assert_equal(asha.next_job(), (1, 101, 10))
        assert_equal(asha.next_job(), (2, 102, 5))

    @pytest.mark.parametrize(("eta", "results", "up"), [(3, 4, 1), (3, 5, 1), (2, 3, 1), (2, 5, 2), (3, 6, 2)])
    def test_a_share_is_rounded_down(self, eta, results, up):
        asha = Asha(counting(), eta, 1, 2)
        for _ in range(results):
            asha.next_job()
        for number in range(results):
            asha.report(number, float(number))
        assert_equal([asha.next_job()[0] for _ in range(up + 1)], [*range(up), results])

    @pytest.mark.parametrize("eta", [2, 3, 4])
    @pytest.mark.parametrize("rungs", [1, 2, 4])
    @pytest.mark.parametrize("machines", [1, 4, 9])
    def test_promotes_as_brute_force_does(self, rng, eta, rungs, machines):
        asha, slow = Asha(counting(), eta, 3, rungs), Slow(eta, 3, rungs)
        running: list[tuple[int, int]] = []
        for _ in range(120):
            while len(running) < machines:
                number, rung = slow.next_job()
                assert_equal(asha.next_job(), (number, 100 + number, 3 * eta**rung))
                running.append((number, rung))
            number, rung = running.pop(int(rng.integers(len(running))))
            # Few different losses, so that many are equal.
            loss = [math.nan, math.inf, *map(float, range(8))][int(rng.integers(10))]
            asha.report(number, loss)
            slow.report(number, rung, loss)

    def test_many_jobs_before_any_result(self):
        asha = Asha(counting(), 3, 1, 3)
        assert_equal([asha.next_job() for _ in range(5)], [(i, 100 + i, 1) for i in range(5)])

    def test_nobody_gets_the_same_promotion(self):
        asha = Asha(counting(), 2, 1, 3)
        for _ in range(4):
            asha.next_job()
        for number, loss in enumerate([4.0, 1.0, 2.0, 3.0]):
            asha.report(number, loss)
        assert_equal([asha.next_job()[0] for _ in range(3)], [1, 2, 4])

    def test_those_that_went_up_still_count(self):
        asha = Asha(counting(), 2, 1, 2)
        for number, loss in enumerate([1.0, 2.0, 3.0]):
            asha.next_job()
            asha.report(number, loss)
            if number == 1:
                assert_equal(asha.next_job(), (0, 100, 2))
                asha.report(0, 9.0)
        # Of three results one may go up, and 0 has.
        assert_equal(asha.next_job(), (3, 103, 1))

    def test_the_highest_rung_comes_first(self):
        asha = Asha(counting(), 2, 1, 3)
        for _ in range(8):
            asha.next_job()
        for number in range(4):
            asha.report(number, float(number))
        assert_equal([asha.next_job()[0::2] for _ in range(2)], [(0, 2), (1, 2)])
        for number in (0, 1):
            asha.report(number, float(number))
        for number in range(4, 8):
            asha.report(number, float(number))
        assert_equal([asha.next_job()[0::2] for _ in range(4)], [(0, 4), (2, 2), (3, 2), (8, 1)])

    def test_from_the_last_rung_nobody_goes_up(self):
        asha = Asha(counting(), 2, 1, 1)
        for number in range(6):
            assert_equal(asha.next_job(), (number, 100 + number, 1))
            asha.report(number, float(number))

    def test_nan_never_goes_up(self):
        asha = Asha(counting(), 2, 1, 2)
        for number in range(4):
            asha.next_job()
            asha.report(number, math.nan)
        assert_equal(asha.next_job(), (4, 104, 1))
        asha.report(4, math.inf)
        assert_equal(asha.next_job(), (4, 104, 2))

    def test_sample_is_called_when_it_is_needed(self):
        drawn: list[dict[str, int]] = []

        def sample():
            drawn.append({"depth": len(drawn)})
            return drawn[-1]

        asha = Asha(sample, 2, 1, 2)
        assert_equal(len(drawn), 0)
        for number in range(2):
            assert_equal(asha.next_job()[1] is drawn[number], True)
            asha.report(number, 1.0)
        assert_equal((asha.next_job()[1] is drawn[0], len(drawn)), (True, 2))

    def test_equals_successive_halving_where_all_wait(self, rng):
        losses = rng.permutation(27).astype(float).tolist()
        asha = Asha(counting(), 3, 1, 4)
        for number in [asha.next_job()[0] for _ in range(27)]:
            asha.report(number, losses[number])
        alive = list(range(27))
        for size in (9, 3, 1):
            alive = sorted(alive, key=losses.__getitem__)[:size]
            jobs = [asha.next_job()[0] for _ in range(size)]
            assert_equal(jobs, alive)
            for number in jobs:
                asha.report(number, losses[number])
        assert_equal(asha.best(), (losses.index(0.0), 0.0))

    def test_the_best(self):
        asha = Asha(counting(), 2, 1, 3)
        assert_equal(asha.best(), None)
        for _ in range(5):
            asha.next_job()
        assert_equal(asha.best(), None)
        for number, loss in [(3, math.nan), (2, 2.0), (0, 1.0), (1, 1.0)]:
            asha.report(number, loss)
        assert_equal(asha.best(), (0, 1.0))
        asha.next_job()
        assert_equal(asha.best(), (0, 1.0))
        asha.report(0, 7.1234567)  # on a higher rung, so it counts more
        assert_equal(asha.best(), (0, 7.1234567))

    def test_two_searches_dont_meet(self):
        one, other = Asha(counting(), 2, 1, 2), Asha(counting(), 2, 1, 2)
        for number in range(2):
            one.next_job()
            one.report(number, 1.0)
        assert_equal((other.next_job(), other.best()), ((0, 100, 1), None))

    def test_only_what_runs_is_reported(self):
        asha = Asha(counting(), 2, 1, 2)
        asha.next_job()
        with raises(ValueError, 7):
            asha.report(7, 1.0)
        asha.report(0, 1.0)
        with raises(ValueError, 0):
            asha.report(0, 1.0)

    @pytest.mark.parametrize(("eta", "rungs", "named"), [(1, 2, 1), (0, 2, 0), (2, 0, 0), (3, -1, -1)])
    def test_other_searches_are_refused(self, eta, rungs, named):
        with raises(ValueError, named):
            Asha(counting(), eta, 1, rungs)


def population(n: int) -> list[dict[str, float]]:
    return [{"lr": 1.0 + i, "decay": 100.0 + 10 * i} for i in range(n)]


class TestExploitAndExplore:
    @pytest.mark.parametrize(
        ("n", "share", "count"),
        [(10, 0.2, 2), (10, 0.29, 2), (10, 0.3, 3), (10, 0.5, 5), (3, 0.25, 1), (2, 0.1, 1), (7, 0.5, 3)],
    )
    def test_the_worst_copy_the_best(self, rng, n, share, count):
        losses, configs = rng.permutation(n).astype(float).tolist(), population(n)
        sources, new = exploit_and_explore(losses, configs, share, [0.5, 2.0], rng)
        assert_equal([len(sources), len(new)], [n, n])
        for i in range(n):
            if losses[i] < n - count:
                assert_equal((sources[i], new[i]), (i, configs[i]))
                continue
            if not losses[sources[i]] < count:
                fail(
                    f"member {i} with loss {losses[i]} copies member {sources[i]} with loss {losses[sources[i]]};"
                    f" expected one of the {count} best of {n}",
                    evidence=(losses, sources),
                )
            assert_equal(list(new[i]), ["lr", "decay"])
            for name, value in configs[sources[i]].items():
                factor = new[i][name] / value
                assert_close(factor, min((0.5, 2.0), key=lambda one: abs(one - factor)))

    def test_the_factor_multiplies(self, rng):
        configs = [{"lr": 0.1234567, "decay": 0.7}, {"lr": 0.3, "decay": 0.01}]
        sources, new = exploit_and_explore([1.0, 2.0], configs, 0.5, [3.0], rng)
        assert_equal((sources, new[0]), ([0, 0], configs[0]))
        assert_close(new[1], {"lr": 0.3703701, "decay": 2.1})

    def test_all_draws_are_alike_and_independent(self, rng):
        losses = [3.0, 0.0, 9.0, 1.0, 8.0, 2.0]
        counts = Counter()
        for _ in range(2000):
            sources, new = exploit_and_explore(losses, population(6), 0.34, [0.5, 1.0, 2.0], rng)
            for i in (2, 4):
                base = population(6)[sources[i]]
                counts[i, sources[i], new[i]["lr"] / base["lr"], new[i]["decay"] / base["decay"]] += 1
            counts["pair", sources[2], sources[4]] += 1
        expected = {
            (i, s, a, b): 2000 / 18 for i in (2, 4) for s in (1, 3) for a in (0.5, 1.0, 2.0) for b in (0.5, 1.0, 2.0)
        }
        expected |= {("pair", a, b): 500.0 for a in (1, 3) for b in (1, 3)}
        assert_equal(set(counts) <= set(expected), True)
        pairs = [[float(counts["pair", a, b]) for b in (1, 3)] for a in (1, 3)]
        assert_close(np.array(pairs), np.full((2, 2), 500.0), atol=6 * math.sqrt(500), rtol=0)
        for key, mean in expected.items():
            # Six standard deviations of a count.
            assert_close(float(counts[key]), mean, atol=6 * math.sqrt(mean), rtol=0)

    def test_the_generator_decides_alone(self):
        answers = []
        for seed in (1, 1, 2):
            np.random.seed(seed + len(answers))
            rng = np.random.default_rng(seed)
            answers.append(exploit_and_explore(list(map(float, range(40))), population(40), 0.5, [0.5, 2.0], rng))
        assert_equal((answers[0] == answers[1], answers[0] == answers[2]), (True, False))

    def test_equal_losses(self, rng):
        for _ in range(5):
            assert_equal(exploit_and_explore([1.0] * 4, population(4), 0.25, [1.0], rng)[0], [0, 1, 2, 0])

    def test_nan_is_the_worst(self, rng):
        for _ in range(5):
            sources, _ = exploit_and_explore([math.nan, 5.0, math.inf, 4.0], population(4), 0.25, [1.0], rng)
            assert_equal(sources, [3, 1, 2, 3])
            sources, _ = exploit_and_explore([5.0, math.nan, math.inf, 4.0], population(4), 0.5, [1.0], rng)
            assert_equal((sources[0], sources[3], {sources[1], sources[2]} <= {0, 3}), (0, 3, True))

    def test_the_dicts_are_new(self, rng):
        configs = population(4)
        _, new = exploit_and_explore([1.0, 2.0, 3.0, 4.0], configs, 0.5, [2.0], rng)
        for config in new:
            config["lr"] = -1.0
        assert_equal(configs, population(4))

    @pytest.mark.parametrize("share", [0.0, -0.2, 0.51])
    def test_other_shares_are_refused(self, rng, share):
        with raises(ValueError, share):
            exploit_and_explore([1.0, 2.0, 3.0], population(3), share, [1.0], rng)


def ranks_by_hand(points: list[list[float]]) -> list[int]:
    """Fronts are taken off one by one."""
    left, ranks, rank = set(range(len(points))), [0] * len(points), 0
    while left:
        front = {
            i
            for i in left
            if not any(
                all(a <= b for a, b in zip(points[j], points[i], strict=True)) and points[j] != points[i] for j in left
            )
        }
        for i in front:
            ranks[i] = rank
        left, rank = left - front, rank + 1
    return ranks


class TestParetoRanks:
    def test_the_example_worked_by_hand(self):
        points = torch.tensor([[4.0, 4], [1, 4], [3, 3], [2, 2], [4, 1]])
        assert_close(pareto_ranks(points), torch.tensor([2, 0, 1, 0, 0]))

    @pytest.mark.parametrize("d", [1, 2, 3, 5])
    @pytest.mark.parametrize("n", [1, 2, 30])
    def test_equals_brute_force(self, n, d):
        points = torch.randn(n, d, dtype=torch.float64)
        assert_close(pareto_ranks(points), torch.tensor(ranks_by_hand(points.tolist())))

    @pytest.mark.parametrize("d", [1, 2, 3])
    def test_many_equal_goals(self, d):
        points = torch.randint(4, (40, d))
        assert_close(pareto_ranks(points), torch.tensor(ranks_by_hand(points.tolist())))

    def test_equal_points_have_equal_ranks(self):
        points = torch.tensor([[2.0, 2], [1, 3], [2, 2], [1, 3], [3, 3], [3, 3]])
        assert_close(pareto_ranks(points), torch.tensor([0, 0, 0, 0, 1, 1]))

    def test_worse_in_one_goal_and_equal_in_the_other(self):
        assert_close(pareto_ranks(torch.tensor([[1.0, 2], [1, 1], [2, 1]])), torch.tensor([1, 0, 1]))

    def test_a_chain_and_a_front(self):
        steps = torch.arange(12.0)
        assert_close(pareto_ranks(torch.stack([steps, steps], 1)), torch.arange(12))
        assert_close(pareto_ranks(torch.stack([steps, -steps], 1)), torch.zeros(12, dtype=torch.int64))

    def test_the_rank_isnt_the_number_of_those_that_dominate(self):
        points = torch.tensor([[0.0, 3], [1, 2], [2, 1], [3, 3]])
        assert_close(pareto_ranks(points), torch.tensor([0, 0, 0, 1]))

    @pytest.mark.parametrize(
        "points", [torch.tensor([[2**60 + 1], [2**60]]), torch.tensor([[1 + 1e-12], [1.0]], dtype=torch.float64)]
    )
    def test_points_that_differ_in_their_last_digits_alone(self, points):
        assert_close(pareto_ranks(points), torch.tensor([1, 0]))

    def test_no_points(self):
        assert_close(pareto_ranks(torch.zeros(0, 3)), torch.zeros(0, dtype=torch.int64))


class Standard(nn.Module):
    """The standard parametrization: each layer starts by its own fan-in, and one rate holds for all."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, outputs)])
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[2](self.layers[1](self.layers[0](x).relu()).relu())

    def groups(self, lr: float) -> list[dict]:
        return [{"params": list(self.parameters()), "lr": lr}]


class TestMupMLP:
    @pytest.mark.parametrize(("width", "base"), [(60, 60), (240, 60), (300, 30), (50, 200)])
    def test_its_weights(self, width, base):
        model = MupMLP(80, width, 25, base)
        layers = {"input": (80, (width, 80)), "hidden": (width, (width, width)), "output": (base, (25, width))}
        for name, (fan, shape) in layers.items():
            layer = getattr(model, name)
            assert_equal((isinstance(layer, nn.Linear), tuple(layer.weight.shape)), (True, shape))
            assert_close(layer.bias.detach(), torch.zeros(shape[0]))
            w = layer.weight.detach().double() * fan**0.5
            n = w.numel()
            # Of n standard Gaussian numbers: six standard deviations of the mean and of the mean square.
            if abs(w.square().mean().item() - 1) > 6 * math.sqrt(2 / n) or abs(w.mean().item()) > 6 / math.sqrt(n):
                found = w.square().mean().item() / fan
                fail(
                    f"the weights of `{name}` have mean {w.mean().item() / fan**0.5:.4f} and mean square {found:.3g},"
                    f" expected 0 and {1 / fan:.3g}: {shape} at width {width} and base width {base}",
                    evidence=(name, round(math.log(found * fan), 1)),
                )
            # A Gaussian's mean fourth power is 3, with variance 96 / n.
            assert_close(w.pow(4).mean().item(), 3.0, atol=6 * math.sqrt(96 / n), rtol=0)

    def test_torchs_own_generator_draws_them(self):
        found = []
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            found.append(MupMLP(4, 5, 3, 2).hidden.weight.detach())
        assert_equal([bool((found[0] == other).all()) for other in found[1:]], [True, False])

    @pytest.mark.parametrize("lead", [(), (7,), (2, 3)])
    @pytest.mark.parametrize(("width", "base"), [(6, 6), (12, 3), (4, 8)])
    def test_forward(self, lead, width, base):
        model = MupMLP(5, width, 3, base).double()
        for p in model.parameters():
            nn.init.normal_(p)
        x = torch.randn(*lead, 5, dtype=torch.float64)
        h = torch.relu(x @ model.input.weight.T + model.input.bias)
        h = torch.relu(h @ model.hidden.weight.T + model.hidden.bias)
        expected = h @ model.output.weight.T * base / width + model.output.bias
        assert_close(model(x), expected)

    def test_gradients(self):
        model = MupMLP(3, 8, 2, 4).double()
        x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
        torch.autograd.gradcheck(model, (x,))
        model(x).square().sum().backward()
        assert_equal([name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()], [])

    @pytest.mark.parametrize(("width", "base"), [(6, 6), (12, 3), (4, 8)])
    @pytest.mark.parametrize("lr", [0.1, 0.004])
    def test_groups(self, width, base, lr):
        model = MupMLP(5, width, 3, base)
        names = {id(p): name for name, p in model.named_parameters()}
        rates = [(names.get(id(p), "another"), group["lr"]) for group in model.groups(lr) for p in group["params"]]
        assert_equal(sorted(name for name, _ in rates), sorted(names.values()))
        found = {name: dict(rates)[name] for name in names.values()}
        expected = {name: lr * base / width if name == "hidden.weight" else lr for name in found}
        assert_close(found, expected)
        torch.optim.Adam(model.groups(lr))

    def test_at_the_base_width_it_is_the_standard_network(self):
        model, standard = MupMLP(5, 8, 3, 8), Standard(5, 8, 3)
        for layer, other in zip((model.input, model.hidden, model.output), standard.layers, strict=True):
            other.load_state_dict(layer.state_dict())
        x, y = torch.randn(6, 5), torch.randint(3, (6,))
        for net in (model, standard):
            optimizer = torch.optim.Adam(net.groups(0.05))
            for _ in range(3):
                optimizer.zero_grad()
                F.cross_entropy(net(x), y).backward()
                optimizer.step()
        assert_close(model(x), standard(x))

    def test_the_best_rate_stays_as_width_grows(self, digits):
        """Trained on handwritten digits at two widths; the standard parametrization's best rate doesn't stay."""
        x = torch.tensor(digits[0], dtype=torch.float32) / 16
        x, y = (x - x.mean(0)) / (x.std(0) + 0.1), torch.tensor(digits[1])
        seed = int(torch.randint(1000, ()))

        def best(make) -> int:
            losses = []
            for power in range(-9, -2):
                total = 0.0
                for s in (seed, seed + 1):
                    torch.manual_seed(s)
                    model = make()
                    optimizer = torch.optim.Adam(model.groups(2.0**power))
                    for _ in range(16):
                        rows = torch.randint(len(x), (64,))
                        optimizer.zero_grad()
                        F.cross_entropy(model(x[rows]), y[rows]).backward()
                        optimizer.step()
                    with torch.no_grad():
                        total += F.cross_entropy(model(x[:500]), y[:500]).item()
                losses.append(total)
            return losses.index(min(losses)) - 9

        narrow, wide = best(lambda: MupMLP(64, 16, 10, 16)), best(lambda: MupMLP(64, 256, 10, 16))
        standard = best(lambda: Standard(64, 256, 10))
        # At the base width both are one network.  The standard one's best rate falls by two or three steps.
        if not (abs(narrow - wide) <= 1 and standard < min(narrow, wide)):
            fail(
                f"the best rate is 2^{narrow} at width 16 and 2^{wide} at width 256, where the standard network's is"
                f" 2^{standard}; expected that yours stays, and that one's falls",
                evidence=(narrow - wide, narrow - standard),
            )


class Line(nn.Module):
    """Logits w·x for one number w a class; the first parameter's rate is halved."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.linspace(-1, 1, width).double())
        self.b = nn.Parameter(torch.zeros(width).double())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.w + self.b

    def groups(self, lr: float) -> list[dict]:
        return [{"params": [self.w], "lr": lr / 2}, {"params": [self.b], "lr": lr}]


class TestCoordinateCheck:
    @pytest.mark.parametrize(("lr", "steps"), [(0.1, 1), (0.02, 5)])
    def test_equals_adam_written_out(self, lr, steps):
        x, y = torch.randn(6, 1, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0, 2])
        expected = []
        for width in (3, 7):
            model = Line(width)
            before = model(x).detach()
            optimizer = torch.optim.Adam(model.groups(lr))
            for _ in range(steps):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            expected.append((model(x) - before).detach().square().mean().sqrt().item())
        found = coordinate_check(Line, (3, 7), lr, x, y, steps)
        assert_close(found, expected)
        assert_equal([isinstance(value, float) for value in found], [True] * len(found))

    def test_makes_each_model_once(self):
        made = []

        def make(width: int) -> nn.Module:
            made.append(width)
            return Line(width)

        coordinate_check(make, [5, 3, 4], 0.1, torch.ones(2, 1, dtype=torch.float64), torch.tensor([0, 1]), 1)
        assert_equal(made, [5, 3, 4])

    def test_tells_the_two_parametrizations_apart(self):
        x, y = torch.randn(40, 10), torch.randint(5, (40,))
        widths = [32, 128, 512]
        mup = coordinate_check(lambda width: MupMLP(10, width, 5, 32), widths, 0.01, x, y, 2)
        standard = coordinate_check(lambda width: Standard(10, width, 5), widths, 0.01, x, y, 2)
        assert_equal(max(mup) / min(mup) < 2.5, True)
        assert_equal(standard[2] / standard[0] > 4, True)


class TestOnTheGpu:
    @pytest.mark.parametrize("n", [0, 1, 12])
    def test_pareto_ranks(self, gpu, n):
        gpu.check(pareto_ranks, torch.randn(n, 2))

    def test_mup_mlp(self, gpu):
        gpu.check(MupMLP(5, 12, 3, 4), torch.randn(6, 5))

    def test_coordinate_check(self, gpu):
        x, y = torch.randn(6, 1, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0, 2])
        there = coordinate_check(lambda width: gpu(Line(width)), [3], 0.1, gpu(x), gpu(y), 2)
        assert_close(there, coordinate_check(Line, [3], 0.1, x, y, 2))
