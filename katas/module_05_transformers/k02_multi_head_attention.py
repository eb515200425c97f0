"""Multi-head attention

**Before you start.**  You need attention.  You may use yours (the reference's is used
until yours is green):

    from .k01_attention import attention

Pictures: Alammar 2018, "The Illustrated Transformer".

**The idea.**  A token needs several things at once.  A verb looks for its subject, its object,
and the word before.  One softmax gives it only one set of weights.  So cut the width into
slices, the heads.  Each attends on its own; a last matrix mixes what they found.

**The formula**, for `heads` heads of width d_h = d_model / heads:

    Q = x W_Q + b_Q      K = c W_K + b_K      V = c W_V + b_V
    headᵢ = Attention(Q[i], K[i], V[i])
    out   = concat(all headᵢ) W_O + b_O

x asks.  The context c answers: x itself in self-attention, another sequence of any length in
cross-attention.  Q[i] is head i's block of columns.  For 3 tokens, d_model 4 and 2 heads:

         Q (3, 4)                      split (2, 3, 2)
         head 0   head 1               ┌─────┐
    t₀  [ a  b  │  c  d ]              │ a b │  head 0: all its tokens
    t₁  [ e  f  │  g  h ]   ───────▶   │ e f │
    t₂  [ i  j  │  k  l ]   ◀───────   │ i j │
                            merge      ├─────┤
                                       │ c d │  head 1
                                       │ g h │
                                       │ k l │
                                       └─────┘

**Why not reshape (3, 4) to (2, 3, 2) at once?**  Memory holds a b c d e f …  A bare reshape
gives head 0 the numbers a … f, from tokens 0 and 1.  First give the width two axes,
(3, 2, 2).  Then exchange tokens and heads.

**Why one matrix W_Q, not one per head?**  Its columns i·d_h … (i+1)·d_h - 1 are head i's matrix.
One large product is faster than many small ones.

**Worked by hand**, two tokens, d_model = 4, two heads, every projection the identity
without bias.  Scores are divided by √d_h = √2, not by √d_model:

    x = [1 0 2 0]      head 0 sees [1 0], [0 1]: scores [1/√2, 0], weights [0.670, 0.330]
        [0 1 0 2]      head 1 sees [2 0], [0 2]: scores [4/√2, 0], weights [0.944, 0.056]

    out of token 0 = [0.670, 0.330, 1.888, 0.112]

**Shapes**, with any leading batch dimensions `...`, none included:

    x (..., n, d_model)    context (..., m, d_model)    weights (..., heads, n, m)

No function changes its arguments, nor does any method.

Answers are on the device of the input, and a module moved by .to works where it is.

**Steps.**

    split_heads          5 min   leading dimensions: count axes from the end
    merge_heads          5 min   the same two steps backwards
    MultiHeadAttention  25 min   20, and 5 for load_packed; what comes from x, what from
                                 the context?

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.2.

From scratch: torch.nn.MultiheadAttention and
torch.nn.functional.multi_head_attention_forward may not be used.
"""

from torch import Tensor, nn


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Cut (..., n, d) into heads: (..., heads, n, d/heads).

    Head i holds columns i·d/heads up to, not including, (i+1)·d/heads.

    Raises ValueError, naming d and heads, if heads doesn't divide d.
    """
    raise NotImplementedError


def merge_heads(x: Tensor) -> Tensor:
    """Put heads side by side: (..., heads, n, d_h) to (..., n, heads·d_h), split_heads undone."""
    raise NotImplementedError


class MultiHeadAttention(nn.Module):
    """Attention with `heads` heads over tokens of width `d_model`.

    Its parameters are those of four nn.Linear(d_model, d_model), named q_proj, k_proj,
    v_proj and out_proj.  Their initial values are free.
    """

    def __init__(self, d_model: int, heads: int, bias: bool = True) -> None:
        """`bias`: all four linear layers have one, or in all four it is None.

        Raises ValueError, naming d_model and heads, if heads doesn't divide d_model.
        """
        raise NotImplementedError

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend from `x` (..., n, d_model) to `context` (..., m, d_model); None means `x` itself.

        `mask` is boolean and True where a query may look at a key.  It broadcasts against
        (..., heads, n, m): (n, m) serves all heads, (batch, 1, 1, m) hides each sequence's
        padding.  None hides nothing.

        Returns the output (..., n, d_model) and the weights (..., heads, n, m), each head's
        own, not averaged.  Both have x's dtype.

        - A hidden key has weight 0, however low the scores of the others are.
        - A query that may look at nothing has weights of 0; its output is out_proj's bias.
        """
        raise NotImplementedError

    def load_packed(self, state: dict[str, Tensor]) -> None:
        """Copy the values of a torch nn.MultiheadAttention's `state_dict()` into this module.

        `state` holds, in any order:

            in_proj_weight (3·d_model, d_model)    the rows of q, then k, then v
            in_proj_bias   (3·d_model,)            likewise
            out_proj.weight, out_proj.bias         as in nn.Linear

        torch lays them out as nn.Linear does, which computes x Wᵀ + b: copy them as they are.

        - A module without bias reads the two weights only; the biases need not be there.
        - The parameters stay the same objects, with their dtype, so an optimizer made before
          still updates them.
        - No memory is shared with `state`.

        Raises ValueError, naming the shape given and the shape expected, if in_proj_weight
        isn't (3·d_model, d_model).
        """
        raise NotImplementedError
