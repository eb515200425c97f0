"""Judges k01_momentum against torch.optim.SGD step by step, closed forms, and numbers worked by hand."""

import copy
import math

import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.optimizers import give_gradients, passed_on, twins, values, weights
from katas.module_07_training.k01_momentum import SGD, Optimizer, sgd_direction

pytestmark = [
    from_scratch("torch.optim"),
    pure("sgd_direction"),
    pytest.mark.deadline(60),  # torch imports its compiler at the first optimizer, which takes a busy machine a while
]


def march(mine, theirs, one, other, steps: int) -> None:
    """Both optimizers step side by side.  All weights after each step, (steps, weights), must be equal."""
    ways = [], []
    for _ in range(steps):
        give_gradients(mine, theirs)
        one.step()
        other.step()
        for way, parameters in zip(ways, (mine, theirs), strict=True):
            way.append(torch.cat([w.detach().reshape(-1) for w in parameters]))
    assert_close(torch.stack(ways[0]), torch.stack(ways[1]))


class TestSgdDirection:
    @pytest.mark.parametrize(
        ("dampening", "nesterov", "expected"),
        [(0.0, False, [1, 2.5]), (0.0, True, [1.5, 3.25]), (0.5, False, [1, 1.5])],
    )
    def test_the_examples_worked_by_hand(self, dampening, nesterov, expected):
        state = {}
        for g, d in zip((1.0, 2.0), expected, strict=True):
            found = sgd_direction(torch.tensor([g], dtype=torch.float64), state, 0.5, dampening, nesterov)
            assert_close(found, torch.tensor([d], dtype=torch.float64))

    @pytest.mark.parametrize("momentum", [0.3, 0.9])
    @pytest.mark.parametrize("dampening", [0.0, 0.25, 1.0])
    def test_by_a_sum_over_all_gradients(self, momentum, dampening):
        state, past = {}, []
        for _ in range(6):
            g = torch.randn(2, 3, dtype=torch.float64)
            past.append(g.clone())
            shares = [1.0] + [1 - dampening] * (len(past) - 1)
            expected = sum(
                share * momentum ** (len(past) - 1 - i) * h
                for i, (share, h) in enumerate(zip(shares, past, strict=True))
            )
            assert_close(sgd_direction(g, state, momentum, dampening), expected)
            assert_close(state["momentum_buffer"], expected)
            assert_close(g, past[-1], rtol=0, atol=0)

    @pytest.mark.parametrize("momentum", [0.5, 0.9])
    def test_nesterov_looks_ahead(self, momentum):
        state, b = {}, torch.zeros(2, 3, dtype=torch.float64)
        for _ in range(5):
            g = torch.randn(2, 3, dtype=torch.float64)
            before, b = g.clone(), momentum * b + g
            assert_close(sgd_direction(g, state, momentum, nesterov=True), g + momentum * b)
            assert_close(state["momentum_buffer"], b)
            assert_close(g, before, rtol=0, atol=0)

    def test_no_momentum_by_default_and_nothing_kept(self):
        state, g = {}, torch.randn(3)
        for _ in range(2):
            assert_close(sgd_direction(g, state), g)
        assert_equal(state, {})

    @pytest.mark.parametrize("nesterov", [False, True])
    def test_the_buffer_is_its_own(self, nesterov):
        """zero_grad(set_to_none=False) clears a gradient in place."""
        state, g = {}, torch.tensor([2.0, 4.0])
        sgd_direction(g, state, 0.5, 0.0, nesterov)
        g.zero_()
        expected = torch.tensor([1.0, 2.0])
        assert_close(sgd_direction(g, state, 0.5, 0.0, nesterov), expected * (0.5 if nesterov else 1))

    def test_a_buffer_of_none_is_none_yet(self):
        state = {"momentum_buffer": None}
        assert_close(sgd_direction(torch.tensor([2.0]), state, 0.5, 0.5), torch.tensor([2.0]))
        assert_close(sgd_direction(torch.tensor([2.0]), state, 0.5, 0.5), torch.tensor([2.0]))
        assert_close(sgd_direction(torch.tensor([4.0]), state, 0.5, 0.5), torch.tensor([3.0]))

    @pytest.mark.parametrize("shape", [(), (1,), (2, 3, 4)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("nesterov", [False, True])
    def test_keeps_shape_and_dtype(self, dtype, shape, nesterov):
        state = {}
        for expected in (1.0, 1.5):
            d = sgd_direction(torch.ones(shape, dtype=dtype), state, 0.5, 0.0, nesterov)
            assert_close(state["momentum_buffer"], torch.full(shape, expected, dtype=dtype))
            assert_close(d, torch.full(shape, 1 + 0.5 * expected if nesterov else expected, dtype=dtype))


def names_of(optimizer) -> list[dict]:
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def assert_holds(optimizer, expected: list[list[torch.Tensor]]) -> None:
    """The groups hold these very parameters."""
    found = [[id(w) for w in group["params"]] for group in optimizer.param_groups]
    assert_equal([len(ids) for ids in found], [len(ids) for ids in expected])
    assert_equal(found == [[id(w) for w in some] for some in expected], True)


class TestOptimizer:
    def test_parameters_make_one_group(self):
        w = weights()
        optimizer = Optimizer(w, {"lr": 0.1, "other": 2})
        assert_holds(optimizer, [w])
        assert_equal(names_of(optimizer), [{"lr": 0.1, "other": 2}])
        assert_equal(type(optimizer.param_groups[0]["params"]) is list, True)
        assert_equal(len(optimizer.state), 0)

    def test_a_generator(self):
        w = weights()
        assert_holds(Optimizer((x for x in w), {}), [w])
        groups = ({"params": (x for x in some)} for some in (w[:1], w[1:]))
        assert_holds(Optimizer(groups, {}), [w[:1], w[1:]])

    def test_groups_with_their_own_options(self):
        w = weights()
        given = [{"params": w[:2], "lr": 0.5}, {"params": w[2]}, {"params": [], "size": 3}]
        shown = [dict(group) for group in given]
        defaults = {"lr": 0.1, "decay": 0.2}
        optimizer = Optimizer(given, defaults)
        assert_holds(optimizer, [w[:2], [w[2]], []])
        expected = [{"lr": 0.5, "decay": 0.2}, {"lr": 0.1, "decay": 0.2}, {"lr": 0.1, "decay": 0.2, "size": 3}]
        assert_equal(names_of(optimizer), expected)
        assert_equal([sorted(group) for group in given], [sorted(group) for group in shown])
        assert_equal(defaults, {"lr": 0.1, "decay": 0.2})
        optimizer.param_groups[1]["lr"] = 9.0
        assert_equal([group["lr"] for group in names_of(optimizer)], [0.5, 9.0, 0.1])

    def test_a_group_added_later(self):
        w = weights()
        optimizer = Optimizer(w[:1], {"lr": 0.1})
        group = {"params": (x for x in w[1:3]), "lr": 0.7}
        optimizer.add_param_group(group)
        optimizer.add_param_group({"params": w[3]})
        assert_holds(optimizer, [w[:1], w[1:3], [w[3]]])
        assert_equal(names_of(optimizer), [{"lr": 0.1}, {"lr": 0.7}, {"lr": 0.1}])
        assert_equal(sorted(group), ["lr", "params"])

    @pytest.mark.parametrize("case", ["in one", "in two", "later"])
    def test_a_parameter_twice_is_refused(self, case):
        a, b = weights()[:2]
        if case == "in one":
            with raises(ValueError):
                Optimizer([a, b, a], {})
        elif case == "in two":
            with raises(ValueError):
                Optimizer([{"params": [a]}, {"params": [b, a]}], {})
        else:
            optimizer = Optimizer([a], {})
            with raises(ValueError):
                optimizer.add_param_group({"params": [b, a]})
            assert_holds(optimizer, [[a]])
            optimizer.add_param_group({"params": [b]})
            assert_holds(optimizer, [[a], [b]])

    def test_equal_parameters_arent_the_same(self):
        a, b = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
        assert_holds(Optimizer([a, b], {}), [[a, b]])

    def test_what_isnt_a_leaf_is_refused(self):
        a, b = weights()[:2]
        with raises(ValueError):
            Optimizer([a, b * 2], {})
        optimizer = Optimizer([a], {})
        with raises(ValueError):
            optimizer.add_param_group({"params": b * 2})
        assert_holds(optimizer, [[a]])

    def test_nothing_and_a_single_tensor_are_refused(self):
        with raises(ValueError):
            Optimizer([], {})
        with raises(ValueError):
            Optimizer(iter(()), {})
        with raises(TypeError):
            Optimizer(torch.ones(3, requires_grad=True), {})

    def test_state_of_a_parameter_is_made_when_asked_for(self):
        w = weights()
        optimizer, other = Optimizer(w, {}), Optimizer(w, {})
        optimizer.state[w[1]]["count"] = 5
        assert_equal(optimizer.state[w[1]], {"count": 5})
        assert_equal(optimizer.state[w[0]], {})
        assert_equal(len(other.state), 0)

    @pytest.mark.parametrize("to_none", [True, False])
    def test_zero_grad(self, to_none):
        w = weights()
        optimizer = Optimizer([{"params": w[:2]}, {"params": w[2:]}], {})
        give_gradients(w, skip=2)
        held = [x.grad for x in w]
        optimizer.zero_grad(set_to_none=to_none)
        if to_none:
            assert_equal([x.grad for x in w], [None] * 4)
            return
        assert_equal([x.grad is h for x, h in zip(w, held, strict=True)], [True] * 4)
        expected = [None if i == 2 else torch.zeros_like(x) for i, x in enumerate(values(w))]
        assert_close([x.grad for x in w], expected)

    def test_zero_grad_sets_to_none_by_default(self):
        w = weights()
        give_gradients(w)
        Optimizer(w, {}).zero_grad()
        assert_equal([x.grad for x in w], [None] * 4)

    def test_state_dict_numbers_the_parameters(self):
        w = weights()
        optimizer = Optimizer([{"params": w[:2], "lr": 0.5}, {"params": []}, {"params": w[2:]}], {"lr": 0.1})
        assert_equal(optimizer.state_dict()["state"], {})
        optimizer.state[w[3]].update(a=7)
        optimizer.state[w[0]].update(b="x")
        found = optimizer.state_dict()
        assert_equal(sorted(found), ["param_groups", "state"])
        assert_equal([type(key).__name__ for key in found["state"]], ["int", "int"])
        assert_equal(found["state"], {0: {"b": "x"}, 3: {"a": 7}})
        groups = [{"lr": 0.5, "params": [0, 1]}, {"lr": 0.1, "params": []}, {"lr": 0.1, "params": [2, 3]}]
        assert_equal(found["param_groups"], groups)

    def test_a_change_to_the_state_dict_changes_nothing(self):
        w = weights()
        optimizer = Optimizer(w, {"lr": 0.1})
        optimizer.state[w[1]]["a"] = 7
        found = optimizer.state_dict()
        found["param_groups"][0]["lr"] = 9.0
        found["param_groups"][0]["params"].clear()
        found["state"][1]["a"] = 8
        found["state"].clear()
        assert_holds(optimizer, [w])
        assert_equal(optimizer.param_groups[0]["lr"], 0.1)
        assert_equal(optimizer.state[w[1]], {"a": 7})

    def test_there_and_back(self):
        w, v = twins()
        one = Optimizer([{"params": w[:2], "lr": 0.5}, {"params": w[2:], "new": 3}], {"lr": 0.1})
        one.state[w[3]]["m"] = torch.randn(6, 2, dtype=torch.float64)
        one.state[w[1]].update(m=torch.randn(5, dtype=torch.float64), step=4)
        saved = passed_on(one.state_dict())
        shown = copy.deepcopy(saved)
        other = Optimizer([{"params": v[:2]}, {"params": v[2:]}], {"lr": 9.0})
        other.state[v[0]]["m"] = 5  # forgotten
        other.load_state_dict(saved)
        assert_holds(other, [v[:2], v[2:]])
        assert_equal(names_of(other), [{"lr": 0.5}, {"lr": 0.1, "new": 3}])
        assert_equal(sum(bool(kept) for kept in other.state.values()), 2)
        assert_close(other.state[v[3]], one.state[w[3]])
        assert_close(other.state[v[1]], one.state[w[1]])
        assert_equal(other.state[v[0]], {})
        # What was loaded is a copy.
        other.state[v[3]]["m"].zero_()
        other.state[v[1]]["step"] = 0
        other.param_groups[0]["lr"] = 7.0
        assert_close(saved, shown)

    def test_whatever_the_numbers_are(self):
        w = weights()
        optimizer = Optimizer([{"params": w[:2]}, {"params": w[2:]}], {"lr": 0.1})
        groups = [{"lr": 1.0, "params": [17, 4]}, {"lr": 2.0, "params": [9, 3]}]
        optimizer.load_state_dict({"state": {4: {"a": 1}, 9: {"a": 2}}, "param_groups": groups})
        assert_equal([optimizer.state[x] for x in w], [{}, {"a": 1}, {"a": 2}, {}])
        assert_holds(optimizer, [w[:2], w[2:]])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_state_takes_the_parameters_dtype(self, dtype):
        w = torch.ones(3, dtype=dtype, requires_grad=True)
        optimizer = Optimizer([w], {})
        kept = {"m": torch.ones(3, dtype=torch.float64), "n": torch.tensor([1, 2]), "step": 5, "what": None}
        optimizer.load_state_dict({"state": {0: kept}, "param_groups": [{"params": [0]}]})
        assert_close(optimizer.state[w]["m"], torch.ones(3, dtype=dtype))
        assert_equal((str(optimizer.state[w]["n"].dtype), optimizer.state[w]["n"].tolist()), ("torch.int64", [1, 2]))
        assert_equal((optimizer.state[w]["step"], optimizer.state[w]["what"]), (5, None))

    @pytest.mark.parametrize(
        ("split", "numbers"), [([4], (1, 2)), ([1, 1, 2], (3, 2)), ([1, 3], (1, 2)), ([2, 1], (1, 2))]
    )
    def test_other_groups_are_refused(self, split, numbers):
        w = weights()
        optimizer = Optimizer([{"params": w[:2]}, {"params": w[2:]}], {"lr": 0.1})
        optimizer.state[w[0]]["a"] = 1
        groups, first = [], 0
        for size in split:
            groups.append({"lr": 7.0, "params": list(range(first, first + size))})
            first += size
        with raises(ValueError, *numbers):
            optimizer.load_state_dict({"state": {0: {"a": 2}}, "param_groups": groups})
        assert_equal((optimizer.state[w[0]], optimizer.param_groups[0]["lr"]), ({"a": 1}, 0.1))


OPTIONS = [
    {"lr": 0.1},
    {"lr": 0.02, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.5},
    {"lr": 0.1, "momentum": 0.8, "dampening": 0.3},
    {"lr": 0.1, "momentum": 0.8, "dampening": 1.0},
    {"lr": 0.1, "momentum": 0.7, "nesterov": True},
    {"lr": 0.05, "weight_decay": 0.5},
    {"lr": 0.05, "weight_decay": 0.2, "momentum": 0.9, "nesterov": True},
    {"lr": 0.1, "maximize": True},
    {"lr": 0.1, "maximize": True, "weight_decay": 0.4, "momentum": 0.6, "dampening": 0.2},
    {"lr": 0.0, "weight_decay": 0.4, "momentum": 0.6},
]
GROUPS = [
    {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.5, "nesterov": True, "maximize": True},
    {"lr": 0.03, "momentum": 0.8, "dampening": 0.4, "weight_decay": 0.2},
    {"momentum": 0.0},
]


def grouped(parameters: list[torch.Tensor]) -> list[dict]:
    split = [parameters[:1], parameters[1:3], parameters[3:]]
    return [{"params": some, **options} for some, options in zip(split, GROUPS, strict=True)]


class TestSGD:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [({}, [1.9, 1.65]), ({"nesterov": True}, [1.85, 1.525]), ({"dampening": 0.5}, [1.9, 1.75])],
    )
    def test_the_examples_worked_by_hand(self, options, expected):
        w = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
        optimizer = SGD([w], lr=0.1, momentum=0.5, **options)
        for g, value in zip((1.0, 2.0), expected, strict=True):
            w.grad = torch.tensor([g], dtype=torch.float64)
            optimizer.step()
            assert_close(w.detach(), torch.tensor([value], dtype=torch.float64))

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_matches_torch_over_50_steps(self, options):
        mine, theirs = twins()
        march(mine, theirs, SGD(mine, **options), torch.optim.SGD(theirs, **options), 50)

    def test_its_defaults(self):
        mine, theirs = twins()
        one, other = SGD(mine), torch.optim.SGD(theirs)
        march(mine, theirs, one, other, 3)
        assert_equal([kept for kept in one.state_dict()["state"].values() if kept], [])

    def test_groups_with_their_own_options(self):
        mine, theirs = twins()
        given = {"lr": 0.2, "weight_decay": 0.7, "momentum": 0.6}
        march(mine, theirs, SGD(grouped(mine), **given), torch.optim.SGD(grouped(theirs), **given), 25)

    @pytest.mark.parametrize(
        ("option", "changes"),
        [
            ("lr", [0.1, 0.02, 0.3]),
            ("momentum", [0.5, 0.9, 0.1]),
            ("dampening", [0.5, 0.0]),
            ("weight_decay", [0.0, 0.5, 0.1]),
            ("nesterov", [False, True, False]),
            ("maximize", [False, True, False]),
        ],
    )
    def test_options_changed_on_the_way(self, option, changes):
        mine, theirs = twins()
        given = {"lr": 0.1, "momentum": 0.7, "weight_decay": 0.3}
        one, other = SGD(grouped(mine), **given), torch.optim.SGD(grouped(theirs), **given)
        for change in changes:
            for optimizer in (one, other):
                for group in optimizer.param_groups[:2]:
                    group[option] = change
            march(mine, theirs, one, other, 4)

    def test_a_group_added_later(self):
        mine, theirs = twins()
        one, other = (
            cls(w[:2], lr=0.1, momentum=0.5, dampening=0.5) for cls, w in ((SGD, mine), (torch.optim.SGD, theirs))
        )
        march(mine, theirs, one, other, 3)
        for optimizer, parameters in ((one, mine), (other, theirs)):
            optimizer.add_param_group({"params": parameters[2:], "lr": 0.3})
        march(mine, theirs, one, other, 4)

    def test_a_parameter_without_gradient_stays_and_so_does_its_buffer(self):
        mine, theirs = twins()
        given = {"lr": 0.1, "momentum": 0.8, "dampening": 0.4, "weight_decay": 0.3}
        one, other = SGD(mine, **given), torch.optim.SGD(theirs, **given)
        for skip in (1, 1, 0, None, 2, 3, None, 1, None):
            before = values(mine)
            give_gradients(mine, theirs, skip=skip)
            one.step()
            other.step()
            if skip is not None:
                assert_close(mine[skip].detach(), before[skip], rtol=0, atol=0)
            assert_close(values(mine), values(theirs))

    def test_zeros_are_a_gradient(self):
        mine, theirs = twins()
        given = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.3}
        one, other = SGD(mine, **given), torch.optim.SGD(theirs, **given)
        for scale in (0.0, 1.0, 0.0, 0.0):
            give_gradients(mine, theirs, scale=scale)
            one.step()
            other.step()
            assert_close(values(mine), values(theirs))

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_closure(self, enabled):
        w = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
        w.grad = torch.tensor([-5.0, -5.0], dtype=torch.float64)  # stale
        optimizer = SGD([w], lr=0.1)
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
        assert_close(w.detach(), torch.tensor([1.6, -0.8], dtype=torch.float64))
        assert_equal(loss is made[0], True)
        assert_equal(optimizer.step(), None)

    @pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}], ids=str)
    @pytest.mark.parametrize("weight_decay", [0.0, 0.3])
    def test_gradients_and_leaves_are_left_alone(self, options, weight_decay):
        mine = weights()
        places = [w.data_ptr() for w in mine]
        optimizer = SGD(mine, lr=0.1, weight_decay=weight_decay, **options)
        for _ in range(3):
            give_gradients(mine)
            before, held = [w.grad.clone() for w in mine], [w.grad for w in mine]
            optimizer.step()
            assert_close([w.grad for w in mine], before, rtol=0, atol=0)
            assert_close(held, before, rtol=0, atol=0)
        kept = [(w.is_leaf, w.requires_grad, w.data_ptr() == p) for w, p in zip(mine, places, strict=True)]
        assert_equal(kept, [(True, True, True)] * len(mine))

    def test_gradients_cleared_in_place_between_steps(self):
        mine, theirs = twins()
        one, other = SGD(mine, lr=0.1, momentum=0.5), torch.optim.SGD(theirs, lr=0.1, momentum=0.5)
        give_gradients(mine, theirs)
        for _ in range(3):
            one.step()
            other.step()
            one.zero_grad(set_to_none=False)
            other.zero_grad(set_to_none=False)
        assert_close(values(mine), values(theirs))

    @pytest.mark.parametrize("towards_torch", [True, False])
    @pytest.mark.parametrize(
        "options", [{"momentum": 0.8, "dampening": 0.3}, {"momentum": 0.6, "nesterov": True}, {}], ids=str
    )
    def test_its_state_travels(self, options, towards_torch):
        mine, theirs = twins()
        given = {"lr": 0.1, "weight_decay": 0.2, **options}
        one, other = SGD(mine, **given), torch.optim.SGD(theirs, **given)
        for skip in (0, 0, 0):
            give_gradients(mine, theirs, skip=skip)
            one.step()
            other.step()
        source, parameters = (one, mine) if towards_torch else (other, theirs)
        heirs = [w.detach().clone().requires_grad_() for w in parameters]
        heir = (torch.optim.SGD if towards_torch else SGD)(heirs, lr=9.0)
        heir.load_state_dict(passed_on(source.state_dict()))
        for _ in range(10):
            give_gradients(mine, theirs, heirs)
            for optimizer in (one, other, heir):
                optimizer.step()
            assert_close(values(heirs), values(theirs))

    def test_it_resumes_and_leaves_what_it_loaded(self):
        mine, twin = twins()
        one, later = SGD(mine, lr=0.1, momentum=0.9), SGD(twin)
        for _ in range(3):
            give_gradients(mine)
            one.step()
        with torch.no_grad():
            for w, v in zip(twin, mine, strict=True):
                w.copy_(v)
        saved = passed_on(one.state_dict())
        shown = copy.deepcopy(saved)
        later.load_state_dict(saved)
        march(twin, mine, later, one, 4)
        assert_close(saved, shown)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_other_dtypes(self, dtype):
        w = torch.tensor([2.0, -4.0], dtype=dtype, requires_grad=True)
        w.grad = torch.tensor([1.0, -8.0], dtype=dtype)
        optimizer = SGD([w], lr=0.25, momentum=0.5)
        optimizer.step()
        assert_close(w.detach(), torch.tensor([1.75, -2.0], dtype=dtype))
        assert_equal(str(optimizer.state[w]["momentum_buffer"].dtype), str(dtype))

    @pytest.mark.parametrize("value", [-0.125, math.nan])
    @pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
    def test_other_options_are_refused(self, name, value):
        with raises(ValueError, "nan" if math.isnan(value) else value):
            SGD(weights(), **{name: value})

    @pytest.mark.parametrize("given", [{}, {"momentum": 0.5, "dampening": 0.25}], ids=str)
    def test_nesterov_without_momentum_or_with_dampening_is_refused(self, given):
        with raises(ValueError):
            SGD(weights(), nesterov=True, **given)

    def test_the_bounds_are_allowed(self):
        w = torch.tensor([2.0], requires_grad=True)
        w.grad = torch.tensor([3.0])
        SGD([w], lr=0.0, momentum=0.0, weight_decay=0.0).step()
        assert_close(w.detach(), torch.tensor([2.0]))
        SGD([w], lr=1.0, momentum=1.5).step()
        assert_close(w.detach(), torch.tensor([-1.0]))

    @pytest.mark.parametrize("nesterov", [False, True])
    def test_momentum_is_faster_in_a_narrow_valley(self, nesterov):
        """On (x² + 100 y²)/2 plain descent is compared in the same test."""
        left = {}
        for momentum in (0.0, 0.8):
            w = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
            optimizer = SGD([w], lr=0.01, momentum=momentum, nesterov=nesterov and momentum > 0)
            for _ in range(100):
                optimizer.zero_grad()
                (torch.tensor([1.0, 100.0], dtype=torch.float64) @ w**2 / 2).backward()
                optimizer.step()
            left[momentum] = w.detach().norm().item()
        if left[0.8] > left[0.0] / 10:
            fail(f"after 100 steps {left[0.8]:.2g} is left, without momentum {left[0.0]:.2g}", evidence=left[0.8])


class TestOnTheGpu:
    @pytest.mark.parametrize("nesterov", [False, True])
    def test_sgd_direction(self, gpu, nesterov):
        b = torch.randn(3, 4, dtype=torch.float64)
        gpu.check(sgd_direction, torch.randn(3, 4, dtype=torch.float64), {}, 0.5, 0.0, nesterov)
        gpu.check(sgd_direction, torch.randn(3, 4, dtype=torch.float64), {"momentum_buffer": b}, 0.5, 0.0, nesterov)

    def test_a_state_from_the_cpu(self, gpu):
        w = gpu(torch.randn(3, dtype=torch.float64).requires_grad_())
        optimizer = Optimizer([w], {})
        kept = {0: {"m": torch.ones(3, dtype=torch.float64)}}
        optimizer.load_state_dict({"state": kept, "param_groups": [{"params": [0]}]})
        assert_equal(optimizer.state[w]["m"].device.type, gpu.device.type)

    @pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}], ids=str)
    def test_sgd(self, gpu, options):
        on_cpu = torch.randn(3, 4, dtype=torch.float64).requires_grad_()
        there = gpu(on_cpu)
        one, other = (
            SGD([on_cpu], lr=0.1, weight_decay=0.2, **options),
            SGD([there], lr=0.1, weight_decay=0.2, **options),
        )
        for _ in range(3):
            on_cpu.grad = torch.randn(3, 4, dtype=torch.float64)
            there.grad = gpu(on_cpu.grad)
            one.step()
            other.step()
            assert_close(there.detach().cpu(), on_cpu.detach())
