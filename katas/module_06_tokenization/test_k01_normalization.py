"""Judges k01_normalization against Python's unicodedata and tokenizers' BertNormalizer and BertPreTokenizer."""

import random
import unicodedata
from functools import cache

import pytest

from dojo.testing import assert_equal, from_scratch, pure, raises
from katas.module_06_tokenization.k01_normalization import CJK, bert_normalize, bert_words, chain, compose

pytestmark = [from_scratch("tokenizers", "transformers"), pure()]

FLAGS = [(True, True), (True, False), (False, True), (False, False)]


@cache
def settled() -> list[str]:
    """Characters on which old and new versions of Unicode agree; marks that NFD would move are left out."""
    characters = (chr(code) for code in (*range(0xD800), *range(0xE000, 0x30000)))
    old = unicodedata.ucd_3_2_0
    return [
        c
        for c in characters
        if old.category(c) == unicodedata.category(c) != "Cn" and not (unicodedata.category(c) == "Mc" and unicodedata.combining(c))
    ]


def mixed(alphabet: list[str], n: int) -> str:
    """Random text, half of it ordinary."""
    return "".join(random.choice(random.choice(("aBÉz 1", " .,-'$≠ñ\u0301\t", alphabet, alphabet))) for _ in range(n))


def oracle_words(text: str, strip_accents: bool, lowercase: bool) -> list:
    from tokenizers import PreTokenizedString
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    pieces = PreTokenizedString(text)
    pieces.normalize(BertNormalizer(strip_accents=strip_accents, lowercase=lowercase).normalize)
    BertPreTokenizer().pre_tokenize(pieces)
    return [(word, span) for word, span, _ in pieces.get_splits("original", "char")]


class TestCompose:
    def test_the_example_worked_by_hand(self):
        assert_equal(compose("E\u0301l.", "NFC"), ("\u00c9l.", [(0, 2), (2, 3), (3, 4)]))

    @pytest.mark.parametrize(
        ("form", "expected"),
        [
            ("NFC", ("ﬁx²Ａ", [(0, 1), (1, 2), (2, 3), (3, 4)])),
            ("NFKC", ("fix2A", [(0, 1), (0, 1), (1, 2), (2, 3), (3, 4)])),
        ],
    )
    def test_only_nfkc_folds_what_looks_different(self, form, expected):
        assert_equal(compose("ﬁx²Ａ", form), expected)

    @pytest.mark.parametrize(
        ("text", "form", "expected"),
        [
            ("xq\u0301y", "NFC", ("xq\u0301y", [(0, 1), (1, 3), (1, 3), (3, 4)])),
            ("\u0301\u0302a", "NFC", ("\u0301\u0302a", [(0, 2), (0, 2), (2, 3)])),
            ("a\u0323\u0302b", "NFKC", ("\u1eadb", [(0, 3), (3, 4)])),
            ("\u09c7\u09beক", "NFC", ("\u09cbক", [(0, 2), (2, 3)])),
            ("1\u20e3!", "NFC", ("1\u20e3!", [(0, 2), (0, 2), (2, 3)])),
        ],
    )
    def test_marks_belong_to_the_character_before(self, text, form, expected):
        assert_equal(compose(text, form), expected)

    def test_korean_vowels_and_finals_continue_a_syllable(self):
        text = "\u1112\u1161\u11ab\u1100\u1160\u11ff\uac00\u11a8\u1200"
        spans = [(0, 3), (3, 6), (3, 6), (3, 6), (6, 8), (8, 9)]
        assert_equal(compose(text, "NFC"), ("\ud55c\u1100\u1160\u11ff\uac01\u1200", spans))
        assert_equal(compose("\u1100\u115f", "NFC"), ("\u1100\u115f", [(0, 1), (1, 2)]))

    def test_the_normal_form_decides_what_continues(self):
        text = "\uff76\uff9e"  # halfwidth: only NFKC makes a mark of the second
        assert_equal(compose(text, "NFKC"), ("\u30ac", [(0, 2)]))
        assert_equal(compose(text, "NFC"), (text, [(0, 1), (1, 2)]))

    def test_a_mark_of_two_marks_continues(self):
        assert_equal(compose("xéy", "NFKC"), ("xéy", [(0, 1), (1, 2), (2, 3)]))
        assert_equal(compose("x\u0344y", "NFC"), ("\u1e8d\u0301y", [(0, 2), (0, 2), (2, 3)]))

    @pytest.mark.parametrize("form", ["NFC", "NFKC"])
    def test_matches_unicodedata_on_any_text(self, form):
        alphabet = settled()
        changing = [c for c in alphabet if unicodedata.decomposition(c) or unicodedata.combining(c)]
        for _ in range(300):
            text = mixed(random.choice((alphabet, changing)), random.randint(0, 12))
            result, spans = compose(text, form)
            assert_equal(result, unicodedata.normalize(form, text))
            assert_equal(len(spans), len(result))
            clusters = list(dict.fromkeys(spans))
            assert_equal("".join(text[start:end] for start, end in clusters), text)
            for start, end in clusters:
                part = "".join(c for c, span in zip(result, spans, strict=True) if span == (start, end))
                assert_equal(part, unicodedata.normalize(form, text[start:end]))

    def test_long_texts_need_no_recursion(self):
        n = 3000
        expected = ("\u00e9" * n, [(2 * i, 2 * i + 2) for i in range(n)])
        assert_equal(compose("e\u0301" * n, "NFC"), expected)

    def test_nothing_from_nothing(self):
        assert_equal(compose("", "NFC"), ("", []))

    @pytest.mark.parametrize("form", ["NFD", "NFKD", "nfc"])
    def test_rejects_other_forms(self, form):
        with raises(ValueError, form):
            compose("a", form)


class TestBertNormalize:
    def test_the_example_worked_by_hand(self):
        assert_equal(bert_normalize("E\u0301l."), ("el.", [(0, 1), (2, 3), (3, 4)]))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a\tb\nc\rd", "a b c d"),
            ("a\u00a0b\u3000c\u2028d\u2029e", "a b c d e"),
            ("a\0b\x0bc\x0cd\x1ce\x85f\x7fg", "abcdefg"),
            ("a\ufffdb\u00adc\u200dd\ue000e", "abcde"),
        ],
    )
    def test_white_space_is_one_space_and_control_characters_go(self, text, expected):
        assert_equal(bert_normalize(text)[0], expected)

    def test_dropped_characters_leave_the_spans_of_the_others(self):
        assert_equal(bert_normalize("\0a\u0301\u00adB"), ("ab", [(1, 2), (4, 5)]))

    def test_ideographs_get_spaces_with_their_span(self):
        assert_equal(bert_normalize("x漢"), ("x 漢 ", [(0, 1), (1, 2), (1, 2), (1, 2)]))

    @pytest.mark.parametrize(("low", "high"), CJK)
    def test_ideographs_end_where_their_blocks_end(self, low, high):
        from tokenizers.normalizers import BertNormalizer

        theirs = BertNormalizer(strip_accents=False)
        for code in (low - 1, low, high, high + 1):
            assert_equal(bert_normalize(chr(code), False)[0], theirs.normalize_str(chr(code)))

    def test_flags_are_independent(self):
        results = [bert_normalize("ÀΣ", strip_accents=accents, lowercase=lower)[0] for accents, lower in FLAGS]
        assert_equal(results, ["aσ", "AΣ", "àσ", "ÀΣ"])

    def test_one_character_may_become_several(self):
        assert_equal(bert_normalize("xİ한", False), ("xi\u0307한", [(0, 1), (1, 2), (1, 2), (2, 3)]))
        expected = ("xi\u1112\u1161\u11ab", [(0, 1), (1, 2), (2, 3), (2, 3), (2, 3)])
        assert_equal(bert_normalize("xİ한"), expected)

    def test_only_nonspacing_marks_are_accents(self):
        assert_equal(bert_normalize("की\u20e3", True)[0], "की\u20e3")

    def test_decomposes_without_folding(self):
        assert_equal(bert_normalize("ﬁ²Ａø")[0], "ﬁ²ａø")

    @pytest.mark.parametrize(("strip_accents", "lowercase"), FLAGS)
    def test_matches_tokenizers_on_any_text(self, strip_accents, lowercase):
        from tokenizers.normalizers import BertNormalizer

        theirs = BertNormalizer(strip_accents=strip_accents, lowercase=lowercase)
        alphabet = settled()
        for _ in range(200):
            text = mixed(alphabet, random.randint(0, 30))
            result, spans = bert_normalize(text, strip_accents, lowercase)
            assert_equal(result, theirs.normalize_str(text))
            parts = [(bert_normalize(c, strip_accents, lowercase)[0], i) for i, c in enumerate(text)]
            assert_equal(spans, [(i, i + 1) for part, i in parts for _ in part])

    def test_nothing_from_nothing(self):
        assert_equal(bert_normalize(""), ("", []))


class TestBertWords:
    def test_the_example_worked_by_hand(self):
        assert_equal(bert_words("E\u0301l."), [("el", (0, 3)), (".", (3, 4))])

    def test_each_punctuation_character_is_a_word(self):
        expected = [("don", (1, 4)), ("'", (4, 5)), ("t", (5, 6)), (".", (6, 7)), (".", (7, 8)), ("go", (10, 12))]
        assert_equal(bert_words(" Don't..  go "), expected)

    def test_all_ascii_symbols_are_punctuation(self):
        symbols = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
        assert_equal(bert_words("a" + symbols), [(c, (i, i + 1)) for i, c in enumerate("a" + symbols)])

    def test_other_symbols_are_letters_and_other_punctuation_is_not(self):
        assert_equal(bert_words("a€b—c×1"), [("a€b", (0, 3)), ("—", (3, 4)), ("c×1", (4, 7))])

    def test_punctuation_is_judged_after_normalization(self):
        assert_equal(bert_words("a≠b"), [("a", (0, 1)), ("=", (1, 2)), ("b", (2, 3))])
        assert_equal(bert_words("a≠b", strip_accents=False), [("a≠b", (0, 3))])

    def test_ideographs_are_words(self):
        assert_equal(bert_words("ab漢字c"), [("ab", (0, 2)), ("漢", (2, 3)), ("字", (3, 4)), ("c", (4, 5))])

    def test_what_is_dropped_counts_within_a_word_but_not_around_it(self):
        assert_equal(bert_words("\u00ada\u00ad\u00adb\u00ad c"), [("ab", (1, 5)), ("c", (7, 8))])

    @pytest.mark.parametrize(("strip_accents", "lowercase"), FLAGS)
    def test_matches_tokenizers_on_any_text(self, strip_accents, lowercase, hamlet):
        alphabet = settled()
        texts = [mixed(alphabet, random.randint(0, 30)) for _ in range(200)]
        for text in [*texts, hamlet[5000:8000]]:
            ours = bert_words(text, strip_accents=strip_accents, lowercase=lowercase)
            assert_equal(ours, oracle_words(text, strip_accents, lowercase))

    def test_nothing_from_nothing(self):
        assert_equal(bert_words(" \t"), [])


class TestChain:
    def test_the_example_worked_by_hand(self):
        assert_equal(chain([(0, 2), (2, 3), (3, 4)], [(0, 2), (2, 3)]), [(0, 3), (3, 4)])

    def test_spans_of_spans(self):
        first = [(0, 2), (2, 3), (5, 6), (6, 9)]
        assert_equal(chain(first, [(0, 1), (1, 3), (0, 4), (3, 4)]), [(0, 2), (2, 6), (0, 9), (6, 9)])

    def test_a_span_ends_before_a_gap(self):
        first = [(0, 2), (2, 3), (5, 6), (8, 9)]
        assert_equal(chain(first, [(0, 2), (1, 2), (1, 3), (2, 4)]), [(0, 3), (2, 3), (2, 6), (5, 9)])

    def test_characters_of_one_cluster_share_their_span(self):
        first = [(0, 2), (0, 2), (2, 5), (2, 5), (5, 6)]
        assert_equal(chain(first, [(0, 1), (1, 3), (3, 4), (3, 5)]), [(0, 2), (0, 5), (2, 5), (2, 6)])

    def test_words_of_composed_text_stand_in_the_original(self):
        text = "ﬁn\u0303, e\u0301t漢e\u0301"
        middle, first = compose(text, "NFKC")
        words = bert_words(middle)
        back = chain(first, [span for _, span in words])
        assert_equal([word for word, _ in words], ["fin", ",", "et", "漢", "e"])
        assert_equal([text[slice(*span)] for span in back], ["ﬁn\u0303", ",", "e\u0301t", "漢", "e\u0301"])

    def test_of_nothing(self):
        assert_equal(chain([(0, 1)], []), [])
