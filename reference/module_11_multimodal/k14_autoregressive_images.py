"""Autoregressive images: the reference."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn


def causal_mask(size: int, kind: str) -> Tensor:
    if size % 2 == 0:
        raise ValueError(f"the size must be odd, got {size}")
    if kind not in ("A", "B"):
        raise ValueError(f"the kind must be 'A' or 'B', got {kind!r}")
    middle = size // 2
    mask = torch.zeros(size, size)
    mask[:middle] = 1
    mask[middle, :middle] = 1
    if kind == "B":
        mask[middle, middle] = 1
    return mask


class MaskedConv2d(nn.Conv2d):
    def __init__(self, kind: str, in_channels: int, out_channels: int, size: int) -> None:
        super().__init__(in_channels, out_channels, size, padding=size // 2)
        self.register_buffer("mask", causal_mask(size, kind))

    def forward(self, x: Tensor) -> Tensor:
        # Here and not once at the start: an optimizer with momentum or weight decay moves masked weights, too.
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class PixelCNN(nn.Module):
    def __init__(self, levels: int, width: int, layers: int, size: int = 3) -> None:
        super().__init__()
        self.levels = levels
        self.first = MaskedConv2d("A", 1, width, size)
        self.blocks = nn.ModuleList([MaskedConv2d("B", width, width, size) for _ in range(layers)])
        self.last = nn.Conv2d(width, levels, 1)

    def forward(self, images: Tensor) -> Tensor:
        h = self.first(_scaled(images, self.levels, self.last.weight.dtype)[:, None])
        for block in self.blocks:
            h = h + block(h.relu())
        return self.last(h.relu())


class RowLSTM(nn.Module):
    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        self.levels, self.width = levels, width
        self.see = nn.Conv1d(1, 4 * width, 3, padding=1)
        self.remember = nn.Conv1d(width, 4 * width, 3, padding=1, bias=False)
        self.last = nn.Conv1d(width, levels, 1)

    def forward(self, images: Tensor) -> Tensor:
        rows = _scaled(images, self.levels, self.last.weight.dtype)
        h = c = rows.new_zeros(len(rows), self.width, rows.shape[2])
        logits = []
        for row in rows.unbind(1):
            # The left neighbour alone: a filter of one weight over the row moved by one pixel.
            seen = F.conv1d(F.pad(row[:, None, :-1], (1, 0)), self.see.weight[:, :, :1], self.see.bias)
            i, f, g, o = (seen + self.remember(h)).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            logits.append(self.last(h))
        return torch.stack(logits, dim=2)


def image_log_likelihood(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return -F.cross_entropy(model(images), images, reduction="none").sum((1, 2))


def bits_per_pixel(log_likelihoods: Tensor, height: int, width: int) -> float:
    return -log_likelihoods.mean().item() / (height * width * math.log(2))


def visible(model: Callable[[Tensor], Tensor], image: Tensor, row: int, column: int) -> Tensor:
    image = image.detach().requires_grad_()
    found = torch.zeros_like(image, dtype=torch.bool)
    # One logit at a time: in a sum of all of them derivatives could cancel.
    for logit in model(image[None])[0, :, row, column]:
        (gradient,) = torch.autograd.grad(logit, image, retain_graph=True)
        found |= gradient != 0
    return found


@torch.no_grad()
def draw(
    model: Callable[[Tensor], Tensor], images: Tensor, known: Tensor, generator: Generator, temperature: float = 1.0
) -> Tensor:
    if not temperature > 0:
        raise ValueError(f"the temperature must be above 0, got {temperature}")
    drawn = images.clone()
    for row, column in (~known).nonzero().tolist():
        probabilities = (model(drawn)[:, :, row, column] / temperature).softmax(1)
        drawn[:, row, column] = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
    return drawn


def _scaled(images: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    """0 … levels - 1 become numbers from -1 to 1."""
    return 2 * images.to(dtype) / (levels - 1) - 1
