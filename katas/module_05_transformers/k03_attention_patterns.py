"""Attention patterns

**Before you start.**  You need broadcasting and boolean masks, no other kata; attention
says what a mask is for.  Pictures: Beltagy et al. 2020, figure 2.

**The idea.**  Full attention computes n·m scores: twice the text, four times the work.  But
most of what a token needs stands close by, and the rest can often be reached in two steps.
So score only some pairs.  A pattern is a boolean mask, True where query i may look at key j.
Combine patterns with `&` (both allow) and `|` (either does).

    window, 2 back     stride of 3        global token 2     two documents
    ■ . . . . .        ■ . . . . .        . . ■ . . .        ■ ■ ■ . . .
    ■ ■ . . . .        . ■ . . . .        . . ■ . . .        ■ ■ ■ . . .
    ■ ■ ■ . . .        . . ■ . . .        ■ ■ ■ ■ ■ ■        ■ ■ ■ . . .
    . ■ ■ ■ . .        ■ . . ■ . .        . . ■ . . .        . . . ■ ■ ■
    . . ■ ■ ■ .        . ■ . . ■ .        . . ■ . . .        . . . ■ ■ ■
    . . . ■ ■ ■        . . ■ . . ■        . . ■ . . .        . . . ■ ■ ■

**The formula.**  Start from one matrix, how far each key lies *behind* the query:

    distance[i, j] = (i + m - n) - j        causal: distance ≥ 0
                                            window: -right ≤ distance ≤ left

i + m - n is the query's own position.  As in decoding with a cache, the last of n queries
stands at the last of m ≥ n keys.  Negative: the key lies ahead.

**Why window and stride together?**  A window of 2 back and a stride of 3 reach every earlier
token in two steps.  A window of w alone needs L layers to see L·w tokens back.

**Why count blocks?**  A GPU kernel skips a block of scores only if all of it is hidden.  A block
with a single True is computed in full.

**Worked by hand**, n = 3 queries over m = 5 keys.  The queries stand at 2, 3 and 4:

    distances            window_mask(3, 5, 1)
    2  1  0 -1 -2        . ■ ■ . .
    3  2  1  0 -1        . . ■ ■ .
    4  3  2  1  0        . . . ■ ■

Of 8 × 8 = 64 scores a causal mask keeps 36, a window of 2 back 21, a stride of 4 keeps 12,
window and stride together 25.  In blocks of 4 × 4 the causal 36 cost 3 blocks: 48 scores.

**Shapes**: masks are boolean (n, m), rows queries and columns keys; functions of n and m have
m ≥ n.  No function changes its arguments.

Masks made from a tensor are on its device.

**Steps.**

    distances       5 min   a column minus a row
    window_mask    10 min   both ends belong to it; None sets no limit
    strided_mask    5 min   counted back from each query
    global_mask     5 min   the query or the key
    document_mask   5 min   any leading dimensions
    block_mask      5 min   enlarge, don't tile
    score_entries  10 min   blocks that reach beyond the edge

Sources: Child et al. 2019, "Generating Long Sequences with Sparse Transformers", section 4;
Beltagy et al. 2020, "Longformer", section 3.1.

From scratch: torch.nn.attention.flex_attention may not be used.
"""

from torch import Tensor


def distances(n: int, m: int) -> Tensor:
    """Tokens from each query back to each key, int64 (n, m), m ≥ n; negative for keys ahead."""
    raise NotImplementedError


def window_mask(n: int, m: int, left: int | None, right: int | None = 0) -> Tensor:
    """Boolean (n, m): True for keys at most `left` tokens back and at most `right` ahead.

    - Both ends belong to it: left = 2 and right = 0 is three keys, the query's own included.
    - None sets no limit on that side: window_mask(n, m, None) is the causal mask.

    Raises ValueError, naming the number, if left or right is negative.
    """
    raise NotImplementedError


def strided_mask(n: int, m: int, stride: int) -> Tensor:
    """Boolean (n, m): True for keys 0, stride, 2·stride, … tokens back from the query, none ahead.

    Raises ValueError, naming stride, if it is below 1.
    """
    raise NotImplementedError


def global_mask(n: int, tokens: list[int]) -> Tensor:
    """Boolean (n, n): True where the query, the key or both stand at a position in `tokens`.

    `tokens` may be empty, in any order, and may repeat itself.

    Raises ValueError, naming the position and n, if one isn't in 0 … n-1.
    """
    raise NotImplementedError


def document_mask(documents: Tensor) -> Tensor:
    """Boolean (..., n, n): True where query and key are of the same document, ahead or behind.

    `documents` (..., n) holds each token's document id in a packed batch: any integers of any
    integer dtype, in any order.  Tokens of one document need not stand together.
    """
    raise NotImplementedError


def block_mask(layout: Tensor, size: int) -> Tensor:
    """Boolean (..., r·size, c·size): each entry of `layout` (..., r, c) as a size × size block.

    `layout` is boolean.
    """
    raise NotImplementedError


def score_entries(mask: Tensor, block: int = 1) -> int:
    """How many scores a kernel with blocks of block × block computes for `mask` (..., n, m).

    - It computes every block that holds at least one True, all block² scores of it.
    - The blocks start at the first query and key of each matrix.
    - Where `block` doesn't divide n or m, the last blocks reach beyond the edge, and count in full.
    - Leading dimensions are summed over.  With block = 1 it is the number of True.
    """
    raise NotImplementedError
