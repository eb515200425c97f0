"""The proofs as a table for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dojo.proofs.result import KataProofs, MutantCount, Tally

WIDTH = 120
"""Columns of a log, which has no width of its own."""

COLUMNS = ("todo", "green", "variants", "mistakes", "trivial", "planted")


def show(results: list[KataProofs], problems: list[str], seconds: float, known: int = 0) -> None:
    """Print a row a kata, then every problem under the kata's name, then one line that sums up.

    `known` katas were proven before, and haven't changed since.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    with_mutants = any(result.mutants for result in results)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    # On a narrow terminal the names give way, not the figures.
    table.add_column("kata", no_wrap=True, min_width=3, overflow="ellipsis")
    counts = ("mutants", "crash", "equiv") if with_mutants else ()
    for name in (*COLUMNS[:4], "named", *COLUMNS[4:], *counts, "meta", "s", "MB"):
        table.add_column(name, justify="right", no_wrap=True, min_width=max(len(name), 4))
    for result in results:
        table.add_row(*_row(result, with_mutants))
    if results:
        console.print(table)
    for result in results:
        lines = [(name, text) for name, tally in result.proofs.items() for text in tally.problems]
        if lines:
            console.print(f"\n{result.stem}", style="bold")
        for name, text in lines:
            console.print(Text.assemble("  ", (f"{name:<9}", "yellow"), text))
    for text in problems:
        console.print(Text(text, style="red"))
    for result in results:
        if result.left_out:
            console.print(f"{result.stem} isn't listed as proven here, as tests were skipped: {result.left_out[0]}")
    before = f"{known} kata{'s' if known != 1 else ''} proven before and unchanged; " if known else ""
    console.print(f"\n{before}{_summary(results, problems)} in {seconds:.1f} s")


def _row(result: KataProofs, with_mutants: bool) -> list[Text]:
    cells = [Text(result.stem, style="" if result.ok else "red")]
    for name in COLUMNS[:4]:
        cells.append(_cell(result.proofs.get(name)))
    mistakes = result.proofs.get("mistakes")
    cells.append(_cell(Tally(result.named, mistakes.total) if mistakes else None))
    for name in COLUMNS[4:]:
        cells.append(_cell(result.proofs.get(name)))
    if with_mutants:
        count = result.mutants
        if count is None:
            cells += [Text("-", style="dim")] * 3
        else:
            cells.append(_cell(Tally(count.total - count.survived - count.equivalent, count.total - count.equivalent)))
            cells += [Text(str(count.crashed + count.timed_out)), Text(str(count.equivalent))]
    metadata = result.proofs.get("metadata")
    cells.append(Text("ok", style="green") if metadata and metadata.ok else Text("NO", style="bold red"))
    over = result.budget and result.seconds > result.budget
    cells.append(Text(f"{result.seconds:.2f}{'!' if over else ''}", style="bold red" if over else ""))
    cells.append(Text(f"{result.peak_mb:.0f}"))
    return cells


def _cell(tally: Tally | None) -> Text:
    """How many there are where all is well; "11/12!" where something is missing."""
    if tally is None:
        return Text("-", style="dim")
    if tally.good == tally.total and not (tally.problems and tally.total == 0):
        return Text(str(tally.total), style="green")
    return Text(f"{tally.good}/{tally.total}!", style="bold red")


def _summary(results: list[KataProofs], problems: list[str]) -> str:
    good = sum(result.ok for result in results)
    text = f"{good} of {len(results)} katas proven, {sum(r.tests for r in results)} tests"
    counts = [result.mutants for result in results if result.mutants]
    if counts:
        total = MutantCount(*(sum(getattr(c, name) for c in counts) for name in MutantCount.__dataclass_fields__))
        killed = total.killed + total.crashed + total.timed_out
        text += (
            f"; mutants: {total.total}, raw score {100 * killed / max(total.total, 1):.1f}% "
            f"({total.killed} by a wrong answer, {total.crashed} by crashes only, {total.timed_out} by time), "
            f"{total.equivalent} explained, {total.survived} survive"
        )
    if problems:
        text += f"; {len(problems)} other problem{'s' if len(problems) > 1 else ''}"
    return text
