"""Work on many things, shared out to a few forked processes that keep what they load.

A worker takes one thing after another, so that a slow one holds up nobody else.
What it couldn't settle while the others used the machine, it settles at the end,
when all have finished and it is that worker's turn.
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
"""Seconds that a worker gets to end its own children, before it is killed."""


class Work(Protocol):
    """What a worker does.  Answers must pickle; None stands for one that must wait until the worker is alone."""

    def do(self, number: int) -> Any:
        """The answer for the thing `number`, or None."""

    def settle(self) -> list[tuple[int, Any]]:
        """Called once, with nothing else going on: the things that waited, each with its answer."""


@dataclass
class News:
    """Of the thing `number`: it has been "begun", or is "done" with an answer, or is "lost" with its worker."""

    number: int
    what: str
    answer: Any = None


def share_out(count: int, width: int, order: Callable[[int], Sequence[int]], work: Work) -> Iterator[News]:
    """Have the things 0 … count - 1 worked on in `width` processes, and say how it goes.

    order(worker)  the numbers in the order in which this worker takes them, but for those
                   that another has taken before
    A worker that dies loses what it was at and what it let wait; the others go on.
    """
    context = multiprocessing.get_context("fork")
    taken = context.Array("b", count)
    workers: dict[Connection, Any] = {}
    for index in range(width):
        here, there = context.Pipe()
        process = context.Process(target=_live, args=(there, [here, *workers], taken, order(index), work))
        process.start()
        there.close()
        workers[here] = process
    busy, done = set(workers), set[int]()
    idle: list[Connection] = []
    try:
        while busy or idle:
            if not busy:
                busy.add(turn := idle.pop())
                turn.send(None)
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                try:
                    news = pipe.recv()
                except (EOFError, ConnectionError):
                    busy.discard(pipe)
                    continue
                if news is None:
                    busy.discard(pipe)
                    idle.append(pipe)
                    continue
                if news.what == "done":
                    done.add(news.number)
                yield news
        yield from (News(number, "lost") for number in range(count) if number not in done)
    finally:
        for pipe, process in workers.items():
            pipe.close()
            if process.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGINT)
            process.join(GRACE)
            if process.is_alive():
                process.kill()


def _live(pipe: Connection, others: list[Connection], taken: Any, order: Sequence[int], work: Work) -> None:
    """In a worker: take things until none is left, wait for the turn, settle the rest."""
    for other in others:
        other.close()  # a copy of the parent's end in here would hide the parent's death
    try:
        for number in order:
            with taken.get_lock():
                if taken[number]:
                    continue
                taken[number] = True
            pipe.send(News(number, "begun"))
            if (answer := work.do(number)) is not None:
                pipe.send(News(number, "done", answer))
        pipe.send(None)
        pipe.recv()
        for number, answer in work.settle():
            pipe.send(News(number, "done", answer))
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        pass  # the parent ends, or has ended
