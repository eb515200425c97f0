"""Learning byte-pair merges

A vocabulary of words is never complete; one of bytes is, but makes texts long.
Byte-pair encoding lies between.  It starts with the 256 bytes, and again and again
makes one new token of the two neighbours that stand together most often:

    1. count each pair of neighbours, in every word, as often as the word occurs
    2. take the most frequent pair (x, y); xy is a new token
    3. replace x y by xy in every word, and start over

Frequent words become one token, rare ones a few, and no text is unknown.  The list
of merges, in this order, is the tokenizer.

**Ties** are many, and two programs that break them differently learn different
tokenizers.  Here, as in the package tokenizers, the pair with the smallest ids wins:
the smallest id of its first token, and among those the smallest of its second.
A byte's id is its value; the merged tokens have 256, 257, … in the order they were
learned.  So a merged token always comes after a byte, however its bytes compare.

**Overlaps.**  In a·a·a the pair (a, a) stands at two places, and counts twice,
although only one merge fits: merging runs from the left and gives aa·a.

Worked by hand, low ×5, lower ×2, newest ×6, widest ×3:

    e·s and s·t   9 times each; e is 101, s is 115:    e·s
    es·t          9                                    es·t
    l·o and o·w   7, and l < o:                        l·o
    lo·w          7                                    lo·w
    n·e, e·w and w·est   6, and e is the smallest:     e·w

This is the naive way: each merge counts everything anew, O(merges × bytes).

A word is the tuple of its tokens, each of type bytes.  No function changes its
arguments.

Source: Sennrich, Haddow & Birch 2016, "Neural Machine Translation of Rare Words with
Subword Units", section 3.2.

From scratch: tokenizers, transformers and sentencepiece may not be used.
"""

from collections.abc import Mapping, Sequence

Word = tuple[bytes, ...]
Pair = tuple[bytes, bytes]


def pair_counts(words: Mapping[Word, int]) -> dict[Pair, int]:
    """How often each pair of neighbours occurs in `words`, which maps each word to its count.

    Every place counts, overlapping ones too.  Pairs that don't occur aren't in it.
    A dict or a Counter, in any order.
    """
    raise NotImplementedError


def merge(word: Word, pair: Pair) -> Word:
    """`word` with the two tokens of `pair`, wherever they stand next to each other, made one; from the left.

    Only those two tokens count, not others that join to the same bytes.
    """
    raise NotImplementedError


def vocabulary(merges: Sequence[Pair]) -> dict[bytes, int]:
    """The id of each token: of the 256 single bytes, and of what `merges` make (no two of them the same)."""
    raise NotImplementedError


def train_bpe(counts: Mapping[bytes, int], merges: int, min_count: int = 2) -> list[Pair]:
    """The first `merges` merges, in the order they are learned.

    `counts` says how often each word occurs, at least once; its order doesn't matter.
    A pair that occurs fewer than `min_count` times (1 or more) isn't merged: the list
    ends there, and also where no pair is left.
    """
    raise NotImplementedError
