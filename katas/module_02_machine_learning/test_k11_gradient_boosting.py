"""Judges k11_gradient_boosting against finite differences, a search for the best weights, and scikit-learn's boosting."""

import math
from itertools import pairwise

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_02_machine_learning.k11_gradient_boosting import (
    GradientBoosting,
    base_score,
    boosting_tree,
    gradients,
    leaf_weight,
    mean_loss,
    split_gain,
)

pytestmark = [from_scratch("sklearn", "scipy", "xgboost", "lightgbm"), pure()]

LOSSES = ["squared", "logistic"]


def loss_oracle(loss, y, raw):
    """Row by row, in plain numbers."""
    if loss == "squared":
        return [(a - b) ** 2 / 2 for a, b in zip(y, raw, strict=True)]
    return [math.log1p(math.exp(-b if a == 1 else b)) for a, b in zip(y, raw, strict=True)]


def data(rng, loss, n=40, d=3):
    x = rng.normal(size=(n, d))
    signal = 2 * x[:, 0] - x[:, -1] ** 2 + rng.normal(size=n)
    return x, (signal if loss == "squared" else (signal > -0.5).astype(int))


class TestMeanLoss:
    def test_the_example_worked_by_hand(self):
        y = np.array([1, 1, 3, 7])
        assert_close(mean_loss("squared", y, np.full(4, 3.0)), 3.0)
        assert_close(mean_loss("squared", y, np.array([7 / 3, 7 / 3, 7 / 3, 5])), 1.0)

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("n", [1, 7])
    def test_matches_the_formula(self, loss, n, rng):
        y, raw = rng.integers(0, 2, n), 3 * rng.normal(size=n)
        assert_close(mean_loss(loss, y, raw), math.fsum(loss_oracle(loss, y.tolist(), raw.tolist())) / n)

    def test_large_scores_neither_overflow_nor_vanish(self):
        raw = np.array([1000.0, -1000.0, 1000.0, -1000.0])
        assert_close(mean_loss("logistic", np.array([0, 0, 1, 1]), raw), 500.0)

    @pytest.mark.parametrize("loss", ["absolute", "Squared"])
    def test_rejects_another_loss(self, loss):
        with raises(ValueError, loss):
            mean_loss(loss, np.array([0, 1]), np.zeros(2))


class TestGradients:
    def test_the_example_worked_by_hand(self):
        assert_close(
            gradients("squared", np.array([1, 1, 3, 7]), np.full(4, 3.0)), (np.array([2.0, 2, 0, -4]), np.ones(4))
        )
        g, h = gradients("logistic", np.array([0, 0, 1, 1]), np.zeros(4))
        assert_close((g, h), (np.array([0.5, 0.5, -0.5, -0.5]), np.full(4, 0.25)))

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("n", [1, 6])
    def test_are_the_derivatives_of_the_loss(self, loss, n, rng):
        y, raw, step = rng.integers(0, 2, n), 2 * rng.normal(size=n), 1e-4
        low, middle, high = (np.array(loss_oracle(loss, y.tolist(), (raw + s).tolist())) for s in (-step, 0, step))
        g, h = gradients(loss, y, raw)
        assert_close(g, (high - low) / (2 * step), rtol=0, atol=1e-7)  # finite differences
        assert_close(h, (high - 2 * middle + low) / step**2, rtol=0, atol=1e-5)  # finite differences

    def test_large_scores_neither_overflow_nor_vanish(self):
        raw = np.array([1000.0, -1000.0, 40.0, -40.0, 700.0])
        g, h = gradients("logistic", np.array([0, 1, 1, 0, 1]), raw)
        assert_close(g[:2], np.array([1.0, -1.0]))
        assert_close(h[2:], np.exp([-40.0, -40.0, -700.0]), rtol=1e-6, atol=0)
        assert np.isfinite(h).all()

    @pytest.mark.parametrize("loss", LOSSES)
    def test_integers_give_floats(self, loss):
        g, h = gradients(loss, np.array([0, 1], np.uint8), np.array([0, 0]))
        assert_equal((g.dtype, h.dtype), (np.dtype(np.float64), np.dtype(np.float64)))

    def test_rejects_another_loss(self):
        with raises(ValueError, "hinge"):
            gradients("hinge", np.array([0, 1]), np.zeros(2))


class TestBaseScore:
    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("ones", [1, 3, 7])
    def test_no_constant_is_better(self, loss, ones):
        y = np.array([1] * ones + [0] * 4)
        base = base_score(loss, y)
        g, _ = gradients(loss, y, np.full(len(y), base))
        assert_close(float(g.sum()), 0.0)

    def test_the_mean_and_the_log_odds(self):
        assert_close(base_score("squared", np.array([1, 1, 3, 7])), 3.0)
        assert_close(base_score("logistic", np.array([1, 0, 1, 1])), math.log(3))

    @pytest.mark.parametrize("label", [0, 1])
    def test_both_labels_must_occur(self, label):
        with raises(ValueError, "both"):
            base_score("logistic", np.full(4, label))
        assert_close(base_score("squared", np.full(4, label)), float(label))

    def test_other_labels_are_refused(self):
        with raises(ValueError, -1):
            base_score("logistic", np.array([-1, 1, 1]))

    def test_rejects_another_loss(self):
        with raises(ValueError, "hinge"):
            base_score("hinge", np.array([0, 1]))


class TestLeafWeight:
    @pytest.mark.parametrize(("lam", "expected"), [(0.0, -2.0), (0.5, -1.0)])
    def test_the_example_worked_by_hand(self, lam, expected):
        assert_close(leaf_weight(1.0, 0.5, lam), expected)

    @pytest.mark.parametrize("lam", [0.0, 1.0, 3.5])
    def test_is_the_lowest_point_of_the_parabola(self, lam, rng):
        g, h = rng.normal(), rng.uniform(0.5, 2)
        w = leaf_weight(g, h, lam)

        def parabola(v):
            return g * v + (h + lam) * v * v / 2

        assert_close(g + (h + lam) * w, 0.0)
        assert parabola(w) < min(parabola(w - 0.01), parabola(w + 0.01)), "a weight nearby has a lower loss"

    def test_without_curvature_the_penalty_divides(self):
        assert_close(leaf_weight(3.0, 0.0, 0.5), -6.0)

    def test_nothing_to_divide_by(self):
        assert_close(leaf_weight(0.0, 0.0, 0.0), 0.0)
        assert_close(leaf_weight(1e-3, 0.0, 0.0), 0.0)


class TestSplitGain:
    @pytest.mark.parametrize(("gamma", "expected"), [(0.0, 1.0), (0.3, 0.7), (2.0, -1.0)])
    def test_the_example_worked_by_hand(self, gamma, expected):
        assert_close(split_gain(1.0, 0.5, -1.0, 0.5, 0.5, gamma), expected)

    @pytest.mark.parametrize("lam", [0.0, 1.0, 2.5])
    @pytest.mark.parametrize("gamma", [0.0, 0.4])
    def test_is_what_two_leaves_take_off_the_loss_more_than_one(self, lam, gamma, rng):
        (gl, gr), (hl, hr) = rng.normal(size=2), rng.uniform(0.5, 3, 2)
        w = np.linspace(-20, 20, 400_001)

        def lowest(g, h):  # by search, on a grid of 1e-4
            return float((g * w + (h + lam) * w * w / 2).min())

        expected = lowest(gl + gr, hl + hr) - lowest(gl, hl) - lowest(gr, hr) - gamma
        assert_close(split_gain(gl, hl, gr, hr, lam, gamma), expected, rtol=0, atol=1e-7)  # the grid

    def test_without_curvature_the_penalty_divides(self):
        assert_close(split_gain(3.0, 0.0, 1.0, 0.0, 0.5, 0.0), (9 + 1 - 16) / 0.5 / 2)

    def test_a_side_without_curvature(self):
        assert_close(split_gain(0.0, 0.0, 2.0, 1.0, 0.0, 0.0), 0.0)
        assert_close(split_gain(2.0, 0.0, 3.0, 2.0, 0.0, 0.25), 9 / 4 - 25 / 4 - 0.25)
        assert_close(split_gain(3.0, 2.0, 2.0, 0.0, 0.0, 0.25), 9 / 4 - 25 / 4 - 0.25)
        assert_close(split_gain(0.0, 0.0, 0.0, 0.0, 0.0, 0.25), -0.25)


def walk(node, row):
    while node.left is not None:
        node = node.left if row[node.feature] <= node.threshold else node.right
    return node


def values(root, x):
    return np.array([walk(root, row).value for row in x])


def depth(node):
    return 0 if node.left is None else 1 + max(depth(node.left), depth(node.right))


class TestBoostingTree:
    def test_the_example_worked_by_hand(self):
        x = np.array([[1], [2], [3], [4]])
        root = boosting_tree(x, np.array([2.0, 2, 0, -4]), np.ones(4), 1)
        assert_close((root.threshold, root.left.value, root.right.value), (3.5, -4 / 3, 4.0))
        root = boosting_tree(x, np.array([0.5, 0.5, -0.5, -0.5]), np.full(4, 0.25), 1, lam=0.5)
        assert_close((root.threshold, root.left.value, root.right.value), (2.5, -1.0, 1.0))

    @pytest.mark.parametrize("lam", [0.0, 0.7, 4.0])
    @pytest.mark.parametrize(("max_depth", "min_leaf"), [(1, 1), (2, 5), (3, 3)])
    def test_regions_are_those_of_the_gradients_and_weights_newton_steps(self, lam, max_depth, min_leaf, rng):
        from sklearn.tree import DecisionTreeRegressor

        # Many rows of continuous gradients: no ties between splits.
        x, g, h = rng.normal(size=(120, 3)).astype(np.float32), rng.normal(size=120), rng.uniform(0.1, 1, 120)
        g += x[:, 1]
        root = boosting_tree(x, g, h, max_depth, 2 * min_leaf, lam)
        places = (
            DecisionTreeRegressor(max_depth=max_depth, min_samples_leaf=2 * min_leaf, random_state=0).fit(x, g).apply(x)
        )
        expected = np.zeros(120)
        for leaf in set(places.tolist()):
            rows = places == leaf
            expected[rows] = -g[rows].sum() / (h[rows].sum() + lam)
        assert_close(values(root, x), expected)

    def test_the_defaults(self, rng):
        x, g = rng.normal(size=(60, 3)), rng.normal(size=60)
        root = boosting_tree(x, g, np.ones(60))
        assert_equal(depth(root), 3)
        assert_close(float(values(root, x).sum()), float(-g.sum()))

    def test_a_depth_of_0_is_a_single_leaf(self):
        x = np.arange(4.0)[:, None]
        root = boosting_tree(x, np.array([1.0, 2, 3, 6]), np.full(4, 0.5), 0, lam=1.0)
        assert_close(values(root, x), np.full(4, -4.0))

    def test_no_limit_of_depth(self):
        x = np.arange(12.0)[:, None]
        g = np.arange(12.0) ** 2
        assert_close(values(boosting_tree(x, g, np.full(12, 2.0), None), x), -g / 2)

    def test_gradients_that_are_all_equal(self):
        root = boosting_tree(np.arange(3.0)[:, None], np.full(3, 2.0), np.full(3, 0.5), lam=0.5)
        assert_close((root.left, root.value), (None, -3.0))


def fitted(model, x, y, valid=None):
    model.fit(x, y) if valid is None else model.fit(x, y, valid)
    return model


class TestGradientBoosting:
    def test_the_example_worked_by_hand(self):
        x, y = np.array([[1], [2], [3], [4]]), np.array([1, 1, 3, 7])
        model = fitted(GradientBoosting(trees=1, rate=0.5, max_depth=1), x, y)
        assert_close(model.base, 3.0)
        assert_close(model.predict(x), np.array([7 / 3, 7 / 3, 7 / 3, 5]))
        assert_close(model.train_losses, [3.0, 1.0])

    @pytest.mark.parametrize(("trees", "rate", "max_depth"), [(1, 1.0, 2), (8, 0.3, 1), (12, 0.1, 3)])
    def test_squared_matches_scikit_learn(self, trees, rate, max_depth, rng):
        from sklearn.ensemble import GradientBoostingRegressor

        x, y = data(rng, "squared", 120)
        x, new = x.astype(np.float32), rng.normal(size=(30, 3)).astype(np.float32)
        theirs = GradientBoostingRegressor(
            n_estimators=trees,
            learning_rate=rate,
            max_depth=max_depth,
            min_samples_leaf=9,
            random_state=0,
        ).fit(x, y)
        model = fitted(GradientBoosting("squared", trees, rate, max_depth, 9), x, y)
        assert_close(model.predict(new), theirs.predict(new))
        assert_close(model.raw(new), model.predict(new))

    @pytest.mark.parametrize(("trees", "rate", "max_depth"), [(1, 1.0, 2), (8, 0.3, 1)])
    def test_logistic_matches_scikit_learn(self, trees, rate, max_depth, rng):
        from sklearn.ensemble import GradientBoostingClassifier

        x, y = data(rng, "logistic", 150)
        x, new = x.astype(np.float32), rng.normal(size=(30, 3)).astype(np.float32)
        theirs = GradientBoostingClassifier(
            n_estimators=trees,
            learning_rate=rate,
            max_depth=max_depth,
            min_samples_leaf=25,
            random_state=0,
        ).fit(x, y)
        model = fitted(GradientBoosting("logistic", trees, rate, max_depth, 25), x, y)
        assert_close(model.raw(new), theirs.decision_function(new))
        assert_close(model.predict(new), theirs.predict_proba(new)[:, 1])

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize(("trees", "rate", "lam"), [(5, 0.4, 0.0), (9, 0.15, 2.0)])
    def test_each_tree_fits_the_gradients_of_the_sum_before_it(self, loss, trees, rate, lam, rng):
        x, y = data(rng, loss)
        model = fitted(GradientBoosting(loss, trees, rate, 2, 3, lam), x, y)
        assert_equal(len(model.members), trees)
        raw = np.full(40, model.base)
        for root in model.members:
            g, h = gradients(loss, y, raw)
            places = [id(walk(root, row)) for row in x]
            for place in set(places):
                rows = np.array([p == place for p in places])
                assert_close(walk(root, x[rows][0]).value, leaf_weight(float(g[rows].sum()), float(h[rows].sum()), lam))
                assert rows.sum() >= 3
            assert depth(root) <= 2
            raw = raw + rate * values(root, x)
        assert_close(model.raw(x), raw)

    @pytest.mark.parametrize("loss", LOSSES)
    def test_losses_are_kept_from_the_start_on(self, loss, rng):
        x, y = data(rng, loss)
        other, other_y = data(rng, loss, 15)
        model = fitted(GradientBoosting(loss, 6, 0.3, 2, 2), x, y, (other, other_y))
        for rows, targets, losses in ((x, y, model.train_losses), (other, other_y, model.valid_losses)):
            expected = [
                math.fsum(loss_oracle(loss, targets.tolist(), model.raw(rows, k).tolist())) / len(targets)
                for k in range(7)
            ]
            assert_close(list(losses), expected)
        assert all(b < a for a, b in pairwise(model.train_losses)), "the training loss must fall with each tree"

    def test_without_rows_set_aside_there_are_no_such_losses(self, rng):
        assert_equal(list(fitted(GradientBoosting(trees=2), *data(rng, "squared")).valid_losses), [])

    @pytest.mark.parametrize("trees", [0, 2, 5, None])
    def test_raw_with_the_first_trees_only(self, trees, rng):
        x, y = data(rng, "squared")
        model = fitted(GradientBoosting(trees=5, rate=0.25), x, y)
        expected = model.base + 0.25 * sum((values(root, x) for root in model.members[:trees]), np.zeros(40))
        assert_close(model.raw(x, trees), expected)

    @pytest.mark.parametrize("loss", LOSSES)
    def test_no_trees_at_all(self, loss, rng):
        x, y = data(rng, loss)
        model = fitted(GradientBoosting(loss, 0), x, y)
        assert_close(model.raw(x), np.full(40, base_score(loss, y)))
        assert_equal((len(model.members), len(model.train_losses)), (0, 1))

    @pytest.mark.parametrize("patience", [1, 2, 5])
    @pytest.mark.parametrize("loss", LOSSES)
    def test_stops_and_goes_back_to_the_best_round(self, loss, patience, rng):
        x, y = data(rng, loss, 30)
        valid = data(rng, loss, 12)
        whole = fitted(GradientBoosting(loss, 30, 0.6, 2), x, y, valid)
        assert_equal(len(whole.members), 30)
        losses = list(whole.valid_losses)
        stop = next((m for m in range(1, 31) if m - int(np.argmin(losses[: m + 1])) >= patience), 30)
        best = int(np.argmin(losses[: stop + 1]))
        model = fitted(GradientBoosting(loss, 30, 0.6, 2, patience=patience), x, y, valid)
        assert_close(list(model.valid_losses), losses[: stop + 1])
        assert_close(list(model.train_losses), list(whole.train_losses)[: stop + 1])
        assert_equal(len(model.members), best)
        assert_close(model.raw(x), whole.raw(x, best))

    @pytest.mark.parametrize("patience", [1, 3])
    def test_the_start_may_be_the_best_round(self, patience):
        # What holds in one half of the rows is the other way around in the other.
        x = np.arange(8.0)[:, None]
        model = fitted(GradientBoosting(trees=9, rate=0.2, patience=patience), x, x[:, 0], (x, 7 - x[:, 0]))
        assert_equal((len(model.members), len(model.valid_losses)), (0, 1 + patience))
        assert_close(model.predict(x), np.full(8, 3.5))

    def test_equal_losses_are_no_progress(self):
        # With a rate of 0, every round is as good as the start.
        x = np.array([[0.0], [1.0]])
        model = fitted(
            GradientBoosting(trees=9, rate=0.0, patience=3), x, np.array([0.0, 4.0]), (x, np.array([1.0, 3.0]))
        )
        assert_equal((len(model.members), len(model.valid_losses)), (0, 4))

    def test_patience_that_never_runs_out(self, rng):
        x, y = data(rng, "squared")
        model = fitted(GradientBoosting(trees=4, patience=4), x, y, (x, y))
        assert_equal((len(model.members), len(model.valid_losses)), (4, 5))

    @pytest.mark.parametrize(("trees", "best"), [(1, 1), (2, 1), (5, 1)])
    def test_members_are_cut_back_though_patience_never_ran_out(self, trees, best):
        # The first round hits the rows set aside, all others go on past them.
        x, y = np.array([[0.0], [1.0]]), np.array([-8.0, 8.0])
        model = fitted(GradientBoosting(trees=trees, rate=0.4, patience=50), x, y, (x, y * 0.4))
        assert_equal(
            (len(model.members), len(model.valid_losses), len(model.train_losses)), (best, 1 + trees, 1 + trees)
        )
        assert_close(model.raw(x), y * 0.4)

    def test_patience_needs_rows_set_aside(self, rng):
        with raises(ValueError, "valid"):
            fitted(GradientBoosting(patience=2), *data(rng, "squared"))

    def test_the_defaults(self, rng):
        x, y = data(rng, "squared", 25)
        model = fitted(GradientBoosting(), x, y)
        assert_equal(len(model.members), 100)
        assert_equal(depth(model.members[0]), 3)
        assert_close(model.raw(x), fitted(GradientBoosting("squared", 100, 0.1, 3, 1, 0.0), x, y).raw(x))
        assert_close(model.raw(x, 1), model.base + 0.1 * values(model.members[0], x))

    @pytest.mark.parametrize("loss", ["absolute", "log"])
    def test_rejects_another_loss(self, loss):
        with raises(ValueError, loss):
            GradientBoosting(loss)

    def test_labels_other_than_0_and_1_are_refused(self, rng):
        x, _ = data(rng, "logistic")
        with raises(ValueError, 2):
            fitted(GradientBoosting("logistic", 2), x, np.arange(40) % 3)

    def test_a_second_fit_forgets_the_first(self, rng):
        x, y = data(rng, "squared")
        model = fitted(GradientBoosting(trees=3), x, y, (x, y))
        fitted(model, x[:20, :1], -y[:20])
        fresh = fitted(GradientBoosting(trees=3), x[:20, :1], -y[:20])
        assert_equal((len(model.members), len(model.train_losses), list(model.valid_losses)), (3, 4, []))
        assert_close(model.raw(x[:, :1]), fresh.raw(x[:, :1]))

    def test_integers_and_the_data_stay_as_they_are(self, rng):
        x, y = rng.integers(0, 9, (30, 2)), rng.integers(0, 9, 30)
        before = x.copy(), y.copy()
        model = fitted(GradientBoosting(trees=3), x, y)
        assert_equal((x, y), before)
        assert_equal(model.predict(x).dtype, np.dtype(np.float64))

    def test_learns_the_disease_of_the_diabetes_patients(self, diabetes):
        x, y = diabetes
        train = np.arange(len(y)) % 4 > 0
        model = fitted(GradientBoosting(trees=25, rate=0.15, max_depth=2, min_leaf=5), x[train], y[train])
        baseline = float(((y[~train] - y[train].mean()) ** 2).mean())
        error = float(((y[~train] - model.predict(x[~train])) ** 2).mean())
        assert error < 0.8 * baseline, f"the squared error is {error:.0f}; always the mean gives {baseline:.0f}"

    def test_tells_tumours_apart(self, cancer):
        x, y = cancer
        train = np.arange(len(y)) % 3 > 0
        model = fitted(GradientBoosting("logistic", 15, 0.3, 2), x[train], y[train])
        right = float(((model.predict(x[~train]) > 0.5) == y[~train]).mean())
        majority = float(max(y[~train].mean(), 1 - y[~train].mean()))
        assert right > majority + 0.2, (
            f"{right:.0%} of the tumours are right; always the larger class gives {majority:.0%}"
        )
