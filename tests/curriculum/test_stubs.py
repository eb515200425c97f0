"""The learner's code under the new lesson: what is taken, what is kept, what is a conflict."""

from __future__ import annotations

import ast

import pytest

from dojo.curriculum import stubs
from dojo.curriculum.stubs import LESSON, WHOLE, Merged, merge

BASE = '''"""Means ∑xᵢ/n

The lesson, with √ and ∑.
"""

import math


def mean(x: list[float]) -> float:
    """The mean of `x`."""
    raise NotImplementedError


# About spreads.
def spread(x: list[float], ddof: int = 0) -> float:
    """The spread of `x`: √(∑d²/n)."""
    raise NotImplementedError


class Running:
    """A mean that grows."""

    def __init__(self) -> None:
        """An empty one."""
        raise NotImplementedError

    def add(self, x: float) -> None:
        """Add ∂x."""
        raise NotImplementedError
'''

# A learner's file: an import, a constant and a helper of their own, comments, odd formatting.
YOURS = (
    BASE.replace("import math\n", "import math\nfrom fractions import Fraction  # exact\n\nZERO = Fraction(0)\n")
    .replace(
        '"""The mean of `x`."""\n    raise NotImplementedError\n',
        '"""The mean of `x`."""\n    # ∑ first, n last\n    total = _sum( x )   # mine\n'
        "    return total/len(x)\n    # done\n\n\ndef _sum(x):\n    return sum(x)\n",
    )
    .replace(
        '"""Add ∂x."""\n        raise NotImplementedError',
        '"""Add ∂x."""\n        self.total += x  # ∂\n        self.n+=1',
    )
)


def new(*changes: tuple[str, str], base: str = BASE) -> str:
    for old, text in changes:
        assert base.count(old) == 1, old
        base = base.replace(old, text)
    ast.parse(base)
    return base


def test_nothing_new():
    assert merge(BASE, YOURS, BASE).text == YOURS


def test_nothing_yours():
    assert merge(BASE, BASE, new(("The lesson", "A lesson"))).text == new(("The lesson", "A lesson"))


@pytest.mark.parametrize(
    ("old", "text"),
    [
        ("The lesson, with √ and ∑.", "A better lesson: ∫, λ.\n\nTwo paragraphs."),
        ("The mean of `x`.", "The mean of `x`, ∑/n.\n\n    Raises ValueError if it is empty."),
        ("A mean that grows.", "A mean μ that grows."),
        ("Add ∂x.", "Add one number."),
        ("The spread of `x`: √(∑d²/n).", "The spread."),
        ("# About spreads.", "# About spreads, again.\n# And more."),
        ("mean(x: list[float])", "mean(x: 'list[float] | tuple[float, ...]')"),
        ("ddof: int = 0", "ddof: int = 1"),
        ("class Running:", "class Running(object):"),
    ],
)
def test_each_piece_that_is_renewed_stands_alone_in_the_change(old, text):
    """Yours with the same exchange of text, exactly: nothing else moves."""
    merged = merge(BASE, YOURS, new((old, text)))
    assert merged.conflicts == ()
    assert merged.text == new((old, text), base=YOURS)


def test_a_new_function_stands_where_the_stub_has_it():
    added = "\n\n# The middle.\ndef median(x: list[float]) -> float:\n"
    added += '    """The middle one."""\n    raise NotImplementedError\n'
    stub = new(("\n\n# About spreads.", added + "\n\n# About spreads."))
    merged = merge(BASE, YOURS, stub)
    assert merged.conflicts == ()
    assert merged.text == YOURS.replace("    # done\n", "    # done\n" + added)


def test_a_new_method_and_a_new_constant():
    method = '\n    def clear(self) -> None:\n        """Begin again."""\n        raise NotImplementedError\n'
    stub = new(("import math\n", "import math\n\nEPS = 1e-8\n")) + method
    merged = merge(BASE, YOURS, stub)
    assert merged.text.endswith("self.n+=1\n" + method)
    assert merged.text.count("\nEPS = 1e-8\n") == 1
    assert "ZERO = Fraction(0)" in merged.text


def test_imports_are_added_and_replaced():
    stub = new(("import math\n", "from __future__ import annotations\n\nimport math\nimport random\n"))
    text = merge(BASE, YOURS, stub).text
    for line in ("import math", "import random", "from fractions import Fraction  # exact"):
        assert text.count(line) == 1
    assert text.index("__future__") < text.index("import math")
    compile(text, "x", "exec")


def test_a_longer_import_takes_the_place_of_the_shorter():
    base = new(("import math\n", "from math import pi\n"))
    yours = new(("import math\n", "from math import pi\n"), base=YOURS)
    stub = new(("import math\n", "from math import pi, sqrt\n"))
    text = merge(base, yours, stub).text
    assert text.count("from math import") == 1
    assert "from math import pi, sqrt" in text


def test_a_removed_stub_goes_and_a_written_one_stays():
    start, end = BASE.index("\n\n# About"), BASE.index("\n\nclass")
    without_spread = BASE[:start] + BASE[end:]
    merged = merge(BASE, YOURS, without_spread)
    assert "def spread" not in merged.text
    assert "def _sum" in merged.text
    start, end = BASE.index("\n\ndef mean"), BASE.index("\n\n# About")
    merged = merge(BASE, YOURS, BASE[:start] + BASE[end:])
    assert "total = _sum( x )   # mine" in merged.text


class TestConflicts:
    def check(self, yours: str, stub: str, *names: str) -> str:
        merged = merge(BASE, yours, stub)
        assert merged.conflicts == names
        return merged.text

    def test_parameters_changed_under_a_body_that_is_written(self):
        stub = new(("mean(x: list[float])", "mean(x: list[float], axis: int)"), ("The lesson", "A lesson"))
        text = self.check(YOURS, stub, "mean")
        assert text == YOURS.replace("The lesson", "A lesson")

    def test_parameters_changed_over_a_stub(self):
        stub = new(("ddof: int = 0", "*, ddof: int"))
        assert "*, ddof: int" in self.check(YOURS, stub)

    def test_the_same_docstring(self):
        yours = YOURS.replace("The mean of `x`.", "The mean. (My note.)")
        text = self.check(yours, new(("The mean of `x`.", "The mean μ.")), "mean")
        assert text == yours

    def test_notes_in_the_lesson(self):
        yours = YOURS.replace("The lesson,", "My notes. The lesson,")
        stub = new(("The lesson,", "The renewed lesson,"), ("Add ∂x.", "Add x."))
        assert self.check(yours, stub, LESSON) == yours.replace("Add ∂x.", "Add x.")

    def test_a_method(self):
        stub = new(("add(self, x: float)", "add(self, *x: float)"))
        assert self.check(YOURS, stub, "Running.add") == YOURS

    def test_a_helper_that_has_the_name_of_a_new_function(self):
        stub = BASE + '\n\ndef _sum(x):\n    """The sum."""\n    raise NotImplementedError\n'
        assert self.check(YOURS, stub, "_sum") == YOURS

    def test_a_body_that_the_new_stub_gives(self):
        yours = YOURS.replace('n)."""\n    raise NotImplementedError', 'n)."""\n    return 1.0')
        stub = BASE.replace('n)."""\n    raise NotImplementedError', 'n)."""\n    return math.sqrt(2)')
        assert self.check(yours, stub, "spread") == yours

    @pytest.mark.parametrize("yours", ["def mean(x:\n", "x = 1\n" * 3, ""])
    def test_what_is_no_python_stays_as_it_is(self, yours):
        merged = merge(BASE, yours, new(("The lesson", "A lesson")))
        if yours.startswith("def"):
            assert merged.conflicts == (WHOLE,)
        assert merged.text == yours
        assert merged.conflicts

    def test_an_unknown_base(self):
        assert merge(None, YOURS, BASE).conflicts == (WHOLE,)
        assert merge(None, BASE, BASE).conflicts == ()

    def test_a_function_that_became_a_class(self):
        start, end = BASE.index("def mean"), BASE.index("\n\n# About")
        yours = BASE[:start] + "class mean:\n    def __new__(cls, x):\n        return sum(x)\n" + BASE[end:]
        assert self.check(yours, new(("The mean of `x`.", "The mean.")), "mean") == yours


@pytest.mark.parametrize(
    "mine",
    [
        "def mean(x: list[float]) -> float: return sum(x) / len(x)\n",
        'def mean(x: list[float]) -> float:\n\t"""The mean of `x`."""\n\treturn sum(x) / len(x)\n',
        "def mean(x: list[float]) -> float:\n    return sum(x) / len(x)\n",
        'def mean(\n    x: list[float],\n) -> float:\n    """The mean of `x`."""\n    return max(x)',
        "mean = lambda x: sum(x) / len(x)\n",
        "@staticmethod\ndef mean(x: dict[int:2] = {1: 2}) -> float:\n    # why\n    return 1\n",
        "if True:\n    def mean(x):\n        return sum(x) / len(x)\n",
        "x = 1; mean = x\n",
    ],
)
def test_no_way_of_writing_loses_work(mine):
    """Whatever the learner wrote is in the result, and the result is Python."""
    start, end = BASE.index("def mean"), BASE.index("\n\n# About")
    yours = BASE[:start] + mine + BASE[end:]
    changes = [
        ("The mean of `x`.", "The mean μ."),
        ("The lesson", "A lesson"),
        ("import math", "import random"),
    ]
    merged = merge(BASE, yours, new(*changes))
    ast.parse(merged.text)
    for line in mine.splitlines():
        if '"""' not in line:
            assert line in merged.text
    assert merge(BASE, yours, new(changes[1])).text == yours.replace("The lesson", "A lesson")


def test_places_are_counted_in_characters():
    """ast counts bytes: what stands behind a lesson's mathematics on its line stays there."""
    yours = new(('√(∑d²/n)."""', '√(∑d²/n)."""  # μ: see above'), base=YOURS)
    merged = merge(BASE, yours, new(("The spread of", "A spread of")))
    assert merged.text == yours.replace("The spread of", "A spread of")


def test_a_merge_that_would_lose_work_is_not_made(monkeypatch):
    stub = new(("The lesson", "A lesson"))
    monkeypatch.setattr(stubs._Merge, "run", lambda self: self.new.text)
    assert merge(BASE, YOURS, stub) == Merged(YOURS, (WHOLE,))


def test_done_twice_is_done_once():
    stub = new(("The lesson", "A lesson"), ("The mean of `x`.", "The mean."), ("Add ∂x.", "Add x."))
    once = merge(BASE, YOURS, stub).text
    assert merge(BASE, once, stub).text == once
    assert merge(stub, once, stub).text == once


def test_windows_line_ends():
    stub = new(("The lesson", "A lesson"))
    merged = merge(BASE, YOURS.replace("\n", "\r\n"), stub)
    assert merged.text == YOURS.replace("The lesson", "A lesson").replace("\n", "\r\n")
