"""How pytest collects what the proofs run: the tests of some katas, on the reference."""

from __future__ import annotations

from collections.abc import Iterable

from dojo.curriculum.katas import Dojo, Kata


def arguments(dojo: Dojo, katas: Iterable[Kata]) -> list[str]:
    """pytest's arguments for the tests of `katas`, judged on the reference and leaving no cache behind."""
    return [
        *[str(kata.test) for kata in katas], f"--rootdir={dojo.clone}", "-c", str(dojo.clone / "pyproject.toml"),
        "--impl", "reference", "-q", "-s", "-p", "no:cacheprovider",
    ]  # fmt: skip
