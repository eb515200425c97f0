"""A paged key-value cache

**Before you start.**  You need the kata kv_cache: its `KVCache` is what you improve on, and its
model runs on the cache that you build here.  To try things out (the reference's is used until
yours is green):

    from .k01_kv_cache import CachedLlama

The sizes of a model come from here, imported already:

    from katas.module_05_transformers.k14_llama import LlamaConfig

If paging is new to you: Arpaci-Dusseau, "Operating Systems: Three Easy Pieces", chapter 18.

**The idea.**  How many users a GPU can serve at once depends on how many caches fit into its
memory.  A KVCache takes memory for the longest text that may come.  Most texts end early, so most
of that memory stays empty.  The authors of vLLM measured it: in the systems before theirs, 20 to
38 % of the cache held tokens.  So do what an operating system does with memory.  Cut it into
*blocks* of a few tokens each.  A text takes a block when it needs one.  Its *block table* says
which blocks it has, in order.  They may lie anywhere.

Then texts can share blocks.  The beams of a beam search begin alike.  Thousands of requests begin
with the same instructions.  Their keys and values are the same numbers, so keep them once.

    A = the cat sat on my mat               blocks of 4 tokens
    B = the cat sat on my hat               a fork of A, which went on

    table of A   5  2                       table of B   5  0

    block          0         1         2         3         4         5
              ┌─────────┬─────────┬─────────┬─────────┬─────────┬─────────┐
              │ my hat  │         │ my mat  │         │         │ the cat │
              │         │         │         │         │         │ sat on  │
              └─────────┴─────────┴─────────┴─────────┴─────────┴─────────┘
    holders        1         0         1         0         0         2

**The formulas**, for blocks of B tokens:

    token t of a text       block table[t // B], slot t % B
    blocks for n more       ⌈(length + n) / B⌉ - len(table),  and 1 if a shared block is copied
    key of block i          f(key of block i - 1, the tokens of block i)

**Copy on write.**  A fork copies no block: the new text holds those of the old one, too.  Full
blocks are never written again, so they can stay shared for ever.  Only the last one may have
empty slots.  Whoever wants to write into it first takes a fresh block, copies the old one into
it, and lets the old one go.  The last holder writes in place.

**The life of a block.**  Full blocks are *published* under a key, so that a later prompt finds
them.  When nobody holds such a block any more, it is free.  But its contents are still there, and
it is *remembered*.  It is lost only when memory runs short and the block is *evicted*.

               allocate                  publish
      blank ──────────────▶ held ─────────────────────▶ held, can be found
        ▲                    │                           │              ▲
        ╰────── release ─────╯                   release │              │ hold
                                                         ▼              │
      allocate evicts it ◀───────────────────────── remembered ─────────╯

A blank block is taken first.  If there is none, the block that was released longest ago goes.

**Why does a key hold all tokens before?**  A token's keys and values in the second layer depend on
everything that it saw in the first.  The same four tokens after another beginning have other
keys and values.

**Why is a text's last block released first?**  A prompt is looked up from its beginning, and the
search ends at the first miss.  Without its first block a text can't be found at all.  So
that one should be evicted last.

**Why is a prompt's last token always run?**  You need the logits after it.  They aren't in the
cache.

**Worked by hand**, 6 blocks of 4 tokens:

    start [10 … 15]         nothing is found: 0 tokens.  6 blocks are free
    reserve 6, commit       2 blocks, the first one is full and published       free 4
    fork                    both blocks have 2 holders                          free 4
    reserve 1 for the fork  its half-full block is copied                       free 3
    end both                all are free; the published one is remembered       free 6
    start [10 … 14]         the first 4 tokens are found: 1 block is held       free 5
    start [10 … 13]         0 tokens are found: the last token must be run

**Shapes**

    store   (blocks, block_size, kv_heads, head_dim)     keys or values of one layer
    rows    (n, kv_heads, head_dim)                      those of n tokens
    table   a list of block numbers                      tokens and ids: lists of ints

All sizes are 1 or more.  No function changes its arguments, but for write_rows, which writes into
its store.  What belongs to a cache changes with the cache.

Tensors are on the device of the cache.

**Steps.**  A good place to pause is before PagedCache.

    block_keys    6 min   which prompts share a block?
    BlockPool    22 min   two kinds of free blocks
    write_rows    5 min   indices for all tokens at once
    read_rows     3 min   the same, the other way
    PagedCache   30 min   6 for start, 10 for reserve, 7 for commit, 4 for fork, 3 for end
    pick_beams    4 min   in which order?
    run           4 min   when may others find the blocks?

Sources: Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with
PagedAttention", sections 3 and 4; vLLM's documentation, "Automatic Prefix Caching" (keys,
eviction).

From scratch: transformers may not be used.
"""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from katas.module_05_transformers.k14_llama import LlamaConfig


class OutOfBlocks(RuntimeError):
    """There are not enough free blocks.  This class is given."""


def block_keys(ids: Sequence[int], block_size: int) -> list[Hashable]:
    """A key for each full block of a text that begins with `ids`: a list of len(ids) // block_size keys, in order.

    - Two keys are equal if the two texts are alike up to the ends of these blocks, and (but for collisions of
      a good hash) only then.  Keys of different block sizes are never compared.
    - A key can stand in a dict.  What it is made of is yours to choose.
    """
    raise NotImplementedError


class BlockPool:
    """Who holds which of the blocks 0 … blocks - 1, and what can be found in them.  At first all are blank."""

    def __init__(self, blocks: int) -> None:
        """A pool of so many blocks."""
        raise NotImplementedError

    @property
    def free(self) -> int:
        """The number of blocks that nobody holds, blank or remembered."""
        raise NotImplementedError

    def holders(self, block: int) -> int:
        """How many hold this block."""
        raise NotImplementedError

    def allocate(self) -> int:
        """A free block, which has one holder now.

        Any blank one, if there is one.  Otherwise the remembered block that was released longest ago: it can't be
        found any more.

        Raises OutOfBlocks, naming the number of blocks, if all are held.
        """
        raise NotImplementedError

    def hold(self, block: int) -> None:
        """One holder more, of a block that is held or remembered.

        Raises ValueError, naming the block, if it is blank.
        """
        raise NotImplementedError

    def release(self, block: int) -> None:
        """One holder less.  Without holders, a block that was published is remembered, and another one is blank.

        Raises ValueError, naming the block, if nobody holds it.
        """
        raise NotImplementedError

    def publish(self, block: int, key: Hashable) -> None:
        """From now on this block, which is held, is found under `key`.

        Nothing happens if another block has that key, or if this block has a key already.
        """
        raise NotImplementedError

    def find(self, key: Hashable) -> int | None:
        """The block with that key, held or remembered, or None.  Looking changes nothing, also not who is evicted next."""
        raise NotImplementedError


def write_rows(store: Tensor, table: Sequence[int], start: int, rows: Tensor) -> None:
    """Write the rows (n, …) of the tokens start … start + n - 1 into the store (blocks, block_size, …).

    The table has room for them.  Nothing else in the store changes.
    """
    raise NotImplementedError


def read_rows(store: Tensor, table: Sequence[int], length: int) -> Tensor:
    """The rows (length, …) of the first `length` ≥ 0 tokens of a table, gathered from the store: a copy."""
    raise NotImplementedError


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
        """Begin a sequence for the prompt `ids`, which isn't empty; returns (sequence, found).

        - The prompt's longest beginning of full blocks that can be found is there already: the sequence
          holds these blocks.  `found` is the number of their tokens, and they are its tokens.
        - At least one token of the prompt is left to be run, so `found` is below len(ids).
        - No block is allocated.
        """
        raise NotImplementedError

    def reserve(self, sequence: int, n: int) -> None:
        """Make room for `n` ≥ 1 tokens after those that the sequence has.

        - The table gets as many fresh blocks as are missing, and no more.  Reserved twice is reserved once.
        - If the first of the tokens goes into a block that others hold, too, a fresh block takes its place in this
          table, with a copy of the keys and values of all layers.  The old one has one holder less.

        Raises OutOfBlocks, naming how many blocks are needed and how many are free, if these are too few.
        Then nothing has changed, and nothing was evicted.
        """
        raise NotImplementedError

    def commit(self, sequence: int, ids: Sequence[int]) -> None:
        """The tokens `ids` have been written, behind those that the sequence has: now they belong to it.

        - The blocks that are full by now are published under their keys.
        - Call reserve before you write, and commit after.

        Raises ValueError, naming the room that is left and the number of `ids`, if there is too little.
        """
        raise NotImplementedError

    def fork(self, sequence: int) -> int:
        """A new sequence with the same tokens, which holds the blocks of these tokens, too.  No block is allocated.

        Blocks that were reserved and have no token yet stay with the old one alone.
        """
        raise NotImplementedError

    def end(self, sequence: int) -> None:
        """Forget the sequence; its blocks lose a holder, the last block first."""
        raise NotImplementedError


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
    """The next beams: new beam i goes on from sequences[parents[i]].  Returns their sequences, in the order of `parents`.

    - A parent may be named several times, or never.  What isn't named any more ends, so that exactly the
      returned sequences are left of the old ones and the new.  They are all different.
    - Whether a new beam keeps the number of its parent is open.
    - No block is allocated, and none is free in between: what was reserved beyond a sequence's tokens may be lost.
    """
    raise NotImplementedError


def run(model: Callable[..., Tensor], cache: PagedCache, sequence: int, ids: Sequence[int]) -> Tensor:
    """Run the next tokens `ids` (at least one) of a sequence; the logits (n, vocab_size) after each.

    - Room is reserved, the model runs, the tokens are committed.
    - model(ids (1, n) int64, cache.layers(sequence)) gives logits (1, n, vocab_size), as CachedLlama does.  It is
      called once, with the ids on the device of the cache.
    - If the model raises, or there are too few blocks, the sequence has the tokens that it had, and nothing more
      can be found.
    """
    raise NotImplementedError
