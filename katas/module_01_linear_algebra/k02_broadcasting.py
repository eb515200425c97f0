"""Broadcasting

A loop in Python costs some 50 nanoseconds a step before it has computed
anything; the same loop inside numpy costs one.  So the art of numpy is to say
what shall be done to whole arrays.

Two arrays are combined element by element.  Their shapes are compared from the
last axis on; an axis of length 1, or one that is missing in front, is repeated:

    a[:, None]  (n, 1)   with   b[None, :]  (1, m)   gives   (n, m)

So every pair of rows of X (n, d) and Y (m, d) meets in X[:, None] - Y[None]
(n, m, d), without a loop.  Where that is too much memory, squares help:

    |x - y|² = |x|² - 2 x·y + |y|²        (n, 1), (n, m) and (1, m)

Rounding may leave this a little below 0 where x = y, so take the larger of it
and 0 before the root.

A window that slides over a series needs no copies either.  In memory a series
is a row of numbers; an array's strides say how far to walk for a step along
each axis.  A table of windows walks one number on for the next window, and one
number on within the window: shape (n - w + 1, w) and the same stride twice.

A running sum turns moving averages into one difference.  With the sums
cᵢ = x₀ + … + xᵢ₋₁, the sum of a window of w numbers from i on is cᵢ₊w - cᵢ.

A random number generator is an object that holds its state: who hands in the
seed gets the same sample again, and nobody else's numbers change.

Worked by hand:

    one_hot([2, 0], 3) = [[0 0 1] [1 0 0]]
    distances from [0 0] and [3 4] to [3 0]: [[3] [4]]
    moving average of [1 2 3 6] over 2: sums 0 1 3 6 12, so [3-0 6-1 12-3]/2 = [1.5 2.5 4.5]
    columns of [[3 1] [4 1]]: lengths 5 and √2, so [[0.6 0.7071] [0.8 0.7071]]

No function changes its arguments, and none walks over rows in Python: the tests
count the lines that run, which must not grow with the data.

Sources: Harris et al. 2020, "Array programming with NumPy"; the chapter on
broadcasting in NumPy's user guide.

From scratch: scipy, sklearn, numpy.vectorize, numpy.apply_along_axis and
numpy.lib.stride_tricks.sliding_window_view may not be used (as_strided may).
"""

import numpy as np


def one_hot(labels: np.ndarray, k: int) -> np.ndarray:
    """A row for each of the labels (n,), ints from 0 to k - 1: float64 (n, k).

    It holds 1 in the label's column, else 0.
    Raises ValueError, naming the label and k, if one is negative or not below k.
    """
    raise NotImplementedError


def pairwise_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Euclidean distances of each row of `x` (n, d) from each row of `y` (m, d): (n, m).

    Never NaN.  Equal rows may come out as far apart as rounding has it: 1e-6 for entries near 1.
    Raises ValueError, naming both widths, if they differ.
    """
    raise NotImplementedError


def sliding_windows(x: np.ndarray, width: int) -> np.ndarray:
    """Every run of `width` neighbours of `x` (n,), 1 ≤ width ≤ n: (n - width + 1, width).

    A view: it shares its memory with `x`.  `x` may be a view with a stride of its own.
    """
    raise NotImplementedError


def moving_average(x: np.ndarray, width: int) -> np.ndarray:
    """The mean of every run of `width` neighbours of `x` (n,), 1 ≤ width ≤ n: float64 (n - width + 1,)."""
    raise NotImplementedError


def normalize_columns(x: np.ndarray) -> np.ndarray:
    """Each column of `x` (n, d) divided by its Euclidean length: float64 (n, d).

    A column of zeros stays as it is.
    """
    raise NotImplementedError


def sample_rows(x: np.ndarray, k: int, seed: int) -> np.ndarray:
    """`k` different rows of `x` (n, d), each set of k as likely as any other: (k, d).

    The same seed gives the same rows in the same order, whatever else is drawn
    in the program, and numpy's global state (np.random) isn't touched.
    Raises ValueError, naming k and n, if k > n.
    """
    raise NotImplementedError
