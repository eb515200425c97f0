"""Efficient networks: depthwise convolutions, MBConv, EfficientNet-Lite0

**Before you start.**  You need nn.Conv2d with groups, nn.BatchNorm2d and forward hooks of torch; no
other kata.  It helps to have built residual blocks (the kata residual_networks).  If depthwise
convolutions are new: Howard et al. 2017, section 3.

**The idea.**  A phone has no power for a ResNet.  An ordinary convolution mixes places and channels
at once, and its cost is their product.  Do one after the other: first filter each channel by itself
(depthwise), then mix the channels with a 1 × 1 convolution (pointwise).  For a 3 × 3 kernel that
costs about an eighth.  You build the blocks that follow from this, and load a network that Google
trained.

**The formulas**, for a kernel of k × k, from c to d channels, at p places:

    multiply-adds, ordinary     p · k² · c · d
    depthwise and pointwise     p · (k² · c + c · d)

*Same padding*, as TensorFlow pads, makes ⌈n / stride⌉ numbers of n.  It adds this many zeros:

    total = max((⌈n / stride⌉ - 1) · stride + k - n, 0)

total // 2 of them stand before and the rest after, so an odd zero stands after.

*Squeeze and excite* multiplies each channel by a factor from 0 to 1, which depends on the whole
picture.  m is the mean over height and width, W and V are 1 × 1 convolutions with biases, and act
is an activation:

    y = x · sigmoid(V act(W m))

*MBConv*: widen c channels to e · c, filter them one by one, narrow them to d.  A bottleneck block
does it the other way round: it narrows first.

    x ─┬─▶ 1×1 to e·c ─▶ norm, act ─▶ depthwise k×k, stride ─▶ norm, act
       │      ─▶ squeeze-excite ─▶ 1×1 to d ─▶ norm ─▶ + ─▶ y
       └─────── only if the stride is 1 and d is c ────┘

*EfficientNet-Lite0*, for a picture of 224 × 224; act is relu6(x) = min(max(x, 0), 6) throughout:

                       e   k   stride     channels      height
    stem_conv, norm, act   3   2                32         112
    block 0            1   3   1                16         112
    blocks 1, 2        6   3   2                24          56
    blocks 3, 4        6   5   2                40          28
    blocks 5 … 7       6   3   2                80          14
    blocks 8 … 10      6   5   1               112          14
    blocks 11 … 14     6   5   2               192           7
    block 15           6   3   1               320           7
    head_conv, norm, act   1   1              1280           7
    mean over height and width, fc         classes

The first block of a row has the stride, the others have 1.  Lite has no squeeze-excite.

In the whole kata:

- Every convolution of k × k pads as same_pad does.
- No convolution has a bias, except the two of squeeze-excite.
- All norms have eps 1e-3 and momentum 0.01.

**Why no activation after the last norm of MBConv?**  relu sets about half of its inputs to 0.
Among 6 times as many channels, what one loses survives in another.  With few channels it is gone.

**Why relu6, and no squeeze-excite?**  Lite is made for 8-bit integers on small chips.  8 bits are
fine enough for values in 0 … 6, and not every such chip can do squeeze-excite.

**Worked by hand.**  3 × 3 from 64 to 128 channels: ordinary 9 · 64 · 128 = 73,728 weights;
depthwise and pointwise 9 · 64 + 64 · 128 = 8,768.  Same padding for k = 3 and stride 2:

    n = 6:   ⌈6/2⌉ = 3    total 2 · 2 + 3 - 6 = 1    0 before, 1 after
    n = 7:   ⌈7/2⌉ = 4    total 3 · 2 + 3 - 7 = 2    1 before, 1 after

**A real cat.**  A test shows a photo to the network with Google's weights.  It cuts out the central
square, resizes it to 224 × 224 (bilinear), and maps its values v from 0 to 255 to (v - 127) / 128,
as in training.  Classes 281 … 285 of ImageNet are cats.

**Shapes.**  Images (n, c, h, w), n ≥ 1; in training mode each channel has more than one value.

- Weights start as torch's layers draw them.
- Answers are on the device of the input, and a module moved by .to works where it is.
- No function or method changes its arguments, except a norm's running statistics in training mode.

**Steps.**  A good place to pause is before EfficientNetLite0.

    same_pad            10 min   which side gets the odd one?
    DepthwiseSeparable  10 min   as many groups as channels
    SqueezeExcite        5 min   one factor for each channel
    MBConv              20 min   what is left out for e = 1?
    EfficientNetLite0   25 min   15 for the table, 10 for the published names
    multiply_adds       15 min   a hook on each layer, and no trace left

Sources: Howard et al. 2017, "MobileNets"; Sandler et al. 2018, "MobileNetV2"; Hu et al. 2018,
"Squeeze-and-Excitation Networks"; Tan and Le 2019, "EfficientNet".

From scratch: torchvision, transformers and torch.utils.flop_counter may not be used.
"""

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor, nn


def same_pad(x: Tensor, kernel: int, stride: int) -> Tensor:
    """x (n, c, h, w) with zeros around it, by the lesson's formula for h and for w.

    kernel, stride ≥ 1; the stride may be larger than the kernel.
    """
    raise NotImplementedError


class DepthwiseSeparable(nn.Module):
    """A depthwise k × k convolution, then a pointwise one, a norm and an activation after each.

    Attributes `depthwise_conv`, `depthwise_norm`, `pointwise_conv`, `pointwise_norm`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        activation: Callable[[Tensor], Tensor] = F.relu6,
    ) -> None:
        """The depthwise convolution has the stride.  Padding, norms and biases as in the lesson."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) → (n, out_channels, ⌈h / stride⌉, ⌈w / stride⌉)."""
        raise NotImplementedError


class SqueezeExcite(nn.Module):
    """Squeeze and excite: attributes `reduce` (W) and `expand` (V), 1 × 1 convolutions with biases."""

    def __init__(self, channels: int, squeezed: int, activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        """W goes from `channels` to `squeezed`, V back; `activation` stands between them."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of x (n, channels, h, w)."""
        raise NotImplementedError


class MBConv(nn.Module):
    """The block of the lesson.

    Attributes `expand_conv`, `expand_norm`, `depthwise_conv`, `depthwise_norm`, `squeeze_excite`,
    `project_conv`, `project_norm`.
    """

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
        """c, d, k, the stride of the depthwise convolution, and `expansion`, e ≥ 1.

        - With e = 1 nothing is widened: expand_conv and expand_norm are None.
        - `squeezed` is the width inside a SqueezeExcite of e · c channels, with the block's activation.
          For 0 there is none, and squeeze_excite is None.
        - Padding, norms and biases as in the lesson.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) → (n, out_channels, ⌈h / stride⌉, ⌈w / stride⌉)."""
        raise NotImplementedError


class EfficientNetLite0(nn.Module):
    """The network of the lesson, without dropout.

    Attributes `stem_conv`, `stem_norm`, `blocks` (an nn.ModuleList of 16 MBConv), `head_conv`,
    `head_norm`, `fc` (nn.Linear).  There is no further parameter: with 1000 classes it has 4,652,008.
    """

    def __init__(self, classes: int = 1000) -> None:
        """It can also be made on the device "meta", where nothing has values."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 3, h, w) of any size."""
        raise NotImplementedError

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Copy the published weights and running statistics, of 1000 classes.

        The published names, and yours.  Left around the blocks; right in block i, after `_blocks.{i}.`:

            _conv_stem   stem_conv          _expand_conv      expand_conv
            _bn0         stem_norm          _bn0              expand_norm
            _conv_head   head_conv          _depthwise_conv   depthwise_conv
            _bn1         head_norm          _bn1              depthwise_norm
            _fc          fc                 _project_conv     project_conv
                                            _bn2              project_norm

        each followed by `.weight`, for fc and norms `.bias`, and for norms `.running_mean`,
        `.running_var` and `.num_batches_tracked`.

        - Block 0 widens nothing: it has neither _expand_conv nor _bn0.
        - `state` may be in any order; other entries are ignored.
        - The module's parameters stay the same objects, with their dtype.  No memory is shared with `state`.

        Raises ValueError, naming it as published, if an entry is missing.
        """
        raise NotImplementedError


def multiply_adds(model: nn.Module, x: Tensor) -> int:
    """How many products the layers of a model add up while it answers the whole batch x.

    Layers that count are nn.Conv1d, nn.Conv2d and nn.Linear, and their subclasses.  For each number
    that comes out, a convolution has (in channels / groups) · (size of its kernel) products, a linear
    layer has in_features.  Biases aren't counted; products with padded zeros are.

    - A layer that is called twice counts twice, one that isn't called not at all.
    - The model runs once, in evaluation mode and without gradients.
    - The model is left as it was, even if it raises: every module in its own mode, running statistics,
      hooks.
    - Works on the device "meta", too.
    """
    raise NotImplementedError
