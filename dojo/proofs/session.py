"""What a session of the proofs knows: the collected tests, what was seen of them, and how to run one of them again.

The session judges the reference.  Everything that a proof needs of the katas is
found here; what the proofs do with it, and in which order, stands above, in
`experiments.py`, `killing.py` and `proving.py`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dojo.checks.replay import REPLAYING, replay
from dojo.checks.verdict import colour_of
from dojo.curriculum.katas import Kata
from dojo.curriculum.patches import Patch
from dojo.curriculum.swap import swap_in
from dojo.judging.judge import Judge
from dojo.proofs.reach import Reach, Unit
from dojo.proofs.result import KataProofs, Options

BY_DESIGN = ("slow:", "gpu:", "nccl:")
"""How the reasons begin for which a test is skipped in the proofs on any machine, or on all without a GPU."""


@dataclass
class Seen:
    """How one test ended in a child: its colour or "skipped", and the first line of what it said."""

    test: str
    colour: str
    said: str
    seconds: float


class Session:
    """The tests of the katas, collected once, and what is known of them."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.results: dict[str, KataProofs] = {}
        self.judge: Judge
        self.config: pytest.Config
        self.items: dict[Kata, list[pytest.Item]] = {}
        self.katas: list[Kata] = []
        self.seconds: dict[Kata, dict[str, float]] = {}  # of each test, by its id, on the reference
        self.reach: dict[Kata, Reach] = {}
        self.units: dict[Patch, list[Unit] | None] = {}

    def take(self, collected: pytest.Session) -> None:
        """Take over what pytest has collected."""
        self.config = collected.config
        hooks: Any = self.config.pluginmanager.get_plugin("dojo-hooks")
        self.judge = hooks.judge
        for item in collected.items:
            kata = self.judge.kata_of(item)
            if kata is not None:
                self.items.setdefault(kata, []).append(item)
        for kata, items in self.items.items():
            self.results[kata.name] = KataProofs(
                kata.name, kata.module, kata.stem, tests=len(items), budget=kata.budget
            )
        self.katas = list(self.items)

    def module(self, kata: Kata) -> ModuleType:
        """What the kata's tests import at present."""
        return sys.modules[kata.import_name]

    def warm_up(self, kata: Kata) -> None:
        """Run the kata's tests once here: what loads lazily is loaded, and each test's seconds are known."""
        import gc

        self.config.stash[REPLAYING] = True
        outcomes = {item.nodeid: replay(item) for item in self.items[kata]}
        self.seconds[kata] = {test: outcome.seconds for test, outcome in outcomes.items()}
        reasons = [outcome.reason.removeprefix("Skipped: ") for outcome in outcomes.values() if outcome.skipped]
        self.results[kata.name].left_out = [text for text in reasons if not text.startswith(BY_DESIGN)]
        gc.collect()
        gc.freeze()

    def reaching(self, kata: Kata, patch: Patch) -> list[pytest.Item]:
        """The tests, in their order, that run a function which the patch changes."""
        return [item for item in self.items[kata] if self.reach[kata].runs(item.nodeid, self.units[patch])]

    def run(self, kata: Kata, module: ModuleType, solution: Path, items: list[pytest.Item] | None = None) -> list[Seen]:
        """How the tests `items` (None: all of the kata) end with `module` in place of the reference."""
        swap_in(self.items[kata], self.module(kata), module)
        return [self.see(item, solution) for item in (self.items[kata] if items is None else items)]

    def see(self, item: pytest.Item, solution: Path) -> Seen:
        """How one test ends with what is swapped in at present."""
        outcome = replay(item)
        name = item.nodeid.split("::", 1)[-1]
        if outcome.skipped:
            return Seen(name, "skipped", "", outcome.seconds)
        said = str(outcome.error).strip().splitlines() if outcome.error is not None else []
        text = f"{type(outcome.error).__name__}: {said[0]}" if said else type(outcome.error).__name__
        colour = colour_of(outcome.error, solution)
        return Seen(name, colour, "" if outcome.error is None else text[:300], outcome.seconds)
