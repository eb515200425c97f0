"""A key-value cache: the reference."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from katas.module_05_transformers.k01_attention import attention
from katas.module_05_transformers.k05_rope import apply_rope
from katas.module_05_transformers.k06_normalization_layers import RMSNorm
from katas.module_05_transformers.k07_feed_forward import GatedFeedForward
from katas.module_05_transformers.k12_grouped_query_attention import group_queries, repeat_kv
from katas.module_05_transformers.k14_llama import LlamaConfig


def cache_bytes(config: LlamaConfig, batch: int, tokens: int, bytes_each: int = 2, window: int | None = None) -> int:
    held = tokens if window is None else min(tokens, window)
    # 2 for keys and values.  The query heads don't matter: it is the key-value heads that are kept.
    return 2 * config.layers * config.kv_heads * config.head_dim * bytes_each * batch * held


def visible(queries: Tensor, keys: Tensor, window: int | None = None) -> Tensor:
    q, k = queries[..., :, None], keys[..., None, :]
    seen = (k >= 0) & (k <= q)
    return seen if window is None else seen & (k > q - window)


class KVCache:
    def __init__(
        self,
        batch: int,
        kv_heads: int,
        head_dim: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        # All memory is taken now: with torch.cat each step would copy everything that came before.
        self.keys = torch.zeros(batch, kv_heads, capacity, head_dim, dtype=dtype, device=device)
        self.values = torch.zeros_like(self.keys)
        self.positions = torch.zeros(batch, capacity, dtype=torch.int64, device=device)
        self.capacity = capacity
        self.length = 0

    def append(self, k: Tensor, v: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        start, end = self.length, self.length + k.shape[-2]
        if end > self.capacity:
            raise ValueError(f"the cache has room for {self.capacity} tokens, but there would be {end}")
        self.keys[:, :, start:end] = k
        self.values[:, :, start:end] = v
        self.positions[:, start:end] = positions
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end], self.positions[:, :end]

    def truncate(self, length: int) -> None:
        if not 0 <= length <= self.length:
            raise ValueError(f"the cache holds {self.length} tokens, so it can't be cut to {length}")
        # What lies beyond needn't be wiped: the next tokens are written over it.
        self.length = length


class SlidingWindowCache:
    def __init__(
        self,
        batch: int,
        kv_heads: int,
        head_dim: int,
        window: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.keys = torch.zeros(batch, kv_heads, 0, head_dim, dtype=dtype, device=device)
        self.values = torch.zeros_like(self.keys)
        self.positions = torch.zeros(batch, 0, dtype=torch.int64, device=device)
        self.window = window
        self.length = 0

    def append(self, k: Tensor, v: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keys = torch.cat([self.keys, k], dim=-2)
        values = torch.cat([self.values, v], dim=-2)
        positions = torch.cat([self.positions, positions], dim=-1)
        # Only now is something dropped: the first of the new queries looks back at all that was held.
        # A slice alone would keep the memory of the whole; clone lets it go.
        self.keys, self.values = keys[:, :, -self.window :].clone(), values[:, :, -self.window :].clone()
        self.positions = positions[:, -self.window :].clone()
        self.length += k.shape[-2]
        return keys, values, positions


def rotate(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Given to you: RoPE for x (b, heads, n, head_dim) at positions (b, n), which may differ from row to row."""
    b, heads, n, head_dim = x.shape
    flat = x.transpose(0, 1).reshape(heads, b * n, head_dim)
    return apply_rope(flat, positions.reshape(-1), theta).reshape(heads, b, n, head_dim).transpose(0, 1)


class CachedAttention(nn.Module):
    """Grouped-query attention whose earlier keys and values come from a cache.

    Its weights are those of grouped_query_attention; `forward` is yours.
    """

    def __init__(self, config: LlamaConfig, window: int | None = None) -> None:
        """Given to you."""
        super().__init__()
        self.config, self.window = config, window
        self.q_proj = nn.Linear(config.d_model, config.heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.d_model, config.kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.d_model, config.kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.d_model, bias=False)

    def forward(self, x: Tensor, positions: Tensor, cache: KVCache | SlidingWindowCache) -> Tensor:
        kv_heads, head_dim, theta = self.config.kv_heads, self.config.head_dim, self.config.theta
        q, k, v = (
            project(x).unflatten(-1, (-1, head_dim)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        # A key is turned once, before it is kept: its place never changes.
        q, k = rotate(q, positions, theta), rotate(k, positions, theta)
        keys, values, at = cache.append(k, v, positions)
        mask = visible(positions, at, self.window)[:, None, None]  # for key-value heads and the queries of a group
        group = self.config.heads // kv_heads
        out, _ = attention(group_queries(q, kv_heads), repeat_kv(keys, group), repeat_kv(values, group), mask)
        return self.o_proj(out.flatten(1, 2).transpose(1, 2).flatten(2))


class CachedLayer(nn.Module):
    """A layer of the model.  This class is given."""

    def __init__(self, config: LlamaConfig, window: int | None) -> None:
        """Given to you."""
        super().__init__()
        self.input_layernorm = RMSNorm(config.d_model, config.eps)
        self.self_attn = CachedAttention(config, window)
        self.post_attention_layernorm = RMSNorm(config.d_model, config.eps)
        self.mlp = GatedFeedForward(config.d_model, config.d_ff)

    def forward(self, x: Tensor, positions: Tensor, cache: KVCache | SlidingWindowCache) -> Tensor:
        """Given to you."""
        x = x + self.self_attn(self.input_layernorm(x), positions, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class CachedLlama(nn.Module):
    """Llama, with a cache for each layer.  This class is given.

    - With a `window`, each token sees the last `window` positions only.
    - The names of the weights are those of a Hugging Face checkpoint without "model." before them.
    """

    def __init__(self, config: LlamaConfig, window: int | None = None) -> None:
        """Given to you."""
        super().__init__()
        self.config, self.window = config, window
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(CachedLayer(config, window) for _ in range(config.layers))
        self.norm = RMSNorm(config.d_model, config.eps)
        self.lm_head = None if config.tied else nn.Linear(config.d_model, config.vocab_size, bias=False)

    def new_caches(self, batch: int, capacity: int) -> list[KVCache] | list[SlidingWindowCache]:
        """Given to you: an empty cache for each layer, with the dtype and on the device of the weights."""
        weight, config = self.embed_tokens.weight, self.config
        kind, size = (KVCache, capacity) if self.window is None else (SlidingWindowCache, self.window)
        return [
            kind(batch, config.kv_heads, config.head_dim, size, weight.dtype, weight.device)
            for _ in range(config.layers)
        ]

    @torch.no_grad()
    def forward(self, ids: Tensor, caches: Sequence, positions: Tensor | None = None) -> Tensor:
        """Given to you: the logits (b, n, vocab_size) after each of the new tokens `ids` (b, n).

        The caches have the tokens before them, and get the new ones.  `positions` (b, n) are where the new tokens
        stand; by default they follow what the caches have seen.
        """
        b, n = ids.shape
        if positions is None:
            positions = (caches[0].length + torch.arange(n, device=ids.device)).expand(b, n)
        x = self.embed_tokens(ids)
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer(x, positions, cache)
        x = self.norm(x)
        return x @ self.embed_tokens.weight.T if self.lm_head is None else self.lm_head(x)


def prefill(model: nn.Module, ids: Tensor, caches: Sequence, chunk: int | None = None) -> Tensor:
    for part in ids.split(chunk or ids.shape[1], dim=1):
        logits = model(part, caches)
    return logits[:, -1]


def decode(model: nn.Module, token: Tensor, caches: Sequence) -> Tensor:
    return model(token[:, None], caches)[:, -1]


def generate(
    model: nn.Module, ids: Tensor, new_tokens: int, stop: int | None = None, chunk: int | None = None
) -> Tensor:
    caches = model.new_caches(1, len(ids) + new_tokens)
    logits = prefill(model, ids[None], caches, chunk)
    for left in reversed(range(new_tokens)):
        token = logits.argmax(dim=-1)
        ids = torch.cat([ids, token])
        # The last token is never run: nobody asks what comes after it.
        if token == stop or not left:
            break
        logits = decode(model, token, caches)
    return ids
