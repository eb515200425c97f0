"""The workers of `pytest -n 2`: one that dies costs its kata, not the run.

All tests of a kata go to the same worker.  A worker that dies in one of them is replaced
once: the kata's other tests aren't run again, and those of other katas go on.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from dojo.curriculum.katas import Dojo
from dojo.judging.inside import ROOM, Inside
from dojo.judging.slate import Slate


class Workers:
    """What the process that hands out the tests knows of those that run them."""

    def __init__(self, dojo: Dojo, inside: Inside) -> None:
        self.dojo = dojo
        self.inside = inside
        self.room: Path | None = None
        self.verdicts: dict[str, dict[str, Any]] = {}  # of the test in which a worker died, by the worker's name

    def configure(self, config: pytest.Config) -> str | None:
        """Make the folder that the workers share, where there are to be any.  The name of this worker, if it is one."""
        if hasattr(config, "workerinput"):
            return str(config.workerinput["workerid"])
        if not getattr(config.option, "numprocesses", None) or not hasattr(os, "fork"):
            return None
        if config.option.maxworkerrestart is None:
            # Each kata ends one worker at most, so there is an end to it; xdist would give up after eight.
            config.option.maxworkerrestart = str(10**6)
        import tempfile

        with contextlib.suppress(OSError):
            self.room = self.inside.room = Path(tempfile.mkdtemp(prefix="dojo-"))
            os.environ[ROOM] = str(self.room)
            self.inside.tell(room=str(self.room))
            if self.inside.news is not None:
                (self.room / "supervised").touch()
        return None

    def scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Who hands out the tests, unless --dist says how."""
        given = config.invocation_params.args
        if config.option.dist != "load" or any(str(arg).startswith(("--dist", "-d")) for arg in given):
            return None
        from dojo.judging.scheduling import ByKata

        return ByKata(config, log)

    def unconfigure(self) -> None:
        if self.room is not None:
            import shutil

            os.environ.pop(ROOM, None)
            shutil.rmtree(self.room, ignore_errors=True)

    def died(self, node: Any, error: object) -> None:
        """A worker is gone: see what it was doing, and let no other do that."""
        if not error or self.room is None:
            return
        from dojo.judging.aftermath import crash_verdict

        name = node.gateway.id
        # First: its end of the line may be closed before it has written its last word and is gone.
        status = _status(node)
        try:
            doing = Slate.at(self.room / f"{name}.slate").read()
            stack = (self.room / f"{name}.stack").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        katas = {kata.name: kata for kata in self.dojo.katas}
        kata = katas.get(doing.get("kata", ""))
        if kata is None:
            return
        late = (self.room / f"{name}.late").exists()
        verdict = crash_verdict(kata, doing, status, stack, late)
        self.verdicts[name] = verdict
        if doing.get("test"):
            self.inside.bar(kata.name, [f"Not run: {doing['test']} ended Python, and so the others were left out."])
        else:
            self.inside.bar(kata.name, [f"While {Path(verdict['file']).name} was being loaded:", *verdict["lines"]])

    def crashed(self, report: Any) -> None:
        """pytest-xdist tells of a test in which a worker died."""
        verdict = self.verdicts.get(report.node.gateway.id)
        if verdict is not None:
            report.when = "call"
            report.dojo = verdict
            report.longrepr = "\n".join(verdict["lines"])


def _status(node: Any) -> int:
    """The exit status of a worker's process; 0 where it can't be had, which says least."""
    with contextlib.suppress(Exception):
        return int(node.gateway._io.popen.wait(2))
    return 0
