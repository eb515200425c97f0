"""`dojo bench`: how fast it starts, and how fast the tokenizers are.

Benchmarks print figures; no test has a time limit for them.

Each pair of commands is timed in turn, so that both see the same machine; what
counts is the ratio of the medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from dojo.bench.copies import pristine_copy
from dojo.curriculum.katas import Dojo, DojoError

RUNS = 7


@dataclass(frozen=True)
class Pair:
    """A command, what it is measured against, and the ratio that it may reach."""

    what: str
    command: list[str]
    against: list[str]
    target: float


@dataclass(frozen=True)
class Figure:
    """Medians in seconds of a pair's two commands."""

    pair: Pair
    seconds: float
    baseline: float

    @property
    def ratio(self) -> float:
        return self.seconds / self.baseline


STARTS = (("module_01", "numpy", 2.0, 1.5), ("module_05", "torch", 1.25, 1.15))
"""A module, what its katas import, and how many times as long as that a first verdict may take, and as pytest alone.

pytest's own session, with no plugin, one failing test and nothing but numpy, takes 1.4 times as long as importing both:
what the dojo adds is seen over that.
"""


def alone(package: str) -> list[str]:
    """pytest without any plugin, in a folder beside the copy, on a test that imports `package` and fails."""
    options = ["-x", "--disable-plugin-autoload", "-c", "../alone/pytest.ini"]
    return [sys.executable, "-m", "pytest", *options, f"../alone/test_{package}.py"]


def write_alone(folder: Path) -> None:
    """What `alone` runs, into the new folder `folder`."""
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    for _, package, *_ in STARTS:
        (folder / f"test_{package}.py").write_text(
            f"import {package}\n\n\ndef test_red():\n    assert {package} is None\n"
        )


def pairs(dojo: Dojo) -> list[Pair]:
    """What is measured: the first verdict on a fresh clone's stubs, for each module of STARTS that there is."""
    found = []
    for module, package, over_import, over_pytest in STARTS:
        if any(name.startswith(module) for name in dojo.modules):
            start = [sys.executable, "-m", "pytest", f"katas/{module}", "-x"]
            imports = [sys.executable, "-c", f"import {package}, pytest"]
            what = f"cold start: pytest katas/{module} -x, on stubs, over"
            found += [
                Pair(f"{what} python -c 'import {package}, pytest'", start, imports, over_import),
                Pair(f"{what} pytest alone, a red test that imports {package}", start, alone(package), over_pytest),
            ]
    if not found:
        raise DojoError(f"there is no module in {dojo.clone / 'katas'} to start cold")
    return found


def measure(pair: Pair, folder: Path, runs: int = RUNS) -> Figure:
    """Time both commands of a pair `runs` times in turn in `folder`, after one run of each that isn't counted."""
    # Python's own cache of compiled files is part of a normal start, so it isn't turned off for either.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(folder)
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(runs + 1):
        for command, found in zip((pair.command, pair.against), times, strict=True):
            start = time.perf_counter()
            run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - start
            if run.returncode not in (0, 1):
                said = run.stdout[-300:] + run.stderr[-300:]
                raise DojoError(f"{' '.join(command)} ended with {run.returncode}: {said}")
            if turn:
                found.append(seconds)
    return Figure(pair, statistics.median(times[0]), statistics.median(times[1]))


def run_bench(dojo: Dojo) -> int:
    """Measure every pair and print a line each.  Returns 0 where all targets are met, else 1."""
    met = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "dojo")
        pristine_copy(dojo, folder)
        write_alone(folder.parent / "alone")
        for pair in pairs(dojo):
            figure = measure(pair, folder)
            good = figure.ratio <= pair.target
            met = met and good
            print(pair.what)
            figures = f"{figure.seconds:.3f} s over {figure.baseline:.3f} s = {figure.ratio:.2f}x"
            verdict = "met" if good else "MISSED"
            print(f"  {figures}, target {pair.target:g}x: {verdict}  (medians of {RUNS}, in turn)")
        from dojo.bench import watch as bench_watch

        met = bench_watch.run(folder) and met
    from dojo.bench.tokenizers import run

    return 0 if run(dojo) and met else 1
