"""Running a collected test again, from its setup to its teardown, in a forked child.

The diagnosis replays a failed test with the kata's mistakes; the proofs replay
whole files with hundreds of patches.  A child changes what it likes and then
vanishes: nothing has to be put back in the process that pytest goes on in.
"""

from __future__ import annotations

import os
import pickle
import select
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic, perf_counter  # as they are now: a learner's code can change what `time` holds
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from dojo.checks import deadline
from dojo.checks.forked import end, forked

ERROR = pytest.StashKey[BaseException | None]()
"""Where the engine's makereport hook leaves the error that the last phase of a test ended with."""

OPERANDS = pytest.StashKey[tuple[Any, Any]]()
"""The two sides of the last `assert a == b` that failed in a test."""

REPLAYING = pytest.StashKey[bool]()
"""Set on the config of a child: reports are neither explained nor written down there."""


@dataclass
class Outcome:
    """How a replayed test ended: with `error`, or skipped for a reason, or neither, and after how many seconds."""

    error: BaseException | None
    skipped: bool
    seconds: float
    reason: str = ""


class _Sibling:
    """Stands for a next test beside `item`, so that only what is `item`'s own is torn down."""

    def __init__(self, item: pytest.Item) -> None:
        self.item = item

    def listchain(self) -> list[Any]:
        return [*self.item.listchain()[:-1], self]


def replay(item: pytest.Item) -> Outcome:
    """Run `item` once more, with fixtures of its own; fixtures of wider scope are kept."""
    sibling: Any = _Sibling(item)
    state = item.session._setupstate
    state.teardown_exact(sibling)  # whatever another test has left set up
    item.stash[ERROR] = None
    if hasattr(item, "_initrequest"):
        item._initrequest()
    start = perf_counter()
    reports = runtestprotocol(item, log=False, nextitem=sibling)
    seconds = perf_counter() - start
    error = item.stash[ERROR]
    skipped = any(report.skipped for report in reports)
    if error is None and any(report.failed for report in reports):
        error = RuntimeError("the test's teardown failed")
    reasons = [report.longrepr[2] for report in reports if report.skipped and isinstance(report.longrepr, tuple)]
    return Outcome(None if skipped else error, skipped, seconds, *reasons[:1])


def become_quiet(config: pytest.Config) -> None:
    """In a child: write nothing to the parent's terminal, nor into what pytest has captured there."""
    config.stash[REPLAYING] = True
    deadline.set_last_resort(None)  # whoever waits for this child ends it
    deadline.set_listener(None)
    manager = config.pluginmanager
    if (capture := manager.get_plugin("capturemanager")) is not None:
        manager.unregister(capture)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)  # the parent's OpenMP threads are gone: waiting for them never ends
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    sys.stdin = open(os.devnull)  # noqa: SIM115 - lives as long as the child
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    deadline.silence_last_resort(null)


class Child:
    """A forked child that computes `job()` and sends the answer back, pickled.

    `result()` is the answer, or None once the child died or ran past its time:
    whatever the job does, the parent goes on.  A child of a child is `nested`: it
    stays in the outer one's process group, and so ends with it.
    """

    def __init__(self, job: Callable[[], Any], seconds: float, nested: bool = False) -> None:
        self.deadline = monotonic() + seconds
        self.timed_out = False
        self.error = ""  # what the job raised, if that is why there is no answer
        self.status = 0
        self.fd, write = os.pipe()
        self.pid = forked(partial(_work, job, self.fd, write), group=not nested)
        os.close(write)
        self._received = b""

    def fileno(self) -> int:
        return self.fd

    def read_some(self) -> bool:
        """Take what the child has sent; True once it is done."""
        chunk = os.read(self.fd, 1 << 16)
        self._received += chunk
        return not chunk

    def finish(self) -> Any:
        """The job's answer, or None where there is none; the child is gone afterwards."""
        os.close(self.fd)
        end(self.pid)
        self.status = os.waitpid(self.pid, 0)[1]
        try:
            answer = pickle.loads(self._received)
        except (pickle.UnpicklingError, EOFError, AttributeError):
            return None
        if isinstance(answer, JobError):
            self.error = answer.text
            return None
        return answer

    def result(self) -> Any:
        """Wait for the answer, until the child's time is up."""
        while True:
            left = self.deadline - monotonic()
            if left <= 0:
                self.timed_out = True
                return self.finish()
            if select.select([self.fd], [], [], left)[0] and self.read_some():
                return self.finish()


@dataclass
class JobError:
    """Sent by a child in place of an answer: what its job raised."""

    text: str


def _work(job: Callable[[], Any], read: int, write: int) -> int:
    """In the child: do the job and send the answer."""
    os.close(read)
    try:
        answer = pickle.dumps(job())
    except BaseException as error:
        answer = pickle.dumps(JobError(f"{type(error).__name__}: {error}"))
    with os.fdopen(write, "wb") as pipe:
        pipe.write(answer)
    return 0
