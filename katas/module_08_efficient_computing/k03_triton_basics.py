"""Triton: kernels that think in blocks

**Before you start.**  You need torch tensors and their strides, and the softmax; no other kata.
Are GPUs new to you?  Read Hwu, Kirk and El Hajj, "Programming Massively Parallel Processors",
chapters 2 to 4, and Triton's tutorial on vector addition.

**The idea.**  A GPU computes faster than it reads.  Softmax as max, minus, exp, sum and divide
reads the matrix five times and writes it three times.  A kernel of your own reads each number once,
computes, and writes once: it is *fused*.

A GPU runs one small program many times at once.  In Triton, a program works on a block of numbers.
It asks which program it is, loads its block, computes, and stores.  Here is one that doubles n
numbers:

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

x and out arrive as pointers to the first elements; x + at is a block of addresses.  A block's size
is a power of two, known when the kernel is compiled (tl.constexpr).  For n 5 and BLOCK 4:

    program      0                     1
               ┌───┬───┬───┬───┐     ┌───┬───┬───┬───┐
    at         │ 0 │ 1 │ 2 │ 3 │     │ 4 │ 5 │ 6 │ 7 │
    x          │ 1 │ 2 │ 3 │ 4 │     │ 5 │ ? │ ? │ ? │   ? isn't your memory
    inside     │ ✓ │ ✓ │ ✓ │ ✓ │     │ ✓ │ – │ – │ – │   – is masked out
               └───┴───┴───┴───┘     └───┴───┴───┴───┘

**The formula.**

    softmax(x)ᵢ = exp(xᵢ − max x) / Σⱼ exp(xⱼ − max x)

For softmax, a row sits in one block of triton.next_power_of_2(n).  row_sum walks through a row in
steps of `block`, with a running block of sums.  It adds that block up at the end.

**Why `other`?**  tl.load(…, other=…) says what masked lanes hold.  They must change nothing: take
−∞ for a maximum or a softmax, as exp(−∞) is 0, and 0 for a sum.  Without `other` they hold
anything.

**Why float32 sums where x is float16?**  At 2048, adding 1 in float16 changes nothing.

**Worked by hand**: [1, 2, 3, 4, 5] in blocks of 4 takes ⌈5/4⌉ = 2 programs, as drawn.  In row_sum
the running block is [1, 2, 3, 4], then [1 + 5, 2 + 0, 3 + 0, 4 + 0] = [6, 2, 3, 4], and the sum 15.
softmax([0, ln 3]) in a block of 2 is [1, 3] / 4 = [0.25, 0.75].

**Shapes**: each function says its own.  Without a GPU, the kernels run in Triton's interpreter
(the dojo sees to that), slowly, with every address checked.  No function changes its arguments.

**Steps.**

    add       12 min   views that aren't contiguous; the last block
    softmax   15 min   a row is one block; what do masked lanes hold?
    row_sum   15 min   a loop in the kernel; where does a row begin?

Sources: Tillet, Kung & Cox 2019, "Triton: an intermediate language and compiler for tiled neural
network computations"; Triton's documentation, the tutorials on vector addition and fused softmax.

From scratch: every number is computed in a kernel of yours, one launch per call;
torch.add, torch.exp, torch.sum, torch.cumsum, torch.softmax, torch.logsumexp, torch.special,
torch.nn.Softmax, torch.nn.functional.softmax, torch.Tensor.add, torch.Tensor.exp,
torch.Tensor.sum, torch.Tensor.cumsum, torch.Tensor.softmax and torch.Tensor.mean may not be used.
"""

from torch import Tensor


def add(x: Tensor, y: Tensor, block: int = 1024) -> Tensor:
    """x + y, one program for each `block` numbers.

    x, y   one shape (any, with at least one element) and dtype (float32 or int32); views that
           aren't contiguous are welcome, and may be copied first
    block  a power of two: numbers per program

    - One launch of ⌈numbers / block⌉ programs, which read every number once and write every sum
      once.
    - The answer is the tensor that the kernel writes.

    Raises ValueError, naming both shapes, where they differ.
    """
    raise NotImplementedError


def softmax(x: Tensor) -> Tensor:
    """Softmax along the last axis, one program per row, fused.

    x        (..., n), float32 or float16, contiguous, n ≥ 1
    returns  x's shape and dtype, computed in float32

    - One launch, a program for each row, which reads every number once and writes every result
      once, into the tensor that is the answer.
    - Nothing overflows, and a score of −∞ gets 0.  A row that is all −∞ isn't tested.
    - Only the result is rounded to float16.
    """
    raise NotImplementedError


def row_sum(x: Tensor, block: int = 256) -> Tensor:
    """The sums of the rows, one program per row, in steps of `block` numbers.

    x        (m, n), float32 or float16, m and n ≥ 1
    block    a power of two: the numbers of one load
    returns  (m,), float32, summed in float32

    - A row's numbers are neighbours, but the rows may be any distance apart, or overlap: say the
      columns 3 … 9 of a matrix.  They are read where they lie, not copied first: a copy costs as
      much as the sum.
    - One launch of m programs, which read every number once and write the tensor that is the
      answer.
    """
    raise NotImplementedError
