"""`dojo lights`: the strip of an evening, every run a light, as wide as its time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dojo.commands import STYLES, console, say
from dojo.curriculum.katas import Dojo, DojoError
from dojo.learner.git import Git
from dojo.learner.workspace import write
from dojo.pair import git as pair_git
from dojo.pair.strip import (
    LETTERS,
    SIGN,
    Session,
    Span,
    clock,
    minutes,
    of_day,
    read_session,
    spans,
    summarise,
    widths,
)

if TYPE_CHECKING:
    from rich.text import Text

# What fills a light after its letter, so that it can be told without colour; then for terminals of few characters.
FILLS = {"todo": "·.", "amber": "░:", "red": "▒-", "green": "█="}
WIDEST = 100


def do_lights(dojo: Dojo, branches: list[str], html: Path | None) -> None:
    git = pair_git.open_git(dojo)
    sessions = [_named(git, branch) for branch in branches] if branches else [_latest(dojo, git)]
    until = [_until(dojo, git, session) for session in sessions]
    show(sessions, until)
    if html is not None:
        from dojo.pair.html import page

        _write(html, page(list(zip(sessions, until, strict=True))))
        say("")
        say(f"Written: {html}")


def _write(path: Path, text: str) -> None:
    """Write the page; over a page of ours only."""
    try:
        if path.is_dir() or (path.exists() and SIGN not in path.read_text(encoding="utf-8", errors="replace")):
            raise DojoError(f"{path} exists and is no page of dojo lights, so it is left alone: choose another name")
        write(path, text.encode())
    except OSError as error:
        raise DojoError(f"{path} can't be written: {error.strerror}") from error


def _named(git: Git, branch: str) -> Session:
    for revision in (branch, f"refs/dojo/pair/{branch}", *(f"refs/remotes/{r}/{branch}" for r in git.remotes())):
        if not branch.startswith("-") and (found := read_session(git, revision)) is not None:
            return found
    known = ", ".join(_all(git)) or "none yet"
    raise DojoError(f"'{branch}' has no evening of dojo pair in it; there are: {known}")


def _all(git: Git) -> dict[str, Session]:
    """Every evening that is known here, by the branch's name: this clone's own, and the remotes'."""
    found: dict[str, Session] = {}
    for refs in ("refs/heads/", *(f"refs/remotes/{remote}/" for remote in git.remotes())):
        for ref in git("for-each-ref", "--format=%(refname)", f"{refs}{pair_git.PREFIX}").split():
            session = read_session(git, ref)
            if session is not None:
                found.setdefault(session.name, session)
    return found


def _latest(dojo: Dojo, git: Git) -> Session:
    """The open evening, else the last one, else what the history of HEAD has."""
    from dojo.pair.evening import the_evening

    evening = the_evening(dojo)
    if evening is not None:
        return evening.session
    known = [session for session in _all(git).values() if session.events]
    last = max(known, key=lambda session: session.events[-1].at, default=None) or read_session(git, "HEAD")
    if last is None:
        raise DojoError("no evening is known here yet: dojo pair --names Ada,Grace begins one")
    return last


def _until(dojo: Dojo, git: Git, session: Session) -> float | None:
    """Until when an evening goes that is open on this machine: now."""
    at = git.maybe("symbolic-ref", "--quiet", "--short", "HEAD")
    return clock() if not session.done and at == session.name and _going_on(dojo) else None


def _going_on(dojo: Dojo) -> bool:
    import json

    from dojo.pair.evening import state_file

    try:
        return json.loads(state_file(dojo).read_text(encoding="utf-8")).get("left") is None
    except (OSError, ValueError, AttributeError):
        return False


# --- in the terminal ----------------------------------------------------------------------------------


def show(sessions: list[Session], until: list[float | None]) -> None:
    """Print the strips; `until` says of each until when it goes, where that is later than its last step."""
    for i, (session, end) in enumerate(zip(sessions, until, strict=True)):
        if i:
            say("")
        _show(session, end)


def _show(session: Session, until: float | None) -> None:
    from rich.text import Text

    out = console()
    began = session.events[0].at if session.events else 0.0
    state = "" if session.done else ", open"
    say(f"{session.kata}  {' and '.join(person.name for person in session.people)}{state}", "bold")
    say(f"{session.name}, from {of_day(began)}, {minutes(summarise(session, until).total)}", "dim", wrap=True)
    parts = spans(session, until)
    for lights, drivers in _rows(parts, min(out.width, WIDEST)) if parts else []:
        say("")
        out.print(lights, soft_wrap=True)
        out.print(drivers, soft_wrap=True)
    legend = Text()
    for colour in ("green", "red", "amber", "todo"):
        legend.append(f"{LETTERS[colour]}{_fill(colour)}", STYLES[colour])
        legend.append(f" {colour}   ")
    legend.rstrip()
    out.print(legend)
    _show_runs(session)
    _show_summary(session, until)


def _fill(colour: str) -> str:
    return FILLS[colour][0 if (sys.stdout.encoding or "").lower().startswith("utf") else 1]


def _rows(parts: list[Span], width: int) -> list[tuple[Text, Text]]:
    """The strip in rows of `width` cells, and below each who drove; the same time is as wide everywhere."""
    from rich.text import Text

    runs = sum(part.run is not None for part in parts)
    rows = max(1, -(-2 * runs // width))
    given = widths(parts, rows * width)
    lights: list[tuple[str, str]] = []
    driver = None
    turns: list[tuple[int, str]] = []  # the cell in which each turn begins
    for part, cells in zip(parts, given, strict=True):
        if part.driver != driver:
            turns.append((len(lights), driver := part.driver))
        text = (LETTERS[part.colour] if part.run else "") + _fill(part.colour) * cells
        lights += [(character, STYLES[part.colour]) for character in text[:cells]]
    drivers = [" "] * len(lights)
    for (at, name), end in zip(turns, [*(at for at, _ in turns[1:]), len(lights)], strict=True):
        if at < end:
            # A bar where the turn begins, and as much of the name as fits before the next.
            drivers[at] = "|"
            _put(drivers, at + 1, end - 1, name, width)
    made = []
    for first in range(0, len(lights), width):
        row = Text()
        for character, style in lights[first : first + width]:
            row.append(character, style)
        made.append((row, Text("".join(drivers[first : first + width]).rstrip(), "dim")))
    return made


def _put(cells: list[str], at: int, end: int, name: str, width: int) -> None:
    """Write the name into the cells from `at` to before `end`; a character may take two, of one row."""
    from rich.cells import cell_len

    for character in name:
        size = cell_len(character)
        if at + size > end or (size == 2 and at % width == width - 1):
            return
        cells[at : at + size] = [character, *[""] * (size - 1)] if size else []
        at += size


def _show_runs(session: Session) -> None:
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    if not session.runs:
        say("\nNo run yet.")
        return
    say("")
    out = console()
    names = min(12, max(cell_len(person.name) for person in session.people))
    lines = []
    for number, run in enumerate(session.runs, 1):
        line = Text(f"{number:3}  {of_day(run.at)}  ")
        line.append(f"{LETTERS[run.colour]} {run.colour:5}", STYLES[run.colour])
        count = f"{run.greens}/{run.tests}" if run.tests else "-"
        line.append(f"  {count:>6}  {set_cell_size(run.driver, names)}")
        notes = [f"foreseen {run.predicted}: {'right' if run.right else 'wrong'}"] if run.predicted else []
        notes += ["taken back"] if run.reverted else []
        lines.append((line, ", ".join(notes)))
    # Where the notes don't fit beside the runs, each has a line of its own.
    narrow = any(line.cell_len + 2 + len(note) > out.width for line, note in lines)
    for line, note in lines:
        if note:
            line.append(f"\n            {note}" if narrow else f"  {note}")
        line.rstrip()
        out.print(line, soft_wrap=True)


def _show_summary(session: Session, until: float | None) -> None:
    about = summarise(session, until)
    say("\nWhere the time went", "bold")
    for name, seconds in about.drivers.items():
        say(f"  {minutes(seconds):>7}  {name} drove")
    for colour, seconds in about.colours.items():
        if seconds:
            say(f"  {minutes(seconds):>7}  {LETTERS[colour]} {colour}", STYLES[colour])
    if about.longest:
        say(f"  {minutes(about.longest):>7}  the longest stretch without green")
    if about.predicted:
        say(f"  {about.right} of {about.predicted} colours foreseen")
