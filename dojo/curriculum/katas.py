"""Where things are: the dojo, its katas, and what surrounds each of them.

A dojo is a folder whose pyproject.toml has a `[tool.dojo]` table.  The clone of
the project is one.  A folder made by `dojo init` is another: it holds the
learner's stubs only, and its table names the clone that has the tests.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

STEM = re.compile(r"k(\d+)_([a-z][a-z0-9_]*)")
DEFAULT_DEADLINE = 10.0
DEFAULT_BUDGET = 2.0
DEFAULT_MINUTES = 30
WORDS_A_MINUTE = 150  # of a lesson, read by somebody who knows the field a little


class DojoError(Exception):
    """Something the user can put right; its text says what was given and what was expected."""


CURES = {
    errno.ENOSPC: "The disk is full: make room, and try again.",
    getattr(errno, "EDQUOT", -1): "Your quota of disk space is used up: make room, and try again.",
    errno.EROFS: "The file system is read-only: work in a folder that you can write to.",
    errno.EACCES: "You have no right to that: see `ls -l`, and give yourself the right with chmod.",
    errno.EPERM: "You have no right to that: see `ls -l`, and give yourself the right with chmod.",
    errno.EMFILE: "Too many files are open: close some programs, and try again.",
    errno.EISDIR: "A folder stands where a file is expected: move it away.",
    errno.ENOTDIR: "A file stands where a folder is expected: move it away.",
    errno.ENOENT: "Something there is missing.",
}


def said(error: OSError) -> str:
    """What the system refused, in one line: the path, the reason and the cure."""
    reason = error.strerror or str(error) or type(error).__name__
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    cure = CURES.get(error.errno or 0, "")
    return f"{place}{reason}. {cure}".rstrip()


@dataclass(frozen=True)
class Hint:
    """One hint: about one step of a kata, or about all of it (step "")."""

    step: str
    text: str


@dataclass(frozen=True)
class Kata:
    """One kata: a lesson with its stub, the tests, the reference and its TOML."""

    dojo: Dojo
    module: str  # "module_05_transformers"
    stem: str  # "k03_rope"

    @property
    def name(self) -> str:
        """The stem without its number: what records and paths refer to."""
        return self.stem.split("_", 1)[1]

    @property
    def number(self) -> int:
        return int(self.stem[1:].split("_", 1)[0])

    @property
    def order(self) -> tuple[str, int, str]:
        return (self.module, self.number, self.stem)

    @property
    def path(self) -> Path:
        """The learner's file."""
        return self.dojo.root / "katas" / self.module / f"{self.stem}.py"

    @property
    def stub(self) -> Path:
        """The stub in the clone (the same file as `path` unless the learner works in a folder apart)."""
        return self.dojo.clone / "katas" / self.module / f"{self.stem}.py"

    @property
    def test(self) -> Path:
        return self.dojo.clone / "katas" / self.module / f"test_{self.stem}.py"

    @property
    def reference(self) -> Path:
        return self.dojo.clone / "reference" / self.module / f"{self.stem}.py"

    @property
    def toml(self) -> Path:
        return self.reference.with_suffix(".toml")

    @property
    def import_name(self) -> str:
        return f"katas.{self.module}.{self.stem}"

    @cached_property
    def meta(self) -> dict[str, Any]:
        """The TOML as it stands; empty where the file is missing.  DojoError where it isn't TOML."""
        return read_toml(self.toml) if self.toml.exists() else {}

    @cached_property
    def about(self) -> dict[str, Any]:
        """The TOML, for what is only shown: empty where it can't be read, as one damaged file hides no other kata."""
        try:
            return self.meta
        except DojoError:
            return {}

    @property
    def optional(self) -> bool:
        return self.about.get("optional") is True

    @property
    def title(self) -> str:
        title = self.about.get("title")
        return title if isinstance(title, str) else self.name.replace("_", " ").capitalize()

    @property
    def steps(self) -> dict[str, int]:
        """The functions in the order of writing, each with its minutes; empty where the TOML has none."""
        steps = self.about.get("steps")
        return dict(steps) if isinstance(steps, dict) else {}

    @cached_property
    def minutes(self) -> int:
        """What the kata takes: its steps, and the time to read the lesson.

        A TOML without steps says `minutes` itself; 30 where it says nothing.
        """
        if not self.steps:
            minutes = self.about.get("minutes")
            return minutes if isinstance(minutes, int) else DEFAULT_MINUTES
        try:
            words = len(self.stub.read_text(encoding="utf-8", errors="replace").split())
        except OSError:
            words = 0
        return sum(self.steps.values()) + round(words / WORDS_A_MINUTE)

    @cached_property
    def hints(self) -> tuple[Hint, ...]:
        """The hints in the order in which they are given: for the whole kata, or for one step after the other."""
        hints = self.meta.get("hints", [])
        by_step = hints if isinstance(hints, dict) else {"": hints}
        order = sorted(by_step, key=lambda step: list(self.steps).index(step) if step in self.steps else -1)
        return tuple(Hint(step, str(text)) for step in order for text in by_step[step])

    @property
    def budget(self) -> float:
        """Seconds that the kata's tests may take on the reference, imports aside."""
        return float(self.meta.get("seconds", DEFAULT_BUDGET))


@dataclass(frozen=True)
class Dojo:
    """A place to practise: the learner's files in `root`, tests and references in `clone`."""

    root: Path
    clone: Path
    settings: dict[str, Any]

    def __hash__(self) -> int:
        return hash((self.root, self.clone))

    @cached_property
    def katas(self) -> tuple[Kata, ...]:
        """Every kata of the curriculum in order: those with a test file in the clone."""
        return tuple(sorted(self._discover(), key=lambda kata: kata.order))

    def _discover(self) -> Iterator[Kata]:
        for test in (self.clone / "katas").glob("module_*/test_k*.py"):
            stem = test.stem.removeprefix("test_")
            if STEM.fullmatch(stem):
                yield Kata(self, test.parent.name, stem)

    @property
    def modules(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(kata.module for kata in self.katas))

    @property
    def state(self) -> Path:
        """The folder for the record and for copies of the learner's work."""
        return self.root / ".dojo"

    @property
    def review(self) -> Path:
        """The tree of the stubs under review, as --impl takes it."""
        return self.state / "review"

    @property
    def apart(self) -> bool:
        """Whether the learner works in a folder apart from the clone."""
        return self.root != self.clone

    @property
    def deadline(self) -> float:
        return float(self.settings.get("deadline", DEFAULT_DEADLINE))

    def modules_like(self, text: str) -> list[str]:
        """The modules whose names begin with `text`; a path means its end, and "5" is module_05.

        Raises DojoError, with the modules that there are, where none does.
        """
        wanted = text.rstrip("/").rsplit("/", 1)[-1]
        wanted = f"module_{int(wanted):02d}" if wanted.isdecimal() else wanted
        found = [module for module in self.modules if module.startswith(wanted)]
        if not found:
            raise DojoError(f"no module begins with '{text}'; there are {', '.join(self.modules)}")
        return found

    def kata(self, text: str) -> Kata:
        """The kata that `text` means: a name, a stem, a number with its module, or a path.

        Raises DojoError, with the nearest names, where there is none or more than one.
        """
        wanted = text.strip().rstrip("/").removesuffix(".py").rsplit("/", 1)[-1].removeprefix("test_")
        exact = [k for k in self.katas if wanted in (k.name, k.stem)]
        found = exact or [k for k in self.katas if k.name.startswith(wanted) or k.stem.startswith(wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            raise DojoError(f"'{text}' could be any of {', '.join(k.name for k in found)}: which one?")
        from difflib import get_close_matches

        near = get_close_matches(wanted, [k.name for k in self.katas], n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `dojo list` shows them all."
        raise DojoError(f"no kata is called '{text}'{hint}")

    def kata_of_test(self, path: Path) -> Kata | None:
        """The kata that the test file at `path` judges, or None."""
        return self._by_test.get(path)

    @cached_property
    def _by_test(self) -> dict[Path, Kata]:
        return {kata.test: kata for kata in self.katas}


def find_dojo(start: Path) -> Dojo | None:
    """The dojo that `start` is in, looking upwards, or None."""
    for folder in (start, *start.parents):
        config = folder / "pyproject.toml"
        if config.is_file() and "[tool.dojo]" in config.read_text(encoding="utf-8", errors="replace"):
            return open_dojo(folder)
    return None


def open_dojo(root: Path) -> Dojo:
    """The dojo at `root`.  Raises DojoError where it names a clone that isn't there."""
    root = root.resolve()
    settings = read_toml(root / "pyproject.toml").get("tool", {}).get("dojo", {})
    clone = (root / settings.get("clone", ".")).resolve()
    if not (clone / "katas").is_dir():
        raise DojoError(
            f"{root / 'pyproject.toml'} says that the tests are in {clone}, but there is no {clone / 'katas'}. "
            "If you moved the clone, put its new place after `clone =` there."
        )
    return Dojo(root, clone, settings)


def read_toml(path: Path) -> dict[str, Any]:
    """The TOML file at `path`.  Raises DojoError, with the place, where it can't be read."""
    import tomllib  # 10 ms, which the start of a run without need for it saves

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DojoError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise DojoError(said(error)) from error
