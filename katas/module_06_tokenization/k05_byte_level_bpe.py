"""Byte-level BPE

The tokenizer of GPT-2, and with other merges that of most models since.  It starts
from the 256 bytes, so that no text is unknown to it, and puts them together by a
list of merges that was learned in order, best first.

**Encoding by rank.**  Training did merge 0 wherever it could, then merge 1, and so
on.  A word is encoded the same way: of all neighbours that are in the list, take
those with the lowest rank, merge them at every place from left to right, and look
again, until no neighbours are in the list.  Taking the longest token that fits gives
something else.

**A letter for each byte.**  Vocabularies are written as JSON, where bytes such as 0 or
a space can't be seen.  So each byte has a printable character: itself for ! … ~,
¡ … ¬ and ® … ÿ (188 of them), and for the other 68, in order, the characters from
U+0100 on.  A space, the 33rd of these, is Ġ; a line break is Ċ.

**Decoding** puts bytes together again and reads them as UTF-8.  A token may end in the
middle of a character: bytes that make no character become �, and whoever shows a
text while it is being written waits until a character is complete.

**Special tokens** such as <|endoftext|> are looked for first, and never taken apart.

Worked by hand, merges (l, o), (lo, w), (e, r), text "lower":

    l o w e r  →  lo w e r  →  low e r  →  low er

é is the bytes C3 A9, letters Ã and ©: the word " é" is written Ġ Ã ©.

No function or method changes its arguments.

Sources: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword
Units", section 3.2; Radford et al. 2019, "Language Models are Unsupervised Multitask
Learners", section 2.2.

From scratch: tokenizers, transformers and tiktoken may not be used.
Builds on k02_pretokenization, whose split_gpt2 you may import.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path


def byte_letters() -> list[str]:
    """The character that stands for each byte, 0 to 255."""
    raise NotImplementedError


def read_files(vocabulary: Path, merges: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """GPT-2's two files, both UTF-8: JSON of token → id, and the merges, one a line, the best first.

    A line of merges has two tokens with a space in between: a tuple.  A first line that begins
    with "#version" is no merge, and neither is an empty line.
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
        """`vocabulary` has every token, written in byte letters, with its id; `special` the special ones as they are."""
        raise NotImplementedError

    def encode(self, text: str) -> list[int]:
        """The ids of `text`.

        Special tokens are found first, from left to right, at each place the longest
        that stands there.  The text between two of them is encoded by itself.
        """
        raise NotImplementedError

    def encode_iterable(self, texts: Iterable[str]) -> Iterator[int]:
        """The ids of each of `texts` in turn; a text is asked for when those before it have been given out.

        So that a file larger than the memory can be encoded line by line.
        """
        raise NotImplementedError

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, special tokens included.

        Bytes that make no UTF-8 become U+FFFD, as Python's errors="replace" does it.
        Raises ValueError, naming the id, for one that no token has.
        """
        raise NotImplementedError

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of `ids` in pieces, which are never empty and join to `decode(ids)`.

        After each id comes what is complete: bytes that may still become a character
        wait for the next id.  An id is asked for when what came before has been given out.
        """
        raise NotImplementedError
