"""Judges k02_memory_hierarchy against brute force over bytes and reuse distances, and published formulae."""

from itertools import product
from math import gcd

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, pure, raises
from katas.module_08_efficient_computing.k02_memory_hierarchy import (
    bank_conflicts,
    cache_misses,
    coalesced_transactions,
    transpose_trace,
    traversal,
)

pytestmark = pure()

CACHES = [(64, 1, 4), (16, 4, 1), (32, 3, 2), (24, 5, 3), (8, 2, 5), (4, 1, 1)]  # line_bytes, sets, ways
SHAPES = [(6, 4), (5, 7), (3, 11), (1, 9), (9, 1)]
TILES = [(2, 3), (4, 2), (3, 5), (1, 4), (20, 30)]
ORDERS = [("row", (2, 3)), ("column", (4, 2)), *(("blocked", tile) for tile in TILES)]


def reuse_misses(addresses, line_bytes, sets, ways):
    """Mattson's rule: a hit is an access whose set saw fewer than `ways` other lines since the last time."""
    lines = [int(address) // line_bytes for address in addresses]
    missed = []
    for now, line in enumerate(lines):
        before = [t for t in range(now) if lines[t] == line]
        between = {x for x in lines[before[-1] + 1 : now] if x % sets == line % sets} if before else set()
        missed.append(not before or len(between) >= ways)
    return np.array(missed)


def visits(n, m, order, tile):
    """The places (i, j) in the order of the loop, by sorting."""
    keys = {
        "row": lambda place: place,
        "column": lambda place: place[::-1],
        "blocked": lambda place: (place[0] // tile[0], place[1] // tile[1], *place),
    }
    return sorted(product(range(n), range(m)), key=keys[order])


def count(addresses, line_bytes, sets, ways):
    """The learner's number of misses."""
    return int(np.sum(cache_misses(np.array(addresses, dtype=np.int64), line_bytes, sets, ways)))


class TestCacheMisses:
    def test_the_lru_example_worked_by_hand(self):
        lines = np.array([0, 1, 0, 2, 0, 1])
        expected = np.array([True, True, False, True, False, True])
        assert_close(cache_misses(lines * 16, 16, 1, 2), expected)

    def test_a_line_brings_its_neighbours(self):
        missed = cache_misses(np.array([100, 127, 96, 128, 95, 111]), 32, 1, 4)
        assert_close(missed, np.array([True, False, False, True, True, False]))

    @pytest.mark.parametrize(("line_bytes", "sets", "ways"), CACHES)
    @pytest.mark.parametrize("span", [100, 600])
    def test_random_accesses_follow_the_rule_of_reuse_distance(self, line_bytes, sets, ways, span, rng):
        addresses = 10_000 + rng.integers(0, span, size=300)
        expected = reuse_misses(addresses, line_bytes, sets, ways)
        assert_close(cache_misses(addresses, line_bytes, sets, ways), expected)

    @pytest.mark.parametrize("ways", [1, 2, 3, 7])
    def test_a_set_keeps_as_many_lines_as_it_has_ways(self, ways):
        loop = np.tile(np.arange(ways) * 64, 3)
        assert_equal(count(loop, 64, 1, ways), ways)
        longer = np.tile(np.arange(ways + 1) * 64, 3)
        assert_equal(count(longer, 64, 1, ways), 3 * (ways + 1))

    def test_lines_of_other_sets_do_no_harm(self):
        lines = np.array([5, 6, 7, 8, 5, 9, 5, 6])
        expected = np.array([True, True, True, True, False, True, True, False])
        assert_close(cache_misses(lines * 8, 8, 4, 1), expected)

    def test_far_addresses_and_a_single_access(self):
        assert_close(cache_misses(np.array([2**40]), 64, 8, 2), np.array([True]))
        far = 2**40 + np.array([0, 63, 64, 2**33, 0])
        assert_close(cache_misses(far, 64, 8, 2), np.array([True, False, True, True, False]))
        # Beyond 2⁵³ a quotient in floating point isn't the line's number.
        farther = 2**60 + np.array([0, 63, 64, 127, -1])
        assert_close(cache_misses(farther, 64, 8, 2), np.array([True, False, True, False, True]))


class TestTraversal:
    def test_the_example_worked_by_hand(self):
        assert_close(traversal(4, 4, "row")[:5], np.array([0, 8, 16, 24, 32]))
        assert_close(traversal(4, 4, "column")[:5], np.array([0, 32, 64, 96, 8]))
        assert_close(traversal(4, 4, "blocked", (2, 2))[:5], np.array([0, 8, 32, 40, 16]))

    @pytest.mark.parametrize(("n", "m"), SHAPES)
    @pytest.mark.parametrize(("order", "tile"), ORDERS)
    def test_visits_every_item_in_order(self, n, m, order, tile):
        for item_bytes in (4, 3):
            expected = [(i * m + j) * item_bytes for i, j in visits(n, m, order, tile)]
            assert_close(traversal(n, m, order, tile, item_bytes), np.array(expected))

    def test_tiles_are_8_by_8_and_items_8_bytes_unless_told(self):
        expected = np.array([(i * 21 + j) * 8 for i, j in visits(19, 21, "blocked", (8, 8))])
        assert_close(traversal(19, 21, "blocked"), expected)
        assert_close(traversal(19, 21, "blocked", item_bytes=2), expected // 4)
        assert_close(traversal(19, 21, "row", item_bytes=2), np.arange(19 * 21) * 2)

    def test_addresses_beyond_32_bits(self):
        addresses = traversal(2, 2, "row", item_bytes=2**30)
        assert_equal(addresses.dtype, np.dtype(np.int64))
        assert_close(addresses, np.array([0, 2**30, 2**31, 3 * 2**30]))

    @pytest.mark.parametrize("order", ["zigzag", "rows", "block", "Row"])
    def test_rejects_another_order(self, order):
        with raises(ValueError, order, "row", "column", "blocked"):
            traversal(3, 4, order)


class TestTransposeTrace:
    def test_a_small_one(self):
        expected = np.array([0, 48, 8, 64, 16, 80, 24, 56, 32, 72, 40, 88])
        assert_close(transpose_trace(2, 3, "row"), expected)

    @pytest.mark.parametrize(("n", "m"), SHAPES)
    @pytest.mark.parametrize(("order", "tile"), ORDERS)
    def test_reads_a_and_writes_b(self, n, m, order, tile):
        places = visits(n, m, order, tile)
        items = [x for i, j in places for x in (i * m + j, n * m + j * n + i)]
        for item_bytes in (4, 3):
            assert_close(transpose_trace(n, m, order, tile, item_bytes), np.array(items) * item_bytes)

    def test_tiles_are_8_by_8_and_items_8_bytes_unless_told(self):
        places = visits(19, 21, "blocked", (8, 8))
        expected = np.array([x for i, j in places for x in (i * 21 + j, 19 * 21 + j * 19 + i)])
        assert_close(transpose_trace(19, 21, "blocked"), expected * 8)
        assert_close(transpose_trace(19, 21, "blocked", item_bytes=2), expected * 2)

    def test_addresses_beyond_32_bits(self):
        addresses = transpose_trace(2, 2, "row", item_bytes=2**30)
        assert_equal(addresses.dtype, np.dtype(np.int64))
        assert_close(addresses, np.array([0, 4, 1, 6, 2, 5, 3, 7]) * 2**30)

    def test_rejects_another_order(self):
        with raises(ValueError, "diagonal", "row", "column", "blocked"):
            transpose_trace(3, 4, "diagonal")


class TestMissesOfLoops:
    def test_the_example_worked_by_hand(self):
        orders = [("row", (1, 1)), ("column", (1, 1)), ("blocked", (2, 2))]
        misses = [count(traversal(4, 4, order, tile), 16, 1, 2) for order, tile in orders]
        assert_equal(misses, [8, 16, 8])

    @pytest.mark.parametrize(("n", "m", "line"), [(24, 16, 8), (20, 40, 4)])
    def test_a_matrix_by_rows_and_by_columns(self, n, m, line):
        """`line` items a line."""
        by_row, by_column = traversal(n, m, "row"), traversal(n, m, "column")
        assert_equal(count(by_row, line * 8, 1, 1), n * m // line)
        assert_equal(count(by_column, line * 8, 1, n - 1), n * m)
        assert_equal(count(by_column, line * 8, 1, n), n * m // line)

    @pytest.mark.parametrize(("n", "m", "line"), [(24, 32, 8), (28, 20, 4)])
    def test_tiles_save_a_transpose(self, n, m, line):
        cache = (line * 8, 1, 12)
        expected = {"row": n * m + n * m // line, "column": n * m + n * m // line, "blocked": 2 * n * m // line}
        misses = {order: count(transpose_trace(n, m, order, (line, line)), *cache) for order in expected}
        assert_equal(misses, expected)

    def test_padding_spreads_a_column_over_the_sets(self):
        """8 rows as long as 8 sets of 64 bytes, then one line longer."""
        assert_equal(count(traversal(8, 64, "column"), 64, 8, 1), 8 * 64)
        assert_equal(count(traversal(8, 72, "column"), 64, 8, 1), 8 * 72 // 8)


class TestCoalescedTransactions:
    def test_the_example_worked_by_hand(self):
        assert_equal(coalesced_transactions(np.arange(0, 64, 2) * 4), 8)

    @pytest.mark.parametrize("stride", [1, 2, 3, 5, 7, 8, 9, 32, 100])
    def test_a_stride_follows_the_formula(self, stride):
        words = 4096 + 4 * stride * np.arange(32)
        assert_equal(coalesced_transactions(words), min(4 * stride, 32))

    @pytest.mark.parametrize(("shift", "expected"), [(0, 4), (4, 5), (28, 5), (32, 4)])
    def test_a_shifted_warp_takes_one_more(self, shift, expected):
        assert_equal(coalesced_transactions(np.arange(32) * 4 + shift), expected)

    def test_order_and_repetition_cost_nothing(self, rng):
        assert_equal(coalesced_transactions(rng.permutation(32) * 4), 4)
        assert_equal(coalesced_transactions(np.full(32, 76)), 1)
        assert_equal(coalesced_transactions(np.array([900, 0, 904, 4])), 2)

    def test_an_access_may_reach_into_the_next_segment(self):
        assert_equal(coalesced_transactions(np.array([28])), 1)
        assert_equal(coalesced_transactions(np.array([29])), 2)
        assert_equal(coalesced_transactions(np.array([24]), 8), 1)
        assert_equal(coalesced_transactions(np.array([25]), 8), 2)

    @pytest.mark.parametrize("access_bytes", [1, 2, 4, 8, 16])
    @pytest.mark.parametrize("segment_bytes", [16, 20, 32, 128])
    def test_random_accesses_touch_these_segments(self, access_bytes, segment_bytes, rng):
        for threads in (1, 7, 7, 20, 32, 32, 64):
            addresses = rng.integers(500, 3000, size=threads)
            touched = {byte // segment_bytes for a in addresses.tolist() for byte in range(a, a + access_bytes)}
            assert_equal(coalesced_transactions(addresses, access_bytes, segment_bytes), len(touched))

    def test_far_addresses(self):
        assert_equal(coalesced_transactions(2**40 + np.array([0, 31, 32, 2**33])), 3)

    def test_segments_are_32_bytes_unless_told(self):
        assert_equal(coalesced_transactions(np.arange(32) * 16, access_bytes=16), 16)
        assert_equal(coalesced_transactions(np.arange(32) * 4 + 2, segment_bytes=64), 3)


class TestBankConflicts:
    def test_the_example_worked_by_hand(self):
        assert_equal(bank_conflicts(np.arange(0, 64, 2)), 2)

    @pytest.mark.parametrize("stride", [1, 2, 3, 4, 6, 12, 16, 24, 31, 32, 33, 64])
    def test_a_stride_follows_the_formula(self, stride):
        assert_equal(bank_conflicts(5 + stride * np.arange(32)), gcd(stride, 32))

    @pytest.mark.parametrize(("width", "expected"), [(32, 32), (33, 1), (34, 2), (36, 4)])
    def test_a_padded_tile_has_no_conflicts(self, width, expected):
        assert_equal(bank_conflicts(np.arange(32) * width + 7), expected)

    def test_the_same_word_is_broadcast(self):
        assert_equal(bank_conflicts(np.full(32, 70)), 1)
        assert_equal(bank_conflicts(np.array([3, 35, 3, 35, 3, 4])), 2)
        assert_equal(bank_conflicts(np.array([3, 3, 3, 4, 5, 37, 69])), 3)

    def test_far_words(self):
        assert_equal(bank_conflicts(2**40 + np.array([0, 32, 33, 2**33])), 3)

    @pytest.mark.parametrize("threads", [1, 9, 32, 64])
    @pytest.mark.parametrize("banks", [1, 5, 16, 32])
    def test_random_words_fall_into_these_banks(self, banks, threads, rng):
        for _ in range(2):
            words = rng.integers(200, 400, size=threads)
            rounds = max(len({w for w in words.tolist() if w % banks == bank}) for bank in range(banks))
            assert_equal(bank_conflicts(words, banks), rounds)
