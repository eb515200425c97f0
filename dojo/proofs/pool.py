"""Jobs in forked children, a few at a time; small ones several to a child."""

from __future__ import annotations

import os
import pickle
import select
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dojo.checks.replay import Child


@dataclass
class Job:
    """Work for one child: `run()` gives a picklable answer within `seconds`."""

    key: Any
    run: Callable[[], Any]
    seconds: float


@dataclass
class Done:
    """A finished job: its answer, or None where it raised `error`, ran past its time, or died without a word."""

    job: Job
    answer: Any
    timed_out: bool
    error: str


def run_jobs(jobs: Iterable[Job], width: int | None = None) -> Iterator[Done]:
    """Run the jobs in `width` children at a time (None: one a core); each is yielded as it finishes."""
    width = width or os.cpu_count() or 1
    waiting = iter(jobs)
    running: dict[int, tuple[Job, Child]] = {}
    exhausted = False
    try:
        while True:
            while not exhausted and len(running) < width:
                job = next(waiting, None)
                if job is None:
                    exhausted = True
                    break
                child = Child(job.run, job.seconds)
                running[child.fd] = (job, child)
            if not running:
                return
            nearest = min(child.deadline for _, child in running.values())
            ready = select.select(list(running), [], [], max(0.0, nearest - time.monotonic()))[0]
            late = [fd for fd, (_, child) in running.items() if child.deadline <= time.monotonic()]
            for fd in {*ready, *late}:
                job, child = running[fd]
                over = fd not in ready
                if over or child.read_some():
                    del running[fd]
                    answer = child.finish()
                    yield Done(job, answer, over, child.error)
    finally:
        for _, child in running.values():
            child.finish()


@dataclass
class Said:
    """What a batch said of one thing: its answer, or None where the child died or overran on it."""

    thing: Any
    answer: Any
    alone: bool  # whether it was the first thing that this child did, so that nothing had gone before it


def run_batches(
    things: Iterable[Any],
    do: Callable[[Sequence[Any]], Iterator[Any]],
    size: int,
    seconds: float,
    width: int | None = None,
) -> Iterator[Said]:
    """Do the things in forked children, up to `size` of them in each, `width` children at a time.

    do(things)  gives an answer for one thing after the other, in a child; it may stop early
    seconds     for each of the answers
    What a child left undone, because it stopped or died, goes to another one.
    """
    waiting = deque(things)
    width = width or os.cpu_count() or 1
    running: list[_Batch] = []
    try:
        while waiting or running:
            while waiting and len(running) < width:
                running.append(_Batch([waiting.popleft() for _ in range(min(size, len(waiting)))], do, seconds))
            nearest = min(batch.child.deadline for batch in running)
            ready = select.select([b.fd for b in running], [], [], max(0.0, nearest - time.monotonic()))[0]
            for batch in list(running):
                late = batch.child.deadline <= time.monotonic()
                if batch.fd not in ready and not late:
                    continue
                over = batch.fd not in ready or not batch.read_some()
                yield from batch.said()
                if over:
                    running.remove(batch)
                    whole = batch.end()
                    if batch.things and (late or not whole):
                        yield Said(batch.things.pop(0), None, batch.done == 0)
                    waiting.extendleft(reversed(batch.things))
    finally:
        for batch in running:
            batch.end()


class _Batch:
    """A child that does several things and says after each how it went."""

    def __init__(self, things: list[Any], do: Callable[[Sequence[Any]], Iterator[Any]], seconds: float) -> None:
        self.things = things  # that are still to be done
        self.done = 0
        self.seconds = seconds
        self.fd, write = os.pipe()
        self._received = b""

        def work() -> bool:
            os.close(self.fd)
            with os.fdopen(write, "wb", buffering=0) as pipe:
                for answer in do(things):
                    data = pickle.dumps(answer)
                    pipe.write(len(data).to_bytes(4, "big") + data)
            return True

        self.child = Child(work, seconds)
        os.close(write)

    def read_some(self) -> bool:
        """Take up what the child has said; False once there is no more to come."""
        chunk = os.read(self.fd, 1 << 16)
        self._received += chunk
        return bool(chunk)

    def said(self) -> Iterator[Said]:
        """The answers that have come since the last time."""
        while len(self._received) >= 4 + (size := int.from_bytes(self._received[:4], "big")):
            answer = pickle.loads(self._received[4 : 4 + size])
            self._received = self._received[4 + size :]
            self.child.deadline = time.monotonic() + self.seconds
            self.done += 1
            yield Said(self.things.pop(0), answer, self.done == 1)

    def end(self) -> bool:
        """The child is gone afterwards; whether it had come to its end by itself."""
        os.close(self.fd)
        while time.monotonic() < self.child.deadline:
            left = self.child.deadline - time.monotonic()
            if not select.select([self.child.fd], [], [], max(0.0, left))[0] or self.child.read_some():
                break
        return self.child.finish() is True
