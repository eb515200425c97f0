"""Normalization, with offsets back into the text

One text can be written in many ways: é is one character, or an e and a combining
accent; ﬁ is one character or two; a line may end in \\r\\n.  A model that sees each
of them as something else learns everything twice.  Normalization makes them one.

**NFC and NFKC.**  Both compose: e + ◌́ becomes é.  NFKC also folds what only looks
different: ﬁ → fi, Ａ → A, ² → 2.  That helps a search, and costs a language model
what it can't get back: 2² and 22 are then the same.

**BERT's rules** go further: drop control characters, set every CJK ideograph apart
as a word of its own, and (in "uncased" models) drop accents and capitals.  Its
words are then what white space and punctuation separate.

**Offsets.**  Whoever asks where an answer stands wants a place in *their* text, not
in the normalized one.  So every character of the result carries a span (start, end):
it comes from text[start:end].  Two steps in a row make two lists of spans, which
can be chained into one.

Worked by hand, "Él.", its É written as E + ◌́ (4 characters in all):

    compose         "Él."     spans (0, 2) (2, 3) (3, 4)
    bert_normalize  "el."     spans (0, 1) (2, 3) (3, 4)      the accent at 1 is dropped
    bert_words      ("el", (0, 3))  (".", (3, 4))

Python's unicodedata knows the characters: category(c) is "Mn" for an accent that
stands on its own, "P…" for punctuation; normalize("NFD", c) takes é apart.

No function changes its arguments.

Sources: Unicode Standard Annex #15, "Unicode Normalization Forms"; Devlin et al.
2019, "BERT", and the tokenizer of its code.

From scratch: tokenizers and transformers may not be used.
"""

Span = tuple[int, int]
"""Where something stands in a text: its first character, and the one after its last."""

CJK = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""First and last code point of each block of ideographs, both of them in it."""


def compose(text: str, form: str) -> tuple[str, list[Span]]:
    """`text` in the normal form "NFC" or "NFKC", and the span in `text` of each of its characters.

    The text is cut into clusters, and each is normalized for itself; all that becomes
    of a cluster has the cluster's span.  A cluster is a character and those after it
    that continue it.  A character continues one if its own normal form, by `form`, begins
    with a mark, category "M…", or with a Korean vowel or final, U+1160 to U+11FF.
    The first of the text always begins one.
    The result is unicodedata's for the whole text.

    Raises ValueError, naming the form, for any other.
    """
    raise NotImplementedError


def bert_normalize(text: str, strip_accents: bool = True, lowercase: bool = True) -> tuple[str, list[Span]]:
    """`text` by BERT's rules, and the span in `text` of each of its characters.

    Each character of `text` is treated for itself, in this order; all that becomes of
    it has its span (i, i + 1):

    1. "\\t", "\\n", "\\r" and all of category "Z…" become one space " ";
       U+FFFD and what else is of category Cc, Cf or Co is dropped.
    2. An ideograph, one within `CJK`, gets a space before and one after it.
    3. With `strip_accents` it is decomposed (NFD), and what is of category Mn is dropped.
    4. With `lowercase` it is lowered for itself: Σ is always σ, never the ς of a word's end.
    """
    raise NotImplementedError


def bert_words(text: str, strip_accents: bool = True, lowercase: bool = True) -> list[tuple[str, Span]]:
    """The words of `text` after `bert_normalize`, each with its span in `text`.

    Spaces separate words and belong to none; each punctuation character is a word.
    Punctuation is category "P…" and all of ASCII that is no letter, digit, space or
    control character ($ + < = > ^ ` | ~ too), as it stands after normalization.
    A span runs from the start of the word's first character to the end of its last:
    what was dropped in between is within it, what was dropped around it isn't.
    """
    raise NotImplementedError


def chain(first: list[Span], second: list[Span]) -> list[Span]:
    """Spans in the original text, for two steps in a row.

    `first` has, for each character of the middle text, its span in the original;
    `second` has spans in the middle text, none of them empty.  Each of these becomes
    the span from the start of its first character to the end of its last.
    """
    raise NotImplementedError
