"""The `dojo` command: its commands and their options; what they do is in dojo.commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dojo.curriculum.katas import Dojo, DojoError, find_dojo, said

NO_DOJO = (
    "{here} isn't in a dojo. A dojo is a clone of ML Dojo, or a folder that `dojo init` made: "
    "its pyproject.toml has a [tool.dojo] table. Change to that folder with cd, and try again."
)


class Commands(TyperGroup):
    """Turns an error that the user can put right into one line and exit status 2."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Whole sentences, over two lines where the terminal is narrow: click would cut them off."""
        for command in self.commands.values():
            command.short_help = command.short_help or (command.help or "").split("\n")[0]
        super().format_commands(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader has seen enough (`dojo list | head`), which isn't for us to tell
        except (DojoError, OSError) as error:
            from dojo.commands import say

            say(f"dojo: {error if isinstance(error, DojoError) else said(error)}", "red", stderr=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=Commands,
    name="dojo",
    help="Show your progress and suggest the next kata.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

KataArgument = Annotated[str | None, typer.Argument(metavar="[KATA]", help="its name, or its file")]


def here() -> Dojo:
    """The dojo that the user is in.  Raises DojoError, saying what a dojo is, where there is none."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # the lessons' mathematics, on a terminal without it
    dojo = find_dojo(Path.cwd())
    if dojo is None:
        raise DojoError(NO_DOJO.format(here=Path.cwd()))
    return dojo


def learner_here() -> Dojo:
    """The dojo that a learner is in.  git is told how to merge their stubs; an update that was killed is finished."""
    from dojo.upstream.driver import install

    dojo = here()
    if not dojo.apart:
        install(dojo)
    if (dojo.state / "update").exists():
        from dojo.commands import finish_update

        finish_update(dojo)
    return dojo


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        from dojo.commands import where

        where(learner_here())


@app.command("next")
def next_() -> None:
    """Show the next kata: how its lesson begins, and the file to edit."""
    from dojo.commands import show_next

    show_next(learner_here())


@app.command("list")
def list_(
    module: Annotated[str | None, typer.Option(help="only this module: the start of its name")] = None,
) -> None:
    """List all katas with their state, and the minutes they take."""
    from dojo.commands import show_list

    show_list(here(), module)


@app.command()
def hint(
    kata: KataArgument = None,
    again: Annotated[bool, typer.Option("--again", help="show the hints again that you have seen")] = False,
    step: Annotated[str | None, typer.Option(metavar="NAME", help="for another step: its function's name")] = None,
) -> None:
    """Show one more hint for the step that you are at."""
    from dojo.commands import show_hint

    show_hint(learner_here(), kata, again, step)


@app.command()
def diff(
    kata: KataArgument = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="show it even if your kata isn't green yet")] = False,
) -> None:
    """Compare your solution with the reference."""
    from dojo.commands import show_diff

    raise typer.Exit(show_diff(here(), kata, yes))


@app.command()
def watch(
    kata: KataArgument = None,
    manual: Annotated[bool, typer.Option("--manual", help="run at Enter, not at each save")] = False,
    poll: Annotated[bool, typer.Option("--poll", help="for network folders")] = False,
    cold: Annotated[bool, typer.Option("--cold", help="start a new Python for each run; slower")] = False,
) -> None:
    """Run the tests each time you save, and open the next kata."""
    from dojo.watch.watcher import run_watch

    dojo = learner_here()
    chosen = dojo.kata(kata) if kata is not None else None
    raise typer.Exit(run_watch(dojo, chosen, manual=manual, poll=poll, cold=cold))


@app.command()
def reset(kata: KataArgument = None) -> None:
    """Start a kata again from its empty stub. A copy of your file is kept."""
    from dojo.commands import do_reset

    do_reset(learner_here(), kata)


@app.command()
def review(
    kata: KataArgument = None,
    done: Annotated[bool, typer.Option("--done", help="finish a review that is green")] = False,
    give_up: Annotated[bool, typer.Option("--give-up", help="finish a review that isn't green")] = False,
    again: Annotated[bool, typer.Option("--again", help="start the review again; a copy of the file is kept")] = False,
    everything: Annotated[bool, typer.Option("--all", help="list also the katas that are due later")] = False,
) -> None:
    """Practise again the katas that are due for review."""
    from dojo.review.commands import finish, show_review

    if done or give_up:
        if again:
            raise DojoError("--again starts a review again, --done and --give-up finish it. Which one do you mean?")
        raise typer.Exit(finish(learner_here(), kata, give_up))
    show_review(learner_here(), kata, again, everything)


@app.command()
def cards(
    out: Annotated[Path, typer.Option(metavar="FILE.apkg", help="the file to write")] = Path("ml-dojo.apkg"),
    module: Annotated[str | None, typer.Option(help="only this module: the start of its name")] = None,
    solved: Annotated[bool, typer.Option("--solved", help="only the katas that you have solved")] = False,
) -> None:
    """Make flashcards for Anki: formulas, and common mistakes."""
    from dojo.review.cards import export

    export(here(), out, module, solved)


pair_app = typer.Typer(invoke_without_command=True, add_completion=False, rich_markup_mode=None)
app.add_typer(pair_app, name="pair")


@pair_app.callback()
def pair(
    context: typer.Context,
    names: Annotated[str | None, typer.Option(metavar="A,B", help="the two of you: 'Ada <ada@host>,Grace'")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, max=600, help="of a turn; 7 by default")] = None,
    kata: Annotated[str | None, typer.Option(metavar="KATA", help="by default the one that you are at")] = None,
    join: Annotated[str | None, typer.Option(metavar="BRANCH", help="join a session that was pushed")] = None,
    predict: Annotated[bool, typer.Option("--predict", help="guess the colour before each run")] = False,
    revert: Annotated[bool, typer.Option("--revert", help="undo each run that isn't green; a copy is kept")] = False,
) -> None:
    """Solve a kata in pairs, taking turns. Without options: go on with the session."""
    if context.invoked_subcommand is None:
        from dojo.pair.commands import do_pair

        do_pair(learner_here(), names, minutes, kata, join, predict, revert)
    elif names or minutes or kata or join or predict or revert:
        raise DojoError(f"the options of dojo pair begin an evening; dojo pair {context.invoked_subcommand} has none")


@pair_app.command("run")
def pair_run() -> None:
    """Run the tests, and commit the result."""
    from dojo.pair.commands import do_run

    raise typer.Exit(do_run(learner_here()))


@pair_app.command("next")
def pair_next() -> None:
    """Commit, push if there is a remote, and swap roles."""
    from dojo.pair.commands import do_next

    do_next(learner_here())


@pair_app.command("done")
def pair_done(
    home: Annotated[bool, typer.Option("--home", help="then switch back to the branch that you started from")] = False,
) -> None:
    """End the session: squash it to one commit, and show its runs as lights."""
    from dojo.pair.commands import do_done

    raise typer.Exit(do_done(learner_here(), home))


@app.command()
def lights(
    branches: Annotated[list[str] | None, typer.Argument(metavar="[BRANCH]...", help="by default the last")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="also write a web page")] = None,
) -> None:
    """Show the runs of a pair session, one light for each run."""
    from dojo.pair.lights import do_lights

    do_lights(here(), branches or [], html)


@app.command()
def update(
    source: Annotated[str | None, typer.Option("--from", metavar="REMOTE/BRANCH", help="where to update from")] = None,
) -> None:
    """Get new katas, lessons and tests. Your code is kept."""
    from dojo.commands import do_update

    do_update(learner_here(), source)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a new folder, or an empty one")],
) -> None:
    """Make a folder for your solutions, outside the clone."""
    from dojo.commands import do_init

    do_init(folder)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="in lower case: gradient_descent")],
    module: Annotated[str, typer.Option(help="the module, or the start of its name")],
) -> None:
    """Create the four files of a new kata, for you to fill in."""
    from dojo.curriculum.scaffold import scaffold

    for path in scaffold(here(), name, module):
        typer.echo(path)


@app.command()
def check(
    katas: Annotated[list[str] | None, typer.Argument(metavar="[KATA]...", help="by default all")] = None,
    module: Annotated[list[str] | None, typer.Option(help="all katas of this module")] = None,
    mutants: Annotated[bool, typer.Option("--mutants/--no-mutants", help="try every small change, too")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="only what changed since, mutants too")] = False,
    labs: Annotated[bool, typer.Option("--labs", help="run the notebooks instead")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="how many seeds")] = 5,
    jobs: Annotated[int | None, typer.Option(min=1, help="how many processes")] = None,
    hypotheses: Annotated[
        bool, typer.Option("--hypotheses", help="write down which tests each small change fails")
    ] = False,
) -> None:
    """For authors: prove that the tests judge rightly."""
    if labs:
        from dojo.proofs.labs import run_labs

        raise typer.Exit(run_labs(here(), katas or [], changed=changed, as_json=json, jobs=jobs))
    if hypotheses:
        from dojo.proofs.hypotheses import run

        raise typer.Exit(run(here(), katas or [], module or [], jobs))
    from dojo.proofs.cli import run_check

    status = run_check(
        here(),
        katas or [],
        modules=module or [],
        mutants=mutants,
        changed=changed,
        as_json=json,
        seeds=seeds,
        jobs=jobs,
    )
    raise typer.Exit(status)


@app.command(hidden=True)
def attack(
    folder: Annotated[Path, typer.Argument(help="with KATA/right_*.py and KATA/wrong_*.py")],
    katas: Annotated[list[str] | None, typer.Argument(metavar="[KATA]...", help="none: all in the folder")] = None,
    json: Annotated[bool, typer.Option("--json", help="a line of JSON for each, as soon as it is judged")] = False,
    causes: Annotated[bool, typer.Option(help="look for what the learner is told, too")] = True,
) -> None:
    """Judge solutions that others wrote from the stubs alone: which right ones are refused, which wrong ones pass."""
    from dojo.proofs.attack import run_attack

    raise typer.Exit(run_attack(here(), folder, katas or [], as_json=json, causes=causes))


@app.command()
def bench(
    soak: Annotated[bool, typer.Option("--soak", help="a thousand saves: what is left behind?")] = False,
    gpu: Annotated[bool, typer.Option("--gpu", help="compare the Triton katas with torch")] = False,
) -> None:
    """For authors: measure a start, a save and the tokenizers."""
    if gpu:
        from dojo.bench.gpu import run_gpu

        raise typer.Exit(run_gpu())
    if soak:
        from dojo.bench.watch import run_soak

        raise typer.Exit(run_soak(here()))
    from dojo.bench.commands import run_bench

    raise typer.Exit(run_bench(here()))


@app.command("merge-stub", hidden=True)
def merge_stub(base: Path, ours: Path, theirs: Path, path: str) -> None:
    """git's merge driver for stubs."""
    from dojo.upstream.driver import run

    raise typer.Exit(run(base, ours, theirs, path))
