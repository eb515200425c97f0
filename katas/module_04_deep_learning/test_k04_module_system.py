"""Judges k04_module_system against torch.nn: the same architecture is built from both, name for name."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import Parameter

from dojo.testing import assert_close, assert_equal, fail, from_scratch, raises
from katas.module_04_deep_learning.k04_module_system import FakeRound, Linear, Module, Registry, Sequential, Tree

pytestmark = from_scratch(
    "torch.nn.Module",
    "torch.nn.modules",
    "torch.nn.Linear",
    "torch.nn.Sequential",
    "torch.nn.ModuleList",
    "torch.nn.ParameterList",
    "torch.nn.functional",
)

KINDS = ("_parameters", "_buffers", "_modules")


def parameter(*shape: int) -> Parameter:
    return Parameter(torch.randn(shape))


def registered(thing) -> dict[str, list[str]]:
    """The registered names by kind, in order."""
    return {kind: list(getattr(thing, kind)) for kind in KINDS}


def names(parameters: str = "", buffers: str = "", modules: str = "") -> dict[str, list[str]]:
    return dict(zip(KINDS, (parameters.split(), buffers.split(), modules.split()), strict=True))


class TestRegistry:
    def test_each_kind_has_its_place(self):
        thing, child, weight = Registry(), Registry(), parameter(2)
        assert_equal(registered(thing), names())
        thing.weight, thing.child = weight, child
        thing.register_buffer("mean", torch.zeros(3))
        thing.plain, thing.tensor, thing.listed = 7, torch.ones(2), [parameter(1), Registry()]
        thing.bias = parameter(4)
        assert_equal(registered(thing), names("weight bias", "mean", "child"))
        assert_equal((thing.weight is weight, thing.child is child, thing.plain), (True, True, 7))
        assert_equal([thing.mean.tolist(), thing.tensor.tolist(), len(thing.listed)], [[0.0] * 3, [1.0, 1.0], 2])

    def test_objects_have_registers_of_their_own(self):
        one, other = Registry(), Registry()
        one.weight = parameter(2)
        assert_equal(registered(other), names())

    @pytest.mark.parametrize("before", ["parameter", "buffer", "module", "plain"])
    @pytest.mark.parametrize("after", ["parameter", "module"])
    def test_a_name_stands_in_one_place(self, before, after):
        thing = Registry()
        thing.first, thing.last = parameter(1), Registry()
        if before == "buffer":
            thing.register_buffer("name", torch.zeros(1))
        else:
            thing.name = {"parameter": parameter(2), "module": Registry(), "plain": 3}[before]
        value = parameter(5) if after == "parameter" else Registry()
        thing.name = value
        expected = names("first name", "", "last") if after == "parameter" else names("first", "", "last name")
        assert_equal(registered(thing), expected)
        assert_equal((thing.name is value, "name" in vars(thing)), (True, False))

    def test_a_new_value_keeps_the_old_ones_place(self):
        thing = Registry()
        thing.a, thing.b = parameter(1), parameter(2)
        thing.a = parameter(3)
        assert_equal(registered(thing), names("a b"))
        assert_equal(tuple(thing.a.shape), (3,))

    def test_a_tensor_replaces_a_buffer(self):
        thing, tensor = Registry(), torch.ones(4)
        thing.register_buffer("mean", torch.zeros(4))
        thing.mean = tensor
        assert_equal(registered(thing), names("", "mean"))
        assert_equal((thing.mean is tensor, thing._buffers["mean"] is tensor), (True, True))

    @pytest.mark.parametrize("kind", KINDS)
    def test_none_keeps_the_name(self, kind):
        thing = Registry()
        if kind == "_buffers":
            thing.register_buffer("name", torch.zeros(1))
        else:
            thing.name = parameter(1) if kind == "_parameters" else Registry()
        thing.name = None
        assert_equal(
            {each: getattr(thing, each) for each in KINDS},
            {each: {"name": None} if each == kind else {} for each in KINDS},
        )
        assert_equal(thing.name, None)

    @pytest.mark.parametrize("value", [3, "text", [1], "tensor"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_something_else_under_a_registered_name_is_refused(self, kind, value):
        thing, old = Registry(), {"_parameters": parameter(1), "_buffers": torch.zeros(1), "_modules": Registry()}[kind]
        if kind == "_buffers":
            thing.register_buffer("gamma", old)
        else:
            thing.gamma = old
        if value == "tensor":
            value = torch.zeros(1)
            if kind == "_buffers":
                thing.gamma = value
                assert_equal(thing.gamma is value, True)
                return
        with raises(TypeError, "gamma"):
            thing.gamma = value
        assert_equal(thing.gamma is old, True)

    def test_a_parameter_before_init_is_refused(self):
        class Early(Registry):
            def __init__(self, value):
                self.plain = 5
                self.weight = value

        for value in (parameter(1), Registry()):
            with raises(AttributeError, "__init__"):
                Early(value)

    def test_an_unknown_attribute(self):
        class Layer(Registry):
            pass

        layer = Layer()
        layer.weight = parameter(1)
        with raises(AttributeError, "Layer", "wieght"):
            _ = layer.wieght
        assert_equal((hasattr(layer, "weight"), hasattr(layer, "bias")), (True, False))
        with raises(AttributeError, "Layer", "weight"):
            _ = Layer.__new__(Layer).weight

    def test_copies_are_independent(self):
        thing = Registry()
        thing.weight = thing.same = parameter(3)
        thing.register_buffer("mean", torch.zeros(2))
        thing.child = Registry()
        thing.child.weight = thing.weight
        other = copy.deepcopy(thing)
        assert_equal(registered(other), registered(thing))
        assert_close(other.weight, thing.weight)
        with torch.no_grad():
            other.weight.zero_()
            other.mean.add_(1)
        assert_equal(
            [other.same is other.weight, other.child.weight is other.weight, other.weight is thing.weight],
            [True, True, False],
        )
        assert_close(thing.mean, torch.zeros(2))
        assert_equal(bool(thing.weight.abs().sum() > 0), True)
        other.extra = parameter(1)
        assert_equal(registered(thing), names("weight same", "mean", "child"))

    def test_del(self):
        thing = Registry()
        thing.weight, thing.child, thing.plain = parameter(1), Registry(), 3
        thing.register_buffer("mean", torch.zeros(1))
        del thing.weight, thing.child, thing.plain, thing.mean
        assert_equal(registered(thing), names())
        assert_equal([hasattr(thing, name) for name in ("weight", "child", "plain", "mean")], [False] * 4)
        for name in ("weight", "never"):
            with raises(AttributeError):
                delattr(thing, name)

    def test_register_parameter(self):
        thing, weight = Registry(), parameter(2)
        thing.register_parameter("weight", weight)
        thing.register_parameter("bias", None)
        assert_equal(registered(thing), names("weight bias"))
        assert_equal((thing.weight is weight, thing.bias), (True, None))
        thing.bias = other = parameter(2)
        thing.register_parameter("weight", other)  # a parameter may be registered anew
        assert_equal((thing.bias is other, thing.weight is other), (True, True))

    def test_registering_changes_no_value(self):
        thing, frozen = Registry(), Parameter(torch.tensor([1.0, 2.0]), requires_grad=False)
        thing.register_parameter("weight", frozen)
        assert_close(thing.weight.data, torch.tensor([1.0, 2.0]))

    @pytest.mark.parametrize("name", ["a.b", "plain", "child", "taken", "forward", ""])
    @pytest.mark.parametrize("register", ["register_parameter", "register_buffer"])
    def test_bad_names_are_refused(self, register, name):
        class Layer(Registry):
            def forward(self):
                pass

        thing = Layer()
        thing.plain, thing.child = 3, Registry()
        if register == "register_buffer":
            thing.taken, value = parameter(1), torch.zeros(1)
        else:
            thing.register_buffer("taken", torch.zeros(1))
            value = parameter(1)
        with raises(KeyError, *([name] if name else [])):
            getattr(thing, register)(name, value)
        assert_equal(thing.plain, 3)

    def test_a_buffer_may_be_registered_anew(self):
        thing = Registry()
        thing.register_buffer("mean", None)
        assert_equal((thing.mean, registered(thing)), (None, names("", "mean")))
        thing.register_buffer("mean", torch.ones(2))
        assert_close(thing.mean, torch.ones(2))


def yours() -> SimpleNamespace:
    return SimpleNamespace(Module=Module, Linear=Linear, Sequential=Sequential)


def tree_of(base: type, *, shared: bool = True):
    """A tree of modules of either library, with each kind of thing to name."""

    class Norm(base):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.tensor([0.5, -1.0]))
            self.register_buffer("cache", torch.zeros(3), persistent=False)
            self.register_buffer("none", None)
            self.gain = parameter(2)

    class Block(base):
        def __init__(self, weight=None):
            super().__init__()
            self.norm = Norm()
            self.weight = parameter(2, 2) if weight is None else weight
            self.register_parameter("bias", None)

    class Net(base):
        def __init__(self):
            super().__init__()
            self.first = Block()
            self.scale = parameter()
            self.second = Block(self.first.weight if shared else None)
            self.again = self.first if shared else Block()
            self.gone = Norm()
            self.gone = None
            self.ignored = [Norm()]

    return Net()


class TestTree:
    @pytest.mark.parametrize("shared", [False, True])
    @pytest.mark.parametrize("walk", ["named_modules", "named_parameters", "named_buffers"])
    def test_names_and_order_are_torchs(self, walk, shared):
        mine, theirs = tree_of(Tree, shared=shared), tree_of(nn.Module, shared=shared)
        assert_equal([name for name, _ in getattr(mine, walk)()], [name for name, _ in getattr(theirs, walk)()])

    def test_names_lead_to_what_they_name(self):
        net = tree_of(Tree)
        for walk in (net.named_modules, net.named_parameters, net.named_buffers):
            for name, found in walk():
                at = net
                for part in name.split(".") if name else ():
                    at = getattr(at, part)
                assert_equal((name, at is found), (name, True))

    def test_what_is_shared_is_walked_once(self):
        net = tree_of(Tree)
        counts = {
            walk: [id(x) for _, x in getattr(net, walk)()]
            for walk in ("named_modules", "named_parameters", "named_buffers")
        }
        assert_equal({walk: len(ids) - len(set(ids)) for walk, ids in counts.items()}, dict.fromkeys(counts, 0))

    def test_a_shared_buffer_is_walked_once(self):
        def names(base):
            tree, child = base(), base()
            tree.child, mean = child, torch.zeros(2)
            for module, name in ((tree, "mean"), (tree, "again"), (child, "mean"), (child, "own")):
                module.register_buffer(name, mean if name != "own" else torch.zeros(2))
            return [name for name, _ in tree.named_buffers()]

        assert_equal(names(Tree), names(nn.Module))

    def test_a_module_of_length_0_is_walked_as_well(self):
        net = Module()
        net.empty, net.last = Sequential(), Sequential(Linear(2, 3))
        assert_equal([name for name, _ in net.named_modules()], ["", "empty", "last", "last.0"])
        net.eval()
        assert_equal(net.empty.training, False)

    def test_equal_values_arent_one_parameter(self):
        tree = Tree()
        tree.a, tree.b = Parameter(torch.ones(2)), Parameter(torch.ones(2))
        tree.register_buffer("c", torch.ones(2))
        tree.register_buffer("d", torch.ones(2))
        assert_equal([name for name, _ in tree.named_parameters()], ["a", "b"])
        assert_equal([name for name, _ in tree.named_buffers()], ["c", "d"])

    def test_parameters(self):
        net = tree_of(Tree)
        for _ in range(2):
            assert_equal([id(p) for p in net.parameters()], [id(p) for _, p in net.named_parameters()])

    def test_the_walk_sees_what_was_added_later(self):
        net = tree_of(Tree)
        list(net.named_parameters())
        net.second.late = parameter(1)
        assert_equal("second.late" in dict(net.named_parameters()), True)

    def test_training_mode_reaches_every_module(self):
        net = tree_of(Tree)
        modes = lambda: [module.training for _, module in net.named_modules()]  # noqa: E731
        assert_equal(modes(), [True] * len(modes()))
        net.eval()
        assert_equal(modes(), [False] * len(modes()))
        net.second.train()
        found = {name: module.training for name, module in net.named_modules()}
        assert_equal(found, {name: name.startswith("second") for name in found})
        net.train()
        assert_equal(modes(), [True] * len(modes()))
        net.train(False)
        assert_equal(modes(), [False] * len(modes()))

    @pytest.mark.parametrize("call", ["train", "eval"])
    def test_train_and_eval_return_the_module(self, call):
        net = tree_of(Tree)
        assert_equal(getattr(net, call)() is net, True)

    def test_freezing(self):
        net = tree_of(Tree)
        assert_equal(net.first.requires_grad_(False) is net.first, True)
        found = {name: p.requires_grad for name, p in net.named_parameters()}
        assert_equal(found, {name: not name.startswith("first") for name in found})
        net.requires_grad_()
        assert_equal({p.requires_grad for p in net.parameters()}, {True})

    def test_zero_grad(self):
        net = tree_of(Tree)
        sum(p.sum() for p in net.parameters()).backward()
        assert_equal(all(p.grad is not None for p in net.parameters()), True)
        net.zero_grad()
        assert_equal([p.grad for p in net.parameters()], [None] * len(list(net.parameters())))

    def test_copies_are_independent(self):
        net = tree_of(Tree).eval()
        other = copy.deepcopy(net)
        assert_equal([name for name, _ in other.named_parameters()], [name for name, _ in net.named_parameters()])
        assert_equal({m.training for _, m in other.train().named_modules()}, {True})
        assert_equal({m.training for _, m in net.named_modules()}, {False})


def scaler(base: type, factor: float = 3.0):
    """A module whose forward takes an argument by name."""

    class Scaler(base):
        def forward(self, x, *more, shift=0.0):
            return x * factor + shift + sum(more)

    return Scaler()


class TestCallAndHooks:
    def test_arguments_reach_forward(self):
        module = scaler(Module)
        assert_equal((module(2.0), module(2.0, 10, 20), module(2.0, shift=1.0)), (6.0, 36.0, 7.0))

    def test_hooks_see_what_forward_saw_and_gave(self):
        module, seen = scaler(Module), []
        module.register_forward_pre_hook(lambda m, args: seen.append(("pre", m is module, args)))
        module.register_forward_hook(lambda m, args, output: seen.append(("post", m is module, args, output)))
        assert_equal(module(2.0, 5.0, shift=1.0), 12.0)
        assert_equal(seen, [("pre", True, (2.0, 5.0)), ("post", True, (2.0, 5.0), 12.0)])

    def test_hooks_run_in_order_and_hand_on_what_they_replace(self):
        def run(base):
            module, seen = scaler(base), []
            module.register_forward_pre_hook(lambda m, args: seen.append(args))
            module.register_forward_pre_hook(lambda m, args: args[0] + 1)  # one value, not a tuple
            module.register_forward_pre_hook(lambda m, args: seen.append(args))
            module.register_forward_pre_hook(lambda m, args: (args[0] * 10, 7.0))
            module.register_forward_hook(lambda m, args, output: seen.append((args, output)))
            module.register_forward_hook(lambda m, args, output: output + 0.5)
            module.register_forward_hook(lambda m, args, output: seen.append(output))
            module.register_forward_hook(lambda m, args, output: -output)
            return module(2.0), seen

        assert_equal(run(Module), run(nn.Module))

    def test_a_hook_may_replace_the_output_by_something_false(self):
        module = scaler(Module)
        module.register_forward_hook(lambda m, args, output: 0.0)
        assert_equal(module(2.0), 0.0)

    def test_a_pre_hook_may_replace_the_arguments_by_something_false(self):
        module = scaler(Module)
        module.register_forward_pre_hook(lambda m, args: 0.0)
        assert_equal(module(2.0, shift=1.0), 1.0)

    def test_a_list_that_a_pre_hook_returns_is_the_only_argument(self):
        class Taking(Module):
            def forward(self, *args):
                return args

        module = Taking()
        module.register_forward_pre_hook(lambda m, args: [args[0], 7.0])
        assert_equal(module(2.0), ([2.0, 7.0],))

    @pytest.mark.parametrize("kind", ["register_forward_pre_hook", "register_forward_hook"])
    def test_a_handle_takes_off_its_own_hook(self, kind):
        module, seen = scaler(Module), []
        register = getattr(module, kind)
        handles = [register(lambda *_, name=name: seen.append(name)) for name in "abc"]
        handles[1].remove()
        module(1.0)
        handles[1].remove()
        late = register(lambda *_: seen.append("d"))
        module(1.0)
        handles[0].remove()
        module(1.0)
        late.remove()
        module(1.0)
        assert_equal(seen, ["a", "c", "a", "c", "d", "c", "d", "c"])

    @pytest.mark.parametrize("kind", ["register_forward_pre_hook", "register_forward_hook"])
    def test_a_hook_registered_twice_runs_twice(self, kind):
        module, seen = scaler(Module), []

        def hook(*_):
            seen.append(len(seen))

        first, second = (getattr(module, kind)(hook) for _ in range(2))
        module(1.0)
        first.remove()
        first.remove()
        module(1.0)
        assert_equal(len(seen), 3)
        second.remove()
        module(1.0)
        assert_equal(len(seen), 3)

    @pytest.mark.parametrize("kind", ["register_forward_pre_hook", "register_forward_hook"])
    def test_a_hook_may_remove_itself(self, kind):
        module, seen = scaler(Module), []
        register = getattr(module, kind)
        register(lambda *_: seen.append("a"))
        once = register(lambda *_: (seen.append("once"), once.remove())[1])
        register(lambda *_: seen.append("b"))
        module(1.0)
        module(1.0)
        assert_equal(seen, ["a", "once", "b", "a", "b"])

    def test_hooks_belong_to_one_module(self):
        one, other, seen = scaler(Module), scaler(Module), []
        one.register_forward_hook(lambda *_: seen.append(1))
        one.register_forward_pre_hook(lambda *_: seen.append(2))
        other(1.0)
        assert_equal(seen, [])


def filled(module, seed: int):
    """The module with random numbers in all its parameters and buffers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for walk in (module.named_parameters, module.named_buffers):
            for _, tensor in walk():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return module


class TestState:
    @pytest.mark.parametrize("shared", [False, True])
    def test_names_order_and_values_are_torchs(self, shared):
        mine = filled(tree_of(Module, shared=shared), 1).state_dict()
        theirs = filled(tree_of(nn.Module, shared=shared), 1).state_dict()
        assert_equal(type(mine) is dict, True)
        assert_equal(list(mine), list(theirs))
        assert_close(mine, dict(theirs))

    def test_the_tensors_are_the_modules_own_memory_without_gradient(self):
        net = filled(tree_of(Module), 2)
        state = net.state_dict()
        assert_equal({value.requires_grad for value in state.values()}, {False})
        with torch.no_grad():
            net.first.weight.add_(1)
            net.first.norm.mean.add_(1)
        assert_close(state["second.weight"], net.first.weight.detach())
        assert_close(state["again.norm.mean"], net.first.norm.mean)

    def test_into_a_real_module_and_back(self):
        mine, theirs = filled(tree_of(Module), 3), filled(tree_of(nn.Module), 4)
        theirs.load_state_dict(mine.state_dict())
        assert_close(dict(theirs.state_dict()), mine.state_dict())
        theirs = filled(theirs, 5)
        assert_equal(mine.load_state_dict(theirs.state_dict()), ([], []))
        assert_close(mine.state_dict(), dict(theirs.state_dict()))

    def test_loading_keeps_the_objects_and_shares_no_memory(self):
        net = tree_of(Module)
        before = dict(net.named_parameters())
        state = {name: value.clone() + 1 for name, value in net.state_dict().items()}
        kept = {name: value.clone() for name, value in state.items()}
        net.load_state_dict(state)
        after = dict(net.named_parameters())
        assert_equal({name: after[name] is before[name] for name in before}, dict.fromkeys(before, True))
        assert_equal({(p.requires_grad, p.is_leaf) for p in after.values()}, {(True, True)})
        with torch.no_grad():
            for tensor in net.state_dict().values():
                tensor.zero_()
        assert_close(state, kept)

    def test_values_are_converted_to_the_modules_dtype(self):
        net = tree_of(Module)
        state = {name: value.double() * 2 for name, value in net.state_dict().items()}
        expected = {name: value.float() for name, value in state.items()}
        net.load_state_dict(state)
        assert_close(net.state_dict(), expected)

    def test_parameters_with_a_gradient_can_be_loaded_from(self):
        net, other = filled(tree_of(Module), 1), filled(tree_of(Module), 2)
        net.load_state_dict({name: Parameter(value) for name, value in other.state_dict().items()})
        assert_close(net.state_dict(), other.state_dict())
        assert_equal({p.requires_grad for p in net.parameters()}, {True})

    def test_missing_and_unexpected_names_are_refused(self):
        net = filled(tree_of(Module), 1)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        state = {name: value + 1 for name, value in before.items()}
        del state["second.norm.gain"], state["scale"]
        state["head.weight"] = state["first.norm.cache"] = torch.zeros(1)
        with raises(RuntimeError, "second.norm.gain", "scale", "head.weight", "first.norm.cache"):
            net.load_state_dict(state)
        assert_close(net.state_dict(), before)
        missing, unexpected = net.load_state_dict(state, strict=False)
        assert_equal(
            (sorted(missing), sorted(unexpected)), (["scale", "second.norm.gain"], ["first.norm.cache", "head.weight"])
        )
        expected = {name: before[name] + (name not in ("scale", "second.norm.gain")) for name in before}
        assert_close(net.state_dict(), expected)

    def test_one_kind_of_mismatch_alone_is_refused(self):
        net = tree_of(Module)
        state = net.state_dict()
        with raises(RuntimeError, "extra"):
            net.load_state_dict(state | {"extra": torch.zeros(1)})
        del state["second.norm.mean"]
        with raises(RuntimeError, "second.norm.mean"):
            net.load_state_dict(state)

    @pytest.mark.parametrize("strict", [True, False])
    @pytest.mark.parametrize("shape", [(1, 2), (2, 3), (2,), ()])
    def test_other_shapes_are_refused(self, shape, strict):
        net = filled(tree_of(Module), 1)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        state = {name: value + 1 for name, value in before.items()}
        state["second.weight"] = torch.zeros(shape)
        with raises(RuntimeError, "second.weight", shape, (2, 2)):
            net.load_state_dict(state, strict)
        assert_close(net.state_dict(), before)

    def test_each_load_names_its_own_shapes(self):
        for inputs, outputs in [(3, 4), (6, 7)]:
            layer = Linear(inputs, outputs)
            with raises(RuntimeError, "weight", (1, 9), (outputs, inputs)):
                layer.load_state_dict({**layer.state_dict(), "weight": torch.zeros(1, 9)})

    def test_a_buffer_can_become_persistent(self):
        net = tree_of(Module)
        net.gone = Module()
        net.gone.register_buffer("cache", torch.ones(1), persistent=False)
        assert_equal("gone.cache" in net.state_dict(), False)
        net.gone.cache = torch.zeros(2)
        assert_equal("gone.cache" in net.state_dict(), False)
        net.gone.register_buffer("cache", torch.ones(1))
        assert_equal("gone.cache" in net.state_dict(), True)

    def test_hooks_and_mode_are_no_state(self):
        net = tree_of(Module)
        keys = list(net.state_dict())
        net.eval().register_forward_hook(lambda *_: None)
        assert_equal(list(net.state_dict()), keys)

    def test_copies_are_independent(self):
        net = filled(tree_of(Module), 1)
        other = copy.deepcopy(net)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        assert_close(other.state_dict(), before)
        filled(other, 2)
        assert_close(net.state_dict(), before)


class TestLinear:
    @pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
    @pytest.mark.parametrize("bias", [True, False])
    def test_matches_torch(self, lead, bias):
        mine, theirs = Linear(4, 3, bias, dtype=torch.float64), nn.Linear(4, 3, bias, dtype=torch.float64)
        mine.load_state_dict(theirs.state_dict())
        x = torch.randn(*lead, 4, dtype=torch.float64, requires_grad=True)
        upstream = torch.randn(*lead, 3, dtype=torch.float64)
        out = mine(x)
        assert_close(out, theirs(x).detach())
        expected = torch.autograd.grad(theirs(x), [x, *theirs.parameters()], upstream)
        assert_close(torch.autograd.grad(out, [x, *mine.parameters()], upstream), expected)

    @pytest.mark.parametrize("bias", [True, False])
    def test_its_parameters(self, bias):
        layer = Linear(4, 3, bias=bias)
        found = {name: tuple(p.shape) for name, p in layer.named_parameters()}
        assert_equal(found, {"weight": (3, 4), "bias": (3,)} if bias else {"weight": (3, 4)})
        assert_equal(layer.bias is None, not bias)
        assert_equal(registered(layer)["_parameters"], ["weight", "bias"])

    @pytest.mark.parametrize(("n", "m"), [(400, 900), (900, 400)])
    def test_the_start_is_uniform(self, n, m):
        layer, bound = Linear(n, m), n**-0.5
        for tensor in (layer.weight.detach(), layer.bias.detach()):
            if tensor.abs().max() > bound:
                fail(
                    f"Linear({n}, {m}) starts with {tensor.abs().max():.4f}, beyond 1/√in = {bound:.4f}",
                    evidence=(tensor.dim(), bool(tensor.abs().max() > 2 * bound)),
                )
            # Mean, mean square and mean size of a uniform variable, each to six standard errors.
            error = 6 * bound / tensor.numel() ** 0.5
            assert_close(tensor.mean().item(), 0.0, atol=0.58 * error, rtol=0)
            assert_close(tensor.square().mean().item(), bound**2 / 3, atol=0.3 * error * bound, rtol=0)
            assert_close(tensor.abs().mean().item(), bound / 2, atol=0.29 * error, rtol=0)

    def test_two_layers_start_differently(self):
        one, other = Linear(5, 5), Linear(5, 5)
        assert_equal([bool((one.weight != other.weight).any()), bool((one.bias != other.bias).any())], [True, True])

    @pytest.mark.parametrize("dtype", [None, torch.float64, torch.bfloat16])
    def test_its_dtype(self, dtype):
        layer = Linear(3, 2, dtype=dtype)
        assert_equal({str(p.dtype) for p in layer.parameters()}, {str(dtype or torch.float32)})


def stack(lib):
    """Layers of either library, one of them twice."""
    middle = lib.Linear(5, 5)
    return lib.Sequential(lib.Linear(4, 5), middle, lib.Sequential(middle, lib.Linear(5, 3, bias=False)))


class TestSequential:
    def test_matches_torch(self):
        mine, theirs = stack(yours()), stack(nn)
        assert_equal(list(mine.state_dict()), list(theirs.state_dict()))
        assert_equal([name for name, _ in mine.named_modules()], [name for name, _ in theirs.named_modules()])
        mine.load_state_dict(theirs.state_dict())
        x = torch.randn(2, 4)
        assert_close(mine(x), theirs(x).detach())

    def test_its_length(self):
        assert_equal([len(stack(yours())), len(Sequential()), len(Sequential(Linear(2, 2)))], [3, 0, 1])

    def test_the_same_module_may_stand_twice(self):
        layer = Linear(3, 3)
        model = Sequential(layer, layer)
        x = torch.randn(2, 3)
        assert_close(model(x), layer(layer(x)).detach())
        assert_equal((len(model), len(list(model.parameters())), len(model.state_dict())), (2, 2, 4))

    def test_without_modules_it_hands_x_on(self):
        x = torch.randn(2)
        assert_close(Sequential()(x), x)

    def test_each_module_is_called(self):
        model, seen = stack(yours()), []
        for name, module in model.named_modules():
            module.register_forward_hook(lambda *_, name=name: seen.append(name))
        model(torch.randn(2, 4))
        assert_equal(seen, ["0", "1", "1", "2.1", "2", ""])

    def test_more_than_ten_modules_run_in_order(self):
        model = Sequential(*(scaler(Module, float(i + 1)) for i in range(12)))
        trace = []
        for name, module in model.named_modules():
            module.register_forward_hook(lambda *_, name=name: trace.append(name))
        model(1.0)
        assert_equal(trace, [*map(str, range(12)), ""])

    def test_an_optimizer_trains_it_as_torchs(self):
        mine, theirs = stack(yours()), stack(nn)
        mine.load_state_dict(theirs.state_dict())
        x, y = torch.randn(6, 4), torch.randn(6, 3)
        for model in (mine, theirs):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            for _ in range(4):
                model.zero_grad()
                (model(x) - y).square().mean().backward()
                optimizer.step()
        # Four steps in float32.
        assert_close(mine.state_dict(), dict(theirs.state_dict()), rtol=1e-4, atol=1e-5)


class TestFakeRound:
    def test_the_example_worked_by_hand(self):
        x = torch.tensor([0.4, 1.7, -5.0], requires_grad=True)
        y = FakeRound.apply(x, 2.0)
        assert_close(y, torch.tensor([0.0, 2.0, -2.0]))
        assert_close(torch.autograd.grad(y, x, torch.tensor([10.0, 20.0, 30.0]))[0], torch.tensor([10.0, 20.0, 0.0]))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize(("shape", "limit"), [((7,), 1.0), ((3, 4), 2.5), ((), 4)])
    def test_value_and_gradient(self, shape, limit, dtype):
        x = (torch.randn(shape) * 3).to(dtype).requires_grad_()
        y = FakeRound.apply(x, limit)
        assert_close(y, x.detach().clamp(-limit, limit).round())
        upstream = torch.randn(shape).to(dtype)
        assert_close(torch.autograd.grad(y, x, upstream)[0], upstream * (x.detach().abs() <= limit))

    def test_halves_and_the_limit_itself(self):
        x = torch.tensor([0.5, 1.5, 2.5, -0.5, 3.0, -3.0, 3.01, -3.01], requires_grad=True)
        y = FakeRound.apply(x, 3.0)
        assert_close(y, torch.tensor([0.0, 2.0, 2.0, 0.0, 3.0, -3.0, 3.0, -3.0]))
        gradient = torch.autograd.grad(y.sum(), x)[0]
        assert_close(gradient, torch.tensor([1.0, 1, 1, 1, 1, 1, 0, 0]))

    def test_the_gradient_goes_on_to_what_lies_behind(self):
        weight = torch.tensor([0.6, 3.0], requires_grad=True)
        loss = (FakeRound.apply(2 * weight, 4.0) * torch.tensor([5.0, 7.0])).sum()
        assert_close(torch.autograd.grad(loss, weight)[0], torch.tensor([10.0, 0.0]))

    def test_two_calls_dont_meet(self):
        x, z = torch.tensor([0.4, 3.0], requires_grad=True), torch.tensor([5.0, 0.2], requires_grad=True)
        first, second = FakeRound.apply(x, 1.0), FakeRound.apply(z, 6.0)
        assert_close(torch.autograd.grad(first.sum(), x)[0], torch.tensor([1.0, 0.0]))
        assert_close(torch.autograd.grad(second.sum(), z)[0], torch.tensor([1.0, 1.0]))

    def test_it_leaves_x_alone(self):
        x = torch.tensor([0.4, 3.0, -9.0])
        FakeRound.apply(x, 1.0)
        assert_close(x, torch.tensor([0.4, 3.0, -9.0]))


class TestOnTheGpu:
    @pytest.mark.parametrize("bias", [True, False])
    def test_linear(self, gpu, bias):
        on_cpu = Linear(4, 3, bias, dtype=torch.float64)
        layer = Linear(4, 3, bias, device=gpu.device, dtype=torch.float64)
        assert_equal({p.device.type for p in layer.parameters()}, {gpu.device.type})
        layer.load_state_dict(on_cpu.state_dict())
        assert_equal({p.device.type for p in layer.parameters()}, {gpu.device.type})
        x = torch.randn(2, 4, dtype=torch.float64)
        out = layer(gpu(x))
        assert_equal(out.device.type, gpu.device.type)
        assert_close(out.detach().cpu(), on_cpu(x).detach())

    def test_fake_round(self, gpu):
        gpu.check(FakeRound.apply, (torch.randn(3, 4, dtype=torch.float64) * 3).requires_grad_(), 2.0)
