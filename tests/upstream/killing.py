"""Ends a piece of work by SIGKILL at a step of its own, as a power cut or `kill -9` would."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from typing import Any

STEPS = ((os, ("replace", "rename", "link", "unlink", "mkdir", "rmdir")), (shutil, ("rmtree", "copy2", "copyfile")),
         (subprocess, ("run",)))  # fmt: skip
"""Whatever changes a file: between two of these nothing does, but for writing into a file that has no name yet."""


def killed(point: int, work: Callable[[], Any]) -> bool:
    """Do `work` in a fork that is killed right before its step number `point`; whether it got there."""
    child = os.fork()
    if child == 0:
        left = [point]

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def step(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return step

        for module, names in STEPS:
            for name in names:
                setattr(module, name, counted(getattr(module, name)))
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
