"""Which of a kata's mistakes gives the learner's answers?

The failed test is run against the reference with each mistake patched in.  Those
that fail at the same check with the same answer are run against every other
test of the kata: a mistake fits where it explains all of them (see `evidence`).
Each try has a child of its own, so that what one changes in place spoils no other.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from dojo.checks.compare import MISSING, as_numpy, is_array, is_scalar
from dojo.checks.replay import Child, replay
from dojo.curriculum.katas import DojoError, Kata
from dojo.curriculum.patches import Patch, mistakes
from dojo.curriculum.swap import module_from_source, swap_in
from dojo.diagnosis.answers import agree, answer_of, at_place, portable, same_values
from dojo.diagnosis.evidence import (
    RANKS_SECONDS,
    SECONDS,
    Budget,
    Evidence,
    MayDiffer,
    Seen,
    all_tests,
    budget_for,
    comparisons,
    evidence_for,
    explains,
    learners,
    learns,
    limit_tests,
    load_what_they_import,
)

if TYPE_CHECKING:
    from dojo.diagnosis.relations import Relation

CHEAP = 0.2
"""Seconds: a dearer test isn't tried with every mistake before a cheaper failing one was looked for."""


def judge_of(item: pytest.Item) -> Any:
    """The judge of the run that the item belongs to, or None."""
    hooks = item.config.pluginmanager.get_plugin("dojo-hooks")
    return getattr(hooks, "judge", None)


class Search:
    """The search for what explains one failed test.  For a forked child, in which each try is a child again."""

    def __init__(
        self,
        item: pytest.Function,
        kata: Kata,
        module: ModuleType,
        solution: Path,
        budget: Budget,
        may_differ: MayDiffer = lambda test, patch: True,
    ) -> None:
        self.item, self.kata, self.module, self.solution = item, kata, module, solution
        self.budget, self.may_differ = budget, may_differ
        self.judge = judge_of(item)
        self.source = kata.reference.read_text(encoding="utf-8")
        self._items: list[pytest.Item] | None = None
        self._seen: list[Seen] | None = None
        self.first = self._first()

    def _first(self) -> Seen | None:
        """How the failed test ends once more for the learner; None where it doesn't fail again."""
        found = self._see([self.item])
        return found[0] if found and not found[0].answer.passed and not found[0].todo else None

    def _see(self, items: list[pytest.Item]) -> list[Seen]:
        """How the tests end for the learner; empty where that can't be known."""
        return learners(items, self.module, self.solution, self.budget, self.may_differ, self.judge) or []

    @property
    def items(self) -> list[pytest.Item]:
        if self._items is None:
            tests = all_tests(self.item, self.judge)
            self._items = [test for test in tests if not learns(test) or test.nodeid == self.item.nodeid]
        return self._items

    @property
    def seen(self) -> list[Seen]:
        """How every test of the kata ends for the learner."""
        if self._seen is None:
            with self.budget.paused():
                load_what_they_import(self.items)
            self._seen = self._see(self.items)
        return self._seen

    @property
    def evidence(self) -> Evidence:
        function = self.first.function if self.first is not None else None
        return evidence_for(self.seen, function, self.items, bool(self.seen) and self.budget.left > 0)

    def patched(self, source: str) -> ModuleType | None:
        """The reference's module with another text; None where it can't be loaded."""
        try:
            return module_from_source(source, self.module.__name__, self.kata.reference)
        except Exception:
            return None

    def reference_expects(self) -> list[tuple[int, Any, Any]] | None:
        """The comparisons that the failed test makes with the right answer; None where that fails as well."""

        def job() -> list[tuple[int, Any, Any]] | None:
            right = self.patched(self.source)
            if right is None:
                return None
            swap_in([self.item], self.module, right)
            with comparisons(file=Path(self.item.path)) as compared:
                failed = replay(self.item).error is not None
            if failed:
                return None
            wanted = self.first.answer.line if self.first is not None else None
            return [(line, *_pair(a, e)) for line, a, e in compared.made if line == wanted]

        found: list[tuple[int, Any, Any]] | None = Child(job, self.budget.clock_left, nested=True).result()
        return found

    def renew(self, seconds: float) -> None:
        """Give what comes next a time of its own."""
        self.budget = Budget(seconds * (RANKS_SECONDS / SECONDS if self.budget.by_clock else 1), self.budget.by_clock)

    def expected_is_right(self, expects: list[tuple[int, Any, Any]]) -> bool:
        """Whether the expected side of the failed comparison is what the reference's run has there."""
        if self.first is None or self.first.compared is None or self.first.compared >= len(expects):
            return False
        expected = at_place(expects[self.first.compared][2], self.first.answer.where)
        return same_values(self.first.answer.expected, expected, MISSING)

    def _relations(self, seen: Seen) -> list[Relation]:
        """How the answer of one test relates to the right one."""
        from dojo.diagnosis.relations import relations

        answer = seen.answer
        if answer.kind not in ("values", "equal", "AssertionError") or not _plain(answer.value, answer.expected):
            return []
        actual, expected = as_numpy(answer.value), as_numpy(answer.expected)
        if not _finite(actual) or not _finite(expected):
            return []
        return relations(actual, expected, *answer.tolerances, seen.sizes)

    def common_relations(self) -> list[Relation]:
        """How the answers of all failing tests of the function relate to the right ones."""
        if self.first is None or not (first := self._relations(self.first)):
            return []
        evidence = self.evidence
        if not evidence.whole or any(seen.answer.late for seen in evidence.failing):
            return []
        from dojo.diagnosis.relations import common

        others = [self._relations(seen) for seen in evidence.failing if seen.test != self.first.test]
        right = [
            (actual, expected, tolerances, seen.sizes)
            for seen in evidence.passing
            if seen.function == self.first.function
            for actual, expected, tolerances in seen.pairs
        ]
        return common(first, others, right)

    def relation_like(self, keys: list[Any]) -> str | None:
        """The sentence of a relation that is known to hold in all tests, with this test's numbers."""
        from dojo.diagnosis.relations import sentence

        if self.first is None or not keys:
            return None
        return sentence([relation for relation in self._relations(self.first) if relation.key in keys])

    def fits_first(self, source: str, seen: Seen) -> bool:
        """Whether the reference with that text ends one test as the learner's code does."""

        def job() -> bool:
            other = self.patched(source)
            if other is None:
                return False
            item = next(i for i in [self.item, *(self._items or [])] if i.nodeid == seen.test)
            swap_in([item], self.module, other)
            limit_tests(self.judge, self.budget)
            error = replay(item).error
            return error is not None and agree(seen.answer, answer_of(item, error, Path(item.path)))

        return bool(Child(job, self.budget.clock_left, nested=True).result())

    @property
    def can_be_explained(self) -> bool:
        """Whether all that a cause must explain is known, and time is left to look at it."""
        evidence = self.evidence
        late = any(seen.answer.late for seen in evidence.failing)
        return self.budget.left >= 0 and evidence.whole and not late

    def explains_all(self, source: str, may_differ: Any = lambda test: True) -> bool:
        """Whether the reference with that text ends every test that counts as the learner's code does."""
        if not self.can_be_explained:
            return False
        other = self.patched(source)
        return other is not None and explains(other, self.evidence, self.module, may_differ, self.judge, self.budget)

    def mistakes(self) -> list[str]:
        """The sentences of the mistakes that explain the failed test; one as a rule, none where nothing is sure."""
        if self.first is None:
            return []
        try:
            sources = [(patch, patch.apply(self.source)) for patch in mistakes(self.kata)]
        except DojoError:
            return []
        begin = self.first
        if begin.seconds > CHEAP and self.evidence.failing:
            begin = self.evidence.failing[0]
        found: list[tuple[Patch, str]] = []
        item = next(i for i in [self.item, *(self._items or [])] if i.nodeid == begin.test)
        for patch, text in sources:
            if self.budget.left < 0:
                return []
            if self.may_differ(item, patch) and self.fits_first(text, begin):
                found.append((patch, text))
        said = [
            patch.says
            for patch, text in found
            if self.explains_all(text, lambda test, patch=patch: self.may_differ(test, patch))
        ]
        return list(dict.fromkeys(said))[:2]


def _plain(actual: Any, expected: Any) -> bool:
    return all(is_array(value) or is_scalar(value) for value in (actual, expected))


def _finite(array: Any) -> bool:
    import numpy as np

    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def _pair(one: Any, other: Any) -> tuple[Any, Any]:
    return portable(one), portable(other)


__all__ = ["Search", "budget_for", "judge_of"]
