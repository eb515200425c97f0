"""BERT

**Before you start.**  You need the encoder's block and its parts.  You may use yours (the
reference's are used until yours are green):

    from .k02_multi_head_attention import MultiHeadAttention
    from .k06_normalization_layers import LayerNorm
    from .k07_feed_forward import FeedForward, gelu

Pictures: Alammar 2018, "The Illustrated BERT".

**The idea.**  To understand a text you read it from both sides.  BERT learns this from two
puzzles that any text poses: what stood in the covered places, and does the second text follow
the first?

**The formula.**  E, P and S are the embeddings of tokens, positions and segments (first text
or second):

    x = norm(E[ids] + P[0 … n-1] + S[segments])          embeddings
    x = norm1(x + attention(x))                           L blocks, post-norm
    x = norm2(x + feed_forward(x))                        with the exact GELU
    pooled = tanh(W_p x₀ + b_p)                           of the first token, [CLS]

    ids      │ [CLS]  how  are  you  [SEP]  fine  [SEP]   –   –
    segments │   0     0    0    0     0     1      1     0   0
    mask     │   1     1    1    1     1     1      1     0   0    – is padding

*Masked language model.*  15 % of the tokens are chosen and must be predicted.  A second random
number is a chosen token's fate.  Below 0.8 it is masked, from 0.9 on replaced by a random
token, between them it stays:

    text   │  the    cat    sat    on     the    mat
    chosen │         yes           yes           yes
    fate   │        0.35          0.84          0.96
    inputs │  the   [MASK]  sat    on     the    sky
    labels │ -100    cat   -100    on    -100    mat      -100: not predicted

The heads and the loss:

    logits = norm(gelu(W_t x + b_t)) Eᵀ + c               tied to the embeddings
    next   = W_n pooled + b_n                             0: it follows, 1: it doesn't
    loss   = cross-entropy over the chosen + cross-entropy of next

*Sentences as vectors.*  Take the mean of the last states over the real tokens, scaled to length
1.  The dot product of two such vectors is their similarity.  all-MiniLM-L6-v2 was tuned for it;
your code runs its weights.

**Why not mask all that are chosen?**  No text that BERT meets later has [MASK] in it.  So it must
keep a good idea of every token.

**Worked by hand**: of 100 tokens about 15 are chosen: 12 masked, 1.5 random, 1.5 as they were.
The mean over [1 3], [5 7] and padding is [3 5], of length 5.831: [0.5145 0.8575].

**Shapes**: ids, segments and mask (b, n); mask is True or 1 for real tokens, False or 0 for
padding, at which nothing may look.  Each row has a real token.  No function or method changes
its arguments.

Answers are on the device of the input, and a module moved by .to works where it is.  A
generator is on the device of the ids.

**Steps.**  A good place to pause is after Bert.

    Bert                35 min   20 for the model, 15 for load_hf; on which axis is the mask?
    BertForPretraining  15 min   the tied head and its bias
    mask_tokens         15 min   one draw to choose, one for the fate
    pretraining_loss     5 min   the mean over the chosen
    sentence_vectors     5 min   without the padding

Sources: Devlin et al. 2019, "BERT", sections 3.1 and A.1; Reimers and Gurevych 2019,
"Sentence-BERT" (the mean of the states).

From scratch: transformers, torch.nn.TransformerEncoderLayer and torch.nn.TransformerEncoder
may not be used.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Generator, Tensor, nn


@dataclass(frozen=True)
class BertConfig:
    """The sizes of a model; `eps` is that of every LayerNorm."""

    vocab_size: int
    context: int
    segments: int
    d_model: int
    d_ff: int
    layers: int
    heads: int
    eps: float


class Bert(nn.Module):
    """Embeddings, blocks and pooler.  The names of the parts are yours to choose."""

    def __init__(self, config: BertConfig) -> None:
        """A model of these sizes with any weights."""
        raise NotImplementedError

    def forward(
        self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The last states (b, n, d_model) and the pooled first one (b, d_model).

        - Without `segments` all tokens are in segment 0; without a `mask` all are real.
        - Padding has no influence on real tokens.  What comes out at the padding is free.

        Raises ValueError, naming n and the context, if n is larger.
        """
        raise NotImplementedError

    def load_hf(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights of a transformers BertModel's state dict of the same sizes.

            embeddings.word_embeddings.weight            E
            embeddings.position_embeddings.weight        P
            embeddings.token_type_embeddings.weight      S
            embeddings.LayerNorm                         norm
            pooler.dense                                 the pooler's W_p and b_p

        and for block i, `encoder.layer.{i}.` followed by

            attention.self.query                         q
            attention.self.key, attention.self.value     k and v
            attention.output.dense                       the attention's last matrix
            attention.output.LayerNorm                   norm1
            intermediate.dense, output.dense             the feed-forward's two matrices
            output.LayerNorm                             norm2

        - All but the first three have a .weight and a .bias, laid out as nn.Linear's.
        - `state` may be in any order; other entries are ignored.
        - No memory is shared with `state`.
        """
        raise NotImplementedError


class BertForPretraining(nn.Module):
    """A Bert, as `bert`, and the two heads."""

    def __init__(self, config: BertConfig) -> None:
        """The head for tokens shares its matrix with the embeddings."""
        raise NotImplementedError

    def forward(
        self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits of the tokens (b, n, vocab_size), and of "follows" and "doesn't" (b, 2)."""
        raise NotImplementedError

    def load_hf(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights of a transformers BertForPreTraining's state dict.

            bert.…                                 the names of Bert.load_hf
            cls.predictions.transform.dense        W_t and b_t of the head for tokens
            cls.predictions.transform.LayerNorm    its norm, with the same eps
            cls.predictions.bias                   its c (vocab_size,), no .weight
            cls.seq_relationship                   W_n and b_n of next

        All but the bias have a .weight and a .bias; else as in Bert.load_hf.
        """
        raise NotImplementedError


def mask_tokens(
    ids: Tensor,
    special: Tensor,
    mask_id: int,
    vocab_size: int,
    rate: float = 0.15,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """The inputs and the labels, both of ids' (b, n) shape and dtype, made as the lesson says.

    - Every token is chosen with probability `rate`, independently of all others, but none
      that is `special` (b, n), which is boolean.
    - Random tokens are any of 0 … vocab_size - 1, equally likely, mask_id and the token itself
      included.
    - Numbers are drawn from `generator` alone, or, without one, from torch's own.  How many,
      and in which order, is yours to choose.
    """
    raise NotImplementedError


def pretraining_loss(
    token_logits: Tensor, next_logits: Tensor, labels: Tensor, follows: Tensor
) -> Tensor:
    """The sum of both losses, each a mean, in nats.

    token_logits    (b, n, vocab_size), scored where `labels` (b, n) isn't -100, which is so
                    for at least one token
    next_logits     (b, 2), scored by `follows` (b,), which is 0 or 1 as above
    """
    raise NotImplementedError


def sentence_vectors(states: Tensor, mask: Tensor) -> Tensor:
    """The mean of states (b, n, d) over the real tokens, scaled to length 1: (b, d).

    All states are finite, those at the padding, too, and no mean is 0.
    """
    raise NotImplementedError
