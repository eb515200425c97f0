"""Augmentation: the reference."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def flip(image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(1)
    width = image.shape[2]
    return image.flip(2), torch.stack([width - x2, y1, width - x1, y2], dim=1)


def rotate(image: Tensor, boxes: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    _, height, width = image.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # Where each new pixel comes from: its centre, turned back.
    y = torch.arange(height, dtype=image.dtype, device=image.device)[:, None] + 0.5 - height / 2
    x = torch.arange(width, dtype=image.dtype, device=image.device) + 0.5 - width / 2
    # grid_sample wants x by half the width and y by half the height: the turn comes first, in pixels.
    grid = torch.stack([(x * cos - y * sin) / (width / 2), (x * sin + y * cos) / (height / 2)], dim=-1)
    turned = F.grid_sample(image[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    corner_x = boxes[:, [0, 2, 0, 2]] - width / 2
    corner_y = boxes[:, [1, 1, 3, 3]] - height / 2
    new_x = corner_x * cos + corner_y * sin + width / 2
    new_y = -corner_x * sin + corner_y * cos + height / 2
    return turned, torch.stack([new_x.amin(1), new_y.amin(1), new_x.amax(1), new_y.amax(1)], dim=1)


def pad_crop(image: Tensor, boxes: Tensor, padding: int, top: int, left: int) -> tuple[Tensor, Tensor]:
    for name, start in (("top", top), ("left", left)):
        if not 0 <= start <= 2 * padding:
            raise ValueError(f"{name} is {start}; it must be in 0 … {2 * padding}, as the padding is {padding}")
    _, height, width = image.shape
    padded = F.pad(image, (padding, padding, padding, padding))
    dx, dy = padding - left, padding - top
    return padded[:, top : top + height, left : left + width], boxes + boxes.new_tensor([dx, dy, dx, dy])


def clip_boxes(boxes: Tensor, labels: Tensor, height: int, width: int, least: float = 0.25) -> tuple[Tensor, Tensor]:
    limit = boxes.new_tensor([width, height, width, height])
    clipped = boxes.clamp(min=0).minimum(limit)
    left = _area(clipped)
    keep = (left > 0) & (left >= least * _area(boxes))
    return clipped[keep], labels[keep]


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _gray(image: Tensor) -> Tensor:
    return 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]


def color_jitter(image: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    image = (brightness * image).clamp(0, 1)
    image = (contrast * image + (1 - contrast) * _gray(image).mean()).clamp(0, 1)
    return (saturation * image + (1 - saturation) * _gray(image)).clamp(0, 1)


def normalize(image: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    for value in std:
        if value <= 0:
            raise ValueError(f"a standard deviation must be above 0, got {value}")
    return (image - image.new_tensor(mean)[:, None, None]) / image.new_tensor(std)[:, None, None]


def cutout(image: Tensor, row: int, column: int, size: int) -> Tensor:
    top, left = row - size // 2, column - size // 2
    image = image.clone()
    # A negative start would count from the other end.
    image[:, max(top, 0) : top + size, max(left, 0) : left + size] = 0
    return image


class Augment:
    def __init__(
        self,
        seed: int,
        flip: float = 0.5,
        degrees: float = 0.0,
        padding: int = 0,
        jitter: float = 0.0,
        cutout: int = 0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        least: float = 0.25,
    ) -> None:
        self.seed, self.flip, self.degrees, self.padding = seed, flip, degrees, padding
        self.jitter, self.cutout, self.mean, self.std, self.least = jitter, cutout, mean, std, least

    def __call__(
        self, image: Tensor, boxes: Tensor, labels: Tensor, index: int, epoch: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        # A list of numbers as a seed: adding them up would give (0, 1) what (1, 0) gets.
        rng = np.random.default_rng([self.seed, epoch, index])
        _, height, width = image.shape
        if rng.random() < self.flip:
            image, boxes = flip(image, boxes)
        if self.degrees:
            image, boxes = rotate(image, boxes, rng.uniform(-self.degrees, self.degrees))
        if self.padding:
            top, left = rng.integers(0, 2 * self.padding, size=2, endpoint=True).tolist()
            image, boxes = pad_crop(image, boxes, self.padding, top, left)
        boxes, labels = clip_boxes(boxes, labels, height, width, self.least)
        if self.jitter:
            image = color_jitter(image, *rng.uniform(1 - self.jitter, 1 + self.jitter, size=3).tolist())
        if self.mean is not None and self.std is not None:
            image = normalize(image, self.mean, self.std)
        if self.cutout:
            image = cutout(image, int(rng.integers(height)), int(rng.integers(width)), self.cutout)
        return image, boxes, labels
