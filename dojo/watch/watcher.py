"""`dojo watch`: save, and know.

The learner's files are watched; what a save touches is judged at once, the latest
save wins, and where a kata turns green the next one is opened.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dojo.commands import _mark, _short
from dojo.curriculum.katas import Dojo, DojoError, Kata
from dojo.learner.progress import Status, current, next_kata, status, statuses
from dojo.watch.runner import ColdRunner, Ended, Lost, Output, Runner, WarmRunner, needed_by, needed_by_module
from dojo.watch.saves import Saves

if TYPE_CHECKING:
    from rich.text import Text

    from dojo.learner.steps import Step
    from dojo.watch.screen import Frame, Screen

STYLES = {"todo": "yellow", "amber": "bold yellow", "red": "bold red", "green": "bold green"}
KEYS = (("enter", "run"), ("h", "hint"), ("d", "diff"), ("n", "next"), ("l", "list"), ("a", "all"), ("q", "quit"))
NOTHING_RAN = {2: "was interrupted", 3: "failed inside pytest", 4: "was asked for wrongly", 5: "found no tests"}
SECONDS_OF_A_COMMAND = 30
BLOCK = re.compile(r"-{2,} dojo -{2,}$")  # the heading of the engine's block, between what pytest prints
PYTESTS = re.compile(r"[=!]{3,} |\d+ (passed|failed|skipped|error)")


class Watch:
    """What is being judged, and what is known of it.  Draws nothing: see `Full` and `Plain`."""

    def __init__(self, dojo: Dojo, kata: Kata | None, *, manual: bool, poll: bool, cold: bool, colour: bool) -> None:
        self.dojo = dojo
        self.colour = colour
        self.notes: list[str] = []
        self.kata = kata or self._current()
        self.verdict: Status | None = None
        self.ended: Ended | None = None
        self.passed_on = ""  # the kata that has just turned green, in a sentence
        self.all_of_module = False
        self.was_done = False
        self._step: Step | None = None
        self.known: set[Kata] = set()  # katas whose imports the runner has been told of
        warm = hasattr(os, "fork") and not cold
        if not warm and not cold:
            self.notes.append("this system can't fork: each run starts Python anew")
        environment = {"PY_COLORS": "1" if colour else "0"}
        self.runner: Runner = (WarmRunner if warm else ColdRunner)(dojo.root, environment)
        self.saves = None if manual else Saves(_watched(dojo), True if poll else None)

    def close(self) -> None:
        if self.saves is not None:
            self.saves.close()
        self.runner.close()

    # --- what to judge ------------------------------------------------------------------------------

    def _statuses(self) -> list[Status]:
        from dojo.learner.record import Record

        with Record(self.dojo.state / "record.sqlite") as record:
            if not record.writable and record.notes[-1] not in self.notes:
                self.notes.append(record.notes[-1])
            return statuses(self.dojo, record)

    def _current(self) -> Kata:
        katas = self._statuses()
        at = current(katas) or next(iter(katas), None)
        if at is None:
            raise DojoError(f"{self.dojo.clone / 'katas'} has no katas to watch")
        return at.kata

    def status(self) -> Status:
        """What the record knows of the kata."""
        from dojo.learner.record import Record

        with Record(self.dojo.state / "record.sqlite") as record:
            return status(self.kata, record)

    def args(self) -> list[str]:
        """pytest's arguments: what a learner would type, so that the last lines of a run say that."""
        module = _short(self.kata.module)
        if not self.all_of_module:
            return [f"katas/{module}/{self.kata.name}", "-x"]
        from dojo.curriculum.solutions import unwritten

        begun = [k for k in self.dojo.katas if k.module == self.kata.module and not unwritten(k.path)]
        return [f"katas/{module}/{k.name}" for k in begun or [self.kata]]

    def start(self, columns: int, *, all_of_module: bool = False) -> None:
        """Judge the kata (or what is begun of its module) as the files are now; a run that goes on is cancelled."""
        self.all_of_module = all_of_module
        self.runner.cancel()
        before = self.status()
        self.was_done, self._step = before.done, before.step
        self.verdict = self.ended = None
        new = self.kata not in self.known
        if new:
            self.known.add(self.kata)
            self.runner.warm(needed_by(self.kata))
        self.runner.start(self.args(), columns)
        if new:  # the rest of the module, while the learner reads
            self.runner.warm(needed_by_module(self.kata))

    def open(self, kata: Kata) -> None:
        self.kata = kata
        self.verdict = self.ended = None

    def next(self) -> Kata | None:
        """The next kata in order that isn't done, beginning anew after the last; None where all are."""
        katas = self._statuses()
        at = next((i for i, one in enumerate(katas) if one.kata == self.kata), -1)
        after = next_kata([*katas[at + 1 :], *katas[:at]])
        return after.kata if after is not None else None

    def saved(self, paths: set[Path]) -> bool:
        """Take note of saved files; whether there is something to run."""
        engine = self.dojo.clone / "dojo"
        if any(path.is_relative_to(engine) for path in paths) and isinstance(self.runner, WarmRunner):
            self.runner.restart()
        touched = [kata for kata in self.dojo.katas if paths & {kata.path, kata.stub, kata.test, kata.reference}]
        if touched and self.kata not in touched:
            self.open(touched[0])
        self.passed_on = ""
        self.known -= {kata for kata in touched if kata.test in paths}  # its tests may import something new
        return bool(paths)

    def sources(self) -> list[int]:
        """What to wait for: descriptors that become readable when a run or a save has something to tell."""
        return [*self.runner.files(), *([self.saves.fileno()] if self.saves is not None else [])]

    def saved_among(self, ready: list[int]) -> bool:
        """Take up the saves, where `ready` has their descriptor; whether there is something to run."""
        if self.saves is None or self.saves.fileno() not in ready:
            return False
        if self.saves.problem and self.saves.problem not in self.notes:
            self.notes.append(self.saves.problem)
        return self.saved(self.saves.take())

    def end(self, ended: Ended) -> Kata | None:
        """Take note of a run's end; the kata to go on with, where this one has turned green."""
        self.ended, self.verdict = ended, self.status()
        self._step = self.verdict.step
        turned_green = (
            ended.finished and ended.status == 0 and not self.was_done and not self.all_of_module and self.verdict.done
        )
        if not turned_green:
            return None
        after = self.next()
        self.passed_on = f"{self.kata.stem} is green: {self.verdict.greens} of {self.verdict.tests}"
        if after is None:
            self.passed_on += ". Every kata is green."
        return after

    def step(self) -> str:
        """The step that the learner is at, with its minutes; empty where all are done, or the kata has none."""
        return "" if self.all_of_module or self._step is None else str(self._step)

    # --- in words -----------------------------------------------------------------------------------

    def state(self) -> tuple[str, str]:
        """The state of the run in words, and its colour."""
        if self.ended is None:
            if not self.runner.busy:
                return "waiting for a save" if self.saves is not None else "Enter runs it", "todo"
            return ("running" if self.runner.running else "getting ready"), "todo"
        assert self.verdict is not None
        status, seconds = self.ended.status, f"{self.ended.seconds:.2f} s"
        if status < 0:
            return f"Python was ended by signal {-status}, {seconds}", "red"
        if not self.ended.finished:
            return f"Python ended with status {status} in the middle of the tests, {seconds}", "red"
        if status in NOTHING_RAN:
            return f"the run {NOTHING_RAN[status]}, {seconds}", "amber"
        if self.all_of_module:
            return ("all green" if status == 0 else "not all green") + f", {seconds}", "red" if status else "green"
        one = self.verdict
        counted = f" {one.greens}/{one.total}" if one.last is not None and one.total > one.greens else ""
        # Without a record that can be written, the exit status is all there is.
        colour = "green" if status == 0 else one.colour if one.colour != "green" else "red"
        return f"{colour}{counted}, {seconds}", colour


def _watched(dojo: Dojo) -> list[Path]:
    """The folders and files that a run reads."""
    names = ("katas", "fixtures", "dojo", "conftest.py", "pyproject.toml")
    found = [root / name for root in (dojo.root, dojo.clone) for name in names]
    return [path for path in dict.fromkeys(found) if path.exists()]


# --- on a full screen ---------------------------------------------------------------------------------


class Full:
    """The screen, the keys, and the loop between them."""

    def __init__(self, watch: Watch, screen: Screen) -> None:
        from rich.text import Text

        self.watch = watch
        self.screen = screen
        self.output = Text()  # of the last run
        self.page: Text | None = None  # shown in place of it: a hint, a list …
        self.top = 0
        self.follow = True
        self.asking = False
        self._partial = ""

    def run(self) -> None:
        """Until q, or the end of the terminal."""
        self.begin()
        while True:
            self.screen.draw(self.frame())
            watch = self.watch
            ready = select.select([0, self.screen.wake, *watch.sources()], [], [])[0]
            if self.screen.wake in ready:
                self.screen.woken()
            if watch.saved_among(ready):
                self.begin()
            self.take(watch.runner.events())
            if 0 in ready and not all(self.press(key) for key in self.screen.pressed()):
                return

    def begin(self, all_of_module: bool = False) -> None:
        from rich.text import Text

        self.output, self._partial, self.page, self.top, self.follow = Text(), "", None, 0, True
        self.watch.start(self.screen.width, all_of_module=all_of_module)

    def take(self, events: list[Any]) -> None:
        """Take up what the runner tells."""
        from rich.text import Text

        for event in events:
            if isinstance(event, Output):
                *lines, self._partial = (self._partial + event.text).split("\n")
                for line in lines:
                    self.output.append_text(Text.from_ansi(line)).append("\n")
            elif isinstance(event, Ended):
                if self._partial:
                    self.output.append_text(Text.from_ansi(self._partial))
                self.output, begins = failure_first(self.output)
                if begins:
                    self.top, self.follow = 0, False
                after = self.watch.end(event)
                if after is not None:
                    said = self.watch.passed_on
                    self.watch.open(after)
                    self.begin()
                    self.watch.passed_on = said
            elif isinstance(event, Lost):
                note = "the process that runs were forked from died; a new one was started"
                self.watch.notes = [*(n for n in self.watch.notes if n != note), note]

    # --- keys ---------------------------------------------------------------------------------------

    def press(self, key: str) -> bool:
        """Do what the key stands for; False to quit."""
        if self.asking:
            self.asking = False
            if key in ("y", "Y"):
                self.show("diff", self.watch.kata.name, "--yes")
            else:
                self.page = None
            return True
        room = self.screen.room(self.frame())
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -room, "page down": room}
        if key in ("q", "eof"):
            return False
        if key in steps:
            self.scroll(steps[key])
        elif key in ("home", "g"):
            self.scroll(-(10**9))
        elif key in ("end", "G"):
            self.scroll(10**9)
        elif key == "h":
            self.show("hint", self.watch.kata.name)
        elif key == "d":
            self.diff()
        elif key == "l":
            self.show("list", "--module", self.watch.kata.module)
        elif key == "a":
            self.begin(all_of_module=True)
        elif key in ("enter", "r"):
            self.watch.passed_on = ""
            self.begin()
        elif key == "n":
            self.go_on()
        elif key == "escape":
            self.page, self.top, self.follow = None, 0, True
        return True

    def scroll(self, lines: int) -> None:
        last = self.screen.last_top(self.frame())
        now = last if self.follow else min(self.top, last)
        self.top = max(0, min(now + lines, last))
        self.follow = self.top == last

    def go_on(self) -> None:
        after = self.watch.next()
        self.watch.passed_on = "" if after is not None else "Every other kata is green."
        if after is not None:
            self.watch.open(after)
            self.begin()

    def diff(self) -> None:
        from rich.text import Text

        if self.watch.status().done:
            self.show("diff", self.watch.kata.name)
            return
        self.asking = True
        self.page = Text(f"{self.watch.kata.stem} isn't green yet. Look at the reference all the same?  y / n")

    def show(self, *command: str) -> None:
        """Show what `dojo COMMAND` prints."""
        from rich.text import Text

        colours = {"FORCE_COLOR": "1"} if self.watch.colour else {"NO_COLOR": "1"}
        environment = {**os.environ, **colours, "COLUMNS": str(self.screen.width), "PYTHONIOENCODING": "utf-8"}
        try:
            run = subprocess.run(
                [sys.executable, "-m", "dojo", *command], cwd=self.watch.dojo.root, env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                timeout=SECONDS_OF_A_COMMAND, start_new_session=True,
            )  # fmt: skip
            said = run.stdout.decode("utf-8", "replace")
        except (OSError, subprocess.TimeoutExpired) as error:
            said = f"dojo {' '.join(command)}: {error}"
        self.page, self.top, self.follow = Text.from_ansi(said.rstrip("\n")), 0, False

    # --- what is shown ------------------------------------------------------------------------------

    def frame(self) -> Frame:
        from rich.text import Text

        from dojo.watch.screen import Frame

        watch = self.watch
        words, colour = watch.state()
        kata = watch.kata
        # Everything of the module is judged: its name stands for the kata's.
        name = kata.module if watch.all_of_module else f"{kata.stem}  {kata.title}"
        header = []
        if watch.passed_on:
            header.append(Text(f"{_mark('green')} {watch.passed_on}", STYLES["green"]))
        mark = _mark(colour) if watch.ended is not None else "…" if _mark("todo") == "·" else "."
        header.append(Text.assemble((f"{mark} {words}", STYLES[colour]), "  ", (name, "bold")))
        if watch.step():
            header.append(Text(f"  {watch.step()}", "dim"))
        header += [Text(note, "yellow") for note in watch.notes[-2:]]
        rule = ("─" if _mark("todo") == "·" else "-") * self.screen.width
        header.append(Text(rule, "dim"))
        footer = [Text(rule, "dim"), self._footer()]
        output = self.output if watch.ended is not None else without_header(self.output)
        return Frame(header, self.page if self.page is not None else output, footer, self.top, self.follow)

    def _footer(self) -> Text:
        from rich.text import Text

        if self.asking:
            return Text("y shows it, any other key goes back")
        keys = [*KEYS[:-1], ("esc", "back"), KEYS[-1]] if self.page is not None else KEYS
        text = Text()
        for key, what in keys:
            text.append(key, "bold").append(f" {what}  ")
        text.rstrip()
        return text


def without_header(output: Text) -> Text:
    """The output of a run that goes on, from where its tests begin."""
    from rich.text import Text

    lines = list(output.split("\n", allow_blank=True))
    begins = next((i for i, line in enumerate(lines) if line.plain.startswith("collected ")), len(lines))
    return Text("\n").join(lines[begins + 1 :])


def failure_first(output: Text) -> tuple[Text, bool]:
    """A run's output with the engine's block at its top and pytest's own lines below; whether there is a block."""
    from rich.text import Text

    lines = list(output.split("\n", allow_blank=True))
    begins = next((i for i, line in enumerate(lines) if BLOCK.match(line.plain)), None)
    if begins is None:
        return output, False
    ends = next((i for i, line in enumerate(lines) if i > begins and PYTESTS.match(line.plain)), len(lines))
    block, before, after = lines[begins + 1 : ends], lines[:begins], lines[ends:]
    while block and not block[-1].plain.strip():
        block.pop()
    # The header says where pytest is and what it has loaded, not what the learner did.
    said = next((i for i, line in enumerate(before) if line.plain.startswith("collected ")), -1) + 1
    told = [line for line in before[:said] if line.plain.startswith("dojo: lent ")]
    rest = [line for line in (*told, *before[said:], *after) if line.plain.strip()]
    for line in rest:
        line.stylize("dim")
    return Text("\n").join([*block, Text(""), *rest]), True


# --- without one --------------------------------------------------------------------------------------


class Plain:
    """What a pipe or a simple terminal gets: one run after the other; Enter runs again, where there is a stdin."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.listening = True
        self.said = ""  # by the run that goes on

    def run(self) -> None:
        """Until Ctrl-C; with --manual, until the end of the input."""
        watch = self.watch
        told = 0  # how many of the notes were printed
        self.begin()
        while True:
            for note in watch.notes[told:]:
                print(f"dojo: {note}", flush=True)
            told = len(watch.notes)
            if watch.saves is None and not self.listening and not watch.runner.busy:
                return
            ready = select.select([*watch.sources(), *([0] if self.listening else [])], [], [])[0]
            if watch.saved_among(ready):
                self.begin()
            for event in watch.runner.events():
                self.take(event)
            if 0 in ready:
                data = os.read(0, 4096)
                self.listening = bool(data)
                if data.strip().lower().startswith(b"q"):
                    return
                if data:
                    self.begin()

    def begin(self) -> None:
        from shutil import get_terminal_size

        print(f"dojo: judging {self.watch.kata.stem}", flush=True)
        self.said = ""
        self.watch.start(get_terminal_size().columns)

    def take(self, event: Any) -> None:
        if isinstance(event, Output):
            self.said += event.text
        elif isinstance(event, Ended):
            from rich.text import Text

            kata = self.watch.kata
            with contextlib.suppress(UnicodeEncodeError):
                print(failure_first(Text(self.said.rstrip("\n")))[0].plain, flush=True)
            after = self.watch.end(event)
            step = f"; {self.watch.step()}" if after is None and self.watch.step() else ""
            print(f"dojo: {kata.stem}  {self.watch.state()[0]}{step}", flush=True)
            if after is not None:
                self.watch.open(after)
                self.begin()
            elif self.watch.passed_on:
                print(f"dojo: {self.watch.passed_on}", flush=True)


def run_watch(dojo: Dojo, kata: Kata | None, *, manual: bool = False, poll: bool = False, cold: bool = False) -> int:
    """Watch until the user has had enough.  Returns the exit status.

    manual  judge at a key only, not at a save
    poll    look at the files again and again; for folders whose system doesn't notify
    cold    a new Python for each run
    """
    from dojo.watch import screen

    full = screen.usable()
    colour = full and not os.environ.get("NO_COLOR")
    watch = Watch(dojo, kata, manual=manual, poll=poll, cold=cold, colour=colour)
    try:
        if full:
            with screen.Screen() as terminal:
                Full(watch, terminal).run()
        else:
            Plain(watch).run()
    except KeyboardInterrupt:
        return 130
    finally:
        watch.close()
    return 0
