"""What code in another process saw, carried back to the one that asked.

A test may run a kata in processes of its own (the ranks of torch.distributed).
What the proofs note during a test (the lines that run, whether an answer was
spoiled) is noted there, too, and would be lost with the process: who notes
something registers how to take it along and how to add it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_carriers: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []


@contextmanager
def carrying(take: Callable[[], Any], add: Callable[[Any], None]) -> Iterator[None]:
    """In the block, what `take()` gives in a forked process (it must pickle) comes to `add` in this one."""
    _carriers.append((take, add))
    try:
        yield
    finally:
        _carriers.pop()


def take_all() -> list[Any]:
    """In the other process, at its end: what each carrier takes along."""
    return [take() for take, _ in _carriers]


def add_all(taken: list[Any]) -> None:
    """In this process: what another one took along."""
    for (_, add), one in zip(_carriers, taken, strict=True):
        add(one)
