"""Judges k01_perceptron by definition, by Novikoff's bound on separable data, and on XOR."""

import copy
import itertools
import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_04_deep_learning.k01_perceptron import (
    MLP,
    averaged_perceptron,
    fit,
    margin,
    mistake_bound,
    perceptron,
    predict,
    with_bias,
    xor_by_hand,
)

pytestmark = [from_scratch("sklearn"), pure("fit")]

POINTS = torch.tensor([[2.0, 1], [1, -1], [-1, 1]])
LABELS = torch.tensor([1, -1, 1])
XOR_X = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
XOR_Y = torch.tensor([-1, 1, 1, -1])


def whole_numbers(n: int, d: int) -> torch.Tensor:
    """Numbers that are added up without rounding, in any order."""
    return torch.randint(-4, 5, (n, d)).double()


def some_labels(n: int) -> torch.Tensor:
    return torch.randint(0, 2, (n,)) * 2 - 1


def by_definition(x: torch.Tensor, y: torch.Tensor, epochs: int) -> list[list[tuple[list[float], bool]]]:
    """w after each example and whether there was a mistake, epoch by epoch, with lists."""
    w, run = [0.0] * x.shape[1], []
    for _ in range(epochs):
        run.append([])
        for row, label in zip(x.tolist(), y.tolist(), strict=True):
            mistake = label * sum(a * b for a, b in zip(w, row, strict=True)) <= 0
            if mistake:
                w = [a + label * b for a, b in zip(w, row, strict=True)]
            run[-1].append((w, mistake))
    return run


def on_separable_data(check) -> None:
    """Let hypothesis look for examples that a known w separates, on which `check(x, y, w)` fails."""
    from hypothesis import HealthCheck, given, seed, settings
    from hypothesis import strategies as st

    points = st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=1, max_size=8)
    weights = st.tuples(*[st.integers(-2, 2)] * 3)

    def run(rows, w):
        w = torch.tensor(w, dtype=torch.float64)
        x = torch.tensor(rows, dtype=torch.float64)
        scores = x @ w
        if (scores != 0).any():
            x, scores = x[scores != 0], scores[scores != 0]
            check(x, scores.sign().long(), w)

    quiet = settings(deadline=None, max_examples=12, database=None, suppress_health_check=list(HealthCheck))
    seed(random.getrandbits(32))(quiet(given(points, weights)(run)))()


class TestWithBias:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize(("n", "d"), [(3, 2), (1, 4)])
    def test_a_column_of_ones_behind_x(self, n, d, dtype):
        x = torch.randn(n, d).to(dtype)
        found = with_bias(x)
        assert_close(found, torch.tensor([[*row, 1.0] for row in x.tolist()], dtype=dtype))


class TestPredict:
    def test_the_example_worked_by_hand(self):
        found = predict(POINTS, torch.tensor([1.0, 2.0]))
        assert_equal(str(found.dtype), "torch.int64")
        assert_equal(found.tolist(), [1, -1, 1])

    def test_a_score_of_0_is_class_minus_1(self):
        x = torch.tensor([[1.0, -1.0], [0.0, 0.0], [1.0, -0.5]])
        assert_equal(predict(x, torch.ones(2)).tolist(), [-1, -1, 1])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_follows_the_score(self, dtype):
        x, w = whole_numbers(30, 4).to(dtype), torch.tensor([1.0, -2, 0.5, 1]).to(dtype)
        expected = [1 if sum(a * b for a, b in zip(row, w.tolist(), strict=True)) > 0 else -1 for row in x.tolist()]
        assert_equal(predict(x, w).tolist(), expected)


class TestPerceptron:
    def test_the_example_worked_by_hand(self):
        w, mistakes = perceptron(POINTS, LABELS, 10)
        assert_equal(mistakes, [2, 0])
        assert_close(w, torch.tensor([1.0, 2.0]))

    @pytest.mark.parametrize("epochs", [1, 2, 5])
    @pytest.mark.parametrize(("n", "d"), [(12, 3), (7, 5), (1, 2)])
    def test_matches_the_definition(self, n, d, epochs):
        x, y = whole_numbers(n, d) + (n == 1), some_labels(n)  # a lone row of zeros could never be learned
        run = by_definition(x, y, epochs)
        counts = [sum(mistake for _, mistake in epoch) for epoch in run]
        last = counts.index(0) if 0 in counts else epochs - 1
        w, mistakes = perceptron(x, y, epochs)
        assert_equal(mistakes, counts[: last + 1])
        assert_close(w, torch.tensor(run[last][-1][0], dtype=torch.float64))

    def test_entries_that_arent_whole(self):
        x, y = torch.randn(9, 3, dtype=torch.float64), some_labels(9)
        run = by_definition(x, y, 3)
        w, mistakes = perceptron(x, y, 3)
        assert_equal(mistakes, [sum(mistake for _, mistake in epoch) for epoch in run][: len(mistakes)])
        assert_close(w, torch.tensor(run[len(mistakes) - 1][-1][0], dtype=torch.float64))

    def test_it_rests_after_an_epoch_without_a_mistake(self):
        _, mistakes = perceptron(POINTS, LABELS, 2)
        assert_equal(mistakes, [2, 0])
        _, mistakes = perceptron(POINTS, LABELS, 1)
        assert_equal(mistakes, [2])

    def test_the_counts_are_plain_ints(self):
        _, mistakes = perceptron(POINTS, LABELS, 3)
        assert_equal([type(count) for count in mistakes], [int, int])

    def test_a_score_of_0_is_a_mistake(self):
        x, y = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, -1])
        w, mistakes = perceptron(x, y, 5)
        assert_equal(mistakes, [2, 0])
        assert_close(w, torch.tensor([1.0, -1.0]))

    def test_the_order_of_the_rows_counts(self):
        x, y = whole_numbers(15, 3), some_labels(15)
        expected = torch.tensor(by_definition(x.flip(0), y.flip(0), 1)[0][-1][0], dtype=torch.float64)
        assert_close(perceptron(x.flip(0), y.flip(0), 1)[0], expected)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_keeps_the_dtype(self, dtype):
        assert_equal(str(perceptron(POINTS.to(dtype), LABELS, 3)[0].dtype), str(dtype))

    @pytest.mark.parametrize("label", [0, 2, -3])
    def test_other_labels_are_refused(self, label):
        with raises(ValueError, label):
            perceptron(POINTS, torch.tensor([1, label, -1]), 3)

    def test_never_more_mistakes_than_the_bound(self):
        def check(x, y, w):
            gamma = (y * (x @ w)).min() / w.norm()
            bound = (x.norm(dim=1).max() / gamma).square().item()
            found, mistakes = perceptron(x, y, 400)
            if sum(mistakes) > bound + 1e-6:
                fail(
                    f"{sum(mistakes)} mistakes on data that can't have more than {bound:.1f}.",
                    evidence=(x.tolist(), y.tolist(), mistakes),
                )
            assert_equal(mistakes[-1], 0)
            assert_equal(bool((y * (x @ found) > 0).all()), True)

        on_separable_data(check)

    @pytest.mark.parametrize("epochs", [3, 40])
    def test_xor_never_lets_it_rest(self, epochs):
        _, mistakes = perceptron(torch.cat([XOR_X, torch.ones(4, 1)], 1), XOR_Y, epochs)
        assert_equal((len(mistakes), min(mistakes) > 0), (epochs, True))

    def test_setosa_stands_apart(self, iris):
        x, y = iris
        x = torch.cat([torch.tensor(x), torch.ones(150, 1, dtype=torch.float64)], 1)
        y = torch.tensor(np.where(y == 0, 1, -1))
        w, mistakes = perceptron(x, y, 50)
        assert_equal((mistakes[-1], bool((y * (x @ w) > 0).all())), (0, True))


class TestAveragedPerceptron:
    def test_the_example_worked_by_hand(self):
        assert_close(averaged_perceptron(POINTS, LABELS, 2), torch.tensor([7 / 6, 11 / 6]))

    @pytest.mark.parametrize("epochs", [1, 2, 6])
    @pytest.mark.parametrize(("n", "d"), [(12, 3), (7, 5), (1, 2)])
    def test_matches_the_definition(self, n, d, epochs):
        x, y = whole_numbers(n, d), some_labels(n)
        steps = [torch.tensor(w, dtype=torch.float64) for epoch in by_definition(x, y, epochs) for w, _ in epoch]
        assert_close(averaged_perceptron(x, y, epochs), sum(steps) / len(steps))

    def test_epochs_after_the_last_mistake_count(self):
        # Two mistakes at the start, then (1 2) for all of the other 28 examples.
        expected = torch.tensor([(2 + 29) / 30, (1 + 58) / 30])
        assert_close(averaged_perceptron(POINTS, LABELS, 10), expected)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_keeps_the_dtype(self, dtype):
        assert_equal(str(averaged_perceptron(POINTS.to(dtype), LABELS, 3).dtype), str(dtype))

    @pytest.mark.parametrize("label", [0, 2])
    def test_other_labels_are_refused(self, label):
        with raises(ValueError, label):
            averaged_perceptron(POINTS, torch.tensor([1, label, -1]), 3)

    def test_two_kinds_of_iris_that_no_line_parts(self, iris):
        x, y = iris
        order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
        x = torch.cat([torch.tensor(x[y > 0]), torch.ones(100, 1, dtype=torch.float64)], 1)[order]
        y = torch.tensor(np.where(y[y > 0] == 1, 1, -1))[order]
        right = lambda w: (y * (x @ w) > 0).double().mean().item()  # noqa: E731
        last, averaged = right(perceptron(x, y, 20)[0]), right(averaged_perceptron(x, y, 20))
        if not averaged >= max(0.95, last + 0.1):
            fail(
                f"The averaged perceptron has {averaged:.0%} right, the last one {last:.0%}: the average should be better here.",
                evidence=(averaged, last),
            )


class TestMargin:
    @pytest.mark.parametrize(("w", "expected"), [((1.0, 2.0), 1 / math.sqrt(5)), ((0.0, 1.0), 1.0)])
    def test_the_example_worked_by_hand(self, w, expected):
        found = margin(POINTS, LABELS, torch.tensor(w))
        assert_equal(isinstance(found, float), True)
        assert_close(found, expected, rtol=1e-6, atol=1e-6)  # computed in float32

    @pytest.mark.parametrize(("n", "d"), [(9, 3), (1, 4), (5, 1)])
    def test_the_nearest_example_decides(self, n, d):
        x, y, w = torch.randn(n, d).double(), some_labels(n), torch.randn(d).double() + 3
        length = math.sqrt(sum(v * v for v in w.tolist()))
        scores = [
            label * sum(a * b for a, b in zip(row, w.tolist(), strict=True))
            for row, label in zip(x.tolist(), y.tolist(), strict=True)
        ]
        assert_close(margin(x, y, w), min(scores) / length)

    def test_it_doesnt_depend_on_the_length_of_w(self):
        x, y, w = torch.randn(8, 3).double(), some_labels(8), torch.randn(3).double()
        assert_close(margin(x, y, 7 * w), margin(x, y, w))

    def test_on_the_line_and_beyond(self):
        assert_close(margin(POINTS, LABELS, torch.tensor([1.0, 1.0])), 0.0)
        assert_close(margin(POINTS, LABELS, torch.tensor([4.0, 3.0])), -1 / 5, rtol=1e-6, atol=1e-6)  # float32

    def test_a_w_of_0_is_refused(self):
        with raises(ValueError):
            margin(POINTS, LABELS, torch.zeros(2))


class TestMistakeBound:
    @pytest.mark.parametrize(("w", "expected"), [((1.0, 2.0), 25.0), ((0.0, 1.0), 5.0)])
    def test_the_example_worked_by_hand(self, w, expected):
        found = mistake_bound(POINTS, LABELS, torch.tensor(w))
        assert_equal(isinstance(found, float), True)
        assert_close(found, expected, rtol=1e-5, atol=0)  # computed in float32

    @pytest.mark.parametrize("n", [1, 6])
    def test_follows_from_its_definition(self, n):
        w = torch.randn(4, dtype=torch.float64)
        x = torch.randn(n, 4, dtype=torch.float64)
        y = (x @ w).sign().long()
        gamma = (y * (x @ w)).min() / w.norm()
        assert_close(mistake_bound(x, y, w), ((x.norm(dim=1).max() / gamma) ** 2).item())

    @pytest.mark.parametrize(("w", "gamma"), [((4.0, 3.0), -0.2), ((1.0, 1.0), 0.0)])
    def test_a_w_that_doesnt_separate_is_refused(self, w, gamma):
        with raises(ValueError, gamma):
            mistake_bound(POINTS.double(), LABELS, torch.tensor(w).double())


class TestMLP:
    def test_matches_its_formula(self):
        model = MLP(3, 5).double()
        x = torch.randn(7, 3, dtype=torch.float64)
        hidden = (x @ model.first.weight.T + model.first.bias).clamp(min=0)
        expected = (hidden @ model.second.weight.T + model.second.bias)[:, 0]
        assert_close(model(x), expected.detach())

    @pytest.mark.parametrize(("d", "hidden"), [(2, 4), (3, 1)])
    def test_its_parameters(self, d, hidden):
        found = {name: tuple(p.shape) for name, p in MLP(d, hidden).named_parameters()}
        expected = {
            "first.weight": (hidden, d),
            "first.bias": (hidden,),
            "second.weight": (1, hidden),
            "second.bias": (1,),
        }
        assert_equal(found, expected)

    @pytest.mark.parametrize("n", [1, 4])
    def test_one_number_a_row(self, n):
        assert_equal(tuple(MLP(2, 3)(torch.randn(n, 2)).shape), (n,))

    def test_every_parameter_has_a_gradient(self):
        model = MLP(3, 20)
        model(torch.randn(9, 3)).backward(torch.randn(9))
        assert_equal([name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0], [])

    def test_it_starts_as_torch_does(self):
        model = MLP(400, 300)
        found = [p.abs().max().item() for p in (model.first.weight, model.second.weight)]
        # Uniform between ±1/√in: of that many numbers the largest is close to the bound.
        assert_close(found, [1 / 20, 1 / math.sqrt(300)], rtol=0.1, atol=0)


class TestXorByHand:
    def test_its_four_scores(self):
        assert_close(xor_by_hand()(XOR_X).detach(), torch.tensor([-0.5, 0.5, 0.5, -0.5]))

    def test_it_is_an_mlp_that_can_be_trained_on(self):
        model = xor_by_hand()
        assert_equal(
            (isinstance(model, MLP), [tuple(p.shape) for p in model.parameters()]), (True, [(2, 2), (2,), (1, 2), (1,)])
        )
        assert_equal([(p.is_leaf, p.requires_grad) for p in model.parameters()], [(True, True)] * 4)

    def test_two_calls_give_two_models(self):
        one, other = xor_by_hand(), xor_by_hand()
        with torch.no_grad():
            one.second.bias.add_(5)
        assert_close(other(XOR_X).detach(), torch.tensor([-0.5, 0.5, 0.5, -0.5]))


class Line(nn.Module):
    """One layer, whose answer has the form that `fit` asks for."""

    def __init__(self, d: int):
        super().__init__()
        self.layer = nn.Linear(d, 1)

    def forward(self, x):
        return self.layer(x)[:, 0]


class Bent(nn.Module):
    """Two layers with a bend, and a parameter that isn't trained."""

    def __init__(self, d: int):
        super().__init__()
        self.first, self.second = nn.Linear(d, 4), nn.Linear(4, 1)
        self.scale = nn.Parameter(torch.full((4,), 1.5), requires_grad=False)

    def forward(self, x):
        return self.second((self.first(x) * self.scale).tanh())[:, 0]


def descend(model: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int, lr: float) -> list[float]:
    """`fit` by torch's own optimizer."""
    optimizer, losses = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr), []
    for _ in range(steps):
        loss = F.soft_margin_loss(model(x), y.to(x.dtype))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class TestFit:
    @pytest.mark.parametrize("make", [Line, Bent])
    @pytest.mark.parametrize(("n", "steps", "lr"), [(6, 1, 0.7), (9, 5, 0.3), (1, 3, 2.0)])
    def test_matches_gradient_descent(self, n, steps, lr, make):
        mine = make(3).double()
        theirs = copy.deepcopy(mine)
        x, y = torch.randn(n, 3, dtype=torch.float64), some_labels(n)
        expected = descend(theirs, x, y, steps, lr)
        found = fit(mine, x, y, steps, lr)
        assert_close(found, expected)
        assert_equal([type(loss) for loss in found], [float] * steps)
        assert_close([p.detach() for p in mine.parameters()], [p.detach() for p in theirs.parameters()])

    def test_gradients_that_stood_there_dont_count(self):
        mine = Bent(3).double()
        theirs = copy.deepcopy(mine)
        x, y = torch.randn(5, 3, dtype=torch.float64), some_labels(5)
        (mine(x) * 100).sum().backward()
        assert_close(fit(mine, x, y, 3, 0.5), descend(theirs, x, y, 3, 0.5))
        assert_close([p.detach() for p in mine.parameters()], [p.detach() for p in theirs.parameters()])

    def test_a_second_call_goes_on(self):
        mine = Line(3).double()
        theirs = copy.deepcopy(mine)
        x, y = torch.randn(5, 3, dtype=torch.float64), some_labels(5)
        found = fit(mine, x, y, 2, 0.5) + fit(mine, x, y, 3, 0.5)
        assert_close(found, descend(theirs, x, y, 5, 0.5))

    def test_the_parameters_stay_the_same_objects(self):
        model = Bent(2)
        before = list(model.parameters())
        fit(model, XOR_X, XOR_Y, 2, 0.5)
        after = list(model.parameters())
        assert_equal([a is b for a, b in zip(after, before, strict=True)], [True] * 5)
        assert_equal([(p.is_leaf, p.requires_grad) for p in after], [(True, p is not model.scale) for p in before])

    def test_scores_of_10_000(self):
        model = Line(1)
        with torch.no_grad():
            model.layer.weight.fill_(1e4)
            model.layer.bias.zero_()
        x, y = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]), torch.tensor([1, 1, -1, -1])
        found = fit(model, x, y, 1, 4.0)
        assert_close(found, [5e3], rtol=1e-6, atol=0)
        # Two of four are wrong: each pulls by x·y = -1, a quarter of the mean.
        assert_close(model.layer.weight.item(), 1e4 - 4 * 2 / 4, rtol=0, atol=1e-2)  # float32 near 10,000

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_a_hidden_layer_learns_xor(self, seed):
        # What a line can do: the best of very many.
        angles = torch.arange(0, 2 * math.pi, 0.05)
        lines = torch.stack([angles.cos(), angles.sin()])
        lines = [
            (XOR_X @ lines[:, i] > bias).long() * 2 - 1
            for i, bias in itertools.product(range(len(angles)), (-1, -0.5, 0, 0.5, 1))
        ]
        baseline = max((line == XOR_Y).sum().item() for line in lines)
        torch.manual_seed(seed)
        model = MLP(2, 16)
        losses = fit(model, XOR_X, XOR_Y, 600, 0.5)
        right = (model(XOR_X) * XOR_Y > 0).sum().item()
        assert_equal((baseline, right), (3, 4))
        if losses[-1] > 0.1:
            fail(
                f"After 600 steps the loss on XOR is {losses[-1]:.2f}: below 0.1 was expected.",
                evidence=round(losses[-1], 2),
            )


class TestOnTheGpu:
    def test_with_bias(self, gpu):
        gpu.check(with_bias, torch.randn(3, 2))

    def test_predict(self, gpu):
        gpu.check(predict, POINTS, torch.tensor([1.0, 2.0]))

    @pytest.mark.parametrize("train", [perceptron, averaged_perceptron])
    def test_training(self, gpu, train):
        gpu.check(train, POINTS, LABELS, 2)

    @pytest.mark.parametrize("measure", [margin, mistake_bound])
    def test_measures(self, gpu, measure):
        gpu.check(measure, POINTS, LABELS, torch.tensor([1.0, 2.0]))

    def test_mlp(self, gpu):
        gpu.check(MLP(3, 4), torch.randn(5, 3).requires_grad_())

    def test_xor_by_hand(self, gpu):
        gpu.check(xor_by_hand(), XOR_X)

    def test_fit(self, gpu):
        on_cpu = Bent(2)
        there = gpu(on_cpu)
        expected = fit(on_cpu, XOR_X, XOR_Y, 3, 0.5)
        assert_close(fit(there, gpu(XOR_X), gpu(XOR_Y), 3, 0.5), expected, rtol=1e-5, atol=1e-5)  # float32
        assert_equal({p.device.type for p in there.parameters()}, {gpu.device.type})
