"""Around whatever runs a learner's code: what it does to the run is undone, and told.

Each block here writes on the slate what is being done, so that a process that dies or hangs
in it leaves word; sets its deadline; and turns a solution's ways out of being judged into amber.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from dojo.checks import deadline, fence, source
from dojo.curriculum.katas import Kata
from dojo.judging.inside import Inside
from dojo.judging.verdicts import plain

if TYPE_CHECKING:
    from dojo.curriculum.katas import Dojo
    from dojo.curriculum.solutions import Solutions


BETWEEN = 60.0
"""Seconds that pytest has between a test's phases; more than a diagnosis takes."""


class Run(Protocol):
    """What this file asks of a Judge."""

    config: pytest.Config
    dojo: Dojo
    solutions: Solutions
    in_file: dict[Path, int]

    def kata_of(self, item: pytest.Item) -> Kata | None: ...
    def deadline_of(self, item: pytest.Item, kata: Kata) -> float: ...
    def number_of_tests(self, item: pytest.Item) -> int: ...


class Containment:
    """Of one run: what goes on in `judge`, told through `inside`."""

    def __init__(self, judge: Run, inside: Inside) -> None:
        self.judge = judge
        self.inside = inside
        self.ledger = fence.Ledger()
        self.worker: str | None = None  # of pytest-xdist: its name
        self.tests_hash: dict[Kata, str] = {}  # of the bytes that were collected

    def start(self) -> None:
        """Once pytest's own plugins have set themselves up."""
        self.inside.watch_exits()
        self.inside.watch_interrupts()
        fence.cap_recursion()

    def limit(self, seconds: float | None) -> None:
        """What is being done has so many seconds; pytest itself, between two limits, has some as well."""
        self.inside.set_limit(None if self.inside.debugging else BETWEEN if seconds is None else seconds)

    @contextmanager
    def test(self, item: pytest.Item) -> Iterator[None]:
        """Around all of a test, for those who outlive this process."""
        kata = self.judge.kata_of(item)
        if kata is None:
            yield
            return
        self.inside.debugging = False
        self.inside.do(**self._doing(item, kata))
        try:
            yield
        finally:
            self._end_if_severed()
            self.inside.rest()

    def _doing(self, item: pytest.Item, kata: Kata) -> dict[str, Any]:
        return {
            "phase": "test",
            "kata": kata.name,
            "test": item.name,
            "id": item.nodeid.split("::", 1)[-1],
            "file": str(self.judge.solutions.path(kata)),
            "total": self.judge.number_of_tests(item),
            "in_file": self.judge.in_file.get(item.path, 0),
            "judged": self.judged(kata),
            "worker": self.worker,
        }

    def leave_out(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Give a test its verdict without running it, where a test of its kata has ended the process that it ran in."""
        kata = self.judge.kata_of(item)
        lines = self.inside.barred(kata.name) if kata is not None else None
        if kata is None or lines is None:
            return False
        doing = self._doing(item, kata)
        known = {key: doing[key] for key in ("kata", "test", "id", "file", "total", "in_file", "judged")}
        verdict = plain(colour="amber", lines=lines, order=item.session.items.index(item), **known)
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", "\n".join(lines), "call", duration=0.0)
        vars(report)["dojo"] = verdict
        hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        item.session._setupstate.teardown_exact(nextitem)
        return True

    @contextmanager
    def around(self, item: pytest.Item) -> Iterator[None]:
        """Around the setup and the teardown of a test: a fixture may call the kata's functions, too."""
        kata = self.judge.kata_of(item)
        if kata is None:
            yield
            return
        with self.fenced(self.judge.solutions.path(kata)), deadline.limit(self.judge.deadline_of(item, kata), True):
            yield

    @contextmanager
    def collecting(self, collector: pytest.Collector) -> Iterator[None]:
        """Around the loading of a test file, which may call what it imports."""
        kata = self.judge.dojo.kata_of_test(Path(collector.path)) if isinstance(collector, pytest.Module) else None
        if kata is None:
            yield
            return
        self.inside.do(
            phase="collect", kata=kata.name, file=str(self.judge.solutions.path(kata)), worker=self.worker, judged=None
        )
        before = _digest(kata.test)
        _forget_hasty_cache(kata.test)
        try:
            with deadline.limit(self.judge.dojo.deadline, True):
                yield
        finally:
            self.inside.rest()
        self.tests_hash[kata] = before if _digest(kata.test) == before else f"{before}?"

    @contextmanager
    def fenced(self, solution: Path, told: Callable[[Any], bool] = lambda value: False) -> Iterator[None]:
        """What a solution does to the run around it is put back, and makes the test amber.

        told  whether a builtin (math.…) that now has this value was changed by the solution
        """
        __tracebackhide__ = True
        found: BaseException | None = None
        with fence.streams_kept():
            try:
                yield
            except BaseException as error:
                found = error
        changed = [name for name, value in self.ledger.changes() if told(value)]
        if changed and not self.inside.debugging:
            raise fence.NotJudged(fence.told_of_changes(changed)) from None
        if found is None:
            return
        if isinstance(found, RecursionError):
            fence.shorten(found)
        words = fence.way_out(found)
        try:
            if words and not self._is_meant(found) and fence.passed_through(found, solution):
                raise fence.NotJudged(f"Your code {words}.").with_traceback(found.__traceback__) from None
            raise found
        finally:
            found = None  # or it would keep this frame, and with it all that the test has made

    def _is_meant(self, error: BaseException) -> bool:
        """Whether a person has ended the run: by Ctrl-C, or by leaving the debugger."""
        if isinstance(error, KeyboardInterrupt):
            return self.inside.was_interrupted()
        return self.inside.debugging

    @contextmanager
    def loading(self, kata: Kata, path: str) -> Iterator[None]:
        """Around the loading of a solution.  Raises NotJudged where loading it has ended a process before."""
        before = dict(self.inside.doing)
        with self.inside.alone(kata.name) as died:
            if died or self.inside.barred(kata.name):
                lines = self.inside.barred(kata.name) or [f"{Path(path).name} ended Python while it was being loaded."]
                raise fence.NotJudged("\n".join(lines))
            self.inside.do(**{**before, "phase": "load", "kata": kata.name, "file": path, "worker": self.worker})
            try:
                with self.fenced(Path(path), lambda value: True):
                    yield
            finally:
                self._end_if_severed()
                self.inside.do(**before) if before else self.inside.rest()

    def judged(self, kata: Kata) -> tuple[str, str]:
        """Hashes of the solution and of the tests: of the bytes that are judged, as they were read."""
        path = self.judge.solutions.path(kata)
        content = self.judge.solutions.judged.get(path)
        if content is None:
            try:
                content = source.read(path)
            except OSError:
                return "", self.tests_hash.get(kata, "")
        return source.digest(content), self.tests_hash.get(kata, "")

    def hold(self) -> None:
        """A person looks at the code: no clock runs.  Raises NotJudged where there is no keyboard to look with."""
        option = self.judge.config.option
        if not option.usepdb and not option.trace and _no_keyboard():
            again = shlex.join(["pytest", *map(str, self.judge.config.invocation_params.args)])
            raise fence.NotJudged(
                f"breakpoint() opens a debugger, and no keyboard reaches it here.\nIn a terminal of its own:  {again}"
            )
        deadline.suspend()
        self.inside.debugging = True
        self.inside.tell(debugging=True)
        self.inside.set_limit(None)

    def let_go(self) -> None:
        self.inside.tell(debugging=False)

    def fail_inside(self, error: BaseException) -> None:
        """pytest itself can't go on.  Where learners' code is being run, that is its doing: leave it to be told."""
        if self.inside.doing and (self.inside.news is not None or self.inside.room is not None):
            text = " ".join(str(error).split())[:300]
            self._leave(internal=f"{type(error).__name__}: {text}")

    def _end_if_severed(self) -> None:
        """Nobody would hear of this run any more, and the code that has just run did it: leave it to be told."""
        if self.inside.severed:
            self._leave(severed=True)

    def _leave(self, **why: Any) -> None:
        """End this process at once: those who outlive it find on the slate what was being done, and why it ended."""
        self.inside.do(**{**self.inside.doing, **why})
        self.inside.real_exit(70)

    def interrupted(self, error: BaseException) -> None:
        """The run ends before its time: by Ctrl-C, or by code that raises what Ctrl-C does."""
        if type(error).__name__ != "Interrupted" and not self._is_meant(error) and self.inside.last:
            self.inside.tell(raised={**self.inside.last, "raised": type(error).__name__})


def _no_keyboard() -> bool:
    """Whether what is read from the standard input is nothing at all: in `dojo watch`, in a worker."""
    try:
        given, null = os.fstat(0), os.stat(os.devnull)
    except OSError:
        return True
    return stat.S_ISCHR(given.st_mode) and given.st_rdev == null.st_rdev


def _digest(file: Path) -> str:
    try:
        return source.digest(source.read(file))
    except OSError:
        return ""


def _forget_hasty_cache(test: Path) -> None:
    """pytest keeps compiled tests by second and size: what was saved in the second of the last run is read anew."""
    try:
        saved = test.stat().st_mtime
        for cached in (test.parent / "__pycache__").glob(f"{test.stem}.*-pytest-*.pyc"):
            if saved >= cached.stat().st_mtime - 2:
                cached.unlink()
    except OSError:
        return
