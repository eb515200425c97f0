"""Judges k12_augmentation against numpy, scipy's resampling, Pillow's colours, and where lit pixels end up."""

import math
import pickle
import random

import numpy as np
import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_04_deep_learning.k12_augmentation import (
    Augment,
    clip_boxes,
    color_jitter,
    cutout,
    flip,
    normalize,
    pad_crop,
    rotate,
)

pytestmark = [from_scratch("torchvision"), pure()]

BOX = torch.tensor([[0.0, 0, 1, 2]])
NONE = torch.zeros(0, 4, dtype=torch.float64)
SHAPES = [(3, 4, 7), (1, 5, 5), (2, 6, 3)]


def some_image(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64)


def some_boxes(n: int, height: int, width: int) -> torch.Tensor:
    corner = torch.rand(n, 2, dtype=torch.float64) * torch.tensor([width, height]) * 0.7
    return torch.cat([corner, corner + 0.3 + torch.rand(n, 2, dtype=torch.float64) * 2], dim=1)


def assert_passes_gradients(function, image: torch.Tensor) -> None:
    assert torch.autograd.gradcheck(function, image.clone().requires_grad_())


def kept(answer) -> list[str]:
    return [str(part.dtype) for part in answer]


class TestFlip:
    def test_the_example_worked_by_hand(self):
        image = torch.arange(8.0).reshape(1, 2, 4)
        expected = torch.tensor([[[3.0, 2, 1, 0], [7, 6, 5, 4]]]), torch.tensor([[3.0, 0, 4, 2]])
        assert_close(flip(image, BOX), expected)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_matches_numpy(self, shape):
        image, boxes = some_image(*shape), some_boxes(5, *shape[1:])
        x1, y1, x2, y2 = boxes.numpy().T
        expected = np.stack([shape[2] - x2, y1, shape[2] - x1, y2], axis=1)
        assert_close(
            flip(image, boxes), (torch.from_numpy(image.numpy()[:, :, ::-1].copy()), torch.from_numpy(expected))
        )

    def test_twice_is_nothing(self):
        image, boxes = some_image(3, 4, 6), some_boxes(4, 4, 6)
        assert_close(flip(*flip(image, boxes)), (image, boxes))

    def test_without_boxes_and_with_two_dtypes(self):
        found = flip(torch.rand(3, 2, 4), NONE)
        assert_equal(tuple(found[1].shape), (0, 4))
        assert_equal(kept(found), ["torch.float32", "torch.float64"])

    def test_gradients(self):
        assert_passes_gradients(lambda image: flip(image, NONE)[0], some_image(2, 3, 4))


def resampled(image: torch.Tensor, degrees: float) -> torch.Tensor:
    """scipy's bilinear resampling of each channel at the place that each pixel's centre comes from."""
    from scipy.ndimage import map_coordinates

    _, height, width = image.shape
    angle = math.radians(degrees)
    i, j = np.mgrid[:height, :width]
    x, y = j + 0.5 - width / 2, i + 0.5 - height / 2
    # Turned clockwise, which undoes the turn.
    from_x = x * math.cos(angle) - y * math.sin(angle) + width / 2 - 0.5
    from_y = x * math.sin(angle) + y * math.cos(angle) + height / 2 - 0.5
    channels = [map_coordinates(c, [from_y, from_x], order=1, mode="grid-constant", cval=0) for c in image.numpy()]
    return torch.from_numpy(np.stack(channels))


class TestRotate:
    def test_the_example_worked_by_hand(self):
        _, boxes = rotate(torch.zeros(1, 2, 4), BOX, 90)
        assert_close(boxes, torch.tensor([[1.0, 2, 3, 3]]))

    def test_a_quarter_turn_counterclockwise(self):
        image = some_image(3, 5, 5)
        assert_close(rotate(image, NONE, 90)[0], torch.rot90(image, 1, (1, 2)))
        assert_close(rotate(image, NONE, -90)[0], torch.rot90(image, -1, (1, 2)))

    @pytest.mark.parametrize("shape", SHAPES)
    def test_half_a_turn(self, shape):
        image, (height, width) = some_image(*shape), shape[1:]
        boxes = some_boxes(4, height, width)
        expected = torch.tensor([width, height, width, height]) - boxes[:, [2, 3, 0, 1]]
        assert_close(rotate(image, boxes, 180), (image.flip(1, 2), expected))

    @pytest.mark.parametrize("degrees", [0.0, 360.0])
    def test_no_turn(self, degrees):
        image, boxes = some_image(2, 3, 5), some_boxes(3, 3, 5)
        assert_close(rotate(image, boxes, degrees), (image, boxes))

    @pytest.mark.parametrize("shape", [(3, 8, 11), (1, 9, 6), (2, 7, 7)])
    @pytest.mark.parametrize("degrees", [10.0, -33.0, 137.0])
    def test_pixels_match_scipy(self, shape, degrees):
        image = some_image(*shape)
        assert_close(rotate(image, NONE, degrees)[0], resampled(image, degrees))

    @pytest.mark.parametrize("degrees", [10.0, -33.0, 137.0])
    def test_boxes_surround_the_turned_corners(self, degrees):
        height, width = 8, 13
        boxes = some_boxes(6, height, width)
        expected = []
        for x1, y1, x2, y2 in boxes.tolist():
            # On a plane whose imaginary axis points upwards, a turn is a product.
            corners = [complex(x - width / 2, height / 2 - y) for x in (x1, x2) for y in (y1, y2)]
            turned = [z * complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees))) for z in corners]
            xs, ys = [z.real + width / 2 for z in turned], [height / 2 - z.imag for z in turned]
            expected.append([min(xs), min(ys), max(xs), max(ys)])
        found = rotate(torch.zeros(1, height, width), boxes, degrees)[1]
        assert_close(found, torch.tensor(expected, dtype=torch.float64))

    def test_boxes_are_not_clipped(self):
        boxes = rotate(torch.zeros(1, 4, 4), torch.tensor([[0.0, 0, 4, 4]]), 45)[1]
        reach = 2 * math.sqrt(2)
        assert_close(boxes, torch.tensor([[2 - reach, 2 - reach, 2 + reach, 2 + reach]]))

    @pytest.mark.parametrize("degrees", [25.0, -25.0])
    def test_lit_pixels_stay_in_their_box(self, degrees):
        image, box = torch.zeros(1, 40, 56, dtype=torch.float64), torch.tensor([[26.0, 10, 40, 18]])
        image[:, 10:18, 26:40] = 1
        turned, found = rotate(image, box, degrees)
        rows, columns = (turned[0] > 0.3).nonzero().unbind(1)
        lit = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])[None].float()
        # The corners of a turned rectangle fill less than a third of their pixel.
        assert_close(found, lit, atol=1.7, rtol=0)

    def test_without_boxes_and_with_two_dtypes(self):
        found = rotate(torch.rand(3, 2, 4), NONE, 20)
        assert_equal(tuple(found[1].shape), (0, 4))
        assert_equal(kept(found), ["torch.float32", "torch.float64"])

    def test_gradients(self):
        assert_passes_gradients(lambda image: rotate(image, NONE, 40)[0], some_image(2, 3, 4))


class TestPadCrop:
    def test_the_example_worked_by_hand(self):
        image = torch.arange(1.0, 9).reshape(1, 2, 4)
        expected = torch.tensor([[[0.0, 0, 0, 0], [2, 3, 4, 0]]]), torch.tensor([[-1.0, 1, 0, 3]])
        assert_close(pad_crop(image, BOX, 1, 0, 2), expected)

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize(("padding", "top", "left"), [(2, 0, 3), (2, 4, 4), (3, 5, 0), (1, 1, 1), (9, 0, 18)])
    def test_matches_numpy(self, shape, padding, top, left):
        image, (height, width) = some_image(*shape), shape[1:]
        boxes = some_boxes(4, height, width)
        padded = np.pad(image.numpy(), [(0, 0), (padding, padding), (padding, padding)])
        x1, y1, x2, y2 = boxes.numpy().T
        moved = [x1 + padding - left, y1 + padding - top, x2 + padding - left, y2 + padding - top]
        expected = padded[:, top : top + height, left : left + width].copy(), np.stack(moved, axis=1)
        assert_close(pad_crop(image, boxes, padding, top, left), tuple(map(torch.from_numpy, expected)))

    def test_no_padding(self):
        image, boxes = some_image(3, 4, 5), some_boxes(2, 4, 5)
        assert_close(pad_crop(image, boxes, 0, 0, 0), (image, boxes))

    @pytest.mark.parametrize("wrong", [-1, 5])
    def test_refuses_to_begin_outside(self, wrong):
        with raises(ValueError, wrong):
            pad_crop(torch.zeros(1, 2, 4), BOX, 2, wrong, 1)
        with raises(ValueError, wrong):
            pad_crop(torch.zeros(1, 2, 4), BOX, 2, 1, wrong)

    def test_without_boxes_and_with_two_dtypes(self):
        found = pad_crop(torch.rand(3, 2, 4), NONE, 1, 0, 2)
        assert_equal(tuple(found[1].shape), (0, 4))
        assert_equal(kept(found), ["torch.float32", "torch.float64"])

    def test_gradients(self):
        assert_passes_gradients(lambda image: pad_crop(image, NONE, 2, 1, 4)[0], some_image(2, 3, 4))


class TestClipBoxes:
    def test_what_sticks_out_is_cut_off(self):
        boxes = torch.tensor([[-1.0, 1, 3, 5], [2, 2, 4, 3], [6, -2, 9, 2], [5, 3, 8.5, 6]])
        expected = torch.tensor([[0.0, 1, 3, 5], [2, 2, 4, 3], [6, 0, 8, 2], [5, 3, 8, 5]])
        found = clip_boxes(boxes, torch.tensor([7, 8, 9, 7]), 5, 8)
        assert_close(found, (expected, torch.tensor([7, 8, 9, 7])))

    def test_what_is_hardly_seen_is_dropped_with_its_label(self):
        # 1/8, all, 1/4 and a little less than 1/4 of these are left.
        boxes = torch.tensor([[-7.0, 0, 1, 2], [1, 1, 2, 2], [6, 3, 10, 7], [6, 3.01, 10, 7.01]])
        found = clip_boxes(boxes, torch.tensor([1, 2, 3, 4]), 5, 8)
        assert_close(found, (torch.tensor([[1.0, 1, 2, 2], [6, 3, 8, 5]]), torch.tensor([2, 3])))

    @pytest.mark.parametrize(("least", "left"), [(0.0, [1, 2, 3]), (0.5, [2, 3]), (0.51, [3]), (1.0, [3])])
    def test_how_much_must_be_left(self, least, left):
        boxes = torch.tensor([[-3.0, 0, 1, 2], [-1, 0, 1, 2], [0, 0, 8, 5]])
        assert_equal(clip_boxes(boxes, torch.tensor([1, 2, 3]), 5, 8, least)[1].tolist(), left)

    def test_boxes_without_area_are_dropped(self):
        boxes = torch.tensor([[9.0, 1, 12, 3], [-4, -4, 0, 0], [1, 1, 1, 3], [2, 6, 4, 9], [-5, 7, -1, 9]])
        found = clip_boxes(boxes, torch.arange(5), 5, 8, 0.0)
        assert_close(found, (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)))

    def test_no_boxes(self):
        labels = torch.zeros(0, dtype=torch.int64)
        assert_close(clip_boxes(NONE, labels, 5, 8), (NONE, labels))

    @pytest.mark.parametrize("least", [0.1, 0.6])
    def test_matches_a_loop(self, least):
        boxes, labels = some_boxes(30, 6, 9) * 1.6 - 2, torch.randint(0, 9, (30,))
        expected, names = [], []
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            cut = [min(max(x1, 0), 9), min(max(y1, 0), 6), min(max(x2, 0), 9), min(max(y2, 0), 6)]
            area = (cut[2] - cut[0]) * (cut[3] - cut[1])
            if area > 0 and area >= least * (x2 - x1) * (y2 - y1):
                expected.append(cut)
                names.append(label)
        expected = torch.tensor(expected, dtype=torch.float64).reshape(-1, 4)
        assert_close(clip_boxes(boxes, labels, 6, 9, least), (expected, torch.tensor(names)))


def jittered(image: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """The lesson's formulas on (h, w, 3)."""
    weights = np.array([0.299, 0.587, 0.114])
    image = np.clip(brightness * image, 0, 1)
    image = np.clip(contrast * image + (1 - contrast) * (image @ weights).mean(), 0, 1)
    return np.clip(saturation * image + (1 - saturation) * (image @ weights)[..., None], 0, 1)


class TestColorJitter:
    @pytest.mark.parametrize("factors", [
        (0.6, 1, 1), (1.7, 1, 1), (1, 0.4, 1), (1, 1.8, 1), (1, 1, 0.3), (1, 1, 1.9), (1.4, 0.7, 1.5), (0.7, 1.6, 0.2), (0, 0.5, 2),
        (1.2, 1.9, 0.3),
    ])  # fmt: skip
    def test_matches_the_formulas(self, factors):
        image = some_image(3, 5, 4)
        expected = jittered(image.numpy().transpose(1, 2, 0), *factors).transpose(2, 0, 1)
        assert_close(color_jitter(image, *factors), torch.from_numpy(expected.copy()))

    @pytest.mark.parametrize(("kind", "factors"), [
        ("Brightness", (0.7, 1, 1)), ("Brightness", (1.4, 1, 1)), ("Contrast", (1, 0.5, 1)), ("Contrast", (1, 1.6, 1)),
        ("Color", (1, 1, 0.4)), ("Color", (1, 1, 1.7)),
    ])  # fmt: skip
    def test_a_photo_looks_as_pillow_makes_it(self, photo, kind, factors):
        from PIL import Image, ImageEnhance

        part = photo[100:180, 200:320]
        picture = Image.fromarray((part * 255).round().astype(np.uint8))
        expected = np.asarray(
            getattr(ImageEnhance, kind)(picture).enhance(max(factors) if max(factors) > 1 else min(factors))
        )
        found = color_jitter(torch.from_numpy(part.transpose(2, 0, 1).copy()), *factors)
        # Pillow rounds gray, mean and result to whole numbers of 255.
        assert_close(found, torch.from_numpy(expected.transpose(2, 0, 1) / 255), atol=3 / 255, rtol=0)

    def test_factors_of_1_change_nothing(self):
        image = some_image(3, 4, 5)
        assert_close(color_jitter(image, 1, 1, 1), image)

    def test_no_saturation_is_gray_and_no_contrast_is_flat(self):
        image = some_image(3, 4, 5)
        gray = color_jitter(image, 1, 1, 0)
        assert_close(gray[0], gray[1])
        assert_close(gray[0], gray[2])
        flat = color_jitter(image, 1, 0, 1)
        assert_close(flat, flat.mean().expand(3, 4, 5))

    def test_keeps_the_dtype(self):
        assert_equal(str(color_jitter(torch.rand(3, 2, 2), 0.5, 1.5, 0.5).dtype), "torch.float32")

    def test_gradients(self):
        image = 0.3 + 0.3 * some_image(3, 2, 3)  # nothing is cut off
        assert_passes_gradients(lambda image: color_jitter(image, 1.2, 0.8, 1.3), image)


class TestNormalize:
    @pytest.mark.parametrize("channels", [3, 1, 2])
    def test_by_channel(self, channels):
        image, mean, std = some_image(channels, 4, 3), [0.4, 0.1, 0.7][:channels], [0.2, 3.0, 0.5][:channels]
        expected = [[[(x - mean[c]) / std[c] for x in row] for row in rows] for c, rows in enumerate(image.tolist())]
        assert_close(normalize(image, mean, std), torch.tensor(expected, dtype=torch.float64))

    def test_keeps_the_dtype(self):
        assert_equal(str(normalize(torch.rand(3, 2, 2), [0.1] * 3, (0.5,) * 3).dtype), "torch.float32")

    @pytest.mark.parametrize("wrong", [0.0, -0.5])
    def test_refuses_a_std_that_is_not_above_0(self, wrong):
        with raises(ValueError, wrong):
            normalize(some_image(2, 3, 3), [0.5, 0.5], [0.3, wrong])

    def test_gradients(self):
        assert_passes_gradients(lambda image: normalize(image, [0.4, 0.1], [0.2, 3.0]), some_image(2, 2, 3))


class TestCutout:
    def test_a_square_in_all_channels(self):
        image = torch.ones(2, 4, 5)
        expected = torch.ones(2, 4, 5)
        expected[:, 1:3, 2:4] = 0
        assert_close(cutout(image, 2, 3, 2), expected)

    @pytest.mark.parametrize("size", [1, 2, 3, 5, 20])
    @pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 6), (1, 4), (3, 0), (0, 6)])
    def test_is_cut_off_at_the_border(self, size, row, column):
        image = 0.1 + some_image(3, 4, 7)
        expected = image.clone()
        for i in range(row - size // 2, row - size // 2 + size):
            for j in range(column - size // 2, column - size // 2 + size):
                if 0 <= i < 4 and 0 <= j < 7:
                    expected[:, i, j] = 0
        assert_close(cutout(image, row, column, size), expected)

    def test_leaves_the_image_it_was_given(self):
        image = torch.ones(1, 3, 3)
        cutout(image, 1, 1, 2)
        assert_close(image, torch.ones(1, 3, 3))

    def test_gradients(self):
        assert_passes_gradients(lambda image: cutout(image, 1, 0, 2), some_image(2, 3, 4))


def run(augment: Augment, image: torch.Tensor, boxes: torch.Tensor | None = None, index: int = 0, epoch: int = 0):
    boxes = NONE if boxes is None else boxes
    return augment(image, boxes, torch.arange(len(boxes)), index, epoch)


def turn_of(augment: Augment, index: int = 0, epoch: int = 0) -> float:
    """The angle in degrees by which an Augment that only rotates has turned: of a small box, as seen from the centre."""
    box = torch.tensor([[29.0, 19, 31, 21]], dtype=torch.float64)
    x1, y1, x2, y2 = run(augment, torch.zeros(1, 40, 40), box, index, epoch)[1][0].tolist()
    return math.degrees(math.atan2(20 - (y1 + y2) / 2, (x1 + x2) / 2 - 20))


def shift_of(augment: Augment, index: int) -> tuple[int, int]:
    """By how many pixels an Augment that only pads and crops has moved the image, down and to the right."""
    image = torch.zeros(1, 15, 15)
    image[0, 7, 7] = 1
    at = run(augment, image, index=index)[0][0].nonzero()
    assert_equal(len(at), 1)
    return at[0, 0].item() - 7, at[0, 1].item() - 7


def factors_of(found: torch.Tensor, image: torch.Tensor) -> tuple[float, float, float]:
    """Brightness, contrast and saturation that made `found` of an image where nothing was cut off."""
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    gray_in, gray_out = torch.einsum("c,chw->hw", weights, image), torch.einsum("c,chw->hw", weights, found)
    brightness = (gray_out.mean() / gray_in.mean()).item()
    both = ((gray_out - gray_out.mean()) / (gray_in - gray_in.mean()))[0, 0].item()
    all_three = ((found - gray_out) / (image - gray_in))[0, 0, 0].item()
    return brightness, both / brightness, all_three / both


def assert_uniform(values: list[float], low: float, high: float, what: str) -> None:
    """Within [low, high], with the mean and spread of a uniform variable, to six standard errors."""
    x, width = torch.tensor(values, dtype=torch.float64), high - low
    error = 6 / math.sqrt(len(values))
    where = ((x.mean() - low) / width).item(), (x.std() * math.sqrt(12) / width).item()
    outside = bool((x < low - 1e-6).any() or (x > high + 1e-6).any())
    if outside or abs(where[0] - 0.5) > error / math.sqrt(12) or abs(where[1] - 1) > error * 0.9:
        fail(
            f"{what} isn't uniform from {low:g} to {high:g}: found {x.min():.3g} to {x.max():.3g}, mean {x.mean():.3g}.",
            evidence=(what, outside, round(where[0], 3), round(where[1], 3)),
        )


def assert_unrelated(pairs: list[tuple[float, float]], what: str) -> None:
    correlation = torch.corrcoef(torch.tensor(pairs, dtype=torch.float64).T)[0, 1].item()
    if not abs(correlation) < 6 / math.sqrt(len(pairs)):
        fail(
            f"{what} aren't independent: their correlation is {correlation:.2f}.",
            evidence=(what, round(correlation, 2)),
        )


INDEX = torch.arange(24.0, dtype=torch.float64).reshape(1, 4, 6)


class TestAugment:
    def test_all_that_is_off_changes_nothing(self):
        image, boxes, labels = some_image(3, 5, 7), torch.tensor([[1.0, 1, 3, 3]]), torch.tensor([4])
        for index in range(8):
            assert_close(Augment(0, flip=0.0)(image, boxes, labels, index), (image, boxes, labels))

    def test_gradients(self):
        augment = Augment(3, 0.5, 20.0, 1, 0.2, 1, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
        assert_passes_gradients(
            lambda image: augment(image, NONE, NONE[:, 0].long(), 2)[0], 0.3 + some_image(3, 4, 5) / 3
        )

    @pytest.mark.parametrize("chance", [None, 0.2, 1.0, 0.0])
    def test_flips_with_its_probability(self, chance):
        augment = Augment(3) if chance is None else Augment(3, flip=chance)
        flipped, box = [], torch.tensor([[0.0, 1, 2, 3]])
        for index in range(400):
            image, boxes, _ = run(augment, INDEX, box, index)
            flipped.append(not torch.equal(image, INDEX))
            expected = (INDEX.flip(2), torch.tensor([[4.0, 1, 6, 3]])) if flipped[-1] else (INDEX, box)
            assert_close((image, boxes), expected)
        expected = 0.5 if chance is None else chance
        # Six standard errors.
        assert_close(sum(flipped) / 400, expected, atol=6 * math.sqrt(expected * (1 - expected) / 400) + 1e-9, rtol=0)

    @pytest.mark.parametrize("degrees", [15.0, 60.0])
    def test_angles_are_uniform(self, degrees):
        augment = Augment(5, flip=0.0, degrees=degrees)
        angles = [turn_of(augment, index) for index in range(300)]
        assert_uniform(angles, -degrees, degrees, "the angle")

    @pytest.mark.parametrize("padding", [1, 3])
    def test_shifts_are_uniform(self, padding):
        augment = Augment(5, flip=0.0, padding=padding)
        shifts = [shift_of(augment, index) for index in range(400)]
        for axis, name in enumerate(("top", "left")):
            found = sorted({shift[axis] for shift in shifts})
            assert_equal(found, list(range(-padding, padding + 1)))
            share = sum(shift[axis] == padding for shift in shifts) / 400
            one = 1 / (2 * padding + 1)
            if abs(share - one) > 6 * math.sqrt(one * (1 - one) / 400):  # six standard errors
                fail(f"{name} is 0 in {share:.0%} of the draws, expected {one:.0%}.", evidence=(name, share))
        assert_unrelated(shifts, "top and left")

    @pytest.mark.parametrize("jitter", [0.1, 0.3])
    def test_the_three_factors_are_uniform(self, jitter):
        augment, image = Augment(5, flip=0.0, jitter=jitter), 0.4 + 0.2 * some_image(3, 2, 2)
        factors = [factors_of(run(augment, image, index=index)[0], image) for index in range(300)]
        for name, values in zip(("brightness", "contrast", "saturation"), zip(*factors, strict=True), strict=True):
            assert_uniform(list(values), 1 - jitter, 1 + jitter, name)
        assert_unrelated([(b, c) for b, c, _ in factors], "brightness and contrast")
        assert_unrelated([(c, s) for _, c, s in factors], "contrast and saturation")

    def test_the_square_is_around_any_pixel(self):
        augment = Augment(5, flip=0.0, cutout=1)
        seen = torch.zeros(4, 6)
        for index in range(600):
            seen += run(augment, torch.ones(1, 4, 6), index=index)[0][0] == 0
        assert_equal(int(seen.sum()), 600)
        # 25 of each on average, with a standard deviation of 5.
        never = int((seen == 0).sum())
        if never or seen.max() > 55:
            fail(
                f"{never} of 24 pixels are never cut out, and one {int(seen.max())} times of 600.",
                evidence=(never, int(seen.max())),
            )

    def test_the_square_has_its_size(self):
        augment = Augment(2, flip=0.0, cutout=4)
        sizes = {int((run(augment, torch.ones(1, 30, 30), index=index)[0] == 0).sum()) for index in range(100)}
        # A fifth of them lie on a border.
        assert_equal((max(sizes), min(sizes) < 16), (16, True))

    def test_numbers_of_different_steps_are_unrelated(self):
        augment, box = (
            Augment(8, degrees=40.0, padding=3),
            torch.tensor([[29.0, 19, 31, 21], [19, 19, 21, 21]]).double(),
        )
        turns, shifts, flips = [], [], []
        for index in range(300):
            (x1, y1, x2, y2), (a1, b1, a2, b2) = run(augment, torch.zeros(1, 40, 40), box, index)[1].tolist()
            dx, dy = (x1 + x2 - a1 - a2) / 2, (y1 + y2 - b1 - b2) / 2
            flips.append(float(dx < 0))
            turns.append(math.atan2(-dy, dx) if dx > 0 else math.atan2(dy, -dx))
            shifts.append((a1 + a2) / 2 - 20)
        assert_unrelated(list(zip(turns, shifts, strict=True)), "angle and shift")
        assert_unrelated(list(zip(flips, shifts, strict=True)), "flip and shift")
        assert_unrelated(list(zip(flips, turns, strict=True)), "flip and angle")

    def test_turns_before_it_shifts(self):
        # A box in the centre is turned on the spot: then a shift moves it by whole pixels.
        augment, box = Augment(8, degrees=40.0, padding=3), torch.tensor([[29.0, 19, 31, 21]]).double()
        off = []
        for index in range(20):
            x1, y1, x2, y2 = run(augment, torch.zeros(1, 40, 40), box, index)[1][0].tolist()
            shifts = [(sx, sy) for sx in range(-3, 4) for sy in range(-3, 4)]
            # Its distance from the moved centre stays 10.
            distances = [math.hypot((x1 + x2) / 2 - 20 - sx, (y1 + y2) / 2 - 20 - sy) for sx, sy in shifts]
            off.append(min(abs(distance - 10) for distance in distances))
        assert_close(off, [0.0] * 20, atol=1e-6, rtol=0)  # float32 is allowed for the boxes' moves

    def test_light_before_normalize(self):
        mean, std = [0.5, 0.4, 0.6], [0.2, 0.3, 0.1]
        augment, image = Augment(5, flip=0.0, jitter=0.2, mean=mean, std=std), 0.4 + 0.2 * some_image(3, 3, 2)
        for index in range(5):
            found = run(augment, image, index=index)[0]
            back = found * torch.tensor(std).double()[:, None, None] + torch.tensor(mean).double()[:, None, None]
            expected = jittered(image.numpy().transpose(1, 2, 0), *factors_of(back, image)).transpose(2, 0, 1)
            # mean and std come back from float32.
            assert_close(back, torch.from_numpy(expected.copy()), atol=1e-6, rtol=0)

    def test_cutout_after_normalize(self):
        augment = Augment(5, flip=0.0, cutout=2, mean=[0.3], std=[0.5])
        found = run(augment, torch.ones(1, 8, 8, dtype=torch.float64))[0]
        assert_equal(sorted({round(x, 6) for x in found.flatten().tolist()}), [0.0, 1.4])

    def test_boxes_are_always_clipped(self):
        boxes = torch.tensor([[-2.0, 1, 3, 9], [1, 1, 3, 2], [-9, 0, 1, 4]])
        found = Augment(1, flip=0.0)(some_image(1, 4, 6), boxes, torch.tensor([5, 6, 7]), 0)
        assert_close(found[1:], (torch.tensor([[1.0, 1, 3, 2]]), torch.tensor([6])))
        # A third of it is left, which is enough by default.
        found = Augment(1, flip=0.0)(some_image(1, 4, 6), torch.tensor([[-2.0, 0, 1, 4]]), torch.tensor([5]), 0)
        assert_close(found[1:], (torch.tensor([[0.0, 0, 1, 4]]), torch.tensor([5])))
        found = Augment(1, flip=0.0, least=0.1)(some_image(1, 4, 6), boxes, torch.tensor([5, 6, 7]), 0)
        assert_close(found[1:], (torch.tensor([[0.0, 1, 3, 4], [1, 1, 3, 2], [0, 0, 1, 4]]), torch.tensor([5, 6, 7])))

    @pytest.mark.parametrize("shape", [(20, 30), (24, 13)])
    def test_boxes_move_with_the_image(self, shape):
        """A lit rectangle and its box, flipped, shifted and cut off."""
        augment = Augment(4, padding=8, least=0.5)
        height, width = shape
        for index in range(60):
            x1, y1 = random.randrange(width - 6), random.randrange(height - 4)
            image = torch.zeros(1, height, width, dtype=torch.float64)
            image[:, y1 : y1 + 4, x1 : x1 + 6] = 1
            moved, boxes, labels = augment(
                image, torch.tensor([[x1, y1, x1 + 6, y1 + 4]]).double(), torch.tensor([9]), index
            )
            rows, columns = moved[0].nonzero().unbind(1)
            if len(rows) < 12:
                assert_equal((len(boxes), len(labels)), (0, 0))
                continue
            lit = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])[None].double()
            assert_close((boxes, labels), (lit, torch.tensor([9])))

    def test_a_digit_stays_in_its_box(self, mnist):
        augment = Augment(6, degrees=20.0, padding=2)
        for index, n in enumerate(torch.randperm(5000)[:12].tolist()):
            image = torch.zeros(1, 48, 48)
            image[0, 10:38, 10:38] = torch.from_numpy(mnist[0][n].reshape(28, 28) / 255).float()
            rows, columns = (image[0] > 0).nonzero().unbind(1)
            box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])[None].float()
            moved, boxes, labels = augment(image, box, torch.tensor([int(mnist[1][n])]), index)
            assert_equal(labels.tolist(), [int(mnist[1][n])])
            x1, y1, x2, y2 = boxes[0].tolist()
            rows, columns = (moved[0] > 0.5).nonzero().unbind(1)
            # Half a pixel of resampling.
            inside = (
                (columns + 0.5 >= x1 - 0.5)
                & (columns + 0.5 <= x2 + 0.5)
                & (rows + 0.5 >= y1 - 0.5)
                & (rows + 0.5 <= y2 + 0.5)
            )
            assert_equal(bool(inside.all()), True)

    def test_the_same_triple_draws_the_same(self):
        image, boxes = some_image(3, 12, 14), torch.tensor([[4.0, 3, 9, 8]])
        options = dict(degrees=30.0, padding=2, jitter=0.4, cutout=3)
        first = [run(Augment(11, **options), image, boxes, index, 2) for index in range(6)]
        augment = Augment(11, **options)
        for index in (5, 2, 0, 2, 4, 1, 3):  # in another order, one of them twice, and other epochs in between
            run(augment, image, boxes, index, 7)
            assert_close(run(augment, image, boxes, index, 2), first[index])

    def test_other_triples_draw_other_numbers(self):
        angles = {}
        for seed in (0, 1, 2, 1000):
            augment = Augment(seed, flip=0.0, degrees=90.0)
            for epoch in (0, 1, 2, 100, 1000):
                for index in (0, 1, 2, 100, 1000, 100_000, 1_000_000):
                    angles[seed, epoch, index] = turn_of(augment, index, epoch)
        same = [
            (a, b) for a in angles for b in angles if a < b and abs(angles[a] - angles[b]) < 1e-9
        ]  # fmt: skip
        if same:
            fail(f"(seed, epoch, index) = {same[0][0]} and {same[0][1]} draw the same angle.", evidence=same)

    def test_the_first_epoch_unless_told_otherwise(self):
        augment = Augment(3, flip=0.0, degrees=90.0)
        box = torch.tensor([[29.0, 19, 31, 21]])
        expected = augment(torch.zeros(1, 40, 40), box, torch.tensor([1]), 5, 0)
        assert_close(augment(torch.zeros(1, 40, 40), box, torch.tensor([1]), 5), expected)

    def test_global_generators_are_left_alone(self):
        augment = Augment(3, degrees=10.0, padding=2, jitter=0.2, cutout=2)
        image = some_image(3, 8, 8)
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        before = torch.get_rng_state(), pickle.dumps(np.random.get_state()), random.getstate()
        first = run(augment, image, index=4)
        after = torch.get_rng_state(), pickle.dumps(np.random.get_state()), random.getstate()
        names = ["torch's", "numpy's", "Python's"]
        same = [torch.equal(before[0], after[0]), before[1] == after[1], before[2] == after[2]]
        if not all(same):
            name = names[same.index(False)]
            fail(f"{name} own generator isn't as it was before the call.", evidence=name)
        torch.manual_seed(2)
        np.random.seed(2)
        random.seed(2)
        assert_close(run(augment, image, index=4), first)

    def test_workers_draw_what_one_process_draws(self):
        options = dict(degrees=30.0, padding=2, jitter=0.3)
        image, boxes = some_image(3, 9, 8), torch.tensor([[2.0, 2, 6, 6]])
        expected = [run(Augment(1, **options), image, boxes, index)[0] for index in range(4)]
        copies = [pickle.loads(pickle.dumps(Augment(1, **options))) for _ in range(2)]
        found = [None] * 4
        for worker, copy in enumerate(copies):  # each gets every second image, after numbers of its own
            torch.manual_seed(worker)
            for index in range(worker, 4, 2):
                found[index] = run(copy, image, boxes, index)[0]
        assert_close(found, expected)

    def test_leaves_what_it_was_given(self):
        image, boxes, labels = some_image(3, 9, 8), torch.tensor([[-1.0, 2, 6, 6]]), torch.tensor([3])
        before = image.clone(), boxes.clone(), labels.clone()
        augment = Augment(1, degrees=30.0, padding=2, jitter=0.3, cutout=3, mean=[0.1] * 3, std=[0.5] * 3)
        for index in range(4):
            augment(image, boxes, labels, index)
        assert_close((image, boxes, labels), before)

    def test_without_boxes_and_with_two_dtypes(self):
        augment = Augment(1, flip=1.0, degrees=30.0, padding=2, jitter=0.3, cutout=3, mean=[0.1] * 3, std=[0.5] * 3)
        found = augment(torch.rand(3, 9, 8), NONE, torch.zeros(0, dtype=torch.int64), 3)
        assert_equal([tuple(part.shape) for part in found], [(3, 9, 8), (0, 4), (0,)])
        assert_equal(kept(found), ["torch.float32", "torch.float64", "torch.int64"])


class TestOnTheGpu:
    def test_flip(self, gpu):
        gpu.check(flip, some_image(3, 4, 5).requires_grad_(), some_boxes(2, 4, 5))

    def test_rotate(self, gpu):
        gpu.check(rotate, some_image(3, 4, 5).requires_grad_(), some_boxes(2, 4, 5), 25.0)

    def test_pad_crop(self, gpu):
        gpu.check(pad_crop, some_image(3, 4, 5).requires_grad_(), some_boxes(2, 4, 5), 2, 1, 3)

    def test_clip_boxes(self, gpu):
        gpu.check(clip_boxes, some_boxes(6, 4, 5) - 1, torch.arange(6), 4, 5)

    def test_color_jitter(self, gpu):
        gpu.check(color_jitter, some_image(3, 4, 5).requires_grad_(), 1.2, 0.7, 1.4)

    def test_normalize(self, gpu):
        gpu.check(normalize, some_image(3, 4, 5).requires_grad_(), [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])

    def test_cutout(self, gpu):
        gpu.check(cutout, some_image(3, 4, 5).requires_grad_(), 1, 2, 3)

    @pytest.mark.parametrize("index", [0, 1, 2])
    def test_augment(self, gpu, index):
        augment = Augment(1, degrees=30.0, padding=2, jitter=0.3, cutout=3, mean=[0.1] * 3, std=[0.5] * 3)
        labels = torch.arange(3)
        gpu.check(augment, some_image(3, 12, 13).requires_grad_(), some_boxes(3, 12, 13), labels, index)
