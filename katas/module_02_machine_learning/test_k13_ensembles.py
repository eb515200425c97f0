"""Judges k13_ensembles against all outcomes of a vote, every stump, and scikit-learn's ensembles, on cancer and wine."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_02_machine_learning.k13_ensembles import (
    AdaBoost,
    Stacking,
    bag,
    fit_stump,
    hard_vote,
    majority_error,
    out_of_fold,
    soft_vote,
)

pytestmark = [from_scratch("sklearn", "scipy"), pure()]


class TestMajorityError:
    @pytest.mark.parametrize(("correlation", "expected"), [(0.0, 0.216), (0.5, 0.258), (1.0, 0.3)])
    def test_the_example_worked_by_hand(self, correlation, expected):
        assert_close(majority_error(3, 0.3, correlation), expected)

    @pytest.mark.parametrize("members", [1, 2, 5, 8])
    @pytest.mark.parametrize(("error", "correlation"), [(0.2, 0.0), (0.35, 0.25), (0.6, 0.7)])
    def test_adds_up_all_outcomes(self, members, error, correlation):
        expected = correlation * error
        for outcome in itertools.product([0, 1], repeat=members):
            chance = math.prod(error if wrong else 1 - error for wrong in outcome)
            share = sum(outcome) / members
            expected += (1 - correlation) * chance * (1.0 if share > 0.5 else 0.5 if share == 0.5 else 0.0)
        assert_close(majority_error(members, error, correlation), expected)

    def test_members_are_independent_unless_told_otherwise(self):
        assert_close(majority_error(5, 0.2), majority_error(5, 0.2, 0.0))

    @pytest.mark.parametrize(("error", "expected"), [(0.4, 0.0), (0.5, 0.5), (0.6, 1.0)])
    def test_many_members_are_right_or_wrong_for_certain(self, error, expected):
        assert_close(majority_error(901, error), expected, rtol=0, atol=1e-8)

    @pytest.mark.parametrize("error", [0.0, 1.0])
    def test_members_that_never_or_always_err(self, error):
        assert_close(majority_error(4, error, 0.3), error)


class TestHardVote:
    def test_counts_by_label(self):
        votes = np.array([["b", "a", "c"], ["b", "c", "c"], ["a", "c", "a"]])
        assert_equal([str(label) for label in hard_vote(votes)], ["b", "c", "c"])

    @pytest.mark.parametrize(("m", "n"), [(5, 9), (2, 30), (1, 4)])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_matches_a_count_row_by_row(self, m, n, weighted, rng):
        votes = rng.choice([-7, 3, 20], (m, n))
        weights = rng.uniform(0.5, 3, m) if weighted else None
        expected = []
        for column in votes.T.tolist():
            sums = Counter()
            for label, weight in zip(column, [1.0] * m if weights is None else weights.tolist(), strict=True):
                sums[label] += weight
            expected.append(min(sums, key=lambda label: (-sums[label], label)))
        assert_equal(hard_vote(votes, weights).tolist(), expected)

    def test_juries_of_several_sizes(self):
        assert_equal(hard_vote(np.array([[7, 3]])).tolist(), [7, 3])
        assert_equal(hard_vote(np.array([[7, 3], [5, 3], [5, 7]])).tolist(), [5, 3])
        assert_equal(hard_vote(np.array([[7, 3], [5, 3]])).tolist(), [5, 3])

    def test_of_equally_many_votes_the_first_label(self):
        assert_equal(hard_vote(np.array([[9, 4, 4], [4, 9, 7], [7, 7, 9]])).tolist(), [4, 4, 4])
        assert_equal(hard_vote(np.array([[9], [4], [9], [4]]), np.array([2, 2, 1, 1])).tolist(), [4])

    @pytest.mark.parametrize("weights", [[1, 1, 3], [0, 1, 0], [0.2, 0.2, 0.5]])
    def test_a_heavy_member_wins(self, weights):
        got = hard_vote(np.array([[1, 5], [1, 6], [2, 5]]), np.array(weights))
        assert_equal(got.tolist(), [1, 6] if weights[0] == 0 else [2, 5])

    def test_matches_scikit_learn(self, rng):
        from sklearn.ensemble import VotingClassifier
        from sklearn.tree import DecisionTreeClassifier

        x, y = rng.normal(size=(50, 4)), rng.choice([2, 5, 8], 50)
        trees = [(str(d), DecisionTreeClassifier(max_depth=d, random_state=d)) for d in (1, 2, 3)]
        theirs = VotingClassifier(trees, voting="hard", weights=[1, 2.5, 2]).fit(x, y)
        votes = np.array([tree.fit(x, y).predict(x) for _, tree in trees])
        assert_equal(hard_vote(votes, np.array([1, 2.5, 2])).tolist(), theirs.predict(x).tolist())


class TestSoftVote:
    @pytest.mark.parametrize(("m", "n", "k"), [(4, 6, 3), (1, 5, 2), (3, 2, 7)])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_is_a_mean_over_the_members(self, m, n, k, weighted, rng):
        p = rng.dirichlet(np.ones(k), (m, n))
        weights = rng.uniform(0.5, 3, m) if weighted else None
        expected = np.zeros((n, k))
        for i in range(m):
            expected += p[i] * (1 / m if weights is None else weights[i] / weights.sum())
        assert_close(soft_vote(p, weights), expected)

    def test_weights_may_be_integers(self):
        p = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
        assert_close(soft_vote(p, np.array([3, 1])), np.array([[0.75, 0.25]]))

    def test_one_sure_member_may_win_against_two(self):
        p = np.array([[[0.05, 0.95]], [[0.6, 0.4]], [[0.6, 0.4]]])
        assert_equal(soft_vote(p).argmax(axis=1).tolist(), [1])


class TestBag:
    @pytest.mark.parametrize(("n", "members"), [(30, 4), (12, 1)])
    def test_each_model_sees_its_own_draw(self, n, members, rng):
        x = np.arange(2 * n).reshape(n, 2) * 1.5
        seen = []

        def fit(rows, labels):
            seen.append((rows.copy(), labels.copy()))
            number = len(seen)
            return lambda new: np.full(len(new), number)

        models = bag(fit, x, x[:, 0] + 100, members, rng)
        assert_equal([model(x)[0] for model in models], list(range(1, members + 1)))
        for rows, labels in seen:
            assert_equal(rows.shape, (n, 2))
            assert_close(labels, rows[:, 0] + 100)
            assert set(rows[:, 0].tolist()) <= set(x[:, 0].tolist()) and np.array_equal(rows[:, 1], rows[:, 0] + 1.5)
            assert len(set(rows[:, 0].tolist())) < n, "no row is drawn twice: draw with replacement"
        assert len({tuple(rows[:, 0].tolist()) for rows, _ in seen}) == members, "two models see the same draw"

    def test_every_row_is_as_likely_as_another(self, rng):
        counts = Counter()
        bag(lambda rows, labels: counts.update(labels.tolist()), np.zeros((10, 1)), np.arange(10), 1000, rng)
        # 1000 expected of each, standard deviation 30.
        assert all(840 < counts[i] < 1160 for i in range(10)), (
            f"of 1000 draws on average, the rows were drawn {sorted(counts.items())}"
        )

    def test_the_generator_decides(self):
        def draws(seed):
            seen = []
            bag(
                lambda rows, labels: seen.append(labels.tolist()),
                np.zeros((20, 1)),
                np.arange(20),
                3,
                np.random.default_rng(seed),
            )
            return seen

        assert_equal(draws(4), draws(4))
        assert draws(4) != draws(5), "two generators give the same draws"


def lowest_error(x, y, weights):
    labels = np.unique(y).tolist()
    found = [weights[y != label].sum() for label in labels]
    for j in range(x.shape[1]):
        for t in np.unique(x[:, j]):
            for a, b in itertools.product(labels, repeat=2):
                found.append(weights[np.where(x[:, j] <= t, a, b) != y].sum())
    return float(min(found))


class TestFitStump:
    @pytest.mark.parametrize("labels", [[0, 1], [-4, 9, 30]])
    @pytest.mark.parametrize(("n", "d"), [(12, 3), (25, 2), (3, 1)])
    def test_no_stump_errs_less(self, labels, n, d, rng):
        x, y = rng.integers(0, 9, (n, d)) / 4, rng.choice(labels, n)
        weights = rng.dirichlet(np.ones(n))
        predict = fit_stump(x, y, weights)
        assert_close(float(weights[predict(x) != y].sum()), lowest_error(x, y, weights))

    def test_weights_decide(self):
        x, y = np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([0, 1, 0, 1])
        assert_equal(fit_stump(x, y, np.array([4.0, 1, 4, 4]))(x).tolist(), [0, 0, 0, 1])
        assert_equal(fit_stump(x, y, np.array([4.0, 4, 1, 4]))(x).tolist(), [0, 1, 1, 1])

    def test_a_row_without_weight_does_not_count(self):
        x = np.array([[1.0], [2.0], [3.0]])
        assert_equal(fit_stump(x, np.array([5, 7, 5]), np.array([0.5, 0.0, 0.5]))(x).tolist(), [5, 5, 5])

    def test_asks_one_question_of_new_rows(self):
        x = np.array([[0.0, 5.0], [0.0, 6.0], [0.0, 9.0], [0.0, 8.0]])
        predict = fit_stump(x, np.array(["low", "low", "high", "high"]), np.full(4, 0.25))
        new = np.array([[100.0, 5.5], [-100.0, 8.5], [0.0, -50.0], [7.0, 1e9], [0.0, 6.0], [0.0, 8.0]])
        assert_equal([str(label) for label in predict(new)], ["low", "high", "low", "high", "low", "high"])

    def test_rows_that_are_all_equal_get_the_heaviest_label(self):
        x = np.ones((5, 2))
        predict = fit_stump(x, np.array([1, 1, 1, 8, 8]), np.array([0.1, 0.1, 0.1, 0.5, 0.2]))
        assert_equal(predict(x).tolist(), [8] * 5)

    def test_equal_values_are_not_parted(self):
        x, y = np.array([[2], [2], [1], [2]]), np.array([0, 0, 1, 1])
        weights = np.array([0.3, 0.3, 0.1, 0.3])
        assert_close(float(weights[fit_stump(x, y, weights)(x) != y].sum()), 0.3)

    def test_one_row_and_then_several(self):
        assert_equal(fit_stump(np.array([[4.0]]), np.array([6]), np.ones(1))(np.array([[0.0], [9.0]])).tolist(), [6, 6])
        x, y = np.array([[1.0], [2.0], [3.0]]), np.array([0, 1, 1])
        assert_equal(fit_stump(x, y, np.ones(3))(x).tolist(), [0, 1, 1])

    def test_two_stumps_know_nothing_of_each_other(self):
        x, y = np.array([[1.0], [2.0], [3.0]]), np.array([0, 1, 1])
        one = fit_stump(x, y, np.ones(3))
        fit_stump(-x, 5 - y, np.ones(3))
        assert_equal(one(x).tolist(), [0, 1, 1])


def tree(depth):
    """A weighted fit: scikit-learn's tree."""
    from sklearn.tree import DecisionTreeClassifier

    return lambda x, y, weights: DecisionTreeClassifier(max_depth=depth, random_state=0).fit(x, y, weights).predict


def fitted(model, *data):
    model.fit(*data)
    return model


def scripted(*answers):
    """A fit that ignores the data: its members answer as the script says, one after the other."""
    script, seen = list(answers), []

    def fit(x, y, weights):
        seen.append(np.array(weights))
        answer = np.array(script[len(seen) - 1])
        return lambda new: answer[: len(new)]

    return fit, seen


class TestAdaBoost:
    def test_the_example_worked_by_hand(self):
        fit, seen = scripted(["a", "a", "a", "a"], ["a", "b", "b", "a"])
        model = fitted(AdaBoost(fit, 2), np.zeros((4, 1)), np.array(["a", "a", "b", "a"]))
        assert_close(seen[0], np.full(4, 0.25))
        assert_close(seen[1], np.array([1 / 6, 1 / 6, 1 / 2, 1 / 6]))
        assert_close(list(model.alphas), [math.log(3), math.log(5)])
        assert_equal([str(label) for label in model.predict(np.zeros((4, 1)))], ["a", "b", "b", "a"])

    @pytest.mark.parametrize("rate", [1.0, 0.4])
    def test_three_labels_and_a_rate(self, rate):
        y = np.array([3, 5, 9, 3, 5])
        fit, seen = scripted([3, 5, 3, 9, 9], [3, 3, 9, 3, 3], [3] * 5)
        model = fitted(AdaBoost(fit, 2, rate), np.zeros((5, 1)), y)
        first = rate * (math.log(0.4 / 0.6) + math.log(2))
        weights = np.array([1, 1, math.exp(first), math.exp(first), math.exp(first)])
        weights /= weights.sum()
        error = weights[1] + weights[4]
        assert_close(seen[1], weights)
        assert_close(list(model.alphas), [first, rate * (math.log((1 - error) / error) + math.log(2))])

    @pytest.mark.parametrize(("labels", "depth"), [([0, 1], 1), ([4, 7, 8], 1), ([4, 7, 8], 2)])
    @pytest.mark.parametrize(("rounds", "rate"), [(12, 1.0), (6, 0.5)])
    def test_matches_scikit_learn(self, labels, depth, rounds, rate, rng):
        from sklearn.ensemble import AdaBoostClassifier

        x = rng.normal(size=(90, 3))
        y = np.array(labels)[(x[:, 0] + x[:, 1] ** 2 > 0.7).astype(int) + (x[:, 2] > 0.8) * (len(labels) - 2)]
        # All members have the same seed, as ours.
        theirs = AdaBoostClassifier(Same(depth), n_estimators=rounds, learning_rate=rate, random_state=0).fit(x, y)
        model = fitted(AdaBoost(tree(depth), rounds, rate), x, y)
        assert_close(np.array(model.alphas), theirs.estimator_weights_[: len(theirs.estimators_)])
        # On their own rows: of splits that part these alike, rounding decides which is taken.
        assert_equal(model.predict(x).tolist(), theirs.predict(x).tolist())

    @pytest.mark.parametrize("rate", [1.0, 0.3])
    def test_a_member_without_an_error_is_the_last(self, rate):
        fit, seen = scripted([0, 0, 0, 1], [0, 1, 0, 1], [9] * 4)
        model = fitted(AdaBoost(fit, 5, rate), np.zeros((4, 1)), np.array([0, 1, 0, 1]))
        assert_close(list(model.alphas), [rate * math.log(3), 1.0])
        assert_equal(len(seen), 2)
        assert_equal(len(model.members), 2)

    @pytest.mark.parametrize(
        ("labels", "poor"), [([0, 1, 0, 1], [0, 0, 1, 1]), ([0, 1, 2, 0, 1, 2], [0, 2, 0, 1, 1, 0])]
    )
    def test_a_member_no_better_than_chance_ends_the_rounds(self, labels, poor):
        # The second member is wrong wherever the first one is, and elsewhere, too.
        y, n = np.array(labels), len(labels)
        good = y.copy()
        good[-1] = 0
        worse = np.where(y == good, (y + 1) % 3, good)
        fit, seen = scripted(good, worse, y)
        model = fitted(AdaBoost(fit, 5), np.zeros((n, 1)), y)
        assert_equal((len(seen), len(model.members), len(model.alphas)), (2, 1, 1))
        with raises(ValueError, "chance"):
            fitted(AdaBoost(scripted(worse)[0], 5), np.zeros((n, 1)), y)
        assert_equal(sum(a != b for a, b in zip(labels, poor, strict=True)) / n >= 0.5, True)

    @pytest.mark.parametrize(
        ("labels", "answers", "kept"),
        [([0, 1, 0, 1], [0, 1, 1, 0], False), ([0, 1, 2, 0], [0, 2, 0, 0], True), ([0, 1, 2], [1, 2, 0], False)],
    )
    def test_chance_is_one_less_one_over_the_labels(self, labels, answers, kept):
        # Errors of ½ with two labels, of ½ and of 1 with three.
        model = AdaBoost(scripted(answers)[0], 1)
        if kept:
            assert_close(list(fitted(model, np.zeros((len(labels), 1)), np.array(labels)).alphas), [math.log(2)])
        else:
            with raises(ValueError, "chance"):
                fitted(model, np.zeros((len(labels), 1)), np.array(labels))

    def test_of_equal_sums_the_first_label(self):
        # One member each way, with the same error on rows of the same weight.
        fit, _ = scripted([7, 7, 2, 2, 7, 7], [2] * 6)
        model = fitted(AdaBoost(fit, 1), np.zeros((6, 1)), np.array([7, 7, 2, 2, 2, 7]))
        model.members, model.alphas = [lambda x: np.array([7]), lambda x: np.array([2])], [0.5, 0.5]
        assert_equal(model.predict(np.zeros((1, 1))).tolist(), [2])

    @pytest.mark.parametrize("labels", [[4, 4, 4]])
    def test_a_single_label_is_refused(self, labels):
        with raises(ValueError, 1):
            fitted(AdaBoost(scripted(labels)[0]), np.zeros((3, 1)), np.array(labels))

    def test_fifty_rounds_unless_told_otherwise(self):
        y = np.array([0, 1, 0, 1])
        # In turn each row is the one that is wrong.
        answers = [np.where(np.arange(4) == i % 4, 1 - y, y) for i in range(60)]
        fit, seen = scripted(*answers)
        fitted(AdaBoost(fit), np.zeros((4, 1)), y)
        assert_equal(len(seen), 50)

    def test_a_second_fit_forgets_the_first(self, rng):
        x, y = rng.normal(size=(40, 2)), rng.integers(0, 3, 40)
        model = fitted(AdaBoost(tree(2), 4), x, y)
        fitted(model, x[:20], 10 + y[:20] % 2)
        fresh = fitted(AdaBoost(tree(2), 4), x[:20], 10 + y[:20] % 2)
        assert_equal(list(model.classes), [10, 11])
        assert_close(np.array(model.alphas), np.array(fresh.alphas))
        assert_equal(model.predict(x).tolist(), fresh.predict(x).tolist())

    def test_stumps_tell_tumours_apart(self, cancer):
        # A few columns: a stump may loop over the thresholds.
        x, y = cancer[0][:, [1, 7, 21, 22, 23, 27]], cancer[1]
        train = np.arange(len(y)) % 3 > 0
        one = fit_stump(x[train], y[train], np.ones(int(train.sum())))
        model = fitted(AdaBoost(fit_stump, 12), x[train], y[train])
        right = float((model.predict(x[~train]) == y[~train]).mean())
        alone = float((one(x[~train]) == y[~train]).mean())
        assert right > alone + 0.02, f"{right:.1%} of the tumours are right; a single stump gets {alone:.1%}"


def Same(depth):
    """scikit-learn's tree, which keeps its own seed in an ensemble."""
    from sklearn.tree import DecisionTreeClassifier

    class Tree(DecisionTreeClassifier):
        def fit(self, x, y, sample_weight=None):
            self.random_state = 0
            return super().fit(x, y, sample_weight=sample_weight)

    return Tree(max_depth=depth)


def nearest(x, y):
    """1-nearest neighbour: it knows its training rows by heart."""
    return lambda new: y[((new[:, None] - x) ** 2).sum(axis=2).argmin(axis=1)]


def line(x, y):
    """Least squares with an intercept."""
    w = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]
    return lambda new: np.column_stack([new, np.ones(len(new))]) @ w


def shares(x, y):
    """Two columns: the mean of y, and that of the rows, for each new row."""
    return lambda new: np.stack([np.full(len(new), y.mean()), new[:, 0] - x[:, 0].mean()], axis=1)


class TestOutOfFold:
    @pytest.mark.parametrize("fit", [line, nearest, shares])
    @pytest.mark.parametrize("numbers", [[0, 1, 2], [7, -3]])
    def test_a_rows_own_fold_is_left_out(self, fit, numbers, rng):
        x, y = rng.normal(size=(24, 2)), rng.normal(size=24)
        folds = rng.permutation(np.arange(24) % len(numbers))
        folds = np.array(numbers)[folds]
        expected = np.array([fit(x[folds != fold], y[folds != fold])(x[i : i + 1])[0] for i, fold in enumerate(folds)])
        assert_close(out_of_fold(fit, x, y, folds), expected)

    def test_one_model_a_fold(self, rng):
        sizes = []

        def fit(x, y):
            sizes.append(len(x))
            return lambda new: np.zeros(len(new))

        out_of_fold(fit, rng.normal(size=(10, 1)), np.zeros(10), np.array([4] * 5 + [2] * 3 + [9] * 2))
        assert_equal(sorted(sizes), [5, 7, 8])

    def test_answers_that_are_integers_become_floats(self):
        got = out_of_fold(nearest, np.array([[1], [2], [4]]), np.array([5, 6, 7]), np.array([0, 1, 2]))
        assert_close(got, np.array([6.0, 5.0, 6.0]))

    def test_noise_that_is_known_by_heart_is_still_noise(self, rng):
        x, y = rng.normal(size=(400, 2)), np.arange(400) % 2
        share = float((out_of_fold(nearest, x, y, rng.integers(0, 4, 400)) == y).mean())
        # Standard deviation 0.025.
        assert abs(share - 0.5) < 0.15, f"of pure noise, {share:.0%} is predicted: a row must not meet its own label"


class TestStacking:
    @pytest.mark.parametrize("passthrough", [False, True])
    def test_the_final_model_sees_out_of_fold_answers(self, passthrough, rng):
        x, y, folds = rng.normal(size=(30, 3)), rng.normal(size=30), rng.permutation(np.arange(30) % 4)
        seen = []

        def final(meta, targets):
            seen.append((meta.copy(), targets.copy()))
            return line(meta, targets)

        model = fitted(Stacking([nearest, shares, line], final, passthrough), x, y, folds)
        columns = []
        for fit in (nearest, shares, line):
            answers = np.array([fit(x[folds != f], y[folds != f])(x[i : i + 1])[0] for i, f in enumerate(folds)])
            columns.append(answers.reshape(30, -1))
        expected = np.concatenate([*columns, x] if passthrough else columns, axis=1)
        assert_close(model.meta, expected)
        assert_equal(len(seen), 1)
        assert_close(seen[0], (expected, y))

    def test_two_folds_and_whole_answers(self):
        def total(x, y):
            return lambda new: np.full(len(new), int(y.sum()))

        x, y = np.arange(4.0)[:, None], np.array([1, 2, 4, 8])
        model = fitted(Stacking([total], line), x, y, np.array([5, 3, 3, 5]))
        assert_close(model.meta, np.array([[6.0], [9.0], [9.0], [6.0]]))
        model = fitted(Stacking([total], line, True), x.astype(np.float32), y, np.array([5, 3, 3, 5]))
        assert_equal(str(model.meta.dtype), "float64")

    @pytest.mark.parametrize("passthrough", [False, True])
    def test_new_rows_are_judged_by_members_that_know_all_rows(self, passthrough, rng):
        x, y, folds = rng.normal(size=(30, 3)), rng.normal(size=30), np.arange(30) % 3
        new = rng.normal(size=(7, 3))
        model = fitted(Stacking([nearest, shares], line, passthrough), x, y, folds)
        assert_equal(len(model.members), 2)
        for member, fit in zip(model.members, (nearest, shares), strict=True):
            assert_close(member(new), fit(x, y)(new))
        columns = [nearest(x, y)(new)[:, None], shares(x, y)(new)]
        rows = np.concatenate([*columns, new] if passthrough else columns, axis=1)
        assert_close(model.predict(new), line(model.meta, y)(rows))

    @pytest.mark.parametrize("passthrough", [False, True])
    def test_matches_scikit_learn(self, passthrough, rng):
        from sklearn.ensemble import StackingRegressor
        from sklearn.linear_model import LinearRegression, Ridge
        from sklearn.model_selection import PredefinedSplit
        from sklearn.tree import DecisionTreeRegressor

        def of(model):
            return lambda x, y: type(model)(**model.get_params()).fit(x, y).predict

        x, folds = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
        y = x[:, 0] + x[:, 1] ** 2 + rng.normal(size=60)
        bases = [Ridge(3.0), DecisionTreeRegressor(max_depth=3, random_state=1)]
        theirs = StackingRegressor(
            [("ridge", bases[0]), ("tree", bases[1])],
            LinearRegression(),
            cv=PredefinedSplit(folds),
            passthrough=passthrough,
        ).fit(x, y)
        new = rng.normal(size=(20, 3))
        model = fitted(Stacking([of(base) for base in bases], of(LinearRegression()), passthrough), x, y, folds)
        assert_close(model.predict(new), theirs.predict(new))

    def test_a_member_that_knows_noise_by_heart_is_not_trusted(self, rng):
        x = rng.normal(size=(120, 3))
        y = 3 * x[:, 0] + 2 * rng.normal(size=120)
        model = fitted(Stacking([nearest, line], line), x, y, np.arange(120) % 4)
        new = rng.normal(size=(300, 3))
        truth = 3 * new[:, 0]
        error = float(((model.predict(new) - truth) ** 2).mean())
        alone = float(((nearest(x, y)(new) - truth) ** 2).mean())
        if error > alone / 2:
            fail(
                f"the stack errs by {error:.2f}, its worst member by {alone:.2f}: the final model trusts what knows its rows by heart",
                evidence="trusted",
            )

    @pytest.mark.parametrize("folds", [[3, 3, 3]])
    def test_a_single_fold_is_refused(self, folds):
        with raises(ValueError, 1):
            fitted(Stacking([line], line), np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 2.0, 4.0]), np.array(folds))

    def test_a_second_fit_forgets_the_first(self, rng):
        x, y, folds = rng.normal(size=(30, 3)), rng.normal(size=30), np.arange(30) % 3
        model = fitted(Stacking([nearest, line], line), x, y, folds)
        fitted(model, x[:20, :2], -y[:20], folds[:20])
        fresh = fitted(Stacking([nearest, line], line), x[:20, :2], -y[:20], folds[:20])
        assert_equal((len(model.members), model.meta.shape), (2, (20, 2)))
        assert_close(model.predict(x[:, :2]), fresh.predict(x[:, :2]))

    def test_wines(self, wine, rng):
        x, y = wine
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        order = rng.permutation(len(y))
        train, test = order[:120], order[120:]

        def likeness(x, y):
            means = np.array([x[y == c].mean(axis=0) for c in range(3)])
            return lambda new: -((new[:, None] - means) ** 2).sum(axis=2)

        def final(meta, targets):
            scores = [line(meta, targets == c) for c in range(3)]
            return lambda new: np.stack([score(new) for score in scores], axis=1).argmax(axis=1)

        model = fitted(Stacking([likeness, nearest], final), x[train], y[train], np.arange(120) % 5)
        right = float((model.predict(x[test]) == y[test]).mean())
        majority = max(Counter(y[test].tolist()).values()) / len(test)
        assert right > majority + 0.3, (
            f"{right:.0%} of the wines are right; always the largest class gives {majority:.0%}"
        )
