"""Which katas are proven as they are, so that CI needs to prove the others only.

`reference/proven.json` holds two hashes for each kata, of what all its proofs and of what its mutants depend on
(`depends.py`).  A kata that isn't listed with its present hashes is to be proven anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dojo.curriculum.katas import Dojo, DojoError, Kata
from dojo.proofs.depends import Depends

SEEDS = 5
"""Over how many seeds a reference must have been run to be listed."""


@dataclass(frozen=True)
class Hashes:
    """What a kata's proofs depend on, and what its mutants do; "" where it isn't proven."""

    proofs: str = ""
    mutants: str = ""


def _file(dojo: Dojo) -> Path:
    return dojo.clone / "reference" / "proven.json"


def listed(dojo: Dojo) -> dict[str, Hashes]:
    """The hashes as they are listed, by the kata's name.  Raises DojoError where the file isn't such a list."""
    return {
        name: Hashes(str(value.get("proofs", "")), str(value.get("mutants", "")))
        for name, value in read_list(_file(dojo), "dojo check --changed").items()
        if isinstance(value, dict)
    }


def hashes(katas: list[Kata]) -> dict[str, Hashes]:
    """The present hashes of `katas`, by their names."""
    if not katas:
        return {}
    depends = Depends(katas[0].dojo)
    return {kata.name: Hashes(depends.proofs(kata), depends.mutants(kata)) for kata in katas}


def stale(katas: list[Kata], present: dict[str, Hashes]) -> tuple[list[Kata], list[Kata]]:
    """Those of `katas` whose proofs are to be run anew, and of these those whose mutants are."""
    known = listed(katas[0].dojo) if katas else {}
    of_mutants = [kata for kata in katas if known.get(kata.name, Hashes()).mutants != present[kata.name].mutants]
    of_any = [
        kata
        for kata in katas
        if kata in of_mutants or known.get(kata.name, Hashes()).proofs != present[kata.name].proofs
    ]
    return of_any, of_mutants


def write_down(dojo: Dojo, proven: dict[str, Hashes]) -> None:
    """List what has just been proven, and drop what isn't a kata any more.

    A hash that is "" wasn't proven this time: what the list has of it stays.
    """
    kept = {kata.name: listed(dojo).get(kata.name, Hashes()) for kata in dojo.katas}
    for name, new in proven.items():
        old = kept.get(name, Hashes())
        kept[name] = Hashes(new.proofs or old.proofs, new.mutants or old.mutants)
    entries = {name: vars(one) for name, one in kept.items() if one != Hashes()}
    write_list(_file(dojo), entries)


def read_list(path: Path, command: str) -> dict[str, Any]:
    """The list in the file `path`; empty where there is none.  Raises DojoError, naming `command`, if it is broken."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DojoError(f"{path} is not valid JSON: {error}; delete it, and `{command}` writes it anew") from error
    if not isinstance(found, dict):
        raise DojoError(f"{path} holds a {type(found).__name__}; delete it, and `{command}` writes it anew")
    return found


def write_list(path: Path, entries: dict[str, Any]) -> None:
    """Write the list, an entry a line, so that two branches that prove different katas merge."""
    lines = [f"  {json.dumps(name)}: {json.dumps(entries[name])}" for name in sorted(entries)]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
