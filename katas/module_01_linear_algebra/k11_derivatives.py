"""Derivatives

**Before you start.**  You need the product rule, the chain rule, and Python's special methods
(`__add__`); no other kata.  Rusty?  Read the chapter on derivatives in any calculus book, and
"Emulating numeric types" in Python's language reference.

**The idea.**  Training follows a gradient downhill, so you need the gradient.  A computer finds it
in three ways:

- *Numerically*: take a small step and look.
- *By dual numbers* a + b ε, where ε² = 0: f(x + 1 ε) is f(x) + f′(x) ε, exact up to rounding.  This
  is forward-mode automatic differentiation.
- *By symbols*: a formula is a tree.  A rule for each kind of node makes the derivative's tree.

**The formulas**, for a small step h, a number x or a point x (n,), and a direction v:

    central difference   (f(x + h) - f(x - h)) / 2h = f′(x) + h²/6 f‴(x) + …
    four points          ∂²f/∂xᵢ∂xⱼ ≈ [f(+ +) - f(+ -) - f(- +) + f(- -)] / 4h²
    dual product         (a + b ε)(c + d ε) = ac + (ad + bc) ε            the product rule
    dual sine            sin(a + b ε) = sin a + b cos a ε                 the chain rule

In f(+ -) you step by h along i, and by -h along j.  For i = j the steps add up: f(x + 2h),
2 f(x), f(x - 2h).

A tree and its derivative with respect to x; each * has become a′b + ab′:

           *                              +
        ┌──┴──┐                     ┌─────┴─────┐
        *     y                     *           *
      ┌─┴─┐          ────▶       ┌──┴──┐     ┌──┴──┐
      x   x                      +     y     *     0
                              ┌──┴──┐      ┌─┴─┐
                              *     *      x   x
                            ┌─┴─┐ ┌─┴─┐
                            1   x x   1

**Why a step to both sides?**  The error is of order h²; with one side it is of order h.

**Why not a tiny h?**  Rounding, some 1e-16 of f, is divided by 2h.  About 1e-5 is best, and gives
ten digits or so.  A second derivative divides by h², so there 1e-4 is better.

**Worked by hand**, f(x, y) = x² y at (3, 2):

    ∇f = [2xy x²] = [12 9]    Hessian [2y 2x; 2x 0] = [4 6; 6 0]
    along v = [1 -1]: 12 - 9 = 3
    dual: (3 + ε)² · 2 = (9 + 6ε) · 2 = 18 + 12 ε: the first entry of ∇f
    symbols: d/dx (x·x)·y = (1·x + x·1)·y + (x·x)·0, which is 12 there

**Shapes**: each function says its own.  No function changes its arguments.  The f that you call may
change its argument: hand it a new array each time.

**Steps.**  A good place to pause is after hessian, and after derivative.

    gradient                 5 min   one direction after the other
    directional_derivative   5 min   two calls
    jacobian                 5 min   columns, not rows
    hessian                 10 min   four points for each pair
    Dual                    15 min   plain numbers on either side
    sin                      3 min   the chain rule
    exp                      3 min   and again
    log                      3 min   and again
    derivative               3 min   which slope do you start with?
    evaluate                10 min   a tree calls for recursion
    differentiate           10 min   there is no node for the cosine

Sources: Griewank and Walther 2008, "Evaluating Derivatives", chapters 1 and 3;
Press et al. 2007, "Numerical Recipes", section 5.7 (the step).

From scratch: numpy.gradient, scipy and sympy may not be used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def gradient(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """∇f, the ∂f/∂xᵢ at `x` (n,), by central differences with step `h`: (n,).  `x` is float64."""
    raise NotImplementedError


def directional_derivative(
    f: Callable[[np.ndarray], float], x: np.ndarray, v: np.ndarray, h: float = 1e-5
) -> float:
    """∇f · v at `x` (n,) along `v` (n,), of any length, by one central difference: two calls of f.

    The step is h·v: (f(x + h v) - f(x - h v)) / 2h.
    """
    raise NotImplementedError


def jacobian(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """The Jacobian ∂Fᵢ/∂xⱼ at `x` (n,) of an F with values (m,), by central differences: (m, n)."""
    raise NotImplementedError


def hessian(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-4) -> np.ndarray:
    """The Hessian ∂²f/∂xᵢ∂xⱼ at `x` (n,), by the lesson's four points with step `h`: (n, n)."""
    raise NotImplementedError


class Dual:
    """A dual number a + b ε; `value` is a and `slope` is b.

    - Sums, differences, products, quotients and negatives of Duals are Duals.
    - So are those of Duals and plain numbers (Python's, or numpy's scalars) in either order, and
      a Dual to the power of a plain number.
    - No operation changes a Dual: it makes a new one.
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

        Whole powers may be of a negative value too, and powers 0, 1, 2 … of the value 0: 0⁰ is 1,
        and the slope of any number's power 0 is 0.
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
    args  (number,) of "const", (name,) of "var", else the nodes it is made of, one or two
    """

    op: str
    args: tuple


def evaluate(expr: Expr, values: dict[str, float]) -> float:
    """The value of the formula, where each variable has the value that `values` gives it.

    Trees may be 150 nodes deep; no node stands in two places.
    Raises ValueError, naming it, for a variable that has none.
    """
    raise NotImplementedError


def differentiate(expr: Expr, name: str) -> Expr:
    """The tree of the derivative with respect to `name`; all other variables are constants.

    - Made of the same six kinds of nodes, so that it can be differentiated again.
    - It needn't be simplified, and is judged by its values.
    - Trees may be 150 nodes deep.
    """
    raise NotImplementedError
