"""The README's figures, from the katas themselves.  `python docs/figures.py` writes them; a test compares.

Its last block, the failure, is what a real run prints.  Needs the extra `models` to count the tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dojo.bench.copies import pristine_copy  # noqa: E402
from dojo.curriculum.katas import Dojo, open_dojo  # noqa: E402

README = ROOT / "README.md"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
FIRST = "first_steps"
WRONG = "return x.sum()"  # what kata zero lets everybody do wrong on purpose


def with_modules(text: str, dojo: Dojo) -> str:
    """`text` with the number of katas, and each module's katas and hours, as they are."""
    text = re.sub(r"\d+ katas in \w+ modules", f"{len(dojo.katas)} katas in {NUMBERS[len(dojo.modules)]} modules", text)
    for module in dojo.modules:
        minutes = [kata.minutes for kata in dojo.katas if kata.module == module]
        number = module.split("_")[1]
        row = re.compile(rf"^(\| {number} [^|]*\|)[^|]*\|[^|]*\|", re.MULTILINE)
        text = row.sub(rf"\g<1> {len(minutes)} | {sum(minutes) / 60:.0f} h |", text)
    return text


def with_tests(text: str, tests: int) -> str:
    """`text` with the number of tests, rounded down to hundreds."""
    return re.sub(r"more than [\d,]+ tests", f"more than {tests // 100 * 100:,} tests", text)


def count_tests() -> int:
    """How many tests pytest collects."""
    run = _pytest(ROOT, "katas", "--collect-only", "-q", "--impl", "reference")
    return int(re.findall(r"(\d+) tests? collected", run)[-1])


def failure() -> str:
    """The block that a wrong answer to kata zero gets; empty where there is no such kata."""
    dojo = open_dojo(ROOT)
    if FIRST not in [kata.name for kata in dojo.katas]:
        return ""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "ml-dojo")
        pristine_copy(dojo, folder)
        path = open_dojo(folder).kata(FIRST).path
        lesson, body = path.read_text(encoding="utf-8").rsplit('"""\n\nimport', 1)
        body = body.replace("raise NotImplementedError", WRONG, 1)
        path.write_text(f'{lesson}"""\n\nimport{body}', encoding="utf-8")
        said = _pytest(folder, "katas/module_01", "-x")
    found = re.search(r"-+ dojo -+\n(.*?)\n!", said, re.DOTALL)
    assert found, said
    return found[1]


def with_failure(text: str, block: str) -> str:
    return re.sub(rf"```\nred    k00_{FIRST}.*?\n```", lambda _: f"```\n{block}\n```", text, flags=re.DOTALL)


def _pytest(folder: Path, *arguments: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"PYTHONPATH": str(folder), "COLUMNS": "80", "PYTHONDONTWRITEBYTECODE": "1"}
    env["PYTEST_ADDOPTS"] = "-p no:cacheprovider"  # in the command, the run would tell learners to type it, too
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False).stdout


def main() -> None:
    text = with_modules(README.read_text(encoding="utf-8"), open_dojo(ROOT))
    text = with_tests(text, count_tests())
    if block := failure():
        text = with_failure(text, block)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
