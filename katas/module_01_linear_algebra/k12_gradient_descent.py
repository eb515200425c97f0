"""Gradient descent

**Before you start.**  You need gradients, Hessians and eigenvalues.  Use numpy.linalg.solve, or
yours (until it is green, the import gives a finished one):

    from .k06_linear_systems import solve

Is optimisation new to you?  Read Boyd and Vandenberghe (below), sections 9.1 to 9.3, free at
stanford.edu/~boyd/cvxbook.

**The idea.**  Training makes a loss f small: go a little way against the gradient, again and again.

**The formulas**, for a point x, a learning rate η, a direction p, and the Hessian H:

    descent       xₖ₊₁ = xₖ - η ∇f(xₖ)
    momentum      vₖ₊₁ = m vₖ - η ∇f(xₖ)      xₖ₊₁ = xₖ + vₖ₊₁      v₀ = 0
    Armijo        f(x + t p) ≤ f(x) + c t ∇f(x)·p
    Newton        xₖ₊₁ = xₖ - H(xₖ)⁻¹ ∇f(xₖ)
    projected     xₖ₊₁ = P(xₖ - η ∇f(xₖ))      P goes to the nearest allowed point
    convex        f((x + y)/2) ≤ (f(x) + f(y))/2      for all x and y

- *Momentum* gives the point a velocity.  Gradients back and forth across a valley cancel; those
  along it add up.
- *Backtracking* shrinks a long step until f falls by a share c of what the slope promises (Armijo).
- *Newton's method* jumps to the lowest point of the bowl that fits f at x.
- *With equations* A x = b, the gradient at the minimum is a combination of A's rows, with
  Lagrange's multipliers λ.  For f = ½ xᵀQ x + cᵀx this is linear:

      Q x + c + Aᵀλ = 0,   A x = b,   that is   [Q Aᵀ; A 0] [x; λ] = [-c; b]

Two steps of descent on ½(x² + 4y²) with η = 0.4:

      1 ┤   y                              ● start
        │                                ╱
        │                              ╱
        │  2 steps     ●             ╱
      0 ┼────────────────╲─────────╱─────────────▶ x
        │                  ╲     ╱
        │                     ●  1 step

**Why is a narrow valley slow?**  Near its minimum a function is a bowl, ½ xᵀQ x.  Along an
eigenvector of Q with eigenvalue λ, a step multiplies the error by 1 - ηλ.  For eigenvalues from μ
to L the best η, 2/(μ + L), leaves (κ - 1)/(κ + 1) of it, with κ = L/μ; η > 2/L diverges.  At best,
momentum turns κ into √κ.

**Why convex?**  Then no point is lower than one where the gradient is 0.

**Worked by hand**:

    f = ½(x² + 4y²), start [4 1], η = 0.4 = 2/(1+4):   [2.4 -.6], [1.44 .36]   factor 0.6
    with momentum ½:   [2.4 -.6], then v = ½[-1.6 -1.6] - 0.4[2.4 -2.4]:   [.64 -.44]
    f = x² at 1, p = -2:  t = 1 gives f = 1, no gain; t = ½ gives 0
    f = x⁴/4, Newton from 1:  x - x³/3x² = ⅔x:   1, ⅔, 4/9
    x² + 2y² with x + y = 3:  x = [2 1], λ = -4

**Shapes**: x (d,), paths (steps + 1, d).  Points are float64; integers are fine as input.  `f`,
`gradient` and `hessian` take a point (d,) and give a float, (d,) and (d, d).  No function changes
its arguments.

**Steps.**  A good place to pause is after newton.

    gradient_descent       10 min   a new array each step
    backtracking           10 min   what if f is NaN out there?
    newton                 10 min   when does it end?
    project_ball            5 min   a point inside stays
    projected_gradient      5 min   the start is projected, too
    constrained_quadratic  10 min   one linear system
    convexity_violation     5 min   all pairs

Sources: Boyd and Vandenberghe 2004, "Convex Optimization", chapters 3, 9 and 10; Polyak 1964, "Some
Methods of Speeding up the Convergence of Iteration Methods"; Armijo 1966, "Minimization of
Functions Having Lipschitz Continuous First Partial Derivatives".

From scratch: scipy may not be used.
"""

from collections.abc import Callable

import numpy as np


def gradient_descent(
    gradient: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    rate: float,
    steps: int,
    momentum: float = 0.0,
) -> np.ndarray:
    """The path of `steps` ≥ 0 steps from `start`: (steps + 1, d), row 0 is `start`.

    With `momentum` m as in the lesson (Polyak's): the gradient enters whole, and is taken at xₖ.
    """
    raise NotImplementedError


def backtracking(
    f: Callable[[np.ndarray], float],
    x: np.ndarray,
    gradient: np.ndarray,
    direction: np.ndarray,
    step: float = 1.0,
    shrink: float = 0.5,
    share: float = 1e-4,
) -> float:
    """The first t of step, step·shrink, step·shrink², … that fulfils Armijo's condition.

    - `gradient` (d,) is that of f at `x`, `direction` (d,) is p, `share` is c.
    - Where f(x + t p) is NaN or inf the condition isn't fulfilled: t is too long.
    - You need no limit of tries: f falls along p, so a small t will do.

    Raises ValueError, saying "descent", if `direction` doesn't lead down: ∇f(x)·p ≥ 0.
    """
    raise NotImplementedError


def newton(
    gradient: Callable[[np.ndarray], np.ndarray],
    hessian: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    tol: float = 1e-10,
    max_steps: int = 50,
) -> np.ndarray:
    """The path of Newton's method, (number of steps + 1, d), row 0 is `start`.

    It ends at the first point where ‖gradient‖ ≤ tol, which may be `start`, or after `max_steps`
    steps.  Raises numpy.linalg.LinAlgError where it meets a Hessian that is exactly singular.
    """
    raise NotImplementedError


def project_ball(x: np.ndarray, radius: float) -> np.ndarray:
    """The point nearest to `x` (d,) in the ball ‖x‖ ≤ radius around 0; radius ≥ 0."""
    raise NotImplementedError


def projected_gradient(
    gradient: Callable[[np.ndarray], np.ndarray],
    project: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    rate: float,
    steps: int,
) -> np.ndarray:
    """The path of `steps` projected steps: (steps + 1, d), row 0 is project(start).

    - Every row is a point that `project` gave.
    - The gradient is only asked for at such points: elsewhere it may not exist.
    """
    raise NotImplementedError


def constrained_quadratic(
    q: np.ndarray, c: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The x (d,) with a x = b where ½ xᵀq x + cᵀx is smallest, and the multipliers λ (m,).

    - `q` (d, d) is symmetric and positive definite, `c` (d,), `a` (m, d), `b` (m,).
    - The sign of λ is the lesson's: q x + c + aᵀλ = 0.  So the lowest value grows by -λᵢ for
      each unit that bᵢ grows.

    Raises numpy.linalg.LinAlgError if the rows of `a` are dependent, as far as that leaves the
    lesson's system exactly singular: a row of zeros does.
    """
    raise NotImplementedError


def convexity_violation(f: Callable[[np.ndarray], float], points: np.ndarray) -> float:
    """The largest f((x + y)/2) - (f(x) + f(y))/2 over all pairs of rows of `points` (n, d), n ≥ 2.

    - A pair is two different rows: no row is paired with itself.
    - A convex f never gives more than 0 (and rounding); what is above 0 proves that f isn't convex.
    """
    raise NotImplementedError
