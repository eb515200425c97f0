"""Judges k09_multitask_and_domain against closed forms, steps replayed, and by what digits and letters are forgotten."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_10_fine_tuning.k09_multitask_and_domain import (
    MultiHead,
    TaskBatches,
    continued_pretraining,
    expected_passes,
    forgetting_report,
    mixed_batches,
    mixture_optimum,
    multitask_step,
    replay_counts,
    task_probabilities,
    text_loss,
)

pytestmark = [from_scratch("avalanche"), pure("multitask_step", "continued_pretraining")]

NAN = math.nan


def f64(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(shape, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


class TestTaskProbabilities:
    def test_the_examples_worked_by_hand(self):
        assert_close(task_probabilities([900, 100]), f64(0.9, 0.1))
        assert_close(task_probabilities([900, 100], 2.0), f64(0.75, 0.25))
        assert_close(task_probabilities([900, 100], math.inf), f64(0.5, 0.5))
        assert_close(task_probabilities([900, 100], 1.0, 400), f64(0.8, 0.2))

    @pytest.mark.parametrize("limit", [None, 50, 7, 1])
    @pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0, 10])
    def test_the_formula(self, temperature, limit):
        sizes = [13, 200, 5, 64]
        powers = [min(n, limit or n) ** (1 / temperature) for n in sizes]
        assert_close(task_probabilities(sizes, temperature, limit), f64(*[p / sum(powers) for p in powers]))

    @pytest.mark.parametrize("temperature", [1.0, 4.0, math.inf])
    def test_a_task_without_examples(self, temperature):
        found = task_probabilities([30, 0, 10], temperature)
        p = 3 ** (1 / temperature)
        assert_close(found, f64(p / (p + 1), 0.0, 1 / (p + 1)))

    def test_large_sizes_and_a_small_temperature(self):
        assert_close(task_probabilities([10**12, 10**12, 10**11], 0.01), f64(0.5, 0.5, 0.0))
        ratio = (10**12 / 999_999_999_999) ** 100
        assert_close(task_probabilities([10**12, 999_999_999_999], 0.01), f64(ratio / (1 + ratio), 1 / (1 + ratio)))

    @pytest.mark.parametrize("temperature", [1.0, 0.01, math.inf])
    def test_one_task(self, temperature):
        assert_close(task_probabilities([4], temperature), f64(1.0))

    @pytest.mark.parametrize("temperature", [0.0, -1.5])
    def test_an_impossible_temperature(self, temperature):
        with raises(ValueError, "temperature", temperature):
            task_probabilities([3, 4], temperature)

    @pytest.mark.parametrize("limit", [0, -2])
    def test_an_impossible_limit(self, limit):
        with raises(ValueError, "limit", limit):
            task_probabilities([3, 4], 1.0, limit)

    def test_a_negative_size(self):
        with raises(ValueError, -7):
            task_probabilities([3, -7, 12])

    @pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
    def test_no_examples(self, sizes):
        with raises(ValueError, "sizes"):
            task_probabilities(sizes)


class TestExpectedPasses:
    def test_the_example_worked_by_hand(self):
        assert_close(expected_passes([900, 100], f64(0.75, 0.25), 1000), f64(750 / 900, 2.5))

    def test_the_formula(self):
        assert_close(expected_passes([7, 1, 40], f64(0.2, 0.0, 0.8), 90), f64(18 / 7, 0.0, 1.8))


def drawn(batches: TaskBatches, n: int) -> list[tuple[int, list[int]]]:
    return [(task, rows.tolist()) for task, rows in (batches.next_batch() for _ in range(n))]


class TestTaskBatches:
    @pytest.mark.parametrize(("sizes", "batch_size"), [([7, 5], 3), ([4, 9], 4), ([2, 3], 8), ([10, 1], 5)])
    def test_each_pass_takes_every_example_once(self, sizes, batch_size):
        found = drawn(TaskBatches(sizes, f64(0.5, 0.5), batch_size, seeded(1)), 60)
        assert_equal({len(rows) for _, rows in found}, {batch_size})
        for task, size in enumerate(sizes):
            rows = [row for t, some in found if t == task for row in some]
            passes = [sorted(rows[i : i + size]) for i in range(0, len(rows) - size + 1, size)]
            assert_equal(passes, [list(range(size))] * len(passes))
            last = rows[len(passes) * size :]
            assert_equal(len(set(last)), len(last))

    def test_each_pass_has_a_new_order(self):
        rows = [row for _, some in drawn(TaskBatches([20], f64(1.0), 10, seeded(2)), 6) for row in some]
        first, second, third = rows[:20], rows[20:40], rows[40:]
        assert_equal([first == list(range(20)), first == second, second == third], [False, False, False])

    def test_orders_are_equally_likely(self):
        rows = [row for _, some in drawn(TaskBatches([3], f64(1.0), 3, seeded(3)), 1200) for row in some]
        orders = [tuple(rows[i : i + 3]) for i in range(0, 3600, 3)]
        shares = [orders.count(order) / 1200 for order in itertools.permutations(range(3))]
        assert_close(shares, [1 / 6] * 6, atol=0.05)  # 4.6 standard errors

    def test_a_new_pass_knows_nothing_of_the_one_before(self):
        found = drawn(TaskBatches([3], f64(1.0), 2, seeded(3)), 1800)
        # Every second of three batches holds the end of a pass and the beginning of the next.
        twice = [rows[0] == rows[1] for _, rows in found[1::3]]
        assert_close(sum(twice) / 600, 1 / 3, atol=0.09)  # 4.6 standard errors

    @pytest.mark.parametrize("p", [(0.6, 0.1, 0.3), (0.25, 0.75, 0.0)])
    def test_tasks_come_with_their_probabilities(self, p):
        tasks = [task for task, _ in drawn(TaskBatches([4, 5, 6], f64(*p), 2, seeded(4)), 2000)]
        assert_close([tasks.count(i) / 2000 for i in range(3)], list(p), atol=0.05)
        assert_equal(tasks.count(2) == 0, p[2] == 0)
        # Independent: whether a task comes again doesn't depend on what came.
        again = sum(a == b for a, b in itertools.pairwise(tasks)) / 1999
        assert_close(again, sum(q * q for q in p), atol=0.055)

    def test_a_task_without_examples(self):
        found = drawn(TaskBatches([0, 2], f64(0.0, 1.0), 2, seeded(1)), 5)
        assert_equal([(task, sorted(rows)) for task, rows in found], [(1, [0, 1])] * 5)

    def test_all_randomness_is_the_generators(self):
        found = []
        for setting in (1, 2):
            torch.manual_seed(setting)
            found.append(drawn(TaskBatches([9, 8], f64(0.5, 0.5), 3, seeded(5)), 12))
        assert_equal(found[0], found[1])
        assert_equal(found[0] == drawn(TaskBatches([9, 8], f64(0.5, 0.5), 3, seeded(6)), 12), False)

    def test_two_of_them_are_independent(self):
        first, second = (TaskBatches([6], f64(1.0), 4, seeded(7)) for _ in range(2))
        alone = drawn(TaskBatches([6], f64(1.0), 4, seeded(7)), 5)
        found = [pair for _ in range(5) for pair in zip(drawn(first, 1), drawn(second, 1), strict=True)]
        assert_equal(found, [(one, one) for one in alone])

    def test_a_batch_is_the_callers(self):
        batches = TaskBatches([6], f64(1.0), 4, seeded(8))
        for _ in range(6):
            _, rows = batches.next_batch()
            kept = rows.tolist()
            rows.fill_(5)
            assert_equal(len(set(kept)) > 1, True)

    def test_what_it_was_given_may_change(self):
        sizes, p = [3, 3], f64(1.0, 0.0)
        batches = TaskBatches(sizes, p, 3, seeded(9))
        sizes[0] = 1
        p.copy_(f64(0.0, 1.0))
        assert_equal([(task, sorted(rows)) for task, rows in drawn(batches, 4)], [(0, [0, 1, 2])] * 4)

    def test_types(self):
        task, rows = TaskBatches([3], f64(1.0), 2, seeded(1)).next_batch()
        assert_equal((type(task), rows.dtype, tuple(rows.shape)), (int, torch.int64, (2,)))

    def test_float32_probabilities_will_do(self):
        batches = TaskBatches([3, 3], torch.tensor([0.0, 1.0]), 2, seeded(1))
        assert_equal(batches.next_batch()[0], 1)

    @pytest.mark.parametrize(("n", "m"), [(3, 2), (1, 4)])
    def test_lengths(self, n, m):
        with raises(ValueError, n, m):
            TaskBatches([5] * n, torch.full((m,), 1 / m), 2, seeded(1))


def trunk(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.5))


def a_model(seed: int = 0, outputs=(3, 2, 5)) -> MultiHead:
    body = trunk(seed)
    return MultiHead(body, 6, list(outputs)).double().eval()


class TestMultiHead:
    @pytest.mark.parametrize("task", [0, 1, 2])
    def test_the_trunk_and_one_head(self, task):
        model, x = a_model(), normal((7, 4))
        head = model.heads[task]
        expected = torch.tanh(x @ model.trunk[0].weight.T + model.trunk[0].bias) @ head.weight.T + head.bias
        assert_close(model(x, task), expected)

    def test_its_parts(self):
        body = trunk()
        model = MultiHead(body, 6, [3, 2])
        assert_equal((model.trunk is body, type(model.heads)), (True, nn.ModuleList))
        assert_equal([tuple(h.weight.shape) for h in model.heads], [(3, 6), (2, 6)])
        assert_equal([tuple(h.bias.shape) for h in model.heads], [(3,), (2,)])
        names = {"trunk.0.weight", "trunk.0.bias", *(f"heads.{i}.{p}" for i in (0, 1) for p in ("weight", "bias"))}
        assert_equal(set(model.state_dict()), names)

    @pytest.mark.parametrize("task", [0, 2])
    def test_gradients_reach_the_trunk_and_one_head(self, task):
        model = a_model()
        model(normal((5, 4)), task).sum().backward()
        reached = [any(p.grad is not None and bool(p.grad.any()) for p in h.parameters()) for h in model.heads]
        assert_equal(reached, [i == task for i in range(3)])
        assert_equal(bool(model.trunk[0].weight.grad.any()), True)

    @pytest.mark.parametrize("task", [3, -1, 12])
    def test_another_task(self, task):
        with raises(ValueError, task, 3):
            a_model()(normal((5, 4)), task)

    def test_a_new_head(self):
        model, x = a_model(), normal((5, 4))
        before = [model(x, i).detach() for i in range(3)]
        assert_equal([model.add_head(4), model.add_head(1)], [3, 4])
        assert_close([model(x, i).detach() for i in range(3)], before)
        assert_equal([tuple(model(x, i).shape) for i in (3, 4)], [(5, 4), (5, 1)])
        assert_equal((model.heads[3].weight.dtype, len(model.heads)), (torch.float64, 5))
        assert_equal([tuple(model.heads[i].bias.shape) for i in (3, 4)], [(4,), (1,)])
        with raises(ValueError, 5):
            model(x, 5)

    def test_a_second_head(self):
        model = MultiHead(nn.Identity(), 4, [2])
        assert_equal((model.add_head(3), [tuple(head.weight.shape) for head in model.heads]), (1, [(2, 4), (3, 4)]))

    @pytest.mark.parametrize("training", [True, False])
    def test_a_new_head_is_in_the_models_mode(self, training):
        model = a_model().train(training)
        model.add_head(2)
        assert_equal({m.training for m in model.modules()}, {training})

    def test_two_models_are_independent(self):
        first, second = a_model(), a_model(1)
        first.add_head(2)
        assert_equal([len(first.heads), len(second.heads)], [4, 3])

    def test_an_unlike_trunk(self):
        class Half(nn.Module):
            def forward(self, x):
                return x[:, ::2]

        assert_equal(tuple(MultiHead(Half(), 2, [3])(torch.zeros(5, 4), 0).shape), (5, 3))


def optimizer_of(name: str, model: nn.Module) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    return torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)


class TestMultitaskStep:
    @pytest.mark.parametrize("name", ["sgd", "adamw"])
    def test_replayed(self, name):
        """Tasks in turn; beside it, the same steps on the parameters that a task has, each by hand."""
        model, beside = a_model(), a_model()
        with torch.no_grad():
            for head in model.heads:
                head.weight.mul_(8)  # large gradients, too
        beside.load_state_dict(model.state_dict())
        optimizer, other = optimizer_of(name, model), optimizer_of(name, beside)
        for step, task in enumerate([0, 1, 1, 0, 2, 0]):
            x, y = normal((8, 4), step), torch.arange(8) % (3, 2, 5)[task]
            for p in beside.parameters():
                p.grad = None
            loss = -beside(x, task).log_softmax(1)[torch.arange(8), y].mean()
            loss.backward()
            other.step()
            assert_close(multitask_step(model, optimizer, x, y, task), loss.item())
            assert_close(dict(model.state_dict()), dict(beside.state_dict()))

    @pytest.mark.parametrize("name", ["sgd", "adamw"])
    def test_the_other_heads_stay_exactly(self, name):
        model = a_model()
        optimizer = optimizer_of(name, model)
        x, y = normal((8, 4)), torch.arange(8) % 2
        for task in (0, 1, 2):
            multitask_step(model, optimizer, x, y, task)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        for _ in range(3):
            multitask_step(model, optimizer, x, y, 1)
        after = model.state_dict()
        moved = [k for k in before if not torch.equal(before[k], after[k])]
        assert_equal(sorted(moved), ["heads.1.bias", "heads.1.weight", "trunk.0.bias", "trunk.0.weight"])

    def test_gradients_from_before_dont_count(self):
        model, fresh = a_model(), a_model()
        for p in model.parameters():
            p.grad = torch.full_like(p, 3.0)
        x, y = normal((8, 4)), torch.arange(8) % 3
        for one in (model, fresh):
            multitask_step(one, torch.optim.SGD(one.parameters(), lr=0.1), x, y, 0)
        assert_close(dict(model.state_dict()), dict(fresh.state_dict()))

    @pytest.mark.parametrize("training", [True, False])
    def test_the_mode_stays(self, training):
        model = a_model().train(training)
        modes = []
        model.trunk.register_forward_hook(lambda m, *_: modes.append(m.training))
        multitask_step(model, torch.optim.SGD(model.parameters(), lr=0.1), normal((8, 4)), torch.arange(8) % 3, 0)
        assert_equal((modes, {m.training for m in model.modules()}), ([training], {training}))

    def test_it_is_a_float(self):
        model = a_model()
        found = multitask_step(
            model, torch.optim.SGD(model.parameters(), lr=0.1), normal((2, 4)), torch.tensor([1, 0]), 1
        )
        assert_equal(type(found), float)


R = f64([0.90, 0.50, 0.30], [0.93, 0.95, 0.40], [0.60, 0.85, 0.92])


def slow_report(r, untrained):
    n = len(r)

    def mean(values):
        return sum(values) / len(values) if values else NAN

    forgetting = [max(r[i][j] for i in range(n - 1)) - r[n - 1][j] for j in range(n - 1)]
    return {
        "average": mean(r[n - 1]),
        "backward": mean([r[n - 1][j] - r[j][j] for j in range(n - 1)]),
        "forward": NAN if untrained is None else mean([r[j - 1][j] - untrained[j] for j in range(1, n)]),
        "forgetting": forgetting,
        "mean_forgetting": mean(forgetting),
    }


class TestForgettingReport:
    def test_the_example_worked_by_hand(self):
        expected = {"average": 0.79, "backward": -0.2, "forgetting": [0.33, 0.10], "mean_forgetting": 0.215}
        assert_close(forgetting_report(R), expected | {"forward": NAN})
        assert_close(forgetting_report(R, f64(0.3, 0.3, 0.25)), expected | {"forward": 0.175})

    @pytest.mark.parametrize("n", [1, 2, 3, 6])
    def test_task_by_task(self, n):
        r, untrained = 100 * normal((n, n), n).sigmoid(), 100 * normal((n,), 9).sigmoid()  # in per cent
        for given in (None, untrained):
            expected = slow_report(r.tolist(), None if given is None else given.tolist())
            assert_close(forgetting_report(r, given), expected)

    def test_a_task_that_got_better_to_the_end(self):
        found = forgetting_report(f64([0.5, 0.1], [0.7, 0.9]))
        assert_close((found["forgetting"], found["backward"]), ([-0.2], 0.2))

    def test_types(self):
        found = forgetting_report(R, f64(0.1, 0.2, 0.3))
        names = ("average", "backward", "forward", "mean_forgetting")
        assert_equal([type(found[k]) for k in names], [float] * 4)
        assert_equal([type(one) for one in found["forgetting"]], [float, float])
        assert_equal(set(found), {*names, "forgetting"})

    @pytest.mark.parametrize("shape", [(3, 2), (2, 5), (1, 4)])
    def test_not_square(self, shape):
        with raises(ValueError, *shape):
            forgetting_report(torch.zeros(shape, dtype=torch.float64))

    @pytest.mark.parametrize("n", [2, 7])
    def test_another_number_of_untrained(self, n):
        with raises(ValueError, n, 3):
            forgetting_report(R, torch.zeros(n, dtype=torch.float64))


class TestReplayCounts:
    def test_the_example_worked_by_hand(self):
        assert_equal(replay_counts(0.1, 8, 5), [1, 1, 0, 1, 1])

    @pytest.mark.parametrize("batch_size", [1, 7, 32])
    @pytest.mark.parametrize("share", [0.0, 0.03, 0.3, 0.41, 1.0])
    def test_the_total_is_the_nearest_whole_number(self, share, batch_size):
        steps = 40
        counts = replay_counts(share, batch_size, steps)
        assert_equal(len(counts), steps)
        totals = list(itertools.accumulate(counts))
        exact = [Fraction(str(share)) * batch_size * t for t in range(1, steps + 1)]
        # Where two are equally near, either will do.
        off = [t for t, (a, e) in enumerate(zip(totals, exact, strict=True), 1) if abs(a - e) > Fraction(1, 2)]
        if off:
            t = off[0]
            message = (
                f"After {t} batches {totals[t - 1]} windows are old; it should be {float(exact[t - 1]):.2f}, rounded."
            )
            fail(message, evidence=totals)

    def test_no_steps(self):
        assert_equal(replay_counts(0.5, 4, 0), [])

    def test_they_are_ints(self):
        assert_equal({type(one) for share in (0.0, 0.3, 1.0) for one in replay_counts(share, 4, 5)}, {int})

    @pytest.mark.parametrize("share", [-0.25, 1.5])
    def test_an_impossible_share(self, share):
        with raises(ValueError, "share", share):
            replay_counts(share, 8, 3)


OLD, NEW = torch.arange(100, 112), torch.arange(200, 209)


class TestMixedBatches:
    @pytest.mark.parametrize(("share", "batch_size", "length"), [(0.3, 5, 4), (0.1, 8, 1), (0.62, 3, 7)])
    def test_rows_of_both_texts(self, share, batch_size, length):
        batches = list(mixed_batches(OLD, NEW, share, batch_size, length, 12, seeded(1)))
        assert_equal(len(batches), 12)
        for ids, is_old in batches:
            shapes = (tuple(ids.shape), tuple(is_old.shape), ids.dtype, is_old.dtype)
            assert_equal(shapes, ((batch_size, length + 1), (batch_size,), torch.int64, torch.bool))
            # Both texts count upwards, one from 100 and one from 200.
            assert_equal(ids - ids[:, :1], torch.arange(length + 1).expand(batch_size, -1))
            assert_equal(ids[:, 0] < 200, is_old)
        totals = list(itertools.accumulate(int(is_old.sum()) for _, is_old in batches))
        off = [abs(total - share * batch_size * t) > 0.501 for t, total in enumerate(totals, 1)]
        if any(off):
            fail(f"the old rows add up to {totals}: take their numbers from replay_counts", evidence=totals)

    @pytest.mark.parametrize(("share", "kinds"), [(0.0, {False}), (1.0, {True})])
    def test_one_text_alone(self, share, kinds):
        batches = list(mixed_batches(OLD, NEW, share, 4, 3, 5, seeded(1)))
        assert_equal({one for _, is_old in batches for one in is_old.tolist()}, kinds)
        assert_equal({bool(one < 200) for ids, _ in batches for one in ids.flatten()}, kinds)

    @pytest.mark.parametrize("length", [8, 6])
    def test_every_place_is_equally_likely(self, length):
        rows = torch.cat([ids for ids, _ in mixed_batches(OLD, NEW, 0.5, 40, length, 100, seeded(2))])[:, 0].tolist()
        for text, first in ((OLD, 100), (NEW, 200)):
            places = len(text) - length
            counts = [rows.count(first + s) for s in range(places)]
            assert_equal(sum(counts), 2000)
            assert_close([c / 2000 for c in counts], [1 / places] * places, atol=0.05)

    def test_two_rows_may_be_alike(self):
        batches = mixed_batches(OLD, NEW, 1.0, 2, 8, 600, seeded(3))
        alike = [bool(torch.equal(*ids)) for ids, _ in batches]
        assert_close(sum(alike) / 600, 1 / 4, atol=0.09)  # of 4 places; 5 standard errors

    def test_rows_are_independent(self):
        ids, _ = next(iter(mixed_batches(torch.arange(50_000), NEW, 1.0, 30, 3, 1, seeded(3))))
        assert_equal(len(set(ids[:, 0].tolist())), 30)

    def test_batches_differ(self):
        first, second = (ids for ids, _ in mixed_batches(OLD, NEW, 0.5, 30, 3, 2, seeded(4)))
        assert_equal(torch.equal(first, second), False)

    def test_all_randomness_is_the_generators(self):
        found = []
        for setting in (1, 2):
            torch.manual_seed(setting)
            found.append([ids for ids, _ in mixed_batches(OLD, NEW, 0.4, 6, 3, 4, seeded(5))])
        assert_close(found[0], found[1])

    def test_a_batch_is_the_callers(self):
        old, new = OLD.clone(), NEW.clone()
        for ids, is_old in mixed_batches(old, new, 0.5, 4, 8, 4, seeded(6)):
            ids.fill_(-1)
            is_old.fill_(True)
        assert_equal((old, new), (OLD, NEW))

    def test_no_steps(self):
        assert_equal(list(mixed_batches(OLD, NEW, 0.5, 4, 3, 0, seeded(1))), [])

    @pytest.mark.parametrize(
        ("old", "new", "length", "tokens"),
        [(OLD, NEW, 10, 9), (OLD, NEW, 9, 9), (OLD[:3], NEW, 6, 3), (OLD[:6], NEW, 6, 6)],
    )
    def test_a_text_that_is_too_short(self, old, new, length, tokens):
        with raises(ValueError, length + 1, tokens):
            list(mixed_batches(old, new, 0.5, 4, length, 3, seeded(1)))


class Causal(nn.Module):
    """A tiny causal model: what stands before a position, in its order, decides its logits."""

    def __init__(self, vocabulary: int = 7, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(vocabulary, 5)
        self.out = nn.Linear(5, vocabulary)
        self.double()
        self.modes, self.grad = [], []

    def forward(self, ids):
        self.modes.append(self.training)
        self.grad.append(torch.is_grad_enabled())
        vectors = self.embed(ids)
        place = torch.arange(1, ids.shape[1] + 1, device=ids.device, dtype=vectors.dtype)[:, None]
        return self.out(torch.tanh((vectors * place.sqrt()).cumsum(1))) * 2


def a_text(n: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(7, (n,), generator=seeded(seed))


def slow_text_loss(model, ids, length) -> float:
    """One token after another."""
    total = 0.0
    for t in range(1, len(ids)):
        start = (t - 1) // length * length
        logits = model(ids[start:t][None])[0, -1].detach()
        total += (logits.logsumexp(0) - logits[ids[t]]).item()
    return total / (len(ids) - 1)


class TestTextLoss:
    @pytest.mark.parametrize(("n", "length"), [(9, 4), (10, 4), (12, 4), (2, 5), (8, 1), (7, 6), (7, 7), (20, 30)])
    def test_token_by_token(self, n, length):
        model, ids = Causal(), a_text(n)
        assert_close(text_loss(model, ids, length), slow_text_loss(model, ids, length))

    def test_a_model_that_knows_no_context(self):
        logits = normal((7,), 3)
        ids = a_text(50)
        expected = -logits.log_softmax(0)[ids[1:]].mean().item()
        assert_close(text_loss(lambda ids: logits.expand(*ids.shape, 7), ids, 8), expected)

    def test_large_logits_do_no_harm(self):
        model = nn.Embedding.from_pretrained(torch.eye(3, dtype=torch.float64) * 1000)
        assert_close(text_loss(model, torch.tensor([0, 0, 1]), 2), 500.0)

    @pytest.mark.parametrize("training", [True, False])
    def test_no_graph_and_the_mode_stays(self, training):
        model = Causal().train(training)
        found = text_loss(model, a_text(9), 4)
        assert_equal((type(found), set(model.grad), set(model.modes)), (float, {False}, {training}))
        assert_equal(({m.training for m in model.modules()}, torch.is_grad_enabled()), ({training}, True))

    @pytest.mark.parametrize("n", [0, 1])
    def test_nothing_to_predict(self, n):
        with raises(ValueError, n):
            text_loss(Causal(), a_text(n), 4)


def batches_of(*kinds: str, length: int = 5):
    """A batch for each word: "o" is an old row, "n" a new one."""
    return [
        (a_text(len(kind) * (length + 1), i + 3).view(len(kind), -1), torch.tensor([k == "o" for k in kind]))
        for i, kind in enumerate(kinds)
    ]


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.5)


class TestContinuedPretraining:
    @pytest.mark.parametrize("kinds", [("onnn", "noon", "nonn"), ("on",), ("oo", "nn", "no")])
    def test_replayed(self, kinds):
        model, beside = Causal(), Causal()
        found = continued_pretraining(model, batches_of(*kinds), sgd(model))
        optimizer, expected = sgd(beside), []
        for ids, is_old in batches_of(*kinds):
            rows = torch.stack([F.cross_entropy(beside(row[None, :-1])[0], row[1:]) for row in ids])
            mean = [[r for r, o in zip(rows.tolist(), is_old.tolist(), strict=True) if o == want] for want in (1, 0)]
            expected.append(tuple(sum(some) / len(some) if some else NAN for some in mean))
            optimizer.zero_grad()
            rows.mean().backward()
            optimizer.step()
        assert_close(found, expected)
        assert_close(dict(model.state_dict()), dict(beside.state_dict()))

    def test_batches_may_be_a_generator(self):
        model, beside = Causal(), Causal()
        found = continued_pretraining(model, (batch for batch in batches_of("on", "nn")), sgd(model))
        assert_close(found, continued_pretraining(beside, batches_of("on", "nn"), sgd(beside)))

    def test_it_trains_in_training_mode_and_ends_in_evaluation_mode(self):
        model = Causal().eval()
        continued_pretraining(model, batches_of("on", "no"), sgd(model))
        assert_equal((set(model.modes), {m.training for m in model.modules()}), ({True}, {False}))

    def test_no_batches(self):
        model = Causal().train()
        assert_equal((continued_pretraining(model, [], sgd(model)), model.training), ([], False))

    def test_gradients_from_before_dont_count(self):
        model, fresh = Causal(), Causal()
        for p in model.parameters():
            p.grad = torch.full_like(p, 2.0)
        for one in (model, fresh):
            continued_pretraining(one, batches_of("on"), sgd(one))
        assert_close(dict(model.state_dict()), dict(fresh.state_dict()))

    def test_the_batches_stay(self):
        model, batches = Causal(), batches_of("on", "no")
        continued_pretraining(model, batches, sgd(model))
        assert_equal(batches, batches_of("on", "no"))

    def test_types(self):
        model = Causal()
        found = continued_pretraining(model, batches_of("on", "nn", "oo"), sgd(model))
        assert_equal({type(one) for pair in found for one in pair}, {float})
        assert_equal({type(pair) for pair in found}, {tuple})


class TestMixtureOptimum:
    def test_the_examples_worked_by_hand(self):
        old, new = f64(0.8, 0.2), f64(0.3, 0.7)
        assert_close(mixture_optimum(old, new, 0.2), (0.8352, 0.6325), atol=1e-4)  # four digits, as in the lesson
        assert_close(mixture_optimum(old, new, 0.0), (1.0345, 0.6109), atol=1e-4)

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 1.0])
    def test_the_formula(self, share):
        old, new = normal((6,), 1).softmax(0), normal((6,), 2).softmax(0)
        mix = [share * a + (1 - share) * b for a, b in zip(old.tolist(), new.tolist(), strict=True)]
        expected = [-sum(p * math.log(m) for p, m in zip(one.tolist(), mix, strict=True)) for one in (old, new)]
        assert_close(mixture_optimum(old, new, share), tuple(expected))

    def test_no_other_distribution_does_better_on_the_mixture(self):
        old, new, share = normal((5,), 1).softmax(0), normal((5,), 2).softmax(0), 0.3
        on_old, on_new = mixture_optimum(old, new, share)
        for seed in range(20):
            q = ((share * old + (1 - share) * new).log() + 0.1 * normal((5,), seed)).log_softmax(0)
            other = -(share * old @ q + (1 - share) * new @ q).item()
            assert share * on_old + (1 - share) * on_new < other

    @pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
    def test_tokens_that_one_of_them_never_has(self, share):
        old, new = f64(0.5, 0.5, 0.0), f64(0.0, 0.5, 0.5)
        on_old = -0.5 * (math.log(share / 2) if share else -math.inf) - 0.5 * math.log(0.5)
        on_new = -0.5 * (math.log((1 - share) / 2) if share < 1 else -math.inf) - 0.5 * math.log(0.5)
        assert_close(mixture_optimum(old, new, share), (on_old, on_new))

    def test_a_token_that_nobody_has(self):
        assert_close(mixture_optimum(f64(0.5, 0.5, 0.0), f64(0.25, 0.75, 0.0), 1.0)[0], math.log(2))

    def test_they_are_floats(self):
        assert_equal([type(one) for one in mixture_optimum(f64(0.5, 0.5), f64(0.9, 0.1), 0.5)], [float, float])


class Frequencies(nn.Module):
    """A model that knows only how often each token comes."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(vocabulary, dtype=torch.float64))

    def forward(self, ids):
        return self.logits.expand(*ids.shape, -1)


def letters(text: str, alphabet: str) -> torch.Tensor:
    return torch.tensor([alphabet.index(c) for c in text])


def digit_tasks(digits, seed: int):
    """Two tasks, training and test rows: digits as they are, and digits with their pixels in another order."""
    x, y = torch.tensor(digits[0] / 16, dtype=torch.float32), torch.tensor(digits[1])
    order = torch.randperm(len(x), generator=seeded(seed))
    x, y = x[order], y[order]
    pixels = [torch.arange(64), torch.randperm(64, generator=seeded(seed + 50))]
    return [(x[:1000, p], y[:1000]) for p in pixels], [(x[1200:, p], y[1200:]) for p in pixels]


def new_digit_model(seed: int) -> MultiHead:
    torch.manual_seed(seed)
    return MultiHead(nn.Sequential(nn.Linear(64, 16), nn.ReLU()), 16, [10, 10])


def right(model, rows, task: int) -> float:
    with torch.no_grad():
        return (model(rows[0], task).argmax(1) == rows[1]).double().mean().item()


@pytest.mark.learning
@pytest.mark.deadline(60)  # a busy machine takes its time
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_one_after_the_other_forgets_and_together_doesnt(self, digits, seed):
        train, held = digit_tasks(digits, seed)

        def go_on(model, optimizer, probabilities, steps):
            batches = TaskBatches([1000, 1000], probabilities, 40, seeded(seed))
            for _ in range(steps):
                task, rows = batches.next_batch()
                multitask_step(model, optimizer, train[task][0][rows], train[task][1][rows], task)
            return [right(model, held[task], task) for task in (0, 1)]

        model = new_digit_model(seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        rows = [go_on(model, optimizer, f64(*p), 120) for p in ((1.0, 0.0), (0.0, 1.0))]
        report = forgetting_report(f64(*rows))
        model = new_digit_model(seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        together = go_on(model, optimizer, task_probabilities([1000, 1000]), 240)
        if report["mean_forgetting"] < 0.03 or together[0] < rows[1][0] + 0.02:
            fail(
                f"One after the other forgets {report['mean_forgetting']:.2f}; the first task has then {rows[1][0]:.2f}, "
                f"and {together[0]:.2f} if both are learned together.",
                evidence=(round(report["mean_forgetting"], 1), round(together[0], 1)),
            )

    @pytest.mark.parametrize("seed", range(3))
    def test_a_small_task_gains_by_a_temperature(self, digits, seed):
        train, held = digit_tasks(digits, seed)
        sizes, found = [1000, 40], []
        for temperature in (1.0, 5.0):
            model = new_digit_model(seed)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
            batches = TaskBatches(sizes, task_probabilities(sizes, temperature), 20, seeded(seed))
            for _ in range(120):
                task, rows = batches.next_batch()
                multitask_step(model, optimizer, train[task][0][rows], train[task][1][rows], task)
            found.append(right(model, held[1], 1))
        # Five seeds: 0.17 to 0.32 by size, 0.55 to 0.75 at T = 5.
        if found[1] < found[0] + 0.15:
            fail(f"By size {found[0]:.2f} of the small task are right, at T = 5 {found[1]:.2f}.", evidence=found)

    def test_a_model_without_context_becomes_the_mixture(self):
        old, new = f64(0.6, 0.3, 0.1), f64(0.1, 0.2, 0.7)
        texts = [torch.multinomial(p, 20_000, replacement=True, generator=seeded(i)) for i, p in enumerate((old, new))]
        model = Frequencies(3)
        batches = mixed_batches(*texts, 0.25, 32, 20, 150, seeded(5))
        continued_pretraining(model, batches, torch.optim.SGD(model.parameters(), lr=1.0))
        found = [text_loss(model, ids, 4000) for ids in texts]
        assert_close(found, list(mixture_optimum(old, new, 0.25)), atol=0.05)  # a last batch leaves its noise

    @pytest.mark.parametrize("seed", range(2))
    def test_from_hamlet_to_first_names(self, hamlet, names, seed):
        text, female = hamlet.lower(), "\n".join(names[0]) + "\n"
        alphabet = "".join(sorted(set(text) | set(female)))
        # Names stand in the order of their frequency: every fifth is held out.
        held = "\n".join(names[0][::5]) + "\n"
        kept = "\n".join(name for i, name in enumerate(names[0]) if i % 5)
        old, old_held, new, new_held = (
            letters(part, alphabet) for part in (text[:120_000], text[-5000:], kept, held[:5000])
        )
        pretrained = nn.Embedding(len(alphabet), len(alphabet))  # the logits of the next letter, for each letter
        nn.init.zeros_(pretrained.weight)
        rose, fell = {}, {}
        for share in (None, 0.0, 0.25):
            model = nn.Embedding.from_pretrained(pretrained.weight.detach().clone(), freeze=False)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
            batches = mixed_batches(old, new, 1.0 if share is None else share, 32, 16, 100, seeded(seed))
            continued_pretraining(model, batches, optimizer)
            losses = text_loss(model, old_held, 1000), text_loss(model, new_held, 1000)
            if share is None:
                pretrained, before = model, losses
            else:
                rose[share], fell[share] = losses[0] - before[0], before[1] - losses[1]
        # Without replay the old loss rises by some 0.8, with it by 0.3; the new one falls by 0.85 or more.
        if not (rose[0.0] > 0.4 and rose[0.25] < 0.6 * rose[0.0] and min(fell.values()) > 0.5):
            fail(
                f"Hamlet's loss rises by {rose[0.0]:.2f}, with replay by {rose[0.25]:.2f}; that on names falls by "
                f"{fell[0.0]:.2f} and {fell[0.25]:.2f}.",
                evidence=[round(v, 1) for v in (*rose.values(), *fell.values())],
            )


class TestOnTheGpu:
    def test_the_model(self, gpu):
        gpu.check(a_model(), normal((5, 4)), 1)
        here = gpu(a_model())
        here.add_head(2)
        assert_equal({p.device.type for p in here.parameters()}, {gpu.device.type})

    def test_steps(self, gpu):
        model = a_model()
        here = gpu(model)
        x, y = normal((8, 4)), torch.arange(8) % 2
        found = multitask_step(here, torch.optim.SGD(here.parameters(), lr=0.1), gpu(x), gpu(y), 1)
        assert_close(found, multitask_step(model, torch.optim.SGD(model.parameters(), lr=0.1), x, y, 1))

    def test_texts(self, gpu):
        model = Causal()
        here = gpu(model)
        assert_close(text_loss(here, gpu(a_text(9)), 4), text_loss(model, a_text(9), 4))
        batches = list(mixed_batches(gpu(a_text(30)), gpu(a_text(20, 2)), 0.5, 4, 5, 2, gpu.generator(1)))
        assert_equal({part.device.type for batch in batches for part in batch}, {gpu.device.type})
        found = continued_pretraining(here, gpu(batches_of("on", "no")), sgd(here))
        assert_close(found, continued_pretraining(model, batches_of("on", "no"), sgd(model)))

    def test_reports(self, gpu):
        assert_close(forgetting_report(gpu(R), gpu(f64(0.1, 0.2, 0.3))), forgetting_report(R, f64(0.1, 0.2, 0.3)))
        pair = (f64(0.8, 0.2), f64(0.3, 0.7))
        assert_close(mixture_optimum(*gpu(pair), 0.2), mixture_optimum(*pair, 0.2))
