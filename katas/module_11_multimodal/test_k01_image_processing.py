"""Judges k01_image_processing pixel by pixel, against scipy, colorsys and torch, and on a photo."""

import colorsys
import math
from fractions import Fraction

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_11_multimodal.k01_image_processing import (
    blur,
    equalize,
    gaussian_kernel,
    hsv_to_rgb,
    linear_to_srgb,
    resize_area,
    resize_bilinear,
    rgb_to_hsv,
    sobel,
    srgb_to_linear,
    to_gray,
)

pytestmark = [from_scratch("scipy", "skimage", "PIL", "cv2", "torch", "sklearn", "colorsys"), pure()]

SHAPES = [(5, 7), (4, 3, 3), (1, 6), (6, 1), (1, 1), (2, 3, 4)]
SIZES = [(3, 3), (7, 2), (5, 7), (1, 1), (8, 11), (2, 14)]


def numbers(*values) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def light_of(v: float) -> float:
    return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4


def number_of(light: float) -> float:
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


class TestSrgbToLinear:
    def test_the_example_worked_by_hand(self):
        assert_close(srgb_to_linear(numbers(0.5, 0.02)), numbers((0.555 / 1.055) ** 2.4, 0.02 / 12.92))

    @pytest.mark.parametrize("shape", SHAPES)
    def test_one_by_one(self, rng, shape):
        image = rng.random(shape) ** 3
        expected = np.array([light_of(v) for v in image.ravel().tolist()]).reshape(shape)
        assert_close(srgb_to_linear(image), expected, rtol=1e-9, atol=1e-12)

    def test_the_ends_and_where_the_pieces_meet(self):
        values = numbers(0.0, 0.0404, 0.04045, 0.0405, 1.0)
        expected = np.array([light_of(v) for v in values.tolist()])
        assert_close(srgb_to_linear(values), expected, rtol=1e-9, atol=1e-12)


class TestLinearToSrgb:
    def test_the_example_worked_by_hand(self):
        light = numbers((0.555 / 1.055) ** 2.4, 0.02 / 12.92)
        assert_close(linear_to_srgb(light), numbers(0.5, 0.02))

    @pytest.mark.parametrize("shape", SHAPES)
    def test_one_by_one(self, rng, shape):
        light = rng.random(shape) ** 4
        expected = np.array([number_of(v) for v in light.ravel().tolist()]).reshape(shape)
        assert_close(linear_to_srgb(light), expected, rtol=1e-9, atol=1e-12)

    def test_the_ends_and_where_the_pieces_meet(self):
        light = numbers(0.0, 0.00313, 0.0031308, 0.00314, 1.0)
        expected = np.array([number_of(v) for v in light.tolist()])
        assert_close(linear_to_srgb(light), expected, rtol=1e-9, atol=1e-12)

    @pytest.mark.filterwarnings("error")
    def test_black_raises_no_warning(self):
        assert_close(linear_to_srgb(srgb_to_linear(np.zeros((2, 2)))), np.zeros((2, 2)))


class TestToGray:
    def test_the_example_worked_by_hand(self):
        assert_close(to_gray(numbers([[0.0, 1.0, 0.0]])), numbers([1.055 * 0.7152 ** (1 / 2.4) - 0.055]))

    @pytest.mark.parametrize("shape", [(3, 5, 3), (1, 1, 3), (3, 3, 3)])
    def test_pixel_by_pixel(self, rng, shape):
        image = rng.random(shape)
        expected = np.zeros(shape[:2])
        for at in np.ndindex(*shape[:2]):
            r, g, b = (light_of(v) for v in image[at].tolist())
            expected[at] = number_of(0.2126 * r + 0.7152 * g + 0.0722 * b)
        assert_close(to_gray(image), expected)

    def test_grey_stays_the_same(self):
        levels = np.linspace(0, 1, 12).reshape(3, 4)
        assert_close(to_gray(np.repeat(levels[..., None], 3, axis=-1)), levels)

    def test_dark_colours(self):
        """All of them on the straight piece."""
        assert_close(to_gray(numbers([[0.02, 0.0, 0.01]])), numbers([0.2126 * 0.02 + 0.0722 * 0.01]))


COLOURS = {
    "black": (0, 0, 0), "white": (1, 1, 1), "grey": (0.3, 0.3, 0.3), "red": (1, 0, 0), "yellow": (0.8, 0.8, 0),
    "green": (0, 0.5, 0), "cyan": (0, 1, 1), "blue": (0, 0, 0.1), "magenta": (1, 0, 1), "pink": (1, 0.5, 0.6),
    "orange": (1, 0.5, 0), "violet": (0.5, 0.1, 0.9), "lime": (0.6, 0.9, 0.2), "sky": (0.3, 0.6, 0.9), "nearly grey": (0.5, 0.5005, 0.4999),
}  # fmt: skip


def assert_same_hsv(found, expected) -> None:
    """Hue 0 and hue 1 are the same."""
    found = np.asarray(found)
    assert_equal((found.shape, found.dtype.name), (expected.shape, "float64"))
    if not ((found >= -1e-9) & (found <= 1 + 1e-9)).all():
        fail("Something isn't from 0 to 1.", evidence=found)
    turned = found[..., 0] - np.round(found[..., 0] - expected[..., 0])
    assert_close(np.concatenate([turned[..., None], found[..., 1:]], -1), expected)


class TestRgbToHsv:
    def test_the_example_worked_by_hand(self):
        assert_close(rgb_to_hsv(numbers(0.2, 0.4, 0.3)), numbers(2.5 / 6, 0.5, 0.4))

    @pytest.mark.parametrize("name", COLOURS)
    @pytest.mark.filterwarnings("error")
    def test_colours_by_name(self, name):
        assert_same_hsv(rgb_to_hsv(numbers(*COLOURS[name])), numbers(*colorsys.rgb_to_hsv(*COLOURS[name])))

    @pytest.mark.parametrize("shape", [(6, 7, 3), (40, 3), (2, 3, 4, 3)])
    def test_pixel_by_pixel(self, rng, shape):
        image = rng.random(shape)
        rows = [colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(-1, 3).tolist()]
        assert_same_hsv(rgb_to_hsv(image), np.array(rows).reshape(shape))

    def test_red_with_more_blue_than_green(self):
        """(g - b) / spread is below 0 there, and the wheel goes on at its end."""
        assert_close(rgb_to_hsv(numbers(0.9, 0.1, 0.5)), numbers(1 - 0.5 / 6, 0.8 / 0.9, 0.9))


class TestHsvToRgb:
    def test_the_example_worked_by_hand(self):
        assert_close(hsv_to_rgb(numbers(2.5 / 6, 0.5, 0.4)), numbers(0.2, 0.4, 0.3))

    @pytest.mark.parametrize("hue", [0, 1 / 12, 1 / 6, 0.3, 1 / 3, 0.45, 0.5, 0.6, 2 / 3, 0.7, 5 / 6, 0.95, 1])
    @pytest.mark.parametrize(("saturation", "value"), [(1.0, 1.0), (0.4, 0.7), (0.0, 0.6), (0.8, 0.0)])
    def test_around_the_wheel(self, hue, saturation, value):
        expected = colorsys.hsv_to_rgb(hue % 1, saturation, value)
        assert_close(hsv_to_rgb(numbers(hue, saturation, value)), numbers(*expected))

    @pytest.mark.parametrize("shape", [(6, 7, 3), (40, 3), (3, 3, 3), (2, 3, 4, 3)])
    def test_there_and_back(self, rng, shape):
        image = rng.random(shape)
        assert_close(hsv_to_rgb(rgb_to_hsv(image)), image)


def equalized(image) -> np.ndarray:
    """Level by level, with fractions."""
    pixels = image.ravel().tolist()
    first = pixels.count(min(pixels))
    table = {v: Fraction(sum(p <= v for p in pixels) - first, len(pixels) - first) * 255 for v in set(pixels)}
    return np.array([round(table[v]) for v in pixels], dtype=np.uint8).reshape(image.shape)


def odd_image(rng, shape, low: int, high: int) -> np.ndarray:
    """An image in which n - first is odd: then no new level lies half way between two."""
    image = rng.integers(low, high, shape).astype(np.uint8)
    image[image == image.min()] = high - 1
    darkest = 1 if image.size % 2 == 0 else 2
    image.reshape(-1)[:darkest] = low
    return image


class TestEqualize:
    def test_the_example_worked_by_hand(self):
        image = np.array([[10, 10, 20, 30, 30, 30, 50]], dtype=np.uint8)
        assert_equal(equalize(image), np.array([[0, 0, 51, 204, 204, 204, 255]], dtype=np.uint8))

    @pytest.mark.parametrize(("low", "high"), [(0, 256), (90, 120), (250, 256), (0, 3)])
    @pytest.mark.parametrize("shape", [(7, 9), (1, 12), (40, 31)])
    def test_level_by_level(self, rng, shape, low, high):
        image = odd_image(rng, shape, low, high)
        assert_equal(equalize(image), equalized(image))

    def test_the_darkest_is_0_and_the_brightest_255(self, rng):
        image = odd_image(rng, (8, 9), 60, 90)
        found = equalize(image)
        assert_equal((int(found.min()), int(found.max())), (0, 255))

    def test_one_image_after_another(self, rng):
        images = [odd_image(rng, shape, 20, 50) for shape in ((3, 4), (9, 5), (2, 3))]
        assert_equal([equalize(image) for image in images], [equalized(image) for image in images])

    @pytest.mark.parametrize("level", [0, 7, 255])
    @pytest.mark.filterwarnings("error")
    def test_one_level_stays(self, level):
        image = np.full((3, 4), level, dtype=np.uint8)
        found = equalize(image)
        assert_equal(found, image)
        assert_equal(np.shares_memory(found, image), False)

    def test_a_large_image(self):
        """More pixels than fit into a byte, and into two."""
        image = np.repeat(np.array([3, 9, 200, 201], dtype=np.uint8), [70_000, 30_001, 60_000, 40_000]).reshape(1, -1)
        levels = [0, round(30_001 / 130_001 * 255), round(90_001 / 130_001 * 255), 255]
        assert_equal(np.unique(equalize(image)).tolist(), levels)

    def test_a_photo_gets_a_nearly_straight_distribution(self, photo):
        grey = np.round(photo.mean(-1) * 255).astype(np.uint8)

        def bend(image) -> float:
            below = np.bincount(image.ravel(), minlength=256).cumsum() / image.size
            return float(np.abs(below - np.arange(1, 257) / 256).max())

        before, after = bend(grey), bend(equalize(grey))
        if after > 0.05 or before < 0.1:
            fail(f"The distribution bends by {after:.3f}; before it was {before:.3f}.", evidence=round(after, 2))


class TestGaussianKernel:
    def test_the_example_worked_by_hand(self):
        weights = [math.exp(-2 * d * d) for d in (-2, -1, 0, 1, 2)]
        assert_close(gaussian_kernel(0.5), np.array(weights) / sum(weights))

    @pytest.mark.parametrize("truncate", [4.0, 2.0, 3.3])
    @pytest.mark.parametrize("sigma", [0.3, 0.6, 1.0, 1.9, 7.0])
    def test_the_formula(self, sigma, truncate):
        radius = math.floor(truncate * sigma + 0.5)
        weights = [math.exp(-d * d / (2 * sigma**2)) for d in range(-radius, radius + 1)]
        assert_close(gaussian_kernel(sigma, truncate), np.array(weights) / sum(weights))

    def test_a_radius_of_a_half_goes_up(self):
        assert_equal([len(gaussian_kernel(1.0, truncate)) for truncate in (0.5, 1.5, 2.5, 3.5)], [3, 5, 7, 9])

    def test_too_narrow_for_a_neighbour(self):
        assert_close(gaussian_kernel(0.1), numbers(1.0))

    @pytest.mark.parametrize("sigma", [0.0, -1.5])
    def test_refuses_a_sigma_that_isnt_above_0(self, sigma):
        with raises(ValueError, "sigma", sigma):
            gaussian_kernel(sigma)


def mirrored(i: int, n: int) -> int:
    i %= 2 * n
    return i if i < n else 2 * n - 1 - i


def filtered(image, weights) -> np.ndarray:
    """Pixel by pixel; weights (2a + 1, 2b + 1)."""
    height, width = image.shape[:2]
    a, b = weights.shape[0] // 2, weights.shape[1] // 2
    found = np.zeros(image.shape)
    for i, j in np.ndindex(height, width):
        for k, m in np.ndindex(*weights.shape):
            found[i, j] += weights[k, m] * image[mirrored(i + k - a, height), mirrored(j + m - b, width)]
    return found


class TestBlur:
    def test_pixel_by_pixel(self, rng):
        image = rng.random((4, 6))
        weights = np.array([math.exp(-2 * d * d) for d in (-2, -1, 0, 1, 2)])
        weights /= weights.sum()
        assert_close(blur(image, 0.5), filtered(image, np.outer(weights, weights)))

    @pytest.mark.parametrize("sigma", [0.4, 0.9, 2.0, 6.0])
    @pytest.mark.parametrize("shape", [(5, 9), (1, 6), (6, 1), (1, 1), (30, 20)])
    def test_scipy(self, rng, shape, sigma):
        from scipy.ndimage import gaussian_filter

        image = rng.random(shape)
        assert_close(blur(image, sigma), gaussian_filter(image, sigma))

    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_channels_dont_mix(self, rng, channels):
        image = rng.random((6, 5, channels))
        expected = np.stack([blur(image[..., c], 0.8) for c in range(channels)], -1)
        assert_close(blur(image, 0.8), expected)

    @pytest.mark.parametrize("level", [0.0, 0.7])
    def test_an_even_image_stays_even(self, level):
        assert_close(blur(np.full((4, 5), level), 3.0), np.full((4, 5), level))

    def test_a_dot_becomes_the_kernel(self):
        image = np.zeros((21, 25))
        image[10, 12] = 1
        kernel = gaussian_kernel(1.2)
        expected = np.zeros((21, 25))
        expected[5:16, 7:18] = np.outer(kernel, kernel)
        assert_close(blur(image, 1.2), expected)

    @pytest.mark.parametrize("sigma", [0.0, -2.0])
    def test_refuses_a_sigma_that_isnt_above_0(self, sigma):
        with raises(ValueError, "sigma", sigma):
            blur(np.ones((3, 3)), sigma)


ACROSS = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8


class TestSobel:
    def test_the_example_worked_by_hand(self):
        across, down = sobel(np.array([[0.0, 0, 4, 4]] * 3))
        assert_close((across, down), (np.array([[0.0, 2, 2, 0]] * 3), np.zeros((3, 4))))

    @pytest.mark.parametrize("shape", [(4, 6), (1, 5), (5, 1), (2, 2), (1, 1)])
    def test_pixel_by_pixel(self, rng, shape):
        image = rng.random(shape)
        across, down = sobel(image)
        assert_close((across, down), (filtered(image, ACROSS), filtered(image, ACROSS.T)))

    def test_scipy(self, rng):
        from scipy.ndimage import sobel as theirs

        image = rng.random((12, 9))
        assert_close(tuple(sobel(image)), (theirs(image, 1) / 8, theirs(image, 0) / 8))

    @pytest.mark.parametrize(("a", "b"), [(0.5, 0.0), (0.0, -0.25), (0.125, 0.75)])
    def test_a_slope_per_pixel(self, a, b):
        rows, columns = np.mgrid[:5, :7]
        across, down = sobel(a * columns + b * rows)
        assert_close((across[1:-1, 1:-1], down[1:-1, 1:-1]), (np.full((3, 5), a), np.full((3, 5), b)))


def mixed(image, height: int, width: int) -> np.ndarray:
    """Pixel by pixel, from the four around the centre."""
    rows, columns = image.shape[:2]
    found = np.zeros((height, width, *image.shape[2:]))
    for i, j in np.ndindex(height, width):
        y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
        x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
        top, left = int(y), int(x)
        for k, v in ((top, 1 - (y - top)), (top + 1, y - top)):
            for m, h in ((left, 1 - (x - left)), (left + 1, x - left)):
                if v * h:
                    found[i, j] += v * h * image[k, m]
    return found


class TestResizeBilinear:
    def test_the_example_worked_by_hand(self):
        assert_close(resize_bilinear(numbers([1.0, 3, 5, 9]), 1, 3), numbers([4 / 3, 4, 5 + 10 / 3]))

    @pytest.mark.parametrize(("height", "width"), SIZES)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_pixel_by_pixel(self, rng, shape, height, width):
        image = rng.random(shape)
        assert_close(resize_bilinear(image, height, width), mixed(image, height, width))

    @pytest.mark.parametrize(("height", "width"), [(4, 5), (13, 20), (9, 7)])
    def test_torch(self, rng, height, width):
        import torch

        image = rng.random((9, 7))
        there = torch.from_numpy(image)[None, None]
        expected = torch.nn.functional.interpolate(there, (height, width), mode="bilinear", align_corners=False)
        assert_close(resize_bilinear(image, height, width), expected[0, 0].numpy())

    def test_the_own_size_changes_nothing(self, rng):
        image = rng.random((5, 4, 3))
        assert_close(resize_bilinear(image, 5, 4), image)

    def test_it_reads_only_what_is_near_the_centre(self):
        image = np.zeros((1, 9))
        image[0, [0, 2, 3, 5, 6, 8]] = 1
        assert_close(resize_bilinear(image, 1, 3), np.zeros((1, 3)))

    @pytest.mark.parametrize(("height", "width"), [(0, 3), (4, -2), (4, 0), (-1, 3)])
    def test_refuses_a_size_below_1(self, height, width):
        with raises(ValueError, "height", height, "width", width):
            resize_bilinear(np.ones((3, 3)), height, width)


def covered(old: int, new: int) -> np.ndarray:
    """How much of each new pixel each old one covers, with fractions."""
    found = np.zeros((new, old))
    for i, j in np.ndindex(new, old):
        begin, end = max(Fraction(i * old, new), j), min(Fraction((i + 1) * old, new), j + 1)
        found[i, j] = max(end - begin, 0) / Fraction(old, new)
    return found


class TestResizeArea:
    def test_the_example_worked_by_hand(self):
        assert_close(resize_area(numbers([1.0, 3, 5, 9]), 1, 3), numbers([1.5, 4, 8]))

    @pytest.mark.parametrize(("height", "width"), SIZES)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_pixel_by_pixel(self, rng, shape, height, width):
        image = rng.random(shape)
        expected = np.einsum("ih,jw,hw...->ij...", covered(shape[0], height), covered(shape[1], width), image)
        assert_close(resize_area(image, height, width), expected)

    def test_blocks(self, rng):
        image = rng.random((6, 12, 3))
        assert_close(resize_area(image, 2, 3), image.reshape(2, 3, 3, 4, 3).mean((1, 3)))

    def test_larger_by_a_whole_factor(self, rng):
        image = rng.random((3, 2))
        assert_close(resize_area(image, 6, 6), image.repeat(2, 0).repeat(3, 1))

    @pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 64), (1, 1)])
    def test_the_mean_of_a_photo_stays(self, photo, height, width):
        assert_close(resize_area(photo, height, width).mean((0, 1)), photo.mean((0, 1)))

    def test_stripes_become_nearly_grey(self):
        """One pixel in three alone would be stripes again, three times as wide."""
        stripes = np.tile([0.0, 1.0], (1, 27))
        assert_close(resize_area(stripes, 1, 18), np.tile([1 / 3, 2 / 3], (1, 9)))

    @pytest.mark.parametrize(("height", "width"), [(0, 3), (4, -2), (4, 0), (-1, 3)])
    def test_refuses_a_size_below_1(self, height, width):
        with raises(ValueError, "height", height, "width", width):
            resize_area(np.ones((3, 3)), height, width)
