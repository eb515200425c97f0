"""Attention patterns: the reference."""

import torch
import torch.nn.functional as F
from torch import Tensor


def distances(n: int, m: int) -> Tensor:
    # The last query stands at the last key, so the queries stand at m - n … m - 1.
    return torch.arange(m - n, m)[:, None] - torch.arange(m)


def window_mask(n: int, m: int, left: int | None, right: int | None = 0) -> Tensor:
    for name, reach in (("left", left), ("right", right)):
        if reach is not None and reach < 0:
            raise ValueError(f"{name} must be at least 0 or None, got {reach}")
    back = distances(n, m)
    mask = torch.ones(n, m, dtype=torch.bool)
    if left is not None:
        mask = mask & (back <= left)
    if right is not None:
        mask = mask & (-back <= right)
    return mask


def strided_mask(n: int, m: int, stride: int) -> Tensor:
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    back = distances(n, m)
    return (back >= 0) & (back % stride == 0)


def global_mask(n: int, tokens: list[int]) -> Tensor:
    # Checked here, as an index of -1 would silently mean the last token.
    for token in tokens:
        if not 0 <= token < n:
            raise ValueError(f"a global token must be in 0 … {n - 1}, as n = {n}, got {token}")
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[tokens] = True
    return chosen[:, None] | chosen


def document_mask(documents: Tensor) -> Tensor:
    return documents[..., :, None] == documents[..., None, :]


def block_mask(layout: Tensor, size: int) -> Tensor:
    return layout.repeat_interleave(size, -2).repeat_interleave(size, -1)


def score_entries(mask: Tensor, block: int = 1) -> int:
    # Padding with False fills the last blocks without making one of them needed.
    n, m = mask.shape[-2:]
    padded = F.pad(mask, (0, -m % block, 0, -n % block))
    blocks = padded.unflatten(-1, (-1, block)).unflatten(-3, (-1, block))
    return int(blocks.any(-1).any(-2).sum()) * block**2
