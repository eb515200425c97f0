"""The pages say what is so: figures, files, commands and links."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from docs import figures
from dojo.cli import app
from dojo.curriculum.katas import open_dojo
from tests.synthetic import make_dojo

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN_IT = "python docs/figures.py writes the figures"


def test_the_readmes_katas_modules_and_hours():
    text = figures.README.read_text(encoding="utf-8")
    assert text == figures.with_modules(text, open_dojo(ROOT)), RUN_IT


def test_the_readmes_number_of_tests():
    pytest.importorskip("torch")
    text = figures.README.read_text(encoding="utf-8")
    assert text == figures.with_tests(text, figures.count_tests()), RUN_IT


def test_the_readmes_failure_is_a_real_one():
    block = figures.failure()
    if not block:
        pytest.skip("kata zero isn't here")
    text = figures.README.read_text(encoding="utf-8")
    assert text == figures.with_failure(text, block), RUN_IT


def test_a_wrong_figure_is_found(tmp_path):
    dojo = make_dojo(tmp_path / "dojo")
    text = "So far 9 katas in nine modules.\n\n| 01 numbers | 7 | 3 h | x |\n| 02 words | 1 | 0 h | y |\n| 03 z | 5 | | planned |\n"
    right = "So far 3 katas in two modules.\n\n| 01 numbers | 2 | 0 h | x |\n| 02 words | 1 | 0 h | y |\n| 03 z | 5 | | planned |\n"
    assert figures.with_modules(text, dojo) == right
    assert figures.with_tests("more than 5,000 tests", 6321) == "more than 6,300 tests"


def missing_files(text: str, folder: Path) -> list[str]:
    """Files and folders of the project, and links to them, that `text` names and that aren't there."""
    linked = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    named = re.findall(r"`((?:dojo|tests|docs|fixtures)/[\w/.]+)`", text)
    return [p for p in linked if not (folder / p).exists()] + [p for p in named if not (ROOT / p).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page):
    assert missing_files(page.read_text(encoding="utf-8"), page.parent) == []


def test_a_file_that_is_not_there_is_found():
    assert missing_files("see `dojo/nowhere.py` and [this](nothing.md), `dojo/cli.py`", ROOT) == [
        "nothing.md",
        "dojo/nowhere.py",
    ]


def unknown_commands(text: str) -> list[str]:
    """`dojo …` in code that is no command, or has an option that the command hasn't."""
    commands = get_command(app).commands
    found = []
    # A table's cell and a line of a block are code as well as `…` is.
    for line in re.findall(r"(?m)`(dojo [^`\n]+)`|^(dojo .+)$", text):
        words = "".join(line).split()
        command = commands.get(words[1])
        if command is None:
            if not words[1].startswith("-"):
                found.append(" ".join(words))
            continue
        inner = getattr(command, "commands", {}).get(words[2] if len(words) > 2 else "", command)
        options = {option for parameter in inner.params for option in (*parameter.opts, *parameter.secondary_opts)}
        found += [" ".join(words) for word in words if word.startswith("--") and word not in options | {"--help"}]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_named_are_there(page):
    assert unknown_commands(page.read_text(encoding="utf-8")) == []


def test_a_command_that_is_not_there_is_found():
    assert unknown_commands("`dojo hint --louder`, `dojo sing`, `dojo pair done --home`") == [
        "dojo hint --louder",
        "dojo sing",
    ]


def test_every_command_is_on_the_page_of_commands_or_beside_it():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name, command in get_command(app).commands.items():
        assert command.hidden or f"dojo {name}" in text, name


@pytest.mark.parametrize("columns", ["80", "60"])
def test_help_says_whole_sentences(columns):
    env = {**os.environ, "COLUMNS": columns, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dojo", "--help"]
    lines = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.splitlines()
    assert max(map(len, lines)) <= int(columns)
    said = " ".join(" ".join(lines).split())
    assert "..." not in said.replace("[ARGS]...", "")
    assert "Practise again the katas that are due for review." in said
    assert "Show your progress and suggest the next kata." in said


def test_twenty_lines_are_promised_nowhere():
    assert "twenty lines" not in figures.README.read_text(encoding="utf-8")


def test_the_readme_opens_with_what_this_is_a_picture_and_two_commands():
    text = figures.README.read_text(encoding="utf-8")
    places = [
        text.index(part)
        for part in (
            "Learn machine learning by writing it",
            "docs/loop.svg",
            "pip install",
            "pytest katas/module_01 -x",
            "## A failure",
        )
    ]
    assert places == sorted(places)
    assert len(text.splitlines()) < 100
