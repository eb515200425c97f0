"""`dojo new`: the four files of a new kata, with what is to be written in them."""

from __future__ import annotations

import keyword
import os
import re
import shlex
from contextlib import suppress
from pathlib import Path

from dojo.curriculum.katas import STEM, Dojo, DojoError, said

STUB = '''\
"""{title}

**Before you start.**  TODO: the katas and the mathematics that it builds on, one link, and the
import lines.

**The idea.**  TODO: why anyone wants this, and what the method does about it, in plain words.

**The formula.**  TODO, with every symbol named, and the shapes.

**Why TODO?**  The question that a good student asks.

**Worked by hand**, TODO:

    TODO

**Shapes**: TODO

**Steps.**

    {name}  10 min   TODO: what is hard

Source: TODO
"""


def {name}(x: float) -> float:
    """TODO: shapes, units, errors and edge cases."""
    raise NotImplementedError
'''

TESTS = '''\
"""Judges {stem} against TODO: an oracle of its own."""

from dojo.testing import assert_close
from katas.{module}.{stem} import {name}


def test_the_example_worked_by_hand():
    assert_close({name}(1.0), 1.0)
'''

REFERENCE = '''\
"""{title}: the reference."""


def {name}(x: float) -> float:
    return x
'''

TOML = """\
title   = "{title}"
level   = 1
steps   = {{ {name} = 10 }}
topics  = []

hints = [
    "TODO: a nudge",
    "TODO: more",
    "TODO: nearly the answer",
]

# Eight mistakes or more, that people really make, and what to tell them:
# [[mistakes]]
# key  = "a-short-name-of-its-own"
# find = "stands exactly once in the reference"
# swap = "makes it wrong"
# says = "What the learner should hear."

# Three variants or more, that are right as well:
# [[variants]]
# find = ""
# swap = ""
"""


def scaffold(dojo: Dojo, name: str, module: str) -> list[str]:
    """Make the files of the kata `name`, the last of `module`; their paths in the clone.

    Raises DojoError, with nothing written, where the name is taken or isn't one.
    """
    if dojo.apart:
        raise DojoError(f"katas are written in the clone: cd {shlex.quote(str(dojo.clone))}, then dojo new again")
    if not STEM.fullmatch(f"k01_{name}") or keyword.iskeyword(name):
        raise DojoError(f"'{name}' can't be a kata's name; expected lower-case letters, digits and _: gradient_descent")
    taken = next((kata for kata in dojo.katas if kata.name == name), None)
    if taken is not None:
        raise DojoError(f"there is a kata '{name}' already: {taken.module}/{taken.stem}; names are unique")
    module = _module(dojo, module)
    there_already = _stubs(dojo.clone / "katas" / module)
    numbers = [int(path.stem[1:].split("_")[0]) for path in there_already]
    begun_before = next((path.stem for path in there_already if path.stem.split("_", 1)[1] == name), None)
    stem = begun_before or f"k{max(numbers, default=0) + 1:02}_{name}"
    words = {"name": name, "stem": stem, "module": module, "title": name.replace("_", " ").capitalize()}
    files = {
        f"reference/{module}/{stem}.py": REFERENCE,
        f"reference/{module}/{stem}.toml": TOML,
        f"katas/{module}/{stem}.py": STUB,
        f"katas/{module}/test_{stem}.py": TESTS,
    }
    # Beginnings that a killed `dojo new` has left are its own, and stay out of the way; a file that is there isn't.
    there = [path for path in files if (dojo.clone / path).exists() and not _unfinished(dojo.clone, path, files, words)]
    if there:
        raise DojoError(f"{', '.join(there)} is there already; nothing was written")
    readme = dojo.clone / "katas" / module / "README.md"
    begun = readme.read_text(encoding="utf-8") if readme.exists() else f"# {module}\n\nTODO: what it builds.\n"
    last = begun.rstrip().rsplit("\n", 1)[-1]
    # A list of katas goes on as it began: as a table's row, or as a point.
    line = f"| {stem} | TODO |" if last.startswith("|") else f"- {stem}: TODO"
    gap = "\n" if last.startswith(("|", "-")) else "\n\n"
    texts = {path: text.format(**words) for path, text in files.items()}
    tests = texts.popitem()
    about = readme.relative_to(dojo.clone).as_posix()
    texts[about] = begun if stem in begun else f"{begun.rstrip()}{gap}{line}\n"
    # The test file is what makes it a kata: it comes when all else is there.
    _write_all(dojo.clone, {**texts, tests[0]: tests[1]}, new=set(files))
    return [*sorted(files), about]


def _unfinished(root: Path, path: str, files: dict[str, str], words: dict[str, str]) -> bool:
    """Whether the file is what an earlier `dojo new` of the same kata, killed before its end, has written."""
    try:
        return (root / path).read_text(encoding="utf-8") == files[path].format(**words)
    except (OSError, UnicodeDecodeError):
        return False


def _write_all(root: Path, texts: dict[str, str], new: set[str]) -> None:
    """Write all the files, or none: each beside its place first, and renamed once all of them are.

    Raises DojoError, with nothing written, where that isn't possible.
    """
    beside = {path: (root / path).with_name(f".{Path(path).name}.{os.getpid()}") for path in texts}
    made: list[Path] = []
    try:
        for path, text in texts.items():
            beside[path].parent.mkdir(parents=True, exist_ok=True)
            beside[path].write_text(text, encoding="utf-8")
        for path in texts:
            os.replace(beside[path], root / path)
            made += [root / path] if path in new else []
    except OSError as error:
        for file in made:
            with suppress(OSError):
                file.unlink()
        raise DojoError(f"the kata can't be written: {said(error)} Nothing was written.") from error
    finally:
        for file in beside.values():
            with suppress(OSError):
                file.unlink()


def _stubs(folder: Path) -> list[Path]:
    """What has a number: stubs, and tests without one."""
    found = [path.with_name(path.name.removeprefix("test_")) for path in folder.glob("*.py")]
    return [path for path in found if STEM.fullmatch(path.stem)]


def _module(dojo: Dojo, text: str) -> str:
    """The module that begins with `text`, or a new one of that name."""
    wanted = text.rstrip("/").rsplit("/", 1)[-1]
    found = [module for module in dojo.modules if module == wanted] or [
        module for module in dojo.modules if module.startswith(wanted)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise DojoError(f"'{text}' could be any of {', '.join(found)}: which one?")
    if re.fullmatch(r"module_\d\d_[a-z][a-z0-9_]*", wanted):
        return wanted
    raise DojoError(
        f"no module begins with '{text}'; there are {', '.join(dojo.modules)}. A new one needs such a name."
    )
