"""Initialization

**Before you start.**  You need the variance of a sum, matrix products, QR, and torch.nn.Module with
forward hooks; no other kata.  A good text: Goodfellow, Bengio and Courville 2016, "Deep Learning",
section 8.4.

**The idea.**  Fifty layers that each shrink their input a little leave nothing of it.  Fifty that
each enlarge it a little overflow.  The same happens to the gradients on the way back.  So you draw
weights with which a layer keeps the variance of what goes through it.  You write the three usual
draws, one start that measures on data, one that copies, and one that shares a weight.

**The formulas.**  A weight has the shape (out, in, *kernel).  k is the number of places in the
kernel, 1 for a linear layer.  `gain` is a factor of your choice, `slope` that of a leaky ReLU below
0.  LSUV is layer-sequential unit variance.

    fan_in = in · k        fan_out = out · k

    Xavier        std = gain · √(2 / (fan_in + fan_out))     for tanh; He's is for ReLU
    He            std = √(2 / ((1 + slope²) · fan))          fan is fan_in or fan_out
    orthogonal    W Wᵀ = gain² · I  for out ≤ in · k,   Wᵀ W = gain² · I  for out ≥ in · k
    LSUV          orthogonal, then layer by layer  W ← W / √(variance of the layer's output)
    tied          std = 1 / √d, for d numbers a token

A normal draw has mean 0 and that std.  A uniform draw from -a to a has the std a / √3.

**A drawing.**  The root mean square of what leaves the ReLU of layer 0 (the input), 10, … 50, if
the layers are very wide:

    He            1 ──── 1 ──── 1 ──── 1 ──── 1 ──── 1
    half of it    1 ── 10⁻³ ─ 10⁻⁶ ─ 10⁻⁹ ─ 10⁻¹² ─ 10⁻¹⁵        (1/2)⁵⁰
    twice it      1 ── 10³ ── 10⁶ ── 10⁹ ── 10¹² ── 10¹⁵

LSUV goes through the network once for each layer:

    x ──▶ layer 1 ──▶ tanh ──▶ layer 2 ──▶ tanh ──▶ layer 3
             │                    │                    │
        ① variance           ② variance           ③ variance
          to 1                 to 1                 to 1

**Why two fans?**  A number that comes out is a sum of fan_in products: 1/fan_in keeps the variance
on the way forward.  A gradient on its way back is a sum of fan_out products: 1/fan_out keeps that.
Xavier takes the mean of both fans.

**Why the 2 in He's formula?**  ReLU sets half of its inputs to 0, so that the mean of the squares
halves.  The 2 makes up for it.  A leaky ReLU with `slope` keeps slope² of the other half.

**Why the signs of R?**  QR gives W = QR, and Q is orthogonal.  But (-q) · (-r) is the same product,
and libraries choose the signs by their own habits: Q's first entry may be negative in every draw.
Multiply each column of Q by the sign of R's diagonal entry.  Then all orthogonal matrices are
equally likely, if W's entries are normal.

**Why is one division enough for LSUV?**  With a bias of 0 a layer's output is linear in its weight.
Half the weight is half the output, and a quarter of its variance.

**Worked by hand**

    weight (6, 4, 3, 2):    k = 6, fan_in = 24, fan_out = 36
    Xavier, gain 2:         std = 2 · √(2 / 60) = 0.365;   uniform from -0.632 to 0.632
    He, slope 0:            std = √(2 / 24) = 0.289
    tie_ with d = 16:       std = 1/4

**Shapes** are in each docstring.  Functions whose names end in _ change the weights, in place.  No
other function changes its arguments.

- A parameter stays the same object and a leaf, requires_grad and .grad stay as they were, and
  autograd records nothing.
- What was in a weight before doesn't matter.  Weights are float32, float64 or bfloat16, on any
  device, contiguous or not.
- All randomness comes from `generator`, on the weight's device; if it is None, from torch's own.
  Which numbers are drawn in which order is free.

**Steps.**

    fans            4 min   the kernel counts for both
    xavier_        10 min   from a std to the bounds of a uniform draw
    he_             8 min   one fan
    orthogonal_    15 min   tall or wide, and the signs
    lsuv_          18 min   a hook that sees a layer's output
    transfer_       8 min   copy_ broadcasts: compare the shapes
    tie_            8 min   one parameter with two owners

Sources: Glorot and Bengio 2010; He et al. 2015, "Delving Deep into Rectifiers"; Saxe et al. 2014
(orthogonal); Mezzadri 2007, "How to generate random matrices from the classical compact groups";
Mishkin and Matas 2016, "All You Need Is a Good Init" (LSUV); Press and Wolf 2017 (tied weights).

From scratch: torch.nn.init and torch.nn.utils.parametrizations may not be used.
"""

from torch import Generator, Tensor, nn


def fans(weight: Tensor) -> tuple[int, int]:
    """fan_in and fan_out of a weight (out, in, *kernel).

    Raises ValueError, naming the number of its axes, if it has fewer than 2.  So do all functions below that
    take a weight.
    """
    raise NotImplementedError


def xavier_(
    weight: Tensor, gain: float = 1.0, distribution: str = "uniform", generator: Generator | None = None
) -> None:
    """Fill `weight` by Xavier's rule.

    `distribution` is "normal" or "uniform".  Raises ValueError, naming it, if it is another.
    """
    raise NotImplementedError


def he_(
    weight: Tensor,
    slope: float = 0.0,
    mode: str = "fan_in",
    distribution: str = "normal",
    generator: Generator | None = None,
) -> None:
    """Fill `weight` by He's rule, for a leaky ReLU with `slope`; 0 is ReLU.

    `mode` is "fan_in" or "fan_out", `distribution` "normal" or "uniform".  Raises ValueError, naming it, if
    one of them is another.
    """
    raise NotImplementedError


def orthogonal_(weight: Tensor, gain: float = 1.0, generator: Generator | None = None) -> None:
    """Fill `weight` with a random orthogonal matrix times `gain`.

    - The matrix is weight[i] as row i, all axes but the first together.
    - It has orthonormal rows if it is at least as wide as tall, orthonormal columns if at least as tall as wide.
    - All such matrices are equally likely.
    """
    raise NotImplementedError


def lsuv_(model: nn.Module, layers: list[nn.Module], x: Tensor, generator: Generator | None = None) -> None:
    """Layer-sequential unit variance: every layer's output on the batch x gets the variance 1.

    layers  some of the model's nn.Linear and nn.Conv2d, in the order in which model(x) calls them, once each.
            All others stay as they are.

    - First all `layers` get orthogonal weights (gain 1) and a bias of 0, if they have one.  Then, one after the
      other, the weight is divided by the standard deviation of the layer's own output, before any nonlinearity
      that follows: that of all its numbers together, about their mean, divided by how many there are.
    - An output with the variance 0 leaves the weight orthogonal.
    - The model runs in evaluation mode, so that dropout is off and batch norm's statistics stay.  Afterwards
      every module has the mode that it had.
    - No hook stays behind, and those that were there stay.  x isn't changed.
    """
    raise NotImplementedError


def transfer_(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Begin from another model's weights: copy from `state` what fits.

    - A tensor fits if model.state_dict() has its name, buffers included, with the very same shape.
    - Numbers are copied: model and `state` share no memory.  The model's tensors keep dtype and device.
    - Other names in `state` are ignored.

    Returns the names in model.state_dict() for which nothing fits, in its order.
    """
    raise NotImplementedError


def tie_(embedding: nn.Embedding, head: nn.Linear, generator: Generator | None = None) -> None:
    """Let the head use the embedding's weight (V, d), and draw it: normal with std 1/√d.

    - Afterwards head.weight is embedding.weight, the parameter that the embedding had before.
    - The row of embedding.padding_idx is 0, if there is one.  The head's bias is 0, if it has one.

    Raises ValueError, naming both shapes, if the two weights differ in shape; then nothing is changed.
    """
    raise NotImplementedError
