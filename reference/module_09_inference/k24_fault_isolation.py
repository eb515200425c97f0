"""Fault isolation: the reference."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

Call = Callable[[], Coroutine[Any, Any, Any]]


class Rejected(Exception):
    """The call was not begun."""


class CircuitBreaker:
    def __init__(
        self,
        failures: int,
        window: int,
        cooldown: float,
        trials: int = 1,
        on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError),
    ) -> None:
        if not 1 <= failures <= window:
            raise ValueError(f"failures must be from 1 to the window of {window}, got {failures}")
        self.failures, self.cooldown, self.trials, self.on = failures, cooldown, trials, on
        self.outcomes: deque[bool] = deque(maxlen=window)
        self.era = 0
        self._change(opened=None)

    def _change(self, opened: float | None) -> None:
        """Begin a new era: closed, or open since `opened`.  Calls of an older one have nothing to say in it."""
        self.opened = opened
        self.era += 1
        self.outcomes.clear()
        self.running = self.succeeded = 0  # of the trials

    def _left(self) -> float:
        return self.opened + self.cooldown - asyncio.get_running_loop().time()

    @property
    def state(self) -> str:
        if self.opened is None:
            return "closed"
        return "open" if self._left() > 0 else "half-open"

    async def __call__(self, call: Call) -> Any:
        state, era = self.state, self.era
        if state == "open":
            raise Rejected(f"the circuit is open for another {self._left():g} s")
        if state == "half-open":
            if self.running + self.succeeded == self.trials:
                raise Rejected(f"the circuit is half-open: {self.trials} trial calls are out")
            self.running += 1
        good = None  # where it is cancelled or rejected, nothing is known about the server
        try:
            answer = await call()
            good = True
            return answer
        except self.on:
            good = False
            raise
        except Rejected:
            raise
        except Exception:
            good = True  # a server that says no works
            raise
        finally:
            if era == self.era:
                self._note(good)

    def _note(self, good: bool | None) -> None:
        now = asyncio.get_running_loop().time()
        if self.opened is not None:
            self.running -= 1
            self.succeeded += good is True
            if good is False:
                self._change(opened=now)
            elif self.succeeded == self.trials:
                self._change(opened=None)
        elif good is not None:
            self.outcomes.append(good)
            if self.outcomes.count(False) == self.failures:
                self._change(opened=now)


class Bulkhead:
    def __init__(self, limit: int, queue: int = 0) -> None:
        if limit < 1 or queue < 0:
            raise ValueError(f"expected a limit of 1 or more and a queue of 0 or more, got {limit} and {queue}")
        self.limit, self.queue = limit, queue
        self.places = asyncio.Semaphore(limit)  # its own queue is fair, and knows about those who leave it
        self.inside = 0  # running and waiting

    @property
    def load(self) -> float:
        return self.inside / self.limit

    async def __call__(self, call: Call) -> Any:
        if self.inside == self.limit + self.queue:
            raise Rejected(f"{self.limit} calls are running and {self.queue} are waiting")
        self.inside += 1
        try:
            async with self.places:
                return await call()
        finally:
            self.inside -= 1


class Fallback:
    def __init__(self, on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, Rejected)) -> None:
        self.on = on

    async def __call__(self, *calls: Call) -> tuple[int, Any]:
        errors = []
        for number, call in enumerate(calls):
            try:
                return number, await call()
            except self.on as error:
                errors.append(error)
        raise ExceptionGroup(f"none of {len(calls)} calls gave an answer", errors)


class Degrader:
    def __init__(self, levels: int, high: float, low: float, settle: float, calm: float) -> None:
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        self.levels, self.high, self.low = levels, high, low
        self.settle, self.calm = settle, calm
        self.level = 0
        self.changed = -float("inf")
        self.calm_since: float | None = None

    def update(self, now: float, load: float) -> int:
        if load >= self.low:
            self.calm_since = None
        elif self.calm_since is None:
            self.calm_since = now
        # A step takes a while to show.  Without the pause a single peak would go through all levels.
        if load >= self.high and self.level < self.levels - 1 and now - self.changed >= self.settle:
            self.level += 1
            self.changed = now
        elif self.calm_since is not None and self.level > 0 and now - self.calm_since >= self.calm:
            self.level -= 1
            self.changed = self.calm_since = now
        return self.level
