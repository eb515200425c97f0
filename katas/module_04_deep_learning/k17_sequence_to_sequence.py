"""Sequence to sequence

**Before you start.**  You need the GRU, packed lengths and beam search.  You may use your beam
search (the reference's is used until yours is green):

    from katas.module_05_transformers.k15_decoding import beam_search

Pictures: Alammar 2018, "Visualizing A Neural Machine Translation Model".

**The idea.**  To translate, a network reads one sequence and writes another, of another length.  An
encoder reads the source.  A decoder writes the answer, token by token.  At first a single vector
passed between them, and a long sentence doesn't fit into one.  Attention lets the decoder look back
at the whole source, and choose at each step where to look.

**The formulas.**  The encoder gives the memory M (s, k), a row of k numbers for each of s source
positions.  The decoder's state q is the query.  Attention scores each position by how well it fits
the query, and averages the rows:

    additive          e_j = v · tanh(W_q q + W_k M_j)          v, W_q, W_k have no bias
    multiplicative    e_j = q · (W_k M_j)
    weights           a = softmax(e), over the real positions only
    context           c = Σ_j a_j M_j

*Encoder*: a bidirectional GRU over embeddings, with m features in each direction.  M_j is its
output at j, so k = 2m.  The decoder starts with q = tanh(bridge([last forward state, last backward
state])), where bridge is a linear layer and [ , ] puts vectors one behind the other.

*Decoder*, one step from the last token y and the state q:

    c, a = attention(q, M)           with the state before the step
    q' = GRU cell([embedding(y), c], q)
    logits = head([q', c])

    source  ──▶ encoder ──┬──────────────── M ─────────────────────┐
                          ▼                                        │
                       bridge ──▶ q ──┬────────▶ attention ◀───────┘
                                      │              │ c
                                      ▼              ├───────────┐
                     embedding(y) ──▶ GRU cell ◀─────┘           ▼
                                      └──▶ q' ─────────────────▶ head ──▶ logits

    a reversal, and where       source:  c    a    t
    a trained model looks       writes t ·    ·    █
                                writes a ·    █    ·
                                writes c █    ·    ·

*Teacher forcing.*  In training the decoder reads the true token at each step, not the one that it
would have written.  So it never sees its own mistakes.  *Scheduled sampling* tosses a coin for each
token: the decoder reads the true one with probability ε, and its own likeliest one otherwise.  ε
falls with the training step i; k is now a number that says how slowly:

    ε(i) = k / (k + exp(i / k))

**Why mask?**  Padding gets scores like any other position.  Set these to -inf before the softmax.
Then its weights are 0, and a sentence is translated as if it were alone in its batch.

**Why a beam?**  The likeliest first token may lead to an unlikely sentence.  Beam search keeps
several beginnings, and goes on with the best of them.

**Worked by hand**, memory rows [0] and [log 3], all weights 1:

    multiplicative, q = 1:   e = [0 1.099]    a = [0.25 0.75]      c = 0.824
    additive, q = 0:         e = [0 0.8]      a = [0.310 0.690]    c = 0.758
    k = 10:   ε(0) = 0.909    ε(23) = 0.501    ε(50) = 0.063

**Shapes**: source (b, s) and inputs (b, t) int64; lengths (b,) int64, from 1 to s, in any order;
mask (b, s) bool, True at real positions, at least one a row.  A module's answers are on the device
of its input, and have the dtype of its parameters.  No function or method changes its arguments.

**Steps.**  A good place to pause is before Seq2Seq.

    AdditiveAttention         10 min   mask the scores, not the weights
    MultiplicativeAttention    5 min   another score, the rest is the same
    Encoder                   15 min   pack; take the last state of each direction
    Decoder                   10 min   attend first, then step
    teacher_forcing_rate       5 min   exp(i / k) overflows
    Seq2Seq                   20 min   a coin for each row and step
    translate                 15 min   encode once, then a batch of beams

Sources: Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks"; Bahdanau et
al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate" (additive); Luong
et al. 2015, "Effective Approaches to Attention-based Neural Machine Translation" (multiplicative:
"general"); Bengio et al. 2015, "Scheduled Sampling for Sequence Prediction with Recurrent Neural
Networks".

From scratch: torch.nn.MultiheadAttention, torch.nn.functional.scaled_dot_product_attention,
torch.nn.Transformer and transformers may not be used.  torch.nn.GRU and torch.nn.GRUCell may.
"""

from torch import Generator, Tensor, nn


class AdditiveAttention(nn.Module):
    """Additive attention.

    query    nn.Linear(query_size, hidden, bias=False)
    key      nn.Linear(key_size, hidden, bias=False)
    score    nn.Linear(hidden, 1, bias=False)
    """

    def __init__(self, query_size: int, key_size: int, hidden: int) -> None:
        """Drawn as torch draws them."""
        raise NotImplementedError

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The context (b, key_size) and the weights (b, s).

        - query (b, query_size), memory (b, s, key_size), mask (b, s) bool.
        - Weights are exactly 0 where the mask is False, whatever finite numbers the memory has there.
        """
        raise NotImplementedError


class MultiplicativeAttention(nn.Module):
    """Multiplicative attention.

    key    nn.Linear(key_size, query_size, bias=False)
    """

    def __init__(self, query_size: int, key_size: int) -> None:
        """Drawn as torch draws it."""
        raise NotImplementedError

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The context and the weights, as AdditiveAttention's."""
        raise NotImplementedError


class Encoder(nn.Module):
    """Reads the source.

    embedding    nn.Embedding(vocab, d)
    gru          nn.GRU(d, m, batch_first=True, bidirectional=True)
    bridge       nn.Linear(2m, m)
    """

    def __init__(self, vocab: int, d: int, m: int) -> None:
        """Drawn as torch draws them."""
        raise NotImplementedError

    def forward(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The memory (b, s, 2m), 0 beyond each row's length, and the decoder's first state (b, m).

        - lengths is on the device of the source.
        - A row's answers depend on its first lengths[i] tokens alone.
        """
        raise NotImplementedError


class Decoder(nn.Module):
    """Writes one token.

    embedding    nn.Embedding(vocab, d)
    attention    AdditiveAttention(m, 2m, m) or MultiplicativeAttention(m, 2m)
    cell         nn.GRUCell(d + 2m, m)
    head         nn.Linear(m + 2m, vocab)
    """

    def __init__(self, vocab: int, d: int, m: int, attention: str = "additive") -> None:
        """`attention` is "additive" or "multiplicative".  Raises ValueError, naming it, if it is another."""
        raise NotImplementedError

    def forward(self, token: Tensor, state: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The logits (b, vocab) of the next token, the next state (b, m), and the attention's weights (b, s).

        token (b,) int64, state (b, m), memory (b, s, 2m), mask (b, s).
        """
        raise NotImplementedError


def teacher_forcing_rate(step: int, k: float) -> float:
    """ε of training step `step` ≥ 0, as a float; k ≥ 1.

    Very large steps give 0.0 or close to it, and no error.
    """
    raise NotImplementedError


class Seq2Seq(nn.Module):
    """Encoder and decoder, as attributes `encoder` and `decoder`; no further parameter."""

    def __init__(self, source_vocab: int, target_vocab: int, d: int, m: int, attention: str = "additive") -> None:
        """An Encoder(source_vocab, d, m) and a Decoder(target_vocab, d, m, attention)."""
        raise NotImplementedError

    def forward(
        self,
        source: Tensor,
        lengths: Tensor,
        inputs: Tensor,
        rate: float = 1.0,
        generator: Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The logits (b, t, target_vocab) and the attention's weights (b, t, s) of t steps.

        - inputs (b, t) are the true tokens, shifted: they begin with the token that begins every
          text, and the logits at i are for the token after inputs[:, i].
        - The first step reads inputs[:, 0].  Step i after it reads inputs[:, i] with probability `rate`,
          and otherwise the token with the largest logit of the step before.  Each row and each step has
          a coin of its own.  With rate 1 it is always the true token, with rate 0 never.
        - Coins come from `generator` (on the device of the source) if there is one, and from torch's own if not.
        - No gradient flows through the choice of a token.
        """
        raise NotImplementedError


def translate(
    model: Seq2Seq, source: list[int], bos: int, eos: int, limit: int, beams: int = 4, length_penalty: float = 1.0
) -> list[int]:
    """What the model writes for `source`, which has at least one token, by beam search.

    The answer has neither the bos that it begins with nor eos.

    - The decoder begins with `bos`, and writes up to `limit` ≥ 1 tokens; eos is one of them.
    - beam_search's score decides: Σ log p / length^length_penalty, where length counts eos, too.
    - The encoder reads the source once, not once a beam or step.
    - The search is that of the kata decoding: finished texts take places in the beam.  Of those that end in eos
      and those that were cut at `limit`, the best score wins.
    - The model may be on any device.  The function that you hand to beam_search gets and gives tensors on the CPU.
    - No gradient is kept.
    """
    raise NotImplementedError
