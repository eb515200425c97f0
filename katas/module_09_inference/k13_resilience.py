"""Resilience: retries, deadlines and hedges

**Before you start.**  You need asyncio: coroutines, tasks, and how a task is cancelled; no other
kata. If these are new: "Coroutines and Tasks" in Python's documentation of asyncio, up to
"Timeouts".

**The idea.**  A model server fails now and then.  It restarts, it drops a connection, or one
answer takes a minute.  Your users should not see that.  So you ask again; but not at once, not
too often, and not when the time is up.  Asking again has a danger: the requests of a thousand
clients come back together, and a server that was merely busy is now down.  Here you write a
client that is patient with the server and never makes things worse.

A *call* is a function without arguments that gives a coroutine, such as `lambda: ask(prompt)`.
Each time that you call it, a new request goes out.  A *policy* is an object that makes a call
with more care: `await retry(call)`.

**The formulas.**  random() is a number from 0 to just below 1.

    wait before retry n  =  random() · min(cap, base · 2^(n - 1))      n = 1, 2, 3, …
    tokens               ←  min(burst, tokens + ratio)                 for each new call
    tokens               ←  tokens - 1                                 for each retry, if tokens ≥ 1
    left                 =  max(0, end - now)                          end = start + seconds

**A drawing** of a retry and of a hedge.  ✗ is a failure, ✓ an answer, ┄ a wait, ▷ what is cut off:

    retry    ├── 1 ──✗┄┄┄├── 2 ──✗┄┄┄┄┄┄┄├── 3 ──✓

    hedge    ├── 1 ───────────────────▷
                      ├── 2 ──────────✓
                              ├── 3 ──▷
             │ delay  │ delay │       │ the first answer ends it

And a deadline of 8 seconds, handed on from service to service:

    gateway        │████████████████████████│  8 s left
    model server   │        │███████████████│  5 s left
    database       │        │     │█████████│  3 s left
                                            ▲ all of them stop here

**Why random waits?**  A server fails, and a thousand clients notice it at the same moment.  If
all of them wait for exactly 1 second, a thousand requests come back at the same moment, too.
Random waits spread them out.  Here a wait is anything from 0 to a ceiling, and the ceiling
doubles.  This is called full jitter.

**Why a budget?**  Suppose that each of three services in a row makes up to 3 attempts.  When the
last one is down, a single request becomes 3 · 3 · 3 = 27.  A budget stops this.  Each new call
earns a part of a token, and a retry costs a whole one.  With a ratio of 0.1, retries add a tenth
to the load in the long run, however bad it gets.  m calls get at most burst + ratio · m retries.

**Why a deadline and not a timeout?**  The user waits for 8 seconds and leaves.  A timeout of 8
seconds at each of three services, or for each of three attempts, keeps machines busy for somebody
who has gone.  A deadline is a point in time.  Hand it on, and everybody stops together.

**Why hedge?**  Most answers take 1 second, and one in twenty takes 10.  A second copy, sent after
2 seconds, will most likely come back after 3.  Only one call in twenty sends a copy, so this
costs 5% more load.  Without the delay it would cost 100%.  And only hedge or retry what may be
done twice: to generate a text twice is fine, to charge a customer twice isn't.

**Worked by hand**

    waits for base 0.5, cap 3, and random() always 0.5:
        ceiling  0.5   1    2   3    3
        wait     0.25  0.5  1   1.5  1.5
    budget with ratio 0.25, burst 2: it starts full, so two retries pass and the third doesn't;
        four calls later one more passes
    deadline of 4 seconds: a call of 3 seconds is answered at 3, and 1 second is left;
        another call of 3 seconds is cut off at 4
    retry with base 2, cap 10, random() always 0.5; attempts take 1 s: they fail, fail, answer:
        attempt 0–1, wait 1, attempt 2–3, wait 2, attempt 5–6: answered at 6
        with a deadline of 5.5 s: the third attempt is cut off at 5.5
        with a deadline of 5 s: the second wait would last until 5; so it ends at 3, with an error
    hedge with delay 2 and 3 copies, which take 9, 3 and 4 s:
        begun at 0, 2, 4; they would be done at 9, 5, 8: answered at 5

**Shapes**: no arrays.  Times are seconds, floats or ints, on the clock of the running event
loop:  `asyncio.get_running_loop().time()`.  The tests run your code on a simulated clock, so an
hour takes no time.  What the system's clock says plays no role: don't read `time.time()` or
`time.monotonic()`.

**What holds everywhere.**

- Any value may be an answer, None and "" included.
- Errors come out as the very object that the call raised, unless it is said otherwise.
- One policy serves many calls at the same time.  They share its budget and nothing else.
- When the task that awaits a policy is cancelled, the call that is running is cancelled as well,
  and CancelledError comes out.  No task is left running.
- Calls let themselves be cancelled; before they end, they may take a while to clean up.
- What happens if two things fall on the very same moment is left open, unless it is said.

**Steps.**  A good place to pause is before Retry.

    backoff       6 min   2.0 ** 5000 overflows
    RetryBudget   7 min   not more than `burst`, ever
    Deadline     12 min   whose TimeoutError is it?
    Retry        20 min   four reasons to give up
    Hedge        20 min   a failure isn't an answer, and nobody is left behind

Sources: Brooker 2015, "Exponential Backoff and Jitter" (AWS Architecture Blog); Beyer et al.
2016, "Site Reliability Engineering", chapters 21 and 22 (budgets, deadlines); Dean and Barroso
2013, "The Tail at Scale" (hedges); the guides "Retry" and "Request Hedging" at grpc.io.

From scratch: tenacity and stamina may not be used; asyncio may, all of it.
"""

import random
from collections.abc import Callable, Coroutine
from typing import Any

Call = Callable[[], Coroutine[Any, Any, Any]]


def backoff(retry: int, base: float, cap: float, random: Callable[[], float]) -> float:
    """The seconds to wait before retry number `retry`, by the formula.

    retry   1, 2, 3, …; it may be in the thousands
    base    the ceiling of the first wait, above 0
    cap     the highest ceiling, above 0; it may be below `base`
    random  gives a number from 0 to just below 1; it is asked once
    """
    raise NotImplementedError


class RetryBudget:
    """Tokens for retries: a new call earns a part of one, a retry costs a whole one."""

    def __init__(self, ratio: float, burst: float) -> None:
        """It starts full, with `burst` ≥ 1 tokens, and never holds more.  `ratio` ≥ 0 is what a call earns."""
        raise NotImplementedError

    def deposit(self) -> None:
        """Note a new call: `ratio` tokens come in."""
        raise NotImplementedError

    def withdraw(self) -> bool:
        """Ask for a retry: takes a token and returns True, or returns False if there is less than one.

        A refusal takes nothing: parts of a token stay.
        """
        raise NotImplementedError


class Deadline:
    """A point in time at which everything ends."""

    def __init__(self, seconds: float) -> None:
        """`seconds` from now; 0 or less is over at once.  It is made while an event loop runs."""
        raise NotImplementedError

    def left(self) -> float:
        """The seconds that are left; 0.0 from its end on, never less."""
        raise NotImplementedError

    async def __call__(self, call: Call) -> Any:
        """Make the call; returns its answer, or raises its error, if it ends in time.

        - At the end of the deadline the call is cancelled.  Once it has cleaned up, TimeoutError comes out,
          naming the seconds that the deadline was made with.
        - If nothing is left, the same TimeoutError comes out at once, and `call` isn't called.
        - A TimeoutError that the call raises itself before the end comes out as it is.
        """
        raise NotImplementedError


class Retry:
    """Makes a call again when it fails."""

    def __init__(
        self,
        attempts: int,
        base: float,
        cap: float,
        on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError),
        budget: RetryBudget | None = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        """How it retries.

        attempts           how many attempts there are at most, the first one included
        base, cap, random  as in `backoff`
        on                 the types of error that are worth another attempt, their subclasses included
        budget             what retries are taken from; None: as many as there are attempts

        Raises ValueError, naming the number, if attempts are below 1.
        """
        raise NotImplementedError

    async def __call__(self, call: Call, deadline: Deadline | None = None) -> Any:
        """The answer of the first attempt that gives one.  Each attempt is a call of `call`.

        - First of all one deposit is made in the budget: one for each use, not for each attempt.
        - With a deadline each attempt is made through it, and is cut off by it.
        - After an attempt that failed it waits as `backoff` says, with 1 before the first retry.
        - It gives up, and the last error comes out at once, without a wait:
          if the error's type isn't in `on`;
          if there were `attempts` attempts;
          if there is a deadline and the wait would last until its end or longer;
          or if the budget refuses.
        - The budget is asked last: no token is taken for a retry that isn't made.
        """
        raise NotImplementedError


class Hedge:
    """Sends another copy of a call when the first one takes long."""

    def __init__(
        self, delay: float, copies: int = 2, on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError)
    ) -> None:
        """How it hedges.

        delay   seconds, above 0, after which the next copy is sent
        copies  how many there are at most, the first one included
        on      the types of error that another copy may not have, their subclasses included

        Raises ValueError, naming the number, if copies are below 1.
        """
        raise NotImplementedError

    async def __call__(self, call: Call) -> Any:
        """The first answer that one of the copies gives.  Each copy is a call of `call`.

        - The first copy begins at once, each next one `delay` seconds after the one before it began.
        - When a copy fails with an error in `on`, the next one begins at once, and the delay counts from
          there.  If there is no other copy left to begin, the running ones go on.
        - If all copies have failed, the error of the last that failed comes out.
        - An error that isn't in `on` comes out at once.
        - When an answer or an error comes out, all other copies have been cancelled and have cleaned up.
        """
        raise NotImplementedError
