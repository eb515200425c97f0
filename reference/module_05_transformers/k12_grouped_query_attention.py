"""Grouped-query attention: the reference."""

import torch
from torch import Tensor, nn

from katas.module_05_transformers.k01_attention import attention
from katas.module_05_transformers.k05_rope import apply_rope


def group_queries(q: Tensor, kv_heads: int) -> Tensor:
    heads = q.shape[-3]
    if heads % kv_heads:
        raise ValueError(f"kv_heads must divide the number of heads, got {kv_heads} and {heads}")
    return q.unflatten(-3, (kv_heads, heads // kv_heads))


def repeat_kv(x: Tensor, times: int) -> Tensor:
    *lead, m, head_dim = x.shape
    return x.unsqueeze(-3).expand(*lead, times, m, head_dim)


class GroupedQueryAttention(nn.Module):
    def __init__(
        self,
        d_model: int,
        heads: int,
        kv_heads: int,
        head_dim: int | None = None,
        theta: float | None = None,
    ) -> None:
        super().__init__()
        if heads % kv_heads:
            raise ValueError(f"kv_heads must divide heads, got {kv_heads} and {heads}")
        if head_dim is None:
            if d_model % heads:
                raise ValueError(f"heads must divide d_model, got {heads} and {d_model}")
            head_dim = d_model // heads
        self.heads, self.kv_heads, self.head_dim, self.theta = heads, kv_heads, head_dim, theta
        self.q_proj = nn.Linear(d_model, heads * head_dim, bias=False)
        self.k_proj = nn.Linear(d_model, kv_heads * head_dim, bias=False)
        self.v_proj = nn.Linear(d_model, kv_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(heads * head_dim, d_model, bias=False)

    def _split(self, x: Tensor) -> Tensor:
        """(..., n, heads · head_dim) → (..., heads, n, head_dim)."""
        return x.unflatten(-1, (-1, self.head_dim)).transpose(-3, -2)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        q, k, v = self._split(self.q_proj(x)), self._split(self.k_proj(x)), self._split(self.v_proj(x))
        if self.theta is not None:
            if positions is None:
                positions = torch.arange(x.shape[-2], device=x.device)
            q, k = apply_rope(q, positions, self.theta), apply_rope(k, positions, self.theta)
        # RoPE comes before the heads are repeated: each shared key is turned once.
        group = self.heads // self.kv_heads
        if mask is not None:
            mask = mask[..., None, None, :, :]  # for key-value heads and the queries of a group
        out, _ = attention(group_queries(q, self.kv_heads), repeat_kv(k, group), repeat_kv(v, group), mask)
        return self.o_proj(out.flatten(-4, -3).transpose(-3, -2).flatten(-2))


def cache_bytes_per_token(layers: int, kv_heads: int, head_dim: int, bytes_each: int = 2) -> int:
    return 2 * layers * kv_heads * head_dim * bytes_each


def pool_heads(weight: Tensor, heads: int, kv_heads: int) -> Tensor:
    return weight.unflatten(0, (kv_heads, heads // kv_heads, -1)).mean(1).flatten(0, 1)
