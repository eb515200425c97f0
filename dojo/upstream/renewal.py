"""What becomes of every stub when a dojo is brought up to date: a plan, made before anything is touched.

Katas are matched by their names, so that a learner's work moves along when a kata
gets another number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dojo.curriculum.stubs import WHOLE, merge
from dojo.learner.workspace import name_of, new_stub_beside

Files = Mapping[str, bytes]


@dataclass
class News:
    """What an update brought, for the learner to read."""

    added: list[str] = field(default_factory=list)  # katas, by path without .py
    renewed: list[str] = field(default_factory=list)  # names of katas with a new lesson, without a conflict
    tests: list[str] = field(default_factory=list)  # names of katas with other tests
    moved: dict[str, tuple[str, str]] = field(default_factory=dict)  # name → old path, new path
    removed: list[str] = field(default_factory=list)  # names
    kept_aside: list[str] = field(default_factory=list)  # names of removed katas that were edited
    conflicts: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)  # name → new stub, what
    overruled: list[str] = field(default_factory=list)  # other files where upstream's version stands now
    project: bool = False  # whether pyproject.toml changed, and with it what must be installed

    def __bool__(self) -> bool:
        return any(vars(self).values())


@dataclass
class Plan:
    """The stubs as they will be, and what is put beside and kept aside."""

    files: dict[str, bytes]
    beside: dict[str, bytes]
    keep: dict[str, bytes]
    news: News


def plan(base: Files, yours: Files, new: Files) -> Plan:
    """Bring the stubs `yours` from `base` to `new`; other files among them are ignored.

    base  the stubs that yours began from
    """
    b, n = _by_name(base), _by_name(new)
    y = _by_name(yours, b)
    moves = {_module(b[name]): _module(path) for name, path in n.items() if b.get(name, path) != path}
    made = Plan({}, {}, {}, News())
    news = made.news
    for name, path in n.items():
        old, mine = b.get(name), y.get(name)
        before = base[old] if old is not None else None
        if old is None:
            news.added.append(path.removesuffix(".py"))
        elif before != new[path]:
            news.renewed.append(name)
        if mine is None or yours[mine] in (before, new[path]):
            made.files[path] = new[path]
        else:
            made.files[path], conflicts = _merged(before, _follow(yours[mine], moves), new[path])
            if (mine, made.files[path]) != (path, yours[mine]):
                made.keep[mine] = yours[mine]
            if conflicts:
                made.beside[new_stub_beside(path)] = new[path]
                news.conflicts[name] = (new_stub_beside(path), conflicts)
                if name in news.renewed:
                    news.renewed.remove(name)  # one thing is said of one file
        if (where := mine or old) not in (None, path):
            news.moved[name] = (str(where), path)
    for name, path in y.items():
        if name in n:
            continue
        if name not in b:
            made.files[path] = yours[path]  # a kata of the learner's own
            continue
        news.removed.append(name)
        if yours[path] != base[b[name]]:
            made.keep[path] = yours[path]
            news.kept_aside.append(name)
    for path in yours:
        kata = name_of(path)
        if kata is None or y[kata] == path or path in base:
            continue
        # A second file of the learner's with the name of a kata.
        if path in made.files:
            made.keep[path] = yours[path]
        else:
            made.files[path] = yours[path]
    return made


def _by_name(files: Files, rather: Mapping[str, str] | None = None) -> dict[str, str]:
    """Each kata's stub; of two with one name, the one in `rather`, or else the first."""
    found = {name: path for name, path in (rather or {}).items() if path in files}
    for path in sorted(files):
        name = name_of(path)
        if name is not None:
            found.setdefault(name, path)
    return found


def _module(path: str) -> bytes:
    return path.removesuffix(".py").replace("/", ".").encode()


def _follow(content: bytes, moves: Mapping[bytes, bytes]) -> bytes:
    """A learner's file whose imports of katas follow them to their new numbers."""
    if not moves:
        return content
    old = b"|".join(re.escape(module) for module in moves)
    return re.sub(rb"\b(?:" + old + rb")\b", lambda match: moves[match[0]], content)


def _merged(base: bytes | None, yours: bytes, new: bytes) -> tuple[bytes, tuple[str, ...]]:
    if base == new:
        return yours, ()
    try:
        merged = merge(base.decode() if base is not None else None, yours.decode(), new.decode())
    except UnicodeDecodeError:
        return yours, (WHOLE,)
    return merged.text.encode(), merged.conflicts
