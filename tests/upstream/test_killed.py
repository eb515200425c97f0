"""`dojo update`, killed at every step of its own: the next command brings it to its end, and nothing is lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dojo.curriculum.katas import DojoError, open_dojo
from dojo.upstream.apart import init, update_apart
from dojo.upstream.move import Move
from dojo.upstream.update import finish_interrupted, update
from tests.synthetic import git
from tests.upstream.killing import killed
from tests.upstream.world import COUNT, LESSON, MEAN, MEDIAN, TEST_MEAN, World, unknown_to_git

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork")
BESIDE = COUNT.replace(".py", ".new-stub.py")
MOVED = MEDIAN.replace("k02", "k03")


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A clone with news of every kind to come: a lesson, a move, a conflict, other tests, a removed file, a new one."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        unknown_to_git(folder / "home", patch)
        world = World(folder)
        (world.project / "old.txt").write_text("old\n")
        world.publish()
        git(world.clone, "pull", "-q")
        world.solve()
        world.solve(COUNT)
        world.move("k02_median", "k03_median")
        (world.project / "new").mkdir()
        (world.project / "new" / "file.txt").write_text("new\n")
        (world.project / "old.txt").unlink()
        world.publish(LESSON, (COUNT, "count(text: str)", "count(text: str, n: int)"),
                      (TEST_MEAN, "spread([1.0, 2.0, 6.0]), 3.0", "spread([1.0, 2.0, 9.0]), 5.0"))  # fmt: skip
    return folder


def copy_of(template: Path, folder: Path) -> Path:
    """A copy of the project and the clone; the clone's folder."""
    for name in ("project", "clone"):
        shutil.copytree(template / name, folder / name, symlinks=True)
    config = folder / "clone" / ".git" / "config"
    config.write_text(config.read_text().replace(str(template), str(folder)))
    return folder / "clone"


def files(root: Path) -> dict[str, str]:
    found = [path for path in root.rglob("*") if path.is_file() and not {".git", ".dojo"} & set(path.parts)]
    return {path.relative_to(root).as_posix(): path.read_text() for path in found}


@pytest.fixture(scope="module")
def expected(template, tmp_path_factory) -> dict[str, str]:
    """The files after an update that nobody has killed."""
    clone = copy_of(template, tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        unknown_to_git(template / "home", patch)
        update(open_dojo(clone))
    found = files(clone)
    assert LESSON[2] in found[MEAN] and BESIDE in found and MOVED in found and "old.txt" not in found
    return found


@pytest.fixture
def clone(template, tmp_path, monkeypatch) -> Path:
    unknown_to_git(tmp_path / "home", monkeypatch)
    return copy_of(template, tmp_path)


def is_whole(clone: Path, expected: dict[str, str], mine: dict[str, str]) -> None:
    """Everything is as after an update that was not killed, and the learner's files as they were are kept."""
    assert files(clone) == expected
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "rev-list", "--count", "HEAD..origin/main").strip() == "0"
    assert git(clone, "log", "--format=%s", "--first-parent").splitlines()[1] == "My solutions"
    assert not (clone / ".git" / "index.lock").exists()
    assert not (clone / ".dojo" / "update").exists()
    kept = [path.read_text() for path in (clone / ".dojo" / "kept").rglob("*.py")]
    assert mine[MEAN] in kept


# The first steps only lay things out; from about the 115th on something of the learner's is at stake.
POINTS = [*range(0, 110, 10), *range(110, 180)]


@pytest.mark.parametrize("point", POINTS)
def test_at_every_step(clone, expected, point):
    mine = files(clone)
    killed(point, lambda: update(open_dojo(clone)))
    dojo = open_dojo(clone)
    finished = finish_interrupted(dojo)
    again = update(dojo)
    is_whole(clone, expected, mine)
    # What came is told by whoever brought it to its end.
    news = finished.news if finished is not None else again.news
    if finished is not None or again.before is not None:
        assert news.conflicts == {"count": (BESIDE, ("count",))}
        assert (news.renewed, news.tests) == (["mean"], ["mean", "median"])


def test_the_points_cover_the_whole_update(clone):
    assert not killed(POINTS[-1], lambda: update(open_dojo(clone))), "an update has more steps than are tried"
    assert not Move(open_dojo(clone)).begun


def killed_in_the_middle(clone: Path, files_moved: int) -> None:
    """Kill an update when so many of the files have been moved."""
    replace, left = os.replace, [files_moved]

    def counted(source, target):
        if "update/new" in str(source) and "update/new" not in str(target):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), 9)
        replace(source, target)

    child = os.fork()
    if child == 0:
        os.replace = counted
        try:
            update(open_dojo(clone))
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert Move(open_dojo(clone)).begun


@pytest.mark.parametrize("moved", [0, 1, 3, 100])
def test_killed_at_once_again_and_again(clone, expected, moved):
    """Every fifth step of the end is killed, too."""
    mine = files(clone)
    if moved < 100:
        killed_in_the_middle(clone, moved)
    for point in (0, 5, 10, 15, 20, 25):
        killed(point, lambda: finish_interrupted(open_dojo(clone)))
    finish_interrupted(open_dojo(clone))
    update(open_dojo(clone))
    is_whole(clone, expected, mine)


@pytest.mark.parametrize("moved", range(0, 8, 2))
@pytest.mark.parametrize("path", [MEAN, COUNT])
def test_an_edit_after_it_was_killed_is_not_lost(clone, moved, path):
    killed_in_the_middle(clone, moved)
    file = clone / path
    edited = file.read_text() + "\n\ndef helper():\n    return 'since then'\n"
    file.write_text(edited)
    done = finish_interrupted(open_dojo(clone))
    assert "since then" in file.read_text()
    assert LESSON[2] in (clone / MEAN).read_text()
    if path in done.edited:
        assert edited in [p.read_text() for p in done.kept.folder.rglob("*") if p.is_file()]
    assert "since then" in file.read_text()
    update(open_dojo(clone))
    assert "since then" in file.read_text()


def test_where_the_branch_moved_in_between_it_is_taken_back(clone):
    before = files(clone)
    killed_in_the_middle(clone, 3)
    (clone / ".git" / "index.lock").unlink()
    git(clone, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "mine")
    with pytest.raises(DojoError, match="the branch has moved since: it was taken back"):
        finish_interrupted(open_dojo(clone))
    assert files(clone) == before
    update(open_dojo(clone))
    assert LESSON[2] in (clone / MEAN).read_text()


def test_a_lock_that_a_killed_git_has_left_is_told_with_its_cure(clone, monkeypatch):
    killed_in_the_middle(clone, 2)
    lock = clone / ".git" / "index.lock"
    lock.unlink()
    lock.write_bytes(b"of another git")
    monkeypatch.setattr("dojo.upstream.move.PATIENCE", 0.1)
    with pytest.raises(DojoError, match=r"index\.lock is there.*delete that file"):
        finish_interrupted(open_dojo(clone))
    lock.unlink()
    finish_interrupted(open_dojo(clone))
    update(open_dojo(clone))
    assert LESSON[2] in (clone / MEAN).read_text()


def test_a_journal_that_cannot_be_read(clone):
    killed_in_the_middle(clone, 2)
    Move(open_dojo(clone)).file.write_text('{"version": 7}')
    with pytest.raises(DojoError, match=r"journal.*can't be read.*another version.*kept"):
        finish_interrupted(open_dojo(clone))


@pytest.mark.parametrize("point", range(0, 60, 2))
def test_in_a_folder_apart(clone, tmp_path, point):
    git(clone, "stash", "-q")
    apart = init(open_dojo(clone), tmp_path / "mine")
    mean = (apart.root / MEAN).read_text().replace("    raise NotImplementedError\n", "    return 1.0\n", 1)
    (apart.root / MEAN).write_text(mean)
    update(open_dojo(clone))
    killed(point, lambda: update_apart(open_dojo(apart.root)))
    finish_interrupted(open_dojo(apart.root))
    update_apart(open_dojo(apart.root))
    assert (apart.root / MEAN).read_text() == mean.replace(*LESSON[1:])
    assert (apart.root / MOVED).exists() and not (apart.root / MEDIAN).exists()
    assert not update_apart(open_dojo(apart.root)).news
    assert not (apart.state / "update").exists()
