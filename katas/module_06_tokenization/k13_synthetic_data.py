"""Synthetic data and mixtures

**Before you start.**  You need Python's module random, and logarithms; no other kata.  Are seeds
new to you?  Read "Notes on Reproducibility" in its documentation.

**The idea.**  Text of one kind is often scarce.  So make more of it, and choose how to mix it.

- *Augmentation* changes a text but keeps its label: drop a word, swap two, take a synonym.
- *Templates* turn a table into instructions: "What is the capital of {country}?"
- *A curriculum* goes from easy to hard, by how surprising a text's words are.
- *A mixture by temperature T* lies between two bad ones.  In proportion to size, the largest
  source drowns the others; evenly, the smallest is learned by heart:

    T      web, 900 samples             books, 100 samples
    1      ██████████████████  .90      ██  .10
    2      ███████████████  .75         █████  .25
    5      ████████████  .61            ████████  .39

**The formula.**  A corpus has N words, V different ones.  Source i has nᵢ samples, and B samples
are drawn:

    difficulty = mean over a text's words of -log₂ (count(w) + 1) / (N + V + 1)
    pᵢ = nᵢ^(1/T) / Σⱼ nⱼ^(1/T)
    epochs of source i = B · pᵢ / nᵢ

**Why + 1?**  A word that was never counted would be infinitely surprising.  The V known words get
1 each and all unknown ones 1 together, so the probabilities sum to 1.

**Why count epochs?**  Up to about 4 epochs, repeated text teaches nearly as much as new text.

**Worked by hand**, sources of 900 and 100 samples, T = 2, B = 1000:

    p = [30, 10] / 40 = [0.75, 0.25]
    epochs = [750 / 900, 250 / 100] = [0.833, 2.5]

**Shapes**: sizes, weights and counts are dicts by name.  No function changes its arguments.

**Seeds.**  The same seed and arguments give the same result.  Python's and numpy's global
generators stay as they are: draw from your own random.Random(seed) alone.

**Steps.**

    delete_words      6 min   if none would stay, one does
    swap_words        5 min   two different places
    replace_words     8 min   capitals; a choice for each place
    fill_templates   12 min   values are put in as they are
    difficulty        5 min   words that were never counted
    curriculum        4 min   ties
    mixture           8 min   n^(1/T) overflows for a small T
    epochs            3 min   one line
    sample_mixture   10 min   rounds, each in an order of its own

Sources: Wei and Zou 2019, "EDA: Easy Data Augmentation Techniques"; Conneau and Lample 2019,
"Cross-lingual Language Model Pretraining", section 3.1 (mixture); Muennighoff et al. 2023,
"Scaling Data-Constrained Language Models".

From scratch: the standard library and numpy are enough; datasets may not be used.
"""

from collections.abc import Iterator, Mapping, Sequence


def delete_words(text: str, rate: float, seed: int) -> str:
    """`text` with each of its words dropped with probability `rate`, independently.

    - Words are what white space separates.  Single spaces join those that stay, in their order.
    - If none would stay, one of them does, each equally likely.
    """
    raise NotImplementedError


def swap_words(text: str, swaps: int, seed: int) -> str:
    """`text` after `swaps` exchanges of two words at different random places.

    - Each pair of places is equally likely, each time.
    - Single spaces join the words.  A text of fewer than two words has nothing to swap.
    """
    raise NotImplementedError


def replace_words(
    text: str, synonyms: Mapping[str, Sequence[str]], rate: float, seed: int
) -> str:
    """`text` with each word that is a key of `synonyms` replaced with probability `rate`.

    - Each of its synonyms is equally likely; draw anew for each place.
    - The keys are in lower case, and words are compared in lower case.
    - Where a word begins with a capital, its synonym gets one; else the synonym stays as it is.
    - Single spaces join the words.
    """
    raise NotImplementedError


def fill_templates(templates: Sequence[str], slots: Mapping[str, Sequence[str]]) -> list[str]:
    """Every template with every combination of values of the slots that stand in it.

    - A slot is its name in braces, {country}: letters, digits and underscores.  One that stands
      twice gets the same value twice.
    - The templates come in their order.  For each, the values of its first slot change slowest,
      each slot's values in their order.
    - A template without slots comes once; one with a slot of no values never.
    - Values are put in as they are, braces and all.

    Raises ValueError, naming the slot, for one that `slots` doesn't have.
    """
    raise NotImplementedError


def difficulty(text: str, counts: Mapping[str, int]) -> float:
    """The mean surprise of a text's words in bits, by the lesson's formula; 0.0 without words.

    Words are what white space separates, in lower case.  `counts` has the count of each known word:
    N is their sum, V their number.
    """
    raise NotImplementedError


def curriculum(texts: Sequence[str]) -> list[int]:
    """The indices of `texts` from the easiest to the hardest, by word counts over all of them.

    - Of two that are equally difficult, the earlier comes first.
    - Texts of the same words in another order are equally difficult.  Plain float sums may part
      them in the last digit: use math.fsum, or round the difficulty before you sort.
    """
    raise NotImplementedError


def mixture(sizes: Mapping[str, int], temperature: float) -> dict[str, float]:
    """The probability of each source by its size and the temperature.

    Nothing overflows, however low the temperature is.

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
    """An endless stream of (source, sample).

    - Each source is drawn by `weights`, which sum to 1, whatever was drawn before.
    - Within a source the samples come in a random order, all of them once before any comes again,
      and each round in an order of its own.
    - A source of weight 0 never comes, and may be empty.
    - `sources` may be any sequences; they stay as they are.
    - The stream depends on `seed` alone: not on the global generators, nor on other streams.
    """
    raise NotImplementedError
