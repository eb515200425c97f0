"""`dojo update` in a clone: old checkouts, edited, brought up to date."""

from __future__ import annotations

import os

import pytest

from dojo.curriculum.katas import DojoError, open_dojo
from dojo.learner.git import Git, GitError
from dojo.upstream import move as move_module
from dojo.upstream.update import BEFORE, update
from tests.synthetic import commit, git, make_dojo
from tests.upstream.world import BODY, COUNT, LESSON, MEAN, MEDIAN, TEST_MEAN, World, unknown_to_git


@pytest.fixture
def world(tmp_path, monkeypatch):
    unknown_to_git(tmp_path / "home", monkeypatch)
    return World(tmp_path)


@pytest.mark.parametrize("committed", [True, False])
class TestTheLearnersCode:
    def edit(self, world, committed, path=MEAN):
        text = world.solve(path)
        if committed:
            commit(world.clone, "my solution")
        return text

    def test_under_a_renewed_lesson(self, world, committed):
        mine = self.edit(world, committed)
        world.publish(LESSON, (MEAN, "The largest distance", "The greatest distance"))
        done = update(world.dojo)
        assert world.read(MEAN) == mine.replace(*LESSON[1:]).replace("The largest", "The greatest")
        assert done.news.renewed == ["mean"]
        assert git(world.clone, "status", "--porcelain") == ""
        assert git(world.clone, "rev-list", "--count", "HEAD..origin/main").strip() == "0"
        (kept,) = world.dojo.state.glob("kept/*/" + MEAN)
        assert kept.read_text() == mine

    def test_moves_along_with_a_renumbered_kata(self, world, committed):
        mine = self.edit(world, committed, MEDIAN)
        world.move("k02_median", "k03_median")
        world.publish()
        done = update(world.dojo)
        new = MEDIAN.replace("k02", "k03")
        assert world.read(new) == mine
        assert not (world.clone / MEDIAN).exists()
        assert not (world.clone / TEST_MEAN.replace("k01_mean", "k02_median")).exists()
        assert done.news.moved == {"median": (MEDIAN, new)}
        assert [kata.stem for kata in open_dojo(world.clone).katas] == ["k01_mean", "k03_median", "k01_count"]

    def test_two_katas_trade_numbers(self, world, committed):
        self.edit(world, committed)
        median = self.edit(world, committed, MEDIAN)
        world.move("k01_mean", "k09_mean")
        world.move("k02_median", "k01_median")
        world.move("k09_mean", "k02_mean")
        world.publish((MEAN.replace("k01", "k02"), *LESSON[1:]))
        update(world.dojo)
        assert BODY in world.read(MEAN.replace("k01", "k02"))
        assert LESSON[2] in world.read(MEAN.replace("k01", "k02"))
        assert world.read(MEDIAN.replace("k02", "k01")) == median.replace("k01_mean", "k02_mean")

    def test_a_conflict_keeps_mine_and_lays_the_new_stub_beside(self, world, committed):
        mine = self.edit(world, committed)
        world.publish(LESSON, (MEAN, "mean(numbers: list[float])", "mean(numbers: list[float], weights: list[float])"))
        done = update(world.dojo)
        assert world.read(MEAN) == mine.replace(*LESSON[1:])
        beside = MEAN.replace(".py", ".new-stub.py")
        assert world.read(beside) == (world.project / MEAN).read_text()
        assert done.news.conflicts == {"mean": (beside, ("mean",))}
        assert len(open_dojo(world.clone).katas) == 3
        assert git(world.clone, "status", "--porcelain") == ""

    def test_of_a_removed_kata_is_kept_aside(self, world, committed):
        mine = self.edit(world, committed, COUNT)
        for path in (COUNT, COUNT.replace("k01", "test_k01")):
            (world.project / path).unlink()
        world.publish()
        done = update(world.dojo)
        assert not (world.clone / COUNT).exists()
        assert (done.kept.folder / COUNT).read_text() == mine
        assert done.news.kept_aside == ["count"]

    def test_that_is_no_python_stays(self, world, committed):
        (world.clone / MEAN).write_text("def mean(:\n")
        if committed:
            commit(world.clone)
        world.publish(LESSON)
        update(world.dojo)
        assert world.read(MEAN) == "def mean(:\n"
        assert LESSON[2] in world.read(MEAN.replace(".py", ".new-stub.py"))

    def test_beside_edited_tests_which_are_the_projects_again(self, world, committed):
        mine = self.edit(world, committed)
        (world.clone / TEST_MEAN).write_text("def test_nothing(): pass\n")
        if committed:
            commit(world.clone)
        world.publish((TEST_MEAN, "spread([1.0, 2.0, 6.0]), 3.0", "spread([1.0, 2.0, 9.0]), 5.0"))
        done = update(world.dojo)
        assert world.read(TEST_MEAN) == (world.project / TEST_MEAN).read_text()
        assert world.read(MEAN) == mine
        assert (done.kept.folder / TEST_MEAN).read_text() == "def test_nothing(): pass\n"
        assert done.news.overruled == [TEST_MEAN]
        assert done.news.tests == ["mean"]

    def test_tests_are_not_merged_line_by_line(self, world, committed):
        """An edit of mine at the top and one of the project's at the bottom would go together."""
        text = world.read(TEST_MEAN)
        (world.clone / TEST_MEAN).write_text(text.replace('"""Judges', '"""Hardly judges'))
        if committed:
            commit(world.clone)
        world.publish((TEST_MEAN, "spread([1.0, 2.0, 6.0]), 3.0", "spread([1.0, 2.0, 9.0]), 5.0"))
        update(world.dojo)
        assert world.read(TEST_MEAN) == (world.project / TEST_MEAN).read_text()

    def test_imports_of_other_katas_follow_them_to_their_numbers(self, world, committed):
        own = "from katas.module_01_numbers.k01_mean import mean"
        file = world.clone / COUNT
        file.write_text(file.read_text().replace('1.\n"""\n', f'1.\n"""\n\n{own}\n'))
        assert own in file.read_text()
        self.edit(world, committed, COUNT)
        world.move("k01_mean", "k05_mean")
        world.publish()
        update(world.dojo)
        assert own.replace("k01", "k05") in file.read_text()
        assert own not in file.read_text()

    def test_helper_files_stay(self, world, committed):
        helper = "katas/module_01_numbers/helpers.py"
        (world.clone / helper).write_text("x = 1\n")
        self.edit(world, committed)
        world.publish(LESSON)
        update(world.dojo)
        assert world.read(helper) == "x = 1\n"

    def test_twice_over(self, world, committed):
        """The base of the second merge is what the first one brought."""
        self.edit(world, committed)
        world.publish(LESSON)
        update(world.dojo)
        world.publish((MEAN, "at most.", "at the most."))
        update(world.dojo)
        assert BODY in world.read(MEAN)
        assert LESSON[2] in world.read(MEAN)
        assert "at the most." in world.read(MEAN)
        assert update(world.dojo).before is None


class TestWhatComes:
    def test_without_edits_it_is_the_projects_own_commit(self, world):
        made = world.publish(LESSON)
        update(world.dojo)
        assert git(world.clone, "rev-parse", "HEAD").strip() == made

    def test_new_katas(self, world):
        world.solve()
        for folder, name in (
            ("katas", "k03_mode.py"),
            ("katas", "test_k03_mode.py"),
            ("reference", "k03_mode.py"),
        ):
            (world.project / folder / "module_01_numbers" / name).write_text('"""Mode."""\n')
        world.publish()
        assert update(world.dojo).news.added == ["katas/module_01_numbers/k03_mode"]
        assert [kata.stem for kata in open_dojo(world.clone).katas][2] == "k03_mode"

    def test_the_engine_and_the_rest(self, world):
        world.solve()
        (world.clone / "README.md").write_text("# A small dojo\n\nMy notes.\n")
        commit(world.clone)
        world.publish(("pyproject.toml", "deadline = 10", "deadline = 20"), ("README.md", "# A", "# Our\n\n\nA"))
        done = update(world.dojo)
        assert "deadline = 20" in world.read("pyproject.toml")
        assert done.news.project
        assert done.news.overruled == ["README.md"]
        assert (done.kept.folder / "README.md").read_text().endswith("My notes.\n")

    def test_changes_that_go_together_are_both_there(self, world):
        text = "".join(f"line {i}\n" for i in range(20))
        (world.project / "README.md").write_text(text)
        world.publish()
        update(world.dojo)
        (world.clone / "README.md").write_text(text.replace("line 1\n", "mine\n"))
        commit(world.clone)
        world.publish(("README.md", "line 18", "theirs"))
        assert update(world.dojo).news.overruled == []
        assert world.read("README.md") == text.replace("line 1\n", "mine\n").replace("line 18", "theirs")

    def test_another_branch(self, world):
        git(world.project, "switch", "-q", "-c", "next/one")
        (world.project / "README.md").write_text("# Next\n")
        commit(world.project)
        assert update(world.dojo, "origin/next/one").source == "origin/next/one"
        assert world.read("README.md") == "# Next\n"

    def test_upstream_comes_before_origin(self, world, tmp_path):
        """A fork as origin, with the learner's solutions pushed to it; the project as upstream."""
        git(tmp_path, "clone", "-q", "--bare", "clone", "fork.git")
        git(world.clone, "remote", "set-url", "origin", str(tmp_path / "fork.git"))
        git(world.clone, "remote", "add", "upstream", str(world.project))
        mine = world.solve()
        commit(world.clone)
        git(world.clone, "push", "-q", "origin", "main")
        world.publish(LESSON)
        assert update(world.dojo).source == "upstream/main"
        assert world.read(MEAN) == mine.replace(*LESSON[1:])

    def test_a_shallow_clone(self, world, tmp_path):
        world.publish((MEAN, "at most.", "at the most."))
        git(tmp_path, "clone", "-q", "--depth=1", world.project.as_uri(), "shallow")
        world.clone = tmp_path / "shallow"
        world.solve()
        world.publish(LESSON)
        update(open_dojo(world.clone))
        assert BODY in world.read(MEAN)
        assert LESSON[2] in world.read(MEAN)

    def test_commits_are_the_learners_where_git_knows_them(self, world):
        git(world.clone, "config", "user.name", "Ada")
        world.solve()
        world.publish(LESSON)
        update(world.dojo)
        who = git(world.clone, "log", "-2", "--format=%an <%ae>").split("\n")
        assert who[0] == "Ada <learner@localhost>"
        subjects = git(world.clone, "log", "--first-parent", "--format=%s").splitlines()
        assert subjects == ["Merge origin/main", "My solutions", "The katas"]

    def test_the_state_before_has_a_ref(self, world):
        head = git(world.clone, "rev-parse", "HEAD")
        world.solve()
        world.publish(LESSON)
        done = update(world.dojo)
        assert done.before.startswith(BEFORE)
        assert git(world.clone, "rev-parse", done.before) == head

    def test_an_old_new_stub_beside_is_kept(self, world):
        world.solve()
        beside = MEAN.replace(".py", ".new-stub.py")
        (world.clone / beside).write_text("notes")
        world.publish((MEAN, "mean(numbers", "mean(values"))
        done = update(world.dojo)
        assert (done.kept.folder / beside).read_text() == "notes"

    def test_goes_on_where_it_was_killed(self, world):
        """The branch has the learner's commit already, the index not yet, and the files are as they were."""
        mine = world.solve()
        world.publish(LESSON)
        index = world.clone / ".git" / "index"
        before = index.read_bytes()
        commit(world.clone, "My solutions")
        index.write_bytes(before)
        update(world.dojo)
        assert world.read(MEAN) == mine.replace(*LESSON[1:])
        assert git(world.clone, "status", "--porcelain") == ""

    @pytest.mark.parametrize("news", [True, False])
    def test_a_deleted_file_counts_as_unedited(self, world, news):
        """It comes back where the project has a new version; no update takes it for an edit that is in the way."""
        (world.clone / MEAN).unlink()
        (world.clone / TEST_MEAN).unlink()
        changes = [LESSON, (TEST_MEAN, "spread([1.0, 2.0, 6.0]), 3.0", "spread([1.0, 2.0, 9.0]), 5.0")]
        world.publish(*(changes if news else [(COUNT, "How often", "How many times")]))
        update(world.dojo)
        assert (world.clone / MEAN).exists() == (world.clone / TEST_MEAN).exists() == news
        assert git(world.clone, "diff", "--name-only", "HEAD", "origin/main") == ""
        git(world.clone, "rm", "-q", "--cached", COUNT)
        (world.clone / COUNT).unlink()
        commit(world.clone)
        world.publish((COUNT, "Counting words", "Words, counted"))
        update(world.dojo)
        assert world.read(COUNT) == (world.project / COUNT).read_text()

    def test_hooks_and_an_untidy_index_are_no_hindrance(self, world):
        for name in ("pre-commit", "reference-transaction"):
            hook = world.clone / ".git" / "hooks" / name
            hook.parent.mkdir(exist_ok=True)
            hook.write_text("#!/bin/sh\nexit 1\n")
            hook.chmod(0o755)
        world.solve()
        git(world.clone, "add", MEAN)
        mine = world.solve(body="    return 0.0\n")
        (world.clone / "notes.txt").write_text("mine")
        git(world.clone, "add", "notes.txt")
        world.publish(LESSON)
        update(world.dojo)
        assert world.read(MEAN) == mine.replace(*LESSON[1:])
        assert git(world.clone, "status", "--porcelain") == "A  notes.txt\n"

    def test_an_untracked_file_where_a_new_kata_goes(self, world):
        path = "katas/module_01_numbers/k03_mode.py"
        (world.clone / path).write_text("def mode(x):\n    return x[0]\n")
        (world.project / path).write_text('"""Mode."""\n\n\ndef mode(x):\n    raise NotImplementedError\n')
        world.publish()
        done = update(world.dojo)
        assert world.read(path) == "def mode(x):\n    return x[0]\n"
        assert done.news.conflicts["mode"][0] == path.replace(".py", ".new-stub.py")


class TestNothingIsChanged:
    def check(self, world, said, source=None):
        before = world.state()
        with pytest.raises(DojoError, match=said):
            update(world.dojo, source)
        assert world.state() == before

    def test_where_the_project_cannot_be_reached(self, world):
        world.solve()
        world.project.rename(world.project.with_name("elsewhere"))
        self.check(world, r"project can't be reached.*Nothing was changed")

    def test_where_other_edits_are_in_the_way(self, world):
        world.solve()
        (world.clone / "README.md").write_text("mine, not committed\n")
        world.publish(LESSON, ("README.md", "# A", "# Our"))
        self.check(world, r"README\.md.*git stash")

    def test_where_an_untracked_file_is_in_the_way(self, world):
        world.solve()
        (world.clone / "notes.txt").write_text("mine\n")
        (world.project / "notes.txt").write_text("theirs\n")
        world.publish()
        self.check(world, r"notes\.txt")

    def test_but_other_edits_elsewhere_stay_as_they_are(self, world):
        world.solve()
        (world.clone / "README.md").write_text("mine, not committed\n")
        world.publish(LESSON)
        update(world.dojo)
        assert world.read("README.md") == "mine, not committed\n"
        assert git(world.clone, "status", "--porcelain") == " M README.md\n"

    @pytest.mark.parametrize("step", ["a file", "the branch", "the index"])
    def test_where_the_last_step_fails(self, world, monkeypatch, step):
        world.solve()
        world.publish(LESSON, (COUNT, "How often", "How many times"))
        replace, call, left = os.replace, Git.__call__, [1]

        def no_file(source, target):
            """The disk lets one file through, and then no more; what goes back needs no space."""
            moving = (
                "update/new" in str(source) and "update/new" not in str(target)
                if step == "a file"
                else str(target).endswith("/index")
            )
            left[0] -= moving
            if moving and (step == "the index" or left[0] < 0):
                raise OSError(28, "No space left on device", str(target))
            replace(source, target)

        def no_branch(self, *arguments, **options):
            if step == "the branch" and arguments[0] == "update-ref" and "HEAD" in arguments:
                raise GitError("no space left on device")
            return call(self, *arguments, **options)

        monkeypatch.setattr(os, "replace", no_file)
        monkeypatch.setattr(Git, "__call__", no_branch)
        self.check(world, r"(?i)no space left.*as they were")
        monkeypatch.undo()
        assert not (world.clone / ".git" / "index.lock").exists()
        assert not (world.dojo.state / "update").exists()
        update(world.dojo)
        assert LESSON[2] in world.read(MEAN)

    def test_where_another_git_is_at_work(self, world, monkeypatch):
        monkeypatch.setattr(move_module, "PATIENCE", 0.2)
        world.solve()
        world.publish(LESSON)
        lock = world.clone / ".git" / "index.lock"
        lock.write_text("")
        self.check(world, r"index\.lock is there.*delete that file")
        assert lock.exists()

    def test_in_the_middle_of_a_merge(self, world):
        (world.clone / ".git" / "MERGE_HEAD").write_text(git(world.clone, "rev-parse", "HEAD"))
        self.check(world, "merge is under way.*git merge --abort")

    def test_without_a_branch(self, world):
        git(world.clone, "checkout", "-q", "--detach")
        with pytest.raises(DojoError, match=r"detached HEAD.*git switch"):
            update(world.dojo)

    @pytest.mark.parametrize(("source", "said"), [("nobody/main", "origin"), ("origin/none", "lacks the branch")])
    def test_from_where_nothing_is(self, world, source, said):
        self.check(world, said, source)

    def test_without_a_remote(self, world):
        git(world.clone, "remote", "remove", "origin")
        self.check(world, "git remote add upstream")

    def test_of_another_history(self, world, tmp_path):
        make_dojo(tmp_path / "other")
        git(tmp_path / "other", "init", "-q", "-b", "main")
        commit(tmp_path / "other")
        git(world.clone, "remote", "add", "upstream", str(tmp_path / "other"))
        self.check(world, "no commit in common")

    def test_where_no_copy_can_be_made(self, world):
        world.solve()
        world.publish(LESSON)
        world.dojo.state.mkdir()
        (world.dojo.state / "kept").write_text("a file")
        self.check(world, "no copy of .* can be made.*Nothing was changed")
