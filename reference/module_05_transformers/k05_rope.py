"""Rotary positions (RoPE): the reference."""

import torch
from torch import Tensor


def frequencies(
    d: int, theta: float = 10000.0, scaling: str | None = None, factor: float = 1.0
) -> Tensor:
    if d % 2:
        raise ValueError(f"RoPE turns pairs of features, so d must be even, got {d}")
    if scaling not in (None, "linear", "ntk"):
        raise ValueError(f"scaling must be None, 'linear' or 'ntk', got {scaling!r}")
    if scaling == "ntk":
        # ω of the last pair is θ^(-(d-2)/d): this power slows it by the factor, and leaves pair 0 at 1.
        theta = theta * factor ** (d / (d - 2))
    omega = theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    return omega / factor if scaling == "linear" else omega


def _turn(u: Tensor, v: Tensor, positions: Tensor, omega: Tensor) -> tuple[Tensor, Tensor]:
    """Turn the points (u, v) (..., n, d/2) by the angles of their positions."""
    if len(positions) != u.shape[-2]:
        raise ValueError(f"x has {u.shape[-2]} rows, but there are {len(positions)} positions")
    angles = positions[:, None] * omega.to(positions.device)
    # The angles are float64 as the frequencies are: only their sines and cosines fit into fewer digits.
    cos, sin = angles.cos().to(u.dtype), angles.sin().to(u.dtype)
    return u * cos - v * sin, u * sin + v * cos


def apply_rope(
    x: Tensor,
    positions: Tensor,
    theta: float = 10000.0,
    scaling: str | None = None,
    factor: float = 1.0,
) -> Tensor:
    omega = frequencies(x.shape[-1], theta, scaling, factor)
    u, v = x.chunk(2, dim=-1)
    return torch.cat(_turn(u, v, positions, omega), dim=-1)


def apply_rope_interleaved(x: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
    u, v = x[..., ::2], x[..., 1::2]
    turned = _turn(u, v, positions, frequencies(x.shape[-1], theta))
    return torch.stack(turned, dim=-1).flatten(-2)


def to_half_split(d: int) -> Tensor:
    return torch.arange(d).reshape(-1, 2).T.flatten()
