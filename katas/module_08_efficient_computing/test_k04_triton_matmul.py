"""Judges k04_triton_matmul against torch, on the CPU in Triton's interpreter or compiled on a GPU, and by
the programs that it launches, the bytes that they read and the order in which they write."""

import math

import pytest
import torch
import torch.nn.functional as F

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k04_triton_matmul import matmul, tile_of

pytestmark = [
    from_scratch(
        "@",
        "torch.matmul",
        "torch.mm",
        "torch.addmm",
        "torch.bmm",
        "torch.einsum",
        "torch.tensordot",
        "torch.nn.functional.linear",
        "torch.nn.functional.gelu",
        "torch.nn.GELU",
        "torch.erf",
        "torch.special",
        "torch.Tensor.matmul",
        "torch.Tensor.mm",
        "torch.Tensor.contiguous",
        "torch.Tensor.erf",
    ),
    pure(),
    pytest.mark.usefixtures("kernels"),
]
# Sums of k products differ by their order: by some bits of float32 for each of √k terms of size 1.
SUMS = dict(rtol=1e-4, atol=1e-4)


def exact(a, b):
    """The product of float32 or float16 matrices, summed in float64."""
    return (a.double() @ b.double()).to(a.dtype)


def order_by_hand(rows, columns, group):
    """The tiles in the order of the programs, walked group by group."""
    found = []
    for first in range(0, rows, group):
        for column in range(columns):
            found += [(row, column) for row in range(first, min(first + group, rows))]
    return found


def check_one_kernel(kernels, out, *inputs):
    """One launch, which is given all `inputs` as they lie in memory and writes each entry of `out` once."""
    if len(kernels.launches) != 1:
        fail(f"{len(kernels.launches)} kernels are launched: bias and GELU belong to the one.", evidence=len(kernels.launches))
    if not kernels.were_given(out):
        fail("The answer isn't the tensor that the kernel writes: it was made after the launch.", evidence="made after")
    for i, tensor in enumerate(inputs):
        if not kernels.were_given(tensor):
            fail(f"The kernel isn't given {('a', 'b', 'the bias')[i]} itself: is it copied before?", evidence=i)
    if kernels.checks and kernels.stored != out.numel() * out.element_size():
        fail(
            f"The kernel writes {kernels.stored} bytes, where the result has {out.numel() * out.element_size()}.",
            evidence=kernels.stored,
        )


class TestTileOf:
    def test_the_example_of_the_lesson(self):
        expected = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 0), (2, 1), (2, 2)]
        assert_equal([tile_of(program, 3, 3, 2) for program in range(9)], expected)

    @pytest.mark.parametrize(("rows", "columns", "group"), [(1, 1, 1), (4, 3, 1), (5, 2, 3), (3, 4, 8), (7, 5, 2), (6, 1, 4)])
    def test_matches_a_walk_group_by_group(self, rows, columns, group):
        tiles = [tile_of(program, rows, columns, group) for program in range(rows * columns)]
        assert_equal(tiles, order_by_hand(rows, columns, group))

    def test_programs_that_run_together_share_more(self):
        def needed(group):
            """Rows of A and columns of B that the first 16 programs read."""
            tiles = [tile_of(program, 32, 32, group) for program in range(16)]
            return len({row for row, _ in tiles}) + len({column for _, column in tiles})

        assert_equal([needed(1), needed(4), needed(16)], [17, 8, 17])


class TestMatmul:
    def test_the_example_worked_by_hand(self, device):
        a = torch.tensor([[1.0, 2], [3, 4], [5, 6]], device=device)
        b = torch.tensor([[1.0, 0], [1, 1]], device=device)
        expected = torch.tensor([[3.0, 2], [7, 4], [11, 6]], device=device)
        assert_close(matmul(a, b, tile=(16, 16, 16)), expected)

    @pytest.mark.parametrize(
        ("m", "n", "k", "tile"),
        [
            (16, 16, 16, (16, 16, 16)),
            (33, 20, 50, (16, 16, 16)),
            (5, 70, 33, (16, 32, 16)),
            (40, 17, 65, (32, 16, 64)),
            (17, 33, 40, (16, 16, 32)),
            (1, 1, 1, (16, 16, 16)),
        ],
    )
    def test_matches_torch_and_reads_no_more_than_it_must(self, device, kernels, m, n, k, tile):
        a, b = torch.randn(m, k, device=device), torch.randn(k, n, device=device)
        assert_close(matmul(a, b, tile=tile), exact(a, b), **SUMS)
        rows, columns = math.ceil(m / tile[0]), math.ceil(n / tile[1])
        grids = [launch.grid for launch in kernels.launches]
        if [math.prod(grid) for grid in grids] != [rows * columns] or grids[0][0] != rows * columns:
            fail(
                f"The launches have the grids {grids}: one of {rows * columns} programs along one axis is needed.",
                evidence=grids,
            )
        if kernels.checks:
            loaded, stored = 4 * (columns * m * k + rows * k * n), 4 * m * n
            if (kernels.loaded, kernels.stored) != (loaded, stored):
                fail(
                    f"The kernel reads {kernels.loaded} bytes and writes {kernels.stored}, where {loaded} and {stored} "
                    "are needed.",
                    evidence=(kernels.loaded - loaded, kernels.stored - stored),
                )
            bm, bn, bk = tile
            largest = max(bm * bn, bm * bk, bn * bk)
            if kernels.largest > largest or not {bm * bk, bk * bn} <= kernels.blocks:
                fail(
                    f"Blocks of {sorted(kernels.blocks)} numbers are loaded and stored: the tiles of A and B have "
                    f"{bm * bk} and {bk * bn}.",
                    evidence=sorted(kernels.blocks),
                )

    def test_its_tiles_are_64_64_32_unless_told_otherwise(self, device, kernels):
        a, b = torch.randn(65, 40, device=device), torch.randn(40, 129, device=device)
        assert_close(matmul(a, b), exact(a, b), **SUMS)
        assert_equal([launch.programs for launch in kernels.launches], [2 * 3])
        if kernels.checks:
            assert_equal(kernels.largest, 64 * 64)
            assert_equal(kernels.loaded, 4 * (3 * 65 * 40 + 2 * 40 * 129))

    @pytest.mark.parametrize("group", [None, 1, 2, 16])
    def test_programs_run_in_groups(self, device, kernels, group):
        m, n = 16 * 9, 16 * 3
        a, b = torch.randn(m, 16, device=device), torch.randn(16, n, device=device)
        out = matmul(a, b, tile=(16, 16, 16), **({} if group is None else {"group": group}))
        assert_close(out, exact(a, b), **SUMS)
        if kernels.checks:
            places = [(address - out.data_ptr()) // 4 for address in kernels.written]
            tiles = [(place // n // 16, place % n // 16) for place in places]
            expected = order_by_hand(9, 3, 8 if group is None else group)
            if tiles != expected:
                fail(f"The programs compute the tiles {tiles[:6]} …, where the order is {expected[:6]} …", evidence=tiles)

    @pytest.mark.parametrize("lay", ["a", "b", "both"])
    def test_transposed_matrices_are_read_where_they_lie(self, device, kernels, lay):
        a = torch.randn(18, 20, device=device) if lay == "b" else torch.randn(20, 18, device=device).T
        b = torch.randn(20, 33, device=device) if lay == "a" else torch.randn(33, 20, device=device).T
        out = matmul(a, b, tile=(16, 16, 16))
        assert_close(out, exact(a, b), **SUMS)
        assert_equal(out.is_contiguous(), True)
        check_one_kernel(kernels, out, a, b)
        if kernels.checks:
            assert_equal(kernels.loaded, 4 * (3 * 18 * 20 + 2 * 20 * 33))

    def test_parts_of_larger_matrices(self, device):
        a, b = torch.randn(30, 60, device=device)[3:25, 5:40:2], torch.randn(40, 50, device=device)[2:38:2, 7:30]
        assert_close(matmul(a, b, tile=(16, 16, 16)), exact(a, b), **SUMS)

    @pytest.mark.parametrize("m", [20, 1])
    def test_a_bias_is_added_to_each_row(self, device, kernels, m):
        a, b, bias = torch.randn(m, 9, device=device), torch.randn(9, 35, device=device), torch.randn(35, device=device)
        out = matmul(a, b, bias, tile=(16, 16, 16))
        assert_close(out, exact(a, b) + bias, **SUMS)
        check_one_kernel(kernels, out, a, b, bias)

    def test_gelu_comes_after_the_bias(self, device, kernels):
        a, b, bias = torch.randn(20, 9, device=device), torch.randn(9, 35, device=device), torch.randn(35, device=device)
        expected = F.gelu((a.double() @ b.double()) + bias.double()).float()
        out = matmul(a, b, bias, gelu=True, tile=(16, 16, 16))
        assert_close(out, expected, **SUMS)
        check_one_kernel(kernels, out, a, b, bias)

    def test_gelu_without_a_bias(self, device, kernels):
        a, b = torch.randn(7, 9, device=device), torch.randn(9, 18, device=device)
        out = matmul(a, b, gelu=True, tile=(16, 16, 16))
        assert_close(out, F.gelu(exact(a, b)), **SUMS)
        check_one_kernel(kernels, out, a, b)

    def test_float16_is_summed_in_float32(self, device):
        # In float16 the ones would be lost beside 2048, and the sum is back at a small number.
        a = torch.ones(2, 96, dtype=torch.float16, device=device)
        a[:, 0], a[:, -1] = 2048, -2048
        b = torch.ones(96, 3, dtype=torch.float16, device=device)
        expected = torch.full((2, 3), 94.0, dtype=torch.float16, device=device)
        assert_close(matmul(a, b, tile=(16, 16, 16)), expected)

    def test_the_bias_is_added_before_the_sum_is_rounded(self, device):
        # 2049 isn't a float16, but 2049 − 2048 is.
        a, b = torch.ones(2, 33, device=device).half(), torch.ones(33, 4, device=device).half()
        a[:, 0] = 2017
        bias = torch.full((4,), -2048.0, device=device).half()
        assert_close(matmul(a, b, bias, tile=(16, 16, 16)), torch.ones(2, 4, device=device).half())

    @pytest.mark.parametrize("with_bias", [True, False])
    def test_the_end_is_computed_in_float32(self, device, kernels, with_bias):
        a, b = torch.randn(40, 20, device=device).half(), torch.randn(20, 48, device=device).half()
        bias = torch.randn(48, device=device).half() if with_bias else None
        expected = F.gelu(a.double() @ b.double() + (bias.double() if with_bias else 0)).half()
        out = matmul(a, b, bias, gelu=True, tile=(16, 16, 16))
        # GELU is rounded once, at the end: to a bit of float16, or where it is near 0 to some of float32.
        assert_close(out, expected, rtol=1e-3, atol=2e-6)
        check_one_kernel(kernels, out, a, b, *([bias] if with_bias else []))

    @pytest.mark.parametrize(("one", "other"), [((3, 4), (5, 6)), ((3, 6), (4, 5))], ids=str)
    def test_shapes_that_do_not_fit_are_named(self, device, one, other):
        with raises(ValueError, one, other):
            matmul(torch.zeros(one, device=device), torch.zeros(other, device=device))
