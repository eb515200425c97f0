"""WordPiece

BERT's tokenizer.  A vocabulary of pieces, of which those that go on inside a word
begin with ##, and a simple rule: at each place take the longest piece that fits.

    "unaffable"  →  un ##aff ##able

If at some place no piece fits, the whole word becomes [UNK]: not the rest of it, as
half a word misleads more than none.  So does a word of more than 100 characters.

Encoding a text puts [CLS] before it and [SEP] after it, and gives for each token the
span of the text it comes from; the special ones have (0, 0).

**Training** begins with single characters, and again and again joins the two
neighbours that make the words most likely.  A join of a and b raises the likelihood
by about count(ab) · log (count(ab) / (count(a) · count(b))), and WordPiece asks for
the ratio alone:

    score(a, b) = count(ab) / (count(a) · count(b))

BPE takes the most frequent neighbours; WordPiece those that are seldom apart.  All
counts are over the words in their present pieces, each as often as it occurs.

Worked by hand, words hug 10, pug 5, pun 12, bun 4, hugs 5:

    pieces h ##u ##g …   counts  h 15  p 17  b 4  ##u 36  ##g 20  ##n 16  ##s 5
    ##g ##s 5 / (20 · 5) = 0.05      h ##u 15 / (15 · 36) = 0.028     so ##gs comes first

No function or method changes its arguments.

Sources: Schuster and Nakajima 2012, "Japanese and Korean Voice Search", section 3;
Devlin et al. 2019, "BERT", section 3, and its code.

From scratch: tokenizers and transformers may not be used.
Builds on k01_normalization, whose bert_normalize and bert_words you may import.
"""

from collections.abc import Mapping


def split_word(word: str, vocabulary: Mapping[str, int], longest: int = 100) -> list[str] | None:
    """The pieces of a word, the longest first at each place, or None where there is no way.

    None too for a word of more than `longest` characters.
    """
    raise NotImplementedError


class WordPiece:
    """An uncased BERT tokenizer: `bert_words`, then `split_word`."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        """`vocabulary` has the id of each piece, [UNK], [CLS] and [SEP] among them."""
        raise NotImplementedError

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of [CLS], the text's pieces and [SEP], and the span in `text` of each.

        A piece's span runs from the start of its first character's own span to the
        end of its last one's, as `bert_normalize` gives them; [UNK] has that of its word.
        """
        raise NotImplementedError


def train_wordpiece(words: Mapping[str, int], size: int) -> list[str]:
    """A vocabulary of `size` pieces, learned from words and how often each occurs.

    First the single characters, those that begin a word as they are, the others with
    ##, in Python's order of strings; then the joined pieces in the order in which they
    were learned.  Of neighbours with equal scores those come first that are smaller as
    a pair of strings.  A joined piece is the first one followed by the second without
    its ##; joining goes from left to right.

    Ends early when no word has two pieces left.
    Raises ValueError, naming both numbers, if `size` is less than the single characters.
    """
    raise NotImplementedError
