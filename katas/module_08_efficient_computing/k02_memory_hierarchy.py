"""The memory hierarchy

Memory never hands out a single number.  It moves fixed pieces, and whoever uses
one item of a piece pays for all of it.  So two loops that do the same arithmetic
can differ tenfold in time: what counts is the order of their addresses.

A CPU's cache holds lines of, say, 64 bytes.  Address a lies in line ⌊a / line⌋.
A line may only stand in one set, the number of the line modulo the number of
sets, and a set holds `ways` lines.  If the line is there, the access is a hit.
If not, it is a miss: the line is fetched, and if the set is full, the least
recently used line (LRU) goes.  A hit makes a line recently used, too; that is
what sets LRU apart from first in, first out.

    cache size = sets · ways · line        sets = 1: fully associative        ways = 1: direct-mapped

Take an n×m matrix stored row by row, whose rows are whole lines, each of L items,
and a fully associative cache:

    row by row                                      n·m / L misses
    column by column, more rows than lines held     n·m misses       (each line is gone before its next item)
    column by column, all n lines stay              n·m / L misses

Transposing reads along rows and writes along columns, so one of the two is always
wrong: n·m + n·m / L misses in a small cache.  In L×L tiles it is 2·n·m / L, if the cache holds a
tile's lines: each is used up before it goes.  And beware of powers of two: if a
row is as long as sets · line, all items of a column fight for one set while the
others stand empty.  A row that is one line longer (padding) spreads them out.

A GPU has the same two troubles.  32 threads, a warp, access memory together:

    global memory   moves segments of 32 bytes; a warp costs as many transactions
                    as it touches distinct segments.  4-byte words at a stride of s
                    words, from the start of a segment: min(4·s, 32)
    shared memory   word w lies in bank w mod 32, and a bank serves one word at a
                    time.  Any number of threads may read the same word (it is
                    broadcast), so the cost is the largest number of distinct words
                    in one bank.  Stride s ≥ 1:  gcd(s, 32)

A column of a 32×32 tile in shared memory is stride 32: 32 words in one bank.
With rows of 33 words, one of them unused, it is stride 33, and gcd(33, 32) = 1.

Worked by hand, a 4×4 matrix of 8-byte items, lines of 16 bytes, 1 set of 2 ways:

    row by row      addresses 0 8 16 24 …    lines 0 0 1 1 …      miss hit miss hit …     8 misses
    by columns      addresses 0 32 64 96 …   lines 0 2 4 6 0 …    never a hit            16 misses
    2×2 tiles       addresses 0 8 32 40 …    lines 0 0 2 2 …      miss hit miss hit …     8 misses
    LRU             lines 0 1 0 2 0 1        miss miss hit miss hit miss  (line 2 put out line 1, not line 0)
    stride 2        words 0 2 4 … 62         8 transactions, 2 words in each bank used

Addresses are numbers of bytes from 0 on, in 1-D int64 arrays with one entry or
more.  All counts and sizes are at least 1, and none must be a power of two.
No function changes its arguments.

Sources: Hennessy and Patterson, "Computer Architecture: A Quantitative Approach",
appendix B (caches) and section 2.3 (blocking); NVIDIA, "CUDA C++ Best Practices
Guide", "Coalesced Access to Global Memory" and "Shared Memory and Memory Banks".
"""

import numpy as np


def cache_misses(addresses: np.ndarray, line_bytes: int, sets: int, ways: int) -> np.ndarray:
    """Which of the accesses to `addresses`, made in this order, miss a cache with LRU.

    The cache starts empty.  It has `sets` sets of `ways` lines of `line_bytes` bytes.
    Each access touches one line alone, and reads and writes are alike: both fetch
    a line that isn't there.

    Returns a bool array of the same shape: True for a miss, False for a hit.
    """
    raise NotImplementedError


def traversal(n: int, m: int, order: str, tile: tuple[int, int] = (8, 8), item_bytes: int = 8) -> np.ndarray:
    """The addresses of all items of an n×m matrix, in the order in which a loop visits them.

    The matrix is stored row by row from address 0 on, without gaps: item (i, j)
    lies at (i·m + j)·item_bytes.  `order` is one of

        "row"       row after row
        "column"    column after column
        "blocked"   tiles of tile[0] rows and tile[1] columns: the tiles of the topmost
                    strip from left to right, then the next strip; row after row within
                    a tile.  Tiles at the right and lower edge are cut off.

    Only "blocked" looks at `tile`.  Returns an int64 array (n·m,).
    Raises ValueError, quoting `order` and naming the three, if it is something else.
    """
    raise NotImplementedError


def transpose_trace(
    n: int, m: int, order: str, tile: tuple[int, int] = (8, 8), item_bytes: int = 8
) -> np.ndarray:
    """The addresses that B = Aᵀ touches, A being n×m.

    The items (i, j) of A are visited as in `traversal`, same arguments, same error.
    At each, A's item (i, j) is read and then B's item (j, i) is written.  A is stored
    as in `traversal`; B, which is m×n, row by row as well, straight after A's last byte.

    Returns an int64 array (2·n·m,): read, write, read, write, …
    """
    raise NotImplementedError


def coalesced_transactions(addresses: np.ndarray, access_bytes: int = 4, segment_bytes: int = 32) -> int:
    """How many transactions a warp's access to global memory takes.

    `addresses` (threads,) holds where each thread's access starts, in any order, maybe
    some the same; the warp may be of any size.  A thread touches `access_bytes` bytes
    (at most `segment_bytes`) from its address on, which may reach into the next segment.
    Segment number k is made of the bytes k·segment_bytes to (k + 1)·segment_bytes - 1;
    each segment of which some byte is touched takes one transaction.

    Returns an int, Python's or numpy's.
    """
    raise NotImplementedError


def bank_conflicts(words: np.ndarray, banks: int = 32) -> int:
    """How many rounds a warp's access to shared memory takes; 1 is free of conflicts.

    `words` (threads,) holds the number of the word (not the byte) each thread reads, in
    any order; the warp may be of any size.  Word w lies in bank w mod `banks`.  The answer
    is the largest number of distinct words in one bank: threads that read the same word
    share a round.

    Returns an int, Python's or numpy's.
    """
    raise NotImplementedError
