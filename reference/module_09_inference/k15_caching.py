"""Caching: the reference."""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Call = Callable[[], Coroutine[Any, Any, Any]]


def _checked(size: int) -> int:
    if size < 1:
        raise ValueError(f"expected a size of 1 or more, got {size}")
    return size


class LruCache:
    def __init__(self, size: int) -> None:
        self.size = _checked(size)
        # In the order of use, the oldest first.  A plain dict keeps an order as well, but is slow to find its first
        # key after many have left.
        self.entries: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, default: Any = None) -> Any:
        if key not in self.entries:  # asked by key: None is a value like any other
            return default
        self.entries.move_to_end(key)
        return self.entries[key]

    def put(self, key: Hashable, value: Any) -> None:
        if key not in self.entries and len(self.entries) == self.size:
            self.entries.popitem(last=False)
        self.entries[key] = value
        self.entries.move_to_end(key)

    def __len__(self) -> int:
        return len(self.entries)


class TtlCache:
    def __init__(self, size: int, ttl: float, clock: Callable[[], float]) -> None:
        if not ttl > 0:
            raise ValueError(f"expected a ttl above 0, got {ttl}")
        self.size, self.ttl, self.clock = _checked(size), ttl, clock
        self.entries: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def _drop_old(self) -> float:
        # All live equally long, so they get too old in the order of their puts: the first ones are enough.
        now = self.clock()
        while self.entries and now - next(iter(self.entries.values()))[0] >= self.ttl:
            self.entries.popitem(last=False)
        return now

    def get(self, key: Hashable, default: Any = None) -> Any:
        self._drop_old()
        return self.entries[key][1] if key in self.entries else default

    def put(self, key: Hashable, value: Any) -> None:
        now = self._drop_old()
        # Taken out, not only overwritten: the order must stay that of the puts.
        self.entries.pop(key, None)
        if len(self.entries) == self.size:
            self.entries.popitem(last=False)
        self.entries[key] = (now, value)

    def __len__(self) -> int:
        self._drop_old()
        return len(self.entries)


class LfuCache:
    def __init__(self, size: int) -> None:
        self.size = _checked(size)
        self.values: dict[Hashable, Any] = {}
        self.uses: dict[Hashable, int] = {}
        # For each number of uses the keys that have it, the one used longest ago first.
        self.groups: defaultdict[int, OrderedDict[Hashable, None]] = defaultdict(OrderedDict)
        self.fewest = 1

    def get(self, key: Hashable, default: Any = None) -> Any:
        if key not in self.values:
            return default
        self._use(key)
        return self.values[key]

    def put(self, key: Hashable, value: Any) -> None:
        if key not in self.values:
            # Somebody leaves before the new one comes: with its single use it would leave at once.
            if len(self.values) == self.size:
                oldest, _ = self.groups[self.fewest].popitem(last=False)
                del self.values[oldest], self.uses[oldest]
            self.uses[key] = 0
            self.fewest = 1
        self._use(key)
        self.values[key] = value

    def _use(self, key: Hashable) -> None:
        uses = self.uses[key]
        self.groups[uses].pop(key, None)
        # If this was the last one with the fewest uses, it has one more now, and nobody has fewer.
        if uses == self.fewest and not self.groups[uses]:
            self.fewest = uses + 1
        self.uses[key] = uses + 1
        self.groups[uses + 1][key] = None

    def __len__(self) -> int:
        return len(self.values)


class _Flight:
    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task, self.waiting = task, 0


class SingleFlight:
    def __init__(self) -> None:
        self.flights: dict[Hashable, _Flight] = {}

    async def __call__(self, key: Hashable, call: Call) -> Any:
        flight = self.flights.get(key)
        if flight is None:
            # A task of its own: it belongs to all who wait, not to the one who asked first.
            flight = self.flights[key] = _Flight(asyncio.create_task(call()))
            # The first callback of the task, so it is forgotten before anybody gets the answer.
            flight.task.add_done_callback(lambda _: self._forget(key, flight))
        flight.waiting += 1
        try:
            # Without the shield, whoever is cancelled would take the call along.
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # Nobody waits any more.  Forgotten first: whoever asks during the clean-up needs a new call.
                self._forget(key, flight)
                flight.task.cancel()
                await asyncio.wait({flight.task})

    def _forget(self, key: Hashable, flight: _Flight) -> None:
        if self.flights.get(key) is flight:  # a newer one may have taken its place
            del self.flights[key]


class SemanticCache:
    def __init__(self, size: int, threshold: float) -> None:
        if not -1 <= threshold <= 1:
            raise ValueError(f"expected a threshold from -1 to 1, got {threshold}")
        self.size, self.threshold = _checked(size), threshold
        self.length: int | None = None
        # (scope, numbers) → (unit vector, value), in the order of the puts.
        self.entries: OrderedDict[Hashable, tuple[NDArray[np.float64], Any]] = OrderedDict()

    def _numbers(self, vector: ArrayLike) -> NDArray[np.float64]:
        # In float64 at once: squares overflow in float16 and in small integers.
        numbers = np.array(vector, dtype=np.float64)
        if self.length not in (None, len(numbers)):
            raise ValueError(f"expected a vector of length {self.length}, got {len(numbers)}")
        if not np.isfinite(numbers).all():
            raise ValueError("the vector's numbers aren't all finite")
        if not numbers.any():
            raise ValueError("the vector is zero, so it has no direction")
        return numbers

    def get(self, scope: Hashable, vector: ArrayLike, default: Any = None) -> Any:
        numbers = self._numbers(vector)
        unit = numbers / np.linalg.norm(numbers)
        inside = [entry for (its_scope, _), entry in self.entries.items() if its_scope == scope]
        if not inside:
            return default
        nearest, value = max(inside, key=lambda entry: entry[0] @ unit)
        return value if nearest @ unit >= self.threshold - 1e-9 else default

    def put(self, scope: Hashable, vector: ArrayLike, value: Any) -> None:
        numbers = self._numbers(vector)
        self.length = len(numbers)
        key = (scope, tuple(numbers.tolist()))
        self.entries.pop(key, None)
        if len(self.entries) == self.size:
            self.entries.popitem(last=False)
        self.entries[key] = (numbers / np.linalg.norm(numbers), value)

    def __len__(self) -> int:
        return len(self.entries)


class _Block:
    def __init__(self, tokens: tuple[int, ...], parent: "_Block | None") -> None:
        self.tokens, self.parent = tokens, parent
        self.children: dict[tuple[int, ...], _Block] = {}
        self.used = 0


class PrefixCache:
    def __init__(self, size: int, block: int) -> None:
        self.size, self.block = _checked(size), _checked(block)
        self.root = _Block((), None)
        self.blocks: dict[_Block, None] = {}  # a set that keeps its order
        self.now = 0  # counts the calls

    def _cut(self, tokens: Sequence[int]) -> list[tuple[int, ...]]:
        ends = range(self.block, len(tokens) + 1, self.block)
        return [tuple(tokens[end - self.block : end]) for end in ends]

    def match(self, tokens: Sequence[int]) -> int:
        self.now += 1
        at, found = self.root, 0
        # The last token is never skipped, so no block that ends with it is.
        for piece in self._cut(tokens[:-1]):
            if piece not in at.children:
                break
            at = at.children[piece]
            at.used = self.now
            found += self.block
        return found

    def add(self, tokens: Sequence[int]) -> None:
        self.now += 1
        at = self.root
        for piece in self._cut(tokens):
            if piece not in at.children:
                if len(self.blocks) == self.size and not self._drop_leaf():
                    return
                # The tree itself says what comes before a block: no key of all the tokens is needed, and no hash.
                at.children[piece] = _Block(piece, at)
                self.blocks[at.children[piece]] = None
            at = at.children[piece]
            at.used = self.now

    def _drop_leaf(self) -> bool:
        """Lets the leaf go that was used longest ago; says whether there was one."""
        # The prompt's own blocks have been used now, so this leaves them out.
        leaves = [block for block in self.blocks if not block.children and block.used < self.now]
        if not leaves:
            return False
        leaf = min(leaves, key=lambda block: block.used)
        del leaf.parent.children[leaf.tokens]
        del self.blocks[leaf]
        return True

    def __len__(self) -> int:
        return len(self.blocks)
