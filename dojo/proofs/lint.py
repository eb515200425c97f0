"""Proof 8: what surrounds a kata is complete and consistent.  Each problem says how to put it right."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from dojo.curriculum.katas import Dojo, DojoError, Kata
from dojo.curriculum.patches import mistakes, variants
from dojo.curriculum.solutions import is_stub, public_names
from dojo.proofs.lesson import Lesson

HINTS = 3
LEAST_MISTAKES = 8
LEAST_VARIANTS = 3
LEAST_WORDS = 60
KEYS: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "level": int,
    "steps": dict,
    "minutes": int,
    "topics": list,
    "needs": list,
    "hints": (list, dict),
    "mistakes": list,
    "variants": list,
    "equivalent": list,
    "optional": bool,
    "seconds": (int, float),
}
NEEDED = ("title", "level", "steps", "hints", "mistakes", "variants")


def problems(kata: Kata) -> list[str]:
    """What is missing or wrong about the kata, a sentence each; empty where all is well."""
    missing = [p for p in (kata.stub, kata.test, kata.reference, kata.toml) if not p.exists()]
    if missing:
        return [f"{path.name} is missing: expected {path.relative_to(kata.dojo.clone)}" for path in missing]
    try:
        return [*_metadata(kata), *_stub(kata), *_tests(kata), *_module_readme(kata)]
    except (DojoError, SyntaxError) as error:
        return [str(error)]


def _metadata(kata: Kata) -> Iterator[str]:
    meta, name = kata.meta, kata.toml.name
    for key in NEEDED:
        if key not in meta:
            yield f"{name}: `{key}` is missing"
    for key, value in meta.items():
        if key not in KEYS:
            yield f"{name}: unknown key `{key}`; expected one of {', '.join(KEYS)}"
        elif not isinstance(value, KEYS[key]) or (KEYS[key] is int and isinstance(value, bool)):
            yield f"{name}: `{key}` has the wrong type, {type(value).__name__}"
    if isinstance(meta.get("level"), int) and not 1 <= meta["level"] <= 5:
        yield f"{name}: level is {meta['level']}; expected 1 to 5"
    yield from _hints(kata)
    source = kata.reference.read_text(encoding="utf-8")
    for kind, patches, least in (
        ("mistakes", mistakes(kata), LEAST_MISTAKES),
        ("variants", variants(kata), LEAST_VARIANTS),
    ):
        if len(patches) < least:
            yield f"{name}: {len(patches)} {kind}; expected {least} or more"
        for patch in patches:
            try:
                ast.parse(patch.apply(source))
            except DojoError as error:
                yield str(error)
            except SyntaxError as error:
                yield f"{name}, {patch.label}: the patched reference is no Python: {error}"
    if nameless := [str(patch.index) for patch in mistakes(kata) if not patch.key]:
        yield f"{name}: mistakes without a `key`, a name that stays when the text changes: {', '.join(nameless)}"
    for key, count in Counter(patch.key for patch in mistakes(kata) if patch.key).items():
        if count > 1:
            yield f"{name}: {count} mistakes have the key '{key}'"
    said = Counter(patch.says for patch in mistakes(kata))
    for sentence, count in said.items():
        if count > 1:
            yield f"{name}: {count} mistakes say the same: {sentence!r}"
    for i, entry in enumerate(meta.get("equivalent", []), 1):
        if not entry.get("change") or not entry.get("why"):
            yield f"{name}, equivalent {i}: needs `change` and `why`"


def _hints(kata: Kata) -> Iterator[str]:
    """Three hints for the kata, or three for each of its steps that has any."""
    hints = kata.meta.get("hints", [])
    for step, texts in (hints if isinstance(hints, dict) else {"": hints}).items():
        of = f" for {step}" if step else ""
        if step and step not in kata.steps:
            yield f"{kata.toml.name}: hints for '{step}', which is no step; expected one of {', '.join(kata.steps)}"
        if (
            not isinstance(texts, list)
            or len(texts) != HINTS
            or not all(isinstance(h, str) and h.strip() for h in texts)
        ):
            given = len(texts) if isinstance(texts, list) else type(texts).__name__
            yield f"{kata.toml.name}: {given} hints{of}; expected {HINTS}, from a nudge to nearly the answer"


def _stub(kata: Kata) -> Iterator[str]:
    name = kata.stub.name
    source = kata.stub.read_text(encoding="utf-8")
    tree = ast.parse(source)
    lesson = ast.get_docstring(tree) or ""
    if len(lesson.split()) < LEAST_WORDS:
        yield f"{name}: the lesson has {len(lesson.split())} words; expected {LEAST_WORDS} or more"
    yield from Lesson(kata).problems()
    for forbidden in _forbidden(kata):
        if not _names(lesson, forbidden):
            yield f"{name}: the tests forbid {forbidden}, which the lesson doesn't say"
    marked = re.search(r"^pytestmark.*\bpure\(", kata.test.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    promise = r"changes? (?:any of )?(?:its|their) arguments?|arguments? unchanged"
    if marked and not re.search(promise, " ".join(source.split())):
        yield f'{name}: the tests are marked pure(); expected "No function changes its arguments." in the lesson'
    written = [node for node in _functions(tree) if not is_stub(node) and not _is_given(node)]
    for node in written:
        yield f"{name}: {node.name}() isn't a stub; expected a docstring and `raise NotImplementedError`"
    for node in _functions(tree):
        public = not node.name.startswith("_") or node.name in ("__init__", "__call__")
        if public and node.name != "__init__" and ast.get_docstring(node) is None:
            yield f"{name}: {node.name}() has no docstring; expected shapes, errors and edge cases"
    stub, reference = public_names(kata.stub), public_names(kata.reference)
    for missing in [n for n in stub if n not in reference]:
        yield f"{kata.reference.name}: has no '{missing}', which the stub asks for"
    yield from _signatures(kata, tree)


def _names(lesson: str, forbidden: str) -> bool:
    """Whether the lesson names what is forbidden: in full, or as "np." and the rest."""
    short = re.sub(r"^(numpy\.ndarray|torch\.Tensor|str|bytes)\.", ".", forbidden)
    words = {forbidden, short, forbidden.replace("numpy.", "np."), forbidden.removeprefix("builtins.")}
    return any(word in lesson for word in words)


def _forbidden(kata: Kata) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(kata.test.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "from_scratch":
            names += [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return names


def _functions(tree: ast.Module) -> list[ast.FunctionDef]:
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found += [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]
    return found


def _is_given(node: ast.FunctionDef) -> bool:
    """Whether the stub hands the learner this function finished: its docstring says so."""
    return "given" in (ast.get_docstring(node) or "").lower().split(".")[0].split()


def _signatures(kata: Kata, stub: ast.Module) -> Iterator[str]:
    wanted = dict(_signature_texts(stub))
    given = dict(_signature_texts(ast.parse(kata.reference.read_text(encoding="utf-8"))))
    for function, signature in wanted.items():
        if function in given and given[function] != signature:
            yield (f"{kata.reference.name}: {function}{given[function]} differs from the stub's {function}{signature}")


def _signature_texts(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, _signature(node)
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{node.name}.{inner.name}", _signature(inner)


def _signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){returns}"


def _tests(kata: Kata) -> Iterator[str]:
    name = kata.test.name
    tree = ast.parse(kata.test.read_text(encoding="utf-8"))
    if ast.get_docstring(tree) is None:
        yield f"{name}: has no docstring; expected a line on what judges the kata"
    own = kata.import_name
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            for module in modules:
                if module.startswith("dojo") and module != "dojo.testing":
                    yield f"{name}: imports {module}; tests import dojo.testing alone"
                if module == own.replace("katas.", "reference.", 1):
                    yield f"{name}: imports {module}; tests never import the reference that they judge"
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("katas.") and node.module != own:
            yield from (f"{name}: {problem}" for problem in _left_to_write(kata, node))
        if isinstance(node, ast.ClassDef):
            yield from (f"{name}: {problem}" for problem in _held(node, _imported_from(tree, own)))
    for file in (kata.stub, kata.reference):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            module = getattr(node, "module", "") if isinstance(node, ast.ImportFrom) else ""
            if isinstance(node, ast.Import):
                module = next((a.name for a in node.names if a.name.split(".")[0] == "dojo"), "")
            if (module or "").split(".")[0] == "dojo":
                yield f"{file.name}: imports {module}; only tests import the engine"


def _left_to_write(kata: Kata, node: ast.ImportFrom) -> Iterator[str]:
    """What a test imports of another kata that the learner has to write there: nobody lends it to a test."""
    stub = kata.dojo.clone.joinpath(*str(node.module).split(".")).with_suffix(".py")
    if not stub.exists():
        return
    left = {
        part.name
        for part in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(part, ast.FunctionDef | ast.ClassDef)
        and any(is_stub(inner) for inner in ast.walk(part) if isinstance(inner, ast.FunctionDef))
    }
    for alias in node.names:
        if alias.name in left:
            lent = str(node.module).replace("katas.", "reference.", 1)
            yield f"imports {alias.name} of {node.module}, which the learner may not have written; take it from {lent}"


def _imported_from(tree: ast.Module, module: str) -> set[str]:
    """The names that the file takes from a module."""
    taken = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == module]
    return {alias.asname or alias.name for node in taken for alias in node.names}


def _held(node: ast.ClassDef, names: set[str]) -> Iterator[str]:
    """The attributes of a test class that hold what is judged: they stay as they are when another solution is."""
    for part in node.body:
        if isinstance(part, ast.Assign) and isinstance(part.value, ast.Name) and part.value.id in names:
            yield f"{node.name} holds {part.value.id} from the start, in every proof the same; name it in the tests"


def _module_readme(kata: Kata) -> Iterator[str]:
    readme = kata.stub.with_name("README.md")
    if not readme.exists():
        yield f"katas/{kata.module}/README.md is missing: expected what the module builds, its katas in order"
        return
    listed = re.findall(r"k\d+_[a-z0-9_]+", readme.read_text(encoding="utf-8"))
    stems = [k.stem for k in kata.dojo.katas if k.module == kata.module]
    order = [stem for stem in dict.fromkeys(listed) if stem in stems]
    if kata.stem not in listed:
        yield f"katas/{kata.module}/README.md doesn't list {kata.stem}"
    elif order != [stem for stem in stems if stem in order]:
        yield f"katas/{kata.module}/README.md lists its katas in another order than their numbers"


def repeated_names(dojo: Dojo) -> list[str]:
    """Names that two katas share; records and paths refer to a kata by its name."""
    count = Counter(kata.name for kata in dojo.katas)
    return [
        f"{n} katas are called '{name}': {', '.join(f'{k.module}/{k.stem}' for k in dojo.katas if k.name == name)}"
        for name, n in count.items()
        if n > 1
    ]


def as_json(value: Any) -> Any:
    """`value` with everything that JSON lacks turned into text."""
    if isinstance(value, dict):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
