"""Normalization, with offsets back into the text: the reference."""

import string
import unicodedata
from itertools import pairwise

Span = tuple[int, int]

CJK = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


def compose(text: str, form: str) -> tuple[str, list[Span]]:
    if form not in ("NFC", "NFKC"):
        raise ValueError(f"form must be NFC or NFKC, got {form}")

    def continues(c: str) -> bool:
        # Nothing composes across two clusters, so each can be normalized by itself.  The normal
        # form is asked, as NFKC makes marks of some letters: the halfwidth voicing mark is one.
        first = unicodedata.normalize(form, c)[0]
        return unicodedata.category(first).startswith("M") or "\u1160" <= first <= "\u11ff"

    starts = [i for i, c in enumerate(text) if i == 0 or not continues(c)]
    result, spans = "", []
    for span in pairwise([*starts, len(text)]):
        cluster = unicodedata.normalize(form, text[slice(*span)])
        result += cluster
        spans += [span] * len(cluster)
    return result, spans


def bert_normalize(
    text: str, strip_accents: bool = True, lowercase: bool = True
) -> tuple[str, list[Span]]:
    result, spans = "", []
    for i, c in enumerate(text):
        new = _clean(c)
        if any(low <= ord(c) <= high for low, high in CJK):
            new = f" {new} "
        if strip_accents:
            new = "".join(d for d in unicodedata.normalize("NFD", new) if unicodedata.category(d) != "Mn")
        if lowercase:
            new = new.lower()  # one character at a time, so that no Σ stands at the end of a word
        result += new
        spans += [(i, i + 1)] * len(new)
    return result, spans


def _clean(c: str) -> str:
    category = unicodedata.category(c)
    if c in "\t\n\r" or category.startswith("Z"):
        return " "
    return "" if c == "\ufffd" or category in ("Cc", "Cf", "Co") else c


def bert_words(
    text: str, strip_accents: bool = True, lowercase: bool = True
) -> list[tuple[str, Span]]:
    words: list[tuple[str, Span]] = []
    inside = False  # whether a word is open, which the next letter extends
    for c, (start, end) in zip(*bert_normalize(text, strip_accents, lowercase), strict=True):
        punctuation = c in string.punctuation or unicodedata.category(c).startswith("P")
        if inside and c != " " and not punctuation:
            word, (first, _) = words[-1]
            words[-1] = (word + c, (first, end))
        elif c != " ":
            words.append((c, (start, end)))
        inside = c != " " and not punctuation
    return words


def chain(first: list[Span], second: list[Span]) -> list[Span]:
    # The end is that of the last character itself: what comes next may begin only after a gap.
    return [(first[start][0], first[end - 1][1]) for start, end in second]
