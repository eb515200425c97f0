"""Eigenvalues

An eigenvector of A is a direction that A only stretches: A v = λ v.

Power iteration multiplies a start vector by A again and again.  In the basis of
the eigenvectors every product multiplies component i by λᵢ, so the one with the
largest |λ| soon outgrows the others, by |λ₁/λ₂| a step.  Divide by the length
after each product, or the numbers overflow.  The best value for a vector v is
its Rayleigh quotient, vᵀA v / vᵀv: for a symmetric A its error is the square of
the vector's.

Inverse iteration multiplies by (A - σI)⁻¹ instead.  Its eigenvalues are
1/(λᵢ - σ), and the largest is that of the λ nearest to the shift σ.  So it finds
any eigenvalue, and quickly if σ is near.

Deflation takes a found pair out of a symmetric A: A - λ v vᵀ (v of length 1)
has the same eigenvectors, and only this λ has become 0.

The QR algorithm finds them all.  Factor A - σI = Q R and multiply the wrong way
round: R Q + σI = QᵀA Q has the same eigenvalues, and the last row's entries
left of the diagonal shrink.  Once they are 0 the last diagonal entry c is an
eigenvalue: go on with the block above it.  The product of all Q's holds the
eigenvectors.  A good shift makes two or three steps an eigenvalue enough, and
σ = c alone can stall, as on [0 1; 1 0].  Wilkinson's leans towards the
eigenvalue of the last two rows that is nearer to c: with d half the diagonal
entry before c minus c, and β the length of the last row left of c,

    σ = c - s β² / (|d| + √(d² + β²))        s = -1 if d < 0, else 1

PageRank is power iteration on the web.  A surfer follows a random link of the
page with probability d, and jumps to any of the n pages with probability 1 - d;
from a page without links always.  A page's rank is the share of time spent there:

    rⱼ = (1 - d)/n + d ( ∑ᵢ rᵢ linksᵢⱼ / ∑ₖ linksᵢₖ  +  rank of pages without links / n )

Worked by hand, from [1, 0]:

    A = [2 1; 1 2]   1 step: [2 1]/√5, value 14/5     2: [5 4]/√41, 122/41 = 2.976 → 3
    inverse, σ = 0:  A⁻¹ = ⅓[2 -1; -1 2]              1: [2 -1]/√5, 6/5 → 1
    deflated by 3 and [1 1]/√2:  [½ -½; -½ ½], with eigenvalues 0 and 1
    shift of A: c = 2, d = 0, β = 1, so σ = 2 - 1 = 1, an eigenvalue
    links 0→1, 0→2, 1→2, 2→0 and d = ½, from [4 4 4]/12:  [4 3 5]/12 → [14 10 15]/39

Shapes: a (n, n), vectors (n,).  Answers are float64; integers are fine as input.
No function changes its arguments.  numpy.linalg.qr and numpy.linalg.solve may be
used (you write them in least_squares and linear_systems).

Sources: Trefethen and Bau 1997, "Numerical Linear Algebra", lectures 27 to 29;
Page et al. 1999, "The PageRank Citation Ranking: Bringing Order to the Web".

From scratch: numpy.linalg.eig, numpy.linalg.eigh, numpy.linalg.eigvals,
numpy.linalg.eigvalsh, numpy.linalg.svd, numpy.linalg.svdvals and scipy may not
be used.
"""

import numpy as np


def power_iteration(a: np.ndarray, start: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    """The eigenvalue of largest magnitude, and its vector, after `steps` products with `a`.

    The vector is aᵏ·start / ‖aᵏ·start‖ for k = steps, sign included; for k = 0
    it is start / ‖start‖.  It mustn't overflow where aᵏ would.  The value is
    the Rayleigh quotient of that very vector.  `a` needn't be symmetric.
    """
    raise NotImplementedError


def inverse_iteration(a: np.ndarray, shift: float, start: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    """The eigenvalue of `a` nearest to `shift`, and its vector, after `steps` solves.

    The vector is (a - shift·I)⁻ᵏ·start, divided by its length, for k = steps,
    sign included.  It mustn't overflow.  The value is its Rayleigh quotient with `a`.

    Raises numpy.linalg.LinAlgError if a - shift·I is exactly singular (and k > 0).
    """
    raise NotImplementedError


def deflate(a: np.ndarray, value: float, vector: np.ndarray) -> np.ndarray:
    """The symmetric `a` without its eigenpair: the eigenvalue `value` becomes 0, the rest stays.

    `vector` is an eigenvector of any length but 0.
    """
    raise NotImplementedError


def wilkinson_shift(a: np.ndarray) -> float:
    """The lesson's σ for a symmetric `a` (n, n), n ≥ 2, whose last row isn't all 0 left of the diagonal."""
    raise NotImplementedError


def qr_algorithm(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All eigenvalues and eigenvectors of a symmetric `a`, to about 1e-12·‖a‖.

    Returns the values (n,) in rising order and the vectors (n, n): column i,
    of length 1, belongs to value i.  The columns are orthonormal, also where
    values repeat.  Their signs are free.
    """
    raise NotImplementedError


def pagerank(links: np.ndarray, steps: int, damping: float = 0.85) -> np.ndarray:
    """The ranks (n,) of n pages after `steps` steps from 1/n for each; they sum to 1.

    A step puts the old ranks into the right side of the lesson's equation.
    links[i, j] ≥ 0 is how many links lead from page i to page j; the surfer
    takes each with the same probability.  Links from a page to itself count.
    """
    raise NotImplementedError
