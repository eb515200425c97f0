"""Proof 6: does a test fail for every mutant?

Only tests that run a mutant's line can notice it.  They are tried from the
quickest on, those first that have killed before; a mutant that crashes one test
gets the others, too, as only a wrong answer that is called wrong counts in full.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from dojo.checks.deadline import DeadlineExceeded
from dojo.checks.replay import become_quiet, replay
from dojo.checks.verdict import colour_of
from dojo.curriculum.katas import Kata
from dojo.curriculum.solutions import public_names
from dojo.curriculum.swap import module_from_source, swap_in
from dojo.proofs.carried import carrying
from dojo.proofs.explained import Mutant, equivalents
from dojo.proofs.mutants import BAKED, FirstValues, text_mutants
from dojo.proofs.pool import Job, run_jobs
from dojo.proofs.reach import Reach
from dojo.proofs.result import MutantCount
from dojo.proofs.session import Session
from dojo.proofs.wrong_on_purpose import WRAPPED, spoil_in, targets

SECONDS = 45.0
"""For all tests on one mutant."""

PATIENCE = 20.0
"""How many times its usual seconds (and one second more) a test may take on a mutant."""

CRASHES = 8
"""Tests that a mutant may crash before it counts as one that only crashes."""


def prove_mutants(session: Session, kata: Kata) -> None:
    """Run the tests on every mutant of the kata, and add what happened to its result."""
    ends: dict[Mutant, tuple[str, str]] = {}
    killers: Counter[str] = Counter()
    for done in run_jobs(_jobs(session, kata, killers), session.options.jobs):
        ended, test = done.answer or (("timed out" if done.timed_out else "crashed"), "")
        killers[test] += ended == "killed"
        if ended != "nothing":
            ends[done.job.key] = (ended, test)
    _count(session, kata, ends)


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


def _jobs(session: Session, kata: Kata, killers: Counter[str]) -> Iterator[Job]:
    module_level = _module_level_lines(kata)
    usual = session.seconds[kata]
    reach = session.reach[kata]
    for mutant in mutants_of(kata, session):
        if mutant.target and not reach.can_spoil(mutant.target, mutant.spoil):
            continue
        items = [item for item in session.items[kata] if _feels(item.nodeid, mutant, reach, module_level)]
        items.sort(key=lambda item: (usual[item.nodeid] > 0.05, -killers[item.nodeid], usual[item.nodeid]))

        def run(mutant: Mutant = mutant, items: list[Any] = items) -> tuple[str, str]:
            become_quiet(session.config)
            return _try(session, kata, mutant, items)

        yield Job(mutant, run, SECONDS)


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


def _try(session: Session, kata: Kata, mutant: Mutant, items: list[Any]) -> tuple[str, str]:
    """In a child: "killed", "crashed", "timed out", "survived" or "nothing" (there is nothing to spoil)."""
    original = sys.modules[kata.import_name]
    baked = FirstValues()
    try:
        import builtins

        setattr(builtins, BAKED, baked)
        mutated = module_from_source(mutant.source, kata.import_name, kata.reference)
    except BaseException:
        return "crashed", ""
    watch = None
    if mutant.target:
        mutated, watch = spoil_in(mutated, mutant.target, WRAPPED[mutant.spoil])
    swap_in(items, original, mutated)

    def add(there: tuple[dict[Any, Any], bool]) -> None:
        baked.values = there[0] | baked.values
        if watch is not None:
            watch.applied |= there[1]

    ended, by, crashes = "survived", "", 0
    # A size that is baked in over all tests may be one that harms none; then each test bakes its own.
    again = [True] * len(items) if BAKED in mutant.source else []
    for item, afresh in [*((item, False) for item in items), *zip(items, again, strict=False)]:
        if crashes > CRASHES:
            break
        if afresh:
            baked.values.clear()
        session.judge.patience = 1.0 + PATIENCE * session.seconds[kata][item.nodeid]
        with carrying(lambda: (baked.values, watch is not None and watch.applied), add):
            outcome = replay(item)
        if outcome.error is None:
            continue
        if isinstance(outcome.error, DeadlineExceeded):
            return "timed out", item.nodeid
        if colour_of(outcome.error, kata.reference) == "red":
            return "killed", item.nodeid
        ended, by, crashes = "crashed", item.nodeid, crashes + 1
    if watch is not None and not watch.applied and ended == "survived":
        return "nothing", ""
    return ended, by


def _count(session: Session, kata: Kata, ends: dict[Mutant, tuple[str, str]]) -> None:
    result = session.results[kata.name]
    count = result.mutants = MutantCount()
    tally = result.tally("mutants")
    explained = equivalents(kata.meta)
    for mutant, (ended, _) in sorted(ends.items(), key=lambda pair: (pair[0].line, pair[0].change)):
        entries = [entry for entry in explained if entry.covers(mutant)]
        for entry in entries:
            (entry.survivors if ended == "survived" else entry.killed).append(mutant)
        if ended == "survived" and entries:
            count.equivalent += 1
        elif ended == "survived":
            count.survived += 1
            tally.problems.append(f"survives in {mutant.function}(), {mutant.label}")
        elif ended == "killed":
            count.killed += 1
        elif ended == "crashed":
            count.crashed += 1
        else:
            count.timed_out += 1
    for entry in explained:
        if not entry.survivors:
            why = f"a test fails for it ({ends[entry.killed[0]][1]})" if entry.killed else "no mutant is like that"
            tally.problems.append(f"`equivalent` lists {entry.change!r}, but {why}")
    tally.total = count.total
    tally.good = count.total - count.survived
