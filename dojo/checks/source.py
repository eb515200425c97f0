"""Reading a learner's file: any bytes at all may lie there, or no file."""

from __future__ import annotations

import ast
import hashlib
import stat
from pathlib import Path


def read(path: Path) -> bytes:
    """The bytes of the file at `path`.

    Raises OSError, saying what is there instead, for what isn't a plain file: reading a named pipe never ends.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket"}
        raise OSError(f"{path.name} is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a file with Python in it")
    return path.read_bytes()


def parse(source: bytes | str, filename: str = "<unknown>") -> ast.Module:
    """The syntax tree of `source`.  Raises SyntaxError for all that Python can't take in, ValueError for null bytes."""
    try:
        return ast.parse(source, filename)
    except (RecursionError, MemoryError) as error:
        raise too_deep(filename, error) from None


def too_deep(filename: str, error: BaseException) -> SyntaxError:
    """What Python says of a file on which its reader runs out of stack or memory."""
    return SyntaxError(f"it is nested too deeply ({type(error).__name__})", (filename, 1, 1, ""))


def digest(content: bytes) -> str:
    """The first 16 hex digits of the SHA-256, by which the record knows a file's content."""
    return hashlib.sha256(content).hexdigest()[:16]
