r"""Pre-tokenization: where a token may never cross

Byte-pair encoding merges whatever stands together often.  Left alone it makes
tokens like "dog." and "dog!" and "of the": punctuation and whole phrases eat up the
vocabulary.  So the text is first split into words by a fixed rule, and merges stay
within them.  The rule loses nothing: joining the words gives the text back, spaces
included, as a word carries the space before it.

At each place the rules are tried from the top; the first that matches cuts off as
much as it can.  L is a letter (category "L…"), N a number ("N…", so ² and Ⅷ too),
S white space, O anything else (marks too).

**GPT-2**

    's 't 're 've 'm 'll 'd   the ending of I've, she'll: small letters only, straight '
    ␣?L+                      letters, with a space before them if there is one
    ␣?N+                      numbers, likewise
    ␣?O+                      anything else, likewise
    S+ but for the last       white space before a word: its last one is left for the word
    S+                        white space: at the text's end all of it, before a word the last one

**cl100k** (GPT-4; Llama 3 is almost the same)

    's 't … 'd                in small letters and in capitals
    [not N, not \r \n]?L+     letters, with one character before them that may be a space, ( or _ …
    N{1,3}                    three digits at most, from the left, and never a space
    ␣?O+[\r\n]*               anything else, with the line breaks that follow
    S*[\r\n]+                 white space up to its last line break
    S+ but for the last, S+   as in GPT-2

Why three digits?  With N+ each frequent number becomes a token of its own, and 1234
may be one token where 1235 is two.  Groups of three leave at most 1110 of them.

Worked by hand:

    GPT-2     "I've 12345 dogs,  OK?"   I · 've · ␣12345 · ␣dogs · , · ␣ · ␣OK · ?
    cl100k    "I'VE 12345 dogs,  OK?"   I · 'VE · ␣ · 123 · 45 · ␣dogs · , · ␣ · ␣OK · ?

White space is Unicode's: category "Z…", "\t", "\n", "\v", "\f", "\r" and U+0085.
That is what \s is in the package `regex`, which also knows \p{L} and \p{N}; Python's
own str.isspace and re take U+001C to U+001F as well.  regex may be used; so may
unicodedata and your own loops.

No function changes its arguments.

Sources: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners",
section 2.2, and its encoder.py; OpenAI's tiktoken, the encoding cl100k_base.

From scratch: tokenizers, transformers and tiktoken may not be used.
"""

from collections.abc import Callable, Iterable


def split_gpt2(text: str) -> list[str]:
    """The words of `text` by GPT-2's rules, in order; none is empty, and they join to `text`."""
    raise NotImplementedError


def split_cl100k(text: str, digits: int = 3) -> list[str]:
    """The words of `text` by the rules of cl100k, in order; none is empty, and they join to `text`.

    A word has at most `digits` numbers (of category N) in place of the 3 above.
    What U+017F, the long ſ, is after ' isn't judged.
    Raises ValueError, naming `digits`, if that is below 1.
    """
    raise NotImplementedError


def word_counts(texts: Iterable[str], split: Callable[[str], list[str]] = split_gpt2) -> dict[bytes, int]:
    """How often each word, as its UTF-8 bytes, occurs in all `texts` together.

    A dict or a Counter, in any order.
    Each text is split for itself, so that no word crosses from one to the next.
    `texts` may be a generator.
    """
    raise NotImplementedError
