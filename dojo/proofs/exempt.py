"""Katas whose proofs are open: exempt from `dojo check --changed`, by name and with the reason alone.

`reference/open.toml` has a line for each, `name = "what isn't proven"`.  They are named at
every check, and whoever proves one takes its line out: a line for a kata that is listed as proven,
or for none, is a problem.  `dojo check NAME` proves an exempt kata like any other.
"""

from __future__ import annotations

from collections.abc import Iterable

from dojo.curriculum.katas import Dojo, Kata, read_toml


def reasons(dojo: Dojo) -> dict[str, str]:
    """Why each exempt kata isn't proven; empty where none is exempt."""
    file = dojo.clone / "reference" / "open.toml"
    return {name: str(why).strip() for name, why in read_toml(file).items()} if file.exists() else {}


def problems(dojo: Dojo, proven: Iterable[Kata]) -> list[str]:
    """What is wrong with the list: a sentence for each line that may not stand there."""
    listed, known = reasons(dojo), {kata.name for kata in dojo.katas}
    done = {kata.name for kata in proven}
    found = [f"reference/open.toml: there is no kata '{name}'" for name in listed if name not in known]
    found += [f"reference/open.toml: {name} needs its reason" for name, why in listed.items() if not why]
    found += [f"reference/open.toml: {name} is listed as proven: take its line out" for name in listed if name in done]
    return found
