"""A cached pipeline: only what changed runs again

**Before you start.**  You need JSON, and the store of data_versioning, which keeps contents under
their digests.  Yours is used:

    from .k20_data_versioning import Store

The reference's takes its place until yours is green.  If sorting a graph is new to you: "graphlib"
in Python's documentation, which you may also use.

**The idea.**  From raw data to a model it is many steps: clean, split, train, evaluate.  You change
one setting and want the new result.  To run everything takes hours.  To decide by hand what can
be left out goes wrong one day, and nobody notices.

So each step says what it reads: files, settings, and a version of its code.  It also says which
files it writes.  This is a *stage*.  Now a machine can decide.  If a stage was ever run on exactly
this, its results are known.  They are taken from a cache, and nothing is run.  Make and DVC work in
this way.  From the same notes you get the *lineage*: what exactly a file was made from.

**The formulas**

    fingerprint  =  digest of (name, version, {dep: digest}, {param: value}, outs)
    run a stage  ⟺  its fingerprint was never seen,  or a result isn't in the cache any more

**A drawing** of a pipeline.  Boxes are stages, and each writes what is on its arrow:

               ┌───────┐ clean.csv  ┌───────┐ model.txt  ┌───────┐
    raw.csv ──▶│ clean │───────┬───▶│ train │───────────▶│ score │──▶ score.txt
               └───────┘       │    └───────┘            └───────┘
                               │        ▲ lr                 ▲
                               ╰─────────────────────────────╯

    changed                    runs again
    lr                         train, score            clean is left alone
    lr, but the same model     train                   model.txt is what it was
    raw.csv                    clean, train, score
    raw.csv, only a comment    clean                   clean.csv is what it was
    lr back to the old value   nothing                 model.txt comes from the cache

**Why compare contents, not times?**  Make compares times.  After a fresh download all times are
new, and everything would run.  With contents a second benefit is free: if a stage runs and writes
what was there before, nothing after it runs.

**Why remember all runs, not only the last?**  You try lr = 0.1, then 0.2, and go back.  The first
result is known: it would be a pity to train again.

**Why remove the outs first?**  Suppose a stage forgets to write its file.  The old one still lies
there, and looks like a result.  If the outs are removed before, the mistake shows at once.

**Why isn't lineage read off the pipeline as it is now?**  Yesterday's model lies there, and since
then somebody has changed raw.csv.  The model was made from yesterday's raw.csv.  So each run is
noted with the digests that it saw.

**Worked by hand**, with the pipeline of the drawing:

    first        clean, train and score run
    again        nothing runs
    lr 0.1→0.2   train runs and writes another model, so score runs
    lr 0.2→0.1   nothing runs; the first model.txt and score.txt come back
    somebody deletes clean.csv:      nothing runs; it comes back
    lineage of score.txt
      score ◀─┬─ clean.csv ◀─ clean ◀─ raw.csv
              ╰─ model.txt ◀─ train, lr 0.1 ◀─ clean.csv ◀─ clean ◀─ raw.csv

**Shapes**: there are none.  Paths are texts with "/", relative to the folder `root`.  Digests are
MD5, 32 digits in lower case.  Values of settings are what JSON has: texts, finite numbers, truth
values, None, lists, and dicts whose keys are texts.  One process works at a time.  The cache lies
outside `root`.  No function changes its arguments.

**Steps.**  A good place to pause is before Pipeline.

    order        12 min   who makes what another needs?
    fingerprint   8 min   no two different runs alike
    Runs         12 min   still known in the next process
    Pipeline     24 min   what if a stage fails?
    lineage       9 min   back to the sources

Sources: the DVC documentation, "Defining Pipelines" and "Run cache"; Feldman 1979, "Make"; Mokhov,
Mitchell and Peyton Jones 2018, "Build Systems à la Carte" (early cutoff).

From scratch: dvc, joblib and luigi may not be used; graphlib, hashlib and json may.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
    raise NotImplementedError


def fingerprint(stage: Stage, digests: dict[str, str], values: dict[str, Any]) -> str:
    """A text that is the same for two runs exactly if name, version, deps, settings and outs are the same.

    - `digests` has the digest of each of the stage's deps, `values` the value of each of its params.  They may have
      others, which don't count.
    - The order in which deps, outs, params, or the keys of a dict are listed doesn't count.
    - Values are the same if json.dumps writes them in the same way, the order of keys aside: 1, 1.0, True and "1"
      are four values.
    - It is the same in every process.
    """
    raise NotImplementedError


class Runs:
    """Remembers runs in the folder `cache`.  A run is a dict, made of what JSON has:

    {"stage": name, "params": {name: value}, "deps": {path: digest}, "outs": {path: digest}}
    """

    def __init__(self, cache: Path) -> None:
        """The folder is made if need be.  Another object with the same folder, also in another process, knows all runs
        that were remembered until then, and those that are remembered later.

        If a run can't be remembered, as the disk is full, an error comes out, and no other run is lost.
        """
        raise NotImplementedError

    def remember(self, key: str, run: dict[str, Any]) -> None:
        """Remember `run` under `key`.  If the key has one, the new run takes its place, and is the last one now.

        What the caller does with the dict afterwards changes nothing.
        """
        raise NotImplementedError

    def find(self, key: str) -> dict[str, Any] | None:
        """The run that is remembered under `key`, or None.  The caller may change it: that changes nothing here."""
        raise NotImplementedError

    def maker(self, path: str, digest: str) -> dict[str, Any] | None:
        """The run that has `path` with this digest among its outs, or None.  Of several, the one remembered last."""
        raise NotImplementedError


class Pipeline:
    """Stages that work in a folder, and a cache of what they have made."""

    def __init__(self, root: Path, cache: Path, stages: Sequence[Stage]) -> None:
        """Works below the folder `root`, and keeps contents and runs in the folder `cache`, made if need be.

        - What another Pipeline with the same cache has made is known, also if it worked in another root.
        - `Runs(cache)` has the runs, each under its stage's fingerprint.  `Store(cache / "files")` has the contents.
        - Raises what `order` raises.
        """
        raise NotImplementedError

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
        raise NotImplementedError


def lineage(runs: Runs, root: Path, path: str) -> dict[str, Any]:
    """What the file `path`, as it stands below `root` now, was made from.

    It is a dict {"path": path, "md5": digest, "stage": name, "params": {name: value}, "deps": […]}, with such a dict
    for each dep of the run that made it, sorted by path.

    - The run is runs.maker(path, digest).  The deps are those with the digests that the run has seen, whatever stands
      in `root` now, and each has its own maker by path and digest.
    - If there is no maker, as with a source or a file edited by hand, stage is None, params {} and deps [].
    - Raises FileNotFoundError, naming it, if `path` isn't there.
    """
    raise NotImplementedError
