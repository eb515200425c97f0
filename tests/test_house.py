"""The rooms of the engine: each stands on those below it, and no two files need each other.

A file's imports are read from its source, those inside functions and for type checkers included:
what is imported late is needed all the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the ground up.  A room is a folder, or a file of that name beside the folders.
STOREYS = [
    {"checks", "testing"},
    {"curriculum"},
    {"learner"},
    {"diagnosis", "upstream"},
    {"judging", "commands", "lab"},
    {"bench", "proofs", "watch", "pair", "review"},
    {"cli", "plugin", "__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(STOREYS) for room in rooms}


def imports(folder: Path) -> dict[str, set[str]]:
    """What each module of the package in `folder` imports of the package, by dotted names without "dojo."."""
    names = {_name(path, folder): path for path in sorted(folder.rglob("*.py"))}
    return {name: set(_imported(path, names)) - {name} for name, path in names.items() if name}


def _name(path: Path, folder: Path) -> str:
    return ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def _imported(path: Path, names: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from dojo.pair import git` is the module dojo.pair.git, where there is one.
            wanted = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        else:
            continue
        for name in wanted:
            inner = name.removeprefix("dojo.")
            if name.startswith("dojo.") and inner in names and names[inner].name != "__init__.py":
                yield inner


def running_up(graph: dict[str, set[str]]) -> list[str]:
    """A sentence for each import of a room above the importer's own."""
    return [
        f"dojo/{one.replace('.', '/')}.py imports dojo/{other.replace('.', '/')}.py, which stands above it"
        for one, others in graph.items()
        for other in sorted(others)
        if FLOOR[other.split(".")[0]] > FLOOR[one.split(".")[0]]
    ]


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The circles of `graph`, each as "a → b → a" and told once."""
    found: dict[frozenset[str], str] = {}
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            circle = [*path[path.index(name) :], name]
            found.setdefault(frozenset(circle), " → ".join(circle))
        elif name not in done:
            for other in sorted(graph.get(name, ())):
                walk(other, [*path, name])
            done.add(name)

    for name in graph:
        walk(name, [])
    return sorted(found.values())


def rooms(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same graph between rooms."""
    result: dict[str, set[str]] = {}
    for one, others in graph.items():
        room = one.split(".")[0]
        result.setdefault(room, set()).update(other.split(".")[0] for other in others)
        result[room].discard(room)
    return result


@pytest.fixture(scope="module")
def house() -> dict[str, set[str]]:
    return imports(ROOT / "dojo")


def test_every_room_has_its_floor(house: dict[str, set[str]]) -> None:
    assert {name.split(".")[0] for name in house} == set(FLOOR)


def test_no_import_runs_up(house: dict[str, set[str]]) -> None:
    assert running_up(house) == []


def test_no_files_need_each_other(house: dict[str, set[str]]) -> None:
    assert circles(house) == []


def test_no_rooms_need_each_other(house: dict[str, set[str]]) -> None:
    assert circles(rooms(house)) == []


@pytest.fixture
def small_house(tmp_path: Path) -> Path:
    for room in ("checks", "learner", "pair"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
    (tmp_path / "checks" / "compare.py").write_text("import sys\n")
    (tmp_path / "learner" / "git.py").write_text("from dojo.checks.compare import close\n")
    (tmp_path / "pair" / "git.py").write_text("from dojo.learner import git as plain\n")
    return tmp_path


def test_a_sound_house_passes(small_house: Path) -> None:
    graph = imports(small_house)
    assert graph["pair.git"] == {"learner.git"}
    assert running_up(graph) == circles(graph) == circles(rooms(graph)) == []


@pytest.mark.parametrize(
    "line",
    [
        "from dojo.pair.git import move",
        "from dojo.pair import git",
        "import dojo.pair.git",
        "def f():\n    import dojo.pair.git",
    ],
)
def test_an_import_that_runs_up_is_told_with_both_names(small_house: Path, line: str) -> None:
    (small_house / "learner" / "git.py").write_text(line + "\n")
    assert running_up(imports(small_house)) == ["dojo/learner/git.py imports dojo/pair/git.py, which stands above it"]


def test_a_circle_is_told_with_its_files(small_house: Path) -> None:
    (small_house / "pair" / "end.py").write_text("from dojo.pair.share import sync\n")
    (small_house / "pair" / "share.py").write_text("def f():\n    from dojo.pair.end import keep\n")
    assert circles(imports(small_house)) == ["pair.end → pair.share → pair.end"]


def test_a_circle_of_rooms_is_told_where_no_two_files_make_one(small_house: Path) -> None:
    (small_house / "checks" / "guard.py").write_text("from dojo.learner.git import Git\n")
    graph = imports(small_house)
    assert circles(graph) == []
    assert circles(rooms(graph)) == ["checks → learner → checks"]
