"""Which file answers `import katas.…`.

Tests import the kata they judge by its name.  A finder, ahead of Python's own,
decides what answers: the learner's file, or the file of another tree
(`--impl reference`, a classmate's clone).  Three things follow from being the
one who loads a solution:

- it is compiled from its source each time: a cached .pyc goes by the second
  and the size of the last save, which a quick learner outruns;
- a file that can't be loaded at all doesn't end the run: its names stand in
  the module and raise the original error when a test calls them;
- an import of another kata that isn't green yet is answered by the reference's
  (borrowing), without the other kata's own tests seeing any of it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from dojo.checks import source
from dojo.curriculum.katas import STEM, Dojo, DojoError, Kata, said


class Unloadable:
    """Stands for a name of a solution that couldn't be loaded; using it raises the reason."""

    def __init__(self, reason: BaseException) -> None:
        self.__dict__["reason"] = reason

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise self.__dict__["reason"]

    def __getattr__(self, name: str) -> Any:
        # pytest looks for attributes of whatever a test module holds: that is no use of it yet.
        reason = self.__dict__["reason"]
        if name.startswith("_") or name.startswith("pytest") or not isinstance(reason, Exception):
            raise AttributeError(name)
        raise reason


class Solutions(MetaPathFinder):
    """Finds the solutions of one tree; installed in `sys.meta_path` for a run.

    tree      the folder with the answers, or None for the learner's own files
    borrow    whether a kata that isn't green is answered by the reference when another imports it
    is_green  tells whether the learner's own kata is green; asked only where one kata imports another
    """

    def __init__(
        self, dojo: Dojo, tree: Path | None = None, borrow: bool = True, is_green: Callable[[Kata], bool] | None = None
    ) -> None:
        self.dojo = dojo
        self.tree = tree
        self.borrow = borrow
        self.is_green = is_green
        self.judged: dict[Path, bytes] = {}  # what was read of each solution, once
        self.around_load: Callable[[Kata, str], AbstractContextManager[None]] = lambda kata, path: nullcontext()
        self.borrowed: dict[str, set[str]] = {}  # the kata that is lent → the katas that import it
        self.builds_on: dict[str, set[str]] = {}  # a kata → those of the same tree that it imports
        self._by_import = {kata.import_name: kata for kata in dojo.katas}

    def install(self) -> None:
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Take the finder out again, and every module that it answered for."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in [n for n in sys.modules if n.split(".")[0] in ("katas", "reference")]:
            del sys.modules[name]

    def path(self, kata: Kata) -> Path:
        """The file that answers for `kata`; the stub where the tree has none."""
        return self.in_tree(kata) or (kata.path if kata.path.exists() else kata.stub)

    def in_tree(self, kata: Kata) -> Path | None:
        """The file for `kata` in the tree that `--impl` names, by its name should its number differ."""
        if self.tree is None:
            return kata.path
        for folder in (self.tree / kata.module, self.tree / "katas" / kata.module):
            exact = folder / f"{kata.stem}.py"
            if exact.exists():
                return exact
            for other in folder.glob(f"k*_{kata.name}.py"):
                if STEM.fullmatch(other.stem) and other.stem.split("_", 1)[1] == kata.name:
                    return other
        return None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parts = fullname.split(".")
        if parts[0] not in ("katas", "reference") or len(parts) > 3:
            return None
        if len(parts) < 3:
            return self._package(fullname, parts)
        if parts[2].startswith("test_"):
            return None
        if parts[0] == "reference":
            kata = self._by_import.get(".".join(("katas", *parts[1:])))
            return self._spec(fullname, kata.reference, kata) if kata and kata.reference.exists() else None
        kata = self._by_import.get(fullname)
        if kata is not None:
            return self._spec(fullname, self.path(kata), kata)
        # A helper that the solver keeps beside the katas.
        for folder in self._folders(parts[0], parts[1]):
            if (folder / f"{parts[2]}.py").exists():
                return self._spec(fullname, folder / f"{parts[2]}.py", None)
        return None

    def _package(self, fullname: str, parts: list[str]) -> ModuleSpec | None:
        folders = [str(f) for f in self._folders(*parts) if f.is_dir()]
        if not folders:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = folders
        return spec

    def _folders(self, top: str, *rest: str) -> list[Path]:
        trees = [self.dojo.root / top, self.dojo.clone / top]
        if top == "katas" and self.tree is not None:
            trees = [self.tree, self.tree / "katas", *trees]
        return list(dict.fromkeys(tree.joinpath(*rest) for tree in trees))

    def _spec(self, fullname: str, file: Path, kata: Kata | None) -> ModuleSpec | None:
        return spec_from_file_location(fullname, file, loader=SolutionLoader(fullname, str(file), self, kata))

    def lend(self, wanted: str, importer: Kata | None) -> str:
        """The module to import where a solution imports `wanted`: that, or the reference's where it is lent."""
        kata = self._by_import.get(wanted)
        if not self.borrow or kata is None or kata is importer or not kata.reference.exists():
            return wanted
        if self._solved(kata):
            if importer is not None:
                self.builds_on.setdefault(importer.name, set()).add(kata.name)
            return wanted
        self.borrowed.setdefault(kata.name, set()).add(importer.name if importer else "a helper")
        return wanted.replace("katas.", "reference.", 1)

    def _solved(self, kata: Kata) -> bool:
        if self.tree is None:
            return self.is_green is not None and self.is_green(kata)
        if self.tree == self.dojo.clone / "reference":
            return True
        file = self.in_tree(kata)
        if self.tree == self.dojo.review.resolve():
            # It holds only what is under review; all else is the learner's own.
            return file is None and self.is_green is not None and self.is_green(kata)
        # Of a classmate's tree there is no record: whatever isn't a stub any more is taken at its word.
        return file is not None and not unwritten(file)


class SolutionLoader(SourceFileLoader):
    """Loads one solution afresh from its source."""

    def __init__(self, fullname: str, path: str, solutions: Solutions, kata: Kata | None) -> None:
        super().__init__(fullname, path)
        self.solutions = solutions
        self.kata = kata

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        try:
            data = source.read(Path(path))
        except OSError as error:
            if self.kata is None:
                raise
            raise ImportError(_unreadable(Path(path), self.kata, error), path=path) from None
        self.solutions.judged[Path(path)] = data
        return self.source_to_code(data, path)

    def source_to_code(self, data: Any, path: Any = "<string>") -> Any:  # type: ignore[override]
        tree = source.parse(data, path)
        lend_all = self.name.startswith("reference.")
        package = self.name.rsplit(".", 1)[0]
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom):
                continue
            wanted = node.module or ""
            if node.level == 1:
                wanted = f"{package}.{wanted}".rstrip(".")
            if not wanted.startswith("katas."):
                continue
            if lend_all:
                node.module, node.level = wanted.replace("katas.", "reference.", 1), 0
            elif (lent := self.solutions.lend(wanted, self.kata)) != wanted:
                node.module, node.level = lent, 0
        try:
            return compile(tree, path, "exec", dont_inherit=True)
        except (RecursionError, MemoryError) as error:
            raise source.too_deep(str(path), error) from None

    def exec_module(self, module: ModuleType) -> None:
        if self.kata is None:
            super().exec_module(module)
            return
        reason: BaseException | None = None
        try:
            with self.solutions.around_load(self.kata, self.path), self._deadline():
                super().exec_module(module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            reason = error
        if reason is not None:  # half a module would let some tests pass
            for name in [n for n in vars(module) if not n.startswith("__")]:
                del module.__dict__[name]
        if reason is not None or "__getattr__" not in vars(module):
            module.__dict__["__getattr__"] = _stand_in(module, self.kata, reason)

    def _deadline(self) -> Any:
        from dojo.checks.deadline import limit

        return limit(self.solutions.dojo.deadline)


def _unreadable(file: Path, kata: Kata, error: OSError) -> str:
    """What to say of a solution that isn't there, or that can't be read."""
    if not isinstance(error, FileNotFoundError):
        return said(error)
    others = sorted(path.name for path in file.parent.glob(f"*{kata.name}*.py") if not path.name.startswith("test_"))
    renamed = f" Did you rename it? There is {' and '.join(others)}." if others else ""
    return f"{file.name} is missing.{renamed} This puts the stub back: dojo reset {kata.name}"


def _stand_in(module: ModuleType, kata: Kata, reason: BaseException | None) -> Callable[[str], Any]:
    def __getattr__(name: str) -> Any:
        # The reference has the stub's names, and nobody edits it.
        if name.startswith("__") or name not in public_names(kata.reference):
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        missing = ImportError(f"{Path(str(module.__file__)).name} has no '{name}', which the stub asks for")
        return Unloadable(reason or missing)

    return __getattr__


def public_names(file: Path) -> list[str]:
    """The public functions, classes and constants that a file defines, in order."""
    names: list[str] = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return [name for name in names if not name.startswith("_")]


def unwritten(file: Path) -> bool:
    """Whether a function in `file` is still a stub: nothing but a docstring and `raise NotImplementedError`."""
    try:
        tree = source.parse(source.read(file))
    except (OSError, SyntaxError, ValueError):
        return False
    return any(is_stub(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def is_stub(node: ast.FunctionDef) -> bool:
    """Whether the function `node` is nothing but a docstring and `raise NotImplementedError`."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if len(body) != 1 or not isinstance(body[0], ast.Raise):
        return False
    raised = body[0].exc.func if isinstance(body[0].exc, ast.Call) else body[0].exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def find_tree(dojo: Dojo, text: str, cwd: Path) -> Path:
    """The tree that `--impl TEXT` means.  Raises DojoError where it holds no kata."""
    folders = [f for f in dict.fromkeys((cwd / text, dojo.root / text, dojo.clone / text)) if f.is_dir()]
    for folder in folders:
        tree = folder.resolve()
        found = Solutions(dojo, tree)
        if any(found.in_tree(kata) for kata in dojo.katas):
            return tree
    if not folders:
        raise DojoError(f"--impl {text}: there is no such folder; expected a tree of solutions, such as 'reference'")
    example = dojo.katas[0] if dojo.katas else None
    where = f"{text}/{example.module}/{example.stem}.py" if example else "a kata"
    raise DojoError(f"--impl {text}: the folder has no kata in it; expected files such as {where}")
