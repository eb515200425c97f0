"""The `dojo` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dojo.curriculum import DojoError, find_dojo

app = typer.Typer()


@app.callback()
def main() -> None:
    pass


@app.command()
def check(
    katas: Annotated[list[str] | None, typer.Argument()] = None,
    mutants: bool = False,
    json: bool = False,
    seeds: int = 5,
) -> None:
    from dojo.proofs.cli import run_check

    dojo = find_dojo(Path.cwd())
    if dojo is None:
        raise typer.Exit(2)
    try:
        code = run_check(dojo, katas or [], mutants=mutants, as_json=json, seeds=seeds)
    except DojoError as error:
        print(error)
        raise typer.Exit(2) from error
    raise typer.Exit(code)
