"""Autoregressive images: masked convolutions, PixelCNN, a row LSTM, and likelihoods that sum to 1

**Before you start.**  You need convolution, softmax and cross-entropy; an LSTM cell helps.  No
other kata is imported.  If language models are new, read the chain rule of probability in
Goodfellow et al., "Deep Learning", section 3.6.

**The idea.**  How likely is this image?  Most models that draw can't say.  One kind can: it reads
an image like a text, row by row, and predicts each pixel from those before it.  The product of
these predictions is the exact probability of the whole image.  With it you can compare models in
bits, complete half an image, and notice that something has never been seen.

The obstacle is speed.  In training all pixels are known, so one pass of a convolutional network
could predict all of them.  But a convolution sees below and to the right as well: it would read
the answer.  So you put a mask on its weights.

**The formulas.**  x_1 … x_n are the pixels as one reads, each a whole number from 0 to K - 1.

    p(x) = p(x_1) · p(x_2 | x_1) · … · p(x_n | x_1, …, x_n-1)
    log p(x) = Σ log p(x_i | …)                       in nats
    bits per pixel = -log p(x) / (n ln 2)

*The mask* of a k × k filter, k odd, is 1 in the rows above the middle, and in the middle row left
of the middle.  The middle itself is 0 in type A and 1 in type B.  All else is 0.

*PixelCNN*: numbers go in as 2x / (K - 1) - 1, from -1 to 1.

    h = A(x)                     one masked convolution of type A
    h ← h + B(relu(h))           several times, each of type B
    logits = C(relu(h))          a 1 × 1 convolution to K channels

*The row LSTM* reads a row at a time.  h and c are rows of vectors, all 0 above the image.

    [i, f, g, o] = S(x's row) + R(h of the row above)
    c ← σ(f) c + σ(i) tanh(g),    h = σ(o) tanh(c),    logits of this row = C(h)

S and R are convolutions along the row with 3 weights.  S is masked: it sees the left neighbour
alone.  R isn't.

**A drawing**

    type A           type B               what pixel ● sees
    1 1 1 1 1        1 1 1 1 1
    1 1 1 1 1        1 1 1 1 1            PixelCNN           row LSTM
    1 1 0 0 0        1 1 1 0 0            x x x x x .        x x x x . .
    0 0 0 0 0        0 0 0 0 0            x x x x . .        x x x . . .
    0 0 0 0 0        0 0 0 0 0            x x ● . . .        . x ● . . .

    This PixelCNN has one A and two B of 3 × 3.  To the upper right it is blind.

**Why two types?**  The first layer looks at the image.  There the middle is the very pixel that
is to be predicted, and it must be hidden: type A.  After that the middle holds what was seen
*before* the pixel.  Type B may use it.  With A in later layers a pixel would lose sight of its
nearest neighbours.

**Why a blind spot?**  A 3 × 3 filter goes up one row and right one pixel.  Stacked, it reaches up
along the diagonal and no flatter.  Pixels to the upper right stay unseen, however deep the
network is.  The row LSTM sees up to the first row, but little of its own, and it needs a step a
row.

**Why is sampling slow?**  Pixel 5 needs pixel 4.  You run the whole network once for each pixel.

**Worked by hand**

    mask            3 × 3, type A: 1 1 1 / 1 0 0 / 0 0 0
    likelihood      2 pixels, K = 2: p(x_1 = 1) = 0.8, p(x_2 = 0 | x_1 = 1) = 0.25
                    p(1 0) = 0.2, log p = -1.6094, bits per pixel = 1.6094 / (2 · 0.6931) = 1.1610
    guessing        K levels, all alike: log₂ K bits per pixel; 1 for black and white
    scaling         K = 5: 0 1 2 3 4 go in as -1 -0.5 0 0.5 1

**Shapes**: images (B, H, W), whole numbers in int64 or the same as floats; logits (B, K, H, W).
No function changes its arguments.

**Steps.**  A good place to pause is after PixelCNN.

    causal_mask            6 min   above, left, and the middle
    MaskedConv2d          10 min   the mask belongs into every forward pass
    PixelCNN              12 min   A once, B after that
    RowLSTM               15 min   a row at a time
    image_log_likelihood   6 min   pick what was drawn
    bits_per_pixel         4 min   another unit
    visible                9 min   ask the gradient
    draw                  12 min   pixel by pixel, known ones stay

Sources: van den Oord, Kalchbrenner and Kavukcuoglu 2016, "Pixel Recurrent Neural Networks"; van
den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders" (the blind spot).

From scratch: torch.nn.LSTM, torch.nn.LSTMCell, torch.tril, torch.triu and torch.distributions may
not be used.
"""

from collections.abc import Callable

from torch import Generator, Tensor, nn


def causal_mask(size: int, kind: str) -> Tensor:
    """The mask (size, size) in float32, of kind "A" or "B".

    Raises ValueError, naming the size, if it isn't odd (it is at least 1), and naming the kind, if it is another.
    """
    raise NotImplementedError


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees only what comes before: its output is as large as its input, padded with zeros."""

    def __init__(self, kind: str, in_channels: int, out_channels: int, size: int) -> None:
        """With bias.  `weight` and `bias` are those of nn.Conv2d; `mask` (size, size) is a buffer."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W).

        Whatever finite numbers an optimizer or a checkpoint has put into the masked weights: they have no effect, and a
        gradient of 0.
        The values of `weight` aren't changed.
        """
        raise NotImplementedError


class PixelCNN(nn.Module):
    """Logits of each pixel from those before it, in one pass."""

    def __init__(self, levels: int, width: int, layers: int, size: int = 3) -> None:
        """levels is K, at least 2.

        first   MaskedConv2d of type A, 1 → width channels
        blocks  nn.ModuleList of `layers` MaskedConv2d of type B, width → width, all with filters of `size`
        last    nn.Conv2d width → levels with a filter of 1
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K, H, W) of images (B, H, W).  Of floats, the gradient reaches the images.

        The numbers are taken into the dtype of the weights.
        """
        raise NotImplementedError


class RowLSTM(nn.Module):
    """Logits of each pixel from those before it, by an LSTM that goes down the rows."""

    def __init__(self, levels: int, width: int) -> None:
        """levels is K, at least 2.

        see       nn.Conv1d 1 → 4 · width, filter 3, with bias: the row itself.  Only weight[:, :, 0] is used
        remember  nn.Conv1d width → 4 · width, filter 3, without bias: h of the row above
        last      nn.Conv1d width → levels, filter 1
        Both are padded with a zero at each end.  Their outputs are i, f, g, o, each `width` channels.
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K, H, W) of images (B, H, W), which go in scaled as in PixelCNN.  Of floats, the gradient reaches them."""
        raise NotImplementedError


def image_log_likelihood(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """log p (B,) of images (B, H, W) in int64, in nats: the sum over all pixels.  The model gives logits; the gradient stays."""
    raise NotImplementedError


def bits_per_pixel(log_likelihoods: Tensor, height: int, width: int) -> float:
    """The mean over images of their bits per pixel, from log p (B,) in nats.  A Python float."""
    raise NotImplementedError


def visible(model: Callable[[Tensor], Tensor], image: Tensor, row: int, column: int) -> Tensor:
    """(H, W) of bool: which pixels of the image (H, W) the logits at (row, column) depend on, by their gradient.

    A pixel is visible if the derivative of at least one of the K logits by it isn't 0.  The image is of floats.  No
    gradient is left on the model's parameters, nor is one that was there changed.
    """
    raise NotImplementedError


def draw(
    model: Callable[[Tensor], Tensor], images: Tensor, known: Tensor, generator: Generator, temperature: float = 1.0
) -> Tensor:
    """Images (B, H, W) in int64 whose unknown pixels are drawn, as one reads, from softmax(logits / temperature).

    images   (B, H, W) in int64; what stands in unknown places is replaced
    known    (H, W) of bool: these pixels stay as they are in every image

    The generator is on the device of the images.  The model is called once for each unknown pixel and sees no gradient.
    Raises ValueError, naming the temperature, if it isn't above 0.
    """
    raise NotImplementedError
