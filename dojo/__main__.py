"""`dojo`, and `python -m dojo`."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command.  Ctrl-C while it is still being loaded ends it without a word."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from dojo.cli import app

    signal.signal(signal.SIGINT, before)
    app(prog_name="dojo")


if __name__ == "__main__":
    main()
