"""What a dojo evening was: its runs and turns, read from a branch's commits, and where the time went.

Every step of an evening is a commit, and what it was stands in the commit's trailers:

    Dojo-Event: run                     start, run, turn, kept (code that wasn't judged), done
    Dojo-Time: 2026-11-21T18:03:11+00:00
    Dojo-Driver: Ada                    who drives from here on
    Dojo-Colour: red
    Dojo-Tests: 3/12

So any clone that has the branch can show it.  The one commit that is left in the end
has a line `Dojo-Light:` for each of them.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dojo.curriculum.katas import DojoError
from dojo.learner.git import Git

SIGN = '<meta name="generator" content="dojo lights">'
"""What a page of lights carries, so that no other file of that name is overwritten."""

LETTERS = {"todo": "T", "amber": "A", "red": "R", "green": "G"}
TRAILER = re.compile(r"^Dojo-([A-Z][a-z]+): (.*)$", re.MULTILINE)
PERSON = re.compile(r"([^<>,]+?)\s*(?:<([^<>,\s]+)>)?")


def clock() -> float:
    """Seconds since 1970; a test puts its own in this place."""
    return time.time()


@dataclass(frozen=True)
class Person:
    """One of those who practise."""

    name: str
    email: str

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


def people(text: str) -> list[Person]:
    """Those that "Ada <ada@example.org>, Grace" names.  Raises DojoError for fewer than two."""
    found = []
    for part in text.split(","):
        match = PERSON.fullmatch(part.strip())
        if match is None or any(ord(c) < 32 for c in part):
            raise DojoError(
                f"'{part.strip()}' is no name; expected --names Ada,Grace or --names 'Ada <ada@host>,Grace'"
            )
        slug = re.sub(r"[^a-z0-9]+", "-", match[1].lower()).strip("-")
        found.append(Person(match[1], match[2] or f"{slug or 'learner'}@localhost"))
    if len({person.name for person in found}) < max(2, len(found)):
        raise DojoError(f"--names {text}: expected two different names, or more, with commas between them")
    return found


@dataclass(frozen=True)
class Event:
    """One step of an evening."""

    kind: str  # start, run, turn, kept, done
    at: float  # seconds since 1970
    driver: str  # who drives from here on
    colour: str = ""  # of a run
    greens: int = 0
    tests: int = 0
    seconds: float = 0.0  # that the run took
    predicted: str = ""  # "red" or "green", where that was asked
    away: float = 0.0  # seconds since the step before in which nobody practised
    reverted: str = ""  # the ref that keeps the code that --revert took back
    commit: str = ""

    @property
    def right(self) -> bool:
        """Whether the colour was foreseen: whatever isn't green counts as red."""
        return (self.predicted == "green") == (self.colour == "green")

    def trailers(self) -> list[tuple[str, str]]:
        said = [("Event", self.kind), ("Time", stamp(self.at)), ("Driver", self.driver)]
        return said + [(name.capitalize(), value) for name, value in self._details()]

    def _details(self) -> list[tuple[str, str]]:
        pairs = [("colour", self.colour), ("tests", f"{self.greens}/{self.tests}" if self.colour else "")]
        pairs += [("seconds", f"{self.seconds:.1f}" if self.colour else ""), ("predicted", self.predicted)]
        pairs += [("away", f"{self.away:.0f}" if self.away >= 1 else ""), ("reverted", self.reverted)]
        return [(name, value) for name, value in pairs if value]

    def line(self) -> str:
        """All of it in one line, as `Dojo-Light:` keeps it."""
        details = [f"{name}={value}" for name, value in self._details()]
        return " ".join([stamp(self.at), self.kind, *details, f"by={self.driver}"])


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _event(kind: str, at: str, driver: str, details: dict[str, str], commit: str = "") -> Event | None:
    """The event of these trailers, or None where a hand has changed them beyond reading."""
    greens, _, tests = details.get("tests", "0/0").partition("/")
    colour = details.get("colour", "")
    try:
        return Event(
            kind,
            datetime.fromisoformat(at).timestamp(),
            driver,
            colour if colour in LETTERS else ("amber" if colour else ""),
            int(greens),
            int(tests),
            float(details.get("seconds", 0)),
            details.get("predicted", ""),
            float(details.get("away", 0)),
            details.get("reverted", ""),
            commit,
        )
    except ValueError:
        return None


# --- a session ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """An evening, as the commits of its branch tell it."""

    name: str  # of the branch
    kata: str
    people: list[Person]
    minutes: float
    predict: bool
    revert: bool
    home: str  # the branch that it began from
    start: str  # its first commit
    tip: str  # its last
    events: list[Event]
    done: str = ""  # the tip before it was squashed

    @property
    def runs(self) -> list[Event]:
        return [event for event in self.events if event.kind == "run"]

    @property
    def driver(self) -> Person:
        names = [event.driver for event in self.events]
        return next((p for p in self.people if names and p.name == names[-1]), self.people[0])

    @property
    def navigator(self) -> Person:
        """Who drives next."""
        return self.people[(self.people.index(self.driver) + 1) % len(self.people)]

    @property
    def turns(self) -> int:
        return 1 + sum(event.kind == "turn" for event in self.events)


def trailers(message: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in TRAILER.findall(message):
        found.setdefault(name, []).append(value.strip())
    return found


def read_session(git: Git, revision: str, name: str = "") -> Session | None:
    """The last session in the history of `revision`, or None."""
    tip = git.commit(revision)
    if tip is None:
        return None
    start = git("log", "-1", "--format=%H", "--grep=^Dojo-Session: ", tip)
    if not start:
        return None
    about = trailers(git("log", "-1", "--format=%B", start))
    first = {key: values[0] for key, values in about.items()}
    try:
        persons = people(first.get("Names", ""))
        minutes = float(first.get("Minutes", 7))
    except (DojoError, ValueError):
        return None
    if done := first.get("Done", ""):
        events = [_light(line) for line in about.get("Light", [])]
        tip = start  # what came afterwards is no part of it
    else:
        log = git("log", "--reverse", "--topo-order", "--format=%x01%H%n%B", f"{start}^..{tip}")
        events = [_step(*part.split("\n", 1)) for part in log.split("\x01")[1:]]
    known = sorted((event for event in events if event is not None), key=lambda event: event.at)
    return Session(
        name or first.get("Branch", revision),
        first["Session"],
        persons,
        minutes,
        first.get("Predict") == "yes",
        first.get("Revert") == "yes",
        first.get("Home", ""),
        start,
        tip,
        known,
        done,
    )


def _step(commit: str, message: str) -> Event | None:
    first = {key.lower(): values[0] for key, values in trailers(message).items()}
    if "event" not in first:
        return None  # a commit by hand
    return _event(first["event"], first.get("time", ""), first.get("driver", ""), first, commit)


def _light(line: str) -> Event | None:
    said, _, driver = line.partition(" by=")
    words = said.split()
    if len(words) < 2:
        return None
    at, kind, *details = words
    return _event(kind, at, driver, dict(pair.split("=", 1) for pair in details if "=" in pair))


# --- where the time went ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """A stretch of an evening in which neither the colour nor the driver changed."""

    begin: float  # seconds of practice since the start
    end: float
    colour: str
    driver: str
    run: Event | None  # the run that it begins with

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def spans(session: Session, until: float | None = None) -> list[Span]:
    """The evening from its start to its last step, or to `until`, without the time away.

    From a run on, its colour is the evening's until the next; before the first it is todo.
    """
    events = session.events
    if until is not None and events:
        events = [*events, replace(events[-1], kind="now", at=until, away=0.0)]
    found: list[Span] = []
    colour, driver, run, began, away = "todo", session.people[0].name, None, 0.0, 0.0
    for i, event in enumerate(events):
        away += event.away
        # The clocks of two machines may disagree: time never runs backwards here.
        at = max(began, event.at - events[0].at - away)
        if i:
            found.append(Span(began, at, colour, driver, run))
        began, run = at, event if event.kind == "run" else None
        colour, driver = event.colour or colour, event.driver or driver
    if run is not None:
        found.append(Span(began, began, colour, driver, run))  # the last run, and nothing after it
    return [span for span in found if span.seconds > 0 or span.run]


@dataclass(frozen=True)
class Summary:
    """Where an evening was spent: seconds."""

    total: float
    drivers: dict[str, float]
    colours: dict[str, float]
    longest: float  # the longest stretch that was red or amber
    predicted: int
    right: int


def summarise(session: Session, until: float | None = None) -> Summary:
    parts = spans(session, until)
    drivers = {person.name: 0.0 for person in session.people}
    colours = dict.fromkeys(("red", "amber", "green", "todo"), 0.0)
    longest = stretch = 0.0
    for span in parts:
        drivers[span.driver] = drivers.get(span.driver, 0.0) + span.seconds
        colours[span.colour] += span.seconds
        stretch = stretch + span.seconds if span.colour in ("red", "amber") else 0.0
        longest = max(longest, stretch)
    asked = [run for run in session.runs if run.predicted]
    total = sum(span.seconds for span in parts)
    return Summary(total, drivers, colours, longest, len(asked), sum(run.right for run in asked))


def widths(parts: list[Span], total: int, least: int = 1) -> list[int]:
    """`total` cells shared among the spans by their time; each that begins with a run has `least` or more."""
    floor = [least if span.run else 0 for span in parts]
    free = max(0, total - sum(floor))
    # Where no time has passed, the same for each.
    shares = [span.seconds for span in parts] if any(span.seconds for span in parts) else [1.0 for _ in parts]
    given, exact = [], 0.0
    for share, own in zip(shares, floor, strict=True):
        before, exact = round(exact), exact + free * share / sum(shares)
        given.append(own + round(exact) - before)
    return given


def minutes(seconds: float) -> str:
    """As "6:05", or "1:06:05" from an hour on."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def of_day(at: float) -> str:
    return f"{datetime.fromtimestamp(at):%H:%M}"
