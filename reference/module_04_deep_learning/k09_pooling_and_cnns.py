"""Pooling and CNNs: the reference."""

import re
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def max_pool2d(x: Tensor, kernel: int, stride: int | None = None, padding: int = 0) -> Tensor:
    _check(kernel, padding)
    padded = F.pad(x, (padding,) * 4, value=float("-inf"))
    return _windows(padded, kernel, stride).amax((-2, -1))


def avg_pool2d(
    x: Tensor, kernel: int, stride: int | None = None, padding: int = 0, count_padding: bool = True
) -> Tensor:
    _check(kernel, padding)
    sums = _windows(F.pad(x, (padding,) * 4), kernel, stride).sum((-2, -1))
    if count_padding:
        return sums / kernel**2
    real = F.pad(torch.ones_like(x[:1, :1]), (padding,) * 4)
    return sums / _windows(real, kernel, stride).sum((-2, -1))


def adaptive_avg_pool2d(x: Tensor, size: tuple[int, int]) -> Tensor:
    # The mean over a rectangle is a mean over rows of means over columns: two matrices do it.
    return _averages(x, x.shape[-2], size[0]) @ x @ _averages(x, x.shape[-1], size[1]).mT


def receptive_field(layers: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    field = step = 1
    for kernel, stride, dilation in layers:
        field += dilation * (kernel - 1) * step
        step *= stride
    return field, step


class _Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[..., Tensor], *args: object) -> None:
        super().__init__()
        self.function, self.args = function, args

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.args)


WORD = re.compile(r"(?:c(\d+)(?:k(\d+))?(?:s(\d+))?(?:p(\d+))?|([mv])(\d+)(?:s(\d+))?|a(\d+)|(f)|(d)|l(\d+))")


def build(config: str, shape: tuple[int, int, int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    c, h, w = shape
    for word in config.split():
        match = WORD.fullmatch(word)
        if match is None:
            raise ValueError(f"there is no layer {word!r}")
        outputs, k, s, p, pool, window, step, size, flat, drop, features = match.groups()
        if outputs:
            kernel, stride = int(k or 3), int(s or 1)
            padding = kernel // 2 if p is None else int(p)
            layers += [nn.Conv2d(c, int(outputs), kernel, stride, padding), nn.ReLU()]
            c, h, w = int(outputs), *((n + 2 * padding - kernel) // stride + 1 for n in (h, w))
        elif pool:
            kernel, stride = int(window), int(step or window)
            layers.append(_Apply(max_pool2d if pool == "m" else avg_pool2d, kernel, stride))
            h, w = ((n - kernel) // stride + 1 for n in (h, w))
        elif size:
            h = w = int(size)
            layers.append(_Apply(adaptive_avg_pool2d, (h, w)))
        elif flat:
            layers.append(nn.Flatten())
            # From here on c is the number of features, and an image of 1 × 1 is left.
            c, h, w = c * h * w, 1, 1
        elif drop:
            layers.append(nn.Dropout())
        elif features:
            layers += [nn.Linear(c, int(features)), nn.ReLU()]
            c = int(features)
    if layers and isinstance(layers[-1], nn.ReLU):
        layers.pop()
    return nn.Sequential(*layers)


def architecture(name: str) -> str:
    if name == "lenet":
        return "c6k5 m2 c16k5p0 m2 f l120 l84 l10"
    if name == "alexnet":
        return "c64k11s4p2 m3s2 c192k5 m3s2 c384 c256 c256 m3s2 a6 f d l4096 d l4096 l1000"
    groups = {"vgg11": (1, 1, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
    if name not in groups:
        raise ValueError(f"there is no architecture {name!r}")
    parts = [f"c{c} " * n + "m2" for n, c in zip(groups[name], (64, 128, 256, 512, 512), strict=True)]
    return " ".join([*parts, "a7 f l4096 d l4096 d l1000"])


class TextCNN(nn.Module):
    def __init__(
        self, vocab_size: int, d: int, widths: Sequence[int], channels: int, classes: int, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d)
        self.convolutions = nn.ModuleList(nn.Conv1d(d, channels, width) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(channels * len(widths), classes)

    def forward(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            lengths = torch.full((ids.shape[0],), ids.shape[1], device=ids.device)
        shortest, widest = int(lengths.min()), max(conv.kernel_size[0] for conv in self.convolutions)
        if shortest < widest:
            raise ValueError(f"a text of {shortest} words is shorter than a kernel of width {widest}")
        embedded = self.embedding(ids).mT
        strongest = []
        for conv in self.convolutions:
            scores = conv(embedded).relu()
            # A window is inside the text if its last word is.
            last = torch.arange(scores.shape[-1], device=ids.device) + conv.kernel_size[0] - 1
            outside = last >= lengths[:, None]
            strongest.append(scores.masked_fill(outside[:, None], float("-inf")).amax(-1))
        return self.output(self.dropout(torch.cat(strongest, -1)))


def feature_maps(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules:
            raise ValueError(f"the model has no module {name!r}")
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            # A copy: the next layer may work in place.
            found[name] = output.detach().clone()

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _check(kernel: int, padding: int) -> None:
    if 2 * padding > kernel:
        raise ValueError(f"padding may be at most half of the kernel, got padding {padding} and kernel {kernel}")


def _windows(x: Tensor, kernel: int, stride: int | None) -> Tensor:
    """All windows as a view (b, c, h', w', kernel, kernel)."""
    step = kernel if stride is None else stride
    return x.unfold(-2, kernel, step).unfold(-2, kernel, step)


def _averages(like: Tensor, n: int, m: int) -> Tensor:
    """The matrix (m, n) that averages n numbers to m, its windows as in the lesson."""
    matrix = like.new_zeros(m, n)
    for i in range(m):
        first, end = i * n // m, -(-(i + 1) * n // m)
        matrix[i, first:end] = 1 / (end - first)
    return matrix
