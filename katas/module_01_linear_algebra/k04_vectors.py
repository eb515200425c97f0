"""Vectors

**Before you start.**  You need sums over numpy arrays, no other kata.  Is the dot product new to
you?  Read Strang 2016, "Introduction to Linear Algebra", chapter 1.

**The idea.**  A word, a picture and a user all become lists of numbers, and you want to compare
them.  See them as arrows.  How long are they?  Do two point the same way?  How much of one lies
along another?  Nearly all of it comes from the dot product.

**The formulas**, for vectors x and y of n numbers, the angle θ between them, u = x/|x| and
v = y/|y|:

    dot product   x·y = Σ xᵢ yᵢ = |x| |y| cos θ
    p-norm        ‖x‖ₚ = (Σ |xᵢ|ᵖ)^(1/p)      ‖x‖₁ = Σ |xᵢ|      ‖x‖∞ = max |xᵢ|
    projection    of x onto y: (x·v) v        what is left: x - (x·v) v
    angle         θ = 2 · atan2(|u - v|, |u + v|)

The dot product is 0 at right angles, positive at smaller ones, negative at larger.  A norm is a
length: for p = 2 the one that a ruler finds.  As p grows, the largest entry drowns the others.
Below p = 1 the triangle inequality ‖x + y‖ ≤ ‖x‖ + ‖y‖ fails, so that is no norm.

             x                                v ─────────── u + v
            ╱│                               ╱ ╲          . ╱
           ╱ │  what is left                ╱    ╲    .    ╱
          ╱  │                             ╱     . ╲      ╱
         ╱ θ │                            ╱  .       ╲   ╱
        0────┴───────▶ y                 0 ─────────── u
        └─┬──┘
        projection                       a rhombus and its diagonals

*Gram–Schmidt* makes independent columns orthonormal: at right angles to each other, and of length
1.  From each column take its projections onto those before it, then divide by the length of what is
left.  The classical form projects the column as it was given.  The modified form projects what the
steps before have left, so it removes their rounding errors, too.

**Why does `norm` need care?**  Squares overflow long before the length does: 1e200² is infinite.
Divide by the largest |xᵢ| first, and multiply by it at the end.

**Why not arccos for the angle?**  The cosine of 1e-8 is 1 - 5e-17, which rounds to 1, so arccos
gives 0.  The diagonals of the rhombus (Kahan's formula) keep their digits from 0 to π.

**Why the modified form?**  For the columns [1 δ 0 0], [1 0 δ 0] and [1 0 0 δ] with δ = 1e-8 the
classical form gives q₁·q₂ = 0.5, where 0 is right.  The modified one is off by about 1e-8.

**Worked by hand**, x = [3 4] and y = [4 3]:

    x·y = 24     ‖x‖₁ = 7    ‖x‖₂ = 5    ‖x‖₃ = ∛91 = 4.4979    ‖x‖∞ = 4
    cos θ = 24 / 25 = 0.96    θ = 0.2838    projection of x onto y = 24/25 y = [3.84 2.88]
    columns [3 4] and [5 5]:  q₀ = [0.6 0.8],  q₀·[5 5] = 7,
        left is [5 5] - 7 q₀ = [0.8 -0.6], of length 1: that is q₁

**Shapes**: vectors are arrays (n,) with n ≥ 1.  Compute in float64, whatever number type comes in.
No function changes its arguments.

**Steps.**

    dot                 5 min   small integers overflow
    norm               10 min   every p, without overflow
    cosine_similarity   5 min   bring both to length 1 first
    angle               5 min   the two diagonals
    projection          5 min   along a vector of length 1
    gram_schmidt       15 min   what is left, not what was given

Sources: Trefethen and Bau 1997, "Numerical Linear Algebra", lectures 2, 3 and 8;
Kahan 2006, "How Futile are Mindless Assessments of Roundoff in Floating-Point Computation?",
section 12.

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

    - 0 for a vector of zeros.
    - Neither overflows nor underflows where the answer is between 1e-200 and 1e200.

    Raises ValueError, naming p, if p < 1.
    """
    raise NotImplementedError


def cosine_similarity(x: np.ndarray, y: np.ndarray) -> float:
    """The cosine of the angle between `x` and `y`, never beyond ±1.

    How long they are doesn't matter, from 1e-200 to 1e200.

    - Raises ValueError, naming both lengths, if the numbers of entries differ.
    - Else raises ValueError, saying "zero", if either vector holds nothing but zeros.
    """
    raise NotImplementedError


def angle(x: np.ndarray, y: np.ndarray) -> float:
    """The angle between `x` and `y` in radians, from 0 to π.

    - Its error is below 1e-13, near 0 and near π too.
    - How long the vectors are doesn't matter, from 1e-200 to 1e200.

    Raises the errors of `cosine_similarity`.
    """
    raise NotImplementedError


def projection(x: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The part of `x` that points along `onto` (or against it): (n,), float64.

    - How long `onto` is doesn't matter, from 1e-200 to 1e200.
    - For an `x` of zeros it is zeros.

    - Raises ValueError, naming both lengths, if the numbers of entries differ.
    - Raises ValueError, saying "zero", if `onto` holds nothing but zeros.
    """
    raise NotImplementedError


def gram_schmidt(a: np.ndarray, tol: float = 1e-10) -> np.ndarray:
    """Orthonormal columns from the columns of `a` (n, k): float64 (n, k).

    - Column j is a combination of the columns 0 to j of `a`.
    - Its dot product with column j of `a` is positive: that fixes its sign.
    - qᵀq is the identity to within 1e-6, even for the three columns of the lesson.

    Raises ValueError, naming j, counted from 0, for the first column j that depends on those
    before it: what is left of it is at most `tol` times as long as the column was.  A column of
    zeros is such a one, and with k > n there always is one.
    """
    raise NotImplementedError
