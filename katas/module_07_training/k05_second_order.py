"""Second order: Newton without a Hessian, Shampoo, Muon

**Before you start.**  You need eigenvalues and singular values, AdaGrad (k02_adaptive_methods) and
momentum (k01_momentum); no other kata is imported.  Shewchuk 1994, "An Introduction to
the Conjugate Gradient Method Without the Agonizing Pain", explains the second step at length.

**The idea.**  A gradient says which way is down, not how far.  Curvature does: along a steep,
narrow direction the step must be short, along a flat one long.  The Hessian of n weights has n²
entries, far too many to write down.  Newton by conjugate gradients needs only its products with
vectors.  Shampoo replaces it: past gradients give one small matrix for each axis.  Muon keeps no
curvature at all and makes all directions of an update equally long.

**The formulas.**  H is the Hessian of the loss at w, and g the gradient.

*Hessian-vector product*: ⟨∇loss(w), v⟩ is a number, and its gradient is H·v.  It costs a few times
as much as a gradient, however many weights there are:

    H·v = ∇_w ⟨∇loss(w), v⟩

*Conjugate gradients* solve A·x = b by products A·p alone; A is symmetric and positive definite:

    x = 0, r = b, p = b
    repeat:  α = ⟨r, r⟩ / ⟨p, A·p⟩      x ← x + α·p      r' = r - α·A·p
             p ← r' + ⟨r', r'⟩ / ⟨r, r⟩ · p              r ← r'

*Damped Newton*: w ← w - d, where (H + λ·I)·d = g.

*Shampoo* for a gradient G with k axes, of sizes n₁ … n_k.  For each axis i it keeps P_i, n_i × n_i,
ε·I at first.  G_i is G with axis i first and all others flattened: n_i rows.  To multiply "along
axis i" is to multiply G_i by the matrix from the left, and to put the axes back.

    P_i ← P_i + G_i·G_iᵀ
    D = G, multiplied along each axis i by P_i^(-1/(2k))        w ← w - η·D

            G (n₁, n₂)             of a matrix: D is P₁^(-1/4) · G · P₂^(-1/4)
        ┌──────────────┐           of a vector: D is P₁^(-1/2) · g
     P₁ │              │  n₁ × n₁
        └──────────────┘
          P₂  n₂ × n₂

*Newton–Schulz* drives all singular values of a matrix X towards 1, by products alone.  If X has
more rows than columns, it works on Xᵀ.  With a, b, c = 3.4445, -4.7750, 2.0315:

    X ← G / (‖G‖ + 1e-7), the norm of all entries;  then `steps` times
    A = X·Xᵀ,  X ← a·X + (b·A + c·A²)·X

*Muon*, for a matrix with n₁ rows and n₂ columns; μ is `momentum`, λ `weight_decay`:

    m ← μ·m + (1 - μ)·G                    m = 0 at first
    u = (1 - μ)·G + μ·m with `nesterov`, else m
    w ← (1 - η·λ)·w - η · √max(1, n₁/n₂) · newton_schulz(u)

**Why damping?**  Where curvature is negative or nearly 0 Newton steps the wrong way, or far too
far.  λ shortens the step; a large λ makes it g/λ, plain gradient descent.

**Why does Newton–Schulz work?**  X = U·S·Vᵀ makes X ← U·(a·S + b·S³ + c·S⁵)·Vᵀ: the polynomial
acts on each singular value alone.  It is steep at 0: a small value grows 3.4 times a step, so five
steps suffice.  A value above 1 % of ‖G‖ ends between 0.68 and 1.14, which is near enough to 1.

**Worked by hand**

    loss = w₁² + 3·w₁·w₂:   H = [2 3; 3 0], H·(1, 2) = (8, 3)
    A = diag(1, 2), b = (1, 2):  α = 5/9, then x = (1, 1) after the second step
    loss = 2·w², w = 3, λ = 4:  g = 12, d = 12 / (4 + 4) = 1.5, w = 1.5
    Shampoo, ε = 1, g = (3, 4):  P = I + g·gᵀ has the eigenvalue 26 along g, so D = g/√26
    Newton–Schulz of diag(1, 1), one step:  s = 0.7071, a·s + b·s³ + c·s⁵ = 1.1065

**Shapes** are in each docstring.  All tensors are of one dtype, float32 or float64, on one device,
and so are the answers.  No function changes its arguments.  Shampoo and Muon are subclasses of
torch.optim.Optimizer:

- A group has the constructor's arguments as keys.  A group that is given as a dict may set its
  own.  step reads them from the group at each step.
- What is kept for w is in self.state[w], so that a state_dict resumes a run.
- A parameter whose .grad is None is skipped.
- Parameters change in place.  Gradients stay as they are.  Autograd records nothing.
- step(closure) calls the closure once before anything else, with gradients on (also if the caller
  has switched them off), and returns what it returned.  Without one step returns None.

**Steps.**  A good place to pause is before inverse_root.

    hvp                   7 min   differentiate twice
    conjugate_gradient   12 min   when to stop
    newton_step           7 min   damping is one more term
    inverse_root          6 min   by eigenvalues
    Shampoo              15 min   one matrix for each axis
    newton_schulz         8 min   the short side
    Muon                 12 min   momentum, then the matrix

Sources: Pearlmutter 1994 (H·v); Hestenes and Stiefel 1952; Martens 2010, "Deep learning via
Hessian-free optimization"; Gupta, Koren and Singer 2018, "Shampoo"; Jordan et al. 2024, "Muon".

From scratch: torch.optim.Optimizer is allowed; torch.optim.Muon, torch.autograd.functional and
torch.func may not be used.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def hvp(loss_fn: Callable[[Tensor], Tensor], w: Tensor, v: Tensor) -> Tensor:
    """H·v, of w's shape, without a graph; v has the shape of w, and loss_fn(w) is a number.

    - The Hessian is never made: no tensor has more entries than w, except in loss_fn.
    - A linear loss has a Hessian of 0, and so the answer is zeros.
    - w may require gradients or not, and torch.no_grad() may be on.  No .grad changes.
    """
    raise NotImplementedError


def conjugate_gradient(
    apply: Callable[[Tensor], Tensor], b: Tensor, iterations: int = 100, tolerance: float = 1e-10
) -> Tensor:
    """x with A·x = b, of b's shape, whatever it is; apply(p) is A·p, linear and symmetric.

    - Stops as soon as ‖r‖ ≤ tolerance · ‖b‖, or after `iterations` ≥ 1 calls of `apply`.  For b = 0 that is 0
      calls, and x = 0.
    - Where ⟨p, A·p⟩ ≤ 0, A isn't positive definite.  Then it stops and returns x so far; at the first step, b.
    """
    raise NotImplementedError


def newton_step(loss_fn: Callable[[Tensor], Tensor], w: Tensor, damping: float = 0.0, iterations: int = 100) -> Tensor:
    """w - d, a new tensor without a graph: d is from conjugate_gradient with that many `iterations`, λ is `damping`.

    w may require gradients or not, and torch.no_grad() may be on.  No .grad changes.

    Raises ValueError, naming it, for a damping below 0.
    """
    raise NotImplementedError


def inverse_root(matrix: Tensor, p: int, floor: float = 0.0) -> Tensor:
    """M^(-1/p) for a symmetric M (n, n) and p ≥ 1.

    Eigenvalues below `floor` count as `floor`: rounding may have taken them there, even below 0.
    """
    raise NotImplementedError


class Shampoo(Optimizer):
    """Shampoo for parameters with one axis or more.  No eigenvalue of a P_i is below ε, and rounding doesn't
    change that: take ε as the floor.
    """

    def __init__(self, params: Any, lr: float = 0.1, epsilon: float = 1e-4) -> None:
        """`params` is an iterable of parameters, or of groups as dicts: hand it to Optimizer's own __init__.

        Raises ValueError, naming the value, if lr isn't 0 or more, or epsilon isn't above 0.
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient."""
        raise NotImplementedError


def newton_schulz(g: Tensor, steps: int = 5) -> Tensor:
    """g (n₁, n₂) with singular values driven towards 1, by the formula above; the same shape and dtype.

    Zeros stay zeros.  No tensor has more entries than g: A is as small as it can be.
    """
    raise NotImplementedError


class Muon(Optimizer):
    """Muon, for matrices only."""

    def __init__(
        self,
        params: Any,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
    ) -> None:
        """Raises ValueError

        - naming the value, if lr or weight_decay isn't 0 or more, NaN included, or momentum isn't 0 or more
          and below 1;
        - naming the shape, if a parameter in any group doesn't have two axes.
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient."""
        raise NotImplementedError
