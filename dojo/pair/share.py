"""An evening on two machines: taking up what the other has done, and handing over."""

from __future__ import annotations

from dojo.curriculum.katas import Dojo, DojoError
from dojo.learner.git import Git, GitError
from dojo.pair import git as pair_git
from dojo.pair import strip as pair_strip
from dojo.pair.evening import NO_SESSION, Evening, close, keep, tell, the_evening


def sync(evening: Evening, fetched: bool = False) -> str:
    """Fetch, and go forward to what the other machine has done.

    Returns how the branch stands then: alone, same, ahead, forward, diverged, blocked, ended or offline.
    """
    git, branch = evening.git, evening.branch
    remote = pair_git.remote_of(git, branch)
    if remote is None:
        return "alone"
    if not fetched and (error := pair_git.fetch(git, remote)):
        tell(f"{remote} can't be reached, so this goes on with what is here: {error}", "yellow")
        return "offline"
    stands = pair_git.standing(git, branch)
    theirs = f"{remote}/{branch}"
    if stands == "diverged":
        tell(f"{branch} and {theirs} have both gone on. Both are kept as they are.", "yellow")
        tell(pair_git.how_to_join(remote, branch))
    elif stands in ("behind", "ended"):
        if evening.unsaved():
            tell(
                f"{theirs} has gone on, and {evening.path} has edits that aren't committed. Nothing was changed.",
                "yellow",
            )
            tell("To take up theirs:\n  git stash && dojo pair\n  git stash pop")
            return "blocked"
        if stands == "ended":
            return _take_the_end(evening, theirs)
        try:
            with pair_git.uninterrupted():
                git("merge", "--quiet", "--ff-only", f"refs/remotes/{theirs}")
        except GitError as error:
            tell(f"{theirs} has gone on, but can't be taken up here: {error}", "yellow")
            return "blocked"
        before = len(evening.session.runs)
        evening.reload()
        evening.turn, evening.away = pair_strip.clock(), 0.0
        evening.save()
        tell(
            f"Taken up from {remote}: {_runs(len(evening.session.runs) - before)}. "
            f"{evening.session.driver.name} drives."
        )
        return "forward"
    return stands


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def _take_the_end(evening: Evening, theirs: str) -> str:
    git = evening.git
    with pair_git.uninterrupted():
        ref = keep(evening)
        # Moves the branch and the folder, and refuses where that would run over an edit.
        git("reset", "--quiet", "--keep", f"refs/remotes/{theirs}")
        close(evening.dojo)
    tell(f"The other one has ended the evening: {evening.branch} is one commit now, every step is kept as {ref}.")
    tell(f"  dojo lights {evening.branch}")
    return "ended"


def hand_over(evening: Evening) -> None:
    """Commit what there is, push it, and swap the roles."""
    if sync(evening) in ("forward", "ended", "blocked"):
        return
    session = evening.session
    nearby = [path for path in pair_git.modified(evening.git) if path != evening.path]
    changes = evening.unsaved()
    if changes:
        evening.step(f"{session.kata}: handed over unjudged", evening.event("kept"), changes)
    author, heir = session.driver, session.navigator
    evening.turn = pair_strip.clock()
    evening.step(f"{session.kata}: {heir.name} drives", evening.event("turn", heir), {}, author)
    tell(f"{heir.name} drives, {evening.session.navigator.name} navigates.", "bold")
    if nearby:
        tell(f"Not committed, as it isn't the kata's: {', '.join(nearby)}", "yellow")
    share(evening)


def share(evening: Evening) -> None:
    remote = pair_git.remote_of(evening.git, evening.branch)
    if remote is None:
        tell("No remote is set: the evening stays on this machine.", "dim")
        return
    if problem := pair_git.push(evening.git, remote, evening.branch):
        tell(problem, "yellow")
    else:
        tell(f"Pushed to {remote}. On another machine:", "dim")
        tell(f"  dojo pair --join {evening.branch}", "dim")


# --- joining ------------------------------------------------------------------------------------------


def join(dojo: Dojo, branch: str | None) -> Evening:
    """Take up the evening on `branch`, or the only one that the remote has, on this machine."""
    git = pair_git.open_git(dojo)
    open_one = the_evening(dojo)
    if open_one is not None and open_one.branch != branch:
        raise DojoError(f"an evening is open on {open_one.branch}: dojo pair goes on with it, dojo pair done ends it")
    pair_git.check_calm(git)
    home = pair_git.current_branch(git)
    remote, branch = _find(git, branch)
    pair_git.refuse_modified(git)
    if home != branch:
        with pair_git.uninterrupted():
            if git.commit(f"refs/heads/{branch}"):
                git("switch", "--quiet", branch)
            else:
                git("switch", "--quiet", "--create", branch, "--track", f"{remote}/{branch}")
    evening = Evening(dojo, git, branch)
    sync(evening, fetched=True)
    evening.save()
    return evening


def _find(git: Git, branch: str | None) -> tuple[str, str]:
    """The remote that has the evening, and its branch."""
    remotes = git.remotes()
    if not remotes:
        raise DojoError(f"{NO_SESSION}. No remote is set to join from: git remote add origin URL")
    found: dict[str, str] = {}
    problems = []
    for remote in remotes:
        if problem := pair_git.fetch(git, remote):
            problems.append(f"{remote} can't be reached: {problem}")
        found |= dict.fromkeys(pair_git.open_sessions(git, f"refs/remotes/{remote}/"), remote)
    said = "".join(f". {problem}" for problem in problems)
    if branch is not None:
        branch = branch.removeprefix("refs/heads/")
        if branch not in found:
            there = (
                f"open there: {', '.join(found)}"
                if found
                else "none is open there; the other's dojo pair next pushes it"
            )
            raise DojoError(f"no remote has an open evening {branch}; {there}{said}")
        return found[branch], branch
    if len(found) == 1:
        ((branch, remote),) = found.items()
        return remote, branch
    if found:
        raise DojoError(f"several evenings are open: {', '.join(found)}. Which one? dojo pair --join BRANCH")
    raise DojoError(f"{NO_SESSION}{said}")
