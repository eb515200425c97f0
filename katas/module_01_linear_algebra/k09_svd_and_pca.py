"""SVD and PCA

**Before you start.**  You need orthonormal columns, rotations in the plane, and variances; no other
kata.  Are singular values new to you?  Read Trefethen and Bau 1997, "Numerical Linear Algebra",
lectures 4 and 5.

**The idea.**  A photo, a table of customers, a layer's weights are large matrices.  Most of them
are nearly a sum of a few simple ones, and the SVD finds these.  Every matrix is a rotation, a
stretch along the axes, and another rotation (either perhaps with a mirror):

           A                U             S             Vᵀ
      ┌─────────┐        ┌─────┐      ┌───────┐    ┌─────────┐
      │         │        │     │      │ s₀    │    │   v₀    │
    m │         │   ▶  m │u₀ u₁│  ×   │    s₁ │  × │   v₁    │  r rows
      │         │        │     │      └───────┘    └─────────┘
      │         │        │     │        r × r           n
      └─────────┘        └─────┘
           n                r       r is the smaller of m and n

**The formulas**, for A (m, n) and data with n points xᵢ:

    SVD            A = U S Vᵀ = ∑ᵢ sᵢ uᵢ vᵢᵀ        s₀ ≥ s₁ ≥ … ≥ 0; the uᵢ, and the vᵢ, orthonormal
    rank k         Aₖ, the first k terms            ∑ (A - Aₖ)ᵢⱼ² = ∑ sᵢ² over those left out
    pseudo-inverse A⁺ = V S⁺ Uᵀ                     S⁺ has 1/sᵢ, and 0 for sᵢ = 0
    PCA            the SVD of centred data          the variance along vᵢ is sᵢ²/(n - 1)
    whitening      divide the score along vᵢ by √(variance + eps)

*One-sided Jacobi* makes the columns of A orthogonal, two at a time.  Rotate columns x and y:

    α = x·x   β = y·y   γ = x·y        nothing to do if γ = 0
    ζ = (β - α) / 2γ    t = z / (|ζ| + √(1 + ζ²)), z = -1 if ζ < 0, else 1
    c = 1/√(1 + t²)     s = c t        x, y ← c x - s y,  s x + c y

Sweep over all pairs of columns, again and again; 20 sweeps are plenty for a hundred columns.
Rotate V along with A; it starts as the identity.  At the end the columns of A V are orthogonal.
Their lengths are the sᵢ, their directions the uᵢ.

Aₖ is the closest matrix of rank k (Eckart and Young).  PCA's vᵢ are the directions in which the
data vary most.  After whitening, all directions vary alike.  ZCA then turns the data back to their
own axes.

**Why not the eigenvalues of AᵀA?**  They are the sᵢ².  An sᵢ below 1e-8 of the largest drowns in
rounding there.  Jacobi never forms AᵀA.

**Why a number of sweeps, and not until γ = 0?**  Rounding keeps γ away from 0.

**Worked by hand**:

    A = [3 0; 4 5]   α = 25, β = 25, γ = 20, so ζ = 0, t = 1, c = s = 1/√2: 45°
    s = [√45 √5]   v₀ = [1 1]/√2, v₁ = [1 -1]/√2   u₀ = [1 3]/√10, u₁ = [3 -1]/√10

    data [4 3], [0 -1], [3 0], [1 2]: mean [2 1], centred [2 2], [-2 -2], [1 -1], [-1 1]
    components [1 1]/√2 and [1 -1]/√2, variances 16/3 and 4/3
    scores of the first point [√8 0], of the third [0 √2]
    whitened: √8/√(16/3) = √(3/2) along [1 1]/√2 is ½[√3 √3]; the third: ½[√3 -√3]

**Shapes**: a (m, n) and k terms, k ≤ min(m, n); data x (n, d), one point a row.  Answers are
float64; integers are fine as input.  Signs are free: -uᵢ with -vᵢ is as good.  No function changes
its arguments.

**Steps.**  A good place to pause is after svd.

    rotation        10 min   the smaller angle; ζ may be huge
    svd             25 min   the hard one: order, zeros, and more columns than rows
    low_rank         3 min   one line
    pseudo_inverse   5 min   what counts as 0?
    pca             10 min   centre first
    whiten           5 min   back to the data's axes
    compress         5 min   colour by colour

Sources: Hestenes 1958, "Inversion of Matrices by Biorthogonalization and Related
Results"; Golub and Van Loan 2013, "Matrix Computations", sections 2.4 and 8.6;
Eckart and Young 1936; Bell and Sejnowski 1997 (ZCA); Kessy, Lewin and Strimmer 2018,
"Optimal Whitening and Decorrelation".

From scratch: numpy.linalg.svd, numpy.linalg.svdvals, numpy.linalg.eig,
numpy.linalg.eigh, numpy.linalg.eigvals, numpy.linalg.eigvalsh,
numpy.linalg.pinv, scipy and sklearn may not be used.
"""

import numpy as np


def rotation(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The lesson's (c, s) for two columns (m,): c x - s y and s x + c y are orthogonal.

    - Of all such angles it is the smallest, so that c ≥ |s|.
    - For equal lengths, where ζ = 0 and γ isn't, s is positive.
    - (1, 0) if the columns are orthogonal: γ is exactly 0.
    - γ may be as small as 1e-300: then ζ² overflows, but (c, s) doesn't.
    """
    raise NotImplementedError


def svd(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(u, s, vt) with a = u @ diag(s) @ vt; for r = min(m, n): (m, r), (r,) and (r, n).

    - `s` is in falling order, none negative.
    - Columns of `u` and rows of `vt` are orthonormal, but for those that belong to an sᵢ of 0 (or
      what rounding makes of 0): these may be anything finite.
    - Small sᵢ are right as well: 1e-10 beside 1 to four digits.
    - The scale of `a`, from 1e-100 to 1e100, doesn't matter.
    """
    raise NotImplementedError


def low_rank(a: np.ndarray, k: int) -> np.ndarray:
    """The closest matrix to `a` of rank `k` (or less), 0 ≤ k ≤ min(m, n); (m, n)."""
    raise NotImplementedError


def pseudo_inverse(a: np.ndarray, rcond: float = 1e-12) -> np.ndarray:
    """Moore and Penrose's inverse V S⁺ Uᵀ, (n, m).

    S⁺ holds 1/sᵢ, and 0 where sᵢ ≤ rcond · s₀: such an sᵢ counts as 0.
    So the pseudo-inverse of zeros is zeros.
    """
    raise NotImplementedError


def pca(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first `k` principal components of `x`, k ≤ min(n, d): (scores, components, variances).

    - Components (k, d): orthonormal rows, the direction of most variance first.  Where the
      variance is 0, they may be anything finite.
    - Scores (n, k): the centred points in the components' coordinates.
    - Variances (k,): those of the scores' columns, divided by n - 1.
    - If the sign of a component changes, so does that of its scores.
    """
    raise NotImplementedError


def whiten(x: np.ndarray, eps: float = 0.0) -> np.ndarray:
    """ZCA-whitened data, (n, d): centred, scaled along the components, and turned back.

    - Of all min(n, d) components the scores are divided by √(variance + eps), and then taken back
      to the data's own axes: ∑ᵢ (score i / √…) · component i.
    - With eps = 0, which needs n > d, the covariance (divided by n - 1) is the identity.
    - An eps above 0 keeps directions of hardly any variance from being blown up.
    """
    raise NotImplementedError


def compress(image: np.ndarray, k: int) -> tuple[np.ndarray, float]:
    """Keep `k` terms of each colour of a photo (h, w, colours) of numbers from 0 to 1.

    Returns the photo (h, w, colours), with values below 0 and above 1 clipped,
    and the share of numbers kept: k (h + w + 1) / (h w).
    """
    raise NotImplementedError
