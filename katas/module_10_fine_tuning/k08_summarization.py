"""Summarization

**Before you start.**  You need cosine similarity, a graph as a matrix of weights, and ROUGE.  For
the last you may use yours:

    from katas.module_03_language_models.k06_text_metrics import rouge_n

Until yours is green, the reference's is used.  If graphs are new: Page et al. 1999, section 2.

**The idea.**  You have a text of 3000 words and room for 100.  The safest summary says nothing
that the text doesn't say.  So take some of its sentences as they are: this is an *extract*.  But
which ones?  A good sentence is about what the others are about.  So draw a graph: sentences are
nodes, and similar ones are linked.  The sentences in the middle of the graph are the best.  And a
model that can write, but reads only a short text at a time?  Let it sum up piece after piece, and
then sum up its own answers.

You also need to know how good that is.  Two cheap baselines stand below: random sentences, and the
first ones.  Above stands an *oracle*, which picks with the right answer in its hand.

**The formulas.**  Sentences i and j are lists of |i| and |j| words.  There are n sentences.

    TextRank   w = (number of different words in both) / (log |i| + log |j|)       0 for i = j
    LexRank    w = cosine of the vectors of count · idf,     idf = log(n / sentences with the word)
               with a threshold: 1 if the cosine is above it, else 0
    PageRank   score_j = (1 - d)/n + d · Σ_i score_i · w_ij / Σ_k w_ik
    MMR        take the i with the largest   t · relevance_i - (1 - t) · max similarity_ij
                                                                       j: chosen already
    oracle     take the i that raises ROUGE's F₁ most, until none raises it

MMR is short for maximal marginal relevance.  d is the damping, t the trade.

**A drawing**: the graph of four sentences, and a long text that is summed up in rounds.

    0 a cat sat         0 ──0.91── 1       4 chunks    ▢   ▢   ▢   ▢
    1 a cat ran          ╲        ╱                    │   │   │   │  model
    2 the cat ran home  0.40   0.80        answers     ▪   ▪   ▪   ▪
    3 dogs bark            ╲   ╱                       └─┬─┘   └─┬─┘
                             2      3      2 chunks      ▢       ▢
                                                         │       │    model
                                           answers       ▪       ▪
                                                         └───┬───┘
                                           1 chunk           ▢ ──▶ summary

**Why PageRank, and not just the sum of weights?**  A link counts more if it comes from an important
sentence.  Think of a reader who jumps from sentence to sentence along the links.  With probability
1 - d the reader gets bored and goes anywhere.  A sentence's score is how often the reader is there.
A sentence without links leads nowhere, so from it the reader goes anywhere, too.

**Why MMR?**  Say the main point stands in the text three times.  All three sentences have high
scores, and your summary says one thing three times.  MMR takes off what is said already.  Its two
terms need the same scale.  So divide PageRank's scores by the largest first.

**Why is the first sentence so hard to beat?**  Who writes news puts the main point first.  On news,
many methods lose to `lead`.  So never report a score without it.

**Why does the loop over a long text end?**  An answer has at most half a window of words.  So at
least two answers go into the next chunk.  So each round halves the number of chunks, rounded up.

**Worked by hand**, on the drawing's sentences, of 3, 3, 4 and 2 words:

    lead       budget 7: 0 and 1, as 3 + 3 + 4 is too much
    extract    scores 0.2 0.5 0.9 0.1, budget 6: take 2; 1 and 0 don't fit any more; take 3
    TextRank   0 and 1: 2/(log 3 + log 3) = 0.910     1 and 2: 2/(log 3 + log 4) = 0.805
    LexRank    idf: cat log(4/3) = 0.288, a and ran log(4/2) = 0.693, sat log 4 = 1.386
               0 · 1 = 0.288² + 0.693² = 0.563,  norms 1.576 and 1.022,  cosine 0.350
    PageRank   three nodes in a row, weights 1, d = 0.5:  5/18  8/18  5/18
    MMR        relevance 1  0.9  0.5, similarity of 0 and 1: 0.8, all others 0.1.  First 0, then
               t = 0.7:  1 has 0.63 - 0.24 = 0.39, 2 has 0.35 - 0.03 = 0.32:  take 1
               t = 0.5:  1 has 0.45 - 0.40 = 0.05, 2 has 0.25 - 0.05 = 0.20:  take 2
    oracle     reference "a cat ran home", budget 7, n = 1:  F₁ is 4/7, 6/7, 3/4, 0.  Take 1.
               with 0 it falls to 6/10, with 2 to 8/11.  Stop
    chunks     sentences of 4, 3, 2 and 7 words, window 6:  4 | 3 + 2 | 6 | 1

**Shapes**: a sentence is a list of words, but for `chunks` and `map_reduce`, where it is a string
that is split at white space.  Lengths are numbers of words, 0 or more.  Choices are lists of
Python's ints: the sentences' numbers from 0, rising, as a summary is read in the text's order.
Together these are no longer than the budget.  A budget is 0 or more.  A text may have no sentence.
No function changes its arguments.

**Steps.**

    lead                3 min   a whole beginning
    extract             6 min   what doesn't fit is passed over
    random_extract      2 min   extract, with another order
    textrank_weights    7 min   sentences of one word
    lexrank_weights    11 min   words of all sentences
    pagerank           11 min   sentences without links
                               (a good place for a pause)
    mmr                10 min   the most similar of those chosen
    oracle_extract     11 min   rounding makes false gains
    chunks              7 min   a sentence longer than the window
    map_reduce          7 min   rounds, until one chunk is left

In the tests, each method sums up planted texts and the plots of films.  On the plots, ROUGE-1 is
about 0.28 for random sentences, 0.29 for lead, 0.30 for the graphs, and 0.38 for the oracle.

Sources: Luhn 1958, "The Automatic Creation of Literature Abstracts"; Carbonell and Goldstein 1998
(MMR); Mihalcea and Tarau 2004, "TextRank"; Erkan and Radev 2004, "LexRank"; Nallapati et al. 2017,
"SummaRuNNer", section 2.3 (the greedy oracle); Lin 2004, "ROUGE".

From scratch: networkx, sklearn, sumy and rouge_score may not be used.
"""

from collections.abc import Callable, Sequence

import numpy as np


def lead(lengths: Sequence[int], budget: int) -> list[int]:
    """The first sentences: the longest beginning of the text that fits into the budget.

    Raises ValueError, naming "budget" and its value, if the budget is below 0.
    """
    raise NotImplementedError


def extract(scores: Sequence[float] | np.ndarray, lengths: Sequence[int], budget: int) -> list[int]:
    """The sentences with the highest scores that fit.

    Go through the sentences from the highest score to the lowest, of equal scores the earlier first.  Take each one
    that still fits, and pass over the others: shorter ones may follow.  Scores are finite, and may be below 0.

    Raises ValueError, naming "budget" and its value, if the budget is below 0; and naming both numbers if there are
    not as many scores as lengths.
    """
    raise NotImplementedError


def random_extract(lengths: Sequence[int], budget: int, rng: np.random.Generator) -> list[int]:
    """As `extract`, but in a random order.  All n! orders are as likely.  They are drawn from `rng` alone.

    Raises ValueError, naming "budget" and its value, if the budget is below 0.
    """
    raise NotImplementedError


def textrank_weights(sentences: Sequence[Sequence[str]]) -> np.ndarray:
    """The lesson's weights of TextRank: float64 (n, n), symmetric.

    - |i| counts a word as often as it stands there.  The words in common count once each.
    - The weight is 0 on the diagonal, between two sentences of one word each, and with an empty sentence.
    - Words are compared as they are.
    """
    raise NotImplementedError


def lexrank_weights(sentences: Sequence[Sequence[str]], threshold: float | None = None) -> np.ndarray:
    """The lesson's weights of LexRank: float64 (n, n), symmetric.  The diagonal counts as well: a cosine of 1 there.

    - A word counts in its sentence as often as it stands there, and once for the sentences with the word.
    - A sentence whose vector is 0 (it is empty, or has only words of all sentences) has the weight 0 with every
      sentence, and with itself.
    - With a threshold the weights are 1.0 and 0.0.  A cosine that equals it but for rounding isn't tested.

    Raises ValueError, naming "threshold" and its value, if it isn't in 0 ≤ threshold < 1.
    """
    raise NotImplementedError


def pagerank(weights: np.ndarray, damping: float = 0.85) -> np.ndarray:
    """The lesson's scores: float64 (n,), which add up to 1, each right to 1e-9.

    weights  (n, n), of any number type, finite, 0 or more: [i, j] is the weight of the link from i to j, which may
             differ from [j, i].  The diagonal counts, too

    - From a sentence without links (all weights of its row are 0) the reader goes to each of the n sentences, itself
      included, with probability 1/n.
    - Without a sentence, of shape (0, 0), the scores have shape (0,).
    - The method is yours to choose.

    Raises ValueError
    - naming "damping" and its value if it isn't in 0 ≤ damping < 1,
    - naming both lengths if the weights aren't square,
    - with the word "negative" if a weight is below 0.
    """
    raise NotImplementedError


def mmr(
    relevance: np.ndarray, similarity: np.ndarray, lengths: Sequence[int], budget: int, trade: float = 0.7
) -> list[int]:
    """Choose one sentence after the other by the lesson's MMR, among those that still fit into the budget.

    relevance   (n,)
    similarity  (n, n), symmetric; may be below 0.  The diagonal doesn't matter

    - While nothing is chosen, the second term is 0.
    - Of equal values the earliest sentence is taken.
    - It goes on until no sentence fits, also where all values are below 0.

    Raises ValueError, naming "budget" and its value, if the budget is below 0; and naming "trade" and its value, if
    it isn't in 0 ≤ trade ≤ 1.
    """
    raise NotImplementedError


def oracle_extract(sentences: Sequence[Sequence[str]], reference: Sequence[str], budget: int, n: int = 1) -> list[int]:
    """Choose one sentence after the other, so that the summary's F₁ of n-grams with the reference grows most.

    - The summary is the words of all chosen sentences, in the text's order, in one list.  n-grams may run from one
      sentence into the next.
    - Only sentences that still fit into the budget are tried.
    - It ends when no sentence raises F₁.  A gain below 1e-9 is rounding, and none.
    - Of gains that differ by less than 1e-9, the earliest sentence's is taken.

    Raises ValueError, naming "budget" and its value, if the budget is below 0.
    """
    raise NotImplementedError


def chunks(sentences: Sequence[str], window: int) -> list[str]:
    """The text in pieces of at most `window` words, in order.  Nothing is lost.

    - A chunk takes whole sentences as long as they fit; the next one begins with the sentence that doesn't.
    - A sentence longer than the window is first cut into parts of `window` words and a rest.  Each part, and the rest,
      is then a sentence like others.
    - Within a chunk, words are joined by single spaces.  Sentences without a word are left out, and no chunk is empty.

    Raises ValueError, naming "window" and its value, if it is below 1.
    """
    raise NotImplementedError


def map_reduce(sentences: Sequence[str], model: Callable[[str, int], str], window: int, budget: int) -> str:
    """A summary of a text of any length, by a model that reads at most `window` words at a time.

    model(text, budget) gives a summary of `text`.  It is asked for at most `budget` words, but may give more: keep
    the first `budget` words, joined by single spaces, and drop the rest.

    - Cut the sentences into chunks and call the model once for each, in order.
    - If there was one chunk, its answer is the summary.
    - If there were more, the answers are the sentences of the next round.
    - If there is no chunk, as the text or all answers are empty, the summary is "".  The model isn't called for it.

    Raises ValueError, naming "budget", "window" and both values, unless 1 ≤ budget and 2 · budget ≤ window.
    """
    raise NotImplementedError
