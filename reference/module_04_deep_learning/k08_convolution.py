"""Convolution: the reference."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = int | tuple[int, int]


def output_size(n: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    reach, room = dilation * (kernel - 1) + 1, n + 2 * padding
    if reach > room:
        raise ValueError(f"the kernel reaches over {reach}, but there are only {room}, padding included")
    return (room - reach) // stride + 1


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    _check_channels(x, weight, groups)
    length = output_size(x.shape[-1], weight.shape[-1], stride, padding, dilation)
    padded = F.pad(x, (padding, padding)).unflatten(1, (groups, -1))
    kernels = weight.unflatten(0, (groups, -1))
    y = 0
    # One matrix product for each entry j of the kernel: over the channels, for all groups and places at once.
    for j in range(weight.shape[-1]):
        first = j * dilation
        y = y + kernels[..., j] @ padded[..., first : first + stride * (length - 1) + 1 : stride]
    y = y.flatten(1, 2)
    return y if bias is None else y + bias[:, None]


def im2col(x: Tensor, kernel: tuple[int, int], stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1) -> Tensor:
    down, right = _pair(padding)
    padded = F.pad(x, (right, right, down, down))
    return torch.stack(list(_views(padded, kernel, stride, dilation)), 2).flatten(1, 2).flatten(2)


def col2im(
    columns: Tensor,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> Tensor:
    (h, w), (down, right) = size, _pair(padding)
    by_entry = columns.unflatten(1, (-1, kernel[0] * kernel[1]))
    padded = columns.new_zeros(columns.shape[0], by_entry.shape[1], h + 2 * down, w + 2 * right)
    # The views are those that im2col reads: adding into them is its adjoint.
    for view, numbers in zip(_views(padded, kernel, stride, dilation), by_entry.unbind(2), strict=True):
        view.add_(numbers.unflatten(-1, view.shape[-2:]))
    return padded[..., down : down + h, right : right + w]


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    _check_channels(x, weight, groups)
    kernel = weight.shape[-2:]
    sizes = zip(x.shape[-2:], kernel, _pair(stride), _pair(padding), _pair(dilation), strict=True)
    size = [output_size(*axis) for axis in sizes]
    # Channels come first in the rows of im2col, so that a group's rows stand together.
    columns = im2col(x, kernel, stride, padding, dilation).unflatten(1, (groups, -1))
    y = (_matrices(weight, groups) @ columns).flatten(1, 2).unflatten(-1, size)
    return y if bias is None else y + bias[:, None, None]


def conv2d_backward(
    upstream: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    kernel = weight.shape[-2:]
    columns = im2col(x, kernel, stride, padding, dilation).unflatten(1, (groups, -1))
    g = upstream.flatten(2).unflatten(1, (groups, -1))
    to_columns = _matrices(weight, groups).mT @ g
    to_x = col2im(to_columns.flatten(1, 2), x.shape[-2:], kernel, stride, padding, dilation)
    to_weight = (g @ columns.mT).sum(0).reshape(weight.shape)
    return to_x, to_weight, upstream.sum((0, 2, 3))


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Tensor:
    if x.shape[1] != weight.shape[0]:
        raise ValueError(f"x has {x.shape[1]} channels, but the weight is for {weight.shape[0]}")
    if x.shape[1] % groups:
        raise ValueError(f"{x.shape[1]} channels can't be cut into {groups} groups")
    kernel = weight.shape[-2:]
    size = []
    axes = (x.shape[-2:], kernel, _pair(stride), _pair(padding), _pair(dilation), _pair(output_padding))
    for n, k, s, p, d, more in zip(*axes, strict=True):
        # With as many as s more, a further window would fit: then conv2d wouldn't lead back to n.
        if more >= s:
            raise ValueError(f"output_padding must be smaller than the stride, got {more} and {s}")
        size.append((n - 1) * s - 2 * p + d * (k - 1) + 1 + more)
    columns = _matrices(weight, groups).mT @ x.flatten(2).unflatten(1, (groups, -1))
    y = col2im(columns.flatten(1, 2), (size[0], size[1]), kernel, stride, padding, dilation)
    return y if bias is None else y + bias[:, None, None]


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _views(padded: Tensor, kernel: tuple[int, int], stride: Pair, dilation: Pair) -> Iterator[Tensor]:
    """What each entry of the kernel sees, over all places of the window: a view (b, c, h', w') of the image."""
    (height, width), (sh, sw), (dh, dw) = padded.shape[-2:], _pair(stride), _pair(dilation)
    h, w = output_size(height, kernel[0], sh, 0, dh), output_size(width, kernel[1], sw, 0, dw)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = slice(i * dh, i * dh + sh * (h - 1) + 1, sh)
            yield padded[..., rows, j * dw : j * dw + sw * (w - 1) + 1 : sw]


def _matrices(weight: Tensor, groups: int) -> Tensor:
    """The weight as a matrix for each group: (groups, outputs of a group, rows of its columns)."""
    return weight.flatten(1).unflatten(0, (groups, -1))


def _check_channels(x: Tensor, weight: Tensor, groups: int) -> None:
    if x.shape[1] != groups * weight.shape[1]:
        raise ValueError(f"x has {x.shape[1]} channels, but {groups} groups of {weight.shape[1]} are asked for")
    if weight.shape[0] % groups:
        raise ValueError(f"{weight.shape[0]} output channels can't be cut into {groups} groups")
