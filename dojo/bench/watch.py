"""How long after a save `dojo watch` knows, beside the cold command; and what a thousand saves leave behind."""

from __future__ import annotations

import os
import select
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from dojo.curriculum.katas import Dojo, DojoError, Kata, open_dojo
from dojo.watch.runner import Ended, WarmRunner
from dojo.watch.watcher import Watch

SAVES = 15
SECONDS = 120.0
THOUSAND = 1000
MEGABYTES = 2.0
"""More than that after a thousand saves is a leak; less is what the allocator makes of it."""
TARGETS = (("attention", "torch", 1 / 8), ("broadcasting", "numpy", 1 / 3))
"""A kata, what it is written in, and the share of the cold command's time in which a save is judged."""


@dataclass(frozen=True)
class Left:
    """What a series of saves has left behind, in the watcher and in the process that runs are forked from."""

    processes: int
    descriptors: int
    megabytes: float


def run(folder: Path) -> bool:
    """Measure TARGETS in `folder`, a copy of the project's clone that may be written to; whether all are met."""
    dojo = open_dojo(folder)
    met = True
    for name, library, target in TARGETS:
        kata = next((kata for kata in dojo.katas if kata.name == name), None)
        if kata is None:
            continue
        watched, cold = measure(dojo, kata)
        ratio = watched / cold
        good = ratio <= target
        met = met and good
        print(f"save to verdict in dojo watch, {kata.stem} ({library}), over pytest katas/…/{name} -x, all green")
        print(
            f"  {watched:.3f} s over {cold:.3f} s = 1/{cold / watched:.1f}, target 1/{1 / target:g}: "
            f"{'met' if good else 'MISSED'}  (medians of {SAVES}, in turn)"
        )
    return met


def measure(dojo: Dojo, kata: Kata, saves: int = SAVES) -> tuple[float, float]:
    """Medians in seconds, in turn: from a save to its verdict in a watcher, and of the cold command."""
    answer = kata.reference.read_text(encoding="utf-8")
    kata.path.write_text(answer, encoding="utf-8")
    times: tuple[list[float], list[float]] = ([], [])
    command = [sys.executable, "-m", "pytest", f"katas/{kata.module}/test_{kata.stem}.py", "-x"]
    environment = {**os.environ, "PYTHONPATH": str(dojo.root)}
    watch = _open(dojo, kata)
    try:
        for turn in range(saves):
            times[0].append(_save(watch, kata, f"{answer}\n# save {turn}\n"))
            start = time.perf_counter()
            cold = subprocess.run(command, cwd=dojo.root, env=environment, capture_output=True, text=True, check=False)
            times[1].append(time.perf_counter() - start)
            if cold.returncode:
                raise DojoError(f"the reference isn't green: {cold.stdout[-500:]}")
    finally:
        watch.close()
    return statistics.median(times[0]), statistics.median(times[1])


def _open(dojo: Dojo, kata: Kata) -> Watch:
    """A watcher without a screen, that has judged the kata once and imported what it will need."""
    environment = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(dojo.root)
    try:
        watch = Watch(dojo, kata, manual=False, poll=False, cold=False, colour=False)
    finally:
        if environment is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = environment
    watch.start(80)
    _wait(watch)
    end = time.monotonic() + SECONDS
    while not watch.runner.ready and time.monotonic() < end:
        select.select(watch.runner.files(), [], [], 1.0)
        watch.runner.events()
    return watch


def _save(watch: Watch, kata: Kata, text: str) -> float:
    """Save, and wait for the verdict; the seconds between."""
    start = time.perf_counter()
    kata.path.write_text(text, encoding="utf-8")
    ended = _wait(watch)
    seconds = time.perf_counter() - start
    if ended.status or not ended.finished:
        raise DojoError(f"the reference of {kata.name} isn't green in dojo watch: status {ended.status}")
    return seconds


def _wait(watch: Watch) -> Ended:
    """Go on as the watcher's loop does until a run has ended."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if ended := _step(watch, 1.0):
            return ended
    raise DojoError(f"no verdict within {SECONDS:g} s")


def _step(watch: Watch, seconds: float) -> Ended | None:
    """One turn of the watcher's loop, waiting for that long at most; the run that ended in it."""
    if watch.saved_among(select.select(watch.sources(), [], [], seconds)[0]):
        watch.start(80)
    for event in watch.runner.events():
        if isinstance(event, Ended):
            watch.end(event)
            return event
    return None


def run_soak(dojo: Dojo) -> int:
    """A thousand saves one by one, and a thousand as fast as they come, in a copy; 0 where they leave nothing."""
    import tempfile

    from dojo.bench.copies import pristine_copy

    clean = True
    for one_by_one in (True, False):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary, "dojo")
            pristine_copy(dojo, folder)
            copy = open_dojo(folder)
            start = time.perf_counter()
            left = soak(copy, THOUSAND, one_by_one, next((k for k in copy.katas if k.name == TARGETS[1][0]), None))
            how = "one by one" if one_by_one else "as fast as they come"
            good = left.processes == 0 and left.descriptors == 0 and left.megabytes < MEGABYTES
            clean = clean and good
            print(
                f"{THOUSAND} saves {how}, {time.perf_counter() - start:.0f} s: {left.processes} processes, "
                f"{left.descriptors} descriptors, {left.megabytes} MB more than before: {'met' if good else 'MISSED'}"
            )
    return 0 if clean else 1


def soak(dojo: Dojo, saves: int = 1000, wait_for_each: bool = True, kata: Kata | None = None) -> Left:
    """Save `saves` times in a row, waiting for each verdict or for the last one only; what that has left behind.

    The first tenth isn't counted: caches fill.
    """
    kata = kata or dojo.katas[0]
    answer = kata.reference.read_text(encoding="utf-8")
    kata.path.write_text(answer, encoding="utf-8")
    watch = _open(dojo, kata)
    try:
        before = _held(watch)
        for turn in range(saves):
            text = f"{answer}\n# save {turn}\n"
            if wait_for_each or turn == saves - 1:
                _save(watch, kata, text)
            else:
                kata.path.write_text(text, encoding="utf-8")
                time.sleep(0.01)
            if turn == saves // 10:
                _settle(watch)
                before = _held(watch)
        _settle(watch)
        after = _held(watch)
    finally:
        watch.close()
    return Left(after[0] - before[0], after[1] - before[1], round(after[2] - before[2], 1))


def _settle(watch: Watch) -> None:
    """Let a run that a late notification has started come to its end."""
    quiet = time.monotonic() + 0.3
    while time.monotonic() < quiet:
        _step(watch, 0.1)
        if watch.runner.busy:
            quiet = time.monotonic() + 0.3


def _held(watch: Watch) -> tuple[int, int, float]:
    """Processes, descriptors and megabytes of the watcher and of the process that its runs are forked from."""
    assert isinstance(watch.runner, WarmRunner)
    pids = [os.getpid(), watch.runner.pid]
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,rss=,comm="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 3) for line in listed.splitlines()]
    processes = sum(int(row[1]) in pids and row[3] != "ps" for row in rows)
    megabytes = sum(int(row[2]) for row in rows if int(row[0]) in pids) / 1024
    descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids if Path(f"/proc/{pid}/fd").exists())
    return processes, descriptors, megabytes
