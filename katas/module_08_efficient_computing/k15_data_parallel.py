"""Data parallelism: one model on n processes, each with its part of the batch

**Before you start.**  You need all-reduce and broadcast (collectives), backward() and .grad, and
hooks: `p.register_post_accumulate_grad_hook(f)` calls f(p) as soon as p's gradient is there.  No
other kata is imported: torch.distributed's collectives can run in the background.

**The idea.**  A batch is too slow for one process.  So every rank holds the whole model and
computes the gradient of its own examples.  The ranks average these, take the same step, and stay
alike.  Four things make it right and fast.

*Same start.*  Ranks may have drawn other initial weights.  Send rank 0's parameters and buffers
(running means) to all.

*Buckets, in reverse.*  One all-reduce per parameter pays the latency a hundred times.  One for all
can only start after the backward pass.  So put gradients into buckets of some megabytes.  The
backward pass reaches the last layer first, so fill them from the last parameter on.  Here with a
limit of 50 bytes:

    parameter   │    0   │  1       2    │   3
    bytes       │    40  │  8       24   │   100
    bucket      └─── 2 ──┴────── 1 ──────┴── 0 ──┘

*Overlap.*  When a bucket has all its gradients, start its all-reduce and don't wait:

    backward   param 3 ████ param 2 ███ param 1 ██ param 0 ████
    network               bucket 0 ▒▒▒▒▒▒     bucket 1 ▒▒▒   bucket 2 ▒▒▒▒
    step                                                     synchronize ──┘

*Order.*  Collectives match by their order.  So start bucket i only after bucket i − 1.  A parameter
without a gradient takes part with zeros, and so does a rank without examples.

**The formula.**  Rank r has N_r of the batch's N examples, and L_r is the mean of its losses:

    L = (1/N) Σ over all N examples          ∇L = Σ_r (N_r/N) ∇L_r

With equal N_r that is the mean over the ranks.  Else, first multiply each rank's loss by n N_r / N.

**What would go wrong without the order?**  The third all-reduce of one rank meets the third of
another.  If one rank doesn't use a layer, its buckets are ready in another order, and gradients of
different layers add up.

**And with several backward passes per step?**  One all-reduce of the sum is enough, at the last
pass: put `with model.no_sync():` around the others.

**Worked by hand**, buckets of 50 bytes from the last parameter on, then a batch on two ranks:

    40, 8, 24, 100 bytes    [3]      100 alone is more than a bucket
                            [2, 1]   24 + 8 = 32; 40 more would be 72
                            [0]      what is left

    examples                3 and 1
    mean gradients          2 and 6        of the batch (3 · 2 + 1 · 6)/4 = 3
    factors                 2 · 3/4 = 1.5 and 2 · 1/4 = 0.5
    mean over the ranks     (1.5 · 2 + 0.5 · 6)/2 = 3

**Shapes**: parameters of any shape, all of one dtype, float32 or float64.

**Steps.**  A good place to pause is after loss_factor.

    broadcast_parameters   5 min   in place, buffers too
    make_buckets          10 min   the bucket that is just full
    loss_factor            5 min   one small all-reduce
    DataParallel          45 min   first one all-reduce per gradient; then buckets; then overlap

`train_gpt.py`, beside this file, trains a small GPT with it, also on several machines (torchrun's
--nnodes and --rdzv-endpoint):

    torchrun --nproc-per-node=2 katas/module_08_efficient_computing/train_gpt.py

Source: Li et al. 2020, "PyTorch Distributed: experiences on accelerating data parallel
training".

From scratch: use torch.distributed's collectives as you like;
torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel, torch.distributed.fsdp and
torch.distributed.algorithms may not be used.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def broadcast_parameters(module: nn.Module, root: int = 0) -> None:
    """Give all parameters and buffers of `module` the values that they have on the rank `root`.

    - It is done in place: each keeps its memory.
    - Those of submodules are among them, and buffers that the state_dict leaves out.
    - Buffers may be of any dtype.
    - Whether a parameter requires a gradient doesn't matter, and nothing of it stays in a graph.
    - A parameter that stands in two places (tied weights) is sent once.
    """
    raise NotImplementedError


def make_buckets(parameters: Sequence[Tensor], limit: int) -> list[list[int]]:
    """The parameters' indices in buckets of at most `limit` bytes, from the last to the first.

    - A bucket is closed when the next parameter would make it larger than `limit`.
    - A parameter that alone is larger has a bucket of its own.
    - No parameters make no buckets.
    """
    raise NotImplementedError


def loss_factor(examples: int) -> float:
    """n N_r / N of this rank, which has `examples` = N_r, a float.

    The ranks tell each other their N_r in one small all-reduce.

    Raises ValueError, on all ranks, where none has an example.
    """
    raise NotImplementedError


class DataParallel(nn.Module):
    """A model whose gradients are averaged over all ranks while the backward pass runs.

        model = DataParallel(net)
        loss_of(model(x)).backward()
        model.synchronize()
        optimizer.step()

    module   the model itself; its parameters are those of `self.parameters()`, too
    buckets  the indices, in buckets, of the parameters that require a gradient, as numbered in
             [p for p in module.parameters() if p.requires_grad]: tied weights have one number
    """

    def __init__(self, module: nn.Module, bucket_bytes: int = 25 * 2**20) -> None:
        """Take rank 0's parameters and buffers, and hook the parameters that require a gradient."""
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """`module` called with the arguments, so that its hooks run."""
        raise NotImplementedError

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """In the block, backward passes only add to this rank's gradients: nothing is sent.

        An error in the block ends it, too.  Blocks may be nested: the outermost counts.
        """
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until every .grad is the mean over the ranks; each rank calls it once before a step.

        - In the backward pass before it, each bucket's all-reduce was started (async_op=True) as
          soon as its gradients were there and the buckets before it had been started.
        - Buckets that weren't are reduced now: where this rank has no gradient, with zeros.
          Afterwards every parameter that requires a gradient has one.
        - There is one all-reduce for each bucket, of all its gradients (with those that no_sync
          added up before), and nothing else is sent.
        """
        raise NotImplementedError
