"""A project at work and a learner's clone of it, for tests that bring old checkouts up to date."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.synthetic import commit, git, project_and_clone

MEAN = "katas/module_01_numbers/k01_mean.py"
MEDIAN = "katas/module_01_numbers/k02_median.py"
COUNT = "katas/module_02_words/k01_count.py"
TEST_MEAN = "katas/module_01_numbers/test_k01_mean.py"
BODY = "    # my way: ∑/n\n    total = sum( numbers )\n    return total/len(numbers)  # done\n"
LESSON = (MEAN, "it stands where the numbers balance", "it is where a beam of them balances, ∑(xᵢ - m) = 0")


class World:
    """A project at work in `project`, and a learner's `clone` of it."""

    def __init__(self, folder: Path) -> None:
        self.dojo = project_and_clone(folder)
        self.project, self.clone = folder / "project", folder / "clone"

    def solve(self, path: str = MEAN, root: Path | None = None, body: str = BODY) -> str:
        """Write a solution into the first stub of the learner's file."""
        file = (root or self.clone) / path
        text = file.read_text().replace("    raise NotImplementedError\n", body, 1)
        file.write_text(text)
        return text

    def publish(self, *changes: tuple[str, str, str]) -> str:
        """The project replaces texts in files, and publishes."""
        for path, old, new in changes:
            file = self.project / path
            text = file.read_text()
            assert text.count(old) == 1, (path, old)
            file.write_text(text.replace(old, new))
        return commit(self.project)

    def move(self, old: str, new: str) -> None:
        """The project gives a kata another number."""
        for folder in ("katas", "reference"):
            for file in (self.project / folder).rglob(f"*{old}*"):
                file.rename(file.with_name(file.name.replace(old, new)))
        for file in self.project.rglob("*.py"):
            file.write_text(file.read_text().replace(old, new))

    def read(self, path: str) -> str:
        return (self.clone / path).read_text()

    def state(self) -> dict[str, object]:
        """Everything that a failed update must leave as it was."""
        files = {p.relative_to(self.clone): p.read_bytes() for p in self.clone.rglob("*") if p.is_file()}
        files = {p: text for p, text in files.items() if p.parts[0] not in (".git", ".dojo")}
        return {"files": files, "head": git(self.clone, "rev-parse", "HEAD"),
                "branch": git(self.clone, "symbolic-ref", "HEAD"),
                "status": git(self.clone, "status", "--porcelain")}  # fmt: skip


def unknown_to_git(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the user one whom git doesn't know."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("EMAIL", raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(home))
