"""Residual networks

**Before you start.**  You need nn.Conv2d, nn.BatchNorm2d and max pooling of torch, no other kata.
If these are new: Zhang et al., "Dive into Deep Learning", chapter 7 and section 8.5.

**The idea.**  A deep network should be at least as good as a shallow one: its extra layers could
simply do nothing.  But plain layers hardly learn to do nothing.  In 2015 a plain network of 34
layers ended with a larger *training* error than one of 18.  A residual block makes "nothing" easy:
it adds its input to what its layers compute.  With weights of 0 the input passes through.  Built
like this, networks of 152 layers could be trained, and an ensemble of residual networks won
ImageNet.

**The formulas.**  x is a block's input.  F is its convolutions, with a batch norm after each, and s
its shortcut:

    y = relu(F(x) + s(x))

s is the identity where F keeps the shape.  Where F changes the channels or has a stride above 1, s
is a 1 × 1 convolution of that stride, followed by a batch norm.  No convolution has a bias: the
norm after it would subtract it again.

    basic      x ─┬─▶ 3×3, stride ─▶ norm, relu ─▶ 3×3 ─▶ norm ─▶ + ─▶ relu
                  └────────────────────── s ──────────────────────┘

    bottleneck x ─┬─▶ 1×1 ─▶ norm, relu ─▶ 3×3, stride ─▶ norm, relu
                  │         ─▶ 1×1 to 4 · channels ─▶ norm ─▶ + ─▶ relu
                  └─────────────────────── s ─────────────────┘

*The network* has a stem, four stages and a head.  A stage is a row of blocks.  Its first block has
the stage's stride, the others have 1.  The table shows the height and the channels that come out,
for a picture of 224 × 224; w is 64 in the published networks:

                                    height   channels, basic    bottleneck
    conv1, bn1, relu   7×7, stride 2        112     w             w
    max pooling        3×3, stride 2         56     w             w
    layer1             stride 1              56     w             4 w
    layer2             stride 2              28     2 w           8 w
    layer3             stride 2              14     4 w          16 w
    layer4             stride 2               7     8 w          32 w
    mean over height and width, then fc       1     classes       classes

    blocks a stage   18: 2 2 2 2    34: 3 4 6 3                        basic
                     50: 3 4 6 3    101: 3 4 23 3    152: 3 8 36 3     bottleneck

Convolutions and pooling pad so that a stride of 2 makes ⌈h / 2⌉ of h: 7 × 7 with 3 pixels on each
side, 3 × 3 with 1.

*The start.*  The network draws the weights of a convolution with a kernel of k × k from
N(0, 2 / (k² · out channels)); the second number is the variance.  Norms have weight 1 and bias 0,
but the last norm of F has weight 0 (Goyal et al. 2017).

**Why weight 0?**  Then F is 0 at the start, and each block whose s is the identity passes x ≥ 0 on
unchanged.  However many such blocks there are, the gradient comes back as large as it went in.

**Why a bottleneck?**  The cost of a 3 × 3 convolution grows with channels².  So do it on a quarter
of the channels, and let cheap 1 × 1 convolutions lead there and back.

**Worked by hand**: how many weights has a block that keeps 256 channels?

    bottleneck  1×1 256·64 + 3×3 9·64·64 + 1×1 64·256 + norms 2·(64 + 64 + 256)  =     70,400
    basic       2 · (9 · 256 · 256) + norms 2 · (256 + 256)                      =  1,180,672

**Shapes.**  Images (n, c, h, w), n ≥ 1; in training mode each channel has more than one value.  Odd
sizes are fine.  Answers are on the device of the input, and a module moved by .to works where it
is.  No function or method changes its arguments, except the running statistics that a norm keeps.

**Steps.**

    BasicBlock        10 min   when is s the identity?
    Bottleneck        10 min   which convolution has the stride?
    ResNet            25 min   15 for stages and forward, 10 for the start
    resnet             5 min   the table of blocks
    count_parameters   5 min   a shared parameter counts once

Sources: He et al. 2016, "Deep Residual Learning for Image Recognition"; Goyal et al. 2017,
"Accurate, Large Minibatch SGD", section 5.1.  In He et al. the first 1 × 1 of a bottleneck has the
stride, and skips three of four pixels.  Here the 3 × 3 has it, as in torchvision, and sees them
all.

From scratch: torchvision and transformers may not be used.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut.

    Attributes `conv1`, `bn1`, `conv2`, `bn2`, in the order of the drawing, and `downsample`: None
    where s is the identity, and else an nn.Sequential of convolution and norm.
    """

    expansion = 1
    """How many times `channels` come out."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        """From `in_channels` to `channels`; the first convolution has the stride.

        - Convolutions have a padding of 1 and no bias.
        - bn2 starts with weight 0, everything else as torch's layers do.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) → (n, channels, ⌈h / stride⌉, ⌈w / stride⌉)."""
        raise NotImplementedError


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3, 1 × 1, and a shortcut.

    Attributes `conv1`, `bn1`, `conv2`, `bn2`, `conv3`, `bn3`, in the order of the drawing, and
    `downsample` as in BasicBlock.
    """

    expansion = 4
    """How many times `channels` come out."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        """From `in_channels` to `channels` in the first two convolutions, to 4 · channels in the third.

        - The 3 × 3 convolution has the stride and a padding of 1.  No convolution has a bias.
        - bn3 starts with weight 0, everything else as torch's layers do.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) → (n, 4 · channels, ⌈h / stride⌉, ⌈w / stride⌉)."""
        raise NotImplementedError


class ResNet(nn.Module):
    """The network of the lesson.

    Attributes `conv1`, `bn1`, `layer1` … `layer4` (nn.Sequential of blocks) and `fc`.  So names in the
    state dict are torchvision's, such as "layer2.0.downsample.0.weight", and published weights fit.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
    ) -> None:
        """`layers` says how many blocks each of the four stages has, at least one; `width` is w.

        - The start is the lesson's; fc starts as nn.Linear does.
        - It can be made on the device "meta", where nothing has values.
        """
        raise NotImplementedError

    def features(self, x: Tensor) -> list[Tensor]:
        """What layer1 … layer4 give, a list of four: their sizes are a 4th, 8th, 16th and 32nd, rounded up.

        Detectors read all four.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, in_channels, h, w) of any size."""
        raise NotImplementedError


def resnet(depth: int, classes: int = 1000) -> ResNet:
    """A fresh ResNet of 18, 34, 50, 101 or 152 layers, for images of three channels, w = 64.

    Raises ValueError, naming the depth, for any other.
    """
    raise NotImplementedError


def count_parameters(module: nn.Module, trainable: bool = False) -> int:
    """How many numbers the parameters of a module hold.

    - A parameter that the module uses twice counts once.  Running statistics are no parameters.
    - With `trainable`, those that don't require a gradient are left out.
    """
    raise NotImplementedError
