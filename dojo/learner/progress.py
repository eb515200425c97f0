"""Where the learner stands: the status of each kata, and which comes next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dojo.checks.verdict import COLOURS, Colour
from dojo.curriculum.katas import Dojo, DojoError, Kata, said
from dojo.learner.record import Attempt, Record, hash_file
from dojo.learner.steps import Step, prerequisites, step_at


@dataclass(frozen=True)
class Status:
    """What is known of one kata."""

    kata: Kata
    colour: Colour
    tries: int = 0
    hints: int = 0  # tiers seen
    last: Attempt | None = None
    greens: int = 0  # tests
    tests: int = 0  # that have been judged
    total: int = 0  # tests that there are, as far as is known
    colours: Mapping[str, str] = field(default_factory=dict)  # of each test of this file that was judged
    edited_since: bool = False  # the file isn't the one that was judged
    tests_changed: bool = False  # the tests aren't the ones that judged it
    problem: str = ""  # why the file can't be read

    @property
    def done(self) -> bool:
        """Green, by the tests as they are now."""
        return self.colour == "green" and not self.tests_changed

    @property
    def sure(self) -> bool:
        """Done, and the file is still the one that was judged."""
        return self.done and not self.edited_since

    @property
    def step(self) -> Step | None:
        """The step that the learner is at; None where all are done, or the kata has none."""
        return None if self.done or self.problem else step_at(self.kata, {} if self.edited_since else self.colours)

    @property
    def note(self) -> str:
        """What should be said besides the colour; mostly nothing."""
        if self.problem:
            return self.problem
        if self.tests_changed and self.colour == "green":
            return "the tests changed: run its tests again"
        if self.edited_since:
            return "edited since: run its tests again"
        return ""


def status(kata: Kata, record: Record) -> Status:
    """The status of the learner's own file, by the record and the files as they are.

    One that can't be read is amber, and says why: it is no reason to show none of the others.
    """
    try:
        return _status(kata, record)
    except OSError as error:
        return Status(kata, "amber", hints=record.hints_seen(kata.name), problem=said(error))


def _status(kata: Kata, record: Record) -> Status:
    last, colours, whole = _standing(kata, record)
    hints = record.hints_seen(kata.name)
    if last is None:
        return Status(kata, "todo", hints=hints)
    found = set(colours.values())
    colour: Colour = next((colour for colour in COLOURS if colour in found), "todo")
    if colour == "green" and not whole:
        colour = "todo"  # the tests that ran were green, but not all have
    edited = hash_file(kata.path) != last.file_hash
    if edited and _is_stub(kata):
        colour = "todo"  # begun again
    return Status(
        kata,
        colour,
        tries=record.count(kata.name),
        hints=hints,
        last=last,
        greens=sum(c == "green" for c in colours.values()),
        tests=(judged := sum(c in COLOURS for c in colours.values())),
        total=judged if whole else max(judged, record.size(kata.name, last.tests_hash)),
        colours=colours,
        edited_since=edited,
        tests_changed=hash_file(kata.test) != last.tests_hash,
    )


def _standing(kata: Kata, record: Record) -> tuple[Attempt | None, dict[str, str], bool]:
    """The last attempt, the colour of each test of that same file, and whether all of them ran.

    Runs of a part of the tests (-k, -x) add up as long as neither the file nor the
    tests change: what was shown before isn't forgotten because one test ran again.
    """
    last: Attempt | None = None
    colours: dict[str, str] = {}
    for attempt in record.newest_first(kata.name):
        last = last or attempt
        if (attempt.file_hash, attempt.tests_hash) != (last.file_hash, last.tests_hash):
            break
        if attempt.whole:
            known = {test: colours.get(test, colour) for test, colour in attempt.colours.items()}
            return last, {**known, **colours}, True
        colours = {**attempt.colours, **colours}
    return last, colours, False


def _is_stub(kata: Kata) -> bool:
    from dojo.curriculum.solutions import unwritten

    return not kata.path.exists() or unwritten(kata.path)


def statuses(dojo: Dojo, record: Record) -> list[Status]:
    """The status of every kata, in order."""
    return [status(kata, record) for kata in dojo.katas]


def next_kata(all_of_them: Iterable[Status]) -> Status | None:
    """The first kata that isn't done; an optional one only where no other is left; None at the end."""
    left = [one for one in all_of_them if not one.done]
    return next((one for one in left if not is_optional(one.kata)), left[0] if left else None)


def is_optional(kata: Kata) -> bool:
    return kata.optional


def current(all_of_them: list[Status]) -> Status | None:
    """The kata that the learner was last at: judged, and neither green nor untouched; else the next one."""
    begun = [one for one in all_of_them if one.last is not None and one.colour in ("red", "amber")]
    return max(begun, key=_when) if begun else next_kata(all_of_them)


def last_written(all_of_them: list[Status]) -> Status | None:
    """The kata that was judged last of those with something written; else the next one."""
    written = [one for one in all_of_them if one.last is not None and one.colour != "todo"]
    return max(written, key=_when) if written else next_kata(all_of_them)


def _when(one: Status) -> tuple[str, tuple[str, int, str]]:
    """When it was judged; of several in one run, the last in order."""
    return (one.last.at if one.last else "", one.kata.order)


def is_green(kata: Kata, record: Record) -> bool:
    """Whether the learner's file as it is now is known to pass the tests as they are now."""
    return status(kata, record).sure


def first_open(dojo: Dojo, katas: Iterable[Kata]) -> Status | None:
    """The first of `katas` that isn't done, by the record; where there is none, the first of all."""
    database = dojo.state / "record.sqlite"
    if not database.exists():
        return next((Status(kata, "todo") for kata in katas), None)
    try:
        with Record(database) as record:
            return next((one for one in (status(kata, record) for kata in katas) if not one.done), None)
    except DojoError:
        return None


def not_green(kata: Kata, all_of_them: Iterable[Status]) -> list[Kata]:
    """The katas that this one builds on and that aren't done yet, in order."""
    wanted = prerequisites(kata)
    return [one.kata for one in all_of_them if one.kata in wanted and not one.done]


def known_green(dojo: Dojo, kata: Kata) -> bool:
    """Whether the learner's file is known to be green as it is now; without a record nothing is."""
    database = dojo.state / "record.sqlite"
    if not database.exists():
        return False
    try:
        with Record(database) as record:
            return is_green(kata, record)
    except DojoError:
        return False
