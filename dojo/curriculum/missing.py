"""What to type where a package isn't installed: which of the project's extras brings it."""

from __future__ import annotations

import re

from dojo.curriculum.katas import Dojo, DojoError, read_toml

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def how_to_install(dojo: Dojo, package: str) -> str | None:
    """The command that installs `package` (the name that is imported), or None where no extra has it."""
    root = package.split(".")[0].lower().replace("_", "-")
    try:
        project = read_toml(dojo.clone / "pyproject.toml").get("project", {})
    except (DojoError, OSError):
        return None
    for extra, requirements in project.get("optional-dependencies", {}).items():
        names = (_NAME.match(requirement) for requirement in requirements)
        if root in [name[0].lower().replace("_", "-") for name in names if name]:
            return f"pip install -c constraints.txt -e '.[{extra}]'"
    return None


def said_of(dojo: Dojo, error: ModuleNotFoundError | str) -> list[str]:
    """Lines for an import that failed as its package is missing; none where it is something else.

    `error` is the exception, or text whose last such line is one.
    """
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if name is not None and (line := _beside(dojo, name)):
        return [f"{name}.py stands beside the kata. Such a file is imported with a dot:", f"  {line}"]
    if isinstance(error, str) and (found := re.findall(r"No module named '([\w.]+)'|import of ([\w.]+) halted", error)):
        name = "".join(found[-1])
    command = how_to_install(dojo, name) if name else None
    if name is None or command is None:
        return []
    return [f"The package {name.split('.')[0]} isn't installed. This installs it:", f"  {command}"]


def _beside(dojo: Dojo, name: str) -> str | None:
    """The line that imports a kata or a helper file, where `name` is one that was imported without its package."""
    wanted = name.split(".")[0]
    for tree in dict.fromkeys((dojo.root, dojo.clone)):
        if wanted.isidentifier() and any((tree / "katas").glob(f"module_*/{wanted}.py")):
            return f"from .{wanted} import …"
    return None
