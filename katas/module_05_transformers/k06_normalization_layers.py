"""Normalization layers

Each layer of a deep network multiplies by a matrix, and what 48 of them make of
the scale of their input is anyone's guess.  A normalization layer fixes it at
every step, over the d features of each token by itself:

    LayerNorm(x) = (x - mean(x)) / √(var(x) + ε) · weight + bias
    RMSNorm(x)   =  x            / √(mean(x²) + ε) · weight

var divides by d, not by d - 1.  ε stands inside the root: it keeps a row of
zeros from dividing by zero.  RMSNorm leaves the mean alone and has no bias; it
does the same work for less, and Llama uses it.

Squares of bfloat16 numbers lose most of their digits, and their sum over
thousands of features loses the rest.  RMSNorm therefore works in float32 inside
and goes back to the type of its input before the weight is applied.

Where a norm stands decides what a deep stack does to the scale:

    post-norm   y = norm(x + f(x))         the 2017 Transformer
    pre-norm    y = x + f(norm(x))         everything since GPT-2

Say that f(x) is about as large as x and unrelated to it, as in a fresh network.
Under pre-norm the variances add up: after l blocks the stream has l + 1 times its
variance, each block's share shrinks, and the gradient grows on the way back by
about √(l + 1): by 7 over 48 blocks.  Under post-norm each block's norm divides by
√2.  Of what goes around the sublayers, 2^(-48/2) of the gradient is left after 48
blocks, so that everything depends on what the sublayers' own derivatives let
through; pre-norm leaves that path alone.  `gradient_norms` measures it.

Worked by hand, x = [1 2 3 6], ε = 0, weight 1, bias 0:

    mean 3, var (4 + 1 + 0 + 9) / 4 = 3.5    LayerNorm = [-1.069 -0.535 0 1.604]
    mean of squares 50 / 4 = 12.5            RMSNorm   = [0.283 0.566 0.849 1.697]

Shapes: x (..., d), and so are the results.  No function or method changes its
arguments.

Sources: Ba et al. 2016, "Layer Normalization"; Zhang and Sennrich 2019, "Root
Mean Square Layer Normalization"; Xiong et al. 2020, "On Layer Normalization in
the Transformer Architecture", section 3.

From scratch: torch.nn.LayerNorm, torch.nn.RMSNorm, torch.nn.functional.layer_norm,
torch.nn.functional.rms_norm, torch.layer_norm, torch.rms_norm and
torch.native_layer_norm may not be used.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class LayerNorm(nn.Module):
    """LayerNorm over the last axis, with parameters `weight` and `bias`, both (d,)."""

    def __init__(self, d: int, eps: float = 1e-5) -> None:
        """Weight 1 and bias 0 at the start."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each row of x (..., d)."""
        raise NotImplementedError


class RMSNorm(nn.Module):
    """RMSNorm over the last axis, with the parameter `weight` (d,)."""

    def __init__(self, d: int, eps: float = 1e-6) -> None:
        """Weight 1 at the start."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each row of x (..., d).

        x of bfloat16 or float16 is taken to float32, normalised, and brought back
        to its type; then the weight multiplies it.  float32 and float64 stay as they are.
        """
        raise NotImplementedError


class Residual(nn.Module):
    """A block around a sublayer: its input is added to its result, with a LayerNorm before or after.

    Attributes `sublayer` and `norm`.
    """

    def __init__(self, d: int, sublayer: nn.Module, pre_norm: bool = True) -> None:
        """`sublayer` maps (..., d) to (..., d)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, (..., d)."""
        raise NotImplementedError


def gradient_norms(blocks: Sequence[nn.Module], x: Tensor, upstream: Tensor) -> list[float]:
    """How large the gradient is before each block, and after the last: len(blocks) + 1 Euclidean norms.

    The blocks run one after another on x (..., d).  `upstream` (..., d) is the
    gradient of a loss with respect to the last output; entry i of the result is
    the norm of that loss's gradient with respect to the input of block i, and the
    last entry the norm of `upstream` itself.  Leaves no gradient on the blocks'
    parameters and none on x.
    """
    raise NotImplementedError
