"""Triton: kernels that think in blocks.

A GPU runs one small program many times at once.  In Triton such a program, a kernel,
works on a block of numbers: it asks which program it is, computes the addresses of its
block, loads it, computes, and stores.  Here is one that doubles n numbers:

    import triton
    import triton.language as tl

    @triton.jit
    def _double(x, out, n, BLOCK: tl.constexpr):
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)    # the block's places
        inside = at < n                                        # the last block may stick out
        values = tl.load(x + at, mask=inside)
        tl.store(out + at, 2 * values, mask=inside)

    out = torch.empty_like(x)
    _double[(triton.cdiv(n, 256),)](x, out, n, BLOCK=256)      # launched on ⌈n/256⌉ programs

x and out arrive as pointers to the tensors' first elements, and x + at are as many
addresses as at has places.  A block's size is a power of two and is known when the kernel
is compiled (tl.constexpr); n isn't.  A lane beyond the end must be masked out of every
load and store: memory beyond a tensor's end belongs to somebody else.

Why write kernels?  A GPU computes faster than it reads: softmax as max, minus, exp,
sum and divide reads and writes the matrix from memory five times over.  A fused kernel
reads each number once, does all the arithmetic where it is fast, and writes once:

    softmax(x)ᵢ = exp(xᵢ − max x) / Σⱼ exp(xⱼ − max x)

A row sits in one block of the next power of two.  Masked lanes must change nothing:
`other=` says what a masked load gives, −∞ for a maximum or a softmax (exp(−∞) = 0),
0 for a sum.  A row that is too long for one block is walked through in steps of BLOCK,
with a running block of sums that is added up at the end.  Sums run in float32 even where
x is float16: from 2048 on, float16 can't count on by ones.

Worked by hand: five numbers [1, 2, 3, 4, 5] in blocks of 4 take ⌈5/4⌉ = 2 programs.  The
second has the places 4 … 7, of which `at < 5` leaves 4.  As row_sum with block 4, the
running block is [1, 2, 3, 4], then [1 + 5, 2 + 0, 3 + 0, 4 + 0] = [6, 2, 3, 4], and 15.
softmax([0, ln 3]) in a block of 2 is [1, 3] / 4 = [0.25, 0.75].

Where there is no GPU, the kernels run in Triton's interpreter: one program after the
other, slowly, but the same code, and with every address checked.  No function changes
its arguments.

Source: Tillet, Kung & Cox 2019, "Triton: an intermediate language and compiler for tiled
neural network computations"; Triton's documentation, the tutorials on vector addition
and fused softmax.
From scratch: every number is computed in a kernel of yours, one launch a call;
torch.add, torch.exp, torch.sum, torch.cumsum, torch.softmax, torch.logsumexp, torch.special,
torch.nn.Softmax, torch.nn.functional.softmax, torch.Tensor.add, torch.Tensor.exp,
torch.Tensor.sum, torch.Tensor.cumsum, torch.Tensor.softmax and torch.Tensor.mean may not be used.
"""

from torch import Tensor


def add(x: Tensor, y: Tensor, block: int = 1024) -> Tensor:
    """x + y, one program for each `block` numbers.

    x, y   one shape (any, with at least one element) and dtype (float32 or int32); views that
           aren't contiguous are welcome
    block  a power of two: numbers to a program

    One launch of ⌈numbers / block⌉ programs, which read every number once and write every sum once.
    Raises ValueError, naming both shapes, where they differ.
    """
    raise NotImplementedError


def softmax(x: Tensor) -> Tensor:
    """Softmax along the last axis, one program a row, fused.

    x        (..., n), float32 or float16, contiguous, n ≥ 1
    returns  x's shape and dtype, computed in float32

    One launch, a program for each row, which reads every number once and writes every result once.
    """
    raise NotImplementedError


def row_sum(x: Tensor, block: int = 256) -> Tensor:
    """The sums of the rows, one program a row, in steps of `block` numbers.

    x        (m, n), float32 or float16, m and n ≥ 1; a row's numbers are neighbours, but the rows may
             be any distance apart, or overlap: the columns 3 … 9 of a matrix, say.  They are read
             where they lie, not copied first
    block    a power of two: the numbers of one load
    returns  (m,), float32, summed in float32

    One launch of m programs, which read every number once.
    """
    raise NotImplementedError
