"""What learners' code does to the run that judges it: each submission, and how the run must end all the same.

Run as a script it prints a table: `python -m tests.judging.hostile [NAME …]`; the tests beside it run each
in both modes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent, indent

from tests.building import add_kata

ROOT = Path(__file__).resolve().parent.parent.parent
DEADLINE = 2.0
MARK = "424242.5"
"""Seconds that processes sleep which a submission leaves behind, by which they are known."""

SOLUTION = "def dot(x, y):\n{body}    return float(sum(a * b for a, b in zip(x, y)))\n\n\ndef norm(x):\n    return dot(x, x) ** 0.5\n"
TESTS = """
from dojo.testing import assert_close
from katas.module_01_vectors.k01_dot import dot, norm


def test_the_example_worked_by_hand():
    assert_close(dot([1.0, 2.0], [3.0, 4.0]), 11.0)


def test_of_three():
    assert_close(dot([1.0, 2.0, 3.0], [3.0, 4.0, 5.0]), 26.0)


def test_norm():
    assert_close(norm([3.0, 4.0]), 5.0)
"""
OTHER = "def double(x):\n    return 2 * x\n"
OTHER_TESTS = """
from katas.module_01_vectors.k02_double import double


def test_double():
    assert double(4) == 8


def test_nothing():
    assert double(0) == 0
"""


@dataclass(frozen=True)
class Submission:
    """A file for k01_dot.

    body    lines at the start of dot()
    top     lines at the top of the file
    colour  what the kata must be
    says    what must stand in the output
    file    puts something else in the place of the file
    """

    name: str
    body: str = ""
    top: str = ""
    colour: str = "amber"
    says: str = ""
    file: Callable[[Path], None] | None = None
    during: Callable[[Path], None] | None = field(default=None)  # done to the file a second after the start

    def put(self, folder: Path, stem: str = "k01_dot") -> Path:
        path = folder / "katas" / "module_01_vectors" / f"{stem}.py"
        path.write_text(
            dedent(self.top)
            + SOLUTION.format(body=indent(dedent(self.body).rstrip() + "\n", "    ") if self.body else "")
        )
        if self.file is not None:
            self.file(path)
        return path


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _write(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _wrong(path: Path) -> None:
    path.write_text("def dot(x, y):\n    return 0.0\n\n\ndef norm(x):\n    return 0.0\n")


ENDS = "in the middle of it"
LATE = f"Not done after {DEADLINE:g} s, so it was ended: an endless loop?"

SUBMISSIONS = [
    # --- it ends Python
    Submission("os._exit in a call", "import os; os._exit(0)", says=ENDS),
    Submission("os._exit as it is loaded", top="import os\nos._exit(0)\n", says="ended here with status 0"),
    Submission("os._exit in a thread", "import os, threading, time\nthreading.Thread(target=os._exit, args=(0,)).start()\ntime.sleep(1)", says="ended here with status 0"),
    Submission("pytest.exit in a call", "import pytest; pytest.exit('', returncode=0)", says="pytest.exit"),
    Submission("pytest.exit as it is loaded", top="import pytest\npytest.exit('', returncode=0)\n", says="pytest.exit"),
    Submission("SIGKILL", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", says="SIGKILL"),
    Submission("SIGTERM", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)", says="SIGTERM"),
    Submission("SIGSTOP", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", says=LATE),
    Submission("abort", "import os; os.abort()", says="SIGABRT"),
    Submission("a bad address", "import ctypes; ctypes.string_at(0)", says="SIGSEGV"),
    Submission("a bad address as it is loaded", top="import ctypes\nctypes.string_at(0)\n", says="SIGSEGV"),
    Submission("endless recursion", "import sys; sys.setrecursionlimit(10**9)\nreturn dot(x, y)"),
    Submission("endless recursion through C", "import sys; sys.setrecursionlimit(10**9)\nreturn max([x], key=lambda z: dot(z, y))"),
    Submission("exec of another program", "import os; os.execv('/bin/true', ['true'])", says="ended here with status 0"),
    Submission("SystemExit", "raise SystemExit(0)", says="SystemExit"),
    Submission("SystemExit as it is loaded", top="raise SystemExit(0)\n", says="SystemExit"),
    Submission("KeyboardInterrupt", "raise KeyboardInterrupt", says="as Ctrl-C does"),
    Submission("KeyboardInterrupt as it is loaded", top="raise KeyboardInterrupt\n", says="as Ctrl-C does"),
    Submission("GeneratorExit as it is loaded", top="raise GeneratorExit\n", says="GeneratorExit"),
    Submission("interrupt_main", "import _thread; _thread.interrupt_main()\nfor i in range(10**6): pass"),
    Submission("atexit os._exit, and wrong", "import atexit, os; atexit.register(os._exit, 0)\nreturn 0.0", colour="red"),
    Submission("no memory", "x = [0] * 10**14", says="Out of memory"),
    # --- it doesn't end
    Submission("a long sum in C", "sum(range(10**15))", says=LATE),
    Submission("an endless loop", "while True: pass", says=LATE),
    Submission("an endless loop that catches all", "while True:\n    try:\n        x = x\n    except BaseException:\n        pass", says=LATE),
    Submission("SIGALRM ignored", "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass", says=LATE),
    Submission("the timer stopped", "import signal; signal.setitimer(signal.ITIMER_REAL, 0)\nwhile True: pass", says=LATE),
    Submission("the timer stopped, and slow", "import signal, time; signal.setitimer(signal.ITIMER_REAL, 0)\ntime.sleep(3)", says=LATE),
    Submission("all signals blocked", "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass", says=LATE),
    Submission("every clock stopped", "import faulthandler, signal; signal.setitimer(signal.ITIMER_REAL, 0); faulthandler.cancel_dump_traceback_later()\nwhile True: pass", says=LATE),
    Submission("a sleep whose end is swallowed", "import time\ntry:\n    time.sleep(60)\nexcept: pass", says=LATE),
    Submission("a sleep turned into another error", "import time\ntry:\n    time.sleep(60)\nexcept BaseException: raise ValueError", says=LATE),
    Submission("an endless loop as it is loaded", top="while True: pass\n", says=LATE),
    Submission("a sleep as it is loaded", top="import time\ntime.sleep(60)\n", says=LATE),
    Submission("a long sum as it is loaded", top="sum(range(10**15))\n", says=LATE),
    Submission("input()", "input()", says="a kata reads none"),
    Submission("input() as it is loaded", top="input()\n", says="a kata reads none"),
    Submission("an answer with an endless repr", "class A:\n    def __repr__(self):\n        while True: pass\nreturn A()", colour="red or amber"),
    # --- it leaves something behind
    Submission("a thread that stays", "import threading, time; threading.Thread(target=time.sleep, args=(3000,)).start()", colour="green"),
    Submission("atexit that sleeps", "import atexit, time; atexit.register(time.sleep, 3000)", colour="green"),
    Submission("a process", f"import subprocess; subprocess.Popen(['sleep', '{MARK}'])", colour="green"),
    Submission("a fork", f"import os\nif os.fork() == 0: os.execvp('sleep', ['sleep', '{MARK}'])", colour="green"),
    Submission("a daemon", f"import subprocess; subprocess.Popen('setsid sleep {MARK} & disown', shell=True, executable='/bin/bash', start_new_session=True)", colour="green"),
    Submission("a fork that goes on with the tests", "import os, time\nif os.fork() == 0: time.sleep(0.1)", colour="green"),
    # --- it isn't judged
    Submission("skip", "import pytest; pytest.skip('later')", says="skips the test"),
    Submission("xfail", "import pytest; pytest.xfail('later')", says="meant to fail"),
    Submission("SkipTest", "import unittest; raise unittest.SkipTest('later')", says="skips the test"),
    Submission("importorskip", "import pytest; pytest.importorskip('nothing_of_that_name')", says="skips the test"),
    Submission("skip as it is loaded", top="import pytest\npytest.skip('later', allow_module_level=True)\n", says="skips the test"),
    Submission("importorskip as it is loaded", top="import pytest\npytest.importorskip('nothing_of_that_name')\n", says="skips the test"),
    # --- the file
    Submission("a wrong file put in its place", "import time; time.sleep(0.8)", top="import os\nopen(f'loaded.{os.getpid()}', 'w').close()\n", colour="green", during=_wrong),
    Submission("100,000 minuses", file=_write(b"def dot(x, y):\n    return " + b"-" * 100_000 + b"1\n"), says="can't read"),
    Submission("a named pipe", file=_fifo, says="a named pipe"),
    Submission("a folder", file=_folder, says="a folder"),
    Submission("null bytes", file=_write(b"def dot(x, y):\n    return 1\0\n")),
    Submission("not UTF-8", file=_write(b"def dot(x, y):\n    return '\xff'\n")),
    # --- what is around it
    Submission("builtins.len", top="import builtins\nbuiltins.len = lambda x: 3\n", says="Your code changed builtins.len"),
    Submission("builtins.sum in a call", "import builtins; builtins.sum = lambda x: 3.0", says="Your code changed builtins.sum"),
    Submission("builtins.isinstance in a call", "import builtins; builtins.isinstance = lambda x, y: True", says="Your code changed builtins.isinstance"),
    Submission("time.monotonic", "import time; time.monotonic = lambda: 0.0", says="Your code changed time.monotonic"),
    Submission("time.monotonic as it is loaded", top="import time\ntime.monotonic = lambda: 0.0\n", says="Your code changed time.monotonic"),
    Submission("sys.modules", "import sys; sys.modules = {}", says="Your code changed sys.modules"),
    Submission("sys.stderr closed", "import sys; sys.stderr.close()", says="closes sys.stderr"),
    Submission("sys.stdout closed as it is loaded", top="import sys\nsys.stdout.close()\n", says="closes sys.stdout"),
    Submission("sys.stdout gone", "import sys; sys.stdout = sys.stderr = None", colour="green"),
    Submission("descriptors closed", "import os; os.closerange(0, 3)", colour="green"),
    Submission("all descriptors closed", "import os; os.closerange(0, 200)", says="closes files that it hasn't opened"),
    Submission("all descriptors closed as it is loaded", top="import os\nos.closerange(0, 200)\n", says="closes files that it hasn't opened"),
    Submission("environment cleared", "import os; os.environ.clear()", colour="green"),
    Submission("another folder", "import os; os.chdir('/')", colour="green"),
    Submission("much output", "for i in range(30_000): print('a line of output')", colour="green"),
]  # fmt: skip


def make_dojo(folder: Path, *more: Submission) -> Path:
    """A dojo of two katas: k01_dot for the submissions, and k02_double, which is green.

    With submissions given, they are put in katas k03_dot3 … of their own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = (ROOT / "tests" / "playground" / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(config.replace("deadline = 2", f"deadline = {DEADLINE:g}"))
    right = SOLUTION.format(body="")
    add_kata(folder, "module_01_vectors", "k01_dot", right, TESTS, right)
    add_kata(folder, "module_01_vectors", "k02_double", OTHER, OTHER_TESTS, OTHER)
    for n, submission in enumerate(more, start=3):
        stem = f"k{n:02d}_dot{n}"
        add_kata(folder, "module_01_vectors", stem, right, TESTS.replace("k01_dot", stem), right)
        submission.put(folder, stem)
    return folder


@dataclass
class Ended:
    """How a run ended."""

    status: int
    output: str
    seconds: float
    colours: dict[str, str]  # of each test of k01_dot, in the record's last row
    whole: bool
    kept: bool  # whether the learner's file is as it was
    left: list[str]  # processes
    stem: str = "k01_dot"

    @property
    def colour(self) -> str:
        found = set(self.colours.values())
        return next((c for c in ("amber", "red", "todo") if c in found), "green" if found and self.whole else "none")

    def faults(self, submission: Submission, limit: float) -> list[str]:
        """What is wrong with that, in words; empty where the submission was contained."""
        found = []
        expected = submission.colour
        if self.colour not in expected.split(" or "):
            found.append(f"the record says {self.colour}, expected {expected}")
        if (self.status == 0) != (expected == "green"):
            found.append(f"exit status {self.status}")
        if self.status not in (0, 1):
            found.append(f"exit status {self.status}, expected 0 or 1")
        block = self.output.split("- dojo -")[-1] if "- dojo -" in self.output else ""
        if not any(f"{colour:<6} {self.stem}" in block for colour in expected.split(" or ")):
            found.append(f"no block says {expected}")
        if submission.says and " ".join(submission.says.split()) not in " ".join(block.split()):
            found.append(f"it doesn't say {submission.says!r}")
        for word in ("Traceback", "INTERNALERROR", "Fatal Python error", "most recent call"):
            if word in self.output:
                found.append(f"the output has {word!r}")
        if self.seconds > limit:
            found.append(f"{self.seconds:.1f} s, limit {limit:.1f} s")
        if not self.kept:
            found.append("the learner's file was changed")
        if self.left:
            found.append(f"left behind: {self.left}")
        return found


def run(folder: Path, submission: Submission, *args: str, timeout: float = 120) -> Ended:
    """Put the submission in the dojo at `folder`, and judge it with `pytest katas ARGS`."""
    path = submission.put(folder)
    before = path.read_bytes() if path.is_file() else None
    mark = f"{MARK}{os.getpid()}{threading.get_ident() % 10**6}"  # of this run alone: others may be at it beside it
    if before is not None and MARK.encode() in before:
        path.write_bytes(before := before.replace(MARK.encode(), mark.encode()))
    start = time.monotonic()
    process = pytest_in(folder, *args)
    try:
        if submission.during is not None:
            _wait_until_loaded(folder, 2 if "-n" in args else 1)
            submission.during(path)
            before = path.read_bytes()
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output = process.communicate()[0]
    seconds = time.monotonic() - start
    colours, whole = last_row(folder)
    kept = (path.read_bytes() if path.is_file() else None) == before
    return Ended(process.returncode, output, seconds, colours, whole, kept, processes_with(mark))


def run_together(folder: Path, submissions: list[Submission], *args: str) -> list[Ended]:
    """Judge many submissions in one run."""
    make_dojo(folder, *submissions)
    mark = f"{MARK}{os.getpid()}"
    for path in (folder / "katas").rglob("k*.py"):
        if path.is_file() and MARK.encode() in path.read_bytes():
            path.write_bytes(path.read_bytes().replace(MARK.encode(), mark.encode()))
    start = time.monotonic()
    process = pytest_in(folder, *args)
    try:
        output, _ = process.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        process.terminate()  # with all that it has started
        output = process.communicate()[0]
    seconds = time.monotonic() - start
    left = processes_with(mark)
    return [
        Ended(process.returncode, output, seconds, *last_row(folder, f"dot{n}"), True, left, f"k{n:02d}_dot{n}")
        for n in range(3, 3 + len(submissions))
    ]


def pytest_in(folder: Path, *args: str) -> subprocess.Popen[str]:
    """`pytest katas ARGS`, begun in the dojo at `folder`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "DOJO_"))}
    environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "katas", *args], cwd=folder, env=environment, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def processes_with(mark: str) -> list[str]:
    """The processes that sleep for `mark` seconds."""
    listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=False).stdout
    return [line.strip() for line in listed.splitlines() if f"sleep {mark}" in line]


def _wait_until_loaded(folder: Path, workers: int) -> None:
    """Until each of the workers has read the solution, of which a file of its own tells: each judges what it read."""
    deadline = time.monotonic() + 60
    while len(list(folder.glob("loaded.*"))) < workers:
        assert time.monotonic() < deadline, f"after 60 s not all of {workers} workers have loaded the solution"
        time.sleep(0.02)


def last_row(folder: Path, kata: str = "dot") -> tuple[dict[str, str], bool]:
    """The colours of the tests in the record's last attempt at a kata, and whether it was whole."""
    database = folder / ".dojo" / "record.sqlite"
    if not database.exists():
        return {}, False
    with sqlite3.connect(database) as db:
        row = db.execute(
            "select colours, whole from attempts where kata = ? order by id desc limit 1", (kata,)
        ).fetchone()
    return (json.loads(row[0]), bool(row[1])) if row else ({}, False)


def main(names: list[str]) -> int:
    """Judge every submission, or those whose names hold one of `names`, in both modes; the number of faults."""
    from concurrent.futures import ThreadPoolExecutor

    chosen = [s for s in SUBMISSIONS if not names or any(name in s.name for name in names)]
    jobs = [(submission, args) for submission in chosen for args in ((), ("-n", "2"))]

    def judge(job: tuple[Submission, tuple[str, ...]]) -> Ended:
        with tempfile.TemporaryDirectory() as temporary:
            return run(make_dojo(Path(temporary, "dojo")), job[0], *job[1])

    bad = 0
    with ThreadPoolExecutor(max(2, (os.cpu_count() or 2) // 2)) as pool:
        for (submission, args), ended in zip(jobs, pool.map(judge, jobs), strict=True):
            faults = ended.faults(submission, DEADLINE + 5 + 15)
            bad += bool(faults)
            mode = " ".join(args) or "plain"
            print(f"{'BAD' if faults else 'ok ':<4} {mode:<6} {ended.seconds:6.1f} s  {submission.name}", flush=True)
            for fault in faults:
                print(f"       {fault}")
            if faults and names:
                print(indent(ended.output, "       | "), flush=True)
    print(f"{len(jobs) - bad} of {len(jobs)} contained")
    return bad


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
