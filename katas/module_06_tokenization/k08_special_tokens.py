"""Special tokens, padding, truncation and chats

**Before you start.**  You need token ids and numpy arrays, no other kata.  New to you?
Read "Padding and truncation" in the documentation of transformers.

**The idea.**  Most bugs of fine-tuning are made around the text, and none raises an error.  Special
tokens say where it begins and ends, what fills a short row, who speaks.

*Padding.*  The rows of a batch must be equally long.  A mask says what is real: 1 for a token, 0
for filling.  Encoders usually pad on the right.  A decoder that writes on pads on the left:

            right      left
    ids     5 6 7      5 6 7
            8 0 0      0 0 8  ◀── the next token follows here, in every row
    mask  │ 1 1 1    │ 1 1 1
          │ 1 0 0    │ 0 0 1

*Truncation.*  What is too long is cut.  Or it becomes windows, and nothing is lost.  Each repeats
the last `stride` tokens of the one before (an overlap, not a step), here of length 4 with
stride 1:

    1  2  3  4  5  6  7  8
    └────────┘
             └────────┘
                      └──┘

*Chats.*  A conversation becomes one text.  In ChatML:

    <|im_start|>user⏎2 + 2?<|im_end|>⏎<|im_start|>assistant⏎4.<|im_end|>⏎
                                                            └─ learned ┘

The prompt for an answer ends with <|im_start|>assistant⏎.

**The formula.**

    windows    start at 0, length − stride, 2·(length − stride), …
    a pair     "longest first": of lengths n and m the shorter one keeps
               min(n, m, ⌊limit / 2⌋), the longer one has the rest of the room
    labels     the token's id where it begins in a learned span, else −100

**Why −100?**  torch's loss ignores it: the user's words aren't learned.

**Why is <|im_end|> learned?**  Otherwise the model never stops.

**Worked by hand**, [1 2 3 4 5 6 7 8] in windows of 4 with stride 1:

    [1 2 3 4]  [4 5 6 7]  [7 8]

A pair of 2 and 9 tokens cut to 7, longest first, keeps 2 and 5; 6 and 9 keep 3 and 4.

**Shapes**: ids are lists of whole numbers; a batch is int64 (batch, length).  No function changes
its arguments.

**Steps.**

    add_special      4 min   an id may be 0
    windows          8 min   where does the last one start?
    truncate_pair   12 min   how many may each keep?
    pad_batch        8 min   the mask doesn't come from comparing ids
    render_chat     10 min   note where each answer begins and ends
    labels           5 min   a span's end is excluded

Sources: OpenAI 2023, "Chat Markup Language"; the documentation of transformers, "Padding and
truncation" and "Chat templates".

From scratch: transformers and tokenizers may not be used.
"""

from collections.abc import Mapping, Sequence

import numpy as np


def add_special(ids: Sequence[int], bos: int | None = None, eos: int | None = None) -> list[int]:
    """`ids` with `bos` before and `eos` after them; None adds nothing.

    - An id may be 0.
    - `ids` that already begin with `bos` don't get it twice, nor do those that end with `eos`.
    - `bos` and `eos` may be the same id, as in GPT-2: empty `ids` become both.
    """
    raise NotImplementedError


def windows(ids: Sequence[int], length: int, stride: int = 0) -> list[list[int]]:
    """`ids` cut into windows of at most `length` that share `stride` tokens with the one before.

    - The last window ends with the last token, and may be shorter.
    - There is always at least one window, and none that lies inside the one before.

    Raises ValueError, naming both, unless 0 ≤ stride < length.
    """
    raise NotImplementedError


def truncate_pair(
    first: Sequence[int], second: Sequence[int], limit: int, strategy: str = "longest_first"
) -> tuple[list[int], list[int]]:
    """Cut the ends of a pair so that together they have at most `limit` ≥ 0 tokens.

    A pair that fits stays as it is.  The strategies:

    "longest_first"  the shorter one keeps at most limit // 2 tokens, the longer one has the rest
                     of the room; of two equally long ones `second` counts as the longer one
    "only_first"     only `first` is cut, to nothing if need be
    "only_second"    only `second` is cut, likewise

    Raises ValueError, naming it, for another strategy, even if the pair fits; and, naming its length and `limit`, if the
    one that mustn't be cut is longer than `limit` by itself.
    """
    raise NotImplementedError


def pad_batch(
    sequences: Sequence[Sequence[int]], pad: int, side: str = "right", multiple_of: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """A batch of rows as long as the longest, rounded up to a multiple of `multiple_of`.

    Returns the ids, filled with `pad` on that `side` ("right" or "left"), and the mask of 1 and
    0, both int64 (batch, length).

    - There is at least one sequence; any of them may be empty, and so may all.
    - A token of a sequence that happens to equal `pad` is real: some models pad with their
      end-of-text token.

    Raises ValueError, naming it, for another side, even if nothing is to be filled.
    """
    raise NotImplementedError


def render_chat(
    messages: Sequence[Mapping[str, str]],
    add_generation_prompt: bool = False,
    default_system: str | None = None,
) -> tuple[str, list[tuple[int, int]]]:
    """A conversation in ChatML, and the spans of it that a model should learn to write.

    - Each message has a "role" and a "content", and becomes
      <|im_start|>ROLE⏎CONTENT<|im_end|>⏎ with a line break "\\n" for each ⏎.
    - If `default_system` is given, even as "", and the first message isn't by "system" (or there is
      none), a system message with that text comes first.
    - `add_generation_prompt` appends the beginning of an answer, which isn't learned.
    - A span (start, end) counts characters of the text, end excluded.  There is one for each
      message by "assistant": its content and the <|im_end|> after it.
    """
    raise NotImplementedError


def labels(
    ids: Sequence[int], offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]
) -> list[int]:
    """The labels to train on: the id of each token that begins within a span, else -100.

    - `offsets` has for each token where it begins and ends in the text, end excluded.
    - A span's end is excluded, too; spans come in any order.
    """
    raise NotImplementedError
