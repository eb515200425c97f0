"""Judges k14_autoregressive_images by plain loops, by sums over all tiny images, by gradients, and on real digits."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, normal, seeded
from katas.module_11_multimodal.k14_autoregressive_images import (
    MaskedConv2d,
    PixelCNN,
    RowLSTM,
    bits_per_pixel,
    causal_mask,
    draw,
    image_log_likelihood,
    visible,
)

pytestmark = [
    from_scratch("torch.nn.LSTM", "torch.nn.LSTMCell", "torch.tril", "torch.triu", "torch.distributions"),
    pure(),
]


def pixels(*shape: int, levels: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(levels, shape, generator=seeded(seed))


def stirred(module: nn.Module, seed: int = 0, size: float = 0.5) -> nn.Module:
    """In float64, with random parameters that are large enough to be seen."""
    return named_weights(module, size, seed)


class TestCausalMask:
    def test_the_example_worked_by_hand(self):
        assert_close(causal_mask(3, "A"), torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, 0]]))

    @pytest.mark.parametrize("kind", ["A", "B"])
    @pytest.mark.parametrize("size", [1, 3, 5, 7])
    def test_place_by_place(self, size, kind):
        middle = size // 2
        before = [[(y, x) < (middle, middle) for x in range(size)] for y in range(size)]
        before[middle][middle] = kind == "B"
        assert_close(causal_mask(size, kind), torch.tensor(before).float())

    @pytest.mark.parametrize("size", [2, 4])
    def test_an_even_size(self, size):
        with raises(ValueError, size):
            causal_mask(size, "A")

    @pytest.mark.parametrize("kind", ["C", "a", ""])
    def test_another_kind(self, kind):
        with raises(ValueError, kind or "kind"):
            causal_mask(3, kind)


def convolved_by_hand(layer: MaskedConv2d, x: torch.Tensor, kind: str, size: int) -> torch.Tensor:
    reach = size // 2
    batch, _, height, width = x.shape
    found = layer.bias.detach()[None, :, None, None].repeat(batch, 1, height, width)
    for y, left in itertools.product(range(height), range(width)):
        for dy, dx in itertools.product(range(-reach, reach + 1), repeat=2):
            allowed = (dy, dx) < (0, 0) or (kind == "B" and dy == dx == 0)
            if allowed and 0 <= y + dy < height and 0 <= left + dx < width:
                weight = layer.weight.detach()[:, :, dy + reach, dx + reach]
                found[:, :, y, left] += x[:, :, y + dy, left + dx] @ weight.T
    return found


class TestMaskedConv2d:
    @pytest.mark.parametrize("kind", ["A", "B"])
    @pytest.mark.parametrize(("inside", "out", "size"), [(1, 3, 3), (2, 1, 5), (3, 4, 1)])
    def test_place_by_place(self, inside, out, size, kind):
        layer, x = stirred(MaskedConv2d(kind, inside, out, size)), normal(2, inside, 4, 5)
        assert_close(layer(x).detach(), convolved_by_hand(layer, x, kind, size))

    @pytest.mark.parametrize("kind", ["A", "B"])
    def test_causality_by_gradient(self, kind):
        layer, x = stirred(MaskedConv2d(kind, 2, 3, 5)), normal(1, 2, 6, 7).requires_grad_()
        (layer(x)[0, :, 3, 3] * normal(3, seed=1)).sum().backward()
        seen = x.grad.abs().amax((0, 1)) > 0
        expected = torch.zeros(6, 7, dtype=torch.bool)
        expected[1:3, 1:6] = True
        expected[3, 1:3] = True
        expected[3, 3] = kind == "B"
        assert_equal(seen, expected)

    def test_what_an_optimizer_does_to_masked_weights_has_no_effect(self):
        layer, x = stirred(MaskedConv2d("A", 1, 2, 3)), normal(1, 1, 4, 4)
        before = layer(x).detach()
        with torch.no_grad():
            layer.weight[:, :, 2] += 5
            layer.weight[:, :, 1, 1:] -= 3
        assert_close(layer(x).detach(), before)

    def test_the_weights_keep_their_values(self):
        layer = stirred(MaskedConv2d("B", 2, 2, 3))
        before = layer.weight.detach().clone()
        layer(normal(1, 2, 3, 3))
        assert_equal(layer.weight.detach(), before)

    @pytest.mark.parametrize("kind", ["A", "B"])
    def test_masked_weights_get_no_gradient(self, kind):
        layer = stirred(MaskedConv2d(kind, 2, 3, 3))
        (layer(normal(2, 2, 5, 4)) * normal(2, 3, 5, 4, seed=1)).sum().backward()
        reached = layer.weight.grad.abs().amax((0, 1)) > 0
        assert_equal(reached, torch.tensor([[True] * 3, [True, kind == "B", False], [False] * 3]))
        assert_equal(bool(layer.bias.grad.all()), True)

    def test_its_state(self):
        layer = MaskedConv2d("A", 2, 4, 3)
        shapes = {name: tuple(value.shape) for name, value in layer.state_dict().items()}
        assert_equal(shapes, {"weight": (4, 2, 3, 3), "bias": (4,), "mask": (3, 3)})
        assert_equal([name for name, _ in layer.named_parameters()], ["weight", "bias"])
        assert_close(layer.mask, torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, 0]]))

    def test_on_the_gpu(self, gpu):
        gpu.check(MaskedConv2d("A", 2, 3, 3), torch.randn(2, 2, 4, 5, requires_grad=True))


def cnn_by_hand(model: PixelCNN, images: torch.Tensor, levels: int, size: int) -> torch.Tensor:
    h = convolved_by_hand(model.first, (2 * images.double() / (levels - 1) - 1)[:, None], "A", size)
    for block in model.blocks:
        h = h + convolved_by_hand(block, h.clamp(min=0), "B", size)
    return torch.einsum("oc,bchw->bohw", model.last.weight[:, :, 0, 0], h.clamp(min=0)) + model.last.bias[:, None, None]


class TestPixelCNN:
    @pytest.mark.parametrize(("levels", "width", "layers", "size"), [(2, 3, 1, 3), (5, 4, 2, 3), (3, 2, 0, 5), (4, 3, 2, 5)])
    def test_the_formulas(self, levels, width, layers, size):
        model, images = stirred(PixelCNN(levels, width, layers, size)), pixels(2, 4, 5, levels=levels)
        assert_close(model(images).detach(), cnn_by_hand(model, images, levels, size).detach())

    def test_filters_of_3_unless_given(self):
        model, images = stirred(PixelCNN(3, 2, 2)), pixels(2, 4, 3, levels=3)
        assert_close(model(images).detach(), cnn_by_hand(model, images, 3, 3).detach())

    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in PixelCNN(5, 4, 2).named_parameters()}
        expected = {
            "first.weight": (4, 1, 3, 3), "first.bias": (4,), "blocks.0.weight": (4, 4, 3, 3), "blocks.0.bias": (4,),
            "blocks.1.weight": (4, 4, 3, 3), "blocks.1.bias": (4,), "last.weight": (5, 4, 1, 1), "last.bias": (5,),
        }  # fmt: skip
        assert_equal(shapes, expected)

    @pytest.mark.parametrize("layers", [0, 2])
    def test_no_pixel_sees_itself_or_a_later_one(self, layers):
        model, images = stirred(PixelCNN(4, 3, layers)), pixels(1, 4, 5, levels=4)
        before = model(images).detach().flatten(2)
        for i in range(20):
            changed = images.clone()
            changed.view(-1)[i] = (changed.view(-1)[i] + 1) % 4
            assert_close(model(changed).detach().flatten(2)[:, :, : i + 1], before[:, :, : i + 1])

    def test_floats_are_the_same_and_get_a_gradient(self):
        model, images = stirred(PixelCNN(4, 3, 1)), pixels(2, 3, 4, levels=4)
        floats = images.double().requires_grad_()
        assert_close(model(floats).detach(), model(images).detach())
        model(floats)[:, :, -1].sum().backward()
        assert_equal(bool(floats.grad.any()), True)

    def test_numbers_go_into_the_weights_dtype(self):
        assert_equal(PixelCNN(4, 3, 1)(torch.ones(1, 2, 2, dtype=F64)).dtype, torch.float32)
        assert_equal(PixelCNN(4, 3, 1).double()(torch.ones(1, 2, 2)).dtype, F64)

    def test_all_of_it_is_trained(self):
        model = stirred(PixelCNN(4, 3, 2))
        (model(pixels(2, 4, 4, levels=4)) * normal(2, 4, 4, 4)).sum().backward()
        assert_equal([name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()], [])

    def test_on_the_gpu(self, gpu):
        gpu.check(PixelCNN(3, 4, 1), pixels(2, 4, 3, levels=3))


def lstm_by_hand(model: RowLSTM, images: torch.Tensor, levels: int) -> torch.Tensor:
    """Pixel by pixel, with vectors."""
    batch, height, width = images.shape
    see, remember = model.see.weight.detach()[:, 0, 0], model.remember.weight.detach()
    size = remember.shape[1]
    logits = torch.zeros(batch, levels, height, width, dtype=F64)
    for b in range(batch):
        above = [(torch.zeros(size, dtype=F64), torch.zeros(size, dtype=F64)) for _ in range(width)]
        for y in range(height):
            row = []
            for x in range(width):
                gates = model.see.bias.detach().clone()
                if x:
                    gates += see * (2 * images[b, y, x - 1].item() / (levels - 1) - 1)
                for k in (-1, 0, 1):
                    if 0 <= x + k < width:
                        gates += remember[:, :, k + 1] @ above[x + k][0]
                i, f, g, o = (gates[j * size : (j + 1) * size] for j in range(4))
                c = torch.sigmoid(f) * above[x][1] + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
                row.append((h, c))
                logits[b, :, y, x] = model.last.weight.detach()[:, :, 0] @ h + model.last.bias.detach()
            above = row
    return logits


class TestRowLSTM:
    @pytest.mark.parametrize(("levels", "width", "shape"), [(2, 3, (2, 4, 5)), (5, 2, (1, 3, 1)), (3, 4, (3, 1, 4)), (4, 1, (2, 3, 3))])
    def test_pixel_by_pixel(self, levels, width, shape):
        model, images = stirred(RowLSTM(levels, width)), pixels(*shape, levels=levels)
        assert_close(model(images).detach(), lstm_by_hand(model, images, levels))

    def test_pictures_of_several_sizes(self):
        model = stirred(RowLSTM(3, 6))
        for shape in ((2, 3, 4), (1, 4, 2), (3, 2, 5)):
            images = pixels(*shape, levels=3)
            assert_close(model(images).detach(), lstm_by_hand(model, images, 3))

    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in RowLSTM(5, 4).named_parameters()}
        expected = {
            "see.weight": (16, 1, 3), "see.bias": (16,), "remember.weight": (16, 4, 3), "last.weight": (5, 4, 1),
            "last.bias": (5,),
        }  # fmt: skip
        assert_equal(shapes, expected)

    def test_no_pixel_sees_itself_or_a_later_one(self):
        model, images = stirred(RowLSTM(4, 3)), pixels(1, 4, 5, levels=4)
        before = model(images).detach().flatten(2)
        for i in range(20):
            changed = images.clone()
            changed.view(-1)[i] = (changed.view(-1)[i] + 1) % 4
            assert_close(model(changed).detach().flatten(2)[:, :, : i + 1], before[:, :, : i + 1])

    def test_only_the_left_weight_of_see_is_used(self):
        model = stirred(RowLSTM(3, 2))
        (model(pixels(2, 3, 4, levels=3)) * normal(2, 3, 3, 4)).sum().backward()
        assert_equal((model.see.weight.grad.abs().amax((0, 1)) > 0).tolist(), [True, False, False])
        assert_equal([name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()], [])

    def test_floats_are_the_same_and_get_a_gradient(self):
        model, images = stirred(RowLSTM(4, 3)), pixels(2, 3, 4, levels=4)
        floats = images.double().requires_grad_()
        assert_close(model(floats).detach(), model(images).detach())
        model(floats)[:, :, -1].sum().backward()
        assert_equal(bool(floats.grad.any()), True)

    def test_on_the_gpu(self, gpu):
        gpu.check(RowLSTM(3, 4), pixels(2, 4, 3, levels=3))


def table(first: float, second: tuple[float, float]):
    """A model of two pixels in a row that are 0 or 1: p(x_1 = 1), and p(x_2 = 1) after a 0 and after a 1."""

    def model(images):
        ones = torch.full(images.shape, first, dtype=F64)
        ones[:, 0, 1] = torch.tensor(second, dtype=F64)[images[:, 0, 0].long()]
        return torch.stack([1 - ones, ones], 1).log()

    return model


MODELS = {"PixelCNN": lambda levels: PixelCNN(levels, 4, 2), "RowLSTM": lambda levels: RowLSTM(levels, 4)}


class TestImageLogLikelihood:
    def test_the_example_worked_by_hand(self):
        found = image_log_likelihood(table(0.8, (0.5, 0.75)), torch.tensor([[[1, 0]]]))
        assert_close(found, torch.tensor([math.log(0.2)], dtype=F64))

    def test_pixel_by_pixel(self):
        logits, images = normal(3, 4, 2, 3), pixels(3, 2, 3, levels=4)
        expected = torch.zeros(3, dtype=F64)
        for b, y, x in itertools.product(range(3), range(2), range(3)):
            row = logits[b, :, y, x].tolist()
            expected[b] += row[images[b, y, x]] - math.log(sum(math.exp(v) for v in row))
        assert_close(image_log_likelihood(lambda images: logits, images), expected)

    @pytest.mark.parametrize("name", MODELS)
    @pytest.mark.parametrize(("levels", "height", "width"), [(3, 2, 2), (2, 2, 3), (2, 3, 2), (5, 1, 3)])
    def test_the_probabilities_of_all_tiny_images_sum_to_1(self, name, levels, height, width):
        model = stirred(MODELS[name](levels))
        every = torch.tensor(list(itertools.product(range(levels), repeat=height * width))).reshape(-1, height, width)
        assert_close(image_log_likelihood(model, every).exp().sum().detach(), torch.tensor(1.0, dtype=F64))

    def test_the_gradient(self):
        logits, images = normal(2, 3, 2, 2).requires_grad_(), pixels(2, 2, 2, levels=3)
        image_log_likelihood(lambda images: logits, images).backward(torch.tensor([1.0, -2.0], dtype=F64))
        one_hot = F.one_hot(images, 3).movedim(-1, 1).double()
        expected = (one_hot - logits.detach().softmax(1)) * torch.tensor([1.0, -2.0], dtype=F64)[:, None, None, None]
        assert_close(logits.grad, expected)

    def test_very_unlikely_images(self):
        logits = torch.tensor([0.0, -2000.0], dtype=F64)[None, :, None, None].expand(1, 2, 1, 2)
        assert_close(image_log_likelihood(lambda x: logits, torch.ones(1, 1, 2, dtype=torch.long)), torch.tensor([-4000.0], dtype=F64))

    def test_on_the_gpu(self, gpu):
        model, images = gpu(PixelCNN(3, 4, 1)), gpu(pixels(2, 3, 3, levels=3))
        assert_equal(image_log_likelihood(model, images).device.type, gpu.device.type)


class TestBitsPerPixel:
    def test_the_example_worked_by_hand(self):
        assert_close(bits_per_pixel(torch.tensor([math.log(0.2)], dtype=F64), 1, 2), math.log2(5) / 2)

    @pytest.mark.parametrize("levels", [2, 16, 256])
    def test_guessing(self, levels):
        guess = torch.full((3,), -20 * math.log(levels), dtype=F64)
        assert_close(bits_per_pixel(guess, 4, 5), math.log2(levels))

    def test_a_mean_over_images(self):
        found = bits_per_pixel(torch.tensor([-6.0, -12.0, -3.0], dtype=F64), 2, 3)
        assert_close(found, 7 / (6 * math.log(2)))
        assert_equal(isinstance(found, float), True)


class TestVisible:
    def test_the_drawing(self):
        cnn = visible(stirred(PixelCNN(3, 12, 2)), pixels(3, 6, levels=3).double(), 2, 2)
        rows = visible(stirred(RowLSTM(3, 4)), pixels(3, 6, levels=3).double(), 2, 2)
        assert_equal(cnn.int().tolist(), [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]])
        assert_equal(rows.int().tolist(), [[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]])

    @pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (3, 1)])
    def test_a_model_whose_sight_is_known(self, row, column):
        sight = torch.rand(4, 3, 4, 3, generator=seeded(1)) < 0.3
        weights = sight * (1 + torch.rand(2, 4, 3, 4, 3, generator=seeded(2)))

        def model(images):
            return torch.einsum("kijyx,byx->bkij", weights, images)

        assert_equal(visible(model, normal(4, 3).float(), row, column), sight[row, column])

    def test_logits_that_cancel_in_a_sum(self):
        """The two logits are x and -x, as for two levels."""
        found = visible(lambda x: torch.stack([x.roll(1, 2), -x.roll(1, 2)], 1), normal(2, 3), 1, 2)
        assert_equal(found.int().tolist(), [[0, 0, 0], [0, 1, 0]])

    def test_only_one_of_three_logits(self):
        found = visible(lambda x: torch.stack([0 * x, 0 * x, x.flip(2).exp()], 1), normal(2, 3), 0, 0)
        assert_equal(found.int().tolist(), [[0, 0, 1], [0, 0, 0]])

    def test_a_logit_that_falls(self):
        found = visible(lambda x: torch.stack([-x.roll(1, 2), 0 * x], 1), normal(2, 3), 1, 2)
        assert_equal(found.int().tolist(), [[0, 0, 0], [0, 1, 0]])

    def test_two_logits_that_see_different_pixels(self):
        found = visible(lambda x: torch.stack([x.roll(1, 2), x.roll(-1, 2).exp()], 1), normal(2, 3), 0, 1)
        assert_equal(found.int().tolist(), [[1, 0, 1], [0, 0, 0]])

    def test_gradients_of_the_model_stay(self):
        model = stirred(PixelCNN(3, 2, 1))
        visible(model, normal(3, 3), 1, 1)
        assert_equal([name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()], [])
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        visible(model, normal(3, 3), 1, 1)
        assert_equal({float(v) for p in model.parameters() for v in p.grad.unique()}, {1.0})

    def test_on_the_gpu(self, gpu):
        model, image = gpu(PixelCNN(3, 4, 1)), gpu(torch.randn(3, 4))
        assert_equal(visible(model, image, 1, 1).device.type, gpu.device.type)


def far_from(counts: dict, expected: dict, n: int) -> float:
    """The largest distance of a share from its chance, in its own deviations."""
    return max(abs(counts.get(key, 0) / n - p) / math.sqrt(p * (1 - p) / n) for key, p in expected.items())


class TestDraw:
    @pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
    def test_the_distribution(self, temperature):
        n = 4000
        model = table(0.8, (0.3, 0.75))
        found = draw(model, torch.zeros(n, 1, 2, dtype=torch.long), torch.zeros(1, 2, dtype=torch.bool), seeded(1), temperature)

        def heated(p):
            return p ** (1 / temperature) / (p ** (1 / temperature) + (1 - p) ** (1 / temperature))

        a, after_0, after_1 = heated(0.8), heated(0.3), heated(0.75)
        expected = {(1, 1): a * after_1, (1, 0): a * (1 - after_1), (0, 1): (1 - a) * after_0, (0, 0): (1 - a) * (1 - after_0)}
        drawn = [tuple(row) for row in found[:, 0].tolist()]
        off = far_from({key: drawn.count(key) for key in expected}, expected, n)
        if off > 5:
            fail(f"How often an image is drawn is {off:.0f} deviations away from its probability.", evidence=round(off))

    @pytest.mark.parametrize("name", MODELS)
    def test_a_networks_own_probabilities(self, name):
        model, n = stirred(MODELS[name](2), seed=3), 3000
        every = torch.tensor(list(itertools.product(range(2), repeat=4))).reshape(-1, 2, 2)
        chances = image_log_likelihood(model, every).exp().tolist()
        expected = {tuple(image.flatten().tolist()): p for image, p in zip(every, chances, strict=True)}
        found = draw(model, torch.zeros(n, 2, 2, dtype=torch.long), torch.zeros(2, 2, dtype=torch.bool), seeded(2))
        drawn = [tuple(image) for image in found.flatten(1).tolist()]
        off = far_from({key: drawn.count(key) for key in expected}, {k: max(p, 1e-3) for k, p in expected.items()}, n)
        if off > 5:
            fail(f"How often an image is drawn is {off:.0f} deviations away from its probability.", evidence=round(off))

    def test_known_pixels_stay_and_unknown_ones_dont_matter(self):
        images, model = pixels(5, 3, 4, levels=3), stirred(PixelCNN(3, 4, 2))
        known = torch.rand(3, 4, generator=seeded(4)) < 0.5
        found = draw(model, images, known, seeded(5))
        assert_equal(found[:, known], images[:, known])
        other = torch.where(known, images, (images + 1) % 3)
        assert_equal(draw(model, other, known, seeded(5)), found)

    def test_as_one_reads(self):
        """Each pixel must be its left neighbour plus 1, or the last one above."""
        def model(images):
            before = torch.cat([torch.zeros(len(images), 1, dtype=torch.long), images.flatten(1)[:, :-1]], 1)
            wanted = ((before + 1) % 5).reshape(images.shape)
            return 100.0 * F.one_hot(wanted, 5).movedim(-1, 1).double()

        known = torch.zeros(2, 3, dtype=torch.bool)
        known[0, 1] = True
        start = torch.tensor([[[0, 2, 0], [0, 0, 0]]]).repeat(2, 1, 1)
        assert_equal(draw(model, start, known, seeded(1)), torch.tensor([[[1, 2, 3], [4, 0, 1]]] * 2))

    def test_one_call_for_each_unknown_pixel(self):
        calls = []

        def model(images):
            calls.append((images.dtype, torch.is_grad_enabled()))
            return torch.zeros(len(images), 2, 3, 3)

        known = torch.zeros(3, 3, dtype=torch.bool)
        known[1] = True
        draw(model, torch.zeros(4, 3, 3, dtype=torch.long), known, seeded(1))
        assert_equal(calls, [(torch.int64, False)] * 6)

    def test_all_known(self):
        images = pixels(2, 2, 2, levels=3)
        found = draw(PixelCNN(3, 2, 0), images, torch.ones(2, 2, dtype=torch.bool), seeded(1))
        assert_equal(found, images)

    def test_images_are_drawn_independently(self):
        found = draw(lambda x: torch.zeros(len(x), 4, 2, 2), torch.zeros(40, 2, 2, dtype=torch.long), torch.zeros(2, 2, dtype=torch.bool), seeded(1))
        assert_equal(len(found.flatten(1).unique(dim=0)) > 20, True)

    @pytest.mark.parametrize("temperature", [0.0, -1.0])
    def test_a_temperature_that_isnt_above_0(self, temperature):
        with raises(ValueError, "temperature", temperature):
            draw(PixelCNN(2, 2, 0), torch.zeros(1, 2, 2, dtype=torch.long), torch.zeros(2, 2, dtype=torch.bool), seeded(1), temperature)

    def test_on_the_gpu(self, gpu):
        model, images, known = gpu(PixelCNN(3, 4, 1)), gpu(pixels(2, 2, 3, levels=3)), gpu(torch.zeros(2, 3).bool())
        assert_equal(draw(model, images, known, gpu.generator(0)).device.type, gpu.device.type)


@pytest.mark.learning
@pytest.mark.deadline(60)  # two seconds each on a quiet machine
class TestItLearns:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_digits_in_fewer_bits_than_pixels_by_themselves(self, digits, seed):
        images = torch.from_numpy(digits[0].reshape(-1, 8, 8) > 7).long()
        order = torch.randperm(len(images), generator=seeded(seed))
        train, held_out = images[order[:1300]], images[order[1300:]]
        share = (train.sum(0) + 1) / (len(train) + 2)
        alone = torch.where(held_out == 1, share, 1 - share).log().sum((1, 2))
        torch.manual_seed(seed)
        model = PixelCNN(2, 16, 3)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for step in range(150):
            rows = train[torch.randint(len(train), (64,), generator=seeded(1000 * seed + step))]
            optimizer.zero_grad()
            (-image_log_likelihood(model, rows).mean()).backward()
            optimizer.step()
        with torch.no_grad():
            bits = bits_per_pixel(image_log_likelihood(model, held_out), 8, 8)
        baseline = bits_per_pixel(alone, 8, 8)
        if bits > 0.9 * baseline:
            fail(f"Held-out digits cost {bits:.3f} bits a pixel; pixels by themselves cost {baseline:.3f}.", evidence=round(bits, 1))
