"""The proofs, run inside a pytest session that has collected the tests of the katas once.

Each kata has a process, forked from the session, a few of them at a time.  After one
run of the kata's tests, which also makes every import and every first call that loads
something, each proof is a job in a forked child of that process (`experiments.py`).
Little is imported twice, and no patch can harm the next.

What the clock decided against a kata (a time over the budget, a search for the
mistake that wasn't done in time) is asked once more at the end, with nothing else
beside it: a busy machine must not fail a proof.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from dojo.checks.deadline import DeadlineExceeded
from dojo.checks.replay import become_quiet
from dojo.curriculum.katas import DojoError, Kata
from dojo.curriculum.patches import Patch, mistakes, variants
from dojo.curriculum.solutions import public_names
from dojo.proofs import experiments, lint
from dojo.proofs.experiments import JOB_SECONDS, Green
from dojo.proofs.killing import prove_mutants
from dojo.proofs.pool import Done, Job, run_jobs
from dojo.proofs.reach import Reach, changed_units
from dojo.proofs.result import KataProofs, Options, Tally
from dojo.proofs.session import Seen, Session
from dojo.proofs.tracing import record
from dojo.proofs.workers import share_out
from dojo.proofs.wrong_on_purpose import TRIVIAL, targets

RECORD_SECONDS = 180.0
"""For all tests of a kata, traced."""


class ProofSession:
    """A pytest plugin that proves what was collected in place of running it."""

    def __init__(self, options: Options) -> None:
        self.session = Session(options)
        self.problems: list[str] = []
        self.again: list[Job] = []  # of this process's kata
        self.settling = False
        self.answers: dict[str, bytes] = {}  # of its mistakes, by their texts, pickled

    @property
    def results(self) -> dict[str, KataProofs]:
        return self.session.results

    # --- hooks --------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.session.take(session)
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(1)  # a child can't use the threads of an OpenMP pool that the parent has started
        katas, options = self.session.katas, self.session.options
        width = options.jobs or os.cpu_count() or 1
        workers = min(width, len(katas))
        self.session.options = replace(options, jobs=max(1, width // workers))  # the children of each worker
        for news in share_out(len(katas), workers, partial(_order, katas), self):
            kata = katas[news.number]
            if news.what == "begun" and options.on_progress is not None:
                options.on_progress(f"proving {kata.stem}")
            elif news.what == "done":
                self.results[kata.name] = news.answer
            elif news.what == "lost":
                self.results[kata.name].tally("green").problems.append("the process that ran its tests died")
        return True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.problems.append(f"{report.nodeid} can't be collected: {report.longreprtext.strip().splitlines()[-1]}")

    # --- in the process of one kata --------------------------------------------------------------------------------

    def do(self, number: int) -> KataProofs | None:
        """Prove a kata, all but what the clock may have decided: then None."""
        kata = self.session.katas[number]
        with_mutants = kata.name in self.session.options.mutants_of
        self.session.warm_up(kata)
        (done,) = run_jobs([Job(kata, partial(record, self.session, kata, with_mutants), RECORD_SECONDS)])
        self.session.reach[kata] = done.answer or Reach()
        for done in run_jobs(self._jobs(kata), self.session.options.jobs):
            if self._may_be_the_clock(done):
                self.again.append(done.job)
            else:
                self._take(done)
        if with_mutants:
            prove_mutants(self.session, kata)
        return None if self.again else self.results[kata.name]

    def settle(self, number: int) -> KataProofs:
        """Prove, one job at a time, what the clock may have decided."""
        self.settling = True
        for done in run_jobs(self.again, width=1):
            self._take(done)
        return self.results[self.session.katas[number].name]

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
        yield self._job(kata, ("todo",), experiments.todo)
        for seed in range(self.session.options.seeds):
            yield self._job(kata, ("green", seed), experiments.green, seed)
        for patch, text in patched:
            self.session.units[patch] = changed_units(source, text)
        for patch, text in patched:
            if patch.kind == "variant":
                yield self._job(kata, ("variant", patch), experiments.variant, patch, text)
        wrong = [(patch, text) for patch, text in patched if patch.kind == "mistake"]
        asked = [self._job(kata, ("answers", patch), experiments.answers, patch, text) for patch, text in wrong]
        texts = {job.key: text for job, (_, text) in zip(asked, wrong, strict=True)}
        for done in run_jobs(asked, self.session.options.jobs):
            if done.answer is not None:
                self.answers[texts[done.job.key]] = done.answer
        for patch, text in wrong:
            given = (patch, text, self.answers, lambda: self.settling)
            yield self._job(kata, ("mistake", patch), experiments.mistake, *given)
        for target in targets(self.session.module(kata), public_names(kata.stub)):
            for kind in TRIVIAL:
                if self.session.reach[kata].can_spoil(target, kind):
                    yield self._job(kata, ("trivial", target, kind), experiments.trivial, target, kind)
        yield self._job(kata, ("planted",), experiments.planted)

    def _job(self, kata: Kata, key: tuple[Any, ...], work: Callable[..., Any], *args: Any) -> Job:
        def run() -> Any:
            become_quiet(self.session.config)
            return work(self.session, kata, *args)

        return Job((kata, *key), run, JOB_SECONDS)

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

    # --- what their answers say -----------------------------------------------------------------------

    def _take_todo(self, result: KataProofs, tally: Tally, seen: list[Seen]) -> None:
        judged = [one for one in seen if one.colour != "skipped"]
        result.skipped = len(seen) - len(judged)
        tally.total, tally.good = len(judged), sum(one.colour == "todo" for one in judged)
        for one in judged:
            if one.colour != "todo":
                tally.problems.append(
                    f"on the stub {one.test} is {one.colour}, expected todo: {one.said or 'it passes'}"
                )

    def _take_green(self, result: KataProofs, tally: Tally, answer: Green, seed: int) -> None:
        seen, warned = answer.seen, answer.warned
        if seed == 0:
            self._take_time(result, answer)
        tally.total += sum(one.colour != "skipped" for one in seen)
        tally.good += sum(one.colour == "green" for one in seen)
        for one in seen:
            if one.colour not in ("green", "skipped"):
                tally.problems.append(f"the reference fails {one.test} with --seed {seed}, shuffled: {one.said}")
        tally.problems += [f"the reference warns with --seed {seed}: {text}" for text in dict.fromkeys(warned)]

    def _take_time(self, result: KataProofs, answer: Green) -> None:
        result.seconds, result.peak_mb = round(answer.seconds, 3), round(answer.megabytes, 1)
        tally = result.tally("time")
        tally.total, tally.good = 1, int(result.seconds <= result.budget)
        if not tally.good:
            tally.problems.append(f"its tests take {result.seconds:.1f} s on the reference; budget {result.budget:g} s")

    def _take_variant(self, result: KataProofs, tally: Tally, seen: list[Seen], patch: Patch) -> None:
        bad = [one for one in seen if one.colour not in ("green", "skipped")]
        tally.total += 1
        tally.good += not bad
        if bad:
            tally.problems.append(f"{patch.label} isn't accepted: {bad[0].test} is {bad[0].colour}: {bad[0].said}")

    def _take_mistake(self, result: KataProofs, tally: Tally, answer: tuple[str, list[str]], patch: Patch) -> None:
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

    def _take_trivial(
        self, result: KataProofs, tally: Tally, answer: tuple[bool, bool], target: str, kind: str
    ) -> None:
        applied, caught = answer
        if not applied and not caught:
            return
        tally.total += 1
        tally.good += caught
        if not caught:
            tally.problems.append(f"{target}() passes with {kind}")

    def _take_planted(self, result: KataProofs, tally: Tally, seen: list[Seen]) -> None:
        judged = [one for one in seen if one.colour != "skipped"]
        tally.total, tally.good = len(judged), sum(one.colour != "green" for one in judged)
        for one in judged:
            if one.colour == "green":
                tally.problems.append(f"{one.test} passes with a raise planted in every function: what does it test?")


def _order(katas: list[Kata], place: int) -> list[int]:
    """The order in which the katas are taken, in each of the places for a process.

    The slowest first, lest one be left over at the end; but only the first place starts with
    those whose tests start processes themselves, as two of them at a time get in each other's way.
    """
    slowest_first = sorted(range(len(katas)), key=lambda number: -katas[number].budget)
    with_processes = {number for number, kata in enumerate(katas) if "processes" in kata.meta.get("needs", [])}
    return sorted(slowest_first, key=lambda number: (number in with_processes) == (place > 0))


def _label(part: Any) -> str:
    return part.label if isinstance(part, Patch) else str(part)
