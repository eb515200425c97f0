"""Quantization-aware training

**Before you start.**  You need scales and zero points (quantization), the chain rule, and either
detach() or torch.autograd.Function.  No other kata is imported.  Are custom gradients new to you?
Read "Extending PyTorch" in torch's documentation.

**The idea.**  Rounding weights after training works at 8 bits.  At 2 bits accuracy collapses.  So
let the network adapt: the float weights stay, and every forward pass uses a quantized copy.  But
rounding is a staircase: its derivative is 0 almost everywhere, so the weights would get no
gradient.  The *straight-through estimator* keeps the staircase forward and differentiates a ramp
backward:

     x̂  forward                         x̂  backward
      │             ┌─────               │             ╱─────
      │          ┌──┘                    │          ╱
      │       ┌──┘                       │       ╱
      │    ┌──┘                          │    ╱
      │────┘                             │───╱
      └────────────────────▶ x           └────────────────────▶ x
        rounded and clipped                derivative 0, then 1, then 0

**The formulas.**  *Fake quantization* rounds to a grid but stays in floats:

    code = round(x / scale) + zero_point           round half to even
    x̂ = (clip(code, low, high) − zero_point) · scale
    ∂x̂/∂x = 1 where low ≤ code ≤ high, before clipping, else 0

The rounded code is compared: x / scale + zero_point = high + 0.4 still has gradient 1.

*LSQ* (learned step size) also trains the grid.  With u = x / s:

    x̂ = round(clip(u, low, high)) · s
    ∂x̂/∂x = 1 where low < u < high, else 0
    ∂x̂/∂s = round(u) − u where low < u < high;  low where u ≤ low;  high where u ≥ high

Here the unrounded u is compared: exactly at low or high counts as clipped.  Multiply the gradient
of s, and nothing else, by g = 1 / √(N · high); N is the count of numbers in x.

*Binary weights* are a sign, and one scale for each channel (row):

    ŵ = α · sign(w)     α = mean |w| of the channel     sign(0) := +1

α depends on w, too.  Take ∂ sign(w)/∂w := 1 where |w| ≤ 1, both ends included, else 0.  For a
channel of n weights under the upstream gradient G, the whole chain rule gives

    ∂L/∂wᵢ = α · Gᵢ · [|wᵢ| ≤ 1]  +  t(wᵢ) / n · Σⱼ Gⱼ sign(wⱼ)

t is the derivative of |w|: −1, +1, and 0 at exactly w = 0.

**Why no gradient where x is clipped?**  Moving a clipped x doesn't change x̂.  With a gradient it
would drift away for ever.

**Why g?**  The step's gradient sums over all N numbers.  With g, an update changes s by about the
same fraction as the weights.

**Worked by hand** (gradients under an upstream gradient of ones):

    fake_quantize, scale 0.5, zero_point 1, codes 0…3
        x = [−0.8 −0.7  0.3  1.2  1.3]    round(x / 0.5) + 1 = [−1 0 2 3 4]
        x̂ = [−0.5 −0.5  0.5  1.0  1.0]    ∂x = [0 1 1 1 0]
    lsq, s = 0.5, codes −2…1
        x = [−1.2 −0.3 0.2 0.9]    u = [−2.4 −0.6 0.4 1.8]    x̂ = [−1 −0.5 0 0.5]
        ∂x = [0 1 1 0]    ∂s = (−2 − 0.4 − 0.4 + 1) / √(4 · 1) = −0.9
    binarize
        w = [0.5 −1.5 0 0.4]    α = 0.6    ŵ = [0.6 −0.6 0.6 0.6]
        ∂w = [0.6 0 0.6 0.6] + [1 −1 0 1] · 2 / 4 = [1.1 −0.5 0.6 1.1]

**Shapes**: results have the shape, dtype and device of x (or w), float32 or float64, and gradients
flow through them.  All inputs are finite, scales and steps positive.  No function changes its
arguments.

**Steps.**

    fake_quantize   10 min   the value of one tensor, the gradient of another
    lsq             15 min   let the product rule do the step's gradient
    binarize        10 min   α has a gradient, and 0 has a sign
    QATLinear       10 min   copy the parameters, quantize in each pass

Sources: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 3; Bengio et al. 2013, "Estimating or
Propagating Gradients Through Stochastic Neurons"; Esser et al. 2020, "Learned Step
Size Quantization", section 2; Rastegari et al. 2016, "XNOR-Net", section 3.1;
Courbariaux et al. 2016, "Binarized Neural Networks", section 1.

From scratch: torch.fake_quantize_per_tensor_affine,
torch.fake_quantize_per_channel_affine, torch._fake_quantize_learnable_per_tensor_affine,
torch.ao and torch.quantization may not be used.
"""

from torch import Tensor, nn


def fake_quantize(x: Tensor, scale: float, zero_point: int, low: int, high: int) -> Tensor:
    """Quantize `x` to the codes low … high and back, with the straight-through gradient.

    x  any shape

    Forward and gradient are as above: x / scale is rounded first, halves to even, and then
    zero_point is added.  Both ends, low and high, count as inside.

    Raises ValueError, naming zero_point, low and high, unless low ≤ zero_point ≤ high: 0 must
    have a code of its own.
    """
    raise NotImplementedError


def lsq(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """Quantize `x` with the step size `step`; forward and gradients as above, to x and to step.

    x          any shape; N is the number of its elements, over all axes
    step       ()
    low, high  low < 0 < high

    - The gradient of step includes g and the upstream gradient, is summed over all of x, and is ().
    - g changes no value in the forward pass, and not the gradient of x.
    - At u exactly low or high, x gets no gradient (torch.clamp would let it pass).
    - x needn't require a gradient: the step is trained all the same.
    """
    raise NotImplementedError


def binarize(w: Tensor) -> Tensor:
    """α · sign(w) of weights `w` (channels, ...), two axes or more.

    - Each index of axis 0 is a channel; its α is the mean of |w| over all other axes.
    - A zero, +0.0 or −0.0, becomes +α.
    - The gradient is the whole formula above.
    """
    raise NotImplementedError


class QATLinear(nn.Module):
    """A linear layer whose weights are quantized by `lsq` in every forward pass.

    It has three parameters, in the dtype and on the device of the layer that it is made from.
    Moved by .to, it works where it is.

    weight  (out, in)   the float weights
    bias    (out,)      not quantized; None if that layer has none
    step    ()          the learned step size
    """

    def __init__(self, linear: nn.Linear, bits: int) -> None:
        """Start from a trained float layer, which has a weight that isn't 0.

        - That layer stays as it is: its numbers are copied, not shared.
        - The codes are those of signed integers, −2^(bits−1) … 2^(bits−1) − 1.
        - step starts at 2 · mean |weight| / √(2^(bits−1) − 1).

        Raises ValueError, naming bits, 2 and 8, unless 2 ≤ bits ≤ 8.
        """
        raise NotImplementedError

    def codes(self) -> Tensor:
        """What is stored after training: an int8 tensor (out, in), from the current weight and
        step.

        step · codes are the weights that the forward pass uses.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) times the quantized weights, plus bias: (..., out).

        - Gradients reach x, weight, bias and step, through `lsq`.
        - Each pass uses the weight and the step of now, in train() and eval() alike.
        """
        raise NotImplementedError
