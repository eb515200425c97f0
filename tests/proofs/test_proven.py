"""`dojo check --changed`: what is proven is listed, and only what has changed since is proven anew."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent

import pytest

from dojo.curriculum.katas import DojoError, open_dojo
from dojo.proofs import cli
from dojo.proofs.depends import ENGINE, UNUSED
from dojo.proofs.mutants import BAKED
from dojo.proofs.proven import Hashes, hashes, listed, write_down
from dojo.proofs.result import KataProofs, MutantCount
from tests.building import PLAYGROUND
from tests.proofs.test_depends import CONFTEST, DATA, MORE
from tests.proofs.test_proofs import change

LIST = "reference/proven.json"
STUB = "katas/module_01_shapes/k01_triangle.py"
TEST = "katas/module_01_shapes/test_k01_triangle.py"
REFERENCE = "reference/module_01_shapes/k01_triangle.py"
MISTAKES = {
    "whole": "a * b", "sum": "(a + b) / 2", "third": "a * b / 3", "one": "a * a / 2", "other": "b * b / 2",
    "twice": "a * b * 2", "sign": "-a * b / 2", "first": "a / 2",
}  # fmt: skip
VARIANTS = ("0.5 * a * b", "b * a / 2", "b / 2 * a")
FILES = {
    "pyproject.toml": (PLAYGROUND / "pyproject.toml").read_text(),
    STUB: '''
        """A triangle

        **Before you start.**  You need nothing.

        **The idea.**  Two triangles make a rectangle.  They are no lesson.

            area = a b / 2

        **Worked by hand**: 3 and 5 give 7.5.

        **Steps.**

            area   1 min   halve it

        From this page alone you could write it: one line, a product and a quotient, and no more than that.
        These words only make the page as long as a lesson has to be, for it is a very short one, you see.

        Source: Euclid.
        """


        def area(a: float, b: float) -> float:
            """The area of a right triangle with the legs a and b."""
            raise NotImplementedError
        ''',
    TEST: '''
        """Judges k01_triangle by hand."""

        import pytest
        from katas.module_01_shapes.k01_triangle import area

        from dojo.testing import assert_close


        def test_by_hand(basket):
            assert basket
            assert_close(area(3.0, 5.0), 7.5)


        @pytest.mark.parametrize("a", [0.3, 1.7])
        def test_another(a):
            assert_close(area(a, 0.7), a * 0.35)
        ''',
    REFERENCE: '''
        """A triangle: the reference."""


        def area(a: float, b: float) -> float:
            return a * b / 2
        ''',
    "reference/module_01_shapes/k01_triangle.toml": "".join(
        ['title = "A triangle"\nlevel = 1\nsteps = { area = 1 }\nhints = ["Two.", "Halve.", "a * b / 2"]\n']
        + [f'[[mistakes]]\nkey = "{key}"\nfind = "a * b / 2"\nswap = "{swap}"\nsays = "It is {key}."\n' for key, swap in MISTAKES.items()]
        + [f'[[variants]]\nfind = "a * b / 2"\nswap = "{swap}"\n' for swap in VARIANTS]
    ),
    "katas/module_01_shapes/README.md": "k01_triangle\n",
    "conftest.py": CONFTEST,
    "fixtures/__init__.py": "",
    "fixtures/data.py": DATA,
    "fixtures/more.py": MORE,
    "fixtures/tools.py": "def woven(x):\n    return list(x)\n",
}  # fmt: skip


@pytest.fixture
def dojo(tmp_path: Path) -> Path:
    """One small kata, which uses a fixture and is sound to the last mutant, and an engine of its own beside it."""
    for name, text in FILES.items():
        path = tmp_path / "dojo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip())
    shutil.copytree(ENGINE, tmp_path / "engine" / "dojo", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "dojo"


def check(folder: Path, *options: str) -> tuple[list[str], bool]:
    """The names of what `dojo check` proved just now, and whether mutants were among it; all must be sound."""
    run = subprocess.run(
        [sys.executable, "-c", "from dojo.cli import app; app()", "check", "--json", *(options or ("--changed",))],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(folder.parent / "engine")},
    )  # fmt: skip
    assert run.stdout.startswith("{"), run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert report["ok"], [p for k in report["katas"] for t in k["proofs"].values() for p in t["problems"]]
    assert len(report["katas"]) + report["proven_before"] == 1
    return [kata["kata"] for kata in report["katas"]], any(kata["mutants"] for kata in report["katas"])


def test_only_what_changed_is_proven(dojo):
    """One way through, as each proof takes a while: everything, nothing, and a change of each kind."""
    assert check(dojo) == (["triangle"], True)
    assert check(dojo) == ([], False)

    change(dojo, STUB, "They are no lesson", "They're no lesson")
    assert check(dojo) == (["triangle"], False)  # no mutant depends on it
    assert check(dojo) == ([], False)

    change(dojo, "fixtures/data.py", "APPLES = 3", "APPLES = 4")
    assert check(dojo) == (["triangle"], True)
    assert check(dojo) == ([], False)

    change(dojo.parent, "engine/dojo/checks/compare.py", "def close(", "SOME = 1\n\n\ndef close(")
    assert check(dojo) == (["triangle"], True)
    assert check(dojo) == ([], False)

    entry = json.loads((dojo / LIST).read_text())
    (dojo / LIST).write_text(json.dumps({"triangle": entry["triangle"] | {"mutants": "0" * 16}}))
    assert check(dojo) == (["triangle"], True)
    assert json.loads((dojo / LIST).read_text()) == entry

    # By name it is proven whatever the list says.
    assert check(dojo, "triangle") == (["triangle"], False)
    assert json.loads((dojo / LIST).read_text()) == entry


def test_what_fails_or_was_proven_by_halves_is_not_listed(dojo):
    run = [sys.executable, "-c", "from dojo.cli import app; app()", "check", "triangle"]
    env = {**os.environ, "PYTHONPATH": str(dojo.parent / "engine")}
    subprocess.run([*run, "--seeds", "2"], cwd=dojo, env=env, capture_output=True, check=True)
    assert not (dojo / LIST).exists()  # two seeds of five

    skips = "def test_more():\n    area(1.0, 1.0)\n    pytest.importorskip('no_such')\n\n\ndef test_by_hand"
    change(dojo, TEST, "def test_by_hand", skips)
    told = subprocess.run(run, cwd=dojo, env=env, capture_output=True, text=True, check=True).stdout
    assert "k01_triangle isn't listed as proven here, as tests were skipped: could not import 'no_such'" in told
    assert not (dojo / LIST).exists()

    change(dojo, REFERENCE, "a * b / 2", "a * b / 3")
    assert subprocess.run(run, cwd=dojo, env=env, capture_output=True, check=False).returncode == 1
    assert not (dojo / LIST).exists()


def test_a_module_is_listed_before_the_next_is_begun(dojo, monkeypatch):
    first = KataProofs("triangle", "module_01_shapes", "k01_triangle")

    def prove_module(of, katas, options):
        if katas[0].module != "module_01_shapes":
            raise KeyboardInterrupt
        return [first], []

    monkeypatch.setattr(cli, "_prove_module", prove_module)
    shutil.copytree(dojo / "katas/module_01_shapes", dojo / "katas/module_02_more")
    shutil.copytree(dojo / "reference/module_01_shapes", dojo / "reference/module_02_more")
    found = []
    with pytest.raises(KeyboardInterrupt):
        cli.prove(open_dojo(dojo), list(open_dojo(dojo).katas), found=found.append)
    assert found == [[first]]


@pytest.mark.parametrize(("failed", "lists"), [("time", (False, True)), ("mutants", (True, False)), ("", (True, True))])
def test_each_of_the_two_is_listed_for_itself(dojo, failed, lists):
    (kata,) = open_dojo(dojo).katas
    present = hashes([kata])
    result = KataProofs(kata.name, kata.module, kata.stem, mutants=MutantCount(killed=3))
    for proof in ("time", "mutants"):
        result.tally(proof).total, result.tally(proof).good = 1, int(proof != failed)
    cli._list([kata], [result], present, 5)
    of = present["triangle"]
    assert listed(open_dojo(dojo)) == {
        "triangle": Hashes(*(h * on for h, on in zip((of.proofs, of.mutants), lists, strict=True)))
    }


class TestList:
    def test_each_kata_has_a_line(self, dojo):
        write_down(open_dojo(dojo), {"triangle": Hashes("a", "b")})
        assert (dojo / LIST).read_text() == '{\n  "triangle": {"proofs": "a", "mutants": "b"}\n}\n'

    def test_what_was_not_proven_this_time_stays(self, dojo):
        write_down(open_dojo(dojo), {"triangle": Hashes("a", "b")})
        write_down(open_dojo(dojo), {"triangle": Hashes("c", "")})
        assert listed(open_dojo(dojo)) == {"triangle": Hashes("c", "b")}

    def test_what_is_no_kata_any_more_is_dropped(self, dojo):
        (dojo / LIST).write_text('{"gone": {"proofs": "a", "mutants": "b"}, "triangle": {"proofs": "a"}}')
        write_down(open_dojo(dojo), {})
        assert json.loads((dojo / LIST).read_text()) == {"triangle": {"proofs": "a", "mutants": ""}}

    def test_a_list_in_the_form_of_before_lists_nothing(self, dojo):
        (dojo / LIST).write_text('{"triangle": "0123456789abcdef"}')
        assert listed(open_dojo(dojo)) == {}

    @pytest.mark.parametrize("text", ["{", "[]"])
    def test_a_broken_one_is_told(self, dojo, text):
        (dojo / LIST).write_text(text)
        with pytest.raises(DojoError, match="`dojo check --changed` writes it anew"):
            listed(open_dojo(dojo))


def test_no_proof_loads_what_the_hash_leaves_out(dojo):
    """UNUSED names what is imported late and never needed: each test says what is loaded while a proof runs it."""
    note = f"""
        import builtins
        import pathlib
        import sys

        kind = "mutants" if hasattr(builtins, "{BAKED}") else "proofs"
        with pathlib.Path(kind).open("a") as file:
            file.write(" ".join(sys.modules) + " ")
    """
    change(dojo, TEST, "    assert basket\n", indent(dedent(note), "    "))
    change(dojo, TEST, "area(a, 0.7)", "area(a, 0.7 + 0 * (test_by_hand([1]) or 0))")  # whichever is the first to run
    check(dojo, "triangle", "--mutants")
    for kind in ("proofs", "mutants"):
        loaded = {name for name in (dojo / kind).read_text().split() if name.startswith("dojo.")}
        assert "dojo.judging.judge" in loaded
        assert not {name for name in loaded if name.startswith(UNUSED[kind])}
