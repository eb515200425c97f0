"""Small changes of the reference as hypotheses: does one of them give the learner's answers on all tests?

`dojo check --hypotheses` has written down, for each change that has words, the tests that
fail for it.  A learner's own failing tests rule most out before anything runs; each of
the rest is put in the reference's place and must explain every test, in a child of its
own.  The likeliest kind of change counts; where two of one kind say different things,
neither is told.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dojo.curriculum.katas import Kata

if TYPE_CHECKING:
    from dojo.diagnosis.fitting import Search

SECONDS = 2.0
"""Of the processor's time, for all of them."""

Known = dict[str, Any]
"""What is written down of a kata.

of         a hash of what it depended on; `reference` of the reference's text alone
tests      their names, shortened
tried      sets of tests, as numbers
causes     rank, words, start, end, new text, which of the sets it was tried on, the tests that failed
"""


@dataclass(frozen=True)
class Hypothesis:
    """A change of the reference that may be the learner's: its words, and the tests that fail for it."""

    rank: int
    words: str
    start: int
    end: int
    new: str
    tried: frozenset[str]
    fails: frozenset[str]

    def apply(self, source: str) -> str:
        return source[: self.start] + self.new + source[self.end :]


def file_of(kata: Kata) -> Path:
    return kata.reference.with_name("hypotheses.json")


def short(test: str) -> str:
    """A test's name in eight letters; the file's own name is none of it, as katas are renumbered."""
    return f"{zlib.crc32(test.split('::', 1)[-1].encode()):08x}"


def bits(places: Iterable[int]) -> str:
    """A set of small numbers as one hexadecimal number."""
    return f"{sum(1 << place for place in places):x}"


def reference_hash(kata: Kata) -> str:
    return hashlib.sha256(kata.reference.read_bytes()).hexdigest()[:16]


def read(kata: Kata) -> Known:
    """What is written down of a kata; {} where nothing is, or nothing that can be read."""
    file = file_of(kata)
    try:
        stat = file.stat()
    except OSError:
        return {}
    known: Known = _everyones(file, stat.st_mtime_ns).get(kata.stem, {})
    return known


@lru_cache(maxsize=4)
def _everyones(file: Path, changed: int) -> dict[str, Known]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def hypotheses(kata: Kata) -> list[Hypothesis]:
    """The kata's hypotheses, the likeliest first; none where its reference has changed since."""
    known = read(kata)
    if known.get("reference") != reference_hash(kata):
        return []
    tests = known["tests"].split()

    def named(number: str) -> frozenset[str]:
        places = int(number, 16)
        return frozenset(test for i, test in enumerate(tests) if places >> i & 1)

    tried = [named(number) for number in known["tried"]]
    return [
        Hypothesis(rank, words, start, end, new, tried[which], named(fails))
        for rank, words, start, end, new, which, fails in known["causes"]
    ]


def left_over(all_of_them: list[Hypothesis], failing: set[str], passing: set[str]) -> list[Hypothesis]:
    """Those that the learner's own results don't rule out; of the tests that fail, those that must be explained."""
    return [
        one
        for one in all_of_them
        if one.fails & failing and not one.fails & passing and not (failing & one.tried) - one.fails
    ]


def fitting(search: Search) -> str | None:
    """The words of the change that explains every test as the learner's code ends it; None where there isn't one."""
    candidates = hypotheses(search.kata)
    if not candidates or search.first is None:
        return None
    evidence = search.evidence
    candidates = left_over(
        candidates,
        {short(seen.test) for seen in evidence.failing},
        {short(seen.test) for seen in evidence.passing},
    )
    search.renew(SECONDS)
    said: set[str] = set()
    rank = None
    for one in candidates:
        if rank is not None and one.rank > rank:
            break
        words = one.words.replace("{}", f"{search.first.function or 'It'}()")
        if words in said:
            continue
        if search.budget.left < 0:
            return None  # another one of this kind might fit as well
        if search.explains_all(one.apply(search.source)):
            said.add(words)
            rank = one.rank
    return said.pop() if len(said) == 1 else None
