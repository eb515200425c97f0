"""Judges k22_adversarial_robustness against closed forms on linear models, steps replayed one by one, and digits."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.linear_lead import Lead
from fixtures.one_thread import on_one_thread  # noqa: F401
from katas.module_10_fine_tuning.k22_adversarial_robustness import (
    adversarial_training,
    attack_report,
    fgsm,
    masking_signs,
    pgd,
    project,
    random_start,
    robust_accuracy,
    steepest_step,
)

pytestmark = [
    from_scratch("torchattacks", "foolbox", "art", "cleverhans"),
    pure("adversarial_training"),
]

SHAPES = [(5, 3), (4, 2, 3), (3, 1, 4, 2), (6, 1)]
WIDE = {"low": -100.0, "high": 100.0}
NORMS = ["linf", "l2"]


def f64(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(shape, seed: int = 0, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=seeded(seed), dtype=torch.float64)


def normal(shape, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def lengths(v: torch.Tensor) -> torch.Tensor:
    return v.flatten(1).square().sum(1).sqrt()


class Moody(nn.Module):
    """In training mode it swaps its classes."""

    def __init__(self):
        super().__init__()
        self.inner = Lead([3.0, -4.0])

    def forward(self, x):
        logits = self.inner(x)
        return logits.flip(1) if self.training else logits


class Bumps(nn.Module):
    """The logit of class 1 goes up and down along the sum of the entries: starts end in different places."""

    def forward(self, x):
        lead = torch.sin(9 * x.flatten(1).sum(1)) + 0.3 * x.flatten(1)[:, 0]
        return torch.stack([torch.zeros_like(lead), lead], 1)


def network(shape=(3,), classes: int = 4, seed: int = 0, dtype=torch.float64) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 7), nn.Tanh(), nn.Linear(7, classes)).to(dtype)
    with torch.no_grad():
        for p in net.parameters():
            p *= 3
    return net


def case(shape, seed: int = 0):
    """A network, and points in the box with classes that it doesn't always give."""
    return network(shape[1:], seed=seed), uniform(shape, seed + 10), torch.arange(shape[0]) % 4


def gradient_of(model, x, y) -> torch.Tensor:
    """One example after another."""
    rows = []
    for i in range(len(x)):
        one = x[i : i + 1].detach().clone().requires_grad_()
        (g,) = torch.autograd.grad(-model(one).log_softmax(-1)[0, y[i]], one)
        rows.append(g)
    return torch.cat(rows)


def slow_project(moved, x, eps, norm, low, high):
    rows = []
    for m, o in zip(moved, x, strict=True):
        d = m - o
        if norm == "linf":
            d = torch.maximum(torch.minimum(d, torch.full_like(d, eps)), torch.full_like(d, -eps))
        elif d.square().sum().sqrt() > eps:
            d = d / d.square().sum().sqrt() * eps
        rows.append((o + d).clip(low, high))
    return torch.stack(rows)


def replay(model, x, y, eps, step, steps, norm, generator, restarts, low=0.0, high=1.0):
    """PGD written out, with the starts that `random_start` gives."""
    ends, losses = [], []
    for _ in range(restarts):
        at = random_start(x, eps, norm, generator, low, high)
        for _ in range(steps):
            g = gradient_of(model, at, y)
            if norm == "linf":
                move = g.sign()
            else:
                move = torch.stack([one / one.norm() if one.norm() > 0 else one for one in g])
            at = slow_project(at + step * move, x, eps, norm, low, high)
        ends.append(at)
        losses.append(F.cross_entropy(model(at), y, reduction="none").detach())
    best = torch.stack(losses).argmax(0)
    return torch.stack([ends[k][i] for i, k in enumerate(best.tolist())])


def watch(model, call):
    """The answer of `call`; fails if it leaves a gradient, a mode or a weight behind."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.25)
    modes = [m.training for m in model.modules()]
    answer = call()
    assert_equal([m.training for m in model.modules()], modes)
    for name, p in model.named_parameters():
        assert_equal(p.requires_grad, True)
        assert_close(p.grad, torch.full_like(p, 0.25))
        assert_equal(p.detach(), before[name])
    return answer


class TestFgsm:
    def test_the_example_worked_by_hand(self):
        x = f64([0.7, 0.4])
        assert_close(fgsm(Lead([3.0, -4.0]), x, torch.tensor([1]), 0.1), f64([0.6, 0.5]))

    @pytest.mark.parametrize("eps", [0.03, 0.2, 0.0])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_one_step_along_the_sign_of_the_gradient(self, shape, eps):
        model, x, y = case(shape)
        assert_close(fgsm(model, x, y, eps), (x + eps * gradient_of(model, x, y).sign()).clip(0, 1))

    def test_it_leads_away_from_the_class_that_is_given(self):
        x = f64([0.5, 0.5], [0.5, 0.5])
        found = fgsm(Lead([2.0, -1.0], 3.0), x, torch.tensor([0, 1]), 0.125)
        assert_close(found, f64([0.625, 0.375], [0.375, 0.625]))

    @pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.25, 0.75), (-0.5, 1.0)])
    def test_the_box(self, low, high):
        model, x, y = network(), uniform((8, 3), 3, low, high), torch.arange(8) % 4
        expected = (x + 0.3 * gradient_of(model, x, y).sign()).clip(low, high)
        assert_close(fgsm(model, x, y, 0.3, low, high), expected)

    def test_an_entry_without_a_gradient_stays(self):
        x = f64([0.5, 0.25, 0.75])
        assert_close(fgsm(Lead([1.0, 0.0, -1.0]), x, torch.tensor([0]), 0.1), f64([0.6, 0.25, 0.65]))

    def test_the_model_is_left_alone(self):
        model, x, y = case((5, 3))
        watch(model, lambda: fgsm(model, x, y, 0.1))

    def test_x_requires_no_gradient_afterwards(self):
        model, x, y = case((5, 3))
        fgsm(model, x, y, 0.1)
        assert_equal((x.requires_grad, x.grad), (False, None))

    def test_nothing_requires_a_gradient(self):
        model, x, y = case((5, 3))
        x.requires_grad_()
        assert_equal(fgsm(model, x, y, 0.1).requires_grad, False)
        assert_equal(x.grad is None, True)

    def test_float32_stays_float32(self):
        model, x, y = case((5, 3))
        expected = fgsm(model, x, y, 0.1).float()
        assert_close(fgsm(model.float(), x.float(), y, 0.1), expected)

    @pytest.mark.parametrize(("training", "expected"), [(False, [0.6, 0.5]), (True, [0.8, 0.3])])
    def test_the_mode_is_the_callers(self, training, expected):
        found = fgsm(Moody().train(training), f64([0.7, 0.4]), torch.tensor([1]), 0.1)
        assert_close(found, f64(expected))

    def test_frozen_weights_will_do(self):
        model, x, y = case((5, 3))
        expected = (x + 0.1 * gradient_of(model, x, y).sign()).clip(0, 1)
        assert_close(fgsm(model.requires_grad_(False), x, y, 0.1), expected)


class TestProject:
    def test_the_example_worked_by_hand(self):
        x, moved = f64([0.7, 0.4]), f64([0.9, 0.1])
        assert_close(project(moved, x, 0.18, "linf"), f64([0.88, 0.22]))
        scale = 0.18 / math.sqrt(0.13)
        assert_close(project(moved, x, 0.18, "l2"), f64([0.7 + 0.2 * scale, 0.4 - 0.3 * scale]))

    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("eps", [0.4, 1.5])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_example_by_example(self, shape, eps, norm):
        x = uniform(shape, 1)
        moved = x + normal(shape, 2) * torch.linspace(0.1, 2, shape[0]).view(-1, *[1] * (len(shape) - 1))
        assert_close(project(moved, x, eps, norm, **WIDE), slow_project(moved, x, eps, norm, **WIDE))

    @pytest.mark.parametrize("norm", NORMS)
    def test_what_is_inside_stays(self, norm):
        x = uniform((4, 3), 1, 0.3, 0.7)
        moved = x + 0.1 * (2 * uniform((4, 3), 2) - 1)
        assert_close(project(moved, x, 0.2, norm), moved)

    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.5, 0.5), (0.0, 2.0)])
    def test_the_box_comes_after_the_ball(self, norm, low, high):
        x = uniform((20, 4), 1, low, high)
        moved = x + 0.7 * normal((20, 4), 2)
        found = project(moved, x, 0.6, norm, low, high)
        assert_close(found, slow_project(moved, x, 0.6, norm, low, high))

    def test_the_box_is_from_0_to_1_by_default(self):
        assert_close(project(f64([1.4, -0.5]), f64([0.9, 0.2]), 5.0, "l2"), f64([1.0, 0.0]))

    @pytest.mark.parametrize("norm", NORMS)
    def test_a_ball_of_radius_0(self, norm):
        x = uniform((3, 2), 1)
        assert_close(project(x + normal((3, 2)), x, 0.0, norm), x)
        assert_close(project(x.clone(), x, 0.0, norm), x)

    @pytest.mark.parametrize("norm", NORMS)
    def test_a_point_that_didnt_move(self, norm):
        x = uniform((3, 2), 1)
        assert_close(project(x.clone(), x, 0.3, norm), x)

    @pytest.mark.parametrize("norm", ["l1", "inf", "L2"])
    def test_another_norm(self, norm):
        with raises(ValueError, norm):
            project(uniform((3, 2)), uniform((3, 2)), 0.3, norm)


class TestSteepestStep:
    def test_a_small_example(self):
        g = f64([3.0, -4.0], [0.0, 0.5])
        assert_close(steepest_step(g, 0.2, "linf"), f64([0.2, -0.2], [0.0, 0.2]))
        assert_close(steepest_step(g, 0.2, "l2"), f64([0.12, -0.16], [0.0, 0.2]))

    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("size", [0.3, 2.0])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_example_by_example(self, shape, size, norm):
        g = normal(shape, 3) * torch.linspace(0.1, 5, shape[0]).view(-1, *[1] * (len(shape) - 1))
        expected = size * (g.sign() if norm == "linf" else torch.stack([one / one.square().sum().sqrt() for one in g]))
        assert_close(steepest_step(g, size, norm), expected)

    @pytest.mark.parametrize("norm", NORMS)
    def test_no_gradient_no_step(self, norm):
        found = steepest_step(f64([0.0, 0.0], [0.0, -2.0]), 0.5, norm)
        assert_close(found, f64([0.0, 0.0], [0.0, -0.5]))

    @pytest.mark.parametrize("norm", NORMS)
    def test_a_tiny_gradient_is_no_reason_for_a_tiny_step(self, norm):
        found = steepest_step(f64([3e-60, -4e-60]), 0.5, norm)
        assert_close(found, f64([0.5, -0.5] if norm == "linf" else [0.3, -0.4]))

    def test_another_norm(self):
        with raises(ValueError, "l1"):
            steepest_step(uniform((3, 2)), 0.3, "l1")


class TestRandomStart:
    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("eps", [0.2, 1.5])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_it_stays_in_the_ball(self, shape, eps, norm):
        x = uniform(shape, 1)
        found = random_start(x, eps, norm, seeded(4), **WIDE)
        far = (found - x).abs().flatten(1).amax(1) if norm == "linf" else lengths(found - x)
        assert_equal((tuple(found.shape), found.dtype), (shape, torch.float64))
        if bool((far > eps * (1 + 1e-9)).any()) or bool((far == 0).any()):
            fail(f"a start lies {far.max():.4f} from x; the ball has the radius {eps}", evidence=far)

    @pytest.mark.parametrize("eps", [0.5, 3.0])
    def test_uniform_in_the_cube(self, eps):
        x = torch.full((2000, 3), 7.0, dtype=torch.float64)
        d = (random_start(x, eps, "linf", seeded(5), **WIDE) - x) / eps
        assert_close(d.mean(0), torch.zeros(3, dtype=torch.float64), atol=0.06)  # 4.6 standard errors
        quarters = torch.stack([((d >= a) & (d < a + 0.5)).double().mean(0) for a in (-1.0, -0.5, 0.0, 0.5)])
        assert_close(quarters, torch.full((4, 3), 0.25, dtype=torch.float64), atol=0.05)
        assert_close((d[:, 0] * d[:, 1]).mean(), f64(0.0)[0], atol=0.04)

    @pytest.mark.parametrize(("shape", "eps"), [((2000, 3), 0.5), ((2000, 2), 3.0), ((2000, 2, 3), 1.0)])
    def test_uniform_in_the_ball(self, shape, eps):
        x = torch.full(shape, 7.0, dtype=torch.float64)
        d = (random_start(x, eps, "l2", seeded(6), **WIDE) - x) / eps
        filled = lengths(d) ** d[0].numel()  # the share of the ball that is nearer to x: uniform from 0 to 1
        quarters = torch.stack([((filled >= a) & (filled < a + 0.25)).double().mean() for a in (0, 0.25, 0.5, 0.75)])
        assert_close(quarters, torch.full((4,), 0.25, dtype=torch.float64), atol=0.05)

    @pytest.mark.parametrize("size", [2, 3])
    def test_every_direction_is_as_likely(self, size):
        x = torch.full((4000, size), 7.0, dtype=torch.float64)
        d = random_start(x, 1.0, "l2", seeded(7), **WIDE) - x
        d = d / lengths(d)[:, None]
        assert_close(d.mean(0), torch.zeros(size, dtype=torch.float64), atol=0.06)
        # The fourth power tells a direction from the middle of a cube or from one of its corners.
        expected = 3 / (size * (size + 2))
        assert_close((d**4).mean(0), torch.full((size,), expected, dtype=torch.float64), atol=0.025)

    @pytest.mark.parametrize("norm", NORMS)
    def test_examples_are_independent(self, norm):
        x = torch.full((3, 2), 0.5, dtype=torch.float64)
        d = random_start(x, 0.3, norm, seeded(8)) - x
        if len({round(one, 9) for one in lengths(d).tolist()}) < 3:
            fail("two examples start at the same distance from x: draw a start for each", evidence=lengths(d))

    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.45, 0.6)])
    def test_the_box(self, norm, low, high):
        x = torch.full((50, 4), 0.5, dtype=torch.float64)
        found = random_start(x, 4.0, norm, seeded(9), low, high)
        assert_close((found.min(), found.max()), (f64(low)[0], f64(high)[0]))

    @pytest.mark.parametrize("norm", NORMS)
    def test_a_batch_of_one(self, norm):
        x = torch.full((1, 3), 0.5, dtype=torch.float64)
        found = random_start(x, 0.25, norm, seeded(8))
        assert_equal((tuple(found.shape), bool((found != x).all())), ((1, 3), True))

    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_the_dtype_of_x(self, dtype, norm):
        assert_equal(random_start(torch.full((4, 3), 0.5, dtype=dtype), 0.25, norm, seeded(8)).dtype, dtype)

    @pytest.mark.parametrize("norm", NORMS)
    def test_all_randomness_is_the_generators(self, norm):
        x = uniform((3, 2))
        generator = seeded(3)
        torch.manual_seed(1)
        first, second = random_start(x, 0.3, norm, generator), random_start(x, 0.3, norm, generator)
        torch.manual_seed(2)
        assert_close(random_start(x, 0.3, norm, seeded(3)), first)
        assert_equal(torch.equal(first, second), False)

    def test_float32_stays_float32(self):
        found = [random_start(uniform((3, 2)).float(), 0.3, norm, seeded(3)).dtype for norm in NORMS]
        assert_equal(found, [torch.float32, torch.float32])

    @pytest.mark.parametrize("norm", NORMS)
    def test_a_ball_of_radius_0(self, norm):
        x = uniform((3, 2))
        assert_close(random_start(x, 0.0, norm, seeded(3)), x)

    def test_another_norm(self):
        with raises(ValueError, "l1"):
            random_start(uniform((3, 2)), 0.3, "l1", seeded(0))


class TestPgd:
    @pytest.mark.parametrize("restarts", [1, 3])
    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize(("eps", "step", "steps"), [(0.3, 0.07, 4), (0.6, 0.5, 3), (0.2, 0.02, 1), (0.2, 0.5, 2)])
    def test_replayed_step_by_step(self, eps, step, steps, norm, restarts):
        model, x, y = case((6, 3))
        found = pgd(model, x, y, eps, step, steps, norm, seeded(1), restarts)
        assert_close(found, replay(model, x, y, eps, step, steps, norm, seeded(1), restarts))

    @pytest.mark.parametrize("norm", NORMS)
    def test_images(self, norm):
        model, x, y = case((4, 2, 3))
        found = pgd(model, x, y, 0.4, 0.1, 3, norm, seeded(1), 2)
        assert_close(found, replay(model, x, y, 0.4, 0.1, 3, norm, seeded(1), 2))

    @pytest.mark.parametrize("eps", [0.05, 0.3])
    def test_on_a_linear_model_it_ends_in_the_corner(self, eps):
        w = normal((5,), 4)
        x, y = uniform((7, 5), 3), torch.arange(7) % 2
        away = torch.where(y == 1, -1.0, 1.0)[:, None] * w.sign()
        expected = (x + eps * away).clip(0, 1)
        assert_close(pgd(Lead(w), x, y, eps, 0.3 * eps, 10, "linf", seeded(2)), expected)

    @pytest.mark.parametrize("eps", [0.5, 2.0])
    def test_on_a_linear_model_the_lead_falls_by_the_2_norm(self, eps):
        w = normal((5,), 4)
        model, x, y = Lead(w), uniform((7, 5), 3), torch.ones(7, dtype=torch.int64)
        found = pgd(model, x, y, eps, 0.5 * eps, 120, "l2", seeded(2), **WIDE)
        fell = (model(x) - model(found)).detach()[:, 1]
        assert_close(fell, torch.full((7,), eps * w.norm().item(), dtype=torch.float64), rtol=1e-6)

    @pytest.mark.parametrize("norm", NORMS)
    def test_each_example_keeps_its_best_start(self, norm):
        x, y = uniform((12, 2), 5), torch.arange(12) % 2
        found = pgd(Bumps(), x, y, 0.5, 0.02, 2, norm, seeded(3), 6)
        assert_close(found, replay(Bumps(), x, y, 0.5, 0.02, 2, norm, seeded(3), 6))

    @pytest.mark.parametrize("norm", NORMS)
    def test_without_steps_it_is_a_random_search(self, norm):
        x, y = uniform((8, 2), 5), torch.arange(8) % 2
        generator = seeded(4)
        starts = [random_start(x, 0.4, norm, generator) for _ in range(5)]
        losses = torch.stack([F.cross_entropy(Bumps()(s), y, reduction="none") for s in starts])
        best = losses.argmax(0)
        expected = torch.stack([starts[k][i] for i, k in enumerate(best.tolist())])
        assert_close(pgd(Bumps(), x, y, 0.4, 0.1, 0, norm, seeded(4), 5), expected)

    def test_of_equal_ends_the_first(self):
        x, y = uniform((6, 3), 5), torch.ones(6, dtype=torch.int64)
        found = pgd(Lead([0.0, 0.0, 0.0]), x, y, 0.1, 0.05, 2, "linf", seeded(4), 4)
        assert_close(found, random_start(x, 0.1, "linf", seeded(4)))

    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.2, 0.8), (-1.0, 2.0)])
    def test_it_stays_in_the_ball_and_the_box(self, norm, low, high):
        model, y = network(), torch.arange(15) % 4
        x = uniform((15, 3), 6, low, high)
        found = pgd(model, x, y, 0.4, 0.3, 7, norm, seeded(5), 2, low, high)
        assert_close(found, replay(model, x, y, 0.4, 0.3, 7, norm, seeded(5), 2, low, high))
        far = (found - x).abs().flatten(1).amax(1) if norm == "linf" else lengths(found - x)
        if bool((far > 0.4 + 1e-9).any()) or bool((found < low).any()) or bool((found > high).any()):
            fail("a point lies outside the ball or the box", evidence=(far, found))

    @pytest.mark.parametrize("norm", NORMS)
    def test_a_gradient_of_0_is_no_trouble(self, norm):
        x, y = uniform((4, 3), 5), torch.ones(4, dtype=torch.int64)
        found = pgd(Lead([0.0, 0.0, 0.0]), x, y, 0.1, 0.05, 3, norm, seeded(6))
        assert_close(found, random_start(x, 0.1, norm, seeded(6)))

    def test_one_restart_by_default(self):
        x, y = uniform((9, 2), 5), torch.arange(9) % 2
        found = pgd(Bumps(), x, y, 0.5, 0.02, 2, "linf", seeded(3))
        assert_close(found, replay(Bumps(), x, y, 0.5, 0.02, 2, "linf", seeded(3), 1))

    def test_the_model_is_left_alone(self):
        model, x, y = case((5, 3))
        watch(model, lambda: pgd(model, x, y, 0.1, 0.05, 2, "linf", seeded(1), 2))

    def test_nothing_requires_a_gradient(self):
        model, x, y = case((5, 3))
        x.requires_grad_()
        found = [pgd(model, x, y, 0.1, 0.05, steps, "l2", seeded(1)).requires_grad for steps in (0, 2)]
        assert_equal((found, x.grad is None), ([False, False], True))

    @pytest.mark.parametrize("norm", NORMS)
    def test_what_comes_out_may_be_changed(self, norm):
        model, x, y = case((5, 3))
        before = x.clone()
        pgd(model, x, y, 0.0, 0.0, 1, norm, seeded(1)).add_(1.0)
        assert_close(x, before)

    def test_float32_stays_float32(self):
        model, x, y = case((5, 3))
        found = pgd(model.float(), x.float(), y, 0.1, 0.05, 2, "l2", seeded(1), 2)
        assert_equal(found.dtype, torch.float32)

    @pytest.mark.parametrize(("training", "expected"), [(False, [0.6, 0.5]), (True, [0.8, 0.3])])
    def test_the_mode_is_the_callers(self, training, expected):
        model = Moody().train(training)
        found = pgd(model, f64([0.7, 0.4]), torch.tensor([1]), 0.1, 0.1, 3, "linf", seeded(1))
        assert_close(found, f64(expected))

    def test_another_norm(self):
        model, x, y = case((5, 3))
        with raises(ValueError, "l1"):
            pgd(model, x, y, 0.1, 0.05, 2, "l1", seeded(1))

    @pytest.mark.parametrize("restarts", [0, -2])
    def test_no_restart(self, restarts):
        model, x, y = case((5, 3))
        with raises(ValueError, "restarts", restarts):
            pgd(model, x, y, 0.1, 0.05, 2, "linf", seeded(1), restarts)


def shift(by):
    return lambda model, x, y: x + torch.as_tensor(by, dtype=x.dtype)


class TestRobustAccuracy:
    X = f64([0.5], [-0.2], [0.9], [-0.7], [0.1])
    Y = torch.tensor([1, 0, 1, 0, 0])  # the last is wrong

    def test_without_attacks_it_is_the_accuracy(self):
        assert_close(robust_accuracy(Lead([1.0]), self.X, self.Y, []), 0.8)

    def test_one_attack(self):
        assert_close(robust_accuracy(Lead([1.0]), self.X, self.Y, [shift(0.3)]), 0.6)

    def test_one_success_of_any_attack_is_enough(self):
        attacks = [shift(0.3), shift(-0.6), shift(0.0)]
        assert_close(robust_accuracy(Lead([1.0]), self.X, self.Y, attacks), 0.4)
        assert_close(robust_accuracy(Lead([1.0]), self.X, self.Y, attacks[::-1]), 0.4)

    def test_what_an_attack_puts_right_stays_wrong(self):
        assert_close(robust_accuracy(Lead([1.0]), self.X, self.Y, [shift([[0.0], [0.0], [0.0], [0.0], [-9.0]])]), 0.8)

    def test_each_attack_gets_all_examples(self):
        seen = []

        def attack(model, x, y):
            seen.append((x.clone(), y.clone()))
            return x - 0.6

        robust_accuracy(Lead([1.0]), self.X, self.Y, [attack, attack])
        assert_close(seen, [(self.X, self.Y)] * 2)

    @pytest.mark.parametrize("eps", [0.05, 0.1, 0.2])
    def test_the_closed_form_of_a_linear_model(self, eps):
        w = normal((4,), 3)
        model, x = Lead(w, 0.1), uniform((40, 4), 2, -1, 1)
        y = (model(x)[:, 1] > 0).long()
        margins = model(x)[:, 1].detach().abs()
        attack = partial(pgd, eps=eps, step=eps / 2, steps=6, norm="linf", generator=seeded(1), **WIDE)
        expected = (margins > eps * w.abs().sum()).double().mean().item()
        assert_close(robust_accuracy(model, x, y, [attack]), expected)

    @pytest.mark.parametrize(("training", "expected"), [(False, 0.75), (True, 0.25)])
    def test_the_mode_is_the_callers(self, training, expected):
        x = f64([0.7, 0.1], [0.8, 0.2], [0.9, 0.3], [0.1, 0.9])
        assert_close(robust_accuracy(Moody().train(training), x, torch.ones(4, dtype=torch.int64), []), expected)

    def test_three_classes(self):
        model, x = nn.Linear(2, 3).double(), normal((30, 2))
        y = model(x).argmax(1)
        y[:6] = (y[:6] + 1) % 3
        assert_close(robust_accuracy(model, x, y, [shift(0.0)]), 0.8)

    def test_the_model_is_left_alone(self):
        model, x, y = case((5, 3))
        watch(model, lambda: robust_accuracy(model, x, y, [lambda m, a, b: fgsm(m, a, b, 0.1)]))


def dropping(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 4)).double()


class Recorded:
    """An attack that adds to x, and keeps what it was called with."""

    def __init__(self, spoil: bool = False):
        self.calls, self.modes, self.spoil = [], [], spoil

    def __call__(self, model, x, y):
        self.calls.append((x.clone(), y.clone()))
        self.modes.append([m.training for m in model.modules()])
        if self.spoil:
            for p in model.parameters():
                p.grad = torch.full_like(p, 3.0)
        return x + 0.1 * x.roll(1, 1).sign()


def train(n: int = 10, epochs: int = 3, batch_size: int = 4, seed: int = 1, spoil: bool = False, model=None):
    model = dropping() if model is None else model
    x, y = normal((n, 3), 2), torch.arange(n) % 4
    attack = Recorded(spoil)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5)
    means = adversarial_training(model, x, y, optimizer, attack, epochs, batch_size, seeded(seed))
    return model, attack, means, x, y


def by_hand(attack, n: int, epochs: int):
    """The same training, from the batches that the attack was given."""
    model = dropping()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5)
    again, losses = Recorded(), []
    for x, y in attack.calls:
        moved = again(model.eval(), x, y)
        loss = F.cross_entropy(model.train()(moved), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append((loss.item() * len(x), len(x)))
    per_epoch = len(losses) // epochs if epochs else 1
    chunks = [losses[i : i + per_epoch] for i in range(0, len(losses), per_epoch)]
    return model, [sum(total for total, _ in chunk) / n for chunk in chunks]


class TestAdversarialTraining:
    @pytest.mark.parametrize(("n", "epochs", "batch_size"), [(10, 3, 4), (9, 1, 9), (12, 2, 5)])
    def test_replayed_batch_by_batch(self, n, epochs, batch_size):
        model, attack, means, _, _ = train(n, epochs, batch_size)
        expected, losses = by_hand(attack, n, epochs)
        assert_close(means, losses)
        assert_close(dict(model.state_dict()), dict(expected.state_dict()))

    @pytest.mark.parametrize(("n", "batch_size"), [(10, 4), (9, 20), (7, 1 + 1)])
    def test_an_epoch_takes_every_example_once(self, n, batch_size):
        model = nn.Sequential(nn.Linear(3, 4)).double()
        _, attack, _, x, y = train(n, 2, batch_size, model=model)
        full, rest = divmod(n, batch_size)
        assert_equal([len(xb) for xb, _ in attack.calls], ([batch_size] * full + [rest] * (rest > 0)) * 2)
        half = len(attack.calls) // 2
        rows = [tuple(row) for row in torch.cat([x, y[:, None].double()], 1).tolist()]
        for calls in (attack.calls[:half], attack.calls[half:]):
            seen = torch.cat([torch.cat([xb, yb[:, None].double()], 1) for xb, yb in calls]).tolist()
            assert_equal(sorted(tuple(row) for row in seen), sorted(rows))

    def test_each_epoch_has_a_new_order(self):
        _, attack, _, x, _ = train(20, 2, 20)
        first, second = attack.calls[0][0], attack.calls[1][0]
        assert_equal([torch.equal(first, x), torch.equal(first, second)], [False, False])

    def test_the_order_is_the_generators(self):
        torch.manual_seed(1)
        first = train(seed=5)[1].calls
        again = train(seed=5)[1].calls
        other = train(seed=6)[1].calls
        assert_close(again, first)
        assert_equal(torch.equal(other[0][0], first[0][0]), False)

    def test_the_attack_meets_the_network_in_evaluation_mode(self):
        _, attack, _, _, _ = train()
        assert_equal({any(modes) for modes in attack.modes}, {False})

    @pytest.mark.parametrize("epochs", [0, 2])
    def test_it_ends_in_evaluation_mode(self, epochs):
        model = train(epochs=epochs, model=dropping().train())[0]
        assert_equal([m.training for m in model.modules()], [False] * 5)

    def test_gradients_of_others_dont_count(self):
        model, attack, means, _, _ = train(spoil=True)
        expected, losses = by_hand(attack, 10, 3)
        assert_close(means, losses)
        assert_close(dict(model.state_dict()), dict(expected.state_dict()))

    def test_gradients_from_before_dont_count(self):
        before = dropping()
        for p in before.parameters():
            p.grad = torch.full_like(p, 2.0)
        model, attack, _, _, _ = train(model=before)
        assert_close(dict(model.state_dict()), dict(by_hand(attack, 10, 3)[0].state_dict()))

    def test_no_epochs(self):
        assert_equal(train(epochs=0)[2], [])

    def test_the_data_stays(self):
        x, y = normal((6, 3), 2), torch.arange(6) % 4
        before = x.clone()
        model = dropping()
        adversarial_training(model, x, y, torch.optim.SGD(model.parameters(), lr=0.1), Recorded(), 1, 3, seeded(1))
        assert_close((x, y), (before, torch.arange(6) % 4))


class Hidden(nn.Module):
    """A model whose logits are so large that the loss of what is right is exactly 0."""

    def __init__(self, model, scale=1e6):
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, x):
        return self.model(x) * self.scale


class Stairs(nn.Module):
    """A model that rounds its input to halves: no gradient comes through."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((2 * x).round() / 2 + 0 * x)


def labelled(model, n: int = 40, seed: int = 2, wrong: int = 4, size: int = 4):
    x = uniform((n, size), seed)
    y = model(x).argmax(1)
    y[:wrong] = 1 - y[:wrong]
    return x, y


class TestAttackReport:
    @pytest.mark.parametrize("eps", [0.03, 0.1])
    @pytest.mark.parametrize("steps", [4, 9])
    def test_the_closed_form_of_a_linear_model(self, eps, steps):
        w = normal((4,), 7)
        model = Lead(w, -0.5 * w.sum().item())
        x, y = labelled(model)
        away = torch.where(y == 1, -1.0, 1.0)[:, None] * w.sign()

        def accuracy(at):
            return ((model(x).argmax(1) == y) & (model(at).argmax(1) == y)).double().mean().item()

        corner = accuracy((x + eps * away).clip(0, 1))
        report = attack_report(model, x, y, eps, steps, seeded(3))
        assert_equal(set(report), {"clean", "fgsm", "pgd", "random", "unbounded", "zero_gradients"})
        found = {name: report[name] for name in ("clean", "fgsm", "pgd", "unbounded", "zero_gradients")}
        expected = {"clean": 0.9, "fgsm": corner, "pgd": corner, "unbounded": accuracy((x + 1.0 * away).clip(0, 1))}
        assert_close(found, expected | {"zero_gradients": 0.0})

    @pytest.mark.parametrize(("low", "high", "eps", "steps"), [(0.0, 1.0, 0.3, 3), (-1.0, 2.0, 0.5, 5)])
    def test_each_attack_with_its_own_numbers(self, low, high, eps, steps):
        model = Bumps()
        x = uniform((400, 2), 4, low, high)
        y = model(x).argmax(1)
        report = attack_report(model, x, y, eps, steps, seeded(8), low, high)
        width, box = high - low, (low, high)
        attacks = {
            "fgsm": lambda m, a, b: fgsm(m, a, b, eps, *box),
            "pgd": lambda m, a, b: pgd(m, a, b, eps, 2.5 * eps / steps, steps, "linf", seeded(1), 1, *box),
            "random": lambda m, a, b: pgd(m, a, b, eps, 0.0, 0, "linf", seeded(1), steps, *box),
            "unbounded": lambda m, a, b: pgd(m, a, b, width, 2.5 * width / steps, steps, "linf", seeded(1), 1, *box),
        }
        expected = {name: robust_accuracy(model, x, y, [attack]) for name, attack in attacks.items()}
        # Which starts are drawn is open: 400 examples leave a standard error of 0.025 a side.
        assert_close({name: report[name] for name in attacks}, expected, atol=0.1)

    def test_random_points_follow_no_gradient(self):
        """In 200 dimensions a random point hardly lowers a lead that a corner of the ball takes away."""
        w = normal((200,), 5).sign()
        model = Lead(w, 10.0 - 0.5 * w.sum().item())
        report = attack_report(model, torch.full((6, 200), 0.5, dtype=torch.float64), torch.ones(6).long(), 0.1, 5, seeded(1))
        assert_equal({name: report[name] for name in ("clean", "pgd", "random")}, {"clean": 1.0, "pgd": 0.0, "random": 1.0})

    def test_the_box(self):
        w = f64([2.0, -1.0])[0]
        model, x = Lead(w, -3.0), f64([4.0, 1.0], [3.0, 2.5], [5.0, 0.5])
        report = attack_report(model, x, torch.ones(3, dtype=torch.int64), 0.75, 4, seeded(1), 0.0, 6.0)
        leads = f64(4.0, 0.5, 6.5)
        assert_close(report["fgsm"], (leads > 3 * 0.75).double().mean().item())
        assert_close(report["unbounded"], 0.0)

    def test_rounding_leaves_no_gradient(self):
        inner = Lead([1.0, 1.0, 1.0, 1.0], -2.1)
        model = Stairs(inner)
        x, y = labelled(model, wrong=4)
        report = attack_report(model, x, y, 0.2, 10, seeded(3))
        assert_equal(report["zero_gradients"], 1.0)
        assert_equal(report["fgsm"], report["clean"])

    def test_a_loss_of_exactly_0_leaves_no_gradient(self):
        model = Hidden(Lead([1.0, -1.0, 2.0, 0.5], -1.2))
        x, y = labelled(model, wrong=6)
        report = attack_report(model, x, y, 0.05, 4, seeded(3))
        # What is wrong has a gradient, what is right has none.
        assert_close({k: report[k] for k in ("zero_gradients", "pgd")}, {"zero_gradients": 0.85, "pgd": 0.85}, atol=0.1)

    def test_one_entry_without_a_gradient_doesnt_count(self):
        model = Lead([1.0, 0.0, 2.0, 0.0], -1.4)
        x, y = labelled(model)
        assert_equal(attack_report(model, x, y, 0.1, 3, seeded(3))["zero_gradients"], 0.0)

    @pytest.mark.parametrize("w", [[1.0, -1.0, 2.0, -2.0], [1e-6, 2e-6, -1e-6, 1e-7]])
    def test_only_0_is_0(self, w):
        x, y = uniform((6, 4)), torch.ones(6, dtype=torch.int64)
        assert_equal(attack_report(Lead(w), x, y, 0.1, 3, seeded(3))["zero_gradients"], 0.0)

    def test_the_box_is_from_0_to_1_unless_told(self):
        model, x = Bumps(), uniform((60, 2), 4)
        y = model(x).argmax(1)
        expected = attack_report(model, x, y, 0.3, 3, seeded(1), 0.0, 1.0)
        assert_equal(attack_report(model, x, y, 0.3, 3, seeded(1)), expected)
        assert_equal(attack_report(model, x, y, 0.3, 3, seeded(1), high=1.0), expected)
        assert_equal(attack_report(model, x, y, 0.3, 3, seeded(1), low=0.0), expected)

    def test_images(self):
        """A whole column of the image has no gradient, the others have one."""
        model = Lead([0.0, 1.0, 2.0, 0.0, -1.0, 1.0])
        x, y = uniform((5, 2, 3)), torch.ones(5, dtype=torch.int64)
        assert_equal(attack_report(model, x, y, 0.1, 3, seeded(3))["zero_gradients"], 0.0)

    def test_the_model_is_left_alone(self):
        model, x, y = case((5, 3))
        watch(model, lambda: attack_report(model, x, y, 0.1, 2, seeded(1)))


HONEST = {"clean": 0.9, "fgsm": 0.5, "pgd": 0.4, "random": 0.8, "unbounded": 0.0, "zero_gradients": 0.0}


class TestMaskingSigns:
    def test_an_honest_report(self):
        assert_equal(masking_signs(HONEST), [])

    @pytest.mark.parametrize(
        ("change", "sign"),
        [
            ({"fgsm": 0.3}, "one step"),
            ({"random": 0.3}, "random"),
            ({"unbounded": 0.1}, "unbounded"),
            ({"zero_gradients": 0.1}, "zero gradients"),
        ],
    )
    def test_each_sign(self, change, sign):
        assert_equal(masking_signs(HONEST | change), [sign])

    @pytest.mark.parametrize(
        "change", [{"fgsm": 0.375}, {"random": 0.375}, {"unbounded": 0.03}, {"zero_gradients": 0.03}]
    )
    def test_what_is_within_the_margin(self, change):
        assert_equal(masking_signs(HONEST | change), [])

    @pytest.mark.parametrize("margin", [0.125, 0.25])
    def test_exactly_the_margin_is_no_sign(self, margin):
        at = {"clean": 0.9, "fgsm": 0.5 - margin, "pgd": 0.5, "random": 0.5 - margin}
        assert_equal(masking_signs(at | {"unbounded": margin, "zero_gradients": margin}, margin), [])

    def test_a_margin_of_0(self):
        change = {"fgsm": 0.399, "random": 0.399, "unbounded": 0.001, "zero_gradients": 0.001}
        assert_equal(masking_signs(HONEST | change, 0.0), ["one step", "random", "unbounded", "zero gradients"])
        assert_equal(masking_signs(HONEST, 0.0), [])

    def test_all_signs_in_their_order(self):
        report = {"zero_gradients": 1.0, "unbounded": 0.9, "random": 0.5, "pgd": 0.9, "fgsm": 0.5, "clean": 0.9}
        assert_equal(masking_signs(report), ["one step", "random", "unbounded", "zero gradients"])

    def test_a_planted_mask_is_found(self):
        model = Stairs(Lead([1.0, 1.0, 1.0, 1.0], -2.1))
        x, y = labelled(model, wrong=0)
        report = attack_report(model, x, y, 0.25, 20, seeded(3))
        assert_equal(set(masking_signs(report)) >= {"unbounded", "zero gradients"}, True)

    def test_an_honest_model_has_no_sign(self):
        w = normal((4,), 7)
        model = Lead(w, -0.5 * w.sum().item())
        x, y = labelled(model, wrong=0)
        assert_equal(masking_signs(attack_report(model, x, y, 0.05, 5, seeded(3))), [])


def digits_network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))


@pytest.mark.learning
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_digits_under_attack(self, digits, seed):
        x, y = torch.tensor(digits[0] / 16, dtype=torch.float32), torch.tensor(digits[1])
        order = torch.randperm(len(x), generator=seeded(seed))
        x, y = x[order], y[order]
        ball = {"eps": 0.15, "step": 0.06, "norm": "linf"}
        strong = partial(pgd, **ball, steps=10, generator=seeded(9), restarts=2)
        found = []
        for attack in (lambda model, x, y: x, partial(pgd, **ball, steps=3, generator=seeded(seed))):
            model = digits_network(seed)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
            adversarial_training(model, x[:1000], y[:1000], optimizer, attack, 6, 50, seeded(seed))
            found.append(robust_accuracy(model, x[1000:1400], y[1000:1400], [strong]))
        plain, trained = found
        if trained < plain + 0.15:
            fail(
                f"Under PGD {trained:.2f} are right after adversarial training, {plain:.2f} without it.",
                evidence=(round(plain, 1), round(trained, 1)),
            )


class TestOnTheGpu:
    def test_fgsm(self, gpu):
        model, x, y = case((4, 2, 3))
        here = gpu(model)
        assert_close(fgsm(here, gpu(x), gpu(y), 0.1).cpu(), fgsm(model, x, y, 0.1))
        assert_equal(fgsm(here, gpu(x), gpu(y), 0.1).device.type, gpu.device.type)

    @pytest.mark.parametrize("norm", NORMS)
    def test_projections_and_steps(self, gpu, norm):
        gpu.check(project, uniform((4, 2, 3), 1, -1, 2), uniform((4, 2, 3)), 0.3, norm)
        gpu.check(steepest_step, normal((4, 2, 3)), 0.3, norm)

    @pytest.mark.parametrize("norm", NORMS)
    def test_starts_and_pgd(self, gpu, norm):
        model, x, y = case((4, 2, 3))
        start = random_start(gpu(x), 0.2, norm, gpu.generator(1))
        end = pgd(gpu(model), gpu(x), gpu(y), 0.2, 0.1, 2, norm, gpu.generator(1), 2)
        assert_equal([start.device.type, end.device.type], [gpu.device.type] * 2)
        if gpu.pretended:
            assert_close(end.cpu(), pgd(model, x, y, 0.2, 0.1, 2, norm, seeded(1), 2))

    def test_accuracies(self, gpu):
        model, x, y = case((5, 3))
        here, xs, ys = gpu(model), gpu(x), gpu(y)
        attack = partial(fgsm, eps=0.1)
        assert_close(robust_accuracy(here, xs, ys, [attack]), robust_accuracy(model, x, y, [attack]))
        report = attack_report(here, xs, ys, 0.1, 2, gpu.generator(1))
        assert_equal(masking_signs(report), masking_signs(attack_report(model, x, y, 0.1, 2, seeded(1))))

    def test_training(self, gpu):
        model = gpu(dropping())
        x, y = gpu(normal((6, 3))), gpu(torch.arange(6) % 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        means = adversarial_training(model, x, y, optimizer, partial(fgsm, eps=0.1), 2, 4, gpu.generator(1))
        assert_equal([type(one) for one in means], [float, float])
        assert_equal({p.device.type for p in model.parameters()}, {gpu.device.type})
