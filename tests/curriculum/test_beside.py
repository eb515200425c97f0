"""Two files, function by function."""

from __future__ import annotations

import pytest

from dojo.commands import show_beside
from dojo.curriculum.beside import beside, parts

MINE = '''"""A lesson."""

import math

SIZE = 3


def one(x):
    """What one does."""
    y = x + 1
    return y


def same(x):
    return   x  # as it is


def helper():
    return 0


class Box:
    """A box."""

    def __init__(self, n):
        self.n = n

    def get(self):
        return self.n
'''
THEIRS = '''"""The reference."""

SIZE = 3


# Why it is so.
def one(x):
    # Adding comes first.
    return x + 1


def same(x):
    return x


class Box:
    def __init__(self, n):
        self.n = n

    def get(self):
        return abs(self.n)
'''


@pytest.fixture
def files(tmp_path):
    mine, theirs = tmp_path / "mine.py", tmp_path / "theirs.py"
    mine.write_text(MINE)
    theirs.write_text(THEIRS)
    return mine, theirs


def test_parts_have_their_comments_and_no_docstrings():
    found = {part.name: part for part in parts(THEIRS)}
    assert list(found) == ["", "one", "same", "Box.__init__", "Box.get"]
    assert found["one"].lines == ("# Why it is so.", "def one(x):", "    # Adding comes first.", "    return x + 1")
    assert found["Box.get"].lines == ("def get(self):", "    return abs(self.n)")
    assert '"""' not in "\n".join(line for part in parts(MINE) for line in part.lines)


def test_what_is_the_same_to_python_is_the_same(files):
    both = {part.name: part for part in beside(*files)}
    assert [name for name, part in both.items() if part.same] == ["", "same", "Box.__init__"]
    assert both["helper"].theirs is None
    assert list(both)[-1] == "helper"


@pytest.mark.parametrize("width", [80, 200])
def test_the_two_are_shown_with_the_reasons(files, width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    assert show_beside(*files)
    said = capsys.readouterr().out
    for text in ("one()", "same()   the same", "Box.get", "# Adding comes first.", "y = x + 1", "helper()", "(none)"):
        assert text in said
    together = any("y = x + 1" in line and "def one(x):" in line for line in said.splitlines())
    assert together == (width == 200)


def test_two_files_that_are_one_are_left_to_others(files):
    assert not show_beside(files[1], files[1])


def test_a_file_that_cannot_be_read_is_left_to_others(files):
    files[0].write_text("def one(:\n")
    assert not show_beside(*files)
