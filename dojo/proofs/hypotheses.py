"""`dojo check --hypotheses`: what each change that has words would do to a kata's tests.

A learner's answers may equal those of a small change of the reference that no mistake
of the TOML has.  Which changes there are, their words and the tests that fail for each
is found out here, at authors' time, and written beside the references, one file
a module: a learner needs no tool for it, and their own failing tests rule most out
before anything runs (see `dojo.diagnosis.hypotheses`).

A kata whose files haven't changed since is left as it stands.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from dojo.checks.deadline import DeadlineExceeded
from dojo.checks.replay import REPLAYING, become_quiet, replay
from dojo.checks.verdict import colour_of
from dojo.curriculum.katas import Dojo, DojoError, Kata
from dojo.curriculum.swap import module_from_source, swap_in
from dojo.diagnosis.hypotheses import Known, bits, file_of, read, reference_hash, short
from dojo.proofs.changes import Change, changes
from dojo.proofs.collecting import arguments
from dojo.proofs.depends import Depends
from dojo.proofs.pool import Job, run_jobs

SECONDS = 30.0
"""For all tests of one change."""

ENOUGH = 1.0
"""Seconds of tests, the quickest first, that a change is tried on."""

AT_LEAST = 3
"""Tests that it is tried on whatever they take."""

CRASHES = 3
"""Crashes without a wrong answer after which a change says nothing to anybody."""


@dataclass
class Tried:
    """The tests that a change was tried on and those that failed, by their places in the file."""

    tried: list[int]
    failed: list[int]


def fingerprint(kata: Kata) -> str:
    """A hash of what a kata's hypotheses depend on: that of its mutants, and of what makes a change."""
    digest = hashlib.sha256(Depends(kata.dojo).mutants(kata).encode())
    for name in ("changes.py", "hypotheses.py"):
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:16]


def stale(katas: list[Kata]) -> list[Kata]:
    """The katas whose hypotheses aren't written down as they are now."""
    return [kata for kata in katas if kata.reference.exists() and read(kata).get("of") != fingerprint(kata)]


def write(
    dojo: Dojo, katas: list[Kata], jobs: int | None = None, on_progress: Callable[[str], None] | None = None
) -> dict[str, int]:
    """Write down the hypotheses of those `katas` that changed; how many each has.  Runs pytest in this process."""
    if not hasattr(os, "fork"):
        raise DojoError("the hypotheses need fork(), which this system lacks: run this on Linux or macOS")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    todo = stale(katas)
    if not todo:
        return {}
    session = _Session(dojo, todo, jobs, on_progress)
    said = StringIO()
    with redirect_stdout(said):
        pytest.main(arguments(dojo, todo), plugins=[session])
    if missing := [kata.name for kata in todo if kata.name not in session.written]:
        raise DojoError(f"no hypotheses for {', '.join(missing)}: {said.getvalue().strip()[-500:]}")
    return session.written


def run(dojo: Dojo, names: list[str], modules: list[str], jobs: int | None) -> int:
    """`dojo check --hypotheses`: write down those of the chosen katas (none named: all).  Returns the exit status."""
    chosen = [dojo.kata(name) for name in names]
    chosen += [kata for module in modules for kata in dojo.katas if kata.module in dojo.modules_like(module)]
    katas = list(dict.fromkeys(chosen)) if names or modules else list(dojo.katas)
    start = time.perf_counter()
    written = write(dojo, katas, jobs, on_progress=lambda text: print(text, file=sys.stderr))
    seconds = time.perf_counter() - start
    print(f"{sum(written.values())} hypotheses of {len(written)} katas in {seconds:.0f} s")
    if left := len(katas) - len(written):
        print(f"{left} katas are as they were")
    return 0


class _Session:
    """A pytest plugin that tries every change of what was collected in place of running it."""

    def __init__(
        self, dojo: Dojo, katas: list[Kata], jobs: int | None, on_progress: Callable[[str], None] | None
    ) -> None:
        self.dojo, self.katas, self.jobs, self.on_progress = dojo, katas, jobs, on_progress
        self.written: dict[str, int] = {}
        self.config: pytest.Config
        self.judge: Any
        self.items: dict[str, list[pytest.Item]] = {}
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, set[int]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.config = session.config
        hooks: Any = self.config.pluginmanager.get_plugin("dojo-hooks")
        self.judge = hooks.judge
        self.config.stash[REPLAYING] = True
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(1)
        for kata in self.katas:
            self.items[kata.name] = [item for item in session.items if Path(item.path) == kata.test]
        found: dict[str, dict[Change, Tried]] = {}
        for done in run_jobs(self._jobs(found), self.jobs):
            name, change = done.job.key
            if done.answer is not None:
                found[name][change] = done.answer
        for kata in self.katas:
            if kata.name in found:
                self.written[kata.name] = self._write(kata, found[kata.name])
        return True

    def _jobs(self, found: dict[str, dict[Change, Tried]]) -> Iterator[Job]:
        for kata in self.katas:
            if not self.items[kata.name]:
                continue
            if self.on_progress is not None:
                self.on_progress(f"hypotheses of {kata.stem}")
            self._trace(kata)
            found[kata.name] = {}
            source = kata.reference.read_text(encoding="utf-8")
            for change in changes(source, kata.stub.read_text(encoding="utf-8")):
                places = self._feeling(kata, change)
                if places:
                    run = partial(self._try, kata, change.apply(source), places)
                    yield Job((kata.name, change), run, SECONDS)

    def _trace(self, kata: Kata) -> None:
        """Run each test once: its seconds, and the lines of the reference that it runs."""
        self.judge.patience = 60.0
        for item in self.items[kata.name]:
            lines = self.lines[item.nodeid] = set()
            trace = _tracer(str(kata.reference), lines)
            sys.settrace(trace)
            threading.settrace(trace)
            try:
                outcome = replay(item)
            finally:
                sys.settrace(None)
                threading.settrace(None)
            self.seconds[item.nodeid] = outcome.seconds
            if outcome.skipped or outcome.error is not None:
                lines.add(-1)  # it is never tried

    def _feeling(self, kata: Kata, change: Change) -> list[int]:
        """The places of the tests that run the changed line, the quickest first, as far as there is time."""
        items = self.items[kata.name]

        def feels(item: pytest.Item) -> bool:
            # Of what other processes run nothing is seen.
            lines = self.lines[item.nodeid]
            return -1 not in lines and (change.line in lines or not lines)

        places = sorted((i for i, item in enumerate(items) if feels(item)), key=lambda i: self.seconds[items[i].nodeid])
        taken: list[int] = []
        seconds = 0.0
        for i in places:
            seconds += self.seconds[items[i].nodeid]
            if seconds > ENOUGH and len(taken) >= AT_LEAST:
                break
            taken.append(i)
        return taken

    def _try(self, kata: Kata, source: str, places: list[int]) -> Tried | None:
        """In a child: how the tests end with the change; None where it does nothing but crash."""
        become_quiet(self.config)
        try:
            changed = module_from_source(source, kata.import_name, kata.reference)
        except BaseException:
            return None
        items = self.items[kata.name]
        swap_in(items, sys.modules[kata.import_name], changed)
        failed, crashes = [], 0
        for i in places:
            self.judge.patience = 1.0 + 10 * self.seconds[items[i].nodeid]
            error = replay(items[i]).error
            if error is None:
                continue
            if isinstance(error, DeadlineExceeded):
                return None
            failed.append(i)
            crashes += colour_of(error, kata.reference) != "red"
            if crashes >= CRASHES and crashes == len(failed):
                return None
        return Tried(places, failed) if len(failed) > crashes else None

    def _write(self, kata: Kata, found: dict[Change, Tried]) -> int:
        sets: list[str] = []
        rows = []
        for change, tried in sorted(found.items(), key=lambda pair: (pair[0].rank, pair[0].start, pair[0].new)):
            here = bits(tried.tried)
            if here not in sets:
                sets.append(here)
            rows.append(
                [change.rank, change.words, change.start, change.end, change.new, sets.index(here), bits(tried.failed)]
            )
        known: Known = {
            "of": fingerprint(kata),
            "reference": reference_hash(kata),
            "tests": " ".join(short(item.nodeid) for item in self.items[kata.name]),
            "tried": sets,
            "causes": rows,
        }
        _put(kata, known)
        return len(rows)


def _tracer(file: str, lines: set[int]) -> Any:
    def trace(frame: Any, event: str, argument: Any) -> Any:
        return follow if frame.f_code.co_filename == file else None

    def follow(frame: Any, event: str, argument: Any) -> Any:
        lines.add(frame.f_lineno)
        return follow

    return trace


def _put(kata: Kata, known: Known) -> None:
    """Put a kata's hypotheses in its module's file: one line for each, so that a change is seen as one."""
    file = file_of(kata)
    everyones = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    stems = {other.stem for other in kata.dojo.katas if other.module == kata.module}
    everyones = {stem: one for stem, one in everyones.items() if stem in stems} | {kata.stem: known}
    blocks = []
    for stem, one in sorted(everyones.items()):
        rows = ",\n  ".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in one["causes"])
        head = json.dumps({k: v for k, v in one.items() if k != "causes"}, separators=(",", ":"))
        blocks.append(f'{json.dumps(stem)}: {head[:-1]},"causes":[\n  {rows}]}}')
    file.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")
