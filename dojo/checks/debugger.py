"""Is somebody stepping through this run?  Then nothing may end it for taking its time."""

from __future__ import annotations

import os
import sys
from typing import Any

_TOOLS = range(6)
"""The numbers that sys.monitoring gives to tools: 0 is a debugger, 1 a measure of coverage, 2 a profiler."""

HOLDING = ("pydevd", "debugpy", "pudb", "wdb")
"""Debuggers that are imported where they are at work."""


def traced() -> bool:
    """Whether anything follows the interpreter line by line: a debugger, or a measure of coverage."""
    if sys.gettrace() is not None:
        return True
    monitoring: Any = getattr(sys, "monitoring", None)
    return monitoring is not None and any(monitoring.get_tool(number) is not None for number in _TOOLS)


def debugged(option: Any = None) -> bool:
    """Whether a person may be holding the run: --pdb, --trace, an IDE's debugger, `python -m pdb -m pytest`."""
    if getattr(option, "usepdb", False) or getattr(option, "trace", False):
        return True
    if os.environ.get("PYTHONBREAKPOINT", "") not in ("", "0", "pdb.set_trace"):
        return True
    if any(name in sys.modules for name in HOLDING):
        return True
    monitoring: Any = getattr(sys, "monitoring", None)
    if monitoring is not None and monitoring.get_tool(0) is not None:
        return True
    tracer = sys.gettrace()
    if tracer is not None and _home(tracer) in ("pdb", "bdb"):
        return True
    # pdb takes its tracer away while no breakpoint is set, but stays at the bottom of the stack.
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        file = frame.f_code.co_filename
        if frame.f_globals.get("__name__") in ("bdb", "pdb") or file.endswith(("/bdb.py", "/pdb.py")):
            return True
    return False


def _home(tracer: Any) -> str:
    owner = getattr(tracer, "__self__", tracer)
    names = [str(getattr(base, "__module__", "")) for base in type(owner).__mro__]
    return next((name for name in names if name in ("pdb", "bdb")), names[0])
