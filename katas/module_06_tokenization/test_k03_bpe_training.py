"""Judges k03_bpe_training against tokenizers' BpeTrainer, and against counting by hand."""

import json
import random
import re
from collections import Counter

import pytest

from dojo.testing import assert_equal, from_scratch, pure
from katas.module_06_tokenization.k03_bpe_training import merge, pair_counts, train_bpe, vocabulary

pytestmark = [from_scratch("tokenizers", "transformers", "sentencepiece"), pure()]

HAND = {b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}


def tokens(text: str) -> tuple[bytes, ...]:
    """A word from its tokens, written with dots between them."""
    return tuple(part.encode() for part in text.split(".")) if text else ()


def random_counts(letters: bytes, words: int, longest: int) -> dict[bytes, int]:
    return {bytes(random.choices(letters, k=random.randint(0, longest))): random.randint(1, 5) for _ in range(words)}


def oracle(counts: dict[bytes, int], merges: int, min_count: int) -> list[tuple[bytes, bytes]]:
    """What tokenizers learns, each byte written as the character of the same number."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    trainer = BpeTrainer(
        vocab_size=256 + merges,
        min_frequency=min_count,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=[chr(byte) for byte in range(256)],
    )
    texts = [word.decode("latin-1") for word, count in counts.items() for _ in range(count)]
    tokenizer.train_from_iterator(texts, trainer)
    learned = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(first.encode("latin-1"), second.encode("latin-1")) for first, second in learned]


class TestPairCounts:
    def test_counts_as_often_as_the_word_occurs(self):
        words = {tokens("l.o.w"): 5, tokens("l.o.w.er"): 2, tokens("o.l"): 1}
        expected = {(b"l", b"o"): 7, (b"o", b"w"): 7, (b"w", b"er"): 2, (b"o", b"l"): 1}
        assert_equal(dict(pair_counts(words)), expected)

    def test_counts_each_place_in_a_word(self):
        expected = {(b"a", b"b"): 6, (b"b", b"a"): 6, (b"b", b"c"): 3, (b"c", b"b"): 3}
        assert_equal(dict(pair_counts({tokens("a.b.a.b.c.b.a"): 3})), expected)

    @pytest.mark.parametrize(("n", "places"), [(2, 1), (3, 2), (4, 3), (7, 6)])
    def test_counts_overlapping_places(self, n, places):
        assert_equal(dict(pair_counts({(b"a",) * n: 5})), {(b"a", b"a"): 5 * places})

    def test_tokens_count_not_their_bytes(self):
        expected = {(b"ab", b"c"): 1, (b"a", b"bc"): 2, ("é".encode(), b"\xff"): 4}
        words = {tokens("ab.c"): 1, tokens("a.bc"): 2, ("é".encode(), b"\xff"): 4}
        assert_equal(dict(pair_counts(words)), expected)

    def test_short_words_have_none(self):
        assert_equal(dict(pair_counts({(): 3, tokens("abc"): 2})), {})
        assert_equal(dict(pair_counts({})), {})


class TestMerge:
    @pytest.mark.parametrize(
        ("word", "pair", "expected"),
        [
            ("n.e.w.e.s.t", "e.s", "n.e.w.es.t"),
            ("n.e.w.es.t", "es.t", "n.e.w.est"),
            ("a.b.c.a.b", "a.b", "ab.c.ab"),
            ("a.b.b.a", "b.a", "a.b.ba"),
            ("a.b", "b.a", "a.b"),
            ("a.x.b", "a.b", "a.x.b"),
            ("b.a", "a.b", "b.a"),
            ("a.b.ab", "ab.ab", "a.b.ab"),
            ("a.b.b", "a.b", "ab.b"),
            ("a", "a.a", "a"),
            ("", "a.b", ""),
        ],
    )
    def test_makes_neighbours_one(self, word, pair, expected):
        assert_equal(merge(tokens(word), tokens(pair)), tokens(expected))

    @pytest.mark.parametrize(
        ("word", "expected"), [("a.a.a", "aa.a"), ("a.a.a.a", "aa.aa"), ("b.a.a.a.a.a", "b.aa.aa.a"), ("a.a.b.a", "aa.b.a")]
    )
    def test_runs_from_the_left(self, word, expected):
        assert_equal(merge(tokens(word), (b"a", b"a")), tokens(expected))

    def test_only_these_two_tokens_are_merged(self):
        assert_equal(merge(tokens("ab.c.a.bc.abc"), (b"a", b"bc")), tokens("ab.c.abc.abc"))

    def test_long_words_need_no_recursion(self):
        assert_equal(merge((b"a", b"b") * 3000, (b"a", b"b")), (b"ab",) * 3000)

    def test_tokens_are_any_bytes(self):
        assert_equal(merge((b"\xc3", b"\xa9", b"\x00"), (b"\xc3", b"\xa9")), (b"\xc3\xa9", b"\x00"))


class TestVocabulary:
    def test_bytes_come_first(self):
        assert_equal(vocabulary([]), {bytes([byte]): byte for byte in range(256)})

    def test_merged_tokens_follow_in_order(self):
        ids = vocabulary([(b"s", b"t"), (b"e", b"st"), (b"\xc3", b"\xa9"), (b"a", b"b")])
        assert_equal(len(ids), 260)
        expected = [115, 256, 257, 258, 259, 255]
        assert_equal([ids[token] for token in (b"s", b"st", b"est", "é".encode(), b"ab", b"\xff")], expected)


class TestTrainBPE:
    def test_the_example_worked_by_hand(self):
        expected = [(b"e", b"s"), (b"es", b"t"), (b"l", b"o"), (b"lo", b"w"), (b"e", b"w")]
        assert_equal(train_bpe(HAND, 5), expected)

    @pytest.mark.parametrize(
        ("counts", "expected"),
        [
            ({b"dx": 3, b"cy": 3}, [(b"c", b"y"), (b"d", b"x")]),
            ({b"cy": 3, b"cx": 3}, [(b"c", b"x"), (b"c", b"y")]),
            ({b"\xe9a": 2, b"za": 2}, [(b"z", b"a"), (b"\xe9", b"a")]),
            # ab is 256, and so behind z, as a first token and as a second
            ({b"ab": 9, b"abq": 2, b"zy": 2}, [(b"a", b"b"), (b"z", b"y"), (b"ab", b"q")]),
            ({b"ab": 9, b"qab": 2, b"qz": 2}, [(b"a", b"b"), (b"q", b"z"), (b"q", b"ab")]),
            # the older of two merged tokens, whatever their bytes and lengths
            ({b"zz": 20, b"aa": 9, b"aa!": 2, b"zz!": 2}, [(b"z", b"z"), (b"a", b"a"), (b"zz", b"!"), (b"aa", b"!")]),
        ],
    )
    def test_ties_go_to_the_smallest_ids(self, counts, expected):
        assert_equal(train_bpe(counts, 9), expected)
        assert_equal(train_bpe(dict(reversed(counts.items())), 9), expected)

    @pytest.mark.parametrize("merges", [0, 1, 3])
    def test_learns_so_many_merges(self, merges):
        expected = [(b"e", b"s"), (b"es", b"t"), (b"l", b"o")]
        assert_equal(train_bpe(HAND, merges), expected[:merges])

    def test_words_count_as_often_as_they_occur(self):
        assert_equal(train_bpe({b"ab": 5, b"cd": 2, b"xcd": 2, b"ycd": 2}, 1), [(b"c", b"d")])
        assert_equal(train_bpe({b"ab": 7, b"cd": 2, b"xcd": 2, b"ycd": 2}, 1), [(b"a", b"b")])

    def test_overlapping_places_count(self):
        assert_equal(train_bpe({b"zzz": 3, b"bc": 5}, 1), [(b"z", b"z")])

    def test_no_merge_crosses_from_one_word_to_the_next(self):
        assert_equal(train_bpe({b"a": 9, b"b": 9, b"": 9}, 5), [])

    @pytest.mark.parametrize(("min_count", "learned"), [(1, 4), (2, 3), (3, 3), (4, 2), (5, 1), (6, 0)])
    def test_rare_pairs_are_not_merged(self, min_count, learned):
        counts = {b"ab": 5, b"cd": 4, b"ef": 3, b"gh": 1}
        expected = [(b"a", b"b"), (b"c", b"d"), (b"e", b"f"), (b"g", b"h")]
        assert_equal(train_bpe(counts, 9, min_count), expected[:learned])
        assert_equal(train_bpe(counts, 9, min_count=min_count), expected[:learned])

    def test_twice_is_enough_by_default(self):
        assert_equal(train_bpe({b"ab": 2, b"cd": 1}, 9), [(b"a", b"b")])

    def test_ends_where_words_are_single_tokens(self):
        assert_equal(train_bpe({b"abc": 7}, 99), [(b"a", b"b"), (b"ab", b"c")])
        assert_equal(train_bpe({}, 99), [])

    @pytest.mark.parametrize(("letters", "longest"), [(b"ab", 20), (b"ab\xe9", 9), (bytes(range(256)), 5)])
    def test_matches_tokenizers_on_random_words(self, letters, longest):
        for _ in range(15):
            counts = random_counts(letters, random.randint(1, 12), longest)
            min_count = random.randint(1, 4)
            assert_equal(train_bpe(counts, 40, min_count), oracle(counts, 40, min_count))

    def test_matches_tokenizers_on_a_play(self, hamlet):
        counts = Counter(word.encode() for word in re.findall(r" ?\w+|\W", hamlet[3000:15_000]))
        assert_equal(train_bpe(counts, 150), oracle(counts, 150, 2))
