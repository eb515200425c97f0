"""Least squares

With more equations than unknowns, A x = b has no solution as a rule.  Least
squares takes the x that makes the residual b - A x as short as possible.  At
that x the residual is at right angles to every column of A:

    Aᵀ(b - A x) = 0     that is     AᵀA x = Aᵀb,   the normal equations

Why not solve those?  The condition number κ(A) = σ_max / σ_min says how much a
relative error in the data can grow in x: about log₁₀ κ digits are lost.  AᵀA
has condition number κ(A)², so forming it loses twice as many.  In float64, with
16 digits, κ = 10⁸ leaves none; in float32, with 7, κ = 10⁴ does.  For

    A = [1 1; e 0; 0 e]     AᵀA = [1+e² 1; 1 1+e²]

and e² below the rounding unit, AᵀA is stored as [1 1; 1 1]: singular, although
the columns of A are independent.

QR keeps the digits.  A = Q R, with orthonormal columns in Q and an upper
triangular R, turns the problem into R x = Qᵀb, and κ(R) = κ(A).

How to get Q and R: mirrors.  Householder's reflection H = I - 2 v vᵀ, v of
length 1, mirrors space in the plane at right angles to v.  It is orthogonal, so
it loses nothing.  A mirror that takes the first column of A to a multiple of e₁
makes all the zeros below R₀₀ at once; then go on with the rows and columns from
1, and so forth.  To take x to -s‖x‖e₁, with s the sign of x₀, choose

    v = (x + s‖x‖e₁) / ‖x + s‖x‖e₁‖

The + adds two numbers of the same sign: with a - they would cancel, and v would
be rounding noise where x is nearly a multiple of e₁ already.

Worked by hand:

    A = [3 0; 4 5; 0 4]        x = [3 4 0], ‖x‖ = 5, v = [8 4 0]/√80 = [2 1 0]/√5
    H₀ = [-.6 -.8 0; -.8 .6 0; 0 0 1]     H₀A = [-5 -4; 0 3; 0 4]
    the second mirror takes [3 4] to [-5 0]:     R = [-5 -4; 0 -5], or, with all
    signs changed, so that its diagonal isn't negative, [5 4; 0 5]
    b = [19 2 23]:  x = [1 2],  residual b - A x = [16 -12 15], of length 25
    normal equations: [25 20; 20 41] x = [65 102], the same x

Shapes: a (m, n) with m ≥ n, b (m,) or (m, k) for k right-hand sides at once.

Number types: float32 input is computed in float32, and the answer is float32;
float64 and integers are computed in float64.  `a` and `b` share their type.
No function changes its arguments.  numpy.linalg.solve may be used (you write it
in linear_systems), and so may numpy.linalg.svd (you write it in svd_and_pca).

Sources: Householder 1958, "Unitary Triangularization of a Nonsymmetric Matrix";
Trefethen and Bau 1997, "Numerical Linear Algebra", lectures 10, 11, 18 and 19.

From scratch: numpy.linalg.qr, numpy.linalg.lstsq, numpy.linalg.pinv,
numpy.linalg.cond, numpy.polyfit and scipy may not be used.
"""

import numpy as np


def reflector(x: np.ndarray) -> np.ndarray:
    """The lesson's v, of the mirror that takes `x` (n,) to -s‖x‖e₁; shape (n,), length 1.

    s is 1 if x[0] ≥ 0, else -1; so v[0] has the sign of x[0], or is positive.
    If `x` is all zeros there is nothing to mirror: v is zeros too.
    """
    raise NotImplementedError


def qr(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q (m, n) with orthonormal columns and upper triangular R (n, n): a = Q R.

    Below its diagonal R holds exactly 0, not what rounding leaves of it.
    Q is orthonormal to rounding however dependent the columns of `a` are; a
    column may even be zeros or repeat another.  The diagonal of R isn't negative:
    where it would be, row k of R and column k of Q change their signs.

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

    Raises numpy.linalg.LinAlgError where aᵀa, as it is stored, is singular:
    in float64 for the lesson's A with e = 1e-9, in float32 with e = 1e-4.
    """
    raise NotImplementedError


def condition_number(a: np.ndarray) -> float:
    """κ(a): the largest singular value over the smallest; `a` (m, n), m < n too.

    inf, without a warning, if the smallest is exactly 0, and beyond 1e14, as
    rounding leaves it, if the columns (the rows, if m < n) are dependent.
    """
    raise NotImplementedError
