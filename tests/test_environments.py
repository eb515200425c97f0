"""Environments that people have: full disks, odd paths, other encodings, old Pythons, locked files."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dojo.curriculum.katas import open_dojo
from dojo.learner.git import Git, GitError
from dojo.learner.record import Record
from dojo.learner.workspace import reset
from dojo.upstream.apart import init
from dojo.upstream.update import update
from tests.synthetic import ROOT, commit, git, make_dojo, project_and_clone
from tests.upstream.world import LESSON, MEAN, World, unknown_to_git


def dojo_command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **environment}
    command = [sys.executable, "-m", "dojo", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)


# --- what the system refuses --------------------------------------------------------------------------

# Each command that reads or writes, in a process in which the system refuses what concerns one path.
REFUSING = """
import errno, io, os, sys
number, word = int(sys.argv[1]), sys.argv[2]
del sys.argv[1:3]
plain_open, plain_replace, plain_mkdir = io.open, os.replace, os.mkdir
def refuse(path):
    if isinstance(path, (str, os.PathLike)) and word in str(path):
        raise OSError(number, os.strerror(number), str(path))
def opened(file, mode="r", *rest, **named):
    if number == errno.EACCES or set(mode) & set("wax+"):
        refuse(file)
    return plain_open(file, mode, *rest, **named)
def replace(a, b, **named):
    refuse(b)
    return plain_replace(a, b, **named)
def mkdir(path, *rest, **named):
    refuse(path)
    return plain_mkdir(path, *rest, **named)
io.open, os.replace, os.mkdir = opened, replace, mkdir
import builtins
builtins.open = opened
from dojo.__main__ import main
main()
"""
FULL, READ_ONLY, FORBIDDEN = 28, 30, 13
CURES = {FULL: "make room", READ_ONLY: "read-only", FORBIDDEN: "chmod"}


def refused(folder: Path, number: int, word: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300"}
    command = [sys.executable, "-c", REFUSING, str(number), word, *arguments]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60, input=""
    )


@pytest.mark.parametrize("number", [FULL, READ_ONLY])
@pytest.mark.parametrize(
    ("word", "arguments"),
    [
        ("k01_mean", ("reset", "mean")),
        ("kept", ("reset", "mean")),
        ("update", ("update",)),
        ("mine", ("init", "../mine")),
        ("mode", ("new", "mode", "--module", "module_01")),
        ("out.apkg", ("cards", "--out", "out.apkg")),
    ],
)
def test_what_cannot_be_written_is_one_line_with_the_path_and_the_cure(tmp_path, monkeypatch, number, word, arguments):
    unknown_to_git(tmp_path / "home", monkeypatch)
    world = World(tmp_path)
    mine = world.solve()
    world.publish(LESSON)
    run = refused(world.clone, number, word, *arguments)
    assert run.returncode == 2, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1, run.stderr
    assert word in run.stderr
    assert CURES[number] in run.stderr
    assert world.read(MEAN) == mine
    assert not [path for path in world.clone.rglob("*") if f".{word}" in path.name and path.name[-1].isdigit()]


@pytest.mark.parametrize("path", ["katas/module_01_numbers/k01_mean.py", "reference/module_01_numbers/k01_mean.toml",
                                  "katas/module_01_numbers/test_k01_mean.py"])  # fmt: skip
@pytest.mark.parametrize("command", [(), ("list",), ("next",), ("hint", "median"), ("review",)])
def test_one_file_that_cannot_be_read_takes_no_other_down(tmp_path, path, command):
    dojo = project_and_clone(tmp_path)
    with Record(dojo.state / "record.sqlite"):
        pass
    run = refused(dojo.root, FORBIDDEN, path, *command)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    if command == ("list",):
        assert "k02_median" in run.stdout and "k01_count" in run.stdout


def test_what_is_wrong_with_the_unreadable_one_is_said(tmp_path):
    dojo = project_and_clone(tmp_path)
    kata = dojo.kata("mean")
    from tests.test_cli import judged

    judged(dojo)
    run = refused(dojo.root, FORBIDDEN, MEAN, "list")
    said = " ".join(run.stdout.split())
    assert "! amber k01_mean" in said and "Permission denied" in said
    run = refused(dojo.root, FORBIDDEN, MEAN, "diff", "mean", "--yes")
    assert run.returncode == 2 and "Permission denied" in run.stderr and str(kata.path) in run.stderr
    assert "Traceback" not in run.stderr


def test_a_damaged_toml_hides_no_other_kata(tmp_path):
    dojo = project_and_clone(tmp_path)
    dojo.kata("mean").toml.write_text("title = [")
    for command in ((), ("list",), ("next",)):
        run = dojo_command(dojo.root, *command)
        assert (run.returncode, "Traceback" in run.stderr) == (0, False), run.stderr


def test_the_reader_may_leave_early(tmp_path):
    dojo = project_and_clone(tmp_path)
    command = f"{shlex.quote(sys.executable)} -m dojo list | true"
    run = subprocess.run(command, shell=True, cwd=dojo.root, capture_output=True, text=True, check=False,
                         env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert "Traceback" not in run.stderr and "dojo:" not in run.stderr


# --- the record ---------------------------------------------------------------------------------------


def test_a_locked_record_is_gone_on_without_at_once(tmp_path):
    dojo = project_and_clone(tmp_path)
    from tests.test_cli import judged

    judged(dojo, "mean", "red")
    # Held by another process: a lock of this one would be let go of when it closes the file.
    code = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    code += "db.execute('PRAGMA locking_mode = EXCLUSIVE')\ndb.execute('BEGIN EXCLUSIVE')\nprint('held', flush=True)\n"
    code += "sys.stdin.read()\n"
    command = [sys.executable, "-c", code, str(dojo.state / "record.sqlite")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        start = time.monotonic()
        with Record(dojo.state / "record.sqlite") as record:
            assert not record.writable
            assert "another program holds it" in record.notes[-1]
        assert time.monotonic() - start < 5  # 20 s, and a refusal, before
        run = dojo_command(dojo.root)
        hint = dojo_command(dojo.root, "hint", "mean")
        other.communicate("")
    assert (run.returncode, hint.returncode) == (0, 0), run.stderr + hint.stderr
    for text in (run.stderr, hint.stderr):
        assert "practice goes on without it" in " ".join(text.split())
    assert "hint 1 of 3" in hint.stdout
    with Record(dojo.state / "record.sqlite") as record:
        assert record.latest("mean").colour == "red"


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """As some network folders: SQLite finds the file busy for ever, and fcntl says that there are no locks."""
    import fcntl

    path = tmp_path / "record.sqlite"
    with Record(path):
        pass

    def none(*arguments):
        raise OSError(37, "No locks available")

    connect = sqlite3.connect

    def busy(*arguments, **options):
        if "uri" in options or arguments[0] == ":memory:":
            return connect(*arguments, **options)
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    monkeypatch.setattr(fcntl, "lockf", none)
    monkeypatch.setattr(sqlite3, "connect", busy)
    start = time.monotonic()
    with Record(path) as record:
        assert not record.writable
        assert "its file system has no locks" in record.notes[-1]
        assert record.hints_seen("mean") == 0
    assert time.monotonic() - start < 1


# --- git ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Zoë", "张伟"])
@pytest.mark.parametrize("encoding", ["GBK", "ISO-8859-1", "UTF-8"])
def test_names_are_written_as_they_are_whatever_encoding_git_is_told(tmp_path, monkeypatch, name, encoding):
    unknown_to_git(tmp_path / "home", monkeypatch)
    world = World(tmp_path)
    git(world.clone, "config", "user.name", name)
    git(world.clone, "config", "i18n.commitEncoding", encoding)
    world.solve()
    world.publish(LESSON)
    update(world.dojo)
    for commit_ in ("HEAD", "HEAD^1"):
        raw = subprocess.run(
            ["git", "-C", str(world.clone), "cat-file", "commit", commit_], capture_output=True, check=True
        )
        assert f"author {name} <".encode() in raw.stdout
        assert b"encoding" not in raw.stdout
    assert git(world.clone, "log", "-1", "--format=%an", "--encoding=UTF-8").strip() == name


def test_gits_own_words_reach_the_user(tmp_path, monkeypatch):
    dojo = project_and_clone(tmp_path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(GitError, match=r"dubious ownership.*git config --global --add safe\.directory"):
        Git(dojo.root)
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    with pytest.raises(GitError, match="isn't a git clone"):
        Git(tmp_path)


class TestARemoteByAnotherName:
    @pytest.fixture
    def world(self, tmp_path, monkeypatch):
        unknown_to_git(tmp_path / "home", monkeypatch)
        world = World(tmp_path)
        git(world.clone, "remote", "rename", "origin", "dojo-project")
        return world

    def test_the_only_one_is_it(self, world):
        mine = world.solve()
        world.publish(LESSON)
        assert update(world.dojo).source == "dojo-project/main"
        assert world.read(MEAN) == mine.replace(*LESSON[1:])
        world.solve()
        reset(world.dojo.kata("mean"))
        assert world.read(MEAN) == (world.project / MEAN).read_text()

    def test_of_several_the_one_that_the_branch_follows(self, world, tmp_path):
        git(world.clone, "remote", "add", "friend", str(tmp_path / "nowhere"))
        world.publish(LESSON)
        assert update(world.dojo).source == "dojo-project/main"

    def test_where_nothing_tells_it_is_asked_for(self, world, tmp_path):
        git(world.clone, "remote", "add", "friend", str(tmp_path / "nowhere"))
        git(world.clone, "config", "--unset", "branch.main.remote")
        run = dojo_command(world.clone, "update")
        assert run.returncode == 2
        assert "dojo-project, friend" in run.stderr.replace("friend, dojo-project", "dojo-project, friend")
        assert "--from REMOTE/BRANCH" in run.stderr


# --- paths, and files under other names ---------------------------------------------------------------


def test_a_folder_of_ones_own_from_a_clone_with_brackets_in_its_path(tmp_path, in_dojo):
    clone = make_dojo(tmp_path / "a [b] c" / "clone [1]")
    mine = init(clone, tmp_path / "mine [x]")
    for arguments in (("katas/module_01/mean", "-x"), ("katas/module_01", "-x", "-n", "2"), ()):
        run = in_dojo(mine.root, *arguments)
        assert "todo   k01_mean" in run.stdout, run.stdout + run.stderr
        assert "edit   katas/module_01_numbers/k01_mean.py" in run.stdout
    test = clone.kata("median").test
    run = in_dojo(mine.root, f"{test}::test_matches_statistics[7]")
    assert "0/1 green" in run.stdout, run.stdout + run.stderr


def test_paths_to_cd_into_are_quoted(tmp_path):
    dojo = project_and_clone(tmp_path)
    run = dojo_command(dojo.root, "init", "../my katas; rm x")
    assert "  cd '../my katas; rm x'" in run.stdout
    run = dojo_command(tmp_path / "my katas; rm x", "new", "mode", "--module", "module_01")
    assert f"cd {dojo.root}," in run.stderr.replace("\n", " ")


def test_a_renamed_stub_is_named_with_the_command_that_brings_it_back(tmp_path, in_dojo):
    dojo = project_and_clone(tmp_path)
    path = dojo.kata("mean").path
    path.rename(path.with_name("k1_mean.py"))
    run = in_dojo(dojo.root, "katas/module_01/mean", "-x")
    said = " ".join(run.stdout.split())
    assert "amber k01_mean" in said
    assert "k01_mean.py is missing. Did you rename it? There is k1_mean.py." in said
    assert "dojo reset mean" in said
    assert dojo_command(dojo.root, "reset", "mean").returncode == 0
    assert path.exists() and path.with_name("k1_mean.py").exists()
    path.unlink()
    path.with_name("k1_mean.py").unlink()
    assert "is missing. This puts the stub back" in " ".join(in_dojo(dojo.root, "katas/module_01/mean").stdout.split())


@pytest.mark.parametrize("line", ["from helpers import x", "import k01_mean", "from k01_mean import mean"])
def test_an_import_of_a_file_beside_the_kata_is_told_the_form_that_works(tmp_path, in_dojo, line):
    dojo = project_and_clone(tmp_path)
    path = dojo.kata("median").path
    path.with_name("helpers.py").write_text("x = 1\n")
    path.write_text(f"{line}\n\n\ndef median(numbers):\n    return 1.0\n")
    name = line.split()[1]
    said = in_dojo(dojo.root, "katas/module_01/median", "-x").stdout
    assert f"from .{name} import" in said
    path.write_text("from .helpers import x\n\n\ndef median(numbers):\n    return x\n")
    assert "ModuleNotFound" not in in_dojo(dojo.root, "katas/module_01/median", "-x").stdout


@pytest.mark.parametrize("module", ["dojo.__main__", "dojo.plugin"])
def test_an_old_python_is_told_which_one_is_needed(module):
    code = f"import sys; sys.version_info = (3, 10, 12, 'final', 0); import {module}"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert run.returncode == 1
    assert "needs Python 3.11 or newer, and this is Python 3.10" in run.stderr
    assert "Traceback" not in run.stderr


def test_what_old_pythons_read_first_is_plain_enough_for_them():
    """`dojo/__init__.py` must get as far as its sentence on any Python 3: no newer syntax in it."""
    import ast

    ast.parse((ROOT / "dojo" / "__init__.py").read_text(encoding="utf-8"), feature_version=(3, 7))


def test_an_update_that_was_killed_is_finished_and_told_by_the_next_command(tmp_path, monkeypatch):
    unknown_to_git(tmp_path / "home", monkeypatch)
    world = World(tmp_path)
    world.solve()
    commit(world.clone, "mine")
    world.publish(LESSON)
    from tests.upstream.test_killed import killed_in_the_middle

    killed_in_the_middle(world.clone, 0)
    run = dojo_command(world.clone)
    assert run.returncode == 0
    assert "An update was interrupted. It is finished now:" in run.stdout
    assert "lesson     mean is renewed" in run.stdout
    assert "interrupted" not in dojo_command(world.clone).stdout
    assert LESSON[2] in world.read(MEAN)


def test_pytest_says_that_an_update_was_interrupted(tmp_path, monkeypatch, in_dojo):
    unknown_to_git(tmp_path / "home", monkeypatch)
    world = World(tmp_path)
    world.solve()
    world.publish(LESSON)
    from tests.upstream.test_killed import killed_in_the_middle

    killed_in_the_middle(world.clone, 0)
    assert "an update was interrupted" in in_dojo(world.clone, "katas/module_01/mean", "-x").stdout
    assert open_dojo(world.clone).kata("mean")
