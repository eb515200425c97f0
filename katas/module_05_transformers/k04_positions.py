"""Positions: sinusoids, learned vectors, T5's buckets, ALiBi

**Before you start.**  You need sines and cosines, logarithms and broadcasting, no other
kata; attention says what scores are.  Pictures of sinusoids: Alammar 2018, "The Illustrated
Transformer".

**The idea.**  Attention sees a set.  Shuffle the keys together with their values, and its
output doesn't change.  So the model must be told the order.  Sinusoids and learned vectors are
added to the embeddings; T5's buckets and ALiBi to the scores, by the distance of query and
key.

**The formulas.**  *Sinusoidal*: columns 2i and 2i + 1 turn at a speed ωᵢ of their own, from
fast to slow, like the hands of a clock.  p is the position:

    ωᵢ = base^(-2i/d)    PE(p, 2i) = sin(p ωᵢ)    PE(p, 2i + 1) = cos(p ωᵢ)

*Learned*: one trained vector per position, as in GPT-2 and BERT.  Beyond the last there is none.

*T5's buckets*: a learned number per head and bucket.  Near distances have a bucket each, far
ones share one.  For s = 16 buckets per side, max_distance 128:

    distance │ 0 │ 1 │ … │ 7 │ 8–11 │ 12–15 │ 16–22 │ … │ 64–90 │ 91 and more
    ─────────┼───┼───┼───┼───┼──────┼───────┼───────┼───┼───────┼────────────
    bucket   │ 0 │ 1 │ … │ 7 │  8   │   9   │  10   │ … │  14   │     15

With δ the distance and e = ⌊s/2⌋:

    bucket(δ) = δ                                                                δ < e
    bucket(δ) = min(e + ⌊log(δ/e) / log(max_distance/e) · (s - e)⌋, s - 1)       otherwise

    bidirectional:      s = buckets/2, δ = |key - query|; a key after the query
                        gets s + bucket(δ), every other one bucket(δ)
    not bidirectional:  s = buckets,   δ = max(query - key, 0)

*ALiBi*: nothing is learned, so it goes on beyond the longest training text.  Head h of H pays
slopeₕ for each token of distance:

    H a power of 2:  slopes 2^(-8/H), 2^(-16/H), …, 2^(-8)
    otherwise:       the slopes of P heads, P the largest power of 2 below H, then
                     every other one of 2P heads' slopes (first, third, …), H - P

Side by side, T5 bidirectional, ALiBi with slope ½:

    key - query │  -20    -8    -3    -1     0     1     3    20
    ────────────┼────────────────────────────────────────────────
    T5's bucket │   10     8     3     1     0    17    19    26
    ALiBi adds  │  -10    -4   -1½    -½     0    -½   -1½   -10

**Why pairs?**  A shift by t tokens turns pair i by t·ωᵢ, whatever p is.  So "t tokens back" is
one linear map.

**Worked by hand.**

    PE(1) for d = 4, base 10000: [sin 1, cos 1, sin 0.01, cos 0.01]
                                 = [0.8415, 0.5403, 0.0100, 1.0000]
    T5, 32 buckets, max_distance 128, bidirectional: s = 16, e = 8
        3 before: 3     3 after: 16 + 3 = 19
        20 before: 8 + ⌊log(20/8) / log(128/8) · 8⌋ = 8 + ⌊2.64⌋ = 10
    ALiBi, 3 heads: 2 heads have 1/16, 1/256; the first of 4 heads' slopes is 1/4

**Shapes.**  Positions are integer tensors of any integer dtype, ≥ 0, in any order and with
gaps: (n,) for queries, (m,) for keys.  No function changes its arguments.

Answers are on the device of the input: make new tensors there (`device=x.device`).

**Steps.**

    sinusoidal         5 min   sine and cosine alternate
    LearnedPositions   5 min   start + n must not pass the end
    relative_buckets  15 min   side and distance first, then one formula; no log of 0
    alibi_slopes      10 min   head counts that aren't a power of 2
    alibi_bias         5 min   a price is negative

Sources: Vaswani et al. 2017, "Attention Is All You Need", section 3.5; Raffel et al. 2020 (T5),
section 2.1, and its code; Press et al. 2022 (ALiBi), section 3, and its code.

From scratch: transformers may not be used.
"""

from torch import Tensor, nn


def sinusoidal(positions: Tensor, d: int, base: float = 10000.0) -> Tensor:
    """Sinusoidal encodings (n, d) in float64 of `positions` (n,); sine and cosine alternate.

    Why float64?  Near 100,000 float32 numbers lie 0.008 apart: an angle would be off by up to
    0.004.

    Raises ValueError, naming d, if d is odd.
    """
    raise NotImplementedError


class LearnedPositions(nn.Module):
    """A trained vector for each of the positions 0 … max_length - 1.

    Its one parameter is `weight` (max_length, d).  It starts out normal with mean 0 and
    standard deviation 0.02, as BERT's does.
    """

    def __init__(self, max_length: int, d: int) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """`x` (..., n, d) plus the vectors of positions start … start + n - 1.

        - `start` ≥ 0 counts the tokens that came before, as in decoding with a cache.
        - x stays as it was.

        Raises ValueError, naming start + n and max_length, if there aren't that many.
        """
        raise NotImplementedError


def relative_buckets(
    query_positions: Tensor,
    key_positions: Tensor,
    buckets: int = 32,
    max_distance: int = 128,
    bidirectional: bool = True,
) -> Tensor:
    """T5's bucket of each pair: int64 (n, m), from 0 to buckets - 1.

    - `buckets` is even and at least 4, max_distance larger than e.
    - Between e and max_distance, distances whose value is whole before it is floored (16, 32
      and 64 above) aren't tested: rounding decides there.
    """
    raise NotImplementedError


def alibi_slopes(heads: int) -> Tensor:
    """The slope of each of `heads` ≥ 1 heads: float64 (heads,), in the order above."""
    raise NotImplementedError


def alibi_bias(heads: int, query_positions: Tensor, key_positions: Tensor) -> Tensor:
    """-slope · |query - key|, to be added to the scores: float64 (heads, n, m).

    It is symmetric: hiding the keys after a query is the causal mask's work.
    """
    raise NotImplementedError
