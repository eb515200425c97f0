"""What a proof leaves out must be what can't matter: a test is left out only where it runs nothing of a change."""

from __future__ import annotations

import pytest

from dojo.proofs.reach import Reach, changed_units, units_of
from tests.proofs.test_proofs import REFERENCE, change, check, dojo, proof

__all__ = ["dojo"]  # a fixture

SOURCE = """\
import math
from functools import cache

LIMIT = 3


@cache
def area(r):
    if r > LIMIT:
        r = LIMIT

    return math.pi * r * r


class Disc:
    sides = 1

    def __init__(self, r):
        self.r = r

    def grow(self, by=1):
        def add(x):
            return x + by

        self.r = add(self.r)
"""


def names(source: str, patched: str) -> list[str] | None:
    found = changed_units(source, patched)
    lines = source.splitlines()
    return None if found is None else [lines[unit.body - 2].split("(")[0].split()[-1] for unit in found]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("        r = LIMIT\n", "        r = 0\n", ["area"]),
        ("        r = LIMIT\n\n", "        r = LIMIT\n    else:\n        r = 0\n\n", ["area"]),
        ("x + by", "x - by", ["grow"]),
        ("        self.r = r\n", "        self.r = -r\n", ["__init__"]),
        ("LIMIT = 3", "LIMIT = 4", None),
        ("import math\n", "import cmath as math\n", None),
        ("@cache\n", "", None),
        ("by=1", "by=2", None),
        ("    sides = 1\n", "    sides = 2\n", None),
        ("class Disc:", "def other():\n    return 1\n\n\nclass Disc:", None),
        ("self.r = add(self.r)\n", "self.r = add(self.r)\n\n    def shrink(self):\n        self.r = 0\n", None),
    ],
)
def test_the_functions_in_which_a_patch_differs(old, new, where):
    assert old in SOURCE
    assert names(SOURCE, SOURCE.replace(old, new, 1)) == where


def test_two_functions_changed_at_once():
    assert names(SOURCE, SOURCE.replace("r * r", "r").replace("x + by", "x")) == ["area", "grow"]


def test_a_decorated_function_begins_with_its_decorator():
    assert [(unit.first, unit.body, unit.last) for unit in units_of(SOURCE)] == [(7, 9, 12), (18, 19, 19), (21, 22, 25)]


def test_a_test_of_which_nothing_was_seen_counts_as_one_that_runs_everything():
    units = units_of(SOURCE)[:1]
    reach = Reach(functions={"area": {7}, "disc": {18, 22}, "elsewhere": set()}, calls={"area": {"area"}})
    assert [reach.runs(test, units) for test in ("area", "disc", "elsewhere", "never run")] == [True, False, True, True]
    assert reach.runs("disc", None)
    assert [reach.gets(test, "area") for test in ("area", "never run")] == [True, True]
    assert not reach.gets("area", "Disc.grow")
    assert reach.can_spoil("area", "zeros")


def test_a_cache_does_not_hide_what_a_test_runs(dojo):
    """The warm-up has filled the cache: without a module made anew, no test would seem to run the function."""
    change(dojo, REFERENCE, "import numpy as np\n", "from functools import cache\n\nimport numpy as np\n")
    change(dojo, REFERENCE, "def words(text: str)", "@cache\ndef words(text: str)")
    survived = proof(check(dojo, "--mutants"), "mutants")["problems"]
    assert not [line for line in survived if "words()" in line], survived
