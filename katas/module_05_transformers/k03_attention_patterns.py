"""Attention patterns

Full attention computes n·m scores: twice the text, four times the work.  But
most of what a token needs stands close by, and much of the rest can be reached
in two steps.  A pattern says which pairs are scored at all, as a boolean mask,
True where query i may look at key j.  Patterns combine as sets do: `&` is where
both allow, `|` is where either does.

    window      the last `left` tokens and the next `right` ones    n·(left + right + 1)
    strided     every stride-th token back from the query           n·n / (2·stride)
    global      a few tokens see all and are seen by all            2·g·n
    block       whole squares of the matrix, as kernels like them   what the layout says
    document    only tokens of the same text, in a packed batch     Σ lengths²

A window of 2 back and a stride of 3 leave no token further than two steps away;
stack L layers of a window w, and the top sees L·w tokens back.

All of it starts from one matrix, how far each key lies *behind* the query:

    distance[i, j] = (i + m - n) - j

The query's own position is i + m - n: as in decoding with a cache, the last of
n queries stands at the last of m ≥ n keys.  Negative means that the key lies
ahead.  Causal is distance ≥ 0; a window is -right ≤ distance ≤ left.

Worked by hand, n = 3 queries over m = 5 keys, which stand at 2, 3 and 4:

    distances =  2  1  0 -1 -2      window_mask(3, 5, 1) =  . x x . .
                 3  2  1  0 -1                              . . x x .
                 4  3  2  1  0                              . . . x x

What does it cost?  Of 8 × 8 = 64 scores a causal mask keeps 36, a window of 2
back 21, a stride of 4 keeps 12, window and stride together 25.  But a GPU kernel
works in blocks and computes each block that holds a single True in full: the
causal 36 cost 3 blocks of 4 × 4 = 48 scores.

No function changes its arguments.

Source: Child et al. 2019, "Generating Long Sequences with Sparse Transformers",
section 4; Beltagy et al. 2020, "Longformer", section 3.1.

From scratch: torch.nn.attention.flex_attention may not be used.
"""

from torch import Tensor


def distances(n: int, m: int) -> Tensor:
    """Tokens from each query back to each key, int64 (n, m), negative for keys ahead; m ≥ n as above."""
    raise NotImplementedError


def window_mask(n: int, m: int, left: int | None, right: int | None = 0) -> Tensor:
    """Boolean (n, m): True for keys at most `left` tokens back and at most `right` ahead, the own one always.

    Both ends belong to it: left = 2 and right = 0 is three keys.  None sets no
    limit on that side, so window_mask(n, m, None) is the causal mask.
    Raises ValueError, naming the number, if left or right is negative.
    """
    raise NotImplementedError


def strided_mask(n: int, m: int, stride: int) -> Tensor:
    """Boolean (n, m): True for the keys 0, stride, 2·stride, … tokens back from the query, none ahead.

    Raises ValueError, naming stride, if it is below 1.
    """
    raise NotImplementedError


def global_mask(n: int, tokens: list[int]) -> Tensor:
    """Boolean (n, n): True where the query or the key, or both, stand at one of the positions in `tokens`.

    `tokens` may be empty and may repeat itself.
    Raises ValueError, naming the position and n, if one isn't in 0 … n-1.
    """
    raise NotImplementedError


def document_mask(documents: Tensor) -> Tensor:
    """Boolean (..., n, n): True where query and key belong to the same document, ahead or behind.

    `documents` (..., n) holds each token's document id: any integers, in any order.
    """
    raise NotImplementedError


def block_mask(layout: Tensor, size: int) -> Tensor:
    """Boolean (..., r·size, c·size): each entry of the boolean `layout` (..., r, c) as a block of size × size."""
    raise NotImplementedError


def score_entries(mask: Tensor, block: int = 1) -> int:
    """How many scores a kernel that works in blocks of block × block computes for `mask` (..., n, m).

    It computes every block that holds at least one True, all block² of it.  The
    blocks start at the first query and key of each matrix.  Where `block` doesn't
    divide n or m, the blocks at the end stand over and count in full as well.
    Leading dimensions are summed over.  With block = 1 it is the number of True.
    """
    raise NotImplementedError
