"""Int8 quantization

**Before you start.**  You need nn.Linear, buffers of a module, and integer dtypes.  No other kata.
Quantization is new to you?  Read section 2 of Nagel et al. 2021, which also draws its grids.

**The idea.**  A float32 weight takes four bytes, an int8 code one: a quarter of the memory and of
the traffic, and integer products are cheap.  Quantization lays an even grid of 256 values over the
range and stores which is the nearest.  Here the range is −1 to 4.1:

    values    −1           0      0.333                               4.1
               ├───────────┼───────┼───────────────────────────────────┤
    codes    −128         −78     −61                                 127

**The formula.**  s is the scale, the width of a step.  z is the zero point, the code that stands
for 0.

    q = clamp(round(x / s) + z, −128, 127)          x̂ = s · (q − z)

Within the range nothing moves by more than s/2.  Outside, it is clipped.  *Affine* codes use all
256 codes for a lopsided range, such as that of activations; *symmetric* codes put z at 0, which
suits weights:

    affine       s = (high − low) / 255           z = −128 − round(low / s)
    symmetric    s = max(|low|, |high|) / 127     z = 0

The point of it all is arithmetic in integers:

    Σₖ x̂ₖ ŷₖ = s_x s_y · Σₖ (qₖ − z_x)(pₖ − z_y)

    x  ▶ codes, z_x, s_x of each row ────┐
                                         ├─▶ int32 sums ▶ · s_x s_w ▶ + bias ▶ y
    w  ▶ codes, s_w of each channel ─────┘

A difference q − z reaches ±255 and takes 9 bits, a product of two takes 17, and a sum of k of them
more.  So the sum accumulates in int32, where it is exact.  A float32 accumulator would start to
lose bits beyond 2²⁴.

**Why is z an integer?**  So that 0 is a step, and comes back as exactly 0: padding and every 0 of a
ReLU stay what they are.  The range must hold 0 for that.  So low is first lowered to 0, and high
raised to 0, where they aren't there yet.

**Why per channel?**  One large row of a weight makes the steps too coarse for all others.  With a
scale for each output channel, every row has its own grid.

**Why calibrate?**  One outlier stretches the range, and all other values pay with wide steps.
Clipping it costs a large error once and saves a small one everywhere.  "percentile" cuts a fixed
share off; "mse" measures what is best.

**Worked by hand**, affine, low = −1 and high = 4.1:

    s = 5.1 / 255 = 0.02          z = −128 − round(−50) = −78
    x = [−1, 0, 0.333, 4.1]  →  q = [−128, −78, −61, 127]
                             →  x̂ = [−1, 0, 0.34, 4.1]
    codes [127, −128] with z = −78, times codes [100, 2] with z = 0:
    205 · 100 + (−50) · 2 = 20400, which no int8 could hold

**Shapes**: a scale and its zero point are () for a whole tensor, or (c,) for the c slices along one
axis.  A tensor and its scale share their dtype, float32 or float64; codes are int8, zero points
int32.  No function changes its arguments.

Answers are on the device of the input, and buffers where the linear's weight is.  But for
int8_matmul and for DynamicQuantizedLinear's forward this isn't judged: torch has no product of
int32 on CUDA.

**Steps.**

    choose_qparams           10 min   widen first; a range of 0 to 0
    quantize                 10 min   clamp while it is a float
    dequantize                5 min   q − z doesn't fit into int8
    calibrate                15 min   "mse" uses the three above
    int8_matmul               5 min   widen, then subtract
    DynamicQuantizedLinear   15 min   each row has its own range

Sources: Jacob et al. 2018, "Quantization and Training of Neural Networks for
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

    - A range without 0 is first widened to it.
    - A range that is then 0 to 0 has scale 1 and the zero point that the formula gives: −128, or
      0 if symmetric.

    Returns the scale, in the dtype of `low`, and the zero point, int32, both in the shape of `low`.
    """
    raise NotImplementedError


def quantize(x: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None = None) -> Tensor:
    """The int8 codes of `x`, in its shape.

    - Without `axis`, scale and zero_point are () and hold for all of x.
    - With it, they are (c,): slice i of x along `axis`, which may be negative, has scale[i] and
      zero_point[i].
    - x / s is rounded first, halves to the even neighbour, and then the zero point is added.
    - Any finite x is right: what is far outside is clipped, to −128 or 127.

    Raises ValueError, naming both lengths, if x has not c slices along `axis`; one scale isn't
    stretched over many slices.
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
    """The range (low, high) to quantize all of `x`, of any shape, with: two () tensors of its
    dtype.

    A range without 0 stays one: choose_qparams widens it.  x has at most 2²⁴ numbers.

    "minmax"      the least and the greatest value
    "percentile"  the (100 − percentile)-th and the percentile-th percentile of the values,
                  interpolated linearly between neighbours
    "mse"         the least and the greatest value, both times the same one of the factors 1.00,
                  0.99, 0.98, …, 0.50: that with which quantizing and dequantizing x has the least
                  mean squared error.  The codes are symmetric for that if `symmetric` says so;
                  the other methods don't look at it.

    Raises ValueError, naming the method given, for any other.
    """
    raise NotImplementedError


def int8_matmul(a: Tensor, b: Tensor, a_zero: int | Tensor = 0, b_zero: int | Tensor = 0) -> Tensor:
    """(a − a_zero) @ (b − b_zero) in integers: exactly, as int32.

    a       int8 codes (..., m, k) b       int8 codes (k, n); the result is (..., m, n) a_zero
    from −128 to 127: an int, or an int32 tensor (m, 1) or (..., m, 1), one for each row of a
    b_zero  the same for b: an int, or an int32 tensor (n,), one for each column of b

    Exact for any codes while k ≤ 33,025: 255² · k still fits into an int32 there.
    Raises ValueError, naming both inner sizes, if a and b disagree on k; 1 isn't stretched.
    """
    raise NotImplementedError


class DynamicQuantizedLinear(nn.Module):
    """An nn.Linear with int8 weights, which quantizes its inputs when they come.

    It has three buffers, in the state dict, none of which requires a gradient, and no parameters:

    weight  int8 (out, in), symmetric, from each output channel's own minimum and maximum
    scale   (out,), one for each output channel, in the dtype of the linear's weight
    bias    (out,) as the linear has it, or None if it has none

    Nothing else of the weight's size is held, or no memory is saved.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """Quantize `linear`, which stays as it is."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """`x` (..., in), of one row or more, to (..., out), in the dtype of x and of `scale`.

        - Each row of x, a vector of `in` numbers, gets affine codes from its own minimum and
          maximum, in each call anew: a row's answer depends on no other row.
        - Codes are multiplied and summed in integers, exactly.
        - Scales and bias come last and aren't quantized.
        """
        raise NotImplementedError
