"""Support vector machine

**Before you start.**  You need gradients, and what a constraint does to an optimum (gradient
descent).  Support vectors are new to you?  Read Hastie, Tibshirani and Friedman, "The Elements
of Statistical Learning", sections 12.1 to 12.3, free at hastie.su.domains/ElemStatLearn.

**The idea.**  Many lines separate two classes.  The one with the widest street between them is
the least likely to be wrong on new rows.  A *support vector machine* (SVM) finds it, and lets some
rows stand in the street, at a price:

       y ┤      ╱   ╱   ╱     ○
         │  ○  ╱   ╱   ╱   ○        ○  class +1
         │    ╱   ╱   ○         ○
         │   ╱   ╱   ╱  ○             rows on the edge of the street,
         │  ●   ╱   ●                 or inside, hold it in place:
         │ ╱   ╱   ╱                  the support vectors
         │   ╱ ●  ╱
       ● │  ╱    ╱                  ●  class -1
         └──────┴──────────────▶ x
          the street is 2/‖w‖ wide

**The formulas**, for rows xᵢ with signs yᵢ of -1 or 1, f(x) = w·x + b, and a *margin* yᵢ f(xᵢ):

    primal   λ/2 ‖w‖² + mean of max(0, 1 - yᵢ f(xᵢ))
    Pegasos  step t = 1, 2, …: pick a row i, η = 1/(λt)
             w ← (1 - ηλ) w,  plus η yᵢ xᵢ if the margin was < 1      (no b)
    dual     maximise W(α) = ∑ αᵢ - ½ ∑ᵢⱼ αᵢ αⱼ yᵢ yⱼ K(xᵢ, xⱼ)
             with 0 ≤ αᵢ ≤ C and ∑ αᵢ yᵢ = 0
             f(x) = ∑ αᵢ yᵢ K(xᵢ, x) + b
    KKT      αᵢ = 0: margin ≥ 1     0 < αᵢ < C: margin = 1     αᵢ = C: margin ≤ 1
    kernels  polynomial (a·b + constant)^degree     RBF exp(-γ ‖a - b‖²)

- The loss of a row, 1 - margin but at least 0, is the *hinge loss*.
- The dual sees rows through their dot products K alone.  Put a *kernel* in their place, and a
  straight street among many more features is a curved one here.
- *SMO* (sequential minimal optimisation) moves two αs at a time, the smallest number that can
  keep ∑ αᵢ yᵢ = 0: αᵢ += yᵢ t and αⱼ -= yⱼ t.  Along t the dual is a parabola:

      slope = (yᵢ - gᵢ) - (yⱼ - gⱼ)      gᵢ = ∑ⱼ αⱼ yⱼ Kᵢⱼ, that is f without b
      curve = Kᵢᵢ + Kⱼⱼ - 2 Kᵢⱼ          t = slope/curve, but both αs stay within 0 and C

**Why are most α 0?**  A row beyond the street has no loss and no slope.  Move it, and nothing
changes.

**Which pair?**  The one that violates KKT most: i with the largest yᵢ - gᵢ where αᵢ yᵢ may still
grow, j with the smallest where αⱼ yⱼ may still shrink.  Once the two meet, KKT holds, and b is
where they meet.

**Worked by hand**, with x = 0 of class -1 and x = 2 of class 1:

    w = ½, b = 0, λ = .4:  margins 0 and 1, loss .05 + ½(1 + 0) = .55
        gradient: the second row has margin 1 and doesn't pull: .4·½ - 0 = .2, for b ½
    Pegasos on one row x = 1, y = 1, λ = ½:  w = 2, 1, ⅔, 1
    SMO from α = 0:  slope 1 - (-1) = 2, curve 4: α = [½ ½], w = 1, b = -1, W = ½, width 2
        with C = ¼: α = [¼ ¼]

**Shapes**: x (n, d), y (n,) of -1 and 1, alpha (n,), k (n, n), new rows (m, d).  Numbers may be
integers, int8 too; answers are float64.  C > 0 is the argument `c`.  No function changes its
arguments.

**Steps.**  A good place to pause is after rbf_kernel.

    hinge_loss         5 min   one line
    hinge_gradient     6 min   which rows pull?
    pegasos           10 min   the margin before the step counts
    polynomial_kernel  3 min   one line
    rbf_kernel         5 min   far from the origin
    dual_objective     3 min   one line
    kkt_violation      8 min   may α grow?  May it shrink?
    smo_step          15 min   clip t, not the two αs
    smo               12 min   the pair, and b
    margin_width       3 min   ‖w‖ from the dual
    SVC               10 min   labels to signs and back

Sources: Shalev-Shwartz, Singer and Srebro 2007, "Pegasos: Primal Estimated sub-GrAdient SOlver for
SVM"; Platt 1998, "Sequential Minimal Optimization"; Keerthi et al. 2001, "Improvements to Platt's
SMO Algorithm for SVM Classifier Design".

From scratch: sklearn and scipy may not be used.
"""

from collections.abc import Callable

import numpy as np

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def hinge_loss(w: np.ndarray, b: float, x: np.ndarray, y: np.ndarray, lam: float) -> float:
    """The lesson's primal, with w (d,) and λ = `lam` ≥ 0; b isn't punished."""
    raise NotImplementedError


def hinge_gradient(w: np.ndarray, b: float, x: np.ndarray, y: np.ndarray, lam: float) -> tuple[np.ndarray, float]:
    """The gradient of hinge_loss by w (d,) and by b; a row with margin exactly 1 counts 0."""
    raise NotImplementedError


def pegasos(x: np.ndarray, y: np.ndarray, lam: float, steps: int, rng: np.random.Generator) -> np.ndarray:
    """The last w (d,) of the lesson's Pegasos after so many steps from 0.

    - Each step's row is drawn by `rng`, every one as likely.
    - The margin is that of w before the step, without b.
    - steps may be 0.  Nothing is projected or averaged.
    """
    raise NotImplementedError


def polynomial_kernel(a: np.ndarray, b: np.ndarray, degree: int = 3, constant: float = 1.0) -> np.ndarray:
    """The polynomial kernel of each row of `a` (n, d) with each of `b` (m, d): (n, m)."""
    raise NotImplementedError


def rbf_kernel(a: np.ndarray, b: np.ndarray, gamma: float = 1.0) -> np.ndarray:
    """The RBF kernel of each row of `a` (n, d) with each of `b` (m, d): (n, m).

    Also right where rows lie far from the origin and near each other: 1e8 and 1e8 + 1.
    """
    raise NotImplementedError


def dual_objective(alpha: np.ndarray, y: np.ndarray, k: np.ndarray) -> float:
    """The lesson's W(α), with `k` the kernel of all rows with all rows."""
    raise NotImplementedError


def kkt_violation(alpha: np.ndarray, b: float, y: np.ndarray, k: np.ndarray, c: float) -> np.ndarray:
    """How far each row's margin is from what its α asks for: (n,), ≥ 0, and 0 where KKT holds.

    An α is taken for 0 or for C where it is so exactly, not where it is near.
    """
    raise NotImplementedError


def smo_step(alpha: np.ndarray, y: np.ndarray, k: np.ndarray, c: float, i: int, j: int) -> np.ndarray:
    """A new alpha (n,) with αᵢ and αⱼ moved to where W is highest; i ≠ j.

    - The other αs stay, and so does ∑ αᵢ yᵢ.  Both stay within 0 and C.
    - An α that ends at its bound is 0 or `c` itself: none is within 1e-12·c of a bound otherwise.
    - Two equal rows give curve 0, and W a straight line: go to its higher end.  With slope 0, too,
      both stay.
    """
    raise NotImplementedError


def smo(y: np.ndarray, k: np.ndarray, c: float, tol: float = 1e-6, max_steps: int = 10_000) -> tuple[np.ndarray, float]:
    """(alpha, b) where no row violates KKT by more than `tol`, starting from α = 0.

    - At most `max_steps` pairs are moved; then it ends as it is.
    - `y` holds both signs.  Rows may be equal.
    - 0 ≤ α ≤ C, and ∑ αᵢ yᵢ = 0.
    - Which pairs you choose is up to you.  For KKT, α is 0 or C only where it is so exactly.
    - Where several b fulfil KKT, any of them will do.
    """
    raise NotImplementedError


def margin_width(alpha: np.ndarray, y: np.ndarray, k: np.ndarray) -> float:
    """The width 2/‖w‖ of the street, for w = ∑ αᵢ yᵢ xᵢ in the kernel's space: ‖w‖² > 0."""
    raise NotImplementedError


class SVC:
    """A classifier for two classes, trained by SMO.

    After `fit`:

        classes   (2,): the two classes, sorted; the second has sign +1
        alpha     (n,)
        b         float
        support   (s,): the numbers of the rows with α > 0, rising

    A second `fit` forgets the first.
    """

    def __init__(self, kernel: Kernel, c: float = 1.0, tol: float = 1e-6) -> None:
        """kernel(a, b), of rows (n, d) and (m, d), gives (n, m).  c and tol are smo's."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Learn from rows `x` with classes `y`: numbers or strings.

        Both arrays may change afterwards without an effect on the model.
        Raises ValueError, naming the number of classes, if it isn't 2.
        """
        raise NotImplementedError

    def decision(self, new: np.ndarray) -> np.ndarray:
        """f of each new row: (m,)."""
        raise NotImplementedError

    def predict(self, new: np.ndarray) -> np.ndarray:
        """The class of each new row by f's sign: (m,).  At exactly 0 either will do."""
        raise NotImplementedError
