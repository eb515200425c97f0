"""Judging a tokenizer: the reference."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

Encode = Callable[[str], Sequence[int]]


def _tokens(texts: Sequence[str], encode: Encode) -> int:
    return sum(len(encode(text)) for text in texts)


def fertility(texts: Sequence[str], encode: Encode) -> float:
    words = sum(len(text.split()) for text in texts)
    if not words:
        raise ValueError(f"there are no words in the {len(texts)} texts")
    return _tokens(texts, encode) / words


def bytes_per_token(texts: Sequence[str], encode: Encode) -> float:
    return sum(len(text.encode()) for text in texts) / _tokens(texts, encode)


def unknown_rate(texts: Sequence[str], encode: Encode, unknown: int) -> float:
    ids = [token for text in texts for token in encode(text)]
    return sum(token == unknown for token in ids) / len(ids)


def renyi_efficiency(counts: Sequence[int], alpha: float) -> float:
    size = len(counts)
    if size < 2:
        raise ValueError(f"the efficiency of a vocabulary needs at least 2 tokens, got {size}")
    total = sum(counts)
    shares = [count / total for count in counts if count]  # 0 log 0 is 0, and 0⁰ counts as 0
    if abs(alpha - 1) < 1e-7:
        # Nearer to 1, rounding the sum by 1e-16 costs more digits than taking the limit does.
        entropy = -sum(p * math.log(p) for p in shares)
    else:
        # The largest share is taken out, as for a large α every p^α vanishes.
        top = max(shares)
        entropy = (alpha * math.log(top) + math.log(sum((p / top) ** alpha for p in shares))) / (1 - alpha)
    return entropy / math.log(size)


def premiums(parallel: Mapping[str, Sequence[str]], encode: Encode, base: str) -> dict[str, float]:
    for language, texts in parallel.items():
        if len(texts) != len(parallel[base]):
            raise ValueError(f"{language} has {len(texts)} texts, but {base} has {len(parallel[base])}")
    cost = _tokens(parallel[base], encode)
    return {language: _tokens(texts, encode) / cost for language, texts in parallel.items()}


def vocabulary_sweep(
    texts: Sequence[str],
    merges: Sequence[tuple[bytes, bytes]],
    sizes: Sequence[int],
    encode: Callable[[str, Sequence[tuple[bytes, bytes]]], Sequence[int]],
) -> dict[int, float]:
    largest = 256 + len(merges)
    for size in sizes:
        if not 256 <= size <= largest:
            raise ValueError(f"a vocabulary has from 256 to {largest} tokens here, got {size}")
    # n is bound by its default: a lambda looks up its free variables only when it is called.
    return {size: bytes_per_token(texts, lambda text, n=size - 256: encode(text, merges[:n])) for size in sizes}


def split_patterns(strings: Sequence[str], tokenize: Callable[[str], Sequence[str]]) -> Counter:
    return Counter(tuple(len(piece) for piece in tokenize(string)) for string in strings)


def white_space_share(text: str, tokenize: Callable[[str], Sequence[str]]) -> float:
    pieces = tokenize(text)
    return sum(piece.isspace() for piece in pieces) / len(pieces) if pieces else 0.0
