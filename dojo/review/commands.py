"""`dojo review`: solved katas come back when they are about to be forgotten."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from dojo.commands import _record, _relative, _short, console, say, show_changes
from dojo.curriculum.katas import Dojo, DojoError, Kata, said
from dojo.learner.record import Attempt, Record, RecordError, hash_file
from dojo.learner.reviews import BEGUN, GIVEN_UP, MARK, REVIEW, log_of, put_mark, under_review
from dojo.learner.workspace import Kept, pristine_stub, write
from dojo.review.log import clock, expected_of, memories
from dojo.review.memory import Memory, Session, local_day, sessions_of

LATER = 5
"""Katas that aren't due are listed up to this number, unless all are asked for."""
RATINGS = {
    1: "green, but not from memory: it counts as forgotten",
    2: "green again (hard)",
    3: "green again (good)",
    4: "green again (easy)",
}


# --- what is due --------------------------------------------------------------------------------------


def show_review(dojo: Dojo, name: str | None, again: bool, everything: bool) -> None:
    """List what is due and offer the first; with a name, begin that one's review."""
    if name is not None:
        begin(dojo.kata(name), again)
        return
    if again:
        raise DojoError("--again starts one review again: name its kata, as in `dojo review mean --again`")
    with _record(dojo) as record:
        known = memories(dojo, record)
    begun = [kata for kata in dojo.katas if under_review(kata)]
    if not known and not begun:
        say("You haven't solved a kata yet. Green katas come back here for review.", wrap=True)
        say("  next   dojo next")
        return
    due = [one for one in known.values() if one.is_due]
    later = sorted((one for one in known.values() if not one.is_due), key=lambda one: (one.due, one.kata))
    if due:
        say(f"{len(due)} katas are due." if len(due) > 1 else "One kata is due.", "bold")
    elif later:
        say(f"Nothing is due; the next one is {later[0].kata} on {later[0].due}.")
    shown = later if everything else later[:LATER]
    if known:
        _table(due, shown, {kata.name for kata in begun})
    if len(shown) < len(later):
        say(f"and {len(later) - len(shown)} more later: dojo review --all", "dim")
    say("")
    if begun:
        for kata in begun:
            _how_to_go_on(kata)
    elif due:
        _offer(dojo.kata(due[0].kata))


def _table(due: list[Memory], later: list[Memory], begun: set[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("kata", overflow="fold")
    table.add_column("last solved", no_wrap=True)
    table.add_column("remembered", no_wrap=True, justify="right")
    table.add_column("due", no_wrap=True)
    today = local_day(clock())
    for one in (*due, *later):
        style = "yellow" if one.is_due else ""
        when = "begun" if one.kata in begun else "today" if one.due == today else str(one.due)
        cells = (one.kata, str(local_day(one.last_solved)), f"{one.remembered:.0%}", when)
        if due and later and one is later[0]:
            table.add_row(Text("later:", "dim"))
        table.add_row(*(Text(cell, style) for cell in cells))
    console().print(table)


def _offer(kata: Kata) -> None:
    if not sys.stdin.isatty():
        say(f"To review the first of them: dojo review {kata.name}")
        return
    if _agreed(f"Review {kata.name} now?"):
        begin(kata, again=False)


def _agreed(question: str) -> bool:
    """The learner's answer, yes where they only press Enter; a terminal that is closed says no."""
    try:
        answer = input(f"{question} [Y/n] ").strip().lower()
    except EOFError:
        print()
        return False
    except KeyboardInterrupt:
        print()  # the prompt of the shell begins on a line of its own
        raise
    return answer in ("", "y", "yes")


# --- begin --------------------------------------------------------------------------------------------


def begin(kata: Kata, again: bool) -> None:
    """Lay the kata's stub into the review's tree, never over a review that is begun.

    Raises DojoError, with nothing changed, where the kata isn't solved or no file can be written.
    """
    with _record(kata.dojo) as record:
        memory = memories(kata.dojo, record).get(kata.name)
        begun = under_review(kata)
        if begun is not None and not again:
            _how_to_go_on(kata)
            return
        if memory is None:
            raise DojoError(
                f"{kata.name} isn't solved yet, so there is nothing to review. For the next kata: dojo next"
            )
        stub = pristine_stub(kata)
        if begun is not None:
            copy = Kept(kata.dojo).add(_kept_as(begun), begun.read_bytes())
            say(f"The review so far is kept as {_in_dojo(kata.dojo, copy)}")
        try:
            put_mark(kata, record, BEGUN)
        except RecordError as error:
            say(f"dojo: {error}", stderr=True)
        path = begun or kata.dojo.review / kata.module / f"{kata.stem}.py"
        try:
            write(path, stub)
        except OSError as error:
            raise DojoError(f"no stub can be written to {path}: {said(error)}") from error
    solved, today = local_day(memory.last_solved), local_day(clock())
    ago = "today" if solved == today else f"on {solved}"
    say(f"{kata.stem}  {kata.title}: solved {ago}, {memory.remembered:.0%} remembered", "bold", wrap=True)
    if not memory.is_due:
        say(f"It isn't due before {memory.due}; an early review does no harm.")
    say("You get an empty stub. Your own solution stays as it is.", wrap=True)
    _steps(kata, path)


def _how_to_go_on(kata: Kata) -> None:
    say(f"{kata.stem}  {kata.title}: you have started its review", "bold", wrap=True)
    path = under_review(kata)
    assert path is not None, "asked only of katas whose review is begun"
    _steps(kata, path)
    say(f"  anew   dojo review {kata.name} --again")


def _steps(kata: Kata, path: Path) -> None:
    say(f"  edit   {_in_dojo(kata.dojo, path)}")
    say(f"  judge  {judging(kata)}")
    say(f"  hint   dojo hint {kata.name}")
    say(f"  done   dojo review --done {kata.name}")


def judging(kata: Kata) -> str:
    """The command that judges the kata's review."""
    return f"pytest katas/{_short(kata.module)}/{kata.name} -x --impl .dojo/review"


def _in_dojo(dojo: Dojo, path: Path) -> str:
    return path.relative_to(dojo.root).as_posix()


def _kept_as(path: Path) -> str:
    return f"review/{path.parent.name}/{path.name}"


# --- done ---------------------------------------------------------------------------------------------


def finish(dojo: Dojo, name: str | None, give_up: bool) -> int:
    """End a review: compare it with the learner's solution, and put its file away.

    Returns the exit status: 1 where it isn't green and isn't given up either; then nothing is changed.
    """
    kata = _begun(dojo, name)
    path = under_review(kata)
    if path is None:
        raise DojoError(f"you haven't started a review of {kata.name}. To start one: dojo review {kata.name}")
    with _record(dojo) as record:
        sessions, running = sessions_of((a for a in log_of(dojo, record) if a.kata == kata.name), expected_of(kata))
        if not give_up and (problem := _not_green(kata, path, record, sessions, running)):
            say(problem, wrap=True)
            say(f"  judge  {judging(kata)}")
            say(f"  done   dojo review --done {kata.name}")
            say(f"  stop   dojo review --give-up {kata.name}")
            return 1
        # Copy, then mark, then remove: whatever ends this in between, the same command can be given again.
        copy = Kept(dojo).add(_kept_as(path), path.read_bytes())
        if running:
            put_mark(kata, record, GIVEN_UP)
        _remove(path)
        memory = memories(dojo, record).get(kata.name)
    _show_outcome(kata, memory)
    _compare(kata, copy)
    say(f"The review is kept as {_in_dojo(dojo, copy)}", "dim")
    return 0


def _remove(path: Path) -> None:
    """Remove the review's file, and the folders that are then empty."""
    path.unlink()
    for folder in (path.parent, path.parent.parent):
        with suppress(OSError):  # another review may lie there
            folder.rmdir()


def _begun(dojo: Dojo, name: str | None) -> Kata:
    if name is not None:
        return dojo.kata(name)
    begun = [kata for kata in dojo.katas if under_review(kata)]
    if not begun:
        raise DojoError("you haven't started a review: `dojo review` lists the katas that are due")
    if len(begun) > 1:
        names = ", ".join(kata.name for kata in begun)
        raise DojoError(f"you have started reviews of {names}. Which one? dojo review --done {begun[0].name}")
    return begun[0]


def _not_green(kata: Kata, path: Path, record: Record, sessions: list[Session], running: list[Attempt]) -> str:
    """Why the review can't be ended as a success; empty where it can, or where it was given up before."""
    runs = [a for a in log_of(kata.dojo, record) if a.kata == kata.name and a.tree == REVIEW and MARK not in a.colours]
    if not runs or (running and all(MARK in attempt.colours for attempt in running)):
        return f"{kata.name}: this review isn't judged yet."
    if running:
        last = runs[-1]
        if last.colour == "green":
            return f"{kata.name}: only {len(last.colours)} of this review's tests were run; all of them must be green."
        greens = sum(colour == "green" for colour in last.colours.values())
        return f"{kata.name}: this review is {last.colour}, {greens} of {len(last.colours)} tests green."
    # It was green, or given up and not put away.  What is compared and kept must be what was green.
    green = {attempt.file_hash for attempt in runs if attempt.solved}
    if sessions and sessions[-1].solved and hash_file(path) not in green:
        return f"{kata.name}: this review was edited since it was green: run its tests again."
    return ""


def _show_outcome(kata: Kata, memory: Memory | None) -> None:
    from rich.table import Table

    if memory is None:
        say(f"{kata.stem}  {kata.title}: the record doesn't know when it was solved", "bold")
        return
    this = memory.sessions[-1]
    how = RATINGS[this.rating] if this.solved else "given up"
    say(f"{kata.stem}  {kata.title}: {how}", "bold", wrap=True)
    days = (memory.due - local_day(clock())).days
    say(f"It comes back on {memory.due}, in {days} day{'' if days == 1 else 's'}.")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    sessions = [*memory.sessions[-2:-1], this]
    for header in ("", *("this time" if one is this else str(local_day(one.at)) for one in sessions)):
        table.add_column(header, justify="right" if header else "left", no_wrap=True)
    for what in ("tries", "minutes", "hints"):
        table.add_row(what, *(_figure(one, what) for one in sessions))
    console().print(table)


def _figure(session: Session, what: str) -> str:
    value = {"tries": session.tries, "minutes": session.minutes, "hints": session.hints}[what]
    return "-" if value is None else "<1" if 0 < value < 1 else f"{value:.0f}"


def _compare(kata: Kata, path: Path) -> None:
    """The learner's solution against the review, as `dojo diff` shows such."""
    say("")
    if not kata.path.exists():
        say(f"{_relative(kata)} is missing, so there is nothing to compare with.")
        return
    say("Your solution and this time's; docstrings left out", "bold")
    show_changes(kata.path, path, "your solution", "this time")
