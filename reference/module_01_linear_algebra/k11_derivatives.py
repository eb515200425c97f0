"""Derivatives: the reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def gradient(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    return np.array([directional_derivative(f, x, axis, h) for axis in np.eye(len(x))])


def directional_derivative(
    f: Callable[[np.ndarray], float], x: np.ndarray, v: np.ndarray, h: float = 1e-5
) -> float:
    return (f(x + h * v) - f(x - h * v)) / (2 * h)


def jacobian(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    # The same quotient serves: of a function with several values it gives a column.
    return np.stack([directional_derivative(f, x, axis, h) for axis in np.eye(len(x))], axis=1)


def hessian(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-4) -> np.ndarray:
    # Sums make new arrays, so that f can't change x.
    steps = h * np.eye(len(x))

    def four_points(a: np.ndarray, b: np.ndarray) -> float:
        return (f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b)) / (4 * h**2)

    return np.array([[four_points(a, b) for a in steps] for b in steps])


class Dual:
    def __init__(self, value: float, slope: float = 0.0) -> None:
        self.value = value
        self.slope = slope

    def __add__(self, other: Dual | float) -> Dual:
        other = as_dual(other)
        return Dual(self.value + other.value, self.slope + other.slope)

    def __radd__(self, other: float) -> Dual:
        return self + other

    def __sub__(self, other: Dual | float) -> Dual:
        return self + -other

    def __rsub__(self, other: float) -> Dual:
        return -self + other

    def __mul__(self, other: Dual | float) -> Dual:
        other = as_dual(other)
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

    def __rmul__(self, other: float) -> Dual:
        return self * other

    def __truediv__(self, other: Dual | float) -> Dual:
        return self * other**-1.0  # -1.0, as numpy's integers have no power -1

    def __rtruediv__(self, other: float) -> Dual:
        return other * self**-1.0

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope)

    def __pow__(self, exponent: float) -> Dual:
        if exponent == 0:
            return Dual(1.0)  # the rule would ask for 0⁻¹ at 0
        return Dual(self.value**exponent, exponent * self.value ** (exponent - 1) * self.slope)


def as_dual(x: Dual | float) -> Dual:
    """A plain number is a dual number of slope 0."""
    return x if isinstance(x, Dual) else Dual(x)


def sin(x: Dual) -> Dual:
    return Dual(math.sin(x.value), math.cos(x.value) * x.slope)


def exp(x: Dual) -> Dual:
    return Dual(math.exp(x.value), math.exp(x.value) * x.slope)


def log(x: Dual) -> Dual:
    return Dual(math.log(x.value), x.slope / x.value)


def derivative(f: Callable[[Dual], Dual], x: float) -> float:
    return as_dual(f(Dual(x, 1.0))).slope


@dataclass(frozen=True)
class Expr:
    op: str
    args: tuple


def evaluate(expr: Expr, values: dict[str, float]) -> float:
    match expr:
        case Expr("const", (number,)):
            return number
        case Expr("var", (name,)):
            if name not in values:
                raise ValueError(f"the variable {name} has no value; there are values for {sorted(values)}")
            return values[name]
    parts = [evaluate(arg, values) for arg in expr.args]
    rules = {"+": lambda a, b: a + b, "*": lambda a, b: a * b, "sin": math.sin, "exp": math.exp}
    return rules[expr.op](*parts)


def differentiate(expr: Expr, name: str) -> Expr:
    match expr:
        case Expr("const", _):
            return Expr("const", (0.0,))
        case Expr("var", (own,)):
            return Expr("const", (1.0 if own == name else 0.0,))
        case Expr("+", (a, b)):
            return Expr("+", (differentiate(a, name), differentiate(b, name)))
        case Expr("*", (a, b)):
            return Expr("+", (Expr("*", (differentiate(a, name), b)), Expr("*", (a, differentiate(b, name)))))
        case Expr("sin", (a,)):
            # cos a = sin(a + π/2), as there is no node for the cosine.
            cosine = Expr("sin", (Expr("+", (a, Expr("const", (math.pi / 2,)))),))
            return Expr("*", (cosine, differentiate(a, name)))
        case _:  # exp is its own derivative, times that of what is inside
            return Expr("*", (expr, differentiate(expr.args[0], name)))
