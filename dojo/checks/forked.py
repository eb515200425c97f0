"""A forked process that does one piece of work and ends: started and ended in one way, whoever needs one.

A child has a process group of its own, so that it can be ended with all that it has started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable


def forked(work: Callable[[], int], group: bool = True) -> int:
    """The number of a process that is a copy of this one, does `work()`, and ends with what that returns as status.

    group  False for a child of a child, which stays in the outer one's group, and so ends with it
    Whatever `work` raises, the process ends there, with status 70 and without pytest's own end.
    """
    sys.stdout.flush()  # or what waits there would be written twice
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python warns of forking beside other threads: those of the parent hold no lock that a child takes.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 70
        try:
            if group:
                os.setpgid(0, 0)
            status = work()
        finally:
            os._exit(status)
    if group:
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # here, too: the child may not have come to it yet
    return pid


def end(pid: int, gone: bool = False) -> None:
    """Kill the process and whatever it has started and left in its group; it is still to be waited for.

    gone  it has been waited for already: its number may be another's now, its group's not while any is left in it
    """
    for kill in (os.killpg,) if gone else (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
