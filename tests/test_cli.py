"""The `dojo` command, as a learner types it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dojo.bench import commands as bench
from dojo.cli import app
from dojo.curriculum.katas import open_dojo
from dojo.learner.record import Attempt, Record, hash_file
from dojo.proofs import cli as proofs
from tests.synthetic import FILES, ROOT, commit, git, project_and_clone

MEAN = "katas/module_01_numbers/k01_mean.py"


@pytest.fixture
def dojo(tmp_path, monkeypatch):
    """A learner's clone, and the learner in it."""
    dojo = project_and_clone(tmp_path)
    monkeypatch.chdir(dojo.root)
    monkeypatch.setenv("COLUMNS", "60")
    return dojo


def run(*arguments: str, status: int = 0, typed: str | None = None) -> str:
    result = CliRunner().invoke(app, list(arguments), input=typed)
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def judged(dojo, name="mean", colour="green"):
    """A run of all of the kata's tests, as the plugin writes it down."""
    kata = dojo.kata(name)
    with Record(dojo.state / "record.sqlite") as record:
        hashes = (hash_file(kata.path), hash_file(kata.test))
        at = f"2026-01-01T00:00:0{record.count(name)}"
        record.add(Attempt(name, at, "yours", {"test_a": "green", "test_b": colour}, 0.1, *hashes, 0, True))


def solve(dojo, name="mean"):
    kata = dojo.kata(name)
    lesson = kata.path.read_text().split('"""\n\n')[0] + '"""\n\n'
    kata.path.write_text(lesson + kata.reference.read_text().split('"""\n\n', 1)[1])


class TestWhereAmI:
    def test_at_the_beginning(self, dojo):
        said = run()
        assert "module_01_numbers   0/2  ··" in said
        assert "k01_mean  The mean: todo" in said
        assert "pytest katas/module_01/mean -x" in said
        assert "dojo hint mean" in said
        assert MEAN in said

    def test_at_work(self, dojo):
        solve(dojo)
        judged(dojo)
        judged(dojo, "median", "red")
        said = run()
        assert "1/2  ✓✗" in said
        assert "k02_median  The median: red, 1 of 2 tests green" in said

    def test_what_is_to_be_judged_again(self, dojo):
        solve(dojo)
        judged(dojo)
        with dojo.kata("mean").test.open("a") as file:
            file.write("# more\n")
        assert "mean: the tests changed: run its tests again" in run()

    def test_at_the_end(self, dojo):
        for name in ("mean", "median", "count"):
            solve(dojo, name)
            judged(dojo, name)
        assert "Every kata is green" in run()
        assert "Every kata is green" in run("next")

    def test_colours_are_not_the_only_sign(self, dojo):
        assert "✓ green  ✗ red  ! amber  · todo" in run()

    def test_not_in_a_dojo(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        said = run(status=2)
        assert "isn't in a dojo. A dojo is a clone of ML Dojo" in said
        assert "Traceback" not in said

    def test_a_clone_that_moved(self, tmp_path, monkeypatch):
        (tmp_path / "pyproject.toml").write_text('[tool.dojo]\nclone = "/nowhere"\n')
        monkeypatch.chdir(tmp_path)
        assert "put its new place after `clone =`" in run("list", status=2)

    def test_below_the_top_folder(self, dojo, monkeypatch):
        monkeypatch.chdir(dojo.kata("mean").path.parent)
        assert "k01_mean" in run()


class TestNext:
    def test_shows_the_lesson_and_what_to_type(self, dojo):
        said = run("next")
        assert "k01_mean  The mean: todo\nmodule_01_numbers, about 5 minutes\n" in said
        assert "The mean of x₁ … xₙ is their sum over n" in said
        assert max(map(len, said.splitlines())) <= 60
        for line in (f"  edit   {MEAN}", "  judge  pytest katas/module_01/mean -x", "  hint   dojo hint mean"):
            assert line in said.splitlines()

    def test_says_when_only_optional_ones_are_left(self, dojo):
        for name in ("mean", "median", "count"):
            toml = dojo.kata(name).toml
            toml.write_text("optional = true\n" + toml.read_text())
        assert "Only optional katas are left" in run("next")


class TestList:
    def test_all(self, dojo):
        solve(dojo)
        judged(dojo)
        judged(dojo, "median", "amber")
        lines = [" ".join(line.split()) for line in run("list").splitlines()]
        assert "✓ green k01_mean 5 min" in lines
        assert "! amber k02_median 5 min 1/2" in lines
        assert "· todo k01_count 5 min" in lines
        assert "module_01_numbers 1/2 green, about 10 min, 5 min left" in lines

    @pytest.mark.parametrize("module", ["module_02", "katas/module_02_words/"])
    def test_one_module(self, dojo, module):
        said = run("list", "--module", module)
        assert "count" in said
        assert "mean" not in said

    def test_no_such_module(self, dojo):
        assert "module_01_numbers, module_02_words" in run("list", "--module", "module_9", status=2).replace("\n", " ")

    def test_fits_into_60_columns(self, dojo):
        toml = dojo.kata("mean").toml
        toml.write_text(toml.read_text().replace("The mean", "A title of many words " * 4))
        assert max(map(len, run("list").splitlines())) <= 60


class TestHint:
    def test_one_tier_at_a_time(self, dojo):
        for tier, text in enumerate(dojo.kata("mean").meta["hints"], 1):
            said = run("hint", "mean")
            assert f"hint {tier} of 3: {text}" in said.replace("\n", " ")
            assert said.count("hint ") == 1
        said = run("hint", "mean")
        assert "dojo hint mean --again" in said
        assert "dojo diff mean" in said
        assert run("hint", "mean", "--again").count(" of 3: ") == 3

    def test_again_shows_no_more_than_was_shown(self, dojo):
        run("hint", "mean")
        assert run("hint", "mean", "--again").count(" of 3: ") == 1
        assert "hint 2 of 3" in run("hint", "mean")

    def test_is_of_the_kata_at_work(self, dojo):
        assert "k01_mean" in run("hint")
        judged(dojo, "count", "red")
        assert "k01_count" in run("hint")

    def test_of_an_unknown_kata(self, dojo):
        assert "did you mean median" in run("hint", "meidan", status=2).replace("\n", " ")

    def test_where_no_record_can_be_kept(self, dojo):
        dojo.state.write_text("a file")
        said = run("hint", "mean")
        assert "hint 1 of 3" in said
        assert "practice goes on" in said.replace("\n", " ")

    def test_with_brackets(self, dojo):
        toml = dojo.kata("count").toml
        toml.write_text(toml.read_text().replace('"str.split"', '"x[bold] y[/] :smile: [0]"'))
        assert "x[bold] y[/] :smile: [0]" in run("hint", "count")


STEPS = """\
title = "The mean"
steps = { mean = 5, spread = 12 }

[hints]
mean = ["Add them up.", "Then divide.", "sum(numbers) / len(numbers)"]
spread = ["How far are they?", "Take the largest.", "max(abs(x - m))"]
"""


class TestSteps:
    @pytest.fixture(autouse=True)
    def steps(self, dojo):
        toml = dojo.kata("mean").toml
        toml.write_text(STEPS + "\n[[mistakes]]" + toml.read_text().split("[[mistakes]]", 1)[1])

    def written(self, dojo, *functions):
        solve(dojo)
        path = dojo.kata("mean").path
        if "spread" not in functions:
            head, _ = path.read_text().split("def spread")
            path.write_text(head + "def spread(numbers):\n    raise NotImplementedError\n")

    def judge(self, dojo, **colours):
        ids = {"mean": "TestMean::test_matches_statistics[1]", "spread": "test_spread_looks_to_both_sides"}
        kata = dojo.kata("mean")
        with Record(dojo.state / "record.sqlite") as record:
            hashes = hash_file(kata.path), hash_file(kata.test)
            found = {ids[name]: colour for name, colour in colours.items()}
            record.add(Attempt("mean", "2026-01-01T00:00:00", "yours", found, 0.1, *hashes, 0, False))
            record.note_size("mean", hashes[1], 5)

    def test_all_say_the_same(self, dojo, in_dojo):
        self.written(dojo, "mean")
        self.judge(dojo, mean="green", spread="todo")
        step = "step 2 of 2: spread, about 12 minutes"
        assert f"  {step}" in run().splitlines()
        assert f"  {step}" in run("next").splitlines()
        assert f"You are at mean, {step}." in " ".join(run("list").split())
        assert f"dojo: mean, {step}" in in_dojo(dojo.root, "katas/module_01", "-x").stdout.splitlines()
        assert "spread, hint 1 of 3: How far are they?" in run("hint")

    def test_a_run_that_stopped_early_counts_the_kata_s_tests(self, dojo):
        self.written(dojo, "mean", "spread")
        self.judge(dojo, mean="red")
        assert "red, 0 of 5 tests green" in run()
        assert "0/5" in run("list")
        assert "step 1 of 2: mean" in run()

    def test_a_real_run_with_x_notes_how_many_tests_there_are(self, dojo, in_dojo):
        self.written(dojo, "mean")
        in_dojo(dojo.root, "katas/module_01/mean", "-x")
        with Record(dojo.state / "record.sqlite") as record:
            assert record.size("mean", hash_file(dojo.kata("mean").test)) == 5

    def test_hints_are_about_the_step_and_counted_by_it(self, dojo):
        for tier in (1, 2, 3):
            assert f"mean, hint {tier} of 3" in run("hint", "mean")
        assert "All 3 hints are shown" in run("hint", "mean")
        self.written(dojo, "mean")
        self.judge(dojo, mean="green", spread="todo")
        assert "spread, hint 1 of 3" in run("hint", "mean")
        assert "mean, hint 3 of 3" in run("hint", "mean", "--again", "--step", "mean")
        assert run("hint", "mean", "--again").count(" of 3: ") == 1
        with Record(dojo.state / "record.sqlite") as record:
            assert record.hints_seen("mean") == 3  # the highest tier of any step: what a review goes by
            assert (record.hints_seen("mean", "spread"), record.hints_seen("mean", "")) == (1, 0)
        assert "there are hints for mean, spread" in run("hint", "mean", "--step", "median", status=2).replace(
            "\n", " "
        )

    def test_hints_seen_before_they_were_by_step_are_no_steps(self, dojo):
        with Record(dojo.state / "record.sqlite") as record:
            record.see_hint("mean", 2)
            assert record.hints_seen("mean") == 2
        assert "mean, hint 1 of 3" in run("hint", "mean")

    def test_a_step_without_hints_gets_those_of_its_neighbour(self, dojo):
        toml = dojo.kata("mean").toml
        toml.write_text("".join(line for line in toml.read_text().splitlines(True) if not line.startswith("spread =")))
        self.written(dojo, "mean")
        self.judge(dojo, mean="green", spread="todo")
        said = " ".join(run("hint").split())
        assert "You are at spread, which has no hints" in said and "mean, hint 1 of 3" in said

    def test_prerequisites_that_are_not_green_are_named(self, dojo):
        judged(dojo, "median", "red")
        for command in ((), ("hint", "median")):
            said = " ".join(run(*command).split())
            assert ("It builds on mean, which isn't green yet: the reference's is used." in said) is (command == ())
        solve(dojo)
        judged(dojo)
        assert "builds on" not in run()

    def test_list_sums_the_minutes_of_a_module(self, dojo):
        minutes = dojo.kata("mean").minutes
        assert minutes > 17  # the steps, and the reading
        assert f"module_01_numbers  0/2 green, about {minutes + 5} min" in run("list")


def test_an_optional_kata_that_is_not_begun_is_passed_over_by_all(dojo, in_dojo):
    toml = dojo.kata("mean").toml
    toml.write_text("optional = true\n" + toml.read_text())
    assert "k02_median" in run() and "k02_median" in run("next")
    said = in_dojo(dojo.root, "katas/module_01", "-x").stdout
    assert "dojo: mean is optional and not begun, so it is passed over" in said
    assert "todo   k02_median" in said and "k01_mean" not in said
    assert "todo   k01_mean" in in_dojo(dojo.root, "katas/module_01/mean", "-x").stdout  # named, it is judged
    assert "todo   k01_mean" in in_dojo(dojo.root, "katas/module_01").stdout
    dojo.kata("mean").path.write_text("def mean(numbers):\n    return 0.0\n")
    assert "red    k01_mean" in in_dojo(dojo.root, "katas/module_01", "-x").stdout  # begun, it counts


def test_a_drawing_that_is_too_wide_is_left_to_the_file(dojo):
    stub = dojo.kata("mean").path
    head, tail = stub.read_text().split("Worked by hand", 1)
    stub.write_text(
        head.replace("balance.", "**balance**:\n\n    " + "──▶ " * 16 + "\n\nMore.") + "Worked by hand" + tail
    )
    said = run("next")
    assert "(a wide drawing: see the file)" in said and max(map(len, said.splitlines())) <= 60
    assert "**" not in said


class TestDiff:
    def test_asks_while_the_kata_is_not_green(self, dojo):
        said = run("diff", "mean", status=1)
        assert "isn't green yet" in said
        assert "dojo diff mean --yes" in said
        assert "sum(numbers)" not in said

    def test_shows_the_code_without_lessons(self, dojo):
        said = run("diff", "mean", "--yes")
        assert "+    return sum(numbers) / len(numbers)" in said
        assert "-    raise NotImplementedError" in said
        assert "balance" not in said

    def test_of_a_green_one(self, dojo):
        solve(dojo)
        judged(dojo)
        assert "The two are the same." in run("diff")

    def test_of_a_file_that_is_no_python(self, dojo):
        dojo.kata("mean").path.write_text("def mean(:\n")
        assert "-def mean(:" in run("diff", "mean", "-y")

    def test_of_a_missing_file(self, dojo):
        dojo.kata("mean").path.unlink()
        assert "dojo reset mean" in run("diff", "mean", "-y", status=2)


class TestFiles:
    def test_reset_says_where_the_file_is_kept(self, dojo):
        solve(dojo)
        judged(dojo)
        said = run("reset")
        (kept,) = dojo.state.glob("kept/*/" + MEAN)
        assert str(kept.relative_to(dojo.root)) in said
        assert dojo.kata("mean").path.read_text() == FILES[MEAN]
        assert "is the stub." in run("reset", "mean")
        assert "0/2" in run()

    def test_update_tells_what_came(self, dojo, tmp_path):
        solve(dojo)
        project = tmp_path / "project"
        lesson = FILES[MEAN].replace("numbers balance", "numbers are in balance")
        (project / MEAN).write_text(lesson.replace("mean(numbers: list[float])", "mean(x: list[float])"))
        (project / "katas/module_01_numbers/test_k01_mean.py").write_text("# other tests\n")
        for file in project.rglob("*k02_median*"):
            file.rename(file.with_name(file.name.replace("k02", "k03")))
        for file in project.rglob("*k01_count*"):
            file.unlink()
        (project / "katas/module_02_words/test_k02_sort.py").write_text("")
        (project / "katas/module_02_words/k02_sort.py").write_text("")
        (project / "pyproject.toml").write_text(FILES.get("pyproject.toml", "") + "[tool.dojo]\ndeadline = 9\n")
        commit(project)
        said = run("update")
        for line in (
            "new        katas/module_02_words/k02_sort",
            "k02_median.py is now katas/module_01_numbers/k03_median.py",
            "tests      mean has other tests: run its tests again",
            "removed    count",
            "conflict   mean: both you and the new stub changed mean",
            "katas/module_01_numbers/k01_mean.new-stub.py",
            "pip install -c constraints.txt -e .",
            "Copies of your files as they were: .dojo/kept/",
            "git show refs/dojo/before-update/",
        ):
            assert line in said
        assert "renewed" not in said  # one thing is said of one file
        assert "Up to date with origin/main" in run("update")

    def test_update_with_an_error(self, dojo):
        assert "REMOTE/BRANCH" in run("update", "--from", "x", status=2)

    def test_init_and_everything_in_that_folder(self, dojo, tmp_path, monkeypatch):
        said = run("init", str(tmp_path / "mine"))
        assert "3 katas" in said
        monkeypatch.chdir(tmp_path / "mine")
        mine = open_dojo(tmp_path / "mine")
        assert "k01_mean" in run("next")
        mine.kata("mean").path.write_text("mine")
        assert "kept" in run("reset", "mean")
        assert "Up to date with" in run("update")
        assert "written in the clone" in run("new", "mode", "--module", "module_01", status=2)
        assert "--from is for a clone" in run("update", "--from", "a/b", status=2)
        assert "is a dojo already" in run("init", ".", status=2)

    def test_new(self, dojo):
        said = run("new", "mode", "--module", "module_01")
        for line in said.splitlines():
            assert (dojo.root / line).is_file()
        assert len(said.splitlines()) == 5
        assert "there is a kata 'mode' already" in run("new", "mode", "--module", "module_02", status=2)

    def test_git_is_told_of_the_driver(self, dojo):
        run()
        assert "merge-stub %O" in git(dojo.root, "config", "merge.dojo-stub.driver")


class TestForAuthors:
    def test_check_hands_its_options_on(self, dojo, monkeypatch):
        asked = {}
        monkeypatch.setattr(proofs, "run_check", lambda dojo, names, **options: asked.update(options, names=names) or 1)
        run("check", "mean", "count", "--module", "module_01", "--mutants", "--changed", "--json",
            "--jobs", "2", "--seeds", "3", status=1)  # fmt: skip
        expected = {"names": ["mean", "count"], "modules": ["module_01"], "mutants": True, "changed": True}
        expected |= {"as_json": True, "jobs": 2, "seeds": 3}
        assert asked == expected

    def test_bench(self, dojo, monkeypatch):
        monkeypatch.setattr(bench, "run_bench", lambda dojo: 0)
        run("bench")

    def test_an_unknown_kata(self, dojo):
        assert "no kata is called 'nope'" in run("check", "nope", status=2)


class TestTheProcess:
    """What only a process of its own shows."""

    def dojo(self, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        command = [sys.executable, "-m", "dojo", *arguments]
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)

    def test_loads_nothing_heavy(self, dojo):
        judged(dojo)
        code = "import sys; from dojo.cli import app; app(standalone_mode=False)\n"
        code += "heavy = {'numpy', 'torch', 'pandas', 'scipy', 'sklearn', 'pytest', 'mutmut'}\n"
        code += "print(sorted(heavy & set(sys.modules)))"
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=dojo.root, env=env, capture_output=True, text=True, check=True
        )
        assert run.stdout.splitlines()[-1] == "[]"

    def test_piped_there_are_no_escape_codes(self, dojo):
        run = self.dojo(dojo.root)
        assert "\x1b" not in run.stdout
        assert "k01_mean" in run.stdout

    def test_no_color(self, dojo):
        coloured = self.dojo(dojo.root, "list", FORCE_COLOR="1").stdout
        assert "\x1b[33m" in coloured
        plain = self.dojo(dojo.root, "list", FORCE_COLOR="1", NO_COLOR="1").stdout
        assert "\x1b[33m" not in plain
        assert "· todo" in plain

    def test_a_terminal_without_unicode(self, dojo):
        run = self.dojo(dojo.root, "next", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
        assert (run.returncode, run.stderr) == (0, "")
        assert ". todo" in self.dojo(dojo.root, "list", PYTHONIOENCODING="ascii").stdout

    def test_errors_go_to_stderr(self, tmp_path):
        run = self.dojo(tmp_path, "list")
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr.startswith("dojo: ")

    def test_a_corrupt_record_is_reported_and_practice_goes_on(self, dojo):
        judged(dojo)
        (dojo.state / "record.sqlite").write_bytes(b"x" * 5000)
        run = self.dojo(dojo.root)
        assert run.returncode == 0
        assert "corrupt" in run.stderr
        assert "k01_mean" in run.stdout

    def test_the_installed_command(self):
        command = shutil.which("dojo") or str(Path(sys.executable).with_name("dojo"))
        if not Path(command).exists():
            pytest.skip("the package isn't installed: pip install -e .")
        run = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
        for name in ("next", "list", "hint", "diff", "reset", "update", "init", "new", "check", "bench"):
            assert name in run.stdout
        assert "merge-stub" not in run.stdout


def test_ctrl_c_while_it_is_loaded():
    """Typer and its imports take a tenth of a second: an interruption then is no reason for a traceback."""
    code = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "dojo.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from dojo.__main__ import main
main()
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (-signal.SIGINT, "", "")
