"""Bayes

How should evidence change a belief?  Of hypotheses h with prior probabilities
P(h), each saying how likely the evidence e is under it,

    P(h | e) = P(h) P(e | h) / P(e)        P(e) = ∑ P(h) P(e | h)

The posterior is the prior, reweighed by the likelihood, and made to sum to 1.

For a coin of unknown bias the hypotheses are all numbers from 0 to 1.  If the
prior is a Beta distribution with parameters a and b, so is the posterior: count
the heads into a, the tails into b.  The chance of heads next time is a/(a + b).

For an unknown mean with a Gaussian prior, and measurements with Gaussian noise,
precisions (1 over the variance) add up, and the means are weighed by them:

    1/s′² = 1/s² + n/σ²        m′ = s′² (m/s² + ∑x/σ²)

Naive Bayes classifies: the hypothesis is the class c, the evidence a row of
features, and, naively, within a class they are taken to be independent.  So
their likelihoods multiply, and their logarithms add up:

    log P(c) + ∑ⱼ log P(xⱼ | c)

Hundreds of small factors would underflow to 0, so nothing is multiplied, and
the posteriors are taken from the logarithms at the end, less their largest.

    Gaussian      P(xⱼ | c) is a Gaussian with the class's own mean and variance of feature j
    multinomial   x counts words; each occurrence of word j contributes log θ_cj,
                  θ_cj = (count of j in class c + α) / (count of all words in c + α d)

The α > 0 pretends that every word was seen α times more in every class.  Without
it, one word that a class has never shown would rule the class out.

Worked by hand:

    1% are ill; a test is positive for 90% of the ill and 5% of the others:
        ill 0.01·0.9 = 0.009, well 0.99·0.05 = 0.0495; P(ill | positive) = 0.009/0.0585 = 0.1538
    Beta(2, 2), then 7 heads and 3 tails: Beta(9, 5), next heads 9/14 = 0.6429
    prior mean 0, s = 2, one x = 3 with σ = 1: 1/s′² = 1/4 + 1, s′ = 0.8944, m′ = 0.8·3 = 2.4
    words [3 1 0] in class A, [0 1 1] in B, α = 1, d = 3: θ_A = [4 2 1]/7, θ_B = [1 2 2]/5
        a text [1 0 0], equal priors: P(A) = (4/7) / (4/7 + 1/5) = 0.7407

Classes may be any values that numpy sorts: numbers or texts.  No function
changes its arguments.

Sources: Bayes 1763; Gelman et al. 2013, "Bayesian Data Analysis", chapters 1 and
2; Maron 1961 and McCallum and Nigam 1998 (naive Bayes on words).

From scratch: scipy and sklearn may not be used.
"""

from collections.abc import Sequence

import numpy as np


def posterior(prior: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
    """P(h | e) from `prior` P(h), (h,), and `likelihood` P(e | h), (h, m), a column for each evidence: (h, m).

    Raises ValueError, naming the column, if its evidence is impossible under every
    hypothesis that the prior allows.
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
    """
    raise NotImplementedError


def count_words(texts: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
    """How often each word of `vocabulary` (d,) occurs in each text: float64 (n, d).

    A text's words are its runs of the letters a to z, after str.lower(): "It's 3D" has
    it, s and d.  Words that aren't in the vocabulary are passed over.
    """
    raise NotImplementedError


class GaussianNaiveBayes:
    """Naive Bayes with a Gaussian for each feature in each class.

    After `fit`, attribute `classes` holds the classes, sorted.
    """

    def __init__(self, smoothing: float = 1e-9) -> None:
        """`smoothing` times the largest variance of a feature over all rows is added to every variance."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Learn from the rows of `x` (n, d) with classes `y` (n,): shares of the classes, means, variances with 1/n."""
        raise NotImplementedError

    def log_joint(self, x: np.ndarray) -> np.ndarray:
        """log P(c) + ∑ⱼ log P(xⱼ | c) of each row of `x` (n, d) and each class: (n, classes)."""
        raise NotImplementedError

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """P(c | row), (n, classes); never NaN, however far out a row is."""
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The most probable class of each row: (n,)."""
        raise NotImplementedError


class MultinomialNaiveBayes:
    """Naive Bayes on counts of words.

    After `fit`, attribute `classes` holds the classes, sorted.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        """`alpha` is the lesson's α."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Learn from the counts `x` (n, d) of texts with classes `y` (n,): shares of the classes, and the θ."""
        raise NotImplementedError

    def log_joint(self, x: np.ndarray) -> np.ndarray:
        """log P(c) + ∑ⱼ xⱼ log θ_cj of each row of counts `x` (n, d) and each class: (n, classes)."""
        raise NotImplementedError

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """P(c | row), (n, classes); never NaN, however long a text is."""
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The most probable class of each row: (n,)."""
        raise NotImplementedError
