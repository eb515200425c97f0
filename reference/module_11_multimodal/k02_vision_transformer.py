"""The Vision Transformer: the reference."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from katas.module_05_transformers.k08_encoder import Encoder


def patchify(images: Tensor, patch: int) -> Tensor:
    *lead, channels, height, width = images.shape
    if height % patch or width % patch:
        raise ValueError(f"patch must divide both sides, got {height}x{width} and patch {patch}")
    grid = images.reshape(*lead, channels, height // patch, patch, width // patch, patch)
    # Before: channel, row of patches, row, column of patches, column.  The two that name the patch go first.
    k = len(lead)
    return grid.permute(*range(k), k + 1, k + 3, k, k + 2, k + 4).reshape(*lead, -1, channels * patch * patch)


def unpatchify(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    *lead, n, size = patches.shape
    rows, columns = height // patch, width // patch
    if height % patch or width % patch or n != rows * columns:
        raise ValueError(f"{n} patches of side {patch} don't make {height}x{width}")
    grid = patches.reshape(*lead, rows, columns, size // patch**2, patch, patch)
    k = len(lead)
    return grid.permute(*range(k), k + 2, k, k + 3, k + 1, k + 4).reshape(*lead, -1, height, width)


class PatchEmbedding(nn.Module):
    def __init__(self, patch: int, channels: int, d_model: int) -> None:
        super().__init__()
        self.patch = patch
        # A convolution with kernel and stride `patch` is the same: patches that don't overlap, one matrix for all.
        self.project = nn.Linear(channels * patch * patch, d_model)

    def forward(self, images: Tensor) -> Tensor:
        return self.project(patchify(images, self.patch))


def interpolate_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    if len(positions) != 1 + old[0] * old[1]:
        raise ValueError(f"a grid of {old[0]}x{old[1]} and a class token don't make {len(positions)} positions")
    # The class token stands nowhere on the grid: it must not be mixed in.
    token, grid = positions[:1], positions[1:].T.unflatten(1, old)
    grid = F.interpolate(grid[None], size=new, mode="bicubic", align_corners=False)[0]
    return torch.cat([token, grid.flatten(1).T])


class VisionTransformer(nn.Module):
    def __init__(
        self,
        size: tuple[int, int],
        patch: int,
        channels: int,
        d_model: int,
        layers: int,
        heads: int,
        d_ff: int,
        classes: int,
        pool: str = "class",
    ) -> None:
        super().__init__()
        if pool not in ("class", "mean"):
            raise ValueError(f"pool must be 'class' or 'mean', got {pool!r}")
        self.patch, self.pool = patch, pool
        self.grid = size[0] // patch, size[1] // patch
        self.embed = PatchEmbedding(patch, channels, d_model)
        self.class_token = nn.Parameter(torch.zeros(d_model))
        self.positions = nn.Parameter(0.02 * torch.randn(1 + self.grid[0] * self.grid[1], d_model))
        self.encoder = Encoder(layers, d_model, heads, d_ff, pre_norm=True, activation="gelu")
        self.head = nn.Linear(d_model, classes)

    def tokens(self, images: Tensor) -> Tensor:
        new = images.shape[2] // self.patch, images.shape[3] // self.patch
        patches = self.embed(images)
        token = self.class_token.expand(len(images), 1, -1)
        x = torch.cat([token, patches], 1) + interpolate_positions(self.positions, self.grid, new)
        return self.encoder(x)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.tokens(images)
        return self.head(tokens[:, 0] if self.pool == "class" else tokens[:, 1:].mean(1))


def attention_rollout(weights: Sequence[Tensor]) -> Tensor:
    seen = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype, device=weights[0].device)
    for layer in weights:
        # The residual connection hands each token on as it is: half of what comes out is the token itself.
        mixed = (layer.mean(-3) + torch.eye(layer.shape[-1], dtype=layer.dtype, device=layer.device)) / 2
        seen = mixed @ seen  # later layers look at what earlier ones have mixed, so they stand on the left
    return seen
