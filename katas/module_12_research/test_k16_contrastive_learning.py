"""Judges k16_contrastive_learning pair by pair, and by what is learned from real digits without their labels."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.data import digits  # noqa: F401
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, gradcheck, leaves, normal, number, seeded
from katas.module_12_research.k16_contrastive_learning import (
    BYOL,
    KeyQueue,
    alignment,
    byol_loss,
    feature_spread,
    moco_loss,
    momentum_update,
    nt_xent,
    rotations,
    uniformity,
)

pytestmark = [
    from_scratch(
        "torch.nn.functional.cosine_similarity", "torch.cosine_similarity", "torch.nn.CosineSimilarity",
        "torch.optim.swa_utils", "torchvision", "lightly", "pytorch_metric_learning",
    ),
    pure("momentum_update"),
]  # fmt: skip


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a @ b / (a @ a).sqrt() / (b @ b).sqrt()).item()


def minus_log_share(right: float, scores: list[float]) -> float:
    return -math.log(math.exp(right) / sum(math.exp(s) for s in scores))


def nt_xent_by_hand(first, second, temperature) -> torch.Tensor:
    z, n = [*first, *second], len(first)
    losses = []
    for i in range(2 * n):
        scores = {j: cosine(z[i], z[j]) / temperature for j in range(2 * n) if j != i}
        losses.append(minus_log_share(scores[i + n if i < n else i - n], list(scores.values())))
    return number(sum(losses) / len(losses))


class TestNtXent:
    def test_the_example_worked_by_hand(self):
        eye = torch.eye(2, dtype=F64)
        assert_close(nt_xent(eye, eye, 1.0), number(math.log(math.e + 2) - 1))

    @pytest.mark.parametrize("temperature", [0.3, 2.0])
    @pytest.mark.parametrize(("n", "d"), [(1, 3), (2, 3), (5, 4)])
    def test_pair_by_pair(self, n, d, temperature):
        first, second = 2 * normal(n, d), normal(n, d, seed=1)
        assert_close(nt_xent(first, second, temperature), nt_xent_by_hand(first, second, temperature))

    def test_a_small_temperature(self):
        first = normal(4, 3)
        found = nt_xent(first, first + 1e-3 * normal(4, 3, seed=1), 1e-4)
        assert_close(found, number(0.0), atol=1e-3, rtol=0)

    def test_gradients_and_gpu(self, gpu):
        x = leaves(normal(3, 4), normal(3, 4, seed=1))
        assert gradcheck(lambda a, b: nt_xent(a, b, 0.5), x)
        gpu.check(nt_xent, *x, 0.5)


def moco_by_hand(queries, keys, queue, temperature) -> torch.Tensor:
    losses = []
    for q, k in zip(queries, keys, strict=True):
        q = q / (q @ q).sqrt()
        scores = [cosine(q, k) / temperature, *((q @ other).item() / temperature for other in queue)]
        losses.append(minus_log_share(scores[0], scores))
    return number(sum(losses) / len(losses))


def a_batch() -> list[torch.Tensor]:
    return [2 * normal(3, 4), 3 * normal(3, 4, seed=1), F.normalize(normal(5, 4, seed=2), dim=1)]


class TestMocoLoss:
    def test_the_example_worked_by_hand(self):
        found = moco_loss(f64([1, 0]), f64([0.6, 0.8]), f64([0, 1], [-1, 0]), 1.0)
        assert_close(found, number(math.log(math.exp(0.6) + 1 + math.exp(-1)) - 0.6))

    @pytest.mark.parametrize("temperature", [0.2, 1.5])
    def test_pair_by_pair(self, temperature):
        assert_close(moco_loss(*a_batch(), temperature), moco_by_hand(*a_batch(), temperature))

    def test_the_gradient_stops_at_keys_and_queue(self):
        queries, keys, queue = leaves(*a_batch())
        moco_loss(queries, keys, queue, 0.5).backward()
        into = [x.grad is not None and bool(x.grad.any()) for x in (queries, keys, queue)]
        assert_equal(into, [True, False, False])

    def test_gradients_and_gpu(self, gpu):
        queries, keys, queue = a_batch()
        assert gradcheck(lambda q: moco_loss(q, keys, queue, 0.5), leaves(queries))
        gpu.check(moco_loss, queries.requires_grad_(), keys, queue, 0.5)


class TestKeyQueue:
    def test_it_starts_with_vectors_of_length_1(self):
        queue = KeyQueue(50, 6)
        assert_equal(list(dict(queue.named_buffers())), ["keys"])
        assert_close(queue.keys.norm(dim=1), torch.ones(50))
        if queue.keys.std(0).max() < 1e-3:
            fail("The keys at the start are all the same.", evidence="same")
        # The mean of 50 random directions is short: 0.14 or so.
        if queue.keys.mean(0).norm() > 0.5:
            fail("The keys at the start don't point everywhere.", evidence="one way")

    @pytest.mark.parametrize("sizes", [(2, 3, 1), (5, 5), (4, 4, 4)])
    def test_the_oldest_leave(self, sizes):
        queue = KeyQueue(5, 4).double()
        kept = list(queue.keys.clone())
        for i, n in enumerate(sizes):
            keys = 3 * normal(n, 4, seed=i)
            queue(normal(n, 4, seed=i + 9), keys, 0.5)
            kept = [*kept, *(k / k.norm() for k in keys)][-5:]
            assert_close(queue.keys, torch.stack(kept))

    def test_against_the_keys_of_earlier_calls(self):
        queue, (queries, keys, _) = KeyQueue(6, 4).double(), a_batch()
        for i in range(3):
            before = queue.keys.clone()
            found = queue(queries + i, keys - i, 0.7)
            assert_close(found.detach(), moco_by_hand(queries + i, keys - i, before, 0.7))

    def test_backward_after_a_second_call(self):
        queue, (queries, keys, _) = KeyQueue(6, 4).double(), a_batch()
        before, (x, k) = queue.keys.clone(), leaves(queries, keys)
        loss = queue(x, k, 0.7)
        queue(queries, keys, 0.7)
        loss.backward()
        y = queries.clone().requires_grad_()
        z, right = F.normalize(y, dim=1), F.normalize(keys, dim=1)
        scores = torch.cat([(z * right).sum(1, keepdim=True), z @ before.T], 1) / 0.7
        F.cross_entropy(scores, torch.zeros(3, dtype=torch.long)).backward()
        assert_close(x.grad, y.grad)
        assert_equal((k.grad is not None and bool(k.grad.any()), queue.keys.requires_grad), (False, False))

    @pytest.mark.parametrize("n", [4, 7])
    def test_refuses_more_keys_than_it_holds(self, n):
        with raises(ValueError, n, 3):
            KeyQueue(3, 4).double()(normal(n, 4), normal(n, 4), 0.5)

    def test_on_the_gpu(self, gpu):
        queries, keys, _ = a_batch()
        gpu.check(KeyQueue(6, 4).double(), queries.requires_grad_(), keys, 0.5)


def a_network(seed: int = 0) -> nn.Module:
    network = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
    network(torch.randn(6, 4, generator=seeded(seed)))
    return named_weights(network, 0.6, seed)


class TestMomentumUpdate:
    @pytest.mark.parametrize("momentum", [0.9, 0.2, 0.0, 1.0])
    def test_number_by_number(self, momentum):
        target, online = a_network(), a_network(1)
        before, theirs = copy.deepcopy(target.state_dict()), copy.deepcopy(online.state_dict())
        momentum_update(target, online, momentum)
        for name, p in target.named_parameters():
            assert_close(p.detach(), momentum * before[name] + (1 - momentum) * theirs[name])
        for name, buffer in target.named_buffers():
            assert_close(buffer, theirs[name])
        assert_close(dict(online.state_dict()), dict(theirs))

    def test_the_example_worked_by_hand(self):
        target, online = nn.Linear(1, 1, bias=False).double(), nn.Linear(1, 1, bias=False).double()
        nn.init.constant_(target.weight, 1.0)
        nn.init.constant_(online.weight, 3.0)
        momentum_update(target, online, 0.9)
        assert_close(target.weight.detach(), f64([1.2]))

    def test_the_same_parameters_as_before(self):
        target, online = a_network(), a_network(1)
        before = [id(p) for p in target.parameters()]
        momentum_update(target, online, 0.5)
        assert_equal([id(p) for p in target.parameters()] == before, True)
        assert_equal([p.requires_grad and p.grad_fn is None for p in target.parameters()], [True] * 6)

    def test_on_the_gpu(self, gpu):
        target, online = gpu(a_network()), gpu(a_network(1))
        momentum_update(target, online, 0.7)
        expected, theirs = dict(a_network().named_parameters()), dict(a_network(1).named_parameters())
        for name, p in target.named_parameters():
            assert_close(p.detach().cpu(), (0.7 * expected[name] + 0.3 * theirs[name]).detach())


class TestByolLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(byol_loss(f64([1, 0]), f64([0.6, 0.8])), number(0.8))

    def test_row_by_row(self):
        p, z = 2 * normal(5, 4), normal(5, 4, seed=1)
        expected = sum(2 - 2 * cosine(a, b) for a, b in zip(p, z, strict=True)) / 5
        assert_close(byol_loss(p, z), number(expected))

    def test_the_gradient_stops_at_the_target(self):
        p, z = leaves(normal(5, 4), normal(5, 4, seed=1))
        byol_loss(p, z).backward()
        assert_equal((bool(p.grad.any()), z.grad is not None and bool(z.grad.any())), (True, False))

    def test_gradients_and_gpu(self, gpu):
        p, z = normal(5, 4), normal(5, 4, seed=1)
        assert gradcheck(lambda p: byol_loss(p, z), leaves(p))
        gpu.check(byol_loss, p.requires_grad_(), z)


def a_byol() -> BYOL:
    return BYOL(named_weights(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))), named_weights(nn.Linear(3, 3), seed=1))


class TestBYOL:
    def test_the_parts(self):
        encoder, predictor = a_network(), nn.Linear(3, 3)
        model = BYOL(encoder, predictor)
        assert_equal((model.online is encoder, model.predictor is predictor), (True, True))
        assert_close(dict(model.target.state_dict()), dict(encoder.state_dict()))
        assert_equal([p.requires_grad for p in model.target.parameters()], [False] * 6)
        assert_equal({id(p) for p in encoder.parameters()} & {id(p) for p in model.target.parameters()}, set())
        assert_equal(all(p.requires_grad for p in encoder.parameters()), True)

    def test_the_total(self):
        model, x, y = a_byol(), normal(6, 4), normal(6, 4, seed=1)
        named_weights(model.target, seed=5)
        with torch.no_grad():
            expected = 0.0
            for one, other in ((x, y), (y, x)):
                p, z = model.predictor(model.online(one)), model.target(other)
                expected += sum(2 - 2 * cosine(a, b) for a, b in zip(p, z, strict=True)) / 6
        assert_close(model(x, y).detach(), number(expected))

    def test_who_learns(self):
        model = a_byol()
        model(normal(6, 4), normal(6, 4, seed=1)).backward()
        learned = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        assert_equal(learned, {"online", "predictor"})

    @pytest.mark.parametrize("momentum", [0.9, 0.3])
    def test_update(self, momentum):
        model = a_byol()
        named_weights(model.target, seed=5)
        before, online = copy.deepcopy(model.target.state_dict()), copy.deepcopy(model.online.state_dict())
        model.update(momentum)
        expected = {name: momentum * before[name] + (1 - momentum) * online[name] for name in before}
        assert_close(dict(model.target.state_dict()), expected)
        assert_close(dict(model.online.state_dict()), dict(online))

    def test_on_the_gpu(self, gpu):
        gpu.check(a_byol(), normal(6, 4), normal(6, 4, seed=1))


class TestAlignment:
    def test_the_example_worked_by_hand(self):
        x, y = f64([1, 0]), f64([0.6, 0.8])
        assert_close((alignment(x, y), alignment(x, y, 1.0)), (number(0.8), number(math.sqrt(0.8))))

    @pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
    def test_pair_by_pair(self, alpha):
        x, y = normal(5, 4), normal(5, 4, seed=1)
        expected = sum(math.sqrt(((a - b) ** 2).sum().item()) ** alpha for a, b in zip(x, y, strict=True)) / 5
        assert_close(alignment(x, y, alpha), number(expected))

    def test_gradients_and_gpu(self, gpu):
        x = leaves(normal(5, 4), normal(5, 4, seed=1))
        assert gradcheck(alignment, x)
        gpu.check(alignment, *x)


class TestUniformity:
    def test_the_example_worked_by_hand(self):
        found = uniformity(f64([1, 0], [0, 1], [-1, 0]))
        assert_close(found, number(math.log((2 * math.exp(-4) + math.exp(-8)) / 3)))

    @pytest.mark.parametrize("t", [0.5, 2.0])
    @pytest.mark.parametrize("n", [2, 3, 6])
    def test_pair_by_pair(self, n, t):
        x = normal(n, 4) / 2
        pairs = [math.exp(-t * ((x[i] - x[j]) ** 2).sum().item()) for i in range(n) for j in range(i + 1, n)]
        assert_close(uniformity(x, t), number(math.log(sum(pairs) / len(pairs))))

    def test_finite_for_a_large_t(self):
        x = f64([1, 0], [0, 1], [-1, 0]).requires_grad_()
        found = uniformity(x, 1000.0)
        found.backward()
        assert_close(found.detach(), number(-2000 + math.log(2 / 3)))
        assert_equal(bool(x.grad.isfinite().all()), True)

    def test_0_for_collapse(self):
        assert_close(uniformity(normal(1, 4).expand(6, 4)), number(0.0))

    def test_gradients_and_gpu(self, gpu):
        x = leaves(normal(5, 4))
        assert gradcheck(uniformity, x)
        gpu.check(uniformity, *x)


class TestFeatureSpread:
    def test_the_example_worked_by_hand(self):
        assert_close(feature_spread(f64([1, 0], [-1, 0], [0, 1], [0, -1])), number(1.0))

    def test_column_by_column(self):
        z = normal(6, 4) * normal(6, 1, seed=1).exp() + 1
        unit = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in z.tolist()]
        deviations = []
        for column in zip(*unit, strict=True):
            mean = sum(column) / 6
            deviations.append(math.sqrt(sum((x - mean) ** 2 for x in column) / 6))
        assert_close(feature_spread(z), number(2 * sum(deviations) / 4))

    def test_all_directions_and_none(self):
        # Of 4000 random directions it is off by 1 % or so.
        assert_close(feature_spread(normal(4000, 8)), number(1.0), atol=0.05, rtol=0)
        lengths = normal(20, 1).exp()
        assert_close(feature_spread(lengths * normal(1, 8)), number(0.0), atol=1e-6, rtol=0)

    def test_gradients_and_gpu(self, gpu):
        x = leaves(normal(6, 4))
        assert gradcheck(feature_spread, x)
        gpu.check(feature_spread, *x)


class TestRotations:
    def test_the_example_worked_by_hand(self):
        turned, labels = rotations(f64([[[1, 2], [3, 4]]]))
        assert_close(turned[1], f64([[2, 4], [1, 3]]))
        assert_equal(labels, torch.tensor([0, 1, 2, 3]))

    def test_pixel_by_pixel(self):
        images = normal(2, 3, 5, 5)
        turned, labels = rotations(images)
        assert_equal(labels, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
        for r in range(5):
            for c in range(5):
                # The right column becomes the top row.
                assert_close(turned[:2, :, r, c], images[:, :, r, c])
                assert_close(turned[2:4, :, r, c], images[:, :, c, 4 - r])
                assert_close(turned[4:6, :, r, c], images[:, :, 4 - r, 4 - c])
                assert_close(turned[6:, :, r, c], images[:, :, 4 - c, r])

    @pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 3)])
    def test_refuses_what_isnt_square(self, height, width):
        with raises(ValueError, height, width):
            rotations(normal(2, 3, height, width))

    def test_on_the_gpu(self, gpu):
        gpu.check(rotations, normal(2, 3, 5, 5))


def a_table(digits) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: F811
    pixels, labels = digits
    return torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 8, 8), torch.tensor(labels)


def half_of(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A view (n, 64): half of the pixels, chosen anew each time, and a little noise."""
    x = images.flatten(1)
    seen = torch.rand(x.shape, generator=generator) < 0.5
    return x * seen + 0.05 * torch.randn(x.shape, generator=generator)


def an_encoder(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 32))


def train(loss, parameters, images, generator, turns: int, after=lambda: None) -> None:
    optimizer = torch.optim.Adam(parameters, 3e-3)
    for _ in range(turns):
        chosen = images[torch.randint(len(images), (128,), generator=generator)]
        optimizer.zero_grad()
        loss(half_of(chosen, generator), half_of(chosen, generator)).backward()
        optimizer.step()
        after()


def by_neighbours(x: torch.Tensor, y: torch.Tensor) -> float:
    """The share of the last 500 that have the label of the most similar one of the first 300."""
    x = F.normalize(x - x.mean(0), dim=1)
    return (y[:300][(x[-500:] @ x[:300].T).argmax(1)] == y[-500:]).double().mean().item()


def two_shares(table, seed: int) -> tuple[float, float]:
    (images, labels), generator, encoder = table, seeded(seed), an_encoder(seed)
    train(lambda a, b: nt_xent(encoder(a), encoder(b), 0.2), encoder.parameters(), images[:-500], generator, 300)
    views = half_of(images, generator)
    with torch.no_grad():
        return by_neighbours(views, labels), by_neighbours(encoder.eval()(views), labels)


def two_spreads(table, seed: int) -> tuple[float, float]:
    """Of BYOL, and of a network that may pull both views together by gradients."""
    (images, _), generator = table, seeded(seed)
    encoder = an_encoder(seed)
    predictor = nn.Sequential(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32))
    model = BYOL(encoder, predictor)
    learning = [*encoder.parameters(), *predictor.parameters()]
    train(model, learning, images, generator, 120, lambda: model.update(0.95))
    pulled = an_encoder(seed)

    def pull(a, b):
        return (F.normalize(pulled(a), dim=1) - F.normalize(pulled(b), dim=1)).square().sum(1).mean()

    train(pull, pulled.parameters(), images, generator, 120)
    views = half_of(images[:500], generator)
    with torch.no_grad():
        return feature_spread(encoder.eval()(views)).item(), feature_spread(pulled.eval()(views)).item()


@pytest.mark.learning
@pytest.mark.deadline(60)
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_digits_find_their_like_without_labels(self, seed, digits):  # noqa: F811
        pixels, learned = two_shares(a_table(digits), seed)
        if learned < pixels + 0.08:
            fail(f"By pixels {pixels:.0%} of the digits find their like, by learned vectors {learned:.0%}.", evidence="digits")

    @pytest.mark.parametrize("seed", range(2))
    def test_byol_doesnt_collapse(self, seed, digits):  # noqa: F811
        byol, pulled = two_spreads(a_table(digits), seed)
        if not (byol > 0.3 and pulled < 0.1):
            fail(f"The spread of BYOL is {byol:.2f}; of a network that only pulls, {pulled:.2f}.", evidence="spread")
