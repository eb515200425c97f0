"""Judges k06_wordpiece against transformers' BertTokenizer with MiniLM's vocabulary, and training by brute force."""

import random
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest

from dojo.testing import assert_equal, from_scratch, pure, raises
from katas.module_06_tokenization.k06_wordpiece import WordPiece, split_word, train_wordpiece

pytestmark = [from_scratch("tokenizers", "transformers"), pure()]

PIECES = ["[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "##a", "##b", "a", "aff", "unaf", "hug", "##s", "##", "e", "!", "##e"]
VOCABULARY = {piece: 7 * i + 3 for i, piece in enumerate(PIECES)}
HUGS = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}


class TestSplitWord:
    @pytest.mark.parametrize(
        ("word", "pieces"),
        [
            ("hugs", ["hug", "##s"]),
            ("aab", ["a", "##a", "##b"]),
            ("affable", ["aff", "##able"]),
            ("unaffable", None),  # "unaf" fits best at first, and then nothing does
            ("unable", ["un", "##able"]),
            ("hugx", None),
            ("xhug", None),
            ("sun", None),  # "##s" can't begin a word
            ("a", ["a"]),
        ],
    )
    def test_the_longest_piece_at_each_place(self, word, pieces):
        assert_equal(split_word(word, VOCABULARY), pieces)

    def test_the_example_worked_by_hand(self):
        vocabulary = {piece: i for piece, i in VOCABULARY.items() if piece != "unaf"}
        assert_equal(split_word("unaffable", vocabulary), ["un", "##aff", "##able"])

    @pytest.mark.parametrize(("n", "longest"), [(100, 100), (101, 100), (5, 5), (6, 5), (1100, 1100)])
    def test_long_words(self, n, longest):
        expected = ["a"] + ["##a"] * (n - 1) if n <= longest else None
        assert_equal(split_word("a" * n, VOCABULARY, longest), expected)

    def test_a_piece_may_have_the_id_0(self):
        assert_equal(split_word("unable", {"un": 0, "##able": 1, "u": 2}), ["un", "##able"])
        assert_equal(split_word("unable", {"un": 1, "##able": 0, "##a": 2}), ["un", "##able"])

    def test_words_one_after_another(self):
        assert_equal([split_word(word, VOCABULARY) for word in ("a", "unable", "hugs")], [["a"], ["un", "##able"], ["hug", "##s"]])

    def test_a_hundred_characters_unless_told_otherwise(self):
        assert_equal([split_word("a" * n, VOCABULARY) is None for n in (100, 101)], [False, True])

    @pytest.mark.parametrize("seed", range(3))
    def test_matches_tokenizers(self, seed):
        from tokenizers.models import WordPiece as TheirWordPiece

        words = ["".join(random.choices("abc", k=random.randint(1, 9))) for _ in range(60)]
        longer = ["".join(random.choices("abc", k=random.randint(2, 4))) for _ in range(20)]
        vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(["[UNK]", *"ab", *longer[:8], "##a", "##b", "##c", *("##" + p for p in longer)]))}
        theirs = TheirWordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
        for word in words:
            expected = [token.value for token in theirs.tokenize(word)]
            assert_equal(split_word(word, vocabulary) or ["[UNK]"], expected)


class TestEncode:
    def test_ids_and_spans(self):
        tokenizer = WordPiece(VOCABULARY)
        for _ in range(2):
            ids, spans = tokenizer.encode("  Hugs a\tqq!")
            assert_equal(ids, [VOCABULARY[p] for p in ("[CLS]", "hug", "##s", "a", "[UNK]", "!", "[SEP]")])
            assert_equal([tuple(span) for span in spans], [(0, 0), (2, 5), (5, 6), (7, 8), (9, 11), (11, 12), (0, 0)])

    def test_a_word_of_more_than_100_characters_is_unknown(self):
        ids, spans = WordPiece(VOCABULARY).encode("a" * 101 + " e " + "a" * 100)
        assert_equal(ids[:4], [VOCABULARY[p] for p in ("[CLS]", "[UNK]", "e", "a")])
        assert_equal([tuple(span) for span in spans[:5]], [(0, 0), (0, 101), (102, 103), (104, 105), (105, 106)])
        assert_equal(len(ids), 104)

    def test_spans_lead_back_to_the_text_as_it_was(self):
        # An accent of its own is dropped from the words, and a control character, too.
        ids, spans = WordPiece(VOCABULARY).encode("É\u0301x e\u0301e a\x00a\u0301b")
        assert_equal(ids, [VOCABULARY[p] for p in ("[CLS]", "[UNK]", "e", "##e", "a", "##a", "##b", "[SEP]")])
        assert_equal([tuple(span) for span in spans], [(0, 0), (0, 3), (4, 5), (6, 7), (8, 9), (10, 11), (12, 13), (0, 0)])

    def test_nothing(self):
        ids, spans = WordPiece(VOCABULARY).encode(" \n")
        assert_equal((ids, [tuple(s) for s in spans]), ([VOCABULARY["[CLS]"], VOCABULARY["[SEP]"]], [(0, 0), (0, 0)]))

    @pytest.fixture
    def minilm_pair(self, minilm):
        """The learner's tokenizer with MiniLM's vocabulary, and transformers' own."""
        from transformers import BertTokenizerFast

        lines = (minilm / "vocab.txt").read_text(encoding="utf-8").split("\n")
        vocabulary = {piece: i for i, piece in enumerate(lines[:30_522])}
        return WordPiece(vocabulary), BertTokenizerFast.from_pretrained(minilm)

    TEXTS = [
        "Tokenization isn't unaffable: it's über-simple!",
        "Ångström, naïve café, ĞŞİ ıI ΑΣ ß ﬁne",
        "東京タワー and 서울 — ¿qué? $5.99 #tag @me a_b",
        "e\u0301 E\u0301\u0302x \u00ad\u200b\ufeff zero\u200dwidth \x00\x01",
        "supercalifragilisticexpialidocious " + "x" * 101 + " 🎉🏽 done",
        "",
    ]

    @pytest.mark.parametrize("text", TEXTS)
    def test_minilms_ids_and_offsets(self, minilm_pair, text):
        same_as_theirs(minilm_pair, text)

    def test_minilms_ids_and_offsets_of_reviews(self, minilm_pair, reviews):
        for text in reviews[0][:150]:
            same_as_theirs(minilm_pair, text)

    @pytest.mark.slow
    def test_any_text_of_characters_that_both_know(self, minilm_pair):
        import unicodedata

        from hypothesis import HealthCheck, given, settings
        from hypothesis import strategies as st

        # Python's tables and those of tokenizers are of different years: what is old is the same in both.
        kind, was = unicodedata.category, unicodedata.ucd_3_2_0.category
        # Without brackets: theirs takes "[UNK]" in a text for the special token.
        old = [c for c in map(chr, range(0x30000)) if kind(c) == was(c) and kind(c) not in ("Cs", "Cn", "Co") and c not in "[]"]

        @settings(max_examples=3000, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(st.text(st.sampled_from(old), max_size=25))
        def check(text):
            same_as_theirs(minilm_pair, text)

        check()


def same_as_theirs(pair, text: str) -> None:
    mine, theirs = pair
    expected = theirs(text, return_offsets_mapping=True)
    ids, spans = mine.encode(text)
    assert_equal(ids, expected["input_ids"])
    assert_equal([tuple(span) for span in spans], [tuple(span) for span in expected["offset_mapping"]])


def by_force(words: dict[str, int], size: int) -> list[str]:
    """Training by the lesson's words: every count anew at each step, on lists of words as often as they occur."""
    split = [[w[0], *("##" + c for c in w[1:])] for w, n in words.items() for _ in range(n)]
    found = sorted({p for pieces in split for p in pieces})
    while len(found) < size:
        single = Counter(p for pieces in split for p in pieces)
        pairs = Counter((a, b) for pieces in split for a, b in pairwise(pieces))
        if not pairs:
            break
        top = max(Fraction(n, single[a] * single[b]) for (a, b), n in pairs.items())
        a, b = min(p for p, n in pairs.items() if Fraction(n, single[p[0]] * single[p[1]]) == top)
        new = a + b[2:]
        found.append(new)
        for pieces in split:
            i = 0
            while i + 1 < len(pieces):
                if (pieces[i], pieces[i + 1]) == (a, b):
                    pieces[i : i + 2] = [new]
                i += 1
    return found


class TestTrainWordpiece:
    def test_the_example_worked_by_hand(self):
        found = train_wordpiece(HUGS, 8)
        assert_equal(found, ["##g", "##n", "##s", "##u", "b", "h", "p", "##gs"])

    @pytest.mark.parametrize("size", [7, 10, 13])
    def test_matches_counting_anew_at_every_step(self, size):
        assert_equal(train_wordpiece(HUGS, size), by_force(HUGS, size))

    def test_the_order_of_the_words_does_not_matter(self):
        assert_equal(train_wordpiece(dict(reversed(HUGS.items())), 12), by_force(HUGS, 12))

    def test_equal_scores_are_equal(self):
        # 3 / (5 · 3) and 1 / (5 · 1); in floats 3 / 5 / 3 is less than 1 / 5 / 1
        words = {"ab": 3, "a": 2, "cd": 1, "c": 4}
        assert_equal(train_wordpiece(words, 5), ["##b", "##d", "a", "c", "ab"])

    def test_matches_on_random_words(self):
        for _ in range(6):
            words = {"".join(random.choices("abc", k=random.randint(1, 7))): random.randint(1, 6) for _ in range(9)}
            assert_equal(train_wordpiece(words, 18), by_force(words, 18))

    def test_seldom_apart_and_not_most_frequent(self):
        # BPE would join the frequent ##a ##b first.
        words = {"xab": 50, "yab": 50, "xa": 40, "yb": 40, "zqk": 3}
        assert_equal(train_wordpiece(words, 8)[7:], [by_force(words, 8)[7]])
        assert_equal(train_wordpiece(words, 8)[7], "##qk")

    def test_equal_neighbours_are_joined_from_left_to_right(self):
        assert_equal(train_wordpiece({"baaa": 4}, 9), by_force({"baaa": 4}, 9))
        assert_equal(train_wordpiece({"xaaaa": 4, "xa": 9}, 4), by_force({"xaaaa": 4, "xa": 9}, 4))

    def test_only_two_hashes_are_taken_away(self):
        # The text's own # follows ##: the piece is ###.
        assert_equal(train_wordpiece({"a#": 2}, 3), ["###", "a", "a#"])
        assert_equal(train_wordpiece({"b##": 2}, 4), by_force({"b##": 2}, 4))

    def test_it_ends_when_every_word_is_one_piece(self):
        assert_equal(train_wordpiece({"ab": 2, "c": 1}, 50), ["##b", "a", "c", "ab"])

    def test_a_size_below_the_characters_is_refused(self):
        with raises(ValueError, 7, 6):
            train_wordpiece(HUGS, 6)
        assert_equal(len(train_wordpiece(HUGS, 7)), 7)
