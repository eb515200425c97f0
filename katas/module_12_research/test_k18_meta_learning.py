"""Judges k18_meta_learning by plain loops, by derivatives taken by hand, and by what it learns from a few examples."""

import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, seeded
from katas.module_12_research.k18_meta_learning import (
    InContextLearner,
    adapt,
    interleave,
    maml_loss,
    prototype_logits,
    prototypical_loss,
    reptile_step,
    sample_episode,
    sine_tasks,
)

pytestmark = [from_scratch("learn2learn", "higher", "torch.optim"), pure("reptile_step")]


class Slope(nn.Module):
    """ŷ = w x."""

    def __init__(self, w: float = 1.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=F64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w * x


def small_net(seed: int = 0) -> nn.Module:
    return named_weights(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)), seed=seed)


def a_task(n: int = 5, seed: int = 3, lead: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor]:
    return normal(*lead, n, 2, seed=seed), normal(*lead, n, 2, seed=seed + 1)


LABELS = torch.tensor([7, 2, 7, 5, 2, 7, 5, 2, 7, 9, 5, 2, 5])
"""Four of 7, four of 2, four of 5, one of 9."""


class TestSampleEpisode:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize(("ways", "shots", "queries"), [(2, 1, 3), (3, 2, 1)])
    def test_rows_of_one_class_each(self, ways, shots, queries, seed):
        episode = sample_episode(LABELS, ways, shots, queries, seeded(seed))
        assert_equal(tuple(episode.support.shape), (ways, shots))
        assert_equal(tuple(episode.query.shape), (ways, queries))
        assert_equal(LABELS[episode.support], episode.classes[:, None].expand(-1, shots))
        assert_equal(LABELS[episode.query], episode.classes[:, None].expand(-1, queries))

    @pytest.mark.parametrize("seed", range(3))
    def test_nothing_stands_twice(self, seed):
        episode = sample_episode(LABELS, 3, 2, 2, seeded(seed))
        assert_equal(sorted(episode.classes.tolist()), [2, 5, 7])
        places = sorted(torch.cat([episode.support, episode.query], 1).flatten().tolist())
        assert_equal(places, [i for i in range(13) if i != 9])

    def test_classes_with_too_few_examples_take_no_part(self):
        """With two examples each a class of one is out, and one of two is in."""
        labels, generator = torch.tensor([4, 1, 1, 3, 3, 3]), seeded(0)
        found = Counter(sample_episode(labels, 1, 1, 1, generator).classes.item() for _ in range(200))
        if set(found) != {1, 3}:
            fail(f"of classes with 1, 2 and 3 examples the last two can show 1 and ask 1; drawn were {sorted(found)}", evidence=sorted(found))

    def test_classes_are_equally_likely(self):
        """A class with many examples isn't drawn more often."""
        labels, generator = torch.tensor([0] * 2 + [1] * 10 + [2] * 4), seeded(1)
        found = Counter(sample_episode(labels, 1, 1, 1, generator).classes.item() for _ in range(1200))
        if max(abs(found[name] - 400) for name in range(3)) > 90:  # five deviations
            fail("each of three classes should be drawn about 400 times of 1200", evidence=0)

    def test_examples_are_equally_likely(self):
        labels, generator, shown, asked = torch.zeros(5, dtype=torch.int64), seeded(2), Counter(), Counter()
        for _ in range(1000):
            episode = sample_episode(labels, 1, 1, 2, generator)
            shown.update(episode.support.flatten().tolist())
            asked.update(episode.query.flatten().tolist())
        if max(abs(shown[i] - 200) for i in range(5)) > 65 or max(abs(asked[i] - 400) for i in range(5)) > 80:
            fail("each of five examples should be shown about 200 times of 1000, and asked about 400 times", evidence=0)

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        sample_episode(LABELS, 2, 1, 1, seeded(0))
        assert_equal(torch.get_rng_state(), before)

    def test_refuses_too_few_classes(self):
        with raises(ValueError, 4, 3):
            sample_episode(LABELS, 4, 1, 1, seeded(0))
        with raises(ValueError, 1, 0):
            sample_episode(LABELS, 1, 3, 2, seeded(0))

    def test_on_the_gpu(self, gpu):
        episode = sample_episode(gpu(LABELS), 2, 1, 3, gpu.generator(0))
        assert_equal([part.device for part in episode], [gpu.device] * 3)


SUPPORT, QUERY = f64([[0], [2]], [[4], [6]]), f64(2)


class TestPrototypeLogits:
    def test_the_example_worked_by_hand(self):
        assert_close(prototype_logits(SUPPORT, QUERY), f64(-1, -9))

    @pytest.mark.parametrize("lead", [(), (4,), (3, 2)])
    def test_class_by_class(self, lead):
        support, query = normal(3, 4, 5), normal(*lead, 5, seed=1)
        expected = torch.stack([-((query - rows.mean(0)) ** 2).sum(-1) for rows in support], -1)
        assert_close(prototype_logits(support, query), expected)

    def test_far_from_the_origin(self):
        """Distances of 1 and 3 between embeddings near three millions."""
        far = 1e7 / 3
        assert_close(prototype_logits(SUPPORT + far, QUERY + far), f64(-1, -9))

    def test_gradients(self):
        assert torch.autograd.gradcheck(prototype_logits, (normal(3, 2, 4).requires_grad_(), normal(5, 4).requires_grad_()))

    def test_on_the_gpu(self, gpu):
        gpu.check(prototype_logits, normal(3, 2, 4).requires_grad_(), normal(5, 4).requires_grad_())


def adam(loss_of, model: nn.Module, steps: int, rate: float) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def learn_to_compare(seed: int) -> tuple[float, float]:
    """Shares of new classes told right, in the raw space and in a learnt one.

    Three of twenty numbers tell the classes apart; the other seventeen are loud noise.
    """
    means, noise = torch.randn(60, 3, generator=seeded(seed)), seeded(seed + 1)
    x = torch.cat([means[:, None] + 0.3 * torch.randn(60, 20, 3, generator=noise), 3 * torch.randn(60, 20, 17, generator=noise)], 2)
    torch.manual_seed(seed)
    space = nn.Linear(20, 8, bias=False)

    def loss() -> torch.Tensor:
        ways = torch.randperm(40, generator=noise)[:5]
        rows = space(x[ways][:, torch.randperm(20, generator=noise)])
        return prototypical_loss(rows[:, :5], rows[:, 5:15])[0]

    adam(loss, space, 150, 0.02)
    shares = []
    for rows in (x[40:], space(x[40:]).detach()):
        shares.append(sum(prototypical_loss(rows[i : i + 5, :5], rows[i : i + 5, 5:])[1].item() for i in range(0, 20, 5)) / 4)
    return shares[0], shares[1]


class TestPrototypicalLoss:
    def test_the_example_worked_by_hand(self):
        """2 has the logits -1 and -9 and belongs to class 0; 3 lies in the middle, and belongs to class 1."""
        loss, share = prototypical_loss(SUPPORT, f64([[2.0]], [[3.0]]))
        assert_close(loss, f64((math.log(1 + math.exp(-8)) + math.log(2)) / 2).squeeze())
        if share.item() not in (0.5, 1.0):
            fail("of two queries one is told right, and the other lies in the middle", evidence=share.item())

    def test_query_by_query(self):
        support, query = normal(4, 2, 3), normal(4, 5, 3, seed=1) + normal(4, 1, 3)
        losses, right = [], 0
        for k in range(4):
            for q in query[k]:
                logits = [-((q - rows.mean(0)) ** 2).sum().item() for rows in support]
                losses.append(math.log(sum(math.exp(v - logits[k]) for v in logits)))
                right += max(range(4), key=logits.__getitem__) == k
        loss, share = prototypical_loss(support, query)
        assert_close(loss, f64(sum(losses) / 20).squeeze())
        assert_close(share, f64(right / 20).squeeze())

    def test_the_share_has_the_dtype_of_the_query(self):
        _, share = prototypical_loss(normal(3, 2, 4).float(), normal(3, 2, 4, seed=1).float())
        assert_equal((share.dtype, tuple(share.shape)), (torch.float32, ()))

    def test_gradients(self):
        inputs = normal(3, 2, 4).requires_grad_(), normal(3, 5, 4).requires_grad_()
        assert torch.autograd.gradcheck(lambda s, q: prototypical_loss(s, q)[0], inputs)

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    @pytest.mark.parametrize("seed", range(3))
    def test_learns_a_space_for_classes_never_seen(self, seed):
        raw, learnt = learn_to_compare(seed)
        if learnt < raw + 0.3:
            fail(f"of new classes {raw:.0%} are told right by raw distance, {learnt:.0%} in the learnt space; 30 points more are expected")

    def test_on_the_gpu(self, gpu):
        gpu.check(prototypical_loss, normal(3, 2, 4).requires_grad_(), normal(3, 5, 4).requires_grad_())


class TestSineTasks:
    def test_shapes_and_dtype(self):
        x, y = sine_tasks(4, 3, seeded(0))
        assert_equal([(tuple(t.shape), t.dtype) for t in (x, y)], [((4, 3, 1), torch.float32)] * 2)

    def test_one_sine_for_each_task(self):
        """Least squares on sin x and cos x leaves nothing over; amplitude and phase follow from it."""
        x, y = (t.double() for t in sine_tasks(300, 12, seeded(1)))
        basis = torch.cat([x.sin(), x.cos()], 2)
        weights = torch.linalg.lstsq(basis, y).solution[..., 0]
        assert_close((basis @ weights[..., None])[..., 0], y[..., 0], atol=1e-4, rtol=1e-4)
        amplitude, phase = weights.square().sum(1).sqrt(), torch.atan2(-weights[:, 1], weights[:, 0])
        for name, values, low, high in [("amplitude", amplitude, 0.1, 5), ("phase", phase, 0, math.pi), ("x", x.flatten(), -5, 5)]:
            mean, deviation = (low + high) / 2, (high - low) / math.sqrt(12)
            seen = values.min().item(), values.max().item(), values.mean().item(), values.std().item()
            wide, slack = 0.03 * (high - low), 5 * deviation / math.sqrt(300)
            near = abs(seen[2] - mean) < slack and abs(seen[3] - deviation) < slack
            if not (low - 1e-3 < seen[0] < low + wide and high - wide < seen[1] < high + 1e-3 and near):
                fail(
                    f"{name} should be uniform from {low} to {high:.4g}; of many the smallest is {seen[0]:.3f}, "
                    f"the largest {seen[1]:.3f}, the mean {seen[2]:.3f}",
                    evidence=(name, *(round(seen[i]) for i in (0, 1, 3))),
                )

    def test_amplitude_and_phase_are_drawn_apart(self):
        x, y = (t.double() for t in sine_tasks(400, 8, seeded(2)))
        weights = torch.linalg.lstsq(torch.cat([x.sin(), x.cos()], 2), y).solution[..., 0]
        both = torch.stack([weights.square().sum(1).sqrt(), torch.atan2(-weights[:, 1], weights[:, 0]), x[:, 0, 0]])
        if (torch.corrcoef(both) - torch.eye(3)).abs().max() > 0.25:
            fail("amplitude, phase and x should be drawn independently", evidence=0)

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        first, second = sine_tasks(2, 3, seeded(0)), sine_tasks(2, 3, seeded(0))
        assert_equal(torch.get_rng_state(), before)
        assert_equal(first, second)

    def test_on_the_gpu(self, gpu):
        assert_equal([t.device for t in sine_tasks(2, 3, gpu.generator(0))], [gpu.device] * 2)


def by_hand(model: nn.Sequential, x: torch.Tensor, y: torch.Tensor, rate: float, steps: int) -> list[torch.Tensor]:
    """The inner loop of small_net with its derivatives written out, so that autograd sees plain algebra."""
    a, b, c, d = model.parameters()
    for _ in range(steps):
        h = torch.tanh(x @ a.T + b)
        error = 2 * (h @ c.T + d - y) / y.numel()
        back = (error @ c) * (1 - h * h)
        a, b, c, d = a - rate * back.T @ x, b - rate * back.sum(0), c - rate * error.T @ h, d - rate * error.sum(0)
    return [a, b, c, d]


class TestAdapt:
    def test_the_example_worked_by_hand(self):
        weights = adapt(Slope(), f64([1]), f64([3]), 0.1, 1)
        assert_close({name: value.detach() for name, value in weights.items()}, {"w": torch.tensor(1.4, dtype=F64)})

    @pytest.mark.parametrize("first_order", [False, True])
    @pytest.mark.parametrize(("rate", "steps"), [(0.1, 1), (0.4, 3)])
    def test_step_by_step(self, rate, steps, first_order):
        model, (x, y) = small_net(), a_task()
        weights = adapt(model, x, y, rate, steps, first_order)
        expected = by_hand(model, x, y, rate, steps)
        names = [name for name, _ in model.named_parameters()]
        assert_close({k: v.detach() for k, v in weights.items()}, {k: v.detach() for k, v in zip(names, expected, strict=True)})

    def test_no_steps(self):
        model, (x, y) = small_net(), a_task()
        assert_close(adapt(model, x, y, 0.1, 0), dict(model.named_parameters()))

    def test_the_model_stays(self):
        model, (x, y) = small_net(), a_task()
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        adapt(model, x, y, 0.5, 2)
        assert_equal({name: value.detach() for name, value in model.named_parameters()}, before)
        assert_equal([name for name, value in model.named_parameters() if value.grad is not None], [])

    @pytest.mark.parametrize("steps", [1, 3])
    def test_second_order_gradients(self, steps):
        """Of a sum of the adapted weights, by the inner loop's derivatives written out."""
        model, (x, y) = small_net(), a_task()
        pull = [normal(*p.shape, seed=8) for p in model.parameters()]
        sides = []
        for weights in (list(adapt(model, x, y, 0.4, steps).values()), by_hand(model, x, y, 0.4, steps)):
            total = sum((w * g).sum() for w, g in zip(weights, pull, strict=True))
            sides.append(torch.autograd.grad(total, list(model.parameters())))
        assert_close(sides[0], sides[1])

    def test_first_order_gradients(self):
        """The slopes are constants: the gradient arrives as it came."""
        model, (x, y) = small_net(), a_task()
        pull = [normal(*p.shape, seed=8) for p in model.parameters()]
        weights = adapt(model, x, y, 0.4, 3, first_order=True).values()
        total = sum((w * g).sum() for w, g in zip(weights, pull, strict=True))
        assert_close(torch.autograd.grad(total, list(model.parameters())), tuple(pull))

    def test_second_order_unless_told(self):
        model, (x, y) = small_net(), a_task()
        slopes = []
        for weights in (adapt(model, x, y, 0.4, 2), adapt(model, x, y, 0.4, 2, False)):
            slopes.append(torch.autograd.grad(sum(w.sum() for w in weights.values()), list(model.parameters())))
        assert_close(slopes[0], slopes[1])

    def test_on_the_gpu(self, gpu):
        x, y = a_task()
        gpu.check(lambda model, x, y: adapt(model, x, y, 0.4, 2), small_net(), x, y)


def net_of(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1))


class TestMamlLoss:
    def test_the_example_worked_by_hand(self):
        for first_order, slope in [(False, -10.24), (True, -12.8)]:
            model = Slope()
            loss = maml_loss(model, f64([[1], [2]]), f64([[3], [6]]), 1, 0.1, 1, first_order)
            assert_close(loss.detach(), torch.tensor(10.24, dtype=F64))
            assert_close(torch.autograd.grad(loss, model.w)[0], torch.tensor(slope, dtype=F64))

    @pytest.mark.parametrize("shots", [1, 3])
    @pytest.mark.parametrize("steps", [1, 2])
    def test_task_by_task(self, steps, shots):
        model, (x, y) = small_net(), a_task(5, lead=(3,))
        losses = []
        for one, other in zip(x, y, strict=True):
            a, b, c, d = by_hand(model, one[:shots], other[:shots], 0.3, steps)
            losses.append(((torch.tanh(one[shots:] @ a.T + b) @ c.T + d - other[shots:]) ** 2).mean())
        expected = sum(losses) / 3
        loss = maml_loss(model, x, y, shots, 0.3, steps)
        assert_close(loss.detach(), expected.detach())
        slopes = [torch.autograd.grad(one, list(model.parameters())) for one in (loss, expected)]
        assert_close(slopes[0], slopes[1])

    def test_first_order_is_another_gradient(self):
        """It is the query's slope at the adapted weights."""
        model, (x, y) = small_net(), a_task(5, lead=(2,))
        slopes = []
        for one, other in zip(x, y, strict=True):
            weights = [w.detach().requires_grad_() for w in by_hand(model, one[:2], other[:2], 0.3, 2)]
            a, b, c, d = weights
            loss = ((torch.tanh(one[2:] @ a.T + b) @ c.T + d - other[2:]) ** 2).mean() / 2
            slopes.append(torch.autograd.grad(loss, weights))
        loss = maml_loss(model, x, y, 2, 0.3, 2, first_order=True)
        assert_close(torch.autograd.grad(loss, list(model.parameters())), tuple(map(sum, zip(*slopes, strict=True))))

    def test_second_order_unless_told(self):
        model, (x, y) = small_net(), a_task(5, lead=(2,))
        losses = maml_loss(model, x, y, 2, 0.3, 2), maml_loss(model, x, y, 2, 0.3, 2, False)
        slopes = [torch.autograd.grad(loss, list(model.parameters())) for loss in losses]
        assert_close(slopes[0], slopes[1])

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    @pytest.mark.parametrize("seed", range(3))
    def test_sines_from_ten_points(self, seed):
        """After two steps on ten points: far below weights that were trained on all sines at once."""
        asked = sine_tasks(40, 30, seeded(99))
        errors = {}
        for name in ("maml", "joint"):
            model, generator = net_of(seed), seeded(seed)

            def loss(name=name, model=model, generator=generator):
                x, y = sine_tasks(4, 20, generator)
                return maml_loss(model, x, y, 10, 0.05, 2) if name == "maml" else F.mse_loss(model(x), y)

            adam(loss, model, 100 if name == "maml" else 300, 0.005)
            errors[name] = maml_loss(model, *asked, 10, 0.05, 2, first_order=True).item()
        if errors["maml"] > 0.85 * errors["joint"]:
            fail(
                f"after two steps on ten points of a new sine the squared error is {errors['maml']:.2f}; weights trained "
                f"on all sines at once reach {errors['joint']:.2f}, and MAML should stay below 0.85 of that"
            )

    def test_on_the_gpu(self, gpu):
        x, y = a_task(5, lead=(2,))
        gpu.check(lambda model, x, y: maml_loss(model, x, y, 2, 0.3, 2), small_net(), x, y)


class TestReptileStep:
    def test_the_example_worked_by_hand(self):
        model = Slope()
        assert_equal(reptile_step(model, f64([[1]]), f64([[3]]), 0.1, 1, 0.5), None)
        assert_close(model.w.detach(), torch.tensor(1.2, dtype=F64))

    @pytest.mark.parametrize(("steps", "outer_rate"), [(1, 0.5), (3, 0.2)])
    def test_task_by_task(self, steps, outer_rate):
        model, (x, y) = small_net(), a_task(5, lead=(3,))
        adapted = [by_hand(model, one, other, 0.3, steps) for one, other in zip(x, y, strict=True)]
        starts = [p.detach().clone() for p in model.parameters()]
        expected = [p + outer_rate * (sum(row[i] for row in adapted).detach() / 3 - p) for i, p in enumerate(starts)]
        reptile_step(model, x, y, 0.3, steps, outer_rate)
        assert_close([p.detach() for p in model.parameters()], expected)

    def test_the_weights_stay_parameters(self):
        model, (x, y) = small_net(), a_task(5, lead=(2,))
        before = [id(p) for p in model.parameters()]
        reptile_step(model, x, y, 0.3, 1, 0.5)
        assert_equal([id(p) == old for p, old in zip(model.parameters(), before, strict=True)], [True] * 4)
        assert_equal([(p.requires_grad, p.is_leaf) for p in model.parameters()], [(True, True)] * 4)

    def test_on_the_gpu(self, gpu):
        def moved(model, x, y):
            reptile_step(model, x, y, 0.3, 2, 0.5)
            return [p.detach() for p in model.parameters()]

        gpu.check(moved, small_net(), *a_task(5, lead=(2,)))


class TestInterleave:
    def test_the_example_worked_by_hand(self):
        assert_close(interleave(f64([[7]]), f64([8])), f64([[7, 0], [0, 8]]))

    def test_token_by_token(self):
        x, y = normal(2, 3, 4), normal(2, 3, seed=1)
        rows = [[[*x[b, k].tolist(), 0.0], [0.0] * 4 + [y[b, k].item()]] for b in range(2) for k in range(3)]
        assert_close(interleave(x, y), f64(*rows).reshape(2, 6, 5))

    def test_gradients(self):
        assert torch.autograd.gradcheck(interleave, (normal(2, 3, 4).requires_grad_(), normal(2, 3).requires_grad_()))

    def test_on_the_gpu(self, gpu):
        gpu.check(interleave, normal(2, 3, 4).requires_grad_(), normal(2, 3).requires_grad_())


def a_learner(max_examples: int = 5) -> nn.Module:
    return named_weights(InContextLearner(3, 8, 2, 2, max_examples))


def by_plain_attention(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The forward pass with attention written out."""
    h = F.linear(torch.zeros(len(x), 2 * x.shape[1], 4, dtype=F64), model.read.weight, model.read.bias).clone()
    for k in range(x.shape[1]):
        h[:, 2 * k] = model.read(torch.cat([x[:, k], torch.zeros(len(x), 1, dtype=F64)], 1))
        h[:, 2 * k + 1] = model.read(torch.cat([torch.zeros(len(x), 3, dtype=F64), y[:, k, None]], 1))
    h = h + model.positions[: h.shape[1]]
    for layer in model.layers:
        q, k, v = F.linear(layer.norm1(h), layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias).chunk(3, -1)
        parts = []
        for head in (slice(0, 4), slice(4, 8)):
            scores = q[..., head] @ k[..., head].mT / 2
            scores = scores.masked_fill(torch.ones(h.shape[1], h.shape[1]).triu(1).bool(), -math.inf)
            parts.append(scores.softmax(-1) @ v[..., head])
        h = h + layer.self_attn.out_proj(torch.cat(parts, -1))
        h = h + layer.linear2(F.gelu(layer.linear1(layer.norm2(h))))
    return model.write(model.norm(h))[:, ::2, 0]


class TestInContextLearner:
    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in InContextLearner(3, 8, 2, 2, 5).named_parameters() if "layers" not in name}
        expected = {"positions": (10, 8), "read.weight": (8, 4), "read.bias": (8,)}
        assert_equal(shapes, {**expected, "norm.weight": (8,), "norm.bias": (8,), "write.weight": (1, 8), "write.bias": (1,)})
        torch.manual_seed(0)
        start = InContextLearner(3, 64, 2, 1, 50).positions.detach()
        if abs(start.mean()) > 0.002 or abs(start.std() - 0.02) > 0.002:
            fail(f"positions should start normal with deviation 0.02, not {start.std():.3f}", evidence=round(start.std().item(), 2))

    def test_matches_attention_written_out(self):
        model, x, y = a_learner(), normal(2, 4, 3), normal(2, 4, seed=1)
        assert_close(model(x, y).detach(), by_plain_attention(model, x, y).detach())

    def test_no_dropout(self):
        model, x, y = a_learner().train(), normal(2, 4, 3), normal(2, 4, seed=1)
        assert_close(model(x, y).detach(), model(x, y).detach())

    def test_sees_the_past_and_no_answer_of_its_own(self):
        model, x, y = a_learner(), normal(1, 4, 3).requires_grad_(), normal(1, 4, seed=1).requires_grad_()
        slopes = torch.autograd.grad(model(x, y)[0, 2], (x, y))
        seen = [[bool((row != 0).any()) for row in slope[0]] for slope in slopes]
        if seen != [[True, True, True, False], [True, True, False, False]]:
            fail(
                f"the prediction for the third y should depend on x₁ x₂ x₃ and y₁ y₂; it depends on "
                f"x {[k + 1 for k in range(4) if seen[0][k]]} and y {[k + 1 for k in range(4) if seen[1][k]]}",
                evidence=seen,
            )

    def test_in_evaluation(self):
        """eval() and no_grad, where torch takes another way."""
        model, x, y = a_learner().eval(), normal(2, 4, 3), normal(2, 4, seed=1)
        with torch.no_grad():
            assert_close(model(x, y), by_plain_attention(model, x, y))

    def test_as_many_as_there_are_places(self):
        model = a_learner(3)
        assert_equal(tuple(model(normal(1, 3, 3), normal(1, 3)).shape), (1, 3))
        with raises(ValueError, 4, 3):
            model(normal(1, 4, 3), normal(1, 4))

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    @pytest.mark.parametrize("seed", range(3))
    def test_learns_to_learn_a_line(self, seed):
        """A new w for each sequence, y = w · x: after some examples it knows more than after none."""
        torch.manual_seed(seed)
        model, generator = InContextLearner(1, 16, 2, 2, 5), seeded(seed)

        def lines(count: int) -> tuple[torch.Tensor, torch.Tensor]:
            x = torch.randn(count, 5, 1, generator=generator)
            return x, (x * torch.randn(count, 1, 1, generator=generator))[..., 0]

        def loss() -> torch.Tensor:
            x, y = lines(32)
            return F.mse_loss(model(x, y), y)

        adam(loss, model, 200, 4e-3)
        x, y = lines(1000)
        with torch.no_grad():
            error = (model(x, y) - y).square().mean(0)
        if error[1:].mean() > 0.65 * error[0]:
            fail(
                f"after one to four examples the squared error is {error[1:].mean():.2f}, after none {error[0]:.2f}; "
                "at most 0.65 of it is expected"
            )

    def test_on_the_gpu(self, gpu):
        gpu.check(a_learner(), normal(2, 4, 3).requires_grad_(), normal(2, 4, seed=1).requires_grad_())
