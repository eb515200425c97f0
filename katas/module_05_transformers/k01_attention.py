"""Scaled dot-product attention

**Before you start.**  You need matrix products with leading batch dimensions and the
softmax, no other kata.  Pictures: Alammar 2018, "The Illustrated Transformer".

**The idea.**  To predict a word, a model must decide which earlier words matter.
Attention learns this.  Each position asks with a query.  It offers a key, which says what it
can answer, and a value, the answer.  A query is compared with every key.  Then the values
are averaged; those whose keys fit better count for more.

**The formula.**  Queries, keys and values are the rows of Q, K and V; a query and a key
have d_k entries:

    Attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V

              keys                        values
            k₁  k₂  k₃                      v₁
    q₁  [ 2.0 0.1  –  ]   softmax  [.87 .13  0 ]   ×  v₂  ──▶  .87 v₁ + .13 v₂
    q₂  [ 0.3 0.3 0.3 ]  ───────▶  [.33 .33 .33]      v₃
         scores, – is masked        weights: each row sums to 1

**Why √d_k?**  If the entries of q and k are independent with mean 0 and variance 1,
their dot product has variance d_k.  Undivided, the scores of a wide head lie so far apart that
one key gets all the weight.  The softmax's gradient is then close to 0: the head stops
learning.

**Why a mask?**  A decoder must not look ahead.  A score of -inf becomes a weight of exactly 0:
the key changes neither the output nor the gradient.

**Worked by hand**, one query over two keys, d_k = 4:

    q = [1 0 1 0]   k₁ = [1 0 1 0]   k₂ = [0 1 0 1]
    scores  = [2, 0] / √4 = [1, 0]
    weights = [e¹, e⁰] / (e¹ + e⁰) = [0.731, 0.269]

**Shapes**, with any leading batch dimensions `...` (batch, heads):

    q (..., n, d_k)    k (..., m, d_k)    v (..., m, d_v)    mask: broadcasts to (..., n, m)

No function changes its arguments.

Answers are on the device of the input: make new tensors there (`device=x.device`).
causal_mask, which has none, is on the CPU.

**Steps.**

    softmax     10 min   stable for large scores; what if a whole slice is -inf?
    attention   15 min   one matrix product for all scores, the mask before softmax
    causal_mask  5 min   the last query is at the last key

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1.

From scratch: torch.softmax, torch.nn.functional.softmax, torch.Tensor.softmax,
torch.nn.Softmax and torch.nn.functional.scaled_dot_product_attention may not be used.
"""

from torch import Tensor


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """Softmax of `x` along `dim`; same shape and dtype as `x`.

    - Finite for any finite scores, ±1e4 included.
    - Entries of -inf get weight 0.
    - A slice that is all -inf has no valid answer.  It gets all zeros, and its gradient is
      0: a NaN would spread to every parameter.
    """
    raise NotImplementedError


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attend from `q` to `k` and average `v`.  All three are finite; shapes as above.

    `mask` is boolean and True where a query may look at a key.  It broadcasts against the
    scores (..., n, m): a (batch, 1, 1, m) hides each sequence's padding from all heads.
    None lets every query see every key.

    Returns the output (..., n, d_v) and the weights (..., n, m).

    - A masked key has weight 0, however low the scores of the others are.
    - A query that may look at no key has weights of 0, and its output is 0.

    Raises ValueError, naming both widths, if q and k disagree on d_k.
    """
    raise NotImplementedError


def causal_mask(n: int, m: int) -> Tensor:
    """Boolean (n, m): True where query i may look at key j.

    The last query is at the last key, as in decoding with a cache, where n new tokens
    look at m ≥ n tokens in total: causal_mask(2, 3) is [1 1 0], [1 1 1].
    """
    raise NotImplementedError
