"""Which katas' mutants were proven before, so that CI needs to prove the others only.

`reference/proven.json` holds a hash for each kata: of its four files and of the
engine's files that decide what a mutant is and whether a test fails.  A kata
that isn't listed with its present hash has changed since.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from dojo.curriculum.katas import Dojo, DojoError, Kata

ENGINE = (
    "checks/compare.py", "checks/guard.py", "testing.py", "proofs/killing.py", "proofs/mutants.py",
    "proofs/operators.py", "proofs/wrong_on_purpose.py",
)  # fmt: skip


def _file(dojo: Dojo) -> Path:
    return dojo.clone / "reference" / "proven.json"


def fingerprint(kata: Kata) -> str:
    """A hash of everything that the proof of a kata's mutants depends on."""
    digest = hashlib.sha256()
    engine = Path(__file__).resolve().parent.parent
    for path in (kata.stub, kata.test, kata.reference, kata.toml, *(engine / name for name in ENGINE)):
        digest.update(path.read_bytes() if path.exists() else b"missing")
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def listed(dojo: Dojo) -> dict[str, str]:
    """The hashes as they are listed, by the kata's name.  Raises DojoError where the file isn't such a list."""
    path = _file(dojo)
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DojoError(
            f"{path} is not valid JSON: {error}; delete it, and `dojo check --mutants` writes it anew"
        ) from error
    return {str(name): str(value) for name, value in found.items()}


def unproven(katas: list[Kata]) -> list[Kata]:
    """The katas that aren't listed as they are now."""
    known = listed(katas[0].dojo) if katas else {}
    return [kata for kata in katas if known.get(kata.name) != fingerprint(kata)]


def write_down(dojo: Dojo, proven: list[Kata]) -> None:
    """List `proven`, each of which has just been proven, and drop what isn't a kata any more."""
    names = {kata.name for kata in dojo.katas}
    kept = {name: value for name, value in listed(dojo).items() if name in names}
    kept |= {kata.name: fingerprint(kata) for kata in proven}
    _file(dojo).write_text(json.dumps(dict(sorted(kept.items())), indent=2) + "\n", encoding="utf-8")
