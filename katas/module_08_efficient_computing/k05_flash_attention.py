"""Flash attention: exact attention that never writes the n × m matrix down

**Before you start.**  You need scaled dot-product attention with its causal mask, and
torch.autograd.Function ("Extending PyTorch" in torch's documentation).  No other kata.

**The idea.**  A GPU spends more time moving attention's n × m scores than computing them: softmax
needs whole rows.  Flash attention keeps one small tile of scores and never stores the rest.  For
that, softmax must work on a row that comes in pieces.

**The formula.**  *Online softmax* keeps three things for each query:

    top   the largest score so far
    l     the sum of exp(score − top) so far
    acc   the sum of exp(score − top) · value so far

A block of scores s with values v may bring a new maximum, top′.  Correct the old sums by exp(top −
top′), then add the block:

    top′ = max(top, max s)
    l′   = l · exp(top − top′) + Σ exp(s − top′)
    acc′ = acc · exp(top − top′) + exp(s − top′) v

At the end of a row, the output is acc / l.  The row's log-sum-exp is L = top + ln l.

*Forward* cuts the scores S = Q Kᵀ / √d into a × b tiles (queries × keys): one online step for
each.  The causal mask lets query i see key j where j ≤ i + (m − n).  Skip tiles without a visible
score.  Here n = 4, m = 6, a = b = 2; ■ is visible, – is masked:

               keys
               0  1   2  3   4  5
    query 0  [ ■  ■ │ ■  – │      ]   two steps, the third tile is skipped
          1  [ ■  ■ │ ■  ■ │      ]
             ───────┼──────┼───────
          2  [ ■  ■ │ ■  ■ │ ■  – ]   three steps
          3  [ ■  ■ │ ■  ■ │ ■  ■ ]

*Backward* gets dO, the gradient of the output O.  It computes each tile's probabilities P again; ∘
multiplies entry by entry:

    P = exp(S − L)                        D = rowsum(dO ∘ O)
    dV += Pᵀ dO        dP = dO Vᵀ         dS = P ∘ (dP − D)
    dQ += dS K / √d    dK += dSᵀ Q / √d

**Why compute P again?**  Keeping it takes O(n m) memory; q, k, v, O and L take O(n + m).

**Why D?**  The gradient of a row's softmax is dSᵢⱼ = Pᵢⱼ (dPᵢⱼ − Σₖ Pᵢₖ dPᵢₖ).  That sum seems to
need the whole row, but Σₖ Pᵢₖ dPᵢₖ = dOᵢ · Σₖ Pᵢₖ Vₖ = dOᵢ · Oᵢ.

**Worked by hand**, one query with the scores 1, 3, 2 and the values 10, 20, 30, in blocks of two:

    block [1, 3]   top = 3   l = e⁻² + 1 = 1.1353        acc = 10 e⁻² + 20 = 21.3534
    block [2]      top = 3   l = 1.1353 + e⁻¹ = 1.5032   acc = 21.3534 + 30 e⁻¹ = 32.3897
    output 32.3897 / 1.5032 = 21.547, L = 3 + ln 1.5032 = 3.4076

    in blocks of one: first top = 1, l = 1, acc = 10; then the 3 multiplies both by e⁻²

**Shapes**, with any leading axes `…`, none included:

    q (…, n, d)    k (…, m, d)    v (…, m, d)    scores (…, n, m)    tile (a, b): queries, keys

Tensors are float32 or float64, of any strides.  Answers have the inputs' dtype and device: make new
tensors there (`device=q.device`).  No function changes its arguments, nor does
FlashAttention.backward.

**Steps.**  A good place to pause is after flash_forward.

    online_step      10 min   −∞ − (−∞) is NaN: what if a query has seen nothing yet?
    flash_forward    20 min   a helper that yields the visible tiles serves backward, too
    flash_backward   20 min   the same tiles; the scale of the scores counts twice
    FlashAttention    5 min   one gradient for each argument, None for what is no tensor
    flash_attention   5 min   check, then apply

Sources: Milakov & Gimelshein 2018, "Online normalizer calculation for softmax"; Dao, Fu, Ermon,
Rudra & Ré 2022, "FlashAttention"; Dao 2023, "FlashAttention-2".

From scratch: torch.nn.functional.scaled_dot_product_attention, torch.softmax, torch.log_softmax,
torch.nn.functional.softmax, torch.nn.functional.log_softmax, torch.Tensor.softmax,
torch.Tensor.log_softmax, torch.special.softmax, torch.special.log_softmax, torch.nn.Softmax,
torch.nn.LogSoftmax and torch.nn.attention may not be used, nor any other operator of torch that
computes attention or softmax whole.
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

    - Nothing overflows, however large or low the scores are.
    - A query that sees nothing in this block keeps its state.
    - One that has seen nothing at all stays at −∞, 0 and 0, without NaN.
    """
    raise NotImplementedError


def flash_forward(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, tile: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Attention's output (…, n, d) and the log-sum-exps of the scores (…, n), tile by tile.

    - No tensor may be larger than the largest of q, k, v and one tile of scores: memory is the
      point.
    - Compute a tile's scores as one matrix product, and none for a tile that the causal mask hides
      altogether.
    - n and m are 1 or more; with the mask, n ≤ m.  The last tile of a row or column may be smaller.
    - A masked key has no influence at all, however low the visible scores are.
    """
    raise NotImplementedError


def flash_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    grad: Tensor,
    causal: bool,
    tile: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v from that of the output.

    out   (…, n, d) and lse (…, n): what `flash_forward` returned
    grad  (…, n, d): the gradient of the output, of any strides

    - Each tile's probabilities are computed again, by one matrix product.
    - Memory, skipped tiles, smaller tiles and masked keys are as in `flash_forward`.
    """
    raise NotImplementedError


class FlashAttention(torch.autograd.Function):
    """`FlashAttention.apply(q, k, v, causal, tile)` is attention with `flash_backward`'s gradient.

    - ctx.save_for_backward keeps q, k, v, the output and the log-sum-exps, and no other tensor.
    - What isn't a tensor is kept on ctx: other calls may come before the backward pass.
    - A second backward pass (retain_graph) gives the same gradients.
    """

    @staticmethod
    def forward(
        ctx, q: Tensor, k: Tensor, v: Tensor, causal: bool, tile: tuple[int, int]
    ) -> Tensor:
        """The output (…, n, d)."""
        raise NotImplementedError

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The gradients of forward's arguments: three tensors, and None for causal and tile."""
        raise NotImplementedError


def flash_attention(
    q: Tensor, k: Tensor, v: Tensor, causal: bool = False, tile: tuple[int, int] = (64, 64)
) -> Tensor:
    """Attention (…, n, d) that can be differentiated: `FlashAttention` applied.

    Raises ValueError, naming n and m, where causal attention has more queries than keys.
    """
    raise NotImplementedError
