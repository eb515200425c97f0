"""Judges k06_flash_attention_kernel against torch's scaled_dot_product_attention, on the CPU in Triton's interpreter
or compiled on a GPU, and by the programs that are launched and the bytes and blocks that they read and write."""

import math

import pytest
import torch
import torch.nn.functional as F

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k06_flash_attention_kernel import flash_attention_triton, keys_seen

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
    pytest.mark.usefixtures("kernels"),
]
# Products of tiles are summed in another order: some bits of float32.
CLOSE = dict(rtol=1e-4, atol=1e-5)
# b, n, m, d and the tile: tiles that stick out on both sides, one query, one tile, a square, more keys than a tile.
SIZES = [
    (2, 20, 37, 16, (16, 16)),
    (1, 33, 33, 32, (16, 32)),
    (3, 5, 70, 16, (32, 16)),
    (2, 40, 50, 16, (16, 16)),
    (2, 1, 37, 16, (16, 16)),
    (1, 1, 1, 16, (16, 32)),
    (1, 32, 64, 16, (16, 16)),
]


def make(b, n, m, d, scale=1.0, dtype=torch.float32, device="cpu"):
    q = scale * torch.randn(b, n, d, device=device)
    return tuple(x.to(dtype) for x in (q, *torch.randn(2, b, m, d, device=device)))


def mask(n, m, causal, device="cpu"):
    """True where query i sees key j."""
    i, j = torch.arange(n, device=device)[:, None], torch.arange(m, device=device)
    return (j <= i + m - n) if causal else torch.ones(n, m, dtype=torch.bool, device=device)


def oracle(q, k, v, causal):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask(q.shape[-2], k.shape[-2], causal, q.device))


def by_hand(q, k, v, causal):
    """The same in float64, rounded once."""
    return oracle(q.double(), k.double(), v.double(), causal).to(q.dtype)


def check_kernel(kernels, q, k, v, out, causal, tile):
    """One launch, of so many programs, that is given the tensors themselves and reads and writes no more than it must."""
    b, n, d = q.shape
    m = k.shape[1]
    assert_equal([launch.programs for launch in kernels.launches], [b * math.ceil(n / tile[0])])
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if not kernels.were_given(tensor):
            fail(f"The kernel isn't given {name} itself: is it copied before?", evidence=name)
    if not kernels.were_given(out):
        fail("The answer isn't the tensor that the kernel writes: it was made after the launch.", evidence="made after")
    if not kernels.checks:
        return
    width = q.element_size() * b * d
    looks = mask(n, m, causal)
    seen = [int(looks[i : i + tile[0]].any(0).sum()) for i in range(0, n, tile[0])]
    keys = sum(min(m, math.ceil(one / tile[1]) * tile[1]) for one in seen)
    if kernels.loaded > width * (n + 2 * keys):
        fail(
            f"The kernel reads {kernels.loaded} bytes: queries once, and for each tile of queries the tiles of keys and "
            f"values that it sees, are {width * (n + 2 * keys)}.",
            evidence=kernels.loaded,
        )
    if kernels.stored != width * n:
        fail(f"The kernel writes {kernels.stored} bytes, where the answer has {width * n}.", evidence=kernels.stored)
    largest = max(tile[0] * d, tile[1] * d, tile[0] * tile[1])
    if kernels.largest > largest or tile[1] * d not in kernels.blocks:
        fail(
            f"Blocks of {sorted(kernels.blocks)} numbers are read: tiles of queries, keys and scores have "
            f"{tile[0] * d}, {tile[1] * d} and {tile[0] * tile[1]}.",
            evidence=sorted(kernels.blocks),
        )


class TestKeysSeen:
    def test_the_example_worked_by_hand(self):
        assert_equal([keys_seen(first, 40, 50, True, 16) for first in (0, 16, 32)], [26, 42, 50])

    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize(("n", "m", "tile"), [(1, 1, 16), (5, 70, 16), (33, 33, 16), (48, 64, 32), (20, 21, 64)])
    def test_matches_a_look_at_every_key(self, n, m, tile, causal):
        looks = mask(n, m, causal)
        expected = [int(looks[first : first + tile].any(0).sum()) for first in range(0, n, tile)]
        assert_equal([keys_seen(first, n, m, causal, tile) for first in range(0, n, tile)], expected)

    def test_without_the_mask_there_may_be_more_queries_than_keys(self):
        assert_equal([keys_seen(first, 20, 3, False, 16) for first in (0, 16)], [3, 3])


class TestKernel:
    def test_the_example_worked_by_hand(self, device, kernels):
        # √d is 4: the keys' first entries become the scores 1, 3 and 2.
        q, k = torch.zeros(1, 1, 16, device=device), torch.zeros(1, 3, 16, device=device)
        q[..., 0], k[0, :, 0] = 4.0, torch.tensor([1.0, 3.0, 2.0])
        v = torch.tensor([10.0, 20.0, 30.0], device=device)[None, :, None].expand(1, 3, 16).contiguous()
        assert_close(flash_attention_triton(q, k, v, tile=(16, 16)), torch.full_like(q, 21.547), atol=1e-3)

    def test_the_bytes_worked_by_hand(self, device, kernels):
        q, k, v = make(1, 40, 50, 16, device=device)
        assert_close(flash_attention_triton(q, k, v, True, (16, 16)), oracle(q, k, v, True), **CLOSE)
        if kernels.checks and not 2560 + 15104 <= kernels.loaded <= 2560 + 16640:
            fail(f"The kernel reads {kernels.loaded} bytes, where 17664 to 19200 are needed.", evidence=kernels.loaded)

    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize(("b", "n", "m", "d", "tile"), SIZES)
    def test_matches_torch_and_reads_no_more_than_it_must(self, device, kernels, b, n, m, d, tile, causal):
        q, k, v = make(b, n, m, d, device=device)
        out = flash_attention_triton(q, k, v, causal, tile)
        assert_close(out, oracle(q, k, v, causal), **CLOSE)
        check_kernel(kernels, q, k, v, out, causal, tile)

    def test_without_the_mask_there_may_be_more_queries_than_keys(self, device, kernels):
        q, k, v = make(2, 35, 7, 16, device=device)
        out = flash_attention_triton(q, k, v, False, (16, 16))
        assert_close(out, oracle(q, k, v, False), **CLOSE)
        check_kernel(kernels, q, k, v, out, False, (16, 16))

    def test_large_scores_do_not_overflow(self, device):
        q, k, v = make(2, 18, 40, 16, scale=200.0, device=device)
        # Scores of some hundreds have four digits after the point in float32, and so have the weights.
        assert_close(flash_attention_triton(q, k, v, True, (16, 16)), oracle(q, k, v, True), rtol=1e-3, atol=1e-3)

    def test_scores_far_below_zero_do_not_vanish(self, device):
        q, k, v = make(2, 18, 40, 16, device=device)
        q[..., 0], k[..., 0] = 400.0, -4.0  # scores of −400, give or take a few; exp(−400) is 0 in float32
        # As above.
        assert_close(flash_attention_triton(q, k, v, True, (16, 16)), oracle(q, k, v, True), rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("causal", [False, True])
    def test_a_masked_key_counts_for_nothing_however_low_the_others_are(self, device, causal):
        q, k, v = make(2, 18, 40, 16, device=device)
        q[:], k[:] = 0.0, 0.0
        q[..., 0], k[..., 0] = 2.0**18, -(2.0**18)  # all scores are −2³⁴, which float32 has
        assert_close(flash_attention_triton(q, k, v, causal, (16, 16)), by_hand(q, k, v, causal), **CLOSE)

    def test_float16_keeps_its_scores_in_float32(self, device, kernels):
        q, k, v = make(2, 17, 90, 16, device=device)
        q[..., 0] = k[..., 0] = 64.0  # scores of 1024, give or take a few, which float16 rounds to whole numbers
        q, k, v = q.half(), k.half(), 1 + v.half() / 8
        out = flash_attention_triton(q, k, v, True, (16, 16))
        # Probabilities may be rounded to float16 for the product with the values: three digits.
        assert_close(out, by_hand(q, k, v, True), rtol=2e-3, atol=1e-3)
        check_kernel(kernels, q, k, v, out, True, (16, 16))

    def test_float16_keeps_its_sums_in_float32(self, device):
        # The first key has weight 1, each later one exp(−10.5): 16 of them are less than half a step of float16 at 1.
        q, k = torch.zeros(1, 16, 16, device=device).half(), torch.zeros(1, 512, 16, device=device).half()
        q[..., 0], k[:, 1:, 0] = 4.0, -10.5
        v = torch.ones_like(k)
        v[:, 1:, 8:] = 0.0  # here the weights of the later keys count in the sum alone
        # Together they are 1.4 percent of the whole.
        assert_close(flash_attention_triton(q, k, v, False, (16, 16)), by_hand(q, k, v, False), rtol=2e-3, atol=1e-3)

    def test_it_looks_everywhere_unless_told_otherwise(self, device):
        q, k, v = make(1, 20, 50, 16, device=device)
        assert_close(flash_attention_triton(q, k, v, tile=(16, 16)), oracle(q, k, v, False), **CLOSE)

    def test_a_tile_is_64_by_64_unless_told_otherwise(self, device, kernels):
        q, k, v = make(1, 70, 100, 16, device=device)
        out = flash_attention_triton(q, k, v)
        assert_close(out, oracle(q, k, v, False), **CLOSE)
        check_kernel(kernels, q, k, v, out, False, (64, 64))

    @pytest.mark.parametrize(("n", "m"), [(7, 5), (4, 3)])
    def test_more_queries_than_keys_are_named(self, device, n, m):
        q, k, v = make(2, n, m, 16, device=device)
        with raises(ValueError, n, m):
            flash_attention_triton(q, k, v, causal=True)
