"""Text features

**Before you start.**  You need dicts, logarithms and Bayes' rule (bayes).  New to text as numbers?
Read Manning, Raghavan and Schütze, "Introduction to Information Retrieval", sections 6.2 and 13.2,
free at nlp.stanford.edu/IR-book.

**The idea.**  A classifier wants a row of numbers, and you have a text.  The simplest way is to
count: cut the text into *terms*, give each term a column, and forget the order.  This is a *bag of
words*.  It needs no training, runs fast, and is the baseline that a neural network has to beat.

- *n-grams*, terms of n words, save some of the order: "not good" is a term of its own.
- *Stop words* ("the", "of") say little.  They are dropped before n-grams are made.
- *TF-IDF* weighs a count by how rare the term is: "the" stands in every text, "sublime" in few.
- *Hashing* needs no vocabulary: a hash function says which column a term has.
- *Naive Bayes* compares how often each class uses the terms.

                            vocabulary       cat  dog  sat  saw  the
     "The cat sat."        ┌────────────▶     1    0    1    0    1
           │               │
           ▼ tokenize      │
     the, cat, sat  ───────┤  hash into 4     0    1    2    3
                           └────────────▶     1    0   -1    1
                                            +sat     -the +cat

**The formulas**, for n texts, of which df hold a term, that stands x times in this text:

    idf       smooth: ln((1 + n)/(1 + df)) + 1        else: ln(n/df) + 1
    tf-idf    x · idf, or (1 + ln x) · idf if sublinear; then the row is divided by its norm
    norm      l2: √ ∑ v²        l1: ∑ |v|
    hashing   column |h| mod columns, sign + if h ≥ 0, else -, for the term's hash h
    prior     P(c) = texts of class c / n
    term      P(t | c) = (N_ct + α) / ∑ᵤ (N_cu + α)        N_ct: how often class c uses term t
    class     ln P(c | x) = ln P(c) + ∑ₜ xₜ ln P(t | c) - ln Z        Z: so that ∑ P(c | x) is 1

**Why a sign?**  Two terms may share a column.  If all counts were added, each collision would make
two texts more alike.  With random signs the errors cancel on average.

**Why α?**  A term that a class never used would get probability 0, and rule the class out, whatever
else the text says.

**Worked by hand**: "The cat sat.", "the cat saw the dog", "a dog", of the classes +, -, +:

    tokens     the cat sat | the cat saw the dog | dog
    counts     [1 0 1 0 1], [1 1 0 1 2], [0 1 0 0 0] for cat dog sat saw the
    idf        cat, dog, the: ln(4/3) + 1 = 1.288        sat, saw: ln(4/2) + 1 = 1.693
    tf-idf     [1.288 0 1.693 0 1.288] / 2.487 = [0.518 0 0.681 0 0.518], the first row
    α = 1      P(sat | +) = (1 + 1)/(4 + 5) = 2/9        P(sat | -) = (0 + 1)/(5 + 5) = 1/10
               "sat": + 2/3 · 2/9 = 40/270, - 1/3 · 1/10 = 9/270, so P(+) = 40/49

**Shapes**: counts (n, v), a text a row, a term a column; classes y (n,).  Arrays are dense here,
where libraries use sparse ones.  Counts may be of any integer or float type (int8, float32):
compute in float64.  No function changes its arguments.

**Steps.**

    tokenize       4 min   one regular expression
    ngrams         7 min   and their order
    analyze        3 min   stop words go first
    BagOfNgrams   20 min   which terms stay?
    TfIdf         13 min   empty rows
    hash_features  8 min   signs, and no vocabulary
    NaiveBayes    18 min   in logarithms

Sources: Manning, Raghavan and Schütze 2008 (above); Weinberger et al. 2009, "Feature Hashing for
Large Scale Multitask Learning"; Appleby's MurmurHash3; and scikit-learn's
CountVectorizer, TfidfTransformer, HashingVectorizer and MultinomialNB, whose answers these are.

From scratch: sklearn and scipy may not be used.
"""

from collections.abc import Collection, Sequence

import numpy as np


def tokenize(text: str) -> list[str]:
    """The words of `text`, in order.

    - `text.lower()` comes first.
    - A word is a longest run of two or more word characters, as Python's `re` has them: \\w.
      These are letters and digits of any script, and _.  "I saw it's 3D!" has three: saw, it, 3d.
    """
    raise NotImplementedError


def ngrams(tokens: Sequence[str], low: int, high: int) -> list[str]:
    """The terms of `low` to `high` neighbouring tokens, joined by single spaces.

    - First all of `low` tokens from left to right, then all of `low` + 1, and so on.
    - Repeated terms are repeated.  Where there are fewer than n tokens, there is no n-gram.

    Raises ValueError, naming both, unless 1 ≤ low ≤ high.
    """
    raise NotImplementedError


def analyze(text: str, ngram_range: tuple[int, int] = (1, 1), stop_words: Collection[str] = ()) -> list[str]:
    """The terms of `text`: tokenize, drop the stop words, then ngrams from low to high.

    So an n-gram may join words that had a stop word between them.  `stop_words` are compared as they
    are: "The" drops nothing, since tokens are in lower case.
    """
    raise NotImplementedError


class BagOfNgrams:
    """Counts of terms.  After `fit`, `vocabulary` is a dict from term to column."""

    def __init__(
        self,
        ngram_range: tuple[int, int] = (1, 1),
        stop_words: Collection[str] = (),
        min_df: int | float = 1,
        max_df: int | float = 1.0,
        max_features: int | None = None,
        binary: bool = False,
    ) -> None:
        """`ngram_range` and `stop_words` are analyze's.

        min_df, max_df   a term stays if at least / at most so many texts hold it.  An int is a number
                         of texts, a float a share of them: 1 is one text, 1.0 all.
        max_features     of the terms that stay, keep so many (1 or more): those with the largest sums in
                         the table that transform gives for the fitted texts.  Of equal sums the term
                         that is first in sorted order is kept.
        binary           a term counts once a text
        """
        raise NotImplementedError

    def fit(self, texts: Sequence[str]) -> None:
        """Learn `vocabulary`: columns are 0, 1, …, in sorted order of the terms, as `sorted` has it.

        A second `fit` forgets the first.
        Raises ValueError, naming min_df's and max_df's values, if no term stays.
        """
        raise NotImplementedError

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        """The counts of `vocabulary`'s terms in each text: int64 (n, v).

        Other terms are ignored.  `texts` needn't be those of `fit`, and may be none at all: (0, v).
        """
        raise NotImplementedError


class TfIdf:
    """Weights for counts.  After `fit`, `idf` is float64 (v,)."""

    def __init__(self, smooth: bool = True, sublinear: bool = False, norm: str | None = "l2") -> None:
        """`norm` is "l2", "l1" or None, which leaves rows as long as they are.

        Raises ValueError, naming the norm, if it is another.
        """
        raise NotImplementedError

    def fit(self, counts: np.ndarray) -> None:
        """Learn `idf` from `counts` (n, v).  Without `smooth` each term is in some text."""
        raise NotImplementedError

    def transform(self, counts: np.ndarray) -> np.ndarray:
        """The lesson's tf-idf: float64 (m, v).

        - `counts` (m, v) needn't be those of `fit`; `idf` stays as it is.
        - A count of 0 stays 0, sublinear or not, and so does a row of zeros.
        """
        raise NotImplementedError


def murmurhash3(text: str) -> int:
    """Given to you: MurmurHash3 of the text's UTF-8 bytes, 32 bits, seed 0: from -2³¹ to 2³¹ - 1."""
    data, h = text.encode(), 0
    for start in range(0, len(data), 4):
        block = data[start : start + 4]
        k = int.from_bytes(block, "little") * 0xCC9E2D51 & 0xFFFFFFFF
        h ^= (k << 15 | k >> 17) * 0x1B873593 & 0xFFFFFFFF
        if len(block) == 4:
            h = (h << 13 | h >> 19) * 5 + 0xE6546B64 & 0xFFFFFFFF
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    h ^= h >> 16
    return h - (h >> 31 << 32)


def hash_features(
    texts: Sequence[str],
    columns: int,
    ngram_range: tuple[int, int] = (1, 1),
    stop_words: Collection[str] = (),
    signs: bool = True,
) -> np.ndarray:
    """Each text's terms, counted in the columns that murmurhash3 gives: float64 (n, columns).

    - Each time that a term stands in the text it adds its sign; 1 if `signs` is False.
    - Not normalised.  `ngram_range` and `stop_words` are analyze's.

    Raises ValueError, naming columns, if it is below 1.
    """
    raise NotImplementedError


class NaiveBayes:
    """Multinomial naive Bayes.

    After `fit`: `classes` (c,), sorted; `log_prior` (c,), ln P(c); `log_likelihood` (c, v), ln P(t | c).
    """

    def __init__(self, alpha: float = 1.0) -> None:
        """`alpha` is the lesson's α.  Raises ValueError, naming it, unless it is above 0."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Learn from `x` (n, v), counts or weights, of the classes `y` (n,): numbers or strings.

        Raises ValueError, naming the smallest number in `x`, if it is negative: signed hashes are no
        counts.
        """
        raise NotImplementedError

    def predict_log_proba(self, x: np.ndarray) -> np.ndarray:
        """ln P(c | x) for rows `x` (m, v): (m, c).

        Finite for long texts, too, with thousands of each term.
        """
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The likeliest class of each row: (m,), of the values in `y`.

        Of equal ones the class that is first in sorted order wins.
        """
        raise NotImplementedError
