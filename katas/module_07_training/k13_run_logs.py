"""Run logs: lines that a crash can't spoil, TensorBoard's format byte by byte

**Before you start.**  You need JSON, and bits and bytes in Python: & | ^ >> <<, bytes, struct; no
other kata.  New to binary formats?  Read the first half of "Encoding" at protobuf.dev.

**The idea.**  A week later somebody asks what the loss did on Tuesday night.  All that is left is
what the run wrote down.  So you write two files.  One is for programs: a line of JSON for each
step.  The run may die in the middle of a line, and be resumed in the middle of the file.  No other
line may suffer from it.  The other is for eyes: TensorBoard draws it.  It reads a binary
format of its own, and you write that yourself, down to the last byte.

**The formulas.**

*A log in JSON lines* has a row in each line.  JSON has no NaN and no infinity, so these are texts.
Here a run died in its third line, and was resumed from a checkpoint after step 1:

    {"step": 1, "loss": 2.5}        ◀── stays
    {"step": 2, "loss": "NaN"}      ◀── replaced by the last line
    {"step": 3, "lo                 ◀── torn: no JSON
    {"step": 2, "loss": 2.25}       ◀── stays

*A varint* is a number of any length.  It has 7 bits a byte, the lowest first; the top bit says that
more follow.  All other numbers here are little-endian: the lowest byte first.

*An event in protobuf* is a row of fields, one after the other.  A field begins with a byte:
8 · number + kind.  Its kind says what comes next:

    kind 0    a varint
    kind 1    eight bytes
    kind 2    a varint n, and then n bytes: a text, or another row of fields
    kind 5    four bytes

An event, and what it contains:

    event    1 wall_time (kind 1, a double)     2 step (kind 0)
             3 file_version (kind 2, a text)    5 summary (kind 2)
    summary  1 value (kind 2), once for each scalar
    value    1 tag (kind 2, a text)             2 simple_value (kind 5, a float)

*CRC-32C* is a checksum of 32 bits.  It works bit by bit, lowest bit first: begin with all 32 bits
set.  For each byte, xor it into the lowest 8 bits; then 8 times shift right by one, and xor
0x82F63B78 if a 1 fell out.  In the end invert all bits.

*TensorBoard's file* is a row of records.  Each holds an event:

    ┌───────────┬───────────────┬─────────────┬───────────────┐
    │ length    │ masked CRC    │ event       │ masked CRC    │
    │ 8 bytes   │ of the length │ in protobuf │ of the event  │
    │           │ 4 bytes       │             │ 4 bytes       │
    └───────────┴───────────────┴─────────────┴───────────────┘
    mask(c) is  ((c >> 15) | (c << 17)) + 0xA282EAD8, cut to 32 bits

**Why lines?**  A file that is one JSON list can't be read before its last bracket is written.  A
crash tears one line at most, and the next newline ends the damage.

**Why do later steps go as well?**  The resumed run starts from older weights.  What the dead run
did from there on never happened to the model that you have.

**Why a CRC of the length alone?**  A reader must know the length before it can find the event.  A
damaged length would send it anywhere.

**Why masked?**  Take the CRC of data with its own CRC behind it: it is the same number for all
data, and checks nothing.  Files may lie in files.  So what is stored is another number.

**Worked by hand**

    varint: 300 is 10 0101100 in bits: bytes 1010_1100 0000_0010, that is AC 02

    CRC-32C of the byte 7F: FFFFFFFF xor 7F = FFFFFF80
        after 7 shifts, all of a 0:                   01FFFFFF
        then a 1 falls out: 00FFFFFF xor 82F63B78  =  8209C487
        inverted:                                     7DF63B78

The event of wall time 1.5, step 300, {"loss": 0.5}.  What is indented lies in the field above it:

    09 00 00 00 00 00 00 F8 3F      8·1 + 1   wall_time, 1.5 is 3FF8000000000000
    10 AC 02                        8·2 + 0   step, the varint above
    2A 0D                           8·5 + 2   summary, 13 bytes follow
    │   0A 0B                       8·1 + 2   value, 11 bytes follow
    │   │   0A 04 6C 6F 73 73       8·1 + 2   tag, 4 bytes: l o s s
    │   │   15 00 00 00 3F          8·2 + 5   simple_value, 0.5 is 3F000000

These are 9 + 3 + 2 + 2 + 6 + 5 = 27 bytes, hexadecimal 1B.  So their record is:

    1B 00 00 00 00 00 00 00         the length, its CRC-32C is c = 9121388D
    1A 0D 9E 13                     c >> 15 is 00012242, c << 17 is 711A0000 in 32 bits;
                                    711B2242 + A282EAD8 = 1 139E0D1A, cut: 139E0D1A
    09 00 00 …  00 00 00 3F         the 27 bytes
    69 F9 31 5B                     their CRC-32C 8748DC57, masked: 5B31F969

**Shapes**: no arrays; a row's value may be a tensor with one entry, on any device.  No function
changes its arguments.

**Steps.**  A good place to pause is before varint.

    append_jsonl     12 min   JSON has no NaN
    read_jsonl       12 min   lines that were torn, runs that were resumed
    varint            5 min   7 bits at a time
    crc32c            8 min   the loop above
    scalar_event     16 min   from the inside out
    write_events     11 min   records, the version first

Sources: jsonlines.org; the TFRecord format and event.proto (github.com/tensorflow); RFC 3720,
appendix B.4 (CRC-32C); crc32c.h of github.com/google/leveldb (the mask).

From scratch: torch.utils.tensorboard, tensorboard and tensorboardX may not be used.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Add `row` to the file as a line of JSON that ends in a newline; it is on its way to disk when this returns.

    - Values: texts, ints, floats, bools, None, and tensors or numpy numbers with one entry, which are written
      as plain numbers or bools.  Any JSON will do, with blanks or without.
    - NaN and the infinities, which JSON hasn't got, are written as the texts "NaN", "Infinity", "-Infinity".
    - If the file doesn't end in a newline, since a crash has torn its last line, a new line is begun first.
    """
    raise NotImplementedError


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of append_jsonl, each of which has an int "step".

    - Torn lines, which are no JSON, are left out, wherever they stand; also if a character was torn.
    - The three texts for NaN and the infinities come back as floats.  All other texts stay what they are.
    - A run that was resumed writes steps again: a row of step s takes the place of all rows before it
      whose step is s or more.
    - A file that isn't there has no rows.
    """
    raise NotImplementedError


def varint(number: int) -> bytes:
    """`number`, 0 ≤ number < 2⁶⁴, as a varint."""
    raise NotImplementedError


def crc32c(data: bytes) -> int:
    """The CRC-32C of `data`, not masked."""
    raise NotImplementedError


def scalar_event(wall_time: float, step: int, scalars: dict[str, float]) -> bytes:
    """An event with one value for each scalar, in their order; tags are texts, 0 ≤ step < 2⁶³.

    - Fields come in any order, in all three.  Numbers that are 0 may be left out, except simple_value.
    - A number too large for float32 is written as the infinity of its sign.
    """
    raise NotImplementedError


def write_events(path: Path, rows: Iterable[tuple[float, int, dict[str, float]]]) -> None:
    """Write a new file of records: an event with the file_version "brain.Event:2", without a summary, and then
    scalar_event(*row) for each row.  An old file is replaced.  The first event's time and step are up to you."""
    raise NotImplementedError
