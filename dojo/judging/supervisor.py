"""The process that owns the terminal, the record and the exit status: it never runs learners' code.

Before anything of a run is loaded, pytest is forked.  The child goes on as if nothing had
happened: it collects, runs and prints, to the same terminal and in the same process group.
The parent waits.  It is told by a pipe what was found, reads from a page of shared memory
what is being done, writes the record, and ends as the child does, once the child has said
its last word.  A child that dies without one, or overruns, is told in the block that learners
know, and the run isn't green.

Not proof against somebody who is determined to forge a verdict: the child can write to the
pipe what it likes.  That takes a grader in a sandbox.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dojo.checks.debugger import debugged, traced
from dojo.judging.inside import Inside
from dojo.judging.slate import Slate

if TYPE_CHECKING:
    from dojo.curriculum.katas import Dojo

AFTER = 4.0
"""Seconds past a deadline after which a process is ended from outside; it has ended itself by then, if it can."""

LOOK = 0.25
"""Seconds between two looks at what is being done."""

FAREWELL = 2.0
"""Seconds that a child has to go after its last word."""

STRAYS = 0.3
"""Seconds that what the child has left behind has to end by itself."""

INTERRUPT = 0.7
"""Seconds in which a child that has heard Ctrl-C says so; else it is told once more."""

PATIENCE = 5.0
"""Seconds that a child has to come to its end after Ctrl-C; thrice as many where it has workers to end first."""

PROGRAMS = ("pytest", "py.test", "pytest.exe")

leave: Callable[[int], NoReturn] = os._exit
"""How the parent ends; `dojo watch` sets another."""

asked_for = False
"""Whether pytest.main() was called by somebody who wants it supervised, though it isn't the program that runs."""


def wise(config: Any) -> bool:
    """Whether to fork: there is fork, pytest is the program, learners' code is asked for, and no debugger is there."""
    option = config.known_args_namespace
    if not hasattr(os, "fork") or not (asked_for or _is_program()):
        return False
    if option.capture == "no" or traced() or debugged(option) or threading.active_count() > 1:
        return False
    if option.help or option.version or getattr(option, "show_fixtures", False):
        return False
    return _asks_for_katas(config, option.file_or_dir)


def _is_program() -> bool:
    program = Path(sys.argv[0])
    return program.name in PROGRAMS or program.parts[-2:] == ("pytest", "__main__.py")


def _asks_for_katas(config: Any, paths: list[str]) -> bool:
    """Whether any path is outside of the project, or in its katas, or none is named."""
    root, here = config.rootpath, config.invocation_params.dir
    for path in paths:
        target = Path(os.path.normpath(here / path.split("::", 1)[0]))
        inside = target.is_relative_to(root) and target != root and target.exists()
        if not inside or target.relative_to(root).parts[:1] == ("katas",):
            return True
    return not paths


def fork(config: Any) -> Inside:
    """In the child, and where there is none: the ends to tell through.  The parent doesn't return."""
    if not wise(config):
        # A worker isn't the program pytest; pytest in a test that a worker runs is, and inherits the variable.
        worker = None if asked_for or _is_program() else os.environ.get("PYTEST_XDIST_WORKER")
        return Inside.worker(worker) if worker else Inside()
    try:
        slate, stack = Slate.between_forks(), _memory()
        news, write = os.pipe()
    except OSError:
        return Inside()  # no descriptors, no memory: better judged without a supervisor than not at all
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(news)
        slate.owner = os.getpid()
        return Inside(write, slate, stack)
    os.close(write)
    status = 1
    try:
        status = Supervisor(config, pid, news, slate, stack).run()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        leave(status)


def _memory() -> int:
    """A file without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("dojo-stack")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Supervisor:
    """Waits for the child `pid`, and sees to it that the run has an end and a verdict."""

    def __init__(self, config: Any, pid: int, news: int, slate: Slate, stack: int) -> None:
        self.config, self.pid, self.news, self.slate, self.stack = config, pid, news, slate, stack
        self.messages: list[dict[str, Any]] = []
        self.word: int | None = None
        self.said_at = 0.0  # when the last word came
        self.room: Path | None = None
        self.debugging = self.told_of_interrupt = False
        self.interrupts: list[float] = []
        self.forwarded = 0
        self.ending: int | None = None  # the signal that ends this process
        self.overran: dict[str, Any] = {}
        self.dojo: Dojo | None = None
        self._received = b""
        self._status: int | None = None
        os.set_blocking(news, False)

    def run(self) -> int:
        """Until the child and all that it has started are gone.  Returns the exit status."""
        wake, woken = os.pipe()
        for end in (wake, woken):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGINT, self._be_interrupted)
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._be_ended)
        adopt_orphans()
        self._get_ready()
        while self._status is None:
            ready = select.select([self.news, wake], [], [], LOOK)[0]
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
            self._listen()
            self._reap()
            if self._status is None:
                self._see_to_interrupts()
                self._see_to_deadlines()
                if self.ending is not None or (self.word is not None and time.monotonic() > self.said_at + FAREWELL):
                    self._kill(self.pid)
        self._listen()
        end_strays()
        if self.ending is not None:
            self._clear_up()
            signal.signal(self.ending, signal.SIG_DFL)
            os.kill(os.getpid(), self.ending)
        return self._conclude()

    def _get_ready(self) -> None:
        """Load what the end needs while the child is at work, so that nobody waits for it then."""
        with contextlib.suppress(Exception):  # said at the end, where it is needed
            import dojo.judging.aftermath
            import dojo.learner.record  # noqa: F401
            from dojo.curriculum.katas import open_dojo

            self.dojo = open_dojo(self.config.rootpath)
            _ = self.dojo.katas

    def _be_interrupted(self, number: int, frame: Any) -> None:
        self.interrupts.append(time.monotonic())
        self.slate.interrupt()
        if self.room is not None:
            with contextlib.suppress(OSError):
                (self.room / "interrupted").touch()

    def _be_ended(self, number: int, frame: Any) -> None:
        self.ending = number

    # --- what the child tells -----------------------------------------------------------------------

    def _listen(self) -> None:
        while True:
            try:
                data = os.read(self.news, 1 << 16)
            except (BlockingIOError, InterruptedError):
                return
            if not data:
                return
            *lines, self._received = (self._received + data).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):
                    self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        if "word" in message:
            self.word, self.said_at = int(message["word"]), time.monotonic()
        elif "room" in message:
            self.room = Path(message["room"])
        elif "debugging" in message:
            self.debugging = bool(message["debugging"])
        elif "interrupted" in message:
            self.told_of_interrupt = True
        else:
            self.messages.append(message)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid == self.pid:
                    self._status = os.waitstatus_to_exitcode(status)

    # --- what has to be ended -----------------------------------------------------------------------

    def _see_to_interrupts(self) -> None:
        """A Ctrl-C reaches the child by itself; one that was sent to this process alone is handed on."""
        if not self.interrupts or self.debugging:
            return
        since = time.monotonic() - self.interrupts[0]
        if not self.told_of_interrupt and self.forwarded < len(self.interrupts) and since > INTERRUPT:
            self.forwarded = len(self.interrupts)
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGINT)
        if since > PATIENCE * (3 if self.room is not None else 1) or (len(self.interrupts) > 2 and since > INTERRUPT):
            self._kill(self.pid)

    def _see_to_deadlines(self) -> None:
        if self.debugging:
            return
        slates = [self.slate]
        if self.room is not None:
            for path in self.room.glob("*.slate"):
                with contextlib.suppress(OSError):
                    slates.append(Slate.at(path))
        for slate in slates:
            doing = slate.read()
            until = doing.get("until")
            if until is not None and time.monotonic() > until + AFTER and doing != self.overran:
                self.overran = doing
                if doing["pid"] != self.pid and self.room is not None and doing.get("worker"):
                    with contextlib.suppress(OSError):
                        (self.room / f"{doing['worker']}.late").touch()
                self._kill(doing["pid"])

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)

    # --- the end ------------------------------------------------------------------------------------

    def _clear_up(self) -> None:
        if self.room is not None:
            import shutil

            shutil.rmtree(self.room, ignore_errors=True)

    def _conclude(self) -> int:
        from dojo.judging.aftermath import Aftermath

        try:
            stack = os.pread(self.stack, 1 << 16, 0).decode(errors="replace")
        except OSError:
            stack = ""
        aftermath = Aftermath(self.config, self.messages, self.dojo)
        assert self._status is not None
        interrupted = bool(self.interrupts)
        if self.word is not None:
            status = self.word
            if aftermath.raised is not None and not interrupted:
                # Nobody pressed Ctrl-C: the learner's code did what it does.
                aftermath.tell_of_death(aftermath.raised, 0, "", False)
                status = 1
        elif interrupted:
            status = 2
            aftermath.say("interrupted: the run was ended before it had come to its end")
        elif self._status > 0 and not self.slate.read() and not aftermath.was_begun:
            status = self._status  # pytest's own refusal to begin: it has said why
        else:
            late = self.overran.get("pid") == self.pid
            aftermath.tell_of_death(self.slate.read() or self.overran, self._status, stack, late)
            status = 1
        aftermath.write_down()
        self._clear_up()
        return status


# --- processes ------------------------------------------------------------------------------------------


def adopt_orphans() -> None:
    """On Linux: what outlives its parent becomes a child of this process, so that it can be found and ended."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(Exception):
        import ctypes

        PR_SET_CHILD_SUBREAPER = 36
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_strays() -> None:
    """End every process that the child has left behind, once it has had a moment to end by itself."""
    until = time.monotonic() + STRAYS
    while left := _descendants(os.getpid()):
        if time.monotonic() > until:
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if time.monotonic() > until + FAREWELL:
            return
        time.sleep(0.005)


def _descendants(pid: int) -> list[int]:
    """The processes under `pid`, as far as the system tells of them."""
    parents = {}
    for entry in os.scandir("/proc") if os.path.isdir("/proc/self") else ():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{entry.name}/stat", "rb") as file:
                parents[int(entry.name)] = int(file.read().rpartition(b")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]
