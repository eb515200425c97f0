"""Batch normalization

**Before you start.**  You need mean and variance, the chain rule, and the buffers and modes of
nn.Module; no other kata.  If the last are new: PyTorch's documentation, the note "Modules".

**The idea.**  With batch norm a deep network learns faster: the authors of the paper could multiply
their learning rate by 5, and even by 30.  Without it, each step changes the scale of what a layer
hands on.  The next layer must follow, and only small learning rates go well.  Batch norm brings
each channel back to mean 0 and variance 1 over the batch.  Then it applies a scale γ and a shift β
of its own, which are trained.

**The formulas.**  A channel has n values in the batch, images times places.  μ is their mean, and
σ² their variance, a sum divided by n.  ε avoids a division by 0, and m is the momentum:

    y = γ · x̂ + β,   x̂ = (x - μ) / √(σ² + ε)

    training      running_mean ← (1 - m) · running_mean + m · μ
                  running_var  ← (1 - m) · running_var  + m · σ² · n / (n - 1)
    evaluation    running_mean and running_var take the places of μ and σ²

*Backward*, in training: g is the gradient with respect to y.  Sums and means go over a channel's n
values:

    ∂β = ∑ g     ∂γ = ∑ g x̂     ∂x = γ / √(σ² + ε) · (g - mean(g) - x̂ · mean(g x̂))

*Group norm* takes μ and σ² of each image by itself, over the channels of a group and all their
places.  *Instance norm* takes them of each channel of each image.  In the drawing a column is a
channel.  A cell is one channel of one image, with all its places; cells with the same letter share
μ and σ²:

                 ┌───────────┐     ┌───────────┐     ┌───────────┐
       image 0   │ A B C D   │     │ A A B B   │     │ A B C D   │
       image 1   │ A B C D   │     │ C C D D   │     │ E F G H   │
                 └───────────┘     └───────────┘     └───────────┘
                  batch norm       group norm, 2     instance norm

*Folding.*  In evaluation, batch norm only scales and shifts.  So a convolution and the norm after
it are one convolution with other weights, and the norm costs nothing.  With s = √(running_var + ε):

    W' = γ/s · W        b' = γ/s · (b - running_mean) + β

**Why two modes?**  In training, the batch's own statistics keep the scale right at each step.  In
use, the answer for one image must not depend on the images that come with it.

**Why n - 1 for the running variance?**  σ² measures distances from the batch's own mean, so it is
too small on average, by the factor (n - 1)/n.  The running variance is for other images, so it is
corrected.  The batch itself is divided by its own σ², and needs no correction.

**Why group norm?**  With two images a batch, μ and σ² are mostly noise.  Group norm doesn't look at
the other image, and is the same in both modes.

**Worked by hand**, ε = 0:

    one channel      x = 0, 0, 3, 3, γ = 3, β = 1: μ = 1.5, σ² = 2.25, x̂ = -1, -1, 1, 1
                     y = -2, -2, 4, 4
                     m = 0.1: running_mean 0.15, running_var 0.9 + 0.1 · 2.25 · 4/3 = 1.2
    backward         g = 4, 0, 0, 0: mean(g) = 1, mean(g x̂) = -1
                     ∂x = 2 · (3 -1, -1 -1, -1 +1, -1 +1) = 4, -4, 0, 0    ∂γ = -4    ∂β = 4
    group norm       one image of four channels 1, 3, 10, 14 in two groups: -1, 1, -1, 1
    folding          W = 3, b = 1, mean 2, variance 4, γ = 6, β = 5:
                     W' = 9, b' = 3 · (1 - 2) + 5 = 2

**Shapes**: x (b, c, …) with any number of further axes, or none: (b, c), (b, c, n), (b, c, h, w).

- Results have the shape, dtype and device of x.  A module moved by .to works where it is.
- x and parameters share a dtype, float32 or float64.  Tensors needn't be contiguous.
- Channels may have a large mean.  E[x²] - E[x]² would cancel then: subtract μ before you square.
- No function or method changes its arguments.

**Steps.**

    BatchNorm            25 min   15 to normalise, 10 for the running statistics
    batch_norm_backward  15 min   which axes does a channel's mean go over?
    GroupNorm            10 min   reshape, so that a group is one row
    instance_norm         5 min   one group for each channel, no parameters
    fold                 15 min   which axis of W belongs to the norm's channels?

Sources: Ioffe and Szegedy 2015, "Batch Normalization"; Wu and He 2018, "Group Normalization";
Ulyanov et al. 2016, "Instance Normalization".

From scratch: torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d,
torch.nn.SyncBatchNorm, torch.nn.GroupNorm, torch.nn.InstanceNorm1d, torch.nn.InstanceNorm2d,
torch.nn.LayerNorm, torch.nn.functional.batch_norm, torch.nn.functional.group_norm,
torch.nn.functional.instance_norm, torch.nn.functional.layer_norm, torch.batch_norm,
torch.group_norm, torch.instance_norm, torch.layer_norm, torch.native_batch_norm,
torch.native_group_norm, torch.native_layer_norm, torch.nn.utils.fusion,
torch.nn.utils.fuse_conv_bn_eval, torch.func, torch.autograd.grad, torch.autograd.backward,
torch.autograd.functional and torch.Tensor.backward may not be used.
"""

from torch import Tensor, nn


class BatchNorm(nn.Module):
    """Batch norm over the channels of x (b, c, …), as nn.BatchNorm1d and nn.BatchNorm2d.

    weight                γ, a parameter (c,)
    bias                  β, a parameter (c,)
    running_mean          a buffer (c,)
    running_var           a buffer (c,)
    num_batches_tracked   a buffer, int64, without axes: the batches seen in training mode
    eps                   ε, a number

    The first five are all that its state_dict has, so that torch's modules can load it, and it theirs.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        """c = num_features.  γ and the running variance start at 1, all else at 0.

        With momentum None the running statistics are the plain average over all batches seen:
        m = 1 / num_batches_tracked, this batch counted.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (b, c, …), by the batch in training mode, by the running statistics otherwise.

        - In training mode each call updates the running statistics, under torch.no_grad, too.
        - They take no part in any gradient.  In evaluation mode nothing changes.

        Raises ValueError, and then leaves the running statistics as they are,

        - naming both numbers of channels, if x hasn't num_features of them,
        - in training mode, naming the sizes of x, if a channel has one value: it has no variance.
        """
        raise NotImplementedError


def batch_norm_backward(
    upstream: Tensor, x: Tensor, weight: Tensor, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with respect to x, γ and β of batch norm in training mode, by hand.

    `upstream` is the gradient of the loss with respect to the result, shaped like x (b, c, …);
    `weight` is γ (c,).  A channel has at least two values.
    """
    raise NotImplementedError


class GroupNorm(nn.Module):
    """Group norm of x (b, c, …), with parameters `weight` γ and `bias` β, both (c,), one for each channel."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5) -> None:
        """A group is c / num_groups channels that follow each other; γ starts at 1, β at 0.

        Raises ValueError, naming both numbers, if the channels can't be cut into num_groups ≥ 1 groups.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each group of each image; the same in both modes.

        Raises ValueError, naming both numbers of channels, if x hasn't num_channels of them.
        """
        raise NotImplementedError


def instance_norm(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Each channel of each image of x (b, c, …), normalised over its places; no γ, no β.

    x has at least one axis after the channels.
    """
    raise NotImplementedError


def fold(conv: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    """One nn.Conv2d that answers as `norm` after `conv` does in evaluation mode.

    `norm` is your BatchNorm or an nn.BatchNorm2d with weights and statistics.  It has as many channels as conv has
    outputs.

    - Its running statistics are folded, whichever mode it is in.
    - `conv` may be without a bias; the result has one.
    - Stride, padding, dilation, groups, padding_mode, dtype and device are conv's.
    - The result shares no memory with `conv` or `norm`, which stay as they are.  Its weight and
      bias are parameters that can be trained.
    """
    raise NotImplementedError
