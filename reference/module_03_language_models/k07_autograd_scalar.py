"""Autograd for scalars: the reference."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable


class Value:
    def __init__(
        self,
        data: float,
        parents: tuple[Value, ...] = (),
        partials: tuple[float, ...] = (),
        op: str = "",
        name: str = "",
    ) -> None:
        self.data = float(data)
        self.grad = 0.0
        self.parents = parents
        # Of a number the partials are numbers, known as soon as it is computed.  Of an array they
        # would be Jacobians: there, a function takes their place.
        self.partials = partials
        self.op = op
        self.name = name

    def __add__(self, other: Value | float) -> Value:
        other = as_value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0), "+")

    # The mirrored operators turn the number into a leaf, and leave the rest to the rule above them.
    def __radd__(self, other: float) -> Value:
        return as_value(other) + self

    def __sub__(self, other: Value | float) -> Value:
        other = as_value(other)
        return Value(self.data - other.data, (self, other), (1.0, -1.0), "-")

    def __rsub__(self, other: float) -> Value:
        return as_value(other) - self

    def __mul__(self, other: Value | float) -> Value:
        other = as_value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data), "*")

    def __rmul__(self, other: float) -> Value:
        return as_value(other) * self

    def __truediv__(self, other: Value | float) -> Value:
        other = as_value(other)
        quotient = self.data / other.data
        return Value(quotient, (self, other), (1 / other.data, -quotient / other.data), "/")

    def __rtruediv__(self, other: float) -> Value:
        return as_value(other) / self

    def __neg__(self) -> Value:
        return Value(-self.data, (self,), (-1.0,), "neg")

    def __pow__(self, exponent: Value | float) -> Value:
        if not isinstance(exponent, Value):
            # The rule would ask for 0⁻¹ at 0, though 0⁰ is as constant as any number's power 0.
            slope = exponent * self.data ** (exponent - 1) if exponent != 0 else 0.0
            return Value(self.data**exponent, (self,), (slope,), f"**{exponent:g}")
        if self.data <= 0:
            raise ValueError(f"a power that is a Value needs a base above 0, got {self.data:g}")
        power = self.data**exponent.data
        slopes = (exponent.data * power / self.data, power * math.log(self.data))
        return Value(power, (self, exponent), slopes, "**")

    def __rpow__(self, base: float) -> Value:
        return as_value(base) ** self


def as_value(x: Value | float) -> Value:
    """A plain number is a leaf."""
    return x if isinstance(x, Value) else Value(x)


def exp(x: Value) -> Value:
    e = math.exp(x.data)
    return Value(e, (x,), (e,), "exp")


def log(x: Value) -> Value:
    if x.data <= 0:
        raise ValueError(f"only numbers above 0 have a logarithm, got {x.data:g}")
    return Value(math.log(x.data), (x,), (1 / x.data,), "log")


def tanh(x: Value) -> Value:
    # By e²ˣ it would overflow at 355.
    t = math.tanh(x.data)
    return Value(t, (x,), (1 - t * t,), "tanh")


def relu(x: Value) -> Value:
    return Value(max(x.data, 0.0), (x,), (float(x.data > 0),), "relu")


def topological_order(root: Value) -> list[Value]:
    # Depth first, with a stack of its own: Python's ends at 1,000 calls.  A node is pushed twice. When
    # it comes up first, its parents go on top of it; when it comes up again, they are all done.
    order: list[Value] = []
    seen: set[int] = set()
    stack = [(root, False)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(parent, False) for parent in node.parents]
    return order


def backward(root: Value) -> None:
    # What flows in this call is kept apart from `grad`, where that of earlier calls lies: handed on,
    # it would be counted again.
    flow: defaultdict[int, float] = defaultdict(float)
    flow[id(root)] = 1.0
    for node in reversed(topological_order(root)):
        node.grad += flow[id(node)]
        for parent, partial in zip(node.parents, node.partials, strict=True):
            flow[id(parent)] += partial * flow[id(node)]


def zero_grad(root: Value) -> None:
    for node in topological_order(root):
        node.grad = 0.0


def draw(root: Value) -> str:
    lines: list[str] = []
    drawn: set[int] = set()

    def add(node: Value, before: str, below: str) -> None:
        label = node.name or node.op or "leaf"
        if id(node) in drawn:
            lines.append(f"{before}{label} ↑")
            return
        drawn.add(id(node))
        lines.append(f"{before}{label}: {node.data:.4g}, grad {node.grad:.4g}")
        for i, parent in enumerate(node.parents, 1):
            if i < len(node.parents):
                add(parent, below + "├── ", below + "│   ")
            else:
                add(parent, below + "└── ", below + "    ")

    add(root, "", "")
    return "\n".join(lines)


def gradient(f: Callable[..., Value | float], *numbers: float) -> list[float]:
    values = [Value(number) for number in numbers]
    result = f(*values)
    if isinstance(result, Value):
        backward(result)
    return [value.grad for value in values]
