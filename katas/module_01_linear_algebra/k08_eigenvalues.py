"""Eigenvalues

**Before you start.**  You need matrix products, linear systems and QR.  Use
numpy.linalg.solve and numpy.linalg.qr, or yours (until they are green, the imports give
finished ones):

    from .k06_linear_systems import solve
    from .k07_least_squares import qr

Are eigenvectors new to you?  Read Trefethen and Bau, lecture 24.

**The idea.**  Multiply by the same matrix again and again, as a recurrent network or a
random surfer does: eigenvalues decide what grows and what dies out.  A only stretches an
eigenvector v ≠ 0.  The factor is its eigenvalue λ:

    A v = λ v

*Power iteration* keeps multiplying by A.  Each product multiplies the component along
eigenvector vᵢ by λᵢ, so the largest |λ| wins.  A = [2 1; 1 2] stretches v₁ = [1 1] by 3 and
v₂ = [1 -1] by 1.  Start from [1 0] = ½v₁ + ½v₂:

    along v₂
      ½ ┤    ● start   ● A start                     ● A² start
        │  .      .                   .
        │ .  .         .
        └────┴─────────┴─────────────────────────────┴────▶ along v₁
             ½        1½                            4½
            45°       18°                            6°     angle to v₁

The height stays and the width triples, so the vector turns towards v₁.

**The formulas**, for A (n, n), a vector v (n,), and a shift σ:

    power iteration     v ← A v / ‖A v‖      divided by its length, or it overflows
    inverse iteration   the same with (A - σI)⁻¹ for A
    Rayleigh quotient   λ ≈ vᵀA v / vᵀv
    deflation           A - λ v vᵀ           A symmetric, ‖v‖ = 1: only this λ becomes 0

(A - σI)⁻¹ has the eigenvalues 1/(λᵢ - σ).  The largest belongs to the λᵢ nearest to σ:
inverse iteration finds that one, quickly if σ is near.

*The QR algorithm* finds all pairs of a symmetric A.  Factor, then multiply the other way
round:

    A - σI = Q R        A ← R Q + σI = QᵀA Q

A keeps its eigenvalues.  β, the length of the last row left of the diagonal, shrinks.  Once
it is below 1e-15 ‖A‖, which is rounding, the last diagonal entry is an eigenvalue:

       A                 1 step                  3 steps
    [ 2  1 │ 1 ]   [ 1.44   .36 │  .04 ]   [ 1.37   .17 │ 0    ]  go on with
    [ 1  3 │ 1 ]   [  .36  2.70 │  .08 ]   [  .17  2.77 │ 0    ]  this block
    [ ─────┼── ]   [ ───────────┼───── ]   [ ───────────┼───── ]
    [ 1  1 │ 5 ]   [  .04   .08 │ 5.86 ]   [ 0     0    │ 5.87 ]  an eigenvalue
    β  1.4           .09  (2 steps: 1e-6)    below 1e-15

The columns of the product of all Q's are the eigenvectors.  Wilkinson's σ is the eigenvalue
of [b β; β c] nearer to c, where b and c are the last two diagonal entries:

    σ = c - s β² / (|d| + √(d² + β²))      d = (b - c)/2,   s = -1 if d < 0, else 1

*PageRank* is power iteration on the web.  With probability d (`damping`) a surfer follows a
random link of the page.  Otherwise, and always from a page without links, they jump to any
of the n pages.  rⱼ is the share of time on page j, linksᵢⱼ counts links from i to j:

    rⱼ = (1 - d)/n + d ( ∑ᵢ rᵢ linksᵢⱼ / ∑ₖ linksᵢₖ  +  rank of pages without links / n )

**Why does the last row shrink?**  Q's last column is (A - σI)⁻¹ [0 … 0 1]ᵀ, scaled: a step
of inverse iteration.  Once it is an eigenvector, QᵀA Q ends with the row [0 … 0 λ].

**Why not σ = c?**  On [0 1; 1 0] that is 0, and R Q is A again, up to signs: it stalls.

**Worked by hand**, from [1, 0]:

    A = [2 1; 1 2]   1 step: [2 1]/√5, value 14/5     2: [5 4]/√41, 122/41 = 2.976 → 3
    inverse, σ = 0:  A⁻¹ = ⅓[2 -1; -1 2]              1: [2 -1]/√5, 6/5 → 1
    deflation, λ = 3, v = [1 1]/√2:  [½ -½; -½ ½], with eigenvalues 0 and 1
    shift of A:  b = c = 2, d = 0, β = 1, so σ = 2 - 1 = 1, an eigenvalue
    links 0→1, 0→2, 1→2, 2→0 and d = ½, from [4 4 4]/12:
        ½·⅓ + ½·[4 2 6]/12 = [4 3 5]/12, in the limit [14 10 15]/39

**Shapes**: a (n, n), n ≥ 1; vectors (n,).  Answers are float64; integers are fine as input.
No function changes its arguments.

**Steps.**

    power_iteration     5 min   the value comes last, from the vector you return
    inverse_iteration   5 min   solve, don't invert
    deflate             5 min   the vector may have any length
    wilkinson_shift     5 min   β is a length; the sign at d = 0
    qr_algorithm       25 min   the hard one: which columns does Q mix?
    pagerank           10 min   pages without links

Sources: Trefethen and Bau 1997, "Numerical Linear Algebra", lectures 24 and 27 to 29;
Page et al. 1999, "The PageRank Citation Ranking: Bringing Order to the Web".

From scratch: numpy.linalg.eig, numpy.linalg.eigh, numpy.linalg.eigvals,
numpy.linalg.eigvalsh, numpy.linalg.svd, numpy.linalg.svdvals and scipy may not
be used.
"""

import numpy as np


def power_iteration(a: np.ndarray, start: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    """The eigenvalue of largest magnitude, and its vector, after `steps` products with `a`.

    - The vector is aᵏ·start / ‖aᵏ·start‖ with k = steps ≥ 0, sign included.
    - The value is the Rayleigh quotient of that vector.
    - Nothing overflows or vanishes, though aᵏ may, for an `a` scaled by 1e-100 to 1e100.
    - aᵏ·start isn't zeros.  `a` needn't be symmetric.
    """
    raise NotImplementedError


def inverse_iteration(
    a: np.ndarray, shift: float, start: np.ndarray, steps: int
) -> tuple[float, np.ndarray]:
    """The eigenvalue of `a` nearest to `shift`, and its vector, after `steps` solves.

    - The vector is (a - shift·I)⁻ᵏ·start over its length, with k = steps ≥ 0, sign included.
    - The value is its Rayleigh quotient with `a`.
    - Nothing overflows or vanishes; `a` needn't be symmetric.

    Raises numpy.linalg.LinAlgError if a - shift·I is exactly singular and k > 0.  Nearly singular
    is fine: such a shift is the best.
    """
    raise NotImplementedError


def deflate(a: np.ndarray, value: float, vector: np.ndarray) -> np.ndarray:
    """The symmetric `a` without its eigenpair: `value` becomes 0, the rest stays.

    `vector` is an eigenvector of any length but 0.
    """
    raise NotImplementedError


def wilkinson_shift(a: np.ndarray) -> float:
    """The lesson's σ for a symmetric `a` (n, n) with n ≥ 2 and β > 0."""
    raise NotImplementedError


def qr_algorithm(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All eigenvalues and eigenvectors of a symmetric `a`, to about 1e-12·‖a‖.

    Returns the values (n,) in rising order and the vectors (n, n).

    - Column i, of length 1 and either sign, belongs to value i.
    - The columns are orthonormal, also where values repeat.
    - `a` may be diagonal or all zeros; its scale, from 1e-100 to 1e100, doesn't matter.
    """
    raise NotImplementedError


def pagerank(links: np.ndarray, steps: int, damping: float = 0.85) -> np.ndarray:
    """The ranks (n,) of n pages after `steps` steps from 1/n for each; they sum to 1.

    - A step puts the old ranks into the right side of the lesson's equation.
    - links[i, j] ≥ 0 is how many links lead from page i to page j, fractions allowed.
    - Links from a page to itself count.
    """
    raise NotImplementedError
