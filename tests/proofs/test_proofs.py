"""Each proof is shown the fault that it exists for, and must see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.building import play

ROOT = Path(__file__).resolve().parents[2]
STUB = "katas/module_01_play/k01_play.py"
TEST = "katas/module_01_play/test_k01_play.py"
REFERENCE = "reference/module_01_play/k01_play.py"
TOML = "reference/module_01_play/k01_play.toml"


def check(folder: Path, *options: str, seeds: int = 1) -> dict:
    """The JSON of `dojo check` in `folder`."""
    run = subprocess.run(
        [sys.executable, "-c", "from dojo.cli import app; app()", "check", "--json", "--seeds", str(seeds), *options],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert run.stdout.startswith("{"), run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert (run.returncode == 0) == report["ok"]
    return report


def proof(report: dict, name: str) -> dict:
    return report["katas"][0]["proofs"][name]


@pytest.fixture
def dojo(tmp_path) -> Path:
    return play(tmp_path)


def change(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_sound_kata_is_proven(dojo):
    report = check(dojo, seeds=5)
    assert report["ok"], [p for k in report["katas"] for t in k["proofs"].values() for p in t["problems"]]
    kata = report["katas"][0]
    assert (kata["tests"], kata["named"]) == (12, 8)
    assert {name: (t["good"], t["total"]) for name, t in kata["proofs"].items()} == {
        "metadata": (1, 1), "todo": (12, 12), "green": (60, 60), "variants": (3, 3), "mistakes": (8, 8),
        "trivial": (29, 29), "planted": (12, 12), "time": (1, 1),
    }  # fmt: skip


class TestTodo:
    def test_a_test_that_passes_on_the_stub(self, dojo):
        change(dojo, TEST, "class TestBounds:", "def test_nothing():\n    assert 1 + 1 == 2\n\n\nclass TestBounds:")
        todo = proof(check(dojo), "todo")
        assert (todo["good"], todo["total"]) == (12, 13)
        assert "on the stub test_nothing is green, expected todo" in todo["problems"][0]

    def test_a_test_that_fails_on_the_stub_for_another_reason(self, dojo):
        change(
            dojo,
            TEST,
            "    def test_smallest_and_largest(self):\n",
            "    def test_smallest_and_largest(self):\n        raise KeyError(1)\n",
        )
        assert "is red, expected todo: KeyError" in proof(check(dojo), "todo")["problems"][0]

    def test_a_stub_that_is_written_already(self, dojo):
        change(
            dojo,
            STUB,
            '    """The smallest and the largest entry of x (n,)."""\n    raise NotImplementedError',
            '    """The smallest and the largest entry of x (n,)."""\n    return float(x.min()), float(x.max())',
        )
        assert proof(check(dojo), "todo")["good"] == 11


class TestGreen:
    def test_a_reference_that_fails(self, dojo):
        change(dojo, REFERENCE, "x > limit", "x >= limit")
        assert "the reference fails TestAbove::test_the_limit_itself" in proof(check(dojo), "green")["problems"][0]

    def test_a_test_that_fails_for_some_seeds(self, dojo):
        change(
            dojo,
            TEST,
            "class TestBounds:",
            "def test_lucky():\n    bounds(np.ones(2))\n    assert np.random.rand() < 0.6\n\n\nclass TestBounds:",
        )
        green = proof(check(dojo, seeds=12), "green")
        assert any("test_lucky with --seed" in problem for problem in green["problems"])
        assert green["good"] > 12 * 12

    def test_tests_that_need_an_order(self, dojo):
        change(
            dojo,
            TEST,
            "class TestBounds:",
            "SEEN = []\n\n\ndef test_first():\n    bounds(np.ones(2))\n    SEEN.append(1)\n\n\ndef test_second():\n    bounds(np.ones(2))\n    assert SEEN\n    SEEN.clear()\n\n\nclass TestBounds:",
        )
        assert any("test_second" in problem for problem in proof(check(dojo, seeds=8), "green")["problems"])

    def test_a_reference_that_warns(self, dojo):
        change(
            dojo,
            REFERENCE,
            "return x > limit",
            "return np.sqrt(x - 10) > limit - 100 if x is None else x > np.log(np.zeros(1))[0] * 0 + limit if False else (x > limit) | (np.log(x * 0) > 0)",
        )
        assert "the reference warns" in proof(check(dojo), "green")["problems"][0]


def test_a_variant_that_a_test_rejects(dojo):
    change(
        dojo,
        TEST,
        "assert_close(bounds(np.array([2.5, -1.25, 7.75])), (-1.25, 7.75))",
        "answer = bounds(np.array([2.5, -1.25, 7.75]))\n        assert_close(answer, (-1.25, 7.75))\n        assert type(answer[0]) is float",
    )
    change(dojo, TOML, "min(x.tolist()), max(x.tolist())", "x.min(), x.max()")
    variants = proof(check(dojo), "variants")
    assert (variants["good"], variants["total"]) == (2, 3)
    assert "variant 2 isn't accepted: TestBounds::test_smallest_and_largest is red" in variants["problems"][0]


class TestMistakes:
    def test_one_that_no_test_catches(self, dojo):
        change(dojo, TEST, "np.array([1.0, 3.0, 2.0, 5.0]), 2.0", "np.array([1.0, 3.0, 1.0, 5.0]), 2.0")
        mistakes = proof(check(dojo), "mistakes")
        assert mistakes["good"] == 7
        assert mistakes["problems"] == ["mistake 7 isn't caught: An entry that equals the limit isn't above it."]

    def test_one_that_is_caught_but_not_named(self, dojo):
        """A second mistake that gives the same answers: nobody can say which it was."""
        (dojo / TOML).write_text(
            (dojo / TOML).read_text()
            + '\n[[mistakes]]\nkey = "another"\nfind = "x > limit"\nswap = "~(x < limit)"\nsays = "Something else."\n'
        )
        report = check(dojo)
        assert report["katas"][0]["named"] == 7
        assert "not 'Something else.'" in " ".join(proof(report, "mistakes")["problems"])

    def test_a_patch_that_does_not_apply(self, dojo):
        change(dojo, TOML, 'find = "x > limit"', 'find = "x >> limit"')
        report = check(dojo)
        assert not report["ok"]
        assert (
            "must stand exactly once in k01_play.py, but it stands there 0 times"
            in proof(report, "metadata")["problems"][0]
        )


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("assert_close(ranks(np.array([30, 10, 50, 20, 80, 70, 40, 60])), np.array([2, 0, 4, 1, 7, 6, 3, 5]))", "assert ranks(np.arange(3)).shape == (3,)", "zeros"),
        ("assert_close(ranks(np.array([30, 10, 50, 20, 80, 70, 40, 60])), np.array([2, 0, 4, 1, 7, 6, 3, 5]))", "assert_close(ranks(np.array([0, 1, 2])), np.array([0, 1, 2]))", "the first argument"),
        ("assert_close(covariance(X), np.cov(X.T))", "assert_close(covariance(X) ** 2, np.cov(X.T) ** 2)", "the negated answer"),
    ],
)  # fmt: skip
def test_a_trivial_answer_that_passes(dojo, old, new, kind):
    change(dojo, TEST, old, new)
    problems = proof(check(dojo), "trivial")["problems"]
    assert any(problem.endswith(f"() passes with {kind}") for problem in problems), problems


class TestMutants:
    def test_one_that_survives_is_shown(self, dojo):
        change(
            dojo,
            TEST,
            "assert_close(bounds(np.array([2.5, -1.25, 7.75])), (-1.25, 7.75))",
            "assert bounds(np.array([2.5, -1.25, 7.75]))[1] == 7.75",
        )
        report = check(dojo, "--mutants")
        mutants = report["katas"][0]["mutants"]
        assert mutants["survived"] > 0
        assert sum(mutants.values()) == proof(report, "mutants")["total"]
        assert any(
            "survives in bounds(), line" in problem and "x.min() -> x.max()" in problem
            for problem in proof(report, "mutants")["problems"]
        )

    def test_what_only_numerical_code_gets_wrong(self, dojo):
        change(dojo, TEST, "pure()]", "]")
        change(dojo, TEST, "(X - X.mean(0)) / X.std(0))", "(X - X.mean(0)) / X.std(0), rtol=0.01)")
        problems = proof(check(dojo, "--mutants"), "mutants")["problems"]
        assert any("standardize: output rounded to float16" in problem for problem in problems)
        assert any("standardize: an argument changed in place" in problem for problem in problems)

    def test_an_equivalent_is_counted_apart(self, dojo):
        change(dojo, REFERENCE, "return x > limit", "return (x > limit) & (x == x)")
        before = check(dojo, "--mutants")["katas"][0]["mutants"]
        (dojo / TOML).write_text(
            (dojo / TOML).read_text()
            + '\n[[equivalent]]\nchange = "(x > limit) & (x == x) -> (x > limit)"\nwhy = "x is finite."\n'
        )
        after = check(dojo, "--mutants")["katas"][0]["mutants"]
        assert after["equivalent"] == before["equivalent"] + 1
        assert after["survived"] == before["survived"] - 1

    def test_an_equivalent_that_a_test_kills_is_wrong_and_one_that_is_no_mutant_is_stale(self, dojo):
        entries = (("x > limit -> x >= limit", "Not so."), ("x > 99 -> x > 98", "Gone."))
        with (dojo / TOML).open("a") as file:
            for listed, why in entries:
                file.write(f'\n[[equivalent]]\nchange = "{listed}"\nwhy = "{why}"\n')
        problems = proof(check(dojo, "--mutants"), "mutants")["problems"]
        assert any("lists 'x > limit -> x >= limit', but a test fails for it" in problem for problem in problems)
        assert any("lists 'x > 99 -> x > 98', but no mutant is like that" in problem for problem in problems)


def test_a_file_that_is_not_the_one_tested(dojo):
    """Tests that judge another file than the learner's."""
    (dojo / "katas/module_01_play/answers.py").write_text((dojo / REFERENCE).read_text())
    change(
        dojo,
        TEST,
        "from katas.module_01_play.k01_play import (",
        "import katas.module_01_play.k01_play  # noqa\nfrom katas.module_01_play.answers import (",
    )
    planted = proof(check(dojo), "planted")
    assert planted["good"] < planted["total"]
    assert "passes with a raise planted in every function" in planted["problems"][0]


def test_two_katas_of_one_name(dojo):
    for tree in ("katas", "reference"):
        for path in (dojo / tree / "module_01_play").glob("*k01_play*"):
            other = dojo / tree / "module_02_more" / path.name
            other.parent.mkdir(exist_ok=True)
            other.write_text(path.read_text().replace("module_01_play", "module_02_more"))
    (dojo / "katas/module_02_more/README.md").write_text("k01_play\n")
    report = check(dojo)
    assert "2 katas are called 'play'" in report["problems"][0]
    assert not report["ok"]


def test_a_kata_over_its_budget(dojo):
    change(dojo, TOML, "level = 1", "level = 1\nseconds = 0.05")
    change(
        dojo,
        TEST,
        "class TestBounds:",
        "def test_slow():\n    import time\n\n    bounds(np.ones(2))\n    time.sleep(0.1)\n\n\nclass TestBounds:",
    )
    report = check(dojo)
    assert "budget 0.05 s" in proof(report, "time")["problems"][0]
    assert report["katas"][0]["seconds"] > 0.1


def test_a_time_over_the_budget_is_taken_again_alone(dojo):
    """Slow while something else ran, and quick after: within the budget."""
    change(dojo, TOML, "level = 1", "level = 1\nseconds = 1.5")
    change(
        dojo,
        TEST,
        "class TestBounds:",
        "def test_slow():\n    import pathlib\n    import time\n\n    bounds(np.ones(2))\n"
        "    runs = pathlib.Path('runs')\n    runs.write_text(runs.read_text() + '.' if runs.exists() else '.')\n"
        "    time.sleep(1.6 * (len(runs.read_text()) < 5))\n\n\nclass TestBounds:",
    )
    report = check(dojo)
    assert proof(report, "time") == {"good": 1, "total": 1, "problems": []}
    assert report["katas"][0]["seconds"] < 1.5


def test_a_reference_that_kills_the_worker(dojo):
    """A kata whose tests end the process is named; the katas beside it are proven."""
    for tree in ("katas", "reference"):
        for path in (dojo / tree / "module_01_play").glob("*k01_play*"):
            other = dojo / tree / "module_02_more" / path.name.replace("k01_play", "k01_more")
            other.parent.mkdir(exist_ok=True)
            text = path.read_text().replace("module_01_play", "module_02_more").replace("k01_play", "k01_more")
            other.write_text(text)
    (dojo / "katas/module_02_more/README.md").write_text("k01_more\n")
    change(dojo, TEST, "class TestBounds:", "def test_end():\n    import os\n\n    os._exit(3)\n\n\nclass TestBounds:")
    report = check(dojo, "--jobs", "2")
    assert proof(report, "green")["problems"] == ["the process that ran its tests died"]
    assert [(kata["stem"], kata["ok"]) for kata in report["katas"]] == [("k01_play", False), ("k01_more", True)]


def test_a_reference_that_kills_its_process(dojo):
    """A crash that no except sees costs that one answer, and is told."""
    change(dojo, TOML, 'swap = "text.split()"', "swap = \"__import__('os')._exit(3)\"")
    report = check(dojo)
    assert "crashed the process" in " ".join(proof(report, "mistakes")["problems"])
    assert proof(report, "green")["good"] == 12


def test_an_unknown_kata_is_a_clear_error(dojo):
    run = subprocess.run(
        [sys.executable, "-c", "from dojo.cli import app; app()", "check", "plya"],
        cwd=dojo, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert "no kata is called 'plya'; did you mean play?" in run.stdout + run.stderr
