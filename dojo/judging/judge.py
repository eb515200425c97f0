"""One run of pytest in a dojo: what it judges, and what it finds."""

from __future__ import annotations

import copy
import os
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from dojo.checks import deadline, guard
from dojo.checks.accelerator import TritonMode, has_cuda
from dojo.checks.compare import Wrong
from dojo.checks.debugger import debugged
from dojo.checks.forbid import Watch
from dojo.checks.scratch import REFERENCE
from dojo.checks.verdict import Colour, colour_of
from dojo.curriculum.katas import STEM, Dojo, DojoError, Kata, open_dojo
from dojo.curriculum.solutions import Solutions, find_tree
from dojo.judging.containment import Containment
from dojo.judging.inside import Inside
from dojo.judging.shadows import shadowing
from dojo.judging.workers import Workers

if TYPE_CHECKING:
    from dojo.judging.report import Ran

SLOW_DEADLINE = 300.0
EXPLAINING = 60.0
"""Seconds for the diagnosis of a test."""
MARKS = {"todo": "t", "amber": "A", "red": "R"}


def load_what_the_run_needs(config: pytest.Config, args: list[str]) -> None:
    """Load xdist where -n asks for it: the project's options keep it out of every other start."""
    wanted = ("-n", "--numprocesses", "--dist", "--tx", "--maxprocesses")
    if any(arg == w or arg.startswith((f"{w}=", "-n")) for arg in args for w in wanted):
        manager = config.pluginmanager
        if not manager.has_plugin("xdist"):
            from xdist import plugin as xdist

            manager.unblock("xdist")  # under its own name, by which other plugins look for it
            manager.register(xdist, "xdist")
            # Plugins that ask early whether there are workers (pytest-cov does) find its options here.
            config.known_args_namespace = config._parser.parse_known_args(args, namespace=copy.copy(config.option))


class Judge:
    """Judges the katas of one run; the hooks of `dojo.plugin` call it in this order."""

    def __init__(self, dojo: Dojo, inside: Inside | None = None) -> None:
        self.dojo = dojo
        self.inside = inside or Inside()
        self.contained = Containment(self, self.inside)
        self.workers = Workers(dojo, self.inside)
        self.solutions = Solutions(dojo)
        self.triton_mode = TritonMode()
        self.config: pytest.Config
        self.impl: str | None = None
        self.native = False  # whether failures are shown in pytest's own way, too
        self.ran: dict[str, Ran] = {}
        self.uncollected: list[tuple[str, list[str]]] = []  # files whose tests couldn't be loaded, and why
        self.problems: list[str] = []  # what the learner should know beside the verdicts
        self.in_file: dict[Path, int] = {}  # the number of tests in each file that was collected whole
        self.patience: float | None = None  # seconds for each test, where the proofs set them
        self.stops_at: str | None = None  # the kata after which -x can't go on
        self.passed: list[str] = []  # optional katas, not begun, that -x passes over
        self._current: pytest.Item | None = None
        self._counted: tuple[Any, Counter[Path]] = (None, Counter())

    @classmethod
    def at(cls, root: Path, inside: Inside | None = None) -> Judge:
        try:
            return cls(open_dojo(root), inside)
        except DojoError as error:
            raise pytest.UsageError(str(error)) from error

    # --- the beginning ------------------------------------------------------------------------------

    def configure(self, config: pytest.Config) -> None:
        from dojo.curriculum.expand import expand, up_to_first_untouched

        self.config = config
        option = config.option
        cwd = config.invocation_params.dir
        self.impl = option.impl
        try:
            tree = find_tree(self.dojo, self.impl, cwd) if self.impl else None
        except DojoError as error:
            raise pytest.UsageError(str(error)) from error
        self.solutions = Solutions(self.dojo, tree, not option.no_borrow, self._is_green)
        self.solutions.around_load = self.contained.loading
        self.solutions.install()
        self.triton_mode.install()
        if (shadow := shadowing(self.dojo)) is not None:
            raise pytest.UsageError(shadow)
        for folder in dict.fromkeys((str(self.dojo.root), str(self.dojo.clone))):
            if folder not in sys.path:
                sys.path.insert(0, folder)
        config.args[:] = expand(config.args, self.dojo, cwd)
        if tree is None:
            config.args[:], self.stops_at, self.passed = up_to_first_untouched(config.args, self.dojo, cwd, option)
        self.native = option.tbstyle != "auto" or not self._only_katas(config)
        if not self.native:
            # The engine's report takes the place of pytest's tracebacks and of its list of failures.
            option.tbstyle = "no"
            option.reportchars = "".join(c for c in option.reportchars if c not in "fE")
        deadline.set_homes(*{f"{folder}{os.sep}" for folder in (self.dojo.root, self.dojo.clone, tree) if folder})
        deadline.set_listener(self.contained.limit)
        if not debugged(option):
            stack = self.inside.stack
            deadline.set_last_resort(_duplicate_of_stderr() if stack is None else stack)
        self.contained.worker = self.workers.configure(config)
        self.inside.tell(
            about={
                "impl": self.impl,
                "tree": str(tree) if tree else None,
                "native": self.native,
                "verbose": option.verbose,
                "record": not option.collectonly,
            }
        )

    def _only_katas(self, config: pytest.Config) -> bool:
        katas = self.dojo.clone / "katas"
        paths = [Path(config.invocation_params.dir, arg.split("::", 1)[0]) for arg in config.args]
        return all(Path(os.path.normpath(path)).is_relative_to(katas) for path in paths)

    def unconfigure(self) -> None:
        deadline.set_listener(None)
        self.workers.unconfigure()
        _watch.restore()
        self.solutions.remove()
        self.triton_mode.remove()

    def header(self) -> list[str]:
        if self.impl is None:
            where = "your solutions" + (f" in {self.dojo.root}" if self.dojo.apart else "")
            stop = f", up to {self.stops_at}, the first that isn't begun (-x)" if self.stops_at else ""
            passed = [f"dojo: {name} is optional and not begun, so it is passed over" for name in self.passed]
            return [f"dojo: judging {where}{stop}", *passed, *self._where_am_i()]
        return [f"dojo: judging the solutions in {self.solutions.tree}"]

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Around the collection: pytest takes every `[` of an argument for a parameter's, so no path may have one."""
        config, clone = self.config, self.dojo.clone
        if not any("[" in arg.split("::", 1)[0] for arg in config.args):
            yield
            return
        before, args = config.invocation_params, list(config.args)
        for i, arg in enumerate(args):
            path, *rest = arg.split("::", 1)
            config.args[i] = "::".join([os.path.relpath(before.dir / path, clone), *rest])
        config.invocation_params = type(before)(args=before.args, plugins=before.plugins, dir=clone)
        try:
            yield
        finally:
            config.invocation_params = before
            config.args[:] = args

    def _where_am_i(self) -> list[str]:
        """The step that the learner is at, of the first kata of the run that isn't green; and an interrupted update."""
        from dojo.learner.progress import first_open

        said = []
        files = [Path(os.path.normpath(self.config.invocation_params.dir / arg)) for arg in self.config.args]
        katas = [kata for kata in map(self.dojo.kata_of_test, files) if kata is not None]
        at = first_open(self.dojo, katas) if len(katas) == len(files) else None
        if at is not None and at.step is not None:
            said.append(f"dojo: {at.kata.name}, {at.step}")
        if (self.dojo.state / "update" / "journal.json").exists():
            said.append("dojo: an update was interrupted, so these files may be half old, half new: `dojo` finishes it")
        return said

    def borrowed(self) -> list[str]:
        lent = sorted(self.solutions.borrowed.items())
        return [
            f"dojo: lent by the reference: {name}, which {' and '.join(sorted(users))} "
            f"build{'s' if len(users) == 1 else ''} on (yours isn't green yet; --no-borrow turns this off)"
            for name, users in lent
        ]

    def _is_green(self, kata: Kata) -> bool:
        from dojo.learner.progress import known_green

        return known_green(self.dojo, kata)

    # --- a test -------------------------------------------------------------------------------------

    def kata_of(self, item: pytest.Item) -> Kata | None:
        return self.dojo.kata_of_test(Path(item.path))

    def select(self, items: list[pytest.Item]) -> None:
        """Skip what this run doesn't ask for or this machine doesn't have, each with its reason."""
        # Counted before -k and -m leave some out; a test that was named by its id is no whole file.
        named = any("::" in arg for arg in self.config.args)
        self.in_file = {} if named else Counter(item.path for item in items)
        for item in items:
            fixtures = getattr(item, "fixturenames", ())
            if "ranks" in fixtures:
                item.add_marker(pytest.mark.processes)
            if item.get_closest_marker("slow") and not self.config.option.slow:
                item.add_marker(pytest.mark.skip(reason="slow: runs with --slow"))
            if "gpu" in fixtures:
                item.add_marker(pytest.mark.gpu)  # it runs everywhere, on a pretended device where there is no other
            elif item.get_closest_marker("gpu"):
                if not has_cuda():
                    item.add_marker(pytest.mark.skip(reason="gpu: no CUDA device here"))
            elif "device" in fixtures and has_cuda():
                # One test, two devices: it runs on the GPU where there is one, and `-m gpu` selects it there.
                item.add_marker(pytest.mark.gpu)

    def number_of_tests(self, item: pytest.Item) -> int:
        """The tests of the item's file that this run has selected."""
        if item.session is not self._counted[0]:
            self._counted = item.session, Counter(other.path for other in item.session.items)
        return self._counted[1][item.path]

    def seed_of(self, item: pytest.Item) -> int:
        """The seed of a test: of its name within the kata, so that renumbering changes no input."""
        kata = self.kata_of(item)
        inner = item.nodeid.split("::", 1)[-1]
        return zlib.crc32(f"{kata.name if kata else item.path.name}::{inner}::{self.config.option.seed}".encode())

    def prepare(self, item: pytest.Item) -> None:
        self._seed(item)

    def _seed(self, item: pytest.Item) -> None:
        import random

        seed = self.seed_of(item)
        random.seed(seed)
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed(seed)
        if (torch := sys.modules.get("torch")) is not None:
            _seed_torch(torch, seed)

    @contextmanager
    def watching(self, item: pytest.Item) -> Iterator[None]:
        """Around the call of a test: its seed, its deadline, and the house rules that its file names."""
        kata = self.kata_of(item)
        if kata is None:
            yield
            return
        self._current = item
        names = self._forbidden(item, kata)
        self._check_from_scratch(kata, names)

        def told(value: Any) -> bool:
            # A test that has asked for monkeypatch may have changed it itself.
            own = "monkeypatch" not in getattr(item, "fixturenames", ())
            return own or str(getattr(value, "__module__", "")).startswith("katas.")

        with ExitStack() as stack:
            stack.enter_context(self.contained.fenced(self.solutions.path(kata), told))
            marker = item.get_closest_marker("pure")
            if marker is not None and isinstance(item, pytest.Function):
                functions = guard.kata_functions(item.module, kata.import_name)
                kept = {n: guard.keeps_arguments(f) for n, f in functions.items() if n not in marker.args}
                stack.enter_context(guard.replaced(item.module, kept))
            stack.enter_context(deadline.limit(self.deadline_of(item, kata)))
            stack.enter_context(self._watching_calls(kata, names))
            self._seed(item)  # again, as a fixture of wider scope may have drawn numbers in this test's setup only
            yield

    def deadline_of(self, item: pytest.Item, kata: Kata) -> float:
        if self.patience is not None:
            return self.patience
        marker = item.get_closest_marker("deadline")
        if marker is not None:
            return float(marker.args[0])
        return SLOW_DEADLINE if item.get_closest_marker("slow") else self.dojo.deadline

    def _forbidden(self, item: pytest.Item, kata: Kata) -> tuple[str, ...]:
        """What the learner's file may not use: what the test's marks name, and the answers in the reference."""
        if self.solutions.path(kata).is_relative_to(self.dojo.clone / "reference"):
            return tuple(name for marker in item.iter_markers("from_scratch") for name in marker.args)
        return (*(name for marker in item.iter_markers("from_scratch") for name in marker.args), REFERENCE)

    def _check_from_scratch(self, kata: Kata, names: tuple[str, ...]) -> None:
        from dojo.checks.scratch import violations

        __tracebackhide__ = True
        if not names:
            return
        solution = self.solutions.path(kata)
        key = (solution, names, solution.stat().st_mtime_ns if solution.exists() else 0)
        if key not in _scratch_cache:
            _scratch_cache[key] = violations(solution, names)
        if found := _scratch_cache[key]:
            raise _forbidden_use(found[0].name, found[0].line, found[0].helper)

    @contextmanager
    def _watching_calls(self, kata: Kata, names: tuple[str, ...]) -> Iterator[None]:
        """Catch what the source didn't show: a forbidden function that the learner's code calls all the same."""
        __tracebackhide__ = True
        if self._is_replaying_now():  # a mistake of the TOML may use what it likes
            yield
            return
        solution = self.solutions.path(kata)
        beside = f"{solution.parent}{os.sep}"

        def is_learners(file: str) -> bool:
            if file == str(solution):
                return True
            name = file[len(beside) :] if file.startswith(beside) else ""
            return bool(name) and not name.startswith(("test_", "conftest")) and not STEM.fullmatch(name[:-3])

        try:
            with _watch.over(names, is_learners):
                yield
        finally:
            if _watch.caught:
                name, file, line = _watch.caught[0]
                raise _forbidden_use(name, line, Path(file) if file != str(solution) else None) from None

    def note_operands(self, op: str, left: object, right: object) -> None:
        """Keep the two sides of a failing `assert a == b` for the diagnosis."""
        if op == "==" and self._current is not None:
            from dojo.checks.replay import OPERANDS

            self._current.stash[OPERANDS] = (left, right)

    def note_uncollected(self, report: pytest.CollectReport) -> None:
        """Keep why a file's tests can't be loaded: pytest's own words are turned off with its tracebacks."""
        if (lines := getattr(report, "dojo_missing", None)) is not None:
            self.uncollected.append((report.nodeid, lines))
            self.inside.tell(uncollected=report.nodeid, lines=lines)
        if not report.failed:
            return
        from dojo.curriculum.missing import said_of

        text = report.longreprtext.strip()
        last = text.splitlines()[-1].removeprefix("E").strip() if text else "for no reason that pytest gives"
        self.uncollected.append((report.nodeid, said_of(self.dojo, text) or [last]))
        self.inside.tell(uncollected=report.nodeid, lines=self.uncollected[-1][1])

    def skip_what_is_missing(self, collector: pytest.Collector, report: pytest.CollectReport) -> None:
        """A test file that needs a package which isn't installed is left out, with what installs it."""
        if not report.failed or self.dojo.kata_of_test(Path(collector.path)) is None:
            return
        from dojo.curriculum.missing import said_of

        if lines := said_of(self.dojo, report.longreprtext):
            report.outcome = "skipped"
            report.longrepr = (str(collector.path), 0, f"Skipped: {' '.join(' '.join(lines).split())}")
            vars(report)["dojo_missing"] = lines

    # --- its verdict --------------------------------------------------------------------------------

    def judge(self, item: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport) -> None:
        """Give the report a colour, and a red or amber one its diagnosis."""
        kata = self.kata_of(item)
        error = call.excinfo.value if call.excinfo is not None else None
        if self._is_replaying(item, error, call.when):
            return
        if kata is None or (call.when != "call" and report.passed):
            return
        from dojo.judging.report import verdict_of

        solution = self.solutions.path(kata)
        colour: Colour | Literal["skipped"] = "amber"  # where it failed before the call or after it
        if report.skipped:
            error, colour = None, "skipped"
        elif call.when == "call":
            colour = colour_of(error, solution)
        whole, judged = self.in_file.get(item.path, 0), self.contained.judged(kata)
        try:
            with deadline.limit(EXPLAINING, gentle=True):
                verdict = verdict_of(item, kata, solution, colour, error, whole, judged, report.capstdout)
        except deadline.DeadlineExceeded as endless:
            # A learner's object may have an endless __repr__.
            verdict = verdict_of(item, kata, solution, "amber", endless, whole, judged, report.capstdout)
        if self.impl is not None and report.failed:
            verdict["builds_on"] = sorted(self.solutions.builds_on.get(kata.name, ()))
        vars(report)["dojo"] = verdict
        if report.failed and not self.native:
            report.longrepr = "\n".join(verdict["lines"])

    def _is_replaying(self, item: pytest.Item, error: BaseException | None, when: str) -> bool:
        if not self._is_replaying_now():
            return False
        replay = sys.modules["dojo.checks.replay"]
        if error is not None and not isinstance(item.stash.get(replay.ERROR, None), BaseException):
            item.stash[replay.ERROR] = error
        return True

    def _is_replaying_now(self) -> bool:
        replay = sys.modules.get("dojo.checks.replay")
        return replay is not None and bool(self.config.stash.get(replay.REPLAYING, False))

    def status(self, report: Any) -> tuple[str, str, Any] | None:
        """A letter and a word of our own for what isn't green; pytest's counts and exit codes stay."""
        verdict = getattr(report, "dojo", None)
        if verdict is None or not report.failed or report.when != "call":
            return None
        colour = verdict["colour"]
        return "failed", MARKS[colour], (colour.upper(), {_MARKUP[colour]: True})

    def collect(self, report: pytest.TestReport) -> None:
        """In the process that reports: gather a finished test's verdict."""
        from dojo.judging.report import Ran

        verdict = getattr(report, "dojo", None)
        if verdict is None:
            return
        self.ran.setdefault(verdict["kata"], Ran()).add(verdict, report.duration)
        self.inside.tell(verdict=verdict, seconds=report.duration)

    # --- the end ------------------------------------------------------------------------------------

    def tell(self, terminal: Any) -> None:
        from dojo.judging.report import tell

        if self.ran or self.problems or self.uncollected:
            tell(self, terminal)

    def write_down(self, session: pytest.Session) -> None:
        """Add the run to the record; in the process that reports, so that xdist's workers don't."""
        if hasattr(session.config, "workerinput") or session.config.option.collectonly:
            return
        if self.uncollected and not self.ran and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED  # what was asked for couldn't be judged
        if not self.ran:
            return
        from dojo.judging.theirs import foreign

        katas = {kata.name: kata for kata in self.dojo.katas}
        green = [katas[name] for name, one in self.ran.items() if one.colour == "green"] if self.impl is None else []
        for name, paths in foreign(self.dojo, green).items():
            self.ran[name].foreign = paths
            self.inside.tell(foreign=name, paths=paths)
        if session.exitstatus == 0 and any(one.doubts() for one in self.ran.values()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.inside.news is not None:
            return  # the supervisor writes
        from dojo.judging.report import write_down

        problem = write_down(self)
        if problem:
            self.problems.append(problem)


_MARKUP = {"todo": "yellow", "amber": "yellow", "red": "red"}
_scratch_cache: dict[Any, list[Any]] = {}
_watch = Watch()


def _forbidden_use(name: str, line: int, helper: Path | None) -> Wrong:
    at = f"Line {line}{f' of {helper.name}' if helper else ''}"
    if name == REFERENCE:
        return Wrong("forbidden", f"{at} takes the answer from the reference: write your own.", evidence=name)
    what = "the operator @" if name == "@" else name
    said = f"{at} uses {what}: this kata asks you to write that from scratch."
    return Wrong("forbidden", said, evidence=name)


def _seed_torch(torch: Any, seed: int) -> None:
    """As torch.manual_seed does, which takes milliseconds for devices that a CPU build can't have.

    The pretended GPU (fixtures/pretend_gpu.py) draws from the CPU's generator.
    """
    device = torch.accelerator.current_accelerator()
    if device is None or device.type == torch._C._get_privateuse1_backend_name():
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _duplicate_of_stderr() -> int | None:
    """A file descriptor that stays the terminal's while pytest captures stderr."""
    try:
        return os.dup(sys.__stderr__.fileno()) if sys.__stderr__ is not None else None
    except (OSError, ValueError):
        return None
