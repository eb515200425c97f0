"""A deadline for code that may never end.

SIGALRM interrupts Python code where it stands, so that the traceback names the
line.  It is repeated, as an endless loop may hold a bare `except:`, and a limit
that has rung ends as a limit that has rung: code that swallows the alarm and goes
on is late all the same.  Code in C that never comes back to Python sees no signal:
some seconds later faulthandler, which needs no interpreter, writes down where every
thread stands and ends the process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import threading
from collections.abc import Callable
from time import monotonic  # as it is now: a learner's code can change what `time` holds
from types import FrameType, TracebackType
from typing import Literal, TextIO

from dojo.checks.debugger import debugged

GRACE = 3.0
"""Seconds between the deadline and the end of a process that can't be interrupted."""

REPEAT = 0.5
"""Seconds after which the alarm rings again, in case the code swallowed the first."""

INSISTENT = 3, 0.02
"""After so many times it rings at this pace, to come upon a loop at the point where nothing is caught."""

IMPORTS = 5
"""How many times a deadline that rings in the middle of a library's import is set anew."""

LATE = 0.5
"""Seconds past its deadline after which code is late though no alarm reached it: it may have turned it off."""

LIBRARIES = ("site-packages", "dist-packages")

_last_resort: TextIO | int | None = None
_homes: tuple[str, ...] = ()
_on_change: Callable[[float | None], None] | None = None
_current: limit | None = None


class DeadlineExceeded(BaseException):
    """Code ran for longer than it may.  Not an Exception, so that `except Exception` doesn't stop it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not done after {seconds:g} s")
        self.seconds = seconds


def set_last_resort(file: TextIO | int | None) -> None:
    """Where the stacks go when the process has to be ended; None leaves that out."""
    global _last_resort
    _last_resort = file


def silence_last_resort(null: int) -> None:
    """In a child of whose end nobody needs to hear: it is ended as before, but its stacks go to the file `null`."""
    if _last_resort is not None:
        set_last_resort(null)


def set_homes(*folders: str) -> None:
    """Where the code lies whose own loops are meant: all else that is imported may take longer."""
    global _homes
    _homes = folders


def set_listener(on_change: Callable[[float | None], None] | None) -> None:
    """Who is told the seconds that are left whenever they change; None means that there is no limit."""
    global _on_change
    _on_change = on_change


def suspend() -> None:
    """Stop every clock: somebody is looking at the code with a debugger."""
    one = _current
    while one is not None:
        one.suspended = True
        one = one.outer
    if _current is not None:
        _current.stop()
        _tell(None)


def _tell(seconds: float | None) -> None:
    if _on_change is not None:
        _on_change(seconds)


def _at_home(file: str) -> bool:
    return file.startswith(_homes) and not any(name in file for name in LIBRARIES)


def may_take_longer(frame: FrameType | None, wait_for_fixtures: bool = False) -> bool:
    """Whether what runs is no learner's code: a library is being imported, or a fixture loads what it needs."""
    importing = False
    while frame is not None:
        file = frame.f_code.co_filename
        if file == "<frozen importlib._bootstrap>":
            importing = True
        elif _at_home(file):
            if importing:
                return True
            if not wait_for_fixtures:
                return False
            name = file.replace("\\", "/").rsplit("/", 1)[-1]
            if not name.startswith(("test_", "conftest")):
                return False
        frame = frame.f_back
    return importing or wait_for_fixtures


class limit:
    """`with limit(seconds):` raises DeadlineExceeded in the block once it has run for that long; 0 sets no limit.

    wait_for_fixtures  only the code of solutions has to be done by then: a fixture may load a model
    gentle             without the last resort: its thread doesn't live on in a fork, where ending it hangs

    Without SIGALRM (Windows), or away from the main thread, only the last resort is left,
    and a block that comes to its end too late raises there.
    """

    def __init__(self, seconds: float, wait_for_fixtures: bool = False, gentle: bool = False) -> None:
        self.seconds = seconds
        self.gentle = gentle
        self.wait_for_fixtures = wait_for_fixtures
        self.suspended = False
        self.left = IMPORTS * (6 if wait_for_fixtures else 1)
        self.allowed = seconds
        self.rung = 0
        self.error: DeadlineExceeded | None = None  # as it was first raised, with the line
        self.outer: limit | None = None
        self.off = seconds <= 0

    def __enter__(self) -> limit:
        global _current
        self.off = self.off or debugged()
        if self.off:
            return self
        self.outer, _current = _current, self
        self.start = monotonic()
        self.rings = hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()
        if self.rings:
            self.handler = signal.signal(signal.SIGALRM, self._ring)
        self._set(self.seconds)
        return self

    def _set(self, seconds: float) -> None:
        if _last_resort is not None and not self.gentle:
            faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=_last_resort)
        if self.rings:
            signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT)
        _tell(seconds)

    def stop(self) -> None:
        """Turn the clock off."""
        if self.rings:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if _last_resort is not None and not self.gentle:
            faulthandler.cancel_dump_traceback_later()

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self.suspended:
            return
        # An oracle that is imported for the first time may take longer than a test: that is no endless loop.
        if self.error is None and self.left and may_take_longer(frame, self.wait_for_fixtures):
            self.left -= 1
            self.allowed += self.seconds
            self._set(self.seconds)
            return
        self.rung += 1
        if self.rung == INSISTENT[0]:
            signal.setitimer(signal.ITIMER_REAL, INSISTENT[1], INSISTENT[1])
        error = DeadlineExceeded(self.seconds)
        self.error = self.error or error
        # The block is over, and this is the way out of it: its end raises what is due.
        if frame is not None and frame.f_code.co_filename in (__file__, contextlib.__file__):
            return
        raise self.error if self.error.__traceback__ is None else error

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        global _current
        if self.off:
            return False
        self.stop()
        if self.rings:
            signal.signal(signal.SIGALRM, self.handler)
        took = monotonic() - self.start
        _current = self.outer
        if self.outer is not None and not self.outer.suspended:
            # A limit within a limit: the outer one goes on, and what took its own time isn't counted twice.
            self.outer.allowed += took
            self.outer._set(max(0.01, self.outer.start + self.outer.allowed - monotonic()))
        else:
            _tell(None)
        if self.suspended or isinstance(value, DeadlineExceeded | KeyboardInterrupt):
            return False
        if self.error is not None or took > self.allowed + LATE:
            raise (self.error or DeadlineExceeded(self.seconds)) from None
        return False
