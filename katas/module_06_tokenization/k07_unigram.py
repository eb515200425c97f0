"""The unigram tokenizer

BPE builds tokens up by merging and can't change its mind.  The unigram model
starts from many pieces, gives each a probability, and takes away those that are
missed least.  A segmentation of a text into pieces x₁ … xₘ has the probability

    P(x) = p(x₁) · p(x₂) · … · p(xₘ)

so a text has many segmentations, and three questions about them have the same
answer: walk over the text's positions from left to right and keep one number for
each, made of the numbers of the positions from which a piece leads there.

    the best one        V(j) = max  V(i) + log p(text[i:j])        Viterbi
    their sum           α(j) = Σ    α(i) · p(text[i:j])            forward
    a random one        walk back from the end, stepping over text[i:j] with
                        probability α(i) · p(text[i:j]) / α(j)

With β(i), the same sum from the right, a piece at [i, j) is used with
probability α(i) · p(text[i:j]) · β(j) / α(n).  Summing that over the places
where a piece stands gives its **expected count**, and EM repeats: expected
counts under the present p, then p = count / all counts.  Each step makes the
corpus at least as likely as before.

Keep all of it in logarithms: the probability of 400 characters is below the
smallest float.

Worked by hand, p(a) = 0.3, p(b) = 0.2, p(ab) = 0.5, text "ab":

    [ab] has 0.5, [a b] has 0.3 · 0.2 = 0.06, together 0.56
    expected counts: ab 0.5 / 0.56 = 0.893, a and b 0.06 / 0.56 = 0.107 each

A model is a dict from each piece to its log probability, natural logarithm.

No function changes its arguments.

Source: Kudo 2018, "Subword Regularization: Improving Neural Network Translation
Models with Multiple Subword Candidates", sections 3.1 and 3.2.

From scratch: tokenizers and sentencepiece may not be used.
"""

from collections.abc import Mapping


def viterbi(text: str, model: Mapping[str, float]) -> list[str]:
    """The most likely segmentation of `text` into pieces of `model`, any of several that are equally
    likely; [] for an empty text.

    The work grows with the text's length times that of the longest piece.
    Raises ValueError, naming the text, if no segmentation covers it.
    """
    raise NotImplementedError


def log_likelihood(text: str, model: Mapping[str, float]) -> float:
    """log of the sum of the probabilities of all segmentations; 0.0 for an empty text, -inf if there is none."""
    raise NotImplementedError


def expected_counts(text: str, model: Mapping[str, float]) -> dict[str, float]:
    """How often each piece is used, on average over the segmentations of `text` by their probabilities.

    Pieces that occur in no segmentation of the text are left out.
    Raises ValueError, naming the text, if no segmentation covers it.
    """
    raise NotImplementedError


def em_step(words: Mapping[str, int], model: Mapping[str, float]) -> dict[str, float]:
    """The model after one step of EM on words and how often each occurs.

    The new probabilities are the expected counts, each word's times its number,
    over the sum of all; pieces that are used in no word are left out.
    """
    raise NotImplementedError


def prune(words: Mapping[str, int], model: Mapping[str, float], keep: int) -> dict[str, float]:
    """`model` without the pieces that are missed least, so that `keep` pieces stay, with their log probabilities.

    A piece is missed by as much as the corpus' log likelihood, Σ number · `log_likelihood`
    of the words, falls when it alone is taken away and the others keep their
    probabilities.  Pieces of one character always stay, whatever `keep` says, so
    that every word can still be cut up.  Of two that are missed equally, the one
    that comes first in Python's order of strings stays.
    """
    raise NotImplementedError


def sample(text: str, model: Mapping[str, float], alpha: float, seed: int) -> list[str]:
    """A random segmentation, drawn with probability proportional to P(x)^`alpha`; the same for the same `seed`.

    At `alpha` 1 it is drawn from the model, at 0 all segmentations are equally
    likely, and the larger it is, the closer to `viterbi`.
    Raises ValueError, naming the text, if no segmentation covers it.
    """
    raise NotImplementedError
