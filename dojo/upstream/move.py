"""The one moment in which an update touches the learner's files: written down first, so that nothing cuts it in two.

Everything that the move needs is laid into `.dojo/update/` beforehand: the new files, copies
of the old ones, git's new index, and last the journal.  From then on the move only renames.
So it needs no more space, forwards or back, and whatever ends it (a killed process, a power
cut), the next command reads the journal and goes on where it stopped:

    new/PATH       what will stand at PATH; gone once it does
    old/PATH       what stood there
    index          git's new index, which becomes its index.lock, and then its index
    journal.json   the plan: without it the folder means nothing
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dojo.curriculum.katas import Dojo, DojoError, said
from dojo.curriculum.stubs import merge
from dojo.learner.git import Git, GitError
from dojo.learner.record import one_at_a_time
from dojo.learner.workspace import STUB_PATH, Kept, new_stub_beside, write
from dojo.upstream.renewal import News

VERSION = 1
PATIENCE = 2.0  # seconds to wait for another git that holds its lock
NOTHING = "0" * 40


@dataclass
class Journal:
    """What a move is about."""

    source: str  # where the news come from, as it is told
    news: News
    kept: str  # the folder of this update's copies, in the dojo
    paths: list[str]  # every path that changes
    before: str | None = None  # the ref of the state before
    head: str = ""  # the commit to leave, and …
    result: str = ""  # … the one to reach; both empty where there is no git
    branch: str = ""
    staged: list[str] = field(default_factory=list)  # the paths whose entries in git's index change
    removed: list[str] = field(default_factory=list)  # those of `paths` at which nothing will stand
    version: int = VERSION


@dataclass
class Updated:
    """What an update did."""

    source: str  # "origin/main"
    news: News
    kept: Kept
    before: str | None = None  # the ref of the state before, where there was something to do
    edited: list[str] = field(default_factory=list)  # paths that were edited between a killed update and its end


class Move:
    """A move of the dojo's files."""

    def __init__(self, dojo: Dojo) -> None:
        self.dojo = dojo
        self.folder = dojo.state / "update"
        self.new, self.old = self.folder / "new", self.folder / "old"
        self.index = self.folder / "index"
        self.file = self.folder / "journal.json"

    @property
    def begun(self) -> bool:
        """Whether a move was begun and has not come to its end."""
        return self.file.exists()

    # --- before -------------------------------------------------------------------------------------

    def _prepare(self, journal: Journal, lay: Callable[[Path], None], git: Git | None) -> None:
        """Nothing of the learner's is touched yet."""
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.new.mkdir(parents=True)
            lay(self.new)
            journal.removed = [path for path in journal.paths if not _there(self.new / path)]
            for path in journal.paths:
                _copy(self.dojo.root / path, self.old / path)
            if git is not None:
                self._make_index(git, journal)
            write(self.file, json.dumps(asdict(journal), ensure_ascii=False).encode())
        except (OSError, GitError) as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            why = said(error) if isinstance(error, OSError) else f"{error}."
            raise DojoError(f"the update can't be prepared in {self.folder}: {why} Nothing was changed.") from error

    def _make_index(self, git: Git, journal: Journal) -> None:
        """git's index as it is, with the entries of the new commit."""
        there = git.root / git("rev-parse", "--git-path", "index")
        env = {"GIT_INDEX_FILE": str(self.index)}
        self.index.unlink(missing_ok=True)  # it may be git's own by now, under two names
        if there.exists():
            shutil.copyfile(there, self.index)
        listed = git("ls-tree", "-r", "-z", journal.result).split("\0")
        entries = {entry.split("\t", 1)[1]: entry for entry in listed if entry}
        lines = [f"0 {NOTHING}\t{path}" for path in journal.staged]
        lines += [entries[path] for path in journal.staged if path in entries]
        git("update-index", "-z", "--index-info", stdin="\0".join([*lines, ""]).encode("utf-8", "surrogateescape"),
            env=env)  # fmt: skip

    # --- the move -----------------------------------------------------------------------------------

    def move(self, journal: Journal, lay: Callable[[Path], None], git: Git | None) -> None:
        """Lay out everything that the move needs, and do it.

        lay  writes the new files into the folder that it is given

        Raises DojoError, with everything as it was, where there is no room for it or another git is at work.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(self.folder):
            self._prepare(journal, lay, git)
            self._run(journal, git)

    def _run(self, journal: Journal, git: Git | None) -> None:
        done: list[str] = []
        try:
            lock = self._lock(git)
            for path in sorted(journal.paths, key=lambda path: path not in journal.removed):  # a folder may follow
                done.append(path)
                self._install(path, journal)
            if git is not None and lock is not None:
                if git.commit("HEAD") != journal.result:
                    git("update-ref", "-m", "dojo update", "HEAD", journal.result, journal.head)
                os.replace(lock, lock.with_suffix(""))
        except (DojoError, OSError, KeyboardInterrupt) as error:
            self.take_back(journal, git, done)
            why = said(error) if isinstance(error, OSError) else f"{error or 'Ctrl-C'}."
            raise DojoError(f"the files can't be updated: {why} They are as they were.") from error
        self.forget()

    def _install(self, path: str, journal: Journal) -> None:
        """Put the new file in its place, or remove the old one; what is done already is left alone."""
        target, new = self.dojo.root / path, self.new / path
        if _there(new):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(new, target)
        elif path in journal.removed:
            target.unlink(missing_ok=True)
            _prune(target.parent, self.dojo.root)

    def _lock(self, git: Git | None) -> Path | None:
        """Hold git's own lock of the index; what is in the lock is the new index.

        A lock that a killed move of ours has left is known by its content.
        """
        if git is None:
            return None
        lock = git.root / git("rev-parse", "--git-path", "index.lock")
        end = time.monotonic() + PATIENCE
        while True:
            try:
                try:
                    os.link(self.index, lock)
                except FileExistsError:
                    raise
                except OSError:  # another file system, or one without links
                    with open(lock, "xb") as file:
                        file.write(self.index.read_bytes())
                return lock
            except FileExistsError:
                if _content(lock) == _content(self.index):
                    return lock
                if time.monotonic() > end:
                    raise DojoError(
                        f"git is at work here, or was killed: {lock} is there. "
                        "If no git is running, delete that file, and try again"
                    ) from None
                time.sleep(0.1)

    def take_back(self, journal: Journal, git: Git | None, paths: Iterable[str] | None = None) -> None:
        """Undo what `run` has done, by renaming alone.

        paths  those that may have been moved; None: all
        """
        for path in journal.paths if paths is None else paths:
            target, old = self.dojo.root / path, self.old / path
            if _there(self.new / path):
                continue  # not moved yet
            if _there(old):
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(old, target)
            else:
                target.unlink(missing_ok=True)
                _prune(target.parent, self.dojo.root)
        if git is not None:
            if journal.head and git.commit("HEAD") == journal.result != journal.head:
                git("update-ref", "-m", "dojo update: taken back", "HEAD", journal.head, journal.result)
            self._unlock(git)
        self.forget()

    def _unlock(self, git: Git) -> None:
        lock = git.root / git("rev-parse", "--git-path", "index.lock")
        if lock.exists() and self.index.exists() and _content(lock) == _content(self.index):
            lock.unlink()

    def forget(self) -> None:
        """The move is at its end: the journal goes first, as the rest means nothing without it."""
        self.file.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- after a killed one -------------------------------------------------------------------------

    def finish(self) -> Updated | None:
        """Bring a move that was killed to its end; None where another process has just done so.

        Raises DojoError where that isn't possible.
        """
        if not self.folder.exists():
            return None
        with one_at_a_time(self.folder):
            if self.begun:
                return self._finish()
            shutil.rmtree(self.folder, ignore_errors=True)  # killed before the journal, or after it: nothing to do
        return None

    def _finish(self) -> Updated:
        journal = self._read()
        git = Git(self.dojo.root) if journal.head else None
        kept = Kept(self.dojo, self.dojo.root / journal.kept)
        done = Updated(journal.source, journal.news, kept, journal.before)
        if git is not None and not self._still_there(git, journal):
            for path in journal.paths:
                target = self.dojo.root / path
                if not _there(self.new / path) and target.is_file() and _content(target) != _content(self.old / path):
                    kept.add(path, target.read_bytes())
            self._unlock(git)
            self.take_back(journal, None)
            raise DojoError(
                "an update was interrupted, and the branch has moved since: it was taken back. "
                f"`dojo update` begins it anew. The state before it: git show {journal.before}"
            )
        for path in journal.paths:
            if _there(self.new / path) or path in journal.removed:
                self._mind_edits(path, done)
        if git is not None:
            self._unlock(git)
            self._make_index(git, journal)
        self._run(journal, git)
        return done

    def _read(self) -> Journal:
        try:
            found = json.loads(self.file.read_text(encoding="utf-8"))
            if found.pop("version") != VERSION:
                raise ValueError("it is of another version of ml-dojo")
            news = News(**found.pop("news"))
            news.moved = {name: (old, new) for name, (old, new) in news.moved.items()}
            news.conflicts = {name: (beside, tuple(what)) for name, (beside, what) in news.conflicts.items()}
            return Journal(**found, news=news, version=VERSION)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DojoError(
                f"the journal of an interrupted update can't be read: {error}. Copies of your files are under "
                f"{self.dojo.state / 'kept'}. Delete {self.folder}, then `dojo update` again"
            ) from error

    def _still_there(self, git: Git, journal: Journal) -> bool:
        branch = git.maybe("symbolic-ref", "--quiet", "HEAD")
        return branch == journal.branch and git.commit("HEAD") in (journal.head, journal.result)

    def _mind_edits(self, path: str, done: Updated) -> None:
        """Keep what the learner has written since the update was killed: under the new lesson where it is a stub."""
        target, new, old = self.dojo.root / path, self.new / path, self.old / path
        if target.is_symlink() or not target.is_file():
            return
        now = target.read_bytes()
        if now in (_content(old), _content(new)):
            return
        done.kept.add(path, now)
        done.edited.append(path)
        if not _there(new) or not STUB_PATH.fullmatch(path):
            return
        fresh = new.read_bytes()
        try:
            merged = merge(_content(old).decode(), now.decode(), fresh.decode())
            text, clash = merged.text.encode(), bool(merged.conflicts)
        except UnicodeDecodeError:
            text, clash = now, True
        write(new, text)
        if clash:
            write(self.dojo.root / new_stub_beside(path), fresh)


def _there(path: Path) -> bool:
    return os.path.lexists(path)


def _content(path: Path) -> bytes:
    """What is in the file; of a link, where it leads; nothing where there is no file."""
    if path.is_symlink():
        return os.readlink(path).encode("utf-8", "surrogateescape")
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return b""


def _copy(source: Path, target: Path) -> None:
    if source.is_file() or source.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)


def _prune(folder: Path, root: Path) -> None:
    """Remove folders that are empty now, as git does."""
    with suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent
