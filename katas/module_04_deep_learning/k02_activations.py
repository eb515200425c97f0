"""Activations and their derivatives

**Before you start.**  You need the chain rule and the exponential function; no other kata.  If
these are new: the video "Backpropagation calculus" by 3Blue1Brown.

**The idea.**  Two linear layers in a row are no better than one: their product is linear again.
So you put a curve between them, an *activation*, which works on each number by itself.  On the way
back, the gradient is multiplied by the activation's derivative.  Where that is 0, no gradient
reaches the layers below, and they don't learn from this number.

**The formulas**, for one number x; σ' is the derivative of σ; a is negative_slope, β is beta:

                  value                            derivative
    sigmoid       σ(x) = 1 / (1 + e⁻ˣ)             σ'(x) = σ(x) · σ(-x)
    tanh          (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ)          1 - tanh²(x)
    ReLU          max(0, x)                        1 if x > 0, else 0
    leaky ReLU    x if x > 0, else a·x             1 if x > 0, else a
    softplus      log(1 + e^(βx)) / β              σ(βx)
    SiLU          x · σ(x)                         σ(x) + x · σ'(x)
    GELU          x · Φ(x)                         Φ(x) + x · φ(x)

Φ is the cumulative probability of the standard normal distribution, and φ its density:

    Φ(x) = (1 + erf(x/√2)) / 2          φ(x) = e^(-x²/2) / √(2π)

GELU's *tanh* form, which GPT-2 uses, replaces Φ(x).  u' is the derivative of u:

    Φ(x) ≈ (1 + tanh u) / 2             u = √(2/π) · (x + 0.044715 · x³)
    derivative = (1 + tanh u) / 2 + x · (1 - tanh² u) / 2 · u'

    sigmoid  1 ┤      ╭─────       ReLU │      ╱       SiLU │      ╱
               │     ╱                  │     ╱        GELU │     ╱
             ½ ┤    ╱                   │    ╱              │    ╱
               │   ╱                    │   ╱               │   ╱
             0 ┼──╯─────────          0 ┼──────────       0 ┼─╲╱────────
                    0                      0                    0

**Why did sigmoids make deep networks hard to train?**  σ' is at most ¼, at x = 0.  The product of
ten such factors is below 10⁻⁶.  And the sigmoid *saturates*: at x = 10, σ' is 0.000045.  ReLU's
derivative is exactly 1 wherever x is positive.  It has a price: a unit whose x is negative for
every example has derivative 0 for every example.  No gradient reaches its weights, so they stay as
they are: the unit is *dead*.  A leaky ReLU with a ≠ 0 can't die.

**Why are the textbook formulas not enough?**  Floats have a largest number and few digits.

- e^100 overflows float32: tanh(100) becomes inf/inf = NaN.
- 1 + e⁻²⁰ is 1 in float32.  So 1 - σ(20) is 0, and σ'(20) is 0 instead of 2 · 10⁻⁹.  Nearly equal
  numbers *cancel* when you subtract them.  The same happens in 1 - tanh² and in 1 + erf.

The cure: write each formula with e^(-|x|), which is never above 1, and avoid the subtraction.
torch has three functions that don't cancel: expm1(x) is eˣ - 1, log1p(x) is log(1 + x), and
erfc(x) is 1 - erf(x).  For example:

    σ'(x) = e / (1 + e)²       with e = e^(-|x|)
    tanh(x) = -expm1(-2x) / (1 + e^(-2x))      for x ≥ 0; for x < 0 it is -tanh(-x)

**Worked by hand**

    x = log 3:   σ = 0.75       σ' = 0.75 · 0.25 = 0.1875
                 tanh = (3 - ⅓) / (3 + ⅓) = 0.8       tanh' = 1 - 0.64 = 0.36
                 softplus = log 4 = 1.3863            its derivative 0.75
                 SiLU = 1.0986 · 0.75 = 0.8240        0.75 + 1.0986 · 0.1875 = 0.9560
    x = 1:       GELU = Φ(1) = 0.8413                 0.8413 + 0.2420 = 1.0833
                 its tanh form 0.8412                 1.0830

**Shapes**: x of any shape, float32 or float64, finite.  Each activation returns two tensors of x's
shape, dtype and device: the value and the derivative.  No function changes its arguments.

**Precision.**  What the tests ask of values and derivatives in float32:

- A relative error of at most 10⁻⁴, near 0 and in the tails, up to |x| = 30 (GELU: 8).
- Next to a root of a derivative, an absolute error of at most 10⁻⁶ will do.
- Up to |x| = 10,000 everything is finite.  There a number below 10⁻³⁷ may be off by as much.

**Steps.**

    sigmoid       6 min   two branches, both with e^(-|x|)
    tanh          7 min   right near 0, and far from it
    relu          3 min   the derivative at 0 is a convention
    leaky_relu    3 min   the slope may be negative, or above 1
    softplus      5 min   neither overflow nor cancellation
    silu          4 min   the product rule
    gelu         12 min   two forms; 1 + erf cancels in the left tail
    saturation    5 min   a share for each unit, over all other axes
    dead_units    3 min   dead means 0 for every example

Sources: Nair and Hinton 2010 (ReLU); Maas et al. 2013 (leaky); Hendrycks and Gimpel 2016, "Gaussian
Error Linear Units"; Elfwing et al. 2017 (SiLU); Glorot and Bengio 2010 (saturation).

From scratch: torch.nn, torch.autograd, torch.func, torch.sigmoid, torch.tanh, torch.relu,
torch.special.expit, torch.Tensor.sigmoid, torch.Tensor.tanh, torch.Tensor.relu and
torch.Tensor.backward may not be used.
"""

from torch import Tensor


def sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    """σ(x) and σ'(x)."""
    raise NotImplementedError


def tanh(x: Tensor) -> tuple[Tensor, Tensor]:
    """tanh(x) and its derivative."""
    raise NotImplementedError


def relu(x: Tensor) -> tuple[Tensor, Tensor]:
    """max(0, x) and its derivative, which is 0 at x = 0, as in torch."""
    raise NotImplementedError


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> tuple[Tensor, Tensor]:
    """Leaky ReLU and its derivative, which is negative_slope at x = 0, as in torch.

    negative_slope is any number: 0, above 1 or negative, too.
    """
    raise NotImplementedError


def softplus(x: Tensor, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """log(1 + e^(beta·x)) / beta, a smooth ReLU, and its derivative; beta > 0.

    |beta·x| takes the place of |x| in what the lesson says of precision.
    """
    raise NotImplementedError


def silu(x: Tensor) -> tuple[Tensor, Tensor]:
    """x · σ(x) and its derivative."""
    raise NotImplementedError


def gelu(x: Tensor, approximate: str = "none") -> tuple[Tensor, Tensor]:
    """GELU and its derivative: exact for "none", in the tanh form for "tanh".

    The derivative belongs to the form that was asked for.
    Raises ValueError, naming `approximate`'s value, if it is neither.
    """
    raise NotImplementedError


def saturation(derivatives: Tensor, threshold: float = 0.01) -> Tensor:
    """The share of examples for which each unit is saturated, from 0 to 1: (d,), of the derivatives' dtype.

    derivatives  (..., d): those of d units for the examples along all other axes; (d,) is one example
    threshold    a unit is saturated where its |derivative| is below it; if it equals it, it isn't
    """
    raise NotImplementedError


def dead_units(derivatives: Tensor) -> Tensor:
    """Which units have a derivative of exactly 0 for every example: bool (d,), from (..., d) as above."""
    raise NotImplementedError
