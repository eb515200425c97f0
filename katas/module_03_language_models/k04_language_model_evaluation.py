"""Language model evaluation

**Before you start.**  You need logarithms, cross-entropy (information) and maximum likelihood.  For
more, read Jurafsky and Martin, "Speech and Language Processing", 3rd edition draft, chapter "N-gram
Language Models", section on perplexity, free at web.stanford.edu/~jurafsky/slp3.

**The idea.**  Which of two models is better?  Most wrong claims come from the measuring, not from
the model: another tokeniser, a test text that was in the training set, a setting chosen on the test
set, judges that don't agree.  You write the measures, and the rules that keep them honest.

- *Perplexity* measures a model on text: as if each token were one of so many equally likely ones.
- *Bits per byte* compares models with different tokens: everybody agrees what a byte is.
- *Kappa* tells how much of the judges' agreement isn't chance.
- *Bradley–Terry* and *Elo* turn "A is better than B" into one number a model.

    train ───▶ fit each setting ───▶ models
                                       │
    validation ───▶ all losses ───▶ the best one
                                       │           once, and nothing
    test ─────────────────────────▶ its loss ───▶  is changed after it

**The formulas**, for N tokens with probabilities P, observed agreement p_o and agreement by chance
p_e, strengths θ, ratings R:

    cross-entropy    H = -1/N ∑ ln P                     perplexity = exp H
    bits per byte    -∑ ln P / (ln 2 · bytes)            bytes of the text in UTF-8
    kappa            κ = (p_o - p_e) / (1 - p_e)
      Cohen          p_o: share of items with equal labels;  p_e = ∑ p₁(label) p₂(label)
      Fleiss         p_o: share of equal pairs of ratings, mean of items;  p_e = ∑ p(label)²
    Bradley–Terry    P(i beats j) = 1 / (1 + exp(θⱼ - θᵢ))       θ of maximum likelihood
    Elo              E = 1 / (1 + 10^((R_other - R_one)/400))
                     R_one += K (S - E),  R_other -= K (S - E)
                     R = center + 400/ln 10 · θ                  θ on Elo's scale

p₁, p₂ are a rater's shares of each label, p those of all ratings; S is the score: 1 won, ½ drawn,
0 lost.

**Why split by groups?**  If two versions of one article lie on two sides, the model has seen the
test.  Documents that belong together (one source, one author, near duplicates) stay together.

**Why two ways to rate?**  Elo goes game by game, so the order matters, and the latest games count
most: right for people, who learn.  A model stays the same.  Bradley–Terry fits all games at once,
in any order: Chatbot Arena moved from Elo to it.

**Worked by hand**:

    documents with P = [½ ¼] and [½ ½ ½ ½]:  7 bits, H = 7/6 ln 2 = 0.809, perplexity 2^(7/6) = 2.24
    their texts are "né" and "oui!": 3 + 4 bytes, so 7/7 = 1 bit per byte
    overlap of "to be or not" with "to be or so", n = 2: 2/3
    Cohen: 4 yes yes, 1 yes no, 2 no yes, 3 no no: p_o = 0.7, p_e = 0.5 · 0.6 + 0.5 · 0.4, κ = 0.4
    Fleiss: [3 0] [2 1] [0 3]: p_o = (1 + ⅓ + 1)/3, p_e = (5/9)² + (4/9)², κ = 22/40 = 0.55
    A beats B in 3 of 4: θ = ±½ ln 3 = ±0.549, on Elo's scale 1595.4 and 1404.6
    Elo: 1500 beats 1500, K = 32: 1516 and 1484; then the second wins: 1498.5 and 1501.5

**Shapes** are in each docstring.  No function changes its arguments.

**Steps.**  A good place to pause is after select_and_test.

    cross_entropy      4 min   one mean over all tokens
    perplexity         3 min   exp overflows
    bits_per_byte      5 min   bytes aren't characters
    group_split        9 min   whole groups
    overlap            7 min   has the model seen this text?
    select_and_test    8 min   who may see what, and when
    cohen_kappa        8 min   labels of any kind
    fleiss_kappa       8 min   pairs of ratings
    bradley_terry     16 min   the hard one: an iteration, and when there is no answer
    elo_ratings        7 min   one gain for both
    to_elo             2 min   one line

Sources: Cohen 1960, "A Coefficient of Agreement for Nominal Scales"; Fleiss 1971, "Measuring
Nominal Scale Agreement among Many Raters"; Hunter 2004, "MM Algorithms for Generalized
Bradley–Terry Models"; Elo 1978, "The Rating of Chessplayers, Past and Present"; Chiang et al. 2024,
"Chatbot Arena: An Open Platform for Evaluating LLMs by Human Preference".

From scratch: numpy or plain Python; sklearn, scipy, statsmodels and nltk may not be used.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

Model = Callable[[Any], float]


def cross_entropy(log_probs: Sequence[np.ndarray]) -> float:
    """H in nats per token: the lesson's mean over all tokens of all documents.

    log_probs   ln P of each token: one float array (tokens,) a document; some may be empty

    - ∞ if a token has ln P = -∞.

    Raises ValueError if there is no token at all.
    """
    raise NotImplementedError


def perplexity(log_probs: Sequence[np.ndarray]) -> float:
    """exp of the cross-entropy; ∞, not an error, where that is too large for a float."""
    raise NotImplementedError


def bits_per_byte(log_probs: Sequence[np.ndarray], texts: Sequence[str]) -> float:
    """The lesson's bits per byte over all documents together; texts[i] is the text of log_probs[i].

    There is at least one token.

    Raises ValueError, naming both numbers, if there aren't as many texts as documents; ValueError
    if the texts have no byte at all.
    """
    raise NotImplementedError


def group_split(groups: Sequence[Hashable], share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(train, test): places of the documents, rising integers; groups[i] is document i's group.

    - Every document is in one of them.  No group is in both.
    - Groups may be of any hashable kind, also mixed, which can't be sorted: 1 isn't "1".
    - Groups are drawn by `rng`, all equally likely, into the test set, one after another, until it
      has at least `share` of all documents, or only one group is left to train on.
    - Equal generators give equal splits.

    Raises ValueError, naming the value of `share`, unless 0 < share < 1; naming the number of
    groups, unless there are at least 2.
    """
    raise NotImplementedError


def overlap(document: Sequence[str], training: Sequence[Sequence[str]], n: int) -> float:
    """The share of the document's n-grams that occur in some training document.

    - All are lists of tokens, nothing is padded.  n-grams don't reach from one document into the next.
    - An n-gram that the document has twice counts twice.
    - A document shorter than n has share 0.

    Raises ValueError, naming n's value, if n < 1.
    """
    raise NotImplementedError


def select_and_test(
    fit: Callable[[Any, Any], Model], settings: Sequence[Any], train: Any, validation: Any, test: Any
) -> tuple[Any, float, float]:
    """(setting, validation loss, test loss) of the setting with the smallest validation loss.

    fit     fit(setting, documents) gives a model; model(documents) gives its loss

    - Each setting is fitted once, on `train` alone, and measured once on `validation`, in the
      order of `settings`.
    - Of equal losses the first setting wins.  A loss of NaN never wins, one of ∞ may.
    - The winner alone is measured on `test`, once, after everything else.  It isn't fitted again.

    Raises ValueError if no setting has a loss other than NaN, or there is none.
    """
    raise NotImplementedError


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """κ of two raters' labels of the same items, in the same order.

    - Labels may be of any hashable kind, also mixed, which can't be sorted: 1 isn't "1".
    - NaN if both gave all items one and the same label: p_e is 1.

    Raises ValueError, naming both lengths, if they differ; ValueError if there are no items.
    """
    raise NotImplementedError


def fleiss_kappa(table: np.ndarray) -> float:
    """κ of many raters; `table` (items, labels) has how many raters gave each item each label.

    - Integers, at least one item.  Every item has the same number of ratings, by whomever.
    - NaN if all ratings are one and the same label.

    Raises ValueError, naming the smallest and the largest number of ratings an item, if they
    differ; naming the number, if it is below 2.
    """
    raise NotImplementedError


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    """The strengths θ (m,), with mean 0, of maximum likelihood, for m ≥ 2 players.

    wins    (m, m), integers or floats: entry (i, j) is how often i beat j.  The diagonal is 0;
            a draw counts ½ for both

    - θ is right to 1e-6.
    - If the players fall into two sets, and nobody of the one ever beat anybody of the other, no
      finite θ is best.

    Raises ValueError in that case, also if the two sets never met.
    """
    raise NotImplementedError


def elo_ratings(
    games: Sequence[tuple[int, int, float]], players: int, k: float = 32.0, start: float = 1500.0
) -> np.ndarray:
    """The ratings (players,), float64, after all `games`, in their order; all begin with `start`.

    A game is (one, other, score): two of the numbers 0 … players - 1, and the score of the first,
    from 0 to 1.

    Raises ValueError, naming the score, if it is below 0 or above 1; naming the player, if both are
    the same.
    """
    raise NotImplementedError


def to_elo(strengths: np.ndarray, center: float = 1500.0) -> np.ndarray:
    """Bradley–Terry strengths (m,) on Elo's scale; a strength of 0 is at `center`."""
    raise NotImplementedError
