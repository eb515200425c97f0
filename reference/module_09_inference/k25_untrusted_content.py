"""Untrusted content: the reference."""

import json
import logging
import math
import re
import secrets as random_words
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


def luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        if place % 2 == 1:
            value = 2 * value - 9 if value > 4 else 2 * value
        total += value
    return total % 10 == 0


# re.ASCII: without it, ignoring the case lets "ſ" pass for an s, and the Kelvin sign for a k.
_BEARER = re.compile(r"(?<![a-z0-9])(bearer +)[a-z0-9._~+/=-]{16,}", re.IGNORECASE | re.ASCII)
_KEY = re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{16,}")
# The look behind changes no match, but a long text without an @ is searched once, and not anew from each character.
_EMAIL = re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_DIGITS = re.compile(r"[0-9](?:[ -]?[0-9])*")


def _card(run: re.Match[str]) -> str:
    digits = re.sub("[ -]", "", run[0])
    return "[card]" if 13 <= len(digits) <= 19 and luhn(digits) else run[0]


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    text = _BEARER.sub(r"\1[secret]", text)
    text = _KEY.sub("[secret]", text)
    text = _EMAIL.sub("[email]", text)
    return _DIGITS.sub(_card, text)


class SafeFormatter(logging.Formatter):
    def __init__(self, inner: logging.Formatter, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self.inner, self.secrets = inner, secrets

    def format(self, record: logging.LogRecord) -> str:
        # The finished text, not record.msg: arguments and exceptions are in it by now, and the record stays as it is.
        text = redact(self.inner.format(record), self.secrets)
        return text.replace("\n", "\\n").replace("\r", "\\r")


def fold(text: str) -> str:
    # Decomposed first: an accent is then a character of its own, and can be left out.
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) not in ("Mn", "Cf"))
    return " ".join("".join(c if c.isalnum() else " " for c in plain.casefold()).split())


def screen(text: str, phrases: Sequence[str]) -> list[str]:
    # With a space at both ends, whole words are found by plain search.
    folded = f" {fold(text)} "
    return [phrase for phrase in phrases if fold(phrase) and f" {fold(phrase)} " in folded]


def defuse(text: str, specials: Sequence[str]) -> str:
    # Once more as long as there is one: taking one out can join the halves of another.
    while any(special in text for special in specials):
        for special in specials:
            text = text.replace(special, "")
    return text


def fence(document: str, draw: Callable[[], str] | None = None) -> str:
    draw = draw or (lambda: random_words.token_hex(8))
    word = draw()
    while word in document:
        word = draw()
    return f"<<{word}>>\n{document}\n<<end {word}>>"


_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def _read(file: BinaryIO, n: int) -> bytes:
    data = bytearray()
    while len(data) < n:
        part = file.read(n - len(data))  # may be less than asked for
        if not part:
            raise ValueError(f"the file ends too early: {len(data)} of {n} bytes")
        data += part
    return bytes(data)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _lengths(value: Any) -> list[int]:
    # type, as True is an int to isinstance
    if not isinstance(value, list) or not all(type(n) is int and n >= 0 for n in value):
        raise ValueError("expected a list of ints of 0 or more")
    return value


def _entry(entry: Any) -> tuple[int, int, np.dtype[Any], list[int]]:
    """(begin, end, dtype, shape) of a tensor, all of which agree."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise ValueError("an entry needs dtype, shape and data_offsets")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _DTYPES:
        raise ValueError(f"unknown dtype {entry['dtype']!r}")
    dtype, shape, offsets = np.dtype(_DTYPES[entry["dtype"]]), _lengths(entry["shape"]), _lengths(entry["data_offsets"])
    # In Python's ints: numpy's product of forged lengths would wrap around to a harmless number.
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"offsets {offsets} don't hold a tensor of shape {shape} in {entry['dtype']}")
    return offsets[0], offsets[1], dtype, shape


def load_tensors(file: BinaryIO, max_bytes: int) -> dict[str, NDArray[Any]]:
    def check(total: int) -> None:
        if total > max_bytes:
            raise ValueError(f"the file claims {total} bytes; at most {max_bytes} are allowed")

    # Each claim is checked before a byte is read because of it.
    check(8)
    length = int.from_bytes(_read(file, 8), "little")
    check(8 + length)
    try:
        header = json.loads(_read(file, length).decode(), object_pairs_hook=_without_doubles)
    except RecursionError as error:
        raise ValueError("the header is nested too deep") from error
    if not isinstance(header, dict):
        raise ValueError("the header must be a JSON object")
    header.pop("__metadata__", None)
    entries = {name: _entry(entry) for name, entry in header.items()}
    at = 0
    for begin, end, _, _ in sorted(entries.values(), key=lambda entry: entry[:2]):
        if begin != at:
            raise ValueError(f"a tensor begins at {begin}, where the one before it ends at {at}")
        at = end
    check(8 + length + at)
    body = _read(file, at)
    if 8 + length + at < max_bytes and file.read(1):
        raise ValueError("the file goes on after its last tensor")
    # Copies: the arrays are their own then, and can be changed.
    return {
        name: np.ndarray(tuple(shape), dtype, body, begin).copy() for name, (begin, _, dtype, shape) in entries.items()
    }
