"""What the search for a cause asks of the tests."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from dojo.diagnosis.evidence import Budget, load_once, load_what_they_import

TESTS = """
class TestOne:
    def test_a(self):
        def inner():
            from oracle_far_inside import part
            return part
        assert inner()

def test_b():
    import no_such_oracle_anywhere
"""


def test_oracles_are_loaded_before_the_children_that_need_them(tmp_path, monkeypatch):
    (tmp_path / "oracle_far_inside.py").write_text("part = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = ModuleType("test_k01_x")
    exec(TESTS, vars(module))
    parent = type("Module", (), {"obj": module})()
    item = SimpleNamespace(getparent=lambda kind: parent)
    load_what_they_import([item])
    assert "oracle_far_inside" in sys.modules
    del sys.modules["oracle_far_inside"]


@pytest.mark.parametrize("by_clock", [True, False])
def test_what_is_done_in_a_pause_takes_nothing_of_the_budget(by_clock):
    budget = Budget(1.0, by_clock)
    before = budget.left
    with budget.paused():
        sum(range(3_000_000))
    assert budget.left == pytest.approx(before, abs=0.02)


def test_what_a_first_run_has_loaded_is_loaded_once_and_its_seconds_are_given_back(tmp_path, monkeypatch):
    (tmp_path / "loaded_at_first_use.py").write_text("total = sum(range(6_000_000))\n")
    monkeypatch.syspath_prepend(tmp_path)
    budget = Budget(1.0)
    before = budget.left
    load_once(["loaded_at_first_use", "no_such_part_anywhere"], budget)
    assert sys.modules.pop("loaded_at_first_use").total
    assert budget.left > before + 0.01
