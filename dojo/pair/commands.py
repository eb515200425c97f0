"""`dojo pair`: an evening of two at one kata, every run a commit on a branch of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dojo.curriculum.katas import Dojo, DojoError
from dojo.pair.evening import NO_SESSION, Evening, begin, check_on, need_evening, state_file, tell, the_evening
from dojo.pair.loop import Ended, Loop, at_a_terminal


@contextmanager
def ending_cleanly(dojo: Dojo) -> Iterator[None]:
    """Ctrl-C ends with status 130, and a word about what stays."""
    import signal

    import typer

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        from contextlib import suppress

        sys.stdout.write("\n")
        with suppress(DojoError):
            if state_file(dojo).exists() and (evening := the_evening(dojo)) is not None:
                evening.leave()
                tell("Interrupted; nothing is lost. The evening stays open: dojo pair goes on with it.")
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, former)


def do_pair(
    dojo: Dojo,
    names: str | None,
    minutes: float | None,
    kata: str | None,
    join: str | None,
    predict: bool,
    revert: bool,
) -> None:
    """Begin an evening, join one, or go on with the one that is open."""
    with ending_cleanly(dojo):
        evening = _opened(dojo, names, minutes, kata, join, predict, revert)
        if evening is None:
            return
        if not at_a_terminal():
            _what_to_do(evening)
            return
        try:
            Loop(evening).run()
        except Ended:
            tell("The evening was ended in another shell.")


def _opened(
    dojo: Dojo,
    names: str | None,
    minutes: float | None,
    kata: str | None,
    join: str | None,
    predict: bool,
    revert: bool,
) -> Evening | None:
    from dojo.pair import share as pair_share

    given = {"--minutes": minutes, "--kata": kata, "--predict": predict, "--revert": revert}
    if join is not None:
        if names is not None or any(given.values()):
            raise DojoError("--join takes up an evening as it was begun: leave the other options out")
        return pair_share.join(dojo, join)
    if names is not None:
        return begin(dojo, names, minutes or 7.0, kata, predict, revert)
    open_one = the_evening(dojo)
    if any(given.values()):
        said = next(name for name, value in given.items() if value)
        if open_one is None:
            raise DojoError(f"{said} is for the beginning of an evening, which needs two names: --names Ada,Grace")
        raise DojoError(f"{said} is for the beginning; the evening on {open_one.branch} is open: dojo pair, or done")
    if open_one is None:
        return pair_share.join(dojo, None)
    check_on(open_one.git, open_one.branch)
    open_one.resume()
    open_one.save()
    return None if pair_share.sync(open_one) == "ended" else open_one


def _what_to_do(evening: Evening) -> None:
    session = evening.session
    tell(f"{evening.kata.stem}  {evening.kata.title}, on {evening.branch}", "bold")
    tell(f"{session.driver.name} drives, {session.navigator.name} navigates, {session.minutes:g} minutes a turn.")
    tell(f"  edit  {evening.path}")
    tell("  dojo pair run   judge it, and commit the colour")
    tell("  dojo pair next  hand over")
    tell("  dojo pair done  squash it all to one commit, and show the lights")


def do_run(dojo: Dojo) -> int:
    """One judged run; status 0 where it is green, else 1."""
    from dojo.pair.run import judge, predicted

    with ending_cleanly(dojo):
        evening = need_evening(dojo)
        event = judge(evening, predicted(evening))
        if evening.remaining <= 0:
            tell(f"The turn is over: dojo pair next, and {evening.session.navigator.name} drives.")
        return 0 if event.colour == "green" else 1


def do_next(dojo: Dojo) -> None:
    from dojo.pair.share import hand_over

    with ending_cleanly(dojo):
        hand_over(need_evening(dojo))


def do_done(dojo: Dojo, home: bool) -> int:
    from dojo.pair.end import end

    with ending_cleanly(dojo):
        return 0 if end(need_evening(dojo), home) else 1


__all__ = ["NO_SESSION", "do_done", "do_next", "do_pair", "do_run"]
