"""A learner's folder apart from the clone: `dojo init`, and `dojo update` inside it.

The folder holds the stubs and names the clone, which has the tests.  git isn't
needed: the stubs as they came lie in `.dojo/stubs/`, which is what an update
compares with.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from dojo.curriculum.katas import Dojo, DojoError, open_dojo, said
from dojo.learner.workspace import STUB_PATH, Kept, pristine_stubs, write
from dojo.upstream.move import Journal, Move, Updated
from dojo.upstream.renewal import Plan, plan

STUBS = ".dojo/stubs"
UNFINISHED = ".dojo/init"
"""A file that is there while `dojo init` is filling a folder."""

IGNORED = """\
__pycache__/
.dojo/
.pytest_cache/
.venv/
"""

README = """\
# My dojo

The katas of ML Dojo, to solve in this folder; the tests that judge them are in
the clone, {clone}.

    pytest katas/module_01 -x     judge, up to the first failure
    dojo                          where am I
    dojo hint                     a nudge
    dojo update                   take up new lessons from the clone, and keep your code
"""


def init(clone: Dojo, folder: Path) -> Dojo:
    """Make `folder` a dojo of its own, with the stubs of `clone`.

    Raises DojoError, with nothing changed, where the folder isn't empty or lies in the clone.
    """
    folder = folder.resolve()
    if (folder / "pyproject.toml").exists() and "[tool.dojo]" in _text(folder / "pyproject.toml"):
        raise DojoError(f"{folder} is a dojo already: `dojo update` in it takes up new lessons")
    if folder.exists() and not folder.is_dir():
        raise DojoError(f"{folder} is a file; expected a new folder, or an empty one")
    if (folder / UNFINISHED).exists():  # an earlier try was killed: what it left is the project's own
        for name in (".dojo", "katas", ".gitignore", "README.md"):
            left = folder / name
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    if folder.is_dir() and (first := next(folder.iterdir(), None)) is not None:
        raise DojoError(f"{folder} isn't empty (it has {first.name}); expected a new folder, or an empty one")
    if folder.is_relative_to(clone.clone):
        raise DojoError(f"{folder} lies in the clone, {clone.clone}; expected a folder outside it")
    files = {**pristine_stubs(clone), **_readmes(clone)}
    files["pyproject.toml"] = _config(clone.clone).encode()
    files[".gitignore"] = IGNORED.encode()
    files["README.md"] = README.format(clone=clone.clone).encode()
    # Made beside it and renamed at the end: what is cut short leaves nothing that a second try would stumble over.
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for path, content in files.items():
            if STUB_PATH.fullmatch(path) or path.startswith("katas/"):
                write(beside / STUBS / path, content)
            write(beside / path, content)
        if not folder.is_dir():
            beside.rename(folder)
        else:  # it may be the folder that the learner's shell is in, so it stays; what makes it a dojo comes last
            write(beside / UNFINISHED, b"")
            for name in sorted(os.listdir(beside), key=lambda name: (name == "pyproject.toml", name != ".dojo")):
                os.replace(beside / name, folder / name)
            (folder / UNFINISHED).unlink()
    except OSError as error:
        raise DojoError(f"{folder} can't be made: {said(error)}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return open_dojo(folder)


def update_apart(dojo: Dojo) -> Updated:
    """Bring the folder's stubs to those of the clone, with the learner's code under the new lessons.

    Raises DojoError, with the files as they were, where that isn't possible.
    """
    base = _files(dojo.state / "stubs")
    yours = _files(dojo.root)
    new = {**pristine_stubs(dojo), **_readmes(dojo)}
    made = plan(base, yours, new)
    _readmes_too(made, base, yours, new)
    done = Updated(str(dojo.clone), made.news, Kept(dojo))
    for path, content in made.keep.items():
        done.kept.add(path, content)
    for path in made.beside:
        if (dojo.root / path).exists() and (dojo.root / path).read_bytes() != made.beside[path]:
            done.kept.add(path, (dojo.root / path).read_bytes())
    gone = [path for path in yours if path not in made.files and (STUB_PATH.fullmatch(path) or path in base)]
    changes = {p: c for p, c in {**made.files, **made.beside}.items() if yours.get(p) != c}
    # The stubs as they came move in the same step: they are what the next update compares with.
    changes |= {f"{STUBS}/{path}": content for path, content in new.items() if base.get(path) != content}
    gone += [f"{STUBS}/{path}" for path in base.keys() - new.keys()]
    if not changes and not gone:
        return done

    def lay(folder: Path) -> None:
        for path, content in changes.items():
            write(folder / path, content)

    kept = done.kept.folder.relative_to(dojo.root).as_posix()
    Move(dojo).move(Journal(done.source, made.news, kept, [*gone, *changes]), lay, None)
    return done


def _readmes_too(made: Plan, base: dict[str, bytes], yours: dict[str, bytes], new: dict[str, bytes]) -> None:
    """The modules' READMEs: new ones are taken, an edited one is kept aside first."""
    for path, content in new.items():
        if not path.endswith("/README.md"):
            continue
        mine = yours.get(path)
        if mine is not None and base.get(path) == content:
            content = mine
        elif mine is not None and mine not in (base.get(path), content):
            made.keep[path] = mine
            made.news.overruled.append(path)
        made.files[path] = content


def _files(root: Path) -> dict[str, bytes]:
    """The stubs and the modules' READMEs under `root`."""
    found = (path.relative_to(root).as_posix() for path in root.glob("katas/*/*"))
    wanted = [path for path in found if STUB_PATH.fullmatch(path) or path.endswith("/README.md")]
    return {path: (root / path).read_bytes() for path in wanted}


def _readmes(dojo: Dojo) -> dict[str, bytes]:
    readmes = [dojo.clone / "katas" / module / "README.md" for module in dojo.modules]
    return {r.relative_to(dojo.clone).as_posix(): r.read_bytes() for r in readmes if r.exists()}


def _config(clone: Path) -> str:
    """The folder's pyproject.toml: the clone's settings for the engine and for pytest, and where it is."""
    source = _text(clone / "pyproject.toml")
    settings = [line for line in _table(source, "tool.dojo") if not re.match(r"\s*clone\s*=", line)]
    pytest = _table(source, "tool.pytest.ini_options")
    lines = [
        "# This makes the folder a dojo; the tests that judge it are in the clone.",
        "[tool.dojo]",
        f"clone = {json.dumps(str(clone), ensure_ascii=False)}",
        *settings,
        "",
        "[tool.pytest.ini_options]",
        *pytest,
    ]
    return "\n".join(lines).rstrip() + "\n"


def _table(source: str, name: str) -> list[str]:
    """The lines of one table of a TOML file, as they stand there."""
    match = re.search(rf"^\[{re.escape(name)}\][^\n]*\n(.*?)(?=^\[|\Z)", source, re.MULTILINE | re.DOTALL)
    # Comments right above the next table are about that one.
    lines = match[1].rstrip().split("\n") if match else []
    while lines and lines[-1].startswith("#"):
        lines.pop()
    return [line for line in lines if line.strip()]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
