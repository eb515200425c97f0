"""The mistakes and variants of a kata: patches of its reference, from its TOML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dojo.curriculum.katas import DojoError, Kata


@dataclass(frozen=True)
class Patch:
    """A change of the reference: texts to find, each of which stands exactly once, and their replacements."""

    kata: Kata
    kind: str  # "mistake" or "variant"
    index: int  # from 1, as in the TOML
    edits: tuple[tuple[str, str], ...]
    says: str = ""
    key: str = ""  # a mistake's own name within its kata, which stays when the patch or the sentence changes

    @property
    def label(self) -> str:
        return f"{self.kind} {self.index}"

    def apply(self, source: str) -> str:
        """The patched source.  Raises DojoError where a text to find doesn't stand exactly once."""
        for find, swap in self.edits:
            count = source.count(find)
            if count != 1:
                raise DojoError(
                    f"{self.kata.toml.name}, {self.label}: {find!r} must stand exactly once in "
                    f"{self.kata.reference.name}, but it stands there {count} times"
                )
            source = source.replace(find, swap)
        return source


def mistakes(kata: Kata) -> list[Patch]:
    """The mistakes in the kata's TOML.  Raises DojoError where an entry is malformed."""
    return _patches(kata, "mistake")


def variants(kata: Kata) -> list[Patch]:
    """The variants in the kata's TOML.  Raises DojoError where an entry is malformed."""
    return _patches(kata, "variant")


def _patches(kata: Kata, kind: str) -> list[Patch]:
    entries = kata.meta.get(f"{kind}s", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DojoError(f"{kata.toml.name}: {kind}s must be an array of tables, [[{kind}s]]")
    return [_patch(kata, kind, i, entry) for i, entry in enumerate(entries, 1)]


def _patch(kata: Kata, kind: str, index: int, entry: dict[str, Any]) -> Patch:
    where = f"{kata.toml.name}, {kind} {index}"
    wanted = {"find", "swap", "edits"} | ({"says", "key"} if kind == "mistake" else {"why"})
    if unknown := set(entry) - wanted:
        raise DojoError(f"{where}: unknown key {sorted(unknown)}; expected {sorted(wanted)}")
    if ("find" in entry) == ("edits" in entry):
        raise DojoError(f"{where}: needs either find and swap, or edits")
    edits = entry.get("edits", [entry])
    for edit in edits:
        if not isinstance(edit.get("find"), str) or not isinstance(edit.get("swap"), str):
            raise DojoError(f"{where}: find and swap must both be texts")
        if not edit["find"]:
            raise DojoError(f"{where}: find is empty")
    says = " ".join(entry.get("says", "").split())
    if kind == "mistake" and not says:
        raise DojoError(f"{where}: `says` is missing: what should the learner hear?")
    return Patch(kata, kind, index, tuple((e["find"], e["swap"]) for e in edits), says, entry.get("key", ""))
