"""Judging a tokenizer

A tokenizer is chosen once and paid for at every step: more tokens for the same
text cost time, money and context.  A handful of numbers tells most of it.

    fertility        tokens a word; 1 would be a word list, 5 hardly more than letters
    compression      UTF-8 bytes a token; comparable over languages and vocabularies
    unknown rate     the share of tokens that stand for "I don't know this"
    premium          tokens for the same content in one language over another

**Rényi efficiency.**  A vocabulary is used well if no token is so common that it
tells little, nor so rare that it is never learned.  With pᵢ the share of token i
and V the size of the vocabulary,

    H_α = log(Σ pᵢ^α) / (1 - α)         E_α = H_α / log V

H₁, the limit, is Shannon's entropy -Σ pᵢ log pᵢ.  α above 1 weighs what is common;
at α = 2.5 E goes along with translation quality.  E is 1 if all V tokens are
equally common.

**The vocabulary sweep.**  Merges of BPE are learned in order, so that the first n
of them are a smaller tokenizer.  Each doubling of the vocabulary buys less
compression, and its embeddings cost the same again.

**Pathologies.**  Cut by habit, 1234 may be [12|34] and 1235 [1|235]: the same digit
stands at another place of another token, and a model that should add has to
learn each by heart.  Code spends its tokens on indentation.

Worked by hand, counts [2, 1, 1, 0] of V = 4 tokens:

    H₁ = ½ log 2 + 2 · ¼ log 4 = 1.0397          E₁ = 1.0397 / log 4 = 0.75
    H₂ = -log(¼ + ⅟₁₆ + ⅟₁₆) = -log ⅜ = 0.9808    E₂ = 0.7075

No function changes its arguments.

Sources: Rust et al. 2021, "How Good is Your Tokenizer?", section 4 (fertility);
Zouhar et al. 2023, "Tokenization and the Noiseless Channel", section 3; Petrov et
al. 2023, "Language Model Tokenizers Introduce Unfairness Between Languages".

From scratch: tokenizers and scipy may not be used.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

Encode = Callable[[str], Sequence[int]]
"""From a text to its token ids."""


def fertility(texts: Sequence[str], encode: Encode) -> float:
    """Tokens over words of all texts together; words are what white space separates.

    Raises ValueError, saying that there are no words, where there are none.
    """
    raise NotImplementedError


def bytes_per_token(texts: Sequence[str], encode: Encode) -> float:
    """UTF-8 bytes over tokens, of all texts together."""
    raise NotImplementedError


def unknown_rate(texts: Sequence[str], encode: Encode, unknown: int) -> float:
    """The share of all texts' tokens that have the id `unknown`."""
    raise NotImplementedError


def renyi_efficiency(counts: Sequence[int], alpha: float) -> float:
    """E_α of how often each token of a vocabulary occurs, those that never do included.

    V is len(counts).  Exact at `alpha` = 1, and at 0, where p⁰ is 1 for a token that
    occurs and 0 for one that doesn't.
    Raises ValueError, naming V, if that is below 2.
    """
    raise NotImplementedError


def premiums(parallel: Mapping[str, Sequence[str]], encode: Encode, base: str) -> dict[str, float]:
    """For each language the tokens of all of its texts over those of the language `base`.

    The i-th texts of all languages say the same.
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
    """Bytes per token for vocabularies of each of `sizes`: 256 bytes, and as many of the first merges as fit.

    `encode(text, merges)` encodes by the merges that it is given.
    Raises ValueError, naming the size and the limits, for one below 256 or above 256 + len(merges).
    """
    raise NotImplementedError


def split_patterns(strings: Sequence[str], tokenize: Callable[[str], Sequence[str]]) -> Counter:
    """How often each way to cut a string occurs: a tuple of the lengths, in characters, of its pieces.

    `tokenize` gives the pieces of a string, which join to the string.  Numbers of the
    same length that are cut in many ways are a pathology.
    """
    raise NotImplementedError


def white_space_share(text: str, tokenize: Callable[[str], Sequence[str]]) -> float:
    """The share of a text's tokens that are nothing but white space; 0.0 for a text without tokens."""
    raise NotImplementedError
