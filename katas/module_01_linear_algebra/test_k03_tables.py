"""Judges k03_tables against pandas, on small tables and on the penguins."""

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_01_linear_algebra.k03_tables import (
    drop_missing,
    fill_missing_by_group,
    group_summary,
    left_join,
    melt,
    outlier_flags,
    pivot,
)

pytestmark = [from_scratch("pandas"), pure()]

LESSON = {"species": ["A", "A", "A", "B", "B"], "mass": [3, None, 5, 8, None]}
WIDE = {"city": ["X", "Y"], "2020": [1, 2], "2021": [3, 4]}
LONG = {
    "city": ["X", "Y", "X", "Y"],
    "year": ["2020", "2020", "2021", "2021"],
    "people": [1, 2, 3, 4],
}


def check(actual, expected):
    """The same columns in the same order, and close values in each."""
    assert_close(actual, expected)
    assert_equal(list(actual), list(expected))


def with_none(column):
    """A pandas column as a list, with None where it holds NaN."""
    return [None if value != value else value for value in column.tolist()]


class TestDropMissing:
    def test_of_the_lesson(self):
        check(drop_missing(LESSON), {"species": ["A", "A", "B"], "mass": [3, 5, 8]})

    def test_any_column_may_lack_a_value(self):
        table = {"a": [1.5, None, 3.5, None, 5.5], "b": ["x", "y", None, None, "z"]}
        check(drop_missing(table), {"a": [1.5, 5.5], "b": ["x", "z"]})

    def test_only_the_columns_named_count(self):
        table = {"b": ["p", "q", None, "s"], "a": [None, 2, 3, 4], "c": [None, 6, 7, None]}
        check(drop_missing(table, ["a"]), {"b": ["q", None, "s"], "a": [2, 3, 4], "c": [6, 7, None]})
        check(drop_missing(table, ["c", "b"]), {"b": ["q"], "a": [2], "c": [6]})

    def test_no_columns_drop_nothing(self):
        check(drop_missing(LESSON, []), LESSON)

    def test_zero_and_an_empty_text_are_not_missing(self):
        table = {"a": [0, 0.0, 7, None], "b": ["x", "", "", "y"], "c": [True, False, False, False]}
        expected = {"a": [0, 0.0, 7], "b": ["x", "", ""], "c": [True, False, False]}
        check(drop_missing(table), expected)

    @pytest.mark.parametrize("table", [{"a": [], "b": []}, {"a": [None, 1], "b": [2, None]}])
    def test_maybe_no_row_is_left(self, table):
        check(drop_missing(table), {"a": [], "b": []})

    @pytest.mark.parametrize("columns", [None, ["sex"], ["body_mass_g", "island"]])
    def test_the_penguins_match_pandas(self, penguins, columns):
        import pandas as pd

        frame = pd.DataFrame(penguins).dropna(subset=columns)
        expected = {name: with_none(frame[name]) for name in frame}
        check(drop_missing(penguins, columns), expected)


class TestFillMissingByGroup:
    def test_of_the_lesson(self):
        check(fill_missing_by_group(LESSON, "mass", ["species"]), {**LESSON, "mass": [3, 4, 5, 8, 8]})

    def test_the_median_not_the_mean(self):
        table = {"v": [1.0, None, 2.0, 30.0, None, 5.0, None, 1.5, 90.0], "g": list("aaaabbbbb")}
        expected = [1.0, 2.0, 2.0, 30.0, 5.0, 5.0, 5.0, 1.5, 90.0]
        check(fill_missing_by_group(table, "v", ["g"]), {"v": expected, "g": list("aaaabbbbb")})

    def test_of_an_even_number_the_mean_of_the_middle_two(self):
        table = {"g": ["a"] * 5, "v": [40.0, 1.0, None, 9.0, 4.0]}
        check(fill_missing_by_group(table, "v", ["g"]), {"g": ["a"] * 5, "v": [40.0, 1.0, 6.5, 9.0, 4.0]})

    def test_groups_need_not_stand_together(self):
        table = {"g": list("abab" + "ba"), "v": [1, 10, None, None, 30, 3]}
        check(fill_missing_by_group(table, "v", ["g"]), {**table, "v": [1, 10, 2, 20, 30, 3]})

    def test_groups_by_two_columns(self):
        table = {"g": list("aabbab"), "h": [1, 2, 1, 2, 1, 1], "v": [5, 6, 7, 8, None, None]}
        check(fill_missing_by_group(table, "v", ["g", "h"]), {**table, "v": [5, 6, 7, 8, 5, 7]})

    def test_zero_is_a_value(self):
        table = {"g": list("aaaa"), "v": [0, 0, 6, None]}
        check(fill_missing_by_group(table, "v", ["g"]), {"g": list("aaaa"), "v": [0, 0, 6, 0]})

    def test_a_zero_stays_where_others_are_filled(self):
        check(fill_missing_by_group({"g": list("aaa"), "x": [0, None, 4]}, "x", ["g"]), {"g": list("aaa"), "x": [0, 2.0, 4]})

    def test_a_group_without_values_stays_as_it_is(self):
        table = {"g": list("abab"), "v": [None, 2, None, None]}
        check(fill_missing_by_group(table, "v", ["g"]), {"g": list("abab"), "v": [None, 2, None, 2]})

    def test_none_makes_a_group_as_well(self):
        table = {"g": [None, "a", None, "a"], "v": [4, 9, None, None]}
        check(fill_missing_by_group(table, "v", ["g"]), {**table, "v": [4, 9, 4, 9]})

    def test_only_that_column_is_filled(self):
        table = {"g": ["a", "a"], "v": [4, None], "w": [None, 7]}
        check(fill_missing_by_group(table, "v", ["g"]), {"g": ["a", "a"], "v": [4, 4], "w": [None, 7]})

    def test_the_table_that_came_in_is_not_filled(self):
        table = {"g": list("aab"), "v": [4, None, 5]}
        fill_missing_by_group(table, "v", ["g"])
        assert_equal(table, {"g": list("aab"), "v": [4, None, 5]})

    def test_groups_by_three_columns(self):
        table = {"a": [1, 1, 1, 1], "b": [2, 2, 2, 2], "c": [3, 4, 3, 4], "x": [5.0, 7.0, None, 9.0]}
        check(fill_missing_by_group(table, "x", ["a", "b", "c"]), {**table, "x": [5.0, 7.0, 5.0, 9.0]})

    def test_groups_whose_values_read_alike_when_joined(self):
        table = {"a": ["x", "xy", "x"], "b": ["yz", "z", "yz"], "x": [1.0, 3.0, None]}
        check(fill_missing_by_group(table, "x", ["a", "b"]), {**table, "x": [1.0, 3.0, 1.0]})

    @pytest.mark.parametrize(("column", "by"), [("body_mass_g", ["species"]), ("bill_depth_mm", ["species", "sex"])])
    def test_the_penguins_match_pandas(self, penguins, column, by):
        import pandas as pd

        frame = pd.DataFrame(penguins)
        typical = frame.groupby(by, dropna=False)[column].transform("median")
        expected = {**penguins, column: with_none(frame[column].fillna(typical))}
        check(fill_missing_by_group(penguins, column, by), expected)


class TestMelt:
    def test_the_example_worked_by_hand(self):
        check(melt(WIDE, ["city"], "year", "people"), LONG)

    def test_its_names_unless_given(self):
        expected = {"city": LONG["city"], "variable": LONG["year"], "value": LONG["people"]}
        check(melt(WIDE, ["city"]), expected)

    def test_matches_pandas(self):
        import pandas as pd

        table = {"a": [1, 2, 3], "k": list("xyz"), "b": [4, 5, 6], "m": list("uvw"), "c": [7, 8, 9]}
        frame = pd.DataFrame(table).melt(["m", "k"], var_name="which", value_name="what")
        check(melt(table, ["m", "k"], "which", "what"), {name: frame[name].tolist() for name in frame})

    def test_missing_values_keep_their_rows(self):
        table = {"k": ["x", "y"], "a": [None, 2], "b": [3, None]}
        expected = {"k": list("xyxy"), "variable": list("aabb"), "value": [None, 2, 3, None]}
        check(melt(table, ["k"]), expected)

    def test_keeping_nothing(self):
        check(melt({"b": [1, 2], "a": [3, 4]}, []), {"variable": list("bbaa"), "value": [1, 2, 3, 4]})

    def test_a_table_without_rows(self):
        check(melt({"k": [], "a": [], "b": []}, ["k"]), {"k": [], "variable": [], "value": []})


class TestPivot:
    def test_puts_the_years_back(self):
        check(pivot(LONG, "city", "year", "people"), WIDE)

    def test_in_the_order_of_first_appearance(self):
        table = {"r": list("qpqpz"), "c": list("nmmnm"), "v": [1, 2, 3, 4, 5]}
        check(pivot(table, "r", "c", "v"), {"r": list("qpz"), "n": [1, 4, None], "m": [3, 2, 5]})

    def test_none_where_there_is_no_row(self):
        table = {"v": [1, 0, 3], "c": list("aba"), "r": [10, 20, 30]}
        check(pivot(table, "r", "c", "v"), {"r": [10, 20, 30], "a": [1, None, 3], "b": [None, 0, None]})

    def test_none_makes_a_row_as_well(self):
        table = {"r": [None, None], "c": ["x", "y"], "v": [1, 2]}
        check(pivot(table, "r", "c", "v"), {"r": [None], "x": [1], "y": [2]})

    def test_columns_that_are_not_named_do_not_matter(self):
        table = {**LONG, "other": list("pqrs")}
        check(pivot(table, "city", "year", "people"), WIDE)

    def test_matches_pandas(self, rng):
        import pandas as pd

        pairs = [(r, c) for r in "abcde" for c in "uvw"]
        chosen = [pairs[i] for i in rng.permutation(15)[:11]]
        table = {"r": [r for r, _ in chosen], "c": [c for _, c in chosen], "v": rng.normal(size=11).tolist()}
        frame = pd.DataFrame(table).pivot(index="r", columns="c", values="v")
        got = pivot(table, "r", "c", "v")
        for name in frame:
            assert_close(got[name], with_none(frame[name].loc[list(dict.fromkeys(table["r"]))]))

    @pytest.mark.parametrize("values", [(1, 2), (1, 1), (None, 2), (1, None), (None, None), (0, 0)])
    def test_rejects_two_rows_for_one_cell(self, values):
        table = {"r": ["p", "left", "other", "left"], "c": ["top", "top", "low", "top"], "v": [5, values[0], 6, values[1]]}
        with raises(ValueError, "left", "top"):
            pivot(table, "r", "c", "v")

    def test_a_table_without_rows(self):
        check(pivot({"r": [], "c": [], "v": []}, "r", "c", "v"), {"r": []})


class TestGroupSummary:
    def test_of_the_lesson(self):
        expected = {"species": ["A", "B"], "count": [2, 1], "mean": [4.0, 8.0], "std": [2**0.5, None]}
        check(group_summary(LESSON, ["species"], "mass"), expected)

    def test_in_the_order_of_first_appearance(self):
        table = {"v": [1.0, 5.0, 2.0, 9.0, 6.0, 7.0], "g": list("czcaza")}
        expected = {
            "g": list("cza"),
            "count": [2, 2, 2],
            "mean": [1.5, 5.5, 8.0],
            "std": [0.5**0.5, 0.5**0.5, 2**0.5],
        }
        check(group_summary(table, ["g"], "v"), expected)

    def test_groups_with_few_values(self):
        table = {"g": list("abcaab"), "v": [None, None, 3, None, None, 0]}
        expected = {"g": list("abc"), "count": [0, 1, 1], "mean": [None, 0.0, 3.0], "std": [None, None, None]}
        check(group_summary(table, ["g"], "v"), expected)

    def test_equal_values_have_no_spread(self):
        expected = {"g": ["a"], "count": [3], "mean": [0.0], "std": [0.0]}
        check(group_summary({"g": ["a"] * 4, "v": [0, 0, None, 0]}, ["g"], "v"), expected)

    def test_none_makes_a_group_as_well(self):
        table = {"g": ["a", None, "a", None], "v": [1, 10, 3, 20]}
        expected = {"g": ["a", None], "count": [2, 2], "mean": [2.0, 15.0], "std": [2**0.5, 50**0.5]}
        check(group_summary(table, ["g"], "v"), expected)

    def test_groups_by_two_columns(self):
        table = {"g": list("aabba"), "h": [1, 2, 1, 1, 1], "v": [5, 6, 7, 9, 8]}
        expected = {
            "h": [1, 2, 1],
            "g": ["a", "a", "b"],
            "count": [2, 1, 2],
            "mean": [6.5, 6.0, 8.0],
            "std": [4.5**0.5, None, 2**0.5],
        }
        check(group_summary(table, ["h", "g"], "v"), expected)

    def test_groups_by_three_columns(self):
        table = {"a": [1, 1, 1, 1], "b": [2, 2, 2, 2], "c": [3, 4, 3, 4], "x": [5.0, 7.0, None, 9.0]}
        got = group_summary(table, ["a", "b", "c"], "x")
        assert_equal([got["a"], got["b"], got["c"], got["count"]], [[1, 1], [2, 2], [3, 4], [1, 2]])

    def test_groups_whose_values_read_alike_when_joined(self):
        table = {"a": ["x", "xy", "x"], "b": ["yz", "z", "yz"], "x": [1.0, 3.0, None]}
        assert_equal(group_summary(table, ["a", "b"], "x")["count"], [1, 1])

    def test_a_large_mean_costs_no_digits(self):
        table = {"g": list("aaab"), "x": [1e9 + 1, 1e9 + 2, 1e9 + 3, 7.0]}
        expected = {"g": ["a", "b"], "count": [3, 1], "mean": [1e9 + 2, 7.0], "std": [1.0, None]}
        check(group_summary(table, ["g"], "x"), expected)

    @pytest.mark.parametrize("by", [["species"], ["island", "sex"]])
    def test_the_penguins_match_pandas(self, penguins, by):
        import pandas as pd

        groups = pd.DataFrame(penguins).groupby(by, sort=False, dropna=False)["body_mass_g"]
        wanted = groups.agg(["count", "mean", "std"]).reset_index()
        expected = {name: with_none(wanted[name]) for name in wanted}
        check(group_summary(penguins, by, "body_mass_g"), expected)


class TestLeftJoin:
    def test_every_row_of_the_left_once_and_in_order(self):
        left = {"id": [3, 1, 9, 3, 2], "x": list("abcde")}
        right = {"y": [30, 10, 50, 20], "id": [3, 1, 5, 2], "z": ["p", None, "q", "r"]}
        expected = {**left, "y": [30, 10, None, 30, 20], "z": ["p", None, None, "p", "r"]}
        check(left_join(left, right, "id"), expected)

    def test_matches_pandas(self, rng):
        import pandas as pd

        left = {"key": rng.integers(0, 12, 25).tolist(), "x": rng.normal(size=25).tolist()}
        right = {"key": rng.permutation(12)[:8].tolist(), "y": rng.normal(size=8).tolist()}
        frame = pd.DataFrame(left).merge(pd.DataFrame(right), how="left", on="key")
        check(left_join(left, right, "key"), {name: with_none(frame[name]) for name in frame})

    def test_none_is_no_key(self):
        left = {"id": [None, 1, None, 2], "x": [5, 6, 7, 8]}
        right = {"id": [None, 2, None, 1], "y": [10, 20, 30, 40]}
        check(left_join(left, right, "id"), {**left, "y": [None, 40, None, 20]})

    def test_zero_and_an_empty_text_are_keys(self):
        check(left_join({"k": [0, 1]}, {"k": [1, 0], "y": [5, 6]}, "k"), {"k": [0, 1], "y": [6, 5]})
        check(left_join({"k": ["", "a"]}, {"k": ["a", ""], "y": [5, 6]}, "k"), {"k": ["", "a"], "y": [6, 5]})

    def test_tables_without_rows(self):
        check(left_join({"k": [], "x": []}, {"k": [1], "y": [2]}, "k"), {"k": [], "x": [], "y": []})
        check(left_join({"k": [1, 2]}, {"k": [], "y": []}, "k"), {"k": [1, 2], "y": [None, None]})

    @pytest.mark.parametrize("keys", [["one", "two", "one"], ["two", "one", "one"]])
    def test_rejects_a_key_that_the_right_has_twice(self, keys):
        with raises(ValueError, "one"):
            left_join({"k": ["one"], "x": [5]}, {"k": keys, "y": [6, 6, 6]}, "k")

    def test_rejects_a_repeated_key_that_the_left_does_not_have(self):
        with raises(ValueError, "two"):
            left_join({"k": ["one"]}, {"k": ["two", "two"], "y": [6, 7]}, "k")

    def test_rejects_a_column_that_both_have(self):
        with raises(ValueError, "weight"):
            left_join({"k": [1], "weight": [5]}, {"k": [1], "height": [4], "weight": [6]}, "k")

    def test_the_key_column_keeps_its_place(self):
        left = {"x": [1, 2], "id": ["b", "a"], "y": [3, 4]}
        right = {"z": [5, 6], "id": ["a", "b"]}
        got = left_join(left, right, "id")
        assert_equal(list(got), ["x", "id", "y", "z"])
        assert_equal(got, {"x": [1, 2], "id": ["b", "a"], "y": [3, 4], "z": [6, 5]})


class TestOutlierFlags:
    def test_the_example_worked_by_hand(self):
        assert_equal(outlier_flags([0, 1, 2, 3, 4, 8]), [False] * 5 + [True])
        assert_equal(outlier_flags([0, 1, 2, 3, 4, 7]), [False] * 6)

    def test_the_order_does_not_matter(self):
        assert_equal(outlier_flags([2, 8, 4, 0, 3, 1]), [False, True, False, False, False, False])

    def test_on_both_sides(self):
        values = [12.5, 3.0, -4.5, 2.0, 4.0, 5.0, 6.0, 8.0, 0.0]
        assert_equal(outlier_flags(values), [True, False, True, *[False] * 6])

    def test_a_value_on_the_fence_is_no_outlier(self):
        values = [12.0, 3.0, -4.0, 2.0, 4.0, 5.0, 6.0, 8.0, 0.0]
        assert_equal(outlier_flags(values), [False] * 9)

    @pytest.mark.parametrize(("k", "flagged"), [(0, 4), (0.5, 3), (1, 2), (1.4, 2), (1.6, 0), (3, 0)])
    def test_k_says_how_far_outside(self, k, flagged):
        values = [-4.0, 0.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.5, 12.0]
        expected = {4: [0, 1, 7, 8], 3: [0, 7, 8], 2: [0, 8], 0: []}[flagged]
        assert_equal(outlier_flags(values, k), [i in expected for i in range(9)])

    @pytest.mark.parametrize("n", [4, 5, 6, 7, 10, 30])
    def test_matches_numpys_quartiles(self, rng, n):
        for values in rng.standard_cauchy(size=(20, n)):
            q1, q3 = np.quantile(values, [0.25, 0.75])
            expected = (values < q1 - 0.8 * (q3 - q1)) | (values > q3 + 0.8 * (q3 - q1))
            assert_equal(outlier_flags(values.tolist(), 0.8), expected.tolist())

    def test_missing_values_are_no_outliers_and_move_nothing(self):
        assert_equal(outlier_flags([None, 2, 8, 4, None, 0, 3, 1]), [i == 2 for i in range(8)])

    def test_the_values_that_came_in_are_not_sorted(self):
        values = [2, 8, None, 4, 0, 3, 1]
        outlier_flags(values)
        assert_equal(values, [2, 8, None, 4, 0, 3, 1])

    def test_where_there_is_little_to_flag(self):
        assert_equal(outlier_flags([]), [])
        assert_equal(outlier_flags([None, None]), [False, False])
        assert_equal(outlier_flags([5.0, None]), [False, False])
        assert_equal(outlier_flags([3, 3, 3, 3, 3]), [False] * 5)

    def test_no_spread_but_for_one(self):
        assert_equal(outlier_flags([3, 3, 2.5, 3, 3, 3]), [False, False, True, False, False, False])

    def test_a_zero_may_be_an_outlier(self):
        assert_equal(list(outlier_flags([10, 11, 12, 13, 0])), [False, False, False, False, True])

    def test_few_values_have_quartiles_too(self):
        # Of 1 2 100: quartiles 1.5 and 51, so the upper fence with k = 0.5 is 75.75.
        assert_equal(list(outlier_flags([1, 2, 100], 0.5)), [False, False, True])
        assert_equal(list(outlier_flags([5])), [False])
