"""Judges k07_autograd_scalar against torch's gradients, closed forms, and sums over all paths of a graph."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, python_steps, raises
from katas.module_03_language_models.k07_autograd_scalar import (
    Value,
    backward,
    draw,
    exp,
    gradient,
    log,
    relu,
    tanh,
    topological_order,
    zero_grad,
)

pytestmark = from_scratch("torch", "sympy", "scipy")

# What is computed, the op of the node, its parents ("3" is a leaf of that number), and its partials.
OPERATIONS = {
    "x + y": (lambda x, y: x + y, "+", "xy", lambda x, y: (1, 1)),
    "x - y": (lambda x, y: x - y, "-", "xy", lambda x, y: (1, -1)),
    "x * y": (lambda x, y: x * y, "*", "xy", lambda x, y: (y, x)),
    "x / y": (lambda x, y: x / y, "/", "xy", lambda x, y: (1 / y, -x / y**2)),
    "x ** y": (lambda x, y: x**y, "**", "xy", lambda x, y: (y * x ** (y - 1), x**y * math.log(x))),
    "x + 3": (lambda x, y: x + 3, "+", "x3", lambda x, y: (1, 1)),
    "3 + x": (lambda x, y: 3 + x, "+", "3x", lambda x, y: (1, 1)),
    "x - 3": (lambda x, y: x - 3, "-", "x3", lambda x, y: (1, -1)),
    "3 - x": (lambda x, y: 3 - x, "-", "3x", lambda x, y: (1, -1)),
    "x * 3": (lambda x, y: x * 3, "*", "x3", lambda x, y: (3, x)),
    "3 * x": (lambda x, y: 3 * x, "*", "3x", lambda x, y: (x, 3)),
    "x / 3": (lambda x, y: x / 3, "/", "x3", lambda x, y: (1 / 3, -x / 9)),
    "3 / x": (lambda x, y: 3 / x, "/", "3x", lambda x, y: (1 / x, -3 / x**2)),
    "3 ** x": (lambda x, y: 3**x, "**", "3x", lambda x, y: (x * 3 ** (x - 1), 3**x * math.log(3))),
    "x * x": (lambda x, y: x * x, "*", "xx", lambda x, y: (x, x)),
    "x / x": (lambda x, y: x / x, "/", "xx", lambda x, y: (1 / x, -1 / x)),
    "-x": (lambda x, y: -x, "neg", "x", lambda x, y: (-1,)),
    "x ** 3": (lambda x, y: x**3, "**3", "x", lambda x, y: (3 * x**2,)),
    "x ** -2": (lambda x, y: x**-2, "**-2", "x", lambda x, y: (-2 * x**-3,)),
    "x ** 0.5": (lambda x, y: x**0.5, "**0.5", "x", lambda x, y: (0.5 * x**-0.5,)),
    "x ** 2.0": (lambda x, y: x**2.0, "**2", "x", lambda x, y: (2 * x,)),
}


def facts(node):
    """Numbers that say how a node was made."""
    return (node.data, *node.partials)


class TestValue:
    @pytest.mark.parametrize("number", [3, 2.5, np.int64(-7), np.float32(0.5)])
    def test_a_leaf(self, number):
        leaf = Value(number)
        assert_equal(type(leaf.data).__name__, "float")
        assert_equal(leaf.data, float(number))
        assert_equal((leaf.grad, list(leaf.parents), list(leaf.partials), leaf.op, leaf.name), (0.0, [], [], "", ""))

    def test_a_node_keeps_what_it_is_given(self):
        x = Value(3.0, name="x")
        node = Value(9.0, (x,), (6.0,), "square", "y")
        assert_equal((node.data, list(node.partials), node.op, node.name, x.name), (9.0, [6.0], "square", "y", "x"))
        assert_equal(len(node.parents) == 1 and node.parents[0] is x, True)

    @pytest.mark.parametrize("name", OPERATIONS)
    def test_data_and_partials_of(self, name, rng):
        run, _, _, partials = OPERATIONS[name]
        x, y = (float(v) for v in rng.uniform(0.5, 2, 2))
        # y is below 0 where it may be, so that a sign shows.
        y = y if name == "x ** y" else -y
        assert_close(facts(run(Value(x), Value(y))), (run(x, y), *partials(x, y)))

    @pytest.mark.parametrize("name", OPERATIONS)
    def test_op_and_parents_of(self, name):
        run, op, parents, _ = OPERATIONS[name]
        x, y = Value(1.5), Value(0.5)
        node = run(x, y)
        found = ["x" if p is x else "y" if p is y else f"leaf {p.data:g}" for p in node.parents]
        assert_equal((node.op, found), (op, ["leaf 3" if p == "3" else p for p in parents]))
        assert_equal([len(p.parents) for p in node.parents], [0] * len(parents))

    @pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
    @pytest.mark.parametrize("name", ["x + 3", "3 + x", "3 - x", "x * 3", "3 * x", "3 / x", "3 ** x", "x ** 3"])
    def test_scalars_of_numpy(self, kind, name):
        number = {
            "x + 3": lambda x, n: x + n,
            "3 + x": lambda x, n: n + x,
            "3 - x": lambda x, n: n - x,
            "x * 3": lambda x, n: x * n,
            "3 * x": lambda x, n: n * x,
            "3 / x": lambda x, n: n / x,
            "3 ** x": lambda x, n: n**x,
            "x ** 3": lambda x, n: x**n,
        }[name]
        x = Value(2.0)
        got, wanted = number(x, kind(3)), OPERATIONS[name]
        assert_equal(type(got).__name__, "Value")
        assert_close(facts(got), (wanted[0](2.0, 0.0), *wanted[3](2.0, 0.0)))

    @pytest.mark.parametrize("whole", [2, -3])
    def test_integers_have_no_integer_division(self, whole):
        assert_close(facts(Value(7) / whole), (7 / whole, 1 / whole, -7 / whole**2))
        assert_close(facts(Value(np.int64(2)) ** whole), (2.0**whole, whole * 2.0 ** (whole - 1)))

    @pytest.mark.parametrize(("power", "data", "partial"), [(0, 1.0, 0.0), (1, 0.0, 1.0), (2, 0.0, 0.0), (3, 0.0, 0.0)])
    def test_powers_of_zero(self, power, data, partial):
        assert_close(facts(Value(0.0) ** power), (data, partial))

    @pytest.mark.parametrize(
        ("power", "data", "partial"),
        [(0, 1.0, 0.0), (1, -1.5, 1.0), (2, 2.25, -3.0), (3, -3.375, 6.75), (-1, -2 / 3, -4 / 9)],
    )
    def test_whole_powers_of_a_negative_number(self, power, data, partial):
        assert_close(facts(Value(-1.5) ** power), (data, partial))

    @pytest.mark.parametrize("exponent", [-2.0, 0.0, 3.0])
    def test_an_exponent_may_have_any_sign(self, exponent):
        got = Value(2.0) ** Value(exponent)
        assert_close(facts(got), (2.0**exponent, exponent * 2.0 ** (exponent - 1), 2.0**exponent * math.log(2)))

    @pytest.mark.parametrize("base", [0.0, -1.5])
    def test_a_power_that_is_a_value_needs_a_positive_base(self, base):
        assert_close(facts(Value(0.25) ** Value(0.5)), (0.5, 1.0, 0.5 * math.log(0.25)))
        with raises(ValueError, base):
            Value(base) ** Value(2.0)

    @pytest.mark.parametrize("base", [0, -3])
    def test_so_does_one_over_a_plain_number(self, base):
        with raises(ValueError, base):
            base ** Value(2.0)

    def test_operations_change_no_operand(self):
        x, y = Value(1.5), Value(0.5)
        x.grad, y.grad = 7.0, -7.0
        for run, *_ in OPERATIONS.values():
            run(x, y)
        got = [x.data, x.grad, len(x.parents), y.data, y.grad, len(y.parents)]
        assert_equal(got, [1.5, 7.0, 0, 0.5, -7.0, 0])

    @pytest.mark.parametrize("name", ["+=", "-=", "*=", "/=", "**="])
    def test_in_place_makes_a_new_one(self, name):
        x = Value(3.0)
        before = x
        if name == "+=":
            x += 2
        elif name == "-=":
            x -= 2
        elif name == "*=":
            x *= 2
        elif name == "/=":
            x /= 2
        else:
            x **= 2
        assert_equal((before.data, x is before, x.parents[0] is before), (3.0, False, True))

    def test_sum_starts_from_a_plain_zero(self):
        total = sum([Value(1.0), Value(2.5), Value(4.0)])
        assert_close((total.data, total.op), (7.5, "+"))


class TestExp:
    @pytest.mark.parametrize("x", [-2.0, 0.0, 1.5])
    def test_is_its_own_derivative(self, x):
        leaf = Value(x)
        node = exp(leaf)
        assert_close(facts(node), (math.exp(x), math.exp(x)))
        assert_equal((node.op, len(node.parents), node.parents[0] is leaf), ("exp", 1, True))


class TestLog:
    @pytest.mark.parametrize("x", [0.25, 1.0, 3.0, 1e-300])
    def test_has_the_derivative_one_over_x(self, x):
        leaf = Value(x)
        node = log(leaf)
        assert_close(facts(node), (math.log(x), 1 / x))
        assert_equal((node.op, len(node.parents), node.parents[0] is leaf), ("log", 1, True))

    @pytest.mark.parametrize("x", [0.0, -2.5])
    def test_only_of_numbers_above_zero(self, x):
        with raises(ValueError, x):
            log(Value(x))


class TestTanh:
    @pytest.mark.parametrize("x", [-1.0, 0.0, 0.4, 2.0])
    def test_of_small_numbers(self, x):
        leaf = Value(x)
        node = tanh(leaf)
        assert_close(facts(node), (math.tanh(x), 1 / math.cosh(x) ** 2))
        assert_equal((node.op, len(node.parents), node.parents[0] is leaf), ("tanh", 1, True))

    @pytest.mark.parametrize("x", [1000.0, -1000.0])
    def test_of_large_numbers(self, x):
        assert_close(facts(tanh(Value(x))), (math.copysign(1, x), 0.0))


class TestRelu:
    @pytest.mark.parametrize(
        ("x", "data", "partial"),
        [(2.5, 2.5, 1.0), (0.1, 0.1, 1.0), (0.0, 0.0, 0.0), (-0.1, 0.0, 0.0), (-3.0, 0.0, 0.0)],
    )
    def test_on_both_sides_of_its_corner(self, x, data, partial):
        leaf = Value(x)
        node = relu(leaf)
        assert_close(facts(node), (data, partial))
        assert_equal((node.op, len(node.parents), node.parents[0] is leaf), ("relu", 1, True))


def check_order(order, nodes):
    """Fail unless `order` has each of `nodes` once, and after its parents."""
    found = [id(node) for node in order]
    missing, strangers = len({id(n) for n in nodes} - set(found)), len(set(found) - {id(n) for n in nodes})
    if missing or strangers:
        fail(
            f"the order lacks {missing} nodes, and has {strangers} that don't belong",
            evidence=("set", missing, strangers),
        )
    if len(found) > len(nodes):
        fail(
            f"the order has {len(found)} entries for {len(nodes)} nodes; each comes once",
            evidence=("twice", len(found)),
        )
    place = {node: i for i, node in enumerate(found)}
    early = [i for i, node in enumerate(order) if any(place[id(p)] > i for p in node.parents)]
    if early:
        fail(
            f"{len(early)} of {len(nodes)} nodes come before one of their parents, the first in place {early[0]}",
            evidence=("early", early),
        )


class TestTopologicalOrder:
    def test_of_a_leaf(self):
        leaf = Value(2.0)
        assert_equal([node is leaf for node in topological_order(leaf)], [True])

    def test_the_example_worked_by_hand(self):
        x, y = Value(3.0), Value(2.0)
        s = x + y
        f = s * x
        check_order(topological_order(f), [x, y, s, f])

    def test_of_both_orders_of_the_parents(self):
        x, y = Value(3.0), Value(2.0)
        s = x + y
        f = x * s
        check_order(topological_order(f), [x, y, s, f])

    @pytest.mark.parametrize("turned", [False, True])
    def test_a_short_way_and_a_long_way(self, turned):
        # x is a parent of f, and four steps away as well: neither steps from f nor from x give the order.
        x = Value(0.5)
        nodes = [x]
        for _ in range(3):
            nodes.append(-nodes[-1])
        f = nodes[-1] * x if turned else x * nodes[-1]
        nodes.append(f)
        side = nodes[2] + f
        check_order(topological_order(side), [*nodes, side])

    def test_of_random_graphs(self, rng):
        for _ in range(20):
            nodes = [Value(1.0) for _ in range(3)]
            for _ in range(12):
                i, j = rng.integers(0, len(nodes), 2)
                nodes.append(nodes[i] + nodes[j])
            wanted, todo = {}, [nodes[-1]]
            while todo:
                node = todo.pop()
                if id(node) not in wanted:
                    wanted[id(node)] = node
                    todo.extend(node.parents)
            check_order(topological_order(nodes[-1]), list(wanted.values()))

    def test_what_was_made_of_the_root_does_not_belong(self):
        x = Value(3.0)
        s = x + x
        later = s * x
        check_order(topological_order(s), [x, s])
        assert_equal(later.data, 18.0)

    def test_nodes_of_equal_data_are_two(self):
        x, y = Value(2.0), Value(2.0)
        f = x * y
        check_order(topological_order(f), [x, y, f])

    def test_of_other_classes_that_have_parents(self):
        class Node:
            def __init__(self, *parents):
                self.parents = parents

        a, b = Node(), Node()
        c = Node(a, b, a)
        d = Node(b, c, a)
        check_order(topological_order(d), [a, b, c, d])

    @pytest.mark.parametrize("kind", ["equal to all others", "without a hash", "equal to none"])
    def test_nodes_are_told_apart_by_identity(self, kind):
        class Node:
            def __init__(self, *parents):
                self.parents = parents

            def __eq__(self, other):
                return kind == "equal to all others"

            __hash__ = None if kind == "without a hash" else lambda self: 7

        a, b = Node(), Node()
        c = Node(a, b)
        d = Node(c, a, c)
        check_order(topological_order(d), [a, b, c, d])

    @pytest.mark.parametrize("leaf_first", [False, True])
    def test_a_chain_of_5000_nodes(self, leaf_first):
        x = Value(0.5)
        nodes = [x]
        for _ in range(4999):
            nodes.append(x + nodes[-1] if leaf_first else nodes[-1] + x)
        check_order(topological_order(nodes[-1]), nodes)

    def test_the_time_grows_with_the_edges_not_with_the_paths(self):
        class Node:
            reads = 0

            def __init__(self, *parents):
                self._parents = parents

            @property
            def parents(self):
                Node.reads += 1
                return self._parents

        # 2¹⁴ paths lead over 28 edges.
        nodes = [Node()]
        for _ in range(14):
            nodes.append(Node(nodes[-1], nodes[-1]))
        order = topological_order(nodes[-1])
        reads = Node.reads
        check_order(order, nodes)
        if reads > 300:
            fail(f"the parents of 15 nodes are looked at {reads} times; open each node once", evidence="paths")

    def test_nodes_are_not_compared_with_all_others(self):
        comparisons = []

        class Node:
            def __init__(self, *parents):
                self.parents = parents

            def __eq__(self, other):
                comparisons.append(1)
                return self is other

            __hash__ = object.__hash__

        nodes = [Node()]
        for _ in range(500):
            nodes.append(Node(nodes[-1]))
        check_order(topological_order(nodes[-1]), nodes)
        if len(comparisons) > 5000:
            fail(f"501 nodes are compared {len(comparisons)} times; look them up in a set of ids", evidence="list")

    def test_the_time_does_not_grow_with_the_square_of_the_nodes(self):
        def line(n):
            node = Value(0.5)
            for _ in range(n):
                node = -node
            return node

        few, many = (python_steps(topological_order, line(n)) for n in (200, 2000))
        if many > 20 * few:
            fail(f"10 times as many nodes take {many / few:.0f} times as many steps", evidence="square")


def made_of(program, leaves, functions):
    """All numbers of a program, which has (what, i, j) for each step: the numbers i and j are combined."""
    nodes = list(leaves)
    for what, i, j in program:
        nodes.append(STEPS[what](nodes[i % len(nodes)], nodes[j % len(nodes)], functions))
    return nodes


# What keeps to where all functions are defined and smooth.
STEPS = {
    "a + b": lambda a, b, f: a + b,
    "a * b": lambda a, b, f: a * b,
    "a - b": lambda a, b, f: a - b,
    "-a": lambda a, b, f: -a,
    "3 - a": lambda a, b, f: 3 - a,
    "a ** 2": lambda a, b, f: a**2,
    "a / (b * b + 1)": lambda a, b, f: a / (b * b + 1),
    "2 / (a * a + 1)": lambda a, b, f: 2 / (a * a + 1),
    "(a * a + 1) ** tanh(b)": lambda a, b, f: (a * a + 1) ** f.tanh(b),
    "2 ** tanh(a)": lambda a, b, f: 2 ** f.tanh(a),
    "(a * a + 1) ** -0.5": lambda a, b, f: (a * a + 1) ** -0.5,
    "exp(tanh(a))": lambda a, b, f: f.exp(f.tanh(a)),
    "log(a * a + 1)": lambda a, b, f: f.log(a * a + 1),
    "tanh(a)": lambda a, b, f: f.tanh(a),
    "relu(a)": lambda a, b, f: f.relu(a),
}


def written(program, leaves):
    """A program as it is read: "x = 2, y = 1.5, p = x * y"."""
    names = [*"xyz"[: len(leaves)], *(f"v{i}" for i in range(1, len(program) + 1))]
    lines = [f"{name} = {value:g}" for name, value in zip(names, leaves, strict=False)]
    for step, (what, i, j) in enumerate(program):
        n = len(leaves) + step
        operands = {"a": names[i % n], "b": names[j % n]}
        what = re.sub(r"\b[ab]\b", lambda found, o=operands: o[found[0]], what)
        lines.append(f"{names[n]} = {what}")
    return ", ".join(lines)


class TestBackward:
    def test_the_example_worked_by_hand(self):
        x, y = Value(3.0), Value(2.0)
        s = x + y
        f = s * x
        backward(f)
        assert_close([f.grad, s.grad, x.grad, y.grad], [1.0, 3.0, 8.0, 3.0])

    def test_of_a_leaf_itself(self):
        x = Value(7.0)
        backward(x)
        assert_close(x.grad, 1.0)

    @pytest.mark.parametrize(
        ("name", "run", "expected"),
        [
            ("x + x", lambda x: x + x, 2.0),
            ("x - x", lambda x: x - x, 0.0),
            ("x * x", lambda x: x * x, 3.0),
            ("x / x", lambda x: x / x, 0.0),
            ("x ** x", lambda x: x**x, 1.5**1.5 * (math.log(1.5) + 1)),
            ("x * x * x", lambda x: x * x * x, 6.75),
        ],
    )
    def test_of_a_node_that_is_used_twice(self, name, run, expected):
        x = Value(1.5)
        backward(run(x))
        assert_close(x.grad, expected)

    @pytest.mark.parametrize("turned", [False, True])
    def test_a_node_waits_until_its_gradient_is_complete(self, turned):
        x = Value(0.5)
        a = x * 3
        b = a * a
        f = b * a + x if turned else x + a * b
        backward(f)
        # a³ + x, with a = 3x.
        assert_close([a.grad, b.grad, x.grad], [3 * 1.5**2, 1.5, 9 * 1.5**2 + 1])

    def test_sums_over_all_paths(self, rng):
        nodes = [Value(v) for v in rng.uniform(0.5, 1.5, 3)]
        # paths[i][j]: the sum over all paths from node j to node i, of the product of their partials.
        paths = np.eye(13)
        for n in range(3, 13):
            (i, j), (p, q) = rng.integers(0, n, 2), rng.uniform(-1.5, 1.5, 2)
            nodes.append(Value(1.0, (nodes[i], nodes[j]), (float(p), float(q)), "made up"))
            paths[n] = p * paths[i] + q * paths[j] + np.eye(13)[n]
        backward(nodes[-1])
        assert_close([node.grad for node in nodes], paths[12].tolist())

    def test_any_expression_matches_torch(self, rng):
        import torch
        from hypothesis import HealthCheck, Phase, assume, given, seed, settings
        from hypothesis import strategies as st

        numbers = st.sampled_from([2.0, 1.5, 0.5, 3.0, 1.0, 0.25, -0.5, -1.5, -2.0])
        step = st.tuples(st.sampled_from(list(STEPS)), st.integers(0, 9), st.integers(0, 9))

        @seed(int(rng.integers(2**32)))
        @settings(
            max_examples=60,
            phases=[Phase.generate, Phase.shrink],
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(numbers, min_size=1, max_size=3), st.lists(step, min_size=1, max_size=9))
        def check(leaves, program):
            nodes = made_of(
                program, [Value(v) for v in leaves], SimpleNamespace(exp=exp, log=log, tanh=tanh, relu=relu)
            )
            wanted = made_of(program, [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in leaves], torch)
            values = [node.item() for node in wanted]
            assume(all(math.isfinite(v) and abs(v) < 1e6 for v in values))
            # Where rounding decides on which side of its corner relu stands, both are right.
            assume(all(v == 0 or abs(v) > 1e-9 for v in values))
            grads = torch.autograd.grad(wanted[-1], wanted, allow_unused=True)
            expected = [0.0 if g is None else g.item() for g in grads]
            backward(nodes[-1])
            text = written(program, leaves)
            names = [part.split(" = ")[0] for part in text.split(", ")]
            for name, node, value, grad in zip(names, nodes, values, expected, strict=True):
                if not math.isclose(node.data, value, rel_tol=1e-9, abs_tol=1e-9):
                    fail(f"{text}: {name} is {node.data:.6g}, expected {value:.6g}", evidence=("data", text, node.data))
                if not math.isclose(node.grad, grad, rel_tol=1e-7, abs_tol=1e-7):
                    what = f"the derivative of {names[-1]} with respect to {name}"
                    fail(f"{text}: {what} is {node.grad:.6g}, expected {grad:.6g}", evidence=("grad", text, node.grad))

        check()

    def test_a_second_call_adds_the_same_again(self):
        x, y = Value(3.0), Value(2.0)
        s = x + y
        p = s * x
        f = p * p
        for times in (1, 2, 3):
            backward(f)
            # f = ((x + y) x)²
            grads = [times * g for g in (1.0, 30.0, 90.0, 240.0, 90.0)]
            assert_close([f.grad, p.grad, s.grad, x.grad, y.grad], grads)

    def test_two_roots_add_up_where_they_meet(self):
        x, y = Value(3.0), Value(2.0)
        s = x * y
        f, g = s * s, exp(y) - s
        backward(f)
        backward(g)
        # f = x² y², g = eʸ - x y
        expected = [1.0, 1.0, 12 - 1, 2 * 3 * 4 - 2, 2 * 9 * 2 + math.exp(2) - 3]
        assert_close([f.grad, g.grad, s.grad, x.grad, y.grad], expected)

    def test_a_graph_may_grow_after_it_was_differentiated(self):
        x = Value(3.0)
        s = x * x
        backward(s)
        f = s * x
        backward(f)
        assert_close([f.grad, s.grad, x.grad], [1.0, 1 + 3.0, 6 + 27.0])

    def test_nodes_outside_of_the_graph_keep_their_gradients(self):
        x, other = Value(3.0), Value(4.0)
        s = x + x
        later = s * other
        later.grad, other.grad = 7.0, 8.0
        backward(s)
        assert_close([later.grad, other.grad, s.grad, x.grad], [7.0, 8.0, 1.0, 2.0])

    def test_data_and_partials_stay_as_they_are(self):
        x, y = Value(3.0), Value(2.0)
        nodes = [x, y, x + y, x * y]
        nodes.append(nodes[2] / nodes[3])
        before = [facts(node) for node in nodes]
        backward(nodes[-1])
        assert_equal([facts(node) for node in nodes], before)

    @pytest.mark.parametrize("turned", [False, True])
    def test_a_chain_of_5000_nodes(self, turned):
        x = Value(0.5)
        node = x
        for _ in range(5000):
            node = 1 - node if turned else node * 1.0001
        backward(node)
        assert_close(x.grad, 1.0 if turned else 1.0001**5000)

    def test_the_time_grows_with_the_edges_not_with_the_paths(self):
        def ladder(n):
            node = Value(3.0)
            for _ in range(n):
                node = node + node
            return node

        few, many = (python_steps(backward, ladder(n)) for n in (6, 12))
        if many > 6 * few:
            fail(f"twice as many nodes take {many / few:.0f} times as many steps", evidence="paths")

    def test_a_neuron_learns_and(self):
        points = [((0.0, 0.0), -1.0), ((0.0, 1.0), -1.0), ((1.0, 0.0), -1.0), ((1.0, 1.0), 1.0)]
        weights = [Value(0.1), Value(-0.2), Value(0.0)]
        losses = []
        for _ in range(100):
            answers = [(tanh(weights[0] * a + weights[1] * b + weights[2]), y) for (a, b), y in points]
            loss = sum((answer - y) ** 2 for answer, y in answers) / 4
            for weight in weights:
                weight.grad = 0.0
            backward(loss)
            for weight in weights:
                weight.data -= weight.grad
            losses.append(loss.data)
        # The best constant answer is the mean, -1/2, with loss 3/4.
        if not losses[-1] < 0.1:
            fail(f"after 100 steps a neuron's loss is {losses[-1]:.3f}; expected less than 0.1", evidence=losses[-1])


class TestZeroGrad:
    def test_every_node_of_the_graph(self):
        x, y = Value(3.0), Value(2.0)
        s = x + y
        f = s * x
        backward(f)
        zero_grad(f)
        assert_equal([f.grad, s.grad, x.grad, y.grad], [0.0, 0.0, 0.0, 0.0])
        backward(f)
        assert_close([f.grad, s.grad, x.grad, y.grad], [1.0, 3.0, 8.0, 3.0])

    def test_no_other_node(self):
        x, other = Value(3.0), Value(4.0)
        s = x + x
        later = s * other
        for node in (x, other, s, later):
            node.grad = 5.0
        zero_grad(s)
        assert_equal([x.grad, other.grad, s.grad, later.grad], [0.0, 5.0, 0.0, 5.0])

    def test_a_chain_of_5000_nodes(self):
        nodes = [Value(0.5)]
        for _ in range(4999):
            nodes.append(nodes[-1] + 1)
        for node in nodes:
            node.grad = 2.0
        zero_grad(nodes[-1])
        assert_equal(sum(node.grad for node in nodes), 0.0)


class TestDraw:
    def test_the_example_worked_by_hand(self):
        x, y = Value(3.0, name="x"), Value(2.0, name="y")
        f = (x + y) * x
        backward(f)
        lines = ["*: 15, grad 1", "├── +: 5, grad 3", "│   ├── x: 3, grad 8", "│   └── y: 2, grad 3", "└── x ↑"]
        assert_equal(draw(f).split("\n"), lines)
        backward(f)
        assert_equal(draw(f).split("\n")[2], "│   ├── x: 3, grad 16")

    def test_a_leaf(self):
        assert_equal(draw(Value(0.5)), "leaf: 0.5, grad 0")

    def test_numbers_have_four_digits(self):
        third, large = Value(1 / 3, name="a"), Value(-1234567.0, name="b")
        third.grad, large.grad = 2e-7, 98.7654321
        lines = ["+: -1.235e+06, grad 0", "├── a: 0.3333, grad 2e-07", "└── b: -1.235e+06, grad 98.77"]
        assert_equal(draw(third + large).split("\n"), lines)

    def test_a_name_stands_before_an_op(self):
        x = Value(2.0, name="x")
        h = relu(x)
        h.name = "h"
        lines = ["**3: 8, grad 0", "└── h: 2, grad 0", "    └── x: 2, grad 0"]
        assert_equal(draw(h**3).split("\n"), lines)

    def test_lines_go_on_where_there_is_more_to_come(self):
        a, b = Value(1.0, name="a"), Value(2.0, name="b")
        f = -(a + b) - (-(a * 4))
        lines = [
            "-: 1, grad 0",
            "├── neg: -3, grad 0",
            "│   └── +: 3, grad 0",
            "│       ├── a: 1, grad 0",
            "│       └── b: 2, grad 0",
            "└── neg: -4, grad 0",
            "    └── *: 4, grad 0",
            "        ├── a ↑",
            "        └── leaf: 4, grad 0",
        ]
        assert_equal(draw(f).split("\n"), lines)

    def test_lines_go_on_at_several_depths(self):
        a, b, c, d = (Value(float(i), name="abcd"[i]) for i in range(4))
        lines = [
            "-: -1, grad 0",
            "├── *: 2, grad 0",
            "│   ├── +: 1, grad 0",
            "│   │   ├── a: 0, grad 0",
            "│   │   └── b: 1, grad 0",
            "│   └── c: 2, grad 0",
            "└── d: 3, grad 0",
        ]
        assert_equal(draw((a + b) * c - d).split("\n"), lines)

    def test_a_node_that_is_shared_is_drawn_once(self):
        x = Value(2.0, name="x")
        s = x * x
        lines = ["/: 1, grad 0", "├── *: 4, grad 0", "│   ├── x: 2, grad 0", "│   └── x ↑", "└── * ↑"]
        assert_equal(draw(s / s).split("\n"), lines)

    def test_two_nodes_may_have_one_name(self):
        f = Value(2.0, name="x") + Value(2.0, name="x")
        assert_equal(draw(f).split("\n"), ["+: 4, grad 0", "├── x: 2, grad 0", "└── x: 2, grad 0"])

    def test_many_paths_make_few_lines(self):
        node = Value(0.5)
        for _ in range(10):
            node = node + node
        lines = draw(node).split("\n")
        assert_equal((len(lines), lines[-1]), (21, "└── + ↑"))

    def test_a_deep_graph(self):
        node = Value(0.5)
        for _ in range(99):
            node = -node
        lines = draw(node).split("\n")
        assert_equal(
            (len(lines), lines[0], lines[-1]), (100, "neg: -0.5, grad 0", " " * 4 * 98 + "└── leaf: 0.5, grad 0")
        )


class TestGradient:
    def test_the_example_worked_by_hand(self):
        assert_close(gradient(lambda x, y: (x + y) * x, 3, 2), [8.0, 3.0])

    def test_matches_torch(self, rng):
        import torch

        def f(functions):
            return lambda a, b, c: functions.log(a * a + functions.exp(b * c)) / (1 + functions.tanh(c - a) ** 2) + a**b

        numbers = [float(v) for v in rng.uniform(0.5, 2, 3)]
        leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in numbers]
        expected = [g.item() for g in torch.autograd.grad(f(torch)(*leaves), leaves)]
        mine = SimpleNamespace(exp=exp, log=log, tanh=tanh)
        assert_close(gradient(f(mine), *numbers), expected)
        assert_close(gradient(f(mine), *numbers), expected)

    def test_what_is_not_used_has_derivative_zero(self):
        assert_close(gradient(lambda x, y, z: x * z, 3.0, 2.0, 5.0), [5.0, 0.0, 3.0])

    def test_of_one_of_its_arguments(self):
        assert_close(gradient(lambda x, y: y, 3.0, 2.0), [0.0, 1.0])

    @pytest.mark.parametrize("numbers", [(), (1.5,), (1.5, 2.0)])
    def test_of_a_constant(self, numbers):
        assert_close(gradient(lambda *xs: 7, *numbers), [0.0] * len(numbers))

    def test_of_equal_numbers(self):
        assert_close(gradient(lambda x, y: x * x * y, 2.0, 2.0), [8.0, 4.0])

    def test_of_a_function_with_a_loop(self):
        def power(x):
            product = 1
            for _ in range(5):
                product = product * x
            return product

        assert_close(gradient(power, -2.0), [80.0])
