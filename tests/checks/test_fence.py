"""What a learner's code changes of Python is put back and named; what libraries set anew is nobody's fault."""

from __future__ import annotations

import builtins
import math
import os
import time

import pytest

from dojo.checks.fence import Ledger, told_of_changes


@pytest.mark.parametrize(("module", "name"), [(builtins, "len"), (math, "pi"), (math, "sqrt"), (time, "sleep")])
def test_a_change_is_put_back_and_named(monkeypatch, module, name):
    ledger = Ledger()
    before = getattr(module, name)
    monkeypatch.setattr(module, name, lambda x: 3)
    found = ledger.changes()
    assert getattr(module, name) is before
    assert [title for title, _ in found] == [f"{module.__name__}.{name}"]
    assert f"changed {module.__name__}.{name}" in told_of_changes([title for title, _ in found])


def test_a_time_zone_that_is_set_anew_is_no_change(monkeypatch):
    """pandas' import calls time.tzset, in the middle of whichever test imports it first."""
    ledger = Ledger()
    monkeypatch.setitem(os.environ, "TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert ledger.changes() == []
    finally:
        monkeypatch.undo()
        time.tzset()


def test_nothing_is_nothing():
    assert Ledger().changes() == []
