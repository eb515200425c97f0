"""Convolution

**Before you start.**  You need matrix products with leading batch dimensions, and the chain rule;
no other kata.  Pictures that move: Dumoulin and Visin 2016, "A guide to convolution arithmetic for
deep learning".

**The idea.**  An edge looks the same wherever it is in the image.  A linear layer would have to
learn it anew for each place.  A convolution slides one small *kernel* over the image, and says for
each place how well the kernel fits.  From 3 channels to 64, 3 × 3 kernels have 1728 weights,
whether the image has a thousand pixels or a million.

**The formulas**, along one axis of n numbers: k is the size of the kernel, s the stride (how far
the window moves), p the padding, d the dilation (how far apart the kernel's entries stand).  x̃ is
x with p zeros added at both ends:

    y[o, t] = bias[o] + ∑ over c, j of  w[o, c, j] · x̃[c, t·s + j·d]
    n' = ⌊(n + 2p - d·(k - 1) - 1) / s⌋ + 1                    the size of y

Two axes work alike.  The kernel isn't flipped: mathematicians call this cross-correlation.

*Groups.*  With g groups, the input channels are cut into g equal parts, in their order, and so are
the output channels.  The first part of the outputs sees only the first part of the inputs, and so
on.

*im2col* writes each window as a column.  Then the whole convolution is one matrix product, which
any processor is good at:

    y = W · im2col(x)              W: the weight as a matrix, a row for each output channel

      x             its 2 × 2 windows
    1 2 3             1  2  4  5   ◀── top left of each window
    4 5 6   ─────▶    2  3  5  6   ◀── top right
    7 8 9             4  5  7  8   ◀── bottom left
                      5  6  8  9   ◀── bottom right

Each row of it belongs to one entry of the kernel, each column to one window.

*Backward*: g is the gradient with respect to y.  col2im puts each number of the columns back where
im2col found it, and adds where windows overlap:

    ∂bias = ∑ g        ∂W = g · im2col(x)ᵀ        ∂x = col2im(Wᵀ · g)

*Transposed convolution* uses that last formula as a layer, to make images larger.  Each input
multiplies the kernel and stamps it on the result.  Stamps lie s apart, and add where they overlap.
Padding cuts p numbers off both ends:

    y = col2im(Wᵀ · x),    n' = (n - 1)·s - 2p + d·(k - 1) + 1 + output_padding

    x is [1 2]         1 stamps  │  1  10  100
    kernel [1 10 100]  2 stamps  │           2  20  200
    stride 2                     └──────────────────────
                             sum    1  10  102  20  200

**Why transposed?**  Without its bias, a convolution is a matrix: y = A x.  Backward multiplies by
Aᵀ, and so does this layer: ⟨conv(x), y⟩ = ⟨x, convᵀ(y)⟩.  It brings the old size back, not the old
numbers.

**Why output_padding?**  With k = 3 and s = 2, inputs of 5 and of 6 numbers both become 2.  On the
way back you must say which it was: output_padding makes the result so much longer, at its end.

**Worked by hand**, without bias:

    conv1d             x = [1 2 0 3], w = [1 0 -1], p = 1: x̃ = [0 1 2 0 3 0]
                       y = [-2 1 -1 0],  with s = 2 [-2 -1],  with d = 2 [-3 1]
    conv2d             the x above, w = [1 2; 3 4]: y = [37 47; 67 77]
    col2im             of the columns above: [1 4 3; 8 20 12; 7 16 9]
    conv_transpose2d   the stamps above with p = 1: both ends are cut off, [10 102 20]

**Shapes**, with c channels in and o out:

    conv1d    x (b, c, n)       weight (o, c/g, k)          y (b, o, n')
    conv2d    x (b, c, h, w)    weight (o, c/g, kh, kw)     y (b, o, h', w')

- All sizes are 1 or more.  A `Pair` is one number for both axes, or (height, width).
- x, weight and bias share a floating dtype and a device, and the result has them, too.
- Tensors needn't be contiguous.  Gradients flow through all functions but conv2d_backward.
- No function changes its arguments.

**Steps.**  A good place to pause is before conv2d.

    output_size        5 min   a dilated kernel reaches over d·(k - 1) + 1
    conv1d            15 min   loop over j only; then the groups
    im2col            10 min   which pixels does entry (i, j) of the kernel see?
    col2im            10 min   the same pixels, adding
    conv2d            10 min   reshape, multiply, reshape; a weight row per output
    conv2d_backward   15 min   the three formulas, for each group
    conv_transpose2d  15 min   the size first, then col2im

Sources: Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning"; Chellapilla
et al. 2006, "High Performance Convolutional Neural Networks for Document Processing" (im2col).

From scratch: scipy, torch.nn.functional.conv1d, torch.nn.functional.conv2d,
torch.nn.functional.conv3d, torch.nn.functional.conv_transpose1d,
torch.nn.functional.conv_transpose2d, torch.nn.functional.conv_transpose3d,
torch.nn.functional.unfold, torch.nn.functional.fold, torch.conv1d, torch.conv2d, torch.conv3d,
torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d, torch.convolution,
torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.ConvTranspose1d,
torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d, torch.nn.Unfold, torch.nn.Fold, torch.nn.grad,
torch.func, torch.autograd.grad, torch.autograd.backward, torch.autograd.functional and
torch.Tensor.backward may not be used.  The tensor's own method unfold may.
"""

from torch import Tensor

Pair = int | tuple[int, int]


def output_size(n: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """n', the number of outputs along an axis of n inputs.

    Raises ValueError if the kernel doesn't fit in, naming d·(k - 1) + 1, the length that it reaches
    over, and n + 2p, the length that there is.
    """
    raise NotImplementedError


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve x (b, c, n) with weight (o, c/groups, k); returns (b, o, n').

    `bias` (o,) is added to each output channel; None adds nothing.

    Raises ValueError, as output_size does, and

    - naming c, if c isn't groups times the weight's second size,
    - naming o and groups, if o isn't a multiple of groups.
    """
    raise NotImplementedError


def im2col(x: Tensor, kernel: tuple[int, int], stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1) -> Tensor:
    """The windows of x (b, c, h, w) as columns: (b, c · kh · kw, h' · w').

    - Rows go through the channels, in each through the kernel's rows, in each through its columns.
    - Columns go through the places of the window row by row.
    - x may be of any dtype, integers included, and the result has it.
    - Raises ValueError, as output_size does.
    """
    raise NotImplementedError


def col2im(
    columns: Tensor,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> Tensor:
    """Add columns (b, c · kh · kw, h' · w') up to an image (b, c, h, w), where `size` is (h, w).

    Each number goes to the place where `im2col`, with the same arguments, would have read it.

    - What would go to the padding is dropped.
    - A pixel that no window covers is 0.
    - Columns may be of any dtype, integers included, and the result has it.
    """
    raise NotImplementedError


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve x (b, c, h, w) with weight (o, c/groups, kh, kw); returns (b, o, h', w').

    Bias and errors as in `conv1d`.
    """
    raise NotImplementedError


def conv2d_backward(
    upstream: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with respect to x, weight and bias, by hand.

    `upstream` (b, o, h', w') is the gradient of the loss with respect to conv2d's result for the
    same arguments.  The three gradients have the shapes of x, weight and bias (o,).
    """
    raise NotImplementedError


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Tensor:
    """Transposed convolution of x (b, c, h, w) with weight (c, o/groups, kh, kw); returns (b, o, h', w').

    With the same weight, stride, padding, groups and dilation it is the adjoint of `conv2d`, which
    maps o channels to c.  You may assume that h' and w' come out as 1 or more.

    - `bias` (o,) is added to each output channel at every place, those of `output_padding` included.
    - Places of `output_padding` that no stamp reaches get the bias alone.

    Raises ValueError

    - naming c and the weight's first size, if they differ,
    - naming c and groups, if c isn't a multiple of groups,
    - naming the output_padding and the stride, if on an axis it isn't smaller than the stride (torch's rule is laxer).
    """
    raise NotImplementedError
