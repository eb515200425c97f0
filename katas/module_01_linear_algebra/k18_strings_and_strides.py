"""Strings and strides

**Before you start.**  You need binary numbers with `>>`, `&` and `|`, regular expressions (`re`),
and classes; no other kata.  Are regular expressions new to you?  Read Python's "Regular Expression
HOWTO".

**The idea.**  Memory is one long row of cells, and models want text and arrays.  UTF-8 turns a row
of bytes into text.  Strides turn a row of numbers into an array.

**The formulas.**  Unicode gives every character a number, its code point, from 0 to 0x10FFFF.
UTF-8 writes it in one of four forms, 1 to 4 bytes long; the x are its bits:

    up to 0x7F        0xxxxxxx
    up to 0x7FF       110xxxxx 10xxxxxx
    up to 0xFFFF      1110xxxx 10xxxxxx 10xxxxxx
    up to 0x10FFFF    11110xxx 10xxxxxx 10xxxxxx 10xxxxxx

ASCII stays as it is.  A byte 10xxxxxx never begins a form.

Strides say how far to walk in the row of numbers for one step along each axis:

    a[i, j] = data[offset + i · strides[0] + j · strides[1]]

    data         10    11    12    13    14    15      shape (2, 3), offset 0
    one step j   ├────▶│                               strides[1] is 1
    one step i   ├────────────────▶│                   strides[0] is 3

    transpose    swap the two strides                  shape (3, 2), strides (1, 3)
    backwards    begin at the end, walk by -1          offset 2, strides (3, -1)
    every 2nd    walk twice as far                     strides[1] is 2
    repeat       stay on the spot                      a stride of 0

These change shape, strides and offset only.  No number moves: such an array is a *view*, and shares
its data.  Only reshape may have to copy.  It doesn't if the array is *contiguous*: row by row, its
elements follow one another in memory.  Strides count elements here, not bytes as in numpy.

**Why must each code point have one form only?**  0xC0 0xAF has the bits of "/" and would slip past
a filter for it.  So a decoder rejects such overlong forms.  It also rejects the surrogates, 0xD800
to 0xDFFF: they belong to UTF-16 and are no characters.

**Worked by hand**:

    é is U+00E9 = 0b11101001, 8 bits: 110·00011 10·101001 = 0xC3 0xA9
    data 10 11 12 13 14 15, shape (2, 3), strides (3, 1): [[10 11 12] [13 14 15]]
    transposed: shape (3, 2), strides (1, 3): [[10 13] [11 14] [12 15]]
    columns backwards: offset 2, strides (3, -1): [[12 11 10] [15 14 13]]

**Shapes**: strings, bytes, and tuples of ints.  No function changes its arguments.

**Steps.**  Good places to pause are after clean and, in StridedArray, after transpose.

    utf8_encode   10 min   six bits a byte
    utf8_decode   20 min   collect the bits first, judge afterwards
    clean         10 min   four rules in their order
    StridedArray  45 min   eight short methods

Sources: RFC 3629, "UTF-8, a transformation format of ISO 10646"; Pike and
Thompson 1993, "Hello World"; Harris et al. 2020, "Array programming with NumPy".

From scratch: the methods .encode and .decode, and numpy, codecs and io, may not
be used.
"""


def utf8_encode(text: str) -> bytes:
    """The bytes of `text` in UTF-8.

    Raises ValueError for a surrogate, naming its position in the text, from 0, and its code point
    in hexadecimal, as in "D800".
    """
    raise NotImplementedError


def utf8_decode(data: bytes) -> str:
    """The text that `data` stands for.

    Raises ValueError, naming the position in `data`, from 0, of the first byte of the first faulty
    form, for:

    - a byte that can't begin a form;
    - a form that is cut short, by the end or by a byte that isn't 10xxxxxx;
    - an overlong form;
    - a surrogate;
    - a code point past 0x10FFFF.
    """
    raise NotImplementedError


def clean(text: str) -> str:
    """Text from the web, made fit to be counted.  In this order:

    1. A tag, from < to the next > with neither of the two in between, becomes a space.
    2. http:// or https://, in small letters, and all that follows up to white space becomes "URL".
    3. Three or more of the same character in a row, of any kind but white space, become two:
       "sooooo!!!" → "soo!!".  Two stay two.
    4. White space, of any kind and number, becomes one space; none is left at the ends.
    """
    raise NotImplementedError


class StridedArray:
    """A view of a list of numbers as an array of any number of axes.

    data      the list itself, never a copy
    shape     a tuple of ints
    strides   a tuple of as many, in elements
    offset    the place of the first element in `data`

    These are its attributes.  Every method leaves the array as it is.
    """

    def __init__(
        self,
        data: list[float],
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None = None,
        offset: int = 0,
    ) -> None:
        """Without `strides` they are those of row after row: the last axis has stride 1.

        Nothing is checked: that every index stays in `data` is the caller's business.
        """
        raise NotImplementedError

    def __getitem__(self, index: tuple[int, ...]) -> float:
        """One element; `index` is a tuple with an int for each axis, () if there are none.

        A negative one counts from the end.
        Raises IndexError, naming the index and the length, where one is outside of its axis.
        """
        raise NotImplementedError

    def to_list(self) -> list | float:
        """Nested lists, as numpy's tolist() gives them; the element itself if there are no axes."""
        raise NotImplementedError

    def transpose(self, axes: tuple[int, ...] | None = None) -> "StridedArray":
        """A view whose axis i is this array's axis axes[i]; all in reverse order for None."""
        raise NotImplementedError

    def slice(
        self, axis: int, start: int | None, stop: int | None, step: int = 1
    ) -> "StridedArray":
        """A view of start:stop:step along `axis` ≥ 0, with the rules of Python's slices.

        So (axis, None, None, -1) turns it around.  The slice holds at least one element.
        """
        raise NotImplementedError

    def broadcast_to(self, shape: tuple[int, ...]) -> "StridedArray":
        """A view of the given `shape`: new axes in front, and axes of length 1, have stride 0.

        Raises ValueError, naming both shapes, where an axis is neither 1 nor as long as
        wanted, or where there are more axes than wanted.
        """
        raise NotImplementedError

    def is_contiguous(self) -> bool:
        """Whether the elements, row by row, follow one another in the data.

        - The stride of an axis of length 1 doesn't matter: nobody takes a step along it.
        - Nor does the offset.
        - All lengths are at least 1.
        """
        raise NotImplementedError

    def reshape(self, shape: tuple[int, ...]) -> "StridedArray":
        """The same elements, row by row, in another shape.

        - A view if this array is contiguous.
        - Otherwise its data are a new list of just these elements, and its offset is 0.

        Raises ValueError, naming both shapes, if they don't have the same number of elements.
        """
        raise NotImplementedError
