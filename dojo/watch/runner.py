"""Runs of pytest that can be cancelled: forked from a warm process, or cold where the system has no fork.

A runner has one run at a time.  Its owner waits until one of `files()` is
readable, and then takes what has happened from `events()`.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dojo.curriculum.katas import Kata

HOUSE = ("katas", "reference", "fixtures", "conftest", "dojo", "tests")
PATIENCE = 2.0
"""Seconds for the warm process to end by itself."""


@dataclass(frozen=True)
class Output:
    """A piece of what a run prints."""

    text: str


FINISHED = 64
"""Added to pytest's exit status where pytest came to its end: code that calls os._exit(0) isn't green."""


@dataclass(frozen=True)
class Ended:
    """A run is over.

    finished  whether pytest came to its end
    status    its exit status; else Python's, or the negative number of the signal that ended it
    """

    status: int
    seconds: float
    finished: bool


@dataclass(frozen=True)
class Lost:
    """The warm process is gone; a new one is being started."""


Event = Output | Ended | Lost


def imports_of(tests: Iterable[Path]) -> list[str]:
    """What test files import from elsewhere: "numpy", "transformers:BertModel" …; base libraries come first."""
    found: dict[str, None] = {}
    for path in tests:
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name: None for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found |= {node.module: None}
                    found |= {f"{node.module}:{alias.name}": None for alias in node.names if alias.name != "*"}
    names = [name for name in found if _is_foreign(name)]
    return sorted(names, key=lambda name: (name not in ("numpy", "torch"), name.count(":")))


def _is_foreign(name: str) -> bool:
    top = name.partition(":")[0].partition(".")[0]
    return top not in HOUSE and top not in sys.stdlib_module_names


def needed_by(kata: Kata) -> list[str]:
    """What a run of this kata's tests imports, pytest included."""
    own = imports_of([kata.test])
    base = [name for name in own if name in ("numpy", "torch")]
    return list(dict.fromkeys([*base, "pytest", *own]))


def needed_by_module(kata: Kata) -> list[str]:
    """What the tests of all katas of its module import."""
    return imports_of(sorted(kata.test.parent.glob("test_k*.py")))


class Runner:
    """What both kinds share: the output of the run that is going on."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self.root = root
        self.environment = {**os.environ, **environment}
        self.busy = False
        self.ready = True  # whether all that was asked for is imported
        self.running = False  # a run may have to wait until what it needs is imported
        self._output: int | None = None
        self._started = 0.0
        self._decoder: Any = None

    def files(self) -> list[int]:
        """Descriptors that become readable when there are events."""
        return [self._output] if self._output is not None else []

    def warm(self, names: list[str]) -> None:
        """Have these imported before they are needed."""

    def start(self, args: list[str], columns: int) -> None:
        """Run pytest; a run that is still going on is cancelled.  Raises OSError where no process can be started."""
        raise NotImplementedError

    def cancel(self) -> None:
        """End the run that is going on, if there is one, and all that it has started; no event follows."""
        raise NotImplementedError

    def events(self) -> list[Event]:
        """What has happened since the last call; never waits."""
        raise NotImplementedError

    def close(self) -> None:
        """End everything.  A runner can't be used afterwards."""
        self.cancel()

    def _begin(self) -> int:
        """A fresh pipe for the output; its end to write to."""
        import codecs

        self._forget_output()
        self._output, write = os.pipe()
        os.set_blocking(self._output, False)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._started = time.monotonic()
        self.busy, self.running = True, False
        return write

    def _read(self) -> list[Event]:
        """What the run has printed."""
        pieces = []
        while self._output is not None:
            try:
                data = os.read(self._output, 1 << 16)
            except BlockingIOError:
                break
            if not data:
                self._forget_output()
                break
            pieces.append(data)
        text = self._decoder.decode(b"".join(pieces)) if pieces else ""
        return [Output(text)] if text else []

    def _finish(self, status: int) -> list[Event]:
        events = self._read()
        self._forget_output()
        self.busy = False
        finished = status >= FINISHED
        return [*events, Ended(status - FINISHED * finished, time.monotonic() - self._started, finished)]

    def _forget_output(self) -> None:
        if self._output is not None:
            os.close(self._output)
            self._output = None


class WarmRunner(Runner):
    """Runs are forked from a process that has imported what they need (see dojo.watch.warm)."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        super().__init__(root, environment)
        self._number = 0
        self._names: list[str] = []
        self._received = b""
        self._open()

    def _open(self) -> None:
        self._control, theirs = socket.socketpair()
        self._control.setblocking(True)
        self._received = b""
        self.ready = False
        # A session of its own: Ctrl-C in the terminal goes to the watcher alone.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dojo.watch.warm", str(theirs.fileno())],
            cwd=self.root, env=self.environment, pass_fds=[theirs.fileno()], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()

    @property
    def pid(self) -> int:
        """Of the process that runs are forked from."""
        return self._process.pid

    def files(self) -> list[int]:
        return [*super().files(), self._control.fileno()]

    def warm(self, names: list[str]) -> None:
        new = [name for name in names if name not in self._names]
        self._names += new
        if new:
            self.ready = False
            self._ask({"warm": new})

    def start(self, args: list[str], columns: int) -> None:
        self._number += 1
        output = self._begin()
        try:
            self._ask({"run": self._number, "args": args, "columns": columns}, output)
        finally:
            os.close(output)

    def _ask(self, message: dict[str, Any], *fds: int) -> None:
        data = json.dumps(message).encode() + b"\n"
        # Where it is gone, events() finds that out.
        with contextlib.suppress(OSError):
            socket.send_fds(self._control, [data], list(fds)) if fds else self._control.sendall(data)

    def cancel(self) -> None:
        if self.busy:
            self._ask({"cancel": self._number})
            self.busy = False
        self._forget_output()

    def events(self) -> list[Event]:
        found: list[Event] = self._read()
        while True:
            try:
                data = self._control.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                return [*found, *self._begin_again()]
            *lines, self._received = (self._received + data).split(b"\n")
            for line in lines:
                told = json.loads(line)
                self.ready = self.ready or "ready" in told
                self.running = self.running or told.get("started") == self._number
                if self.busy and told.get("ended") == self._number:
                    found += self._finish(told["status"])
        return found

    def _begin_again(self) -> list[Event]:
        """The process died, with any run that it had: start another."""
        found: list[Event] = self._finish(-signal.SIGKILL) if self.busy else []
        self._reopen()
        return [*found, Lost()]

    def restart(self) -> None:
        """Start anew, with nothing imported: the engine's own files have changed."""
        self.cancel()
        self._reopen()

    def _reopen(self) -> None:
        self._stop()
        self._open()
        if self._names:
            self._ask({"warm": self._names})

    def _stop(self) -> None:
        self._control.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        self.cancel()
        self._stop()


COLD = f"""
import os, sys
from dojo.judging import supervisor
supervisor.asked_for, supervisor.leave = True, lambda status: os._exit({FINISHED} + status)
import pytest
sys.exit({FINISHED} + pytest.main(sys.argv[1:]))
"""


class ColdRunner(Runner):
    """Each run is a new Python, which imports everything."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        super().__init__(root, environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, args: list[str], columns: int) -> None:
        self.cancel()
        output = self._begin()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", COLD, *args],
                cwd=self.root, env={**self.environment, "COLUMNS": str(columns), "PYTHONUNBUFFERED": "1"},
                start_new_session=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
            self.running = True
        finally:
            os.close(output)

    def cancel(self) -> None:
        if self._process is not None:
            self._kill()
            self._process.wait()
            self._process = None
        self.busy = False
        self._forget_output()

    def _kill(self) -> None:
        assert self._process is not None
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()

    def events(self) -> list[Event]:
        found = self._read()
        if self.busy and self._process is not None and (self._output is None or self._process.poll() is not None):
            status = self._process.wait()
            self._kill()  # what the learner's code has started and left
            self._process = None
            found += self._finish(status)
        return found
