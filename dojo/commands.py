"""What the commands of `dojo` show and do."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dojo.curriculum.katas import Dojo, DojoError, Kata, find_dojo, open_dojo
from dojo.learner.progress import (
    Status,
    current,
    is_optional,
    last_written,
    next_kata,
    not_green,
    status,
    statuses,
)

if TYPE_CHECKING:
    from rich.console import Console

    from dojo.learner.record import Record
    from dojo.upstream.move import Updated

STYLES = {"todo": "yellow", "amber": "bold yellow", "red": "red", "green": "green"}
# A mark for each colour, for those who don't see it, and one for terminals without such characters.
MARKS = {"todo": "·.", "amber": "!!", "red": "✗x", "green": "✓+"}

WIDE = 140
"""Columns of a terminal from which on two files stand side by side."""


def console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


@contextmanager
def _record(dojo: Dojo) -> Iterator[Record]:
    from dojo.learner.record import Record

    with Record(dojo.state / "record.sqlite") as record:
        if not record.writable:
            say(f"dojo: {record.notes[-1]}", stderr=True)
        yield record


def say(text: str, style: str = "", stderr: bool = False, wrap: bool = False) -> None:
    """Print plain text, whatever brackets are in it.  Only prose is wrapped: a path stays in one piece."""
    console(stderr).print(text, style=style or None, soft_wrap=not wrap)


def _mark(colour: str) -> str:
    return MARKS[colour][0 if (sys.stdout.encoding or "").lower().startswith("utf") else 1]


def _short(module: str) -> str:
    """The beginning of a module's name that is enough: "module_05"."""
    return "_".join(module.split("_")[:2])


def _run_command(kata: Kata) -> str:
    return f"pytest katas/{_short(kata.module)}/{kata.name} -x"


def _relative(kata: Kata) -> str:
    return kata.path.relative_to(kata.dojo.root).as_posix()


# --- where am I ---------------------------------------------------------------------------------------


def where(dojo: Dojo) -> None:
    with _record(dojo) as record:
        all_of_them = statuses(dojo, record)
    from rich.text import Text

    out = console()
    names = max((len(module) for module in dojo.modules), default=0)
    for module in dojo.modules:
        katas = [one for one in all_of_them if one.kata.module == module]
        line = Text(f"{module:{names}}  {sum(one.done for one in katas):2}/{len(katas)}  ")
        for one in katas:
            line.append(_mark(one.colour), STYLES[one.colour])
        out.print(line, soft_wrap=True)
    legend = Text("  ".join(f"{_mark(colour)} {colour}" for colour in ("green", "red", "amber", "todo")), "dim")
    out.print(legend)
    out.print()
    again = [one for one in all_of_them if one.note and one.colour == "green"]
    for one in again[:3]:
        say(f"{one.kata.name}: {one.note}  ({_run_command(one.kata)})")
    if len(again) > 3:
        say(f"and {len(again) - 3} more whose tests to run again: dojo list")
    at = current(all_of_them)
    if at is None:
        say("Every kata is green. To look for new ones: dojo update", "green")
        return
    say(f"{at.kata.stem}  {at.kata.title}: {_state(at)}")
    _how_to_begin(at, all_of_them)


def _state(one: Status) -> str:
    if one.last is None or (one.colour == "todo" and not one.greens):
        return f"{one.colour}; {one.note}" if one.note else one.colour
    count = f"{one.colour}, {one.greens} of {one.total} tests green"
    return f"{count}; {one.note}" if one.note else count


def _how_to_begin(one: Status, all_of_them: list[Status]) -> None:
    if one.step is not None:
        say(f"  {one.step}")
    if missing := [kata.name for kata in not_green(one.kata, all_of_them)]:
        are = "isn't" if len(missing) == 1 else "aren't"
        say(f"  It builds on {' and '.join(missing)}, which {are} green yet: the reference's is used.")
    say(f"  edit   {_relative(one.kata)}")
    say(f"  judge  {_run_command(one.kata)}")
    say(f"  hint   dojo hint {one.kata.name}")


def show_next(dojo: Dojo) -> None:
    with _record(dojo) as record:
        all_of_them = statuses(dojo, record)
    one = next_kata(all_of_them)
    if one is None:
        say("Every kata is green. To look for new ones: dojo update", "green")
        return
    if is_optional(one.kata):
        say("Only optional katas are left; this is the first of them.")
    paragraphs = _lesson_of(one.kata).split("\n\n")
    say(f"{one.kata.stem}  {one.kata.title}: {_state(one)}", "bold")
    say(f"{one.kata.module}, about {one.kata.minutes} minutes", "dim")
    # The first paragraph is the title; the next two say what it needs and what it is about.
    shown = 3
    while shown < len(paragraphs) and paragraphs[shown - 1].rstrip().endswith(":"):
        shown += 1  # and the drawing or the formula that it leads to
    for paragraph in paragraphs[1:shown]:
        say("")
        _show_paragraph(paragraph)
    if len(paragraphs) > shown:
        say("\nThe rest of the lesson is in the file.")
    say("")
    _how_to_begin(one, all_of_them)


def _show_paragraph(paragraph: str) -> None:
    """A paragraph of a lesson: prose as wide as the terminal, drawings and formulas as they are."""
    from rich.text import Text

    drawn = paragraph.startswith(" ")
    if drawn and max(map(len, paragraph.splitlines())) > console().width:
        say("    (a wide drawing: see the file)", "dim")
        return
    text, end = Text(), 0
    plain = paragraph if drawn else " ".join(paragraph.split())
    for bold in re.finditer(r"\*\*(.+?)\*\*", plain):
        text.append(plain[end : bold.start()]).append(bold[1], "bold")
        end = bold.end()
    console().print(text.append(plain[end:]), soft_wrap=drawn)


def _lesson_of(kata: Kata) -> str:
    """The lesson in the learner's file, or in the stub where that can't be read; empty where neither can."""
    from dojo.curriculum.stubs import lesson

    for path in (kata.path, kata.stub):
        with suppress(OSError):
            if text := lesson(path.read_text(encoding="utf-8", errors="replace")):
                return text
    return ""


def show_list(dojo: Dojo, module: str | None) -> None:
    from rich.table import Table
    from rich.text import Text

    chosen = dojo.modules if module is None else dojo.modules_like(module)
    with _record(dojo) as record:
        all_of_them = statuses(dojo, record)
    at = current(all_of_them)
    out = console()
    for i, name in enumerate(chosen):
        katas = [one for one in all_of_them if one.kata.module == name]
        if i:
            out.print()
        say(f"{name}  {sum(one.done for one in katas)}/{len(katas)} green, {_time(katas)}", "bold")
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        # The file's name says what the title says: where there is little room, one of them is enough.
        titles = out.width >= 80
        for justify, style in (("left", ""), ("left", ""), ("right", "dim")):
            table.add_column(no_wrap=True, justify=justify, style=style)  # type: ignore[arg-type]
        if titles:
            table.add_column(overflow="fold")
        table.add_column(style="dim")
        for one in katas:
            notes = [f"{one.greens}/{one.total}"] if one.tests and one.colour not in ("green", "todo") else []
            notes += ["optional"] if is_optional(one.kata) else []
            notes += [one.note] if one.note else []
            colour = Text(f"{_mark(one.colour)} {one.colour}", STYLES[one.colour])
            minutes = f"{one.kata.minutes} min"
            cells = [colour, Text(one.kata.stem), Text(minutes), *([Text(one.kata.title)] if titles else [])]
            table.add_row(*cells, Text(", ".join(notes)))
        out.print(table)
        if at is not None and at.kata.module == name and at.step is not None:
            say(f"You are at {at.kata.name}, {at.step}.", wrap=True)


def _time(katas: list[Status]) -> str:
    """What the katas take in all, and what is left: "about 12 h, 9 h left"."""
    whole, left = (sum(one.kata.minutes for one in some) for some in (katas, [o for o in katas if not o.done]))
    return f"about {_hours(whole)}" + (f", {_hours(left)} left" if 0 < left < whole else "")


def _hours(minutes: int) -> str:
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes / 60
    return f"{hours:.0f} h" if hours >= 10 or minutes % 60 == 0 else f"{hours:.1f} h"


# --- help ---------------------------------------------------------------------------------------------


def show_hint(dojo: Dojo, name: str | None, again: bool, step: str | None = None) -> None:
    """Show the next hint: of the step that the learner is at, or of `step`, where the kata's hints are by steps."""
    from dojo.learner.record import RecordError

    with _record(dojo) as record:
        kata = _chosen(dojo, name, record, current)
        if not kata.hints:
            raise DojoError(f"{kata.name} has no hints; expected three in {kata.toml}")
        about, why = _step_of_hint(kata, record, step)
        hints = [hint.text for hint in kata.hints if hint.step == about]
        seen = min(record.hints_seen(kata.name, about), len(hints))
        say(f"{kata.stem}  {kata.title}", "bold")
        if why:
            say(why, wrap=True)
        label = f"{about}, hint" if about else "hint"
        option = f" --step {about}" if about and step else ""
        if again and seen:
            for tier, text in enumerate(hints[:seen], 1):
                say(f"{label} {tier} of {len(hints)}: {text}", wrap=True)
            return
        if seen >= len(hints):
            say(f"All {len(hints)} hints are shown. To see them again: dojo hint {kata.name}{option} --again")
            say(f"What is left is the reference: dojo diff {kata.name}")
            return
        say(f"{label} {seen + 1} of {len(hints)}: {hints[seen]}", wrap=True)
        try:
            record.see_hint(kata.name, seen + 1, about)
        except RecordError as error:
            say(f"dojo: {error}", stderr=True)


def _step_of_hint(kata: Kata, record: Record, wanted: str | None) -> tuple[str, str]:
    """The step whose hints are meant ("" for those about the whole kata), and a sentence where that needs one."""
    there = list(dict.fromkeys(hint.step for hint in kata.hints))
    if wanted is not None:
        if wanted not in there or not wanted:
            known = ", ".join(filter(None, there))
            which = f"there are hints for {known}" if known else "its hints are about the whole kata"
            raise DojoError(f"{kata.name} has no hints for a step '{wanted}': {which}")
        return wanted, ""
    at = status(kata, record).step
    if there == [""]:
        return "", ""
    if at is None:
        return there[-1], "Every step is written." if kata.steps else ""
    if at.name in there:
        return at.name, ""
    if "" in there:
        return "", ""
    # A step that is too small for hints of its own: those of the steps around it may help.
    names = list(kata.steps)
    near = min(there, key=lambda step: abs(names.index(step) - at.number + 1))
    return near, f"You are at {at.name}, which has no hints: its docstring says all. This is about {near}."


def _chosen(dojo: Dojo, name: str | None, record: Record, default: object) -> Kata:
    if name is not None:
        return dojo.kata(name)
    pick = current if default is current else last_written
    one = pick(statuses(dojo, record))
    if one is None:
        raise DojoError("every kata is green. Name the one that you mean")
    return one.kata


def show_diff(dojo: Dojo, name: str | None, yes: bool) -> int:
    """Returns the exit status: 1 where the user would rather not see it."""
    with _record(dojo) as record:
        kata = _chosen(dojo, name, record, last_written)
        done = status(kata, record).sure
    if not kata.reference.exists():
        raise DojoError(f"{kata.name} has no reference: expected {kata.reference}")
    if not done and not yes:
        say(f"{kata.name} isn't green yet, and this shows the reference.")
        if not sys.stdin.isatty():
            say(f"To see it all the same: dojo diff {kata.name} --yes")
            return 1
        import typer

        if not typer.confirm("See it all the same?"):
            return 1
    _note_look(dojo, kata, done)
    if not kata.path.exists():
        raise DojoError(f"{_relative(kata)} is missing: dojo reset {kata.name} puts the stub back")
    say(f"{kata.stem}  {kata.title}; docstrings left out", "bold")
    if not done or not show_beside(kata.path, kata.reference):
        show_changes(kata.path, kata.reference, "yours", "the reference")
    return 0


def show_beside(mine: Path, theirs: Path) -> bool:
    """Print two files function by function, one beside the other, with the reference's comments: they say why.

    Where the terminal is narrow, one stands under the other.  False where there is no function to show,
    the two are the same, or one can't be read.
    """
    from rich.table import Table

    from dojo.curriculum.beside import beside

    try:
        both = beside(mine, theirs)
    except SyntaxError:
        return False
    if all(part.same and part.mine == part.theirs for part in both):
        return False
    terminal = console()
    for part in both:
        name = f"{part.name}()" if part.name and not part.name[0].isupper() else part.name or "beside the functions"
        say(f"\n{name}{'   the same' if part.same else ''}", "bold")
        own, other = ("\n".join(one.lines) if one is not None else "" for one in (part.mine, part.theirs))
        if part.same:
            if "#" in other:
                say(other)
        elif terminal.width >= WIDE:
            table = Table(box=None, expand=True, show_edge=False, padding=(0, 1))
            table.add_column("yours", ratio=1, header_style="dim")
            table.add_column("the reference", ratio=1, header_style="dim")
            table.add_row(own or "(none)", other or "(none)")
            terminal.print(table)
        else:
            for title, text in (("yours", own), ("the reference", other)):
                say(f"--- {title}", "dim")
                say(text or "(none)")
    return True


def show_changes(one: Path, other: Path, its_name: str, others_name: str) -> None:
    """Print how the code of two files differs, under the names that are given to the two."""
    import difflib

    lines = list(difflib.unified_diff(_code(one), _code(other), its_name, others_name, lineterm=""))
    if not lines:
        say("The two are the same.", "green")
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        say(line, styles.get(line[:1], ""))


def _note_look(dojo: Dojo, kata: Kata, done: bool) -> None:
    """Tell the record that the reference was looked at while something was still to be solved: see `dojo review`."""
    from dojo.learner.record import RecordError
    from dojo.learner.reviews import note_look, under_review

    if done and under_review(kata) is None:
        return
    with _record(dojo) as record:
        try:
            note_look(kata, record)
        except RecordError as error:
            say(f"dojo: {error}", stderr=True)


def _code(path: Path) -> list[str]:
    """The file's lines without docstrings: the stub's lesson would hide the code."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return lines
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            doc = node.body[0] if node.body and ast.get_docstring(node, clean=False) is not None else None
            if doc is not None and len(node.body) > 1:
                for i in range(doc.lineno - 1, doc.end_lineno or doc.lineno):
                    lines[i] = "\0"
    kept = [line for line in lines if line != "\0"]
    while kept and not kept[0].strip():
        kept.pop(0)
    return kept


# --- files --------------------------------------------------------------------------------------------


def do_reset(dojo: Dojo, name: str | None) -> None:
    from dojo.learner.workspace import reset

    with _record(dojo) as record:
        kata = _chosen(dojo, name, record, last_written)
    copy = reset(kata)
    if copy is None:
        say(f"{_relative(kata)} is the stub.")
    else:
        say(f"{_relative(kata)} is the stub again. Your file is kept as")
        say(f"  {copy.relative_to(dojo.root).as_posix()}")


def do_init(folder: Path) -> None:
    import dojo as package
    from dojo.upstream.apart import init

    clone = find_dojo(Path.cwd()) or find_dojo(Path(package.__file__).resolve().parent)
    if clone is None:
        raise DojoError("no clone of ML Dojo is known here. Change to your clone, and type `dojo init` there")
    made = init(open_dojo(clone.clone), folder)
    say(f"{made.root} has the stubs of {len(made.katas)} katas; the tests stay in {made.clone}.")
    say(f"  cd {shlex.quote(str(folder))}")
    if made.katas:
        say(f"  {_run_command(made.katas[0])}")


def do_update(dojo: Dojo, source: str | None) -> None:
    from dojo.upstream.apart import update_apart
    from dojo.upstream.update import update

    if dojo.apart and source is not None:
        raise DojoError(f"--from is for a clone; this folder takes its lessons from {dojo.clone}")
    _tell_update(dojo, update_apart(dojo) if dojo.apart else update(dojo, source))


def finish_update(dojo: Dojo) -> None:
    """Bring an update that was killed to its end, and tell what it brought."""
    from dojo.upstream.update import finish_interrupted

    done = finish_interrupted(dojo)
    if done is not None:
        say("An update was interrupted. It is finished now:")
        _tell_update(dojo, done)
        for path in done.edited:
            say(f"edited     {path} since then: a copy of it is in {_kept(dojo, done.kept.folder)}")
        say("")


def _tell_update(dojo: Dojo, done: Updated) -> None:
    news = done.news
    if not news:
        say(f"Up to date with {done.source}." if done.before is None else f"Updated from {done.source}.")
    for path in news.added:
        say(f"new        {path}")
    for name in news.renewed:
        say(f"lesson     {name} is renewed; your code is kept under it")
    for name, (old, new) in news.moved.items():
        say(f"moved      {name}: {old} is now {new}")
    for name in news.tests:
        say(f"tests      {name} has other tests: run its tests again")
    for name in news.removed:
        kept = f"; yours is kept in {_kept(dojo, done.kept.folder)}" if name in news.kept_aside else ""
        say(f"removed    {name}{kept}")
    for name, (beside, what) in news.conflicts.items():
        say(f"conflict   {name}: both you and the new stub changed {', '.join(what)}", "yellow")
        say(f"           yours is kept, and the new stub lies beside it: {beside}")
    for path in news.overruled:
        say(f"overruled  {path} is the project's now; yours is in {_kept(dojo, done.kept.folder)}")
    if news.project:
        say("pyproject.toml changed: pip install -c constraints.txt -e .")
    if done.kept.paths:
        say(f"Copies of your files as they were: {_kept(dojo, done.kept.folder)}")
    if done.before is not None:
        say(f"The state before: git show {done.before}", "dim")


def _kept(dojo: Dojo, folder: Path) -> str:
    return folder.relative_to(dojo.root).as_posix()
