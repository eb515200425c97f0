"""Multi-head attention: the reference."""

import torch
from torch import Tensor, nn

from katas.module_05_transformers.k01_attention import attention


def split_heads(x: Tensor, heads: int) -> Tensor:
    d = x.shape[-1]
    if d % heads:
        raise ValueError(f"heads must divide d, got d = {d} and heads = {heads}")
    # A bare reshape to (heads, n, d/heads) would mix tokens: the width is cut first, then the axes change places.
    return x.unflatten(-1, (heads, d // heads)).transpose(-3, -2)


def merge_heads(x: Tensor) -> Tensor:
    return x.transpose(-3, -2).flatten(-2)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, heads: int, bias: bool = True) -> None:
        super().__init__()
        if d_model % heads:
            raise ValueError(f"heads must divide d_model, got d_model = {d_model} and heads = {heads}")
        self.heads = heads
        # One matrix for all heads: head i is a block of its columns, and one large product beats many small ones.
        self.q_proj = nn.Linear(d_model, d_model, bias)
        self.k_proj = nn.Linear(d_model, d_model, bias)
        self.v_proj = nn.Linear(d_model, d_model, bias)
        self.out_proj = nn.Linear(d_model, d_model, bias)

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        source = x if context is None else context
        q = split_heads(self.q_proj(x), self.heads)
        k = split_heads(self.k_proj(source), self.heads)
        v = split_heads(self.v_proj(source), self.heads)
        out, weights = attention(q, k, v, mask)
        return self.out_proj(merge_heads(out)), weights

    @torch.no_grad()
    def load_packed(self, state: dict[str, Tensor]) -> None:
        packed = state["in_proj_weight"]
        expected = (3 * self.q_proj.in_features, self.q_proj.in_features)
        if packed.shape != expected:
            raise ValueError(f"in_proj_weight must be {expected}, got {tuple(packed.shape)}")
        # copy_ keeps each parameter the same object, so an optimizer that holds it still does, and casts to its dtype.
        projections = (self.q_proj, self.k_proj, self.v_proj)
        for projection, weight in zip(projections, packed.chunk(3), strict=True):
            projection.weight.copy_(weight)
        self.out_proj.weight.copy_(state["out_proj.weight"])
        if self.q_proj.bias is not None:
            for projection, bias in zip(projections, state["in_proj_bias"].chunk(3), strict=True):
                projection.bias.copy_(bias)
            self.out_proj.bias.copy_(state["out_proj.bias"])
