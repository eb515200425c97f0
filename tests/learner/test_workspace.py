"""Stubs as they were, `dojo reset`, copies of the learner's work, and `dojo new`."""

from __future__ import annotations

import ast
import os

import pytest

from dojo.curriculum.katas import STEM, DojoError, open_dojo
from dojo.curriculum.scaffold import scaffold
from dojo.learner.workspace import Kept, name_of, new_stub_beside, pristine_stub, reset
from dojo.proofs.lint import problems
from dojo.upstream.apart import init
from tests.synthetic import FILES, commit, git, make_dojo, project_and_clone
from tests.upstream.killing import killed

MEAN = "katas/module_01_numbers/k01_mean.py"


@pytest.fixture
def clone(tmp_path):
    """The project, and a learner's clone of it."""
    return project_and_clone(tmp_path)


def solve(dojo, path=MEAN):
    file = dojo.root / path
    file.write_text(file.read_text().replace("raise NotImplementedError", "return 1.0  # ∑"))
    return file.read_text()


class TestReset:
    def check(self, dojo, stub=FILES[MEAN]):
        mine = (dojo.root / MEAN).read_text()
        copy = reset(dojo.kata("mean"))
        assert (dojo.root / MEAN).read_text() == stub
        assert copy.read_text() == mine
        assert copy.is_relative_to(dojo.state / "kept")

    def test_of_an_edited_stub(self, clone):
        solve(clone)
        self.check(clone)
        assert git(clone.root, "status", "--porcelain") == ""

    def test_of_a_stub_whose_edits_are_committed(self, clone):
        solve(clone)
        commit(clone.root)
        self.check(clone)

    def test_whose_lesson_has_notes_that_are_committed(self, clone):
        (clone.root / MEAN).write_text(FILES[MEAN].replace("Worked by hand", "My notes. Worked by hand"))
        commit(clone.root)
        self.check(clone)

    def test_with_the_edits_pushed_to_a_fork(self, clone, tmp_path):
        git(tmp_path, "clone", "-q", "--bare", "clone", "fork.git")
        git(clone.root, "remote", "set-url", "origin", str(tmp_path / "fork.git"))
        solve(clone)
        commit(clone.root)
        git(clone.root, "push", "-q", "origin", "main")
        self.check(clone)

    def test_without_a_remote(self, clone):
        git(clone.root, "remote", "remove", "origin")
        for n in range(3):
            file = clone.root / MEAN
            file.write_text(file.read_text().replace("raise NotImplementedError", f"return {n}.0", 1) + f"\n# {n}\n")
            commit(clone.root)
        self.check(clone)

    def test_is_the_newest_stub_that_was_merged(self, clone, tmp_path):
        renewed = FILES[MEAN].replace("where the numbers balance", "where they balance")
        (tmp_path / "project" / MEAN).write_text(renewed)
        commit(tmp_path / "project")
        git(clone.root, "pull", "-q")
        solve(clone)
        commit(clone.root)
        (tmp_path / "project" / MEAN).write_text(renewed.replace("where they", "where all"))
        commit(tmp_path / "project")
        git(clone.root, "fetch", "-q")
        self.check(clone, renewed)

    def test_in_a_folder_apart(self, clone, tmp_path):
        solve(clone)
        commit(clone.root)
        apart = init(clone, tmp_path / "mine")
        solve(apart)
        self.check(apart)
        solve(apart)
        (apart.state / "stubs" / MEAN).unlink()  # the clone knows it as well
        self.check(apart)

    def test_of_a_missing_file_and_of_the_stub_itself(self, clone):
        (clone.root / MEAN).unlink()
        assert reset(clone.kata("mean")) is None
        assert (clone.root / MEAN).read_text() == FILES[MEAN]
        assert reset(clone.kata("mean")) is None
        assert not (clone.state / "kept").exists()

    def test_takes_the_new_stub_beside_away(self, clone):
        beside = clone.root / new_stub_beside(MEAN)
        beside.write_text("new")
        reset(clone.kata("mean"))
        assert not beside.exists()
        (kept,) = clone.state.glob("kept/*/" + new_stub_beside(MEAN))
        assert kept.read_text() == "new"

    def test_twice_in_a_second_keeps_both(self, clone):
        for body in ("1", "2"):
            (clone.root / MEAN).write_text(body)
            reset(clone.kata("mean"))
        assert sorted(p.read_text() for p in clone.state.glob("kept/*/" + MEAN)) == ["1", "2"]

    def test_changes_nothing_where_no_copy_can_be_made(self, clone):
        mine = solve(clone)
        clone.state.write_text("a file")
        with pytest.raises(DojoError, match="no copy of"):
            reset(clone.kata("mean"))
        assert (clone.root / MEAN).read_text() == mine

    def test_without_git_says_what_to_do(self, tmp_path, monkeypatch):
        dojo = make_dojo(tmp_path / "unpacked")
        with pytest.raises(DojoError, match=r"isn't a git clone.*fresh download"):
            reset(dojo.kata("mean"))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(DojoError, match=r"needs git.*fresh download"):
            reset(dojo.kata("mean"))

    def test_of_a_kata_that_git_has_never_seen(self, clone):
        scaffold(clone, "mode", "module_01")
        with pytest.raises(DojoError, match="never seen"):
            reset(open_dojo(clone.root).kata("mode"))

    def test_of_a_kata_of_ones_own(self, clone):
        scaffold(clone, "mode", "module_01")
        commit(clone.root)
        kata = open_dojo(clone.root).kata("mode")
        before = kata.path.read_text()
        kata.path.write_text("x")
        reset(kata)
        assert kata.path.read_text() == before

    def test_keeps_the_files_rights(self, clone):
        (clone.root / MEAN).chmod(0o640)
        solve(clone)
        reset(clone.kata("mean"))
        assert (clone.root / MEAN).stat().st_mode & 0o777 == 0o640


class TestPristine:
    GIVEN = FILES[MEAN] + "\n\ndef helper():\n    return 1\n"

    def give(self, clone, tmp_path):
        """The project adds a function that is written already."""
        (tmp_path / "project" / MEAN).write_text(self.GIVEN)
        commit(tmp_path / "project")
        git(clone.root, "pull", "-q")

    def test_a_function_that_is_given_is_no_solution(self, clone, tmp_path):
        self.give(clone, tmp_path)
        solve(clone)
        commit(clone.root)
        assert pristine_stub(clone.kata("mean")).decode() == self.GIVEN

    @pytest.mark.parametrize("broken", [True, False])
    def test_but_a_stub_that_was_written_is_one(self, clone, tmp_path, broken):
        self.give(clone, tmp_path)
        git(clone.root, "remote", "remove", "origin")
        solve(clone)
        commit(clone.root)
        if broken:
            (clone.root / MEAN).write_text("def mean(:\n")
            commit(clone.root)
        assert pristine_stub(clone.kata("mean")).decode() == self.GIVEN


class TestNames:
    @pytest.mark.parametrize(
        ("path", "name"),
        [
            (MEAN, "mean"),
            ("katas/module_05_transformers/k12_a_b2.py", "a_b2"),
            ("katas/module_01_numbers/test_k01_mean.py", None),
            ("reference/module_01_numbers/k01_mean.py", None),
            ("katas/module_01_numbers/k01_mean.new-stub.py", None),
            ("katas/k01_mean.py", None),
            ("katas/module_01_numbers/README.md", None),
        ],
    )
    def test_of_a_stub(self, path, name):
        assert name_of(path) == name

    def test_the_new_stub_beside_is_neither_kata_nor_test(self, clone):
        beside = clone.root / new_stub_beside(MEAN)
        beside.write_text("raise SystemExit\n")
        assert not STEM.fullmatch(beside.stem)
        assert not beside.name.startswith("test_")
        assert len(open_dojo(clone.root).katas) == 3

    def test_copies_of_one_second_have_folders_of_their_own(self, clone):
        first = Kept(clone)
        first.add("a", b"1")
        second = Kept(clone)
        second.add("a", b"2")
        assert first.folder != second.folder


class TestNew:
    def test_makes_four_files_and_a_line_in_the_readme(self, clone):
        paths = scaffold(clone, "standard_deviation", "module_01")
        stem = "module_01_numbers/k03_standard_deviation"
        assert paths[:1] + paths[2:4] == [f"katas/{stem}.py", f"reference/{stem}.py", f"reference/{stem}.toml"]
        kata = open_dojo(clone.root).kata("standard_deviation")
        assert kata.title == "Standard deviation"
        for file in (kata.stub, kata.test, kata.reference):
            ast.parse(file.read_text())
        readme = kata.stub.with_name("README.md").read_text().splitlines()
        assert readme[-2:] == ["- k02_median: the one in the middle", "- k03_standard_deviation: TODO"]
        # What the proofs find is what is left to write, not what the scaffold got wrong.
        left = " ".join(problems(kata))
        assert "README" not in left
        assert "isn't a stub" not in left
        assert "mistakes" in left

    @pytest.mark.parametrize("point", range(0, 14, 2))
    def test_killed_it_can_be_given_again(self, clone, point):
        killed(point, lambda: scaffold(clone, "mode", "module_01"))
        if "mode" not in [kata.name for kata in open_dojo(clone.root).katas]:
            scaffold(open_dojo(clone.root), "mode", "module_01")
        kata = open_dojo(clone.root).kata("mode")
        assert all(path.exists() for path in (kata.stub, kata.test, kata.reference, kata.toml))
        assert kata.stub.with_name("README.md").read_text().count("k03_mode") == 1

    def test_writes_all_or_nothing(self, clone, monkeypatch):
        replace, left = os.replace, [2]

        def full(source, target):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device", str(target))
            replace(source, target)

        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(DojoError, match=r"No space left.*make room.*Nothing was written"):
            scaffold(clone, "mode", "module_01")
        assert git(clone.root, "status", "--porcelain") == ""

    def test_in_a_new_module(self, clone):
        scaffold(clone, "agent", "module_13_agents")
        assert open_dojo(clone.root).kata("agent").stem == "k01_agent"
        assert "k01_agent" in (clone.root / "katas/module_13_agents/README.md").read_text()

    @pytest.mark.parametrize(
        ("name", "module", "said"),
        [
            ("mean", "module_01", "already: module_01_numbers/k01_mean"),
            ("Mean", "module_01", "lower-case letters"),
            ("a-b", "module_01", "lower-case letters"),
            ("class", "module_01", "lower-case letters"),
            ("../x", "module_01", "lower-case letters"),
            ("mode", "module_0", "module_01_numbers, module_02_words"),
            ("mode", "module_7", "no module begins with"),
        ],
    )
    def test_refuses(self, clone, name, module, said):
        with pytest.raises(DojoError, match=said):
            scaffold(clone, name, module)
        assert git(clone.root, "status", "--porcelain") == ""

    def test_overwrites_nothing(self, clone):
        mine = clone.root / "reference/module_01_numbers/k03_mode.toml"
        mine.write_text("mine")
        with pytest.raises(DojoError, match=r"k03_mode\.toml is there already"):
            scaffold(clone, "mode", "module_01")
        assert mine.read_text() == "mine"
        assert not (clone.root / "katas/module_01_numbers/k03_mode.py").exists()

    def test_is_for_the_clone(self, clone, tmp_path):
        with pytest.raises(DojoError, match="written in the clone"):
            scaffold(init(clone, tmp_path / "mine"), "mode", "module_01")
