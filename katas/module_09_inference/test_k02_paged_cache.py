"""Judges k02_paged_cache against contiguous caches, plain lists and counts, over random traces of calls."""

import itertools
from collections import Counter

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_05_transformers.k14_llama import LlamaConfig
from katas.module_09_inference.k02_paged_cache import (
    BlockPool,
    OutOfBlocks,
    PagedCache,
    block_keys,
    pick_beams,
    read_rows,
    run,
    write_rows,
)

pytestmark = [from_scratch("transformers"), pure("write_rows"), pytest.mark.deadline(60)]

CONFIG = LlamaConfig(61, 24, 40, 2, 6, 2, 4, 500.0, 1e-5, False)


def any_traces(machine: type, examples: int, steps: int) -> None:
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis.stateful import run_state_machine_as_test

    # Without the phase that shortens what fails: it would take longer than the learner waits.
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            derandomize=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def shared(one: list[int], other: list[int], size: int) -> int:
    """How many keys two texts have in common; each at its own place."""
    pairs = list(itertools.product(enumerate(block_keys(one, size)), enumerate(block_keys(other, size))))
    assert_equal([(i, j) for (i, a), (j, b) in pairs if a == b and i != j], [])
    return sum(a == b for (_, a), (_, b) in pairs)


class TestBlockKeys:
    @pytest.mark.parametrize(
        ("n", "size", "keys"), [(9, 4, 2), (8, 4, 2), (7, 4, 1), (3, 4, 0), (0, 4, 0), (5, 1, 5), (4, 9, 0)]
    )
    def test_one_for_each_full_block(self, n, size, keys):
        assert_equal(len(block_keys(list(range(10, 10 + n)), size)), keys)

    @pytest.mark.parametrize(
        ("other", "keys"),
        [
            ([1, 2, 3, 4, 5, 6, 7], 3),
            ([1, 2, 3, 4, 5, 6], 3),
            ([1, 2, 3, 4, 5, 7], 2),
            ([1, 2, 3, 4, 6, 5], 2),
            ([1, 2, 3], 1),
            ([9, 2, 3, 4, 5, 6], 0),
            ([2, 1, 3, 4, 5, 6], 0),
            ([3, 4, 5, 6], 0),
        ],
    )
    def test_alike_as_far_as_the_texts_are(self, other, keys):
        assert_equal(shared([1, 2, 3, 4, 5, 6], other, 2), keys)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ([1, 12], [11, 2]),
            ([0, 1], [1, 0]),
            ([0, 0], [0, 256]),
            ([1, 2, 3, 4], [3, 4, 1, 2]),
            ([5, 5], [6, 6]),
            ([1, 3], [2, 2]),
            ([3, 300], [3, 44]),
        ],
    )
    def test_other_tokens_have_other_keys(self, one, other):
        assert_equal(shared(one, other, 2), 0)

    def test_the_same_block_twice_has_two_keys(self):
        assert_equal(len(set(block_keys([7, 7] * 5, 2))), 5)

    def test_a_second_call_gives_the_same(self):
        assert_equal(block_keys([1, 2, 3, 4], 2) == block_keys([1, 2, 3, 4], 2), True)


class TestBlockPool:
    def test_the_life_of_a_block(self):
        pool = BlockPool(1)
        assert_equal((pool.free, pool.holders(0)), (1, 0))
        assert_equal((pool.allocate(), pool.free, pool.holders(0)), (0, 0, 1))
        pool.publish(0, "key")
        assert_equal((pool.find("key"), pool.find("other")), (0, None))
        pool.release(0)
        assert_equal((pool.free, pool.holders(0), pool.find("key")), (1, 0, 0))
        pool.hold(0)
        assert_equal((pool.free, pool.holders(0), pool.find("key")), (0, 1, 0))
        pool.release(0)
        assert_equal((pool.allocate(), pool.find("key")), (0, None))

    @pytest.mark.parametrize("blocks", [1, 5])
    def test_every_block_once_and_then_no_more(self, blocks):
        pool = BlockPool(blocks)
        assert_equal(sorted(pool.allocate() for _ in range(blocks)), list(range(blocks)))
        with raises(OutOfBlocks, blocks):
            pool.allocate()
        assert_equal((pool.free, [pool.holders(b) for b in range(blocks)]), (0, [1] * blocks))

    def test_is_free_when_its_last_holder_leaves(self):
        pool = BlockPool(2)
        block = pool.allocate()
        for holders in (2, 3):
            pool.hold(block)
            assert_equal((pool.holders(block), pool.free), (holders, 1))
        for holders in (2, 1, 0):
            pool.release(block)
            assert_equal((pool.holders(block), pool.free), (holders, 1 if holders else 2))

    @pytest.mark.parametrize("published", [True, False])
    def test_refuses_to_release_what_nobody_holds(self, published):
        pool = BlockPool(5)
        blocks = [pool.allocate() for _ in range(5)]
        if published:
            pool.publish(blocks[3], "key")
        pool.release(blocks[3])
        with raises(ValueError, blocks[3]):
            pool.release(blocks[3])
        assert_equal((pool.free, pool.holders(blocks[3])), (1, 0))

    def test_refuses_to_hold_a_blank_block(self):
        pool = BlockPool(4)
        blocks = [pool.allocate() for _ in range(4)]
        pool.release(blocks[2])
        with raises(ValueError, blocks[2]):
            pool.hold(blocks[2])
        assert_equal((pool.free, pool.allocate()), (1, blocks[2]))

    def test_a_blank_block_goes_before_a_remembered_one(self):
        pool = BlockPool(3)
        blocks = [pool.allocate() for _ in range(3)]
        for i in (2, 0):
            pool.publish(blocks[i], i)
        for i in (0, 1, 2):
            pool.release(blocks[i])
        assert_equal(pool.allocate(), blocks[1])
        assert_equal((pool.find(0), pool.find(2)), (blocks[0], blocks[2]))

    @pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
    def test_evicts_what_was_released_longest_ago(self, order):
        pool = BlockPool(4)
        blocks = [pool.allocate() for _ in range(4)]
        for i in range(4):
            pool.publish(blocks[i], i)
        for i in order:
            pool.release(blocks[i])
        assert_equal([pool.allocate() for _ in range(4)], [blocks[i] for i in order])
        assert_equal([pool.find(i) for i in range(4)], [None] * 4)

    def test_what_was_held_again_counts_as_released_later(self):
        pool = BlockPool(3)
        blocks = [pool.allocate() for _ in range(3)]
        for i in range(3):
            pool.publish(blocks[i], i)
            pool.release(blocks[i])
        pool.hold(blocks[0])
        pool.release(blocks[0])
        assert_equal([pool.allocate() for _ in range(3)], [blocks[1], blocks[2], blocks[0]])

    def test_looking_saves_nobody(self):
        pool = BlockPool(2)
        blocks = [pool.allocate() for _ in range(2)]
        for i in range(2):
            pool.publish(blocks[i], i)
            pool.release(blocks[i])
        pool.find(0)
        assert_equal((pool.allocate(), pool.find(0), pool.find(1)), (blocks[0], None, blocks[1]))

    def test_what_is_held_is_never_evicted(self):
        pool = BlockPool(2)
        blocks = [pool.allocate() for _ in range(2)]
        pool.publish(blocks[0], "key")
        pool.release(blocks[0])
        pool.hold(blocks[0])
        with raises(OutOfBlocks, 2):
            pool.allocate()
        assert_equal(pool.find("key"), blocks[0])

    def test_the_first_with_a_key_keeps_it(self):
        pool = BlockPool(3)
        one, other = pool.allocate(), pool.allocate()
        pool.publish(one, "key")
        pool.publish(other, "key")
        assert_equal(pool.find("key"), one)
        pool.release(other)  # it wasn't published, so it is blank
        pool.release(one)
        assert_equal({pool.allocate(), pool.allocate()} == {0, 1, 2} - {one}, True)
        assert_equal(pool.find("key"), one)

    def test_a_block_keeps_its_first_key(self):
        pool = BlockPool(1)
        block = pool.allocate()
        pool.publish(block, "first")
        pool.publish(block, "second")
        pool.release(block)
        assert_equal((pool.find("first"), pool.find("second")), (block, None))
        pool.allocate()
        assert_equal((pool.find("first"), pool.find("second")), (None, None))

    def test_after_eviction_it_may_have_another_key(self):
        pool = BlockPool(1)
        for key in ("first", "second", "first"):
            block = pool.allocate()
            pool.publish(block, key)
            assert_equal((pool.find("first"), pool.find("second")), (block, None) if key == "first" else (None, block))
            pool.release(block)

    def test_two_pools_are_apart(self):
        one, other = BlockPool(2), BlockPool(2)
        one.publish(one.allocate(), "key")
        assert_equal((other.free, other.find("key")), (2, None))

    def test_any_trace_of_calls(self):
        """hypothesis makes traces and compares with a model of two lists."""
        from hypothesis import strategies as st
        from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

        class Trace(RuleBasedStateMachine):
            def __init__(self):
                super().__init__()
                self.pool, self.count = BlockPool(4), Counter()
                self.remembered, self.keys = [], {}

            @rule()
            def allocate(self):
                blank = [b for b in range(4) if not self.count[b] and b not in self.remembered]
                if not blank and not self.remembered:
                    with raises(OutOfBlocks, 4):
                        self.pool.allocate()
                    return
                block = self.pool.allocate()
                if blank:
                    assert_equal(block in blank, True)
                else:
                    assert_equal(block, self.remembered.pop(0))
                    self.keys = {key: b for key, b in self.keys.items() if b != block}
                self.count[block] = 1

            @rule(block=st.integers(0, 3))
            def hold(self, block):
                if not self.count[block] and block not in self.remembered:
                    with raises(ValueError, block):
                        self.pool.hold(block)
                    return
                self.pool.hold(block)
                self.count[block] += 1
                self.remembered = [b for b in self.remembered if b != block]

            @rule(block=st.integers(0, 3))
            def release(self, block):
                if not self.count[block]:
                    with raises(ValueError, block):
                        self.pool.release(block)
                    return
                self.pool.release(block)
                self.count[block] -= 1
                if not self.count[block] and block in self.keys.values():
                    self.remembered.append(block)

            @precondition(lambda self: any(self.count.values()))
            @rule(data=st.data(), key=st.integers(0, 4))
            def publish(self, data, key):
                block = data.draw(st.sampled_from([b for b in range(4) if self.count[b]]))
                self.pool.publish(block, key)
                if key not in self.keys and block not in self.keys.values():
                    self.keys[key] = block

            @invariant()
            def all_is_as_counted(self):
                assert_equal([self.pool.holders(b) for b in range(4)], [self.count[b] for b in range(4)])
                assert_equal(self.pool.free, sum(not self.count[b] for b in range(4)))
                assert_equal([self.pool.find(key) for key in range(5)], [self.keys.get(key) for key in range(5)])

        any_traces(Trace, 40, 25)


def some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


class TestWriteRows:
    def test_two_tokens_over_a_blocks_edge(self):
        store = torch.zeros(3, 2, 1)
        write_rows(store, [2, 0], 1, torch.tensor([[7.0], [8.0]]))
        assert_close(store[..., 0], torch.tensor([[8.0, 0.0], [0.0, 0.0], [0.0, 7.0]]))

    @pytest.mark.parametrize("start", [0, 1, 3, 4, 6])
    @pytest.mark.parametrize("n", [1, 2, 5, 8])
    def test_matches_a_loop_over_tokens(self, start, n):
        table, store, rows = [5, 0, 6, 2, 4], some(7, 3, 2, 4), some(n, 2, 4)
        expected = store.clone()
        for i in range(n):
            block, slot = divmod(start + i, 3)
            expected[table[block], slot] = rows[i]
        kept = rows.clone()
        write_rows(store, table, start, rows)
        assert_close(store, expected)
        rows += 1
        assert_close((store, rows - 1), (expected, kept))

    def test_into_a_part_of_a_larger_store(self):
        stores = torch.zeros(2, 3, 2, 1)
        write_rows(stores[1], [1], 1, torch.ones(1, 1))
        assert_close(stores.nonzero(), torch.tensor([[1, 1, 1, 0]]))


class TestReadRows:
    def test_three_tokens_over_a_blocks_edge(self):
        store = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])[..., None]
        assert_close(read_rows(store, [2, 0], 3), torch.tensor([[5.0], [6.0], [1.0]]))

    @pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 7, 12])
    def test_matches_a_loop_over_tokens(self, length):
        table, store = [5, 0, 6, 2], some(7, 3, 2, 4)
        expected = [store[table[t // 3], t % 3] for t in range(length)]
        assert_close(read_rows(store, table, length), torch.stack(expected) if expected else store.new_zeros(0, 2, 4))

    def test_is_a_copy(self):
        store = some(2, 3, 1)
        rows = read_rows(store, [0], 3)
        expected = rows.clone()
        store += 1
        assert_close(rows, expected)


def prefix_number(ids: list[int]) -> float:
    number = 1
    for token in ids:
        number = (number * 31 + token + 7) % 99_991
    return float(number)


def rows_of(ids: list[int], layer: int, kind: int) -> torch.Tensor:
    """What stands for the keys (kind 0) or values (1) of a text: a row depends on all tokens up to its own."""
    numbers = torch.tensor([prefix_number(ids[: i + 1]) for i in range(len(ids))], dtype=torch.float64)
    return numbers[:, None, None] + layer * 0.25 + kind * 0.5 + torch.arange(8.0).reshape(2, 4) / 100


def fill(cache: PagedCache, sequence: int, ids: list[int]) -> None:
    """What a model does: reserve, write keys and values of all layers, commit."""
    cache.reserve(sequence, len(ids))
    text = cache.tokens[sequence] + ids
    for layer in range(2):
        for kind, stores in enumerate((cache.keys, cache.values)):
            rows = rows_of(text, layer, kind)[-len(ids) :]
            write_rows(stores[layer], cache.tables[sequence], len(text) - len(ids), rows)
    cache.commit(sequence, ids)


def check(cache: PagedCache, texts: dict[int, list[int]]) -> None:
    """Every sequence has its tokens, and their keys and values; every block has as many holders as tables name it."""
    assert_equal(cache.tokens, texts)
    assert_equal(sorted(cache.tables), sorted(texts))
    size = cache.block_size
    for sequence, ids in texts.items():
        table = cache.tables[sequence]
        assert_equal((len(set(table)), len(table) * size >= len(ids)), (len(table), True))
        for layer in range(2):
            for kind, stores in enumerate((cache.keys, cache.values)):
                found = stores[layer, table].flatten(0, 1)[: len(ids)]
                assert_close(found, rows_of(ids, layer, kind))
    count = Counter(itertools.chain(*cache.tables.values()))
    blocks = range(cache.keys.shape[1])
    assert_equal([cache.pool.holders(block) for block in blocks], [count[block] for block in blocks])
    assert_equal(cache.pool.free, len(blocks) - len(count))


def paged(blocks: int = 8, size: int = 4) -> PagedCache:
    return PagedCache(CONFIG, blocks, size, torch.float64)


def begun(cache: PagedCache, ids: list[int]) -> int:
    """A sequence with all of these tokens."""
    sequence, found = cache.start(ids)
    fill(cache, sequence, ids[found:])
    return sequence


TEN = list(range(10, 20))


def placed(cache: PagedCache, ids: list[int], blocks: list[int]) -> int:
    """A sequence with these tokens in just these blocks: whenever it takes one, no other is free."""
    pool, size = cache.pool, cache.block_size
    others = {pool.allocate() for _ in range(pool.free)}
    sequence, _ = cache.start(ids)
    for i, block in enumerate(blocks):
        pool.release(block)
        fill(cache, sequence, ids[i * size : (i + 1) * size])
    for block in others - set(blocks):
        pool.release(block)
    return sequence


class TestPagedCache:
    def test_the_example_worked_by_hand(self):
        cache, free = paged(6), []
        one, found = cache.start(TEN[:6])
        free.append((found, cache.pool.free))
        fill(cache, one, TEN[:6])
        free.append((len(cache.tables[one]), cache.pool.free))
        other = cache.fork(one)
        free.append(([cache.pool.holders(block) for block in cache.tables[one]], cache.pool.free))
        cache.reserve(other, 1)
        free.append(([cache.pool.holders(block) for block in cache.tables[one]], cache.pool.free))
        cache.end(one)
        cache.end(other)
        free.append(cache.pool.free)
        free.append((cache.start(TEN[:5])[1], cache.pool.free))
        free.append((cache.start(TEN[:4])[1], cache.pool.free))
        assert_equal(free, [(0, 6), (2, 4), ([2, 2], 4), ([2, 1], 3), 6, (4, 5), (0, 5)])


class TestReserve:
    @pytest.mark.parametrize("size", [1, 3, 4])
    @pytest.mark.parametrize("pieces", [[1] * 9, [5, 4], [4, 4, 1], [8], [3, 6]])
    def test_as_many_blocks_as_the_tokens_need(self, pieces, size):
        cache = paged(12, size)
        sequence, _ = cache.start([1])
        end = 0
        for n in pieces:
            end += n
            fill(cache, sequence, list(range(end - n, end)))
            assert_equal(len(cache.tables[sequence]), -(-end // size))
            check(cache, {sequence: list(range(end))})

    def test_reserved_twice_is_reserved_once(self):
        cache = paged()
        sequence = begun(cache, TEN[:3])
        for n, blocks in ((1, 1), (2, 2), (2, 2), (5, 2), (6, 3), (1, 3)):
            cache.reserve(sequence, n)
            assert_equal((n, len(cache.tables[sequence]), 8 - cache.pool.free), (n, blocks, blocks))

    def test_a_shared_block_is_copied_before_it_is_written(self):
        cache = paged()
        one = begun(cache, TEN[:6])
        other = cache.fork(one)
        before = list(cache.tables[one])
        fill(cache, other, [50])
        check(cache, {one: TEN[:6], other: [*TEN[:6], 50]})
        assert_equal((cache.tables[one], cache.tables[other][:1]), (before, before[:1]))
        fill(cache, one, [60, 61, 62])
        check(cache, {one: [*TEN[:6], 60, 61, 62], other: [*TEN[:6], 50]})

    def test_the_last_holder_writes_in_place(self):
        cache = paged()
        one = begun(cache, TEN[:6])
        other = cache.fork(one)
        fill(cache, other, [50])
        before, free = list(cache.tables[one]), cache.pool.free
        cache.reserve(one, 2)
        assert_equal((cache.tables[one], cache.pool.free), (before, free))

    def test_a_full_block_is_never_copied(self):
        cache = paged()
        one = begun(cache, TEN[:8])
        other = cache.fork(one)
        cache.reserve(other, 1)
        assert_equal((cache.tables[other][:2], len(cache.tables[other]), cache.pool.free), (cache.tables[one], 3, 5))

    def test_a_copy_and_new_blocks_at_once(self):
        cache = paged()
        one = begun(cache, TEN[:6])
        other = cache.fork(one)
        fill(cache, other, list(range(30, 37)))
        check(cache, {one: TEN[:6], other: [*TEN[:6], *range(30, 37)]})
        assert_equal(cache.pool.free, 8 - 2 - 3)

    def test_a_copy_is_evicted_nowhere_else(self):
        cache = paged(3)
        one = begun(cache, TEN[:6])
        other = cache.fork(one)
        fill(cache, other, [1])
        cache.end(one)
        check(cache, {other: [*TEN[:6], 1]})

    @pytest.mark.parametrize(("n", "needed"), [(3, 2), (30, 8)])
    def test_too_few_blocks_change_nothing(self, n, needed):
        cache = paged(4)
        gone = begun(cache, list(range(30, 35)))  # leaves one remembered block
        cache.end(gone)
        held = begun(cache, [1, 2, 3])
        one = begun(cache, TEN[:6])
        other = cache.fork(one)
        before = {sequence: list(table) for sequence, table in cache.tables.items()}
        with raises(OutOfBlocks, needed, 1):
            cache.reserve(other, n)
        assert_equal((cache.tables, cache.pool.free), (before, 1))
        check(cache, {held: [1, 2, 3], one: TEN[:6], other: TEN[:6]})
        again, found = cache.start(list(range(30, 35)))
        assert_equal(found, 4)
        cache.end(again)

    def test_the_last_free_block_can_be_had(self):
        cache = paged(3)
        one = begun(cache, TEN[:6])
        other = cache.fork(one)
        fill(cache, other, [1, 2])
        check(cache, {one: TEN[:6], other: [*TEN[:6], 1, 2]})
        with raises(OutOfBlocks, 1, 0):
            cache.reserve(other, 1)


class TestCommit:
    @pytest.mark.parametrize("n", [0, 3])
    def test_what_is_committed_are_its_tokens(self, n):
        cache = paged()
        sequence, _ = cache.start(TEN)
        if n:
            fill(cache, sequence, TEN[:n])
        ids = [40, 41]
        fill(cache, sequence, ids)
        assert_equal((cache.tokens[sequence], ids), ([*TEN[:n], 40, 41], [40, 41]))
        ids.append(42)
        fill(cache, sequence, [50])
        assert_equal((cache.tokens[sequence], ids), ([*TEN[:n], 40, 41, 50], [40, 41, 42]))

    @pytest.mark.parametrize(("reserved", "room"), [(0, 2), (2, 2), (3, 6)])
    def test_refuses_more_than_was_reserved(self, reserved, room):
        cache = paged()
        sequence = begun(cache, TEN[:6])
        if reserved:
            cache.reserve(sequence, reserved)
        with raises(ValueError, room, room + 1):
            cache.commit(sequence, list(range(room + 1)))
        assert_equal(cache.tokens[sequence], TEN[:6])

    def test_all_that_was_reserved_may_be_committed(self):
        cache = paged()
        sequence = begun(cache, TEN[:6])
        fill(cache, sequence, [1, 2])
        fill(cache, sequence, [3, 4, 5, 6])
        check(cache, {sequence: [*TEN[:6], 1, 2, 3, 4, 5, 6]})

    @pytest.mark.parametrize("pieces", [[8], [1] * 8, [3, 5], [4, 4], [7, 1]])
    def test_full_blocks_can_be_found_in_whatever_pieces_they_came(self, pieces):
        cache = paged()
        sequence, _ = cache.start(TEN)
        for start, n in zip(itertools.accumulate(pieces, initial=0), pieces, strict=False):
            fill(cache, sequence, TEN[start : start + n])
        other, found = cache.start(TEN)
        assert_equal((found, cache.tables[other]), (8, cache.tables[sequence]))

    def test_a_block_that_is_not_full_cant_be_found(self):
        cache = paged()
        begun(cache, TEN[:7])
        assert_equal(cache.start(TEN)[1], 4)

    def test_nothing_is_found_before_it_is_committed(self):
        cache = paged()
        sequence, _ = cache.start(TEN)
        cache.reserve(sequence, 8)
        assert_equal(cache.start(TEN)[1], 0)


class TestStart:
    @pytest.mark.parametrize(
        ("ids", "found"),
        [
            (TEN, 8),
            ([*TEN[:9], 99], 8),
            (TEN[:9], 8),
            (TEN[:8], 4),
            ([*TEN[:8], 99], 8),
            ([*TEN[:7], 99, 18], 4),
            (TEN[:5], 4),
            (TEN[:4], 0),
            (TEN[:1], 0),
            ([99, *TEN[1:]], 0),
            (TEN[4:], 0),
        ],
    )
    def test_finds_the_longest_beginning_of_full_blocks(self, ids, found):
        cache = paged()
        one = begun(cache, TEN)
        other, number = cache.start(ids)
        assert_equal((number, cache.tables[other]), (found, cache.tables[one][: found // 4]))
        check(cache, {one: TEN, other: ids[:found]})
        assert_equal(cache.pool.free, 5)

    @pytest.mark.parametrize("blocks", [[0, 2, 1], [2, 0, 3], [3, 1, 0]])
    def test_finds_a_block_whatever_its_number(self, blocks):
        cache = paged()
        one = placed(cache, TEN, blocks)
        check(cache, {one: TEN})
        other, found = cache.start(TEN)
        assert_equal((found, cache.tables[other]), (8, blocks[:2]))

    def test_both_go_on_from_what_they_share(self):
        cache = paged()
        one = begun(cache, TEN)
        other = begun(cache, [*TEN[:6], 50, 51, 52])
        fill(cache, one, [60])
        check(cache, {one: [*TEN, 60], other: [*TEN[:6], 50, 51, 52]})
        assert_equal(cache.tables[one][0] == cache.tables[other][0], True)

    def test_finds_what_nobody_holds_any_more(self):
        cache = paged()
        cache.end(begun(cache, TEN))
        assert_equal(cache.pool.free, 8)
        sequence, found = cache.start(TEN)
        assert_equal((found, cache.pool.free), (8, 6))
        check(cache, {sequence: TEN[:8]})

    def test_what_is_found_isnt_evicted(self):
        cache = paged(3)
        cache.end(begun(cache, TEN[:9]))
        sequence, _ = cache.start(TEN[:9])
        other = begun(cache, [1, 2])
        with raises(OutOfBlocks, 1, 0):
            cache.reserve(sequence, 1)
        check(cache, {sequence: TEN[:8], other: [1, 2]})

    def test_the_search_ends_at_the_first_miss(self):
        cache = paged(4)
        one = begun(cache, TEN[:9])
        first, second, _ = cache.tables[one]
        cache.end(one)
        for block in (second, first):  # now the first would be evicted before the second
            cache.pool.hold(block)
            cache.pool.release(block)
        cache.pool.hold(second)
        cache.pool.release(second)
        for _ in range(3):
            cache.pool.allocate()
        assert_equal(cache.pool.find(block_keys(TEN, 4)[1]), second)
        assert_equal(cache.start(TEN)[1], 0)

    def test_two_that_came_at_once_have_blocks_of_their_own(self):
        cache = paged()
        one, other = cache.start(TEN)[0], cache.start(TEN)[0]
        fill(cache, one, TEN)
        fill(cache, other, TEN)
        check(cache, {one: TEN, other: TEN})
        assert_equal(cache.pool.free, 2)
        cache.end(one)
        cache.end(other)
        assert_equal((cache.pool.free, cache.start(TEN)[1]), (8, 8))


class TestFork:
    @pytest.mark.parametrize("n", [1, 3, 4, 6, 8])
    def test_the_same_tokens_in_the_same_blocks(self, n):
        cache = paged()
        one = begun(cache, TEN[:n])
        free = cache.pool.free
        other, third = cache.fork(one), cache.fork(one)
        assert_equal(len({one, other, third}), 3)
        check(cache, dict.fromkeys((one, other, third), TEN[:n]))
        assert_equal(
            (cache.tables[other], cache.tables[third], cache.pool.free), (cache.tables[one], cache.tables[one], free)
        )

    def test_each_goes_its_own_way(self):
        cache = paged(12)
        one = begun(cache, TEN[:5])
        other = cache.fork(one)
        third = cache.fork(other)
        texts = {one: TEN[:5], other: TEN[:5], third: TEN[:5]}
        for step in range(4):
            for i, sequence in enumerate(texts):
                fill(cache, sequence, [20 + 10 * i + step])
                texts[sequence] = [*texts[sequence], 20 + 10 * i + step]
                check(cache, texts)

    def test_reserved_room_isnt_shared(self):
        cache = paged()
        one = begun(cache, TEN[:4])
        cache.reserve(one, 5)
        other = cache.fork(one)
        assert_equal((len(cache.tables[one]), cache.tables[other]), (3, cache.tables[one][:1]))
        check(cache, {one: TEN[:4], other: TEN[:4]})

    def test_a_shared_block_is_copied_whatever_was_reserved_before(self):
        cache = paged()
        one = begun(cache, TEN[:6])
        cache.reserve(one, 9)
        other = cache.fork(one)
        fill(cache, one, [50, 51, 52])
        check(cache, {one: [*TEN[:6], 50, 51, 52], other: TEN[:6]})
        assert_equal(cache.pool.free, 8 - 4 - 1)

    def test_a_fork_of_nothing(self):
        cache = paged()
        one, _ = cache.start(TEN)
        other = cache.fork(one)
        fill(cache, other, [5])
        check(cache, {one: [], other: [5]})


class TestEnd:
    def test_all_its_blocks_are_free_also_reserved_ones(self):
        cache = paged()
        one = begun(cache, TEN[:6])
        cache.reserve(one, 9)
        cache.end(one)
        assert_equal((cache.pool.free, cache.tokens, cache.tables), (8, {}, {}))

    def test_what_others_hold_stays(self):
        cache = paged()
        one = begun(cache, TEN[:6])
        other = cache.fork(one)
        cache.end(one)
        check(cache, {other: TEN[:6]})
        assert_equal(cache.pool.free, 6)

    @pytest.mark.parametrize("blocks", [[2, 0, 3, 1], [0, 1, 2, 3], [3, 2, 1, 0]])
    def test_the_beginning_of_a_text_is_evicted_last(self, blocks):
        cache, text, found = paged(4), [*TEN, 20, 21, 22], []
        cache.end(placed(cache, text, blocks))
        for token in range(3):  # a block each: the blank one, then one of the text after the other
            begun(cache, [token])
            sequence, number = cache.start(text)
            cache.end(sequence)
            found.append(number)
        assert_equal(found, [12, 8, 4])

    @pytest.mark.parametrize("ended", [True, False])
    @pytest.mark.parametrize("call", ["reserve", "commit", "fork", "end"])
    def test_a_sequence_that_isnt_there_is_named(self, call, ended):
        cache = paged()
        begun(cache, TEN[:5])
        sequence = begun(cache, TEN) if ended else 77
        if ended:
            cache.end(sequence)
        args = {"reserve": (1,), "commit": ([],)}.get(call, ())
        with raises(KeyError, sequence):
            getattr(cache, call)(sequence, *args)

    def test_numbers_arent_used_again(self):
        cache, seen = paged(), []
        for _ in range(3):
            seen.append(begun(cache, TEN[:3]))
            seen.append(cache.fork(seen[-1]))
            cache.end(seen[-1])
            cache.end(seen[-2])
        assert_equal(len(set(seen)), 6)


class TestNoBlockIsLost:
    def test_any_trace_of_calls(self):
        """hypothesis makes traces and compares every text with what was written into it."""
        from hypothesis import strategies as st
        from hypothesis.stateful import (
            RuleBasedStateMachine,
            initialize,
            invariant,
            precondition,
            rule,
        )

        some_ids = st.lists(st.integers(0, 2), min_size=1, max_size=7)

        class Trace(RuleBasedStateMachine):
            @initialize(size=st.integers(1, 3), blocks=st.integers(2, 9))
            def make(self, size, blocks):
                self.cache, self.texts = paged(blocks, size), {}

            def one(self, data):
                return data.draw(st.sampled_from(sorted(self.texts)))

            @rule(ids=some_ids)
            def start(self, ids):
                free = self.cache.pool.free
                sequence, found = self.cache.start(ids)
                assert_equal(
                    (sequence in self.texts, found < len(ids), found % self.cache.block_size), (False, True, 0)
                )
                assert_equal(free - self.cache.pool.free <= found // self.cache.block_size, True)
                self.texts[sequence] = ids[:found]

            @precondition(lambda self: self.texts)
            @rule(data=st.data(), ids=some_ids)
            def write(self, data, ids):
                sequence = self.one(data)
                size, table, text = self.cache.block_size, self.cache.tables[sequence], self.texts[sequence]
                needed = max(0, -(-len(text + ids) // size) - len(table))
                if len(text) % size and self.cache.pool.holders(table[len(text) // size]) > 1:
                    needed += 1
                if needed > self.cache.pool.free:
                    with raises(OutOfBlocks, needed, self.cache.pool.free):
                        self.cache.reserve(sequence, len(ids))
                    return
                free = self.cache.pool.free
                fill(self.cache, sequence, ids)
                self.texts[sequence] = text + ids
                assert_equal(free - self.cache.pool.free, needed)

            @precondition(lambda self: self.texts and self.cache.pool.free > 2)
            @rule(data=st.data())
            def reserve(self, data):
                self.cache.reserve(self.one(data), 1)

            @precondition(lambda self: self.texts)
            @rule(data=st.data())
            def fork(self, data):
                sequence = self.one(data)
                self.texts[self.cache.fork(sequence)] = self.texts[sequence]

            @precondition(lambda self: self.texts)
            @rule(data=st.data())
            def end(self, data):
                sequence = self.one(data)
                self.cache.end(sequence)
                del self.texts[sequence]

            @invariant()
            def nothing_is_lost_or_mixed_up(self):
                check(self.cache, self.texts)

            def teardown(self):
                if hasattr(self, "cache"):
                    for sequence in self.texts:
                        self.cache.end(sequence)
                    check(self.cache, {})

        any_traces(Trace, 25, 20)


class TestPickBeams:
    @pytest.mark.parametrize("parents", [[0, 1, 2], [2, 0, 0], [1, 1, 1], [2, 1], [0], [0, 2, 2, 1], []])
    def test_beams_go_on_from_their_parents(self, parents):
        cache = paged(12)
        other = begun(cache, [1, 2, 3])
        texts = [[*TEN[:5], *more] for more in ([20], [30, 31], [40, 41, 42])]
        beams = [begun(cache, text) for text in texts]
        free = cache.pool.free
        chosen = pick_beams(cache, beams, parents)
        assert_equal((len(chosen), len(set(chosen) | {other})), (len(parents), len(parents) + 1))
        check(cache, {other: [1, 2, 3]} | {beam: texts[i] for beam, i in zip(chosen, parents, strict=True)})
        assert_equal(cache.pool.free >= free, True)

    def test_not_a_single_free_block_is_needed(self):
        cache = paged(2)
        one = begun(cache, TEN[:5])
        chosen = pick_beams(cache, [one], [0, 0, 0])
        check(cache, dict.fromkeys(chosen, TEN[:5]))

    def test_a_step_of_three_beams_copies_two_blocks(self):
        cache = paged(12)
        chosen = pick_beams(cache, [begun(cache, TEN[:6])], [0, 0, 0])
        assert_equal(cache.pool.free, 10)
        for i, beam in enumerate(chosen):
            fill(cache, beam, [20 + i])
        check(cache, {beam: [*TEN[:6], 20 + i] for i, beam in enumerate(chosen)})
        assert_equal(cache.pool.free, 8)


def llama(config: LlamaConfig = CONFIG):
    """The model of the kata kv_cache with random weights."""
    from reference.module_09_inference.k01_kv_cache import CachedLlama

    model = CachedLlama(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def contiguous(model, ids: list[int]) -> torch.Tensor:
    """The logits of a text with caches in one piece."""
    return model(torch.tensor([ids]), model.new_caches(1, len(ids)))[0]


class TestRun:
    @pytest.mark.parametrize("size", [1, 3, 16])
    @pytest.mark.parametrize("pieces", [[10], [1] * 10, [4, 1, 1, 4]])
    def test_the_same_logits_as_in_one_piece(self, pieces, size):
        model, cache = llama(), paged(12, size)
        sequence, _ = cache.start(TEN)
        found = [run(model, cache, sequence, ids.tolist()) for ids in torch.tensor(TEN).split(pieces)]
        assert_close(torch.cat(found), contiguous(model, TEN))
        assert_equal(cache.tokens[sequence], TEN)

    def test_texts_that_take_turns(self):
        model, cache = llama(), paged(12, 2)
        texts = [TEN[:7], TEN[2:9], [*TEN[:3], 5, 6, 7, 8]]
        sequences = [cache.start(text)[0] for text in texts]
        found = {sequence: [] for sequence in sequences}
        for t in range(7):
            for sequence, text in zip(sequences, texts, strict=True):
                found[sequence].append(run(model, cache, sequence, [text[t]]))
        for sequence, text in zip(sequences, texts, strict=True):
            assert_close(torch.cat(found[sequence]), contiguous(model, text))

    def test_a_shared_beginning_isnt_run_again(self):
        model, cache = llama(), paged(12, 3)
        one, _ = cache.start(TEN)
        run(model, cache, one, TEN)
        cache.end(one)
        text = [*TEN[:8], 50, 51]
        other, found = cache.start(text)
        assert_equal(found, 6)
        assert_close(run(model, cache, other, text[6:]), contiguous(model, text)[6:])

    def test_beam_search_as_with_caches_that_are_copied(self):
        model, cache = llama(), paged(20, 3)
        prompt, width = TEN[:5], 3
        first, _ = cache.start(prompt)
        logits, beams, texts, scores = (
            [run(model, cache, first, prompt)[-1]],
            [first],
            [prompt],
            torch.zeros(1).double(),
        )
        expected_texts, expected_scores = [prompt], torch.zeros(1).double()
        for _ in range(5):
            total = scores[:, None] + torch.stack(logits).log_softmax(-1)
            scores, flat = total.flatten().topk(width)
            parents, tokens = (flat // 61).tolist(), (flat % 61).tolist()
            beams = pick_beams(cache, beams, parents)
            texts = [[*texts[parent], token] for parent, token in zip(parents, tokens, strict=True)]
            logits = [run(model, cache, beam, [token])[-1] for beam, token in zip(beams, tokens, strict=True)]
            total = expected_scores[:, None] + torch.stack(
                [contiguous(model, text)[-1] for text in expected_texts]
            ).log_softmax(-1)
            expected_scores, flat = total.flatten().topk(width)
            expected_texts = [[*expected_texts[i // 61], i % 61] for i in flat.tolist()]
        assert_equal(texts, expected_texts)
        assert_close(scores, expected_scores)
        assert_equal([cache.tokens[beam] for beam in beams], texts)

    def test_the_model_is_called_once(self):
        model, cache, seen = llama(), paged(), []
        model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        sequence, _ = cache.start(TEN)
        run(lambda ids, caches: model(ids, caches), cache, sequence, TEN[:5])
        run(lambda ids, caches: model(ids, caches), cache, sequence, TEN[5:6])
        assert_equal(seen, [torch.tensor([TEN[:5]]), torch.tensor([TEN[5:6]])])

    def test_if_the_model_fails_nothing_is_committed(self):
        cache = paged()
        sequence = begun(cache, TEN[:3])

        def broken(ids, caches):
            assert_equal(cache.start(TEN)[1], 0)  # not found while the model still runs
            raise ZeroDivisionError

        with raises(ZeroDivisionError):
            run(broken, cache, sequence, TEN[3:9])
        assert_equal((cache.tokens[sequence], cache.start(TEN)[1]), (TEN[:3], 0))

    def test_too_few_blocks_are_noticed_before_the_model_runs(self):
        cache, seen = paged(2), []
        sequence, _ = cache.start(TEN)
        with raises(OutOfBlocks, 3, 2):
            run(lambda ids, caches: seen.append(ids), cache, sequence, TEN)
        assert_equal((seen, cache.tokens[sequence], cache.pool.free), ([], [], 2))

    def test_a_model_with_a_window_and_other_sizes(self):
        from reference.module_09_inference.k01_kv_cache import CachedLlama

        config = LlamaConfig(17, 12, 10, 3, 3, 1, 6, 10000.0, 0.1, True)
        model, cache, ids = CachedLlama(config, 4).double(), PagedCache(config, 5, 2, torch.float64), list(range(9))
        sequence, _ = cache.start(ids)
        found = torch.cat([run(model, cache, sequence, part) for part in (ids[:4], ids[4:5], ids[5:])])
        assert_close(found, contiguous(model, ids))


class TestOnTheGpu:
    def test_rows(self, gpu):
        store, rows = gpu(some(4, 3, 2, 4)), gpu(some(5, 2, 4))
        expected = store.cpu().clone()
        write_rows(store, [3, 1, 0], 2, rows)
        write_rows(expected, [3, 1, 0], 2, rows.cpu())
        assert_close(store.cpu(), expected)
        found = read_rows(store, [3, 1, 0], 7)
        assert_equal(found.device.type, gpu.device.type)
        assert_close(found.cpu(), read_rows(expected, [3, 1, 0], 7))

    def test_run_with_a_fork(self, gpu):
        def three_passes(model: nn.Module, device):
            cache = PagedCache(CONFIG, 8, 4, torch.float64, device)
            one, _ = cache.start(TEN)
            found = [run(model, cache, one, TEN[:6])]
            other = cache.fork(one)
            return [*found, run(model, cache, other, [50, 51]), run(model, cache, one, [60])]

        model = llama()
        there, here = three_passes(gpu(model), gpu.device), three_passes(model, "cpu")
        assert_equal([one.device.type for one in there], [gpu.device.type] * 3)
        assert_close([one.cpu() for one in there], here)
