"""Byte-pair merges, learned fast

The naive way counts every pair of every word anew for each merge.  But a merge
touches few words: only those in which its pair stands, and there only the tokens
next to it.  All other counts stay what they were.  So keep them:

    counted once   how often each pair occurs, and in which words
    per merge      take the best pair; rewrite its words; change the counts by what
                   came and what went

**What changes in a word.**  Worked by hand: merging (a, n) into N turns b·a·n·a·n·a
into b·N·N·a, and

    went   (b, a) 1    (a, n) 2    (n, a) 2
    came   (b, N) 1    (N, N) 1    (N, a) 1

Mind two merges side by side: between them stood (n, a), and now (N, N) does.
Times the word's count, this is what the counts of all words change by.

**Lazy deletion.**  A heap gives the largest entry at once, but an entry in its
middle can't be changed.  So don't: push a new one with the new count, and leave the
old one in.  When an entry comes to the top whose count isn't the pair's any more, it
is outdated: drop it and look at the next.  Each entry is pushed and dropped once, at
O(log n).

A merge costs then what its words cost, not what the corpus does.  For a thousand
merges of a megabyte that is a second in place of a minute.

Tokens are ids here, which are compared and hashed faster than bytes: a byte's is its
value, the merged ones have 256, 257, … in the order they are learned.  Ties between
equally frequent pairs go to the smallest pair of ids, (2, 9) before (3, 1): that
is how tuples compare.

No function changes its arguments.

Source: Sennrich, Haddow & Birch 2016, "Neural Machine Translation of Rare Words with
Subword Units", section 3.2; its subword-nmt keeps the counts like this.

From scratch: tokenizers, transformers and sentencepiece may not be used.
"""

from collections.abc import Mapping

Pair = tuple[int, int]


def merge_word(word: list[int], pair: Pair, new: int) -> tuple[list[int], dict[Pair, int]]:
    """`word` with `pair` merged into the id `new`, from the left; and how its counts of pairs change.

    Every place of a pair counts, overlapping ones too: 7·7·7 has (7, 7) twice.
    The changes are a dict, in any order, of each pair that now stands at more or fewer
    places of the word than before; none of them is 0.  `new` isn't in `word`.
    """
    raise NotImplementedError


class MergeQueue:
    """Pairs with their counts, the best at hand; all counts are 0 at first."""

    def __init__(self) -> None:
        """Make an empty queue."""
        raise NotImplementedError

    def add(self, pair: Pair, change: int) -> None:
        """Change the count of `pair` by `change`, which may be negative; no count falls below 0."""
        raise NotImplementedError

    def best(self) -> tuple[Pair, int] | None:
        """The pair with the largest count, the smallest of them in a tie, and its count.

        It stays in the queue.  None if no count is above 0.
        Over all calls together O(log n) for each `add`: it may not look at all pairs.
        """
        raise NotImplementedError


def train_bpe(counts: Mapping[bytes, int], merges: int, min_count: int = 2) -> list[tuple[bytes, bytes]]:
    """The first `merges` merges, each as its two tokens' bytes, in the order they are learned.

    Each merges the pair that then occurs most often in the words, each word as often
    as `counts` says (at least once; the order of `counts` doesn't matter).
    A pair that occurs fewer than `min_count` times (1 or more) isn't merged: the list
    ends there, and also where no pair is left.
    The work of a merge may not grow with the words in which its pair doesn't stand.
    """
    raise NotImplementedError
