"""Synthetic data and mixtures

When there isn't enough text of one kind, more is made of what there is, and
what there is gets mixed in proportions of one's choice.

**Augmentation** changes a text in ways that keep its label: a word left out, two
words swapped, a word replaced by one that means the same.  Each change is drawn
from a seed, so that a data set can be made again.

**Templates** turn a table into instructions: "What is the capital of {country}?"
for every country.

**A curriculum** goes from easy to hard.  A cheap measure of difficulty is the
mean surprise of a text's words, in bits, under smoothed word counts (the words'
total N, V different ones):

    difficulty = mean over its words of -log₂ (count(w) + 1) / (N + V + 1)

**A mixture by temperature.**  Drawn in proportion to size, the largest source
drowns the others; drawn evenly, the smallest is repeated until it is known by
heart.  In between lies

    pᵢ = nᵢ^(1/T) / Σⱼ nⱼ^(1/T)

which is proportional at T = 1 and tends to even as T grows.  A budget of B
samples then goes through source i

    B · pᵢ / nᵢ       times (epochs)

and more than about 4 epochs of the same text teach little.

Worked by hand, sources of 900 and 100 samples, T = 2, B = 1000:

    p = [30, 10] / 40 = [0.75, 0.25]
    epochs = [750 / 900, 250 / 100] = [0.833, 2.5]

No function changes its arguments.

Sources: Wei and Zou 2019, "EDA: Easy Data Augmentation Techniques"; Conneau and
Lample 2019, "Cross-lingual Language Model Pretraining", section 3.1 (the
mixture); Muennighoff et al. 2023, "Scaling Data-Constrained Language Models".

From scratch: the standard library and numpy are enough; datasets may not be used.
"""

from collections.abc import Iterator, Mapping, Sequence


def delete_words(text: str, rate: float, seed: int) -> str:
    """`text` without each of its words with probability `rate`, independently.

    Words are what white space separates, and single spaces join those that stay,
    in their order.  If none would stay, one of them does, each equally likely.
    """
    raise NotImplementedError


def swap_words(text: str, swaps: int, seed: int) -> str:
    """`text` after `swaps` exchanges of two words at different random places, joined by single spaces.

    Each pair of places is equally likely, each time.  A text of fewer than two
    words has nothing to swap.
    """
    raise NotImplementedError


def replace_words(text: str, synonyms: Mapping[str, Sequence[str]], rate: float, seed: int) -> str:
    """`text` with each word that is a key of `synonyms` replaced with probability `rate`.

    What replaces it is one of its synonyms, each equally likely, chosen anew for
    each place.  Words are compared in lower case; where a word begins with a
    capital, so does what replaces it.  Single spaces join the words.
    """
    raise NotImplementedError


def fill_templates(templates: Sequence[str], slots: Mapping[str, Sequence[str]]) -> list[str]:
    """Every template with every combination of values of the slots that stand in it.

    A slot is its name in braces, {country}; one that stands twice gets the same
    value twice.  The templates come in their order; for each, the values of its
    first slot change slowest, and every value in its order.  A template without
    slots comes once.  Values are put in as they are, braces and all.

    Raises ValueError, naming the slot, for one that `slots` doesn't have.
    """
    raise NotImplementedError


def difficulty(text: str, counts: Mapping[str, int]) -> float:
    """The mean surprise of a text's words in bits, by the lesson's formula; 0.0 without words.

    Words are what white space separates, in lower case; `counts` has the count of
    each known word.
    """
    raise NotImplementedError


def curriculum(texts: Sequence[str]) -> list[int]:
    """The indices of `texts` from the easiest to the hardest, by word counts over all of them.

    Of two that are equally difficult, the earlier comes first.
    """
    raise NotImplementedError


def mixture(sizes: Mapping[str, int], temperature: float) -> dict[str, float]:
    """The probability of each source by its size and the temperature.

    Raises ValueError, naming the temperature, if that isn't above 0; and, naming
    the source, for one whose size is below 1.
    """
    raise NotImplementedError


def epochs(sizes: Mapping[str, int], weights: Mapping[str, float], budget: int) -> dict[str, float]:
    """How many times a run of `budget` samples goes through each source, on average."""
    raise NotImplementedError


def sample_mixture(
    sources: Mapping[str, Sequence], weights: Mapping[str, float], seed: int
) -> Iterator[tuple[str, object]]:
    """An endless stream of (source, sample): the source is drawn by `weights`, which sum to 1.

    Within a source the samples come in a random order, all of them once before
    any comes again, and each round in an order of its own.  A source of weight 0
    never comes, and may be empty.  The stream depends on `seed`.
    """
    raise NotImplementedError
