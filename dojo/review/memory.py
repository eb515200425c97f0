"""When a solved kata is about to be forgotten: the schedule, computed from the log alone.

A kata is learned in sessions.  The first is the work on the learner's own file until
it is solved for the first time.  Each later one is a review: the work on a fresh stub
in `.dojo/review` until that is solved or given up.  FSRS (the package fsrs) gets one
rating for each session and answers with the day on which nine in ten would still
know the kata.  Nothing is stored: the same log gives the same days, and so fsrs's
random shifting of days is off.

The rating of a session, the first that fits:

    again   given up, the reference looked at, or the last hint seen
    hard    more than 3 tries, more than 1 hint, or longer than the kata is said to take
    easy    green at the first try, without a hint
    good    whatever else

A try is a file that was judged and was red or amber, or the green one in the end; a
stub that isn't written yet is none, nor is the same file judged once more.  Minutes
are the sum of the gaps between runs that are shorter than 10 minutes: longer ones may
have been lunch.

Besides the runs that pytest writes down, the log has marks of three kinds for this:
attempts of the review's tree whose only "test" is MARK, and its "colour" the mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, pairwise

from fsrs import Card, Rating, Scheduler

from dojo.learner.record import Attempt
from dojo.learner.reviews import BEGUN, GIVEN_UP, LOOKED, MARK, REVIEW

SHORT_GAP = timedelta(minutes=10)
TRIES_OF_GOOD, HINTS_OF_GOOD = 3, 1

# A kata takes half an hour, so none comes back within the day as a flashcard would.
SCHEDULER = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)


@dataclass(frozen=True)
class Expected:
    """What surrounds a kata, as far as a rating needs it."""

    hints: int = 3  # how many there are
    minutes: float = 30.0  # that it is said to take


@dataclass(frozen=True)
class Session:
    """The work on a kata until it was solved or given up."""

    at: datetime  # when it ended, UTC
    rating: Rating
    tries: int
    minutes: float | None  # None where no two runs lie close together
    hints: int  # tiers seen while it lasted
    solved: bool


@dataclass(frozen=True)
class Memory:
    """What is left of a kata by now."""

    kata: str
    sessions: tuple[Session, ...]
    card: Card
    remembered: float  # FSRS's retrievability: the share of such katas that would be solved now
    is_due: bool

    @property
    def due(self) -> date:
        """The day, here, on which it should be reviewed."""
        return local_day(self.card.due)

    @property
    def last_solved(self) -> datetime:
        """When it was last solved; where every session was given up, when the last ended."""
        return next((s.at for s in reversed(self.sessions) if s.solved), self.sessions[-1].at)


def cards_of(attempts: Iterable[Attempt], expected: Mapping[str, Expected], now: datetime) -> dict[str, Memory]:
    """What is left at `now` (UTC) of each kata that was solved, by the log `attempts`, the oldest first.

    The attempts' trees are YOURS and REVIEW.  The most forgotten kata comes first.
    """
    by_kata: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_kata.setdefault(attempt.kata, []).append(attempt)
    found = []
    for name, those in by_kata.items():
        sessions, _ = sessions_of(those, expected.get(name, Expected()))
        if sessions:
            found.append(_memory(name, sessions, now))
    return {one.kata: one for one in sorted(found, key=lambda one: (one.remembered, one.card.due, one.kata))}


def _memory(name: str, sessions: list[Session], now: datetime) -> Memory:
    # Without an id of our own, each card would wait a millisecond for one from the clock.
    card = Card(card_id=0, due=sessions[0].at)
    for session in sessions:
        card, _ = SCHEDULER.review_card(card, session.rating, session.at)
    remembered = SCHEDULER.get_card_retrievability(card, now)
    return Memory(name, tuple(sessions), card, remembered, local_day(card.due) <= local_day(now))


def sessions_of(attempts: Iterable[Attempt], expected: Expected) -> tuple[list[Session], list[Attempt]]:
    """The finished sessions of one kata, and the attempts of the review that is open (none: []).

    What is run after the end of a review, to polish it, belongs to no session.
    """
    done: list[Session] = []
    first: list[Attempt] | None = []
    review: list[Attempt] | None = None
    reviewed = False  # a review without its mark can only be the first that the log knows
    for attempt in attempts:
        if time_of(attempt) is None:
            continue
        mark = attempt.colours.get(MARK)
        if mark == LOOKED:
            for session in (review, first):
                if session is not None:
                    session.append(attempt)
                    break
        elif attempt.tree == REVIEW:
            if review is None and (mark == BEGUN or not reviewed):
                review = []
            if review is None:
                continue
            review.append(attempt)
            if attempt.solved or mark == GIVEN_UP:
                done.append(_session(review, expected))
                review, reviewed = None, True
        elif first is not None:
            first.append(attempt)
            if attempt.solved:
                done.append(_session(first, expected, seen_before=0))
                first = None
    return done, review or []


def _session(attempts: Sequence[Attempt], expected: Expected, seen_before: int | None = None) -> Session:
    end = attempts[-1]
    wrong = [attempt.file_hash for attempt in attempts if attempt.colour in ("red", "amber")]
    tries = sum(1 for _ in groupby(wrong)) + end.solved
    hints = end.hints - (attempts[0].hints if seen_before is None else seen_before)
    minutes = _minutes([time for attempt in attempts if (time := time_of(attempt))])
    marks = {attempt.colours.get(MARK) for attempt in attempts}
    told = hints > 0 and end.hints >= expected.hints
    if told or not marks.isdisjoint((GIVEN_UP, LOOKED)):
        rating = Rating.Again
    elif tries > TRIES_OF_GOOD or hints > HINTS_OF_GOOD or (minutes or 0) > expected.minutes:
        rating = Rating.Hard
    else:
        rating = Rating.Easy if tries == 1 and not hints else Rating.Good
    at = time_of(end)
    assert at is not None, "attempts without a time are left out before"
    return Session(at, rating, tries, minutes, hints, end.solved)


def _minutes(times: list[datetime]) -> float | None:
    gaps = [after - before for before, after in pairwise(times)]
    short = [gap for gap in gaps if timedelta() <= gap < SHORT_GAP]
    return sum(short, timedelta()).total_seconds() / 60 if short else None


def time_of(attempt: Attempt) -> datetime | None:
    """When it was, UTC; None where the log's text is no time."""
    try:
        at = datetime.fromisoformat(attempt.at)
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def local_day(at: datetime) -> date:
    """The day on the learner's calendar."""
    return at.astimezone().date()
