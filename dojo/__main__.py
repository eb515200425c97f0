"""`dojo`, and `python -m dojo`."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command.  Ctrl-C while it is still being loaded ends it without a word."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from dojo.cli import app

    signal.signal(signal.SIGINT, before)
    try:
        app(prog_name="dojo")
    except SystemExit as end:
        if "triton" in sys.modules and isinstance(end.code, int | None):
            # At the interpreter's end triton's binding lists forty lines of its own leaks.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code or 0)
        raise


if __name__ == "__main__":
    main()
