"""Each proof of one kata, as a forked child runs it: swap something in, run the tests, report.

A stub, a variant, a mistake, a trivial answer, a planted raise: each changes the
process for good, so each has one of its own, and no patch can harm the next.
"""

from __future__ import annotations

import ast
import contextlib
import pickle
import random
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dojo.checks.replay import Child, replay
from dojo.curriculum.katas import Kata
from dojo.curriculum.patches import Patch
from dojo.curriculum.swap import module_from_source, swap_in
from dojo.proofs.carried import carrying
from dojo.proofs.session import Seen, Session
from dojo.proofs.wrong_on_purpose import TRIVIAL, spoil_in

JOB_SECONDS = 120.0
"""After which a child that proves something of one kata is ended."""


@dataclass
class Green:
    """One run of all tests on the reference: its warnings, its seconds (in which it waited for no other process), and
    by how many MB it raised the peak."""

    seen: list[Seen]
    warned: list[str]
    seconds: float
    megabytes: float


def todo(session: Session, kata: Kata) -> list[Seen]:
    """Proof 1: how the tests end on the stub."""
    stub = module_from_source(kata.stub.read_text(encoding="utf-8"), kata.import_name, kata.stub)
    return session.run(kata, stub, kata.stub)


def green(session: Session, kata: Kata, seed: int) -> Green:
    """Proofs 2 and 9: all tests on the reference, shuffled by the seed."""
    session.config.option.seed = seed
    if (torch := sys.modules.get("torch")) is not None:
        # On one seed: two threads take the core of the child beside this one.
        torch.set_num_threads(2 if seed == 1 else 1)
    items = list(session.items[kata])
    random.Random(seed).shuffle(items)
    before = _peak_megabytes(reset=True)
    start = time.perf_counter() - _waited()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        seen = [session.see(item, kata.reference) for item in items]
    seconds = time.perf_counter() - _waited() - start
    own = [w for w in warned if w.filename == str(kata.reference)]
    said = [f"line {w.lineno}: {w.message}" for w in own]
    return Green(seen, said, seconds, max(0.0, _peak_megabytes() - before))


def _waited() -> float:
    """The seconds that this thread could have run and others ran in its place, where the system tells them.

    A machine that is busy with something else makes no test slower than its budget.
    """
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def variant(session: Session, kata: Kata, patch: Patch, text: str) -> list[Seen]:
    """Proof 3: the tests that run what the variant changes; the others end as they do on the reference."""
    module = module_from_source(text, kata.import_name, kata.reference)
    return session.run(kata, module, kata.reference, session.reaching(kata, patch))


def answers(session: Session, kata: Kata, patch: Patch, text: str) -> bytes:
    """Before proof 4: what the tests get from a mistake (`naming.Answers`), pickled."""
    from dojo.proofs import naming  # here alone, so that nothing else can depend on the diagnosis

    # In bytes: to read them is to load the diagnosis, and whoever forks the mutants mustn't.
    return pickle.dumps(naming.answers(session, kata, patch, text))


def mistake(
    session: Session, kata: Kata, patch: Patch, text: str, pickled: dict[str, bytes], anew: Callable[[], bool]
) -> tuple[str, list[str]] | None:
    """Proof 4: the first test that fails, and the sentences that it tells the learner; ("", []) if none fails.

    pickled  the answers of all mistakes, by their texts
    anew     whether this one's shall be asked once more
    """
    from dojo.proofs import naming

    table: dict[str, naming.Answers] = {one: pickle.loads(answer) for one, answer in pickled.items()}
    if anew():
        again = Child(lambda: naming.answers(session, kata, patch, text), JOB_SECONDS / 2, nested=True).result()
        table = table | {text: again or naming.Answers(whole=False)}
    return naming.named(session, kata, patch, text, table) if text in table else None


def trivial(session: Session, kata: Kata, target: str, kind: str) -> tuple[bool, bool]:
    """Proof 5: whether there was anything to spoil, and whether a test failed."""
    return _spoil(session, kata, target, TRIVIAL[kind])


def _spoil(session: Session, kata: Kata, target: str, spoil: Any) -> tuple[bool, bool]:
    fresh = module_from_source(kata.reference.read_text(encoding="utf-8"), kata.import_name, kata.reference)
    view, watch = spoil_in(fresh, target, spoil)
    caught = False

    def add(applied: bool) -> None:
        watch.applied |= applied

    swap_in(session.items[kata], session.module(kata), view)
    items = [item for item in session.items[kata] if session.reach[kata].gets(item.nodeid, target)]
    for item in sorted(items, key=lambda item: session.seconds[kata][item.nodeid]):
        with carrying(lambda: watch.applied, add):
            caught = replay(item).error is not None
        if caught:
            break
    return watch.applied, caught


def planted(session: Session, kata: Kata) -> list[Seen]:
    """Proof 7, through the real finder: a tree whose file raises on the first line of every function."""
    tree = ast.parse(kata.reference.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = ast.parse("raise RuntimeError('planted')").body
    before = session.module(kata)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, kata.module, f"{kata.stem}.py")
        file.parent.mkdir()
        file.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")
        session.judge.solutions.tree = Path(folder)
        del sys.modules[kata.import_name]
        __import__(kata.import_name)
        planted = sys.modules[kata.import_name]
        swap_in(session.items[kata], before, planted)
        return [session.see(item, file) for item in session.items[kata]]


def _peak_megabytes(reset: bool = False) -> float:
    """The peak of this process's resident memory; where the system can, counted from now on."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return float(peak.split()[1]) / 1024
