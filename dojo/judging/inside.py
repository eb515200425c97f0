"""In a process that runs learners' code: what it tells those that outlive it.

The supervisor (dojo.judging.supervisor) reads the slate, the news and the stack; so does, of
a worker of pytest-xdist that dies, the process that hands out the tests.  Where nobody
supervises, nothing is told, and a run is as it was before there was a supervisor.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep  # as they are now: a learner's code can change what `time` holds
from typing import Any

from dojo.judging.slate import Slate

ROOM = "DOJO_ROOM"
"""The variable that names the folder in which the workers of one run leave word."""

HEARD = 0.2
"""Seconds in which a Ctrl-C has reached the supervisor as well."""


class Inside:
    """The ends that this process holds.

    news   a pipe to the supervisor, in the process that reports
    slate  what is being done
    stack  a file for the stacks of Python at a crash
    room   the folder that the workers of a run share
    """

    def __init__(
        self, news: int | None = None, slate: Slate | None = None, stack: int | None = None, room: Path | None = None
    ) -> None:
        self.news, self.slate, self.stack, self.room = news, slate, stack, room
        self.pid = os.getpid()
        self.interrupted = False  # by a real Ctrl-C
        self.knows_interrupts = False
        self.debugging = False
        self.last: dict[str, Any] = {}  # what was being done when something last was
        self._doing: dict[str, Any] = {}
        self._barred: tuple[int, dict[str, list[str]]] = (0, {})
        self._ends = {end: _identity(end) for end in (news, stack) if end is not None}

    @classmethod
    def worker(cls, name: str) -> Inside:
        """Of a worker of pytest-xdist; all None where the run has no room."""
        if not (folder := os.environ.get(ROOM)):
            return cls()
        room = Path(folder)
        try:
            stack = os.open(room / f"{name}.stack", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            return cls(None, Slate.at(room / f"{name}.slate"), stack, room)
        except OSError:
            return cls()

    # --- to the supervisor --------------------------------------------------------------------------

    def tell(self, **message: Any) -> None:
        """Send a message, a line of JSON; nobody need be there."""
        if self.news is None or os.getpid() != self.pid:
            return
        data = json.dumps(message).encode() + b"\n"
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self.news, data) :]

    def do(self, **what: Any) -> None:
        """Write on the slate what is being done."""
        self._doing = self.last = {**what, "pid": self.pid}
        self._write()

    def rest(self) -> None:
        """Nothing of a learner's is being run."""
        self._doing = {}
        self._write()

    @property
    def severed(self) -> bool:
        """Whether the ends were closed, as os.closerange(0, 200) does; their numbers may be others' now."""
        return os.getpid() == self.pid and any(_identity(end) != known for end, known in self._ends.items())

    @property
    def doing(self) -> dict[str, Any]:
        return self._doing

    def set_limit(self, seconds: float | None) -> None:
        """What is being done has so many seconds left."""
        if not self._doing:
            return
        self._doing["until"] = None if seconds is None else monotonic() + seconds
        if seconds is not None:
            self._doing["seconds"] = seconds
        self._write()

    def _write(self) -> None:
        if self.slate is not None:
            self.slate.write(self._doing)

    # --- the ways in which code ends a process -------------------------------------------------------

    def watch_exits(self) -> None:
        """Write down where the code stands when it ends Python, and what ended it."""
        if self.stack is None:
            return
        stack, pid = self.stack, self.pid
        faulthandler.enable(file=stack, all_threads=False)
        real_exit, real_kill, fatal = os._exit, os.kill, (signal.SIGKILL, signal.SIGSTOP)

        def _exit(status: int) -> Any:
            if os.getpid() == pid:
                faulthandler.dump_traceback(file=stack, all_threads=False)
            real_exit(status)

        def kill(target: int, number: int, /) -> None:
            if os.getpid() == pid == target and number in fatal:
                faulthandler.dump_traceback(file=stack, all_threads=False)
            real_kill(target, number)

        def let_be() -> None:
            os._exit, os.kill = real_exit, real_kill

        os._exit, os.kill = _exit, kill
        os.register_at_fork(after_in_child=let_be)  # what is forked from here has its own end
        self.real_exit = real_exit

    real_exit = staticmethod(os._exit)

    def watch_interrupts(self) -> None:
        """Know a Ctrl-C from a KeyboardInterrupt that the learner's code raises."""
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return

        def note(number: int, frame: Any) -> None:
            __tracebackhide__ = True  # the line that was interrupted is of interest
            self.interrupted = True
            self.tell(interrupted=True)
            signal.default_int_handler(number, frame)

        signal.signal(signal.SIGINT, note)
        self.knows_interrupts = True

    def was_interrupted(self) -> bool:
        """Whether a person has pressed Ctrl-C.  The supervisor knows: it has heard it, too."""
        if not self.interrupted:
            return not self.knows_interrupts
        slate = self.slate if self.news is not None else None
        word = self.room / "interrupted" if self.room is not None and (self.room / "supervised").exists() else None
        if slate is None and word is None:
            return True
        until = monotonic() + HEARD
        while monotonic() < until:
            if (slate is not None and slate.interrupted) or (word is not None and word.exists()):
                return True
            sleep(0.01)
        return False

    def end(self, status: int) -> None:
        """Leave with pytest's status, where somebody waits for it: nothing that was left behind is run any more."""
        if self.news is None or os.getpid() != self.pid:
            return
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                status = status or 1
            except (OSError, ValueError, AttributeError):
                continue
        self.tell(word=status)
        self.real_exit(status)

    # --- among workers ------------------------------------------------------------------------------

    def bar(self, kata: str, lines: list[str]) -> None:
        """Let no worker run this kata any more, and say why."""
        if self.room is not None:
            with contextlib.suppress(OSError), open(self.room / "barred", "a", encoding="utf-8") as file:
                file.write(json.dumps({"kata": kata, "lines": lines}) + "\n")

    def barred(self, kata: str) -> list[str] | None:
        """Why this kata isn't run any more, if that is so."""
        if self.room is None:
            return None
        try:
            size = os.stat(self.room / "barred").st_size
        except OSError:
            return None
        if size != self._barred[0]:
            with contextlib.suppress(OSError, ValueError):
                lines = (self.room / "barred").read_text(encoding="utf-8").splitlines()
                self._barred = (size, {one["kata"]: one["lines"] for one in map(json.loads, lines)})
        return self._barred[1].get(kata)

    @contextlib.contextmanager
    def alone(self, kata: str) -> Iterator[bool]:
        """In turn with the other workers, once for each kata: yields whether one of them died in this block."""
        if self.room is None or (self.room / f"{kata}.loaded").exists():
            yield False
            return
        with open(self.room / f"{kata}.lock", "a+b") as file:
            import fcntl  # where there is no fork there is none of it either

            fcntl.flock(file, fcntl.LOCK_EX)  # let go of by the system where its holder dies
            file.seek(0)
            died = bool(file.read()) and not (self.room / f"{kata}.loaded").exists()
            file.write(b"begun")
            file.flush()
            try:
                yield died
            finally:
                (self.room / f"{kata}.loaded").touch()


def _identity(descriptor: int) -> tuple[int, int] | None:
    """What a descriptor stands for; None for one that is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
