"""A DAG of tasks: order, retries, a journal that survives a kill, backfills, Kubernetes Jobs."""

import copy
import hashlib
import heapq
import json
import os
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """A piece of work.

    name     its name, not empty
    run      does the work: run(day, inputs) gives the result, which is made of what JSON has
    after    the names of the tasks that it waits for
    retries  how often it is tried again after a failure
    """

    name: str
    run: Callable[[date, dict[str, Any]], Any]
    after: Sequence[str] = field(default=())
    retries: int = 0


@dataclass
class Report:
    """What became of each task.

    states  "done", "kept", "failed" or "blocked" for each task's name
    errors  the error of each task that failed, by name
    """

    states: dict[str, str] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)


def order(after: Mapping[str, Collection[str]]) -> list[str]:
    """All tasks, each behind those that it waits for.  after[name] has the names that the task `name` waits for.

    - Of the tasks that may come next, the one with the smallest name comes next, as Python compares texts.
    - A name that stands twice in after[name] counts once.
    - There may be tens of thousands of tasks, also in one chain.
    - Raises ValueError, naming both, if a task waits for one that isn't a key of `after`.
    - Raises ValueError if tasks wait for each other in a circle.  The message has the path of one: names with " → "
      between them, where each waits for the one before it, and the first stands again at the end.  No other name is
      in the path, and none is in it twice.  Which circle, and where it begins, is left open.
    """
    waiting = {name: set(needs) for name, needs in after.items()}
    followers: dict[str, list[str]] = {name: [] for name in waiting}
    for name, needs in waiting.items():
        for need in needs:
            if need not in waiting:
                raise ValueError(f"{name} waits for {need}, which isn't a task")
            followers[need].append(name)

    # A heap, as the smallest of those that may come next is asked for again and again.
    free = [name for name, needs in waiting.items() if not needs]
    heapq.heapify(free)
    found: list[str] = []
    while free:
        name = heapq.heappop(free)
        found.append(name)
        for follower in followers[name]:
            waiting[follower].remove(name)
            if not waiting[follower]:
                heapq.heappush(free, follower)
    if len(found) < len(waiting):
        stuck = {name: needs for name, needs in waiting.items() if needs}
        raise ValueError(f"tasks wait for each other in a circle: {' → '.join(_circle(stuck))}")
    return found


def _circle(stuck: dict[str, set[str]]) -> list[str]:
    """A circle among tasks of which each waits for another one of them."""
    walk, place = [min(stuck)], dict[str, int]()
    # There are finitely many, so the walk comes to one that it knows.  The way that led there is no part of the circle.
    while walk[-1] not in place:
        place[walk[-1]] = len(walk) - 1
        walk.append(min(stuck[walk[-1]]))
    return walk[place[walk[-1]] :][::-1]


def ready(after: Mapping[str, Collection[str]], done: Collection[str], running: Collection[str] = ()) -> list[str]:
    """The names of all tasks that may begin now, sorted: neither done nor running, and all that they wait for is done.

    Names in `done` and `running` that aren't in `after` don't count.  A circle is no error here: its tasks are
    never ready.
    """
    over, begun = set(done), {*done, *running}
    return sorted(name for name, needs in after.items() if name not in begun and over.issuperset(needs))


def with_retries(
    call: Callable[[], Any], retries: int, sleep: Callable[[float], None], base: float = 1.0, cap: float = 60.0
) -> Any:
    """The answer of call(), which is called again after an Exception, up to `retries` times.

    - Before retry n = 1, 2, … it calls sleep(min(cap, base · 2ⁿ⁻¹)).  `retries` may be in the thousands.
    - Any answer is an answer, None and False included.
    - If the last attempt fails, too, its error comes out as it is, without a wait.
    - What isn't an Exception, such as KeyboardInterrupt, comes out at once.
    - Raises ValueError, naming the number, if `retries` is below 0.  Then nothing is called.
    """
    if retries < 0:
        raise ValueError(f"retries is {retries}, expected 0 or more")
    wait = base
    for _ in range(retries):
        try:
            return call()
        except Exception:
            sleep(min(cap, wait))
            # Never far above the cap, so that it can't overflow.
            wait = min(cap, wait) * 2
    return call()


def publish(path: Path, content: bytes) -> bool:
    """Give the file `path` this content.  Returns True if it was written, False if it had this content before.

    - Missing folders are made.
    - A file that has this content already isn't touched.
    - At every moment `path` is as it was, or whole: the new file takes the old one's place in one step.  Whoever has
      opened the old one goes on to read the old contents.
    - A new file has the permissions that open() gives.  Which ones a replaced file has, is left open.
    - If writing fails, say because the disk is full, the error comes out.  `path` is as it was, and no other file is
      left in the folder.
    - No other file in the folder is touched, whatever its name.
    """
    if path.is_file() and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, as only within one disk a file can take another one's place in one step.
    unfinished = path.with_name(f".{secrets.token_hex(8)}.new")
    try:
        with open(unfinished, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return True


class Journal:
    """Notes in a file that survive a kill.  Each line is a JSON list, [key, value], in UTF-8, with "\\n" at its end."""

    def __init__(self, path: Path) -> None:
        """The notes in the file `path`.  It and its folders need not be there yet; the first note makes
        them."""
        self.path = path

    def note(self, key: str, value: Any) -> None:
        """Add a line to the file.

        - When it returns, the line is in the file: it is there even if the process is killed right after.
        - If the last line is torn, so that its "\\n" is missing, the new entry still gets a line of its own.  The torn
          line may stay or go.  The lines before stay as they are.
        - Raises TypeError if JSON lacks the value, as it lacks sets.  Then the file is as it was.
        """
        line = json.dumps([key, value]) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> dict[str, Any]:
        """All notes in the file as it is now, {key: value}; of a key that was noted several times the last value.

        - Lines that aren't a JSON list of a text and a value are left out: they are torn.  They may stand anywhere,
          and may be torn within a character.  A last line that is whole but for its "\\n" may count or not.
        - If the file isn't there, it is {}.
        - The caller may change what comes out: that changes nothing here.
        """
        found: dict[str, Any] = {}
        # Bytes are split at b"\n" only.  Texts are split at other characters as well.
        for line in self.path.read_bytes().split(b"\n") if self.path.exists() else ():
            try:
                entry = json.loads(line)
            except ValueError:  # also where it isn't UTF-8
                continue
            if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str):
                found[entry[0]] = entry[1]
        return found


def run_flow(
    tasks: Sequence[Task],
    day: date,
    journal: Journal,
    sleep: Callable[[float], None],
    base: float = 1.0,
    cap: float = 60.0,
) -> Report:
    """Run for `day` what isn't done yet; returns what became of each task.

    The tasks' turns come in the order of `order`.  The journal's key of a task is "<day>/<name>", such as
    "2026-03-01/clean", and the value is its result.

    - "kept": its key is in the journal.  It isn't run, also if what it waits for has failed.  Its result is the one
      from there, whatever it is.
    - "blocked": a task that it waits for has failed or is blocked.  It isn't run.
    - "done": run(day, inputs) gave a result.  `inputs` has the result of each task in `after`, and no others; the
      task may change them, and nobody notices.  The result is noted before the next task begins.
    - "failed": it raised an Exception in its first try and in all its retries, made as `with_retries` says, each with
      fresh inputs.  The last error is in `errors`.  Nothing is noted.  All that doesn't wait for it still runs.

    What isn't an Exception comes out at once.  A result that JSON lacks is left open.  Before anything runs:

    - Raises ValueError, naming it, if two tasks have the same name.
    - Raises what `order` raises.
    """
    by_name = {task.name: task for task in tasks}
    if twice := [task.name for task in tasks if by_name[task.name] is not task]:
        raise ValueError(f"two tasks have the name {twice[0]}")

    report, known = Report(), journal.entries()
    results: dict[str, Any] = {}
    for name in order({task.name: task.after for task in tasks}):
        task, key = by_name[name], f"{day}/{name}"
        if key in known:
            results[name], report.states[name] = known[key], "kept"
            continue
        if any(report.states[need] in ("failed", "blocked") for need in task.after):
            report.states[name] = "blocked"
            continue
        try:
            results[name] = with_retries(lambda task=task: _once(task, day, results), task.retries, sleep, base, cap)
        except Exception as error:
            report.states[name], report.errors[name] = "failed", error
            continue
        # After the work, never before: a task that is killed in between runs twice, which `publish` makes harmless.
        journal.note(key, results[name])
        report.states[name] = "done"
    return report


def _once(task: Task, day: date, results: dict[str, Any]) -> Any:
    return task.run(day, {need: copy.deepcopy(results[need]) for need in task.after})


def backfill(
    tasks: Sequence[Task], first: date, today: date, journal: Journal, sleep: Callable[[float], None], every: int = 1
) -> dict[date, Report]:
    """Run the tasks for each day that is due, the oldest first; returns the report of each, by day, in this order.

    - The days are first, first + every, first + 2 · every, …  A run for day d is about the days from d up to, but
      without, d + every.  So it is due when d + every isn't later than `today`.  It may be that none is.
    - A failure on one day doesn't keep another day from running.
    - Raises ValueError, naming the number, if `every` is below 1.
    - Raises what `run_flow` raises.
    """
    if every < 1:
        raise ValueError(f"every is {every}, expected 1 or more")
    reports: dict[date, Report] = {}
    step = timedelta(days=every)
    while first + step <= today:
        reports[first] = run_flow(tasks, first, journal, sleep)
        first += step
    return reports


def plan(tasks: Sequence[Task], day: date, image: str) -> list[list[dict[str, Any]]]:
    """The tasks as Kubernetes Jobs in waves: a wave has the Jobs that may run when all waves before are complete.

    A task is in the first wave that it may be in.  Within a wave the tasks are sorted by name.  Each Job is a dict:

    - apiVersion "batch/v1", kind "Job".
    - metadata: "name", see below; "labels" with "day", such as "2026-03-01"; "annotations" with "task", the task's
      name as it is, since not every name can be a label.
    - spec: "backoffLimit", the task's retries; "template", whose "spec" has "restartPolicy" "Never" and one container.
    - The container has a "name", the image, and "args": the task's name and the day, such as ["clean", "2026-03-01"].
      Its name may be any valid one.

    A Job's name has 1 to 63 characters: "a" to "z", "0" to "9" and "-", and no "-" at its ends.  It is the same
    whenever the task's name and the day are, also in another process, and another one otherwise.

    Raises ValueError, naming it, if two tasks have the same name, and what `order` raises.
    """
    by_name = {task.name: task for task in tasks}
    if twice := [task.name for task in tasks if by_name[task.name] is not task]:
        raise ValueError(f"two tasks have the name {twice[0]}")
    after = {task.name: task.after for task in tasks}
    wave: dict[str, int] = {}
    for name in order(after):
        wave[name] = max((wave[need] + 1 for need in after[name]), default=0)
    waves: list[list[dict[str, Any]]] = [[] for _ in range(max(wave.values(), default=-1) + 1)]
    for name in sorted(wave):
        waves[wave[name]].append(_job(by_name[name], day.isoformat(), image))
    return waves


def _job(task: Task, day: str, image: str) -> dict[str, Any]:
    # The readable part may be the same for "a_b" and "a-b"; the digest isn't.
    readable = re.sub("[^a-z0-9]+", "-", task.name.lower()).strip("-")[:30]
    digest = hashlib.sha256(f"{day}/{task.name}".encode()).hexdigest()[:16]
    container = {"name": "task", "image": image, "args": [task.name, day]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{readable}-{digest}".lstrip("-"),
            "labels": {"day": day},
            "annotations": {"task": task.name},
        },
        "spec": {
            # Said even where it is 0, as Kubernetes' default is 6.
            "backoffLimit": task.retries,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }
