"""Fault isolation: circuit breakers, bulkheads, fallbacks and degradation

**Before you start.**  You need asyncio: coroutines, tasks, and how a task is cancelled.  The kata
resilience has calls and policies of the same form, but you need not have done it.  New to
asyncio?  Read "Coroutines and Tasks" in Python's documentation.

**The idea.**  One part of a service fails, and an hour later everything is down.  It goes like
this.  The reranker hangs.  Each request waits 30 seconds for it.  Soon a thousand requests wait,
each holds memory and a connection, and there is nothing left for requests that need no reranker
at all.  Here you build the walls that keep such a failure where it began.

A *call* is a function without arguments that gives a coroutine, such as `lambda: rerank(texts)`.
A *policy* makes a call with more care: `await breaker(call)`.  You write three, and a small
controller:

- A *circuit breaker* stops to ask a server that fails, and now and then tries whether it is back.
- A *bulkhead* lets only so many calls in at a time.  A ship has bulkheads: a leak floods one
  room.
- A *fallback* has another answer ready: a smaller model, an answer from the cache, an excuse.
- A *degrader* lowers the quality for everybody before anything breaks.

**The formulas.**

    the breaker opens  ⟺  at least `failures` of the last `window` outcomes were failures
    load                =  (running + waiting) / limit                    of a bulkhead

**A drawing** of the breaker's states:

                      enough failures
         ┌────────┐ ──────────────────▶ ┌──────────┐
         │ closed │                     │   open   │ ◀───┐
         └────────┘                     └──────────┘     │
             ▲                                │          │ a trial
             │                  `cooldown`    │          │ fails
             │                  seconds later ▼          │
             │   all trials             ┌───────────┐    │
             └───────────────────────── │ half-open │ ───┘
                 succeed                └───────────┘

And of the policies, one around the other.  The bulkhead bounds what can wait for one server:

    request ──▶ fallback ─┬─▶ breaker ──▶ bulkhead ──▶ large model
                          │     │ open       │ full
                          │     ╰────────────┴──▶ Rejected, at once
                          ╰─▶ bulkhead ──▶ small model

**Why is a fast failure better than a slow one?**  Nothing is worse than a server that hangs.  An
error after 1 millisecond leaves time for a fallback, and costs nothing.  And while the circuits
of all its clients are open, the server gets the rest that it needs to recover.

**Why half-open?**  After the cooldown nobody knows whether the server is back.  If all clients
tried it at once, it would fall over again.  So a few trial calls go first, and their outcomes
decide.

**Why are there outcomes that don't count?**  A call was begun while the circuit was closed, and
hung.  Half a minute later, it fails.  By then the circuit has opened and closed again, and the
server is well.  This failure is news from another time.  A call that was cancelled says nothing
either: the user was impatient, the server may be fine.

**Why two thresholds for the degrader?**  With only one, the smaller model brings the load just
below it, so the large model comes back, so the load rises, and so on every few seconds.  Between
`low` and `high` nothing changes.  And going up takes patience: only after a while of calm.

**Worked by hand**

A breaker with failures 2, window 3, cooldown 10; one call at each second, ✓ or ✗ at once:

    time      0   1   2   3   4 … 12    13      14 … 22    23      24
    outcome   ✓   ✗   ✓   ✗   rejected  ✗       rejected   ✓       ✓
    state     closed      opens at 3    trial,  open       trial,  closed
              2 of the last 3 failed    opens              closes

A bulkhead with limit 2 and queue 1; calls of 4 seconds come at 0, 1, 2 and 3:

    call at 0    runs 0–4
    call at 1    runs 1–5
    call at 2    waits 2–4, runs 4–8       load at 2.5: (2 + 1) / 2, that is 1.5
    call at 3    rejected

A fallback with two models: the first raises ConnectionError, the second answers "short".  The
result is (1, "short").

A degrader with 3 levels, high 0.9, low 0.5, settle 10, calm 30:

    now      0    5    10   20   30   45   60   75   90
    load     .95  .95  .95  .7   .4   .3   .4   .4   .4
    level    1    1    2    2    2    2    1    1    0

**Shapes**: no arrays.  Times are seconds.  The policies take them from the clock of the running
event loop, `asyncio.get_running_loop().time()`; the tests run them on a simulated clock, so don't
read `time.time()` or `time.monotonic()`.  The degrader is given the time.

**What holds everywhere.**

- Any value may be an answer, None and "" included.
- Errors come out as the very object that the call raised, unless it is said otherwise.
- Types of error include their subclasses.
- One policy serves many calls at the same time.
- When the task that awaits a policy is cancelled, the call that is running is cancelled as well,
  and CancelledError comes out.  No task is left running.
- What happens if two things fall on the very same moment is left open, unless it is said.

**Steps.**  A good place to pause is after CircuitBreaker.

    CircuitBreaker  28 min   outcomes that come too late
    Bulkhead        12 min   those who leave before they had a place
    Fallback         8 min   all the errors
    Degrader        14 min   two thresholds, two patiences

Sources: Nygard 2018, "Release It!", 2nd edition, chapter 5 (circuit breaker, bulkheads, fail
fast); Fowler 2014, "CircuitBreaker" (martinfowler.com); Beyer et al. 2016, "Site Reliability
Engineering", chapters 21 and 22 (load shedding and graceful degradation).

From scratch: pybreaker, aiobreaker and purgatory may not be used; asyncio may, all of it.
"""

from collections.abc import Callable, Coroutine
from typing import Any

Call = Callable[[], Coroutine[Any, Any, Any]]


class Rejected(Exception):
    """The call was not begun: the circuit is open, or the bulkhead is full."""


class CircuitBreaker:
    """Makes calls as long as most of them succeed."""

    def __init__(
        self,
        failures: int,
        window: int,
        cooldown: float,
        trials: int = 1,
        on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError),
    ) -> None:
        """It starts closed.

        failures  how many of the last `window` outcomes must be failures for it to open
        cooldown  seconds, above 0, for which it is open
        trials    how many trial calls must succeed for it to close, 1 or more
        on        the types of error that are failures

        Raises ValueError, naming both numbers, if failures aren't from 1 to window.
        """
        raise NotImplementedError

    @property
    def state(self) -> str:
        """What the next call would find: "closed", "open" or "half-open".  Read it while an event loop runs."""
        raise NotImplementedError

    async def __call__(self, call: Call) -> Any:
        """Make the call and note its outcome when it ends; or raise Rejected at once.  The states:

        - Closed: every call is made.  The circuit opens with the outcome by which `failures` of the last
          `window` outcomes are failures, also when there are fewer than `window` yet.
        - Open: every call is rejected for `cooldown` seconds.  Rejected names how many seconds are left.
        - Half-open, from then on: `trials` calls are made, as trials; every other call is rejected.  When all
          `trials` have succeeded, the circuit closes, and old outcomes are forgotten.  With the first that
          fails it opens for another `cooldown`.

        What is an outcome:

        - An error in `on` is a failure.  An answer is a success, and so is any other error: a server that
          says no works.
        - A call that was cancelled, or that raised Rejected itself, has none.  A trial without an outcome
          makes room for another trial.
        - Of a call that began before the circuit last opened or closed, none is noted.
        """
        raise NotImplementedError


class Bulkhead:
    """Lets only so many calls in at a time."""

    def __init__(self, limit: int, queue: int = 0) -> None:
        """At most `limit` calls run, and at most `queue` wait for a place.

        Raises ValueError, naming the number, if limit is below 1 or queue below 0.
        """
        raise NotImplementedError

    @property
    def load(self) -> float:
        """Running and waiting calls, by the limit."""
        raise NotImplementedError

    async def __call__(self, call: Call) -> Any:
        """Make the call as soon as there is a place; raises Rejected at once if the queue is full.

        - Places are given in the order in which the calls came.  Nobody overtakes.
        - A call that ends makes room, whether by an answer, by an error, or cancelled.
        - Who is cancelled while waiting leaves the queue.  No place is lost, even if it was given at that
          very moment.
        """
        raise NotImplementedError


class Fallback:
    """Tries one call after the other until one gives an answer."""

    def __init__(self, on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, Rejected)) -> None:
        """`on` are the types of error after which the next call is tried."""
        raise NotImplementedError

    async def __call__(self, *calls: Call) -> tuple[int, Any]:
        """The number of the first of one or more calls that gives an answer, from 0, and the answer.

        - A call is begun when all before it have failed, and not earlier.
        - An error that isn't in `on` comes out at once.
        - If all calls fail, an ExceptionGroup of their errors, in order, comes out.
        """
        raise NotImplementedError


class Degrader:
    """Says how much service there is: level 0 is all of it, each level above is less.

    The attribute `level` is the current one, 0 at first.
    """

    def __init__(self, levels: int, high: float, low: float, settle: float, calm: float) -> None:
        """The levels are 0 to levels - 1.

        high    the load from which on the level goes up
        low     the load below which it may go down again
        settle  seconds that must have passed since the last change before it goes up again
        calm    seconds of calm after which it goes down by one

        Raises ValueError, naming both, if low isn't below high.
        """
        raise NotImplementedError

    def update(self, now: float, load: float) -> int:
        """Take the load at the time `now`, which never goes back; returns the level from now on.

        - One update changes the level by 1 at most, and never beyond its ends.
        - At a load of `high` or more the level goes up, if it never changed or if at least `settle` seconds
          have passed since it last changed.
        - Calm begins at the first update with a load below `low`, and ends at one with `low` or more.  When
          there has been calm for at least `calm` seconds, the level goes down, and calm begins anew.
        """
        raise NotImplementedError
