"""Judges k11_deduplication by brute force, by the S-curve, and on film reviews with planted copies."""

import random
from itertools import combinations

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_06_tokenization.k11_deduplication import (
    candidate_pairs,
    clusters,
    deduplicate,
    exact_duplicates,
    jaccard,
    match_probability,
    minhash,
    shingles,
)

pytestmark = [from_scratch("scipy"), pure()]


def two_sets(shared: int, alone: int) -> tuple[set[str], set[str]]:
    """Sets with `shared` members in common and `alone` more each: J = shared / (shared + 2·alone)."""
    words = [f"word {random.random()}" for _ in range(shared + 2 * alone)]
    return set(words[: shared + alone]), set(words[:shared] + words[shared + alone :])


def agreement(a: set[str], b: set[str], hashes: int, seed: int) -> float:
    return float((minhash(a, hashes, seed) == minhash(b, hashes, seed)).mean())


class TestExactDuplicates:
    def test_later_copies_are_dropped(self):
        texts = ["To be", "or not", "To be", "that is", "or not", "To be"]
        assert_equal(exact_duplicates(texts), [2, 4, 5])

    def test_case_and_white_space_do_not_count(self):
        assert_equal(exact_duplicates(["To be,\tor", " to  BE, or\n", "tobe, or", "to be or"]), [1])

    def test_lower_case_is_no_other_spelling(self):
        assert_equal(exact_duplicates(["Straße", "strasse", "STRASSE", "straße"]), [2, 3])

    def test_nothing_to_drop(self):
        assert_equal(exact_duplicates([]), [])
        assert_equal(exact_duplicates(["a b", "b a"]), [])


class TestShingles:
    def test_the_example_worked_by_hand(self):
        assert_equal(shingles("the cat sat down", 2), {"the cat", "cat sat", "sat down"})

    def test_runs_of_other_lengths(self):
        assert_equal(shingles("A rose  is a\nROSE", 1), {"a", "rose", "is"})
        assert_equal(shingles("A rose  is a\nROSE", 3), {"a rose is", "rose is a", "is a rose"})

    def test_lower_case_is_no_other_spelling(self):
        assert_equal(shingles("Straße ist", 1), {"straße", "ist"})

    def test_short_texts(self):
        assert_equal(shingles("Good night", 3), {"good night"})
        assert_equal(shingles("one two three", 3), {"one two three"})
        assert_equal(shingles(" \n", 3), set())


class TestJaccard:
    def test_the_example_worked_by_hand(self):
        assert_close(jaccard(shingles("the cat sat down", 2), shingles("the cat sat up", 2)), 0.5)

    @pytest.mark.parametrize(("shared", "alone"), [(3, 1), (1, 4), (0, 5), (6, 0)])
    def test_shared_over_all(self, shared, alone):
        a, b = two_sets(shared, alone)
        assert_close(jaccard(a, b), shared / (shared + 2 * alone))

    def test_of_a_set_and_a_larger_one(self):
        assert_close(jaccard(set("ab"), set("abcde")), 0.4)
        assert_close(jaccard(set("abcde"), set("ab")), 0.4)

    def test_empty_sets(self):
        assert_close(jaccard(set(), set()), 1.0)
        assert_close(jaccard(set(), {"a"}), 0.0)
        assert_close(jaccard({"a"}, set()), 0.0)


class TestMinhash:
    @pytest.mark.parametrize(("shared", "alone"), [(10, 0), (30, 5), (20, 20), (6, 47), (2, 1), (0, 30)])
    def test_places_agree_as_often_as_the_sets_are_alike(self, shared, alone):
        a, b = two_sets(shared, alone)
        k = 3000
        j = shared / (shared + 2 * alone)
        found = agreement(a, b, k, seed=11)
        if found in (0, 1) and 0 < j < 1:
            fail(f"The sets are {j:.2f} alike, but all or none of {k} places agree: the functions aren't independent.", evidence=("one function",))
        # Six standard deviations of k independent places.
        assert_close(found, j, atol=6 * (j * (1 - j) / k) ** 0.5 + 1e-9, rtol=0)

    def test_the_functions_are_independent_of_each_other(self):
        # Were neighbours alike, the spread of the estimate would be wider than √(J(1-J)/k).
        a, b = two_sets(20, 10)
        estimates = [agreement(a, b, 64, seed) for seed in range(150)]
        if set(estimates) <= {0.0, 1.0}:
            fail("All of 64 places agree or none does: the functions aren't independent.", evidence=("one function",))
        spread = (0.25 / 64) ** 0.5
        assert_close(float(np.mean(estimates)), 0.5, atol=6 * spread / 150**0.5, rtol=0)
        # The standard deviation of 150 draws is known to 6 %: 1.5 is over eight of that.
        assert_close(float(np.std(estimates)), spread, atol=0.5 * spread, rtol=0)

    @pytest.mark.parametrize("hashes", [1, 20])
    def test_one_number_for_each_function(self, hashes):
        signature = minhash({"a b", "b c"}, hashes, 0)
        assert_equal(signature.dtype == np.uint64, True)
        assert_equal(signature.shape, (hashes,))
        assert_equal(len(set(signature.tolist())), hashes)

    def test_the_smallest_over_the_members(self):
        words = [f"w{i}" for i in range(9)]
        alone = np.stack([minhash({word}, 16, 5) for word in words])
        assert_close(minhash(set(words), 16, 5), alone.min(0))

    def test_a_seed_gives_functions_of_its_own(self):
        one, again, other = (minhash({"x", "y"}, 32, seed) for seed in (1, 1, 2))
        assert_close(one, again)
        if (one == other).any():
            fail("Seeds 1 and 2 give the same functions.", evidence=("seed",))

    def test_the_same_in_another_process(self, monkeypatch):
        import builtins

        items = {"a b", "b c", "ä"}
        here = minhash(items, 5, 3)
        # Another process salts Python's hash of a string with another number.
        salted = builtins.hash
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(builtins, "hash", lambda x: salted(x) ^ 0x5EED)
            there = minhash(items, 5, 3)
        if (there != here).any():
            fail("Where Python salts its hash otherwise, as each process does, the signature differs.", evidence=("process",))

    def test_an_empty_set_is_refused(self):
        with raises(ValueError, "empty"):
            minhash(set(), 8, 0)


class TestCandidatePairs:
    def test_all_rows_of_one_band(self):
        signatures = np.array([[1, 2, 3, 4], [1, 2, 9, 9], [7, 7, 3, 4], [1, 5, 3, 6], [2, 1, 4, 3]], dtype=np.uint64)
        assert_equal(candidate_pairs(signatures, 2), {(0, 1), (0, 2)})
        assert_equal(candidate_pairs(signatures, 1), set())
        assert_equal(candidate_pairs(signatures, 4), {(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)})

    @pytest.mark.parametrize(("bands", "rows"), [(3, 2), (2, 5), (6, 1)])
    def test_matches_comparing_every_pair(self, rng, bands, rows):
        signatures = rng.integers(0, 3, (30, bands * rows)).astype(np.uint64)
        cut = signatures.reshape(30, bands, rows)
        expected = {(i, j) for i, j in combinations(range(30), 2) if (cut[i] == cut[j]).all(1).any()}
        assert_equal(candidate_pairs(signatures, bands), expected)

    def test_equal_values_in_different_bands_are_no_match(self):
        assert_equal(candidate_pairs(np.array([[1, 2, 3, 4], [3, 4, 1, 2]], dtype=np.uint64), 2), set())

    def test_pairs_are_not_all_compared(self, rng):
        few, many = (rng.integers(0, 2**60, (n, 8)).astype(np.uint64) for n in (300, 1200))
        small, large = (python_steps(candidate_pairs, s, 4) for s in (few, many))
        if large > 6 * small:
            fail(f"4 times the signatures take {large / small:.0f} times the steps: look them up, don't compare pairs.", evidence=("quadratic",))

    @pytest.mark.parametrize("bands", [3, 16])
    def test_bands_that_do_not_fit_are_refused(self, bands):
        with raises(ValueError, 8, bands):
            candidate_pairs(np.zeros((2, 8), dtype=np.uint64), bands)


class TestMatchProbability:
    def test_the_example_worked_by_hand(self):
        assert_close(match_probability(0.8, 20, 5), 0.99964, atol=1e-5, rtol=0)  # the lesson rounds to 5 digits

    @pytest.mark.parametrize(("s", "b", "r"), [(0.3, 4, 3), (0.7, 10, 2), (0.0, 5, 5), (1.0, 5, 5)])
    def test_matches_counting_every_outcome(self, s, b, r):
        # A band agrees with p; none of b bands does with (1 - p)ᵇ.
        none = 1.0
        for _ in range(b):
            none *= 1 - np.prod([s] * r)
        assert_close(match_probability(s, b, r), float(1 - none))

    @pytest.mark.parametrize(("s", "bands", "rows"), [(0.6, 4, 3), (0.8, 3, 6), (0.35, 8, 2)])
    def test_candidates_follow_the_curve(self, rng, s, bands, rows):
        n, k = 2500, bands * rows
        first = rng.integers(0, 2**60, (n, k))
        second = np.where(rng.random((n, k)) < s, first, rng.integers(0, 2**60, (n, k)))
        found = candidate_pairs(np.concatenate([first, second]).astype(np.uint64), bands)
        p = match_probability(s, bands, rows)
        assert_close(len(found) / n, p, atol=6 * (p * (1 - p) / n) ** 0.5, rtol=0)  # six standard deviations


class TestClusters:
    def test_pairs_chain_up(self):
        assert_equal(clusters(7, [(5, 1), (1, 3), (6, 2)]), [[0], [1, 3, 5], [2, 6], [4]])

    @pytest.mark.parametrize("step", [1, -1])
    def test_a_long_chain_needs_no_recursion(self, step):
        n = 3000
        pairs = [(i, i + 1) for i in range(n - 1)][::step]
        assert_equal(clusters(n, pairs), [list(range(n))])
        assert_equal(clusters(n, [(j, i) for i, j in pairs]), [list(range(n))])

    def test_pairs_twice_and_with_oneself(self):
        assert_equal(clusters(4, [(2, 1), (1, 2), (2, 1), (3, 3), (2, 2)]), [[0], [1, 2], [3]])

    @pytest.mark.parametrize(("n", "m"), [(30, 12), (30, 25), (30, 60), (8, 0)])
    def test_matches_scipys_components(self, rng, n, m):
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        pairs = [(int(i), int(j)) for i, j in rng.integers(0, n, (m, 2))]
        i, j = np.array(pairs, dtype=int).reshape(-1, 2).T
        _, label = connected_components(coo_array((np.ones(m), (i, j)), shape=(n, n)), directed=False)
        groups = {}
        for member, group in enumerate(label.tolist()):
            groups.setdefault(group, []).append(member)
        assert_equal(clusters(n, iter(pairs)), sorted(groups.values()))


class TestDeduplicate:
    def near(self, text: str, changed: int) -> str:
        """`text` with `changed` of its words made others."""
        words = text.split()
        for i in random.sample(range(len(words)), changed):
            words[i] = f"x{random.random()}"
        return " ".join(words)

    def test_copies_planted_in_reviews_are_found(self, reviews):
        texts, _ = reviews
        originals = list(dict.fromkeys(text for text in texts if 22 <= len(text.split()) <= 60))[:150]
        corpus = originals + [self.near(text, 1) for text in originals[:60]]
        # One word of 22 or more changes at most 3 of its 20 shingles on each side: J ≥ 17/23 = 0.74, or more for
        # a word at the edge; 64 bands of 2 rows miss such a pair less than once in 10²⁰ times.
        kept = deduplicate(corpus, threshold=0.6, bands=64)
        lost, copies = set(range(150)) - set(kept), set(kept) - set(range(150))
        if lost or copies:
            message = f"Of 150 different reviews {len(lost)} are dropped, and of 60 copies {len(copies)} are kept."
            fail(message, evidence=(bool(lost), bool(copies)))
        assert_equal(kept, list(range(150)))

    def test_candidates_are_not_yet_copies(self):
        a = " ".join(f"w{i}" for i in range(40))
        b = " ".join([f"w{i}" for i in range(6)] + [f"v{i}" for i in range(34)])  # 4 of 72 shingles
        assert_equal(deduplicate([a, b], threshold=0.2, hashes=1024, bands=1024), [0, 1])

    def test_texts_below_the_threshold_stay(self):
        base = " ".join(f"w{i}" for i in range(42))
        other = " ".join([f"w{i}" for i in range(22)] + [f"v{i}" for i in range(20)])  # 20 of 60 shingles: J = 1/3
        assert_equal(deduplicate([base, other], threshold=1 / 3 + 0.01, hashes=128, bands=128), [0, 1])
        assert_equal(deduplicate([base, other], threshold=1 / 3, hashes=128, bands=128), [0])

    def test_a_chain_of_copies_keeps_its_first(self):
        words = [f"w{i}" for i in range(30)]
        chain = [" ".join(words[i : i + 20]) for i in (0, 2, 4, 6, 8)]  # neighbours: 16 of 20 shingles, the ends 10 of 26
        assert_equal(deduplicate(["first of all", *chain], threshold=0.7), [0, 1])

    def test_bands_and_hashes_decide_who_is_compared(self):
        words = [f"w{i}" for i in range(60)]
        pair = [" ".join(words[:40]), " ".join(words[20:])]  # 18 of 58 shingles: J = 0.31
        kept = {bands: [len(deduplicate(pair, 0.3, hashes=64, bands=bands, seed=s)) for s in range(8)] for bands in (1, 64)}
        # 64 rows in one band agree once in 10³² times; 64 bands of one row all miss once in 10¹⁰ times.
        assert_equal(kept, {1: [2] * 8, 64: [1] * 8})
        found = [len(deduplicate(pair, 0.3, hashes=1, bands=1, seed=s)) == 1 for s in range(60)]
        assert_equal(1 <= sum(found) <= 38, True)  # of 60 draws at 0.31: 5 standard deviations on either side

    def test_the_length_of_shingles(self):
        a, b = "a b c d e f g h", "h g f e d c b a"
        assert_equal(deduplicate([a, b], threshold=0.9, n=1), [0])
        assert_equal(deduplicate([a, b], threshold=0.1, n=2), [0, 1])
        other = "a b c x d e f g h"  # n = 3: 4 of 9 shingles
        assert_equal(deduplicate([a, other], threshold=0.5, bands=128), [0, 1])
        assert_equal(deduplicate([a, other], threshold=0.44, bands=128), [0])

    def test_texts_without_words_are_kept(self):
        assert_equal(deduplicate(["", "one two three", " ", "ONE two  three"], threshold=1.0), [0, 1, 2])
        assert_equal(deduplicate(["", ""], threshold=0.5), [0, 1])
        assert_equal(deduplicate([], threshold=0.5), [])
