"""Judges k03_adam against torch.optim step by step, the formulas worked by hand, and brute force over blocks."""

import math

import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.optimizers import give_gradients, passed_on, twins, weights
from katas.module_07_training.k03_adam import Adam, AdamW, adam_direction, dequantize_blocks, quantize_blocks

pytestmark = [
    from_scratch(
        "torch.optim.Adam",
        "torch.optim.AdamW",
        "torch.optim.adam",
        "torch.optim.adamw",
        "torch.optim.NAdam",
        "torch.optim.RAdam",
        "torch.optim.Adamax",
    ),
    pure("adam_direction"),
    pytest.mark.deadline(60),  # torch imports its compiler at the first optimizer, which takes a busy machine a while
]

OPTIONS = [
    {"lr": 0.1},
    {"lr": 0.02, "betas": (0.7, 0.9)},
    {"lr": 0.1, "betas": (0.0, 0.95)},
    {"lr": 0.1, "betas": (0.8, 0.0), "eps": 0.5},
    {"lr": 0.1, "eps": 0.03},
    {"lr": 0.1, "weight_decay": 0.1},
    {"lr": 0.05, "weight_decay": 0.6, "eps": 0.1},
    {"lr": 0.1, "betas": (0.8, 0.5), "amsgrad": True},
    {"lr": 0.1, "betas": (0.5, 0.8), "amsgrad": True, "weight_decay": 0.3, "eps": 0.2},
    {"lr": 0.1, "maximize": True},
    {"lr": 0.1, "maximize": True, "weight_decay": 0.4, "amsgrad": True},
    {"lr": 0.0, "weight_decay": 0.4},
]
GROUPS = [
    {"lr": 0.1, "betas": (0.5, 0.9), "eps": 0.2, "weight_decay": 0.5, "amsgrad": True, "maximize": True},
    {"lr": 0.03, "betas": (0.8, 0.6), "weight_decay": 0.2},
    {"eps": 0.4},
]
WRONG = [
    ("lr", -0.125, -0.125),
    ("lr", math.nan, "nan"),
    ("eps", -1e-3, -1e-3),
    ("weight_decay", -0.25, -0.25),
    ("betas", (1.0, 0.5), 1),
    ("betas", (0.5, 1.0), 1),
    ("betas", (-0.25, 0.5), -0.25),
    ("betas", (0.5, 1.75), 1.75),
]


def scale_at(step: int) -> float:
    """Large gradients, then small ones: what forgets, and what doesn't, parts."""
    return 3.0 if step % 20 < 3 else 0.2


def march(mine, theirs, one, other, steps: int) -> None:
    """Both optimizers step side by side.  All weights after each step, (steps, weights), must be equal."""
    ways = [], []
    for i in range(steps):
        give_gradients(mine, theirs, scale=scale_at(i))
        one.step()
        other.step()
        for way, parameters in zip(ways, (mine, theirs), strict=True):
            way.append(torch.cat([w.detach().reshape(-1) for w in parameters]))
    assert_close(torch.stack(ways[0]), torch.stack(ways[1]))


def assert_matches(cls, oracle, options: dict) -> None:
    mine, theirs = twins()
    march(mine, theirs, cls(mine, **options), oracle(theirs, **options), 50)


def assert_defaults(cls, oracle) -> None:
    mine, theirs = twins()
    one, other = cls(mine), oracle(theirs)
    for scale in (1e-8, 3e-8, 1.0):  # small gradients show the default eps
        give_gradients(mine, theirs, scale=scale)
        one.step()
        other.step()
        # Steps of 1e-3 must be right to a thousandth, and a decay of 1e-5 to a hundredth.
        assert_close([w.detach() for w in mine], [w.detach() for w in theirs], rtol=0, atol=1e-9)


def grouped(parameters: list[torch.Tensor]) -> list[dict]:
    split = [parameters[:1], parameters[1:3], parameters[3:]]
    return [{"params": some, **options} for some, options in zip(split, GROUPS, strict=True)]


def assert_groups(cls, oracle) -> None:
    mine, theirs = twins()
    given = {"lr": 0.2, "weight_decay": 0.7, "betas": (0.6, 0.7)}
    march(mine, theirs, cls(grouped(mine), **given), oracle(grouped(theirs), **given), 25)


def assert_options_are_read_at_each_step(cls, oracle, changes: list[dict]) -> None:
    mine, theirs = twins()
    one = cls(grouped(mine), lr=0.1, weight_decay=0.3)
    other = oracle(grouped(theirs), lr=0.1, weight_decay=0.3)
    for change in changes:
        for optimizer in (one, other):
            for i, group in enumerate(optimizer.param_groups):
                group.update({key: value(i) if callable(value) else value for key, value in change.items()})
        march(mine, theirs, one, other, 4)


CHANGES = [
    ("lr", [{"lr": 0.1}, {"lr": 0.02}, {"lr": lambda i: 0.3 / (i + 1)}]),
    ("betas", [{"betas": (0.9, 0.9)}, {"betas": (0.2, 0.6)}]),
    ("eps", [{"eps": 0.1}, {"eps": 1.0}]),
    ("weight_decay", [{"weight_decay": 0.0}, {"weight_decay": lambda i: 0.2 + 0.3 * i}]),
    ("maximize", [{"maximize": False}, {"maximize": True}, {"maximize": False}]),
]


def assert_skips(cls, oracle, amsgrad: bool) -> None:
    mine, theirs = twins()
    given = {"lr": 0.1, "weight_decay": 0.3, "amsgrad": amsgrad}
    one, other = cls(mine, **given), oracle(theirs, **given)
    for skip in (1, 1, 0, None, 2, 3, None, 1, None):
        before = [w.detach().clone() for w in mine]
        give_gradients(mine, theirs, skip=skip)
        one.step()
        other.step()
        if skip is not None:
            assert_close(mine[skip].detach(), before[skip], rtol=0, atol=0)
        assert_close([w.detach() for w in mine], [w.detach() for w in theirs])


def assert_zeros_are_gradients(cls, oracle) -> None:
    mine, theirs = twins()
    one, other = cls(mine, lr=0.1, weight_decay=0.2), oracle(theirs, lr=0.1, weight_decay=0.2)
    for scale in (0.0, 1.0, 0.0, 0.0, 1.0):
        give_gradients(mine, theirs, scale=scale)
        one.step()
        other.step()
        assert_close([w.detach() for w in mine], [w.detach() for w in theirs])


def assert_closure(cls, enabled: bool) -> None:
    """One call, with gradients on, before the step; the step takes the gradients that it made."""
    w = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    w.grad = torch.tensor([-5.0, -5.0], dtype=torch.float64)  # stale
    twin = w.detach().clone().requires_grad_()
    optimizer, plain = cls([w], lr=0.1, eps=0.5), cls([twin], lr=0.1, eps=0.5)
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
    assert_equal(seen, [(True, [2.0, -1.0])])
    twin.grad = torch.tensor([4.0, -2.0], dtype=torch.float64)
    nothing = plain.step()
    assert_close(w.detach(), twin.detach())
    assert_equal(loss is made[0], True)
    assert_equal(nothing, None)


def assert_leaves_alone(cls, options: dict) -> None:
    """Gradients keep their values, parameters their place, and autograd records nothing."""
    mine = weights()
    places = [w.data_ptr() for w in mine]
    optimizer = cls(mine, lr=0.1, weight_decay=0.3, **options)
    for _ in range(2):
        give_gradients(mine)
        before, held = [w.grad.clone() for w in mine], [w.grad for w in mine]
        optimizer.step()
        assert_close([w.grad for w in mine], before, rtol=0, atol=0)
        assert_close(held, before, rtol=0, atol=0)
    kept = [(w.is_leaf, w.requires_grad, w.data_ptr() == p) for w, p in zip(mine, places, strict=True)]
    assert_equal(kept, [(True, True, True)] * len(mine))


def assert_state_travels(cls, oracle, amsgrad: bool, towards_torch: bool) -> None:
    """One side trains, hands its state over, and the other goes on as if it had trained from the start."""
    mine, theirs = twins()
    given = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 0.1, "weight_decay": 0.2, "amsgrad": amsgrad}
    one, other = cls(mine, **given), oracle(theirs, **given)
    for skip in (0, None, None, 2):
        give_gradients(mine, theirs, skip=skip)
        one.step()
        other.step()
    source, parameters = (one, mine) if towards_torch else (other, theirs)
    heirs = [w.detach().clone().requires_grad_() for w in parameters]
    heir = (oracle if towards_torch else cls)(heirs, lr=9.0)
    heir.load_state_dict(passed_on(source.state_dict()))
    for i in range(10):
        give_gradients(mine, theirs, heirs, scale=scale_at(i))
        for optimizer in (one, other, heir):
            optimizer.step()
        assert_close([w.detach() for w in heirs], [w.detach() for w in theirs])


def assert_resumes(cls, amsgrad: bool) -> None:
    mine, twin = twins()
    given = {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.2, "amsgrad": amsgrad}
    one, later = cls(mine, **given), cls(twin)
    for i in range(4):
        give_gradients(mine, scale=scale_at(i))
        one.step()
    with torch.no_grad():
        for w, v in zip(twin, mine, strict=True):
            w.copy_(v)
    later.load_state_dict(passed_on(one.state_dict()))
    march(twin, mine, later, one, 6)


def assert_refuses(cls, name: str, value, word) -> None:
    with raises(ValueError, word):
        cls(weights(), **{name: value})


def assert_takes_the_bounds(cls) -> None:
    w = torch.tensor([2.0], requires_grad=True)
    w.grad = torch.tensor([3.0])
    optimizer = cls([w], lr=0.0, betas=(0.0, 0.0), eps=0.0, weight_decay=0.0)
    optimizer.step()
    assert_close(w.detach(), torch.tensor([2.0]))
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    assert_close(w.detach(), torch.tensor([1.5]))


def assert_trains(cls) -> None:
    net = torch.nn.Linear(3, 1).double()
    x = torch.randn(40, 3, dtype=torch.float64)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64) + 1
    optimizer = cls(net.parameters(), lr=0.1, weight_decay=0.0)
    for _ in range(200):
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
    # Far along, though not at the end: Adam circles around it.
    assert_close(net.weight.detach(), torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64), atol=0.1, rtol=0)


def assert_follows_a_schedule(cls, oracle) -> None:
    mine, theirs = twins()
    one, other = cls(mine, lr=0.2, weight_decay=0.3), oracle(theirs, lr=0.2, weight_decay=0.3)
    schedules = [torch.optim.lr_scheduler.StepLR(o, 2, 0.25) for o in (one, other)]
    for _ in range(7):
        march(mine, theirs, one, other, 1)
        for schedule in schedules:
            schedule.step()


def assert_new_groups(cls, oracle) -> None:
    mine, theirs = twins()
    one, other = cls(mine[:2], lr=0.1, weight_decay=0.1), oracle(theirs[:2], lr=0.1, weight_decay=0.1)
    march(mine, theirs, one, other, 3)
    for optimizer, parameters in ((one, mine), (other, theirs)):
        optimizer.add_param_group({"params": parameters[2:], "lr": 0.3})
    march(mine, theirs, one, other, 4)


def assert_on_the_device(cls, gpu, amsgrad: bool) -> None:
    on_cpu = torch.randn(3, 4, dtype=torch.float64).requires_grad_()
    there = gpu(on_cpu)
    given = {"lr": 0.1, "weight_decay": 0.2, "amsgrad": amsgrad}
    one, other = cls([on_cpu], **given), cls([there], **given)
    for _ in range(3):
        on_cpu.grad = torch.randn(3, 4, dtype=torch.float64)
        there.grad = gpu(on_cpu.grad)
        one.step()
        other.step()
    assert_close(there.detach().cpu(), on_cpu.detach())
    for key in ("exp_avg", "exp_avg_sq"):
        assert_equal((key, other.state[there][key].device.type), (key, gpu.device.type))


class TestAdamDirection:
    @pytest.mark.parametrize("amsgrad", [False, True])
    def test_the_names_in_the_state(self, amsgrad):
        state = {}
        adam_direction(torch.ones(2), state, (0.9, 0.99), 1e-8, amsgrad)
        names = ["step", "exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * amsgrad
        assert_equal([name for name in names if name not in state], [])
        assert_equal("max_exp_avg_sq" in state, amsgrad)

    def test_the_example_worked_by_hand(self):
        state = {}
        g = torch.tensor([2.0], dtype=torch.float64)
        assert_close(adam_direction(g, state, (0.5, 0.75), 0.0), torch.ones(1, dtype=torch.float64))
        assert_close(float(state["exp_avg"]), 1.0)
        assert_close(float(state["exp_avg_sq"]), 1.0)
        assert_equal(int(state["step"]), 1)
        second = adam_direction(torch.zeros(1, dtype=torch.float64), state, (0.5, 0.75), 0.0)
        assert_equal(int(state["step"]), 2)
        assert_close(second, torch.tensor([2 / 3 / (12 / 7) ** 0.5], dtype=torch.float64))
        assert_close(float(state["exp_avg"]), 0.5)
        assert_close(float(state["exp_avg_sq"]), 0.75)

    @pytest.mark.parametrize("eps", [0.0, 0.5, 2.0])
    def test_the_first_direction_is_the_sign(self, eps):
        g = torch.randn(3, 4, dtype=torch.float64)
        assert_close(adam_direction(g, {}, (0.9, 0.999), eps), g / (g.abs() + eps))

    @pytest.mark.parametrize("betas", [(0.9, 0.99), (0.3, 0.6), (0.0, 0.0)])
    @pytest.mark.parametrize("amsgrad", [False, True])
    def test_by_sums_over_all_gradients(self, betas, amsgrad):
        """m and v are weighted sums of all gradients so far: a closed form without any state."""
        (beta1, beta2), state, past, largest = betas, {}, [], torch.zeros(())
        for t in range(1, 9):
            g = torch.randn(2, 3, dtype=torch.float64) * scale_at(t)
            past.append(g.clone())
            m = sum((1 - beta1) * beta1 ** (t - i) * h for i, h in enumerate(past, 1))
            v = sum((1 - beta2) * beta2 ** (t - i) * h**2 for i, h in enumerate(past, 1))
            largest = torch.maximum(largest, v)
            below = (largest if amsgrad else v) / (1 - beta2**t)
            d = adam_direction(g, state, betas, 0.1, amsgrad)
            assert_close(d, m / (1 - beta1**t) / (below.sqrt() + 0.1))
            assert_close(state["exp_avg"], m)
            assert_close(state["exp_avg_sq"], v)
            if amsgrad:
                assert_close(state["max_exp_avg_sq"], largest)
            assert_close(g, past[-1], rtol=0, atol=0)

    def test_amsgrad_is_off_by_default(self):
        state = {}
        for size in (5.0, 0.1):
            d = adam_direction(torch.tensor([size], dtype=torch.float64), state, (0.0, 0.0), 0.0)
        assert_close(d, torch.ones(1, dtype=torch.float64))

    def test_amsgrad_never_forgets(self):
        state = {}
        for size in (5.0, 0.5):
            d = adam_direction(torch.tensor([size], dtype=torch.float64), state, (0.0, 0.0), 0.0, True)
        assert_close(d, torch.tensor([0.1], dtype=torch.float64))

    @pytest.mark.parametrize("step", [2, torch.tensor(2.0)])
    def test_a_step_of_torchs(self, step):
        """torch keeps t in float32, in which 0.999 ** t isn't exact."""
        m, v = torch.randn(2, 3, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64)
        step = step.clone() if isinstance(step, torch.Tensor) else step
        state = {"step": step, "exp_avg": m.clone(), "exp_avg_sq": v.clone()}
        g = torch.randn(2, 3, dtype=torch.float64)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected = m / (1 - 0.9**3) / ((v / (1 - 0.999**3)).sqrt() + 0.1)
        assert_close(adam_direction(g, state, (0.9, 0.999), 0.1), expected)

    @pytest.mark.parametrize("shape", [(), (1,), (2, 3, 4)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_keeps_shape_and_dtype(self, dtype, shape):
        state = {}
        for t in range(1, 4):
            d = adam_direction(torch.ones(shape, dtype=dtype), state, (0.5, 0.5), 0.0, True)
            found = [d, state["exp_avg"], state["exp_avg_sq"], state["max_exp_avg_sq"]]
            assert_equal([(x.shape, str(x.dtype)) for x in found], [(torch.Size(shape), str(dtype))] * 4)
            assert_close(d, torch.ones(shape, dtype=dtype))
            assert_equal(int(state["step"]), t)


class TestAdam:
    @pytest.mark.parametrize(("weight_decay", "expected"), [(0.0, [1.9, 1.8490826]), (0.5, [1.9])])
    def test_the_example_worked_by_hand(self, weight_decay, expected):
        w = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
        optimizer = Adam([w], lr=0.1, betas=(0.5, 0.75), eps=0.0, weight_decay=weight_decay)
        for g, value in zip((2.0, 0.0), expected, strict=False):
            w.grad = torch.tensor([g], dtype=torch.float64)
            optimizer.step()
            assert_close(w.detach(), torch.tensor([value], dtype=torch.float64))

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_matches_torch_over_50_steps(self, options):
        assert_matches(Adam, torch.optim.Adam, options)

    def test_its_defaults(self):
        assert_defaults(Adam, torch.optim.Adam)

    def test_groups_with_their_own_options(self):
        assert_groups(Adam, torch.optim.Adam)

    @pytest.mark.parametrize(("option", "changes"), CHANGES)
    def test_options_changed_on_the_way(self, option, changes):
        assert_options_are_read_at_each_step(Adam, torch.optim.Adam, changes)

    def test_torchs_schedules_drive_it(self):
        assert_follows_a_schedule(Adam, torch.optim.Adam)

    def test_a_group_added_later_starts_at_1(self):
        assert_new_groups(Adam, torch.optim.Adam)

    @pytest.mark.parametrize("amsgrad", [False, True])
    def test_a_parameter_without_gradient_stays_and_doesnt_count(self, amsgrad):
        assert_skips(Adam, torch.optim.Adam, amsgrad)

    def test_zeros_are_a_gradient(self):
        assert_zeros_are_gradients(Adam, torch.optim.Adam)

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_closure(self, enabled):
        assert_closure(Adam, enabled)

    @pytest.mark.parametrize("options", [{}, {"maximize": True}, {"amsgrad": True}], ids=str)
    def test_gradients_and_leaves_are_left_alone(self, options):
        assert_leaves_alone(Adam, options)

    @pytest.mark.parametrize("amsgrad", [False, True])
    @pytest.mark.parametrize("towards_torch", [True, False])
    def test_its_state_travels(self, amsgrad, towards_torch):
        assert_state_travels(Adam, torch.optim.Adam, amsgrad, towards_torch)

    @pytest.mark.parametrize("amsgrad", [False, True])
    def test_it_resumes(self, amsgrad):
        assert_resumes(Adam, amsgrad)

    def test_two_optimizers_dont_meet(self):
        mine, theirs = twins()
        one, other = Adam(mine, lr=0.1), Adam(theirs, lr=0.1)
        march(mine, theirs, one, other, 2)
        give_gradients(mine)
        one.step()
        assert_equal([int(other.state[w]["step"]) for w in theirs], [2] * 4)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_other_dtypes(self, dtype):
        w = torch.tensor([2.0, -4.0], dtype=dtype, requires_grad=True)
        w.grad = torch.tensor([1.0, -8.0], dtype=dtype)
        optimizer = Adam([w], lr=0.25, eps=0.0)
        optimizer.step()
        assert_close(w.detach(), torch.tensor([1.75, -3.75], dtype=dtype))
        assert_equal({str(optimizer.state[w][key].dtype) for key in ("exp_avg", "exp_avg_sq")}, {str(dtype)})

    @pytest.mark.parametrize(("name", "value", "word"), WRONG)
    def test_other_options_are_refused(self, name, value, word):
        assert_refuses(Adam, name, value, word)

    def test_the_bounds_are_allowed(self):
        assert_takes_the_bounds(Adam)

    def test_it_trains_a_network(self):
        assert_trains(Adam)


class TestAdamW:
    def test_the_example_worked_by_hand(self):
        w = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
        w.grad = torch.tensor([2.0], dtype=torch.float64)
        AdamW([w], lr=0.1, betas=(0.5, 0.75), eps=0.0, weight_decay=0.5).step()
        assert_close(w.detach(), torch.tensor([1.8], dtype=torch.float64))

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_matches_torch_over_50_steps(self, options):
        assert_matches(AdamW, torch.optim.AdamW, options)

    def test_its_defaults(self):
        assert_defaults(AdamW, torch.optim.AdamW)

    @pytest.mark.parametrize(("lr", "weight_decay"), [(0.1, 0.5), (0.25, 2.0)])
    def test_decay_alone_shrinks_every_weight_alike(self, lr, weight_decay):
        mine = weights()
        before = [w.detach().clone() for w in mine]
        optimizer = AdamW(mine, lr=lr, weight_decay=weight_decay)
        for i in range(1, 4):
            give_gradients(mine, scale=0.0)
            optimizer.step()
            assert_close([w.detach() for w in mine], [w * (1 - lr * weight_decay) ** i for w in before])

    def test_groups_with_their_own_options(self):
        assert_groups(AdamW, torch.optim.AdamW)

    @pytest.mark.parametrize(("option", "changes"), CHANGES)
    def test_options_changed_on_the_way(self, option, changes):
        assert_options_are_read_at_each_step(AdamW, torch.optim.AdamW, changes)

    def test_torchs_schedules_drive_it(self):
        assert_follows_a_schedule(AdamW, torch.optim.AdamW)

    def test_a_group_added_later_starts_at_1(self):
        assert_new_groups(AdamW, torch.optim.AdamW)

    @pytest.mark.parametrize("amsgrad", [False, True])
    def test_a_parameter_without_gradient_stays_and_doesnt_count(self, amsgrad):
        assert_skips(AdamW, torch.optim.AdamW, amsgrad)

    def test_zeros_are_a_gradient(self):
        assert_zeros_are_gradients(AdamW, torch.optim.AdamW)

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_closure(self, enabled):
        assert_closure(AdamW, enabled)

    @pytest.mark.parametrize("options", [{}, {"maximize": True}, {"amsgrad": True}], ids=str)
    def test_gradients_and_leaves_are_left_alone(self, options):
        assert_leaves_alone(AdamW, options)

    @pytest.mark.parametrize("amsgrad", [False, True])
    @pytest.mark.parametrize("towards_torch", [True, False])
    def test_its_state_travels(self, amsgrad, towards_torch):
        assert_state_travels(AdamW, torch.optim.AdamW, amsgrad, towards_torch)

    @pytest.mark.parametrize("amsgrad", [False, True])
    def test_it_resumes(self, amsgrad):
        assert_resumes(AdamW, amsgrad)

    @pytest.mark.parametrize(("name", "value", "word"), WRONG)
    def test_other_options_are_refused(self, name, value, word):
        assert_refuses(AdamW, name, value, word)

    def test_the_bounds_are_allowed(self):
        assert_takes_the_bounds(AdamW)

    def test_it_trains_a_network(self):
        assert_trains(AdamW)


def blocks_of(x: torch.Tensor, block: int) -> list[list[float]]:
    flat = x.reshape(-1).tolist()
    return [flat[i : i + block] for i in range(0, len(flat), block)]


class TestQuantizeBlocks:
    def test_the_example_worked_by_hand(self):
        codes, scales = quantize_blocks(torch.tensor([127.0, -50.4, 3.2, 0.0, 0.254, 0.1]), 4)
        assert_equal(codes, torch.tensor([127, -50, 3, 0, 127, 50], dtype=torch.int8))
        assert_close(scales, torch.tensor([127.0, 0.254]))

    @pytest.mark.parametrize("shape", [(24,), (4, 7), (2, 3, 5), (), (1,)])
    @pytest.mark.parametrize("block", [1, 4, 5, 100])
    def test_block_by_block(self, shape, block):
        x = torch.randn(shape, dtype=torch.float64) * 10 ** torch.randn(shape, dtype=torch.float64)
        codes, scales = quantize_blocks(x, block)
        largest = [max(map(abs, entries)) for entries in blocks_of(x, block)]
        assert_close(scales, torch.tensor(largest, dtype=torch.float64))
        expected = [
            round(127 * v / s) for entries, s in zip(blocks_of(x, block), largest, strict=True) for v in entries
        ]
        assert_equal(codes, torch.tensor(expected, dtype=torch.int8).reshape(shape))

    @pytest.mark.parametrize("size", [1.0, 1e-15, 1e15])
    def test_any_scale(self, size):
        x = torch.randn(30) * size
        codes, scales = quantize_blocks(x, 8)
        exact = [127 * v / max(map(abs, entries)) for entries in blocks_of(x, 8) for v in entries]
        # Near halfway float32 decides: 0.5, and a little.
        off = (codes.double() - torch.tensor(exact, dtype=torch.float64)).abs().max().item()
        if off > 0.501:
            fail(f"a code is off by {off:.2f}, expected 0.5 at most", evidence=round(off, 4))
        assert_close(scales / size, torch.stack([part.abs().max() for part in x.split(8)]) / size)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_a_block_of_zeros(self, dtype):
        codes, scales = quantize_blocks(torch.tensor([0.0, 0.0, 4.0, -2.04], dtype=dtype), 2)
        assert_equal(codes, torch.tensor([0, 0, 127, -65], dtype=torch.int8))
        assert_close(scales, torch.tensor([0.0, 4.0], dtype=dtype))

    def test_the_largest_may_be_negative(self):
        codes, scales = quantize_blocks(torch.tensor([-8.0, 1.0, -2.0, -1.0]), 2)
        assert_equal(codes, torch.tensor([-127, 16, -127, -64], dtype=torch.int8))
        assert_close(scales, torch.tensor([8.0, 2.0]))

    def test_row_major_order_whatever_the_strides(self):
        x = torch.randn(5, 6, dtype=torch.float64)
        codes, scales = quantize_blocks(x.t(), 4)
        other, others = quantize_blocks(x.t().contiguous(), 4)
        assert_equal(codes, other)
        assert_close(scales, others)

    def test_an_empty_tensor(self):
        codes, scales = quantize_blocks(torch.empty(0, 3), 4)
        assert_equal(codes, torch.empty(0, 3, dtype=torch.int8))
        assert_equal(scales, torch.empty(0))

    @pytest.mark.parametrize("block", [0, -3])
    def test_other_blocks_are_refused(self, block):
        with raises(ValueError, block):
            quantize_blocks(torch.ones(4), block)


class TestDequantizeBlocks:
    def test_the_example_worked_by_hand(self):
        codes = torch.tensor([127, -50, 3, 0, 127, 50], dtype=torch.int8)
        back = dequantize_blocks(codes, torch.tensor([127.0, 0.254]), 4)
        assert_close(back, torch.tensor([127.0, -50.0, 3.0, 0.0, 0.254, 0.1]))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("shape", [(24,), (4, 7), (2, 3, 5), (), (0, 2)])
    @pytest.mark.parametrize("block", [1, 4, 100])
    def test_block_by_block(self, shape, block, dtype):
        codes = torch.randint(-127, 128, shape, dtype=torch.int8)
        entries = codes.numel()
        scales = torch.rand(-(-entries // block), dtype=dtype) * 9
        expected = [scales[i // block].item() * c / 127 for i, c in enumerate(codes.reshape(-1).tolist())]
        assert_close(dequantize_blocks(codes, scales, block), torch.tensor(expected, dtype=dtype).reshape(shape))

    @pytest.mark.parametrize("block", [3, 16])
    def test_there_and_back_is_off_by_half_a_code_at_most(self, block):
        x = torch.randn(7, 9, dtype=torch.float64)
        codes, scales = quantize_blocks(x, block)
        off = (dequantize_blocks(codes, scales, block) - x).abs().reshape(-1)
        allowed = scales.repeat_interleave(block)[: len(off)] / 254
        if bool((off > allowed * (1 + 1e-9)).any()):
            worst = (off / allowed).max().item()
            fail(f"an entry is off by {worst:.2f} times half a code", evidence=round(worst, 6))

    def test_codes_that_arent_contiguous(self):
        codes = torch.randint(-127, 128, (6, 5), dtype=torch.int8)
        scales = torch.rand(8, dtype=torch.float64)
        assert_close(dequantize_blocks(codes.t(), scales, 4), dequantize_blocks(codes.t().contiguous(), scales, 4))

    def test_small_blocks_contain_an_outlier(self):
        """The error of all other entries falls with the block, as the lesson says."""
        x = torch.randn(64, dtype=torch.float64)
        x[10] = 1000.0
        others = torch.arange(64) != 10
        errors = [((dequantize_blocks(*quantize_blocks(x, b), b) - x)[others]).abs().mean().item() for b in (64, 4)]
        assert_equal(errors[1] < errors[0] / 4, True)


class TestOnTheGpu:
    @pytest.mark.parametrize("amsgrad", [False, True])
    def test_adam_direction(self, gpu, amsgrad):
        gpu.check(adam_direction, torch.randn(3, 4, dtype=torch.float64), {}, (0.9, 0.99), 0.1, amsgrad)

    @pytest.mark.parametrize("amsgrad", [False, True])
    def test_adam(self, gpu, amsgrad):
        assert_on_the_device(Adam, gpu, amsgrad)

    @pytest.mark.parametrize("amsgrad", [False, True])
    def test_adamw(self, gpu, amsgrad):
        assert_on_the_device(AdamW, gpu, amsgrad)

    def test_quantize_blocks(self, gpu):
        gpu.check(quantize_blocks, torch.randn(3, 5, dtype=torch.float64), 4)

    def test_dequantize_blocks(self, gpu):
        gpu.check(dequantize_blocks, torch.randint(-127, 128, (3, 5), dtype=torch.int8), torch.rand(4), 4)
