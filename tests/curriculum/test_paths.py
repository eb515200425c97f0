"""The five roadmaps: every name is there or planned, and every kata and lab stands in one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from dojo.cli import app
from dojo.curriculum.katas import DojoError, open_dojo
from dojo.curriculum.paths import Roadmap, Step, paths_of, read_path, unknown_names

ROOT = Path(__file__).resolve().parents[2]
PATHS = {path.name: path for path in paths_of(ROOT)}
STEPS = {"fifty_days": 68, "roadmap_2025": 70, "fifty_two_weeks": 65, "eighteen_months": 71, "syllabus": 105}


def there() -> dict[str, set[str]]:
    """What the project has, by kind."""
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    return {
        "katas": {kata.name for kata in open_dojo(ROOT).katas},
        "labs": {file.stem for file in (ROOT / "notebooks").glob("*.ipynb")},
        "projects": {file.parent.name for file in (ROOT / "projects").glob("*/README.md")},
        "drills": {file.parent.name for file in (ROOT / "drills").glob("*/template.md")},
        "features": commands,
    }


def test_all_five_with_all_of_their_steps():
    assert {name: len(path.steps) for name, path in PATHS.items()} == STEPS


@pytest.mark.parametrize("name", STEPS)
def test_every_name_is_there_or_planned(name):
    assert unknown_names(PATHS[name], there()) == []


@pytest.mark.parametrize("kind", ["katas", "labs"])
def test_each_stands_in_a_path(kind):
    named = {name for path in PATHS.values() for name in path.names(kind)}
    assert sorted(there()[kind] - named) == []


def test_the_lessons_of_the_syllabus_are_covered():
    lessons = [step for step in PATHS["syllabus"].steps if re.fullmatch(r"\d+\.\d+\.\d+", step.step)]
    assert len(lessons) == 105
    assert [step.step for step in lessons if not (step.katas or step.labs or step.drills or step.features)] == []


def test_what_answers_nothing_says_why():
    bare = [
        (path.name, step.step)
        for path in PATHS.values()
        for step in path.steps
        if not any((step.katas, step.labs, step.projects, step.drills, step.features, step.note, step.missing))
    ]
    assert bare == []


def test_texts_are_sentences_for_the_reader():
    for path in PATHS.values():
        for step in path.steps:
            for text in (step.note, step.missing):
                assert not text or text[-1] == ".", (path.name, step.step, text)
                assert "GAP" not in text


def test_faults_of_names_are_found():
    path = Roadmap(
        "one", "t", "a", (Step("1", "x", katas=("vectors", "nothing")),), {"labs": ("day99",), "katas": ("vectors",)}
    )
    assert unknown_names(path, {"katas": {"vectors"}}) == [
        "one: katas: nothing is neither there nor planned",
        "one: katas: vectors is planned, and it is there",
        "one: labs: day99 is planned, and no step names it",
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('title = "t"\nabout = "a"', "needs [[steps]]"),
        ('title = 3\nabout = "a"\n[[steps]]\nstep = "1"\nasks = "x"', "title must be a text, got 3"),
        ('title = "t"\nabout = "a"\n[[steps]]\nstep = "1"', "`step` and `asks` must be texts"),
        (
            'title = "t"\nabout = "a"\n[[steps]]\nstep = "1"\nasks = "x"\nkata = ["y"]',
            "step '1' has kata, expected one of",
        ),
        (
            'title = "t"\nabout = "a"\n[[steps]]\nstep = "1"\nasks = "x"\nkatas = "y"',
            "katas must be a list of names, got 'y'",
        ),
        ('title = "t"\nabout = "a"\n[[steps]]\nstep = "1"\nasks = "x"\nkatas = ["y", "y"]', "names one twice"),
        ('title = "t"\nabout = "a"\n[planned]\nkata = ["y"]\n[[steps]]\nstep = "1"\nasks = "x"', "[planned] has kata"),
        ('title = "t"\nabout = "a"\n' + '[[steps]]\nstep = "1"\nasks = "x"\n' * 2, "two steps are called '1'"),
    ],
)
def test_what_isnt_in_its_form_is_refused_with_the_file_and_the_step(tmp_path, text, named):
    file = tmp_path / "some.toml"
    file.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(DojoError) as caught:
        read_path(file)
    assert named in str(caught.value)
    assert "some.toml" in str(caught.value)
