"""The fixtures `device` and `kernels`: kernels with every fault of addressing planted in them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dojo.accelerator import SWITCH, TritonMode, has_cuda
from dojo.testing import Wrong, assert_close
from fixtures.devices import Launch

torch = pytest.importorskip("torch")
pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(has_cuda(), reason="Triton's interpreter is used where there is no GPU")

if not has_cuda():
    os.environ.setdefault(SWITCH, "1")  # as the engine does where it judges

import triton  # noqa: E402
import triton.language as tl  # noqa: E402


@triton.jit
def _shift(
    x, out, n, step, BLOCK: tl.constexpr, MASK_LOAD: tl.constexpr, MASK_STORE: tl.constexpr, OTHER: tl.constexpr
):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    if MASK_LOAD:
        values = tl.load(x + at + step, mask=inside, other=0.0) if OTHER else tl.load(x + at + step, mask=inside)
    else:
        values = tl.load(x + at + step)
    total = tl.sum(values)
    if MASK_STORE:
        tl.store(out + at, values + 0 * total, mask=inside)
    else:
        tl.store(out + at, values)


def shift(x, step=0, out=None, block=8, load=True, store=True, other=True):
    out = torch.zeros_like(x) if out is None else out
    grid = lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)  # noqa: E731 - as kernels are launched
    _shift[grid](x, out, x.numel(), step, BLOCK=block, MASK_LOAD=load, MASK_STORE=store, OTHER=other)
    return out


@triton.jit
def _copy_through_descriptors(x, out, m, n, ROWS: tl.constexpr, COLS: tl.constexpr):
    source = tl.make_tensor_descriptor(x, [m, n], [n, 1], [ROWS, COLS])
    target = tl.make_tensor_descriptor(out, [m, n], [n, 1], [ROWS, COLS])
    for start in range(0, n, COLS):
        target.store([0, start], source.load([0, start]))


class TestMemory:
    def test_a_right_kernel_passes_and_is_measured(self, kernels):
        x = torch.randn(20)
        assert_close(shift(x), x)
        assert kernels.launches == [Launch("_shift", (3,))]
        assert kernels.launches[0].programs == 3
        assert (kernels.loaded, kernels.stored, kernels.blocks, kernels.largest) == (80, 80, {8}, 8)

    def test_where_each_store_began(self, kernels):
        x = torch.randn(20)
        out = torch.zeros(30)[5:25]
        assert_close(shift(x, out=out), x)
        assert [(at - out.data_ptr()) // 4 for at in kernels.written] == [0, 8, 16]

    def test_reading_past_the_end(self, kernels):
        with pytest.raises(Wrong, match=r"reads outside of the tensors .*: 4 of 8 addresses of one tl\.load"):
            shift(torch.randn(20), load=False)

    def test_reading_before_the_beginning(self, kernels):
        with pytest.raises(Wrong, match=r"reads outside .*: 1 of 8"):
            shift(torch.randn(16), step=-1)

    def test_writing_past_the_end(self, kernels):
        with pytest.raises(Wrong, match=r"writes outside .*: 4 of 8"):
            shift(torch.randn(20), store=False)

    def test_one_element_too_far_is_enough(self, kernels):
        with pytest.raises(Wrong, match=r"reads outside .*: 1 of 8"):
            shift(torch.randn(16), step=1)

    def test_a_neighbour_in_the_same_storage_is_outside_as_well(self, kernels):
        x = torch.randn(40)
        with pytest.raises(Wrong, match=r"reads outside .*: 4 of 8"):
            shift(x[:20], load=False, out=torch.zeros(24))

    def test_what_a_masked_lane_holds_is_nobody_s_zero(self, kernels):
        assert torch.isnan(shift(torch.randn(20), other=False)[16:]).all()

    def test_tensors_that_share_a_storage_still_do(self, kernels):
        x = torch.arange(8.0)
        shift(x, out=x)
        assert_close(x, torch.arange(8.0))

    def test_what_was_written_before_an_error_is_not_taken_back(self, kernels):
        x, out = torch.ones(20), torch.zeros(20)
        with pytest.raises(Wrong):
            shift(x, out=out, store=False)
        assert_close(x, torch.ones(20))

    def test_a_tensor_descriptor_is_watched_as_well(self, kernels):
        x, out = torch.randn(3, 8), torch.zeros(3, 8)
        _copy_through_descriptors[(1,)](x, out, 3, 8, ROWS=4, COLS=4)
        assert_close(out, x)
        assert (kernels.loaded, kernels.stored, kernels.blocks) == (96, 96, {16})
        with pytest.raises(Wrong, match=r"reads outside .*: 8 of 16"):
            _copy_through_descriptors[(1,)](x[:2], torch.zeros(4, 8), 4, 8, ROWS=4, COLS=4)

    def test_a_copy_is_told_from_the_tensor_itself(self, kernels):
        x = torch.randn(20)[2:18]
        shift(x)
        assert kernels.were_given(x)
        kernels.clear()
        shift(x.clone())
        assert not kernels.were_given(x)

    def test_nothing_is_left_of_it_after_the_test(self, request):
        kernels = request.getfixturevalue("kernels")
        shift(torch.randn(8))
        assert len(kernels.launches) == 1
        kernels.clear()
        assert (kernels.launches, kernels.loaded, kernels.largest, kernels.written) == ([], 0, 0, [])


class TestTritonMode:
    def test_the_switch_is_set_before_triton_is_imported_and_not_before(self):
        code = (
            "import os, sys; from dojo.accelerator import TritonMode; TritonMode().install(); TritonMode().install()\n"
            "assert 'TRITON_INTERPRET' not in os.environ\n"
            "import triton; print(os.environ['TRITON_INTERPRET'], len([f for f in sys.meta_path if type(f) is TritonMode]))"
        )
        clean = {name: value for name, value in os.environ.items() if name != SWITCH}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean, check=True)
        assert done.stdout.split() == ["1", "1"]

    def test_what_is_set_already_stays(self, monkeypatch):
        monkeypatch.setenv(SWITCH, "0")
        assert TritonMode().find_spec("triton") is None
        assert os.environ[SWITCH] == "0"

    def test_it_goes_as_it_came(self):
        mode = TritonMode()
        before = list(sys.meta_path)
        mode.remove()
        assert sys.meta_path == before


class TestDevice:
    def test_it_is_the_cpu_here(self, device):
        assert device == "cpu"
