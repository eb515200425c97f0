"""Mixed precision

**Before you start.**  You need a training loop in torch and what float16 can hold (number_formats
explains it).  No other kata is imported.

**The idea.**  float16 halves memory and makes matrix products several times as fast.  But its range
is narrow: above 65504 lies inf, and up to 2⁻²⁵ ≈ 3e-8 all rounds to 0.  So gradients vanish and
exponentials overflow.  Three habits help:

                 float16                                 float32
    weights ──▶ forward ───────────────────────────────▶ loss
      ▲                                                   │ × S
      │         backward ◀────────────────────────────────┘
      │            │
      │            └─▶ gradients × S ──────────────────▶ gradients ──▶ optimizer
      │                                    inf? skip        / S           │
      └──────────────── rounded ────────── master weights ◀───────────────┘

*Choose by op (autocast).*  Matrix products bear rounding well and run in the low dtype.
Exponentials, long sums and losses overflow or cancel: they run in float32.  All others run in the
widest dtype given:

    low        matmul mm bmm addmm baddbmm linear conv1d conv2d
    float32    exp log pow sum prod softmax log_softmax layer_norm
               l1_loss mse_loss nll_loss cross_entropy
    widest     every other name

*Scale the loss.*  Multiply it by S.  Then gradients are S times as large and don't underflow.
Divide by S in float32, before the step.

*Keep float32 master weights.*  The optimizer updates a float32 copy, where small updates add up.
After each step it is rounded into the float16 model.

**The formula**, for the loss L and a weight w:

    ∂(S·L)/∂w = S · ∂L/∂w

A dynamic S stays at the largest value that fits:

    inf or NaN in a gradient:         skip this step,  S ← S · backoff_factor
    growth_interval good steps in a row:               S ← S · growth_factor

**Why skip a step?**  Once an inf or a NaN is in the weights, it never leaves them.

**Why not float16 weights?**  float16 numbers in [1, 2) lie 2⁻¹⁰ apart.  An update smaller than half
of that is always rounded away.

**Worked by hand:**

    A gradient of 1e-8 is 0 in float16.  With S = 1024 it is 1.024e-5, in float16
    172 · 2⁻²⁴ = 1.0252e-5; divided by S in float32 it is 1.0012e-8.

    S = 8, growth 2, backoff ½, growth interval 2.  S after each update:
    good 8, good 16, inf 8, good 8, inf 4, good 4, good 8

    w = 1.5, and each of four steps takes 2⁻¹² away: in float16 w stays 1.5.
    The master goes to 1.5 − 4 · 2⁻¹² = 1.4990234375, which float16 holds.

**Shapes**: parameters and batches of any shape; a loss is a scalar, ().  New tensors are on the
device of their loss or parameter.

**Steps.**

    autocast_dtype   10 min   float64 first; float16 with bfloat16 is float32
    LossScaler       20 min   one flag: not unscaled, good, or inf
    MasterWeights    10 min   copies, even of a float32 model
    train            20 min   who divides by S, and in which dtype?

Sources: Micikevicius et al. 2018, "Mixed Precision Training", sections 3.1-3.3;
PyTorch's documentation of torch.amp, "Autocast Op Reference".

From scratch: torch.amp, torch.autocast, torch.cuda.amp, torch.cpu.amp,
torch.distributed.fsdp.sharded_grad_scaler, torch._amp_update_scale_ and
torch._amp_foreach_non_finite_check_and_unscale_ may not be used; torch.optim and
autograd may.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def autocast_dtype(op: str, *dtypes: torch.dtype, low: torch.dtype = torch.float16) -> torch.dtype:
    """The dtype in which `op` runs on inputs of `dtypes`, by the table above.

    dtypes  one or more of float16, bfloat16, float32 and float64
    low     float16 or bfloat16; only the first row of the table looks at it

    - If any input is float64 the answer is float64, in every row: whoever passes it asked for it.
    - Else the row decides.
    - An op that the table doesn't name (conv3d, cumsum) is in its last row.
    - The widest of float16 and bfloat16 together is float32: neither holds all values of the other.
    """
    raise NotImplementedError


class LossScaler:
    """A dynamic loss scale, for one optimizer.

    Used in each iteration as torch's GradScaler is:

        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)      # only if gradients are looked at, e.g. to clip them
        scaler.step(optimizer)
        scaler.update()
    """

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        """Start at `init_scale`; the others as in `update`."""
        raise NotImplementedError

    def get_scale(self) -> float:
        """The scale now, a float."""
        raise NotImplementedError

    def scale(self, loss: Tensor) -> Tensor:
        """The loss, a scalar tensor (), times the scale; gradients flow through it.

        The result is float32, or float64 if the loss is.  Widen a float16 loss before the product:
        65536 is inf in float16.
        """
        raise NotImplementedError

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of all the optimizer's parameters by the scale.

        - Each `.grad` then holds the unscaled gradient, in the dtype that it had.
        - A parameter whose `.grad` is None is passed over.
        - The scaler remembers whether any gradient, in any group, held an inf or a NaN.

        Raises RuntimeError, naming "update", if it has been called since the last `update()`, by
        the user or by `step`: gradients would be divided twice.
        Raises ValueError, naming "float16" and "float32", if any gradient is float16, before it
        changes any: divided in float16 it would underflow again.  (bfloat16 has the range of
        float32 and is no error.)
        """
        raise NotImplementedError

    def step(self, optimizer: Optimizer) -> bool:
        """Call `optimizer.step()` unless an inf or NaN was found; True if it was called.

        - It calls `unscale_` first if that hasn't been called since the last `update()`.
        - What `unscale_` found decides, whatever the user did to the gradients after it.
        - A skipped step touches neither the parameters nor the optimizer's state.
        """
        raise NotImplementedError

    def update(self) -> None:
        """End the iteration: adjust the scale, and be ready for the next `unscale_`.

        - If an inf or NaN was found, multiply the scale by `backoff_factor`, and count good
          iterations from zero.
        - Else this was a good one: at `growth_interval` of them in a row multiply the scale by
          `growth_factor`, and count from zero again.
        - The scale has no floor and no ceiling: it may fall below 1.

        Not tested: an `update` with no `unscale_` or `step` since the last one.
        """
        raise NotImplementedError


class MasterWeights:
    """Float32 copies of a model's parameters, for an optimizer to update.

    - `master` is a list of float32 leaf tensors, one for each parameter in their order, also for
      those that are frozen (requires_grad is False).
    - Masters share memory with no parameter, and their gradients with no parameter's gradient, not
      even where the model is float32 itself.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        """Copy the parameters, which may come from a generator, to `self.master`."""
        raise NotImplementedError

    def read_gradients(self) -> None:
        """Set each master's `.grad` to a float32 copy of its parameter's; None stays None.

        It takes the place of what the master's `.grad` held.
        """
        raise NotImplementedError

    def write_weights(self) -> None:
        """Round each master into its parameter, in place: same tensor, same dtype."""
        raise NotImplementedError


def train(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    make_optimizer: Callable[[list[Tensor]], Optimizer],
    scaler: LossScaler | None = None,
) -> list[float]:
    """Train a float16 model with float32 master weights, one step per batch (x, y).

    batches         x float16, y float32; taken one at a time, once
    make_optimizer  called once, with the list of master weights
    scaler          None for none

    - The loss is the mean of (model(x).float() − y)² over all entries, in float32.  Its backward
      pass goes through the float16 model.
    - Gradients don't add up over batches, and those that the model had before don't count.
    - The optimizer steps on the masters' float32 gradients.  After each batch the model holds the
      masters, rounded.
    - With a `scaler` the loss is scaled, the gradients are unscaled in float32, steps with inf or
      NaN are skipped, and the scale is updated after each batch.
    - With None the gradients are used as they come, inf and NaN included.
    - A parameter that gets no gradient (frozen, or not used) stays as it is.
    - Nothing but the model's weights, its gradients and the scaler is changed; the model's mode
      (`training`) isn't.

    Returns the losses as floats, unscaled, each from before its batch's step.
    """
    raise NotImplementedError
