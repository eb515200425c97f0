"""Strings and strides: the reference."""

import math
import re
from itertools import product

# Of each longer form: its first byte without bits, the mask of that byte's fixed bits, and the smallest code point.
FORMS = {2: (0b11000000, 0b11100000, 0x80), 3: (0b11100000, 0b11110000, 0x800), 4: (0b11110000, 0b11111000, 0x10000)}


def is_surrogate(code: int) -> bool:
    return 0xD800 <= code <= 0xDFFF


def utf8_encode(text: str) -> bytes:
    out = bytearray()
    for i, character in enumerate(text):
        code = ord(character)
        if is_surrogate(code):
            raise ValueError(f"position {i}: U+{code:X} is a surrogate, expected a character")
        if code < 0x80:
            out.append(code)
            continue
        length = max(n for n, (_, _, smallest) in FORMS.items() if code >= smallest)
        out.append(FORMS[length][0] | code >> 6 * (length - 1))
        out.extend(0x80 | code >> 6 * k & 0x3F for k in reversed(range(length - 1)))
    return bytes(out)


def utf8_decode(data: bytes) -> str:
    text, i = "", 0
    while i < len(data):
        code, length = _decode_one(data, i)
        text += chr(code)
        i += length
    return text


def _decode_one(data: bytes, i: int) -> tuple[int, int]:
    """The code point whose form begins at byte i, and the number of its bytes."""
    first = data[i]
    if first < 0x80:
        return first, 1
    for length, (lead, mask, smallest) in FORMS.items():
        if first & mask == lead:
            code = first & ~mask
            for byte in data[i + 1 : i + length]:
                if byte >> 6 != 0b10:
                    raise ValueError(f"position {i}: expected {length} bytes, the form is cut short")
                code = code << 6 | byte & 0x3F
            # A form that the end cuts short lacks bits, so it is found here as well.
            if code < smallest:
                raise ValueError(f"position {i}: a form of U+{code:X} that is overlong or cut short")
            if is_surrogate(code) or code > 0x10FFFF:
                raise ValueError(f"position {i}: U+{code:X} is no character")
            return code, length
    raise ValueError(f"position {i}: byte {first:#x} can't begin a character")


def clean(text: str) -> str:
    text = re.sub(r"<[^<>]*>", " ", text)
    text = re.sub(r"https?://\S*", "URL", text)
    text = re.sub(r"(\S)\1{2,}", r"\1\1", text)
    return " ".join(text.split())


class StridedArray:
    def __init__(
        self,
        data: list[float],
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None = None,
        offset: int = 0,
    ) -> None:
        self.data = data
        self.shape = shape
        self.strides = row_major(self.shape) if strides is None else strides
        self.offset = offset

    def __getitem__(self, index: tuple[int, ...]) -> float:
        place = self.offset
        for i, n, stride in zip(index, self.shape, self.strides, strict=True):
            if not -n <= i < n:
                raise IndexError(f"index {i} is outside of an axis of length {n}")
            place += i % n * stride
        return self.data[place]

    def to_list(self) -> list | float:
        if not self.shape:
            return self.data[self.offset]
        rows = range(self.shape[0])
        inner = (self.shape[1:], self.strides[1:])
        return [StridedArray(self.data, *inner, self.offset + i * self.strides[0]).to_list() for i in rows]

    def transpose(self, axes: tuple[int, ...] | None = None) -> "StridedArray":
        axes = tuple(reversed(range(len(self.shape)))) if axes is None else axes
        shape, strides = (tuple(old[a] for a in axes) for old in (self.shape, self.strides))
        return StridedArray(self.data, shape, strides, self.offset)

    def slice(self, axis: int, start: int | None, stop: int | None, step: int = 1) -> "StridedArray":
        # slice.indices knows Python's rules for what is negative, missing or too far.
        indices = range(*slice(start, stop, step).indices(self.shape[axis]))
        shape, strides = list(self.shape), list(self.strides)
        shape[axis] = len(indices)
        strides[axis] *= step
        offset = self.offset + indices[0] * self.strides[axis]
        return StridedArray(self.data, tuple(shape), tuple(strides), offset)

    def broadcast_to(self, shape: tuple[int, ...]) -> "StridedArray":
        new = len(shape) - len(self.shape)
        if new < 0 or any(n not in (1, wanted) for n, wanted in zip(self.shape, shape[new:], strict=True)):
            raise ValueError(f"can't broadcast shape {self.shape} to {shape}")
        walks = (s if n == wanted else 0 for s, n, wanted in zip(self.strides, self.shape, shape[new:], strict=True))
        return StridedArray(self.data, shape, (0,) * new + tuple(walks), self.offset)

    def is_contiguous(self) -> bool:
        wanted = row_major(self.shape)
        return all(n == 1 or s == w for n, s, w in zip(self.shape, self.strides, wanted, strict=True))

    def reshape(self, shape: tuple[int, ...]) -> "StridedArray":
        if math.prod(shape) != math.prod(self.shape):
            raise ValueError(f"can't reshape {self.shape} to {shape}: another number of elements")
        # Row after row in memory: new strides for the new shape are all it takes.
        if self.is_contiguous():
            return StridedArray(self.data, shape, offset=self.offset)
        return StridedArray([self[index] for index in product(*map(range, self.shape))], shape)


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of an array that is stored row by row: the product of the lengths behind each axis."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
