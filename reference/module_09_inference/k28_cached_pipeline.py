"""The reference for k28_cached_pipeline."""

import copy
import graphlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .k20_data_versioning import Store


@dataclass(frozen=True)
class Stage:
    """One step of a pipeline.

    name     its name
    run      does the work: run(root, values) reads the deps and writes the outs, all below the folder `root`
    deps     the files that it reads
    outs     the files that it writes
    params   the names of the settings that it uses
    version  is changed by hand whenever the code of `run` changes
    """

    name: str
    run: Callable[[Path, dict[str, Any]], None]
    deps: Sequence[str] = field(default=())
    outs: Sequence[str] = field(default=())
    params: Sequence[str] = field(default=())
    version: str = "1"


def order(stages: Sequence[Stage]) -> list[Stage]:
    """The stages in an order in which each comes after those that make its deps.  Which one, is left open.

    A dep that is no stage's out is a source, and puts nothing in order.

    - Raises ValueError, naming it, if two stages have the same name.
    - Raises ValueError, naming the file, if two stages have it among their outs.
    - Raises ValueError, naming the stages of a circle, if stages need each other in a circle.  A stage that reads
      its own out is a circle, too.
    """
    names: set[str] = set()
    maker: dict[str, Stage] = {}
    for stage in stages:
        if stage.name in names:
            raise ValueError(f"two stages are called {stage.name}")
        names.add(stage.name)
        for out in stage.outs:
            if out in maker:
                raise ValueError(f"{out} is an out of {maker[out].name} and of {stage.name}")
            maker[out] = stage
    by_name = {stage.name: stage for stage in stages}
    graph = {stage.name: [maker[dep].name for dep in stage.deps if dep in maker] for stage in stages}
    try:
        return [by_name[name] for name in graphlib.TopologicalSorter(graph).static_order()]
    except graphlib.CycleError as error:
        raise ValueError(f"stages need each other in a circle: {' → '.join(error.args[1])}") from None


def fingerprint(stage: Stage, digests: dict[str, str], values: dict[str, Any]) -> str:
    """A text that is the same for two runs exactly if name, version, deps, settings and outs are the same.

    - `digests` has the digest of each of the stage's deps, `values` the value of each of its params.  They may have
      others, which don't count.
    - The order in which deps, outs, params, or the keys of a dict are listed doesn't count.
    - Values are the same if json.dumps writes them in the same way, the order of keys aside: 1, 1.0, True and "1"
      are four values.
    - It is the same in every process.
    """
    told = {
        "name": stage.name,
        "version": stage.version,
        "deps": {dep: digests[dep] for dep in stage.deps},
        "params": {name: values[name] for name in stage.params},
        "outs": sorted(stage.outs),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class Runs:
    """Remembers runs in the folder `cache`.  A run is a dict, made of what JSON has:

    {"stage": name, "params": {name: value}, "deps": {path: digest}, "outs": {path: digest}}
    """

    def __init__(self, cache: Path) -> None:
        """The folder is made if need be.  Another object with the same folder, also in another process, knows all runs
        that were remembered until then, and those that are remembered later.

        If a run can't be remembered, as the disk is full, an error comes out, and no other run is lost.
        """
        self.file = cache / "runs.json"
        self.file.parent.mkdir(parents=True, exist_ok=True)

    def remember(self, key: str, run: dict[str, Any]) -> None:
        """Remember `run` under `key`.  If the key has one, the new run takes its place, and is the last one now.

        What the caller does with the dict afterwards changes nothing.
        """
        runs = self._read()
        runs.pop(key, None)  # so that it comes last
        runs[key] = run
        unfinished = self.file.with_suffix(".new")
        unfinished.write_text(json.dumps(runs), encoding="utf-8")
        os.replace(unfinished, self.file)

    def find(self, key: str) -> dict[str, Any] | None:
        """The run that is remembered under `key`, or None.  The caller may change it: that changes nothing here."""
        return self._read().get(key)

    def maker(self, path: str, digest: str) -> dict[str, Any] | None:
        """The run that has `path` with this digest among its outs, or None.  Of several, the one remembered last."""
        for run in reversed(self._read().values()):
            if run["outs"].get(path) == digest:
                return run
        return None

    def _read(self) -> dict[str, Any]:
        return json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}


class Pipeline:
    """Stages that work in a folder, and a cache of what they have made."""

    def __init__(self, root: Path, cache: Path, stages: Sequence[Stage]) -> None:
        """Works below the folder `root`, and keeps contents and runs in the folder `cache`, made if need be.

        - What another Pipeline with the same cache has made is known, also if it worked in another root.
        - `Runs(cache)` has the runs, each under its stage's fingerprint.  `Store(cache / "files")` has the contents.
        - Raises what `order` raises.
        """
        self.root, self.stages = root, order(stages)
        self.store, self.runs = Store(cache / "files"), Runs(cache)
        self.made = {out for stage in stages for out in stage.outs}

    def repro(self, params: dict[str, Any]) -> list[str]:
        """Bring all outs up to date; returns the names of the stages that were run, in the order in which they ran.

        Before anything is run or changed:

        - Raises ValueError, naming both, if a stage uses a param that `params` doesn't have.
        - Raises FileNotFoundError, naming it, if a source isn't there: a dep that is no stage's out.

        Then, for each stage, in the order of `order`:

        - If its fingerprint is known, and the cache has the contents of all its outs, it isn't run.  An out that isn't
          there, or has other contents, is written from the cache.  One that is right isn't touched.  The run is
          remembered anew, so that it is the last one.
        - Otherwise its outs are removed, the folders that they are in are made, and run(root, values) is called.
          `values` has the stage's params and no others.  The stage may change them: nobody notices.
        - After that all outs are kept in the cache, and the run is remembered.
        - Raises FileNotFoundError, naming the stage and the file, if an out isn't there after run.

        Outs belong to the pipeline: an edit by hand is replaced.  What happens if a content in the cache is spoilt, or
        if a stage changes its own deps, is left open.  If a stage raises, its error comes out.  It isn't
        remembered then, but the stages before it are.
        """
        for stage in self.stages:
            for name in stage.params:
                if name not in params:
                    raise ValueError(f"stage {stage.name} uses the param {name}, which isn't given")
            for dep in stage.deps:
                if dep not in self.made and not (self.root / dep).is_file():
                    raise FileNotFoundError(f"{dep}, which stage {stage.name} reads, isn't there")
        return [stage.name for stage in self.stages if self._update(stage, params)]

    def _update(self, stage: Stage, params: dict[str, Any]) -> bool:
        """Bring one stage's outs up to date; returns whether it was run."""
        digests = {dep: _digest(self.root / dep) for dep in stage.deps}
        values = {name: params[name] for name in stage.params}
        key = fingerprint(stage, digests, values)
        known = self.runs.find(key)
        if known and self._restore(known["outs"]):
            self.runs.remember(key, known)
            return False

        for out in stage.outs:
            (self.root / out).unlink(missing_ok=True)
            (self.root / out).parent.mkdir(parents=True, exist_ok=True)
        stage.run(self.root, copy.deepcopy(values))
        if missing := [out for out in stage.outs if not (self.root / out).is_file()]:
            raise FileNotFoundError(f"stage {stage.name} hasn't written {', '.join(missing)}")
        outs = {out: self.store.put((self.root / out).read_bytes()) for out in stage.outs}
        # Last of all: whoever is killed before this line has made nothing, and will run it again.
        self.runs.remember(key, {"stage": stage.name, "params": values, "deps": digests, "outs": outs})
        return True

    def _restore(self, outs: dict[str, str]) -> bool:
        """Write the outs that differ; returns False, and writes none, if the cache has lost one."""
        try:
            contents = {out: self.store.get(digest) for out, digest in outs.items()}
        except (FileNotFoundError, ValueError):
            return False
        for out, content in contents.items():
            place = self.root / out
            if not place.is_file() or place.read_bytes() != content:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
        return True


def lineage(runs: Runs, root: Path, path: str) -> dict[str, Any]:
    """What the file `path`, as it stands below `root` now, was made from.

    It is a dict {"path": path, "md5": digest, "stage": name, "params": {name: value}, "deps": […]}, with such a dict
    for each dep of the run that made it, sorted by path.

    - The run is runs.maker(path, digest).  The deps are those with the digests that the run has seen, whatever stands
      in `root` now, and each has its own maker by path and digest.
    - If there is no maker, as with a source or a file edited by hand, stage is None, params {} and deps [].
    - Raises FileNotFoundError, naming it, if `path` isn't there.
    """
    return _made_from(runs, path, _digest(root / path))


def _made_from(runs: Runs, path: str, digest: str) -> dict[str, Any]:
    run = runs.maker(path, digest) or {"stage": None, "params": {}, "deps": {}}
    deps = [_made_from(runs, *dep) for dep in sorted(run["deps"].items())]
    return {"path": path, "md5": digest, "stage": run["stage"], "params": run["params"], "deps": deps}


def _digest(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
