"""Experiment tracking: what was tried, and what came out

**Before you start.**  You need files and JSON, or sqlite3, and context managers.  No other kata.
One step talks to MLflow; its tests are skipped where the extra `serving` isn't installed.  If
`with` and `contextlib.contextmanager` are new to you: "contextlib" in Python's documentation.

**The idea.**  After a week you have trained two hundred models.  One was the best.  Which settings
had it, and where is its file?  Nobody remembers, and names like model_final_2b.pt don't help.

So every training writes a diary.  A *run* has a name, its settings (*params*), its *metrics* step
by step, its files (*artifacts*), and how it ended.  From these diaries you find the best run, and
see in which settings two runs differ.  A *sweep* tries all combinations of some settings.  And a
*registry* says which run's model is used now: it gives models versions, and puts them into stages.

You write a small tracker of your own.  Then you hand its runs to two well-known ones, MLflow and
Weights & Biases.

**The formulas**

    latest value of a metric   =  its value at the largest step
    best run                   =  the run with the smallest (or largest) latest value,
                                  of all that have finished; NaN never wins
    runs of a sweep            =  the product of the lists: 2 rates · 3 sizes = 6 runs

**A drawing** of the life of a run, and of a version in the registry:

                    ┌──▶ FINISHED    the block came to its end
    start ─▶ RUNNING├──▶ FAILED      it raised an error
                    └──▶ KILLED      somebody pressed Ctrl-C

    register ─▶ None ──▶ Staging ──▶ Production ──▶ Archived
                                      ▲        │
                           version 3 ─╯        ╰─▶ version 2, there until now

**Why is nothing kept back in memory?**  Training is killed when you least expect it.  What was
logged must be on the disk then.  So each call writes before it returns.

**Why can't a finished run be changed?**  Somebody has compared it, or uses its model.  If its
numbers could change afterwards, no comparison would be worth anything.

**Why does NaN need care?**  A run that has diverged logs NaN.  Every comparison with NaN is false,
so `min` may return it, depending on the order.  And SQLite makes NULL of NaN, without a word.

**Why does a sweep look for old runs?**  It takes a night, and breaks off at four in the morning.
Started again it should go on, not begin anew.  So what has finished isn't run again.

**Why stages?**  The service asks for "the model in Production", not for version 3.  So a new model
goes live, or an old one comes back, without a change of the service.  MLflow 3 calls this aliases.

**Worked by hand**

    sweep over lr = [0.1, 0.2], n = [1, 2];  the loss at step s is lr · n + 1 / s, for s = 1, 2

        run   lr   n   s=1   s=2
        1     0.1  1   1.1   0.6
        2     0.1  2   1.2   0.7
        3     0.2  1   1.2   0.7
        4     0.2  2   1.4   0.9

    best by loss, the smallest:  run 1, by its latest value 0.6.  The largest: run 4
    differences of runs 1 and 2: {"n": [1, 2]}       of 1 and 4: {"lr": [0.1, 0.2], "n": [1, 2]}
    register run 1 as "digits": version 1; run 4: version 2
    version 1 to Production, then version 2 to Production: version 1 is Archived

**Shapes**: there are none.  Params are what JSON has: texts, finite numbers, truth values, None,
lists, and dicts whose keys are texts.  They come back equal and of the same types.  Metrics are
floats, NaN and the infinities as well.  Steps are ints ≥ 0.  Artifacts are bytes.  No function
changes its arguments.

**Steps.**  A good place to pause is before sweep.

    Tracker      28 min   on the disk before the call returns
    best          7 min   who may win?
    differences   6 min   some runs lack some params
    sweep        12 min   it goes on where it broke off
    Registry     13 min   one version in Production
    replay        5 min   step by step, all metrics together
    to_mlflow    12 min   a run written by MLflow's client

Sources: the MLflow documentation, "Tracking", "Model Registry" and the class MlflowClient; the
Weights & Biases documentation, "Log objects and media" (`run.log` and its `step`).

From scratch: wandb may not be used, and mlflow only in to_mlflow.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any


class Tracker:
    """Keeps runs in a folder.

    - What a call writes is on the disk when it returns: another Tracker of the same folder, in this process or
      another one, sees it from then on.
    - Every method that takes a `run_id` raises KeyError, naming it, if there is no such run.
    - `log`, `save` and `end` raise ValueError, naming the run, if it has ended.
    """

    def __init__(self, folder: Path) -> None:
        """Keeps everything below `folder`, which is made if need be, with the folders above it."""
        raise NotImplementedError

    def start(self, name: str, params: dict[str, Any]) -> str:
        """Start a run; returns its id, a text that no other run of the folder has.

        - Runs may have the same name.  Two processes may start runs at the same moment.
        - What the caller does with `params` afterwards changes nothing.
        """
        raise NotImplementedError

    def log(self, run_id: str, step: int, metrics: dict[str, float]) -> None:
        """Note the values of some metrics at a step.

        - Steps may come in any order.  A metric that has a value at this step gets the new one in its place.
        - Values may be NaN or infinite, or numpy's numbers.
        """
        raise NotImplementedError

    def save(self, run_id: str, name: str, data: bytes) -> None:
        """Keep an artifact under a name, such as "model.bin" or "plots/loss.png".  One of that name is replaced.

        Raises ValueError, naming it, if the name is empty, begins with "/", or has a part "..": it could lie anywhere.
        """
        raise NotImplementedError

    def end(self, run_id: str, status: str = "FINISHED") -> None:
        """End a run: "FINISHED", "FAILED" or "KILLED".  Raises ValueError, naming it, for any other status."""
        raise NotImplementedError

    @contextlib.contextmanager
    def running(self, name: str, params: dict[str, Any]) -> Iterator[str]:
        """`with tracker.running(name, params) as run_id:` starts a run, and ends it with the block.

        - It is FINISHED if the block comes to its end, and FAILED if an Exception comes out of it.
        - It is KILLED if something else comes out: KeyboardInterrupt, which is Ctrl-C, or SystemExit.
        - Whatever comes out goes on.
        """
        raise NotImplementedError

    def runs(self) -> list[str]:
        """The ids of all runs, in the order in which they were started."""
        raise NotImplementedError

    def run(self, run_id: str) -> dict[str, Any]:
        """What is known of a run now, in a dict with these keys:

        - "id", "name", "params", as they were given.
        - "status": "RUNNING", or how it has ended.
        - "metrics": the latest value of each metric, by name: that of its largest step.
        - "artifacts": the sorted names of its artifacts.

        The caller may change it: that changes nothing here.
        """
        raise NotImplementedError

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """All (step, value) of a metric, sorted by step; empty if the run has no such metric."""
        raise NotImplementedError

    def load(self, run_id: str, name: str) -> bytes:
        """The content of an artifact.

        Raises FileNotFoundError, naming it, if there is none of that name, and ValueError for names as `save` does.
        """
        raise NotImplementedError


def best(tracker: Tracker, metric: str, mode: str = "min") -> str | None:
    """The id of the FINISHED run with the smallest latest value of the metric, or with the largest, if mode is "max".

    - Runs that haven't the metric, or whose latest value is NaN, don't take part.  Infinite values do.
    - Of several equal ones the one that was started first wins.
    - It is None if no run takes part.

    Raises ValueError, naming it, for any other mode.
    """
    raise NotImplementedError


def differences(tracker: Tracker, run_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The params in which the runs differ: for each its values, in the order of `run_ids`.

    - A run that hasn't the param has None.
    - A param is left out if all its values are equal (==).
    """
    raise NotImplementedError


def sweep(
    tracker: Tracker,
    name: str,
    space: dict[str, Sequence[Any]],
    train: Callable[[dict[str, Any], Callable[[int, dict[str, float]], None]], None],
) -> list[str]:
    """One run called `name` for each combination of the values in `space`; returns their ids, in this order.

    - The combinations come as itertools.product gives them: the last param changes fastest.
    - Each is a run with the combination as its params, in which train(params, log) is called.  log(step, metrics)
      logs to this run.  `train` may change its params: nobody notices.
    - If the tracker has a FINISHED run of this name with the same params, `train` isn't called, and the id of that
      run stands in the list; of several, the one that was started first.  Params are the same if json.dumps writes
      them in the same way, the order of keys aside: 1, 1.0 and True are three values.
    - If `train` raises an Exception, the run is FAILED, its id stands in the list, and the sweep goes on.
    - Anything else, such as KeyboardInterrupt, comes out; the run is KILLED.
    """
    raise NotImplementedError


class Registry:
    """Versions of models, each an artifact of a run, and the stages that they are in.

    It is kept in the tracker's folder: another Registry of the same folder sees everything.  If something can't be
    written, as the disk is full, an error comes out, and what was there before is not lost.
    """

    def __init__(self, tracker: Tracker) -> None:
        """A registry for the runs of `tracker`."""
        raise NotImplementedError

    def register(self, model: str, run_id: str, artifact: str) -> int:
        """Make the artifact the next version of `model`; returns its number.  Each model counts 1, 2, 3, …

        - A new version is in the stage "None".
        - Raises KeyError, naming it, if there is no such run; ValueError, naming the run, if it isn't FINISHED;
          FileNotFoundError, naming it, if the run has no such artifact.  Then no number is used up.
        """
        raise NotImplementedError

    def versions(self, model: str) -> list[dict[str, Any]]:
        """All versions of a model in their order, each {"version", "run", "artifact", "stage"}; empty if there is none."""
        raise NotImplementedError

    def move(self, model: str, version: int, stage: str) -> None:
        """Put a version into a stage: "None", "Staging", "Production" or "Archived".

        - "Staging" and "Production" hold one version of a model each.  The one that was there before is "Archived".
        - Raises ValueError, naming it, for any other stage; KeyError, naming model and version, if there is no such
          version.
        """
        raise NotImplementedError

    def load(self, model: str, stage: str = "Production") -> bytes:
        """The artifact of the version that is in "Staging" or "Production".

        Raises KeyError, naming model and stage, if no version is.
        """
        raise NotImplementedError


def replay(tracker: Tracker, run_id: str, log: Callable[..., Any]) -> None:
    """Tell the metrics of a run to another tracker: log(metrics, step=step), as wandb's run.log is called.

    - The steps ascend; each that has any metric comes once, with all its metrics.
    """
    raise NotImplementedError


def to_mlflow(tracker: Tracker, run_id: str, uri: str, experiment: str, artifacts: Path) -> str:
    """Copy a run that has ended into MLflow's store at `uri`; returns the id that it has there.

    - The copy has the run's name, its status, its params as str() writes them, all metrics with all their steps, and
      its artifacts under their names.  Which times it has is left open.
    - If there is no experiment of that name, it is made, and its artifacts lie in the folder `artifacts`.  Otherwise
      the copy is one more run of it.
    - Only the store at `uri` is written to.  mlflow is imported in here, as it takes seconds.
    """
    raise NotImplementedError
