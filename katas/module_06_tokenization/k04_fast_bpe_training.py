"""Byte-pair merges, learned fast

**Before you start.**  You need the idea of bpe_training (nothing to import: tokens are ids here)
and heapq.  New to you?  Read its documentation, "Priority Queue Implementation Notes".

**The idea.**  Counting everything anew for each merge takes minutes on a megabyte.  But a merge
touches only the words in which its pair stands.  So count once, and remember each pair's words.
Then, for each merge, take the best pair, rewrite its words, and update the counts.

**The formula.**  P is the pair merged, n(p) the count of pair p, and change(p, w) the places of p
in word w after the merge minus those before:

    n(p) ← n(p) + Σ count(w) × change(p, w)      over the words w in which P stands

Merge (a, n) into N in b·a·n·a·n·a:

    before    b ── a ── n ── a ── n ── a
                   └─┬──┘    └─┬──┘
    after     b ──── N ─────── N ───── a
    went      (b, a)   (a, n)   (n, a)   (a, n)   (n, a)
    came      (b, N)            (N, N)            (N, a)

Mind two merges side by side: between them stood (n, a) once, and now (N, N) does.

**Why push and not change?**  You can't change an entry in the middle of a heap.  So push a new
one with the new count.  An entry is outdated if its count isn't the pair's any more; drop it when
it comes to the top:

    add((1, 2), 5)   add((3, 4), 4)   add((1, 2), −4)
    heap, best first  │ (1, 2) with 5 │  outdated, the count is 1 now: drop it
                      │ (3, 4) with 4 │  true: the best
                      │ (1, 2) with 1 │  true

Each entry is pushed once and dropped at most once, at O(log n) each.

**Worked by hand**, the word of the drawing as ids, (97, 110) merged into 256:

    [98, 97, 110, 97, 110, 97] → [98, 256, 256, 97]
    went   (98, 97) 1     (97, 110) 2     (110, 97) 2
    came   (98, 256) 1    (256, 256) 1    (256, 97) 1

**Shapes**: a word is a list of ids, a pair two ids.  A byte's id is its value; the merged
tokens have 256, 257, … in the order they are learned.  No function changes its arguments.

**Steps.**

    merge_word   20 min   two merges side by side, and 7·7·7
    MergeQueue   12 min   when is an entry outdated?
    train_bpe    30 min   the words of each pair, new pairs included

Source: Sennrich, Haddow & Birch 2016, "Neural Machine Translation of Rare Words with Subword
Units", section 3.2; its subword-nmt keeps the counts like this.

From scratch: tokenizers, transformers and sentencepiece may not be used.
"""

from collections.abc import Mapping

Pair = tuple[int, int]


def merge_word(word: list[int], pair: Pair, new: int) -> tuple[list[int], dict[Pair, int]]:
    """`word` with `pair` merged into the id `new`, from the left; and how its counts change.

    - Returns a new list, and a dict in any order.
    - The dict has each pair that now stands at more or fewer places of the word than before,
      with the difference; none of them is 0.
    - Every place of a pair counts, overlapping ones too: 7·7·7 has (7, 7) twice.
    - `new` isn't in `word`; words may be long.
    """
    raise NotImplementedError


class MergeQueue:
    """Pairs with their counts, the best at hand; all counts are 0 at first."""

    def __init__(self) -> None:
        """Make an empty queue."""
        raise NotImplementedError

    def add(self, pair: Pair, change: int) -> None:
        """Change the count of `pair` by `change`, which may be negative or 0.

        No count ever falls below 0.
        """
        raise NotImplementedError

    def best(self) -> tuple[Pair, int] | None:
        """The pair with the largest count, and its count; in a tie the smallest pair.

        - It stays in the queue.
        - None if no count is above 0.
        - All calls together cost O(log n) for each `add`: no call may look at all pairs.
        """
        raise NotImplementedError


def train_bpe(
    counts: Mapping[bytes, int], merges: int, min_count: int = 2
) -> list[tuple[bytes, bytes]]:
    """The first `merges` merges, each as its two tokens' bytes, in the order they are learned.

    - `counts` says how often each word occurs, at least once; its order doesn't matter.
    - Each merge takes the pair that then occurs most often, each word as often as it occurs; in
      a tie the smallest pair of ids: (2, 9) before (3, 1).
    - A pair that occurs fewer than `min_count` times (1 or more) isn't merged: the list ends
      there, and also where no pair is left.
    - The work of a merge doesn't grow with the words in which its pair doesn't stand.
    """
    raise NotImplementedError
