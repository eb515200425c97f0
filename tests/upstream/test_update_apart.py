"""`dojo init` folders brought up to date, and what a bare `git pull` does to a clone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dojo.curriculum.katas import DojoError, open_dojo
from dojo.upstream import apart as apart_module
from dojo.upstream.apart import init, update_apart
from dojo.upstream.driver import install
from dojo.upstream.update import update
from tests.synthetic import ROOT, commit, git
from tests.upstream.killing import killed
from tests.upstream.world import BODY, COUNT, LESSON, MEAN, MEDIAN, TEST_MEAN, World, unknown_to_git


@pytest.fixture
def world(tmp_path, monkeypatch):
    unknown_to_git(tmp_path / "home", monkeypatch)
    return World(tmp_path)


class TestAFolderApart:
    @pytest.fixture
    def apart(self, world, tmp_path):
        world.solve()  # in the clone; the folder gets the stub all the same
        return init(world.dojo, tmp_path / "mine")

    def renew(self, world, *changes):
        world.publish(*changes)
        update(world.dojo)

    def test_has_the_stubs_unsolved(self, apart, world):
        assert (apart.root / MEAN).read_text() == (world.project / MEAN).read_text()
        assert apart.clone == world.clone
        assert [kata.path.exists() for kata in apart.katas] == [True] * 3
        assert not (apart.root / TEST_MEAN).exists()

    def test_takes_up_a_lesson_a_new_number_and_a_conflict(self, apart, world):
        mine = world.solve(MEAN, apart.root)
        count = world.solve(COUNT, apart.root)
        world.move("k02_median", "k03_median")
        self.renew(world, LESSON, (COUNT, "count(text: str)", "count(text: str, n: int)"))
        done = update_apart(open_dojo(apart.root))
        assert (apart.root / MEAN).read_text() == mine.replace(*LESSON[1:])
        assert (apart.root / COUNT).read_text() == count
        assert (apart.root / COUNT.replace(".py", ".new-stub.py")).exists()
        assert done.news.moved == {"median": (MEDIAN, MEDIAN.replace("k02", "k03"))}
        assert not (apart.root / MEDIAN).exists()
        assert (done.kept.folder / MEAN).read_text() == mine
        again = update_apart(open_dojo(apart.root))
        assert not again.news

    def test_moves_work_with_its_kata_and_keeps_that_of_a_removed_one(self, apart, world):
        median, count = world.solve(MEDIAN, apart.root), world.solve(COUNT, apart.root)
        world.move("k02_median", "k03_median")
        for path in (COUNT, COUNT.replace("k01", "test_k01")):
            (world.project / path).unlink()
        self.renew(world)
        done = update_apart(open_dojo(apart.root))
        assert (apart.root / MEDIAN.replace("k02", "k03")).read_text() == median
        assert (done.kept.folder / COUNT).read_text() == count
        assert not (apart.root / COUNT).exists()

    def test_is_as_it_was_after_a_failure(self, apart, world, monkeypatch):
        world.solve(MEAN, apart.root)
        self.renew(world, LESSON, (COUNT, "How often", "How many times"))
        before = {p: p.read_bytes() for p in apart.root.rglob("*.py")}
        replace, left = os.replace, [1]

        def failing(source, target):
            """One file gets through; the way back needs no space."""
            if "update/new" in str(source) and "update/new" not in str(target):
                left[0] -= 1
                if left[0] < 0:
                    raise OSError(28, "no space left on device")
            replace(source, target)

        monkeypatch.setattr(os, "replace", failing)
        with pytest.raises(DojoError, match=r"no space left.*as they were"):
            update_apart(open_dojo(apart.root))
        kept = apart.state / "kept"
        after = {p: p.read_bytes() for p in apart.root.rglob("*.py") if not p.is_relative_to(kept)}
        assert after == before
        monkeypatch.undo()
        update_apart(open_dojo(apart.root))
        assert LESSON[2] in (apart.root / MEAN).read_text()

    def test_is_not_made_where_something_is(self, world, tmp_path):
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "thesis.tex").write_text("x")
        with pytest.raises(DojoError, match=r"isn't empty.*thesis\.tex"):
            init(world.dojo, tmp_path / "full")
        assert len(list((tmp_path / "full").iterdir())) == 1
        with pytest.raises(DojoError, match=r"is a dojo already.*dojo update"):
            init(world.dojo, world.clone)
        with pytest.raises(DojoError, match="outside it"):
            init(world.dojo, world.clone / "solutions")
        with pytest.raises(DojoError, match="is a file"):
            init(world.dojo, tmp_path / "full" / "thesis.tex")

    @pytest.mark.parametrize("there", [True, False])
    @pytest.mark.parametrize("point", range(0, 24, 3))
    def test_killed_while_it_is_made_it_can_be_made_again(self, world, tmp_path, point, there):
        folder = tmp_path / "mine"
        if there:
            folder.mkdir()
        killed(point, lambda: init(world.dojo, folder))
        made = init(world.dojo, folder) if not (folder / "pyproject.toml").exists() else open_dojo(folder)
        assert [kata.path.exists() for kata in made.katas] == [True] * 3
        assert (made.state / "stubs" / MEAN).exists()

    def test_a_full_disk_while_it_is_made(self, world, tmp_path, monkeypatch):
        def full(path, content):
            raise OSError(28, "No space left on device", str(path))

        monkeypatch.setattr(apart_module, "write", full)
        with pytest.raises(DojoError, match=r"can't be made: .*No space left.* make room"):
            init(world.dojo, tmp_path / "mine")
        monkeypatch.undo()
        assert not any("mine" in path.name for path in tmp_path.iterdir())
        assert init(world.dojo, tmp_path / "mine").katas

    def test_a_conflict_with_quotes_in_the_path(self, world, tmp_path):
        odd = tmp_path / 'a "clone" of λ'
        world.clone.rename(odd)
        made = init(open_dojo(odd), tmp_path / "mine too")
        assert made.clone == odd
        assert made.deadline == 10


class TestABareGitPull:
    def pull(self, world, *options):
        who = ["-c", "user.name=Me", "-c", "user.email=me@example.org"]
        command = ["git", "-C", str(world.clone), *who, "pull", "-q", *options]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env)

    def test_refuses_while_edits_are_not_committed(self, world):
        mine = world.solve()
        world.publish(LESSON)
        assert self.pull(world, "--no-rebase").returncode != 0
        assert world.read(MEAN) == mine

    @pytest.mark.parametrize("way", ["--no-rebase", "--rebase"])
    def test_keeps_the_code_under_the_new_lesson(self, world, way):
        install(world.dojo)
        mine = world.solve()
        commit(world.clone)
        docstring = (MEAN, "The mean of `numbers`, of which", "The mean of all `numbers`, of which")
        added = (COUNT, "raise NotImplementedError", "raise NotImplementedError\n\n\nX = 1")
        world.publish(LESSON, docstring, added)
        run = self.pull(world, way)
        assert run.returncode == 0, run.stderr
        assert world.read(MEAN) == mine.replace(*LESSON[1:]).replace(*docstring[1:])

    @pytest.mark.parametrize("way", ["--no-rebase", "--rebase"])
    def test_lays_the_new_stub_beside_in_a_conflict(self, world, way):
        install(world.dojo)
        mine = world.solve()
        commit(world.clone)
        world.publish((MEAN, "mean(numbers: list[float])", "mean(numbers: list[float], weights: list[float])"))
        run = self.pull(world, way)
        assert run.returncode == 0, run.stderr
        assert world.read(MEAN) == mine
        assert world.read(MEAN.replace(".py", ".new-stub.py")) == (world.project / MEAN).read_text()

    @pytest.mark.parametrize("driver", [True, False])
    def test_loses_nothing_where_the_driver_is_of_no_help(self, world, driver):
        if driver:
            install(world.dojo)
            git(world.clone, "config", "merge.dojo-stub.driver", f'"{sys.executable}" -m no_dojo %O %A %B %P')
        world.solve()
        commit(world.clone)
        world.publish((MEAN, "    raise NotImplementedError\n\n\ndef spread", "    ...\n\n\ndef spread"))
        assert self.pull(world, "--no-rebase").returncode != 0
        assert BODY in world.read(MEAN)
        assert BODY in git(world.clone, "show", f"HEAD:{MEAN}")
        assert git(world.clone, "ls-files", "--unmerged") != ""

    def test_is_told_of_the_driver_once(self, world):
        install(world.dojo)
        config = (world.clone / ".git" / "config").read_text()
        install(world.dojo)
        assert (world.clone / ".git" / "config").read_text() == config
        assert "-m dojo merge-stub %O %A %B %P" in config
