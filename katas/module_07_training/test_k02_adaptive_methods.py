"""Judges k02_adaptive_methods against torch.optim step by step, closed forms, and numbers worked by hand."""

import math

import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, raises
from fixtures.optimizers import give_gradients, passed_on, twins, values, weights
from katas.module_07_training.k02_adaptive_methods import Adadelta, Adagrad, RMSprop

pytestmark = [
    from_scratch(
        "torch.optim.Adagrad",
        "torch.optim.RMSprop",
        "torch.optim.Adadelta",
        "torch.optim.adagrad",
        "torch.optim.rmsprop",
        "torch.optim.adadelta",
    ),
    pytest.mark.deadline(60),  # torch imports its compiler at the first optimizer, which takes a busy machine a while
]


def march(mine, theirs, one, other, steps: int) -> None:
    """Both optimizers step side by side.  All weights after each step, (steps, weights), must be equal."""
    ways = [], []
    for i in range(steps):
        give_gradients(mine, theirs, scale=3.0 if i % 20 < 3 else 0.2)
        one.step()
        other.step()
        for way, parameters in zip(ways, (mine, theirs), strict=True):
            way.append(torch.cat([w.detach().reshape(-1) for w in parameters]))
    assert_close(torch.stack(ways[0]), torch.stack(ways[1]))


def assert_matches(cls, oracle, options: dict) -> None:
    mine, theirs = twins()
    march(mine, theirs, cls(mine, **options), oracle(theirs, **options), 50)


def assert_by_hand(cls, options: dict, gradients: list[float], expected: list[float]) -> None:
    w = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    optimizer = cls([w], **options)
    for g, value in zip(gradients, expected, strict=True):
        w.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
        assert_close(w.detach(), torch.tensor([value], dtype=torch.float64))


def assert_defaults(cls, oracle, scales: tuple[float, ...]) -> None:
    """Small gradients show the default eps."""
    mine, theirs = twins()
    one, other = cls(mine), oracle(theirs)
    for scale in scales:
        give_gradients(mine, theirs, scale=scale)
        one.step()
        other.step()
        # Small steps must be right, too.
        assert_close(values(mine), values(theirs), rtol=0, atol=1e-11)


def grouped(parameters: list[torch.Tensor], options: list[dict]) -> list[dict]:
    split = [parameters[:1], parameters[1:3], parameters[3:]]
    return [{"params": some, **own} for some, own in zip(split, options, strict=True)]


def assert_groups(cls, oracle, given: dict, options: list[dict]) -> None:
    mine, theirs = twins()
    march(mine, theirs, cls(grouped(mine, options), **given), oracle(grouped(theirs, options), **given), 25)


def assert_reads_at_each_step(cls, oracle, given: dict, option: str, changes: list) -> None:
    mine, theirs = twins()
    one, other = (made([{"params": w[:2]}, {"params": w[2:]}], **given) for made, w in ((cls, mine), (oracle, theirs)))
    for change in changes:
        for optimizer in (one, other):
            for group, value in zip(optimizer.param_groups, change, strict=True):
                group[option] = value
        march(mine, theirs, one, other, 4)


def assert_skips(cls, oracle, given: dict) -> None:
    mine, theirs = twins()
    one, other = cls(mine, **given), oracle(theirs, **given)
    for skip in (1, 1, 0, None, 2, 3, None, 1, None):
        before = values(mine)
        give_gradients(mine, theirs, skip=skip)
        one.step()
        other.step()
        if skip is not None:
            assert_close(mine[skip].detach(), before[skip], rtol=0, atol=0)
        assert_close(values(mine), values(theirs))


def assert_zeros_are_gradients(cls, oracle, given: dict) -> None:
    mine, theirs = twins()
    one, other = cls(mine, **given), oracle(theirs, **given)
    for scale in (0.0, 1.0, 0.0, 0.0, 1.0):
        give_gradients(mine, theirs, scale=scale)
        one.step()
        other.step()
        assert_close(values(mine), values(theirs))


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


def assert_state_travels(cls, oracle, given: dict, towards_torch: bool) -> None:
    """One side trains, hands its state over, and the other goes on as if it had trained from the start."""
    mine, theirs = twins()
    one, other = cls(mine, **given), oracle(theirs, **given)
    # torch needs state for every parameter, and makes some in advance.
    for skip in (0, None, 2) if towards_torch else (0, 0):
        give_gradients(mine, theirs, skip=skip)
        one.step()
        other.step()
    source, parameters = (one, mine) if towards_torch else (other, theirs)
    heirs = [w.detach().clone().requires_grad_() for w in parameters]
    heir = (oracle if towards_torch else cls)(heirs, lr=9.0)
    heir.load_state_dict(passed_on(source.state_dict()))
    for _ in range(10):
        give_gradients(mine, theirs, heirs)
        for optimizer in (one, other, heir):
            optimizer.step()
        assert_close(values(heirs), values(theirs))


def assert_names_in_the_state(cls, given: dict, names: list[str]) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        w = torch.ones(2, 3, dtype=dtype, requires_grad=True)
        optimizer = cls([w], **given)
        for t in (1, 2):
            w.grad = torch.ones_like(w)
            optimizer.step()
            state = optimizer.state[w]
            assert_equal([name for name in [*names, "step"] if name not in state], [])
            assert_equal(int(state["step"]), t)
        assert_equal({(str(state[n].dtype), tuple(state[n].shape)) for n in names}, {(str(dtype), (2, 3))})


def assert_trains(cls, lr: float) -> None:
    net = torch.nn.Linear(3, 1).double()
    x = torch.randn(40, 3, dtype=torch.float64)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64) + 1
    optimizer = cls(net.parameters(), lr=lr)
    for _ in range(150):
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
    # Far along, though not at the end.
    assert_close(net.weight.detach(), torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64), atol=0.1, rtol=0)


def assert_scale_free(cls, given: dict) -> None:
    """With eps 0 a loss in other units gives the same path."""
    mine, theirs = twins()
    one, other = cls(mine, eps=0.0, **given), cls(theirs, eps=0.0, **given)
    for _ in range(5):
        give_gradients(mine, theirs)
        for w in theirs:
            w.grad *= 1000
        one.step()
        other.step()
        assert_close(values(mine), values(theirs))


def assert_on_the_device(cls, gpu, options: dict) -> None:
    on_cpu = torch.randn(3, 4, dtype=torch.float64).requires_grad_()
    there = gpu(on_cpu)
    given = {"lr": 0.1, "weight_decay": 0.2, **options}
    one, other = cls([on_cpu], **given), cls([there], **given)
    for _ in range(3):
        on_cpu.grad = torch.randn(3, 4, dtype=torch.float64)
        there.grad = gpu(on_cpu.grad)
        one.step()
        other.step()
    assert_close(there.detach().cpu(), on_cpu.detach())
    kept = {key: value.device.type for key, value in other.state[there].items() if key != "step"}
    assert_equal(kept, dict.fromkeys(kept, gpu.device.type))


def refused(*names: str, below_1: str = "") -> list[tuple]:
    """Options out of bounds, each with what the error must name."""
    cases = [(name, value, word) for name in names for value, word in ((-0.125, -0.125), (math.nan, "nan"))]
    return cases + [(below_1, value, value) for value in (1.0, 1.75) if below_1]


def assert_refuses(cls, name: str, value: float, word) -> None:
    with raises(ValueError, word):
        cls(weights(), **{name: value})


def assert_takes_zeros(cls, names: list[str]) -> None:
    w = torch.tensor([2.0], requires_grad=True)
    w.grad = torch.tensor([3.0])
    cls([w], **dict.fromkeys(names, 0.0)).step()
    assert_close(w.detach(), torch.tensor([2.0]))


class TestAdagrad:
    def test_the_example_worked_by_hand(self):
        assert_by_hand(Adagrad, {"lr": 0.5, "eps": 0.0}, [3.0, 4.0], [1.5, 1.1])

    @pytest.mark.parametrize(
        "options",
        [
            {"lr": 0.1},
            {"lr": 0.5, "eps": 0.3},
            {"lr": 0.1, "eps": 2.0},
            {"lr": 0.3, "lr_decay": 0.1},
            {"lr": 0.3, "lr_decay": 1.5},
            {"lr": 0.1, "initial_accumulator_value": 0.5},
            {"lr": 0.1, "initial_accumulator_value": 4.0, "weight_decay": 0.2},
            {"lr": 0.1, "weight_decay": 0.7},
            {"lr": 0.1, "maximize": True},
            {"lr": 0.1, "maximize": True, "weight_decay": 0.4, "lr_decay": 0.2},
        ],
        ids=str,
    )
    def test_matches_torch_over_50_steps(self, options):
        assert_matches(Adagrad, torch.optim.Adagrad, options)

    def test_its_defaults(self):
        assert_defaults(Adagrad, torch.optim.Adagrad, (1e-9, 1e-9, 1.0))

    def test_groups_with_their_own_options(self):
        options = [
            {"lr": 0.1, "eps": 0.4, "weight_decay": 0.5, "initial_accumulator_value": 0.0, "maximize": True},
            {"lr_decay": 0.5, "weight_decay": 0.2},
            {"eps": 0.2},
        ]
        # torch makes its sums in the constructor, and takes the constructor's start for all groups.
        assert_groups(Adagrad, torch.optim.Adagrad, {"lr": 0.3, "weight_decay": 0.7}, options)

    @pytest.mark.parametrize(
        ("option", "changes"),
        [
            ("lr", [(0.1, 0.1), (0.02, 0.3)]),
            ("lr_decay", [(0.0, 0.0), (0.5, 0.1)]),
            ("weight_decay", [(0.0, 0.5), (0.4, 0.1)]),
            ("eps", [(0.1, 0.1), (1.0, 0.3)]),
            ("maximize", [(False, True), (True, False)]),
        ],
    )
    def test_options_changed_on_the_way(self, option, changes):
        given = {"lr": 0.2, "weight_decay": 0.3}
        assert_reads_at_each_step(Adagrad, torch.optim.Adagrad, given, option, changes)

    def test_a_parameter_without_gradient_stays_and_doesnt_count(self):
        assert_skips(Adagrad, torch.optim.Adagrad, {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.3})

    def test_zeros_are_a_gradient(self):
        given = {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.2}
        assert_zeros_are_gradients(Adagrad, torch.optim.Adagrad, given)
        assert_zeros_are_gradients(Adagrad, torch.optim.Adagrad, {"lr_decay": 0.5})

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_closure(self, enabled):
        assert_closure(Adagrad, enabled)

    @pytest.mark.parametrize("options", [{}, {"maximize": True}], ids=str)
    def test_gradients_and_leaves_are_left_alone(self, options):
        assert_leaves_alone(Adagrad, options)

    def test_the_names_in_the_state(self):
        assert_names_in_the_state(Adagrad, {}, ["sum"])

    @pytest.mark.parametrize("towards_torch", [True, False])
    def test_its_state_travels(self, towards_torch):
        given = {"lr": 0.1, "lr_decay": 0.3, "eps": 0.1, "weight_decay": 0.2, "initial_accumulator_value": 0.5}
        assert_state_travels(Adagrad, torch.optim.Adagrad, given, towards_torch)

    def test_a_group_with_a_start_of_its_own(self):
        a, b = (torch.tensor([2.0], dtype=torch.float64, requires_grad=True) for _ in range(2))
        groups = [{"params": [a], "initial_accumulator_value": 7.0}, {"params": [b]}]
        optimizer = Adagrad(groups, lr=1.0, eps=0.0, initial_accumulator_value=16.0)
        a.grad = b.grad = torch.tensor([3.0], dtype=torch.float64)
        optimizer.step()
        assert_close([a.item(), b.item()], [2 - 3 / 4, 2 - 3 / 5])

    @pytest.mark.parametrize("lr", [0.1, 0.7])
    def test_a_constant_gradient_is_slowed_by_the_root_of_t(self, lr):
        w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimizer = Adagrad([w], lr=lr, eps=0.0)
        for t in range(1, 7):
            w.grad = torch.tensor([5.0], dtype=torch.float64)
            optimizer.step()
            expected = -lr * sum(1 / math.sqrt(i) for i in range(1, t + 1))
            assert_close(w.detach(), torch.tensor([expected], dtype=torch.float64))

    def test_the_units_of_the_loss_dont_matter(self):
        assert_scale_free(Adagrad, {"lr": 0.1})

    @pytest.mark.parametrize(
        ("name", "value", "word"), refused("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")
    )
    def test_other_options_are_refused(self, name, value, word):
        assert_refuses(Adagrad, name, value, word)

    def test_zeros_are_allowed(self):
        assert_takes_zeros(Adagrad, ["lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"])

    def test_it_trains_a_network(self):
        assert_trains(Adagrad, 0.5)


class TestRMSprop:
    @pytest.mark.parametrize(("centered", "expected"), [(False, 1.8), (True, 2 - 0.2 / 0.75**0.5)])
    def test_the_example_worked_by_hand(self, centered, expected):
        options = {"lr": 0.1, "alpha": 0.75, "eps": 0.0, "centered": centered}
        assert_by_hand(RMSprop, options, [2.0], [expected])

    @pytest.mark.parametrize(
        "options",
        [
            {"lr": 0.1},
            {"lr": 0.02, "alpha": 0.7},
            {"lr": 0.1, "alpha": 0.0, "eps": 0.5},
            {"lr": 0.1, "alpha": 0.9, "eps": 0.1},
            {"lr": 0.1, "alpha": 0.8, "weight_decay": 0.2},
            {"lr": 0.03, "alpha": 0.8, "momentum": 0.9},
            {"lr": 0.1, "alpha": 0.8, "momentum": 0.4, "weight_decay": 0.5},
            {"lr": 0.05, "alpha": 0.8, "eps": 0.3, "centered": True},
            {"lr": 0.05, "alpha": 0.6, "eps": 0.1, "centered": True, "momentum": 0.5, "weight_decay": 0.3},
            {"lr": 0.1, "alpha": 0.8, "maximize": True},
            {"lr": 0.1, "alpha": 0.8, "eps": 0.2, "maximize": True, "weight_decay": 0.4, "centered": True},
        ],
        ids=str,
    )
    def test_matches_torch_over_50_steps(self, options):
        assert_matches(RMSprop, torch.optim.RMSprop, options)

    def test_its_defaults(self):
        assert_defaults(RMSprop, torch.optim.RMSprop, (1e-7, 1e-7, 1.0))

    def test_groups_with_their_own_options(self):
        options = [
            {"lr": 0.1, "alpha": 0.6, "eps": 0.4, "weight_decay": 0.5, "momentum": 0.0, "maximize": True},
            {"alpha": 0.9, "centered": True, "eps": 0.1},
            {"momentum": 0.3, "weight_decay": 0.0},
        ]
        given = {"lr": 0.05, "weight_decay": 0.7, "momentum": 0.6, "alpha": 0.8}
        assert_groups(RMSprop, torch.optim.RMSprop, given, options)

    @pytest.mark.parametrize(
        ("option", "changes"),
        [
            ("lr", [(0.1, 0.1), (0.02, 0.3)]),
            ("alpha", [(0.9, 0.9), (0.5, 0.7)]),
            ("momentum", [(0.5, 0.5), (0.2, 0.9)]),
            ("weight_decay", [(0.0, 0.5), (0.4, 0.1)]),
            ("eps", [(0.1, 0.1), (1.0, 0.3)]),
            ("maximize", [(False, True), (True, False)]),
        ],
    )
    def test_options_changed_on_the_way(self, option, changes):
        given = {"lr": 0.05, "alpha": 0.8, "momentum": 0.6, "weight_decay": 0.3}
        assert_reads_at_each_step(RMSprop, torch.optim.RMSprop, given, option, changes)

    def test_a_parameter_without_gradient_stays_and_doesnt_count(self):
        given = {"lr": 0.1, "alpha": 0.8, "momentum": 0.5, "weight_decay": 0.3, "centered": True, "eps": 0.1}
        assert_skips(RMSprop, torch.optim.RMSprop, given)

    def test_zeros_are_a_gradient(self):
        assert_zeros_are_gradients(RMSprop, torch.optim.RMSprop, {"alpha": 0.8, "momentum": 0.5})
        assert_zeros_are_gradients(RMSprop, torch.optim.RMSprop, {"alpha": 0.8, "weight_decay": 0.5})

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_closure(self, enabled):
        assert_closure(RMSprop, enabled)

    @pytest.mark.parametrize(
        "options", [{}, {"maximize": True}, {"momentum": 0.5, "centered": True, "eps": 0.1}], ids=str
    )
    def test_gradients_and_leaves_are_left_alone(self, options):
        assert_leaves_alone(RMSprop, options)

    @pytest.mark.parametrize("centered", [False, True])
    @pytest.mark.parametrize("momentum", [0.0, 0.5])
    def test_the_names_in_the_state(self, centered, momentum):
        names = ["square_avg"] + ["grad_avg"] * centered + ["momentum_buffer"] * (momentum > 0)
        assert_names_in_the_state(RMSprop, {"centered": centered, "momentum": momentum, "eps": 0.1}, names)

    @pytest.mark.parametrize("towards_torch", [True, False])
    @pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"centered": True}], ids=str)
    def test_its_state_travels(self, options, towards_torch):
        given = {"lr": 0.05, "alpha": 0.8, "eps": 0.1, "weight_decay": 0.2, **options}
        assert_state_travels(RMSprop, torch.optim.RMSprop, given, towards_torch)

    def test_a_variance_below_0_counts_as_0(self):
        """As rounding may leave it: v a little below the square of the mean."""
        w = torch.zeros(2, requires_grad=True)
        optimizer = RMSprop([w], lr=0.1, alpha=0.5, eps=0.5, centered=True)
        w.grad = torch.ones(2)
        optimizer.step()
        with torch.no_grad():
            w.zero_()
        optimizer.state[w]["square_avg"].copy_(torch.tensor([1 - 1e-5, 3.0]))
        optimizer.state[w]["grad_avg"].fill_(1.0)
        optimizer.step()
        assert_close(w.detach(), torch.tensor([-0.1 / 0.5, -0.1 / 1.5]))

    def test_the_units_of_the_loss_dont_matter(self):
        assert_scale_free(RMSprop, {"lr": 0.1, "momentum": 0.5})

    @pytest.mark.parametrize(
        ("name", "value", "word"), refused("lr", "alpha", "eps", "weight_decay", "momentum", below_1="alpha")
    )
    def test_other_options_are_refused(self, name, value, word):
        assert_refuses(RMSprop, name, value, word)

    def test_zeros_are_allowed(self):
        assert_takes_zeros(RMSprop, ["lr", "alpha", "eps", "weight_decay", "momentum"])

    def test_it_trains_a_network(self):
        assert_trains(RMSprop, 0.05)


class TestAdadelta:
    def test_the_example_worked_by_hand(self):
        options = {"lr": 1.0, "rho": 0.75, "eps": 3.0}
        first = 2 - 3**0.5
        # Then v = 0.75, u = 0.75, and with g = 0 nothing moves; v = 0.5625 + 1, u = 0.5625, g = 2.
        second = first - 2 * (3.5625 / 4.5625) ** 0.5
        assert_by_hand(Adadelta, options, [2.0, 0.0, 2.0], [first, first, second])

    @pytest.mark.parametrize(
        "options",
        [
            {"lr": 1.0},
            {"lr": 0.3, "rho": 0.6},
            {"lr": 2.0, "rho": 0.0, "eps": 0.1},
            {"rho": 0.8, "eps": 0.5},
            {"eps": 0.01, "weight_decay": 0.2},
            {"rho": 0.7, "weight_decay": 0.9, "eps": 0.1},
            {"eps": 0.1, "maximize": True},
            {"eps": 0.1, "maximize": True, "weight_decay": 0.5, "lr": 0.4},
        ],
        ids=str,
    )
    def test_matches_torch_over_50_steps(self, options):
        assert_matches(Adadelta, torch.optim.Adadelta, options)

    def test_its_defaults(self):
        assert_defaults(Adadelta, torch.optim.Adadelta, (1e-3, 1e-3, 1.0))

    def test_groups_with_their_own_options(self):
        options = [
            {"lr": 0.4, "rho": 0.6, "eps": 0.4, "weight_decay": 0.5, "maximize": True},
            {"rho": 0.8, "weight_decay": 0.2},
            {"eps": 0.2},
        ]
        assert_groups(Adadelta, torch.optim.Adadelta, {"lr": 0.7, "weight_decay": 0.7, "eps": 0.05}, options)

    @pytest.mark.parametrize(
        ("option", "changes"),
        [
            ("lr", [(0.1, 0.1), (0.5, 2.0)]),
            ("rho", [(0.9, 0.9), (0.5, 0.7)]),
            ("weight_decay", [(0.0, 0.5), (0.4, 0.1)]),
            ("eps", [(0.1, 0.1), (1.0, 0.3)]),
            ("maximize", [(False, True), (True, False)]),
        ],
    )
    def test_options_changed_on_the_way(self, option, changes):
        given = {"eps": 0.1, "weight_decay": 0.3}
        assert_reads_at_each_step(Adadelta, torch.optim.Adadelta, given, option, changes)

    def test_a_parameter_without_gradient_stays_and_doesnt_count(self):
        assert_skips(Adadelta, torch.optim.Adadelta, {"eps": 0.1, "rho": 0.8, "weight_decay": 0.3})

    def test_zeros_are_a_gradient(self):
        assert_zeros_are_gradients(Adadelta, torch.optim.Adadelta, {"eps": 0.1, "rho": 0.8})

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_closure(self, enabled):
        assert_closure(Adadelta, enabled)

    @pytest.mark.parametrize("options", [{}, {"maximize": True}], ids=str)
    def test_gradients_and_leaves_are_left_alone(self, options):
        assert_leaves_alone(Adadelta, options)

    def test_the_names_in_the_state(self):
        assert_names_in_the_state(Adadelta, {}, ["square_avg", "acc_delta"])

    @pytest.mark.parametrize("towards_torch", [True, False])
    def test_its_state_travels(self, towards_torch):
        given = {"lr": 0.5, "rho": 0.8, "eps": 0.1, "weight_decay": 0.2}
        assert_state_travels(Adadelta, torch.optim.Adadelta, given, towards_torch)

    def test_without_eps_nothing_moves(self):
        mine = weights()
        before = values(mine)
        optimizer = Adadelta(mine, eps=0.0)
        for _ in range(3):
            give_gradients(mine)
            optimizer.step()
        assert_close(values(mine), before, rtol=0, atol=0)

    @pytest.mark.parametrize(("name", "value", "word"), refused("lr", "rho", "eps", "weight_decay", below_1="rho"))
    def test_other_options_are_refused(self, name, value, word):
        assert_refuses(Adadelta, name, value, word)

    def test_zeros_are_allowed(self):
        assert_takes_zeros(Adadelta, ["lr", "rho", "eps", "weight_decay"])

    def test_it_descends(self):
        """From 4 down to 3 within 300 steps: AdaDelta starts slowly, as sizes of √eps tell it to."""
        w = torch.tensor([4.0], dtype=torch.float64, requires_grad=True)
        optimizer = Adadelta([w], eps=1e-4)
        for _ in range(300):
            optimizer.zero_grad()
            (w**2).sum().backward()
            optimizer.step()
        if not 0 <= w.item() < 3:
            fail(f"w is {w.item():.3g} after 300 steps on w², expected it to be from 0 to 3", evidence=w.item())


class TestOnTheGpu:
    @pytest.mark.parametrize("options", [{}, {"lr_decay": 0.5, "initial_accumulator_value": 0.5}], ids=str)
    def test_adagrad(self, gpu, options):
        assert_on_the_device(Adagrad, gpu, options)

    @pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"centered": True, "eps": 0.1}], ids=str)
    def test_rmsprop(self, gpu, options):
        assert_on_the_device(RMSprop, gpu, options)

    def test_adadelta(self, gpu):
        assert_on_the_device(Adadelta, gpu, {})
