"""Wrong answers to the katas of this dojo, judged as a learner would see it: what is told of each?

All test files that the cases need are collected once; each case is a child that puts
the wrong answer in the reference's place and goes through the tests to the first that fails.
Only tests that can feel the change are run, so that hundreds of cases take a minute.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from dojo.curriculum.katas import Kata, open_dojo

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Case:
    """A wrong answer: the reference of `kata` with `find` replaced by `swap`.

    told    texts of which one may stand in the cause that is told; none: no cause may be told
    only    a test to begin with: part of its id, as with -k
    """

    kata: str
    find: str
    swap: str
    told: tuple[str, ...] = ()
    only: str = ""

    @property
    def name(self) -> str:
        return f"{self.kata}: {' '.join(self.find.split())[:40]} -> {' '.join(self.swap.split())[:40]}"


@dataclass
class Told:
    """What the learner sees: the text, the cause in it, the test that failed, and where nothing failed, why."""

    text: str = ""
    cause: str = ""
    test: str = ""
    problem: str = ""


def tell(cases: list[Case], whole: bool = False, jobs: int | None = None) -> list[Told]:
    """What is told of each case.  `whole` runs all of a kata's tests.  Runs pytest in this process."""
    from dojo.proofs.collecting import arguments
    from dojo.proofs.pool import Job, run_jobs

    dojo = open_dojo(ROOT)
    katas = {kata.name: kata for kata in dojo.katas}
    told = [Told(problem="was never judged") for _ in cases]

    class Session:
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(self, session: pytest.Session) -> bool:
            from dojo.checks.replay import REPLAYING

            session.config.stash[REPLAYING] = True
            if (torch := sys.modules.get("torch")) is not None:
                torch.set_num_threads(1)
            todo = [
                Job(i, lambda case=case: asdict(_judge(session, katas[case.kata], case, whole)), 90)
                for i, case in enumerate(cases)
            ]
            for done in run_jobs(todo, jobs):
                told[done.job.key] = (
                    Told(**done.answer) if done.answer else Told(problem=done.error or "the child died")
                )
            return True

    chosen = sorted({katas[case.kata] for case in cases}, key=lambda kata: str(kata.test))
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(arguments(dojo, chosen), plugins=[Session()])
    return told


def _judge(session: pytest.Session, kata: Kata, case: Case, whole: bool) -> Told:
    """In a child: judge the case up to its first failing test."""
    from dojo.checks.replay import become_quiet, replay
    from dojo.checks.verdict import colour_of
    from dojo.curriculum.swap import module_from_source, swap_in
    from dojo.judging.report import verdict_of

    become_quiet(session.config)
    judge = session.config.pluginmanager.get_plugin("dojo-hooks").judge
    source = kata.reference.read_text(encoding="utf-8")
    if source.count(case.find) != 1:
        return Told(problem=f"{case.find!r} stands {source.count(case.find)} times in {kata.reference.name}")
    text = source.replace(case.find, case.swap)
    file = Path(os.environ["DOJO_TEST_TMP"], f"{kata.stem}_{os.getpid()}.py")
    file.write_text(text)
    reference = sys.modules[kata.import_name]
    wrong = module_from_source(text, kata.import_name, file)
    items = [item for item in session.items if Path(item.path) == kata.test]
    if not whole:
        felt = _touched(source, text)
        items = [item for item in items if felt & _names_of(item)] or items
        session.items[:] = items
        judge.in_file[kata.test] = len(items)
    swap_in(items, reference, wrong)
    judge.solutions.path = lambda kata: file
    for item in items:
        if case.only not in item.nodeid:
            continue
        judge.patience = 4.0
        outcome = replay(item)
        if outcome.error is None:
            continue
        judge.patience = None
        verdict = verdict_of(item, kata, file, colour_of(outcome.error, file), outcome.error)
        return Told("\n".join(verdict["lines"]), verdict["cause"], verdict["id"])
    return Told(problem="every test passes")


def _touched(source: str, text: str) -> set[str]:
    """The functions and classes of a reference that differ, and those that use one of them."""
    before, after = (_tops(ast.parse(one)) for one in (source, text))
    felt = {name for name in before if before[name] != after.get(name)}
    while True:
        more = {name for name, dump in before.items() if any(f"'{one}'" in dump for one in felt)} - felt
        if not more:
            return felt
        felt |= more


def _tops(tree: ast.Module) -> dict[str, str]:
    return {
        node.name: ast.dump(node)
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
    }


def _names_of(item: Any) -> set[str]:
    """The names in a test's code, and in that of the test file's own helpers that it uses."""
    names: set[str] = set()
    todo = [item.function.__code__]
    if hasattr(item.function, "hypothesis"):
        todo.append(item.function.hypothesis.inner_test.__code__)
    callspec = getattr(item, "callspec", None)
    for value in callspec.params.values() if callspec is not None else ():
        names.add(getattr(value, "__name__", ""))
    while todo:
        code = todo.pop()
        todo += [constant for constant in code.co_consts if hasattr(constant, "co_names")]
        for name in set(code.co_names) - names:
            names.add(name)
            helper = vars(item.module).get(name)
            if getattr(helper, "__module__", None) == item.module.__name__:
                functions = vars(helper).values() if isinstance(helper, type) else [helper]
                todo += [f.__code__ for f in functions if hasattr(f, "__code__")]
    return names


if __name__ == "__main__":  # in a process of its own, as pytest runs in the one that asks
    import json

    asked = json.loads(sys.stdin.read())
    listed = [Case(**{**case, "told": tuple(case["told"])}) for case in asked["cases"]]
    answers = tell(listed, asked["whole"])
    print("<<<" + json.dumps([asdict(answer) for answer in answers]))


def told_of(cases: list[Case], folder: Path, whole: bool = False, timeout: float = 600) -> list[Told]:
    """What is told of each case, found out in a process of its own."""
    import json
    import subprocess

    environment = {**os.environ, "DOJO_TEST_TMP": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment = {key: value for key, value in environment.items() if not key.startswith("PYTEST_")}
    run = subprocess.run(
        [sys.executable, "-m", "tests.diagnosis.real"],
        input=json.dumps({"cases": [asdict(case) for case in cases], "whole": whole}),
        capture_output=True, text=True, cwd=ROOT, env=environment, check=False, timeout=timeout,
    )  # fmt: skip
    assert "<<<" in run.stdout, run.stdout[-2000:] + run.stderr[-2000:]
    return [Told(**answer) for answer in json.loads(run.stdout.split("<<<")[1])]
