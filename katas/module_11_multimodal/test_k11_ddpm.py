"""Judges k11_ddpm against closed-form normal distributions, diffusers' schedulers, and six clouds in the plane."""

import math

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, seeded
from katas.module_11_multimodal.k11_ddpm import (
    add_noise,
    alpha_bars,
    ancestral_sample,
    cosine_betas,
    ddim_sample,
    ddim_step,
    diffusion_loss,
    linear_betas,
    posterior,
    split_prediction,
    to_velocity,
)

pytestmark = [from_scratch("diffusers"), pure()]

INSTALL = "needs the extra `multimodal`: pip install -c constraints.txt -e '.[multimodal]'"


BARS = f64(1, 0.5, 0.25)
"""The example worked by hand."""

LONG = f64(1, 0.9, 0.7, 0.65, 0.3, 0.05)
T2 = torch.tensor([2])


class TestLinearBetas:
    def test_the_example_worked_by_hand(self):
        assert_close(linear_betas(3, 0.1, 0.3), f64(0.1, 0.2, 0.3))

    @pytest.mark.parametrize("steps", [2, 7, 1000])
    def test_one_by_one(self, steps):
        expected = [1e-4 + (0.02 - 1e-4) * i / (steps - 1) for i in range(steps)]
        assert_close(linear_betas(steps), torch.tensor(expected, dtype=F64))


class TestCosineBetas:
    def test_the_example_worked_by_hand(self):
        assert_close(cosine_betas(2, 0.0), f64(0.5, 0.999))

    @pytest.mark.parametrize(("steps", "offset", "limit"), [(5, 0.008, 0.999), (40, 0.008, 0.999), (6, 0.1, 0.8), (1, 0.05, 0.9)])
    def test_one_by_one(self, steps, offset, limit):
        def f(t: int) -> float:
            return math.cos((t / steps + offset) / (1 + offset) * math.pi / 2) ** 2

        expected = [min(1 - f(t) / f(t - 1), limit) for t in range(1, steps + 1)]
        assert_close(cosine_betas(steps, offset, limit), torch.tensor(expected, dtype=F64))

    def test_offset_and_limit_unless_told(self):
        assert_close(cosine_betas(9), cosine_betas(9, 0.008, 0.999))

    @pytest.mark.parametrize("steps", [10, 1000])
    def test_matches_diffusers(self, steps):
        diffusers = pytest.importorskip("diffusers", reason=INSTALL)
        expected = diffusers.DDPMScheduler(steps, beta_schedule="squaredcos_cap_v2").betas
        assert_close(cosine_betas(steps).float(), expected)


class TestAlphaBars:
    def test_the_example_worked_by_hand(self):
        assert_close(alpha_bars(f64(0.5, 0.5)), BARS)

    def test_product_by_product(self):
        betas = f64(0.1, 0.3, 0.05, 0.6)
        expected = [math.prod(1 - b for b in betas.tolist()[:t]) for t in range(5)]
        assert_close(alpha_bars(betas), torch.tensor(expected, dtype=F64))

    def test_in_double_precision(self):
        betas = torch.linspace(1e-4, 0.02, 300, dtype=F64)
        expected = math.exp(math.fsum(math.log1p(-b) for b in betas.tolist()))
        assert_close(alpha_bars(betas)[-1].item(), expected, rtol=1e-12, atol=0)


class TestAddNoise:
    def test_the_example_worked_by_hand(self):
        assert_close(add_noise(f64([2.0]), T2, f64([-1.0]), BARS), f64([1 - math.sqrt(0.75)]))

    @pytest.mark.parametrize("tail", [(), (3,), (2, 3, 4)])
    def test_sample_by_sample(self, tail):
        x0, noise, t = normal(4, *tail), normal(4, *tail, seed=1), torch.tensor([3, 0, 5, 1])
        expected = torch.stack([math.sqrt(LONG[k]) * a + math.sqrt(1 - LONG[k]) * b for a, b, k in zip(x0, noise, t.tolist(), strict=True)])
        assert_close(add_noise(x0, t, noise, LONG), expected)

    def test_is_what_single_steps_do(self):
        """x_t made by T small steps has the same mean and variance."""
        betas, mean, variance = f64(0.1, 0.3, 0.5), 2.0, 0.0
        for beta in betas.tolist():
            mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        t = torch.full((2,), 3)
        found = add_noise(f64([2.0], [2.0]), t, f64([0.0], [1.0]), alpha_bars(betas))
        assert_close(found, f64([mean], [mean + math.sqrt(variance)]))

    def test_little_noise_keeps_its_digits_in_float32(self):
        """1 - ᾱ is 1e-6 here, of which float32 would leave one digit or two."""
        bars = f64(1, 1 - 1e-6)
        found = add_noise(torch.zeros(1, 2), torch.tensor([1]), torch.ones(1, 2), bars)
        assert_close(found, torch.full((1, 2), 1e-3), rtol=1e-6, atol=0)

    def test_keeps_float32(self):
        found = add_noise(normal(2, 3).float(), torch.tensor([1, 4]), normal(2, 3).float(), LONG)
        assert_equal(found.dtype, torch.float32)

    def test_gradients(self):
        t = torch.tensor([2, 4])
        inputs = (normal(2, 3).requires_grad_(), normal(2, 3, seed=1).requires_grad_())
        assert torch.autograd.gradcheck(lambda x, e: add_noise(x, t, e, LONG), inputs)


class TestToVelocity:
    def test_the_example_worked_by_hand(self):
        assert_close(to_velocity(f64([2.0]), T2, f64([-1.0]), BARS), f64([-0.5 - 2 * math.sqrt(0.75)]))

    @pytest.mark.parametrize("tail", [(), (3,), (2, 3, 4)])
    def test_is_the_slope_of_x_along_the_circle(self, tail):
        """x = cos(φ) x₀ + sin(φ) ε; its derivative by φ is v."""
        x0, noise, t = normal(3, *tail), normal(3, *tail, seed=1), torch.tensor([4, 1, 3])
        angle = torch.acos(LONG[t].sqrt()).view(-1, *[1] * len(tail))
        step = 1e-6
        ahead, behind = (torch.cos(a) * x0 + torch.sin(a) * noise for a in (angle + step, angle - step))
        # A central difference is right to about 1e-9.
        assert_close(to_velocity(x0, t, noise, LONG), (ahead - behind) / (2 * step), atol=1e-7, rtol=1e-6)

    def test_gradients(self):
        t = torch.tensor([2, 4])
        inputs = (normal(2, 3).requires_grad_(), normal(2, 3, seed=1).requires_grad_())
        assert torch.autograd.gradcheck(lambda x, e: to_velocity(x, t, e, LONG), inputs)


class TestSplitPrediction:
    def test_the_example_worked_by_hand(self):
        x, v = f64([1 - math.sqrt(0.75)]), f64([-0.5 - 2 * math.sqrt(0.75)])
        assert_close(split_prediction(v, x, T2, BARS, "velocity"), (f64([2.0]), f64([-1.0])))
        assert_close(split_prediction(f64([-1.0]), x, T2, BARS, "noise"), (f64([2.0]), f64([-1.0])))

    @pytest.mark.parametrize("kind", ["noise", "velocity"])
    @pytest.mark.parametrize("tail", [(), (3,), (2, 3, 4)])
    def test_there_and_back(self, tail, kind):
        x0, noise, t = 3 * normal(4, *tail), normal(4, *tail, seed=1), torch.tensor([3, 2, 5, 1])
        output = noise if kind == "noise" else to_velocity(x0, t, noise, LONG)
        assert_close(split_prediction(output, add_noise(x0, t, noise, LONG), t, LONG, kind), (x0, noise))

    def test_noise_unless_told(self):
        x, output, t = normal(2, 3), normal(2, 3, seed=1), torch.tensor([1, 4])
        assert_close(split_prediction(output, x, t, LONG), split_prediction(output, x, t, LONG, "noise"))

    @pytest.mark.parametrize("kind", ["noise", "velocity"])
    def test_gradients(self, kind):
        t = torch.tensor([2, 4])
        inputs = (normal(2, 3).requires_grad_(), normal(2, 3, seed=1).requires_grad_())
        assert torch.autograd.gradcheck(lambda o, x: split_prediction(o, x, t, LONG, kind), inputs)

    def test_refuses_another_kind(self):
        with raises(ValueError, "sample"):
            split_prediction(normal(1, 2), normal(1, 2), T2, BARS, "sample")


class TestDiffusionLoss:
    @pytest.mark.parametrize("kind", ["noise", "velocity"])
    @pytest.mark.parametrize("tail", [(3,), (2, 4)])
    def test_written_out(self, tail, kind):
        x0, noise, t = normal(4, *tail), normal(4, *tail, seed=1), torch.tensor([3, 2, 5, 1])
        weight = torch.tensor(0.7, dtype=F64, requires_grad=True)
        seen = []

        def model(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            seen.append((x.detach().clone(), time.clone()))
            return weight * x.tanh() + time.view(-1, *[1] * len(tail)) / 10

        found = diffusion_loss(model, x0, t, noise, LONG, kind)
        found.backward()
        a, b = (one.view(-1, *[1] * len(tail)) for one in (LONG[t].sqrt(), (1 - LONG[t]).sqrt()))
        x = a * x0 + b * noise
        error = 0.7 * x.tanh() + t.view(a.shape) / 10 - (noise if kind == "noise" else a * noise - b * x0)
        assert_close(found.detach(), (error**2).sum() / error.numel())
        assert_close(weight.grad, (2 * error * x.tanh()).mean())
        assert_close(seen, [(x, t)])

    def test_noise_unless_told(self):
        x0, noise, t = normal(4, 3), normal(4, 3, seed=1), torch.tensor([3, 2, 5, 1])
        found = diffusion_loss(lambda x, t: torch.zeros_like(x), x0, t, noise, LONG)
        assert_close(found, noise.square().mean())

    def test_refuses_another_kind(self):
        with raises(ValueError, "sample"):
            diffusion_loss(lambda x, t: x, normal(1, 2), T2, normal(1, 2), BARS, "sample")


class TestPosterior:
    def test_the_example_worked_by_hand(self):
        found = posterior(f64([2.0]), f64([1.0]), T2, BARS)
        assert_close(found, (f64([math.sqrt(2)]), f64([1 / 3])))

    @pytest.mark.parametrize("tail", [(), (3,), (2, 3, 4)])
    def test_is_bayes_rule(self, tail):
        """q(x_{t-1} | x₀) times q(x_t | x_{t-1}) is a product of two normal densities in x_{t-1}."""
        x0, x, t = normal(4, *tail), normal(4, *tail, seed=1), torch.tensor([3, 2, 5, 4])
        shape = (-1, *[1] * len(tail))
        keep = (LONG[t] / LONG[t - 1]).view(shape)
        before = LONG[t - 1].view(shape)
        precision = 1 / (1 - before) + keep / (1 - keep)
        mean = (before.sqrt() * x0 / (1 - before) + keep.sqrt() * x / (1 - keep)) / precision
        assert_close(posterior(x0, x, t, LONG), (mean, 1 / precision))

    def test_the_last_step_is_certain(self):
        x0, x = normal(2, 3), normal(2, 3, seed=1)
        assert_close(posterior(x0, x, torch.tensor([1, 1]), LONG), (x0, torch.zeros(2, 1, dtype=F64)))

    def test_keeps_float32(self):
        mean, variance = posterior(normal(2, 3).float(), normal(2, 3).float(), torch.tensor([1, 4]), LONG)
        assert_equal((mean.dtype, variance.dtype), (torch.float32, torch.float32))

    def test_gradients(self):
        t = torch.tensor([2, 4])
        inputs = (normal(2, 3).requires_grad_(), normal(2, 3, seed=1).requires_grad_())
        assert torch.autograd.gradcheck(lambda a, b: posterior(a, b, t, LONG)[0], inputs)


class Exact:
    """What the best possible model says where the data are normal: mean m, standard deviation s."""

    def __init__(self, bars: torch.Tensor, m: float, s: float, kind: str) -> None:
        self.bars, self.m, self.s, self.kind = bars, m, s, kind
        self.times: list[list[int]] = []

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        self.times.append(t.tolist())
        bar = self.bars[t].to(x).view(-1, *[1] * (x.ndim - 1))
        noise = (1 - bar).sqrt() * (x - bar.sqrt() * self.m) / (bar * self.s**2 + 1 - bar)
        if self.kind == "noise":
            return noise
        return bar.sqrt() * noise - (1 - bar).sqrt() * (x - (1 - bar).sqrt() * noise) / bar.sqrt()


def chain(bars: torch.Tensor, m: float, s: float) -> tuple[float, float]:
    """Mean and variance of ancestral samples with the exact model, from standard normal starts."""
    mean, variance = 0.0, 1.0
    for t in range(len(bars) - 1, 0, -1):
        bar, before = bars[t].item(), bars[t - 1].item()
        keep = bar / before
        spread = bar * s * s + 1 - bar
        # x₀'s best guess is m + slope · (x - √ᾱ m).
        slope = math.sqrt(bar) * s * s / spread
        a = math.sqrt(before) * (1 - keep) / (1 - bar)
        b = math.sqrt(keep) * (1 - before) / (1 - bar)
        mean = a * (m + slope * (mean - math.sqrt(bar) * m)) + b * mean
        variance = (a * slope + b) ** 2 * variance + (1 - keep) * (1 - before) / (1 - bar)
    return mean, variance


class TestAncestralSample:
    @pytest.mark.parametrize("kind", ["noise", "velocity"])
    @pytest.mark.parametrize(("m", "s"), [(1.5, 0.5), (-2.0, 1.5)])
    def test_normal_data_in_closed_form(self, m, s, kind):
        start = normal(20000, 2, seed=4)
        found = ancestral_sample(Exact(LONG, m, s, kind), start, LONG, seeded(7), kind)
        mean, variance = chain(LONG, m, s)
        # 40,000 numbers: the standard errors are 0.005 and 0.7 %.
        assert_close(found.mean().item(), mean, atol=0.04, rtol=0)
        assert_close(found.var().item(), variance, atol=0, rtol=0.05)

    def test_every_time_once_and_downwards(self):
        model = Exact(LONG, 1.0, 0.5, "noise")
        ancestral_sample(model, normal(3, 2), LONG, seeded(0))
        assert_equal(model.times, [[t] * 3 for t in (5, 4, 3, 2, 1)])

    def test_the_last_step_adds_no_noise(self):
        """With one step in all, the result is the x₀ that the model stands for."""
        bars, start = f64(1, 0.2), normal(4, 3)
        found = ancestral_sample(lambda x, t: 0.5 * x, start, bars, seeded(1))
        assert_close(found, start * (1 - 0.5 * math.sqrt(0.8)) / math.sqrt(0.2))

    def test_the_generator_decides(self):
        model, start = Exact(LONG, 1.0, 0.5, "noise"), normal(5, 2)
        torch.manual_seed(1)
        first = ancestral_sample(model, start, LONG, seeded(2))
        torch.manual_seed(2)
        assert_close(ancestral_sample(model, start, LONG, seeded(2)), first)
        assert_equal(bool((ancestral_sample(model, start, LONG, seeded(3)) != first).all()), True)

    @pytest.mark.parametrize("tail", [(), (2, 3, 4)])
    def test_float32_of_any_shape(self, tail):
        found = ancestral_sample(Exact(LONG, 0.0, 1.0, "noise"), normal(5, *tail).float(), LONG, seeded(2))
        assert_equal((found.dtype, tuple(found.shape)), (torch.float32, (5, *tail)))


class TestDdimStep:
    def test_the_example_worked_by_hand(self):
        one, x0, noise = torch.tensor([1]), f64([2.0]), f64([-1.0])
        assert_close(ddim_step(x0, noise, T2, one, BARS), f64([math.sqrt(0.5)]))
        expected = 2 * math.sqrt(0.5) - math.sqrt(1 / 6)
        assert_close(ddim_step(x0, noise, T2, one, BARS, 1.0), f64([expected]))
        assert_close(ddim_step(x0, noise, T2, one, BARS, 1.0, f64([3.0])), f64([expected + 3 * math.sqrt(1 / 3)]))

    @pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
    @pytest.mark.parametrize("tail", [(), (3,), (2, 3, 4)])
    def test_sample_by_sample(self, tail, eta):
        x0, noise, fresh = (normal(4, *tail, seed=s) for s in range(3))
        t, to = torch.tensor([5, 5, 3, 1]), torch.tensor([4, 1, 2, 0])
        rows = []
        for i, (a, b) in enumerate(zip(LONG[t].tolist(), LONG[to].tolist(), strict=True)):
            sigma = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
            rows.append(math.sqrt(b) * x0[i] + math.sqrt(1 - b - sigma**2) * noise[i] + sigma * fresh[i])
        assert_close(ddim_step(x0, noise, t, to, LONG, eta, fresh), torch.stack(rows))

    def test_eta_1_is_the_posterior(self):
        x0, noise, fresh = (normal(4, 3, seed=s) for s in range(3))
        t = torch.tensor([5, 4, 3, 2])
        mean, variance = posterior(x0, add_noise(x0, t, noise, LONG), t, LONG)
        assert_close(ddim_step(x0, noise, t, t - 1, LONG, 1.0, fresh), mean + variance.sqrt() * fresh)

    @pytest.mark.parametrize("eta", [0.3, 1.0])
    def test_the_marginals_stay(self, eta):
        """The noise in x_u has variance 1 - ᾱ_u again, whatever η is."""
        t, to = torch.tensor([5]), torch.tensor([2])
        zero, one = f64([0.0]), f64([1.0])
        parts = ddim_step(zero, one, t, to, LONG, eta), ddim_step(zero, zero, t, to, LONG, eta, one)
        assert_close(parts[0] ** 2 + parts[1] ** 2, f64([1 - LONG[2].item()]))

    def test_to_time_0_gives_x0(self):
        x0, noise, t = normal(2, 3), normal(2, 3, seed=1), torch.tensor([4, 1])
        assert_close(ddim_step(x0, noise, t, torch.zeros_like(t), LONG, 1.0, noise), x0)

    def test_gradients(self):
        t, to = torch.tensor([5, 4]), torch.tensor([2, 1])
        inputs = [normal(2, 3, seed=s).requires_grad_() for s in range(3)]
        assert torch.autograd.gradcheck(lambda a, b, c: ddim_step(a, b, t, to, LONG, 0.6, c), inputs)


class TestDdimSample:
    @pytest.mark.parametrize("kind", ["noise", "velocity"])
    @pytest.mark.parametrize("times", [[5, 4, 3, 2, 1], [5, 2], [4], [3, 1]])
    def test_normal_data_in_closed_form(self, times, kind):
        """A deterministic chain: each step maps x to a line in x."""
        m, s, start = 1.5, 0.5, normal(4, 3)
        expected = start
        for t, to in zip(times, [*times[1:], 0], strict=True):
            bar, after = LONG[t].item(), LONG[to].item()
            noise = math.sqrt(1 - bar) * (expected - math.sqrt(bar) * m) / (bar * s * s + 1 - bar)
            x0 = (expected - math.sqrt(1 - bar) * noise) / math.sqrt(bar)
            expected = math.sqrt(after) * x0 + math.sqrt(1 - after) * noise
        model = Exact(LONG, m, s, kind)
        assert_close(ddim_sample(model, start, LONG, times, kind), expected)
        assert_equal(model.times, [[t] * 4 for t in times])

    def test_the_start_decides(self):
        model, start = Exact(LONG, 1.0, 0.5, "noise"), normal(5, 2)
        first = ddim_sample(model, start, LONG, [5, 3, 1])
        torch.manual_seed(9)
        assert_close(ddim_sample(model, start, LONG, [5, 3, 1]), first)

    def test_matches_diffusers(self):
        diffusers = pytest.importorskip("diffusers", reason=INSTALL)
        scheduler = diffusers.DDIMScheduler(20, trained_betas=linear_betas(20, 0.01, 0.3).float().numpy(), clip_sample=False)
        scheduler.set_timesteps(5)
        bars, x = alpha_bars(linear_betas(20, 0.01, 0.3)), normal(3, 2).float()
        # Their time 0 is the first noisy one, which is 1 here; their last step leads to ᾱ of 1, too.
        found = ddim_sample(lambda x, t: torch.tanh(x), x, bars, [t + 1 for t in scheduler.timesteps.tolist()])
        for t in scheduler.timesteps:
            x = scheduler.step(torch.tanh(x), t, x).prev_sample
        # Their tables are float32.
        assert_close(found, x, atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("tail", [(), (2, 3, 4)])
    def test_float32_of_any_shape(self, tail):
        found = ddim_sample(Exact(LONG, 0.0, 1.0, "noise"), normal(5, *tail).float(), LONG, [5, 2])
        assert_equal((found.dtype, tuple(found.shape)), (torch.float32, (5, *tail)))


CENTRES = torch.tensor([[2 * math.cos(k * math.pi / 3), 2 * math.sin(k * math.pi / 3)] for k in range(6)])


def clouds(n: int, generator: torch.Generator) -> torch.Tensor:
    return CENTRES[torch.randint(6, (n,), generator=generator)] + 0.1 * torch.randn(n, 2, generator=generator)


class Net(nn.Module):
    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.net = nn.Sequential(nn.Linear(10, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        angles = t[:, None] / self.steps * math.pi * torch.tensor([0.5, 1, 2, 4])
        return self.net(torch.cat([x, angles.sin(), angles.cos()], 1))


@pytest.mark.learning
@pytest.mark.deadline(60)  # a second each on a quiet machine
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_draws_six_clouds(self, seed):
        torch.manual_seed(seed)
        generator, bars = seeded(seed), alpha_bars(cosine_betas(50))
        model = Net(50)
        optimizer = torch.optim.Adam(model.parameters(), 0.003)
        for _ in range(500):
            x, t = clouds(256, generator), torch.randint(1, 51, (256,), generator=generator)
            loss = diffusion_loss(model, x, t, torch.randn(256, 2, generator=generator), bars, "velocity")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        data, start = clouds(1000, generator), torch.randn(1000, 2, generator=generator)
        # The baseline: the one normal distribution that fits the data best.
        fitted = data.mean(0) + torch.randn(1000, 2, generator=generator) @ torch.linalg.cholesky(data.T.cov()).T
        with torch.no_grad():
            drawn = {
                "DDPM": ancestral_sample(model, start, bars, generator, "velocity"),
                "DDIM": ddim_sample(model, start, bars, list(range(50, 0, -5)), "velocity"),
            }
        away = {name: torch.cdist(one, CENTRES).amin(1).mean().item() for name, one in (drawn | {"fitted": fitted}).items()}
        shares = {name: torch.cdist(one, CENTRES).argmin(1).bincount(minlength=6).min().item() for name, one in drawn.items()}
        # Five seeds: 0.41 to 0.51 from the nearest centre, against 0.99 to 1.01.
        for name in drawn:
            if away[name] > 0.7 * away["fitted"] or shares[name] < 40:
                fail(
                    f"{name} draws {away[name]:.2f} from the nearest centre, a fitted normal {away['fitted']:.2f}; "
                    f"the rarest of six clouds has {shares[name]} of 1000.",
                    evidence=(name, round(away[name], 1)),
                )


class TestOnTheGpu:
    def test_noise_and_velocity(self, gpu):
        x0, noise, t = normal(3, 2).requires_grad_(), normal(3, 2, seed=1), torch.tensor([1, 5, 3])
        gpu.check(alpha_bars, f64(0.1, 0.2))
        gpu.check(add_noise, x0, t, noise, LONG)
        gpu.check(to_velocity, x0, t, noise, LONG)
        gpu.check(lambda a, x, t, bars: split_prediction(a, x, t, bars, "velocity"), x0, noise, t, LONG)
        gpu.check(lambda x, t, e, bars: diffusion_loss(lambda x, t: x.tanh(), x, t, e, bars, "velocity"), x0, t, noise, LONG)

    def test_steps_back(self, gpu):
        x0, noise, t = normal(3, 2).requires_grad_(), normal(3, 2, seed=1), torch.tensor([1, 5, 3])
        gpu.check(posterior, x0, noise, t, LONG)
        gpu.check(lambda x, e, t, bars: ddim_step(x, e, t, t - 1, bars, 0.5, e), x0, noise, t, LONG)

    def test_samplers(self, gpu):
        start = normal(3, 2)
        gpu.check(lambda x, bars: ancestral_sample(lambda x, t: x.tanh() / t.reshape(-1, *[1] * (x.ndim - 1)), x, bars, seeded(1)), start, LONG)
        gpu.check(lambda x, bars: ddim_sample(lambda x, t: x.tanh() / t.reshape(-1, *[1] * (x.ndim - 1)), x, bars, [5, 2]), start, LONG)
