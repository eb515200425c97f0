"""Rotary positions (RoPE)

Attention compares a query with a key by their dot product, which knows nothing of
where the two stand.  RoPE turns each pair of features by an angle that grows with
the position, and two turned vectors have a dot product that depends on how far
apart they stand, and on nothing else:

    (R(a) q) · (R(b) k) = q · R(b - a) k

Pair i turns by position · ωᵢ, with frequencies from 1 downwards:

    ωᵢ = θ^(-2i/d),   i = 0 … d/2 - 1        θ = 10000, or more for long contexts

    (u, v)  →  (u cos α - v sin α,  u sin α + v cos α)

Fast pairs tell neighbours apart, slow ones tell pages apart.

**Two layouts.**  Which features make a pair?  Llama's code takes (xᵢ, x_{i+d/2}), the
half-split layout; the paper takes (x₂ᵢ, x₂ᵢ₊₁), the interleaved one.  Both are
right, but weights that were trained with one are scrambled by the other, unless
the features are permuted.

**Longer contexts.**  A model that has seen n positions hasn't seen the angles beyond.
Linear scaling by s divides every frequency by s, so that positions are squeezed
in.  NTK scaling raises θ instead, to θ · s^(d/(d-2)): the slowest pair is slowed
down by s, the fastest keeps its speed, so that neighbours stay apart.

Worked by hand, d = 4, θ = 10000, position 2: ω = [1, 0.01], angles [2, 0.02],

    x = [1 0 0 1]: pairs (1, 0) and (0, 1)       half-split pairs x₀ x₂ and x₁ x₃
    → [cos 2, -sin 0.02, sin 2, cos 0.02] = [-0.4161 -0.0200 0.9093 0.9998]

Angles are computed in float64: in float32 a position of 100,000 has lost 0.004 of
its angle.  Then their sines and cosines go to the type of x.

No function changes its arguments.

Sources: Su et al. 2021, "RoFormer", section 3.2; Chen et al. 2023, "Extending
Context Window via Positional Interpolation" (linear); bloc97 2023, "NTK-Aware
Scaled RoPE".

From scratch: transformers may not be used.
"""

from torch import Tensor


def frequencies(
    d: int, theta: float = 10000.0, scaling: str | None = None, factor: float = 1.0
) -> Tensor:
    """ω of the d / 2 pairs, float64 (d / 2,), the fastest first.

    `scaling` is None, "linear" or "ntk", and then stretches contexts by `factor`.
    Raises ValueError, naming d, if it is odd; and, naming it, for another scaling.
    """
    raise NotImplementedError


def apply_rope(
    x: Tensor,
    positions: Tensor,
    theta: float = 10000.0,
    scaling: str | None = None,
    factor: float = 1.0,
) -> Tensor:
    """Turn the pairs (xᵢ, x_{i+d/2}) of x (..., n, d) by its `positions` (n,); same shape and dtype as x.

    The positions are whole numbers, in any order: with a cache of 10 tokens the
    next one stands at 10.
    Raises ValueError, naming both, unless there are n positions.
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
