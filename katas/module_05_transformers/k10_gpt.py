"""GPT

A decoder that predicts the next token, and nothing else: the architecture of
GPT-2.  Token and position embeddings are added, L blocks rewrite them, a last norm
and the token embeddings give the logits:

    x = E[ids] + P[0 … n-1]
    x = x + attention(norm1(x))        L times; each token looks at itself
    x = x + feed_forward(norm2(x))     and at what stands before it
    logits = norm(x) Eᵀ

**Tied weights.**  The same matrix E turns tokens into vectors and vectors into
logits: tokens that mean alike are read and predicted alike, and a third of a small
model's weights is saved.

**The start.**  All matrices and embeddings are drawn from N(0, 0.02²), biases are 0.
The two matrices of a block whose result is added to the stream, out_proj and
down_proj, are drawn smaller by √(2L), as 2L such terms add up: then the stream's
variance doesn't grow with the depth.

**The loss.**  Row t of the logits predicts token t + 1, so the logits of a row of n
tokens are judged on n - 1 of them: the last one's successor isn't known.

GPT-2's own weights are stored by `Conv1D` layers, which keep the transpose of what
nn.Linear keeps, and with the matrices of q, k and v side by side in one.

Worked by hand: logits of zeros over V = 4 tokens give each token ¼, so the loss is
log 4 = 1.3863, whatever the ids.  GPT-2 small: L = 12, so that out_proj has a
standard deviation of 0.02 / √24 = 0.00408.

Shapes: ids (b, n) int64, logits (b, n, vocab_size).  No function or method changes
its arguments.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners",
section 2.3; Press and Wolf 2017, "Using the Output Embedding to Improve Language
Models" (tied weights).

From scratch: transformers, torch.nn.TransformerEncoderLayer and
torch.nn.TransformerDecoderLayer may not be used.
Builds on k01_attention, k02_multi_head_attention, k06_normalization_layers and
k07_feed_forward, from which you may import.
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


class GPT(nn.Module):
    """The model of the lesson, without dropout.

    Its parts: `token_embedding` and `position_embedding` (nn.Embedding), `blocks` (an
    nn.ModuleList), and `norm` (LayerNorm, eps 1e-5).  Each block has `norm1`, `attention`
    (MultiHeadAttention, with biases), `norm2` and `feed_forward` (FeedForward with
    "gelu_tanh").  There is no further parameter.
    """

    def __init__(self, config: GPTConfig) -> None:
        """A fresh model, drawn as the lesson says."""
        raise NotImplementedError

    def forward(self, ids: Tensor) -> Tensor:
        """The logits (b, n, vocab_size) of the tokens that follow ids (b, n), on their device.

        Raises ValueError, naming n and the context, if n is larger.
        """
        raise NotImplementedError

    def load_gpt2(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights of a transformers GPT2LMHeadModel's state dict of the same sizes.

        For block i, `transformer.h.{i}.` followed by: ln_1.weight, ln_1.bias,
        attn.c_attn.weight (d, 3d) and .bias, attn.c_proj.weight (d, d) and .bias,
        ln_2.weight, ln_2.bias, mlp.c_fc.weight (d, 4d) and .bias,
        mlp.c_proj.weight (4d, d) and .bias.  Around them: transformer.wte.weight,
        transformer.wpe.weight, transformer.ln_f.weight and .bias.  The columns of
        c_attn are those of q, k and v in turn.  Other entries are left alone.
        """
        raise NotImplementedError


def next_token_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """The mean cross-entropy, in nats, of ids (b, n) under the logits (b, n, V) of the rows before each.

    A scalar, finite for any finite logits, ±1e4 included.
    Raises ValueError, naming n, if it is below 2: then nothing is predicted.
    """
    raise NotImplementedError
