"""Int8 quantization

A float32 weight takes four bytes, an int8 code one.  Quantization lays an even
grid of 256 steps over the range of the values and stores the nearest step:

    q  =  clamp(round(x / s) + z, −128, 127)          x̂  =  s · (q − z)

s is the scale, the width of a step, and z the zero point, the code that stands
for 0.  Within the range nothing moves by more than s/2; outside, it is clipped.

Affine codes use all 256 steps of a lopsided range such as that of activations:

    s = (high − low) / 255        z = −128 − round(low / s)

Symmetric codes put z at 0, which suits weights:  s = max(|low|, |high|) / 127.

Why is z an integer?  So that 0 is a step, and comes back as exactly 0: padding
and every 0 of a ReLU stay what they are.  For that the range must hold 0, so
low is first lowered to 0, and high raised to it, where they aren't there yet.

Why per channel?  One large row of a weight makes the steps too coarse for all
the others.  With a scale for each output channel, every row has its own grid.

Why calibrate?  One outlier stretches the range, and all other values pay with
wide steps.  Clipping it costs a large error once and saves a small one
everywhere: percentiles cut a fixed share off, and "mse" measures what is best.

The point of it all is arithmetic in integers.  A product of two codes needs 16
bits and a sum of k of them more, so it accumulates in int32, where it is exact:

    Σₖ x̂ₖ ŷₖ  =  s_x s_y · Σₖ (qₖ − z_x)(pₖ − z_y)

A float32 accumulator would start to lose bits beyond 2²⁴.

Worked by hand, affine, low = −1 and high = 4.1:

    s = 5.1 / 255 = 0.02          z = −128 − round(−50) = −78
    x = [−1, 0, 0.333, 4.1]  →  q = [−128, −78, −61, 127]
                             →  x̂ = [−1, 0, 0.34, 4.1]
    codes [127, −128] with z = −78, times codes [100, 2] with z = 0:
    205 · 100 + (−50) · 2 = 20400, which no int8 could hold

Shapes: a scale and its zero point are () for a whole tensor, or (c,) for the c
slices along one axis.  A tensor and its scale share their dtype, float32 or
float64; codes are int8, zero points int32.  No function changes its arguments.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", section 2; Nagel et al. 2021,
"A White Paper on Neural Network Quantization", sections 2 and 3.1.

From scratch: torch.quantize_per_tensor, torch.quantize_per_tensor_dynamic,
torch.quantize_per_channel, torch.fake_quantize_per_tensor_affine,
torch.fake_quantize_per_channel_affine, torch.ao, torch.quantization and
torch.nn.quantized may not be used.
"""

from torch import Tensor, nn


def choose_qparams(low: Tensor, high: Tensor, symmetric: bool = False) -> tuple[Tensor, Tensor]:
    """Scale and zero point of the ranges from `low` to `high`, both () or both (c,).

    Ranges without 0 are first widened to it.  A range that is then 0 to 0 has
    scale 1 and the zero point that the formula gives: −128, or 0 if symmetric.

    Returns the scale, in the dtype of `low`, and the zero point, int32, both in
    the shape of `low`.
    """
    raise NotImplementedError


def quantize(x: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None = None) -> Tensor:
    """The int8 codes of `x`, in its shape.

    Without `axis`, scale and zero_point are () and hold for all of x.  With it,
    they are (c,) and slice i of x along `axis`, which may be negative, has scale[i] and
    zero_point[i].  x / s is rounded first, halves to the even neighbour, and the zero
    point added then.  Any finite x is right: what is far outside is clipped, to −128 or 127.

    Raises ValueError, naming both lengths, if x has not c slices along `axis`.
    """
    raise NotImplementedError


def dequantize(q: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None = None) -> Tensor:
    """The values that the int8 codes `q` stand for, in the dtype of `scale`.

    scale, zero_point, axis and the ValueError are those of `quantize`.
    """
    raise NotImplementedError


def calibrate(
    x: Tensor, method: str = "minmax", percentile: float = 99.9, symmetric: bool = False
) -> tuple[Tensor, Tensor]:
    """The range (low, high) to quantize all of `x`, of any shape, with: two () tensors of its dtype.

    A range without 0 stays one: it is choose_qparams that widens it.

    "minmax":     the least and the greatest value.
    "percentile": the (100 − percentile)-th and the percentile-th percentile of the
                  values, interpolated linearly between neighbours.
    "mse":        the least and the greatest value, both times the same one of the
                  factors 1.00, 0.99, 0.98, …, 0.50: the factor with which quantizing
                  and dequantizing x has the least mean squared error.  The codes
                  are symmetric for that if `symmetric` says so; the other methods
                  don't look at it.

    Raises ValueError, naming the method, for any other.
    """
    raise NotImplementedError


def int8_matmul(a: Tensor, b: Tensor, a_zero: int | Tensor = 0, b_zero: int | Tensor = 0) -> Tensor:
    """(a − a_zero) @ (b − b_zero) in integers: exactly, as int32.

    a (..., m, k) and b (k, n) are int8 codes; the result is (..., m, n).  The zero points, from
    −128 to 127, are ints, or int32 tensors that broadcast against their codes: (m, 1) or
    (..., m, 1) has one for each row of a, (n,) one for each column of b.

    Exact for any codes while k ≤ 33,025: 255² · k still fits an int32 there.
    Raises ValueError, naming both inner sizes, if a and b disagree on k.
    """
    raise NotImplementedError


class DynamicQuantizedLinear(nn.Module):
    """An nn.Linear with int8 weights, which quantizes its inputs when they come.

    Three buffers, in the state dict, none of which requires a gradient, and no parameters:

        weight  int8 (out, in), symmetric, quantized from each output channel's own minimum and maximum
        scale   (out,), one scale for each output channel, in the dtype of the linear's weight
        bias    (out,) as the linear has it, or None if it has none

    Nothing else of the weight's size is held, or the memory isn't saved.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """Quantize `linear`, which stays as it is."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """`x` (..., in), of one row or more, to (..., out), in the dtype of x, which is that of `scale`.

        Each row of x, a vector of `in` numbers, gets affine codes of its own from its
        minimum and maximum, so that a row's answer doesn't depend on the others.  The codes are
        multiplied and summed in integers, exactly; scales and bias come last and aren't quantized.
        """
        raise NotImplementedError
