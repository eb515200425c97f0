"""Python basics

Before data are numbers they are text in files.  This kata goes over the Python
that every later one takes for granted, and over four places where the obvious
program is wrong.

A comma-separated file is not what `line.split(",")` gives.  A field may stand
in double quotes, and then commas and line breaks in it are text; a quote inside
is written twice.  So read character by character, and remember whether you are
inside quotes: a state machine with two states.

Counting is a dictionary: a word is looked up in the same time, however many
there are.

Flattening a list of lists of lists calls itself on every list that it meets.
Text would go on forever, as a letter of it is a text again: it counts as one
item.

Memoizing keeps the answers of a function by its arguments, so that each is
computed once.  The function that wraps another and keeps something of its own is
a closure.  The recursion of Fibonacci's numbers, which calls itself 2.7 million
times for the 30th, needs 31 calls then.

An iterator hands out items one at a time and remembers where it is, so that a
file larger than memory can still be read.  `yield` in a function makes one.

Worked by hand:

    name,note           the record after the first line has two fields:
    Ada,"a ""b"", c"    Ada   and   a "b", c
    "To be, or not to be": to 2, be 2, or 1, not 1
    [1, [2, [], [3, "ab"]], (4,)] flattened: 1 2 3 "ab" 4
    batches of 3 from 1 2 3 4 5 6 7: [1 2 3] [4 5 6] [7]

No function changes its arguments.

Sources: RFC 4180, "Common Format and MIME Type for CSV Files"; the JSON Lines
format, jsonlines.org; the Python tutorial, chapters 5 and 9.

From scratch: csv, pandas, numpy, collections.Counter, functools and itertools may
not be used.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any


def parse_csv(text: str) -> list[list[str]]:
    """The records of `text`, each a list of its fields, all of them texts.

    Fields are separated by commas, records by a line break: \\n, \\r\\n or \\r.  A
    line break at the very end begins no further record; the empty text has none,
    and an empty line is a record of one empty field.  A field that begins with a
    quote ends at the next quote that isn't doubled; spaces belong to the field.
    Raises ValueError, naming the number of the record, counted from 1, if a quoted
    field isn't closed, or goes on after its closing quote.
    """
    raise NotImplementedError


def word_counts(text: str) -> dict[str, int]:
    """How often each word occurs, the most frequent first; of equally many, in the order of the alphabet.

    A word is a run of letters and apostrophes, in lower case, whose apostrophes
    at the ends don't count: "'Tis the dogs' day, isn't it?" has tis, the, dogs,
    day, isn't, it.  A letter is what str.isalpha() takes for one.
    """
    raise NotImplementedError


def flatten(items: list | tuple) -> list:
    """The items of nested lists and tuples, of any depth, in order.

    Anything else is one item: texts, dicts, None.
    """
    raise NotImplementedError


def memoize(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with the same answers that calls `function` once for each choice of arguments.

    Positional arguments and keyword arguments may be any hashable values; f(1) and
    f(x=1) may be told apart.  An answer of None is kept like any other.  What
    `function` raises is passed on, and not kept.
    """
    raise NotImplementedError


def write_jsonl(path: Path, records: Iterable[Any]) -> int:
    """Write each of `records` as one line of JSON, in UTF-8; returns how many.

    Characters outside of ASCII are written as they are.  A file that is there is replaced.
    """
    raise NotImplementedError


def read_jsonl(path: Path) -> Iterator[Any]:
    """An iterator over the records of a file of JSON lines, which reads on only as it is asked to.

    Empty lines, or lines of white space, are passed over.  Raises ValueError, naming
    the number of the line, counted from 1, where one isn't JSON: when it is reached, not before.
    """
    raise NotImplementedError


class Batches:
    """An iterable over runs of `size` items of `items`, as lists; the last may be shorter.

    Every `for` loop over it begins anew, and two may run at a time, if `items`
    allows it (as a list does).  `len()` is the number of batches, if `items` has a length.
    """

    def __init__(self, items: Iterable[Any], size: int) -> None:
        """Raises ValueError, naming the size, if it is below 1."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[Any]]:
        """An iterator that takes no more items than the batches asked for need."""
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of batches."""
        raise NotImplementedError
