"""pytest's arguments, where pytest takes them for something else than the learner means."""

from __future__ import annotations

from typing import Any

from dojo.curriculum.katas import DojoError, find_dojo


def joined(config: Any) -> list[str] | None:
    """The arguments with `--impl TREE` as `--impl=TREE`, where pytest took TREE for a path to look for its root in.

    pytest looks for its root folder before it knows our options.  With a short name for the kata,
    TREE is the only path that it finds, and the root is there instead of here.
    """
    args = [str(arg) for arg in config.invocation_params.args]
    if "--impl" not in args[:-1] or any(arg.startswith(("--rootdir", "-c")) for arg in args):
        return None
    try:
        dojo = find_dojo(config.invocation_params.dir)
    except DojoError:
        return None
    if dojo is None or dojo.root == config.rootpath.resolve():
        return None
    at = args.index("--impl")
    return [*args[:at], f"--impl={args[at + 1]}", *args[at + 2 :]]
