"""Untrusted content: logs, prompts and files

**Before you start.**  You need regular expressions, logging, and bytes in Python (struct and
json).  The kata security is about who may come in; this one is about what they bring.  You need
not have done it.  If Python's logging is new: its "Logging HOWTO", up to "Handlers".

**The idea.**  A request has passed the door, and still it isn't harmless.  The prompt holds a
credit card number, and now it is in your logs.  A web page that your model summarises says "Ignore
all previous instructions".  A colleague sends you a model in a pickle, and loading it runs their
code on your server.  Whatever comes from outside stays *data*: it is never code, never an
instruction, and never a line in a log that it shouldn't be.

- *Redaction* takes secrets out of whatever is logged.
- A *screen* finds well-known phrases of attack, also where they are disguised a little.
- *Special tokens*, by which a chat template marks whose turn it is, are taken out of texts.
- Documents get a *fence* around them, so that the model sees where they end.
- *Safe loading* reads tensors from a file that its sender may have forged.

**The formulas**

    luhn       sum of the digits, from the right, every second one doubled (minus 9 if above 9)
               a card number  ⟺  the sum is divisible by 10
    fold       NFKD → without marks (Mn) and format characters (Cf) → casefold
               → each run of other characters than letters and digits becomes one space → strip
    tensor     bytes  =  product of the shape · bytes of one number

**A drawing** of a safetensors file, and of four that are forged.  N is the length of the header:

    │ N, 8 bytes │ header: JSON │ tensor a       │ tensor b       │
                                0                8                20

    N is 10¹⁸   │ N │ short header │                reads all memory
    overlap     │ N │ header │ a a a ┼ b │          two names, one memory
    hole        │ N │ header │ a │ ? ? ? │ b │      what is in there?
    cut off     │ N │ header │ a │ b                read beyond the end

    header   {"a": {"dtype": "F32", "shape": [2],    "data_offsets": [0, 8]},
              "b": {"dtype": "I8",  "shape": [3, 4], "data_offsets": [8, 20]}}

**Why at the formatter?**  You could redact wherever something is logged.  But libraries log, too,
and an exception shows the values that it is about.  The formatter makes the text that is written,
so everything comes past it.

**Why escape line breaks?**  A user whose name is "x\\nINFO admin logged in" writes a line of your
log.  With one line a record, nobody can.

**Does a screen stop prompt injection?**  No.  It finds what somebody has written before, and there
are endless other words for it.  It is an alarm, not a wall.  The wall is that the model may do
little: no tool call with somebody else's text in it goes out unseen.  The fence helps the model
to see where data begins and ends, if the document can't forge the fence.

**Why are special tokens dangerous?**  A chat template writes <|im_start|>system before your
instructions.  A document that holds the same characters opens a turn of its own.  And taking them
out once isn't enough: "<|im_<|im_start|>start|>" is one again afterwards.

**Why not a pickle?**  A pickle is a program.  It may call any function, os.system for one, and it
does so while it is read.  A safetensors file holds only names, shapes and numbers.

**Worked by hand**

    luhn      4539 1488 0343 6467: from the right 7, 6·2 - 9, 4, 6·2 - 9, …  The sum is 80: valid
    redact    "mail bob@x.org, card 4539-1488-0343-6467"  →  "mail [email], card [card]"
    fold      "Íg\\u200bnore ALL--previous\\n ﬁles!"  →  "ignore all previous files"
    screen    with the phrase "ignore all previous", the text above is caught;
              "ignore all previously seen" isn't: whole words
    defuse    "a<|im_<|im_start|>start|>b"  →  "ab"
    fence     "hi", with the word w1        →  "<<w1>>\\nhi\\n<<end w1>>"
    load      the file in the drawing: a has 2 · 4 bytes, b has 3 · 4 · 1, 20 in all

**Shapes**: load_tensors gives numpy arrays of the shapes in the header.  Everything else is text.

**What holds everywhere.**  Letters and digits in patterns are ASCII ones: a–z, A–Z, 0–9.  Texts may
be empty.  No function changes its arguments.

**Steps.**  A good place to pause is before fold.

    luhn           4 min   from the right
    redact        18 min   one pattern after the other, and what stands beside
    SafeFormatter  5 min   what does the inner formatter do?
    fold           6 min   the order matters
    screen         4 min   whole words
    defuse         5 min   until none is left
    fence          4 min
    load_tensors  24 min   whatever the header says is a claim

Sources: OWASP Top 10 for LLM Applications, 2025 (prompt injection, sensitive information); Greshake
et al. 2023, "Not What You've Signed Up For" (injection by documents); Hines et al. 2024, "Defending
Against Indirect Prompt Injection Attacks With Spotlighting"; the safetensors format
(github.com/huggingface/safetensors); the warning in Python's documentation of pickle.

From scratch: the modules pickle, safetensors and torch, and numpy.load may not be used.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from numpy.typing import NDArray


def luhn(digits: str) -> bool:
    """Whether a text of one or more digits has the checksum of a card number."""
    raise NotImplementedError


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """The text without what nobody may read.  The rules go in turn, each over what the last one gave, from left to
    right:

    1. Each of `secrets`, values that you know, becomes "[secret]", wherever it stands.  The longest comes first, as
       one may be a part of another.  Empty ones are left out.  (None of them is a part of "[secret]".)
    2. "Bearer", in capitals or not, then spaces, then a token of 16 or more letters, digits or characters of
       "-._~+/=".  The token, which is as long as it can be, becomes "[secret]".
    3. "sk-", then 16 or more letters, digits, "-" or "_", as many as there are.  All of it becomes "[secret]".
    4. An email address: one or more letters, digits or characters of "._%+-", then "@", then two or more parts with
       dots between, each of one or more letters, digits or "-".  It is as long as it can be, and becomes "[email]".
    5. A card number: a run of digits, with at most one space or one "-" between two of them, that is as long as it
       can be, has 13 to 19 digits, and passes `luhn`.  It becomes "[card]".  Other runs stay.

    In rules 2 and 3 no letter and no digit stands directly before it: "task-" holds no "sk-".
    """
    raise NotImplementedError


class SafeFormatter(logging.Formatter):
    """Lets another formatter write a record, and takes out what nobody may read."""

    def __init__(self, inner: logging.Formatter, secrets: Sequence[str] = ()) -> None:
        """`inner` decides what is written and how; `secrets` are those of `redact`."""
        raise NotImplementedError

    def format(self, record: logging.LogRecord) -> str:
        """What the inner formatter writes, redacted, on one line.

        - All of it is redacted: the message with its arguments, names and extra fields, exceptions and stacks.
        - After that "\\n" becomes a backslash and an n, "\\r" a backslash and an r.
        - The record's message and arguments stay as they are: other handlers format it after you.
        """
        raise NotImplementedError


def fold(text: str) -> str:
    """The words of a text without disguise, by the formula, in this order.

    Categories are those of unicodedata; letters and digits are here the characters with `isalnum`, of any script.
    """
    raise NotImplementedError


def screen(text: str, phrases: Sequence[str]) -> list[str]:
    """Those of `phrases` that the text holds, in their order, as they were given.

    A phrase is held if its words, folded, stand side by side in the folded text, as whole words.  A phrase without
    words is never held.
    """
    raise NotImplementedError


def defuse(text: str, specials: Sequence[str]) -> str:
    """The text with all of `specials`, texts that aren't empty, taken out.

    - What comes out holds none of them, also none that came together when another one was taken out.
    - Nothing else is taken out.  Which goes first where two of them overlap is left open.
    """
    raise NotImplementedError


def fence(document: str, draw: Callable[[], str] | None = None) -> str:
    """The document between two lines that it can't forge: <<word>> before it, <<end word>> after it.

    draw  gives a word.  Take the first that isn't in the document.  None: words of 16 hex digits or more, drawn by
          the module `secrets`, so that nobody can tell them in advance
    """
    raise NotImplementedError


def load_tensors(file: BinaryIO, max_bytes: int) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file that is open for reading in binary, by their names.

    - dtypes: F64 F32 F16 I64 I32 I16 I8 U8 BOOL, little-endian, for numpy's float64 … bool.
    - Arrays are of their own, can be changed, and have any shape, also () and ones with a 0.
    - Entries come in any order.  "__metadata__" is skipped, whatever it holds.
    - Ask only for the first `max_bytes` of the file, never for "all that is left", and don't seek.
    - file.read(n) may give less than n bytes, as a socket does.  Only b"" means the end.

    Whatever the bytes are, nothing but an answer or ValueError comes out.  Raises ValueError, naming `max_bytes`, if
    the 8 bytes, the header and the tensors would be more than that together.  Raises ValueError as well if

    - the file ends too early, or goes on after the last tensor (unless they end at `max_bytes`: then nobody looks)
    - the header isn't a JSON object in UTF-8, or holds a name twice, also within an entry
    - an entry isn't an object with one of these dtypes, a shape, which is a list of ints of 0 or more, and
      data_offsets, a list of two such ints, the first not above the second (`true` and 2.0 are no ints)
    - a tensor's offsets don't hold the bytes of its shape and dtype
    - tensors overlap or leave holes: sorted by their offsets, each begins where the last one ends, the first at 0
    """
    raise NotImplementedError
