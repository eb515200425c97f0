"""Tensor parallelism: one layer over many ranks.

Data parallelism needs the whole model on every rank, a pipeline a whole layer.  Tensor
parallelism cuts the layers themselves: each rank keeps 1/n of every weight matrix and does
1/n of every product.  The question is where to cut, so that the ranks seldom need to talk.

A Linear y = x Wᵀ + b, with W (out, in) as in torch, can be cut in two ways:

    column parallel   rank r has rows r of W: it needs the whole x, and has part r of y
    row parallel      rank r has columns r of W: it needs part r of x, and has a summand of y

(The names are those of Wᵀ, in the paper's y = xA.)  One after the other they fit: the first
leaves its output in just those parts that the second wants, and GELU, which is elementwise,
can be done on the parts.  So an MLP needs a single all-reduce, of the summands at its end.
In attention, every head is computed by itself: cut q, k and v by column, so that a rank has
whole heads, and the output projection by row.

What about backward?  x goes in on all ranks, and each has the gradient of its own use of it:
the gradient of x is their sum.  Two functions, which stand where the parallel region begins
and ends, say that to autograd.  Each is the other with forward and backward exchanged:

    f, copy      forward: x as it is          backward: all-reduce of the gradient
    g, reduce    forward: all-reduce of x     backward: the gradient as it is

(Why not an all-reduce in g's backward, too?  What follows g is done by all ranks alike, each
with the whole y and the whole loss: the gradient of y is already complete on every one.)

The last layer of a language model is column parallel, too, and leaves the logits of V/n
words on each rank.  Gathering them would send V numbers a token.  The cross-entropy of a token needs
only three, m = max z, s = Σ exp(z − m) and the target's logit z_t:

    loss = ln s + m − z_t,   ∂loss/∂z = exp(z − m)/s − (1 at the target)

Each is a small all-reduce; what backward needs of them is on every rank already.

Worked by hand, two ranks: x = [1, 2], first layer W = [[1, 1], [1, −1]], second [[2, 5]].
Rank 0 has the row [1, 1] and computes 3, rank 1 has [1, −1] and computes −1.  Of the second
layer they have the columns [2] and [5]: 2 · 3 = 6 and 5 · −1 = −5, and g gives 1 on both.
Backward from 1: the gradients of the parts are 2 and 5, those of x are 2·[1, 1] = [2, 2] and
5·[1, −1] = [5, −5], and f gives [7, −3] on both.
Cross-entropy: logits [0, ln 3] and [ln 4, ln 2], target 1.  m = ln 4, the ranks' sums are
1/4 + 3/4 = 1 and 1 + 1/2, s = 2.5; z_t = ln 3 is on rank 0.  The loss is
ln 2.5 + ln 4 − ln 3 = ln 10/3 = 1.204, its gradient [0.1, −0.7] and [0.4, 0.2].

Bytes that a rank sends are counted in these tests as on a ring: an all-reduce of B bytes
is 2(n − 1)/n · B, a reduce-scatter of B bytes half of that, an all-gather of n parts of B
bytes (n − 1)·B.  How an all-reduce is made, of one tensor or of several, is yours to choose;
its size may be rounded up to a multiple of n numbers.

Everything is called on all ranks of the default group (n of them, 1 included) in the same
order; tensors are float32 or float64, and all that comes out is of their dtype.  The dense
layers given are the same on all ranks and are cut there: nothing is sent for that.  They
aren't changed, and nothing of them is kept: of the parts' parameters, each has memory of its own
(no view: a view keeps the whole alive), has the dense one's dtype and device, and is trained, even
where the dense one is frozen.  A layer holds its parameters, and under 500 bytes of other tensors,
before a call and after it: it is called many times, with x of other shapes and with parameters that
have changed since.  No function changes its arguments, and no backward the gradient that comes to it.

Source: Shoeybi, Patwary, Puri, LeGresley, Casper & Catanzaro 2019, "Megatron-LM: Training
Multi-Billion Parameter Language Models Using Model Parallelism", section 3.
From scratch: torch.distributed's collectives and torch.autograd.Function may be used, but not
torch.distributed.tensor, torch.distributed.nn and torch.distributed._functional_collectives.
"""

from torch import Tensor, nn


def copy_to_ranks(x: Tensor) -> Tensor:
    """f: into the parallel region.  x, which is the same on all ranks, with x's shape.

    Its gradient is the sum of all ranks' gradients, on every rank.  Forward sends nothing,
    backward one all-reduce of x's size.  x has any shape, () included.  The gradient that comes may be a view
    that isn't contiguous (`out.sum()` sends one that is a single number, expanded): a
    collective doesn't take such a one, and works in place on any other.
    """
    raise NotImplementedError


def reduce_from_ranks(x: Tensor) -> Tensor:
    """g: out of the parallel region.  The sum of all ranks' x, on every rank, with x's shape.

    Its gradient is the one that comes, as it is.  Forward sends one all-reduce of x's size,
    backward nothing.  x has any shape, () included, and may be a view that isn't contiguous.
    """
    raise NotImplementedError


class ColumnParallelLinear(nn.Module):
    """A Linear of which rank r computes part r, of n equal ones, of the outputs.

    weight   parameter (out/n, in): rows r·out/n … of the dense weight
    bias     parameter (out/n,): part r of the dense bias; None where that is None

    These two are all its parameters.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """linear: the dense layer, the same on all ranks.

        Raises ValueError, naming out_features and n, where n doesn't divide out_features.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in), the same on all ranks, to part r of the output, (..., out/n).

        The gradient of x is complete, on every rank: f is in here.  Forward sends nothing,
        backward one all-reduce of x's size.
        """
        raise NotImplementedError


class RowParallelLinear(nn.Module):
    """A Linear to which rank r brings part r, of n equal ones, of the inputs.

    weight   parameter (out, in/n): columns r·in/n … of the dense weight
    bias     parameter (out,): the whole dense bias, on every rank; None where that is None

    These two are all its parameters.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """linear: the dense layer, the same on all ranks.

        Raises ValueError, naming in_features and n, where n doesn't divide in_features.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in/n), part r of the dense layer's input, to the whole output (..., out), on every rank.

        The bias counts once, and its gradient is the dense layer's on every rank: g is in here.
        Forward sends one all-reduce of the output's size, backward nothing.
        """
        raise NotImplementedError


class ParallelMLP(nn.Module):
    """down(GELU(up(x))), with the exact GELU (torch.nn.functional.gelu), the hidden units split.

    up       the column-parallel part, with parameters `up.weight` and `up.bias` as ColumnParallelLinear's
    down     the row-parallel part, with parameters `down.weight` and `down.bias` as RowParallelLinear's
    """

    def __init__(self, up: nn.Linear, down: nn.Linear) -> None:
        """up (in → hidden), down (hidden → out): the dense layers.

        Raises ValueError, naming hidden and n, where n doesn't divide hidden.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) to (..., out), both whole on every rank, and so is the gradient of x.

        Forward sends one all-reduce of the output's size, backward one of x's size.
        """
        raise NotImplementedError


class ParallelAttention(nn.Module):
    """Multi-head self-attention, the heads split: rank r has heads r·heads/n … of them.

    With head h in rows h·d_head … of q, k and v, each head gives softmax(Q Kᵀ/√d_head) V; the heads'
    outputs, side by side, go through `out`.

    q, k, v  column-parallel parts, each with `weight` and `bias` as ColumnParallelLinear's
    out      the row-parallel part, with `weight` and `bias` as RowParallelLinear's

    Its parameters are `q.weight`, `q.bias`, `k.weight`, … of these four alone.
    """

    def __init__(
        self, q: nn.Linear, k: nn.Linear, v: nn.Linear, out: nn.Linear, heads: int, causal: bool = False
    ) -> None:
        """The dense layers and what they are used for.

        q, k, v  each (in → heads · d_head)
        out      (heads · d_head → out)
        heads    of all ranks together
        causal   whether token i sees only tokens j ≤ i

        Raises ValueError, naming heads and n, where n doesn't divide heads.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (..., t, in) to (..., t, out), both whole on every rank, and so is the gradient of x.

        Forward sends one all-reduce of the output's size, backward one of x's size: one, not
        one for each of q, k and v.
        """
        raise NotImplementedError


def vocab_parallel_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over all tokens of −ln softmax(z)[target], (), on every rank.

    logits   (..., V/n), contiguous: rank r has the logits of words r·V/n … of each token, another part on
             each rank
    targets  (...), int64, from 0 to V − 1, the same on all ranks: () is a single token

    Differentiable: the gradient of `logits` is this rank's part of the dense gradient.  Finite for
    logits of ±1e4.  Forward sends at most 3(n − 1) numbers a token, and 3(n − 1) more: enough for
    three all-reduces of one number a token.  Backward sends nothing.  A second backward of the same loss
    (retain_graph) gives the same gradient or raises RuntimeError, never another gradient.
    """
    raise NotImplementedError
