"""Bayes

**Before you start.**  You need conditional probabilities, logarithms and the Gaussian density
(probability).  Is Bayes' rule new to you?  Read Gelman et al. (below), chapter 1, free at
stat.columbia.edu/~gelman/book.

**The idea.**  You believe something, and then you see evidence.  How much should you change your
mind?  Of 10,000 people 1% are ill.  A test is positive for 90% of the ill and 5% of the others:

             ┌─▶ ill      100 ─┬─▶ positive    90 ──┐
    10,000 ──┤                 └─▶ negative    10   ├──▶ 585 positives,
             │                 ┌─▶ positive   495 ──┘    90 of them ill: 15%
             └─▶ not ill 9900 ─┴─▶ negative  9405

**The formulas**, for hypotheses h with prior probabilities P(h), and evidence e:

    posterior    P(h | e) = P(h) P(e | h) / P(e)        P(e) = ∑ P(h) P(e | h)
    Beta         Beta(a, b), then heads and tails: Beta(a + heads, b + tails)
                 the chance of heads next is a/(a + b)
    Gaussian     1/s′² = 1/s² + n/σ²        m′ = s′² (m/s² + ∑x/σ²)
    naive Bayes  log P(c) + ∑ⱼ log P(xⱼ | c)

- The *posterior* is the prior times the likelihood P(e | h), made to sum to 1.
- *A coin.*  The hypotheses are all biases from 0 to 1.  A Beta prior gives a Beta posterior.
- *A mean* has a prior mean m and deviation s, and n measurements x with noise σ.  Precisions
  (1 over the variance) add up, and the means are weighted by them.
- *Naive Bayes* classifies a row of features x.  The hypothesis is its class c.  Naively, it treats
  features within a class as independent.

P(xⱼ | c) is one of two:

    Gaussian      a Gaussian with the class's own mean and variance of feature j
    multinomial   x counts words; each occurrence of word j contributes log θ_cj,
                  θ_cj = (count of j in class c + α) / (count of all words in c + α d)

**Why logarithms?**  Hundreds of small factors underflow to 0.  Add logarithms instead.  Subtract
the largest before you take exp.

**Why α?**  It adds α to every count.  Without it, one word that a class has never shown would rule
the class out.

**Worked by hand**:

    ill 0.01·0.9 = 0.009, well 0.99·0.05 = 0.0495;  P(ill | positive) = 0.009/0.0585 = 0.1538
    Beta(2, 2), then 7 heads and 3 tails: Beta(9, 5), next heads 9/14 = 0.6429
    prior mean 0, s = 2, one x = 3 with σ = 1: 1/s′² = 1/4 + 1, s′ = 0.8944, m′ = 0.8·3 = 2.4
    words [3 1 0] in class A, [0 1 1] in B, α = 1, d = 3: θ_A = [4 2 1]/7, θ_B = [1 2 2]/5
        a text [1 0 0], equal priors: P(A) = (4/7) / (4/7 + 1/5) = 0.7407

**Shapes**: each function says its own.  Features and counts may be integers.  Classes may be any
values that numpy sorts: numbers or strings.  No function changes its arguments.

**Steps.**  A good place to pause is after count_words.

    posterior              10 min   a column for each evidence
    beta_update             3 min   two additions
    chance_of_heads         3 min   one line
    normal_update           5 min   add precisions
    count_words             5 min   a dict of places
    GaussianNaiveBayes     20 min   broadcasting over rows, classes and features
    MultinomialNaiveBayes  15 min   one matrix product

Sources: Bayes 1763; Gelman et al. 2013, "Bayesian Data Analysis", chapters 1 and
2; Maron 1961 and McCallum and Nigam 1998 (naive Bayes on words).

From scratch: scipy and sklearn may not be used.
"""

from collections.abc import Sequence

import numpy as np


def posterior(prior: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
    """P(h | e), (k, m), from `prior` P(h), (k,), and `likelihood` P(e | h), (k, m).

    Each column is an evidence of its own, and sums to 1.
    Raises ValueError, naming the column, from 0, if its evidence is impossible under every
    hypothesis that the prior allows: P(e), as it is stored, is exactly 0.
    """
    raise NotImplementedError


def beta_update(a: float, b: float, heads: int, tails: int) -> tuple[float, float]:
    """The parameters of the Beta posterior after so many heads and tails."""
    raise NotImplementedError


def chance_of_heads(a: float, b: float) -> float:
    """The chance that a coin whose bias has a Beta(a, b) distribution shows heads next."""
    raise NotImplementedError


def normal_update(mean: float, sd: float, x: np.ndarray, noise: float) -> tuple[float, float]:
    """(mean, deviation) of the posterior of a mean with a Gaussian prior of `mean` and `sd`.

    `x` (n,) are measurements of it with Gaussian noise of deviation `noise`; n may be 0.
    The second answer is a deviation, not a variance.
    """
    raise NotImplementedError


def count_words(texts: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
    """How often each word of `vocabulary` (d,) occurs in each text: float64 (n, d).

    - A text's words are its runs of the letters a to z, after str.lower(): "It's 3D" has it, s
      and d.
    - Words that aren't in the vocabulary are passed over.
    """
    raise NotImplementedError


class GaussianNaiveBayes:
    """Naive Bayes with a Gaussian for each feature in each class.

    After `fit`, attribute `classes` holds the classes, sorted.  A second `fit` forgets the first.
    """

    def __init__(self, smoothing: float = 1e-9) -> None:
        """Each class's variances grow by `smoothing` times the largest variance of any feature.

        That largest one is over all rows, whatever their class.
        With smoothing 0, every feature must vary within each class.
        """
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Learn from the rows of `x` (n, d) with classes `y` (n,).

        For each class: its share of the rows, and each feature's mean and variance (1/n).
        """
        raise NotImplementedError

    def log_joint(self, x: np.ndarray) -> np.ndarray:
        """log P(c) + ∑ⱼ log P(xⱼ | c) of each row of `x` (n, d) and each class: (n, classes)."""
        raise NotImplementedError

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """P(c | row), (n, classes); never NaN, even for a row with features up to 1e150."""
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The most probable class of each row: (n,)."""
        raise NotImplementedError


class MultinomialNaiveBayes:
    """Naive Bayes on counts of words.

    After `fit`, attribute `classes` holds the classes, sorted.  A second `fit` forgets the first.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        """`alpha` is the lesson's α > 0."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Learn the classes' shares and the θ from counts `x` (n, d), for classes `y` (n,)."""
        raise NotImplementedError

    def log_joint(self, x: np.ndarray) -> np.ndarray:
        """log P(c) + ∑ⱼ xⱼ log θ_cj of each row of `x` (n, d) and each class: (n, classes).

        (The multinomial coefficient is left out: it is the same for all classes.)
        """
        raise NotImplementedError

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """P(c | row), (n, classes); never NaN, however long a text is."""
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The most probable class of each row: (n,)."""
        raise NotImplementedError
