"""The engine of ML Dojo: a pytest plugin that judges katas, and the `dojo` command."""

import sys

# Here, as each of the doors comes by: of an older Python the first word would be a traceback.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "ML Dojo needs Python 3.11 or newer, and this is Python {}.{} ({}). "
        "Make a virtual environment with a newer one: python3.11 -m venv .venv".format(
            *sys.version_info[:2], sys.executable
        )
    )
