"""Scaled dot-product attention

A query asks a question, every key says how well it answers, and the values
are averaged by those answers:

    Attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V

Why √d_k?  If the entries of q and k are independent with mean 0 and variance
1, their dot product has variance d_k.  Unscaled, a wide head's scores are so
far apart that softmax puts all its weight on one key, and its gradient there
is close to 0: the head stops learning.  Dividing by √d_k brings the variance
back to 1.

Why a mask?  A decoder must not look ahead.  A score of -inf becomes a weight
of exactly 0, so a masked key has no influence at all: not on the output, and
not on the gradient.

Worked by hand, one query over two keys, d_k = 4:

    q = [1 0 1 0]   k₁ = [1 0 1 0]   k₂ = [0 1 0 1]
    scores  = [2, 0] / √4 = [1, 0]
    weights = [e¹, e⁰] / (e¹ + e⁰) = [0.731, 0.269]

Shapes, with any leading batch dimensions `...` (batch, heads):

    q (..., n, d_k)    k (..., m, d_k)    v (..., m, d_v)    mask (n, m)

No function changes its arguments.

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1.

From scratch: torch.softmax, torch.nn.functional.softmax, torch.Tensor.softmax,
torch.nn.Softmax and torch.nn.functional.scaled_dot_product_attention may not be
used.
"""

from torch import Tensor


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """Softmax of `x` along `dim`; same shape and dtype as `x`.

    Finite for any finite scores, ±1e4 included.  Entries of -inf get weight 0.
    A slice that is all -inf has no valid answer: it gets all zeros, not NaN.
    """
    raise NotImplementedError


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attend from `q` to `k` and average `v`; shapes as above.

    `mask` is boolean and True where a query may look at a key; None lets every
    query see every key.

    Returns the output (..., n, d_v) and the weights (..., n, m).
    Raises ValueError, naming both widths, if q and k disagree on d_k.
    """
    raise NotImplementedError


def causal_mask(n: int, m: int) -> Tensor:
    """Boolean (n, m): True where query i may look at key j.

    The last query stands at the last key, as in decoding with a cache, where
    n new tokens look at m ≥ n tokens in all.
    """
    raise NotImplementedError
