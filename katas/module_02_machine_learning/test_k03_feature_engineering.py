"""Judges k03_feature_engineering against scikit-learn, brute force row by row, and pure noise, where nothing may score."""

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_02_machine_learning.k03_feature_engineering import (
    Imputer,
    OneHotEncoder,
    Pipeline,
    QuantileBinner,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
    interactions,
    out_of_fold,
)

pytestmark = [from_scratch("sklearn", "scipy", "pandas"), pure()]


def table(rng, n=11, d=3):
    """Columns with means and scales of their own."""
    return rng.normal(size=(n, d)) * (1 + np.arange(d)) ** 2 + 5 * np.arange(d)


class TestStandardScaler:
    def test_the_example_worked_by_hand(self):
        got = StandardScaler().fit(np.array([[1], [2], [6]])).transform(np.array([[1], [2], [6]]))
        assert_close(got, np.array([[-2.0], [-1.0], [3.0]]) / np.sqrt(14 / 3))

    @pytest.mark.parametrize(("n", "d"), [(11, 3), (5, 1), (2, 6)])
    def test_matches_scikit_learn_on_new_rows(self, rng, n, d):
        from sklearn.preprocessing import StandardScaler as Oracle

        x, new = table(rng, n, d), 3 * table(rng, 4, d)
        assert_close(StandardScaler().fit(x).transform(new), Oracle().fit(x).transform(new))

    @pytest.mark.parametrize("value", [0.0, 0.1, 1e9])
    def test_a_constant_column_is_not_divided(self, rng, value):
        x = table(rng, 7)
        x[:, 1] = value
        new = x[:2] + np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
        expected = (new - x.mean(axis=0)) / np.array([x[:, 0].std(), 1.0, x[:, 2].std()])
        assert_close(StandardScaler().fit(x).transform(new), expected)

    @pytest.mark.parametrize(("start", "step"), [(0.0, 2e-9), (1e9, 2.0), (-3e8, 0.5)])
    def test_a_column_that_varies_a_little_is_scaled(self, start, step):
        x = np.array([[start], [start + step]])
        assert_close(StandardScaler().fit(x).transform(x), np.array([[-1.0], [1.0]]))

    def test_of_bytes(self):
        x = np.array([[200, 3], [100, 250]], np.uint8)
        assert_close(StandardScaler().fit(x).transform(x), np.array([[1.0, -1.0], [-1.0, 1.0]]))

    def test_float32_is_computed_in_float64(self, rng):
        x = table(rng, 30).astype(np.float32)
        exact = x.astype(np.float64)
        got = StandardScaler().fit(x).transform(x)
        assert_close(got, (exact - exact.mean(axis=0)) / exact.std(axis=0), rtol=1e-9, atol=1e-9)

    def test_transform_learns_nothing_and_a_second_fit_forgets(self, rng):
        first, second = table(rng), table(rng, 6, 2)
        scaler = StandardScaler().fit(first)
        alone = [scaler.transform(first[i : i + 1] + 9) for i in range(3)]
        assert_close(scaler.transform(first[:3] + 9), np.vstack(alone))
        assert scaler.fit(second) is scaler
        assert_close(scaler.transform(second), (second - second.mean(axis=0)) / second.std(axis=0))

    @pytest.mark.parametrize("columns", [1, 2, 4])
    def test_rejects_another_number_of_columns(self, rng, columns):
        scaler = StandardScaler().fit(table(rng))
        with raises(ValueError, columns, 3):
            scaler.transform(np.ones((5, columns)))


class TestRobustScaler:
    def test_the_example_worked_by_hand(self):
        got = RobustScaler().fit(np.array([[1], [2], [6]])).transform(np.array([[1], [2], [6]]))
        assert_close(got, np.array([[-0.4], [0.0], [1.6]]))

    @pytest.mark.parametrize(("n", "d"), [(11, 3), (6, 1), (4, 6)])
    def test_matches_scikit_learn_on_new_rows(self, rng, n, d):
        from sklearn.preprocessing import RobustScaler as Oracle

        x, new = table(rng, n, d), 3 * table(rng, 4, d)
        assert_close(RobustScaler().fit(x).transform(new), Oracle().fit(x).transform(new))

    def test_an_outlier_changes_nothing_for_the_others(self, rng):
        x = table(rng, 12)
        far = x.copy()
        far[np.argmax(x[:, 0]), 0] = 1e12
        assert_close(RobustScaler().fit(far).transform(x), RobustScaler().fit(x).transform(x))

    def test_float32_is_computed_in_float64(self, rng):
        x = table(rng, 10).astype(np.float32)
        expected = RobustScaler().fit(x.astype(np.float64)).transform(x)
        assert_close(RobustScaler().fit(x).transform(x), expected, rtol=1e-10, atol=1e-10)

    def test_equal_quartiles_are_not_divided_by(self):
        x = np.array([[3.0, 1.0], [3.0, 2.0], [3.0, 3.0], [3.0, 4.0], [9.0, 5.0]])
        expected = np.array([[0.0, -1.0], [0.0, -0.5], [0.0, 0.0], [0.0, 0.5], [6.0, 1.0]])
        assert_close(RobustScaler().fit(x).transform(x), expected)

    def test_of_bytes(self):
        x = np.array([[200], [100], [0]], np.uint8)
        assert_close(RobustScaler().fit(x).transform(x), np.array([[1.0], [0.0], [-1.0]]))

    def test_transform_learns_nothing_and_a_second_fit_forgets(self, rng):
        first, second = table(rng), table(rng, 6, 2)
        scaler = RobustScaler().fit(first)
        alone = [scaler.transform(first[i : i + 1] + 9) for i in range(3)]
        assert_close(scaler.transform(first[:3] + 9), np.vstack(alone))
        assert scaler.fit(second) is scaler
        assert_close(scaler.transform(second), RobustScaler().fit(second).transform(second))

    @pytest.mark.parametrize("columns", [1, 2, 4])
    def test_rejects_another_number_of_columns(self, rng, columns):
        scaler = RobustScaler().fit(table(rng))
        with raises(ValueError, columns, 3):
            scaler.transform(np.ones((5, columns)))


def holes(rng, n=12, d=3):
    """A table with gaps in every column but the last."""
    x = np.exp(table(rng, n, d) / 5)
    for j in range(d - 1):
        x[rng.permutation(n)[: 2 + j], j] = np.nan
    return x


class TestImputer:
    @pytest.mark.parametrize(("strategy", "fill"), [("mean", 4.0), ("median", 3.0)])
    def test_fills_a_gap(self, strategy, fill):
        x = np.array([[1.0], [np.nan], [3.0], [8.0]])
        assert_close(Imputer(strategy).fit(x).transform(x), np.array([[1.0], [fill], [3.0], [8.0]]))

    @pytest.mark.parametrize("strategy", ["mean", "median"])
    @pytest.mark.parametrize(("n", "d"), [(12, 3), (7, 4)])
    def test_matches_scikit_learn_on_new_rows(self, rng, strategy, n, d):
        from sklearn.impute import SimpleImputer

        x, new = holes(rng, n, d), holes(rng, 6, d)
        new[0] = np.nan
        assert_close(Imputer(strategy).fit(x).transform(new), SimpleImputer(strategy=strategy).fit(x).transform(new))

    @pytest.mark.parametrize("strategy", ["mean", "median"])
    def test_float32_is_computed_in_float64(self, rng, strategy):
        x = np.array([[0.1], [0.2], [0.7], [0.9], [np.nan]], np.float32)
        known = x[:4].astype(np.float64)
        fill = known.mean() if strategy == "mean" else np.median(known)
        assert_close(Imputer(strategy).fit(x).transform(x)[4:], np.array([[fill]]), rtol=1e-12, atol=0)

    def test_tells_where_the_gaps_were(self):
        x = np.array([[1.0, np.nan], [5.0, 2.0], [np.nan, 4.0]])
        imputer = Imputer("mean", indicator=True).fit(x)
        new = np.array([[np.nan, 7.0], [0.0, np.nan]])
        assert_close(imputer.transform(new), np.array([[3.0, 7.0, 1.0, 0.0], [0.0, 3.0, 0.0, 1.0]]))
        assert_close(imputer.transform(new[1:, :] * 0 + 1.0)[:, 2:], np.array([[0.0, 1.0]]))

    def test_tells_it_for_columns_that_had_none_in_fit(self):
        imputer = Imputer("mean", indicator=True).fit(np.array([[1.0, np.nan], [5.0, 2.0]]))
        assert_close(imputer.transform(np.array([[np.nan, 7.0]])), np.array([[3.0, 7.0, 1.0, 0.0]]))

    def test_is_the_median_without_indicator_unless_told_otherwise(self, rng):
        x = holes(rng)
        assert_close(Imputer().fit(x).transform(x), np.where(np.isnan(x), np.nanmedian(x, axis=0), x))

    def test_infinity_and_integers_are_values(self):
        imputer = Imputer().fit(np.array([[1, 200], [3, 100], [4, 250]], np.uint8))
        assert_close(
            imputer.transform(np.array([[np.inf, np.nan], [-np.inf, 0.0]])), np.array([[np.inf, 200.0], [-np.inf, 0.0]])
        )
        assert_close(imputer.transform(np.array([[7, 8]])), np.array([[7.0, 8.0]]))

    def test_transform_learns_nothing_and_a_second_fit_forgets(self, rng):
        first, second = holes(rng), 10 + holes(rng, 8, 2)
        imputer = Imputer("mean").fit(first)
        alone = [imputer.transform(first[i : i + 1]) for i in range(12)]
        assert_close(imputer.transform(first), np.vstack(alone))
        assert imputer.fit(second) is imputer
        assert_close(imputer.transform(second), np.where(np.isnan(second), np.nanmean(second, axis=0), second))

    @pytest.mark.parametrize("column", [0, 2])
    def test_rejects_a_column_without_values(self, rng, column):
        x = table(rng)
        x[:, column] = np.nan
        with raises(ValueError, column):
            Imputer().fit(x)

    @pytest.mark.parametrize("strategy", ["mode", "Mean"])
    def test_rejects_other_strategies(self, strategy):
        with raises(ValueError, strategy):
            Imputer(strategy)

    @pytest.mark.parametrize("columns", [1, 4])
    def test_rejects_another_number_of_columns(self, rng, columns):
        imputer = Imputer().fit(table(rng))
        with raises(ValueError, columns, 3):
            imputer.transform(np.ones((5, columns)))


class TestOneHotEncoder:
    def test_a_column_for_each_category_in_order(self):
        encoder = OneHotEncoder().fit(["b", "c", "b", "a"])
        assert_equal(encoder.categories.tolist(), ["a", "b", "c"])
        assert_close(encoder.transform(["c", "b", "b"]), np.array([[0.0, 0, 1], [0, 1, 0], [0, 1, 0]]))

    @pytest.mark.parametrize("values", [[7, 3, 12, 5], ["x", "yy", "Z", ""], [0.5, -2.0, 1e9, 3.0]])
    def test_matches_scikit_learn(self, rng, values):
        from sklearn.preprocessing import OneHotEncoder as Oracle

        column = np.array([*values, *np.array(values)[rng.integers(0, 4, 9)]])
        new = np.array(values)[rng.integers(0, 4, 6)]
        oracle = Oracle(sparse_output=False).fit(column[:, None])
        assert_close(OneHotEncoder().fit(column).transform(new), oracle.transform(new[:, None]))

    @pytest.mark.parametrize("stranger", ["a", "bb", "cc", "eeeeeeee", ""])
    def test_a_stranger_is_a_row_of_zeros(self, stranger):
        encoder = OneHotEncoder().fit(np.array(["b", "c", "d"]))
        expected = np.array([[0.0, 1, 0], [0, 0, 0], [0, 0, 1]])
        assert_close(encoder.transform(["c", stranger, "d"]), expected)
        assert_close(encoder.transform([stranger]), np.zeros((1, 3)))

    @pytest.mark.parametrize("stranger", [0, 5, 99])
    def test_a_stranger_among_numbers(self, stranger):
        encoder = OneHotEncoder().fit(np.array([2, 7, 4]))
        assert_close(encoder.transform(np.array([stranger, 7])), np.array([[0.0, 0, 0], [0, 0, 1]]))
        with raises(ValueError, stranger):
            OneHotEncoder("error").fit(np.array([2, 7, 4])).transform(np.array([4, stranger]))

    def test_a_stranger_may_be_an_error(self):
        encoder = OneHotEncoder(unknown="error").fit(["red", "blue"])
        assert_close(encoder.transform(["red", "blue"]), np.array([[0.0, 1.0], [1.0, 0.0]]))
        with raises(ValueError, "violet"):
            encoder.transform(["red", "violet", "blue"])

    def test_a_single_row_has_all_columns_and_a_second_fit_forgets(self):
        encoder = OneHotEncoder().fit([3, 1, 2])
        assert_close(encoder.transform([2]), np.array([[0.0, 1.0, 0.0]]))
        assert encoder.fit(["x", "y"]) is encoder
        assert_close(encoder.transform(["y"]), np.array([[0.0, 1.0]]))

    @pytest.mark.parametrize("method", ["fit", "transform"])
    def test_leaves_a_column_of_numbers_as_it_was(self, method):
        column = np.array([5.0, 2.0, 5.0, 9.0])
        getattr(OneHotEncoder().fit(column.copy()), method)(column)
        assert_equal(column.tolist(), [5.0, 2.0, 5.0, 9.0])

    @pytest.mark.parametrize("unknown", ["drop", "Error"])
    def test_rejects_other_answers_to_the_unknown(self, unknown):
        with raises(ValueError, unknown):
            OneHotEncoder(unknown)

    def test_on_penguins(self, penguins):
        encoder = OneHotEncoder().fit(penguins["island"][:200])
        got = encoder.transform(penguins["island"])
        assert_equal(got.sum(axis=0).astype(int).tolist(), [penguins["island"].count(c) for c in encoder.categories])


class TestQuantileBinner:
    def test_float32_is_computed_in_float64(self, rng):
        column = rng.normal(size=25).astype(np.float32)
        expected = np.quantile(column.astype(np.float64), np.arange(1, 7) / 7)
        assert_close(QuantileBinner(7).fit(column).edges, expected, rtol=1e-12, atol=0)

    def test_the_example_worked_by_hand(self):
        binner = QuantileBinner(2).fit(np.array([1, 2, 3, 4, 10]))
        assert_close(binner.edges, np.array([3.0]))
        assert_equal(binner.transform(np.array([1, 2, 3, 4, 10])), np.array([0, 0, 1, 1, 1]))

    @pytest.mark.parametrize("bins", [2, 3, 7])
    def test_matches_scikit_learn_on_new_rows(self, rng, bins):
        from sklearn.preprocessing import KBinsDiscretizer

        column, new = rng.gamma(2, size=40), rng.gamma(2, 2, size=30) - 1
        oracle = KBinsDiscretizer(bins, encode="ordinal", strategy="quantile", quantile_method="linear").fit(
            column[:, None]
        )
        binner = QuantileBinner(bins).fit(column)
        assert_close(binner.edges, oracle.bin_edges_[0][1:-1])
        assert_equal(binner.transform(new), oracle.transform(new[:, None])[:, 0].astype(int))

    def test_has_four_bins_unless_told_otherwise(self):
        binner = QuantileBinner().fit(np.arange(9.0))
        assert_close(binner.edges, np.array([2.0, 4.0, 6.0]))
        assert_equal(binner.transform(np.array([-1e9, 1.99, 2, 4.5, 6, 1e9])), np.array([0, 0, 1, 2, 3, 3]))

    def test_bins_hold_about_as_many_rows_each(self, rng):
        column = np.exp(2 * rng.normal(size=60))
        counts = np.bincount(QuantileBinner(6).fit(column).transform(column))
        assert_equal(counts, np.full(6, 10))

    def test_edges_that_coincide_are_kept_once(self):
        binner = QuantileBinner(5).fit(np.array([0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]))
        assert_close(binner.edges, np.array([0.0, 2.0]))
        assert_equal(binner.transform(np.array([-1.0, 0.0, 1.0, 2.0, 5.0])), np.array([0, 1, 1, 2, 2]))

    def test_transform_learns_nothing_and_a_second_fit_forgets(self, rng):
        binner = QuantileBinner(3).fit(np.arange(30.0))
        column = np.array([25.0, 3.0, 12.0])
        assert_equal([int(binner.transform(column[i : i + 1])[0]) for i in range(3)], [2, 0, 1])
        assert binner.fit(np.arange(100.0, 130.0)) is binner
        assert_equal(binner.transform(column), np.array([0, 0, 0]))

    def test_of_bytes(self):
        column = np.array([200, 100, 0, 250], np.uint8)
        assert_close(QuantileBinner(2).fit(column).edges, np.array([150.0]))

    @pytest.mark.parametrize("bins", [1, 0, -3])
    def test_rejects_fewer_than_two_bins(self, bins):
        with raises(ValueError, bins):
            QuantileBinner(bins)


class TestInteractions:
    def test_of_three_columns(self):
        got = interactions(np.array([[2, 3, 5], [1, -1, 4]]))
        assert_close(got, np.array([[2.0, 3, 5, 6, 10, 15], [1, -1, 4, -1, 4, -4]]))

    @pytest.mark.parametrize(("n", "d"), [(5, 4), (3, 2), (6, 1)])
    def test_matches_scikit_learn(self, rng, n, d):
        from sklearn.preprocessing import PolynomialFeatures

        x = rng.normal(size=(n, d))
        oracle = PolynomialFeatures(2, interaction_only=True, include_bias=False)
        assert_close(interactions(x), oracle.fit_transform(x))

    def test_bytes_do_not_overflow(self):
        assert_close(interactions(np.array([[200, 3]], np.uint8)), np.array([[200.0, 3.0, 600.0]]))


def encode(column, y, known, targets, smoothing):
    """The encoding of `column` by the rows of `known`, row by row."""
    mean = sum(targets) / len(targets)
    out = []
    for category in column:
        own = [t for c, t in zip(known, targets, strict=True) if c == category]
        out.append((sum(own) + smoothing * mean) / (len(own) + smoothing) if own else mean)
    return np.array(out)[:, None]


def categories(rng, n=23, k=4):
    column = np.array(["red", "a", "Q", "blue", "zz"])[rng.integers(0, k, n)]
    return column, rng.normal(3, 2, n)


class TestTargetEncoder:
    def test_the_example_worked_by_hand(self):
        encoder = TargetEncoder(1.0, folds=2)
        got = encoder.fit_transform(["A", "A", "B", "A"], np.array([1, 0, 0, 1]))
        assert_close(got, np.array([[0.5], [0.75], [0.5], [0.75]]))
        assert_close(encoder.transform(["B", "C", "A"]), np.array([[0.25], [0.5], [0.625]]))

    @pytest.mark.parametrize("smoothing", [0.0, 1.0, 12.5])
    def test_matches_scikit_learn_on_new_rows(self, rng, smoothing):
        from sklearn.preprocessing import TargetEncoder as Oracle

        column, y = categories(rng)
        new = np.array(["zz", "red", "a", "never", "Q"])
        oracle = Oracle(smooth=smoothing, target_type="continuous").fit(column[:, None], y)
        got = TargetEncoder(smoothing).fit(column, y).transform(new)
        assert_close(got, oracle.transform(new[:, None]))
        assert_close(got, encode(new, None, column, y, smoothing))

    @pytest.mark.parametrize(("n", "folds"), [(23, 5), (10, 2), (9, 3), (3, 7)])
    @pytest.mark.parametrize("smoothing", [0.0, 2.5])
    def test_encodes_each_fold_by_the_others(self, rng, n, folds, smoothing):
        column, y = categories(rng, n)
        expected = np.empty((n, 1))
        for i in range(n):
            others = [j for j in range(n) if j % folds != i % folds]
            expected[i] = encode(column[[i]], None, column[others], y[others], smoothing)
        assert_close(TargetEncoder(smoothing, folds).fit_transform(column, y), expected)

    def test_the_defaults(self, rng):
        column, y = categories(rng)
        assert_close(TargetEncoder().fit_transform(column, y), TargetEncoder(1.0, 5).fit_transform(column, y))
        assert_close(TargetEncoder().fit(column, y).transform(column), encode(column, None, column, y, 1.0))

    def test_afterwards_it_knows_all_rows(self, rng):
        column, y = categories(rng)
        encoder = TargetEncoder(3.0, 4)
        encoder.fit_transform(column, y)
        assert_close(encoder.transform(column), encode(column, None, column, y, 3.0))

    def test_a_rows_own_target_has_no_part_in_its_encoding(self, rng):
        column, y = categories(rng)
        before = TargetEncoder(1.0, 5).fit_transform(column, y)
        for i in (0, 7, 22):
            changed = y.copy()
            changed[i] += 100
            after = TargetEncoder(1.0, 5).fit_transform(column, changed)
            assert_close(after[[i]], before[[i]])

    def test_pure_noise_scores_at_chance(self, rng):
        n = 3000
        column, y = rng.integers(0, 1000, n), rng.normal(size=n)
        leaky = TargetEncoder().fit(column, y).transform(column)[:, 0]
        assert np.corrcoef(leaky, y)[0, 1] > 0.3, "the means of three rows each should follow noise"
        honest = TargetEncoder().fit_transform(column, y)[:, 0]
        score = float(np.corrcoef(honest, y)[0, 1])
        if score > 5 / np.sqrt(n):
            fail(
                f"encoded noise correlates with its targets, by {score:.2f}: the encoding has seen them", evidence=score
            )

    def test_float32_targets_are_computed_in_float64(self, rng):
        column, y = categories(rng)
        y = (y + 1000).astype(np.float32)
        got = TargetEncoder(3.0).fit(column, y).transform(column)
        assert_close(got, encode(column, None, column, y.astype(np.float64), 3.0), rtol=1e-10, atol=0)

    @pytest.mark.parametrize("method", ["fit", "transform", "fit_transform"])
    def test_leaves_a_column_of_numbers_as_it_was(self, method):
        column, y = np.array([5.0, 2.0, 5.0, 9.0]), np.array([1.0, 0.0, 2.0, 4.0])
        encoder = TargetEncoder(1.0, 2).fit(column.copy(), y.copy())
        getattr(encoder, method)(*((column,) if method == "transform" else (column, y)))
        assert_equal((column.tolist(), y.tolist()), ([5.0, 2.0, 5.0, 9.0], [1.0, 0.0, 2.0, 4.0]))

    def test_numbers_and_integer_targets(self):
        encoder = TargetEncoder(0).fit([5, 5, 9], np.array([200, 100, 250], np.uint8))
        assert_close(encoder.transform([9, 5, 7]), np.array([[250.0], [150.0], [550 / 3]]))

    def test_transform_learns_nothing_and_a_second_fit_forgets(self, rng):
        column, y = categories(rng)
        encoder = TargetEncoder().fit(column, y)
        alone = [encoder.transform(column[i : i + 1]) for i in range(5)]
        assert_close(encoder.transform(column[:5]), np.vstack(alone))
        assert encoder.fit(np.array(["new", "zz"]), np.array([1.0, 5.0])) is encoder
        assert_close(encoder.transform(["red", "new", "zz"]), np.array([[3.0], [2.0], [4.0]]))

    @pytest.mark.parametrize("smoothing", [-0.5, -3.0])
    def test_rejects_a_negative_smoothing(self, smoothing):
        with raises(ValueError, smoothing):
            TargetEncoder(smoothing)

    @pytest.mark.parametrize("folds", [1, 0])
    def test_rejects_fewer_than_two_folds(self, folds):
        with raises(ValueError, folds):
            TargetEncoder(2.0, folds)


class Spy:
    """A transformer that adds `shift`, and writes down how it is called."""

    def __init__(self, log, name, shift):
        self.log, self.name, self.shift = log, name, shift

    def fit(self, x, y=None):
        self.log.append((self.name, "fit", x.tolist(), None if y is None else y.tolist()))
        return self

    def transform(self, x):
        self.log.append((self.name, "transform", x.tolist()))
        return x + self.shift


class OutOfFoldSpy(Spy):
    """One whose training rows get something else than new ones."""

    def fit_transform(self, x, y):
        self.log.append((self.name, "fit_transform", x.tolist(), y.tolist()))
        return x * 2


class Model(Spy):
    def predict(self, x):
        self.log.append((self.name, "predict", x.tolist()))
        return x[:, 0] + self.shift


class LeastSquares:
    """A model for the tests below: numpy's own least squares, with an intercept."""

    def fit(self, x, y):
        self.theta = np.linalg.lstsq(np.column_stack([np.ones(len(x)), x]), y, rcond=None)[0]
        return self

    def predict(self, x):
        return np.column_stack([np.ones(len(x)), x]) @ self.theta


X, Y = np.array([[1.0], [4.0]]), np.array([7.0, 9.0])


class TestPipeline:
    def test_fits_each_step_on_what_the_last_one_made(self):
        log = []
        pipeline = Pipeline([Spy(log, "a", 10), Spy(log, "b", 100)], Model(log, "m", 0))
        assert pipeline.fit(X, Y) is pipeline
        assert_equal(
            [entry for entry in log if entry[1] == "fit"],
            [
                ("a", "fit", [[1.0], [4.0]], [7.0, 9.0]),
                ("b", "fit", [[11.0], [14.0]], [7.0, 9.0]),
                ("m", "fit", [[111.0], [114.0]], [7.0, 9.0]),
            ],
        )

    def test_a_step_with_fit_transform_gets_that_call_alone(self):
        log = []
        Pipeline([OutOfFoldSpy(log, "a", 10), Spy(log, "b", 100)], Model(log, "m", 0)).fit(X, Y)
        assert_equal([entry[1] for entry in log if entry[0] == "a"], ["fit_transform"])
        assert_equal(log[0], ("a", "fit_transform", [[1.0], [4.0]], [7.0, 9.0]))
        assert_equal(log[-1], ("m", "fit", [[102.0], [108.0]], [7.0, 9.0]))

    def test_prediction_only_transforms(self):
        log = []
        pipeline = Pipeline([OutOfFoldSpy(log, "a", 10), Spy(log, "b", 100)], Model(log, "m", 0.5)).fit(X, Y)
        log.clear()
        assert_close(pipeline.predict(np.array([[3.0], [5.0], [8.0]])), np.array([113.5, 115.5, 118.5]))
        assert_equal([entry[:2] for entry in log], [("a", "transform"), ("b", "transform"), ("m", "predict")])

    def test_without_steps_it_is_the_model(self):
        log = []
        assert_close(Pipeline([], Model(log, "m", 2)).fit(X, Y).predict(X), np.array([3.0, 6.0]))
        assert_equal([entry[1] for entry in log], ["fit", "predict"])

    def test_with_real_steps_each_row_is_predicted_for_itself(self, rng):
        x, y = holes(rng, 30, 3), rng.normal(size=30)
        pipeline = Pipeline([Imputer("mean", True), StandardScaler()], LeastSquares()).fit(x[:20], y[:20])
        filled = np.where(np.isnan(x), np.nanmean(x[:20], axis=0), x)
        whole = np.hstack([filled, np.isnan(x)])
        expected = LeastSquares().fit(whole[:20], y[:20]).predict(whole)
        assert_close(pipeline.predict(x), expected, rtol=1e-6, atol=1e-6)  # two ways to the same fit
        assert_close(np.concatenate([pipeline.predict(x[i : i + 1]) for i in range(30)]), pipeline.predict(x))

    def test_a_second_fit_starts_anew(self, rng):
        x, y = table(rng, 20), rng.normal(size=20)
        pipeline = Pipeline([StandardScaler()], LeastSquares())
        pipeline.fit(100 * x, -y)
        again = pipeline.fit(x, y).predict(x)
        assert_close(again, Pipeline([StandardScaler()], LeastSquares()).fit(x, y).predict(x))


class Best:
    """A step that keeps the columns that go best with the targets: harmless on training rows alone."""

    def fit(self, x, y=None):
        self.chosen = np.argsort(-np.abs((x - x.mean(axis=0)).T @ (y - y.mean())))[:30]
        return self

    def transform(self, x):
        return x[:, self.chosen]


class TestOutOfFold:
    def test_every_row_is_predicted_by_a_pipeline_that_has_not_seen_it(self):
        log = []
        x, y, folds = np.arange(5.0)[:, None], np.arange(5.0) * 10, np.array(["b", "a", "b", "c", "a"])
        got = out_of_fold(lambda: Pipeline([], Model(log, "m", 0.5)), x, y, folds)
        assert_close(got, np.arange(5.0) + 0.5)
        seen = sorted(entry[2:] for entry in log if entry[1] == "fit")
        expected = [
            ([[0.0], [1.0], [2.0], [4.0]], [0.0, 10.0, 20.0, 40.0]),
            ([[0.0], [2.0], [3.0]], [0.0, 20.0, 30.0]),
            ([[1.0], [3.0], [4.0]], [10.0, 30.0, 40.0]),
        ]
        assert_equal(seen, expected)

    def test_every_fold_has_a_new_pipeline(self):
        made = []

        def make():
            made.append(Pipeline([StandardScaler()], LeastSquares()))
            return made[-1]

        out_of_fold(make, np.arange(8.0)[:, None] ** 2, np.arange(8.0), np.arange(8) % 4)
        assert_equal(len({id(pipeline) for pipeline in made}), 4)

    @pytest.mark.parametrize("k", [2, 3])
    def test_matches_scikit_learn(self, rng, k):
        from sklearn.linear_model import LinearRegression
        from sklearn.model_selection import PredefinedSplit, cross_val_predict

        x, y = table(rng, 25), rng.normal(size=25)
        folds = rng.permutation(np.arange(25) % k)
        got = out_of_fold(lambda: Pipeline([StandardScaler()], LeastSquares()), x, y, folds)
        assert_close(got, cross_val_predict(LinearRegression(), x, y, cv=PredefinedSplit(folds)))

    def test_of_a_column_of_words(self, rng):
        column, y = categories(rng, 24)
        folds = np.arange(24) // 8
        got = out_of_fold(lambda: Pipeline([TargetEncoder(2.0, 3)], Model([], "m", 0.0)), column, y, folds)
        expected = np.empty((24, 1))
        for fold in range(3):
            own = folds == fold
            expected[own] = encode(column[own], None, column[~own], y[~own], 2.0)
        assert_close(got, expected[:, 0])

    def test_choosing_features_of_pure_noise_scores_at_chance(self, rng):
        n = 300
        x, y, folds = rng.normal(size=(n, 1000)), rng.normal(size=n), np.arange(n) % 2
        chosen = Best().fit(x, y).transform(x)
        leaky = out_of_fold(lambda: Pipeline([], LeastSquares()), chosen, y, folds)
        # Measured over 60 seeds: 0.49 ± 0.04 with the leak, and 0.00 ± 0.06 without.
        assert np.corrcoef(leaky, y)[0, 1] > 0.25, "features chosen on all rows should look good"
        honest = out_of_fold(lambda: Pipeline([Best()], LeastSquares()), x, y, folds)
        score = float(np.corrcoef(honest, y)[0, 1])
        if score > 0.3:
            fail(f"predictions of noise correlate with it, by {score:.2f}: test rows were seen", evidence=score)

    def test_integer_targets_have_float_predictions(self):
        got = out_of_fold(
            lambda: Pipeline([], LeastSquares()), np.arange(6)[:, None], np.array([1, 0, 4, 2, 2, 7]), np.arange(6) % 2
        )
        even = np.polyfit([0, 2, 4], [1, 4, 2], 1)
        odd = np.polyfit([1, 3, 5], [0, 2, 7], 1)
        assert_close(got, np.array([np.polyval(odd if i % 2 == 0 else even, i) for i in range(6)]))

    def test_rejects_a_single_fold(self):
        with raises(ValueError, 1):
            out_of_fold(lambda: Pipeline([], LeastSquares()), X, Y, np.array([3, 3]))
