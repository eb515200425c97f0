"""Judges k10_curriculum_and_multitask against closed forms, counted choices, and every order of surgery."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, pure, raises
from katas.module_07_training.k10_curriculum_and_multitask import (
    UncertaintyWeighting,
    backward_with_surgery,
    competence,
    curriculum_batch,
    difficulty_order,
    image_size,
    pcgrad,
)

pytestmark = [pure("backward_with_surgery")]


class TestDifficultyOrder:
    @pytest.mark.parametrize(("kind", "expected"), [("easy", [1, 3, 2, 0]), ("hard", [0, 2, 1, 3])])
    def test_the_example_worked_by_hand(self, kind, expected):
        assert_close(difficulty_order(torch.tensor([3.0, 1.0, 2.0, 1.0]), kind), torch.tensor(expected))

    @pytest.mark.parametrize("kind", ["easy", "hard"])
    @pytest.mark.parametrize("n", [0, 1, 40, 500])
    def test_ties_stay_in_their_order(self, n, kind):
        scores = torch.randint(0, 9, (n,)).double() - 4
        sign = 1 if kind == "easy" else -1
        expected = sorted(range(n), key=lambda i: sign * scores[i].item())
        assert_close(difficulty_order(scores, kind), torch.tensor(expected, dtype=torch.int64))

    @pytest.mark.parametrize("kind", ["easy", "hard"])
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int64, torch.float32, torch.bfloat16])
    def test_scores_of_any_dtype(self, dtype, kind):
        values = [5, 0, 120, 7, 0, 5, 120, 1]
        sign = 1 if kind == "easy" else -1
        expected = sorted(range(8), key=lambda i: sign * values[i])
        assert_close(difficulty_order(torch.tensor(values, dtype=dtype), kind), torch.tensor(expected))

    def test_the_least_integer(self):
        scores = torch.tensor([0, -(2**63), 2**63 - 1])
        assert_close(difficulty_order(scores, "hard"), torch.tensor([2, 0, 1]))

    def test_easy_by_default(self):
        assert_close(difficulty_order(torch.tensor([3.0, 1.0, 2.0])), torch.tensor([1, 2, 0]))

    def test_names_by_their_length(self, names):
        words = names[0][:300]
        found = [words[i] for i in difficulty_order(torch.tensor([len(word) for word in words])).tolist()]
        assert_equal(found, sorted(words, key=len))

    @pytest.mark.parametrize("kind", ["random", "Easy"])
    def test_refuses_other_kinds(self, kind):
        with raises(ValueError, kind):
            difficulty_order(torch.ones(3), kind)


class TestCompetence:
    def test_the_example_worked_by_hand(self):
        assert_close([competence(t, 4, 0.2, 1.0) for t in range(6)], [0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
        assert_close(competence(2, 4, 0.6, 2.0), math.sqrt(0.68))

    @pytest.mark.parametrize("power", [1.0, 2.0, 3.0, 0.5])
    @pytest.mark.parametrize(("start", "total"), [(0.01, 10), (0.3, 7), (1.0, 5)])
    def test_its_power_grows_in_a_line(self, start, total, power):
        found = np.array([competence(t, total, start, power) for t in range(total + 1)])
        assert_close(found**power, np.linspace(start**power, 1, total + 1))

    @pytest.mark.parametrize("power", [1.0, 2.0])
    def test_never_above_1(self, power):
        assert_close([competence(t, 6, 0.1, power) for t in (6, 7, 12, 5000)], [1.0] * 4)

    def test_its_defaults(self):
        assert_close(competence(0, 9), 0.01)
        assert_close(competence(4, 8), math.sqrt(0.0001 + 0.9999 / 2))


class TestCurriculumBatch:
    @pytest.mark.parametrize(("share", "allowed"), [(0.25, 2), (0.3, 3), (0.55, 6), (1.0, 11), (0.05, 1), (0.0, 1)])
    @pytest.mark.parametrize("size", [1, 3, 20])
    def test_different_samples_from_the_beginning(self, size, share, allowed):
        order = torch.tensor([40, 13, 22, 8, 31, 5, 17, 29, 2, 36, 11])
        seen = set()
        for _ in range(60):
            batch = curriculum_batch(order, share, size)
            assert_equal((str(batch.dtype), tuple(batch.shape)), ("torch.int64", (min(size, allowed),)))
            assert_equal(len(set(batch.tolist())), len(batch))
            seen |= set(batch.tolist())
        if size > 1 or allowed <= 3:  # sixty batches show them all
            assert_equal(sorted(seen), sorted(order[:allowed].tolist()))
        else:
            assert_equal(seen <= set(order[:allowed].tolist()), True)

    def test_all_choices_are_equally_likely(self):
        order, n = torch.tensor([7, 3, 9, 5, 1, 2]), 1500
        counts = Counter(tuple(sorted(curriculum_batch(order, 0.7, 2).tolist())) for _ in range(n))
        pairs = [tuple(sorted(pair)) for pair in itertools.combinations([7, 3, 9, 5], 2)]
        # Six standard deviations of a share of 1/6.
        assert_close([counts[pair] / n for pair in pairs], [1 / 6] * 6, rtol=0, atol=6 * math.sqrt(5 / 36 / n))

    def test_a_generator_decides_alone(self):
        order, before = torch.arange(100) * 3, torch.get_rng_state()
        one, same, other = (curriculum_batch(order, 0.9, 20, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
        assert_equal(bool((torch.get_rng_state() == before).all()), True)
        assert_close(one, same)
        assert_equal(one.tolist() == other.tolist(), False)

    def test_torchs_own_decides_without_one(self):
        order = torch.arange(100) * 3
        torch.manual_seed(5)
        one, other = curriculum_batch(order, 0.9, 20), curriculum_batch(order, 0.9, 20)
        torch.manual_seed(5)
        assert_close(curriculum_batch(order, 0.9, 20), one)
        assert_equal(one.tolist() == other.tolist(), False)

    def test_of_a_single_sample(self):
        assert_close(curriculum_batch(torch.tensor([4]), 0.5, 3), torch.tensor([4]))


class TestImageSize:
    def test_the_example_worked_by_hand(self):
        found = [image_size(t, 6, 3, 128, 224) for t in range(8)]
        assert_equal(found, [128, 128, 160, 160, 224, 224, 224, 224])
        assert_equal([isinstance(size, int) for size in found], [True] * 8)

    @pytest.mark.parametrize("multiple", [1, 8, 32])
    @pytest.mark.parametrize(("stages", "total"), [(1, 5), (2, 7), (4, 10), (7, 50), (5, 5)])
    def test_each_stage_has_its_size(self, stages, total, multiple):
        first, last = 96, 320
        sizes = [first + (last - first) * i // max(stages - 1, 1) // 1 for i in range(stages)]
        sizes = [size // multiple * multiple for size in sizes]
        sizes[-1] = last
        expected = [sizes[t * stages // total] for t in range(total)] + [last, last]
        assert_equal(
            [image_size(t, total, stages, first, last, multiple) for t in [*range(total), total, 9 * total]], expected
        )

    @pytest.mark.parametrize("stages", [4, 7, 8, 11, 29, 50])
    def test_whole_sizes_arent_rounded_down(self, stages):
        found = [image_size(t, stages, stages, 32, 32 * stages) for t in range(stages)]
        assert_equal(found, [32 * (i + 1) for i in range(stages)])

    def test_a_multiple_of_32_by_default(self):
        assert_equal([image_size(t, 4, 4, 64, 192) for t in range(4)], [64, 96, 128, 192])

    def test_one_size_throughout(self):
        assert_equal([image_size(t, 3, 3, 64, 64) for t in range(4)], [64] * 4)


class TestUncertaintyWeighting:
    def made(self, *s: float) -> UncertaintyWeighting:
        layer = UncertaintyWeighting(len(s)).double()
        with torch.no_grad():
            layer.log_variance.copy_(torch.tensor(s))
        return layer

    def test_the_example_worked_by_hand(self):
        layer = UncertaintyWeighting(2).double()
        with torch.no_grad():
            layer.log_variance[1] = math.log(3)
        expected = torch.tensor((4 + math.log(3)) / 2, dtype=torch.float64)
        assert_close(layer(torch.tensor([2.0, 6.0], dtype=torch.float64)), expected)

    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_half_the_sum_at_first(self, n):
        layer, losses = UncertaintyWeighting(n), torch.rand(n)
        assert_close(layer.log_variance.detach(), torch.zeros(n))
        assert_close(layer(losses).detach(), losses.sum() / 2)
        assert_equal([name for name, p in layer.named_parameters() if p.requires_grad], ["log_variance"])

    def test_values_and_gradients(self):
        layer = self.made(0.7, -1.3, 2.0)
        losses = torch.tensor([3.0, 0.2, 40.0], dtype=torch.float64, requires_grad=True)
        s, l = layer.log_variance.detach(), losses.detach()
        total = layer(losses)
        assert_close(total.detach(), 0.5 * (l / s.exp() + s).sum())
        total.backward(torch.tensor(3.0, dtype=torch.float64))
        assert_close((losses.grad, layer.log_variance.grad), (1.5 / s.exp(), 1.5 * (1 - l / s.exp())))

    def test_the_best_weights_make_all_losses_alike(self):
        losses = torch.tensor([0.02, 1.0, 300.0], dtype=torch.float64)
        layer = self.made(*losses.log().tolist())
        total = layer(losses)
        total.backward()
        assert_close(total.detach(), 0.5 * (1 + losses.log()).sum())
        assert_close(layer.log_variance.grad, torch.zeros(3, dtype=torch.float64))

    @pytest.mark.parametrize("given", [1, 2, 4])
    def test_refuses_another_number_of_losses(self, given):
        with raises(ValueError, given, 3):
            UncertaintyWeighting(3)(torch.ones(given))

    def test_two_of_them_dont_meet(self):
        one, other = self.made(1.0, 2.0), self.made(0.0, 0.0)
        losses = torch.tensor([1.0, 1.0], dtype=torch.float64)
        assert_close(other(losses).detach(), torch.tensor(1.0, dtype=torch.float64))
        assert_equal(bool(one(losses) != other(losses)), True)


def after_surgery(gradients: torch.Tensor, orders: list[tuple[int, ...]]) -> torch.Tensor:
    """The sum, where task i goes through orders[i]."""
    total = torch.zeros_like(gradients[0])
    for i, order in enumerate(orders):
        g = gradients[i].clone()
        for j in order:
            if torch.dot(g, gradients[j]) < 0:
                g -= torch.dot(g, gradients[j]) / gradients[j].square().sum() * gradients[j]
        total += g
    return total


def all_outcomes(gradients: torch.Tensor) -> list[tuple[list[tuple[int, ...]], torch.Tensor]]:
    n = len(gradients)
    each = [list(itertools.permutations([j for j in range(n) if j != i])) for i in range(n)]
    return [(list(orders), after_surgery(gradients, list(orders))) for orders in itertools.product(*each)]


def assert_possible(found: torch.Tensor, gradients: torch.Tensor) -> int:
    """`found` is one of the outcomes of surgery; returns its number."""
    outcomes = all_outcomes(gradients)
    apart = [(found - outcome).abs().max().item() for _, outcome in outcomes]
    nearest = min(range(len(apart)), key=apart.__getitem__)
    assert_close(found, outcomes[nearest][1])
    return nearest


# All three conflict, and each task's own order shows in the sum.
THREE = torch.tensor([[1.0, 0.0, 0.3], [-0.8, 1.0, 0.1], [-0.5, -0.9, 0.7]], dtype=torch.float64)


class TestPcgrad:
    def test_the_example_worked_by_hand(self):
        found = pcgrad(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
        assert_close(found, torch.tensor([0.5, 1.5]))

    @pytest.mark.parametrize("d", [2, 7])
    def test_two_tasks_in_conflict(self, d):
        one = torch.randn(d, dtype=torch.float64)
        other = torch.randn(d, dtype=torch.float64) - 3 * one
        dot = one @ other
        expected = one - dot / (other @ other) * other + other - dot / (one @ one) * one
        found = pcgrad(torch.stack([one, other]))
        assert_close(found, expected)
        # Neither task is undone any more.
        assert_equal((bool(found @ one > -1e-9), bool(found @ other > -1e-9)), (True, True))

    @pytest.mark.parametrize("n", [1, 2, 4])
    def test_without_conflict_it_is_the_sum(self, n):
        gradients = torch.rand(n, 5, dtype=torch.float64) + 0.1
        assert_close(pcgrad(gradients), gradients.sum(0))
        assert_close(pcgrad(torch.eye(5, dtype=torch.float64)[:n]), torch.eye(5, dtype=torch.float64)[:n].sum(0))

    def test_opposite_tasks_leave_nothing(self):
        g = torch.randn(4, dtype=torch.float64)
        assert_close(pcgrad(torch.stack([g, -2 * g])), torch.zeros(4, dtype=torch.float64))

    def test_zeros_conflict_with_none(self):
        g = torch.tensor([[1.0, 2.0], [0.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
        assert_close(pcgrad(g), after_surgery(g, [(2,), (), (0,)]))
        assert_close(pcgrad(torch.zeros(3, 2)), torch.zeros(2))

    def test_three_tasks_in_some_order(self):
        for _ in range(10):
            gradients = torch.randn(3, 3, dtype=torch.float64)
            assert_possible(pcgrad(gradients), gradients)
        assert_possible(pcgrad(THREE), THREE)

    def test_every_order_is_equally_likely(self):
        outcomes, n = all_outcomes(THREE), 250
        table = torch.stack([outcome for _, outcome in outcomes])
        firsts = np.zeros(3)
        for _ in range(n):
            found = pcgrad(THREE)
            number = int((table - found).abs().amax(1).argmin())
            assert_close(found, table[number])
            firsts += [order == tuple(sorted(order)) for order in outcomes[number][0]]
        # Six standard deviations of a share of one half.
        assert_close((firsts / n).tolist(), [0.5] * 3, rtol=0, atol=6 * 0.5 / math.sqrt(n))

    def test_a_generator_decides_alone(self):
        gradients, before = torch.randn(6, 20, dtype=torch.float64), torch.get_rng_state()
        found = [pcgrad(gradients, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4, 5, 6)]
        assert_equal(bool((torch.get_rng_state() == before).all()), True)
        assert_close(found[0], found[1])
        assert_equal(any(bool((found[0] - other).abs().max() > 1e-9) for other in found[2:]), True)

    def test_torchs_own_decides_without_one(self):
        gradients = torch.randn(6, 20, dtype=torch.float64)
        torch.manual_seed(5)
        one, *others = (pcgrad(gradients) for _ in range(5))
        torch.manual_seed(5)
        assert_close(pcgrad(gradients), one)
        assert_equal(any(bool((one - other).abs().max() > 1e-9) for other in others), True)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        found = pcgrad(torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=dtype))
        assert_close(found, torch.tensor([0.5, 1.5], dtype=dtype))


class TwoHeads(nn.Module):
    """A shared body and a head for each of two tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.one, self.other = nn.Linear(5, 6), nn.Linear(6, 3), nn.Linear(6, 1)
        self.double()

    def losses(self, x: torch.Tensor, labels: torch.Tensor, numbers: torch.Tensor) -> list[torch.Tensor]:
        h = torch.tanh(self.body(x))
        return [F.cross_entropy(self.one(h), labels), F.mse_loss(self.other(h)[:, 0], numbers)]


def gradients_of(losses: list[torch.Tensor], parameters: list[torch.Tensor]) -> torch.Tensor:
    rows = []
    for loss in losses:
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(w) if g is None else g for w, g in zip(parameters, found, strict=True)]
        rows.append(torch.cat([g.flatten() for g in parts]))
    return torch.stack(rows)


def flat(parameters: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([w.grad.flatten() for w in parameters])


class TestBackwardWithSurgery:
    def test_two_tasks_that_conflict(self):
        w, v = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in ([1.0, 2.0], 3.0))
        losses = [w[0] * 1.0 + 2 * v, w[1] - w[0] - 2 * v]
        backward_with_surgery(losses, [w, v])
        assert_equal(len(losses), 2)
        expected = after_surgery(torch.tensor([[1.0, 0.0, 2.0], [-1.0, 1.0, -2.0]], dtype=torch.float64), [(1,), (0,)])
        assert_close((w.grad, v.grad), (expected[:2], expected[2]))

    def test_conflicts_are_those_of_whole_gradients(self):
        # In w alone they conflict; together they don't.
        w, v = (torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in (1.0, 3.0))
        backward_with_surgery([w.sum() + 2 * v.sum(), v.sum() - w.sum()], [w, v])
        assert_close((w.grad, v.grad), (torch.zeros(1).double(), torch.full((1,), 3.0).double()))

    def test_a_body_and_two_heads(self):
        for _ in range(5):
            model, x = TwoHeads(), torch.randn(8, 5, dtype=torch.float64)
            parameters = list(model.parameters())
            losses = model.losses(x, torch.randint(0, 3, (8,)), 5 * torch.randn(8, dtype=torch.float64))
            expected = after_surgery(gradients_of(losses, parameters), [(1,), (0,)])
            backward_with_surgery(losses, model.parameters())
            assert_close(flat(parameters), expected)
            assert_equal([tuple(w.grad.shape) for w in parameters], [tuple(w.shape) for w in parameters])

    def test_three_tasks_in_some_order(self):
        w = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        backward_with_surgery([w @ g for g in THREE], [w])
        assert_possible(w.grad, THREE)

    def test_gradients_from_before_dont_count(self):
        model, x = TwoHeads(), torch.randn(8, 5, dtype=torch.float64)
        parameters = list(model.parameters())
        for w in parameters:
            w.grad = torch.full_like(w, 7.0)
        for _ in range(2):
            losses = model.losses(x, torch.randint(0, 3, (8,)), torch.randn(8, dtype=torch.float64))
            expected = after_surgery(gradients_of(losses, parameters), [(1,), (0,)])
            backward_with_surgery(losses, parameters)
            assert_close(flat(parameters), expected)

    def test_what_no_loss_reaches_has_zeros(self):
        w, v = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
        backward_with_surgery([w.sum(), 2 * w[0]], [w, v])
        assert_close((w.grad, v.grad), (torch.tensor([3.0, 1.0]).double(), torch.zeros(2).double()))

    def test_one_loss_is_backward(self):
        model, x = TwoHeads(), torch.randn(8, 5, dtype=torch.float64)
        loss = sum(model.losses(x, torch.randint(0, 3, (8,)), torch.randn(8, dtype=torch.float64)))
        parameters = list(model.parameters())
        expected = gradients_of([loss], parameters)[0]
        backward_with_surgery([loss], parameters)
        assert_close(flat(parameters), expected)

    def test_only_the_given_parameters(self):
        model, x = TwoHeads(), torch.randn(8, 5, dtype=torch.float64)
        losses = model.losses(x, torch.randint(0, 3, (8,)), torch.randn(8, dtype=torch.float64))
        before = [w.detach().clone() for w in model.parameters()]
        backward_with_surgery(losses, model.body.parameters())
        assert_equal([w.grad is None for w in model.parameters()], [False] * 2 + [True] * 4)
        assert_close([w.detach() for w in model.parameters()], before, rtol=0, atol=0)

    def test_each_gradient_has_its_own_memory(self):
        w, v = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
        backward_with_surgery([w.sum() + v.sum()], [w, v])
        w.grad.zero_()
        assert_close(v.grad, torch.ones(2, dtype=torch.float64))
        assert_equal((w.grad.requires_grad, w.is_leaf), (False, True))

    def test_a_generator_decides_alone(self):
        w = torch.zeros(20, dtype=torch.float64, requires_grad=True)
        directions, found = torch.randn(6, 20, dtype=torch.float64), []
        before = torch.get_rng_state()
        for seed in (3, 3, 4, 5, 6):
            backward_with_surgery([w @ g for g in directions], [w], torch.Generator().manual_seed(seed))
            found.append(w.grad.clone())
        assert_equal(bool((torch.get_rng_state() == before).all()), True)
        assert_close(found[0], found[1])
        assert_equal(any(bool((found[0] - other).abs().max() > 1e-9) for other in found[2:]), True)

    def test_neither_task_is_undone_on_digits(self, digits):
        x, labels = torch.tensor(digits[0][:100]) / 16, torch.tensor(digits[1][:100])
        body, one, other = (nn.Linear(a, b).double() for a, b in ((64, 8), (8, 10), (8, 10)))
        h = torch.tanh(body(x))
        # The second task learns the digits in reverse, which pulls the body the other way.
        losses = [F.cross_entropy(one(h), labels), 3 * F.cross_entropy(other(h), 9 - labels)]
        parameters = [*body.parameters(), *one.parameters(), *other.parameters()]
        tasks = gradients_of(losses, parameters)
        backward_with_surgery(losses, parameters)
        products = tasks @ flat(parameters)
        if (products < -1e-9).any():
            fail("the step makes one of the tasks worse", evidence=products.round(decimals=3))


class TestOnTheGpu:
    def test_difficulty_order(self, gpu):
        gpu.check(difficulty_order, torch.tensor([3.0, 1.0, 2.0, 1.0]), "hard")

    def test_curriculum_batch(self, gpu):
        order = gpu(torch.tensor([7, 3, 9, 5, 1]))
        one, same = (curriculum_batch(order, 0.7, 2, torch.Generator().manual_seed(3)) for _ in range(2))
        assert_equal(one.device.type, gpu.device.type)
        assert_close(one.cpu(), same.cpu())

    def test_uncertainty_weighting(self, gpu):
        gpu.check(UncertaintyWeighting(3), torch.tensor([1.0, 2.0, 3.0]).requires_grad_())

    def test_pcgrad(self, gpu):
        gpu.check(pcgrad, torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
        found = pcgrad(gpu(THREE), torch.Generator().manual_seed(3))
        assert_possible(found.cpu(), THREE)

    def test_backward_with_surgery(self, gpu):
        model, x = TwoHeads(), torch.randn(8, 5, dtype=torch.float64)
        labels, numbers = torch.randint(0, 3, (8,)), torch.randn(8, dtype=torch.float64)
        there = gpu(model)
        for one, batch in ((model, (x, labels, numbers)), (there, gpu((x, labels, numbers)))):
            backward_with_surgery(one.losses(*batch), one.parameters())
        assert_equal({w.grad.device.type for w in there.parameters()}, {gpu.device.type})
        assert_close(flat(list(there.parameters())).cpu(), flat(list(model.parameters())))
