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


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser, args: list[str]) -> None:
    config = early_config.rootpath / "pyproject.toml"
    if not config.is_file() or "[tool.dojo]" not in config.read_text(encoding="utf-8", errors="replace"):
        return
    from dojo.judging.judge import Judge, load_what_the_run_needs

    load_what_the_run_needs(early_config, args)
    early_config.pluginmanager.register(Hooks(Judge.at(early_config.rootpath)), "dojo-hooks")


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

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.judge.note_uncollected(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.judge.prepare(item)

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

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.judge.write_down(session)

    @pytest.fixture
    def rng(self, request: pytest.FixtureRequest) -> Any:
        """A numpy Generator, seeded from the test's name and --seed."""
        import numpy as np

        return np.random.default_rng(self.judge.seed_of(request.node))
