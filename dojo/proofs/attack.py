"""The attack: solutions that somebody wrote from the stubs alone, judged all at once.

The proofs know the reference; who attacks has seen neither it nor the tests.  A folder
has, for each kata that is attacked,

    FOLDER/<kata>/right_*.py     solutions that keep every promise of the stub
    FOLDER/<kata>/wrong_*.py     solutions with one fault, which the first line names: "# uses n for n - 1"

A right one that is refused, and a wrong one that passes, is a defect of the tests or of the
stub.  A wrong one that is caught is told why, or is not; whether the cause is the true
one is for a reader to say, so each is printed beside the fault that its author named.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

import pytest

from dojo.checks.replay import REPLAYING, become_quiet, replay
from dojo.checks.verdict import colour_of, summary
from dojo.curriculum.katas import Dojo, DojoError, Kata
from dojo.curriculum.solutions import Unloadable, public_names
from dojo.curriculum.swap import module_from_source, swap_in
from dojo.judging.report import verdict_of
from dojo.proofs.collecting import arguments
from dojo.proofs.pool import Job, run_jobs

SECONDS = 120.0
"""For all tests of one solution, and for saying why the first that fails does."""


@dataclass
class Judged:
    """How the tests ended for one solution."""

    file: str
    kata: str
    right: bool
    fault: str  # as its author names it; "" of a right one
    colour: str = "amber"
    test: str = ""  # the first that isn't green
    said: list[str] = field(default_factory=list)  # what the learner reads there
    cause: str = ""  # and the cause that it names, if any

    @property
    def good(self) -> bool:
        """Whether a right one is accepted, or a wrong one caught."""
        return (self.colour == "green") == self.right

    def as_json(self) -> str:
        """One line."""
        return json.dumps({**asdict(self), "good": self.good}, ensure_ascii=False)


def run_attack(
    dojo: Dojo, folder: Path, names: Sequence[str] = (), *, as_json: bool = False, causes: bool = True
) -> int:
    """Judge every solution in `folder`, of the katas `names` alone where any is given, and print what was found.

    causes  whether to look for what the learner is told; without, a solution takes a tenth of the time
    Returns 0 where every right one is accepted and every wrong one caught, else 1.
    Raises DojoError where the folder has no solution, or one of a kata that there isn't.
    """
    solutions = find(dojo, folder)
    wanted = {dojo.kata(name) for name in names}
    solutions = [(kata, file) for kata, file in solutions if not wanted or kata in wanted]
    if not solutions:
        raise DojoError(f"{folder} has no solutions to judge; expected files such as {folder}/vectors/right_1.py")
    if as_json:
        judged = judge(dojo, solutions, lambda one: print(one.as_json(), flush=True), causes)
    else:
        judged = judge(dojo, solutions, show, causes)
        show_sums(judged)
    return 0 if all(one.good for one in judged) else 1


def find(dojo: Dojo, folder: Path) -> list[tuple[Kata, Path]]:
    """The solutions in `folder`, each with its kata."""
    files = sorted([*folder.glob("*/right_*.py"), *folder.glob("*/wrong_*.py")])
    return [(dojo.kata(file.parent.name), file) for file in files]


def judge(
    dojo: Dojo,
    solutions: Sequence[tuple[Kata, Path]],
    heard: Callable[[Judged], None] = lambda one: None,
    causes: bool = True,
) -> list[Judged]:
    """Judge each solution in a child of one session that has collected the tests of their katas.

    heard  is told of each as soon as it is judged, so that nothing is lost where a long run is ended
    """
    session = _Session(solutions, partial(_beside, sys.stdout, heard), causes)
    katas = list(dict.fromkeys(kata for kata, _ in solutions))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    said = StringIO()
    with redirect_stdout(said):
        pytest.main(arguments(dojo, katas), plugins=[session])
    if len(session.judged) < len(solutions):
        raise DojoError(f"pytest could not judge them all: {said.getvalue().strip()[-500:]}")
    return sorted(session.judged, key=lambda one: (one.kata, one.file))


def _beside(terminal: TextIO, heard: Callable[[Judged], None], one: Judged) -> None:
    """Tell of `one` on the terminal, while what pytest prints is kept away from it."""
    with redirect_stdout(terminal):
        heard(one)


class _Session:
    def __init__(self, solutions: Sequence[tuple[Kata, Path]], heard: Callable[[Judged], None], causes: bool) -> None:
        self.solutions = solutions
        self.heard = heard
        self.causes = causes
        self.judged: list[Judged] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        hooks: Any = session.config.pluginmanager.get_plugin("dojo-hooks")
        items: dict[Kata, list[pytest.Item]] = {}
        for item in session.items:
            if (kata := hooks.judge.kata_of(item)) is not None:
                items.setdefault(kata, []).append(item)
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(1)
        session.config.stash[REPLAYING] = True
        jobs = [
            Job(
                (kata, file),
                partial(_judge, session, hooks.judge, items.get(kata, []), kata, file, self.causes),
                SECONDS,
            )
            for kata, file in self.solutions
        ]
        for done in run_jobs(jobs):
            kata, file = done.job.key
            answer = done.answer or _named(kata, file)
            if done.answer is None:
                answer.said = ["ran past its time" if done.timed_out else done.error or "ended the process"]
            self.judged.append(answer)
            self.heard(answer)
        return True


def _named(kata: Kata, file: Path) -> Judged:
    right = file.name.startswith("right_")
    first = file.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ").strip()
    return Judged(str(file), kata.name, right, "" if right else first)


def _judge(
    session: pytest.Session, judge: Any, items: list[pytest.Item], kata: Kata, file: Path, causes: bool
) -> Judged:
    """In a child: all tests with the solution in the reference's place, up to the first that says why it fails."""
    become_quiet(session.config)
    answer = _named(kata, file)
    reference = sys.modules[kata.import_name]
    with tempfile.TemporaryDirectory() as folder:
        # Under the kata's own name, as a learner's file would be.
        own = Path(folder, f"{kata.stem}.py")
        own.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
        judge.solutions.path = lambda asked: own if asked is kata or asked == kata else asked.reference
        try:
            solution = module_from_source(own.read_text(encoding="utf-8"), kata.import_name, own)
        except Exception as error:
            answer.said = [f"{type(error).__name__}: {error}"]
            return answer
        for name in public_names(kata.stub):
            if name not in vars(solution):  # else the tests would keep the reference's
                setattr(solution, name, Unloadable(ImportError(f"{own.name} has no '{name}', which the stub asks for")))
        swap_in(items, reference, solution)
        colours = []
        for item in items:
            outcome = replay(item)
            if outcome.skipped:
                continue
            colour = colour_of(outcome.error, own)
            colours.append(colour)
            if outcome.error is not None:
                answer.test = item.nodeid.split("::", 1)[-1]
                if causes:
                    verdict = verdict_of(item, kata, own, colour, outcome.error)
                    answer.said, answer.cause = verdict["lines"], verdict["cause"]
                else:
                    answer.said = f"{type(outcome.error).__name__}: {outcome.error}".splitlines()[:4]
                break
        answer.colour = summary(colours)
    return answer


def show(one: Judged) -> None:
    """Print what went wrong, or what a wrong one that is caught was told."""
    if one.right and one.good:
        return
    verdict = "REFUSED" if one.right else "caught" if one.good else "PASSED"
    print(f"{verdict:<8}{one.kata}/{Path(one.file).name}  {one.fault}")
    if one.said:
        print(f"        {one.test}")
        for line in one.said:
            print(f"          {line}")


def show_sums(judged: Sequence[Judged]) -> None:
    """Print how many were accepted, caught and told why."""
    right = [one for one in judged if one.right]
    wrong = [one for one in judged if not one.right]
    print(
        f"{sum(one.good for one in right)} of {len(right)} right ones accepted, "
        f"{sum(one.good for one in wrong)} of {len(wrong)} wrong ones caught, "
        f"{sum(bool(one.cause) for one in wrong)} told why"
    )
