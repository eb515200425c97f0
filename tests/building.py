"""Small dojos for the engine's tests, written file by file."""

from __future__ import annotations

import shutil
from pathlib import Path
from textwrap import dedent

PLAYGROUND = Path(__file__).resolve().parent / "playground"


def play(folder: Path) -> Path:
    """A copy of the playground in `folder`: one kata, k01_play, as a stub."""
    shutil.copytree(PLAYGROUND, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".dojo", "__pycache__"))
    return folder


def solve(folder: Path, stem: str = "k01_play", module: str = "module_01_play", extra: str = "") -> Path:
    """Put the reference's answer, and `extra` after it, in the learner's file."""
    path = folder / "katas" / module / f"{stem}.py"
    answer = (folder / "reference" / module / f"{stem}.py").read_text()
    path.write_text(f"{answer}\n\n{dedent(extra).strip()}\n")
    return path


def add_kata(folder: Path, module: str, stem: str, stub: str, test: str, reference: str) -> None:
    """A further kata, with no more around it than a run of its tests needs."""
    for tree, name, text in (
        ("katas", f"{stem}.py", stub),
        ("katas", f"test_{stem}.py", test),
        ("reference", f"{stem}.py", reference),
        ("reference", f"{stem}.toml", f'title = "{stem}"\n'),
    ):
        path = folder / tree / module / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip())


def two_katas(folder: Path) -> Path:
    """A dojo in which module 02's kata `area` builds on module 01's `square`."""
    play(folder)
    shutil.rmtree(folder / "katas" / "module_01_play")
    shutil.rmtree(folder / "reference" / "module_01_play")
    add_kata(
        folder,
        "module_01_first",
        "k01_square",
        "def square(x):\n    raise NotImplementedError\n",
        """
        from katas.module_01_first.k01_square import square

        def test_of_three():
            assert square(3) == 9

        def test_of_minus_four():
            assert square(-4) == 16
        """,
        "def square(x):\n    return x * x\n",
    )
    add_kata(
        folder,
        "module_02_second",
        "k01_area",
        "def area(r):\n    raise NotImplementedError\n",
        """
        from katas.module_02_second.k01_area import area

        def test_of_two():
            assert area(2) == 12

        def test_of_one():
            assert area(1) == 3
        """,
        "from katas.module_01_first.k01_square import square\n\n\ndef area(r):\n    return 3 * square(r)\n",
    )
    return folder
