"""A playground for the diagnosis

**Before you start.**  You need a little numpy.

**The idea.**  Ten small functions whose wrong answers stand in simple relations to the right
ones.  They are no lesson in themselves: they are what the tests of the engine
let people get wrong, in every way that the diagnosis claims to tell apart, and
in some that it must not claim to understand.

**The formula.**  Each function has its own.  Scores are

    q kᵀ / √d

                  ┌───────────┐
    q, k, v  ───▶ │ weights   │ ───▶ output
                  └───────────┘

**Worked by hand**: the entropy of a fair coin is ln 2 = 0.693.

No function changes its arguments.

**Steps.**

    standardize  1 min   each column
    covariance   1 min   n - 1
    attend       2 min   softmax
    scores       1 min   before softmax
    entropy      1 min   0 ln 0
    loss         1 min   one entry a row
    ranks        1 min   twice
    above        1 min   not the limit
    words        1 min   small letters
    bounds       1 min   both

Source: none.

From scratch: numpy.cov may not be used.
"""

import numpy as np


def standardize(X: np.ndarray) -> np.ndarray:
    """Each column of X (n, d) with its mean taken away, over its standard deviation with 1/n."""
    raise NotImplementedError


def covariance(X: np.ndarray) -> np.ndarray:
    """The covariance matrix (d, d) of the rows of X (n, d), with 1/(n−1)."""
    raise NotImplementedError


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """softmax(q kᵀ / √d) v, for q (n, d), k (m, d), v (m, e): the output (n, e)."""
    raise NotImplementedError


def scores(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """q kᵀ / √d for q (n, d) and k (m, d): (n, m)."""
    raise NotImplementedError


def entropy(p: np.ndarray) -> float:
    """The entropy of the probabilities p (n,) in nats; 0 ln 0 is 0."""
    raise NotImplementedError


def loss(p: np.ndarray, labels: np.ndarray) -> float:
    """The mean over n of −ln p[i, labels[i]], for p (n, c) and labels (n,)."""
    raise NotImplementedError


def ranks(x: np.ndarray) -> np.ndarray:
    """The rank of each entry of x (n,), int, from 0; all entries differ."""
    raise NotImplementedError


def above(x: np.ndarray, limit: float) -> np.ndarray:
    """True where x (n,) is larger than limit: bool (n,)."""
    raise NotImplementedError


def words(text: str) -> list[str]:
    """The words of the text in lower case, in order; ValueError, naming its length, for an empty text."""
    raise NotImplementedError


def bounds(x: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest entry of x (n,)."""
    raise NotImplementedError
