"""Judges k14_collectives by real ranks against sums in one process, by the bytes that each rank sends,
and against torch.distributed's own collectives."""

import math

import pytest
import torch
import torch.distributed as dist

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k14_collectives import (
    all_gather,
    all_reduce,
    broadcast,
    reduce_scatter,
    ring_seconds,
    tree_reduce,
    tree_seconds,
)

FORBIDDEN = (
    "broadcast reduce all_reduce all_gather all_gather_into_tensor all_gather_single reduce_scatter "
    "reduce_scatter_tensor reduce_scatter_single gather scatter all_to_all all_to_all_single "
    "broadcast_object_list all_gather_object gather_object barrier"
)
pytestmark = [from_scratch(*(f"torch.distributed.{name}" for name in FORBIDDEN.split())), pure()]


def inputs(n, *shape, dtype=torch.float64):
    """One random tensor a rank."""
    if dtype == torch.int64:
        # Beyond 2⁵³, where a sum by way of float64 isn't exact.
        return [torch.randint(-(2**60), 2**60, shape) for _ in range(n)]
    return [torch.randn(shape, dtype=dtype) for _ in range(n)]


def check(answers, expected):
    """Compare what each rank got with what it should have got."""
    for answer, right in zip(answers, expected, strict=True):
        assert_close(answer, right)


def peers(ranks, rank):
    return {call.peer for call in ranks.calls[rank]}


def messages(ranks, rank):
    return len(ranks.calls[rank])


def check_ring(ranks, n, count, part):
    """Every rank sent `count` messages of `part` bytes at most, to one neighbour."""
    for rank in range(n):
        if messages(ranks, rank) != count:
            fail(
                f"Rank {rank} of {n} sends {messages(ranks, rank)} messages where the ring needs {count}.",
                evidence=(n, messages(ranks, rank)),
            )
        largest = max(call.bytes for call in ranks.calls[rank])
        if largest > part:
            fail(
                f"Rank {rank} of {n} sends a message of {largest} bytes where a part of the ring has {part}.",
                evidence=(n, ranks.sent(rank)),
            )
        if len(peers(ranks, rank)) > 1 or not peers(ranks, rank) <= {(rank + 1) % n, (rank - 1) % n}:
            fail(
                f"Rank {rank} of {n} sends to {sorted(peers(ranks, rank))}: in a ring it sends to one neighbour.",
                evidence=(n, sorted(peers(ranks, rank))),
            )


class TestBroadcast:
    def test_the_first_rank_sends_unless_told_otherwise(self, ranks):
        x = inputs(3, 4)
        check(ranks(3, lambda rank: broadcast(x[rank])), [x[0]] * 3)

    @pytest.mark.parametrize(("n", "root"), [(2, 1), (3, 2), (4, 0), (5, 3)])
    def test_every_rank_gets_the_root_s_array_by_a_tree(self, ranks, n, root):
        x = inputs(n, 2, 3)
        check(ranks(n, lambda rank: broadcast(x[rank], root)), [x[root]] * n)
        rounds = math.ceil(math.log2(n))
        if messages(ranks, root) != rounds:
            fail(
                f"The root of {n} ranks sends {messages(ranks, root)} messages: in a tree it sends one in each of "
                f"{rounds} rounds.",
                evidence=(n, messages(ranks, root)),
            )
        assert_equal(sum(messages(ranks, rank) for rank in range(n)), n - 1)
        assert_equal(sum(ranks.sent(rank) for rank in range(n)), (n - 1) * 48)

    def test_views_that_are_not_contiguous(self, ranks):
        x = inputs(3, 4, 2, dtype=torch.int64)
        check(ranks(3, lambda rank: broadcast(x[rank].T, 1)), [x[1].T] * 3)

    def test_one_rank_alone(self, ranks):
        x = inputs(1, 3)
        check(ranks(1, lambda rank: broadcast(x[rank])), x)


class TestTreeReduce:
    def test_the_first_rank_gets_it_unless_told_otherwise(self, ranks):
        x = inputs(3, 4)
        check(ranks(3, lambda rank: tree_reduce(x[rank])), [sum(x), None, None])

    @pytest.mark.parametrize(("n", "root"), [(2, 1), (3, 2), (4, 0), (5, 3)])
    def test_the_root_gets_the_sum_by_a_tree(self, ranks, n, root):
        x = inputs(n, 2, 3)
        check(ranks(n, lambda rank: tree_reduce(x[rank], root)), [sum(x) if r == root else None for r in range(n)])
        assert_equal([messages(ranks, rank) for rank in range(n)], [int(rank != root) for rank in range(n)])
        assert_equal([ranks.sent(rank) for rank in range(n)], [48 * (rank != root) for rank in range(n)])
        arrived = sum(call.peer == root for calls in ranks.calls for call in calls)
        rounds = math.ceil(math.log2(n))
        if arrived != rounds:
            fail(
                f"The root of {n} ranks gets {arrived} messages: in a tree it gets one in each of {rounds} rounds.",
                evidence=(n, arrived),
            )

    def test_views_that_are_not_contiguous(self, ranks):
        x = inputs(3, 4, 2, dtype=torch.int64)
        check(ranks(3, lambda rank: tree_reduce(x[rank].T, 1)), [None, sum(x).T, None])

    def test_one_rank_alone(self, ranks):
        x = inputs(1, 3)
        check(ranks(1, lambda rank: tree_reduce(x[rank])), x)


class TestReduceScatter:
    def test_the_example_worked_by_hand(self, ranks):
        x = [torch.tensor([1.0, 2, 3]), torch.tensor([10.0, 20, 30]), torch.tensor([100.0, 200, 300])]
        answers = ranks(3, lambda rank: reduce_scatter(x[rank]))
        check(answers, [torch.tensor([111.0]), torch.tensor([222.0]), torch.tensor([333.0])])

    @pytest.mark.parametrize("n", [2, 3, 4])
    def test_rank_r_gets_part_r_of_the_sum_and_sends_n_minus_1_parts(self, ranks, n):
        x = inputs(n, 2 * n, 5)
        answers = ranks(n, lambda rank: reduce_scatter(x[rank]))
        check(answers, sum(x).chunk(n))
        check_ring(ranks, n, n - 1, 2 * 5 * 8)

    def test_whole_numbers_are_exact(self, ranks):
        x = inputs(3, 6, 2, 2, dtype=torch.int64)
        check(ranks(3, lambda rank: reduce_scatter(x[rank])), sum(x).chunk(3))

    def test_views_that_are_not_contiguous(self, ranks):
        x = inputs(2, 3, 4)
        check(ranks(2, lambda rank: reduce_scatter(x[rank].T)), sum(x).T.contiguous().chunk(2))

    def test_one_rank_alone(self, ranks):
        x = inputs(1, 3)
        check(ranks(1, lambda rank: reduce_scatter(x[rank])), x)

    def test_a_length_that_n_does_not_divide_is_named(self, ranks):
        def work(rank):
            with raises(ValueError, 7, 3):
                reduce_scatter(torch.zeros(7, 3))

        ranks(3, work)


class TestAllGather:
    @pytest.mark.parametrize("n", [2, 3, 4])
    def test_parts_stand_in_the_order_of_the_ranks_and_n_minus_1_are_sent(self, ranks, n):
        x = inputs(n, 3, 2)
        check(ranks(n, lambda rank: all_gather(x[rank])), [torch.cat(x)] * n)
        check_ring(ranks, n, n - 1, 3 * 2 * 8)

    def test_float32_views_that_are_not_contiguous(self, ranks):
        x = inputs(3, 2, 5, dtype=torch.float32)
        check(ranks(3, lambda rank: all_gather(x[rank].T)), [torch.cat([one.T for one in x])] * 3)

    def test_whole_numbers_are_exact(self, ranks):
        x = inputs(2, 4, dtype=torch.int64)
        check(ranks(2, lambda rank: all_gather(x[rank])), [torch.cat(x)] * 2)

    def test_one_rank_alone(self, ranks):
        x = inputs(1, 3, 2)
        check(ranks(1, lambda rank: all_gather(x[rank])), x)


class TestAllReduce:
    @pytest.mark.parametrize("n", [2, 3, 4])
    def test_every_rank_gets_the_sum_and_sends_less_than_two_arrays(self, ranks, n):
        x = inputs(n, n, 2, 3)
        check(ranks(n, lambda rank: all_reduce(x[rank])), [sum(x)] * n)
        check_ring(ranks, n, 2 * (n - 1), 2 * 3 * 8)

    @pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 7)], ids=str)
    def test_a_number_of_elements_that_n_does_not_divide(self, ranks, shape):
        x = inputs(3, *shape)
        check(ranks(3, lambda rank: all_reduce(x[rank])), [sum(x)] * 3)
        check_ring(ranks, 3, 4, math.ceil(math.prod(shape) / 3) * 8)

    def test_whole_numbers_and_views(self, ranks):
        x = inputs(4, 3, 5, dtype=torch.int64)
        check(ranks(4, lambda rank: all_reduce(x[rank].T)), [sum(x).T] * 4)

    def test_against_torch(self, ranks):
        def work(rank):
            x = torch.randn(3, 11, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)
            mine, theirs = all_reduce(x), x.clone()
            dist.all_reduce(theirs)
            assert_close(mine, theirs)

        ranks(3, work)

    def test_messages_too_large_to_be_kept_by_the_network(self, ranks):
        x = inputs(2, 1_000_001, dtype=torch.float32)
        check(ranks(2, lambda rank: all_reduce(x[rank])), [x[0] + x[1]] * 2)

    def test_it_can_be_called_again_and_again(self, ranks):
        x = inputs(2, 3)
        expected = 2 * (x[0] + x[1])
        check(ranks(2, lambda rank: all_reduce(all_reduce(x[rank]))), [expected] * 2)

    def test_one_rank_alone(self, ranks):
        x = inputs(1, 2, 3)
        check(ranks(1, lambda rank: all_reduce(x[rank])), x)

    @pytest.mark.gpu
    def test_over_nccl(self, ranks):
        x = inputs(2, 3, 5)
        answers = ranks(2, lambda rank: all_reduce(x[rank].cuda()).cpu(), backend="nccl")
        check(answers, [sum(x)] * 2)


CASES = pytest.mark.parametrize(
    ("size", "n", "latency", "bandwidth"), [(6e6, 3, 1e-5, 1e9), (1e9, 8, 2e-3, 2.5e10), (101.0, 5, 0.5, 7.0), (3e3, 2, 0.1, 1e3)]
)


class TestRingSeconds:
    @CASES
    def test_messages_one_by_one(self, size, n, latency, bandwidth):
        expected = sum(latency + (size / n) / bandwidth for _ in range(2) for _ in range(n - 1))
        assert_close(ring_seconds(size, n, latency, bandwidth), expected)

    def test_one_rank_needs_no_time(self):
        assert_close(ring_seconds(100.0, 1, 0.5, 7.0), 0.0)


class TestTreeSeconds:
    @CASES
    def test_rounds_one_by_one(self, size, n, latency, bandwidth):
        rounds, have = 0, 1
        while have < n:
            rounds, have = rounds + 1, 2 * have
        assert_close(tree_seconds(size, n, latency, bandwidth), 2 * rounds * (latency + size / bandwidth))

    def test_one_rank_needs_no_time(self):
        assert_close(tree_seconds(100.0, 1, 0.5, 7.0), 0.0)

    @pytest.mark.parametrize(("size", "wins"), [(1e3, True), (1e9, False)])
    def test_the_tree_wins_on_what_is_small_and_the_ring_on_what_is_large(self, size, wins):
        assert_equal(tree_seconds(size, 64, 1e-5, 1e10) < ring_seconds(size, 64, 1e-5, 1e10), wins)
