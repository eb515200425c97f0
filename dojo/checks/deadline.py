"""A deadline for code that may never end.

SIGALRM interrupts Python code where it stands, so that the traceback names the
line.  It is repeated, as an endless loop may hold a bare `except:`.  Code in C
that never comes back to Python sees no signal: some seconds later faulthandler,
which needs no interpreter, prints where every thread stands and ends the process.
"""

from __future__ import annotations

import faulthandler
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

GRACE = 5.0
"""Seconds between the deadline and the end of a process that can't be interrupted."""

REPEAT = 0.5
"""Seconds after which the alarm rings again, in case the code swallowed the first."""

IMPORTS = 5
"""How many times a deadline that rings in the middle of an import is set anew."""

_last_resort: TextIO | int | None = None


class DeadlineExceeded(BaseException):
    """Code ran for longer than it may.  Not an Exception, so that `except Exception` doesn't stop it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not done after {seconds:g} s")
        self.seconds = seconds


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def set_last_resort(file: TextIO | int | None) -> None:
    """Where the stacks go when the process has to be ended; None leaves that out."""
    global _last_resort
    _last_resort = file


def silence_last_resort(null: int) -> None:
    """In a child of whose end nobody needs to hear: it is ended as before, but its stacks go to the file `null`."""
    if _last_resort is not None:
        set_last_resort(null)


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise DeadlineExceeded in the block once it has run for `seconds`; 0 sets no limit.

    Without SIGALRM (Windows), or away from the main thread, only the last resort is left.
    """
    if seconds <= 0:
        yield
        return

    imports_left = IMPORTS

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal imports_left
        # An oracle that is imported for the first time may take longer than a test: that is no endless loop.
        if imports_left and _is_importing(frame):
            imports_left -= 1
            signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT)
            if _last_resort is not None:
                faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=_last_resort)
            return
        raise DeadlineExceeded(seconds)

    rings = hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()
    if _last_resort is not None:
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=_last_resort)
    if rings:
        handler = signal.signal(signal.SIGALRM, ring)
        outer = signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT)
    try:
        yield
    finally:
        if rings:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            if outer[0]:  # a limit within a limit: the outer one goes on
                signal.setitimer(signal.ITIMER_REAL, outer[0], REPEAT)
        if _last_resort is not None:
            faulthandler.cancel_dump_traceback_later()
