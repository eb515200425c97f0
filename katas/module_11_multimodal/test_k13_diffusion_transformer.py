"""Judges k13_diffusion_transformer against plain loops, closed-form Gaussians, and stripes that it has to draw."""

import math

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, normal, seeded
from katas.module_11_multimodal.k13_diffusion_transformer import (
    DiT,
    DiTBlock,
    euler,
    flow_matching_loss,
    flow_path,
    gaussian_velocity,
    modulate,
    patchify,
    solve,
    timestep_embedding,
    unpatchify,
)

pytestmark = [
    from_scratch(
        "torch.nn.MultiheadAttention", "torch.nn.TransformerEncoderLayer", "torch.nn.functional.unfold",
        "torch.nn.functional.fold", "torch.nn.Unfold", "torch.nn.Fold", "scipy", "diffusers", "transformers",
    ),
    pure(),
]  # fmt: skip


def stirred(module: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, with all parameters random: also those that start at 0."""
    return named_weights(module, 0.4, seed)


SIZES = [(1, 1, 4, 4, 2), (2, 3, 4, 6, 2), (3, 2, 6, 3, 3), (2, 2, 2, 4, 1), (1, 3, 8, 4, 4)]


def tokens_by_hand(images: torch.Tensor, patch: int) -> torch.Tensor:
    batch, channels, height, width = images.shape
    found = []
    for b in range(batch):
        for top in range(0, height, patch):
            for left in range(0, width, patch):
                for y in range(top, top + patch):
                    for x in range(left, left + patch):
                        found += [images[b, c, y, x].item() for c in range(channels)]
    return torch.tensor(found, dtype=images.dtype).reshape(batch, -1, patch * patch * channels)


class TestPatchify:
    def test_the_example_worked_by_hand(self):
        expected = torch.tensor([[[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]]).double()
        assert_close(patchify(torch.arange(16, dtype=F64).reshape(1, 1, 4, 4), 2), expected)

    @pytest.mark.parametrize(("batch", "channels", "height", "width", "patch"), SIZES)
    def test_pixel_by_pixel(self, batch, channels, height, width, patch):
        images = normal(batch, channels, height, width)
        assert_close(patchify(images, patch), tokens_by_hand(images, patch))

    @pytest.mark.parametrize(("height", "width"), [(6, 9), (9, 6), (3, 4)])
    def test_a_patch_that_doesnt_fit(self, height, width):
        patch = 2 if height != 6 else 4
        with raises(ValueError, height, width, patch):
            patchify(normal(1, 1, height, width), patch)

    @pytest.mark.parametrize(("height", "width"), [(8, 6), (6, 8)])
    def test_either_side_is_checked(self, height, width):
        with raises(ValueError, height, width, 4):
            patchify(normal(2, 3, height, width), 4)

    def test_gradients_go_back_to_their_pixels(self):
        images = normal(2, 3, 4, 2).requires_grad_()
        upstream = normal(2, 2, 12, seed=1)
        (patchify(images, 2) * upstream).sum().backward()
        assert_close(images.grad, unpatched_by_hand(upstream, 2, 4, 2))

    def test_on_the_gpu(self, gpu):
        gpu.check(patchify, torch.randn(2, 3, 4, 6), 2)


def unpatched_by_hand(tokens: torch.Tensor, patch: int, height: int, width: int) -> torch.Tensor:
    batch, _, size = tokens.shape
    channels = size // patch**2
    found = torch.zeros(batch, channels, height, width, dtype=tokens.dtype)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                token = y // patch * (width // patch) + x // patch
                first = (y % patch * patch + x % patch) * channels
                found[b, :, y, x] = tokens[b, token, first : first + channels].detach()
    return found


class TestUnpatchify:
    @pytest.mark.parametrize(("batch", "channels", "height", "width", "patch"), SIZES)
    def test_pixel_by_pixel(self, batch, channels, height, width, patch):
        tokens = normal(batch, height * width // patch**2, patch**2 * channels)
        assert_close(unpatchify(tokens, patch, height, width), unpatched_by_hand(tokens, patch, height, width))

    @pytest.mark.parametrize(("batch", "channels", "height", "width", "patch"), SIZES)
    def test_there_and_back(self, batch, channels, height, width, patch):
        images = normal(batch, channels, height, width)
        assert_equal(unpatchify(patchify(images, patch), patch, height, width), images)

    @pytest.mark.parametrize(("n", "height", "width", "needed"), [(5, 4, 4, 4), (6, 4, 2, 2), (3, 2, 8, 4)])
    def test_another_number_of_tokens(self, n, height, width, needed):
        with raises(ValueError, n, needed):
            unpatchify(normal(2, n, 12), 2, height, width)

    def test_gradients(self):
        tokens = normal(2, 6, 8).requires_grad_()
        upstream = normal(2, 2, 4, 6, seed=1)
        (unpatchify(tokens, 2, 4, 6) * upstream).sum().backward()
        assert_close(tokens.grad, tokens_by_hand(upstream, 2))

    def test_on_the_gpu(self, gpu):
        gpu.check(unpatchify, torch.randn(2, 6, 12), 2, 4, 6)


class TestTimestepEmbedding:
    def test_the_example_worked_by_hand(self):
        expected = torch.tensor([[math.cos(1), math.cos(0.01), math.sin(1), math.sin(0.01)]], dtype=F64)
        assert_close(timestep_embedding(torch.ones(1, dtype=F64), 4), expected)

    @pytest.mark.parametrize("longest", [10000.0, 50.0])
    @pytest.mark.parametrize("width", [2, 6, 10])
    def test_wave_by_wave(self, width, longest):
        t, half = normal(5) * 100, width // 2
        rates = [longest ** (-i / half) for i in range(half)]
        rows = [[f(v * r) for f in (math.cos, math.sin) for r in rates] for v in t.tolist()]
        assert_close(timestep_embedding(t, width, longest), torch.tensor(rows, dtype=F64))

    def test_the_longest_is_10000_unless_given(self):
        t = torch.tensor([3.0, 700.0], dtype=F64)
        assert_close(timestep_embedding(t, 8), timestep_embedding(t, 8, 10000.0))
        assert_close(timestep_embedding(t, 4)[:, 3], torch.sin(t / 100))

    def test_float32(self):
        t = torch.tensor([0.0, 0.5, 2.0])
        assert_close(timestep_embedding(t, 4), timestep_embedding(t.double(), 4).float())

    @pytest.mark.parametrize("width", [1, 7])
    def test_an_odd_width(self, width):
        with raises(ValueError, width):
            timestep_embedding(torch.ones(2), width)

    def test_on_the_gpu(self, gpu):
        gpu.check(timestep_embedding, torch.tensor([0.0, 3.0, 900.0]), 6)


class TestModulate:
    def test_the_example_worked_by_hand(self):
        found = modulate(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[0.0, 10.0]]), torch.tensor([[0.5, -1.0]]))
        assert_close(found, torch.tensor([[[1.5, 10.0]]]))

    @pytest.mark.parametrize(("batch", "n"), [(3, 3), (2, 5), (1, 1)])
    def test_number_by_number(self, batch, n):
        x, shift, scale = normal(batch, n, 4), normal(batch, 4, seed=1), normal(batch, 4, seed=2)
        expected = torch.zeros(batch, n, 4, dtype=F64)
        for b, i, d in torch.cartesian_prod(*(torch.arange(k) for k in expected.shape)).tolist():
            expected[b, i, d] = x[b, i, d] * (1 + scale[b, d]) + shift[b, d]
        assert_close(modulate(x, shift, scale), expected)

    def test_gradients(self):
        inputs = [normal(*shape, seed=i).requires_grad_() for i, shape in enumerate([(2, 3, 2), (2, 2), (2, 2)])]
        assert_equal(torch.autograd.gradcheck(modulate, inputs), True)

    def test_on_the_gpu(self, gpu):
        gpu.check(modulate, torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 4), torch.randn(2, 4))


def normed(x: torch.Tensor) -> torch.Tensor:
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / (((x - mean) ** 2).mean(-1, keepdim=True) + 1e-6).sqrt()


def block_by_hand(block: DiTBlock, x: torch.Tensor, c: torch.Tensor, heads: int) -> torch.Tensor:
    """Picture by picture, head by head."""
    width = x.shape[-1]
    size = width // heads
    rows = []
    for tokens, condition in zip(x, c, strict=True):
        six = (condition * condition.sigmoid()) @ block.modulation.weight.T + block.modulation.bias
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (six[i * width : (i + 1) * width] for i in range(6))
        inner = normed(tokens) * (1 + scale_a) + shift_a
        qkv = inner @ block.qkv.weight.T + block.qkv.bias
        parts = []
        for h in range(heads):
            q, k, v = (qkv[:, j * width + h * size : j * width + (h + 1) * size] for j in range(3))
            parts.append(torch.softmax(q @ k.T / math.sqrt(size), -1) @ v)
        tokens = tokens + gate_a * (torch.cat(parts, -1) @ block.out.weight.T + block.out.bias)
        inner = normed(tokens) * (1 + scale_m) + shift_m
        wide = inner @ block.up.weight.T + block.up.bias
        wide = wide * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
        rows.append(tokens + gate_m * (wide @ block.down.weight.T + block.down.bias))
    return torch.stack(rows)


class TestDiTBlock:
    @pytest.mark.parametrize(("width", "heads", "condition"), [(6, 2, 4), (6, 3, 5), (4, 1, 4), (8, 4, 3)])
    def test_the_formulas(self, width, heads, condition):
        block = stirred(DiTBlock(width, heads, condition))
        x, c = normal(2, 5, width), normal(2, condition, seed=1)
        assert_close(block(x, c), block_by_hand(block, x, c, heads), atol=1e-6)  # a tanh of large numbers

    def test_small_numbers_show_epsilon(self):
        block = stirred(DiTBlock(6, 2, 4))
        x, c = 1e-3 * normal(2, 5, 6), normal(2, 4, seed=1)
        assert_close(block(x, c), block_by_hand(block, x, c, 2))

    def test_the_identity_at_the_start(self):
        torch.manual_seed(1)
        block, x = DiTBlock(8, 2, 5), normal(3, 4, 8).float()
        assert_equal(block(x, normal(3, 5, seed=1).float()).detach(), x)

    def test_at_the_start_the_gates_learn(self):
        torch.manual_seed(1)
        block = DiTBlock(8, 2, 5)
        (block(normal(3, 4, 8).float(), normal(3, 5, seed=1).float()) * normal(3, 4, 8, seed=2).float()).sum().backward()
        moved = block.modulation.weight.grad.reshape(6, 8, 5).abs().amax((1, 2)) > 0
        assert_equal(moved.tolist(), [False, False, True, False, False, True])

    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in DiTBlock(6, 2, 5).named_parameters()}
        expected = {
            "qkv.weight": (18, 6), "qkv.bias": (18,), "out.weight": (6, 6), "out.bias": (6,), "up.weight": (24, 6),
            "up.bias": (24,), "down.weight": (6, 24), "down.bias": (6,), "modulation.weight": (36, 5),
            "modulation.bias": (36,),
        }  # fmt: skip
        assert_equal(shapes, expected)

    def test_only_the_modulation_starts_at_0(self):
        torch.manual_seed(2)
        zero = {name for name, p in DiTBlock(6, 2, 5).named_parameters() if not p.any()}
        assert_equal(zero, {"modulation.weight", "modulation.bias"})

    def test_pictures_dont_mix(self):
        block = stirred(DiTBlock(6, 2, 4))
        x, c = normal(3, 5, 6), normal(3, 4, seed=1)
        assert_close(block(x, c)[1:2], block(x[1:2], c[1:2]))

    def test_tokens_have_no_order_here(self):
        block = stirred(DiTBlock(6, 2, 4))
        x, c, order = normal(2, 5, 6), normal(2, 4, seed=1), [3, 0, 4, 2, 1]
        assert_close(block(x[:, order], c), block(x, c)[:, order])

    def test_all_of_it_is_trained(self):
        block = stirred(DiTBlock(6, 2, 4))
        x, c = normal(2, 5, 6).requires_grad_(), normal(2, 4, seed=1).requires_grad_()
        (block(x, c) * normal(2, 5, 6, seed=2)).sum().backward()
        assert_equal([name for name, p in block.named_parameters() if p.grad is None or not p.grad.any()], [])
        assert_equal((bool(x.grad.any()), bool(c.grad.any())), (True, True))

    def test_on_the_gpu(self, gpu):
        block = stirred(DiTBlock(6, 2, 4)).float()
        gpu.check(block, torch.randn(2, 5, 6, requires_grad=True), torch.randn(2, 4, requires_grad=True))


def a_dit(size: int = 4, channels: int = 2, patch: int = 2, depth: int = 2) -> DiT:
    torch.manual_seed(4)
    return DiT(size, channels, patch, 8, depth, 2, 3)


def dit_by_hand(model: DiT, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor, patch: int) -> torch.Tensor:
    angles = 1000 * t[:, None] * torch.tensor([10000.0 ** (-i / 4) for i in range(4)], dtype=F64)
    waves = torch.cat([angles.cos(), angles.sin()], 1)
    first, _, second = model.time
    hidden = waves @ first.weight.T + first.bias
    c = (hidden * hidden.sigmoid()) @ second.weight.T + second.bias + model.labels.weight[labels]
    tokens = tokens_by_hand(x, patch) @ model.embed.weight.T + model.embed.bias + model.positions
    for block in model.blocks:
        tokens = block_by_hand(block, tokens, c, 2)
    two = (c * c.sigmoid()) @ model.modulation.weight.T + model.modulation.bias
    tokens = normed(tokens) * (1 + two[:, None, 8:]) + two[:, None, :8]
    return unpatched_by_hand(tokens @ model.head.weight.T + model.head.bias, patch, *x.shape[2:])


class TestDiT:
    @pytest.mark.parametrize(("size", "channels", "patch", "depth"), [(4, 2, 2, 1), (6, 1, 3, 2), (4, 3, 1, 0)])
    def test_the_formulas(self, size, channels, patch, depth):
        model = stirred(a_dit(size, channels, patch, depth))
        x, t, labels = normal(3, channels, size, size), torch.tensor([0.0, 0.37, 1.0], dtype=F64), torch.tensor([2, 0, 2])
        # 1000 t in waves: a few digits go
        assert_close(model(x, t, labels).detach(), dit_by_hand(model, x, t, labels, patch).detach(), atol=1e-6, rtol=1e-6)

    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in a_dit().named_parameters() if "blocks" not in name}
        expected = {
            "positions": (4, 8), "embed.weight": (8, 8), "embed.bias": (8,), "time.0.weight": (8, 8),
            "time.0.bias": (8,), "time.2.weight": (8, 8), "time.2.bias": (8,), "labels.weight": (3, 8),
            "modulation.weight": (16, 8), "modulation.bias": (16,), "head.weight": (8, 8), "head.bias": (8,),
        }  # fmt: skip
        assert_equal(shapes, expected)
        assert_equal([type(block).__name__ for block in a_dit(depth=3).blocks], ["DiTBlock"] * 3)

    @pytest.mark.parametrize(("size", "patch", "n"), [(4, 2, 4), (6, 2, 9), (4, 1, 16)])
    def test_as_many_positions_as_tokens(self, size, patch, n):
        assert_equal(tuple(a_dit(size, 1, patch).positions.shape), (n, 8))

    def test_what_starts_at_0(self):
        zero = {name for name, p in a_dit(depth=1).named_parameters() if not p.any()}
        layers = ("modulation", "head", "blocks.0.modulation")
        assert_equal(zero, {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")})

    def test_positions_start_small(self):
        torch.manual_seed(1)
        positions = DiT(32, 1, 1, 8, 0, 1, 2).positions.detach().double()
        # 8192 numbers: the deviation is within 4 of its own deviations of 0.02 / √(2 · 8192)
        assert_close(float(positions.std()), 0.02, atol=4 * 0.02 / math.sqrt(2 * 8192), rtol=0)
        assert_close(float(positions.mean()), 0.0, atol=5 * 0.02 / math.sqrt(8192), rtol=0)

    def test_it_starts_at_0(self):
        found = a_dit()(normal(3, 2, 4, 4).float(), torch.rand(3), torch.tensor([0, 1, 2]))
        assert_equal(found.detach(), torch.zeros(3, 2, 4, 4))

    def test_all_of_it_is_trained(self):
        model = stirred(a_dit())
        found = model(normal(3, 2, 4, 4), torch.tensor([0.1, 0.5, 0.8], dtype=F64), torch.tensor([0, 1, 2]))
        (found * normal(3, 2, 4, 4, seed=1)).sum().backward()
        assert_equal([name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()], [])

    def test_on_the_gpu(self, gpu):
        model = named_weights(a_dit(), 0.2).float()
        gpu.check(model, torch.randn(2, 2, 4, 4), torch.tensor([0.1, 0.2]), torch.tensor([0, 2]))


class TestFlowPath:
    def test_the_example_worked_by_hand(self):
        found = flow_path(torch.tensor([[-1.0]]), torch.tensor([[3.0]]), torch.tensor([0.25]))
        assert_close(tuple(found), (torch.tensor([[0.0]]), torch.tensor([[4.0]])))

    @pytest.mark.parametrize("shape", [(3,), (3, 3), (2, 5), (3, 2, 3, 3)])
    def test_a_time_for_each_example(self, shape):
        noise, data = normal(*shape), normal(*shape, seed=1)
        t = torch.linspace(0.1, 0.8, shape[0], dtype=F64)
        expected = torch.stack([(1 - s) * a + s * b for s, a, b in zip(t.tolist(), noise, data, strict=True)])
        assert_close(tuple(flow_path(noise, data, t)), (expected, data - noise))

    def test_the_ends(self):
        noise, data = normal(2, 3), normal(2, 3, seed=1)
        found = flow_path(noise, data, torch.tensor([0.0, 1.0], dtype=F64))[0]
        assert_close(found, torch.stack([noise[0], data[1]]))

    def test_on_the_gpu(self, gpu):
        gpu.check(flow_path, torch.randn(3, 2), torch.randn(3, 2), torch.rand(3))


class Recorder:
    """A model that answers with `weight` · x_t and keeps what it was asked."""

    def __init__(self, weight: float = 0.0) -> None:
        self.calls = []
        self.weight = torch.tensor(weight, dtype=F64, requires_grad=True)

    def __call__(self, x, t, labels):
        self.calls.append((x.detach().clone(), t.detach().clone(), labels.clone()))
        return self.weight * x


class TestFlowMatchingLoss:
    @pytest.mark.parametrize("weight", [0.0, 0.7])
    @pytest.mark.parametrize("shape", [(4, 2, 3, 3), (5, 1, 2, 4)])
    def test_the_mean_of_the_squares(self, shape, weight):
        model, images, labels = Recorder(weight), 3 * normal(*shape), torch.arange(shape[0]) % 3
        loss = flow_matching_loss(model, images, labels, seeded(1))
        ((x, t, seen),) = model.calls
        assert_equal((tuple(x.shape), tuple(t.shape), seen), (shape, (shape[0],), labels))
        s = t.reshape(-1, 1, 1, 1)
        noise = (x - s * images) / (1 - s)
        squares = (weight * x - (images - noise)) ** 2
        # The noise is got back by a division that costs digits where t is near 1.
        assert_close(loss.detach(), squares.sum() / squares.numel(), rtol=1e-6)

    def test_the_gradient(self):
        model, images = Recorder(0.7), normal(4, 1, 2, 2)
        flow_matching_loss(model, images, torch.zeros(4, dtype=torch.long), seeded(2)).backward()
        ((x, t, _),) = model.calls
        s = t.reshape(-1, 1, 1, 1)
        direction = images - (x - s * images) / (1 - s)
        assert_close(model.weight.grad, (2 * (0.7 * x - direction) * x).mean(), rtol=1e-6)

    def test_the_generator_decides(self):
        model, images = Recorder(), normal(4, 1, 2, 2)
        for seed in (5, 5, 6):
            flow_matching_loss(model, images, torch.zeros(4, dtype=torch.long), seeded(seed))
        first, again, other = ((x, t) for x, t, _ in model.calls)
        assert_close(again, first)
        assert_equal(bool((other[0] != first[0]).all() and (other[1] != first[1]).all()), True)

    def test_noise_is_normal_and_times_are_uniform(self):
        model, images = Recorder(), normal(3000, 1, 2, 2)
        flow_matching_loss(model, images, torch.zeros(3000, dtype=torch.long), seeded(3))
        ((x, t, _),) = model.calls
        s = t.reshape(-1, 1, 1, 1)
        noise = ((x - s * images) / (1 - s))[t < 0.9].flatten()
        # 3000 uniform numbers: Kolmogorov's distance stays below 1.95 / √3000 but once in a thousand; here twice that
        gap = (t.sort().values - (torch.arange(3000, dtype=F64) + 0.5) / 3000).abs().max()
        if gap > 0.07:
            fail(f"The times aren't uniform from 0 to 1: their distribution is off by {gap:.3f}.", evidence=round(float(gap), 2))
        assert_close((float(noise.mean()), float(noise.std())), (0.0, 1.0), atol=0.06, rtol=0)
        together = torch.corrcoef(torch.stack([((x - s * images) / (1 - s))[:, 0, 0, 0], t]))[0, 1]
        assert_close(float(together), 0.0, atol=0.1, rtol=0)

    def test_noise_differs_within_a_picture(self):
        model, images = Recorder(), torch.zeros(6, 2, 3, 3, dtype=F64)
        flow_matching_loss(model, images, torch.zeros(6, dtype=torch.long), seeded(4))
        assert_equal(len(model.calls[0][0].unique()), images.numel())

    def test_on_the_gpu(self, gpu):
        model = gpu(stirred(a_dit()).float())
        images, labels = gpu(torch.randn(3, 2, 4, 4)), gpu(torch.tensor([0, 1, 2]))
        loss = flow_matching_loss(model, images, labels, gpu.generator(0))
        assert_equal(loss.device.type, gpu.device.type)


class TestGaussianVelocity:
    def test_the_example_worked_by_hand(self):
        found = [gaussian_velocity(torch.tensor([x], dtype=F64), t, 2.0, 0.5) for x, t in ((1.5, 0.5), (1.0, 0.0))]
        assert_close(torch.cat(found), torch.tensor([1.4, 1.0], dtype=F64))

    @pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (3.0, 0.2), (-1.0, 2.5)])
    @pytest.mark.parametrize("t", [0.0, 0.3, 0.8, 1.0])
    def test_along_the_exact_flow(self, t, mean, std):
        """A point keeps its place in the distribution: x(t) = t m + √((1 - t)² + t² s²) z.  Its slope is v."""
        z = normal(7)
        h = 1e-5

        def place(s: float) -> torch.Tensor:
            return s * mean + math.sqrt((1 - s) ** 2 + s**2 * std**2) * z

        expected = (place(t + h) - place(t - h)) / (2 * h)
        # A difference quotient of second order
        assert_close(gaussian_velocity(place(t), t, mean, std), expected, rtol=1e-6, atol=1e-6)

    def test_it_is_the_mean_of_the_directions(self):
        noise, data = normal(400_000), 1.5 + 0.6 * normal(400_000, seed=1)
        x = 0.6 * noise + 0.4 * data
        near = (x - 1.0).abs() < 0.05
        expected = float((data - noise)[near].mean())
        # Some 20,000 draws with a deviation of about 1
        found = float(gaussian_velocity(torch.tensor(1.0, dtype=F64), 0.4, 1.5, 0.6))
        assert_close(found, expected, atol=0.05, rtol=0)

    @pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
    def test_shapes(self, shape):
        assert_equal(tuple(gaussian_velocity(normal(*shape), 0.3, 1.0, 2.0).shape), shape)

    def test_on_the_gpu(self, gpu):
        gpu.check(gaussian_velocity, torch.randn(3, 2), 0.3, 1.0, 2.0)


def towards_two(x: torch.Tensor, t: float) -> torch.Tensor:
    """The exact direction for data with mean 2 and deviation 0.5."""
    return 2 + (0.25 * t - (1 - t)) / ((1 - t) ** 2 + 0.25 * t**2) * (x - 2 * t)


class TestEuler:
    def test_the_example_worked_by_hand(self):
        assert_close(euler(towards_two, torch.tensor([1.0], dtype=F64), 2), torch.tensor([2.2], dtype=F64))

    @pytest.mark.parametrize("steps", [1, 3, 7])
    def test_step_by_step(self, steps):
        x = normal(2, 3)
        expected = x.clone()
        for i in range(steps):
            expected = expected + towards_two(expected, i / steps) / steps
        assert_close(euler(towards_two, x, steps).detach(), expected)

    @pytest.mark.parametrize("steps", [1, 4, 6])
    def test_when_it_asks(self, steps):
        asked = []
        euler(lambda x, t: asked.append(float(t)) or 0 * x, torch.ones(2), steps)
        assert_close(asked, [i / steps for i in range(steps)])

    def test_one_step_is_enough_on_a_straight_path(self):
        goal, start = normal(3), normal(3, seed=1)
        assert_close(euler(lambda x, t: goal - start, start, 1).detach(), goal)

    def test_twice_the_steps_half_the_error(self):
        x = normal(20)
        errors = [(euler(towards_two, x, n) - (2 + 0.5 * x)).abs().mean().item() for n in (64, 128)]
        assert_close(errors[0] / errors[1], 2.0, rtol=0.1)

    @pytest.mark.parametrize("steps", [0, -3])
    def test_less_than_one_step(self, steps):
        with raises(ValueError, steps):
            euler(towards_two, torch.ones(1), steps)

    def test_on_the_gpu(self, gpu):
        gpu.check(euler, towards_two, torch.randn(3, 2), 3)


def solved_by_hand(velocity, x: list[float], tolerance: float, step: float) -> tuple[list[float], list[float]]:
    def ask(place, t):
        return velocity(torch.tensor(place, dtype=F64), t).tolist()

    t, times = 0.0, [0.0]
    while t < 1:
        end = t + step if t + step < 1 else 1.0
        h = end - t
        k1 = ask(x, t)
        plain = [a + h * b for a, b in zip(x, k1, strict=True)]
        k2 = ask(plain, end)
        better = [a + h / 2 * (b + c) for a, b, c in zip(x, k1, k2, strict=True)]
        error = max(abs(a - b) for a, b in zip(plain, better, strict=True))
        if error <= tolerance:
            x, t = better, end
            times.append(end)
        factor = 5.0 if error == 0 else 0.9 * (tolerance / error) ** 0.5
        step = h * min(max(factor, 0.2), 5.0)
    return x, times


class TestSolve:
    def test_the_example_worked_by_hand(self):
        x, times = solve(towards_two, torch.tensor([1.0], dtype=F64), 0.25, 0.5)
        assert_close((x.detach(), times), (torch.tensor([2.48], dtype=F64), [0.0, 0.5, 1.0]))

    @pytest.mark.parametrize("first_step", [0.1, 0.9, 4.0])
    @pytest.mark.parametrize("tolerance", [0.3, 1e-2, 1e-4])
    def test_step_by_step(self, tolerance, first_step):
        x = normal(6)
        found, times = solve(towards_two, x, tolerance, first_step)
        expected, steps = solved_by_hand(towards_two, x.tolist(), tolerance, first_step)
        assert_close((found.detach(), times), (torch.tensor(expected, dtype=F64), steps))

    def test_a_first_step_of_a_tenth_unless_given(self):
        x = normal(3)
        assert_close(solve(towards_two, x, 0.05)[1], solve(towards_two, x, 0.05, 0.1)[1])
        assert_close(solve(towards_two, x, 0.5)[1][1], 0.1)

    def test_shapes(self):
        x = normal(2, 3, 2)
        found, _ = solve(towards_two, x, 1e-3)
        flat, _ = solve(towards_two, x.flatten(), 1e-3)
        assert_close(found.detach(), flat.detach().reshape(2, 3, 2))

    @pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4])
    def test_the_exact_flow_is_met_to_the_tolerance(self, tolerance):
        x = normal(50)
        found, times = solve(towards_two, x, tolerance)
        error = (found - (2 + 0.5 * x)).abs().max().item()
        if error > tolerance:
            fail(f"With a tolerance of {tolerance} the end is off by {error:.2g}.", evidence=(tolerance, error > tolerance))
        assert_equal(times[-1], 1.0)

    def test_fewer_calls_for_a_looser_tolerance(self):
        calls = []
        for tolerance in (1e-1, 1e-3, 1e-4):
            asked = []
            solve(lambda x, t, asked=asked: asked.append(t) or towards_two(x, t), normal(10), tolerance)
            calls.append(len(asked))
        # A tenth of the tolerance takes about √10 times the steps.
        assert_equal((calls[0] < 20, 3 * calls[0] < calls[1], 2 * calls[1] < calls[2] < 5 * calls[1]), (True, True, True))

    def test_a_straight_path_grows_by_fives(self):
        goal = normal(3)
        x, times = solve(lambda x, t: goal, torch.zeros(3, dtype=F64), 1e-6, 0.03)
        assert_close((x.detach(), times), (goal, [0.0, 0.03, 0.18, 0.93, 1.0]))

    def test_it_never_asks_beyond_1(self):
        asked = []
        solve(lambda x, t: asked.append(float(t)) or towards_two(x, t), normal(4), 1e-2, 3.0)
        assert_equal((min(asked), max(asked) <= 1.0), (0.0, True))

    def test_a_step_that_is_far_too_long_shrinks_by_five_at_most(self):
        asked = []

        def steep(x, t):
            asked.append(float(t))
            return -40 * x + 0 * t

        solve(steep, torch.ones(1, dtype=F64), 1e-3, 0.5)
        ends = [t for t in asked if t > 0][:2]
        assert_close(ends, [0.5, 0.1])

    @pytest.mark.parametrize("tolerance", [0.0, -0.1])
    def test_a_tolerance_that_isnt_above_0(self, tolerance):
        with raises(ValueError, "tolerance", tolerance):
            solve(towards_two, torch.ones(1), tolerance)

    def test_on_the_gpu(self, gpu):
        x = gpu(torch.randn(3))
        assert_equal(solve(towards_two, x, 1e-2)[0].device.type, gpu.device.type)


def stripes(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (n, 1, 4, 4): stripes across for label 0, upright for 1, light or dark first, with some noise."""
    labels = torch.randint(2, (n,), generator=generator)
    wave = torch.tensor([1.0, -1.0, 1.0, -1.0])
    across, upright = wave[:, None].expand(4, 4), wave.expand(4, 4)
    sign = 2.0 * torch.randint(2, (n, 1, 1), generator=generator) - 1
    pictures = sign * torch.where(labels[:, None, None] == 0, across, upright)
    return (pictures + 0.1 * torch.randn(n, 4, 4, generator=generator))[:, None], labels


def energy_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.flatten(1), b.flatten(1)
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


@pytest.mark.learning
@pytest.mark.deadline(60)  # two seconds each on a quiet machine
class TestItDraws:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_stripes_as_asked_for(self, seed):
        torch.manual_seed(seed)
        generator = seeded(seed)
        model = DiT(4, 1, 2, 32, 1, 4, 2)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(250):
            optimizer.zero_grad()
            flow_matching_loss(model, *stripes(64, generator), generator).backward()
            optimizer.step()
        real, labels = stripes(300, generator)
        noise = torch.randn(300, 1, 4, 4, generator=generator)
        with torch.no_grad():
            drawn = euler(lambda x, t: model(x, torch.full((len(x),), t), labels), noise, 16)
        before, after = energy_distance(noise, real), energy_distance(drawn, real)
        if after > 0.4 * before:
            fail(f"The drawings are {after:.2f} away from the data, noise is {before:.2f} away.", evidence=round(after, 1))
        across = (drawn.mean(3).abs().mean((1, 2)) > drawn.mean(2).abs().mean((1, 2))).long()
        right = (across == 1 - labels).double().mean().item()
        if right < 0.9:
            fail(f"{right:.0%} of the drawings are what was asked for; guessing gives 50%.", evidence=round(right, 1))
