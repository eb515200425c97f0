"""The encoder-decoder Transformer

**Before you start.**  You need the encoder and all it is built of.  You may use yours (the
reference's are used until yours are green):

    from .k01_attention import causal_mask
    from .k02_multi_head_attention import MultiHeadAttention
    from .k06_normalization_layers import LayerNorm
    from .k07_feed_forward import FeedForward
    from .k08_encoder import Encoder

Line by line: Rush et al. 2022, "The Annotated Transformer".

**The idea.**  To translate, read the whole source, then write the target token by token.  The
encoder's output, the memory, is made once.  The decoder looks at what has been written so far
(causal self-attention), and at the memory (cross-attention).

    source ids ─▶ encoder ─▶ memory ───────────┐ keys and values
                                               ▼
    input ids ─▶ x ─▶ self_attention ─▶ cross_attention ─▶ feed_forward ─▶ x
                 │    causal            queries from x                     │
                 └──────────────── a block, `layers` times ────────────────┤
                                                                           ▼
                                                               head ─▶ logits

**The formula.**  Each of a block's three parts has its residual and its norm:

    post-norm   x ← norm1(x + self_attention(x))
                x ← norm2(x + cross_attention(x, memory))
                x ← norm3(x + feed_forward(x))
    pre-norm    the norm stands inside: x ← x + self_attention(norm1(x)) and so on

Pre-norm normalises x alone, never the memory: the encoder has normed it already.

*Teacher forcing.*  In training the target is known.  Give the decoder the right prefix at every
position, and all positions are learned at once.  Its input is the target shifted right by one, a
start token in front:

    position        0  1  2
    input           9  3  1        9 is the start token
                    │╲ │╲ │
                    │ ╲│ ╲│        each position sees itself and those before
                    ▼  ▼  ▼
    must predict    3  1  2        the target

**Why shift?**  Unshifted, position i holds the very token that it must predict.  The model
learns to copy, and can't write a word.

**Worked by hand**, a decoder block, one token x = [3 1], memory of one token [0 6], one head,
every projection the identity without bias, norms with weight 1 and bias 0.  A single key's
attention hands back its value:

    post   [3 1] + [3 1] = [6 2] → [1 -1];   + [0 6] = [1 5] → [-1 1];
           + relu [0 1] = [-1 2] → [-1 1]
    pre    [3 1] + [1 -1] = [4 0];   + [0 6] = [4 6];   + relu [0 1] = [4 7]

**Shapes**, with any leading batch dimensions `...`, none included: source (..., n), targets and
inputs (..., m), memory (..., n, d_model), logits (..., m, vocab_size).

No function changes its arguments, nor does any method.

Answers are on the device of the input, and a module moved by .to works where it is.

**Steps.**  A good place to pause is after DecoderBlock.

    DecoderBlock          15 min   which mask goes where?
    Transformer           25 min   one table of embeddings, one of positions
    shift_right            5 min   which token drops out?
    teacher_forcing_loss   5 min   shifted inputs, unshifted targets
    greedy_decode         10 min   encode once

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.

From scratch: torch.nn.Transformer, torch.nn.TransformerEncoder,
torch.nn.TransformerEncoderLayer, torch.nn.TransformerDecoder,
torch.nn.TransformerDecoderLayer and torch.nn.MultiheadAttention may not be used.
"""

from torch import Tensor, nn


class DecoderBlock(nn.Module):
    """Causal self-attention, cross-attention and feed-forward, each with a residual and a norm.

    self_attention, cross_attention    a MultiHeadAttention with bias each
    feed_forward                       a FeedForward with relu
    norm1, norm2, norm3                a LayerNorm(d_model) each, in the order of these three
    """

    def __init__(self, d_model: int, heads: int, d_ff: int, pre_norm: bool = False) -> None:
        """`d_ff` is the feed-forward network's inner width."""
        raise NotImplementedError

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        """The block's output, shaped like `x` (..., m, d_model), with `memory` (..., n, d_model).

        - No token of x may look at a later token of x: the block sees to that.
        - `memory_mask` is boolean, True where a token of x may look at one of the memory, and
          broadcasts against (..., heads, m, n); None hides nothing.
        """
        raise NotImplementedError


class Transformer(nn.Module):
    """Encoder and decoder of `layers` blocks each, over one vocabulary.

    embedding    nn.Embedding(vocab_size, d_model), which source and target share
    positions    nn.Embedding(max_length, d_model), which they share, too
    encoder      an Encoder with relu
    blocks       an nn.ModuleList of DecoderBlock
    norm         with pre_norm a LayerNorm(d_model) after the decoder's last block, else None
    head         nn.Linear(d_model, vocab_size) with bias, not tied to the embedding

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

        Any initial values from which the model learns, such as those of torch's own layers.
        """
        raise NotImplementedError

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """The memory (..., n, d_model) of the ids `source` (..., n).

        `source_mask` is boolean (..., 1, 1, n), True at the text, False at its padding, which
        nobody may look at; None means that there is no padding.

        Raises ValueError, naming n and max_length, if n is greater.
        """
        raise NotImplementedError

    def decode(self, inputs: Tensor, memory: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Logits (..., m, vocab_size) of the token after each of the ids `inputs` (..., m).

        Row i depends on inputs 0 … i only.  `source_mask` hides the memory's padding, as in
        encode.

        Raises ValueError, naming m and max_length, if m is greater.
        """
        raise NotImplementedError

    def forward(self, source: Tensor, inputs: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Encode `source`, then decode `inputs` (already shifted), with the same mask.

        Raises what these two raise.
        """
        raise NotImplementedError


def shift_right(targets: Tensor, start: int) -> Tensor:
    """The decoder's inputs for the ids `targets` (..., m): `start`, then all but the last.

    Same shape and dtype as `targets`.
    """
    raise NotImplementedError


def teacher_forcing_loss(
    model: Transformer,
    source: Tensor,
    targets: Tensor,
    start: int,
    source_mask: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy in nats, a scalar, over all tokens of `targets` (..., m), unshifted.

    Each is predicted from the source (..., n) and the right tokens before it, the first from
    `start`.  Finite for any finite logits.
    """
    raise NotImplementedError


def greedy_decode(
    model: Transformer, source: Tensor, steps: int, start: int, source_mask: Tensor | None = None
) -> Tensor:
    """The ids (..., steps), int64, that `model` writes for `source` (..., n).

    - Each is the likeliest token (argmax of the logits) after `start` and the ids before it.
      `start` itself isn't returned.
    - `steps` is at least 1 and at most the model's max_length.
    - The encoder runs only once.
    - Gradients are off meanwhile, and afterwards as they were before.
    """
    raise NotImplementedError
