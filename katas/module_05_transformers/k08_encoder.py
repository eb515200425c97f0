"""The Transformer's encoder

An encoder reads a whole text at once: every token may look at every other, and
each layer rewrites all of them.  A block does two things in turn.  Attention
moves information between tokens; the feed-forward network thinks about each
token alone.  Neither replaces its input: its result is *added* to it, so that a
block starts from what is known and the gradient has a straight way down.

Sums of many blocks grow, so LayerNorm keeps the scale, in one of two places:

    post-norm (2017)    x ← norm1(x + attention(x))          x ← norm2(x + feed_forward(x))
    pre-norm (GPT-2)    x ← x + attention(norm1(x))          x ← x + feed_forward(norm2(x))

Post-norm's output is always normalised, but every gradient must pass every
norm, and deep stacks need a careful warm-up.  Pre-norm leaves the residual path
free, which trains at any depth.  Its stream is normalised nowhere, so a stack of
pre-norm blocks ends in one more norm.

Texts of a batch differ in length and are padded to the longest.  Padding is no
text: no token may look at it.  What comes out *at* the padding is of no
interest; what comes out elsewhere must be as if the text stood alone.

Worked by hand, one token x = [3 1], one head, every projection the identity
without bias, norms with weight 1 and bias 0, relu.  A single token attends to
itself only, so attention(x) = x:

    post    x + x = [6 2] → norm1 [1 -1];   [1 -1] + relu [1 0] = [2 -1] → norm2 [1 -1]
    pre     norm1 [1 -1]: [3 1] + [1 -1] = [4 0];   norm2 [1 -1]: [4 0] + relu [1 0] = [5 0]

Shapes, with any leading batch dimensions `...`, none included: x (..., n, d_model).

No function changes its arguments, nor does any method.

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.1; Xiong et
al. 2020, "On Layer Normalization in the Transformer Architecture", section 3.

From scratch: torch.nn.TransformerEncoderLayer, torch.nn.TransformerEncoder and
torch.nn.MultiheadAttention may not be used.
Builds on k02_multi_head_attention, k06_normalization_layers and k07_feed_forward,
whose MultiHeadAttention, LayerNorm and FeedForward you may import.
"""

from torch import Tensor, nn


def padding_mask(lengths: Tensor, n: int) -> Tensor:
    """Boolean (..., 1, 1, n): True at the first `lengths` (...) tokens of each text, False at its padding.

    The two axes of 1 stand for heads and queries: the mask broadcasts against (..., heads, n, n).
    Raises ValueError, naming the length and n, if one isn't in 1 … n.
    """
    raise NotImplementedError


class EncoderBlock(nn.Module):
    """Self-attention, then a feed-forward network, each with a residual connection and a LayerNorm.

    Attributes: `attention`, a MultiHeadAttention with bias; `feed_forward`, a
    FeedForward; `norm1` and `norm2`, a LayerNorm(d_model) each: the attention's
    and the feed-forward's.
    """

    def __init__(
        self, d_model: int, heads: int, d_ff: int, pre_norm: bool = False, activation: str = "relu"
    ) -> None:
        """`d_ff` and `activation` ("relu", "gelu" or "gelu_tanh") are the feed-forward network's."""
        raise NotImplementedError

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The block's output, shaped like `x` (..., n, d_model).

        `mask` is boolean, True where a query may look at a key, and broadcasts
        against (..., heads, n, n); None hides nothing.
        """
        raise NotImplementedError


class Encoder(nn.Module):
    """`layers` blocks in a row, each with weights of its own.

    Attributes: `blocks`, an nn.ModuleList of EncoderBlock; `norm`, with pre_norm
    a LayerNorm(d_model) after the last block, and None without.
    """

    def __init__(
        self,
        layers: int,
        d_model: int,
        heads: int,
        d_ff: int,
        pre_norm: bool = False,
        activation: str = "relu",
    ) -> None:
        """All arguments but `layers` are those of each block."""
        raise NotImplementedError

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The output of the stack, shaped like `x` (..., n, d_model); `mask` holds in every block."""
        raise NotImplementedError
