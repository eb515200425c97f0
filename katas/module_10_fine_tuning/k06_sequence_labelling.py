"""Sequence labelling: spans, a CRF, and a tagger

**Before you start.**  You need logsumexp, dynamic programming and a bidirectional LSTM.  For the
LSTM use yours; the reference's is lent until yours is green:

    from katas.module_04_deep_learning.k15_lstm_and_gru import LSTM

Conditional random fields are new to you?  Read Jurafsky and Martin, "Speech and Language
Processing", chapter "Sequence Labeling for Parts of Speech and Named Entities".

**The idea.**  You want the names of people in a text.  A name may be several words long, so you
can't just classify words.  The trick is to give each word a tag: B-PER begins a name, I-PER goes on
with it, O is outside.  Runs of tags are then *spans*.  A network looks at each word and gives every
tag a score, its *emission*.  But tags depend on each other: I-PER can't follow O.  So a
*conditional random field* (CRF) adds a score for each pair of neighbours.  It compares whole paths
of tags, not single tags.

**The formulas.**  A sentence has n words, and there are k tags.  A path y is one tag for each word,
y₁ … yₙ.  E are the emissions (n, k) and T the transitions (k, k).  The start scores a and the end
scores e are (k,).

    score(y)    = a[y₁] + ∑ₜ E[t, yₜ] + ∑ₜ T[yₜ, yₜ₊₁] + e[yₙ]
    log Z       = log ∑ over all kⁿ paths of exp score(y)
    log p(y)    = score(y) - log Z                      the loss is -log p of the right path
    forward     α₁ = a + E₁        αₜ₊₁[j] = E[t+1, j] + logsumexpᵢ (αₜ[i] + T[i, j])
    backward    βₙ = e             βₜ[i]   = logsumexpⱼ (T[i, j] + E[t+1, j] + βₜ₊₁[j])
    marginals   p(yₜ = j) = exp(αₜ[j] + βₜ[j] - log Z)  and log Z = logsumexpⱼ (αₙ[j] + e[j])
    Viterbi     as forward, with max for logsumexp; note which i was best

    precision P = right spans / predicted spans         recall R = right spans / true spans
    F1          = 2 P R / (P + R)

**A drawing**

                 mary       ann      smiled
    O        ──▶  ●   ──▶   ●   ──▶   ●  ──▶      column: E[t], of a word
               ╲     ╲╱        ╲╱        ╱        edge:   T[i, j]
    B-PER    ──▶  ●   ──▶   ●   ──▶   ●  ──▶      way in: a, way out: e
               ╱     ╱╲        ╱╲        ╲
    I-PER    ──▶  ●   ──▶   ●   ──▶   ●  ──▶      path:   one ● a column

    tags    B-PER  I-PER  O      the span: ("PER", 0, 2)
    words   0      1      2      the end, 2, isn't in it any more

**Why not all paths one by one?**  There are kⁿ of them.  But two paths that stand at the same tag
have the same future.  So it's enough to keep one number for each tag: αₜ[j] is the log of the sum
over all paths that end at tag j.  The cost falls from kⁿ to n k².

**Why spans in the score, not tags?**  Most words are O.  Whoever always says O has most tags right
and finds nothing.  So a span counts only if its kind, its start and its end are all right.

**Why isn't the best path made of the best tags?**  The marginal asks for one word: which tag has
the most weight over all paths?  Viterbi asks for the one best path.  The example shows both.

**Worked by hand**, with two words and two tags:

    E = [1.0 0.5; 0.2 0.9]   T = [0.3 -0.4; 0.1 0.6]   a = [0.2 0]   e = [0 0.1]

    path   score                              exp
    0 0    0.2 + 1.0 + 0.3 + 0.2 + 0   = 1.7   5.474
    0 1    0.2 + 1.0 - 0.4 + 0.9 + 0.1 = 1.8   6.050      log Z = log 21.915 = 3.087
    1 0    0   + 0.5 + 0.1 + 0.2 + 0   = 0.8   2.226
    1 1    0   + 0.5 + 0.6 + 0.9 + 0.1 = 2.1   8.166      Viterbi: 1 1
    p(y₁ = 1) = (2.226 + 8.166) / 21.915 = 0.474          p(y₂ = 1) = 0.649

    true       B-PER I-PER O B-LOC O        ("PER", 0, 2), ("LOC", 3, 4)
    predicted  B-PER O     O B-LOC B-LOC    ("PER", 0, 1), ("LOC", 3, 4), ("LOC", 4, 5)
    one is right:  P = 1/3,  R = 1/2,  F1 = 0.4

**Shapes.**  Sentences come in batches of b, padded to n words:

    emissions (b, n, k)    tags (b, n) int64    lengths (b,) int64, each from 1 to n

All tensors of a call share a device; scores are all float32 or all float64, and so is what comes
out.  b, n, k ≥ 1.  Only the first lengths[i] words of row i count.  What stands after them, the
padding, may be any finite numbers, and changes no value and no gradient.  Paths of one word have no
transition.  Scores are finite unless said otherwise; ±1e4 must not overflow.  No function or method
changes its arguments.

**Steps.**  A good place to pause is before path_score: then the CRF begins.

    spans                7 min   an I- may stand where nothing began
    to_bio               5 min   the way back; two spans may touch
    entity_f1            5 min   count over all sentences, then divide
    path_score           7 min   where does a short row end?
    log_partition        8 min   one loop over the words
    marginals           10 min   the same from the other end
    viterbi             10 min   remember where each best came from
    allowed_transitions  5 min   what may I- follow?
    Tagger              15 min   the parts together

Sources: Ramshaw and Marcus 1995, "Text Chunking using Transformation-Based Learning" (BIO);
Lafferty, McCallum and Pereira 2001, "Conditional Random Fields"; Huang, Xu and Yu 2015,
"Bidirectional LSTM-CRF Models for Sequence Tagging"; Tjong Kim Sang and De Meulder 2003,
"Introduction to the CoNLL-2003 Shared Task" (entity F1).

From scratch: seqeval and torchcrf may not be used.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

Span = tuple[str, int, int]


class Crf(NamedTuple):
    """The scores of a CRF that don't depend on the words."""

    transitions: Tensor  # (k, k): [i, j] is the score of tag i followed by tag j
    start: Tensor  # (k,)
    end: Tensor  # (k,)


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans of a sentence: (kind, start, end) with words start … end - 1, in the order of the text.

    - A tag is "O", or "B-" or "I-" and a kind.  All that follows the first "-" is the kind, and it isn't empty.
    - B- always begins a span, also right behind one of its kind.
    - I- goes on with a span of its kind that ended at the word before.  Else it begins one, as B- does.
    - No tags give no spans.

    Raises ValueError, naming the tag, for any other tag.
    """
    raise NotImplementedError


def to_bio(spans: Sequence[Span], n: int) -> list[str]:
    """The n tags of a sentence with these spans, which come in any order.

    Two spans may touch.  n ≥ 0.

    Raises ValueError, naming its start and its end, if a span is empty, ends before it starts, or isn't within
    0 … n; and, naming the starts of both, if two overlap.  Which fault of several is reported is open.
    """
    raise NotImplementedError


def entity_f1(true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> tuple[float, float, float]:
    """Precision, recall and F1 of the spans in the predicted tags, one list of tags for each sentence.

    - A span is right if one with the same kind, start and end stands in the same sentence.
    - Spans are counted over all sentences and kinds together, then divided.
    - Where a denominator is 0, that number is 0.0.

    Raises ValueError, naming both numbers, if there aren't as many predicted sentences as true ones.
    Raises ValueError, naming both lengths, if a sentence has another number of tags in the two.
    """
    raise NotImplementedError


def path_score(emissions: Tensor, tags: Tensor, lengths: Tensor, crf: Crf) -> Tensor:
    """score(y) (b,) of the path `tags` in each row.

    Tags in the padding may be any integers, also such as -100 that name no tag.
    Gradients reach the emissions and all scores of `crf` that the paths use.
    """
    raise NotImplementedError


def log_partition(emissions: Tensor, lengths: Tensor, crf: Crf) -> Tensor:
    """log Z (b,), the sum over all paths of each row's own length.

    Gradients reach the emissions and all scores of `crf` that the paths use.
    """
    raise NotImplementedError


def marginals(emissions: Tensor, lengths: Tensor, crf: Crf) -> Tensor:
    """p(yₜ = j) (b, n, k) for each word and tag; exactly 0 in the padding.

    Whether gradients flow is open.
    """
    raise NotImplementedError


def viterbi(emissions: Tensor, lengths: Tensor, crf: Crf) -> list[list[int]]:
    """A best path of each row, lengths[i] tags long, as lists of ints.

    - Of several best paths any will do.
    - Scores of `crf` may be -inf: the path doesn't use them.  At least one path of each row has a finite score.
    """
    raise NotImplementedError


def allowed_transitions(labels: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Which tag may follow which, (k, k), and which may come first, (k,): boolean, on the CPU.

    labels[i] is the name of tag i, as spans() takes them, each once.
    Malformed names are left open.
    I- may only follow a B- or I- of its own kind.  All else is allowed, and a sentence may end anywhere.
    """
    raise NotImplementedError


class Tagger(nn.Module):
    """Word numbers → embeddings → a bidirectional LSTM → emissions → a CRF.

    Its parts, which hold all of its parameters:

    embedding                nn.Embedding(words, d)
    lstm                     LSTM(d, m, bidirectional=True) of lstm_and_gru
    head                     nn.Linear(2 m, k)
    transitions, start, end  parameters (k, k), (k,) and (k,), all 0 at the start
    """

    def __init__(self, words: int, labels: Sequence[str], d: int, m: int) -> None:
        """words: the number of words; labels: the names of the k tags; d, m: the sizes of embedding and LSTM.

        The list `labels` may be changed by the caller afterwards.  The tagger doesn't notice.
        """
        raise NotImplementedError

    def emissions(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The emissions (b, n, k) of tokens (b, n) int64: head(lstm(embedding)), the lengths given to the LSTM.

        `states, _ = lstm(x, lengths=lengths)` reads x (b, n, d) and gives states (b, n, 2 m).

        Those of the padding are open.  The padding's tokens are word numbers, too, but don't count.
        """
        raise NotImplementedError

    def loss(self, tokens: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """The mean over the sentences of -log p(tags), ().  All kⁿ paths count in Z, allowed or not."""
        raise NotImplementedError

    def predict(self, tokens: Tensor, lengths: Tensor) -> list[list[str]]:
        """The labels of each sentence: its best path among those that allowed_transitions allows.

        - At least one label may come first and follow itself: there always is a path.
        - It holds what the parameters are now, and changes none of them.
        """
        raise NotImplementedError
