"""`dojo update` in a clone: the project's news, with the learner's code under the new lessons.

Everything is worked out beforehand, in git's object store and an index of its own:
a commit with the learner's edits, and a merge of it with the project's new state.
The checkout moves only at the end, in one step that is written down first (dojo.upstream.move):
should anything fail before, nothing has been touched; should that step fail, it is
taken back; should it be killed, the next command brings it to its end.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dojo.curriculum.katas import Dojo, DojoError
from dojo.learner.git import Git, GitError
from dojo.learner.workspace import BRANCHES, STUB_PATH, Kept, write
from dojo.upstream.move import Journal, Move, Updated
from dojo.upstream.renewal import News, plan

BEFORE = "refs/dojo/before-update/"


def update(dojo: Dojo, source: str | None = None) -> Updated:
    """Bring the clone to the newest state of `source` ("remote/branch"; None: the remote's own choice).

    Raises DojoError, with nothing changed, where that isn't possible.
    """
    git = Git(dojo.root)
    _check_ready(git)
    remote, branch = _source(git, source)
    target = _fetch(git, remote, branch)
    head = git("rev-parse", "HEAD")
    base = git.merge_base(head, target)
    if base is None:
        raise DojoError(
            f"{remote}/{branch} and your branch have no commit in common, so there is nothing to merge by. "
            "If the clone is a shallow one: git fetch --unshallow. Nothing was changed."
        )
    kept = Kept(dojo)
    done = Updated(f"{remote}/{branch}", News(), kept)
    if base == target:
        return done
    with _index() as index:
        snapshot = _snapshot(git, head, target, index)
        merge = _Merge(git, kept, base, snapshot, target)
        result = merge.commit(index, head, f"{remote}/{branch}")
    _check_nothing_in_the_way(git, snapshot, result, head)
    done.news = merge.news
    done.before = BEFORE + kept.folder.name
    git("update-ref", done.before, head)
    for path, content in merge.keep.items():
        kept.add(path, content)
    _move(dojo, git, done, merge, (head, snapshot, result))
    return done


# --- before -------------------------------------------------------------------------------------------


def _check_ready(git: Git) -> None:
    folder = git.root / git("rev-parse", "--git-dir")
    for sign, what in (
        ("MERGE_HEAD", "merge"),
        ("rebase-merge", "rebase"),
        ("rebase-apply", "rebase"),
        ("CHERRY_PICK_HEAD", "cherry-pick"),
    ):
        if (folder / sign).exists():
            raise DojoError(
                f"a {what} is under way in {git.root}: finish it, or `git {what} --abort`, and update again"
            )
    if git.maybe("symbolic-ref", "--quiet", "HEAD") is None:
        raise DojoError("no branch is checked out (a detached HEAD): `git switch main`, then update again")
    if git.commit("HEAD") is None:
        raise DojoError(f"{git.root} has no commit yet, so there is nothing to update")


def _source(git: Git, source: str | None) -> tuple[str, str]:
    """The remote and its branch."""
    remotes = git.remotes()
    if source is not None:
        remote = next((r for r in remotes if source.startswith(f"{r}/")), None)
        if remote is None:
            raise DojoError(f"--from {source}: expected REMOTE/BRANCH with one of the remotes {', '.join(remotes)}")
        return remote, source.removeprefix(f"{remote}/")
    remote = git.project()
    if remote is None:
        which = f"it has {', '.join(remotes)}, and none is called upstream or origin" if remotes else "it has no remote"
        raise DojoError(
            f"the clone doesn't say where the project's news come from: {which}. "
            "git remote add upstream ADDRESS, or dojo update --from REMOTE/BRANCH"
        )
    prefix = f"refs/remotes/{remote}/"
    default = git.maybe("symbolic-ref", "--quiet", f"{prefix}HEAD")
    if default:
        return remote, default.removeprefix(prefix)
    said = _online(git, remote, "ls-remote", "--symref", remote, "HEAD")
    for line in said.splitlines():
        if line.startswith("ref: refs/heads/"):
            return remote, line.split("\t")[0].removeprefix("ref: refs/heads/")
    known = next((b for b in BRANCHES if git.commit(prefix + b)), BRANCHES[0])
    return remote, known


def _fetch(git: Git, remote: str, branch: str) -> str:
    ref = f"refs/remotes/{remote}/{branch}"
    _online(git, remote, "fetch", "--quiet", "--no-tags", remote, f"+refs/heads/{branch}:{ref}")
    return git("rev-parse", ref)


def _online(git: Git, remote: str, *arguments: str) -> str:
    try:
        return git(*arguments)
    except GitError as error:
        address = git.maybe("remote", "get-url", remote) or remote
        raise DojoError(f"{address} can't be reached, or lacks the branch: {error}. Nothing was changed.") from error


# --- the commits --------------------------------------------------------------------------------------


@contextmanager
def _index() -> Iterator[dict[str, str]]:
    """An index of our own: git's environment for it."""
    with tempfile.TemporaryDirectory() as folder:
        yield {"GIT_INDEX_FILE": str(Path(folder) / "index")}


def _snapshot(git: Git, head: str, target: str, index: dict[str, str]) -> str:
    """A commit with the learner's edits in katas/ on top of `head`; that itself where there are none."""
    git("read-tree", head, env=index)
    git("add", "--update", "--", "katas", env=index)
    # A file that was deleted counts as one that wasn't edited: nobody deletes a kata to be rid of it.
    deleted = git.paths("diff", "--cached", "--name-only", "--no-renames", "--diff-filter=D", "-z", head, env=index)
    if deleted:
        git("update-index", "-z", "--index-info", stdin=_entries(git, head, deleted), env=index)
    # Files of the learner's that git doesn't know yet, and that the project now has, too.
    new = set(git.paths("ls-tree", "-r", "-z", "--name-only", target, "--", "katas"))
    theirs = [p for p in git.paths("ls-files", "-z", "--others", "--", "katas") if p in new]
    if theirs:
        git("add", "--force", "--", *theirs, env=index)
    tree = git("write-tree", env=index)
    if tree == git("rev-parse", f"{head}^{{tree}}"):
        return head
    return git.commit_tree(tree, "My solutions\n\nCommitted by `dojo update`.", head)


class _Merge:
    """The learner's commit, merged with the project's."""

    def __init__(self, git: Git, kept: Kept, base: str, yours: str, target: str) -> None:
        self.git, self.kept = git, kept
        self.base, self.yours, self.target = base, yours, target
        files = [git.files(commit, "katas") for commit in (base, yours, target)]
        self.stubs = {path for side in files for path in side if STUB_PATH.fullmatch(path)}
        self.plan = plan(*files)
        self.news, self.beside, self.keep = self.plan.news, self.plan.beside, self.plan.keep
        self._see_other_files(*files)

    def _see_other_files(self, base: dict[str, bytes], yours: dict[str, bytes], new: dict[str, bytes]) -> None:
        names = {path: _kata_of_test(path) for path in (*base, *new)}
        before = {name: base[path] for path, name in names.items() if name and path in base}
        after = {name: new[path] for path, name in names.items() if name and path in new}
        self.news.tests += [name for name in after if name in before and before[name] != after[name]]
        self.news.project = "pyproject.toml" in self.git.paths(
            "diff", "--name-only", "-z", self.base, self.target, "--", "pyproject.toml"
        )

    def commit(self, index: dict[str, str], head: str, source: str) -> str:
        """The merge; the project's own commit where the learner has added nothing to it."""
        git = self.git
        if self.yours == head == self.base:
            return self.target
        git("read-tree", "-i", "-m", "--aggressive", self.base, self.yours, self.target, env=index)
        lines = [f"0 {'0' * 40}\t{path}" for path in self.stubs]
        lines += [f"100644 {git.write(content)}\t{path}" for path, content in self.plan.files.items()]
        for path, stages in self._unmerged(index).items():
            if path not in self.stubs:
                lines += [f"0 {'0' * 40}\t{path}", *self._resolve(path, stages)]
        git("update-index", "-z", "--index-info", stdin="\0".join([*lines, ""]).encode(), env=index)
        tree = git("write-tree", env=index)
        return git.commit_tree(tree, f"Merge {source}", self.yours, self.target)

    def _unmerged(self, index: dict[str, str]) -> dict[str, dict[int, tuple[str, str]]]:
        """Each path that both sides changed: stage (1 base, 2 yours, 3 theirs) → mode, hash."""
        found: dict[str, dict[int, tuple[str, str]]] = {}
        for entry in self.git("ls-files", "--unmerged", "-z", env=index).split("\0"):
            if entry:
                about, path = entry.split("\t", 1)
                mode, blob, stage = about.split()
                found.setdefault(path, {})[int(stage)] = (mode, blob)
        return found

    def _resolve(self, path: str, stages: dict[int, tuple[str, str]]) -> list[str]:
        """The index's line for a file that isn't a stub: both changes where they go together, or theirs."""
        git = self.git
        # Tests aren't merged line by line: the learner is to be judged by the project's.
        if set(stages) == {1, 2, 3} and _kata_of_test(path) is None:
            texts = git.blobs([stages[stage][1] for stage in (2, 1, 3)])
            merged = _merge_lines(git, [texts[stages[stage][1]] for stage in (2, 1, 3)])
            if merged is not None:
                return [f"{stages[3][0]} {git.write(merged)}\t{path}"]
        if 2 in stages:
            self.keep[path] = git.blobs([stages[2][1]])[stages[2][1]]
            self.news.overruled.append(path)
        return [f"{stages[3][0]} {stages[3][1]}\t{path}"] if 3 in stages else []


def _merge_lines(git: Git, texts: list[bytes]) -> bytes | None:
    """git's own merge of yours, base and theirs; None where they clash."""
    with tempfile.TemporaryDirectory() as folder:
        names = [str(Path(folder) / name) for name in ("yours", "base", "theirs")]
        for name, text in zip(names, texts, strict=True):
            Path(name).write_bytes(text)
        try:
            return git.raw("merge-file", "-p", *names)
        except GitError:
            return None


def _kata_of_test(path: str) -> str | None:
    folder, _, file = path.rpartition("/")
    if not file.startswith("test_") or not STUB_PATH.fullmatch(f"{folder}/{file.removeprefix('test_')}"):
        return None
    return file.removesuffix(".py").split("_", 2)[2]


# --- the checkout -------------------------------------------------------------------------------------


def _check_nothing_in_the_way(git: Git, snapshot: str, result: str, head: str) -> None:
    """Raise where the project changes a file that the learner has edited, and that isn't a kata's."""
    changed = set(git.paths("diff", "--name-only", "--no-renames", "-z", snapshot, result))
    edited = set(git.paths("diff", "--name-only", "--no-renames", "-z", head))
    edited |= {p for p in git.paths("ls-files", "-z", "--others") if p in changed}
    known = set(git.paths("ls-tree", "-r", "-z", "--name-only", snapshot, "--", "katas"))
    # What was deleted can't be lost: it comes back.
    in_the_way = sorted(p for p in changed & edited if p not in known and os.path.lexists(git.root / p))
    if in_the_way:
        raise DojoError(
            f"you have edited {', '.join(in_the_way)}, which the update changes, too. "
            "Commit your edits (git commit), or put them aside (git stash), and update again. "
            "Nothing was changed."
        )


def _move(dojo: Dojo, git: Git, done: Updated, merge: _Merge, commits: tuple[str, str, str]) -> None:
    """Move branch, index and files from the learner's commit, with the edits that the snapshot holds, to the result."""
    head, snapshot, result = commits
    changed = git.paths("diff", "--name-only", "--no-renames", "-z", snapshot, result)
    staged = {
        *git.paths("diff", "--name-only", "--no-renames", "-z", head, result),
        *git.paths("diff", "--name-only", "--no-renames", "-z", head, snapshot),
        # Also where an update by an older version was killed, or the learner staged something.
        *git.paths("diff", "--name-only", "--no-renames", "--cached", "-z", head, "--", "katas"),
    }
    beside = {path: text for path, text in merge.beside.items() if _content(dojo.root / path) != text}
    for path in beside:
        if (there := _content(dojo.root / path)) is not None:
            done.kept.add(path, there)

    def lay(folder: Path) -> None:
        with _index() as index:
            git("read-tree", result, env=index)
            there = set(git.paths("ls-files", "-z", env=index))
            names = "\0".join([*(path for path in changed if path in there), ""])
            # git writes them, with the ends of lines that the learner's configuration wants.
            git("checkout-index", "-z", "--stdin", f"--prefix={folder.as_posix()}/",
                stdin=names.encode("utf-8", "surrogateescape"), env=index)  # fmt: skip
        for path, content in beside.items():
            write(folder / path, content)

    journal = Journal(
        done.source,
        done.news,
        done.kept.folder.relative_to(dojo.root).as_posix(),
        [*changed, *beside],
        done.before,
        head,
        result,
        git("symbolic-ref", "HEAD"),
        sorted(staged),
    )
    Move(dojo).move(journal, lay, git)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _entries(git: Git, tree: str, paths: list[str]) -> bytes:
    """The lines for `git update-index --index-info` that make `paths` what they are in `tree`."""
    listed = git("ls-tree", "-r", "-z", tree, "--", *paths).split("\0")
    return "\0".join(listed).encode("utf-8", "surrogateescape")


def finish_interrupted(dojo: Dojo) -> Updated | None:
    """Bring an update that was killed to its end; None where there is none.

    Raises DojoError where that isn't possible.
    """
    return Move(dojo).finish()
