"""Derivatives

A derivative says how a function's value answers to a small step.  There are
three ways to have a computer find it.

Numerically: take a small step and look.  From Taylor's series,

    (f(x + h) - f(x - h)) / 2h = f′(x) + h²/6 f‴(x) + …

The step to both sides makes the error h², not h.  But rounding, some 1e-16 of
f, is divided by 2h: a step near the cube root of 1e-16 is best, h = 1e-5 say,
and ten digits are the most to be had.  For second derivatives divide by h²:

    ∂²f/∂xᵢ∂xⱼ ≈ [f(+ +) - f(+ -) - f(- +) + f(- -)] / 4h²     steps of h along i and j

with h = 1e-4.  For i = j the two steps add up: f(x + 2h), 2 f(x), f(x - 2h).

By dual numbers: calculate with a + b ε, where ε² = 0.  What comes out at
x + 1 ε is f(x) + f′(x) ε, exactly, as every rule of calculus hides in it:

    (a + b ε)(c + d ε) = ac + (ad + bc) ε            the product rule
    sin(a + b ε) = sin a + b cos a ε                 the chain rule

This is forward-mode automatic differentiation.

By symbols: a formula is a tree, and a rule for each kind of node turns it into
the tree of its derivative.

The gradient collects the partial derivatives of f: ℝⁿ → ℝ, the Jacobian those
of F: ℝⁿ → ℝᵐ (a row for each output), the Hessian the second ones.  Along a
direction v, f changes by ∇f · v.

Worked by hand, f(x, y) = x² y at (3, 2):

    ∇f = [2xy x²] = [12 9]    Hessian [2y 2x; 2x 0] = [4 6; 6 0]
    along v = [1 -1]: 12 - 9 = 3
    dual: (3 + ε)² · 2 = (9 + 6ε) · 2 = 18 + 12 ε: the first entry of ∇f
    symbols: d/dx (x·x)·y = (1·x + x·1)·y + (x·x)·0, which is 12 there

No function changes its arguments.  Nor may a function that is handed in be able
to change x: call it with arrays of its own.

Sources: Griewank and Walther 2008, "Evaluating Derivatives", chapters 1 and 3;
Press et al. 2007, "Numerical Recipes", section 5.7 (the step).

From scratch: numpy.gradient, scipy and sympy may not be used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def gradient(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """∇f at `x` (n,), by central differences with step `h`: (n,).  `x` is float64."""
    raise NotImplementedError


def directional_derivative(
    f: Callable[[np.ndarray], float], x: np.ndarray, v: np.ndarray, h: float = 1e-5
) -> float:
    """∇f · v at `x` (n,) along `v` (n,), of any length, by one central difference: f is called twice.

    The step is h·v: (f(x + h v) - f(x - h v)) / 2h.
    """
    raise NotImplementedError


def jacobian(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """∂Fᵢ/∂xⱼ at `x` (n,) of an F with values (m,), by central differences: (m, n)."""
    raise NotImplementedError


def hessian(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-4) -> np.ndarray:
    """∂²f/∂xᵢ∂xⱼ at `x` (n,), by the lesson's four-point formula with step `h`: (n, n)."""
    raise NotImplementedError


class Dual:
    """A dual number a + b ε; `value` is a and `slope` is b.

    Sums, differences, products, quotients and negatives of Duals, and of Duals
    and plain numbers in either order, are Duals.  So is a Dual to a plain
    number's power.
    """

    def __init__(self, value: float, slope: float = 0.0) -> None:
        """The number value + slope ε."""
        raise NotImplementedError

    def __add__(self, other: Dual | float) -> Dual:
        """self + other; `__radd__` is other + self."""
        raise NotImplementedError

    def __radd__(self, other: float) -> Dual:
        """other + self."""
        raise NotImplementedError

    def __sub__(self, other: Dual | float) -> Dual:
        """self - other."""
        raise NotImplementedError

    def __rsub__(self, other: float) -> Dual:
        """other - self."""
        raise NotImplementedError

    def __mul__(self, other: Dual | float) -> Dual:
        """self · other."""
        raise NotImplementedError

    def __rmul__(self, other: float) -> Dual:
        """other · self."""
        raise NotImplementedError

    def __truediv__(self, other: Dual | float) -> Dual:
        """self / other."""
        raise NotImplementedError

    def __rtruediv__(self, other: float) -> Dual:
        """other / self."""
        raise NotImplementedError

    def __neg__(self) -> Dual:
        """-self."""
        raise NotImplementedError

    def __pow__(self, exponent: float) -> Dual:
        """self to a plain number's power.

        Whole powers may be of a negative value too, and those from 0 up of the
        value 0: 0⁰ is 1, and the slope of any number's power 0 is 0.
        """
        raise NotImplementedError


def sin(x: Dual) -> Dual:
    """The sine of a dual number."""
    raise NotImplementedError


def exp(x: Dual) -> Dual:
    """e to the power of a dual number."""
    raise NotImplementedError


def log(x: Dual) -> Dual:
    """The natural logarithm of a dual number of positive value."""
    raise NotImplementedError


def derivative(f: Callable[[Dual], Dual], x: float) -> float:
    """f′(x) by dual numbers, for an f made of the operations above.

    An f that gives back a plain number is constant: its derivative is 0.
    """
    raise NotImplementedError


@dataclass(frozen=True)
class Expr:
    """A node of a formula's tree.

    op    "const", "var", "+", "*", "sin" or "exp"
    args  of "const" its number, of "var" its name, else the nodes it is made of: two, or one
    """

    op: str
    args: tuple


def evaluate(expr: Expr, values: dict[str, float]) -> float:
    """The value of the formula, where each variable has the value that `values` gives it.

    Raises ValueError, naming it, for a variable that has none.
    """
    raise NotImplementedError


def differentiate(expr: Expr, name: str) -> Expr:
    """The tree of the derivative by the variable `name`; the others are constants.

    Made of the same six kinds of nodes; it needn't be simplified, and is judged by its values.
    """
    raise NotImplementedError
