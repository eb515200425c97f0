"""Judges k09_mixed_precision against torch.autocast, torch.amp.GradScaler and float64 training."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, raises
from katas.module_08_efficient_computing.k09_mixed_precision import (
    LossScaler,
    MasterWeights,
    autocast_dtype,
    train,
)

pytestmark = [
    from_scratch(
        "torch.amp",
        "torch.autocast",
        "torch.cuda.amp",
        "torch.cpu.amp",
        "torch.distributed.fsdp.sharded_grad_scaler",
        "torch._amp_update_scale_",
        "torch._amp_foreach_non_finite_check_and_unscale_",
    )
]

HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
LOW = ["matmul", "mm", "bmm", "addmm", "baddbmm", "linear", "conv1d", "conv2d"]
FULL = ["exp", "log", "pow", "sum", "prod", "softmax", "log_softmax", "layer_norm"]
FULL += ["l1_loss", "mse_loss", "nll_loss", "cross_entropy"]
# The later ones are like names of the other rows, or in torch's own lists: the lesson's table alone decides.
OTHERS = ["add", "mul", "relu", "cat", "where", "dropout", "conv3d", "einsum", "cumsum", "log1p", "smooth_l1_loss"]
# Ops for which torch's list for the CPU is the lesson's table; the others' rows are the CUDA list's.
LABELS = torch.tensor([2, 0, 1])
REAL = {
    "matmul": lambda a, b: a @ b,
    "mm": lambda a, b: torch.mm(a, b),
    "bmm": lambda a, b: torch.bmm(a[None], b[None]),
    "addmm": lambda a, b: torch.addmm(a, b, b),
    "baddbmm": lambda a, b: torch.baddbmm(a[None], b[None], b[None]),
    "linear": lambda a, b: F.linear(a, b),
    "conv1d": lambda a, b: F.conv1d(a[None], b[..., None]),
    "conv2d": lambda a, b: F.conv2d(a[None, :, None], b[..., None, None]),
    "prod": lambda a, b: a.prod(),
    "l1_loss": lambda a, b: F.l1_loss(a, b),
    "mse_loss": lambda a, b: F.mse_loss(a, b),
    "nll_loss": lambda a, b: F.nll_loss(a, LABELS),
    "cross_entropy": lambda a, b: F.cross_entropy(a, LABELS),
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "relu": lambda a, b: a.relu(),
    "cat": lambda a, b: torch.cat([a, b]),
    "where": lambda a, b: torch.where(LABELS > 0, a, b),
}
UNARY = {"prod", "nll_loss", "cross_entropy", "relu"}


class TestAutocastDtype:
    @pytest.mark.parametrize("low", [BRAIN, HALF])
    @pytest.mark.parametrize("op", REAL)
    @pytest.mark.parametrize("pair", [(SINGLE, SINGLE), ("low", "low"), ("low", SINGLE), (SINGLE, "low"), (DOUBLE, DOUBLE)], ids=str)
    def test_matches_torchs_autocast(self, pair, op, low):
        pair = [low if dtype == "low" else dtype for dtype in pair]
        a, b = (torch.rand(3, 3).to(dtype) for dtype in pair)
        with torch.autocast("cpu", dtype=low):
            expected = REAL[op](a, b).dtype
        given = pair[:1] if op in UNARY else pair
        assert_equal(autocast_dtype(op, *given, low=low), expected)

    @pytest.mark.parametrize("op", LOW)
    def test_matrix_products_run_in_the_low_dtype(self, op):
        assert_equal(autocast_dtype(op, SINGLE, SINGLE), HALF)
        assert_equal(autocast_dtype(op, HALF, SINGLE, low=BRAIN), BRAIN)
        assert_equal(autocast_dtype(op, BRAIN, BRAIN, low=HALF), HALF)

    @pytest.mark.parametrize("op", FULL)
    def test_exponentials_sums_and_losses_run_in_float32(self, op):
        assert_equal(autocast_dtype(op, HALF), SINGLE)
        assert_equal(autocast_dtype(op, BRAIN, BRAIN, low=BRAIN), SINGLE)
        assert_equal(autocast_dtype(op, SINGLE, HALF), SINGLE)

    @pytest.mark.parametrize("op", OTHERS)
    def test_all_others_run_in_the_widest_dtype_they_are_given(self, op):
        assert_equal(autocast_dtype(op, HALF), HALF)
        assert_equal(autocast_dtype(op, HALF, low=BRAIN), HALF)
        assert_equal(autocast_dtype(op, BRAIN, BRAIN), BRAIN)
        assert_equal(autocast_dtype(op, SINGLE, HALF), SINGLE)
        assert_equal(autocast_dtype(op, HALF, HALF, SINGLE), SINGLE)
        assert_equal(autocast_dtype(op, HALF, BRAIN), SINGLE)

    @pytest.mark.parametrize("op", ["linear", "softmax", "cat"])
    def test_float64_is_left_alone_in_every_row(self, op):
        assert_equal(autocast_dtype(op, DOUBLE), DOUBLE)
        assert_equal(autocast_dtype(op, HALF, DOUBLE, SINGLE), DOUBLE)
        assert_equal(autocast_dtype(op, DOUBLE, BRAIN, low=BRAIN), DOUBLE)


def parameters(*shapes: tuple[int, ...], gradient: float = 1.0) -> list[nn.Parameter]:
    """Random float32 parameters whose gradients are all `gradient`."""
    made = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    for p in made:
        p.grad = torch.full_like(p, gradient)
    return made


def run(scaler, kinds: list[float]) -> list[float]:
    """The scales after iterations with gradients of `kinds`."""
    (p,) = parameters((2,))
    optimizer = torch.optim.SGD([p], lr=0.0)
    scales = []
    for kind in kinds:
        p.grad = torch.tensor([1.0, kind])
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
    return scales


class TestLossScaler:
    def test_the_example_worked_by_hand(self):
        inf = float("inf")
        scales = run(LossScaler(8.0, 2.0, 0.5, 2), [1, 1, inf, 1, inf, 1, 1])
        assert_close(scales, [8.0, 16.0, 8.0, 8.0, 4.0, 4.0, 8.0])

    @pytest.mark.parametrize("factors", [(2.0, 0.5, 3), (4.0, 0.25, 1), (1.5, 0.75, 2)])
    def test_matches_gradscaler_step_by_step(self, rng, factors):
        growth, backoff, interval = factors
        ours = parameters((3, 2), (4,))
        theirs = [nn.Parameter(p.detach().clone()) for p in ours]
        # Momentum and two groups: a skipped step must leave the optimizer's state alone as well.
        optimizers = [
            torch.optim.SGD([{"params": ps[:1]}, {"params": ps[1:], "lr": 0.3}], lr=0.1, momentum=0.9)
            for ps in (ours, theirs)
        ]
        scaler = LossScaler(48.0, growth, backoff, interval)
        oracle = torch.amp.GradScaler(
            "cpu", init_scale=48.0, growth_factor=growth, backoff_factor=backoff, growth_interval=interval
        )
        for iteration in range(20):
            oracle.scale(torch.zeros(()))  # makes its scale
            kind = [float("inf"), float("-inf"), float("nan"), *[1.0] * 8][int(rng.integers(11))]
            if iteration < 3:
                kind = 1.0
            for a, b in zip(ours, theirs, strict=True):
                a.grad = torch.randn(a.shape) * scaler.get_scale()
                b.grad = a.grad.clone()
            spoilt = int(rng.integers(2))
            for ps in (ours, theirs):
                ps[spoilt].grad.view(-1)[3] *= kind
            before = [p.detach().clone() for p in theirs]
            if iteration % 3 == 1:
                scaler.unscale_(optimizers[0])
            stepped = scaler.step(optimizers[0])
            oracle.step(optimizers[1])
            for a, b in zip(ours, theirs, strict=True):
                assert_close(a.detach(), b.detach())
                assert_close(a.grad, b.grad, equal_nan=True)
            moved = any(bool((p != q).any()) for p, q in zip(theirs, before, strict=True))
            assert_equal(stepped, moved)
            scaler.update()
            oracle.update()
            # GradScaler keeps its scale in float32; a float is as good.
            assert_close(scaler.get_scale(), oracle.get_scale(), rtol=1e-5, atol=0)

    def test_defaults_are_gradscalers(self):
        oracle = torch.amp.GradScaler("cpu")
        assert_close(LossScaler().get_scale(), oracle.get_scale())
        scales = run(LossScaler(), [1.0] * 2001 + [float("nan")] * 2)
        assert_close(scales[1998:], [65536.0, 131072.0, 131072.0, 65536.0, 32768.0])

    @pytest.mark.parametrize("good", [1, 2, 3, 4])
    def test_good_iterations_are_counted_in_a_row(self, good):
        scales = run(LossScaler(16.0, growth_interval=4), [1.0] * good + [float("nan")] + [1.0] * 4)
        assert_close(scales[-2:], [16.0, 32.0] if good == 4 else [8.0, 16.0])

    def test_the_scale_has_no_floor_and_no_ceiling(self):
        down = run(LossScaler(2.0), [float("nan")] * 60)
        assert_close(down, [2.0**-i for i in range(60)], rtol=1e-9, atol=0)
        up = run(LossScaler(2.0, growth_interval=1), [1.0] * 100)
        assert_close(up, [2.0**i for i in range(2, 102)], rtol=1e-9, atol=0)

    @pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
    def test_scale_multiplies_the_loss_and_its_gradient(self, dtype):
        scaler = LossScaler(24.0)
        x = torch.randn(3, dtype=dtype, requires_grad=True)
        scaled = scaler.scale(x.square().sum())
        assert_close(scaled.detach(), 24 * x.detach().square().sum())
        scaled.backward()
        assert_close(x.grad, 48 * x.detach())
        assert_close(scaler.get_scale(), 24.0)

    @pytest.mark.parametrize("dtype", [HALF, BRAIN])
    def test_a_low_precision_loss_is_scaled_in_float32(self, dtype):
        loss = torch.tensor(3.0, dtype=dtype)
        assert_close(LossScaler().scale(loss), torch.tensor(3 * 65536.0))
        assert_close(LossScaler(1025.0).scale(loss), torch.tensor(3075.0))
        assert_close(loss, torch.tensor(3.0, dtype=dtype))

    @pytest.mark.parametrize("dtype", [BRAIN, SINGLE, DOUBLE])
    def test_unscale_divides_every_gradient_once(self, dtype):
        ps = [nn.Parameter(torch.zeros(n, dtype=dtype)) for n in (2, 3, 4)]
        expected = [torch.randn_like(p) for p in ps]  # times 8 and divided by 8 exactly, in any dtype
        ps[0].grad, ps[2].grad = 8 * expected[0], 8 * expected[2]
        optimizer = torch.optim.SGD([{"params": ps[:1]}, {"params": ps[1:]}], lr=1.0)
        scaler = LossScaler(8.0)
        scaler.unscale_(optimizer)
        assert_close([ps[0].grad, ps[2].grad], [expected[0], expected[2]])
        assert_equal(ps[1].grad, None)
        assert_close(ps[0].detach(), torch.zeros(2, dtype=dtype))
        assert_equal(scaler.step(optimizer), True)
        assert_close([p.detach() for p in ps], [-expected[0], torch.zeros(3, dtype=dtype), -expected[2]])

    def test_clipping_between_unscale_and_step_is_kept(self):
        (p,) = parameters((3,), gradient=40.0)
        start = p.detach().clone()
        optimizer = torch.optim.SGD([p], lr=1.0)
        scaler = LossScaler(4.0)
        scaler.unscale_(optimizer)
        p.grad.clamp_(max=2.0)
        scaler.step(optimizer)
        assert_close(p.detach(), start - 2.0)

    @pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
    def test_what_unscale_found_decides(self, bad):
        p, q = parameters((3,), (2,))
        p.grad[1] = bad
        start = p.detach().clone()
        optimizer = torch.optim.SGD([p, q], lr=1.0)
        scaler = LossScaler(4.0)
        scaler.unscale_(optimizer)
        p.grad.fill_(1.0)
        assert_equal(scaler.step(optimizer), False)
        assert_close(p.detach(), start)
        scaler.update()
        assert_close(scaler.get_scale(), 2.0)
        p.grad.fill_(2.0)
        assert_equal(scaler.step(optimizer), True)
        assert_close(p.detach(), start - 1.0)

    def test_an_inf_is_found_in_a_bfloat16_gradient(self):
        p = nn.Parameter(torch.zeros(2, dtype=BRAIN))
        p.grad = torch.tensor([8.0, float("inf")], dtype=BRAIN)
        assert_equal(LossScaler(4.0).step(torch.optim.SGD([p], lr=1.0)), False)

    @pytest.mark.parametrize("gradient", [1e30, 3e38])
    def test_large_gradients_are_no_inf(self, gradient):
        # Each is finite, though their sum or their norm isn't.
        (p,) = parameters((6,), gradient=gradient)
        optimizer = torch.optim.SGD([p], lr=0.0)
        scaler = LossScaler(2.0)
        assert_equal(scaler.step(optimizer), True)
        scaler.update()
        assert_close(scaler.get_scale(), 2.0)

    def test_what_unscale_did_not_find_does_not_matter(self):
        (p,) = parameters((2,))
        start = p.detach().clone()
        optimizer = torch.optim.SGD([p], lr=1.0)
        scaler = LossScaler(4.0, growth_interval=1)
        scaler.unscale_(optimizer)
        p.grad.copy_(torch.tensor([2.0, float("inf")]))
        assert_equal(scaler.step(optimizer), True)
        assert_close(p.detach(), torch.tensor([start[0].item() - 2, -float("inf")]))
        scaler.update()
        assert_close(scaler.get_scale(), 8.0)

    @pytest.mark.parametrize("first", ["unscale_", "step"])
    @pytest.mark.parametrize("gradient", [4.0, float("inf")])
    def test_unscaling_twice_is_an_error_until_update(self, first, gradient):
        (p,) = parameters((3,), gradient=gradient)
        optimizer = torch.optim.SGD([p], lr=0.0)
        scaler = LossScaler(4.0)
        getattr(scaler, first)(optimizer)
        with raises(RuntimeError, "update"):
            scaler.unscale_(optimizer)
        assert_close(p.grad, torch.full((3,), gradient / 4))
        scaler.update()
        p.grad = torch.full((3,), 4 * scaler.get_scale())
        scaler.unscale_(optimizer)
        assert_close(p.grad, torch.full((3,), 4.0))

    @pytest.mark.parametrize("call", ["unscale_", "step"])
    def test_float16_gradients_are_refused_before_any_is_changed(self, call):
        p, r = parameters((3,), (3,), gradient=8.0)
        q = nn.Parameter(torch.zeros(2, dtype=HALF))
        q.grad = torch.full((2,), 8.0, dtype=HALF)
        with raises(ValueError, "float16", "float32"):
            getattr(LossScaler(4.0), call)(torch.optim.SGD([{"params": [p]}, {"params": [r, q]}], lr=1.0))
        assert_close([p.grad, r.grad], [torch.full((3,), 8.0)] * 2)
        assert_close(q.grad, torch.full((2,), 8.0, dtype=HALF))


class TestMasterWeights:
    def test_the_example_worked_by_hand(self):
        w = nn.Parameter(torch.tensor([1.5], dtype=HALF))
        weights = MasterWeights([w])
        optimizer = torch.optim.SGD(weights.master, lr=2.0**-12)
        for _ in range(4):
            w.grad = torch.ones(1, dtype=HALF)
            weights.read_gradients()
            optimizer.step()
            weights.write_weights()
        assert_close(weights.master[0].detach(), torch.tensor([1.4990234375]))
        assert_close(w.detach(), torch.tensor([1.4990234375], dtype=HALF), rtol=0, atol=0)

    def test_a_gradient_that_float16_loses_survives_scaling(self):
        w = nn.Parameter(torch.tensor([1.5], dtype=HALF))
        (w.float() * 1e-8).sum().backward()
        assert_equal(w.grad.item(), 0.0)
        w.grad = None
        weights, scaler = MasterWeights([w]), LossScaler(1024.0)
        scaler.scale((w.float() * 1e-8).sum()).backward()
        weights.read_gradients()
        scaler.unscale_(torch.optim.SGD(weights.master, lr=1.0))
        assert_close(weights.master[0].grad, torch.tensor([172 * 2.0**-34]), atol=0, rtol=1e-6)

    def test_updates_that_float16_would_lose_add_up(self):
        start = (1 + torch.rand(50)).clamp(1.01, 1.99).half()
        naive = start.clone()
        p = nn.Parameter(start.clone())
        weights = MasterWeights([p])
        optimizer = torch.optim.SGD(weights.master, lr=1e-4)
        for _ in range(60):
            naive -= 1e-4
            p.grad = torch.ones_like(p)
            weights.read_gradients()
            optimizer.step()
            weights.write_weights()
        assert_equal(int((naive != start).sum()), 0)
        assert_equal(int((p.detach() != start).sum()), 50)
        # 60 roundings of float32 to half an ulp, 6e-8 each
        assert_close(weights.master[0].detach(), start.float() - 60e-4, atol=5e-6, rtol=0)

    @pytest.mark.parametrize("dtype", [HALF, BRAIN, SINGLE])
    def test_copies_weights_and_gradients_in_order(self, dtype):
        ps = [nn.Parameter(torch.randn(shape).to(dtype)) for shape in [(3, 2), (4,), (2, 5)]]
        start = [p.detach().clone() for p in ps]
        weights = MasterWeights(p for p in ps)
        assert_close([m.detach() for m in weights.master], [p.float() for p in start])
        assert_equal([m.is_leaf for m in weights.master], [True] * 3)
        for _ in range(2):  # again: a read replaces, it doesn't add
            ps[0].grad, ps[2].grad = (torch.randn_like(ps[i]) for i in (0, 2))
            weights.read_gradients()
            expected = [ps[0].grad.float(), ps[2].grad.float()]
            assert_close([weights.master[0].grad, weights.master[2].grad], expected)
            assert_equal(weights.master[1].grad, None)
        ps[0].grad = None
        weights.read_gradients()
        assert_equal(weights.master[0].grad, None)

    def test_frozen_parameters_have_a_master_too(self):
        ps = [nn.Parameter(torch.full((n,), float(n)), requires_grad=n != 3) for n in (2, 3, 4)]
        weights = MasterWeights(ps)
        assert_close([m.detach() for m in weights.master], [p.detach() for p in ps])

    def test_shares_no_memory_even_with_a_float32_model(self):
        (p,) = parameters((3,), gradient=6.0)
        start = p.detach().clone()
        weights = MasterWeights([p])
        weights.read_gradients()
        with torch.no_grad():
            weights.master[0].add_(1.0)
            weights.master[0].grad.zero_()
        assert_close(p.detach(), start)
        assert_close(p.grad, torch.full((3,), 6.0))
        weights.write_weights()
        assert_close(p.detach(), start + 1)
        with torch.no_grad():
            weights.master[0].add_(1.0)
        assert_close(p.detach(), start + 1)

    @pytest.mark.parametrize("dtype", [HALF, BRAIN])
    def test_writes_rounded_into_the_same_tensors(self, dtype):
        ps = [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in [(30, 2), (4,)]]
        places = [p.data_ptr() for p in ps]
        weights = MasterWeights(ps)
        values = [torch.randn(p.shape) for p in ps]
        with torch.no_grad():
            for master, value in zip(weights.master, values, strict=True):
                master.copy_(value)
        weights.write_weights()
        assert_close([p.detach() for p in ps], [v.to(dtype) for v in values], rtol=0, atol=0)
        assert_close([m.detach() for m in weights.master], values, rtol=0, atol=0)
        assert_equal([p.data_ptr() for p in ps], places)
        assert_equal([p.requires_grad for p in ps], [True] * 2)


def tiny_readings(n: int = 32):
    """Readings of about 2⁻¹³ and a float16 line through them: its gradients lie below float16's range."""
    x = (torch.randn(n, 6) * 2.0**-13).half()
    y = x.float() @ (2 * torch.rand(6, 8) - 1)
    return nn.Linear(6, 8, bias=False).half(), x, y


def adam(master):
    return torch.optim.Adam(master, lr=0.05, eps=1e-14)


def network():
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).half()


def torchs_train(model, batches, make_optimizer, scaler) -> list[float]:
    """The same loop with torch's own scaler and hand-kept float32 copies; returns the losses."""
    masters = [nn.Parameter(p.detach().float().clone()) for p in model.parameters()]
    optimizer = make_optimizer(masters)
    losses = []
    for x, y in batches:
        loss = F.mse_loss(model(x).float(), y)
        gradients = torch.autograd.grad(scaler.scale(loss), list(model.parameters()))
        for master, gradient in zip(masters, gradients, strict=True):
            master.grad = gradient.float()
        scaler.step(optimizer)
        scaler.update()
        for p, master in zip(model.parameters(), masters, strict=True):
            p.data = master.detach().half()
        losses.append(loss.item())
    return losses


class TestTrain:
    def test_without_scaling_gradients_underflow_and_nothing_is_learned(self):
        model, x, y = tiny_readings()
        start = model.weight.detach().clone()
        seen = []
        model.weight.register_hook(lambda g: seen.append(g.clone()))
        losses = train(model, [(x, y)] * 10, adam)
        assert_equal(int(torch.stack(seen).count_nonzero()), 0)
        assert_equal(tuple(seen[0].shape), (8, 6))
        assert_close(model.weight.detach(), start)
        assert_close(losses, [losses[0]] * 10)

    def test_with_scaling_the_same_loop_learns(self):
        model, x, y = tiny_readings()
        twin = copy.deepcopy(model)
        baseline = train(twin, [(x, y)] * 10, adam, None)
        seen = []
        model.weight.register_hook(lambda g: seen.append(g.clone()))
        losses = train(model, [(x, y)] * 100, adam, LossScaler())
        assert_equal(model.weight.dtype, HALF)
        assert_equal(seen[0].dtype, HALF)
        survive = int(seen[0].count_nonzero())
        if survive < 44:
            fail(f"Of 48 gradients, {survive} survive in float16 with a scale of 65536: nearly all should.", evidence=survive)
        # float32 keeps 7 digits of a loss of about 1e-8
        assert_close(losses[0], baseline[0], rtol=1e-5, atol=0)
        if not losses[-1] < 0.05 * baseline[-1]:
            fail(f"with scaling the loss is {losses[-1]:.3g} after 100 steps, and {baseline[-1]:.3g} without any step")

    @pytest.mark.parametrize("scaling", [(2.0**24, 2.0, 0.5, 3), (2.0**21, 4.0, 0.25, 1), (64.0, 2.0, 0.5, 100)])
    def test_matches_a_loop_with_gradscaler_through_overflow(self, scaling):
        init, growth, backoff, interval = scaling
        model = network()
        twin = copy.deepcopy(model)
        batches = [(torch.randn(n, 5).half(), torch.randn(n, 3)) for n in [4, 6, 4, 9] * 7]
        scaler = LossScaler(*scaling)
        oracle = torch.amp.GradScaler(
            "cpu", init_scale=init, growth_factor=growth, backoff_factor=backoff, growth_interval=interval
        )

        def make(masters):
            return torch.optim.SGD(masters, lr=0.05, momentum=0.5)

        # A generator: batches are taken one at a time, once.
        losses = train(model, (batch for batch in batches), make, scaler)
        expected = torchs_train(twin, batches, make, oracle)
        if not math.isclose(scaler.get_scale(), oracle.get_scale(), rel_tol=1e-5):
            fail(
                f"the scale is {scaler.get_scale():g} after training, where GradScaler's is {oracle.get_scale():g}",
                evidence=scaler.get_scale(),
            )
        # Another order of float32 sums in the loss moves float16 gradients by one rounding, 5e-4.
        assert_close(losses, expected, rtol=5e-3, atol=1e-4)
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            assert_close(p.detach(), q.detach(), rtol=5e-3, atol=2e-3)
            assert_equal(p.dtype, HALF)

    @pytest.mark.parametrize("scaled", [False, True])
    def test_small_steps_add_up_as_in_float64(self, scaled):
        model = nn.Linear(4, 3).half()
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(1.2 + 0.6 * torch.rand(p.shape))
        twin = copy.deepcopy(model).double()
        start = [p.detach().double() for p in model.parameters()]
        x, y = (torch.rand(8, 4) + 0.5).half(), torch.rand(8, 3) - 3.0

        def make(masters):
            return torch.optim.SGD(masters, lr=2e-5)

        for p in model.parameters():
            p.grad = torch.full_like(p, 1000.0)  # left over from before: must not count
        train(model, [(x, y)] * 100, make, LossScaler(256.0, growth_interval=1000) if scaled else None)
        optimizer = make(list(twin.parameters()))
        for _ in range(100):
            optimizer.zero_grad()
            (twin(x.double()) - y.double()).square().mean().backward()
            optimizer.step()
        for p, q, s in zip(model.parameters(), twin.parameters(), start, strict=True):
            assert (q.detach() - s).abs().min() > 4e-3, "each weight moves by several roundings of float16"
            # Half a rounding of float16 in [1, 2) is 5e-4.
            assert_close(p.detach().double(), q.detach(), rtol=0, atol=6e-4)

    def test_returns_unscaled_losses_from_before_each_step(self):
        model = network()
        x, y = torch.randn(6, 5).half(), torch.randn(6, 3)
        before = F.mse_loss(model(x).float(), y).item()
        made = []

        def make(masters):
            made.append([(m.dtype, tuple(m.shape)) for m in masters])
            return torch.optim.SGD(masters, lr=0.01)

        losses = train(model, [(x, y)] * 3, make, LossScaler(128.0))
        assert_equal(made, [[(SINGLE, tuple(p.shape)) for p in model.parameters()]])
        assert_equal([type(loss) for loss in losses], [float] * 3)
        # Orders of a float32 sum differ by its last digits, not by float16's.
        assert_close(losses[0], before, rtol=1e-5, atol=0)
        if not losses[2] < losses[1] < losses[0]:
            fail(f"The losses of three steps on one batch are {losses}: each should be below the one before.", evidence=losses)
        assert_equal(train(model, [], make), [])

    def test_leaves_the_batches_as_they_are(self):
        batches = [(torch.randn(n, 5).half(), torch.randn(n, 3)) for n in (4, 6)]
        kept = copy.deepcopy(batches)
        for scaler in (None, LossScaler(16.0)):
            train(network(), batches, adam, scaler)
            assert_close(batches, kept, rtol=0, atol=0)

    @pytest.mark.parametrize("scaled", [False, True])
    def test_parameters_without_a_gradient_stay(self, scaled):
        model = network()
        model[0].weight.requires_grad_(False)
        model.unused = nn.Parameter(torch.ones(3, dtype=HALF))
        model.forward = lambda x: model[2](model[1](model[0](x)))
        start = copy.deepcopy(model.state_dict())
        batches = [(torch.randn(4, 5).half(), torch.randn(4, 3)) for _ in range(3)]

        def decaying(masters):
            # Weight decay moves whatever has a gradient, even one of 0.
            return torch.optim.AdamW(masters, lr=0.1, weight_decay=0.5)

        train(model, batches, decaying, LossScaler(16.0) if scaled else None)
        after = model.state_dict()
        for name in ("0.weight", "unused"):
            assert_close(after[name], start[name], rtol=0, atol=0)
        assert_equal(bool((after["2.weight"] != start["2.weight"]).any()), True)

    def test_without_a_scaler_an_inf_is_used_as_it_comes(self):
        model = nn.Linear(2, 1, bias=False).half()
        with torch.no_grad():
            model.weight.fill_(1.0)
        # The outputs, 6e4 each, are finite; their gradients times 3e4 aren't.
        train(model, [(torch.full((2, 2), 3e4, dtype=HALF), torch.zeros(2, 1))], lambda m: torch.optim.SGD(m, lr=1.0))
        assert_close(model.weight.detach(), torch.full((1, 2), -float("inf"), dtype=HALF))

    def test_after_each_batch_the_model_holds_the_rounded_masters(self):
        model, made, seen, expected = network(), [], [], []

        def make(masters):
            made.extend(masters)
            return torch.optim.SGD(masters, lr=0.1)

        def batches():
            for _ in range(3):
                # Whoever asked for all batches at once hasn't trained on any yet.
                if made:
                    seen.append([p.detach().clone() for p in model.parameters()])
                    expected.append([m.detach().half() for m in made])
                yield torch.randn(4, 5).half(), torch.randn(4, 3)

        train(model, batches(), make, LossScaler(16.0))
        if not all(
            torch.equal(p, m) for ps, ms in zip(seen, expected, strict=True) for p, m in zip(ps, ms, strict=True)
        ):
            fail("when the next batch is taken, the model doesn't hold the rounded masters yet")

    def test_a_model_in_training_mode_stays_in_it(self):
        model, modes = network(), []
        model.register_forward_pre_hook(lambda module, args: modes.append(module.training))
        train(model, [(torch.randn(4, 5).half(), torch.randn(4, 3))] * 2, adam, LossScaler(16.0))
        assert_equal([*modes, model.training], [True] * 3)


def moved_network(gpu):
    """A network, and its copy on the device, with the same gradients."""
    model = network()
    moved = gpu(model)
    for p, q in zip(model.parameters(), moved.parameters(), strict=True):
        p.grad = torch.randn_like(p)
        q.grad = gpu(p.grad)
    return model, moved


def check_place(gpu, tensors):
    assert_equal({tensor.device.type for tensor in tensors}, {gpu.device.type})


class TestOnTheGpu:
    @pytest.mark.parametrize("dtype", [HALF, SINGLE])
    def test_scale(self, gpu, dtype):
        gpu.check(LossScaler(24.0).scale, torch.tensor(3.0, dtype=dtype, requires_grad=True))

    @pytest.mark.parametrize("kind", [1.0, float("inf")])
    def test_unscale_and_step(self, gpu, kind):
        p = nn.Parameter(gpu(torch.tensor([1.0, 2.0])))
        p.grad = gpu(torch.tensor([8.0, kind]))
        stepped = LossScaler(4.0).step(torch.optim.SGD([p], lr=1.0))
        assert_equal(stepped, kind == 1.0)
        check_place(gpu, [p, p.grad])
        assert_close(p.detach().cpu(), torch.tensor([-1.0, 1.75] if stepped else [1.0, 2.0]))

    def test_master_weights(self, gpu):
        model, moved = moved_network(gpu)
        weights, twin = MasterWeights(moved.parameters()), MasterWeights(model.parameters())
        weights.read_gradients()
        twin.read_gradients()
        check_place(gpu, [*weights.master, *(m.grad for m in weights.master)])
        assert_close([m.detach().cpu() for m in weights.master], [m.detach() for m in twin.master])
        assert_close([m.grad.cpu() for m in weights.master], [m.grad for m in twin.master])
        with torch.no_grad():
            for master in weights.master:
                master.add_(1.0)
        weights.write_weights()
        check_place(gpu, moved.parameters())
        assert_close([p.detach().cpu() for p in moved.parameters()], [(m.detach() + 1).half() for m in twin.master])

    @pytest.mark.parametrize("scaled", [False, True])
    def test_train(self, gpu, scaled):
        model = network()
        moved = gpu(model)
        batches = [(torch.randn(4, 5).half(), torch.randn(4, 3)) for _ in range(3)]

        def make(masters):
            return torch.optim.SGD(masters, lr=0.05, momentum=0.5)

        expected = train(model, batches, make, LossScaler(64.0) if scaled else None)
        losses = train(moved, gpu(batches), make, LossScaler(64.0) if scaled else None)
        check_place(gpu, moved.parameters())
        # As above: a float32 sum in another order moves float16 gradients by one rounding.
        assert_close(losses, expected, rtol=5e-3, atol=1e-4)
        for p, q in zip(moved.parameters(), model.parameters(), strict=True):
            assert_close(p.detach().cpu(), q.detach(), rtol=5e-3, atol=2e-3)
