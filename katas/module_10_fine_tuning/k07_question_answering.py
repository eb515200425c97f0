"""Question answering: windows, spans, and when to say nothing

**Before you start.**  You need cross entropy and what an encoder such as BERT gives out: a vector
for each token.  No other kata.  Extractive question answering is new to you?  Read Jurafsky and
Martin, "Speech and Language Processing", chapter "Question Answering".

**The idea.**  You have a text and a question, and the answer stands in the text.  So the model
needn't write: it points.  A *head* gives each token two scores, one for being the answer's first
token and one for being its last.  The answer is the best pair.  Three things make it a real system.
A long text doesn't fit into the model, so it's cut into *windows* that overlap.  Some questions
have no answer in the text; for those the model points at its first token, [CLS].  And answers of
people differ a little, so they are compared after some cleaning.

**The formulas.**  A window has places 0 … n - 1.  s and e are the start and end scores of a place.

    loss         ½ (- log softmax(s)[first] - log softmax(e)[last])     mean over the windows
    span         maximize s[i] + e[j]  with  i ≤ j < i + limit,  both in the context
    no answer    null = s[0] + e[0], the smallest over all windows
    margin       null - score of the best span; no answer if margin > threshold
    F1           2 P R / (P + R),  P = common words / predicted words,  R = common / true

**A drawing.**  A question of 2 tokens and a context of 7, in windows of 9, with the stride 2:

    context      0  1  2  3  4  5  6
    window 0   ┌────────────┐                      room = 9 - 2 - 3 = 4
               │ 0  1  2  3 │
    window 1   └─────┌──────┴─────┐                starts at 2
                     │ 2  3  4  5 │
    window 2         └─────┌──────┴──┐             starts at 4: the last
                           │ 4  5  6 │
                           └─────────┘
    window 2   [CLS] q q [SEP] 4 5 6 [SEP]         first = 4, length = 3
    place        0   1 2   3   4 5 6   7
    segment      0   0 0   0   1 1 1   1

**Why must windows overlap?**  An answer that lies across a cut would be whole in no window.  And a
token at an edge has seen only one side of its context.

**Why the smallest null?**  Most windows don't hold the answer, and those rightly say so.  Only if
every window says that there is none, there is none.  So the least sure of them decides.

**Why a threshold?**  The scores of "no answer" and of spans come from different places, and their
difference needn't be centred at 0.  So you choose the threshold on questions that you know.

**Worked by hand**

    normalize   "The Eiffel Tower, in  Paris!" → "eiffel tower in paris"
    F1          against "Eiffel Tower": P = 2/4, R = 2/2, F1 = 2/3; no exact match
    span        s = [1 0 3 2], e = [4 2 0 1] in the context, limit 2
                the best start is 2, the best end 0: that is no span.  The best is
                i = j = 0 with 1 + 4 = 5, before (2, 3) with 3 + 1 = 4
    no answer   null 6 in one window, 3.5 in another: margin = 3.5 - 5 = -1.5
    threshold   margins [-2 0.5 3], right if answered [1 0 1], right if not [0 1 0]
                threshold -∞: 1/3;  -2: 2/3;  0.5: 1/3;  3: 2/3.  The lowest of the best: -2

**Shapes.**  Spans of context tokens are half-open, (2, 4) is tokens 2 and 3.  *Places* are those in
a window's ids.  Tensors of a call share a device and a dtype, float32 or float64, which is that of
the answer, too.  No function or method changes its arguments.

**Steps.**  A good place to pause is before windows.

    normalize_answer   5 min   SQuAD's four rules, in their order
    exact_match        4 min   several true answers, or none
    answer_f1          7 min   words that come twice count twice
    windows           10 min   which window is the last?
    span_targets       5 min   whole in the window, or not at all
    SpanHead           7 min   -inf where no answer can be
    span_loss          5 min   two cross entropies
    best_span         10 min   all pairs at once, or two loops
    find_answer       10 min   back from a place to the context
    best_threshold    10 min   sort once

Sources: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text";
Rajpurkar, Jia and Liang 2018, "Know What You Don't Know" (SQuAD 2.0) and its evaluation script;
Devlin et al. 2019, "BERT", sections 4.2 and 4.3.

From scratch: transformers and torchmetrics may not be used.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Window(NamedTuple):
    """A part of the context, with the question before it."""

    ids: list[int]  # cls, the question, sep, the part, sep
    segments: list[int]  # 0 up to the first sep, which is included; then 1
    start: int  # the number of the part's first token in the context
    first: int  # the place of that token in `ids`
    length: int  # how many tokens the part has


def normalize_answer(text: str) -> str:
    """SQuAD's cleaning, in this order:

    1. lower case;
    2. every character of string.punctuation is taken out, with nothing in its place;
    3. the words a, an and the become a blank, each: words as between two \\b of a regular expression;
    4. the words that are left, with one blank between them and none around.
    """
    raise NotImplementedError


def exact_match(prediction: str, truths: Sequence[str]) -> float:
    """1.0 if the prediction equals one of the true answers, both normalized; else 0.0.

    True answers that are empty once normalized are left out.  If none is left, the question has no answer: then the
    one true answer is "".
    """
    raise NotImplementedError


def answer_f1(prediction: str, truths: Sequence[str]) -> float:
    """The best F1 of the prediction's words with those of a true answer, all normalized.

    - A word that comes k times in one and m times in the other is common min(k, m) times.
    - If the prediction or the true answer has no words: 1.0 if neither has, else 0.0.
    - The true answers that count are those of exact_match.
    """
    raise NotImplementedError


def windows(
    question: Sequence[int], context: Sequence[int], size: int, stride: int, cls: int, sep: int
) -> list[Window]:
    """The context in windows of at most `size` ids: cls, question, sep, part, sep.

    - Parts have room = size - len(question) - 3 tokens, and start at 0, stride, 2·stride, …
    - The first part that reaches the end of the context is the last, and may be shorter.
    - An empty context gives one window, with an empty part.  The question may be empty.

    Raises ValueError, naming both, if not 1 ≤ stride ≤ room: with a larger one tokens would be left out.
    """
    raise NotImplementedError


def span_targets(window: Window, answer: tuple[int, int] | None) -> tuple[int, int]:
    """The places in window.ids of the answer's first and last token.

    `answer` is a span of context tokens that isn't empty.  (0, 0) if it is None, or isn't wholly in the window.
    """
    raise NotImplementedError


class SpanHead(nn.Module):
    """One linear layer, from d features to the two scores: `out`, an nn.Linear(d, 2).  Nothing else is learned."""

    def __init__(self, d: int) -> None:
        raise NotImplementedError

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Start scores and end scores, both (b, n), from hidden (b, n, d): outputs 0 and 1 of `out`.

        mask (b, n) is boolean.  Where it is False both are -inf.
        """
        raise NotImplementedError


def span_loss(start: Tensor, end: Tensor, targets: Tensor) -> Tensor:
    """The mean over the windows of the lesson's loss, ().

    start, end  (b, n), -inf where no answer can be.  b ≥ 1
    targets     (b, 2) int64: first and last place, where the scores are finite

    Gradients reach both scores and are finite, also where a score is -inf.  Scores of ±1e4 don't overflow.
    """
    raise NotImplementedError


def best_span(start: Tensor, end: Tensor, first: int, length: int, limit: int) -> tuple[int, int, float] | None:
    """The span i … j with the largest start[i] + end[j], as (i, j, score): ints and a float.

    start, end  (n,), finite from place `first` on for `length` places.  Only those may be i and j
    limit       the most tokens of a span: i ≤ j < i + limit.  It may be larger than `length`

    - Of equally good ones that with the smallest i, and of those that with the smallest j.
    - None, if length is 0.

    Raises ValueError, naming it, for a limit below 1.
    """
    raise NotImplementedError


def find_answer(
    windows: Sequence[Window], starts: Sequence[Tensor], ends: Sequence[Tensor], limit: int, threshold: float
) -> tuple[tuple[int, int] | None, float]:
    """The answer to a question, a span of context tokens or None; and the margin, a float.

    starts, ends  the scores of each window, (n,), with n ≥ len(window.ids): what stands behind is padding

    - The best span is that with the largest score in any window; of equally good ones the first window's.
    - None only if the margin is above the threshold.
    - If no window has a span, because the context is empty: None and math.inf, whatever the threshold.
    - There is at least one window.  `limit` is ≥ 1.
    """
    raise NotImplementedError


def best_threshold(
    margins: Sequence[float], answered: Sequence[float], abstained: Sequence[float]
) -> tuple[float, float]:
    """The threshold with the best mean score, and that mean, as floats.

    margins    of each question, finite.  It is answered if its margin ≤ threshold
    answered   its score if it is answered
    abstained  its score if it isn't

    - The thresholds to try are -math.inf, which answers nothing, and each of the margins.
    - Of equally good ones the lowest.  At least one question; questions with the same margin go together.

    Raises ValueError, naming all three lengths, if they differ.
    """
    raise NotImplementedError
