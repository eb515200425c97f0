"""Resilience: the reference."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

Call = Callable[[], Coroutine[Any, Any, Any]]


def backoff(retry: int, base: float, cap: float, random: Callable[[], float]) -> float:
    # Compared as a whole number, which never overflows: as a float 2^(retry - 1) would, from retry 1025 on.
    factor = 2 ** (retry - 1)
    ceiling = base * factor if factor < cap / base else cap
    return random() * ceiling


class RetryBudget:
    def __init__(self, ratio: float, burst: float) -> None:
        self.ratio, self.burst = ratio, burst
        self.tokens = burst

    def deposit(self) -> None:
        # Without the limit a quiet night would save up a storm of retries for the morning.
        self.tokens = min(self.burst, self.tokens + self.ratio)

    def withdraw(self) -> bool:
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Deadline:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.clock = asyncio.get_running_loop().time
        # A point in time, not a length: whoever gets the deadline later has less left.
        self.end = self.clock() + seconds

    def left(self) -> float:
        return max(0.0, self.end - self.clock())

    async def __call__(self, call: Call) -> Any:
        if not self.left():
            raise TimeoutError(f"nothing is left of {self.seconds:g} s")
        timeout = asyncio.timeout_at(self.end)
        try:
            async with timeout:  # cancels the call at the end, and waits until it has cleaned up
                return await call()
        except TimeoutError as error:
            if timeout.expired():
                raise TimeoutError(f"not done within {self.seconds:g} s") from error
            raise  # the call's own


class Retry:
    def __init__(
        self,
        attempts: int,
        base: float,
        cap: float,
        on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError),
        budget: RetryBudget | None = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        if attempts < 1:
            raise ValueError(f"expected 1 attempt or more, got {attempts}")
        self.attempts, self.base, self.cap = attempts, base, cap
        self.on, self.budget, self.random = on, budget, random

    async def __call__(self, call: Call, deadline: Deadline | None = None) -> Any:
        if self.budget is not None:
            self.budget.deposit()
        attempt = 1
        while True:
            try:
                return await (call() if deadline is None else deadline(call))
            except self.on:
                if attempt == self.attempts:
                    raise
                wait = backoff(attempt, self.base, self.cap, self.random)
                if deadline is not None and wait >= deadline.left():
                    raise  # now: the caller can still do something else with the time
                # Asked last, so that no token goes for a retry that isn't made.
                if self.budget is not None and not self.budget.withdraw():
                    raise
            await asyncio.sleep(wait)
            attempt += 1


class Hedge:
    def __init__(
        self, delay: float, copies: int = 2, on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError)
    ) -> None:
        if copies < 1:
            raise ValueError(f"expected 1 copy or more, got {copies}")
        self.delay, self.copies, self.on = delay, copies, on

    async def __call__(self, call: Call) -> Any:
        running: set[asyncio.Task[Any]] = set()
        begun = 0
        try:
            while True:
                # Each turn is the first, or one that the delay or a failure has brought about.
                if begun < self.copies:
                    running.add(asyncio.create_task(call()))
                    begun += 1
                delay = self.delay if begun < self.copies else None
                done, running = await asyncio.wait(running, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
                errors = {task: task.exception() for task in done}
                for task, error in errors.items():
                    if error is None:
                        return task.result()
                    if not isinstance(error, self.on) or (begun == self.copies and not running):
                        raise error
        finally:
            # Also where this call is cancelled itself: nobody would wait for the copies any more.
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
