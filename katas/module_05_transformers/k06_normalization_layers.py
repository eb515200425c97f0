"""Normalization layers

**Before you start.**  You need mean and variance, and torch.autograd.grad; no other kata.  If
these are new: the PyTorch tutorial "A Gentle Introduction to torch.autograd".

**The idea.**  Each layer of a deep network changes the scale of its input, and over 48 layers
small factors multiply to huge or tiny ones.  A normalization layer sets the scale anew, for
each token by itself, over its d features.

**The formula**, for one row x of d features; weight and bias are trained, ε is small:

    LayerNorm(x) = (x - mean(x)) / √(var(x) + ε) · weight + bias
    RMSNorm(x)   =  x            / √(mean(x²) + ε) · weight

var divides by d, not by d - 1.  ε keeps a row of zeros from dividing by zero.  RMSNorm does
less work and serves as well: Llama and most models since use it.

A *residual block* adds its input to what its sublayer f makes of it.  The norm stands in one of
two places.  GPT-2, Llama and most models since are pre-norm:

    pre-norm     y = x + f(norm(x))
    post-norm    y = norm(x + f(x))

    pre-norm     x ──┬────────────────▶ + ──▶ y
                     └──▶ norm ──▶ f ───┘

    post-norm    x ──┬────────▶ + ──▶ norm ──▶ y
                     └──▶ f ────┘

**Why pre-norm?**  Say that f's output is about as large as its input, and unrelated to it.
Follow the gradient back along the upper line alone.  Under pre-norm nothing is on it: all of the
gradient arrives.  Under post-norm each norm divides it by √2: after 48 blocks 2⁻²⁴ of it is left.
What comes through the sublayers is added.  It lets pre-norm's gradient grow, but only by about
√(l + 1) over l blocks: by 7 over 48.

**Why float32 inside RMSNorm?**  bfloat16 keeps 8 bits: each square, mean and root would be
off by up to 0.4 %.  float16 ends at 65,504: the square of 256 is infinite.

**Worked by hand**, x = [1 2 3 6], ε = 0, weight 1, bias 0:

    mean 3, var (4 + 1 + 0 + 9) / 4 = 3.5    LayerNorm = [-1.069 -0.535 0 1.604]
    mean of squares 50 / 4 = 12.5            RMSNorm   = [0.283 0.566 0.849 1.697]

**Shapes**: x (..., d), and so are the results.  No function or method changes its arguments.

Answers are on the device of the input, and a module moved by .to works where it is.

**Steps.**

    LayerNorm        5 min   take the mean away before squaring
    RMSNorm         10 min   float32 inside, x's dtype outside
    Residual         5 min   what is added: x or norm(x)?
    gradient_norms  10 min   one backward pass for all inputs

Sources: Ba et al. 2016, "Layer Normalization"; Zhang and Sennrich 2019, "Root Mean Square
Layer Normalization"; Xiong et al. 2020 (pre-norm), section 3.

From scratch: torch.nn.LayerNorm, torch.nn.RMSNorm, torch.nn.functional.layer_norm,
torch.nn.functional.rms_norm, torch.layer_norm, torch.rms_norm and torch.native_layer_norm
may not be used.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class LayerNorm(nn.Module):
    """LayerNorm over the last axis, with parameters `weight` and `bias`, both (d,)."""

    def __init__(self, d: int, eps: float = 1e-5) -> None:
        """Weight 1 and bias 0 at the start."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each row of x (..., d).

        - A large mean costs no digits: √(E[x²] - E[x]²) would.
        - If x and the parameters share a dtype, the result has it, too.
        """
        raise NotImplementedError


class RMSNorm(nn.Module):
    """RMSNorm over the last axis, with the parameter `weight` (d,)."""

    def __init__(self, d: int, eps: float = 1e-6) -> None:
        """Weight 1 at the start."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each row of x (..., d).

        - Take x of bfloat16 or float16 to float32, normalise, and go back to its type.  Then
          multiply by the weight.  Llama's does the same, to the last bit.
        - float32 and float64 stay as they are.
        - A weight of a wider type than x makes a result of that type, as torch's * does.
        """
        raise NotImplementedError


class Residual(nn.Module):
    """A block around a sublayer: its input is added to its result, a LayerNorm before or after.

    Attributes `sublayer`, and `norm`, which is your LayerNorm with its default eps.
    """

    def __init__(self, d: int, sublayer: nn.Module, pre_norm: bool = True) -> None:
        """`sublayer` maps (..., d) to (..., d).  `pre_norm` says where the norm stands."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, (..., d)."""
        raise NotImplementedError


def gradient_norms(blocks: Sequence[nn.Module], x: Tensor, upstream: Tensor) -> list[float]:
    """How large a loss's gradient is before each block, and after the last.

    The blocks run one after another on x (..., d).  `upstream` (..., d) is the gradient of the
    loss with respect to the last output.

    Returns len(blocks) + 1 Euclidean norms, as plain floats.  Entry i is that of the gradient
    with respect to the input of block i, the last one that of `upstream` itself.

    - There may be no block, and the same block may be there several times.  No block works in
      place.
    - The gradients (.grad) of the blocks' parameters and of x stay as they were: None, or
      what an earlier backward left there.
    - x may require gradients or not, and stays as it was.
    """
    raise NotImplementedError
