"""word2vec

**Before you start.**  You need the sigmoid (logistic_regression) and gradients (derivatives); no
other kata.  Word vectors are new to you?  Read Jurafsky and Martin, "Speech and Language
Processing", the chapter on embeddings, free at web.stanford.edu/~jurafsky/slp3.

**The idea.**  You know a word by the company it keeps: words that stand among the same neighbours
mean similar things.  word2vec turns that into a task.  *Skip-gram*: from a word, guess each of its
neighbours.  *CBOW*: from all the neighbours, guess the word.  Nobody needs the guesses.  But to
make them, words with similar neighbours must get similar vectors.

A softmax over v words costs v dot products for every guess.  *Negative sampling* asks an easier
question: is this the true neighbour, or one of k words drawn at random?  That costs 1 + k.

    the  quick  [brown]  fox  jumps         window 2 around the center "brown"
     ▲     ▲       │      ▲     ▲
     └─────┴───────┴──────┴─────┘           skip-gram: 4 pairs (brown, the) …

     │     │       ▲      │     │
     └─────┴─mean─▶┴◀mean─┴─────┘           CBOW: 1 example

**The formulas.**  Each word has two vectors: a row of `inputs` V as what is given, a row of
`outputs` U as what is guessed.  σ is the sigmoid, f a word's share of all tokens:

    keep        P(a token is kept) = min(1, √(threshold/f))
    noise       P(w) = count(w)^¾ / ∑ count^¾
    score       s = U[w]·h      h = V[center], or for CBOW the mean of V over the neighbours
    loss        ∑ over examples:  -log σ(s) of the true word - ∑ log σ(-s) of its k negatives
    gradient    ∂s = σ(s) - 1 of the true word, σ(s) of a negative
                ∂U[w] = ∑ ∂s · h        ∂h = ∑ ∂s · U[w]
    SGD         step t of T, t = 0 … T - 1, has η = η₀ (1 - t/T)

**Why drop frequent words?**  "the" stands beside everything, so it says little about its
neighbours, and it takes much of the time.  Where it is dropped, the window reaches farther, too.

**Why ¾?**  It was found by trying: better than 1, where frequent words are nearly all the noise,
and than 0, where all are equal.  A word of share 0.9 falls to 0.9^¾ = 0.92 in weight, one of 0.01
rises to 0.03.

**Why two vectors for a word?**  A word seldom stands beside itself.  With one vector its score with
itself would be s = V[w]·V[w], which is never negative.  Training starts with small random V and
U = 0.  With both 0, every gradient would be 0.

**Worked by hand**:

    counts 81, 10, 9, threshold 0.09:   keep 1/3, √0.9 = 0.949, 1
    counts 16, 1, 0:                    noise 8/9, 1/9, 0
    sentence 5 3 9, window 1:           pairs (5, 3), (3, 5), (3, 9), (9, 3)
                                        CBOW [3 -1] → 5, [5 9] → 3, [3 -1] → 9
    V[center] = [1 2], U[true] = [0 0], one negative with U = [2 -1]:
        both scores are 0, so σ is ½ and the loss 2 log 2 = 1.386
        ∂U[true] = [-½ -1]    ∂U[negative] = [½ 1]    ∂V[center] = ½ [2 -1] = [1 -½]

**Shapes.**  Words are ids 0 … v - 1, sentences lists of ids, `inputs` and `outputs` (v, d) float64,
counts (v,).  No function changes its arguments.  The two with gradients don't loop over examples
in Python.

**Steps.**  A good place to pause is after skipgram_loss_and_gradients.

    keep_probabilities           4 min   a word that never occurs
    subsample                    4 min   one draw a token
    skipgram_pairs              10 min   the ends of a sentence
    negative_distribution        3 min   0⁰ is 1
    draw_negatives               8 min   draw again what hits the true word
    skipgram_loss_and_gradients 15 min   words come several times
    cbow_windows                 6 min   filled up with -1
    cbow_loss_and_gradients     12 min   a mean, and its gradient
    train                       12 min   shuffle, cut, step

Sources: Mikolov et al. 2013, "Efficient Estimation of Word Representations in Vector Space";
Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their
Compositionality", section 2.

From scratch: gensim, torch, tensorflow, jax, autograd, sklearn and scipy may not be used.
"""

import numpy as np


def keep_probabilities(counts: np.ndarray, threshold: float) -> np.ndarray:
    """The probability (v,) that a token of each word is kept, from the words' `counts`, integers.

    Some count and the threshold are above 0.  A word that never occurs has 1.
    """
    raise NotImplementedError


def subsample(sentences: list[list[int]], keep: np.ndarray, rng: np.random.Generator) -> list[list[int]]:
    """The sentences without the tokens that are dropped, in their order.

    Each token is kept with its word's probability in `keep` (v,), whatever happens to the others.
    A sentence may become empty, and stays in its place.
    """
    raise NotImplementedError


def skipgram_pairs(
    sentences: list[list[int]], window: int, rng: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(centers, contexts), integers (n,) each: each token with each neighbour of its own sentence.

    - Neighbours are at most `window` tokens away, on either side.
    - With an `rng`, each center draws a reach of its own, uniform from 1 … window, for both sides:
      near neighbours count for more.
    - The order is that of the sentences, in them of the centers, and for each the neighbours from
      left to right.  n may be 0.

    Raises ValueError, naming it, if the window is below 1.
    """
    raise NotImplementedError


def negative_distribution(counts: np.ndarray, power: float = 0.75) -> np.ndarray:
    """The noise (v,): shares in proportion to count^power, of integers `counts`, not all 0.

    A word that never occurs has 0, whatever the power ≥ 0.
    """
    raise NotImplementedError


def draw_negatives(probabilities: np.ndarray, positives: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k words for each of the true words `positives` (n,): integers (n, k).

    - Drawn with replacement by `probabilities` (v,), independently.
    - Never the true word of the same row: what hits it is drawn again.

    Raises ValueError, naming one such true word, if no other word can be drawn for it.
    """
    raise NotImplementedError


def skipgram_loss_and_gradients(
    inputs: np.ndarray, outputs: np.ndarray, centers: np.ndarray, contexts: np.ndarray, negatives: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """(loss, ∂V, ∂U) of the n ≥ 1 pairs `centers` (n,) and `contexts` (n,), with `negatives` (n, k).

    - The loss is the *sum* over the pairs, so each counts the same in a batch of any size.
    - A word may come several times, and a negative may be the center.
    - Right for scores of any size, ±1e3 included.
    """
    raise NotImplementedError


def cbow_windows(sentences: list[list[int]], window: int) -> tuple[np.ndarray, np.ndarray]:
    """(contexts, centers), integers (n, 2·window) and (n,): each token behind its neighbours.

    - Neighbours are those of skipgram_pairs without an `rng`, from left to right, then -1s to fill
      up the row.
    - A token without neighbours is left out.  n may be 0.

    Raises ValueError, naming it, if the window is below 1.
    """
    raise NotImplementedError


def cbow_loss_and_gradients(
    inputs: np.ndarray, outputs: np.ndarray, contexts: np.ndarray, centers: np.ndarray, negatives: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """(loss, ∂V, ∂U) for guessing `centers` (n,) from the rows of `contexts` (n, m), with `negatives` (n, k).

    - A -1, wherever it stands, is no word.  Each row has a word.
    - A word that stands twice in a row counts twice in the mean.
    - Sum, repeats and large scores as in skipgram_loss_and_gradients.
    """
    raise NotImplementedError


def train(
    inputs: np.ndarray,
    outputs: np.ndarray,
    given: np.ndarray,
    targets: np.ndarray,
    probabilities: np.ndarray,
    k: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, outputs) after mini-batch SGD on the n ≥ 1 examples, from the vectors that are given.

    given     (n,): skip-gram's centers; or (n, m): CBOW's contexts
    targets   (n,): what is guessed from them, skip-gram's contexts or CBOW's centers

    - Each epoch draws a new random order, by `rng`, and cuts it into batches of `batch_size`.  The
      last one may be smaller.
    - Each batch draws new negatives, k an example, by `probabilities`.
    - A step takes away η times the gradient of the batch's loss, a sum.
    - T counts the batches of all epochs; η falls from η₀ = learning_rate over all of them.
    """
    raise NotImplementedError
