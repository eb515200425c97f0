"""Special tokens, padding, truncation and chats

Around the tokens of a text stand others that no text can contain: where it
begins and ends, what fills a short row of a batch, who speaks.  Most bugs of
fine-tuning are made here, and none of them raises an error.

**Padding.**  The rows of a batch must be equally long.  A mask says what is real:
1 for a token, 0 for filling.  Encoders pad on the right.  A decoder that is to
write on pads on the left, as its next token follows the last place of the row.

**Truncation.**  What is too long is cut, or, so that nothing is lost, becomes
several windows of which each repeats the last `stride` tokens of the one before.
Of a pair (question and passage), *longest first* cuts the longer one until both
fit: the shorter one keeps at most half of the room.

**Chats.**  A conversation becomes one text.  In ChatML each message is

    <|im_start|>ROLE⏎CONTENT<|im_end|>⏎

and the prompt for an answer ends with <|im_start|>assistant⏎.  Fine-tuning
learns the assistant's words alone: the label of every other token is -100, which
the loss ignores.  The <|im_end|> that ends an answer is learned, too, or the
model never stops.

Worked by hand, [1 2 3 4 5 6 7 8] in windows of 4 with stride 1:

    [1 2 3 4]  [4 5 6 7]  [7 8]

and a pair of 2 and 9 tokens cut to 7, longest first: 2 and 5; of 6 and 9: 3 and 4.

No function changes its arguments.

Sources: OpenAI 2023, "Chat Markup Language"; the documentation of Hugging Face
transformers, "Padding and truncation" and "Chat templates".

From scratch: transformers and tokenizers may not be used.
"""

from collections.abc import Mapping, Sequence

import numpy as np


def add_special(ids: Sequence[int], bos: int | None = None, eos: int | None = None) -> list[int]:
    """`ids` with `bos` before and `eos` after them; None adds nothing.

    A text that already begins with `bos` or ends with `eos` doesn't get it twice.
    """
    raise NotImplementedError


def windows(ids: Sequence[int], length: int, stride: int = 0) -> list[list[int]]:
    """`ids` cut into windows of at most `length` that share `stride` tokens with the one before.

    The last window ends with the last token, and may be shorter.  There is always
    at least one window, and none that lies inside the one before.
    Raises ValueError, naming both, unless 0 ≤ stride < length.
    """
    raise NotImplementedError


def truncate_pair(
    first: Sequence[int], second: Sequence[int], limit: int, strategy: str = "longest_first"
) -> tuple[list[int], list[int]]:
    """Cut the ends of a pair so that together they have at most `limit` tokens; what fits stays as it is.

    "longest_first"  the shorter one keeps at most limit // 2 tokens, the longer one has the rest
                     of the room; of two that are equally long, `second` counts as the longer one
    "only_first"     only `first` is cut, "only_second" only `second`

    Raises ValueError, naming it, for another strategy; and, naming its length and
    `limit`, if the one that mustn't be cut is longer than `limit` alone.
    """
    raise NotImplementedError


def pad_batch(
    sequences: Sequence[Sequence[int]], pad: int, side: str = "right", multiple_of: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """A batch of rows as long as the longest, rounded up to a multiple of `multiple_of`.

    Returns the ids, filled with `pad` on that `side` ("right" or "left"), and the
    mask of 1 and 0, both int64 (batch, length).  A token of a sequence that
    happens to equal `pad` is real.
    Raises ValueError, naming it, for another side.
    """
    raise NotImplementedError


def render_chat(
    messages: Sequence[Mapping[str, str]],
    add_generation_prompt: bool = False,
    default_system: str | None = None,
) -> tuple[str, list[tuple[int, int]]]:
    """A conversation in ChatML, and the spans of it that a model should learn to write.

    Each message has a "role" and a "content".  If `default_system` is given and the
    first message isn't by "system", a system message with that text comes first.
    `add_generation_prompt` appends the beginning of an answer.

    A span (start, end) counts characters of the text, end excluded; there is one for
    each message by "assistant": its content and the <|im_end|> after it.
    """
    raise NotImplementedError


def labels(
    ids: Sequence[int], offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]
) -> list[int]:
    """The labels to train on: the id of each token whose first character lies in a span, else -100.

    `offsets` has for each token where it begins and ends in the text, end excluded.
    """
    raise NotImplementedError
