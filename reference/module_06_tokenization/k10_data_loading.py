"""Data loading: the reference."""

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np


def _dtype(vocab_size: int) -> str:
    return "<u2" if vocab_size <= 65_536 else "<u4"


def write_tokens(path: Path, tokens: Iterable[int], vocab_size: int) -> int:
    stream = iter(tokens)
    count = 0
    with open(path, "wb") as file:
        while chunk := list(islice(stream, 4096)):
            for token in chunk:
                if not 0 <= token < vocab_size:
                    raise ValueError(f"token {token} isn't in a vocabulary of {vocab_size}")
            file.write(np.array(chunk, dtype=_dtype(vocab_size)).tobytes())
            count += len(chunk)
    return count


class TokenFile:
    def __init__(self, path: Path, block: int, vocab_size: int) -> None:
        # An empty file can't be mapped.
        some = path.stat().st_size
        self.tokens = np.memmap(path, dtype=_dtype(vocab_size), mode="r") if some else ()
        self.block = block

    def __len__(self) -> int:
        return max(0, len(self.tokens) - 1) // self.block

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= i < len(self):
            raise IndexError(f"block {i} isn't one of the {len(self)} in the file")
        window = self.tokens[i * self.block : (i + 1) * self.block + 1].astype(np.int64)
        return window[:-1], window[1:].copy()  # two views of one window would share its memory


def pack(
    documents: Iterable[Sequence[int]], length: int, end: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    row: list[int] = []
    segments: list[int] = []
    for document in documents:
        segment = segments[-1] + 1 if segments else 0
        for token in [*document, end]:
            row.append(token)
            segments.append(segment)
            if len(row) == length:
                yield np.array(row), np.array(segments)
                # What is left of the document is the first segment of the next row.
                row, segments, segment = [], [], 0
    if row:
        filling = length - len(row)
        yield np.array(row + [end] * filling), np.array(segments + [-1] * filling)


def shuffle_buffer(samples: Iterable, size: int, seed: int) -> Iterator:
    if size < 1:
        raise ValueError(f"the buffer holds at least 1 sample, got size {size}")
    # The generator is a function of its own, so a wrong size is refused at once, not at the first
    # sample.
    return _shuffled(samples, size, random.Random(seed))


def _shuffled(samples: Iterable, size: int, draw: random.Random) -> Iterator:
    buffer: list = []
    for sample in samples:
        buffer.append(sample)
        if len(buffer) == size:
            yield _take(buffer, draw)
    while buffer:
        yield _take(buffer, draw)


def _take(buffer: list, draw: random.Random) -> object:
    # The last sample fills the gap, so nothing has to move up.
    i = draw.randrange(len(buffer))
    buffer[i], buffer[-1] = buffer[-1], buffer[i]
    return buffer.pop()


def shard(n: int, rank: int, world: int, worker: int = 0, workers: int = 1) -> np.ndarray:
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} isn't one of {world} processes")
    if not 0 <= worker < workers:
        raise ValueError(f"worker {worker} isn't one of {workers} loaders")
    return np.arange(rank + world * worker, n, world * workers)


class ResumableLoader:
    def __init__(
        self, samples: Sequence, batch: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.samples = samples
        self.batch = batch
        self.seed = seed
        self.rank, self.world = rank, world
        self.epoch = 0
        self.given = 0  # samples of this rank's share

    def __iter__(self) -> Iterator[list]:
        # Every rank draws the same permutation and takes every world-th place of it.
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.samples))
        share = order[self.rank :: self.world]
        while self.given < len(share):
            batch = share[self.given : self.given + self.batch]
            self.given += self.batch  # before the yield: a state taken after it counts this batch
            yield [self.samples[i] for i in batch]
        self.epoch, self.given = self.epoch + 1, 0

    def state_dict(self) -> dict:
        return {"epoch": self.epoch, "given": self.given}

    def load_state_dict(self, state: dict) -> None:
        self.epoch, self.given = state["epoch"], state["given"]
