"""Deduplication

**Before you start.**  You need sets, hash functions and a little probability, no other kata.
New to you?  Read chapter 3 of "Mining of Massive Datasets" (free at mmds.org).

**The idea.**  A model learns by heart what it sees too often, and a copy of the test set in the
training set makes every figure a lie.  For near copies, compare the sets of shingles, which are
runs of n words.  All pairs of 10⁹ pages are too many, so:

*MinHash* makes a short signature of each set; the more alike two sets, the more places agree.
*Bands* find signatures that may be alike: cut them into b bands of r rows, and look each band up
in a dictionary.

                 band 0      band 1      band 2
    text A     3  1  4  │  1  5  9  │  2  6  5
    text B     3  1  4  │  7  5  9  │  2  0  5
                agrees      no          no         one is enough: candidates

Check the candidates by their true similarity.  What such pairs connect is a cluster; one member
of it stays.

**The formula.**  For sets A and B, and a random function h that gives every shingle a number:

    J(A, B) = |A ∩ B| / |A ∪ B|                 the Jaccard similarity
    P[min h(A) = min h(B)] = J(A, B)            k functions estimate it to ±√(J(1-J)/k)
    P[candidate] = 1 - (1 - sʳ)ᵇ                for similarity s; steepest near (1/b)^(1/r)

With b 20 and r 5 this is an S:

    s      │  .2     .3     .4     .5     .6     .7     .8
    P      │ .006   .047   .186   .470   .802   .975  1.000
           │                ▁      ▄      ▆      █      █

**Why are the minima equal with probability J?**  Any member of A ∪ B is equally likely to be its
smallest.  The two minima are equal exactly when that one lies in A ∩ B.

**Why several bands?**  A long band seldom agrees by chance, but misses copies.  Many bands give
each copy many chances.

**Worked by hand**, n = 2:

    "the cat sat down"   {the cat, cat sat, sat down}
    "the cat sat up"     {the cat, cat sat, sat up}      J = 2 / 4 = 0.5
    b = 20, r = 5, s = 0.8:  1 - (1 - 0.8⁵)²⁰ = 1 - 0.67232²⁰ = 0.99964

**Shapes**: a signature is uint64 (k,); n of them are (n, k).  No function changes its arguments.

**Steps.**

    exact_duplicates     5 min   the same words, whatever the case and the white space
    shingles             5 min   texts shorter than n words
    jaccard              4 min   empty sets
    minhash             12 min   k independent functions, the same in every process
    candidate_pairs     10 min   a dictionary for each band
    match_probability    3 min   one line
    clusters            10 min   long chains: no recursion
    deduplicate          8 min   all of it together

Sources: Broder 1997, "On the resemblance and containment of documents"; Leskovec et al. 2020,
"Mining of Massive Datasets", sections 3.3 and 3.4; Lee et al. 2022, "Deduplicating Training Data
Makes Language Models Better".

From scratch: numpy and the standard library are enough; scipy may not be used.
"""

from collections.abc import Iterable, Sequence

import numpy as np


def exact_duplicates(texts: Sequence[str]) -> list[int]:
    """The indices of the texts to drop: each that equals an earlier one, in rising order.

    Two texts are equal if they have the same words in the same order.  Words are as in
    `shingles`: in lower case, separated by any amount of white space.
    """
    raise NotImplementedError


def shingles(text: str, n: int) -> set[str]:
    """The runs of `n` words of `text`, lower-case, each joined by single spaces.

    Words are what white space separates.  A text of 1 to n - 1 words has one
    shingle, all of it; a text without words has none.
    """
    raise NotImplementedError


def jaccard(a: set[str], b: set[str]) -> float:
    """|a ∩ b| / |a ∪ b|; 1.0 for two empty sets, 0.0 if only one of them is empty."""
    raise NotImplementedError


def minhash(items: set[str], hashes: int, seed: int) -> np.ndarray:
    """The signature of a set: the smallest value over `items` of each of `hashes` random functions.

    - uint64, (hashes,).
    - It depends on the members, `hashes` and `seed` alone: not on the set's order, and not on the
      process.  (Python's own hash of a string does; hashlib's don't.)
    - The functions are independent of each other, and another seed gives others.

    Raises ValueError, saying "empty", for an empty set.
    """
    raise NotImplementedError


def candidate_pairs(signatures: np.ndarray, bands: int) -> set[tuple[int, int]]:
    """Pairs (i, j), i < j, of rows of `signatures` (n, k) that agree in a whole band.

    - Band 0 is the first k / bands columns, band 1 the next, and so on.
    - The work grows with n and with the number of pairs found, not with n².

    Raises ValueError, naming k and `bands`, if k isn't a multiple of `bands`.
    """
    raise NotImplementedError


def match_probability(similarity: float, bands: int, rows: int) -> float:
    """The chance that two sets of that Jaccard similarity become candidates.

    There are `bands` bands of `rows` rows each.
    """
    raise NotImplementedError


def clusters(n: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The connected groups of 0 … n - 1 under `pairs`.

    - A number without a pair is a group of its own.
    - Each group is in rising order; the groups are in the order of their first members.
    - Pairs may come twice, in either order, and may join a number to itself.
    - Chains may be thousands long: no recursion.
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

    - Two texts are copies of each other if the signatures of their shingles of `n` words are
      candidates and their true Jaccard similarity is at least `threshold`.
    - A signature has `hashes` places in `bands` bands, from `seed`.
    - Texts without words are all kept.
    """
    raise NotImplementedError
