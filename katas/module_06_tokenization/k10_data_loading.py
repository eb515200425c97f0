"""Data loading

**Before you start.**  You need numpy arrays, files and generators, no other kata.  Are
memory-mapped files new to you?  Read numpy's documentation of `numpy.memmap`.

**The idea.**  A corpus is larger than memory, many processes share it, and after a crash the run
must go on as if nothing had happened.  Five small parts do that.

*Token files.*  A corpus is one flat file of unsigned integers.  Map it into memory, and only the
blocks that you look at are read.

*Packing.*  Padding each document to full length could waste half of the batch.  So lay them end to
end, an end token after each, and cut the stream into rows.  Segment numbers say which tokens of a
row belong together: attention can stay inside a document.

*The shuffle buffer.*  A stream can't be shuffled as a whole.  Keep up to `size` samples; once full,
give out a random one before you take the next.  Here size 3:

    stream          buffer        out
    d e f g …       a b c    ──▶   b
    e f g …         a d c    ──▶   c
    f g …           a d e    ──▶   a

*Sharding.*  With `world` processes of `workers` loaders each, every sample belongs to exactly one
loader.  With 2 processes of 2 loaders:

    index   │  0  1  2  3  4  5  6  7  8  9  10
    process │  0  1  0  1  0  1  0  1  0  1  0
    loader  │  0  0  1  1  0  0  1  1  0  0  1

*Resuming.*  A place in the run is a few numbers, not a list of samples.

**The formula.**  Of N tokens t, block i of length b is what a language model trains on, and its
targets are the same tokens one place on:

    x = t[i·b : i·b + b]        y = t[i·b + 1 : i·b + b + 1]        ⌊(N - 1) / b⌋ blocks

**Why N − 1?**  The last block needs a last target.

**Why may the state be so small?**  The order of an epoch follows from (seed, epoch) alone.  Draw it
again, and skip what was given.

**Worked by hand**, documents [5 6 7], [8] and [9 4], length 4, end token 0:

    stream     5 6 7 0 │ 8 0 9 4 │ 0
    rows      [5 6 7 0]  [8 0 9 4]  [0  0  0  0]
    segments  [0 0 0 0]  [0 0 1 1]  [0 -1 -1 -1]

In the last row only the first 0 is real: it ends [9 4].

**Shapes**: tokens and segments are int64 arrays (length,).  No function changes its arguments.

**Steps.**

    write_tokens       8 min   a chunk at a time
    TokenFile         10 min   the last target; arrays of their own
    pack              12 min   what is left of a document goes on in the next row
    shuffle_buffer     8 min   what is left in the buffer at the end
    shard              5 min   one line; uneven n
    ResumableLoader   20 min   when does the state move on?

Sources: the token files of Karpathy's nanoGPT (2022); Krell et al. 2021, "Efficient Sequence
Packing without Cross-contamination"; Murray et al. 2021, "tf.data" (shuffle buffer).

From scratch: torch, datasets and numpy.ndarray.tofile may not be used.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np


def write_tokens(path: Path, tokens: Iterable[int], vocab_size: int) -> int:
    """Write `tokens` as a token file for a vocabulary of `vocab_size`; return how many there are.

    - A token takes 2 bytes if the vocabulary has at most 65,536 entries, else 4, the lowest byte
      first.  Nothing else is in the file.
    - `tokens` may be a generator that gives more than fits in memory: hold at most 4096 of them at
      a time.

    Raises ValueError, naming the token and `vocab_size`, for a token outside of
    0 … vocab_size - 1.
    """
    raise NotImplementedError


class TokenFile:
    """A token file as a sequence of blocks, of which only what is asked for is read."""

    def __init__(self, path: Path, block: int, vocab_size: int) -> None:
        """Open the file at `path`, written with the same `vocab_size`, in blocks of `block` tokens.

        It isn't read here: it may be larger than memory.  It may be empty.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of whole blocks that have all their targets; 0 for an empty file."""
        raise NotImplementedError

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Block `i` and its targets, int64 arrays (block,).

        They share no memory with each other or with the file: a change to one stays there.

        Raises IndexError, naming `i` and the number of blocks, unless 0 ≤ i < len(self).
        """
        raise NotImplementedError


def pack(
    documents: Iterable[Sequence[int]], length: int, end: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of `length` tokens and their segment numbers, int64 arrays (length,).

    - Every document, an empty one too, is followed by `end`, which belongs to the document that it
      ends.
    - Segments count from 0 in each row.
    - A last row that isn't full is filled with `end`, in segment -1; there is no row of filling
      alone.
    - A row is given before the next document is asked for, if its last token is known: `documents`
      may never end, and the next may take long to come.
    """
    raise NotImplementedError


def shuffle_buffer(samples: Iterable, size: int, seed: int) -> Iterator:
    """Every sample once, shuffled by a buffer of `size`; the same order for the same `seed`.

    - When the n-th sample is given out, at most n + size - 1 have been taken from `samples`.
    - Each sample in the buffer is equally likely, whatever was drawn before.
    - With `size` 1 the order stays as it is.
    - Python's and numpy's global generators stay as they are: draw from one of your own.

    Raises ValueError, naming `size`, if it is below 1: at once or at the first sample.
    """
    raise NotImplementedError


def shard(n: int, rank: int, world: int, worker: int = 0, workers: int = 1) -> np.ndarray:
    """The indices in 0 … n - 1 of loader `worker` of `workers` in process `rank` of `world`.

    - int64, (about n / (world·workers),), in any order.
    - Over all loaders each index stands exactly once.  Loaders differ by at most 1 index.

    Raises ValueError, naming both numbers, unless 0 ≤ rank < world and 0 ≤ worker < workers.
    """
    raise NotImplementedError


class ResumableLoader:
    """Shuffled batches, epoch after epoch, that go on where they stopped."""

    def __init__(
        self, samples: Sequence, batch: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        """Batches of `batch` from this rank's share of `samples`.

        Which samples are in the share is drawn anew each epoch, the same way on all ranks.  Seeds
        are 0 or more.
        """
        raise NotImplementedError

    def __iter__(self) -> Iterator[list]:
        """The batches that are left of the current epoch; after them the next epoch is current.

        - Lists of `batch` samples, the last one shorter where they don't come out even.
        - Stop in the middle and iterate again: you get the batches that are left.
        - Over all ranks an epoch gives every sample exactly once.
        - The order depends on the seed and the epoch alone.
        - The global generators stay as they are.
        """
        raise NotImplementedError

    def state_dict(self) -> dict:
        """Where the loader stands after the last batch it gave: at most 1000 characters as JSON.

        After an epoch's last batch that may be its end or the start of the next, as you like.
        Going on doesn't change a state that was taken.
        """
        raise NotImplementedError

    def load_state_dict(self, state: dict) -> None:
        """Stand where `state` was taken, in a loader made with the same arguments.

        `state` may have been through JSON.
        """
        raise NotImplementedError
