"""`dojo check --labs`: what passed is listed, and only what has changed since is run again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dojo.curriculum.katas import DojoError, open_dojo
from dojo.proofs import labs
from dojo.proofs.depends import ENGINE, Depends
from tests.building import two_katas
from tests.proofs.test_proofs import change

SQUARE = "reference/module_01_first/k01_square.py"
AREA = "reference/module_02_second/k01_area.py"
DATA = "APPLES = 3\nCARROTS = 4\n\n\ndef load_fruit():\n    return APPLES\n\n\ndef load_roots():\n    return CARROTS\n"


def notebook(path: Path, *cells: str) -> None:
    """Each cell is code, or a text where it begins with #."""
    made = [
        {"cell_type": "markdown" if cell.startswith("# ") else "code", "metadata": {}, "id": f"c{i}", "source": cell.splitlines(True)}
        | ({} if cell.startswith("# ") else {"outputs": [], "execution_count": None})
        for i, cell in enumerate(cells)
    ]  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}))


@pytest.fixture
def dojo(tmp_path: Path) -> Path:
    """Two katas, the second of which builds on the first, and a lab of each."""
    folder = two_katas(tmp_path / "dojo")
    (folder / "fixtures").mkdir()
    (folder / "fixtures" / "__init__.py").touch()
    (folder / "fixtures" / "data.py").write_text(DATA)
    notebook(
        folder / "notebooks/day01_square.ipynb",
        "# A square", "from dojo.lab import data, kata\nsquare = kata('square').square", "assert square(data('fruit')) == 9",
    )  # fmt: skip
    notebook(
        folder / "notebooks/day02_area.ipynb",
        "%matplotlib inline\nimport dojo.lab as lab",
        "assert lab.kata('area').area(2) == 12",
    )
    shutil.copytree(ENGINE, tmp_path / "engine" / "dojo", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def hashes(folder: Path) -> dict[str, str]:
    depends = Depends(open_dojo(folder), folder.parent / "engine" / "dojo")
    return {lab.stem: depends.lab(lab, labs.code_of(lab)) for lab in sorted(folder.glob("notebooks/*.ipynb"))}


ONE, OTHER = {"day01_square"}, {"day02_area"}


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("notebooks/day01_square.ipynb", "A square", "The square", set()),
        ("notebooks/day01_square.ipynb", "== 9", "> 8", ONE),
        ("notebooks/day01_square.ipynb", "== 9", "== 9  # nine", set()),
        ("notebooks/day02_area.ipynb", "%matplotlib inline", "%matplotlib agg", OTHER),
        (SQUARE, "x * x", "x ** 2", ONE | OTHER),
        (SQUARE, "return", "# why\n    return", set()),
        (AREA, "3 *", "3.0 *", OTHER),
        ("katas/module_01_first/k01_square.py", "def square(x)", "def square(y)", set()),
        ("fixtures/data.py", "APPLES = 3", "APPLES = 5", ONE),
        ("fixtures/data.py", "CARROTS = 4", "CARROTS = 5", set()),
        ("../engine/dojo/lab.py", "IMPL =", "X = 1\nIMPL =", ONE | OTHER),
        ("../engine/dojo/curriculum/solutions.py", "class Unloadable", "X = 1\n\n\nclass Unloadable", ONE | OTHER),
        ("../engine/dojo/proofs/killing.py", "import threading", "import threading\nX = 1", set()),
    ],
)
def test_what_a_change_touches(dojo, file, old, new, changes):
    before = hashes(dojo)
    change(dojo, file, old, new)
    after = hashes(dojo)
    assert {name for name in before if before[name] != after[name]} == changes


def test_a_lab_whose_katas_cannot_be_told_depends_on_all(dojo):
    change(dojo, "notebooks/day01_square.ipynb", "kata('square')", "kata('squ' + 'are')")
    before = hashes(dojo)
    change(dojo, AREA, "3 *", "3.0 *")
    assert {name for name, value in hashes(dojo).items() if value != before[name]} == ONE | OTHER


def test_only_what_changed_is_run(dojo, monkeypatch, capsys):
    ran: list[str] = []
    failing: set[str] = set()

    def run(dojo, lab):
        ran.append(lab.stem)
        return labs.Ran(lab.stem, lab.stem not in failing, 1.0, "it fails")

    def of(**options: object) -> tuple[list[str], int]:
        ran.clear()
        status = labs.run_labs(open_dojo(dojo), [], **options)
        return sorted(ran), status

    monkeypatch.setattr(labs, "run_lab", run)
    failing.add("day02_area")
    assert of(changed=True) == (["day01_square", "day02_area"], 1)
    assert "FAIL  day02_area  1.0 s\nit fails" in capsys.readouterr().out
    failing.clear()
    assert of(changed=True) == (["day02_area"], 0)
    assert of(changed=True) == ([], 0)
    assert "2 passed before and unchanged" in capsys.readouterr().out
    change(dojo, AREA, "3 *", "3.0 *")
    assert of(changed=True) == (["day02_area"], 0)
    listed = json.loads((dojo / "notebooks/passed.json").read_text())
    (dojo / "notebooks/passed.json").write_text(json.dumps(listed | {"day01_square": "0" * 16, "gone": "1"}))
    assert of(changed=True) == (["day01_square"], 0)
    assert json.loads((dojo / "notebooks/passed.json").read_text()) == listed
    assert of() == (["day01_square", "day02_area"], 0)
    with pytest.raises(DojoError, match="no lab begins with 'day03'; there are day01_square, day02_area"):
        labs.run_labs(open_dojo(dojo), ["day03"])


def test_notebooks_are_run_for_real(dojo):
    pytest.importorskip("nbmake")
    change(dojo, "notebooks/day02_area.ipynb", "== 12", "== 13")
    (dojo / "dojo").symlink_to(ENGINE)  # the kernel begins in the notebook's folder
    assert labs.run_labs(open_dojo(dojo), []) == 1
    assert list(json.loads((dojo / "notebooks/passed.json").read_text())) == ["day01_square"]
