"""Judges k05_byte_level_bpe against tokenizers' ByteLevelBPETokenizer, with GPT-2's own vocabulary."""

import json
import tracemalloc
from functools import cache
from itertools import islice, product

import pytest

from dojo.testing import assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_06_tokenization.k05_byte_level_bpe import ByteLevelBPE, byte_letters, merge_word, read_files

pytestmark = [from_scratch("tokenizers", "transformers", "tiktoken"), pure()]

MERGES = [("l", "o"), ("lo", "w"), ("e", "r"), ("Ġ", "low"), ("Ã", "©"), ("a", "a"), ("aa", "a")]
TEXTS = [
    "Hello world",
    "Größe — naïve café, 東京 🎉🏽‍♀️!",
    " leading,  double   spaces\n\n\ttabs\r\n and trailing  ",
    "I'll we've don't it's O'Neill 'tis",
    "x = 12345 + 6.78e-9; // ≠ ½ Ⅳ ٣",
    "",
    "\x00\x1f\x7f\xa0\u200b\ufeff",
    "e\u0301 \u0b95\u0bcd\u0bb7 \U0001f1e9\U0001f1ea",
]


def letters() -> dict[int, str]:
    """The letter of each byte, by the lesson's list."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in own]
    return {**{byte: chr(byte) for byte in own}, **{byte: chr(256 + n) for n, byte in enumerate(rest)}}


def small_vocabulary() -> dict[str, int]:
    """256 letters and the merges' results, with ids in no order."""
    tokens = [*letters().values(), *(a + b for a, b in MERGES)]
    return {token: (i * 89 + 17) % 997 for i, token in enumerate(tokens)}


def small() -> ByteLevelBPE:
    return ByteLevelBPE(small_vocabulary(), MERGES, {"<|end|>": 1000, "<|end|>!": 1001, "<s>": 1002})


def tokens_of(tokenizer: ByteLevelBPE, text: str) -> list[str]:
    by_id = {i: token for token, i in small_vocabulary().items()}
    return [by_id.get(i, i) for i in tokenizer.encode(text)]


@cache
def gpt2_of_tokenizers(vocabulary, merges):
    """tokenizers' own GPT-2, and what its files say."""
    from tokenizers import ByteLevelBPETokenizer

    theirs = ByteLevelBPETokenizer(str(vocabulary), str(merges))
    theirs.add_special_tokens(["<|endoftext|>"])
    lines = merges.read_text(encoding="utf-8").split("\n")
    pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    return theirs, json.loads(vocabulary.read_text(encoding="utf-8")), pairs


@pytest.fixture
def gpt2(gpt2_vocabulary):
    """The learner's tokenizer with GPT-2's vocabulary, and tokenizers' own."""
    theirs, ids, merges = gpt2_of_tokenizers(*gpt2_vocabulary)
    return ByteLevelBPE(dict(ids), list(merges), {"<|endoftext|>": 50256}), theirs


class TestByteLetters:
    def test_themselves_or_from_u0100_on(self):
        assert_equal(byte_letters(), [letters()[byte] for byte in range(256)])

    def test_those_of_tokenizers(self):
        from tokenizers.pre_tokenizers import ByteLevel

        assert_equal(sorted(byte_letters()), sorted(ByteLevel.alphabet()))
        assert_equal((byte_letters()[0x20], byte_letters()[0x0A], byte_letters()[0xC3]), ("Ġ", "Ċ", "Ã"))


class TestReadFiles:
    @pytest.mark.parametrize("head", ["#version: 0.2\n", ""])
    def test_vocabulary_and_merges(self, tmp_path, head):
        (tmp_path / "v.json").write_text(json.dumps({"Ġa": 3, "é": 0}, ensure_ascii=False), encoding="utf-8")
        (tmp_path / "m.txt").write_text(f"{head}Ġ a\n# #\n#version s\nÃ ©\n\n", encoding="utf-8")
        vocabulary, merges = read_files(tmp_path / "v.json", tmp_path / "m.txt")
        assert_equal(vocabulary, {"Ġa": 3, "é": 0})
        assert_equal(merges, [("Ġ", "a"), ("#", "#"), ("#version", "s"), ("Ã", "©")])

    def test_gpt2s(self, gpt2_vocabulary):
        vocabulary, merges = read_files(*gpt2_vocabulary)
        assert_equal((len(vocabulary), len(merges)), (50257, 50000))
        assert_equal([merges[i] for i in (0, 1, -1)], [("Ġ", "t"), ("Ġ", "a"), ("Ġg", "azed")])


class TestMergeWord:
    RANKS = {pair: rank for rank, pair in enumerate(MERGES)}

    def test_the_example_worked_by_hand(self):
        assert_equal(merge_word(list("lower"), self.RANKS), ["low", "er"])

    @pytest.mark.parametrize("parts", [[], ["l"], ["low"], ["l", "x"]])
    def test_where_nothing_can_be_merged(self, parts):
        assert_equal(merge_word(parts, self.RANKS), parts)
        assert_equal(merge_word(parts, {}), parts)

    @pytest.mark.parametrize(
        ("word", "merged"),
        [("aa", ["aa"]), ("aaa", ["aaa"]), ("aaaa", ["aa", "aa"]), ("aaaaa", ["aa", "aaa"]), ("baab", ["b", "aa", "b"])],
    )
    def test_a_letter_that_repeats(self, word, merged):
        assert_equal(merge_word(list(word), self.RANKS), merged)

    @pytest.mark.parametrize("word", ["aaa", "aaaaa", "baaa"])
    def test_from_left_to_right(self, word):
        pairs = ["aa"] * (word.count("a") // 2)
        assert_equal(merge_word(list(word), {("a", "a"): 0}), [*word.rstrip("a"), *pairs, "a"])

    @pytest.mark.parametrize("word", ["erer", "erxer", "loerloer"])
    def test_at_every_place(self, word):
        expected = word.replace("er", "|er|").replace("lo", "|lo|").replace("x", "|x|").strip("|").replace("||", "|")
        assert_equal(merge_word(list(word), self.RANKS), expected.split("|"))

    @pytest.mark.parametrize(("word", "merged"), [("pqrs", ["pq", "rs"]), ("abcd", ["a", "bc", "d"]), ("abxy", ["ab", "xy"])])
    def test_the_rank_decides(self, word, merged):
        merges = [("b", "c"), ("x", "y"), ("a", "b"), ("c", "d"), ("ab", "cd"), ("ab", "x"), ("r", "s"), ("p", "q"), ("q", "rs")]
        assert_equal(merge_word(list(word), {pair: rank for rank, pair in enumerate(merges)}), merged)

    def test_ranks_in_any_order_and_with_gaps(self):
        ranks = {("a", "b"): 900, ("b", "c"): 7, ("x", "y"): 40, ("c", "x"): 300}
        assert_equal(merge_word(list("abcxy"), ranks), ["a", "bc", "xy"])
        assert_equal(merge_word(list("zcxz"), ranks), ["z", "cx", "z"])
        assert_equal(merge_word(list("zabz"), ranks), ["z", "ab", "z"])

    def test_tokens_longer_than_a_letter(self):
        assert_equal(merge_word(("lo", "w", "e", "r"), self.RANKS), ["low", "er"])
        assert_equal(merge_word(("l", "ow", "er"), self.RANKS), ["l", "ow", "er"])

    def test_against_all_merges_one_after_the_other(self, rng):
        merges = [("a", "b"), ("b", "a"), ("ab", "a"), ("a", "a"), ("ab", "ab"), ("ba", "b"), ("aa", "b"), ("aba", "b")]
        for size in (3, 9, 30):
            word = "".join(rng.choice(list("ab"), size))
            parts = list(word)
            for pair in merges:
                i = 0
                while i < len(parts) - 1:
                    if (parts[i], parts[i + 1]) == pair:
                        parts[i : i + 2] = [parts[i] + parts[i + 1]]
                    i += 1
            assert_equal(merge_word(list(word), {pair: rank for rank, pair in enumerate(merges)}), parts)

    def test_thousands_of_letters_need_no_recursion(self):
        assert_equal(merge_word(list("low" * 700), self.RANKS), ["low"] * 700)

    def test_the_list_is_new(self):
        parts = ["x", "y"]
        if merge_word(parts, self.RANKS) is parts:
            fail("merge_word() hands back the list that it was given: make a new one.", evidence=("same list",))

    def test_the_work_does_not_grow_with_the_merges(self):
        own = list(letters().values())

        def cost(more: int) -> int:
            pairs = MERGES + [(a, b) for a in own[200:] for b in own[150:]][:more]
            ranks = {pair: rank for rank, pair in enumerate(pairs)}
            return python_steps(lambda: merge_word(list("slower"), ranks))

        few, many = cost(0), cost(3000)
        if many > 2 * few + 300:
            message = f'"slower" took {few} lines with 7 merges, but {many} with 3,007: look up the word\'s own neighbours.'
            fail(message, evidence=("grows with merges",))


class TestEncode:
    def test_the_rank_decides_and_not_the_length(self):
        merges = [("b", "c"), ("x", "y"), ("a", "b"), ("c", "d"), ("ab", "cd"), ("ab", "x")]
        merges += [("r", "s"), ("p", "q"), ("q", "rs")]
        vocabulary = {token: i for i, token in enumerate([*letters().values(), *(a + b for a, b in merges)])}
        tokenizer = ByteLevelBPE(vocabulary, merges)
        split = (["pq", "rs"], ["a", "bc", "d"], ["ab", "xy"])
        expected = [[vocabulary[token] for token in tokens] for tokens in split]
        assert_equal([tokenizer.encode(word) for word in ("pqrs", "abcd", "abxy")], expected)

    def test_the_example_worked_by_hand(self):
        assert_equal(tokens_of(small(), "lower"), ["low", "er"])
        assert_equal(tokens_of(small(), " é"), ["Ġ", "Ã©"])

    @pytest.mark.parametrize(
        ("text", "tokens"),
        [
            (" lower", ["Ġlow", "er"]),
            ("aaaaa", ["aa", "aaa"]),
            ("aaa", ["aaa"]),
            ("aaaa", ["aa", "aa"]),
            ("lo", ["lo"]),
            ("l", ["l"]),
            ("", []),
        ],
    )
    def test_the_lowest_rank_everywhere_then_the_next(self, text, tokens):
        assert_equal(tokens_of(small(), text), tokens)

    def test_a_long_word_needs_no_recursion(self):
        assert_equal(tokens_of(small(), "low" * 700), ["low"] * 700)

    def test_the_list_is_the_callers_own(self):
        tokenizer = ByteLevelBPE(small_vocabulary(), MERGES)
        for _ in range(3):
            ids = tokenizer.encode("low")
            assert_equal(ids, [small_vocabulary()["low"]])
            ids.append(5)


class TestEncodeFast:
    def test_a_word_costs_the_same_however_many_merges_there_are(self):
        own = list(letters().values())

        def cost(more: int) -> int:
            merges = MERGES + [(a, b) for a in own[200:] for b in own[150:]][:more]
            vocabulary = {token: i for i, token in enumerate([*own, *(a + b for a, b in merges)])}
            tokenizer, words = ByteLevelBPE(vocabulary, merges), iter(["lower", "slower"])
            return python_steps(lambda: tokenizer.encode(next(words)))

        few, many = cost(0), cost(3000)
        if many > 2 * few + 300:
            message = f'encode("slower") took {few} lines with 7 merges, but {many} with 3,007: look up the word\'s own neighbours.'
            fail(message, evidence=("grows with merges",))


class TestEncodeAsGPT2:
    @pytest.mark.parametrize("text", TEXTS)
    def test_gpt2s_ids(self, gpt2, text):
        mine, theirs = gpt2
        assert_equal(mine.encode(text), theirs.encode(text).ids)

    def test_gpt2s_ids_of_hamlet(self, gpt2, hamlet):
        mine, theirs = gpt2
        assert_equal(mine.encode(hamlet[:10_000]), theirs.encode(hamlet[:10_000]).ids)

    def test_any_text(self, gpt2):
        unicode_texts(gpt2, 150)

    @pytest.mark.slow
    def test_thousands_of_texts(self, gpt2):
        unicode_texts(gpt2, 5000)


class TestEncodeSpecial:
    @pytest.mark.parametrize("order", [1, -1])
    def test_special_tokens_are_not_taken_apart(self, order):
        special = {"<|end|>": 1000, "<|end|>!": 1001, "<s>": 1002}
        tokenizer = ByteLevelBPE(small_vocabulary(), MERGES, dict(list(special.items())[::order]))
        er, end = small_vocabulary()["er"], 1000
        assert_equal(tokenizer.encode("er<|end|>er<s>"), [er, end, er, 1002])
        assert_equal(tokenizer.encode("<|end|><|end|>!er"), [end, 1001, er])
        assert_equal(tokenizer.encode("<|end|> !"), [end, small_vocabulary()["Ġ"], small_vocabulary()["!"]])
        assert_equal(len(tokenizer.encode("<|end")), 5)

    def test_text_between_special_tokens_is_split_by_itself(self, gpt2):
        mine, theirs = gpt2
        for text in ("a <|endoftext|> b", "<|endoftext|>", "don<|endoftext|>'t  <|endoftext|>\n\n", "x <|endoftext|"):
            assert_equal(mine.encode(text), theirs.encode(text).ids)

    def test_without_special_tokens(self):
        for plain in (ByteLevelBPE(small_vocabulary(), MERGES), ByteLevelBPE(small_vocabulary(), MERGES, {})):
            assert_equal(len(plain.encode("<s>")), 3)

    def test_what_it_is_given_stays_as_it_is(self):
        vocabulary, merges, special = small_vocabulary(), list(MERGES), {"<s>": 1002}
        ByteLevelBPE(vocabulary, merges, special).encode("lower <s>")
        assert_equal((vocabulary, merges, special), (small_vocabulary(), MERGES, {"<s>": 1002}))


def unicode_texts(gpt2, examples: int) -> None:
    """Encoding any text gives tokenizers' ids, and decoding gives the text back."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    mine, theirs = gpt2

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
    def check(text):
        ids = mine.encode(text)
        assert_equal(ids, theirs.encode(text).ids)
        assert_equal(mine.decode(ids), text)

    check()


class TestEncodeIterable:
    def test_the_ids_of_each_text_in_turn(self):
        tokenizer = small()
        texts = ["lower", " low", "", "er<s>"]
        expected = [i for text in texts for i in tokenizer.encode(text)]
        assert_equal(list(tokenizer.encode_iterable(iter(texts))), expected)
        assert_equal(list(tokenizer.encode_iterable(texts)), expected)
        assert_equal(texts, ["lower", " low", "", "er<s>"])

    def test_it_asks_for_a_text_when_it_needs_one(self):
        taken = []

        def many():
            for n in range(300):
                taken.append(n)
                yield "lower"

        given = list(islice(small().encode_iterable(many()), 7))
        assert_equal(len(given), 7)
        if len(taken) > 4:
            fail(f"encode_iterable() took {len(taken)} texts for 7 ids, where 4 have them.", evidence=("eager", len(taken)))

    def test_it_never_holds_all_of_it(self):
        tokenizer = small()
        list(tokenizer.encode_iterable(["lower low "] * 5))
        tracemalloc.start()
        try:
            n = sum(1 for _ in tokenizer.encode_iterable("lower low " for _ in range(6000)))
            peak = tracemalloc.get_traced_memory()[1] / 1024
        finally:
            tracemalloc.stop()
        assert_equal(n, 24_000)
        if peak > 100:
            fail(f"encode_iterable() held {peak:.0f} KB for 6,000 short texts.", evidence=("memory",))


    def test_it_does_not_remember_every_word(self):
        tokenizer = small()
        words = ("".join(letters) for letters in product("bcdfghijkmnp", repeat=4))
        peaks = []
        tracemalloc.start()
        try:
            for _ in range(2):
                tracemalloc.reset_peak()
                for _ in tokenizer.encode_iterable(islice(words, 10_100)):
                    pass
                peaks.append(tracemalloc.get_traced_memory()[1] / 1024)
        finally:
            tracemalloc.stop()
        if peaks[1] > peaks[0] + 500:
            message = f"The tokenizer held {peaks[0]:.0f} KB after 10,100 different words and {peaks[1]:.0f} KB after 20,200."
            fail(message, evidence=("remembers all",))


class TestDecode:
    @pytest.mark.parametrize("text", TEXTS)
    def test_what_was_encoded_comes_back(self, text):
        tokenizer = small()
        assert_equal(tokenizer.decode(tokenizer.encode(text)), text)

    def test_special_tokens_are_part_of_the_text(self):
        assert_equal(small().decode([1000, small_vocabulary()["low"], 1002]), "<|end|>low<s>")

    @pytest.mark.parametrize(
        "some",
        [b"\xc3", b"a\xc3b", b"\xa9\xa9", b"\xf0\x9f\x8e", b"\xf0\x9f\x8e\x89", b"\xff\xfe", b"\xe6\x9d\xe6\x9d\xb1", b"\xed\xa0\x80"],
    )
    def test_bytes_that_make_no_character(self, some):
        vocabulary = small_vocabulary()
        ids = [vocabulary[letters()[byte]] for byte in some]
        assert_equal(small().decode(ids), some.decode("utf-8", errors="replace"))

    def test_gpt2s(self, gpt2, rng):
        mine, theirs = gpt2
        for _ in range(60):
            ids = rng.integers(0, 50257, 12).tolist()
            assert_equal(mine.decode(ids), theirs.decode(ids, skip_special_tokens=False))

    @pytest.mark.parametrize("unknown", [999_999, 990, -1, -3])
    def test_an_id_that_no_token_has_is_named(self, unknown):
        with raises(ValueError, unknown):
            small().decode([1000, unknown])

    def test_a_generator_of_ids(self):
        assert_equal(small().decode(i for i in [1000, 1002]), "<|end|><s>")


class TestDecodeStream:
    def test_a_character_comes_when_it_is_complete(self):
        vocabulary = small_vocabulary()
        ids = [vocabulary[letters()[byte]] for byte in "aé🎉!".encode()]
        assert_equal(list(small().decode_stream(ids)), ["a", "é", "🎉", "!"])

    @pytest.mark.parametrize("some", [b"ab\xc3", b"\xf0\x9f\x8eab", b"\xff", b"\xe6\x9d"])
    def test_it_joins_to_what_decode_gives(self, some):
        vocabulary = small_vocabulary()
        ids = [vocabulary[letters()[byte]] for byte in some]
        pieces = list(small().decode_stream(ids))
        assert_equal("".join(pieces), some.decode("utf-8", errors="replace"))
        assert_equal("" in pieces, False)

    def test_it_goes_on_while_a_model_writes(self):
        taken = []
        low = small_vocabulary()["low"]

        def many():
            for n in range(300):
                taken.append(n)
                yield low

        assert_equal(list(islice(small().decode_stream(many()), 3)), ["low", "low", "low"])
        if len(taken) > 4:
            fail(f"decode_stream() took {len(taken)} ids for 3 pieces.", evidence=("eager", len(taken)))

    def test_an_id_that_no_token_has_is_named(self):
        with raises(ValueError, 4321):
            list(small().decode_stream([1000, 4321]))
