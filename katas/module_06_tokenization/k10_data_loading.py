"""Data loading

A training run reads each token of its corpus about once, in an order that no
longer remembers the files it came from, split over many processes, and it has
to go on after a crash as if nothing had happened.  Five small parts do that.

**Token files.**  A corpus of 10¹⁰ tokens is one flat file of unsigned integers:
2 bytes a token (0 … 65,535) if the vocabulary has at most 65,536 entries, else
4, lowest byte first.  Mapped into memory, it costs nothing until a block of it
is looked at.  Block i of length b is what a language model trains on, and its
targets are the same tokens one place on:

    x = tokens[i·b : i·b + b]        y = tokens[i·b + 1 : i·b + b + 1]

so N tokens hold ⌊(N - 1) / b⌋ whole blocks: the last target must exist.

**Packing.**  Documents are shorter than a context.  Padding each would waste
most of the batch, so they are laid end to end with an end token after each, and
cut into rows.  The segment numbers say which tokens of a row belong together,
so that attention can be kept inside a document.

**The shuffle buffer.**  A stream can't be permuted, but a buffer of `size`
samples can give back a random one of those that it holds whenever a new one
comes.  It holds `size` samples and never more.

**Sharding.**  With `world` processes of `workers` loaders each, every sample
belongs to exactly one loader, and no loader gets more than one sample more than
another.

**Resuming.**  The order of an epoch follows from (seed, epoch) alone, so a
place in the run is a few numbers, not a list of samples.

Worked by hand, documents [5 6 7], [8] and [9 4], length 4, end token 0:

    stream     5 6 7 0 | 8 0 9 4 | 0
    rows      [5 6 7 0]  [8 0 9 4]  [0  0  0  0]
    segments  [0 0 0 0]  [0 0 1 1]  [0 -1 -1 -1]

In the last row only the first 0 is real: it ends [9 4]; the rest is filling.

No function changes its arguments.

Sources: the token files of Karpathy's nanoGPT (2022); Krell et al. 2021,
"Efficient Sequence Packing without Cross-contamination", section 1; the shuffle
buffer of `tf.data` (Murray et al. 2021, section 3.2).

From scratch: torch, datasets and numpy.ndarray.tofile may not be used.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np


def write_tokens(path: Path, tokens: Iterable[int], vocab_size: int) -> int:
    """Write `tokens` as a token file for a vocabulary of `vocab_size`; the number of tokens written.

    `tokens` may be a generator that gives more than fits in memory: at most 4096
    of them are held at a time.

    Raises ValueError, naming the token and `vocab_size`, for a token that isn't in 0 … vocab_size - 1.
    """
    raise NotImplementedError


class TokenFile:
    """A token file as a sequence of blocks, of which only what is asked for is read."""

    def __init__(self, path: Path, block: int, vocab_size: int) -> None:
        """Open the file at `path`, written with the same `vocab_size`, in blocks of `block` tokens."""
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of whole blocks."""
        raise NotImplementedError

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Block `i` and its targets, int64 arrays (block,) of their own.

        Raises IndexError, naming `i` and the number of blocks, unless 0 ≤ i < len(self).
        """
        raise NotImplementedError


def pack(
    documents: Iterable[Sequence[int]], length: int, end: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of `length` tokens and their segment numbers, int64 arrays (length,), as in the lesson.

    Every document, an empty one too, is followed by `end`, which belongs to the
    document that it ends.  Segments count from 0 in each row.  A last row that
    isn't full is filled with `end`, in segment -1; there is no row of filling alone.

    Each row is given as soon as its last token is known: `documents` may never end.
    """
    raise NotImplementedError


def shuffle_buffer(samples: Iterable, size: int, seed: int) -> Iterator:
    """Every sample once, shuffled by a buffer of `size`; the same order for the same `seed`.

    When the n-th sample is given out, at most n + size - 1 have been taken from
    `samples`, and whatever the buffer holds is equally likely.  With `size` 1 the
    order stays as it is.

    Raises ValueError, naming `size`, if it is below 1.
    """
    raise NotImplementedError


def shard(n: int, rank: int, world: int, worker: int = 0, workers: int = 1) -> np.ndarray:
    """The indices in 0 … n - 1 that belong to loader `worker` of `workers` in process `rank` of `world`.

    int64, (about n / (world·workers),), in any order.  Over all loaders each index
    stands exactly once, and no loader has two more than another.

    Raises ValueError, naming both numbers, unless 0 ≤ rank < world and 0 ≤ worker < workers.
    """
    raise NotImplementedError


class ResumableLoader:
    """Shuffled batches, epoch after epoch, that go on where they stopped."""

    def __init__(
        self, samples: Sequence, batch: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        """Batches of `batch` from this rank's share of `samples`, which is drawn anew each epoch."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[list]:
        """The batches that are left of the current epoch, then the next epoch is current.

        Lists of `batch` samples, the last one shorter where they don't come out
        even.  Over all ranks an epoch gives every sample exactly once; its order
        depends on the seed and the epoch.
        """
        raise NotImplementedError

    def state_dict(self) -> dict:
        """Where the loader stands after the last batch it gave: at most 1000 characters as JSON."""
        raise NotImplementedError

    def load_state_dict(self, state: dict) -> None:
        """Stand where `state` was taken, in a loader made with the same arguments."""
        raise NotImplementedError
