"""`dojo new`: the four files of a new kata, with what is to be written in them."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from dojo.curriculum.katas import STEM, Dojo, DojoError

STUB = '''\
"""{title}

**Before you start.**  You need TODO: katas, with the line that imports them, and mathematics.

**The idea.**  TODO: why anyone wants this, and what the method does.

**The formula.**  TODO, with every symbol named.

**Why …?**  TODO: what a good student asks.

**Worked by hand**:

    TODO

**Shapes**: TODO

**Steps.**

    {name}   20 min   TODO: a word on what is hard

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
steps   = {{ {name} = 20 }}
topics  = []

hints = [
    "TODO: a nudge",
    "TODO: more",
    "TODO: nearly the answer",
]

# Eight mistakes or more, that people really make, and what to tell them:
# [[mistakes]]
# key = "a-name-that-stays"
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
        raise DojoError(f"katas are written in the clone: cd {dojo.clone}, then dojo new again")
    if not STEM.fullmatch(f"k01_{name}") or keyword.iskeyword(name):
        raise DojoError(f"'{name}' can't be a kata's name; expected small letters, digits and _: gradient_descent")
    taken = next((kata for kata in dojo.katas if kata.name == name), None)
    if taken is not None:
        raise DojoError(f"there is a kata '{name}' already: {taken.module}/{taken.stem}; names are unique")
    module = _module(dojo, module)
    numbers = [int(path.stem[1:].split("_")[0]) for path in _stubs(dojo.clone / "katas" / module)]
    stem = f"k{max(numbers, default=0) + 1:02}_{name}"
    words = {"name": name, "stem": stem, "module": module, "title": name.replace("_", " ").capitalize()}
    files = {
        f"katas/{module}/{stem}.py": STUB,
        f"katas/{module}/test_{stem}.py": TESTS,
        f"reference/{module}/{stem}.py": REFERENCE,
        f"reference/{module}/{stem}.toml": TOML,
    }
    there = [path for path in files if (dojo.clone / path).exists()]
    if there:
        raise DojoError(f"{', '.join(there)} is there already; nothing was written")
    for path, text in files.items():
        target = dojo.clone / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(text.format(**words))
    readme = dojo.clone / "katas" / module / "README.md"
    begun = readme.read_text(encoding="utf-8") if readme.exists() else f"# {module}\n\nTODO: what it builds.\n"
    last = begun.rstrip().rsplit("\n", 1)[-1]
    # A list of katas goes on as it began: as a table's row, or as a point.
    line = f"| {stem} | TODO |" if last.startswith("|") else f"- {stem}: TODO"
    gap = "\n" if last.startswith(("|", "-")) else "\n\n"
    readme.write_text(f"{begun.rstrip()}{gap}{line}\n", encoding="utf-8")
    return [*files, readme.relative_to(dojo.clone).as_posix()]


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
