"""The reference for k19_experiment_tracking."""

import contextlib
import copy
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

ENDS = ("FINISHED", "FAILED", "KILLED")
STAGES = ("None", "Staging", "Production", "Archived")


class Tracker:
    """Keeps runs in a folder.

    - What a call writes is on the disk when it returns: another Tracker of the same folder, in this process or
      another one, sees it from then on.
    - Every method that takes a `run_id` raises KeyError, naming it, if there is no such run.
    - `log`, `save` and `end` raise ValueError, naming the run, if it has ended.
    """

    def __init__(self, folder: Path) -> None:
        """Keeps everything below `folder`, which is made if need be, with the folders above it."""
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, params: dict[str, Any]) -> str:
        """Start a run; returns its id, a text that no other run of the folder has.

        - Runs may have the same name.  Two processes may start runs at the same moment.
        - What the caller does with `params` afterwards changes nothing.
        """
        for number in itertools.count(len(list(self.folder.iterdir())) + 1):
            run_id = f"{number:06}"
            with contextlib.suppress(FileExistsError):
                (self.folder / run_id).mkdir()  # of two who try, one succeeds
                break
        self._write(run_id, {"id": run_id, "name": name, "status": "RUNNING", "params": params})
        return run_id

    def log(self, run_id: str, step: int, metrics: dict[str, float]) -> None:
        """Note the values of some metrics at a step.

        - Steps may come in any order.  A metric that has a value at this step gets the new one in its place.
        - Values may be NaN or infinite, or numpy's numbers.
        """
        self._running(run_id)
        line = json.dumps([step, {metric: float(value) for metric, value in metrics.items()}])
        with open(self.folder / run_id / "metrics", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def save(self, run_id: str, name: str, data: bytes) -> None:
        """Keep an artifact under a name, such as "model.bin" or "plots/loss.png".  One of that name is replaced.

        Raises ValueError, naming it, if the name is empty, begins with "/", or has a part "..": it could lie anywhere.
        """
        self._running(run_id)
        place = self._artifact(run_id, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def end(self, run_id: str, status: str = "FINISHED") -> None:
        """End a run: "FINISHED", "FAILED" or "KILLED".  Raises ValueError, naming it, for any other status."""
        if status not in ENDS:
            raise ValueError(f"a run ends as one of {', '.join(ENDS)}, not as {status!r}")
        self._write(run_id, {**self._running(run_id), "status": status})

    @contextlib.contextmanager
    def running(self, name: str, params: dict[str, Any]) -> Iterator[str]:
        """`with tracker.running(name, params) as run_id:` starts a run, and ends it with the block.

        - It is FINISHED if the block comes to its end, and FAILED if an Exception comes out of it.
        - It is KILLED if something else comes out: KeyboardInterrupt, which is Ctrl-C, or SystemExit.
        - Whatever comes out goes on.
        """
        run_id = self.start(name, params)
        try:
            yield run_id
        except Exception:
            self.end(run_id, "FAILED")
            raise
        except BaseException:
            self.end(run_id, "KILLED")
            raise
        self.end(run_id)

    def runs(self) -> list[str]:
        """The ids of all runs, in the order in which they were started."""
        return sorted((path.parent.name for path in self.folder.glob("*/run.json")), key=int)

    def run(self, run_id: str) -> dict[str, Any]:
        """What is known of a run now, in a dict with these keys:

        - "id", "name", "params", as they were given.
        - "status": "RUNNING", or how it has ended.
        - "metrics": the latest value of each metric, by name: that of its largest step.
        - "artifacts": the sorted names of its artifacts.

        The caller may change it: that changes nothing here.
        """
        latest: dict[str, tuple[int, float]] = {}
        for step, metrics in self._lines(run_id):
            for metric, value in metrics.items():
                if metric not in latest or step >= latest[metric][0]:
                    latest[metric] = step, value
        top = self.folder / run_id / "artifacts"
        names = sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file())
        metrics = {metric: value for metric, (_, value) in latest.items()}
        return {**self._read(run_id), "metrics": metrics, "artifacts": names}

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """All (step, value) of a metric, sorted by step; empty if the run has no such metric."""
        found = {step: metrics[metric] for step, metrics in self._lines(run_id) if metric in metrics}
        return sorted(found.items())

    def load(self, run_id: str, name: str) -> bytes:
        """The content of an artifact.

        Raises FileNotFoundError, naming it, if there is none of that name, and ValueError for names as `save` does.
        """
        self._read(run_id)
        place = self._artifact(run_id, name)
        if not place.is_file():
            raise FileNotFoundError(f"run {run_id} has no artifact {name}")
        return place.read_bytes()

    def _artifact(self, run_id: str, name: str) -> Path:
        if not name or name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise ValueError(f"{name!r} is no name of an artifact: it must lie below the run's folder")
        return self.folder / run_id / "artifacts" / name

    def _read(self, run_id: str) -> dict[str, Any]:
        # Ids are digits: whatever else is asked for, such as "../x", isn't even looked for.
        if not (run_id.isdigit() and (self.folder / run_id / "run.json").is_file()):
            raise KeyError(f"there is no run {run_id!r}")
        return json.loads((self.folder / run_id / "run.json").read_text(encoding="utf-8"))

    def _running(self, run_id: str) -> dict[str, Any]:
        run = self._read(run_id)
        if run["status"] != "RUNNING":
            raise ValueError(f"run {run_id} has ended: {run['status']}")
        return run

    def _write(self, run_id: str, run: dict[str, Any]) -> None:
        unfinished = self.folder / run_id / "run.new"
        unfinished.write_text(json.dumps(run), encoding="utf-8")
        os.replace(unfinished, self.folder / run_id / "run.json")

    def _lines(self, run_id: str) -> list[tuple[int, dict[str, float]]]:
        self._read(run_id)
        file = self.folder / run_id / "metrics"
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def best(tracker: Tracker, metric: str, mode: str = "min") -> str | None:
    """The id of the FINISHED run with the smallest latest value of the metric, or with the largest, if mode is "max".

    - Runs that haven't the metric, or whose latest value is NaN, don't take part.  Infinite values do.
    - Of several equal ones the one that was started first wins.
    - It is None if no run takes part.

    Raises ValueError, naming it, for any other mode.
    """
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be min or max, got {mode!r}")
    sign = 1 if mode == "min" else -1
    values: dict[str, float] = {}
    for run in map(tracker.run, tracker.runs()):
        value = run["metrics"].get(metric, math.nan)
        if run["status"] == "FINISHED" and not math.isnan(value):
            values[run["id"]] = sign * value
    return min(values, key=values.__getitem__, default=None)  # of equal ones min takes the first


def differences(tracker: Tracker, run_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The params in which the runs differ: for each its values, in the order of `run_ids`.

    - A run that hasn't the param has None.
    - A param is left out if all its values are equal (==).
    """
    params = [tracker.run(run_id)["params"] for run_id in run_ids]
    names = {name for one in params for name in one}
    rows = {name: [one.get(name) for one in params] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


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
    # Texts are compared, since 1, 1.0 and True are equal to Python.
    done: dict[str, str] = {}
    for run in map(tracker.run, tracker.runs()):
        if run["name"] == name and run["status"] == "FINISHED":
            done.setdefault(json.dumps(run["params"], sort_keys=True), run["id"])
    found = []
    for values in itertools.product(*space.values()):
        params = dict(zip(space, values, strict=True))
        key = json.dumps(params, sort_keys=True)
        if key not in done:
            with contextlib.suppress(Exception), tracker.running(name, params) as run_id:
                found.append(run_id)
                train(copy.deepcopy(params), lambda step, metrics, run_id=run_id: tracker.log(run_id, step, metrics))
        else:
            found.append(done[key])
    return found


class Registry:
    """Versions of models, each an artifact of a run, and the stages that they are in.

    It is kept in the tracker's folder: another Registry of the same folder sees everything.  If something can't be
    written, as the disk is full, an error comes out, and what was there before is not lost.
    """

    def __init__(self, tracker: Tracker) -> None:
        """A registry for the runs of `tracker`."""
        self.tracker = tracker
        self.file = tracker.folder / "registry.json"

    def register(self, model: str, run_id: str, artifact: str) -> int:
        """Make the artifact the next version of `model`; returns its number.  Each model counts 1, 2, 3, …

        - A new version is in the stage "None".
        - Raises KeyError, naming it, if there is no such run; ValueError, naming the run, if it isn't FINISHED;
          FileNotFoundError, naming it, if the run has no such artifact.  Then no number is used up.
        """
        run = self.tracker.run(run_id)
        if run["status"] != "FINISHED":
            raise ValueError(f"run {run_id} is {run['status']}; only what has FINISHED is registered")
        if artifact not in run["artifacts"]:
            raise FileNotFoundError(f"run {run_id} has no artifact {artifact}")
        models = self._read()
        versions = models.setdefault(model, [])
        versions.append({"version": len(versions) + 1, "run": run_id, "artifact": artifact, "stage": "None"})
        self._write(models)
        return len(versions)

    def versions(self, model: str) -> list[dict[str, Any]]:
        """All versions of a model in their order, each {"version", "run", "artifact", "stage"}; empty if there is none."""
        return self._read().get(model, [])

    def move(self, model: str, version: int, stage: str) -> None:
        """Put a version into a stage: "None", "Staging", "Production" or "Archived".

        - "Staging" and "Production" hold one version of a model each.  The one that was there before is "Archived".
        - Raises ValueError, naming it, for any other stage; KeyError, naming model and version, if there is no such
          version.
        """
        if stage not in STAGES:
            raise ValueError(f"stage must be one of {', '.join(STAGES)}, got {stage!r}")
        models = self._read()
        versions = models.get(model, [])
        if not 1 <= version <= len(versions):
            raise KeyError(f"model {model} has no version {version}")
        for one in versions:
            if stage in ("Staging", "Production") and one["stage"] == stage:
                one["stage"] = "Archived"
        versions[version - 1]["stage"] = stage
        self._write(models)

    def load(self, model: str, stage: str = "Production") -> bytes:
        """The artifact of the version that is in "Staging" or "Production".

        Raises KeyError, naming model and stage, if no version is.
        """
        for one in self.versions(model):
            if one["stage"] == stage:
                return self.tracker.load(one["run"], one["artifact"])
        raise KeyError(f"no version of {model} is in {stage}")

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        return json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}

    def _write(self, models: dict[str, list[dict[str, Any]]]) -> None:
        unfinished = self.file.with_suffix(".new")
        unfinished.write_text(json.dumps(models), encoding="utf-8")
        os.replace(unfinished, self.file)


def replay(tracker: Tracker, run_id: str, log: Callable[..., Any]) -> None:
    """Tell the metrics of a run to another tracker: log(metrics, step=step), as wandb's run.log is called.

    - The steps ascend; each that has any metric comes once, with all its metrics.
    """
    steps: dict[int, dict[str, float]] = {}
    for metric in tracker.run(run_id)["metrics"]:
        for step, value in tracker.history(run_id, metric):
            steps.setdefault(step, {})[metric] = value
    for step in sorted(steps):
        log(steps[step], step=step)


def to_mlflow(tracker: Tracker, run_id: str, uri: str, experiment: str, artifacts: Path) -> str:
    """Copy a run that has ended into MLflow's store at `uri`; returns the id that it has there.

    - The copy has the run's name, its status, its params as str() writes them, all metrics with all their steps, and
      its artifacts under their names.  Which times it has is left open.
    - If there is no experiment of that name, it is made, and its artifacts lie in the folder `artifacts`.  Otherwise
      the copy is one more run of it.
    - Only the store at `uri` is written to.  mlflow is imported in here, as it takes seconds.
    """
    import tempfile

    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    known = client.get_experiment_by_name(experiment)
    place = artifacts.absolute().as_uri()
    number = known.experiment_id if known else client.create_experiment(experiment, artifact_location=place)

    run = tracker.run(run_id)
    copied = client.create_run(number, run_name=run["name"]).info.run_id
    for param, value in run["params"].items():
        client.log_param(copied, param, str(value))
    for metric in run["metrics"]:
        for step, value in tracker.history(run_id, metric):
            client.log_metric(copied, metric, value, step=step)
    for name in run["artifacts"]:
        folder, _, short = name.rpartition("/")
        with tempfile.TemporaryDirectory() as between:
            file = Path(between) / short
            file.write_bytes(tracker.load(run_id, name))
            client.log_artifact(copied, str(file), folder or None)
    client.set_terminated(copied, run["status"])
    return copied
