"""The unigram tokenizer

**Before you start.**  You need log(e^a + e^b) without overflow, and dynamic programming; no other
kata.  New to you?  Read Jurafsky and Martin, "Speech and Language Processing", appendix A.

**The idea.**  A translation model learns better from several ways to cut a text; BPE has one.  The
unigram model gives each piece a probability, so it can rank all ways or draw one.  Training
starts from many pieces and drops those that are missed least.

**The formula.**  A segmentation of a text into pieces x₁ … xₘ has the probability

    P(x) = p(x₁) · p(x₂) · … · p(xₘ)

A text has too many to list.  Walk over its positions 0 … n from left to right, and keep one number
for each.  text[i:j] is a piece, and V(0) = 0, α(0) = 1:

    the best one        V(j) = max V(i) + log p(text[i:j])         Viterbi
    their sum           α(j) = Σ α(i) · p(text[i:j])               forward
    a random one        walk back from n, stepping from j to i with
                        probability α(i) · p(text[i:j]) / α(j)

β(i) is the same sum from the right, with β(n) = 1.  Here for "ab" and its three pieces:

         ┌──────────── ab 0.5 ───────────┐
         │                               ▼
         0 ─── a 0.3 ──▶ 1 ─── b 0.2 ──▶ 2
    α    1              0.3             0.56
    β    0.56           0.2              1

A piece at [i, j) is used with probability α(i) · p(text[i:j]) · β(j) / α(n).  Summed over its
places, that is its *expected count*.

    EM step:   p(piece) ← its expected count / all expected counts

**Why does EM help?**  Each step makes the corpus at least as likely as before.

**Why logarithms?**  The probability of a long text is below the smallest float.

**Worked by hand**, the drawing's text "ab":

    [ab] has 0.5, [a b] has 0.3 · 0.2 = 0.06, together 0.56
    expected counts: ab 0.5 / 0.56 = 0.893, a and b 0.06 / 0.56 = 0.107 each

**Shapes**: a model is a dict from each piece to its natural log probability; they needn't sum
to 1.  No function changes its arguments.

**Steps.**

    viterbi           12 min   remember where the best way into each position came from
    log_likelihood     8 min   the same walk, with a sum for max
    expected_counts   12 min   the walk from the right as well
    em_step            6 min   each word as often as it occurs
    prune             10 min   how much is a piece missed?
    sample            12 min   walk back from the end; a generator of your own

Source: Kudo 2018, "Subword Regularization", sections 3.2 and 3.3.

From scratch: tokenizers and sentencepiece may not be used.
"""

from collections.abc import Mapping


def viterbi(text: str, model: Mapping[str, float]) -> list[str]:
    """The most likely segmentation of `text` into pieces of `model`.

    - Any of several that are equally likely; [] for an empty text.
    - The work grows with the text's length times that of the longest piece.
    - Texts may have thousands of characters.

    Raises ValueError, naming the text, if no segmentation covers it.
    """
    raise NotImplementedError


def log_likelihood(text: str, model: Mapping[str, float]) -> float:
    """log of the sum of the probabilities of all segmentations of `text`.

    0.0 for an empty text, -inf if there is no segmentation.
    """
    raise NotImplementedError


def expected_counts(text: str, model: Mapping[str, float]) -> dict[str, float]:
    """How often each piece is used, on average over all segmentations by their probabilities.

    Pieces of no segmentation are left out, and those whose count is too small for a float.

    Raises ValueError, naming the text, if no segmentation covers it.
    """
    raise NotImplementedError


def em_step(words: Mapping[str, int], model: Mapping[str, float]) -> dict[str, float]:
    """The model after one step of EM on words and how often each occurs.

    - The new probabilities are the expected counts, each word's times its number, over the sum
      of all.
    - Pieces that `expected_counts` leaves out for every word are left out.

    Raises ValueError, naming the word, if no segmentation covers one.
    """
    raise NotImplementedError


def prune(words: Mapping[str, int], model: Mapping[str, float], keep: int) -> dict[str, float]:
    """`model` without the pieces that are missed least: `keep` pieces stay, if that is possible.

    - The corpus' log likelihood is Σ number · `log_likelihood(word)` over the words.
    - A piece is missed by as much as it falls when this piece alone is taken away.  The others
      keep their log probabilities, and so do those that stay.
    - Without a piece a word may have no segmentation.  The piece is missed by infinity then.
    - Pieces of one character always stay, even more of them than `keep`, so that every word can
      still be cut up.
    - Of two longer pieces that are missed equally, the first in Python's order of strings stays.
    """
    raise NotImplementedError


def sample(text: str, model: Mapping[str, float], alpha: float, seed: int) -> list[str]:
    """A random segmentation, drawn with probability proportional to P(x)^`alpha`.

    (`alpha` isn't the α of the lesson.)

    - At `alpha` 1 it is drawn from the model; at 0 all segmentations are equally likely; the
      larger it is, the closer to `viterbi`.
    - The same for the same `seed`.  Python's and numpy's global generators stay as they are:
      draw from one of your own, like random.Random(seed).
    - [] for an empty text.

    Raises ValueError, naming the text, if no segmentation covers it.
    """
    raise NotImplementedError
