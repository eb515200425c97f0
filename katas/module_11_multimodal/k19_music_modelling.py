"""Music modelling: piano rolls, MIDI bytes, event tokens, and melodies in key

**Before you start.**  You need bytes in Python and a causal transformer; no other kata.  You may
use torch's own attention layers.  For the bytes read "Standard MIDI Files", in any copy of the
MIDI 1.0 specification.

**The idea.**  You want a model that goes on with a tune.  A recording has 44,100 numbers a
second. A score says the same with few: which key goes down when, and when it comes up.  So you
turn notes into a row of *events*, and a language model does the rest.  Music has rules that a
model only nearly learns: the key, the bar, and that every key that goes down comes up again.  You
will enforce them while you sample.  And you will measure what comes out.

**The formulas.**  Time is counted in *steps*, say four a beat.  A note has a start, an end and a
pitch from 0 to 127; 60 is the C in the middle, 61 is C sharp, and 12 more are an octave.

    roll         R[t, p]  2 if a note of pitch p begins at t,  1 if one goes on,  0 else
    tokens       key p down: p      key p up: 128 + p      n steps pass: 255 + n,  n from 1 to 16
    MIDI number  7 bits a byte, the highest first; every byte but the last has 128 added
    pitch class  p mod 12
    share of c   Σ lengths of the notes with class c  /  Σ lengths of all notes
    rhythm at i  number of notes with  start mod bar = i  /  number of notes

A MIDI file has two chunks.  Numbers in them have the highest byte first.

    4D 54 68 64   00 00 00 06   00 00   00 01   division       MThd: 6 bytes, format 0, one track
    4D 54 72 6B   length of the events in 4 bytes   events     MTrk
    an event      MIDI number: steps since the event before, then
        90 pitch 40     key down; 40 (64) is how hard         80 pitch 40   key up
        FF 2F 00        the end, last of all

`division` is the number of steps in a beat, in two bytes.  A status byte such as 90 has its kind
in the first half, and a channel in the second.  Files of other programs say more than that:

    9c pitch 00              key up as well: its strength is 0
    pitch strength           a status that is the same as the last one may be left out
    Ac, Bc, Ec  two bytes    other events: skip.     Cc, Dc  one byte: skip
    FF kind number bytes     texts, tempo …: skip as many bytes.     F0, F7  number bytes: skip

c is any channel.  Data bytes are below 80, so you see when the status is left out.  A skipped
event has its own time before it, which counts.  FF, F0 and F7 always come with their status, and
so does the event behind them.

**A drawing**, of the example below

    E  64   │    │    │ 2  │ 1  │ 1  │ 1  │
    C  60   │ 2  │ 1  │ 1  │ 1  │    │    │
    step      0    1    2    3    4    5    6
              ▲         ▲         ▲         ▲
    tokens    60   257  64   257  188  257  192
              C           E         C         E
              down        down      up        up

**Why a 2 in the roll?**  Two short notes and a long one look alike if a roll only says what
sounds.

**Why may a transformer beat counting?**  The chord of a bar is said at its beginning.  A trigram
has forgotten it two events later.  Attention looks as far back as you let it.

**Why forbid, if the model has learned?**  It gives each wrong event a small probability.  A tune
has hundreds of events, so one of them comes.  Set forbidden logits to -inf *before* the softmax:
then the allowed ones share all the probability.

**Worked by hand**: C from 0 to 4 and E from 2 to 6

    tokens      60 257 64 257 188 257 192
    MIDI        00 90 3C 40    02 90 40 40    02 80 3C 40    02 80 40 40    00 FF 2F 00    20 bytes
    200 steps   200 is 1·128 + 72:  81 48
    transposed  by 3: 63 and 67
    classes     C 0.5, E 0.5
    rhythm      bars of 4: one note begins at 0, one at 2:  0.5 0 0.5 0
    allowed     after 60 257 64 257, in C major, 2 bars of 4: it is step 4, and both keys are down.
                Up: 60, 64.  Down: white keys but these two.  Pass: 1 to 4 steps, as a bar ends at 8

**Shapes.**  Notes that you are given are right: 0 ≤ start < end, pitches 0 to 127, all integers,
and two notes of the same pitch don't overlap; one may end where the next begins.  They may come
in any order.  Notes that you return are `Note`s in a list, sorted by start, then by pitch.
Events at the same time are sorted: keys up first, by rising pitch; then keys down, by rising
pitch.  No function changes its arguments.

**Steps.**  A good place to pause is after from_tokens.

    to_roll         5 min   2 at the start
    from_roll       7 min   where does a note end?
    to_midi        11 min   sort events, count the time between
    from_midi      16 min   a small machine that reads bytes
    transpose       3 min   not over the edge
    to_tokens       7 min   long rests take several tokens
    from_tokens     7 min   any row of tokens gives notes
    EventModel     12 min   causal, with positions
    allowed        11 min   what is sounding, and what time is it?
    sample          8 min   forbid, then softmax
    pitch_classes   3 min   weighted by length
    rhythm          3 min   where in the bar

Sources: MIDI Manufacturers Association, "Standard MIDI Files 1.0"; Oore et al. 2018, "This Time
with Feeling" (event tokens); Huang et al. 2018, "Music Transformer".

From scratch: mido, pretty_midi, miditoolkit and music21 may not be used.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from torch import Generator, Tensor, nn


class Note(NamedTuple):
    """A key that goes down at step `start` and comes up at step `end`."""

    start: int
    end: int
    pitch: int


def to_roll(notes: Sequence[Note], steps: int) -> Tensor:
    """The piano roll (steps, 128), uint8.  A note sounds in the steps start … end - 1.

    Raises ValueError, naming that end and `steps`, if a note ends after `steps`.
    """
    raise NotImplementedError


def from_roll(roll: Tensor) -> list[Note]:
    """The notes of a roll (steps, 128) of 0, 1 and 2, of any dtype.

    - A note ends where its column has a 0 or the next 2, or with the roll.
    - A 1 that follows a 0, or stands in the first step, begins a note as a 2 does.
    """
    raise NotImplementedError


def to_midi(notes: Sequence[Note], division: int = 4) -> bytes:
    """The whole file, exactly as the lesson writes it: each event with its status byte, on channel 0, strength 64.

    The end comes 0 steps after the last event.  No notes are a track with the end alone.
    """
    raise NotImplementedError


def from_midi(data: bytes) -> tuple[list[Note], int]:
    """The notes of a file of format 0, as its steps count them, and its division.

    - All that the lesson lists may come up.  Channels aren't told apart: a pitch is one key.  Reading stops at FF 2F 00.
    - A key that goes down while it is down ends its note there and begins another one.
    - A key that comes up while it is up changes nothing.
    - What still sounds at the end of the track ends there.  Notes of length 0 are left out.

    Raises ValueError, naming the first four bytes as text, if they aren't MThd, for example: "RIFF".
    Raises ValueError, naming the format, if it isn't 0.
    """
    raise NotImplementedError


def transpose(notes: Sequence[Note], semitones: int) -> list[Note]:
    """All notes higher by `semitones`, which may be below 0.

    Raises ValueError, naming the first such new pitch in the order of `notes`, if one leaves 0 … 127.
    """
    raise NotImplementedError


def to_tokens(notes: Sequence[Note]) -> list[int]:
    """The events of notes.  It begins at step 0 and ends with the last key up.

    - Time passes in as few tokens as there can be: sixteens first, then the rest.
    - No notes give no tokens.
    """
    raise NotImplementedError


def from_tokens(tokens: Sequence[int]) -> list[Note]:
    """The notes of any row of tokens from 0 to 271.  No note is left sounding.

    - What from_midi says of keys that are down or up already holds here, too.
    - What still sounds after the last token ends there.  Notes of length 0 are left out.
    """
    raise NotImplementedError


class EventModel(nn.Module):
    """A causal transformer over the 272 event tokens.  Its blocks are as you like; it has no dropout."""

    def __init__(self, width: int, heads: int, layers: int, context: int) -> None:
        """heads divides width.  Keeps `context`, the most tokens it can see, as an attribute of that name.

        tokens  nn.Embedding, 272 of `width`
        places  nn.Embedding, `context` of `width`, which is added: token i gets places(i)
        out     nn.Linear, `width` to 272, with bias: the last layer
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Tokens x (b, n), int64, to the logits (b, n, 272) of what comes after each.

        Logits at i depend on tokens 0 … i, on all of them, and on nothing else.

        Raises ValueError, naming n and the context, if n is larger.
        """
        raise NotImplementedError


def allowed(tokens: Sequence[int], key: Collection[int], bar: int, bars: int) -> Tensor:
    """Which tokens may come next: (272,), bool, on the CPU.  The piece has `bars` bars of `bar` steps.

    - Up: a key that is down and went down at an earlier step.
    - Down: a key that is up, whose pitch class is in `key`, before the last bar ends.
    - Time: not past the next bar line; it may reach it.  At a bar line the next one is a bar away.  None once the
      last bar has ended, so that nothing but keys up is allowed then, and at last nothing at all.

    `tokens` may break these rules, also go past the end; the rules hold for what comes next.
    """
    raise NotImplementedError


def sample(
    model: EventModel,
    prompt: Sequence[int],
    key: Collection[int],
    bar: int,
    bars: int,
    generator: Generator,
    temperature: float = 1.0,
) -> list[int]:
    """The prompt, of at least one token, and what follows, until nothing is allowed any more.

    - Each token is drawn from the softmax, over allowed tokens, of the model's logits / temperature.
    - The model sees the last `model.context` tokens, and no gradient is kept.  It is as it was afterwards.
    - All draws come from `generator`, which is one of the CPU, wherever the model is.

    Raises ValueError, naming it, for a temperature of 0 or below.
    """
    raise NotImplementedError


def pitch_classes(notes: Sequence[Note]) -> Tensor:
    """The share of each pitch class, (12,), float64.  Zeros for no notes."""
    raise NotImplementedError


def rhythm(notes: Sequence[Note], bar: int) -> Tensor:
    """The rhythm (bar,), float64.  Zeros for no notes."""
    raise NotImplementedError
