"""The pytest plugin: hooks only, each delegating to a named part of the engine.

Loaded wherever the package is installed.  It looks for a dojo at pytest's root
folder and does nothing at all where there is none.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dojo.judging.judge import Judge


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, Any, Any]:
    if "--impl" in args:
        from dojo.judging.arguments import joined

        if (meant := joined(early_config)) is not None:
            raise SystemExit(int(pytest.main(meant, early_config.invocation_params.plugins)))
    config = early_config.rootpath / "pyproject.toml"
    if config.is_file() and "[tool.dojo]" in config.read_text(encoding="utf-8", errors="replace"):
        from dojo.judging import supervisor

        # Before anything of the run is loaded: in the parent this doesn't return.
        inside = supervisor.fork(early_config)
        from dojo.judging.judge import Judge, load_what_the_run_needs

        load_what_the_run_needs(early_config, args)
        hooks = Hooks(Judge.at(early_config.rootpath, inside))
        early_config.pluginmanager.register(hooks, "dojo-hooks")
        early_config.pluginmanager.register(LeavingOut(hooks.judge), "dojo-leaving-out")
    return (yield)


class Hooks:
    """What the engine does in a run; registered in a dojo only."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        group = parser.getgroup("dojo", "ML Dojo")
        group.addoption("--impl", metavar="TREE", help="judge the solutions in TREE ('reference', a folder)")
        group.addoption("--seed", type=int, default=0, help="another seed for every test's random input")
        group.addoption("--slow", action="store_true", help="run the tests marked slow, too")
        group.addoption(
            "--no-borrow", action="store_true", help="an unsolved kata that another needs isn't lent by the reference"
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        self.judge.configure(config)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> Generator[None, Any, Any]:
        status = yield
        # By now all is written, and every plugin has let go: see _pytest.main.wrap_session.
        self.judge.inside.end(int(status or 0))
        return status

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.judge.contained.start()

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        self.judge.unconfigure()

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        return self.judge.header()

    def pytest_report_collectionfinish(self, config: pytest.Config) -> list[str]:
        return self.judge.borrowed()

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, Any, Any]:
        with self.judge.collecting():
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        self.judge.select(items)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        with self.judge.contained.collecting(collector):
            report = yield
        self.judge.skip_what_is_missing(collector, report)
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.judge.note_uncollected(report)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        with self.judge.contained.test(item):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self.judge.prepare(item)
        with self.judge.contained.around(item):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        with self.judge.contained.around(item):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        with self.judge.watching(item):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self.judge.judge(item, call, report)
        return report

    def pytest_assertrepr_compare(self, config: pytest.Config, op: str, left: object, right: object) -> None:
        self.judge.note_operands(op, left, right)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, Any] | None:
        return self.judge.status(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.judge.collect(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        self.judge.tell(terminalreporter)

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self, excrepr: Any, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.judge.contained.fail_inside(excinfo.value)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.judge.contained.interrupted(excinfo.value)

    def pytest_enter_pdb(self, config: pytest.Config, pdb: Any) -> None:
        self.judge.contained.hold()

    def pytest_leave_pdb(self, config: pytest.Config, pdb: Any) -> None:
        self.judge.contained.let_go()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        return self.judge.workers.scheduler(config, log)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        self.judge.workers.died(node, error)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: Any, sched: Any) -> None:
        self.judge.workers.crashed(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.judge.write_down(session)

    @pytest.fixture
    def rng(self, request: pytest.FixtureRequest) -> Any:
        """A numpy Generator, seeded from the test's name and --seed."""
        import numpy as np

        return np.random.default_rng(self.judge.seed_of(request.node))


class LeavingOut:
    """The second part of a hook that Hooks wraps: a class has one method of a name."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        return self.judge.contained.leave_out(item, nextitem) or None
