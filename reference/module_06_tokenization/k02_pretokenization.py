"""Pre-tokenization: the reference."""

from collections import Counter
from collections.abc import Callable, Iterable

import regex

# The order of the alternatives is the order of the rules: the first that matches wins.
# (?!\S) makes a run of white space give its last one back where a word follows.
GPT2 = regex.compile(r"'(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
CL100K = (
    r"(?i:'(?:[stmd]|re|ve|ll))|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,DIGITS}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split_gpt2(text: str) -> list[str]:
    return GPT2.findall(text)


def split_cl100k(text: str, digits: int = 3) -> list[str]:
    if digits < 1:
        raise ValueError(f"digits must be at least 1, got {digits}")
    return regex.findall(CL100K.replace("DIGITS", str(digits)), text)


def word_counts(
    texts: Iterable[str], split: Callable[[str], list[str]] = split_gpt2
) -> dict[bytes, int]:
    return Counter(word.encode() for text in texts for word in split(text))
