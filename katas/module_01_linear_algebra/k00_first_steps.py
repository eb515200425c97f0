"""First steps

**Before you start.**  You need Python's functions and a first look at numpy's arrays.  Never
seen one?  Read "NumPy: the absolute basics for beginners" on numpy.org.

**The idea.**  Tests judge every kata, so first learn to work with them.  A kata is a page like this
one, and below it functions that are still empty.  You fill them in:

    read ──▶ write a function ──▶ run the tests ──┬──▶ green ──▶ dojo next
                   ▲                              │
                   └── see what is wrong ◀── red ─┘
                       or take a hint

Do it once:

    1. Run this, with a short name for this file.  The kata is "todo": mean() isn't
       written yet.

           pytest katas/module_01/first_steps -x

    2. In mean() below, put `return x.sum()` in place of `raise NotImplementedError`.
       That is wrong, on purpose.  Save the file and run the tests again.
    3. Now the kata is red.  Read from the top: which test failed, your answer, the
       right one, and your mistake, if the tests know it.  The last lines say where to
       edit and what to type.
    4. Ask for a hint.  Each function has three; the third nearly gives the answer.

           dojo hint first_steps

    5. Put mean() right and run again.  With -x the tests stop at the first failure,
       so they lead you on to clip(), then to column_shares().
    6. All green?  Type `dojo next`.

**The formulas**, for an array x of N numbers, and x (n, d) with n rows and d columns:

    mean      x̄ = ∑ x / N
    clip      min(max(x, low), high), number by number
    share     shareⱼ = ∑ᵢ xᵢⱼ / ∑ x

numpy needs no loop.  `x.sum()` adds up all numbers.  `x.sum(axis=0)` adds along axis 0, down the
rows, so one sum is left for each column:

                 column 0   1    2
           row 0 [      1   2    3 ]
           row 1 [      5   0    9 ]
                        │   │    │
                        ▼   ▼    ▼
    x.sum(axis 0)  [    6   2   12 ]       x.sum()  20

**Why does `axis=0` give the columns' sums?**  The axis that you name is the one that disappears.
Axis 0 counts the rows: (2, 3) becomes (3,).

**Worked by hand**, with x = [1 2 3; 5 0 9], two rows of three:

    the mean                        20/6 = 3.333
    clipped to low = 1, high = 4    [1 2 3; 4 1 4]
    the columns' shares             [6 2 12]/20 = [0.3 0.1 0.6]

**Shapes**: x is an array of float64 or of integers.  No function changes its arguments: make a
new array, don't write into x.

**Two phrases of later pages.**  "Raises ValueError, naming n" (or saying "zero"): the message
contains n (or that word).  "Until yours is green, the import gives a finished one": you switch
nothing, the project does.

**Steps.**  One line each.

    mean            1 min   count the numbers, not the rows
    clip            2 min   np.minimum and np.maximum, number by number
    column_shares   2 min   which axis?

Source: Harris et al. 2020, "Array programming with NumPy", Nature 585.

From scratch: this last line of a page says what you may not use.  Here: numpy.mean,
numpy.average, numpy.clip, and the methods .mean and .clip.
"""

import numpy as np


def mean(x: np.ndarray) -> float:
    """The mean of all numbers in `x`, which has any shape and at least one number."""
    raise NotImplementedError


def clip(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """`x` with every number below `low` set to `low`, and every number above `high` to `high`.

    - `x` has any shape; the answer is a new array of that shape.
    - low ≤ high.  Numbers between them stay as they are.
    """
    raise NotImplementedError


def column_shares(x: np.ndarray) -> np.ndarray:
    """What part of the sum of `x` (n, d) each column holds: (d,), which sums to 1.

    The sum of `x` isn't 0.
    """
    raise NotImplementedError
