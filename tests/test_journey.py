"""A newcomer's whole journey on a real clone, through the commands that they type."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dojo.curriculum.katas import open_dojo
from dojo.curriculum.patches import mistakes

ROOT = Path(__file__).resolve().parent.parent
STUB = "katas/module_01_linear_algebra/k04_vectors.py"


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone of this project as it stands, uncommitted files included."""
    folder = tmp_path_factory.mktemp("journey") / "ml-dojo"
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    upstream = folder.with_name("upstream")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            target = upstream / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "as it stands"]):
        subprocess.run([*git, "-C", str(upstream), *command], check=True)
    subprocess.run([*git, "clone", "-q", str(upstream), str(folder)], check=True)
    return folder


def typed(clone: Path, command: str, answer: str = "", status: int | None = 0) -> str:
    """What a command prints; `pytest …` and `dojo …` are those of the clone."""
    program, *args = command.split()
    module = {"pytest": "pytest", "dojo": "dojo"}[program]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(clone), "COLUMNS": "80", "NO_COLOR": "1"}
    run = subprocess.run(
        [sys.executable, "-m", module, *args],
        cwd=clone, env=environment, input=answer, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said = run.stdout + run.stderr
    assert status is None or run.returncode == status, said
    assert "Traceback" not in said, said
    return said


def test_from_the_first_failure_to_the_next_kata(clone):
    kata = open_dojo(clone).kata("vectors")
    answer, stub = kata.reference.read_text(), (clone / STUB).read_text()
    mistake = mistakes(kata)[0]

    assert "module_01" in typed(clone, "dojo")
    assert "vectors" in typed(clone, "dojo list")

    # todo
    said = typed(clone, "pytest katas/module_01/vectors -x", status=1)
    assert "todo   k04_vectors" in said
    assert "isn't written yet." in said
    assert f"edit   {STUB}:" in said

    # hint: one tier at a time
    first = [hint.text for hint in kata.hints if hint.step == next(iter(kata.steps))]
    for text in first:
        folded = "".join(typed(clone, "dojo hint vectors").split())
        assert "".join(text.split())[:50] in folded

    # wrong, and told why
    (clone / STUB).write_text(mistake.apply(answer))
    said = typed(clone, "pytest katas/module_01/vectors -x", status=1)
    assert "red    k04_vectors" in said
    assert "".join(mistake.says.split()) in "".join(said.split())

    # amber
    (clone / STUB).write_text(answer + "\n\ndef broken(:\n")
    said = typed(clone, "pytest katas/module_01/vectors -x", status=1)
    assert "amber  k04_vectors" in said
    assert "Python can't read line" in said

    # green, and on
    (clone / STUB).write_text(answer)
    said = typed(clone, "pytest katas/module_01/vectors -x")
    assert "green  k04_vectors" in said
    assert "dojo next" in said
    assert "vectors" not in typed(clone, "dojo next").split("pytest")[0]
    assert "1/19" in "".join(typed(clone, "dojo").split())

    # diff: green, so nothing is asked
    typed(clone, "dojo diff vectors")

    # reset: the stub is back, and nothing is lost
    typed(clone, "dojo reset vectors", answer="y\n")
    assert (clone / STUB).read_text() == stub
    kept = [path for path in (clone / ".dojo" / "kept").rglob("k04_vectors.py") if path.is_file()]
    assert answer in [path.read_text() for path in kept]
    assert "todo   k04_vectors" in typed(clone, "pytest katas/module_01/vectors -x", status=1)


def test_a_diff_before_green_asks_first(clone):
    """Where nobody can answer, it says what to type."""
    said = typed(clone, "dojo diff matrices", answer="n\n", status=None)
    assert "isn't green yet, and this shows the reference" in said
    assert "+" not in [line[:1] for line in said.splitlines()]


def test_every_kata_of_the_clone_is_todo_and_its_reference_green(clone):
    """The whole module, as a newcomer and as its author would run it."""
    todo = typed(clone, "pytest katas/module_01 -q", status=1)
    colours = [line.split()[0] for line in todo.splitlines() if line[7:8] == "k" and " green" in line]
    assert set(colours) == {"todo"}
    assert len(colours) == 19
