"""git's merge driver for stubs: what `dojo update` does, in a bare `git pull` or rebase.

`.gitattributes` names it, and `dojo` tells each clone's git how to call it.  Where
it can't help, it exits with 1 and leaves git's own conflict markers.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from dojo.curriculum.katas import Dojo
from dojo.curriculum.solutions import is_stub
from dojo.curriculum.stubs import merge
from dojo.learner.workspace import new_stub_beside, write

NAME = "dojo-stub"


def install(dojo: Dojo) -> None:
    """Tell the clone's git of the driver; does nothing where that is done, or where there is no git.

    The file is read as text first, as `dojo` calls this each time: git would take longer than all the rest.
    """
    config = dojo.clone / ".git" / "config"
    command = f'"{Path(sys.executable).as_posix()}" -m dojo merge-stub %O %A %B %P'
    try:
        if not config.is_file() or "merge-stub %O %A %B %P" in config.read_text(encoding="utf-8"):
            return
        for key, value in (("name", "the learner's code under the new lesson"), ("driver", command)):
            arguments = ["git", "-C", str(dojo.clone), "config", f"merge.{NAME}.{key}", value]
            subprocess.run(arguments, check=True, capture_output=True)
    except (OSError, UnicodeDecodeError, subprocess.CalledProcessError):
        return  # without it git merges line by line, and loses nothing


def run(base: Path, ours: Path, theirs: Path, path: str) -> int:
    """Merge as git asks: the result goes to `ours`.  Returns 0, or 1 where markers show the conflict.

    In a rebase "ours" is the project's side: the learner's is the one in which a stub is written.
    """
    try:
        b, one, other = (file.read_bytes().decode() for file in (base, ours, theirs))
        sides = [side for side in (one, other) if _stubs(b) - _stubs(side)]
    except (SyntaxError, ValueError):
        return _with_markers(base, ours, theirs)
    if len(sides) == 1:
        mine, new = (one, other) if sides[0] == one else (other, one)
        merged = merge(b, mine, new)
        if merged.conflicts:
            beside = Path(new_stub_beside(path))
            write(beside, new.encode())
            print(f"dojo: {path} and its new stub both changed {', '.join(merged.conflicts)}: yours is kept,")
            print(f"dojo: the new stub lies beside it, {beside}")
        write(ours, merged.text.encode())
        return 0
    return _with_markers(base, ours, theirs)


def _stubs(text: str) -> set[str]:
    """The functions that nobody has written yet."""
    nodes = ast.walk(ast.parse(text))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and is_stub(node)}


def _with_markers(base: Path, ours: Path, theirs: Path) -> int:
    names = ["-L", "yours", "-L", "base", "-L", "theirs"]
    files = [str(ours), str(base), str(theirs)]
    return 1 if subprocess.run(["git", "merge-file", *names, *files], check=False).returncode else 0
