"""Judging a tokenizer

**Before you start.**  You need entropy and logarithms, no other kata: the tokenizer is given as a
function.  New to you?  Read MacKay, "Information Theory, Inference, and Learning Algorithms",
section 2.4.

**The idea.**  A tokenizer is chosen once and paid for at every step: more tokens for the same text
cost time, money and context.  A handful of numbers tells most of it:

    fertility        tokens a word: at 1 they are words, at 5 hardly more than letters
    compression      UTF-8 bytes a token
    unknown rate     the share of tokens that say "I don't know this"
    premium          tokens for the same content in one language over another
    Rényi efficiency how evenly the vocabulary is used

**The formula.**  With pᵢ the share of token i among all tokens, V the vocabulary's size and α ≥ 0:

    H_α = log(Σ pᵢ^α) / (1 - α)         H₁ = -Σ pᵢ log pᵢ, Shannon's entropy, the limit
    E_α = H_α / log V

For four tokens, with a bar for how often each occurs:

    ██    ██    ██    ██     all equally common    E is 1 at every α
    ████  ██    ██    –      counts 2, 1, 1, 0     E is 0.75 at α 1, 0.71 at α 2
    ████  –     –     –      only one is used      E is 0

**Why is even good?**  A token that is too common tells little.  One that is too rare is never
learned.

**Why not just a larger vocabulary?**  Each doubling buys less compression, and doubles the
embeddings.  The first n merges are a smaller tokenizer, so you can try many n.

**Why look at how numbers are cut?**  If 1234 is 12│34 and 1235 is 1│235, a model that has to add
learns each by heart.  Code has another trouble: tokens spent on indentation.

**Worked by hand**, counts [2, 1, 1, 0] of V = 4 tokens:

    H₁ = ½ log 2 + 2 · ¼ log 4 = 1.0397          E₁ = 1.0397 / log 4 = 0.75
    H₂ = -log(¼ + ⅟₁₆ + ⅟₁₆) = -log ⅜ = 0.9808    E₂ = 0.7075

**Shapes**: texts are a list; `encode` gives a text's ids, `tokenize` its pieces.  No function
changes its arguments.

**Steps.**

    fertility            4 min   one sum over another: of all texts, not the mean of each
    bytes_per_token      3 min   bytes, not characters
    unknown_rate         3 min   tokens, not texts
    renyi_efficiency    15 min   tokens that never occur; α at 1 and just beside it
    premiums             5 min   which one is divided by which?
    vocabulary_sweep     6 min   256 bytes are part of the size
    split_patterns       3 min   a tuple of lengths
    white_space_share    3 min   tokens, not characters

Sources: Rust et al. 2021, "How Good is Your Tokenizer?" (fertility); Zouhar et al. 2023,
"Tokenization and the Noiseless Channel" (Rényi); Petrov et al. 2023, "Language Model Tokenizers
Introduce Unfairness Between Languages" (premium).

From scratch: tokenizers and scipy may not be used.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

Encode = Callable[[str], Sequence[int]]
"""From a text to its token ids."""


def fertility(texts: Sequence[str], encode: Encode) -> float:
    """Tokens over words of all texts together; words are what any run of white space separates.

    Raises ValueError, saying "no words", where there are none.
    """
    raise NotImplementedError


def bytes_per_token(texts: Sequence[str], encode: Encode) -> float:
    """UTF-8 bytes over tokens, of all texts together; there is at least one token."""
    raise NotImplementedError


def unknown_rate(texts: Sequence[str], encode: Encode, unknown: int) -> float:
    """The share of all texts' tokens that have the id `unknown`; there is at least one token."""
    raise NotImplementedError


def renyi_efficiency(counts: Sequence[int], alpha: float) -> float:
    """E_α of the counts of all tokens of a vocabulary, zeros included.

    - V is len(counts); at least one token occurs.
    - At `alpha` = 0, p⁰ is 1 for a token that occurs and 0 for one that doesn't.
    - Right to 1e-6 for every `alpha` ≥ 0.  Just beside 1 the formula is 0/0 up to rounding, so take
      H₁ where alpha is within about 1e-7 of it, and only there.  For a large `alpha` every p^α is
      too small for a float, so take the largest p out of the sum first.

    Raises ValueError, naming V, if that is below 2.
    """
    raise NotImplementedError


def premiums(parallel: Mapping[str, Sequence[str]], encode: Encode, base: str) -> dict[str, float]:
    """For each language the tokens of all of its texts over those of the language `base`.

    The i-th texts of all languages say the same; `base` is one of them.

    Raises ValueError, naming the language and both numbers, for one with another
    number of texts than `base` has.
    """
    raise NotImplementedError


def vocabulary_sweep(
    texts: Sequence[str],
    merges: Sequence[tuple[bytes, bytes]],
    sizes: Sequence[int],
    encode: Callable[[str, Sequence[tuple[bytes, bytes]]], Sequence[int]],
) -> dict[int, float]:
    """Bytes per token for vocabularies of each of `sizes`.

    - A vocabulary has the 256 bytes, and as many of the first merges as fit.
    - `encode(text, merges)` encodes by the merges that it is given.
    - `sizes` come in any order.

    Raises ValueError, naming the size and the limits, for one below 256 or above 256 + len(merges).
    """
    raise NotImplementedError


def split_patterns(
    strings: Sequence[str], tokenize: Callable[[str], Sequence[str]]
) -> Counter:
    """How often each way to cut a string occurs.

    - A way is the tuple of the lengths, in characters, of the string's pieces.
    - `tokenize` gives the pieces of a string, which join to the string.
    """
    raise NotImplementedError


def white_space_share(text: str, tokenize: Callable[[str], Sequence[str]]) -> float:
    """The share of a text's tokens that are nothing but white space; 0.0 if it has no tokens."""
    raise NotImplementedError
