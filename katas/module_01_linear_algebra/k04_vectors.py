"""Vectors

A vector is a list of numbers seen as an arrow.  Nearly all that is done with
arrows comes from one operation, the dot product:

    x·y = Σ xᵢ yᵢ = |x| |y| cos θ

It is positive where the two point the same way, 0 where they stand at right
angles, negative where they point against each other.

A norm says how long an arrow is.  There is one for every p ≥ 1:

    ‖x‖ₚ = (Σ |xᵢ|ᵖ)^(1/p)      ‖x‖₁ = Σ |xᵢ|      ‖x‖∞ = max |xᵢ|

p = 2 is the length that a ruler finds.  As p grows the largest entry drowns the
others, and for p = ∞ nothing else is left.  Below 1 the triangle inequality
‖x + y‖ ≤ ‖x‖ + ‖y‖ fails, so it is no norm.  Squares overflow long before the
length does: 1e200² is infinite.  Divide by the largest |xᵢ| first, and multiply
by it in the end.

The angle has a trap too.  The cosine of 1e-8 is 1 - 5e-17, which rounds to 1, so
arccos finds no angle at all.  With u and v of length 1 (Kahan's formula),

    θ = 2 · atan2(|u - v|, |u + v|)

keeps its digits from 0 to π.  u and v span a rhombus; these are its diagonals.

The projection of x onto y is the part of x along y: (x·u) u with u = y / |y|.
What is left, x - (x·u) u, is at right angles to y.  Gram and Schmidt make any
independent columns orthonormal that way: from each column take its projections
onto those before it, then divide by the length of what is left.  The classical
form projects the column as it was given.  The modified form projects what the
steps before have left of it, which takes their rounding errors away as well:
for the columns [1 δ 0 0], [1 0 δ 0] and [1 0 0 δ] with δ = 1e-8 the classical
form gives q₂·q₃ = 0.5, the modified one about 1e-8.

Worked by hand, x = [3 4] and y = [4 3]:

    x·y = 24     ‖x‖₁ = 7    ‖x‖₂ = 5    ‖x‖₃ = ∛91 = 4.4979    ‖x‖∞ = 4
    cos θ = 24 / 25 = 0.96    θ = 0.2838    projection of x onto y = 24/25 y = [3.84 2.88]
    columns [3 4] and [5 5]:  q₁ = [0.6 0.8],  q₁·[5 5] = 7,
        left is [5 5] - 7 q₁ = [0.8 -0.6], of length 1: that is q₂

Vectors are arrays of shape (n,) with n ≥ 1.  All is computed in float64, whatever
number type comes in.  No function changes its arguments.

Sources: Trefethen and Bau 1997, "Numerical Linear Algebra", lectures 2, 3 and 8;
Kahan 2006, "How Futile are Mindless Assessments of Roundoff", section 12.

From scratch: scipy, numpy.linalg, numpy.dot, numpy.vdot, numpy.inner,
numpy.vecdot, numpy.matmul, numpy.einsum, numpy.tensordot, the method .dot and
the operator @ may not be used.
"""

import numpy as np


def dot(x: np.ndarray, y: np.ndarray) -> float:
    """The dot product of `x` and `y`, both (n,).

    Raises ValueError, naming both lengths, if they differ.
    """
    raise NotImplementedError


def norm(x: np.ndarray, p: float = 2.0) -> float:
    """The p-norm of `x`, for any p ≥ 1 and for p = ∞ (math.inf, numpy.inf).

    0 for a vector of zeros.  Neither overflows nor underflows where the answer
    is between 1e-200 and 1e200.
    Raises ValueError, naming p, if p < 1.
    """
    raise NotImplementedError


def cosine_similarity(x: np.ndarray, y: np.ndarray) -> float:
    """The cosine of the angle between `x` and `y`, never beyond ±1.

    How long they are doesn't matter, from 1e-200 to 1e200.
    Raises ValueError, naming both lengths, if the numbers of entries differ;
    ValueError, saying "zero", if either vector holds nothing but zeros.
    """
    raise NotImplementedError


def angle(x: np.ndarray, y: np.ndarray) -> float:
    """The angle between `x` and `y` in radians, from 0 to π.

    Its error is below 1e-13, near 0 and near π too.  How long the vectors are
    doesn't matter, from 1e-200 to 1e200.
    Raises the errors of `cosine_similarity`.
    """
    raise NotImplementedError


def projection(x: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The part of `x` that points along `onto` (or against it): (n,), float64.

    How long `onto` is doesn't matter, from 1e-200 to 1e200.
    Raises ValueError, naming both lengths, if the numbers of entries differ;
    ValueError, saying "zero", if `onto` holds nothing but zeros.  For an `x` of
    zeros the projection is zeros.
    """
    raise NotImplementedError


def gram_schmidt(a: np.ndarray, tol: float = 1e-10) -> np.ndarray:
    """Orthonormal columns from the columns of `a` (n, k): float64 (n, k).

    Column j is a combination of the columns 0 to j of `a`, and its dot product
    with column j of `a` is positive: that fixes its sign.  qᵀq is the identity
    to within 1e-6 even for the three columns of the lesson.

    Raises ValueError, naming j, counted from 0, for the first column j that
    depends on those before it: what is left of it is at most `tol` times as long
    as the column was.  A column of zeros is such a one, and with k > n there always is one.
    """
    raise NotImplementedError
