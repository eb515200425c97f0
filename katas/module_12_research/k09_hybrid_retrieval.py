"""Hybrid retrieval: words and meanings, fused and re-ranked

**Before you start.**  You need logarithms, sorting, and cosine similarity.  You import no other
kata.  If word statistics are new: Manning, Raghavan and Schütze, "Introduction to Information
Retrieval", chapters 6 and 11 (free at nlp.stanford.edu/IR-book).

**The idea.**  Somebody asks "error E4711 when saving".  A dense model knows what saving means,
but to it E4711 looks like E4712.  A search by words finds E4711 at once, but not the page that
says "can't store the file".  Each finds what the other misses.  So you run both and *fuse* their
lists.

You write the parts of a real search:

- *BM25*, the search by words that is still hard to beat, and *cosines* for vectors;
- *fusion*: by ranks, or by scores;
- *MMR*, which avoids ten copies of the same answer;
- *re-ranking*: a slow model reads question and text together, but only for the best candidates;
- *query expansion*: take the best documents of a first search, the feedback documents, and add
  their best words to the question; or ask in several wordings.

**The formulas.**  n documents, df of them hold term t; it stands tf times in the document, which
has `len` of on average `avg` terms.

    odds     (n - df + 0.5) / (df + 0.5)
    lucene   idf = ln(1 + odds)
    okapi    idf = ln(odds);  those below 0 become  ε · mean of all ln(odds)
    BM25     Σ over the terms of the query:  idf · tf (k1 + 1) / (tf + k1 (1 - b + b · len / avg))
    cosine   u · v / (|u| |v|)
    RRF      score(x) = Σ over the rankings that hold x:  w / (60 + rank)      rank from 1
    scores   Σ w · (s - min s) / (max s - min s)
    MMR      next = argmax  λ · relevance - (1 - λ) · largest similarity to one that is chosen
    expand   weight(t) = idf(t) · Σ over the feedback documents  tf / len

**A drawing**

                ┌──▶ BM25     3  7  1 ──┐
    question ───┤                       ├──▶ RRF  7  3  9  1 ──▶ cross-encoder
        │       └──▶ vectors  7  9  4 ──┘    cheap, 50           slow, best 10
        │                                        │                   │
        └◀── more words ◀────────────────────────┘                   └──▶ MMR, 5

hybrid_search is the part up to RRF; the others are yours to combine.

**Why two kinds of idf?**  Okapi's is below 0 for a term that more than half of the documents
hold.  A document would then be punished for holding a word of the question.  The library
rank-bm25 repairs that with a floor.  Lucene adds 1 inside of the logarithm, and nothing is
negative.

**Why ranks and not scores?**  BM25 gives 14.2 and a cosine 0.83.  They have no common unit.  Ranks
can be compared.  The constant 60 makes the first places count little more than the next ones, so
that an item that both find beats one that only one puts first.

**What do k1 and b do?**  k1 says how soon further occurrences of a term stop counting: with 0
only the first counts.  b says how strongly long documents are penalised: with 0 not at all.

**Worked by hand**: "the cat sat", "the dog", "the cat and the dog"

    lucene   the ln(1 + 0.5/3.5) = 0.1335    cat ln(1 + 1.5/2.5) = 0.4700    sat 0.9808
    okapi    ln(odds): the -1.9459, cat and dog -0.5108, sat and "and" 0.5108;  mean -0.3892
             the three below 0 become 0.25 · -0.3892, which is -0.0973
    BM25     query "the", third document, k1 = 1:  b = 0: 0.1335 · 2 · 2 / (2 + 1) = 0.1780
             b = 1: len / avg = 5 / (10/3) = 1.5, and 0.1335 · 2 · 2 / (2 + 1.5) = 0.1526
    RRF      3 1 2 and 1 4:  1: 1/62 + 1/61 = 0.0325,  3: 0.0164,  4: 0.0161,  2: 0.0159
    scores   2 4 3 and 0 0 10, weights 1 and 0.5:  0 1 1
    MMR      relevance 0.9 0.8 0.3, 0 and 1 are 0.9 alike, else 0.  λ = 0.5: first 0;
             then 1 has 0.40 - 0.45, 2 has 0.15 - 0: take 2
    expand   query cat, feedback "cat sat mat" and "cat mat", idf sat 1, mat 0.5:
             sat 1/3,  mat 0.5 · (1/3 + 1/2) = 0.4167: add mat first

Even the floor is below 0 here, as the mean is.  That happens in small collections.

**Shapes**: a document and a query are lists of terms where words count, strings elsewhere.  Ids
are numbers from 0, Python ints.  Scores are float64 (n,), higher is better.  Of equal scores the
smaller id comes first, unless a function says otherwise.  No function changes its arguments.

**Steps.**  A good place to pause is after score_fusion.

    idf_weights              8 min   a floor for what would be negative
    BM25                    16 min   only documents that hold a term
    cosine_scores            4 min   vectors of length 0
    top                      3 min   ties
    reciprocal_rank_fusion   8 min   ranks begin at 1
    score_fusion             7 min   scores that are all equal
    mmr                     10 min   the most similar of those chosen
    rerank                   9 min   batches, and the order of the first stage
    expand_query             8 min   words of the best documents
    hybrid_search            6 min   every wording to every retriever

Sources: Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond";
Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion outperforms Condorcet and individual
Rank Learning Methods"; Carbonell and Goldstein 1998, "The Use of MMR"; Nogueira and Cho 2019,
"Passage Re-ranking with BERT".

From scratch: rank_bm25, sklearn, scipy, faiss and sentence_transformers may not be used.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np


def idf_weights(
    document_frequency: Mapping[str, int], n: int, kind: str = "lucene", epsilon: float = 0.25
) -> dict[str, float]:
    """The idf of each term, from the number of documents that hold it: from 1 to n.

    kind      "lucene", or "okapi", which is that of rank-bm25
    epsilon   ε of okapi; its mean is over all terms, with those below 0 as they are

    There is at least one term.  Raises ValueError, naming the kind, if it is another.
    """
    raise NotImplementedError


class BM25:
    """An index of words.  `idf` is a dict of the weights of all terms in the documents."""

    def __init__(
        self, documents: Sequence[Sequence[str]], k1: float = 1.5, b: float = 0.75, kind: str = "lucene"
    ) -> None:
        """Count the terms of n documents; at least one has a term.  `kind` is that of idf_weights, with its ε.

        Documents that change afterwards have no effect.  k1 is 0 or more.

        Raises ValueError, naming b, unless it is from 0 to 1.
        """
        raise NotImplementedError

    def scores(self, query: Sequence[str]) -> np.ndarray:
        """BM25 (n,) of all documents.

        - A term that stands twice in the query counts twice.  One that no document holds adds nothing.
        - With k1 = 0, too, a document without any term of the query has 0.
        """
        raise NotImplementedError


def cosine_scores(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The cosines (n,) of the vectors (n, d) with a query (d,); 0 with a vector of zeros.  Compute in float64."""
    raise NotImplementedError


def top(scores: np.ndarray, k: int) -> list[int]:
    """The ids of the k best scores, best first; all, if there are fewer.

    Raises ValueError, naming k, if it is below 1.
    """
    raise NotImplementedError


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[int]], constant: float = 60, weights: Sequence[float] | None = None
) -> list[tuple[int, float]]:
    """Pairs (id, score) of all ids in any ranking, best first.

    rankings   lists of ids, best first, of any lengths; no id stands twice in one
    constant   what the lesson has as 60
    weights    w, one for each ranking; None: all 1

    Raises ValueError, naming both numbers, unless there are as many weights as rankings.
    """
    raise NotImplementedError


def score_fusion(scores: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """The weighted sum (n,) of one or more rows of scores (n,), each stretched to 0 … 1 first.

    Scores that are all equal say nothing, and add 0.  Weights, and the error, as in reciprocal_rank_fusion.
    """
    raise NotImplementedError


def mmr(relevance: np.ndarray, similarity: np.ndarray, k: int, trade: float = 0.5) -> list[int]:
    """Up to k ids in the order of choice, from relevance (n,) and similarity (n, n); `trade` is λ.

    At the first choice nothing is subtracted: only λ · relevance counts.

    Raises ValueError, naming trade, unless it is from 0 to 1.
    """
    raise NotImplementedError


def rerank(
    query: str,
    ids: Sequence[int],
    texts: Sequence[str],
    score: Callable[[list[tuple[str, str]]], Sequence[float]],
    k: int,
    batch_size: int = 16,
) -> list[int]:
    """The k best of the candidates `ids` (all, if there are fewer), best first, by a cross-encoder.

    texts          the text of id i is texts[i]
    score(pairs)   a score for each pair (query, text)

    - Score every candidate once, in the order of `ids`, `batch_size` pairs a call; the last call may have fewer.
    - Without candidates there is no call.
    - Of equal scores the one that stands earlier in `ids` comes first.
    """
    raise NotImplementedError


def expand_query(
    query: Sequence[str], feedback: Sequence[Sequence[str]], idf: Mapping[str, float], count: int = 3
) -> list[str]:
    """The query, and then up to `count` terms of the feedback documents with the largest weights, best first.

    - Terms of the query, and terms that aren't in `idf`, aren't added.  Those of weight 0 or below count, too.
    - Of equal weights the term that is first in sorted order comes first.
    """
    raise NotImplementedError


def hybrid_search(
    queries: Sequence[str], retrievers: Sequence[Callable[[str, int], Sequence[int]]], k: int, depth: int = 50
) -> list[int]:
    """The k best ids after reciprocal rank fusion with its defaults.

    queries      a question in one or more wordings
    retrievers   each gives a ranking for (query, depth); ask every retriever with every query, once
    """
    raise NotImplementedError
