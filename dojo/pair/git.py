"""An evening's branch: its commits, and how two machines pass it to each other.

Commits are made from git's objects, with an index of their own: nothing of the
learner's is staged, unstaged or committed but the kata's file.  A branch moves only
from where it was seen to be, forwards, or with what it was kept in a ref.
"""

from __future__ import annotations

import os
import shlex
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dojo.curriculum.katas import Dojo, Kata
from dojo.learner.git import NOBODY, Git, GitError
from dojo.pair.strip import Event, Person, Session, read_session, stamp

PREFIX = "dojo/"
NO_PROMPT = {"GIT_TERMINAL_PROMPT": "0"}  # a password's prompt would stand in the middle of our screen
BUSY = {
    "MERGE_HEAD": "a merge (git merge --abort, or finish it)",
    "rebase-merge": "a rebase (git rebase --abort, or finish it)",
    "rebase-apply": "a rebase (git rebase --abort, or finish it)",
    "CHERRY_PICK_HEAD": "a cherry-pick (git cherry-pick --abort, or finish it)",
    "REVERT_HEAD": "a revert (git revert --abort, or finish it)",
}


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the end: for what should be done as a whole, git's processes included.

    The mask is what git's processes inherit; the handler is for a signal that reaches another thread of this one.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
    if came:
        signal.raise_signal(signal.SIGINT)  # waits on where this block stands in another


# --- what is there ------------------------------------------------------------------------------------


def open_git(dojo: Dojo) -> Git:
    """The clone's git.  Raises GitError where an evening can't have a branch there."""
    if dojo.apart:
        raise GitError(
            f"{dojo.root} is a folder apart from the clone, whose branches an evening needs: "
            f"cd {shlex.quote(str(dojo.clone))} and try again"
        )
    git = Git(dojo.root)
    if git.commit("HEAD") is None:
        raise GitError(f"{dojo.root} has no commit yet: git add --all && git commit, and try again")
    return git


def check_calm(git: Git) -> None:
    """Raises GitError while a merge or the like is going on."""
    for name, what in BUSY.items():
        if Path(git.root, git("rev-parse", "--git-path", name)).exists():
            raise GitError(f"git is in the middle of {what}; after that, try again. Nothing was changed")
    if unmerged := git.paths("diff", "--name-only", "--diff-filter=U", "-z"):
        raise GitError(f"{unmerged[0]} has conflicts of a merge: solve them and git add it, then try again")


def current_branch(git: Git) -> str:
    """Raises GitError on a detached HEAD."""
    branch = git.maybe("symbolic-ref", "--quiet", "--short", "HEAD")
    if branch is None:
        raise GitError("HEAD is detached, on no branch: git switch main (or git switch -c NAME), and try again")
    return branch


def path_of(kata: Kata) -> str:
    return kata.path.relative_to(kata.dojo.root).as_posix()


def modified(git: Git) -> list[str]:
    """The paths of tracked files that differ from HEAD, in the folder or in the index."""
    found = git.paths("diff", "--name-only", "-z", "HEAD") + git.paths("diff", "--cached", "--name-only", "-z", "HEAD")
    return list(dict.fromkeys(found))


def refuse_modified(git: Git, but: str = "") -> None:
    others = [path for path in modified(git) if path != but]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise GitError(
            f"{others[0]}{more} modified and not committed. An evening begins from a clean tree: "
            "git commit -am 'before the evening', or git stash, and try again. Nothing was changed"
        )


def free_branch(git: Git, name: str) -> str:
    """`name`, or with -2, -3 … where there is such a branch, here or at a remote."""
    if git.commit(f"refs/heads/{PREFIX.rstrip('/')}"):
        raise GitError("a branch is called 'dojo', so none can be called 'dojo/…': git branch -m dojo OTHER-NAME")
    taken = {ref.split(PREFIX, 1)[-1] for ref in git("for-each-ref", "--format=%(refname)", "refs").split()}
    n, candidate = 1, name
    while candidate.removeprefix(PREFIX) in taken:
        n += 1
        candidate = f"{name}-{n}"
    return candidate


def free_ref(git: Git, name: str) -> str:
    n, candidate = 1, name
    while git.commit(candidate):
        n += 1
        candidate = f"{name}-{n}"
    return candidate


# --- commits ------------------------------------------------------------------------------------------


def snapshot(git: Git, path: str) -> str:
    """Store the file as it is now; the hash of what git would commit of it."""
    try:
        content = Path(git.root, path).read_bytes()
    except OSError as error:
        raise GitError(f"{path} can't be read ({error.strerror}): dojo reset puts the stub back") from error
    return git("hash-object", "-w", "--stdin", "--path", path, stdin=content)


def message(subject: str, event: Event | None, others: list[Person], body: str = "", *more: tuple[str, str]) -> str:
    said = [f"Dojo-{name}: {value}" for name, value in (*more, *(event.trailers() if event else []))]
    said += [f"Co-authored-by: {person}" for person in others]
    return "\n\n".join([subject, *([body] if body else []), "\n".join(said)]) + "\n"


def make_commit(git: Git, parent: str, changes: dict[str, str], author: Person, at: float, text: str) -> str:
    """A commit on `parent` with other blobs at some paths; no branch moves, and no index changes."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        git("read-tree", parent, env=env)
        for path, blob in changes.items():
            entry = git("ls-tree", parent, "--", path).split()
            git("update-index", "--add", "--cacheinfo", f"{entry[0] if entry else '100644'},{blob},{path}", env=env)
        tree = git("write-tree", env=env)
    return commit_tree(git, tree, author, at, text, parent)


def commit_tree(git: Git, tree: str, author: Person, at: float, text: str, *parents: str) -> str:
    env = {"GIT_AUTHOR_NAME": author.name, "GIT_AUTHOR_EMAIL": author.email}
    env |= {"GIT_AUTHOR_DATE": stamp(at), "GIT_COMMITTER_DATE": stamp(at)}
    for what, stand_in in NOBODY.items():
        name = f"GIT_COMMITTER_{what.upper()}"
        env[name] = os.environ.get(name) or git.maybe("config", f"user.{what}") or stand_in
    arguments = [part for parent in parents for part in ("-p", parent)]
    return git("commit-tree", tree, *arguments, "-F", "-", stdin=text.encode(), env=env)


def move(git: Git, branch: str, new: str, old: str, paths: list[str], why: str) -> None:
    """Move the branch from `old` to `new`, and the index's entries of `paths` with it."""
    try:
        git("update-ref", "-m", f"dojo pair: {why}", f"refs/heads/{branch}", new, old)
    except GitError as error:
        raise GitError(
            f"{branch} has moved meanwhile, perhaps in another shell; nothing was changed: try again"
        ) from error
    settle(git, new, paths)


def settle(git: Git, commit: str, paths: list[str]) -> None:
    """Let the index hold `paths` as `commit` does, so that git status shows what was committed as such."""
    for path in paths:
        entry = git("ls-tree", commit, "--", path).split()
        git("update-index", "--add", "--cacheinfo", f"{entry[0]},{entry[2]},{path}")


# --- two machines -------------------------------------------------------------------------------------


def remote_of(git: Git, branch: str) -> str | None:
    """Where the branch is shared: its upstream's remote, else origin, else None."""
    named = git.maybe("config", f"branch.{branch}.remote")
    remotes = git.remotes()
    if named in remotes:
        return named
    return "origin" if "origin" in remotes else None


def fetch(git: Git, remote: str) -> str:
    """Fetch the evenings' branches.  Returns why that failed; empty where it didn't."""
    branches = f"+refs/heads/{PREFIX}*:refs/remotes/{remote}/{PREFIX}*"
    steps = f"+refs/dojo/pair/*:refs/dojo/theirs/{remote}/*"  # of evenings that are done
    try:
        git("fetch", "--quiet", "--no-tags", "--prune", remote, branches, steps, env=NO_PROMPT)
    except GitError as error:
        return str(error)
    return ""


def push(git: Git, remote: str, branch: str, *more: str, lease: str = "") -> str:
    """Push the branch.  Returns why that failed, in words, and what to do; empty where it didn't."""
    options = ["--quiet", "--set-upstream"]
    if lease:  # what the remote must still have for its branch to be replaced
        options.append(f"--force-with-lease=refs/heads/{branch}:{lease}")
    try:
        git("push", *options, remote, f"refs/heads/{branch}", *more, env=NO_PROMPT)
    except GitError as error:
        return _why_not(str(error), remote, branch)
    return ""


def _why_not(said: str, remote: str, branch: str) -> str:
    lower = said.lower()
    if any(word in lower for word in ("non-fast-forward", "fetch first", "stale info")):
        return (
            f"{remote} has steps of {branch} that this machine hasn't, so it was not pushed.\n"
            f"Your steps are safe in {branch} here, the others in {remote}/{branch}.\n{how_to_join(remote, branch)}"
        )
    refusals = ("denied", "403", "not authorized", "could not read username", "authentication", "protected", "declined")
    if any(word in lower for word in (*refusals, "permission", "read-only", "unable to create")):
        return (
            f"{remote} doesn't let you push, so {branch} is on this machine only, where nothing is lost.\n"
            f"To share it, add a repository that both of you may write to:\n"
            f"  git remote add ours URL && git push -u ours {branch}"
        )
    return (
        f"{branch} could not be pushed to {remote}; it is safe here.\n  {said}\nLater:\n  git push -u {remote} {branch}"
    )


def how_to_join(remote: str, branch: str) -> str:
    return (
        f"To join the two, then solve what clashes, and dojo pair next:\n  git merge {remote}/{branch}\n"
        f"To go on with theirs, and keep yours aside:\n"
        f"  git branch mine-of-today && git reset --keep {remote}/{branch}"
    )


def counterpart(git: Git, branch: str) -> str | None:
    """The branch as the remote had it at the last fetch: a ref, or None."""
    remote = remote_of(git, branch)
    ref = f"refs/remotes/{remote}/{branch}"
    return ref if remote and git.commit(ref) else None


def standing(git: Git, branch: str) -> str:
    """How the branch stands to its counterpart: alone, same, ahead, behind, ended or diverged."""
    ref = counterpart(git, branch)
    mine, theirs = git.commit(f"refs/heads/{branch}"), git.commit(ref) if ref else None
    if ref is None or mine is None or theirs is None:
        return "alone"
    base = git.merge_base(mine, theirs)
    if base == theirs:
        return "same" if mine == theirs else "ahead"
    if base == mine:
        return "behind"
    other = read_session(git, theirs)
    if other is not None and other.done and (other.done == mine or git.merge_base(mine, other.done) == mine):
        return "ended"  # theirs is all of ours, in one commit
    return "diverged"


def open_sessions(git: Git, refs: str) -> dict[str, Session]:
    """The sessions below `refs` ("refs/heads/", "refs/remotes/origin/") that aren't done: branch → session."""
    found = {}
    for ref in git("for-each-ref", "--format=%(refname)", f"{refs}{PREFIX}").split():
        branch = ref.removeprefix(refs)
        session = read_session(git, ref, branch)
        if session is not None and not session.done and session_is_of(git, session, branch):
            found[branch] = session
    return found


def session_is_of(git: Git, session: Session, branch: str) -> bool:
    """Whether the session began on that branch, not on one that it came from."""
    return f"Dojo-Branch: {branch}\n" in git("log", "-1", "--format=%B", session.start) + "\n"
