"""Judges k01_python_basics against Python's own csv, collections and json."""

import json

import pytest

from dojo.testing import assert_equal, fail, from_scratch, pure, raises
from katas.module_01_linear_algebra.k01_python_basics import (
    Batches,
    flatten,
    memoize,
    parse_csv,
    read_jsonl,
    word_counts,
    write_jsonl,
)

pytestmark = [from_scratch("csv", "pandas", "numpy", "collections.Counter", "functools", "itertools"), pure()]


class TestParseCsv:
    def test_the_example_worked_by_hand(self):
        assert_equal(parse_csv('name,note\nAda,"a ""b"", c"\n'), [["name", "note"], ["Ada", 'a "b", c']])

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a,b\nc,d", [["a", "b"], ["c", "d"]]),
            ("a,b\r\nc,d\r\n", [["a", "b"], ["c", "d"]]),
            ("a,b\rc\r", [["a", "b"], ["c"]]),
            ("a,,b,\n,\n", [["a", "", "b", ""], ["", ""]]),
            (" a , b\n", [[" a ", " b"]]),
            ('"a\nb","c\r\nd"\n', [["a\nb", "c\r\nd"]]),
            ('"",x,""""\n', [["", "x", '"']]),
            ('a"b,c"\n', [['a"b', 'c"']]),
            ('a""b,c""\n', [['a""b', 'c""']]),
            ('"a""""b"', [['a""b']]),
            ("a\n\nb\n", [["a"], [""], ["b"]]),
            ("\n", [[""]]),
            ("a,", [["a", ""]]),
            (",", [["", ""]]),
            ("a\x0bb\x85c\u2028d,e\n", [["a\x0bb\x85c\u2028d", "e"]]),
            ("a\r\r\nb", [["a"], [""], ["b"]]),
            ('"a\rb"\r"c"', [["a\rb"], ["c"]]),
            ('x,"y"', [["x", "y"]]),
            ("", []),
        ],
    )
    def test_the_rules_one_by_one(self, text, expected):
        assert_equal(parse_csv(text), expected)

    def test_reads_what_pythons_writer_wrote(self, rng):
        import csv
        import io

        letters = ["a", "é", '"', ",", "\n", " ", "''", "7"]
        rows = [["".join(letters[i] for i in rng.integers(0, 8, 5)) for _ in range(4)] for _ in range(40)]
        file = io.StringIO()
        csv.writer(file).writerows(rows)
        assert_equal(parse_csv(file.getvalue()), rows)

    @pytest.mark.parametrize(
        ("text", "record"),
        [
            ('a,"b\nc', 1),
            ('a\n"b"c\n', 2),
            ('a\nb\n"c', 3),
            ('"a\nb"\nx,"', 2),
            ('"a\nb"\n"c"d', 2),
            ('"a" ,b', 1),
            ('"a""', 1),
            ('x\n"a"b"', 2),
        ],
    )
    def test_a_quote_out_of_place_is_an_error(self, text, record):
        with raises(ValueError, record):
            parse_csv(text)


class TestWordCounts:
    def test_the_example_worked_by_hand(self):
        assert_equal(word_counts("To be, or not to be"), {"to": 2, "be": 2, "or": 1, "not": 1})

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("'Tis the dogs' day, isn't it?", ["day", "dogs", "isn't", "it", "the", "tis"]),
            ("b a c b a b", ["b", "a", "c"]),
            ("b3b b_b b-b", ["b"]),
            ("Été ÉTÉ naïve", ["été", "naïve"]),
            ("STRASSE Straße", ["strasse", "straße"]),
            ("'' ' ''a''", ["a"]),
            ("one\ttwo\ntwo", ["two", "one"]),
            ("", []),
        ],
    )
    def test_words_in_their_order(self, text, expected):
        assert_equal(list(word_counts(text)), expected)

    def test_matches_a_counter(self, rng):
        from collections import Counter

        words = [["the", "Cat", "sat", "isn't", "mat"][i] for i in rng.integers(0, 5, 300)]
        counted = Counter(word.lower() for word in words)
        assert_equal(word_counts(", ".join(words)), dict(counted))
        in_order = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
        assert_equal(list(word_counts(", ".join(words)).items()), in_order)


class TestFlatten:
    def test_the_example_worked_by_hand(self):
        assert_equal(flatten([1, [2, [], [3, "ab"]], (4,)]), [1, 2, 3, "ab", 4])

    @pytest.mark.parametrize(
        ("items", "expected"),
        [
            ([], []),
            ([[[[5]]], 6], [5, 6]),
            ((1, (2, [3, (4, [5])])), [1, 2, 3, 4, 5]),
            ([None, {"a": [1]}, {2}, "xyz", b"q"], [None, {"a": [1]}, {2}, "xyz", b"q"]),
            ([[], [[]], ()], []),
            ([1, (), [2, "", [3]], "a"], [1, 2, "", 3, "a"]),
        ],
    )
    def test_lists_and_tuples_of_any_depth(self, items, expected):
        assert_equal(flatten(items), expected)

    def test_two_hundred_lists_deep(self):
        items: list = [7]
        for depth in range(199):
            items = [depth, items]
        assert_equal(flatten(items), [*reversed(range(199)), 7])

    def test_gives_a_new_list(self):
        items = [1, 2]
        if flatten(items) is items:
            fail("The list that was given came back itself; expected a new one.", evidence="the same list")


class TestMemoize:
    def test_each_choice_of_arguments_is_computed_once(self):
        calls = []

        def area(width, height=1):
            calls.append((width, height))
            return width * height

        fast = memoize(area)
        answers = [fast(2, 3), fast(2, 3), fast(3, 2), fast(2, height=5), fast(2, height=5)]
        answers += [fast(2, height=3), fast(2)]
        assert_equal(answers, [6, 6, 6, 10, 10, 6, 2])
        # fast(2, 3) and fast(2, height=3) may be told apart: area(2, 3) is computed once or twice.
        again = [(2, 3)] if len(calls) == 5 else []
        assert_equal(calls, [(2, 3), (3, 2), (2, 5), *again, (2, 1)])

    def test_the_order_of_keywords_does_not_matter(self):
        calls = []

        def minus(a, b, c=0):
            calls.append((a, b, c))
            return a - b - c

        fast = memoize(minus)
        assert_equal([fast(a=5, b=3), fast(b=3, a=5), fast(a=3, b=5)], [2, 2, -2])
        assert_equal([fast(5, c=1, b=3), fast(5, b=3, c=1)], [1, 1])
        assert_equal(calls, [(5, 3, 0), (3, 5, 0), (5, 3, 1)])

    def test_keywords_of_the_same_values_are_told_apart(self):
        fast = memoize(lambda **names: sorted(names))
        assert_equal([fast(a=1), fast(b=1), fast(a=1, b=1), fast()], [["a"], ["b"], ["a", "b"], []])

    def test_arguments_of_equal_hash_are_told_apart(self):
        fast = memoize(lambda x: x * 10)  # hash(-1) is hash(-2)
        assert_equal([fast(-1), fast(-2), fast(-1)], [-10, -20, -10])

    def test_a_pair_is_no_keyword(self):
        fast = memoize(lambda *args, **kwargs: (args, kwargs))
        assert_equal(fast(("x", 1)), ((("x", 1),), {}))
        assert_equal(fast(x=1), ((), {"x": 1}))

    def test_values_of_equal_text_are_told_apart(self):
        class Named:
            def __repr__(self):
                return "same"

        one, other = Named(), Named()
        fast = memoize(lambda x: x is one)
        assert_equal([fast(one), fast(other)], [True, False])

    def test_none_is_an_answer(self):
        calls = []
        fast = memoize(lambda x: calls.append(x))
        assert_equal([fast(1), fast(1), fast(0), fast(0)], [None] * 4)
        assert_equal(calls, [1, 0])

    def test_what_is_raised_is_passed_on_and_not_kept(self):
        calls = []

        def divide(x):
            calls.append(x)
            return 1 // x

        fast = memoize(divide)
        for _ in range(2):
            with raises(ZeroDivisionError):
                fast(0)
        assert_equal(calls, [0, 0])

    def test_a_key_error_of_the_function_is_passed_on_like_others(self):
        calls, fast = [], memoize(lambda name: calls.append(name) or {}[name])
        with raises(KeyError, "x"):
            fast("x")
        assert_equal(calls, ["x"])

    def test_two_functions_keep_their_answers_apart(self):
        one, other = memoize(lambda x: x + 1), memoize(lambda x: x + 2)
        assert_equal([one(1), other(1), one(1)], [2, 3, 2])

    def test_of_fibonacci(self):
        calls = []

        def fibonacci(n):
            calls.append(n)
            return n if n < 2 else fast(n - 1) + fast(n - 2)

        fast = memoize(fibonacci)
        assert_equal(fast(30), 832040)
        assert_equal(len(calls), 31)


class TestWriteJsonl:
    def test_one_line_a_record_as_it_is(self, tmp_path):
        assert_equal(write_jsonl(tmp_path / "x.jsonl", [{"word": "naïve"}, [1, 2], "a\nb"]), 3)
        lines = (tmp_path / "x.jsonl").read_bytes().decode("utf-8").splitlines()
        assert_equal([json.loads(line) for line in lines], [{"word": "naïve"}, [1, 2], "a\nb"])
        assert_equal("naïve" in lines[0], True)

    def test_the_records_may_be_an_iterator(self, tmp_path):
        assert_equal(write_jsonl(tmp_path / "x.jsonl", iter([5, None])), 2)
        assert_equal((tmp_path / "x.jsonl").read_text().split(), ["5", "null"])

    def test_a_file_that_is_there_is_replaced(self, tmp_path):
        path = tmp_path / "x.jsonl"
        write_jsonl(path, [1, 2, 3])
        assert_equal(write_jsonl(path, [4]), 1)
        assert_equal(path.read_text().split(), ["4"])
        assert_equal(write_jsonl(path, []), 0)
        assert_equal(path.read_text(), "")


class TestReadJsonl:
    def test_what_is_written_is_read_again(self, tmp_path):
        records = [{"a": 1.5, "b": [None, True]}, "text\nof two lines", 7, [], {"é": "日本"}]
        write_jsonl(tmp_path / "x.jsonl", records)
        assert_equal(list(read_jsonl(tmp_path / "x.jsonl")), records)

    def test_blank_lines_are_passed_over(self, tmp_path):
        (tmp_path / "x.jsonl").write_text('1\n\n  \t\n{"a": 2}')
        assert_equal(list(read_jsonl(tmp_path / "x.jsonl")), [1, {"a": 2}])

    # What json itself says names its own line 1 and a column: of the line asked for it knows nothing.
    @pytest.mark.parametrize(
        ("text", "line"), [("1\nnope\n3\n", 2), ("\n\n5\nnope\n", 4), ("{'a': 1}", 1), ("0\n" * 36 + "[1,\n2]\n", 37)]
    )
    def test_a_faulty_line_is_an_error_when_it_is_reached(self, tmp_path, text, line):
        (tmp_path / "x.jsonl").write_text(text)
        records = read_jsonl(tmp_path / "x.jsonl")
        for _ in range(sum(1 for good in text.splitlines()[: line - 1] if good.strip())):
            next(records)
        with raises(ValueError, line):
            next(records)

    def test_reads_on_only_as_it_is_asked_to(self, tmp_path):
        path = tmp_path / "x.jsonl"
        path.write_text("1\n2\n" + "[" + "0, " * 300_000 + "0]\n")
        import tracemalloc

        tracemalloc.start()
        records = read_jsonl(path)
        first = [next(records), next(records)]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert_equal(first, [1, 2])
        if peak > 500_000:
            fail("The whole file was read before the first record was handed out.", evidence="all at once")

    def test_only_a_line_feed_ends_a_line(self, tmp_path):
        (tmp_path / "x.jsonl").write_bytes('"a\u2028b\x85c"\n2\n'.encode())
        try:
            records = list(read_jsonl(tmp_path / "x.jsonl"))
        except ValueError:
            fail("A line was ended at U+2028 or U+0085; only a line feed ends one.", evidence="other line ends")
        assert_equal(records, ["a\u2028b\x85c", 2])

    def test_a_carriage_return_ends_no_line(self, tmp_path):
        # JSON allows one between two tokens.
        (tmp_path / "x.jsonl").write_bytes(b"[1,\r2]\r\n3\n")
        try:
            records = list(read_jsonl(tmp_path / "x.jsonl"))
        except ValueError:
            fail("A line was ended at a carriage return; only a line feed ends one.", evidence="carriage return")
        assert_equal(records, [[1, 2], 3])

    def test_two_readings_of_one_file_at_a_time(self, tmp_path):
        (tmp_path / "x.jsonl").write_text("1\n2\n3\n")
        one, other = read_jsonl(tmp_path / "x.jsonl"), read_jsonl(tmp_path / "x.jsonl")
        assert_equal([next(one), next(one), next(other), next(one)], [1, 2, 1, 3])


class TestBatches:
    def test_the_example_worked_by_hand(self):
        assert_equal(list(Batches([1, 2, 3, 4, 5, 6, 7], 3)), [[1, 2, 3], [4, 5, 6], [7]])

    @pytest.mark.parametrize(("n", "size"), [(6, 3), (5, 1), (2, 9), (0, 4), (10, 4)])
    def test_all_items_in_order_and_their_number(self, n, size):
        items = [10 * i for i in range(n)]
        batches = Batches(items, size)
        assert_equal(list(batches), [items[i : i + size] for i in range(0, n, size)])
        assert_equal(len(batches), len(range(0, n, size)))

    def test_none_and_other_false_items_are_items(self):
        assert_equal(list(Batches([0, None, "", None, 5], 2)), [[0, None], ["", None], [5]])

    def test_the_number_of_batches_is_exact(self):
        assert_equal(len(Batches(range(2**60 + 1), 2)), 2**59 + 1)

    def test_every_loop_begins_anew(self):
        batches = Batches("abcde", 2)
        assert_equal([list(batches), list(batches)], [[["a", "b"], ["c", "d"], ["e"]]] * 2)
        pairs = [(x, y) for x in batches for y in batches]
        assert_equal(len(pairs), 9)

    def test_takes_no_more_items_than_it_needs(self):
        taken = []

        def source():
            for i in range(100):
                taken.append(i)
                yield i

        iterator = iter(Batches(source(), 3))
        assert_equal([next(iterator), next(iterator)], [[0, 1, 2], [3, 4, 5]])
        assert_equal(len(taken), 6)

    def test_a_batch_that_was_handed_out_stays_as_it_is(self):
        iterator = iter(Batches(range(4), 2))
        first = next(iterator)
        next(iterator)
        assert_equal(first, [0, 1])

    def test_of_an_iterator(self):
        assert_equal(list(Batches(iter("abc"), 2)), [["a", "b"], ["c"]])

    @pytest.mark.parametrize("size", [0, -2])
    def test_a_size_below_1_is_an_error(self, size):
        with raises(ValueError, size):
            Batches([1, 2], size)

    def test_a_size_of_1_is_not(self):
        assert_equal(list(Batches([7, 8], 1)), [[7], [8]])
