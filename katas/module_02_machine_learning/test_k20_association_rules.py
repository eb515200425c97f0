"""Judges k20_association_rules against counting all itemsets by brute force, with baskets that hypothesis finds."""

import random
from collections import Counter
from itertools import chain, combinations

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_02_machine_learning.k20_association_rules import (
    FPTree,
    apriori,
    association_rules,
    fp_growth,
    join_and_prune,
    rule_measures,
    support,
)

pytestmark = [from_scratch("pandas", "mlxtend"), pure()]

BASKETS = [["a", "b", "c"], ["b", "a"], ["d", "c", "a"], ["c", "b", "a"], ["d"]]


def sets(*texts):
    """Itemsets of letters."""
    return {frozenset(text) for text in texts}


def brute(transactions, min_count):
    """All itemsets and their counts, each basket's subsets one by one."""
    found = Counter()
    for basket in transactions:
        items = sorted(set(basket))
        for subset in chain.from_iterable(combinations(items, size) for size in range(1, len(items) + 1)):
            found[frozenset(subset)] += 1
    return {items: count for items, count in found.items() if count >= min_count}


def named(counts):
    """The same with texts for itemsets, in some fixed order, so that a difference can be read."""
    assert all(isinstance(items, frozenset) for items in counts)
    return dict(sorted((" ".join(map(str, sorted(items))), count) for items, count in counts.items()))


def random_baskets(rng, n, items, share=0.4, names="abcdefghijkl"):
    """n baskets of some of the first `items` letters; early letters are more frequent."""
    odds = share * np.linspace(1.6, 0.4, items)
    return [[names[i] for i in rng.permutation(np.flatnonzero(rng.random(items) < odds))] for _ in range(n)]


def on_many_baskets(check):
    """Let hypothesis look for baskets and a smallest count that `check` fails on."""
    from hypothesis import HealthCheck, given, seed, settings
    from hypothesis import strategies as st

    baskets = st.lists(st.lists(st.integers(3, 9), max_size=6), max_size=12)
    quiet = settings(deadline=None, max_examples=25, database=None, suppress_health_check=list(HealthCheck))
    seed(random.getrandbits(32))(quiet(given(baskets, st.integers(1, 4))(lambda b, m: check(b, m))))()


class TestSupport:
    @pytest.mark.parametrize(
        ("items", "expected"), [("a", 0.8), ("ab", 0.6), ("cab", 0.4), ("ad", 0.2), ("bd", 0.0), ("x", 0.0), ("", 1.0)]
    )
    def test_the_example_worked_by_hand(self, items, expected):
        assert_close(support(BASKETS, items), expected)

    def test_an_item_twice_counts_once(self):
        assert_close(support([[1, 1, 2], [2, 2], [3]], [2, 2]), 2 / 3)

    def test_of_sets_and_tuples(self):
        assert_close(support([{7, 8}, (8, 9), frozenset([7])], {7}), 2 / 3)

    def test_items_may_be_an_iterator(self):
        assert_close(support(BASKETS, iter("ab")), 0.6)

    def test_rejects_no_baskets(self):
        with raises(ValueError, "transactions"):
            support([], ["a"])


class TestRuleMeasures:
    def test_the_example_worked_by_hand(self):
        expected = {"support": 0.6, "confidence": 0.75, "lift": 1.25, "leverage": 0.12, "conviction": 1.6}
        assert_close(rule_measures(BASKETS, ["a"], ["b"]), expected)

    def test_a_rule_that_never_fails(self):
        expected = {"support": 0.6, "confidence": 1.0, "lift": 1.25, "leverage": 0.12, "conviction": np.inf}
        assert_close(rule_measures(BASKETS, ["b"], ["a"]), expected)

    def test_what_everybody_buys(self):
        expected = {"support": 0.5, "confidence": 1.0, "lift": 1.0, "leverage": 0.0, "conviction": np.inf}
        assert_close(rule_measures([[1, 2], [2]], [1], [2]), expected)

    @pytest.mark.parametrize(("left", "right"), [("ab", "c"), ("d", "ac"), ("b", "d")])
    def test_follows_from_the_counts(self, left, right, rng):
        baskets = [*random_baskets(rng, 30, 5), list("abcd"), list(left), list(right), []]
        p, q, both = (sum(set(part) <= set(b) for b in baskets) / len(baskets) for part in (left, right, left + right))
        expected = {
            "support": both,
            "confidence": both / p,
            "lift": both / (p * q),
            "leverage": both - p * q,
            "conviction": p * (1 - q) / (p - both),
        }
        assert_close(rule_measures(baskets, list(left), list(right)), expected)

    def test_sides_may_be_iterators(self):
        expected = {"support": 0.6, "confidence": 0.75, "lift": 1.25, "leverage": 0.12, "conviction": 1.6}
        assert_close(rule_measures(BASKETS, iter("a"), iter("b")), expected)

    def test_never_together(self):
        expected = {"support": 0.0, "confidence": 0.0, "lift": 0.0, "leverage": -0.25, "conviction": 0.5}
        assert_close(rule_measures([[1], [2]], [1], [2]), expected)

    @pytest.mark.parametrize(("left", "right", "word"), [("x", "a", "left"), ("a", "x", "right"), ("bd", "a", "left")])
    def test_rejects_what_nobody_buys(self, left, right, word):
        with raises(ValueError, word):
            rule_measures(BASKETS, left, right)

    def test_rejects_an_item_on_both_sides(self):
        with raises(ValueError, 17):
            rule_measures([[1, 17], [17]], [1, 17], [17])


class TestJoinAndPrune:
    @pytest.mark.parametrize(
        ("frequent", "expected"),
        [
            (["ab", "ac", "bc"], ["abc"]),
            (["ab", "ac"], []),
            (["ab", "bc"], []),
            (["ab", "cd"], []),
            (["a", "d", "b"], ["ab", "ad", "bd"]),
            (["abc", "abd", "acd", "bcd", "bce"], ["abcd"]),
            (["abc", "abd", "acd"], []),
            (["abc", "abd", "bcd"], []),
            (["a"], []),
            ([], []),
        ],
    )
    def test_the_example_worked_by_hand(self, frequent, expected):
        assert_equal(join_and_prune(sets(*frequent)), sets(*expected))

    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_all_parts_are_frequent(self, k, rng):
        every = [frozenset(items) for items in combinations([12, 5, 30, 7, 100, 2], k)]
        known = {every[i] for i in np.flatnonzero(rng.random(len(every)) < 0.8)}
        bigger = (frozenset(items) for items in combinations([12, 5, 30, 7, 100, 2], k + 1))
        expected = {items for items in bigger if all(frozenset(part) in known for part in combinations(items, k))}
        assert_equal(join_and_prune(known), expected)

    def test_sets_whose_own_order_is_not_sorted(self, rng):
        # Hashes of multiples of 8 collide: a set keeps them in the order in which they came.
        items = [0, 8, 16, 24, 32]
        known = {frozenset(rng.permutation(pair).tolist()) for pair in combinations(items, 2)}
        assert_equal(join_and_prune(known), {frozenset(three) for three in combinations(items, 3)})

    def test_thousands_that_do_not_join(self):
        few, many = (sets(*[f"{chr(1000 + 2 * i)}{chr(1001 + 2 * i)}" for i in range(n)]) for n in (100, 1000))
        assert_equal(join_and_prune(many), set())
        short, long = python_steps(join_and_prune, few), python_steps(join_and_prune, many)
        if long > 30 * short:
            fail(
                "ten times the itemsets cost a hundred times the work; join only those with the same beginning",
                evidence="all unions",
            )


class TestApriori:
    @pytest.mark.parametrize("min_count", [1, 2, 3, 5])
    def test_the_example_worked_by_hand(self, min_count):
        counts = {"a": 4, "b": 3, "c": 3, "d": 2, "ab": 3, "ac": 3, "bc": 2, "abc": 2, "ad": 1, "cd": 1, "acd": 1}
        expected = {frozenset(items): count for items, count in counts.items() if count >= min_count}
        assert_equal(named(apriori(BASKETS, min_count)), named(expected))

    @pytest.mark.parametrize(("n", "items", "min_count"), [(40, 7, 5), (25, 9, 2), (60, 5, 30)])
    def test_matches_brute_force(self, n, items, min_count, rng):
        baskets = random_baskets(rng, n, items)
        assert_equal(named(apriori(baskets, min_count)), named(brute(baskets, min_count)))

    def test_on_baskets_that_hypothesis_finds(self):
        on_many_baskets(lambda baskets, m: assert_equal(named(apriori(baskets, m)), named(brute(baskets, m))))

    @pytest.mark.parametrize("baskets", [[], [[], []]])
    def test_nothing_bought(self, baskets):
        assert_equal(apriori(baskets, 1), {})

    @pytest.mark.parametrize("min_count", [0, -3])
    def test_rejects_a_smallest_count_below_one(self, min_count):
        with raises(ValueError, min_count):
            apriori(BASKETS, min_count)


def paths(tree, item):
    """The prefix paths in some fixed order; paths that are alike are added up."""
    total = Counter()
    for path, count in tree.prefix_paths(item):
        total[tuple(path)] += count
    return dict(total)


class TestFPTree:
    def test_the_drawing(self):
        tree = FPTree([(basket, 1) for basket in BASKETS], 2)
        assert_equal(dict(tree.counts), {"a": 4, "b": 3, "c": 3, "d": 2})
        assert_equal(tree.nodes, 6)
        assert_equal(paths(tree, "c"), {("a", "b"): 2, ("a",): 1})
        assert_equal(paths(tree, "b"), {("a",): 3})
        assert_equal(paths(tree, "d"), {("a", "c"): 1})
        assert_equal(paths(tree, "a"), {})

    def test_rare_items_are_left_out(self):
        tree = FPTree([(basket, 1) for basket in BASKETS], 3)
        assert_equal(dict(tree.counts), {"a": 4, "b": 3, "c": 3})
        assert_equal(tree.nodes, 4)

    def test_baskets_that_occur_more_than_once(self):
        tree = FPTree([([1, 2], 3), ([2], 2), ([3, 1, 3], 4), ([5], 6)], 5)
        assert_equal(dict(tree.counts), {5: 6, 1: 7, 2: 5})
        assert_equal(paths(tree, 2), {(1,): 3})
        assert_equal(tree.nodes, 4)

    def test_the_smaller_item_first_at_a_tie(self):
        # Neither the order of the baskets nor that of Python's sets has 1 before 8.
        tree = FPTree([([8, 1], 1), ([8, 1], 1), ([64], 2)], 2)
        assert_equal(paths(tree, 8), {(1,): 2})
        assert_equal(paths(tree, 1), {})
        assert_equal(tree.nodes, 3)

    def test_the_larger_count_first(self):
        tree = FPTree([(["a", "z"], 2), (["z"], 1), (["a", "m", "z"], 2)], 2)
        assert_equal(paths(tree, "a"), {("z",): 4})
        assert_equal(paths(tree, "m"), {("z", "a"): 2})

    @pytest.mark.parametrize(("n", "items", "min_count"), [(60, 8, 6), (30, 5, 1)])
    def test_holds_every_basket(self, n, items, min_count, rng):
        baskets = random_baskets(rng, n, items)
        tree = FPTree([(basket, 2) for basket in baskets], 2 * min_count)
        singles = {min(s): 2 * c for s, c in brute(baskets, min_count).items() if len(s) == 1}
        assert_equal(dict(tree.counts), singles)
        order = sorted(singles, key=lambda item: (-singles[item], item))
        written = [tuple(item for item in order if item in basket) for basket in baskets]
        assert_equal(tree.nodes, len({path[:i] for path in written for i in range(1, len(path) + 1)}))
        for item in order:
            expected = Counter()
            for path in written:
                if item in path and path.index(item) > 0:
                    expected[path[: path.index(item)]] += 2
            assert_equal(paths(tree, item), dict(expected))

    def test_baskets_may_be_an_iterator(self):
        tree = FPTree(iter([(["a", "b"], 2), (["a"], 1)]), 2)
        assert_equal((dict(tree.counts), tree.nodes), ({"a": 3, "b": 2}, 2))

    def test_two_trees_know_nothing_of_each_other(self):
        one = FPTree([(["a", "b"], 2)], 1)
        FPTree([(["a", "c"], 5)], 1)
        assert_equal(dict(one.counts), {"a": 2, "b": 2})
        assert_equal(paths(one, "b"), {("a",): 2})

    def test_a_basket_of_thousands_of_items(self):
        tree = FPTree([(range(3000), 2)], 2)
        assert_equal(tree.nodes, 3000)
        assert_equal(paths(tree, 2999), {tuple(range(2999)): 2})

    def test_nothing_bought(self):
        tree = FPTree([([], 3)], 1)
        assert_equal((dict(tree.counts), tree.nodes), ({}, 0))


class Counted(list):
    """Baskets that count how often one goes over them."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return super().__iter__()


class TestFpGrowth:
    @pytest.mark.parametrize("min_count", [1, 2, 3, 5])
    def test_the_example_worked_by_hand(self, min_count):
        counts = {"a": 4, "b": 3, "c": 3, "d": 2, "ab": 3, "ac": 3, "bc": 2, "abc": 2, "ad": 1, "cd": 1, "acd": 1}
        expected = {frozenset(items): count for items, count in counts.items() if count >= min_count}
        assert_equal(named(fp_growth(BASKETS, min_count)), named(expected))

    @pytest.mark.parametrize(("n", "items", "min_count"), [(40, 7, 5), (25, 9, 2), (200, 11, 25)])
    def test_matches_brute_force(self, n, items, min_count, rng):
        baskets = random_baskets(rng, n, items)
        assert_equal(named(fp_growth(baskets, min_count)), named(brute(baskets, min_count)))

    def test_on_baskets_that_hypothesis_finds(self):
        on_many_baskets(lambda baskets, m: assert_equal(named(fp_growth(baskets, m)), named(brute(baskets, m))))

    def test_goes_over_the_baskets_twice_at_most(self, rng):
        baskets = Counted(random_baskets(rng, 30, 7, 0.5))
        fp_growth(baskets, 2)
        if baskets.passes > 2:
            fail(
                f"it goes over the transactions {baskets.passes} times; the tree needs two passes",
                evidence=baskets.passes,
            )

    def test_beats_apriori_on_5000_baskets(self, rng):
        odds = np.full(40, 0.06)
        baskets = [np.flatnonzero(rng.random(40) < odds).tolist() for _ in range(5000)]
        frequent = sum(count >= 200 for count in Counter(chain.from_iterable(baskets)).values())
        compared = 5000 * frequent * (frequent - 1) // 2  # Apriori's pairs alone
        lines = python_steps(fp_growth, baskets, 200)
        if lines > compared:
            fail(f"it runs {lines} lines; Apriori compares pairs with baskets {compared} times", evidence="slow")

    @pytest.mark.parametrize("baskets", [[], [[], []]])
    def test_nothing_bought(self, baskets):
        assert_equal(fp_growth(baskets, 1), {})

    @pytest.mark.parametrize("min_count", [0, -3])
    def test_rejects_a_smallest_count_below_one(self, min_count):
        with raises(ValueError, min_count):
            fp_growth(BASKETS, min_count)


def readable(rules):
    """Rules with texts for itemsets, so that a difference can be read."""
    return {
        " ".join(map(str, sorted(a))) + " > " + " ".join(map(str, sorted(b))): tuple(r) for (a, b), r in rules.items()
    }


class TestAssociationRules:
    def test_the_example_worked_by_hand(self):
        rules = readable(association_rules(brute(BASKETS, 2), 5, 0.7))
        expected = {
            "a > b": (0.6, 0.75, 1.25),
            "a > c": (0.6, 0.75, 1.25),
            "b > a": (0.6, 1.0, 1.25),
            "c > a": (0.6, 1.0, 1.25),
            "b c > a": (0.4, 1.0, 1.25),
        }
        assert_equal(set(rules), set(expected))
        assert_close(rules, expected)

    def test_exactly_the_smallest_confidence_is_enough(self):
        rules = association_rules(brute(BASKETS, 2), 5, 0.75)
        assert_equal(set(readable(rules)), {"a > b", "a > c", "b > a", "c > a", "b c > a"})
        assert_equal(set(readable(association_rules(brute(BASKETS, 2), 5, 0.751))), {"b > a", "c > a", "b c > a"})

    @pytest.mark.parametrize("min_confidence", [0.0, 0.3, 0.8])
    @pytest.mark.parametrize(("n", "items", "min_count"), [(40, 6, 3), (30, 4, 1)])
    def test_matches_every_split_of_every_itemset(self, n, items, min_count, min_confidence, rng):
        baskets = random_baskets(rng, n, items, 0.5)
        counts = brute(baskets, min_count)
        expected = {}
        for left in counts:
            for right in counts:
                if not left & right and left | right in counts:
                    confidence = counts[left | right] / counts[left]
                    if confidence >= min_confidence:
                        lift = confidence / (counts[right] / n)
                        expected[left, right] = (counts[left | right] / n, confidence, lift)
        rules = association_rules(counts, n, min_confidence)
        assert_equal(set(readable(rules)), set(readable(expected)))
        assert_close(readable(rules), readable(expected))

    def test_the_confidence_is_the_quotient_of_the_counts(self):
        # (4/7)/(5/7) is below 4/5 by rounding.
        counts = {frozenset("a"): 5, frozenset("b"): 5, frozenset("ab"): 4}
        assert_equal(set(readable(association_rules(counts, 7, 4 / 5))), {"a > b", "b > a"})

    def test_single_items_make_no_rule(self):
        assert_equal(association_rules({frozenset("a"): 4, frozenset("b"): 2}, 5, 0.0), {})
        assert_equal(association_rules({}, 5, 0.0), {})
