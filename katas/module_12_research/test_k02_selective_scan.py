"""Judges k02_selective_scan: the scans by loops, the gradient by torch, the layer by transformers' own."""

import math

import pytest
import torch
import torch.nn.functional as F

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, gradcheck, normal, seeded
from katas.module_12_research.k02_selective_scan import (
    MambaBlock,
    associative_scan,
    combine,
    hillis_steele_scan,
    parallel_scan,
    scan_backward,
    selective_discretize,
    selective_scan,
    sequential_scan,
)

pytestmark = [from_scratch("transformers", "mamba_ssm", "scipy", "torch._higher_order_ops"), pure()]


LENGTHS = [1, 2, 3, 4, 5, 7, 8, 11, 16, 21]
A, B = f64([0.5, 2, 0, 1]), f64([1, 3, 4, 2])


def decays(*shape: int, seed: int = 0) -> torch.Tensor:
    """From -1 to 1, with some zeros."""
    a = normal(*shape, seed=seed).tanh()
    return a * (torch.rand(shape, generator=seeded(seed + 9), dtype=F64) > 0.1)


def by_hand(a: torch.Tensor, b: torch.Tensor, start: torch.Tensor | None = None) -> torch.Tensor:
    """State by state, number by number, without torch's arithmetic."""
    found = torch.empty_like(b)
    for i in range(b.shape[0]):
        rows_a, rows_b = (x[i].reshape(x.shape[1], -1).tolist() for x in (a, b))
        h = [0.0] * len(rows_b[0]) if start is None else start[i].flatten().tolist()
        for t, (decay, drive) in enumerate(zip(rows_a, rows_b, strict=True)):
            h = [x * y + z for x, y, z in zip(decay, h, drive, strict=True)]
            found[i, t] = f64(*h).reshape(b.shape[2:])
    return found


class TestCombine:
    def test_the_example_worked_by_hand(self):
        one, other = (f64(0.5), f64(1)), (f64(2), f64(3))
        assert_close(combine(one, other), (f64(1), f64(5)))
        assert_close(combine((f64(0), f64(4)), (f64(1), f64(2))), (f64(0), f64(6)))
        assert_close(combine((f64(1), f64(5)), (f64(0), f64(6))), (f64(0), f64(6)))

    def test_first_and_then_second(self):
        first, second = (normal(2, 3), normal(2, 3, seed=1)), (normal(2, 3, seed=2), normal(2, 3, seed=3))
        a, b = combine(first, second)
        for h in (-1.0, 0.0, 2.0):
            assert_close(a * h + b, second[0] * (first[0] * h + first[1]) + second[1])

    def test_the_brackets_may_stand_anywhere(self):
        x, y, z = ((normal(4, seed=i), normal(4, seed=i + 10)) for i in range(3))
        assert_close(combine(combine(x, y), z), combine(x, combine(y, z)))

    def test_gradients_and_gpu(self, gpu):
        x = [normal(3, seed=i).requires_grad_() for i in range(4)]
        assert gradcheck(lambda p, q, r, s: combine((p, q), (r, s)), x)
        gpu.check(lambda p, q, r, s: combine((p, q), (r, s)), *x)


class TestSequentialScan:
    def test_the_example_worked_by_hand(self):
        assert_close(sequential_scan(A, B), f64([1, 5, 4, 6]))
        assert_close(sequential_scan(A, B, f64(2)), f64([2, 7, 4, 6]))

    @pytest.mark.parametrize("rest", [(), (3,), (3, 2)])
    @pytest.mark.parametrize("length", [1, 6])
    def test_number_by_number(self, length, rest):
        a, b, start = decays(2, length, *rest), normal(2, length, *rest, seed=1), normal(2, *rest, seed=2)
        assert_close(sequential_scan(a, b), by_hand(a, b))
        assert_close(sequential_scan(a, b, start), by_hand(a, b, start))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_the_states_have_the_dtype_of_b(self, dtype):
        a, b = A.to(dtype), B.to(dtype)
        assert_close(sequential_scan(a, b), f64([1, 5, 4, 6]).to(dtype))

    def test_gradients_and_gpu(self, gpu):
        x = [t.requires_grad_() for t in (decays(2, 4, 3), normal(2, 4, 3, seed=1), normal(2, 3, seed=2))]
        assert gradcheck(sequential_scan, x)
        gpu.check(sequential_scan, *x)
        gpu.check(sequential_scan, *x[:2])


class Matrices:
    """Products of matrices: associative, not commutative.  Counts its calls and what they join."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, earlier, later):
        assert_equal((len(earlier), len(later)), (2, 2))
        self.calls.append(later[0].shape[1])
        (p, x), (q, y) = earlier, later
        return q @ p, x + 2 * x * y + y


def some_elements(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    return normal(2, length, 3, 3) / 2, normal(2, length, seed=1)


def prefixes(elements):
    """One after the other."""
    found = [tuple(x[:, :1] for x in elements)]
    for t in range(1, elements[0].shape[1]):
        found.append(Matrices()(found[-1], tuple(x[:, t : t + 1] for x in elements)))
    return tuple(torch.cat(parts, 1) for parts in zip(*found, strict=True))


def affine(earlier, later):
    return later[0] * earlier[0], later[0] * earlier[1] + later[1]


class TestHillisSteeleScan:
    @pytest.mark.parametrize("length", LENGTHS)
    def test_prefix_by_prefix(self, length):
        elements = some_elements(length)
        assert_close(tuple(hillis_steele_scan(Matrices(), elements)), prefixes(elements), atol=1e-9, rtol=1e-9)

    @pytest.mark.parametrize("length", LENGTHS)
    def test_one_call_a_round(self, length):
        operation = Matrices()
        hillis_steele_scan(operation, some_elements(length))
        assert_equal(len(operation.calls), math.ceil(math.log2(length)))

    def test_a_single_element(self):
        x = normal(2, 6, 3)
        assert_close(tuple(hillis_steele_scan(lambda p, q: (p[0] + q[0],), (x,))), (x.cumsum(1),))

    def test_a_recurrence(self):
        assert_close(hillis_steele_scan(affine, (A, B))[1], f64([1, 5, 4, 6]))

    def test_gradients_and_gpu(self, gpu):
        x = [t.requires_grad_() for t in (decays(2, 5, 3), normal(2, 5, 3, seed=1))]
        assert gradcheck(lambda a, b: hillis_steele_scan(affine, (a, b)), x)
        gpu.check(lambda a, b: tuple(hillis_steele_scan(affine, (a, b))), *x)


class TestAssociativeScan:
    @pytest.mark.parametrize("length", LENGTHS)
    def test_prefix_by_prefix(self, length):
        elements = some_elements(length)
        assert_close(tuple(associative_scan(Matrices(), elements)), prefixes(elements), atol=1e-9, rtol=1e-9)

    @pytest.mark.parametrize("length", [*LENGTHS, 100, 1000])
    def test_few_rounds_and_little_work(self, length):
        operation = Matrices()
        associative_scan(operation, some_elements(length))
        rounds, joins = len(operation.calls), sum(operation.calls)
        if rounds > 2 * math.ceil(math.log2(length)):
            fail(f"{length} samples take {rounds} calls; 2 ⌈log₂ L⌉ are enough.", evidence=rounds)
        if joins >= 2 * length:
            fail(f"{length} samples take {joins} joins of pairs; fewer than 2 L are enough.", evidence=joins)

    def test_a_single_element(self):
        x = normal(2, 6, 3)
        assert_close(tuple(associative_scan(lambda p, q: (p[0] + q[0],), (x,))), (x.cumsum(1),))

    @pytest.mark.parametrize(("one", "other"), [(5, 4), (3, 8), (1, 2)])
    def test_refuses_other_lengths(self, one, other):
        with raises(ValueError, one, other):
            associative_scan(affine, (normal(2, one), normal(2, other)))

    @pytest.mark.parametrize("length", [1, 5, 6])
    def test_gradients(self, length):
        x = [t.requires_grad_() for t in (decays(2, length), normal(2, length, seed=1))]
        assert gradcheck(lambda a, b: tuple(associative_scan(affine, (a, b))), x)

    def test_on_the_gpu(self, gpu):
        x = [t.requires_grad_() for t in (decays(2, 5, 3), normal(2, 5, 3, seed=1))]
        gpu.check(lambda a, b: tuple(associative_scan(affine, (a, b))), *x)


class TestScanBackward:
    def test_the_example_worked_by_hand(self):
        found = scan_backward(A, f64([1, 5, 4, 6]), f64([1, 1, 1, 1]), f64(0))
        assert_close(found, (f64([0, 1, 10, 4]), f64([3, 1, 2, 1]), f64(1.5)))

    @pytest.mark.parametrize("rest", [(), (3,), (3, 2)])
    @pytest.mark.parametrize("length", [1, 2, 5, 8])
    def test_what_torch_finds(self, length, rest):
        a, b, start = decays(2, length, *rest), normal(2, length, *rest, seed=1), normal(2, *rest, seed=2)
        leaves = [x.requires_grad_() for x in (a, b, start)]
        h, found = start, []
        for t in range(length):
            h = a[:, t] * h + b[:, t]
            found.append(h)
        states, upstream = torch.stack(found, 1), normal(2, length, *rest, seed=3)
        expected = torch.autograd.grad(states, leaves, upstream)
        assert_close(scan_backward(*(x.detach() for x in (a, states)), upstream, start.detach()), expected)

    def test_no_loop_over_samples(self):
        few, many = (
            python_steps(scan_backward, decays(1, n), normal(1, n), normal(1, n, seed=1), normal(1)) for n in (16, 1024)
        )
        if many > 8 * few:
            fail("1024 samples run many times the lines of Python that 16 do: there is a loop over them.")

    def test_on_the_gpu(self, gpu):
        gpu.check(scan_backward, decays(2, 5), normal(2, 5), normal(2, 5, seed=1), normal(2, seed=2))


class TestParallelScan:
    def test_the_example_worked_by_hand(self):
        assert_close(parallel_scan(A, B), f64([1, 5, 4, 6]))
        assert_close(parallel_scan(A, B, f64(2)), f64([2, 7, 4, 6]))

    @pytest.mark.parametrize("length", LENGTHS)
    def test_number_by_number(self, length):
        a, b, start = decays(2, length, 3), normal(2, length, 3, seed=1), normal(2, 3, seed=2)
        assert_close(parallel_scan(a, b), by_hand(a, b))
        assert_close(parallel_scan(a, b, start), by_hand(a, b, start))

    def test_never_divides(self):
        """The product of the first thousand a is below what float64 can hold."""
        a, b = torch.full((1, 3000), 0.2, dtype=F64), normal(1, 3000)
        assert_close(parallel_scan(a, b), by_hand(a, b))

    @pytest.mark.parametrize("length", [1, 2, 5, 6])
    def test_gradients(self, length):
        x = [t.requires_grad_() for t in (decays(2, length, 2), normal(2, length, 2, seed=1), normal(2, 2, seed=2))]
        assert gradcheck(parallel_scan, x)
        assert gradcheck(lambda a, b: parallel_scan(a, b), x[:2])

    def test_keeps_two_tensors(self):
        a, b = decays(2, 100, 3).requires_grad_(), normal(2, 100, 3, seed=1).requires_grad_()
        kept = 0

        def pack(x):
            nonlocal kept
            kept += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            states = parallel_scan(a, b, normal(2, 3).requires_grad_())
        states.sum().backward()
        if kept > 2 * b.numel() + 6:
            fail(f"{kept / b.numel():.1f} tensors of b's size are kept for the backward pass: a and the states are 2.")

    def test_no_loop_over_samples(self):
        few, many = (python_steps(parallel_scan, decays(1, n), normal(1, n)) for n in (16, 1024))
        if many > 8 * few:
            fail("1024 samples run many times the lines of Python that 16 do: there is a loop over them.")

    def test_keeps_float32(self):
        a, b = decays(2, 6), normal(2, 6)
        assert_close(parallel_scan(a.float(), b.float()), by_hand(a, b).float())

    def test_on_the_gpu(self, gpu):
        x = [t.requires_grad_() for t in (decays(2, 5, 3), normal(2, 5, 3, seed=1), normal(2, 3, seed=2))]
        gpu.check(parallel_scan, *x)
        gpu.check(parallel_scan, *x[:2])


def selective(length: int = 5) -> list[torch.Tensor]:
    """u, delta, a, b, c, d for 2 texts, 3 channels, 4 states."""
    u, delta = normal(2, length, 3), normal(2, length, 3, seed=1).exp() / 2
    a, b, c = -normal(3, 4, seed=2).exp(), normal(2, length, 4, seed=3), normal(2, length, 4, seed=4)
    return [u, delta, a, b, c, normal(3, seed=5)]


class TestSelectiveDiscretize:
    def test_the_example_worked_by_hand(self):
        found = selective_discretize(f64([[3]]), f64([[math.log(2)]]), f64([-1]), f64([[1]]))
        assert_close(found, (f64([[[0.5]]]), f64([[[3 * math.log(2)]]])))

    def test_number_by_number(self):
        u, delta, a, b, _, _ = selective()
        decay, drive = selective_discretize(u, delta, a, b)
        expected = torch.empty(2, 2, 5, 3, 4, dtype=F64)
        for i in range(2):
            for t in range(5):
                for d in range(3):
                    for n in range(4):
                        expected[0, i, t, d, n] = math.exp(delta[i, t, d].item() * a[d, n].item())
                        expected[1, i, t, d, n] = delta[i, t, d] * b[i, t, n] * u[i, t, d]
        assert_close((decay, drive), (expected[0], expected[1]))

    def test_gradients_and_gpu(self, gpu):
        x = [t.requires_grad_() for t in selective(3)[:4]]
        assert gradcheck(selective_discretize, x)
        gpu.check(selective_discretize, *x)


def selective_by_loops(u, delta, a, b, c, d, start=None):
    y = torch.zeros_like(u)
    h = torch.zeros(2, 3, 4, dtype=F64) if start is None else start.clone()
    for i in range(u.shape[0]):
        for t in range(u.shape[1]):
            for j in range(3):
                h[i, j] = (delta[i, t, j] * a[j]).exp() * h[i, j] + delta[i, t, j] * b[i, t] * u[i, t, j]
                y[i, t, j] = c[i, t] @ h[i, j] + d[j] * u[i, t, j]
    return y, h


class TestSelectiveScan:
    @pytest.mark.parametrize("length", [1, 4, 9])
    def test_state_by_state(self, length):
        args, start = selective(length), normal(2, 3, 4, seed=8)
        assert_close(selective_scan(*args), selective_by_loops(*args))
        assert_close(selective_scan(*args, start), selective_by_loops(*args, start))

    @pytest.mark.parametrize("cut", [1, 4])
    def test_a_text_may_come_in_parts(self, cut):
        u, delta, a, b, c, d = selective(9)
        first, middle = selective_scan(u[:, :cut], delta[:, :cut], a, b[:, :cut], c[:, :cut], d)
        second, end = selective_scan(u[:, cut:], delta[:, cut:], a, b[:, cut:], c[:, cut:], d, middle)
        assert_close((torch.cat([first, second], 1), end), selective_by_loops(u, delta, a, b, c, d))

    def test_the_gradient_goes_from_one_part_to_the_part_before(self):
        u, delta, a, b, c, d = selective(6)
        whole, part = u.clone().requires_grad_(), u.clone().requires_grad_()
        selective_scan(whole, delta, a, b, c, d)[0][:, 4:].sum().backward()
        _, middle = selective_scan(part[:, :4], delta[:, :4], a, b[:, :4], c[:, :4], d)
        selective_scan(part[:, 4:], delta[:, 4:], a, b[:, 4:], c[:, 4:], d, middle)[0].sum().backward()
        assert_close(part.grad, whole.grad)

    def test_a_step_near_0_leaves_the_state_as_it_is(self):
        u, delta, a, b, c, d = selective(6)
        start = normal(2, 3, 4, seed=8)
        _, last = selective_scan(u, 1e-9 * delta, a, b, c, d, start)
        assert_close(last, start, atol=1e-6, rtol=0)

    def test_a_large_step_forgets(self):
        args = selective(6)
        args[1][:, 3] = 2000.0
        _, one = selective_scan(*args)
        _, other = selective_scan(*args, 100 * normal(2, 3, 4, seed=8))
        assert_close(one, other)

    def test_gradients_and_gpu(self, gpu):
        x = [t.requires_grad_() for t in (*selective(3), normal(2, 3, 4, seed=8))]
        assert gradcheck(selective_scan, x)
        gpu.check(selective_scan, *x)


SHAPES = [(12, 3, 2, 2), (40, 5, 4, 1)]


class TestMambaBlock:
    @pytest.mark.parametrize(("width", "states", "kernel", "expand"), SHAPES)
    def test_names_and_shapes(self, width, states, kernel, expand):
        inner, rank = expand * width, math.ceil(width / 16)
        shapes = {name: tuple(p.shape) for name, p in MambaBlock(width, states, kernel, expand).named_parameters()}
        expected = {
            "A_log": (inner, states),
            "D": (inner,),
            "in_proj.weight": (2 * inner, width),
            "conv1d.weight": (inner, 1, kernel),
            "conv1d.bias": (inner,),
            "x_proj.weight": (rank + 2 * states, inner),
            "dt_proj.weight": (inner, rank),
            "dt_proj.bias": (inner,),
            "out_proj.weight": (width, inner),
        }
        assert_equal(shapes, expected)

    def test_the_defaults(self):
        shapes = {name: tuple(p.shape) for name, p in MambaBlock(8).named_parameters()}
        assert_equal([shapes["A_log"], shapes["conv1d.weight"]], [(16, 16), (16, 1, 4)])

    def test_how_it_starts(self):
        model = MambaBlock(16, 3, 4, 500)
        assert_close(model.A_log.detach(), torch.tensor([1.0, 2, 3]).log().expand(8000, 3))
        assert_close(model.D.detach(), torch.ones(8000))
        place = (F.softplus(model.dt_proj.bias.detach().double()).log() - math.log(0.001)) / math.log(100)
        # Uniform from 0 to 1: of 8000 numbers the mean is off by 0.003, the deviation by less.
        if place.min() < -1e-3 or place.max() > 1 + 1e-3:
            fail("softplus(dt_proj.bias) doesn't lie between 0.001 and 0.1.", evidence="range")
        if abs(place.mean() - 0.5) > 0.02 or abs(place.std() - 12**-0.5) > 0.015:
            fail("The logarithm of softplus(dt_proj.bias) isn't uniform.", evidence="spread")
        # The chance that all of 8000 are further from an end is below one in a million.
        if place.min() > 0.003 or place.max() < 0.997:
            fail("softplus(dt_proj.bias) doesn't come near both 0.001 and 0.1.", evidence="ends")

    @pytest.mark.parametrize(("width", "states", "kernel", "expand"), SHAPES)
    @pytest.mark.parametrize("length", [1, 7])
    def test_the_formulas(self, width, states, kernel, expand, length):
        model, x = named_weights(MambaBlock(width, states, kernel, expand)), normal(2, length, width).requires_grad_()
        w = dict(model.named_parameters())
        inner, rank = expand * width, math.ceil(width / 16)
        u, gate = (x @ w["in_proj.weight"].T).split(inner, -1)
        padded = torch.cat([torch.zeros(2, kernel - 1, inner, dtype=F64), u], 1)
        u = sum(padded[:, k : k + length] * w["conv1d.weight"][:, 0, k] for k in range(kernel)) + w["conv1d.bias"]
        u = u * u.sigmoid()
        delta, b, c = (u @ w["x_proj.weight"].T).split([rank, states, states], -1)
        delta = (1 + (delta @ w["dt_proj.weight"].T + w["dt_proj.bias"]).exp()).log()
        h, found = torch.zeros(2, inner, states, dtype=F64), []
        for t in range(length):
            drive = (delta[:, t] * u[:, t])[..., None] * b[:, t, None]
            h = (-delta[:, t, :, None] * w["A_log"].exp()).exp() * h + drive
            found.append((h * c[:, t, None]).sum(-1) + w["D"] * u[:, t])
        y = torch.stack(found, 1) * gate * gate.sigmoid()
        expected, actual, upstream = y @ w["out_proj.weight"].T, model(x), normal(2, length, width, seed=1)
        assert_close(actual.detach(), expected.detach())
        leaf = [x, *w.values()]
        gradients = torch.autograd.grad(expected, leaf, upstream, allow_unused=True, materialize_grads=True)
        assert_close(torch.autograd.grad(actual, leaf, upstream, allow_unused=True, materialize_grads=True), gradients)

    @pytest.mark.slow
    def test_the_published_layer(self):
        transformers = pytest.importorskip("transformers")
        from transformers.models.mamba.modeling_mamba import MambaMixer

        config = transformers.MambaConfig(hidden_size=20, state_size=5, conv_kernel=4, expand=2, num_hidden_layers=1)
        theirs, ours = MambaMixer(config, 0).eval(), named_weights(MambaBlock(20, 5)).float()
        theirs.load_state_dict(ours.state_dict())
        x = normal(2, 9, 20).float()
        with torch.no_grad():
            # float32, and two orders of summation.
            assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-3)

    def test_sees_nothing_that_comes_later(self):
        model, x = named_weights(MambaBlock(12, 3)), normal(1, 8, 12)
        changed = x.clone()
        changed[:, 5] += 1
        one, other = model(x).detach(), model(changed).detach()
        assert_close(one[:, :5], other[:, :5])
        assert_equal(bool((one[:, 5:] != other[:, 5:]).any(-1).all()), True)

    def test_all_of_it_is_trained(self):
        model, x = named_weights(MambaBlock(12, 3)), normal(2, 6, 12).requires_grad_()
        (model(x) * normal(2, 6, 12, seed=1)).sum().backward()
        assert_equal([name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()], [])
        assert_equal(bool(x.grad.any()), True)

    def test_on_the_gpu(self, gpu):
        gpu.check(named_weights(MambaBlock(12, 3)), normal(2, 5, 12).requires_grad_())
