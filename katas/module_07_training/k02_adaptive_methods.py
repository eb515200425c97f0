"""Adaptive methods: AdaGrad, RMSprop, AdaDelta

**Before you start.**  You need gradient descent with momentum (k01_momentum); no other kata is
imported.  The optimizers here are subclasses of torch.optim.Optimizer, which keeps parameters,
groups and state_dict for you: read "torch.optim" in PyTorch's documentation, its first page, if you
have never looked inside one.

**The idea.**  A rare word's embedding gets a gradient once in a thousand steps, a common one's at
every step.  One rate can't suit both.  Adaptive methods give each weight a rate of its own: they
divide its gradient by the size of its past gradients.

    step                         1 2 3 4 5 6 7 8   sum of squares   rate
    gradients of a common word   1 1 1 1 1 1 1 1         8          η/√8
    gradients of a rare word     0 0 0 0 0 1 0 0         1          η

**The formulas.**  For a weight w with gradient g, at its step t = 1, 2, …; η is `lr`, λ
`weight_decay`, ε `eps`.  All three begin with

    g ← g + λ·w                            -g + λ·w with `maximize`

*AdaGrad* sums all squares; `lr_decay` κ lowers the rate further.  s begins as
`initial_accumulator_value`:

    s ← s + g²                             w ← w - η / (1 + (t - 1)·κ) · g / (√s + ε)

*RMSprop* averages instead, with decay α, so that old gradients are forgotten.  v, ḡ and b are 0 at
first:

    v ← α·v + (1 - α)·g²                   d = g / (√v + ε)
    centered: ḡ ← α·ḡ + (1 - α)·g          d = g / (√(v - ḡ²) + ε)
    momentum μ > 0: b ← μ·b + d            w ← w - η·b          μ = 0: w ← w - η·d

*AdaDelta* multiplies by the size of past updates Δ, so that η can stay at 1.  u is the average of
their squares.  v = u = 0 at first:

    v ← ρ·v + (1 - ρ)·g²
    Δ = √(u + ε) / √(v + ε) · g            with the u from before this step
    u ← ρ·u + (1 - ρ)·Δ²                   w ← w - η·Δ

**Why did AdaGrad need a successor?**  Its sum only grows, so its steps shrink for ever.  For a
convex problem that is right.  A network that must still learn after a million steps wants an
average.

**Why is AdaDelta's ε inside the roots?**  In AdaGrad and RMSprop ε only prevents a division by 0.
In AdaDelta it also starts the motion: with ε = 0 and u = 0 nothing would ever move.  So it is
inside both roots.  (Some libraries put RMSprop's inside, too.  Here it is outside, as in torch.)

**Why centered?**  v - ḡ² is the variance.  Where gradients agree it is small, and the step is long.

**Worked by hand**, w = 2:

    AdaGrad   η = 0.5, ε = 0, g = 3, then 4       s = 9, w = 1.5        s = 25, w = 1.1
    RMSprop   η = 0.1, α = 0.75, ε = 0, g = 2     v = 1, d = 2, w = 1.8
      centered                                    ḡ = 0.5, d = 2/√0.75 = 2.3094, w = 1.7691
    AdaDelta  η = 1, ρ = 0.75, ε = 3, g = 2       v = 1, Δ = √3/√4 · 2 = 1.7321, w = 0.2679
                                                  u = 0.25 · 3 = 0.75

**Shapes**: a parameter has any shape and floating dtype; its gradient and what the state keeps for
it, `step` aside, have the same, on the same device.  All three follow these rules:

- A group has the constructor's arguments as keys (lr, eps, weight_decay, maximize, …).  A group
  that is given as a dict may set its own; the arguments are the default.  step reads them from
  the group anew at each step, since schedules change them.  Only initial_accumulator_value is
  read once, when the sum is made.
- self.state[w] has torch's names, as each class says, so a state_dict can go into torch's own
  optimizer, and theirs into yours.  "step" is t, a number or a tensor without axes; torch's is a
  float32 tensor.  State may be made at the first step or in the constructor.
- A parameter whose .grad is None is skipped: nothing moves, and its t stays.  Each parameter has
  a t of its own.  A gradient of zeros is a gradient.
- Parameters change in place.  Gradients stay as they are.  Autograd records nothing.
- step(closure) calls the closure once before anything else, with gradients on (also if the caller
  has switched them off), and returns what it returned; the closure computes loss and gradients
  anew.  Without one step returns None.
- Gradients are dense and real.

**Steps.**

    Adagrad    18 min   groups, closure, options that are checked
    RMSprop    15 min   a variance that rounding makes negative
    Adadelta   12 min   u from before the step; ε inside

Sources: Duchi, Hazan and Singer 2011 (AdaGrad); Tieleman and Hinton 2012, lecture 6.5 (RMSprop);
Graves 2013, "Generating Sequences With Recurrent Neural Networks", section 4.2 (centered); Zeiler
2012, "ADADELTA".

From scratch: torch.optim.Optimizer is allowed; torch.optim.Adagrad, torch.optim.RMSprop,
torch.optim.Adadelta, torch.optim.adagrad, torch.optim.rmsprop and torch.optim.adadelta may not be
used.
"""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer


class Adagrad(Optimizer):
    """AdaGrad.  The state of a parameter: "step", and "sum" for s."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        maximize: bool = False,
    ) -> None:
        """`params` is an iterable of parameters, or of groups as dicts: hand it to Optimizer's own __init__.

        Of the arguments all five numbers must be 0 or more.  Raises ValueError, naming the value, for one that
        isn't, NaN included.
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient, by the rules above."""
        raise NotImplementedError


class RMSprop(Optimizer):
    """RMSprop.  The state: "step", "square_avg" for v; with `centered` "grad_avg" for ḡ, with momentum
    "momentum_buffer" for b."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        maximize: bool = False,
    ) -> None:
        """lr, eps, weight_decay and momentum must be 0 or more, alpha 0 or more and below 1.  Raises ValueError,
        naming the value, for one that isn't, NaN included.
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient, by the rules above.

        - v - ḡ² can't be negative, but rounding may make it so.  Take 0 there, so that no NaN arises.
        - Neither momentum nor centered is switched on between steps.
        """
        raise NotImplementedError


class Adadelta(Optimizer):
    """AdaDelta.  The state: "step", "square_avg" for v, "acc_delta" for u."""

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        """lr, eps and weight_decay must be 0 or more, rho 0 or more and below 1.  Raises ValueError, naming the
        value, for one that isn't, NaN included.
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient, by the rules above."""
        raise NotImplementedError
