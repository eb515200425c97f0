"""Katz back-off and Kneser–Ney

**Before you start.**  You need n-grams, counts of counts, and Good–Turing (ngrams).  You may use
yours; until that kata is green, the reference's is used:

    from .k02_ngrams import count_ngrams, counts_of_counts, replace_rare

**The idea.**  What never followed a context must get some probability, and somebody has to pay.
Both methods *discount*: they take a little from every count.  They differ in how the unseen words
share it.

- *Katz back-off*: seen words keep their discounted share.  Unseen ones share what was freed, in
  proportion to the model with a shorter context.
- *Kneser–Ney*: all words get a part of the shorter model.  And that model doesn't count how often
  a word occurs, but after how many different words.

"Francisco" is frequent, but only after "San".  After any other word it is unlikely, and only
Kneser–Ney knows.  It won Chen and Goodman's comparison and served until neural models came.

    after READ        MOBY 1     A 2          BOOK, JOHN, … unseen
                    ┌───────┬─────────────┐
    counted         │  1/3  │     2/3     │
                    ├───┬───┴─────────┬───┤
    discounted      │1/6│     1/2     │1/3│──▶ freed
                    └───┴─────────────┴───┘
    Katz              nothing more        └──▶ by α P(w | shorter) to the unseen
    Kneser–Ney        more on top         └──▶ by γ P(w | shorter) to all words

**The formulas**, for a word w after h; h' is h without its first word; D_r is taken from a count r,
N_r is how many n-grams have it, V is the vocabulary's size, and N₁₊ counts distinct words:

    Good–Turing    D_r = (r - (r + 1) N_{r+1}/N_r) / (1 - A)  for r ≤ k, 0 above
                   A = (k + 1) N_{k+1}/N₁
    absolute       D = Y = N₁/(N₁ + 2 N₂)                              for all r
    modified       D_r = r - (r + 1) Y N_{r+1}/N_r                     r = 1, 2, 3; D₃ also above
    Katz           P(w | h) = (c(h w) - D)/c(h)                        for seen h w; else:
                   P(w | h) = α(h) P(w | h')
                   α(h) = ∑ D/c(h) / (1 - ∑ P(v | h'))                 over all v seen after h
                   P(w) = (c(w) + 1)/(N + V)                           for the empty context
    Kneser–Ney     Pₘ(w | h) = (c(h w) - D)/c(h) + γ(h) Pₘ₋₁(w | h')   γ(h) = ∑ D/c(h),  P₀ = 1/V
                   c(g) = N₁₊(• g), the words seen before g            for all orders below n

Here D stands for the D_r of that very count, c(h) for ∑ c(h v), and D₀ is 0.

**Why divide by 1 - A?**  Counts above k are trusted.  Division by 1 - A makes the small counts pay
for them: ∑ D_r N_r is N₁, the mass that Good–Turing reserves for what is unseen.

**Why count the words before?**  The lower orders matter where the higher one says little.  Solve
for the Pₘ₋₁ with which the bigram model gives each word as often as the text has it, and N₁₊ comes
out.

**Worked by hand**, on Chen and Goodman's three sentences (see ngrams), bigrams, V = 13, D = ½:

    READ is followed by MOBY once and by A twice, so ∑ D/c(h) = 1/3
    Katz        P(A | READ) = 1.5/3 = 0.5,  P(MOBY | READ) = 1/6
                α = 1/3 / (1 - 3/31 - 2/31) = 31/78,  P(JOHN | READ) = 31/78 · 2/31 = 0.0256
    Kneser–Ney  A and BOOK both occur twice, but A after READ alone; of 17 pairs and 12 words
                P₁(A) = 0.5/17 + 6/17/13 = 0.0566,  P₁(BOOK) = 1.5/17 + 6/17/13 = 0.1154
                P(A | READ) = 1.5/3 + 1/3 · 0.0566 = 0.5189
    N = {1: 10, 2: 4, 3: 2, 4: 1}:  absolute 10/18, modified 0.556 1.167 1.889
                Good–Turing, k = 2: A = 0.6, D₁ = 0.2/0.4 = 0.5, D₂ = 0.5/0.4 = 1.25

**Shapes**: sentences are lists of words, contexts too.  No function changes its arguments.

**Steps.**  A good place to pause is after KatzBackoff.

    good_turing_discounts   9 min   when does the formula fail?
    absolute_discount       3 min   one line
    modified_discounts      6 min   three of them
    KatzBackoff            25 min   α, and contexts that have nothing to share
    continuation_counts     5 min   one line, once you see it
    KneserNey              20 min   counts below the highest order

Sources: Katz 1987, "Estimation of Probabilities from Sparse Data for the Language Model Component
of a Speech Recognizer"; Ney, Essen and Kneser 1994, "On Structuring Probabilistic Dependences in
Stochastic Language Modelling"; Kneser and Ney 1995, "Improved Backing-off for M-gram Language
Modeling"; Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language
Modeling".

From scratch: numpy or plain Python; nltk, sklearn and scipy may not be used.
"""

from collections.abc import Callable, Mapping, Sequence

START, END, UNKNOWN = "<s>", "</s>", "<unk>"

Discount = Callable[[Mapping[int, int]], Sequence[float]]
"""From N_r of one order's counts to the amounts D₁, D₂, …; the last is also that of all larger counts."""


def taken(amounts: Sequence[float], r: int) -> float:
    """Given to you: what `amounts` take from a count r ≥ 0."""
    return amounts[min(r, len(amounts)) - 1] if r else 0.0


def good_turing_discounts(frequencies: Mapping[int, int], limit: int = 5) -> tuple[float, ...]:
    """The lesson's D₁ … D_k for k = `limit` ≥ 2, then 0: limit + 1 amounts, from N_r = `frequencies`.

    An r that isn't a key has N_r = 0.  Raises ValueError, in this order of tests,

    - naming r, if N_r is 0 for an r from 1 to `limit`: the first such r.  N_{k+1} may be 0.
    - naming the value of `limit`, if A ≥ 1.
    - naming r, if D_r is below 0 or above r: the first such r.
    """
    raise NotImplementedError


def absolute_discount(frequencies: Mapping[int, int]) -> tuple[float, ...]:
    """The lesson's absolute D, as the only amount, from N_r = `frequencies`.

    Raises ValueError if N₁ and N₂ are both 0 or missing.
    """
    raise NotImplementedError


def modified_discounts(frequencies: Mapping[int, int]) -> tuple[float, ...]:
    """The lesson's modified D₁, D₂ and D₃, three amounts, from N_r = `frequencies`.

    N₄ may be 0.  Raises ValueError, naming the first r from 1 to 3 with N_r = 0 or D_r below 0.
    """
    raise NotImplementedError


class KatzBackoff:
    """Katz's back-off model of order n, over add-one 1-grams."""

    def __init__(self, sentences: Sequence[Sequence[str]], n: int, vocab: set[str], discount: Discount) -> None:
        """Count the 1-grams to n-grams of `sentences`, n ≥ 1; words outside `vocab` count as UNKNOWN.

        sentences  at least one.  Order m counts the m-grams of sentences padded for m.
        vocab      has END and UNKNOWN, not START.
        discount   gives each order from 2 to n its amounts, from the N_r of that order's counts.
                   D_r is from 0 to below r, so that every word seen keeps something.
        """
        raise NotImplementedError

    def prob(self, word: str, context: Sequence[str]) -> float:
        """P(word | context) of the lesson.

        - After an h that was never seen it is P(word | h').
        - An h after which every word of `vocab` was seen has nobody to give to: c(h w)/c(h).
        - An h that frees nothing (D is 0 for each of its own counts), with words that it hasn't
          seen, counts as seen once more: c(h w)/(c(h) + 1), and the unseen words share
          1/(c(h) + 1).  So no word is impossible.  (SRILM does so, too.)
        - Of a longer context only the last n - 1 tokens count.  A shorter one is filled up with
          START on its left.
        - Words outside `vocab` count as UNKNOWN, in the context, too.  START in a context stays.
        - For every context, seen or not, the probabilities of the words in `vocab` sum to 1.
        - START never follows: its probability is 0.
        """
        raise NotImplementedError


def continuation_counts(counts: Mapping[tuple[str, ...], int]) -> dict[tuple[str, ...], int]:
    """N₁₊(• g) for each m-gram g that ends one of the (m + 1)-grams in `counts`, m ≥ 1.

    All keys of `counts` have been seen: their counts are at least 1.  START is a word before, too.
    """
    raise NotImplementedError


class KneserNey:
    """The interpolated Kneser–Ney model of order n."""

    def __init__(self, sentences: Sequence[Sequence[str]], n: int, vocab: set[str], discount: Discount) -> None:
        """Count the n-grams of `sentences`, n ≥ 1; words outside `vocab` count as UNKNOWN.

        sentences  at least one.
        vocab      has END and UNKNOWN, not START.
        discount   gives each order from 1 to n its amounts, from the N_r of the counts that the
                   order uses.  D_r is from 0 to r.

        Order n uses the counts of the n-grams.  Each lower order m uses continuation_counts of what
        order m + 1 uses.
        """
        raise NotImplementedError

    def prob(self, word: str, context: Sequence[str]) -> float:
        """Pₙ(word | context) of the lesson.

        - After an h that was never seen, Pₘ(word | h) is Pₘ₋₁(word | h').
        - Context, unknown words, START and sums are as in KatzBackoff.prob.
        """
        raise NotImplementedError
