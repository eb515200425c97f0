"""Matrix multiplication in Triton: tiles, an accumulator, a fused end, and the order of the programs.

C = A B with A (m, k) and B (k, n) needs 2 m n k operations on m k + k n numbers: plenty to
do for each number, if only it is used often once it has been read.  A program that computes
one entry of C reads a row and a column, 2k numbers for 2k operations.  One that computes a
tile of bm × bn entries walks along k in steps of bk, and uses each of its numbers bn or bm times:

    acc = 0                                      # (bm, bn), float32
    for k₀ in 0, bk, 2 bk, …:
        acc += A[rows, k₀ : k₀ + bk] · B[k₀ : k₀ + bk, columns]      # tl.dot

so that all programs together read ⌈n/bn⌉ m k + ⌈m/bm⌉ k n numbers instead of 2 m n k.  tl.dot
of two tiles is what tensor cores do: float16 in, float32 accumulated.

    acc = tl.dot(a, b, acc, input_precision="ieee")

("ieee" keeps float32 inputs whole; by default a GPU cuts them to TF32's 10 bits.)  A tile of
pointers is made of a column of rows and a row of columns, with the strides that say how far
apart they lie, so that a transposed matrix needs no copy:

    a_at = a + row[:, None] * a_stride_m + inner[None, :] * a_stride_k

m, n and k needn't be multiples of anything: what sticks out is masked, and along k loaded as 0.

A fused end: bias and GELU are applied to acc while it is still in registers, before it is
rounded to the result's dtype.  As three kernels they would read and write C twice more.

The order of the programs.  Those that run at one time share a cache.  Row after row, w programs
that run together need one row of tiles of A and w columns of B.  In groups of g rows, taken
column by column, they need g rows and about w/g columns: far less to read.  With a group of 2
and 3 × 3 tiles, programs 0, 1, 2, … compute the tiles

    (0,0) (1,0) (0,1) (1,1) (0,2) (1,2)   then the last group, of only one row:   (2,0) (2,1) (2,2)

Worked by hand: [[1, 2], [3, 4], [5, 6]] · [[1, 0], [1, 1]] = [[3, 2], [7, 4], [11, 6]].  With
tiles of 16 that is one program: its tile of C has 16 × 16 places, of which the masks leave
3 × 2, and along k two of the 16.  For m = n = k = 4096 with tiles of 128 the programs read
2 · 32 · 4096² = 1.07 · 10⁹ numbers where entry by entry they'd read 1.4 · 10¹¹.

Where there is no GPU, the kernel runs in Triton's interpreter, and every address is checked.
No function changes its arguments.

Source: Tillet, Kung & Cox 2019, "Triton: an intermediate language and compiler for tiled
neural network computations"; Triton's documentation, the tutorial on matrix multiplication.
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
    group    rows to a group; the last group has what is left over

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
    group  rows of tiles to a group, see `tile_of`

    Returns (m, n), contiguous, of a's dtype; products are summed, and the bias and GELU are applied, in
    float32.  One launch of ⌈m/bm⌉ ⌈n/bn⌉ programs along one axis, in the order of `tile_of`; the bytes
    read of a and b are those of the formula above.
    Raises ValueError, naming both shapes, where a's columns aren't as many as b's rows.
    """
    raise NotImplementedError
