"""Adam, AdamW, AMSGrad, and a state in 8 bits

**Before you start.**  You need gradient descent with momentum (k01_momentum) and torch tensors; no
other kata is imported.  The optimizers here are subclasses of torch.optim.Optimizer, which keeps
parameters, groups and state_dict for you: read "torch.optim" in PyTorch's documentation, its first
page, if you have never looked inside one.

**The idea.**  Gradients of different weights differ by orders of magnitude, so no single rate suits
all.  Adam divides each weight's averaged gradient by its usual size.  Then every weight moves by
about the learning rate, whatever the scale of its gradient.  Most large language models are
trained with AdamW.

**The formulas.**  For one weight w with gradient g, at its step t = 1, 2, …

    m ← β₁·m + (1 - β₁)·g                    average gradient
    v ← β₂·v + (1 - β₂)·g²                   average square
    m̂ = m / (1 - β₁ᵗ)    v̂ = v / (1 - β₂ᵗ)   bias correction
    d = m̂ / (√v̂ + eps)                       the direction
    w ← w - η·d                              η is the learning rate, `lr`

m and v are 0 at the start.  *AMSGrad* never forgets a large v: its v̂ is the largest v so far,
divided by 1 - β₂ᵗ.  With `maximize` the gradient is -g.  λ is `weight_decay`, and
the two optimizers differ only in where it enters:

    Adam     g ──▶ + λ·w ──▶ m, v ──▶ d ──▶ w ← w - η·d
    AdamW    g ────────────▶ m, v ──▶ d ──▶ w ← (1 - η·λ)·w - η·d

*Blocks of 8 bits.*  m and v together take twice the memory of the weights.  In 8 bits they take a
quarter of what they take in float32.  Cut a tensor into blocks, in row-major order.  Keep one scale
s for each block, its largest |x|, and a whole number from -127 to 127 for each entry:

    code = round(127 · x / s)                x ≈ s · code / 127

    x        127  -50.4  3.2  0 │ .254  .1       blocks of 4
    scales          127         │    .254
    codes    127  -50    3    0 │  127  50

**Why correct the bias?**  Take the defaults, β₁ = 0.9 and β₂ = 0.999.  After one step m is a tenth
of g, and v only a thousandth of g².  The uncorrected first step would be 0.1/√0.001 ≈ 3 times too
long.

**Why decouple the decay?**  In Adam λ·w is part of g, and gets divided by √v̂ like all of g.  A
weight with large gradients then hardly shrinks.  AdamW shrinks every weight by the same share.

**Why blocks?**  One outlier sets the scale of its block, and small entries in it are rounded to 0.
A small block has few of them.
(Dettmers et al. use blocks of 2048, and codes that lie closer together near 0.)

**Worked by hand**, w = 2, η = 0.1, β = (0.5, 0.75), eps = 0:

    t = 1, g = 2    m = 1    v = 1      m̂ = 2     v̂ = 4      d = 1       w = 1.9
    t = 2, g = 0    m = 0.5  v = 0.75   m̂ = 2/3   v̂ = 12/7   d = 0.5092  w = 1.8491
    λ = 0.5, the first step:   Adam   g = 2 + 1 = 3, d = 1, w = 1.9: as without decay
                               AdamW  w = 0.95 · 2 - 0.1 = 1.8

**Shapes**: a parameter has any shape; its gradient and what the state keeps for it have the same.
No function changes its arguments, except adam_direction its `state`.

Both optimizers follow these rules:

- A group has the keys lr, betas, eps, weight_decay, amsgrad and maximize.  A group that is given
  as a dict may set its own; the constructor's arguments are the default.  step reads them from
  the group anew at each step, since schedules change them.
- A parameter whose .grad is None is skipped: nothing moves, and its t stays.  Each parameter has
  a t of its own.  A gradient of zeros is a gradient.
- Parameters change in place.  Gradients stay as they are.  Autograd records nothing.
- self.state[w] is what adam_direction keeps.  So a state_dict can go into torch's own Adam or
  AdamW, and theirs into yours.  Their `step` is a float32 tensor: take int(...) of it before you
  raise a β to that power.
- Gradients are dense and real.

**Steps.**

    adam_direction    15 min   the state is empty at first
    Adam              15 min   groups, closure, decay in the gradient
    AdamW              8 min   decay beside the gradient
    quantize_blocks   12 min   the last block, and a block of zeros
    dequantize_blocks  6 min   one scale for each entry

Sources: Kingma and Ba 2015, "Adam"; Loshchilov and Hutter 2019, "Decoupled Weight Decay
Regularization"; Reddi, Kale and Kumar 2018, "On the Convergence of Adam and Beyond" (AMSGrad);
Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization".

From scratch: torch.optim.Optimizer is allowed; torch.optim.Adam, torch.optim.AdamW,
torch.optim.adam, torch.optim.adamw, torch.optim.NAdam, torch.optim.RAdam and torch.optim.Adamax
may not be used.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def adam_direction(
    g: Tensor, state: dict[str, Any], betas: tuple[float, float], eps: float, amsgrad: bool = False
) -> Tensor:
    """Update the moments in `state` by the gradient g, and return d; shape, dtype and device of g.

    `state` is an empty dict at the first call.  Afterwards it has torch's names:

    - "step": t, the number of calls so far, a number or a tensor without axes.  It may come in as
      either.
    - "exp_avg": m, and "exp_avg_sq": v.  Both are as g is, uncorrected.
    - "max_exp_avg_sq", with `amsgrad` only: the largest v of any step so far, entry by entry,
      uncorrected.  It divides in place of v, and v itself goes on unchanged.

    g isn't changed.  betas ≥ 0 and < 1; eps ≥ 0.
    """
    raise NotImplementedError


class Adam(Optimizer):
    """Adam, with weight decay as an L2 penalty: g + λ·w in place of g (-g + λ·w with `maximize`)."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        """`params` is an iterable of parameters, or of groups as dicts: hand it to Optimizer's own __init__.

        Of the arguments lr, eps and weight_decay must be 0 or more, both betas 0 or more and below 1.
        Raises ValueError, naming the value, for one that isn't, NaN included.
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient.

        With a `closure`, call it once before anything else, with gradients on (also if the caller has
        switched them off), and return what it returns: it computes the loss and the gradients anew.
        Without one return None.
        """
        raise NotImplementedError


class AdamW(Optimizer):
    """Adam with decoupled weight decay: w loses η·λ·w, with η and λ of its group and the w from before the step."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        """As Adam's, but for the default weight_decay."""
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """As Adam's.  `maximize` turns the gradient, not the decay."""
        raise NotImplementedError


def quantize_blocks(x: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """x in 8 bits: (codes, scales), both on its device.

    x       float32 or float64, any shape; `block` entries in row-major order share a scale
    codes   int8, the shape of x: 127 · x / s, rounded to the nearest
    scales  (⌈entries of x / block⌉,), the dtype of x: the largest |x| of each block

    - The last block may be shorter.  Of an empty x both are empty.
    - A block of zeros has scale 0 and codes 0.
    - Halfway between two codes either will do.

    Raises ValueError, naming the block, if it is below 1.
    """
    raise NotImplementedError


def dequantize_blocks(codes: Tensor, scales: Tensor, block: int) -> Tensor:
    """Back to numbers: s · code / 127, of the shape of `codes` and the dtype of `scales`."""
    raise NotImplementedError
