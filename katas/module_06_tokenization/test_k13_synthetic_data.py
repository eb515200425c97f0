"""Judges k13_synthetic_data by the proportions that the lesson promises, and by properties."""

import math
import random
from collections import Counter
from itertools import combinations, islice

import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_06_tokenization.k13_synthetic_data import (
    curriculum,
    delete_words,
    difficulty,
    epochs,
    fill_templates,
    mixture,
    replace_words,
    sample_mixture,
    swap_words,
)

pytestmark = [from_scratch("datasets"), pure()]


def even(counts: Counter, expected: dict, what: str) -> None:
    """Chi-squared: fails where the counts are further from the expected ones than once in 10⁹ times."""
    from scipy.stats import chi2

    strange = set(counts) - set(expected)
    if strange:
        fail(f"{what}: {sorted(map(str, strange))[:3]} must never come.", evidence=(what, "never"))
    statistic = sum((counts[key] - n) ** 2 / n for key, n in expected.items())
    if statistic > chi2.isf(1e-9, len(expected) - 1):
        seen = {key: counts[key] for key in expected}
        # What another stream of random numbers shows, too: what never comes, or else how often the first does.
        missing = tuple(str(key) for key in expected if not counts[key])
        first = next(iter(expected))
        shown = missing or round(2 * counts[first] / expected[first]) / 2
        fail(f"{what}: came {seen} times, expected about {expected}.", evidence=(what, shown))


def generators() -> tuple:
    """The states of Python's and numpy's global generators."""
    import numpy as np

    return random.getstate(), np.random.get_state()[1].tolist()


def draws_of_its_own(draw) -> None:
    """`draw()` leaves the global generators as they are, and doesn't depend on them."""
    before = generators()
    first = draw()
    if generators() != before:
        fail("A global generator was drawn from or seeded: use random.Random(seed).", evidence=("global",))
    random.random()
    assert_equal(draw(), first)


class TestDeleteWords:
    @pytest.mark.parametrize("rate", [0.2, 0.7])
    def test_each_word_goes_with_the_rate(self, rate):
        words = [f"w{i}" for i in range(20)]
        runs = 400
        kept = Counter(word for seed in range(runs) for word in delete_words(" ".join(words), rate, seed).split())
        spread = 6 * (runs * rate * (1 - rate)) ** 0.5
        # Six standard deviations for each of the words.
        assert_close([kept[word] for word in words], [runs * (1 - rate)] * 20, atol=spread, rtol=0)

    def test_words_go_independently(self):
        # The number of words that stay has the binomial's spread, √(n r (1 - r)) = 3.2; a fixed number has none.
        counts = [len(delete_words("a " * 40, 0.5, seed).split()) for seed in range(400)]
        mean = sum(counts) / 400
        spread = (sum((n - mean) ** 2 for n in counts) / 399) ** 0.5
        assert_close(spread, 10**0.5, atol=6 * 10**0.5 / 800**0.5, rtol=0)  # six standard errors

    def test_those_that_stay_keep_their_order(self):
        words = [f"w{i:02}" for i in range(30)]
        left = delete_words(" \n".join(words), 0.5, 3)
        assert_equal(left, " ".join(sorted(left.split())))

    def test_no_rate_leaves_all_and_one_leaves_one(self):
        assert_equal(delete_words("to  be\nor not", 0.0, 1), "to be or not")
        even(Counter(delete_words("a b c d", 1.0, seed) for seed in range(2000)), dict.fromkeys("abcd", 500), "the word that stays")

    def test_the_seed_decides(self):
        text = " ".join(map(str, range(60)))
        assert_equal(delete_words(text, 0.5, 7), delete_words(text, 0.5, 7))
        if delete_words(text, 0.5, 7) == delete_words(text, 0.5, 8):
            fail("Seeds 7 and 8 leave the same words.", evidence=("delete", "seed"))

    def test_it_draws_from_a_generator_of_its_own(self):
        draws_of_its_own(lambda: delete_words("a b c d e f g h", 0.5, 3))

    def test_nothing_to_delete(self):
        assert_equal(delete_words(" \n", 0.5, 1), "")


class TestSwapWords:
    def test_one_swap_takes_any_two_places(self):
        expected = {}
        for i, j in combinations(range(4), 2):
            words = list("abcd")
            words[i], words[j] = words[j], words[i]
            expected[" ".join(words)] = 3000 / 6
        even(Counter(swap_words("a b c  d", 1, seed) for seed in range(3000)), expected, "the order after a swap")

    def test_two_swaps_one_after_the_other(self):
        # Of three words, any two swaps are an even permutation: none, or a rotation.
        even(Counter(swap_words("a b c", 2, seed) for seed in range(3000)), {"a b c": 1000, "b c a": 1000, "c a b": 1000}, "the order after two swaps")

    def test_few_words(self):
        assert_equal(swap_words("a\n b c", 0, 1), "a b c")
        assert_equal([swap_words("a b", n, 5) for n in (1, 2, 3)], ["b a", "a b", "b a"])
        assert_equal([swap_words("alone", 3, 1), swap_words(" ", 3, 1)], ["alone", ""])

    def test_the_seed_decides(self):
        text = " ".join(map(str, range(40)))
        assert_equal(swap_words(text, 30, 7), swap_words(text, 30, 7))
        if swap_words(text, 30, 7) == swap_words(text, 30, 8):
            fail("Seeds 7 and 8 give the same order.", evidence=("swap", "seed"))

    def test_it_draws_from_a_generator_of_its_own(self):
        draws_of_its_own(lambda: swap_words("a b c d e f g h", 3, 3))


class TestReplaceWords:
    SYNONYMS = {"big": ["large", "huge", "vast"], "dog": ["hound"]}

    def test_every_known_word_at_rate_1(self):
        assert_equal(replace_words("the dog  and\nthe dogs DOG", self.SYNONYMS, 1.0, 5), "the hound and the dogs Hound")

    def test_each_synonym_is_equally_likely(self):
        seen = Counter(replace_words("a big dog", self.SYNONYMS, 1.0, seed) for seed in range(1500))
        even(seen, {f"a {word} hound": 500 for word in ("large", "huge", "vast")}, "the synonym")

    @pytest.mark.parametrize("rate", [0.25, 0.8])
    def test_each_place_is_replaced_with_the_rate(self, rate):
        pairs = Counter(tuple(replace_words("dog big dog", {"dog": ["hound"]}, rate, seed).split()[::2]) for seed in range(2000))
        share = {"hound": rate, "dog": 1 - rate}
        even(pairs, {(a, b): 2000 * share[a] * share[b] for a in share for b in share}, "the two places")

    def test_each_place_has_a_synonym_of_its_own(self):
        pairs = Counter(replace_words("big big", self.SYNONYMS, 1.0, seed) for seed in range(1800))
        even(pairs, {f"{a} {b}": 200 for a in self.SYNONYMS["big"] for b in self.SYNONYMS["big"]}, "the two synonyms")

    def test_rate_0_and_words_without_synonyms(self):
        assert_equal(replace_words("Big dog", self.SYNONYMS, 0.0, 1), "Big dog")
        assert_equal(replace_words("x  y", {}, 1.0, 1), "x y")

    def test_a_capital_stays_a_capital(self):
        assert_equal(replace_words("Dog, Dog dOg", {"dog": ["old McHound"]}, 1.0, 1), "Dog, Old McHound old McHound")

    def test_the_seed_decides(self):
        text = "big " * 40
        assert_equal(replace_words(text, self.SYNONYMS, 0.5, 7), replace_words(text, self.SYNONYMS, 0.5, 7))
        if replace_words(text, self.SYNONYMS, 0.5, 7) == replace_words(text, self.SYNONYMS, 0.5, 8):
            fail("Seeds 7 and 8 replace the same words.", evidence=("replace", "seed"))

    def test_it_draws_from_a_generator_of_its_own(self):
        draws_of_its_own(lambda: replace_words("big dog " * 5, self.SYNONYMS, 0.5, 3))


class TestFillTemplates:
    def test_every_combination_in_order(self):
        slots = {"number": ["two", "three"], "thing": ["cats", "dogs", "eggs"], "unused": ["x"]}
        expected = [f"{n} {t}, {n}!" for n in ("two", "three") for t in ("cats", "dogs", "eggs")]
        assert_equal(fill_templates(["{number} {thing}, {number}!"], slots), expected)

    def test_the_first_slot_in_the_template_changes_slowest(self):
        slots = {"a": ["1", "2"], "b": ["x", "y"]}
        assert_equal(fill_templates(["{b}{a}", "plain", "-{a}"], slots), ["x1", "x2", "y1", "y2", "plain", "-1", "-2"])

    def test_values_are_put_in_as_they_are(self):
        slots = {"code": ["{b} {0} %s \\1"], "b": ["wrong"]}
        assert_equal(fill_templates(["{ {code} } {}"], slots), ["{ {b} {0} %s \\1 } {}"])
        assert_equal(fill_templates(["{a}{b}{a}"], {"a": ["{b}"], "b": ["{a}"]}), ["{b}{a}{b}"])

    def test_no_value_no_text(self):
        assert_equal(fill_templates(["{a} {b}", "c"], {"a": ["1"], "b": []}), ["c"])

    def test_a_slot_without_values_is_named(self):
        with raises(ValueError, "town"):
            fill_templates(["in {country}", "in {town}"], {"country": ["Peru"]})


class TestDifficulty:
    COUNTS = {"the": 7, "cat": 1, "sat": 2}  # N = 10, V = 3

    @pytest.mark.parametrize(
        ("text", "bits"),
        [
            ("the", math.log2(14 / 8)),
            ("The  CAT\n", (math.log2(14 / 8) + math.log2(14 / 2)) / 2),
            ("zebra", math.log2(14)),
            ("sat sat the zebra", (2 * math.log2(14 / 3) + math.log2(14 / 8) + math.log2(14)) / 4),
            ("", 0.0),
        ],
    )
    def test_the_mean_surprise_in_bits(self, text, bits):
        assert_close(difficulty(text, self.COUNTS), bits)

    def test_other_counts(self):
        assert_close(difficulty("a b", {"a": 4, "b": 1, "c": 1, "d": 1, "e": 2}), (math.log2(15 / 5) + math.log2(15 / 2)) / 2)

    def test_probabilities_sum_to_1_with_one_place_for_the_unknown(self):
        assert_close(sum(2 ** -difficulty(word, self.COUNTS) for word in ["the", "cat", "sat", "zebra"]), 1.0)


class TestCurriculum:
    def test_from_easy_to_hard(self):
        texts = ["ontology epistemic", "the the the the", "the cat", "cat ontology", "THE Cat the", ""]
        assert_equal(curriculum(texts), [5, 1, 4, 2, 3, 0])

    def test_of_equals_the_earlier_first(self):
        assert_equal(curriculum(["b a", "x", "a b", "y", "A  B"]), [0, 2, 4, 1, 3])

    def test_the_order_of_the_words_makes_no_difference(self):
        words = [f"w{i}" for i in range(7) for _ in range(i + 1)]
        texts = [" ".join(random.sample(words, len(words))) for _ in range(30)]
        assert_equal(curriculum(texts), list(range(30)))

    def test_sorted_by_difficulty_over_all_texts(self, reviews):
        texts = reviews[0][:200]
        counts = Counter(word for text in texts for word in text.lower().split())
        total = sum(counts.values()) + len(counts) + 1
        bits = [sum(math.log2(total / (counts[w] + 1)) for w in t.lower().split()) / len(t.split()) for t in texts]
        ordered = [bits[i] for i in curriculum(texts)]
        assert_close(ordered, sorted(bits))


class TestMixture:
    def test_the_example_worked_by_hand(self):
        assert_close(mixture({"web": 900, "books": 100}, 2.0), {"web": 0.75, "books": 0.25})

    @pytest.mark.parametrize("temperature", [0.5, 1.0, 3.3, 100.0])
    def test_matches_the_formula(self, temperature):
        sizes = {"a": 5, "b": 80, "c": 13}
        total = sum(n ** (1 / temperature) for n in sizes.values())
        assert_close(mixture(sizes, temperature), {s: n ** (1 / temperature) / total for s, n in sizes.items()})

    def test_no_overflow_at_low_temperature(self):
        assert_close(mixture({"a": 10**9, "b": 10**9 - 1}, 0.005), {"a": 0.50000005, "b": 0.49999995})
        assert_close(mixture({"a": 2, "b": 10**9}, 0.01), {"a": 0.0, "b": 1.0})

    @pytest.mark.parametrize("temperature", [0, -1.5])
    def test_a_temperature_that_is_not_above_0_is_named(self, temperature):
        with raises(ValueError, temperature):
            mixture({"a": 5}, temperature)

    def test_an_empty_source_is_named(self):
        with raises(ValueError, "books"):
            mixture({"web": 1, "books": 0}, 1.0)


class TestEpochs:
    def test_the_example_worked_by_hand(self):
        sizes = {"web": 900, "books": 100}
        assert_close(epochs(sizes, {"web": 0.75, "books": 0.25}, 1000), {"web": 750 / 900, "books": 2.5})

    def test_another_budget(self):
        assert_close(epochs({"a": 30, "b": 20, "c": 50}, {"c": 0.5, "a": 0.3, "b": 0.2}, 400), {"a": 4.0, "b": 4.0, "c": 4.0})


class TestSampleMixture:
    SOURCES = {"web": [f"w{i}" for i in range(7)], "books": ["b0", "b1", "b2"], "code": ["c0"], "none": []}
    WEIGHTS = {"web": 0.5, "books": 0.3, "code": 0.2, "none": 0.0}

    def stream(self, n, seed=1):
        sources = {name: list(samples) for name, samples in self.SOURCES.items()}
        return list(islice(sample_mixture(sources, self.WEIGHTS, seed), n))

    def test_sources_come_by_their_weights(self):
        drawn = Counter(source for source, _ in self.stream(4000))
        even(drawn, {"web": 2000, "books": 1200, "code": 800}, "the source")

    def test_a_source_does_not_depend_on_the_one_before(self):
        names = [source for source, _ in self.stream(8000, 2)]
        pairs = Counter(zip(names[::2], names[1::2], strict=True))
        some = ("web", "books", "code")
        even(pairs, {(a, b): 4000 * self.WEIGHTS[a] * self.WEIGHTS[b] for a in some for b in some}, "two sources in a row")

    def test_all_of_a_source_before_any_again(self):
        for source in ("web", "books", "code"):
            samples = [sample for name, sample in self.stream(600) if name == source]
            size = len(self.SOURCES[source])
            for start in range(0, len(samples) - size + 1, size):
                found = samples[start : start + size]
                if sorted(found) != sorted(self.SOURCES[source]):
                    fail(f"A round of {source!r} is {found}: all of its {size} samples come before any comes again.", evidence=("round",))

    def test_each_round_has_an_order_of_its_own(self):
        samples = [sample for name, sample in self.stream(6000) if name == "books"]
        rounds = Counter("".join(samples[i : i + 3]) for i in range(0, 1500, 3))
        orders = ["b0b1b2", "b0b2b1", "b1b0b2", "b1b2b0", "b2b0b1", "b2b1b0"]
        even(rounds, dict.fromkeys(orders, 500 / 6), "the order of a round")

    def test_the_seed_decides(self):
        assert_equal(self.stream(50, 3), self.stream(50, 3))
        if self.stream(50, 3) == self.stream(50, 4):
            fail("Seeds 3 and 4 give the same stream.", evidence=("stream", "seed"))

    def test_the_stream_depends_on_the_seed_alone(self):
        draws_of_its_own(lambda: self.stream(40))
        beside, stream = (
            sample_mixture({name: list(samples) for name, samples in self.SOURCES.items()}, self.WEIGHTS, seed) for seed in (9, 1)
        )
        both = [(next(stream), next(beside)) for _ in range(40)]
        assert_equal([sample for sample, _ in both], self.stream(40))

    def test_the_sources_stay_as_they_are(self):
        sources = {"a": list(range(30)), "b": list(range(100, 130))}
        for _ in islice(sample_mixture(sources, {"a": 0.5, "b": 0.5}, 5), 200):
            pass
        assert_equal(sources, {"a": list(range(30)), "b": list(range(100, 130))})

    def test_any_sequences_are_sources(self):
        sources = {"a": tuple("xyz"), "b": range(100, 130)}
        drawn = list(islice(sample_mixture(sources, {"a": 0.5, "b": 0.5}, 5), 200))
        assert_equal(sorted({sample for name, sample in drawn if name == "a"}), ["x", "y", "z"])
        assert_equal(sorted({sample for name, sample in drawn if name == "b"}), list(range(100, 130)))
