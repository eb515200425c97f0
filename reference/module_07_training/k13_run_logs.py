"""Run logs: the reference."""

import json
import math
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NO_JSON = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):  # a tensor's or numpy's number
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)  # "NaN" and so on: Python's json writes them bare, which no other reader takes
    return value


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    line = json.dumps({key: _plain(value) for key, value in row.items()}, allow_nan=False).encode() + b"\n"
    with Path(path).open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # torn by a crash: it must not spoil this line, too
                line = b"\n" + line
        file.write(line)  # closing flushes it


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    path, rows = Path(path), []
    if not path.exists():
        return rows
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:  # no JSON, or no UTF-8
            continue
        row = {key: NO_JSON.get(value, value) if isinstance(value, str) else value for key, value in row.items()}
        # Steps ascend, so what a resumed run writes again stands at the end.
        while rows and rows[-1]["step"] >= row["step"]:
            rows.pop()
        rows.append(row)
    return rows


def varint(number: int) -> bytes:
    groups = []
    while number >= 128:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _field(number: int, content: bytes) -> bytes:
    return varint(8 * number + 2) + varint(len(content)) + content


def _time_and_step(wall_time: float, step: int) -> bytes:
    return varint(8 * 1 + 1) + struct.pack("<d", wall_time) + varint(8 * 2 + 0) + varint(step)


def _float32(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, value))


def scalar_event(wall_time: float, step: int, scalars: dict[str, float]) -> bytes:
    values = [_field(1, tag.encode()) + varint(8 * 2 + 5) + _float32(value) for tag, value in scalars.items()]
    summary = b"".join(_field(1, value) for value in values)
    return _time_and_step(wall_time, step) + _field(5, summary)


def _record(event: bytes) -> bytes:
    def masked(data: bytes) -> bytes:
        crc = crc32c(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(event))
    return length + masked(length) + event + masked(event)


def write_events(path: Path, rows: Iterable[tuple[float, int, dict[str, float]]]) -> None:
    with Path(path).open("wb") as file:
        file.write(_record(_time_and_step(0.0, 0) + _field(3, b"brain.Event:2")))
        for row in rows:
            file.write(_record(scalar_event(*row)))
