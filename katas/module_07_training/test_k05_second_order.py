"""Judges k05_second_order against dense Hessians, Krylov spaces by brute force, and singular value decompositions."""

import io
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.optimizers import give_gradients, values
from katas.module_07_training.k05_second_order import (
    Muon,
    Shampoo,
    conjugate_gradient,
    hvp,
    inverse_root,
    newton_schulz,
    newton_step,
)

pytestmark = [
    from_scratch("torch.optim.Muon", "torch.autograd.functional", "torch.func"),
    pure(),
    pytest.mark.deadline(60),  # torch imports its compiler at the first optimizer, which takes a busy machine a while
]

F64 = torch.float64


class Largest(TorchDispatchMode):
    """Knows the largest tensor that was made in its block."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = [t.numel() for t in (out if isinstance(out, tuple | list) else (out,)) if isinstance(t, torch.Tensor)]
        self.entries = max([self.entries, *made])
        return out

    def must_not_exceed(self, limit: int) -> None:
        if self.entries > limit:
            fail(f"a tensor with {self.entries} entries was made; expected {limit} at most", evidence=self.entries)


def bent(w: torch.Tensor) -> torch.Tensor:
    """A loss whose Hessian is full, isn't constant, and isn't symmetric under a change of order."""
    flat = w.reshape(-1)
    scale = torch.arange(1, len(flat) + 1, dtype=w.dtype, device=w.device)
    return (scale * flat**4).sum() + (flat.cumsum(0) * flat.sin()).sum() + flat.prod()


def hessian(loss_fn, w: torch.Tensor) -> torch.Tensor:
    """Dense, (n, n)."""
    from torch.autograd.functional import hessian as dense

    return dense(loss_fn, w.detach()).reshape(w.numel(), w.numel())


def definite(n: int, low: float = 0.5) -> torch.Tensor:
    """A random symmetric positive definite matrix."""
    half = torch.randn(n, n, dtype=F64)
    return half @ half.T / n + low * torch.eye(n, dtype=F64)


class TestHvp:
    def test_the_example_worked_by_hand(self):
        w, v = torch.tensor([5.0, 7.0]), torch.tensor([1.0, 2.0])
        assert_close(hvp(lambda w: w[0] ** 2 + 3 * w[0] * w[1], w, v), torch.tensor([8.0, 3.0]))

    @pytest.mark.parametrize("shape", [(5,), (2, 3), (), (1, 2, 2)])
    def test_equals_the_dense_hessian(self, shape):
        w, v = torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
        assert_close(hvp(bent, w, v), (hessian(bent, w) @ v.reshape(-1)).reshape(shape))

    def test_by_finite_differences(self):
        w, v = torch.randn(4, dtype=F64), torch.randn(4, dtype=F64)
        step = 1e-5
        ahead, back = ((w + sign * step * v).requires_grad_() for sign in (1, -1))
        slope = [torch.autograd.grad(bent(at), at)[0] for at in (ahead, back)]
        # Differences of this step are right to about 1e-5 of a fourth power's curvature.
        assert_close(hvp(bent, w, v), (slope[0] - slope[1]) / (2 * step), rtol=1e-4, atol=1e-4)

    def test_a_linear_loss(self):
        w = torch.randn(3, dtype=F64)
        assert_close(hvp(lambda w: (2 * w).sum(), w, torch.ones(3, dtype=F64)), torch.zeros(3, dtype=F64))

    def test_a_loss_that_is_linear_in_some_weights(self):
        found = hvp(lambda w: w[0] ** 2 + w[1], torch.ones(2, dtype=F64), torch.tensor([3.0, 5.0], dtype=F64))
        assert_close(found, torch.tensor([6.0, 0.0], dtype=F64))

    def test_the_hessian_is_never_made(self):
        w, v = torch.randn(50, dtype=F64), torch.randn(50, dtype=F64)
        with Largest() as largest:
            found = hvp(lambda w: (w**3).sum() + w.sum() ** 2, w, v)
        largest.must_not_exceed(50)
        assert_close(found, 6 * w * v + 2 * v.sum())

    @pytest.mark.parametrize("tracked", [True, False])
    @pytest.mark.parametrize("enabled", [True, False])
    def test_no_graph_and_no_gradient(self, tracked, enabled):
        w = torch.randn(3, dtype=F64).requires_grad_(tracked)
        scale = torch.ones(3, dtype=F64, requires_grad=True)
        with torch.set_grad_enabled(enabled):
            found = hvp(lambda w: (scale * w**3).sum(), w, torch.ones(3, dtype=F64))
        assert_equal((found.requires_grad, w.grad, scale.grad, w.requires_grad), (False, None, None, tracked))
        assert_close(found, 6 * w.detach())

    def test_float32(self):
        w = torch.tensor([1.0, 2.0])
        assert_close(hvp(lambda w: (w**3).sum(), w, torch.tensor([1.0, -1.0])), torch.tensor([6.0, -12.0]))


STEEP = tuple(torch.logspace(0, 8, 300, dtype=F64).tolist())
"""Eigenvalues on which conjugate gradients take long."""


class TestConjugateGradient:
    def test_the_example_worked_by_hand(self):
        b, scale = torch.tensor([1.0, 2.0], dtype=F64), torch.tensor([1.0, 2.0], dtype=F64)
        assert_close(conjugate_gradient(lambda p: scale * p, b, iterations=1), 5 / 9 * b)
        assert_close(conjugate_gradient(lambda p: scale * p, b, iterations=2), torch.ones(2, dtype=F64))

    @pytest.mark.parametrize("n", [1, 3, 8])
    def test_solves_in_n_steps(self, n):
        a, b = definite(n), torch.randn(n, dtype=F64)
        assert_close(conjugate_gradient(lambda p: a @ p, b, iterations=n), torch.linalg.solve(a, b))

    @pytest.mark.parametrize("steps", [1, 2, 3, 4])
    def test_is_the_best_in_each_krylov_space(self, steps):
        """After k steps x minimises ½⟨x, A·x⟩ - ⟨b, x⟩ over the span of b, A·b, … A^(k-1)·b."""
        a, b = definite(7), torch.randn(7, dtype=F64)
        powers = [b]
        for _ in range(steps - 1):
            powers.append(a @ powers[-1])
        span = torch.linalg.qr(torch.stack(powers, 1)).Q
        best = span @ torch.linalg.solve(span.T @ a @ span, span.T @ b)
        assert_close(conjugate_gradient(lambda p: a @ p, b, iterations=steps), best)

    def test_any_shape(self):
        a, b = definite(6), torch.randn(2, 3, dtype=F64)
        found = conjugate_gradient(lambda p: (a @ p.reshape(-1)).reshape(2, 3), b)
        assert_close(found, torch.linalg.solve(a, b.reshape(-1)).reshape(2, 3))

    @pytest.mark.parametrize(("iterations", "calls"), [(2, 2), (3, 3), (100, 4)])
    def test_the_number_of_products(self, iterations, calls):
        """Four different eigenvalues: four steps, however many entries."""
        scale, b = torch.tensor([1.0, 2.0, 3.0, 4.0] * 3, dtype=F64), torch.randn(12, dtype=F64)
        seen = []

        def apply(p):
            seen.append(1)
            return scale * p

        conjugate_gradient(apply, b, iterations)
        assert_equal(len(seen), calls)

    @pytest.mark.parametrize(("eigenvalues", "calls"), [(STEEP, 100), ((1, 1 + 3e-10), 2), ((1, 1 + 1e-10), 1)])
    def test_its_defaults(self, eigenvalues, calls):
        """The first needs thousands of steps; after one the others are at 1.5e-10 and at 0.5e-10."""
        scale, seen = torch.tensor(eigenvalues, dtype=F64), []

        def apply(p):
            seen.append(1)
            return scale * p

        conjugate_gradient(apply, torch.ones(len(scale), dtype=F64))
        assert_equal(len(seen), calls)

    @pytest.mark.parametrize("tolerance", [0.5, 0.1, 1e-3])
    @pytest.mark.parametrize("size", [1e-3, 1e3])
    def test_stops_at_the_tolerance(self, tolerance, size):
        """At the first step whose residual is small enough, relative to b."""
        scale, b = torch.linspace(1, 30, 40, dtype=F64), size * torch.randn(40, dtype=F64)
        residuals = []
        for steps in range(1, 40):
            x = conjugate_gradient(lambda p: scale * p, b, steps, 0.0)
            residuals.append(((b - scale * x).norm() / b.norm()).item())
            if residuals[-1] <= tolerance:
                break
        seen = []

        def apply(p):
            seen.append(1)
            return scale * p

        found = conjugate_gradient(apply, b, 100, tolerance)
        assert_equal(len(seen), len(residuals))
        assert_close(found, x)

    def test_nothing_to_solve(self):
        def apply(p):
            fail("apply was called for b = 0; expected no call", evidence="called")

        assert_close(conjugate_gradient(apply, torch.zeros(3, dtype=F64)), torch.zeros(3, dtype=F64))

    def test_curvature_below_0_at_once(self):
        b = torch.tensor([1.0, 2.0], dtype=F64)
        assert_close(conjugate_gradient(lambda p: -p, b), b)
        assert_close(conjugate_gradient(lambda p: 0 * p, b), b)

    def test_curvature_below_0_later(self):
        scale, b = torch.tensor([4.0, -1.0], dtype=F64), torch.tensor([1.0, 0.5], dtype=F64)
        first = 1.25 / 3.75 * b
        assert_close(conjugate_gradient(lambda p: scale * p, b, 1), first)
        assert_close(conjugate_gradient(lambda p: scale * p, b, 10), first)

    def test_float32(self):
        a, b = definite(5).float(), torch.randn(5)
        found = conjugate_gradient(lambda p: a @ p, b)
        # Conjugate gradients in float32, against a factorisation.
        assert_close(found, torch.linalg.solve(a, b), rtol=1e-3, atol=1e-4)


class TestNewtonStep:
    def test_the_example_worked_by_hand(self):
        w = torch.tensor([3.0], dtype=F64)
        assert_close(newton_step(lambda w: 2 * (w**2).sum(), w, 4.0), torch.tensor([1.5], dtype=F64))

    def test_a_hundred_iterations_by_default(self):
        scale, w = torch.tensor(STEEP, dtype=F64), torch.ones(300, dtype=F64)

        def bowl(at):
            return (scale * at**2).sum() / 2

        found = newton_step(bowl, w)
        assert_close(found, newton_step(bowl, w, iterations=100))
        near = [(found - newton_step(bowl, w, iterations=n)).norm().item() for n in (99, 101)]
        assert_equal([gap > 1e-5 for gap in near], [True, True])

    @pytest.mark.parametrize("shape", [(4,), (2, 3)])
    def test_reaches_the_bottom_of_a_bowl_at_once(self, shape):
        n = math.prod(shape)
        a, bottom = definite(n), torch.randn(n, dtype=F64)

        def bowl(w):
            off = w.reshape(-1) - bottom
            return off @ a @ off / 2

        assert_close(newton_step(bowl, torch.randn(shape, dtype=F64)), bottom.reshape(shape))

    @pytest.mark.parametrize("damping", [0.0, 0.5, 20.0])
    def test_equals_a_dense_solution(self, damping):
        def convex(w):
            return (w**4).sum() + w.exp().sum() + w.sum() ** 2

        w = torch.randn(5, dtype=F64)
        at = w.clone().requires_grad_()
        (g,) = torch.autograd.grad(convex(at), at)
        dense = hessian(convex, w) + damping * torch.eye(5, dtype=F64)
        assert_close(newton_step(convex, w, damping), w - torch.linalg.solve(dense, g))

    def test_a_large_damping_is_gradient_descent(self):
        w = torch.randn(4, dtype=F64)
        at = w.clone().requires_grad_()
        (g,) = torch.autograd.grad(bent(at), at)
        assert_close((w - newton_step(bent, w, 1e9)) * 1e9, g, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("iterations", [1, 2])
    def test_few_iterations(self, iterations):
        a, w = definite(5), torch.randn(5, dtype=F64)
        d = conjugate_gradient(lambda p: a @ p + 0.5 * p, a @ w, iterations)
        assert_close(newton_step(lambda w: w @ a @ w / 2, w, 0.5, iterations), w - d)

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_new_tensor_without_a_graph(self, enabled):
        w = torch.tensor([1.0, 2.0], dtype=F64, requires_grad=True)
        with torch.set_grad_enabled(enabled):
            found = newton_step(lambda w: (w**4).sum(), w)
        assert_equal((found.requires_grad, w.grad, w.requires_grad), (False, None, True))
        assert_close(found, w.detach() * 2 / 3)

    def test_steps_converge_quadratically(self):
        """The distance to the minimum is squared at each step, near it."""
        w = torch.tensor([0.3], dtype=F64)
        off = []
        for _ in range(4):
            w = newton_step(lambda w: (w.exp() - w).sum(), w)
            off.append(abs(w.item()))
        assert_close(off[-1], 0.0, atol=1e-12)
        assert_equal(off[1] < 0.6 * off[0] ** 2, True)

    @pytest.mark.parametrize("damping", [-0.5, -2.0])
    def test_other_dampings_are_refused(self, damping):
        with raises(ValueError, damping):
            newton_step(lambda w: (w**2).sum(), torch.ones(2), damping)


class TestInverseRoot:
    @pytest.mark.parametrize("p", [1, 2, 4, 6])
    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_its_power_is_the_inverse(self, n, p):
        matrix = definite(n)
        root = inverse_root(matrix, p)
        product = matrix
        for _ in range(p):
            product = product @ root
        assert_close(product, torch.eye(n, dtype=F64))
        assert_close(root, root.T)

    def test_a_diagonal(self):
        found = inverse_root(torch.diag(torch.tensor([16.0, 81.0], dtype=F64)), 4)
        assert_close(found, torch.diag(torch.tensor([1 / 2, 1 / 3], dtype=F64)))

    @pytest.mark.parametrize("floor", [0.25, 4.0])
    def test_a_floor(self, floor):
        q = torch.linalg.qr(torch.randn(4, 4, dtype=F64)).Q
        values = torch.tensor([-1e-9, 0.0, 1.0, 9.0], dtype=F64)
        expected = (q * values.clamp(min=floor) ** -0.5) @ q.T
        assert_close(inverse_root((q * values) @ q.T, 2, floor), expected)

    def test_float32(self):
        assert_close(inverse_root(torch.tensor([[4.0]]), 2), torch.tensor([[0.5]]))


def weights(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.randn(shape, dtype=F64).requires_grad_() for shape in shapes]


def power(matrix: torch.Tensor, exponent: float) -> torch.Tensor:
    """By singular values, which for these matrices are the eigenvalues."""
    u, s, vh = torch.linalg.svd(matrix)
    return (u * s**exponent) @ vh


LETTERS = "abcd"


class Preconditioned:
    """Shampoo's rule for one parameter, by einsum over named axes."""

    def __init__(self, shape: tuple[int, ...], epsilon: float) -> None:
        self.shape = shape
        self.sums = [epsilon * torch.eye(n, dtype=F64) for n in shape]

    def direction(self, g: torch.Tensor) -> torch.Tensor:
        k = g.dim()
        axes, d = LETTERS[:k], g
        for i, letter in enumerate(axes):
            other = axes.replace(letter, "z")
            self.sums[i] = self.sums[i] + torch.einsum(f"{axes},{other}->{letter}z", g, g)
        for i, letter in enumerate(axes):
            other = axes.replace(letter, "z")
            d = torch.einsum(f"{axes},{letter}z->{other}", d, power(self.sums[i], -1 / (2 * k)))
        return d


def assert_closure(make, enabled: bool) -> None:
    """One call, with gradients on, before the step; the step takes the gradients that it made."""
    w = torch.tensor([[2.0, -1.0]], dtype=F64, requires_grad=True)
    w.grad = torch.tensor([[5.0, 9.0]], dtype=F64)  # stale
    twin = w.detach().clone().requires_grad_()
    optimizer, plain = make([w]), make([twin])
    seen, made = [], []

    def closure():
        seen.append((torch.is_grad_enabled(), w.detach().tolist()))
        optimizer.zero_grad()
        loss = (w**2).sum()
        if loss.requires_grad:
            loss.backward()
        made.append(loss)
        return loss

    with torch.set_grad_enabled(enabled):
        loss = optimizer.step(closure)
        assert_equal(torch.is_grad_enabled(), enabled)
    assert_equal(seen, [(True, [[2.0, -1.0]])])
    twin.grad = torch.tensor([[4.0, -2.0]], dtype=F64)
    nothing = plain.step()
    assert_close(w.detach(), twin.detach())
    assert_equal(loss is made[0], True)
    assert_equal(nothing, None)


def assert_leaves_alone(make) -> None:
    """Gradients keep their values, parameters their place; one without gradient stays."""
    mine = weights((3, 4), (2, 2), (4, 3))
    places = [w.data_ptr() for w in mine]
    optimizer = make(mine)
    for _ in range(2):
        give_gradients(mine, skip=1)
        before, held, still = [mine[0].grad.clone(), mine[2].grad.clone()], [mine[0].grad, mine[2].grad], values(mine)
        optimizer.step()
        assert_close(held, before, rtol=0, atol=0)
        assert_equal([w.grad is h for w, h in zip((mine[0], mine[2]), held, strict=True)], [True, True])
        assert_close(mine[1].detach(), still[1], rtol=0, atol=0)
    kept = [(w.is_leaf, w.requires_grad, w.data_ptr() == p) for w, p in zip(mine, places, strict=True)]
    assert_equal(kept, [(True, True, True)] * len(mine))


def assert_resumes(make, fresh) -> None:
    mine = weights((3, 4), (2, 3))
    one = make(mine)
    for skip in (0, None, None):
        give_gradients(mine, skip=skip)
        one.step()
    twin = [w.detach().clone().requires_grad_() for w in mine]
    later = fresh(twin)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    later.load_state_dict(torch.load(file))
    for _ in range(3):
        give_gradients(mine, twin)
        one.step()
        later.step()
        assert_close(values(twin), values(mine))


def assert_on_the_device(make, gpu) -> None:
    on_cpu = torch.randn(3, 4, dtype=F64).requires_grad_()
    there = gpu(on_cpu)
    one, other = make([on_cpu]), make([there])
    for _ in range(3):
        on_cpu.grad = torch.randn(3, 4, dtype=F64)
        there.grad = gpu(on_cpu.grad)
        one.step()
        other.step()
    assert_close(there.detach().cpu(), on_cpu.detach())


class TestShampoo:
    def test_the_example_worked_by_hand(self):
        w = torch.zeros(2, dtype=F64, requires_grad=True)
        w.grad = torch.tensor([3.0, 4.0], dtype=F64)
        Shampoo([w], lr=1.0, epsilon=1.0).step()
        assert_close(w.detach(), -w.grad / 26**0.5)

    def test_on_a_vector_it_is_full_matrix_adagrad(self):
        (w,) = weights((5,))
        optimizer, total, at = Shampoo([w], lr=0.3, epsilon=0.2), 0.2 * torch.eye(5, dtype=F64), w.detach().clone()
        for _ in range(6):
            w.grad = torch.randn(5, dtype=F64)
            total = total + torch.outer(w.grad, w.grad)
            at = at - 0.3 * power(total, -0.5) @ w.grad
            optimizer.step()
            assert_close(w.detach(), at)

    @pytest.mark.parametrize("shape", [(3, 4), (4, 3), (1, 5), (2, 3, 4), (2, 1, 3, 2)])
    @pytest.mark.parametrize(("lr", "epsilon"), [(0.1, 0.5), (0.7, 0.01)])
    def test_follows_the_rule(self, shape, lr, epsilon):
        (w,) = weights(shape)
        optimizer, rule, at = Shampoo([w], lr=lr, epsilon=epsilon), Preconditioned(shape, epsilon), w.detach().clone()
        for _ in range(4):
            w.grad = torch.randn(shape, dtype=F64)
            at = at - lr * rule.direction(w.grad)
            optimizer.step()
            assert_close(w.detach(), at)

    def test_its_defaults(self):
        (w,) = weights((3, 2))
        rule, at = Preconditioned((3, 2), 1e-4), w.detach().clone()
        optimizer = Shampoo([w])
        for scale in (1e-2, 1.0):  # small gradients show epsilon
            w.grad = scale * torch.randn(3, 2, dtype=F64)
            at = at - 0.1 * rule.direction(w.grad)
            optimizer.step()
            assert_close(w.detach(), at)

    def test_a_rotation_of_the_rows_rotates_the_path(self):
        """Unlike AdaGrad's, its path doesn't depend on the axes that you write weights in."""
        q = torch.linalg.qr(torch.randn(4, 4, dtype=F64)).Q
        (a,) = weights((4, 3))
        b = (q @ a.detach()).requires_grad_()
        one, other = Shampoo([a], lr=0.3), Shampoo([b], lr=0.3)
        for _ in range(4):
            a.grad = torch.randn(4, 3, dtype=F64)
            b.grad = q @ a.grad
            one.step()
            other.step()
            assert_close(b.detach(), q @ a.detach())

    def test_a_gradient_that_isnt_contiguous(self):
        mine = weights((3, 4))
        twin = [mine[0].detach().clone().requires_grad_()]
        mine[0].grad = torch.randn(4, 3, dtype=F64).t()
        twin[0].grad = mine[0].grad.contiguous()
        Shampoo(mine).step()
        Shampoo(twin).step()
        assert_close(values(mine), values(twin))

    def test_groups_and_rates_changed_on_the_way(self):
        mine = weights((3, 2), (4,))
        at, rules = values(mine), [Preconditioned((3, 2), 0.5), Preconditioned((4,), 0.1)]
        optimizer = Shampoo([{"params": mine[:1], "lr": 0.4, "epsilon": 0.5}, {"params": mine[1:]}], epsilon=0.1)
        for rates in ((0.4, 0.1), (0.2, 0.7)):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            give_gradients(mine)
            at = [a - r * rule.direction(w.grad) for a, r, rule, w in zip(at, rates, rules, mine, strict=True)]
            optimizer.step()
            assert_close(values(mine), at)

    @pytest.mark.parametrize("size", [1e3, 1e5])
    def test_large_gradients_in_float32(self, size):
        """Rounding takes eigenvalues below ε, even below 0."""
        w = torch.zeros(6, 8, requires_grad=True)
        optimizer = Shampoo([w], lr=1.0)
        for _ in range(3):
            w.grad = size * torch.outer(torch.randn(6), torch.randn(8))
            optimizer.step()
        assert_equal(bool(torch.isfinite(w).all()), True)

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_closure(self, enabled):
        assert_closure(Shampoo, enabled)

    def test_what_it_leaves_alone(self):
        assert_leaves_alone(Shampoo)

    def test_it_resumes(self):
        assert_resumes(lambda w: Shampoo(w, lr=0.3, epsilon=0.2), Shampoo)

    @pytest.mark.parametrize(
        ("name", "value"), [("lr", -0.25), ("lr", math.nan), ("epsilon", -0.5), ("epsilon", 0.0), ("epsilon", math.nan)]
    )
    def test_other_options_are_refused(self, name, value):
        with raises(ValueError, "nan" if math.isnan(value) else value):
            Shampoo(weights((2, 2)), **{name: value})

    def test_a_rate_of_0_is_allowed(self):
        mine = weights((2, 2))
        before = values(mine)
        give_gradients(mine)
        Shampoo(mine, lr=0.0).step()
        assert_close(values(mine), before)


def driven(g: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Newton–Schulz by its polynomial on the singular values."""
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    s = s / (g.norm() + 1e-7)
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u * s) @ vh


class TestNewtonSchulz:
    def test_the_example_worked_by_hand(self):
        s = 0.5**0.5
        expected = (3.4445 * s - 4.775 * s**3 + 2.0315 * s**5) * torch.eye(2, dtype=F64)
        assert_close(newton_schulz(torch.eye(2, dtype=F64), 1), expected, atol=1e-6)  # 1e-7 beside the norm

    @pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3), (1, 5), (5, 1), (1, 1)])
    @pytest.mark.parametrize("steps", [0, 1, 3, 5])
    def test_acts_on_the_singular_values(self, shape, steps):
        g = torch.randn(shape, dtype=F64)
        assert_close(newton_schulz(g, steps), driven(g, steps))

    def test_one_shape_after_another(self):
        for shape in [(2, 5), (6, 3), (4, 4)]:
            g = torch.randn(shape, dtype=F64)
            assert_close(newton_schulz(g, 2), driven(g, 2))

    def test_five_steps_by_default(self):
        g = torch.randn(3, 4, dtype=F64)
        assert_close(newton_schulz(g), driven(g, 5))

    @pytest.mark.parametrize("shape", [(8, 8), (5, 20), (20, 5)])
    def test_singular_values_end_in_the_band(self, shape):
        u, _, vh = torch.linalg.svd(torch.randn(shape, dtype=F64), full_matrices=False)
        s = torch.logspace(-1.3, 0, min(shape), dtype=F64)
        found = torch.linalg.svdvals(newton_schulz(7 * (u * s) @ vh))
        if found.min() < 0.68 or found.max() > 1.14:
            low, high = found.min().item(), found.max().item()
            fail(f"singular values from {low:.3f} to {high:.3f}; expected 0.68 to 1.14", evidence=found)

    @pytest.mark.parametrize("size", [1e-3, 1e6])
    def test_the_scale_doesnt_matter(self, size):
        g = torch.randn(3, 5, dtype=F64)
        # 1e-7 stands beside a norm of 1e-3.
        assert_close(newton_schulz(size * g), newton_schulz(g), rtol=1e-3, atol=1e-3)

    def test_small_matrices_show_the_1e_7(self):
        g = 1e-7 * torch.randn(3, 5, dtype=F64)
        assert_close(newton_schulz(g), driven(g))

    def test_zeros_stay_zeros(self):
        assert_close(newton_schulz(torch.zeros(3, 2)), torch.zeros(3, 2))

    def test_float32_and_strides(self):
        g = torch.randn(6, 4)
        # Fifteen products in float32.
        assert_close(newton_schulz(g.t()), driven(g.double().t()).float(), rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("shape", [(60, 2), (2, 60)])
    def test_the_gram_matrix_has_the_short_side(self, shape):
        g = torch.randn(shape, dtype=F64)
        with Largest() as largest:
            found = newton_schulz(g)
        largest.must_not_exceed(120)
        assert_close(found, driven(g))


class TestMuon:
    @pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3)])
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"lr": 0.1, "momentum": 0.5},
            {"lr": 0.1, "momentum": 0.8, "nesterov": False},
            {"lr": 0.3, "momentum": 0.0},
            {"lr": 0.1, "weight_decay": 0.5},
            {"lr": 0.02, "weight_decay": 2.0, "momentum": 0.7, "nesterov": False},
        ],
        ids=str,
    )
    def test_follows_the_rule(self, shape, options):
        (w,) = weights(shape)
        full = {"lr": 0.02, "momentum": 0.95, "nesterov": True, "weight_decay": 0.0, **options}
        mu, scale = full["momentum"], max(1.0, shape[0] / shape[1]) ** 0.5
        optimizer, at, m = Muon([w], **options), w.detach().clone(), torch.zeros(shape, dtype=F64)
        for _ in range(5):
            w.grad = torch.randn(shape, dtype=F64)
            m = mu * m + (1 - mu) * w.grad
            u = mu * m + (1 - mu) * w.grad if full["nesterov"] else m
            at = at - full["lr"] * full["weight_decay"] * at - full["lr"] * scale * driven(u)
            optimizer.step()
            assert_close(w.detach(), at)

    def test_close_to_torchs_own(self):
        """torch computes Newton–Schulz in bfloat16, so that only two digits agree."""
        (w,) = weights((6, 4))
        other = w.detach().clone().requires_grad_()
        given = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.2}
        one, theirs = Muon([w], **given), torch.optim.Muon([other], **given)
        for _ in range(3):
            give_gradients([w], [other])
            one.step()
            theirs.step()
        assert_close(w.detach(), other.detach(), rtol=0, atol=0.03)

    def test_groups_and_options_changed_on_the_way(self):
        mine = weights((3, 2), (2, 4))
        at, moments = values(mine), [torch.zeros_like(w) for w in values(mine)]
        groups = [{"params": mine[:1], "lr": 0.4, "weight_decay": 0.5, "momentum": 0.5}, {"params": mine[1:]}]
        optimizer = Muon(groups, lr=0.1, momentum=0.7)
        steps = [
            {},
            {"lr": (0.2, 0.3)},
            {"momentum": (0.9, 0.2)},
            {"weight_decay": (0.0, 0.9)},
            {"nesterov": (False, True)},
        ]
        for changes in steps:
            for i, group in enumerate(optimizer.param_groups):
                group.update({key: both[i] for key, both in changes.items()})
            give_gradients(mine)
            for i, (group, w) in enumerate(zip(optimizer.param_groups, mine, strict=True)):
                mu, lr = group["momentum"], group["lr"]
                moments[i] = mu * moments[i] + (1 - mu) * w.grad
                u = mu * moments[i] + (1 - mu) * w.grad if group["nesterov"] else moments[i]
                scale = max(1.0, w.shape[0] / w.shape[1]) ** 0.5
                at[i] = (1 - lr * group["weight_decay"]) * at[i] - lr * scale * driven(u)
            optimizer.step()
            assert_close(values(mine), at)

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_closure(self, enabled):
        assert_closure(Muon, enabled)

    def test_what_it_leaves_alone(self):
        assert_leaves_alone(lambda w: Muon(w, weight_decay=0.5))

    def test_it_resumes(self):
        assert_resumes(lambda w: Muon(w, lr=0.3, momentum=0.6, weight_decay=0.1), Muon)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("lr", -0.25),
            ("lr", math.nan),
            ("weight_decay", -0.5),
            ("momentum", -0.25),
            ("momentum", 1.0),
            ("momentum", 1.5),
        ],
    )
    def test_other_options_are_refused(self, name, value):
        with raises(ValueError, "nan" if math.isnan(value) else value):
            Muon(weights((2, 2)), **{name: value})

    def test_zeros_are_allowed(self):
        mine = weights((2, 2))
        before = values(mine)
        give_gradients(mine)
        Muon(mine, lr=0.0, momentum=0.0, weight_decay=0.0).step()
        assert_close(values(mine), before)

    @pytest.mark.parametrize("shape", [(7,), (2, 7, 3)])
    def test_only_matrices(self, shape):
        good, bad = weights((2, 2), shape)
        with raises(ValueError, shape):
            Muon([good, bad])
        with raises(ValueError, shape):
            Muon([{"params": [good]}, {"params": [bad]}])


class TestOnTheGpu:
    def test_hvp(self, gpu):
        def loss(w):
            return (w**4).sum() + w.sum() ** 2

        w, v = torch.randn(4, dtype=F64), torch.randn(4, dtype=F64)
        found = hvp(loss, gpu(w), gpu(v))
        assert_equal(found.device.type, gpu.device.type)
        assert_close(found.cpu(), hvp(loss, w, v))
        linear = hvp(lambda w: (2 * w).sum(), gpu(w), gpu(v))
        assert_equal(linear.device.type, gpu.device.type)

    def test_conjugate_gradient(self, gpu):
        b = torch.randn(4, dtype=F64)
        found = conjugate_gradient(lambda p: 3 * p, gpu(b))
        assert_equal(found.device.type, gpu.device.type)
        assert_close(found.cpu(), b / 3)

    def test_newton_step(self, gpu):
        w = torch.randn(4, dtype=F64)
        found = newton_step(lambda w: (w**2).sum(), gpu(w), 2.0)
        assert_equal(found.device.type, gpu.device.type)
        assert_close(found.cpu(), w / 2)

    def test_inverse_root(self, gpu):
        matrix = gpu(definite(3))
        root = inverse_root(matrix, 2)
        assert_equal(root.device.type, gpu.device.type)
        assert_close((root @ root @ matrix).cpu(), torch.eye(3, dtype=F64))

    def test_shampoo(self, gpu):
        assert_on_the_device(Shampoo, gpu)

    def test_newton_schulz(self, gpu):
        gpu.check(newton_schulz, torch.randn(4, 3, dtype=F64))

    def test_muon(self, gpu):
        assert_on_the_device(lambda w: Muon(w, lr=0.1, weight_decay=0.2), gpu)
