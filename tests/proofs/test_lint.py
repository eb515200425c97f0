"""Proof 8: each fault of the metadata and of the page is planted, and must be told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dojo.curriculum.katas import open_dojo
from dojo.proofs.lint import problems
from tests.building import PLAYGROUND
from tests.proofs.test_proofs import REFERENCE, STUB, TEST, TOML, change, dojo

__all__ = ["dojo"]  # a fixture


def found_in(folder: Path, name: str = "play") -> list[str]:
    return problems(open_dojo(folder).kata(name))


def test_the_playground_has_all_that_is_asked_for():
    assert found_in(PLAYGROUND) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (TOML, 'title = "A playground"\n', "", "`title` is missing"),
        (TOML, "level = 1", "level = 7", "level is 7; expected 1 to 5"),
        (TOML, 'hints = ["Look.", ', "hints = [", "2 hints; expected 3"),
        (TOML, "level = 1", "level = 1\nlevels = 2", "unknown key `levels`"),
        (TOML, "The words keep their capitals.", "The weights aren't divided by their sum.", "2 mistakes say the same"),
        (TOML, 'says = "The words keep their capitals."', "", "`says` is missing"),
        (STUB, "**Before you start.**", "Before:", "the lesson has no part `**Before you start.**`"),
        (STUB, "**The idea.**", "Idea:", "the lesson has no part `**The idea.**`"),
        (STUB, "**The formula.**", "**Its formula.**", "the lesson has no part `**The formula.**`"),
        (STUB, "**Worked by hand**:", "For instance", "the lesson has no part `**Worked by hand.**`"),
        (STUB, "**Steps.**", "**What to write.**", "the lesson has no part `**Steps.**`"),
        (STUB, "Source: none.", "", "the lesson has no part `Source: …`"),
        (STUB, "You need a little numpy.", "x" * 81, "a line of 104 columns; at most 100"),
        (STUB, "┘", "┘" + " " * 46 + "here", "a drawing of 81 columns; at most 80"),
        (STUB, "    ranks        1 min   twice\n", "", "the part Steps lists standardize 1"),
        (STUB, "    ranks        1 min", "    ranks        2 min", "ranks 2, above 1"),
        (STUB, "    ranks        1 min   twice\n    above        1 min   not the limit\n", "    above        1 min   not the limit\n    ranks        1 min   twice\n", "the part Steps lists"),
        (STUB, "You need a little numpy.", "Use numpy.mean, or yours.", "expected the line `from .kNN_name import …`"),
        (STUB, "You need a little numpy.", "Type\n\n    from .k02_play import words\n", "there is no k02_play; expected k01_play"),
        (STUB, "You need a little numpy.", "Type\n\n    from .k01_play import word\n", "k01_play has no 'word', which the lesson says to import"),
        (TOML, "steps = {", "minutes = 9\nsteps = {", "`minutes` stands beside `steps`"),
        (TOML, "steps = {", "minutes = 9 #", "`minutes` stands in place of steps; expected `steps = { standardize = 5"),
        (TOML, "steps = {", "# {", "`steps` is missing"),
        (TOML, "ranks = 1, ", "", "steps are standardize, covariance, attend, scores, entropy, loss, above, words, bounds; expected"),
        (TOML, "ranks = 1, above = 1", "above = 1, ranks = 1", "as in the stub"),
        (TOML, "ranks = 1, ", "ranks = 1, rank = 1, ", "as in the stub"),
        (TOML, "ranks = 1", "ranks = 0", "the step ranks has 0 minutes; expected a whole number above 0"),
        (TOML, "ranks = 1", "ranks = 90", "above 90 the part Steps says where to pause"),
        (TOML, 'key = "capitals"\n', "", "mistakes without a `key`, a name that stays when the text changes: 8"),
        (TOML, 'key = "capitals"', 'key = "limit"', "2 mistakes have the key 'limit'"),
        (TOML, '[[mistakes]]\nkey = "limit"\nfind = "x > limit"\nswap = "x >= limit"\nsays = "An entry that equals the limit isn\'t above it."\n', "", "7 mistakes; expected 8 or more"),
        (TOML, '[[variants]]\nfind = "x > limit"\nswap = "limit < x"\n', "", "2 variants; expected 3 or more"),
        (TEST, "class TestStandardize:", "class TestEarly:\n    def test_bounds(self):\n        assert bounds(np.ones(2))\n\n\nclass TestStandardize:", "TestEarly::test_bounds uses bounds, before any test uses words"),
        (TEST, "class TestStandardize:", "def helper():\n    return ranks(np.ones(1))\n\n\ndef test_early():\n    helper()\n\n\nclass TestStandardize:", "test_early uses ranks, before any test uses loss"),
        (STUB, "From scratch: numpy.cov may not be used.", "", "the tests forbid numpy.cov, which the lesson doesn't say"),
        (STUB, "No function changes its arguments.", "", 'expected "No function changes its arguments."'),
        (STUB, "def words(text: str)", "def words(string: str)", "words(text: str) -> list[str] differs from the stub's"),
        (TEST, "from dojo.testing import", "import dojo.compare\nfrom dojo.testing import", "tests import dojo.testing alone"),
        (REFERENCE, "import numpy as np", "import numpy as np\nimport dojo.compare", "only tests import the engine"),
        (TEST, "from dojo.testing import", "from reference.module_01_play.k01_play import words as right\nfrom dojo.testing import", "tests never import the reference that they judge"),
        (TEST, "class TestStandardize:", "class TestStandardize:\n    judged = standardize\n", "TestStandardize holds standardize from the start"),
        ("katas/module_01_play/README.md", "k01_play", "nothing", "doesn't list k01_play"),
    ],
)  # fmt: skip
def test_metadata(dojo, file, old, new, said):
    change(dojo, file, old, new)
    found = found_in(dojo)
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from katas.module_01_play.k02_more import work", "imports work of katas.module_01_play.k02_more"),
        ("from katas.module_01_play.k02_more import Worker", "take it from reference.module_01_play.k02_more"),
        ("from katas.module_01_play.k02_more import Given", ""),
        ("from reference.module_01_play.k02_more import work", ""),
    ],
)
def test_a_test_needs_no_other_kata(dojo, line, said):
    (dojo / STUB).with_name("k02_more.py").write_text(
        "def work():\n    raise NotImplementedError\n\n\nclass Given:\n    size: int = 3\n\n\n"
        'class Worker:\n    def go(self):\n        """Goes."""\n        raise NotImplementedError\n'
    )
    change(dojo, TEST, "from dojo.testing import", f"{line}\nfrom dojo.testing import")
    found = [problem for problem in found_in(dojo) if "k02_more" in problem]
    assert any(said in problem for problem in found) if said else found == []


def test_the_page_says_where_to_pause(dojo):
    change(dojo, TOML, "ranks = 1", "ranks = 90")
    change(dojo, STUB, "    ranks        1 min", "    ranks       90 min")
    change(dojo, STUB, "**Steps.**", "**Steps.**  A good place to pause is after ranks.")
    assert found_in(dojo) == []


def test_a_formula_may_stand_under_the_idea(dojo):
    change(dojo, STUB, "**The formula.**  Each", "Each")
    change(dojo, STUB, "    q kᵀ / √d\n", "    s = q kᵀ / √d\n")
    assert found_in(dojo) == []


def test_parts_in_another_order(dojo):
    change(dojo, STUB, "**Before you start.**  You need a little numpy.\n\n", "")
    change(dojo, STUB, "**Steps.**", "**Before you start.**  You need a little numpy.\n\n**Steps.**")
    assert any("the lesson's parts stand as The idea, The formula" in problem for problem in found_in(dojo))


def test_a_wide_line_that_is_no_drawing(dojo):
    change(dojo, STUB, "    q kᵀ / √d\n", "    q kᵀ / √d" + " " * 70 + "wide\n")
    assert found_in(dojo) == []


class TestImports:
    @pytest.fixture
    def two(self, dojo: Path) -> Path:
        """A second kata, whose reference imports the first."""
        for tree in ("katas", "reference"):
            for path in (dojo / tree / "module_01_play").glob("*k01_play*"):
                text = path.read_text().replace("k01_play", "k02_again")
                path.with_name(path.name.replace("k01_play", "k02_again")).write_text(text)
        (dojo / "katas/module_01_play/README.md").write_text("k01_play, k02_again\n")
        reference = dojo / REFERENCE.replace("k01_play", "k02_again")
        text = reference.read_text()
        imported = "import numpy as np\n\nfrom katas.module_01_play.k01_play import scores as first"
        reference.write_text(text.replace("import numpy as np", imported, 1))
        return dojo

    def say(self, folder: Path, line: str) -> None:
        change(folder, STUB.replace("k01_play", "k02_again"), "a little numpy.", f"a little numpy.\n\n    {line}\n")

    def test_a_line_that_is_missing(self, two):
        assert found_in(two, "again") == [
            "k02_again.py: the reference imports play; expected the line `from .k01_play import …` under Before you start"
        ]

    def test_the_line(self, two):
        self.say(two, "from .k01_play import scores")
        assert found_in(two, "again") == []

    def test_a_wrong_number(self, two):
        self.say(two, "from .k03_play import scores")
        assert "there is no k03_play; expected k01_play" in found_in(two, "again")[0]

    def test_a_line_elsewhere(self, two):
        change(
            two, STUB.replace("k01_play", "k02_again"), "**Steps.**", "    from .k01_play import scores\n\n**Steps.**"
        )
        assert "the reference imports play" in found_in(two, "again")[0]

    def test_of_another_module(self, two):
        """Where the katas aren't in one folder, the line names the module."""
        for tree in ("katas", "reference"):
            (two / tree / "module_02_more").mkdir()
            for path in (two / tree / "module_01_play").glob("*k02_again*"):
                text = path.read_text().replace("module_01_play.k02_again", "module_02_more.k02_again")
                (two / tree / "module_02_more" / path.name).write_text(text)
                path.unlink()
        shutil.copy(two / "katas/module_01_play/README.md", two / "katas/module_02_more")
        assert "expected the line `from katas.module_01_play.k01_play import …`" in found_in(two, "again")[0]
        stub = "katas/module_02_more/k02_again.py"
        change(
            two, stub, "a little numpy.", "a little numpy.\n\n    from katas.module_01_play.k01_play import scores\n"
        )
        assert found_in(two, "again") == []


def test_what_dojo_new_makes_lacks_only_what_is_to_be_written(dojo):
    from dojo.curriculum.scaffold import scaffold

    scaffold(open_dojo(dojo), "mode", "module_01")
    assert [problem.partition(": ")[2] for problem in found_in(dojo, "mode")] == [
        "`mistakes` is missing", "`variants` is missing", "0 mistakes; expected 8 or more", "0 variants; expected 3 or more",
    ]  # fmt: skip
