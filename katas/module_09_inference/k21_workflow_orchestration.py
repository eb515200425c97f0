"""Workflow orchestration: a DAG of tasks that survives a kill

**Before you start.**  You need JSON, files, and `datetime.date`; no other kata.  If sorting a graph
is new to you: "Topological sorting" on Wikipedia, the part on Kahn's algorithm.

**The idea.**  Each night a model needs new data: fetch it, clean it, train, write a report.  Some
night the network is down, or the machine restarts in the middle.  In the morning somebody must find
out what is done, and what must be done again.  An *orchestrator* does this for you, as Airflow and
Kubeflow do.

You tell it which task waits for which.  That is a *DAG*, a directed graph without circles.  From it
the orchestrator knows what may begin.  It tries again what fails.  It keeps a *journal* on disk of
what is done, so that after a crash it goes on where it was.

Each run has a *logical date*: the day that its data is about.  It isn't the day on which it happens
to run.  So yesterday's run can be made up for next week, and does the same.  To run many past days
is a *backfill*.

**The formulas**

    ready          =  { t : t isn't done,  and all that t waits for is done }
    wait before retry n  =  min(cap, base · 2^(n - 1))                n = 1, 2, 3, …
    day d is due   ⟺  d + every ≤ today
    wave of t      =  0 if t waits for nothing,  else 1 + the largest wave of those it waits for

**A drawing** of a DAG.  The waves are what can run side by side:

                    ┌──────▶ clean ──────▶ train ──────┐
        fetch ──────┤                                  ├──────▶ report
                    └──────▶ stats ────────────────────┘

    wave  0            1               2                  3

And of a run that is killed in the middle of train.  The journal grows from left to right:

    first run    │ fetch ✓ │ clean ✓ │ stats ✓ │ tra✗
    journal      │ fetch   │ clean   │ stats   │
    second run     kept      kept      kept      train ✓ │ report ✓

**Why note a task after its work, and not before?**  Somewhere between the two the machine may stop.
Noted before, the task counts as done and never was.  Noted after, it may run twice.  That is the
better mistake, if running twice does no harm.

**How does running twice do no harm?**  A task must be *idempotent*: it replaces its result, and
adds to nothing.  Its file gets its name only when it is whole.  So nobody ever reads half of it.

**What is a torn line?**  Whoever is killed while writing leaves half a line.  A reader must leave
it out.  And the next writer must begin a new line.  Otherwise its own entry is glued to the half
one, and is lost, too.

**Why must the logical date be over?**  A run for March 1 is about all that happened on March 1.
At noon of that day half of it is missing.  So it runs on March 2 at the earliest.

**Why waves for Kubernetes?**  A Job can't wait for another Job.  So a script applies a wave, waits
until it is complete, and applies the next.  If the script is killed, it applies the wave again.
The names are the same, so Kubernetes starts nothing twice.

**Worked by hand**, with the DAG of the drawing:

    order            fetch, clean, stats, train, report      clean before stats: smaller name
    ready            done: fetch, clean    running: stats    → train
    a waits for c, b for a, c for b:       error with "a → b → c → a", or the same from b or c
    3 retries, base 2, cap 5               waits 2, 4, 5
    first = March 1, today = March 4       due: March 1, 2, 3
    the same, every 2 days                 due: March 1.  March 3 and 4 aren't over yet

If clean fails: train and report are blocked; stats is done all the same.

**Shapes**: no arrays.  Names are texts, and may have any characters.  Days are `datetime.date`.
One process works on a journal at a time.  The tasks run one after the other, in your process.  What
an orchestrator would run side by side, `ready` and `plan` tell.  No function changes its arguments;
run_flow and backfill add to the journal's file.  Time is what `sleep` is told: never
call time.sleep, and never ask what day it is.

**Steps.**  A good place to pause is before Journal.

    order         16 min   the circle, without the way that leads to it
    ready          5 min   what may begin now
    with_retries   6 min   no wait after the last one
    publish        8 min   old or new, never half
    Journal       11 min   torn lines
    run_flow      16 min   kept, blocked, done, failed
    backfill       7 min   only days that are over
    plan          12 min   names that Kubernetes accepts

Sources: Kahn 1962, "Topological sorting of large networks"; the Airflow documentation, "DAG Runs"
(logical dates, backfill); the Kubernetes documentation, "Jobs" and "Object Names and IDs".

From scratch: graphlib, networkx, tenacity, airflow, luigi and prefect may not be used; heapq, json,
hashlib and tempfile may.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
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
    raise NotImplementedError


def ready(after: Mapping[str, Collection[str]], done: Collection[str], running: Collection[str] = ()) -> list[str]:
    """The names of all tasks that may begin now, sorted: neither done nor running, and all that they wait for is done.

    Names in `done` and `running` that aren't in `after` don't count.  A circle is no error here: its tasks are
    never ready.
    """
    raise NotImplementedError


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
    raise NotImplementedError


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
    raise NotImplementedError


class Journal:
    """Notes in a file that survive a kill.  Each line is a JSON list, [key, value], in UTF-8, with "\\n" at its end."""

    def __init__(self, path: Path) -> None:
        """The notes in the file `path`.  It and its folders need not be there yet; the first note makes
        them."""
        raise NotImplementedError

    def note(self, key: str, value: Any) -> None:
        """Add a line to the file.

        - When it returns, the line is in the file: it is there even if the process is killed right after.
        - If the last line is torn, so that its "\\n" is missing, the new entry still gets a line of its own.  The torn
          line may stay or go.  The lines before stay as they are.
        - Raises TypeError if JSON lacks the value, as it lacks sets.  Then the file is as it was.
        """
        raise NotImplementedError

    def entries(self) -> dict[str, Any]:
        """All notes in the file as it is now, {key: value}; of a key that was noted several times the last value.

        - Lines that aren't a JSON list of a text and a value are left out: they are torn.  They may stand anywhere,
          and may be torn within a character.  A last line that is whole but for its "\\n" may count or not.
        - If the file isn't there, it is {}.
        - The caller may change what comes out: that changes nothing here.
        """
        raise NotImplementedError


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
    raise NotImplementedError


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
    raise NotImplementedError


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
    raise NotImplementedError
