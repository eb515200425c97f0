"""What the proofs are asked for, and what they found, kata by kata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

PROOFS = {
    "todo": "on the stub every test is todo, and for that reason",
    "green": "the reference passes every test: seeds, random order, threads, no warning",
    "variants": "every variant is accepted",
    "mistakes": "every mistake is caught, and its sentence is told",
    "trivial": "zeros, the argument, the negated and the detached answer are caught",
    "mutants": "every mutant fails a test or is explained",
    "planted": "the file under test is the one tested",
    "metadata": "metadata, lesson, README",
    "time": "within the budget",
}


@dataclass
class Options:
    """What to prove: over how many seeds, the mutants of which katas, in how many children."""

    seeds: int = 5
    mutants_of: frozenset[str] = frozenset()
    jobs: int | None = None
    on_progress: Callable[[str], None] | None = None


@dataclass
class Tally:
    """How one proof went for one kata: `good` of `total`, and a sentence for each problem."""

    good: int = 0
    total: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.good == self.total and not self.problems


@dataclass
class MutantCount:
    """Mutants by how they ended.  The raw score leaves out neither equivalents nor crashes."""

    killed: int = 0  # by a wrong answer
    crashed: int = 0  # by nothing but crashes
    timed_out: int = 0
    equivalent: int = 0
    survived: int = 0

    @property
    def total(self) -> int:
        return self.killed + self.crashed + self.timed_out + self.equivalent + self.survived


@dataclass
class KataProofs:
    """Everything that was proven of one kata."""

    kata: str
    module: str
    stem: str
    tests: int = 0
    skipped: int = 0
    seconds: float = 0.0
    budget: float = 0.0
    peak_mb: float = 0.0
    named: int = 0  # mistakes whose sentence the learner is told
    proofs: dict[str, Tally] = field(default_factory=dict)
    mutants: MutantCount | None = None
    left_out: list[str] = field(default_factory=list)  # why tests were skipped that a complete machine runs

    def tally(self, proof: str) -> Tally:
        return self.proofs.setdefault(proof, Tally())

    @property
    def ok(self) -> bool:
        return all(tally.ok for tally in self.proofs.values())

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}
