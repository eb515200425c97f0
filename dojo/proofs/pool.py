"""Jobs in forked children, a few at a time."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable, Iterator
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
