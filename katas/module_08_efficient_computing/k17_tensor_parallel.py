"""Tensor parallelism: one layer over many ranks

**Before you start.**  You need all-reduce (collectives), multi-head attention, and
torch.autograd.Function ("Extending PyTorch" in its documentation).  Sum with
torch.distributed, or with yours (the reference's until yours is green):

    from .k14_collectives import all_reduce

**The idea.**  A layer may be too large, or too slow, for one rank.  Tensor parallelism cuts it:
each of n ranks keeps 1/n of every weight matrix and does 1/n of every product.  Where do you cut so
that the ranks seldom need to talk?

**The formula.**  A Linear computes y = x Wᵀ + b, with x (..., in), y (..., out) and, as in torch, W
(out, in).  You can cut Wᵀ in two ways, here over ranks 0 and 1:

       column parallel                         row parallel

         x          Wᵀ          y                x          Wᵀ          y
      ┌─────┐   ┌───┬───┐   ┌───┬───┐        ┌───┬───┐   ┌───────┐   ┌─────┐
      │ all │ × │ 0 │ 1 │ ▶ │ 0 │ 1 │        │ 0 │ 1 │ × │   0   │ ▶ │ 0+1 │
      └─────┘   │   │   │   └───┴───┘        └───┴───┘   ├───────┤   └─────┘
                │   │   │                                │   1   │   all-reduce
                └───┴───┘                                └───────┘

      rank r: rows r of W, all of x          rank r: columns r of W, part r of x
      gives part r of y                      gives a summand of y

(The names refer to Wᵀ, as in the paper's y = xA.)  Cut by column, then by row: the first leaves
exactly the parts that the second wants.  GELU is elementwise, so it works on parts.  An MLP with
weights W₁ and W₂ needs one all-reduce, at its end.

What about backward?  Every rank uses x, so its gradient ∂x is the sum of the ranks' shares.  Two
functions tell autograd so: f begins the parallel region, and g ends it.  Each is the other with
forward and backward exchanged.  The ranks talk only where lines join:

    forward      f copies                                  g all-reduces
    rank 0   x ───────▶ W₁ rows 0 ▶ GELU ▶ W₂ columns 0 ▶ y₀ ────┬──▶ y
    rank 1   x ───────▶ W₁ rows 1 ▶ GELU ▶ W₂ columns 1 ▶ y₁ ────┴──▶ y

    rank 0  ∂x ◀─┬─ ∂x₀ ◀ W₁ rows 0 ◀ GELU ◀ W₂ columns 0 ◀──────── ∂y
    rank 1  ∂x ◀─┴─ ∂x₁ ◀ W₁ rows 1 ◀ GELU ◀ W₂ columns 1 ◀──────── ∂y
    backward     f all-reduces                             g copies

In attention every head works alone.  Cut q, k and v by column, so each rank has whole heads, and
the output projection by row; here 6 heads on 2 ranks:

                                     rank 0                  rank 1
    rows of W_q, W_k, W_v   │ head 0  head 1  head 2 │ head 3  head 4  head 5 │
    columns of W_out        │ head 0  head 1  head 2 │ head 3  head 4  head 5 │

A language model's last layer is column parallel, too: each rank has the logits of V/n words.
Gathering them would send V numbers per token.  The cross-entropy of a token with logits z needs
only three: m = max z, s = Σ exp(z − m) and the target's logit z_t.

    loss = ln s + m − z_t        ∂loss/∂z = exp(z − m)/s − (1 at the target)

Each takes one small all-reduce.  Backward needs nothing from the other ranks.

**Why no all-reduce in g's backward?**  After g every rank has the whole y and the whole loss, so ∂y
is already complete.  A sum would be n times too large.

**Why does the bias come after g?**  Before the sum it would count n times.

**Worked by hand**, two ranks, no GELU, W₁ = [[1, 1], [1, −1]], W₂ = [[2, 5]]:

                          rank 0       rank 1
    x                     [1, 2]       [1, 2]
    row of W₁             [1, 1]       [1, −1]
    part of the output    3            −1
    column of W₂          2            5
    summand               6            −5           g: y is 1 on both
    backward from 1       2            5
    gradient of x, own    [2, 2]       [5, −5]      f: [7, −3] on both

    logits, target 1      [0, ln 3]    [ln 4, ln 2]     m = ln 4
    Σ exp(z − m)          1/4 + 3/4    1 + 1/2          s = 2.5
    z_t                   ln 3                          loss = ln(10/3) = 1.204
    gradient              [0.1, −0.7]  [0.4, 0.2]

**What holds everywhere.**

- All ranks of the default group (n of them, 1 included) make the same calls in the same order.
- Tensors are float32 or float64; outputs have the dtype of the inputs.  torch.no_grad works.
- No function changes its arguments.  No backward changes the gradient that comes in.
- Bytes are counted per rank, as on a ring: 2(n − 1)/n · B for an all-reduce of B bytes, half of
  that for a reduce-scatter, (n − 1)·B for an all-gather of n parts of B bytes.
- An all-reduce may be of one tensor or several, and padded to a multiple of n numbers.
- ColumnParallelLinear's rules on parameters and memory hold for all four layers.

**Steps.**  A good place to pause is after ParallelMLP.

    copy_to_ranks                 15 min   the gradient may be an expanded view
    reduce_from_ranks              5 min   its mirror image
    ColumnParallelLinear          10 min   memory of its own
    RowParallelLinear             10 min   the bias counts once
    ParallelMLP                    5 min   name the hidden size in the error
    ParallelAttention             20 min   one all-reduce backward, not three
    vocab_parallel_cross_entropy  25 min   where is the target's logit?

Source: Shoeybi, Patwary, Puri, LeGresley, Casper & Catanzaro 2019, "Megatron-LM: Training
Multi-Billion Parameter Language Models Using Model Parallelism", section 3.

From scratch: torch.distributed's collectives and torch.autograd.Function may be used, but not
torch.distributed.tensor, torch.distributed.nn and torch.distributed._functional_collectives.
"""

from torch import Tensor, nn


def copy_to_ranks(x: Tensor) -> Tensor:
    """f: into the parallel region.  Returns x, which is the same on all ranks, as it is.

    - The gradient of x is the sum of all ranks' gradients, on every rank.
    - What reaches x on another path (a residual around f) isn't summed.
    - Forward sends nothing, backward one all-reduce of x's size.
    - x has any shape, () included.
    - The gradient that comes may be a view that isn't contiguous (`out.sum()` sends a single
      number, expanded).  A collective rejects such a view, and overwrites any other tensor.
    """
    raise NotImplementedError


def reduce_from_ranks(x: Tensor) -> Tensor:
    """g: out of the parallel region.  The sum of all ranks' x, on every rank, with x's shape.

    - The gradient of x is the one that comes, as it is.
    - Forward sends one all-reduce of x's size, backward nothing.
    - x has any shape, () included, and may be a view that isn't contiguous.
    """
    raise NotImplementedError


class ColumnParallelLinear(nn.Module):
    """A Linear with its outputs in n equal parts; rank r computes part r.

    weight   parameter (out/n, in): rows r·out/n … of the dense weight
    bias     parameter (out/n,): part r of the dense bias; None where that is None

    These two are all its parameters.  For this layer and the three below:

    - Dense layers are the same on all ranks.  Cutting one sends nothing, leaves it unchanged and
      keeps nothing of it.
    - Each parameter has memory of its own: a view would keep the whole dense weight alive.
    - It has the dense one's dtype and device, and is trained even where the dense one is frozen.
    - Before and after a call, a layer holds its parameters and under 500 bytes of other tensors:
      the next call may bring another shape of x and changed parameters.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """linear: the dense layer, the same on all ranks.

        Raises ValueError, naming out_features and n, if n doesn't divide out_features.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in), the same on all ranks, to part r of the output, (..., out/n).

        - f is in here: the gradient of x is complete, on every rank.
        - Forward sends nothing, backward one all-reduce of x's size.
        """
        raise NotImplementedError


class RowParallelLinear(nn.Module):
    """A Linear with its inputs in n equal parts; rank r has part r.

    weight   parameter (out, in/n): columns r·in/n … of the dense weight
    bias     parameter (out,): the whole dense bias, on every rank; None where that is None

    These two are all its parameters.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """linear: the dense layer, the same on all ranks.

        Raises ValueError, naming in_features and n, if n doesn't divide in_features.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in/n), part r of the input, to the whole output (..., out), on every rank.

        - g is in here: forward sends one all-reduce of the output's size, backward nothing.
        - The bias counts once; its gradient is the dense layer's, on every rank.
        """
        raise NotImplementedError


class ParallelMLP(nn.Module):
    """down(GELU(up(x))), with the exact GELU (torch.nn.functional.gelu), the hidden units split.

    up       column parallel: parameters `up.weight` and `up.bias` as in ColumnParallelLinear
    down     row parallel: parameters `down.weight` and `down.bias` as in RowParallelLinear
    """

    def __init__(self, up: nn.Linear, down: nn.Linear) -> None:
        """up (in → hidden), down (hidden → out): the dense layers.

        Raises ValueError, naming hidden and n, if n doesn't divide hidden.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) to (..., out), both whole on every rank, and so is the gradient of x.

        Forward sends one all-reduce of the output's size, backward one of x's size.
        """
        raise NotImplementedError


class ParallelAttention(nn.Module):
    """Multi-head self-attention, the heads split: rank r has heads r·heads/n … of them.

    Head h is in rows h·d_head … of q, k and v, and gives softmax(Q Kᵀ/√d_head) V.  The heads'
    outputs, side by side, go through `out`.

    q, k, v  column parallel, each with `weight` and `bias` as in ColumnParallelLinear
    out      row parallel, with `weight` and `bias` as in RowParallelLinear

    Its parameters are `q.weight`, `q.bias`, `k.weight`, … of these four alone.
    """

    def __init__(
        self,
        q: nn.Linear,
        k: nn.Linear,
        v: nn.Linear,
        out: nn.Linear,
        heads: int,
        causal: bool = False,
    ) -> None:
        """The dense layers and how they are used.

        q, k, v  each (in → heads · d_head)
        out      (heads · d_head → out)
        heads    of all ranks together
        causal   whether token i sees only tokens j ≤ i

        Raises ValueError, naming heads and n, if n doesn't divide heads.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (..., t, in) to (..., t, out), both whole on every rank, and so is the gradient of x.

        Forward sends one all-reduce of the output's size.  Backward sends one of x's size:
        one in total, as q, k and v use the same x.
        """
        raise NotImplementedError


def vocab_parallel_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over all tokens of −ln softmax(z)[target], (), on every rank.

    logits   (..., V/n), contiguous: rank r has its own part, words r·V/n … of each token
    targets  (...), int64, 0 to V − 1, the same on all ranks; () is a single token

    - Differentiable: the gradient of `logits` is this rank's part of the dense gradient.
    - Finite for logits of ±1e4.
    - Forward sends at most 3(n − 1) numbers per token, and 3(n − 1) more for padding: enough
      for three all-reduces of one number per token.  Backward sends nothing.
    - A second backward of the same loss (retain_graph) gives the same gradient or raises
      RuntimeError, never another gradient.
    """
    raise NotImplementedError
