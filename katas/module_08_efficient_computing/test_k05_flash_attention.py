"""Judges k05_flash_attention against torch's scaled_dot_product_attention, outputs and gradients, and by the
sizes of all tensors that are made, the products that are computed and what is kept for the backward pass."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from dojo.testing import assert_close, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k05_flash_attention import (
    FlashAttention,
    flash_attention,
    flash_backward,
    flash_forward,
    online_step,
)

pytestmark = [
    from_scratch(
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.softmax",
        "torch.log_softmax",
        "torch.nn.functional.softmax",
        "torch.nn.functional.log_softmax",
        "torch.Tensor.softmax",
        "torch.Tensor.log_softmax",
        "torch.special.softmax",
        "torch.special.log_softmax",
        "torch.nn.Softmax",
        "torch.nn.LogSoftmax",
        "torch.nn.attention",
    ),
    pure(),
]
SIZES = [((), 5, 7, 4), ((2,), 6, 6, 3), ((2, 3), 4, 9, 5), ((), 1, 1, 2)]
MORE_QUERIES = ((3,), 9, 4, 5)
TILES = [(2, 3), (3, 2), (64, 64), (1, 1)]
# n, m and a tile: where one side of the tile is all there is, its other side shows which of the two is which.
SIDES = [(8, 48, (8, 16)), (48, 8, (16, 8))]
PRODUCTS = torch.ops.aten.mm, torch.ops.aten.bmm
SUMS_OF_PRODUCTS = torch.ops.aten.addmm, torch.ops.aten.addmm_, torch.ops.aten.baddbmm, torch.ops.aten.baddbmm_


def make(lead, n, m, d, scale=1.0, dtype=torch.float64):
    q = scale * torch.randn(*lead, n, d, dtype=dtype)
    k, v = (torch.randn(*lead, m, d, dtype=dtype) for _ in range(2))
    return q, k, v


def mask(n, m, causal):
    """True where query i sees key j."""
    i, j = torch.arange(n)[:, None], torch.arange(m)
    return (j <= i + m - n) if causal else torch.ones(n, m, dtype=torch.bool)


def oracle(q, k, v, causal):
    looks = mask(q.shape[-2], k.shape[-2], causal)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=looks)


def log_sums(q, k, causal):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask(q.shape[-2], k.shape[-2], causal), -math.inf).logsumexp(-1)


def very_low_scores():
    """Scores of −2³² and some, of whole numbers and √d = 4, so that no sum is rounded."""
    q, k, v = make((2,), 6, 8, 16)
    q, k = (2 * q).round(), (2 * k).round()
    q[..., 0], k[..., 0] = 2.0**17, -(2.0**17)
    return q, k, v


class Sizes(TorchDispatchMode):
    """The elements of the largest tensor that is made, and the multiplications of all matrix products.

    Products that give one row or one column are sums over a tile, written as products: they don't count.
    """

    largest = products = 0

    def __init__(self):
        super().__init__()
        self.tiles = set()  # the last two axes of what matrix products give
        self.whole = set()  # operators that do the kata's work

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        name = func.overloadpacket.__name__
        if "softmax" in name or "attention" in name:
            self.whole.add(name)
        if func.overloadpacket in PRODUCTS + SUMS_OF_PRODUCTS:
            left, right = args[:2] if func.overloadpacket in PRODUCTS else args[1:3]
            if 1 not in out.shape[-2:]:
                self.products += left.numel() * right.shape[-1]
            self.tiles.add(tuple(out.shape[-2:]))
        return out


def check_sizes(sizes, largest, products):
    if sizes.whole:
        names = sorted(sizes.whole)
        fail(f"{' and '.join(names)} of torch is used: tiles are to be computed.", evidence=names)
    if sizes.largest > largest:
        fail(f"A tensor of {sizes.largest} numbers is made: tiles and inputs have at most {largest}.", evidence=sizes.largest)
    if sizes.products > products:
        fail(
            f"The matrix products take {sizes.products} multiplications: the tiles that can be seen need {products}.",
            evidence=sizes.products,
        )


def check_tile(sizes, tile):
    if tile not in sizes.tiles and tile[::-1] not in sizes.tiles:  # the scores may be k qᵀ as well
        fail(
            f"Matrix products give {sorted(sizes.tiles)}: the scores of a tile {tile}, {tile[0]} queries by {tile[1]} "
            f"keys, aren't among them.",
            evidence=sorted(sizes.tiles),
        )


def tensors_in(value):
    """The tensors in lists, tuples and dicts, however deep, but for single numbers."""
    if isinstance(value, torch.Tensor):
        return [value] if value.numel() > 1 else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors_in(part)]


def visible(n, m, causal, tile):
    """The scores of all tiles in which some query sees some key."""
    looks, total = mask(n, m, causal), 0
    for i in range(0, n, tile[0]):
        for j in range(0, m, tile[1]):
            part = looks[i : i + tile[0], j : j + tile[1]]
            total += part.numel() if part.any() else 0
    return total


class TestOnlineStep:
    def test_the_example_worked_by_hand(self):
        state = torch.full((1,), -math.inf), torch.zeros(1), torch.zeros(1, 1)
        state = online_step(state, torch.tensor([[1.0, 3.0]]), torch.tensor([[10.0], [20.0]]))
        assert_close(state, (torch.tensor([3.0]), torch.tensor([1.1353]), torch.tensor([[21.3534]])), atol=1e-4)
        state = online_step(state, torch.tensor([[2.0]]), torch.tensor([[30.0]]))
        assert_close(state, (torch.tensor([3.0]), torch.tensor([1.5032]), torch.tensor([[32.3897]])), atol=1e-4)

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)], ids=str)
    def test_block_after_block_is_the_softmax_of_the_whole(self, lead):
        scores, values = 3 * torch.randn(*lead, 4, 9, dtype=torch.float64), torch.randn(*lead, 9, 5, dtype=torch.float64)
        state = scores.new_full((*lead, 4), -math.inf), scores.new_zeros(*lead, 4), scores.new_zeros(*lead, 4, 5)
        for start, end in [(0, 2), (2, 3), (3, 9)]:
            state = online_step(state, scores[..., start:end], values[..., start:end, :])
            top, total, acc = state
            seen = scores[..., :end]
            assert_close(top, seen.amax(-1))
            assert_close(total, (seen - seen.amax(-1, keepdim=True)).exp().sum(-1))
            assert_close(acc / total[..., None], torch.softmax(seen, -1) @ values[..., :end, :])

    def test_the_maximum_may_come_first_or_last(self):
        for scores in ([900.0, -900.0, 5.0], [-900.0, 5.0, 900.0]):
            state = torch.full((1,), -math.inf), torch.zeros(1), torch.zeros(1, 2)
            values = torch.randn(3, 2)
            for i in range(3):
                state = online_step(state, torch.tensor([scores[i : i + 1]]), values[i : i + 1])
            assert_close(state[2] / state[1][:, None], values[scores.index(900.0)][None])

    def test_a_query_that_has_seen_nothing_stays_as_it_is(self):
        state = torch.full((2,), -math.inf), torch.zeros(2), torch.zeros(2, 3)
        hidden = torch.tensor([[-math.inf, -math.inf], [-math.inf, 1.0]])
        values = torch.randn(2, 3)
        top, total, acc = online_step(state, hidden, values)
        assert_close(top, torch.tensor([-math.inf, 1.0]))
        assert_close(total, torch.tensor([0.0, 1.0]))
        assert_close(acc, torch.stack([torch.zeros(3), values[1]]))

    def test_a_query_that_sees_nothing_more_stays_as_it_is(self):
        state = torch.randn(2), 1 + torch.rand(2), torch.randn(2, 3)
        assert_close(online_step(state, torch.full((2, 4), -math.inf), torch.randn(4, 3)), state)


class TestForward:
    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize("tile", TILES, ids=str)
    @pytest.mark.parametrize(("lead", "n", "m", "d"), SIZES, ids=str)
    def test_matches_torch(self, lead, n, m, d, tile, causal):
        q, k, v = make(lead, n, m, d)
        assert_close(flash_forward(q, k, v, causal, tile), (oracle(q, k, v, causal), log_sums(q, k, causal)))

    def test_without_the_mask_there_may_be_more_queries_than_keys(self):
        q, k, v = make(*MORE_QUERIES)
        assert_close(flash_forward(q, k, v, False, (4, 3)), (oracle(q, k, v, False), log_sums(q, k, False)))

    def test_large_scores_do_not_overflow(self):
        q, k, v = make((2,), 6, 8, 4, scale=1000.0)
        assert_close(flash_forward(q, k, v, True, (4, 3)), (oracle(q, k, v, True), log_sums(q, k, True)))

    def test_scores_far_below_zero_do_not_vanish(self):
        q, k, v = make((2,), 6, 8, 4)
        q[..., 0], k[..., 0] = 1e5, -2.0  # scores of −10⁵, give or take a few
        assert_close(flash_forward(q, k, v, True, (4, 3)), (oracle(q, k, v, True), log_sums(q, k, True)))

    def test_a_masked_key_counts_for_nothing_however_low_the_others_are(self):
        q, k, v = very_low_scores()
        expected = oracle(q, k, v, True), log_sums(q, k, True)
        # Whoever keeps log-sum-exps of −2³² has six digits after the point, and so have the weights.
        assert_close(flash_forward(q, k, v, True, (4, 3)), expected, rtol=1e-5, atol=1e-5)

    def test_any_strides_will_do(self):
        q, k, v = (torch.randn(2, n, 3, 4, dtype=torch.float64).transpose(-3, -2) for n in (5, 7, 7))
        assert_close(flash_forward(q, k, v, True, (2, 3)), (oracle(q, k, v, True), log_sums(q, k, True)))

    def test_float32_stays_float32(self):
        q, k, v = make((2,), 6, 8, 4, dtype=torch.float32)
        assert_close(flash_forward(q, k, v, True, (4, 3)), (oracle(q, k, v, True), log_sums(q, k, True)))

    @pytest.mark.parametrize("causal", [False, True])
    def test_only_tiles_are_made_and_hidden_ones_are_skipped(self, causal):
        n, m, d, tile = 48, 64, 4, (8, 16)
        q, k, v = make((), n, m, d)
        with Sizes() as sizes:
            flash_forward(q, k, v, causal, tile)
        check_sizes(sizes, max(m * d, tile[0] * (tile[1] + 1)), 2 * d * visible(n, m, causal, tile))

    @pytest.mark.parametrize(("n", "m", "tile"), SIDES, ids=str)
    def test_a_tile_is_queries_by_keys(self, n, m, tile):
        with Sizes() as sizes:
            flash_forward(*make((), n, m, 4), False, tile)
        check_tile(sizes, tile)


class TestBackward:
    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize("tile", TILES[:3], ids=str)
    @pytest.mark.parametrize(("lead", "n", "m", "d"), SIZES, ids=str)
    def test_matches_torch(self, lead, n, m, d, tile, causal):
        self.check(*make(lead, n, m, d), causal, tile)

    def check(self, q, k, v, causal, tile):
        leaves = [x.requires_grad_() for x in (q, k, v)]
        out = oracle(*leaves, causal)
        grad = torch.randn_like(out)
        expected = torch.autograd.grad(out, leaves, grad)
        q, k, v = (x.detach() for x in leaves)
        assert_close(flash_backward(q, k, v, out.detach(), log_sums(q, k, causal), grad, causal, tile), expected)

    def test_without_the_mask_there_may_be_more_queries_than_keys(self):
        self.check(*make(*MORE_QUERIES), False, (4, 3))

    def test_large_scores_do_not_overflow(self):
        self.check(*make((2,), 6, 8, 4, scale=1000.0), True, (4, 3))

    def test_a_masked_key_counts_for_nothing_however_low_the_others_are(self):
        q, k, v = very_low_scores()
        out, lse, grad = oracle(q, k, v, True), log_sums(q, k, True), torch.randn_like(q)
        weights = oracle(q, k, torch.eye(8, dtype=torch.float64).expand(2, 8, 8), True)
        _, _, dv = flash_backward(q, k, v, out, lse, grad, True, (4, 3))
        assert_close(dv, weights.mT @ grad, rtol=1e-5, atol=1e-5)  # as above

    def test_float32_stays_float32(self):
        self.check(*make((2,), 6, 8, 4, dtype=torch.float32), True, (4, 3))

    @pytest.mark.parametrize("causal", [False, True])
    def test_only_tiles_are_made_and_hidden_ones_are_skipped(self, causal):
        n, m, d, tile = 48, 64, 4, (8, 16)
        q, k, v = make((), n, m, d)
        out, lse, grad = oracle(q, k, v, causal), log_sums(q, k, causal), torch.randn(n, d, dtype=torch.float64)
        with Sizes() as sizes:
            flash_backward(q, k, v, out, lse, grad, causal, tile)
        check_sizes(sizes, max(m * d, tile[0] * (tile[1] + 1)), 5 * d * visible(n, m, causal, tile))

    @pytest.mark.parametrize(("n", "m", "tile"), SIDES, ids=str)
    def test_a_tile_is_queries_by_keys(self, n, m, tile):
        q, k, v = make((), n, m, 4)
        out, lse, grad = oracle(q, k, v, False), log_sums(q, k, False), torch.randn_like(q)
        with Sizes() as sizes:
            flash_backward(q, k, v, out, lse, grad, False, tile)
        check_tile(sizes, tile)


class TestFunction:
    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize(("lead", "n", "m", "d"), SIZES, ids=str)
    def test_outputs_and_gradients_match_torch(self, lead, n, m, d, causal):
        mine = [x.requires_grad_() for x in make(lead, n, m, d)]
        theirs = [x.detach().clone().requires_grad_() for x in mine]
        out, expected = FlashAttention.apply(*mine, causal, (2, 3)), oracle(*theirs, causal)
        assert_close(out, expected)
        grad = torch.randn_like(expected)
        given = grad.clone()
        out.backward(given)
        expected.backward(grad)
        assert_close([x.grad for x in mine], [x.grad for x in theirs])
        if not torch.equal(given, grad):
            fail("FlashAttention.backward changes the gradient that it is given.")

    def test_any_strides_will_do(self):
        rows = [torch.randn(2, n, 3, 4, dtype=torch.float64) for n in (5, 7, 7)]
        mine = [x.transpose(-3, -2).requires_grad_() for x in rows]
        theirs = [x.detach().clone().requires_grad_() for x in mine]
        out, expected = FlashAttention.apply(*mine, True, (2, 3)), oracle(*theirs, True)
        assert_close(out, expected)
        # The gradient of a mean is one number with strides of 0.
        out.mean().backward()
        expected.mean().backward()
        assert_close([x.grad for x in mine], [x.grad for x in theirs])

    def test_another_call_may_come_before_the_backward_pass(self):
        calls = [(True, (2, 3)), (False, (3, 2))]
        mine = [[x.requires_grad_() for x in make((), 4, 6, 3)] for _ in calls]
        outs = [FlashAttention.apply(*leaves, *call) for leaves, call in zip(mine, calls, strict=True)]
        for leaves, out, (causal, _) in zip(mine, outs, calls, strict=True):
            expected = torch.autograd.grad(oracle(*leaves, causal).square().sum(), leaves)
            assert_close(torch.autograd.grad(out.square().sum(), leaves), expected)

    def test_a_second_backward_pass_gives_the_same(self):
        leaves = [x.requires_grad_() for x in make((2,), 4, 6, 3)]
        loss = FlashAttention.apply(*leaves, True, (2, 3)).square().sum()
        expected = torch.autograd.grad(oracle(*leaves, True).square().sum(), leaves)
        assert_close(torch.autograd.grad(loss, leaves, retain_graph=True), expected)
        assert_close(torch.autograd.grad(loss, leaves), expected)

    @pytest.mark.parametrize("causal", [False, True])
    def test_gradients_by_finite_differences(self, causal):
        q, k, v = (x.requires_grad_() for x in make((), 3, 4, 2))
        torch.autograd.gradcheck(lambda *x: FlashAttention.apply(*x, causal, (2, 3)), (q, k, v))

    @pytest.mark.parametrize("n", [32, 64])
    def test_what_is_kept_grows_with_n_and_not_with_its_square(self, n):
        kept = set()

        def pack(x):
            kept.add((x.untyped_storage().data_ptr(), x.numel()))
            return x

        q, k, v = (x.requires_grad_() for x in make((), n, n, 4))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            out = FlashAttention.apply(q, k, v, True, (8, 8))
        assert_close(out.sum(), oracle(q, k, v, True).sum())
        total = sum(numel for _, numel in kept)
        # q, k, v and the output of 4 numbers a position, and one log-sum-exp.
        if total != n * (4 * 4 + 1):
            fail(
                f"Of {n} positions {total} numbers are kept for the backward pass: "
                f"q, k, v, the output and the log-sum-exps are {n * (4 * 4 + 1)}.",
                evidence=(n, total),
            )

    def test_no_tensor_is_kept_but_by_save_for_backward(self):
        out = FlashAttention.apply(*(x.requires_grad_() for x in make((), 8, 8, 4)), True, (4, 4))
        nodes, found = [out.grad_fn], []
        for node in nodes:  # grows as it goes: the function may not be the last step
            found += tensors_in(getattr(node, "__dict__", {}))
            nodes += [parent for parent, _ in node.next_functions if parent is not None and parent not in nodes]
        shapes = [tuple(tensor.shape) for tensor in found]
        if shapes:
            fail(f"Attributes of ctx keep tensors of shapes {shapes}: use save_for_backward.", evidence=shapes)

    def test_the_tile_is_the_one_that_it_is_given(self):
        q, k, v = (x.requires_grad_() for x in make((), 48, 64, 4))
        with Sizes() as forward:
            out = FlashAttention.apply(q, k, v, False, (8, 16))
        with Sizes() as backward:
            out.sum().backward()
        for sizes, products in ((forward, 2), (backward, 5)):
            check_sizes(sizes, 64 * 4, products * 4 * 48 * 64)
            check_tile(sizes, (8, 16))


class TestFlashAttention:
    @pytest.mark.parametrize("causal", [False, True])
    def test_outputs_and_gradients_match_torch(self, causal):
        mine = [x.requires_grad_() for x in make((2, 3), 5, 7, 4)]
        out, expected = flash_attention(*mine, causal, (2, 3)), oracle(*mine, causal)
        assert_close(out, expected)
        grad = torch.randn_like(expected)
        assert_close(torch.autograd.grad(out, mine, grad), torch.autograd.grad(expected, mine, grad))

    def test_it_looks_everywhere_unless_told_otherwise(self):
        q, k, v = make((2,), 5, 5, 4, dtype=torch.float32)
        assert_close(flash_attention(q, k, v), oracle(q, k, v, False))

    def test_a_tile_is_64_by_64_unless_told_otherwise(self):
        q, k, v = (x.requires_grad_() for x in make((), 150, 130, 2))
        with Sizes() as sizes:
            flash_attention(q, k, v).sum().backward()
        if (64, 64) not in sizes.tiles or sizes.largest > 64 * 65:
            fail(f"The tiles of scores are {sorted(sizes.tiles)}: 64 by 64 is missing.", evidence=sorted(sizes.tiles))

    def test_the_tile_is_the_one_that_it_is_given(self):
        with Sizes() as sizes:
            flash_attention(*make((), 48, 64, 4), tile=(8, 16))
        check_tile(sizes, (8, 16))

    @pytest.mark.parametrize(("n", "m"), [(7, 5), (4, 3)])
    def test_more_queries_than_keys_are_named(self, n, m):
        q, k, v = make((), n, m, 4)
        with raises(ValueError, n, m):
            flash_attention(q, k, v, causal=True)
        assert_close(flash_attention(q, k, v), oracle(q, k, v, False))

    def test_as_many_queries_as_keys_will_do(self):
        q, k, v = make((), 5, 5, 4)
        assert_close(flash_attention(q, k, v, causal=True), oracle(q, k, v, True))


class TestOnTheGpu:
    def test_online_step(self, gpu):
        scores = torch.randn(2, 3, 4, dtype=torch.float64)
        values = torch.randn(2, 4, 5, dtype=torch.float64)
        before = torch.randn(2, 3, dtype=torch.float64), 1 + torch.rand(2, 3, dtype=torch.float64)
        gpu.check(online_step, (*before, torch.randn(2, 3, 5, dtype=torch.float64)), scores, values)

    @pytest.mark.parametrize("causal", [False, True])
    def test_flash_forward_and_flash_backward(self, gpu, causal):
        q, k, v = make((2,), 4, 6, 3)
        gpu.check(flash_forward, q, k, v, causal, (2, 4))
        out, lse = oracle(q, k, v, causal), log_sums(q, k, causal)
        gpu.check(flash_backward, q, k, v, out, lse, torch.randn_like(q), causal, (2, 4))

    @pytest.mark.parametrize("causal", [False, True])
    def test_flash_attention(self, gpu, causal):
        leaves = [x.requires_grad_() for x in make((2,), 4, 6, 3)]
        gpu.check(FlashAttention.apply, *leaves, causal, (2, 4), what="FlashAttention.apply")
        gpu.check(flash_attention, *leaves, causal, (2, 4))
