"""`dojo pair`: evenings on one machine and on two, at a real keyboard, and with what goes wrong."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from dojo.cli import app
from dojo.curriculum.katas import open_dojo
from dojo.pair import git as pair_git
from dojo.pair import run as pair_run
from dojo.pair import strip as pair_strip
from dojo.pair.evening import need_evening
from tests.synthetic import ROOT, commit, git, project_and_clone
from tests.terminal import Terminal

MEAN = "katas/module_01_numbers/k01_mean.py"
NAMES = "Ada <ada@example.org>,Grace"


@pytest.fixture
def dojo(tmp_path, monkeypatch):
    """A learner's clone, whose remote takes pushes, and the learner in it."""
    made = project_and_clone(tmp_path)
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return made


@pytest.fixture
def machines(dojo, tmp_path):
    """A bare repository, and two clones of it."""
    git(tmp_path, "clone", "-q", "--bare", "project", "shared.git")
    for name in ("one", "two"):
        git(tmp_path, "clone", "-q", "shared.git", name)
    return open_dojo(tmp_path / "one"), open_dojo(tmp_path / "two")


@pytest.fixture
def quick(monkeypatch):
    """Runs without pytest: the colours come from a list; and a clock that is set by hand."""

    class Quick:
        now = 1_795_284_000.0
        colours: list[str] = []  # noqa: RUF012

        def tests(self, colour, greens=0):
            return colour, 5 if colour == "green" else greens, 5

    quick = Quick()
    monkeypatch.setattr(pair_strip, "clock", lambda: quick.now)
    monkeypatch.setattr(pair_run, "_pytest", lambda kata: 1)
    monkeypatch.setattr(pair_run, "_verdict", lambda kata, before, status: quick.tests(quick.colours.pop(0)))
    return quick


def run(*arguments: str, status: int = 0, typed: str | None = None) -> str:
    result = CliRunner().invoke(app, list(arguments), input=typed)
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def flat(said: str) -> str:
    return " ".join(said.split())


def solve(dojo, old="", new=""):
    kata = dojo.kata("mean")
    lesson = kata.stub.read_text().split('"""\n\n')[0] + '"""\n\n'
    kata.path.write_text(lesson + kata.reference.read_text().split('"""\n\n', 1)[1].replace(old, new))


def begin(*options: str) -> str:
    run("pair", "--names", NAMES, "--kata", "mean", *options)
    return git_here("symbolic-ref", "--short", "HEAD")


def git_here(*arguments: str) -> str:
    return git(Path.cwd(), *arguments).strip()


def message(revision="HEAD"):
    return git_here("log", "-1", "--format=%B", revision)


def by(revision="HEAD"):
    return git_here("log", "-1", "--format=%an <%ae>", revision)


class TestTheBeginning:
    def test_a_branch_of_its_own_from_head(self, dojo):
        base = git_here("rev-parse", "HEAD")
        said = run("pair", "--names", NAMES, "--minutes", "5", "--kata", "mean")
        branch = git_here("symbolic-ref", "--short", "HEAD")
        assert re.fullmatch(r"dojo/\d{4}-\d\d-\d\d-mean", branch)
        assert git_here("rev-parse", "HEAD^") == base
        assert git_here("rev-parse", "main") == base
        assert git_here("status", "--porcelain") == ""
        assert "Ada drives, Grace navigates, 5 minutes a turn." in said
        for command in ("dojo pair run", "dojo pair next", "dojo pair done"):
            assert command in said
        for line in (
            "Dojo-Session: mean",
            "Dojo-Home: main",
            "Dojo-Minutes: 5",
            "Co-authored-by: Grace <grace@localhost>",
        ):
            assert line in message().splitlines()
        assert by() == "Ada <ada@example.org>"

    def test_an_edited_stub_is_the_first_commit(self, dojo):
        solve(dojo)
        begin()
        assert git_here("diff", "--name-only", "HEAD^", "HEAD") == MEAN
        assert git_here("status", "--porcelain") == ""

    def test_the_kata_at_work_is_the_one(self, dojo):
        assert "k01_mean" in run("pair", "--names", NAMES)

    def test_a_taken_name_gets_a_number(self, dojo):
        first = begin()
        git_here("switch", "-q", "main")
        (dojo.state / "pair.json").unlink()
        assert begin() == f"{first}-2"

    @pytest.mark.parametrize("staged", [False, True])
    def test_a_modified_tree_is_refused(self, dojo, staged):
        readme = dojo.root / "README.md"
        readme.write_text("mine\n")
        if staged:
            git_here("add", "README.md")
        said = flat(run("pair", "--names", NAMES, "--kata", "mean", status=2))
        assert "README.md modified and not committed" in said
        assert "git stash" in said
        assert readme.read_text() == "mine\n"
        assert git_here("symbolic-ref", "--short", "HEAD") == "main"
        assert "dojo/" not in git_here("branch")

    def test_what_git_does_not_know_is_no_hindrance(self, dojo):
        (dojo.root / "notes.txt").write_text("mine\n")
        begin()
        assert git_here("status", "--porcelain") == "?? notes.txt"

    def test_a_detached_head(self, dojo):
        git_here("checkout", "-q", "--detach")
        assert "git switch main" in run("pair", "--names", NAMES, status=2)

    def test_a_merge_that_goes_on(self, dojo):
        (dojo.root / ".git" / "MERGE_HEAD").write_text(git_here("rev-parse", "HEAD") + "\n")
        assert "in the middle of a merge" in flat(run("pair", "--names", NAMES, status=2))

    def test_no_git(self, dojo):
        shutil.rmtree(dojo.root / ".git")
        assert "isn't a git clone" in flat(run("pair", "--names", NAMES, status=2))

    def test_a_branch_in_the_way(self, dojo):
        git_here("branch", "dojo")
        assert "git branch -m dojo" in flat(run("pair", "--names", NAMES, status=2))

    def test_a_folder_apart(self, dojo, tmp_path, monkeypatch):
        run("init", str(tmp_path / "mine"))
        monkeypatch.chdir(tmp_path / "mine")
        assert f"cd {dojo.root}" in "".join(run("pair", "--names", NAMES, status=2).split("\n"))

    @pytest.mark.parametrize("names", ["Ada", "Ada,Ada", "Ada,", "Ada <a@b,Grace", "Ada\x07,Grace"])
    def test_names_that_are_none(self, dojo, names):
        assert "Ada" in run("pair", "--names", names, status=2)
        assert git_here("branch") == "* main"

    def test_three_take_turns(self, dojo, quick):
        run("pair", "--names", "Ada,Grace,Emmy", "--kata", "mean")
        drivers = [run("pair", "next").split()[0] for _ in range(3)]
        assert drivers == ["Grace", "Emmy", "Ada"]
        assert message().count("Co-authored-by") == 2

    def test_options_where_they_have_no_place(self, dojo):
        assert "--names Ada,Grace" in flat(run("pair", "--minutes", "3", status=2))
        assert "no evening is open" in flat(run("pair", "next", status=2))
        begin()
        assert "dojo pair goes on with it" in flat(run("pair", "--names", "A,B", status=2))
        assert "is open: dojo pair" in flat(run("pair", "--predict", status=2))
        assert "has none" in flat(run("pair", "--minutes", "3", "next", status=2))
        assert "leave the other options out" in flat(run("pair", "--join", "x", "--revert", status=2))

    def test_no_evening_and_no_remote(self, dojo):
        git_here("remote", "remove", "origin")
        assert "No remote is set" in flat(run("pair", status=2))

    def test_a_lost_note_of_this_machine(self, dojo):
        begin()
        (dojo.state / "pair.json").write_text("{broken")
        assert "Ada drives" in run("pair")

    def test_on_another_branch(self, dojo):
        branch = begin()
        git_here("switch", "-q", "main")
        for command in ((), ("run",), ("next",), ("done",)):
            assert f"git switch {branch}" in flat(run("pair", *command, status=2))


class TestARun:
    def test_todo_red_amber_and_green(self, dojo):
        begin()
        assert "todo: 0 of 5 green" in run("pair", "run", status=1)
        solve(dojo, "max(abs", "min(abs")
        assert "red: 4 of 5 green" in run("pair", "run", status=1)
        for line in (
            "Dojo-Colour: red",
            "Dojo-Tests: 4/5",
            "Dojo-Driver: Ada",
            "Co-authored-by: Grace <grace@localhost>",
        ):
            assert line in message().splitlines()
        assert git_here("diff", "--name-only", "HEAD^", "HEAD") == MEAN
        solve(dojo, "def mean", "def mean(")
        assert "amber: 0 of 5 green" in run("pair", "run", status=1)
        solve(dojo)
        assert "green: 5 of 5 green" in run("pair", "run")
        assert git_here("log", "--format=%s", "-4").splitlines() == [
            "green: 5 of 5 green", "amber: 0 of 5 green", "red: 4 of 5 green", "todo: 0 of 5 green"
        ]  # fmt: skip
        assert git_here("status", "--porcelain") == ""

    def test_without_a_record_the_exit_status_tells(self, dojo):
        begin()
        solve(dojo)
        shutil.rmtree(dojo.state)
        dojo.state.mkdir()
        (dojo.state / "record.sqlite").mkdir()
        assert re.search(r"(?m)^green, \d", run("pair", "run"))
        assert "Dojo-Colour: green" in message()

    def test_what_is_staged_stays_staged_and_uncommitted(self, dojo, quick):
        begin()
        (dojo.root / "README.md").write_text("mine\n")
        git_here("add", "README.md")
        solve(dojo)
        quick.colours = ["red"]
        run("pair", "run", status=1)
        assert git_here("status", "--porcelain") == "M  README.md"
        assert git_here("show", "--name-only", "--format=", "HEAD") == MEAN
        assert "README.md" in run("pair", "next")
        assert git_here("status", "--porcelain") == "M  README.md"

    def test_hooks_and_signing_are_off(self, dojo, quick):
        begin()
        hook = dojo.root / ".git" / "hooks"
        hook.mkdir(exist_ok=True)
        for name in ("pre-commit", "commit-msg", "pre-push", "reference-transaction", "post-merge"):
            (hook / name).write_text("#!/bin/sh\nexit 1\n")
            (hook / name).chmod(0o755)
        git_here("config", "commit.gpgSign", "true")
        git_here("config", "gpg.program", "false")
        solve(dojo)
        quick.colours = ["red"]
        run("pair", "run", status=1)
        assert "Pushed" in run("pair", "next")

    def test_a_missing_file(self, dojo):
        begin()
        dojo.kata("mean").path.unlink()
        assert "dojo reset" in flat(run("pair", "run", status=2))

    def test_a_branch_that_moved_meanwhile(self, dojo, quick, monkeypatch):
        begin()
        quick.colours = ["red"]
        monkeypatch.setattr(
            pair_run, "_pytest", lambda kata: len(git_here("commit", "-q", "--allow-empty", "-m", "x")) + 1
        )
        git_here("config", "user.name", "A"), git_here("config", "user.email", "a@localhost")
        assert "moved meanwhile" in flat(run("pair", "run", status=2))
        assert message() == "x"

    def test_ctrl_c_between_the_branch_and_the_index(self, dojo, quick, monkeypatch):
        begin()
        settle = pair_git.settle

        def interrupted(*arguments):
            os.kill(os.getpid(), signal.SIGINT)
            settle(*arguments)

        monkeypatch.setattr(pair_git, "settle", interrupted)
        solve(dojo)
        quick.colours = ["green"]
        assert "nothing is lost" in run("pair", "run", status=130)
        assert message().startswith("green")
        assert git_here("status", "--porcelain") == ""

    def test_what_is_not_to_be_interrupted_shields_git_as_well(self):
        with pair_git.uninterrupted():
            code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
            assert subprocess.run([sys.executable, "-c", code], capture_output=True).stdout == b"True\n"
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


class TestRevert:
    def test_goes_back_to_the_last_green_and_keeps_the_code(self, dojo, quick):
        begin("--revert")
        solve(dojo)
        good = dojo.kata("mean").path.read_text()
        quick.colours = ["green", "red"]
        run("pair", "run")
        solve(dojo, "max(abs", "min(abs")
        bad = dojo.kata("mean").path.read_text()
        said = run("pair", "run", status=1)
        assert dojo.kata("mean").path.read_text() == good
        assert "is back at the last green" in flat(said)
        command = re.search(r"git restore --source (refs/dojo/reverted/\S+) (\S+)", flat(said))
        assert f"Dojo-Reverted: {command[1]}" in message()
        assert git_here("status", "--porcelain") == ""
        subprocess.run(command[0].split(), check=True, cwd=dojo.root)
        assert dojo.kata("mean").path.read_text() == bad

    def test_goes_back_to_the_start_where_nothing_was_green(self, dojo, quick):
        stub = dojo.kata("mean").path.read_text()
        begin("--revert")
        quick.colours = ["todo", "amber"]
        assert "nothing to take back" in run("pair", "run", status=1)
        solve(dojo, "def mean", "def mean(")
        assert "is back at the start" in flat(run("pair", "run", status=1))
        assert dojo.kata("mean").path.read_text() == stub

    def test_two_in_one_second_have_two_refs(self, dojo, quick):
        begin("--revert")
        quick.colours = ["red", "red"]
        for old in ("max(abs", "len(numbers)"):
            solve(dojo, old, "min(abs")
            run("pair", "run", status=1)
        assert len(git_here("for-each-ref", "refs/dojo/reverted").splitlines()) == 2

    def test_what_is_typed_during_the_run_stays(self, dojo, quick, monkeypatch):
        begin("--revert")
        solve(dojo, "max(abs", "min(abs")
        quick.colours = ["red"]
        monkeypatch.setattr(pair_run, "_pytest", lambda kata: kata.path.write_text("typed meanwhile\n"))
        assert "edited during the run" in flat(run("pair", "run", status=1))
        assert dojo.kata("mean").path.read_text() == "typed meanwhile\n"
        ref = git_here("for-each-ref", "--format=%(refname)", "refs/dojo/reverted")
        assert "min(abs" in git_here("show", f"{ref}:{MEAN}")


class TestPredict:
    def test_is_asked_and_counted(self, dojo, quick):
        begin("--predict")
        quick.colours = ["red", "green", "todo"]
        assert "foreseen: red, right" in run("pair", "run", status=1, typed="r\n")
        assert "foreseen: red, wrong" in run("pair", "run", typed="RED\n")
        assert "foreseen: red, right" in run("pair", "run", status=1, typed="what\nr\n")
        assert "Dojo-Predicted: red" in message()
        said = run("pair", "done")
        assert "2 of 3 colours foreseen" in said
        assert said.count("foreseen red: right") == 2

    def test_without_an_answer_it_runs_all_the_same(self, dojo, quick):
        begin("--predict")
        quick.colours = ["green"]
        assert "No colour foreseen" in run("pair", "run")
        assert "Predicted" not in message()


class TestDone:
    def test_squashes_and_keeps_every_step(self, dojo, quick):
        base = git_here("rev-parse", "HEAD")
        branch = begin()
        quick.colours = ["todo", "red", "green"]
        run("pair", "run", status=1)
        solve(dojo, "max(abs", "min(abs")
        run("pair", "run", status=1)
        run("pair", "next")
        solve(dojo)
        run("pair", "run")
        tip = git_here("rev-parse", "HEAD")
        said = run("pair", "done")
        assert git_here("rev-parse", "HEAD^") == base
        assert git_here("rev-parse", "HEAD^{tree}") == git_here("rev-parse", f"{tip}^{{tree}}")
        assert git_here("rev-parse", f"refs/dojo/pair/{branch}") == tip
        assert git_here("symbolic-ref", "--short", "HEAD") == branch
        assert git_here("status", "--porcelain") == ""
        assert message().splitlines()[:3] == ["mean: 5 of 5 green, by Ada and Grace", "", "TRG"]
        assert by() == "Grace <grace@localhost>"
        assert "Co-authored-by: Ada <ada@example.org>" in message()
        assert f"git switch main && git merge {branch}" in flat(said)
        assert "Where the time went" in said
        assert "no evening is open" in flat(run("pair", "run", status=2))

    def test_the_lights_are_the_same_afterwards(self, dojo, quick):
        branch = begin("--predict")
        quick.colours = ["red", "green"]
        for seconds, typed in ((61, "r\n"), (120, "r\n")):
            quick.now += seconds
            solve(dojo, "#", f"# {seconds}")
            CliRunner().invoke(app, ["pair", "run"], input=typed)
        quick.now += 30
        done = run("pair", "done").split(f"\n{branch} is one commit")[0]
        assert run("lights").strip() == done.strip()
        git_here("switch", "-q", "main")
        git_here("merge", "-q", branch)
        git_here("branch", "-D", branch)
        assert "No evening" not in run("lights", "main")

    def test_home_goes_back_with_the_users_word(self, dojo, quick):
        branch = begin()
        solve(dojo)
        said = run("pair", "done", "--home")
        assert git_here("symbolic-ref", "--short", "HEAD") == "main"
        assert f"git merge {branch}" in flat(said)
        git_here("merge", "-q", branch)
        assert "sum(numbers)" in dojo.kata("mean").path.read_text()

    def test_code_that_was_never_judged_is_in_it(self, dojo, quick):
        begin()
        solve(dojo)
        run("pair", "done")
        assert "an evening without a run" in message()
        assert "sum(numbers)" in git_here("show", f"HEAD:{MEAN}")

    def test_a_second_evening_on_top_of_the_first(self, dojo, quick):
        first = begin()
        run("pair", "done")
        assert begin() == f"{first}-2"
        assert "open" in run("lights").splitlines()[0]
        assert first in run("lights", first)


class TestTwoMachines:
    def test_an_evening(self, machines, monkeypatch):
        one, two = machines
        for machine in machines:
            git(machine.root, "config", "merge.ff", "false")
        monkeypatch.chdir(one.root)
        branch = begin()
        solve(one, "max(abs", "min(abs")
        run("pair", "run", status=1)
        assert f"dojo pair --join {branch}" in flat(run("pair", "next"))

        monkeypatch.chdir(two.root)
        assert "Grace drives" in run("pair")  # the only one that the remote has
        assert "min(abs" in two.kata("mean").path.read_text()
        solve(two, "return max(abs(number - middle) for number in numbers)", "raise NotImplementedError")
        run("pair", "run", status=1)
        run("pair", "next")

        monkeypatch.chdir(one.root)
        said = run("pair")
        assert "Taken up from origin" in said
        assert "Ada drives" in said
        solve(one)
        assert "green" in run("pair", "run")
        said = run("pair", "done")
        assert "Pushed to origin, the steps as well." in said
        squashed = git_here("rev-parse", "HEAD")

        monkeypatch.chdir(two.root)
        lights = [line for line in said.splitlines() if re.match(r" +\d+  \d\d:\d\d  ", line)]
        assert [line.split()[2] for line in lights] == ["R", "T", "G"]
        said = run("pair")
        assert "The other one has ended the evening" in flat(said)
        assert git_here("rev-parse", "HEAD") == squashed
        assert git_here("status", "--porcelain") == ""
        for line in lights:
            assert line in run("lights")

    def test_join_by_name(self, machines, monkeypatch):
        one, two = machines
        monkeypatch.chdir(one.root)
        branch = begin()
        run("pair", "next")
        monkeypatch.chdir(two.root)
        assert branch in flat(run("pair", "--join", "dojo/nope", status=2))
        assert "Grace drives" in run("pair", "--join", branch)
        assert git_here("symbolic-ref", "--short", "HEAD") == branch

    def test_several_open_evenings(self, machines, monkeypatch):
        one, two = machines
        monkeypatch.chdir(one.root)
        branch = begin()
        run("pair", "next")
        git_here("switch", "-q", "main")
        (one.state / "pair.json").unlink()
        begin()
        run("pair", "next")
        monkeypatch.chdir(two.root)
        assert f"{branch}, {branch}-2. Which one?" in flat(run("pair", status=2))

    def test_a_modified_tree_is_not_joined_over(self, machines, monkeypatch):
        one, two = machines
        monkeypatch.chdir(one.root)
        begin()
        run("pair", "next")
        monkeypatch.chdir(two.root)
        two.kata("mean").path.write_text("mine\n")
        assert "git stash" in flat(run("pair", status=2))
        assert two.kata("mean").path.read_text() == "mine\n"
        assert git_here("symbolic-ref", "--short", "HEAD") == "main"

    @pytest.fixture
    def both_at_it(self, machines, monkeypatch, quick):
        """Both have the evening, and the second has handed over what the first hasn't seen."""
        one, two = machines
        quick.colours = ["red", "green"]
        monkeypatch.chdir(one.root)
        branch = begin()
        run("pair", "next")
        monkeypatch.chdir(two.root)
        run("pair")
        solve(two)
        run("pair", "run", status=1)
        run("pair", "next")
        monkeypatch.chdir(one.root)
        return one, two, branch

    def test_branches_that_diverged_are_told_and_stay(self, both_at_it):
        one, _, branch = both_at_it
        solve(one, "max(abs", "min(abs")
        run("pair", "run")
        mine, theirs = git_here("rev-parse", "HEAD"), git(one.root, "ls-remote", "origin", branch).split()[0]
        for command, status in (("next", 0), ("done", 1)):
            said = flat(run("pair", command, status=status))
            assert "have both gone on. Both are kept" in said
            assert f"git merge origin/{branch}" in said
        assert "Nothing was squashed" in said
        assert git(one.root, "ls-remote", "origin", branch).split()[0] == theirs
        assert git_here("merge-base", "--is-ancestor", mine, "HEAD") == ""
        assert git_here("rev-parse", f"origin/{branch}") == theirs

    def test_a_push_that_comes_second_is_refused_in_words(self, both_at_it, monkeypatch):
        one, _, branch = both_at_it
        monkeypatch.setattr(pair_git, "fetch", lambda git, remote: "")  # the other pushes after we have looked
        theirs = git(one.root, "ls-remote", "origin", branch).split()[0]
        said = flat(run("pair", "next"))
        assert "has steps of" in said and "Your steps are safe" in said
        assert git(one.root, "ls-remote", "origin", branch).split()[0] == theirs
        assert "Grace" in run("pair")

    def test_edits_are_not_run_over_by_what_the_other_did(self, both_at_it):
        one, _, _ = both_at_it
        one.kata("mean").path.write_text("mine\n")
        assert "has edits that aren't committed" in flat(run("pair"))
        before = git_here("rev-parse", "HEAD")
        assert "has edits that aren't committed" in flat(run("pair", "next"))
        assert git_here("rev-parse", "HEAD") == before
        assert one.kata("mean").path.read_text() == "mine\n"

    def test_next_takes_up_what_the_other_did_and_hands_nothing_over(self, both_at_it):
        assert "Ada drives" in (said := run("pair", "next"))
        assert "1 run." in said and "Pushed" not in said
        assert git_here("log", "-1", "--format=%s") == "mean: Ada drives"

    def test_the_end_is_taken_from_behind(self, both_at_it, monkeypatch):
        one, two, branch = both_at_it
        monkeypatch.chdir(two.root)
        run("pair", "done")
        monkeypatch.chdir(one.root)
        assert "has ended the evening" in flat(run("pair", "next"))
        assert git_here("rev-parse", "HEAD") == git(two.root, "rev-parse", branch).strip()
        assert len(git_here("for-each-ref", "refs/dojo/pair").splitlines()) == 1

    def test_a_conflict_that_is_merged_by_hand(self, both_at_it, quick):
        one, _, branch = both_at_it
        solve(one, "max(abs", "min(abs")
        quick.now += 5
        run("pair", "run")
        git_here("config", "user.name", "A"), git_here("config", "user.email", "a@localhost")
        assert f"git merge origin/{branch}" in flat(run("pair", "next"))
        assert "CONFLICT" in git(one.root, "merge", f"origin/{branch}", check=False)
        assert "in the middle of a merge" in flat(run("pair", "next", status=2))
        solve(one)
        git_here("commit", "-qam", "both")
        assert "Pushed" in run("pair", "next")
        quick.colours = ["green"]
        run("pair", "run")
        run("pair", "done")
        assert "\nRGG\n" in message()  # the runs of both

    def test_a_remote_that_is_not_there(self, dojo, quick, tmp_path):
        begin()
        shutil.move(tmp_path / "project", tmp_path / "elsewhere")
        said = flat(run("pair", "next"))
        assert "origin can't be reached" in said
        assert "it is safe here" in said
        assert "Grace drives" in said

    def test_a_remote_that_takes_no_pushes(self, machines, monkeypatch, quick):
        one, _ = machines
        hook = one.root.parent / "shared.git" / "hooks" / "pre-receive"
        hook.write_text("#!/bin/sh\necho 'Permission denied to learner' >&2\nexit 1\n")
        hook.chmod(0o755)
        monkeypatch.chdir(one.root)
        begin()
        said = flat(run("pair", "next"))
        assert "origin doesn't let you push" in said
        assert "git remote add ours URL" in said

    def test_no_remote(self, dojo, quick):
        begin()
        git_here("remote", "remove", "origin")
        assert "No remote is set: the evening stays on this machine." in flat(run("pair", "next"))
        assert "Pushed" not in run("pair", "done")


class TestTheClock:
    def test_a_turn_and_the_time_away(self, dojo, quick):
        begin("--minutes", "7")
        evening = need_evening(dojo)
        quick.now += 60
        assert evening.remaining == 360
        evening.leave()
        quick.now += 3600
        assert need_evening(dojo).remaining == 360
        quick.now += 30
        quick.colours = ["red"]
        run("pair", "run", status=1)
        assert "Dojo-Away: 3600" in message()
        session = need_evening(dojo).session
        assert pair_strip.summarise(session).total == 90
        quick.now += 420
        evening = need_evening(dojo)
        assert evening.remaining == -90
        quick.colours = ["red"]
        assert "The turn is over: dojo pair next, and Grace drives." in flat(run("pair", "run", status=1))
        run("pair", "next")
        assert need_evening(dojo).remaining == 420


class TestAtTheKeyboard:
    """In a real pseudo-terminal."""

    @pytest.fixture
    def terminal(self, dojo):
        opened = []

        def start(*arguments, columns=60, **environment):
            command = arguments or ("pair", "--names", NAMES, "--kata", "mean")
            opened.append(Terminal(dojo.root, *command, columns=columns, lines=40, env=environment))
            return opened[-1]

        yield start
        for one in opened:
            one.close()
            plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", one.written)
            lines = [line for part in plain.split("\n") for line in part.split("\r")]
            # A command to copy, or a path, stays in one piece; and what pytest says when it is interrupted.
            others = re.compile("  |.*KeyboardInterrupt")
            long = [line for line in lines if cell_len(line) > one.screen.columns]
            assert [line for line in long if not others.match(line)] == []

    def test_an_evening_of_60_columns(self, dojo, terminal):
        it = terminal("pair", "--names", NAMES, "--kata", "mean", "--predict")
        assert re.search(r"driver     Ada", it.until(r"\d:\d\d left  Ada drives"))
        it.send("h")
        it.until("hint 1 of 3")
        solve(dojo, "max(abs", "min(abs")
        it.send("\r")
        it.until("Red or green")
        it.send("g\r")
        it.until("foreseen: green, wrong[^$]*left  Ada drives  R")
        it.send("n")
        it.until("Grace drives, Ada navigates[^$]*left  Grace drives  R")
        solve(dojo)
        it.send("r")
        it.until(r"Red or green\?$")
        it.send("g\r")
        it.until("left  Grace drives  RG")
        it.send("d")
        it.until("y/N")
        it.send("y\r")
        it.until("Go back to main now")
        it.send("y\r")
        assert it.ended() == 0
        assert "1 of 2 colours foreseen" in it.text
        assert git_here("symbolic-ref", "--short", "HEAD") == "main"

    def test_leave_and_come_back(self, dojo, terminal):
        it = terminal()
        it.until("left")
        it.send("q")
        assert it.ended() == 0
        again = terminal("pair")
        again.until("left  Ada drives")
        again.send("x?")  # no key, and the introduction
        again.send("d")
        again.until("y/N")
        again.send("\r")
        again.until("left  Ada drives")
        again.send("q")
        assert again.ended() == 0

    def calm(self, dojo, it):
        """Ended by Ctrl-C: status 130, nothing half done, and the evening goes on afterwards."""
        assert it.ended() == 130
        it.read(0.1)
        assert "Traceback" not in it.text
        assert "The evening stays open" in it.text
        assert git_here("status", "--porcelain") in ("", f"M {MEAN}")
        assert git_here("fsck", "--no-dangling", "--no-progress") == ""
        assert "drives" in run("pair")

    def test_ctrl_c_while_it_waits(self, dojo, terminal):
        it = terminal()
        it.until("left")
        it.read(0.2)
        it.send("\x03")
        self.calm(dojo, it)

    def test_the_terminal_is_as_it_was(self, dojo, terminal):
        it = terminal("pair", "--names", NAMES, "--kata", "mean")
        it.until("left")
        it.read(0.2)
        assert not termios.tcgetattr(it.process.child_fd)[3] & termios.ICANON  # single keys
        it.send("\x03")
        it.until("stays open")
        assert termios.tcgetattr(it.process.child_fd)[3] & termios.ICANON
        assert termios.tcgetattr(it.process.child_fd)[3] & termios.ECHO

    @pytest.mark.parametrize("stubborn", [False, True])
    def test_ctrl_c_during_a_run(self, dojo, terminal, stubborn):
        it = terminal()
        it.until("left")
        loop = "    while True:\n        try:\n            time.sleep(9)\n        except BaseException:\n            pass\n"
        loop = loop if stubborn else "    time.sleep(9)\n"
        mark = dojo.root / "running"
        kata = dojo.kata("mean").path
        kata.write_text(
            f"import os, time\n\ndef spread(x):\n    pass\n\ndef mean(x):\n    open({str(mark)!r}, 'w').write(str(os.getpid()))\n{loop}"
        )
        it.send("\r")
        for _ in range(1000):
            it.read(0.05)
            if mark.exists() and mark.read_text():
                break
        pid = int(mark.read_text())
        it.send("\x03")
        if stubborn:
            it.read(0.3)
            it.send("\x03")
        mark.unlink()
        self.calm(dojo, it)
        assert git_here("log", "-1", "--format=%s") == "mean: a dojo evening begins"
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    def test_ctrl_c_at_the_questions(self, dojo, terminal):
        it = terminal("pair", "--names", NAMES, "--kata", "mean", "--predict")
        it.until("left")
        it.send("\r")
        it.until("Red or green")
        it.send("\x03")
        self.calm(dojo, it)
        it = terminal("pair")
        it.until("left")
        it.send("d")
        it.until("y/N")
        it.send("\x03")
        self.calm(dojo, it)

    @pytest.mark.parametrize("what", ["uploadpack", "receivepack"])
    def test_ctrl_c_while_the_remote_does_not_answer(self, dojo, terminal, what):
        it = terminal()
        it.until("left")
        mark = dojo.root / "asked"
        git_here("config", f"remote.origin.{what}", f"echo $GIT_TERMINAL_PROMPT > {mark}; sleep 20; false")
        it.send("n")
        for _ in range(1000):
            it.read(0.05)
            if mark.exists() and mark.read_text():
                break
        assert mark.read_text() == "0\n"  # git asks for no password in the middle of the screen
        mark.unlink()
        it.send("\x03")
        git_here("config", "--unset", f"remote.origin.{what}")
        self.calm(dojo, it)
        assert ("Grace drives" in run("pair")) is (what == "receivepack")  # committed before it is pushed

    def test_resizing(self, dojo, terminal):
        it = terminal(columns=80)
        it.until("left  Ada drives")
        for columns in (24, 16, 100, 60):
            before = it.written
            it.resize(columns, 40)
            it.until("left")
            it.read(0.2)
            drawn = it.written[len(before) :]
            assert drawn, f"nothing was drawn anew at {columns} columns"
            last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn).split("\r")[-1]
            assert 0 < len(last) < columns
        it.send("q")
        assert it.ended() == 0

    def test_the_bell_rings_once_when_the_time_is_up(self, dojo, terminal):
        it = terminal("pair", "--names", NAMES, "--kata", "mean", "--minutes", "0.02")
        it.until("Time to hand over: n, and Grace drives.")
        it.until("0:02 over  Ada drives")
        assert it.written.count("\a") == 1
        it.send("n")
        it.until("left  Grace drives")
        it.send("q")
        assert it.ended() == 0

    def test_another_shell(self, dojo, terminal):
        it = terminal()
        it.until("left  Ada drives")
        run("pair", "next")
        it.until("Handed over in another shell: Grace drives.")
        it.until("left  Grace drives")
        run("pair", "done")
        it.until("The evening was ended in another shell.")
        assert it.ended() == 0

    def test_without_colour(self, dojo, terminal):
        it = terminal(NO_COLOR="1")
        it.until("left")
        it.send("\r")
        it.until("todo: 0 of 5 green[^$]*left  Ada drives  T")
        it.send("q")
        assert it.ended() == 0
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", it.written)

    def test_an_error_is_said_and_the_evening_goes_on(self, dojo, terminal):
        it = terminal()
        it.until("left")
        path = dojo.kata("mean").path
        stub = path.read_text()
        path.unlink()
        it.send("\r")
        it.until("can't be read[^$]*left")
        path.write_text(stub)
        it.send("\r")
        it.until("todo: 0 of 5[^$]*left")
        it.send("q")
        assert it.ended() == 0


def test_starting_dojo_loads_none_of_it(dojo):
    code = "import sys; from dojo.cli import app; app(standalone_mode=False)\n"
    code += "print(sorted(name for name in sys.modules if name.startswith('dojo.pair')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=dojo.root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_commit_by_hand_in_between_is_kept_and_is_no_light(dojo, quick):
    begin()
    git_here("config", "user.name", "A"), git_here("config", "user.email", "a@localhost")
    (dojo.root / "README.md").write_text("mine\n")
    commit(dojo.root, "by hand")
    quick.colours = ["red"]
    run("pair", "run", status=1)
    run("pair", "done")
    assert git_here("show", "HEAD:README.md") == "mine"
    assert len(run("lights").split("R red")) == 2


def test_an_interruption_waits_for_the_outermost_block():
    """Also one that reaches another thread, which a mask alone doesn't hold up."""
    import threading

    inside = threading.Event()

    def interrupt() -> None:
        inside.wait(10)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()  # before the block: a thread has the mask of the one that starts it
    reached = []
    with pytest.raises(KeyboardInterrupt):
        with pair_git.uninterrupted():
            with pair_git.uninterrupted():
                inside.set()
                other.join()
                reached.append("inner")
            reached.append("outer")
        reached.append("after")
    assert reached == ["inner", "outer"]
