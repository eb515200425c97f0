"""Python basics

**Before you start.**  You need Python's strings, lists, dicts and functions; no other kata.  Rusty?
Read chapters 3 to 5 of the Python tutorial, docs.python.org/3/tutorial.

**The idea.**  Before data are numbers, they are text in files.  You write seven small tools.
For each the obvious program is wrong somewhere:

- *CSV.*  `line.split(",")` isn't enough: inside double quotes, commas and line breaks are text, and
  a quote is written twice.
- *Counting.*  Use a dict: a look-up takes the same time however many words there are.
- *Flattening.*  The function calls itself on every list that it meets.
- *Memoizing.*  Keep a function's answers by its arguments.  The wrapper that remembers them is a
  *closure*.
- *Iterators* hand out one item at a time, so a file may be larger than memory.  `yield` makes one.

**The formula** is a drawing here.  Read a CSV text character by character, and remember whether you
are inside quotes.  That is a *state machine* with two states:

                    a quote at the field's start
     ┌─────────┐ ─────────────────────────────────▶ ┌──────────┐
     │  plain  │                                    │  quoted  │ ──┐ two quotes,
     └─────────┘ ◀───────────────────────────────── └──────────┘ ◀─┘ other text
    a comma ends the field    a quote not doubled
    a line break the record

**Why does flatten keep a string whole?**  A letter of it is a string again: you would never end.

**Why memoize?**  Computed by its definition, Fibonacci's 30th number takes 2.7 million calls;
memoized, 31.

**Worked by hand**:

    name,note           a header, and below it a record of two fields:
    Ada,"a ""b"", c"    Ada   and   a "b", c
    "To be, or not to be": be 2, to 2, not 1, or 1
    [1, [2, [], [3, "ab"]], (4,)] flattened: 1 2 3 "ab" 4
    batches of 3 from 1 2 3 4 5 6 7: [1 2 3] [4 5 6] [7]

**Shapes**: strings, lists and dicts.  No function changes its arguments.

**Steps.**  A good place to pause is after memoize.

    parse_csv     25 min   the hard one: what ends a field, what ends a record?
    word_counts   10 min   sort by two keys at once
    flatten        5 min   lists and tuples alone are taken apart
    memoize       10 min   a key made of all arguments; None is an answer
    write_jsonl    5 min   UTF-8, as it is
    read_jsonl    10 min   `yield`, and an error that names the line
    Batches       15 min   every loop begins anew

Sources: RFC 4180, "Common Format and MIME Type for Comma-Separated Values (CSV) Files"; the JSON
Lines format, jsonlines.org; the Python tutorial, chapters 5, 7 and 9.

From scratch: csv, pandas, numpy, collections.Counter, functools and itertools may not be used.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any


def parse_csv(text: str) -> list[list[str]]:
    """The records of `text`, each a list of its fields, all of them strings.

    - Commas separate fields.
    - A line break ends a record: \\n, \\r\\n or \\r, and no other character.
    - A line break at the very end begins no further record.  The empty text has no record.
    - An empty line is a record of one empty field.
    - A field that begins with a quote ends at the next quote that isn't doubled.  Elsewhere a
      quote is an ordinary character.
    - Spaces belong to the field.

    Raises ValueError, naming the number of the record, counted from 1, if a quoted field isn't
    closed, or if anything but a comma or a line break follows its closing quote.
    """
    raise NotImplementedError


def word_counts(text: str) -> dict[str, int]:
    """How often each word occurs, the most frequent first; equally frequent ones by the alphabet.

    - A word is a run of letters and apostrophes (') of the text in lower case.
    - A letter is what str.isalpha() takes for one; the alphabet's order is that of `<`.
    - Apostrophes at a word's ends don't count: "'Tis the dogs' day, isn't it?" has tis, the, dogs,
      day, isn't, it.  A run of nothing but apostrophes is no word.
    """
    raise NotImplementedError


def flatten(items: list | tuple) -> list:
    """A new list of the items of nested lists and tuples, in order.

    - Lists may be nested up to 200 deep.
    - Anything else is one item: strings, dicts, sets, None.
    """
    raise NotImplementedError


def memoize(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with the same answers that calls `function` once for each set of arguments.

    - Positional and keyword arguments may be any hashable values.
    - The order in which keywords are given doesn't matter.
    - f(1) and f(x=1) may be told apart or not, and so may equal arguments such as 1 and 1.0.
    - An answer of None is kept like any other.
    - What `function` raises is passed on, and not kept.
    """
    raise NotImplementedError


def write_jsonl(path: Path, records: Iterable[Any]) -> int:
    """Write each of `records` as one line of JSON, in UTF-8; returns how many.

    - `records` may be an iterator.
    - Characters outside of ASCII are written as they are, not as \\u escapes.
    - A file that is there is replaced.
    """
    raise NotImplementedError


def read_jsonl(path: Path) -> Iterator[Any]:
    """An iterator over the records of a file of JSON lines, in UTF-8.

    - It reads on only as it is asked to: the file may be larger than memory.
    - Lines end at \\n, not at \\r or the other characters that str.splitlines() knows.
    - Empty lines, and lines of white space, are passed over.

    Raises ValueError, naming the number of the line, counted from 1 with the empty ones, where a
    line isn't JSON: when it is reached, not before.
    """
    raise NotImplementedError


class Batches:
    """An iterable over runs of `size` items of `items`, as lists; the last may be shorter.

    - Every `for` loop over it begins anew, and two may run at a time, if `items` allows it (as a
      list does).
    - `len()` is the number of batches, if `items` has a length: exact, however large.
    - A list that was handed out never changes.
    """

    def __init__(self, items: Iterable[Any], size: int) -> None:
        """Raises ValueError, naming the size, if it is below 1."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[Any]]:
        """An iterator that reads only the items of the batches asked for."""
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of batches."""
        raise NotImplementedError
