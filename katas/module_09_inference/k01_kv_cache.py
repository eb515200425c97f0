"""A key-value cache

**Before you start.**  You need grouped-query attention and Llama.  You may use yours (the
reference's are used until yours are green):

    from katas.module_05_transformers.k01_attention import attention
    from katas.module_05_transformers.k12_grouped_query_attention import group_queries, repeat_kv

The model that is given here is made of these, imported already:

    from katas.module_05_transformers.k05_rope import apply_rope
    from katas.module_05_transformers.k06_normalization_layers import RMSNorm
    from katas.module_05_transformers.k07_feed_forward import GatedFeedForward
    from katas.module_05_transformers.k14_llama import LlamaConfig

**The idea.**  To write 500 tokens, `greedy` in the kata llama runs 125,000.  With a cache, 500 are
enough.  A language model writes one token at a time.  For token 501 it needs the keys and values of
the 500 tokens before it, and `greedy` computes all of them again for every new token.  That is
wasted work.  A token never looks ahead, so its keys and values are the same at every step.
Compute them once and keep them.  The place where they are kept is the *cache*.

Writing a text then has two phases.  *Prefill* runs the whole prompt in one pass, which fills the
cache.  *Decode* runs one token a pass.  The logits are the same as without a cache, at every step.

    without a cache                   with one
    the cat sat                       the cat sat         prefill
    the cat sat on                     ○   ○   ○  on      decode
    the cat sat on my                  ○   ○   ○   ○  my  decode
    ──▶ 12 tokens run                 ──▶ 5 tokens run

    ○ isn't run: its keys and values are read from the cache

**The formulas.**  K and V are the cached keys and values; q, k and v belong to the new token:

    attention = softmax(q [K; k]ᵀ / √head_dim) [V; v]
    bytes     = 2 · layers · kv_heads · head_dim · bytes a number · sequences · tokens

The 2 is for keys and values.  And who may see whom?  The mask compares positions:

    visible   = 0 ≤ key ≤ query
    window w  : also query - w < key

**A sliding window.**  Some models let a token see the last w positions only, itself included.
Then older keys and values can be dropped, and the cache stops growing.  But drop them *after*
attention.  Here w = 4, six tokens are cached, and three new ones come in one pass:

    position       0   1   2   3   4   5 │ 6   7   8
    held before            ■   ■   ■   ■ │
    query 6 sees               ■   ■   ■   ■
    query 8 sees                       ■   ■   ■   ■
    held after                         ■   ■   ■   ■

If you dropped first, query 6 would miss the keys 3 and 4.

**Why keep positions with the keys?**  A mask by row numbers breaks as soon as old rows are dropped
or overwritten.  A mask by positions doesn't: the order in memory is then free.  It also hides
padding.  Give padding a negative position, and no query sees it.

**Why are keys kept after RoPE?**  RoPE turns a key by its own position, which never changes.  So
turn it once.  Queries aren't kept at all: only their own token needs them.

**Why take the memory at once?**  torch.cat makes a new tensor and copies the old one into it.  At
each step that moves the whole cache.  So take memory for all tokens at the start, and write each
new token into its place.

**Worked by hand**

    SmolLM2: 30 layers, 3 key-value heads of 64, 2 bytes a number
        one token                 2 · 30 · 3 · 64 · 2 = 23,040 bytes
        8 texts of 2,048 tokens   23,040 · 8 · 2,048  = 377,487,360 bytes
        the same, window 512      23,040 · 8 · 512    =  94,371,840 bytes
        The weights take 269,030,016 bytes: the cache is larger.

    queries at 3 and 4, keys at 0 1 2 3 4      at 3:  1 1 1 1 0     at 4:  1 1 1 1 1
    the same with a window of 3                at 3:  0 1 1 1 0     at 4:  0 0 1 1 1

**Shapes**

    ids (b, n) int64      x (b, n, d_model)      positions (b, n) int64
    k, v of new tokens (b, kv_heads, n, head_dim)     logits (b, n, vocab_size)

All sizes are 1 or more.  In each row, positions go up by 1 from token to token, over all calls.
They needn't begin at 0, and rows may differ.

No function changes its arguments.  A pass of the model adds to its caches.

Answers are on the device of the input, and have its dtype.

**Steps.**  A good place to pause is before CachedAttention.

    cache_bytes          4 min   a window limits the tokens
    visible              6 min   two comparisons, two new axes
    KVCache             18 min   write in place, give views
    SlidingWindowCache  14 min   what is dropped, and when
    CachedAttention     15 min   turn, append, mask
    prefill              5 min   logits of the last token alone
    decode               2 min   a prompt of one token
    generate             8 min   no token is run in vain

Sources: Pope et al. 2022, "Efficiently Scaling Transformer Inference" (prefill and decode, the
cost of the cache); Jiang et al. 2023, "Mistral 7B", section 2 (the window and its cache).

From scratch: transformers and torch.nn.functional.scaled_dot_product_attention may not be used.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from katas.module_05_transformers.k05_rope import apply_rope
from katas.module_05_transformers.k06_normalization_layers import RMSNorm
from katas.module_05_transformers.k07_feed_forward import GatedFeedForward
from katas.module_05_transformers.k14_llama import LlamaConfig


def cache_bytes(config: LlamaConfig, batch: int, tokens: int, bytes_each: int = 2, window: int | None = None) -> int:
    """The bytes that the keys and values of `batch` sequences of `tokens` tokens each take, in all layers.

    With a `window`, at most so many tokens of each sequence are held.
    """
    raise NotImplementedError


def visible(queries: Tensor, keys: Tensor, window: int | None = None) -> Tensor:
    """Which keys a query may see: boolean (..., n, m), True where it may.

    queries   (..., n) the positions of the queries
    keys      (..., m) the positions of the keys, in any order
    window    None, or how many positions a query sees: its own and the window - 1 before it

    - Leading dimensions broadcast.
    - A key at a negative position is padding: nobody sees it.
    """
    raise NotImplementedError


class KVCache:
    """The keys and values of one layer, for `batch` sequences with room for `capacity` tokens each.

    The attribute `length` is the number of tokens that were appended, an int; 0 at first.
    """

    def __init__(
        self,
        batch: int,
        kv_heads: int,
        head_dim: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Takes the memory for the keys and values of `capacity` tokens, no more, of this dtype and on this device."""
        raise NotImplementedError

    def append(self, k: Tensor, v: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keep `n` new tokens: k and v (batch, kv_heads, n, head_dim), which stand at positions (batch, n).

        Returns those of all tokens so far, in the order in which they came:
        keys and values (batch, kv_heads, length, head_dim), positions (batch, length).

        - What is kept is a copy: it doesn't change with k, v or positions.
        - The keys and values that are returned are views of the memory taken at the start.  So a call
          copies the new tokens alone.

        Raises ValueError, naming the capacity and the length that there would be, if there is no room.  Then
        nothing has changed.
        """
        raise NotImplementedError

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first `length`; the next ones are appended there.

        Raises ValueError, naming both lengths, unless 0 ≤ length ≤ the length so far.
        """
        raise NotImplementedError


class SlidingWindowCache:
    """Like KVCache, for a model with a window: between calls it holds the last `window` tokens at most.

    The attribute `length` is the number of tokens that were appended, those dropped included.
    """

    def __init__(
        self,
        batch: int,
        kv_heads: int,
        head_dim: int,
        window: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """An empty cache of this dtype and on this device."""
        raise NotImplementedError

    def append(self, k: Tensor, v: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keep new tokens as KVCache does: any number, also more than `window`.

        Returns keys and values (batch, kv_heads, m, head_dim) and their positions (batch, m): the new tokens, and
        of the earlier ones at least those that a new query may see.

        - Earlier ones that nobody sees any more may be there or not.  The order is free, but
          it is the same for the three.  Each token stands there once.
        - Between calls the cache's tensors have no more memory than the keys and values of `window` tokens
          take, and of the positions.  Mind that a slice keeps all of the tensor's memory alive.
        - What is kept is a copy.  What was returned may be overwritten by the next call.
        """
        raise NotImplementedError


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
        """Attend from the new tokens x (b, n, d_model) to those in the cache and to each other; the same shape.

        - `positions` (b, n) are where the new tokens stand, for RoPE with the θ of the config, and for the mask.
        - `cache` has earlier tokens, or none.  Append the new keys and values once, turned by RoPE, with the
          key-value heads that they have.  Any object with the method `append` will do.
        - Query head h looks at key-value head h // (heads / kv_heads).
        - A query sees what `visible` says.  If that is nothing, as for padding, its attention is 0.
        """
        raise NotImplementedError


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
    """Run the prompt ids (b, n): the caches get it, and the logits (b, vocab_size) of its last token come back.

    - model(ids, caches) gets at most `chunk` tokens of each row at a time, in order, in as few calls as that
      allows; None: all in one.  Long prompts are cut so that the scores, n by m, take less memory.
    - The caches may hold earlier tokens: the prompt follows them.
    """
    raise NotImplementedError


def decode(model: nn.Module, token: Tensor, caches: Sequence) -> Tensor:
    """Run one more token of each row, token (b,), in one pass; the logits (b, vocab_size) after it."""
    raise NotImplementedError


def generate(
    model: nn.Module, ids: Tensor, new_tokens: int, stop: int | None = None, chunk: int | None = None
) -> Tensor:
    """The prompt `ids` (n,) and up to `new_tokens` new tokens, each the one with the largest logit: (n + …,).

    - It stops after the token `stop`, which is part of the result.  In the prompt that token stops nothing.
    - The prompt is prefilled in chunks of `chunk`, and each new token decoded in a pass of its own.  No
      token is run twice, and the last new one isn't run at all.
    - The caches are new ones, model.new_caches(1, capacity), with room for n + new_tokens tokens at most.
    - new_tokens may be 0.
    """
    raise NotImplementedError
