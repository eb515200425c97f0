"""Matrices

**Before you start.**  You need sums and outer products in numpy, no other kata.  Is the product of
matrices new to you?  Read Strang 2016, "Introduction to Linear Algebra", sections 2.4 and 2.5.

**The idea.**  A neural network spends nearly all its time in products of matrices.  Write the
product in three ways, cut it into blocks, and save multiplications.

**The formulas**, for A (n, k) and B (k, m); Aᵢ is a row, A₍ₗ₎ a column, Aᵢₗ an entry:

    rows      (AB)ᵢ = ∑ₗ Aᵢₗ Bₗ         a row is a mix of B's rows
    columns   (AB)₍ⱼ₎ = ∑ₗ A₍ₗ₎ Bₗⱼ     a column is a mix of A's columns
    outer     AB = ∑ₗ A₍ₗ₎ Bₗ           column l times row l: a sum of k matrices

         rows                    columns                   outer products
    [ 2  5 ] [ ───── ]      [ │  │ ] [ 2  . ]         [ │  . ] [ ───── ]
    [ .  . ] [ ───── ]      [ │  │ ] [ 5  . ]         [ │  . ] [ . . . ]
    2 of one row and        2 of one column and       one column times one row,
    5 of the other          5 of the other            then the next pair

All three multiply n·k·m times.  Fast programs cut both matrices into blocks that fit into the
cache, and multiply these like numbers:

    blocks    C[I, J] += A[I, L] B[L, J]       over all blocks I, J, L

           A                  B                C
      ┌───┬───┬─┐         ┌───┬──┐         ┌───┬──┐
      │   │   │ │         │   │ d│         │   │  │
      ├───┼───┼─┤    ×    ├───┼──┤    ▶    ├───┼──┤
      │ a │ b │c│         │   │ e│         │   │ *│    * is ad + be + cf
      └───┴───┴─┘         ├───┼──┤         └───┴──┘
                          │   │ f│
                          └───┴──┘

The savings:

    trace     tr(AB) = ∑ᵢⱼ Aᵢⱼ Bⱼᵢ      the sum of AB's diagonal, without AB
    rank 1    (A + u vᵀ)⁻¹ = A⁻¹ - (A⁻¹u)(vᵀA⁻¹) / (1 + vᵀA⁻¹u)
    chain     cost(i, j) = min over s of cost(i, s) + cost(s+1, j) + dᵢ dₛ₊₁ dⱼ₊₁

- *Rank 1* (Sherman and Morrison): A changes by a matrix of rank 1, and so does its inverse.  This
  costs n² steps, a new inverse n³.  If the divisor is 0, A + u vᵀ has no inverse.
- *Chain*: matrix i has dᵢ rows and dᵢ₊₁ columns.  Brackets change a product's cost, not the result.
  The cheapest way for i … j splits the chain at some s, and does both parts as cheaply as possible;
  cost(i, i) = 0.

**Why a table for the chain?**  Plain recursion computes every part many times.  Fill a table from
short chains to long ones, and each is computed once.

**Worked by hand**:

    [1 2; 3 4] [5 6; 7 8]   row 0: 1·[5 6] + 2·[7 8] = [19 22]
        outer: [1; 3][5 6] + [2; 4][7 8] = [5 6; 15 18] + [14 16; 28 32] = [19 22; 43 50]
    tr = 69 = 1·5 + 2·7 + 3·6 + 4·8
    A = 2·I, u = [1 0], v = [3 1]: A⁻¹u = [½ 0], vᵀA⁻¹ = [3/2 ½], divisor 1 + 3/2 = 5/2
        A⁻¹ - [½ 0]ᵀ[3/2 ½] / (5/2) = [½ - 3/10, -1/10; 0, ½] = [0.2 -0.1; 0 0.5]
    chain of 10×100, 100×5, 5×50: first two first 5000 + 2500 = 7500, else 25000 + 50000

**Shapes**: each function says its own; no length is 0.  All matrices are float64.  No function
changes its arguments.

**Steps.**  A good place to pause is after trace_of_product.

    matmul_by_rows             5 min   one row of the product at a time
    matmul_by_columns          5 min   and one column
    matmul_by_outer_products   5 min   add up k matrices
    multiply_blocks            3 min   any of the three
    matmul_by_blocks          10 min   add to a block, don't overwrite it
    trace_of_product           3 min   only n·m products
    update_inverse            10 min   which is the column, which the row?
    chain_cost                15 min   the table
    chain_order               10 min   keep the text beside the cost

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


def multiply_blocks(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of two blocks that fit, by any of the three above; no check is needed."""
    raise NotImplementedError


def matmul_by_blocks(a: np.ndarray, b: np.ndarray, size: int) -> np.ndarray:
    """`a` (n, k) times `b` (k, m): (n, m), from blocks of at most `size` ≥ 1 rows and columns.

    - Blocks at the ends are smaller where `size` doesn't divide a length.
    - Every A[I, L] B[L, J] of the lesson is made by a call of `multiply_blocks`: one for each
      triple (I, J, L), none besides.  The tests count them.

    Errors as above.
    """
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

    - An exact whole number, however large.  0 for a single matrix.
    - Chains of 26 matrices are no trouble.

    Raises ValueError, naming the number of dims, if there are fewer than two.
    """
    raise NotImplementedError


def chain_order(dims: list[int]) -> str:
    """The cheapest way to bracket the chain, as in "((AB)C)": A is the first of at most 26.

    - Every product has its brackets, the outermost too; a single matrix has none.
    - Of several cheapest ways any will do.

    Errors as in `chain_cost`.
    """
    raise NotImplementedError
