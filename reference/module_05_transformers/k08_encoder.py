"""The Transformer's encoder: the reference."""

import torch
from torch import Tensor, nn

from katas.module_05_transformers.k02_multi_head_attention import MultiHeadAttention
from katas.module_05_transformers.k06_normalization_layers import LayerNorm
from katas.module_05_transformers.k07_feed_forward import FeedForward


def padding_mask(lengths: Tensor, n: int) -> Tensor:
    # Length 0 is refused: queries of an empty text would see nothing at all.
    for length in lengths.flatten().tolist():
        if not 1 <= length <= n:
            raise ValueError(f"lengths must be in 1 … {n}, as n = {n}, got {length}")
    return torch.arange(n, device=lengths.device) < lengths[..., None, None, None]


class EncoderBlock(nn.Module):
    def __init__(
        self, d_model: int, heads: int, d_ff: int, pre_norm: bool = False, activation: str = "relu"
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = MultiHeadAttention(d_model, heads)
        self.feed_forward = FeedForward(d_model, d_ff, activation)
        self.norm1 = LayerNorm(d_model)
        self.norm2 = LayerNorm(d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        # Pre-norm adds to x itself, so that the sum's path stays free; post-norm norms each sum.
        if self.pre_norm:
            x = x + self.attention(self.norm1(x), mask=mask)[0]
            return x + self.feed_forward(self.norm2(x))
        x = self.norm1(x + self.attention(x, mask=mask)[0])
        return self.norm2(x + self.feed_forward(x))


class Encoder(nn.Module):
    def __init__(
        self,
        layers: int,
        d_model: int,
        heads: int,
        d_ff: int,
        pre_norm: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            EncoderBlock(d_model, heads, d_ff, pre_norm, activation) for _ in range(layers)
        )
        # The residual stream of pre-norm blocks is never normalised on its way.
        self.norm = LayerNorm(d_model) if pre_norm else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return x if self.norm is None else self.norm(x)
