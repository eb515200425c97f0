"""The engine's tests pass wherever they are started: what a test or its child inherits doesn't depend on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SEEN = """
import locale, os, signal
names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP")
print([name for name in names if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN])
print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
print(oct(os.umask(0)), os.environ["TERM"], os.environ.get("COLUMNS"), locale.getpreferredencoding(), os.getcwd())
"""


def test_what_a_child_inherits():
    done = subprocess.run([sys.executable, "-c", SEEN], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]", f"0o22 xterm-256color None UTF-8 {ROOT}"]


def hostile() -> None:
    """As a start in the background with nohup, and then some."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    os.umask(0o077)


@pytest.mark.parametrize("options", [[], ["-n", "1"]])
def test_it_is_the_same_after_a_start_in_the_background(tmp_path, options):
    """The test above, in a pytest that was started in the worst of ways."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment |= {"TERM": "dumb", "COLUMNS": "20", "LC_ALL": "C", "LANG": "C", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options, f"--rootdir={ROOT}", "-c", ROOT / "pyproject.toml",
         f"{__file__}::test_what_a_child_inherits"],
        cwd=tmp_path, env=environment, preexec_fn=hostile, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
