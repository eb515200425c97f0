"""For the lab notebooks: katas as modules, yours where they are green, the reference's elsewhere; and real data."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from dojo.checks.accelerator import TritonMode
from dojo.curriculum.katas import Dojo, DojoError, find_dojo
from dojo.curriculum.solutions import Solutions, find_tree
from dojo.learner.progress import known_green as is_green


def _here() -> Dojo:
    dojo = find_dojo(Path.cwd())
    if dojo is None:
        raise DojoError(f"{Path.cwd()} is in no dojo: start the notebook in the clone")
    return dojo


IMPL = "DOJO_IMPL"
"""The variable of the environment that does for a script what --impl does for a run of the tests."""


def kata(name: str) -> ModuleType:
    """The module of the kata `name`: your file if it is green, else the reference.  Says which.

    Where the environment's DOJO_IMPL names a tree ("reference", a folder), it is that tree's instead.
    Raises DojoError outside of a dojo and for an unknown name.
    """
    dojo = _here()
    wanted = dojo.kata(name)
    TritonMode().install()
    if chosen := os.environ.get(IMPL):
        solutions = Solutions(dojo, find_tree(dojo, chosen, Path.cwd()))
        said = f"of {chosen}"
    else:
        yours = is_green(dojo, wanted)
        tree = None if yours else dojo.clone / "reference"
        solutions = Solutions(dojo, tree, is_green=lambda other: is_green(dojo, other))
        said = "yours" if yours else "the reference (yours is not green yet)"
    solutions.install()
    try:
        module = importlib.import_module(wanted.import_name)
    finally:
        solutions.remove()
    print(f"{wanted.name}: {said}")
    return module


def data(name: str) -> Any:
    """The real data set `name` ("photo", "digits", "penguins" …), as the katas' tests get it.

    Raises DojoError for an unknown name, and the loader's error where the package that has it is missing.
    """
    loaders = fixtures_of(_here(), "data")
    names = {loader.removeprefix("load_"): loader for loader in vars(loaders) if loader.startswith("load_")}
    return _load(loaders, names, "data set", name)


def pretrained(name: str) -> Any:
    """Where a real model or vocabulary lies: a folder, a file or files: "minilm", "efficientnet_lite0" …

    Raises DojoError for an unknown name, and the loader's error where the package that has it is missing.
    """
    loaders = fixtures_of(_here(), "models")
    # Of a model that has both, the folder: it is what a library reads.
    names = {
        loader.removesuffix(kind): loader
        for kind in ("_file", "_files", "_folder")
        for loader in vars(loaders)
        if loader.endswith(kind) and not loader.startswith("_")
    }
    return _load(loaders, names, "pretrained model", name)


def fixtures_of(dojo: Dojo, name: str) -> ModuleType:
    """The clone's module fixtures/`name`.py."""
    clone = str(dojo.clone)
    if clone not in sys.path:
        sys.path.insert(0, clone)
    return importlib.import_module(f"fixtures.{name}")


def _load(loaders: ModuleType, names: dict[str, str], what: str, name: str) -> Any:
    if name not in names:
        raise DojoError(f"there is no {what} '{name}'; there are {', '.join(sorted(names))}")
    return getattr(loaders, names[name])()
