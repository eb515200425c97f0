"""What the log and the folder of the dojo say of reviews: practising again what was solved before.

Besides the runs that pytest writes down, the log has marks of three kinds for this:
attempts of the review's tree whose only "test" is MARK, and its "colour" the mark.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dojo.curriculum.katas import Dojo, Kata
from dojo.learner.record import Attempt, Record, hash_file, now

YOURS = "yours"
REVIEW = "review"  # what stands here for the tree .dojo/review, wherever that is

MARK = "dojo review"
BEGUN, GIVEN_UP, LOOKED = "begun", "given up", "looked at the reference"


def under_review(kata: Kata) -> Path | None:
    """The file of the kata's unfinished review, or None; by its name, as updates renumber katas."""
    from dojo.curriculum.solutions import Solutions

    return Solutions(kata.dojo, kata.dojo.review).in_tree(kata)


def log_of(dojo: Dojo, record: Record) -> list[Attempt]:
    """The attempts that count, the oldest first: the learner's own, and those of reviews, whose tree is REVIEW.

    A review's tree is known by its end, as the dojo may have been moved since.
    """
    names = {kata.name for kata in dojo.katas}
    here = str(dojo.review.resolve())
    found = []
    for attempt in record.attempts(tree=None):
        if attempt.kata not in names:
            continue
        if attempt.tree == YOURS:
            found.append(attempt)
        elif attempt.tree == here or Path(attempt.tree).parts[-2:] == dojo.review.parts[-2:]:
            found.append(replace(attempt, tree=REVIEW))
    return found


def note_look(kata: Kata, record: Record) -> None:
    """Note that the learner looks at the reference: what is solved after that isn't remembered.

    Raises RecordError where that isn't possible.
    """
    put_mark(kata, record, LOOKED)


def put_mark(kata: Kata, record: Record, mark: str) -> None:
    """Add BEGUN, GIVEN_UP or LOOKED to the log.  Raises RecordError where that isn't possible."""
    hashes = hash_file(under_review(kata) or kata.path), hash_file(kata.test)
    tree = str(kata.dojo.review.resolve())
    record.add(Attempt(kata.name, now(), tree, {MARK: mark}, 0.0, *hashes, record.hints_seen(kata.name), False))
