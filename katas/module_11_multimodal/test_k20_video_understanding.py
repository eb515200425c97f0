"""Judges k20_video_understanding against torch's convolution, plain loops, and digits that differ in motion alone."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, normal, seeded
from katas.module_11_multimodal.k20_video_understanding import (
    DividedBlock,
    VideoTransformer,
    attend_over_space,
    attend_over_time,
    clip_frames,
    conv3d,
    inflate,
    segment_frames,
    tubelets,
    vote,
)

pytestmark = [
    from_scratch(
        "torch.conv3d", "torch.nn.functional.conv3d", "torch.nn.Conv3d", "torch.conv2d", "torch.nn.functional.conv2d",
        "torch.nn.Conv2d", "torch.convolution", "transformers", "torchvision", "einops",
    ),
    pure(),
]  # fmt: skip


def stirred(module: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, with all parameters random, those too that start at 0 or 1."""
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=F64))
    return module


class TestSegmentFrames:
    def test_the_example_worked_by_hand(self):
        assert_equal(segment_frames(10, 4)[-1], 8)  # where beginnings and even steps part
        assert_equal(segment_frames(10, 4), [1, 3, 6, 8])

    @pytest.mark.parametrize(("total", "count"), [(7, 7), (9, 2), (100, 8), (5, 1), (31, 6), (3, 7), (1, 4)])
    def test_the_middle_of_each_segment(self, total, count):
        expected = [next(f for f in range(total) if (f + 1) * 2 * count > (2 * i + 1) * total) for i in range(count)]
        assert_equal(segment_frames(total, count), expected)

    def test_middles_that_a_float_misses(self):
        for total in range(1, 120):
            for count in (3, 6, 7, 10, 49):
                expected = [(2 * i + 1) * total // (2 * count) for i in range(count)]
                assert_equal((total, count, segment_frames(total, count)), (total, count, expected))
        assert_equal(segment_frames(10**17 + 2, 1), [5 * 10**16 + 1])

    @pytest.mark.parametrize(("total", "count"), [(7, 3), (20, 4), (2, 5)])
    def test_at_random_one_from_each_segment(self, total, count):
        draws, seen = seeded(0), [set() for _ in range(count)]
        for _ in range(300):
            found = segment_frames(total, count, draws)
            assert_equal(len(found), count)
            for i, frame in enumerate(found):
                seen[i].add(frame)
        # A frame that lies a little in a segment is drawn sometimes: here each has at least a seventh.
        expected = [set(range(i * total // count, -(-(i + 1) * total // count))) for i in range(count)]
        assert_equal(seen, expected)

    def test_at_random_with_a_segment_for_each_of_many_frames(self):
        """In single precision i + u is sometimes rounded up to i + 1."""
        assert_equal(segment_frames(30_000, 30_000, seeded(3)), list(range(30_000)))

    def test_at_random_a_frame_counts_by_how_much_of_it_lies_within(self):
        draws = seeded(1)
        found = torch.tensor([segment_frames(7, 3, draws) for _ in range(4000)])
        for i in range(3):
            low, high = i * 7 / 3, (i + 1) * 7 / 3
            inside = [max(min(f + 1, high) - max(f, low), 0) / (7 / 3) for f in range(7)]
            shares = torch.bincount(found[:, i], minlength=7).double() / 4000
            assert_close(shares, torch.tensor(inside, dtype=F64), rtol=0, atol=0.04)  # five standard errors

    def test_at_random_segments_are_drawn_apart(self):
        draws = seeded(2)
        found = torch.tensor([segment_frames(200, 2, draws) for _ in range(2000)]).double()
        together = torch.corrcoef(found.T)[0, 1].abs().item()
        if together > 0.12:  # five standard errors
            fail(f"The places in two segments go together: correlation {together:.2f}.", evidence=round(together, 1))

    def test_the_generator_decides(self):
        assert_equal(segment_frames(1000, 6, seeded(3)), segment_frames(1000, 6, seeded(3)))
        assert_equal(segment_frames(1000, 6, seeded(3)) == segment_frames(1000, 6, seeded(4)), False)

    @pytest.mark.parametrize(("total", "count"), [(0, 7), (9, 0), (-2, 3), (5, -4)])
    def test_refuses_less_than_one(self, total, count):
        for generator in (None, seeded(0)):
            with raises(ValueError, total, count):
                segment_frames(total, count, generator)


class TestClipFrames:
    def test_the_example_worked_by_hand(self):
        assert_equal(clip_frames(10, 4, 3, 2), [2, 5, 8, 9])

    @pytest.mark.parametrize(
        ("total", "length", "stride", "start"), [(9, 4, 2, 1), (9, 5, 2, 0), (6, 3, 1, 5), (1, 2, 4, 0), (8, 1, 3, 7)]
    )
    def test_frame_by_frame(self, total, length, stride, start):
        expected, frame = [], start
        for _ in range(length):
            expected.append(frame if frame < total else total - 1)
            frame += stride
        assert_equal(clip_frames(total, length, stride, start), expected)

    def test_from_the_start_unless_told(self):
        assert_equal(clip_frames(9, 3, 4), [0, 4, 8])

    @pytest.mark.parametrize(("total", "start"), [(6, 6), (6, -1), (4, 9)])
    def test_refuses_a_start_outside(self, total, start):
        with raises(ValueError, total, start):
            clip_frames(total, 2, 1, start)


CONVOLUTIONS = [
    ((1, 1, 1), (0, 0, 0), (2, 3, 2)),
    ((2, 1, 3), (0, 0, 0), (3, 2, 1)),
    ((1, 2, 1), (1, 0, 2), (2, 1, 3)),
    ((3, 2, 2), (2, 1, 3), (1, 3, 4)),
]


class TestConv3d:
    def test_the_example_worked_by_hand(self):
        x, kernel = f64(1, 2, 4, 7).reshape(1, 1, 4, 1, 1), f64(-1, 1).reshape(1, 1, 2, 1, 1)
        assert_close(conv3d(x, kernel).flatten(), f64(1, 2, 3))
        assert_close(conv3d(x, kernel, stride=(2, 1, 1)).flatten(), f64(1, 3))
        assert_close(conv3d(x, kernel, padding=(1, 0, 0)).flatten(), f64(1, 1, 2, 3, -7))

    @pytest.mark.parametrize(("stride", "padding", "size"), CONVOLUTIONS)
    @pytest.mark.parametrize("biased", [True, False])
    def test_as_torch(self, stride, padding, size, biased):
        x, weight = normal(2, 3, 5, 6, 7), normal(4, 3, *size, seed=1)
        bias = normal(4, seed=2) if biased else None
        assert_close(conv3d(x, weight, bias, stride, padding), F.conv3d(x, weight, bias, stride, padding))

    def test_every_place_and_no_padding_unless_told(self):
        x, weight = normal(2, 3, 5, 6, 7), normal(4, 3, 2, 3, 2, seed=1)
        assert_close(conv3d(x, weight), F.conv3d(x, weight))

    def test_a_kernel_as_large_as_the_video(self):
        x, weight = normal(2, 3, 4, 5, 2), normal(6, 3, 4, 5, 2, seed=1)
        assert_close(conv3d(x, weight).reshape(2, 6), x.flatten(1) @ weight.flatten(1).T)

    def test_gradients_are_those_of_torch(self):
        found = []
        for function in (conv3d, F.conv3d):
            leaves = normal(2, 3, 5, 4, 6).requires_grad_(), normal(4, 3, 2, 3, 2, seed=1).requires_grad_()
            bias = normal(4, seed=2).requires_grad_()
            y = function(*leaves, bias, (2, 1, 2), (1, 0, 1))
            (y * normal(*y.shape, seed=3)).sum().backward()
            found.append([leaf.grad for leaf in (*leaves, bias)])
        assert_close(*found)

    def test_in_float32(self):
        assert_equal(conv3d(torch.ones(1, 2, 3, 3, 3), torch.ones(1, 2, 2, 2, 2)).dtype, torch.float32)

    @pytest.mark.parametrize(("own", "taken"), [(3, 5), (3, 1), (1, 4)])
    def test_refuses_other_channels(self, own, taken):
        with raises(ValueError, own, taken):
            conv3d(torch.zeros(2, own, 6, 6, 6), torch.zeros(7, taken, 2, 2, 2))

    def test_on_the_gpu(self, gpu):
        x, weight = normal(2, 3, 4, 5, 4).requires_grad_(), normal(2, 3, 2, 3, 2, seed=1).requires_grad_()
        gpu.check(conv3d, x, weight, normal(2, seed=2).requires_grad_(), (1, 2, 1), (1, 0, 1))


class TestInflate:
    def test_the_example_worked_by_hand(self):
        kernel = f64(6).reshape(1, 1, 1, 1)
        assert_close(inflate(kernel, 3).flatten(), f64(2, 2, 2))
        assert_close(inflate(kernel, 3, "central").flatten(), f64(0, 6, 0))
        assert_close(inflate(kernel, 4, "central").flatten(), f64(0, 0, 6, 0))

    @pytest.mark.parametrize("frames", [1, 2, 5])
    def test_frame_by_frame(self, frames):
        kernel = normal(4, 3, 2, 6)
        average, central = inflate(kernel, frames, "average"), inflate(kernel, frames, mode="central")
        assert_equal(tuple(average.shape), (4, 3, frames, 2, 6))
        assert_close(inflate(kernel, frames), average)
        for i in range(frames):
            assert_close(average[:, :, i], kernel / frames)
            assert_equal(central[:, :, i], kernel if i == frames // 2 else torch.zeros_like(kernel))

    @pytest.mark.parametrize("mode", ["average", "central"])
    def test_a_video_that_stands_still_gives_what_the_image_gives(self, mode):
        image, kernel = normal(2, 3, 5, 6), normal(4, 3, 2, 3, seed=1)
        video = image[:, :, None].expand(-1, -1, 4, -1, -1)
        expected = F.conv2d(image, kernel)[:, :, None].expand(-1, -1, 2, -1, -1)
        assert_close(F.conv3d(video, inflate(kernel, 3, mode)), expected)

    @pytest.mark.parametrize("mode", ["average", "central"])
    def test_gradients_flow(self, mode):
        kernel = normal(2, 1, 2, 2).requires_grad_()
        torch.autograd.gradcheck(lambda k: inflate(k, 3, mode), [kernel])

    @pytest.mark.parametrize("mode", ["average", "central"])
    def test_in_float32(self, mode):
        assert_equal(inflate(torch.ones(1, 1, 2, 2), 3, mode).dtype, torch.float32)

    @pytest.mark.parametrize("mode", ["mean", "center"])
    def test_refuses_another_mode(self, mode):
        with raises(ValueError, mode):
            inflate(torch.ones(1, 1, 2, 2), 3, mode)

    @pytest.mark.parametrize("mode", ["average", "central"])
    def test_on_the_gpu(self, gpu, mode):
        gpu.check(inflate, normal(2, 3, 2, 2).requires_grad_(), 4, mode)


def tubelets_by_hand(video: torch.Tensor, frames: int, patch: int) -> torch.Tensor:
    batch, channels, total, height, width = video.shape
    found = [
        video[b, c, time + f, top + y, left + x].item()
        for b in range(batch)
        for time in range(0, total, frames)
        for top in range(0, height, patch)
        for left in range(0, width, patch)
        for c in range(channels)
        for f in range(frames)
        for y in range(patch)
        for x in range(patch)
    ]
    return torch.tensor(found, dtype=F64).reshape(batch, total // frames, -1, channels * frames * patch**2)


CUTS = [(2, 3, 4, 4, 6, 2, 2), (1, 2, 3, 3, 6, 3, 3), (3, 1, 6, 4, 2, 2, 1), (2, 4, 2, 2, 4, 1, 2)]


class TestTubelets:
    def test_the_example_worked_by_hand(self):
        video = torch.arange(16, dtype=F64).reshape(1, 1, 2, 2, 4)
        expected = f64([0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15])
        assert_equal(tubelets(video, 2, 2), expected[None, None])

    @pytest.mark.parametrize(("batch", "channels", "total", "height", "width", "frames", "patch"), CUTS)
    def test_pixel_by_pixel(self, batch, channels, total, height, width, frames, patch):
        video = normal(batch, channels, total, height, width)
        assert_equal(tubelets(video, frames, patch), tubelets_by_hand(video, frames, patch))

    def test_a_linear_layer_on_top_is_a_convolution(self):
        video, weight = normal(2, 3, 4, 6, 9), normal(5, 3, 2, 3, 3, seed=1)
        expected = F.conv3d(video, weight, stride=(2, 3, 3)).flatten(3).movedim(1, -1)
        assert_close(tubelets(video, 2, 3) @ weight.flatten(1).T, expected)

    def test_videos_that_arent_contiguous(self):
        video = normal(2, 6, 4, 4, 3).permute(0, 4, 2, 1, 3)
        assert_equal(tubelets(video, 2, 2), tubelets_by_hand(video, 2, 2))

    def test_gradients_flow(self):
        torch.autograd.gradcheck(lambda v: tubelets(v, 2, 1), [normal(1, 2, 2, 2, 1).requires_grad_()])

    @pytest.mark.parametrize(
        ("total", "height", "width", "frames", "patch"),
        [(7, 8, 12, 2, 4), (6, 10, 12, 2, 4), (6, 8, 13, 2, 4), (3, 9, 10, 5, 1)],
    )
    def test_refuses_what_tubelets_dont_fill(self, total, height, width, frames, patch):
        with raises(ValueError, total, height, width, frames, patch):
            tubelets(torch.zeros(1, 1, total, height, width), frames, patch)

    def test_on_the_gpu(self, gpu):
        gpu.check(tubelets, normal(2, 3, 4, 4, 6).requires_grad_(), 2, 2)


def mean_of_all(rows: torch.Tensor) -> torch.Tensor:
    return rows.mean(1, keepdim=True).expand_as(rows)


def summed(rows: torch.Tensor) -> torch.Tensor:
    """Each token gets what stands up to it in its row: it depends on the order."""
    return rows.cumsum(1)


class TestAttendOverSpace:
    def test_the_example_worked_by_hand(self):
        x = f64([1, 2, 3], [5, 8, 11])[None, :, :, None]
        assert_close(attend_over_space(x, mean_of_all), f64([2, 2, 2], [8, 8, 8])[None, :, :, None])

    @pytest.mark.parametrize(("batch", "frames", "places", "width"), [(2, 3, 4, 5), (3, 5, 2, 1), (1, 1, 4, 2)])
    def test_frame_by_frame(self, batch, frames, places, width):
        x = normal(batch, frames, places, width)
        expected = torch.stack([torch.stack([summed(x[b, t][None])[0] for t in range(frames)]) for b in range(batch)])
        assert_close(attend_over_space(x, summed), expected)

    def test_one_call_with_rows_of_places(self):
        shapes = []
        attend_over_space(normal(2, 3, 4, 5), lambda rows: shapes.append(tuple(rows.shape)) or rows)
        assert_equal(shapes, [(6, 4, 5)])

    def test_gradients_stay_in_the_frame(self):
        x = normal(2, 3, 4, 2).requires_grad_()
        (attend_over_space(x, mean_of_all)[1, 2, 0] * f64(1, -2)).sum().backward()
        seen = (x.grad != 0).any(-1)
        expected = torch.zeros(2, 3, 4, dtype=torch.bool)
        expected[1, 2] = True
        assert_equal(seen, expected)

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda x: attend_over_space(x, summed), normal(2, 3, 4, 5).requires_grad_(), what="attend_over_space")


class TestAttendOverTime:
    def test_the_example_worked_by_hand(self):
        x = f64([1, 2, 3], [5, 8, 11])[None, :, :, None]
        assert_close(attend_over_time(x, mean_of_all), f64([3, 5, 7], [3, 5, 7])[None, :, :, None])

    @pytest.mark.parametrize(("batch", "frames", "places", "width"), [(2, 3, 4, 5), (3, 5, 2, 1), (1, 4, 1, 2)])
    def test_place_by_place(self, batch, frames, places, width):
        x = normal(batch, frames, places, width)
        expected = torch.zeros_like(x)
        for b in range(batch):
            for n in range(places):
                expected[b, :, n] = summed(x[b, :, n][None])[0]
        assert_close(attend_over_time(x, summed), expected)

    def test_one_call_with_rows_of_frames(self):
        shapes = []
        attend_over_time(normal(2, 3, 4, 5), lambda rows: shapes.append(tuple(rows.shape)) or rows)
        assert_equal(shapes, [(8, 3, 5)])

    def test_gradients_stay_in_the_place(self):
        x = normal(2, 3, 4, 2).requires_grad_()
        (attend_over_time(x, mean_of_all)[0, 1, 3] * f64(1, -2)).sum().backward()
        seen = (x.grad != 0).any(-1)
        expected = torch.zeros(2, 3, 4, dtype=torch.bool)
        expected[0, :, 3] = True
        assert_equal(seen, expected)

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda x: attend_over_time(x, summed), normal(2, 3, 4, 5).requires_grad_(), what="attend_over_time")


def looks(module: nn.Module, rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Multi-head attention of (n, width), head by head."""
    q, k, v = (
        rows @ layer.weight.T + layer.bias for layer in (module.q_proj, module.k_proj, module.v_proj)
    )
    size, parts = rows.shape[1] // heads, []
    for h in range(heads):
        own = slice(h * size, (h + 1) * size)
        parts.append((q[:, own] @ k[:, own].T / math.sqrt(size)).softmax(-1) @ v[:, own])
    return torch.cat(parts, 1) @ module.out_proj.weight.T + module.out_proj.bias


def normed(x: torch.Tensor, layer: nn.LayerNorm) -> torch.Tensor:
    away = x - x.mean(-1, keepdim=True)
    return away / (away.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias


def block_by_hand(block: DividedBlock, x: torch.Tensor, heads: int) -> torch.Tensor:
    batch, frames, places, _ = x.shape
    after_time, y = torch.zeros_like(x), normed(x, block.norm_time)
    for b in range(batch):
        for n in range(places):
            after_time[b, :, n] = x[b, :, n] + looks(block.time, y[b, :, n], heads)
    after_space, y = torch.zeros_like(x), normed(after_time, block.norm_space)
    for b in range(batch):
        for t in range(frames):
            after_space[b, t] = after_time[b, t] + looks(block.space, y[b, t], heads)
    hidden = normed(after_space, block.norm_mlp) @ block.up.weight.T + block.up.bias
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return after_space + hidden @ block.down.weight.T + block.down.bias


ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


def block_shapes(width: int) -> dict[str, tuple[int, ...]]:
    shapes = {f"{norm}.{part}": (width,) for norm in ("norm_time", "norm_space", "norm_mlp") for part in ("weight", "bias")}
    for which in ("time", "space"):
        for layer in ATTENTION:
            shapes |= {f"{which}.{layer}.weight": (width, width), f"{which}.{layer}.bias": (width,)}
    shapes |= {"up.weight": (4 * width, width), "up.bias": (4 * width,)}
    return shapes | {"down.weight": (width, 4 * width), "down.bias": (width,)}


class TestDividedBlock:
    @pytest.mark.parametrize(("width", "heads"), [(6, 2), (6, 3), (4, 1)])
    def test_the_formulas(self, width, heads):
        block, x = stirred(DividedBlock(width, heads)), normal(2, 3, 4, width, seed=1)
        with torch.no_grad():
            assert_close(block(x), block_by_hand(block, x, heads))

    def test_small_numbers_show_epsilon(self):
        block, x = stirred(DividedBlock(6, 2)), 1e-3 * normal(2, 3, 4, 6, seed=1)
        with torch.no_grad():
            assert_close(block(x), block_by_hand(block, x, 2))

    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in DividedBlock(6, 2).named_parameters()}
        assert_equal(shapes, block_shapes(6))

    def test_the_gradients(self):
        block, found = stirred(DividedBlock(4, 2)), []
        for function in (block, lambda x: block_by_hand(block, x, 2)):
            block.zero_grad()
            x = normal(2, 3, 2, 4, seed=1).requires_grad_()
            (function(x) * normal(2, 3, 2, 4, seed=2)).sum().backward()
            found.append({"x": x.grad, **{name: p.grad.clone() for name, p in block.named_parameters()}})
        assert_close(*found)

    def test_videos_dont_mix(self):
        block, x = stirred(DividedBlock(6, 2)), normal(3, 2, 4, 6)
        assert_close(block(x)[1:2].detach(), block(x[1:2]).detach())

    def test_in_two_moves_a_token_sees_everything(self):
        block, x = stirred(DividedBlock(6, 2)), normal(1, 3, 4, 6, seed=1).requires_grad_()
        (block(x)[0, 2, 1] * normal(6, seed=2)).sum().backward()
        assert_equal((x.grad != 0).any(-1).all().item(), True)

    def test_on_the_gpu(self, gpu):
        gpu.check(stirred(DividedBlock(6, 2)), normal(2, 3, 4, 6, seed=1).requires_grad_())


def a_model(seed: int = 0) -> VideoTransformer:
    """Of 3 channels, 4 frames of 4 × 6, in two groups of frames and six places."""
    return stirred(VideoTransformer((3, 4, 4, 6), 2, 2, 8, 2, 2, 5), seed)


def logits_by_hand(model: VideoTransformer, video: torch.Tensor) -> torch.Tensor:
    x = tubelets_by_hand(video, 2, 2) @ model.embed.weight.T + model.embed.bias
    for t in range(2):
        for n in range(6):
            x[:, t, n] = x[:, t, n] + model.time_positions[t] + model.space_positions[n]
    for block in model.blocks:
        x = block_by_hand(block, x, 2)
    return normed(x, model.norm).flatten(1, 2).mean(1) @ model.head.weight.T + model.head.bias


class TestVideoTransformer:
    def test_step_by_step(self):
        model, video = a_model(), normal(2, 3, 4, 4, 6, seed=1)
        with torch.no_grad():
            assert_close(model(video), logits_by_hand(model, video))

    @pytest.mark.parametrize("depth", [1, 3])
    def test_its_parameters(self, depth):
        model = VideoTransformer((3, 6, 4, 10), 3, 2, 8, depth, 4, 5)
        expected = {
            "embed.weight": (8, 36), "embed.bias": (8,), "time_positions": (2, 8), "space_positions": (10, 8),
            "norm.weight": (8,), "norm.bias": (8,), "head.weight": (5, 8), "head.bias": (5,),
        }  # fmt: skip
        for i in range(depth):
            expected |= {f"blocks.{i}.{name}": shape for name, shape in block_shapes(8).items()}
        assert_equal({name: tuple(p.shape) for name, p in model.named_parameters()}, expected)

    def test_heads_matter(self):
        one, two = (VideoTransformer((3, 4, 4, 6), 2, 2, 8, 1, heads, 5) for heads in (1, 4))
        two.load_state_dict(stirred(one).state_dict())
        video = normal(2, 3, 4, 4, 6)
        assert_equal(torch.allclose(one(video), two.double()(video)), False)

    def test_every_parameter_is_trained(self):
        model, video = a_model(), normal(2, 3, 4, 4, 6, seed=1).requires_grad_()
        (model(video) * normal(2, 5, seed=2)).sum().backward()
        # Where all keys get the same, the softmax doesn't change: biases of keys have no gradient.
        without = [
            name
            for name, p in model.named_parameters()
            if "k_proj.bias" not in name and (p.grad is None or not p.grad.any())
        ]
        assert_equal((without, bool(video.grad.all())), ([], True))

    def test_the_order_of_the_frames_counts(self):
        model, video = a_model(), normal(2, 3, 4, 4, 6, seed=1)
        turned = model(video[:, :, [2, 3, 0, 1]])
        assert_equal(torch.allclose(model(video), turned), False)

    def test_videos_dont_mix(self):
        model, video = a_model(), normal(3, 3, 4, 4, 6)
        assert_close(model(video)[1:2].detach(), model(video[1:2]).detach())

    def test_in_float32(self):
        assert_equal(a_model().float()(torch.ones(2, 3, 4, 4, 6)).dtype, torch.float32)

    def test_on_the_gpu(self, gpu):
        gpu.check(a_model(), normal(2, 3, 4, 4, 6, seed=1).requires_grad_())


class Watched:
    """A model of two classes that keeps what it is given: its logits are sums over channels 0 and 1."""

    def __init__(self) -> None:
        self.given: list[torch.Tensor] = []

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        self.given.append(clips.clone())
        return clips.sum((2, 3, 4))


class TestVote:
    def test_the_example_worked_by_hand(self):
        video = torch.zeros(1, 5, 1, 1, dtype=F64)
        answers = f64([0.9, 0.1], [0.2, 0.8]).log()
        assert_close(vote(lambda clips: answers, video, 2, 1, 2), f64(0.55, 0.45))

    @pytest.mark.parametrize(
        ("total", "length", "stride", "clips", "starts"),
        [
            (10, 3, 2, 3, [0, 2, 5]),
            (10, 4, 1, 4, [0, 2, 4, 6]),
            (12, 2, 3, 2, [0, 8]),
            (9, 3, 2, 1, [2]),
            (6, 3, 1, 1, [1]),
            (5, 4, 3, 3, [0, 0, 0]),
            (7, 7, 1, 2, [0, 0]),
            (4, 1, 5, 4, [0, 1, 2, 3]),
            (4, 2, 1, 6, [0, 0, 0, 1, 1, 2]),
        ],
    )
    def test_the_clips(self, total, length, stride, clips, starts):
        video, model = normal(2, total, 3, 2), Watched()
        found = vote(model, video, length, stride, clips)
        frames = [[min(start + i * stride, total - 1) for i in range(length)] for start in starts]
        expected = torch.stack([torch.stack([video[:, f] for f in clip], 1) for clip in frames])
        assert_equal([tuple(given.shape) for given in model.given], [(clips, 2, length, 3, 2)])
        assert_equal(model.given[0], expected)
        assert_close(found, torch.stack([clip.sum((1, 2, 3)).softmax(0) for clip in expected]).mean(0))

    def test_a_sure_clip_has_one_vote(self):
        answers = f64([50, 0, 0], [0, 2, 0], [0, 2, 0])
        found = vote(lambda clips: answers, torch.zeros(1, 6, 1, 1, dtype=F64), 2, 1, 3)
        assert_equal(found.argmax().item(), 1)
        assert_close(found.sum().item(), 1.0)

    @pytest.mark.parametrize("clips", [0, -3])
    def test_refuses_less_than_one_clip(self, clips):
        with raises(ValueError, clips):
            vote(Watched(), torch.zeros(2, 6, 1, 1), 2, 1, clips)

    def test_gradients_flow(self):
        torch.autograd.gradcheck(lambda v: vote(Watched(), v, 2, 2, 3), [normal(2, 6, 2, 1).requires_grad_()])

    def test_on_the_gpu(self, gpu):
        model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 4, 5)).double()
        gpu.check(lambda v: vote(Watched(), v, 3, 2, 3), normal(2, 8, 2, 2).requires_grad_(), what="vote")
        with torch.no_grad():
            found = vote(gpu(model), gpu(normal(2, 8, 2, 2)), 3, 1, 2)
        assert_equal(found.device.type, gpu.device.type)


DIGITS = (
    "111101101101111", "010110010010111", "111001111100111", "111001111001111", "101101111001001",
    "111100111001111", "111100111101111", "111001010010010", "111101111101111", "111101111001111",
)  # fmt: skip
STEPS = torch.tensor([[-1, 0], [1, 0], [0, -1], [0, 1]])  # up, down, left, right
SIDE, FRAMES = 8, 4


def moving(n: int, digits: range, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Videos (n, 1, 4, 8, 8) of a digit that moves a pixel a frame, and the way it goes.

    What leaves on one side comes in on the other.  So in each single frame the digit is anywhere, whatever the class.
    """
    canvas = torch.zeros(len(digits), SIDE, SIDE)
    canvas[:, :5, :3] = torch.tensor([[float(c) for c in DIGITS[d]] for d in digits]).reshape(-1, 5, 3)
    which = torch.randint(len(digits), (n, 1, 1, 1), generator=generator)
    labels = torch.randint(4, (n,), generator=generator)
    place = torch.randint(SIDE, (n, 1, 2), generator=generator)
    corner = place + STEPS[labels][:, None] * torch.arange(FRAMES)[:, None]
    rows, columns = ((torch.arange(SIDE) - corner[..., k, None]) % SIDE for k in (0, 1))
    videos = canvas[which, rows[..., :, None], columns[..., None, :]]
    return (videos + 0.1 * torch.randn(videos.shape, generator=generator))[:, None], labels


def from_one_frame(seed: int, generator: torch.Generator, new: torch.Tensor, answers: torch.Tensor) -> float:
    """How many new videos a network of two layers gets right that sees the third frame alone."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 64), nn.ReLU(), nn.Linear(64, 4))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(100):
        videos, labels = moving(64, range(7), generator)
        optimizer.zero_grad()
        F.cross_entropy(model(videos[:, :, 2]), labels).backward()
        optimizer.step()
    with torch.no_grad():
        return (model(new[:, :, 2]).argmax(1) == answers).double().mean().item()


def learn(seed: int) -> tuple[float, float, float]:
    """Of new digits: right by one frame, right by the video, and right of the video played backwards."""
    torch.manual_seed(seed)
    generator = seeded(seed)
    new, answers = moving(500, range(7, 10), generator)
    single = from_one_frame(seed, generator, new, answers)
    model = VideoTransformer((1, FRAMES, SIDE, SIDE), 2, 4, 32, 1, 4, 4)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        videos, labels = moving(48, range(7), generator)
        optimizer.zero_grad()
        F.cross_entropy(model(videos), labels).backward()
        optimizer.step()
    with torch.no_grad():
        learned = (model(new).argmax(1) == answers).double().mean().item()
        # Up and down change places, and so do left and right.
        backwards = (model(new.flip(2)).argmax(1) == answers ^ 1).double().mean().item()
    return single, learned, backwards


@pytest.mark.learning
@pytest.mark.deadline(60)  # a few seconds each on a quiet machine
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_tells_which_way_a_new_digit_moves(self, seed):
        single, learned, backwards = learn(seed)
        # Chance is 0.25, and 500 videos have a standard error of 0.02.
        if single > 0.35:
            fail(f"One frame alone tells {single:.0%}: the classes don't differ in motion alone.", evidence="one frame")
        if learned < single + 0.4:
            fail(f"{learned:.0%} of new videos are told right; one frame alone gives {single:.0%}.", evidence=round(learned, 1))
        if backwards < single + 0.4:
            fail(
                f"Played backwards, {backwards:.0%} of the videos are told to go the other way; expected as many as "
                f"forwards, {learned:.0%}.",
                evidence=round(backwards, 1),
            )
