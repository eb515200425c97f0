"""Judges k05_flash_attention against torch's scaled_dot_product_attention, outputs and gradients, and by the
sizes of all tensors that are made, the products that are computed and what is kept for the backward pass."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k05_flash_attention import (
    FlashAttention,
    flash_attention,
    flash_attention_triton,
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
SIZES = [((), 5, 7, 4), ((2,), 6, 6, 3), ((2, 3), 4, 9, 5)]
TILES = [(2, 3), (3, 2), (64, 64), (1, 1)]
# n, m and a tile: where one side of the tile is all there is, its other side shows which of the two is which.
SIDES = [(8, 48, (8, 16)), (48, 8, (16, 8))]
PRODUCTS = torch.ops.aten.mm, torch.ops.aten.bmm
SUMS_OF_PRODUCTS = torch.ops.aten.addmm, torch.ops.aten.addmm_, torch.ops.aten.baddbmm, torch.ops.aten.baddbmm_


def make(lead, n, m, d, scale=1.0, dtype=torch.float64, device="cpu"):
    q = scale * torch.randn(*lead, n, d, dtype=dtype, device=device)
    k, v = (torch.randn(*lead, m, d, dtype=dtype, device=device) for _ in range(2))
    return q, k, v


def mask(n, m, causal, device="cpu"):
    """True where query i sees key j."""
    i, j = torch.arange(n, device=device)[:, None], torch.arange(m, device=device)
    return (j <= i + m - n) if causal else torch.ones(n, m, dtype=torch.bool, device=device)


def oracle(q, k, v, causal):
    looks = mask(q.shape[-2], k.shape[-2], causal, q.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=looks)


def log_sums(q, k, causal):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask(q.shape[-2], k.shape[-2], causal), -math.inf).logsumexp(-1)


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

    def test_large_scores_do_not_overflow(self):
        q, k, v = make((2,), 6, 8, 4, scale=1000.0)
        assert_close(flash_forward(q, k, v, True, (4, 3)), (oracle(q, k, v, True), log_sums(q, k, True)))

    def test_scores_far_below_zero_do_not_vanish(self):
        q, k, v = make((2,), 6, 8, 4)
        q[..., 0], k[..., 0] = 1e5, -2.0  # scores of −10⁵, give or take a few
        assert_close(flash_forward(q, k, v, True, (4, 3)), (oracle(q, k, v, True), log_sums(q, k, True)))

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
        leaves = [x.requires_grad_() for x in make(lead, n, m, d)]
        out = oracle(*leaves, causal)
        grad = torch.randn_like(out)
        expected = torch.autograd.grad(out, leaves, grad)
        q, k, v = (x.detach() for x in leaves)
        assert_close(flash_backward(q, k, v, out.detach(), log_sums(q, k, causal), grad, causal, tile), expected)

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

    def test_float32_stays_float32(self):
        leaves = [x.requires_grad_() for x in make((2,), 6, 8, 4, dtype=torch.float32)]
        out = oracle(*leaves, True)
        grad = torch.randn_like(out)
        expected = torch.autograd.grad(out, leaves, grad)
        q, k, v = (x.detach() for x in leaves)
        assert_close(flash_backward(q, k, v, out.detach(), log_sums(q, k, True), grad, True, (4, 3)), expected)


class TestFlashAttention:
    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize(("lead", "n", "m", "d"), SIZES, ids=str)
    def test_outputs_and_gradients_match_torch(self, lead, n, m, d, causal):
        mine = [x.requires_grad_() for x in make(lead, n, m, d)]
        theirs = [x.detach().clone().requires_grad_() for x in mine]
        out, expected = flash_attention(*mine, causal, (2, 3)), oracle(*theirs, causal)
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
        out, expected = flash_attention(*mine, True, (2, 3)), oracle(*theirs, True)
        assert_close(out, expected)
        # The gradient of a mean is one number with strides of 0.
        out.mean().backward()
        expected.mean().backward()
        assert_close([x.grad for x in mine], [x.grad for x in theirs])

    def test_another_call_may_come_before_the_backward_pass(self):
        calls = [(True, (2, 3)), (False, (3, 2))]
        mine = [[x.requires_grad_() for x in make((), 4, 6, 3)] for _ in calls]
        outs = [flash_attention(*leaves, *call) for leaves, call in zip(mine, calls, strict=True)]
        for leaves, out, (causal, _) in zip(mine, outs, calls, strict=True):
            expected = torch.autograd.grad(oracle(*leaves, causal).square().sum(), leaves)
            assert_close(torch.autograd.grad(out.square().sum(), leaves), expected)

    def test_it_looks_everywhere_unless_told_otherwise(self):
        q, k, v = make((2,), 5, 5, 4, dtype=torch.float32)
        assert_close(flash_attention(q, k, v), oracle(q, k, v, False))

    def test_the_function_is_applied_with_all_its_arguments(self):
        q, k, v = make((), 5, 6, 4)
        assert_close(FlashAttention.apply(q, k, v, True, (2, 2)), oracle(q, k, v, True))

    @pytest.mark.parametrize("causal", [False, True])
    def test_gradients_by_finite_differences(self, causal):
        q, k, v = (x.requires_grad_() for x in make((), 3, 4, 2))
        torch.autograd.gradcheck(lambda *x: flash_attention(*x, causal=causal, tile=(2, 3)), (q, k, v))

    def test_what_is_kept_grows_with_n_and_not_with_its_square(self):
        def kept(n):
            total = set()

            def pack(x):
                total.add((x.untyped_storage().data_ptr(), x.numel()))
                return x

            q, k, v = (x.requires_grad_() for x in make((), n, n, 4))
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
                out = flash_attention(q, k, v, True, (8, 8))
            assert_close(out.sum(), oracle(q, k, v, True).sum())
            return sum(numel for _, numel in total)

        for n in (32, 64):
            # q, k, v and the output of 4 numbers a position, and one log-sum-exp.
            if kept(n) != n * (4 * 4 + 1):
                fail(
                    f"Of {n} positions {kept(n)} numbers are kept for the backward pass: "
                    f"q, k, v, the output and the log-sum-exps are {n * (4 * 4 + 1)}.",
                    evidence=(n, kept(n)),
                )

    def test_no_tensor_is_kept_but_by_save_for_backward(self):
        out = flash_attention(*(x.requires_grad_() for x in make((), 8, 8, 4)), True, (4, 4))
        nodes, found = [out.grad_fn], []
        for node in nodes:  # grows as it goes: the function may not be the last step
            found += tensors_in(getattr(node, "__dict__", {}))
            nodes += [parent for parent, _ in node.next_functions if parent is not None and parent not in nodes]
        shapes = [tuple(tensor.shape) for tensor in found]
        if shapes:
            fail(f"Attributes of ctx keep tensors of shapes {shapes}: use save_for_backward.", evidence=shapes)

    def test_a_tile_is_64_by_64_unless_told_otherwise(self):
        q, k, v = (x.requires_grad_() for x in make((), 150, 130, 2))
        with Sizes() as sizes:
            flash_attention(q, k, v).sum().backward()
        if (64, 64) not in sizes.tiles or sizes.largest > 64 * 65:
            fail(f"The tiles of scores are {sorted(sizes.tiles)}: 64 by 64 is missing.", evidence=sorted(sizes.tiles))

    def test_the_tile_is_the_one_that_it_is_given(self):
        q, k, v = (x.requires_grad_() for x in make((), 48, 64, 4))
        with Sizes() as forward:
            out = flash_attention(q, k, v, tile=(8, 16))
        with Sizes() as backward:
            out.sum().backward()
        for sizes, products in ((forward, 2), (backward, 5)):
            check_sizes(sizes, 64 * 4, products * 4 * 48 * 64)
            check_tile(sizes, (8, 16))

    @pytest.mark.parametrize(("n", "m"), [(7, 5), (6, 5)])
    def test_more_queries_than_keys_are_named(self, n, m):
        q, k, v = make((), n, m, 4)
        with raises(ValueError, n, m):
            flash_attention(q, k, v, causal=True)
        assert_close(flash_attention(q, k, v), oracle(q, k, v, False))


@pytest.mark.usefixtures("kernels")
class TestTriton:
    # Products of tiles are summed in another order: some bits of float32.
    CLOSE = dict(rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize(("b", "n", "m", "d", "tile"), [(2, 20, 37, 16, (16, 16)), (1, 33, 33, 32, (16, 32)), (3, 5, 70, 16, (32, 16))])
    def test_matches_torch(self, device, kernels, b, n, m, d, tile, causal):
        q, k, v = make((b,), n, m, d, dtype=torch.float32, device=device)
        assert_close(flash_attention_triton(q, k, v, causal, tile), oracle(q, k, v, causal), **self.CLOSE)
        assert_equal([launch.programs for launch in kernels.launches], [b * math.ceil(n / tile[0])])
        if kernels.checks:
            keys = sum(min(m, min(i + tile[0], n) + m - n) if causal else m for i in range(0, n, tile[0]))
            slack = tile[0] if causal else 0  # of the last tile, which may stick out, or have its last keys masked
            if not kernels.loaded <= 4 * b * d * (n + 2 * (keys + slack)):
                fail(
                    f"The kernel reads {kernels.loaded} bytes: queries once, and the keys and values that a tile of "
                    f"queries sees once for each tile, are {4 * b * d * (n + 2 * keys)}.",
                    evidence=kernels.loaded,
                )
            largest = max(tile[0] * d, tile[1] * d, tile[0] * tile[1])
            if kernels.largest > largest or tile[1] * d not in kernels.blocks:
                fail(
                    f"Blocks of {sorted(kernels.blocks)} numbers are read: tiles of queries, keys and scores have "
                    f"{tile[0] * d}, {tile[1] * d} and {tile[0] * tile[1]}.",
                    evidence=sorted(kernels.blocks),
                )

    def test_large_scores_do_not_overflow(self, device):
        q, k, v = make((2,), 18, 40, 16, scale=200.0, dtype=torch.float32, device=device)
        assert_close(flash_attention_triton(q, k, v, True, (16, 16)), oracle(q, k, v, True), rtol=1e-3, atol=1e-3)

    def test_scores_far_below_zero_do_not_vanish(self, device):
        q, k, v = make((2,), 18, 40, 16, dtype=torch.float32, device=device)
        q[..., 0], k[..., 0] = 400.0, -4.0  # scores of −400, give or take a few; exp(−400) is 0 in float32
        # A score of 400 has four digits after the point in float32, and so have the weights.
        assert_close(flash_attention_triton(q, k, v, True, (16, 16)), oracle(q, k, v, True), rtol=1e-3, atol=1e-3)

    def test_it_looks_everywhere_unless_told_otherwise(self, device, kernels):
        q, k, v = make((1,), 70, 50, 16, dtype=torch.float32, device=device)
        assert_close(flash_attention_triton(q, k, v), oracle(q, k, v, False), **self.CLOSE)
        assert_equal([launch.programs for launch in kernels.launches], [2])
        if kernels.checks:
            assert_equal(kernels.largest, 64 * 16)

    def test_float16_keeps_its_scores_in_float32(self, device):
        q, k, v = make((2,), 17, 90, 16, dtype=torch.float32, device=device)
        q[..., 0] = k[..., 0] = 64.0  # scores of 1024, give or take a few, which float16 rounds to whole numbers
        q, k, v = q.half(), k.half(), 1 + v.half() / 8
        expected = oracle(q.double(), k.double(), v.double(), True).half()
        # Probabilities may be rounded to float16 for the product with the values: three digits.
        assert_close(flash_attention_triton(q, k, v, True, (16, 16)), expected, rtol=2e-3, atol=1e-3)

    def test_float16_keeps_its_sums_in_float32(self, device):
        # The first key has weight 1, each later one exp(−10.5): 16 of them are less than half a step of float16 at 1.
        q, k = torch.zeros(1, 16, 16, device=device).half(), torch.zeros(1, 512, 16, device=device).half()
        q[..., 0], k[:, 1:, 0] = 4.0, -10.5
        v = torch.ones_like(k)
        v[:, 1:, 8:] = 0.0  # here the weights of the later keys count in the sum alone
        expected = oracle(q.double(), k.double(), v.double(), False).half()
        # Together they are 1.4 percent of the whole.
        assert_close(flash_attention_triton(q, k, v, False, (16, 16)), expected, rtol=2e-3, atol=1e-3)
