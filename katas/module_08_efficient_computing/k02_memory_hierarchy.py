"""The memory hierarchy

**Before you start.**  You need whole-number division and remainder on numpy arrays; no other kata.
To see the same effects on a real machine, read "Gallery of Processor Cache Effects" by Igor
Ostrovsky.

**The idea.**  Two loops with the same arithmetic can differ tenfold in time.  Memory never hands
out a single number.  It moves fixed pieces, and you pay for the whole piece even if you use one
item of it.  So the order of the addresses counts.

Each box is a piece of two items.  The numbers are the order of the visits.  The cache holds two
pieces:

        by rows              by columns            2×2 tiles
    │  1   2 │  3   4 │   │  1   5 │  9  13 │   │  1   2 │  5   6 │
    │  5   6 │  7   8 │   │  2   6 │ 10  14 │   │  3   4 │  7   8 │
    │  9  10 │ 11  12 │   │  3   7 │ 11  15 │   │  9  10 │ 13  14 │
    │ 13  14 │ 15  16 │   │  4   8 │ 12  16 │   │ 11  12 │ 15  16 │
         8 misses             16 misses             8 misses

**The formula.**  A CPU's cache holds lines of, say, 64 bytes.  A line may only stand in its own
set, and a set holds `ways` lines:

    line of address a = ⌊a / line_bytes⌋        set of a line = line mod sets

If the line is there, the access is a *hit*.  If not, it is a *miss*: the line is fetched.  If the
set is full, its least recently used line (LRU) goes.  A hit makes a line recently used, too.

Take an n×m matrix stored row by row, whose rows are whole lines of L items, and one set:

    row by row                         n·m / L misses
    column by column                   n·m if a line is evicted before its next item; else n·m / L
    transpose, read and write          n·m + n·m / L in a small cache
    transpose in L×L tiles that fit    2·n·m / L

On a GPU, 32 threads (a warp) access memory together:

    global memory   moves segments of 32 bytes; each distinct segment that a warp touches costs
                    a transaction
    shared memory   word w lies in bank w mod 32, and a bank serves one word at a time; any number
                    of threads may read the same word.  Stride s ≥ 1: gcd(s, 32) rounds

**Why are powers of two dangerous?**  In shared memory, a column of a 32×32 tile lies in one bank.
One unused word at the end of each row (padding) spreads it out, as gcd(33, 32) is 1.  In a cache,
the items of a column may fight for one set in the same way:

    rows of 32 words                  rows of 33 words
    bank  │ 0 │ 1 │ 2 │ 3 │ …         bank  │ 0 │ 1 │ 2 │ 3 │ …
    row 0 │ ● │   │   │   │           row 0 │ ● │   │   │   │
    row 1 │ ● │   │   │   │           row 1 │   │ ● │   │   │
    row 2 │ ● │   │   │   │           row 2 │   │   │ ● │   │
    row 3 │ ● │   │   │   │           row 3 │   │   │   │ ● │

**Why tiles for a transpose?**  It reads along rows and writes along columns, so one of the two
jumps.  In a tile, each line is used up before it goes.

**Worked by hand**, the 4×4 matrix above: 8-byte items, lines of 16 bytes, 1 set of 2 ways:

    row by row      addresses 0 8 16 24 …    lines 0 0 1 1 …    miss hit miss hit …    8 misses
    by columns      addresses 0 32 64 96 …   lines 0 2 4 6 0 …  never a hit           16 misses
    2×2 tiles       addresses 0 8 32 40 …    lines 0 0 2 2 …    miss hit miss hit …    8 misses
    LRU             lines 0 1 0 2 0 1        miss miss hit miss hit miss (2 puts out 1)
    stride 2        words 0 2 4 … 62         8 transactions; 2 rounds (16 banks, 2 words each)

**Shapes**: addresses are bytes from 0 on, in 1-D int64 arrays with one entry or more.  All counts
and sizes are at least 1, and needn't be powers of two.  No function changes its arguments.

**Steps.**

    cache_misses             12 min   a hit changes the order, too
    traversal                12 min   tiles at the edges are cut off
    transpose_trace           8 min   B's rows are n long, and B lies behind A
    coalesced_transactions    6 min   an access may reach into the next segment
    bank_conflicts            6 min   distinct words only

Sources: Hennessy and Patterson, "Computer Architecture: A Quantitative Approach", appendix B
(caches) and section 2.3 (blocking); NVIDIA, "CUDA C++ Best Practices Guide", "Coalesced Access to
Global Memory" and "Shared Memory and Memory Banks".
"""

import numpy as np


def cache_misses(addresses: np.ndarray, line_bytes: int, sets: int, ways: int) -> np.ndarray:
    """Which of the accesses to `addresses`, made in this order, miss a cache with LRU.

    - The cache starts empty.  It has `sets` sets of `ways` lines of `line_bytes` bytes.
    - Each access touches one line alone.
    - Reads and writes are alike: both fetch a line that isn't there.
    - Addresses may be as large as int64 holds; in floats they would lose digits.

    Returns a bool array of the same shape: True for a miss, False for a hit.
    """
    raise NotImplementedError


def traversal(
    n: int, m: int, order: str, tile: tuple[int, int] = (8, 8), item_bytes: int = 8
) -> np.ndarray:
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

    - The items (i, j) of A are visited as in `traversal`, same arguments, same error.
    - At each, A's item (i, j) is read and then B's item (j, i) is written.
    - A is stored as in `traversal`.  B, which is m×n, is stored row by row as well, straight after
      A's last byte.

    Returns an int64 array (2·n·m,): read, write, read, write, …
    """
    raise NotImplementedError


def coalesced_transactions(
    addresses: np.ndarray, access_bytes: int = 4, segment_bytes: int = 32
) -> int:
    """How many transactions a warp's access to global memory takes.

    - `addresses` (threads,) holds where each thread's access starts, in any order, maybe some the
      same.  The warp may be of any size.
    - A thread touches `access_bytes` bytes (at most `segment_bytes`) from its address on, which may
      reach into the next segment.
    - Segment k is made of the bytes k·segment_bytes to (k + 1)·segment_bytes - 1.
    - Each segment of which some byte is touched takes one transaction.

    Returns an int, Python's or numpy's.
    """
    raise NotImplementedError


def bank_conflicts(words: np.ndarray, banks: int = 32) -> int:
    """How many rounds a warp's access to shared memory takes; 1 is free of conflicts.

    - `words` (threads,) holds the number of the word (not the byte) that each thread reads, in any
      order.  The warp may be of any size.
    - Word w lies in bank w mod `banks`.
    - The answer is the largest number of distinct words in one bank: threads that read the same
      word share a round.

    Returns an int, Python's or numpy's.
    """
    raise NotImplementedError
