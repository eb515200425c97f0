"""Efficient networks: depthwise convolutions, MBConv, EfficientNet-Lite0

**Before you start.**  You need nn.Conv2d with groups, nn.BatchNorm2d and forward hooks of torch; no
other kata.  Residual blocks help (the kata residual_networks).  If depthwise convolutions are new:
Zhang et al., "Dive into Deep Learning", sections 7.4 and 8.6; Howard et al. 2017, section 3.

**The idea.**  A phone has no watts for a ResNet.  An ordinary convolution mixes places and
channels at once, and pays for their product.  Do one after the other: first each channel is
filtered by itself (depthwise), then a 1 × 1 convolution mixes the channels (pointwise).  That
costs an eighth.  You build the blocks that follow from this, and load a network trained by Google.

**The formulas**, for a kernel of k × k, from c to d channels, at p places:

    multiply-adds, ordinary     p · k² · c · d
    depthwise and pointwise     p · (k² · c + c · d)

*Same padding*, as TensorFlow pads: n numbers become ⌈n / stride⌉.  It needs

    total = max((⌈n / stride⌉ - 1) · stride + k - n, 0)

zeros, total // 2 of them before and the rest after.  An odd one goes after.

*Squeeze and excite*: m is the mean over height and width, W and V are 1 × 1 convolutions with
biases, act is an activation.  Each channel is weighed by what the whole picture shows:

    y = x · sigmoid(V act(W m))

*MBConv*: widen to e · c channels, filter them one by one, narrow to d.  It is a residual block
turned inside out.

    x ─┬─▶ 1×1 to e·c ─▶ norm, act ─▶ depthwise k×k, stride ─▶ norm, act
       │         ─▶ squeeze-excite ─▶ 1×1 to d ─▶ norm ─▶ + ─▶
       └────── only if the stride is 1 and d is c ────────┘

*EfficientNet-Lite0*, for a picture of 224 × 224; act is relu6(x) = min(max(x, 0), 6) throughout:

    stem_conv 3×3, stride 2, norm, act      32 channels    112 × 112
    blocks    of each  e   k   stride
    0         1        1   3   1            16             112
    1, 2      2        6   3   2            24              56
    3, 4      2        6   5   2            40              28
    5 … 7     3        6   3   2            80              14
    8 … 10    3        6   5   1           112              14
    11 … 14   4        6   5   2           192               7
    15        1        6   3   1           320               7
    head_conv 1×1, norm, act              1280               7
    mean over height and width, fc     classes

The stride is that of the first of several blocks; the others have 1.  Lite has no squeeze-excite.

In the whole kata: every convolution of k × k pads as same_pad does.  None has a bias but those of
squeeze-excite.  All norms have eps 1e-3 and momentum 0.01.

**Why no activation after the last norm of MBConv?**  relu loses half of what it gets.  With 6
times as many channels something of it survives in another channel; with few it's gone.

**Why relu6, and no squeeze-excite?**  Lite is made for 8-bit integers on small chips: values in
0 … 6 lose little, and not every such chip can do squeeze-excite.

**Worked by hand.**  3 × 3 from 64 to 128 channels: ordinary 9 · 64 · 128 = 73,728 weights;
depthwise and pointwise 9 · 64 + 64 · 128 = 8,768.
Same padding, k 3: of n = 6 with stride 2, ⌈6/2⌉ = 3 and total 2 · 2 + 3 - 6 = 1: 0 before, 1 after.
Of n = 7 with stride 2: 4 and 3 · 2 + 3 - 7 = 2: 1 and 1.

**A real cat.**  The test cuts the central square out of a photo, resizes it to 224 × 224
(bilinear), and hands its values v from 0 to 255 over as (v - 127) / 128, as in training.  Classes
281 … 285 of ImageNet are cats.

**Shapes.**  Images (n, c, h, w), n ≥ 1; in training mode more than one value per channel.  No
function or method changes its arguments, but for a norm's running statistics then.  Answers are on
the device of the input, and a module moved by .to works where it is.  Everything starts as torch's
layers do.

**Steps.**

    same_pad            10 min   which side gets the odd one?
    DepthwiseSeparable  10 min   groups
    SqueezeExcite        5 min   one number a channel
    MBConv              15 min   what is left out for e = 1?
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
        """c, d, k, the stride of the depthwise convolution, and e ≥ 1.

        - With e = 1 nothing is widened: expand_conv and expand_norm are None.
        - `squeezed` is the width inside a SqueezeExcite with the block's activation; for 0 there is
          none, and squeeze_excite is None.
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
        """Can be made on the device "meta", too, where nothing has values."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 3, h, w) of any size."""
        raise NotImplementedError

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Copy the published weights and running statistics, of 1000 classes.

        The names around the blocks, and in block i after `_blocks.{i}.`:

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
        - Your parameters stay the same objects, with their dtype.  No memory is shared with `state`.

        Raises ValueError, naming it as published, if an entry is missing.
        """
        raise NotImplementedError


def multiply_adds(model: nn.Module, x: Tensor) -> int:
    """How many products the layers of a model add up while it answers x, whole batch.

    Layers that count are nn.Conv1d, nn.Conv2d and nn.Linear, and their subclasses.  A convolution
    has for each number that comes out (in channels / groups) · (size of its kernel), a linear layer its
    in_features.  Biases aren't counted; products with padded zeros are.

    - A layer that is called twice counts twice, one that isn't called not at all.
    - The model runs once, in evaluation mode and without gradients.
    - It is left as it was: every module in its own mode, running statistics, hooks.  Also where
      it raises.
    - Works on the device "meta", too.
    """
    raise NotImplementedError
