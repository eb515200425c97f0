"""Matrices

The product of two matrices is one thing that can be seen in three ways.  With
A (n, k) and B (k, m):

    rows      row i of AB is a mix of B's rows:      (AB)ᵢ = ∑ₗ Aᵢₗ Bₗ
    columns   column j of AB is a mix of A's columns: (AB)₍ⱼ₎ = ∑ₗ A₍ₗ₎ Bₗⱼ
    outer     AB is a sum of k matrices of rank 1:    AB = ∑ₗ A₍ₗ₎ Bₗ        column l times row l

All three multiply n·k·m times; they differ in what they walk along in memory.
The fastest programs cut both matrices into blocks that fit into the cache, and
multiply block by block, as if the blocks were numbers:

    C[I, J] += A[I, L] B[L, J]       over all blocks I, J, L

A chain of products gives the same matrix however it is bracketed, but not at
the same cost.  With Aᵢ of dᵢ rows and dᵢ₊₁ columns, the cheapest way to do
i … j splits it at some s, and both halves are done as cheaply as can be:

    cost(i, j) = min over s of cost(i, s) + cost(s+1, j) + dᵢ dₛ₊₁ dⱼ₊₁

Every half is asked for many times, so the table is filled from short chains to
long ones.

Changing A by u vᵀ, a matrix of rank 1, changes its inverse by one, too, and
that costs n² steps where a new inverse costs n³ (Sherman and Morrison):

    (A + u vᵀ)⁻¹ = A⁻¹ - (A⁻¹u)(vᵀA⁻¹) / (1 + vᵀA⁻¹u)

If the divisor is 0, A + u vᵀ has no inverse.

The trace is the sum of the diagonal.  tr(AB) = tr(BA) = ∑ᵢⱼ Aᵢⱼ Bⱼᵢ needs
the diagonal of the product only: n·m products, and no product of matrices.

Worked by hand:

    [1 2; 3 4] [5 6; 7 8]   row 1 = 1·[5 6] + 2·[7 8] = [19 22]
        outer: [1; 3][5 6] + [2; 4][7 8] = [5 6; 15 18] + [14 16; 28 32] = [19 22; 43 50]
    tr = 69 = 1·5 + 2·7 + 3·6 + 4·8
    A = 2·I, u = [1 0], v = [3 1]: A⁻¹u = [½ 0], vᵀA⁻¹ = [3/2 ½], divisor 1 + 3/2 = 5/2
        A⁻¹ - [½ 0]ᵀ[3/2 ½] / (5/2) = [½ - 3/10, -1/10; 0, ½] = [0.2 -0.1; 0 0.5]
    chain of 10×100, 100×5, 5×50: first two first 5000 + 2500 = 7500, else 25000 + 50000

All matrices are float64.  No function changes its arguments.

Sources: Golub and Van Loan 2013, "Matrix Computations", sections 1.1 and 2.1;
Sherman and Morrison 1950; Cormen et al. 2009, "Introduction to Algorithms",
section 15.2 (chains).

From scratch: the operator @, the method .dot, numpy.matmul, numpy.dot,
numpy.einsum, numpy.tensordot, numpy.inner, numpy.vdot, numpy.vecdot,
numpy.matvec, numpy.vecmat, numpy.trace, numpy.linalg.matmul,
numpy.linalg.tensordot, numpy.linalg.vecdot, numpy.linalg.multi_dot,
numpy.linalg.trace, numpy.linalg.inv, numpy.linalg.solve, numpy.linalg.pinv,
numpy.linalg.lstsq, numpy.linalg.tensorinv, numpy.linalg.tensorsolve and scipy
may not be used.  numpy.outer, sums and numpy.linalg.LinAlgError may.
"""

import numpy as np


def matmul_by_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a` (n, k) times `b` (k, m): (n, m), each row as a mix of b's rows.

    Raises ValueError, naming both shapes, if a's columns aren't as many as b's
    rows.  So do all functions here whose names begin with matmul.
    """
    raise NotImplementedError


def matmul_by_columns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a` (n, k) times `b` (k, m): (n, m), each column as a mix of a's columns; errors as above."""
    raise NotImplementedError


def matmul_by_outer_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a` (n, k) times `b` (k, m): (n, m), as a sum of k outer products; errors as above."""
    raise NotImplementedError


def matmul_by_blocks(a: np.ndarray, b: np.ndarray, size: int) -> np.ndarray:
    """`a` (n, k) times `b` (k, m): (n, m), from blocks of at most `size` rows and columns; errors as above.

    Blocks at the ends are smaller where `size` doesn't divide a length.  Every
    A[I, L] B[L, J] of the lesson is made by a call of `multiply_blocks` below: one
    for each triple (I, J, L), none besides.
    """
    raise NotImplementedError


def multiply_blocks(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of two blocks that fit: the same as any of the three above, without a check."""
    raise NotImplementedError


def trace_of_product(a: np.ndarray, b: np.ndarray) -> float:
    """tr(AB) for `a` (n, m) and `b` (m, n), from n·m products: AB itself, (n, n), is never made.

    Raises ValueError, naming both shapes, if b's shape isn't a's in reverse.
    """
    raise NotImplementedError


def update_inverse(inverse: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(A + u vᵀ)⁻¹, (n, n), from `inverse` = A⁻¹ (n, n), `u` and `v` (n,).

    Raises numpy's LinAlgError (np.linalg.LinAlgError, which may be used) if |1 + vᵀA⁻¹u| < 1e-12.
    """
    raise NotImplementedError


def chain_cost(dims: list[int]) -> int:
    """The fewest multiplications for a product of matrices dims[0]×dims[1], dims[1]×dims[2], …

    0 for a single matrix.  Raises ValueError, naming the number of dims, if there are fewer than two.
    """
    raise NotImplementedError


def chain_order(dims: list[int]) -> str:
    """The cheapest way to bracket the chain, as in "((AB)C)": A is the first matrix, at most 26.

    Every product has its brackets, the outermost too; a single matrix has none.
    Of several cheapest ways any will do.  Errors as in `chain_cost`.
    """
    raise NotImplementedError
