"""Learning byte-pair merges

**Before you start.**  You need dicts, tuples and bytes, no other kata.  For a picture first, read
"Byte-Pair Encoding tokenization" in Hugging Face's LLM course.

**The idea.**  A vocabulary of words is never complete.  One of bytes is, but it makes texts
long.  Byte-pair encoding lies between: frequent words become one token, rare ones a few.
Start with the 256 bytes and repeat:

    1. count each pair of neighbours as often as its word occurs
    2. take the most frequent pair (x, y); xy is a new token
    3. replace x y by xy in every word, and start over

The list of merges, in this order, is the tokenizer.  Here each line is a merge:

    merge    low ×5   lower ×2    newest ×6     widest ×3
    ───────┬────────┬───────────┬─────────────┬────────────
           │ l·o·w  │ l·o·w·e·r │ n·e·w·e·s·t │ w·i·d·e·s·t
    e·s    │        │           │ n·e·w·es·t  │ w·i·d·es·t
    es·t   │        │           │ n·e·w·est   │ w·i·d·est
    l·o    │ lo·w   │ lo·w·e·r  │             │
    lo·w   │ low    │ low·e·r   │             │
    e·w    │        │           │ n·ew·est    │

**The formula.**  For tokens x and y, over all words w:

    n(x, y) = Σ count(w) × (places in w where x stands right before y)
    next merge: the largest n(x, y); in a tie the smallest id(x), then the smallest id(y)
    id(byte b) = b,  and 256, 257, … for the merged tokens in the order they were learned

**Why do ties matter?**  They are many.  Break them differently, and you learn another tokenizer.
The rule is that of the package tokenizers.

**Why does a·a·a have (a, a) twice?**  Both places count.  But only one merge fits: merging runs
from the left and gives aa·a.

**Worked by hand**, the words of the drawing:

    e·s and s·t   9 times each; e is 101, s is 115:    e·s
    es·t          9                                    es·t
    l·o and o·w   7, and l < o:                        l·o
    lo·w          7                                    lo·w
    n·e, e·w and w·est   6, and e is the smallest:     e·w

**Shapes**: a word is the tuple of its tokens, each of type bytes; a pair is two tokens.  No
function changes its arguments.

**Steps.**

    pair_counts    5 min   a word's pairs count as often as the word occurs
    merge          8 min   from the left; then step past both tokens
    vocabulary     4 min   bytes first, merged tokens after them
    train_bpe     12 min   ties, and when to stop

Source: Sennrich, Haddow & Birch 2016, "Neural Machine Translation of Rare Words with Subword
Units", section 3.2.

From scratch: tokenizers, transformers and sentencepiece may not be used.
"""

from collections.abc import Mapping, Sequence

Word = tuple[bytes, ...]
Pair = tuple[bytes, bytes]


def pair_counts(words: Mapping[Word, int]) -> dict[Pair, int]:
    """How often each pair of neighbours occurs in `words`, which maps each word to its count.

    - Every place counts, overlapping ones too.
    - Pairs that don't occur aren't in it; words of no token or one have no pairs.
    - Returns a dict or a Counter, in any order.
    """
    raise NotImplementedError


def merge(word: Word, pair: Pair) -> Word:
    """`word` with the two tokens of `pair` made one wherever they are neighbours, from the left.

    - Only these two tokens count, not others that join to the same bytes.
    - A word without the pair comes back as it is; words may be long.
    """
    raise NotImplementedError


def vocabulary(merges: Sequence[Pair]) -> dict[bytes, int]:
    """The id of each token: of the 256 single bytes, and of what `merges` make.

    No two of the merges make the same token.
    """
    raise NotImplementedError


def train_bpe(counts: Mapping[bytes, int], merges: int, min_count: int = 2) -> list[Pair]:
    """The first `merges` merges, in the order they are learned.

    - `counts` says how often each word occurs, at least once; its order doesn't matter.
    - Merges stay within words.  Ties go by the ids, as in the lesson.
    - A pair that occurs fewer than `min_count` times (1 or more) isn't merged: the list ends
      there, and also where no pair is left.
    """
    raise NotImplementedError
