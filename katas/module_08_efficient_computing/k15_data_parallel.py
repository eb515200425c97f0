"""Data parallelism: one model on n processes, each with its part of the batch.

Every rank holds the whole model and computes the gradient of its own examples; the mean
over the ranks is the gradient of the whole batch, so that all take the same step and stay
alike.  That is all, but for four things that make it right and fast:

Same start.  Ranks may have drawn other initial weights: rank 0's are sent to all, buffers
(running means, say) included.

Buckets, in reverse.  An all-reduce per parameter pays the latency a hundred times over;
one of all gradients at once can only start when the backward pass is over.  So gradients
are put together in buckets of some megabytes.  The backward pass reaches the last layer
first, hence buckets are filled from the last parameter to the first.

Overlap.  A hook on each parameter says that its gradient is there.  When a bucket has
all of its own, its all-reduce is started and not waited for; the backward pass goes on
computing while the network works.  Before the optimizer's step, one waits for all.

Order.  Collectives match by their order: the third all-reduce of one rank meets the third of
another, whatever they are about.  If one rank doesn't use a layer, its buckets would get
ready in another order, and gradients of different layers would be added up.  So bucket i is
started only after bucket i − 1, and a parameter that got no gradient takes part with zeros.

    L = (1/N) Σ over all N examples          ∇L = Σ_r (N_r/N) ∇L_r ,  L_r rank r's mean over its N_r

With equal N_r = N/n that is the mean over the ranks.  With uneven ones, each rank multiplies
its loss by n N_r / N first: then the mean over the ranks is right again.  A rank that has
run out of examples takes part with zeros.

Worked by hand: parameters of 40, 8, 24 and 100 bytes, buckets of 50.  From the last: 100
alone is more than a bucket, so it is one: [3].  Then 24 and 8 make 32, and 40 more would be
72: [2, 1], and [0] is left.  Two ranks with 3 and 1 examples and mean gradients 2 and 6:
the batch's is (3·2 + 1·6)/4 = 3; the factors 2·3/4 = 1.5 and 2·1/4 = 0.5 give (3 + 3)/2 = 3.

Gradient accumulation over several backward passes needs only one all-reduce, of the sum, at
the last: `with model.no_sync():` around the others.

`train_gpt.py`, beside this file, trains a small GPT with it:
    torchrun --nproc-per-node=2 katas/module_08_efficient_computing/train_gpt.py
and on several machines with torchrun's --nnodes and --rdzv-endpoint, unchanged.

All parameters of a model have one dtype, float32 or float64.

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
    """Give all parameters and buffers of `module`, in place, the values that they have on the rank `root`.

    Those of submodules are among them; buffers may be of any dtype.
    Whether a parameter requires a gradient doesn't matter, and nothing of it stays in a graph.
    """
    raise NotImplementedError


def make_buckets(parameters: Sequence[Tensor], limit: int) -> list[list[int]]:
    """The parameters' indices in buckets of at most `limit` bytes, from the last parameter to the first.

    A bucket is closed when the next parameter would make it larger than `limit`; a parameter that
    alone is larger has a bucket of its own.  See the lesson's example.
    """
    raise NotImplementedError


def loss_factor(examples: int) -> float:
    """n N_r / N of this rank, which has `examples` = N_r; the ranks tell each other in one small all-reduce.

    Raises ValueError where no rank has an example.
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
             [p for p in module.parameters() if p.requires_grad]
    """

    def __init__(self, module: nn.Module, bucket_bytes: int = 25 * 2**20) -> None:
        """Take rank 0's parameters and buffers, and see to it that gradients are noticed as they come."""
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """`module` called with the arguments, so that its hooks run."""
        raise NotImplementedError

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """In the block, backward passes only add to this rank's gradients: nothing is sent."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until every .grad is the mean over the ranks; called once on every rank before each step.

        During the backward pass before it, each bucket's all-reduce was started (async_op=True) as soon
        as its gradients were there and the buckets before it had been started.  Those that weren't are
        reduced now: where this rank has no gradient, with zeros, so that afterwards every parameter has
        one.  There is one all-reduce for each bucket, of all its gradients (with those that no_sync
        added up before), and nothing else is sent.
        """
        raise NotImplementedError
