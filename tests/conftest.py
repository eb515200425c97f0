"""Shared by the engine's own tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLAYGROUND = Path(__file__).resolve().parent / "playground"

collect_ignore = ["playground"]

UNWANTED = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "CI", "PAGER",
            "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "PYTHONWARNINGS", "PYTHONIOENCODING", "DOJO_IMPL",
            "TOX_ENV_DIR")  # fmt: skip
"""Variables of the environment from which a program takes other habits."""

SURROUNDINGS = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}


def pytest_configure(config: pytest.Config) -> None:
    """However the tests are started (in the background, by cron, in a narrow terminal): what a child inherits is this.

    A background start, for one, ignores SIGINT, and a child that inherits that can't be interrupted.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in (
        "SIGTERM",
        "SIGHUP",
        "SIGQUIT",
        "SIGALRM",
        "SIGCHLD",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGUSR1",
        "SIGUSR2",
    ):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    os.umask(0o022)


@pytest.fixture(autouse=True, scope="session")
def at_the_root() -> Iterator[None]:
    """Tests begin in the clone, wherever pytest was started; once they are collected, as paths are given from there.

    The environment, too, is put right only now: readline, which pytest loads, sets COLUMNS.
    """
    for name in UNWANTED:
        os.environ.pop(name, None)
        os.unsetenv(name)  # readline's isn't in os.environ
    os.environ.update(SURROUNDINGS)
    before = Path.cwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


@pytest.fixture
def in_dojo() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m pytest …` as a learner would, in a folder: in_dojo(folder, "katas", "-x")."""

    def run(folder: Path, *args: str, timeout: float = 180, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        clean |= {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1", **environment}
        return subprocess.run(
            [sys.executable, "-m", "pytest", *args],
            cwd=folder, env=clean, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    return run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the figures that tests have recorded; as properties of a report they come from xdist's workers, too."""
    for report in terminalreporter.getreports(""):
        for name, value in getattr(report, "user_properties", []):
            if name == "figure":
                terminalreporter.write_line(value)
