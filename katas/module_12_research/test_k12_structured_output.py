"""Judges k12_structured_output by Python's re, json and jsonschema, over small vocabularies and over GPT-2's."""

import copy
import functools
import itertools
import json
import random
import re

import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import seeded
from katas.module_12_research.k12_structured_output import (
    EMPTY,
    NOTHING,
    Alt,
    Chars,
    Concat,
    Star,
    TokenMasks,
    alternate,
    array_regex,
    compile_regex,
    concat,
    constrained_decode,
    derivative,
    nullable,
    object_regex,
    parse,
    schema_regex,
)

pytestmark = [from_scratch("re", "regex", "jsonschema", "transformers"), pure()]


def chars(text: str) -> Chars:
    return Chars(frozenset(text.encode()))


def shown(regex) -> object:
    """The regex as texts and lists, so that answers of two files can be compared."""
    if isinstance(regex, Chars):
        return "[" + bytes(sorted(regex.values)).decode("latin-1") + "]"
    if isinstance(regex, Concat):
        return ["concat", *map(shown, regex.parts)]
    if isinstance(regex, Alt):
        return any_of(*map(shown, regex.options))
    if isinstance(regex, Star):
        return ["star", shown(regex.inner)]
    return f"a {type(regex).__name__}, which is no regex"


def any_of(*options) -> list:
    return ["alt", *sorted(options, key=str)]


def ends(regex, text: bytes, start: int) -> set[int]:
    """Where a match that begins at `start` may end: by the four classes alone, without derivatives."""
    if isinstance(regex, Chars):
        return {start + 1} if start < len(text) and text[start] in regex.values else set()
    if isinstance(regex, Alt):
        return {end for option in regex.options for end in ends(option, text, start)}
    found = {start}
    if isinstance(regex, Concat):
        for part in regex.parts:
            found = {end for place in found for end in ends(part, text, place)}
        return found
    waiting = [start]
    while waiting:
        new = ends(regex.inner, text, waiting.pop()) - found
        found |= new
        waiting += new
    return found


def matches(regex, text: bytes) -> bool:
    return len(text) in ends(regex, text, 0)


def texts(alphabet: str, longest: int) -> list[bytes]:
    return ["".join(t).encode() for n in range(longest + 1) for t in itertools.product(alphabet, repeat=n)]


class TestConcat:
    def test_one_after_the_other(self):
        a, b = chars("ab"), Star(chars("c"))
        assert_equal(shown(concat(a, b)), ["concat", "[ab]", ["star", "[c]"]])
        assert_equal(shown(concat(b, a, b)), ["concat", ["star", "[c]"], "[ab]", ["star", "[c]"]])

    def test_its_parts_are_flat(self):
        a, b, c = map(chars, "abc")
        flat = ["concat", "[a]", "[b]", "[c]", "[a]"]
        assert_equal(shown(concat(Concat((a, b)), c, a)), flat)
        assert_equal(shown(concat(a, Concat((b, c)), a)), flat)
        assert_equal(shown(concat(a, b, Concat((c, a)))), flat)

    def test_nothing_anywhere_is_nothing(self):
        a, b = map(chars, "ab")
        for parts in [(NOTHING, a), (a, NOTHING), (a, NOTHING, b), (NOTHING,), (Concat((a, b)), NOTHING)]:
            assert_equal(shown(concat(*parts)), "[]")

    def test_the_empty_text_falls_away(self):
        a, b = map(chars, "ab")
        assert_equal(shown(concat(a, EMPTY, b)), ["concat", "[a]", "[b]"])
        assert_equal([shown(concat(EMPTY, a)), shown(concat(a)), shown(concat(a, EMPTY))], ["[a]"] * 3)
        assert_equal([shown(concat()), shown(concat(EMPTY, EMPTY))], [["concat"]] * 2)

    def test_options_stay_together(self):
        option = Alt(frozenset({EMPTY, chars("x")}))
        assert_equal(shown(concat(option, chars("y"))), ["concat", any_of("[x]", ["concat"]), "[y]"])


class TestAlternate:
    def test_a_set_of_options(self):
        ab, star = concat(chars("a"), chars("b")), Star(chars("c"))
        expected = any_of(["concat", "[a]", "[b]"], ["star", "[c]"])
        assert_equal(shown(alternate(ab, star)), expected)
        assert_equal(alternate(ab, star) == alternate(star, ab, star), True)

    def test_options_of_options(self):
        ab, star, cd = concat(chars("a"), chars("b")), Star(chars("c")), concat(chars("c"), chars("d"))
        expected = any_of(["concat", "[a]", "[b]"], ["concat", "[c]", "[d]"], ["star", "[c]"])
        assert_equal(shown(alternate(alternate(ab, cd), star)), expected)
        assert_equal(shown(alternate(star, Alt(frozenset({cd, ab})), cd)), expected)

    def test_bytes_become_one_class(self):
        ab = concat(chars("a"), chars("b"))
        assert_equal(shown(alternate(chars("ac"), chars("cx"))), "[acx]")
        assert_equal(shown(alternate(chars("a"), ab, chars("b"))), any_of("[ab]", ["concat", "[a]", "[b]"]))
        inside = Alt(frozenset({chars("b"), ab}))
        assert_equal(shown(alternate(chars("a"), inside)), any_of("[ab]", ["concat", "[a]", "[b]"]))

    def test_nothing_falls_away(self):
        ab = concat(chars("a"), chars("b"))
        assert_equal(shown(alternate(NOTHING, ab)), ["concat", "[a]", "[b]"])
        assert_equal(shown(alternate(NOTHING, EMPTY)), ["concat"])
        assert_equal([shown(alternate()), shown(alternate(NOTHING, NOTHING))], ["[]"] * 2)

    def test_one_option_is_no_choice(self):
        star = Star(chars("c"))
        assert_equal([shown(alternate(star)), shown(alternate(star, star))], [["star", "[c]"]] * 2)
        assert_equal(shown(alternate(chars("q"))), "[q]")


class TestNullable:
    def test_case_by_case(self):
        a, star = chars("a"), Star(chars("b"))
        cases = [
            (NOTHING, False), (EMPTY, True), (a, False), (star, True), (Star(NOTHING), True), (Concat((a, star)), False),
            (Concat((star, a)), False), (Concat((star, star)), True), (Alt(frozenset({a, star})), True),
            (Alt(frozenset({a, Concat((a, a))})), False), (Alt(frozenset({a, EMPTY})), True),
            (Concat((Alt(frozenset({a, EMPTY})), star)), True), (Concat((star, Alt(frozenset({a, Concat((a, a))})))), False),
        ]  # fmt: skip
        for regex, expected in cases:
            assert_equal((shown(regex), nullable(regex)), (shown(regex), expected))


A, B = b"ab"


class TestDerivative:
    def test_the_example_worked_by_hand(self):
        a, b = chars("a"), chars("b")
        whole = concat(Star(chars("ab")), a, b, b)
        after_a, after_ab = alternate(whole, concat(b, b)), alternate(whole, b)
        found = [derivative(whole, A), derivative(whole, B), derivative(after_a, A), derivative(after_a, B)]
        assert_equal(list(map(shown, found)), list(map(shown, [after_a, whole, after_a, after_ab])))
        assert_equal(shown(derivative(after_ab, B)), shown(alternate(whole, EMPTY)))
        assert_equal(shown(derivative(whole, ord("c"))), "[]")

    def test_of_a_class(self):
        assert_equal([shown(derivative(chars("ax"), byte)) for byte in b"axb"], [["concat"], ["concat"], "[]"])
        assert_equal([shown(derivative(NOTHING, A)), shown(derivative(EMPTY, A))], ["[]", "[]"])

    def test_a_star_goes_on(self):
        inner = concat(chars("a"), chars("b"))
        assert_equal(shown(derivative(Star(inner), A)), shown(concat(chars("b"), Star(inner))))
        assert_equal(shown(derivative(Star(inner), B)), "[]")

    def test_the_second_part_if_the_first_may_be_empty(self):
        a, b, c = map(chars, "abc")
        regex = concat(Star(a), Star(b), c, a)
        assert_equal(shown(derivative(regex, A)), shown(regex))
        assert_equal(shown(derivative(regex, B)), shown(concat(Star(b), c, a)))
        assert_equal(shown(derivative(regex, ord("c"))), "[a]")

    def test_the_second_part_only_then(self):
        assert_equal(shown(derivative(concat(chars("a"), chars("b")), B)), "[]")

    @pytest.mark.parametrize("seed", range(4))
    def test_matches_as_re_does(self, seed):
        """Words that re.fullmatch accepts, and words that it doesn't."""
        draw = random.Random(seed)
        for _ in range(12):
            regex, pattern = some_regex(draw, 3)
            known = re.compile(pattern, re.DOTALL)
            for text in [*texts("ab", 4), b"abcab", b"cbaab"]:
                rest = regex
                for byte in text:
                    rest = derivative(rest, byte)
                if nullable(rest) != bool(known.fullmatch(text)):
                    fail(f"{pattern!r} and {text!r}: re says {bool(known.fullmatch(text))}.", evidence=(pattern, text))


def some_regex(draw: random.Random, depth: int):
    """A random regex, and the same for `re`, built without `parse`."""
    kind = draw.choice(["class", "concat", "alt", "star"]) if depth else "class"
    if kind == "class":
        letters = "".join(sorted(draw.sample("abc", draw.randint(1, 2))))
        return chars(letters), f"[{letters}]".encode()
    (one, first), (other, second) = some_regex(draw, depth - 1), some_regex(draw, depth - 1)
    if kind == "concat":
        return concat(one, other), b"(?:" + first + second + b")"
    if kind == "alt":
        return alternate(one, other), b"(?:" + first + b"|" + second + b")"
    return Star(one), b"(?:" + first + b")*"


SAMPLE = [bytes([byte]) for byte in range(256)]


def judged_by_re(pattern: bytes, samples: list[bytes]) -> None:
    regex, known = parse(pattern), re.compile(pattern)
    wrong = [text for text in samples if matches(regex, text) != bool(known.fullmatch(text))]
    if wrong:
        says = bool(known.fullmatch(wrong[0]))
        fail(f"{pattern!r} and {wrong[0]!r}: re says {says} ({len(wrong)} differ).", evidence=(pattern, wrong[:40]))


class TestParse:
    @pytest.mark.parametrize("pattern", [b"a", b"ab", b"", b"a|b", b"ab|cb", b"a|", b"|a|bb", b"a|b|c", b"abc|b", b"\xc3\xa9"])
    def test_sequences_and_options(self, pattern):
        judged_by_re(pattern, [*texts("abc", 3), "é".encode(), b"\xc3"])

    @pytest.mark.parametrize("pattern", [b"a*", b"ab*", b"a+", b"ba+b", b"a?b", b"a|b*", b"a*b*|c?", b"a+|b"])
    def test_how_often(self, pattern):
        judged_by_re(pattern, texts("abc", 4))

    @pytest.mark.parametrize(
        "pattern", [b"(ab)*", b"(a|b)c", b"((a|b)c)+", b"(a)", b"()", b"(|a)b", b"(a*)*b", b"(a?)+", b"(a(b(c)?)?)*", b"c(ab)?"]
    )
    def test_groups(self, pattern):
        judged_by_re(pattern, texts("abc", 5))

    @pytest.mark.parametrize(
        "pattern",
        [b"[abc]", b"[a-f]", b"[a-cx-z_0-9]", b"[^a-f]", b"[^x]", b"[ab-]".replace(b"-", rb"\-"), rb"[\]\[]", rb"[a\^]", rb"[\^a]", rb"[\\]",
         b"[.*+?(){}|$]", b"[ -~]", b"[a-a]", rb"[#-\[\]-~]", b"[\x80-\xff]", rb"[^\^]", rb"[\--/]"],
    )  # fmt: skip
    def test_classes_byte_by_byte(self, pattern):
        judged_by_re(pattern, SAMPLE)

    def test_a_dot_is_all_but_the_newline(self):
        judged_by_re(b".", SAMPLE)
        judged_by_re(b"a.c", [b"abc", b"a\nc", b"ac", b"a.c", b"abbc"])

    @pytest.mark.parametrize("letter", rb"\.[](){}|*+?^$-/")
    def test_behind_a_backslash(self, letter):
        judged_by_re(b"\\" + bytes([letter]), [*SAMPLE, b"\\" + bytes([letter]), b""])
        judged_by_re(b"a\\" + bytes([letter]) + b"+", [b"a" + bytes([letter]) * n for n in range(4)])

    @pytest.mark.parametrize("letter", b"-/\"'~ ,:_\x00\xff")
    def test_stands_for_itself(self, letter):
        judged_by_re(bytes([letter]), SAMPLE)

    @pytest.mark.parametrize(
        "pattern", [b"(a", b"a)", b"(a))", b"((a)", b")", b"(", b"[ab", b"[", b"a]", b"a|(b", b"[a-", b"[^", b"(a]", b"]"]
    )
    def test_refuses_a_bracket_without_its_other_half(self, pattern):
        with raises(ValueError, repr(pattern)):
            parse(pattern)

    @pytest.mark.parametrize("pattern", [b"*", b"a|*", b"(+a)", b"a**", b"a+?", b"?", b"a?*b", b"a(?)", b"(a)+*", b"a*+"])
    def test_refuses_a_number_of_nothing(self, pattern):
        with raises(ValueError, repr(pattern)):
            parse(pattern)

    @pytest.mark.parametrize("pattern", [b"a{3}", b"{", b"^a", b"a$", b"a}", b"a|^", b"$"])
    def test_refuses_what_means_something_else(self, pattern):
        with raises(ValueError, repr(pattern)):
            parse(pattern)

    @pytest.mark.parametrize("pattern", [b"[]", b"a[]b", b"[^]", b"[b-a]", b"[x0-/]", b"a\\", b"\\", b"a\\\\\\"])
    def test_refuses_empty_and_backward_classes_and_a_last_backslash(self, pattern):
        with raises(ValueError, repr(pattern)):
            parse(pattern)


def walk(automaton, text: bytes) -> int:
    state = 0
    for byte in text:
        state = int(automaton.table[state, byte])
        if state < 0:
            return -1
    return state


def language(automaton, samples: list[bytes]) -> list[bytes]:
    found = [(text, walk(automaton, text)) for text in samples]
    return [text for text, state in found if state >= 0 and bool(automaton.accepting[state])]


class TestCompileRegex:
    def test_the_example_worked_by_hand(self):
        automaton = compile_regex(parse(b"(a|b)*abb"))
        assert_equal((tuple(automaton.table.shape), tuple(automaton.accepting.shape)), ((4, 256), (4,)))
        assert_equal((automaton.table.dtype, automaton.accepting.dtype), (torch.int64, torch.bool))
        s, a, ab, abb = (walk(automaton, text) for text in (b"", b"a", b"ab", b"abb"))
        assert_equal((s, len({s, a, ab, abb})), (0, 4))
        assert_equal([walk(automaton, text) for text in (b"b", b"aa", b"aba", b"abba", b"abbb")], [s, a, a, a, s])
        assert_equal([bool(automaton.accepting[state]) for state in (s, a, ab, abb)], [False, False, False, True])
        assert_equal(int((automaton.table >= 0).sum()), 8)

    @pytest.mark.parametrize("pattern", [b"(a|b)*abb", b"a(b|ca)*", b"(ab|ba)*c?", b"(a*b*)*c", b"a", b"", b"(a|ab)(c|bcb)"])
    def test_all_words_as_re(self, pattern):
        samples = texts("abc", 5)
        automaton, known = compile_regex(parse(pattern)), re.compile(pattern)
        assert_equal(language(automaton, samples), [text for text in samples if known.fullmatch(text)])

    @pytest.mark.parametrize("pattern", [b"(a|b)*abb", b"abc|abd", b"(ab)*", b"x[^a]*y"])
    def test_minus_one_exactly_where_no_match_can_follow(self, pattern):
        automaton = compile_regex(parse(pattern))
        alive = automaton.accepting.clone()
        for _ in range(len(alive)):
            ahead = automaton.table.clamp(min=0)
            alive = alive | (alive[ahead] & (automaton.table >= 0)).any(1)
        assert_equal(bool(alive.all()), True)

    def test_each_state_can_be_reached(self):
        table = compile_regex(parse(b"(ab|cd)*e[^f]?")).table
        reached, last = {0}, set()
        while reached != last:
            last = reached
            reached = reached | {int(to) for state in reached for to in table[state] if to >= 0}
        assert_equal(reached, set(range(len(table))))

    @pytest.mark.parametrize("pattern", [b"(a|b)*a(a|b)(a|b)", b"((a|b)*c(a|b)*)*", b"(a*)*(a|aa)*"])
    def test_finitely_many_states(self, pattern):
        assert_equal(len(compile_regex(parse(pattern)).table) <= 40, True)

    def test_all_256_bytes(self):
        row = compile_regex(parse(b"[^a]")).table[0].tolist()
        assert_equal([byte for byte in range(256) if row[byte] < 0], [97])

    def test_nothing_has_a_start_all_the_same(self):
        automaton = compile_regex(NOTHING)
        assert_equal(automaton.table, torch.full((1, 256), -1))
        assert_equal(automaton.accepting, torch.tensor([False]))


TOKENS = [b"a", b"ab", b"abc", b"bb", b"bc", b"ca", b"</s>"]


def small_masks(pattern: bytes = b"ab*c", tokens: list[bytes] = TOKENS, end: int = 6) -> TokenMasks:
    return TokenMasks(compile_regex(parse(pattern)), list(tokens), end)


def allowed(masks: TokenMasks, tokens: list[bytes], state: int) -> list[bytes]:
    return [tokens[i] for i in masks.mask(state).nonzero()[:, 0].tolist()]


def leads_on(rows: list[list[int]], state: int, token: bytes) -> bool:
    for byte in token:
        state = rows[state][byte]
        if state < 0:
            return False
    return bool(token)


class TestTokenMasks:
    def test_the_example_worked_by_hand(self):
        masks = small_masks()
        assert_equal(masks.mask(0), torch.tensor([True, True, True, False, False, False, False]))
        assert_equal(allowed(masks, TOKENS, masks.advance(0, 0)), [b"bb", b"bc"])
        assert_equal(allowed(masks, TOKENS, masks.advance(0, 2)), [b"</s>"])
        assert_equal(masks.end, 6)

    @pytest.mark.parametrize("pattern", [b"ab*c", b"c[abc]*", b"(a|b)*abb"])
    def test_advance_goes_byte_by_byte(self, pattern):
        automaton = compile_regex(parse(pattern))
        masks = TokenMasks(automaton, TOKENS, 6)
        for state in range(len(automaton.table)):
            for token in range(6):
                expected = state
                for byte in TOKENS[token]:
                    expected = int(automaton.table[expected, byte]) if expected >= 0 else -1
                found = masks.advance(state, token)
                assert_equal((state, token, found, type(found)), (state, token, expected, int))

    @pytest.mark.parametrize("pattern", [b"(ab|c)*", b"(a|b)*abb", b"a?b?c?a?b?c?", b"[^c]*", b".*"])
    @pytest.mark.parametrize("end", [0, 9])
    def test_token_by_token(self, pattern, end):
        tokens = [b"b", b"ab", b"", b"cab", b"abb", b"ab", b"ccccccc", b"\xff\x00", b"\n", b"bca"]
        automaton = compile_regex(parse(pattern))
        masks, rows = TokenMasks(automaton, tokens, end), automaton.table.tolist()
        for state in range(len(rows)):
            expected = [leads_on(rows, state, token) for token in tokens]
            expected[end] = bool(automaton.accepting[state])
            assert_equal((state, masks.mask(state)), (state, torch.tensor(expected)))

    def test_the_ends_own_bytes_dont_count(self):
        masks = small_masks(b"a*b", [b"a", b"b", b"ab"], 2)
        assert_equal(masks.mask(0).tolist(), [True, True, False])
        assert_equal(masks.mask(masks.advance(0, 1)).tolist(), [False, False, True])

    def test_an_empty_token_never(self):
        masks = small_masks(b"a*", [b"", b"a", b""], 0)
        assert_equal(masks.mask(0).tolist(), [True, True, False])
        assert_equal(small_masks(b"a", [b"", b""], 1).mask(0).tolist(), [False, False])

    def test_asked_twice(self):
        masks = small_masks()
        middle = masks.advance(0, 0)
        first = [masks.mask(0).tolist(), masks.mask(middle).tolist()]
        assert_equal([masks.mask(0).tolist(), masks.mask(middle).tolist()], first)

    @pytest.mark.parametrize("pattern", [b"(abc|b)*", b"a(b|ca)*b", b"c?(ab)+"])
    def test_all_words_can_be_written_and_no_others(self, pattern):
        """All ways through the masks, up to five bytes."""
        tokens = [b"a", b"b", b"c", b"ab", b"ca", b"bca", b"."]
        masks, written = small_masks(pattern, tokens, 6), set()
        waiting = [(0, b"")]
        while waiting:
            state, text = waiting.pop()
            for token in masks.mask(state).nonzero()[:, 0].tolist():
                if token == 6:
                    written.add(text)
                elif len(text + tokens[token]) <= 5:
                    waiting.append((masks.advance(state, token), text + tokens[token]))
        assert_equal(sorted(written), sorted(t for t in texts("abc", 5) if re.fullmatch(pattern, t)))

    @pytest.mark.parametrize("pattern", [rb"(Yes|No), (he|she) [0-9]+\-[0-9]", b"(caf\xc3\xa9 ?)*"])
    def test_gpt2s_vocabulary(self, gpt2_vocabulary, pattern):
        """Each of 50,257 tokens, against the states that re leaves alive."""
        tokens, end = gpt2_tokens(tuple(gpt2_vocabulary))
        automaton = compile_regex(parse(pattern))
        masks, rows = TokenMasks(automaton, tokens, end), automaton.table.tolist()
        for state in {0, len(rows) - 1}:
            expected = [leads_on(rows, state, token) for token in tokens]
            expected[end] = bool(automaton.accepting[state])
            assert_equal((state, masks.mask(state)), (state, torch.tensor(expected)))


@functools.lru_cache(1)
def gpt2_tokens(files) -> tuple[list[bytes], int]:
    """GPT-2's tokens as bytes.  Its file writes each byte as a letter that can be seen."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in seen}
    letters |= {chr(256 + i): byte for i, byte in enumerate(b for b in range(256) if b not in seen)}
    vocabulary = json.loads(files[0].read_text(encoding="utf-8"))
    end = vocabulary["<|endoftext|>"]
    tokens = [b""] * len(vocabulary)
    for text, i in vocabulary.items():
        tokens[i] = text.encode() if i == end else bytes(letters[letter] for letter in text)
    return tokens, end


def written(regex, samples: list[str]) -> list[str]:
    return [text for text in samples if matches(regex, text.encode())]


LISTS = ["[" + ",".join(["x"] * n) + "]" for n in range(8)]
BAD_LISTS = ["", "[", "]", "[,]", "[x,]", "[,x]", "[xx]", "[x,,x]", "[x, x]", "x", "[x][x]", "[x,x", "[x x]"]


class TestArrayRegex:
    def test_the_example_worked_by_hand(self):
        assert_equal(written(array_regex(chars("x"), 1, 2), LISTS + BAD_LISTS), ["[x]", "[x,x]"])

    @pytest.mark.parametrize(
        ("low", "high"), [(0, None), (1, None), (3, None), (0, 0), (0, 1), (0, 3), (1, 1), (2, 2), (2, 5), (1, 6)]
    )
    def test_low_to_high_items(self, low, high):
        expected = [text for n, text in enumerate(LISTS) if low <= n and (high is None or n <= high)]
        assert_equal(written(array_regex(chars("x"), low, high), LISTS + BAD_LISTS), expected)

    def test_any_number_unless_told(self):
        assert_equal(written(array_regex(chars("x")), LISTS + BAD_LISTS), LISTS)
        assert_equal(written(array_regex(chars("x"), high=2), LISTS), LISTS[:3])

    def test_items_of_more_than_a_byte(self):
        regex = array_regex(parse(b"ab|c*"), 1, 3)
        samples = ["[ab]", "[c,ab]", "[]", "[,]", "[cc,,ab]", "[a,b]", "[ab,c,c,c]", "[abc]", "[ab|c]"]
        assert_equal(written(regex, samples), ["[ab]", "[c,ab]", "[]", "[,]", "[cc,,ab]"])

    @pytest.mark.parametrize(("low", "high"), [(1, 0), (4, 3), (7, 2)])
    def test_refuses_what_cant_be(self, low, high):
        with raises(ValueError, low, high):
            array_regex(chars("x"), low, high)


def members(*needed: bool) -> list:
    return [(name, chars("1"), one) for name, one in zip("abcd", needed, strict=False)]


def size_of(regex, limit: int = 200_000) -> int:
    """The number of pieces that it is made of, a shared one counted once; no more than the limit."""
    waiting, seen = [regex], {}
    while waiting and len(seen) < limit:
        piece = waiting.pop()
        if id(piece) in seen:
            continue
        seen[id(piece)] = piece
        if isinstance(piece, Concat):
            waiting += piece.parts
        elif isinstance(piece, Alt):
            waiting += piece.options
        elif isinstance(piece, Star):
            waiting.append(piece.inner)
    return len(seen)


class TestObjectRegex:
    def test_the_example_worked_by_hand(self):
        samples = ['{"b":1}', '{"a":1,"b":1}', "{}", '{"a":1}', '{"b":1,"a":1}', '{,"b":1}', '{"a":1"b":1}', '{"a":1,}']
        assert_equal(written(object_regex(members(False, True)), samples), samples[:2])

    @pytest.mark.parametrize("needed", [*itertools.product([False, True], repeat=3), (), (True,), (False,)])
    def test_every_choice_of_members(self, needed):
        regex, names = object_regex(members(*needed)), "abcd"[: len(needed)]
        pieces = [f'"{name}":1' for name in names]
        expected, others = [], ["{,}", "", "{", '{"a":1', '{"a":1,}', '{,"a":1}', '{"a" :1}', '{"a":1}{}', '{"a":1,,"b":1}', '{"a":1"b":1}']
        for n in range(len(names) + 1):
            for order in itertools.permutations(range(len(names)), n):
                text = "{" + ",".join(pieces[i] for i in order) + "}"
                full = all(i in order for i, one in enumerate(needed) if one)
                (expected if full and list(order) == sorted(order) else others).append(text)
        assert_equal(written(regex, expected + others), expected)

    @pytest.mark.parametrize("name", ["", 'a"b', "back\\slash", "é", "two words", "a.b", "{x}"])
    def test_names_as_json_writes_them(self, name):
        regex = object_regex([(name, parse(b"[0-9]+"), True)])
        samples = [json.dumps({name: 17}, separators=(",", ":")), "{" + f'"{name}x":17' + "}", '{"aXb":17}', "{" + f"{name}:17" + "}"]
        assert_equal(written(regex, samples), samples[:1])

    def test_members_of_different_kinds(self):
        regex = object_regex([("x", parse(b"[0-9]"), False), ("y", parse(b"t|f"), False), ("x2", parse(b"n"), True)])
        samples = ['{"x":3,"y":t,"x2":n}', '{"y":f,"x2":n}', '{"x":3,"x2":n}', '{"x":t,"x2":n}', '{"y":3,"x2":n}', '{"x2":3}']
        assert_equal(written(regex, samples), samples[:3])

    def test_it_doesnt_double_with_each_member(self):
        sizes = [size_of(object_regex([(f"n{i:02}", chars("1"), False) for i in range(n)])) for n in (6, 12)]
        if sizes[1] > 8 * sizes[0]:
            fail(f"6 members take {sizes[0]} pieces, 12 take {sizes[1]}.", evidence="more than eightfold")


LEAVES = {
    "null": (["null"], ["", "nul", "Null", "none", "nullnull", "0"]),
    "boolean": (["true", "false"], ["True", "truefalse", "tru", "", "1"]),
    "integer": (["0", "-0", "7", "-10", "123456789012345678901234567890"], ["", "-", "01", "00", "-01", "+1", "1.0", "1e3", "--1", "1-", " 1", "1_0"]),
    "number": (["0", "-0", "12", "0.5", "-10.050", "1e3", "1E+05", "2.5e-7", "-0.0e0"], ["", ".5", "1.", "01.5", "1e", "1e+", "1.e3", "NaN", "Infinity", "+1", "1.2.3", "1e5.0", "0x1", "1e--5", "e5"]),
    "string": (['""', '"abc"', '" ~!#[]"', '"\\\\"', '"\\"\\""', '"\\/\\b\\f\\n\\r\\t"', '"\\u00e9\\uD83D\\ude00x"', '"{\'a\': 1}"'], ["", '"', "abc", '"a"b"', '"\\"', '"\n"', '"\t"', '"\x7f"', '"\\x"', '"\\u00e"', '"\\u00eg"', '"é"', '"\\a"', "'a'", '"\x1f"', '"\\U0000"']),
}  # fmt: skip


class TestSchemaRegex:
    @pytest.mark.parametrize("kind", list(LEAVES))
    def test_types_without_parts(self, kind):
        right, wrong = LEAVES[kind]
        assert_equal(written(schema_regex({"type": kind}), right + wrong), right)

    @pytest.mark.parametrize("kind", ["integer", "number", "string"])
    def test_all_short_texts_as_json(self, kind):
        """All texts of a few characters that json can read as that type, and no others."""
        letters = {"integer": "-01", "number": "-01.e", "string": '"\\nu'}[kind]
        python = {"integer": int, "number": (int, float), "string": str}[kind]

        def reads(text: str) -> bool:
            try:
                return isinstance(json.loads(text), python)
            except ValueError:
                return False

        samples = [text.decode() for text in texts(letters, 4)]
        assert_equal(written(schema_regex({"type": kind}), samples), [text for text in samples if reads(text)])

    def test_the_example_worked_by_hand(self):
        assert_equal(written(schema_regex({"enum": ["x", 1, None]}), ['"x"', "1", "null", "x", "11", ""]), ['"x"', "1", "null"])

    @pytest.mark.parametrize("value", ["é", "a.b", 'q"q', -3, 1.5, 1e-7, True, None, [], [1, "2"], {"b": [None], "a": {}}, "[x]"])
    def test_one_value(self, value):
        compact = json.dumps(value, separators=(",", ":"))
        samples = [compact, compact + " ", json.dumps(value, ensure_ascii=False) + ".", compact[:-1], "aXb", '"aXb"']
        assert_equal(written(schema_regex({"const": value}), samples), [compact])
        assert_equal(written(schema_regex({"enum": ["other", value]}), [*samples, '"other"']), [compact, '"other"'])

    def test_any_of(self):
        regex = schema_regex({"anyOf": [{"type": "integer"}, {"type": "null"}, {"const": "none"}]})
        assert_equal(written(regex, ["12", "null", '"none"', "12null", "true", ""]), ["12", "null", '"none"'])

    def test_arrays(self):
        regex = schema_regex({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2})
        samples = ["[true]", "[false,true]", "[]", "[true,true,true]", "[1]", "true"]
        assert_equal(written(regex, samples), samples[:2])
        assert_equal(written(schema_regex({"type": "array", "items": {"const": 1}, "minItems": 3}), ["[1,1]", "[1,1,1]", "[1,1,1,1]"]), ["[1,1,1]", "[1,1,1,1]"])
        assert_equal(written(schema_regex({"type": "array", "items": {"const": 1}, "maxItems": 1}), ["[]", "[1]", "[1,1]"]), ["[]", "[1]"])
        assert_equal(written(schema_regex({"type": "array", "items": {"const": 1}}), ["[]", "[1]", "[1,1]"]), ["[]", "[1]", "[1,1]"])

    def test_objects(self):
        schema = {"type": "object", "properties": {"n": {"type": "integer"}, "at": {"type": "null"}}, "required": ["at"]}
        samples = ['{"n":1,"at":null}', '{"at":null}', '{"n":1}', "{}", '{"at":null,"n":1}', '{"n":1,"at":null,"x":1}']
        assert_equal(written(schema_regex(schema), samples), samples[:2])
        del schema["required"]
        assert_equal(written(schema_regex(schema), samples[:4]), samples[:4])

    def test_parts_in_parts(self):
        inner = {"type": "object", "properties": {"v": {"type": "array", "items": {"enum": [0, "a"]}}}, "required": ["v"]}
        regex = schema_regex({"type": "array", "items": {"anyOf": [inner, {"type": "null"}]}})
        samples = ['[{"v":[0,"a"]},null]', "[]", '[{"v":[]}]', "[{}]", '[{"v":[1]}]', '{"v":[]}']
        assert_equal(written(regex, samples), samples[:3])

    @pytest.mark.parametrize("schema", [{"type": "null"}, {"const": 1}, {"enum": [1]}, {"anyOf": [{"const": 1}]}, {"type": "array", "items": {"const": 1}}])
    def test_three_keywords_change_nothing(self, schema):
        more = {"title": "A", **schema, "description": "b", "additionalProperties": False}
        assert_equal(shown(schema_regex(more)), shown(schema_regex(schema)))

    @pytest.mark.parametrize(
        ("schema", "keyword"),
        [({"type": "integer", "minimum": 3}, "minimum"), ({"$ref": "#/x", "type": "null"}, "$ref"),
         ({"type": "string", "maxLength": 3}, "maxLength"), ({"type": "string", "items": {}}, "items"),
         ({"type": "array", "items": {"const": 1}, "required": []}, "required"), ({"const": 1, "minItems": 1}, "minItems"),
         ({"type": "object", "properties": {}, "minItems": 1}, "minItems"), ({"enum": [1], "properties": {}}, "properties"),
         ({"type": "array", "items": {"type": "number", "pattern": "1"}}, "pattern"), ({"anyOf": [{"const": 1}], "not": {}}, "not"),
         ({"type": "object", "properties": {"a": {"type": "null", "format": "x"}}}, "format")],
    )  # fmt: skip
    def test_refuses_a_keyword_that_it_cant_keep(self, schema, keyword):
        with raises(ValueError, keyword):
            schema_regex(schema)

    @pytest.mark.parametrize("schema", [{}, {"title": "x"}, {"type": "null", "const": None}, {"enum": [1], "anyOf": []}, {"type": "string", "enum": ["a"]}])
    def test_refuses_other_than_one_of_the_four(self, schema):
        with raises(ValueError):
            schema_regex(schema)

    @pytest.mark.parametrize("kind", ["int", "String", "const", ["number", "null"]])
    def test_refuses_another_type(self, kind):
        with raises(ValueError, kind if isinstance(kind, str) else kind[0]):
            schema_regex({"type": kind})

    @pytest.mark.parametrize(("kind", "part"), [("array", "items"), ("object", "properties")])
    def test_refuses_a_part_that_is_missing(self, kind, part):
        with raises(ValueError, part):
            schema_regex({"type": kind})

    def test_refuses_a_required_name_without_a_schema(self):
        with raises(ValueError, "age"):
            schema_regex({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name", "age"]})


HAND = torch.tensor([0.1, 0.3, 0.1, 0.2, 0.1, 0.1, 0.1], dtype=torch.float64).log()


def favour(*wanted: int):
    """A model that wants these tokens, one after the other."""

    def score(ids: list[int]) -> torch.Tensor:
        scores = torch.zeros(7, dtype=torch.float64)
        scores[wanted[len(ids)]] = 200.0
        return scores

    return score


class TestConstrainedDecode:
    def test_draws_what_the_model_wants_where_it_may(self):
        masks = small_masks()
        assert_equal(constrained_decode(favour(0, 3, 4, 6), masks, 9, seeded(1))[0][:2], [0, 3])
        assert_equal(constrained_decode(favour(2, 6), masks, 9, seeded(1)), ([2], True))
        assert_equal(constrained_decode(favour(0, 4, 6), masks, 9, seeded(1)), ([0, 4], True))

    def test_never_what_is_forbidden(self):
        """It wants the end at once, then "ca"."""
        ids, finished = constrained_decode(favour(6, 5, 5, 5, 5, 5, 5, 5, 5), small_masks(tokens=[b"a", b"b", b"c", b"bb", b"bc", b"ca", b"</s>"]), 9, seeded(2))
        text = b"".join([b"a", b"b", b"c", b"bb", b"bc", b"ca"][i] for i in ids)
        assert_equal((finished, bool(re.fullmatch(b"ab*c" if finished else b"ab*c?", text))), (finished, True))

    @pytest.mark.parametrize(("dtype", "shift"), [(torch.float64, 0.0), (torch.float32, 60.0), (torch.bfloat16, 60.0)])
    def test_the_chances_of_the_first_token(self, dtype, shift):
        """.2, .6 and .2 in 1000 draws: five deviations are 0.077."""
        masks, generator, counts = small_masks(), seeded(3), [0] * 7
        for _ in range(1000):
            ids, _ = constrained_decode(lambda ids: (HAND + shift).to(dtype), masks, 1, generator)
            counts[ids[0]] += 1
        assert_close(torch.tensor(counts) / 1000, torch.tensor([0.2, 0.6, 0.2, 0, 0, 0, 0]), atol=0.08, rtol=0)

    def test_the_end_has_its_chance(self):
        """After "ab" the end .1 stands beside "a" .1 and "ab" .3: a fifth of the draws."""
        masks, generator = small_masks(b"(ab?)*", [b"a", b"ab", b"x", b"y", b"z", b"w", b"</s>"]), seeded(4)
        ended = [constrained_decode(lambda ids: HAND if ids else favour(1)(ids), masks, 2, generator)[1] for _ in range(1000)]
        assert_close(sum(ended) / 1000, 0.2, atol=0.065, rtol=0)  # five deviations

    def test_what_the_model_is_asked(self):
        asked = []

        def score(ids: list[int]) -> torch.Tensor:
            asked.append(list(ids))
            ids.append(99)  # what it does with its list is its own affair
            return favour(0, 3, 4, 6)(ids[:-1])

        tokens = [b"a", b"b", b"c", b"bb", b"bc", b"ca", b"</s>"]
        assert_equal(constrained_decode(score, small_masks(tokens=tokens), 9, seeded(1)), ([0, 3, 4], True))
        assert_equal(asked, [[], [0], [0, 3], [0, 3, 4]])

    def test_the_models_scores_stay_as_they_are(self):
        memory = HAND.clone()
        constrained_decode(lambda ids: memory, small_masks(), 5, seeded(1))
        assert_equal(memory, HAND)

    @pytest.mark.parametrize("most", [0, 1, 3])
    def test_stops_after_max_tokens(self, most):
        masks = small_masks(b"a*", [b"a", b"b", b"c", b"d", b"e", b"f", b"</s>"])
        asked = []
        score = favour(*[0] * 9)
        found = constrained_decode(lambda ids: (asked.append(1), score(ids))[1], masks, most, seeded(1))
        assert_equal((found, len(asked)), (([0] * most, False), most))

    def test_the_end_is_a_draw(self):
        masks = small_masks()
        assert_equal(constrained_decode(favour(2, 6), masks, 1, seeded(1)), ([2], False))
        assert_equal(constrained_decode(favour(2, 6), masks, 2, seeded(1)), ([2], True))

    def test_the_generator_decides(self):
        masks = small_masks(b"[abc]*", [b"a", b"b", b"c", b"ab", b"bc", b"ca", b"</s>"])
        flat = torch.zeros(7)
        found = []
        for outer, seed in [(1, 5), (2, 5), (1, 6)]:
            torch.manual_seed(outer)
            found.append(constrained_decode(lambda ids: flat, masks, 25, seeded(seed)))
        assert_equal((found[0] == found[1], found[0] == found[2]), (True, False))
        torch.manual_seed(1)
        without = [constrained_decode(lambda ids: flat, masks, 25) for _ in range(4)]
        assert_equal(any(one != without[0] for one in without), True)

    @pytest.mark.parametrize("before", [0, 2])
    def test_refuses_a_vocabulary_with_a_gap(self, before):
        masks = small_masks(b"a" * before + b"z", [b"a", b"b", b"c", b"d", b"e", b"f", b"</s>"])
        with raises(ValueError, before):
            constrained_decode(favour(*[0] * 9), masks, 9, seeded(1))

    def test_on_the_gpu(self, gpu):
        """The model's scores are on the device, the masks aren't."""
        table = torch.stack([favour(0, 4, 6)([0] * n) for n in range(3)])
        masks = small_masks()
        for state in (0, masks.advance(0, 0), masks.advance(0, 2)):
            masks.mask(state)
        found = gpu.check(lambda table: constrained_decode(lambda ids: table[len(ids)], masks, 9), table)
        assert_equal(found, ([0, 4], True))

    @pytest.mark.deadline(60)
    @pytest.mark.learning
    def test_every_output_parses_and_fits_and_every_value_can_be_written(self, gpt2_vocabulary):
        """Random schemas and a random model, over GPT-2's vocabulary; hypothesis draws the schemas."""
        hypothesis, jsonschema = pytest.importorskip("hypothesis"), pytest.importorskip("jsonschema")
        from hypothesis import strategies as st
        from tokenizers import ByteLevelBPETokenizer

        tokens, end = gpt2_tokens(tuple(gpt2_vocabulary))
        spelled = ByteLevelBPETokenizer(*map(str, gpt2_vocabulary))
        fast = torch.tensor([3.0 * (token in (b'"', b'":"', b"}", b"]", b'"}', b'"]')) for token in tokens])
        fast[end] = 12

        @hypothesis.settings(max_examples=8, deadline=None, database=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(schema_and_value(st), st.integers(0, 2**32))
        def holds(drawn, seed):
            schema, value = drawn
            jsonschema.validate(value, schema)  # the test's own strategy
            masks = TokenMasks(compile_regex(schema_regex(copy.deepcopy(schema))), tokens, end)
            generator = seeded(seed)
            noise = torch.randn(len(tokens), generator=generator)
            ids, finished = constrained_decode(lambda ids: noise.roll(len(ids)) * 2 + fast, masks, 30, generator)
            text = b"".join(tokens[i] for i in ids)
            if finished:
                jsonschema.validate(json.loads(text), schema)
            state = 0
            for token in spelled.encode(json.dumps(value, separators=(",", ":"))).ids:
                assert_equal((schema, value, bool(masks.mask(state)[token])), (schema, value, True))
                state = masks.advance(state, token)
            assert_equal((schema, value, bool(masks.mask(state)[end])), (schema, value, True))

        holds()


def schema_and_value(st):
    """Schemas without references, each with a value that fits."""
    words = st.text(st.sampled_from('ab "\\é😀\n{}~'), max_size=4)
    leaves = st.one_of(
        words.map(lambda v: ({"type": "string"}, v)),
        st.integers(-(10**6), 10**6).map(lambda v: ({"type": "integer"}, v)),
        st.floats(-1e9, 1e9).map(lambda v: ({"type": "number"}, v)),
        st.booleans().map(lambda v: ({"type": "boolean"}, v)),
        st.none().map(lambda v: ({"type": "null"}, v)),
        st.lists(st.one_of(words, st.integers(0, 99)), min_size=1, max_size=3).map(lambda v: ({"enum": v}, v[-1])),
    )

    @st.composite
    def wider(draw, inner):
        kind = draw(st.sampled_from(["array", "object", "anyOf"]))
        if kind == "array":
            schema, value = draw(inner)
            count = draw(st.integers(0, 3))
            low, high = draw(st.integers(0, count)), draw(st.integers(count, 4))
            return {"type": "array", "items": schema, "minItems": low, "maxItems": high}, [value] * count
        parts = draw(st.lists(inner, min_size=1, max_size=3))
        if kind == "anyOf":
            return {"anyOf": [schema for schema, _ in parts]}, draw(st.sampled_from(parts))[1]
        names = draw(st.lists(words, min_size=len(parts), max_size=len(parts), unique=True))
        there = [draw(st.booleans()) for _ in parts]
        schema = {"type": "object", "properties": {name: part[0] for name, part in zip(names, parts, strict=True)}}
        schema["required"] = [name for name, one in zip(names, there, strict=True) if one and draw(st.booleans())]
        return schema, {name: part[1] for name, part, one in zip(names, parts, there, strict=True) if one}

    return st.recursive(leaves, wider, max_leaves=4)
