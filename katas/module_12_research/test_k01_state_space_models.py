"""Judges k01_state_space_models by scipy's discretisations, by plain loops, and by HiPPO's defining integral."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal
from katas.module_12_research.k01_state_space_models import (
    S4D,
    causal_convolution,
    diagonal_kernel,
    discretize,
    hippo_legs,
    hippo_memory,
    read_out,
    run_recurrence,
    s4d_lin,
    ssm_kernel,
)

pytestmark = [from_scratch("scipy", "torchaudio", "torch.nn.functional.conv1d", "torch.conv1d"), pure()]


def complex_normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.complex(normal(*shape, seed=seed), normal(*shape, seed=seed + 50))


def a_system(n: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A (n, n) whose state doesn't grow, B and C."""
    a = normal(n, n, seed=seed)
    return a - 3 * torch.eye(n, dtype=F64), normal(n, seed=seed + 1), normal(n, seed=seed + 2)


class TestDiscretize:
    def test_the_example_worked_by_hand(self):
        one, b = f64([-1.0]), f64(1.0)
        assert_close(discretize(one, b, 1.0, "zoh"), (f64([math.exp(-1)]), f64(1 - math.exp(-1))))
        assert_close(discretize(0 * one, b, 0.5, "zoh"), (f64([1.0]), f64(0.5)))
        assert_close(discretize(one, b, 1.0, "bilinear"), (f64([1 / 3]), f64(2 / 3)))

    @pytest.mark.parametrize("step", [0.1, 0.7])
    @pytest.mark.parametrize("method", ["zoh", "bilinear"])
    @pytest.mark.parametrize("n", [1, 3, 5])
    def test_matches_scipy(self, n, method, step):
        signal = pytest.importorskip("scipy.signal")
        a, b, _ = a_system(n)
        a_bar, b_bar, *_ = signal.cont2discrete((a.numpy(), b.numpy()[:, None], np.eye(n), np.zeros((n, 1))), step, method)
        assert_close(discretize(a, b, step, method), (torch.from_numpy(a_bar), torch.from_numpy(b_bar[:, 0])))

    def test_zoh_unless_told(self):
        a, b, _ = a_system()
        assert_close(discretize(a, b, 0.3), discretize(a, b, 0.3, "zoh"))

    def test_zoh_of_a_singular_matrix(self):
        """Two integrators in a row: position and speed under a force."""
        a, b = f64([0, 1], [0, 0]), f64(0, 1)
        assert_close(discretize(a, b, 0.6), (f64([1, 0.6], [0, 1]), f64(0.18, 0.6)))

    def test_zoh_is_exact_for_a_constant_signal(self):
        """Two half steps give what a whole one gives."""
        a, b, _ = a_system()
        (half, push), (whole, once) = discretize(a, b, 0.2), discretize(a, b, 0.4)
        assert_close((half @ half, half @ push + push), (whole, once))

    @pytest.mark.parametrize("method", ["zoh", "bilinear"])
    def test_gradients(self, method):
        a, b, _ = a_system()
        assert torch.autograd.gradcheck(lambda a, b: discretize(a, b, 0.3, method), (a.requires_grad_(), b.requires_grad_()))

    @pytest.mark.parametrize("method", ["euler", "ZOH"])
    def test_refuses_another_method(self, method):
        a, b, _ = a_system()
        with raises(ValueError, method):
            discretize(a, b, 0.3, method)

    @pytest.mark.parametrize("method", ["zoh", "bilinear"])
    def test_on_the_gpu(self, gpu, method):
        a, b, _ = a_system()
        gpu.check(lambda a, b: discretize(a, b, 0.3, method), a.requires_grad_(), b.requires_grad_())


HAND = f64([0.5]), f64(1.0), f64(2.0)


class TestRunRecurrence:
    def test_the_example_worked_by_hand(self):
        y, x = run_recurrence(*HAND, 1.0, f64(1, 0, 2))
        assert_close((y, x), (f64(3, 1, 6.5), f64(2.25)))

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    @pytest.mark.parametrize("d", [0.0, -0.7])
    def test_sample_by_sample(self, lead, d):
        (a, b, c), u = a_system(), normal(*lead, 6, seed=5)
        a, rows, states = a / 5, [], []
        for signal in u.reshape(-1, 6).tolist():
            x, row = [0.0] * 3, []
            for sample in signal:
                x = [sum(a[i, j].item() * x[j] for j in range(3)) + b[i].item() * sample for i in range(3)]
                row.append(sum(c[i].item() * x[i] for i in range(3)) + d * sample)
            rows.append(row)
            states.append(x)
        y, x = run_recurrence(a, b, c, d, u)
        assert_close((y, x), (f64(*rows).reshape(*lead, 6), f64(*states).reshape(*lead, 3)))

    def test_goes_on_where_it_stopped(self):
        (a, b, c), u = a_system(), normal(2, 9, seed=5)
        a_bar, b_bar = discretize(a, b, 0.2)
        whole, last = run_recurrence(a_bar, b_bar, c, 0.3, u)
        first, middle = run_recurrence(a_bar, b_bar, c, 0.3, u[:, :4])
        second, end = run_recurrence(a_bar, b_bar, c, 0.3, u[:, 4:], middle)
        assert_close((torch.cat([first, second], 1), end), (whole, last))

    def test_gradients(self):
        (a, b, c), u, start = a_system(), normal(2, 4, seed=5), normal(2, 3, seed=6)
        inputs = [x.requires_grad_() for x in (a / 5, b, c, u, start)]
        assert torch.autograd.gradcheck(lambda a, b, c, u, start: run_recurrence(a, b, c, 0.3, u, start), inputs)

    def test_on_the_gpu(self, gpu):
        (a, b, c), u = a_system(), normal(2, 4, seed=5)
        gpu.check(lambda *x: run_recurrence(*x[:3], 0.3, x[3]), *(x.requires_grad_() for x in (a / 5, b, c, u)))


class TestSsmKernel:
    def test_the_example_worked_by_hand(self):
        assert_close(ssm_kernel(*HAND, 3), f64(2, 1, 0.5))

    @pytest.mark.parametrize("length", [1, 2, 7])
    def test_power_by_power(self, length):
        a, b, c = a_system()
        a = a / 5
        expected = [c @ torch.linalg.matrix_power(a, i) @ b for i in range(length)]
        assert_close(ssm_kernel(a, b, c, length), torch.stack(expected))

    def test_a_matrix_without_enough_eigenvectors(self):
        """A Jordan block: its powers hold binomials, and no basis makes it diagonal."""
        a = f64([0.5, 1, 0], [0, 0.5, 1], [0, 0, 0.5])
        expected = [math.comb(i, 2) * 0.5 ** (i - 2) if i > 1 else 0.0 for i in range(8)]
        assert_close(ssm_kernel(a, f64(0, 0, 1), f64(1, 0, 0), 8), f64(*expected))

    def test_gradients(self):
        inputs = [x.requires_grad_() for x in a_system()]
        assert torch.autograd.gradcheck(lambda a, b, c: ssm_kernel(a / 5, b, c, 4), inputs)

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda a, b, c: ssm_kernel(a / 5, b, c, 4), *(x.requires_grad_() for x in a_system()))


class TestCausalConvolution:
    @pytest.mark.parametrize("length", [1, 2, 5, 8])
    @pytest.mark.parametrize(("u", "k"), [((), ()), ((2, 3), ()), ((2, 3), (3,)), ((3,), (2, 3))])
    def test_sum_by_sum(self, u, k, length):
        x, kernel = normal(*u, length), normal(*k, length, seed=1)
        lead = torch.broadcast_shapes(u, k)
        x_all, kernels = x.expand(*lead, length), kernel.expand(*lead, length)
        expected = [sum(kernels[..., i] * x_all[..., t - i] for i in range(t + 1)) for t in range(length)]
        assert_close(causal_convolution(x, kernel), torch.stack(expected, -1))

    def test_the_example_worked_by_hand(self):
        assert_close(causal_convolution(f64(1, 0, 2), f64(2, 1, 0.5)), f64(2, 1, 4.5))

    @pytest.mark.parametrize("step", [0.05, 0.5])
    def test_recurrence_and_convolution_are_one(self, step):
        (a, b, c), u = a_system(4), normal(3, 50, seed=5)
        a_bar, b_bar = discretize(a, b, step)
        found = causal_convolution(u, ssm_kernel(a_bar, b_bar, c, 50)) + 0.4 * u
        assert_close(found, run_recurrence(a_bar, b_bar, c, 0.4, u)[0], atol=1e-10, rtol=0)

    @pytest.mark.deadline(10)
    def test_a_long_signal(self):
        """By sums this would be 10^10 products."""
        u, kernel = normal(100_000), normal(100_000, seed=1)
        found = causal_convolution(u, kernel)
        for t in (0, 777, 99_999):
            assert_close(found[t], (kernel[: t + 1] * u[: t + 1].flip(0)).sum(), atol=1e-8, rtol=1e-8)

    @pytest.mark.parametrize(("one", "other"), [(5, 4), (3, 8)])
    def test_refuses_other_lengths(self, one, other):
        with raises(ValueError, one, other):
            causal_convolution(normal(2, one), normal(other))

    def test_gradients_and_single_precision(self):
        u, kernel = normal(2, 5), normal(5, seed=1)
        assert_close(causal_convolution(u.float(), kernel.float()), causal_convolution(u, kernel).float())
        assert torch.autograd.gradcheck(causal_convolution, (u.requires_grad_(), kernel.requires_grad_()))

    def test_on_the_gpu(self, gpu):
        gpu.check(causal_convolution, normal(2, 5).requires_grad_(), normal(5, seed=1).requires_grad_())


def legendre(n: int, s: np.ndarray) -> np.ndarray:
    """√(2n+1) P_n(2s - 1) by numpy."""
    return math.sqrt(2 * n + 1) * np.polynomial.legendre.Legendre.basis(n)(2 * np.asarray(s) - 1)


def coefficients(f, t: float, n: int) -> np.ndarray:
    """The defining integral: c_i(t) = 1/t ∫₀ᵗ f(s) √(2i+1) P_i(2s/t - 1) ds, by Gauss's rule."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    s = (nodes + 1) / 2
    return np.array([(weights / 2 * f(t * s) * legendre(i, s)).sum() for i in range(n)])


class TestHippoLegs:
    def test_the_example_worked_by_hand(self):
        assert_close(hippo_legs(2), (f64([-1, 0], [-math.sqrt(3), -2]), f64(1, math.sqrt(3))))

    @pytest.mark.parametrize("n", [1, 4, 9])
    def test_number_by_number(self, n):
        a = [
            [-math.sqrt((2 * i + 1) * (2 * k + 1)) if i > k else -(i + 1.0) if i == k else 0.0 for k in range(n)]
            for i in range(n)
        ]
        assert_close(hippo_legs(n), (f64(*a), f64(*(math.sqrt(2 * i + 1) for i in range(n)))))

    @pytest.mark.parametrize("t", [0.7, 3.0])
    def test_moves_as_the_defining_integral_moves(self, t):
        """c' = (A c + B f) / t, where the c are integrals over the past and c' their change."""

        def f(s):
            return np.sin(1.3 * s) + 0.2 * s**2

        a, b = (part.numpy() for part in hippo_legs(6))
        change = (coefficients(f, t + 1e-4, 6) - coefficients(f, t - 1e-4, 6)) / 2e-4
        assert_close((a @ coefficients(f, t, 6) + b * f(t)) / t, change, atol=1e-6, rtol=1e-6)

    @pytest.mark.parametrize("n", [0, -2])
    def test_refuses_none(self, n):
        with raises(ValueError, n):
            hippo_legs(n)


class TestHippoMemory:
    def test_the_example_worked_by_hand(self):
        assert_close(hippo_memory(f64(2), 1), f64(1))
        assert_close(hippo_memory(f64(2, 4), 1), f64(2))

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    @pytest.mark.parametrize("n", [1, 4])
    def test_row_by_row(self, n, lead):
        """A is lower triangular, so the equations are solved from the top."""
        u = normal(*lead, 7)
        expected = []
        for signal in u.reshape(-1, 7).tolist():
            c = [0.0] * n
            for k, sample in enumerate(signal, 1):
                new = []
                for i in range(n):
                    right = c[i] + math.sqrt(2 * i + 1) * sample / k
                    right -= sum(math.sqrt((2 * i + 1) * (2 * j + 1)) / k * new[j] for j in range(i))
                    new.append(right / (1 + (i + 1) / k))
                c = new
            expected.append(c)
        assert_close(hippo_memory(u, n), f64(*expected).reshape(*lead, n))

    def test_no_samples(self):
        assert_close(hippo_memory(torch.zeros(2, 0, dtype=F64), 3), torch.zeros(2, 3, dtype=F64))

    def test_comes_near_the_defining_integral(self):
        """The more samples, the nearer: the error falls like 1 / L."""

        def f(s):
            return np.cos(4 * s) - s

        expected = torch.from_numpy(coefficients(f, 1.0, 5))
        errors = []
        for length in (250, 1000):
            u = torch.from_numpy(f((np.arange(length) + 1) / length))
            errors.append((hippo_memory(u, 5) - expected).abs().max().item())
        if errors[1] > 0.02 or errors[1] > errors[0] / 2:
            fail(f"Off by {errors[0]:.3f} after 250 samples, and by {errors[1]:.3f} after 1000.", evidence=round(errors[1], 2))

    def test_gradients(self):
        assert torch.autograd.gradcheck(lambda u: hippo_memory(u, 3), normal(2, 4).requires_grad_())

    def test_keeps_float32(self):
        assert_close(hippo_memory(normal(2, 6).float(), 3), hippo_memory(normal(2, 6), 3).float(), atol=1e-5, rtol=1e-4)

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda u: hippo_memory(u, 3), normal(2, 4).requires_grad_())


class TestReadOut:
    def test_the_example_worked_by_hand(self):
        assert_close(read_out(f64(2, 1), f64(0, 1)), f64(2 - math.sqrt(3), 2 + math.sqrt(3)))

    @pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
    @pytest.mark.parametrize("n", [1, 2, 6])
    def test_matches_numpys_legendre(self, n, lead):
        c, places = normal(*lead, n), f64(0, 0.1, 0.35, 0.8, 1)
        expected = sum(c[..., i, None] * torch.from_numpy(legendre(i, places.numpy())) for i in range(n))
        assert_close(read_out(c, places), expected)

    def test_reads_what_was_heard(self):
        """A wave of 2000 samples comes back from 24 numbers."""
        s = (torch.arange(2000, dtype=F64) + 1) / 2000
        u = (9 * s).sin() + s
        found = read_out(hippo_memory(u, 24), s)
        # At the beginning, where few samples stand for much time, it is off the most.
        assert_close(found[200:], u[200:], atol=0.1, rtol=0)

    def test_gradients(self):
        assert torch.autograd.gradcheck(read_out, (normal(2, 4).requires_grad_(), f64(0.2, 0.7).requires_grad_()))

    def test_on_the_gpu(self, gpu):
        gpu.check(read_out, normal(2, 4).requires_grad_(), f64(0.2, 0.7))


class TestS4dLin:
    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_number_by_number(self, n):
        expected = torch.tensor([complex(-0.5, math.pi * i) for i in range(n)], dtype=torch.complex128)
        assert_close(s4d_lin(n), expected)


def diagonal_by_loops(a, c, step, length: int) -> list[list[float]]:
    rows = []
    for h in range(len(a)):
        dt, row = step[h].item(), []
        for i in range(length):
            total = 0j
            for one, weight in zip(a[h].tolist(), c[h].tolist(), strict=True):
                total += weight * (np.exp(dt * one) - 1) / one * np.exp(dt * one) ** i
            row.append(2 * total.real)
        rows.append(row)
    return rows


def decaying(h: int, n: int, seed: int = 0) -> torch.Tensor:
    return torch.complex(-normal(h, n, seed=seed).abs() - 0.1, 3 * normal(h, n, seed=seed + 1))


STEPS = f64(0.1, 0.4, 0.05)


class TestDiagonalKernel:
    @pytest.mark.parametrize("length", [1, 6])
    @pytest.mark.parametrize("n", [1, 4])
    def test_number_by_number(self, n, length):
        a, c = decaying(3, n), complex_normal(3, n, seed=2)
        assert_close(diagonal_kernel(a, c, STEPS, length), f64(*diagonal_by_loops(a, c, STEPS, length)))

    def test_is_the_kernel_of_a_real_system_of_twice_the_size(self):
        """A wave and its conjugate are a rotation with decay."""
        a, c, step = torch.tensor([[-0.3 + 2j]], dtype=torch.complex128), torch.tensor([[0.7 - 0.4j]], dtype=torch.complex128), 0.2
        # In the basis of real and imaginary part: z' = a z + u, y = 2 Re(c z).
        real = f64([-0.3, -2], [2, -0.3])
        a_bar, b_bar = discretize(real, f64(1, 0), step)
        expected = ssm_kernel(a_bar, b_bar, 2 * f64(0.7, 0.4), 9)
        assert_close(diagonal_kernel(a, c, f64(step), 9)[0], expected)

    def test_gradients(self):
        inputs = (decaying(3, 2).requires_grad_(), complex_normal(3, 2, seed=2).requires_grad_(), STEPS.clone().requires_grad_())
        assert torch.autograd.gradcheck(lambda a, c, step: diagonal_kernel(a, c, step, 4), inputs)

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda a, c, step: diagonal_kernel(a, c, step, 4), decaying(3, 2), complex_normal(3, 2, seed=2), STEPS)


def stirred(channels: int = 3, n: int = 4) -> S4D:
    model = S4D(channels, n).double()
    with torch.no_grad():
        model.log_step.copy_(STEPS[:channels].log())
        model.log_decay.copy_(0.3 * normal(channels, n, seed=1))
        model.frequency.copy_(2 * normal(channels, n, seed=2) + 4)
        model.c.copy_(normal(channels, n, 2, seed=3))
        model.d.copy_(normal(channels, seed=4))
    return model


def s4d_by_loops(model: S4D, u: torch.Tensor) -> torch.Tensor:
    a = torch.complex(-model.log_decay.exp(), model.frequency).detach()
    c = torch.complex(model.c[..., 0], model.c[..., 1]).detach()
    kernel = f64(*diagonal_by_loops(a, c, model.log_step.exp().detach(), u.shape[1]))
    out = torch.zeros_like(u)
    for t in range(u.shape[1]):
        for i in range(t + 1):
            out[:, t] += kernel[:, i] * u[:, t - i]
    return out + model.d.detach() * u


class TestS4D:
    @pytest.mark.parametrize("length", [1, 2, 9])
    def test_the_formulas(self, length):
        model, u = stirred(), normal(2, length, 3, seed=5)
        assert_close(model(u).detach(), s4d_by_loops(model, u))

    def test_step_by_step_it_gives_the_same(self):
        model, u, state, found = stirred(), normal(2, 30, 3, seed=5), None, []
        for t in range(30):
            y, state = model.step(u[:, t], state)
            found.append(y)
        assert_close(torch.stack(found, 1).detach(), model(u).detach(), atol=1e-10, rtol=0)
        assert_equal((tuple(state.shape), state.dtype), ((2, 3, 4), torch.complex128))

    def test_the_first_step(self):
        model, u = stirred(), normal(2, 3, seed=5)
        y, state = model.step(u)
        a = torch.complex(-model.log_decay.exp(), model.frequency).detach()
        pushed = (torch.exp(STEPS[:, None] * a) - 1) / a
        assert_close(state.detach(), pushed * u[..., None])
        assert_close(y.detach(), s4d_by_loops(model, u[:, None])[:, 0])

    @pytest.mark.parametrize(("channels", "n"), [(2, 3), (5, 8)])
    def test_its_parameters_and_their_start(self, channels, n):
        model = S4D(channels, n)
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        expected = {"log_step": (channels,), "log_decay": (channels, n), "frequency": (channels, n), "c": (channels, n, 2)}
        assert_equal(shapes, expected | {"d": (channels,)})
        steps = [math.exp(math.log(0.001) + i / (channels - 1) * math.log(100)) for i in range(channels)]
        assert_close(model.log_step.exp().detach(), torch.tensor(steps), rtol=1e-5)
        assert_close(model.log_decay.exp().detach(), torch.full((channels, n), 0.5), rtol=1e-5)
        assert_close(model.frequency.detach(), (math.pi * torch.arange(n)).float().expand(channels, n), rtol=1e-5)

    def test_c_and_d_start_normal(self):
        torch.manual_seed(3)
        model = S4D(2000, 5)
        for parameter in (model.c, model.d):
            # 2000 numbers or more: standard errors of 0.022 and 0.016.
            assert_close((parameter.mean().item(), parameter.std().item()), (0.0, 1.0), atol=0.11, rtol=0)

    def test_it_is_causal(self):
        model, u = stirred(), normal(2, 6, 3, seed=5)
        other = u.clone()
        other[:, 4:] += 1
        assert_close(model(other)[:, :4].detach(), model(u)[:, :4].detach())

    def test_every_parameter_is_trained(self):
        model = stirred()
        (model(normal(2, 6, 3, seed=5)) * normal(2, 6, 3, seed=6)).sum().backward()
        without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().min() > 0]
        assert_equal(without, [])

    def test_gradients_through_the_steps(self):
        model, u = stirred(), normal(2, 4, 3, seed=5)
        (model(u) * normal(2, 4, 3, seed=6)).sum().backward()
        expected = {name: p.grad.clone() for name, p in model.named_parameters()}
        model.zero_grad()
        state, total = None, 0
        for t in range(4):
            y, state = model.step(u[:, t], state)
            total = total + (y * normal(2, 4, 3, seed=6)[:, t]).sum()
        total.backward()
        assert_close({name: p.grad for name, p in model.named_parameters()}, expected)

    def test_on_the_gpu(self, gpu):
        gpu.check(stirred(), normal(2, 4, 3, seed=5).requires_grad_())
        model = gpu(stirred())
        y, state = model.step(gpu(normal(2, 3)))
        assert_equal((y.device.type, state.device.type), (gpu.device.type, gpu.device.type))


@pytest.mark.learning
@pytest.mark.deadline(60)  # half a second each on a quiet machine
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_says_what_it_heard_16_samples_ago(self, seed):
        """The baseline is the best linear mix of the last 16 samples, which don't hold it."""
        torch.manual_seed(seed)
        enter, layer, leave = nn.Linear(1, 8), S4D(8, 16), nn.Linear(8, 1)
        parameters = [p for part in (enter, layer, leave) for p in part.parameters()]
        optimizer = torch.optim.Adam(parameters, 0.02)
        for _ in range(150):
            u = torch.randn(32, 64, 1)
            loss = (leave(layer(enter(u)))[:, 16:] - u[:, :-16]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        u = torch.randn(200, 64, 1)
        with torch.no_grad():
            learned = (leave(layer(enter(u)))[:, 16:] - u[:, :-16]).square().mean().item()
        last = u[..., 0].unfold(1, 16, 1)[:, 1:].flatten(0, 1)  # the samples t - 15 … t
        wanted = u[:, :-16].flatten(0, 1)
        mix = torch.linalg.lstsq(last, wanted).solution
        baseline = (last @ mix - wanted).square().mean().item()
        # Ten seeds: below 0.01, against 1.0.
        if learned > 0.2 * baseline:
            fail(f"The squared error is {learned:.2f}, that of the last 16 samples {baseline:.2f}.", evidence=round(learned, 1))
