"""Music modelling: the reference."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

UP, TIME, LONGEST, VOCABULARY = 128, 255, 16, 272
"""A token below UP puts a key down; TIME + n lets n steps pass, up to LONGEST."""


class Note(NamedTuple):
    start: int
    end: int
    pitch: int


def to_roll(notes: Sequence[Note], steps: int) -> Tensor:
    roll = torch.zeros(steps, 128, dtype=torch.uint8)
    for start, end, pitch in notes:
        if end > steps:
            raise ValueError(f"a note ends at {end}, after the {steps} steps of the roll")
        roll[start:end, pitch] = 1
        roll[start, pitch] = 2
    return roll


def from_roll(roll: Tensor) -> list[Note]:
    events = []
    for pitch, column in enumerate(roll.T.tolist()):
        before = 0
        for t, value in enumerate(column):
            if value == 2 or (value == 1 and before == 0):
                events.append((t, pitch, True))
            elif value == 0:
                events.append((t, pitch, False))
            before = value
    return _notes(events, len(roll))


def _notes(events: Iterable[tuple[int, int, bool]], end: int) -> list[Note]:
    """The notes of keys that go down (True) or up, in the order of time for each pitch."""
    down: dict[int, int] = {}
    found = []
    for time, pitch, presses in events:
        if pitch in down:
            found.append(Note(down.pop(pitch), time, pitch))
        if presses:
            down[pitch] = time
    found += [Note(start, end, pitch) for pitch, start in down.items()]
    return sorted((note for note in found if note.end > note.start), key=lambda note: (note.start, note.pitch))


def _events(notes: Sequence[Note]) -> list[tuple[int, bool, int]]:
    """(time, whether the key goes down, pitch), sorted: False comes before True."""
    return sorted(event for n in notes for event in ((n.start, True, n.pitch), (n.end, False, n.pitch)))


def to_midi(notes: Sequence[Note], division: int = 4) -> bytes:
    track, now = b"", 0
    for time, presses, pitch in _events(notes):
        track += _number(time - now) + bytes([0x90 if presses else 0x80, pitch, 64])
        now = time
    track += b"\x00\xff\x2f\x00"
    header = b"MThd" + (6).to_bytes(4) + (0).to_bytes(2) + (1).to_bytes(2) + division.to_bytes(2)
    return header + b"MTrk" + len(track).to_bytes(4) + track


def _number(n: int) -> bytes:
    found = [n & 127]
    while n := n >> 7:
        found.append(n & 127 | 128)
    return bytes(reversed(found))


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    n = 0
    while True:
        n = n << 7 | data[at] & 127
        at += 1
        if data[at - 1] < 128:
            return n, at


def from_midi(data: bytes) -> tuple[list[Note], int]:
    if data[:4] != b"MThd":
        raise ValueError(f"a MIDI file begins with MThd, not with {data[:4].decode('latin-1')}")
    if kind := int.from_bytes(data[8:10]):
        raise ValueError(f"the format must be 0, got {kind}")
    events, now, at, status = [], 0, 22, 0
    while True:
        passed, at = _read_number(data, at)
        now += passed
        if data[at] >= 0x80:
            status, at = data[at], at + 1
        if status >= 0xF0:
            if data[at : at + 2] == b"\x2f\x00" and status == 0xFF:
                return _notes(events, now), int.from_bytes(data[12:14])
            length, at = _read_number(data, at + (status == 0xFF))
            at += length
        elif status >> 4 in (0xC, 0xD):
            at += 1
        else:
            if status >> 4 in (8, 9):
                events.append((now, data[at], status >> 4 == 9 and data[at + 1] > 0))
            at += 2


def transpose(notes: Sequence[Note], semitones: int) -> list[Note]:
    found = [Note(start, end, pitch + semitones) for start, end, pitch in notes]
    for note in found:
        if not 0 <= note.pitch <= 127:
            raise ValueError(f"there is no pitch {note.pitch}: pitches are from 0 to 127")
    return sorted(found, key=lambda note: (note.start, note.pitch))


def to_tokens(notes: Sequence[Note]) -> list[int]:
    tokens, now = [], 0
    for time, presses, pitch in _events(notes):
        while now < time:
            passed = min(time - now, LONGEST)
            tokens.append(TIME + passed)
            now += passed
        tokens.append(pitch if presses else UP + pitch)
    return tokens


def from_tokens(tokens: Sequence[int]) -> list[Note]:
    events, now = [], 0
    for token in tokens:
        if token > TIME:
            now += token - TIME
        else:
            events.append((now, token % UP, token < UP))
    return _notes(events, now)


class EventModel(nn.Module):
    def __init__(self, width: int, heads: int, layers: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.places = nn.Embedding(context, width)
        # Norms first: it trains without a warm-up.
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        if n > self.context:
            raise ValueError(f"{n} tokens don't fit into a context of {self.context}")
        later = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)
        hidden = self.tokens(x) + self.places.weight[:n]
        for block in self.blocks:
            hidden = block(hidden, src_mask=later)
        return self.out(self.norm(hidden))


def allowed(tokens: Sequence[int], key: Collection[int], bar: int, bars: int) -> Tensor:
    now, down = 0, {}
    for token in tokens:
        if token > TIME:
            now += token - TIME
        elif token < UP:
            down[token] = now
        else:
            down.pop(token - UP, None)
    may = torch.zeros(VOCABULARY, dtype=torch.bool)
    for pitch, start in down.items():
        may[UP + pitch] = start < now
    if now < bar * bars:
        for pitch in range(128):
            may[pitch] = pitch % 12 in key and pitch not in down
        # At least one step, so that a piece always comes to its end.
        may[TIME + 1 : TIME + 1 + bar - now % bar] = True
    return may


@torch.no_grad()
def sample(
    model: EventModel,
    prompt: Sequence[int],
    key: Collection[int],
    bar: int,
    bars: int,
    generator: Generator,
    temperature: float = 1.0,
) -> list[int]:
    if temperature <= 0:
        raise ValueError(f"the temperature must be above 0, got {temperature}")
    tokens = list(prompt)
    device = model.out.weight.device
    while (may := allowed(tokens, key, bar, bars)).any():
        logits = model(torch.tensor([tokens[-model.context :]], device=device))[0, -1].cpu() / temperature
        # Before the softmax, so that what is allowed shares all the probability.
        chances = logits.masked_fill(~may, -torch.inf).softmax(0)
        tokens.append(int(torch.multinomial(chances, 1, generator=generator)))
    return tokens


def pitch_classes(notes: Sequence[Note]) -> Tensor:
    shares = torch.zeros(12, dtype=torch.float64)
    for start, end, pitch in notes:
        shares[pitch % 12] += end - start
    return shares / shares.sum().clamp(min=1)


def rhythm(notes: Sequence[Note], bar: int) -> Tensor:
    counts = torch.zeros(bar, dtype=torch.float64)
    for note in notes:
        counts[note.start % bar] += 1
    return counts / max(len(notes), 1)
