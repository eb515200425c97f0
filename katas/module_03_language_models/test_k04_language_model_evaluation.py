"""Judges k04_language_model_evaluation against scikit-learn, closed forms, recorded calls, and simulated games."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_03_language_models.k04_language_model_evaluation import (
    bits_per_byte,
    bradley_terry,
    cohen_kappa,
    cross_entropy,
    elo_ratings,
    fleiss_kappa,
    group_split,
    overlap,
    perplexity,
    select_and_test,
    to_elo,
)

pytestmark = [from_scratch("sklearn", "scipy", "statsmodels", "nltk"), pure()]

HAND = [np.log([0.5, 0.25]), np.log([0.5] * 4)]
# Fleiss' kappa as every textbook shows it: 10 items, 14 raters, 5 labels.
TEXTBOOK = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)


def some_log_probs(rng, lengths):
    return [np.log(rng.uniform(0.01, 1, length)) for length in lengths]


class TestCrossEntropy:
    def test_the_example_worked_by_hand(self):
        assert_close(cross_entropy(HAND), 7 / 6 * math.log(2))

    @pytest.mark.parametrize("lengths", [(5,), (1, 9, 3), (0, 2, 0, 30)])
    def test_every_token_counts_the_same(self, rng, lengths):
        documents = some_log_probs(rng, lengths)
        everything = [value for document in documents for value in document.tolist()]
        assert_close(cross_entropy(documents), -math.fsum(everything) / len(everything))

    def test_what_is_impossible_costs_infinitely_much(self):
        assert_close(cross_entropy([np.array([-1.0]), np.array([-2.0, -math.inf])]), math.inf)

    @pytest.mark.parametrize("documents", [[], [np.array([])], [np.array([]), np.array([])]])
    def test_rejects_no_tokens(self, documents):
        with raises(ValueError):
            cross_entropy(documents)


class TestPerplexity:
    def test_the_example_worked_by_hand(self):
        assert_close(perplexity(HAND), 2 ** (7 / 6))

    @pytest.mark.parametrize("kinds", [1, 6, 50_257])
    def test_of_a_uniform_choice_is_their_number(self, kinds):
        assert_close(perplexity([np.full(3, -math.log(kinds)), np.full(8, -math.log(kinds))]), float(kinds))

    def test_is_the_geometric_mean_of_what_tokens_cost(self, rng):
        p = rng.uniform(0.01, 1, 12)
        assert_close(perplexity([np.log(p[:5]), np.log(p[5:])]), math.prod(1 / p) ** (1 / 12))

    @pytest.mark.parametrize("value", [-800.0, -1e6, -math.inf])
    def test_infinite_where_no_float_is_large_enough(self, value):
        assert_close(perplexity([np.array([value, value])]), math.inf)


class TestBitsPerByte:
    def test_the_example_worked_by_hand(self):
        assert_close(bits_per_byte(HAND, ["né", "oui!"]), 1.0)

    @pytest.mark.parametrize("texts", [["abc", "", "日本語 🎉"], ["ß", "x" * 50, "naïve"]])
    def test_counts_bytes_in_utf_8(self, rng, texts):
        documents = some_log_probs(rng, (4, 0, 7))
        size = sum(len(bytes(text, "utf-8")) for text in texts)
        bits = sum(-math.log2(math.exp(value)) for document in documents for value in document)
        assert_close(bits_per_byte(documents, texts), bits / size)

    def test_256_equally_likely_bytes_take_8_bits(self):
        assert_close(bits_per_byte([np.full(7, -math.log(256))], ["seven b"]), 8.0)

    def test_compares_letters_with_words_on_hamlet(self, hamlet):
        text = hamlet[:40_000]
        costs = []
        # Each model knows how often its tokens occur in the text.
        for tokens in (list(text), [word + " " for word in text.split(" ")]):
            counts = Counter(tokens)
            costs.append([np.log([counts[token] / len(tokens) for token in tokens])])
        letters, words = costs
        # By perplexity words seem far worse: 891 against 28.  By bits per byte they are better.
        found = (perplexity(letters) < perplexity(words), bits_per_byte(letters, [text]) > bits_per_byte(words, [text]))
        assert_equal(found, (True, True))

    @pytest.mark.parametrize("texts", [["a"], ["a", "b", "c"]])
    def test_rejects_another_number_of_texts(self, texts):
        with raises(ValueError, 2, len(texts)):
            bits_per_byte(HAND, texts)

    def test_rejects_empty_texts(self):
        with raises(ValueError):
            bits_per_byte(HAND, ["", ""])


class TestGroupSplit:
    def check(self, groups, share, rng):
        train, test = group_split(groups, share, rng)
        assert_equal((train.dtype.kind, test.dtype.kind), ("i", "i"))
        both = sorted(train.tolist() + test.tolist())
        if both != list(range(len(groups))):
            fail(f"the two parts hold {both[:9]} …, expected each of {len(groups)} documents once", evidence=both)
        assert_equal((train.tolist(), test.tolist()), (sorted(train.tolist()), sorted(test.tolist())))
        shared = {groups[i] for i in train} & {groups[i] for i in test}
        if shared:
            fail(f"groups {sorted(map(str, shared))} are on both sides", evidence="both sides")
        return train, test

    @pytest.mark.parametrize("share", [0.125, 0.25, 0.5])
    def test_takes_whole_groups_and_no_more_than_it_needs(self, rng, share):
        groups = [f"author {g}" for g in rng.permutation(np.arange(16).repeat(4))]
        train, test = self.check(groups, share, rng)
        assert_equal((len(train), len(test)), (64 - int(64 * share), int(64 * share)))

    @pytest.mark.parametrize("share", [0.25, 0.375, 0.625])
    def test_groups_of_many_sizes(self, rng, share):
        sizes = [1, 2, 3, 5, 8, 13]
        groups = rng.permutation(np.arange(6).repeat(sizes)).tolist()
        for _ in range(20):
            train, test = self.check(groups, share, rng)
            in_test = Counter(groups[i] for i in test)
            enough, left = len(test) >= share * 32, len({groups[i] for i in train})
            if not (enough or left == 1):
                fail(f"the test set has {len(test)} of 32 documents, expected {share:.1%} at least", evidence="too few")
            if len(test) - max(in_test.values()) >= share * 32:
                fail(f"the test set has {len(test)} documents, a group more than it needs", evidence="too many")

    @pytest.mark.parametrize(
        ("groups", "size"),
        [
            ([1, "1"] * 4, 4),
            ([("news", 1), ("news", 2), ("blog", 1), ("blog", 2)] * 2, 4),
            ([("a",), "a", None, 7, ("a", "b"), "None", frozenset("a"), "7"] * 3, 12),
        ],
    )
    def test_groups_of_any_kind(self, rng, groups, size):
        for _ in range(5):
            _, test = self.check(groups, 0.5, rng)
            assert_equal(len(test), size)

    def test_one_group_is_always_left_to_train_on(self, rng):
        groups = [0] * 9 + [1]
        for _ in range(20):
            train, _ = self.check(groups, 0.5, rng)
            assert len(train) in (1, 9)

    def test_all_groups_are_equally_likely(self, rng):
        # Neither the first nor the largest may come more often.
        groups = ["a"] * 3 + ["b"] * 9 + ["c"] * 5 + ["d"] * 2
        drawn = Counter()
        for _ in range(800):
            _, test = group_split(groups, 0.0625, rng)
            drawn[groups[test[0]]] += 1
        counts = [drawn[g] for g in "abcd"]
        # 200 of each, with deviation 12.
        if not all(abs(count - 200) < 70 for count in counts):
            fail(f"of 800 splits the groups a, b, c, d are the test set {counts} times", evidence=np.round(counts, -2))

    def test_equal_generators_agree_and_one_goes_on(self):
        groups = list(range(40))
        first, again = (group_split(groups, 0.25, np.random.default_rng(5)) for _ in range(2))
        assert_equal([part.tolist() for part in again], [part.tolist() for part in first])
        going = np.random.default_rng(5)
        one, two = group_split(groups, 0.25, going), group_split(groups, 0.25, going)
        if one[1].tolist() == two[1].tolist():
            fail("two calls with one generator give the same split; let `rng` draw", evidence="reseeded")

    @pytest.mark.parametrize("share", [0, 1, -0.25, 1.5])
    def test_rejects_a_share_outside_0_to_1(self, share):
        with raises(ValueError, share):
            group_split([1, 2, 3, 4], share, np.random.default_rng(0))

    @pytest.mark.parametrize("groups", [[], ["a", "a", "a"]])
    def test_rejects_fewer_than_2_groups(self, groups):
        with raises(ValueError, len(set(groups))):
            group_split(groups, 0.3, np.random.default_rng(0))


class TestOverlap:
    def test_the_example_worked_by_hand(self):
        assert_close(overlap(["to", "be", "or", "not"], [["to", "be", "or", "so"]], 2), 2 / 3)

    @pytest.mark.parametrize("n", [1, 2, 3, 5])
    def test_matches_looking_for_each_ngram(self, rng, n):
        training = [rng.choice(list("abc"), rng.integers(0, 12)).tolist() for _ in range(4)]
        document = rng.choice(list("abcd"), 25).tolist()
        lines = ["".join(tokens) for tokens in training]
        own = ["".join(document[i : i + n]) for i in range(26 - n)]
        expected = sum(any(gram in line for line in lines) for gram in own) / len(own)
        assert_close(overlap(document, training, n), expected)

    def test_not_from_one_document_into_the_next(self):
        assert_close(overlap(["a", "b"], [["x", "a"], ["b", "y"]], 2), 0.0)

    def test_tokens_are_not_joined(self):
        assert_close(overlap(["ab", "c"], [["a", "bc"], ["a b", "c"]], 2), 0.0)

    def test_what_occurs_twice_counts_twice(self):
        assert_close(overlap(list("aaab"), [list("aa")], 2), 2 / 3)

    @pytest.mark.parametrize("document", [[], ["a"], ["a", "b"]])
    def test_a_document_shorter_than_n(self, document):
        assert_close(overlap(document, [["a", "b"], ["a"], []], 3), 0.0)

    @pytest.mark.parametrize("n", [0, -3])
    def test_rejects_an_n_below_1(self, n):
        with raises(ValueError, n):
            overlap(["a"], [["a"]], n)


class Trial:
    """Models whose losses are given, and a list of what was done with them."""

    def __init__(self, losses):
        self.losses, self.calls = losses, []

    def fit(self, setting, documents):
        self.calls.append(f"fit {setting} on {documents}")

        def model(documents):
            self.calls.append(f"measure {setting} on {documents}")
            return self.losses[setting][documents == "test"]

        return model


class TestSelectAndTest:
    # (validation, test): the best on the test set isn't the best on the validation set.
    LOSSES = {0.5: (3.0, 1.0), 0.1: (2.0, 4.0), 2: (2.5, 0.5), 7: (9.0, 9.0)}

    def run(self, losses):
        trial = Trial(losses)
        return select_and_test(trial.fit, list(losses), "train", "validation", "test"), trial.calls

    def test_the_best_on_the_validation_set_is_tested(self):
        got, _ = self.run(self.LOSSES)
        assert_equal(got, (0.1, 2.0, 4.0))

    @pytest.mark.parametrize("shift", [1, 3])
    def test_wherever_it_stands(self, shift):
        items = list(self.LOSSES.items())
        got, _ = self.run(dict(items[shift:] + items[:shift]))
        assert_equal(got, (0.1, 2.0, 4.0))

    def test_each_is_fitted_on_the_training_set_once(self):
        _, calls = self.run(self.LOSSES)
        assert_equal([call for call in calls if "fit" in call], [f"fit {s} on train" for s in self.LOSSES])

    def test_each_is_measured_on_the_validation_set_once(self):
        _, calls = self.run(self.LOSSES)
        found = [call for call in calls if "validation" in call]
        assert_equal(found, [f"measure {s} on validation" for s in self.LOSSES])

    def test_the_test_set_is_used_once_and_last(self):
        _, calls = self.run(self.LOSSES)
        assert_equal([i - len(calls) for i, call in enumerate(calls) if call.endswith(" test")], [-1])

    def test_of_equal_losses_the_first_wins(self):
        got, _ = self.run({"c": (2.0, 7.0), "a": (1.0, 5.0), "b": (1.0, 3.0)})
        assert_equal(got, ("a", 1.0, 5.0))

    @pytest.mark.parametrize("order", ["nab", "anb", "abn"])
    def test_nan_never_wins(self, order):
        losses = {"n": (math.nan, 0.0), "a": (4.0, 5.0), "b": (math.inf, 1.0)}
        got, _ = self.run({name: losses[name] for name in order})
        assert_equal(got, ("a", 4.0, 5.0))

    def test_an_infinite_loss_may_win_against_nan(self):
        got, _ = self.run({"n": (math.nan, 0.0), "b": (math.inf, 1.0)})
        assert_equal(got, ("b", math.inf, 1.0))

    def test_settings_may_be_anything(self):
        trial = Trial({"{}": (1.0, 2.0), "None": (0.5, 3.0)})
        got = select_and_test(lambda s, d: trial.fit(str(s), d), [{}, None], "train", "validation", "test")
        assert_equal(got, (None, 0.5, 3.0))

    @pytest.mark.parametrize("losses", [{}, {"a": (math.nan, 1.0)}])
    def test_rejects_no_loss(self, losses):
        with raises(ValueError):
            self.run(losses)


class TestCohenKappa:
    def test_the_example_worked_by_hand(self):
        first = ["yes"] * 5 + ["no"] * 5
        second = ["yes"] * 4 + ["no"] + ["yes"] * 2 + ["no"] * 3
        assert_close(cohen_kappa(first, second), 0.4)

    @pytest.mark.parametrize(("n", "labels"), [(30, [4, -1]), (50, ["good", "bad", "ugly"]), (200, list(range(7)))])
    def test_matches_scikit_learn(self, rng, n, labels):
        from sklearn.metrics import cohen_kappa_score

        first = rng.choice(labels, n)
        second = np.where(rng.random(n) < 0.4, first, rng.choice(labels, n))
        first[0], second[0] = labels[0], labels[1]
        assert_close(cohen_kappa(first.tolist(), second.tolist()), float(cohen_kappa_score(first, second)))

    def test_a_label_that_only_one_uses(self):
        # p_o = ½, p_e = ¾ · ½.
        assert_close(cohen_kappa(list("aaab"), list("aacc")), (0.5 - 0.375) / 0.625)

    def test_less_than_chance_is_negative(self):
        assert_close(cohen_kappa([0, 1, 0, 1], [1, 0, 1, 0]), -1.0)

    def test_labels_of_mixed_kinds(self):
        labels = ["a", None, 3, (1, 2), "a"]
        assert_close(cohen_kappa(labels, labels), 1.0)

    def test_1_and_its_text_are_two_labels(self):
        assert_close(cohen_kappa([1, "1", 1, "1"], ["1", 1, "1", 1]), -1.0)

    @pytest.mark.parametrize("label", ["x", 0])
    def test_nan_where_chance_explains_all(self, label):
        assert_close(cohen_kappa([label] * 3, [label] * 3), math.nan)

    def test_two_raters_with_one_label_each(self):
        assert_close(cohen_kappa(["a", "a"], ["b", "b"]), 0.0)

    @pytest.mark.parametrize(("first", "second"), [([1, 2, 3], [1, 2]), ([1], [1, 2, 1, 2])])
    def test_rejects_two_lengths(self, first, second):
        with raises(ValueError, len(first), len(second)):
            cohen_kappa(first, second)

    def test_rejects_no_items(self):
        with raises(ValueError):
            cohen_kappa([], [])


class TestFleissKappa:
    def test_the_example_worked_by_hand(self):
        assert_close(fleiss_kappa(np.array([[3, 0], [2, 1], [0, 3]])), 0.55)

    def test_the_textbooks_0_210(self):
        assert_close(fleiss_kappa(TEXTBOOK), 0.210, atol=5e-4, rtol=0)  # printed with three digits

    @pytest.mark.parametrize(("items", "raters", "labels"), [(7, 2, 3), (12, 5, 2), (4, 3, 6)])
    def test_matches_pairs_of_ratings(self, rng, items, raters, labels):
        ratings = rng.integers(0, labels, (items, raters))
        ratings[0] = np.arange(raters) % 2  # not all alike
        table = np.array([[int((row == label).sum()) for label in range(labels)] for row in ratings])
        pairs = [a == b for row in ratings.tolist() for a, b in itertools.combinations(row, 2)]
        shares = Counter(ratings.ravel().tolist())
        by_chance = sum((count / ratings.size) ** 2 for count in shares.values())
        expected = (sum(pairs) / len(pairs) - by_chance) / (1 - by_chance)
        assert_close(fleiss_kappa(table), expected)

    def test_of_two_raters_it_is_not_cohens(self):
        # The raters' own shares differ: Cohen has p_e = 0.5, Fleiss 0.55² + 0.45² = 0.505.
        table = np.array([[2, 0]] * 4 + [[1, 1]] * 3 + [[0, 2]] * 3)
        assert_close(fleiss_kappa(table), (0.7 - 0.505) / 0.495)

    def test_small_integers_do_not_wrap_around(self):
        table = np.array([[120, 0], [60, 60], [0, 120]])
        assert_close(fleiss_kappa(table.astype(np.int8)), fleiss_kappa(table))

    def test_nan_where_chance_explains_all(self):
        assert_close(fleiss_kappa(np.array([[0, 4, 0], [0, 4, 0]])), math.nan)

    @pytest.mark.parametrize("row", [[3, 2], [1, 1]])
    def test_rejects_another_number_of_ratings(self, row):
        with raises(ValueError, min(4, sum(row)), max(4, sum(row))):
            fleiss_kappa(np.array([[4, 0], [2, 2], row]))

    def test_rejects_one_rating_an_item(self):
        with raises(ValueError, 1):
            fleiss_kappa(np.array([[1, 0], [0, 1]]))


def chance(theta):
    """P(i beats j) for all pairs."""
    return 1 / (1 + np.exp(theta[None, :] - theta[:, None]))


class TestBradleyTerry:
    def test_the_example_worked_by_hand(self):
        half = math.log(3) / 2
        assert_close(bradley_terry(np.array([[0, 3], [1, 0]])), np.array([half, -half]), atol=1e-6)

    @pytest.mark.parametrize("m", [3, 6])
    def test_expects_as_many_wins_as_there_were(self, rng, m):
        wins = rng.integers(1, 12, (m, m)).astype(float)
        wins[1, 2] += 0.5  # a draw
        wins[2, 1] += 0.5
        np.fill_diagonal(wins, 0)
        theta = bradley_terry(wins)
        # Where the likelihood is largest its gradient is 0: won less expected, player by player.
        expected = ((wins + wins.T) * chance(theta)).sum(axis=1)
        assert_close(expected, wins.sum(axis=1), atol=1e-3, rtol=0)  # θ to 1e-6, times up to some 100 games
        assert_close(float(theta.mean()), 0.0, atol=1e-6)

    @pytest.mark.parametrize("games", [[(9, 2), (1, 6)], [(7, 2), (7, 2)], [(9, 2), (1, 6), (30, 1)]])
    def test_a_chain_in_which_not_all_have_met(self, games):
        # 0 against 1, 1 against 2, …: each difference is the logarithm of won to lost.
        wins = np.zeros((len(games) + 1, len(games) + 1))
        for i, (won, lost) in enumerate(games):
            wins[i, i + 1], wins[i + 1, i] = won, lost
        steps = np.array([0.0, *(math.log(won / lost) for won, lost in games)]).cumsum()
        assert_close(bradley_terry(wins), steps.mean() - steps, atol=2e-6, rtol=0)

    def test_a_ring_in_which_each_beats_only_the_next(self):
        wins = np.roll(np.eye(5) * 3, 1, axis=1)
        assert_close(bradley_terry(wins), np.zeros(5), atol=1e-6)

    def test_a_hundred_games_to_one(self):
        wins = np.array([[0, 990, 200], [10, 0, 300], [200, 300, 0]])
        theta = bradley_terry(wins)
        expected = ((wins + wins.T) * chance(theta)).sum(axis=1)
        assert_close(expected, wins.sum(axis=1).astype(float), atol=5e-3, rtol=0)  # θ to 1e-6, of 1200 games

    def test_does_not_stop_while_one_player_stands_still(self):
        # The shares of wins are 0.8, 0.5, 0.3125: the first guess of the second player is the geometric mean.
        wins = np.array([[0.0, 4, 4], [1, 0, 7], [1, 4, 0]])
        theta = bradley_terry(wins)
        expected = ((wins + wins.T) * chance(theta)).sum(axis=1)
        assert_close(expected, wins.sum(axis=1), atol=1e-4, rtol=0)  # θ to 1e-6

    def test_finds_planted_strengths(self, rng):
        theta = np.array([0.9, -0.4, 0.2, -0.7])
        wins = np.zeros((4, 4))
        for i, j in itertools.combinations(range(4), 2):
            wins[i, j] = rng.binomial(3000, chance(theta)[i, j])
            wins[j, i] = 3000 - wins[i, j]
        # The deviation of an estimate is below 0.025.
        assert_close(bradley_terry(wins), theta, atol=0.14, rtol=0)

    @pytest.mark.parametrize(
        "wins",
        [
            [[0, 3], [0, 0]],  # never beaten
            [[0, 2, 0], [1, 0, 0], [0, 0, 0]],  # never played
            [[0, 2, 1, 0], [1, 0, 0, 4], [0, 0, 0, 2], [0, 0, 3, 0]],  # two who beat two others only
            [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],  # two worlds that never met
            [[0, 0, 0, 0], [5, 0, 2, 1], [3, 1, 0, 2], [1, 2, 2, 0]],  # never won
        ],
    )
    def test_rejects_games_without_a_finite_answer(self, wins):
        with raises(ValueError):
            bradley_terry(np.array(wins))

    def test_a_long_way_round_is_enough(self):
        # Whoever wants to come from the last to the first player passes all eleven others.
        wins = np.roll(np.eye(12), 1, axis=1)
        wins[0, 5] = 4
        wins[5, 0] = 4
        theta = bradley_terry(wins)
        expected = ((wins + wins.T) * chance(theta)).sum(axis=1)
        assert_close(expected, wins.sum(axis=1), atol=1e-4, rtol=0)  # θ to 1e-6


class TestEloRatings:
    def test_the_example_worked_by_hand(self):
        assert_close(elo_ratings([(0, 1, 1)], 2), np.array([1516.0, 1484.0]))
        got = elo_ratings([(0, 1, 1), (1, 0, 1)], 2)
        expected = 1 / (1 + 10 ** (32 / 400))
        gain = 32 * (1 - expected)
        assert_close(got, np.array([1516 - gain, 1484 + gain]))

    @pytest.mark.parametrize(("k", "start"), [(32.0, 1500.0), (10, 1200), (64.0, 0.0)])
    def test_matches_game_by_game(self, rng, k, start):
        games = []
        for _ in range(60):
            one, other = rng.choice(5, 2, replace=False).tolist()
            games.append((one, other, float(rng.choice([0, 0.5, 1]))))
        table = dict.fromkeys(range(5), start)
        for one, other, score in games:
            before = dict(table)
            wins = 10 ** (before[one] / 400) / (10 ** (before[one] / 400) + 10 ** (before[other] / 400))
            table[one] = before[one] + k * (score - wins)
            table[other] = before[other] + k * ((1 - score) - (1 - wins))
        assert_close(elo_ratings(games, 5, k, start), np.array(list(table.values()), dtype=float))

    def test_k_is_32_and_the_start_1500_unless_told(self):
        assert_close(elo_ratings([(2, 0, 0.5), (2, 0, 0)], 3), np.array([1516.0, 1500.0, 1484.0]))

    def test_what_one_gains_the_other_loses(self, rng):
        games = [(*rng.choice(4, 2, replace=False).tolist(), float(rng.random())) for _ in range(50)]
        assert_close(float(elo_ratings(games, 4, 40, 1000).sum()), 4000.0)

    def test_whole_numbers_are_not_cut(self):
        got = elo_ratings([(0, 1, 1), (0, 1, 1)], 2, 1, 100)
        second = 1 / (1 + 10 ** (1 / 400))
        assert_close(got, np.array([100.5 + second, 99.5 - second]))

    def test_the_order_matters(self):
        one, two = elo_ratings([(0, 1, 1), (1, 0, 1)], 2), elo_ratings([(1, 0, 1), (0, 1, 1)], 2)
        assert_close(one, two[::-1])
        assert one[0] < one[1]

    def test_no_games(self):
        assert_close(elo_ratings([], 3, 20, 800), np.full(3, 800.0))

    @pytest.mark.parametrize("score", [-0.5, 1.25, 2])
    def test_rejects_a_score_outside_0_to_1(self, score):
        with raises(ValueError, score):
            elo_ratings([(0, 1, 1), (1, 0, score)], 2)

    def test_rejects_a_game_against_oneself(self):
        with raises(ValueError, 2):
            elo_ratings([(0, 1, 1), (2, 2, 0.5)], 3)


class TestToElo:
    @pytest.mark.parametrize("center", [1500.0, 1000])
    def test_gives_elos_chances(self, rng, center):
        theta = rng.normal(size=5)
        ratings = to_elo(theta, center)
        expected = 1 / (1 + 10 ** ((ratings[None, :] - ratings[:, None]) / 400))
        assert_close(chance(theta), expected)
        assert_close(to_elo(np.zeros(2), center), np.full(2, float(center)))

    def test_ten_times_the_odds_are_400_points(self):
        assert_close(to_elo(np.array([0.0, math.log(10)])), np.array([1500.0, 1900.0]))

    def test_elo_comes_near_to_bradley_terry(self, rng):
        theta = np.array([0.8, 0.1, -0.9])
        games = []
        for _ in range(6000):
            one, other = rng.choice(3, 2, replace=False).tolist()
            games.append((one, other, float(rng.random() < chance(theta)[one, other])))
        # With K = 4 a rating wanders about its place with a deviation of some 20.
        assert_close(elo_ratings(games, 3, 4.0), to_elo(theta), atol=120, rtol=0)
