"""Large batches and beyond Adam: Lion, LARS, LAMB, Lookahead

**Before you start.**  You need momentum (k01_momentum) and Adam (k03_adam); no other kata is
imported.  Lion, LARS and LAMB are subclasses of torch.optim.Optimizer, which keeps parameters,
groups and state_dict for you.

**The idea.**  With 32,000 images a batch, an epoch of ImageNet has only 40 steps, so each must be
long.  But one large rate for all layers diverges: in some layers ‖w‖ is a thousand times ‖g‖, in
others ten times.  LARS and LAMB measure both and give each layer a step that is a fixed share of
its weights.  Lion keeps half of Adam's state, and Lookahead steadies any optimizer that it wraps.

**The formulas.**  For a parameter w, a whole tensor with gradient g; η is `lr`, λ `weight_decay`, μ
`momentum`, ‖·‖ the root of the sum of all squares.  The averages m and v and the buffer b are 0 at
first, and t = 1, 2, … counts the parameter's steps.

*Lion* keeps one average and uses only its sign.  β₁ mixes for the step, β₂ for the memory:

    c = β₁·m + (1 - β₁)·g
    w ← w - η·(sign(c) + λ·w)              sign(0) = 0, and w from before the step
    m ← β₂·m + (1 - β₂)·g                  after the step

*LARS* has a local rate for each layer; κ is `trust_coefficient`:

    r = κ·‖w‖ / (‖g‖ + λ·‖w‖)
    b ← μ·b + η·r·(g + λ·w)                the rate is inside b
    w ← w - b

*LAMB* does so with Adam's direction:

    m ← β₁·m + (1 - β₁)·g                  v ← β₂·v + (1 - β₂)·g²
    u = m̂ / (√v̂ + eps) + λ·w               m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ)
    w ← w - η · ‖w‖/‖u‖ · u

*Lookahead* keeps two copies of the weights.  An inner optimizer runs ahead with the fast ones, θ.
After every k steps the slow ones, φ, go a part α of the way to θ.  Then θ starts again from φ:

    φ ← φ + α·(θ - φ)        θ ← φ

    θ   φ₀ ──▶ θ₁ ──▶ θ₂ ──▶ θ₃            k is 3, α is 1/2
         │                  ╱
    φ   φ₀ ───────▶ φ₁     ╱               φ₁ is halfway to θ₃
                     │◀───╯
    θ               φ₁ ──▶ θ₄ ──▶ θ₅ ──▶ θ₆

**Why does the scale of g not matter to LARS?**  With λ = 0, g·‖w‖/‖g‖ has the length of w.  So no
layer explodes, and none stands still.

**Why two betas in Lion?**  The step should follow the newest gradient (β₁ = 0.9), the memory should
reach far back (β₂ = 0.99).

**Which rate does Lion want?**  Each of its entries moves by a full η, most of AdamW's by less.  Its
authors take a rate 3 to 10 times smaller than AdamW's.

**What if a norm is 0?**  A bias that starts at 0 has ‖w‖ = 0: its rate would be 0, and it would
never move.  A gradient of 0 would mean a division by 0.  In both cases the ratio is 1.

**Worked by hand**

    Lion   w = 2, η = 0.1, λ = 0.5, g = 3:  c = 0.3, w = 2 - 0.1·(1 + 1) = 1.8, m = 0.03
           g = -0.1:  c = 0.017, still up:  w = 1.8 - 0.1·(1 + 0.9) = 1.61
    LARS   w = (3, 4), κ = 0.1, η = 1, μ = 0.5, g = (6, 8):  r = 0.1·5/10 = 0.05, b = (.3, .4)
           w = (2.7, 3.6), g as before:  r = 0.045, b = (.42, .56), w = (2.28, 3.04)
    LAMB   w = (3, 4), η = 0.1, eps = 0, g = (2, -2):  u = (1, -1), 5/√2 = 3.5355
           w = (2.6464, 4.3536)
    Lookahead, k = 2, α = ½, inner steps of -1:  θ = 10, 9, 8, then φ = θ = 9

**Shapes**: a parameter has any shape and floating dtype.  Lion, LARS and LAMB follow these rules:

- A group has the constructor's arguments as keys, and step reads them from the group anew at each
  step.  A group that is given as a dict may set its own.
- All that is kept for w is in self.state[w], so that a state_dict resumes a run.
- A parameter whose .grad is None is skipped: nothing moves, and its t stays.  A gradient of zeros
  is a gradient.
- Parameters change in place.  Gradients stay as they are.  Autograd records nothing.
- step(closure) calls the closure once before anything else, with gradients on (also if the caller
  has switched them off), and returns what it returned.  Without one step returns None.

No function changes its arguments.

**Steps.**

    trust_ratio    5 min   no NaN where a norm is 0
    Lion          15 min   one β for the step, one for the memory
    LARS          12 min   the rate inside the buffer
    LAMB          12 min   the norm of u, with the decay in it
    Lookahead     15 min   count, copy, and resume

Sources: Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms" (Lion); You, Gitman and
Ginsburg 2017, "Large Batch Training of Convolutional Networks" (LARS); You et al. 2020, "Large
Batch Optimization for Deep Learning" (LAMB); Zhang et al. 2019, "Lookahead Optimizer: k steps
forward, 1 step back".

From scratch: torch.optim.Optimizer is allowed; torch.optim.Adam, torch.optim.AdamW and
torch.optim.SGD may not be used.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def trust_ratio(size: Tensor, update: Tensor) -> Tensor:
    """size / update, or 1 if either is 0.  Both are norms ≥ 0, tensors without axes.

    The answer has no axes either, and their dtype and device.
    """
    raise NotImplementedError


class Lion(Optimizer):
    """Lion, with decoupled weight decay."""

    def __init__(
        self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        """`params` is an iterable of parameters, or of groups as dicts: hand it to Optimizer's own __init__.

        lr and weight_decay must be 0 or more, both betas 0 or more and below 1.  Raises ValueError, naming the
        value, for one that isn't, NaN included.
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient, by the rules above."""
        raise NotImplementedError


class LARS(Optimizer):
    """LARS.  r is trust_ratio(κ·‖w‖, ‖g‖ + λ·‖w‖): 1 where either is 0, and so for κ = 0."""

    def __init__(
        self,
        params: Any,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        """All four numbers must be 0 or more.  Raises ValueError, naming the value, for one that isn't, NaN included."""
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient, by the rules above."""
        raise NotImplementedError


class LAMB(Optimizer):
    """LAMB.  The factor ‖w‖/‖u‖ is trust_ratio(‖w‖, ‖u‖): 1 where either is 0."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        """lr, eps and weight_decay must be 0 or more, both betas 0 or more and below 1.  Raises ValueError, naming
        the value, for one that isn't, NaN included.
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient, by the rules above."""
        raise NotImplementedError


class Lookahead:
    """Wraps an optimizer; φ starts as the parameters are when it is wrapped.

    All parameters of all groups of `inner` take part; no group is added later.  What the inner optimizer
    keeps, such as momentum, goes on unchanged.
    """

    def __init__(self, inner: Optimizer, k: int = 5, alpha: float = 0.5) -> None:
        """Raises ValueError, naming the value, if k is below 1, or alpha not from 0 to 1."""
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the inner optimizer, with this closure, and every k-th time the two assignments above.

        Returns what the inner step returns.  Parameters change in place, and autograd records nothing.
        """
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """The inner optimizer's."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to be resumed: the inner state, φ, and where in the k steps it stands.

        Of tensors, numbers, texts, lists and dicts, so that torch.save and torch.load take it.  Later steps don't
        change its φ.
        """
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state_dict; the parameters stay as they are.

        With the parameters of the time when it was saved, the run goes on as if it had never stopped.
        """
        raise NotImplementedError
