"""GloVe and analogies

**Before you start.**  You need logarithms of probabilities (information), the singular value
decomposition (svd_and_pca) and gradients (gradient_descent).  Word vectors are new to you?  Read
the chapter on embeddings in Jurafsky and Martin, "Speech and Language Processing", 3rd edition,
free at web.stanford.edu/~jurafsky/slp3.

**The idea.**  You shall know a word by the company it keeps: "beer" and "wine" stand beside the
same words.  So count for each word which words stand near it, and squeeze these counts into short
vectors.  Words that are used alike get vectors that point alike.

- *PPMI* asks how much more often two words meet than by chance; an SVD makes its rows short.
- *GloVe* learns vectors whose dot products are the logarithms of the counts.
- *Analogies* and *human judgements of similarity* test what the vectors know.

**The formulas**, for counts X, that sum to T:

    co-occurrence   X_wc = ∑ 1/distance, over the places where w and c stand near each other
    PMI             ln p(w, c)/(p(w) p(c))     p(w, c) = X_wc/T; p(w), p(c): its row's, column's sum
    PPMI            max(0, PMI - ln shift)        smoothed: p(c) ∝ (its column's sum)^power
    SVD             matrix = U S Vᵀ; vectors: the first dim columns of U, times s^power
    GloVe           J = ∑ f(X_wc) (w·c + b_w + d_c - ln X_wc)²        over X_wc > 0
                    f(x) = (x/x_max)^α for x < x_max, else 1
    AdaGrad         G ← G + g²        θ ← θ - rate · g/√G        G begins at 1, g: the gradient
    cosine          cos(u, v) = u·v/(‖u‖ ‖v‖)
    3CosAdd         a is to b as c is to: argmax cos(x, b) - cos(x, a) + cos(x, c)
    3CosMul         argmax s(x, b) s(x, c)/(s(x, a) + 0.001)        s = (cos + 1)/2
    Spearman        the correlation of the ranks; equal values share the mean of their ranks

            woman ●────────────────▶● queen
                  ▲                 ▲
                  │                 ╎       the step from a to b,
                  │                 ╎       taken from c
              man ●────────────────▶● king
               a                    c

**Why PMI and not the counts?**  "the" meets every word often.  PMI divides that away: it is 0 for
words that meet as often as chance has it.  PMI of rare pairs is unreliable, and -∞ for those never
seen, so it is cut at 0.

**Why f?**  Rare counts are noise, so they weigh little.  And without a cap the pairs with "the"
would be nearly all of the loss.

**Why leave out a, b and c?**  The best x is otherwise nearly always b or c itself.

**Worked by hand**, one sentence a b c a, window 2:

    a b, b c, c a are neighbours: 1 each; a . c and b . a have distance 2: ½ each
    X: ab 1.5, bc 1, ca 1.5, and the same mirrored; aa 0, for 3 is beyond the window; T = 8
    PMI      ab: ln (1.5 · 8)/(3 · 2.5) = ln 1.6        bc: ln (1 · 8)/(2.5 · 2.5) = ln 1.28
    GloVe    w = [1 0], c = [2 1], b = 0.5, d = -0.5, X = 1, x_max = 1:
             f = 1, error 2 + 0.5 - 0.5 - ln 1 = 2, J = 4; gradient of w: 2 · 1 · 2 · c = [8 4]
    3CosAdd  man [1 0 0], woman [0 1 0], king [1 0 1], x = queen [0 1 1]: 0.707 - 0 + 0.5 = 1.207
    ranks    10 20 20 5 → 2 3.5 3.5 1; with 1 2 3 4 Spearman is -1.5/√(4.5 · 5) = -0.316

**Shapes**: counts (v, m), words by contexts, m = v or not, ≥ 0; vectors (v, k).  Words are numbers
from 0.  Vectors and counts may be float32 or integers: all is computed in float64.  No function
changes its arguments.

**Steps.**  A good place to pause is after train_glove.

    cooccurrences        9 min   both directions, and sentence ends
    ppmi                 8 min   zeros
    svd_vectors          6 min   signs
    glove_weight         2 min   one line
    glove_loss           5 min   no ln 0
    glove_gradients      8 min   one matrix, four answers
    train_glove          9 min   AdaGrad
    nearest_words        7 min   cosines, ties
    analogy              8 min   two methods
    average_ranks        6 min   ties
    spearman             4 min   no spread
    evaluate_similarity  6 min   unknown words

Sources: Pennington, Socher and Manning 2014, "GloVe: Global Vectors for Word Representation"; Levy
and Goldberg 2014, "Linguistic Regularities in Sparse and Explicit Word Representations" (3CosMul);
Levy, Goldberg and Dagan 2015, "Improving Distributional Similarity with Lessons Learned from Word
Embeddings" (shift, smoothing, power); Hill, Reichart and Korhonen 2015, "SimLex-999".

From scratch: scipy, sklearn, torch, pandas and gensim may not be used; np.linalg.svd may.
"""

from collections.abc import Collection, Sequence

import numpy as np

Parameters = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""GloVe's words (v, k), contexts (m, k), word biases b (v,) and context biases d (m,)."""


def cooccurrences(
    sentences: Sequence[Sequence[int]], size: int, window: int, weighting: str = "harmonic"
) -> np.ndarray:
    """X, (size, size), for words 0 … size - 1.

    - Two places of the same sentence count if their distance is from 1 to `window`: neighbours
      have distance 1.  They add 1/distance if `weighting` is "harmonic", 1 if it is "flat".
    - They add it in both directions, to X[w, c] and to X[c, w].  So if both hold the same word, its
      place on the diagonal gets it twice.

    Raises ValueError, naming the weighting, if it is another, and naming the window, if it is below 1.
    """
    raise NotImplementedError


def ppmi(counts: np.ndarray, power: float = 1.0, shift: float = 1.0) -> np.ndarray:
    """The lesson's PPMI of `counts` (v, m), with at least one above 0: (v, m).

    - A count of 0 gives 0; so do rows and columns of zeros, without NaN.
    - `power` is above 0.  It smooths the contexts alone, not the words.
    - `shift` is above 0; below 1 it adds to the PMI, but a count of 0 still gives 0.
    """
    raise NotImplementedError


def svd_vectors(matrix: np.ndarray, dim: int, power: float = 0.5) -> np.ndarray:
    """The lesson's vectors of the rows of `matrix` (v, m): (v, dim), the largest singular value first.

    An SVD leaves the sign of each column free.  Choose it so that the number with the largest absolute
    value in the column is positive.

    Raises ValueError, naming dim, unless 1 ≤ dim ≤ min(v, m).
    """
    raise NotImplementedError


def glove_weight(counts: np.ndarray, x_max: float = 100.0, alpha: float = 0.75) -> np.ndarray:
    """f of each count, of any shape."""
    raise NotImplementedError


def glove_loss(parameters: Parameters, counts: np.ndarray, x_max: float = 100.0, alpha: float = 0.75) -> float:
    """J, a sum and no mean, without the factor ½ that some programs have.

    What is at a count of 0 doesn't matter.
    """
    raise NotImplementedError


def glove_gradients(
    parameters: Parameters, counts: np.ndarray, x_max: float = 100.0, alpha: float = 0.75
) -> Parameters:
    """The gradients of J by the four parameters, each of its shape."""
    raise NotImplementedError


def train_glove(
    counts: np.ndarray,
    dim: int,
    epochs: int,
    rate: float,
    rng: np.random.Generator,
    x_max: float = 100.0,
    alpha: float = 0.75,
) -> Parameters:
    """Learn the parameters, with k = `dim`, by AdaGrad.  The paper's vectors are words + contexts.

    - At first all four are drawn by `rng`, in any order, uniform between -0.5/dim and 0.5/dim.  With
      0 epochs that is the answer.  Equal generators give equal parameters.
    - An epoch is one step on all counts.  All four gradients are taken first, then each parameter
      makes its step.  Each number of a parameter has its own G.
    """
    raise NotImplementedError


def nearest_words(
    vectors: np.ndarray, query: np.ndarray, k: int, exclude: Collection[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """(words, cosines), each (k,): the k words whose vectors have the largest cosine with `query` (dim,).

    - The largest first; of equal cosines the smaller number comes first.
    - Words in `exclude`, numbers from 0 to v - 1, are left out.
    - A vector of zeros has cosine 0 with everything, here and below.

    Raises ValueError, naming k, unless it is from 1 to the number of words that aren't excluded.
    """
    raise NotImplementedError


def analogy(vectors: np.ndarray, a: int, b: int, c: int, method: str = "add") -> int:
    """The word that is to c as b is to a, by 3CosAdd ("add") or 3CosMul ("mul"); never a, b or c.

    There are other words.  Of equally good ones the one with the smaller number.
    Raises ValueError, naming the method, if it is another.
    """
    raise NotImplementedError


def average_ranks(x: np.ndarray) -> np.ndarray:
    """The ranks of the numbers `x` (n,) from 1, the smallest, to n; equal numbers share their mean rank."""
    raise NotImplementedError


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation of `x` (n,) and `y` (n,).

    It is NaN if all of x or all of y are equal.
    Raises ValueError, naming both lengths, if they differ.
    """
    raise NotImplementedError


def evaluate_similarity(
    words: Sequence[str], vectors: np.ndarray, pairs: Sequence[tuple[str, str]], scores: Sequence[float]
) -> tuple[float, int]:
    """(Spearman, pairs used): how well cosines agree with people's `scores`, one a pair.

    - Row i of `vectors` is that of words[i].
    - A pair with a word that isn't in `words` is left out.  At least one pair stays.
    """
    raise NotImplementedError
