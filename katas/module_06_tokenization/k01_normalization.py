"""Normalization, with offsets back into the text

**Before you start.**  You need Python's module unicodedata, no other kata.  Its category(c) is
"Mn" for an accent of its own and "P…" for punctuation; its normalize("NFD", c) takes é apart.
Is Unicode new to you?  Read Python's "Unicode HOWTO".

**The idea.**  A model that sees one word in two spellings learns everything twice.  Unicode has
many: é is one character, or an e and a combining accent.  Normalization gives them one form:

    NFC     composes                       e + accent → é
    NFKC    composes, folds look-alikes    ﬁ → fi    Ａ → A    ² → 2
    BERT    drops control characters, sets each CJK ideograph apart,
            drops accents and capitals in "uncased" models

**The formula.**  A user asks where the answer stands in *their* text.  So each character of the
result carries a span (start, end): it comes from text[start:end].  Here É is two characters:

    position             0     1       2     3
    your text            E     accent  l     .
    compose              └─ É ──────┘  l     .     spans (0, 2) (2, 3) (3, 4)
    bert_normalize       e     dropped l     .     spans (0, 1) (2, 3) (3, 4)
    bert_words           └─ el ────────┘     .     spans (0, 3) (3, 4)

Two steps in a row make two lists of spans; `chain` joins them.

**Why not search for the word afterwards?**  It may occur twice, or not at all, like "el" above.

**Why clusters?**  A mark combines with the character before it, so you can't compose characters
one by one.  Nothing combines across two clusters.

**Worked by hand**, the text of the drawing, its É written as "E\\u0301":

    compose "Él."   bert_normalize "el."   bert_words ("el", (0, 3)) (".", (3, 4))
    chain   first [(0, 2), (2, 3), (3, 4)], second [(0, 2), (2, 3)]  →  [(0, 3), (3, 4)]

**Shapes**: as many spans as the result has characters; all spans count characters, not bytes.
No function changes its arguments.

**Steps.**

    compose          12 min   where does a cluster begin?
    bert_normalize   12 min   as many spans as characters, whatever one becomes
    bert_words       12 min   what extends a word, what begins one
    chain             4 min   the end comes from the last character, not from the next

Sources: Unicode Standard Annex #15, "Unicode Normalization Forms"; Devlin et al. 2019, "BERT",
and the tokenizer of its code.

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
"""First and last code point of each block of ideographs, both of them in it.

They are those of the package tokenizers, which judges you.  In BERT's own code the last block
but one begins at 0x2B820.
"""


def compose(text: str, form: str) -> tuple[str, list[Span]]:
    """`text` in the normal form "NFC" or "NFKC", and the span in `text` of each of its characters.

    The text is cut into clusters, and each is normalized by itself.

    - A cluster is a character and those after it that continue it.
    - A character continues one if its own normal form, by `form`, begins with a mark (category
      "M…") or with a Korean vowel or final, U+1160 to U+11FF.
    - The first character of the text always begins a cluster.
    - All that becomes of a cluster has the cluster's span.
    - The result is what unicodedata gives for the whole text, of any length.

    Raises ValueError, naming the form, for any other form.
    """
    raise NotImplementedError


def bert_normalize(
    text: str, strip_accents: bool = True, lowercase: bool = True
) -> tuple[str, list[Span]]:
    """`text` by BERT's rules, and the span in `text` of each of its characters.

    Each character of `text` is treated by itself, in this order.  All that becomes of character
    i has the span (i, i + 1).

    1. "\\t", "\\n", "\\r" and every character of category "Z…" become one space " ".
       U+FFFD and every other character of category Cc, Cf or Co is dropped.
    2. An ideograph, one within `CJK`, gets a space before and one after it.
    3. With `strip_accents` it is decomposed (NFD), and all of category Mn is dropped.
    4. With `lowercase` it is lowered, alone: Σ is always σ, never the ς of a word's end.
    """
    raise NotImplementedError


def bert_words(
    text: str, strip_accents: bool = True, lowercase: bool = True
) -> list[tuple[str, Span]]:
    """The words of `text` after `bert_normalize`, each with its span in `text`.

    - Spaces separate words and belong to none.
    - Each punctuation character is a word.  Punctuation is category "P…", and all of ASCII that
      is no letter, digit, space or control character ($ + < = > ^ ` | ~ too).
    - What counts is the character after normalization.
    - A span runs from the start of the word's first character to the end of its last.  What was
      dropped in between is within it; what was dropped around it isn't.
    """
    raise NotImplementedError


def chain(first: list[Span], second: list[Span]) -> list[Span]:
    """Spans in the original text, for two steps in a row.

    first    for each character of the middle text its span in the original
    second   spans in the middle text, none of them empty

    Each span of `second` becomes the span from the start of its first character to the end of
    its last.  The original may have gaps: characters that no span of `first` covers.
    """
    raise NotImplementedError
