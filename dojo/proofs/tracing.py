"""Every test is run once more on the reference, to see what it reaches: which functions, lines and answers.

It runs on a module that is made anew for it, so that no cache hides a call.  What
its ranks run is carried back.
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from types import ModuleType
from typing import Any

from dojo.checks.replay import become_quiet, replay
from dojo.curriculum.katas import Kata
from dojo.curriculum.solutions import public_names
from dojo.curriculum.swap import module_from_source, swap_in
from dojo.proofs.carried import carrying
from dojo.proofs.reach import Reach
from dojo.proofs.session import Session
from dojo.proofs.wrong_on_purpose import APPLIES, TRIVIAL, WRAPPED, noting, targets, view_of, wrap

SPOILS = TRIVIAL | WRAPPED


def record(session: Session, kata: Kata, with_lines: bool) -> Reach:
    """Run every test of the kata and see what it reaches.  For a forked child: nothing is put back."""
    become_quiet(session.config)
    source = kata.reference.read_text(encoding="utf-8")
    reach = Reach(spoilable=set())
    session.judge.patience = 60.0  # tracing takes time
    current = sys.modules[kata.import_name]
    for item in session.items[kata]:
        view = _noting_view(module_from_source(source, kata.import_name, kata.reference), kata, reach, item.nodeid)
        swap_in(session.items[kata], current, view)
        current = view
        functions, lines = set[int](), set[int]()
        trace = _tracer(str(kata.reference), functions, lines if with_lines else None)
        seen = (functions, lines, reach.calls[item.nodeid], reach.spoilable)

        def add(there: Any, seen: Any = seen) -> None:
            for mine, theirs in zip(seen, there, strict=True):
                mine |= theirs

        with carrying(partial(tuple, seen), add):
            sys.settrace(trace)
            threading.settrace(trace)
            try:
                outcome = replay(item)
            finally:
                sys.settrace(None)
                threading.settrace(None)
        if outcome.error is None:
            reach.functions[item.nodeid] = functions
            if with_lines:
                reach.lines[item.nodeid] = lines
        else:
            reach.calls.pop(item.nodeid, None)
    return reach


def _noting_view(module: ModuleType, kata: Kata, reach: Reach, test: str) -> ModuleType:
    """`module` as the tests shall see it, noting in `reach` each answer that they get and how it can be spoiled."""
    calls = reach.calls.setdefault(test, set())
    view = view_of(module)
    for target in targets(module, public_names(kata.stub)):

        def note(answer: Any, args: Any, kwargs: Any, target: str = target) -> None:
            calls.add(target)
            for spoil, function in SPOILS.items():
                if not reach.can_spoil(target, spoil) and APPLIES[function](answer, args, kwargs):
                    assert reach.spoilable is not None
                    reach.spoilable.add((target, spoil))

        wrap(view, target, partial(noting, note=note))
    return view


def _tracer(file: str, functions: set[int], lines: set[int] | None) -> Any:
    def trace(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != file:
            return None
        functions.add(frame.f_code.co_firstlineno)
        return None if lines is None else follow

    def follow(frame: Any, event: str, argument: Any) -> Any:
        assert lines is not None
        lines.add(frame.f_lineno)
        return follow

    return trace
