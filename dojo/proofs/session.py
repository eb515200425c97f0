"""The proofs, run inside a pytest session that has collected the tests of the katas once.

The session judges the reference.  A few workers, forked from it, take one kata
after another.  After one run of the kata's tests, which also makes every import
and every first call that loads something, each proof is a job in a forked child of
the worker: it swaps a stub, a variant or a mistake in, runs the tests, and
reports.  Little is imported twice, and no patch can harm the next.

What the clock decided against a kata (a time over the budget, a search for the
mistake that wasn't done in time) is asked once more at the end, with nothing else
beside it: a busy machine must not fail a proof.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dojo.checks.deadline import DeadlineExceeded
from dojo.checks.replay import REPLAYING, become_quiet, replay
from dojo.checks.verdict import colour_of
from dojo.curriculum.katas import DojoError, Kata
from dojo.curriculum.patches import Patch, mistakes, variants
from dojo.curriculum.solutions import public_names
from dojo.curriculum.swap import module_from_source, swap_in
from dojo.judging.judge import Judge
from dojo.proofs import lint
from dojo.proofs.carried import carrying
from dojo.proofs.pool import Done, Job, run_jobs
from dojo.proofs.reach import Reach, Unit, changed_units, record
from dojo.proofs.result import KataProofs
from dojo.proofs.workers import share_out
from dojo.proofs.wrong_on_purpose import TRIVIAL, spoil_in, targets

JOB_SECONDS = 120.0
"""After which a child that proves something of one kata is ended."""

RECORD_SECONDS = 180.0
"""For all tests of a kata, traced."""


@dataclass
class Options:
    """What to prove: over how many seeds, the mutants of which katas, in how many children."""

    seeds: int = 5
    mutants_of: frozenset[str] = frozenset()
    jobs: int | None = None
    on_progress: Callable[[str], None] | None = None


@dataclass
class Seen:
    """How one test ended in a child: its colour or "skipped", and the first line of what it said."""

    test: str
    colour: str
    said: str
    seconds: float


@dataclass
class Green:
    """One run of all tests on the reference: its warnings, its seconds, and by how many MB it raised the peak."""

    seen: list[Seen]
    warned: list[str]
    seconds: float
    megabytes: float


class ProofSession:
    """A pytest plugin that proves what was collected in place of running it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.results: dict[str, KataProofs] = {}
        self.problems: list[str] = []
        self.judge: Judge
        self.config: pytest.Config
        self.items: dict[Kata, list[pytest.Item]] = {}
        self.katas: list[Kata] = []
        self.seconds: dict[Kata, dict[str, float]] = {}
        self.reach: dict[Kata, Reach] = {}
        self.units: dict[Patch, list[Unit] | None] = {}
        self.again: dict[int, list[Job]] = {}

    # --- hooks --------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.config = session.config
        hooks: Any = self.config.pluginmanager.get_plugin("dojo-hooks")
        self.judge = hooks.judge
        for item in session.items:
            kata = self.judge.kata_of(item)
            if kata is not None:
                self.items.setdefault(kata, []).append(item)
        for kata, items in self.items.items():
            self.results[kata.name] = KataProofs(
                kata.name, kata.module, kata.stem, tests=len(items), budget=kata.budget
            )
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(1)  # a child can't use the threads of an OpenMP pool that the parent has started
        self.katas = list(self.items)
        width = self.options.jobs or os.cpu_count() or 1
        workers = min(width, len(self.katas))
        self.options = replace(self.options, jobs=max(1, width // workers))  # the children of each worker
        for news in share_out(len(self.katas), workers, partial(_order, self.katas), self):
            kata = self.katas[news.number]
            if news.what == "begun" and self.options.on_progress is not None:
                self.options.on_progress(f"proving {kata.stem}")
            elif news.what == "done":
                self.results[kata.name] = news.answer
            elif news.what == "lost":
                self.results[kata.name].tally("green").problems.append("the process that ran its tests died")
        return True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.problems.append(f"{report.nodeid} can't be collected: {report.longreprtext.strip().splitlines()[-1]}")

    # --- in a worker --------------------------------------------------------------------------------

    def do(self, number: int) -> KataProofs | None:
        """Prove a kata, all but what the clock may have decided: then None."""
        kata = self.katas[number]
        self._warm_up(kata)
        self._see_what_tests_reach(kata)
        for done in run_jobs(self._jobs(kata), self.options.jobs):
            if self._may_be_the_clock(done):
                self.again.setdefault(number, []).append(done.job)
            else:
                self._take(done)
        if kata.name in self.options.mutants_of:
            from dojo.proofs.killing import prove_mutants

            prove_mutants(self, kata)
        return None if number in self.again else self.results[kata.name]

    def settle(self) -> list[tuple[int, KataProofs]]:
        """Prove, one job at a time, what the clock may have decided."""
        for done in run_jobs([job for jobs in self.again.values() for job in jobs], width=1):
            self._take(done)
        return [(number, self.results[self.katas[number].name]) for number in self.again]

    def _warm_up(self, kata: Kata) -> None:
        """Run the kata's tests once here: what loads lazily is loaded, and each test's seconds are known."""
        self.config.stash[REPLAYING] = True
        self.seconds[kata] = {item.nodeid: replay(item).seconds for item in self.items[kata]}
        gc.collect()
        gc.freeze()

    def _see_what_tests_reach(self, kata: Kata) -> None:
        with_lines = kata.name in self.options.mutants_of
        (done,) = run_jobs([Job(kata, partial(record, self, kata, with_lines), RECORD_SECONDS)])
        self.reach[kata] = done.answer or Reach()

    def _jobs(self, kata: Kata) -> Iterator[Job]:
        """Every proof of the kata but its mutants."""
        result = self.results[kata.name]
        found = lint.problems(kata)
        tally = result.tally("metadata")
        tally.total, tally.good = 1, int(not found)
        tally.problems += found
        try:
            patches = [*variants(kata), *mistakes(kata)]
            source = kata.reference.read_text(encoding="utf-8")
            patched = [(patch, patch.apply(source)) for patch in patches]
        except (DojoError, OSError):
            patched = []  # said by the metadata's proof
        yield self._job(kata, ("todo",), self._todo)
        for seed in range(self.options.seeds):
            yield self._job(kata, ("green", seed), self._green, seed)
        for patch, text in patched:
            self.units[patch] = changed_units(source, text)
        for patch, text in patched:
            proof = self._variant if patch.kind == "variant" else self._mistake
            yield self._job(kata, (patch.kind, patch), proof, patch, text)
        for target in targets(self._module(kata), public_names(kata.stub)):
            for kind in TRIVIAL:
                if self.reach[kata].can_spoil(target, kind):
                    yield self._job(kata, ("trivial", target, kind), self._trivial, target, kind)
        yield self._job(kata, ("planted",), self._planted)

    def _job(self, kata: Kata, key: tuple[Any, ...], work: Callable[..., Any], *args: Any) -> Job:
        def run() -> Any:
            become_quiet(self.config)
            return work(kata, *args)

        return Job((kata, *key), run, JOB_SECONDS)

    def _module(self, kata: Kata) -> ModuleType:
        return sys.modules[kata.import_name]

    def _may_be_the_clock(self, done: Done) -> bool:
        """Whether the job may have ended badly because others took the machine's time."""
        kata, proof, *rest = done.job.key
        answer = done.answer
        if answer is None:
            return done.timed_out
        if proof == "mistake":
            test, told = answer
            return bool(test) and told != [rest[0].says]
        if proof == "green" and rest == [0] and answer.seconds > kata.budget:
            return True
        seen = answer.seen if proof == "green" else answer if isinstance(answer, list) else []
        return any(one.said.startswith(DeadlineExceeded.__name__) for one in seen)

    def _take(self, done: Done) -> None:
        """Add a child's answer to the results."""
        kata, proof, *rest = done.job.key
        result = self.results[kata.name]
        tally = result.tally({"variant": "variants", "mistake": "mistakes"}.get(proof, proof))
        if done.answer is None:
            how = f"ran past {JOB_SECONDS:g} s" if done.timed_out else done.error or "crashed the process"
            tally.total += 1
            tally.problems.append(f"{' '.join(map(_label, (proof, *rest)))} {how}")
            return
        take = getattr(self, f"_take_{proof}")
        take(result, tally, done.answer, *rest)

    # --- proof 1: todo ------------------------------------------------------------------------------

    def _todo(self, kata: Kata) -> list[Seen]:
        stub = module_from_source(kata.stub.read_text(encoding="utf-8"), kata.import_name, kata.stub)
        return self._run(kata, stub, kata.stub)

    def _take_todo(self, result: KataProofs, tally: Any, seen: list[Seen]) -> None:
        judged = [one for one in seen if one.colour != "skipped"]
        result.skipped = len(seen) - len(judged)
        tally.total, tally.good = len(judged), sum(one.colour == "todo" for one in judged)
        for one in judged:
            if one.colour != "todo":
                tally.problems.append(
                    f"on the stub {one.test} is {one.colour}, expected todo: {one.said or 'it passes'}"
                )

    # --- proof 2: green -----------------------------------------------------------------------------

    def _green(self, kata: Kata, seed: int) -> Green:
        self.config.option.seed = seed
        if (torch := sys.modules.get("torch")) is not None:
            # On one seed: two threads take the core of the child beside this one.
            torch.set_num_threads(2 if seed == 1 else 1)
        items = list(self.items[kata])
        random.Random(seed).shuffle(items)
        before = _peak_megabytes(reset=True)
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            seen = [self._see(item, kata.reference) for item in items]
        seconds = time.perf_counter() - start
        own = [w for w in warned if w.filename == str(kata.reference)]
        said = [f"line {w.lineno}: {w.message}" for w in own]
        return Green(seen, said, seconds, max(0.0, _peak_megabytes() - before))

    def _take_green(self, result: KataProofs, tally: Any, answer: Green, seed: int) -> None:
        seen, warned = answer.seen, answer.warned
        if seed == 0:
            self._take_time(result, answer)
        tally.total += sum(one.colour != "skipped" for one in seen)
        tally.good += sum(one.colour == "green" for one in seen)
        for one in seen:
            if one.colour not in ("green", "skipped"):
                tally.problems.append(f"the reference fails {one.test} with --seed {seed}, shuffled: {one.said}")
        tally.problems += [f"the reference warns with --seed {seed}: {text}" for text in dict.fromkeys(warned)]

    # --- proof 9: time, of the first of these runs ------------------------------------------------------

    def _take_time(self, result: KataProofs, answer: Green) -> None:
        result.seconds, result.peak_mb = round(answer.seconds, 3), round(answer.megabytes, 1)
        tally = result.tally("time")
        tally.total, tally.good = 1, int(result.seconds <= result.budget)
        if not tally.good:
            tally.problems.append(f"its tests take {result.seconds:.1f} s on the reference; budget {result.budget:g} s")

    # --- proofs 3 and 4: variants and mistakes --------------------------------------------------------

    def _variant(self, kata: Kata, patch: Patch, text: str) -> list[Seen]:
        """The tests that run what the variant changes; the others end as they do on the reference."""
        module = module_from_source(text, kata.import_name, kata.reference)
        return self._run(kata, module, kata.reference, self._reaching(kata, patch))

    def _reaching(self, kata: Kata, patch: Patch) -> list[pytest.Item]:
        """The tests, in their order, that run a function which the patch changes."""
        return [item for item in self.items[kata] if self.reach[kata].runs(item.nodeid, self.units[patch])]

    def _take_variant(self, result: KataProofs, tally: Any, seen: list[Seen], patch: Patch) -> None:
        bad = [one for one in seen if one.colour not in ("green", "skipped")]
        tally.total += 1
        tally.good += not bad
        if bad:
            tally.problems.append(f"{patch.label} isn't accepted: {bad[0].test} is {bad[0].colour}: {bad[0].said}")

    def _mistake(self, kata: Kata, patch: Patch, text: str) -> tuple[str, list[str]] | None:
        """The first test that fails, and the sentences that it tells the learner; ("", []) if none fails."""
        from dojo.diagnosis.fitting import fitting_mistakes

        reference = self._module(kata)
        mistaken = module_from_source(text, kata.import_name, kata.reference)
        swap_in(self.items[kata], reference, mistaken)

        def may_differ(test: pytest.Item, other: Patch | None) -> bool:
            return self.reach[kata].runs(test.nodeid, self.units[other or patch])

        for item in self._reaching(kata, patch):
            outcome = replay(item)
            if outcome.error is not None and isinstance(item, pytest.Function):
                told = fitting_mistakes(item, kata, mistaken, outcome.error, JOB_SECONDS / 2, may_differ)
                return item.name, told
        return "", []

    def _take_mistake(self, result: KataProofs, tally: Any, answer: tuple[str, list[str]], patch: Patch) -> None:
        test, told = answer
        tally.total += 1
        tally.good += bool(test)
        if not test:
            tally.problems.append(f"{patch.label} isn't caught: {patch.says}")
        elif told != [patch.says]:
            heard = " / ".join(told) or "nothing of it"
            tally.problems.append(
                f"{patch.label} fails {test}, where the learner is told {heard!r}, not {patch.says!r}"
            )
        else:
            result.named += 1

    # --- proof 5: trivial answers ---------------------------------------------------------------------

    def _trivial(self, kata: Kata, target: str, kind: str) -> tuple[bool, bool]:
        """Whether there was anything to spoil, and whether a test failed."""
        return self._spoil(kata, target, TRIVIAL[kind])

    def _spoil(self, kata: Kata, target: str, spoil: Any) -> tuple[bool, bool]:
        fresh = module_from_source(kata.reference.read_text(encoding="utf-8"), kata.import_name, kata.reference)
        view, watch = spoil_in(fresh, target, spoil)
        caught = False

        def add(applied: bool) -> None:
            watch.applied |= applied

        swap_in(self.items[kata], self._module(kata), view)
        items = [item for item in self.items[kata] if self.reach[kata].gets(item.nodeid, target)]
        for item in sorted(items, key=lambda item: self.seconds[kata][item.nodeid]):
            with carrying(lambda: watch.applied, add):
                caught = replay(item).error is not None
            if caught:
                break
        return watch.applied, caught

    def _take_trivial(self, result: KataProofs, tally: Any, answer: tuple[bool, bool], target: str, kind: str) -> None:
        applied, caught = answer
        if not applied and not caught:
            return
        tally.total += 1
        tally.good += caught
        if not caught:
            tally.problems.append(f"{target}() passes with {kind}")

    # --- proof 7: the file under test -------------------------------------------------------------------

    def _planted(self, kata: Kata) -> list[Seen]:
        """Through the real finder: a tree whose file raises on the first line of every function."""
        import ast

        tree = ast.parse(kata.reference.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                node.body = ast.parse("raise RuntimeError('planted')").body
        before = self._module(kata)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, kata.module, f"{kata.stem}.py")
            file.parent.mkdir()
            file.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")
            self.judge.solutions.tree = Path(folder)
            del sys.modules[kata.import_name]
            __import__(kata.import_name)
            planted = sys.modules[kata.import_name]
            swap_in(self.items[kata], before, planted)
            return [self._see(item, file) for item in self.items[kata]]

    def _take_planted(self, result: KataProofs, tally: Any, seen: list[Seen]) -> None:
        judged = [one for one in seen if one.colour != "skipped"]
        tally.total, tally.good = len(judged), sum(one.colour != "green" for one in judged)
        for one in judged:
            if one.colour == "green":
                tally.problems.append(f"{one.test} passes with a raise planted in every function: what does it test?")

    # --- tools ------------------------------------------------------------------------------------------

    def _run(
        self, kata: Kata, module: ModuleType, solution: Path, items: list[pytest.Item] | None = None
    ) -> list[Seen]:
        """How the tests `items` (None: all of the kata) end with `module` in place of the reference."""
        swap_in(self.items[kata], self._module(kata), module)
        return [self._see(item, solution) for item in (self.items[kata] if items is None else items)]

    def _see(self, item: pytest.Item, solution: Path) -> Seen:
        outcome = replay(item)
        name = item.nodeid.split("::", 1)[-1]
        if outcome.skipped:
            return Seen(name, "skipped", "", outcome.seconds)
        said = str(outcome.error).strip().splitlines() if outcome.error is not None else []
        text = f"{type(outcome.error).__name__}: {said[0]}" if said else type(outcome.error).__name__
        colour = colour_of(outcome.error, solution)
        return Seen(name, colour, "" if outcome.error is None else text[:300], outcome.seconds)


def _order(katas: list[Kata], worker: int) -> list[int]:
    """The order in which a worker takes the katas.

    The slowest first, lest one be left over at the end; but only the first worker starts with
    those whose tests start processes themselves, as two of them at a time get in each other's way.
    """
    slowest_first = sorted(range(len(katas)), key=lambda number: -katas[number].budget)
    with_processes = {number for number, kata in enumerate(katas) if "processes" in kata.meta.get("needs", [])}
    return sorted(slowest_first, key=lambda number: (number in with_processes) == (worker > 0))


def _label(part: Any) -> str:
    return part.label if isinstance(part, Patch) else str(part)


def _peak_megabytes(reset: bool = False) -> float:
    """The peak of this process's resident memory; where the system can, counted from now on."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return float(peak.split()[1]) / 1024
