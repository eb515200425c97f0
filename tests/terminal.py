"""A terminal for tests: a real pseudo-terminal, and pyte's picture of what stands on it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pexpect
import pyte

ROOT = Path(__file__).resolve().parent.parent


class Terminal:
    """`dojo COMMAND` in a terminal of `columns` by `lines`."""

    def __init__(
        self, folder: Path, *command: str, columns: int = 80, lines: int = 24, env: Mapping[str, str] | None = None
    ) -> None:
        clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "CI")}
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.Stream(self.screen)
        self.written = ""
        # Signals, umask and locale are as tests/conftest.py has set them, whatever the start.
        self.process = pexpect.spawn(
            sys.executable, ["-m", "dojo", *command], cwd=str(folder), dimensions=(lines, columns), encoding="utf-8",
            codec_errors="replace", timeout=30,
            env={**clean, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", **(env or {})},
        )  # fmt: skip

    def read(self, seconds: float = 0.05) -> None:
        """Take up what has been written; waits for that long."""
        end = time.monotonic() + seconds
        while True:
            try:
                data = self.process.read_nonblocking(1 << 16, timeout=max(0.0, end - time.monotonic()))
            except pexpect.TIMEOUT:
                return
            except pexpect.EOF:
                return
            self.written += data
            self.stream.feed(data)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def until(self, pattern: str, seconds: float = 60.0) -> str:
        """Wait until the screen shows the pattern; the screen's text."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < end, f"{pattern!r} didn't come up within {seconds} s:\n{self.text}"
            self.read()
            if not self.process.isalive() and not re.search(pattern, self.text):
                self.read(0.2)
                assert re.search(pattern, self.text), f"the process ended before {pattern!r} came up:\n{self.text}"
        return self.text

    def send(self, keys: str) -> None:
        self.process.send(keys)

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        self.process.setwinsize(lines, columns)

    def ended(self, seconds: float = 60.0) -> int:
        """Wait for the end of the process; its exit status, or the negative signal."""
        end = time.monotonic() + seconds
        while self.process.isalive():
            assert time.monotonic() < end, f"still running after {seconds} s:\n{self.text}"
            self.read()
        self.process.wait() if self.process.isalive() else None
        return self.process.exitstatus if self.process.exitstatus is not None else -self.process.signalstatus

    def close(self) -> None:
        self.process.close(force=True)
