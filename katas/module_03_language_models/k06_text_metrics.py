"""Text metrics

**Before you start.**  You need dicts, logarithms, and tables that are filled row by row (dynamic
programming).  New to these?  Read about minimum edit distance, and about the evaluation of machine
translation, in Jurafsky and Martin, "Speech and Language Processing", 3rd edition, free at
web.stanford.edu/~jurafsky/slp3.

**The idea.**  A model writes a text, and somebody has written a good one.  How close are they?  You
can't ask people at each step of training, so you count what the two have in common.

- *BLEU*, for translations: how many n-grams of the hypothesis stand in a reference?  (Precision.)
- *chrF*, also for translations: n-grams of characters, so "cats" is nearly "cat".
- *ROUGE*, for summaries: how many n-grams of the reference were found?  (Recall, above all.)
- *Exact match* and *token F1*, for short answers.
- *Error rate*, for speech: how many edits make the hypothesis out of the reference?

**The formulas**, for a hypothesis h and references r:

    matches    ∑ min(count in h, largest count in one r), over the n-grams of h: clipped
    BLEU       BP · exp(1/N ∑ₙ ln pₙ)        pₙ = matches of length n / n-grams of length n in h
    BP         1 if |h| ≥ |r|, else exp(1 - |r|/|h|)                       the brevity penalty
    ROUGE      precision P = matches / those of h        recall R = matches / those of r
    F          F_β = (1 + β²) P R / (β² P + R)           F₁ = 2 P R / (P + R)
    ROUGE-L    the same, but matches = length of the longest common subsequence (LCS)
    rate       edits / |r|        an edit inserts, deletes or replaces one token

BLEU, chrF and error rates are made for a *corpus*: add up the counts of all sentences first, divide
once.  The mean of the sentences' scores is something else.

             the  cat  is   on   the  mat     the LCS of two beginnings:
         0    0    0    0    0    0    0
    on   0    0    0    0    1    1    1      equal tokens   ↖ + 1
    the  0    1    1    1    1    2    2      others         the larger
    mat  0    1    1    1    1    2    3                     of ↑ and ←
    the  0    1    1    1    1    2    3
    cat  0    1    2    2    2    2    3 ◀──  "on the mat": 3

**Why clip?**  "the the the the" would have precision 1 for any reference with a "the" in it.

**Why a penalty for being short?**  Precision asks nothing about what is missing: "the cat" alone
has 1.  Being too long costs precision anyway.

**Why an interval?**  Another test set would give another score.  The *bootstrap* imitates that:
draw n of the n sentences with replacement, score them, repeat.  The middle 95% of the scores are
the interval.  A gain smaller than that may be luck.

**Worked by hand**:

    h  the cat the cat on the mat        r  the cat is on the mat | there is a cat on the mat
    1-grams    the 2 (of 3), cat 1 (of 2), on, mat: 5/7        2-grams  4/6
    |r|        7 is closest to |h| = 7, so BP = 1        BLEU, N = 2: √(5/7 · 4/6) = 0.690
    BP         |h| = 5, |r| = 6: exp(1 - 6/5) = 0.819
    ROUGE-L    on the mat the cat, the cat is on the mat: P = 3/5, R = 3/6, F₁ = 6/11
    chrF       cat, cats, n up to 2, β = 2: P = (3/3 + 2/2)/2 = 1, R = (3/4 + 2/3)/2 = 17/24
               F₂ = 5 P R/(4 P + R) = 85/113
    token F1   "The Eiffel Tower!", "tower of Eiffel": P = 2/2, R = 2/3, F₁ = 0.8
    rate       a cat sat on mat, the cat sat on the mat: 1 replaced, 1 deleted: 2/6

**Shapes**: a text is a sequence of tokens, but for chrf and answers, where it is a string.  Scores
are shares from 0 to 1, where sacrebleu prints 100 times that.  No function changes its arguments.

**Steps.**  A good place to pause is after chrf.

    ngram_counts        3 min   tuples
    bleu_statistics    10 min   clipped, and the closest length
    bleu                8 min   sums first
    bootstrap_interval  5 min   any score, any statistics
    chrf               11 min   means first, F then
    rouge_n             6 min   empty texts
    lcs_length          8 min   two rows are enough
    rouge_l             2 min   one line
    normalize_answer    5 min   four steps in order
    exact_match         2 min   one line
    token_f1            6 min   no common token
    edit_distance       8 min   the same table, other rules
    error_rate          4 min   longer than the reference

Sources: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation"; Lin
2004, "ROUGE: A Package for Automatic Evaluation of Summaries"; Popović 2015, "chrF: character
n-gram F-score for automatic MT evaluation"; Rajpurkar et al. 2016, "SQuAD"; Koehn 2004,
"Statistical Significance Tests for Machine Translation Evaluation"; Post 2018, "A Call for Clarity
in Reporting BLEU Scores": sacrebleu, whose BLEU (without smoothing) and chrF these are.

From scratch: sacrebleu, rouge_score, jiwer, nltk and difflib may not be used.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np


def ngram_counts(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram stands in `tokens`: a Counter of tuples of n tokens.

    - `tokens` may be a string, too: then these are n-grams of characters, tuples as well.
    - Fewer than n tokens give an empty Counter.
    """
    raise NotImplementedError


def bleu_statistics(hypothesis: Sequence[str], references: Sequence[Sequence[str]], max_n: int = 4) -> np.ndarray:
    """What BLEU counts in one sentence: int64 (2 + 2·max_n,).

    - First |h|, then |r|: the length of the reference that is closest to |h|, of equally close
      ones the shorter.
    - Then the lesson's matches for n = 1 … max_n, then the numbers of n-grams in the hypothesis.

    There are one or more `references`.  The hypothesis may be empty, and shorter than max_n.
    """
    raise NotImplementedError


def bleu(statistics: np.ndarray) -> float:
    """BLEU of a corpus from its sentences' statistics (sentences, 2 + 2·N), both 1 or more.

    Not smoothed: 0.0 if some length of n-grams has no match in the whole corpus, or no n-gram.  The
    sums may be billions, whose products overflow int64.
    """
    raise NotImplementedError


def bootstrap_interval(
    statistics: np.ndarray, score: Callable[[np.ndarray], float], samples: np.ndarray
) -> tuple[float, float, float]:
    """(mean, low, high) of the scores of resampled corpora.

    statistics  (sentences, k): a row a sentence
    score       takes rows (any number, k) and gives their score, as bleu does
    samples     (b, sentences): each row has the numbers of the sentences in one resampled corpus

    Of the b scores in rising order leave out b // 40 at each end; low and high are the first and the
    last of the rest.  The mean is that of all b.
    """
    raise NotImplementedError


def chrf(hypotheses: Sequence[str], references: Sequence[str], max_n: int = 6, beta: float = 2.0) -> float:
    """chrF of a corpus of strings, with one reference for each hypothesis.

    - White space is taken out first; all else counts, as it is.
    - For each n from 1 to max_n, matches and numbers of n-grams are added up over the sentences,
      then P and R are taken.
    - Where a sentence's reference is shorter than n, so that it has no n-gram, its hypothesis' n-grams
      aren't counted either.  A reference's n-grams always are.
    - Lengths n for which none of a hypothesis, or none of a reference, is counted are left out.
    - P and R are averaged over the n that are left, and F_β is taken of the two averages.
    - Without any match it is 0.0.

    Raises ValueError, naming both numbers of texts, if they differ.
    """
    raise NotImplementedError


def rouge_n(hypothesis: Sequence[str], reference: Sequence[str], n: int) -> tuple[float, float, float]:
    """(P, R, F₁) of the n-grams.  All are 0.0 if there is no match, as with an empty text."""
    raise NotImplementedError


def lcs_length(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest common subsequence: tokens in the same order, with gaps or without.

    Time: len(a)·len(b) at most.  Texts may be longer than Python's recursion limit.
    """
    raise NotImplementedError


def rouge_l(hypothesis: Sequence[str], reference: Sequence[str]) -> tuple[float, float, float]:
    """(P, R, F₁) of the longest common subsequence, all 0.0 if it is empty."""
    raise NotImplementedError


def normalize_answer(text: str) -> str:
    """An answer as SQuAD compares it.  In this order:

    1. lower case
    2. take out the characters of string.punctuation, with nothing in their place
    3. put a space in the place of each word a, an or the; a word is bounded by what isn't \\w
    4. single spaces between words, none at the ends
    """
    raise NotImplementedError


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the normalised prediction is equal to one of the normalised answers, else 0.0.

    There are one or more `answers`.
    """
    raise NotImplementedError


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """The best F₁ of the normalised prediction's words with one of the normalised answers'.

    - A word matches as often as both have it.
    - There are one or more `answers`.
    - If one of the two has no word, it is 1.0 if the other has none either, else 0.0.
    """
    raise NotImplementedError


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """The least number of edits, by the lesson's rules, that make the hypothesis of the reference.

    Time and length are as in lcs_length.
    """
    raise NotImplementedError


def error_rate(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> float:
    """All edits by all tokens of the references: of words (WER), or of characters if texts are strings (CER).

    It may be above 1.  A reference may be empty, but not all.

    Raises ValueError, naming both numbers of texts, if they differ; also if all references are empty,
    or there is none.
    """
    raise NotImplementedError
