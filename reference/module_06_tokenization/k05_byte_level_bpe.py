"""Byte-level BPE: the reference."""

import codecs
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path

from katas.module_06_tokenization.k02_pretokenization import split_gpt2

REMEMBERED = 10_000
"""How many words a tokenizer remembers at most."""


def byte_letters() -> list[str]:
    hidden = {*range(0x21), *range(0x7F, 0xA1), 0xAD}
    others = count(0x100)
    return [chr(next(others) if byte in hidden else byte) for byte in range(256)]


def read_files(vocabulary: Path, merges: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    lines = merges.read_text(encoding="utf-8").split("\n")
    if lines[0].startswith("#version"):
        del lines[0]
    pairs = [tuple(line.split(" ")) for line in lines if line]
    return json.loads(vocabulary.read_text(encoding="utf-8")), pairs


def merge_word(parts: Sequence[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    parts = list(parts)
    while len(parts) > 1:
        best = min(pairwise(parts), key=lambda pair: ranks.get(pair, math.inf))
        if best not in ranks:
            break
        merged: list[str] = []
        for part in parts:
            # What has just been merged is longer than best[0], so it can't match again.
            if merged and (merged[-1], part) == best:
                merged[-1] += part
            else:
                merged.append(part)
        parts = merged
    return parts


class ByteLevelBPE:
    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        special: Mapping[str, int] | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.special = special or {}
        self.letters = byte_letters()
        byte_of = {letter: byte for byte, letter in enumerate(self.letters)}
        self.bytes_of = {i: bytes(byte_of[letter] for letter in token) for token, i in vocabulary.items()}
        self.bytes_of |= {i: token.encode() for token, i in self.special.items()}
        # An alternation takes the first that fits, so the longest token goes first.
        longest_first = sorted(self.special, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        # Most words of a text were encoded before.  A corpus has millions of different ones, though,
        # so they are forgotten from time to time.
        self.known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        start = 0
        for found in self.pattern.finditer(text) if self.pattern else ():
            self._append(ids, text[start : found.start()])
            ids.append(self.special[found[0]])
            start = found.end()
        self._append(ids, text[start:])
        return ids

    def _append(self, ids: list[int], text: str) -> None:
        for word in split_gpt2(text):
            if word not in self.known:
                if len(self.known) == REMEMBERED:
                    self.known.clear()
                letters = [self.letters[byte] for byte in word.encode()]
                self.known[word] = [self.vocabulary[part] for part in merge_word(letters, self.ranks)]
            ids.extend(self.known[word])

    def encode_iterable(self, texts: Iterable[str]) -> Iterator[int]:
        for text in texts:
            yield from self.encode(text)

    def _bytes(self, i: int) -> bytes:
        if i not in self.bytes_of:
            raise ValueError(f"no token has the id {i}; there are {len(self.bytes_of)} tokens")
        return self.bytes_of[i]

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(map(self._bytes, ids)).decode(errors="replace")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for i in ids:
            if piece := decoder.decode(self._bytes(i)):
                yield piece
        if rest := decoder.decode(b"", final=True):
            yield rest
