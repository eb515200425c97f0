"""Pooling and CNNs

**Before you start.**  You need convolutions and their output size, and forward hooks (for the last
step); no other kata.  Pictures: the course notes of Stanford's CS231n, "Convolutional Networks".

**The idea.**  To tell a cat from a dog, a network must find an ear, but needn't know exactly where
it is.  Pooling throws the exact place away, step by step: it keeps one number of each small window.
LeNet read cheques in the 1990s with convolutions and pooling in turn.  AlexNet and VGG do the same
with more layers.  Each of them fits into one line of text, and you write what builds it.

**The formulas.**  Kernel k, stride s, padding p, each channel by itself:

    max pooling       y[i, j] = max of the k × k window at (i·s, j·s) of the padded image
    average pooling   y[i, j] = mean of that window
    size              n' = ⌊(n + 2p - k) / s⌋ + 1

*Adaptive* average pooling gets the size m of the result instead.  Window i of an axis of n numbers
goes

    from ⌊i·n / m⌋ up to, but without, ⌈(i + 1)·n / m⌉       windows may overlap

*The receptive field* r of an output is how many inputs along an axis it sees.  The fields of two
outputs side by side lie `step` apart.  Both begin at 1.  Each layer changes first r, then step:

    r ← r + d·(k - 1)·step        step ← step · s            d: the dilation

    input         ● ● ● ● ● ● ● ●
    conv 3         └●┘● ● ● ●└●┘         6 places, each sees 3
    pool 2, s 2      ●   ●   ●           3 places, each sees 4, two apart
    conv 3               ●               1 place, sees 8

*A line of text* is a network, and each word is a layer.  If the last word is a convolution or a
linear layer, it gets no ReLU:

    c64          convolution to 64 channels, then ReLU; kernel 3, stride 1, padding ⌊k/2⌋
    c64k11s4p2   the same with kernel 11, stride 4, padding 2: in this order, any may be left out
    m2, m3s2     max pooling of 2 × 2, and of 3 × 3 with stride 2; the stride is k unless given
    v2, v3s2     average pooling in the same way
    a6           adaptive average pooling to 6 × 6
    f            flatten
    d            dropout of ½
    l120         linear to 120 numbers, then ReLU

*The networks.*  "6 of 5 × 5" is a convolution to 6 channels with a kernel of 5 × 5.  A ReLU follows
each convolution, and each linear layer but the last:

    lenet     1 × 28 × 28    6 of 5 × 5 with padding 2, pool 2; 16 of 5 × 5 without padding, pool 2;
                             flatten, linear to 120, 84, 10
    alexnet   3 × 224 × 224  64 of 11 × 11 with stride 4 and padding 2, pool 3 stride 2;
                             192 of 5 × 5, pool 3 stride 2; 384, 256, 256 of 3 × 3, pool 3
                             stride 2; adaptive 6; flatten, dropout, linear to 4096, dropout,
                             4096, 1000
    vgg16     3 × 224 × 224  3 × 3 throughout, pool 2 after each group: 2 of 64; 2 of 128; 3 of 256;
                             3 of 512; 3 of 512; adaptive 7; flatten, linear to 4096, dropout, 4096,
                             dropout, 1000
    vgg11, vgg19             the same with 1 1 2 2 2, and with 2 2 4 4 4, in the five groups

"pool" is max pooling.  A convolution whose padding isn't named keeps the size.

*A text CNN* slides kernels over words.  A kernel of width w sees w words in a row, and scores how
well they fit its phrase.  The largest score over all places says whether the phrase occurs:

            ┌─▶ convolution, width 2 ─▶ ReLU ─▶ max ─┐
    embed ──┤                                        ├─▶ dropout ─▶ linear
            └─▶ convolution, width 3 ─▶ ReLU ─▶ max ─┘

**Why stack 3 × 3 convolutions?**  Two of them see 5 × 5, three see 7 × 7.  Three have 27 c² weights
for c channels, one of 7 × 7 has 49 c².  And there is a ReLU after each.

**Why does max pooling pad with -inf?**  Zeros would win over negative numbers, and a border would
look brighter than it is.

**Worked by hand**:

    x = [1 2 3 4; 5 6 7 8; 9 8 7 6; 5 4 3 2]    max 2: [6 8; 9 7]    average 2: [3.5 5.5; 6.5 4.5]
    adaptive, [1 2 3 4 5] to 3: windows 1 2, 2 3 4, 4 5: [1.5 3 4.5]
    lenet has 156 + 2416 + 48,120 + 10,164 + 850 = 61,706 parameters

**Shapes**: x (b, c, h, w) of a floating dtype.

- Results have the dtype and device of x.  A module moved by .to works where it is.
- Tensors needn't be contiguous.
- Gradients flow through pooling.  If several numbers of a window are the largest, they may share
  the gradient as you like.
- No function or method changes its arguments.

**Steps.**  A good place to pause is before build.

    max_pool2d           10 min   what stands in the padding?
    avg_pool2d            5 min   is padding counted in the mean?
    adaptive_avg_pool2d  10 min   a mean over rows, then over columns
    receptive_field       5 min   first r, then step
    build                20 min   10 to read a word, 10 to keep track of the shape
    architecture          5 min   five lines of text
    TextCNN              15 min   windows that reach beyond a text don't count
    feature_maps         10 min   remove the hooks even if the model raises

Sources: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition"; Krizhevsky
2014, "One weird trick for parallelizing convolutional neural networks" (this AlexNet); Simonyan and
Zisserman 2015, "Very Deep Convolutional Networks"; Kim 2014, "Convolutional Neural Networks for
Sentence Classification"; Araujo et al. 2019, "Computing Receptive Fields of Convolutional Neural
Networks".

From scratch: torchvision, torch.nn.functional.max_pool1d, torch.nn.functional.max_pool2d,
torch.nn.functional.avg_pool1d, torch.nn.functional.avg_pool2d,
torch.nn.functional.adaptive_avg_pool1d, torch.nn.functional.adaptive_avg_pool2d,
torch.nn.functional.adaptive_max_pool2d, torch.nn.functional.lp_pool2d,
torch.nn.functional.interpolate, torch.max_pool1d, torch.max_pool2d, torch.nn.MaxPool1d,
torch.nn.MaxPool2d, torch.nn.AvgPool1d, torch.nn.AvgPool2d, torch.nn.AdaptiveAvgPool1d,
torch.nn.AdaptiveAvgPool2d and torch.nn.AdaptiveMaxPool2d may not be used.  Convolutions may.
"""

from collections.abc import Sequence

from torch import Tensor, nn


def max_pool2d(x: Tensor, kernel: int, stride: int | None = None, padding: int = 0) -> Tensor:
    """The largest number of each window; (b, c, h', w').

    - A stride of None is the kernel's size.
    - Padding is never the largest.

    Raises ValueError, naming padding and kernel, if the padding is more than half of the kernel: a
    window could see nothing else.  You may assume that the kernel fits into the padded image.
    """
    raise NotImplementedError


def avg_pool2d(
    x: Tensor, kernel: int, stride: int | None = None, padding: int = 0, count_padding: bool = True
) -> Tensor:
    """The mean of each window; (b, c, h', w').

    - A stride of None is the kernel's size.
    - Padding is zeros.  With count_padding False it isn't counted: the sum is divided by the number
      of the window's real pixels.

    Raises ValueError as `max_pool2d` does.
    """
    raise NotImplementedError


def adaptive_avg_pool2d(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Means of windows as in the lesson, so that the result is (b, c, *size).

    On each axis by itself, `size` may be smaller or larger than the image.
    """
    raise NotImplementedError


def receptive_field(layers: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    """The receptive field r of an output of these layers, and the step, along one axis.

    Each layer is (kernel, stride, dilation), the first one first.  Without layers both are 1.
    """
    raise NotImplementedError


def build(config: str, shape: tuple[int, int, int]) -> nn.Sequential:
    """The network of a line of text, for images of `shape` (c, h, w).

    - Words are separated by blanks.  You may assume that they fit together: linear layers come after an `f`.
    - Convolutions and linear layers have a bias, and start as torch's do.  Parameters come in the
      order of the words.  Nothing else has any.
    - Pooling layers are modules that call your functions.
    - Under `torch.device("meta")` it works, too, so that parameters can be counted without memory.

    Raises ValueError, naming it, for a word that isn't in the lesson's table.
    """
    raise NotImplementedError


def architecture(name: str) -> str:
    """The line of text of "lenet", "alexnet", "vgg11", "vgg16" or "vgg19".

    Raises ValueError, naming it, for any other name.
    """
    raise NotImplementedError


class TextCNN(nn.Module):
    """A text CNN that scores classes.

    embedding      nn.Embedding (vocab_size, d)
    convolutions   an nn.ModuleList of an nn.Conv1d for each width, from d to `channels`
    output         nn.Linear from all channels, those of the first width first, to the classes
    """

    def __init__(
        self, vocab_size: int, d: int, widths: Sequence[int], channels: int, classes: int, dropout: float = 0.5
    ) -> None:
        """`dropout` is the probability that a channel is dropped in training mode."""
        raise NotImplementedError

    def forward(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The logits (b, classes) of texts `ids` (b, n), int64.

        `lengths` (b,), int64, says how many words of each row are text; None means all n.  What follows
        the text has no influence on the logits; it is made of ids of the vocabulary, too.

        Raises ValueError, naming the shortest length and the largest width, if that is larger.
        """
        raise NotImplementedError


def feature_maps(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """What the submodules called `names` put out while the model runs on x.

    Names are those of model.named_modules(), such as "0" or "head.2".  Each of them runs once.

    - The keys are `names`.  The values hold no graph, and later layers that work in place don't
      change them.
    - The model stays in its mode.  No hook stays behind, even if the model raises.

    Raises ValueError, naming it, for a name that isn't there.
    """
    raise NotImplementedError
