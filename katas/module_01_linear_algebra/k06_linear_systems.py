"""Linear systems

**Before you start.**  You need matrix products and triangular matrices, no other kata.  Is
elimination new to you?  Read Strang 2016, "Introduction to Linear Algebra", sections 2.2 and 2.6.

**The idea.**  Fitting a line, a step of Newton's method, a Gaussian process: all end in A x = b.
Elimination solves it.  Subtract multiples of one row from the rows below until A is upper
triangular.  Then read x off, last row first.  Keep the multipliers: they serve every further b.

**The formulas**, for A (n, n):

    P A = L U    U   upper triangular: what elimination leaves
                 L   unit lower triangular: the multipliers lᵢₖ
                 P   the order of the rows
    solving      L y = P b from the top, then U x = y from the bottom
    determinant  det A = ±∏ uₖₖ      minus if the order of the rows is an odd permutation
    Cholesky     A = L Lᵀ      for a symmetric positive definite A

One array is enough: where elimination makes a zero, keep the multiplier.  Halfway through:

    ┌───────────────────┐
    │ u   u   u   u   u │   rows of U: done
    │ l   u   u   u   u │
    │ l   l   p   r   r │   p: the pivot, the largest of its column from here on
    │ l   l   l   .   . │   l: a multiplier, the column's entry divided by p
    │ l   l   l   .   . │   from a dot take: its row's l times the r above
    └───────────────────┘

**Why pivot?**  Every multiplier divides by the pivot.  With a tiny pivot the multipliers are huge
and drown the other numbers in rounding.  Without a swap

    [1e-20 1; 1 1] x = [1, 2]       gives x = [0, 1], but x ≈ [1, 1] is right

*Partial pivoting* takes the largest entry, in absolute value, of the column at
or below the diagonal.  Then no multiplier exceeds 1, and in practice A x equals b up to rounding,
even for an ill-conditioned A.  The inverse times b promises no such thing.

**Why Cholesky?**  It needs half the work and no pivoting, and fails exactly where a leading block
isn't positive definite.

**Worked by hand**:

    A = [2 1 1; 4 3 3; 8 7 9]    pivot 8, multipliers 2/8 = ¼ and 4/8 = ½
        rows left: [1 1] - ¼[7 9] = [-¾ -5/4]   and   [3 3] - ½[7 9] = [-½ -3/2]
    pivot -¾, multiplier ⅔:  -3/2 - ⅔·(-5/4) = -⅔
    order = [2, 0, 1]   L = [1 0 0; ¼ 1 0; ½ ⅔ 1]   U = [8 7 9; 0 -¾ -5/4; 0 0 -⅔]
    det A = +8 · (-¾) · (-⅔) = 4, as [2, 0, 1] is an even permutation
    b = [3, 7, 13]:  P b = [13, 3, 7],  y = [13, -¼, ⅔],  x = [1, 2, -1]

**Shapes**, for n equations:

    a, l, u (n, n)      b and x (n,), or (n, m) for m right-hand sides at once

Arrays returned are float64, whatever number type comes in.  No function changes its arguments.
LinAlgError is numpy.linalg.LinAlgError.

**Steps.**  A good place to pause is after solve.

    lu                    20 min   swap whole rows, multipliers included
    forward_substitution   5 min   any diagonal, not only ones
    back_substitution      5 min   the same from below
    solve                 10 min   b in the order of the rows
    det                    5 min   the sign of a permutation
    inverse                3 min   many right-hand sides
    cholesky              15 min   column by column; where does it fail?

Sources: Trefethen and Bau 1997, "Numerical Linear Algebra", lectures 20 to 23;
Golub and Van Loan 2013, "Matrix Computations", sections 3.1 to 3.4 and 4.2.

From scratch: numpy.linalg.solve, numpy.linalg.inv, numpy.linalg.det,
numpy.linalg.slogdet, numpy.linalg.cholesky, numpy.linalg.pinv,
numpy.linalg.lstsq, numpy.linalg.tensorsolve, numpy.linalg.tensorinv and scipy
may not be used.
"""

import numpy as np


def lu(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factor `a` with partial pivoting; returns (order, l, u).

    - `order` (n,) holds integers: which row of `a` stands at each place, so a[order] is l @ u.
    - `l` has ones on its diagonal, zeros above it, and no entry beyond ±1.
    - `u` has zeros below its diagonal.
    - Between equal pivots either may be taken.
    - A singular `a` has factors too: where a column holds nothing but zeros at and below the
      diagonal, there is nothing to eliminate, and `u` has a 0 on its diagonal.

    Raises ValueError, naming both lengths, if `a` isn't square.
    """
    raise NotImplementedError


def forward_substitution(l: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The x with l x = b, for a lower triangular `l`; same shape as `b`.

    - The diagonal of `l` may hold any numbers.
    - What stands above it isn't read.

    Raises LinAlgError, saying "singular", if there is a 0 on the diagonal.
    """
    raise NotImplementedError


def back_substitution(u: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The x with u x = b, for an upper triangular `u`; same shape as `b`.

    - The diagonal of `u` may hold any numbers.
    - What stands below it isn't read.

    Raises LinAlgError, saying "singular", if there is a 0 on the diagonal.
    """
    raise NotImplementedError


def solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The x with a x = b, by `lu` and two substitutions; same shape as `b`.

    a @ x is b up to rounding, even where `a` is as ill-conditioned as Hilbert's matrix.

    - Raises ValueError, naming both lengths, if `a` isn't square.
    - Raises ValueError, naming the numbers of rows of `a` and `b`, if those differ.
    - Raises LinAlgError, saying "singular", if elimination meets a pivot of exactly 0; a tiny
      one is no error.
    """
    raise NotImplementedError


def det(a: np.ndarray) -> float:
    """The determinant of `a`; 0 if `a` is singular.

    Raises ValueError, naming both lengths, if `a` isn't square.
    """
    raise NotImplementedError


def inverse(a: np.ndarray) -> np.ndarray:
    """The inverse of `a`, (n, n).  Raises the errors of `solve`."""
    raise NotImplementedError


def cholesky(a: np.ndarray) -> np.ndarray:
    """The lower triangular L with L Lᵀ = a and a positive diagonal.

    `a` is symmetric; that isn't checked.

    - Raises ValueError, naming both lengths, if `a` isn't square.
    - Raises LinAlgError if `a` isn't positive definite, naming the first k, from 1, for which
      the upper left k by k block isn't: where the square of Lₖₖ would come out as 0 or less.
    """
    raise NotImplementedError
