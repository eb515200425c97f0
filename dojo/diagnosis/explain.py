"""What a learner hears of a failed test.

What the test called, then, stopping at the first that fits: what isn't there at all
(type, length, shape, dtype, device), NaN and infinity, a mistake from the kata's TOML
that gives the same answers, a simple relation between the two answers, a small change of
the reference that gives them, plain numbers.  A mistake's sentence is also added to the
first ones, as it says why.  A cause is told only where it explains every test of that
function.  Nothing is computed until a test fails, and then in a forked child: a
mistake that hangs or crashes costs the sentence, not the run.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dojo.checks.compare import MISSING, Wrong, as_numpy, is_scalar, isclose
from dojo.checks.deadline import DeadlineExceeded
from dojo.checks.replay import OPERANDS, Child, become_quiet
from dojo.checks.verdict import CUT_OFF_SOME, cut_off, frames, is_gradcheck, line_in
from dojo.curriculum.katas import Kata

SHOWN = 4
"""Numbers of an array that are printed from each side."""


@dataclass
class Finding:
    """What a failed test comes to: sentences for the learner, the function to edit, and a line of its file."""

    lines: list[str]
    function: str | None = None
    line: int | None = None
    says: list[str] = field(default_factory=list)  # the sentences of mistakes that give the same answers
    called: list[str] = field(default_factory=list)  # what the test called, at the head of `lines`
    cause: str = ""  # what of `lines` says why, where that is known


def explain(item: pytest.Item, kata: Kata, solution: Path, error: BaseException) -> Finding:
    """The finding for the test `item`, which failed with `error` while it judged `solution`."""
    finding = Finding([])
    found = _search_in_child(item, kata, solution, error)
    function = found.get("function") or _function_in(error, solution)
    finding.function = function
    finding.says = found.get("says", [])
    finding.called = found.get("story", [])
    wrong = _as_wrong(item, error)
    who = f"{function}()" if function else "The answer"
    if finding.called and (wrong is None or not wrong.where):
        who = ""
    if wrong is None:
        finding.lines = _of_gradients(error, who, found) or _crash(error, who, solution)
    else:
        finding.lines = _of_the_test(item, wrong, function, found) or _two_of_yours(wrong, found) or _facts(wrong, who)
    finding.lines = [*finding.called, *finding.lines]
    finding.cause = " ".join(finding.says) or found.get("relation") or found.get("hypothesis") or ""
    if finding.says:
        finding.lines += [*finding.says, "  (your answer equals what that mistake gives)"]
        if len(finding.says) > 1:
            finding.lines[-1] = "  (your answer equals what either of these mistakes gives)"
    elif finding.cause:
        finding.lines.append(finding.cause)
    finding.line = line_in(error, solution) if wrong is None else _definition(solution, function)
    return finding


def not_judged(error: BaseException, solution: Path) -> Finding:
    """The finding for an answer that couldn't be judged: what ended it, and on which line."""
    lines: list[str]
    line = line_in(error, solution)
    if isinstance(error, DeadlineExceeded):
        at = f" It stood on line {line}: {_source(solution, line)}" if line else ""
        lines = [f"Not done after {error.seconds:g} s, so it was ended: an endless loop?{at}"]
    elif isinstance(error, MemoryError):
        lines = [f"Out of memory{f': {error}' if str(error) else ''}."]
    elif isinstance(error, SyntaxError) and line is not None:
        lines = [f"Python can't read line {line}: {error.msg}", f"    {(error.text or '').strip()}"]
    elif isinstance(error, RecursionError):
        lines = ["A function calls itself without end (RecursionError)."]
    else:
        text = " ".join(str(error).split())
        lines = [f"{type(error).__name__}: {_cut(text, 300)}" if text else type(error).__name__]
        if line:
            lines.append(f"    line {line}: {_source(solution, line)}")
    return Finding(lines, line=line)


# --- what is plainly there -------------------------------------------------------------------------


def _as_wrong(item: pytest.Item, error: BaseException) -> Wrong | None:
    """The error as Wrong: itself, or made of the two sides of a plain `assert a == b`."""
    if isinstance(error, Wrong):
        return error
    if isinstance(error, AssertionError):
        operands = item.stash.get(OPERANDS, None)
        message = str(error).split("\n", 1)[0]
        if operands is not None and _in_assert(error):
            return Wrong("equal", message, actual=operands[0], expected=operands[1])
        return Wrong("own", message or "a check of the test failed", evidence=message)
    if isinstance(error, pytest.fail.Exception):
        return Wrong("own", str(error), evidence=str(error))
    return None


def _in_assert(error: AssertionError) -> bool:
    return str(error).startswith(("assert ", "Comparing"))


def _two_of_yours(wrong: Wrong, found: dict[str, Any]) -> list[str]:
    """For a test that compares one answer of the learner's with another."""
    sides = found.get("sides")
    if sides is None or wrong.kind not in ("values", "equal", "length", "shape", "dtype"):
        return []
    lines = [f"The test compares two answers of yours, and they differ{f' at {wrong.where}' if wrong.where else ''}:"]
    lines += [f"  {sides[0]}", f"  {sides[1]}"]
    facts = _facts(wrong, "")
    renamed = [line.replace("  yours   ", "  the one ", 1).replace("  expected", "  other   ", 1) for line in facts[1:]]
    return [*lines, *renamed, "Neither is the expected answer: one of the two, or both, may be wrong."]


def _of_the_test(item: pytest.Item, wrong: Wrong, function: str | None, found: dict[str, Any]) -> list[str]:
    """For what the test worked out of an answer: a truth value of its own is no answer of the learner's."""
    if wrong.kind in ("values", "equal") and isinstance(wrong.actual, bool) and isinstance(wrong.expected, bool):
        if found.get("truth"):
            return []
        what = f"`{found['check']}`" if found.get("check") else "a check of the test"
        return [f"{what} is {wrong.actual}{f' at {wrong.where}' if wrong.where else ''}, expected {wrong.expected}"]
    if wrong.kind == "own" and isinstance(item, pytest.Function):
        from dojo.diagnosis.sides import helpers

        # A class that the test file made for itself is no name that the learner knows.
        message = wrong.message
        for name in helpers(item.module):
            message = re.sub(rf"\b{name}(?:\(\))?(?=\W|$)", f"{function}()" if function else "Your answer", message)
        return [message]
    return []


def _of_gradients(error: BaseException, who: str, found: dict[str, Any]) -> list[str]:
    """For torch's own errors: of a graph that doesn't reach back, and of gradcheck."""
    its = f"{who}: the" if who else "its"
    if cut_off(error):
        if CUT_OFF_SOME in str(error):
            # Of several that it was asked for, torch doesn't say which; a parameter may be among them.
            return [
                f"{its} output no longer depends on all that the test differentiates it by (arguments or parameters): "
                "was one of them detached, or used under no_grad?"
            ]
        inputs = " and ".join(f"`{name}`" for name in found.get("gradient", [])) or "what went in"
        return [f"{its} output no longer depends on {inputs}: was it detached, or computed under no_grad?"]
    if is_gradcheck(error):
        return [f"{its} gradient isn't the one that finite differences give", *_jacobians(str(error))]
    return []


def _jacobians(text: str) -> list[str]:
    """The first numbers of the two Jacobians that gradcheck tells of."""
    found = re.findall(r"(numerical|analytical):\s*tensor\(([^)]*?)(?:,\s*\w+=|\))", text)
    names = {"numerical": "expected", "analytical": "yours   "}
    return [f"  {names[kind]}  {_cut(' '.join(numbers.split()), 70)}" for kind, numbers in reversed(found)]


def _facts(wrong: Wrong, who: str) -> list[str]:
    at = f"{who}{wrong.where}"
    return [line.strip() if i == 0 else line for i, line in enumerate(_facts_at(wrong, at))]


def _facts_at(wrong: Wrong, at: str) -> list[str]:
    if wrong.kind == "values" and wrong.actual is not MISSING:
        return _values(wrong, at)
    if wrong.kind == "equal" and wrong.message != "differs" and isinstance(wrong.expected, dict):
        return [f"{at} is wrong: it {wrong.message}"]
    if wrong.kind == "equal":
        return [f"{at} is wrong.", *_sides(wrong.actual, wrong.expected)]
    if wrong.kind == "length":
        return [f"{at} is wrong: it {wrong.message}", *_sides(wrong.actual, wrong.expected)]
    if wrong.kind == "type":
        hint = ": is a `return` missing?" if wrong.actual is None else ""
        return [f"{at} {wrong.message}{hint}"]
    if wrong.kind == "shape":
        return [f"{at} is wrong: it {wrong.message}", *_shape_hint(wrong.actual, wrong.expected)]
    if wrong.kind in ("dtype", "device"):
        return [f"{at} is wrong: it {wrong.message}"]
    if wrong.kind == "raises":
        return [f"{at} {wrong.message}"]
    return [wrong.message]


def _values(wrong: Wrong, at: str) -> list[str]:
    import numpy as np

    actual, expected = as_numpy(wrong.actual), as_numpy(wrong.expected)
    if actual.ndim == 0:
        kind = f" is {actual[()]}, expected {_one(expected[()])}" if not _finite(actual) else " is wrong"
        return [f"{at}{kind}", *_sides(wrong.actual, wrong.expected)]
    bad = ~isclose(actual, expected, *wrong.tolerances)
    places = np.argwhere(bad)
    odd = _odd(actual, expected)
    if odd is not None:
        mask, name = odd
        first = np.argwhere(mask)[0].tolist()
        lines = [f"{at} is wrong: {int(mask.sum())} of {actual.size} values are {name}, the first at {first}"]
    else:
        lines = [f"{at} is wrong: {len(places)} of {actual.size} values differ"]
        if expected.dtype.kind != "b" and actual.dtype.kind in "iuf":
            with np.errstate(all="ignore"):
                gap = np.abs(actual.astype(float) - expected.astype(float))
            gap[~bad | ~np.isfinite(gap)] = 0
            worst = np.unravel_index(int(gap.argmax()), gap.shape)
            if gap[worst] > 0:
                lines[0] += f", worst by {gap[worst]:.3g} at {[int(i) for i in worst]}"
    return lines + _rows(actual, expected, places[0])


def _odd(actual: Any, expected: Any) -> tuple[Any, str] | None:
    """Where the answer is NaN or infinite and shouldn't be, and which of the two it is first."""
    import numpy as np

    if actual.dtype.kind not in "fc" or expected.dtype.kind not in "biufc":
        return None
    for test, name in ((np.isnan, "NaN"), (np.isinf, "infinite")):
        mask = test(actual) & ~test(expected)
        if mask.any():
            return mask, name
    return None


def _finite(value: Any) -> bool:
    import numpy as np

    return value.dtype.kind not in "fc" or bool(np.isfinite(value).all())


def _rows(actual: Any, expected: Any, first: Any) -> list[str]:
    """Some numbers from the row of the first difference, from both sides, one under the other."""
    row = tuple(int(i) for i in first[:-1])
    start = max(0, min(int(first[-1]), actual.shape[-1] - SHOWN))
    cut = slice(start, start + SHOWN)
    more = " …" if start + SHOWN < actual.shape[-1] else ""
    pairs = [(_one(a), _one(e)) for a, e in zip(actual[row][cut], expected[row][cut], strict=True)]
    widths = [max(len(a), len(e)) for a, e in pairs]
    where = f"   at {[*row, start]}" if actual.ndim > 1 or start else ""
    return [
        "  yours     " + "  ".join(a.rjust(w) for (a, _), w in zip(pairs, widths, strict=True)) + more + where,
        "  expected  " + "  ".join(e.rjust(w) for (_, e), w in zip(pairs, widths, strict=True)) + more,
    ]


def _sides(actual: Any, expected: Any) -> list[str]:
    if is_scalar(actual) and is_scalar(expected):
        mine, wanted = _one(as_numpy(actual)[()]), _one(as_numpy(expected)[()])
        if mine == wanted:
            mine, wanted = repr(actual), repr(expected)
    else:
        mine, wanted = _around_difference(repr(actual), repr(expected))
    return [f"  yours     {mine}", f"  expected  {wanted}"]


def _around_difference(one: str, other: str, width: int = 70) -> tuple[str, str]:
    """Two long texts, cut so that the place where they part is in sight."""
    one, other = one.replace("\n", " "), other.replace("\n", " ")
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = max(0, same - 20) if max(len(one), len(other)) > width else 0
    cut = [
        f"{'… ' if start else ''}{t[start : start + width]}{' …' if len(t) > start + width else ''}"
        for t in (one, other)
    ]
    return cut[0], cut[1]


def _one(value: Any) -> str:
    """A number with as many digits as it takes to see a difference, and no more."""
    kind = getattr(value, "dtype", None)
    if isinstance(value, bool | int | str | bytes) or (kind is not None and kind.kind in "biuSU"):
        return str(value)
    if isinstance(value, complex) or (kind is not None and kind.kind == "c"):
        return f"{value:.4g}"
    try:
        number = float(value)
    except (TypeError, ValueError):
        return _cut(repr(value), 60)
    return f"{number:.4f}" if 1e-3 <= abs(number) < 1e5 or number == 0 else f"{number:.4g}"


def _shape_hint(actual: Any, expected: Any) -> list[str]:
    mine, wanted = tuple(actual.shape), tuple(expected.shape)
    if sorted(mine) == sorted(wanted) and len(mine) <= 5:
        fits = [axes for axes in permutations(range(len(mine))) if tuple(mine[a] for a in axes) == wanted]
        if len(mine) == 2:
            return ["The axes are swapped: the transpose would have the right shape."]
        return [f"The axes are in another order: {' or '.join(f'transpose{a}' for a in fits[:2])} would fit."]
    without = tuple(n for n in mine if n != 1)
    if without == tuple(n for n in wanted if n != 1):
        return [f"An axis of length 1 is too {'many' if len(mine) > len(wanted) else 'few'}."]
    if len(mine) == len(wanted) + 1 and any(mine[:i] + mine[i + 1 :] == wanted for i in range(len(mine))):
        axis = next(i for i in range(len(mine)) if mine[:i] + mine[i + 1 :] == wanted)
        return [f"Without axis {axis} the shape would be right: is a sum or a mean over it missing?"]
    return []


def _crash(error: BaseException, who: str, solution: Path) -> list[str]:
    if line_in(error, solution) is not None:
        return not_judged(error, solution).lines
    return [f"{who or 'It'} gave an answer that the test can't use: {type(error).__name__}: {_cut(str(error), 200)}"]


def _source(file: Path, line: int | None) -> str:
    import linecache

    linecache.checkcache(str(file))
    return linecache.getline(str(file), line or 0).strip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[:width]} …"


def _definition(solution: Path, function: str | None) -> int | None:
    """The line on which `function` is defined in `solution`."""
    import ast

    if function is None:
        return None
    try:
        tree = ast.parse(solution.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    defined = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef))
    # The last one of a name is the one that counts.
    return max((n.lineno for n in defined if n.name == function), default=None)


def _function_in(error: BaseException, solution: Path) -> str | None:
    names = [name for path, _, name in frames(error) if path == solution and not name.startswith("<")]
    return names[0] if names else None


# --- what has to be tried: in a child ---------------------------------------------------------------

_told: dict[tuple[int, str], dict[str, Any]] = {}
"""What was found for a function of a module: it holds for all of its failing tests, so it is searched for once."""


def _search_in_child(item: pytest.Item, kata: Kata, solution: Path, error: BaseException) -> dict[str, Any]:
    """What the test called, and what explains it; {} where that can't be found out."""
    from dojo.diagnosis.evidence import RANKS_SECONDS, budget_for

    module = sys.modules.get(kata.import_name)
    if module is None or not hasattr(os, "fork") or not isinstance(item, pytest.Function):
        return {}
    # A deadline that was missed once would be missed again: nothing is replayed for it.
    if isinstance(error, DeadlineExceeded) or (isinstance(error, Wrong) and error.kind == "forbidden"):
        return {}

    def job() -> dict[str, Any]:
        become_quiet(item.config)
        return _search(item, kata, module, solution, error)

    seconds = budget_for(item).clock_left if kata.reference.exists() else RANKS_SECONDS
    found: dict[str, Any] = Child(job, seconds + 5).result() or {}
    if "explains" in found:
        kept: dict[str, Any] = {
            name: found[name] for name in ("says", "keys", "hypothesis", "explains") if name in found
        }
        _told.setdefault((id(module), found["key"]), kept | {"module": module})
    return found


def _search(
    item: pytest.Function, kata: Kata, module: ModuleType, solution: Path, error: BaseException
) -> dict[str, Any]:
    from dojo.diagnosis.evidence import budget_for
    from dojo.diagnosis.fitting import Search
    from dojo.diagnosis.sides import kata_names, sides_at

    search = Search(item, kata, module, solution, budget_for(item))
    first = search.first
    if first is None:
        return {}
    found: dict[str, Any] = {"function": first.function, "story": first.story, "truth": first.truth}
    found["gradient"] = first.gradient
    expects = search.reference_expects()
    if expects is None:
        return found
    sides = sides_at(Path(item.path), first.answer.line, kata_names(item.module, kata.import_name))
    if sides is not None and sides.both_own and not search.expected_is_right(expects):
        found["sides"] = (sides.actual, sides.expected)
    elif sides is not None:
        found["check"] = sides.actual
    found["key"] = first.function or " ".join(sorted(first.called))
    told = _told.get((id(module), found["key"]))
    if told is not None:
        if item.nodeid in told["explains"]:
            found |= {name: told[name] for name in ("says", "hypothesis") if name in told}
            found["relation"] = search.relation_like(told.get("keys", []))
        return found
    found["explains"] = set()
    found["says"] = search.mistakes()
    if not found["says"] and "sides" not in found:
        common = search.common_relations()
        found["keys"] = [relation.key for relation in common]
        found["relation"] = search.relation_like(found["keys"])
    if not found["says"] and not found.get("relation"):
        from dojo.diagnosis.hypotheses import fitting

        found["hypothesis"] = fitting(search)
    if any(found.get(name) for name in ("says", "relation", "hypothesis")):
        found["explains"] = search.evidence.tests
    return found
