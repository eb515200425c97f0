"""Dynamic batching: the reference."""

import asyncio
import contextlib
import math
from collections import deque
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
    return n / (fixed + per_item * n)


def smallest_batch(rate: float, fixed: float, per_item: float) -> int:
    # n ≥ rate · (fixed + per_item · n), solved for n.
    left = 1 - rate * per_item
    if left < 0 or (left == 0 and fixed > 0):
        raise ValueError(f"{rate} requests per second are too many: no batch reaches more than {1 / per_item}")
    return math.ceil(rate * fixed / left) if fixed > 0 else 1


def plan_batches(
    arrivals: Sequence[float], max_size: int, max_delay: float, fixed: float, per_item: float
) -> list[Batch]:
    batches: list[Batch] = []
    first, free = 0, 0.0
    while first < len(arrivals):
        due = arrivals[first] + max_delay
        if first + max_size <= len(arrivals):
            due = min(due, arrivals[first + max_size - 1])
        start = max(free, due)
        last = first
        while last < len(arrivals) and last < first + max_size and arrivals[last] <= start:
            last += 1
        free = start + fixed + per_item * (last - first)
        batches.append(Batch(start, free, tuple(range(first, last))))
        first = last
    return batches


def latencies(arrivals: Sequence[float], batches: Sequence[Batch]) -> list[float]:
    ends = {i: batch.end for batch in batches for i in batch.members}
    return [ends[i] - arrival for i, arrival in enumerate(arrivals)]


@dataclass(eq=False)
class _Request:
    item: Any
    since: float
    answer: asyncio.Future[Any]


class Batcher:
    def __init__(
        self,
        work: Callable[[list[Any]], Awaitable[Sequence[Any]]],
        max_size: int,
        max_delay: float,
        max_waiting: int,
    ) -> None:
        if max_size < 1:
            raise ValueError(f"a batch has 1 request or more, got max_size {max_size}")
        if max_waiting < 1:
            raise ValueError(f"1 request or more must be able to wait, got max_waiting {max_waiting}")
        if max_delay < 0:
            raise ValueError(f"a delay is 0 s or longer, got max_delay {max_delay}")
        self.work, self.max_size, self.max_delay, self.max_waiting = work, max_size, max_delay, max_waiting
        self.waiting: deque[_Request] = deque()
        self.changed = asyncio.Event()
        self.closed = False
        self.runner: asyncio.Task[None] | None = None

    async def submit(self, item: Any) -> Any:
        if self.closed:
            raise RuntimeError("the batcher is closed")
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded(f"{len(self.waiting)} requests wait already")
        loop = asyncio.get_running_loop()
        request = _Request(item, loop.time(), loop.create_future())
        self.waiting.append(request)
        self.changed.set()
        if self.runner is None:
            self.runner = loop.create_task(self._run())
        try:
            return await request.answer
        finally:
            if request in self.waiting:  # cancelled before its batch began
                self.waiting.remove(request)
                self.changed.set()

    async def close(self) -> None:
        self.closed = True
        self.changed.set()
        if self.runner is not None:
            # Whoever waits for the end may be cancelled; the runner isn't.
            await asyncio.shield(self.runner)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self.waiting or not self.closed:
            self.changed.clear()
            left = self.waiting[0].since + self.max_delay - loop.time() if self.waiting else None
            full = len(self.waiting) >= self.max_size
            if self.waiting and (full or self.closed or left <= 0):
                batch = [self.waiting.popleft() for _ in range(min(self.max_size, len(self.waiting)))]
                await self._answer(batch)
            else:
                # Another request, one less, the end, or the oldest one's time: look again.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), left)

    async def _answer(self, batch: list[_Request]) -> None:
        try:
            answers = list(await self.work([request.item for request in batch]))
            if len(answers) != len(batch):
                raise RuntimeError(f"work gave {len(answers)} answers to {len(batch)} requests")
        except Exception as error:
            answers = [error] * len(batch)
        for request, answer in zip(batch, answers, strict=True):
            if request.answer.done():  # its caller has gone
                continue
            if isinstance(answer, Exception):
                request.answer.set_exception(answer)
            else:
                request.answer.set_result(answer)
