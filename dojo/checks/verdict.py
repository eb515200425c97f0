"""From pytest's outcome of a test to one of four colours.

todo   the stub still raises its own NotImplementedError
amber  couldn't be judged: a syntax or import error, a crash, a deadline, no memory
red    a wrong answer
green  right
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Literal

from dojo.checks.compare import Wrong
from dojo.checks.deadline import DeadlineExceeded
from dojo.checks.fence import NotJudged

Colour = Literal["todo", "amber", "red", "green"]
COLOURS: tuple[Colour, ...] = ("amber", "red", "todo", "green")
"""From what needs attention first to what needs none."""


def frames(error: BaseException) -> list[tuple[Path, int, str]]:
    """The file, the line and the function of each frame of the error's traceback, the innermost last."""
    found = []
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append((Path(code.co_filename), trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    return found


def line_in(error: BaseException, file: Path) -> int | None:
    """The innermost line of `file` that the error passed through, or None."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == file:
        return error.lineno
    lines = [line for path, line, _ in frames(error) if path == file]
    return lines[-1] if lines else None


def _raised_in(error: NotImplementedError, solution: Path) -> bool:
    """Whether a `raise NotImplementedError` of the file `solution` itself raised the error."""
    import linecache

    path, line, _ = frames(error)[-1] if error.__traceback__ else (None, 0, "")
    if path != solution:
        return False
    linecache.checkcache(str(solution))
    return linecache.getline(str(solution), line).strip().startswith("raise NotImplementedError")


CUT_OFF_SOME = "appears to not have been used in the graph"
"""What torch says where an output depends on some of what it is differentiated by; not on which."""

CUT_OFF = (
    "does not require grad and does not have a grad_fn",
    CUT_OFF_SOME,
    "expects at least one input tensor to require gradient",
    "no graph nodes that require computing gradients",
    "Numerical gradient for function expected to be zero",
)
"""What torch says where an output doesn't depend on what it is differentiated by."""


def cut_off(error: BaseException) -> bool:
    """Whether torch found no way back from an output to what went in: a wrong answer, not a crash."""
    return isinstance(error, RuntimeError | ValueError) and any(text in str(error) for text in CUT_OFF)


def is_gradcheck(error: BaseException) -> bool:
    """Whether torch's gradcheck found a gradient wrong."""
    return type(error).__name__ == "GradcheckError"


def colour_of(error: BaseException | None, solution: Path) -> Colour:
    """The colour of a test that ended with `error` (None: it passed) when judging the file `solution`."""
    if error is None:
        return "green"
    if isinstance(error, Wrong):
        return "red"
    if isinstance(error, NotImplementedError) and _raised_in(error, solution):
        return "todo"
    if isinstance(error, NotJudged | DeadlineExceeded | MemoryError | SyntaxError | ImportError | RecursionError):
        return "amber"
    # An error that passed through the solution is a crash of it.  One that arose in the test alone
    # comes from an answer that the test can't use: a float where it unpacks two arrays, say.
    if line_in(error, solution) is not None:
        return "amber"
    if (
        cut_off(error)
        or is_gradcheck(error)
        or isinstance(error, AssertionError)
        or type(error).__module__.startswith(("_pytest", "pytest"))
    ):
        return "red"
    return "red" if isinstance(error, TypeError | ValueError | AttributeError | LookupError) else "amber"


def summary(colours: list[Colour]) -> Colour:
    """The colour of a kata whose tests have these colours: the first of COLOURS that is among them."""
    return next((colour for colour in COLOURS if colour in colours), "todo")
