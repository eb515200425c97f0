"""Makes the pictures of the README and its pages: real screens of real runs.

`python docs/screens.py` writes docs/*.svg, `python docs/screens.py loop` one of them.
Needs the extras `test` and `models` (or `torch`).
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pexpect  # noqa: E402
import pyte  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.text import Text  # noqa: E402

from dojo.bench.commands import pristine_copy  # noqa: E402
from dojo.curriculum.katas import open_dojo  # noqa: E402
from tests.terminal import Terminal  # noqa: E402

NAMES = {"brown": "yellow"}


def picture(screen: pyte.Screen, title: str, path: Path) -> None:
    """Write what stands on the screen as an SVG that loads nothing from elsewhere."""
    console = Console(record=True, width=screen.columns, file=io.StringIO(), force_terminal=True)
    lines = [_line(screen, y) for y in range(screen.lines)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    for line in lines:
        console.print(line, no_wrap=True, crop=True)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=title), flags=re.DOTALL)
    svg = svg.replace("font-family: Fira Code, monospace", "font-family: DejaVu Sans Mono, Menlo, Consolas, monospace")
    path.write_text(svg, encoding="utf-8")
    print(path.relative_to(ROOT))


def _line(screen: pyte.Screen, y: int) -> Text:
    line = Text()
    for x in range(screen.columns):
        cell = screen.buffer[y][x]
        colour = NAMES.get(cell.fg, cell.fg if cell.fg.isalpha() else f"#{cell.fg}")
        line.append(cell.data, f"{'bold ' if cell.bold else ''}{'reverse ' if cell.reverse else ''}{colour}")
    return line


def loop(folder: Path) -> None:
    """Kata zero: a wrong answer and its reason, a hint, the right answer, green."""
    kata = open_dojo(folder).kata("first_steps")
    stub = kata.path.read_text(encoding="utf-8")
    lesson, body = stub.split("\nimport", 1)
    answer = f"{lesson}\nimport{kata.reference.read_text(encoding='utf-8').split(chr(10) + 'import', 1)[1]}"
    wrong = f"{lesson}\nimport{body.replace('raise NotImplementedError', 'return x.sum()', 1)}"
    screen = pyte.Screen(80, 48)
    stream = pyte.Stream(screen)
    typed = (
        (wrong, "pytest katas/module_01 -x"),
        (None, "dojo hint"),
        (answer, "pytest katas/module_01/first_steps -x"),
    )
    for text, command in typed:
        if text is not None:
            kata.path.write_text(text, encoding="utf-8")
        said = _typed(folder, command)
        # pytest's header says what is installed here; the picture is about what follows.
        said = re.sub(r"(?s)\A.*?\n\r?\n(?=\S*katas)", "", said)
        stream.feed(f"\x1b[1m$ {command}\x1b[0m\r\n{said.strip()}\r\n\r\n")
    picture(screen, "the loop", ROOT / "docs" / "loop.svg")


def _typed(folder: Path, command: str) -> str:
    """What a command prints on a terminal."""
    program, *rest = command.split()
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS") and not k.startswith("PYTEST_")}
    env |= {"TERM": "xterm-256color", "PYTHONPATH": str(folder), "LC_ALL": "C.UTF-8"}
    return str(
        pexpect.run(
            f"{sys.executable} -m {program} {' '.join(rest)}", cwd=str(folder), env=env, encoding="utf-8",
            dimensions=(48, 80), timeout=120,
        )
    )  # fmt: skip


def watch(folder: Path) -> None:
    """A kata turns green under dojo watch, and the next one opens."""
    dojo = open_dojo(folder)
    attention, after = dojo.kata("attention"), dojo.kata("multi_head_attention")
    answer = after.reference.read_text(encoding="utf-8")
    head = after.path.read_text(encoding="utf-8").split('"""\n\n', 1)[0] + '"""\n\n'
    after.path.write_text(
        head + answer.split('"""\n\n', 1)[1].replace("heads, d // heads)).transpose", "d // heads, heads)).transpose"),
        encoding="utf-8",
    )
    terminal = Terminal(folder, "watch", "attention", columns=88, lines=27, env={"PYTHONPATH": str(folder)})
    try:
        terminal.until("isn't written yet", 120)
        terminal.read(12)  # what the module needs is imported by then
        attention.path.write_text(attention.reference.read_text(encoding="utf-8"), encoding="utf-8")
        terminal.until(r"is green(?s:.*)✗ red.*k02_multi_head_attention(?s:.*)1 failed", 60)
        terminal.read(1.0)
        picture(terminal.screen, "dojo watch", ROOT / "docs" / "watch.svg")
    finally:
        terminal.close()


def pair(folder: Path) -> None:
    """An evening from the first run to its lights."""
    dojo = open_dojo(folder)
    kata = dojo.kata("broadcasting")
    answer = kata.reference.read_text(encoding="utf-8")
    names = ("--names", "Ada,Grace", "--minutes", "7", "--kata", kata.name)
    terminal = Terminal(folder, "pair", *names, columns=88, lines=34, env={"PYTHONPATH": str(folder)})
    try:
        terminal.until("6:5. left")
        wrong = answer.replace("2 * x @ y.T", "x @ y.T"), answer.replace("lengths > 0", "lengths >= 0")
        assert answer not in wrong, "the planted mistakes aren't in the reference any more"
        for runs, text in enumerate((None, *wrong, answer), 1):
            if text is not None:
                kata.path.write_text(text, encoding="utf-8")
            terminal.read(2.0)
            terminal.send("\r")
            while terminal.written.count("(commit") < runs:
                terminal.read()
            terminal.until("left")
            if text is None:
                terminal.send("n")
                terminal.until("Grace drives")
        terminal.read(2.0)
        terminal.send("d")
        terminal.until("squash it to one commit")
        terminal.send("y\r")
        terminal.until("Go back to main now")
        picture(terminal.screen, "dojo pair", ROOT / "docs" / "pair.svg")
    finally:
        terminal.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "ml-dojo")
        pristine_copy(open_dojo(ROOT), folder)
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@localhost"]
        for command in (["init", "-q", "-b", "main"], ["add", "--all"], [*who, "commit", "-q", "-m", "a clone"]):
            subprocess.run(["git", *command], cwd=folder, check=True)
        for make in (loop, pair, watch):
            if sys.argv[1:] and make.__name__ not in sys.argv[1:]:
                continue
            make(folder)
            subprocess.run(["git", "switch", "-q", "main"], cwd=folder, check=True)
            subprocess.run(["git", "checkout", "-q", "."], cwd=folder, check=True)


if __name__ == "__main__":
    main()
