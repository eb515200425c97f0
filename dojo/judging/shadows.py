"""A file of the learner's that takes the place of a library: `numpy.py` beside `katas/`."""

from __future__ import annotations

import sys

from dojo.curriculum.katas import Dojo

LIBRARIES = {
    "accelerate", "datasets", "execnet", "gguf", "hypothesis", "matplotlib", "numpy", "pandas", "PIL", "pluggy",
    "pytest", "regex", "rich", "scipy", "sklearn", "sympy", "tokenizers", "torch",
    "transformers", "triton", "typer", "xdist",
}  # fmt: skip


def shadowing(dojo: Dojo) -> str | None:
    """A sentence naming the file in the dojo's folder that Python would import in place of a library, if any does."""
    for folder in dict.fromkeys((dojo.root, dojo.clone)):
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        for entry in entries:
            name = entry.stem if entry.suffix == ".py" else entry.name if (entry / "__init__.py").is_file() else ""
            if name in LIBRARIES or (name in sys.stdlib_module_names and name not in ("__main__",)):
                return (
                    f"{entry} has the name of a library, and Python imports it wherever `import {name}` is written. "
                    f"Rename it{' (and delete its __pycache__)' if entry.suffix == '.py' else ''}, and try again."
                )
    return None
