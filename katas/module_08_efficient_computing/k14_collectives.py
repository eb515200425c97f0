"""Collectives: how many processes add up one array.

Training on many processes comes down to a few collective operations, which every
rank enters and none leaves before its part is done:

    broadcast        one rank has x                 → every rank has x
    reduce           every rank has an x            → one rank has Σ x
    reduce-scatter   every rank has an x            → rank r has part r of Σ x
    all-gather       rank r has part r              → every rank has all parts
    all-reduce       every rank has an x            → every rank has Σ x

They are all made of two things that a network can do: send and receive.  Done
naively, one rank gathers everything, adds and sends it back: its wire carries
2(n − 1) arrays while all others wait.  Two shapes do better.

A binomial tree doubles, in each round, the ranks that have the array: after ⌈log₂ n⌉
rounds all n have it.  Run backwards, it reduces.  Few messages, so it is good for
what is small and bound by latency.

A ring cuts the array into n parts, so that all wires work at once: in each of n − 1
steps every rank sends one part to its right neighbour, gets another from its left,
and adds what it gets to its own (reduce-scatter).  n − 1 further steps pass the
finished parts on (all-gather).  A rank sends 2(n − 1) parts of 1/n of the array:

    bytes sent by a rank = 2 (n − 1)/n · bytes of the array

which stays below 2 arrays however many ranks there are, and no all-reduce can send
less.  With latency α a message and bandwidth β, in bytes a second,

    ring   2 (n − 1) (α + B/(n β))          tree and back   2 ⌈log₂ n⌉ (α + B/β)

Worked by hand: three ranks hold [1, 2, 3], [10, 20, 30], [100, 200, 300].  Part r
shall end on rank r, so part c starts on rank c + 1.
    step 1   rank 1 sends part 0: 10, rank 2 sends part 1: 200, rank 0 sends part 2: 3
             rank 2 has part 0: 110, rank 0 has part 1: 202, rank 1 has part 2: 33
    step 2   these go on: rank 0 has part 0: 111, rank 1 part 1: 222, rank 2 part 2: 333
After two more steps of all-gather, each has [111, 222, 333], and has sent 4 numbers,
2 · 2/3 of the three.

A rank that sends before it receives, in a ring where all do, may wait for ever:
`dist.send` needn't come back before the other side takes the message.  Start the
sending (`dist.isend`), receive, then wait for the sending to be done.  Messages must
be contiguous, and what is being sent must not change until it has been sent.

Every function is called on all ranks of the default group (n of them, 1 included)
with x of one shape and dtype (float32, float64 or int64), which may be a view that
isn't contiguous, and returns tensors of x's dtype.  No function changes its arguments.

Source: Thakur, Rabenseifner & Gropp 2005, "Optimization of Collective Communication
Operations in MPICH"; Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms
for clusters of workstations".
From scratch: write them on torch.distributed's send, recv, isend and irecv (or
batch_isend_irecv) alone; torch.distributed.broadcast, reduce, all_reduce, all_gather,
all_gather_into_tensor, reduce_scatter, reduce_scatter_tensor, gather, scatter,
all_to_all and all_to_all_single, those of objects (broadcast_object_list,
all_gather_object and gather_object) and barrier may not be used.
"""

from torch import Tensor


def broadcast(x: Tensor, root: int = 0) -> Tensor:
    """`x` of the rank `root`, on every rank, by a binomial tree.

    x     any shape; on ranks other than `root` only its shape and dtype count
    root  the rank whose x is sent

    In each round the ranks that have it send it on, each to one other at most, so that `root`
    sends ⌈log₂ n⌉ messages and all ranks together n − 1.  Nearest first or farthest first:
    any binomial tree will do.
    """
    raise NotImplementedError


def tree_reduce(x: Tensor, root: int = 0) -> Tensor | None:
    """The sum of all ranks' `x` on the rank `root`, None on the others, by a binomial tree.

    The broadcast run backwards: each rank but `root` sends one message of x's size, and `root`
    gets ⌈log₂ n⌉ of them.
    """
    raise NotImplementedError


def reduce_scatter(x: Tensor) -> Tensor:
    """Part r of the sum of all ranks' `x`, on rank r, by a ring.

    x        (n·k, …): its first axis is cut into n parts of k
    returns  (k, …)

    Each rank sends n − 1 messages of one part, all of them to one neighbour.
    Raises ValueError, naming the length and n, where n doesn't divide the first axis.
    """
    raise NotImplementedError


def all_gather(x: Tensor) -> Tensor:
    """All ranks' `x` behind one another along the first axis, in the order of the ranks, by a ring.

    x        (k, …)
    returns  (n·k, …)

    Each rank sends n − 1 messages of x's size, all of them to one neighbour.
    """
    raise NotImplementedError


def all_reduce(x: Tensor) -> Tensor:
    """The sum of all ranks' `x`, on every rank, by a ring.

    x        any shape, () included, and any number of elements: where n doesn't divide it, the
             parts are made equal by zeros at the end
    returns  x's shape

    Each rank sends 2 (n − 1) messages of ⌈elements / n⌉ elements at most, all to one neighbour.
    """
    raise NotImplementedError


def ring_seconds(size: float, n: int, latency: float, bandwidth: float) -> float:
    """Seconds that the ring needs to all-reduce `size` bytes over `n` ranks.

    latency    seconds that each message takes however short it is
    bandwidth  bytes a second that a rank can send, while it receives as many
    """
    raise NotImplementedError


def tree_seconds(size: float, n: int, latency: float, bandwidth: float) -> float:
    """Seconds for the same by a tree reduce and a broadcast; arguments as in `ring_seconds`."""
    raise NotImplementedError
