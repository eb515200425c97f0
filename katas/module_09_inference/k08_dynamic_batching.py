"""Dynamic batching

**Before you start.**  You need asyncio: coroutines, tasks, events, futures and cancellation; no
other kata.  New to it?  Read "Coroutines and Tasks" in Python's documentation of asyncio.

**The idea.**  A GPU needs about as long for eight requests as for one.  But requests come one by
one, from callers who know nothing of each other.  A batcher stands between them.  It lets requests
wait a little, hands several to the model at once, and gives each caller its own answer.  How long
is "a little"?  That is a bargain: waiting costs each caller time, and saves time for all.

**The formulas.**  A batch of n requests takes `fixed + per_item · n` seconds.  One after the other,
full batches of n answer

    throughput(n) = n / (fixed + per_item · n)     requests per second

Requests come at `rate` per second.  If the throughput is lower, the queue grows without end.

*When does a batch start?*  Only one runs at a time.  It starts at the first moment at which

    1. the model is free, and
    2. `max_size` requests wait, or the oldest one has waited for `max_delay` seconds

It takes the oldest `max_size` requests, or all, if fewer wait.  Here max_size is 3 and max_delay 2,
and a batch of n takes 1 + n/2 seconds:

    seconds   0    1    2    3    4    5    6    7    8    9   10
    arrive    a    b c  d                        e
    run              ├──── a b c ────┤                     ├─ e ─
                                     ├── d ──┤
                     ▲ three wait    ▲ d has waited 2 s    ▲ e has waited 2 s

**Why a limit for those who wait?**  When more come than the model can serve, a queue without limit
only makes everybody wait longer.  Saying no at once is better: the caller can go elsewhere.

**Why must one caller's error be its own?**  Callers share a batch by chance.  A text that is too
long must not fail its seven neighbours, who did nothing wrong.

**Why take out who has gone?**  A user closes the tab while the request waits.  Without care the
model still works for nobody, and the place in the queue is lost to others.

**Worked by hand**, as drawn:

    throughput with fixed = 1, per_item = 1/2:    n = 1: 0.667    n = 3: 1.2    n = 8: 1.6
    smallest batch for 1 request per second:      2, as 2 / (1 + 1) = 1
    a at 0, b at 1, c at 1.5, d at 2, e at 7 s:   batches a b c from 1.5 to 4, d from 4 to 5.5,
                                                  e from 9 to 10.5
    seconds from arrival to answer:               4, 3, 2.5, 3.5 and 3.5

**Shapes**: no arrays.  Seconds are floats.  No function changes its arguments.

**Steps.**  A good place to pause is before Batcher.

    throughput       4 min
    smallest_batch   8 min   when no batch is large enough
    plan_batches    18 min   the first moment at which both hold
    latencies        5 min
    Batcher         45 min   one task runs the batches, all others wait for their futures

Sources: Crankshaw et al. 2017, "Clipper: A Low-Latency Online Prediction Serving System" (delayed
batching); NVIDIA Triton Inference Server, "Dynamic batcher" in its user guide.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Batch:
    """A batch that has run from `start` to `end`, both in seconds; `members` numbers its requests.  This is given."""

    start: float
    end: float
    members: tuple[int, ...]


class Overloaded(RuntimeError):
    """Too many requests wait already.  This is given."""


def throughput(n: int, fixed: float, per_item: float) -> float:
    """Requests per second, if full batches of n ≥ 1 follow each other without a break."""
    raise NotImplementedError


def smallest_batch(rate: float, fixed: float, per_item: float) -> int:
    """The smallest n ≥ 1 whose throughput is at least `rate` > 0.  fixed ≥ 0, per_item > 0.

    Where a throughput is the rate but for rounding, n may be one larger.

    Raises ValueError, naming the rate, if no n is enough: however large it is, the throughput stays below
    1 / per_item, or just reaches it where fixed is 0.
    """
    raise NotImplementedError


def plan_batches(
    arrivals: Sequence[float], max_size: int, max_delay: float, fixed: float, per_item: float
) -> list[Batch]:
    """The batches in their order, for requests that arrive at these times, ascending and ≥ 0.

    - Request i arrives at arrivals[i]; of equal times the lower number is the older one.
    - The model is free at first.  When it becomes free, the next batch may start at that very moment.
    - Who arrives at the very moment in which a batch starts is in it, if there is room.
    - max_size ≥ 1, max_delay ≥ 0.  Without arrivals there are no batches.
    """
    raise NotImplementedError


def latencies(arrivals: Sequence[float], batches: Sequence[Batch]) -> list[float]:
    """For each request the seconds from its arrival to the end of its batch.  The batches come in any order."""
    raise NotImplementedError


class Batcher:
    """Gathers the requests of many callers into batches, by the two rules above.

    All of it is used within one event loop.  Time is asyncio's: loop.time(), asyncio.sleep, asyncio.timeout.
    """

    def __init__(
        self,
        work: Callable[[list[Any]], Awaitable[Sequence[Any]]],
        max_size: int,
        max_delay: float,
        max_waiting: int,
    ) -> None:
        """await work(items) returns the answers to a list of 1 to max_size items, in their order.

        Raises ValueError, naming the number, if max_size or max_waiting is below 1, or max_delay below 0.
        """
        raise NotImplementedError

    async def submit(self, item: Any) -> Any:
        """Wait for the answer to `item`, which may be anything, None as well.

        - A batch has the oldest requests, in the order in which submit was called.  Who comes in the very
          moment in which a batch starts may be in it or in a later one.
        - If an answer is an exception (an instance), it is raised for that caller alone.  If work raises an
          Exception, it is raised for each caller of that batch.  If work returns another number of answers, a
          RuntimeError is raised for each of them that names both numbers.  Later batches run as usual.
        - A caller who is cancelled while it waits is taken out: its item never goes to work, its place is
          free at once, and max_delay counts for the oldest of those who are left.  If its batch runs
          already, the batch goes on for the others.
        - Raises Overloaded, without waiting, if max_waiting requests wait already; those in the batch that
          runs don't count.
        - Raises RuntimeError, without waiting, after close was called.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Take no more requests, answer those that were taken, and return when all is done.

        - Who waits doesn't wait for max_delay any more: batches follow each other until none is left.
        - Afterwards no task of the batcher is left.  It may be called again, and before any request.
        """
        raise NotImplementedError
