"""Activation checkpointing and load balancing

**Before you start.**  You need torch.autograd.Function ("Extending PyTorch" in torch's
documentation), torch's random generator (get_rng_state, set_rng_state), and the 0/1 knapsack for
choose_recompute.  No other kata.

**The idea.**  A deep network fills its memory with activations, not with weights: autograd keeps
each until its gradient is due.  *Checkpointing* trades time for that memory.  Keep only a
function's inputs, and compute its inside again when the backward pass arrives:

    forward     y = f(x) without a graph; x is kept
    backward    detach x, compute f(x) again, now with a graph; send ∂L/∂y
                through it; hand ∂L/∂x back; the graph dies at once

*The √n schedule.*  Cut n equal layers into s segments and checkpoint each.  Keep the s inputs; one
segment at a time is computed again.  For 16 layers in 4:

    layers            0 1 2 3     4 5 6 7     8 9 10 11    12 13 14 15
    kept              ●           ●           ●            ●
    computed again                                         ■  ■  ■  ■    first
                                              ■ ■  ■  ■                  then
                                  ■ ■ ■ ■                                then
                      ■ ■ ■ ■                                            last

*Selective recomputation.*  Softmax and dropout make many bytes in little time; a matrix product
doesn't.  Recompute only what is cheap for its bytes.

*Load balancing.*  Workers that wait for each other are as fast as the slowest, say experts, whose
cost is their tokens.  *Longest processing time first* (LPT) takes the jobs by falling cost and
gives each to the worker with the least load so far.  The best partition is NP-hard; LPT's largest
load is at most 4/3 of the best one's.

**The formula.**

    kept(s) = s + ⌈n/s⌉          least: ⌈2√n⌉, at s ≈ √n

    imbalance = largest load / mean load

**Why does a checkpoint touch the random generator?**  The second run must repeat the first, and
dropout draws its mask.  So keep the generator's state with x, and set it for the second run.
Afterwards restore the state from before the backward pass, or the next batch draws old numbers.

**Why no greedy choice of what to recompute?**  Seconds per byte are only a rule of thumb.  The best
choice is a 0/1 knapsack: go through the layers once and remember, for each number of bytes kept,
the least extra time.

**Worked by hand:**

    f(x) = (w·x)², w = 3, x = 5: y = 225.  Kept: x alone.  Backward with 1:
    w·x = 15 again, ∂y/∂x = 2·15·3 = 90, ∂y/∂w = 2·15·5 = 150

    16 layers: 4 segments of 4 keep 4 + 4 = 8 activations, not 16

    bytes 6, 5, 5, seconds 5, 4.5, 4.5, budget 6 bytes: layer 0 is the cheapest
    per byte (5/6 < 4.5/5), but with it another is still needed: 9.5 s.
    Recomputing layers 1 and 2 keeps 6 bytes and takes 9 s

    costs 3, 5, 3, 4, 3 on 2 workers: LPT gives 5 + 3 = 8 and 4 + 3 + 3 = 10,
    imbalance 10/9 = 1.111.  The best is 5 + 4 = 3 + 3 + 3 = 9

**Shapes**: tensors of any shape.  Answers and gradients are on the device where they would be
without a checkpoint.  No function changes its arguments, nor whether they require gradients.

**Steps.**  A good place to pause is after checkpoint_sequential.

    checkpoint              45 min   what if no argument needs a gradient?
    checkpoint_sequential   10 min   lengths that differ by one at most
    best_segments            5 min   try them all, or think
    choose_recompute        15 min   a table over bytes
    partition                5 min   sort, then the least load
    imbalance                3 min   one line

Sources: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost",
sections 4.1–4.3; Korthikanti et al. 2022, "Reducing Activation Recomputation in
Large Transformer Models", section 5; Graham 1969, "Bounds on Multiprocessing
Timing Anomalies", section 4 (LPT).

From scratch: torch.utils.checkpoint may not be used.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor


def checkpoint(function: Callable[..., Any], *args: Any) -> Tensor | tuple[Tensor, ...]:
    """`function(*args)`, whose inside is computed again in the backward pass.

    function  returns one tensor, or a tuple of tensors; some of a tuple may need no gradient
              (indices, a detached tensor), and some may go unused.  It may itself call
              `checkpoint`.
    args      tensors, with or without gradient, of any dtype, and anything else (numbers, None,
              lists, …), in any order, in which they reach `function`.  The same tensor may stand
              there twice.
    returns   what `function` returns; a tuple of one stays a tuple

    Write it as a torch.autograd.Function.

    *Gradients.*  `backward()` on the result gives

    - to each tensor in `args` that requires one, the gradient that it would have without the
      checkpoint, also if that tensor is itself computed;
    - to the parameters that `function` uses on its own (a module's weights) theirs, added to their
      .grad, also if no tensor in `args` requires one.

    If nothing inside requires a gradient either (a frozen part of a model), the backward pass of
    a loss that uses the result just goes on around it.  Under torch.no_grad() the value is the
    same, and it requires no gradient.

    *Memory.*

    - Of floating-point tensors, autograd keeps just the tensors in `args`, also if only parameters
      need gradients.  Nothing holds the result as soon as nobody uses it.
    - After a backward pass without retain_graph nothing holds the arguments any more, though the
      result lives on.
    - Save them with ctx.save_for_backward.  Then a tensor that was changed in place in between
      makes backward() raise autograd's RuntimeError, where a wrong gradient would come out
      silently.

    *Calls.*  `function` runs once now and once in each backward pass.
    backward(retain_graph=True) may be followed by a second one, which adds the same gradients
    again.

    *Randomness.*  Only torch's default CPU generator counts.

    - The recomputation draws the same numbers as the first run.
    - Numbers drawn after the checkpoint, before or after the backward pass, are those that come
      without it.

    Not promised: torch.autograd.grad for parameters, gradients of gradients, and modules that are
    switched between train and eval before the backward pass.
    """
    raise NotImplementedError


def checkpoint_sequential(
    layers: Sequence[Callable[[Tensor], Tensor]], x: Tensor, segments: int
) -> Tensor:
    """Apply `layers`, a list or an nn.Sequential, to `x` in order, in checkpointed segments.

    - The n layers are cut into `segments` runs of neighbours whose lengths differ by at most one;
      which are the longer ones is free.
    - Each, also the last, is one `checkpoint`: the inputs of the segments are kept, nothing else,
      and each layer runs once now and once in the backward pass.

    Raises ValueError, naming `segments` and n, unless 1 ≤ segments ≤ n.
    """
    raise NotImplementedError


def best_segments(n: int) -> int:
    """A number of segments s, an int in 1 … n, with the least s + ⌈n/s⌉; of several, any."""
    raise NotImplementedError


def choose_recompute(sizes: Sequence[int], seconds: Sequence[float], budget: int) -> list[int]:
    """Which layers to recompute so that the rest fits into `budget` in the least extra time.

    sizes    the bytes that each layer keeps unless it is recomputed: positive whole numbers, in any
             unit
    seconds  the extra time of recomputing each, above 0, independent of the others
    budget   a whole number, 0 or more
    returns  the layers to recompute, a list of ints in rising order

    - The sizes of all others sum to at most `budget`, with the least sum of seconds.  Of several
      such lists, any will do.
    - It is exact for 40 layers and a budget of some hundreds, too, in under a second: 2⁴⁰ choices
      are too many to try.
    - With no layers the list is empty.
    """
    raise NotImplementedError


def partition(costs: Sequence[float], workers: int) -> list[list[int]]:
    """Share jobs out by LPT: by falling cost, each to a worker with the least load so far.

    costs    0 or more for each job; there may be no jobs
    returns  `workers` lists of jobs' numbers, in which each job stands once

    - A worker without jobs has an empty list.
    - You may choose the order of the workers, the order inside a list, and which comes first among
      equal costs or equal loads.
    """
    raise NotImplementedError


def imbalance(loads: Sequence[float]) -> float:
    """The largest load over the mean load, a float: 1.0 if all are equal.

    Loads are 0 or more, and one at least is positive.
    """
    raise NotImplementedError
