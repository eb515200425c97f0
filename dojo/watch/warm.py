"""The process that watched runs are forked from: it has imported what they need, and never the learner's code.

Started as `python -m dojo.watch.warm SOCKET` (a file descriptor), it is told over the
socket what to import and what to run, a line of JSON each:

    {"warm": ["numpy", "torch"]}                     import these
    {"run": 7, "args": [...], "columns": 80}         run pytest in a fork; its output goes to the
                                                     file descriptor that is sent along
    {"cancel": 7}                                    end that run, if it is still going on

It answers with {"ready": true} once nothing is left to import, {"started": 7}, and
{"ended": 7, "status": 65}: pytest's status and 64 where pytest came to its end, else
the child's own, or the negative number of the signal that ended it.
It ends when the socket is closed, and takes a run that is still going on with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from dojo.checks.forked import end, forked
from dojo.judging import supervisor
from dojo.watch.runner import FINISHED

ENGINE = (
    "dojo.checks.compare", "dojo.checks.deadline", "dojo.checks.fence", "dojo.checks.forbid", "dojo.checks.guard",
    "dojo.checks.replay", "dojo.checks.scratch", "dojo.checks.verdict", "dojo.curriculum.expand",
    "dojo.curriculum.missing", "dojo.curriculum.solutions", "dojo.curriculum.swap", "dojo.diagnosis.explain",
    "dojo.diagnosis.fitting", "dojo.diagnosis.relations", "dojo.judging.aftermath", "dojo.judging.judge",
    "dojo.judging.report", "dojo.learner.progress", "dojo.learner.record", "dojo.plugin", "dojo.testing",
)  # fmt: skip
"""What every run imports sooner or later."""

QUIET = "ignore::pytest.PytestAssertRewriteWarning"
"""pytest would say that the plugins were imported before it could rewrite their asserts: they were, on purpose."""


def main(fd: int) -> None:
    """Serve until the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the watcher's to handle
    os.environ["PYTEST_ADDOPTS"] = f"{os.environ.get('PYTEST_ADDOPTS', '')} -W {QUIET}".strip()
    with socket.socket(fileno=fd) as control:
        Server(control).serve()


class Server:
    """One run at a time; what is left to import is imported between runs, a name at a time."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.waiting: list[str] = list(ENGINE)
        self.told_ready = False
        self.run: int | None = None
        self.pid = 0
        self._received = b""
        self._fds: list[int] = []

    def serve(self) -> None:
        wake, woken = os.pipe()
        for pipe in (wake, woken):
            os.set_blocking(pipe, False)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        try:
            while True:
                idle = self.run is None and bool(self.waiting)
                ready = select.select([self.control.fileno(), wake], [], [], 0 if idle else None)[0]
                if wake in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 4096)
                    self._see_whether_it_ended()
                if self.control.fileno() in ready and not self._listen():
                    return
                if idle and not ready:
                    self._import_one()
        finally:
            self._end()

    # --- what is asked ------------------------------------------------------------------------------

    def _listen(self) -> bool:
        """Do what has been asked; False once nobody is there to ask."""
        try:
            data, fds, _, _ = socket.recv_fds(self.control, 1 << 16, 4)
        except OSError:
            return False
        if not data:
            return False
        self._fds += fds
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            asked = json.loads(line)
            if "warm" in asked:
                self.waiting += [name for name in asked["warm"] if name not in self.waiting]
                self.told_ready = False
            elif "cancel" in asked:
                if asked["cancel"] == self.run:
                    self._end()
            else:
                self._start(asked, self._fds.pop(0))
        return True

    def _tell(self, **message: Any) -> None:
        with contextlib.suppress(OSError):
            self.control.sendall(json.dumps(message).encode() + b"\n")

    # --- imports ------------------------------------------------------------------------------------

    def _import_one(self) -> None:
        name = self.waiting.pop(0)
        # Whatever is wrong with it is said by the run that needs it.
        with contextlib.suppress(Exception):
            module, _, attribute = name.partition(":")
            loaded = importlib.import_module(module)
            if attribute:
                getattr(loaded, attribute)  # transformers loads its parts when they are asked for
            first_calls(name)
        if not self.waiting and not self.told_ready:
            self.told_ready = True
            gc.collect()
            gc.freeze()  # or the first collection in every child would copy all that was loaded
            self._tell(ready=True)

    # --- a run --------------------------------------------------------------------------------------

    def _start(self, asked: dict[str, Any], output: int) -> None:
        self._end()
        while self.waiting and self.waiting[0] in ENGINE:
            self._import_one()
        self.run = asked["run"]
        self._tell(started=self.run)

        def work() -> int:
            signal.set_wakeup_fd(-1)
            self.control.close()
            return _work(asked, output)

        self.pid = forked(work)
        os.close(output)

    def _see_whether_it_ended(self) -> None:
        if self.run is None:
            return
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self._ended(status)

    def _ended(self, status: int) -> None:
        run, self.run = self.run, None
        end(self.pid, gone=True)  # what the learner's code has started and left
        self._tell(ended=run, status=os.waitstatus_to_exitcode(status))

    def _end(self) -> None:
        if self.run is None:
            return
        end(self.pid)
        self._ended(os.waitpid(self.pid, 0)[1])


def first_calls(name: str) -> None:
    """Make those calls that load much of a library when they are made first."""
    if name == "numpy":
        import numpy as np

        np.linalg.svd(np.eye(2))
        np.random.default_rng(0).random()
        np.testing.assert_allclose(1.0, 1.0)
    elif name == "torch":
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # a pool of threads wouldn't live on in a fork
        x = torch.ones(2, dtype=torch.float64, requires_grad=True)
        torch.testing.assert_close(x, x)
        torch.autograd.gradcheck(lambda x: x * x, x)
        torch.nn.Linear(2, 2)(torch.ones(1, 2)).sum().backward()
        torch.set_num_threads(threads)
    elif name == "pytest":
        _dry_run()


def _dry_run() -> None:
    """One run of pytest over nothing: it imports what pytest imports while it runs."""
    import io
    import tempfile

    import pytest

    with tempfile.TemporaryDirectory() as folder:
        here = os.getcwd()
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", folder, folder])
        finally:
            os.chdir(here)


def _work(asked: dict[str, Any], output: int) -> int:
    """In the child: be as a fresh `python -m pytest ARGS` would be.  Its status and FINISHED are what it ends with."""
    for number in (signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    for fd, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(fd, target)
    for fd in (null, output):
        os.close(fd)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - these live as long as the process
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8", errors="replace", buffering=1)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, encoding="utf-8", errors="replace", buffering=1)  # noqa: SIM115
    os.environ["COLUMNS"] = str(asked["columns"])
    sys.argv = ["pytest", *asked["args"]]
    supervisor.asked_for, supervisor.leave = True, lambda status: os._exit(FINISHED + status)
    importlib.invalidate_caches()
    import pytest

    status = int(pytest.main(asked["args"]))  # supervised, this process ends in it
    sys.stdout.flush()
    sys.stderr.flush()
    return FINISHED + status


if __name__ == "__main__":
    main(int(sys.argv[1]))
