"""Grouped-query attention

**Before you start.**  You need attention and RoPE.  You may use yours (the reference's are
used until yours are green):

    from .k01_attention import attention
    from .k05_rope import apply_rope

apply_rope(x, positions, theta) pairs x's halves, not its neighbours.

A picture: figure 2 of Ainslie et al. 2023.

**The idea.**  For every new token, a model reads the keys and values of all earlier ones from a
cache.  That reading, not the arithmetic, takes the time.  So let several query heads share one
head of keys and values:

      multi-head            grouped-query           multi-query
    q   0   1   2   3         0   1   2   3            0   1   2   3
        │   │   │   │          ╲ ╱     ╲ ╱              ╲   ╲ ╱   ╱
    kv  0   1   2   3           0       1                 ╲──0──╱
      kv_heads is heads     in between              kv_heads is 1

**The formula.**  Query head h looks at one key-value head, and neighbours share:

    key-value head of h = h // (heads / kv_heads)
    bytes per token     = 2 · layers · kv_heads · head_dim · bytes per number

The 2 is for keys and values.  In the paper a model of 64 heads keeps nearly all of its quality
with 8 key-value heads: the cache is an eighth.

**Why not copy the shared heads?**  It costs the memory that you want to save.  Arrange the query
heads as (kv_heads, group), and give the keys an axis of 1: broadcasting pairs them.  `expand`
makes that axis longer without a byte, as its stride is 0.

**Why average the heads?**  It turns a trained multi-head model into a grouped one.  A little more
training makes up for the loss.

**Worked by hand**: of 4 query heads, 0 and 1 look at key-value head 0, 2 and 3 at head 1.
Llama 2 70B has 80 layers of 8 key-value heads of 128 in 2 bytes:
2 · 80 · 8 · 128 · 2 = 327,680 bytes per token; with all 64 heads it would be 2,621,440.

**Shapes**, with any leading batch dimensions `...`:

    x (..., n, d_model)   q (..., heads, n, head_dim)   k, v (..., kv_heads, m, head_dim)

All sizes are 1 or more.  No function or method changes its arguments.

Answers are on the device of the input, and a module moved by .to works where it is.

**Steps.**

    group_queries            5 min   cut the axis of the heads in two
    repeat_kv                5 min   a view, no copy
    GroupedQueryAttention   25 min   where does the mask need new axes?
    cache_bytes_per_token    5 min   keys and values
    pool_heads               5 min   neighbours again

Sources: Shazeer 2019, "Fast Transformer Decoding: One Write-Head is All You Need";
Ainslie et al. 2023, "GQA: Training Generalized Multi-Query Transformer Models".

From scratch: torch.nn.functional.scaled_dot_product_attention,
torch.nn.functional.multi_head_attention_forward, torch.nn.MultiheadAttention and
transformers may not be used.
"""

from torch import Tensor, nn


def group_queries(q: Tensor, kv_heads: int) -> Tensor:
    """q (..., heads, n, head_dim) as (..., kv_heads, heads / kv_heads, n, head_dim).

    Neighbours stand together.

    Raises ValueError, naming kv_heads and heads, if kv_heads doesn't divide heads.
    """
    raise NotImplementedError


def repeat_kv(x: Tensor, times: int) -> Tensor:
    """x (..., kv_heads, m, head_dim) as (..., kv_heads, times, m, head_dim), each head repeated.

    The result shares the memory of x: it is a view and takes none of its own.
    """
    raise NotImplementedError


class GroupedQueryAttention(nn.Module):
    """Self-attention whose query heads share heads of keys and values.

    Its parts are `q_proj`, `k_proj`, `v_proj` and `o_proj`, named as in Llama.  All are
    nn.Linear without bias; their initial values are free.
    """

    def __init__(
        self,
        d_model: int,
        heads: int,
        kv_heads: int,
        head_dim: int | None = None,
        theta: float | None = None,
    ) -> None:
        """The sizes, and RoPE's θ.

        head_dim    None means d_model / heads; an even number if there is a theta
        theta       RoPE with this θ turns queries and keys; None turns nothing

        Raises ValueError, naming both numbers, if kv_heads doesn't divide heads, or if
        head_dim is None and heads doesn't divide d_model.
        """
        raise NotImplementedError

    def forward(
        self, x: Tensor, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Attend among the rows of x (..., n, d_model); same shape and dtype.

        mask         boolean, True where a query may look; it broadcasts against (..., n, n)
                     and is the same for every head
        positions    (n,), where the rows stand, for RoPE; 0 … n - 1 where they aren't given

        A hidden key has no influence, however low the other scores are.  A query that may
        look at nothing gets 0.
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
