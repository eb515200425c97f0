"""Information

**Before you start.**  You need logarithms and probabilities (probability).  Is entropy new to you?
Read Cover and Thomas (below), sections 2.1 to 2.3.

**The idea.**  The loss of a language model is a surprise, and so is the length of a compressed
file.  An event of probability p surprises you by log 1/p: probabilities of independent events
multiply, so their surprises add up.

**The formulas**, for distributions p and q over n outcomes:

    entropy              H(p) = -∑ pᵢ log pᵢ                        with 0 log 0 = 0, its limit
    cross-entropy        H(p, q) = -∑ pᵢ log qᵢ
    Kullback–Leibler     D(p ‖ q) = H(p, q) - H(p) = ∑ pᵢ log(pᵢ/qᵢ)
    Jensen–Shannon       JS(p, q) = ½ D(p ‖ m) + ½ D(q ‖ m)          m = (p + q)/2
    mutual information   I(X; Y) = D(p(x, y) ‖ p(x) p(y))
    data processing      I(X; Z) ≤ I(X; Y)                           Z is made from Y alone

- *Entropy* is the expected surprise: in nats with the natural logarithm, in bits with base 2.
- *Cross-entropy* is your surprise if you believe q while p is true: a classifier's loss.
- *D* is how much more that is: never negative, and 0 only for p = q.
- *JS* measures both against their middle.  It is symmetric, and at most log 2.
- *I* is what two variables share: 0 exactly if they are independent.

Entropy is also a length.  In a prefix-free code no word begins another.  It needs at least H₂ bits
on average, the entropy in bits; Huffman's, the best, takes at most H₂ + 1.  Join the two rarest
symbols into one, again and again.  Each join puts a bit in front of the words on its two sides:

             1.0
        0 ┌───┴───┐ 1                   a   0         1 bit
          a      0.6                    b   10        2
         0.4  0 ┌─┴────┐ 1              c   110       3
                b     0.3               d   111       3
               0.3  0 ┌┴──┐ 1
                      c   d
                     0.2 0.1

**Why is D infinite at times?**  What q calls impossible, and p doesn't, surprises without bound.

**Why not add a small number inside the logarithm?**  It avoids the NaN of 0 log 0, but makes every
answer a little wrong.

**Worked by hand**:

    p = [½ ¼ ¼], q = [¼ ½ ¼], in bits: H(p) = ½·1 + ¼·2 + ¼·2 = 1.5
        H(p, q) = ½·2 + ¼·1 + ¼·2 = 1.75    D(p ‖ q) = 0.25
    X a fair bit, Y the same bit, flipped once in four times:
        I = log 2 - H([¾ ¼]) = 0.6931 - 0.5623 = 0.1308 nats
    a 0.4, b 0.3, c 0.2, d 0.1: join d and c (0.3), that with b (0.6), that with a:
        on average 0.4 + 0.6 + 0.6 + 0.3 = 1.9 bits; H₂ = 1.846

**Shapes**: probabilities (…, n) over the last axis, any leading axes.  They are float64, not
negative and sum to 1, which isn't checked.  No function changes its arguments.

**Steps.**

    entropy              5 min   zeros count for nothing
    cross_entropy       10 min   a zero of p, and a zero of q alone
    kl_divergence        3 min   log p - log q
    js_divergence        5 min   against the middle
    mutual_information   5 min   two tables
    through_channel      3 min   one product
    huffman_code        20 min   the hard one: a heap, and ties in it
    expected_length      3 min   weights needn't sum to 1

Sources: Shannon 1948, "A Mathematical Theory of Communication"; Huffman 1952,
"A Method for the Construction of Minimum-Redundancy Codes"; Lin 1991, "Divergence Measures Based
on the Shannon Entropy"; Cover and Thomas 2006, "Elements of Information Theory", chapters 2 and 5.

From scratch: scipy and sklearn may not be used.
"""

import math
from collections.abc import Mapping

import numpy as np


def entropy(p: np.ndarray, base: float = math.e) -> np.ndarray:
    """H of `p` (…, n): shape (…), a scalar for a vector; logarithms to `base`.

    Zeros count for nothing.
    """
    raise NotImplementedError


def cross_entropy(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """H(p, q) in nats, for two arrays (…, n): shape (…), a scalar for vectors.

    - Where p is 0, q doesn't matter.
    - Where only q is 0, the answer is ∞.
    - A tiny q is no 0: its logarithm counts, to the last digit.

    Raises ValueError, naming both shapes, if they differ: (1, n) isn't repeated.
    """
    raise NotImplementedError


def kl_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """D(p ‖ q) in nats; shapes, zeros and errors as in `cross_entropy`.

    A tiny q is no 0 here either.  Take the difference of the logarithms, as p/q overflows.
    """
    raise NotImplementedError


def js_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The Jensen–Shannon divergence in nats, without a root; shapes and errors as above."""
    raise NotImplementedError


def mutual_information(joint: np.ndarray) -> float:
    """I(X; Y) in nats from the table p(x, y), shape (n, m).  Zeros count for nothing."""
    raise NotImplementedError


def through_channel(joint: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """The table p(x, z), shape (n, k), if Z is made from Y alone.

    `joint` is p(x, y), (n, m); `channel` is p(z | y), (m, k): each row sums to 1.
    """
    raise NotImplementedError


def huffman_code(weights: Mapping[str, float]) -> dict[str, str]:
    """A best prefix-free code: for each symbol a word of "0" and "1".

    - `weights` are positive: probabilities times any factor.
    - Which side of a join gets the 0, and which of several best codes it is, is free.
    - A lone symbol gets the word "0".
    - Words may be longer than 1000 bits: that is past Python's recursion limit.

    Raises ValueError if there is no symbol at all.
    """
    raise NotImplementedError


def expected_length(weights: Mapping[str, float], code: Mapping[str, str]) -> float:
    """The average bits per symbol of `code`, for weights that needn't sum to 1.

    `code` may have words for other symbols, too.
    """
    raise NotImplementedError
