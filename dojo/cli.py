"""The `dojo` command: its commands and their options; what they do is in dojo.commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dojo.curriculum.katas import Dojo, DojoError, find_dojo

NO_DOJO = (
    "{here} isn't in a dojo. A dojo is a clone of ML Dojo, or a folder that `dojo init` made: "
    "its pyproject.toml has a [tool.dojo] table. Go there with cd, and try again."
)


class Commands(TyperGroup):
    """Turns an error that the user can put right into one line and exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DojoError as error:
            from dojo.commands import say

            say(f"dojo: {error}", "red", stderr=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=Commands,
    name="dojo",
    help="Where am I, what comes next, and help with it.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

KataArgument = Annotated[str | None, typer.Argument(metavar="[KATA]", help="its name, stem or path")]


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
    """The dojo that a learner is in, whose git is told how to merge their stubs."""
    from dojo.upstream.driver import install

    dojo = here()
    if not dojo.apart:
        install(dojo)
    return dojo


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        from dojo.commands import where

        where(learner_here())


@app.command("next")
def next_() -> None:
    """The kata that comes next: its lesson, and how to begin."""
    from dojo.commands import show_next

    show_next(learner_here())


@app.command("list")
def list_(
    module: Annotated[str | None, typer.Option(help="only this module: its name's beginning")] = None,
) -> None:
    """Every kata with its colour."""
    from dojo.commands import show_list

    show_list(here(), module)


@app.command()
def hint(
    kata: KataArgument = None,
    again: Annotated[bool, typer.Option("--again", help="those seen so far")] = False,
) -> None:
    """One more hint, from a nudge to nearly the answer."""
    from dojo.commands import show_hint

    show_hint(learner_here(), kata, again)


@app.command()
def diff(
    kata: KataArgument = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="don't ask, though it isn't green")] = False,
) -> None:
    """Your solution against the reference."""
    from dojo.commands import show_diff

    raise typer.Exit(show_diff(here(), kata, yes))


@app.command()
def watch(
    kata: KataArgument = None,
    manual: Annotated[bool, typer.Option("--manual", help="judge at Enter, not at each save")] = False,
    poll: Annotated[bool, typer.Option("--poll", help="for folders that don't tell of saves")] = False,
    cold: Annotated[bool, typer.Option("--cold", help="a new Python for each run")] = False,
) -> None:
    """Judge at each save, and go on to the next kata."""
    from dojo.watch.watcher import run_watch

    dojo = learner_here()
    chosen = dojo.kata(kata) if kata is not None else None
    raise typer.Exit(run_watch(dojo, chosen, manual=manual, poll=poll, cold=cold))


@app.command()
def reset(kata: KataArgument = None) -> None:
    """Put the stub back; your file is kept."""
    from dojo.commands import do_reset

    do_reset(learner_here(), kata)


@app.command()
def review(
    kata: KataArgument = None,
    done: Annotated[bool, typer.Option("--done", help="it is green: compare it with your solution")] = False,
    give_up: Annotated[bool, typer.Option("--give-up", help="end it though it isn't green")] = False,
    again: Annotated[bool, typer.Option("--again", help="begin it anew; the file so far is kept")] = False,
    everything: Annotated[bool, typer.Option("--all", help="list all that is due later, too")] = False,
) -> None:
    """What you are about to forget, from a fresh stub."""
    from dojo.review.commands import finish, show_review

    if done or give_up:
        if again:
            raise DojoError("--again begins a review anew, --done and --give-up end it: which one?")
        raise typer.Exit(finish(learner_here(), kata, give_up))
    show_review(learner_here(), kata, again, everything)


@app.command()
def cards(
    out: Annotated[Path, typer.Option(metavar="FILE.apkg", help="where to")] = Path("ml-dojo.apkg"),
    module: Annotated[str | None, typer.Option(help="only this module: its name's beginning")] = None,
    solved: Annotated[bool, typer.Option("--solved", help="only katas that you have solved")] = False,
) -> None:
    """Flashcards for Anki: formulas, and what goes wrong."""
    from dojo.review.cards import export

    export(here(), out, module, solved)


pair_app = typer.Typer(invoke_without_command=True, add_completion=False, rich_markup_mode=None)
app.add_typer(pair_app, name="pair")


@pair_app.callback()
def pair(
    context: typer.Context,
    names: Annotated[str | None, typer.Option(metavar="A,B", help="who practises: 'Ada <ada@host>,Grace'")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, max=600, help="of a turn; 7 unless said")] = None,
    kata: Annotated[str | None, typer.Option(metavar="KATA", help="its name; the one at work unless said")] = None,
    join: Annotated[str | None, typer.Option(metavar="BRANCH", help="take up an evening from the remote")] = None,
    predict: Annotated[bool, typer.Option("--predict", help="ask for the colour before each run")] = False,
    revert: Annotated[bool, typer.Option("--revert", help="take back what isn't green (and keep it)")] = False,
) -> None:
    """An evening of two; without options it goes on."""
    if context.invoked_subcommand is None:
        from dojo.pair.commands import do_pair

        do_pair(learner_here(), names, minutes, kata, join, predict, revert)
    elif names or minutes or kata or join or predict or revert:
        raise DojoError(f"the options of dojo pair begin an evening; dojo pair {context.invoked_subcommand} has none")


@pair_app.command("run")
def pair_run() -> None:
    """Judge the kata, and commit the colour."""
    from dojo.pair.commands import do_run

    raise typer.Exit(do_run(learner_here()))


@pair_app.command("next")
def pair_next() -> None:
    """Hand over: commit, push if there is a remote, and swap the roles."""
    from dojo.pair.commands import do_next

    do_next(learner_here())


@pair_app.command("done")
def pair_done(
    home: Annotated[bool, typer.Option("--home", help="and go back to the branch that it began from")] = False,
) -> None:
    """Squash the evening to one commit, and show its lights."""
    from dojo.pair.commands import do_done

    raise typer.Exit(do_done(learner_here(), home))


@app.command()
def lights(
    branches: Annotated[list[str] | None, typer.Argument(metavar="[BRANCH]...", help="none: the last")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="also as a page of its own")] = None,
) -> None:
    """Evenings as strips: every run a light."""
    from dojo.pair.lights import do_lights

    do_lights(here(), branches or [], html)


@app.command()
def update(
    source: Annotated[str | None, typer.Option("--from", metavar="REMOTE/BRANCH", help="where from")] = None,
) -> None:
    """Take up new katas, lessons and tests; your code is kept."""
    from dojo.commands import do_update

    do_update(learner_here(), source)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a new folder, or an empty one")],
) -> None:
    """Make a folder of your own for your solutions, apart from the clone."""
    from dojo.commands import do_init

    do_init(folder)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="in small letters: gradient_descent")],
    module: Annotated[str, typer.Option(help="the module, or the beginning of its name")],
) -> None:
    """Begin a new kata: its four files, to fill in."""
    from dojo.curriculum.scaffold import scaffold

    for path in scaffold(here(), name, module):
        typer.echo(path)


@app.command()
def check(
    katas: Annotated[list[str] | None, typer.Argument(metavar="[KATA]...", help="none: all")] = None,
    module: Annotated[list[str] | None, typer.Option(help="the katas of this module")] = None,
    mutants: Annotated[bool, typer.Option("--mutants/--no-mutants", help="also every small change")] = False,
    changed: Annotated[str | None, typer.Option(metavar="BASE", help="mutants of what changed since")] = None,
    mutants_of_changed: Annotated[bool, typer.Option(help="mutants not proven before as they are")] = False,
    json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="how many")] = 5,
    jobs: Annotated[int | None, typer.Option(min=1, help="processes side by side")] = None,
    hypotheses: Annotated[
        bool, typer.Option("--hypotheses", help="instead: write down what each small change does to the tests")
    ] = False,
) -> None:
    """Prove the katas: right is accepted, wrong is caught."""
    if hypotheses:
        from dojo.proofs.hypotheses import run

        raise typer.Exit(run(here(), katas or [], module or [], jobs))
    from dojo.proofs.cli import run_check

    status = run_check(
        here(),
        katas or [],
        modules=module or [],
        mutants=mutants,
        mutants_of_changed=mutants_of_changed,
        changed=changed,
        as_json=json,
        seeds=seeds,
        jobs=jobs,
    )
    raise typer.Exit(status)


@app.command()
def bench(
    soak: Annotated[bool, typer.Option("--soak", help="instead: a thousand saves, and what they leave behind")] = False,
    gpu: Annotated[bool, typer.Option("--gpu", help="instead: Triton katas against torch, on a GPU")] = False,
) -> None:
    """Measure what a start, a save and the tokenizers cost."""
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
