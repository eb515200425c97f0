"""Feed-forward layers

After attention has moved information between tokens, the feed-forward layer
works on each token by itself: up to a wider space, through a function that isn't
linear, and down again.  Two thirds of a Transformer's weights are here.

    FFN(x) = W₂ act(W₁ x + b₁) + b₂

GELU multiplies x by the chance that a standard normal number is below it.  It is
smooth where ReLU has a kink, and lets a little of small negative numbers through:

    gelu(x) = x · Φ(x) = x/2 · (1 + erf(x / √2))
    tanh form ≈ x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))

The second is what GPT-2 was trained with; it differs by up to 0.0005, which is
more than the same weights forgive.

**Gated** layers let one projection decide how much of another goes on, number by
number; silu(x) = x · sigmoid(x):

    SwiGLU(x) = W_down (silu(W_gate x) ⊙ W_up x)        Llama
    GeGLU(x)  = W_down (gelu(W_gate x) ⊙ W_up x)        gelu in its exact form

Three matrices in place of two: to have as many weights as a layer of 4d, the
hidden size must be ⅔ · 4d = 8d/3, which is then rounded up to what the hardware
likes.

Worked by hand:

    gelu(1) = ½ (1 + erf(0.7071)) = 0.8413      tanh form 0.8412
    SwiGLU, all weights 1, x = 2: silu(2) · 2 = 1.7616 · 2 = 3.5232
    d = 512, multiple of 256:  8 · 512 / 3 = 1365.3 → 1536

Shapes: x (..., d_model), and so are the results.  No function or method changes
its arguments.

Sources: Hendrycks and Gimpel 2016, "Gaussian Error Linear Units"; Shazeer 2020,
"GLU Variants Improve Transformer"; Touvron et al. 2023, "LLaMA", section 2.2.

From scratch: torch.nn.GELU, torch.nn.SiLU, torch.nn.functional.gelu,
torch.nn.functional.silu and torch.nn.functional.glu may not be used.
"""

from torch import Tensor, nn


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """GELU of each number of `x`; same shape and dtype.

    Exact with `approximate` "none", the tanh form with "tanh".
    Raises ValueError, naming it, for anything else.
    """
    raise NotImplementedError


class FeedForward(nn.Module):
    """The layer of the first formula; its parts are `up_proj` and `down_proj`, both nn.Linear with bias."""

    def __init__(self, d_model: int, d_ff: int, activation: str = "gelu") -> None:
        """`activation` is "relu", "gelu" (exact) or "gelu_tanh".

        Raises ValueError, naming it and the three, for another one.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for x (..., d_model), same shape."""
        raise NotImplementedError


class GatedFeedForward(nn.Module):
    """A gated layer; its parts are `gate_proj`, `up_proj` and `down_proj`, all nn.Linear without bias."""

    def __init__(self, d_model: int, d_ff: int, activation: str = "silu") -> None:
        """`activation`, of the gate, is "silu" (SwiGLU) or "gelu" (GeGLU).

        Raises ValueError, naming it and the two, for another one.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for x (..., d_model), same shape."""
        raise NotImplementedError


def hidden_size(d_model: int, multiple_of: int) -> int:
    """The d_ff of a gated layer: 8 · d_model / 3, rounded up to a multiple of `multiple_of`."""
    raise NotImplementedError
