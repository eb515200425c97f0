"""Shared by the engine's own tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLAYGROUND = Path(__file__).resolve().parent / "playground"

collect_ignore = ["playground"]


@pytest.fixture
def in_dojo() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m pytest …` as a learner would, in a folder: in_dojo(folder, "katas", "-x")."""

    def run(folder: Path, *args: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
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
