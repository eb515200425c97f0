"""Judges k07_model_selection against scikit-learn's splitters, closed forms, and what the models were shown."""

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_02_machine_learning.k07_model_selection import (
    bias_variance,
    cross_validate,
    group_k_fold,
    learning_curve,
    nested_cross_validate,
    one_standard_error,
    stratified_k_fold,
    time_series_split,
)

pytestmark = [from_scratch("sklearn", "scipy"), pure()]


def is_partition(splits, n, k):
    """That the test parts hold each row once, the training parts all others, both in rising order."""
    assert_equal(len(splits), k)
    tests = np.concatenate([test for _, test in splits])
    assert_equal(np.sort(tests), np.arange(n))
    for train, test in splits:
        assert_equal(test, np.sort(test))
        assert_equal(train, np.setdiff1d(np.arange(n), test))


def ridge(alpha):
    """A fit of ridge regression, as the katas take it."""
    from sklearn.linear_model import Ridge

    return lambda x, y: Ridge(alpha).fit(x, y).predict


def r2(y, guess):
    return float(1 - ((y - guess) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def squared(y, guess):
    return float(-((y - guess) ** 2).mean())


def error(y, guess):
    return float(-np.abs(y - guess).mean())


def regression(rng, n=60, d=4):
    x = rng.normal(size=(n, d))
    return x, x @ rng.normal(size=d) + rng.normal(size=n)


class Recorder:
    """A fit that notes the rows it gets (their numbers stand in column 0) and predicts where it has seen them."""

    def __init__(self):
        self.seen = []

    def __call__(self, x, y):
        rows = [int(i) for i in x[:, 0]]
        assert_close(y, 10.0 * np.array(rows) + 3)
        self.seen.append(rows)
        return lambda new: np.isin(new[:, 0], rows).astype(float)


def numbered(n):
    """x with its row's number in column 0, and a y that follows from it."""
    return np.stack([np.arange(n), np.ones(n)], axis=1).astype(float), 10.0 * np.arange(n) + 3


class TestStratifiedKFold:
    def test_the_example_worked_by_hand(self, rng):
        y = np.array(list("abaaba"))
        splits = stratified_k_fold(y, 2, rng)
        is_partition(splits, 6, 2)
        for _, test in splits:
            assert_equal("".join(sorted(y[test])), "aab")

    @pytest.mark.parametrize("counts", [(9, 1, 13), (7, 7, 7), (3, 3, 3, 3, 3, 3), (40, 2)])
    @pytest.mark.parametrize("k", [2, 5, 7])
    def test_every_class_and_all_rows_are_spread_evenly(self, rng, counts, k):
        y = rng.permutation(np.repeat(10 * np.arange(len(counts)) + 3, counts))
        splits = stratified_k_fold(y, k, rng)
        is_partition(splits, len(y), k)
        for c in np.unique(y):
            table = [int((y[test] == c).sum()) for _, test in splits]
            if max(table) - min(table) > 1:
                fail(
                    f"of class {c} the folds hold {table} rows; they may differ by 1 at most", evidence=("class", table)
                )
        sizes = [len(test) for _, test in splits]
        if max(sizes) - min(sizes) > 1:
            fail(f"the folds hold {sizes} rows; they may differ by 1 at most", evidence=("sizes", sizes))

    def test_rows_are_shuffled_within_their_class(self):
        y = np.repeat([1, 0], 40)
        first, again, other = (stratified_k_fold(y, 4, np.random.default_rng(s)) for s in (5, 5, 6))
        assert_equal([list(test) for _, test in first], [list(test) for _, test in again])
        if all(np.array_equal(a, b) for (_, a), (_, b) in zip(first, other, strict=True)):
            fail("two generators give the same folds; shuffle the rows of each class", evidence="unshuffled")

    def test_of_sorted_rows_neighbours_are_parted_at_random(self, rng):
        # Dealt in file order, rows 0, 4, 8, … share a fold in every run.
        _, test = stratified_k_fold(np.zeros(400, dtype=int), 4, rng)[0]
        if len(set(test % 4)) == 1 or np.ptp(test) < 200:
            fail("the folds follow the order of the rows; shuffle within each class", evidence="unshuffled")

    def test_as_many_folds_as_rows(self, rng):
        is_partition(stratified_k_fold(np.array(["x", "y", "x"]), 3, rng), 3, 3)

    @pytest.mark.parametrize("k", [1, 5])
    def test_rejects_too_few_or_too_many_folds(self, rng, k):
        with raises(ValueError, k, 4):
            stratified_k_fold(np.array([0, 1, 0, 1]), k, rng)


class TestGroupKFold:
    def test_the_example_worked_by_hand(self):
        splits = group_k_fold(np.repeat([8, 3, 5, 2], [3, 5, 2, 4]), 2)
        is_partition(splits, 14, 2)
        assert_equal(sorted(len(test) for _, test in splits), [7, 7])

    @pytest.mark.parametrize("k", [2, 4, 6])
    @pytest.mark.parametrize("names", [np.arange(7) * 5 - 9, np.array(list("zebrafk"))])
    def test_folds_are_as_large_as_scikit_learns(self, rng, k, names):
        from sklearn.model_selection import GroupKFold

        groups = rng.permutation(np.repeat(names, rng.integers(1, 20, 7)))
        splits = group_k_fold(groups, k)
        is_partition(splits, len(groups), k)
        for train, test in splits:
            assert_equal(sorted(set(groups[train].tolist()) & set(groups[test].tolist())), [])
        oracle = GroupKFold(k).split(groups, groups=groups)
        assert_equal(sorted(len(test) for _, test in splits), sorted(len(test) for _, test in oracle))

    def test_as_many_folds_as_groups(self):
        splits = group_k_fold(np.array([5, 6, 7, 7, 7]), 3)
        is_partition(splits, 5, 3)
        assert_equal(sorted(test.tolist() for _, test in splits), [[0], [1], [2, 3, 4]])

    @pytest.mark.parametrize("k", [1, 4])
    def test_rejects_too_few_or_too_many_folds(self, k):
        with raises(ValueError, k, 3):
            group_k_fold(np.array([5, 6, 7, 7, 7]), k)


class TestTimeSeriesSplit:
    def test_the_example_worked_by_hand(self):
        got = time_series_split(10, 3, gap=1)
        expected = [([0, 1, 2], [4, 5]), ([0, 1, 2, 3, 4], [6, 7]), ([0, 1, 2, 3, 4, 5, 6], [8, 9])]
        assert_equal([(train.tolist(), test.tolist()) for train, test in got], expected)

    @pytest.mark.parametrize(("n", "k"), [(12, 2), (23, 4), (30, 7), (6, 5)])
    @pytest.mark.parametrize(("gap", "max_train"), [(0, None), (0, 4), (0, 1)])
    def test_matches_scikit_learn(self, n, k, gap, max_train):
        self.check(n, k, gap, max_train)

    @pytest.mark.parametrize(("gap", "max_train"), [(2, None), (3, 5), (1, 3)])
    def test_leaves_a_gap_before_the_test_rows(self, gap, max_train):
        self.check(27, 4, gap, max_train)

    def check(self, n, k, gap, max_train):
        from sklearn.model_selection import TimeSeriesSplit

        oracle = TimeSeriesSplit(k, gap=gap, max_train_size=max_train).split(np.zeros(n))
        expected = [(train.tolist(), test.tolist()) for train, test in oracle]
        got = time_series_split(n, k, gap, max_train)
        assert_equal([len(train) for train, _ in got], [len(train) for train, _ in expected])
        assert_equal([(train.tolist(), test.tolist()) for train, test in got], expected)

    @pytest.mark.parametrize(("n", "k", "gap"), [(4, 4, 0), (3, 5, 0), (10, 3, 4), (11, 3, 7)])
    def test_rejects_too_few_rows(self, n, k, gap):
        with raises(ValueError, n, k, gap):
            time_series_split(n, k, gap)

    def test_no_gap_and_all_earlier_rows_unless_told_otherwise(self):
        got = [(train.tolist(), test.tolist()) for train, test in time_series_split(6, 2)]
        assert_equal(got, [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])])

    @pytest.mark.parametrize(("n", "k", "gap"), [(5, 4, 0), (10, 3, 3)])
    def test_one_training_row_is_enough(self, n, k, gap):
        train, _ = time_series_split(n, k, gap)[0]
        assert_equal(train.tolist(), [0])


class TestCrossValidate:
    def test_each_fit_sees_its_training_rows_alone(self):
        x, y = numbered(9)
        recorder = Recorder()
        splits = [(np.array([8, 1, 5]), np.array([0, 2])), (np.arange(4), np.arange(6, 9))]
        got = cross_validate(recorder, lambda y, guess: float(guess.mean() - y.sum()), x, y, splits)
        assert_equal(recorder.seen, [[8, 1, 5], [0, 1, 2, 3]])
        assert_close(got, np.array([-26.0, -219.0]))

    @pytest.mark.parametrize("score", [r2, error])
    @pytest.mark.parametrize("k", [3, 5])
    def test_matches_scikit_learn(self, rng, score, k):
        from sklearn.linear_model import Ridge
        from sklearn.metrics import make_scorer
        from sklearn.model_selection import KFold, cross_val_score

        x, y = regression(rng)
        splits = list(KFold(k, shuffle=True, random_state=4).split(x))
        expected = cross_val_score(Ridge(0.5), x, y, cv=splits, scoring=make_scorer(score))
        assert_close(cross_validate(ridge(0.5), score, x, y, splits), expected)

    def test_scores_of_integers_are_float64(self):
        x, y = numbered(4)
        got = cross_validate(Recorder(), lambda y, guess: len(y), x, y, [(np.arange(2), np.arange(2, 4))])
        assert_close(got, np.array([2.0]))

    def test_truth_comes_before_the_guess(self):
        x, y = numbered(5)
        splits = [(np.arange(3), np.arange(3, 5))]
        assert_close(
            cross_validate(Recorder(), lambda y, guess: float(y[0] - 2 * guess[0]), x, y, splits), np.array([33.0])
        )


class TestNestedCrossValidate:
    @pytest.mark.parametrize(("score", "outer", "inner"), [(r2, 4, 3), (error, 3, 2)])
    def test_matches_a_grid_search_of_scikit_learn(self, rng, score, outer, inner):
        from sklearn.linear_model import Ridge
        from sklearn.metrics import make_scorer
        from sklearn.model_selection import GridSearchCV, KFold, cross_validate

        x, y = regression(rng, n=50, d=12)
        alphas = [300.0, 1e-3, 4.0, 40.0]
        splits = list(KFold(outer, shuffle=True, random_state=1).split(x))
        search = GridSearchCV(Ridge(), {"alpha": alphas}, cv=KFold(inner), scoring=make_scorer(score))
        found = cross_validate(search, x, y, cv=splits, scoring=make_scorer(score), return_estimator=True)
        got = nested_cross_validate(
            [ridge(a) for a in alphas], score, x, y, splits, lambda x, y: list(KFold(inner).split(x))
        )
        chosen = [alphas.index(one.best_params_["alpha"]) for one in found["estimator"]]
        assert_close(got, (found["test_score"], np.array(chosen)))

    def test_the_test_rows_are_never_shown(self):
        x, y = numbered(8)
        given, recorder = [], Recorder()

        def inner(x, y):
            given.append(([int(i) for i in x[:, 0]], y.tolist()))
            return [(np.array([0, 2, 3]), np.array([1])), (np.array([1, 2]), np.array([0, 3]))]

        outer = [(np.array([7, 1, 4, 2]), np.array([0, 3])), (np.array([5, 0, 6, 3]), np.array([1, 7]))]
        nested_cross_validate([recorder], error, x, y, outer, inner)
        assert_equal(given, [([7, 1, 4, 2], [73.0, 13.0, 43.0, 23.0]), ([5, 0, 6, 3], [53.0, 3.0, 63.0, 33.0])])
        shown = [[7, 4, 2], [1, 4], [7, 1, 4, 2], [5, 6, 3], [0, 6], [5, 0, 6, 3]]
        # With one candidate the inner rounds may be spared.
        assert_equal([rows for rows in recorder.seen if len(rows) == 4], [shown[2], shown[5]])
        assert_equal([rows for rows in recorder.seen if rows not in shown], [])

    def test_all_candidates_are_judged_on_the_same_inner_splits(self):
        x, y = numbered(9)
        calls = []

        def inner(x, y):
            calls.append(len(x))
            return [(np.arange(2), np.arange(2, len(x)))]

        outer = [(np.arange(5), np.arange(5, 9)), (np.arange(3, 9), np.arange(3))]
        nested_cross_validate([Recorder(), Recorder(), Recorder()], error, x, y, outer, inner)
        assert_equal(calls, [5, 6])

    def test_of_equal_candidates_the_first_is_chosen(self, rng):
        x, y = regression(rng, n=12)
        splits = [(np.arange(6), np.arange(6, 12)), (np.arange(6, 12), np.arange(6))]

        def inner(x, y):
            return [(np.arange(3), np.arange(3, 6))]

        def wrong(x, y):
            return lambda new: np.full(len(new), 1e3)

        _, chosen = nested_cross_validate([wrong, ridge(2.0), ridge(2.0)], error, x, y, splits, inner)
        assert_close(chosen, np.array([1, 1]))

    def test_the_mean_over_the_inner_splits_decides(self):
        x, y = numbered(8)
        halves = [(np.array([0, 1]), np.array([2, 3])), (np.array([2, 3]), np.array([0, 1]))]

        def constant(guess):
            return lambda x, y: lambda new: np.full(len(new), guess)

        # Rows 0, 1, 6 and 7 have y 3, 13, 63 and 73: guesses of 3 and 73 do well on one half and badly on the other.
        outer = [(np.array([0, 1, 6, 7]), np.array([4]))]
        candidates = [constant(3.0), constant(73.0), constant(33.0)]
        assert_close(
            nested_cross_validate(candidates, squared, x, y, outer, lambda x, y: halves),
            (np.array([-100.0]), np.array([2])),
        )

    def test_the_best_of_many_is_no_better_than_chance_on_noise(self, rng):
        def feature(j):
            def fit(x, y):
                same = ((x[:, j] > 0) == y).mean() >= 0.5
                return lambda new: (new[:, j] > 0) == same

            return fit

        def accuracy(y, guess):
            return float((y == guess).mean())

        def parts(n, k):
            return [(np.flatnonzero(np.arange(n) % k != i), np.arange(i, n, k)) for i in range(k)]

        scores = []
        for _ in range(12):
            x, y = rng.normal(size=(42, 30)), rng.random(42) < 0.5
            found, _ = nested_cross_validate(
                [feature(j) for j in range(30)], accuracy, x, y, parts(42, 3), lambda x, y: parts(len(y), 2)
            )
            scores.append(found.mean())
        # 12·42 coins: 5 deviations are 0.11.  Choosing on the test rows scores 0.7 and more.
        if np.mean(scores) > 0.5 + 0.115:
            fail(
                f"on pure noise your estimate is {np.mean(scores):.2f}; the choice has seen the test rows",
                evidence="leak",
            )


class TestOneStandardError:
    def test_the_example_worked_by_hand(self):
        scores = np.array([[0.80, 0.82, 0.84], [0.85, 0.83, 0.87], [0.90, 0.82, 0.86]])
        assert_equal(one_standard_error(scores), 1)

    @pytest.mark.parametrize(
        ("below", "expected"),
        # Of [0 2 4 2]·3 the mean is 6, the deviation (1/(k-1)) √24 = 4.899, the error 2.449; by 1/k 2.121.
        [(2.4, 0), (2.5, 1), (2.2, 0), (0.0, 0)],
    )
    def test_one_error_of_the_best_is_allowed(self, below, expected):
        best = np.array([0.0, 6.0, 12.0, 6.0])
        wild = np.array([-90.0, 90.0, 90.0, -90.0]) + 6 - below
        assert_equal(one_standard_error(np.stack([wild, best])), expected)

    @pytest.mark.parametrize("k", [2, 5, 12])
    def test_matches_the_rule_on_random_scores(self, rng, k):
        from scipy.stats import sem

        for _ in range(10):
            scores = rng.normal(size=(7, k)) + np.arange(7)[:, None] / 4
            means = scores.mean(axis=1)
            floor = means.max() - sem(scores[means.argmax()])
            assert_equal(one_standard_error(scores), next(i for i in range(7) if means[i] >= floor))

    @pytest.mark.parametrize(("second", "third", "expected"), [([4, 4, 4], [0, 4, 8], 1), ([0, 4, 8], [4, 4, 4], 0)])
    def test_of_equally_good_models_the_first_has_the_error_that_counts(self, second, third, expected):
        assert_equal(one_standard_error(np.array([[3, 3, 3], second, third])), expected)

    def test_without_spread_the_best_wins(self):
        assert_equal(one_standard_error(np.array([[2, 2], [4, 4], [3, 3], [4, 4]])), 1)


class TestLearningCurve:
    def test_at_full_size_it_is_cross_validation(self, rng):
        x, y = regression(rng)
        splits = [
            (np.arange(20, 60), np.arange(20)),
            (np.arange(40), np.arange(40, 60)),
            (np.arange(10, 50), np.arange(9)),
        ]
        got = learning_curve(ridge(0.3), r2, x, y, [40], splits, rng)
        models = [ridge(0.3)(x[train], y[train]) for train, _ in splits]
        on_train = [[r2(y[a], m(x[a])) for m, (a, _) in zip(models, splits, strict=True)]]
        on_test = [[r2(y[b], m(x[b])) for m, (_, b) in zip(models, splits, strict=True)]]
        assert_close(got, (np.array(on_train), np.array(on_test)))

    def test_training_scores_are_of_the_rows_that_were_used(self, rng):
        x, y = numbered(40)
        splits = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
        got = learning_curve(Recorder(), lambda y, guess: float(guess.mean()), x, y, [3, 8, 20], splits, rng)
        assert_close(got, (np.ones((3, 2)), np.zeros((3, 2))))

    @pytest.mark.parametrize("sizes", [[2, 5, 9], [11, 4]])
    def test_sizes_are_rows_and_splits_are_columns(self, rng, sizes):
        x, y = numbered(40)
        splits = [
            (np.arange(15), np.arange(15, 22)),
            (np.arange(15, 40), np.arange(4)),
            (np.arange(20), np.arange(20, 29)),
        ]
        got = learning_curve(Recorder(), lambda y, guess: float(len(guess)), x, y, sizes, splits, rng)
        on_train = np.repeat(np.array(sizes, dtype=float)[:, None], 3, axis=1)
        assert_close(got, (on_train, np.tile([7.0, 4.0, 9.0], (len(sizes), 1))))

    def test_a_larger_size_holds_the_rows_of_a_smaller(self, rng):
        x, y = numbered(60)
        splits = [(np.arange(30), np.arange(30, 40)), (np.arange(30, 60), np.arange(9))]
        recorder = Recorder()
        learning_curve(recorder, error, x, y, [16, 4, 9], splits, rng)
        assert_equal(len(recorder.seen), 6)
        for train, _ in splits:
            small, middle, large = sorted((s for s in recorder.seen if s[0] in train), key=len)
            assert_equal([len(set(s)) for s in (small, middle, large)], [4, 9, 16])
            assert_equal((set(small) <= set(middle), set(middle) <= set(large)), (True, True))
            assert_equal(set(large) <= set(train.tolist()), True)

    def test_the_rows_are_drawn_at_random(self):
        x, y = numbered(80)
        drawn = []
        for seed in (1, 1, 2):
            recorder = Recorder()
            learning_curve(
                recorder, error, x, y, [20], [(np.arange(60), np.arange(60, 80))], np.random.default_rng(seed)
            )
            drawn.append(set(recorder.seen[0]))
        assert_equal(drawn[0], drawn[1])
        if drawn[0] == drawn[2]:
            fail("two generators draw the same training rows; permute them", evidence="unshuffled")

    @pytest.mark.parametrize("sizes", [[3, 12], [3, 8], [8, 2]])
    def test_rejects_a_size_that_a_split_lacks(self, rng, sizes):
        x, y = numbered(20)
        splits = [(np.arange(9), np.arange(9, 20)), (np.arange(7), np.arange(7, 20))]
        with raises(ValueError, max(sizes), 7):
            learning_curve(Recorder(), error, x, y, sizes, splits, rng)

    def test_a_split_may_be_used_up(self, rng):
        x, y = numbered(20)
        splits = [(np.arange(7), np.arange(7, 20))]
        assert_close(
            learning_curve(Recorder(), lambda y, guess: float(guess.sum()), x, y, [7], splits, rng)[0],
            np.array([[7.0]]),
        )


class TestBiasVariance:
    def test_the_example_worked_by_hand(self, rng):
        guesses = iter([0.0, 1.0, 2.0])

        def fit(x, y):
            guess = next(guesses)
            return lambda new: np.full(len(new), guess)

        got = bias_variance(fit, lambda rng: (np.zeros((1, 1)), np.zeros(1)), np.zeros((1, 1)), np.array([2.0]), 3, rng)
        assert_close(got, (1.0, 2 / 3))

    @pytest.mark.parametrize("rounds", [1, 2, 40])
    def test_the_two_parts_add_up_to_the_squared_error(self, rng, rounds):
        seen, x, truth = [], rng.normal(size=(7, 2)), rng.normal(size=7)

        def fit(x, y):
            def predict(new):
                seen.append(new @ y[:2] + y[2])
                return seen[-1]

            return predict

        got = bias_variance(fit, lambda rng: (np.zeros((3, 1)), rng.normal(size=3) + 1), x, truth, rounds, rng)
        assert_equal(len(seen), rounds)
        table = np.array(seen)
        assert_close(got[0], float(np.mean((table.sum(axis=0) / rounds - truth) ** 2)))
        assert_close(got[0] + got[1], float(np.mean((table - truth) ** 2)))

    @pytest.mark.parametrize(("shrink", "n"), [(1.0, 4), (0.5, 4), (0.25, 16)])
    def test_matches_the_closed_form_of_a_shrunken_mean(self, rng, shrink, n):
        # shrink · mean of n draws from N(3, 2²): bias² ((1 - s) 3)², variance s² 4/n.
        def fit(x, y):
            return lambda new: np.full(len(new), shrink * y.mean())

        def draw(rng):
            return np.zeros((n, 1)), rng.normal(3, 2, n)

        bias2, variance = bias_variance(fit, draw, np.zeros((2, 1)), np.full(2, 3.0), 1500, rng)
        deviation = shrink * 2 / np.sqrt(n)
        # Over 1500 rounds the mean's deviation is deviation/38, the variance's relative one 1/27.
        off = 6 * deviation / 38
        assert_close(np.sqrt(bias2), (1 - shrink) * 3, rtol=0, atol=off)
        assert_close(variance, deviation**2, rtol=6 / 27, atol=0)
