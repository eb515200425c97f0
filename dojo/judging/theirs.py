"""Are these the project's own tests?  A kata isn't green by tests that its solver has changed.

git knows: what judges a kata has to stand in the last commit as it is.  Whoever develops
katas judges the reference with them, which asks nothing here, or commits them first.
Where there is no git, there is nothing to compare with, and the tests are taken as they are.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from dojo.curriculum.katas import Dojo, Kata

SECONDS = 10.0


def foreign(dojo: Dojo, katas: list[Kata]) -> dict[str, list[str]]:
    """The katas whose tests, or a conftest.py that they run under, aren't as committed: name → paths in the clone."""
    if not katas or not (dojo.clone / ".git").exists():
        return {}
    folders = sorted({kata.test.parent for kata in katas})
    asked = [dojo.clone / "conftest.py", dojo.clone / "katas" / "conftest.py", *(f / "conftest.py" for f in folders)]
    try:
        run = subprocess.run(
            ["git", "-C", str(dojo.clone), "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all",
             "--ignored=matching", "--", *map(str, asked), *(str(kata.test) for kata in katas)],
            capture_output=True, check=False, timeout=SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {}
    if run.returncode:
        return {}
    changed = [Path(entry[3:]) for entry in run.stdout.decode("utf-8", "surrogateescape").split("\0") if entry]
    found: dict[str, list[str]] = {}
    for kata in katas:
        test = kata.test.relative_to(dojo.clone)
        own = [path for path in changed if path == test or (path.name == "conftest.py" and path.parent in test.parents)]
        if own:
            found[kata.name] = [path.as_posix() for path in own]
    return found


def words(paths: list[str]) -> list[str]:
    """What the learner is told."""
    named = " and ".join(paths)
    return [
        f"These aren't the project's tests: {named} differ{'s' if len(paths) == 1 else ''} from what is committed.",
        f"  git stash push --include-untracked {' '.join(paths)}",
        "sets the change aside. (Do you develop this kata? Commit its tests, or judge with --impl reference.)",
    ]
