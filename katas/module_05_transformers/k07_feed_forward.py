"""Feed-forward layers

**Before you start.**  You need matrix products and nn.Linear, no other kata.  Pictures: Alammar
2018, "The Illustrated Transformer".

**The idea.**  Attention moves information between tokens.  Then the feed-forward layer works on
each token by itself: up to a wider space, through a function that isn't linear, and down
again.  Without that function two matrices would be no more than one.

**The formula.**  act is relu or gelu; Φ(x) is the chance that a standard normal number is
below x:

    FFN(x)  = W₂ act(W₁ x + b₁) + b₂
    gelu(x) = x · Φ(x) = x/2 · (1 + erf(x / √2))
    tanh form of gelu  = x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))

*Gated* layers have two projections up.  One goes through the activation and decides, number
by number (⊙), how much of the other goes on:

    silu(x)   = x · sigmoid(x)
    SwiGLU(x) = W_down (silu(W_gate x) ⊙ W_up x)        Llama
    GeGLU(x)  = W_down (gelu(W_gate x) ⊙ W_up x)        gelu in its exact form

    FeedForward             x ──▶ W₁ ──▶ act ──▶ W₂ ──▶ y
    GatedFeedForward        x ─┬─▶ W_gate ──▶ act ─┐
                               │                   ⊙ ──▶ W_down ──▶ y
                               └─▶ W_up ───────────┘
    width             d_model          d_ff               d_model

**Why gelu, not relu?**  It is smooth where ReLU has a kink.  Its tanh form differs by up to
0.0005; GPT-2 was trained with that one.

**Why 8d/3?**  A gated layer has three matrices, not two.  3 · d · h weights are as many as the
2 · d · 4d of an ungated layer if h = 8d/3, rounded up to what the hardware likes.

**Worked by hand:**

    gelu(1) = ½ (1 + erf(0.7071)) = 0.8413      tanh form 0.8412
    SwiGLU, all weights 1, x = 2: silu(2) · 2 = 1.7616 · 2 = 3.5232
    d = 512, multiple of 256:  8 · 512 / 3 = 1365.3 → 1536

**Shapes**: x (..., d_model), and so are the results.  No function or method changes its
arguments.

Answers are on the device of the input, and a module moved by .to works where it is.

**Steps.**

    gelu               5 min   two forms; what else is an error
    FeedForward        5 min   up, through, down
    GatedFeedForward  10 min   which branch goes through the activation?
    hidden_size        5 min   in whole numbers

Sources: Hendrycks and Gimpel 2016, "Gaussian Error Linear Units"; Shazeer 2020, "GLU Variants
Improve Transformer"; Touvron et al. 2023, "LLaMA", section 2.2.

From scratch: torch.nn.GELU, torch.nn.SiLU, torch.nn.functional.gelu,
torch.nn.functional.silu and torch.nn.functional.glu may not be used.
"""

from torch import Tensor, nn


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """GELU of each number of `x`; same shape and dtype.

    `approximate` is "none" for the exact form, "tanh" for the tanh form.  Finite for any
    finite x, ±1e4 included.

    Raises ValueError, naming it, for anything else.
    """
    raise NotImplementedError


class FeedForward(nn.Module):
    """The layer FFN; its parts are `up_proj` (W₁, b₁) and `down_proj` (W₂, b₂).

    Both are nn.Linear with bias; their initial values are free.
    """

    def __init__(self, d_model: int, d_ff: int, activation: str = "gelu") -> None:
        """`activation` is "relu", "gelu" (exact) or "gelu_tanh".

        Raises ValueError, naming it and the three, for another one.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for x (..., d_model), same shape and dtype."""
        raise NotImplementedError


class GatedFeedForward(nn.Module):
    """A gated layer; its parts are `gate_proj`, `up_proj` and `down_proj`.

    All are nn.Linear without bias; their initial values are free.
    """

    def __init__(self, d_model: int, d_ff: int, activation: str = "silu") -> None:
        """`activation`, of the gate, is "silu" (SwiGLU) or "gelu" (GeGLU).

        Raises ValueError, naming it and the two, for another one.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for x (..., d_model), same shape and dtype.

        Where the gate is ±1e4, closed or wide open, neither output nor gradient overflows.
        """
        raise NotImplementedError


def hidden_size(d_model: int, multiple_of: int) -> int:
    """The d_ff of a gated layer: 8 · d_model / 3, rounded up to a multiple of `multiple_of`.

    Round up once, from the exact quotient; an exact multiple stays.
    """
    raise NotImplementedError
