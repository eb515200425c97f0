"""Judges k03_triton_basics against torch, on the CPU in Triton's interpreter or compiled on a GPU, and by
what the kernels launch, read and write."""

import math

import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k03_triton_basics import add, row_sum, softmax

pytestmark = [
    from_scratch(
        "torch.add",
        "torch.exp",
        "torch.sum",
        "torch.cumsum",
        "torch.softmax",
        "torch.logsumexp",
        "torch.special",
        "torch.nn.Softmax",
        "torch.nn.functional.softmax",
        "torch.Tensor.add",
        "torch.Tensor.exp",
        "torch.Tensor.sum",
        "torch.Tensor.cumsum",
        "torch.Tensor.softmax",
        "torch.Tensor.mean",
    ),
    pure(),
    pytest.mark.usefixtures("kernels"),
]


def check_work(kernels, out, programs, loaded, stored):
    """One launch of so many programs, which write `out` and move so many bytes; those are seen in the interpreter."""
    if len(kernels.launches) != 1:
        fail(
            f"{len(kernels.launches)} kernels are launched where one should do all the work.",
            evidence=len(kernels.launches),
        )
    if kernels.launches[0].programs != programs:
        fail(
            f"{kernels.launches[0].programs} programs are launched where there should be {programs}.",
            evidence=(kernels.launches[0].programs, programs),
        )
    if not kernels.were_given(out):
        fail("The answer isn't the tensor that the kernel writes: it was made after the launch.", evidence="made after")
    if kernels.checks and (kernels.loaded, kernels.stored) != (loaded, stored):
        fail(
            f"The kernel reads {kernels.loaded} bytes and writes {kernels.stored}, where {loaded} and {stored} are needed.",
            evidence=(kernels.loaded - loaded, kernels.stored - stored),
        )


class TestAdd:
    def test_the_example_worked_by_hand(self, device, kernels):
        x = torch.tensor([1.0, 2, 3, 4, 5], device=device)
        y = torch.tensor([10.0, 20, 30, 40, 50], device=device)
        out = add(x, y, block=4)
        assert_close(out, torch.tensor([11.0, 22, 33, 44, 55], device=device))
        check_work(kernels, out, programs=2, loaded=2 * 20, stored=20)

    @pytest.mark.parametrize("shape", [(1,), (1024,), (1025,), (3, 700), (2, 3, 5), ()], ids=str)
    def test_matches_torch(self, device, shape):
        x, y = torch.randn(shape, device=device), torch.randn(shape, device=device)
        assert_close(add(x, y), x + y)

    @pytest.mark.parametrize(("n", "block"), [(100, 32), (96, 32), (7, 64), (3000, 1024)])
    def test_each_program_adds_one_block(self, device, kernels, n, block):
        x, y = torch.randn(n, device=device), torch.randn(n, device=device)
        out = add(x, y, block)
        assert_close(out, x + y)
        check_work(kernels, out, programs=math.ceil(n / block), loaded=2 * 4 * n, stored=4 * n)

    def test_a_program_has_1024_numbers_unless_told_otherwise(self, device, kernels):
        add(torch.zeros(2049, device=device), torch.zeros(2049, device=device))
        assert_equal([launch.programs for launch in kernels.launches], [3])

    def test_whole_numbers_are_exact(self, device):
        x, y = torch.randint(-(2**29), 2**29, (2, 300), dtype=torch.int32, device=device)
        assert_close(add(x, y, block=128), x + y)

    def test_views_that_are_not_contiguous(self, device):
        x, y = torch.randn(5, 4, device=device), torch.randn(4, 5, device=device)
        assert_close(add(x.T, y), x.T + y)
        assert_close(add(y, x.T), x.T + y)

    def test_views_with_the_same_strides(self, device):
        x, row = torch.randn(4, 7, device=device), torch.randn(12, device=device)
        assert_close(add(x[:, :3], x[:, 3:6]), x[:, :3] + x[:, 3:6])
        assert_close(add(row[::2], row[1::2]), row[::2] + row[1::2])

    @pytest.mark.parametrize(
        ("one", "other"), [((3, 2), (2, 3)), ((3, 1), (3, 2)), ((3, 4), (3, 3)), ((2,), (1, 2))], ids=str
    )
    def test_two_shapes_are_named(self, device, one, other):
        with raises(ValueError, one, other):
            add(torch.zeros(one, device=device), torch.zeros(other, device=device))


class TestSoftmax:
    def test_the_example_worked_by_hand(self, device):
        x = torch.tensor([[0.0, math.log(3)]], device=device)
        assert_close(softmax(x), torch.tensor([[0.25, 0.75]], device=device))

    @pytest.mark.parametrize("shape", [(3, 5), (4, 8), (2, 1), (7,), (2, 3, 100), (2, 3000)], ids=str)
    def test_matches_torch_with_one_program_a_row(self, device, kernels, shape):
        x = 3 * torch.randn(shape, device=device)
        out = softmax(x)
        assert_close(out, torch.softmax(x, dim=-1))
        check_work(kernels, out, math.prod(shape[:-1]), loaded=4 * x.numel(), stored=4 * x.numel())

    def test_large_scores_do_not_overflow(self, device):
        x = 500 * torch.randn(3, 6, device=device)
        assert_close(softmax(x), torch.softmax(x, dim=-1))

    def test_masked_lanes_count_for_nothing(self, device):
        # A lane that was filled with 0 would be the largest score of the row.
        x = torch.randn(2, 5, device=device) - 200
        assert_close(softmax(x), torch.softmax(x, dim=-1))

    def test_scores_of_minus_infinity_get_nothing(self, device):
        x = torch.randn(2, 6, device=device)
        x[0, 2] = x[1, 0] = x[1, 5] = -math.inf
        out = softmax(x)
        assert_close(out, torch.softmax(x, dim=-1))
        assert_equal(out[x == -math.inf].tolist(), [0.0, 0.0, 0.0])

    def test_a_second_call_sees_what_has_changed(self, device):
        x = torch.randn(2, 5, device=device)
        softmax(x)
        x[0, 1] = 5
        assert_close(softmax(x), torch.softmax(x, dim=-1))

    def test_float16_is_computed_in_float32(self, device, kernels):
        x = (2 * torch.randn(30, 40, device=device)).half()
        expected = torch.softmax(x.float(), dim=-1).half()
        out = softmax(x)
        # The last bit may round either way where exp differs by a bit of float32, but that is rare.
        assert_close(out, expected, rtol=1e-3, atol=1e-7)
        same = (out == expected).float().mean().item()
        if same < 0.95:
            fail(
                f"Only {same:.0%} of the numbers are rounded right: is something rounded to float16 before the end?",
                evidence=round(same, 2),
            )
        check_work(kernels, out, 30, loaded=2 * x.numel(), stored=2 * x.numel())


class TestRowSum:
    def test_the_example_worked_by_hand(self, device):
        x = torch.tensor([[1.0, 2, 3, 4, 5]], device=device)
        assert_close(row_sum(x, block=4), torch.tensor([15.0], device=device))

    @pytest.mark.parametrize(("m", "n", "block"), [(3, 5, 2), (2, 8, 4), (4, 1, 16), (1, 33, 16), (2, 700, 512)])
    def test_matches_torch_in_steps_of_a_block(self, device, kernels, m, n, block):
        x = torch.randn(m, n, device=device)
        out = row_sum(x, block)
        assert_close(out, x.sum(dim=1), atol=1e-5)  # of 700 numbers of both signs
        check_work(kernels, out, m, loaded=4 * m * n, stored=4 * m)
        if kernels.checks and (kernels.largest > block or (n >= block and kernels.largest < block)):
            fail(f"{kernels.largest} numbers are loaded at once: a step has {block}.", evidence=(kernels.largest, block))

    def test_a_step_has_256_numbers_unless_told_otherwise(self, device, kernels):
        x = torch.randn(2, 600, device=device)
        assert_close(row_sum(x), x.sum(dim=1), atol=1e-5)
        if kernels.checks:
            assert_equal(kernels.largest, 256)

    @pytest.mark.parametrize("rows", ["apart", "overlapping", "the same"])
    def test_rows_at_any_distance_are_read_where_they_lie(self, device, kernels, rows):
        x = torch.randn(4, 20, device=device)
        x = {"apart": x[:, 3:10], "overlapping": x[0, :13].unfold(0, 7, 2), "the same": x[1, :7].expand(4, 7)}[rows]
        out = row_sum(x, block=4)
        assert_close(out, x.sum(dim=1))
        check_work(kernels, out, 4, loaded=4 * 4 * 7, stored=4 * 4)
        if not kernels.were_given(x):
            fail("The rows are copied before the kernel reads them.", evidence="copied")

    def test_float16_is_summed_in_float32(self, device):
        # Of 1 + 1/1024, the last digit that float16 has, nothing is left once the sum is past 2.
        x = torch.full((2, 5000), 1 + 1 / 1024, dtype=torch.float16, device=device)
        assert_close(row_sum(x, block=64), torch.full((2,), 5000 * (1 + 1 / 1024), device=device))


def test_any_shape(device):
    from hypothesis import Phase, given, settings
    from hypothesis import strategies as st

    @settings(max_examples=12, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    @given(m=st.integers(1, 4), n=st.integers(1, 25), power=st.integers(1, 6), scale=st.sampled_from([0.1, 1.0, 30.0]))
    def check(m, n, power, scale):
        x, y = scale * torch.randn(m, n, device=device), torch.randn(m, n, device=device)
        assert_close(add(x, y, block=2**power), x + y)
        assert_close(softmax(x), torch.softmax(x, dim=-1))
        # Sums of numbers of both signs lose digits: as many as their largest term has.
        assert_close(row_sum(x, block=2**power), x.sum(dim=1), atol=1e-5 * scale)

    check()
