"""The screen of an evening: whose turn, how long, and one key for each thing to do.

Between two keys only the last line changes, once a second.  The terminal reads
single keys only while it waits for one: runs, questions and git have it as usual.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dojo.commands import STYLES
from dojo.curriculum.katas import DojoError
from dojo.pair import strip as pair_strip
from dojo.pair.evening import Evening, state_file, tell
from dojo.pair.strip import LETTERS, minutes


class Ended(Exception):
    """The terminal is gone, or the evening was ended in another shell."""


class Loop:
    """The evening at the keyboard."""

    def __init__(self, evening: Evening) -> None:
        self.evening = evening
        self.rang = False  # whether this turn's bell has rung
        self.seen = self._stamp()
        self.drawn = 0  # cells of the last line

    def run(self) -> None:
        """Until d or q; KeyboardInterrupt passes through."""
        self.introduce()
        while True:
            key = self.wait()
            if key in ("\r", "\n", "r"):
                self._try(self.judge)
            elif key == "n":
                self._try(self.hand_over)
            elif key == "f":
                self._try(self.fetch)
            elif key == "h":
                self._try(self.hint)
            elif key == "d":
                if self._try(self.done):
                    return
            elif key == "q":
                self.evening.leave()
                tell("The evening stays open: dojo pair goes on with it, dojo pair done ends it.")
                return
            elif key in ("?", " "):
                self.introduce()
                continue
            else:
                continue
            if not state_file(self.evening.dojo).exists():
                return  # ended, by the other one
            self.keys()

    def _try(self, action: object) -> bool:
        """What goes wrong is said, and the evening goes on."""
        try:
            return bool(action()) if callable(action) else False
        except DojoError as error:
            tell(f"dojo: {error}", "red")
            return False
        finally:
            self.seen = self._stamp()

    # --- what the keys do ---------------------------------------------------------------------------

    def judge(self) -> None:
        from dojo.pair.run import judge, predicted

        judge(self.evening, predicted(self.evening))

    def hand_over(self) -> None:
        from dojo.pair.share import hand_over

        hand_over(self.evening)
        self.rang = self.evening.remaining <= 0  # a turn that goes on rings no second time

    def fetch(self) -> None:
        from dojo.pair.share import sync

        if sync(self.evening) in ("same", "ahead", "alone"):
            tell("There is nothing new.")
        self.rang = self.evening.remaining <= 0

    def hint(self) -> None:
        from dojo.commands import show_hint

        show_hint(self.evening.dojo, self.evening.session.kata, again=False)

    def done(self) -> bool:
        from dojo.pair.end import end
        from dojo.pair.run import ask

        if ask("End the evening, and squash it to one commit? [y/N] ") not in ("y", "yes"):
            return False
        return end(self.evening, home=False)

    # --- what is shown ------------------------------------------------------------------------------

    def introduce(self) -> None:
        evening, session = self.evening, self.evening.session
        tell(f"{evening.kata.stem}  {evening.kata.title}", "bold")
        tell(f"  branch     {evening.branch}")
        tell(f"  edit       {evening.path}")
        tell(f"  driver     {session.driver.name}  (types)")
        tell(f"  navigator  {session.navigator.name}  (thinks ahead, says what)")
        if session.revert:
            tell("  --revert   what isn't green is taken back, and kept", "dim")
        self.keys()

    def keys(self) -> None:
        tell("")
        tell("Enter run  n next  h hint  f fetch  d done  q leave", "dim")

    def _line(self) -> str:
        """The line that changes, in less than the terminal's width."""
        from rich.cells import set_cell_size

        session, left = self.evening.session, self.evening.remaining
        over = f"{minutes(-left)} over" if left <= 0 else f"{minutes(left)} left"
        lights = "".join(LETTERS[run.colour] for run in session.runs)
        room = max(10, shutil.get_terminal_size().columns - 1)
        name = session.driver.name
        text = f"{over}  {name} drives"
        space = room - len(text) - 2
        if lights and space >= 4:
            text += "  " + (lights if len(lights) <= space else f"…{lights[1 - space :]}")
        # Names may be wider than their letters are many.
        return set_cell_size(text, room).rstrip()

    def draw(self) -> None:
        from rich.cells import cell_len

        text = self._line()
        if self.drawn >= shutil.get_terminal_size().columns:
            sys.stdout.write("\n")  # the terminal has become narrower: the line stands in two rows
        try:
            sys.stdout.write(f"\r\x1b[K{text}")
            sys.stdout.flush()
        except UnicodeEncodeError:
            sys.stdout.write(f"\r\x1b[K{text.encode('ascii', 'replace').decode()}")
        self.drawn = cell_len(text)

    def clear(self) -> None:
        sys.stdout.write("\r\x1b[K")
        sys.stdout.flush()
        self.drawn = 0

    # --- waiting ------------------------------------------------------------------------------------

    def wait(self) -> str:
        """The next key; the line is drawn each second, and at once when the terminal's size changes."""
        fd = sys.stdin.fileno()
        try:
            with _waker() as wake:
                while True:
                    self._news()
                    self._ring()
                    self.draw()
                    with _single_keys(fd):
                        ready = select.select([fd, wake], [], [], self._pause())[0]
                        data = os.read(fd, 1024) if fd in ready else None
                    if wake in ready:
                        with suppress(BlockingIOError):
                            os.read(wake, 1024)
                    if data == b"":
                        raise KeyboardInterrupt  # the terminal is gone
                    if data and not data.startswith(b"\x1b"):  # not an arrow, nor another key of several bytes
                        return data.decode("utf-8", "replace")[0].lower()
        finally:
            self.clear()

    def _pause(self) -> float:
        """Seconds until the line reads otherwise."""
        return 1.0 - (pair_strip.clock() - self.evening.turn) % 1.0 + 0.01

    def _ring(self) -> None:
        if self.evening.remaining <= 0 and not self.rang:
            self.rang = True
            self.clear()
            sys.stdout.write("\a")
            session = self.evening.session
            tell(f"Time to hand over: n, and {session.navigator.name} drives.", "bold")

    def _stamp(self) -> int:
        try:
            return state_file(self.evening.dojo).stat().st_mtime_ns
        except OSError:
            return 0

    def _news(self) -> None:
        """What was done in another shell meanwhile."""
        if self._stamp() == self.seen:
            return
        self.clear()
        if not self._stamp():
            raise Ended
        from dojo.pair.evening import the_evening

        changed = the_evening(self.evening.dojo)
        if changed is None:
            raise Ended
        before, self.evening, self.seen, self.rang = self.evening, changed, self._stamp(), False
        last = changed.session.runs[-1:]
        if changed.session.driver != before.session.driver:
            tell(f"Handed over in another shell: {changed.session.driver.name} drives.")
        elif len(changed.session.runs) != len(before.session.runs):
            tell(f"Run in another shell: {last[0].colour}", STYLES[last[0].colour])


@contextmanager
def _single_keys(fd: int) -> Iterator[None]:
    """Keys come at once and aren't shown; Ctrl-C and Ctrl-Z stay what they are."""
    import termios
    import tty

    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)


@contextmanager
def _waker() -> Iterator[int]:
    """A file that can be read as soon as the terminal's size changes."""
    read, write = os.pipe()
    for end in (read, write):
        os.set_blocking(end, False)
    former = signal.signal(signal.SIGWINCH, lambda *_: None)
    fd = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(fd)
        signal.signal(signal.SIGWINCH, former)
        os.close(read)
        os.close(write)


def at_a_terminal() -> bool:
    """Whether single keys can be read here."""
    try:
        import termios  # noqa: F401
    except ImportError:
        return False
    return sys.stdin.isatty() and sys.stdout.isatty()
