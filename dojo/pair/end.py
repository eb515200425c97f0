"""The end of an evening: one commit of all its steps, which stay in a ref."""

from __future__ import annotations

import sys
from dataclasses import replace

from dojo.learner.git import GitError
from dojo.pair import git as pair_git
from dojo.pair import strip as pair_strip
from dojo.pair.evening import Evening, check_on, close, keep, tell
from dojo.pair.share import sync
from dojo.pair.strip import LETTERS, Session, minutes, of_day, summarise


def end(evening: Evening, home: bool) -> bool:
    """Squash the branch to one commit, and show the lights.  Returns whether it was done."""
    check_on(evening.git, evening.branch)
    stands = sync(evening)
    if stands == "ended":
        return True
    if stands in ("diverged", "blocked"):
        tell("Nothing was squashed.")
        return False
    git, session = evening.git, evening.session
    changes = evening.unsaved()
    if changes:
        evening.step(f"{session.kata}: kept unjudged at the end", evening.event("kept"), changes)
    now = pair_strip.clock()
    last = evening.event("done")
    session = replace(evening.session, events=[*evening.session.events, replace(last, at=now)])
    base = git.commit(f"{session.start}^") or ""
    author = session.driver
    others = [person for person in session.people if person != author]
    text = pair_git.message(_subject(session, bool(changes)), None, others, _body(session), *_about(session))
    with pair_git.uninterrupted():
        squashed = pair_git.commit_tree(git, f"{session.tip}^{{tree}}", author, now, text, base)
        ref = keep(evening)
        pair_git.move(git, evening.branch, squashed, session.tip, [], "done")
        close(evening.dojo)
    from dojo.pair.lights import show

    show([replace(session, done=session.tip)], [None])
    tell("")
    tell(f"{evening.branch} is one commit now, {squashed[:7]}. Every step is kept:")
    tell(f"  git log {ref}")
    _share(evening, ref)
    _go_home(evening, home)
    return True


def _subject(session: Session, unjudged: bool) -> str:
    if not session.runs:
        return f"{session.kata}: an evening without a run"
    run = session.runs[-1]
    count = f"{run.greens} of {run.tests} green" if run.tests else run.colour
    return f"{session.kata}: {count}, by {' and '.join(person.name for person in session.people)}" + (
        "; edited since" if unjudged else ""
    )


def _body(session: Session) -> str:
    """The strip as text, for those who read the log."""
    about = summarise(session)
    lines = ["".join(LETTERS[run.colour] for run in session.runs) or "no run"]
    lines += [f"{of_day(run.at)} {LETTERS[run.colour]} {run.greens}/{run.tests} {run.driver}" for run in session.runs]
    spent = [f"{name} {minutes(seconds)}" for name, seconds in about.drivers.items()]
    spent += [f"{colour} {minutes(seconds)}" for colour, seconds in about.colours.items() if seconds]
    return "\n".join([lines[0], "", *lines[1:], *([""] if lines[1:] else []), ", ".join(spent)])


def _about(session: Session) -> list[tuple[str, str]]:
    about = [("Session", session.kata), ("Branch", session.name), ("Names", ", ".join(map(str, session.people)))]
    about += [("Minutes", f"{session.minutes:g}"), ("Home", session.home)]
    about += [("Predict", "yes" if session.predict else "no"), ("Revert", "yes" if session.revert else "no")]
    return [*about, ("Done", session.tip), *(("Light", event.line()) for event in session.events)]


def _share(evening: Evening, ref: str) -> None:
    """Let the remote have the one commit in place of the steps, where it has them, and the steps in their ref."""
    git, branch = evening.git, evening.branch
    remote, theirs = pair_git.remote_of(git, branch), pair_git.counterpart(git, branch)
    if remote is None or theirs is None:
        return  # it was never shared
    if problem := pair_git.push(git, remote, branch, f"{ref}:{ref}", lease=git.commit(theirs) or ""):
        tell(problem, "yellow")
    else:
        tell(f"Pushed to {remote}, the steps as well.")


def _go_home(evening: Evening, home: bool) -> None:
    branch, target = evening.branch, evening.session.home
    git = evening.git
    if not target or not git.commit(f"refs/heads/{target}"):
        tell(f"To take it over to a branch of yours:\n  git switch YOURS && git merge {branch}")
        return
    if not home and sys.stdin.isatty():
        from dojo.pair.run import ask

        home = ask(f"Go back to {target} now? [y/N] ") in ("y", "yes")
    if home:
        try:
            with pair_git.uninterrupted():
                git("switch", "--quiet", target)
        except GitError as error:
            tell(f"You stay on {branch}: {error}", "yellow")
        else:
            tell(f"You are on {target}. To take the evening's work over:\n  git merge {branch}")
            return
    tell(f"To take it over to {target}:\n  git switch {target} && git merge {branch}")
