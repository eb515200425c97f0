"""Efficient networks: the reference."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def same_pad(x: Tensor, kernel: int, stride: int) -> Tensor:
    def around(n: int) -> tuple[int, int]:
        total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
        return total // 2, total - total // 2

    # F.pad begins with the last axis.
    return F.pad(x, (*around(x.shape[3]), *around(x.shape[2])))


class SameConv(nn.Conv2d):
    """A convolution without bias that pads as same_pad does."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_channels, channels, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(same_pad(x, self.kernel_size[0], self.stride[0]))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class DepthwiseSeparable(nn.Module):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        activation: Callable[[Tensor], Tensor] = F.relu6,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.depthwise_conv = SameConv(in_channels, in_channels, kernel, stride, groups=in_channels)
        self.depthwise_norm = _norm(in_channels)
        self.pointwise_conv = SameConv(in_channels, out_channels, 1)
        self.pointwise_norm = _norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.depthwise_norm(self.depthwise_conv(x)))
        return self.activation(self.pointwise_norm(self.pointwise_conv(x)))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, squeezed: int, activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.activation = activation
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        summary = x.mean(dim=(2, 3), keepdim=True)
        return x * self.expand(self.activation(self.reduce(summary))).sigmoid()


class MBConv(nn.Module):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        expansion: int = 6,
        squeezed: int = 0,
        activation: Callable[[Tensor], Tensor] = F.relu6,
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.activation = activation
        self.has_shortcut = stride == 1 and in_channels == out_channels
        self.expand_conv = SameConv(in_channels, hidden, 1) if expansion != 1 else None
        self.expand_norm = _norm(hidden) if expansion != 1 else None
        self.depthwise_conv = SameConv(hidden, hidden, kernel, stride, groups=hidden)
        self.depthwise_norm = _norm(hidden)
        self.squeeze_excite = SqueezeExcite(hidden, squeezed, activation) if squeezed else None
        self.project_conv = SameConv(hidden, out_channels, 1)
        self.project_norm = _norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        if self.expand_conv is not None:
            out = self.activation(self.expand_norm(self.expand_conv(out)))
        out = self.activation(self.depthwise_norm(self.depthwise_conv(out)))
        if self.squeeze_excite is not None:
            out = self.squeeze_excite(out)
        # No activation: it would throw away what few channels hold.
        out = self.project_norm(self.project_conv(out))
        return x + out if self.has_shortcut else out


# Blocks, kernel, stride of the first block, expansion, channels in and out.
STAGES = [
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
]

# Of the published names: around the blocks, and in each of them.
AROUND = {"stem_conv": "_conv_stem", "stem_norm": "_bn0", "head_conv": "_conv_head", "head_norm": "_bn1", "fc": "_fc"}
INSIDE = {
    "expand_conv": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "project_conv": "_project_conv",
    "project_norm": "_bn2",
}


def _published(name: str) -> str:
    """The published name of an entry of the state dict."""
    *path, part, leaf = name.split(".")
    if not path:
        return f"{AROUND[part]}.{leaf}"
    return f"_blocks.{path[1]}.{INSIDE[part]}.{leaf}"


class EfficientNetLite0(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem_conv = SameConv(3, 32, 3, 2)
        self.stem_norm = _norm(32)
        self.blocks = nn.ModuleList(
            MBConv(into if i == 0 else out, out, kernel, stride if i == 0 else 1, expansion)
            for count, kernel, stride, expansion, into, out in STAGES
            for i in range(count)
        )
        self.head_conv = SameConv(320, 1280, 1)
        self.head_norm = _norm(1280)
        self.fc = nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.stem_norm(self.stem_conv(x)))
        for block in self.blocks:
            x = block(x)
        x = F.relu6(self.head_norm(self.head_conv(x)))
        return self.fc(x.mean(dim=(2, 3)))

    @torch.no_grad()
    def load_published(self, state: Mapping[str, Tensor]) -> None:
        mine = self.state_dict()  # its tensors are the module's own
        for name in mine:
            if _published(name) not in state:
                raise ValueError(f"the published weights have no {_published(name)}")
        for name, tensor in mine.items():
            tensor.copy_(state[_published(name)])


def multiply_adds(model: nn.Module, x: Tensor) -> int:
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        # Of a weight (out, in, …) each output needs all but the first axis: in channels of its group, and the kernel.
        total += out.numel() * layer.weight[0].numel()

    modes = [(module, module.training) for module in model.modules()]
    counted = [layer for layer in model.modules() if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in counted]
    try:
        model.eval()  # in training mode the norms would learn from x
        with torch.no_grad():
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    return total
