"""Matrix multiplication in Triton: tiles, a fused end, and the order of the programs

**Before you start.**  You need kernels, blocks and masks as in triton_basics (import nothing), and
the strides of tensors.  Triton's tutorial on matrix multiplication shows a similar kernel; the
rules below differ from it.

**The idea.**  A matrix product is fast only if each number is used often once it has been read.  A
program that computes one entry of C = A B reads a row and a column: 2k numbers for 2k operations.
A program that computes a tile of bm × bn entries walks along k in steps of bk.  It uses each number
of A bn times and each of B bm times:

                              B (k, n)
                          ┌────┬────┬────┐
                          │    │ k₀ │    │
                          │    │ ▼  │    │   bk rows per step
      A (m, k)            └────┴────┴────┘
    ┌─────────────┐       ┌────┬────┬────┐
    │             │       │    │    │    │
    ├─────────────┤       ├────┼────┼────┤
    │ k₀ ▶        │       │    │ ●  │    │   one program's tile of C
    ├─────────────┤       ├────┼────┼────┤
    │             │       │    │    │    │
    └─────────────┘       └────┴────┴────┘
      bk columns per step

**The formula.**

    acc = 0                                      # (bm, bn), float32
    for k₀ in 0, bk, 2 bk, …:
        acc += A[rows, k₀ : k₀ + bk] · B[k₀ : k₀ + bk, columns]      # tl.dot

    numbers read = ⌈n/bn⌉ m k + ⌈m/bm⌉ k n       in place of 2 m n k

tl.dot uses the tensor cores: float16 in, float32 accumulated.

    acc = tl.dot(a, b, acc, input_precision="ieee")

"ieee" keeps float32 inputs whole; by default a GPU may cut them to TF32's 10 bits.  A column of row
numbers plus a row of column numbers, each times its stride, is a tile of pointers.  So a transposed
matrix needs no copy:

    a_at = a + row[:, None] * a_stride_m + inner[None, :] * a_stride_k

m, n and k needn't be multiples of anything.  Mask what sticks out, and along k load it as 0.

**Why a fused end?**  Apply bias and GELU (tl.erf) to acc while it is in registers, before it is
rounded.  Kernels of their own would read and write C twice more.

**Why does the order of the programs matter?**  Programs that run at one time share a cache.  Row
after row, w programs need one row of tiles of A and w columns of B.  In groups of g rows, taken
column by column, they need g rows and about w/g columns.  With 3 × 3 tiles and groups of 2:

                  column 0   1   2
              ┌────────────────────┐
    program   │        0   2   4   │   2 rows: down, then the next column
              │        1   3   5   │
              ├────────────────────┤
              │        6   7   8   │   the last group has one row
              └────────────────────┘

**Worked by hand**: [[1, 2], [3, 4], [5, 6]] · [[1, 0], [1, 1]] = [[3, 2], [7, 4], [11, 6]].  With
tiles of 16 that is one program.  Of its 16 × 16 places the masks leave 3 × 2, and along k two of
16.  For m = n = k = 4096 with tiles of 128, the programs read 2 · 32 · 4096² = 1.07 · 10⁹ numbers;
entry by entry they'd read 1.4 · 10¹¹.

**Shapes**: a (m, k), b (k, n), bias (n,), the result (m, n).  Without a GPU, the kernel runs in
Triton's interpreter, and every address is checked.  No function changes its arguments.

**Steps.**

    tile_of   12 min   the last group may be lower
    matmul    45 min   first the product alone; pause; then groups, bias and GELU

Sources: Tillet, Kung & Cox 2019, "Triton: an intermediate language and compiler for tiled neural
network computations"; Triton's documentation, the tutorial on matrix multiplication.

From scratch: the product, the bias and GELU are computed in one kernel of yours; the operator @,
torch.matmul, torch.mm, torch.addmm, torch.bmm, torch.einsum, torch.tensordot,
torch.nn.functional.linear, torch.nn.functional.gelu, torch.nn.GELU, torch.erf, torch.special,
torch.Tensor.matmul, torch.Tensor.mm, torch.Tensor.erf and torch.Tensor.contiguous may not be used.
"""

from torch import Tensor


def tile_of(program: int, rows: int, columns: int, group: int) -> tuple[int, int]:
    """The row and the column, counted in tiles, of the tile that a program computes.

    program  0 … rows · columns − 1
    rows     tiles from top to bottom of C, `columns` from left to right
    group    rows per group; the last group has what is left over

    Within a group the programs go down a column, then on to the next column.
    """
    raise NotImplementedError


def matmul(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    gelu: bool = False,
    tile: tuple[int, int, int] = (64, 64, 32),
    group: int = 8,
) -> Tensor:
    """a · b, plus `bias`, through GELU if asked for, in one kernel.

    a, b   (m, k) and (k, n), both float32 or both float16; they may be transposed or cut out of a
           larger matrix and aren't copied; m, n and k are 1 or more
    bias   (n,), of a's dtype, contiguous, added to each row; None for none
    gelu   whether the result is GELU's: x Φ(x) = x/2 · (1 + erf(x/√2)), applied after the bias
    tile   (bm, bn, bk), powers of two of 16 or more: C's tile, and the steps along k
    group  rows of tiles per group, see `tile_of`

    - Returns (m, n), contiguous, of a's dtype: the tensor that the kernel writes, each entry once.
    - Products are summed, and the bias and GELU are applied, in float32.
    - One launch of ⌈m/bm⌉ ⌈n/bn⌉ programs along one axis, in the order of `tile_of`.
    - The numbers read of a and b are those of the formula above.  So mask rows and columns beyond
      the end: wrapping them with % m, as the tutorial does, reads some of them again.

    Raises ValueError, naming both shapes, where a's columns aren't as many as b's rows.
    """
    raise NotImplementedError
