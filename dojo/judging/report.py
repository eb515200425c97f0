"""What the learner sees at the end of a run: short, and pointing at what to do."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest

from dojo.checks.fence import NotJudged
from dojo.checks.verdict import Colour, summary
from dojo.curriculum.katas import Kata
from dojo.judging.theirs import words
from dojo.judging.verdicts import plain

if TYPE_CHECKING:
    from dojo.curriculum.katas import Dojo
    from dojo.curriculum.solutions import Solutions

MARKUP = {
    "todo": {"yellow": True},
    "amber": {"yellow": True, "bold": True},
    "red": {"red": True},
    "green": {"green": True},
}
PRINTED = 20
"""Lines of what a test printed that are shown: the last ones."""

NAMED = 6
"""Names of further failing tests that are listed under the first."""


def verdict_of(
    item: pytest.Item,
    kata: Kata,
    solution: Path,
    colour: Colour | Literal["skipped"],
    error: BaseException | None,
    in_file: int = 0,
    judged: tuple[str, str] | None = None,
    printed: str = "",
) -> dict[str, Any]:
    """What a test's report carries: plain values only, as xdist sends it from a worker."""
    verdict = plain(
        kata.name, colour, test=item.name, id=item.nodeid.split("::", 1)[-1], file=str(solution),
        order=item.session.items.index(item) if colour != "green" else 0,
        total=_tests_of(item), in_file=in_file, judged=judged,
    )  # fmt: skip
    if colour in ("green", "skipped") or error is None:
        return verdict
    verdict["printed"] = _last_lines(printed)
    if colour == "todo":
        from dojo.checks.verdict import frames

        _, line, function = frames(error)[-1]
        verdict["lines"] = [f"{function}() isn't written yet."]
        verdict["line"] = line
        return verdict
    from dojo.diagnosis import devices
    from dojo.diagnosis.explain import explain, not_judged

    if colour == "amber":
        finding = not_judged(error, solution)
        if isinstance(error, NotJudged):
            finding.lines = str(error).splitlines()
        finding.lines += advice(error)
        if isinstance(error, ModuleNotFoundError):
            from dojo.curriculum.missing import said_of

            finding.lines += said_of(kata.dojo, error)
        finding.lines += devices.said_of(error, solution)
        # A crash that one of the mistakes gives as well is worth its sentence.
        if finding.line is not None and not isinstance(error, SyntaxError | ImportError | RecursionError | NotJudged):
            finding = _with_mistakes(finding, explain(item, kata, solution, error))
    else:
        finding = explain(item, kata, solution, error)
    finding.lines += _of_ranks(error)
    verdict["lines"], verdict["line"], verdict["cause"] = finding.lines, finding.line, finding.cause
    return verdict


def advice(error: BaseException) -> list[str]:
    """What to do about an error that says so itself only to those who know pytest."""
    if "reading from stdin" in str(error) or isinstance(error, EOFError):
        return ["input() waits for the keyboard, and a kata reads none: its functions are given all they need."]
    return []


def _with_mistakes(finding: Any, explained: Any) -> Any:
    finding.lines = [*explained.called, *finding.lines]
    if explained.says:
        finding.lines += [*explained.says, "  (the same error comes from that mistake)"]
        finding.cause = explained.cause
    return finding


ABOUT_RANKS = re.compile(r"(on )?rank \d+")


def _of_ranks(error: BaseException) -> list[str]:
    """Notes on an error that say which rank it was and where the others stand; hypothesis adds others."""
    return [note for note in getattr(error, "__notes__", []) if ABOUT_RANKS.match(note)]


def _last_lines(printed: str) -> list[str]:
    """The last lines of what a test printed, under a line that says so."""
    lines = printed.rstrip().splitlines()
    if not lines:
        return []
    left_out = f", the last {PRINTED} of {len(lines)} lines" if len(lines) > PRINTED else ""
    return [f"printed{left_out}:", *(f"  | {line}" for line in lines[-PRINTED:])]


def _tests_of(item: pytest.Item) -> int:
    return sum(1 for other in item.session.items if other.path == item.path)


@dataclass
class Ran:
    """The tests of one kata that a run has finished."""

    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    seconds: float = 0.0
    tests: int = 0  # in the kata's file, as far as this run selected them
    in_file: int = 0  # all of them, or 0 where the run didn't collect the file whole
    judged: set[tuple[str, str]] = field(default_factory=set)  # hashes of the solution and of the tests
    foreign: list[str] = field(default_factory=list)  # tests that aren't the project's

    def add(self, verdict: dict[str, Any], seconds: float) -> None:
        self.tests = max(self.tests, verdict["total"])
        self.in_file = max(self.in_file, verdict["in_file"])
        self.seconds += seconds
        if verdict.get("judged"):
            self.judged.add(tuple(verdict["judged"]))
        if self.verdicts.get(verdict["id"], {}).get("crash"):
            return  # another worker was given the test as well; what the first has met stays
        if verdict["colour"] == "skipped":
            self.skipped.add(verdict["id"])
        else:
            self.verdicts[verdict["id"]] = verdict

    @property
    def total(self) -> int:
        """The tests that can be judged here."""
        return self.tests - len(self.skipped)

    @property
    def whole(self) -> bool:
        """Whether every test of the kata that can be judged here was."""
        return len(self.verdicts) + len(self.skipped) == self.in_file and len(self.judged) <= 1 and not self.foreign

    @property
    def colour(self) -> Colour:
        colour = summary([v["colour"] for v in self.verdicts.values()])
        return "amber" if colour == "green" and (self.foreign or len(self.judged) > 1) else colour

    def doubts(self) -> list[str]:
        """Why it isn't green though every test that ran is."""
        if len(self.judged) > 1:
            return ["The file was changed while it was being judged: judge it again."]
        return words(self.foreign) if self.foreign else []

    @property
    def greens(self) -> int:
        return sum(v["colour"] == "green" for v in self.verdicts.values())

    def failing(self) -> list[dict[str, Any]]:
        """The verdicts that aren't green in the order of the file; what was tried before what wasn't."""
        bad = [v for v in self.verdicts.values() if v["colour"] != "green"]
        return sorted(bad, key=lambda v: (v["colour"] == "todo", v["order"]))


class Run(Protocol):
    """What is told of a run: the part of a Judge that this file uses."""

    dojo: Dojo
    config: pytest.Config
    solutions: Solutions
    impl: str | None
    native: bool
    ran: dict[str, Ran]
    uncollected: list[tuple[str, list[str]]]
    problems: list[str]


def tell(judge: Run, terminal: Any) -> None:
    """Write the block of each kata in the order of the curriculum, then what to do next."""
    katas = {kata.name: kata for kata in judge.dojo.katas}
    ran = sorted(((n, one) for n, one in judge.ran.items() if one.verdicts), key=lambda pair: katas[pair[0]].order)
    uncollected = [] if judge.native else judge.uncollected
    if not ran and not uncollected:
        return
    terminal.ensure_newline()
    terminal.section("dojo", "-")
    _uncollected(terminal, uncollected)
    shown_todo = False
    open_katas = []
    for name, one in ran:
        kata = katas[name]
        colour = one.colour
        _headline(terminal, kata, one)
        if colour == "green":
            continue
        open_katas.append(kata)
        # Of the katas that aren't begun only the first is opened up: the rest say nothing new.
        if colour == "todo" and shown_todo:
            continue
        shown_todo = shown_todo or colour == "todo"
        _failures(judge, terminal, one)
        _prerequisites(judge, terminal, kata, one)
    if ran:
        _next_steps(judge, terminal, open_katas, katas, ran)
    for problem in judge.problems:
        terminal.write_line(f"note   {problem}", yellow=True)


def _uncollected(terminal: Any, files: list[tuple[str, list[str]]]) -> None:
    """The files whose tests can't be loaded: each reason once, as one missing package stops many."""
    reasons: dict[tuple[str, ...], list[str]] = {}
    for file, lines in files:
        reasons.setdefault(tuple(lines), []).append(file)
    for reason, named in reasons.items():
        more = f" and {len(named) - 1} more" if len(named) > 1 else ""
        terminal.write("amber  ", **MARKUP["amber"])
        terminal.write_line(f"{named[0]}{more} can't be loaded")
        for text in reason:
            for part in _wrapped(text, max(60, min(terminal._tw.fullwidth, 100) - 4)):
                terminal.write_line(f"    {part}")


def _headline(terminal: Any, kata: Kata, one: Ran) -> None:
    colour = one.colour
    count = f"{one.greens}/{one.total} green"
    title = f"{kata.stem}  {kata.title}"
    terminal.write(f"{colour:<6} ", **MARKUP[colour])
    room = min(terminal._tw.fullwidth, 80) - 7 - len(count)
    terminal.write_line(f"{title:<{room}}{count}" if len(title) < room else f"{title}  {count}")


def _failures(judge: Run, terminal: Any, one: Ran) -> None:
    failing = one.failing()
    if not failing:
        for line in one.doubts():
            for part in _wrapped(line, min(terminal._tw.fullwidth, 100) - 2):
                terminal.write_line(f"  {part}")
        return
    full = failing if judge.config.option.verbose > 0 else failing[:1]
    for verdict in full:
        terminal.write_line(f"  {verdict['id']}", bold=True)
        for line in [*verdict["lines"], *verdict["printed"]]:
            for part in _wrapped(line, min(terminal._tw.fullwidth, 100) - 4):
                terminal.write_line(f"    {part}")
    rest = [v["id"] for v in failing[len(full) :]]
    if rest:
        more = f", and {len(rest) - NAMED} more" if len(rest) > NAMED else ""
        text = f"also not green: {', '.join(rest[:NAMED])}{more}"
        for part in _wrapped(text, min(terminal._tw.fullwidth, 100) - 2):
            terminal.write_line(f"  {part}")
    first = failing[0]
    place = f"{_relative(Path(first['file']), judge)}{':' + str(first['line']) if first['line'] else ''}"
    terminal.write_line(f"  edit   {place}")


def _prerequisites(judge: Run, terminal: Any, kata: Kata, one: Ran) -> None:
    """The katas of the same tree that this one builds on: where one of them is wrong, so is this."""
    for name in sorted({name for verdict in one.failing() for name in verdict.get("builds_on", ())}):
        other = judge.ran.get(name)
        if other is None or not other.verdicts:
            how = "which this run hasn't judged: if that is wrong, so is this"
        elif other.colour != "green":
            how = f"which is {other.colour}: see to that first"
        else:
            continue
        terminal.write_line(f"  It builds on {name} of the same tree, {how}.")


def _wrapped(line: str, width: int) -> Iterator[str]:
    """A sentence in lines of at most `width`; lines of numbers and of code stay whole."""
    import textwrap

    if line.startswith("  ") or len(line) <= width:
        yield line
    else:
        yield from textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)


def _relative(path: Path, judge: Run) -> str:
    shown = os.path.relpath(path, judge.config.invocation_params.dir)
    return str(path) if shown.startswith(os.path.join("..", "..")) else shown


def _next_steps(
    judge: Run, terminal: Any, open_katas: list[Kata], katas: dict[str, Kata], ran: list[tuple[str, Ran]]
) -> None:
    all_green = not open_katas and all(one.greens == one.total for _, one in ran)
    if judge.impl is not None:
        if all_green and judge.solutions.tree == judge.dojo.review.resolve():
            terminal.write_line(f"  next   dojo review --done {' '.join(name for name, _ in ran)}", green=True)
        return
    again = shlex.join(["pytest", *map(str, judge.config.invocation_params.args)])
    if open_katas:
        # The hint is for what has been begun, not for the first that hasn't.
        begun = [kata for kata in open_katas if judge.ran[kata.name].colour != "todo"]
        terminal.write_line(f"  again  {again}")
        terminal.write_line(f"  hint   dojo hint {(begun or open_katas)[0].name}")
    elif all_green:
        terminal.write_line("  next   dojo next", green=True)


def write_down(judge: Run) -> str | None:
    """Add an attempt at each kata of the run to the record; a sentence where that wasn't possible."""
    tree = "yours" if judge.impl is None else str(judge.solutions.tree)
    try:
        from dojo.learner.record import Attempt, Record

        with Record(judge.dojo.state / "record.sqlite") as record:
            for name, one in judge.ran.items():
                if not one.verdicts:
                    continue
                colours = {test: v["colour"] for test, v in one.verdicts.items()}
                if one.doubts():
                    colours["(" + one.doubts()[0].split(":")[0] + ")"] = "amber"
                # The hashes are of the bytes that were judged; the files may have changed since.
                file_hash, tests_hash = next(iter(one.judged), ("", ""))
                record.add(
                    Attempt(
                        kata=name,
                        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                        tree=tree,
                        colours=colours,
                        seconds=round(one.seconds, 3),
                        file_hash=file_hash,
                        tests_hash=tests_hash,
                        hints=record.hints_seen(name),
                        whole=one.whole,
                    )
                )
                if one.in_file and tests_hash:
                    record.note_size(name, tests_hash, one.in_file)
    except Exception as error:
        print(f"dojo: this run isn't in the record: {error}", file=sys.stderr)
        return f"this run isn't in the record: {error}"
    return None
