"""Judges k07_unigram by enumerating every segmentation, and against tokenizers' Unigram."""

import math
import random
from collections import Counter

import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_06_tokenization.k07_unigram import em_step, expected_counts, log_likelihood, prune, sample, viterbi

pytestmark = [from_scratch("tokenizers", "sentencepiece"), pure()]

HAND = {"a": math.log(0.3), "b": math.log(0.2), "ab": math.log(0.5)}


def segmentations(text: str, model: dict) -> list[list[str]]:
    """All of them, by trying each piece at the front."""
    if not text:
        return [[]]
    return [[text[:n], *rest] for n in range(1, len(text) + 1) if text[:n] in model for rest in segmentations(text[n:], model)]


def score(pieces: list[str], model: dict) -> float:
    return sum(model[piece] for piece in pieces)


def random_model(letters: str = "abc", longer: int = 12) -> dict[str, float]:
    """Log probabilities, in no order, of every letter and of some longer pieces; they don't sum to 1."""
    found = set(letters) | {"".join(random.choices(letters, k=random.randint(2, 4))) for _ in range(longer)}
    pieces = sorted(found)  # a set's own order is another in each process
    random.shuffle(pieces)
    return {piece: math.log(random.uniform(0.01, 0.2)) for piece in pieces}


def random_text(n: int, letters: str = "abc") -> str:
    return "".join(random.choices(letters, k=n))


def assert_best(found: list[str], best: list[str], model: dict[str, float]) -> None:
    """`found` is `best`, or another segmentation of the same text that is as good: "a", "aa" for "aa", "a"."""
    as_good = (
        isinstance(found, list)
        and all(piece in model for piece in found)
        and "".join(found) == "".join(best)
        and math.isclose(score(found, model), score(best, model), abs_tol=1e-9)
    )
    if not as_good:
        assert_equal(found, best)


class TestViterbi:
    def test_the_example_worked_by_hand(self):
        assert_equal(viterbi("ab", HAND), ["ab"])

    @pytest.mark.parametrize("n", [1, 2, 5, 9])
    def test_the_best_of_all_segmentations(self, n):
        for _ in range(15):
            model, text = random_model(), random_text(n)
            best = max(segmentations(text, model), key=lambda pieces: score(pieces, model))
            assert_best(viterbi(text, model), best, model)

    def test_matches_tokenizers(self, hamlet):
        from tokenizers import Tokenizer
        from tokenizers.models import Unigram

        text = "".join(c for c in hamlet[20_000:22_000].lower() if c.isalpha())
        counts = Counter(text[i : i + n] for n in range(1, 6) for i in range(len(text) - n + 1))
        model = {p: math.log(c / len(text)) - random.random() for p, c in counts.items() if c > 2 or len(p) == 1}
        theirs = Tokenizer(Unigram([("<unk>", -99.0), *model.items()], unk_id=0, byte_fallback=False))
        for start in range(0, len(text) - 60, 60):
            part = text[start : start + 60]
            assert_best(viterbi(part, model), theirs.encode(part).tokens, model)

    def test_a_shorter_piece_may_be_worth_more(self):
        model = {"a": -1.0, "aa": -2.5, "b": -1.0, "aab": -3.5}
        assert_equal(viterbi("aab", model), ["a", "a", "b"])

    def test_probabilities_that_no_float_holds(self):
        model = {"a": -700.0, "aa": -1399.0}
        assert_equal(viterbi("a" * 7, model).count("aa"), 3)

    def test_a_long_text_needs_no_recursion(self):
        assert_equal(viterbi("ab" * 1500, HAND), ["ab"] * 1500)

    def test_the_work_grows_with_the_length(self):
        model = random_model()
        few, many = python_steps(viterbi, random_text(100), model), python_steps(viterbi, random_text(400), model)
        if many > 8 * few:
            fail(f"4 times the text takes {many / few:.0f} times the steps: no piece is longer than 4.", evidence=("slow",))

    def test_an_empty_text(self):
        assert_equal(viterbi("", HAND), [])
        assert_equal(viterbi("", {}), [])

    def test_a_text_that_no_pieces_make_up_is_named(self):
        with raises(ValueError, "abxab"):
            viterbi("abxab", HAND)
        with raises(ValueError, "aba"):
            viterbi("aba", {"ab": -1.0, "b": -1.0})


class TestLogLikelihood:
    def test_the_example_worked_by_hand(self):
        assert_close(log_likelihood("ab", HAND), math.log(0.56))

    @pytest.mark.parametrize("n", [1, 4, 10])
    def test_the_sum_over_all_segmentations(self, n):
        for _ in range(5):
            model, text = random_model(), random_text(n)
            total = sum(math.exp(score(pieces, model)) for pieces in segmentations(text, model))
            assert_close(log_likelihood(text, model), math.log(total))

    def test_a_long_text_stays_finite(self):
        # Every text of n a's: f(n) = (f(n - 1) + f(n - 2)) / 2 with f(0) = 1, f(1) = 1/2, which tends to 2/3.
        model = {"a": math.log(0.5), "aa": math.log(0.5)}
        assert_close(log_likelihood("a" * 2000, model), math.log(2 / 3))
        assert_close(log_likelihood("b" * 2000, {"b": -3.0}), -6000.0)

    def test_nothing_and_nothing_possible(self):
        assert_close(log_likelihood("", HAND), 0.0)
        assert_close(log_likelihood("ax", HAND), -math.inf)


class TestExpectedCounts:
    def test_the_example_worked_by_hand(self):
        assert_close(expected_counts("ab", HAND), {"ab": 0.5 / 0.56, "a": 0.06 / 0.56, "b": 0.06 / 0.56})

    @pytest.mark.parametrize("n", [1, 3, 9])
    def test_matches_weighing_every_segmentation(self, n):
        for _ in range(5):
            model, text = random_model(), random_text(n)
            every = segmentations(text, model)
            weights = [math.exp(score(pieces, model)) for pieces in every]
            expected = Counter()
            for pieces, weight in zip(every, weights, strict=True):
                for piece in pieces:
                    expected[piece] += weight / sum(weights)
            assert_close(expected_counts(text, model), dict(expected))

    def test_the_pieces_cover_the_text(self):
        text = random_text(1500)
        counts = expected_counts(text, random_model())
        assert_close(sum(count * len(piece) for piece, count in counts.items()), 1500.0)

    def test_a_piece_in_no_segmentation_is_left_out(self):
        # "bc" stands in the text, but nothing covers the "a" before it.
        assert_equal(sorted(expected_counts("abc", {"ab": -1.0, "c": -1.0, "bc": -1.0, "zz": -1.0})), ["ab", "c"])
        assert_equal(expected_counts("", HAND), {})

    def test_a_text_that_no_pieces_make_up_is_named(self):
        with raises(ValueError, "axb"):
            expected_counts("axb", HAND)


class TestEmStep:
    def test_the_example_worked_by_hand(self):
        new = em_step({"ab": 3, "a": 1}, HAND)
        counts = {"ab": 3 * 0.5 / 0.56, "a": 3 * 0.06 / 0.56 + 1, "b": 3 * 0.06 / 0.56}
        assert_close(new, {piece: math.log(count / sum(counts.values())) for piece, count in counts.items()})

    def test_probabilities_sum_to_1_and_unused_pieces_go(self):
        new = em_step({"abc": 5, "cab": 2}, {**random_model(), "ccc": -0.1})
        assert_close(sum(map(math.exp, new.values())), 1.0)
        assert_equal("ccc" in new, False)

    def test_a_count_too_small_for_a_float_leaves_its_piece_out(self):
        model = {"a": -700.0, "aa": -1.0}
        assert_close(expected_counts("aa", model), {"aa": 1.0})
        assert_close(em_step({"aa": 3}, model), {"aa": 0.0})

    def test_a_word_that_no_pieces_make_up_is_named(self):
        with raises(ValueError, "axb"):
            em_step({"ab": 1, "axb": 2}, HAND)

    def test_the_corpus_never_becomes_less_likely(self):
        words = {random_text(random.randint(2, 8)): random.randint(1, 9) for _ in range(12)}
        model = random_model()
        total = math.log(sum(map(math.exp, model.values())))
        model = {piece: log_p - total for piece, log_p in model.items()}
        before = sum(n * log_likelihood(w, model) for w, n in words.items())
        for _ in range(6):
            model = em_step(words, model)
            after = sum(n * log_likelihood(w, model) for w, n in words.items())
            if after < before - 1e-9:
                fail(f"A step of EM lowers the log likelihood from {before:.4f} to {after:.4f}.", evidence=("falls",))
            before = after


class TestPrune:
    def test_the_least_missed_goes_first(self):
        # Without "ab", its word falls from 0.5 + 0.06 to 0.06, ten times; "ba" is hardly worth anything.
        model = {**HAND, "ba": math.log(0.01)}
        assert_close(prune({"ab": 10, "ba": 10}, model, 3), HAND)
        assert_close(prune({"ab": 10, "ba": 10}, model, 4), model)

    def test_a_word_counts_as_often_as_it_occurs(self):
        single = dict.fromkeys("abcd", math.log(0.1))
        both = {**single, "ab": math.log(0.3), "cd": math.log(0.2)}
        # Each "ab" is missed by log (0.31 / 0.01) = 3.4, each "cd" by log (0.21 / 0.01) = 3.0.
        assert_close(prune({"ab": 5, "cd": 7}, both, 5), {**single, "cd": math.log(0.2)})
        assert_close(prune({"ab": 5, "cd": 5}, both, 5), {**single, "ab": math.log(0.3)})

    @pytest.mark.parametrize("keep", [5, 8, 11])
    def test_matches_taking_each_away_by_itself(self, keep):
        words = {random_text(random.randint(2, 7)): random.randint(1, 9) for _ in range(8)}
        model = random_model()

        def likelihood(m):
            return sum(n * math.log(sum(math.exp(score(s, m)) for s in segmentations(w, m))) for w, n in words.items())

        longer = [piece for piece in model if len(piece) > 1]
        loss = {p: likelihood(model) - likelihood({q: m for q, m in model.items() if q != p}) for p in longer}
        # Those that are in no word are missed by 0, up to rounding.
        first = sorted(longer, key=lambda p: (-round(loss[p], 9), p))[: keep - 3]
        assert_close(prune(words, model, keep), {p: m for p, m in model.items() if len(p) == 1 or p in first})

    def test_single_characters_always_stay(self):
        assert_close(prune({"ab": 5}, HAND, 1), {"a": HAND["a"], "b": HAND["b"]})
        assert_close(prune({"b": 5}, {"bb": -1.0, "b": -1.0, "c": -2.0}, 2), {"b": -1.0, "c": -2.0})

    @pytest.mark.parametrize(("keep", "kept"), [(0, 2), (1, 2), (2, 2), (3, 3)])
    def test_no_longer_piece_stays_where_keep_is_below_the_single_characters(self, keep, kept):
        model = {**HAND, "ba": -1.0, "aba": -2.0, "bab": -3.0}
        left = prune({"abab": 5}, model, keep)
        assert_equal(("a" in left, "b" in left, len(left)), (True, True, kept))

    def test_a_piece_that_a_word_needs_is_missed_most(self):
        # Nothing but "xy" covers the x, whatever "ab" is worth.
        model = {**HAND, "xy": -9.0, "y": -1.0}
        assert_close(prune({"ab": 1000, "xy": 1}, model, 4), {"a": HAND["a"], "b": HAND["b"], "y": -1.0, "xy": -9.0})

    def test_of_equals_the_first_in_order_stays(self):
        model = {"x": -1.0, "zz": -1.0, "yy": -1.0, "ww": -2.0}
        assert_close(prune({"x": 3}, model, 2), {"x": -1.0, "ww": -2.0})
        assert_close(prune({"x": 3}, model, 3), {"x": -1.0, "ww": -2.0, "yy": -1.0})


class TestSample:
    @pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0, 3.0])
    def test_segmentations_come_by_their_probabilities(self, alpha):
        from scipy.stats import chi2

        model = {"a": -1.2, "b": -1.5, "ab": -1.9, "ba": -2.6, "aba": -2.2, "bab": -9.0}
        text, runs = "abab", 2500
        every = segmentations(text, model)
        weights = [math.exp(alpha * score(pieces, model)) for pieces in every]
        expected = {"|".join(s): runs * w / sum(weights) for s, w in zip(every, weights, strict=True)}
        seen = Counter("|".join(sample(text, model, alpha, seed)) for seed in range(runs))
        # Rare ones are put together, as chi-squared wants five of each.
        common = [s for s, n in expected.items() if n >= 5]
        pairs = [(seen[s], expected[s]) for s in common]
        rest = (sum(seen[s] for s in expected if s not in common), sum(expected[s] for s in expected if s not in common))
        pairs += [rest] if rest[1] >= 5 else []
        assert_equal(sorted(set(seen) - set(expected)), [])
        statistic = sum((n - e) ** 2 / e for n, e in pairs)
        if statistic > chi2.isf(1e-9, len(pairs) - 1):
            named = {s: (seen[s], round(expected[s])) for s in common}
            fail(f"At alpha {alpha:g} the segmentations come (seen, expected): {named}", evidence=("shares", alpha, seen.most_common(1)[0][0]))

    def test_a_large_alpha_gives_the_best(self):
        for seed in range(20):
            model, text = random_model(), random_text(12)
            best = viterbi_by_force(text, model)
            assert_close(score(sample(text, model, 1e5, seed), model), best)

    def test_the_seed_decides(self):
        model = random_model()
        text = random_text(60)
        assert_equal(sample(text, model, 0.1, 4), sample(text, model, 0.1, 4))
        if sample(text, model, 0.1, 4) == sample(text, model, 0.1, 5):
            fail("Seeds 4 and 5 give the same segmentation of 60 letters.", evidence=("seed",))

    def test_the_global_generators_stay_as_they_are(self):
        import numpy as np

        before = random.getstate(), np.random.get_state()[1].tolist()
        first = sample("abab" * 5, HAND, 0.5, 7)
        assert_equal((random.getstate(), np.random.get_state()[1].tolist()) == before, True)
        random.random()
        assert_equal(sample("abab" * 5, HAND, 0.5, 7), first)

    def test_a_long_text(self):
        pieces = sample("ab" * 400, {"a": -5.0, "b": -5.0, "ab": -10.0}, 1.0, 3)
        assert_equal("".join(pieces), "ab" * 400)

    def test_nothing_and_nothing_possible(self):
        assert_equal(sample("", HAND, 1.0, 0), [])
        with raises(ValueError, "abx"):
            sample("abx", HAND, 0.0, 0)


def viterbi_by_force(text: str, model: dict) -> float:
    return max(score(pieces, model) for pieces in segmentations(text, model))
