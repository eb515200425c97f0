"""Katas whose proofs are open are named, and no line outlives its reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.building import play

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = "reference/module_01_play/k01_play.py"


@pytest.fixture
def dojo(tmp_path) -> Path:
    folder = play(tmp_path)
    file = folder / REFERENCE  # a fault, so that the proofs of the kata fail
    file.write_text(file.read_text() + "\n\ndef bounds(x):\n    return 0.0, 0.0\n")
    return folder


def check(folder: Path, *options: str) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, "-m", "dojo", "check", "--seeds", "1", *options],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    return run.returncode, run.stdout + run.stderr


def test_one_that_isnt_exempt_fails(dojo):
    assert check(dojo, "--changed")[0] == 1


def test_an_exempt_one_is_named_with_its_reason(dojo):
    (dojo / "reference" / "open.toml").write_text('play = "bounds is being rewritten"\n')
    status, said = check(dojo, "--changed")
    assert status == 0, said
    assert "not proven, and known to be: play: bounds is being rewritten" in said


def test_by_name_it_is_proven_all_the_same(dojo):
    (dojo / "reference" / "open.toml").write_text('play = "bounds is being rewritten"\n')
    assert check(dojo, "play")[0] == 1


@pytest.mark.parametrize(
    ("line", "said"), [('plau = "a slip"', "there is no kata 'plau'"), ('play = " "', "play needs its reason")]
)
def test_a_line_that_may_not_stand_there(dojo, line, said):
    (dojo / "reference" / "open.toml").write_text(line + "\n")
    status, told = check(dojo, "--changed")
    assert status == 1 and said in " ".join(told.split())


def test_a_line_for_what_is_proven(tmp_path):
    folder = play(tmp_path)
    from dojo.curriculum.katas import open_dojo
    from dojo.proofs import proven

    katas = list(open_dojo(folder).katas)
    proven.write_down(open_dojo(folder), proven.hashes(katas))
    assert json.loads((folder / "reference" / "proven.json").read_text())
    (folder / "reference" / "open.toml").write_text('play = "forgotten"\n')
    status, told = check(folder, "--changed")
    assert status == 1 and "play is listed as proven: take its line out" in " ".join(told.split())
