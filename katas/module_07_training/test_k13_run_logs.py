"""Judges k13_run_logs against TensorBoard's reader, long division, files cut anywhere, and published checksums."""

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure
from katas.module_07_training.k13_run_logs import (
    append_jsonl,
    crc32c,
    read_jsonl,
    scalar_event,
    varint,
    write_events,
)

pytestmark = [from_scratch("torch.utils.tensorboard", "tensorboard", "tensorboardX"), pure()]

# The lesson's event, of wall time 1.5, step 300 and {"loss": 0.5}, and its record.
EVENT = bytes.fromhex("09000000000000F83F  10AC02  2A0D  0A0B  0A046C6F7373  150000003F")
RECORD = bytes.fromhex("1B00000000000000  1A0D9E13") + EVENT + bytes.fromhex("69F9315B")


def strict(line: str):
    """A line of JSON as every reader but Python's takes it: no bare NaN."""

    def refuse(constant: str):
        fail(f"the line has a bare {constant}, which isn't JSON: {line}", evidence=constant)

    return json.loads(line, parse_constant=refuse)


class TestAppendJsonl:
    def test_the_log_as_drawn(self, tmp_path):
        path = tmp_path / "log.jsonl"
        for row in ({"step": 1, "loss": 2.5}, {"step": 2, "loss": math.nan}):
            append_jsonl(path, row)
        with path.open("a") as file:
            file.write('{"step": 3, "lo')
        append_jsonl(path, {"step": 2, "loss": 2.25})
        first, second, torn, last, end = path.read_text(encoding="utf-8").split("\n")
        assert_equal(
            ([strict(line) for line in (first, second, last)], torn, end),
            ([{"step": 1, "loss": 2.5}, {"step": 2, "loss": "NaN"}, {"step": 2, "loss": 2.25}], '{"step": 3, "lo', ""),
        )

    def test_a_line_each(self, tmp_path):
        path = tmp_path / "log.jsonl"
        rows = [{"step": 1, "loss": 0.5, "note": 'ä "b"\nc'}, {"step": 2, "ok": True, "none": None, "big": 2**60}]
        for row in rows:
            append_jsonl(path, row)
        text = path.read_bytes().decode()
        assert_equal(([strict(line) for line in text.split("\n")[:-1]], text[-1]), (rows, "\n"))

    def test_it_is_there_at_once(self, tmp_path):
        path = tmp_path / "log.jsonl"
        for step in range(3):
            append_jsonl(path, {"step": step})
            assert_equal(len(path.read_bytes().splitlines()), step + 1)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (torch.tensor(0.5), 0.5),
            (torch.tensor([3]), 3),
            (torch.tensor(True), True),
            (torch.tensor(2.5, dtype=torch.bfloat16, requires_grad=True), 2.5),
            (np.float32(0.25), 0.25),
            (np.int64(7), 7),
            (np.bool_(False), False),
            (math.nan, "NaN"),
            (-math.inf, "-Infinity"),
            (torch.tensor(math.inf), "Infinity"),
            (np.float64("nan"), "NaN"),
        ],
        ids=str,
    )
    def test_values(self, tmp_path, value, expected):
        append_jsonl(tmp_path / "x", {"step": 3, "v": value})
        assert_equal(strict((tmp_path / "x").read_text(encoding="utf-8")), {"step": 3, "v": expected})

    @pytest.mark.parametrize("torn", [b'{"step": 1, "lo', b"{", b'{"step": 1}', b'{"step": 1, "note": "\xc3'])
    def test_a_torn_line_doesnt_spoil_the_next(self, tmp_path, torn):
        path = tmp_path / "log.jsonl"
        path.write_bytes(b'{"step": 0}\n' + torn)
        append_jsonl(path, {"step": 2})
        append_jsonl(path, {"step": 3})
        before, found, second, third, end = path.read_bytes().split(b"\n")
        assert_equal((before, found, end), (b'{"step": 0}', torn, b""))
        assert_equal([strict(line.decode()) for line in (second, third)], [{"step": 2}, {"step": 3}])

    def test_a_file_of_one_torn_character(self, tmp_path):
        (tmp_path / "x").write_bytes(b"{")
        append_jsonl(tmp_path / "x", {"step": 2})
        torn, line, end = (tmp_path / "x").read_text().split("\n")
        assert_equal((torn, strict(line), end), ("{", {"step": 2}, ""))

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "x").write_bytes(b"")
        append_jsonl(tmp_path / "x", {"step": 2})
        line, end = (tmp_path / "x").read_text().split("\n")
        assert_equal((strict(line), end), ({"step": 2}, ""))


class TestReadJsonl:
    def test_the_log_as_drawn(self, tmp_path):
        (tmp_path / "x").write_text(
            '{"step": 1, "loss": 2.5}\n{"step": 2, "loss": "NaN"}\n{"step": 3, "lo\n{"step": 2, "loss": 2.25}\n'
        )
        assert_equal(read_jsonl(tmp_path / "x"), [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.25}])

    def test_gives_back_what_was_written(self, tmp_path):
        rows = [
            {"step": 1, "loss": math.nan, "lr": 0.1},
            {"step": 2, "loss": math.inf, "note": "größer"},
            {"step": 5, "loss": -math.inf, "ok": None},
        ]
        for row in rows:
            append_jsonl(tmp_path / "x", row)
        found = read_jsonl(tmp_path / "x")
        assert_close([row.pop("loss") for row in found], [row.pop("loss") for row in rows])
        assert_equal(found, rows)

    @pytest.mark.parametrize("text", ["12", "nan", "inf", "1e5", "infinity", "-inf", "null", ""])
    def test_other_texts_stay_texts(self, tmp_path, text):
        append_jsonl(tmp_path / "x", {"step": 1, "note": text})
        assert_equal(read_jsonl(tmp_path / "x"), [{"step": 1, "note": text}])

    def test_a_file_cut_anywhere(self, tmp_path):
        rows = [{"step": step, "note": "größer"} for step in range(3)]
        lines = [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows]
        data = b"".join(lines)
        for end in range(len(data) + 1):
            (tmp_path / "x").write_bytes(data[:end])
            # A row is there as soon as its last brace is.
            whole = sum(end >= len(b"".join(lines[: i + 1])) - 1 for i in range(3))
            assert_equal(read_jsonl(tmp_path / "x"), rows[:whole])

    def test_torn_lines_in_the_middle(self, tmp_path):
        (tmp_path / "x").write_bytes(b'{"step": 1}\n{"step": 2, "no\n\n{"step": 2, "note": "\xc3\n{"step": 3}\n')
        assert_equal(read_jsonl(tmp_path / "x"), [{"step": 1}, {"step": 3}])

    @pytest.mark.parametrize(
        ("steps", "left"),
        [
            ([1, 2, 3, 4, 3, 4, 5], [0, 1, 4, 5, 6]),
            ([1, 2, 3, 3], [0, 1, 3]),
            ([10, 20, 30, 15], [0, 3]),
            ([5, 6, 7, 0, 9], [3, 4]),
            ([1, 4, 2, 3, 2, 8], [0, 4, 5]),
            ([], []),
        ],
    )
    def test_a_resumed_run(self, tmp_path, steps, left):
        (tmp_path / "x").write_text("".join(json.dumps({"step": s, "row": i}) + "\n" for i, s in enumerate(steps)))
        assert_equal(read_jsonl(tmp_path / "x"), [{"step": steps[i], "row": i} for i in left])

    def test_no_file(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # so that an error names the same path in every run
        assert_equal(read_jsonl(Path("none.jsonl")), [])
        assert_equal(list(tmp_path.iterdir()), [])


class TestVarint:
    @pytest.mark.parametrize(
        ("number", "expected"), [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (16384, "808001")]
    )
    def test_worked_by_hand(self, number, expected):
        found = varint(number)
        assert_equal(isinstance(found, bytes), True)
        assert_equal(found.hex(), expected)

    @pytest.mark.parametrize("number", [2**32 - 1, 2**35 + 5, 2**63 - 1, 2**64 - 1, 987654321987])
    def test_its_groups_add_up(self, number):
        found = varint(number)
        assert_equal(sum((byte & 127) << 7 * i for i, byte in enumerate(found)), number)
        assert_equal([byte >> 7 for byte in found], [1] * (len(found) - 1) + [0])
        assert_equal(len(found), -(-number.bit_length() // 7))


def remainder(data: bytes) -> int:
    """CRC-32C as a long division of polynomials over two elements, without any trick."""
    message = int("".join(f"{byte:08b}"[::-1] for byte in data) or "0", 2) << 32
    length = 8 * len(data) + 32
    message ^= 0xFFFFFFFF << (length - 32)  # the register begins with ones
    for place in range(length - 1, 31, -1):
        if message >> place & 1:
            message ^= 0x11EDC6F41 << (place - 32)
    return int(f"{message:032b}"[::-1], 2) ^ 0xFFFFFFFF


class TestCrc32c:
    def test_the_examples_worked_by_hand(self):
        assert_equal(hex(crc32c(b"\x7f")), hex(0x7DF63B78))
        assert_equal([hex(crc32c(data)) for data in (RECORD[:8], EVENT)], [hex(0x9121388D), hex(0x8748DC57)])

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (b"", 0),
            (b"123456789", 0xE3069283),
            (bytes(32), 0x8A9136AA),
            (b"\xff" * 32, 0x62A8AB43),
            (bytes(range(32)), 0x46DD794E),
            (bytes(range(31, -1, -1)), 0x113FDB5C),
        ],
        ids=["empty", "digits", "zeros", "ones", "up", "down"],
    )
    def test_published_values(self, data, expected):
        assert_equal(hex(crc32c(data)), hex(expected))

    @pytest.mark.parametrize("length", [1, 2, 5, 40])
    def test_is_the_remainder_of_a_division(self, rng, length):
        data = rng.bytes(length)
        assert_equal(hex(crc32c(data)), hex(remainder(data)))


def fields(data: bytes) -> list[tuple[int, int, int | bytes]]:
    """The fields of a protobuf message: number, kind, value."""
    found, place = [], 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            if place >= len(data):
                fail("the event ends in the middle of a field", evidence=data)
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(data):
        key = number()
        kind = key % 8
        if kind == 0:
            found.append((key // 8, kind, number()))
            continue
        length = {1: 8, 5: 4}.get(kind) or (number() if kind == 2 else -1)
        if length < 0 or place + length > len(data):
            fail(f"a field of kind {kind} at byte {place} of the event doesn't fit into it", evidence=(kind, data))
        found.append((key // 8, kind, data[place : place + length]))
        place += length
    return found


def read_event(data: bytes) -> dict:
    """What is in an event: wall_time, step, version, scalars as pairs in their order."""
    event = {"wall_time": 0.0, "step": 0, "version": None, "scalars": []}
    for number, kind, value in fields(data):
        if (number, kind) == (1, 1):
            event["wall_time"] = struct.unpack("<d", value)[0]
        elif (number, kind) == (2, 0):
            event["step"] = value
        elif (number, kind) == (3, 2):
            event["version"] = value.decode()
        elif (number, kind) == (5, 2):
            for inner, inner_kind, content in fields(value):
                if (inner, inner_kind) != (1, 2):
                    fail(f"the summary has a field {inner} of kind {inner_kind}, expected 1 of kind 2", evidence=inner)
                parts = {(n, k): v for n, k, v in fields(content)}
                if set(parts) != {(1, 2), (2, 5)}:
                    fail(
                        f"a value has the fields (number, kind) {sorted(parts)}, expected (1, 2) and (2, 5)",
                        evidence=sorted(parts),
                    )
                event["scalars"].append((parts[1, 2].decode(), struct.unpack("<f", parts[2, 5])[0]))
        else:
            fail(f"the event has a field {number} of kind {kind}, which isn't in the lesson", evidence=(number, kind))
    return event


class TestScalarEvent:
    def test_the_example_worked_by_hand(self):
        # Read, as fields come in any order.
        assert_equal(read_event(scalar_event(1.5, 300, {"loss": 0.5})), read_event(EVENT))

    @pytest.mark.parametrize(
        ("wall_time", "step", "scalars"),
        [
            (1700000000.25, 300, {"loss": 0.5}),
            (1.5, 0, {"train/loss": -2.25, "größe": 0.0, "lr": 1e-3}),
            (0.0, 2**40 + 3, {"x" * 300: 7.0}),
            (2.0, 127, {"a": math.inf, "b": -math.inf}),
            (3.5, 2**63 - 1, {}),
        ],
    )
    def test_holds_what_it_is_given(self, wall_time, step, scalars):
        event = read_event(scalar_event(wall_time, step, scalars))
        assert_close(event["wall_time"], wall_time, rtol=0, atol=0)
        assert_equal((event["step"], event["version"]), (step, None))
        assert_equal([tag for tag, _ in event["scalars"]], list(scalars))
        rounded = [float(np.float32(value)) for value in scalars.values()]
        assert_close([value for _, value in event["scalars"]], rounded, rtol=0, atol=0)

    @pytest.mark.parametrize(("value", "expected"), [(1e300, math.inf), (-1e39, -math.inf), (3e38, 3e38)])
    def test_too_large_for_float32(self, value, expected):
        event = read_event(scalar_event(1.0, 1, {"a": value}))
        assert_close(event["scalars"][0][1], expected, rtol=1e-6)  # float32

    def test_nan(self):
        assert_equal(math.isnan(read_event(scalar_event(1.0, 1, {"a": math.nan}))["scalars"][0][1]), True)

    @pytest.mark.deadline(60)  # tensorboard takes a busy machine a while to load
    def test_tensorboard_parses_it(self):
        proto = pytest.importorskip(
            "tensorboard.compat.proto.event_pb2",
            reason="tensorboard isn't installed: pip install -c constraints.txt -e '.[training]'",
        )
        event = proto.Event.FromString(scalar_event(12.5, 300, {"a": 0.5, "b": 2.0}))
        assert_equal((event.wall_time, event.step), (12.5, 300))
        assert_equal([(v.tag, v.simple_value) for v in event.summary.value], [("a", 0.5), ("b", 2.0)])


def read_records(data: bytes) -> list[bytes]:
    """The events of a file; each of the two CRCs is checked."""

    def masked(content: bytes) -> int:
        crc = remainder(content)
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    events, place = [], 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 8], "little")
        if place + 16 + length > len(data):
            fail(f"record {len(events)} says that its event has {length} bytes, the file ends before", evidence=length)
        event = data[place + 12 : place + 12 + length]
        for what, content, at in (("length", data[place : place + 8], 8), ("event", event, 12 + length)):
            found = int.from_bytes(data[place + at : place + at + 4], "little")
            if found != masked(content):
                fail(
                    f"record {len(events)}: the masked CRC of its {what} is {found:08x}, expected {masked(content):08x}",
                    evidence=(what, found),
                )
        events.append(event)
        place += 16 + length
    return events


class TestWriteEvents:
    def test_the_example_worked_by_hand(self, tmp_path):
        write_events(tmp_path / "x", [(1.5, 300, {"loss": 0.5})])
        events = read_records((tmp_path / "x").read_bytes())[1:]
        assert_equal([read_event(event) for event in events], [read_event(event) for event in read_records(RECORD)])

    ROWS = ((5.0, 1, {"loss": 2.5, "lr": 0.5}), (6.0, 2, {"loss": 1.25}), (7.5, 300, {"loss": 0.5, "lr": 0.25}))

    def test_its_records(self, tmp_path):
        write_events(tmp_path / "x", iter(self.ROWS))
        version, *events = map(read_event, read_records((tmp_path / "x").read_bytes()))
        assert_equal((version["version"], version["scalars"]), ("brain.Event:2", []))
        found = [(event["wall_time"], event["step"], dict(event["scalars"])) for event in events]
        assert_equal(found, list(self.ROWS))

    def test_a_new_file(self, tmp_path):
        for rows in (self.ROWS, self.ROWS[:1], ()):
            write_events(tmp_path / "x", rows)
            assert_equal(len(read_records((tmp_path / "x").read_bytes())), 1 + len(rows))

    @pytest.mark.deadline(60)  # tensorboard takes a busy machine a while to load
    def test_tensorboard_reads_it(self, tmp_path):
        reader = pytest.importorskip(
            "tensorboard.backend.event_processing.event_accumulator",
            reason="tensorboard isn't installed: pip install -c constraints.txt -e '.[training]'",
        )
        write_events(tmp_path / "events.out.tfevents.1.host", self.ROWS)
        found = reader.EventAccumulator(str(tmp_path)).Reload()
        assert_equal(sorted(found.Tags()["scalars"]), ["loss", "lr"])
        for tag in ("loss", "lr"):
            expected = [(time, step, scalars[tag]) for time, step, scalars in self.ROWS if tag in scalars]
            assert_equal([(e.wall_time, e.step, e.value) for e in found.Scalars(tag)], expected)


class TestOnTheGpu:
    def test_append_jsonl(self, gpu, tmp_path):
        append_jsonl(tmp_path / "x", {"step": 1, "loss": gpu(torch.tensor(0.5)), "n": gpu(torch.tensor([3]))})
        assert_equal(json.loads((tmp_path / "x").read_text()), {"step": 1, "loss": 0.5, "n": 3})
