"""The supervisor beside all that people do with pytest: options, interrupts, debuggers, plugins."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pexpect
import pytest

from tests.building import add_kata, two_katas
from tests.judging.hostile import Submission, last_row, make_dojo, pytest_in
from tests.synthetic import commit, git

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no supervisor without fork")

RIGHT = Submission("right")
EXITS = Submission("exits", "import os; os._exit(0)")
SLEEPS = Submission("sleeps", "open('loaded', 'w').close(); import time; time.sleep(1.5)")
ONCE = re.compile(r"^!+ \S*KeyboardInterrupt !+|^!+ .*KeyboardInterrupt.* !+", re.MULTILINE)


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_dojo(tmp_path / "dojo")


def ended(process) -> tuple[int, str]:
    output = process.communicate(timeout=120)[0]
    return process.returncode, output


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)


class TestInterrupts:
    @pytest.mark.parametrize("args", [(), ("-n", "2")])
    def test_ctrl_c_is_told_once_with_status_2(self, folder, args):
        SLEEPS.put(folder)
        with pexpect.spawn(
            sys.executable, ["-m", "pytest", "katas", *args], cwd=str(folder), encoding="utf-8", timeout=90,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "COLUMNS": "100"},
        ) as terminal:  # fmt: skip
            wait_for(folder / "loaded")
            time.sleep(0.4)
            terminal.send("\x03")
            terminal.expect(pexpect.EOF)
            terminal.close()
            assert terminal.exitstatus == 2
            assert len(ONCE.findall(terminal.before)) == 1
            assert "INTERNALERROR" not in terminal.before and "dojo/judging" not in terminal.before

    def test_one_that_reaches_the_supervisor_alone_is_handed_on(self, folder):
        SLEEPS.put(folder)
        process = pytest_in(folder)
        wait_for(folder / "loaded")
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        status, output = ended(process)
        assert status == 2
        assert len(ONCE.findall(output)) == 1
        assert "k01_dot.py" in output and "dojo/judging" not in output

    def test_code_that_swallows_it_is_ended_all_the_same(self, folder):
        config = folder / "pyproject.toml"
        config.write_text(config.read_text().replace("deadline = 2", "deadline = 60"))
        Submission(
            "deaf", "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass",
            top="open('loaded', 'w').close()\n",
        ).put(folder)  # fmt: skip
        process = pytest_in(folder)
        wait_for(folder / "loaded")
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        status, output = ended(process)
        assert status == 2
        assert "interrupted" in output

    def test_a_supervisor_that_is_ended_takes_the_run_with_it(self, folder):
        SLEEPS.put(folder)
        process = pytest_in(folder)
        wait_for(folder / "loaded")
        children = _children(process.pid)
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == -signal.SIGTERM
        assert children and not any(_alive(pid) for pid in children)


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if int(line.split()[1]) == pid]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


class TestOptions:
    def test_junitxml_cache_and_last_failed(self, folder):
        Submission("wrong", "return 0.0").put(folder)
        status, _ = ended(pytest_in(folder, "--junitxml", "out.xml"))
        assert status == 1
        suite = ElementTree.parse(folder / "out.xml").getroot()[0]
        assert (suite.get("tests"), suite.get("failures")) == ("5", "3")
        _, output = ended(pytest_in(folder, "--lf"))
        assert "3 failed" in output and "passed" not in output.splitlines()[-1]

    def test_collect_only_ends_with_0_and_writes_no_record(self, folder):
        status, output = ended(pytest_in(folder, "--collect-only", "-q"))
        assert status == 0
        assert "test_k01_dot.py::test_norm" in output
        assert not (folder / ".dojo").exists()

    def test_a_usage_error_keeps_its_status(self, folder):
        status, output = ended(pytest_in(folder, "--no-such-option"))
        assert status == 4
        assert "- dojo -" not in output
        status, _ = ended(pytest_in(folder, "--impl", "nowhere"))
        assert status == 4

    def test_colours_follow_the_option(self, folder):
        EXITS.put(folder)
        assert "\x1b[" in ended(pytest_in(folder, "--color=yes"))[1].split("- dojo -")[-1]
        assert "\x1b[" not in ended(pytest_in(folder))[1]

    def test_coverage_measures_what_ran(self, folder):
        pytest.importorskip("coverage")
        from tests.judging.hostile import ROOT

        RIGHT.put(folder)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "coverage", "run", "--source=katas", "-m", "pytest", "katas", "-q"]
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout
        report = subprocess.run(
            [sys.executable, "-m", "coverage", "report"], cwd=folder, env=environment, capture_output=True, text=True,
            check=False,
        ).stdout  # fmt: skip
        assert re.search(r"k01_dot\.py +\d+ +0 +100%", report), report

    def test_plugins_that_are_not_loaded_by_themselves(self, folder, in_dojo):
        run = in_dojo(folder, "katas", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
        assert "green  k01_dot" in run.stdout
        run = in_dojo(folder, "katas", "-n", "2", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
        assert run.returncode == 4 or "green  k01_dot" in run.stdout

    def test_s_has_no_supervisor(self, folder):
        Submission("tells", "import os; print('PARENT', os.getppid())").put(folder)
        process = pytest_in(folder, "-s")
        status, output = ended(process)
        assert status == 0
        assert set(re.findall(r"PARENT (\d+)", output)) == {str(os.getpid())}

    def test_impl_outside_with_a_short_name(self, folder, tmp_path, in_dojo):
        tree = tmp_path / "elsewhere" / "module_01_vectors"
        tree.mkdir(parents=True)
        (tree / "k01_dot.py").write_text("def dot(x, y):\n    return 0.0\n\n\ndef norm(x):\n    return 5.0\n")
        for args in (("--impl", str(tree.parent)), (f"--impl={tree.parent}",)):
            run = in_dojo(folder, "katas/module_01/dot", *args)
            assert "red    k01_dot" in run.stdout, run.stdout + run.stderr
            assert "1/3 green" in run.stdout


class TestRecord:
    def test_what_was_found_before_the_end_is_in_the_record(self, folder):
        Submission("third", "if len(x) == 3: import os; os._exit(0)").put(folder)
        status, output = ended(pytest_in(folder))
        assert status == 1
        colours, whole = last_row(folder)
        assert colours == {"test_the_example_worked_by_hand": "green", "test_of_three": "amber"}
        assert not whole
        assert "edit   katas/module_01_vectors/k01_dot.py:2" in output

    def test_the_hashes_are_of_what_was_judged(self, folder):
        from dojo.learner.record import hash_file

        path = RIGHT.put(folder)
        judged = hash_file(path)
        SLEEPS.put(folder)
        slept = hash_file(path)
        process = pytest_in(folder)
        wait_for(folder / "loaded")
        RIGHT.put(folder)
        assert ended(process)[0] == 0
        with sqlite3.connect(folder / ".dojo" / "record.sqlite") as database:
            (found,) = database.execute("select file_hash from attempts where kata = 'dot'").fetchone()
        assert found == slept != judged

    def test_changed_tests_make_no_kata_green(self, folder):
        git(folder, "init", "-q", "-b", "main")
        (folder / ".gitignore").write_text("__pycache__/\n.dojo/\n.pytest_cache/\n")
        commit(folder)
        assert ended(pytest_in(folder))[0] == 0
        test = folder / "katas" / "module_01_vectors" / "test_k01_dot.py"
        test.write_text(test.read_text().replace("26.0", "26.0 + 0"))
        status, output = ended(pytest_in(folder))
        assert status == 1
        assert "amber  k01_dot" in output and "green  k02_double" in output
        assert "These aren't the project's tests: katas/module_01_vectors/test_k01_dot.py differs" in output
        assert not last_row(folder)[1]
        commit(folder)  # as those do who develop it
        assert ended(pytest_in(folder))[0] == 0

    @pytest.mark.parametrize("ignored", [False, True])
    def test_a_conftest_beside_the_katas_makes_no_kata_green(self, folder, ignored):
        git(folder, "init", "-q", "-b", "main")
        (folder / ".gitignore").write_text("__pycache__/\n.dojo/\n.pytest_cache/\n" + "conftest.py\n" * ignored)
        commit(folder)
        (folder / "katas" / "module_01_vectors" / "conftest.py").write_text("")
        status, output = ended(pytest_in(folder))
        assert status == 1
        assert "amber  k01_dot" in output and "amber  k02_double" in output
        assert "conftest.py" in output

    def test_a_conftest_that_ends_python_is_told(self, folder):
        (folder / "katas" / "module_01_vectors" / "conftest.py").write_text("import os\nos._exit(0)\n")
        status, output = ended(pytest_in(folder, "katas/module_01_vectors"))
        assert status == 1
        assert "amber  the run was ended before its end" in output


class TestDebuggers:
    def start(self, folder: Path, *command: str):
        root = Path(__file__).resolve().parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "100", "TERM": "dumb"}
        return pexpect.spawn(
            sys.executable, [*command], cwd=str(folder), env=environment, encoding="utf-8", timeout=90
        )  # fmt: skip

    @pytest.mark.parametrize("args", [(), ("--pdb",)])
    def test_breakpoint_has_no_deadline(self, folder, args):
        Submission("stops", "if len(x) == 3: breakpoint()").put(folder)
        with self.start(folder, "-m", "pytest", "katas", *args) as terminal:
            terminal.expect(r"\(Pdb\)")
            time.sleep(4)  # the deadline is 2
            terminal.sendline("p len(x) + 1000")
            terminal.expect("1003")
            terminal.sendline("c")
            terminal.expect("green  k01_dot")
            terminal.expect(pexpect.EOF)
            terminal.close()
            assert terminal.exitstatus == 0

    def test_python_m_pdb_has_no_deadline(self, folder):
        Submission("slow", "import time; time.sleep(2.5)").put(folder)
        with self.start(folder, "-m", "pdb", "-m", "pytest", "katas", "-k", "norm") as terminal:
            terminal.expect(r"\(Pdb\)")
            terminal.sendline("c")
            terminal.expect("1 passed")

    def test_breakpoint_without_a_keyboard_says_what_to_do(self, folder):
        Submission("stops", "breakpoint()").put(folder)
        status, output = ended(pytest_in(folder))
        assert status == 1
        assert "breakpoint() opens a debugger, and no keyboard reaches it here." in output
        assert "In a terminal of its own:  pytest katas" in output


class TestWhatStandsInTheWay:
    def test_a_module_without_its_package_is_left_out_and_the_others_run(self, folder, in_dojo):
        config = folder / "pyproject.toml"
        config.write_text(config.read_text() + '\n[project.optional-dependencies]\nbig = ["nowhere>=1"]\n')
        add_kata(
            folder, "module_02_big", "k01_big", "def big():\n    return 1\n",
            "import nowhere\nfrom katas.module_02_big.k01_big import big\n\ndef test_big():\n    assert big() == 1\n",
            "def big():\n    return 1\n",
        )  # fmt: skip
        for args in ((), ("-n", "2")):
            run = in_dojo(folder, *(args or ("katas",)), *(("katas",) if args else ()))
            assert run.returncode == 0, run.stdout
            assert "green  k01_dot" in run.stdout
            assert "test_k01_big.py can't be loaded" in run.stdout
            assert "pip install -c constraints.txt -e '.[big]'" in run.stdout
        assert in_dojo(folder, "--collect-only", "-q", "katas").returncode == 0
        assert in_dojo(folder, "katas/module_02").returncode == 1  # nothing was judged

    def test_a_file_with_the_name_of_a_library_is_named(self, folder, in_dojo):
        (folder / "numpy.py").write_text("x = 1\n")
        run = in_dojo(folder, "katas")
        assert run.returncode == 4
        assert f"{folder / 'numpy.py'} has the name of a library" in run.stderr
        assert "Traceback" not in run.stderr

    def test_a_red_prerequisite_of_the_same_tree_is_named(self, tmp_path, in_dojo):
        folder = two_katas(tmp_path / "dojo")
        tree = tmp_path / "tree"
        for name, text in (
            ("module_01_first/k01_square.py", "def square(x):\n    return x + x\n"),
            (
                "module_02_second/k01_area.py",
                "from katas.module_01_first.k01_square import square\n\n\ndef area(r):\n    return 3 * square(r)\n",
            ),
        ):
            (tree / name).parent.mkdir(parents=True)
            (tree / name).write_text(text)
        run = in_dojo(folder, "katas", "--impl", str(tree))
        assert "It builds on square of the same tree, which is red: see to that first." in run.stdout
        run = in_dojo(folder, "katas/module_02", "--impl", str(tree))
        assert "It builds on square of the same tree, which this run hasn't judged" in run.stdout

    def test_the_reference_is_no_answer(self, folder, in_dojo):
        path = folder / "katas" / "module_01_vectors" / "k01_dot.py"
        path.write_text("from reference.module_01_vectors.k01_dot import *\n")
        run = in_dojo(folder, "katas")
        assert "red    k01_dot" in run.stdout
        assert "Line 1 takes the answer from the reference: write your own." in run.stdout
        assert in_dojo(folder, "katas", "--impl", "reference").returncode == 0
