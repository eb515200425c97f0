"""Judges k14_run_monitoring against TensorBoard's reader, long division, planted spikes, and published numbers."""

import copy
import json
import math
import statistics
import struct
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_07_training.k14_run_monitoring import (
    SpikeDetector,
    append_jsonl,
    crc32c,
    mfu,
    read_jsonl,
    scalar_event,
    throughput,
    train_with_rollback,
    update_statistics,
    varint,
    write_events,
)

pytestmark = [from_scratch("torch.utils.tensorboard", "tensorboard", "tensorboardX"), pure()]


def strict(line: str):
    """A line of JSON as every reader but Python's takes it: no bare NaN."""

    def refuse(constant: str):
        fail(f"the line has a bare {constant}, which isn't JSON: {line}", evidence=constant)

    return json.loads(line, parse_constant=refuse)


class TestAppendJsonl:
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

    @pytest.mark.parametrize("torn", ['{"step": 1, "lo', "{", '{"step": 1}'])
    def test_a_torn_line_doesnt_spoil_the_next(self, tmp_path, torn):
        path = tmp_path / "log.jsonl"
        path.write_text('{"step": 0}\n' + torn)
        append_jsonl(path, {"step": 2})
        append_jsonl(path, {"step": 3})
        assert_equal(
            path.read_text().split("\n"), ['{"step": 0}', torn, *map(json.dumps, [{"step": 2}, {"step": 3}]), ""]
        )

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "x").write_bytes(b"")
        append_jsonl(tmp_path / "x", {"step": 2})
        assert_equal((tmp_path / "x").read_text().split("\n"), ['{"step": 2}', ""])


class TestReadJsonl:
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

    def test_no_file(self, tmp_path):
        assert_equal(read_jsonl(tmp_path / "none.jsonl"), [])
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
            "tensorboard.compat.proto.event_pb2", reason="tensorboard isn't installed: pip install -c constraints.txt -e '.[training]'"
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


class Several(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4, dtype=dtype)
        self.head = nn.Linear(4, 6, dtype=dtype)
        self.head.weight = self.embedding.weight
        self.unused = nn.Parameter(torch.ones(3, dtype=dtype))
        self.frozen = nn.Parameter(torch.ones(3, dtype=dtype), requires_grad=False)

    def move(self) -> dict[str, torch.Tensor]:
        """Random gradients and a random step; returns the weights from before."""
        before = {name: p.detach().clone() for name, p in self.named_parameters()}
        for p in (self.embedding.weight, self.head.bias):
            p.grad = torch.randn_like(p)
            with torch.no_grad():
                p += 0.1 * torch.randn_like(p)
        return before


class TestUpdateStatistics:
    def test_of_numbers_worked_by_hand(self):
        model = nn.Linear(2, 1)
        before = {"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.tensor([10.0])}
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[3.0, 4.5]]))
            model.bias.copy_(torch.tensor([9.0]))
        model.weight.grad = torch.tensor([[-6.0, 8.0]])
        model.bias.grad = torch.tensor([-2.0])
        expected = {
            "weight": {"gradient": 10.0, "weight": 5.0, "update": 0.5, "ratio": 0.1},
            "bias": {"gradient": 2.0, "weight": 10.0, "update": 1.0, "ratio": 0.1},
        }
        found = update_statistics(model, before)
        assert_equal(sorted(found), ["bias", "weight"])
        for name in ("weight", "bias"):
            assert_close(dict(sorted(found[name].items())), dict(sorted(expected[name].items())))

    def test_names_and_norms(self):
        model = Several()
        before = model.move()
        found = update_statistics(model, before)
        assert_equal(sorted(found), ["embedding.weight", "head.bias"])
        for name in found:
            p, w = model.get_parameter(name), before[name]
            norms = [t.detach().square().sum().sqrt().item() for t in (p.grad, w, p - w)]
            # float32 is enough.
            assert_close([found[name][key] for key in ("gradient", "weight", "update")], norms, rtol=1e-5, atol=0)
            assert_close(found[name]["ratio"], norms[2] / norms[1], rtol=1e-5, atol=0)
            assert_equal(
                [isinstance(value, float) for value in found[name].values()], [True] * len(found[name].values())
            )

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_short_dtypes(self, dtype):
        model = nn.Linear(300, 200, bias=False, dtype=dtype)
        before = {"weight": torch.full((200, 300), 512.0, dtype=dtype)}
        with torch.no_grad():
            model.weight.copy_(before["weight"] * 1.25)
        model.weight.grad = torch.full((200, 300), 1000.0, dtype=dtype)
        expected = [x * math.sqrt(60_000) for x in (1000.0, 512.0, 128.0)]
        found = update_statistics(model, before)["weight"]
        # 60,000 float32 numbers added up; bfloat16 itself is off by up to 4e-3.
        assert_close([found[key] for key in ("gradient", "weight", "update")], expected, rtol=1e-4, atol=0)
        assert_close(found["ratio"], 0.25, rtol=1e-4, atol=0)

    def test_weights_of_0(self):
        model = nn.Linear(2, 1)
        nn.init.zeros_(model.bias)
        nn.init.constant_(model.weight, 0.5)
        before = {"weight": torch.zeros(1, 2), "bias": torch.zeros(1)}
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        found = update_statistics(model, before)
        assert_close((found["weight"]["ratio"], found["bias"]["ratio"]), (math.inf, 0.0))

    def test_nothing_changes(self):
        model = Several()
        before = model.move()
        kept = copy.deepcopy((before, [p.grad for p in model.parameters()]))
        update_statistics(model, before)
        assert_close(
            (before, [p.grad for p in model.parameters() if p.grad is not None]),
            (kept[0], [g for g in kept[1] if g is not None]),
            rtol=0,
            atol=0,
        )


def flags(detector: SpikeDetector, losses: list[float]) -> list[int]:
    """Where the spikes are."""
    return [i for i, loss in enumerate(losses) if detector.update(loss)]


class TestSpikeDetector:
    LOSSES = (2.0, 2.1, 1.9, 2.2, 1.8)

    @pytest.mark.parametrize(("loss", "spike"), [(2.74, False), (2.742, True), (100.0, True), (0.1, False)])
    def test_the_example_worked_by_hand(self, loss, spike):
        detector = SpikeDetector(5, 5.0, 5)
        assert_equal(flags(detector, [*self.LOSSES, loss]), [5] if spike else [])

    @pytest.mark.parametrize(("window", "threshold", "warmup"), [(5, 2.0, 2), (8, 4.0, 8), (6, 1.0, 3), (1, 3.0, 1)])
    def test_equals_the_rule_written_out(self, rng, window, threshold, warmup):
        losses = [float(x) for x in np.exp(rng.standard_normal(150))]
        kept: list[float] = []
        expected = []
        for i, loss in enumerate(losses):
            last = kept[-window:]
            if len(last) >= warmup:
                middle = statistics.median(last)
                mad = statistics.median([abs(x - middle) for x in last])
                if loss > middle + threshold * 1.4826 * mad:
                    expected.append(i)
                    continue
            kept.append(loss)
        assert_equal(flags(SpikeDetector(window, threshold, warmup), losses), expected)

    @pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
    def test_what_isnt_finite_is_always_a_spike_and_never_remembered(self, wrong):
        detector = SpikeDetector(4, 3.0, 3)
        losses = [wrong, 1.0, wrong, wrong, 2.0, 100.0, wrong, 2.0, 50.0, 300.0]
        # Remembered are 1, 2, 100 when the second 2 comes; then 1, 2, 100, 2 with median 2 and MAD 0.5.
        assert_equal(flags(detector, losses), [0, 2, 3, 6, 8, 9])

    def test_a_spike_isnt_remembered(self):
        detector = SpikeDetector(5, 5.0, 5)
        assert_equal(flags(detector, [*self.LOSSES, *[50.0] * 8, 2.0, 50.0]), [*range(5, 13), 14])

    def test_the_window_moves(self):
        falling = [10.0 - 0.05 * i for i in range(100)]
        detector = SpikeDetector(10, 5.0, 5)
        assert_equal(flags(detector, [*falling, 8.0]), [100])

    def test_equal_losses(self):
        detector = SpikeDetector(4, 9.0, 2)
        assert_equal(flags(detector, [1.0, 1.0, 1.0, 1.0, 1.0001, 0.5, 1.0]), [4])

    def test_two_of_them_dont_meet(self):
        one, other = SpikeDetector(5, 5.0, 5), SpikeDetector(5, 5.0, 5)
        flags(one, list(self.LOSSES))
        assert_equal((other.update(50.0), one.update(50.0)), (False, True))

    @pytest.mark.parametrize(("window", "warmup"), [(3, 4), (3, 0), (5, -1)])
    def test_other_warmups_are_refused(self, window, warmup):
        with raises(ValueError, window, warmup):
            SpikeDetector(window, 3.0, warmup)
        assert_equal([SpikeDetector(3, 3.0, ok).update(1.0) for ok in (1, 3)], [False, False])


class Above:
    """A detector for which every loss above a bound is a spike; it notes what it was told."""

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.told: list[float] = []

    def update(self, loss: float) -> bool:
        self.told.append(loss)
        return loss > self.bound


class Journey:
    """A model whose state is the list of batches it was trained on; batches named in `spikes` have a high loss."""

    def __init__(self, spikes: set[int]) -> None:
        self.spikes = spikes
        self.state: list[int] = []
        self.saved: list[list[int]] = []
        self.loaded: list[list[int]] = []
        self.taken = 0
        self.ahead = 0

    def step(self, batch: int) -> float:
        self.ahead = max(self.ahead, self.taken - batch - 1)
        self.state.append(batch)
        return 1e6 if batch in self.spikes else 1.0 + 0.01 * (batch % 3)

    def save(self) -> list[int]:
        self.saved.append(list(self.state))
        return list(self.state)

    def load(self, state: list[int]) -> None:
        self.loaded.append(list(state))
        self.state = list(state)

    def batches(self, count: int) -> Iterator[int]:
        for i in range(count):
            self.taken += 1
            yield i

    def run(self, count: int, every: int, limit: int = 99):
        return train_with_rollback(
            self.step, self.batches(count), self.save, self.load, Above(1000.0), every=every, limit=limit
        )


class TestTrainWithRollback:
    def test_as_drawn(self):
        journey = Journey({5})
        losses, spikes = journey.run(10, every=2)
        assert_equal(spikes, [5])
        assert_equal(journey.loaded, [[0, 1]])
        assert_equal([number for number, _ in losses], [0, 1, 6, 7, 8, 9])
        assert_equal(journey.state, [0, 1, 6, 7, 8, 9])
        # After the last batch a state may be saved or not.
        assert_equal(journey.saved[:4], [[], [0, 1], [0, 1, 2, 3], [0, 1, 6, 7]])

    @pytest.mark.parametrize("every", [1, 2, 3, 5, 100])
    @pytest.mark.parametrize(
        "spikes", [set(), {3}, {9}, {4, 5}, {8, 9, 10, 11}, {5, 12, 13, 19}, {6, 8, 10}, {29}, {3, 7, 11, 15, 19, 23}]
    )
    def test_equals_the_rule_written_out(self, spikes, every):
        journey = Journey(spikes)
        losses, found = journey.run(30, every)
        state: list[int] = []
        states, since, loads, saves = [[]], 0, [], [[]]
        for batch in range(30):
            if since == every:
                states, since = [*states, list(state)][-2:], 0
                saves.append(list(state))
            if batch in spikes:
                loads.append(list(states[0]))
                state, states, since = list(states[0]), states[:1], 0
            else:
                state.append(batch)
                since += 1
        assert_equal(found, sorted(spikes))
        assert_equal(journey.loaded, loads)
        assert_equal(journey.state, state)
        assert_equal(losses, [(batch, 1.0 + 0.01 * (batch % 3)) for batch in state])
        assert_equal(journey.saved[: len(saves)], saves)

    def test_a_batch_is_taken_once_when_it_is_needed(self):
        journey = Journey({4, 9})
        journey.run(15, 3)
        assert_equal((journey.taken, journey.ahead), (15, 0))

    @pytest.mark.parametrize("limit", [0, 1, 3])
    def test_too_many_spikes(self, limit):
        journey = Journey({4, 7, 10, 13, 16})
        with raises(RuntimeError, limit):
            journey.run(20, 2, limit)
        assert_equal((len(journey.loaded), journey.taken), (limit, 5 + 3 * limit))
        journey = Journey({4, 7, 10, 13, 16})
        assert_equal(len(journey.run(20, 2, 5)[1]), 5)

    def test_the_detector_is_told_each_loss_once(self):
        detector, journey = Above(5.0), Journey(set())
        train_with_rollback([3.0, 7.0, 4.0, 9.0, 1.0].__getitem__, range(5), journey.save, journey.load, detector, 1, 2)
        assert_equal(detector.told, [3.0, 7.0, 4.0, 9.0, 1.0])

    def test_no_batches(self):
        losses, spikes = Journey(set()).run(0, 3)
        assert_equal((losses, spikes), ([], []))

    def test_a_loss_that_isnt_finite(self):
        state = {"w": 0}
        losses, spikes = train_with_rollback(
            lambda batch: state.update(w=state["w"] + 1) or batch,
            [1.0, math.nan, 1.0, math.inf, 1.0],
            lambda: dict(state),
            state.update,
            SpikeDetector(4, 3.0, 4),
            every=10,
            limit=2,
        )
        assert_equal((losses, spikes, state["w"]), ([(4, 1.0)], [1, 3], 1))

    @pytest.mark.deadline(60)  # a busy machine takes a while to load what torch.optim needs at its first step
    def test_a_poisoned_batch_leaves_no_trace_in_a_network(self):
        """With a batch that blows the weights up, the network ends where it would without all that was skipped."""
        x = torch.randn(40, 16, 5)
        y = (x @ torch.randn(5, 1) + 0.1 * torch.randn(40, 16, 1)).tanh()
        x[20] *= 1e4
        start = nn.Linear(5, 1)

        def make():
            net = copy.deepcopy(start)
            optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

            def step(i: int) -> float:
                loss = (net(x[i]) - y[i]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                return loss.item()

            def save():
                return copy.deepcopy((net.state_dict(), optimizer.state_dict()))

            def load(state) -> None:
                state = copy.deepcopy(state)
                net.load_state_dict(state[0])
                optimizer.load_state_dict(state[1])

            return net, step, save, load

        net, step, save, load = make()
        losses, spikes = train_with_rollback(step, range(40), save, load, SpikeDetector(10, 50.0, 5), 4, 20)
        assert_equal(20 in spikes, True)
        other, step, *_ = make()
        assert_equal([(i, step(i)) for i, _ in losses], losses)
        assert_close(list(net.parameters()), list(other.parameters()), rtol=0, atol=0)


class TestThroughput:
    def test_all_tokens_by_all_seconds(self):
        assert_close(throughput([100, 900], [1.0, 1.0]), 500.0)
        assert_close(throughput([100, 100, 400], [1.0, 4.0, 1.0]), 100.0)

    @pytest.mark.parametrize(("skip", "expected"), [(0, 10.0), (1, 100.0), (2, 200.0)])
    def test_the_first_steps_are_left_out(self, skip, expected):
        assert_close(throughput([100, 100, 200], [37.0, 2.0, 1.0], skip), expected)

    @pytest.mark.parametrize("skip", [2, 3])
    def test_no_step_is_left(self, skip):
        with raises(ValueError, skip):
            throughput([100, 100], [1.0, 1.0], skip)


class TestMfu:
    def test_palm_as_published(self):
        found = mfu(238_300, 540_350_000_000, 118, 48, 256, 2048, 6144 * 275e12)
        assert_close(found, 0.462, atol=5e-4, rtol=0)  # published with three digits

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((10.0, 7, 1, 1, 1, 0, 840.0), 0.5),
            ((2.0, 0, 2, 3, 5, 7, 2520.0), 2.0),
            ((1.0, 10, 2, 3, 4, 5, 3000.0), 0.5),
        ],
    )
    def test_by_hand(self, arguments, expected):
        assert_close(mfu(*arguments), expected)


class TestOnTheGpu:
    def test_append_jsonl(self, gpu, tmp_path):
        append_jsonl(tmp_path / "x", {"step": 1, "loss": gpu(torch.tensor(0.5)), "n": gpu(torch.tensor([3]))})
        assert_equal(json.loads((tmp_path / "x").read_text()), {"step": 1, "loss": 0.5, "n": 3})

    def test_update_statistics(self, gpu):
        model = Several()
        before = model.move()
        there = gpu(model)
        for name, p in model.named_parameters():
            there.get_parameter(name).grad = None if p.grad is None else gpu(p.grad)
        found, expected = update_statistics(there, gpu(before)), update_statistics(model, before)
        assert_close(found["head.bias"], expected["head.bias"])
        assert_close(found["embedding.weight"], expected["embedding.weight"])
