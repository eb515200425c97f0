"""What is left to do once a run is over: the record, and a verdict for what was ended in the middle.

In the supervisor, which has loaded nothing of the learner's: it knows of the run what it was told.
"""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dojo.curriculum.katas import Dojo, Kata, open_dojo
from dojo.judging.report import MARKUP, Ran, tell, write_down
from dojo.judging.verdicts import plain


class Terminal:
    """As much of pytest's terminal reporter as the report needs."""

    def __init__(self, config: Any) -> None:
        from _pytest._io import TerminalWriter

        self._tw = TerminalWriter(sys.stdout)
        colour = getattr(config.known_args_namespace, "color", "auto")
        if colour in ("yes", "no"):
            self._tw.hasmarkup = colour == "yes"

    def write(self, text: str, **markup: bool) -> None:
        self._tw.write(text, **markup)

    def write_line(self, text: str, **markup: bool) -> None:
        self._tw.line(text, **markup)

    def section(self, title: str, sep: str) -> None:
        self._tw.sep(sep, title)

    def ensure_newline(self) -> None:
        self._tw.line()


class Aftermath:
    """A run as its supervisor knows it: what `dojo.judging.report` asks of a Judge."""

    def __init__(self, config: Any, messages: list[dict[str, Any]], dojo: Dojo | None = None) -> None:
        about: dict[str, Any] = next((m["about"] for m in messages if "about" in m), {})
        self.dojo: Dojo = dojo or open_dojo(config.rootpath)
        self.config: Any = SimpleNamespace(
            invocation_params=config.invocation_params,
            option=SimpleNamespace(verbose=about.get("verbose", 0)),
        )
        self.early = config
        self.about = about
        tree = about.get("tree")
        self.solutions: Any = SimpleNamespace(tree=Path(tree) if tree else None)
        self.impl: str | None = about.get("impl")
        self.native: bool = about.get("native", False)
        self.ran: dict[str, Ran] = {}
        self.uncollected: list[tuple[str, list[str]]] = []
        self.problems: list[str] = []
        self.raised: dict[str, Any] | None = None  # what was being done as the run was called off
        for message in messages:
            if "verdict" in message:
                verdict = message["verdict"]
                self.ran.setdefault(verdict["kata"], Ran()).add(verdict, message["seconds"])
            elif "uncollected" in message:
                self.uncollected.append((message["uncollected"], message["lines"]))
            elif "foreign" in message and message["foreign"] in self.ran:
                self.ran[message["foreign"]].foreign = message["paths"]
            elif "raised" in message:
                self.raised = message["raised"]

    @property
    def was_begun(self) -> bool:
        return bool(self.ran)

    def say(self, text: str) -> None:
        terminal = Terminal(self.early)
        terminal.ensure_newline()
        terminal.write_line(f"dojo: {text}", **MARKUP["amber"])

    # --- a death ------------------------------------------------------------------------------------

    def tell_of_death(self, doing: dict[str, Any], status: int, stack: str, late: bool) -> None:
        """Write the block of a run that was ended, after what came before it."""
        terminal = Terminal(self.early)
        katas = {kata.name: kata for kata in self.dojo.katas}
        kata = katas.get(doing.get("kata", ""))
        if kata is None:
            terminal.ensure_newline()
            terminal.section("dojo", "-")
            terminal.write("amber  ", **MARKUP["amber"])
            terminal.write_line("the run was ended before its end")
            for line in ended_by(status, stack, doing, None, late):
                terminal.write_line(f"    {line}")
            return
        verdict = crash_verdict(kata, doing, status, stack, late)
        self.ran.setdefault(kata.name, Ran()).add(verdict, 0.0)
        self.native = False
        tell(self, terminal)

    # --- the record ---------------------------------------------------------------------------------

    def write_down(self) -> None:
        """Add the run to the record, and say so where that isn't possible."""
        if not self.ran or not self.about.get("record", True):
            return
        problem = write_down(self)
        if problem:
            Terminal(self.early).write_line(f"note   {problem}", yellow=True)


def crash_verdict(kata: Kata, doing: dict[str, Any], status: int, stack: str, late: bool) -> dict[str, Any]:
    """The amber verdict of the test (or of the loading) that ended the process it ran in."""
    file = doing.get("file") or str(kata.path)
    line, words = standing(stack, file), ended_by(status, stack, doing, file, late)
    name = Path(file).name
    return plain(
        kata.name, "amber",
        test=doing.get("test") or f"while {name} was being loaded", id=doing.get("id") or "(loading)",
        lines=words, file=file, line=line, order=-1, crash=True,
        total=doing.get("total", 0), in_file=doing.get("in_file", 0), judged=doing.get("judged"),
    )  # fmt: skip


def standing(stack: str, file: str | None) -> int | None:
    """The line of `file` at which Python stood, by faulthandler's account; None where it doesn't say."""
    if file is None:
        return None
    # The last account counts: an earlier one may be of a call that was caught.
    accounts = re.split(r"^(?=Fatal Python error|Timeout |Current thread|Thread )", stack, flags=re.MULTILINE)
    for account in reversed(accounts):
        if found := re.search(rf'File "{re.escape(file)}", line (\d+)', account):
            return int(found[1])
    return None


def ended_by(status: int, stack: str, doing: dict[str, Any], file: str | None, late: bool) -> list[str]:
    """What ended a process, in words: `status` is its exit status, or minus the signal's number."""
    line = standing(stack, file)
    at = ""
    if line is not None and file is not None:
        import linecache

        at = f" It stood on line {line}: {linecache.getline(file, line).strip()}"
    if late or (status == 1 and "Timeout (" in stack):
        return [f"Not done after {doing.get('seconds', 0):g} s, so it was ended: an endless loop?{at}"]
    if raised := doing.get("raised"):
        return [f"{raised} ended the run here, and nobody had pressed Ctrl-C: the code that is judged did it."]
    if internal := doing.get("internal"):
        return [f"After this, pytest couldn't go on: {internal}"]
    if doing.get("severed"):
        return ["Your code closes files that it hasn't opened, pytest's own among them, and pytest couldn't go on."]
    if status >= 0:
        return [f"Python was ended here with status {status}, as os._exit({status}) does, in the middle of it.{at}"]
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    why = {
        "SIGSEGV": "compiled code crashed (a bad address, or too deep a recursion)",
        "SIGABRT": "Python or a library gave up",
        "SIGBUS": "compiled code crashed",
        "SIGFPE": "compiled code divided by zero",
        "SIGILL": "compiled code crashed",
        "SIGKILL": "by the code itself, or by the system as the memory ran out",
    }.get(name, "")
    return [f"Python was ended by {name}{f': {why}' if why else ''}.{at}"]
