"""Selective scan: a recurrence that chooses what to remember, computed in parallel

**Before you start.**  You need broadcasting and the chain rule in torch.  The kata
state_space_models says where the recurrence comes from; you import no other kata.  If parallel
scans are new: Blelloch, "Prefix Sums and Their Applications" (on the web).

**The idea.**  You want a model that reads a long text with a state of fixed size.  A linear
system with constant matrices treats all words alike.  It can't keep a name and skip a comma.
Mamba makes the step Δ and the vectors B and C depend on the input.  A large Δ forgets the old
state and writes the new word.  A small Δ leaves the state as it is.  That is *selection*.

Selection has a price.  The kernel now differs at every place, so the convolution is gone.  What
is left is a recurrence, one sample after the other.  A GPU is slow at that: it wants to work on
many numbers at once.

The way out: each step is the map h → a h + b.  Two such maps, one after the other, are again such
a map.  This joining is *associative*: you may place the brackets as you like.  So join neighbours
first, all pairs at once, then pairs of pairs.  L samples take about log₂ L rounds.

**The formulas.**  t is the place, from 0 to L - 1; h_{-1} is the start.

    recurrence   h_t = a_t h_{t-1} + b_t                            entry by entry
    combine      (a₁, b₁) then (a₂, b₂)   is   (a₂ a₁,  a₂ b₁ + b₂)
    prefix       p_t = sample 0 then sample 1 then … then sample t
    Hillis       p_t ← p_{t-s} then p_t       for all t ≥ s at once;    s = 1, 2, 4, …
    backward     g_t = u'_t + a_{t+1} g_{t+1}                       g_L = 0
                 ∂a_t = g_t h_{t-1},   ∂b_t = g_t,   ∂start = a_0 g_0
    selective    a_t = exp(Δ_t A),   b_t = Δ_t B_t u_t
                 y_t = Σ_n C_tn h_tn + D u_t

u'_t is the gradient that arrives at h_t.  g_t is the whole gradient of h_t: what arrives there,
and what comes back through h_{t+1}.  In the selective form every channel d has N states.  A is
(D, N) and negative.  Mamba's rule for b is simpler than the zero-order hold: just Δ B u.

The block around it, in order:

    u, gate     the two halves of in_proj(x)
    u           silu of a causal convolution over time, each channel by itself (conv1d)
    δ, B, C     the three parts of x_proj(u), with R, N and N numbers
    Δ           softplus(dt_proj(δ))
    A           -exp(A_log)
    out         out_proj(y ⊙ silu(gate))                     silu(x) = x σ(x)

**A drawing**, associative_scan of five samples

    samples       0      1      2      3      4
                  └──┬───┘      └──┬───┘      │
    pairs            01            23         │    one call for all pairs
                     │             │          │
    scan of pairs    01           0123        │    itself, half as long
                     ├──────┐      ├──────────┤
    prefixes      0  01    012    0123      01234  one call for 2 and 4

**Why not divide by a product?**  h_t is also P_t Σ (b_i / P_i), where P_t is the product of the a
up to t.  But with |a| < 1, P shrinks to 0 within a few hundred samples, and one a of 0 ends it at
once.  The scan never divides.

**Why two scans?**  Hillis and Steele need the fewest rounds, but each round works on nearly all
samples: about L log₂ L joins.  The tree needs twice the rounds and fewer than 2 L joins.

**Why write the gradient yourself?**  Autograd keeps what every round made.  The formula needs a,
the states and the start alone.  And it is a scan, too, from the end to the beginning.

**Worked by hand**

    recurrence   a = 0.5 2 0 1,  b = 1 3 4 2,  start 0:  h = 1 5 4 6;   from start 2:  2 7 4 6
    combine      (0.5, 1) then (2, 3) is (1, 5);   (0, 4) then (1, 2) is (0, 6)
                 both: (0 · 1, 0 · 5 + 6) = (0, 6)
    backward     u' = 1 1 1 1:  g = 3 1 2 1,  ∂a = 0 1 10 4,  ∂start = 1.5
    selective    A = -1, B = 1, Δ = ln 2, u = 3:  a = 0.5,  b = 3 · 0.6931 = 2.0794

**Shapes**: the first axis is the batch, of size B.  Time is axis 1, and L ≥ 1.  a, b and states
are (B, L, …) with the same axes, start is (B, …).  u, Δ and y are (B, L, D), A is (D, N), the
vectors B_t and C_t together (B, L, N).  Results have the dtype and the device of what comes in,
and gradients flow through everything.  No function changes its arguments.

**Steps.**  A good place to pause is after associative_scan.

    combine                3 min   which one comes first?
    sequential_scan        5 min   a loop
    hillis_steele_scan    10 min   what happens to the first s places
    associative_scan      18 min   lengths that aren't powers of two
    scan_backward         10 min   a shift, and a scan from the end
    parallel_scan         10 min   a torch.autograd.Function
    selective_discretize   4 min   four axes
    selective_scan         6 min   all together
    MambaBlock            18 min   the published layer

Sources: Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces";
Blelloch 1990, "Prefix Sums and Their Applications"; Martin and Cundy 2018, "Parallelizing Linear
Recurrent Neural Nets Over Sequence Length".

From scratch: transformers, mamba_ssm, scipy and torch._higher_order_ops may not be used.
"""

from collections.abc import Callable

from torch import Tensor, nn

Elements = tuple[Tensor, ...]
Operation = Callable[[Elements, Elements], Elements]


def combine(first: Elements, second: Elements) -> Elements:
    """The pair (a, b) of the map that does `first`, then `second`; both are pairs of tensors of one shape."""
    raise NotImplementedError


def sequential_scan(a: Tensor, b: Tensor, start: Tensor | None = None) -> Tensor:
    """All states h (B, L, …), sample by sample.  start None: zeros."""
    raise NotImplementedError


def hillis_steele_scan(operation: Operation, elements: Elements) -> Elements:
    """All prefixes, as a tuple of tensors like `elements`: the method of Hillis and Steele.

    operation   joins two tuples like `elements` place by place: operation(earlier, later).  It is associative,
                but need not be commutative
    elements    one or more tensors (B, L, …), which may differ in the axes behind L

    Calls operation once a round: ⌈log₂ L⌉ times.
    """
    raise NotImplementedError


def associative_scan(operation: Operation, elements: Elements) -> Elements:
    """The same prefixes by the tree of the drawing.

    operation and elements are those of hillis_steele_scan; here operation takes places of length 0 as well

    Calls operation at most 2 ⌈log₂ L⌉ times, and all calls together join fewer than 2 L pairs of places.

    Raises ValueError, naming the lengths, if the elements differ in L.
    """
    raise NotImplementedError


def scan_backward(a: Tensor, states: Tensor, upstream: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of a, b and start, from the upstream gradient of the states; no loop over the samples."""
    raise NotImplementedError


def parallel_scan(a: Tensor, b: Tensor, start: Tensor | None = None) -> Tensor:
    """What sequential_scan gives, by a scan in parallel and with the lesson's gradient; no loop over the samples.

    For the backward pass it keeps at most two tensors of the size of b, and start: autograd's own way would keep
    those of each round.
    """
    raise NotImplementedError


def selective_discretize(u: Tensor, delta: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a_t and b_t of the lesson's selective form, (B, L, D, N) each.  Both delta and u are (B, L, D)."""
    raise NotImplementedError


def selective_scan(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y (B, L, D) and the last state (B, D, N).

    d       (D,)
    start   the state (B, D, N) before the first sample; None: zeros.  With the last state of one part as the start
            of the next, a text may come in parts
    """
    raise NotImplementedError


class MambaBlock(nn.Module):
    """Mamba's layer, with the published names; E is expand · width, R is width / 16, rounded up.

    in_proj    nn.Linear(width, 2 E), without bias; its first half is u, its second the gate
    conv1d     nn.Conv1d(E, E, kernel) with a bias, one group for each channel.  Its weight's last column belongs to
               the sample itself, and before the first sample there are zeros
    x_proj     nn.Linear(E, R + 2 N), without bias: δ, B, C in this order
    dt_proj    nn.Linear(R, E) with a bias.  At the start softplus(bias) lies between 0.001 and 0.1, and its logarithm
               is uniform there
    A_log      nn.Parameter (E, N); at the start every row is log 1, log 2, …, log N
    D          nn.Parameter (E,), at the start 1
    out_proj   nn.Linear(E, width), without bias
    """

    def __init__(self, width: int, states: int = 16, kernel: int = 4, expand: int = 2) -> None:
        """states is N."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, width) to (B, L, width)."""
        raise NotImplementedError
