"""What is known of one test, as plain values: workers send it to who reports, and that to the supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from dojo.checks.verdict import Colour


def plain(
    kata: str,
    colour: Colour | Literal["skipped"],
    *,
    test: str,
    id: str,
    file: str,
    lines: Sequence[str] = (),
    line: int | None = None,
    order: int = 0,
    total: int = 0,
    in_file: int = 0,
    judged: tuple[str, str] | None = None,
    crash: bool = False,
) -> dict[str, Any]:
    """A verdict.

    test, id    the test's name, and what follows its file's in pytest's node id
    file, line  of the solution: where to look
    lines       what is said of it
    order       its place in the run, for what isn't green: the first is shown
    total       the kata's tests in this run, with those that were left out before it
    in_file     the tests that the file has
    judged      hashes of the solution and of the tests, of the bytes that were read
    crash       it ended the process that it ran in, and so stands for all that it should have told
    """
    return {
        "kata": kata, "colour": colour, "test": test, "id": id, "lines": list(lines), "cause": "", "printed": [],
        "file": file, "line": line, "order": order, "total": total, "in_file": in_file, "judged": judged,
        "crash": crash,
    }  # fmt: skip
