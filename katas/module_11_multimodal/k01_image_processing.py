"""Image processing: light and colour, histograms, blur, edges, and two ways to resize

**Before you start.**  You need NumPy's broadcasting and convolution in one dimension; no other
kata.  If images as arrays are new: Szeliski, "Computer Vision: Algorithms and Applications",
sections 3.1 and 3.2 (free online).

**The idea.**  Before a model sees an image, somebody has made it smaller, greyer or smoother.
These steps look harmless.  Each has one detail that is easily got wrong and costs accuracy later
without a word.  You will write them all, and know the detail.

An image is an array (H, W), or (H, W, 3) with red, green and blue.  Row 0 is at the top.  Values
run from 0, which is black, to 1.

**The formulas.**  *Light and numbers.*  The eye tells dark tones apart better than bright ones.  So
files store more numbers for the dark: the number 0.5 stands for only 21% of the light.  This is
the sRGB curve:

    light = v / 12.92                      if v ≤ 0.04045
            ((v + 0.055) / 1.055)^2.4      above

Light adds up, numbers don't.  Grey is the light that the three colours make together, to the eye,
and then a number again:

    light of grey = 0.2126 · red + 0.7152 · green + 0.0722 · blue          (all three as light)

*Hue, saturation, value.*  value is the largest of the three numbers, spread is largest - smallest.

    saturation = spread / value
    hue        = ⅙ of   (g - b) / spread        if red is the largest       (below 0: add 1)
                        (b - r) / spread + 2    if green is
                        (r - g) / spread + 4    if blue is

The hue goes once round a wheel: red 0, yellow ⅙, green ⅓, cyan ½, blue ⅔, magenta ⅚, red again.

*Equalising* spreads the grey levels of an image of bytes evenly.  A level goes to the share of
pixels at or below it.  `below` counts these pixels, `first` those of the darkest level, n all:

    new level = (below - first) / (n - first) · 255, rounded

*Filters.*  A filter replaces each pixel by a weighted sum of its neighbours.  A *Gaussian blur*
has the weights exp(-d² / 2σ²), which are made to sum to 1.  It is done along rows and then along
columns: with 7 weights these are 7 + 7 products a pixel instead of 49.  *Sobel's* two filters
measure the slope: how much an image grows to the right, and how much downwards.  Here both are
divided by 8, so that they give a change per pixel:

    across   -1 0 1           down   -1 -2 -1
             -2 0 2   / 8             0  0  0   / 8
             -1 0 1                   1  2  1

Beyond the border the image is mirrored, with the pixel at the border twice: c b a | a b c | c b a.

*Resizing.*  Think of pixels as squares, and of both images as the same sheet.

    4 pixels       │  1  │  3  │  5  │  9  │
                   0     1     2     3     4
    to 3           │   ●   │   ●   │   ●   │        edges at 0, 4/3, 8/3, 4

    centre of new pixel i, counted in old pixels:       (i + ½) · 4/3 - ½

*Bilinear* looks at the new centre and mixes the two old centres around it.  In two dimensions
these are four.  *Area* takes all that lies under the new pixel, each old pixel by the part that
is covered.

**Why the halves?**  The centre of pixel i lies at i + ½ on the sheet.  Without the halves the
image moves by up to half a pixel, and boxes and masks no longer fit.

**Why area?**  From 9 pixels to 3, bilinear reads pixels 1, 4 and 7 and nothing else.  A fine
pattern then turns into a coarse one that isn't there.  That is *aliasing*.  Area reads all nine.

**Why mirror at the border?**  With zeros outside, a blur gets dark at the rim, and the edge filter
finds an edge all around the image.

**Worked by hand**

    light        0.5 is ((0.555) / 1.055)^2.4 = 0.2140;  0.02 is 0.001548
    grey         pure green (0, 1, 0): light 0.7152, number 0.8625.  The mean would be 0.3333
    hsv          (0.2, 0.4, 0.3): hue (2 + (0.3 - 0.2)/0.2)/6 = 0.4167, saturation 0.5, value 0.4
    equalising   levels 10 10 20 30 30 30 50: below 2 3 6 7, first 2, n 7
                 new levels 0 0 51 204 204 204 255
    kernel       σ = 0.5: radius 2; weights 0.00026 0.10645 0.78657 0.10645 0.00026
    Sobel        on rows 0 0 4 4: across 0 2 2 0 in each row, down 0
    bilinear     1 3 5 9 to 3: centres at 1/6, 3/2 and 17/6
                 1 + 1/6 · 2 = 1.333;  4;  5 + 5/6 · 4 = 8.333
    area         1 3 5 9 to 3, each 4/3 wide
                 (1 + ⅓ · 3) / (4/3) = 1.5;  (⅔ · 3 + ⅔ · 5) / (4/3) = 4;  (⅓ · 5 + 9) / (4/3) = 8

**Shapes** stand in each docstring; there is at least one pixel.  Images are float64, but for
`equalize`.  No function changes its arguments.

**Steps.**  A good place to pause is after equalize.

    srgb_to_linear    4 min   two pieces that meet
    linear_to_srgb    4 min   the way back
    to_gray           5 min   light, then a number again
    rgb_to_hsv       10 min   grey has no hue, black no saturation
    hsv_to_rgb       10 min   six pieces, or one formula
    equalize          9 min   a table of 256 levels
    gaussian_kernel   5 min   how far does it reach?
    blur             10 min   two passes, and the border
    sobel             7 min   which axis is across?
    resize_bilinear  12 min   halves, and clamped ends
    resize_area      12 min   how much does each pixel cover?

Sources: Szeliski 2022, as above; IEC 61966-2-1 (sRGB); ITU-R BT.709 (the weights of grey); Smith
1978, "Color Gamut Transform Pairs" (HSV).

From scratch: scipy, skimage, PIL, cv2, torch, sklearn and colorsys may not be used.
"""

import numpy as np

Array = np.ndarray


def srgb_to_linear(image: Array) -> Array:
    """The light (…) for numbers (…) of sRGB from 0 to 1."""
    raise NotImplementedError


def linear_to_srgb(light: Array) -> Array:
    """The inverse of `srgb_to_linear`: numbers (…) for light (…) from 0 to 1.

    The two pieces meet where the light is 0.0031308: up to there it is the straight one.
    """
    raise NotImplementedError


def to_gray(image: Array) -> Array:
    """The grey number (H, W) of each pixel of an sRGB image (H, W, 3), as the lesson has it."""
    raise NotImplementedError


def rgb_to_hsv(image: Array) -> Array:
    """Hue, saturation and value (…, 3), each from 0 to 1, of red, green and blue (…, 3) from 0 to 1.

    Grey, with black and white, has hue 0 and saturation 0.  Where two colours are the largest, both pieces of the
    hue give the same.  A hue of 0 and one of 1 are the same red: where rounding decides, either will do.
    """
    raise NotImplementedError


def hsv_to_rgb(image: Array) -> Array:
    """The inverse of `rgb_to_hsv`: (…, 3) to (…, 3).  A hue of 1 is a hue of 0."""
    raise NotImplementedError


def equalize(image: Array) -> Array:
    """An image (H, W) of uint8 whose levels are spread evenly, again uint8.

    An image of one level comes back as it is, in memory of its own.  Exactly half way between two levels, either
    will do.
    """
    raise NotImplementedError


def gaussian_kernel(sigma: float, truncate: float = 4.0) -> Array:
    """The weights (2r + 1,) of a Gaussian, with the largest in the middle; they sum to 1.

    The radius r is truncate · sigma, rounded to the nearest whole number (a half goes up).

    Raises ValueError, naming sigma and its value, if it isn't above 0.
    """
    raise NotImplementedError


def blur(image: Array, sigma: float) -> Array:
    """An image (H, W) or (H, W, C), blurred with `gaussian_kernel(sigma)`; each channel by itself.

    The image may be smaller than the kernel: then the mirror is mirrored again, … a b | b a | a b | b a …
    """
    raise NotImplementedError


def sobel(image: Array) -> tuple[Array, Array]:
    """(across, down), both (H, W), of an image (H, W), by the lesson's two filters."""
    raise NotImplementedError


def resize_bilinear(image: Array, height: int, width: int) -> Array:
    """An image (H, W) or (H, W, C) in a new size, (height, width) or (height, width, C), by bilinear mixing.

    A centre that lies outside the outermost old centres gets the value there.  Nothing is blurred before.

    Raises ValueError, naming height and width, if one of them is below 1.
    """
    raise NotImplementedError


def resize_area(image: Array, height: int, width: int) -> Array:
    """An image (H, W) or (H, W, C) in a new size, (height, width) or (height, width, C), by the mean over areas.

    The new size may be larger than the old one, too.

    Raises ValueError, naming height and width, if one of them is below 1.
    """
    raise NotImplementedError
