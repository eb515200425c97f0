"""Vector search: cells, codes, and what speed costs

**Before you start.**  You need broadcasting, sorting, and the idea of k-means.  You import no
other kata.  If k-means is new, do kmeans (module 02) first, or read chapter 9.1 of Bishop,
"Pattern Recognition and Machine Learning" (free on the web).

**The idea.**  You have a million vectors and want the ten nearest to a question.  The *flat*
search measures a million distances, and it is always right.  It is also too slow, and a million
vectors of 1024 four-byte floats take 4 GB.  So you accept that some of the neighbours are missed:

- *IVF* (inverted file) groups the vectors into *cells* around centroids.  A question visits only
  the few cells whose centroids are nearest.
- *Product quantization* (PQ) makes vectors small.  It cuts each into parts, and replaces each part
  by the number of the nearest entry in a codebook, a short list of typical parts.  A part then
  takes one byte.
- *IVFPQ* does both, and *re-ranking* measures the best candidates once more, exactly.

How much you gave up is a number: the *recall*.  How much you saved is another: the distances that
you measured.  An index is a curve of both.

**The formulas.**  q is a question (a query vector), x a row, c_j a centroid, u^(m) the m-th part
of a vector u.

    distance    d(q, x) = Σ_i (q_i - x_i)²                squared, no root
    recall      number of true neighbours among those found / number of true neighbours
    cell        argmin_j d(x, c_j)
    code        code_m(x) = argmin_j d(x^(m), b_mj)       b_mj is entry j of codebook m
    decoded     x̂ = (b_1,code_1, b_2,code_2, …)
    table       T_mj = d(q^(m), b_mj)
    asymmetric  d(q, x̂) = Σ_m T_m,code_m                  q is exact, x is coded
    IVFPQ       code x - c(x), the residual;  d = d(q - c, coded residual)

**A drawing**

    IVF, 2 of 4 cells visited           PQ, 3 parts

    ┌─────────┬───────────┐            x   0.1 0.9 │ 3.0 2.1 │ 0.4 0.0
    │  · c₀·  │  ·   c₁   │                   ▼         ▼         ▼
    │    · ▓▓▓│▓▓▓▓▓  ·   │          book 0 ┌──┐    1 ┌──┐    2 ┌──┐
    ├──────▓▓─┼─▓▓▓───────┤                 │░░│      │  │      │  │
    │   c₂    │ q ▓▓ c₃   │                 │  │      │  │      │░░│
    │  ·   ·  │  ·    ·   │                 │  │      │░░│      │  │
    └─────────┴───────────┘                 └──┘      └──┘      └──┘
    q is in the cell of c₃.               code   0         2         1
    Its nearest row may be beyond
    a border: visit more cells

**Why is a small code so rich?**  With 8 parts of 256 entries each, you store 8 · 256 entries. But
each part is chosen freely: 256⁸ different vectors can be written with 8 bytes.

**Why code the residual?**  Rows of one cell share their centroid.  What is left is small, and
spread alike in all cells.  One set of codebooks then describes it more finely.

**Why keep the question exact?**  Coding it as well would save nothing: the table costs as much as
`codes` whole distances for each question, and after that a row costs one addition a part.  It
would only add a second error.

**Worked by hand**: rows (0, 0) (2, 0) (0, 2) (6, 6) (8, 6), the question (5, 4)

    flat        distances 41 25 29 5 13;  the 3 nearest: rows 3 4 1
    IVF         centroids (1, 0) and (7, 6):  cells  0 1 2 | 3 4.   d(q, c) = 32 and 8
                1 probe:   rows 3 4 and none:  5 13 inf, ids 3 4 -1.   2 + 2 distances measured
                2 probes:  5 13 25, ids 3 4 1.   2 + 5 distances measured
    recall      of 3 neighbours with 1 probe: 2/3
    PQ          2 parts, books  0 2 7  and  0 2 6.   (6, 6) and (8, 6) have the code 2 2,
                which is decoded to (7, 6)
    table       25 9 4  and  16 4 4
    asymmetric  to the code 2 2:  4 + 4 = 8.   Exact: 5 and 13
    residuals   of (8, 6) in its cell: (1, 0)

**Shapes**: base (n, d), queries (q, d) with q ≥ 1, of any integer or float type; compute in
float64. Distances are float64, ids int64, both (q, k), nearest first.  Of equal distances, or
equal inner products, the smaller id (or cell, or code) comes first.  No function changes its
arguments, and an index isn't changed by what happens to an array after it was given.

**Steps.**  A good place to pause is after IVF.

    flat_search        8 min   the truth for all the others
    recall             4 min   sets, not positions
    kmeans            10 min   empty cells
    IVF               18 min   lists, probes, and too few candidates
    train_codebooks    5 min   k-means on each part
    ProductQuantizer  20 min   a table for each question
    IVFPQ             14 min   residuals
    rerank             5 min   exact again
    recall_curve       4 min   recall against speed

Sources: Jégou, Douze and Schmid 2011, "Product Quantization for Nearest Neighbor Search";
Johnson, Douze and Jégou 2017, "Billion-scale similarity search with GPUs" (faiss).

From scratch: faiss, sklearn and scipy may not be used.
"""

from collections.abc import Sequence

import numpy as np


def flat_search(base: np.ndarray, queries: np.ndarray, k: int, metric: str = "l2") -> tuple[np.ndarray, np.ndarray]:
    """(scores, ids) of the k best rows for each question.

    metric   "l2": the lesson's squared distances, smallest first;  "ip": inner products, largest first

    Raises ValueError, naming k and n, unless 1 ≤ k ≤ n.  Raises ValueError, naming the metric, if it is another.
    """
    raise NotImplementedError


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """The share of the true neighbours that were found, a Python float.

    found   (q, j) ids in any order; -1 stands for none
    truth   (q, k) ids, all at least 0.  j may be smaller or larger than k.  No id stands twice in a row
    """
    raise NotImplementedError


def kmeans(x: np.ndarray, k: int, rng: np.random.Generator, steps: int = 20) -> np.ndarray:
    """Centroids (k, d) of the rows x (n, d), float64.

    Start with the rows at k different places, drawn at random: every choice is equally likely.  Then, `steps` times: give
    each row to its nearest centroid, and move each centroid to the mean of its rows.  One without rows stays where it
    is.  You may stop early once nothing changes.

    Raises ValueError, naming k and n, unless 1 ≤ k ≤ n.
    """
    raise NotImplementedError


class IVF:
    """Rows in cells.

    centroids   (cells, d), as given, float64
    lists       for each cell the ids of its rows: a list of int64 arrays, each rising
    """

    def __init__(self, centroids: np.ndarray) -> None:
        """An index without rows."""
        raise NotImplementedError

    def add(self, x: np.ndarray) -> None:
        """Put n ≥ 1 rows (n, d) into their cells.  Ids count on: the first row ever is 0."""
        raise NotImplementedError

    def search(self, queries: np.ndarray, k: int, probes: int = 1) -> tuple[np.ndarray, np.ndarray, int]:
        """(distances, ids, computed): the k ≥ 1 nearest rows among the `probes` cells nearest to each question.

        - Where these cells hold fewer than k rows, fill up with inf and -1.
        - computed is the number of distances measured for all questions together: those to all centroids, and those to
          the rows of the cells that are visited.

        Raises ValueError, naming probes and the number of cells, unless 1 ≤ probes ≤ cells.
        """
        raise NotImplementedError


def train_codebooks(x: np.ndarray, parts: int, codes: int, rng: np.random.Generator, steps: int = 20) -> np.ndarray:
    """Codebooks (parts, codes, d / parts): for each part of the columns, from left to right, k-means of its own.

    Raises ValueError, naming d and parts, if `parts` doesn't divide d.  Raises what `kmeans` raises.
    """
    raise NotImplementedError


class ProductQuantizer:
    """Vectors of d = parts · width numbers as codes of one byte a part.

    codebooks   (parts, codes, width), as given, float64
    """

    def __init__(self, codebooks: np.ndarray) -> None:
        """Raises ValueError, naming the number of codes, if it is above 256."""
        raise NotImplementedError

    def encode(self, x: np.ndarray) -> np.ndarray:
        """The codes of rows x (n, d), n ≥ 0: uint8 (n, parts).

        Raises ValueError, naming d and the number of columns of x, if they differ.
        """
        raise NotImplementedError

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The vectors (n, d) that the codes (n, parts) stand for, float64; n ≥ 0."""
        raise NotImplementedError

    def tables(self, queries: np.ndarray) -> np.ndarray:
        """The tables T (q, parts, codes) of the questions.  Raises as `encode` does."""
        raise NotImplementedError

    def search(self, queries: np.ndarray, codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(distances, ids), asymmetric: the k rows of the codes (n, parts) that are nearest to each question.

        Raises ValueError, naming k and n, unless 1 ≤ k ≤ n.
        """
        raise NotImplementedError


class IVFPQ:
    """Cells of codes.  `centroids` and `lists` are those of IVF; `quantizer` is kept as given.

    It stores codes of residuals, not the rows.  Deriving it from your IVF is one way.
    """

    def __init__(self, centroids: np.ndarray, quantizer: ProductQuantizer) -> None:
        """An index without rows; the quantizer codes residuals."""
        raise NotImplementedError

    def add(self, x: np.ndarray) -> None:
        """As IVF's."""
        raise NotImplementedError

    def search(self, queries: np.ndarray, k: int, probes: int = 1) -> tuple[np.ndarray, np.ndarray, int]:
        """As IVF's, but with asymmetric distances to coded residuals.  A row whose distance is looked up counts as one."""
        raise NotImplementedError


def rerank(base: np.ndarray, queries: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(distances, ids): the k ≥ 1 nearest of the candidates ids (q, m), by exact distances.

    -1 among the candidates is none.  Where fewer than k are left, fill up with inf and -1.
    """
    raise NotImplementedError


def recall_curve(index: IVF | IVFPQ, queries: np.ndarray, truth: np.ndarray, probes: Sequence[int]) -> np.ndarray:
    """For each number of probes a row (distances computed for each question, on average; recall), float64.

    truth (q, k) holds the true neighbours; as many are searched.
    """
    raise NotImplementedError
