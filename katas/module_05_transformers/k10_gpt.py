"""GPT

**Before you start.**  You need attention, several heads, LayerNorm, the feed-forward layer and
cross-entropy.  You may use yours (the reference's are used until yours are green):

    from .k01_attention import causal_mask
    from .k02_multi_head_attention import MultiHeadAttention
    from .k06_normalization_layers import LayerNorm
    from .k07_feed_forward import FeedForward

Pictures: Alammar 2019, "The Illustrated GPT-2".

**The idea.**  To predict text well, a model must know grammar, facts, and what was said before.
So predict the next token, and nothing else.  You build GPT-2 so exactly that OpenAI's weights
run in it.

**The formula.**  E (vocab_size, d_model) and P (context, d_model) are the embeddings of tokens
and positions, L the number of blocks:

    x = E[ids] + P[0 … n-1]
    x = x + attention(norm1(x))        causal: token t sees 0 … t
    x = x + feed_forward(norm2(x))     both lines L times
    logits = norm(x) Eᵀ

    ids ──▶ E ──┐
                + ──▶ block ──▶ … ──▶ block ──▶ norm ──▶ × Eᵀ ──▶ logits
    0 … ──▶ P ──┘

    row         │  0      1      2      3
    its token   │  the    cat    sat    down
    it predicts │  cat    sat    down   –        the last row isn't scored

*The start.*  Draw all matrices and embeddings from N(0, 0.02²); biases are 0, norms have weight 1.
Draw each block's out_proj and down_proj, which add to the stream, smaller: with standard
deviation 0.02 / √(2L).

**Why tie E?**  Tokens of similar meaning should be read and predicted alike.  And it saves weights:
GPT-2 small has 124 million, untied 163 million.

**Why √(2L)?**  2L such terms add up.  Drawn smaller, their sum's variance doesn't grow with L.

**Worked by hand**: logits of zeros over V = 4 tokens give each token ¼, so the loss is
log 4 = 1.3863.  GPT-2 small has L = 12: its out_proj starts with a standard deviation of
0.02 / √24 = 0.00408.

**Shapes**: ids (b, n) int64 with b ≥ 1, logits (b, n, vocab_size); all sizes are 1 or more.
No function or method changes its arguments.

Answers are on the device of the input, and a module moved by .to works where it is.

**Steps.**  A good place to pause is before load_gpt2.

    next_token_loss   5 min   which row is scored on which token?
    GPT              50 min   15 for the block and the forward pass, 15 for the start,
                              20 for load_gpt2: which matrices are transposed?

Sources: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section
2.3; Press and Wolf 2017, "Using the Output Embedding to Improve Language Models".

From scratch: transformers, torch.nn.TransformerEncoderLayer and
torch.nn.TransformerDecoderLayer may not be used.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a model; the feed-forward layers have a hidden size of 4 · d_model."""

    vocab_size: int
    context: int
    d_model: int
    heads: int
    layers: int


def next_token_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """The mean cross-entropy, in nats, of the tokens that the logits (b, n, V) predict.

    Row t of the logits is scored on token t + 1 of ids (b, n).  The result is a scalar, finite
    for any finite logits, ±1e4 included.

    Raises ValueError, naming n, if it is below 2: then nothing is predicted.
    """
    raise NotImplementedError


class GPT(nn.Module):
    """The model of the lesson, without dropout.

    token_embedding, position_embedding    nn.Embedding
    blocks                                 an nn.ModuleList of `layers` blocks
    norm                                   LayerNorm, eps 1e-5

    and in each block

    norm1, norm2    LayerNorm, eps 1e-5
    attention       MultiHeadAttention with biases
    feed_forward    FeedForward with "gelu_tanh"

    There is no further parameter.
    """

    def __init__(self, config: GPTConfig) -> None:
        """A fresh model, drawn as the lesson says."""
        raise NotImplementedError

    def forward(self, ids: Tensor) -> Tensor:
        """The logits (b, n, vocab_size) of the tokens that follow ids (b, n), on their device.

        Row t depends on tokens 0 … t alone.

        Raises ValueError, naming n and the context, if n is larger.
        """
        raise NotImplementedError

    def load_gpt2(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights of a transformers GPT2LMHeadModel's state dict of the same sizes.

        Around the blocks: transformer.wte.weight (E), transformer.wpe.weight (P), and
        transformer.ln_f.weight and .bias.  For block i, `transformer.h.{i}.` followed by

            ln_1.weight, ln_1.bias                        norm1
            attn.c_attn.weight (d, 3d), .bias (3d,)       q, k and v, side by side
            attn.c_proj.weight (d, d), .bias              out_proj
            ln_2.weight, ln_2.bias                        norm2
            mlp.c_fc.weight (d, 4d), .bias                up_proj
            mlp.c_proj.weight (4d, d), .bias              down_proj

        - These matrices are those of `Conv1D` layers: the transpose of what nn.Linear keeps.
        - `state` may be in any order; other entries are ignored.
        - Your parameters stay the same objects, with their dtype, so an optimizer made before
          still updates them.  No memory is shared with `state`.
        """
        raise NotImplementedError
