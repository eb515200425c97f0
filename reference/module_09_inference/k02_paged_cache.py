"""A paged key-value cache: the reference."""

import hashlib
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from katas.module_05_transformers.k14_llama import LlamaConfig


class OutOfBlocks(RuntimeError):
    """There are not enough free blocks.  This class is given."""


def block_keys(ids: Sequence[int], block_size: int) -> list[Hashable]:
    keys, before = [], b""
    for start in range(0, len(ids) - block_size + 1, block_size):
        # The commas keep 1, 12 apart from 11, 2; the key before stands for all that came before.
        text = ",".join(map(str, ids[start : start + block_size]))
        before = hashlib.sha256(before + text.encode()).digest()
        keys.append(before)
    return keys


class BlockPool:
    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.held_by = [0] * blocks
        # Two kinds of free blocks: those with nothing in them, and those that can still be found.
        self.blank = list(range(blocks))
        self.remembered: dict[int, None] = {}  # a dict keeps its order: who was released first comes first
        self.key_of: dict[int, Hashable] = {}
        self.block_of: dict[Hashable, int] = {}

    @property
    def free(self) -> int:
        return len(self.blank) + len(self.remembered)

    def holders(self, block: int) -> int:
        return self.held_by[block]

    def allocate(self) -> int:
        if self.blank:
            block = self.blank.pop()
        elif self.remembered:
            block = next(iter(self.remembered))
            del self.remembered[block]
            # Its contents are about to be overwritten: nobody may find it under the old key.
            del self.block_of[self.key_of.pop(block)]
        else:
            raise OutOfBlocks(f"all {self.blocks} blocks are held")
        self.held_by[block] = 1
        return block

    def hold(self, block: int) -> None:
        if not self.held_by[block]:
            if block not in self.remembered:
                raise ValueError(f"block {block} is free and has nothing in it")
            del self.remembered[block]
        self.held_by[block] += 1

    def release(self, block: int) -> None:
        if not self.held_by[block]:
            raise ValueError(f"nobody holds block {block}")
        self.held_by[block] -= 1
        if self.held_by[block]:
            return
        if block in self.key_of:
            self.remembered[block] = None
        else:
            self.blank.append(block)

    def publish(self, block: int, key: Hashable) -> None:
        if key not in self.block_of and block not in self.key_of:
            self.block_of[key], self.key_of[block] = block, key

    def find(self, key: Hashable) -> int | None:
        return self.block_of.get(key)


def _places(table: Sequence[int], start: int, end: int, store: Tensor) -> tuple[Tensor, Tensor]:
    """The block and the slot of each of the tokens start … end - 1."""
    tokens, size = torch.arange(start, end, device=store.device), store.shape[1]
    return torch.tensor(table, dtype=torch.int64, device=store.device)[tokens // size], tokens % size


def write_rows(store: Tensor, table: Sequence[int], start: int, rows: Tensor) -> None:
    store[_places(table, start, start + len(rows), store)] = rows


def read_rows(store: Tensor, table: Sequence[int], length: int) -> Tensor:
    return store[_places(table, 0, length, store)]


class PagedCache:
    """The keys and values of many sequences, in blocks of one pool.

    pool        a BlockPool: who holds which block
    keys        (layers, blocks, block_size, kv_heads, head_dim), and so are the `values`
    tokens      {sequence: the list of its ids so far}; the ids of sequences are ints, none is used twice
    tables      {sequence: the list of its blocks, in order}, with room for its tokens or more

    A method that gets a sequence which isn't there, or has ended, raises KeyError, naming it.
    """

    def __init__(
        self,
        config: LlamaConfig,
        blocks: int,
        block_size: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Given to you."""
        self.pool, self.block_size = BlockPool(blocks), block_size
        shape = (config.layers, blocks, block_size, config.kv_heads, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros_like(self.keys)
        self.tokens: dict[int, list[int]] = {}
        self.tables: dict[int, list[int]] = {}
        self.started = 0

    def new_sequence(self, tokens: Sequence[int], table: Sequence[int]) -> int:
        """Given to you: writes down copies of both under a new number, and returns it.  It holds no block."""
        self.started += 1
        self.tokens[self.started], self.tables[self.started] = list(tokens), list(table)
        return self.started

    def layers(self, sequence: int) -> list["PagedLayer"]:
        """Given to you: what a model of the kata kv_cache takes for its caches, for this one sequence."""
        return [PagedLayer(self, sequence, layer) for layer in range(len(self.keys))]

    def start(self, ids: Sequence[int]) -> tuple[int, int]:
        table = []
        # The last token is always left to be run: somebody wants the logits after it.
        for key in block_keys(ids[:-1], self.block_size):
            block = self.pool.find(key)
            if block is None:
                break
            self.pool.hold(block)
            table.append(block)
        found = len(table) * self.block_size
        return self.new_sequence(ids[:found], table), found

    def reserve(self, sequence: int, n: int) -> None:
        table, length = self.tables[sequence], len(self.tokens[sequence])
        at = length // self.block_size
        copied = at < len(table) and self.pool.holders(table[at]) > 1
        new = max(0, -(-(length + n) // self.block_size) - len(table))
        # Asked for before anything is done: half a reservation would have to be taken back.
        if copied + new > self.pool.free:
            raise OutOfBlocks(f"{copied + new} blocks are needed, {self.pool.free} are free")
        if copied:
            block = self.pool.allocate()
            self.keys[:, block], self.values[:, block] = self.keys[:, table[at]], self.values[:, table[at]]
            self.pool.release(table[at])
            table[at] = block
        table += [self.pool.allocate() for _ in range(new)]

    def commit(self, sequence: int, ids: Sequence[int]) -> None:
        table, tokens = self.tables[sequence], self.tokens[sequence]
        room = len(table) * self.block_size - len(tokens)
        if len(ids) > room:
            raise ValueError(f"there is room for {room} tokens, got {len(ids)}: reserve it first")
        tokens += ids
        # Only full blocks have a key: nobody writes into them any more.  To publish one again does nothing.
        for block, key in zip(table, block_keys(tokens, self.block_size), strict=False):
            self.pool.publish(block, key)

    def fork(self, sequence: int) -> int:
        tokens = self.tokens[sequence]
        table = self.tables[sequence][: -(-len(tokens) // self.block_size)]
        for block in table:
            self.pool.hold(block)
        return self.new_sequence(tokens, table)

    def end(self, sequence: int) -> None:
        del self.tokens[sequence]
        # From the back: without its first blocks the rest of a text can't be found, so they should go last.
        for block in reversed(self.tables.pop(sequence)):
            self.pool.release(block)


class PagedLayer:
    """One layer of one sequence, with the interface of kv_cache's KVCache.  This class is given."""

    def __init__(self, cache: PagedCache, sequence: int, layer: int) -> None:
        """Given to you."""
        self.cache, self.sequence, self.layer = cache, sequence, layer

    @property
    def length(self) -> int:
        """Given to you: the number of tokens that were committed."""
        return len(self.cache.tokens[self.sequence])

    def append(self, k: Tensor, v: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Given to you: new keys and values go into the blocks; those of the whole text come out, gathered."""
        table, end = self.cache.tables[self.sequence], self.length + k.shape[2]
        kept = []
        for stores, new in ((self.cache.keys, k), (self.cache.values, v)):
            write_rows(stores[self.layer], table, self.length, new[0].transpose(0, 1))
            kept.append(read_rows(stores[self.layer], table, end).transpose(0, 1)[None])
        return kept[0], kept[1], torch.arange(end, device=k.device)[None]


def pick_beams(cache: PagedCache, sequences: Sequence[int], parents: Sequence[int]) -> list[int]:
    # All are forked before any ends: else a parent's blocks would be free in between.
    chosen = [cache.fork(sequences[parent]) for parent in parents]
    for sequence in sequences:
        cache.end(sequence)
    return chosen


def run(model: Callable[..., Tensor], cache: PagedCache, sequence: int, ids: Sequence[int]) -> Tensor:
    cache.reserve(sequence, len(ids))
    logits = model(torch.tensor([ids], device=cache.keys.device), cache.layers(sequence))[0]
    # Only now are the blocks written, and others may find them.
    cache.commit(sequence, ids)
    return logits
