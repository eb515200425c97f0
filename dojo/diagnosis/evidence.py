"""How every test of a kata ends for the learner's code: what a cause has to explain.

One test is a coincidence.  All of the kata's tests are run again in a forked child,
those that the run left out (-k, a node id, -x) among them, and what each
called and got comes back.  A cause is confirmed in a child of its own: it must
fail the learner's failing tests with the same answers, and pass where they pass.
"""

from __future__ import annotations

import contextlib
import dis
import importlib
import resource
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic  # as it is now: a learner's code can change what `time` holds
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from dojo.checks.compare import as_numpy, is_array, is_scalar
from dojo.checks.replay import Child, replay
from dojo.checks.verdict import colour_of
from dojo.curriculum.swap import swap_in
from dojo.diagnosis.answers import Answer, agree, answer_of
from dojo.diagnosis.calls import Recorder, parts

SECONDS = 8.0
RANKS_SECONDS = 30.0
"""How long the search for a cause may take, of the processor's time; the second, where tests start
processes that wait for each other, of the clock's."""

A_TEST = 6.0
"""Seconds that one test may take in a search."""

AGAIN = 2.0
"""Seconds up to which a failing test is run again without a look at its calls."""

PAIRS = 12
"""Right answers of a test that are kept, to hold a relation against."""

MayDiffer = Callable[[pytest.Item, Any], bool]
"""Whether a test may end otherwise with a patch (None: with the learner's code) than with the reference."""


class Budget:
    """Time for a search: of the processor, which a busy machine doesn't shorten, or of the clock."""

    def __init__(self, seconds: float, by_clock: bool = False) -> None:
        self.by_clock = by_clock
        self.end = self.now() + seconds
        self.last = monotonic() + 4 * seconds

    def now(self) -> float:
        if self.by_clock:
            return monotonic()
        own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What is done in the block takes nothing of it."""
        began, clock = self.now(), monotonic()
        try:
            yield
        finally:
            self.end += self.now() - began
            self.last += monotonic() - clock

    @property
    def left(self) -> float:
        return min(self.end - self.now(), self.last - monotonic())

    @property
    def clock_left(self) -> float:
        """Seconds of the clock after which whoever waits for a child gives up."""
        return max(0.1, self.last - monotonic())


def budget_for(item: pytest.Item) -> Budget:
    of_kata = (other for other in item.session.items if other.path == item.path)
    with_ranks = any("ranks" in getattr(other, "fixturenames", ()) for other in of_kata)
    return Budget(RANKS_SECONDS, True) if with_ranks else Budget(SECONDS)


@dataclass
class Seen:
    """How one test ended for the learner's code.

    called   the functions and classes of the kata that it calls
    pairs    right answers of the function called last, each with what was expected and the tolerances
    sizes    the sizes among the arguments of the call that gave the answer
    function the name of that call, and `story` its words; `gradient` its arguments that ask for one
    truth    whether that call answers with True or False
    compared how many comparisons its failing line made before; None where it made none
    """

    test: str
    answer: Answer
    todo: bool
    seconds: float
    called: set[str] = field(default_factory=set)
    pairs: list[tuple[Any, Any, tuple[float, float]]] = field(default_factory=list)
    sizes: list[tuple[int, str]] = field(default_factory=list)
    function: str | None = None
    story: list[str] = field(default_factory=list)
    gradient: list[str] = field(default_factory=list)
    truth: bool = False
    compared: int | None = None


@dataclass
class Evidence:
    """What a cause of a failing test must explain."""

    items: dict[str, pytest.Item]  # by their ids
    failing: list[Seen]  # that call the function in question, the cheapest first
    passing: list[Seen]
    others: set[str]  # failing tests that don't call it
    whole: bool  # whether every test could be run in time

    @property
    def tests(self) -> set[str]:
        return {seen.test for seen in self.failing}


def all_tests(item: pytest.Item, judge: Any) -> list[pytest.Item]:
    """All tests of the item's file, collected again where this run has left some out."""
    here = [other for other in item.session.items if other.path == item.path]
    module = item.getparent(pytest.Module)
    if judge is None or module is None or judge.in_file.get(item.path) == len(here):
        return here
    again = list(item.session.genitems(module))
    judge.select(again)
    known = {other.nodeid: other for other in here}
    return [known.get(other.nodeid, other) for other in again]


def learns(item: pytest.Item) -> bool:
    """Whether the test trains for seconds: any wrong gradient may fail it, and to run it again is dear."""
    return item.get_closest_marker("learning") is not None


def load_what_they_import(items: list[pytest.Item]) -> None:
    """Import here what the tests import inside of their functions: oracles, which each child would load anew."""
    for module in {item.getparent(pytest.Module) for item in items}:
        for code in _codes(module.obj) if module is not None else ():
            loaded: Any = None
            for step in dis.get_instructions(code):
                # Whatever is wrong with it is said by the test that needs it.
                with contextlib.suppress(Exception):
                    if step.opname == "IMPORT_NAME":
                        loaded = importlib.import_module(step.argval)
                    elif step.opname == "IMPORT_FROM":
                        getattr(loaded, step.argval)  # transformers loads its parts when they are asked for


def _codes(module: ModuleType) -> Iterator[CodeType]:
    """The code of a test file's own functions, and of those in its classes and within functions."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    methods = [value for cls in own if isinstance(cls, type) for value in vars(cls).values()]
    for function in [*own, *methods]:
        if isinstance(function, FunctionType):
            inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
            yield from _with_inner(inner.__code__)


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    """The code, and that of the functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)


def learners(
    items: list[pytest.Item],
    module: ModuleType,
    solution: Path,
    budget: Budget,
    may_differ: MayDiffer,
    judge: Any,
    passes_unseen: Callable[[pytest.Item], bool] | None = None,
) -> list[Seen] | None:
    """How each test ends for the learner's `module`, from a child; None where that can't be known.

    passes_unseen  tells whether a failing test passes where its calls aren't noted; None: it is tried
    """

    def job() -> tuple[list[Seen], list[str]]:
        found = []
        before = set(sys.modules)
        recorder = Recorder(module)
        swap_in(items, module, recorder.view())
        for item in items:
            if not may_differ(item, None):
                found.append(Seen(item.nodeid, Answer(passed=True), False, 0.0))
                continue
            if budget.left < 0:
                break
            limit_tests(judge, budget)
            # What can't be looked at is left out: the other tests tell enough.
            with contextlib.suppress(Exception):
                seen = _see(item, module, solution, recorder, passes_unseen)
                if seen is not None:
                    found.append(seen)
        return found, [name for name in sys.modules if name not in before and _installed(name)]

    answer: tuple[list[Seen], list[str]] | None = Child(job, budget.clock_left, nested=True).result()
    if answer is None:
        return None
    found, loaded = answer
    load_once(loaded, budget)
    return found


def load_once(names: list[str], budget: Budget) -> None:
    """Import here what a first run of the tests has loaded, and give the budget back what that took there.

    Some packages load parts of theirs at the first use (torch's optimizers do, for seconds), and each
    child to come would do it anew.
    """
    began = budget.now()
    with budget.paused():
        for name in names:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    budget.end += budget.now() - began


def _installed(name: str) -> bool:
    """Whether the loaded module is part of an installed package: of the learner's files none is loaded here."""
    file = str(getattr(sys.modules.get(name), "__file__", None) or "")
    return file.startswith((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))


def limit_tests(judge: Any, budget: Budget) -> None:
    if judge is not None:
        longest = RANKS_SECONDS / 3 if budget.by_clock else A_TEST
        judge.patience = min(judge.patience or longest, longest)


def _see(
    item: pytest.Item,
    module: ModuleType,
    solution: Path,
    recorder: Recorder,
    passes_unseen: Callable[[pytest.Item], bool] | None,
) -> Seen | None:
    recorder.calls = []
    with comparisons(recorder, Path(item.path)) as compared:
        outcome = replay(item)
    if outcome.skipped:
        return None
    ask = passes_unseen or (lambda item: outcome.seconds < AGAIN and _passes_unseen(item, recorder))
    if outcome.error is not None and ask(item):
        # It looks at what is alive, and the recorder keeps what it notes.
        return Seen(item.nodeid, Answer(passed=True), False, outcome.seconds, recorder.names)
    error = outcome.error
    answer = answer_of(item, error, Path(item.path))
    seen = Seen(item.nodeid, answer, colour_of(error, solution) == "todo", outcome.seconds)
    seen.called = recorder.names or names_in(item, module)
    actual = getattr(error, "actual", None)
    call = recorder.behind(actual)
    if call is not None:
        seen.function, seen.sizes, seen.gradient = call.name, call.sizes, call.gradient
        seen.story = recorder.story(call)
        seen.truth = any(isinstance(part, bool) for part in parts(call.answer))
    elif len(seen.called) == 1:
        seen.function = next(iter(seen.called))
    if answer.passed:
        seen.pairs = [(as_numpy(a), as_numpy(e), t) for a, e, t in compared.right]
    else:
        lines = [line for line, _, _ in compared.made]
        seen.compared = lines[:-1].count(lines[-1]) if lines and lines[-1] == answer.line else None
    return seen


def _passes_unseen(item: pytest.Item, recorder: Recorder) -> bool:
    """Whether a test passes where nothing of its calls is noted."""
    recorder.blind = True
    try:
        return replay(item).error is None
    finally:
        recorder.blind = False


def names_in(item: pytest.Item, module: ModuleType) -> set[str]:
    """The kata's names that the test's code holds: what it may call where no call is seen, as in another process."""
    code = getattr(getattr(item, "function", None), "__code__", None)
    names = {name for one in (_with_inner(code) if code is not None else ()) for name in one.co_names}
    return {n for n in names if getattr(vars(module).get(n), "__module__", None) == module.__name__}


class comparisons:
    """In the block, the comparisons that tests make through dojo.testing are noted.  For a child: see `Recorder`.

    right   those that held and whose answer came from a call into the kata: answer, expected, tolerances
    made    all of them: the line of the test's file, and the two sides
    """

    def __init__(self, recorder: Recorder | None = None, file: Path | None = None) -> None:
        self.recorder = recorder
        self.file = str(file)
        self.right: list[tuple[Any, Any, tuple[float, float]]] = []
        self.made: list[tuple[int, Any, Any]] = []

    def __enter__(self) -> comparisons:
        import dojo.testing as testing

        self.before: dict[str, Any] = {name: vars(testing)[name] for name in ("close", "equal")}
        for name, function in self.before.items():
            vars(testing)[name] = self._noting(function)
        return self

    def __exit__(self, *error: object) -> None:
        import dojo.testing as testing

        vars(testing).update(self.before)

    def _noting(self, function: Callable[..., None]) -> Callable[..., None]:
        def compare(actual: Any, expected: Any, **options: Any) -> None:
            __tracebackhide__ = True
            self.made.append((self._line(), actual, expected))
            function(actual, expected, **options)
            if self.recorder is not None and len(self.right) < PAIRS:
                self._keep(actual, expected, options)

        return compare

    def _keep(self, actual: Any, expected: Any, options: dict[str, Any]) -> None:
        from dojo.checks.compare import tolerances_for

        plain = all(is_array(side) or is_scalar(side) for side in (actual, expected))
        call = self.recorder.behind(actual) if self.recorder is not None and is_array(actual) else None
        if plain and call is not None and call.answer is actual:
            self.right.append((actual, expected, tolerances_for(expected, options.get("rtol"), options.get("atol"))))

    def _line(self) -> int:
        frame = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename != self.file:
            frame = frame.f_back  # type: ignore[assignment]
        return frame.f_lineno if frame is not None else 0


def evidence_for(seen: list[Seen], function: str | None, items: list[pytest.Item], whole: bool) -> Evidence:
    """Sorts what was seen: what calls `function` (None: any) must be explained."""
    bad = [one for one in seen if not one.answer.passed and not one.todo]
    failing = [one for one in bad if function is None or not one.called or function in one.called]
    return Evidence(
        items={item.nodeid: item for item in items},
        failing=sorted(failing, key=lambda one: one.seconds),
        passing=sorted((one for one in seen if one.answer.passed), key=lambda one: one.seconds),
        others={one.test for one in seen if one not in failing and not one.answer.passed},
        whole=whole,
    )


def explains(
    cause: ModuleType, evidence: Evidence, now: ModuleType, may_differ: Callable[[pytest.Item], bool], judge: Any,
    budget: Budget,
) -> bool:  # fmt: skip
    """Whether the tests end with `cause` as they do for the learner; tried in a child of its own."""

    def job() -> bool:
        swap_in(list(evidence.items.values()), now, cause)
        for seen in [*evidence.failing, *evidence.passing]:
            item = evidence.items[seen.test]
            if not may_differ(item):
                if seen.answer.passed:
                    continue
                return False
            limit_tests(judge, budget)
            outcome = replay(item)
            if outcome.skipped or not agree(seen.answer, answer_of(item, outcome.error, Path(item.path))):
                return False
            if budget.left < 0:
                return False
        return True

    return bool(Child(job, budget.clock_left, nested=True).result())
