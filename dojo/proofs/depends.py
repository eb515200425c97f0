"""What the proofs of a kata depend on, found by looking at imports, and a hash of all that.

- The kata's four files, its module's README and the names of the katas beside it.
- The katas that its reference or its tests import, and what these import.
- The fixtures that its tests ask for by an argument's name, and what these use of their files.
- The engine: what is imported, directly or not, by what judges (ROOTS).
- The pinned versions of the packages that any of these import.

Two hashes: one for all proofs, and a narrower one for mutants, which a new lesson, a new mistake, another
hint or a comment doesn't change, since no mutant's end can change with them.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path

import dojo
from dojo.curriculum.katas import Dojo, Kata, read_toml
from dojo.curriculum.solutions import public_names
from dojo.proofs.explained import equivalents
from dojo.proofs.sources import Import, Source, asked_for, meaning

ENGINE = Path(dojo.__file__).resolve().parent

ROOTS = {
    "proofs": ("dojo.testing", "dojo.plugin", "dojo.proofs.proving"),
    "mutants": ("dojo.testing", "dojo.plugin", "dojo.proofs.killing"),
    "labs": ("dojo.lab",),
}
"""What decides, for each kind of hash: these files and all that they import, late imports included."""

UNUSED = {
    "proofs": ("dojo.learner", "dojo.upstream"),
    "mutants": ("dojo.learner", "dojo.upstream", "dojo.diagnosis", "dojo.judging.report"),
    "labs": (),
}
"""What is imported late, for the learner's runs only, and no proof ever loads (a test sees to that)."""

OPTIONS = ("addopts", "pythonpath", "required_plugins", "filterwarnings")
"""The options of pytest that may change how a test ends."""


OWN = frozenset({"the kata's own file, which is hashed as it stands"})


class Depends:
    """Finds what katas and labs depend on.  Files are read once: make a new one after a change."""

    def __init__(self, dojo: Dojo, engine: Path = ENGINE) -> None:
        self.dojo = dojo
        self.engine = engine
        self._sources: dict[Path, Source] = {}
        self._engines: dict[str, Found] = {}
        self._digests: dict[str, bytes] = {}
        self._meanings: dict[tuple[str, frozenset[str] | None], bytes] = {}
        self._found: dict[Kata, Found] = {}
        self._beside: dict[Path, set[str]] = {}
        self._katas = {kata.import_name: kata for kata in dojo.katas}

    # --- the hashes ---------------------------------------------------------------------------------

    def proofs(self, kata: Kata) -> str:
        """A hash of everything that any proof of `kata` depends on."""
        beside = [other.stem for other in self.dojo.katas if other.module == kata.module]
        files = [kata.stub, kata.test, kata.reference, kata.toml, kata.stub.with_name("README.md")]
        own = [path.read_bytes() if path.exists() else b"missing" for path in files]
        return self._hash("proofs", [*own, " ".join(beside).encode()], self.found(kata))

    def mutants(self, kata: Kata) -> str:
        """A hash of what the end of a mutant depends on: tests and reference without comments, `equivalent`."""
        own = [meaning(self._source(path).text) for path in (kata.test, kata.reference)]
        names = public_names(kata.stub) if kata.stub.exists() else []
        explained = json.dumps([names, [(e.change, e.within) for e in equivalents(kata.meta)]])
        return self._hash("mutants", [*own, explained.encode()], self.found(kata))

    def lab(self, path: Path, code: str) -> str:
        """A hash of what the lab at `path` depends on, the code of whose cells is `code`."""
        source = Source(path, "", code)
        found = Found(self)
        found.look_into(source)
        self._add_what_the_lab_gives(found, source)
        return self._hash("labs", [meaning(code)], found)

    def _hash(self, kind: str, own: Iterable[bytes], found: Found) -> str:
        engine = self._engine(kind)
        pins = self._pins(found.packages | engine.packages, found)
        return _digest([*own, self._engine_digest(kind), *found.parts(), *map(str.encode, pins), self._options])

    def _engine_digest(self, kind: str) -> bytes:
        if kind not in self._digests:
            self._digests[kind] = _digest(self._engine(kind).parts()).encode()
        return self._digests[kind]

    # --- what is found ------------------------------------------------------------------------------

    def found(self, kata: Kata) -> Found:
        """What the kata's tests, reference and fixtures import, beside the engine."""
        if kata not in self._found:
            self._found[kata] = self._look(kata)
        return self._found[kata]

    def _look(self, kata: Kata) -> Found:
        found = Found(self)
        found.modules[kata.import_name] = found.modules[f"reference.{kata.module}.{kata.stem}"] = OWN
        for path in (kata.test, kata.reference):
            found.look_into(self._source(path, f"katas.{kata.module}"))
        self._add_files_beside(found, self._source(kata.test), kata)
        self._add_fixtures(found, self._source(kata.test), kata.test.parent)
        return found

    def _add_files_beside(self, found: Found, test: Source, kata: Kata) -> None:
        """The files in the kata's folder whose names stand in its tests: a script that they start, or data."""
        folder = kata.test.parent
        if folder not in self._beside:
            self._beside[folder] = {path.name for path in folder.iterdir() if path.is_file()}
        constants = [node.value for node in ast.walk(test.tree or ast.Module([], [])) if isinstance(node, ast.Constant)]
        texts = {text for text in constants if isinstance(text, str)}
        for name in sorted(texts & (self._beside[folder] - {kata.stub.name, kata.test.name})):
            path = folder / name
            if path.suffix == ".py":
                source = self._source(path, f"katas.{kata.module}")
                found.add(name, meaning(source.text))
                found.look_into(source)
                if "dojo.lab" in found.modules:
                    self._add_what_the_lab_gives(found, source)
            else:
                found.add(name, path.read_bytes())

    def _add_what_the_lab_gives(self, found: Found, source: Source) -> None:
        """The katas and the data that a notebook, or a script, asks `dojo.lab` for."""
        for function, name in _asked_of_the_lab(source.tree) if source.tree is not None else [("kata", None)]:
            if function != "kata":
                module = "fixtures.data" if function == "data" else "fixtures.models"
                names = frozenset({f"load_{name}"}) if function == "data" and name is not None else None
                found.follow(Import(module, names))
            for kata in self.dojo.katas if function == "kata" else ():
                if name in (None, kata.name, kata.stem):
                    found.follow(Import(kata.import_name, None))

    def _add_fixtures(self, found: Found, test: Source, folder: Path) -> None:
        """The fixtures that a test file asks for, those of conftest files that it has to take, and what they need."""
        given: dict[str, Import] = {}
        for place in (self.dojo.clone, *sorted({self.dojo.clone / "katas", folder})):
            conftest = self._source(place / "conftest.py")
            if conftest.tree is None or not conftest.path.exists():
                continue
            for one in conftest.imports():
                given |= dict.fromkeys(one.names or (), one) if one.module.startswith("fixtures") else {}
            # All else that stands in it holds for every test.
            kept = conftest.without_imports_of("fixtures")
            found.add(str(conftest.path.relative_to(self.dojo.clone)), meaning(kept))
            found.look_into(conftest, but="fixtures")
        asked = asked_for(test.tree) if test.tree is not None else set()
        todo = [name for name, one in given.items() if name in asked or self._is_autouse(name, one)]
        seen = set(todo)
        while todo:
            name = todo.pop()
            found.follow(Import(given[name].module, frozenset({name})))
            path = self.path_of(given[name].module)
            nodes = self._source(path).needed(frozenset({name})) if path is not None else None
            more = {other for node in nodes or () for other in asked_for(node)} & set(given) - seen
            seen |= more
            todo += more

    def _is_autouse(self, name: str, where: Import) -> bool:
        path = self.path_of(where.module)
        text = self._source(path).text_of(frozenset({name})) if path is not None else ""
        return "autouse" in text

    def path_of(self, module: str) -> Path | None:
        """The project's file that answers the import of `module`, or None."""
        parts = module.split(".")
        if parts[0] == "reference":
            parts[0] = "katas"
        kata = self._katas.get(".".join(parts))
        if kata is not None:
            return kata.reference
        folder = self.engine.parent if parts[0] == "dojo" else self.dojo.clone
        if parts[0] not in ("dojo", "fixtures", "katas"):
            return None
        for path in (folder.joinpath(*parts).with_suffix(".py"), folder.joinpath(*parts, "__init__.py")):
            if path.exists():
                return path
        return None

    def _source(self, path: Path, package: str = "") -> Source:
        if path not in self._sources:
            self._sources[path] = Source(path, package)
        return self._sources[path]

    def source_of(self, module: str) -> Source | None:
        path = self.path_of(module)
        return None if path is None else self._source(path, module.rpartition(".")[0])

    def meaning_of(self, module: str, names: frozenset[str] | None) -> bytes:
        """What the names of the module mean, or all of it."""
        if (module, names) not in self._meanings:
            source = self.source_of(module)
            self._meanings[module, names] = b"" if source is None else meaning(source.text_of(names))
        return self._meanings[module, names]

    # --- the engine, and the world around -----------------------------------------------------------

    def _engine(self, kind: str) -> Found:
        if kind not in self._engines:
            found = Found(self, unused=UNUSED[kind])
            for root in ROOTS[kind]:
                found.follow(Import(root, None))
            self._engines[kind] = found
        return self._engines[kind]

    @cached_property
    def _options(self) -> bytes:
        tool = read_toml(self.dojo.clone / "pyproject.toml").get("tool", {})
        options = tool.get("pytest", {}).get("ini_options", {})
        kept = {name: options.get(name) for name in OPTIONS}
        return json.dumps([tool.get("dojo", {}), kept], sort_keys=True, default=str).encode()

    def _pins(self, packages: set[str], found: Found) -> list[str]:
        """The pinned versions of `packages` and of what they require; of data, those that `found` speaks of."""
        wanted: set[str] = set()
        todo = [name for package in packages for name in self._distributions.get(package, [package])]
        while todo:
            name = _canonical(todo.pop())
            if name not in wanted:
                wanted.add(name)
                todo += _required_by(name)
        said = {
            _canonical(word)
            for module, names in found.modules.items()
            if module.startswith("fixtures.")
            for word in re.findall(r"[\w.-]+", self.meaning_of(module, names).decode())
        }
        data = [line for name, line in self._data if name in said]
        return sorted({line for name, line in self._constraints if name in wanted} | set(data))

    @cached_property
    def _constraints(self) -> list[tuple[str, str]]:
        return list(_pinned(self.dojo.clone / "constraints.txt"))

    @cached_property
    def _data(self) -> list[tuple[str, str]]:
        return [pin for path in sorted(self.dojo.clone.glob("fixtures/requirements*.txt")) for pin in _pinned(path)]

    @cached_property
    def _distributions(self) -> dict[str, list[str]]:
        return dict(metadata.packages_distributions())


class Found:
    """What was found on the way along the imports: parts of files, and packages that aren't ours."""

    def __init__(self, depends: Depends, unused: tuple[str, ...] = ()) -> None:
        self.depends = depends
        self.unused = unused
        self.packages: set[str] = set()
        self.modules: dict[str, frozenset[str] | None] = {}  # of ours, with the names that are needed; None is all
        self._added: dict[str, bytes] = {}

    def add(self, label: str, part: bytes) -> None:
        self._added[label] = part

    def all(self) -> list[tuple[str, bytes]]:
        """Every part with a label, in an order of its own."""
        parts = dict(self._added)
        for module, names in self.modules.items():
            if names is not OWN:
                parts[module] = self.depends.meaning_of(module, names)
        return sorted(parts.items())

    def parts(self) -> list[bytes]:
        return [f"{label}\0".encode() + part for label, part in self.all()]

    def look_into(self, source: Source, but: str = "") -> None:
        """Follow what `source`, which is hashed elsewhere, imports; modules under `but` are left out."""
        for one in source.imports():
            if not but or one.module.split(".")[0] != but:
                self.follow(one)

    def follow(self, wanted: Import) -> None:
        """Take up the module, and whatever that imports."""
        top = wanted.module.split(".")[0]
        if top not in ("dojo", "fixtures", "katas", "reference"):
            if top and top not in sys.stdlib_module_names:
                self.packages.add(top)
            return
        for name in wanted.names or ():
            if self.depends.path_of(f"{wanted.module}.{name}") is not None:  # `from fixtures import data`
                self.follow(Import(f"{wanted.module}.{name}", None))
        if any(wanted.module == one or wanted.module.startswith(f"{one}.") for one in self.unused):
            return
        source = self.depends.source_of(wanted.module)
        if source is None:
            return
        # The engine's files are taken whole, like a kata's: their parts belong together.
        names = wanted.names if top == "fixtures" else None
        known = self.modules.get(wanted.module, frozenset())
        if known is None or known is OWN or (names is not None and names <= known and wanted.module in self.modules):
            return
        self.modules[wanted.module] = None if names is None else known | names
        for one in source.imports(names):
            self.follow(one)


def _asked_of_the_lab(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    """The calls of dojo.lab's functions, each with the name that is asked for; None where that isn't plain to see."""
    functions = ("kata", "data", "pretrained")
    called = {name: name for name in functions}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "dojo.lab":
            called |= {alias.asname or alias.name: alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called.get(name) in functions:
                argument = node.args[0] if node.args else node.keywords[0].value if node.keywords else None
                plain = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                yield called[name], argument.value if plain else None  # type: ignore[union-attr]


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pinned(path: Path) -> Iterator[tuple[str, str]]:
    """Each line of a file of requirements, with the name of its package."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        if match := re.match(r"\s*([A-Za-z0-9][\w.-]*)", line):
            yield _canonical(match[1]), line.split("#")[0].strip()


@cache
def _required_by(name: str) -> list[str]:
    """What the installed distribution `name` requires, extras aside; nothing where it isn't installed."""
    try:
        requires = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    found = [re.match(r"[A-Za-z0-9][\w.-]*", one) for one in requires if "extra ==" not in one]
    return [match[0] for match in found if match]
