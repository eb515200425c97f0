"""Multi-head attention

One softmax per query is one question per token.  But a token needs several at
once: a verb looks for its subject, for its object, and at the word before.
Averaged into one set of weights, these would blur.  So the width d_model is cut
into `heads` slices of d_h = d_model / heads, each slice attends on its own, and
a last matrix mixes what the heads found:

    headᵢ = Attention(Q[i], K[i], V[i])      Q = x W_Q + b_Q,  K = c W_K + b_K,  V = c W_V + b_V
    out   = concat(head₁ … head_h) W_O + b_O

Here c is the context: x itself in self-attention, another sequence (of any
length) in cross-attention.  Each head's scores are scaled by √d_h, not by
√d_model: d_h is the length of its dot products.

Why one matrix of d_model × d_model, not one per head?  It is the same: head i's
matrix is columns i·d_h … (i+1)·d_h - 1 of the big one, and one large product is
faster than many small ones.  That fixes the layout: head i owns a contiguous
block of columns, so that splitting is a view and an exchange of two axes.

Worked by hand, two tokens, d_model = 4, two heads, every projection the
identity without bias:

    x = [1 0 2 0]      head 0 sees [1 0], [0 1]: scores [1/√2, 0], weights [0.670, 0.330]
        [0 1 0 2]      head 1 sees [2 0], [0 2]: scores [4/√2, 0], weights [0.944, 0.056]

    out of token 0 = [0.670, 0.330, 1.888, 0.112]

Same data, yet head 1 looks more sharply: each head has its own map of weights.

PyTorch packs W_Q, W_K and W_V into one matrix, in this order, one below the
other: in_proj_weight (3·d_model, d_model) and in_proj_bias (3·d_model,).  They
are laid out as in nn.Linear, which computes x Wᵀ + b, so they can be copied as
they are.

Shapes, with any leading batch dimensions `...`, none included:

    x (..., n, d_model)    context (..., m, d_model)    weights (..., heads, n, m)

No function changes its arguments, nor does any method.

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.2.

From scratch: torch.nn.MultiheadAttention and
torch.nn.functional.multi_head_attention_forward may not be used.
Builds on k01_attention, whose `attention` you may import.
"""

from torch import Tensor, nn


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Cut (..., n, d) into heads: (..., heads, n, d/heads).

    Head i holds columns i·d/heads up to, not including, (i+1)·d/heads.
    Raises ValueError, naming d and heads, if heads doesn't divide d.
    """
    raise NotImplementedError


def merge_heads(x: Tensor) -> Tensor:
    """Put heads side by side, the inverse of split_heads: (..., heads, n, d_h) to (..., n, heads·d_h)."""
    raise NotImplementedError


class MultiHeadAttention(nn.Module):
    """Attention with `heads` heads over tokens of width `d_model`.

    Its parameters are those of four nn.Linear(d_model, d_model), named q_proj,
    k_proj, v_proj and out_proj.  Their initial values are free.
    """

    def __init__(self, d_model: int, heads: int, bias: bool = True) -> None:
        """`bias` says whether all four linear layers have a bias; without, theirs is None.

        Raises ValueError, naming d_model and heads, if heads doesn't divide d_model.
        """
        raise NotImplementedError

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend from `x` (..., n, d_model) to `context` (..., m, d_model), or to `x` itself if that is None.

        `mask` is boolean and True where a query may look at a key; it
        broadcasts against (..., heads, n, m), so (n, m) serves all heads and
        (batch, 1, 1, m) hides each sequence's padding.  None hides nothing.
        Weights of hidden keys are 0; a query that may look at nothing has
        weights of only 0, and its output is out_proj's bias.

        Returns the output (..., n, d_model) and the weights (..., heads, n, m),
        each head's own, not averaged.
        """
        raise NotImplementedError

    def load_packed(self, state: dict[str, Tensor]) -> None:
        """Copy the values of a torch nn.MultiheadAttention's `state_dict()` into this module's parameters.

        `state` has in_proj_weight (3·d_model, d_model) with the rows of q, then
        k, then v; in_proj_bias (3·d_model,), likewise; out_proj.weight; and
        out_proj.bias.  A module without bias reads the two weights only; the
        biases then need not be there.

        The parameters stay the same objects, with their dtype: an optimizer
        that holds them still does, and no memory is shared with `state`.
        Raises ValueError, naming the shape given and the shape expected, if
        in_proj_weight isn't (3·d_model, d_model).
        """
        raise NotImplementedError
