"""ZeRO: a model that is too large for each of the ranks that train it

**Before you start.**  You need all-gather and reduce-scatter (collectives), data parallelism,
AdamW, and torch.autograd.Function for the last step.  Use torch.distributed's collectives, or
yours (the reference's are used until yours are green):

    from .k14_collectives import all_gather, reduce_scatter

**The idea.**  Data parallelism on n GPUs stores a model n times, though every rank computes the
same update.  A large model doesn't fit.  With AdamW in mixed precision, a parameter takes

    2 bytes      the parameter in float16
    2 bytes      its gradient in float16
    12 bytes     the state: parameter, first and second moment in float32

ZeRO (zero redundancy optimizer) keeps one copy among all ranks.  It cuts first the state, then the
gradients, then the parameters.  Three ranks hold these parts of parameters P, gradients G and state
S:

              rank 0           rank 1           rank 2
              P    G    S      P    G    S      P    G    S
    stage 0   ███  ███  ███    ███  ███  ███    ███  ███  ███   data parallelism
    stage 1   ███  ███  █––    ███  ███  –█–    ███  ███  ––█
    stage 2   ███  █––  █––    ███  –█–  –█–    ███  ––█  ––█
    stage 3   █––  █––  █––    –█–  –█–  –█–    ––█  ––█  ––█

**The formula.**  Bytes per rank, of Ψ parameters on n ranks:

    stage 0    2Ψ + 2Ψ + 12Ψ
    stage 1    2Ψ + 2Ψ + 12Ψ/n
    stage 2    2Ψ + 2Ψ/n + 12Ψ/n
    stage 3    2Ψ/n + 2Ψ/n + 12Ψ/n

To cut a tensor, flatten it and append zeros until n divides its length.  Rank r gets the r-th of n
equal parts, of k = ⌈elements/n⌉ numbers.

A step of each stage, in order of time:

    stage 1   forward, backward ▶ reduce-scatter G ▶ AdamW ▶ all-gather P
    stage 2   forward
              ──▶ backward of layer 3 ▶ reduce-scatter its G, free it
              ──▶ backward of layer 2 ▶ …           ▶ AdamW ▶ all-gather P
    stage 3   all-gather layer 1, run it, free it ▶ layer 2 ▶ layer 3
              ──▶ all-gather layer 3, run it again and backward,
                  reduce-scatter its G, free both
              ──▶ layer 2 ▶ layer 1                 ▶ AdamW

**Why may the state be cut anywhere?**  AdamW is elementwise: it updates each number from its own
gradient and moments.  So give torch.optim.AdamW a part; it doesn't notice.

**What does it cost?**  An all-reduce of the gradients is a reduce-scatter and an all-gather.
Stages 1 and 2 reduce-scatter gradients and all-gather parameters: the same traffic.  Stage 3
gathers parameters twice: one and a half times as much.

**Worked by hand:**

    [1, 2, 3, 4, 5, 6, 7] on three ranks, k = 3:   [1, 2, 3]   [4, 5, 6]   [7, 0, 0]

    7.5 billion parameters on 64 ranks, GB = 10⁹ bytes:
    stage 0   16 · 7.5 = 120          stage 2   15 + 105/64 = 16.6
    stage 1   30 + 90/64 = 31.4       stage 3   120/64 = 1.875

**Shapes**: a parameter of any shape, () included; its part (k,).

**What holds everywhere.**

- All ranks of the default group (n of them, 1 included) make the same calls in the same order.
- Tensors are float32 or float64 and may be views that aren't contiguous.
- Parameters start the same on all ranks, are of one dtype, and nothing else changes them.  Each
  that requires a gradient gets one in each backward.
- No function changes its arguments.
- Bytes are counted per rank, as on a ring: (n − 1)/n · B for a reduce-scatter of B bytes, for an
  all-gather of n parts of B/n bytes, for a broadcast and for a reduce; twice that for an
  all-reduce.  Use any collectives, of one tensor or several, async or not.
- Memory is counted from all tensors that are alive.  To each limit the tests add 1 kB and twice
  the largest parameter: what a collective carried may live a moment longer.

**Steps.**  Good places to pause are after reduce_mean and after Zero2.

    memory_per_rank    5 min   each stage divides one summand more
    shard              5 min   memory of its own
    gather             5 min   drop the padding
    reduce_mean        5 min   pad, reduce-scatter, divide
    Zero1             15 min   AdamW over the parts; what of a frozen parameter?
    Zero2             10 min   a hook on each parameter
    Zero3             45 min   an autograd Function that gathers twice

Source: Rajbhandari, Rasley, Ruwase & He 2020, "ZeRO: Memory Optimizations Toward Training
Trillion Parameter Models", section 5 and figure 1.

From scratch: torch.distributed's collectives and torch.optim.AdamW may be used, but not
torch.distributed.optim (with ZeroRedundancyOptimizer), torch.distributed.fsdp,
torch.distributed.tensor and torch.nn.parallel.
"""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn


def memory_per_rank(numel: float, n: int, stage: int) -> float:
    """Bytes of parameters, gradients and state that each rank holds, by the formula above.

    numel    Ψ, the number of parameters
    n        the number of ranks
    stage    0, 1, 2 or 3
    returns  a float; Ψ/n needn't be whole

    Raises ValueError, naming the stage given, where it is none of these.
    """
    raise NotImplementedError


def shard(x: Tensor) -> Tensor:
    """This rank's part of `x`, which is the same on all ranks.

    x        any shape, () included
    returns  (k,) with k = ⌈elements/n⌉, padded by zeros, of x's dtype

    - It has no gradient history, whether x requires a gradient or not.
    - It has memory of its own: a view would keep the whole of x alive.
    - Nothing is sent.
    """
    raise NotImplementedError


def gather(part: Tensor, shape: Sequence[int]) -> Tensor:
    """The whole tensor of `shape`, on every rank, from the part that each rank has.

    part     (k,), as `shard` gives it; it may require a gradient, what is returned doesn't
    shape    the shape of the whole, () included; the padding is dropped

    A rank sends (n − 1)·k elements at most: an all-gather.
    """
    raise NotImplementedError


def reduce_mean(x: Tensor) -> Tensor:
    """This rank's part of the mean of all ranks' `x`.

    x        any shape, () included, the same on all ranks
    returns  (k,), the part that `shard` would give of the mean

    A rank sends (n − 1)·k elements at most: a reduce-scatter, not an all-reduce.
    """
    raise NotImplementedError


class Zero1:
    """Stage 1: whole parameters and whole gradients on every rank, AdamW's state in parts.

    - Zero1, Zero2 and Zero3 take AdamW's arguments, in its order.
    - They give the parameters that torch.optim.AdamW would have given on one process, from the mean
      of all ranks' gradients.
    - They send nothing before the first backward or call.
    - Between the steps Zero1 holds, beside the parameters, at most 3⌈elements/n⌉ numbers of the
      parameter's dtype for each: two moments and, if you like, a copy of the own part.
    - A frozen parameter (requires_grad False) may be among them in Zero1 and Zero2, and stays as
      it is.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        """params: the parameters of the model, iterated over once; the others: AdamW's."""
        raise NotImplementedError

    def step(self) -> None:
        """Update the parameters, in place, from every rank's `.grad`, which is None afterwards.

        - `.grad` holds the sum of all backwards since the last step.
        - A rank sends at most an all-reduce of the gradients and an all-gather of the parameters,
          both padded.
        """
        raise NotImplementedError


class Zero2:
    """Stage 2: as stage 1 (it may be a subclass), with the gradients in parts as well.

    `nn.Parameter.register_post_accumulate_grad_hook(function)` calls `function(parameter)` when its
    `.grad` is ready.  Reduce it there, at once, and free it: the whole gradients are never there
    together.

    - After a backward every `.grad` is None.
    - A rank then holds, beside the parameters, at most 4⌈elements/n⌉ numbers for each: what
      stage 1 holds, and its part of the gradient.
    - While it runs, a backward adds at most that part, six times the largest parameter, and the
      activations.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        """Arguments as Zero1's."""
        raise NotImplementedError

    def step(self) -> None:
        """Update the parameters, in place, from the sum of all backwards since the last step.

        With one backward per step, a rank sends at most a reduce-scatter of the gradients and an
        all-gather of the parameters, padded, in backward and step together.
        """
        raise NotImplementedError


class Zero3:
    """Stage 3: a chain of layers whose parameters, gradients and state are all in parts.

    The layers are nn.Modules that map one tensor to one, differentiably.  Each has parameters of
    its own, which all require gradients, no buffers and no randomness.

    Flatten the parameters of a layer, keep the own part, and let go of the layer's whole
    parameters (`p.data = p.new_empty(0)`).  Gather a layer's parameters for its forward and free
    them after it: run it without a graph, which would keep them.  Gather them again in backward,
    and free them with their gradients as soon as these are reduced.

    The simplest way is a torch.autograd.Function that saves its input and the part.  Its backward
    gathers, runs the layer again under torch.enable_grad() and takes the gradients of that.
    torch.func.functional_call runs a module with given parameters.

    - Between the steps a rank holds at most 4⌈elements/n⌉ numbers for each parameter: the part, two
      moments, a gradient.
    - While they run, a forward and backward add at most the part of the gradient, eight times the
      largest layer's parameters, and the activations.
    - Forward leaves for backward the activations and at most two layers' parameters.
    """

    def __init__(
        self,
        layers: Iterable[nn.Module],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        """layers: the same whole layers on every rank, iterated over once; the others: AdamW's."""
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        """What the layers make of `x`, one after the other: with gradients for `x` and the parts.

        x  (b, …), another on each rank; a leaf or not, it may require a gradient

        - The gradient of x is the rank's own and isn't averaged.
        - Several calls may come before one backward of what they have given.
        - Under torch.no_grad() a rank sends at most one all-gather of the parameters, padded.
        """
        raise NotImplementedError

    def step(self) -> None:
        """Update the own parts from the sum of all backwards since the last step.

        With one forward and backward per step, a rank sends at most two all-gathers of the
        parameters and a reduce-scatter of the gradients, padded, all together; step itself sends
        nothing.
        """
        raise NotImplementedError
