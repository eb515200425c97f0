"""A hash must change with whatever can change an answer, and with nothing else: each is changed, and it is seen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dojo.curriculum.katas import open_dojo
from dojo.proofs.depends import ENGINE, Depends
from dojo.proofs.sources import Source, meaning
from tests.building import play
from tests.proofs.test_proofs import REFERENCE, STUB, TEST, TOML, change

CONFTEST = (
    '"""Fixtures."""\n\nfrom fixtures.data import fruit, vegetables  # noqa\nfrom fixtures.more import basket  # noqa\n'
)
DATA = '''"""Data."""

import pytest

APPLES = 3
CARROTS = 4


def load_fruit():
    """So many."""
    return APPLES


@pytest.fixture
def fruit():
    return load_fruit()


@pytest.fixture
def vegetables():
    return CARROTS
'''
MORE = """import pytest

from fixtures.tools import woven


@pytest.fixture
def basket(fruit):
    return woven([fruit])
"""
USES = "class TestBounds:\n    def test_basket(self, basket):\n        assert bounds(np.array([*basket, 1.0]))\n\n"
AGAIN = "reference/module_01_play/k02_again.py"


@pytest.fixture
def dojo(tmp_path: Path) -> Path:
    """Two katas: `play`, which uses fixtures, and `again`, whose reference imports `play`."""
    play(tmp_path / "dojo")
    folder = tmp_path / "dojo"
    for tree in ("katas", "reference"):
        for path in (folder / tree / "module_01_play").glob("*k01_play*"):
            text = path.read_text().replace("k01_play", "k02_again")
            path.with_name(path.name.replace("k01_play", "k02_again")).write_text(text)
    change(folder, AGAIN, "import numpy as np", "import numpy as np\n\nfrom .k01_play import scores as first")
    change(folder, TEST, "class TestBounds:\n", USES)
    (folder / "fixtures").mkdir()
    files = {
        "conftest.py": CONFTEST, "fixtures/__init__.py": "", "fixtures/data.py": DATA, "fixtures/more.py": MORE,
        "fixtures/tools.py": "def woven(x):\n    return list(x)\n",
        "fixtures/requirements.txt": "orchard==1.0\n", "constraints.txt": "numpy==1\npytest==2\nruff==3\nfsrs==4\n",
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)
    shutil.copytree(ENGINE, tmp_path / "dojo_engine" / "dojo", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def hashes(folder: Path) -> dict[str, str]:
    dojo = open_dojo(folder)
    depends = Depends(dojo, folder.parent / "dojo_engine" / "dojo")
    kinds = {"proofs": depends.proofs, "mutants": depends.mutants}
    return {f"{kata.name} {kind}": of(kata) for kata in dojo.katas for kind, of in kinds.items()}


ALL = {"play proofs", "play mutants", "again proofs", "again mutants"}
PLAY, AGAINS = {"play proofs", "play mutants"}, {"again proofs", "again mutants"}
ENGINE_AT = "../dojo_engine/dojo/"


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        # The kata's own files.
        (REFERENCE, "x > limit", "limit < x", ALL),  # `again` imports it
        (REFERENCE, "def above", "# a comment\n\n\ndef above", {"play proofs"}),
        (REFERENCE, "def above", "def above", set()),
        (TEST, "assert_close(bounds", "assert_equal(bounds", PLAY),
        (TEST, '"""Judges k01_play against', '"""It judges k01_play against', {"play proofs"}),
        (STUB, "They are no lesson", "They're no lesson", {"play proofs"}),
        (STUB, "def ranks(", "def rank(", PLAY),  # another answer to spoil
        (TOML, "The words keep their capitals.", "They keep their capitals.", {"play proofs"}),
        (TOML, "level = 1", "level = 2", {"play proofs"}),
        (TOML, "[[variants]]", '[[equivalent]]\nchange = "x -> y"\nwhy = "So."\n\n[[variants]]', PLAY),
        (AGAIN, "x > limit", "limit < x", AGAINS),
        ("katas/module_01_play/README.md", "k01_play", "now k01_play", {"play proofs", "again proofs"}),
        # Fixtures: those that its tests ask for, directly or not.
        ("fixtures/data.py", "return APPLES", "return APPLES + 1", PLAY),
        ("fixtures/data.py", "APPLES = 3", "APPLES = 2", PLAY),
        ("fixtures/data.py", "CARROTS = 4", "CARROTS = 5", set()),
        ("fixtures/data.py", "So many.", "How many?", set()),
        ("fixtures/data.py", "import pytest\n", "import pytest\nimport os\n\nos.environ['X'] = '1'\n", PLAY),
        ("fixtures/tools.py", "list(x)", "sorted(x)", PLAY),
        ("fixtures/requirements.txt", "1.0", "1.1", set()),
        ("conftest.py", '"""Fixtures."""', '"""Fixtures."""\nimport random\nrandom.seed(1)', ALL),
        ("conftest.py", "fruit, vegetables", "fruit, vegetables, nuts", set()),
        ("conftest.py", "fruit, vegetables", "(\n    fruit,\n    nuts,\n    vegetables,\n)", set()),
        # The engine that judges.
        (ENGINE_AT + "checks/compare.py", "def close(", "SOME = 1\n\n\ndef close(", ALL),
        (ENGINE_AT + "checks/compare.py", "def close(", "# a comment\ndef close(", set()),
        (ENGINE_AT + "checks/guard.py", "import ", "X = 1\nimport ", ALL),
        (ENGINE_AT + "plugin.py", "class Hooks:", "X = 1\n\n\nclass Hooks:", ALL),
        (ENGINE_AT + "judging/judge.py", "class Judge:", "X = 1\n\n\nclass Judge:", ALL),
        (ENGINE_AT + "proofs/operators.py", "import libcst", "X = 1\nimport libcst", ALL),
        (ENGINE_AT + "diagnosis/fitting.py", "class Search:", "X = 1\n\n\nclass Search:", {"play proofs", "again proofs"}),
        (ENGINE_AT + "proofs/lesson.py", "LONGEST = 100", "LONGEST = 99", {"play proofs", "again proofs"}),
        (ENGINE_AT + "learner/record.py", "import ", "X = 1\nimport ", set()),
        (ENGINE_AT + "pair/git.py", "import ", "X = 1\nimport ", set()),
        # What it all stands on.
        ("constraints.txt", "numpy==1", "numpy==2", ALL),
        ("constraints.txt", "pytest==2", "pytest==3", ALL),
        ("constraints.txt", "ruff==3", "ruff==4", set()),
        ("constraints.txt", "fsrs==4", "new==5", set()),
        ("pyproject.toml", "deadline = 2", "deadline = 3", ALL),
        ("pyproject.toml", 'markers = ["slow"', 'markers = ["new", "slow"', set()),
    ],
)  # fmt: skip
def test_what_a_change_touches(dojo, file, old, new, changes):
    before = hashes(dojo)
    change(dojo, file, old, new)
    after = hashes(dojo)
    assert {name for name in before if before[name] != after[name]} == changes


def test_a_package_of_data_counts_where_a_fixture_reads_it(dojo):
    change(dojo, "fixtures/data.py", "return APPLES", 'return APPLES, "orchard"')
    before = hashes(dojo)
    change(dojo, "fixtures/requirements.txt", "1.0", "1.1")
    assert {name for name, value in hashes(dojo).items() if value != before[name]} == PLAY


def test_a_fixture_for_all_counts_for_all(dojo):
    change(dojo, "fixtures/data.py", "@pytest.fixture\ndef vegetables", "@pytest.fixture(autouse=True)\ndef vegetables")
    before = hashes(dojo)
    change(dojo, "fixtures/data.py", "CARROTS = 4", "CARROTS = 5")
    assert {name for name, value in hashes(dojo).items() if value != before[name]} == ALL


def test_a_kata_that_comes_between_changes_the_module_s_order(dojo):
    before = hashes(dojo)
    for tree, name in (("katas", "k00_new.py"), ("katas", "test_k00_new.py"), ("reference", "k00_new.py")):
        (dojo / tree / "module_01_play" / name).write_text("")
    after = hashes(dojo)
    assert {name for name in before if before[name] != after[name]} == {"play proofs", "again proofs"}


def test_a_helper_beside_the_katas_counts(dojo):
    helper = dojo / "katas/module_01_play/helper.py"
    helper.write_text("LIMIT = 1\n")
    change(dojo, TEST, "import pytest\n", "import pytest\nfrom katas.module_01_play.helper import LIMIT  # noqa\n")
    before = hashes(dojo)
    helper.write_text("LIMIT = 2\n")
    assert {name for name, value in hashes(dojo).items() if value != before[name]} == PLAY


@pytest.mark.parametrize(
    ("name", "text"), [("train.py", "from fixtures.data import fruit\nX = 1\n"), ("data.txt", "1\n")]
)
def test_a_file_that_a_test_names_counts(dojo, name, text):
    """A script that the tests start, or data beside them."""
    script = dojo / "katas/module_01_play" / name
    script.write_text(text)
    change(dojo, TEST, "import pytest\n", f"import pytest\n\nSCRIPT = {name!r}\n")
    before = hashes(dojo)
    script.write_text(text.replace("1", "2"))
    assert {n for n, value in hashes(dojo).items() if value != before[n]} == PLAY


def test_a_script_that_asks_for_a_kata_depends_on_it(dojo):
    (dojo / "katas/module_01_play/train.py").write_text("from dojo.lab import kata\n\nkata('again')\n")
    change(dojo, TEST, "import pytest\n", "import pytest\n\nSCRIPT = 'train.py'\n")
    before = hashes(dojo)
    change(dojo, AGAIN, "x > limit", "limit < x")
    assert {n for n, value in hashes(dojo).items() if value != before[n]} == PLAY | AGAINS


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x = 1\n", "# why\n\nx = 1  # so\n", True),
        ("def f():\n    return 1\n", 'def f():\n    """One."""\n    return 1\n', True),
        ("x = [\n    1,\n]\n", "x = [\n    # why\n    1,\n]\n", False),  # in the middle of a statement
        ("x = 1\n", "x = 2\n", False),
        ("if x:\n    y = 1\nz = 2\n", "if x:\n    y = 1\n    z = 2\n", False),
        ("x = 'a'\n", "x = 'b'\n", False),
        ('print("""a""")\n', 'print("""b""")\n', False),
        ("print(f.__doc__)\n", "print(f.__doc__)  # reads itself\n", False),
        ("def f(:\n", "def f(: # no Python\n", False),
    ],
)
def test_meaning(one, other, same):
    assert (meaning(one) == meaning(other)) == same


def test_the_names_that_a_definition_needs(tmp_path):
    (tmp_path / "m.py").write_text(
        "import os, re\nfrom a import b, c\n\nX = 1\nY = X + 1\nZ = 5\n\n\ndef f():\n    return Y, b\n\n\ndef g():\n    return os\n"
    )
    source = Source(tmp_path / "m.py", "")
    text = source.text_of(frozenset({"f"}))
    assert "X = 1" in text
    assert "Z" not in text
    assert "os" not in text
    assert [(one.module, one.names) for one in source.imports(frozenset({"f"}))] == [("a", frozenset({"b"}))]
    assert source.text_of(frozenset({"nowhere"})) == source.text  # who knows where that comes from
