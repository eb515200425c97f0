"""Grouped-query attention

While a model writes, the keys and values of all earlier tokens are kept, and for
every new token all of them are read from memory.  That reading, not the
arithmetic, is what takes the time.  So let several query heads share one head of
keys and values:

    multi-head      kv_heads = heads         each query head has its own
    multi-query     kv_heads = 1             all share one
    grouped-query   in between               heads / kv_heads query heads share one

Query head h looks at key-value head h // (heads / kv_heads): neighbours share.
The cache shrinks by heads / kv_heads, and with 8 key-value heads of 64 the quality
is that of multi-head attention.  Llama 2 70B: 80 layers of 8 heads of 128 in 2
bytes, 2 · 80 · 8 · 128 · 2 = 327,680 bytes a token in place of 2,621,440.

Shared heads aren't copied.  With the query heads arranged as (kv_heads, group)
and an axis of 1 in the keys, broadcasting pairs them; `expand` makes that axis
longer without a byte of memory, as its stride is 0.

A trained multi-head model becomes a grouped one by averaging the key (and value)
heads of each group, followed by a little more training.

Worked by hand, 4 query heads, 2 key-value heads: heads 0 and 1 look at head 0,
heads 2 and 3 at head 1.

Shapes, with any leading batch dimensions `...`:

    x (..., n, d_model)   q (..., heads, n, head_dim)   k, v (..., kv_heads, m, head_dim)

No function or method changes its arguments.

Sources: Shazeer 2019, "Fast Transformer Decoding: One Write-Head is All You Need";
Ainslie et al. 2023, "GQA: Training Generalized Multi-Query Transformer Models".

From scratch: torch.nn.functional.scaled_dot_product_attention,
torch.nn.functional.multi_head_attention_forward, torch.nn.MultiheadAttention and
transformers may not be used.
Builds on k01_attention and k05_rope, whose attention and apply_rope you may import.
"""

from torch import Tensor, nn


def group_queries(q: Tensor, kv_heads: int) -> Tensor:
    """q (..., heads, n, head_dim) as (..., kv_heads, heads / kv_heads, n, head_dim), neighbours together.

    Raises ValueError, naming both, if kv_heads doesn't divide the number of heads.
    """
    raise NotImplementedError


def repeat_kv(x: Tensor, times: int) -> Tensor:
    """x (..., kv_heads, m, head_dim) as (..., kv_heads, times, m, head_dim), each head `times` times.

    The result shares the memory of x: it is a view and takes none of its own.
    """
    raise NotImplementedError


class GroupedQueryAttention(nn.Module):
    """Self-attention whose query heads share heads of keys and values.

    Its parts are `q_proj`, `k_proj`, `v_proj` and `o_proj`, all nn.Linear without bias, named as in Llama.
    """

    def __init__(
        self,
        d_model: int,
        heads: int,
        kv_heads: int,
        head_dim: int | None = None,
        theta: float | None = None,
    ) -> None:
        """`head_dim` is d_model / heads where it is None.  With `theta`, queries and keys are turned by RoPE.

        Raises ValueError, naming both numbers, if kv_heads doesn't divide heads, or if
        head_dim is None and heads doesn't divide d_model.
        """
        raise NotImplementedError

    def forward(
        self, x: Tensor, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Attend among the rows of x (..., n, d_model); same shape.

        `mask` is boolean and True where a query may look; it broadcasts against
        (..., n, n) and is the same for every head.  `positions` (n,) are where the
        rows stand, for RoPE: 0 … n - 1 where they aren't given.
        """
        raise NotImplementedError


def cache_bytes_per_token(layers: int, kv_heads: int, head_dim: int, bytes_each: int = 2) -> int:
    """What one token's keys and values take in the cache of a model, in bytes."""
    raise NotImplementedError


def pool_heads(weight: Tensor, heads: int, kv_heads: int) -> Tensor:
    """The weight of k_proj or v_proj with kv_heads heads, from one with `heads`.

    (heads · head_dim, d_model) → (kv_heads · head_dim, d_model): each new head is
    the mean of the heads of its group, feature by feature.
    """
    raise NotImplementedError
