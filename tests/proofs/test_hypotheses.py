"""From a change that has words to what a learner is told, in a dojo of one kata."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dojo.curriculum.katas import open_dojo
from dojo.diagnosis.hypotheses import Hypothesis, hypotheses, left_over, read
from dojo.proofs.hypotheses import stale
from tests.building import add_kata, play

ROOT = Path(__file__).resolve().parents[2]
MODULE = "module_02_more"
REFERENCE = """
def scale(x, by=2.0, eps=0.0):
    return [v * by + eps for v in _all(x)]


def _all(x):
    return list(x)


def limit(x, top):
    return [v for v in x if v < top]
"""
STUB = """
def scale(x, by=2.0, eps=0.0):
    raise NotImplementedError


def limit(x, top):
    raise NotImplementedError
"""
TEST = f"""
import pytest
from katas.{MODULE}.k01_scale import limit, scale
from dojo.testing import assert_equal

@pytest.mark.parametrize("by", [2.0, 3.0, 5.0])
def test_by(by):
    assert_equal(scale([1.0, 2.0], by), [by, 2 * by])

def test_eps():
    assert_equal(scale([1.0], eps=0.5), [2.5])

def test_limit():
    assert_equal(limit([1, 2, 3], 2.5), [1, 2])

def test_limit_itself():
    assert_equal(limit([1, 2, 3], 3), [1, 2])
"""


def written(folder: Path, *options: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", "from dojo.cli import app; app()", "check", "--hypotheses", *options],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = play(tmp_path_factory.mktemp("hypotheses"))
    add_kata(folder, MODULE, "k01_scale", STUB, TEST, REFERENCE)
    written(folder, "scale")
    return folder


@pytest.fixture
def dojo(made, tmp_path) -> Path:
    import shutil

    return Path(shutil.copytree(made, tmp_path / "dojo"))


def test_each_change_is_written_with_the_tests_that_fail(made):
    kata = open_dojo(made).kata("scale")
    found = {one.words: one for one in hypotheses(kata)}
    by = found["scale() answers as if `by` were ignored and always 2.0."]
    assert len(by.fails) == 2  # of three: 2.0 is the default
    assert len(by.tried) == 4
    assert by.apply(kata.reference.read_text()) != kata.reference.read_text()
    limit = found["limit(): only what lies exactly on a limit is wrong: < and <= are mixed up."]
    assert len(limit.fails) == 1
    assert len(limit.tried) == 2


def test_a_kata_is_tried_again_only_once_it_has_changed(dojo):
    assert "1 katas are as they were" in written(dojo, "scale")
    katas = open_dojo(dojo).katas
    assert [kata.name for kata in stale(katas)] == ["play"]
    test = dojo / "katas" / MODULE / "test_k01_scale.py"
    test.write_text(test.read_text() + "\n\nMORE = 1\n")
    assert {kata.name for kata in stale(open_dojo(dojo).katas)} == {"play", "scale"}


def test_other_katas_of_the_file_stay(dojo):
    add_kata(dojo, MODULE, "k02_other", STUB, TEST.replace("k01_scale", "k02_other"), REFERENCE)
    written(dojo, "other")
    opened = open_dojo(dojo)
    assert read(opened.kata("scale"))
    assert read(opened.kata("other"))


def test_a_changed_reference_has_no_hypotheses(dojo):
    reference = dojo / "reference" / MODULE / "k01_scale.py"
    reference.write_text("\n" + reference.read_text())
    assert hypotheses(open_dojo(dojo).kata("scale")) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"k01_scale": {}}'])
def test_a_broken_file_is_no_file(dojo, text):
    (dojo / "reference" / MODULE / "hypotheses.json").write_text(text)
    assert hypotheses(open_dojo(dojo).kata("scale")) == []


def told(dojo: Path, in_dojo, code: str, *args: str) -> str:
    (dojo / "katas" / MODULE / "k01_scale.py").write_text(code)
    return in_dojo(dojo, "katas/module_02", *args).stdout


def test_a_change_that_explains_every_test_is_told_without_the_tools_that_made_it(dojo, in_dojo):
    (dojo / "libcst.py").write_text("raise ImportError\n")
    (dojo / "mutmut.py").write_text("raise ImportError\n")
    code = REFERENCE.replace("v * by + eps for v in _all(x)", "2.0 * v + eps for v in x")
    assert "scale() answers as if `by` were ignored and always 2.0." in told(dojo, in_dojo, code)
    code = REFERENCE.replace("v * by + eps", "v * by")
    assert "scale() answers as if `eps`" in told(dojo, in_dojo, code, "-x")


def test_one_that_another_test_refutes_is_not(dojo, in_dojo):
    """In the first test that fails, both give 2 and 4."""
    code = REFERENCE.replace("v * by + eps", "v * (2.0 if by == 3 else 4.0 if by == 5 else by) + eps")
    said = told(dojo, in_dojo, code)
    assert "2 failed" in said
    assert "answers as if" not in said


def test_of_two_that_tie_neither_is_told(dojo, in_dojo):
    file = dojo / "reference" / MODULE / "hypotheses.json"
    known = json.loads(file.read_text())
    rows = known["k01_scale"]["causes"]
    twin = next(row for row in rows if "`by` were ignored" in row[1])
    rows.append([twin[0], "scale() does something else.", *twin[2:]])
    file.write_text(json.dumps(known))
    code = REFERENCE.replace("v * by + eps", "v * 2.0 + eps")
    said = told(dojo, in_dojo, code)
    assert "answers as if" not in said
    assert "something else" not in said
    twin[0] -= 1  # likelier, it wins
    file.write_text(json.dumps(known))
    assert "answers as if `by`" in told(dojo, in_dojo, code)


def test_the_learners_own_results_rule_most_out():
    def one(*fails: str, tried: str = "abcd") -> Hypothesis:
        return Hypothesis(0, "", 0, 0, "", frozenset(tried), frozenset(fails))

    every = [one("a"), one("a", "b"), one("a", "b", "c"), one("c"), one("a", tried="ac")]
    assert left_over(every, failing={"a", "b"}, passing={"c"}) == [every[1], every[4]]
    assert left_over(every, failing={"a", "b"}, passing=set()) == [every[1], every[2], every[4]]
