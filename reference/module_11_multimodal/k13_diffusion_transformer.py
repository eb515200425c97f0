"""Diffusion transformer: the reference."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn


def patchify(images: Tensor, patch: int) -> Tensor:
    batch, channels, height, width = images.shape
    if height % patch or width % patch:
        raise ValueError(f"a patch of {patch} doesn't divide {height} x {width} pixels")
    # (B, C, rows, p, columns, p): a token is what has the same row and column of patches.
    cut = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatchify(tokens: Tensor, patch: int, height: int, width: int) -> Tensor:
    batch, n, _ = tokens.shape
    rows, columns = height // patch, width // patch
    if n != rows * columns:
        raise ValueError(f"got {n} tokens, {height} x {width} pixels in patches of {patch} have {rows * columns}")
    cut = tokens.reshape(batch, rows, columns, patch, patch, -1)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, height, width)


def timestep_embedding(t: Tensor, width: int, longest: float = 10000.0) -> Tensor:
    if width % 2:
        raise ValueError(f"the width must be even, got {width}")
    half = width // 2
    i = torch.arange(half, dtype=t.dtype, device=t.device)
    angles = t[:, None] * torch.exp(-math.log(longest) * i / half)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1 + scale[:, None]) + shift[:, None]


class DiTBlock(nn.Module):
    def __init__(self, width: int, heads: int, condition: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.modulation = _zero(nn.Linear(condition, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(F.silu(c)).chunk(6, dim=1)
        x = x + gate_a[:, None] * self._attention(modulate(_norm(x), shift_a, scale_a))
        return x + gate_m[:, None] * self._mlp(modulate(_norm(x), shift_m, scale_m))

    def _attention(self, x: Tensor) -> Tensor:
        # (B, N, width) to (B, heads, N, width of a head), for each of the three.
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=2))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _mlp(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class DiT(nn.Module):
    def __init__(
        self, size: int, channels: int, patch: int, width: int, depth: int, heads: int, classes: int
    ) -> None:
        super().__init__()
        self.patch, self.width = patch, width
        pixels = patch * patch * channels
        self.embed = nn.Linear(pixels, width)
        self.positions = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.labels = nn.Embedding(classes, width)
        self.blocks = nn.ModuleList([DiTBlock(width, heads, width) for _ in range(depth)])
        self.modulation = _zero(nn.Linear(width, 2 * width))
        self.head = _zero(nn.Linear(width, pixels))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        c = self.time(timestep_embedding(1000 * t, self.width)) + self.labels(labels)
        tokens = self.embed(patchify(x, self.patch)) + self.positions
        for block in self.blocks:
            tokens = block(tokens, c)
        shift, scale = self.modulation(F.silu(c)).chunk(2, dim=1)
        tokens = self.head(modulate(_norm(tokens), shift, scale))
        return unpatchify(tokens, self.patch, *x.shape[2:])


def flow_path(noise: Tensor, data: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    t = t.reshape(-1, *[1] * (data.dim() - 1))
    return (1 - t) * noise + t * data, data - noise


def flow_matching_loss(
    model: Callable[[Tensor, Tensor, Tensor], Tensor], images: Tensor, labels: Tensor, generator: Generator
) -> Tensor:
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype, device=images.device)
    t = torch.rand(len(images), generator=generator, dtype=images.dtype, device=images.device)
    x, direction = flow_path(noise, images, t)
    return F.mse_loss(model(x, t, labels), direction)


def gaussian_velocity(x: Tensor, t: float, mean: float, std: float) -> Tensor:
    # Regression of x₁ - x₀ on x_t: their covariance over the variance of x_t.
    covariance = t * std**2 - (1 - t)
    variance = (1 - t) ** 2 + t**2 * std**2
    return mean + covariance / variance * (x - t * mean)


def euler(velocity: Callable[[Tensor, float], Tensor], x: Tensor, steps: int) -> Tensor:
    if steps < 1:
        raise ValueError(f"there must be at least one step, got {steps}")
    for i in range(steps):
        x = x + velocity(x, i / steps) / steps
    return x


def solve(
    velocity: Callable[[Tensor, float], Tensor], x: Tensor, tolerance: float, first_step: float = 0.1
) -> tuple[Tensor, list[float]]:
    if not tolerance > 0:
        raise ValueError(f"the tolerance must be above 0, got {tolerance}")
    times, step = [0.0], first_step
    while times[-1] < 1:
        t = times[-1]
        # The last step ends at 1 itself: a sum of steps might miss it by rounding.
        end = min(t + step, 1.0)
        step = end - t
        first = velocity(x, t)
        second = velocity(x + step * first, end)
        error = (step / 2 * (second - first)).abs().max().item()
        if error <= tolerance:
            x = x + step / 2 * (first + second)
            times.append(end)
        step *= min(max(0.9 * math.sqrt(tolerance / error), 0.2), 5.0) if error else 5.0
    return x, times


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _norm(x: Tensor) -> Tensor:
    """A layer norm that has no weights: the condition gives them."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)
