"""Judges k02_pretokenization against tokenizers' ByteLevel and, for cl100k, its published expression in tokenizers' own engine."""

import random
import unicodedata
from collections import Counter
from functools import cache

import pytest

from dojo.testing import assert_equal, from_scratch, pure, raises
from katas.module_06_tokenization.k02_pretokenization import split_cl100k, split_gpt2, word_counts

pytestmark = [from_scratch("tokenizers", "transformers", "tiktoken"), pure()]


@cache
def settled() -> list[str]:
    """Characters whose category old and new versions of Unicode agree on; the long ſ is left out."""
    characters = (chr(code) for code in (*range(0xD800), *range(0xE000, 0x30000)))
    old = unicodedata.ucd_3_2_0
    return [c for c in characters if old.category(c) == unicodedata.category(c) != "Cn" and c != "ſ"]


def any_text(check, alphabet=None, examples: int = 60) -> None:
    """Let hypothesis look for a text that `check` fails on, and make it short."""
    import hypothesis
    from hypothesis import strategies as st

    tricky = st.sampled_from([*list(" \n\r\t'sStTrReEvVlLdDmMaé.!$(_019½²Ⅷ́\u3000\x85\x1c"), "  ", "\r\n", "'ll", "'RE"])
    other = st.characters(exclude_categories=["Cs"]) if alphabet is None else st.sampled_from(alphabet)
    texts = st.lists(st.one_of(tricky, tricky, other), max_size=14).map("".join)
    quiet = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.seed(random.getrandbits(32))(quiet(hypothesis.given(texts)(lambda text: check(text))))()


def oracle_gpt2():
    from tokenizers.pre_tokenizers import ByteLevel

    byte_level = ByteLevel(add_prefix_space=False)
    return lambda text: [text[slice(*span)] for _, span in byte_level.pre_tokenize_str(text)]


def oracle_cl100k(digits: int):
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    published = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,%d}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    cut = Split(Regex(published % digits), "isolated")
    return lambda text: [word for word, _ in cut.pre_tokenize_str(text)]


class TestSplitGPT2:
    def test_the_example_worked_by_hand(self):
        expected = ["I", "'ve", " 12345", " dogs", ",", " ", " OK", "?"]
        assert_equal(split_gpt2("I've 12345 dogs,  OK?"), expected)

    @pytest.mark.parametrize("ending", ["s", "t", "re", "ve", "m", "ll", "d"])
    def test_endings_are_cut_off_in_small_letters_only(self, ending):
        assert_equal(split_gpt2(f"x'{ending}y"), ["x", f"'{ending}", "y"])
        assert_equal(split_gpt2(f"x'{ending.upper()}y"), ["x", "'", f"{ending.upper()}y"])
        assert_equal(split_gpt2(f"x '{ending}"), ["x", " '", ending])
        assert_equal(split_gpt2(f"x’{ending}"), ["x", "’", ending])

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("don'x", ["don", "'", "x"]),
            ("x'rs", ["x", "'", "rs"]),
            ("x'le", ["x", "'", "le"]),
            ("''s", ["''", "s"]),
        ],
    )
    def test_other_endings_are_not(self, text, expected):
        assert_equal(split_gpt2(text), expected)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a  b", ["a", " ", " b"]),
            ("a \n b", ["a", " \n", " b"]),
            ("a\n\nb", ["a", "\n", "\n", "b"]),
            ("a \t1", ["a", " ", "\t", "1"]),
            ("a\t\t.", ["a", "\t", "\t", "."]),
            ("  a", [" ", " a"]),
            ("a   ", ["a", "   "]),
            (" ", [" "]),
            ("a  \x1c", ["a", " ", " \x1c"]),
            ("a\u3000\u00a0b", ["a", "\u3000", "\u00a0", "b"]),
            ("a \x1cb", ["a", " \x1c", "b"]),
            ("a\x85\x0b\x0cb", ["a", "\x85\x0b", "\x0c", "b"]),
        ],
    )
    def test_white_space_leaves_its_last_to_the_word(self, text, expected):
        assert_equal(split_gpt2(text), expected)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("ab12cd", ["ab", "12", "cd"]),
            ("x² Ⅷ½", ["x", "²", " Ⅷ½"]),
            ("a_b __", ["a", "_", "b", " __"]),
            ("e\u0301a", ["e", "\u0301", "a"]),
            ("Straße 漢字ªʰ", ["Straße", " 漢字ªʰ"]),
            ("a ,.b !?", ["a", " ,.", "b", " !?"]),
            ("1,000.5", ["1", ",", "000", ".", "5"]),
            ("٣a", ["٣", "a"]),
        ],
    )
    def test_letters_numbers_and_the_rest_part(self, text, expected):
        assert_equal(split_gpt2(text), expected)

    def test_matches_tokenizers_on_a_play(self, hamlet):
        assert_equal(split_gpt2(hamlet[:20_000]), oracle_gpt2()(hamlet[:20_000]))

    def test_matches_tokenizers_on_any_text(self):
        theirs = oracle_gpt2()
        any_text(lambda text: assert_equal(split_gpt2(text), theirs(text)), settled())

    def test_loses_nothing(self):
        any_text(lambda text: assert_equal("".join(split_gpt2(text)), text))

    def test_nothing_from_nothing(self):
        assert_equal(split_gpt2(""), [])


class TestSplitCl100k:
    def test_the_example_worked_by_hand(self):
        expected = ["I", "'VE", " ", "123", "45", " dogs", ",", " ", " OK", "?"]
        assert_equal(split_cl100k("I'VE 12345 dogs,  OK?"), expected)

    @pytest.mark.parametrize("ending", ["s", "t", "re", "ve", "m", "ll", "d", "S", "T", "Re", "vE", "M", "LL", "D"])
    def test_endings_are_cut_off_in_capitals_too(self, ending):
        assert_equal(split_cl100k(f"x'{ending}y"), ["x", f"'{ending}", "y"])
        assert_equal(split_cl100k(f"x '{ending}"), ["x", " '", ending])

    def test_one_character_before_letters_goes_with_them(self):
        expected = ["a", "(b", "_c", " ((", "d", "\te", "\u0301f", "\u3000g", "'xy", "’s"]
        assert_equal(split_cl100k("a(b_c ((d\te\u0301f\u3000g'xy’s"), expected)

    def test_neither_numbers_nor_line_breaks_go_with_letters(self):
        assert_equal(split_cl100k("a1b²c\nd\re"), ["a", "1", "b", "²", "c", "\n", "d", "\r", "e"])

    @pytest.mark.parametrize(
        ("digits", "expected"),
        [
            (1, ["1", "2", "3", "4", "5", "²", "Ⅷ", "a"]),
            (2, ["12", "34", "5²", "Ⅷ", "a"]),
            (3, ["123", "45²", "Ⅷ", "a"]),
            (4, ["1234", "5²Ⅷ", "a"]),
            (10, ["12345²Ⅷ", "a"]),
        ],
    )
    def test_numbers_are_limited(self, digits, expected):
        assert_equal(split_cl100k("12345²Ⅷa", digits), expected)
        assert_equal(split_cl100k("12345²Ⅷa", digits=digits), expected)

    def test_numbers_take_no_space(self):
        assert_equal(split_cl100k("a 1  2"), ["a", " ", "1", " ", " ", "2"])

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a!\n\n b", ["a", "!\n\n", " b"]),
            ("a .\r\n\n.", ["a", " .\r\n\n", "."]),
            ("a. \nb", ["a", ".", " \n", "b"]),
            ("a \n\n  b", ["a", " \n\n", " ", " b"]),
            ("a\n \nb", ["a", "\n \n", "b"]),
            ("a \r", ["a", " \r"]),
            ("a\n  ", ["a", "\n", "  "]),
            ("a\t b", ["a", "\t", " b"]),
            ("a \t1", ["a", " ", "\t", "1"]),
            ("a\u2028\u2028.", ["a", "\u2028", "\u2028", "."]),
        ],
    )
    def test_line_breaks(self, text, expected):
        assert_equal(split_cl100k(text), expected)

    def test_matches_the_published_expression_on_a_play(self, hamlet):
        assert_equal(split_cl100k(hamlet[:20_000]), oracle_cl100k(3)(hamlet[:20_000]))

    @pytest.mark.parametrize("digits", [1, 3])
    def test_matches_the_published_expression_on_any_text(self, digits):
        theirs = oracle_cl100k(digits)
        any_text(lambda text: assert_equal(split_cl100k(text, digits), theirs(text)), settled())

    def test_loses_nothing(self):
        any_text(lambda text: assert_equal("".join(split_cl100k(text)), text))

    def test_nothing_from_nothing(self):
        assert_equal(split_cl100k(""), [])

    @pytest.mark.parametrize("digits", [0, -2])
    def test_rejects_no_digits(self, digits):
        with raises(ValueError, digits):
            split_cl100k("12", digits)


class TestWordCounts:
    def test_counts_words_as_bytes(self):
        expected = {b"no": 1, b" no": 2, "né".encode(): 1, b"!": 1}
        assert_equal(dict(word_counts(["no no no", "né!"])), expected)

    def test_no_word_crosses_from_one_text_to_the_next(self):
        assert_equal(dict(word_counts(["a", "b", "", " ", "a"])), {b"a": 2, b"b": 1, b" ": 1})

    def test_uses_the_split_that_is_given(self):
        assert_equal(dict(word_counts(["x 1234", "1234"], split_cl100k)), {b"x": 1, b" ": 1, b"123": 2, b"4": 2})
        assert_equal(dict(word_counts(["abac"], split=list)), {b"a": 2, b"b": 1, b"c": 1})

    def test_takes_a_generator(self, hamlet):
        lines = hamlet[:5000].splitlines(keepends=True)
        expected = Counter(word.encode() for line in lines for word in oracle_gpt2()(line))
        assert_equal(dict(word_counts(line for line in lines)), dict(expected))

    def test_of_nothing(self):
        assert_equal(dict(word_counts([])), {})
