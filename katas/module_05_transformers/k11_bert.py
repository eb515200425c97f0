"""BERT

An encoder that has read its text from both sides.  It is trained on two riddles
that any text sets by itself: what stood in the places that were covered up, and
does the second half follow the first.

    x = norm(E[ids] + P[0 … n-1] + S[segments])          embeddings
    x = norm1(x + attention(x))                           L blocks, post-norm
    x = norm2(x + feed_forward(x))                        with the exact GELU
    pooled = tanh(W x₀ + b)                               of the first token, [CLS]

**Masked language model.**  15 % of the tokens are chosen and must be predicted.
80 % of the chosen become [MASK]; but no text that BERT meets later has [MASK] in it,
so 10 % become a random token, and 10 % stay as they are: the model must keep a good
idea of every token.  Labels are -100 where nothing was chosen.

    logits = norm(gelu(W x + b)) Eᵀ + c                   tied to the embeddings
    next   = W pooled + b                                 0: it follows, 1: it doesn't
    loss   = cross-entropy over the chosen + cross-entropy of next

**Sentences as vectors.**  The mean of the last states over the real tokens, scaled
to length 1, says what a sentence is about; a dot product is then a similarity.
all-MiniLM-L6-v2 was tuned for it, and your code runs its weights.

Worked by hand: of 100 tokens about 15 are chosen; 12 of them are masked, 1.5 become
random, 1.5 stay.  The mean over [1 3], [5 7] and padding is [3 5], of length 5.831:
[0.5145 0.8575].

Shapes: ids, segments and mask (b, n); mask is True or 1 for real tokens, False or 0
for padding, at which nothing may look.  No function or method changes its arguments.

Sources: Devlin et al. 2019, "BERT", sections 3.1 and A.1; Reimers and Gurevych 2019,
"Sentence-BERT" (the mean of the states).

From scratch: transformers, torch.nn.TransformerEncoderLayer and
torch.nn.TransformerEncoder may not be used.
Builds on k02_multi_head_attention, k06_normalization_layers and k07_feed_forward,
whose MultiHeadAttention, LayerNorm, FeedForward and gelu you may import.
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

        Without `segments` all tokens are in segment 0; without a `mask` all are real.
        Raises ValueError, naming n and the context, if n is larger.
        """
        raise NotImplementedError

    def load_hf(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights of a transformers BertModel's state dict of the same sizes.

        embeddings.word_embeddings.weight, embeddings.position_embeddings.weight,
        embeddings.token_type_embeddings.weight, embeddings.LayerNorm; for block i,
        `encoder.layer.{i}.` and attention.self.query, attention.self.key,
        attention.self.value, attention.output.dense, attention.output.LayerNorm,
        intermediate.dense, output.dense, output.LayerNorm; pooler.dense.  All but the
        embeddings have a .weight and a .bias.  Other entries are left alone.
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

        The names of `Bert.load_hf` with `bert.` before them, and
        cls.predictions.transform.dense, cls.predictions.transform.LayerNorm and
        cls.seq_relationship, each with .weight and .bias, and cls.predictions.bias.
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
    """The riddle and its answers, both like ids (b, n), made as the lesson says.

    Every token is chosen with probability `rate`, but none that is `special` (b, n),
    which is boolean.  Random tokens are any of 0 … vocab_size - 1, equally likely.
    Numbers are drawn from `generator`, or torch's own.
    """
    raise NotImplementedError


def pretraining_loss(
    token_logits: Tensor, next_logits: Tensor, labels: Tensor, follows: Tensor
) -> Tensor:
    """The sum of both losses, each a mean, in nats; `follows` (b,) is 0 or 1 as above."""
    raise NotImplementedError


def sentence_vectors(states: Tensor, mask: Tensor) -> Tensor:
    """The mean of states (b, n, d) over the real tokens, scaled to length 1: (b, d)."""
    raise NotImplementedError
