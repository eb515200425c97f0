"""The encoder-decoder Transformer

To translate, read the whole source, then write the target token by token.  The
encoder's output, the memory, is made once.  The decoder's blocks look at two
things: at what has been written so far (causal self-attention), and at the
memory (cross-attention, queries from the target, keys and values from the
source).  So a block has three halves, each with its residual and its norm:

    post-norm   x ← norm1(x + self_attention(x))
                x ← norm2(x + cross_attention(x, memory))
                x ← norm3(x + feed_forward(x))
    pre-norm    the norm stands inside: x ← x + self_attention(norm1(x)) and so on

Pre-norm normalises x alone, never the memory: that comes from an encoder whose
last layer is a norm already.

Teacher forcing.  In training the target is known, so the decoder needn't write
it: it is handed the right prefix at every position and asked for the next token,
all positions at once.  Its input is the target shifted right by one, a start
token in front.  Shift the wrong way, or not at all, and it learns to copy its
input, for the answer is then in view.

    targets   3 1 2        position:     0  1  2
    inputs    9 3 1        must predict: 3  1  2      (start = 9)

In use nothing is known: greedy decoding appends the likeliest token and asks
again, with the source encoded once.

Worked by hand, a decoder block, one token x = [3 1], memory of one token
[0 6], one head, every projection the identity without bias, norms with weight 1
and bias 0.  With one key attention hands back that key's value:

    post   [3 1] + [3 1] = [6 2] → [1 -1];   + [0 6] = [1 5] → [-1 1];   + relu [0 1] = [-1 2] → [-1 1]
    pre    [3 1] + [1 -1] = [4 0];           + [0 6] = [4 6];            + relu [0 1] = [4 7]

Shapes, with any leading batch dimensions `...`, none included: source ids
(..., n), target ids (..., m), memory (..., n, d_model), logits (..., m, vocab_size).

No function changes its arguments, nor does any method.

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.

From scratch: torch.nn.Transformer, torch.nn.TransformerEncoder,
torch.nn.TransformerEncoderLayer, torch.nn.TransformerDecoder,
torch.nn.TransformerDecoderLayer and torch.nn.MultiheadAttention may not be used.
Builds on k01_attention, k02_multi_head_attention, k06_normalization_layers,
k07_feed_forward and k08_encoder, all of which you may import.
"""

from torch import Tensor, nn


class DecoderBlock(nn.Module):
    """Causal self-attention, cross-attention and a feed-forward network, each with a residual and a LayerNorm.

    Attributes: `self_attention` and `cross_attention`, a MultiHeadAttention with
    bias each; `feed_forward`, a FeedForward with relu; `norm1`, `norm2` and
    `norm3`, a LayerNorm(d_model) each, in the order of these three.
    """

    def __init__(self, d_model: int, heads: int, d_ff: int, pre_norm: bool = False) -> None:
        """`d_ff` is the feed-forward network's inner width."""
        raise NotImplementedError

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        """The block's output, shaped like `x` (..., m, d_model), with `memory` (..., n, d_model).

        No token of x may look at a later token of x: the block sees to that.
        `memory_mask` is boolean, True where a token of x may look at one of the
        memory, and broadcasts against (..., heads, m, n); None hides nothing.
        """
        raise NotImplementedError


class Transformer(nn.Module):
    """Encoder and decoder of `layers` blocks each, over one vocabulary.

    Attributes: `embedding`, nn.Embedding(vocab_size, d_model), and `positions`,
    nn.Embedding(max_length, d_model), which source and target share; `encoder`,
    an Encoder with relu; `blocks`, an nn.ModuleList of DecoderBlock; `norm`, with
    pre_norm a LayerNorm(d_model) after the decoder's last block, None without;
    `head`, nn.Linear(d_model, vocab_size) with bias, not tied to the embedding.

    A token enters as its embedding plus its position's, positions from 0, neither scaled.
    """

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        d_model: int,
        heads: int,
        layers: int,
        d_ff: int,
        pre_norm: bool = False,
    ) -> None:
        """`heads`, `d_ff` and `pre_norm` are those of every block.

        Initial values are free, but such that the model learns: those of torch's own layers will do.
        """
        raise NotImplementedError

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """The memory (..., n, d_model) of the ids `source` (..., n).

        `source_mask` is boolean (..., 1, 1, n), True at the text, False at its
        padding, which nobody may look at; None means that there is no padding.
        Raises ValueError, naming n and max_length, if n is greater.
        """
        raise NotImplementedError

    def decode(self, inputs: Tensor, memory: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Logits (..., m, vocab_size) of the token after each of the ids `inputs` (..., m).

        Row i depends on inputs 0 … i only.  `source_mask` hides the memory's padding, as in encode.
        Raises ValueError, naming m and max_length, if m is greater.
        """
        raise NotImplementedError

    def forward(self, source: Tensor, inputs: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Encode `source`, then decode `inputs` (already shifted), with the same mask; errors as there."""
        raise NotImplementedError


def shift_right(targets: Tensor, start: int) -> Tensor:
    """The decoder's inputs for the ids `targets` (..., m): `start`, then all but the last; same shape and dtype."""
    raise NotImplementedError


def teacher_forcing_loss(
    model: Transformer, source: Tensor, targets: Tensor, start: int, source_mask: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy in nats, a scalar, over all tokens of `targets` (..., m), unshifted.

    Each is predicted from the source (..., n) and the right tokens before it, the first from `start`.
    """
    raise NotImplementedError


def greedy_decode(
    model: Transformer, source: Tensor, steps: int, start: int, source_mask: Tensor | None = None
) -> Tensor:
    """The `steps` ids (..., steps), int64, that `model` writes for `source` (..., n), likeliest token first.

    Each is the argmax of the logits after `start` and the ids before it; `start`
    itself isn't returned.  `steps` is at least 1 and at most the model's
    max_length.  The encoder runs once in all, and gradients are off meanwhile.
    """
    raise NotImplementedError
