"""N-grams

**Before you start.**  You need dictionaries and conditional probability (probability, bigrams).
For more, read Jurafsky and Martin (below), chapter "N-gram Language Models".

**The idea.**  Speech recognisers and keyboards predicted words for forty years by counting, and
every neural model is still compared with that.  An n-gram model guesses the next word from the
n - 1 before it.  Longer contexts say more, but most of them were never seen.  So counting is the
easy half.  The other half is *smoothing*: how likely is what never happened?

- *Add-k* pretends that everything was seen k times more.  Simple, and bad for words.
- *Good–Turing* estimates how much of the world is still unseen: as much as was seen once.
- *Interpolation* (Jelinek and Mercer) mixes long contexts with shorter ones.

Every sentence gets n - 1 starts `<s>` and one end `</s>`, and no n-gram reaches past them:

    n is 3      <s> <s> she read a book </s>        five windows, and
                └────┬────┘                         in each the last word
                    └────┬─────┘   …                is predicted

    mixed, the word after "she read":

        after "she read"  ◀── λ₃ ──┬── 1 - λ₃ ──▶ shorter
        after "read"      ◀── λ₂ ──┬── 1 - λ₂ ──▶ shorter
        any word          ◀── λ₁ ──┬── 1 - λ₁ ──▶ 1/V

Words that aren't in the vocabulary become `<unk>`.

**The formulas**, for a word w after the context h; c counts, V is the vocabulary's size, h' is h
without its first word, N_r is the number of n-grams seen r times, N = ∑ r N_r:

    add-k           P(w | h) = (c(h w) + k) / (c(h) + k V)             c(h) = ∑ᵥ c(h v)
    Good–Turing     r* = (r + 1) N_{r+1}/N_r      p₀ = N₁/N            p₀: all unseen together
    interpolation   Pₘ(w | h) = λₘ c(h w)/c(h) + (1 - λₘ) Pₘ₋₁(w | h')   for order m, h seen
                    Pₘ(w | h) = Pₘ₋₁(w | h')      h never seen         P₀ = 1/V
    EM              λₘ ← ∑ P(stops at m) / ∑ P(arrives at m)           over held-out tokens, h seen

Read interpolation as a walk from order n down.  At each order whose context was seen you stop with
probability λₘ and draw a word there, or go on.  EM asks of each held-out token where it probably
was drawn: P(stops at m) is the share that order m has in Pₙ(w | h), and P(arrives at m) the share
of m and all below.

**Why held-out text for λ?**  In the training text every n-gram has been seen.  EM on that text
gives all weight to the longest context, and the model has learned nothing about new ones.

**Why is add-k bad?**  With 1,665 words, add-one turns a bigram seen once after a context seen once
from 1 into 2/1666.  Nearly all mass goes to words that never come.  On Hamlet add-one bigrams have
perplexity 281, interpolated ones 90.

**Worked by hand.**  Chen and Goodman's three sentences are JOHN READ MOBY DICK, MARY READ A
DIFFERENT BOOK, and SHE READ A BOOK BY CHER.  With 11 words, `</s>` and `<unk>`, V is 13:

    bigrams  P(JOHN READ A BOOK) = 1/3 · 1/1 · 2/3 · 1/2 · 1/2 = 0.06, CHER READ A BOOK has 0
    add-1    2/16 · 2/14 · 3/16 · 2/15 · 2/15 = 0.00006, and CHER 1/16 · 1/14 · … = 0.00001
    λ = ½ ½  P(READ | JOHN) = ½ · 1 + ½ (½ · 3/18 + ½ · 1/13) = 0.5609
    Good–Turing, of 18 fish: 10 carp, 3 perch, 2 whitefish, 1 trout, 1 salmon, 1 eel:
             p₀ = 3/18, and a trout counts 2 · 1/3 = 0.67

**Shapes**: a sentence is a list of words, START and END not among them, an n-gram a tuple.  No
function changes its arguments.

**Steps.**  A good place to pause is after good_turing.

    padded            3 min   starts and an end
    ngrams            4 min   one for each word and one for the end
    count_ngrams      4 min   sentence by sentence
    vocabulary        4 min   rare words stay out
    replace_rare      3 min   new lists
    AddK             14 min   the context's count, and V
    counts_of_counts  2 min   one line
    good_turing       7 min   gaps
    Interpolated     15 min   contexts that were never seen
    fit_weights      18 min   the hard one: EM

Sources: Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling",
Harvard TR-10-98; Good 1953, "The Population Frequencies of Species and the Estimation of
Population Parameters"; Jelinek and Mercer 1980, "Interpolated Estimation of Markov Source
Parameters from Sparse Data"; Jurafsky and Martin, "Speech and Language Processing" (the fish).

From scratch: numpy or plain Python; nltk, sklearn and scipy may not be used.
"""

from collections.abc import Mapping, Sequence

START, END, UNKNOWN = "<s>", "</s>", "<unk>"


def padded(sentence: Sequence[str], n: int) -> list[str]:
    """n - 1 START, the words of `sentence`, one END.  Raises ValueError, naming n's value, if n < 1."""
    raise NotImplementedError


def ngrams(sentence: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All n-grams of the padded sentence, in order: one for each word and one for END.

    An empty sentence has one.  Raises ValueError, naming n's value, if n < 1.
    """
    raise NotImplementedError


def count_ngrams(sentences: Sequence[Sequence[str]], n: int) -> dict[tuple[str, ...], int]:
    """How often each n-gram occurs in all sentences together; n-grams that don't occur aren't keys."""
    raise NotImplementedError


def vocabulary(sentences: Sequence[Sequence[str]], min_count: int = 1) -> set[str]:
    """The words that occur at least `min_count` times in all sentences together, END and UNKNOWN."""
    raise NotImplementedError


def replace_rare(sentences: Sequence[Sequence[str]], vocab: set[str]) -> list[list[str]]:
    """The same sentences with UNKNOWN in place of each word that isn't in `vocab`, as new lists."""
    raise NotImplementedError


class AddK:
    """An n-gram model with k added to each count."""

    def __init__(self, sentences: Sequence[Sequence[str]], n: int, vocab: set[str], k: float) -> None:
        """Count the n-grams of `sentences`, n ≥ 1; words outside `vocab` count as UNKNOWN.

        `vocab` has END and UNKNOWN, not START.  V is its size.

        Raises ValueError, naming k's value, unless k > 0.
        """
        raise NotImplementedError

    def prob(self, word: str, context: Sequence[str]) -> float:
        """P(word | context), the lesson's add-k.

        - Of a longer context only the last n - 1 tokens count.  A shorter one is filled up with
          START on its left, as at the beginning of a sentence.
        - Words outside `vocab` count as UNKNOWN, in the context, too.  START in a context stays.
        - For every context, seen or not, the probabilities of the words in `vocab` sum to 1.
        - START never follows: its probability is 0.
        """
        raise NotImplementedError


def counts_of_counts(counts: Mapping[tuple[str, ...], int]) -> dict[int, int]:
    """N_r: for each r among the values of `counts`, how many keys have it."""
    raise NotImplementedError


def good_turing(frequencies: Mapping[int, int]) -> tuple[float, dict[int, float]]:
    """(p₀, {r: r*}) for each r in `frequencies`, which are N_r ≥ 1 as counts_of_counts gives them.

    - Where nothing was seen r + 1 times, r* is r itself.
    - p₀ is 0 if nothing was seen just once.
    - The keys may stand in any order.

    Raises ValueError if `frequencies` is empty.
    """
    raise NotImplementedError


class Interpolated:
    """An n-gram model that mixes the orders n to 1, and 1/V."""

    def __init__(self, sentences: Sequence[Sequence[str]], n: int, vocab: set[str], weights: Sequence[float]) -> None:
        """Count the 1-grams to n-grams of `sentences`, n ≥ 1; words outside `vocab` count as UNKNOWN.

        `vocab` has END and UNKNOWN, not START.  weights[m - 1] is λₘ: the first is that of 1-grams.
        Order m counts the m-grams of sentences padded for m.

        Raises ValueError, naming n's value and the number of weights, unless there are n; naming
        the weight, unless it is from 0 to 1.
        """
        raise NotImplementedError

    def prob(self, word: str, context: Sequence[str]) -> float:
        """P(word | context), the lesson's Pₙ, with the promises of AddK.prob."""
        raise NotImplementedError


def fit_weights(
    sentences: Sequence[Sequence[str]],
    n: int,
    vocab: set[str],
    held_out: Sequence[Sequence[str]],
    steps: int = 20,
) -> list[float]:
    """The n weights of an Interpolated(sentences, n, vocab, …) after `steps` steps of EM from ½ each.

    - The tokens are those that the n-grams of the `held_out` sentences end with, END too; words
      outside `vocab` count as UNKNOWN.
    - All weights change at once, from the old ones.
    - A token counts for λₘ only if its context of order m was seen in `sentences`.
    - A weight for which no token counts, or whose ∑ P(arrives) is 0, stays as it is.
    """
    raise NotImplementedError
