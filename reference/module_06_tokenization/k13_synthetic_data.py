"""Synthetic data and mixtures: the reference."""

import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product


def delete_words(text: str, rate: float, seed: int) -> str:
    draw = random.Random(seed)
    words = text.split()
    kept = [word for word in words if draw.random() >= rate]
    if words and not kept:
        kept = [draw.choice(words)]
    return " ".join(kept)


def swap_words(text: str, swaps: int, seed: int) -> str:
    draw = random.Random(seed)
    words = text.split()
    if len(words) > 1:
        for _ in range(swaps):
            i, j = draw.sample(range(len(words)), 2)
            words[i], words[j] = words[j], words[i]
    return " ".join(words)


def replace_words(
    text: str, synonyms: Mapping[str, Sequence[str]], rate: float, seed: int
) -> str:
    draw = random.Random(seed)

    def replaced(word: str) -> str:
        known = synonyms.get(word.lower())
        if known is None or draw.random() >= rate:
            return word
        other = draw.choice(known)
        return other[:1].upper() + other[1:] if word[0].isupper() else other

    return " ".join(map(replaced, text.split()))


def fill_templates(templates: Sequence[str], slots: Mapping[str, Sequence[str]]) -> list[str]:
    filled = []
    for template in templates:
        # Split at the slots: every second part is a name.  Nothing is looked for in the values, so
        # braces in them stay.
        parts = re.split(r"\{(\w+)\}", template)
        names = dict.fromkeys(parts[1::2])
        for name in names:
            if name not in slots:
                raise ValueError(f"the template {template!r} has a slot {name!r} without values")
        for values in product(*(slots[name] for name in names)):
            value = dict(zip(names, values, strict=True))
            filled.append("".join(value[part] if i % 2 else part for i, part in enumerate(parts)))
    return filled


def difficulty(text: str, counts: Mapping[str, int]) -> float:
    words = text.lower().split()
    if not words:
        return 0.0
    total = sum(counts.values()) + len(counts) + 1
    # fsum rounds once, at the end: the same words in another order give the very same sum.
    return math.fsum(-math.log2((counts.get(word, 0) + 1) / total) for word in words) / len(words)


def curriculum(texts: Sequence[str]) -> list[int]:
    counts = Counter(word for text in texts for word in text.lower().split())
    # sorted is stable: of equals the earlier stays first.
    return sorted(range(len(texts)), key=lambda i: difficulty(texts[i], counts))


def mixture(sizes: Mapping[str, int], temperature: float) -> dict[str, float]:
    if not temperature > 0:
        raise ValueError(f"the temperature must be above 0, got {temperature}")
    for source, size in sizes.items():
        if size < 1:
            raise ValueError(f"source {source!r} must have at least 1 sample, got {size}")
    # In logarithms: n^(1/T) itself overflows where T is small.
    logs = {source: math.log(size) / temperature for source, size in sizes.items()}
    largest = max(logs.values())
    scaled = {source: math.exp(log - largest) for source, log in logs.items()}
    total = sum(scaled.values())
    return {source: value / total for source, value in scaled.items()}


def epochs(sizes: Mapping[str, int], weights: Mapping[str, float], budget: int) -> dict[str, float]:
    return {source: budget * weights[source] / size for source, size in sizes.items()}


def sample_mixture(
    sources: Mapping[str, Sequence], weights: Mapping[str, float], seed: int
) -> Iterator[tuple[str, object]]:
    draw = random.Random(seed)
    names = list(weights)
    left: dict[str, list] = {name: [] for name in names}  # of the round that each source is in
    while True:
        (name,) = draw.choices(names, [weights[name] for name in names])
        if not left[name]:
            # A new order each round, in a list of its own: the caller's sequence stays as it is.
            left[name] = draw.sample(sources[name], len(sources[name]))
        yield name, left[name].pop()
