"""Collectives: how many processes add up one array

**Before you start.**  torch.distributed runs one program in n processes, each with a rank.  You
need dist.get_rank(), dist.get_world_size(), dist.send(x, to), dist.recv(x, from) and isend.  No
other kata.  For a first picture read the tutorial "Writing Distributed Applications with PyTorch".

**The idea.**  Training on many processes comes down to a few operations that all ranks take part
in:

    broadcast        one rank has x                 → every rank has x
    reduce           every rank has an x            → one rank has Σ x
    reduce-scatter   every rank has an x            → rank r has part r of Σ x
    all-gather       rank r has part r              → every rank has all parts
    all-reduce       every rank has an x            → every rank has Σ x

A network can only send and receive.  If one rank gathers everything, adds and sends it back, its
wire carries 2(n − 1) arrays while all others wait.  Two shapes do better.

*A binomial tree* doubles the ranks that have the array in each round.  Run backwards, it reduces.
It needs few messages, so it is good for small arrays:

    round 1    0 ──▶ 1
    round 2    0 ──▶ 2    1 ──▶ 3
    round 3    0 ──▶ 4    1 ──▶ 5    2 ──▶ 6    3 ──▶ 7

*A ring* cuts the array into n parts, so that all wires work at once.  In each of n − 1 steps every
rank sends one part to its right neighbour, gets another from its left, and adds its own to that
(reduce-scatter).  n − 1 more steps pass the finished parts on (all-gather).

**The formula.**  For an array of B bytes on n ranks, a latency of α seconds per message and
a bandwidth of β bytes per second,

    bytes sent by a rank of the ring = 2 (n − 1)/n · B

    ring   2 (n − 1) (α + B/(n β))          tree and back   2 ⌈log₂ n⌉ (α + B/β)

No all-reduce sends less than the ring, which sends under 2 arrays however many ranks there are.

**Why does a ring hang that sends and then receives?**  `dist.send` may wait until the other side
takes the message.  If all ranks send first, all may wait for ever.  Start the sending
(`dist.isend`), receive, then wait for the sending.  Messages must be contiguous, and mustn't change
until they are sent.

**Worked by hand**, a reduce-scatter of three ranks.  Part r is to end on rank r, so part c starts
on rank c + 1; ▶ sends to the right neighbour, rank 2 to rank 0:

                  │ rank 0            │ rank 1            │ rank 2
    part          │ 0    1    2       │ 0    1    2       │ 0    1    2
    has           │ 1    2    3       │10   20   30       │100  200  300
    step 1 sends  │           3 ▶     │10 ▶               │     200 ▶
           has    │     202           │          33       │110
    step 2 sends  │     202 ▶         │          33 ▶     │110 ▶
           has    │111                │     222           │          333

After the all-gather, each has [111, 222, 333] and has sent 2 · 2/3 · 3 = 4 numbers.

**Shapes**: x of any shape where a function says no more, the same on all ranks.

- All ranks of the default group (n of them, 1 included) call a function, in the same order.
- x is float32, float64 or int64, and may be a view that isn't contiguous; answers have its dtype.
- Sums of whole numbers are exact.
- No function changes its arguments.

**Steps.**

    broadcast       10 min   number the ranks from the root
    tree_reduce     10 min   the same tree, backwards
    reduce_scatter  15 min   on which rank does part r start?
    all_gather      10 min   whose part arrives in step s?
    all_reduce       5 min   pad, then the two above
    ring_seconds     3 min   count messages and their bytes
    tree_seconds     3 min   ⌈log₂ 1⌉ is 0

Sources: Thakur, Rabenseifner & Gropp 2005, "Optimization of Collective Communication
Operations in MPICH"; Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms
for clusters of workstations".

From scratch: write them on torch.distributed's send, recv, isend and irecv (or
batch_isend_irecv) alone; torch.distributed.broadcast, reduce, all_reduce, all_gather,
all_gather_into_tensor, all_gather_single, reduce_scatter, reduce_scatter_tensor,
reduce_scatter_single, gather, scatter, all_to_all and all_to_all_single, those of objects
(broadcast_object_list, all_gather_object and gather_object) and barrier may not be used.
"""

from torch import Tensor


def broadcast(x: Tensor, root: int = 0) -> Tensor:
    """`x` of the rank `root`, on every rank, by a binomial tree.

    x     any shape; on ranks other than `root` only its shape and dtype count
    root  the rank whose x is sent

    - In each round the ranks that have it send it on, each to one other at most.
    - So `root` sends ⌈log₂ n⌉ messages, and all ranks together n − 1, each of x's size.
    - Nearest first or farthest first: any binomial tree will do.
    """
    raise NotImplementedError


def tree_reduce(x: Tensor, root: int = 0) -> Tensor | None:
    """The sum of all ranks' `x` on the rank `root`, None on the others, by a binomial tree.

    It is the broadcast run backwards: each rank but `root` sends one message of x's size, and
    `root` gets ⌈log₂ n⌉ of them.
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

    x        any shape, () included, of one element or more
    returns  x's shape

    - Where n doesn't divide the number of elements, zeros at the end make the parts equal.
    - Each rank sends 2 (n − 1) messages of ⌈elements / n⌉ elements at most, all to one neighbour.
    """
    raise NotImplementedError


def ring_seconds(size: float, n: int, latency: float, bandwidth: float) -> float:
    """Seconds that the ring needs to all-reduce `size` bytes over `n` ranks, 1 or more; a float.

    latency    seconds that each message takes however short it is
    bandwidth  bytes per second that a rank can send, while it receives as many
    """
    raise NotImplementedError


def tree_seconds(size: float, n: int, latency: float, bandwidth: float) -> float:
    """Seconds for the same by a tree reduce and a broadcast; arguments as in `ring_seconds`."""
    raise NotImplementedError
