r"""Pre-tokenization: where a token may never cross

**Before you start.**  You need regular expressions and their lookahead; no other kata.  The
package `regex` may be used: it knows \p{L} and \p{N}, and its \s is Unicode's white space.
New to you?  Read Python's "Regular Expression HOWTO".

**The idea.**  Byte-pair encoding merges whatever often stands together.  Left alone it fills the
vocabulary with "dog.", "dog!" and "of the".  So split the text into words first, and merge only
within them.  A word carries the space before it, so the words join to the text:

    text      I've␣12345␣dogs,␣␣OK?
    GPT-2     I│'ve│␣12345│␣dogs│,│␣│␣OK│?
    cl100k    I│'ve│␣│123│45│␣dogs│,│␣│␣OK│?

**The formula** is a list of rules.  At each place try them from the top; the first that
matches takes as much as it can.  L is a letter (category "L…"), N a number ("N…", ² and Ⅷ too),
S white space, O anything else (marks too), ␣ a plain space, ? "if there is one".

GPT-2:

    's 't 're 've 'm 'll 'd   small letters only, the straight ' only
    ␣?L+                      letters
    ␣?N+                      numbers
    ␣?O+                      anything else
    S+ less 1, before a word  white space; its last one is left for the word
    S+                        at the text's end all of it; before a word a single one

cl100k (GPT-4 and Llama 3):

    's 't … 'd                in small letters and capitals, mixed too
    [not N, not \r \n]?L+     letters, with one character before them: a space, ( or _ …
    N{1,3}                    three digits at most, from the left, and never a space
    ␣?O+[\r\n]*               anything else, with the line breaks that follow
    S*[\r\n]+                 white space up to its last line break
    S+ less 1, then S+        as in GPT-2

White space is category "Z…", "\t", "\n", "\v", "\f", "\r" and U+0085.  Python's str.isspace
and re also take U+001C to U+001F; these are O here.

**Why leave the last space?**  " dog" is then the same word after one space or after ten.

**Why three digits?**  With N+ the frequent 1234 may be one token, and 1235 two.

**Worked by hand**: GPT-2 as in the drawing, and cl100k with capitals:

    "I'VE 12345 dogs,  OK?"   I · 'VE · ␣ · 123 · 45 · ␣dogs · , · ␣ · ␣OK · ?

**Shapes**: a text becomes a list of texts, none of them empty.  No function changes its
arguments.

**Steps.**

    split_gpt2     12 min   one expression; the lookahead in the white space is the hard part
    split_cl100k    8 min   the same way, with a limit that is an argument
    word_counts     3 min   the words as bytes

Sources: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2),
section 2.2, and its encoder.py; OpenAI's tiktoken, cl100k_base as first published.

From scratch: tokenizers, transformers and tiktoken may not be used.
"""

from collections.abc import Callable, Iterable


def split_gpt2(text: str) -> list[str]:
    """The words of `text` by GPT-2's rules, in order.

    - No word is empty, and they join to `text`, whatever characters it has.
    - An empty text has no words.
    """
    raise NotImplementedError


def split_cl100k(text: str, digits: int = 3) -> list[str]:
    """The words of `text` by the rules of cl100k, in order.

    - No word is empty, and they join to `text`.
    - A word has at most `digits` numbers (of category N) in place of the 3 above.
    - U+017F, the long ſ, after ' isn't judged.

    Raises ValueError, naming the number given, if `digits` is below 1.
    """
    raise NotImplementedError


def word_counts(
    texts: Iterable[str], split: Callable[[str], list[str]] = split_gpt2
) -> dict[bytes, int]:
    """How often each word, as its UTF-8 bytes, occurs in all `texts` together.

    - Each text is split by itself, so no word crosses from one to the next.
    - `texts` may be a generator.
    - Returns a dict or a Counter, in any order.
    """
    raise NotImplementedError
