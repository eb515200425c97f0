"""Rotary positions (RoPE)

**Before you start.**  You need sines, cosines and the rotation of a point in the plane, no
other kata.  More: EleutherAI 2021, "Rotary Embeddings: A Relative Revolution".

**The idea.**  Attention compares a query with a key by their dot product, which knows nothing
of where the two stand.  RoPE turns each pair of features by an angle that grows with the
position.  Then the dot product depends on how far apart they stand, and on nothing else of
their positions.

**The formula.**  Pair (u, v), number i of d/2, turns by α = position · ωᵢ.  R(p) is the turn at
position p; θ is 10000, or more for long contexts:

    ωᵢ = θ^(-2i/d),   i = 0 … d/2 - 1
    (u, v)  →  (u cos α - v sin α,  u sin α + v cos α)
    (R(a) q) · (R(b) k) = q · R(b - a) k

The first pair turns fastest.  For d = 6 and θ = 1000:

    position      │ 0     1     2    10    100
    ──────────────┼────────────────────────────
    angle, pair 0 │ 0     1     2    10    100    tells neighbours apart
    angle, pair 1 │ 0   0.1   0.2     1     10
    angle, pair 2 │ 0  0.01  0.02   0.1      1    tells pages apart

*Two layouts.*  Which features make a pair?

               half-split                     interleaved
    feature  │ x₀ x₁ x₂ x₃ │ x₄ x₅ x₆ x₇ │    │ x₀ x₁ │ x₂ x₃ │ x₄ x₅ │ x₆ x₇ │
    its pair │ 0  1  2  3  │ 0  1  2  3  │    │ 0  0  │ 1  1  │ 2  2  │ 3  3  │

The paper and Meta's Llama code interleave.  transformers splits in halves, and permutes Llama's
weights to match.  One layout scrambles the other's weights.

*Longer contexts.*  Beyond the length it was trained on, a model hasn't seen the slow pairs'
angles.  To stretch it by a factor s:

    linear    every ω divided by s            moves neighbours closer together, too
    ntk       θ · s^(d/(d-2)) in place of θ   pair 0 as before, the last pair's ω divided by s

**Why float64 for the angles?**  Near 100,000 float32 numbers lie 0.008 apart: an angle is off by
up to 0.004.  Take sine and cosine first, then go to x's type.

**Worked by hand**, d = 4, θ = 10000, position 2: ω = [1, 0.01], angles [2, 0.02],

    x = [1 0 0 1]: pairs (1, 0) and (0, 1)       half-split pairs x₀ x₂ and x₁ x₃
    → [cos 2, -sin 0.02, sin 2, cos 0.02] = [-0.4161 -0.0200 0.9093 0.9998]

**Shapes**, with any leading dimensions `...` (batch, heads): x (..., n, d) with d even,
positions (n,).  No function changes its arguments.

Answers are on the device of the input: make new tensors there (`device=x.device`).

**Steps.**

    frequencies             10 min   two ways to stretch
    apply_rope              10 min   float64 until after the cosine
    apply_rope_interleaved   5 min   the same turn, other pairs
    to_half_split            5 min   which way does the permutation lead?

Sources: Su et al. 2021, "RoFormer", section 3.2; Chen et al. 2023, "Extending Context Window
via Positional Interpolation" (linear); bloc97 2023, "NTK-Aware Scaled RoPE".

From scratch: transformers may not be used.
"""

from torch import Tensor


def frequencies(
    d: int, theta: float = 10000.0, scaling: str | None = None, factor: float = 1.0
) -> Tensor:
    """ω of the d / 2 pairs, float64 (d / 2,), the fastest first.

    `scaling` is None, "linear" or "ntk"; "ntk" needs d ≥ 4.  `factor` is the lesson's s.  It
    counts only where there is a scaling.

    Raises ValueError, naming it, for an odd d and for an unknown scaling.
    """
    raise NotImplementedError


def apply_rope(
    x: Tensor,
    positions: Tensor,
    theta: float = 10000.0,
    scaling: str | None = None,
    factor: float = 1.0,
) -> Tensor:
    """Turn the pairs (xᵢ, x_{i+d/2}) of x (..., n, d) by its `positions` (n,).

    - Returns the same shape and dtype as x.
    - Angles, sines and cosines are float64, at any position.  After that a few roundings in x's
      dtype are allowed.
    - The positions are whole numbers of any integer dtype, in any order: with a cache of 10
      tokens the next one stands at 10.

    Raises ValueError, naming n and how many there are, unless there are n positions.
    """
    raise NotImplementedError


def apply_rope_interleaved(x: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
    """Turn the pairs (x₂ᵢ, x₂ᵢ₊₁) of x (..., n, d); else as `apply_rope`."""
    raise NotImplementedError


def to_half_split(d: int) -> Tensor:
    """The permutation from the interleaved to the half-split layout, int64 (d,).

    With p = to_half_split(d), x[..., p] has the pairs of x where `apply_rope` looks
    for them: apply_rope(x[..., p], …) is apply_rope_interleaved(x, …)[..., p].
    """
    raise NotImplementedError
