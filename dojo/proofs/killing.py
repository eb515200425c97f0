"""Proof 6: does a test fail for every mutant?

Only tests that run a mutant's line can notice it.  They are tried from the
quickest on, those first that have killed before; a mutant that crashes one test
gets the others, too, as only a wrong answer that is called wrong counts in full.
"""

from __future__ import annotations

import math
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from dojo.checks.deadline import DeadlineExceeded
from dojo.checks.replay import become_quiet, replay
from dojo.checks.verdict import colour_of
from dojo.curriculum.katas import Kata
from dojo.curriculum.solutions import public_names
from dojo.curriculum.swap import module_from_source, swap_in
from dojo.proofs.carried import carrying
from dojo.proofs.explained import Mutant, equivalents
from dojo.proofs.mutants import BAKED, FirstValues, text_mutants
from dojo.proofs.pool import Job, run_batches, run_jobs
from dojo.proofs.reach import Reach
from dojo.proofs.result import MutantCount
from dojo.proofs.session import Session
from dojo.proofs.wrong_on_purpose import WRAPPED, spoil_in, targets

SECONDS = 45.0
"""For all tests on one mutant."""

PATIENCE = 20.0
"""How many times its usual seconds (and one second more) a test may take on a mutant."""

BATCH = 24
"""Mutants that share a child."""

DEAR = 0.05
"""Seconds of a test above which a mutant gets a child of its own: a kill would have to be looked at twice."""

SOON = 0.3
"""Seconds of tests in which a mutant is killed in a child that it shares, or gets one of its own: most that survive
these survive all, and they would be run twice."""

CRASHES = 8
"""Tests that a mutant may crash before it counts as one that only crashes."""


@dataclass(frozen=True)
class End:
    """How a mutant ended.

    how   "killed" by a wrong answer, "crashed" by nothing but crashes, "timed out", "survived",
          "nothing": there was nothing to spoil, or "undecided": to be tried again with more time
    test  which ended it, "" for none
    sure  whether a kill was the mutant's own doing, where others had gone before it in the same child
    """

    how: str
    test: str = ""
    sure: bool = False


def prove_mutants(session: Session, kata: Kata) -> None:
    """Run the tests on every mutant of the kata, and add what happened to its result."""
    _count(session, kata, ends_of(session, kata))


def ends_of(session: Session, kata: Kata) -> dict[Mutant, End]:
    """How each mutant of the kata ended, but for those that spoil an answer where there is nothing to spoil.

    Several mutants share a child, one after the other.  What one of them leaves behind (a changed constant of the
    tests, a filled cache) must not decide about the next: a kill counts only where the reference passes the same test
    right after it, and whatever wasn't killed for certain is tried again, alone in a child of its own.
    """
    trial = Trial(session, kata)
    ends: dict[Mutant, End] = {}
    unsure: list[Mutant] = []
    size = 1 if trial.starts_processes else BATCH
    for said in run_batches(trial.mutants(), trial.run, size, SECONDS, session.options.jobs):
        end = said.answer
        if end is not None and (said.alone or end.sure):
            trial.note(end)
            ends[said.thing] = end
        else:
            unsure.append(said.thing)
    for done in run_jobs(
        [Job(mutant, partial(trial.alone, mutant), SECONDS) for mutant in unsure], session.options.jobs
    ):
        ends[done.job.key] = done.answer or End("timed out" if done.timed_out else "crashed")
    return {mutant: end for mutant, end in ends.items() if end.how != "nothing"}


def mutants_of(kata: Kata, session: Session) -> list[Mutant]:
    """Every mutant of the kata's reference: of its text, then of its answers."""
    source = kata.reference.read_text(encoding="utf-8")
    mutants = text_mutants(source)
    for target in targets(sys.modules[kata.import_name], public_names(kata.stub)):
        mutants += [
            Mutant(f"{target}: {spoil}", source, 0, target.split(".")[0], target=target, spoil=spoil)
            for spoil in WRAPPED
        ]
    return mutants


class Trial:
    """The mutants of one kata, and how a child tries them."""

    def __init__(self, session: Session, kata: Kata) -> None:
        self.session = session
        self.kata = kata
        self.items = session.items[kata]
        self.usual = session.seconds[kata]
        self.reach = session.reach[kata]
        self.source = kata.reference.read_text(encoding="utf-8")
        self.module_level = _module_level_lines(kata)
        self.killers: Counter[str] = Counter()

    @property
    def starts_processes(self) -> bool:
        return any("ranks" in getattr(item, "fixturenames", ()) for item in self.items)

    def mutants(self) -> list[Mutant]:
        """Those that can make a difference: where an answer is spoiled, there must be one to spoil."""
        found = mutants_of(self.kata, self.session)
        return [mutant for mutant in found if not mutant.target or self.reach.can_spoil(mutant.target, mutant.spoil)]

    def note(self, end: End) -> None:
        """Remember which tests kill: they are tried first."""
        self.killers[end.test] += end.how == "killed"

    def tests_for(self, mutant: Mutant) -> list[pytest.Item]:
        """The tests that may feel the mutant, those first that most likely end it soon."""
        usual, killers = self.usual, self.killers
        items = [item for item in self.items if _feels(item.nodeid, mutant, self.reach, self.module_level)]
        return sorted(items, key=lambda item: (usual[item.nodeid] > 0.05, -killers[item.nodeid], usual[item.nodeid]))

    def alone(self, mutant: Mutant) -> End:
        """In a child: how this mutant ends."""
        return next(self.run([mutant]))

    def run(self, mutants: Sequence[Mutant]) -> Iterator[End]:
        """In a child: how the mutants end, one after the other.

        Stops where the next one had better start afresh: after a time that ran out, beside a thread that goes on,
        where the state is spoiled, or where the first test takes longer than a new child.
        """
        become_quiet(self.session.config)
        for number, mutant in enumerate(mutants):
            items = self.tests_for(mutant)
            if number and (not items or self.usual[items[0].nodeid] > DEAR or threading.active_count() > 1):
                return
            end = _try(self.session, self.kata, mutant, items, SOON if number else math.inf)
            if number and end.how == "killed":
                end = replace(end, sure=self._reference_passes(end.test))
            self.note(end)
            yield end
            if end.how == "timed out" or (number and end.how == "killed" and not end.sure):
                return

    def _reference_passes(self, test: str) -> bool:
        """Whether what has been tried here left the test as it was."""
        fresh = module_from_source(self.source, self.kata.import_name, self.kata.reference)
        swap_in(self.items, self.session.module(self.kata), fresh)
        item = next(item for item in self.items if item.nodeid == test)
        return replay(item).error is None


def _feels(test: str, mutant: Mutant, reach: Reach, module_level: set[int]) -> bool:
    """Whether the test may run what the mutant changes."""
    if mutant.target:
        return reach.gets(test, mutant.target)
    return mutant.line in module_level or mutant.line in (reach.lines.get(test) or {mutant.line})


def _module_level_lines(kata: Kata) -> set[int]:
    """Lines whose code runs when the module is loaded, signatures included: any test may feel them."""
    import ast

    lines: set[int] = set()
    for node in ast.walk(ast.parse(kata.reference.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            lines.update(range(node.lineno, node.body[0].lineno))
    for top in ast.parse(kata.reference.read_text(encoding="utf-8")).body:
        if not isinstance(top, ast.FunctionDef | ast.ClassDef):
            lines.update(range(top.lineno, (top.end_lineno or top.lineno) + 1))
        elif isinstance(top, ast.ClassDef):
            for inner in top.body:
                if not isinstance(inner, ast.FunctionDef):
                    lines.update(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
    return lines


def _try(session: Session, kata: Kata, mutant: Mutant, items: list[pytest.Item], seconds: float) -> End:
    """In a child: run the tests on the mutant, until one of them calls it wrong.

    After tests that usually take `seconds` in all, it is left "undecided".
    """
    current = session.module(kata)
    baked = FirstValues()
    try:
        import builtins

        setattr(builtins, BAKED, baked)
        mutated = module_from_source(mutant.source, kata.import_name, kata.reference)
    except BaseException:
        return End("crashed")
    watch = None
    if mutant.target:
        mutated, watch = spoil_in(mutated, mutant.target, WRAPPED[mutant.spoil])
    swap_in(session.items[kata], current, mutated)

    def add(there: tuple[dict[Any, Any], bool]) -> None:
        baked.values = there[0] | baked.values
        if watch is not None:
            watch.applied |= there[1]

    ended, by, crashes, spent = "survived", "", 0, 0.0
    # A size that is baked in over all tests may be one that harms none; then each test bakes its own.
    again = [True] * len(items) if BAKED in mutant.source else []
    tries = [*((item, False) for item in items), *zip(items, again, strict=False)]
    while tries and crashes <= CRASHES:
        item, afresh = tries.pop(0)
        spent += session.seconds[kata][item.nodeid]
        if spent > seconds:
            return End("undecided")
        if afresh:
            baked.values.clear()
        session.judge.patience = 1.0 + PATIENCE * session.seconds[kata][item.nodeid]
        with carrying(lambda: (baked.values, watch is not None and watch.applied), add):
            outcome = replay(item)
        if outcome.error is None:
            continue
        if isinstance(outcome.error, DeadlineExceeded):
            return End("timed out", item.nodeid)
        if colour_of(outcome.error, kata.reference) == "red":
            return End("killed", item.nodeid)
        ended, by, crashes = "crashed", item.nodeid, crashes + 1
        # What crashes one case of a test mostly crashes the others: another test may call it wrong.
        tries.sort(key=lambda one: one[0].nodeid.partition("[")[0] == item.nodeid.partition("[")[0])
    if watch is not None and not watch.applied and ended == "survived":
        return End("nothing")
    return End(ended, by)


def _count(session: Session, kata: Kata, ends: dict[Mutant, End]) -> None:
    result = session.results[kata.name]
    count = result.mutants = MutantCount()
    tally = result.tally("mutants")
    explained = equivalents(kata.meta)
    for mutant, end in sorted(ends.items(), key=lambda pair: (pair[0].line, pair[0].change)):
        entries = [entry for entry in explained if entry.covers(mutant)]
        for entry in entries:
            (entry.survivors if end.how == "survived" else entry.killed).append(mutant)
        if end.how == "survived" and entries:
            count.equivalent += 1
        elif end.how == "survived":
            count.survived += 1
            tally.problems.append(f"survives in {mutant.function}(), {mutant.label}")
        elif end.how == "killed":
            count.killed += 1
        elif end.how == "crashed":
            count.crashed += 1
        else:
            count.timed_out += 1
    for entry in explained:
        if not entry.survivors:
            why = f"a test fails for it ({ends[entry.killed[0]].test})" if entry.killed else "no mutant is like that"
            tally.problems.append(f"`equivalent` lists {entry.change!r}, but {why}")
    tally.total = count.total
    tally.good = count.total - count.survived
