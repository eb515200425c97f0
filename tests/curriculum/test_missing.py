"""A package that isn't installed: the learner hears which, and what to type."""

from __future__ import annotations

import pytest

from dojo.curriculum.katas import open_dojo
from dojo.curriculum.missing import how_to_install, said_of
from tests.building import play

EXTRAS = '\n[project.optional-dependencies]\ntorch = ["no_such-package>=2", "other"]\n'


@pytest.fixture
def dojo(tmp_path):
    folder = play(tmp_path / "dojo")
    file = folder / "pyproject.toml"
    file.write_text(file.read_text() + EXTRAS)
    return folder


def test_the_extra_that_brings_a_package_is_found(dojo):
    command = "pip install -c constraints.txt -e '.[torch]'"
    assert how_to_install(open_dojo(dojo), "no_such_package.inner") == command
    assert how_to_install(open_dojo(dojo), "no_such") is None


def test_another_import_error_is_left_as_it_is(dojo):
    assert said_of(open_dojo(dojo), "ImportError: cannot import name 'x' from 'other'") == []


def test_a_test_file_that_needs_it_says_so(dojo, in_dojo):
    test = dojo / "katas/module_01_play/test_k01_play.py"
    test.write_text(f"import no_such_package\n{test.read_text()}")
    run = in_dojo(dojo, "katas", "-x")
    assert "amber  katas/module_01_play/test_k01_play.py can't be loaded" in run.stdout
    assert "      pip install -c constraints.txt -e '.[torch]'\n" in run.stdout
    assert "dojo next" not in run.stdout
    assert run.returncode == 1 or run.returncode == 2


def test_a_broken_test_file_says_why(dojo, in_dojo):
    test = dojo / "katas/module_01_play/test_k01_play.py"
    test.write_text(f"1 / 0\n{test.read_text()}")
    assert "ZeroDivisionError: division by zero" in in_dojo(dojo, "katas").stdout


def test_a_test_that_imports_it_says_so(dojo, in_dojo):
    test = dojo / "katas/module_01_play/test_k01_play.py"
    test.write_text(test.read_text() + "\n\ndef test_more():\n    import no_such_package\n")
    run = in_dojo(dojo, "katas", "--impl", "reference")
    assert "      pip install -c constraints.txt -e '.[torch]'\n" in run.stdout
