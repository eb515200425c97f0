"""Makes the pictures of the README: real screens of real runs.  `python docs/screens.py` writes docs/*.svg.

Needs the extras `test` and `models` (or `torch`).
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pyte  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.text import Text  # noqa: E402

from dojo.bench import pristine_copy  # noqa: E402
from dojo.curriculum import open_dojo  # noqa: E402
from tests.terminal import Terminal  # noqa: E402

NAMES = {"brown": "yellow", "default": "default"}


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
        terminal.until(r"is green(?s:.*)k02_multi_head_attention(?s:.*)1 failed", 60)
        terminal.read(1.0)
        picture(terminal.screen, "dojo watch", ROOT / "docs" / "watch.svg")
    finally:
        terminal.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "ml-dojo")
        pristine_copy(open_dojo(ROOT), folder)
        subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True)
        watch(folder)


if __name__ == "__main__":
    main()
