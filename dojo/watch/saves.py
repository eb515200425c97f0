"""Which files were saved: from the system's notifications, or by looking at them again and again."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

STEP = 15
"""Milliseconds without a further change after which a save is told of: an editor writes in several steps."""


class Saves:
    """Tells of saved .py and .toml files under `folders`, from a thread of its own.

    folders  folders and files that exist
    poll     look at the files again and again; None: only where the system doesn't notify

    `problem` says, in a sentence, where notifications could not be had.
    """

    def __init__(self, folders: Sequence[Path], poll: bool | None = None) -> None:
        self.problem = ""
        self.polling = bool(poll)
        self._folders = folders
        self._saved: set[Path] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        self.started = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="dojo-saves", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Becomes readable when files were saved."""
        return self._wake

    def take(self) -> set[Path]:
        """The files that were saved since the last call."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        with self._lock:
            saved, self._saved = self._saved, set()
        return saved

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        for fd in (self._wake, self._woken):
            os.close(fd)

    def _watch(self) -> None:
        for poll in (True,) if self.polling else (False, True):
            try:
                self._follow(poll)
            except Exception as error:  # whatever the system says: polling needs nothing of it
                if poll:
                    self._tell_problem(f"files can't be watched: {error}; press Enter to run")
                    return
                self.polling = True
                self._tell_problem(f"no notifications of saves ({error}): the files are looked at again and again")
            if self._stop.is_set():
                return

    def _follow(self, poll: bool) -> None:
        from watchfiles import Change, watch

        def wanted(change: Change, path: str) -> bool:
            name = os.path.basename(path)
            return change != Change.deleted and name.endswith((".py", ".toml")) and not name.startswith(".")

        following = watch(
            *self._folders, watch_filter=wanted, step=STEP, debounce=20 * STEP, stop_event=self._stop,
            rust_timeout=200, yield_on_timeout=True, force_polling=poll, poll_delay_ms=200, raise_interrupt=False,
        )  # fmt: skip
        for changes in following:
            self.started.set()
            if changes:
                with self._lock:
                    self._saved |= {Path(path) for _, path in changes}
                self._notify()

    def _tell_problem(self, text: str) -> None:
        self.problem = text
        self._notify()

    def _notify(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._woken, b"x")
