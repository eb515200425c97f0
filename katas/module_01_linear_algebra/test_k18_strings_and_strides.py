"""Judges k18_strings_and_strides against Python's own UTF-8 and numpy's strides."""

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_01_linear_algebra.k18_strings_and_strides import (
    StridedArray,
    clean,
    utf8_decode,
    utf8_encode,
)

pytestmark = [from_scratch("str.encode", "bytes.decode", "numpy", "codecs", "io"), pure()]

# The first and the last code point of each length, and around the surrogates.
EDGES = [0x00, 0x41, 0x7F, 0x80, 0xE9, 0x7FF, 0x800, 0x20AC, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x1F600, 0x10FFFF]


class TestUtf8Encode:
    def test_the_example_worked_by_hand(self):
        assert_equal(utf8_encode("é"), b"\xc3\xa9")

    @pytest.mark.parametrize("code", EDGES)
    def test_the_ends_of_each_length(self, code):
        assert_equal(utf8_encode(chr(code)), chr(code).encode())

    def test_matches_python_on_random_text(self, rng):
        codes = [int(c) for c in 2 ** rng.uniform(0, 20.08, 400) if not 0xD800 <= c < 0xE000]
        text = "".join(map(chr, codes))
        assert_equal(utf8_encode(text), text.encode())

    def test_nothing_is_nothing(self):
        assert_equal(utf8_encode(""), b"")

    @pytest.mark.parametrize("code", [0xD800, 0xDABC, 0xDFFF])
    def test_rejects_a_surrogate(self, code):
        with raises(ValueError, 3, f"{code:X}"):
            utf8_encode("aé€" + chr(code) + "b")


class TestUtf8Decode:
    def test_the_example_worked_by_hand(self):
        assert_equal(utf8_decode(b"\xc3\xa9"), "é")

    @pytest.mark.parametrize("code", EDGES)
    def test_the_ends_of_each_length(self, code):
        assert_equal(utf8_decode(chr(code).encode()), chr(code))

    def test_matches_python_on_random_text(self, rng):
        codes = [int(c) for c in 2 ** rng.uniform(0, 20.08, 400) if not 0xD800 <= c < 0xE000]
        text = "".join(map(chr, codes))
        assert_equal(utf8_decode(text.encode()), text)

    def test_nothing_is_nothing(self):
        assert_equal(utf8_decode(b""), "")

    @pytest.mark.parametrize(
        ("data", "position"),
        [
            (b"abc\xc3Qd", 3),  # a byte that isn't 10xxxxxx
            (b"abc\xc3\xc3\xa9", 3),
            (b"ab\xe2\x82Q", 2),
            (b"ab\xe2Q\x82", 2),
            (b"a\xf0\x9f\x98\xc3\xa9", 1),
            (b"a\xf0\x9f\x98Q", 1),
            (b"abcde\xc3", 5),  # the end
            (b"\xc3\xa9\xe2\x82", 2),
            (b"xyz\xf0\x9f\x98", 3),
        ],
    )
    def test_rejects_a_form_that_is_cut_short(self, data, position):
        with raises(ValueError, position):
            utf8_decode(data)

    @pytest.mark.parametrize("byte", [0x80, 0xA9, 0xBF, 0xF8, 0xFC, 0xFE, 0xFF])
    def test_rejects_a_byte_that_begins_nothing(self, byte):
        with raises(ValueError, 4):
            utf8_decode("aé€"[:2].encode() + b"z" + bytes([byte]) + b"ab")

    @pytest.mark.parametrize(
        "form",
        [
            b"\xc0\xaf",
            b"\xc1\xbf",
            b"\xc0\x80",
            b"\xe0\x80\xaf",
            b"\xe0\x9f\xbf",
            b"\xf0\x80\x80\xaf",
            b"\xf0\x8f\xbf\xbf",
        ],
    )
    def test_rejects_an_overlong_form(self, form):
        with raises(ValueError, 2):
            utf8_decode(b"ok" + form + b"later")

    @pytest.mark.parametrize("form", [b"\xed\xa0\x80", b"\xed\xaf\xbf", b"\xed\xbf\xbf"])
    def test_rejects_a_surrogate(self, form):
        with raises(ValueError, 5):
            utf8_decode(b"five " + form)

    @pytest.mark.parametrize("form", [b"\xff", b"\xc3(", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"])
    def test_the_position_counts_bytes_not_characters(self, form):
        with raises(ValueError, 37):
            utf8_decode(b"a" * 31 + "ééé".encode() + form)

    @pytest.mark.parametrize("form", [b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf7\xbf\xbf\xbf"])
    def test_rejects_what_is_past_the_last_code_point(self, form):
        with raises(ValueError, 1):
            utf8_decode(b"." + form)

    def test_random_bytes_end_as_they_do_in_python(self, rng):
        """Mostly faulty bytes: both decoders accept, or both reject at the same place."""
        for _ in range(200):
            pieces = ["é", "€", "😀", "a"]
            data = bytearray("".join(pieces[int(i)] for i in rng.integers(0, 4, 5)).encode())
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
            try:
                expected = bytes(data).decode()
            except UnicodeDecodeError as error:
                with raises(ValueError, error.start):
                    utf8_decode(bytes(data))
            else:
                assert_equal(utf8_decode(bytes(data)), expected)


class TestClean:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("<b>Good</b> film", "Good film"),
            ("one<br/>two", "one two"),
            ("1 < 2 and <i>3 > 2</i>", "1 < 2 and 3 > 2"),
            ("<<b>>", "< >"),
            ("a <b\nclass='x'> c", "a c"),
            ("see https://example.org/a?b=1 now", "see URL now"),
            ("see http://example.org, now", "see URL now"),
            ("(https://example.org)", "(URL"),
            ("http:/x ftp://y", "http:/x ftp://y"),
            ("xhttp://y", "xURL"),
            ("sooooo good!!!", "soo good!!"),
            ("aabb cccdd.... ", "aabb ccdd.."),
            ("AAAaaa", "AAaa"),
            ("aaa bb c", "aa bb c"),
            ("??? ___ ééé 😀😀😀😀", "?? __ éé 😀😀"),
            ("ababab 1112", "ababab 112"),
            ("HTTPS://x.org", "HTTPS://x.org"),
            ("http://a\u2003b", "URL b"),
            ("a<b> <c>d", "a d"),
            ("  a \t\n b\u00a0\u2003c  ", "a b c"),
            ("a   b", "a b"),
            ("http://aaaa.org <p>wwww</p>", "URL ww"),
            ("https://a<b>c", "URL c"),
            ("", ""),
        ],
    )
    def test_the_four_rules_in_their_order(self, text, expected):
        assert_equal(clean(text), expected)


def both(shape):
    """The same numbers in a StridedArray and in numpy's; a number isn't its place."""
    numbers = [float((7 * i + 3) % 101) + 0.1 for i in range(int(np.prod(shape)))]
    return StridedArray(numbers, shape), np.array(numbers).reshape(shape)


def same(mine, theirs, data):
    """`mine` is a view of `data` that numpy has as `theirs`: shape, strides and elements."""
    assert_equal(mine.to_list(), theirs.tolist())
    assert_equal(mine.shape, theirs.shape)
    assert_equal(type(mine.strides), tuple)
    wanted = tuple(s // 8 for s in theirs.strides)
    steps = [s for s, n in zip(mine.strides, theirs.shape, strict=True) if n > 1]
    assert_equal(steps, [s for s, n in zip(wanted, theirs.shape, strict=True) if n > 1])
    if mine.data is not data:
        raise AssertionError("a view shares the list of its array, but this one has another list")


class TestElements:
    def test_the_examples_worked_by_hand(self):
        data = [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
        assert_equal(StridedArray(data, (2, 3), (3, 1)).to_list(), [[10.0, 11.0, 12.0], [13.0, 14.0, 15.0]])
        assert_equal(StridedArray(data, (3, 2), (1, 3)).to_list(), [[10.0, 13.0], [11.0, 14.0], [12.0, 15.0]])
        assert_equal(StridedArray(data, (2, 3), (3, -1), 2).to_list(), [[12.0, 11.0, 10.0], [15.0, 14.0, 13.0]])

    @pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 3), (2, 3, 4), (3, 1, 2, 2), (1,), ()])
    def test_row_after_row_unless_told_otherwise(self, shape):
        mine, theirs = both(shape)
        same(mine, theirs, mine.data)
        assert_equal(mine.offset, 0)

    def test_keeps_what_it_is_given(self):
        data = [1.0, 2.0, 3.0, 4.0, 5.0]
        array = StridedArray(data, (2, 2), (2, 1), offset=1)
        assert_equal((tuple(array.shape), tuple(array.strides), array.offset), ((2, 2), (2, 1), 1))
        assert_equal(array.to_list(), [[2.0, 3.0], [4.0, 5.0]])

    def test_an_array_without_axes_has_one_element(self):
        assert_close(StridedArray([4.0, 7.0], (), offset=1)[()], 7.0)

    def test_every_index_from_both_ends(self):
        mine, theirs = both((3, 4, 2))
        for i in range(-3, 3):
            for j in range(-4, 4):
                for k in (-2, -1, 0, 1):
                    assert_close(mine[i, j, k], float(theirs[i, j, k]))

    def test_every_index_of_a_view(self):
        mine, theirs = both((3, 4))
        view, expected = mine.transpose().slice(0, None, None, -1), theirs.T[::-1]
        for i in range(-4, 4):
            for j in range(-3, 3):
                assert_close(view[i, j], float(expected[i, j]))

    @pytest.mark.parametrize(
        ("index", "named"), [((3, 0), (3, 3)), ((-4, 0), (-4, 3)), ((0, 5), (5, 5)), ((2, -6), (-6, 5))]
    )
    def test_outside_is_an_error(self, index, named):
        mine, _ = both((3, 5))
        with raises(IndexError, *named):
            mine[index]


class TestViews:
    @pytest.mark.parametrize(
        ("shape", "axes"),
        [((2, 3), None), ((2, 3, 4), None), ((2, 3, 4), (1, 2, 0)), ((2, 3, 4), (0, 2, 1)), ((5,), None)],
    )
    def test_transpose(self, shape, axes):
        mine, theirs = both(shape)
        same(mine.transpose(axes), theirs.transpose(axes), mine.data)

    @pytest.mark.parametrize(
        ("axis", "start", "stop", "step"),
        [
            (0, 1, 5, 1), (1, 0, 7, 2), (1, 1, 7, 3), (0, None, None, 2), (1, None, None, -1), (0, 4, 0, -2),
            (1, -3, None, 1), (0, -2, -6, -1), (1, 2, 100, 1), (1, -100, 3, 1), (0, 3, 4, 1),
        ],
    )  # fmt: skip
    def test_slice(self, axis, start, stop, step):
        mine, theirs = both((6, 7))
        cut = [slice(None), slice(None)]
        cut[axis] = slice(start, stop, step)
        same(mine.slice(axis, start, stop, step), theirs[tuple(cut)], mine.data)

    def test_slice_takes_every_element_unless_told_otherwise(self):
        mine, theirs = both((3, 5))
        same(mine.slice(1, 1, 4), theirs[:, 1:4], mine.data)

    def test_views_of_views(self):
        mine, theirs = both((4, 5, 6))
        same(
            mine.slice(0, 1, 4).slice(2, None, None, -2).transpose((2, 0, 1)).slice(1, 1, 3).slice(0, 2, None, -1),
            theirs[1:4][:, :, ::-2].transpose(2, 0, 1)[:, 1:3][2::-1],
            mine.data,
        )

    @pytest.mark.parametrize(
        ("shape", "wanted"),
        [
            ((3,), (2, 3)),
            ((3, 1), (3, 4)),
            ((1, 4), (3, 4)),
            ((2, 1, 3), (5, 2, 4, 3)),
            ((2, 3), (2, 3)),
            ((), (2, 2)),
            ((1,), (1,)),
        ],
    )
    def test_broadcast_to(self, shape, wanted):
        mine, theirs = both(shape)
        same(mine.broadcast_to(wanted), np.broadcast_to(theirs, wanted), mine.data)

    def test_broadcast_of_a_view(self):
        mine, theirs = both((4, 3))
        same(mine.slice(0, 2, 3).broadcast_to((5, 3)), np.broadcast_to(theirs[2:3], (5, 3)), mine.data)

    @pytest.mark.parametrize(
        ("shape", "wanted"), [((3,), (4,)), ((2, 3), (3,)), ((2, 3), (3, 2)), ((2,), (2, 3)), ((3, 1), (4, 1)), ((7, 5), (5,)), ((1, 6, 5), (6, 5)), ((9,), ())],
    )
    def test_what_does_not_broadcast_is_an_error(self, shape, wanted):
        mine, _ = both(shape)
        with raises(ValueError, shape, wanted):
            mine.broadcast_to(wanted)

    def test_writing_to_the_data_shows_in_every_view(self):
        mine, _ = both((2, 3))
        view = mine.transpose().slice(0, None, None, -1)
        mine.data[5] = -1.0
        assert_close(view[0, 1], -1.0)

    def test_no_method_changes_the_array(self):
        mine, theirs = both((2, 3))
        mine.transpose()
        mine.slice(1, None, None, -1)
        mine.broadcast_to((4, 2, 3))
        mine.reshape((3, 2))
        mine.transpose().reshape((6,))
        mine.to_list()
        same(mine, theirs, mine.data)
        assert_equal(mine.offset, 0)


class TestContiguity:
    @pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 3, 4), (1, 5), (5, 1), ()])
    def test_row_after_row_is(self, shape):
        assert_equal(both(shape)[0].is_contiguous(), True)

    def test_views_as_numpy_has_them(self):
        mine, theirs = both((4, 5, 6))
        pairs = [
            (mine.transpose(), theirs.T),
            (mine.transpose((1, 0, 2)), theirs.transpose(1, 0, 2)),
            (mine.slice(0, 1, 3), theirs[1:3]),
            (mine.slice(1, 1, 3), theirs[:, 1:3]),
            (mine.slice(0, None, None, 2), theirs[::2]),
            (mine.slice(0, 2, 3).slice(1, 1, 4), theirs[2:3, 1:4]),
            (mine.slice(0, 0, 4, 4).slice(1, 0, 5, 5).slice(2, None, None, -1), theirs[:1, :1, ::-1]),
            (mine.slice(1, 2, 3).transpose((1, 0, 2)), theirs[:, 2:3].transpose(1, 0, 2)),
        ]
        assert_equal([m.is_contiguous() for m, _ in pairs], [t.flags.c_contiguous for _, t in pairs])

    def test_an_axis_of_length_1_may_have_any_stride(self):
        assert_equal(StridedArray([1.0, 2.0, 3.0], (1, 3), (17, 1)).is_contiguous(), True)
        assert_equal(StridedArray([1.0, 2.0, 3.0], (3, 1), (1, 5)).is_contiguous(), True)
        assert_equal(StridedArray([1.0, 2.0, 3.0], (2, 1), (2, 1)).is_contiguous(), False)

    def test_a_repeated_axis_is_not(self):
        assert_equal(StridedArray([1.0, 2.0], (3, 2), (0, 1)).is_contiguous(), False)


class TestReshape:
    @pytest.mark.parametrize(
        ("shape", "new"), [((2, 6), (3, 4)), ((2, 6), (12,)), ((12,), (2, 3, 2)), ((2, 3, 4), (6, 4)), ((1,), ())]
    )
    def test_a_contiguous_array_stays_a_view(self, shape, new):
        mine, theirs = both(shape)
        same(mine.reshape(new), theirs.reshape(new), mine.data)

    def test_a_contiguous_view_keeps_its_offset(self):
        mine, theirs = both((4, 6))
        same(mine.slice(0, 2, 4).reshape((3, 4)), theirs[2:].reshape(3, 4), mine.data)

    @pytest.mark.parametrize("new", [(24,), (4, 6), (2, 3, 4)])
    def test_another_array_is_copied(self, new):
        mine, theirs = both((4, 6))
        turned = mine.transpose().slice(0, None, None, -1)
        copy = turned.reshape(new)
        assert_equal(copy.to_list(), theirs.T[::-1].reshape(new).tolist())
        assert_equal((len(copy.data), copy.offset, copy.is_contiguous()), (24, 0, True))
        if copy.data is mine.data:
            raise AssertionError("the array isn't contiguous, so reshape has to copy, but it shares the list")

    def test_a_repeated_row_is_copied_as_often(self):
        mine, theirs = both((1, 3))
        copy = mine.broadcast_to((4, 3)).reshape((2, 6))
        assert_equal(copy.to_list(), np.broadcast_to(theirs, (4, 3)).reshape(2, 6).tolist())
        assert_equal(len(copy.data), 12)

    def test_a_copy_holds_its_own_elements_only(self):
        mine, theirs = both((4, 6))
        copy = mine.slice(1, 1, 4).reshape((3, 4))
        assert_equal(copy.data, theirs[:, 1:4].ravel().tolist())

    @pytest.mark.parametrize(("shape", "new"), [((2, 3), (4,)), ((2, 3), (3, 3)), ((4,), ()), ((2, 3), (2, 3, 2))])
    def test_another_number_of_elements_is_an_error(self, shape, new):
        mine, _ = both(shape)
        with raises(ValueError, shape, new):
            mine.reshape(new)
