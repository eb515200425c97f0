"""A mutant, and the entries of a TOML that explain why some mutants change nothing.

An `equivalent` entry covers a mutant where putting the entry's new text for its old one, at one
place in the statement, gives the mutant's statement.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """One wrong reference.

    change    "old -> new", or in words where the text doesn't change
    source    the mutated text, or the reference's own where `target` is spoiled instead
    line      of the change in the reference; 0 for the whole function
    function  the outermost function or class that it is in
    """

    change: str
    source: str
    line: int
    function: str
    statements: tuple[str, str] = ("", "")  # before and after, for `equivalent` entries
    target: str = ""  # "Class.method", for an answer that is spoiled
    spoil: str = ""  # and how, a key of wrong_on_purpose.WRAPPED

    @property
    def label(self) -> str:
        return f"line {self.line}: {self.change}" if self.line else self.change


@dataclass
class Equivalent:
    """An entry of the TOML for mutants that change nothing, with the reason."""

    change: str
    why: str
    within: str = ""
    survivors: list[Mutant] = field(default_factory=list)
    killed: list[Mutant] = field(default_factory=list)

    def covers(self, mutant: Mutant) -> bool:
        if self.within and self.within not in (mutant.function, mutant.target):
            return False
        if _dense(self.change) == _dense(mutant.change):
            return True
        old, arrow, new = self.change.partition(" -> ")
        before, after = map(_dense, mutant.statements)
        old, new = _dense(old), _dense(new)
        if not arrow or not before or not old:
            return False
        start = before.find(old)
        while start >= 0:
            if before[:start] + new + before[start + len(old) :] == after:
                return True
            start = before.find(old, start + 1)
        return False


def _dense(text: str) -> str:
    """The text without its white space: two changes that differ in nothing else are one."""
    return "".join(text.split())


def equivalents(meta: dict[str, Any]) -> list[Equivalent]:
    """The `equivalent` entries of a kata's TOML."""
    return [
        Equivalent(entry.get("change", ""), entry.get("why", ""), entry.get("in", ""))
        for entry in meta.get("equivalent", [])
    ]
