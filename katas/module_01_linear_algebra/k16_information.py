"""Information

How surprised are you by an event of probability p?  Surprise adds up over
independent events, whose probabilities multiply, so it must be a logarithm:
log 1/p.  Entropy is the surprise to be expected,

    H(p) = -∑ pᵢ log pᵢ        with 0 log 0 = 0, its limit

in nats with the natural logarithm, in bits with base 2.  Whoever believes q
while p is true is surprised more, by the Kullback–Leibler divergence:

    H(p, q) = -∑ pᵢ log qᵢ                     cross-entropy: what a classifier's loss is
    D(p ‖ q) = H(p, q) - H(p) = ∑ pᵢ log(pᵢ/qᵢ)   never negative, and 0 only for p = q

D is ∞ where p has something that q holds impossible, and changes when p and q
trade places.  Jensen and Shannon measure both against their middle
m = (p + q)/2, which is symmetric and at most log 2:

    JS(p, q) = ½ D(p ‖ m) + ½ D(q ‖ m)

Two variables with the joint probabilities p(x, y) share the information

    I(X; Y) = D(p(x, y) ‖ p(x) p(y))            0 exactly when they are independent

and nobody can add to it by working on Y alone.  If Z is made from Y through a
channel, a table of p(z | y), then I(X; Z) ≤ I(X; Y): the data-processing
inequality.

Entropy is also a length.  A code in which no word begins another (prefix-free)
needs at least H₂ = H in bits on average, and Huffman's best code less than
H₂ + 1: join the two rarest symbols into one, again and again; each join puts
one more bit in front of the words on its two sides.

Worked by hand:

    p = [½ ¼ ¼], q = [¼ ½ ¼], in bits: H(p) = ½·1 + ¼·2 + ¼·2 = 1.5
        H(p, q) = ½·2 + ¼·1 + ¼·2 = 1.75    D(p ‖ q) = 0.25
    X a fair bit, Y the same bit, flipped once in four times:
        I = log 2 - H([¾ ¼]) = 0.6931 - 0.5623 = 0.1308 nats
    a 0.4, b 0.3, c 0.2, d 0.1: join d and c (0.3), that with b (0.6), that with a:
        lengths a 1, b 2, c 3, d 3; on average 0.4 + 0.6 + 0.6 + 0.3 = 1.9 bits; H₂ = 1.846

Shapes: probabilities (…, n) over the last axis, any leading axes.  They are
float64, not negative and sum to 1, which isn't checked.  No function changes
its arguments.

Sources: Shannon 1948, "A Mathematical Theory of Communication"; Huffman 1952,
"A Method for the Construction of Minimum-Redundancy Codes"; Cover and Thomas
2006, "Elements of Information Theory", chapters 2 and 5.

From scratch: scipy and sklearn may not be used.
"""

import math
from collections.abc import Mapping

import numpy as np


def entropy(p: np.ndarray, base: float = math.e) -> np.ndarray:
    """H of `p` (…, n): shape (…), a scalar for a vector; logarithms to `base`.  Zeros count for nothing."""
    raise NotImplementedError


def cross_entropy(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """H(p, q) in nats, for two arrays (…, n): shape (…), a scalar for vectors.

    Where p is 0, q doesn't matter; where only q is 0, the answer is ∞.
    Raises ValueError, naming both shapes, if they differ.
    """
    raise NotImplementedError


def kl_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """D(p ‖ q) in nats; shapes, zeros and errors as in `cross_entropy`."""
    raise NotImplementedError


def js_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The Jensen–Shannon divergence in nats, without a root; shapes and errors as in `cross_entropy`."""
    raise NotImplementedError


def mutual_information(joint: np.ndarray) -> float:
    """I(X; Y) in nats from the table p(x, y), shape (n, m)."""
    raise NotImplementedError


def through_channel(joint: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """The table p(x, z), shape (n, k), if Z is made from Y alone.

    `joint` is p(x, y), (n, m); `channel` is p(z | y), (m, k): each row sums to 1.
    """
    raise NotImplementedError


def huffman_code(weights: Mapping[str, float]) -> dict[str, str]:
    """A best prefix-free code: for each symbol a word of "0" and "1".

    `weights` are positive, and probabilities up to a factor.  Which side of a
    join gets the 0, and which of several best codes it is, is free.  A lone
    symbol gets the word "0".  Raises ValueError if there is no symbol at all.
    """
    raise NotImplementedError


def expected_length(weights: Mapping[str, float], code: Mapping[str, str]) -> float:
    """Bits a symbol that `code` takes on average, for weights that needn't sum to 1."""
    raise NotImplementedError
