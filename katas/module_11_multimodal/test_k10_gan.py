"""Judges k10_gan by plain loops, closed forms, finite differences, torch's own layers, scipy, and a ring of clouds."""

import copy
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, number, seeded
from katas.module_11_multimodal.k10_gan import (
    SpectralLinear,
    feature_gaussian,
    frechet_distance,
    gan_step,
    gradient_penalty,
    minimax_losses,
    mode_score,
    non_saturating_loss,
    optimal_value,
    wgan_gp_losses,
)

pytestmark = [
    from_scratch("torch.nn.utils.spectral_norm", "torch.nn.utils.parametrizations.spectral_norm", "scipy", "sklearn"),
    pure("gan_step"),
]


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=seeded(seed), dtype=F64)


def untouched(*leaves: torch.Tensor) -> bool:
    return all(leaf.grad is None or not bool(leaf.grad.any()) for leaf in leaves)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


class TestMinimaxLosses:
    def test_the_example_worked_by_hand(self):
        found = minimax_losses(f64(math.log(3)), f64(0))
        assert_close(tuple(found), (number(math.log(4 / 3) + math.log(2)), number(-math.log(2))))

    @pytest.mark.parametrize(("real", "fake"), [((7,), (4,)), ((2, 1), (5, 1)), ((2, 3, 2), (3,)), ((), (2, 2))])
    def test_logit_by_logit(self, real, fake):
        real, fake = 2 * normal(*real), 2 * normal(*fake, seed=1)
        a, b = real.flatten().tolist(), fake.flatten().tolist()
        known = sum(math.log(sigmoid(v)) for v in a) / len(a)
        caught = sum(math.log(1 - sigmoid(v)) for v in b) / len(b)
        assert_close(tuple(minimax_losses(real, fake)), (number(-known - caught), number(caught)))

    def test_the_slope_of_a_bad_fake_is_flat(self):
        fake = f64(-4).requires_grad_()
        minimax_losses(f64(0), fake)[1].backward()
        assert_close(fake.grad, f64(-sigmoid(-4)))

    @pytest.mark.parametrize("which", [0, 1])
    def test_gradients(self, which):
        leaves = (normal(3, 2).requires_grad_(), normal(5, seed=1).requires_grad_())
        assert torch.autograd.gradcheck(lambda a, b: minimax_losses(a, b)[which], leaves)

    def test_large_logits(self):
        real, fake = f64(-1000, 1000).requires_grad_(), f64(1000, -1000).requires_grad_()
        discriminator, minimax = minimax_losses(real, fake)
        assert_close((discriminator, minimax), (number(1000), number(-500)))
        discriminator.backward()
        assert_close((real.grad, fake.grad), (f64(-0.5, 0), f64(0.5, 0)))

    def test_on_the_gpu(self, gpu):
        gpu.check(minimax_losses, torch.randn(4, requires_grad=True), torch.randn(3, requires_grad=True))


class TestNonSaturatingLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(non_saturating_loss(f64(0)), number(math.log(2)))

    @pytest.mark.parametrize("shape", [(), (4,), (3, 1), (2, 1, 3)])
    def test_logit_by_logit(self, shape):
        fake = 2 * normal(*shape)
        values = fake.flatten().tolist()
        assert_close(non_saturating_loss(fake), number(-sum(math.log(sigmoid(v)) for v in values) / len(values)))

    def test_the_slope_of_a_bad_fake_is_steep(self):
        fake = f64(-4).requires_grad_()
        non_saturating_loss(fake).backward()
        assert_close(fake.grad, f64(sigmoid(-4) - 1))

    def test_large_logits(self):
        fake = f64(-1000, 1000).requires_grad_()
        found = non_saturating_loss(fake)
        assert_close(found, number(500))
        found.backward()
        assert_close(fake.grad, f64(-0.5, 0))

    def test_on_the_gpu(self, gpu):
        gpu.check(non_saturating_loss, torch.randn(2, 3, requires_grad=True))


def value_by_hand(p: list[float], q: list[float]) -> float:
    total = 0.0
    for a, b in zip(p, q, strict=True):
        total += a * math.log(a / (a + b)) if a else 0.0
        total += b * math.log(b / (a + b)) if b else 0.0
    return total


class TestOptimalValue:
    def test_the_examples_worked_by_hand(self):
        p, q = f64([0.5, 0.5], [0.3, 0.7], [0, 1]), f64([1, 0], [0.3, 0.7], [1, 0])
        assert_close(optimal_value(p, q), f64(0.5 * math.log(1 / 3) + math.log(2 / 3), -math.log(4), 0))

    @pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
    def test_entry_by_entry(self, lead):
        p, q = (normal(*lead, 6, seed=s).exp() for s in range(2))
        p[..., :2], q[..., 1:3] = 0, 0  # q alone, neither, p alone, and both three times
        p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
        rows = zip(p.reshape(-1, 6).tolist(), q.reshape(-1, 6).tolist(), strict=True)
        assert_close(optimal_value(p, q), torch.tensor([value_by_hand(*row) for row in rows], dtype=F64).reshape(lead))

    def test_it_is_the_discriminators_loss_with_the_best_logits(self):
        """p = (¼ ¾) and q = (⅗ ⅖): the best logit is log p - log q.  No other logits have a lower loss."""
        p, q = f64(0.25, 0.75), f64(0.6, 0.4)
        best = (p / q).log()
        value = optimal_value(p, q)
        for logits in (best, best + f64(0.1, 0), best - f64(0, 0.1)):
            loss, _ = minimax_losses(logits[[0, 1, 1, 1]], logits[[0, 0, 0, 1, 1]])
            if logits is best:
                assert_close(value, -loss)
            elif not float(-loss) < float(value):
                fail("Other logits than the best ones have a higher value.", evidence=float(value))

    def test_gradients(self):
        leaves = ((0.1 + uniform(2, 3)).requires_grad_(), (0.1 + uniform(2, 3, seed=1)).requires_grad_())
        assert torch.autograd.gradcheck(optimal_value, leaves)

    def test_on_the_gpu(self, gpu):
        p, q = (normal(2, 3, seed=s).softmax(-1).requires_grad_() for s in range(2))
        gpu.check(optimal_value, p, q)


class Critic(nn.Module):
    """Sums of tanh over all numbers of a picture: (n, …) to (n,), or (n, 1) with `column`."""

    def __init__(self, inputs: int, column: bool = False) -> None:
        super().__init__()
        self.inner = nn.Parameter(normal(inputs, 4, seed=21))
        self.outer = nn.Parameter(normal(4, 1, seed=22))
        self.column = column

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = (x.flatten(1) @ self.inner).tanh() @ self.outer
        return scores if self.column else scores[:, 0]


def penalty_by_hand(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor, mix: torch.Tensor) -> float:
    """By differences from both sides, number by number."""
    total, step = 0.0, 1e-6
    with torch.no_grad():
        for a, b, t in zip(real.flatten(1), fake.flatten(1), mix.tolist(), strict=True):
            x, squares = t * a + (1 - t) * b, 0.0
            for i in range(len(x)):
                move = torch.zeros_like(x)
                move[i] = step
                high, low = (critic(y.reshape(1, *real.shape[1:])).item() for y in (x + move, x - move))
                squares += ((high - low) / (2 * step)) ** 2
            total += (math.sqrt(squares) - 1) ** 2
    return total / len(mix)


class TestGradientPenalty:
    def test_the_example_worked_by_hand(self):
        found = gradient_penalty(lambda x: x[:, 0] ** 2, f64([4, 0]), f64([0, 0]), f64(0.25))
        assert_close(found.detach(), number(1.0))

    def test_a_slope_of_5_everywhere(self):
        found = gradient_penalty(lambda x: x @ f64([3], [4]), normal(6, 2), normal(6, 2, seed=1), uniform(6))
        assert_close(found.detach(), number(16.0))

    @pytest.mark.parametrize("column", [False, True])
    @pytest.mark.parametrize("shape", [(5, 3), (3, 2, 3), (2, 1, 2, 3), (4, 1)])
    def test_by_differences(self, shape, column):
        critic = Critic(math.prod(shape[1:]), column)
        real, fake, mix = normal(*shape), 2 * normal(*shape, seed=1), uniform(shape[0])
        expected = penalty_by_hand(critic, real, fake, mix)
        # Differences of 1e-6 leave an error of about 1e-9.
        assert_close(gradient_penalty(critic, real, fake, mix).detach(), number(expected), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("name", ["inner", "outer"])
    def test_it_teaches_the_critic(self, name):
        critic, real, fake, mix = Critic(3), normal(4, 3), normal(4, 3, seed=1), uniform(4)
        leaf = getattr(critic, name)
        found = gradient_penalty(critic, real, fake, mix)
        (gradient,) = torch.autograd.grad(found, leaf)
        direction, step = normal(*leaf.shape, seed=9), 1e-5
        sides = []
        for sign in (1, -1):
            other = copy.deepcopy(critic)
            getattr(other, name).data.add_(sign * step * direction)
            sides.append(gradient_penalty(other, real, fake, mix).item())
        assert_close((gradient * direction).sum().item(), (sides[0] - sides[1]) / (2 * step), rtol=1e-5, atol=1e-6)

    def test_pictures_are_constants_and_nothing_is_left(self):
        critic = Critic(3)
        leaves = [normal(4, 3).requires_grad_(), normal(4, 3, seed=1).requires_grad_(), uniform(4).requires_grad_()]
        found = gradient_penalty(critic, *leaves)
        assert_equal([p.grad is None for p in critic.parameters()], [True, True])
        found.backward()
        assert_equal((untouched(*leaves), untouched(*critic.parameters())), (True, False))

    def test_pictures_that_come_from_a_generator(self):
        weight = normal(2, 3).requires_grad_()
        found = gradient_penalty(Critic(3), normal(4, 3), normal(4, 2, seed=1) @ weight, uniform(4))
        found.backward()
        assert_equal(untouched(weight), True)

    def test_a_slope_of_0_gives_no_nan(self):
        critic = Critic(3)
        with torch.no_grad():
            critic.outer.zero_()
        found = gradient_penalty(critic, normal(4, 3), normal(4, 3, seed=1), uniform(4))
        assert_close(found.detach(), number(1.0))
        found.backward()
        assert_equal([bool(p.grad.isfinite().all()) for p in critic.parameters()], [True, True])

    def test_on_the_gpu(self, gpu):
        critic = Critic(3)
        gpu.check(gradient_penalty, critic, normal(4, 3), normal(4, 3, seed=1), uniform(4))


class TestWganGpLosses:
    def test_the_example_worked_by_hand(self):
        found = wgan_gp_losses(lambda x: x[:, 0] ** 2, f64([4, 0]), f64([0, 0]), f64(0.25))
        assert_close([loss.detach() for loss in found], [number(-6), number(0)])

    @pytest.mark.parametrize("column", [False, True])
    @pytest.mark.parametrize("weight", [10.0, 0.5, 0.0])
    def test_the_formulas(self, weight, column):
        critic, real, fake, mix = Critic(6, column), normal(5, 2, 3), 1 + normal(5, 2, 3, seed=1), uniform(5)
        with torch.no_grad():
            a, b = critic(real).flatten().tolist(), critic(fake).flatten().tolist()
        expected = sum(b) / 5 - sum(a) / 5 + weight * penalty_by_hand(critic, real, fake, mix)
        found = wgan_gp_losses(critic, real, fake, mix, weight)
        # penalty_by_hand has an error of about 1e-9
        assert_close([loss.detach() for loss in found], [number(expected), number(-sum(b) / 5)], rtol=1e-6, atol=1e-6)

    def test_ten_unless_given(self):
        args = (Critic(3), normal(5, 3), normal(5, 3, seed=1), uniform(5))
        assert_close(wgan_gp_losses(*args)[0].detach(), wgan_gp_losses(*args, 10.0)[0].detach())

    def test_the_critics_loss_moves_the_critic_alone(self):
        critic, real, fake = Critic(3), normal(5, 3).requires_grad_(), normal(5, 3, seed=1).requires_grad_()
        wgan_gp_losses(critic, real, fake, uniform(5))[0].backward()
        assert_equal((untouched(real, fake), [untouched(p) for p in critic.parameters()]), (True, [False, False]))

    def test_the_critics_gradient(self):
        """By differences, along one direction."""
        critic, real, fake, mix = Critic(3), normal(5, 3), normal(5, 3, seed=1), uniform(5)
        (gradient,) = torch.autograd.grad(wgan_gp_losses(critic, real, fake, mix, 3.0)[0], critic.inner)
        direction, step, sides = normal(3, 4, seed=9), 1e-5, []
        for sign in (1, -1):
            other = copy.deepcopy(critic)
            other.inner.data.add_(sign * step * direction)
            sides.append(wgan_gp_losses(other, real, fake, mix, 3.0)[0].item())
        assert_close((gradient * direction).sum().item(), (sides[0] - sides[1]) / (2 * step), rtol=1e-5, atol=1e-6)

    def test_the_generators_loss_moves_the_fakes(self):
        critic, real, fake = Critic(3), normal(5, 3).requires_grad_(), normal(5, 3, seed=1).requires_grad_()
        wgan_gp_losses(critic, real, fake, uniform(5))[1].backward()
        (expected,) = torch.autograd.grad(-critic(fake).mean(), fake)
        assert_close(fake.grad, expected)
        assert_equal(untouched(real), True)

    def test_on_the_gpu(self, gpu):
        args = (Critic(3), normal(4, 3), normal(4, 3, seed=1).requires_grad_(), uniform(4))
        gpu.check(wgan_gp_losses, *args)


def a_layer(inputs: int = 3, outputs: int = 5) -> SpectralLinear:
    torch.manual_seed(4)
    layer = SpectralLinear(inputs, outputs).double()
    with torch.no_grad():
        layer.weight.copy_(normal(outputs, inputs, seed=5))
        layer.u.copy_(F.normalize(normal(outputs, seed=6), dim=0))
    return layer


def one_round(weight: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    v = weight.T @ u
    v = v / (v * v).sum().sqrt()
    u = weight @ v
    return u / (u * u).sum().sqrt(), v


class TestSpectralLinear:
    def test_the_example_worked_by_hand(self):
        layer = SpectralLinear(2, 2).double()
        with torch.no_grad():
            layer.weight.copy_(f64([3, 0], [0, 1]))
            layer.bias.copy_(f64(10, 20))
            layer.u.copy_(f64(0.6, 0.8))
        sigma = math.sqrt((3 * 1.8) ** 2 + 0.8**2) / math.sqrt(1.8**2 + 0.8**2)
        assert_close(layer(f64([1, 2])).detach(), f64([10 + 3 / sigma, 20 + 2 / sigma]))
        assert_close(layer.u, f64(5.4, 0.8) / math.sqrt(5.4**2 + 0.8**2))

    @pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
    @pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (5, 3), (1, 4), (4, 1)])
    def test_round_after_round(self, inputs, outputs, lead):
        layer = a_layer(inputs, outputs)
        weight, bias, u = layer.weight.detach().clone(), layer.bias.detach().clone(), layer.u.clone()
        for seed in range(3):
            x = normal(*lead, inputs, seed=seed)
            u, v = one_round(weight, u)
            assert_close(layer(x).detach(), x @ weight.T / (u @ weight @ v) + bias)
            assert_close(layer.u, u)
        assert_equal((layer.weight.detach(), layer.bias.detach()), (weight, bias))

    def test_in_evaluation_the_answer_is_the_same_and_u_stays(self):
        layer, x = a_layer(), normal(4, 3)
        beside, before = copy.deepcopy(layer).eval(), layer.u.clone()
        expected = layer(x).detach()
        for _ in range(2):
            assert_close(beside(x).detach(), expected)
            assert_equal(beside.u, before)

    def test_gradients_with_u_and_v_constant(self):
        layer, x, upstream = a_layer(), normal(4, 3).requires_grad_(), normal(4, 5, seed=1)
        weight, bias = layer.weight.detach().clone().requires_grad_(), layer.bias.detach().clone().requires_grad_()
        u, v = (vector.detach() for vector in one_round(weight, layer.u))
        other = x.detach().clone().requires_grad_()
        layer(x).backward(upstream)
        (other @ (weight / (u @ weight @ v)).T + bias).backward(upstream)
        assert_close((layer.weight.grad, layer.bias.grad, x.grad), (weight.grad, bias.grad, other.grad))

    def test_after_many_rounds_it_is_the_largest_singular_value(self):
        layer = a_layer(4, 6)
        for _ in range(500):
            layer(normal(1, 4))
        weight = layer.weight.detach().clone().requires_grad_()
        x, upstream = normal(2, 4), normal(2, 6, seed=1)
        exact = x @ (weight / torch.linalg.matrix_norm(weight, 2)).T + layer.bias.detach()
        found = layer(x)
        assert_close(found.detach(), exact.detach(), rtol=1e-6)
        found.backward(upstream)
        exact.backward(upstream)
        assert_close(layer.weight.grad, weight.grad, rtol=1e-6, atol=1e-6)

    def test_two_calls_and_then_backward(self):
        """As in a GAN: the judge sees real pictures and fakes before it learns."""
        layer = a_layer()
        (layer(normal(2, 3)).sum() + layer(normal(2, 3, seed=1)).square().sum()).backward()
        assert_equal((untouched(layer.weight), layer.u.requires_grad), (False, False))

    @pytest.mark.parametrize(("inputs", "outputs"), [(4, 300), (100, 30)])
    def test_how_it_starts(self, inputs, outputs):
        torch.manual_seed(3)
        layer = SpectralLinear(inputs, outputs)
        assert_equal({name: tuple(p.shape) for name, p in layer.named_parameters()}, {"weight": (outputs, inputs), "bias": (outputs,)})
        assert_equal({name: tuple(b.shape) for name, b in layer.named_buffers()}, {"u": (outputs,)})
        limit = 1 / math.sqrt(inputs)
        largest = [float(p.detach().abs().max()) / limit for p in (layer.weight, layer.bias)]
        # Uniform numbers from -1 to 1; 30 of them all stay below 0.8 with chance 0.001, and the seed is fixed.
        assert_equal([0.7 < value < 1.00001 for value in largest], [True, True])
        # u has positive and negative entries, and length 1.
        assert_close(float(layer.u.norm()), 1.0, atol=1e-5)
        assert_equal((bool((layer.u > 0).any()), bool((layer.u < 0).any())), (True, True))

    def test_another_u_each_time(self):
        torch.manual_seed(3)
        assert_equal(bool((SpectralLinear(2, 4).u == SpectralLinear(2, 4).u).any()), False)

    def test_it_bends_the_slope_of_a_judge(self):
        layer, plain = a_layer(), a_layer()
        for _ in range(100):
            layer(normal(1, 3))
        layer.eval()
        a, b = normal(20, 3), normal(20, 3, seed=1)
        stretch = ((layer(a) - layer(b)).norm(dim=1) / (a - b).norm(dim=1)).max().item()
        before = (((a - b) @ plain.weight.T).norm(dim=1) / (a - b).norm(dim=1)).max().item()
        if not stretch <= 1 + 1e-6 < before:
            fail(f"The layer stretches distances by {stretch:.3f}; at most 1 is right.", evidence=round(stretch, 3))

    def test_on_the_gpu(self, gpu):
        gpu.check(a_layer(), normal(2, 4, 3).requires_grad_())


def players(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    generator = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    return generator, nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def round_by_hand(generator, discriminator, rate_g: float, rate_d: float, real, noise) -> tuple[float, float]:
    """Plain gradient descent with binary cross entropies; changes both."""
    cross_entropy = F.binary_cross_entropy_with_logits
    a, b = discriminator(real), discriminator(generator(noise[0]))
    loss_d = cross_entropy(a, torch.ones_like(a)) + cross_entropy(b, torch.zeros_like(b))
    for p, g in zip(discriminator.parameters(), torch.autograd.grad(loss_d, list(discriminator.parameters())), strict=True):
        p.data -= rate_d * g
    b = discriminator(generator(noise[1]))
    loss_g = cross_entropy(b, torch.ones_like(b))
    for p, g in zip(generator.parameters(), torch.autograd.grad(loss_g, list(generator.parameters())), strict=True):
        p.data -= rate_g * g
    return loss_d.item(), loss_g.item()


def values_of(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


class TestGanStep:
    @pytest.mark.parametrize(("rate_g", "rate_d"), [(0.3, 0.7), (0.9, 0.2)])
    @pytest.mark.parametrize("fakes", [6, 3])
    def test_steps_by_hand(self, rate_g, rate_d, fakes):
        mine, other = players(), players()
        optimizers = [torch.optim.SGD(m.parameters(), lr=r) for m, r in zip(mine, (rate_g, rate_d), strict=True)]
        for step in range(3):
            real, noise = 1 + normal(6, 3, seed=step), normal(2, fakes, 2, seed=10 + step)
            found = gan_step(*mine, *optimizers, real, noise)
            assert_close(tuple(found), round_by_hand(*other, rate_g, rate_d, real, noise))
            for model, expected in zip(mine, other, strict=True):
                assert_close(values_of(model), values_of(expected))

    def test_gradients_from_before_dont_count(self):
        mine, other = players(), players()
        for model in mine:
            for p in model.parameters():
                p.grad = torch.full_like(p, 100.0)
        real, noise = normal(6, 3), normal(2, 6, 2, seed=1)
        gan_step(*mine, *(torch.optim.SGD(m.parameters(), lr=0.5) for m in mine), real, noise)
        round_by_hand(*other, 0.5, 0.5, real, noise)
        for model, expected in zip(mine, other, strict=True):
            assert_close(values_of(model), values_of(expected))

    def test_each_optimizer_steps_once(self):
        class Counting(torch.optim.SGD):
            steps = 0

            def step(self, closure=None):
                self.steps += 1
                return super().step(closure)

        mine = players()
        optimizers = [Counting(m.parameters(), lr=0.1) for m in mine]
        gan_step(*mine, *optimizers, normal(4, 3), normal(2, 4, 2))
        assert_equal([optimizer.steps for optimizer in optimizers], [1, 1])

    def test_returns_floats(self):
        mine = players()
        found = gan_step(*mine, *(torch.optim.SGD(m.parameters(), lr=0.5) for m in mine), normal(4, 3), normal(2, 4, 2))
        assert_equal([type(value) for value in found], [float, float])

    def test_on_the_gpu(self, gpu):
        mine, other = [gpu(m) for m in players()], players()
        real, noise = normal(6, 3), normal(2, 6, 2, seed=1)
        found = gan_step(*mine, *(torch.optim.SGD(m.parameters(), lr=0.5) for m in mine), gpu(real), gpu(noise))
        assert_close(tuple(found), round_by_hand(*other, 0.5, 0.5, real, noise))
        assert_equal({p.device.type for m in mine for p in m.parameters()}, {gpu.device.type})


def score_by_hand(samples: torch.Tensor, centres: torch.Tensor, radius: float) -> tuple[int, float, float]:
    counts = [0] * len(centres)
    for sample in samples.tolist():
        distances = [math.dist(sample, centre) for centre in centres.tolist()]
        if min(distances) <= radius:
            counts[distances.index(min(distances))] += 1
    good = sum(counts)
    shares = [c / good for c in counts if c]
    kl = sum(s * math.log(len(centres) * s) for s in shares) if good else math.log(len(centres))
    return len(shares), good / len(samples), kl


CORNERS = f64([0, 0], [4, 0], [0, 4])


class TestModeScore:
    def test_the_example_worked_by_hand(self):
        found = mode_score(f64([0, 1], [0.5, 0], [4, 0.5], [2, 2]), CORNERS, 1.0)
        assert_close(tuple(found), (2, 0.75, 2 / 3 * math.log(2)))
        assert_equal([type(value) for value in found], [int, float, float])

    @pytest.mark.parametrize("radius", [0.6, 1.4])
    @pytest.mark.parametrize(("n", "modes", "width"), [(50, 6, 2), (30, 3, 3), (7, 9, 1)])
    def test_sample_by_sample(self, n, modes, width, radius):
        samples, centres = normal(n, width), 1.5 * normal(modes, width, seed=1)
        assert_close(tuple(mode_score(samples, centres, radius)), score_by_hand(samples, centres, radius))

    def test_just_on_the_radius_is_good(self):
        assert_close(tuple(mode_score(f64([0, 3], [4, 3.001]), CORNERS, 2.5)), (1, 0.5, math.log(3)))
        assert_close(tuple(mode_score(f64([3, 4], [3, 4.001]), f64([0, 0], [9, 9]), 5.0)), (1, 0.5, math.log(2)))

    def test_of_equally_near_centres_the_first(self):
        samples, centres = f64([0, 0], [0, 1], [0, 2], [5, 0]), f64([1, 0], [-1, 0], [5, 0])
        # Three between the first two, one at the third.
        assert_close(tuple(mode_score(samples, centres, 3.0)), (2, 1.0, 0.75 * math.log(2.25) + 0.25 * math.log(0.75)))

    def test_near_centres_far_from_the_origin(self):
        """Forty centres a hundredth apart near 1000, in single precision."""
        centres = 1000 + torch.arange(40.0)[:, None] / 100
        assert_close(tuple(mode_score(centres[:30] + 0.002, centres, 0.004)), (30, 1.0, math.log(4 / 3)))

    def test_nothing_good_of_four(self):
        centres = f64([0, 0], [1, 0], [0, 1], [1, 1])
        assert_close(tuple(mode_score(f64([9, 9]), centres, 1.0)), (0, 0.0, math.log(4)))

    def test_nothing_good(self):
        assert_close(tuple(mode_score(f64([9, 9], [8, 9]), CORNERS, 1.0)), (0, 0.0, math.log(3)))

    def test_even_and_collapsed(self):
        assert_close(tuple(mode_score(CORNERS.repeat(4, 1), CORNERS, 0.1)), (3, 1.0, 0.0))
        assert_close(tuple(mode_score(CORNERS[[1] * 5], CORNERS, 0.1)), (1, 1.0, math.log(3)))
        two = f64([0, 0], [5, 5])
        assert_close(tuple(mode_score(two[[0] * 3], two, 0.1)), (1, 1.0, math.log(2)))

    def test_single_precision(self):
        samples, centres = normal(40, 2).float(), normal(4, 2, seed=1).float()
        assert_close(tuple(mode_score(samples, centres, 0.7)), score_by_hand(samples, centres, 0.7))

    def test_on_the_gpu(self, gpu):
        samples, centres = normal(30, 2), normal(4, 2, seed=1)
        assert_close(tuple(mode_score(gpu(samples), gpu(centres), 0.7)), score_by_hand(samples, centres, 0.7))


class TestFeatureGaussian:
    def test_the_example_worked_by_hand(self):
        assert_close(tuple(feature_gaussian(f64([0, 0], [2, 4]))), (f64(1, 2), f64([2, 4], [4, 8])))

    @pytest.mark.parametrize(("n", "d"), [(2, 3), (9, 4), (30, 1)])
    def test_pair_by_pair(self, n, d):
        x = 3 + normal(n, d)
        columns = x.T.tolist()
        means = [sum(c) / n for c in columns]
        cov = [
            [sum((a - ma) * (b - mb) for a, b in zip(p, q, strict=True)) / (n - 1) for q, mb in zip(columns, means, strict=True)]
            for p, ma in zip(columns, means, strict=True)
        ]
        assert_close(tuple(feature_gaussian(x)), (f64(*means), f64(*cov)))

    def test_features_far_from_0(self):
        """The covariance doesn't depend on where the features lie: no digits are lost."""
        x = normal(20, 3)
        assert_close(feature_gaussian(x + 1e6)[1], feature_gaussian(x)[1], rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("which", [0, 1])
    def test_gradients(self, which):
        assert torch.autograd.gradcheck(lambda x: feature_gaussian(x)[which], (normal(4, 3).requires_grad_(),))

    @pytest.mark.parametrize("n", [0, 1])
    def test_refuses_too_few(self, n):
        with raises(ValueError, n):
            feature_gaussian(normal(n, 3))

    def test_on_the_gpu(self, gpu):
        gpu.check(feature_gaussian, normal(5, 3).requires_grad_())


def covariance(d: int, seed: int, rank: int | None = None) -> torch.Tensor:
    factor = normal(d, rank or d + 2, seed=seed)
    return factor @ factor.T


class TestFrechetDistance:
    def test_the_example_worked_by_hand(self):
        found = frechet_distance(f64(0, 0), torch.diag(f64(4, 1)), f64(3, 4), torch.diag(f64(1, 9)))
        assert_close(found, number(30.0))

    @pytest.mark.parametrize("d", [1, 2, 5])
    def test_matches_scipy(self, d):
        linalg = pytest.importorskip("scipy.linalg")
        a, b, m, n = covariance(d, 1), covariance(d, 2), normal(d), normal(d, seed=3)
        root = linalg.sqrtm((a @ b).numpy())
        expected = float((m - n).square().sum() + a.trace() + b.trace()) - 2 * float(root.real.trace())
        assert_close(frechet_distance(m, a, n, b), number(expected), rtol=1e-6, atol=1e-6)

    def test_turned_in_the_same_way(self):
        """Diagonal covariances in another basis: Σ (√a - √b)² stays."""
        turn, _ = torch.linalg.qr(normal(4, 4))
        a, b = f64(4, 1, 9, 0.25), f64(1, 4, 0.09, 16)
        expected = (a.sqrt() - b.sqrt()).square().sum() + 4
        found = frechet_distance(f64(2, 0, 0, 0), turn @ a.diag() @ turn.T, f64(0, 0, 0, 0), turn @ b.diag() @ turn.T)
        assert_close(found, expected, rtol=1e-6, atol=1e-6)

    def test_of_two_planes_by_hand(self):
        """In two dimensions Tr(M^½) is √(Tr M + 2 √det M)."""
        a, b = f64([2, 1], [1, 3]), f64([5, -2], [-2, 1])
        product = a @ b
        root = math.sqrt(float(product.trace()) + 2 * math.sqrt(float(torch.linalg.det(product))))
        assert_close(frechet_distance(f64(1, 1), a, f64(1, 1), b), number(11 - 2 * root))

    def test_singular_covariances(self):
        """Of rank 1, along u and w: Tr is ‖u‖² + ‖w‖² - 2 |u · w|."""
        u, w = f64(1, 2, 2, 0), f64(0, 3, -4, 1)
        expected = 9 + 26 - 2 * abs(float(u @ w))
        found = frechet_distance(f64(0, 0, 0, 0), torch.outer(u, u), f64(0, 0, 0, 0), torch.outer(w, w))
        # A rounding error of 1e-15 in an eigenvalue 0 is one of 3e-8 in its root.
        assert_close(found, number(expected), atol=1e-5)

    @pytest.mark.parametrize("rank", [2, 5])
    @pytest.mark.parametrize("seed", range(10))
    def test_none_from_itself_and_never_below_0(self, seed, rank):
        a, m = covariance(5, seed, rank), normal(5, seed=seed)
        found = frechet_distance(m, a, m, a)
        assert_close(found, number(0.0), atol=1e-5)  # as above
        if not float(found) >= 0:
            fail(f"The distance is {float(found)}; at least 0 is right.", evidence=bool(found < 0))

    def test_both_ways_the_same(self):
        a, b, m, n = covariance(3, 1), covariance(3, 2), normal(3), normal(3, seed=3)
        assert_close(frechet_distance(m, a, n, b), frechet_distance(n, b, m, a), rtol=1e-6, atol=1e-6)

    def test_on_the_gpu(self, gpu):
        gpu.check(frechet_distance, normal(3), covariance(3, 1), normal(3, seed=3), covariance(3, 2))


CLOUDS = torch.tensor([[1.5 * math.cos(k * math.pi / 4), 1.5 * math.sin(k * math.pi / 4)] for k in range(8)])


def ring(n: int, draws: torch.Generator) -> torch.Tensor:
    return CLOUDS[torch.randint(8, (n,), generator=draws)] + 0.1 * torch.randn(n, 2, generator=draws)


def network(inputs: int, outputs: int) -> nn.Module:
    widths = [inputs, 64, 64, outputs]
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.LeakyReLU(0.2))]
    return nn.Sequential(*layers[:-1])


@pytest.mark.learning
@pytest.mark.deadline(60)  # a second each on a quiet machine
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_a_ring_of_clouds(self, seed):
        """Ten seeds: 8 clouds, a quality of 0.52 to 0.59 against 0.10 to 0.13, a KL of at most 0.07."""
        torch.manual_seed(seed)
        draws = seeded(seed)
        generator, discriminator = network(4, 2), network(2, 1)
        optimizer_g = torch.optim.Adam(generator.parameters(), 0.002, betas=(0.5, 0.9))
        optimizer_d = torch.optim.Adam(discriminator.parameters(), 0.004, betas=(0.5, 0.9))
        for _ in range(450):
            gan_step(generator, discriminator, optimizer_g, optimizer_d, ring(128, draws), torch.randn(2, 128, 4, generator=draws))
        with torch.no_grad():
            drawn = generator(torch.randn(2000, 4, generator=draws))
        modes, quality, kl = mode_score(drawn, CLOUDS, 0.3)
        # One Gaussian with the data's mean and width, as a model that blurs the clouds would draw.
        data = ring(2000, draws)
        blurred = data.mean(0) + data.std(0) * torch.randn(2000, 2, generator=draws)
        _, blind, _ = mode_score(blurred, CLOUDS, 0.3)
        if modes < 8 or quality < 2.5 * blind or kl > 0.3:
            fail(
                f"{modes} of 8 clouds, quality {quality:.2f} against {blind:.2f} of a blurred cloud, KL {kl:.2f}.",
                evidence=(modes, round(quality, 1)),
            )
