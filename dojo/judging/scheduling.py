"""How `-n 2` hands out the tests: by katas.  Imported only where pytest-xdist is."""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadFileScheduling


class ByKata(LoadFileScheduling):  # type: ignore[misc]
    """All tests of a file go to one worker, and a test in which a worker has died isn't given to another.

    xdist's own way hands the units that a dead worker had finished to the next one, too, and hands units to
    one that hasn't told its tests yet, where two workers die at once.  One that is handed nothing waits for ever.
    """

    def _reschedule(self, node: Any) -> None:
        if node in self.registered_collections:  # it is asked again once it has told its tests
            super()._reschedule(node)

    def remove_node(self, node: Any) -> str | None:
        """Take the work of a worker that is gone; the test that it died in, if it did."""
        workload = self.assigned_work.pop(node)
        left = [nodeid for unit in workload.values() for nodeid, done in unit.items() if not done]
        if not left:
            return None
        for scope, unit in workload.items():
            if left[0] in unit:
                unit[left[0]] = True
            if not all(unit.values()):
                self.workqueue[scope] = unit
        for other in self.assigned_work:
            self._reschedule(other)
        return str(left[0])
