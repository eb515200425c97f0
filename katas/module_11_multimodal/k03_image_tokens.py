"""Image tokens: a palette, dithering, patches as words, and the order in which pixels are told

**Before you start.**  You need NumPy, counting and the logarithm of a probability; no other
kata.  If k-means is new, read Bishop, "Pattern Recognition and Machine Learning", section 9.1.

**The idea.**  A language model reads tokens.  To let one read and write images, you turn images
into tokens and back.  There are three ways, and you will write them all: a small palette of
colours, a dictionary of frequent patches, and an order that makes a row of what was a plane.

None of this is free.  A palette loses colours, a dictionary meets patches that it has never seen,
and in a row half of a pixel's neighbours are far away.  You will measure each price.

**The formulas.**  An image is (H, W, 3) with values from 0 to 1.  A palette has K colours (K, 3).

    token            the number of the nearest colour: smallest sum of squared differences
    Lloyd's step     each colour becomes the mean of the pixels that are nearest to it
    dithering        error = pixel - colour of its token, handed on to pixels that come later:
                             ●   7/16                  ● is the pixel
                      3/16  5/16  1/16                 the row below
    smoothed chance  p(token | context) = (n(context, token) + α) / (n(context) + α K)
    cost             mean of -ln p over all tokens, in nats

n counts in the training sequences.  A context are the c tokens before.  At the start of a
sequence those that are missing are K, a number that is no token.

*Patch codes.*  Levels are whole numbers from 0 to L - 1.  Code i < L is the level i itself.  Code
L says: the next p · p codes are the levels of a patch, row by row.  Code L + 1 + j is the j-th
patch of the dictionary.  An image is told patch by patch, as one reads.

*Hilbert's order* of a square with side 2^n goes through it without a jump.  For n = 0 it is the
only pixel.  A larger one goes through four smaller ones:

    1. upper left, with rows and columns exchanged            2. lower left, as it is
    3. lower right, as it is             4. upper right, exchanged along the other diagonal:
                                            (row, column) becomes (m - 1 - column, m - 1 - row)

m is the side of the smaller one.

**A drawing**

    raster           Hilbert, n = 1     Hilbert, n = 2
     0  1  2  3       0  3               0  1 14 15
     4  5  6  7       1  2               3  2 13 12
     8  9 10 11                          4  7  8 11
    12 13 14 15                          5  6  9 10

    error diffusion      · · ● ▷ ·       ● has its token, its error goes to ▷
                         · ▷ ▷ ▷ ·       what is left of and above ● is done

**Why dither?**  With two colours a grey sky becomes white or black as a whole.  Hand the error
on, and every second pixel becomes white.  From afar the mean is right again.

**Why an escape code?**  Without it an unknown patch could not be told at all.  With it any image
can be told exactly.  It only costs more: 1 + p · p codes in place of 1.

**Why another order?**  In raster order the pixel above stands W tokens back.  A short context
never sees it.  Hilbert's order stays in one corner until it is done there, so that near tokens
are near pixels.

**Worked by hand**

    Lloyd        grey pixels 0 .1 .2 .9 1, colours 0 and .5: .2 is nearer to 0 (.04 against .09)
                 means of (0 .1 .2) and (.9 1):  .1 and .95
    dithering    a row of grey .4 .4 .4 with black and white:  .4 is black, error .4, so the next is
                 .4 + .175 = .575: white, error -.425;  .4 - .1859 = .2141: black.   tokens 0 1 0
    patches      L = 2, p = 2, one known patch 0 1 / 1 0, which is code 3
                 rows  0 1 1 1        codes  3   2 1 1 0 0
                       1 0 0 0
    chances      one sequence 0 0 1, c = 1, α = 1, K = 2
                 after the start: (1 + 1)/(1 + 2) for 0.   After 0: 0 and 1 once each, ½ and ½
                 cost of 0 1:  (0.4055 + 0.6931) / 2 = 0.5493

**Shapes** stand in each docstring.  Floats are float64, tokens and levels int64.  No function
changes its arguments.

**Steps.**  A good place to pause is after dither.

    to_tokens       6 min   nearest of K
    lloyd           8 min   a colour that nobody wants
    dither         12 min   errors run ahead
    frequent        7 min   count patches
    encode         10 min   known, or spelled out
    decode          9 min   read codes until they end
    hilbert        12 min   four smaller ones
    train_counts    7 min   contexts, the start among them
    cost            7 min   smoothed chances
    order_costs     5 min   the same images, two orders

Sources: Lloyd 1982, "Least Squares Quantization in PCM"; Floyd and Steinberg 1976, "An Adaptive
Algorithm for Spatial Greyscale"; Hilbert 1891; Chen et al. 2020, "Generative Pretraining from
Pixels" (a palette of 512).

From scratch: scipy, sklearn, PIL, skimage and torch may not be used.
"""

from collections.abc import Iterable

import numpy as np

Array = np.ndarray
Patch = tuple[int, ...]
Context = tuple[int, ...]


def to_tokens(image: Array, palette: Array) -> Array:
    """The tokens (…) of colours (…, 3).  Of equally near colours the first."""
    raise NotImplementedError


def lloyd(pixels: Array, palette: Array, steps: int) -> Array:
    """The palette (K, 3) after so many of Lloyd's steps on pixels (n, 3).

    A colour that is nearest to no pixel stays where it is.  With 0 steps a copy comes back.
    """
    raise NotImplementedError


def dither(image: Array, palette: Array) -> Array:
    """The tokens (H, W) of an image (H, W, 3), by error diffusion, as one reads.

    - A pixel's colour is its own plus what was handed to it.  It isn't clipped.
    - What would be handed beyond the border is lost.
    - All three channels have their error.
    """
    raise NotImplementedError


def frequent(images: Array, patch: int, size: int) -> list[Patch]:
    """The `size` most frequent patches of images (n, H, W) of levels, the most frequent first.

    - A patch is a tuple of its patch² levels, row by row.  Patches don't overlap; patch divides H and W.
    - Equally frequent ones come in the order of their tuples.  There may be fewer than `size` different ones.
    """
    raise NotImplementedError


def encode(image: Array, patch: int, levels: int, known: list[Patch]) -> list[int]:
    """The codes of an image (H, W) of levels, with `known` as the dictionary.

    Raises ValueError, naming it and the number of levels, if a level isn't from 0 to levels - 1.
    Raises ValueError, naming H, W and patch, if patch doesn't divide both.
    """
    raise NotImplementedError


def decode(codes: Iterable[int], height: int, width: int, patch: int, levels: int, known: list[Patch]) -> Array:
    """The image (height, width) that codes tell: the inverse of `encode`.

    Raises ValueError
    - naming the code, if one stands where it can't: a level outside a spelled patch, anything else inside one, or a
      number that no code has,
    - with the number of patches that were told and that are needed, if the codes end too early or go on.  A patch that
      is cut off isn't told.
    """
    raise NotImplementedError


def hilbert(n: int) -> Array:
    """Hilbert's order of a square of side 2^n: (4^n, 2) of rows and columns, in the order of the walk.  n is 0 or more."""
    raise NotImplementedError


def train_counts(sequences: Array, levels: int, context: int) -> dict[Context, Array]:
    """For each context that comes up in sequences (m, T): how often each token follows it, (levels,).

    context is c, 0 or more; the keys are tuples of c numbers, the oldest first.
    """
    raise NotImplementedError


def cost(counts: dict[Context, Array], sequences: Array, levels: int, context: int, alpha: float = 1.0) -> float:
    """The cost of sequences (m, T) in nats per token, by counts of `train_counts`.  alpha is above 0.

    A context that never came up gives all tokens the same chance.
    """
    raise NotImplementedError


def order_costs(train: Array, test: Array, levels: int, context: int, alpha: float = 1.0) -> dict[str, float]:
    """{"raster": …, "hilbert": …}: the cost of images `test` (m, S, S) by a model of `train` (k, S, S), in each order.

    S is a power of two; levels are below `levels`.  Each order has its own model.
    """
    raise NotImplementedError
