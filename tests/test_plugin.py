"""Runs of pytest in a dojo, as a learner types them."""

from __future__ import annotations

import re
import sqlite3
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.building import add_kata, play, solve, two_katas


@pytest.fixture
def dojo(tmp_path) -> Path:
    return play(tmp_path / "dojo")


def colours_in_record(folder: Path) -> list[dict[str, str]]:
    import json

    with sqlite3.connect(folder / ".dojo" / "record.sqlite") as database:
        return [json.loads(row[0]) for row in database.execute("select colours from attempts order by rowid")]


class TestColours:
    def test_a_stub_is_todo(self, dojo, in_dojo):
        run = in_dojo(dojo, "katas", "-x")
        assert run.returncode == 1
        assert "todo   k01_play  A playground" in run.stdout
        assert "standardize() isn't written yet." in run.stdout
        assert "edit   katas/module_01_play/k01_play.py:" in run.stdout
        assert "again  pytest katas -x" in run.stdout
        assert "hint   dojo hint play" in run.stdout
        assert "Traceback" not in run.stdout + run.stderr

    def test_the_reference_is_green(self, dojo, in_dojo):
        run = in_dojo(dojo, "katas", "--impl", "reference")
        assert run.returncode == 0
        assert "green  k01_play" in run.stdout
        assert "12/12 green" in run.stdout

    def test_a_wrong_answer_is_red_and_named(self, dojo, in_dojo):
        solve(dojo, extra="def above(x, limit):\n    return x >= limit")
        run = in_dojo(dojo, "katas")
        assert run.returncode == 1
        assert "red    k01_play" in run.stdout
        assert "11/12 green" in run.stdout
        assert "An entry that equals the limit isn't above it." in run.stdout
        assert "(your answer equals what that mistake gives)" in run.stdout

    def test_it_points_at_the_function_in_the_file(self, dojo, in_dojo):
        path = solve(dojo, extra="def above(x, limit):\n    return x >= limit")
        run = in_dojo(dojo, "katas")
        line = int(re.search(r"edit   katas/module_01_play/k01_play.py:(\d+)", run.stdout)[1])
        assert path.read_text().splitlines()[line - 1].startswith("def above")

    def test_a_syntax_error_is_amber_and_the_other_katas_are_judged(self, tmp_path, in_dojo):
        folder = two_katas(tmp_path)
        (folder / "katas/module_01_first/k01_square.py").write_text("def square(x:\n    return x * x\n")
        solve(folder, "k01_area", "module_02_second")
        run = in_dojo(folder, "katas")
        assert "amber  k01_square" in run.stdout
        assert "Python can't read line 1" in run.stdout
        assert "edit   katas/module_01_first/k01_square.py:1" in run.stdout
        assert "green  k01_area" in run.stdout

    @pytest.mark.parametrize(
        ("code", "sentence"),
        [
            ("def bounds(x):\n    return x.smallest, 1", "AttributeError"),
            ("import numpyy", "No module named 'numpyy'"),
            ("raise SystemExit(3)", "SystemExit"),
            ("def bounds(x):\n    raise MemoryError('too much')", "Out of memory"),
            ("def bounds(x):\n    import sys\n    sys.exit(1)", "SystemExit"),
        ],
    )
    def test_what_cannot_be_judged_is_amber(self, dojo, in_dojo, code, sentence):
        solve(dojo, extra=code)
        run = in_dojo(dojo, "katas")
        assert run.returncode == 1
        assert "amber  k01_play" in run.stdout
        assert sentence in run.stdout

    def test_a_function_that_is_gone_is_amber_and_named(self, dojo, in_dojo):
        path = solve(dojo)
        path.write_text(path.read_text().replace("def bounds(", "def limits("))
        run = in_dojo(dojo, "katas")
        assert "k01_play.py has no 'bounds', which the stub asks for" in run.stdout
        assert "11/12 green" in run.stdout

    def test_not_implemented_elsewhere_is_no_todo(self, dojo, in_dojo):
        """Only the kata's own stub is todo: the same error from a library is a crash."""
        solve(dojo, extra="def bounds(x):\n    import io\n    return io.RawIOBase().readinto(bytearray(1)), abstract()\n\n"
                          "from helper import abstract")  # fmt: skip
        (dojo / "helper.py").write_text("def abstract():\n    raise NotImplementedError\n")
        run = in_dojo(dojo, "katas")
        assert "todo" not in run.stdout.split("- dojo -")[1]

    def test_an_answer_that_the_test_cannot_unpack_is_red(self, tmp_path, in_dojo):
        add_kata(
            play(tmp_path),
            "module_02_more",
            "k01_pair",
            "def pair():\n    raise NotImplementedError\n",
            "from katas.module_02_more.k01_pair import pair\n\ndef test_two():\n    a, b = pair()\n    assert a == b\n",
            "def pair():\n    return 1, 1\n",
        )
        (tmp_path / "katas/module_02_more/k01_pair.py").write_text("def pair():\n    return 1.0\n")
        run = in_dojo(tmp_path, "katas/module_02")
        assert "red    k01_pair" in run.stdout
        assert "gave an answer that the test can't use: TypeError" in run.stdout


class TestDeadline:
    @pytest.mark.parametrize(
        "swallow", ["", "try:\n            x = x + 0\n        except BaseException:\n            pass\n"]
    )
    def test_an_endless_loop_ends_with_its_line(self, dojo, in_dojo, swallow):
        path = solve(dojo, extra=f"def bounds(x):\n    while True:\n        {swallow or 'x = x + 0'}")
        run = in_dojo(dojo, "katas", "-k", "Bounds")
        assert run.returncode == 1
        assert "Not done after 2 s, so it was ended: an endless loop? It stood on line" in run.stdout
        line = int(re.search(r"It stood on line (\d+)", run.stdout)[1])
        assert "while True" in "\n".join(path.read_text().splitlines()[line - 4 : line])

    def test_an_endless_loop_while_loading_ends(self, dojo, in_dojo):
        solve(dojo, extra="while True:\n    pass")
        run = in_dojo(dojo, "katas", "-x")
        assert "Not done after 2 s" in run.stdout

    def test_code_that_no_signal_reaches_is_amber_with_its_line(self, dojo, in_dojo):
        path = solve(dojo, extra="def bounds(x):\n    import signal\n    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
                                 "    while True:\n        pass")  # fmt: skip
        run = in_dojo(dojo, "katas", "-k", "Bounds")
        assert run.returncode == 1
        assert "amber  k01_play" in run.stdout
        line = int(re.search(r"It stood on line (\d+)", run.stdout)[1])
        assert "while True" in "\n".join(path.read_text().splitlines()[line - 2 : line])

    def test_without_a_supervisor_it_ends_the_process_with_a_stack(self, dojo, in_dojo):
        solve(dojo, extra="def bounds(x):\n    import signal\n    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
                          "    while True:\n        pass")  # fmt: skip
        run = in_dojo(dojo, "katas", "-k", "Bounds", "-s")
        assert run.returncode not in (0, None)
        assert "in bounds" in run.stdout + run.stderr

    def test_a_marker_sets_another(self, tmp_path, in_dojo):
        add_kata(
            play(tmp_path),
            "module_02_more",
            "k01_wait",
            "def wait():\n    raise NotImplementedError\n",
            "import pytest\nfrom katas.module_02_more.k01_wait import wait\n\n"
            "@pytest.mark.deadline(0.3)\ndef test_soon():\n    wait()\n",
            "import time\n\ndef wait():\n    time.sleep(1)\n",
        )
        run = in_dojo(tmp_path, "katas/module_02", "--impl", "reference")
        assert "Not done after 0.3 s" in run.stdout


class TestPaths:
    @pytest.mark.parametrize(
        "arg",
        [
            "katas/module_01",
            "katas/module_01_play/test_k01",
            "katas/module_01/play",
            "katas/module_01/k01_play.py",
            "katas/mod",
        ],
    )
    def test_a_prefix_is_enough(self, dojo, in_dojo, arg):
        run = in_dojo(dojo, arg, "--impl", "reference", "-q")
        assert "12 passed" in run.stdout

    def test_a_node_id_may_be_short_too(self, dojo, in_dojo):
        run = in_dojo(dojo, "katas/module_01/test_k01::TestWords", "--impl", "reference", "-q")
        assert "2 passed" in run.stdout
        run = in_dojo(dojo, "katas/module_01/k01::TestWords::test_lower_case_in_order", "--impl", "reference", "-q")
        assert "1 passed" in run.stdout

    def test_from_a_folder_inside(self, dojo, in_dojo):
        run = in_dojo(dojo / "katas", "module_01", "--impl", "reference", "-q")
        assert "12 passed" in run.stdout

    def test_what_means_nothing_gets_pytests_own_error(self, dojo, in_dojo):
        run = in_dojo(dojo, "katas/module_77")
        assert run.returncode == 4
        assert "file or directory not found: katas/module_77" in run.stderr


class TestOptions:
    def test_impl_that_is_no_tree_is_a_usage_error(self, dojo, in_dojo):
        run = in_dojo(dojo, "katas", "--impl", "nowhere")
        assert run.returncode == 4
        assert "--impl nowhere: there is no such folder" in run.stderr
        (dojo / "empty").mkdir()
        run = in_dojo(dojo, "katas", "--impl", "empty")
        assert "expected files such as empty/module_01_play/k01_play.py" in run.stderr

    def test_impl_judges_a_classmates_clone(self, dojo, in_dojo, tmp_path):
        theirs = play(tmp_path / "theirs")
        solve(theirs)
        run = in_dojo(dojo, "katas", "--impl", str(theirs), "-q")
        assert "12 passed" in run.stdout

    def test_impl_finds_a_kata_that_had_another_number(self, dojo, in_dojo, tmp_path):
        theirs = tmp_path / "theirs" / "module_01_play"
        theirs.mkdir(parents=True)
        (theirs / "k07_play.py").write_text((dojo / "reference/module_01_play/k01_play.py").read_text())
        run = in_dojo(dojo, "katas", "--impl", str(tmp_path / "theirs"), "-q")
        assert "12 passed" in run.stdout

    def test_the_seed_changes_the_input_and_repeats_it(self, tmp_path, in_dojo):
        add_kata(
            play(tmp_path),
            "module_02_more",
            "k01_draw",
            "def draw(rng):\n    raise NotImplementedError\n",
            "import random\nimport numpy as np\nfrom katas.module_02_more.k01_draw import draw\n\n"
            "def test_draws(rng):\n    print('DRAWN', draw(rng), random.random(), np.random.rand())\n    assert 0\n",
            "def draw(rng):\n    return rng.random()\n",
        )

        def drawn(*args):
            run = in_dojo(tmp_path, "katas/module_02", "--impl", "reference", "-s", *args)
            return re.search(r"DRAWN (.*)", run.stdout)[1]

        assert drawn() == drawn() == drawn("--seed", "0")
        assert len({drawn("--seed", str(seed)) for seed in range(3)}) == 3

    def test_what_starts_ranks_can_be_left_out_and_what_asks_for_a_device_runs_here(self, tmp_path, in_dojo):
        dojo = play(tmp_path)
        test = dojo / "katas" / "module_01_play" / "test_k01_play.py"
        test.write_text(
            test.read_text()
            + "\n\nimport pytest\n\n@pytest.fixture\ndef ranks():\n    return None\n\n"
            + "@pytest.fixture\ndef device():\n    return 'cpu'\n\n"
            + "def test_with_ranks(ranks):\n    assert True\n\n"
            + "def test_on_a_device(device):\n    assert True\n"
        )
        run = in_dojo(dojo, "katas/module_01", "--impl", "reference", "-m", "processes", "-v", CUDA_VISIBLE_DEVICES="")
        assert "test_with_ranks PASSED" in run.stdout
        assert "1 passed" in run.stdout
        run = in_dojo(dojo, "katas/module_01", "--impl", "reference", "-m", "gpu", CUDA_VISIBLE_DEVICES="")
        assert "passed" not in run.stdout

    def test_slow_and_gpu_tests_are_skipped_with_their_reason(self, tmp_path, in_dojo):
        add_kata(
            play(tmp_path),
            "module_02_more",
            "k01_one",
            "def one():\n    raise NotImplementedError\n",
            "import pytest\nfrom katas.module_02_more.k01_one import one\n\n"
            "@pytest.mark.slow\ndef test_slow():\n    assert one() == 1\n\n"
            "@pytest.mark.gpu\ndef test_gpu():\n    assert one() == 1\n\ndef test_one():\n    assert one() == 1\n",
            "def one():\n    return 1\n",
        )
        run = in_dojo(tmp_path, "katas/module_02", "--impl", "reference", "-rs", CUDA_VISIBLE_DEVICES="")
        assert "1 passed, 2 skipped" in run.stdout
        assert "slow: runs with --slow" in run.stdout
        assert "gpu: no CUDA device here" in run.stdout
        assert "1/1 green" in run.stdout
        run = in_dojo(tmp_path, "katas/module_02", "--impl", "reference", "--slow", CUDA_VISIBLE_DEVICES="")
        assert "2 passed, 1 skipped" in run.stdout


class TestHabits:
    def test_keyword_verbose_and_last_failed(self, dojo, in_dojo):
        solve(dojo, extra="def above(x, limit):\n    return x >= limit")
        run = in_dojo(dojo, "katas", "-v")
        assert re.search(r"test_k01_play.py::TestAbove::test_the_limit_itself_is_not_above RED", run.stdout)
        assert re.search(r"TestWords::test_lower_case_in_order PASSED", run.stdout)
        run = in_dojo(dojo, "katas", "--lf")
        assert "1 failed" in run.stdout
        assert "passed" not in run.stdout.splitlines()[-1]
        run = in_dojo(dojo, "katas", "-k", "words")
        assert "2 passed, 10 deselected" in run.stdout

    def test_a_part_of_the_tests_makes_no_kata_green(self, dojo, in_dojo):
        solve(dojo)
        whole = "select whole from attempts order by rowid desc limit 1"
        for args, expected in [
            (("katas", "-k", "words"), 0),
            (("katas/module_01/k01::TestWords",), 0),
            (("katas",), 1),
        ]:
            in_dojo(dojo, *args)
            with sqlite3.connect(dojo / ".dojo" / "record.sqlite") as database:
                assert database.execute(whole).fetchone()[0] == expected, args

    def test_junitxml(self, dojo, in_dojo):
        solve(dojo, extra="def above(x, limit):\n    return x >= limit")
        in_dojo(dojo, "katas", "--junitxml", "out.xml")
        suite = ElementTree.parse(dojo / "out.xml").getroot()[0]
        assert (suite.get("tests"), suite.get("failures")) == ("12", "1")
        failure = next(suite.iter("failure"))
        assert "An entry that equals the limit isn't above it." in failure.text

    def test_an_explicit_traceback_style_shows_pytests_own(self, dojo, in_dojo):
        solve(dojo, extra="def above(x, limit):\n    return x >= limit")
        run = in_dojo(dojo, "katas", "--tb=short")
        assert "= FAILURES =" in run.stdout
        assert "An entry that equals the limit isn't above it." in run.stdout

    def test_collect_only_runs_and_records_nothing(self, dojo, in_dojo):
        run = in_dojo(dojo, "katas", "--collect-only", "-q")
        assert run.returncode == 0
        assert "katas/module_01_play/test_k01_play.py::TestWords::test_lower_case_in_order" in run.stdout
        assert not (dojo / ".dojo").exists()

    def test_pdb_opens_without_a_deadline(self, dojo, in_dojo):
        solve(dojo, extra="def above(x, limit):\n    return x >= limit")
        run = in_dojo(dojo, "katas", "--pdb", "-p", "no:cacheprovider")
        assert "entering PDB" in run.stdout

    def test_two_processes_see_what_one_sees(self, dojo, in_dojo):
        solve(dojo, extra="def above(x, limit):\n    return x >= limit\n\ndef bounds(x):\n    return 1 / 0")
        one, two = in_dojo(dojo, "katas"), in_dojo(dojo, "katas", "-n", "2")
        assert one.returncode == two.returncode == 1

        def block(run):
            return run.stdout.split("- dojo -")[1].split("again")[0]

        assert block(one) == block(two)
        first, second = colours_in_record(dojo)
        assert first == second
        assert sorted(first.values()).count("green") == 10

    def test_a_file_saved_twice_in_a_second_is_read_twice(self, dojo, in_dojo):
        path = solve(dojo)
        assert "12 passed" in in_dojo(dojo, "katas", "-q", PYTHONDONTWRITEBYTECODE="").stdout
        stat, text = path.stat(), path.read_text()
        path.write_text(text.replace("x > limit", "x < limit"))
        import os

        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert "1 failed" in in_dojo(dojo, "katas", "-q", PYTHONDONTWRITEBYTECODE="").stdout

    def test_a_run_with_x_collects_no_further_than_it_can_get(self, tmp_path, in_dojo):
        folder = two_katas(tmp_path)
        assert "collected 2 items" in in_dojo(folder, "katas", "-x").stdout
        assert "up to square" in in_dojo(folder, "katas", "-x").stdout
        solve(folder, "k01_square", "module_01_first")
        run = in_dojo(folder, "katas", "-x")
        assert "collected 4 items" in run.stdout
        assert "green  k01_square" in run.stdout
        assert "todo   k01_area" in run.stdout


class TestRules:
    def test_a_forbidden_function_is_red_and_named(self, dojo, in_dojo):
        path = solve(dojo, extra="def covariance(X):\n    return np.cov(X.T)")
        line = len(path.read_text().splitlines())
        run = in_dojo(dojo, "katas", "-x")
        assert f"Line {line} uses numpy.cov: this kata asks you to write that from scratch." in run.stdout

    def test_a_changed_argument_is_red_and_named(self, dojo, in_dojo):
        solve(dojo, extra="def ranks(x):\n    order = x.argsort().argsort()\n    x.sort()\n    return order")
        run = in_dojo(dojo, "katas")
        assert "ranks() changed its argument `x`" in run.stdout


class TestBorrowing:
    def test_an_unsolved_kata_is_lent_and_said_so(self, tmp_path, in_dojo):
        folder = two_katas(tmp_path)
        solve(folder, "k01_area", "module_02_second")
        run = in_dojo(folder, "katas")
        assert "todo   k01_square" in run.stdout
        assert "green  k01_area" in run.stdout
        assert "lent by the reference: square, which area builds on" in run.stdout

    def test_no_borrow_turns_it_off(self, tmp_path, in_dojo):
        folder = two_katas(tmp_path)
        solve(folder, "k01_area", "module_02_second")
        run = in_dojo(folder, "katas/module_02", "--no-borrow")
        assert "2 failed" in run.stdout
        assert "lent" not in run.stdout

    def test_a_green_kata_is_the_learners_own(self, tmp_path, in_dojo):
        folder = two_katas(tmp_path)
        (folder / "katas/module_01_first/k01_square.py").write_text("def square(x):\n    return abs(x) ** 2\n")
        in_dojo(folder, "katas/module_01")
        solve(folder, "k01_area", "module_02_second")
        run = in_dojo(folder, "katas/module_02")
        assert "2 passed" in run.stdout
        assert "lent" not in run.stdout
        # Wrong since then: not green any more, so the reference's is lent again.
        (folder / "katas/module_01_first/k01_square.py").write_text("def square(x):\n    return 0\n")
        run = in_dojo(folder, "katas/module_02")
        assert "2 passed" in run.stdout
        assert "lent by the reference: square" in run.stdout


class TestElsewhere:
    def test_where_there_is_no_dojo_it_does_nothing_at_all(self, tmp_path, in_dojo):
        """A project of its own that has the same option names, and a plain failure."""
        (tmp_path / "conftest.py").write_text(
            "def pytest_addoption(parser):\n    parser.addoption('--slow', action='store_true')\n"
            "    parser.addoption('--seed')\n    parser.addoption('--impl')\n"
        )
        (tmp_path / "test_plain.py").write_text(
            "import sys\n\ndef test_plain(request):\n    assert request.config.getoption('--seed') == '7'\n"
            "    assert 'dojo.judging.judge' not in sys.modules\n    assert 0, 'as ever'\n"
        )
        run = in_dojo(tmp_path, "--slow", "--seed", "7", "-p", "no:cacheprovider")
        assert "AssertionError: as ever" in run.stdout
        assert "= FAILURES =" in run.stdout
        assert "dojo:" not in run.stdout
        assert not (tmp_path / ".dojo").exists()
