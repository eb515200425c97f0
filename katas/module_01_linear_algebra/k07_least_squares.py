"""Least squares

**Before you start.**  You need matrix products, orthogonal matrices, and linear systems.  Use
numpy.linalg.solve and numpy.linalg.svd, or your own solve (until it is green, the import gives
a finished one):

    from .k06_linear_systems import solve

Are projections new to you?  Read Strang 2016, "Introduction to Linear Algebra", chapter 4.

**The idea.**  With twenty measurements and two unknowns, A x = b usually has no solution.  Least
squares makes the residual b - A x as short as possible.  Then it is at right angles to every column
of A:

              b
             ╱│
            ╱ │  the residual, b - A x
           ╱  │
          0───┴─────────   all that the columns of A can reach
             A x

**The formulas**, for A (m, n) with m ≥ n, and singular values σ:

    normal equations   Aᵀ(b - A x) = 0, that is AᵀA x = Aᵀb
    condition number   κ(A) = σ_max / σ_min
    by QR              A = Q R with QᵀQ = I, R upper triangular; then R x = Qᵀb
    mirror             H = I - 2 v vᵀ, with v of length 1
    its v              v = (x + s‖x‖e₁) / ‖x + s‖x‖e₁‖        s the sign of x₀, e₁ = [1 0 … 0]

Householder's mirrors give Q and R.  H mirrors space in the plane at right angles to v.  It is
orthogonal, so it keeps all lengths.  With the v above it takes x to -s‖x‖e₁: all entries but the
first become 0.  So one mirror clears a column below the diagonal.  Go on with the rows and columns
from 1, and so forth.  R is what the mirrors leave.  Q is the first n columns of H₀ H₁ H₂ …:

    ┌ x x x ┐         ┌ * * * ┐         ┌ * * * ┐         ┌ * * * ┐
    │ x x x │   H₀    │ 0 x x │   H₁    │ 0 * * │   H₂    │ 0 * * │
    │ x x x │  ───▶   │ 0 x x │  ───▶   │ 0 0 x │  ───▶   │ 0 0 * │
    └ x x x ┘         └ 0 x x ┘         └ 0 0 x ┘         └ 0 0 0 ┘
        a             * is done: it belongs to R

**Why not solve the normal equations?**  You lose about log₁₀ κ digits in x.  AᵀA has condition
number κ², so it loses twice as many: κ = 10⁸ leaves none of float64's 16.  For

    A = [1 1; e 0; 0 e]     AᵀA = [1+e² 1; 1 1+e²]

and a tiny e, AᵀA is stored as [1 1; 1 1].  That is singular, though the columns of A are
independent.  R keeps the digits: κ(R) = κ(A).

**Why the plus in x + s‖x‖e₁?**  It adds two numbers of the same sign.  With a minus they could
cancel, and v would be rounding noise.

**Worked by hand**:

    A = [3 0; 4 5; 0 4]        x = [3 4 0], ‖x‖ = 5, v = [8 4 0]/√80 = [2 1 0]/√5
    H₀ = [-.6 -.8 0; -.8 .6 0; 0 0 1]     H₀A = [-5 -4; 0 3; 0 4]
    the second mirror takes [3 4] to [-5 0]:     R = [-5 -4; 0 -5], or, with all
    signs changed, so that its diagonal isn't negative, [5 4; 0 5]
    b = [19 2 23]:  x = [1 2],  residual b - A x = [16 -12 15], of length 25
    normal equations: [25 20; 20 41] x = [65 102], the same x

**Shapes**: a (m, n) with m ≥ n, b (m,) or (m, k) for k right-hand sides at once.

- `a` and `b` share their type.  Compute float32 in float32 and return float32.  Compute float64 and
  integers in float64.
- The scales promised below are for float64.  In float32, expect 1e-15 to 1e15.
- No function changes its arguments.

**Steps.**

    reflector          5 min   the sign where x₀ is 0, and an x of zeros
    qr                25 min   the hard one: mirror all columns to the right, too
    lstsq              5 min   one triangular system
    normal_equations   3 min   one line
    condition_number   5 min   what if σ_min is 0?

Sources: Householder 1958, "Unitary Triangularization of a Nonsymmetric Matrix";
Trefethen and Bau 1997, "Numerical Linear Algebra", lectures 10, 11, 18 and 19.

From scratch: numpy.linalg.qr, numpy.linalg.lstsq, numpy.linalg.pinv,
numpy.linalg.cond, numpy.polyfit and scipy may not be used.
"""

import numpy as np


def reflector(x: np.ndarray) -> np.ndarray:
    """The lesson's v, of the mirror that takes `x` (n,) to -s‖x‖e₁; shape (n,), length 1.

    - s is 1 if x[0] ≥ 0, else -1; so v[0] has the sign of x[0], or is positive.
    - If `x` is all zeros there is nothing to mirror: v is zeros too.
    - Lengths from 1e-150 to 1e150 are fine.
    """
    raise NotImplementedError


def qr(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q (m, n) with orthonormal columns and upper triangular R (n, n): a = Q R.

    - Below its diagonal R holds exactly 0, not what rounding leaves of it.
    - The diagonal of R isn't negative: where it would be, row k of R and column k of Q change
      their signs.
    - Q is orthonormal to rounding however dependent the columns of `a` are; a column may even be
      zeros or repeat another.
    - The scale of `a`, from 1e-140 to 1e140, doesn't matter where its columns are independent.

    Raises ValueError, naming m and n, if m < n.
    """
    raise NotImplementedError


def lstsq(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The x that minimises ‖b - a x‖, by QR; (n,) or (n, k), as `b` is.

    The columns of `a` are independent; that isn't checked.
    Raises ValueError, naming m and n, if m < n.
    """
    raise NotImplementedError


def normal_equations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The same x from aᵀa x = aᵀb, with all its faults; (n,) or (n, k), as `b` is.

    Raises numpy.linalg.LinAlgError where aᵀa, as it is stored in the input's type, is singular:
    in float64 for the lesson's A with e = 1e-9, in float32 with e = 1e-4.
    """
    raise NotImplementedError


def condition_number(a: np.ndarray) -> float:
    """κ(a): the largest singular value over the smallest; `a` (m, n), m < n too.

    - inf, without a warning, if the smallest is exactly 0, also for a matrix of zeros.
    - The scale of `a`, from 1e-100 to 1e100, doesn't matter.
    - Above 1e14, where rounding leaves it, if the columns (the rows, if m < n) are dependent; for a
      float32 `a`, which has fewer digits, above 1e6.
    """
    raise NotImplementedError
