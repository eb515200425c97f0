"""The Transformer's encoder

**Before you start.**  You need multi-head attention, LayerNorm and the feed-forward layer.
You may use yours (the reference's are used until yours are green):

    from .k02_multi_head_attention import MultiHeadAttention
    from .k06_normalization_layers import LayerNorm
    from .k07_feed_forward import FeedForward

MultiHeadAttention(d_model, heads)(x, mask=mask) gives (output, weights); LayerNorm(d_model) and
FeedForward(d_model, d_ff, activation) give their output alone.

Line by line: Rush et al. 2022, "The Annotated Transformer".

**The idea.**  To understand a text, read it as a whole: in an encoder every token may look at
every other.  Attention moves information between tokens; the feed-forward network works on each
token alone.  What they give is *added* to their input, so the gradient has a direct path back.

**The formula.**  Sums of many blocks grow; LayerNorm keeps the scale.  It stands in one of two
places:

    post-norm (2017)    x ← norm1(x + attention(x))      x ← norm2(x + feed_forward(x))
    pre-norm (GPT-2)    x ← x + attention(norm1(x))      x ← x + feed_forward(norm2(x))

    post   x ─┬─▶ attention ─▶ + ─▶ norm1 ─┬─▶ feed_forward ─▶ + ─▶ norm2 ─▶ x
              └────────────────┘           └───────────────────┘

    pre    x ─┬─▶ norm1 ─▶ attention ─▶ + ─┬─▶ norm2 ─▶ feed_forward ─▶ + ─▶ x
              └─────────────────────────┘  └────────────────────────────┘

**Why does the place matter?**  In a post-norm stack every gradient must pass every norm.
Pre-norm leaves the path of the sums free.  But its stream is normalised nowhere, so a pre-norm
stack ends in one more norm.

**Why a padding mask?**  Texts of a batch are padded to the longest.  No token may look at
padding: the text must come out as if it stood alone.  What comes out *at* the padding is free:

    lengths │                         │ x may be seen
       3    │  the  cat  sat   –      │ x x x .
       1    │  hi    –    –    –      │ x . . .      a row serves all heads and
       4    │  we  came  home  late   │ x x x x      all queries of its text

**Worked by hand**, one token x = [3 1], one head, every projection the identity without
bias, norms with weight 1 and bias 0, relu.  A single token attends to itself: attention(x) = x.

    post    x + x = [6 2] → norm1 [1 -1];   [1 -1] + relu [1 0] = [2 -1] → norm2 [1 -1]
    pre     norm1 [1 -1]: [3 1] + [1 -1] = [4 0];   norm2 [1 -1]: [4 0] + relu [1 0] = [5 0]

**Shapes**, with any leading batch dimensions `...`, none included: x (..., n, d_model).

No function changes its arguments, nor does any method.

Answers are on the device of the input, and a module moved by .to works where it is.

**Steps.**

    padding_mask   5 min   two axes of 1, for heads and queries
    EncoderBlock  10 min   what is added, and what is normed?
    Encoder       10 min   each block has weights of its own

Sources: Vaswani et al. 2017, "Attention Is All You Need", section 3.1; Xiong et al. 2020,
"On Layer Normalization in the Transformer Architecture", section 3.

From scratch: torch.nn.TransformerEncoderLayer, torch.nn.TransformerEncoder and
torch.nn.MultiheadAttention may not be used.
"""

from torch import Tensor, nn


def padding_mask(lengths: Tensor, n: int) -> Tensor:
    """Boolean (..., 1, 1, n): True at the first `lengths` (...) tokens of each text, else False.

    `lengths` has any integer dtype.  The two axes of 1 stand for heads and queries: the mask
    broadcasts against (..., heads, n, n).

    Raises ValueError, naming one such length and n, if a length isn't in 1 … n.
    """
    raise NotImplementedError


class EncoderBlock(nn.Module):
    """Self-attention, then a feed-forward network, each with a residual connection and a norm.

    attention       a MultiHeadAttention with bias
    feed_forward    a FeedForward
    norm1, norm2    a LayerNorm(d_model) each: the attention's, and the feed-forward's
    """

    def __init__(
        self, d_model: int, heads: int, d_ff: int, pre_norm: bool = False, activation: str = "relu"
    ) -> None:
        """`d_ff` and `activation` ("relu", "gelu", "gelu_tanh") are the feed-forward network's."""
        raise NotImplementedError

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The block's output, shaped like `x` (..., n, d_model).

        `mask` is boolean, True where a query may look at a key, and broadcasts against
        (..., heads, n, n); None hides nothing.
        """
        raise NotImplementedError


class Encoder(nn.Module):
    """`layers` blocks in a row, each with weights of its own.

    blocks    an nn.ModuleList of EncoderBlock
    norm      with pre_norm a LayerNorm(d_model) after the last block, None without
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
        """The output of the stack, shaped like `x` (..., n, d_model).

        - `mask` holds in every block.
        - With a padding mask, a text comes out as if it stood alone, whatever finite numbers
          the padding holds.
        """
        raise NotImplementedError
