"""Deduplication

Crawled text repeats itself: mirrors, licences, news with a changed date.  A
model that sees a page a hundred times learns it by heart, and a copy of the
test set in the training set makes every figure a lie.  Exact copies are found
by a hash.  For near copies, compare the sets of shingles (runs of n words):

    J(A, B) = |A ∩ B| / |A ∪ B|           the Jaccard similarity

Comparing all pairs of 10⁹ pages is out of reach, so two tricks are stacked.

**MinHash.**  Give every shingle a random number h(x) and keep the smallest of a
set.  The smallest of A ∪ B is equally likely to be any of its members, and the
two minima are equal exactly when it lies in A ∩ B, so

    P[min h(A) = min h(B)] = J(A, B)

k independent h's give a signature of k numbers.  The share of places where two
signatures agree estimates J with standard deviation √(J(1-J)/k), whatever the
length of the texts.

**Bands.**  Cut the signature into b bands of r rows.  Two texts are candidates
if all r rows of at least one band agree, which a dictionary finds without
comparing pairs.  The chance of that is an S-curve in the similarity s:

    P[candidate] = 1 - (1 - sʳ)ᵇ          steepest near s = (1/b)^(1/r)

Candidates are checked by their true J, and whatever is connected through pairs
is one cluster, of which one member stays.

Worked by hand, n = 2:

    "the cat sat down"   {the cat, cat sat, sat down}
    "the cat sat up"     {the cat, cat sat, sat up}      J = 2 / 4 = 0.5
    b = 20, r = 5, s = 0.8:  1 - (1 - 0.8⁵)²⁰ = 1 - 0.67232²⁰ = 0.99964

No function changes its arguments.

Sources: Broder 1997, "On the resemblance and containment of documents";
Leskovec, Rajaraman and Ullman 2020, "Mining of Massive Datasets", sections 3.3
and 3.4; Lee et al. 2022, "Deduplicating Training Data Makes Language Models
Better".

From scratch: numpy and the standard library are enough; scipy may not be used.
"""

from collections.abc import Iterable, Sequence

import numpy as np


def exact_duplicates(texts: Sequence[str]) -> list[int]:
    """The indices of the texts to drop: each that equals an earlier one, in rising order.

    Two texts are equal if they have the same words in the same order: case and
    the amount of white space between, before and after the words don't count.
    """
    raise NotImplementedError


def shingles(text: str, n: int) -> set[str]:
    """The runs of `n` words of `text`, lower-case, each joined by single spaces.

    Words are what white space separates.  A text of 1 to n - 1 words has one
    shingle, all of it; a text without words has none.
    """
    raise NotImplementedError


def jaccard(a: set[str], b: set[str]) -> float:
    """|a ∩ b| / |a ∪ b|; 1.0 for two empty sets."""
    raise NotImplementedError


def minhash(items: set[str], hashes: int, seed: int) -> np.ndarray:
    """The signature of a set: for each of `hashes` random functions, its smallest value over `items`.

    uint64, (hashes,).  It depends on the members, `hashes` and `seed` alone: not on
    the set's order, and not on the process (Python's own hash of a string does).
    The functions are independent of each other, and another seed gives others.

    Raises ValueError, saying that the set is empty, where it is.
    """
    raise NotImplementedError


def candidate_pairs(signatures: np.ndarray, bands: int) -> set[tuple[int, int]]:
    """Pairs (i, j), i < j, of rows of `signatures` (n, k) that agree in a whole band.

    Band 0 is the first k / bands columns, band 1 the next, and so on.  The work
    grows with n and with the number of pairs found, not with n².

    Raises ValueError, naming k and `bands`, if k isn't a multiple of `bands`.
    """
    raise NotImplementedError


def match_probability(similarity: float, bands: int, rows: int) -> float:
    """The chance that two sets of that Jaccard similarity become candidates, `rows` rows a band."""
    raise NotImplementedError


def clusters(n: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The connected groups of 0 … n - 1 under `pairs`; a number without a pair is a group of its own.

    Each group in rising order, the groups by their first member.
    """
    raise NotImplementedError


def deduplicate(
    texts: Sequence[str],
    threshold: float,
    n: int = 3,
    hashes: int = 128,
    bands: int = 32,
    seed: int = 0,
) -> list[int]:
    """The indices of the texts to keep, in rising order: the first of each cluster of near copies.

    Texts whose signatures (of their shingles of `n` words) are candidates and
    whose true Jaccard similarity is at least `threshold` are copies of each
    other.  Texts without words are all kept.
    """
    raise NotImplementedError
