"""Published roadmaps, row by row: which katas, labs, projects, drills and features answer each of their steps.

A path is a file `paths/NAME.toml`: `title`, `about`, a table `planned` with what its steps name and the project
doesn't have yet, and `steps` in the roadmap's own order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dojo.curriculum.katas import DojoError, read_toml

KINDS = ("katas", "labs", "projects", "drills", "features")


@dataclass(frozen=True)
class Step:
    """One row of a roadmap.

    step     its name there: "day 12", "week 3", "4.2.1"
    asks     what it asks for
    note     a sentence for whoever takes it
    missing  why this project can't answer it wholly; "" where it can
    """

    step: str
    asks: str
    katas: tuple[str, ...] = ()
    labs: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    drills: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    note: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Roadmap:
    """A path: its steps in order, and for each kind of thing the names that are planned."""

    name: str
    title: str
    about: str
    steps: tuple[Step, ...]
    planned: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def names(self, kind: str) -> Iterator[str]:
        """All names of a kind in its steps, each once, in their order."""
        return iter(dict.fromkeys(name for step in self.steps for name in getattr(step, kind)))


def read_path(file: Path) -> Roadmap:
    """The path in `file`.  DojoError, with the file and the step, for what isn't in its form."""
    table = read_toml(file)
    steps = table.get("steps", [])
    if not isinstance(steps, list) or not steps:
        raise DojoError(f"{file}: a path needs [[steps]]")
    planned = {kind: tuple(names) for kind, names in table.get("planned", {}).items()}
    if unknown := sorted(set(planned) - set(KINDS)):
        raise DojoError(f"{file}: [planned] has {unknown[0]}, expected {', '.join(KINDS)}")
    made = tuple(_step(file, number, row) for number, row in enumerate(steps, 1))
    twice = [step.step for i, step in enumerate(made) if step.step in {other.step for other in made[:i]}]
    if twice:
        raise DojoError(f"{file}: two steps are called {twice[0]!r}")
    return Roadmap(file.stem, _text(file, table, "title"), _text(file, table, "about"), made, planned)


def paths_of(folder: Path) -> list[Roadmap]:
    """All paths of a clone, by name; none where it has no folder `paths`."""
    return [read_path(file) for file in sorted((folder / "paths").glob("*.toml"))]


def unknown_names(path: Roadmap, there: dict[str, Iterable[str]]) -> list[str]:
    """What a path names that is neither there nor planned, and what is planned although it is there: a text each."""
    found = []
    for kind in KINDS:
        have, planned, named = set(there.get(kind, ())), set(path.planned.get(kind, ())), set(path.names(kind))
        found += [
            f"{path.name}: {kind}: {name} is neither there nor planned" for name in sorted(named - have - planned)
        ]
        found += [f"{path.name}: {kind}: {name} is planned, and it is there" for name in sorted(planned & have)]
        found += [f"{path.name}: {kind}: {name} is planned, and no step names it" for name in sorted(planned - named)]
    return found


def _text(file: Path, table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise DojoError(f"{file}: {key} must be a text, got {value!r}")
    return value


def _step(file: Path, number: int, row: dict[str, Any]) -> Step:
    where = f"{file}: step {number}"
    if not isinstance(row.get("step"), str) or not isinstance(row.get("asks"), str):
        raise DojoError(f"{where}: `step` and `asks` must be texts, got {row.get('step')!r} and {row.get('asks')!r}")
    where = f"{file}: step {row['step']!r}"
    known = {one.name for one in fields(Step)}
    if unknown := sorted(set(row) - known):
        raise DojoError(f"{where} has {unknown[0]}, expected one of {', '.join(sorted(known))}")
    for kind in KINDS:
        names = row.get(kind, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DojoError(f"{where}: {kind} must be a list of names, got {names!r}")
        if len(set(names)) < len(names):
            raise DojoError(f"{where}: {kind} names one twice: {', '.join(names)}")
    made: dict[str, Any] = {key: tuple(value) if key in KINDS else value for key, value in row.items()}
    return Step(**made)
