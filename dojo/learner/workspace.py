"""The learner's files: where copies of them are kept, and how a stub is put back.

Whatever could lose work makes a copy first, in `.dojo/kept/<time>/`, under the same
path as in the dojo.
"""

from __future__ import annotations

import ast
import os
import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from dojo.curriculum.katas import STEM, Dojo, DojoError, Kata, said
from dojo.curriculum.solutions import is_stub
from dojo.learner.git import Git, GitError

STUB_PATH = re.compile(r"katas/[^/]+/" + STEM.pattern + r"\.py")
NO_PYTHON = "(no Python)"
BRANCHES = ("main", "master")


class Kept:
    """A folder for copies, made when the first is put there."""

    def __init__(self, dojo: Dojo, folder: Path | None = None) -> None:
        """folder  one that is there already; None: a new one, named after the time"""
        self.paths: list[str] = []
        if folder is not None:
            self.folder = folder
            if folder.exists():
                self.paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
            return
        stamp, n = f"{datetime.now():%Y%m%d-%H%M%S}", 1
        self.folder = dojo.state / "kept" / stamp
        while self.folder.exists():
            n += 1
            self.folder = dojo.state / "kept" / f"{stamp}-{n}"

    def add(self, path: str, content: bytes) -> Path:
        """Keep `content` as the file `path` of the dojo.  Raises DojoError where it can't be written."""
        target, n = self.folder / path, 1
        while target.exists() and target.read_bytes() != content:  # a copy is never written over
            n += 1
            target = self.folder / f"{path}.{n}"
        try:
            write(target, content)
        except OSError as error:
            raise DojoError(f"no copy of {path} can be made as {target}: {said(error)} Nothing was changed.") from error
        self.paths.append(path)
        return target


def write(path: Path, content: bytes) -> None:
    """Write the file so that it is always the old one or the new one as a whole; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        with suppress(OSError):
            beside.chmod(path.stat().st_mode & 0o7777)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def new_stub_beside(path: str) -> str:
    """Where the new stub goes when a learner's file can't take it up: no name of a kata, nor of a test."""
    return path.removesuffix(".py") + ".new-stub.py"


def name_of(path: str) -> str | None:
    """The name of the kata whose stub is the file `path` ("katas/…"), or None."""
    return Path(path).stem.split("_", 1)[1] if STUB_PATH.fullmatch(path) else None


# --- stubs as they were -------------------------------------------------------------------------------


def upstream(git: Git) -> str | None:
    """The last known state of the project that this is a clone of: a ref, or None."""
    remote = git.project()
    refs = (f"refs/remotes/{remote}/{branch}" for branch in ("HEAD", *BRANCHES) if remote)
    return next((ref for ref in refs if git.commit(ref)), None)


def origin_of_stubs(git: Git) -> str:
    """The commit that the learner's files began from: the last one that both they and the project have."""
    ref = upstream(git)
    base = git.merge_base("HEAD", ref) if ref else None
    return base or git.commit("HEAD") or ""


def pristine_stubs(dojo: Dojo) -> dict[str, bytes]:
    """Every stub of the clone as it was before anyone solved it: path → content.

    Where the clone isn't git's, the files as they are.
    """
    try:
        git = Git(dojo.clone)
        commit = origin_of_stubs(git)
        files = git.files(commit, "katas") if commit else {}
    except GitError:
        git, files = None, {}
    found = {}
    for kata in dojo.katas:
        path = kata.stub.relative_to(dojo.clone).as_posix()
        if git is not None and path in files:
            found[path] = _unsolved(git, commit, path, files[path])
        elif kata.stub.exists():  # one that isn't committed yet
            found[path] = kata.stub.read_bytes()
    return found


def pristine_stub(kata: Kata) -> bytes:
    """The kata's stub as it was before the learner changed it.  Raises DojoError where nothing tells."""
    dojo = kata.dojo
    path = kata.stub.relative_to(dojo.clone).as_posix()
    if dojo.apart:
        kept = dojo.state / "stubs" / path
        return kept.read_bytes() if kept.exists() else pristine_stubs(dojo)[path]
    try:
        git = Git(dojo.root)
    except GitError as error:
        raise DojoError(
            f"{error}. The stub as it was is what git keeps: put {path} of a fresh download in its place."
        ) from error
    commit = origin_of_stubs(git)
    files = git.files(commit, path) if commit else {}
    if path not in files:
        # Not in what the project has: a kata of the learner's own, perhaps.
        commit = git.commit("HEAD") or ""
        files = git.files(commit, path) if commit else {}
    if path not in files:
        raise DojoError(f"git has never seen {path}, so there is no earlier stub to go back to")
    return _unsolved(git, commit, path, files[path])


def _unsolved(git: Git, commit: str, path: str, content: bytes) -> bytes:
    """The newest version of the file, up to that commit, in which nobody had solved anything.

    The project has no other, but the commit may be the learner's: in a clone without
    a remote, or with a fork of their own, to which solutions were pushed, for one.
    A function is solved if it is written in one version, and was a stub in another.
    """
    if not _functions(content, written=True):
        return content
    commits = git("log", "--format=%H", commit, "--", path).split()
    versions = [content, *(git.files(older, path).get(path, b"") for older in commits)]
    stubs = set().union(*(_functions(version, written=False) for version in versions))
    stubs.add(NO_PYTHON)
    unsolved = [v for v in versions if v and not stubs & _functions(v, written=True)]
    return unsolved[0] if unsolved else content


def _functions(content: bytes, written: bool) -> set[str]:
    """The names of the functions and methods that are written, or of those that are stubs."""
    try:
        body = ast.parse(content).body
    except (SyntaxError, ValueError):
        return {NO_PYTHON} if written else set()
    named = [("", node) for node in body]
    named += [(f"{node.name}.", inner) for node in body if isinstance(node, ast.ClassDef) for inner in node.body]
    return {
        prefix + node.name
        for prefix, node in named
        if isinstance(node, ast.FunctionDef) and is_stub(node) is not written
    }


# --- reset --------------------------------------------------------------------------------------------


def reset(kata: Kata) -> Path | None:
    """Put the kata's stub back; the learner's file is kept.  Returns the copy, or None: it was the stub.

    Raises DojoError, with nothing changed, where the stub isn't known or no copy can be made.
    """
    stub = pristine_stub(kata)
    path = kata.path
    relative = path.relative_to(kata.dojo.root).as_posix()
    beside = kata.dojo.root / new_stub_beside(relative)
    kept = Kept(kata.dojo)
    copy = None
    if path.exists() and (old := path.read_bytes()) != stub:
        copy = kept.add(relative, old)
    if beside.exists():
        kept.add(new_stub_beside(relative), beside.read_bytes())
    write(path, stub)
    beside.unlink(missing_ok=True)
    return copy
