"""The record: an append-only log, in SQLite, of every attempt and every hint seen.

One file, `.dojo/record.sqlite`, in WAL mode: a process that is killed in the middle
of a write leaves the log as it was before, and two processes can write at once.  A
corrupt file is moved aside, never deleted, and a fresh one begun.  Where the folder
can't be written, has no locks, or another program holds the file, what is there can
still be read, and practice goes on without a record, at once.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from dojo.checks import source
from dojo.checks.verdict import COLOURS, Colour, summary
from dojo.curriculum.katas import DojoError, said

T = TypeVar("T")

SCHEMA = 1
BUSY_SECONDS = 5.0  # to wait for another process that writes, which takes it milliseconds
OPENING_SECONDS = 0.3, 1.0  # to wait for the file to be let go of, the first time and the second
MAGIC = b"SQLite format 3\0"
HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
REFUSED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR,
           sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOLFS)  # fmt: skip
CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

# The triggers make the log what it says it is: nothing is changed or deleted afterwards.
TABLES = """
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, kata TEXT NOT NULL, at TEXT NOT NULL, tree TEXT NOT NULL, colours TEXT NOT NULL,
    seconds REAL NOT NULL, file_hash TEXT NOT NULL, tests_hash TEXT NOT NULL, hints INTEGER NOT NULL,
    whole INTEGER NOT NULL
);
CREATE INDEX attempts_of_a_kata ON attempts (tree, kata, id);
CREATE TABLE hints (id INTEGER PRIMARY KEY, kata TEXT NOT NULL, tier INTEGER NOT NULL, at TEXT NOT NULL);
CREATE TRIGGER attempts_stay BEFORE UPDATE ON attempts BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER attempts_last BEFORE DELETE ON attempts BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER hints_stay BEFORE UPDATE ON hints BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER hints_last BEFORE DELETE ON hints BEGIN SELECT RAISE(ABORT, 'append-only'); END;
"""
# Not of the log, so it may change; older versions of ml-dojo leave it alone.
SIZES = """CREATE TABLE IF NOT EXISTS sizes (
    kata TEXT NOT NULL, tests_hash TEXT NOT NULL, tests INTEGER NOT NULL, PRIMARY KEY (kata, tests_hash)
)"""
FIELDS = "kata, at, tree, colours, seconds, file_hash, tests_hash, hints, whole"


class RecordError(DojoError):
    """The record can't be read or written; practice goes on without it."""


@dataclass(frozen=True)
class Attempt:
    """One run of a kata's tests."""

    kata: str  # the name without the number
    at: str  # ISO 8601, UTC
    tree: str  # "yours", or the tree that --impl named
    colours: dict[str, str]  # each test that ran → its colour
    seconds: float
    file_hash: str
    tests_hash: str
    hints: int  # tiers seen so far
    whole: bool  # whether all of the kata's tests ran

    @property
    def colour(self) -> Colour:
        """The colour that needs attention first; "todo" where nothing was judged."""
        return summary([colour for colour in COLOURS if colour in self.colours.values()])

    @property
    def solved(self) -> bool:
        """Whether all of the kata's tests ran, and all were green."""
        return self.whole and self.colour == "green"


def hash_file(path: Path) -> str:
    """The first 16 hex digits of the file's SHA-256; empty where there is no file."""
    try:
        return source.digest(source.read(path)) if path.is_file() else ""
    except (FileNotFoundError, NotADirectoryError):
        return ""


class NotADatabase(sqlite3.DatabaseError):
    """The file doesn't begin as SQLite's files do."""


class Record:
    """The log in the file at `path`, which is made where it is missing.

    notes     what the user should know about the file; that one was corrupt is also printed to stderr
    writable  False where the log can be read only; then `add` and `see_hint` raise RecordError

    Raises RecordError for a file of a newer version, or one that isn't a record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self.writable = True
        self._inode: int | None = None
        self._db = self._open()

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    # --- the log ------------------------------------------------------------------------------------

    def add(self, *attempts: Attempt) -> None:
        """Append the attempts, all of them or none.  Raises RecordError where that isn't possible."""
        rows = [
            (
                a.kata,
                a.at,
                a.tree,
                json.dumps(a.colours),
                a.seconds,
                a.file_hash,
                a.tests_hash,
                a.hints,
                a.whole,
            )
            for a in attempts
        ]
        self._write(f"INSERT INTO attempts ({FIELDS}) VALUES (?,?,?,?,?,?,?,?,?)", rows)

    def see_hint(self, kata: str, tier: int, step: str = "") -> None:
        """Note that the hint of `tier`, from 1, was shown; of one step, where hints are given by steps.

        Raises RecordError where that isn't possible.
        """
        name = f"{kata}:{step}" if step else kata
        self._write("INSERT INTO hints (kata, tier, at) VALUES (?,?,?)", [(name, tier, now())])

    def hints_seen(self, kata: str, step: str | None = None) -> int:
        """The highest tier of the hints that was shown; 0 where none was.

        step  of this step alone ("": of those about the whole kata); None: of any
        """
        if step is not None:
            rows = self._read("SELECT MAX(tier) FROM hints WHERE kata = ?", (f"{kata}:{step}" if step else kata,))
        else:  # ";" comes after ":": the range holds every step's
            query = "SELECT MAX(tier) FROM hints WHERE kata = ? OR (kata > ? AND kata < ?)"
            rows = self._read(query, (kata, f"{kata}:", f"{kata};"))
        return int(rows[0][0] or 0)

    def note_size(self, kata: str, tests_hash: str, tests: int) -> None:
        """Note how many tests the kata has, by the hash of their file: a run with -x judges only a part.

        Raises RecordError where that isn't possible.
        """
        if self.size(kata, tests_hash) != tests:
            self._write("INSERT OR REPLACE INTO sizes VALUES (?,?,?)", [(kata, tests_hash, tests)])

    def size(self, kata: str, tests_hash: str) -> int:
        """The number of the kata's tests; 0 where that isn't known."""
        if not _has_sizes(self._db):
            return 0
        rows = self._read("SELECT tests FROM sizes WHERE kata = ? AND tests_hash = ?", (kata, tests_hash))
        return int(rows[0][0]) if rows else 0

    def attempts(self, kata: str | None = None, tree: str | None = "yours") -> list[Attempt]:
        """The attempts at `kata` (None: at any) with `tree` (None: with any), the oldest first."""
        return list(self.newest_first(kata, tree))[::-1]

    def latest(self, kata: str | None = None, tree: str | None = "yours") -> Attempt | None:
        """The last attempt, or None."""
        return next(self.newest_first(kata, tree, limit=1), None)

    def count(self, kata: str, tree: str = "yours") -> int:
        """The number of attempts."""
        return int(self._read("SELECT COUNT(*) FROM attempts WHERE tree = ? AND kata = ?", (tree, kata))[0][0])

    def newest_first(self, kata: str | None = None, tree: str | None = "yours", limit: int = -1) -> Iterator[Attempt]:
        """The attempts from the last to the first, `limit` of them at most (-1: all)."""
        asked = {name: value for name, value in (("tree", tree), ("kata", kata)) if value is not None}
        where = f"WHERE {' AND '.join(f'{name} = ?' for name in asked)}" if asked else ""
        query = f"SELECT {FIELDS} FROM attempts {where} ORDER BY id DESC LIMIT ?"
        for row in self._read(query, (*asked.values(), limit)):
            try:
                colours = {str(test): str(colour) for test, colour in json.loads(row[3]).items()}
            except (ValueError, AttributeError):
                continue  # one damaged line is no reason to lose the others
            kata, at, used, _, seconds, file_hash, tests_hash, hints, whole = row
            yield Attempt(kata, at, used, colours, seconds, file_hash, tests_hash, hints, bool(whole))

    # --- the file -----------------------------------------------------------------------------------

    def _read(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        return self._safely(lambda: self._db.execute(query, values).fetchall(), "read")

    def _write(self, query: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not self.writable:
            raise RecordError(f"the record {self.path} can't be written here: practice goes on without it")

        def write() -> None:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(query, rows)
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

        self._safely(write, "written")

    def _safely(self, action: Callable[[], T], done: str) -> T:
        """Do `action`; once more with a fresh file where this one turns out to be corrupt."""
        for first in (True, False):
            try:
                return action()
            except sqlite3.Error as error:
                if first and self.writable and _is_corrupt(error):
                    self._db.close()
                    self._set_aside(error)
                    self._db = self._open()
                    continue
                if first and done == "read":  # what can be read without a lock is better than nothing
                    self._db.close()
                    self._db = self._open_to_read(error) if self.writable else self._empty()
                    continue
                raise RecordError(f"the record {self.path} can't be {done}: {error}") from error
        raise AssertionError("the second turn returns or raises")

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return self._open_to_read(error)
        waits = iter(OPENING_SECONDS)
        wait = next(waits)
        for _ in range(4):
            self._inode = _inode(self.path)
            try:
                db = self._connect(wait)
                self._inode = _inode(self.path)
                return db
            except sqlite3.Error as error:
                if _is_corrupt(error):
                    self._set_aside(error)
                elif _primary(error) in HELD:
                    wait = next(waits, 0.0)
                    if not wait or not _has_locks(self.path):
                        return self._open_to_read(error)
                elif _primary(error) in REFUSED:
                    return self._open_to_read(error)
                else:
                    raise RecordError(f"the record {self.path} can't be opened: {error}") from error
        raise RecordError(f"the record {self.path} is corrupt, and so is each that was begun in its place")

    def _connect(self, wait: float) -> sqlite3.Connection:
        # SQLite might throw away what lies in the -wal file of a database that it can't make out.
        if (head := _head(self.path)) and head != MAGIC:
            raise NotADatabase(f"{self.path.name} begins with {head!r}, not as a database does")
        # With isolation_level None, transactions are where the code says BEGIN and nowhere else.
        db = sqlite3.connect(self.path, timeout=wait, isolation_level=None)
        try:
            if not self._known(db):
                self._begin(db)
            _switch_to_wal(db)
            if not _has_sizes(db):
                db.execute(SIZES)
            # In WAL mode this survives a killed process; a power cut may cost the last attempts, no more.
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
        except BaseException:
            db.close()
            raise
        return db

    def _known(self, db: sqlite3.Connection) -> bool:
        """Whether the file is a record already; False for an empty one."""
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise RecordError(
                f"{self.path} was written by a newer ml-dojo: its version is {version}, "
                f"expected {SCHEMA} at most. Update ml-dojo; the file is left as it is."
            )
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and not (version == SCHEMA and {"attempts", "hints"} <= tables):
            raise RecordError(
                f"{self.path} isn't a record of attempts: it has the tables {', '.join(sorted(tables))}. "
                "Move it away, and a new record is begun; the file is left as it is."
            )
        return bool(tables)

    def _begin(self, db: sqlite3.Connection) -> None:
        """Make the tables, in one transaction: another process sees all of them or none."""
        db.execute("BEGIN IMMEDIATE")
        try:
            if not self._known(db):  # another process may have been quicker
                for statement in TABLES.strip().split(";\n"):
                    # A trigger's body has a semicolon of its own, so ends of lines part the statements.
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA}")
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise

    def _open_to_read(self, reason: Exception) -> sqlite3.Connection:
        """What can be read where nothing can be written; an empty log in memory where there is no file."""
        self.writable = False
        why = said(reason) if isinstance(reason, OSError) else str(reason)
        if isinstance(reason, sqlite3.Error) and _primary(reason) in HELD:
            why = "another program holds it" if _has_locks(self.path) else "its file system has no locks"
        self.notes.append(f"the record {self.path} can't be written ({why.rstrip('.')}): practice goes on without it")
        if self.path.is_file():
            with suppress(sqlite3.Error):
                from urllib.parse import quote

                # immutable: SQLite would make a file for its locks beside it, which can't be written either.
                uri = f"file:{quote(str(self.path))}?immutable=1"
                db = sqlite3.connect(uri, uri=True, isolation_level=None)
                if self._known(db):
                    return db
        return self._empty()

    def _empty(self) -> sqlite3.Connection:
        db = sqlite3.connect(":memory:", isolation_level=None)
        self._begin(db)
        db.execute(SIZES)
        return db

    def _set_aside(self, error: Exception) -> None:
        """Move the corrupt file away with what belongs to it, unless another process has done so already."""
        with one_at_a_time(self.path):
            if self._inode is None or _inode(self.path) != self._inode:
                return
            kept = free_name(self.path, f"corrupt-{datetime.now():%Y%m%d-%H%M%S}")
            try:
                for suffix in ("-wal", "-shm", ""):
                    part = self.path.with_name(self.path.name + suffix)
                    if part.exists():
                        part.rename(kept.with_name(kept.name + suffix))
            except OSError as failure:
                raise RecordError(
                    f"the record {self.path} is corrupt ({error}) and can't be moved aside: {failure}"
                ) from failure
        note = f"the record was corrupt ({error}): it is kept as {kept}, and a new one is begun"
        self.notes.append(note)
        print(f"dojo: {note}", file=sys.stderr)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def free_name(path: Path, label: str) -> Path:
    """`path` with `.label` after it, and a number where that is taken."""
    candidate, n = path.with_name(f"{path.name}.{label}"), 1
    while candidate.exists():
        n += 1
        candidate = path.with_name(f"{path.name}.{label}-{n}")
    return candidate


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _has_locks(path: Path) -> bool:
    """Whether files can be locked where the record is: some network folders don't have that."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        with open(path.with_name(f"{path.name}.lock"), "w") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def _primary(error: sqlite3.Error) -> int:
    """SQLite's error code without its finer points; 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _is_corrupt(error: sqlite3.Error) -> bool:
    return isinstance(error, NotADatabase) or _primary(error) in CORRUPT


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC))
    except OSError:
        return b""


def _has_sizes(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'sizes'").fetchone())


def _switch_to_wal(db: sqlite3.Connection) -> None:
    """Turn WAL on, which lasts.  Some network folders don't have it: then the default mode serves as well."""
    for wait in (0.0, 0.05, 0.1, 0.2, 0.4):
        time.sleep(wait)
        try:
            if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # The switch doesn't wait for other processes as other statements do.
            if _primary(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """One process at a time in the block, by a lock beside `path`; no hindrance where the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path.with_name(f"{path.name}.lock"), "w") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
