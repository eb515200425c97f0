"""An open evening: what its branch tells of it, and what this machine keeps beside."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from dojo.commands import say
from dojo.curriculum.katas import Dojo, DojoError, Kata
from dojo.learner.git import Git
from dojo.learner.workspace import write
from dojo.pair import git as pair_git
from dojo.pair import strip as pair_strip
from dojo.pair.strip import Event, Person, Session

NO_SESSION = "no evening is open here: dojo pair --names Ada,Grace begins one, dojo pair --join BRANCH joins one"


def tell(text: str, style: str = "") -> None:
    """Print lines of prose, wrapped; one that begins with a blank is a command or a path, and stays in one piece."""
    for line in text.split("\n"):
        say(line, style, wrap=not line.startswith(" "))


class Evening:
    """An open session on this machine: what its branch tells, and what only this machine knows.

    That is, in .dojo/pair.json: the branch, when this turn began here, how long nobody
    has been here since the last step, and since when nobody is here now.
    """

    def __init__(self, dojo: Dojo, git: Git, branch: str) -> None:
        self.dojo = dojo
        self.git = git
        self.branch = branch
        self.turn = pair_strip.clock()
        self.away = 0.0
        self.left: float | None = None
        self.session: Session
        self.reload()

    @property
    def kata(self) -> Kata:
        return self.dojo.kata(self.session.kata)

    @property
    def path(self) -> str:
        return pair_git.path_of(self.kata)

    @property
    def remaining(self) -> float:
        """Seconds of this turn that are left; below zero when it is over."""
        return self.turn + 60 * self.session.minutes - pair_strip.clock()

    def reload(self) -> None:
        session = pair_strip.read_session(self.git, f"refs/heads/{self.branch}", self.branch)
        if session is None or session.done:
            raise DojoError(f"{self.branch} has no open session. {NO_SESSION}")
        self.session = session

    # --- this machine's part ------------------------------------------------------------------------

    def save(self) -> None:
        told = {"branch": self.branch, "turn": self.turn, "away": self.away, "left": self.left}
        write(state_file(self.dojo), json.dumps(told).encode())

    def resume(self) -> None:
        """Come back: the time since `leave` counts neither for the turn nor for the evening."""
        if self.left is not None:
            gone = max(0.0, pair_strip.clock() - self.left)
            self.turn, self.away, self.left = self.turn + gone, self.away + gone, None
            self.save()

    def leave(self) -> None:
        self.left = pair_strip.clock()
        self.save()

    # --- steps --------------------------------------------------------------------------------------

    def step(self, subject: str, event: Event, changes: dict[str, str], driver: Person | None = None) -> str:
        """Commit the kata's file on the branch; the commit's hash."""
        check_on(self.git, self.branch)
        author = driver or self.session.driver
        others = [person for person in self.session.people if person != author]
        text = pair_git.message(subject, event, others)
        old = self.session.tip
        with pair_git.uninterrupted():
            new = pair_git.make_commit(self.git, old, changes, author, event.at, text)
            pair_git.move(self.git, self.branch, new, old, list(changes), subject)
            self.away = 0.0
            self.save()
            self.reload()
        return new

    def event(self, kind: str, driver: Person | None = None) -> Event:
        return Event(kind, pair_strip.clock(), (driver or self.session.driver).name, away=self.away)

    def unsaved(self) -> dict[str, str]:
        """The kata's file where it isn't as the branch's last commit has it: path → blob."""
        blob = pair_git.snapshot(self.git, self.path)
        return {} if blob == self.git.maybe("rev-parse", f"{self.session.tip}:{self.path}") else {self.path: blob}


def state_file(dojo: Dojo) -> Path:
    return dojo.state / "pair.json"


def check_on(git: Git, branch: str) -> None:
    pair_git.check_calm(git)
    at = pair_git.current_branch(git)
    if at != branch:
        raise DojoError(f"the evening is on {branch}, and you are on {at}: git switch {branch}, and try again")


def the_evening(dojo: Dojo) -> Evening | None:
    """The session that is open on this machine, or None."""
    git = pair_git.open_git(dojo)
    told: dict[str, object] = {}
    with suppress(OSError, ValueError):
        told = json.loads(state_file(dojo).read_text(encoding="utf-8"))
    at = git.maybe("symbolic-ref", "--quiet", "--short", "HEAD") or ""
    open_here = pair_git.open_sessions(git, "refs/heads/")
    branch = told.get("branch") if isinstance(told, dict) else None
    # The branch one is on comes first: it is what the hands are at.
    chosen = at if at in open_here else branch
    if not isinstance(chosen, str) or chosen not in open_here:
        return None
    evening = Evening(dojo, git, chosen)
    if chosen == branch:
        with suppress(TypeError, ValueError):
            evening.turn = float(str(told.get("turn")))
            evening.away = float(str(told.get("away", 0)))
            left = told.get("left")
            evening.left = None if left is None else float(str(left))
    return evening


def need_evening(dojo: Dojo) -> Evening:
    evening = the_evening(dojo)
    if evening is None:
        raise DojoError(NO_SESSION)
    check_on(evening.git, evening.branch)
    evening.resume()
    return evening


# --- the beginning ------------------------------------------------------------------------------------


def begin(dojo: Dojo, names: str, minutes: float, kata: str | None, predict: bool, revert: bool) -> Evening:
    """A new session, on a branch of its own from HEAD."""
    git = pair_git.open_git(dojo)
    open_one = the_evening(dojo)
    if open_one is not None:
        raise DojoError(f"an evening is open on {open_one.branch}: dojo pair goes on with it, dojo pair done ends it")
    persons = pair_strip.people(names)
    chosen = dojo.kata(kata) if kata else _at_work(dojo)
    pair_git.check_calm(git)
    home = pair_git.current_branch(git)
    path = pair_git.path_of(chosen)
    pair_git.refuse_modified(git, but=path)
    now = pair_strip.clock()
    branch = pair_git.free_branch(git, f"{pair_git.PREFIX}{datetime.fromtimestamp(now):%Y-%m-%d}-{chosen.name}")
    base = git.commit("HEAD") or ""
    about = [("Session", chosen.name), ("Branch", branch), ("Names", ", ".join(map(str, persons)))]
    about += [("Minutes", f"{minutes:g}"), ("Home", home), ("Predict", _yes(predict)), ("Revert", _yes(revert))]
    event = Event("start", now, persons[0].name)
    text = pair_git.message(f"{chosen.name}: a dojo evening begins", event, persons[1:], "", *about)
    blob = pair_git.snapshot(git, path)
    with pair_git.uninterrupted():
        first = pair_git.make_commit(git, base, {path: blob}, persons[0], now, text)
        git("update-ref", "-m", "dojo pair: begin", f"refs/heads/{branch}", first, "0" * len(first))
        # The folder is as the new branch has it: HEAD alone needs to move.
        git("symbolic-ref", "-m", "dojo pair: begin", "HEAD", f"refs/heads/{branch}")
        pair_git.settle(git, first, [path])
        evening = Evening(dojo, git, branch)
        evening.save()
    return evening


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _at_work(dojo: Dojo) -> Kata:
    from dojo.learner.progress import current, statuses
    from dojo.learner.record import Record

    with Record(dojo.state / "record.sqlite") as record:
        one = current(statuses(dojo, record))
    if one is None:
        raise DojoError("every kata is green: name the one to practise, as in --kata rope")
    return one.kata


def keep(evening: Evening) -> str:
    """A ref of its own for the branch's last step, so that every step stays."""
    ref = pair_git.free_ref(evening.git, f"refs/dojo/pair/{evening.branch}")
    evening.git("update-ref", ref, evening.session.tip, "0" * len(evening.session.tip))
    return ref


def close(dojo: Dojo) -> None:
    state_file(dojo).unlink(missing_ok=True)
