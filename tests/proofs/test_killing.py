"""Mutants that share a child: what one leaves behind must not decide about the next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dojo.proofs.pool import run_batches
from tests.proofs.test_proofs import ROOT, change
from tests.proofs.test_proven import REFERENCE, STUB, TEST
from tests.proofs.test_proven import dojo as triangle

__all__ = ["triangle"]  # a fixture

MORE = """

        def largest(sides: list[float]) -> float:
            \"\"\"The longest side.\"\"\"
            {largest}


        def total(sides: list[float]) -> float:
            \"\"\"All sides.\"\"\"
            {total}
"""
TESTS = """

SIDES = [1.0, 2.0]


def test_largest():
    assert_close(largest(SIDES), 2.0)
    assert SIDES == [1.0, 2.0]


def test_total():
    assert_close(total(SIDES), 3.0)
"""


def survivors(folder: Path, *before: str) -> list[str]:
    """What survives, told by a `dojo check` that runs the lines `before` first."""
    code = "\n".join([*before, "from dojo.cli import app", "app()"])
    run = subprocess.run(
        [sys.executable, "-c", code, "check", "--json", "--seeds", "1", "--mutants", "--jobs", "1"],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    problems = json.loads(run.stdout)["katas"][0]["proofs"]["mutants"]["problems"]
    return [problem.partition(", ")[2] for problem in problems if problem.startswith("survives")]


def test_a_mutant_that_changes_the_tests_data_kills_no_other(triangle):
    """largest() with its argument changed in place is killed, and leaves SIDES changed: total() fails its test then."""
    stub = MORE.format(largest="raise NotImplementedError", total="raise NotImplementedError").replace(" " * 8, "", 1)
    for file, text in ((STUB, stub), (REFERENCE, MORE.format(largest="return max(sides)", total="return sum(sides)"))):
        path = triangle / file
        path.write_text(path.read_text() + text.replace("\n        ", "\n").replace("\n    {", "\n    "))
    change(triangle, TEST, "import area", "import area, largest, total")
    (triangle / TEST).write_text((triangle / TEST).read_text() + TESTS)
    rounded = "largest: output rounded to float16"
    assert survivors(triangle) == [rounded, "total: an argument changed in place", "total: output rounded to float16"]
    # And this is what it would be without looking.
    blind = "import dojo.proofs.killing as killing", "killing.Trial._reference_passes = lambda self, test: True"
    assert survivors(triangle, *blind) == [rounded]


class TestBatches:
    def do(self, things):
        for thing in things:
            if thing == "dies":
                os._exit(1)
            if thing == "hangs":
                time.sleep(60)
            yield thing, os.getpid()
            if thing == "stops":
                return

    def said(self, things, seconds=20.0, width=1):
        return list(run_batches(things, self.do, 4, seconds, width))

    @pytest.mark.parametrize("width", [1, 2])
    def test_several_share_a_child(self, width):
        said = self.said(list("abcdefghij"), width=width)
        assert sorted(one.thing for one in said) == list("abcdefghij")
        assert sorted(one.answer[0] for one in said) == list("abcdefghij")
        assert len({one.answer[1] for one in said}) == 3
        assert [one.thing for one in said if one.alone] == ["a", "e", "i"] if width == 1 else True

    def test_one_that_dies_costs_only_itself(self):
        said = self.said(["a", "dies", "b", "c", "dies"])
        assert [(one.thing, one.answer and one.answer[0], one.alone) for one in said] == [
            ("a", "a", True), ("dies", None, False), ("b", "b", True), ("c", "c", False), ("dies", None, False),
        ]  # fmt: skip

    def test_one_that_hangs_costs_only_itself(self):
        said = self.said(["a", "hangs", "b"], seconds=2.0)
        assert [(one.thing, one.answer and one.answer[0]) for one in said] == [("a", "a"), ("hangs", None), ("b", "b")]

    def test_what_is_left_by_one_that_stops_goes_to_another(self):
        said = self.said(["a", "stops", "b"])
        assert [(one.thing, one.alone) for one in said] == [("a", True), ("stops", False), ("b", True)]

    def test_no_child_is_left_where_the_caller_stops(self):
        news = run_batches(["a", "hangs"], self.do, 1, 60.0, 2)
        next(news)
        news.close()
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)


def test_a_size_is_baked_in_where_it_is_read():
    """`np.shape` is a function that never changes: what is replaced is its call."""
    from dojo.proofs.mutants import _baked_constants

    source = 'def f(x):\n    if np.shape(x)[0] != len(x) or x.ndim > 2:\n        raise ValueError(f"{x.shape}")\n'
    changes = [mutant.change for mutant in _baked_constants(source)]
    assert sorted(changes) == [f"{text} -> its first value" for text in ("len(x)", "np.shape(x)", "x.ndim")]


def test_an_argument_that_nothing_reads_makes_no_mutant():
    from dojo.proofs.mutants import _ignored_arguments

    source = "def fit(self, x, y=None, *, k=3):\n    return x * k\n"
    assert [mutant.change for mutant in _ignored_arguments(source)] == ["fit: argument k ignored, always 3"]
