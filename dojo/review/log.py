"""How well each solved kata is remembered, by the log."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from dojo.curriculum.katas import Dojo, Kata
from dojo.learner.record import Record
from dojo.learner.reviews import log_of
from dojo.review.memory import Expected, Memory, cards_of


def clock() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


def memories(dojo: Dojo, record: Record) -> dict[str, Memory]:
    """What is left of each kata that was solved, the most forgotten first."""
    log = log_of(dojo, record)
    expected = {name: expected_of(dojo.kata(name)) for name in {attempt.kata for attempt in log}}
    return cards_of(log, expected, clock())


def expected_of(kata: Kata) -> Expected:
    """What the kata's TOML says, as far as a rating needs it."""
    tiers = Counter(hint.step for hint in kata.hints)  # hints are counted within a step, where they are by steps
    return Expected(max(tiers.values(), default=0), float(kata.minutes))
