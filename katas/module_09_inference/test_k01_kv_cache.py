"""Judges k01_kv_cache against the models without a cache: Llama of module 05, and transformers' Mistral for windows."""

import dataclasses
import math
import time

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_05_transformers.k14_llama import LlamaConfig
from katas.module_09_inference.k01_kv_cache import (
    CachedAttention,
    CachedLlama,
    KVCache,
    SlidingWindowCache,
    cache_bytes,
    decode,
    generate,
    prefill,
    visible,
)

pytestmark = [
    from_scratch("transformers", "torch.nn.functional.scaled_dot_product_attention"),
    pure(),
    pytest.mark.deadline(60),  # the first test of Mistral imports transformers, which takes a busy machine a while
]

SMOLLM2 = LlamaConfig(49152, 576, 1536, 30, 9, 3, 64, 100000.0, 1e-5, True)
GROUPED = LlamaConfig(61, 24, 40, 2, 6, 2, 4, 500.0, 1e-5, False)
SINGLE = LlamaConfig(17, 12, 10, 3, 3, 1, 6, 10000.0, 0.1, True)
CONFIGS = {"grouped": GROUPED, "single": SINGLE}


def some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def positions_from(*starts: int, n: int) -> torch.Tensor:
    """(b, n): in each row n positions, the first of which is given."""
    return torch.tensor(starts)[:, None] + torch.arange(n)


def held_bytes(thing) -> int:
    """The bytes of all floating tensors that can be reached from `thing`; memory that two share counts once."""
    found, seen, todo = {}, set(), [thing]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            if one.is_floating_point():
                found[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        elif isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, list | tuple) or type(one).__name__ == "deque":
            todo += one
        elif hasattr(one, "__dict__"):
            todo += vars(one).values()
    return sum(found.values())


class TestCacheBytes:
    def test_the_example_worked_by_hand(self):
        found = [cache_bytes(SMOLLM2, 1, 1), cache_bytes(SMOLLM2, 8, 2048), cache_bytes(SMOLLM2, 8, 2048, window=512)]
        assert_equal(found, [23_040, 377_487_360, 94_371_840])

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, 9240),
            ({"layers": 6}, 18480),
            ({"kv_heads": 10}, 18480),
            ({"head_dim": 22}, 18480),
            ({"heads": 40}, 9240),
            ({"d_model": 70}, 9240),
        ],
    )
    def test_every_size_counts_that_is_kept(self, changes, expected):
        config = LlamaConfig(61, 35, 40, 3, 20, 5, 11, 500.0, 1e-5, False)
        assert_equal(cache_bytes(dataclasses.replace(config, **changes), 1, 7, 4), expected)

    @pytest.mark.parametrize(("batch", "tokens", "each"), [(1, 9, 2), (5, 1, 4), (2, 7, 1)])
    def test_sequences_tokens_and_bytes_a_number(self, batch, tokens, each):
        assert_equal(cache_bytes(GROUPED, batch, tokens, each), 32 * batch * tokens * each)

    @pytest.mark.parametrize(("tokens", "held"), [(3, 3), (4, 4), (5, 4), (100, 4)])
    def test_a_window_is_the_most_that_is_held(self, tokens, held):
        assert_equal(cache_bytes(GROUPED, 3, tokens, 2, 4), 64 * 3 * held)


def brute_force(queries: torch.Tensor, keys: torch.Tensor, window: int | None) -> torch.Tensor:
    lead = torch.broadcast_shapes(queries.shape[:-1], keys.shape[:-1])
    q, k = queries.expand(*lead, -1).reshape(-1, queries.shape[-1]), keys.expand(*lead, -1).reshape(-1, keys.shape[-1])
    rows = [
        [[j >= 0 and j <= i and (window is None or i - j < window) for j in k_row] for i in q_row]
        for q_row, k_row in zip(q.tolist(), k.tolist(), strict=True)
    ]
    return torch.tensor(rows).reshape(*lead, queries.shape[-1], keys.shape[-1])


class TestVisible:
    def test_the_example_worked_by_hand(self):
        queries, keys = torch.tensor([3, 4]), torch.arange(5)
        assert_equal(visible(queries, keys).int().tolist(), [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
        assert_equal(visible(queries, keys, 3).int().tolist(), [[0, 1, 1, 1, 0], [0, 0, 1, 1, 1]])

    @pytest.mark.parametrize("window", [None, 1, 2, 5, 50])
    @pytest.mark.parametrize(
        ("lead_q", "lead_k"), [((), ()), ((2,), (2,)), ((2, 3), (2, 3)), ((2, 1), (3,)), ((), (2,))]
    )
    def test_matches_a_loop_over_all_pairs(self, lead_q, lead_k, window):
        queries, keys = torch.randint(-2, 12, (*lead_q, 4)), torch.randint(-3, 12, (*lead_k, 7))
        assert_equal(visible(queries, keys, window), brute_force(queries, keys, window))

    def test_keys_in_any_order(self):
        assert_equal(visible(torch.tensor([6]), torch.tensor([8, 5, 6, 7, 3]), 3).int().tolist(), [[0, 1, 1, 0, 0]])

    @pytest.mark.parametrize("window", [None, 3, 100])
    def test_nobody_sees_padding(self, window):
        assert_equal(visible(torch.tensor([-1, 0, 2]), torch.tensor([-3, -2, -1]), window).any().item(), False)


class TestKVCache:
    def test_two_tokens_and_one_more(self):
        cache = KVCache(1, 1, 2, 4)
        first = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        keys, values, at = cache.append(first, -first, torch.tensor([[0, 1]]))
        assert_close((keys, values, at), (first, -first, torch.tensor([[0, 1]])))
        last = torch.tensor([[[[5.0, 6.0]]]])
        keys, values, at = cache.append(last, -last, torch.tensor([[2]]))
        whole = torch.tensor([[[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]])
        assert_close((keys, values, at), (whole, -whole, torch.tensor([[0, 1, 2]])))

    @pytest.mark.parametrize("pieces", [[9], [1] * 9, [4, 1, 1, 3], [1, 8], [5, 2]])
    def test_gives_all_that_came_in_whatever_pieces(self, pieces):
        n = sum(pieces)
        k, v, positions = some(2, 3, n, 4), some(2, 3, n, 4), positions_from(0, 0, n=n)
        cache, end = KVCache(2, 3, 4, 9, torch.float64), 0
        for piece in pieces:
            start, end = end, end + piece
            found = cache.append(k[:, :, start:end], v[:, :, start:end], positions[:, start:end])
            assert_close(found, (k[:, :, :end], v[:, :, :end], positions[:, :end]))

    def test_positions_are_kept_as_they_come(self):
        cache = KVCache(3, 1, 2, 8, torch.float64)
        at = positions_from(-2, 0, 70_000, n=5)
        cache.append(some(3, 1, 4, 2), some(3, 1, 4, 2), at[:, :4])
        assert_close(cache.append(some(3, 1, 1, 2), some(3, 1, 1, 2), at[:, 4:])[2], at)

    def test_counts_its_tokens(self):
        cache = KVCache(2, 3, 4, 9, torch.float64)
        found = [cache.length]
        for n in (3, 1, 5):
            cache.append(some(2, 3, n, 4), some(2, 3, n, 4), positions_from(0, 0, n=n))
            found.append(cache.length)
        assert_equal(found, [0, 3, 4, 9])

    def test_what_is_kept_is_a_copy(self):
        k, v, positions = some(1, 2, 3, 4), some(1, 2, 3, 4), positions_from(0, n=3)
        expected = k.clone(), v.clone(), positions.clone()
        cache = KVCache(1, 2, 4, 5, torch.float64)
        cache.append(k, v, positions)
        for one in (k, v, positions):
            one += 7
        found = cache.append(some(1, 2, 1, 4), some(1, 2, 1, 4), torch.tensor([[3]]))
        assert_close((found[0][..., :3, :], found[1][..., :3, :], found[2][:, :3]), expected)

    def test_earlier_tokens_are_not_moved(self):
        cache = KVCache(2, 3, 4, 12, torch.float64)
        places = []
        for n in (5, 1, 1, 3):
            keys, values, _ = cache.append(some(2, 3, n, 4), some(2, 3, n, 4), positions_from(0, 0, n=n))
            places.append((keys.data_ptr(), values.data_ptr()))
        if len(set(places)) > 1:
            fail(
                "append() moves what the cache held before: write into the memory taken at the start.",
                evidence=len(set(places)),
            )

    @pytest.mark.parametrize(("batch", "kv_heads", "head_dim", "capacity"), [(1, 2, 3, 5), (4, 1, 2, 7)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
    def test_takes_the_memory_of_its_capacity(self, batch, kv_heads, head_dim, capacity, dtype):
        cache = KVCache(batch, kv_heads, head_dim, capacity, dtype)
        k = torch.ones(batch, kv_heads, 2, head_dim, dtype=dtype)
        keys, values, _ = cache.append(k, k, positions_from(*[0] * batch, n=2))
        assert_equal((keys.dtype, values.dtype), (dtype, dtype))
        config = dataclasses.replace(GROUPED, layers=1, kv_heads=kv_heads, head_dim=head_dim)
        most = cache_bytes(config, batch, capacity, dtype.itemsize)
        if held_bytes(cache) > most:
            fail(
                f"the cache holds {held_bytes(cache)} bytes of keys and values, where {most} are enough",
                evidence=held_bytes(cache),
            )

    def test_is_float32_unless_it_is_told(self):
        k = torch.ones(1, 1, 1, 2)
        assert_equal(
            [one.dtype for one in KVCache(1, 1, 2, 1).append(k, k, torch.tensor([[0]]))[:2]], [torch.float32] * 2
        )

    @pytest.mark.parametrize("n", [2, 5])
    def test_refuses_more_than_it_has_room_for(self, n):
        k, v, positions = some(1, 2, 7, 4), some(1, 2, 7, 4), positions_from(0, n=7)
        cache = KVCache(1, 2, 4, 7, torch.float64)
        cache.append(k[:, :, :6], v[:, :, :6], positions[:, :6])
        with raises(ValueError, 7, 6 + n):
            cache.append(some(1, 2, n, 4), some(1, 2, n, 4), positions_from(6, n=n))
        assert_equal(cache.length, 6)
        assert_close(cache.append(k[:, :, 6:], v[:, :, 6:], positions[:, 6:]), (k, v, positions))

    def test_two_caches_are_apart(self):
        one, other = KVCache(1, 1, 2, 3, torch.float64), KVCache(1, 1, 2, 3, torch.float64)
        k, v = some(1, 1, 2, 2), some(1, 1, 2, 2)
        one.append(k, v, positions_from(0, n=2))
        other.append(v, k, positions_from(0, n=2))
        more = some(1, 1, 1, 2)
        assert_close(one.append(more, more, torch.tensor([[2]]))[0], torch.cat([k, more], -2))

    @pytest.mark.parametrize("length", [0, 1, 4, 5])
    def test_truncate_forgets_the_last_ones(self, length):
        k, v, positions = some(2, 1, 5, 3), some(2, 1, 5, 3), positions_from(0, 4, n=5)
        cache = KVCache(2, 1, 3, 6, torch.float64)
        cache.append(k, v, positions)
        cache.truncate(length)
        assert_equal(cache.length, length)
        new_k, new_v, new_at = some(2, 1, 1, 3), some(2, 1, 1, 3), positions_from(length, 4 + length, n=1)
        found = cache.append(new_k, new_v, new_at)
        expected = (
            torch.cat([k[:, :, :length], new_k], 2),
            torch.cat([v[:, :, :length], new_v], 2),
            torch.cat([positions[:, :length], new_at], 1),
        )
        assert_close(found, expected)

    @pytest.mark.parametrize("length", [-1, 4, 8])
    def test_truncate_refuses_other_lengths(self, length):
        cache = KVCache(1, 1, 2, 9, torch.float64)
        cache.append(some(1, 1, 3, 2), some(1, 1, 3, 2), positions_from(0, n=3))
        with raises(ValueError, length, 3):
            cache.truncate(length)
        assert_equal(cache.length, 3)

    @pytest.mark.parametrize("seed", range(4))
    def test_any_trace_of_calls(self, seed):
        draw = torch.Generator().manual_seed(seed)
        cache, k, v = KVCache(2, 2, 3, 12, torch.float64), some(2, 2, 0, 3), some(2, 2, 0, 3)
        for _ in range(30):
            length = int(torch.randint(0, k.shape[2] + 1, (), generator=draw))
            if k.shape[2] == 12 or length % 3 == 0:
                length = min(length, 11)
                cache.truncate(length)
                k, v = k[:, :, :length], v[:, :, :length]
            n = min(int(torch.randint(1, 5, (), generator=draw)), 12 - k.shape[2])
            new_k, new_v = some(2, 2, n, 3), some(2, 2, n, 3)
            at = positions_from(0, 0, n=k.shape[2] + n)
            k, v = torch.cat([k, new_k], 2), torch.cat([v, new_v], 2)
            assert_close(cache.append(new_k, new_v, at[:, -n:]), (k, v, at))


class Stream:
    """Tokens that go into a SlidingWindowCache piece by piece; `step` checks what comes out."""

    def __init__(self, window: int, starts: tuple[int, ...] = (0, 0), heads: int = 2, head_dim: int = 3) -> None:
        self.window, self.starts, self.end = window, starts, 0
        self.cache = SlidingWindowCache(len(starts), heads, head_dim, window, torch.float64)
        self.k, self.v = some(len(starts), heads, 60, head_dim), some(len(starts), heads, 60, head_dim)
        self.at = positions_from(*starts, n=60)

    def step(self, n: int) -> None:
        start, self.end = self.end, self.end + n
        new = (
            self.k[:, :, start : self.end].clone(),
            self.v[:, :, start : self.end].clone(),
            self.at[:, start : self.end].clone(),
        )
        keys, values, at = self.cache.append(*new)
        first = max(0, start - self.window + 1)  # what the first new query sees
        expected = self.k[:, :, first : self.end], self.v[:, :, first : self.end], self.at[:, first : self.end]
        rows = zip(keys, values, at, self.at[:, first], strict=True)
        found = [self.needed(*row) for row in rows]
        assert_close(tuple(torch.stack(part) for part in zip(*found, strict=True)), expected)
        for one in new:
            one += 9  # what the cache keeps is a copy

    def needed(self, keys, values, at, first):
        """A row's tokens from the position `first` on, sorted; each may stand there only once."""
        order = at.argsort()
        order = order[at[order] >= first]
        return keys[:, order], values[:, order], at[order]


class TestSlidingWindowCache:
    def test_three_tokens_after_six_as_drawn(self):
        cache = SlidingWindowCache(1, 1, 1, 4, torch.float64)
        k = torch.arange(10.0, 19.0, dtype=torch.float64).reshape(1, 1, 9, 1)
        cache.append(k[:, :, :6], -k[:, :, :6], positions_from(0, n=6))
        keys, values, at = cache.append(k[:, :, 6:], -k[:, :, 6:], positions_from(6, n=3))
        found = sorted(zip(at[0].tolist(), keys.flatten().tolist(), values.flatten().tolist(), strict=True))
        assert_close([one for one in found if one[0] >= 3], [(p, 10.0 + p, -10.0 - p) for p in range(3, 9)])

    @pytest.mark.parametrize("pieces", [[1] * 12, [7, 1, 1, 1, 1], [3, 4, 5], [1, 20, 1, 2], [2, 2, 2, 9, 1]])
    @pytest.mark.parametrize("window", [1, 2, 4, 7, 30])
    def test_gives_all_that_a_new_query_sees(self, window, pieces):
        stream = Stream(window)
        for n in pieces:
            stream.step(n)

    def test_rows_with_positions_of_their_own(self):
        stream = Stream(3, (-2, 0, 50_000))
        for n in (4, 1, 3, 1):
            stream.step(n)

    def test_counts_the_dropped_ones_too(self):
        cache = SlidingWindowCache(2, 1, 2, 3, torch.float64)
        found = [cache.length]
        for n in (2, 4, 1):
            cache.append(some(2, 1, n, 2), some(2, 1, n, 2), positions_from(found[-1], found[-1], n=n))
            found.append(cache.length)
        assert_equal(found, [0, 2, 6, 7])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize(("window", "pieces"), [(5, [3, 1, 1, 1, 1]), (5, [40]), (5, [2, 17, 1]), (1, [1, 1, 4])])
    def test_holds_no_more_than_a_window(self, window, pieces, dtype):
        cache, end, held = SlidingWindowCache(2, 3, 4, window, dtype), 0, []
        for n in pieces:
            k = torch.ones(2, 3, n, 4, dtype=dtype)
            found = cache.append(k, k, positions_from(end, end, n=n))
            assert_equal([one.dtype for one in found[:2]], [dtype, dtype])
            del found
            held.append(held_bytes(cache))
            end += n
        most = 2 * 2 * 3 * 4 * window * dtype.itemsize
        if max(held) > most:
            fail(
                f"the cache holds {max(held)} bytes between calls, a window of {window} takes {most}",
                evidence=tuple(held),
            )

    def test_is_float32_unless_it_is_told(self):
        k = torch.ones(1, 1, 1, 2)
        found = SlidingWindowCache(1, 1, 2, 4).append(k, k, torch.tensor([[0]]))
        assert_equal([one.dtype for one in found[:2]], [torch.float32] * 2)

    def test_two_caches_are_apart(self):
        one, other = Stream(4), Stream(4)
        for n in (3, 1, 2):
            one.step(n)
            other.step(n)


def layer(config: LlamaConfig, window: int | None = None) -> CachedAttention:
    module = CachedAttention(config, window).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.7)
    return module


def uncached(module: CachedAttention, x: torch.Tensor, positions: torch.Tensor, window: int | None = None):
    """The attention of a whole text, row by row, by grouped_query_attention with a mask."""
    from reference.module_05_transformers.k12_grouped_query_attention import GroupedQueryAttention

    c = module.config
    plain = GroupedQueryAttention(c.d_model, c.heads, c.kv_heads, c.head_dim, c.theta).double()
    plain.load_state_dict(module.state_dict())
    rows = []
    for row, at in zip(x, positions, strict=True):
        gap = at[:, None] - at[None]
        mask = (gap >= 0) & (at >= 0) & (gap < (window or 10**9))
        rows.append(plain(row, mask, at))
    return torch.stack(rows).detach()


def in_pieces(module: CachedAttention, x: torch.Tensor, positions: torch.Tensor, pieces: list[int], cache=None):
    c, end, found = module.config, 0, []
    cache = cache or KVCache(len(x), c.kv_heads, c.head_dim, x.shape[1], torch.float64)
    with torch.no_grad():
        for n in pieces:
            start, end = end, end + n
            found.append(module(x[:, start:end], positions[:, start:end], cache))
    return torch.cat(found, dim=1)


class Shuffled:
    """A cache that gives its tokens in another order, with junk among them that nobody may see."""

    def __init__(self, order: int) -> None:
        self.order, self.held = order, []

    def append(self, k, v, positions):
        self.held.append((k.clone(), v.clone(), positions.clone()))
        keys, values = (torch.cat([one[i] for one in self.held], 2) for i in (0, 1))
        at = torch.cat([one[2] for one in self.held], 1)
        keys = torch.cat([keys, torch.full_like(keys[:, :, :2], 30.0)], 2)
        values = torch.cat([values, torch.full_like(values[:, :, :2], 1e6)], 2)
        at = torch.cat([at, torch.tensor([[-1, 10**6]]).expand(len(at), 2)], 1)
        order = torch.randperm(at.shape[1], generator=torch.Generator().manual_seed(self.order))
        return keys[:, :, order], values[:, :, order], at[:, order]


class TestCachedAttention:
    @pytest.mark.parametrize("config", CONFIGS)
    @pytest.mark.parametrize("pieces", [[9], [1] * 9, [5, 1, 1, 2], [1, 8]])
    def test_equals_attention_without_a_cache(self, config, pieces):
        module, x, at = layer(CONFIGS[config]), some(2, 9, CONFIGS[config].d_model), positions_from(0, 0, n=9)
        assert_close(in_pieces(module, x, at, pieces), uncached(module, x, at))

    @pytest.mark.parametrize("window", [1, 3, 6])
    @pytest.mark.parametrize("kind", ["full", "sliding"])
    def test_a_window_whatever_the_cache_holds(self, kind, window):
        module, x, at = layer(GROUPED, window), some(2, 11, 24), positions_from(0, 0, n=11)
        cache = SlidingWindowCache(2, 2, 4, window, torch.float64) if kind == "sliding" else None
        assert_close(in_pieces(module, x, at, [4, 1, 1, 5], cache), uncached(module, x, at, window))

    def test_rows_that_stand_elsewhere(self):
        module, x, at = layer(GROUPED), some(3, 7, 24), positions_from(0, 11, 4000, n=7)
        assert_close(in_pieces(module, x, at, [3, 1, 3]), uncached(module, x, at))

    @pytest.mark.parametrize("pieces", [[8], [2, 3, 1, 2]])
    def test_padding_on_the_left_changes_nothing(self, pieces):
        module, x, at = layer(GROUPED), some(3, 8, 24), positions_from(-3, 0, -5, n=8)
        x[0, :3], x[2, :5] = 40 * x[0, :3], -40 * x[2, :5]
        found = in_pieces(module, x, at, pieces)
        for row, pad in ((0, 3), (1, 0), (2, 5)):
            alone = uncached(module, x[row : row + 1, pad:], positions_from(0, n=8 - pad))[0]
            assert_close(found[row, pad:], alone)
            assert_close(found[row, :pad], torch.zeros(pad, 24, dtype=torch.float64))

    def test_any_cache_will_do_and_any_order(self):
        module, x, at = layer(GROUPED), some(2, 9, 24), positions_from(0, 3, n=9)
        assert_close(in_pieces(module, x, at, [4, 1, 1, 3], Shuffled(1)), uncached(module, x, at))

    def test_what_goes_into_the_cache(self):
        module, x, at = layer(GROUPED), some(2, 3, 24), positions_from(5, 900, n=3)
        seen = Shuffled(2)
        in_pieces(module, x, at, [3], seen)
        assert_equal(len(seen.held), 1)
        k = (x @ module.k_proj.weight.T).detach().reshape(2, 3, 2, 4).transpose(1, 2)
        v = (x @ module.v_proj.weight.T).detach().reshape(2, 3, 2, 4).transpose(1, 2)
        # RoPE as a product of complex numbers, pairs cut in halves.
        turn = torch.polar(
            torch.ones(2, 1, 3, 2, dtype=torch.float64),
            at[:, None, :, None] * torch.tensor([1.0, 500.0**-0.5], dtype=torch.float64),
        )
        turned = torch.complex(k[..., :2].contiguous(), k[..., 2:].contiguous()) * turn
        assert_close(seen.held[0], (torch.cat([turned.real, turned.imag], -1), v, at))

    def test_a_second_text_owes_nothing_to_the_first(self):
        module, at = layer(GROUPED), positions_from(0, 0, n=5)
        in_pieces(module, some(2, 5, 24), at, [4, 1])
        x = some(2, 5, 24)
        assert_close(in_pieces(module, x, at, [2, 3]), uncached(module, x, at))


def llama(config: LlamaConfig, window: int | None = None) -> CachedLlama:
    model = CachedLlama(config, window).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def plain_llama(model: CachedLlama) -> nn.Module:
    """The kata llama's model with the same weights: it has no cache."""
    from reference.module_05_transformers.k14_llama import Llama

    plain = Llama(model.config).double()
    plain.load_hf(
        {name if name.startswith("lm_head") else f"model.{name}": w for name, w in model.state_dict().items()}
    )
    return plain


def whole(model: CachedLlama, ids: torch.Tensor) -> torch.Tensor:
    """The logits of a text (b, n) without a cache."""
    with torch.no_grad():
        return plain_llama(model)(ids)


def some_ids(config: LlamaConfig, *shape: int) -> torch.Tensor:
    return torch.randint(0, config.vocab_size, shape)


class TestTheWholeModel:
    @pytest.mark.parametrize("config", CONFIGS)
    @pytest.mark.parametrize("pieces", [[10], [1] * 10, [6, 1, 1, 2]])
    def test_the_same_logits_at_every_step(self, config, pieces):
        model = llama(CONFIGS[config])
        ids, caches = some_ids(model.config, 2, 10), model.new_caches(2, 10)
        found = torch.cat([model(part, caches) for part in ids.split(pieces, dim=1)], dim=1)
        assert_close(found, whole(model, ids))

    def test_rejected_tokens_leave_no_trace(self):
        model = llama(GROUPED)
        ids, caches = some_ids(GROUPED, 1, 8), model.new_caches(1, 9)
        model(torch.cat([ids[:, :5], some_ids(GROUPED, 1, 4)], dim=1), caches)
        for cache in caches:
            cache.truncate(5)
        assert_close(model(ids[:, 5:], caches), whole(model, ids)[:, 5:])

    @pytest.mark.parametrize("window", [2, 5])
    def test_a_window_as_in_mistral(self, window):
        from transformers import MistralConfig, MistralForCausalLM

        model, c = llama(GROUPED, window), GROUPED
        theirs = MistralForCausalLM(
            MistralConfig(
                vocab_size=c.vocab_size, hidden_size=c.d_model, intermediate_size=c.d_ff, num_hidden_layers=c.layers,
                num_attention_heads=c.heads, num_key_value_heads=c.kv_heads, head_dim=c.head_dim, rms_norm_eps=c.eps,
                rope_parameters={"rope_type": "default", "rope_theta": c.theta}, tie_word_embeddings=c.tied,
                sliding_window=window, attn_implementation="eager", max_position_embeddings=64,
            )
        ).double().eval()  # fmt: skip
        state = model.state_dict()
        theirs.load_state_dict(
            {name if name.startswith("lm_head") else f"model.{name}": w for name, w in state.items()}
        )
        ids, caches = some_ids(c, 2, 12), model.new_caches(2, 12)
        found = torch.cat([model(part, caches) for part in ids.split([7, 1, 1, 3], dim=1)], dim=1)
        # Their norms and the angles of RoPE are computed in float32, and the weights make logits of some hundreds.
        assert_close(found, theirs(ids).logits.detach(), atol=1e-3, rtol=1e-4)


class Watched(CachedLlama):
    """Writes down what it is asked to run, and for how many tokens caches are made."""

    def __init__(self, config: LlamaConfig, window: int | None = None) -> None:
        super().__init__(config, window)
        self.passes, self.capacities = [], []

    def new_caches(self, batch, capacity):
        self.capacities.append((batch, capacity))
        return super().new_caches(batch, capacity)

    def forward(self, ids, caches, positions=None):
        self.passes.append(ids.tolist())
        return super().forward(ids, caches, positions)


def watched(config: LlamaConfig, window: int | None = None) -> Watched:
    model = Watched(config, window).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


class TestPrefill:
    @pytest.mark.parametrize("chunk", [None, 1, 3, 4, 11, 50])
    def test_the_logits_of_the_last_token(self, chunk):
        model = llama(GROUPED)
        ids = some_ids(GROUPED, 2, 11)
        assert_close(prefill(model, ids, model.new_caches(2, 11), chunk), whole(model, ids)[:, -1])

    @pytest.mark.parametrize(("chunk", "sizes"), [(None, 1), (1, 10), (3, 4), (5, 2), (10, 1), (40, 1)])
    def test_chunk_is_the_most_that_the_model_gets_at_once(self, chunk, sizes):
        model, ids = watched(GROUPED), some_ids(GROUPED, 2, 10)
        prefill(model, ids, model.new_caches(2, 10), chunk)
        assert_equal(len(model.passes), sizes)
        assert_equal(max(len(part[0]) for part in model.passes) <= (chunk or 10), True)
        assert_equal([[token for part in model.passes for token in part[row]] for row in (0, 1)], ids.tolist())

    def test_a_longer_prompt_after_a_short_one_comes_whole_as_well(self):
        model = watched(GROUPED)
        for n in (2, 3, 8):
            prefill(model, some_ids(GROUPED, 1, n), model.new_caches(1, n))
        assert_equal([len(part[0]) for part in model.passes], [2, 3, 8])

    def test_all_of_it_is_in_the_caches(self):
        model = llama(GROUPED)
        ids, caches = some_ids(GROUPED, 2, 9), model.new_caches(2, 9)
        prefill(model, ids[:, :7], caches, 3)
        assert_equal([cache.length for cache in caches], [7, 7])
        assert_close(model(ids[:, 7:], caches), whole(model, ids)[:, 7:])

    def test_follows_what_the_caches_hold(self):
        model = llama(GROUPED)
        ids, caches = some_ids(GROUPED, 2, 9), model.new_caches(2, 9)
        prefill(model, ids[:, :4], caches)
        assert_close(prefill(model, ids[:, 4:], caches, 2), whole(model, ids)[:, -1])

    @pytest.mark.parametrize("chunk", [1, 2, 5])
    def test_a_window_with_chunks(self, chunk):
        model, ids = llama(GROUPED, 3), some_ids(GROUPED, 1, 10)
        expected = prefill(model, ids, model.new_caches(1, 10))
        assert_close(prefill(model, ids, model.new_caches(1, 10), chunk), expected)


class TestDecode:
    def test_the_logits_after_one_more_token(self):
        model = llama(GROUPED)
        ids, caches = some_ids(GROUPED, 3, 7), model.new_caches(3, 7)
        prefill(model, ids[:, :4], caches)
        for t in (4, 5, 6):
            assert_close(decode(model, ids[:, t], caches), whole(model, ids)[:, t])

    def test_one_pass_of_one_token(self):
        model = watched(GROUPED)
        caches = model.new_caches(2, 3)
        decode(model, torch.tensor([5, 60]), caches)
        assert_equal(model.passes, [[[5], [60]]])
        assert_equal([cache.length for cache in caches], [1, 1])


def written(model: CachedLlama, ids: torch.Tensor, new_tokens: int, stop: int | None = None) -> torch.Tensor:
    from reference.module_05_transformers.k14_llama import greedy

    return greedy(plain_llama(model), ids, new_tokens, stop)


class TestGenerate:
    @pytest.mark.parametrize("config", CONFIGS)
    @pytest.mark.parametrize("n", [1, 6])
    def test_the_text_that_greedy_writes_without_a_cache(self, config, n):
        model = llama(CONFIGS[config])
        ids = some_ids(model.config, n)
        assert_equal(generate(model, ids, 12), written(model, ids, 12))

    @pytest.mark.parametrize("chunk", [1, 4, 30])
    def test_in_chunks_it_is_the_same(self, chunk):
        model, ids = llama(GROUPED), some_ids(GROUPED, 10)
        assert_equal(generate(model, ids, 5, chunk=chunk), written(model, ids, 5))

    @pytest.mark.parametrize("nth", [0, 1, 4])
    def test_stops_after_the_stop_token(self, nth):
        model, ids = llama(GROUPED), some_ids(GROUPED, 5)
        stop = int(written(model, ids, 8)[5 + nth])
        assert_equal(generate(model, ids, 8, stop), written(model, ids, 8, stop))

    def test_a_stop_token_in_the_prompt_stops_nothing(self):
        model, ids = llama(GROUPED), some_ids(GROUPED, 5)
        stop = next(t for t in ids.tolist() if t not in written(model, ids, 4)[5:].tolist())
        assert_equal(generate(model, ids, 4, stop), written(model, ids, 4))

    @pytest.mark.parametrize("token", [0, 1])
    def test_the_token_0_is_a_stop_token_like_others(self, token):
        model, ids = llama(SINGLE), torch.tensor([3, 7])
        with torch.no_grad():  # after anything comes `token`
            for one in model.layers:
                one.self_attn.o_proj.weight.zero_()
                one.mlp.down_proj.weight.zero_()
            model.embed_tokens.weight.abs_()
            model.norm.weight.abs_()
            model.embed_tokens.weight[token] *= 50
        assert_equal(generate(model, ids, 6, stop=token).tolist(), [3, 7, token])

    @pytest.mark.parametrize(("n", "new_tokens", "chunk"), [(5, 4, None), (5, 1, None), (7, 3, 3), (1, 6, None)])
    def test_no_token_is_run_in_vain(self, n, new_tokens, chunk):
        model, ids = watched(GROUPED), some_ids(GROUPED, n)
        text = generate(model, ids, new_tokens, chunk=chunk).tolist()
        assert_equal([token for part in model.passes for token in part[0]], text[:-1])
        assert_equal(len(model.passes), math.ceil(n / (chunk or n)) + new_tokens - 1)

    def test_nothing_is_run_after_the_stop_token(self):
        model, ids = watched(GROUPED), some_ids(GROUPED, 4)
        stop = int(written(model, ids, 8)[4])
        generate(model, ids, 8, stop)
        assert_equal(model.passes, [[ids.tolist()]])

    def test_room_for_prompt_and_new_tokens_and_no_more(self):
        model = watched(GROUPED)
        generate(model, some_ids(GROUPED, 6), 5)
        ((batch, capacity),) = model.capacities
        assert_equal((batch, capacity in (10, 11)), (1, True))

    def test_nothing_to_write(self):
        model, ids = llama(GROUPED), some_ids(GROUPED, 4)
        assert_equal(generate(model, ids, 0), ids)

    def test_a_second_text_is_like_the_first(self):
        model, ids = llama(GROUPED), some_ids(GROUPED, 4)
        first = generate(model, ids, 6)
        generate(model, some_ids(GROUPED, 9), 3)
        assert_equal(generate(model, ids, 6), first)

    @pytest.mark.parametrize("window", [1, 3, 8])
    def test_with_a_window(self, window):
        model, ids = llama(GROUPED, window), some_ids(GROUPED, 6)
        expected = ids
        for _ in range(6):  # without decoding: all of the text runs again for each token
            logits = model(expected[None], model.new_caches(1, len(expected)))[:, -1]
            expected = torch.cat([expected, logits.argmax(-1)])
        assert_equal(generate(model, ids, 6, chunk=2), expected)


@pytest.mark.slow
@pytest.mark.deadline(300)
class TestSmolLM2:
    """Real weights, 134,515,008 of them, in float32."""

    @pytest.fixture
    def pair(self, smollm2):
        import json

        from safetensors.torch import load_file
        from transformers import AutoTokenizer

        from reference.module_05_transformers.k14_llama import Llama, read_config

        config, state = (
            read_config(json.loads((smollm2 / "config.json").read_text())),
            load_file(smollm2 / "model.safetensors"),
        )
        plain = Llama(config)
        plain.load_hf(state)
        model = CachedLlama(config)
        model.load_state_dict(
            {name.removeprefix("model."): w for name, w in state.items() if not config.tied or name != "lm_head.weight"}
        )
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # on a busy machine, threads that wait for each other would be all that is measured
        text = "The capital of Italy is Rome. The capital of Spain is Madrid. The capital of Poland is Warsaw. " * 4
        yield model, plain, AutoTokenizer.from_pretrained(smollm2)(text, return_tensors="pt")["input_ids"][0]
        torch.set_num_threads(threads)

    def test_the_same_text_and_faster(self, pair):
        from reference.module_05_transformers.k14_llama import greedy

        model, plain, ids = pair
        new_tokens = 24
        start = time.perf_counter()
        found = generate(model, ids, new_tokens)
        cached = time.perf_counter() - start
        start = time.perf_counter()
        expected = greedy(plain, ids, new_tokens)
        without = time.perf_counter() - start
        print(
            f"{new_tokens / cached:.1f} tokens a second with the cache, {new_tokens / without:.1f} without: {without / cached:.1f} times as many"
        )
        assert_equal(found, expected)
        if without < 1.5 * cached:
            fail(
                f"the cache makes it only {without / cached:.2f} times as quick; after the prompt each step should run one token alone",
                evidence="slow",
            )


class TestOnTheGpu:
    def on_both(self, gpu, function, *args):
        """Call it on the CPU and on the device; what comes out is on the device, with the same values."""
        expected, found = function(*args), function(*gpu(list(args)))
        there = found if isinstance(found, tuple) else (found,)
        assert_equal([one.device.type for one in there], [gpu.device.type] * len(there))
        back = tuple(one.detach().cpu() for one in there)
        assert_close(
            back if isinstance(found, tuple) else back[0], expected if isinstance(found, tuple) else expected.detach()
        )

    @pytest.mark.parametrize("window", [None, 2])
    def test_visible(self, gpu, window):
        gpu.check(visible, torch.tensor([[2, 3], [0, 1]]), torch.tensor([0, 3, 1, -1]), window)

    @pytest.mark.parametrize("kind", [KVCache, SlidingWindowCache])
    def test_a_cache(self, gpu, kind):
        def two_calls(k, v, at):
            cache = kind(2, 3, 4, 6, torch.float64, k.device)
            cache.append(k[:, :, :4], v[:, :, :4], at[:, :4])
            if kind is KVCache:
                cache.truncate(3)
                return cache.append(k[:, :, 3:], v[:, :, 3:], at[:, 3:])
            keys, values, positions = cache.append(k[:, :, 4:], v[:, :, 4:], at[:, 4:])
            order = positions[0].argsort()
            return keys[:, :, order], values[:, :, order], positions[:, order]

        self.on_both(gpu, two_calls, some(2, 3, 6, 4), some(2, 3, 6, 4), positions_from(0, 5, n=6))

    def test_attention(self, gpu):
        def two_calls(module, x, at):
            cache = KVCache(2, 2, 4, 6, torch.float64, x.device)
            with torch.no_grad():
                return module(x[:, :4], at[:, :4], cache), module(x[:, 4:], at[:, 4:], cache)

        self.on_both(gpu, two_calls, layer(GROUPED), some(2, 6, 24), positions_from(0, 5, n=6))

    @pytest.mark.parametrize("window", [None, 3])
    def test_prefill_and_decode(self, gpu, window):
        def both(model, ids):
            caches = model.new_caches(2, 8)
            return prefill(model, ids[:, :7], caches, 3), decode(model, ids[:, 7], caches)

        self.on_both(gpu, both, llama(GROUPED, window), some_ids(GROUPED, 2, 8))

    def test_generate(self, gpu):
        self.on_both(gpu, lambda model, ids: generate(model, ids, 4, chunk=2), llama(SINGLE), some_ids(SINGLE, 5))
