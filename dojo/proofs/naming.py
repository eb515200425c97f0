"""Proof 4 in little time: what each mistake of a kata answers is found out once, and compared with each other's.

The learner's search tries every listed mistake on the failed test (`diagnosis/fitting.py`).
For all mistakes of a kata in turn that is their number squared, of tests in forked
children.  Here each is run once over the tests that it reaches, as a cause; then
each is the learner's code, and the search looks its tries up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dojo.checks.replay import replay
from dojo.curriculum.katas import Kata
from dojo.curriculum.patches import Patch
from dojo.curriculum.swap import module_from_source, swap_in
from dojo.diagnosis.answers import Answer, agree, answer_of
from dojo.diagnosis.evidence import A_TEST, Budget, Seen, learners, learns
from dojo.diagnosis.fitting import Search
from dojo.proofs.session import Session

ENOUGH = 20.0
"""Seconds of tests after which a mistake isn't run on, and of the search: the learner's has 8."""


@dataclass
class Answers:
    """How each test ends for one mistake, in the tests' order; those that it doesn't reach are left out."""

    of: dict[str, Answer] = field(default_factory=dict)
    whole: bool = True

    @property
    def first_failing(self) -> str | None:
        return next((test for test, answer in self.of.items() if not answer.passed), None)

    def agree_with(self, seen: Seen) -> bool:
        """Whether the test ends so for the mistake, too."""
        answer = self.of.get(seen.test)
        return seen.answer.passed if answer is None else agree(seen.answer, answer)


def answers(session: Session, kata: Kata, patch: Patch, text: str) -> Answers:
    """What the tests get from the reference that is patched to `text`; for a forked child."""
    swap_in(session.items[kata], session.module(kata), module_from_source(text, kata.import_name, kata.reference))
    session.judge.patience = A_TEST
    found, spent = Answers(), 0.0
    for item in sorted(session.reaching(kata, patch), key=learns):
        if learns(item) and found.first_failing:
            break  # the search leaves them out, too
        if spent > ENOUGH:
            found.whole = False
            break
        outcome = replay(item)
        spent += outcome.seconds
        if not outcome.skipped:
            found.of[item.nodeid] = answer_of(item, outcome.error, Path(item.path))
    return found


class KnownSearch(Search):
    """The learner's search for the mistake that explains a failed test, with the answers of all mistakes known.

    table  the answers by the text of the patched reference
    patch  the mistake that is the learner's, and its text
    """

    def __init__(self, table: dict[str, Answers], patch: Patch, text: str, *args: Any) -> None:
        self.table, self.own, self.patch, self.text = table, table[text], patch, text
        super().__init__(*args)

    def mistakes(self) -> list[str]:
        """As the learner's search.  Where no other mistake has the answer of the failed test, only its own can explain
        the others, and it does: nothing more needs to be run, which for most mistakes is all of the kata's tests."""
        if self.first is None:
            return []
        agreeing = {text for text, known in self.table.items() if known.agree_with(self.first)}
        sure = self.own.whole and not any(answer.late for answer in self.own.of.values())
        return [self.patch.says] if sure and agreeing == {self.text} else super().mistakes()

    def _see(self, items: list[pytest.Item]) -> list[Seen]:
        given = (self.module, self.solution, self.budget, self.may_differ, self.judge)
        alone = {test for test, answer in self.own.of.items() if answer.passed}
        return learners(items, *given, lambda item: item.nodeid in alone) or []

    @property
    def seen(self) -> list[Seen]:
        if self._seen is None:  # what the tests import has been loaded: all ran on the reference
            self._seen = self._see(self.items)
        return self._seen

    def fits_first(self, source: str, seen: Seen) -> bool:
        return source in self.table and self.table[source].agree_with(seen)

    def explains_all(self, source: str, may_differ: Callable[[Any], bool] = lambda test: True) -> bool:
        known, evidence = self.table.get(source), self.evidence
        if known is None or not known.whole or not self.can_be_explained:
            return False
        return all(known.agree_with(seen) for seen in [*evidence.failing, *evidence.passing])


def named(session: Session, kata: Kata, patch: Patch, text: str, table: dict[str, Answers]) -> tuple[str, list[str]]:
    """The first test that fails for the mistake, and the sentences that it tells the learner; ("", []) if none fails.

    For a forked child.
    """
    test = table[text].first_failing
    if test is None:
        return "", []
    item = next(item for item in session.items[kata] if item.nodeid == test)
    if not isinstance(item, pytest.Function) or table[text].of[test].kind == "forbidden":
        return item.name, []  # what is forbidden is found in the text of the file, whatever it answers
    module = module_from_source(text, kata.import_name, kata.reference)
    swap_in(session.items[kata], session.module(kata), module)
    sys.modules[kata.import_name] = module

    def may_differ(test: pytest.Item, other: Patch | None) -> bool:
        return session.reach[kata].runs(test.nodeid, session.units[other or patch])

    search = KnownSearch(table, patch, text, item, kata, module, kata.reference, Budget(ENOUGH), may_differ)
    return item.name, search.mistakes()
