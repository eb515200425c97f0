"""`dojo attack`: what others wrote from the stubs is judged, and every surprise is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.building import PLAYGROUND, play

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = (PLAYGROUND / "reference" / "module_01_play" / "k01_play.py").read_text()
BOUNDS = "\n\ndef bounds(x):\n"


@pytest.fixture
def attack(tmp_path):
    folder = tmp_path / "attack"
    (folder / "play").mkdir(parents=True)
    dojo = play(tmp_path)

    def run(solutions: dict[str, str], *options: str) -> subprocess.CompletedProcess:
        for name, text in solutions.items():
            (folder / "play" / name).write_text(text)
        return subprocess.run(
            [sys.executable, "-m", "dojo", "attack", str(folder), *options],
            cwd=dojo, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    return run


def of(run: subprocess.CompletedProcess) -> dict[str, dict]:
    return {Path(one["file"]).name: one for one in map(json.loads, run.stdout.splitlines())}


def test_what_was_expected_is_a_success(attack):
    run = attack({"right_1.py": REFERENCE, "wrong_1.py": f"# raises\n{REFERENCE}{BOUNDS}    raise ValueError\n"})
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 of 1 right ones accepted, 1 of 1 wrong ones caught, " in run.stdout
    assert "wrong_1.py  raises" in run.stdout


def test_a_right_one_that_is_refused_and_a_wrong_one_that_passes_are_told(attack):
    run = attack(
        {"right_1.py": f"{REFERENCE}{BOUNDS}    return -7.0, 90.0\n", "wrong_1.py": f"# nothing, really\n{REFERENCE}"}
    )
    assert run.returncode == 1
    assert "REFUSED play/right_1.py" in run.stdout and "PASSED  play/wrong_1.py  nothing, really" in run.stdout
    assert "yours" in run.stdout and "expected" in run.stdout  # what the learner would read
    assert "0 of 1 right ones accepted, 0 of 1 wrong ones caught, 0 told why" in run.stdout


def test_without_causes_it_only_judges(attack):
    run = attack(
        {"right_1.py": REFERENCE, "wrong_1.py": f"# far off\n{REFERENCE}{BOUNDS}    return -7.0, 90.0\n"},
        "--json", "--no-causes",
    )  # fmt: skip
    judged = of(run)
    assert judged["right_1.py"]["good"] and judged["wrong_1.py"]["good"]
    assert judged["wrong_1.py"]["cause"] == "" and judged["wrong_1.py"]["said"] != []


def test_one_that_ends_the_process_or_cant_be_read_is_caught(attack):
    run = attack(
        {"wrong_1.py": f"# exits\n{REFERENCE}{BOUNDS}    import os; os._exit(0)\n", "wrong_2.py": "# no Python\n(("},
        "--json",
    )
    found = of(run)
    assert found["wrong_1.py"]["said"] == ["ended the process"] and found["wrong_1.py"]["good"]
    assert found["wrong_2.py"]["colour"] == "amber" and "SyntaxError" in found["wrong_2.py"]["said"][0]


def test_what_a_file_lacks_isnt_taken_from_the_reference(attack):
    run = attack({"wrong_1.py": "# everything is missing\n"}, "--json")
    assert of(run)["wrong_1.py"]["colour"] == "amber"
    assert "which the stub asks for" in of(run)["wrong_1.py"]["said"][0]


def test_an_empty_folder_is_an_error(attack):
    run = attack({})
    assert run.returncode != 0 and "has no solutions to judge" in run.stdout + run.stderr


def test_what_the_proofs_call_named_is_what_a_learner_is_told(attack, tmp_path):
    """Proof 4 looks its tries up in a table; here each mistake is somebody's own file, and the search runs whole."""
    with (PLAYGROUND / "reference" / "module_01_play" / "k01_play.toml").open("rb") as file:
        mistakes = tomllib.load(file)["mistakes"]
    run = attack(
        {
            f"wrong_{i}.py": f"# {one['key']}\n{REFERENCE.replace(one['find'], one['swap'])}"
            for i, one in enumerate(mistakes)
        },
        "--json",
    )
    told = {one["fault"]: one["cause"] for one in of(run).values()}
    proven = subprocess.run(
        [sys.executable, "-m", "dojo", "check", "play", "--seeds", "1", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    (result,) = json.loads(proven.stdout)["katas"]
    unnamed = [
        problem for problem in result["proofs"]["mistakes"]["problems"] if "where the learner is told" in problem
    ]
    named = {one["key"] for i, one in enumerate(mistakes, 1) if not any(f"mistake {i} " in text for text in unnamed)}
    assert named == {one["key"] for one in mistakes if told[one["key"]] == one["says"]} != set()
