"""ZeRO: a model that is too large for each of the ranks that train it.

In data parallelism every rank holds everything, though each computes the same update of
the same parameters.  With AdamW in mixed precision that is, for each parameter,

    2 bytes      the parameter in float16
    2 bytes      its gradient in float16
    12 bytes     the state: parameter, first and second moment in float32

ZeRO (zero redundancy optimizer) keeps one copy among all n ranks instead of n copies, in
three stages:

    stage   in parts, 1/n a rank               bytes a rank, of Ψ parameters
      0     nothing (data parallelism)         2Ψ + 2Ψ + 12Ψ
      1     the state                          2Ψ + 2Ψ + 12Ψ/n
      2     the state and the gradients        2Ψ + 2Ψ/n + 12Ψ/n
      3     and the parameters                 2Ψ/n + 2Ψ/n + 12Ψ/n

Why may the state be cut anywhere at all?  AdamW updates each number from its own gradient
and its own two moments: it is elementwise, so a rank can update a part without having seen
the others (torch.optim.AdamW doesn't notice that it is given one: use it, or write it
yourself).  Then all ranks fetch each other's parts.  The part's owner needs the mean
gradient of its part alone: a reduce-scatter, which is half of the all-reduce that data
parallelism does; the other half, an all-gather, now carries the parameters.  So stages 1
and 2 send no more than data parallelism.  Stage 3 gathers each layer's parameters twice, for
forward and again for backward, and frees them after each: one and a half times as much,
for memory that falls with n.

A tensor is cut so: flatten it, fill it up with zeros until n divides its length, and give
rank r the r-th of n equal parts, of k = ⌈elements/n⌉.

Worked by hand: [1, 2, 3, 4, 5, 6, 7] on three ranks, k = 3: rank 0 has [1, 2, 3], rank 1
[4, 5, 6], rank 2 [7, 0, 0].  A model of 7.5 billion parameters on 64 ranks: 16 bytes each are
120 GB a rank without ZeRO, then 30 + 90/64 = 31.4 GB, 15 + 105/64 = 16.6 GB and
120/64 = 1.875 GB (GB = 10⁹ bytes).

Bytes that a rank sends are counted in these tests as on a ring: a reduce-scatter of B bytes
and an all-gather of n parts of B/n bytes are (n − 1)/n · B each, an all-reduce is twice
that, a broadcast or a reduce of B bytes once.  Which collectives you use, of one tensor or of
several, async or not, is yours to choose.  Memory is counted from the tensors that are alive,
wherever they hide; at every limit below, 1 kB and two of the largest parameters may come on top,
since what a collective has carried may live a moment longer.

Every function and method is called on all ranks of the default group (n of them, 1
included), in the same order; tensors are float32 or float64, and may be views that aren't
contiguous.  Parameters are the same on all ranks to begin with, of one dtype, and nothing else
changes them; each of them gets a gradient in each backward.  No function changes its
arguments.

Source: Rajbhandari, Rasley, Ruwase & He 2020, "ZeRO: Memory Optimizations Toward Training
Trillion Parameter Models", section 5 and figure 1.

From scratch: torch.distributed's collectives and torch.optim.AdamW may be used, but not
torch.distributed.optim (with ZeroRedundancyOptimizer), torch.distributed.fsdp,
torch.distributed.tensor and torch.nn.parallel.
"""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn


def memory_per_rank(numel: float, n: int, stage: int) -> float:
    """Bytes of parameters, gradients and state that each rank holds, by the table above.

    numel    Ψ, the number of parameters
    n        the number of ranks
    stage    0, 1, 2 or 3
    returns  a float; Ψ/n needn't be whole

    Raises ValueError, naming the stage given, where it is none of these.
    """
    raise NotImplementedError


def shard(x: Tensor) -> Tensor:
    """This rank's part of `x`, which is the same on all ranks; sends nothing.

    x        any shape, () included
    returns  (k,) with k = ⌈elements/n⌉, padded by zeros: of x's dtype, without gradient
             history, in memory of its own, no view: a view keeps the whole of x alive
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

    Between the steps nothing is held beside the parameters but three times ⌈elements/n⌉
    numbers of its dtype for each parameter: the two moments, and a copy of the own part if you like.

    Zero1, Zero2 and Zero3 take AdamW's arguments, in its order, and give the parameters that
    torch.optim.AdamW would have given on one process from the mean of all ranks' gradients.
    They send nothing before the first backward or call.
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

        `.grad` holds the sum of all backwards since the last step.  A rank sends at most
        an all-reduce of the gradients and an all-gather of the parameters (padded).
        """
        raise NotImplementedError


class Zero2:
    """Stage 2: as stage 1 (it may be a subclass), with the gradients in parts as well.

    Each parameter's gradient is reduced as soon as backward has it, and is freed then, so that
    the whole gradients are never there together: `nn.Parameter.register_post_accumulate_grad_hook`
    calls a function of the parameter when its `.grad` is ready.  After a backward every `.grad` is
    None, and a rank holds beside the parameters four times ⌈elements/n⌉ numbers for each, at
    most: what stage 1 holds, and its part of the gradient.  A backward adds, while it runs, no more
    than that part, six times the largest parameter, and the activations.
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

        With one backward a step, a rank sends at most a reduce-scatter of the gradients and
        an all-gather of the parameters (padded), backward and step together.
        """
        raise NotImplementedError


class Zero3:
    """Stage 3: a chain of layers whose parameters, gradients and state are all in parts.

    The layers are nn.Modules that map one tensor to one, differentiably, each with parameters
    of its own, without buffers and randomness.  Their parameters are flattened, layer by layer, and
    the own part of them is kept; the layers' own whole parameters are let go
    (`p.data = p.new_empty(0)`).

    A layer's parameters are gathered for its forward and freed after it, so that no graph may
    save them; in backward they are gathered again, and freed with their gradients as soon as these are
    reduced.  The simplest way is a torch.autograd.Function that saves its input and the part:
    its backward gathers, runs the layer again under torch.enable_grad() and takes the
    gradients of that.  torch.func.functional_call runs a module with given parameters.

    Between the steps a rank holds, at most, four times ⌈elements/n⌉ numbers for each parameter
    (the part, two moments, a gradient).  A forward and backward adds, while it runs, no more than
    the part of the gradient, eight times the largest layer's parameters, and the activations;
    what forward leaves for backward is the activations, and no more than two layers' parameters.
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

        x        (b, …), another on each rank, which may require a gradient, a leaf or not: it is
                 the own x's and is not averaged

        Several calls may come before one backward of what they have given.
        Under torch.no_grad() a rank sends an all-gather of the parameters (padded) at most.
        """
        raise NotImplementedError

    def step(self) -> None:
        """Update the own parts from the sum of all backwards since the last step.

        With one forward and backward a step, a rank sends at most two all-gathers of the
        parameters and a reduce-scatter of the gradients (padded), all together; step sends nothing.
        """
        raise NotImplementedError
