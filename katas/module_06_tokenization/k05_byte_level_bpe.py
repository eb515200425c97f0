"""Byte-level BPE

**Before you start.**  You need UTF-8, and merges as in bpe_training.  Split text into words
with your own split_gpt2 (until it is green, the import gives a finished one):

    from .k02_pretokenization import split_gpt2

Is UTF-8 new to you?  Read Python's "Unicode HOWTO".

**The idea.**  No text may be unknown to a tokenizer.  GPT-2's starts from the 256 bytes, so none
is, and puts them together by a list of learned merges, best first.

**The formula.**  Training did merge 0 wherever it could, then merge 1, and so on.  Encode the
same way:

    rank(x, y) = the place of (x, y) in the list of merges, from 0
    take the neighbours with the lowest rank, merge them at every place
    from left to right, look again; stop when no neighbours are in the list

"lower" with the merges 0: (l, o), 1: (lo, w), 2: (e, r):

    l   o   w   e   r      in the list: (l, o) 0, (e, r) 2
    └─┬─┘
      lo    w   e   r      (lo, w) 1, (e, r) 2
      └──┬──┘
        low     e   r      (e, r) 2
                └─┬─┘
        low       er       none: done

*A letter for each byte.*  Vocabularies are JSON, where a byte such as 0 can't be seen.  So each
byte has a printable character:

    ! … ~   ¡ … ¬   ® … ÿ     188 bytes: the character of the same number
    the other 68, in order    the characters U+0100, U+0101, …

A space is the 33rd of these 68, so it is Ġ:

    text      │ ␣  │ é
    bytes     │ 20 │ C3  A9
    letters   │ Ġ  │ Ã   ©

**Why not take the longest token that fits?**  Training didn't.  With (b, c) before (a, b), "abc"
is a·bc, and the model has only seen that.

**Why can't you decode token by token?**  A token may end in the middle of a character.  Join
the bytes first, then read them as UTF-8.

**Worked by hand**: "lower" becomes low·er, and " é" is written Ġ Ã ©.

**Shapes**: a text becomes a list of ids, and back.  No function or method changes its
arguments.

**Steps.**

    byte_letters    5 min   68 characters without gaps
    read_files      5 min   which lines are no merges?
    merge_word     15 min   the formula's loop; pause here if you like
    ByteLevelBPE   30 min   encode, then decode; the iterable and the stream come last

Sources: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units",
section 3.2; Radford et al. 2019, "Language Models are Unsupervised Multitask Learners",
section 2.2, and its encoder.py.

From scratch: tokenizers, transformers and tiktoken may not be used.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path


def byte_letters() -> list[str]:
    """The character that stands for each byte, 0 to 255."""
    raise NotImplementedError


def read_files(vocabulary: Path, merges: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """GPT-2's two files, both UTF-8: JSON of token → id, and the merges, one a line, best first.

    - A line of merges has two tokens, in byte letters, with a space in between: a tuple.
    - A first line that begins with "#version" is no merge.  Later ones are.
    - An empty line is no merge.
    """
    raise NotImplementedError


def merge_word(parts: Sequence[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """What is left of `parts` after all merges, a new list.

    parts   the tokens of one word, in order, as a rule its byte letters; there may be thousands, or none
    ranks   the rank of each pair that can be merged, all different; they may have gaps

    - Follow the lesson's formula: the lowest rank among all neighbours, at every place from left to
      right, then look again.
    - Look up the neighbours of the word alone.  GPT-2 has 50,000 merges, so going through all of
      them for each word takes minutes.
    """
    raise NotImplementedError


class ByteLevelBPE:
    """A byte-level BPE tokenizer that splits text into words by GPT-2's rules."""

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        special: Mapping[str, int] | None = None,
    ) -> None:
        """Make a tokenizer.

        vocabulary   every token, written in byte letters, with its id; ids may have gaps
        merges       pairs of tokens in byte letters, best first, as training learned them: none
                     twice, and each after those that make its two tokens
        special      the special tokens as they stand in a text, with their ids; in any order,
                     and there may be none
        """
        raise NotImplementedError

    def encode(self, text: str) -> list[int]:
        """The ids of `text`.

        - Special tokens are found first, from left to right, at each place the longest that
          stands there.  They are never taken apart.
        - The text between two of them is encoded by itself.
        - The work for a word doesn't grow with the number of merges.
        - Words may have thousands of letters, and the list is the caller's own: changing
          it changes no later call.
        """
        raise NotImplementedError

    def encode_iterable(self, texts: Iterable[str]) -> Iterator[int]:
        """The ids of each of `texts` in turn, so that a file larger than memory can be encoded.

        - Ask for a text only when you have given out all ids of those before it.
        - Memory stays bounded however many texts and different words come.  If you remember
          words, remember at most 10,000.
        """
        raise NotImplementedError

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, special tokens included.

        Bytes that make no UTF-8 become U+FFFD, as with Python's errors="replace".
        Raises ValueError, naming the id, for one that no token has.
        """
        raise NotImplementedError

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of `ids` in pieces, which are never empty and join to `decode(ids)`.

        - After each id comes what is complete: bytes that may still become a character wait for
          the next id.
        - Ask for an id only when you have given out what came before.
        - Bytes that are left at the end become U+FFFD.
        - Bytes that can't become a character show at once or with the next id, as you like.

        Raises ValueError, naming the id, for one that no token has.
        """
        raise NotImplementedError
