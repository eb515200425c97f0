"""Work on many things, a forked process for each, a few at a time.

Each has a process of its own, so that none carries what the one before had to load:
a process forks the slower the more it holds.  What couldn't be settled while the others
used the machine waits there, and is settled at the end, one after the other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

GRACE = 5.0
"""Seconds that a process gets to end its own children, before it is killed."""


class Work(Protocol):
    """What a process does with one thing.  Answers must pickle; None stands for one that must wait."""

    def do(self, number: int) -> Any:
        """The answer for the thing `number`, or None where it must wait until nothing else goes on."""

    def settle(self, number: int) -> Any:
        """Called in the same process, when nothing else goes on: the answer that waited."""


@dataclass
class News:
    """Of the thing `number`: it has been "begun", or is "done" with an answer, or is "lost" with its process."""

    number: int
    what: str
    answer: Any = None


def share_out(count: int, width: int, order: Callable[[int], Sequence[int]], work: Work) -> Iterator[News]:
    """Have the things 0 … count - 1 worked on, `width` of them at a time, and say how it goes.

    order(place)  the numbers in the order in which this one of the `width` places takes them,
                  but for those that another has taken before
    A process that dies loses the one thing that it was at.
    """
    context = multiprocessing.get_context("fork")
    orders = [iter(order(place)) for place in range(width)]
    taken: set[int] = set()
    at_work: dict[Connection, _Worker] = {}
    waiting: list[_Worker] = []

    def begin(place: int) -> Iterator[News]:
        number = next((n for n in orders[place] if n not in taken), None)
        if number is None:
            return
        taken.add(number)
        here, there = context.Pipe()
        others = [here, *at_work, *(worker.pipe for worker in waiting)]
        process = context.Process(target=_live, args=(there, others, number, work))
        process.start()
        there.close()
        at_work[here] = _Worker(number, place, here, process)
        yield News(number, "begun")

    try:
        for place in range(width):
            yield from begin(place)
        while at_work or waiting:
            if not at_work:
                turn = waiting.pop()
                at_work[turn.pipe] = turn
                turn.pipe.send(None)
            for pipe in wait(list(at_work)):
                assert isinstance(pipe, Connection)
                worker = at_work.pop(pipe)
                try:
                    answer = pipe.recv()
                except (EOFError, ConnectionError):
                    yield News(worker.number, "lost")
                else:
                    if answer is None:
                        waiting.append(worker)
                    else:
                        yield News(worker.number, "done", answer)
                yield from begin(worker.place)
                if worker not in waiting:
                    worker.end()
    finally:
        for worker in [*at_work.values(), *waiting]:
            worker.end(at_once=True)


@dataclass
class _Worker:
    """A process, the thing that it is at, and which of the places it has taken."""

    number: int
    place: int
    pipe: Connection
    process: Any

    def end(self, at_once: bool = False) -> None:
        self.pipe.close()
        if at_once and self.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGINT)
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _live(pipe: Connection, others: list[Connection], number: int, work: Work) -> None:
    """In the process of one thing: do it, or wait for the turn and settle it then."""
    for other in others:
        other.close()  # a copy of the parent's end in here would hide the parent's death
    try:
        answer = work.do(number)
        pipe.send(answer)
        if answer is None:
            pipe.recv()
            pipe.send(work.settle(number))
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        pass  # the parent ends, or has ended
