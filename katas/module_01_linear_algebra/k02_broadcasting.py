"""Broadcasting

**Before you start.**  You need numpy's arrays, indexing, and sums along an axis; no other kata.
New to you?  Read "NumPy: the absolute basics for beginners" on numpy.org.

**The idea.**  A Python loop takes tens of nanoseconds a step.  The same loop inside numpy takes
about one.  So hand numpy whole arrays.

numpy combines two arrays element by element, and compares their shapes from the last axis on.  Two
lengths must be equal, or one of them 1.  An axis of length 1, or one missing in front, is repeated.
`None` in an index makes such an axis:

    a[:, None]         b[None, :]              both repeated
    ┌────┐             ┌────┬────┬────┐        ┌────┬────┬────┐
    │  1 │             │ 10 │ 20 │ 30 │        │ 11 │ 21 │ 31 │
    ├────┤      +      └────┴────┴────┘   ▶    ├────┼────┼────┤
    │  2 │                                     │ 12 │ 22 │ 32 │
    └────┘                                     └────┴────┴────┘
    (2, 1)             (1, 3)                  (2, 3)

So X[:, None] - Y[None] pairs all rows of X (n, d) and Y (m, d): shape (n, m, d).

**The formulas**, for rows x of X and y of Y, a series x₀ … xₙ₋₁, and windows of w numbers:

    squared distance   |x - y|² = |x|² - 2 x·y + |y|²      shapes (n, 1), (n, m), (m,)
    running sums       cᵢ = x₀ + … + xᵢ₋₁                  c₀ = 0
    a window's sum     cᵢ₊w - cᵢ

Computed like this, squared distances need no array (n, m, d).

A table of windows needs no copies.  *Strides* say how many bytes to walk in memory for a step along
each axis.  The next window starts one number on; the next number in a window is one on, too.  So
use x's stride twice:

    memory     x₀  x₁  x₂  x₃  x₄
    window 0   └────────┘
    window 1       └────────┘             shape (3, 3): three windows of 3
    window 2           └────────┘

**Why can a squared distance come out below 0?**  For x = y the three terms cancel, up to rounding.
Take the larger of it and 0, or the root is NaN.

**Why not np.random.seed?**  The whole program shares that state.  A generator has its own:
np.random.default_rng(seed).

**Worked by hand**:

    one_hot([2, 0], 3)                     [0 0 1], [1 0 0]
    distances of [0 0], [3 4] from [3 0]   [3], [4]
    moving average of [1 2 3 6] over 2     sums 0 1 3 6 12, so [3-0 6-1 12-3]/2 = [1.5 2.5 4.5]
    columns of [3 1], [4 1]                lengths 5 and √2, so [0.6 0.7071], [0.8 0.7071]

**Shapes**: each function says its own.  Numbers may have any type; compute in float64.  No function
changes its arguments.  None loops over rows in Python: the tests count the lines that run, and the
count must not grow with the data.

**Steps.**

    one_hot              5 min   compare labels with columns
    pairwise_distances  10 min   three terms, three shapes
    sliding_windows     10 min   the last window; x may have a stride of its own
    moving_average       5 min   a 0 in front of the sums
    normalize_columns    5 min   which axis, and a column of zeros
    sample_rows          5 min   different rows, from a generator of your own

Sources: Harris et al. 2020, "Array programming with NumPy"; "Broadcasting" in NumPy's user guide.

From scratch: scipy, sklearn, numpy.vectorize, numpy.apply_along_axis and
numpy.lib.stride_tricks.sliding_window_view may not be used (as_strided may).
"""

import numpy as np


def one_hot(labels: np.ndarray, k: int) -> np.ndarray:
    """A row for each of the labels (n,), ints from 0 to k - 1: float64 (n, k).

    It holds 1 in the label's column, else 0.
    Raises ValueError, naming the label and k, if a label is negative or not below k.
    """
    raise NotImplementedError


def pairwise_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Euclidean distances of each row of `x` (n, d) from each row of `y` (m, d): float64 (n, m).

    - Never NaN.
    - Rounding may leave equal rows a little apart: 1e-6 for entries near 1.

    Raises ValueError, naming both widths, if they differ.
    """
    raise NotImplementedError


def sliding_windows(x: np.ndarray, width: int) -> np.ndarray:
    """Every run of `width` neighbours of `x` (n,), 1 ≤ width ≤ n: (n - width + 1, width).

    - A view: it shares its memory with `x`, and has its dtype.
    - `x` may be a view itself, with any stride.
    """
    raise NotImplementedError


def moving_average(x: np.ndarray, width: int) -> np.ndarray:
    """The mean of every run of `width` neighbours of `x` (n,): float64 (n - width + 1,).

    1 ≤ width ≤ n.  Rounding of the running sums is allowed: 1e-7 where they stay below 1e6.
    """
    raise NotImplementedError


def normalize_columns(x: np.ndarray) -> np.ndarray:
    """Each column of `x` (n, d) divided by its Euclidean length: float64 (n, d).

    - A column of zeros stays as it is.
    - Any other has length 1 afterwards, if it was between 1e-150 and 1e150 long.
    """
    raise NotImplementedError


def sample_rows(x: np.ndarray, k: int, seed: int) -> np.ndarray:
    """`k` different rows of `x` (n, d), each set of k as likely as any other: (k, d), x's dtype.

    - The same seed gives the same rows in the same order, whatever else the program draws.
    - numpy's global state (np.random) isn't touched.
    - k may be 0.

    Raises ValueError, naming k and n, if k > n.
    """
    raise NotImplementedError
