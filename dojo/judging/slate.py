"""What a process is doing, written where another can read it after the process is gone.

A page of memory that both share: nothing has to be sent, so nothing is lost however
the process ends.
"""

from __future__ import annotations

import json
import mmap
import os
from pathlib import Path
from typing import Any

SIZE = 1 << 14


class Slate:
    """One thing at a time, as plain values; what is written replaces what was there."""

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
        self.owner = os.getpid()  # a fork of the writer that goes its own way doesn't write

    @classmethod
    def between_forks(cls) -> Slate:
        """One that a parent and its children share."""
        return cls(mmap.mmap(-1, SIZE))

    @classmethod
    def at(cls, path: Path) -> Slate:
        """One in the file `path`, which is made where it is missing.  Raises OSError."""
        with open(path, "a+b") as file:
            file.truncate(SIZE)
            return cls(mmap.mmap(file.fileno(), SIZE))

    @property
    def interrupted(self) -> bool:
        """Whether the one who reads has been told to end: the only word in that direction."""
        return self.memory[SIZE - 1] == 1

    def interrupt(self) -> None:
        self.memory[SIZE - 1] = 1

    def write(self, doing: dict[str, Any]) -> None:
        if os.getpid() != self.owner:
            return
        text = json.dumps(doing).encode()
        if len(text) > SIZE - 8:
            text = json.dumps({key: doing[key] for key in ("pid", "phase", "kata", "until") if key in doing}).encode()
        self.memory[:4] = bytes(4)
        self.memory[4 : 4 + len(text)] = text
        self.memory[:4] = len(text).to_bytes(4, "little")

    def read(self) -> dict[str, Any]:
        """What was written last; {} for nothing, or where the writer is in the middle of it."""
        length = int.from_bytes(self.memory[:4], "little")
        try:
            found = json.loads(self.memory[4 : 4 + min(length, SIZE - 8)])
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}
