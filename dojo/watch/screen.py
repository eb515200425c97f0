"""A full-screen terminal: keys come in, frames go out, and the terminal is put back as it was, whatever happens."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

KEYS = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b[H": "home", "\x1b[F": "end", "\x1b[1~": "home", "\x1b[4~": "end", "\x1bOH": "home", "\x1bOF": "end",
    "\r": "enter", "\n": "enter", " ": "page down", "\x1b": "escape",
}  # fmt: skip
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


@dataclass
class Frame:
    """What a screen shows: lines that stay above and below, and a body that can be scrolled.

    at_end  show the end of the body, for output that grows
    top     else the body's first line that is shown
    """

    header: list[Text]
    body: Text
    footer: list[Text]
    top: int = 0
    at_end: bool = False


@dataclass
class _Laid:
    """The body as it was last cut into lines of a width."""

    key: Any = None
    lines: list[list[Segment]] = field(default_factory=list)


class Screen:
    """The terminal that stdin and stdout are, in the block of a `with`.

    `wake` is readable after a change of the size or a suspension: draw again.
    """

    def __init__(self) -> None:
        self.console = Console(highlight=False, markup=False, emoji=False)
        self._laid = _Laid()
        self._before: Any = None
        self._handlers: dict[int, Any] = {}
        self.wake, self._woken = os.pipe()
        for end in (self.wake, self._woken):
            os.set_blocking(end, False)

    def __enter__(self) -> Screen:
        import termios

        self._before = termios.tcgetattr(0)
        self._take()
        for number, handler in ((signal.SIGWINCH, self._resized), (signal.SIGTSTP, self._suspend)):
            self._handlers[number] = signal.signal(number, handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._give_back()
        for end in (self.wake, self._woken):
            os.close(end)

    def _take(self) -> None:
        import tty

        tty.setcbreak(0)
        self._write(ENTER)

    def _give_back(self) -> None:
        import termios

        self._write(LEAVE)
        termios.tcsetattr(0, termios.TCSADRAIN, self._before)

    def _resized(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(self._woken, b"x")

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets its terminal as it was, and `fg` brings the screen back."""
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._suspend)
        self._take()
        self._resized(number, frame)

    def woken(self) -> None:
        """Take note of what woke it."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake, 4096)

    @property
    def width(self) -> int:
        return self.console.width

    def pressed(self) -> Iterator[str]:
        """The keys that were pressed, by name or as the character; "eof" once there is no terminal any more."""
        try:
            data = os.read(0, 256)
        except OSError:
            data = b""
        if not data:
            yield "eof"
        text = data.decode("utf-8", "replace")
        while text:
            name = next((key for key in sorted(KEYS, key=len, reverse=True) if text.startswith(key)), text[0])
            text = text[len(name) :]
            yield KEYS.get(name, name)

    def room(self, frame: Frame) -> int:
        """The number of lines of the body that can be seen."""
        return max(1, self.console.height - len(self._lines(frame.header)) - len(self._lines(frame.footer)))

    def last_top(self, frame: Frame) -> int:
        """The `top` from which the body's last line can be seen."""
        return max(0, len(self._body(frame.body)) - self.room(frame))

    def draw(self, frame: Frame) -> None:
        """Show the frame, cut to the size that the terminal has now."""
        height = self.console.height
        header, footer, body = self._lines(frame.header), self._lines(frame.footer), self._body(frame.body)
        room = self.room(frame)
        top = self.last_top(frame) if frame.at_end else min(frame.top, self.last_top(frame))
        shown = body[top : top + room]
        blank: list[list[Segment]] = [[]] * max(0, room - len(shown))
        lines = [*header, *shown, *blank, *footer][:height]
        painted = "\x1b[K\r\n".join(self._paint(line) for line in lines)
        self._write(f"\x1b[H{painted}\x1b[K\x1b[J")

    def _paint(self, line: list[Segment]) -> str:
        with self.console.capture() as capture:
            self.console.print(*[Text(s.text, style=s.style or "") for s in line], sep="", end="", soft_wrap=True)
        return capture.get()

    def _lines(self, texts: list[Text]) -> list[list[Segment]]:
        return [line for text in texts for line in self._cut(text)]

    def _body(self, text: Text) -> list[list[Segment]]:
        key = (id(text), len(text), self.width)
        if self._laid.key != key:
            lines = list(text.split("\n", allow_blank=True)) if text.plain else list[Text]()
            self._laid = _Laid(key, self._lines([fitted(line, self.width) for line in lines]))
        return self._laid.lines

    def _cut(self, text: Text) -> list[list[Segment]]:
        options = self.console.options.update(width=self.width, height=None)
        return self.console.render_lines(text, options, pad=False)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stdout.write(text)
            sys.stdout.flush()


RULE = re.compile(r"([=\-_!])\1{2,} .* \1{3,}$")


def fitted(line: Text, width: int) -> Text:
    """`line`; a heading between two rules, as pytest prints them, with shorter rules where the terminal is narrower."""
    found = RULE.match(line.plain)
    if found is None or len(line) <= width:
        return line
    sign = found[1]
    left = len(line.plain) - len(line.plain.lstrip(sign))
    right = len(line.plain) - len(line.plain.rstrip(sign))
    over = len(line) - width
    from_left = min(left - 1, (over + 1) // 2)
    from_right = min(right - 1, over - from_left)
    return line[from_left : len(line) - from_right]


def usable() -> bool:
    """Whether there is a terminal that a screen could fill."""
    return (
        os.name == "posix"
        and sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.environ.get("TERM", "") not in ("", "dumb")
    )
