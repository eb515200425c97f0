"""WordPiece

**Before you start.**  You need spans as in normalization, and bpe_training's counting.
Normalize with your own (until it is green, the import gives finished functions):

    from .k01_normalization import bert_normalize, bert_words

bert_normalize(text) gives the text and a span (start, end) for each of its characters,
bert_words(text) a list of (word, span).

For a picture first, read "WordPiece tokenization" in Hugging Face's LLM course.

**The idea.**  To run BERT, you must cut text as its training did, into pieces of a vocabulary.
Those that go on inside a word begin with ##.  At each place take the longest that fits:

    u   n   a   f   f   a   b   l   e
    ├──────────────────────────────▶      unaffable, unaffabl, … : none is there
    └─un─┘                                the longest that fits
            ├──────────────────────▶      ##affable, ##affabl, … : none is there
            └─##aff─┘
                        └──##able────┘

If nothing fits at some place, the whole word becomes [UNK]: half a word misleads more than none.

**The formula** is about training.  Begin with single characters, and keep joining the two
neighbours with the highest score:

    score(a, b) = count(ab) / (count(a) · count(b))

count(ab) is how often b stands right after a, count(a) how often piece a occurs.  Count the
words in their present pieces, each as often as it occurs.

**Why this score?**  BPE joins what is most frequent, WordPiece what is seldom apart.  This score is
the usual reading of the paper; Google's training code isn't public.

**Worked by hand**, words hug 10, pug 5, pun 12, bun 4, hugs 5:

    pieces h ##u ##g …   counts  h 15  p 17  b 4  ##u 36  ##g 20  ##n 16  ##s 5
    ##g ##s   5 / (20 · 5) = 0.05
    h ##u    15 / (15 · 36) = 0.028
    so ##gs comes first

**Shapes**: a word becomes a list of pieces, or None; a text becomes ids and as many spans.
No function or method changes its arguments.

**Steps.**

    split_word        8 min   try the ends from the back; None is for the whole word
    WordPiece        20 min   bert_words has no spans of single characters
    train_wordpiece  15 min   counts by piece and by pair; exact scores, so that ties are ties

Sources: Schuster and Nakajima 2012, "Japanese and Korean Voice Search", section 3; Devlin et al.
2019, "BERT", section 3, and its code; Hugging Face's LLM course, chapter 6, for the score.

From scratch: tokenizers and transformers may not be used.
"""

from collections.abc import Mapping


def split_word(word: str, vocabulary: Mapping[str, int], longest: int = 100) -> list[str] | None:
    """The pieces of a word, at each place the longest of `vocabulary` that fits.

    - The first piece is looked for as it stands, later ones with ## before them.
    - None if at some place no piece fits.
    - None for a word of more than `longest` characters, too.  `longest` may be above 1000, more
      than Python's recursion allows.
    - A word isn't empty.  A piece's id may be 0.
    """
    raise NotImplementedError


class WordPiece:
    """An uncased BERT tokenizer: `bert_words`, then `split_word`."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        """`vocabulary` has the id of each piece, [UNK], [CLS] and [SEP] among them."""
        raise NotImplementedError

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of [CLS], the text's pieces and [SEP], and the span in `text` of each.

        - A piece's span runs from the start of its first character's own span to the end of its
          last one's, as `bert_normalize` gives them.
        - A word that can't be split, or has more than 100 characters, is one [UNK] with the
          word's span.
        - [CLS] and [SEP] have the span (0, 0).
        """
        raise NotImplementedError


def train_wordpiece(words: Mapping[str, int], size: int) -> list[str]:
    """A vocabulary of `size` pieces, learned from words and how often each occurs.

    - First come the single characters, those that begin a word as they are, the others with ##,
      all in Python's order of strings.
    - Then come the joined pieces in the order in which they were learned.
    - Of neighbours with equal scores, those come first that are smaller as a pair of strings.
      Equal means exactly equal: n / a / b in floats rounds twice, so it parts equal scores.
    - A joined piece is the first one followed by the second without its ##.  A # of the text
      stays: a and ### join to a#.
    - Joining goes from left to right in each word.
    - It ends early when no word has two pieces left.
    - No word is empty; the order of `words` doesn't matter.

    Raises ValueError, naming both numbers, if `size` is less than the single characters.
    """
    raise NotImplementedError
