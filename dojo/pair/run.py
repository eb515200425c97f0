"""A run of an evening: judged, and committed with its colour."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from dojo.commands import STYLES
from dojo.curriculum.katas import Kata
from dojo.learner.workspace import write
from dojo.pair import git as pair_git
from dojo.pair import strip as pair_strip
from dojo.pair.evening import Evening, check_on, tell
from dojo.pair.strip import Event

# `python -m pytest`, without a traceback of its own where Ctrl-C comes while Python and pytest are being
# loaded: it is begun with Ctrl-C held back.
PYTEST = """
import runpy, signal, sys
try:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)
except KeyboardInterrupt:
    sys.exit(2)
"""
PATIENCE = 5.0
"""Seconds that pytest has to end after Ctrl-C."""


def judge(evening: Evening, predicted: str = "") -> Event:
    """Run the kata's tests, and commit what was judged with its colour."""
    check_on(evening.git, evening.branch)
    kata = evening.kata
    changes = evening.unsaved()
    before = _attempts(kata)
    began = pair_strip.clock()
    status = _pytest(kata)
    now = pair_strip.clock()
    colour, greens, tests = _verdict(kata, before, status)
    event = Event("run", now, evening.session.driver.name, colour, greens, tests, now - began, predicted, evening.away)
    subject = f"{colour}: {greens} of {tests} green" if tests else colour
    if evening.session.revert and colour != "green":
        return _taken_back(evening, event, subject, changes)
    new = evening.step(subject, event, changes)
    tell(f"{subject}, {event.seconds:.1f} s  (commit {new[:7]})", STYLES[colour])
    if predicted:
        tell(f"foreseen: {predicted}, {'right' if event.right else 'wrong'}")
    return replace(event, commit=new)


def _attempts(kata: Kata) -> int:
    """How many runs are in the record; 0 where it can't be read, as then none is added either."""
    from dojo.learner.record import Record, RecordError

    try:
        with Record(kata.dojo.state / "record.sqlite") as record:
            return record.count(kata.name)
    except RecordError:
        return 0


def _verdict(kata: Kata, before: int, status: int) -> tuple[str, int, int]:
    """The colour, the green tests and all tests, as the run has written them down; else by pytest's status."""
    from dojo.learner.record import Record, RecordError

    last = None
    with suppress(RecordError), Record(kata.dojo.state / "record.sqlite") as record:
        last = record.latest(kata.name) if record.count(kata.name) > before else None
    if last is None or not last.colours:  # no record can be kept, or nothing was collected
        return {0: "green", 1: "red"}.get(status, "amber"), 0, 0
    colours = [colour for colour in last.colours.values() if colour in STYLES]
    colour = last.colour if last.colour != "green" or last.whole else "amber"
    return colour, colours.count("green"), len(colours)


def _pytest(kata: Kata) -> int:
    """Run the tests as they would be run by hand; pytest's exit status.

    Raises KeyboardInterrupt when the run was ended by Ctrl-C, and pytest is gone.
    """
    test = kata.test.relative_to(kata.dojo.root).as_posix()
    sys.stdout.flush()
    with pair_git.uninterrupted():
        process = subprocess.Popen([sys.executable, "-c", PYTEST, test, "-q"], cwd=kata.dojo.root)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # The terminal has told pytest as well: it ends by itself, or it doesn't.
        try:
            process.wait(PATIENCE)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        raise
    if status == -signal.SIGINT:
        raise KeyboardInterrupt
    return status


def _taken_back(evening: Evening, event: Event, subject: str, changes: dict[str, str]) -> Event:
    """--revert: the code that was judged goes to a ref, and the last green comes back."""
    git, path = evening.git, evening.path
    greens = [run.commit for run in evening.session.runs if run.colour == "green"]
    good = greens[-1] if greens else evening.session.start
    blob = git("rev-parse", f"{good}:{path}")
    judged = changes.get(path) or git("rev-parse", f"{evening.session.tip}:{path}")
    if judged == blob:
        evening.step(subject, event, {})
        tell(f"{subject}; there is nothing to take back", STYLES[event.colour])
        return event
    with pair_git.uninterrupted():
        others = [person for person in evening.session.people if person != evening.session.driver]
        text = pair_git.message(f"{subject}, taken back", None, others)
        kept = pair_git.make_commit(git, evening.session.tip, {path: judged}, evening.session.driver, event.at, text)
        ref = pair_git.free_ref(git, f"refs/dojo/reverted/{datetime.fromtimestamp(event.at):%Y%m%d-%H%M%S}")
        git("update-ref", ref, kept, "0" * len(kept))
        edited = pair_git.snapshot(git, path) != judged
        event = replace(event, reverted=ref)
        evening.step(f"{subject}, taken back", event, {path: blob})
        if not edited:
            write(evening.kata.path, git.raw("cat-file", "--filters", f"{good}:{path}"))
    tell(subject, STYLES[event.colour])
    if edited:
        tell(f"{path} was edited during the run, so it stays as it is. The last green:\n  git restore {path}")
    else:
        tell(f"{path} is back at {'the last green' if greens else 'the start'}. What was taken back is kept:")
    tell(f"  git restore --source {ref} {path}")
    return event


def ask(question: str) -> str:
    """The line that is typed; empty at the end of the input."""
    sys.stdout.write(question)
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower()


def predicted(evening: Evening) -> str:
    """What the two expect, where the session asks for it."""
    if not evening.session.predict:
        return ""
    for _ in range(3):
        answer = ask("Red or green? ")
        if answer in ("r", "red", "g", "green"):
            return "red" if answer.startswith("r") else "green"
        if not answer and not sys.stdin.isatty():
            break
    tell("No colour foreseen.")
    return ""
