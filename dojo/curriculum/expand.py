"""Short names for long paths: `katas/module_05`, `katas/module_01/test_k04::TestLU`.

An argument that names nothing is read part by part: each part may be the
beginning of a folder's or a file's name, and in a module folder `k04` or a
kata's name stands for its test file.  What fits several files stands for them all.
"""

from __future__ import annotations

import re
from pathlib import Path

from dojo.curriculum.katas import STEM, Dojo


def expand(args: list[str], dojo: Dojo, cwd: Path) -> list[str]:
    """`args` of pytest with each prefix replaced by what it stands for, the rest as they are.

    A file or folder of katas in a folder made by `dojo init` becomes the clone's, where the tests are.
    """
    expanded: list[str] = []
    for arg in args:
        expanded += _expand_one(arg, dojo, cwd)
    return expanded


def _expand_one(arg: str, dojo: Dojo, cwd: Path) -> list[str]:
    path, *rest = arg.split("::", 1)
    tail = "".join(f"::{part}" for part in rest)
    if not path:
        return [arg]
    target = Path(cwd, path)
    inside = _inside(target, dojo)
    if target.exists() and (inside is None or not dojo.apart or inside.parts[:1] != ("katas",)):
        # A kata's own file means its tests.
        kata_file = inside is not None and inside.parts[:1] == ("katas",) and STEM.fullmatch(target.stem)
        if not (kata_file and target.suffix == ".py"):
            return [arg]
    if inside is None:
        return [arg]
    found = [dojo.clone]
    for part in inside.parts:
        found = [match for folder in found for match in _matches(folder, part)]
    if not found:
        return [arg]
    return [_shown(match, path, cwd) + tail for match in sorted(found, key=_natural)]


def _inside(target: Path, dojo: Dojo) -> Path | None:
    """`target` relative to the dojo's root, or to the clone; None where it is in neither."""
    lexical = Path(_normal(target))
    for base in (dojo.root, dojo.clone):
        for one in (lexical, lexical.parent.resolve() / lexical.name):
            if one.is_relative_to(base):
                return one.relative_to(base)
    return None


def _normal(path: Path) -> str:
    import os.path

    return os.path.normpath(path)


def _matches(folder: Path, part: str) -> list[Path]:
    """What `part` means in `folder`: that entry, else the kata it names, else all that begin so."""
    exact = folder / part
    is_stub = exact.suffix == ".py" and STEM.fullmatch(exact.stem)
    if exact.exists() and not is_stub:
        return [exact]
    if not folder.is_dir():
        return []
    wanted = part.removesuffix(".py").removeprefix("test_")
    entries = [e for e in folder.iterdir() if e.is_dir() or (e.suffix == ".py" and e.name.startswith("test_k"))]
    bare = {entry: entry.stem.removeprefix("test_") for entry in entries if not entry.name.startswith("__")}
    exactly = [e for e, name in bare.items() if wanted in (name, name.split("_", 1)[-1])]
    word = [e for e, name in bare.items() if name.startswith(f"{wanted}_")]
    start = [e for e, name in bare.items() if name.startswith(wanted)]
    return exactly or word or start or [e for e, name in bare.items() if name.split("_", 1)[-1].startswith(wanted)]


def _shown(match: Path, given: str, cwd: Path) -> str:
    if Path(given).is_absolute():
        return str(match)
    import os.path

    return os.path.relpath(match, cwd)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(digits or 0), text) for digits, text in re.findall(r"(\d*)(\D*)", str(path))]


SELECTING = ("collectonly", "keyword", "markexpr", "deselect", "lf", "failedfirst", "newfirst", "stepwise",
             "numprocesses")  # fmt: skip
"""Options under which the first test that runs may not be the first of a file."""


def up_to_first_untouched(
    args: list[str], dojo: Dojo, cwd: Path, option: object
) -> tuple[list[str], str | None, list[str]]:
    """`args` without the katas that -x can't reach, the name of the kata that it stops at, if any are left out,
    and the names of optional katas that are passed over.

    All tests of an untouched stub fail, so a run with -x ends at the first such
    kata at the latest: collecting the tests of those after it would only take time.
    An optional one that wasn't named itself is no reason to end there.
    """
    if getattr(option, "maxfail", 0) != 1 or any(getattr(option, name, None) for name in SELECTING):
        return args, None, []
    katas = {kata.test: kata for kata in dojo.katas}
    kept: list[str] = []
    passed: list[str] = []
    for i, arg in enumerate(args):
        if "::" in arg:
            return args, None, []
        target = Path(_normal(Path(cwd, arg)))
        files = [target] if target in katas else [kata.test for kata in dojo.katas if target in kata.test.parents]
        if not files:
            return args, None, []
        for j, file in enumerate(files):
            is_last = j + 1 == len(files) and i + 1 == len(args)
            begun = not untouched(katas[file].path)
            if not begun and not is_last and file != target and katas[file].optional:
                passed.append(katas[file].name)
                continue
            kept.append(_shown(file, arg, cwd))
            if not begun:
                return kept, None if is_last else katas[file].name, passed
    return (kept, None, passed) if passed else (args, None, [])


def untouched(file: Path) -> bool:
    """Whether every function in `file` is still a stub (and there is one)."""
    import ast

    from dojo.checks import source
    from dojo.curriculum.solutions import is_stub

    try:
        tree = source.parse(source.read(file))
    except (OSError, SyntaxError, ValueError):
        return False
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return bool(functions) and all(map(is_stub, functions))
