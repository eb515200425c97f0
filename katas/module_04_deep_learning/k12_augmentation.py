"""Augmentation: images and their boxes

**Before you start.**  You need indexing and random generators in torch, sine and cosine; no other
kata.  If resampling on a grid is new to you: the page of torch.nn.functional.grid_sample.

**The idea.**  Labelled images are expensive, and a mirrored cat is still a cat.  So show the
network each image a little changed: mirrored, turned, shifted, in other light, with a piece
missing.  It's the cheapest regularisation there is.  Two things often go wrong.  The image moves
and its boxes don't, so the labels are false.  Or all workers of a data loader draw the same
numbers.

**The formulas.**  The pixel in row i and column j covers x from j to j + 1 and y from i to
i + 1; y grows downwards.  For an image of height h and width w, and a box (x1, y1, x2, y2):

    flip        (w - x2, y1, w - x1, y2)
    pad, crop   x + padding - left        y + padding - top
    turn by θ   x' =  x cos θ + y sin θ   y' = -x sin θ + y cos θ    x, y from the centre (w/2, h/2)

This turns a point counterclockwise, as you see it on the screen.  A turned box isn't upright any
more.  Take the smallest upright box around its four corners:

                               ┌──────────╱╲──┐
      ┌───────────────┐        │      ╱      ╲│
      │     a box     │  ───▶  │  ╱        ╱  │
      └───────────────┘        │╲      ╱      │
                               └──╲╱──────────┘

*Resampling.*  Go backwards.  The centre of each new pixel comes from some place in the old image:
compute that place, and take the value there, bilinear between the four nearest pixel centres.
Pixels beyond the image are 0.

*Colours*, for factors b, c and s, in this order.  Each step ends with a clamp to 0 … 1:

    gray(x)     = 0.299 red + 0.587 green + 0.114 blue
    brightness  x ← b · x
    contrast    x ← c · x + (1 - c) · (mean over all pixels of gray(x))
    saturation  x ← s · x + (1 - s) · gray(x)

*The pipeline*, with its random numbers; u is uniform from 0 to 1, and p the probability of a flip:

    flip ─▶ rotate ─▶ pad_crop ─▶ clip_boxes ─▶ colours ─▶ normalize ─▶ cutout
    u < p   ±degrees  0 … 2·pad                 1 ± jitter          any pixel

    seed  ┐
    epoch ┼─▶ one generator for this image ─▶ all of its numbers
    index ┘

**Why a generator per image?**  Then the workers share no state.  Image 7 of epoch 3 is the same
whether one worker loads it or eight, and you can replay a crash.

**Why cutout after normalize?**  After normalize, 0 is the mean colour, which tells the network the
least.

**Worked by hand**, an image 4 wide and 2 high with the box (0, 0, 1, 2):

    flipped                        (3, 0, 4, 2)
    padding 1, top 0, left 2       x + 1 - 2, y + 1 - 0:  (-1, 1, 0, 3), outside of the image
    turned by 90° around (2, 1)    (0, 0) → (-2, -1) → (-1, 2) → (1, 3);  all four: (1, 2, 3, 3)
    (1, 2, 3, 3), clipped          nothing is left: the image ends at y = 2

**Shapes.**  image (c, h, w) of floats, boxes (n, 4) of floats, n may be 0; each keeps its dtype
and its device.  Gradients flow from the new image to the old one.  No function or method changes
its arguments.

**Steps.**  A good place to pause is before Augment.

    flip            5 min   x1 and x2 change places
    rotate         20 min   backwards for pixels, forwards for boxes
    pad_crop        5 min   images and boxes move together
    clip_boxes     10 min   drop boxes of which too little is left
    color_jitter   10 min   three blends, a clamp after each
    normalize       5 min   by channel
    cutout          5 min   the square may reach over the border
    Augment        20 min   10 for the pipeline, 10 for the seed

Sources: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks",
section 4.1; DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks
with Cutout"; Shorten and Khoshgoftaar 2019, "A survey on Image Data Augmentation".

From scratch: torchvision may not be used.  torch.nn.functional.grid_sample may.
"""

from collections.abc import Sequence

from torch import Tensor


def flip(image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Image and boxes with left and right exchanged."""
    raise NotImplementedError


def rotate(image: Tensor, boxes: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """Image and boxes, turned counterclockwise around the image's centre.

    - The image keeps its size: corners are lost, and what comes in is 0.
    - Boxes are the smallest upright ones around the turned corners.  They aren't clipped.
    """
    raise NotImplementedError


def pad_crop(image: Tensor, boxes: Tensor, padding: int, top: int, left: int) -> tuple[Tensor, Tensor]:
    """Put `padding` pixels of 0 on all four sides, and cut an image of the old size out of that.

    - The new pixel in row 0, column 0 is the one in row `top`, column `left` of the padded image.
    - Boxes move along.  They aren't clipped.

    Raises ValueError, naming it, if top or left isn't in 0 … 2 · padding.
    """
    raise NotImplementedError


def clip_boxes(boxes: Tensor, labels: Tensor, height: int, width: int, least: float = 0.25) -> tuple[Tensor, Tensor]:
    """Boxes cut off at the borders of the image, and their labels (n,).

    - A box that keeps less than the share `least` of its area is dropped, and its label with it.
      So is a box that keeps no area, even for a `least` of 0.  0 ≤ least ≤ 1.
    - The others keep their order.
    """
    raise NotImplementedError


def color_jitter(image: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """The image (3, h, w) of values from 0 to 1 in other light, by the lesson's formulas.

    Factors of 1 change nothing; they are at least 0.
    """
    raise NotImplementedError


def normalize(image: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x - mean) / std, with a number for each channel.

    Raises ValueError, naming the number, for a std that is 0 or below.
    """
    raise NotImplementedError


def cutout(image: Tensor, row: int, column: int, size: int) -> Tensor:
    """The image with 0 in a square of size · size pixels, in all channels.

    Its first row is row - size // 2, its first column is column - size // 2, where (row, column) is a
    pixel of the image.  What lies beyond the border is left out.
    """
    raise NotImplementedError


class Augment:
    """The pipeline of the lesson.  By default all but the flip is off; what is off changes nothing."""

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
        """What may happen to an image.

        seed       ≥ 0
        flip       the probability of a flip
        degrees    turn by an angle from -degrees to degrees
        padding    pad_crop with top and left from 0 … 2 · padding
        jitter     three factors from 1 - jitter to 1 + jitter; jitter ≤ 1
        cutout     the size of a square around any pixel; 0 is off
        mean, std  for normalize; None is off, for both
        least      for clip_boxes

        - Every number is uniform in its range, and independent of all others.
        - An Augment can be pickled, as data loaders do.
        """
        raise NotImplementedError

    def __call__(
        self, image: Tensor, boxes: Tensor, labels: Tensor, index: int, epoch: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Image, boxes and labels after the pipeline.  index ≥ 0 says which image of the data it is.

        - What is drawn depends on (seed, epoch, index) alone: not on earlier calls, the process,
          or the device.  You may assume that all three are below 2²⁰.  Two different triples, such as
          (0, 1, 2) and (0, 2, 1), draw different numbers.
        - Global generators, torch's, numpy's and Python's, are neither used nor seeded anew.
        - Boxes are always clipped.
        """
        raise NotImplementedError
