"""Flash attention in Triton: one kernel for scores, softmax and values

**Before you start.**  You need tiles, masks and tl.dot (triton_basics, triton_matmul) and the
online softmax (flash_attention).  To compare, import your flash_forward (the reference's is used
until yours is green):

    from .k05_flash_attention import flash_forward

Are loops in Triton new to you?  Read the tutorial "Fused Attention" in its documentation.

**The idea.**  Attention in three kernels spends its time moving scores.  In float16 with 4096
positions it writes and reads 4 · 2 · 4096² bytes, 134 MB per head; q, k, v and the output of width
64 have 2 MB together.  In one kernel, the scores never leave the registers.

**The formula.**  A program has one tile of queries of one leading index (batch and head).  It loads
them once, keeps top, l and acc in registers, and walks along the keys:

    top = −∞    l = 0    acc = 0                        (a,) (a,) (a, d), float32
    for each tile of keys K and values V:
        S    = Q Kᵀ / √d                                (a, b), −∞ where masked
        top′ = max(top, max of each row of S)
        P    = exp(S − top′)
        l    = l · exp(top − top′) + row sums of P
        acc  = acc · exp(top − top′) + P V
        top  = top′
    out = acc / l

Of n queries and m keys, the causal mask lets query i see key j where j ≤ i + (m − n).  So a tile's
loop ends at the last key that its last query sees.  Here n = 40, m = 50 and all tiles are 16 long:

                       keys and values in memory
    one program         0–15     16–31    32–47   48–49
    queries  0–15     │ step 1 │ step 2 │        │    │   26 keys seen
    queries 16–31     │ step 1 │ step 2 │ step 3 │    │   42
    queries 32–39     │ step 1 │ step 2 │ step 3 │ 4  │   50; 8 rows stick out

**What you need of Triton**, besides what triton_matmul used:

- `tl.dot(q, tl.trans(k), input_precision="ieee")`: without "ieee" a GPU cuts float32 to TF32.
- `tl.max(scores, axis=1)` and `tl.sum(p, axis=1)` go along the keys.
- `tl.full((A,), -float("inf"), dtype=tl.float32)` is where top starts.
- `tl.where(sees, scores, -float("inf"))` is the mask, keys past the end included.
- `p.to(v.dtype)`: tl.dot wants two tiles of one dtype.

In a loop, top, l and acc must keep their shapes and dtypes.

**Why is there no NaN from −∞ − (−∞)?**  Every query sees key 0, which is in the first tile.  So top
is finite after the first step.

**Why float32 inside?**  float16 has 11 significant bits.  It rounds scores of about 1024 to whole
numbers.  A weight under 0.0004 doesn't change a sum of 1.

**Worked by hand**, the drawing's tiles with d = 16 in float32:

    queries read once                  40 · 16 · 4 bytes                     2560
    keys and values that are seen      2 · (26 + 42 + 50) · 16 · 4 bytes    15104
    by whole tiles of keys             2 · (32 + 48 + 50) · 16 · 4 bytes    16640

    scores 1, 3, 2, values 10, 20, 30 (flash_attention's example): the output is 21.547

**Shapes.**  b is batch and heads together; d is a power of two, 16 or more:

    q (b, n, d)    k (b, m, d)    v (b, m, d)    tile: queries and keys, powers of two, 16 or more

Without a GPU, the kernel runs in Triton's interpreter, and every address is checked.  No function
changes its arguments.

**Steps.**

    keys_seen                5 min   the last tile of queries may stick out
    flash_attention_triton  45 min   first without the mask; pause; then with it.  Print in the
                                     interpreter

Sources: Dao 2023, "FlashAttention-2: Faster Attention with Better Parallelism and Work
Partitioning", section 3; Triton's documentation, the tutorial "Fused Attention".

From scratch: scores, softmax and the product with the values are computed in one kernel of yours.
torch.nn.functional.scaled_dot_product_attention, torch.softmax, torch.log_softmax,
torch.nn.functional.softmax, torch.nn.functional.log_softmax, torch.Tensor.softmax,
torch.Tensor.log_softmax, torch.special.softmax, torch.special.log_softmax, torch.nn.Softmax,
torch.nn.LogSoftmax and torch.nn.attention may not be used.
"""

from torch import Tensor


def keys_seen(first: int, n: int, m: int, causal: bool, tile: int) -> int:
    """How many keys, counted from key 0, the queries first … first + tile − 1 see together.

    first   the tile's first query, 0 … n − 1
    n, m    queries and keys in total; n ≤ m where causal
    tile    queries per tile; those from n on don't exist

    Without the mask these are all m.
    """
    raise NotImplementedError


def flash_attention_triton(
    q: Tensor, k: Tensor, v: Tensor, causal: bool = False, tile: tuple[int, int] = (64, 64)
) -> Tensor:
    """Attention as one Triton kernel: a program for each tile of queries of each leading index.

    q, k, v  (b, n, d), (b, m, d), (b, m, d), all float32 or all float16, contiguous; n, m ≥ 1
    tile     queries and keys per tile
    returns  (b, n, d), of q's dtype

    - One launch of b · ⌈n / tile[0]⌉ programs, on a grid of any shape.
    - The kernel is given q, k and v themselves, and writes the answer: no copies; every number is
      written once.
    - Each program reads its queries once, and a tile of keys and values only if one of its queries
      sees one of those keys.  Of the last such tile it may read all keys that exist.
    - No block is larger than a tile of queries, of keys or of scores: registers are few.
    - Scores, maxima and sums are float32.  Inputs of products may be float16.
    - A masked key has no influence at all, however low the visible scores are.

    Raises ValueError, naming n and m, where causal attention has more queries than keys.
    """
    raise NotImplementedError
