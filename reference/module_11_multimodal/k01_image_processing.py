"""Image processing: the reference."""

from collections.abc import Sequence

import numpy as np

Array = np.ndarray

GREY = (0.2126, 0.7152, 0.0722)


def srgb_to_linear(image: Array) -> Array:
    return np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: Array) -> Array:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def to_gray(image: Array) -> Array:
    return linear_to_srgb(srgb_to_linear(image) @ GREY)


def rgb_to_hsv(image: Array) -> Array:
    r, g, b = np.moveaxis(image, -1, 0)
    value = image.max(-1)
    spread = value - image.min(-1)
    by = spread + (spread == 0)  # grey: 0 is divided by 1
    hue = np.select([value == r, value == g], [(g - b) / by, (b - r) / by + 2], (r - g) / by + 4)
    saturation = spread / (value + (value == 0))
    return np.stack([hue / 6 % 1, saturation, value], -1)


def hsv_to_rgb(image: Array) -> Array:
    hue, saturation, value = np.moveaxis(image[..., None], -2, 0)
    # Each colour is full for a third of the wheel, falls for a sixth, and is gone for a third.
    place = (6 * hue + [5, 3, 1]) % 6
    lack = np.minimum(place, 4 - place).clip(0, 1)
    return value * (1 - saturation * lack)


def equalize(image: Array) -> Array:
    below = np.bincount(image.ravel()).cumsum()
    first = below[image.min()]
    if first == image.size:
        return image.copy()
    table = (below - first).clip(0) / (image.size - first) * 255
    return table.round().astype(np.uint8)[image]


def gaussian_kernel(sigma: float, truncate: float = 4.0) -> Array:
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")
    radius = int(truncate * sigma + 0.5)
    weights = np.exp(-((np.arange(-radius, radius + 1) / sigma) ** 2) / 2)
    return weights / weights.sum()


def blur(image: Array, sigma: float) -> Array:
    kernel = gaussian_kernel(sigma)
    return _filter(_filter(image, kernel, 0), kernel, 1)


def sobel(image: Array) -> tuple[Array, Array]:
    slope, smooth = [-0.5, 0.0, 0.5], [0.25, 0.5, 0.25]
    across = _filter(_filter(image, slope, 1), smooth, 0)
    down = _filter(_filter(image, slope, 0), smooth, 1)
    return across, down


def resize_bilinear(image: Array, height: int, width: int) -> Array:
    return _resized(image, height, width, _bilinear)


def resize_area(image: Array, height: int, width: int) -> Array:
    return _resized(image, height, width, _area)


def _filter(image: Array, kernel: Sequence[float] | Array, axis: int) -> Array:
    radius = len(kernel) // 2
    beyond = [(0, 0)] * image.ndim
    beyond[axis] = (radius, radius)
    padded = np.pad(image, beyond, mode="symmetric")  # the border's pixel comes twice
    return np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis) @ kernel


def _resized(image: Array, height: int, width: int, weights) -> Array:
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be at least 1, got {height} and {width}")
    rows = np.tensordot(weights(image.shape[0], height), image, 1)
    return np.moveaxis(np.tensordot(weights(image.shape[1], width), rows, (1, 1)), 0, 1)


def _bilinear(old: int, new: int) -> Array:
    """How much of each old pixel is in each new one, (new, old): a tent around the new centre."""
    centre = (np.arange(new) + 0.5) * old / new - 0.5
    return (1 - np.abs(centre.clip(0, old - 1)[:, None] - np.arange(old))).clip(0)


def _area(old: int, new: int) -> Array:
    """How much of each new pixel each old one covers, (new, old)."""
    edges = np.arange(new + 1) * old / new
    begin, end = np.arange(old), np.arange(1, old + 1)
    covered = np.minimum(edges[1:, None], end) - np.maximum(edges[:-1, None], begin)
    return covered.clip(0) * new / old
