"""Judges k09_tokenizer_evaluation by closed forms, on toy tokenizers and on GPT-2's own."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_06_tokenization.k09_tokenizer_evaluation import (
    bytes_per_token,
    fertility,
    premiums,
    renyi_efficiency,
    split_patterns,
    unknown_rate,
    vocabulary_sweep,
    white_space_share,
)

pytestmark = [from_scratch("tokenizers", "scipy"), pure()]

TEXTS = ["The Größe of it,", " naïve  cafés\n", "", "日本 and 42"]


def letters(text: str) -> list[int]:
    """A token for each character that isn't white space."""
    return [ord(c) % 97 for c in text if not c.isspace()]


def pairs(text: str) -> list[str]:
    return [text[i : i + 2] for i in range(0, len(text), 2)]


@pytest.fixture
def gpt2(gpt2_vocabulary):
    from tokenizers import ByteLevelBPETokenizer

    return ByteLevelBPETokenizer(*map(str, gpt2_vocabulary))


class TestFertility:
    def test_tokens_over_words_of_all_texts(self):
        # 13 + 10 + 0 + 7 letters and 4 + 2 + 0 + 3 words: not the mean of the texts' own figures.
        assert_close(fertility(TEXTS, letters), 30 / 9)
        assert_close(fertility(["a bb ccc", "dddd"], letters), 10 / 4)

    def test_of_gpt2_on_hamlet(self, gpt2, hamlet):
        text = hamlet[5000:9000]
        assert_close(fertility([text], lambda t: gpt2.encode(t).ids), len(gpt2.encode(text).ids) / len(text.split()))

    def test_no_words(self):
        with raises(ValueError, "no words"):
            fertility([" ", ""], letters)


class TestBytesPerToken:
    def test_utf8_bytes_over_tokens_of_all_texts(self):
        # 18 + 16 + 0 + 13 bytes, for 16 + 14 + 0 + 9 characters.
        assert_close(bytes_per_token(TEXTS, letters), 47 / 30)
        assert_close(bytes_per_token(["a bb ccc", "dddd"], letters), 12 / 10)

    def test_of_gpt2(self, gpt2, hamlet):
        texts = [hamlet[3000:4000], "ein Gespräch über Größe"]
        tokens = sum(len(gpt2.encode(t).ids) for t in texts)
        assert_close(bytes_per_token(texts, lambda t: gpt2.encode(t).ids), (1000 + 27) / tokens)


class TestUnknownRate:
    @pytest.mark.parametrize(("unknown", "rate"), [(0, 3 / 7), (5, 2 / 7), (7, 2 / 7), (1, 0.0)])
    def test_over_all_tokens(self, unknown, rate):
        ids = {"one": [0, 5, 0], "two": [7, 0, 5, 7], "none": []}
        assert_close(unknown_rate(list(ids), ids.__getitem__, unknown), rate)

    def test_of_other_texts(self):
        assert_close(unknown_rate(["abcab"], letters, ord("a") % 97), 0.4)


class TestRenyiEfficiency:
    @pytest.mark.parametrize(("alpha", "efficiency"), [(1, 0.75), (2, 0.7075)])
    def test_the_example_worked_by_hand(self, alpha, efficiency):
        assert_close(renyi_efficiency([2, 1, 1, 0], alpha), efficiency, atol=1e-4, rtol=0)  # 4 digits

    @pytest.mark.parametrize("alpha", [0, 0.5, 1, 1.7, 2.5, 4])
    def test_matches_the_formula(self, rng, alpha):
        counts = [*rng.integers(1, 60, 11).tolist(), 0, 0, 0]
        p = np.array(counts[:11]) / sum(counts)
        h = -(p * np.log(p)).sum() if alpha == 1 else np.log((p**alpha).sum()) / (1 - alpha)
        assert_close(renyi_efficiency(counts, alpha), float(h / np.log(14)))

    def test_the_limit_at_1_is_shannons(self):
        from scipy.stats import entropy

        counts = [9, 4, 4, 2, 1]
        assert_close(renyi_efficiency(counts, 1), float(entropy(counts, base=5)))
        # The function is smooth there: 1e-4 from 1 the values differ by no more than about as much.
        assert_close(renyi_efficiency(counts, 1.0001), renyi_efficiency(counts, 1), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("apart", [1e-6, -1e-9, 1e-11, -1e-13])
    def test_just_beside_1_no_digits_are_lost(self, apart):
        counts = [900, 400, 41, 22, 1, 0]
        assert_close(renyi_efficiency(counts, 1 + apart), renyi_efficiency(counts, 1), atol=2e-6, rtol=0)  # as the stub says

    @pytest.mark.parametrize("apart", [9e-6, -1e-4, 1e-3])
    def test_the_limit_is_taken_only_close_to_1(self, apart):
        counts = [1000] + [1] * 1000
        p = np.array(counts) / 2000
        # Exact near 1: Σ p^α = 1 + Σ p·(p^(α-1) - 1)
        entropy = -math.log1p((p * np.expm1(apart * np.log(p))).sum()) / apart
        assert_close(renyi_efficiency(counts, 1 + apart), float(entropy / math.log(1001)), atol=1e-6, rtol=0)  # as the stub says

    @pytest.mark.parametrize("alpha", [300, 1000, 5000.5])
    def test_a_large_alpha_weighs_the_commonest_alone(self, alpha):
        # p^α of the others is nothing beside (6/10)^α
        expected = alpha / (alpha - 1) * -math.log(0.6) / math.log(4)
        assert_close(renyi_efficiency([6, 3, 0, 1], alpha), expected)

    @pytest.mark.parametrize("alpha", [0, 1, 2.5])
    def test_a_vocabulary_used_evenly_and_one_hardly_used(self, alpha):
        assert_close(renyi_efficiency([7] * 12, alpha), 1.0)
        assert_close(renyi_efficiency([0, 5, 0], alpha), 0.0)

    @pytest.mark.parametrize("counts", [[], [8]])
    def test_a_vocabulary_of_one_is_refused(self, counts):
        with raises(ValueError, len(counts)):
            renyi_efficiency(counts, 2.5)

    def test_a_vocabulary_of_two(self):
        assert_close(renyi_efficiency([3, 1], 2), -math.log(10 / 16) / math.log(2))


class TestPremiums:
    PARALLEL = {"en": ["two words", "yes"], "de": ["zwei Wörter hier", "ja"], "th": ["ภาษาไทย", "ใช่"]}

    def test_tokens_over_those_of_the_base(self):
        assert_close(premiums(self.PARALLEL, letters, "en"), {"en": 1.0, "de": 16 / 11, "th": 10 / 11})
        assert_close(premiums(self.PARALLEL, letters, "de"), {"en": 11 / 16, "de": 1.0, "th": 10 / 16})

    def test_a_byte_level_tokenizer_is_unfair_to_other_scripts(self, gpt2):
        found = premiums(self.PARALLEL, lambda t: gpt2.encode(t).ids, "en")
        expected = {k: sum(len(gpt2.encode(t).ids) for t in v) / 3 for k, v in self.PARALLEL.items()}
        assert_close(found, expected)
        assert_equal(found["th"] > 4, True)

    def test_of_other_texts(self):
        assert_close(premiums({"b": ["abc"], "a": ["abcde"]}, letters, "b"), {"b": 1.0, "a": 5 / 3})

    def test_texts_that_are_not_parallel_are_named(self):
        with raises(ValueError, "fr", 1, 2):
            premiums({**self.PARALLEL, "fr": ["oui"]}, letters, "en")


class TestVocabularySweep:
    MERGES = [(b"a", b"b"), (b"ab", b"ab"), (b"c", b"d"), (b"abab", b"cd")]

    @staticmethod
    def encode(text, merges):
        """Each merge in turn, over the whole text: slow, but BPE."""
        parts = [bytes([b]) for b in text.encode()]
        for left, right in merges:
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == (left, right):
                    parts[i : i + 2] = [left + right]
                i += 1
        return list(range(len(parts)))

    def test_the_first_merges_of_each_size(self):
        found = vocabulary_sweep(["ababcd", "abé"], self.MERGES, [256, 258, 260, 257], self.encode)
        assert_close(found, {256: 1.0, 258: 10 / 6, 260: 10 / 4, 257: 10 / 7})

    def test_a_larger_vocabulary_compresses_better_but_by_less_and_less(self, hamlet):
        from tokenizers import ByteLevelBPETokenizer

        trained = ByteLevelBPETokenizer()
        trained.train_from_iterator([hamlet[:60_000]], vocab_size=756, min_frequency=1, show_progress=False)
        # The tokens that were learned, by rank; to count tokens, the longest match of the first n will do.
        learned = sorted(trained.get_vocab().items(), key=lambda pair: pair[1])[256:]
        merges = [(token[:1].encode(), token[1:].encode()) for token, _ in learned]

        def encode(text, some):
            known = {(a + b).decode() for a, b in some}
            found, i = [], 0
            text = text.replace(" ", "Ġ").replace("\n", "Ċ")
            while i < len(text):
                n = next((n for n in range(12, 1, -1) if text[i : i + n] in known), 1)
                found.append(n)
                i += n
            return found

        sizes = [256, 306, 406, 606]
        sweep = vocabulary_sweep([hamlet[70_000:73_000]], merges, sizes, encode)
        gains = [sweep[b] - sweep[a] for a, b in pairwise(sizes)]
        assert_close(sweep[256], 1.0, atol=0.02, rtol=0)  # a few apostrophes have more bytes than one
        assert_equal(all(gain > 0.05 for gain in gains), True)
        assert_equal(gains[2] / 200 < gains[1] / 100 < gains[0] / 50, True)

    @pytest.mark.parametrize("size", [255, 261])
    def test_a_size_out_of_reach_is_named(self, size):
        with raises(ValueError, size, 256, 260):
            vocabulary_sweep(["a"], self.MERGES, [257, size], self.encode)


class TestSplitPatterns:
    def test_lengths_of_the_pieces(self):
        cuts = {"1234": ["12", "34"], "9876": ["98", "76"], "1235": ["1", "235"], "über": ["übe", "r"]}
        expected = Counter({(2, 2): 2, (1, 3): 1, (3, 1): 1})
        assert_equal(dict(split_patterns(list(cuts), cuts.__getitem__)), dict(expected))

    def test_gpt2_cuts_numbers_of_four_digits_in_many_ways(self, gpt2, rng):
        numbers = [str(n) for n in rng.integers(1000, 10_000, 300)]
        found = split_patterns(numbers, lambda s: gpt2.encode(s).tokens)
        assert_equal(sum(found.values()), 300)
        expected = Counter(tuple(map(len, gpt2.encode(s).tokens)) for s in numbers)
        assert_equal(dict(found), dict(expected))


class TestWhiteSpaceShare:
    @pytest.mark.parametrize(
        ("text", "share"), [("    if x:\n", 3 / 5), ("ab  cd", 1 / 3), ("a b c ", 0.0), ("\t\n\t ", 1.0), ("", 0.0)]
    )
    def test_pieces_of_white_space_alone(self, text, share):
        pieces = {"    if x:\n": ["  ", "  ", "if", " x:", "\n"]}.get(text, pairs(text))
        assert_close(white_space_share(text, lambda _: pieces), share)

    def test_each_space_of_indentation_is_a_token_of_gpt2(self, gpt2):
        code = "def f(x):\n        if x:\n                return x\n"

        def tokenize(text):
            encoding = gpt2.encode(text)
            return [text[a:b] for a, b in encoding.offsets]

        pieces = tokenize(code)
        assert_close(white_space_share(code, tokenize), sum(not p.strip() for p in pieces) / len(pieces))
