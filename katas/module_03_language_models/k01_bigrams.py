"""Bigrams

**Before you start.**  You need numpy's indexing, logarithms (information), and gradients
(gradient_descent).  Would you rather watch first?  Karpathy, "The spelled-out intro to language
modeling: building makemore", on YouTube, builds this model.

**The idea.**  A language model says what comes next: that is all that a chatbot's does, too.  The
smallest one looks at a single letter and guesses the one after it.  You build it twice:

- By *counting*: how often does b follow a?  Divide each row of counts by its sum.
- By *learning*: start with a table of zeros, and follow the gradient of the loss.

Both end at the same probabilities.  Counting works for tables only, learning for any network.

A word begins and ends with the boundary `.`, so the model also knows how words start and stop:

    ab   . → a → b → .               next:   .   a   b
     b   . → b → .                         ┌───┬───┬───┐
                                  after .  │ 0 │ 1 │ 1 │
    three pairs and two pairs           a  │ 0 │ 0 │ 1 │
                                        b  │ 2 │ 0 │ 0 │
                                           └───┴───┴───┘

**The formulas**, with counts Cᵢⱼ of the pairs "j after i", V characters, N pairs (x, y), logits W:

    smoothed      Pᵢⱼ = (Cᵢⱼ + k) / ∑ₗ (Cᵢₗ + k)                       adds k to each count
    loss          NLL = -1/N ∑ ln P(y | x)                             in nats per pair
    softmax       Pᵢⱼ = exp Wᵢⱼ / ∑ₗ exp Wᵢₗ
    learned       L = NLL + decay · ∑ᵢⱼ Wᵢⱼ²
    gradient      ∂L/∂Wᵢⱼ = 1/N · (nᵢ Pᵢⱼ - Cᵢⱼ) + 2 · decay · Wᵢⱼ      nᵢ = ∑ₗ Cᵢₗ

**Why does learning end at the counts?**  Without decay the gradient is 0 where nᵢ Pᵢⱼ = Cᵢⱼ, so
Pᵢⱼ = Cᵢⱼ/nᵢ.  The loss is convex in W, so it has no other valley.  A count of 0 needs W = -∞: the
loss only comes near.

**Why smooth?**  One unseen pair has probability 0, and the loss of a whole text is ∞.  Adding k
takes a little from the seen pairs.  Decay does much the same: it pulls W to 0, which is uniform.

**Worked by hand**, with the words ab and b:

    pairs  .a ab b. .b b.        P(. row) = [0 ½ ½], P(a row) = [0 0 1], P(b row) = [1 0 0]
    NLL = (ln 2 + 0 + 0 + ln 2 + 0)/5 = 0.2773
    k = 1:  [1 2 2]/5, [1 1 2]/4, [3 1 1]/5
    W = 0:  L = ln 3 = 1.0986, and the gradient's first row is (2 · ⅓ - [0 1 1])/5 = [2 -1 -1]/15

**Shapes**: pairs (N,) and (N,), tables (V, V).  Losses are numbers.  No function changes its
arguments.

**Steps.**

    vocabulary         4 min   the boundary comes first
    bigram_pairs       7 min   one pair more than letters
    count_matrix       4 min   a pair that occurs twice counts twice
    probabilities      6 min   rows that sum to 0
    mean_nll           4 min   one line of indexing
    sample_words      10 min   a walk that ends at the boundary
    loss_and_gradient 15 min   the hard one: softmax that doesn't overflow, then the formula
    train              4 min   plain gradient descent

Source: Jurafsky and Martin, "Speech and Language Processing", 3rd edition draft, chapter "N-gram
Language Models", free at web.stanford.edu/~jurafsky/slp3.

From scratch: numpy only; torch, scipy and sklearn may not be used.
"""

import numpy as np

BOUNDARY = "."


def vocabulary(words: list[str]) -> list[str]:
    """All characters of `words`, each once: the boundary first, then the others in sorted order.

    Raises ValueError, naming the word, if one contains the boundary.
    """
    raise NotImplementedError


def bigram_pairs(words: list[str], vocab: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(first, second), integers (N,): places in `vocab` of every pair of neighbours, in order.

    - A word of n characters has n + 1 pairs.  An empty one has one: boundary, boundary.
    - Pairs never reach from one word into the next.
    - Without words, both are empty, and still integers.
    - `vocab` has the boundary first, which no word contains, and may have more characters than
      `words`, in any order.

    Raises ValueError, naming the character, if one isn't in `vocab`.
    """
    raise NotImplementedError


def count_matrix(first: np.ndarray, second: np.ndarray, size: int) -> np.ndarray:
    """Integers (size, size): entry (i, j) is how often j follows i among the pairs."""
    raise NotImplementedError


def probabilities(counts: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
    """The lesson's P with k = `smoothing`: float64 (V, V), each row sums to 1.

    A row of zeros, with smoothing 0, is uniform: nothing is known about it.

    Raises ValueError, naming its value, if `smoothing` is negative.
    """
    raise NotImplementedError


def mean_nll(table: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """NLL of the pairs under the probabilities `table` (V, V), in nats; ∞ if a pair has probability 0.

    Raises ValueError if there are no pairs.
    """
    raise NotImplementedError


def sample_words(
    table: np.ndarray, vocab: list[str], count: int, rng: np.random.Generator, limit: int = 30
) -> list[str]:
    """`count` words, each a walk that starts at the boundary and draws each next character by its row.

    - A word ends when the boundary is drawn, or once it has `limit` characters, limit ≥ 1.
    - The boundary isn't part of it.  A word may be empty.
    - `rng` makes all draws, in any way: equal generators give equal words.
    """
    raise NotImplementedError


def loss_and_gradient(
    logits: np.ndarray, first: np.ndarray, second: np.ndarray, decay: float = 0.0
) -> tuple[float, np.ndarray]:
    """(L, ∂L/∂W) of the lesson at W = `logits` (V, V), float64: a number and (V, V).

    - Logits may be as large as ±1e4, without overflow.  ln P is exact there, too: don't take
      the logarithm of a probability that has become 0.
    - A row without pairs has only the gradient of the decay.

    Raises ValueError if there are no pairs.
    """
    raise NotImplementedError


def train(first: np.ndarray, second: np.ndarray, size: int, steps: int, rate: float, decay: float = 0.0) -> np.ndarray:
    """The logits (size, size), float64, after `steps` ≥ 0 steps W ← W - rate · ∂L/∂W from W = 0.

    Every step uses all pairs, at least one.  There is no momentum, and the rate stays the same.
    """
    raise NotImplementedError
