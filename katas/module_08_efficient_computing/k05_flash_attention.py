"""Flash attention: exact attention that never writes the n × n matrix down.

Attention's scores are n × m numbers, and softmax needs a whole row of them: its maximum
and its sum.  Written to memory and read again, forward and backward, they cost more time
than all the products, and O(n²) memory.  But softmax can be computed online, block by block
of keys, with three things kept for each query:

    top  the maximum of the scores so far              starts at −∞
    l    the sum of exp(score − top) so far            starts at 0
    acc  the sum of exp(score − top) · value so far    starts at 0

A new block of scores s with values v may bring a new maximum top′.  What was added up under
the old one is put right by a factor:

    top′ = max(top, max s)
    l′   = l · exp(top − top′) + Σ exp(s − top′)
    acc′ = acc · exp(top − top′) + exp(s − top′) v

At the end the output is acc / l, and top + log l is the log-sum-exp of the row.

Forward.  Queries are cut into tiles of rows, keys and values into tiles of columns; scores
exist for one tile at a time.  Kept for the backward pass: q, k, v, the output and the
log-sum-exps L, all O(n).

Backward.  Each tile's probabilities are computed once more: P = exp(S − L), already
normalised.  With D = rowsum(dO ∘ O), O(n) as well,

    dV += Pᵀ dO        dP = dO Vᵀ        dS = P ∘ (dP − D)
    dQ += dS K / √d    dK += dSᵀ Q / √d

Causal attention lets query i see key j only where j ≤ i + (m − n): with m keys and n queries the
last query sees all keys.  Tiles that no query may look into are skipped, nearly half of all.
Causal attention needs n ≤ m, so that every query sees one key at least; without the mask any n and m will do.

Worked by hand: one query with the scores 1, 3, 2 and the values 10, 20, 30, in blocks of two.
    block [1, 3]   top = 3, l = e⁻² + 1 = 1.1353, acc = 10 e⁻² + 20 = 21.3534
    block [2]      top = 3, l = 1.1353 + e⁻¹ = 1.5032, acc = 21.3534 + 30 e⁻¹ = 32.3897
    output 32.3897 / 1.5032 = 21.547, log-sum-exp 3 + ln 1.5032 = 3.4076
In blocks of one the first step would be top = 1, l = 1, acc = 10, and the second multiplies l and
acc by e⁻² for the new maximum 3.

Shapes: q (…, n, d), k (…, m, d), v (…, m, d) with any leading axes, none included, and any
strides, float32 or float64, which the answers are as well; scores are q kᵀ / √d.  A tile (a, b) has a
queries and b keys; the last may be smaller, and a tile's scores are one matrix product.
No function changes its arguments, nor does FlashAttention.backward.

Source: Milakov & Gimelshein 2018, "Online normalizer calculation for softmax"; Dao, Fu, Ermon,
Rudra & Ré 2022, "FlashAttention"; Dao 2023, "FlashAttention-2".
From scratch: torch.nn.functional.scaled_dot_product_attention, torch.softmax, torch.log_softmax,
torch.nn.functional.softmax, torch.nn.functional.log_softmax, torch.Tensor.softmax,
torch.Tensor.log_softmax, torch.special.softmax, torch.special.log_softmax, torch.nn.Softmax, torch.nn.LogSoftmax
and torch.nn.attention may not be used, nor any other operator of torch that computes attention or softmax whole.
"""

import torch
from torch import Tensor

State = tuple[Tensor, Tensor, Tensor]
"""What is kept for each query: top (…, n), l (…, n) and acc (…, n, d)."""


def online_step(state: State, scores: Tensor, values: Tensor) -> State:
    """The state after one more block of keys.

    state   (top, l, acc) of shapes (…, n), (…, n) and (…, n, d); at the start −∞, 0 and 0
    scores  (…, n, b) of n queries and b keys; −∞ where a query may not look
    values  (…, b, d)

    A query that sees nothing in this block stays as it is, without NaN where it has seen nothing before either.
    """
    raise NotImplementedError


def flash_forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, tile: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Attention's output (…, n, d) and the log-sum-exps of the scores (…, n), tile by tile.

    No tensor with more than a tile's scores is made but for those of q's, k's and v's size, and no
    product is computed of a tile that the causal mask hides altogether.
    """
    raise NotImplementedError


def flash_backward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, grad: Tensor, causal: bool, tile: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v from that of the output, `grad`; the probabilities are computed again.

    out, lse  what `flash_forward` returned

    Memory and skipped tiles as in `flash_forward`.
    """
    raise NotImplementedError


class FlashAttention(torch.autograd.Function):
    """`FlashAttention.apply(q, k, v, causal, tile)` is the output, with the gradient of `flash_backward`.

    Kept between forward and backward are q, k, v, the output and the log-sum-exps, by ctx.save_for_backward;
    no other tensor is kept, and what isn't a tensor is kept on ctx: other calls may come in between.
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, causal: bool, tile: tuple[int, int]) -> Tensor:
        """The output (…, n, d)."""
        raise NotImplementedError

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The gradients of forward's arguments."""
        raise NotImplementedError


def flash_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False, tile: tuple[int, int] = (64, 64)) -> Tensor:
    """Attention (…, n, d) that can be differentiated: `FlashAttention` applied.

    Raises ValueError, naming n and m, where causal attention has more queries than keys.
    """
    raise NotImplementedError


def flash_attention_triton(
    q: Tensor, k: Tensor, v: Tensor, causal: bool = False, tile: tuple[int, int] = (64, 64)
) -> Tensor:
    """The forward pass as one Triton kernel: a program for each tile of queries of each leading index.

    q, k, v  (b, n, d), (b, m, d), (b, m, d), float32 or float16, contiguous; d a power of two, 16 or more
    tile     powers of two of 16 or more
    returns  (b, n, d), of q's dtype; inputs of products may be float16, scores and sums are float32

    One launch of b · ⌈n / tile[0]⌉ programs, on a grid of any shape.  No block is larger than a tile of
    queries, of keys, or of scores; keys that the causal mask hides from a whole tile of queries aren't read.
    """
    raise NotImplementedError
