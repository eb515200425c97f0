"""`python -m dojo`: the `dojo` command."""

from dojo.cli import app

if __name__ == "__main__":
    app(prog_name="dojo")
