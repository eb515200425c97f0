"""Judges k10_matrix_factorization against pandas, scikit-learn's Ridge and held-out ratings."""

from collections.abc import Callable

import numpy as np
import pytest

from dojo.testing import assert_close, fail, from_scratch, pure
from katas.module_01_linear_algebra.k10_matrix_factorization import (
    Factors,
    als,
    biases,
    predict,
    ridge_rows,
    sgd,
)

pytestmark = [from_scratch("scipy", "sklearn"), pure()]

NAMES = ["mean", "user_bias", "item_bias", "user_factors", "item_factors"]


def fields(factors: Factors) -> dict[str, float | np.ndarray]:
    """The arrays of `factors` as a dict of copies."""
    return {name: np.array(getattr(factors, name)) for name in NAMES}


def random_factors(rng: np.random.Generator, n_users: int, n_items: int, k: int) -> Factors:
    return Factors(
        3.4,
        rng.standard_normal(n_users),
        rng.standard_normal(n_items),
        rng.standard_normal((n_users, k)),
        rng.standard_normal((n_items, k)),
    )


def random_ratings(rng: np.random.Generator, n: int, n_users: int, n_items: int):
    """`n` ratings by some of the users of some of the items; the last of both have none."""
    users, items = rng.integers(0, n_users - 1, n), rng.integers(0, n_items - 1, n)
    return users, items, rng.uniform(1, 5, n)


def guesses(f: Factors, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The lesson's formula for known ids."""
    product = np.einsum("nk,nk->n", f.user_factors[users], f.item_factors[items])
    return f.mean + f.user_bias[users] + f.item_bias[items] + product


def rmse(guess: np.ndarray, stars: np.ndarray) -> float:
    return float(np.sqrt(((guess - stars) ** 2).mean()))


def ridge_oracle(rows, columns, targets, column_factors, n_rows, reg) -> np.ndarray:
    from sklearn.linear_model import Ridge

    answer = np.zeros((n_rows, column_factors.shape[1]))
    for row in np.unique(rows):
        mine = rows == row
        answer[row] = Ridge(reg, fit_intercept=False).fit(column_factors[columns[mine]], targets[mine]).coef_
    return answer


def split_of_a_hidden_table(rng: np.random.Generator):
    """Ratings of a table of rank 2 with biases and some noise: (users, items, stars), kept and held out."""
    n_users, n_items = 50, 40
    table = 3 + rng.normal(0, 0.5, (n_users, 1)) + rng.normal(0, 0.5, n_items)
    table += rng.standard_normal((n_users, 2)) @ rng.standard_normal((2, n_items))
    table += rng.normal(0, 0.1, table.shape)
    users, items = np.nonzero(rng.random(table.shape) < 0.5)
    kept = rng.random(len(users)) < 0.8
    return [(users[part], items[part], table[users[part], items[part]]) for part in (kept, ~kept)]


def start_from_biases(rng: np.random.Generator, ratings, n_users: int, n_items: int, k: int) -> Factors:
    """Factors of these ratings' means, by pandas, and small random numbers."""
    import pandas as pd

    users, items, stars = ratings
    frame = pd.DataFrame({"user": users, "item": items, "rest": stars - stars.mean()})
    of_item = frame.groupby("item").rest.agg(["sum", "count"]).reindex(range(n_items), fill_value=0)
    item_bias = (of_item["sum"] / (5 + of_item["count"])).to_numpy()
    frame["rest"] -= item_bias[items]
    of_user = frame.groupby("user").rest.agg(["sum", "count"]).reindex(range(n_users), fill_value=0)
    user_bias = (of_user["sum"] / (5 + of_user["count"])).to_numpy()
    small = [0.3 * rng.standard_normal((n, k)) for n in (n_users, n_items)]
    return Factors(float(stars.mean()), user_bias, item_bias, *small)


def check_beats_baselines(guess: np.ndarray, kept, held, n_users: int, n_items: int, share: float) -> None:
    """Whether `guess` for the held-out ratings is better than the mean, by `share`, and than a filled SVD."""
    users, items, stars = kept
    table = np.full((n_users, n_items), stars.mean())
    table[users, items] = stars
    u, s, vt = np.linalg.svd(table, full_matrices=False)
    filled = (u[:, :3] * s[:3] @ vt[:3])[held[0], held[1]]
    limits = {"the mean": share * rmse(stars.mean() + 0 * held[2], held[2]), "an SVD": rmse(filled, held[2])}
    for name, limit in limits.items():
        if not rmse(guess, held[2]) < limit:
            error = rmse(guess, held[2])
            fail(
                f"held-out ratings are missed by {error:.3f}; against {name} it must be {limit:.3f}",
                evidence=error,
            )


class TestBiases:
    def test_the_example_worked_by_hand(self):
        mean, b, c = biases(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([5, 2, 5]), 2, 2, 1.0)
        assert_close(mean, 4.0)
        assert_close(c, np.array([2 / 3, -1.0]))
        assert_close(b, np.array([-2 / 9, 1 / 6]))

    @pytest.mark.parametrize("reg", [0.5, 5.0])
    @pytest.mark.parametrize(("n_users", "n_items"), [(4, 9), (12, 5)])
    def test_matches_pandas(self, rng, reg, n_users, n_items):
        import pandas as pd

        users, items, stars = random_ratings(rng, 30, n_users, n_items)
        frame = pd.DataFrame({"user": users, "item": items, "rest": stars - stars.mean()})
        item_bias, user_bias = np.zeros(n_items), np.zeros(n_users)
        for item, rest in frame.groupby("item").rest:
            item_bias[item] = rest.sum() / (reg + len(rest))
        frame["rest"] -= item_bias[items]
        for user, rest in frame.groupby("user").rest:
            user_bias[user] = rest.sum() / (reg + len(rest))
        assert_close(biases(users, items, stars, n_users, n_items, reg), (stars.mean(), user_bias, item_bias))


class TestPredict:
    @pytest.mark.parametrize(("n_users", "n_items", "k"), [(3, 5, 2), (6, 2, 3), (4, 4, 1)])
    def test_adds_mean_biases_and_product(self, rng, n_users, n_items, k):
        factors = random_factors(rng, n_users, n_items, k)
        users, items = rng.integers(0, n_users, 11), rng.integers(0, n_items, 11)
        users[0], items[0] = n_users - 1, n_items - 1
        assert_close(predict(factors, users, items), guesses(factors, users, items))

    @pytest.mark.parametrize("new", [-1, -2, 3, 4, 50])
    def test_a_new_user_has_neither_bias_nor_tastes(self, rng, new):
        factors = random_factors(rng, 3, 5, 2)
        actual = predict(factors, np.array([new, 1, new]), np.array([4, 4, 0]))
        known = guesses(factors, np.array([1]), np.array([4]))[0]
        assert_close(actual, np.array([3.4 + factors.item_bias[4], known, 3.4 + factors.item_bias[0]]))

    @pytest.mark.parametrize("new", [-1, -2, 5, 6, 50])
    def test_a_new_item_has_neither_bias_nor_traits(self, rng, new):
        factors = random_factors(rng, 3, 5, 2)
        actual = predict(factors, np.array([2, 2, 0]), np.array([new, 1, new]))
        known = guesses(factors, np.array([2]), np.array([1]))[0]
        assert_close(actual, np.array([3.4 + factors.user_bias[2], known, 3.4 + factors.user_bias[0]]))

    @pytest.mark.parametrize(("n_users", "n_items"), [(3, 5), (2, 4), (7, 6), (5, 1)])
    def test_new_users_get_the_mean_for_new_items(self, rng, n_users, n_items):
        factors = random_factors(rng, n_users, n_items, 2)
        users, items = np.array([-1, n_users, n_users, n_users - 1]), np.array([-1, n_items, -1, n_items - 1])
        expected = np.array([3.4, 3.4, 3.4, guesses(factors, users[3:], items[3:])[0]])
        assert_close(predict(factors, users, items), expected)

    def test_of_no_pairs_at_all(self, rng):
        none = np.array([], dtype=int)
        assert_close(predict(random_factors(rng, 3, 5, 2), none, none), np.array([]))

    def test_leaves_the_factors_as_they_are(self, rng):
        factors = random_factors(rng, 3, 5, 2)
        before = fields(factors)
        predict(factors, np.array([0, -1]), np.array([7, 2]))
        assert_close(fields(factors), before)


class TestRidgeRows:
    def test_the_example_worked_by_hand(self):
        actual = ridge_rows(np.array([0, 0]), np.array([0, 1]), np.array([3, 1]), np.array([[1], [2]]), 1, 1.0)
        assert_close(actual, np.array([[5 / 6]]))

    @pytest.mark.parametrize("reg", [0.1, 4.0])
    @pytest.mark.parametrize(("n_rows", "n_columns", "k"), [(4, 7, 2), (9, 3, 1), (5, 5, 3)])
    def test_matches_scikit_learns_ridge(self, rng, reg, n_rows, n_columns, k):
        # The last row has no entries; some have fewer than k.
        rows, columns, targets = random_ratings(rng, 16, n_rows, n_columns)
        q = rng.standard_normal((n_columns, k))
        expected = ridge_oracle(rows, columns, targets, q, n_rows, reg)
        assert_close(ridge_rows(rows, columns, targets, q, n_rows, reg), expected)


class TestAls:
    @pytest.mark.parametrize("sweeps", [1, 2, 5])
    @pytest.mark.parametrize("reg", [0.5, 3.0])
    def test_users_then_items_in_turn(self, rng, sweeps, reg):
        users, items, stars = random_ratings(rng, 25, 6, 8)
        start = random_factors(rng, 6, 8, 2)
        rest = stars - 3.4 - start.user_bias[users] - start.item_bias[items]
        expected = fields(start)
        for _ in range(sweeps):
            p = ridge_oracle(users, items, rest, expected["item_factors"], 6, reg)
            expected |= {"user_factors": p, "item_factors": ridge_oracle(items, users, rest, p, 8, reg)}
        before = fields(start)
        assert_close(fields(als(start, users, items, stars, reg, sweeps)), expected)
        assert_close(fields(start), before)

    @pytest.mark.parametrize("reg", [0.5, 3.0])
    def test_the_loss_never_rises(self, rng, reg):
        users, items, stars = random_ratings(rng, 25, 6, 8)
        start = random_factors(rng, 6, 8, 2)
        losses = []
        for sweeps in (1, 2, 3, 8):
            f = als(start, users, items, stars, reg, sweeps)
            squares = (f.user_factors**2).sum() + (f.item_factors**2).sum()
            losses.append(float(((stars - guesses(f, users, items)) ** 2).sum() + reg * squares))
        assert_close(sorted(losses, reverse=True), losses)

    def test_finds_a_hidden_table_of_rank_two(self, rng):
        kept, held = split_of_a_hidden_table(rng)
        factors = als(start_from_biases(rng, kept, 50, 40, 4), *kept, reg=1.0, sweeps=25)
        check_beats_baselines(guesses(factors, *held[:2]), kept, held, 50, 40, share=0.5)

    def test_ratings_of_real_lecturers(self, rng, ratings):
        # Those of the 40 lecturers that were rated most often.
        users, items, stars = ratings
        often = np.sort(np.argsort(-np.bincount(items))[:40])
        mine = np.isin(items, often)
        users, items, stars = users[mine], np.searchsorted(often, items[mine]), stars[mine]
        part = rng.random(len(stars)) < 0.8
        kept, held = [(users[p], items[p], stars[p]) for p in (part, ~part)]
        n_users = len(np.bincount(ratings[0]))
        start = start_from_biases(rng, kept, n_users, 40, 2)
        factors = als(start, *kept, reg=10.0, sweeps=2)
        check_beats_baselines(guesses(factors, *held[:2]), kept, held, n_users, 40, share=0.97)


class TestSgd:
    def test_the_example_worked_by_hand(self, rng):
        start = Factors(3.0, np.zeros(1), np.zeros(1), np.array([[1.0]]), np.array([[2.0]]))
        answer = sgd(start, np.array([0]), np.array([0]), np.array([4]), 0.1, 0.5, 1, rng)
        assert_close(
            fields(answer),
            fields(Factors(3.0, np.array([-0.1]), np.array([-0.1]), np.array([[0.75]]), np.array([[1.8]]))),
        )

    @pytest.mark.parametrize("epochs", [0, 1, 4])
    @pytest.mark.parametrize(("rate", "reg"), [(0.05, 0.0), (0.05, 2.0), (0.2, 0.5)])
    def test_every_rating_is_visited_once_an_epoch(self, rng, epochs, rate, reg):
        # Nobody has two ratings, so the order doesn't matter.  User 6 and items 6 and 7 have none.
        users, items, stars = rng.permutation(6), rng.permutation(6), rng.uniform(1, 5, 6)
        start = random_factors(rng, 7, 8, 3)
        expected = fields(start)
        expected["user_factors"][6:] = 0
        expected["item_factors"][6:] = 0
        b, c, p, q = (expected[name] for name in NAMES[1:])
        for _ in range(epochs):
            e = stars - (3.4 + b[users] + c[items] + (p[users] * q[items]).sum(1))
            gradients = (
                reg * b[users] - e,
                reg * c[items] - e,
                reg * p[users] - e[:, None] * q[items],
                reg * q[items] - e[:, None] * p[users],
            )
            for numbers, ids, gradient in zip((b, c, p, q), (users, items, users, items), gradients, strict=True):
                numbers[ids] -= rate * gradient
        before = fields(start)
        assert_close(fields(sgd(start, users, items, stars, rate, reg, epochs, rng)), expected)
        assert_close(fields(start), before)

    def test_every_epoch_has_an_order_of_its_own(self):
        # One user, two items, no factors: two epochs in the orders AA, AB, BA or BB leave the user's
        # bias at four different numbers.
        stars = np.array([5.0, 2.0])
        orders = {"AA": (0, 1, 0, 1), "AB": (0, 1, 1, 0), "BA": (1, 0, 0, 1), "BB": (1, 0, 1, 0)}
        outcomes = {}
        for name, order in orders.items():
            b, c = 0.0, [0.0, 0.0]
            for item in order:
                e = stars[item] - 3 - b - c[item]
                b, c[item] = b + 0.3 * e, c[item] + 0.3 * e
            outcomes[name] = b
        start = Factors(3.0, np.zeros(1), np.zeros(2), np.zeros((1, 2)), np.zeros((2, 2)))
        seen = set()
        for seed in range(60):
            bias = sgd(
                start, np.zeros(2, int), np.arange(2), stars, 0.3, 0.0, 2, np.random.default_rng(seed)
            ).user_bias[0]
            nearest = min(outcomes, key=lambda name: abs(outcomes[name] - bias))
            assert_close(bias, outcomes[nearest])
            seen.add(nearest)
        # Each is missed by 60 fair draws with a chance of (3/4)⁶⁰ = 3e-8.
        if seen != set(outcomes):
            never = sorted(set(outcomes) - seen)
            fail(f"of the orders of two ratings in two epochs {never} never come up", evidence=tuple(never))

    def test_the_order_comes_from_rng(self, rng):
        users, items, stars = random_ratings(rng, 20, 5, 6)
        start = random_factors(rng, 5, 6, 2)
        one, two = (sgd(start, users, items, stars, 0.05, 0.1, 2, np.random.default_rng(7)) for _ in range(2))
        assert_close(fields(two), fields(one))

    def test_numpys_global_generator_stays_as_it_is(self, rng):
        users, items, stars = random_ratings(rng, 20, 5, 6)
        before = np.random.get_state()
        sgd(random_factors(rng, 5, 6, 2), users, items, stars, 0.05, 0.1, 2, rng)
        after = np.random.get_state()
        if before[2] != after[2] or not np.array_equal(before[1], after[1]):
            fail("numpy's global generator is used or seeded anew; draw from `rng` alone.", evidence="global generator")

    def test_finds_a_hidden_table_of_rank_two(self, rng):
        kept, held = split_of_a_hidden_table(rng)
        factors = sgd(start_from_biases(rng, kept, 50, 40, 2), *kept, 0.05, 0.02, 40, rng)
        check_beats_baselines(guesses(factors, *held[:2]), kept, held, 50, 40, share=0.5)


class TestColdStart:
    @pytest.mark.parametrize(
        "train",
        [
            lambda start, ratings, rng: als(start, *ratings, 0.5, 2),
            lambda start, ratings, rng: sgd(start, *ratings, 0.05, 0.1, 2, rng),
        ],
        ids=["als", "sgd"],
    )
    def test_who_has_no_ratings_is_guessed_by_the_other_ones_bias(self, rng, train: Callable[..., Factors]):
        ratings = random_ratings(rng, 25, 6, 8)
        start = random_factors(rng, 6, 8, 2)
        start.user_bias[5] = start.item_bias[7] = 0
        factors = train(start, ratings, rng)
        actual = predict(factors, np.array([5, 0, 5]), np.array([0, 7, 7]))
        assert_close(actual, np.array([3.4 + factors.item_bias[0], 3.4 + factors.user_bias[0], 3.4]))
