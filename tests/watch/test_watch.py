"""`dojo watch`, walked through in a real pseudo-terminal, and the runner beneath it."""

from __future__ import annotations

import importlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.text import Text

from dojo.curriculum.katas import open_dojo
from dojo.watch.runner import (
    ColdRunner,
    Ended,
    Lost,
    Output,
    Runner,
    WarmRunner,
    imports_of,
    needed_by,
    needed_by_module,
)
from dojo.watch.saves import Saves
from dojo.watch.screen import fitted
from dojo.watch.warm import ENGINE
from dojo.watch.watcher import Watch, failure_first
from tests.building import two_katas
from tests.terminal import ROOT, Terminal

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX terminal")
SQUARE = "katas/module_01_first/k01_square.py"
RIGHT = "def square(x):\n    return x * x\n"
WRONG = "def square(x):\n    return x + x\n"


@pytest.fixture
def two(tmp_path) -> Path:
    folder = two_katas(tmp_path / "dojo")
    (folder / "pyproject.toml").write_text("[tool.dojo]\ndeadline = 100\n")
    return folder


def running(t: Terminal) -> list[int]:
    """Wait for a run to be going on: the warm process, and the run."""
    for _ in range(200):
        if len(pids := children_of(t.process.pid)) > 1:
            return pids
        t.read()
    raise AssertionError(f"nothing runs:\n{t.text}")


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(folder: Path, *options: str, **kwargs: object) -> Terminal:
        opened.append(Terminal(folder, "watch", *options, **kwargs))  # type: ignore[arg-type]
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def children_of(pid: int) -> list[int]:
    """The processes that `pid` has started, and those that they have."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    direct = [int(line) for line in found.stdout.split()]
    return [*direct, *(grandchild for child in direct for grandchild in children_of(child))]


def gone(pids: list[int], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() or _alive(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


class TestOnAScreen:
    def test_save_and_know(self, two, terminal):
        t = terminal(two)
        t.until(r"todo.*k01_square(?s:.*)isn't written yet")
        (two / SQUARE).write_text(WRONG)
        t.until(r"✗ red ?[\d/]*, [\d.]+ s  k01_square")
        t.until(r"yours +6|6 == 9|expected")
        (two / SQUARE).write_text(RIGHT)
        t.until(r"✓ k01_square is green: 2 of 2\n· todo ?[\d/]*, [\d.]+ s  k01_area")
        t.send("q")
        assert t.ended() == 0
        assert "\x1b[?1049l" in t.written and "\x1b[?25h" in t.written  # the terminal is as it was

    def test_the_latest_save_wins(self, two, terminal):
        (two / SQUARE).write_text("import time\n\n\ndef square(x):\n    time.sleep(60)\n")
        t = terminal(two)
        warm, run = running(t)
        start = time.monotonic()
        (two / SQUARE).write_text(RIGHT)
        t.until("k01_square is green")
        assert time.monotonic() - start < 50
        assert gone([run])
        assert warm in children_of(t.process.pid)

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            (
                "import os\n\n\ndef square(x):\n    os._exit(3)\n",
                r"! amber ?[\d/]*, .*k01_square(?s:.*)ended here with status 3",
            ),
            (
                "import os\n\n\ndef square(x):\n    os._exit(0)\n",
                r"! amber ?[\d/]*, .*k01_square(?s:.*)ended here with status 0",
            ),
            (
                "import os\n\n\ndef square(x):\n    os.kill(os.getpid(), 11)\n",
                r"! amber ?[\d/]*, .*k01_square(?s:.*)ended by SIGSEGV",
            ),
            ("def square(x):\n    while True:\n        pass\n", r"! amber ?[\d/]*, .*k01_square(?s:.*)an endless loop"),
            ("def square(x:\n", r"(red|amber).*k01_square(?s:.*)SyntaxError|never closed"),
        ],
    )
    def test_what_the_learners_code_does_to_python(self, two, terminal, code, said):
        (two / "pyproject.toml").write_text("[tool.dojo]\ndeadline = 1\n")
        t = terminal(two)
        t.until("isn't written yet")
        (two / SQUARE).write_text(code)
        t.until(said)
        (two / SQUARE).write_text(RIGHT)  # and it goes on
        t.until("k01_square is green")

    def test_the_keys(self, two, terminal):
        t = terminal(two, columns=72)
        t.until("isn't written yet")
        t.send("l")
        t.until(r"module_01_first +0/1 green(?s:.*)esc back")
        t.send("\x1b")
        t.until("isn't written yet")
        t.send("h")
        t.until("has no hints|hint 1 of")
        t.send("d")
        t.until("Look at the reference all the same")
        t.send("x")
        t.until("isn't written yet")
        t.send("dy")
        t.until(r"return x \* x")
        t.send("n")
        t.until(r"k01_area")
        t.send("n")
        t.until(r"todo ?[\d/]*, [\d.]+ s  k01_square")
        t.send("a")
        t.until(r"not all green, [\d.]+ s  module_01_first")
        t.send("\r")
        t.until(r"todo ?[\d/]*, [\d.]+ s  k01_square")
        t.send("q")
        assert t.ended() == 0

    def test_resized_to_60_columns(self, two, terminal):
        t = terminal(two, columns=100, lines=30)
        t.until("1 failed")
        t.resize(60, 20)
        t.until(r"enter run  h hint  d diff  n next  l list  a all  q quit$")
        lines = t.text.splitlines()
        assert all(len(line) <= 60 for line in lines)
        assert any(re.fullmatch(r"=+ .*1 failed.* =+", line) for line in lines), t.text
        t.send("k" * 30)
        t.until("k01_square  ")
        assert "rootdir" not in t.text
        t.send("G")
        t.until("1 failed")

    def test_started_in_60_columns(self, two, terminal):
        t = terminal(two, columns=60, lines=15)
        t.until(r"1 failed.*\n(?s:.*)q quit$")
        assert all(len(line) <= 60 for line in t.text.splitlines())

    def test_without_colour(self, two, terminal):
        t = terminal(two, env={"NO_COLOR": "1"})
        t.until(r"· todo ?[\d/]*, .*k01_square")
        (two / SQUARE).write_text(WRONG)
        t.until(r"✗ red ?[\d/]*, .*k01_square")
        assert not re.search(r"\x1b\[[\d;]*(3[0-7]|9[0-7])m", t.written)

    def test_on_a_terminal_without_such_characters(self, two, terminal):
        t = terminal(two, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
        t.until(r"\. todo ?[\d/]*, .*k01_square")
        (two / SQUARE).write_text(RIGHT)
        t.until(r"\+ k01_square is green")

    @pytest.mark.parametrize("stage", ["at once", "while it runs", "while it waits", "at a question"])
    def test_ctrl_c_at_every_stage(self, two, terminal, stage):
        if stage == "while it runs":
            (two / SQUARE).write_text("import time\n\n\ndef square(x):\n    time.sleep(60)\n")
        t = terminal(two)
        if stage == "while it runs":
            running(t)
        elif stage != "at once":
            t.until("isn't written yet")
        else:
            t.until("getting ready|running|todo")
        if stage == "at a question":
            t.send("d")
            t.until("all the same")
        started = children_of(t.process.pid)
        t.send("\x03")
        assert t.ended() == 130
        assert "Traceback" not in t.written
        assert "\x1b[?1049l" in t.written
        assert gone(started), "something that it had started is still there"

    def test_killed_it_leaves_nothing(self, two, terminal):
        (two / SQUARE).write_text("import time\n\n\ndef square(x):\n    time.sleep(60)\n")
        t = terminal(two)
        started = running(t)
        os.kill(t.process.pid, signal.SIGKILL)
        assert gone(started)

    def test_manual(self, two, terminal):
        t = terminal(two, "--manual")
        t.until("isn't written yet")
        (two / SQUARE).write_text(RIGHT)
        t.read(0.7)
        assert "is green" not in t.text
        t.send("\r")
        t.until("k01_square is green")

    @pytest.mark.parametrize("option", ["--poll", "--cold"])
    def test_polling_and_cold_runs(self, two, terminal, option):
        t = terminal(two, option)
        t.until("isn't written yet")
        time.sleep(1.1)  # polling goes by the time of the last change
        (two / SQUARE).write_text(RIGHT)
        t.until("k01_square is green")
        t.send("q")
        assert t.ended() == 0

    def test_suspended_and_back(self, two, terminal):
        t = terminal(two)
        t.until("isn't written yet")
        t.send("\x1a")
        for _ in range(100):
            t.read(0.2)
            if "\x1b[?1049l" in t.written:
                break
        assert "\x1b[?1049l" in t.written
        os.kill(t.process.pid, signal.SIGCONT)
        t.send("l")
        t.until("module_01_first")


def test_where_there_is_no_fork(two, monkeypatch):
    monkeypatch.delattr(os, "fork")
    watch = Watch(open_dojo(two), None, manual=True, poll=False, cold=False, colour=False)
    try:
        assert isinstance(watch.runner, ColdRunner)
        assert watch.notes == ["this system can't fork: each run starts Python anew"]
    finally:
        watch.close()


RUN = """\
============================= test session starts ==============================
platform linux -- Python 3.11.7, pytest-9.2.0, pluggy-1.7.0
dojo: judging your solutions
dojo: lent by the reference: square, which area builds on
rootdir: /somewhere
plugins: one, two,
three
collected 2 items

katas/test_k01_square.py R

------------------------------------- dojo -------------------------------------
red    k01_square  Square                                            0/2 green
  test_of_three
    square() is wrong
  edit   katas/k01_square.py:2
!!!!!!!!!!!!!!!!!!!!!!!!!! stopping after 1 failures !!!!!!!!!!!!!!!!!!!!!!!!!!!
============================== 1 failed in 0.12s ===============================
"""


def test_the_failure_comes_first_and_pytests_header_not_at_all():
    text, found = failure_first(Text(RUN))
    lines = text.plain.splitlines()
    assert found
    assert lines[0].startswith("red    k01_square")
    assert lines[3:6] == [
        "  edit   katas/k01_square.py:2",
        "",
        "dojo: lent by the reference: square, which area builds on",
    ]
    assert lines[-1].startswith("=====") and "1 failed" in lines[-1]
    for word in ("rootdir", "platform", "plugins", "three", "test session starts"):
        assert word not in text.plain.replace("test_of_three", "")


def test_a_run_without_a_block_is_shown_as_it_is():
    text = Text("INTERNALERROR> a\nb")
    assert failure_first(text) == (text, False)


def test_the_title_says_the_step_and_its_minutes(two, terminal):
    toml = two / "reference/module_01_first/k01_square.toml"
    toml.write_text('title = "Square"\nsteps = { square = 7 }\n')
    t = terminal(two)
    t.until(r"k01_square  Square\n  step 1 of 1: square, about 7 minutes")


def test_into_a_pipe(two):
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "dojo", "watch", "square", "--manual"], cwd=two, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = process.communicate("", timeout=60)
    assert process.returncode == 0, said
    assert "dojo: judging k01_square" in said
    assert re.search(r"dojo: k01_square  todo ?[\d/]*, [\d.]+ s\n", said), said
    assert "\x1b" not in said
    assert "rootdir" not in said


def test_an_unknown_kata(two):
    run = subprocess.run(
        [sys.executable, "-m", "dojo", "watch", "sqare"], cwd=two, text=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert (run.returncode, "did you mean square" in run.stderr) == (2, True)


# --- the runner ---------------------------------------------------------------------------------------


@pytest.fixture(params=[WarmRunner, ColdRunner])
def runner(request, two) -> Iterator[Runner]:
    one = request.param(two, {"PYTHONPATH": str(ROOT), "PY_COLORS": "0"})
    yield one
    one.close()


def wait(runner: Runner, seconds: float = 30.0) -> tuple[int, str]:
    """The status and the output of the run that is going on."""
    said, end = "", time.monotonic() + seconds
    while True:
        assert time.monotonic() < end, said
        select.select(runner.files(), [], [], 1.0)
        for event in runner.events():
            if isinstance(event, Output):
                said += event.text
            elif isinstance(event, Ended):
                return (event.status if event.finished else -1), said


class TestRunner:
    def test_status_and_output(self, runner, two):
        runner.start(["katas/module_01/square", "-x"], 70)
        status, said = wait(runner)
        assert (status, "square() isn't written yet" in said) == (1, True)
        assert len(said.splitlines()[0]) == 70
        (two / SQUARE).write_text(RIGHT)
        runner.start(["katas/module_01/square"], 90)
        assert wait(runner)[0] == 0

    def test_everything_of_the_learners_is_loaded_fresh(self, runner, two):
        """Saves within a second, of one size: a cached file would outlive them."""
        helper = two / "katas" / "module_01_first" / "helper.py"
        (two / SQUARE).write_text("from .helper import f\n\n\ndef square(x):\n    return f(x)\n")
        for right in (True, False, True, False):
            helper.write_text(f"def f(x):\n    return x {'*' if right else '+'} x\n")
            runner.start(["katas/module_01/square"], 80)
            assert wait(runner)[0] == (0 if right else 1)
        test = two / "katas" / "module_01_first" / "test_k01_square.py"
        test.write_text(test.read_text().replace("== 9", "== 6").replace("== 16", "== -8"))
        runner.start(["katas/module_01/square"], 80)
        assert wait(runner)[0] == 0

    def test_a_cancelled_run_says_nothing_more(self, runner, two):
        (two / SQUARE).write_text("import time\n\n\ndef square(x):\n    time.sleep(60)\n")
        runner.start(["katas/module_01/square"], 80)
        time.sleep(1.0)
        runner.cancel()
        (two / SQUARE).write_text(RIGHT)
        runner.start(["katas/module_01/square"], 80)
        status, said = wait(runner)
        assert (status, said.count("test session starts")) == (0, 1)

    def test_what_a_run_leaves_behind_is_ended(self, runner, two, tmp_path):
        (two / SQUARE).write_text(
            "import subprocess\n\n\ndef square(x):\n"
            "    child = subprocess.Popen(['sleep', '60'])\n"
            f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n    return x * x\n"
        )
        runner.start(["katas/module_01/square", "-x"], 80)
        assert wait(runner)[0] == 0
        assert gone([int((tmp_path / "pid").read_text())])

    def test_closed_in_the_middle_of_a_run(self, runner, two):
        (two / SQUARE).write_text("import time\n\n\ndef square(x):\n    time.sleep(60)\n")
        runner.start(["katas/module_01/square"], 80)
        time.sleep(1.0)
        started = children_of(os.getpid())
        runner.close()
        assert gone([pid for pid in started if not _is_ours(pid)])


def _is_ours(pid: int) -> bool:
    """Whether it is the `ps` that looked."""
    try:
        return "ps" in Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return False


def test_a_warm_process_that_dies_is_replaced(two):
    runner = WarmRunner(two, {"PYTHONPATH": str(ROOT)})
    try:
        runner.start(["katas/module_01/square"], 80)
        assert wait(runner)[0] == 1
        os.kill(runner.pid, signal.SIGKILL)
        events: list[object] = []
        while not events:
            select.select(runner.files(), [], [], 5.0)
            events += runner.events()
        assert any(isinstance(event, Lost) for event in events)
        runner.start(["katas/module_01/square"], 80)
        assert wait(runner)[0] == 1
    finally:
        runner.close()


@pytest.mark.parametrize("kind", ["all at once", "one by one"])
def test_many_saves_leave_nothing_behind(two, kind):
    """A short soak: no process, no descriptor, no megabyte more. `dojo bench --soak` does a thousand."""
    from dojo.bench.watch import Left, soak

    left = soak(open_dojo(two), saves=25, wait_for_each=kind == "one by one")
    assert left == Left(processes=0, descriptors=0, megabytes=left.megabytes)
    assert left.megabytes < 10


@pytest.mark.parametrize("name", ENGINE)
def test_what_every_run_needs_can_be_imported(name):
    """A name that can't be imported would be passed over in silence, and cost every run."""
    assert importlib.import_module(name)


def test_what_to_import(tmp_path):
    test = tmp_path / "test_k01_x.py"
    test.write_text(
        "import os, torch.nn\nfrom dojo.testing import pure\nfrom katas.m.k01_x import f\n\n"
        "def test_a():\n    from transformers import BertModel, BertConfig as C\n    import numpy as np\n"
    )
    broken = tmp_path / "test_k02_x.py"
    broken.write_text("def (:\n")
    found = imports_of([test, broken, tmp_path / "missing.py"])
    assert sorted(found) == ["numpy", "torch.nn", "transformers", "transformers:BertConfig", "transformers:BertModel"]
    assert found.index("transformers") < found.index("transformers:BertModel")


def test_transformers_is_imported_only_where_a_test_of_the_module_uses_it():
    dojo = open_dojo(ROOT)
    numpy_only, torch_too = dojo.kata("broadcasting"), dojo.kata("attention")
    assert needed_by(numpy_only)[:2] == ["numpy", "pytest"]
    assert not any(name.startswith(("torch", "transformers")) for name in needed_by_module(numpy_only))
    assert "torch" in needed_by(torch_too)
    assert any(name.startswith("transformers") for name in needed_by_module(torch_too))


# --- saves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poll", [False, True])
def test_saves(tmp_path, poll):
    (tmp_path / "a.py").write_text("1")
    saves = Saves([tmp_path], poll)
    try:
        assert saves.started.wait(20)
        time.sleep(1.1 if poll else 0)
        for name in ("a.py", ".a.py.swp", "b.txt", ".hidden.py"):
            (tmp_path / name).write_text("2")
        (tmp_path / "new").write_text("3")
        os.replace(tmp_path / "new", tmp_path / "c.py")  # as many editors save
        found: set[str] = set()
        end = time.monotonic() + 20
        while found != {"a.py", "c.py"} and time.monotonic() < end:
            if select.select([saves], [], [], 0.5)[0]:
                found |= {path.name for path in saves.take()}
        assert found == {"a.py", "c.py"}
    finally:
        saves.close()


def test_where_the_system_does_not_notify_it_polls_and_says_so(tmp_path, monkeypatch):
    import watchfiles

    real = watchfiles.watch

    def without_notifications(*folders, force_polling=None, **options):
        if not force_polling:
            raise OSError(28, "inotify watch limit reached")
        return real(*folders, force_polling=True, **options)

    monkeypatch.setattr(watchfiles, "watch", without_notifications)
    saves = Saves([tmp_path])
    try:
        assert saves.started.wait(20)
        assert "inotify watch limit reached" in saves.problem
        assert saves.polling
    finally:
        saves.close()


@pytest.mark.parametrize(
    ("line", "width", "expected"),
    [
        ("===== 3 passed =====", 20, "===== 3 passed ====="),
        ("===== 3 passed =====", 15, "== 3 passed ==="),
        ("===== 3 passed =====", 5, "= 3 passed ="),
        ("----- a ------", 10, "--- a ----"),
        ("a long line of text that is no heading", 10, "a long line of text that is no heading"),
    ],
)
def test_a_rule_gets_shorter_with_the_terminal(line, width, expected):
    assert fitted(Text(line), width).plain == expected
