"""Run monitoring: the reference."""

import json
import math
import os
import statistics
import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

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


def update_statistics(model: nn.Module, before: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    def norm(tensor: Tensor) -> float:
        # In float16 the norm overflows above 65504, and in bfloat16 it has three digits.
        return tensor.detach().float().norm().item()

    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        weight, update = norm(before[name]), norm(parameter.detach().float() - before[name].float())
        ratio = update / weight if weight else math.inf if update else 0.0
        found[name] = {"gradient": norm(parameter.grad), "weight": weight, "update": update, "ratio": ratio}
    return found


class SpikeDetector:
    def __init__(self, window: int, threshold: float, warmup: int) -> None:
        if not 1 <= warmup <= window:
            raise ValueError(f"warmup must be from 1 to the window of {window}, got {warmup}")
        self.threshold, self.warmup = threshold, warmup
        self.losses: deque[float] = deque(maxlen=window)

    def update(self, loss: float) -> bool:
        if not math.isfinite(loss):
            return True
        if len(self.losses) >= self.warmup:
            median = statistics.median(self.losses)
            deviation = 1.4826 * statistics.median(abs(one - median) for one in self.losses)
            if loss > median + self.threshold * deviation:
                return True  # not remembered: a few of them would make the next one look usual
        self.losses.append(loss)
        return False


def train_with_rollback(
    step: Callable[[Any], float],
    batches: Iterable[Any],
    save: Callable[[], Any],
    load: Callable[[Any], None],
    detector: SpikeDetector,
    every: int,
    limit: int,
) -> tuple[list[tuple[int, float]], list[int]]:
    losses: list[tuple[int, float]] = []
    spikes: list[int] = []
    # With each state, how many of the losses count at it.  Of three the oldest falls out.
    states: deque[tuple[Any, int]] = deque(maxlen=2)
    since = every  # so that the first batch finds a state
    for number, batch in enumerate(batches):
        if since == every:
            states.append((save(), len(losses)))
            since = 0
        loss = step(batch)
        if not detector.update(loss):
            losses.append((number, loss))
            since += 1
            continue
        spikes.append(number)
        if len(spikes) > limit:
            raise RuntimeError(f"spike number {len(spikes)}, the limit is {limit} rollbacks")
        # The older one: the newer may have the damage that shows only now.
        state, count = states[0]
        load(state)
        while len(states) > 1:
            states.pop()
        del losses[count:]
        since = 0
    return losses, spikes


def throughput(tokens: Sequence[int], seconds: Sequence[float], skip: int = 0) -> float:
    if skip >= len(tokens):
        raise ValueError(f"{len(tokens)} steps, of which skip leaves out {skip}: none is left")
    # Not the mean of the rates, in which a short step counts as much as a long one.
    return sum(tokens[skip:]) / sum(seconds[skip:])


def mfu(
    tokens_per_second: float, parameters: int, layers: int, heads: int, head_size: int, context: int, peak: float
) -> float:
    # 6 N: a product and a sum for each weight, forward once and backward twice.  The rest is attention.
    flops_per_token = 6 * parameters + 12 * layers * heads * head_size * context
    return tokens_per_second * flops_per_token / peak
