"""Judges k04_large_batch against the papers' update rules in numpy, and by properties."""

import math

import numpy as np
import pytest
import torch

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from fixtures.optimizers import give_gradients, passed_on, twins, values, weights
from katas.module_07_training.k04_large_batch import LAMB, LARS, Lion, Lookahead, trust_ratio

pytestmark = [
    from_scratch("torch.optim.Adam", "torch.optim.AdamW", "torch.optim.SGD"),
    pure(),
    pytest.mark.deadline(60),  # torch imports its compiler at the first optimizer, which takes a busy machine a while
]


def lion(w, g, state, *, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
    m = state.get("m", np.zeros_like(w))
    state["m"] = betas[1] * m + (1 - betas[1]) * g
    return w - lr * np.sign(betas[0] * m + (1 - betas[0]) * g) - lr * weight_decay * w


def length(x) -> float:
    return math.sqrt(float((x * x).sum()))


def lars(w, g, state, *, lr=0.1, momentum=0.9, weight_decay=0.0, trust_coefficient=0.001):
    above, below = trust_coefficient * length(w), length(g) + weight_decay * length(w)
    rate = lr * (above / below if above and below else 1.0)
    state["b"] = momentum * state.get("b", 0.0) + rate * g + rate * weight_decay * w
    return w - state["b"]


def lamb(w, g, state, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0):
    past = state.setdefault("past", [])
    past.append(np.array(g))
    t = len(past)
    m, v = (
        sum((1 - b) * b ** (t - i) * h**power for i, h in enumerate(past, 1)) / (1 - b**t)
        for b, power in zip(betas, (1, 2), strict=True)
    )
    u = m / (np.sqrt(v) + eps) + weight_decay * w
    return w - lr * (length(w) / length(u) if length(w) and length(u) else 1.0) * u


RULES = {"Lion": lion, "LARS": lars, "LAMB": lamb}


class ByHand:
    """A paper's rule, one parameter after another."""

    def __init__(self, rule, params: list, **options) -> None:
        self.rule, self.state = rule, {}
        groups = params if isinstance(params[0], dict) else [{"params": params}]
        self.param_groups = [{**options, **group} for group in groups]

    def step(self) -> None:
        for group in self.param_groups:
            options = {key: value for key, value in group.items() if key != "params"}
            for w in group["params"]:
                if w.grad is not None:
                    state = self.state.setdefault(id(w), {})
                    new = self.rule(w.detach().numpy().copy(), w.grad.numpy(), state, **options)
                    with torch.no_grad():
                        w.copy_(torch.as_tensor(new))


def march(mine, theirs, one, other, steps: int) -> None:
    """Both optimizers step side by side.  All weights after each step, (steps, weights), must be equal."""
    ways = [], []
    for i in range(steps):
        give_gradients(mine, theirs, scale=3.0 if i % 10 < 2 else 0.5)
        one.step()
        other.step()
        for way, parameters in zip(ways, (mine, theirs), strict=True):
            way.append(torch.cat([w.detach().reshape(-1) for w in parameters]))
    assert_close(torch.stack(ways[0]), torch.stack(ways[1]))


def assert_by_hand(cls, options: dict, start: list[float], gradients: list, expected: list) -> None:
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = cls([w], **options)
    for g, value in zip(gradients, expected, strict=True):
        w.grad = torch.tensor(g, dtype=torch.float64)
        optimizer.step()
        assert_close(w.detach(), torch.tensor(value, dtype=torch.float64))


def assert_follows_the_rule(cls, options: dict) -> None:
    mine, theirs = twins()
    march(mine, theirs, cls(mine, **options), ByHand(RULES[cls.__name__], theirs, **options), 20)


def assert_groups(cls, given: dict, options: list[dict]) -> None:
    mine, theirs = twins()

    def split(parameters):
        parts = [parameters[:1], parameters[1:3], parameters[3:]]
        return [{"params": part, **own} for part, own in zip(parts, options, strict=True)]

    march(mine, theirs, cls(split(mine), **given), ByHand(RULES[cls.__name__], split(theirs), **given), 12)


def assert_reads_at_each_step(cls, given: dict, option: str, changes: list) -> None:
    mine, theirs = twins()
    one, other = cls(mine, **given), ByHand(RULES[cls.__name__], theirs, **given)
    for change in changes:
        one.param_groups[0][option] = other.param_groups[0][option] = change
        march(mine, theirs, one, other, 3)


def assert_skips(cls, given: dict) -> None:
    mine, theirs = twins()
    one, other = cls(mine, **given), ByHand(RULES[cls.__name__], theirs, **given)
    for skip in (1, 1, 0, None, 2, 3, None, 1, None):
        before = values(mine)
        give_gradients(mine, theirs, skip=skip)
        one.step()
        other.step()
        if skip is not None:
            assert_close(mine[skip].detach(), before[skip], rtol=0, atol=0)
        assert_close(values(mine), values(theirs))


def assert_zeros_are_gradients(cls, given: dict) -> None:
    mine, theirs = twins()
    one, other = cls(mine, **given), ByHand(RULES[cls.__name__], theirs, **given)
    for scale in (0.0, 1.0, 0.0, 0.0, 1.0):
        give_gradients(mine, theirs, scale=scale)
        one.step()
        other.step()
        assert_close(values(mine), values(theirs))


def assert_closure(make, enabled: bool) -> None:
    """One call, with gradients on, before the step; the step takes the gradients that it made."""
    w = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    w.grad = torch.tensor([5.0, -9.0], dtype=torch.float64)  # stale
    twin = w.detach().clone().requires_grad_()
    optimizer, plain = make([w]), make([twin])
    seen, made = [], []

    def closure():
        seen.append((torch.is_grad_enabled(), w.detach().tolist()))
        optimizer.zero_grad()
        loss = -(w**2).sum()
        if loss.requires_grad:
            loss.backward()
        made.append(loss)
        return loss

    with torch.set_grad_enabled(enabled):
        loss = optimizer.step(closure)
        assert_equal(torch.is_grad_enabled(), enabled)
    assert_equal(seen, [(True, [2.0, -1.0])])
    twin.grad = torch.tensor([-4.0, 2.0], dtype=torch.float64)
    nothing = plain.step()
    assert_close(w.detach(), twin.detach())
    assert_equal(loss is made[0], True)
    assert_equal(nothing, None)


def assert_leaves_alone(make) -> None:
    """Gradients keep their values, parameters their place, and autograd records nothing."""
    mine = weights()
    places = [w.data_ptr() for w in mine]
    optimizer = make(mine)
    for _ in range(3):
        give_gradients(mine)
        before, held = [w.grad.clone() for w in mine], [w.grad for w in mine]
        optimizer.step()
        assert_close([w.grad for w in mine], before, rtol=0, atol=0)
        assert_close(held, before, rtol=0, atol=0)
    kept = [(w.is_leaf, w.requires_grad, w.data_ptr() == p) for w, p in zip(mine, places, strict=True)]
    assert_equal(kept, [(True, True, True)] * len(mine))


def assert_resumes(make, fresh, steps: int) -> None:
    """Another optimizer goes on from the file as if the first had never stopped."""
    mine, twin = twins()
    one = make(mine)
    for i in range(steps):
        give_gradients(mine, skip=0 if i == 0 else None)
        one.step()
    with torch.no_grad():
        for w, v in zip(twin, mine, strict=True):
            w.copy_(v)
    later = fresh(twin)
    later.load_state_dict(passed_on(one.state_dict()))
    march(twin, mine, later, one, 6)


def assert_dtype(cls, options: dict, expected: list[float]) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        w = torch.tensor([3.0, 4.0], dtype=dtype, requires_grad=True)
        w.grad = torch.tensor([6.0, 8.0], dtype=dtype)
        cls([w], **options).step()
        assert_close(w.detach(), torch.tensor(expected, dtype=dtype))


def refused(*names: str, betas: bool = False) -> list[tuple]:
    """Options out of bounds, each with what the error must name."""
    cases = [(name, value, word) for name in names for value, word in ((-0.125, -0.125), (math.nan, "nan"))]
    wrong = [((1.0, 0.5), 1), ((0.5, 1.0), 1), ((-0.25, 0.5), -0.25), ((0.5, 1.75), 1.75)]
    return cases + [("betas", value, word) for value, word in wrong if betas]


def assert_refuses(cls, name: str, value, word) -> None:
    with raises(ValueError, word):
        cls(weights(), **{name: value})


def assert_takes_zeros(cls, names: list[str]) -> None:
    w = torch.tensor([2.0], requires_grad=True)
    w.grad = torch.tensor([3.0])
    zeros = {name: (0.0, 0.0) if name == "betas" else 0.0 for name in names}
    cls([w], **zeros).step()
    assert_close(w.detach(), torch.tensor([2.0]))


def assert_on_the_device(make, gpu) -> None:
    on_cpu = torch.randn(3, 4, dtype=torch.float64).requires_grad_()
    there = gpu(on_cpu)
    one, other = make([on_cpu]), make([there])
    for _ in range(4):
        on_cpu.grad = torch.randn(3, 4, dtype=torch.float64)
        there.grad = gpu(on_cpu.grad)
        one.step()
        other.step()
    assert_close(there.detach().cpu(), on_cpu.detach())


class TestTrustRatio:
    @pytest.mark.parametrize(
        ("size", "update", "expected"), [(5, 10, 0.5), (0, 3, 1), (3, 0, 1), (0, 0, 1), (1e-30, 2e-30, 0.5)]
    )
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_by_hand(self, size, update, expected, dtype):
        found = trust_ratio(torch.tensor(size, dtype=dtype), torch.tensor(update, dtype=dtype))
        assert_equal(tuple(found.shape), ())
        assert_close(found, torch.tensor(expected, dtype=dtype))

    def test_random_norms(self):
        size, update = (torch.rand((), dtype=torch.float64) + 0.1 for _ in range(2))
        assert_close(trust_ratio(size, update), size / update)


class TestLion:
    def test_the_example_worked_by_hand(self):
        assert_by_hand(Lion, {"lr": 0.1, "weight_decay": 0.5}, [2.0], [[3.0], [-0.1]], [[1.8], [1.61]])

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"lr": 0.1},
            {"lr": 0.03, "betas": (0.5, 0.8)},
            {"lr": 0.1, "betas": (0.0, 0.6)},
            {"lr": 0.1, "betas": (0.9, 0.0)},
            {"lr": 0.1, "weight_decay": 0.2},
            {"lr": 0.02, "betas": (0.7, 0.9), "weight_decay": 1.5},
        ],
        ids=str,
    )
    def test_follows_the_rule(self, options):
        assert_follows_the_rule(Lion, options)

    def test_its_default_rate(self):
        w = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
        w.grad = torch.tensor([7.0], dtype=torch.float64)
        Lion([w]).step()
        assert_close((2 - w.detach()) * 1e4, torch.ones(1, dtype=torch.float64))

    @pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
    def test_every_entry_moves_by_the_rate(self, scale):
        mine = weights()
        before = values(mine)
        give_gradients(mine, scale=scale)
        Lion(mine, lr=0.25).step()
        moved = [b - w.detach() for b, w in zip(before, mine, strict=True)]
        assert_close(moved, [0.25 * w.grad.sign() for w in mine])

    def test_a_gradient_of_zeros_at_the_start_moves_nothing(self):
        assert_by_hand(Lion, {"lr": 0.5}, [2.0, 3.0], [[0.0, 1.0]], [[2.0, 2.5]])

    def test_groups_with_their_own_options(self):
        options = [{"lr": 0.1, "betas": (0.3, 0.6)}, {"lr": 0.02, "weight_decay": 2.0}, {}]
        assert_groups(Lion, {"lr": 0.3, "weight_decay": 0.1}, options)

    @pytest.mark.parametrize(
        ("option", "changes"),
        [("lr", [0.1, 0.3]), ("betas", [(0.9, 0.9), (0.2, 0.5)]), ("weight_decay", [0.0, 0.9, 0.1])],
    )
    def test_options_changed_on_the_way(self, option, changes):
        assert_reads_at_each_step(Lion, {"lr": 0.1, "weight_decay": 0.2}, option, changes)

    def test_a_parameter_without_gradient_stays(self):
        assert_skips(Lion, {"lr": 0.1, "weight_decay": 0.3})

    def test_zeros_are_a_gradient(self):
        assert_zeros_are_gradients(Lion, {"lr": 0.1, "betas": (0.6, 0.7), "weight_decay": 0.3})

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_closure(self, enabled):
        assert_closure(lambda w: Lion(w, lr=0.1), enabled)

    def test_gradients_and_leaves_are_left_alone(self):
        assert_leaves_alone(lambda w: Lion(w, lr=0.1, weight_decay=0.3))

    def test_it_resumes(self):
        assert_resumes(lambda w: Lion(w, lr=0.1, betas=(0.6, 0.8), weight_decay=0.3), Lion, 4)

    def test_other_dtypes(self):
        assert_dtype(Lion, {"lr": 0.25, "weight_decay": 1.0}, [2.0, 2.75])

    @pytest.mark.parametrize(("name", "value", "word"), refused("lr", "weight_decay", betas=True))
    def test_other_options_are_refused(self, name, value, word):
        assert_refuses(Lion, name, value, word)

    def test_zeros_are_allowed(self):
        assert_takes_zeros(Lion, ["lr", "weight_decay", "betas"])


class TestLARS:
    def test_the_example_worked_by_hand(self):
        options = {"lr": 1.0, "momentum": 0.5, "trust_coefficient": 0.1}
        assert_by_hand(LARS, options, [3.0, 4.0], [[6.0, 8.0]] * 2, [[2.7, 3.6], [2.28, 3.04]])

    @pytest.mark.parametrize(
        "options",
        [
            {"lr": 9.0},
            {"lr": 0.5, "trust_coefficient": 0.2},
            {"lr": 2.0, "momentum": 0.0, "trust_coefficient": 0.05},
            {"lr": 0.5, "momentum": 0.6, "trust_coefficient": 0.2, "weight_decay": 0.4},
            {"lr": 0.1, "momentum": 0.3, "trust_coefficient": 0.5, "weight_decay": 3.0},
        ],
        ids=str,
    )
    def test_follows_the_rule(self, options):
        assert_follows_the_rule(LARS, options)

    def test_its_defaults(self):
        w = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
        optimizer, before = LARS([w]), torch.tensor([3.0, 4.0], dtype=torch.float64)
        for share in (1e-4, 1.9e-4):  # the second with the momentum of the first, and a weight hardly shorter
            w.grad = torch.tensor([6.0, 8.0], dtype=torch.float64)
            optimizer.step()
            assert_close((before - w.detach()) / before / share, torch.ones(2, dtype=torch.float64), rtol=1e-3, atol=0)
            before = w.detach().clone()

    @pytest.mark.parametrize("scale", [1e-6, 1e6])
    def test_the_scale_of_a_gradient_doesnt_matter(self, scale):
        mine, theirs = twins()
        one, other = (LARS(w, lr=0.5, trust_coefficient=0.1, momentum=0.6) for w in (mine, theirs))
        for _ in range(4):
            give_gradients(mine, theirs)
            for w in theirs:
                w.grad *= scale
            one.step()
            other.step()
            assert_close(values(mine), values(theirs))

    @pytest.mark.parametrize(("start", "g"), [([0.0, 0.0], [3.0, 4.0]), ([3.0, 4.0], [0.0, 0.0])])
    @pytest.mark.parametrize("weight_decay", [0.0, 0.25])
    def test_a_norm_of_0(self, start, g, weight_decay):
        expected = start if not any(g) else [-1.5, -2.0]
        if weight_decay and any(start):  # r is 0.5/0.25 = 2
            expected = [x - 0.5 * 2 * 0.25 * x for x in start]
        options = {"lr": 0.5, "trust_coefficient": 0.5, "weight_decay": weight_decay}
        assert_by_hand(LARS, options, start, [g], [expected])

    def test_groups_with_their_own_options(self):
        options = [
            {"lr": 1.0, "momentum": 0.3},
            {"trust_coefficient": 0.3, "weight_decay": 2.0},
            {"momentum": 0.0},
        ]
        assert_groups(LARS, {"lr": 0.3, "weight_decay": 0.1, "trust_coefficient": 0.1}, options)

    @pytest.mark.parametrize(
        ("option", "changes"),
        [
            ("lr", [0.1, 0.3, 0.0]),
            ("momentum", [0.5, 0.9]),
            ("weight_decay", [0.0, 0.9, 0.1]),
            ("trust_coefficient", [0.1, 0.5]),
        ],
    )
    def test_options_changed_on_the_way(self, option, changes):
        given = {"lr": 0.2, "weight_decay": 0.2, "trust_coefficient": 0.2}
        assert_reads_at_each_step(LARS, given, option, changes)

    def test_a_parameter_without_gradient_stays(self):
        assert_skips(LARS, {"lr": 0.5, "weight_decay": 0.3, "trust_coefficient": 0.2})

    def test_zeros_are_a_gradient(self):
        assert_zeros_are_gradients(LARS, {"lr": 0.5, "weight_decay": 0.3, "trust_coefficient": 0.2})

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_closure(self, enabled):
        assert_closure(lambda w: LARS(w, lr=0.5, trust_coefficient=0.2), enabled)

    def test_gradients_and_leaves_are_left_alone(self):
        assert_leaves_alone(lambda w: LARS(w, lr=0.1, weight_decay=0.3))

    def test_it_resumes(self):
        assert_resumes(lambda w: LARS(w, lr=0.5, trust_coefficient=0.2, weight_decay=0.3), LARS, 4)

    def test_other_dtypes(self):
        assert_dtype(LARS, {"lr": 1.0, "trust_coefficient": 0.25}, [2.25, 3.0])

    @pytest.mark.parametrize(("name", "value", "word"), refused("lr", "momentum", "weight_decay", "trust_coefficient"))
    def test_other_options_are_refused(self, name, value, word):
        assert_refuses(LARS, name, value, word)

    def test_zeros_are_allowed(self):
        assert_takes_zeros(LARS, ["lr", "momentum", "weight_decay", "trust_coefficient"])


class TestLAMB:
    def test_the_example_worked_by_hand(self):
        step = 0.5 / 2**0.5
        options = {"lr": 0.1, "eps": 0.0}
        assert_by_hand(LAMB, options, [3.0, 4.0], [[2.0, -2.0]], [[3 - step, 4 + step]])

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"lr": 0.1},
            {"lr": 0.03, "betas": (0.5, 0.8), "eps": 0.4},
            {"lr": 0.1, "betas": (0.0, 0.6), "eps": 0.05},
            {"lr": 0.1, "weight_decay": 0.2},
            {"lr": 0.02, "betas": (0.7, 0.9), "weight_decay": 1.5, "eps": 0.1},
        ],
        ids=str,
    )
    def test_follows_the_rule(self, options):
        assert_follows_the_rule(LAMB, options)

    def test_its_defaults(self):
        mine, theirs = twins()
        one, other = LAMB(mine), ByHand(lamb, theirs)
        for scale in (1e-6, 1e-6, 1.0):  # small gradients show the default eps
            give_gradients(mine, theirs, scale=scale)
            one.step()
            other.step()
            # Steps of a thousandth must be right, too.
            assert_close(values(mine), values(theirs), rtol=0, atol=1e-10)

    @pytest.mark.parametrize("weight_decay", [0.0, 0.7])
    def test_every_layer_moves_by_the_same_share_of_its_length(self, weight_decay):
        mine = weights()
        optimizer = LAMB(mine, lr=0.125, weight_decay=weight_decay)
        for _ in range(3):
            before = values(mine)
            give_gradients(mine)
            optimizer.step()
            shares = [((w.detach() - b).norm() / b.norm()).item() for w, b in zip(mine, before, strict=True)]
            assert_close(shares, [0.125] * 4)

    @pytest.mark.parametrize(
        ("start", "g", "expected"), [([0.0, 0.0], [3.0, -4.0], [-0.5, 0.5]), ([3.0, 4.0], [0.0, 0.0], [3.0, 4.0])]
    )
    def test_a_norm_of_0(self, start, g, expected):
        assert_by_hand(LAMB, {"lr": 0.5, "eps": 1e-9}, start, [g], [expected])

    def test_groups_with_their_own_options(self):
        options = [{"lr": 0.1, "betas": (0.3, 0.6)}, {"lr": 0.02, "weight_decay": 2.0, "eps": 0.3}, {}]
        assert_groups(LAMB, {"lr": 0.05, "weight_decay": 0.1}, options)

    @pytest.mark.parametrize(
        ("option", "changes"),
        [
            ("lr", [0.1, 0.3]),
            ("eps", [0.1, 1.0]),
            ("weight_decay", [0.0, 0.9, 0.1]),
        ],
    )
    def test_options_changed_on_the_way(self, option, changes):
        assert_reads_at_each_step(LAMB, {"lr": 0.1, "weight_decay": 0.2}, option, changes)

    def test_a_parameter_without_gradient_stays_and_doesnt_count(self):
        assert_skips(LAMB, {"lr": 0.1, "weight_decay": 0.3})

    def test_zeros_are_a_gradient(self):
        assert_zeros_are_gradients(LAMB, {"lr": 0.1, "weight_decay": 0.3})

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_closure(self, enabled):
        assert_closure(lambda w: LAMB(w, lr=0.1), enabled)

    def test_gradients_and_leaves_are_left_alone(self):
        assert_leaves_alone(lambda w: LAMB(w, lr=0.1, weight_decay=0.3))

    def test_it_resumes(self):
        assert_resumes(lambda w: LAMB(w, lr=0.1, betas=(0.6, 0.8), weight_decay=0.3), LAMB, 4)

    def test_other_dtypes(self):
        step = 0.125 * 5 / 2**0.5
        assert_dtype(LAMB, {"lr": 0.125, "eps": 0.0}, [3 - step, 4 - step])

    @pytest.mark.parametrize(("name", "value", "word"), refused("lr", "eps", "weight_decay", betas=True))
    def test_other_options_are_refused(self, name, value, word):
        assert_refuses(LAMB, name, value, word)

    def test_zeros_are_allowed(self):
        assert_takes_zeros(LAMB, ["lr", "eps", "weight_decay", "betas"])


def sgd(parameters, lr: float = 0.1, momentum: float = 0.9) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum)


class TestLookahead:
    def test_the_example_worked_by_hand(self):
        w = torch.tensor([10.0], requires_grad=True)
        optimizer = Lookahead(sgd([w], lr=1.0, momentum=0.0), k=2, alpha=0.5)
        found = []
        for _ in range(5):
            w.grad = torch.ones(1)
            optimizer.step()
            found.append(w.item())
        assert_close(torch.tensor(found), torch.tensor([9.0, 9.0, 8.0, 8.0, 7.0]))

    @pytest.mark.parametrize("k", [1, 3, 4])
    @pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8, 1.0])
    def test_by_hand_with_momentum(self, k, alpha):
        """The inner optimizer runs on; only the weights are pulled back."""
        mine, theirs = twins()
        optimizer = Lookahead(torch.optim.Adam([{"params": mine[:2]}, {"params": mine[2:]}], lr=0.1), k, alpha)
        inner = torch.optim.Adam(theirs, lr=0.1)
        slow = values(theirs)
        for i in range(1, 13):
            give_gradients(mine, theirs)
            optimizer.step()
            inner.step()
            if i % k == 0:
                slow = [s + alpha * (w.detach() - s) for s, w in zip(slow, theirs, strict=True)]
                with torch.no_grad():
                    for w, s in zip(theirs, slow, strict=True):
                        w.copy_(s)
            assert_close(values(mine), values(theirs))

    def test_its_weights_are_those_of_the_moment_when_it_wraps(self):
        w = torch.tensor([10.0], requires_grad=True)
        optimizer = Lookahead(sgd([w], lr=1.0, momentum=0.0), k=1, alpha=0.5)
        with torch.no_grad():
            w.fill_(20.0)
        w.grad = torch.ones(1)
        optimizer.step()
        assert_close(w.detach(), torch.tensor([14.5]))  # from 10, half of the way to 19

    def test_what_is_loaded_stays_as_it_is(self):
        w = torch.tensor([10.0], requires_grad=True)
        optimizer = Lookahead(sgd([w], lr=1.0, momentum=0.0))
        state = optimizer.state_dict()
        names = sorted(state)
        optimizer.load_state_dict(state)
        assert_equal(sorted(state), names)

    def test_its_defaults(self):
        w = torch.tensor([10.0], requires_grad=True)
        optimizer, found = Lookahead(sgd([w], lr=1.0, momentum=0.0)), []
        for _ in range(10):
            w.grad = torch.ones(1)
            optimizer.step()
            found.append(w.item())
        assert_equal(found, [9.0, 8.0, 7.0, 6.0, 7.5, 6.5, 5.5, 4.5, 3.5, 5.0])

    def test_a_parameter_without_gradient_stays(self):
        a, b = torch.tensor([2.0], requires_grad=True), torch.tensor([0.1], requires_grad=True)
        optimizer = Lookahead(sgd([a, b]), k=2, alpha=0.3)
        for _ in range(4):
            a.grad = torch.ones(1)
            optimizer.step()
        assert_close(b.detach(), torch.tensor([0.1]), rtol=0, atol=0)

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_closure(self, enabled):
        assert_closure(lambda w: Lookahead(sgd(w), k=1), enabled)

    def test_gradients_and_leaves_are_left_alone(self):
        assert_leaves_alone(lambda w: Lookahead(sgd(w), k=2))

    @pytest.mark.parametrize("to_none", [True, False])
    def test_zero_grad(self, to_none):
        mine = weights()
        give_gradients(mine)
        Lookahead(sgd(mine)).zero_grad(set_to_none=to_none)
        zeros = [None if to_none else torch.zeros_like(w) for w in values(mine)]
        assert_close([w.grad for w in mine], zeros)
        give_gradients(mine)
        Lookahead(sgd(mine)).zero_grad()
        assert_equal([w.grad for w in mine], [None] * 4)

    @pytest.mark.parametrize("steps", [0, 1, 4, 6])
    def test_it_resumes(self, steps):
        def make(w):
            return Lookahead(sgd(w), k=3, alpha=0.3)

        assert_resumes(make, make, steps)

    def test_its_state_is_of_its_time(self):
        """Later steps don't change the slow weights that were handed out."""
        mine, twin = twins()
        one, then = Lookahead(sgd(mine), k=2, alpha=0.5), values(mine)
        saved = one.state_dict()
        for _ in range(2):
            give_gradients(mine)
            one.step()
        # The twin still stands where the weights stood then; steps of 0 leave it there.
        later = Lookahead(sgd(twin), k=2, alpha=0.5)
        later.load_state_dict(saved)
        for _ in range(2):
            give_gradients(twin, scale=0.0)
            later.step()
        assert_close(values(twin), then)

    def test_two_of_them_dont_meet(self):
        mine, theirs = twins()
        one, other = Lookahead(sgd(mine), k=2), Lookahead(sgd(theirs), k=2)
        march(mine, theirs, one, other, 1)
        give_gradients(mine)
        one.step()
        before = values(theirs)
        for w in theirs:
            w.grad = None
        other.step()
        assert_equal([bool((a != b.detach()).any()) for a, b in zip(before, theirs, strict=True)], [True] * 4)

    @pytest.mark.parametrize("k", [0, -2])
    def test_other_k_are_refused(self, k):
        with raises(ValueError, k):
            Lookahead(sgd(weights()), k)

    @pytest.mark.parametrize("alpha", [-0.25, 1.25])
    def test_other_alphas_are_refused(self, alpha):
        with raises(ValueError, alpha):
            Lookahead(sgd(weights()), 2, alpha)


class TestOnTheGpu:
    def test_trust_ratio(self, gpu):
        gpu.check(trust_ratio, torch.tensor(3.0), torch.tensor(2.0))
        gpu.check(trust_ratio, torch.tensor(0.0), torch.tensor(2.0))

    def test_lion(self, gpu):
        assert_on_the_device(lambda w: Lion(w, lr=0.1, weight_decay=0.2), gpu)

    def test_lars(self, gpu):
        assert_on_the_device(lambda w: LARS(w, lr=0.5, weight_decay=0.2, trust_coefficient=0.2), gpu)

    def test_lamb(self, gpu):
        assert_on_the_device(lambda w: LAMB(w, lr=0.1, weight_decay=0.2), gpu)

    def test_lookahead(self, gpu):
        assert_on_the_device(lambda w: Lookahead(sgd(w), k=2), gpu)

    def test_lookahead_from_a_file_of_the_cpu(self, gpu):
        on_cpu = torch.randn(3, dtype=torch.float64).requires_grad_()
        there = gpu(on_cpu)
        other = Lookahead(sgd([there]), k=1)
        other.load_state_dict(Lookahead(sgd([on_cpu]), k=1).state_dict())
        there.grad = gpu(torch.ones(3, dtype=torch.float64))
        other.step()
        assert_close(there.detach().cpu(), on_cpu.detach() - 0.05)
